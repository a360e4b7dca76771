//! Operators on quantized tensors: ONNX's own and those of `com.microsoft`.
//!
//! Scales and zero points are inputs of the nodes; they must be known, and go into the types.

use super::super::convert::{Bound, Converter};
use super::super::node::Node;
use super::Table;
use super::conv::{Conv, remap_axis, transposed};
use super::linear::product_shape;
use super::pool::window;
use crate::shapes;
use qcc_ir::dialect::nn::UnaryFn;
use qcc_ir::dialect::quant::{self, Act};
use qcc_ir::{OpKind, QuantType, TensorType, Value};
use std::sync::Arc;

pub const OPS: Table = &[
    ("QLinearConv", conv),
    ("QLinearMatMul", matmul),
    ("com.microsoft::QGemm", gemm),
    ("com.microsoft::QLinearAdd", |c, n| {
        pair(c, n, quant::Add { act: Act::None, pot_scale_int16: false })
    }),
    ("com.microsoft::QLinearAveragePool", average_pool),
    ("com.microsoft::QLinearConcat", concat),
    ("com.microsoft::QLinearGlobalAveragePool", global_average_pool),
    ("com.microsoft::QLinearLeakyRelu", |c, n| {
        let alpha = n.float("alpha", 0.01)?;
        unary(c, n, quant::Unary { f: UnaryFn::LeakyRelu, alpha, beta: 0.0 })
    }),
    ("com.microsoft::QLinearMul", |c, n| pair(c, n, quant::Mul { act: Act::None })),
    ("com.microsoft::QLinearSigmoid", |c, n| {
        unary(c, n, quant::Unary { f: UnaryFn::Sigmoid, alpha: 0.0, beta: 0.0 })
    }),
    ("com.microsoft::QLinearSoftmax", softmax),
];

/// The quantization of input `i`, with scale and zero point at `at`.
fn input_type(
    c: &mut Converter,
    node: &Node,
    i: usize,
    (at, axis): (usize, i64),
) -> Result<QuantType, String> {
    let shape = c.shape_of(node, i)?;
    let storage = c.storage(node, i)?;
    let q = c.params(node, at, storage, (&shape, axis))?;
    q.ok_or_else(|| format!("scale and zero point (inputs {at} and {}) must be known", at + 1))
}

/// Input `i` as a quantized value.
fn input(c: &mut Converter, node: &Node, i: usize, at: usize) -> Result<Value, String> {
    let q = input_type(c, node, i, (at, 0))?;
    c.codes(node, i, &q)
}

/// The quantization of the output, with scale and zero point at `at`; stored as the zero point, or
/// as `x` if there is none.
fn output_type(
    c: &mut Converter,
    node: &Node,
    at: usize,
    x: Value,
    shape: &[u64],
) -> Result<TensorType, String> {
    let storage = match node.input(at + 1) {
        Some(_) => c.storage(node, at + 1)?,
        None => (c.elem(x).storage(), None),
    };
    let q = c.params(node, at, storage, (shape, 0))?;
    let q = q.ok_or_else(|| format!("scale and zero point (inputs {at}…) must be known"))?;
    Ok(TensorType::quant(shape, Arc::new(q)))
}

/// Constant codes of input `i` in another layout.
fn weights(
    c: &mut Converter,
    node: &Node,
    (i, at, axis): (usize, usize, i64),
    (shape, perm): (&[u64], &[u32]),
) -> Result<Value, String> {
    let mut q = input_type(c, node, i, (at, axis))?;
    match c.bound(node, i)? {
        Some(Bound::Known(k)) => {
            remap_axis(&mut q.params, perm);
            let t = transposed(&k.tensor, shape, perm)?;
            let name = node.input(i).unwrap_or("w").to_string();
            c.constant(&name, &t, qcc_ir::Elem::Quant(Arc::new(q)))
        }
        _ => {
            let w = c.codes(node, i, &q)?;
            let w = c.reshape(w, shape)?;
            c.transpose(w, perm)
        }
    }
}

