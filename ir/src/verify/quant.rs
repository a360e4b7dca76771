//! Level quant: shapes, and where per-axis parameters may stand.

use super::shapes::{self, Window};
use super::{Constraint, OpCheck};
use crate::dialect::nn::BinaryFn;
use crate::dialect::quant::Op;
use crate::{DType, Elem, QuantParams, QuantType, TensorType};

pub(super) const CONSTRAINTS: &[Constraint] = &[
    ("conv2d_c6", "x and y have one parameter set, w one or one per slice of axis 0"),
    ("conv2d_c7", "the bias is stored as i32 or i64"),
    ("depthwise_conv2d_c6", "x and y have one parameter set, w one or one per slice of axis 3"),
    ("depthwise_conv2d_c7", "the bias is stored as i32 or i64"),
    ("fully_connected_c6", "x and y have one parameter set, w one or one per slice of axis 0"),
    ("fully_connected_c7", "the bias is stored as i32 or i64"),
    ("add_c2", "a, b and y have one parameter set each and the same storage"),
    ("sub_c2", "as add_c2"),
    ("mul_c2", "as add_c2"),
    ("div_c2", "as add_c2"),
    ("compare_c3", "a and b have one parameter set each and the same storage, y is bool"),
    ("binary_c2", "as add_c2"),
    ("binary_c3", "a power of quantized numbers has no kernel"),
    ("matmul_c4", "a, b and y have one parameter set each, a and b 8 or 16 bits"),
    ("unary_c2", "x and y have one parameter set each; x has 8 or 16 bits, y 8, 16 or 32"),
    ("activation_c2", "x and y have one parameter set each"),
    ("mean_c3", "x and y have one parameter set each"),
    ("sum_c3", "x and y have one parameter set each and the same storage"),
    ("reduce_max_c4", "x has one parameter set"),
    ("softmax_c2", "x and y have one parameter set each"),
    ("log_softmax_c2", "x and y have one parameter set each and the same storage"),
    ("l2_normalize_c2", "x and y have one parameter set each and the same storage"),
    ("resize_bilinear_c4", "x and y have one parameter set each and the same storage"),
    ("concat_c4", "inputs and y have one parameter set each and the same storage"),
    ("reshape_c3", "x and y have one type with the same parameters, along any axis"),
    ("max_pool2d_c4", "x has one parameter set"),
    ("avg_pool2d_c4", "x and y have one parameter set each and the same storage"),
];

