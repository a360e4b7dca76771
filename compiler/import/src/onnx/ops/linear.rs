//! Matrix products. One with a constant second matrix of rank 2 is a fully connected layer.

use super::super::convert::{Bound, Converter};
use super::super::node::Node;
use super::Table;
use super::conv::zero_points;
use crate::shapes;
use qcc_ir::dialect::nn;
use qcc_ir::dialect::quant::Act;
use qcc_ir::{DType, TensorType, Value};

pub const OPS: Table = &[("Gemm", gemm), ("MatMul", matmul), ("MatMulInteger", matmul_integer)];

/// The shape of a matrix product, leading dimensions broadcast.
pub fn product_shape(a: &[u64], b: &[u64]) -> Result<Vec<u64>, String> {
    let fail = || format!("{a:?} and {b:?} cannot be multiplied");
    let (&[ref la @ .., m, ka], &[ref lb @ .., kb, n]) = (a, b) else { return Err(fail()) };
    if ka != kb {
        return Err(fail());
    }
    let mut out = shapes::broadcast(la, lb)?;
    out.extend([m, n]);
    Ok(out)
}

/// Known numbers or a dequantized constant.
fn is_constant(c: &mut Converter, node: &Node, i: usize) -> Result<bool, String> {
    Ok(matches!(c.bound(node, i)?, Some(Bound::Known(_) | Bound::Dequant(_))))
}

fn matmul(c: &mut Converter, node: &Node) -> Result<(), String> {
    let (xs, ws) = (c.shape_of(node, 0)?, c.shape_of(node, 1)?);
    let x = c.float(node, 0)?;
    if ws.len() == 2 && !xs.is_empty() && is_constant(c, node, 1)? && ws[0] > 0 {
        if xs.last() != Some(&ws[0]) {
            return Err(format!("{xs:?} and {ws:?} cannot be multiplied"));
        }
        let w = c.filter(node, 1, &ws, &[1, 0])?;
        let out = [&xs[..xs.len() - 1], &ws[1..]].concat();
        let y = c.emit_f32(nn::FullyConnected { act: Act::None }, &[x, w], &out)?;
        return c.done(node, y);
    }
    let w = c.float(node, 1)?;
    // A vector is a row on the left, a column on the right.
    let a = if xs.len() == 1 { c.reshape(x, &[1, xs[0]])? } else { x };
    let b = if ws.len() == 1 { c.reshape(w, &[ws[0], 1])? } else { w };
    let mut out = product_shape(&c.shape(a), &c.shape(b))?;
    let kind = nn::MatMul { transpose_a: false, transpose_b: false };
    let y = c.emit_f32(kind, &[a, b], &out)?;
    let n = out.len();
    if ws.len() == 1 {
        out.remove(n - 1);
    }
    if xs.len() == 1 {
        out.remove(n - 2);
    }
    let y = c.reshape(y, &out)?;
    c.done(node, y)
}

/// M and N of a product of two matrices, each transposed or not.
pub(super) fn product_extents(
    (xs, ta): (&[u64], bool),
    (ws, tb): (&[u64], bool),
) -> Result<[u64; 2], String> {
    let (&[x0, x1], &[w0, w1]) = (xs, ws) else {
        return Err(format!("matrices of shapes {xs:?} and {ws:?}"));
    };
    let (m, k) = if ta { (x1, x0) } else { (x0, x1) };
    let (kb, n) = if tb { (w1, w0) } else { (w0, w1) };
    if k != kb || k == 0 {
        return Err(format!("{xs:?} and {ws:?} cannot be multiplied"));
    }
    Ok([m, n])
}

/// y = alpha·A·B + beta·C.
fn gemm(c: &mut Converter, node: &Node) -> Result<(), String> {
    let (xs, ws) = (c.shape_of(node, 0)?, c.shape_of(node, 1)?);
    let (ta, tb) = (node.flag("transA", false)?, node.flag("transB", false)?);
    let (alpha, beta) = (node.float("alpha", 1.0)?, node.float("beta", 1.0)?);
    let [m, n] = product_extents((&xs, ta), (&ws, tb))?;
    let bias_fits = match node.input(2) {
        None => true,
        Some(_) => c.shape_of(node, 2)? == [n] && beta == 1.0,
    };
    let x = c.float(node, 0)?;
    if is_constant(c, node, 1)? && alpha == 1.0 && bias_fits {
        let x = if ta { c.transpose(x, &[1, 0])? } else { x };
        let w = c.filter(node, 1, &ws, if tb { &[0, 1] } else { &[1, 0] })?;
        let b = c.opt_float(node, 2)?;
        let operands: Vec<Value> = [x, w].into_iter().chain(b).collect();
        let y = c.emit_f32(nn::FullyConnected { act: Act::None }, &operands, &[m, n])?;
        return c.done(node, y);
    }
    let w = c.float(node, 1)?;
    let kind = nn::MatMul { transpose_a: ta, transpose_b: tb };
    let y = c.emit_f32(kind, &[x, w], &[m, n])?;
    let mut y = scaled(c, node, y, alpha)?;
    if let Some(b) = c.opt_float(node, 2)? {
        let b = scaled(c, node, b, beta)?;
        y = c.binary(nn::Add { act: Act::None }, y, b)?;
    }
    c.done(node, y)
}

fn scaled(c: &mut Converter, node: &Node, v: Value, by: f32) -> Result<Value, String> {
    if by == 1.0 {
        return Ok(v);
    }
    let by = c.number(node, by)?;
    c.binary(nn::Mul { act: Act::None }, v, by)
}

fn matmul_integer(c: &mut Converter, node: &Node) -> Result<(), String> {
    let (a, b) = (c.any(node, 0)?, c.any(node, 1)?);
    let (a, b) = (c.plain(a)?, c.plain(b)?);
    let out = product_shape(&c.shape(a), &c.shape(b))?;
    let mut operands = vec![a, b];
    operands.extend(zero_points(c, node, [2, 3], [a, b])?);
    let y = c.emit(nn::MatMulInteger {}, &operands, TensorType::plain(&out, DType::I32))?;
    c.done(node, y)
}
