//! The verifier: what every module must satisfy between passes.
//!
//! [`constraints`] lists everything that is checked. Each constraint has an id, `<subject>_c<n>`,
//! which errors carry and which names its test under `tests/ir/verify`. The subject is an op's
//! mnemonic (`conv2d_c3` holds at every level that has a `conv2d`), or one of these:
//!
//! | subject | checked by | about |
//! | --- | --- | --- |
//! | `module`, `func` | this file | names, parameters, what is returned |
//! | `op` | `generic` | the op table, regions, order of definitions, use-lists, level |
//! | `type` | `types` | quantization parameters, layouts, sizes, vectors |
//! | ops on tensors | `shapes`, and `nn`, `quant`, `int` for what only one level has | shapes, attributes |
//! | `lanes`, `address`, loop ops | `loops` | lane types, memory accesses, calls |
//!
//! Not checked here: that memory accesses stay inside their buffers (pass `prove-bounds`), that
//! placed tensors do not disturb each other (`check-memory-plan`).
//!
//! [`verify`] reports all errors, and never panics. Checks that rely on others are left out where
//! those failed: an op with the wrong number of operands is not asked for the shapes of them.

mod generic;
mod int;
mod loops;
mod nn;
mod quant;
mod shapes;
mod types;

use crate::dialect::core;
use crate::{Data, Func, FuncId, FuncKind, Level, Module, OpId, OpKind, TensorType, Type, Value};
use std::collections::HashSet;
use std::fmt;

/// A constraint that a module breaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyError {
    /// The constraint's id, `conv2d_c3`.
    pub constraint: String,
    /// What is wrong, and where: names the function, the op and its source location.
    pub message: String,
    /// The function at fault, if it is one.
    pub func: Option<FuncId>,
    /// The op at fault, if it is one.
    pub op: Option<OpId>,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.constraint, self.message)
    }
}

impl std::error::Error for VerifyError {}

/// A constraint's id and what it says.
pub type Constraint = (&'static str, &'static str);

/// Every constraint.
pub fn constraints() -> impl Iterator<Item = &'static Constraint> {
    let of_tensors = [shapes::CONSTRAINTS, nn::CONSTRAINTS, quant::CONSTRAINTS, int::CONSTRAINTS];
    let general = [CONSTRAINTS, generic::CONSTRAINTS, types::CONSTRAINTS];
    general.into_iter().chain(of_tensors).chain([loops::CONSTRAINTS]).flatten()
}

/// The constraints that the ops of one dialect are checked against, beside those of all ops.
pub fn constraints_of(dialect: &str) -> impl Iterator<Item = &'static Constraint> {
    let tables: &[&[Constraint]] = match dialect {
        "core" => &[CONSTRAINTS],
        "nn" => &[shapes::CONSTRAINTS, nn::CONSTRAINTS],
        "quant" => &[shapes::CONSTRAINTS, quant::CONSTRAINTS],
        "int" => &[shapes::CONSTRAINTS, int::CONSTRAINTS],
        "loop" => &[loops::CONSTRAINTS],
        _ => &[],
    };
    tables.iter().copied().flatten()
}

const CONSTRAINTS: &[Constraint] = &[
    ("module_c1", "functions have different names"),
    ("module_c2", "data blocks have different names"),
    ("func_c1", "above level loop: as many input names as parameters, or none"),
    ("func_c2", "above level loop: as many output names as returned values, or none"),
    ("func_c3", "kernels exist at level loop only; there, every parameter is a buffer"),
    ("func_c4", "at level loop, nothing is returned"),
    ("const_c1", "the data exists"),
    ("const_c2", "the value is a tensor, or a buffer that is declared const"),
    ("const_c3", "the data has exactly the bytes of the type"),
];

