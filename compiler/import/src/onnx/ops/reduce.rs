//! Reductions, and softmax with the reductions it is made of.

use super::super::convert::Converter;
use super::super::node::Node;
use super::Table;
use super::shape::identity;
use crate::shapes;
use qcc_ir::dialect::nn::{self, ReduceFn, UnaryFn};
use qcc_ir::dialect::quant;
use qcc_ir::{DType, OpKind, TensorType, Value};

pub const OPS: Table = &[
    ("ArgMax", |c, n| arg_extreme(c, n, false)),
    ("ArgMin", |c, n| arg_extreme(c, n, true)),
    ("Hardmax", hardmax),
    ("LogSoftmax", |c, n| rows(c, n, nn::LogSoftmax {})),
    ("ReduceL1", |c, n| reduce(c, n, Some(ReduceFn::L1), &[])),
    ("ReduceL2", |c, n| reduce(c, n, Some(ReduceFn::L2), &[])),
    ("ReduceLogSum", |c, n| reduce(c, n, Some(ReduceFn::Sum), &[UnaryFn::Log])),
    ("ReduceLogSumExp", log_sum_exp),
    ("ReduceMax", |c, n| reduce(c, n, Some(ReduceFn::Max), &[])),
    ("ReduceMean", |c, n| reduce(c, n, None, &[])),
    ("ReduceMin", |c, n| reduce(c, n, Some(ReduceFn::Min), &[])),
    ("ReduceProd", |c, n| reduce(c, n, Some(ReduceFn::Prod), &[])),
    ("ReduceSum", |c, n| reduce(c, n, Some(ReduceFn::Sum), &[])),
    ("ReduceSumSquare", |c, n| reduce(c, n, Some(ReduceFn::SumSquare), &[])),
    ("Softmax", |c, n| rows(c, n, nn::Softmax { beta: 1.0 })),
];

/// Axes of a reduction, sorted: an attribute, or (since opset 13 or 18) an input; `None` if the
/// node then does nothing.
fn axes(c: &mut Converter, node: &Node, rank: usize) -> Result<Option<Vec<u32>>, String> {
    let given = match node.ints("axes")? {
        Some(all) => all.to_vec(),
        None => c.ints(node, 1)?.unwrap_or_default(),
    };
    if given.is_empty() {
        let all = (0..rank as u32).collect();
        return Ok((!node.flag("noop_with_empty_axes", false)?).then_some(all));
    }
    let mut axes: Vec<u32> =
        given.iter().map(|&a| shapes::axis(a, rank)).collect::<Result<_, _>>()?;
    axes.sort_unstable();
    axes.dedup();
    Ok(Some(axes))
}

/// `f` over the node's axes (`None`: the mean), and functions of the result.
fn reduce(
    c: &mut Converter,
    node: &Node,
    f: Option<ReduceFn>,
    after: &[UnaryFn],
) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let own = c.shape(x);
    let Some(axes) = axes(c, node, own.len())? else { return identity(c, node) };
    let is_reduced = |d: usize| axes.contains(&(d as u32));
    let shape: Vec<u64> = match node.flag("keepdims", true)? {
        true => (0..own.len()).map(|d| if is_reduced(d) { 1 } else { own[d] }).collect(),
        false => (0..own.len()).filter(|&d| !is_reduced(d)).map(|d| own[d]).collect(),
    };
    let kind: OpKind = match f {
        Some(f) => nn::Reduce { f, axes }.into(),
        None => nn::Mean { axes }.into(),
    };
    let mut y = c.emit_f32(kind, &[x], &shape)?;
    for &f in after {
        y = c.unary(f, y)?;
    }
    c.done(node, y)
}

/// ln Σ e^x = max + ln Σ e^(x − max).
fn log_sum_exp(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let own = c.shape(x);
    let Some(axes) = axes(c, node, own.len())? else { return identity(c, node) };
    let is_reduced = |d: usize| axes.contains(&(d as u32));
    let kept: Vec<u64> = (0..own.len()).map(|d| if is_reduced(d) { 1 } else { own[d] }).collect();
    let left: Vec<u64> = (0..own.len()).filter(|&d| !is_reduced(d)).map(|d| own[d]).collect();
    let top = c.emit_f32(nn::Reduce { f: ReduceFn::Max, axes: axes.clone() }, &[x], &kept)?;
    // Of infinities only their sum is known.
    let top = c.unary_of(UnaryFn::Clip, f32::MIN, f32::MAX, top)?;
    let x = c.binary(nn::Sub { act: quant::Act::None }, x, top)?;
    let x = c.unary(UnaryFn::Exp, x)?;
    let sum = c.emit_f32(nn::Reduce { f: ReduceFn::Sum, axes }, &[x], &kept)?;
    let y = c.unary(UnaryFn::Log, sum)?;
    let y = c.binary(nn::Add { act: quant::Act::None }, y, top)?;
    let y = if node.flag("keepdims", true)? { y } else { c.reshape(y, &left)? };
    c.done(node, y)
}

