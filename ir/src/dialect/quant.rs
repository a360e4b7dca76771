//! Ops on tensors of quantized elements: real = scale · (q − zero point).
//!
//! Activations are `[N, H, W, C]`. The scales and zero points are in the types; what a quantized
//! op computes, bit for bit, depends on the module's [`crate::Numerics`].

use super::*;
use crate::attr_enum;
use crate::dialect::nn::{BinaryFn, CompareFn, UnaryFn};

attr_enum! {
    /// A fused activation function: a clamp of the output.
    pub enum Act {
        /// The type's limits.
        None = "none",
        /// 0 and above.
        Relu = "relu",
        /// 0 to 6.
        Relu6 = "relu6",
        /// -1 to 1.
        ReluN1To1 = "relu_n1_to_1",
    }
}

attr_enum! {
    /// What an average of ONNX's arithmetic adds up.
    pub enum PoolSum {
        /// The real numbers in f32, row by row: QLinearAveragePool.
        Rows = "rows",
        /// The real numbers in f32, each column first: AveragePool between DequantizeLinear and
        /// QuantizeLinear.
        Columns = "columns",
        /// The codes, with halves to even: QLinearAveragePool with channels last. Equal parameters
        /// on both sides.
        Codes = "codes",
    }
}

dialect! { Quant;
    /// Float to quantized: q = clamp(round_half_away(x / s) + z).
    Quantize "quant.quantize" (x: one FloatTensor) -> (y: one QuantTensor) {} pure;
    /// Quantized to float: x = s · (q − z).
    Dequantize "quant.dequantize" (x: one QuantTensor) -> (y: one FloatTensor) {} pure;
    /// From one quantization to another: q_y = clamp((s_x/s_y)·(q_x − z_x) + z_y).
    Requantize "quant.requantize" (x: one QuantTensor) -> (y: one QuantTensor) {} pure;
    /// 2-D convolution: y[n,oh,ow,o] = act(Σ_{kh,kw,i} x[n, oh·s−p+kh·d, …, g·I+i]·w[o,kh,kw,i] + b[o]).
    ///
    /// x `[N,H,W,C]`, w `[O,KH,KW,C/groups]`, b `[O]` (int32, or int64 for 16-bit activations).
    /// Taps outside the image contribute nothing.
    Conv2d "quant.conv2d" (x: one QuantTensor, w: one QuantTensor, b: opt Tensor)
        -> (y: one QuantTensor) {
        /// Vertical and horizontal step.
        stride: [u32; 2] = [1, 1],
        /// Vertical and horizontal distance between taps.
        dilation: [u32; 2] = [1, 1],
        /// Rows and columns outside the image: top, bottom, left, right.
        pad: [u32; 4] = [0, 0, 0, 0],
        groups: u32 = 1,
        act: Act = Act::None,
    } pure;
    /// Depthwise convolution: output channel i·multiplier + m sees input channel i only.
    ///
    /// x `[N,H,W,C]`, w `[1,KH,KW,C·multiplier]`, b `[C·multiplier]`.
    DepthwiseConv2d "quant.depthwise_conv2d" (x: one QuantTensor, w: one QuantTensor, b: opt Tensor)
        -> (y: one QuantTensor) {
        stride: [u32; 2] = [1, 1],
        dilation: [u32; 2] = [1, 1],
        /// Top, bottom, left, right.
        pad: [u32; 4] = [0, 0, 0, 0],
        act: Act = Act::None,
    } pure;
    /// y[m,o] = act(Σ_k x[m,k]·w[o,k] + b[o]); x is read as `[M, K]`, w is `[O, K]`.
    FullyConnected "quant.fully_connected" (x: one QuantTensor, w: one QuantTensor, b: opt Tensor)
        -> (y: one QuantTensor) {
        act: Act = Act::None,
    } pure;
    /// y = act(a + b), with numpy broadcasting.
    Add "quant.add" (a: one QuantTensor, b: one QuantTensor) -> (y: one QuantTensor) {
        act: Act = Act::None,
        /// 16-bit only: the power-of-two kernel is allowed.
        pot_scale_int16: bool = false,
    } pure;
    /// y = act(a − b), with numpy broadcasting.
    Sub "quant.sub" (a: one QuantTensor, b: one QuantTensor) -> (y: one QuantTensor) {
        act: Act = Act::None,
        /// 16-bit only: the power-of-two kernel is allowed.
        pot_scale_int16: bool = false,
    } pure;
    /// y = act(a · b), with numpy broadcasting.
    Mul "quant.mul" (a: one QuantTensor, b: one QuantTensor) -> (y: one QuantTensor) {
        act: Act = Act::None,
    } pure;
    /// y = act(a / b), with numpy broadcasting.
    Div "quant.div" (a: one QuantTensor, b: one QuantTensor) -> (y: one QuantTensor) {
        act: Act = Act::None,
    } pure;
    /// Truth values of a ? b, with numpy broadcasting; y is bool. Real numbers are compared as the
    /// numerics round them: two codes may be equal that stand for different numbers.
    Compare "quant.compare" (a: one QuantTensor, b: one QuantTensor) -> (y: one Tensor) {
        f: CompareFn,
    } pure;
    /// y = f(a, b), with numpy broadcasting.
    Binary "quant.binary" (a: one QuantTensor, b: one QuantTensor) -> (y: one QuantTensor) {
        f: BinaryFn,
    } pure;
    /// y[…,m,n] = Σ_k a[…,m,k]·b[…,k,n], leading dimensions broadcast: two activations.
    MatMul "quant.matmul" (a: one QuantTensor, b: one QuantTensor) -> (y: one QuantTensor) {
        /// a is `[…, K, M]`.
        transpose_a: bool = false,
        /// b is `[…, N, K]`.
        transpose_b: bool = false,
    } pure;
    /// y = f(x), a table of all codes.
    Unary "quant.unary" (x: one QuantTensor) -> (y: one QuantTensor) {
        f: UnaryFn,
        /// As `nn.unary` uses them.
        alpha: f32 = 0.0,
        beta: f32 = 0.0,
    } pure;
    /// y = act(x), requantized where the parameters differ.
    Activation "quant.activation" (x: one QuantTensor) -> (y: one QuantTensor) {
        act: Act,
    } pure;
    /// The largest code in each window, clamped by the activation.
    MaxPool2d "quant.max_pool2d" (x: one QuantTensor) -> (y: one QuantTensor) {
        window: [u32; 2],
        stride: [u32; 2] = [1, 1],
        /// Top, bottom, left, right.
        pad: [u32; 4] = [0, 0, 0, 0],
        act: Act = Act::None,
    } pure same_scale;
    /// The mean over the part of each window inside the image, clamped by the activation.
    ///
    /// TensorFlow Lite's arithmetic keeps scale and zero point, and knows no `count_include_pad`.
    AvgPool2d "quant.avg_pool2d" (x: one QuantTensor) -> (y: one QuantTensor) {
        window: [u32; 2],
        stride: [u32; 2] = [1, 1],
        /// Top, bottom, left, right.
        pad: [u32; 4] = [0, 0, 0, 0],
        act: Act = Act::None,
        /// Divide by the size of the window, even at the border: zeros stand around the image.
        count_include_pad: bool = false,
        sum: PoolSum = PoolSum::Rows,
    } pure;
    /// The mean over `axes` (sorted, unique), requantized; the result has any shape with as many
    /// elements as the axes that are left.
    Mean "quant.mean" (x: one QuantTensor) -> (y: one QuantTensor) {
        axes: Vec<u32>,
    } pure;
    /// The sum over `axes` (sorted, unique), requantized; shapes as `quant.mean`. TensorFlow Lite
    /// reads bytes as unsigned numbers, those of int8 too.
    Sum "quant.sum" (x: one QuantTensor) -> (y: one QuantTensor) {
        axes: Vec<u32>,
    } pure;
    /// The largest (or smallest) element over `axes` (sorted, unique); the result has any shape with
    /// as many elements as the axes that are left.
    ReduceMax "quant.reduce_max" (x: one QuantTensor) -> (y: one QuantTensor) {
        axes: Vec<u32>,
        /// Smallest instead of largest.
        min: bool = false,
    } pure same_scale;
    /// exp(beta·x) / Σ exp(beta·x) over the last dimension.
    Softmax "quant.softmax" (x: one QuantTensor) -> (y: one QuantTensor) {
        beta: f32 = 1.0,
    } pure;
    /// (x − max) − ln Σ exp(x − max) over the last dimension.
    LogSoftmax "quant.log_softmax" (x: one QuantTensor) -> (y: one QuantTensor) {} pure;
    /// x / √(Σ x²) over the last dimension; a row of zeros stays.
    L2Normalize "quant.l2_normalize" (x: one QuantTensor) -> (y: one QuantTensor) {} pure;
    /// Bilinear interpolation from `[N,H,W,C]` to `[N,H',W',C]`. TensorFlow Lite's arithmetic keeps scale
    /// and zero point.
    ResizeBilinear "quant.resize_bilinear" (x: one QuantTensor) -> (y: one QuantTensor) {
        align_corners: bool = false,
        half_pixel_centers: bool = false,
    } pure;
    /// Index of the first largest (or smallest) element along `axis`.
    ArgMax "quant.arg_max" (x: one QuantTensor) -> (y: one IntTensor) {
        axis: u32,
        /// Smallest instead of largest.
        min: bool = false,
    } pure;
    /// The inputs side by side along `axis`, each brought to the parameters of y: `tflite` does so
    /// for 8-bit unsigned inputs only, `onnx` for all.
    Concat "quant.concat" (xs: many QuantTensor) -> (y: one QuantTensor) {
        axis: u32,
        act: Act = Act::None,
    } pure;
    /// Equal or given parts along `axis`; the extents are in the result types.
    Split "quant.split" (x: one QuantTensor) -> (ys: many QuantTensor) {
        axis: u32,
    } pure same_scale;
    /// The same codes, read with other parameters, or as plain integers: real numbers change.
    Reinterpret "quant.reinterpret" (x: one Tensor) -> (y: one Tensor) {} pure same_scale;
    /// The same elements in the same order under another shape; parameters per axis may lie along
    /// another axis.
    Reshape "quant.reshape" (x: one Tensor) -> (y: one Tensor) {} pure same_scale;
}
