//! Float ops as the source model had them, and the fake-quantization of QAT graphs.
//!
//! Activations are `[N, H, W, C]`; arithmetic is float32 in the order that each doc states.

use super::*;
use crate::dialect::quant::Act;

dialect! { Nn;
    /// Rounds to a `num_bits` grid on [min, max], nudged so that zero is on the grid
    /// (TensorFlow's FakeQuantWithMinMaxVars; numerics.md A.1).
    FakeQuant "nn.fake_quant" (x: one FloatTensor) -> (y: one FloatTensor) {
        min: f32,
        max: f32,
        num_bits: u32 = 8,
        narrow_range: bool = false,
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
    /// y = act(a + b), with numpy broadcasting.
    Add "nn.add" (a: one FloatTensor, b: one FloatTensor) -> (y: one FloatTensor) {
        act: Act = Act::None,
    } pure;
    /// y = act(x).
    Activation "nn.activation" (x: one FloatTensor) -> (y: one FloatTensor) {
        act: Act,
    } pure;
    /// The largest element in each window.
    MaxPool2d "nn.max_pool2d" (x: one FloatTensor) -> (y: one FloatTensor) {
        window: [u32; 2],
        stride: [u32; 2] = [1, 1],
        pad: [u32; 4] = [0, 0, 0, 0],
        act: Act = Act::None,
    } pure;
    /// The mean over the part of each window inside the image.
    AvgPool2d "nn.avg_pool2d" (x: one FloatTensor) -> (y: one FloatTensor) {
        window: [u32; 2],
        stride: [u32; 2] = [1, 1],
        pad: [u32; 4] = [0, 0, 0, 0],
        act: Act = Act::None,
    } pure;
    /// The mean over `axes`.
    Mean "nn.mean" (x: one FloatTensor) -> (y: one FloatTensor) {
        axes: Vec<u32>,
    } pure;
    /// exp(beta·x) / Σ exp(beta·x) over the last dimension.
    Softmax "nn.softmax" (x: one FloatTensor) -> (y: one FloatTensor) {
        beta: f32 = 1.0,
    } pure;
    /// The inputs side by side along `axis`.
    Concat "nn.concat" (xs: many FloatTensor) -> (y: one FloatTensor) {
        axis: u32,
    } pure;
    /// The same elements in the same order under another shape.
    Reshape "nn.reshape" (x: one FloatTensor) -> (y: one FloatTensor) {} pure;
}