fn arg_extreme(c: &mut Converter, node: &Node, min: bool) -> Result<(), String> {
    let x = c.any(node, 0)?;
    let is_quantized = c.tensor_type(x).quant_type().is_some_and(|q| q.uniform().is_some());
    let x = if is_quantized { x } else { c.float(node, 0)? };
    let own = c.shape(x);
    let axis = shapes::axis(node.int("axis", 0)?, own.len())?;
    // The last index is the first one from the end.
    let is_last = node.flag("select_last_index", false)?;
    let n = own.get(axis as usize).copied().unwrap_or(0);
    let x = if is_last && n > 0 { reversed(c, x, axis as usize)? } else { x };
    let mut shape = own;
    shape.remove(axis as usize);
    let kind: OpKind = match is_quantized {
        true => quant::ArgMax { axis, min }.into(),
        false => nn::ArgMax { axis, min }.into(),
    };
    let mut y = c.emit(kind, &[x], TensorType::plain(&shape, DType::I64))?;
    if is_last && n > 0 {
        let last = c.integers(node, &[n as i64 - 1], &[], DType::I64)?;
        y = c.int_binary(nn::IntFn::Sub, last, y)?;
    }
    if node.flag("keepdims", true)? {
        shape.insert(axis as usize, 1);
        y = c.reshape(y, &shape)?;
    }
    c.done(node, y)
}

/// 1 at the first largest element along the node's axis, 0 elsewhere.
fn hardmax(c: &mut Converter, node: &Node) -> Result<(), String> {
    if node.opset < 13 {
        return Err("before operator set 13 it is not supported".into());
    }
    let x = c.float(node, 0)?;
    let own = c.shape(x);
    let axis = shapes::axis(node.int("axis", -1)?, own.len())?;
    let (at, n) = (axis as usize, own[axis as usize]);
    let mut left = own.clone();
    left.remove(at);
    let first = nn::ArgMax { axis, min: false };
    let first = c.emit(first, &[x], TensorType::plain(&left, DType::I64))?;
    left.insert(at, 1);
    let first = c.reshape(first, &left)?;
    let mut wide = vec![1; own.len()];
    wide[at] = n;
    let all = c.integers(node, &(0..n as i64).collect::<Vec<_>>(), &wide, DType::I64)?;
    let is_first = c.compare(nn::CompareFn::Equal, all, first)?;
    let y = c.emit_f32(nn::Cast {}, &[is_first], &own)?;
    c.done(node, y)
}

/// x with an axis, which is not empty, from its end.
fn reversed(c: &mut Converter, x: Value, axis: usize) -> Result<Value, String> {
    let shape = c.shape(x);
    let (mut start, mut step) = (vec![0; shape.len()], vec![1; shape.len()]);
    (start[axis], step[axis]) = (shape[axis] - 1, -1);
    c.emit_like(nn::Slice { start, step }, x, &shape)
}

/// Softmax and the like along the node's axis; before opset 13 over all from the axis on.
fn rows(c: &mut Converter, node: &Node, kind: impl Into<OpKind>) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let y = along_axis(c, node, x, kind, node.opset >= 13)?;
    c.done(node, y)
}

/// An op that works along the last axis, along the node's axis.
pub fn along_axis(
    c: &mut Converter,
    node: &Node,
    x: Value,
    kind: impl Into<OpKind>,
    is_one_axis: bool,
) -> Result<Value, String> {
    let own = c.shape(x);
    let axis = shapes::axis(node.int("axis", if is_one_axis { -1 } else { 1 })?, own.len().max(1))?;
    let at = axis as usize;
    if !is_one_axis {
        let (rows, columns) = (own[..at].iter().product(), own[at..].iter().product());
        let flat = c.reshape(x, &[rows, columns])?;
        let y = c.emit_like(kind, flat, &[rows, columns])?;
        return c.reshape(y, &own);
    }
    if at + 1 >= own.len() {
        return c.emit_like(kind, x, &own);
    }
    let mut perm: Vec<u32> = (0..own.len() as u32).collect();
    perm.swap(at, own.len() - 1);
    let moved = c.transpose(x, &perm)?;
    let shape = c.shape(moved);
    let y = c.emit_like(kind, moved, &shape)?;
    c.transpose(y, &perm)
}
