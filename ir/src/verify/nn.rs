//! The nn dialect: shapes, element types, and what attributes may be.

use super::shapes::{self, Window};
use super::{Constraint, OpCheck};
use crate::DType;
use crate::dialect::nn::{ConvInteger, FakeQuant, MatMul, Op, QuantizeAndDequantize};

mod moves;
mod plain;

pub(super) const CONSTRAINTS: &[Constraint] = &[
    ("float_c1", "an nn op that computes takes and gives f32, not f64"),
    ("fake_quant_c1", "x and y have one shape"),
    ("fake_quant_c2", "2 to 16 bits"),
    ("fake_quant_c3", "min and max have one element each, or one per slice of the last axis of x"),
    ("quantize_and_dequantize_c1", "x and y have one shape"),
    ("quantize_and_dequantize_c2", "2 to 31 bits"),
    ("quantize_and_dequantize_c3", "the axis is -1 or in the shape"),
    ("quantize_and_dequantize_c4", "min and max: neither, or one element per slice each"),
    ("div_c1", "y has the shape of a and b, broadcast"),
    ("batch_norm_c1", "x and y have one shape, of rank 1 or more"),
    ("batch_norm_c2", "the parameters have one element per slice of the last axis"),
    ("layer_norm_c1", "x and y have one shape, of rank 1 or more"),
    ("layer_norm_c2", "scale and offset have one element per slice of the last axis"),
    ("reduce_c1", "axes are sorted, unique and in the shape"),
    ("reduce_c2", "y has as many elements as the dimensions that are left"),
    ("log_softmax_c1", "x and y have one shape, of rank 1 or more"),
    ("cast_c1", "x and y have one shape"),
    ("cast_c2", "x and y have plain elements"),
    ("compare_c1", "y has the shape of a and b, broadcast"),
    ("compare_c2", "a and b have one plain type, y is bool"),
    ("select_c1", "y has the shape of c, a and b, broadcast"),
    ("select_c2", "a, b and y have one type, with one parameter set, and c is bool"),
    ("int_binary_c1", "y has the shape of a and b, broadcast"),
    ("int_binary_c2", "a, b and y have one type: plain integers, or bool for and, or, xor"),
    ("cum_sum_c1", "x and y have one shape, with the axis in it"),
    ("cum_sum_c2", "x and y have one type: floats or plain integers"),
    ("top_k_c1", "y and indices have the shape of x but for the last axis, which may be shorter"),
    ("top_k_c2", "y is f32, indices are i32 or i64"),
    ("dynamic_quantize_c1", "y has the shape of x"),
    ("dynamic_quantize_c2", "y and zero_point are u8, scale and zero_point have shape []"),
    ("matmul_integer_c1", "a, b and y have rank 2 or more"),
    ("matmul_integer_c2", "a is [..,M,K], b [..,K,N]"),
    ("matmul_integer_c3", "y is [..,M,N], leading dimensions those of a and b, broadcast"),
    ("matmul_integer_c4", "a and b are i8 or u8, y is i32"),
    ("matmul_integer_c5", "zero points have the types of a and b, and 1, or M and N elements"),
    ("conv_integer_c1", "x, w and y have rank 4"),
    ("conv_integer_c2", "stride, dilation and groups are positive"),
    ("conv_integer_c3", "w is [O,KH,KW,C/groups] and groups divides O"),
    ("conv_integer_c4", "y is [N,OH,OW,O], OH and OW as in conv2d_c4"),
    ("conv_integer_c5", "x and w are i8 or u8, y is i32"),
    ("conv_integer_c6", "zero points have the types of x and w; 1 element, w's also O"),
    ("transpose_c1", "perm names each dimension of x once"),
    ("transpose_c2", "dimension d of y is dimension perm[d] of x"),
    ("transpose_c3", "y has the elements of x, quantized along the moved axis"),
    ("slice_c3", "start and step have one element per dimension, and no step is 0"),
    ("slice_c4", "the first and the last element of y lie in x"),
    ("slice_c5", "y has the elements of x"),
    ("pad_c4", "x and y have one element type, with one parameter set"),
    ("pad_c5", "a mirrored border is no wider than x allows, and x is not empty"),
    ("broadcast_c1", "the shape of x broadcasts to that of y"),
    ("broadcast_c2", "x and y have one element type, with one parameter set"),
    ("gather_c1", "the axis is in the shape, and not empty"),
    ("gather_c2", "y has x's shape with the axis replaced by the shape of indices"),
    ("gather_c3", "x and y have one element type, with one parameter set"),
    ("resize_nearest_c1", "x and y are [N,H,W,C] and [N,H',W',C], not empty"),
    ("resize_nearest_c2", "x and y have one element type"),
];

