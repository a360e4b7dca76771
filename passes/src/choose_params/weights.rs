//! Codes for the weights and biases of convolutions.

use super::{result_is_quantized, uniform};
use crate::PassContext;
use crate::quant_params::{Exact, Grid, Slices, accumulator_dtype, bias_codes, bias_type};
use crate::rewriter::Rewriter;
use qcc_ir::dialect::nn::Op;
use qcc_ir::dialect::quant;
use qcc_ir::{DType, Elem, Numerics, OpId, TensorType, Value};
use qcc_runtime::Tensor;
use std::sync::Arc;

/// How many scales weights get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// As few as cost less than [`AUTO_LOSS_DB`].
    Auto,
    /// One per output channel.
    PerAxis,
    /// One.
    PerTensor,
}

/// What one scale for all channels may cost, in dB of signal to noise.
const AUTO_LOSS_DB: f64 = 1.0;

/// Gives a convolution codes for what it lacks.
pub(super) fn conv(r: &mut Rewriter, op: OpId, mode: Mode, ctx: &mut PassContext) -> bool {
    let quantized_input = uniform(r, r.operand(op, 0)).is_some();
    if !quantized_input || !result_is_quantized(r, op) {
        return false;
    }
    weights(r, op, mode, ctx) | bias(r, op)
}

fn weights(r: &mut Rewriter, op: OpId, mode: Mode, ctx: &mut PassContext) -> bool {
    let w = r.operand(op, 1);
    let Some(t) = r.const_tensor(w).filter(|t| t.dtype() == DType::F32) else { return false };
    if mode == Mode::Auto && r.m.numerics == Numerics::Onnx {
        return false;
    }
    let axis = if matches!(r.nn(op), Some(Op::DepthwiseConv2d(_))) { 3 } else { 0 };
    let grid = Grid::signed(8, true);
    let per_axis = symmetric(&t, Some(axis), grid);
    let one = symmetric(&t, None, grid);
    let (Some(per_axis), Some(one)) = (per_axis, one) else {
        r.remark(ctx, op, "its weights are not finite: they stay float");
        return false;
    };
    let noise = |p: &[Exact], axis| signal_to_noise(&t, p, axis, grid);
    let loss = noise(&per_axis, Some(axis)) - noise(&one, None);
    let choose_one = match mode {
        Mode::PerAxis => false,
        Mode::PerTensor => true,
        Mode::Auto => loss < AUTO_LOSS_DB,
    };
    let (params, axis) = if choose_one { (one, None) } else { (per_axis, Some(axis)) };
    let how = if choose_one { "one scale" } else { "one scale per channel" };
    r.remark(
        ctx,
        op,
        format!("weights without parameters get {how} (one for all loses {loss:.1} dB)"),
    );
    let codes = grid.codes(&t, &params, axis);
    let elem = Elem::Quant(Arc::new(grid.quant_type(&params, axis)));
    replace_operand(r, op, 1, (&codes, elem));
    true
}

/// The scales that put the largest |w| on the largest code.
fn symmetric(t: &Tensor, axis: Option<usize>, grid: Grid) -> Option<Vec<Exact>> {
    let n = axis.map_or(1, |a| t.shape()[a]);
    let slices = Slices::new(t.shape(), axis, n);
    let mut largest = vec![0f32; n];
    for i in 0..t.len() {
        let (c, v) = (slices.of(i), (t.get_f64(i) as f32).abs());
        if !v.is_finite() {
            return None;
        }
        largest[c] = largest[c].max(v);
    }
    largest.iter().map(|&m| grid.from_range(-m, m)).collect()
}

/// 10·log₁₀(Σ w² / Σ (w − ŵ)²).
fn signal_to_noise(t: &Tensor, params: &[Exact], axis: Option<usize>, grid: Grid) -> f64 {
    let codes = grid.codes(t, params, axis);
    let slices = Slices::new(t.shape(), axis, params.len());
    let (mut signal, mut noise) = (0f64, 0f64);
    for i in 0..t.len() {
        let (w, back) = (t.get_f64(i), codes.get_f64(i) * params[slices.of(i)].scale);
        signal += w * w;
        noise += (w - back) * (w - back);
    }
    // Exactly represented weights have no noise: a finite figure keeps differences finite.
    10.0 * (signal.max(f64::MIN_POSITIVE) / noise.max(signal * 1e-20).max(f64::MIN_POSITIVE))
        .log10()
}

fn bias(r: &mut Rewriter, op: OpId) -> bool {
    let Some(&b) = r.f().operands(op).get(2) else { return false };
    let Some(values) = r.const_floats(b) else { return false };
    let (Some((x, storage, range)), Some(w)) =
        (uniform(r, r.operand(op, 0)), r.dequantized(r.operand(op, 1)))
    else {
        return false;
    };
    let Some(q) = r.quant_type(w) else { return false };
    let scales: Vec<f64> =
        q.affines().iter().map(|a| f64::from(x.scale) * f64::from(a.scale)).collect();
    let reach = (range[0] - x.zero_point).abs().max((range[1] - x.zero_point).abs());
    let dtype = accumulator_dtype(storage, r.const_tensor(w).as_ref(), reach.into());
    let Some(codes) = bias_codes(&values, &scales, dtype) else { return false };
    replace_operand(r, op, 2, (&codes, Elem::Quant(Arc::new(bias_type(&scales, dtype)))));
    true
}

/// Operand `i` of `op`, a float constant, becomes the dequantized form of these codes.
pub(super) fn replace_operand(
    r: &mut Rewriter,
    op: OpId,
    i: usize,
    (codes, elem): (&Tensor, Elem),
) {
    let old: Value = r.operand(op, i);
    let name = r.name_of(old);
    let float = r.ty(old).clone();
    let q = r.constant(op, &name, codes, elem);
    let new = r.insert(op, quant::Dequantize {}, &[q], TensorType { ..float }, &[op]);
    r.set_operand(op, i, new);
}
