//! `propagate-params`: values without parameters take those of their neighbours.
//!
//! ```text
//! %a = nn.conv2d(…)                       %a = nn.conv2d(…)
//! %p = nn.max_pool2d(%a)           ─►   %q = quant.dequantize(quant.quantize(%a) : T)
//! %y = quant.quantize(%p) : T             %p = nn.max_pool2d(%q)
//!                                         %y = quant.quantize(%p) : T
//! ```
//!
//! - Up: ops that move elements, concatenation and max pools give what they are given. If their
//!   result is quantized and an operand is not, the operand gets the result's parameters: the codes
//!   are the same.
//! - Down (`tflite` numerics): average pools and resizing of a quantized value give values in its range:
//!   a result without parameters gets those of the input. Softmax, sigmoid and tanh have fixed ones.
//! - Twice (graphs that TensorFlow's converter takes, see [`crate::converter`]): a value that is quantized to
//!   T₁ only to be quantized to T₂ is quantized to T₂ at once, as the converter does, if an op with free
//!   parameters makes it and nobody else reads either. One rounding less; what T₁ cut off is cut off by T₂.
//!
//! Parameters that the model states are otherwise never changed. `Drift::Quantizes`: a value that had no
//! parameters is rounded.

use crate::converter::follows_converter;
use crate::fixed_range::fixed_type;
use crate::rewriter::{Rewriter, rewrite_all};
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::dialect::nn::{Op, PadMode, UnaryFn};
use qcc_ir::dialect::quant;
use qcc_ir::{Level, Module, Numerics, OpId, QuantType, TensorType, Value};
use std::sync::Arc;

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "propagate-params",
    summary: "give values the quantization parameters that their neighbours determine",
    doc: include_str!("propagate_params.rs"),
    needs: LevelSet::only(Level::Nn),
    yields: None,
    drift: Drift::Quantizes,
    options: &[],
    run,
};

/// Parameters travel at most so many ops against the order of the text.
const MAX_ROUNDS: usize = 64;

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    rewrite_all(m, ctx, MAX_ROUNDS, |r, op, ctx| {
        let tflite = r.m.numerics == Numerics::TfLite;
        up(r, op, ctx) || (tflite && down(r, op, ctx))
    });
    rewrite_all(m, ctx, MAX_ROUNDS, |r, op, ctx| {
        r.is_quantize(op) && follows_converter(r) && twice(r, op, ctx)
    });
    Ok(())
}