pub(super) fn check(c: &mut OpCheck, op: &Op) {
    match op {
        Op::Quantize(_) | Op::Dequantize(_) | Op::Requantize(_) => shapes::same_shape(c),
        Op::Conv2d(o) => {
            shapes::conv2d(c, &Window::new(o.stride, o.dilation, o.pad), o.groups);
            params_of_conv(c, 0);
        }
        Op::DepthwiseConv2d(o) => {
            shapes::depthwise_conv2d(c, &Window::new(o.stride, o.dilation, o.pad));
            params_of_conv(c, 3);
        }
        Op::FullyConnected(_) => {
            shapes::fully_connected(c);
            params_of_conv(c, 0);
        }
        Op::Add(_) => {
            shapes::add(c);
            uniform(c, 2, &[c.tensor(0), c.tensor(1), c.result(0)], true);
        }
        Op::Sub(_) | Op::Mul(_) | Op::Div(_) => {
            shapes::add(c);
            uniform(c, 2, &[c.tensor(0), c.tensor(1), c.result(0)], true);
        }
        Op::Compare(_) => {
            shapes::add(c);
            uniform(c, 3, &[c.tensor(0), c.tensor(1)], true);
            let y = c.result(0).storage();
            c.require(3, y == DType::Bool, || format!("y is {y}"));
        }
        Op::Binary(o) => {
            shapes::add(c);
            uniform(c, 2, &[c.tensor(0), c.tensor(1), c.result(0)], true);
            c.require(3, o.f != BinaryFn::Pow, || "a power".to_string());
        }
        Op::MatMul(o) => {
            shapes::product(c, [o.transpose_a, o.transpose_b]);
            uniform(c, 4, &[c.tensor(0), c.tensor(1), c.result(0)], false);
            narrow(c, 4, &[c.tensor(0), c.tensor(1)], 2);
        }
        Op::Unary(_) => {
            shapes::same_shape(c);
            uniform(c, 2, &[c.tensor(0), c.result(0)], false);
            narrow(c, 2, &[c.tensor(0)], 2);
            narrow(c, 2, &[c.result(0)], 4);
        }
        Op::Activation(_) => {
            shapes::same_shape(c);
            uniform(c, 2, &[c.tensor(0), c.result(0)], false);
        }
        Op::MaxPool2d(o) => {
            shapes::pool2d(c, o.window, &Window::dense(o.stride, o.pad));
            uniform(c, 4, &[c.tensor(0)], true);
        }
        Op::AvgPool2d(o) => {
            shapes::pool2d(c, o.window, &Window::dense(o.stride, o.pad));
            uniform(c, 4, &[c.tensor(0), c.result(0)], true);
        }
        Op::Mean(o) => {
            shapes::mean(c, &o.axes);
            uniform(c, 3, &[c.tensor(0), c.result(0)], false);
        }
        Op::Sum(o) => {
            shapes::mean(c, &o.axes);
            uniform(c, 3, &[c.tensor(0), c.result(0)], true);
        }
        Op::ReduceMax(o) => {
            shapes::reduce_max(c, &o.axes);
            uniform(c, 4, &[c.tensor(0)], true);
        }
        Op::Softmax(_) => {
            shapes::softmax(c);
            uniform(c, 2, &[c.tensor(0), c.result(0)], false);
        }
        Op::LogSoftmax(_) | Op::L2Normalize(_) => {
            shapes::softmax(c);
            uniform(c, 2, &[c.tensor(0), c.result(0)], true);
        }
        Op::ResizeBilinear(o) => {
            shapes::resize_bilinear(c, o.align_corners, o.half_pixel_centers);
            uniform(c, 4, &[c.tensor(0), c.result(0)], true);
        }
        Op::ArgMax(o) => shapes::arg_max(c, o.axis),
        Op::Concat(o) => {
            shapes::concat(c, o.axis);
            let inputs = (0..c.operands().len()).map(|i| c.tensor(i));
            let all: Vec<&TensorType> = inputs.chain([c.result(0)]).collect();
            uniform(c, 4, &all, true);
        }
        Op::Split(o) => shapes::split(c, o.axis),
        Op::Reinterpret(_) => shapes::same_shape(c),
        Op::Reshape(_) => {
            shapes::reshape(c);
            let same = same_parameters(&c.tensor(0).elem, &c.result(0).elem);
            c.require(3, same, || "the parameters change; quant.reinterpret does that".to_string());
        }
    }
}

/// One element type, but for the axis of parameters.
fn same_parameters(a: &Elem, b: &Elem) -> bool {
    match (a, b) {
        (Elem::Quant(a), Elem::Quant(b)) => {
            let axis = |q: &QuantType| matches!(q.params, QuantParams::PerAxis { .. });
            (a.storage, a.range, a.affines(), axis(a)) == (b.storage, b.range, b.affines(), axis(b))
        }
        _ => a == b,
    }
}

/// Constraint `n`: one parameter set for each tensor, and one storage type if `one_storage`.
fn uniform(c: &mut OpCheck, n: u32, tensors: &[&TensorType], one_storage: bool) {
    let per_axis = tensors.iter().any(|t| t.quant_type().is_none_or(|q| q.uniform().is_none()));
    c.require(n, !per_axis, || "per-axis parameters".to_string());
    let storage = tensors[0].storage();
    let other = tensors.iter().map(|t| t.storage()).find(|&d| one_storage && d != storage);
    let message = || format!("stored as {storage} and {}", other.unwrap_or(storage));
    c.require(n, other.is_none(), message);
}

/// Constraint `n`: codes of at most `bytes` bytes.
fn narrow(c: &mut OpCheck, n: u32, tensors: &[&TensorType], bytes: usize) {
    let wide = tensors.iter().map(|t| t.storage()).find(|d| d.size() > bytes);
    c.require(n, wide.is_none(), || format!("stored as {}", wide.unwrap_or(DType::I64)));
}

fn params_of_conv(c: &mut OpCheck, w_axis: usize) {
    uniform(c, 6, &[c.tensor(0), c.result(0)], false);
    let fits = match c.tensor(1).quant_type().map(|q| &q.params) {
        Some(QuantParams::PerAxis { axis, .. }) => *axis == w_axis,
        _ => true,
    };
    c.require(6, fits, || format!("the parameters of w are not along axis {w_axis}"));
    if let Some(b) = c.opt_tensor(2) {
        let d = b.storage();
        c.require(7, matches!(d, DType::I32 | DType::I64), || format!("the bias is stored as {d}"));
    }
}
