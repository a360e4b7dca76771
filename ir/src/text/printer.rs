//! Module to text. Total: a module that does not verify prints too, though a use without a
//! definition prints as `%?`, which does not parse.

use super::lexer::{hex, is_plain_name, quote};
use crate::dialect::{core, loops};
use crate::{
    Affine, Attr, DataId, Elem, Func, FuncKind, Loc, LocId, MemType, Module, OpId, OpKind,
    QuantParams, QuantType, RegionId, Space, TensorType, Type, Value,
};
use indexmap::IndexSet;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

/// Bytes per line of a data block.
const BYTES_PER_LINE: usize = 48;

/// The module's text.
pub fn print(m: &Module) -> String {
    let mut p = Printer::new(m);
    p.hoist_quant_types();
    for (i, q) in p.aliases.clone().iter().enumerate() {
        let _ = write!(p.out, "!q{i} = ");
        quant_type(q, &mut p.out);
        p.out.push('\n');
    }
    if !p.aliases.is_empty() {
        p.out.push('\n');
    }
    p.out.push_str("module ");
    p.symbol(&m.name);
    let _ = write!(p.out, " level({}) numerics({}) {{", m.level.name(), m.numerics.name());
    for (i, f) in m.funcs.values().enumerate() {
        p.out.push_str(if i == 0 { "\n" } else { "\n\n" });
        p.func(f);
    }
    p.out.push_str("\n}\n");
    for id in m.data.keys() {
        p.data(id);
    }
    p.out
}

/// One op (with its regions) as it stands in the text of its function, types written in full.
pub fn print_op(m: &Module, f: &Func, op: OpId) -> String {
    let mut p = Printer::new(m);
    p.names = value_names(f);
    p.op(f, op);
    p.out
}

/// A type, quantized elements written in full.
pub fn print_type(ty: &Type) -> String {
    let mut out = String::new();
    write_type(ty, &IndexSet::new(), &mut out);
    out
}

struct Printer<'m> {
    m: &'m Module,
    out: String,
    aliases: IndexSet<Arc<QuantType>>,
    /// Of the function being printed.
    names: HashMap<Value, String>,
    depth: usize,
}

impl<'m> Printer<'m> {
    fn new(m: &'m Module) -> Self {
        let (out, names) = (String::new(), HashMap::new());
        Printer { m, out, aliases: IndexSet::new(), names, depth: 1 }
    }

    fn hoist_quant_types(&mut self) {
        for f in self.m.funcs.values() {
            for v in values_in_order(f) {
                if let Some(q) = f.ty(v).as_tensor().and_then(TensorType::quant_type) {
                    self.aliases.insert(q.clone());
                }
            }
        }
    }

    fn symbol(&mut self, name: &str) {
        self.out.push('@');
        if is_plain_name(name) {
            self.out.push_str(name);
        } else {
            quote(name, &mut self.out);
        }
    }

    fn data(&mut self, id: DataId) {
        let m = self.m;
        let data = &m.data[id];
        self.out.push_str("\ndata ");
        self.symbol(&data.name);
        self.out.push_str(" = hex\"");
        self.out.reserve(data.bytes.len() * 2 + data.bytes.len() / BYTES_PER_LINE * 3);
        if data.bytes.len() <= BYTES_PER_LINE / 2 {
            hex(&data.bytes, &mut self.out);
        } else {
            for line in data.bytes.chunks(BYTES_PER_LINE) {
                self.out.push_str("\n  ");
                hex(line, &mut self.out);
            }
            self.out.push('\n');
        }
        self.out.push_str("\"\n");
    }

    fn func(&mut self, f: &Func) {
        self.names = value_names(f);
        self.out.push_str(match f.kind {
            FuncKind::Main => "  func ",
            FuncKind::Kernel => "  kernel ",
        });
        self.symbol(&f.name);
        self.typed_values(f, f.params());
        let ends_in_return = |&op: &OpId| matches!(f.kind(op), OpKind::Core(core::Op::Return(_)));
        if f.body_ops().last().is_some_and(ends_in_return) {
            self.result_types(f);
        }
        self.strings(" inputs(", &f.input_names);
        self.strings(" outputs(", &f.output_names);
        self.out.push(' ');
        self.block(f, f.body);
    }

    fn result_types(&mut self, f: &Func) {
        let types: Vec<&Type> = f.returned().iter().map(|&v| f.ty(v)).collect();
        match types.as_slice() {
            [] => {}
            [one] => {
                self.out.push_str(" -> ");
                self.ty(one);
            }
            many => {
                self.out.push_str(" -> (");
                self.types(many);
                self.out.push(')');
            }
        }
    }

