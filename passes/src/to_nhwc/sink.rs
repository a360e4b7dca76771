//! One op and the transposes before it.

use super::{Transposed, transpose};
use crate::consts::is_const;
use crate::rewriter::Rewriter;
use qcc_ir::dialect::nn::{self, Op};
use qcc_ir::dialect::quant;
use qcc_ir::{Elem, OpId, OpKind, QuantParams, QuantType, TensorType, Value};
use std::sync::Arc;

/// Did something change? The error says why a transpose does not get past.
type Sunk = Result<bool, String>;

/// `op(transpose(x))` → `transpose(op(x))`.
pub(super) fn past(r: &mut Rewriter, op: OpId) -> Sunk {
    let operands = r.f().operands(op).to_vec();
    let Some(t) = operands.iter().find_map(|&v| Transposed::of(r, v)) else { return Ok(false) };
    match r.f().kind(op).clone() {
        OpKind::Nn(kind) => float_op(r, op, &kind, &t),
        OpKind::Quant(
            kind @ (quant::Op::Quantize(_) | quant::Op::Dequantize(_) | quant::Op::Requantize(_)),
        ) => Ok(one_operand(r, op, OpKind::Quant(kind), &t)),
        _ => Ok(false),
    }
}

fn float_op(r: &mut Rewriter, op: OpId, kind: &Op, t: &Transposed) -> Sunk {
    let rank = t.perm.len() as u32;
    let last_stays = t.perm.last() == Some(&rank.saturating_sub(1));
    let same = || OpKind::Nn(kind.clone());
    match kind {
        Op::Activation(_) | Op::Unary(_) | Op::Cast(_) => Ok(one_operand(r, op, same(), t)),
        Op::FakeQuant(_) => match r.ty(r.operand(op, 1)).len() == 1 || last_stays {
            true => Ok(first_operand(r, op, same(), t)),
            false => Err("its ranges lie along the last axis".to_string()),
        },
        Op::Softmax(_) | Op::LogSoftmax(_) | Op::LayerNorm(_) | Op::BatchNorm(_) => {
            match last_stays {
                true => Ok(first_operand(r, op, same(), t)),
                false => Err("it works along the last axis".to_string()),
            }
        }
        Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) | Op::Binary(_) => elementwise(r, op, t),
        Op::Concat(o) => concat(r, op, o.axis, t),
        Op::Slice(o) => {
            let kind = nn::Slice { start: t.back(&o.start), step: t.back(&o.step) };
            Ok(one_operand(r, op, kind.into(), t))
        }
        Op::Pad(o) => {
            let kind = nn::Pad { low: t.back(&o.low), high: t.back(&o.high), ..nn::Pad::clone(o) };
            Ok(one_operand(r, op, kind.into(), t))
        }
        Op::Gather(o) if r.shape(r.operand(op, 1)).len() == 1 => {
            let kind = nn::Gather { axis: t.axis(o.axis) };
            Ok(first_operand(r, op, kind.into(), t))
        }
        Op::Mean(o) => {
            let axes = renamed(&o.axes, t)?;
            Ok(reduce(r, op, nn::Mean { axes }.into(), t))
        }
        Op::Reduce(o) => {
            let axes = renamed(&o.axes, t)?;
            Ok(reduce(r, op, nn::Reduce { f: o.f, axes }.into(), t))
        }
        Op::ArgMax(o) => {
            let axis = renamed(&[o.axis], t)?[0];
            Ok(reduce(r, op, nn::ArgMax { axis, min: o.min }.into(), t))
        }
        Op::Reshape(_) => Err("it reads the elements in their order".to_string()),
        _ => Ok(false),
    }
}

/// Reduced axes under their names before the transpose, if the others keep their order.
fn renamed(axes: &[u32], t: &Transposed) -> Result<Vec<u32>, String> {
    let kept = (0..t.perm.len() as u32).filter(|d| !axes.contains(d)).map(|d| t.axis(d));
    if !kept.is_sorted() {
        return Err("the axes that it keeps change places".to_string());
    }
    let mut axes: Vec<u32> = axes.iter().map(|&a| t.axis(a)).collect();
    axes.sort_unstable();
    Ok(axes)
}

/// The result has its shape already.
fn reduce(r: &mut Rewriter, op: OpId, kind: OpKind, t: &Transposed) -> bool {
    let ty = r.ty(r.result(op)).clone();
    let y = r.insert(op, kind, &[t.x], ty, &[op]);
    r.replace(op, y);
    true
}

