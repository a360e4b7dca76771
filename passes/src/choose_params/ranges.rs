//! Ranges that follow from the ranges of operands.

use super::weights::replace_operand;
use super::{result_is_quantized, uniform};
use crate::PassContext;
use crate::propagate_params::{lacks_parameters, quantize_result};
use crate::quant_params::Grid;
use crate::rewriter::{Rewriter, act_of};
use qcc_ir::dialect::nn::{Op, UnaryFn};
use qcc_ir::dialect::quant::Act;
use qcc_ir::{DType, Elem, Numerics, OpId, QuantType, Value};
use std::sync::Arc;

/// Smallest and largest number.
type Range = [f64; 2];

/// Gives the result of `op` parameters if it has none, all its data is quantized, and its range
/// follows. What only the caller of the model reads stays as it is.
pub(super) fn result(r: &mut Rewriter, op: OpId, ctx: &mut PassContext) -> bool {
    if r.f().results(op).len() != 1 || !lacks_parameters(r, op) {
        return false;
    }
    let readers = r.readers(r.result(op));
    if readers.iter().all(|&o| r.is_return(o)) {
        return false;
    }
    let Some(storage) = uniform(r, r.operand(op, 0)).map(|(_, storage, _)| storage) else {
        return false;
    };
    let Some([lo, hi]) = range_of(r, op) else { return false };
    let Some(ty) = type_of_range([lo, hi], storage) else { return false };
    let what = format!("has no parameters of its own: its range is [{lo:.6}, {hi:.6}]");
    r.remark(ctx, op, what);
    quantize_result(r, op, &Arc::new(ty));
    true
}

/// All codes of `storage` over `range`, zero among its numbers.
fn type_of_range([lo, hi]: Range, storage: DType) -> Option<QuantType> {
    let bits = match storage {
        DType::I8 | DType::U8 => 8,
        DType::I16 => 16,
        _ => return None,
    };
    let (lo, hi) = (lo.min(0.0) as f32, hi.max(0.0) as f32);
    let grid = Grid::signed(bits, false);
    let mut q = grid.quant_type(&[grid.from_range(lo, hi)?], None);
    if storage == DType::U8 {
        let a = q.uniform()?;
        q = QuantType::per_tensor(DType::U8, a.scale, a.zero_point + 128);
    }
    Some(q)
}

/// The range of the result of `op`, after its activation.
fn range_of(r: &Rewriter, op: OpId) -> Option<Range> {
    let kind = r.nn(op)?;
    let act = act_of(r.f().kind(op));
    let operand = |i: usize| operand_range(r, r.operand(op, i));
    let range = match kind {
        Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::FullyConnected(_) => match act {
            Act::Relu6 => Some([0.0, 6.0]),
            Act::ReluN1To1 => Some([-1.0, 1.0]),
            _ => None,
        },
        Op::Add(_) => add(operand(0)?, operand(1)?),
        Op::Sub(_) => {
            let [lo, hi] = operand(1)?;
            add(operand(0)?, [-hi, -lo])
        }
        Op::Mul(_) => mul(operand(0)?, operand(1)?),
        Op::Concat(_) => {
            let all: Option<Vec<Range>> = (0..r.f().operands(op).len()).map(operand).collect();
            all?.into_iter().reduce(|[a, b], [c, d]| [a.min(c), b.max(d)])
        }
        Op::Mean(_) | Op::Activation(_) => operand(0),
        Op::Unary(o) => unary(o.f, [o.alpha, o.beta], operand(0)?),
        _ => None,
    }?;
    Some(activated(act, range))
}

fn add([a, b]: Range, [c, d]: Range) -> Option<Range> {
    Some([a + c, b + d])
}

fn mul([a, b]: Range, [c, d]: Range) -> Option<Range> {
    let all = [a * c, a * d, b * c, b * d];
    Some([all.into_iter().fold(f64::MAX, f64::min), all.into_iter().fold(f64::MIN, f64::max)])
}

