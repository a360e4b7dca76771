//! Biases and activations join the op before; matmuls by weights become fully connected.

use crate::PassContext;
use crate::consts::is_const;
use crate::rewriter::{Rewriter, act_mut, act_of};
use qcc_ir::dialect::nn::{self, Op};
use qcc_ir::dialect::quant::{self, Act};
use qcc_ir::{OpId, OpKind, TensorType, Value};

/// `act(f(x))`: f applies the activation itself.
pub(super) fn activation(r: &mut Rewriter, op: OpId, ctx: &mut PassContext) -> bool {
    let Some(Op::Activation(outer)) = r.nn(op) else { return false };
    let outer = outer.act;
    let x = r.operand(op, 0);
    let Some(producer) = r.def(x) else { return false };
    let mut kind = r.f().kind(producer).clone();
    let Some(act) = act_mut(&mut kind) else { return false };
    let Some(both) = compose(*act, outer) else { return false };
    *act = both;
    if r.sole_reader(x).is_none() {
        let other =
            r.readers(x).into_iter().find(|&o| o != op).map_or_else(String::new, |o| r.node(o));
        r.remark(ctx, op, format!("activation not merged: its input is also read by '{other}'"));
        return false;
    }
    let operands = r.f().operands(producer).to_vec();
    let ty = r.ty(r.result(op)).clone();
    let new = r.insert(op, kind, &operands, ty, &[producer, op]);
    r.replace(op, new);
    true
}

/// The one activation that is `outer` after `inner`.
fn compose(inner: Act, outer: Act) -> Option<Act> {
    match (inner, outer) {
        (Act::None, act) | (act, Act::None) => Some(act),
        (a, b) if a == b => Some(a),
        (Act::Relu | Act::Relu6, Act::Relu | Act::Relu6) => Some(Act::Relu6),
        _ => None,
    }
}

/// `conv(x, w) + constant per channel`.
pub(super) fn bias(r: &mut Rewriter, op: OpId) -> bool {
    let (sign, act) = match r.nn(op) {
        Some(Op::Add(o)) => (1.0, o.act),
        Some(Op::Sub(o)) => (-1.0, o.act),
        _ => return false,
    };
    let [a, b] = *r.f().operands(op) else { return false };
    let pairs = [(a, b), (b, a)].into_iter().take(if sign > 0.0 { 2 } else { 1 });
    let pairs: Vec<(Value, Value)> = pairs.collect();
    let Some((x, c)) = pairs.into_iter().find(|&(x, c)| takes_bias(r, x) && is_const(r.f(), c))
    else {
        return false;
    };
    let Some(values) = per_channel(r, c, r.shape(x)) else { return false };
    if r.shape(x) != r.shape(r.result(op)) {
        return false;
    }
    let Some(producer) = r.def(x) else { return false };
    let as_is = sign > 0.0 && r.shape(c) == [values.len() as u64];
    let bias = if as_is { c } else { signed_bias(r, op, (c, sign), &values) };
    let mut kind = r.f().kind(producer).clone();
    if let Some(slot) = act_mut(&mut kind) {
        *slot = act;
    }
    let operands: Vec<Value> = r.f().operands(producer).iter().copied().chain([bias]).collect();
    let ty = r.ty(x).clone();
    let new = r.insert(op, kind, &operands, ty, &[producer, op]);
    r.replace(op, new);
    true
}

fn signed_bias(r: &mut Rewriter, op: OpId, (like, sign): (Value, f32), values: &[f32]) -> Value {
    let values: Vec<f32> = values.iter().map(|v| sign * v).collect();
    let name = r.name_of(like);
    r.const_f32(op, &name, &[values.len() as u64], &values)
}

/// Is `v` made by a convolution without bias and activation, for one reader?
fn takes_bias(r: &Rewriter, v: Value) -> bool {
    let Some(op) = r.def(v) else { return false };
    let is_conv =
        matches!(r.nn(op), Some(Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::FullyConnected(_)));
    let plain = is_conv && r.f().operands(op).len() == 2 && act_of(r.f().kind(op)) == Act::None;
    plain && r.sole_reader(v).is_some()
}

/// The elements of the constant `c` per slice of the last axis of a tensor of shape `shape`, if
/// they depend on nothing else.
pub(crate) fn per_channel(r: &Rewriter, c: Value, shape: &[u64]) -> Option<Vec<f32>> {
    let channels = *shape.last()?;
    let values = r.const_floats(c)?;
    let lies_along_channels = r.shape(c).len() <= shape.len()
        && r.shape(c).last() == Some(&channels)
        && values.len() as u64 == channels;
    match values.as_slice() {
        [one] => Some(vec![*one; channels as usize]),
        _ => lies_along_channels.then_some(values),
    }
}

/// `matmul(a, weights)`.
pub(super) fn matmul(r: &mut Rewriter, op: OpId) -> bool {
    let Some(Op::MatMul(o)) = r.nn(op) else { return false };
    let o = o.clone();
    let [a, b] = *r.f().operands(op) else { return false };
    if o.transpose_a || r.shape(b).len() != 2 || r.shape(a).len() < 2 || !is_weights(r, b) {
        return false;
    }
    let (mut w, mut x) = (b, a);
    if !o.transpose_b {
        let [k, n] = *r.shape(b) else { return false };
        let ty = r.ty(b).with_shape(&[n, k]);
        w = r.insert(op, nn::Transpose { perm: vec![1, 0] }, &[b], ty, &[op]);
    }
    let y = r.ty(r.result(op)).clone();
    let (Some(&n), Some(&k)) = (y.shape.last(), r.shape(a).last()) else { return false };
    let rows: u64 = y.shape[..y.shape.len() - 1].iter().product();
    if r.shape(a).len() != 2 {
        let ty = r.ty(a).with_shape(&[rows, k]);
        x = r.insert(op, nn::Reshape {}, &[a], ty, &[op]);
    }
    let kind = nn::FullyConnected { act: Act::None };
    let flat: TensorType = y.with_shape(&[rows, n]);
    let mut new = r.insert(op, kind, &[x, w], flat, &[op]);
    if y.shape.len() != 2 {
        new = r.insert(op, nn::Reshape {}, &[new], y, &[op]);
    }
    r.replace(op, new);
    true
}

/// Is `v` a constant, maybe fake-quantized, dequantized, scaled or moved?
pub(crate) fn is_weights(r: &Rewriter, v: Value) -> bool {
    let mut v = v;
    while let Some(op) = r.def(v) {
        match r.f().kind(op) {
            OpKind::Core(_) => return true,
            OpKind::Nn(Op::Transpose(_) | Op::Reshape(_) | Op::FakeQuant(_) | Op::Mul(_))
            | OpKind::Nn(Op::QuantizeAndDequantize(_))
            | OpKind::Quant(quant::Op::Dequantize(_)) => v = r.operand(op, 0),
            _ => return false,
        }
    }
    false
}
