//! Ops that change nothing, and ops that are another op under certain attributes.

use crate::rewriter::Rewriter;
use qcc_ir::dialect::nn::{self, BinaryFn, Op, UnaryFn};
use qcc_ir::dialect::quant::Act;
use qcc_ir::{OpId, OpKind, Value};

/// What stands for an op.
enum Instead {
    /// The value that it reads.
    Operand(Value),
    /// Another op on these operands.
    Op(OpKind, Vec<Value>),
}

/// Replaces `op` if it changes nothing or is the long way to say something.
pub(crate) fn remove(r: &mut Rewriter, op: OpId) -> bool {
    let Some(instead) = r.nn(op).and_then(|kind| simpler(r, op, kind)) else { return false };
    let new = match instead {
        Instead::Operand(v) => v,
        Instead::Op(kind, operands) => {
            let ty = r.ty(r.result(op)).clone();
            r.insert(op, kind, &operands, ty, &[op])
        }
    };
    r.replace(op, new);
    true
}

fn simpler(r: &Rewriter, op: OpId, kind: &Op) -> Option<Instead> {
    let x = *r.f().operands(op).first()?;
    let same_shape = r.shape(x) == r.shape(r.result(op));
    let nothing = |holds: bool| holds.then_some(Instead::Operand(x));
    match kind {
        Op::Transpose(o) => transpose(r, x, &o.perm),
        Op::Reshape(_) if same_shape => nothing(true),
        Op::Reshape(_) => {
            let inner = inner_move(r, x, |k| matches!(k, Op::Reshape(_)))?;
            Some(Instead::Op(nn::Reshape {}.into(), vec![inner]))
        }
        Op::Broadcast(_) => nothing(same_shape),
        Op::Slice(o) => nothing(same_shape && o.step.iter().all(|&s| s == 1)),
        Op::Pad(o) => nothing(o.low.iter().chain(&o.high).all(|&n| n == 0)),
        Op::Concat(_) => nothing(r.f().operands(op).len() == 1),
        Op::Activation(o) => nothing(o.act == Act::None),
        Op::Unary(o) => unary(o).map(|act| Instead::Op(nn::Activation { act }.into(), vec![x])),
        Op::Binary(o) => clip(r, op, o.f),
        Op::Add(nn::Add { act: Act::None }) => neutral(r, op, 0.0, true),
        Op::Sub(nn::Sub { act: Act::None }) => neutral(r, op, 0.0, false),
        Op::Mul(nn::Mul { act: Act::None }) => neutral(r, op, 1.0, true),
        Op::Div(nn::Div { act: Act::None }) => neutral(r, op, 1.0, false),
        Op::Mean(o) if o.axes.iter().all(|&a| r.shape(x)[a as usize] == 1) => {
            Some(Instead::Op(nn::Reshape {}.into(), vec![x]))
        }
        _ => None,
    }
}

/// The operand of the op behind `x`, if that is one that `is` names.
fn inner_move(r: &Rewriter, x: Value, is: impl Fn(&Op) -> bool) -> Option<Value> {
    let inner = r.def(x)?;
    is(r.nn(inner)?).then(|| r.operand(inner, 0))
}

fn transpose(r: &Rewriter, x: Value, perm: &[u32]) -> Option<Instead> {
    if perm.iter().enumerate().all(|(i, &p)| i == p as usize) {
        return Some(Instead::Operand(x));
    }
    if let Some(inner) = r.def(x)
        && let Some(Op::Transpose(first)) = r.nn(inner)
    {
        let perm = perm.iter().map(|&p| first.perm[p as usize]).collect();
        return Some(Instead::Op(nn::Transpose { perm }.into(), vec![r.operand(inner, 0)]));
    }
    let shape = r.shape(x);
    let moved: Vec<u32> = perm.iter().copied().filter(|&p| shape[p as usize] != 1).collect();
    let per_axis = r.quant_type(x).is_some_and(|q| q.uniform().is_none());
    (moved.is_sorted() && !per_axis).then(|| Instead::Op(nn::Reshape {}.into(), vec![x]))
}

/// The activation function that a clip or a leaky ReLU is.
fn unary(o: &nn::Unary) -> Option<Act> {
    match (o.f, o.alpha, o.beta) {
        (UnaryFn::Clip, 0.0, f32::INFINITY) => Some(Act::Relu),
        (UnaryFn::Clip, 0.0, 6.0) => Some(Act::Relu6),
        (UnaryFn::Clip, -1.0, 1.0) => Some(Act::ReluN1To1),
        (UnaryFn::LeakyRelu, 0.0, _) => Some(Act::Relu),
        _ => None,
    }
}

/// min and max with a number are clips.
fn clip(r: &Rewriter, op: OpId, f: BinaryFn) -> Option<Instead> {
    let (x, c) = with_number(r, op, true)?;
    let (alpha, beta) = match f {
        BinaryFn::Max => (c, f32::INFINITY),
        BinaryFn::Min => (f32::NEG_INFINITY, c),
        _ => return None,
    };
    Some(Instead::Op(nn::Unary { f: UnaryFn::Clip, alpha, beta }.into(), vec![x]))
}

fn neutral(r: &Rewriter, op: OpId, number: f32, commutes: bool) -> Option<Instead> {
    let (x, c) = with_number(r, op, commutes)?;
    (c == number).then_some(Instead::Operand(x))
}

/// The operand that has the result's shape, and the one number that all elements of the other
/// (the second, or either if the op `commutes`) are.
fn with_number(r: &Rewriter, op: OpId, commutes: bool) -> Option<(Value, f32)> {
    let [a, b] = *r.f().operands(op) else { return None };
    let y = r.shape(r.result(op));
    let pairs = [(a, b), (b, a)].into_iter().take(1 + usize::from(commutes));
    let fits = |&(x, c): &(Value, Value)| r.shape(x) == y && r.const_splat(c).is_some();
    let (x, c) = pairs.into_iter().find(fits)?;
    Some((x, r.const_splat(c)?))
}
