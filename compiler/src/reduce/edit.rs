//! Edits of [`super::reduce`]: each makes a smaller module, which may break a rule of the IR.

use indexmap::{IndexMap, IndexSet};
use qcc_ir::dialect::{core, loops};
use qcc_ir::{Bytes, DataId, Func, FuncId, FuncKind, Level, LocId, Module, OpId, OpKind};
use qcc_ir::{RegionId, Type, Value};
use std::ops::Range;

/// What takes the place of an op's result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replacement {
    /// An operand of the same type.
    Operand,
    /// A new input of the model.
    Input,
    /// A constant: zero.
    Zero,
}

/// What reduction makes less of, most important first: ops other than constants, inputs, outputs,
/// constants, constant bytes other than zero.
pub fn size(m: &Module) -> [usize; 5] {
    let main = m.main().map(|id| &m.funcs[id]);
    let ops = m.funcs.values().flat_map(|f| f.walk().into_iter().map(move |op| f.kind(op)));
    let (constants, others): (Vec<_>, Vec<_>) = ops.partition(|k| is_constant(k));
    let bytes = m.data.values().flat_map(|d| d.bytes.iter());
    [
        others.len() + m.funcs.len(),
        main.map_or(0, |f| f.params().len()),
        main.map_or(0, |f| f.returned().len()),
        constants.len() + m.data.len(),
        bytes.filter(|&&b| b != 0).count(),
    ]
}

/// Ops that may be cut out: all but constants and ends of regions.
pub fn removable_ops(f: &Func) -> Vec<OpId> {
    let may_go = |op: &OpId| !f.kind(*op).spec().terminator && !is_constant(f.kind(*op));
    f.walk().into_iter().filter(may_go).collect()
}

fn is_constant(kind: &OpKind) -> bool {
    use loops::Op::{Fconst, Iconst};
    matches!(kind, OpKind::Core(core::Op::Const(_)) | OpKind::Loop(Iconst(_) | Fconst(_)))
}

/// Without some of the outputs.
pub fn without_outputs(m: &Module, gone: Range<usize>) -> Module {
    let mut m = m.clone();
    if let Some(f) = m.main().map(|id| &mut m.funcs[id]) {
        let stays = |k: &usize| !gone.contains(k);
        let values: Vec<Value> =
            f.returned().iter().enumerate().filter(|(k, _)| stays(k)).map(|(_, &v)| v).collect();
        let names = std::mem::take(&mut f.output_names).into_iter().enumerate();
        f.output_names = names.filter(|(k, _)| stays(k)).map(|(_, n)| n).collect();
        if let Some(&end) = f.body_ops().last() {
            f.set_operands(end, &values);
        }
    }
    tidy(m)
}

/// With the results of an op of `main` for outputs; nothing at level loop, where they are buffers.
pub fn ending_at(m: &Module, op: OpId) -> Option<Module> {
    let mut m = m.clone();
    let id = m.main().filter(|_| m.level != Level::Loop)?;
    let f = &mut m.funcs[id];
    let results = f.results(op).to_vec();
    let end = *f.body_ops().last()?;
    f.set_operands(end, &results);
    f.output_names.clear();
    Some(tidy(m))
}

/// Without `ops` of `func`; nothing where a result cannot be replaced that way.
pub fn without_ops(m: &Module, func: FuncId, ops: &[OpId], way: Replacement) -> Option<Module> {
    let mut m = m.clone();
    // Users before what they use, so that results inside the run are unused by then.
    for &op in ops.iter().rev() {
        if m.funcs[func].op(op).parent().is_none() {
            continue;
        }
        for result in m.funcs[func].results(op).to_vec() {
            if !m.funcs[func].value(result).uses().is_empty() {
                let other = replacement(&mut m, func, (op, result), way)?;
                m.funcs[func].replace_uses(result, other);
            }
        }
        m.funcs[func].erase(op);
    }
    Some(tidy(m))
}

/// A value that may stand where `result` of `op` is read.
fn replacement(
    m: &mut Module,
    func: FuncId,
    (op, result): (OpId, Value),
    way: Replacement,
) -> Option<Value> {
    let ty = m.funcs[func].ty(result).clone();
    match way {
        Replacement::Operand => {
            let f = &m.funcs[func];
            f.operands(op).iter().copied().find(|&v| *f.ty(v) == ty)
        }
        Replacement::Input if m.level == Level::Loop => None,
        Replacement::Input => Some(add_input(&mut m.funcs[func], result, ty)),
        Replacement::Zero => {
            let kind = zero(m, &ty)?;
            let f = &mut m.funcs[func];
            let constant = f.create_op(kind, &[], &[ty], &[], LocId(0));
            f.insert_before(op, constant);
            Some(f.result(constant))
        }
    }
}

/// A new parameter of `main`, named after the value it stands for.
fn add_input(f: &mut Func, like: Value, ty: Type) -> Value {
    let n = f.params().len();
    let name = f.name(like).map(String::from).unwrap_or_else(|| format!("cut{n}"));
    let v = f.add_arg(f.body, ty);
    while f.input_names.len() < n {
        f.input_names.push(format!("in{}", f.input_names.len()));
    }
    let taken = |name: &String, f: &Func| f.input_names.contains(name);
    let name = if taken(&name, f) { format!("{name}.{n}") } else { name };
    f.set_name(v, &name);
    f.input_names.push(name);
    v
}