/// Does the op give elements of its data operands, and no others?
pub(crate) fn keeps_elements(op: &Op) -> bool {
    match op {
        Op::Concat(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Slice(_)
        | Op::Broadcast(_)
        | Op::Gather(_)
        | Op::ResizeNearest(_)
        | Op::MaxPool2d(_) => true,
        // 0 is one of the numbers of every type.
        Op::Pad(o) => o.mode != PadMode::Constant || o.value == 0.0,
        _ => false,
    }
}

/// The operands that hold data: all but the indices of a gather.
fn data_operands(r: &Rewriter, op: OpId) -> usize {
    match r.nn(op) {
        Some(Op::Gather(_)) => 1,
        _ => r.f().operands(op).len(),
    }
}

/// `quantize(move(x))`: x gets the type of the result.
fn up(r: &mut Rewriter, q: OpId, ctx: &mut PassContext) -> bool {
    if !r.is_quantize(q) {
        return false;
    }
    let Some(ty) = r.quant_type(r.result(q)).cloned().filter(|q| q.uniform().is_some()) else {
        return false;
    };
    let Some(op) = r.def(r.operand(q, 0)) else { return false };
    if !r.nn(op).is_some_and(keeps_elements) || r.sole_reader(r.result(op)).is_none() {
        return false;
    }
    let mut changed = false;
    for i in 0..data_operands(r, op) {
        let x = r.operand(op, i);
        if r.dequantized(x).is_some_and(|v| r.quant_type(v) == Some(&ty)) {
            continue;
        }
        // A move of one quantized value is done on its own codes.
        if r.dequantized(x).is_some() && !matches!(r.nn(op), Some(Op::Concat(_))) {
            continue;
        }
        let y = quantized(r, op, x, &ty);
        r.set_operand(op, i, y);
        if let Some(def) = r.def(x) {
            let from = r.node(op);
            r.remark(ctx, def, format!("takes the parameters of '{from}'"));
        }
        changed = true;
    }
    changed
}

/// `dequantize(quantize(x))` right before `before`.
pub(crate) fn quantized(r: &mut Rewriter, before: OpId, x: Value, ty: &Arc<QuantType>) -> Value {
    let (float, shape) = (r.ty(x).clone(), r.shape(x).to_vec());
    let from = r.def(x).unwrap_or(before);
    let ty = TensorType::quant(&shape, ty.clone());
    let q = r.insert(before, quant::Quantize {}, &[x], ty, &[from]);
    r.insert(before, quant::Dequantize {}, &[q], float, &[from])
}

/// Puts `dequantize(quantize(…))` behind `op`, for all its readers.
pub(crate) fn quantize_result(r: &mut Rewriter, op: OpId, ty: &Arc<QuantType>) {
    let y = r.result(op);
    let Some(next) = following(r, op) else { return };
    let uses = r.f().value(y).uses().to_vec();
    let new = quantized(r, next, y, ty);
    for (reader, i) in uses {
        r.f_mut().set_operand(reader, i as usize, new);
    }
}

/// The op after `op`: there is one, since a terminator ends the function.
fn following(r: &Rewriter, op: OpId) -> Option<OpId> {
    let ops = r.f().body_ops();
    let at = ops.iter().position(|&o| o == op)?;
    ops.get(at + 1).copied()
}

/// The result of `op` has no parameters: a reader, but none that quantizes.
pub(crate) fn lacks_parameters(r: &Rewriter, op: OpId) -> bool {
    let readers = r.readers(r.result(op));
    !readers.is_empty() && !readers.iter().any(|&o| r.is_quantize(o))
}

/// Results whose range is that of the input, or fixed.
fn down(r: &mut Rewriter, op: OpId, ctx: &mut PassContext) -> bool {
    let Some(kind) = r.nn(op) else { return false };
    let Some(&x) = r.f().operands(op).first() else { return false };
    let Some(q) = r.dequantized(x).and_then(|v| r.quant_type(v)).cloned() else { return false };
    let same_range = matches!(kind, Op::AvgPool2d(_) | Op::ResizeBilinear(_));
    let fixed = fixed_type(kind, q.storage);
    let ty = match fixed {
        Some(fixed) => Arc::new(fixed),
        None if same_range && q.uniform().is_some() => q,
        None => return false,
    };
    if !lacks_parameters(r, op) {
        return false;
    }
    r.remark(ctx, op, "has no parameters of its own: they follow from what it computes");
    quantize_result(r, op, &ty);
    true
}

/// `quantize(dequantize(quantize(f(x))))` → `quantize(f(x))`.
fn twice(r: &mut Rewriter, second: OpId, ctx: &mut PassContext) -> bool {
    let Some(middle) = r.dequantized(r.operand(second, 0)) else { return false };
    let Some(first) = r.def(middle).filter(|&op| r.is_quantize(op)) else { return false };
    let x = r.operand(first, 0);
    let Some(op) = r.def(x) else { return false };
    let sole = [x, middle, r.operand(second, 0)].into_iter().all(|v| r.sole_reader(v).is_some());
    let differ = r.ty(middle) != r.ty(r.result(second));
    if !sole || !differ || !r.nn(op).is_some_and(has_free_parameters) {
        return false;
    }
    r.remark(ctx, op, "is quantized twice in a row: takes the second parameters at once");
    r.set_operand(second, 0, x);
    true
}

/// May the result of a quantized form of `op` have any parameters?
fn has_free_parameters(op: &Op) -> bool {
    match op {
        Op::Conv2d(_)
        | Op::DepthwiseConv2d(_)
        | Op::FullyConnected(_)
        | Op::MatMul(_)
        | Op::Add(_)
        | Op::Sub(_)
        | Op::Mul(_)
        | Op::Mean(_) => true,
        Op::Unary(o) => !matches!(o.f, UnaryFn::Sigmoid | UnaryFn::Tanh),
        _ => false,
    }
}
