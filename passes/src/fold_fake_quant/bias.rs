//! Codes for the bias of a convolution whose input and weights are quantized.

use super::{AllKnown, Known};
use crate::PassContext;
use crate::quant_params::{Exact, accumulator_dtype, bias_codes, bias_type};
use crate::rewriter::Rewriter;
use qcc_ir::dialect::quant;
use qcc_ir::{Elem, OpId, TensorType};
use std::sync::Arc;

/// `conv(dequantize(q), dequantize(codes), b)` with a constant float b → b as dequantized codes.
pub(super) fn quantize(r: &mut Rewriter, op: OpId, known: &AllKnown, ctx: &mut PassContext) {
    let Some(&b) = r.f().operands(op).get(2) else { return };
    let (x, w) = (r.operand(op, 0), r.operand(op, 1));
    let (Some(kx), Some(kw)) = (known.get(&x), known.get(&w)) else { return };
    let ([sx], Some(values)) = (kx.params.as_slice(), r.const_floats(b)) else { return };
    let scales: Vec<f64> = kw.params.iter().map(|p| sx.scale * p.scale).collect();
    let dtype = accumulator(r, op, kx);
    let Some(codes) = bias_codes(&values, &scales, dtype) else {
        r.remark(ctx, op, "its bias is too large for codes of scale s_x·s_w: it stays float");
        return;
    };
    let elem = Elem::Quant(Arc::new(bias_type(&scales, dtype)));
    let name = r.name_of(b);
    let q = r.constant(op, &name, &codes, elem);
    let ty = TensorType::plain(&[values.len() as u64], qcc_ir::DType::F32);
    let y = r.insert(op, quant::Dequantize {}, &[q], ty, &[op]);
    r.set_operand(op, 2, y);
}

/// The type of sums of products of x with the op's weights.
fn accumulator(r: &Rewriter, op: OpId, kx: &Known) -> qcc_ir::DType {
    let weights = r.dequantized(r.operand(op, 1)).and_then(|q| r.const_tensor(q));
    let [lo, hi] = kx.grid.range;
    let zp = kx.params.first().map_or(0, |p: &Exact| p.zero_point);
    let reach = i64::from((lo - zp).abs().max((hi - zp).abs()));
    accumulator_dtype(kx.grid.storage, weights.as_ref(), reach)
}
