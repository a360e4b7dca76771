//! Float ops as the source model had them, fake quantization, and ops that move elements.
//!
//! Activations are `[N, H, W, C]`; an importer of another layout puts `nn.transpose` around what
//! depends on it. Arithmetic is float32, one rounding per operation, in the order that each doc
//! states, the same on every CPU: nothing is fused that a doc does not fuse. Functions of one and
//! two numbers are those of [`crate::numerics::float`], made of the four operations.
//!
//! Sums begin at 0 and go from the first element on: of products over the weights' layout (rows,
//! columns, input channels), of windows and axes in row-major order. One rule lets vectors work
//! where there is only one output: **a row**, the elements along the last axis when that is
//! reduced, is summed in 16 partial sums. Partial sum j takes elements j, j + 16, … of the whole
//! blocks of 16; then halves are added, `s[j] + s[j + 8]`, `+ 4`, `+ 2`, `+ 1`; then come the
//! elements behind the last whole block, one by one. (A row of less than 16 is summed from first
//! to last.) Products, minima and maxima of rows follow the same order, and so do the sums of
//! softmax and layer norm. Reducing several axes, the last among them, adds up the rows' sums.
//!
//! NaN has any sign and payload; two NaN count as equal bits.
//!
//! These ops may stand at the levels nn, quant and int: below nn they are what could not become
//! integer (float islands), and ops that move elements, which take any element type.

use super::*;
use crate::attr_enum;
use crate::dialect::quant::Act;
use std::cmp::Ordering;

