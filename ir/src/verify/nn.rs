//! Level nn: shapes only, and fake quantization.

use super::shapes::{self, Window};
use super::{Constraint, OpCheck};
use crate::dialect::nn::{FakeQuant, Op};

pub(super) const CONSTRAINTS: &[Constraint] = &[
    ("fake_quant_c1", "x and y have one shape"),
    ("fake_quant_c2", "2 to 16 bits; min and max are finite, min ≤ max"),
];

pub(super) fn check(c: &mut OpCheck, op: &Op) {
    match op {
        Op::FakeQuant(o) => fake_quant(c, o),
        Op::Conv2d(o) => shapes::conv2d(c, &Window::new(o.stride, o.dilation, o.pad), o.groups),
        Op::DepthwiseConv2d(o) => {
            shapes::depthwise_conv2d(c, &Window::new(o.stride, o.dilation, o.pad))
        }
        Op::FullyConnected(_) => shapes::fully_connected(c),
        Op::Add(_) => shapes::add(c),
        Op::Activation(_) => shapes::same_shape(c),
        Op::MaxPool2d(o) => shapes::pool2d(c, o.window, &Window::dense(o.stride, o.pad)),
        Op::AvgPool2d(o) => shapes::pool2d(c, o.window, &Window::dense(o.stride, o.pad)),
        Op::Mean(o) => shapes::mean(c, &o.axes),
        Op::Softmax(_) => shapes::softmax(c),
        Op::Concat(o) => shapes::concat(c, o.axis),
        Op::Reshape(_) => {
            shapes::reshape(c);
            shapes::same_elem(c, 2);
        }
    }
}

fn fake_quant(c: &mut OpCheck, op: &FakeQuant) {
    shapes::same_shape(c);
    let ordered = op.min.is_finite() && op.max.is_finite() && op.min <= op.max;
    let fits = ordered && (2..=16).contains(&op.num_bits);
    let message = || format!("{} bits from {:?} to {:?}", op.num_bits, op.min, op.max);
    c.require(2, fits, message);
}
