//! Parameters of operators. Activations, paddings and types keep the format's numbers.

mod moves;

pub use moves::*;

use super::TfliteType;
use crate::tflite::schema_generated::{BuiltinOptions as Kind, Operator};

/// Parameters of an operator, by the kind that the file says it stores.
#[derive(Debug, Clone, PartialEq)]
pub enum RawOptions {
    /// None stored.
    None,
    /// Of a kind that is not read; its number in the format's union.
    Other(u8),
    /// Of CONV_2D.
    Conv2d(ConvOptions),
    /// Of DEPTHWISE_CONV_2D.
    DepthwiseConv2d(DepthwiseConvOptions),
    /// Of the pooling operators.
    Pool2d(PoolOptions),
    /// Of FULLY_CONNECTED.
    FullyConnected(FullyConnectedOptions),
    /// Of SOFTMAX.
    Softmax(SoftmaxOptions),
    /// Of CONCATENATION.
    Concatenation(ConcatOptions),
    /// Of ADD.
    Add(AddOptions),
    /// Of SUB.
    Sub(AddOptions),
    /// Of MUL.
    Mul(MulOptions),
    /// Of DIV.
    Div(DivOptions),
    /// Of TRANSPOSE_CONV.
    TransposeConv(TransposeConvOptions),
    /// Of LEAKY_RELU.
    LeakyRelu(LeakyReluOptions),
    /// Of BATCH_MATMUL.
    BatchMatMul(BatchMatMulOptions),
    /// Of GELU.
    Gelu(GeluOptions),
    /// Of RESHAPE.
    Reshape(ReshapeOptions),
    /// Of MEAN, SUM, REDUCE_MAX and their like.
    Reducer(ReducerOptions),
    /// Of RESIZE_BILINEAR.
    ResizeBilinear(ResizeOptions),
    /// Of SPLIT.
    Split(SplitOptions),
    /// Of SPLIT_V.
    SplitV(SplitOptions),
    /// Of ARG_MAX.
    ArgMax(ArgOptions),
    /// Of ARG_MIN.
    ArgMin(ArgOptions),
    /// Of FAKE_QUANT.
    FakeQuant(FakeQuantOptions),
    /// Of GATHER.
    Gather(GatherOptions),
    /// Of SQUEEZE.
    Squeeze(SqueezeOptions),
    /// Of STRIDED_SLICE.
    StridedSlice(StridedSliceOptions),
    /// Of PACK.
    Pack(PackOptions),
    /// Of UNPACK.
    Unpack(UnpackOptions),
    /// Of RESIZE_NEAREST_NEIGHBOR.
    ResizeNearest(ResizeOptions),
    /// Of MIRROR_PAD.
    MirrorPad(MirrorPadOptions),
    /// Of SPACE_TO_DEPTH.
    SpaceToDepth(BlockOptions),
    /// Of DEPTH_TO_SPACE.
    DepthToSpace(BlockOptions),
    /// Of QUANTIZE; has no fields.
    Quantize,
    /// Of DEQUANTIZE; has no fields.
    Dequantize,
}

/// Of CONV_2D.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ConvOptions {
    /// 0 SAME, 1 VALID.
    pub padding: i8,
    pub stride_h: i32,
    pub stride_w: i32,
    pub dilation_h: i32,
    pub dilation_w: i32,
    /// 0 none, 1 RELU, 2 RELU_N1_TO_1, 3 RELU6, 4 TANH, 5 SIGN_BIT.
    pub fused_activation: i8,
    /// Type of the bias where there is none in the file; FLOAT32 (0) when not set.
    pub quantized_bias_type: TfliteType,
}

/// Of DEPTHWISE_CONV_2D.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct DepthwiseConvOptions {
    /// 0 SAME, 1 VALID.
    pub padding: i8,
    pub stride_h: i32,
    pub stride_w: i32,
    pub dilation_h: i32,
    pub dilation_w: i32,
    pub fused_activation: i8,
    /// Output channels for each input channel; 0 in files that leave it to the shapes.
    pub depth_multiplier: i32,
}

/// Of the pooling operators.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct PoolOptions {
    /// 0 SAME, 1 VALID.
    pub padding: i8,
    pub stride_h: i32,
    pub stride_w: i32,
    pub filter_height: i32,
    pub filter_width: i32,
    pub fused_activation: i8,
}

/// Of FULLY_CONNECTED.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct FullyConnectedOptions {
    pub fused_activation: i8,
    /// 0 row by row, 1 shuffled in blocks of 4x16.
    pub weights_format: i8,
    pub keep_num_dims: bool,
    /// Hybrid kernels: float inputs get a zero point.
    pub asymmetric_quantize_inputs: bool,
    /// Type of the bias where there is none in the file; FLOAT32 (0) when not set.
    pub quantized_bias_type: TfliteType,
}