attr_enum! {
    /// How fake quantization reaches the grid (numerics.md A.1).
    pub enum FakeQuantForm {
        /// By division: FakeQuantWithMinMaxVars.
        Divide = "divide",
        /// By multiplication: FakeQuantWithMinMaxArgs and …VarsPerChannel.
        Multiply = "multiply",
        /// From the low end of the grid: TensorFlow Lite's FAKE_QUANT.
        FromLow = "from_low",
    }
}
attr_enum! {
    /// How halves are rounded.
    pub enum Halves {
        /// To the even neighbour.
        Even = "even",
        /// Up.
        Up = "up",
    }
}
attr_enum! {
    /// A function of one number; `alpha` and `beta` are the op's attributes.
    pub enum UnaryFn {
        /// |x|
        Abs = "abs",
        /// −x
        Neg = "neg",
        /// e^x
        Exp = "exp",
        /// ln x
        Log = "log",
        /// √x
        Sqrt = "sqrt",
        /// 1/√x
        Rsqrt = "rsqrt",
        /// 1/x
        Reciprocal = "reciprocal",
        /// x·x
        Square = "square",
        /// −1 below 0, 1 above; zeros and NaN stay.
        Sign = "sign",
        /// The largest integer not above.
        Floor = "floor",
        /// The smallest integer not below.
        Ceil = "ceil",
        /// The nearest integer, halves to even.
        Round = "round",
        /// sin x
        Sin = "sin",
        /// cos x
        Cos = "cos",
        /// 1/(1 + e^−x)
        Sigmoid = "sigmoid",
        /// tanh x
        Tanh = "tanh",
        /// The error function.
        Erf = "erf",
        /// (x·(1 + erf(x·√½)))·½
        Gelu = "gelu",
        /// (x·(1 + tanh(√(2/π)·(x + 0.044715·((x·x)·x)))))·½
        GeluTanh = "gelu_tanh",
        /// x ≥ 0: x, else alpha·x
        LeakyRelu = "leaky_relu",
        /// x ≥ 0: x, else alpha·(e^x − 1)
        Elu = "elu",
        /// beta·(x > 0: x, else alpha·(e^x − 1))
        Selu = "selu",
        /// ln(1 + e^x), as max(x, 0) + ln(1 + e^−|x|)
        Softplus = "softplus",
        /// x/(1 + |x|)
        Softsign = "softsign",
        /// max(0, min(1, alpha·x + beta))
        HardSigmoid = "hard_sigmoid",
        /// x·max(0, min(1, f32(1/6)·x + ½))
        HardSwish = "hard_swish",
        /// min(max(x, alpha), beta)
        Clip = "clip",
        /// x > alpha: x, else 0
        ThresholdedRelu = "thresholded_relu",
    }
}
attr_enum! {
    /// A function of two numbers.
    pub enum BinaryFn {
        /// the smaller; NaN if one is
        Min = "min",
        /// the larger; NaN if one is
        Max = "max",
        /// a to the power b
        Pow = "pow",
        /// (a − b)²
        SquaredDifference = "squared_difference",
        /// a ≥ 0: a, else b·a
        Prelu = "prelu",
    }
}
attr_enum! {
    /// A comparison; NaN differs from everything, and nothing is less.
    pub enum CompareFn {
        /// a = b
        Equal = "equal",
        /// a ≠ b
        NotEqual = "not_equal",
        /// a < b
        Less = "less",
        /// a ≤ b
        LessEqual = "less_equal",
    }
}
impl CompareFn {
    /// Whether it holds of two numbers in the given order; `None`: they have none.
    pub fn holds(self, order: Option<Ordering>) -> bool {
        match self {
            CompareFn::Equal => order == Some(Ordering::Equal),
            CompareFn::NotEqual => order != Some(Ordering::Equal),
            CompareFn::Less => order == Some(Ordering::Less),
            CompareFn::LessEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        }
    }
}
attr_enum! {
    /// A function of two integers or truth values.
    pub enum IntFn {
        /// a + b
        Add = "add",
        /// a − b
        Sub = "sub",
        /// a · b
        Mul = "mul",
        /// the smaller
        Min = "min",
        /// the larger
        Max = "max",
        /// bitwise and
        And = "and",
        /// bitwise or
        Or = "or",
        /// bitwise exclusive or
        Xor = "xor",
    }
}
attr_enum! {
    /// What becomes of the elements along the reduced axes.
    pub enum ReduceFn {
        /// Their sum.
        Sum = "sum",
        /// Their product.
        Prod = "prod",
        /// The smallest.
        Min = "min",
        /// The largest.
        Max = "max",
        /// The sum of squares.
        SumSquare = "sum_square",
        /// √(sum of squares).
        L2 = "l2",
        /// The sum of absolute values.
        L1 = "l1",
    }
}
attr_enum! {
    /// What stands around a padded tensor.
    pub enum PadMode {
        /// `value` (a real: quantized tensors are padded with its code).
        Constant = "constant",
        /// The tensor mirrored, its border not repeated.
        Reflect = "reflect",
        /// The tensor mirrored with its border.
        Symmetric = "symmetric",
        /// The border.
        Edge = "edge",
    }
}
attr_enum! {
    /// Where a resized pixel lies in the source: source coordinate of target pixel i.
    pub enum ResizeCoordinates {
        /// i·in/out
        Asymmetric = "asymmetric",
        /// (i + ½)·in/out − ½
        HalfPixel = "half_pixel",
        /// i·(in − 1)/(out − 1)
        AlignCorners = "align_corners",
    }
}
attr_enum! {
    /// How the nearest pixel is chosen.
    pub enum NearestRounding {
        /// The pixel below.
        Floor = "floor",
        /// The pixel above.
        Ceil = "ceil",
        /// Halves down (ONNX round_prefer_floor).
        HalfDown = "half_down",
        /// Halves up (ONNX round_prefer_ceil; TensorFlow's align_corners).
        HalfUp = "half_up",
    }
}

