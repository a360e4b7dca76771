//! Level nn: shapes only, and fake quantization.

use super::shapes::{self, Window};
use super::{Constraint, OpCheck};
use crate::dialect::nn::{FakeQuant, Op};

pub(super) const CONSTRAINTS: &[Constraint] = &[
    ("fake_quant_c1", "x and y have one shape"),
    ("fake_quant_c2", "2 to 16 bits"),
    ("fake_quant_c3", "min and max have one element each, or one per slice of the last axis of x"),
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
        _ => {}
    }
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