pub(super) fn check(c: &mut OpCheck, op: &Op) {
    match op {
        Op::Concat(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) | Op::Pad(_) => {
            return moves::check(c, op);
        }
        Op::Broadcast(_) | Op::Gather(_) | Op::ResizeNearest(_) => return moves::check(c, op),
        Op::Cast(_) => return cast(c),
        Op::Compare(_) | Op::Select(_) | Op::IntBinary(_) | Op::CumSum(_) | Op::TopK(_) => {
            return plain::check(c, op);
        }
        _ => float32(c),
    }
    match op {
        Op::FakeQuant(o) => fake_quant(c, o),
        Op::QuantizeAndDequantize(o) => quantize_and_dequantize(c, o),
        Op::Conv2d(o) => {
            shapes::conv2d(c, &Window::new(o.stride, o.dilation, o.pad), o.groups);
        }
        Op::DepthwiseConv2d(o) => {
            shapes::depthwise_conv2d(c, &Window::new(o.stride, o.dilation, o.pad))
        }
        Op::FullyConnected(_) => shapes::fully_connected(c),
        Op::MatMul(o) => matrix_product(c, o),
        Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) | Op::Binary(_) => shapes::add(c),
        Op::Unary(_) | Op::Activation(_) => shapes::same_shape(c),
        Op::BatchNorm(_) | Op::LayerNorm(_) => norm(c),
        Op::MaxPool2d(o) => shapes::pool2d(c, o.window, &Window::dense(o.stride, o.pad)),
        Op::AvgPool2d(o) => shapes::pool2d(c, o.window, &Window::dense(o.stride, o.pad)),
        Op::Mean(o) => shapes::mean(c, &o.axes),
        Op::Reduce(o) => shapes::mean(c, &o.axes),
        Op::Softmax(_) | Op::LogSoftmax(_) => shapes::softmax(c),
        Op::ArgMax(o) => shapes::arg_max(c, o.axis),
        Op::ResizeBilinear(_) => shapes::resize_bilinear(c, false, false),
        Op::DynamicQuantize(_) => dynamic_quantize(c),
        Op::MatMulInteger(_) => mat_mul_integer(c),
        Op::ConvInteger(o) => conv_integer(c, o),
        Op::Cast(_) | Op::Concat(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) => {}
        Op::Pad(_) | Op::Broadcast(_) | Op::Gather(_) | Op::ResizeNearest(_) => {}
        Op::Compare(_) | Op::Select(_) | Op::IntBinary(_) | Op::CumSum(_) | Op::TopK(_) => {}
    }
}

fn float32(c: &mut OpCheck) {
    let operands = (0..c.operands().len()).map(|i| c.tensor(i));
    let results = (0..c.f.results(c.op).len()).map(|i| c.result(i));
    let wide = operands.chain(results).any(|t| t.storage() == DType::F64);
    c.require_id("float_c1", !wide, || "float64".to_string());
}

fn fake_quant(c: &mut OpCheck, op: &FakeQuant) {
    shapes::same_shape(c);
    let bits = op.num_bits;
    c.require(2, (2..=16).contains(&bits), || format!("{bits} bits"));
    let n = [c.tensor(1).len(), c.tensor(2).len()];
    let slices = c.tensor(0).shape.last().copied().unwrap_or(1);
    let fits = n[0] == n[1] && (n[0] == 1 || n[0] == slices);
    c.require(3, fits, || format!("{} minima and {} maxima for {slices} slices", n[0], n[1]));
}