fn conv(c: &mut Converter, node: &Node) -> Result<(), String> {
    let o = Conv::read(c, node, 3)?;
    let x = input(c, node, 0, 1)?;
    let x = c.to_nhwc(x)?;
    let w = weights(c, node, (3, 4, 0), (&o.filter, &o.perm()))?;
    let ty = output_type(c, node, 6, x, &o.out)?;
    let b = node.input(8).is_some().then(|| c.any(node, 8)).transpose()?;
    let operands: Vec<Value> = [x, w].into_iter().chain(b).collect();
    let (stride, dilation, pad, act) = (o.g.stride, o.g.dilation, o.g.pad, Act::None);
    let kind: OpKind = match o.is_depthwise {
        true => quant::DepthwiseConv2d { stride, dilation, pad, act }.into(),
        false => quant::Conv2d { stride, dilation, pad, groups: o.groups, act }.into(),
    };
    let y = c.emit(kind, &operands, ty)?;
    let y = c.from_nhwc(y, o.spatial)?;
    c.done(node, y)
}

fn is_known(c: &mut Converter, node: &Node, i: usize) -> Result<bool, String> {
    Ok(c.known(node, i)?.is_some())
}

fn matmul(c: &mut Converter, node: &Node) -> Result<(), String> {
    let (xs, ws) = (c.shape_of(node, 0)?, c.shape_of(node, 3)?);
    let out = product_shape(&xs, &ws)?;
    let x = input(c, node, 0, 1)?;
    let ty = output_type(c, node, 6, x, &out)?;
    let y = if ws.len() == 2 && is_known(c, node, 3)? {
        let w = weights(c, node, (3, 4, 1), (&ws, &[1, 0]))?;
        c.emit(quant::FullyConnected { act: Act::None }, &[x, w], ty)?
    } else {
        let w = input(c, node, 3, 4)?;
        let kind = quant::MatMul { transpose_a: false, transpose_b: false };
        c.emit(kind, &[x, w], ty)?
    };
    c.done(node, y)
}

fn gemm(c: &mut Converter, node: &Node) -> Result<(), String> {
    let (xs, ws) = (c.shape_of(node, 0)?, c.shape_of(node, 3)?);
    let (ta, tb) = (node.flag("transA", false)?, node.flag("transB", false)?);
    if node.float("alpha", 1.0)? != 1.0 || node.input(7).is_none() {
        return Err("alpha other than 1 and float outputs are not supported".into());
    }
    let [m, n] = super::linear::product_extents((&xs, ta), (&ws, tb))?;
    let x = input(c, node, 0, 1)?;
    let x = if ta { c.transpose(x, &[1, 0])? } else { x };
    let (axis, perm): (i64, [u32; 2]) = if tb { (0, [0, 1]) } else { (1, [1, 0]) };
    let w = weights(c, node, (3, 4, axis), (&ws, &perm))?;
    let ty = output_type(c, node, 7, x, &[m, n])?;
    let b = match node.input(6) {
        None => None,
        Some(_) => {
            let b = c.any(node, 6)?;
            Some(c.reshape(b, &[n])?)
        }
    };
    let operands: Vec<Value> = [x, w].into_iter().chain(b).collect();
    let y = c.emit(quant::FullyConnected { act: Act::None }, &operands, ty)?;
    c.done(node, y)
}

fn pair(c: &mut Converter, node: &Node, kind: impl Into<OpKind>) -> Result<(), String> {
    let (a, b) = (input(c, node, 0, 1)?, input(c, node, 3, 4)?);
    let shape = shapes::broadcast(&c.shape(a), &c.shape(b))?;
    let ty = output_type(c, node, 6, a, &shape)?;
    let y = c.emit(kind, &[a, b], ty)?;
    c.done(node, y)
}

