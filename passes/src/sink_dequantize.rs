//! `sink-dequantize`: elements move as codes.
//!
//! ```text
//! %x = quant.dequantize(%q)               %t = nn.transpose(%q) {perm=[0,3,1,2]}
//! %y = nn.transpose(%x) {perm=[0,3,1,2]}   ─►   %y = quant.dequantize(%t)
//! ```
//!
//! For ops that give elements of what they are given: reshape, transpose, slice, gather, broadcast,
//! nearest-neighbour resizing, max pools; a pad whose value is a number of the type; a concatenation of
//! values of one type. An activation that changes no number of the type goes. Parameters along an axis
//! follow their axis, if it is whole afterwards; those of a constant are moved with its codes.

use crate::rewriter::{Rewriter, evaluate, rewrite_all};
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::dialect::nn::{Op, PadMode};
use qcc_ir::dialect::quant::{self, Act};
use qcc_ir::{Elem, Level, Module, OpId, OpKind, QuantParams, QuantType, TensorType, Value};
use std::sync::Arc;

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "sink-dequantize",
    summary: "move elements before dequantizing them",
    doc: include_str!("sink_dequantize.rs"),
    needs: LevelSet::of(&[Level::Nn, Level::Quant]),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

/// A chain sinks in one round.
const MAX_ROUNDS: usize = 8;

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    rewrite_all(m, ctx, MAX_ROUNDS, |r, op, ctx| match sink(r, op) {
        None => false,
        Some(Ok(())) => true,
        Some(Err(why)) => {
            r.remark(ctx, op, format!("not moved before dequantize: {why}"));
            false
        }
    });
    Ok(())
}

/// `None`: not an op that moves elements of dequantized values.
fn sink(r: &mut Rewriter, op: OpId) -> Option<Result<(), String>> {
    let kind = r.nn(op)?.clone();
    let x = *r.f().operands(op).first()?;
    let q = r.dequantized(x)?;
    let ty = r.quant_type(q)?.clone();
    if let Op::Activation(o) = kind {
        if !changes_nothing(o.act, &ty) {
            return None;
        }
        r.replace(op, x);
        return Some(Ok(()));
    }
    let moved = match &kind {
        Op::Concat(o) => concat(r, op, o.axis, &ty),
        _ => one(r, op, &kind, (q, &ty))?,
    };
    Some(moved.map(|codes| {
        let float = r.ty(r.result(op)).clone();
        let y = r.insert(op, quant::Dequantize {}, &[codes], float, &[op]);
        r.replace(op, y);
    }))
}

/// Is `act` the identity on all numbers of the type?
fn changes_nothing(act: Act, q: &QuantType) -> bool {
    let Some(a) = q.uniform() else { return false };
    let [lo, hi] = q.range.map(|c| f64::from(a.scale) * f64::from(c - a.zero_point));
    match act {
        Act::None => true,
        Act::Relu => lo >= 0.0,
        Act::Relu6 => lo >= 0.0 && hi <= 6.0,
        Act::ReluN1To1 => lo >= -1.0 && hi <= 1.0,
    }
}

fn concat(r: &mut Rewriter, op: OpId, axis: u32, ty: &Arc<QuantType>) -> Result<Value, String> {
    let operands = r.f().operands(op).to_vec();
    let codes: Option<Vec<Value>> = operands.iter().map(|&v| r.dequantized(v)).collect();
    let Some(codes) = codes else { return Err("an input is float".to_string()) };
    if codes.iter().any(|&v| r.quant_type(v) != Some(ty)) || ty.uniform().is_none() {
        return Err("its inputs have different parameters".to_string());
    }
    let y = TensorType::quant(r.shape(r.result(op)), ty.clone());
    Ok(r.insert(op, quant::Concat { axis, act: Act::None }, &codes, y, &[op]))
}

/// The moved codes of an op with one data operand.
fn one(
    r: &mut Rewriter,
    op: OpId,
    kind: &Op,
    (q, ty): (Value, &Arc<QuantType>),
) -> Option<Result<Value, String>> {
    let (from, to) = (r.shape(q).to_vec(), r.shape(r.result(op)).to_vec());
    let new: OpKind = match kind {
        Op::Reshape(_) => quant::Reshape {}.into(),
        Op::MaxPool2d(o) => {
            let (window, stride, pad, act) = (o.window, o.stride, o.pad, o.act);
            quant::MaxPool2d { window, stride, pad, act }.into()
        }
        Op::Pad(o) if o.mode == PadMode::Constant && !is_number_of(o.value, ty) => {
            return Some(Err(format!("{} is no number of its input's type", o.value)));
        }
        Op::Transpose(_)
        | Op::Slice(_)
        | Op::Gather(_)
        | Op::Broadcast(_)
        | Op::ResizeNearest(_)
        | Op::Pad(_) => OpKind::Nn(kind.clone()),
        _ => return None,
    };
    let Some(ty) = moved_type(kind, ty, (&from, &to)) else {
        return Some(Err("its input's parameters lie along an axis that changes".to_string()));
    };
    if let (Some(t), Op::Reshape(_) | Op::Transpose(_)) = (r.const_tensor(q), kind) {
        let plain = TensorType::plain(&to, t.dtype());
        let moved = evaluate(OpKind::Nn(kind.clone()), &[t], &plain);
        return Some(moved.map(|t| {
            let name = r.name_of(q);
            r.constant(op, &name, &t, Elem::Quant(ty))
        }));
    }
    let mut operands = r.f().operands(op).to_vec();
    operands[0] = q;
    Some(Ok(r.insert(op, new, &operands, TensorType::quant(&to, ty), &[op])))
}

/// Does a code stand for exactly this number?
fn is_number_of(value: f32, q: &QuantType) -> bool {
    let Some(a) = q.uniform() else { return value == 0.0 };
    let steps = f64::from(value) / f64::from(a.scale);
    let code = steps + f64::from(a.zero_point);
    let back = (steps as i64 as f64 * f64::from(a.scale)) as f32;
    let in_range = code >= f64::from(q.range[0]) && code <= f64::from(q.range[1]);
    value == 0.0 || (in_range && back == value)
}

/// The type after the move.
fn moved_type(
    kind: &Op,
    q: &Arc<QuantType>,
    (from, to): (&[u64], &[u64]),
) -> Option<Arc<QuantType>> {
    let QuantParams::PerAxis { axis, params } = &q.params else { return Some(q.clone()) };
    let axis = match kind {
        Op::Transpose(o) => o.perm.iter().position(|&p| p as usize == *axis)?,
        Op::Reshape(_) => crate::fold_fake_quant::axis_after_reshape(from, to, *axis)?,
        _ => return None,
    };
    let params = QuantParams::PerAxis { axis, params: params.clone() };
    Some(Arc::new(QuantType { params, ..QuantType::clone(q) }))
}
