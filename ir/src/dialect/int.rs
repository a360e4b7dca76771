//! Ops on plain integers: zero points and fixed-point multipliers are explicit.
//!
//! Every op that requantizes an accumulator `acc` ends with
//! y = clamp(rescale(acc; mult, shift) + y_zp, lo, hi), where `rescale` is named by [`Rescale`]
//! and defined in `qcc_runtime::fixedpoint`. `mult` and `shift` have one element per output
//! channel or one for all; with `f64` and `f32_even`, `shift` is empty.

pub use super::epilogue::{Epilogue, ResidualSum, Sum};
pub use super::kernel_choice::{ConvKernel, ProvenForm, ProvenForms, TileShape};
use super::*;
use crate::attr_enum;

attr_enum! {
    /// How an accumulator becomes an output step count.
    pub enum Rescale {
        /// Fixed point, rounded twice (`mul_by_quantized`); mult i32, shift i32.
        Double = "double",
        /// 64-bit accumulator times a 16-bit multiplier (`mul_by_quantized_64`); mult i32, shift i32.
        Wide = "wide",
        /// f64 product, half away from zero (`requantize_f64`); mult f64, no shift.
        F64 = "f64",
        /// f32 product of the accumulator as f32, halves to even (`requantize_f32_even`); mult f32,
        /// no shift.
        F32Even = "f32_even",
    }
}
attr_enum! {
    /// How an average is rounded.
    pub enum MeanRounding {
        /// Halves away from zero.
        HalfAway = "half_away",
        /// Halves up.
        HalfUp = "half_up",
    }
}
attr_enum! {
    /// Which arithmetic bilinear interpolation uses.
    pub enum ResizeStyle {
        /// Integer, 10 fraction bits (int8, int16).
        Fixed10 = "fixed10",
        /// float32 (uint8).
        Float32 = "float32",
    }
}
attr_enum! {
    /// Which product of two codes.
    pub enum MulStyle {
        /// `mul_by_quantized` of the product, plus y's zero point.
        Fixed = "fixed",
        /// f32: product · mult_f32, plus y's zero point, halves to even (`linear_mul`).
        Float = "float",
    }
}
attr_enum! {
    /// How a float becomes a code.
    pub enum QuantizeRounding {
        /// Halves away from zero, cast to int32 as x86 does (`quantize_f32`).
        HalfAway = "half_away",
        /// Halves to even, saturating (`quantize_linear`).
        HalfEven = "half_even",
    }
}
attr_enum! {
    /// Which ADD arithmetic.
    pub enum AddStyle {
        /// Both inputs scaled after a left shift.
        General = "general",
        /// 16 bit, all scales powers of two.
        PowerOfTwo = "power_of_two",
    }
}