fn unary(c: &mut Converter, node: &Node, kind: impl Into<OpKind>) -> Result<(), String> {
    let x = input(c, node, 0, 1)?;
    let shape = c.shape(x);
    let ty = output_type(c, node, 3, x, &shape)?;
    let y = c.emit(kind, &[x], ty)?;
    c.done(node, y)
}

fn channels_first(node: &Node) -> Result<bool, String> {
    Ok(!node.flag("channels_last", false)?)
}

fn average_pool(c: &mut Converter, node: &Node) -> Result<(), String> {
    if !channels_first(node)? {
        return Err("channels_last is not supported".into());
    }
    let (g, spatial) = window(c, node)?;
    let count_include_pad = node.flag("count_include_pad", false)?;
    if count_include_pad && node.flag("ceil_mode", false)? {
        return Err("count_include_pad together with ceil_mode is not supported".into());
    }
    let x = input(c, node, 0, 1)?;
    let x = c.to_nhwc(x)?;
    let s = c.shape(x);
    let ty = output_type(c, node, 3, x, &[s[0], g.out[0], g.out[1], s[3]])?;
    let window = g.kernel.map(|k| k as u32);
    let (stride, pad, act) = (g.stride, g.pad, Act::None);
    let sum = quant::PoolSum::Rows;
    let kind = quant::AvgPool2d { window, stride, pad, act, count_include_pad, sum };
    let y = c.emit(kind, &[x], ty)?;
    let y = c.from_nhwc(y, spatial)?;
    c.done(node, y)
}

fn global_average_pool(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = input(c, node, 0, 1)?;
    let spatial = c.shape(x).len().saturating_sub(2);
    let first = channels_first(node)?;
    let x = if first { c.to_nhwc(x)? } else { x };
    let s = c.shape(x);
    if s.len() != 4 {
        return Err(format!("only images of 2 spatial dimensions are supported, not {s:?}"));
    }
    let ty = output_type(c, node, 3, x, &[s[0], 1, 1, s[3]])?;
    let y = c.emit(quant::Mean { axes: vec![1, 2] }, &[x], ty)?;
    let y = if first { c.from_nhwc(y, spatial)? } else { y };
    c.done(node, y)
}

/// Output scale and zero point first, then three inputs for each part.
fn concat(c: &mut Converter, node: &Node) -> Result<(), String> {
    let n = node.proto.input.len().saturating_sub(2) / 3;
    let mut xs = Vec::new();
    for k in 0..n {
        xs.push(input(c, node, 2 + 3 * k, 3 + 3 * k)?);
    }
    let first = *xs.first().ok_or("no inputs")?;
    let mut shape = c.shape(first);
    let axis = shapes::axis(node.int("axis", 0)?, shape.len())?;
    let at = axis as usize;
    shape[at] = 0;
    for &x in &xs {
        let own = c.shape(x);
        if own.len() != shape.len() {
            return Err(format!("inputs of shapes {shape:?} and {own:?}"));
        }
        shape[at] = shape[at].checked_add(own[at]).ok_or("the shape is too large")?;
    }
    let ty = output_type(c, node, 0, first, &shape)?;
    let y = c.emit(quant::Concat { axis, act: Act::None }, &xs, ty)?;
    c.done(node, y)
}

fn softmax(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = input(c, node, 0, 1)?;
    let own = c.shape(x);
    let is_one_axis = node.int("opset", 13)? >= 13;
    let axis = shapes::axis(node.int("axis", if is_one_axis { -1 } else { 1 })?, own.len().max(1))?;
    let rows = own.get(axis as usize..).unwrap_or_default();
    if rows.iter().skip(1).any(|&d| d != 1) {
        return Err(format!("only the last axis of {own:?} is supported"));
    }
    let flat = [own[..axis as usize].iter().product(), rows.iter().product()];
    let x = c.reshape(x, &flat)?;
    let ty = output_type(c, node, 3, x, &flat)?;
    let y = c.emit(quant::Softmax { beta: 1.0 }, &[x], ty)?;
    let y = c.reshape(y, &own)?;
    c.done(node, y)
}