fn one_operand(r: &mut Rewriter, op: OpId, kind: OpKind, t: &Transposed) -> bool {
    put_transpose_behind(r, op, kind, &[t.x], t);
    true
}

/// The op's data is its first operand; the others stay.
fn first_operand(r: &mut Rewriter, op: OpId, kind: OpKind, t: &Transposed) -> bool {
    let mut operands = r.f().operands(op).to_vec();
    // The transpose may be that of another operand.
    let Some(first) = Transposed::of(r, operands[0]) else { return false };
    operands[0] = first.x;
    put_transpose_behind(r, op, kind, &operands, t);
    true
}

/// `kind(operands)`, whose result is then transposed as the operands were.
fn put_transpose_behind(
    r: &mut Rewriter,
    op: OpId,
    kind: OpKind,
    operands: &[Value],
    t: &Transposed,
) {
    let y = r.ty(r.result(op)).clone();
    let ty = TensorType {
        shape: t.back(&y.shape).as_slice().into(),
        elem: elem_before(&y.elem, t),
        layout: None,
    };
    let inner = r.insert(op, kind, operands, ty, &[op]);
    let outer = transpose(r, op, inner, &t.perm, y);
    r.replace(op, outer);
}

/// The element type before the transpose: parameters along an axis have its old name.
fn elem_before(elem: &Elem, t: &Transposed) -> Elem {
    let Elem::Quant(q) = elem else { return elem.clone() };
    let QuantParams::PerAxis { axis, params } = &q.params else { return elem.clone() };
    let params =
        QuantParams::PerAxis { axis: t.axis(*axis as u32) as usize, params: params.clone() };
    Elem::Quant(Arc::new(QuantType { params, ..QuantType::clone(q) }))
}

/// Every operand is transposed alike, constant, or one number.
fn elementwise(r: &mut Rewriter, op: OpId, t: &Transposed) -> Sunk {
    let kind = r.f().kind(op).clone();
    let operands = aligned(r, op, t, true)?;
    put_transpose_behind(r, op, kind, &operands, t);
    Ok(true)
}

fn concat(r: &mut Rewriter, op: OpId, axis: u32, t: &Transposed) -> Sunk {
    let operands = aligned(r, op, t, false)?;
    put_transpose_behind(r, op, nn::Concat { axis: t.axis(axis) }.into(), &operands, t);
    Ok(true)
}

/// The operands of `op` as they are before `t`; constants (and dequantized constants) are
/// transposed back.
fn aligned(
    r: &mut Rewriter,
    op: OpId,
    t: &Transposed,
    broadcasts: bool,
) -> Result<Vec<Value>, String> {
    let operands = r.f().operands(op).to_vec();
    let fits = |r: &Rewriter, v: Value| match Transposed::of(r, v) {
        Some(other) => other.perm == t.perm,
        None => {
            let fixed = r.dequantized(v).map_or(is_const(r.f(), v), |q| is_const(r.f(), q));
            (broadcasts && r.ty(v).len() == 1) || (fixed && r.shape(v).len() <= t.perm.len())
        }
    };
    if let Some(&other) = operands.iter().find(|&&v| !fits(r, v)) {
        let from = r.def(other).map_or("an input of the model".to_string(), |o| r.node(o));
        return Err(format!("its input from '{from}' has another layout"));
    }
    let aligned = operands.iter().map(|&v| match Transposed::of(r, v) {
        Some(other) => other.x,
        None if broadcasts && r.ty(v).len() == 1 => v,
        None => transposed_back(r, op, v, t),
    });
    Ok(aligned.collect())
}

/// A constant, given its full rank and transposed back.
fn transposed_back(r: &mut Rewriter, op: OpId, v: Value, t: &Transposed) -> Value {
    let missing = t.perm.len() - r.shape(v).len();
    let mut v = v;
    if missing > 0 {
        let shape: Vec<u64> =
            std::iter::repeat_n(1, missing).chain(r.shape(v).iter().copied()).collect();
        let ty = r.ty(v).with_shape(&shape);
        v = r.insert(op, nn::Reshape {}, &[v], ty, &[op]);
    }
    let shape = t.back(r.shape(v));
    let ty = r.ty(v).with_shape(&shape);
    transpose(r, op, v, &t.inverse(), ty)
}