dialect! { Int;
    /// acc[n,oh,ow,o] = Σ (x − x_zp)·(w − w_zp) + bias[o] (wrapping), then requantized.
    ///
    /// With `row_sums` (`int.row_sums` of x), acc = Σ (x − x_zp)·w − w_zp·row_sums[n,oh,ow,g] + bias[o]:
    /// what is left of asymmetric weights once constants are folded into the bias.
    ///
    /// x `[N,H,W,C]`, w `[O,KH,KW,C/groups]`, bias `[O]` i32 (i64 with `wide`). A tap outside the
    /// image reads the code `pad_value`. `row_sums` of no elements are none.
    ///
    /// `forms` say how kernels may requantize: with each channel's scale and offset in `proven`
    /// (f64 `[O,2]`) they give the same code on every accumulator that can occur; `proven` of no
    /// elements is none.
    ///
    /// With an `epilogue`, those codes (8 bits, from `lo` to `hi`) and `residual`, of y's shape, are
    /// the operands of a sum, and y is its result.
    Conv2d in Box "int.conv2d" (x: one IntTensor, w: one IntTensor, bias: one IntTensor,
        mult: one Tensor, shift: one IntTensor, row_sums: opt IntTensor, proven: opt Tensor,
        residual: opt IntTensor)
        -> (y: one IntTensor) {
        stride: [u32; 2] = [1, 1],
        dilation: [u32; 2] = [1, 1],
        /// Top, bottom, left, right.
        pad: [u32; 4] = [0, 0, 0, 0],
        groups: u32 = 1,
        pad_value: i32 = 0,
        x_zp: i32 = 0,
        w_zp: i32 = 0,
        rescale: Rescale = Rescale::Double,
        y_zp: i32 = 0,
        lo: i32,
        hi: i32,
        /// The kernel that `select-kernels` chose.
        kernel: ConvKernel = ConvKernel::Auto,
        /// The forms that `prove-rescale` proved.
        forms: ProvenForms = ProvenForms::default(),
        /// What becomes of the codes.
        epilogue: Epilogue = Epilogue::None,
    } pure;
    /// As `int.conv2d` with one input channel per output channel; w `[1,KH,KW,C·multiplier]`.
    DepthwiseConv2d in Box "int.depthwise_conv2d" (x: one IntTensor, w: one IntTensor, bias: one IntTensor,
        mult: one Tensor, shift: one IntTensor, row_sums: opt IntTensor, proven: opt Tensor)
        -> (y: one IntTensor) {
        stride: [u32; 2] = [1, 1],
        dilation: [u32; 2] = [1, 1],
        /// Top, bottom, left, right.
        pad: [u32; 4] = [0, 0, 0, 0],
        pad_value: i32 = 0,
        x_zp: i32 = 0,
        w_zp: i32 = 0,
        rescale: Rescale = Rescale::Double,
        y_zp: i32 = 0,
        lo: i32,
        hi: i32,
        /// As in `int.conv2d`.
        kernel: ConvKernel = ConvKernel::Auto,
        /// As in `int.conv2d`.
        forms: ProvenForms = ProvenForms::default(),
    } pure;
    /// acc[m,o] = Σ_k (x[m,k] − x_zp)·(w[o,k] − w_zp) + bias[o], then requantized.
    FullyConnected in Box "int.fully_connected" (x: one IntTensor, w: one IntTensor, bias: one IntTensor,
        mult: one Tensor, shift: one IntTensor, row_sums: opt IntTensor, proven: opt Tensor)
        -> (y: one IntTensor) {
        x_zp: i32 = 0,
        w_zp: i32 = 0,
        rescale: Rescale = Rescale::F64,
        y_zp: i32 = 0,
        lo: i32,
        hi: i32,
        /// As in `int.conv2d`.
        kernel: ConvKernel = ConvKernel::Auto,
        /// As in `int.conv2d`.
        forms: ProvenForms = ProvenForms::default(),
    } pure;
    /// u = rescale((a − a_zp) << left_shift; a_mult, a_shift), v likewise;
    /// y = clamp(rescale(u + v; y_mult, y_shift) + y_zp). Numpy broadcasting.
    Add in Box "int.add" (a: one IntTensor, b: one IntTensor) -> (y: one IntTensor) {
        style: AddStyle = AddStyle::General,
        /// u − v instead of u + v.
        subtract: bool = false,
        left_shift: u32,
        a_zp: i32,
        a_mult: i32,
        a_shift: i32,
        b_zp: i32,
        b_mult: i32,
        b_shift: i32,
        y_mult: i32,
        y_shift: i32,
        y_zp: i32,
        lo: i32,
        hi: i32,
        /// Where not 0, `prove-rescale` showed on all pairs of codes that, in float32,
        /// t = (a − a_zp)·a_scale + (b − b_zp)·b_scale, y = clamp(round_even(t + copysign(epsilon, t)) + y_zp).
        a_scale: f32 = 0.0,
        b_scale: f32 = 0.0,
        epsilon: f32 = 0.0,
    } pure;
    /// y = clamp(round_even(fma(a', a_scale, fma(b', b_scale, offset))) + y_bias) in f32 on 8-bit
    /// codes, a' = a − a_bias, b' = b − b_bias (`LinearAdd`). Numpy broadcasting.
    AddFloat "int.add_float" (a: one IntTensor, b: one IntTensor) -> (y: one IntTensor) {
        a_scale: f32,
        b_scale: f32,
        offset: f32,
        /// What storage adds to the framework's codes.
        a_bias: i32 = 0,
        b_bias: i32 = 0,
        y_bias: i32 = 0,
        lo: i32,
        hi: i32,
    } pure;
    /// p = (a − a_zp)·(b − b_zp) wrapping; y = clamp(style(p) + y_bias). Numpy broadcasting.
    Mul "int.mul" (a: one IntTensor, b: one IntTensor) -> (y: one IntTensor) {
        style: MulStyle = MulStyle::Fixed,
        a_zp: i32,
        b_zp: i32,
        /// With `fixed`.
        mult: i32 = 0,
        shift: i32 = 0,
        /// With `float`.
        mult_f32: f32 = 0.0,
        y_zp: i32,
        /// What storage adds to the framework's code.
        y_bias: i32 = 0,
        lo: i32,
        hi: i32,
    } pure;
    /// y = table[256·(a − smallest code) + b − smallest code], any function of two 8-bit codes.
    /// Numpy broadcasting.
    PairLut "int.pair_lut" (a: one IntTensor, b: one IntTensor, table: one IntTensor)
        -> (y: one IntTensor) {} pure;
    /// acc[…,m,n] = Σ_k (a[…,m,k] − a_zp)·(b[…,k,n] − b_zp), wrapping, then requantized; `wide` sums
    /// in 64 bits. Leading dimensions broadcast.
    MatMul "int.matmul" (a: one IntTensor, b: one IntTensor) -> (y: one IntTensor) {
        /// a is `[…, K, M]`.
        transpose_a: bool = false,
        /// b is `[…, N, K]`.
        transpose_b: bool = false,
        a_zp: i32,
        b_zp: i32,
        rescale: Rescale = Rescale::Double,
        /// With `double` and `wide`.
        mult: i32 = 0,
        shift: i32 = 0,
        /// With `f32_even`.
        mult_f32: f32 = 0.0,
        y_zp: i32,
        lo: i32,
        hi: i32,
    } pure;
    /// sums[n,oh,ow,g] = Σ x over the taps of group g, as int32. No padding.
    RowSums "int.row_sums" (x: one IntTensor) -> (sums: one IntTensor) {
        window: [u32; 2],
        stride: [u32; 2] = [1, 1],
        dilation: [u32; 2] = [1, 1],
        groups: u32 = 1,
    } pure;
    /// x inside, `value` around it: `low[d]` before and `high[d]` after in each dimension.
    Pad in Box "int.pad" (x: one IntTensor) -> (y: one IntTensor) {
        low: Vec<u64>,
        high: Vec<u64>,
        value: i32,
    } pure;
    /// The largest code in each window (inside the image), clamped.
    MaxPool2d "int.max_pool2d" (x: one IntTensor) -> (y: one IntTensor) {
        window: [u32; 2],
        stride: [u32; 2] = [1, 1],
        pad: [u32; 4] = [0, 0, 0, 0],
        lo: i32,
        hi: i32,
    } pure;
    /// clamp(round(Σ (code − code_bias) / count) + code_bias) over the window inside the image.
    AvgPool2d in Box "int.avg_pool2d" (x: one IntTensor) -> (y: one IntTensor) {
        window: [u32; 2],
        stride: [u32; 2] = [1, 1],
        pad: [u32; 4] = [0, 0, 0, 0],
        rounding: MeanRounding,
        /// What storage adds to the framework's code (128 when int8 is stored as u8).
        code_bias: i32 = 0,
        lo: i32,
        hi: i32,
    } pure;
    /// y = clamp(rescale(Σ_axes x − x_zp·n; mult, shift) + y_zp), n elements each.
    Mean in Box "int.mean" (x: one IntTensor) -> (y: one IntTensor) {
        axes: Vec<u32>,
        x_zp: i32,
        /// `double` or `f32_even`.
        rescale: Rescale = Rescale::Double,
        /// With `double`; the division by n is in it.
        mult: i32 = 0,
        shift: i32 = 0,
        /// With `f32_even`.
        mult_f32: f32 = 0.0,
        y_zp: i32,
        lo: i32,
        hi: i32,
    } pure;
    /// The largest (or smallest) code over `axes`.
    ReduceMax "int.reduce_max" (x: one IntTensor) -> (y: one IntTensor) {
        axes: Vec<u32>,
        /// Smallest instead of largest.
        min: bool = false,
    } pure;
    /// Fixed-point softmax over the last dimension (numerics.md D.11). 8-bit input: `mult`,
    /// `shift` and `diff_min` of the exponent's input; 16-bit: `mult`, `shift`.
    Softmax "int.softmax" (x: one IntTensor) -> (y: one IntTensor) {
        mult: i32,
        shift: i32,
        diff_min: i32,
        /// What storage adds to the framework's output code.
        y_code_bias: i32 = 0,
    } pure;
    /// Fixed-point logarithm of softmax over the last dimension of 8-bit codes (`log_softmax_row`,
    /// numerics.md D.12): sixteenths below `hi`.
    LogSoftmax "int.log_softmax" (x: one IntTensor) -> (y: one IntTensor) {
        /// Of the exponent's input, as in `int.softmax`.
        mult: i32,
        shift: i32,
        diff_min: i32,
        /// From there back to differences of codes.
        back_mult: i32,
        back_shift: i32,
        /// Smallest and largest code of y's type.
        lo: i32,
        hi: i32,
    } pure;
    /// y = clamp(MB((x − x_zp)·2^left, m, s + more) + y_zp) over the last dimension, (m, s) = 1/√Σ(x −
    /// x_zp)² (`l2_normalize_row`).
    L2Normalize "int.l2_normalize" (x: one IntTensor) -> (y: one IntTensor) {
        x_zp: i32,
        left: u32,
        more: i32,
        y_zp: i32,
        lo: i32,
        hi: i32,
    } pure;
    /// t = table[x − max + 255] of 8-bit codes, over the last dimension; y = clamp(round_even(
    /// t·y_inverse/Σt) + y_zp): the sum in f32 from first to last, the rest in f64
    /// (`softmax_linear`). The table has 256 elements.
    SoftmaxFloat "int.softmax_float" (x: one IntTensor, table: one FloatTensor)
        -> (y: one IntTensor) {
        y_inverse: f32,
        y_zp: i32,
        lo: i32,
        hi: i32,
    } pure;
    /// Bilinear interpolation (numerics.md D.18).
    ResizeBilinear "int.resize_bilinear" (x: one IntTensor) -> (y: one IntTensor) {
        style: ResizeStyle,
        align_corners: bool = false,
        half_pixel_centers: bool = false,
        /// What storage adds to the framework's code.
        code_bias: i32 = 0,
    } pure;
    /// Index of the first largest (or smallest) code along `axis`.
    ArgMax "int.arg_max" (x: one IntTensor) -> (y: one IntTensor) {
        axis: u32,
        min: bool = false,
    } pure;
    /// clamp(i32(round(x / scale)) + zp), numerics.md D.19 and E; scale f32, zp i32, one element
    /// or one per slice along `axis`.
    Quantize "int.quantize" (x: one FloatTensor, scale: one FloatTensor, zp: one IntTensor)
        -> (y: one IntTensor) {
        axis: u32 = 0,
        rounding: QuantizeRounding = QuantizeRounding::HalfAway,
        /// What storage adds to the framework's code.
        code_bias: i32 = 0,
    } pure;
    /// scale · (q − zp), numerics.md D.19: per tensor the product in f64, rounded to f32; per axis,
    /// and with `f32_steps`, f32(q − zp) and the product in f32.
    Dequantize "int.dequantize" (x: one IntTensor, scale: one FloatTensor, zp: one IntTensor)
        -> (y: one FloatTensor) {
        axis: u32 = 0,
        f32_steps: bool = false,
    } pure;
    /// y = clamp(rescale(x − x_zp; mult, shift) + y_zp).
    Requantize "int.requantize" (x: one IntTensor) -> (y: one IntTensor) {
        x_zp: i32,
        mult: i32,
        shift: i32,
        y_zp: i32,
        lo: i32,
        hi: i32,
    } pure;
    /// y = table[x − smallest code]; the table has one element of y's type for each 8-bit or 16-bit
    /// code of x.
    Lut "int.lut" (x: one IntTensor, table: one IntTensor) -> (y: one IntTensor) {} pure;
    /// The inputs side by side along `axis`.
    Concat "int.concat" (xs: many IntTensor) -> (y: one IntTensor) {
        axis: u32,
    } pure;
    /// The block of x that starts at `start`; its extents are the result's.
    Slice "int.slice" (x: one IntTensor) -> (y: one IntTensor) {
        start: Vec<u64>,
    } pure;
    /// The same elements in the same order under another shape.
    Reshape "int.reshape" (x: one Tensor) -> (y: one Tensor) {} pure;
    /// y = min(max(x, lo), hi).
    Clamp "int.clamp" (x: one IntTensor) -> (y: one IntTensor) {
        lo: i32,
        hi: i32,
    } pure;
    /// Signed codes as unsigned and back: flips the top bit of each code.
    FlipSign "int.flip_sign" (x: one IntTensor) -> (y: one IntTensor) {} pure;
    /// The same elements at another place.
    Copy "int.copy" (x: one Tensor) -> (y: one Tensor) {} pure;
}