/// Functions that never fall, or whose range is known.
fn unary(f: UnaryFn, [alpha, beta]: [f32; 2], [lo, hi]: Range) -> Option<Range> {
    match f {
        UnaryFn::Clip => Some([lo, hi].map(|v| v.max(alpha.into()).min(beta.into()))),
        UnaryFn::HardSigmoid => Some([0.0, 1.0]),
        UnaryFn::LeakyRelu if alpha >= 0.0 => {
            Some([lo, hi].map(|v| if v < 0.0 { v * f64::from(alpha) } else { v }))
        }
        UnaryFn::HardSwish => Some([-0.375, hi.max(0.0)]),
        UnaryFn::Abs => Some([0.0, hi.max(-lo)]),
        UnaryFn::Neg => Some([-hi, -lo]),
        _ => None,
    }
}

fn activated(act: Act, [lo, hi]: Range) -> Range {
    let clamp = |a: f64, b: f64| [lo.max(a).min(b), hi.max(a).min(b)];
    match act {
        Act::None => [lo, hi],
        Act::Relu => clamp(0.0, f64::MAX),
        Act::Relu6 => clamp(0.0, 6.0),
        Act::ReluN1To1 => clamp(-1.0, 1.0),
    }
}

/// The numbers that a quantized or constant operand can be.
fn operand_range(r: &Rewriter, v: Value) -> Option<Range> {
    if let Some((a, _, codes)) = uniform(r, v) {
        return Some(codes.map(|q| f64::from(a.scale) * f64::from(q - a.zero_point)));
    }
    let values = r.const_floats(v)?;
    let finite = values.iter().all(|v| v.is_finite());
    let fold = |range: Range, &v: &f32| [range[0].min(v.into()), range[1].max(v.into())];
    (finite && !values.is_empty()).then(|| values.iter().fold([f64::MAX, f64::MIN], fold))
}

/// Constant float operands of an elementwise op or concatenation between quantized values.
pub(super) fn constants(r: &mut Rewriter, op: OpId) -> bool {
    if !takes_codes(r, op) || !result_is_quantized(r, op) {
        return false;
    }
    let operands = r.f().operands(op).to_vec();
    let Some(storage) = operands.iter().find_map(|&v| uniform(r, v)).map(|u| u.1) else {
        return false;
    };
    let mut changed = false;
    for (i, &v) in operands.iter().enumerate() {
        let Some(t) = r.const_tensor(v).filter(|t| t.dtype() == DType::F32) else { continue };
        let Some(ty) = type_of_constant(r, op, v, storage) else { continue };
        let codes = crate::quant_params::quantize(&t, &ty, r.m.numerics);
        replace_operand(r, op, i, (&codes, Elem::Quant(Arc::new(ty))));
        changed = true;
    }
    changed
}

/// May constants of `op` become codes? ONNX Runtime keeps a factor or a term that the model does not
/// quantize in float32, between DequantizeLinear and QuantizeLinear; codes would be coarser.
fn takes_codes(r: &Rewriter, op: OpId) -> bool {
    match r.nn(op) {
        Some(Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) | Op::MatMul(_)) => {
            r.m.numerics == Numerics::TfLite
        }
        Some(Op::Concat(_)) => true,
        _ => false,
    }
}

/// Its own range; what ONNX concatenates is quantized as the whole is, which loses nothing.
fn type_of_constant(r: &Rewriter, op: OpId, v: Value, storage: DType) -> Option<QuantType> {
    if r.m.numerics == Numerics::Onnx && matches!(r.nn(op), Some(Op::Concat(_))) {
        let quantize = *r.readers(r.result(op)).first()?;
        let ty = r.quant_type(r.result(quantize)).filter(|q| q.uniform().is_some())?;
        return Some(ty.as_ref().clone());
    }
    operand_range(r, v).and_then(|range| type_of_range(range, storage))
}