/// A constant of zeros.
fn zero(m: &mut Module, ty: &Type) -> Option<OpKind> {
    match ty {
        Type::Tensor(t) => {
            let n_bytes = usize::try_from(t.bytes()).ok()?;
            let data = m.add_data("zeros", vec![0; n_bytes]);
            Some(core::Const { data }.into())
        }
        Type::Scalar(d) | Type::Vector { elem: d, .. } if d.is_float() => {
            Some(loops::Fconst { value: 0.0 }.into())
        }
        Type::Scalar(_) | Type::Vector { .. } => Some(loops::Iconst { value: 0 }.into()),
        Type::Tile { .. } => Some(loops::TileZero {}.into()),
        Type::Mem(_) | Type::Index => None,
    }
}

/// With zeros for input `k`; nothing at level loop, where inputs are buffers.
pub fn with_zero_input(m: &Module, k: usize) -> Option<Module> {
    let mut m = m.clone();
    let id = m.main().filter(|_| m.level != Level::Loop)?;
    let param = *m.funcs[id].params().get(k)?;
    if !m.funcs[id].value(param).uses().is_empty() {
        let ty = m.funcs[id].ty(param).clone();
        let kind = zero(&mut m, &ty)?;
        let f = &mut m.funcs[id];
        let constant = f.create_op(kind, &[], &[ty], &[], LocId(0));
        f.insert_at(f.body, 0, constant);
        let zeros = f.result(constant);
        f.replace_uses(param, zeros);
    }
    Some(tidy(m))
}

/// With zeros in some constants.
pub fn with_zero_data(m: &Module, ids: &[DataId]) -> Module {
    let mut m = m.clone();
    for &id in ids {
        if let Some(data) = m.data.get_mut(id) {
            data.bytes = vec![0; data.bytes.len()].into();
        }
    }
    tidy(m)
}

/// Without what nothing needs: pure ops without readers, unread inputs, kernels that are not called,
/// constants twice. Functions are renumbered.
pub fn tidy(m: Module) -> Module {
    let mut out = Module { funcs: Default::default(), data: Default::default(), ..m.clone() };
    let called = called(&m);
    let mut data = SharedData::default();
    for (_, mut f) in m.funcs.into_iter() {
        let needed = f.kind == FuncKind::Main && f.name == "main" || called.contains(&f.name);
        if !needed {
            continue;
        }
        let body = f.body;
        qcc_passes::dce::erase_unused(&mut f, body);
        for op in f.walk() {
            if let OpKind::Core(core::Op::Const(c)) = f.kind_mut(op)
                && let Some(block) = m.data.get(c.data)
            {
                c.data = data.share(&mut out, &block.name, &block.bytes);
            }
        }
        out.funcs.push(if m.level == Level::Loop { f } else { without_unread_inputs(&f) });
    }
    out
}

/// Blocks of data by their bytes.
#[derive(Default)]
struct SharedData(IndexMap<Bytes, DataId>);

impl SharedData {
    fn share(&mut self, m: &mut Module, name: &str, bytes: &Bytes) -> DataId {
        *self.0.entry(bytes.clone()).or_insert_with(|| m.add_data(name, bytes.clone()))
    }
}

/// Kernels that are called from somewhere.
fn called(m: &Module) -> IndexSet<String> {
    let mut out = IndexSet::new();
    for f in m.funcs.values() {
        for op in f.walk() {
            if let OpKind::Loop(loops::Op::Call(call)) = f.kind(op) {
                out.insert(call.kernel.clone());
            }
        }
    }
    out
}

/// A copy of the function without parameters that nothing reads.
fn without_unread_inputs(f: &Func) -> Func {
    let read = |v: &Value| !f.value(*v).uses().is_empty();
    let kept: Vec<usize> = (0..f.params().len()).filter(|&k| read(&f.params()[k])).collect();
    let types: Vec<Type> = kept.iter().map(|&k| f.ty(f.params()[k]).clone()).collect();
    let mut out = Func::new(&f.name, f.kind, &types);
    out.output_names.clone_from(&f.output_names);
    let mut values = IndexMap::new();
    for (new, &k) in kept.iter().enumerate() {
        out.input_names.extend(f.input_names.get(k).cloned());
        let (from, to) = (f.params()[k], out.params()[new]);
        map_value(f, &mut out, (from, to), &mut values);
    }
    let body = out.body;
    copy_ops(f, f.body, &mut out, body, &mut values);
    out
}

fn map_value(
    f: &Func,
    out: &mut Func,
    (from, to): (Value, Value),
    values: &mut IndexMap<Value, Value>,
) {
    if let Some(name) = f.name(from) {
        out.set_name(to, name);
    }
    values.insert(from, to);
}

/// Copies the ops of a region to the end of another function's region.
fn copy_ops(
    f: &Func,
    from: RegionId,
    out: &mut Func,
    to: RegionId,
    values: &mut IndexMap<Value, Value>,
) {
    for &op in &f.region(from).ops {
        let mut regions = Vec::new();
        for &inner in f.op(op).regions() {
            let copy = out.add_region();
            for &arg in &f.region(inner).args {
                let new = out.add_arg(copy, f.ty(arg).clone());
                map_value(f, out, (arg, new), values);
            }
            copy_ops(f, inner, out, copy, values);
            regions.push(copy);
        }
        let operands: Vec<Value> = f.operands(op).iter().map(|v| values[v]).collect();
        let types: Vec<Type> = f.results(op).iter().map(|&v| f.ty(v).clone()).collect();
        let copy = out.create_op(f.kind(op).clone(), &operands, &types, &regions, f.op(op).loc);
        out.append(to, copy);
        for (i, &result) in f.results(op).iter().enumerate() {
            let new = out.results(copy)[i];
            map_value(f, out, (result, new), values);
        }
    }
}