/// Checks every constraint.
///
/// # Errors
/// All that do not hold, in the order of the text.
pub fn verify(m: &Module) -> Result<(), Vec<VerifyError>> {
    let mut errors = Vec::new();
    check_names(m, &mut errors);
    let before = errors.len();
    for (id, f) in &m.funcs {
        generic::check_placement(m, id, f, &mut errors);
    }
    if errors.len() == before {
        for (id, f) in &m.funcs {
            check_func(m, id, f, &mut errors);
            generic::check_ops(m, id, f, &mut errors);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn check_names(m: &Module, errors: &mut Vec<VerifyError>) {
    let mut seen = HashSet::new();
    for (id, f) in &m.funcs {
        if !seen.insert(f.name.as_str()) {
            let message = format!("there is another function '@{}'", f.name);
            errors.push(func_error(id, "module_c1", message));
        }
    }
    let mut seen = HashSet::new();
    for Data { name, .. } in m.data.values() {
        if !seen.insert(name.as_str()) {
            let message = format!("there is another data block '@{name}'");
            let constraint = "module_c2".to_string();
            errors.push(VerifyError { constraint, message, func: None, op: None });
        }
    }
}

fn func_error(func: FuncId, constraint: &str, message: String) -> VerifyError {
    VerifyError { constraint: constraint.to_string(), message, func: Some(func), op: None }
}

fn check_func(m: &Module, id: FuncId, f: &Func, errors: &mut Vec<VerifyError>) {
    let mut require = |constraint: &str, holds: bool, message: &str| {
        if !holds {
            errors.push(func_error(id, constraint, format!("in @{}: {message}", f.name)));
        }
    };
    let (params, returned) = (f.params(), f.returned());
    if m.level == Level::Loop {
        let buffers = params.iter().all(|&v| f.ty(v).as_mem().is_some());
        require("func_c3", buffers, "every parameter is a buffer at level loop");
        require("func_c4", returned.is_empty(), "nothing is returned at level loop");
    } else {
        let is_count = |names: &[String], n| names.is_empty() || names.len() == n;
        let message = "input names, but not one per parameter";
        require("func_c1", is_count(&f.input_names, params.len()), message);
        let message = "output names, but not one per returned value";
        require("func_c2", is_count(&f.output_names, returned.len()), message);
        require("func_c3", f.kind == FuncKind::Main, "kernels exist at level loop only");
    }
    for &v in params {
        types::check(m, id, f, None, v, errors);
    }
}

/// One op under scrutiny.
struct OpCheck<'a> {
    m: &'a Module,
    f: &'a Func,
    func: FuncId,
    op: OpId,
    errors: &'a mut Vec<VerifyError>,
}

impl<'a> OpCheck<'a> {
    /// Reports the constraint `id` unless it holds; returns whether it does.
    fn require_id(&mut self, id: &str, holds: bool, message: impl FnOnce() -> String) -> bool {
        if !holds {
            let message = message();
            self.errors.push(op_error(self.m, self.func, self.op, id, &message));
        }
        holds
    }
    /// Reports constraint `n` of the op's mnemonic unless it holds; returns whether it does.
    fn require(&mut self, n: u32, holds: bool, message: impl FnOnce() -> String) -> bool {
        let name = self.f.kind(self.op).name();
        let mnemonic = name.split_once('.').map_or(name, |(_, mnemonic)| mnemonic);
        holds || self.require_id(&format!("{mnemonic}_c{n}"), holds, message)
    }
    fn operands(&self) -> &'a [Value] {
        self.f.operands(self.op)
    }
    fn ty(&self, v: Value) -> &'a Type {
        self.f.ty(v)
    }
    /// The tensor type of operand `i`; its slot in the table says that it is one.
    fn tensor(&self, i: usize) -> &'a TensorType {
        let ty = self.ty(self.operands()[i]).as_tensor();
        ty.expect("operands are checked against the table first")
    }
    /// The tensor type of an optional operand.
    fn opt_tensor(&self, i: usize) -> Option<&'a TensorType> {
        self.operands().get(i).map(|_| self.tensor(i))
    }
    /// The tensor type of result `i`; its slot in the table says that it is one.
    fn result(&self, i: usize) -> &'a TensorType {
        let ty = self.ty(self.f.results(self.op)[i]).as_tensor();
        ty.expect("results are checked against the table first")
    }
}

/// "in @main: 'conv_1' (quant.conv2d): message".
fn op_error(m: &Module, func: FuncId, op: OpId, id: &str, message: &str) -> VerifyError {
    let f = &m.funcs[func];
    let (name, loc) = (f.kind(op).name(), f.op(op).loc);
    let what = match m.locs.describe(loc).as_str() {
        "<unknown>" => name.to_string(),
        at => format!("'{at}' ({name})"),
    };
    let message = format!("in @{}: {what}: {message}", f.name);
    VerifyError { constraint: id.to_string(), message, func: Some(func), op: Some(op) }
}

/// Constraints of single dialects; the op fits its row in the table.
fn check_op(c: &mut OpCheck) {
    match c.f.kind(c.op) {
        OpKind::Core(core::Op::Const(op)) => check_const(c, op),
        OpKind::Core(core::Op::Return(_)) => {}
        OpKind::Nn(op) => nn::check(c, op),
        OpKind::Quant(op) => quant::check(c, op),
        OpKind::Int(op) => int::check(c, op),
        OpKind::Loop(op) => loops::check(c, op),
    }
}

fn check_const(c: &mut OpCheck, op: &core::Const) {
    let data = c.m.data.get(op.data);
    c.require(1, data.is_some(), || "there is no such data block".to_string());
    let bytes = match c.ty(c.f.result(c.op)) {
        Type::Tensor(t) => Some(t.bytes()),
        Type::Mem(mem) if mem.constant => Some(mem.bytes),
        _ => None,
    };
    let message = || "a constant is a tensor or a buffer declared const".to_string();
    c.require(2, bytes.is_some(), message);
    if let (Some(data), Some(bytes)) = (data, bytes) {
        let found = data.bytes.len() as u64;
        let message = || format!("the type has {bytes} bytes, '@{}' has {found}", data.name);
        c.require(3, found == bytes, message);
    }
}
