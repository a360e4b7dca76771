//! `expand-float`: float ops that kernels do not know become ones that they know.
//!
//! ```text
//! %y = nn.quantize_and_dequantize(%x)            %lo = nn.reduce(%x) {f = min, axes = [0, 1]}
//!                                          ─►    %hi = nn.reduce(%x) {f = max, axes = [0, 1]}
//!                                                %y = nn.quantize_and_dequantize(%x, %lo, %hi) {limit = false}
//! %y = nn.matmul(%a, %b) {transpose_b = true}    // %b: not constant
//!                                          ─►    %t = nn.transpose(%b) {perm = [1, 0]}
//!                                                %y = nn.matmul(%a, %t)
//! %y = nn.fully_connected(%x, %w, %b)            // %w: not constant
//!                                          ─►    %t = nn.transpose(%w) {perm = [1, 0]}
//!                                                %r = nn.reshape(%x)
//!                                                %s = nn.matmul(%r, %t)
//!                                                %a = nn.add(%s, %b)
//!                                                %y = nn.reshape(%a)
//! %y = nn.conv2d(%x, %w, %b) {act = relu}        // %b: not constant
//!                                          ─►    %s = nn.conv2d(%x, %w)
//!                                                %y = nn.add(%s, %b) {act = relu}
//! ```
//!
//! Matrix products run along the rows of their second factor; a constant one is packed instead.
//! Sums keep their order, so the bits stay.

use crate::consts::is_const;
use crate::rewriter::{Rewriter, act_mut, rewrite_all};
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::dialect::nn;
use qcc_ir::dialect::quant::Act;
use qcc_ir::{Level, Module, OpId, TensorType, Value};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "expand-float",
    summary: "write float ops without a kernel as others",
    doc: include_str!("expand_float.rs"),
    needs: LevelSet::only(Level::Int),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    rewrite_all(m, ctx, 2, |r, op, _| match r.nn(op).cloned() {
        Some(nn::Op::QuantizeAndDequantize(o)) => range(r, op, &o),
        Some(nn::Op::MatMul(o)) => matrix_product(r, op, &o),
        Some(nn::Op::FullyConnected(o)) => {
            computed_bias(r, op, o.act) || fully_connected(r, op, o.act)
        }
        Some(nn::Op::Conv2d(o)) => computed_bias(r, op, o.act),
        Some(nn::Op::DepthwiseConv2d(o)) => computed_bias(r, op, o.act),
        _ => false,
    });
    Ok(())
}

/// A bias that is not constant is added afterwards, in the same order.
fn computed_bias(r: &mut Rewriter, op: OpId, act: Act) -> bool {
    let Some(&bias) = r.f().operands(op).get(2) else { return false };
    if is_const(r.f(), bias) {
        return false;
    }
    let (x, w, y) = (r.operand(op, 0), r.operand(op, 1), r.ty(r.result(op)).clone());
    let channels = y.shape.last().copied().unwrap_or(1);
    if r.ty(bias).len() != channels {
        return false;
    }
    let mut kind = r.f().kind(op).clone();
    if let Some(act) = act_mut(&mut kind) {
        *act = Act::None;
    }
    let sums = r.insert(op, kind, &[x, w], y.clone(), &[op]);
    let y = r.insert(op, nn::Add { act }, &[sums, bias], y, &[op]);
    r.replace(op, y);
    true
}

/// Gives the op the range that it has by itself.
fn range(r: &mut Rewriter, op: OpId, o: &nn::QuantizeAndDequantize) -> bool {
    if r.f().operands(op).len() > 1 {
        return false;
    }
    let x = r.operand(op, 0);
    let axes: Vec<u32> = (0..r.shape(x).len() as u32).filter(|&d| d as i32 != o.axis).collect();
    let left: Vec<u64> =
        usize::try_from(o.axis).ok().and_then(|a| r.shape(x).get(a)).copied().into_iter().collect();
    let ends = [nn::ReduceFn::Min, nn::ReduceFn::Max].map(|f| {
        let (kind, ty) = (nn::Reduce { f, axes: axes.clone() }, r.ty(x).with_shape(&left));
        r.insert(op, kind, &[x], ty, &[op])
    });
    let y = r.ty(r.result(op)).clone();
    let kind = nn::QuantizeAndDequantize { limit: false, ..o.clone() };
    let y = r.insert(op, kind, &[x, ends[0], ends[1]], y, &[op]);
    r.replace(op, y);
    true
}

/// The last two dimensions of `v` swapped.
fn turned(r: &mut Rewriter, op: OpId, v: Value) -> Value {
    let mut shape = r.shape(v).to_vec();
    let n = shape.len();
    shape.swap(n - 2, n - 1);
    let mut perm: Vec<u32> = (0..n as u32).collect();
    perm.swap(n - 2, n - 1);
    let ty = r.ty(v).with_shape(&shape);
    r.insert(op, nn::Transpose { perm }, &[v], ty, &[op])
}

fn matrix_product(r: &mut Rewriter, op: OpId, o: &nn::MatMul) -> bool {
    let (a, b) = (r.operand(op, 0), r.operand(op, 1));
    if !o.transpose_b || is_const(r.f(), b) {
        return false;
    }
    let b = turned(r, op, b);
    let y = r.ty(r.result(op)).clone();
    let y = r.insert(op, nn::MatMul { transpose_b: false, ..o.clone() }, &[a, b], y, &[op]);
    r.replace(op, y);
    true
}

fn fully_connected(r: &mut Rewriter, op: OpId, act: Act) -> bool {
    let (x, w) = (r.operand(op, 0), r.operand(op, 1));
    let &[n_out, k] = r.shape(w) else { return false };
    if is_const(r.f(), w) || k == 0 {
        return false;
    }
    let rows = r.ty(x).len() / k;
    let (matrix, y) = (r.ty(x).with_shape(&[rows, k]), r.ty(r.result(op)).clone());
    let products: TensorType = y.with_shape(&[rows, n_out]);
    let x = r.insert(op, nn::Reshape {}, &[x], matrix, &[op]);
    let w = turned(r, op, w);
    let kind = nn::MatMul { transpose_a: false, transpose_b: false };
    let sums = r.insert(op, kind, &[x, w], products.clone(), &[op]);
    let sums = match r.f().operands(op).get(2).copied() {
        Some(bias) => r.insert(op, nn::Add { act }, &[sums, bias], products, &[op]),
        None => r.insert(op, nn::Activation { act }, &[sums], products, &[op]),
    };
    let y = r.insert(op, nn::Reshape {}, &[sums], y, &[op]);
    r.replace(op, y);
    true
}