dialect! { Nn;
    /// Rounds to a `num_bits` grid on [min, max], nudged so that zero is on the grid
    /// (TensorFlow's FakeQuantWithMinMax*; numerics.md A.1).
    ///
    /// min and max have one element, or one per slice of x's last axis.
    FakeQuant "nn.fake_quant" (x: one FloatTensor, min: one FloatTensor, max: one FloatTensor)
        -> (y: one FloatTensor) {
        num_bits: u32 = 8,
        narrow_range: bool = false,
        form: FakeQuantForm = FakeQuantForm::Divide,
    } pure;
    /// Rounds to a symmetric grid (TensorFlow's QuantizeAndDequantizeV2 to V4; numerics.md A.2).
    ///
    /// min and max have one element per slice along `axis` (−1: one range for all); without them,
    /// the range is that of x (`nn.reduce` min and max), NaN if an element is.
    QuantizeAndDequantize "nn.quantize_and_dequantize"
        (x: one FloatTensor, min: opt FloatTensor, max: opt FloatTensor) -> (y: one FloatTensor) {
        num_bits: u32 = 8,
        signed: bool = true,
        narrow_range: bool = false,
        halves: Halves = Halves::Even,
        axis: i32 = -1,
        /// x is limited to a given range.
        limit: bool = true,
    } pure;
    /// 2-D convolution; shapes as `quant.conv2d`.
    Conv2d "nn.conv2d" (x: one FloatTensor, w: one FloatTensor, b: opt FloatTensor)
        -> (y: one FloatTensor) {
        stride: [u32; 2] = [1, 1],
        dilation: [u32; 2] = [1, 1],
        pad: [u32; 4] = [0, 0, 0, 0],
        groups: u32 = 1,
        act: Act = Act::None,
    } pure;
    /// Depthwise convolution; shapes as `quant.depthwise_conv2d`.
    DepthwiseConv2d "nn.depthwise_conv2d" (x: one FloatTensor, w: one FloatTensor, b: opt FloatTensor)
        -> (y: one FloatTensor) {
        stride: [u32; 2] = [1, 1],
        dilation: [u32; 2] = [1, 1],
        pad: [u32; 4] = [0, 0, 0, 0],
        act: Act = Act::None,
    } pure;
    /// y[m,o] = act(Σ_k x[m,k]·w[o,k] + b[o]).
    FullyConnected "nn.fully_connected" (x: one FloatTensor, w: one FloatTensor, b: opt FloatTensor)
        -> (y: one FloatTensor) {
        act: Act = Act::None,
    } pure;
    /// y[…,m,n] = Σ_k a[…,m,k]·b[…,k,n], leading dimensions broadcast; k from first to last.
    MatMul "nn.matmul" (a: one FloatTensor, b: one FloatTensor) -> (y: one FloatTensor) {
        /// a is `[…, K, M]`.
        transpose_a: bool = false,
        /// b is `[…, N, K]`.
        transpose_b: bool = false,
    } pure;
    /// y = act(a + b), with numpy broadcasting.
    Add "nn.add" (a: one FloatTensor, b: one FloatTensor) -> (y: one FloatTensor) {
        act: Act = Act::None,
    } pure;
    /// y = act(a − b), with numpy broadcasting.
    Sub "nn.sub" (a: one FloatTensor, b: one FloatTensor) -> (y: one FloatTensor) {
        act: Act = Act::None,
    } pure;
    /// y = act(a · b), with numpy broadcasting.
    Mul "nn.mul" (a: one FloatTensor, b: one FloatTensor) -> (y: one FloatTensor) {
        act: Act = Act::None,
    } pure;
    /// y = act(a / b), with numpy broadcasting.
    Div "nn.div" (a: one FloatTensor, b: one FloatTensor) -> (y: one FloatTensor) {
        act: Act = Act::None,
    } pure;
    /// y = f(a, b), with numpy broadcasting.
    Binary "nn.binary" (a: one FloatTensor, b: one FloatTensor) -> (y: one FloatTensor) {
        f: BinaryFn,
    } pure;
    /// y = f(x).
    Unary "nn.unary" (x: one FloatTensor) -> (y: one FloatTensor) {
        f: UnaryFn,
        /// Slope, scale, limit or lower limit, as `f` says.
        alpha: f32 = 0.0,
        beta: f32 = 0.0,
    } pure;
    /// y = act(x).
    Activation "nn.activation" (x: one FloatTensor) -> (y: one FloatTensor) {
        act: Act,
    } pure;
    /// y = (x − mean)·(scale/√(variance + epsilon)) + offset along the last axis, whose extent
    /// the four parameters have.
    BatchNorm "nn.batch_norm" (x: one FloatTensor, scale: one FloatTensor, offset: one FloatTensor,
        mean: one FloatTensor, variance: one FloatTensor) -> (y: one FloatTensor) {
        epsilon: f32,
    } pure;
    /// Over the last axis: d = x − mean(x), y = (d·(1/√(mean(d²) + epsilon)))·scale + offset; means
    /// are row sums divided by their number.
    LayerNorm "nn.layer_norm" (x: one FloatTensor, scale: one FloatTensor, offset: opt FloatTensor)
        -> (y: one FloatTensor) {
        epsilon: f32,
    } pure;
    /// The largest element in each window, but at least the least finite number; NaN is passed over.
    MaxPool2d "nn.max_pool2d" (x: one FloatTensor) -> (y: one FloatTensor) {
        window: [u32; 2],
        stride: [u32; 2] = [1, 1],
        pad: [u32; 4] = [0, 0, 0, 0],
        act: Act = Act::None,
    } pure;
    /// The mean over the part of each window inside the image, or over the whole window with
    /// zeros outside: sum / count, in order of rows. 0 where a window has no element.
    AvgPool2d "nn.avg_pool2d" (x: one FloatTensor) -> (y: one FloatTensor) {
        window: [u32; 2],
        stride: [u32; 2] = [1, 1],
        pad: [u32; 4] = [0, 0, 0, 0],
        act: Act = Act::None,
        /// Divide by the size of the window, even at the border.
        count_include_pad: bool = false,
        /// The sum of the sums of columns, as ONNX Runtime adds before opset 19.
        by_columns: bool = false,
    } pure;
    /// The mean over `axes`: sum / count.
    Mean "nn.mean" (x: one FloatTensor) -> (y: one FloatTensor) {
        axes: Vec<u32>,
    } pure;
    /// f over `axes` (sorted, unique); y has any shape with as many elements as what is left.
    Reduce "nn.reduce" (x: one FloatTensor) -> (y: one FloatTensor) {
        f: ReduceFn,
        axes: Vec<u32>,
    } pure;
    /// e / Σ e over the last dimension, e = exp((x − max)·beta).
    Softmax "nn.softmax" (x: one FloatTensor) -> (y: one FloatTensor) {
        beta: f32 = 1.0,
    } pure;
    /// (x − max) − ln Σ exp(x − max) over the last dimension.
    LogSoftmax "nn.log_softmax" (x: one FloatTensor) -> (y: one FloatTensor) {} pure;
    /// Index of the first largest (or smallest) element along `axis`; y is i32 or i64. NaN is
    /// never larger or smaller.
    ArgMax "nn.arg_max" (x: one FloatTensor) -> (y: one IntTensor) {
        axis: u32,
        /// Smallest instead of largest.
        min: bool = false,
    } pure;
    /// Bilinear interpolation from `[N,H,W,C]` to `[N,H',W',C]`: a·(1 − t) + b·t along each row, then
    /// the same of the two rows. Positions in f32, limited to the image
    /// ([`crate::numerics::resize`]).
    ResizeBilinear "nn.resize_bilinear" (x: one FloatTensor) -> (y: one FloatTensor) {
        coordinates: ResizeCoordinates = ResizeCoordinates::HalfPixel,
    } pure;
    /// Between plain element types: float to integer toward zero, saturating; integers wrap;
    /// to boolean: is not zero.
    Cast "nn.cast" (x: one Tensor) -> (y: one Tensor) {} pure;
    /// Truth values of a ? b for plain elements of one type, with numpy broadcasting.
    Compare "nn.compare" (a: one Tensor, b: one Tensor) -> (y: one Tensor) {
        f: CompareFn,
    } pure;
    /// a where c is not 0, else b, with numpy broadcasting; a, b and y of one type, with one set of
    /// parameters, and c bool.
    Select "nn.select" (c: one Tensor, a: one Tensor, b: one Tensor) -> (y: one Tensor) {} pure;
    /// y = f(a, b) of plain integers of one type, wrapping, or of truth values (`and`, `or` and
    /// `xor`), with numpy broadcasting.
    IntBinary "nn.int_binary" (a: one Tensor, b: one Tensor) -> (y: one Tensor) {
        f: IntFn,
    } pure;
    /// y[…, i, …] = Σ_{k ≤ i} x[…, k, …] along `axis`, of floats or of integers, which wrap;
    /// each sum begins at 0 and takes one element after another.
    CumSum "nn.cum_sum" (x: one Tensor) -> (y: one Tensor) {
        axis: u32,
        /// k < i: element i itself is left out.
        exclusive: bool = false,
        /// From the last element to the first.
        reverse: bool = false,
    } pure;
    /// The K largest (or smallest) elements along the last axis in order, K being the extent of
    /// y's, and their indices (i32 or i64). Among equals the first comes first; NaN is behind all
    /// numbers.
    TopK "nn.top_k" (x: one FloatTensor) -> (y: one FloatTensor, indices: one IntTensor) {
        /// Smallest instead of largest.
        min: bool = false,
    } pure;
    /// ONNX DynamicQuantizeLinear (numerics.md E): y u8, scale f32 `[]`, zero_point u8 `[]`.
    DynamicQuantize "nn.dynamic_quantize" (x: one FloatTensor)
        -> (y: one IntTensor, scale: one FloatTensor, zero_point: one IntTensor) {} pure;
    /// ONNX MatMulInteger: y[…,m,n] = Σ_k (a − a_zp)·(b − b_zp) in i32, wrapping; zero points have
    /// one element, or one per row of a and column of b. A zero point left out is 0.
    MatMulInteger "nn.matmul_integer"
        (a: one IntTensor, b: one IntTensor, a_zp: opt IntTensor, b_zp: opt IntTensor)
        -> (y: one IntTensor) {} pure;
    /// ONNX ConvInteger: as `quant.conv2d` on codes less their zero points, in i32, wrapping.
    /// w is `[O,KH,KW,C/groups]`.
    ConvInteger "nn.conv_integer"
        (x: one IntTensor, w: one IntTensor, x_zp: opt IntTensor, w_zp: opt IntTensor)
        -> (y: one IntTensor) {
        stride: [u32; 2] = [1, 1],
        dilation: [u32; 2] = [1, 1],
        pad: [u32; 4] = [0, 0, 0, 0],
        groups: u32 = 1,
    } pure;

    /// The inputs side by side along `axis`.
    Concat "nn.concat" (xs: many Tensor) -> (y: one Tensor) {
        axis: u32,
    } pure;
    /// The same elements in the same order under another shape.
    Reshape "nn.reshape" (x: one Tensor) -> (y: one Tensor) {} pure;
    /// Dimension d of y is dimension perm[d] of x.
    Transpose "nn.transpose" (x: one Tensor) -> (y: one Tensor) {
        perm: Vec<u32>,
    } pure;
    /// y[i] = x[start + i·step] in each dimension; extents are y's. Steps may be negative.
    Slice in Box "nn.slice" (x: one Tensor) -> (y: one Tensor) {
        start: Vec<u64>,
        step: Vec<i64>,
    } pure;
    /// x with `low[d]` elements before and `high[d]` after in dimension d.
    Pad in Box "nn.pad" (x: one Tensor) -> (y: one Tensor) {
        low: Vec<u64>,
        high: Vec<u64>,
        mode: PadMode = PadMode::Constant,
        /// For `constant`: the real number around x.
        value: f32 = 0.0,
    } pure;
    /// x repeated to y's shape, by numpy's rule.
    Broadcast "nn.broadcast" (x: one Tensor) -> (y: one Tensor) {} pure;
    /// y[…i…] = x[…, indices[i], …] along `axis`; y has x's shape with that axis replaced by the
    /// shape of indices. An index outside the axis counts from its end if negative, and is clamped.
    Gather "nn.gather" (x: one Tensor, indices: one IntTensor) -> (y: one Tensor) {
        axis: u32 = 0,
    } pure;
    /// The nearest pixel, from `[N,H,W,C]` to `[N,H',W',C]`.
    ResizeNearest "nn.resize_nearest" (x: one Tensor) -> (y: one Tensor) {
        coordinates: ResizeCoordinates = ResizeCoordinates::Asymmetric,
        rounding: NearestRounding = NearestRounding::Floor,
    } pure;
}