fn quantize_and_dequantize(c: &mut OpCheck, op: &QuantizeAndDequantize) {
    shapes::same_shape(c);
    let bits = op.num_bits;
    c.require(2, (2..=31).contains(&bits), || format!("{bits} bits"));
    let shape = &c.tensor(0).shape;
    let slices = match op.axis {
        -1 => Some(1),
        axis => usize::try_from(axis).ok().and_then(|a| shape.get(a)).copied(),
    };
    let message = || format!("axis {} of shape {shape:?}", op.axis);
    if !c.require(3, slices.is_some(), message) {
        return;
    }
    let (slices, n) = (slices.unwrap_or(1), c.operands().len() - 1);
    let fits = n == 0 || (n == 2 && (1..3).all(|i| c.tensor(i).len() == slices));
    let found: Vec<u64> = (1..=n).map(|i| c.tensor(i).len()).collect();
    c.require(4, fits, || format!("ranges of {found:?} elements for {slices} slices"));
}

fn matrix_product(c: &mut OpCheck, op: &MatMul) {
    shapes::product(c, [op.transpose_a, op.transpose_b]);
}

fn mat_mul_integer(c: &mut OpCheck) {
    let ends = shapes::product(c, [false, false]);
    bytes_to_i32(c, 4);
    if let Some(ends) = ends {
        zero_points(c, 5, ends);
    }
}

fn conv_integer(c: &mut OpCheck, op: &ConvInteger) {
    if let Some(n_out) = shapes::conv(c, &Window::new(op.stride, op.dilation, op.pad), op.groups) {
        zero_points(c, 6, [1, n_out]);
    }
    bytes_to_i32(c, 5);
}

/// Constraint `n`: factors are bytes, sums i32.
fn bytes_to_i32(c: &mut OpCheck, n: u32) {
    let (a, b, y) = (c.tensor(0).storage(), c.tensor(1).storage(), c.result(0).storage());
    let fits = [a, b].iter().all(|d| matches!(d, DType::I8 | DType::U8)) && y == DType::I32;
    c.require(n, fits, || format!("{a} times {b} makes {y}"));
}

/// Constraint `n`: operands 2 and 3 are zero points of 0 and 1, one or `ends[i]` elements.
fn zero_points(c: &mut OpCheck, n: u32, ends: [u64; 2]) {
    for (i, end) in ends.into_iter().enumerate() {
        let Some(zp) = c.opt_tensor(2 + i) else { return };
        let (d, of) = (zp.storage(), c.tensor(i).storage());
        let fits = d == of && (zp.len() == 1 || zp.len() == end);
        let message = || format!("{} zero points of type {d} for {} of type {of}", zp.len(), end);
        c.require(n, fits, message);
    }
}

fn norm(c: &mut OpCheck) {
    shapes::softmax(c);
    let Some(&channels) = c.tensor(0).shape.last() else { return };
    for i in 1..c.operands().len() {
        let n = c.tensor(i).len();
        c.require(2, n == channels, || format!("operand {i} has {n} elements, not {channels}"));
    }
}

fn cast(c: &mut OpCheck) {
    shapes::same_shape(c);
    let quant = c.tensor(0).quant_type().is_some() || c.result(0).quant_type().is_some();
    c.require(2, !quant, || "quantized elements".to_string());
}

fn dynamic_quantize(c: &mut OpCheck) {
    shapes::same_shape(c);
    let (y, scale, zp) = (c.result(0), c.result(1), c.result(2));
    let scalars = scale.shape.is_empty() && zp.shape.is_empty();
    let fits = scalars && [y, zp].iter().all(|t| t.storage() == DType::U8);
    let message = || {
        let (d, z) = (y.storage(), zp.storage());
        format!("y is {d}, scale {:?}, zero_point {z} {:?}", scale.shape, zp.shape)
    };
    c.require(2, fits, message);
}