/// Of SOFTMAX.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftmaxOptions {
    /// Factor on the inputs.
    pub beta: f32,
}

/// Of CONCATENATION.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ConcatOptions {
    /// Counts from the end if negative.
    pub axis: i32,
    pub fused_activation: i8,
}

/// Of ADD and SUB.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct AddOptions {
    pub fused_activation: i8,
    /// int16 only: scales are powers of two.
    pub pot_scale_int16: bool,
}

/// Of MUL.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct MulOptions {
    pub fused_activation: i8,
}

/// Of DIV.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct DivOptions {
    pub fused_activation: i8,
}

/// Of TRANSPOSE_CONV.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct TransposeConvOptions {
    /// 0 SAME, 1 VALID.
    pub padding: i8,
    pub stride_h: i32,
    pub stride_w: i32,
    pub fused_activation: i8,
    /// Type of the bias where there is none in the file; FLOAT32 (0) when not set.
    pub quantized_bias_type: TfliteType,
}

/// Of LEAKY_RELU.
#[derive(Debug, Clone, PartialEq)]
pub struct LeakyReluOptions {
    /// Slope below 0.
    pub alpha: f32,
}

/// Of BATCH_MATMUL.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchMatMulOptions {
    /// The first factor is transposed.
    pub adj_x: bool,
    /// The second factor is transposed.
    pub adj_y: bool,
}

/// Of GELU.
#[derive(Debug, Clone, PartialEq)]
pub struct GeluOptions {
    /// By tanh instead of the error function.
    pub approximate: bool,
}

/// Of RESHAPE.
#[derive(Debug, Clone, PartialEq)]
pub struct ReshapeOptions {
    /// Empty if the shape is an operand only.
    pub new_shape: Vec<i32>,
}

/// Of MEAN and its like.
#[derive(Debug, Clone, PartialEq)]
pub struct ReducerOptions {
    /// Reduced dimensions stay, with extent 1.
    pub keep_dims: bool,
}

/// Of RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ResizeOptions {
    pub align_corners: bool,
    pub half_pixel_centers: bool,
}

/// Of SPLIT and SPLIT_V.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitOptions {
    /// Number of outputs.
    pub num_splits: i32,
}

/// Of ARG_MAX and ARG_MIN.
#[derive(Debug, Clone, PartialEq)]
pub struct ArgOptions {
    /// Type of the indices.
    pub output_type: TfliteType,
}

/// Of FAKE_QUANT.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct FakeQuantOptions {
    pub min: f32,
    pub max: f32,
    pub num_bits: i32,
    /// The smallest integer is 1 instead of 0.
    pub narrow_range: bool,
}

/// The options that an operator stores.
pub(super) fn read(op: &Operator) -> RawOptions {
    let kind = op.builtin_options_type();
    if kind == Kind::NONE {
        return RawOptions::None;
    }
    windowed(op).or_else(|| plain(op)).or_else(|| moves::read(op)).unwrap_or(match kind {
        Kind::QuantizeOptions => RawOptions::Quantize,
        Kind::DequantizeOptions => RawOptions::Dequantize,
        other => RawOptions::Other(other.0),
    })
}

/// Options of operators that move a window.
fn windowed(op: &Operator) -> Option<RawOptions> {
    let conv = op.builtin_options_as_conv_2_doptions().map(|o| {
        RawOptions::Conv2d(ConvOptions {
            padding: o.padding(),
            stride_h: o.stride_h(),
            stride_w: o.stride_w(),
            dilation_h: o.dilation_h_factor(),
            dilation_w: o.dilation_w_factor(),
            fused_activation: o.fused_activation_function(),
            quantized_bias_type: TfliteType(o.quantized_bias_type()),
        })
    });
    let depthwise = op.builtin_options_as_depthwise_conv_2_doptions().map(|o| {
        RawOptions::DepthwiseConv2d(DepthwiseConvOptions {
            padding: o.padding(),
            stride_h: o.stride_h(),
            stride_w: o.stride_w(),
            dilation_h: o.dilation_h_factor(),
            dilation_w: o.dilation_w_factor(),
            fused_activation: o.fused_activation_function(),
            depth_multiplier: o.depth_multiplier(),
        })
    });
    let pool = op.builtin_options_as_pool_2_doptions().map(|o| {
        RawOptions::Pool2d(PoolOptions {
            padding: o.padding(),
            stride_h: o.stride_h(),
            stride_w: o.stride_w(),
            filter_height: o.filter_height(),
            filter_width: o.filter_width(),
            fused_activation: o.fused_activation_function(),
        })
    });
    let transposed = op.builtin_options_as_transpose_conv_options().map(|o| {
        RawOptions::TransposeConv(TransposeConvOptions {
            padding: o.padding(),
            stride_h: o.stride_h(),
            stride_w: o.stride_w(),
            fused_activation: o.fused_activation_function(),
            quantized_bias_type: TfliteType(o.quantized_bias_type()),
        })
    });
    conv.or(depthwise).or(pool).or(transposed)
}

