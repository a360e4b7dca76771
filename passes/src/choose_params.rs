//! `choose-params`: what still lacks parameters gets them, where the model says enough.
//!
//! ```text
//! %x = quant.dequantize(%xq)
//! %y = nn.conv2d(%x, const @w, const @b)      ─►   %w = quant.dequantize(const @w : …!i8<-127:127>:f32:0, {…})
//! %yq = quant.quantize(%y)                        %b = quant.dequantize(const @b : …!i32:f32:0, {…})
//!                                                 %y = nn.conv2d(%x, %w, %b)
//! ```
//!
//! Only ops with a quantized input and a quantized output are touched; the parameters that the model
//! states stay.
//! - Weights: symmetric int8, one scale per output channel, or one for all (`weights=per-tensor`). `auto`
//!   measures: one scale where it costs less than 1 dB of signal to noise; in `onnx` numerics it leaves the
//!   op in float32, as ONNX Runtime does where a model does not quantize its weights.
//! - Biases: int32 (int64 where 16-bit activations need it) codes of scale s_x·s_w.
//! - Constant operands of sums, differences, products and quotients (`tflite` numerics): their own range in
//!   the storage of the other operand. ONNX Runtime computes with such a constant in float32, so in `onnx`
//!   numerics the op stays float, with the bits that it has there.
//! - Constant factors of matrix products: likewise. Constants in a concatenation: their own range, or in
//!   `onnx` numerics the parameters of the result, which is exact.
//! - Results between quantized ops (`tflite` numerics): relu6 and relu_n1_to_1 end in their range; sums,
//!   differences, products, concatenations, means and activations of quantized values end in the range that
//!   interval arithmetic gives.
//!
//! What nothing determines stays float and is listed by `islands`. The module is at level quant
//! afterwards.

mod ranges;
mod weights;

use crate::rewriter::{Rewriter, rewrite_all};
use crate::{Diagnostics, Drift, LevelSet, OptionKind, OptionSpec, Pass, PassContext};
use qcc_ir::dialect::nn::Op;
use qcc_ir::{Level, Module, Numerics, OpId, Value};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "choose-params",
    summary: "choose quantization parameters for weights, biases and what lies between",
    doc: include_str!("choose_params.rs"),
    needs: LevelSet::of(&[Level::Nn, Level::Quant]),
    yields: Some(Level::Quant),
    drift: Drift::Quantizes,
    options: &[OptionSpec {
        name: "weights",
        kind: OptionKind::Word(&["auto", "per-axis", "per-tensor"]),
        default: "auto",
        help: "auto: per-tensor where it loses less than 1 dB, none in onnx numerics; else as said",
    }],
    run,
};

/// Each round can determine the next op of a chain; the text's order needs one.
const MAX_ROUNDS: usize = 8;

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    let mode = match ctx.options.word("weights") {
        "per-axis" => weights::Mode::PerAxis,
        "per-tensor" => weights::Mode::PerTensor,
        _ => weights::Mode::Auto,
    };
    rewrite_all(m, ctx, MAX_ROUNDS, |r, op, ctx| {
        let tflite = r.m.numerics == Numerics::TfLite;
        match r.nn(op) {
            Some(Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::FullyConnected(_)) => {
                (tflite && ranges::result(r, op, ctx)) || weights::conv(r, op, mode, ctx)
            }
            Some(_) => (tflite && ranges::result(r, op, ctx)) || ranges::constants(r, op),
            None => false,
        }
    });
    m.level = Level::Quant;
    Ok(())
}

/// Do all readers of the result of `op` quantize it?
fn result_is_quantized(r: &Rewriter, op: OpId) -> bool {
    let readers = r.readers(r.result(op));
    !readers.is_empty() && readers.iter().all(|&o| r.is_quantize(o))
}

/// The one set of parameters of the quantized value behind `v`.
fn uniform(r: &Rewriter, v: Value) -> Option<(qcc_ir::Affine, qcc_ir::DType, [i32; 2])> {
    let q = r.quant_type(r.dequantized(v)?)?;
    Some((q.uniform()?, q.storage, q.range))
}