    fn strings(&mut self, before: &str, all: &[String]) {
        if all.is_empty() {
            return;
        }
        self.out.push_str(before);
        for (i, s) in all.iter().enumerate() {
            self.out.push_str(if i == 0 { "" } else { ", " });
            quote(s, &mut self.out);
        }
        self.out.push(')');
    }

    fn typed_values(&mut self, f: &Func, values: &[Value]) {
        self.out.push('(');
        for (i, &v) in values.iter().enumerate() {
            self.out.push_str(if i == 0 { "" } else { ", " });
            self.value(v);
            self.out.push_str(": ");
            self.ty(f.ty(v));
        }
        self.out.push(')');
    }

    /// `{ ops }`, each op on a line of its own.
    fn block(&mut self, f: &Func, region: RegionId) {
        self.out.push_str("{\n");
        self.depth += 1;
        for &op in &f.region(region).ops {
            self.indent();
            self.op(f, op);
            self.out.push('\n');
        }
        self.depth -= 1;
        self.indent();
        self.out.push('}');
    }

    fn indent(&mut self) {
        for _ in 0..self.depth {
            self.out.push_str("  ");
        }
    }

    fn op(&mut self, f: &Func, op: OpId) {
        if !f.results(op).is_empty() {
            self.values(f.results(op));
            self.out.push_str(" = ");
        }
        if !self.short_op(f, op) {
            self.generic_op(f, op);
        }
        if f.op(op).loc != LocId(0) {
            self.out.push_str(" loc(");
            self.loc(f.op(op).loc);
            self.out.push(')');
        }
    }

    /// Writes the op's short spelling, if it has one that says everything.
    fn short_op(&mut self, f: &Func, op: OpId) -> bool {
        let plain = f.op(op).regions().is_empty();
        match f.kind(op) {
            OpKind::Core(core::Op::Const(c)) if plain && f.operands(op).is_empty() => {
                self.out.push_str("const ");
                self.data_name(c.data);
                self.colon_types(f, op);
            }
            OpKind::Core(core::Op::Return(_)) if plain && f.results(op).is_empty() => {
                self.mnemonic_and_values("return", f.operands(op));
            }
            OpKind::Loop(loops::Op::Yield(_)) if plain && f.results(op).is_empty() => {
                self.mnemonic_and_values("loop.yield", f.operands(op));
            }
            OpKind::Loop(loops::Op::For(l)) if is_plain_loop(f, op) => self.for_loop(f, op, l),
            kind => match Access::of(kind, f.operands(op)) {
                Some(access) if plain => self.access(f, op, &access),
                _ => return false,
            },
        }
        true
    }

    fn mnemonic_and_values(&mut self, mnemonic: &str, values: &[Value]) {
        self.out.push_str(mnemonic);
        if !values.is_empty() {
            self.out.push(' ');
            self.values(values);
        }
    }

    fn for_loop(&mut self, f: &Func, op: OpId, l: &loops::For) {
        let region = f.op(op).regions()[0];
        let args = &f.region(region).args;
        self.out.push_str("loop.for ");
        self.value(args[0]);
        let _ = write!(self.out, " = {} to {}", l.lo, l.hi);
        if l.step != 1 {
            let _ = write!(self.out, " step {}", l.step);
        }
        if args.len() > 1 {
            self.out.push_str(" carry(");
            for (i, (&arg, &init)) in args[1..].iter().zip(f.operands(op)).enumerate() {
                self.out.push_str(if i == 0 { "" } else { ", " });
                self.value(arg);
                self.out.push_str(" = ");
                self.value(init);
            }
            self.out.push(')');
            self.colon_types(f, op);
        }
        self.out.push(' ');
        self.block(f, region);
    }

    fn access(&mut self, f: &Func, op: OpId, access: &Access) {
        self.out.push_str(f.kind(op).name());
        self.out.push(' ');
        if let Some(v) = access.stored {
            self.value(v);
            self.out.push_str(", ");
        }
        self.value(access.mem);
        self.out.push('[');
        self.address(access);
        self.out.push(']');
        let mut attrs = f.kind(op).attrs();
        attrs.retain(|(name, _)| !matches!(*name, "offset" | "strides"));
        self.attrs(f.kind(op), &attrs);
        self.colon_types(f, op);
    }

    fn address(&mut self, access: &Access) {
        for (i, (&var, &stride)) in access.vars.iter().zip(access.strides).enumerate() {
            self.out.push_str(if i == 0 { "" } else { " + " });
            self.value(var);
            if stride != 1 {
                let _ = write!(self.out, "*{stride}");
            }
        }
        let _ = match access.offset {
            offset if access.vars.is_empty() => write!(self.out, "{offset}"),
            0 => Ok(()),
            offset if offset < 0 => write!(self.out, " - {}", offset.unsigned_abs()),
            offset => write!(self.out, " + {offset}"),
        };
    }