/// Options of operators that compute. Reads by the kind: at most one is there.
fn plain(op: &Operator) -> Option<RawOptions> {
    let arg = |t: i8| ArgOptions { output_type: TfliteType(t) };
    let split = |num_splits: i32| SplitOptions { num_splits };
    Some(match op.builtin_options_type() {
        Kind::FullyConnectedOptions => {
            let o = op.builtin_options_as_fully_connected_options()?;
            RawOptions::FullyConnected(FullyConnectedOptions {
                fused_activation: o.fused_activation_function(),
                weights_format: o.weights_format(),
                keep_num_dims: o.keep_num_dims(),
                asymmetric_quantize_inputs: o.asymmetric_quantize_inputs(),
                quantized_bias_type: TfliteType(o.quantized_bias_type()),
            })
        }
        Kind::SoftmaxOptions => {
            let o = op.builtin_options_as_softmax_options()?;
            RawOptions::Softmax(SoftmaxOptions { beta: o.beta() })
        }
        Kind::ConcatenationOptions => {
            let o = op.builtin_options_as_concatenation_options()?;
            let fused_activation = o.fused_activation_function();
            RawOptions::Concatenation(ConcatOptions { axis: o.axis(), fused_activation })
        }
        Kind::AddOptions => {
            let o = op.builtin_options_as_add_options()?;
            let fused_activation = o.fused_activation_function();
            let pot_scale_int16 = o.pot_scale_int16();
            RawOptions::Add(AddOptions { fused_activation, pot_scale_int16 })
        }
        Kind::SubOptions => {
            let o = op.builtin_options_as_sub_options()?;
            let fused_activation = o.fused_activation_function();
            let pot_scale_int16 = o.pot_scale_int16();
            RawOptions::Sub(AddOptions { fused_activation, pot_scale_int16 })
        }
        Kind::MulOptions => {
            let o = op.builtin_options_as_mul_options()?;
            RawOptions::Mul(MulOptions { fused_activation: o.fused_activation_function() })
        }
        Kind::DivOptions => {
            let o = op.builtin_options_as_div_options()?;
            RawOptions::Div(DivOptions { fused_activation: o.fused_activation_function() })
        }
        Kind::LeakyReluOptions => {
            let alpha = op.builtin_options_as_leaky_relu_options()?.alpha();
            RawOptions::LeakyRelu(LeakyReluOptions { alpha })
        }
        Kind::BatchMatMulOptions => {
            let o = op.builtin_options_as_batch_mat_mul_options()?;
            RawOptions::BatchMatMul(BatchMatMulOptions { adj_x: o.adj_x(), adj_y: o.adj_y() })
        }
        Kind::GeluOptions => {
            let approximate = op.builtin_options_as_gelu_options()?.approximate();
            RawOptions::Gelu(GeluOptions { approximate })
        }
        Kind::ReshapeOptions => {
            let o = op.builtin_options_as_reshape_options()?;
            let new_shape = o.new_shape().iter().flatten().collect();
            RawOptions::Reshape(ReshapeOptions { new_shape })
        }
        Kind::ReducerOptions => {
            let o = op.builtin_options_as_reducer_options()?;
            RawOptions::Reducer(ReducerOptions { keep_dims: o.keep_dims() })
        }
        Kind::ResizeBilinearOptions => {
            let o = op.builtin_options_as_resize_bilinear_options()?;
            RawOptions::ResizeBilinear(ResizeOptions {
                align_corners: o.align_corners(),
                half_pixel_centers: o.half_pixel_centers(),
            })
        }
        Kind::FakeQuantOptions => {
            let o = op.builtin_options_as_fake_quant_options()?;
            RawOptions::FakeQuant(FakeQuantOptions {
                min: o.min(),
                max: o.max(),
                num_bits: o.num_bits(),
                narrow_range: o.narrow_range(),
            })
        }
        Kind::SplitOptions => {
            RawOptions::Split(split(op.builtin_options_as_split_options()?.num_splits()))
        }
        Kind::SplitVOptions => {
            RawOptions::SplitV(split(op.builtin_options_as_split_voptions()?.num_splits()))
        }
        Kind::ArgMaxOptions => {
            RawOptions::ArgMax(arg(op.builtin_options_as_arg_max_options()?.output_type()))
        }
        Kind::ArgMinOptions => {
            RawOptions::ArgMin(arg(op.builtin_options_as_arg_min_options()?.output_type()))
        }
        _ => return None,
    })
}
