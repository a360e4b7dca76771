//! What stays float in a quantized module: which node, why, and what would make it integer.
//!
//! An island is an op on floats, other than one that moves elements, in a module at level quant (or
//! nn, or int) in which at least one value is quantized. `fuse-dqq` leaves a remark for each;
//! `--require-integer` makes them errors.

use crate::rewriter::Rewriter;
use qcc_ir::dialect::{
    nn::{Op, ReduceFn},
    quant,
};
use qcc_ir::{FuncId, Module, Numerics, OpId, OpKind, Value};

/// A float op in a quantized module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Island {
    /// The node in the source model.
    pub node: String,
    /// The op's name.
    pub op: &'static str,
    /// Why it is float.
    pub why: String,
    /// What would make it integer.
    pub remedy: String,
}

impl std::fmt::Display for Island {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} stays float: {}; {}", self.op, self.why, self.remedy)
    }
}

/// All islands of a module, in the order of the text. `quant.quantize` and `quant.dequantize` at the model's
/// own inputs and outputs are none.
pub fn islands(m: &Module) -> Vec<Island> {
    let mut copy = m.clone();
    let funcs: Vec<FuncId> = m.funcs.keys().collect();
    let mut out = Vec::new();
    for func in funcs {
        let r = Rewriter { m: &mut copy, func, pass: "islands" };
        out.extend(r.f().walk().into_iter().filter_map(|op| island(&r, op)));
    }
    out
}

pub(crate) fn island(r: &Rewriter, op: OpId) -> Option<Island> {
    let OpKind::Nn(kind) = r.f().kind(op) else { return None };
    let is_float = |v: &Value| r.ty(*v).storage().is_float();
    if !r.f().results(op).iter().chain(r.f().operands(op)).any(is_float) || only_moves(kind) {
        return None;
    }
    let (why, remedy) = explain(r, op, kind);
    let op_name = r.f().kind(op).name();
    Some(Island { node: r.node(op), op: op_name, why, remedy })
}

/// Ops that move elements follow what they move.
fn only_moves(kind: &Op) -> bool {
    matches!(
        kind,
        Op::Concat(_)
            | Op::Reshape(_)
            | Op::Transpose(_)
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::Broadcast(_)
            | Op::Gather(_)
            | Op::ResizeNearest(_)
            | Op::Cast(_)
    )
}

/// Does some numerics have a quantized op for `kind`?
pub(crate) fn has_integer_form(kind: &Op) -> bool {
    matches!(
        kind,
        Op::Conv2d(_)
            | Op::DepthwiseConv2d(_)
            | Op::FullyConnected(_)
            | Op::MatMul(_)
            | Op::Add(_)
            | Op::Sub(_)
            | Op::Mul(_)
            | Op::Div(_)
            | Op::Binary(_)
            | Op::Unary(_)
            | Op::Activation(_)
            | Op::MaxPool2d(_)
            | Op::AvgPool2d(_)
            | Op::Mean(_)
            | Op::Softmax(_)
            | Op::LogSoftmax(_)
            | Op::ResizeBilinear(_)
            | Op::ArgMax(_)
    ) || matches!(kind, Op::Reduce(o) if matches!(o.f, ReduceFn::Min | ReduceFn::Max))
        || only_moves(kind)
}

fn explain(r: &Rewriter, op: OpId, kind: &Op) -> (String, String) {
    let text = |why: &str, remedy: &str| (why.to_string(), remedy.to_string());
    match kind {
        Op::FakeQuant(_) | Op::QuantizeAndDequantize(_) => {
            return text("its range is not constant", "freeze the graph with its trained range");
        }
        Op::DynamicQuantize(_) => {
            return text(
                "the model computes its scale from the data",
                "quantize the model statically, with calibration data",
            );
        }
        Op::MatMulInteger(_) | Op::ConvInteger(_) => {
            return text(
                "its scale is computed from the data",
                "quantize the model statically, with calibration data",
            );
        }
        _ if !has_integer_form(kind) => {
            return text("it has no integer form", "keep it float, or replace it in the model");
        }
        _ => {}
    }
    if let Some(v) = r.f().operands(op).iter().find(|&&v| is_unquantized(r, v)) {
        return match r.def(*v) {
            None => text(
                "it reads an input of the model that is not quantized",
                "quantize that input: a QuantizeLinear or FakeQuant node behind it",
            ),
            Some(def) => {
                let from = r.node(def);
                let remedy =
                    format!("give the output of '{from}' a range: a FakeQuant or QDQ pair");
                (format!("its input from '{from}' is not quantized"), remedy)
            }
        };
    }
    let readers = r.readers(r.f().results(op)[0]);
    if let Some(&reader) = readers.iter().find(|&&o| !r.is_quantize(o)) {
        let who = r.node(reader);
        let remedy = "give its output a range: a FakeQuant or QDQ pair behind it";
        return (format!("'{who}' reads its output unquantized"), remedy.to_string());
    }
    if computes_with_constants(kind) && r.m.numerics == Numerics::Onnx {
        let is_const = |&&v: &&Value| crate::consts::is_const(r.f(), v);
        if let Some(v) = r.f().operands(op).iter().find(is_const) {
            let why = format!("its constant '{}' is not quantized", r.name_of(*v));
            return (why, "give the constant a QDQ pair".into());
        }
    }
    text(
        "its types have no integer kernel",
        "the remarks of fuse-dqq for this node say which; 8-bit symmetric weights always do",
    )
}

/// Ops whose constants ONNX Runtime keeps in float32 unless the model quantizes them.
fn computes_with_constants(kind: &Op) -> bool {
    let layer = matches!(
        kind,
        Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::FullyConnected(_) | Op::MatMul(_)
    );
    layer || matches!(kind, Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_))
}

/// A float value that is neither a constant nor made of codes.
fn is_unquantized(r: &Rewriter, v: Value) -> bool {
    let float = r.ty(v).storage().is_float();
    let codes = r.def(v).is_some_and(|op| {
        let kind = r.f().kind(op);
        matches!(kind, OpKind::Core(_) | OpKind::Quant(quant::Op::Dequantize(_)))
    });
    float && !codes
}