    fn generic_op(&mut self, f: &Func, op: OpId) {
        let kind = f.kind(op);
        self.out.push_str(kind.name());
        self.out.push('(');
        self.values(f.operands(op));
        self.out.push(')');
        self.attrs(kind, &kind.attrs());
        for &region in f.op(op).regions() {
            self.out.push_str(" region");
            self.typed_values(f, &f.region(region).args);
            self.out.push(' ');
            self.block(f, region);
        }
        self.colon_types(f, op);
    }

    fn attrs(&mut self, kind: &OpKind, attrs: &[(&'static str, Attr)]) {
        if attrs.is_empty() {
            return;
        }
        for (i, (name, attr)) in attrs.iter().enumerate() {
            self.out.push_str(if i == 0 { " {" } else { ", " });
            self.out.push_str(name);
            self.out.push_str(" = ");
            let is_f32 = kind.spec().attrs.iter().any(|a| a.name == *name && a.ty == "f32");
            match attr {
                Attr::Float(v) if is_f32 => write_f32(*v as f32, &mut self.out),
                Attr::Data(id) => self.data_name(*id),
                _ => write_attr(attr, &mut self.out),
            }
        }
        self.out.push('}');
    }

    fn data_name(&mut self, id: DataId) {
        let m = self.m;
        match m.data.get(id) {
            Some(data) => self.symbol(&data.name),
            None => self.out.push_str("@?"),
        }
    }

    fn colon_types(&mut self, f: &Func, op: OpId) {
        if f.results(op).is_empty() {
            return;
        }
        self.out.push_str(" : ");
        let types: Vec<&Type> = f.results(op).iter().map(|&v| f.ty(v)).collect();
        self.types(&types);
    }

    fn types(&mut self, types: &[&Type]) {
        for (i, ty) in types.iter().enumerate() {
            self.out.push_str(if i == 0 { "" } else { ", " });
            self.ty(ty);
        }
    }

    fn ty(&mut self, ty: &Type) {
        write_type(ty, &self.aliases, &mut self.out);
    }

    fn values(&mut self, values: &[Value]) {
        for (i, &v) in values.iter().enumerate() {
            self.out.push_str(if i == 0 { "" } else { ", " });
            self.value(v);
        }
    }

    fn value(&mut self, v: Value) {
        self.out.push('%');
        self.out.push_str(self.names.get(&v).map_or("?", |name| name));
    }

    fn loc(&mut self, id: LocId) {
        match self.m.locs.get(id) {
            Loc::Unknown => self.out.push_str("unknown"),
            Loc::Node { name, index } => {
                quote(name, &mut self.out);
                if let Some(index) = index {
                    let _ = write!(self.out, " #{index}");
                }
            }
            Loc::Fused { pass, from } => {
                self.out.push_str("fused ");
                quote(pass, &mut self.out);
                self.out.push_str(" [");
                for (i, &origin) in from.iter().enumerate() {
                    self.out.push_str(if i == 0 { "" } else { ", " });
                    self.loc(origin);
                }
                self.out.push(']');
            }
        }
    }
}

/// Values by place of definition in the text.
fn values_in_order(f: &Func) -> Vec<Value> {
    let mut out = f.params().to_vec();
    for op in f.walk() {
        out.extend(f.results(op));
        for &region in f.op(op).regions() {
            out.extend(&f.region(region).args);
        }
    }
    out
}

fn value_names(f: &Func) -> HashMap<Value, String> {
    let values = values_in_order(f);
    let (mut names, mut taken) = (HashMap::with_capacity(values.len()), HashSet::new());
    let mut number = 0;
    for v in values {
        let hint = f.name(v).filter(|n| is_plain_name(n));
        let name = match hint {
            Some(hint) if taken.insert(hint) => hint.to_string(),
            _ => {
                number += 1;
                (number - 1).to_string()
            }
        };
        names.insert(v, name);
    }
    names
}

/// True when `%r = loop.for %k = … carry(…) : types { … }` says everything about the op.
fn is_plain_loop(f: &Func, op: OpId) -> bool {
    let &[region] = f.op(op).regions() else { return false };
    let Some((&var, carried)) = f.region(region).args.split_first() else { return false };
    let (results, inits) = (f.results(op), f.operands(op));
    let same_type = |(&a, &r): (&Value, &Value)| f.ty(a) == f.ty(r);
    *f.ty(var) == Type::Index
        && carried.len() == results.len()
        && carried.len() == inits.len()
        && carried.iter().zip(results).all(same_type)
}

/// A memory access that can be written as `%mem[%var*stride + offset]`.
struct Access<'a> {
    stored: Option<Value>,
    mem: Value,
    vars: &'a [Value],
    strides: &'a [i64],
    offset: i64,
}

impl<'a> Access<'a> {
    fn of(kind: &'a OpKind, operands: &'a [Value]) -> Option<Self> {
        use loops::Op::*;
        let OpKind::Loop(op) = kind else { return None };
        let (stores, offset, strides) = match op {
            Load(o) => (false, o.offset, &o.strides),
            LoadSplat32(o) => (false, o.offset, &o.strides),
            LoadLow64(o) => (false, o.offset, &o.strides),
            Store(o) => (true, o.offset, &o.strides),
            StoreLow(o) => (true, o.offset, &o.strides),
            TileLoad(o) => (false, o.offset, &o.strides),
            TileStore(o) => (true, o.offset, &o.strides),
            _ => return None,
        };
        let (stored, rest) = match operands {
            [value, rest @ ..] if stores => (Some(*value), rest),
            _ if stores => return None,
            all => (None, all),
        };
        let (&mem, vars) = rest.split_first()?;
        (vars.len() == strides.len()).then_some(Access { stored, mem, vars, strides, offset })
    }
}

fn write_attr(attr: &Attr, out: &mut String) {
    let _ = match attr {
        Attr::Int(v) => write!(out, "{v}"),
        Attr::Float(v) if v.is_nan() => write!(out, "nan"),
        Attr::Float(v) => write!(out, "{v:?}"),
        Attr::Bool(b) => write!(out, "{b}"),
        Attr::Ints(all) => write!(out, "{all:?}"),
        Attr::Str(s) => {
            quote(s, out);
            Ok(())
        }
        Attr::Word(w) => write!(out, "{w}"),
        Attr::Data(_) => write!(out, "@?"),
    };
}

fn write_f32(v: f32, out: &mut String) {
    let _ = if v.is_nan() { write!(out, "nan") } else { write!(out, "{v:?}") };
}

fn write_type(ty: &Type, aliases: &IndexSet<Arc<QuantType>>, out: &mut String) {
    let _ = match ty {
        Type::Tensor(t) => {
            write_tensor(t, aliases, out);
            Ok(())
        }
        Type::Mem(m) => write_mem(m, out),
        Type::Scalar(d) => write!(out, "{d}"),
        Type::Vector { elem, lanes } => write!(out, "vec<{elem}x{lanes}>"),
        Type::Tile { rows, bytes } => write!(out, "tile<{rows}x{bytes}>"),
        Type::Index => write!(out, "index"),
    };
}

fn write_mem(m: &MemType, out: &mut String) -> std::fmt::Result {
    write!(out, "mem<{}", m.bytes)?;
    if m.slack != 0 {
        write!(out, ", slack={}", m.slack)?;
    }
    write!(out, "{}", if m.constant { ", const>" } else { ">" })
}

fn write_tensor(t: &TensorType, aliases: &IndexSet<Arc<QuantType>>, out: &mut String) {
    out.push_str("tensor<");
    for extent in &t.shape {
        let _ = write!(out, "{extent}x");
    }
    match &t.elem {
        Elem::Plain(d) => {
            let _ = write!(out, "{d}");
        }
        Elem::Quant(q) => match aliases.get_index_of(q) {
            Some(i) => {
                let _ = write!(out, "!q{i}");
            }
            None => quant_type(q, out),
        },
    }
    if let Some(layout) = &t.layout {
        let _ = match layout.space {
            Space::Arena => write!(out, ", arena"),
            Space::Input(k) => write!(out, ", in{k}"),
            Space::Output(k) => write!(out, ", out{k}"),
        };
        let _ = write!(out, "+{}:{:?}", layout.offset, layout.strides);
    }
    out.push('>');
}

fn quant_type(q: &QuantType, out: &mut String) {
    let _ = write!(out, "!quant.uniform<{}", q.storage);
    if !q.is_full_range() {
        let _ = write!(out, "<{}:{}>", q.range[0], q.range[1]);
    }
    let _ = write!(out, ":{}", q.expressed);
    match &q.params {
        QuantParams::PerTensor(a) => {
            out.push_str(", ");
            affine(*a, out);
        }
        QuantParams::PerAxis { axis, params } => {
            let _ = write!(out, ":{axis}, {{");
            for (i, a) in params.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { ", " });
                affine(*a, out);
            }
            out.push('}');
        }
    }
    out.push('>');
}

fn affine(a: Affine, out: &mut String) {
    write_f32(a.scale, out);
    let _ = write!(out, ":{}", a.zero_point);
}
