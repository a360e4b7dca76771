//! What each of TensorFlow's operators becomes: one function per kind of operator.

mod arrays;
mod conv;
mod math;
mod quantize;
mod slices;

use super::convert::{Converter, Outputs};
use qcc_runtime::Tensor;

/// Converts the node that the converter stands at.
pub type Convert = fn(&mut Converter<'_>) -> Outputs;

/// Operators by name, sorted.
const OPS: &[(&str, Convert)] = &[
    ("Abs", math::unary),
    ("Add", math::binary),
    ("AddV2", math::binary),
    ("ArgMax", math::arg_extreme),
    ("ArgMin", math::arg_extreme),
    ("AvgPool", conv::pool),
    ("BatchMatMul", conv::batch_matmul),
    ("BatchMatMulV2", conv::batch_matmul),
    ("BatchToSpaceND", conv::batch_to_space),
    ("BiasAdd", math::bias_add),
    ("BroadcastTo", arrays::broadcast_to),
    ("Cast", math::cast),
    ("Ceil", math::unary),
    ("CheckNumerics", identity),
    ("ConcatV2", arrays::concat),
    ("Const", constant),
    ("Conv2D", conv::conv2d),
    ("Cos", math::unary),
    ("DepthwiseConv2dNative", conv::depthwise),
    ("Div", math::binary),
    ("Elu", math::unary),
    ("EnsureShape", identity),
    ("Erf", math::unary),
    ("Exp", math::unary),
    ("ExpandDims", arrays::expand_dims),
    ("FakeQuantWithMinMaxArgs", quantize::args),
    ("FakeQuantWithMinMaxVars", quantize::vars),
    ("FakeQuantWithMinMaxVarsPerChannel", quantize::per_channel),
    ("Fill", arrays::fill),
    ("Floor", math::unary),
    ("FloorDiv", math::binary),
    ("FloorMod", math::binary),
    ("FusedBatchNorm", math::batch_norm),
    ("FusedBatchNormV2", math::batch_norm),
    ("FusedBatchNormV3", math::batch_norm),
    ("Gather", slices::gather),
    ("GatherV2", slices::gather),
    ("Identity", identity),
    ("IdentityN", identities),
    ("LeakyRelu", math::unary),
    ("Log", math::unary),
    ("LogSoftmax", math::softmax),
    ("MatMul", conv::matmul),
    ("Max", math::reduce),
    ("MaxPool", conv::pool),
    ("Maximum", math::binary),
    ("Mean", math::reduce),
    ("Min", math::reduce),
    ("Minimum", math::binary),
    ("MirrorPad", arrays::pad),
    ("Mul", math::binary),
    ("Neg", math::unary),
    ("Pack", arrays::pack),
    ("Pad", arrays::pad),
    ("PadV2", arrays::pad),
    ("Placeholder", placeholder),
    ("PlaceholderWithDefault", identity),
    ("Pow", math::binary),
    ("PreventGradient", identity),
    ("Prod", math::reduce),
    ("QuantizeAndDequantizeV2", quantize::quantize_and_dequantize),
    ("QuantizeAndDequantizeV3", quantize::quantize_and_dequantize),
    ("QuantizeAndDequantizeV4", quantize::quantize_and_dequantize),
    ("Range", arrays::range),
    ("Rank", arrays::shape_of),
    ("ReadVariableOp", identity),
    ("RealDiv", math::binary),
    ("Reciprocal", math::unary),
    ("Relu", math::activation),
    ("Relu6", math::activation),
    ("Reshape", arrays::reshape),
    ("ResizeBilinear", arrays::resize),
    ("ResizeNearestNeighbor", arrays::resize),
    ("Round", math::unary),
    ("Rsqrt", math::unary),
    ("Selu", math::unary),
    ("Shape", arrays::shape_of),
    ("Sigmoid", math::unary),
    ("Sign", math::unary),
    ("Sin", math::unary),
    ("Size", arrays::shape_of),
    ("Slice", slices::slice),
    ("Snapshot", identity),
    ("Softmax", math::softmax),
    ("Softplus", math::unary),
    ("Softsign", math::unary),
    ("SpaceToBatchND", conv::space_to_batch),
    ("Split", slices::split),
    ("SplitV", slices::split_v),
    ("Sqrt", math::unary),
    ("Square", math::unary),
    ("SquaredDifference", math::binary),
    ("Squeeze", arrays::squeeze),
    ("StopGradient", identity),
    ("StridedSlice", slices::strided_slice),
    ("Sub", math::binary),
    ("Sum", math::reduce),
    ("Tanh", math::unary),
    ("Tile", arrays::tile),
    ("Transpose", arrays::transpose),
    ("Unpack", slices::unpack),
    ("VarHandleOp", variable),
    ("Variable", variable),
    ("VariableV2", variable),
];

/// The operators that are supported, sorted.
pub fn supported() -> Vec<&'static str> {
    OPS.iter().map(|(name, _)| *name).collect()
}

/// How to convert operator `name`.
pub fn find(name: &str) -> Option<Convert> {
    let at = OPS.binary_search_by(|(n, _)| (*n).cmp(name)).ok()?;
    Some(OPS[at].1)
}

fn constant(c: &mut Converter) -> Outputs {
    let t: Tensor = c.constant()?;
    Ok(vec![c.make_known(t)?])
}

fn variable(c: &mut Converter) -> Outputs {
    let t = c.variable()?;
    Ok(vec![c.make_known(t)?])
}

fn identity(c: &mut Converter) -> Outputs {
    Ok(vec![c.input(0)?])
}

fn identities(c: &mut Converter) -> Outputs {
    (0..c.n_inputs()).map(|i| c.input(i)).collect()
}

/// Inputs have their values before the nodes are visited.
fn placeholder(_: &mut Converter) -> Outputs {
    Err("it is not one of the model's inputs; choose the signature or the outputs".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_sorted_and_found() {
        assert!(OPS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(OPS.iter().all(|(name, _)| find(name).is_some()));
        assert!(find("While").is_none());
    }
}
