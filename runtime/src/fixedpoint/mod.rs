//! The definition of every rounding and rescale of the TFLite reference kernels, and of ONNX
//! Runtime's (`linear`).
//!
//! What an op computes is said here once, over plain integers and floats; the interpreter, the
//! constant folders, the provers and the tests call these functions, and generated code is proven
//! or tested against them. Section numbers are those of the numerics specification.
//!
//! Invariants: no function panics on any argument; int32 arithmetic wraps (section 0); no fused
//! multiply-add; every float operation rounds once, in the written order. Functions return codes
//! *before* the clamp to the activation range unless they say otherwise: see
//! [`activation_range`] and [`clamp`].
//!
//! | file | what |
//! | --- | --- |
//! | `rounding` | half away, half even, integer averages (0, D.8) |
//! | `multiplier` | QM, SRDHM, RDP, MB, MB64, closed form, f64 requantization (C, D.3) |
//! | `gemmlowp` | exp, reciprocal, inverse square root, logarithm in fixed point (C) |
//! | `range` | activation ranges and window arithmetic (B.1, B.2) |
//! | `add` | ADD, SUB (D.5) |
//! | `elementwise` | MUL, SQUARED_DIFFERENCE, slopes, roots, HARD_SWISH (D.6, D.14, D.15, D.22) |
//! | `linear` | ONNX: QLinear*, QuantizeLinear, DequantizeLinear (E) |
//! | `reduce` | MEAN (D.9) |
//! | `softmax` | SOFTMAX (D.11) |
//! | `lut` | 256-entry and 513-entry tables (C, D.13) |
//! | `resize` | RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR (D.18) |
//! | `convert` | QUANTIZE, DEQUANTIZE, uint8 CONCATENATION (D.16, D.19) |

mod add;
mod convert;
mod elementwise;
mod gemmlowp;
mod linear;
mod lut;
mod multiplier;
mod range;
mod reduce;
mod resize;
mod rounding;
mod softmax;

pub use add::{AddParams, AddPotParams, AddSub};
pub use convert::{
    ConcatRescale, IntRequant, dequantize_per_axis, dequantize_per_tensor, quantize_f32,
};
pub use elementwise::{
    Division, HardSwish, SquaredDifference, TwoSlopes, abs_code, comparable, mul_multiplier,
    ratio_multiplier, rsqrt_code, sqrt_code,
};
pub use gemmlowp::{
    exp_on_negative_values, get_reciprocal, inv_sqrt, log_x, reciprocal_one_over_one_plus_x,
    rounding_half_sum, saturating_rounding_multiply_by_pot,
};
pub use linear::{
    LinearAdd, dequantize_linear, linear_mul, product_scale, quantize_linear, requantize_f32_even,
    round_even_limited, softmax_linear, softmax_table,
};
pub use lut::{
    Act16, Lut16, Lut16Float, elu8, exp8, gelu_tanh8, gelu8, log8, logistic8, logistic16, lut8,
    lut16_build, lut16_lookup, tanh8, tanh16,
};
pub use multiplier::{
    Multiplier, mul_by_quantized, mul_by_quantized_64, mul_by_quantized_closed_form,
    quantize_multiplier, requantize_f64, rounding_div_by_pot, srdhm,
};
pub use range::{FusedAct, Padding, Window, activation_range, clamp, window_output};
pub use reduce::{MeanParams, l2_normalize_row};
pub use resize::{
    LerpF32, LerpI10, ResizeMode, resize_axis_f32, resize_axis_i10, resize_axis_nearest,
    resize_bilinear_i10, resize_bilinear_u8,
};
pub use rounding::{
    average_signed, average_unsigned, round_half_away_f32, round_half_away_f64,
    round_half_even_f32, round_half_even_f64,
};
pub use softmax::{
    LogSoftmaxParams, Softmax16Params, Softmax16Tables, SoftmaxOut, SoftmaxParams, log_softmax_row,
    softmax_row, softmax_row16,
};

/// The real number that a code `q` stands for: `scale * (q - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    pub scale: f32,
    pub zero_point: i32,
}

impl Affine {
    /// `scale` and `zero_point` of one tensor.
    pub const fn new(scale: f32, zero_point: i32) -> Affine {
        Affine { scale, zero_point }
    }
}
