//! Shapes of ops that exist at several levels: one rule for `nn.conv2d`, `quant.conv2d` and
//! `int.conv2d`.

use super::{Constraint, OpCheck};
use crate::TensorType;

pub(super) const CONSTRAINTS: &[Constraint] = &[
    ("conv2d_c1", "x, w and y have rank 4"),
    ("conv2d_c2", "stride, dilation and groups are positive"),
    ("conv2d_c3", "w is [O,KH,KW,C/groups] and groups divides O"),
    ("conv2d_c4", "y is [N,OH,OW,O], OH = (H + top + bottom − (KH−1)·dilation − 1)/stride + 1"),
    ("conv2d_c5", "the bias is [O]"),
    ("depthwise_conv2d_c1", "x, w and y have rank 4"),
    ("depthwise_conv2d_c2", "stride and dilation are positive"),
    ("depthwise_conv2d_c3", "w is [1,KH,KW,C·multiplier]"),
    ("depthwise_conv2d_c4", "y is [N,OH,OW,C·multiplier], OH and OW as in conv2d_c4"),
    ("depthwise_conv2d_c5", "the bias is [C·multiplier]"),
    ("fully_connected_c1", "w has rank 2"),
    ("fully_connected_c2", "K is positive"),
    ("fully_connected_c3", "the size of x is a multiple of K"),
    ("fully_connected_c4", "y has M·O elements"),
    ("fully_connected_c5", "the bias is [O]"),
    ("add_c1", "y has the shape of a and b, broadcast"),
    ("matmul_c1", "a, b and y have rank 2 or more"),
    ("matmul_c2", "a is [..,M,K], b [..,K,N], or transposed as the attributes say"),
    ("matmul_c3", "y is [..,M,N], leading dimensions those of a and b, broadcast"),
    ("sub_c1", "y has the shape of a and b, broadcast"),
    ("mul_c1", "y has the shape of a and b, broadcast"),
    ("binary_c1", "y has the shape of a and b, broadcast"),
    ("unary_c1", "x and y have one shape"),
    ("max_pool2d_c1", "x and y have rank 4"),
    ("max_pool2d_c2", "window and stride are positive"),
    ("max_pool2d_c3", "y is [N,OH,OW,C], OH = (H + top + bottom − window)/stride + 1"),
    ("avg_pool2d_c1", "x and y have rank 4"),
    ("avg_pool2d_c2", "window and stride are positive"),
    ("avg_pool2d_c3", "y is [N,OH,OW,C], OH as in max_pool2d_c3"),
    ("mean_c1", "axes are sorted, unique and in the shape"),
    ("mean_c2", "y has as many elements as the dimensions that are left"),
    ("sum_c1", "axes are sorted, unique and in the shape"),
    ("sum_c2", "y has as many elements as the dimensions that are left"),
    ("reduce_max_c1", "axes are sorted, unique and in the shape"),
    ("reduce_max_c2", "y has as many elements as the dimensions that are left"),
    ("reduce_max_c3", "no axis that is reduced has extent 0"),
    ("activation_c1", "x and y have one shape"),
    ("softmax_c1", "x and y have one shape, of rank 1 or more"),
    ("l2_normalize_c1", "x and y have one shape, of rank 1 or more"),
    ("resize_bilinear_c1", "x and y are [N,H,W,C] and [N,H',W',C], not empty"),
    ("resize_bilinear_c2", "align_corners and half_pixel_centers exclude each other"),
    ("arg_max_c1", "the axis is in the shape, and its extent is not 0"),
    ("arg_max_c2", "y has the shape of x without the axis"),
    ("arg_max_c3", "y is i32 or i64"),
    ("concat_c1", "there are inputs, and the axis is in the shape"),
    ("concat_c2", "inputs and y differ along the axis only"),
    ("concat_c3", "the extents along the axis add up to that of y"),
    ("concat_c5", "inputs and y have one type"),
    ("pad_c1", "low and high have one element per dimension"),
    ("pad_c2", "each extent of y is low + that of x + high"),
    ("split_c1", "there are outputs, and the axis is in the shape"),
    ("split_c2", "outputs and x differ along the axis only"),
    ("split_c3", "the extents along the axis add up to that of x"),
    ("reinterpret_c1", "x and y have one shape"),
    ("reshape_c1", "x and y have as many elements"),
    ("reshape_c2", "x and y have one element type"),
    ("quantize_c1", "x and y have one shape"),
    ("dequantize_c1", "x and y have one shape"),
    ("requantize_c1", "x and y have one shape"),
];

/// A window that moves over an image.
pub(super) struct Window {
    pub stride: [u32; 2],
    pub dilation: [u32; 2],
    /// Top, bottom, left, right.
    pub pad: [u32; 4],
}

impl Window {
    /// A convolution's.
    pub fn new(stride: [u32; 2], dilation: [u32; 2], pad: [u32; 4]) -> Self {
        Window { stride, dilation, pad }
    }
    /// A pooling's.
    pub fn dense(stride: [u32; 2], pad: [u32; 4]) -> Self {
        Window { stride, dilation: [1, 1], pad }
    }
    /// Height and width of the output; `None` if the window does not fit once.
    pub fn out(&self, image: [u64; 2], taps: [u64; 2]) -> Option<[u64; 2]> {
        let along = |d: usize| {
            let [before, after] = [self.pad[2 * d], self.pad[2 * d + 1]];
            let padded = u128::from(image[d]) + u128::from(before) + u128::from(after);
            let last_tap = u128::from(taps[d].checked_sub(1)?) * u128::from(self.dilation[d]);
            let room = padded.checked_sub(last_tap + 1)?;
            u64::try_from(room / u128::from(self.stride[d]) + 1).ok()
        };
        Some([along(0)?, along(1)?])
    }
    fn is_positive(&self) -> bool {
        self.stride.iter().chain(&self.dilation).all(|&v| v > 0)
    }
}

fn shape(t: &TensorType) -> String {
    format!("{:?}", t.shape)
}

/// Rank, attributes and output of a convolution or pooling; false if later rules make no sense.
fn window_op(c: &mut OpCheck, window: &Window, (taps, channels): ([u64; 2], u64)) -> bool {
    let (x, y) = (c.tensor(0), c.result(0));
    let out = window.out([x.shape[1], x.shape[2]], taps);
    let Some([oh, ow]) = out else {
        return c.require(if is_pool(c) { 3 } else { 4 }, false, || {
            format!("the window {taps:?} does not fit into the image {}", shape(x))
        });
    };
    let expected = [x.shape[0], oh, ow, channels];
    c.require(if is_pool(c) { 3 } else { 4 }, y.shape[..] == expected, || {
        format!("y has shape {}, its operands make it {expected:?}", shape(y))
    })
}

fn is_pool(c: &OpCheck) -> bool {
    c.f.kind(c.op).name().ends_with("_pool2d")
}

fn ranks_are_4(c: &mut OpCheck, tensors: &[&TensorType]) -> bool {
    let shapes: Vec<String> = tensors.iter().map(|t| shape(t)).collect();
    let all = tensors.iter().all(|t| t.shape.len() == 4);
    c.require(1, all, || format!("the shapes are {}", shapes.join(", ")))
}

fn bias(c: &mut OpCheck, n_channels: u64) {
    if let Some(b) = c.opt_tensor(2) {
        let message = || format!("the bias has shape {}, not [{n_channels}]", shape(b));
        c.require(5, b.shape[..] == [n_channels], message);
    }
}

pub(super) fn conv2d(c: &mut OpCheck, window: &Window, groups: u32) {
    if let Some(n_out) = conv(c, window, groups) {
        bias(c, n_out);
    }
}

/// A convolution without its bias; the number of output channels, if there is such a thing.
pub(super) fn conv(c: &mut OpCheck, window: &Window, groups: u32) -> Option<u64> {
    let (x, w, y) = (c.tensor(0), c.tensor(1), c.result(0));
    if !ranks_are_4(c, &[x, w, y]) {
        return None;
    }
    let positive = window.is_positive() && groups > 0;
    if !c.require(2, positive, || "stride, dilation or groups is 0".to_string()) {
        return None;
    }
    let (n_out, groups) = (w.shape[0], u64::from(groups));
    let fits = w.shape[3].checked_mul(groups) == Some(x.shape[3]) && n_out.is_multiple_of(groups);
    c.require(3, fits, || {
        format!("x {} and w {} do not fit for {groups} groups", shape(x), shape(w))
    });
    window_op(c, window, ([w.shape[1], w.shape[2]], n_out));
    Some(n_out)
}

pub(super) fn depthwise_conv2d(c: &mut OpCheck, window: &Window) {
    let (x, w, y) = (c.tensor(0), c.tensor(1), c.result(0));
    if !ranks_are_4(c, &[x, w, y]) {
        return;
    }
    if !c.require(2, window.is_positive(), || "stride or dilation is 0".to_string()) {
        return;
    }
    let (n_in, n_out) = (x.shape[3], w.shape[3]);
    let fits = w.shape[0] == 1 && n_in > 0 && n_out.is_multiple_of(n_in);
    c.require(3, fits, || format!("x {} and w {} do not fit", shape(x), shape(w)));
    window_op(c, window, ([w.shape[1], w.shape[2]], n_out));
    bias(c, n_out);
}

pub(super) fn fully_connected(c: &mut OpCheck) {
    let (x, w, y) = (c.tensor(0), c.tensor(1), c.result(0));
    let &[n_out, k] = &w.shape[..] else {
        c.require(1, false, || format!("w has shape {}", shape(w)));
        return;
    };
    if !c.require(2, k > 0, || "K is 0".to_string()) {
        return;
    }
    let fits = x.len().is_multiple_of(k);
    c.require(3, fits, || format!("x {} is no [M, {k}]", shape(x)));
    let count = (x.len() / k).checked_mul(n_out);
    c.require(4, !fits || count == Some(y.len()), || {
        format!("y has shape {}, not {} times {n_out} elements", shape(y), x.len() / k)
    });
    bias(c, n_out);
}

pub(super) fn pool2d(c: &mut OpCheck, taps: [u32; 2], window: &Window) {
    let (x, y) = (c.tensor(0), c.result(0));
    if !ranks_are_4(c, &[x, y]) {
        return;
    }
    let positive = window.is_positive() && taps.iter().all(|&n| n > 0);
    if c.require(2, positive, || "window or stride is 0".to_string()) {
        window_op(c, window, (taps.map(u64::from), x.shape[3]));
    }
}

/// Numpy's rule; `None` if the shapes do not fit.
pub(super) fn broadcast(a: &[u64], b: &[u64]) -> Option<Vec<u64>> {
    let rank = a.len().max(b.len());
    let at = |s: &[u64], d: usize| (d + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
    let extent = |d: usize| match (at(a, d), at(b, d)) {
        (1, n) | (n, 1) => Some(n),
        (n, k) => (n == k).then_some(n),
    };
    (0..rank).map(extent).collect()
}

pub(super) fn add(c: &mut OpCheck) {
    let (a, b, y) = (c.tensor(0), c.tensor(1), c.result(0));
    let fits = broadcast(&a.shape, &b.shape).is_some_and(|s| s[..] == y.shape[..]);
    let message = || format!("{} and {} do not make {}", shape(a), shape(b), shape(y));
    c.require(1, fits, message);
}

pub(super) fn mean(c: &mut OpCheck, axes: &[u32]) {
    let (x, y) = (c.tensor(0), c.result(0));
    let sorted = axes.windows(2).all(|w| w[0] < w[1]);
    let rank = x.shape.len();
    let in_shape = axes.iter().all(|&a| (a as usize) < rank);
    let message = || format!("axes {axes:?} of a shape of rank {rank}");
    if c.require(1, sorted && in_shape, message) {
        let left = x.shape.iter().enumerate().filter(|(d, _)| !axes.contains(&(*d as u32)));
        let count: u64 = left.map(|(_, &n)| n).product();
        let message = || format!("y has shape {}, not {count} elements", shape(y));
        c.require(2, y.len() == count, message);
    }
}

pub(super) fn reduce_max(c: &mut OpCheck, axes: &[u32]) {
    mean(c, axes);
    let x = c.tensor(0);
    let empty = axes.iter().any(|&a| x.shape.get(a as usize) == Some(&0));
    c.require(3, !empty, || format!("axes {axes:?} of shape {}", shape(x)));
}

/// Constraint 1: x and y have one shape.
pub(super) fn same_shape(c: &mut OpCheck) {
    let (x, y) = (c.tensor(0), c.result(0));
    let message = || format!("x has shape {}, y {}", shape(x), shape(y));
    c.require(1, x.shape == y.shape, message);
}

pub(super) fn softmax(c: &mut OpCheck) {
    same_shape(c);
    let rank = c.tensor(0).shape.len();
    c.require(1, rank > 0, || "x is a scalar".to_string());
}

pub(super) fn resize_bilinear(c: &mut OpCheck, align_corners: bool, half_pixel_centers: bool) {
    let (x, y) = (c.tensor(0), c.result(0));
    let fits = match (&x.shape[..], &y.shape[..]) {
        ([n, _, _, k], [m, _, _, l]) => n == m && k == l && !x.is_empty() && !y.is_empty(),
        _ => false,
    };
    c.require(1, fits, || format!("x has shape {}, y {}", shape(x), shape(y)));
    let both = align_corners && half_pixel_centers;
    c.require(2, !both, || "align_corners and half_pixel_centers".to_string());
}

pub(super) fn arg_max(c: &mut OpCheck, axis: u32) {
    let (x, y) = (c.tensor(0), c.result(0));
    let axis = axis as usize;
    let extent = x.shape.get(axis).copied();
    let message = || format!("axis {axis} of shape {}", shape(x));
    if !c.require(1, extent.is_some_and(|n| n > 0), message) {
        return;
    }
    let left = x.shape.iter().enumerate().filter(|(d, _)| *d != axis).map(|(_, n)| n);
    let fits = left.eq(&y.shape);
    c.require(2, fits, || format!("x has shape {}, y {}", shape(x), shape(y)));
    let d = y.storage();
    let fits = matches!(d, crate::DType::I32 | crate::DType::I64);
    c.require(3, fits, || format!("y is {d}"));
}

/// `parts` along `axis` make `whole`.
fn parts(c: &mut OpCheck, whole: &TensorType, parts: &[&TensorType], axis: u32) {
    let axis = axis as usize;
    let fits = axis < whole.shape.len() && !parts.is_empty();
    if !c.require(1, fits, || format!("axis {axis} of shape {}", shape(whole))) {
        return;
    }
    for part in parts {
        let fits = part.shape.len() == whole.shape.len()
            && (0..whole.shape.len()).all(|d| d == axis || part.shape[d] == whole.shape[d]);
        let message = || format!("{} is no part of {}", shape(part), shape(whole));
        if !c.require(2, fits, message) {
            return;
        }
    }
    let total = parts.iter().map(|p| u128::from(p.shape[axis])).sum::<u128>();
    let extent = whole.shape[axis];
    let message = || format!("the parts have {total} slices, the whole {extent}");
    c.require(3, total == u128::from(extent), message);
}

pub(super) fn concat(c: &mut OpCheck, axis: u32) {
    let inputs: Vec<&TensorType> = (0..c.operands().len()).map(|i| c.tensor(i)).collect();
    parts(c, c.result(0), &inputs, axis);
}

pub(super) fn split(c: &mut OpCheck, axis: u32) {
    let outputs: Vec<&TensorType> = (0..c.f.results(c.op).len()).map(|i| c.result(i)).collect();
    parts(c, c.tensor(0), &outputs, axis);
}

pub(super) fn reshape(c: &mut OpCheck) {
    let (x, y) = (c.tensor(0), c.result(0));
    let message = || format!("x has shape {}, y {}", shape(x), shape(y));
    c.require(1, x.len() == y.len(), message);
}

/// Constraint `n`: the operand's element type is the result's.
pub(super) fn same_elem(c: &mut OpCheck, n: u32) {
    let same = c.tensor(0).elem == c.result(0).elem;
    c.require(n, same, || "x and y have different element types".to_string());
}

/// Rank, factors and shape of a matrix product (constraints 1 to 3); false if it has none.
pub(super) fn product(c: &mut OpCheck, [transpose_a, transpose_b]: [bool; 2]) -> Option<[u64; 2]> {
    let (a, b, y) = (c.tensor(0), c.tensor(1), c.result(0));
    let shapes = || format!("{:?} times {:?} is {:?}", a.shape, b.shape, y.shape);
    let matrices = [a, b, y].iter().all(|t| t.shape.len() >= 2);
    if !c.require(1, matrices, shapes) {
        return None;
    }
    let ends = |t: &TensorType, swap: bool| {
        let n = t.shape.len();
        if swap { [t.shape[n - 1], t.shape[n - 2]] } else { [t.shape[n - 2], t.shape[n - 1]] }
    };
    let ([m, k], [l, n]) = (ends(a, transpose_a), ends(b, transpose_b));
    if !c.require(2, k == l, || format!("{} of {k} and {l} products", shapes())) {
        return None;
    }
    let lead = |t: &'_ TensorType| t.shape[..t.shape.len() - 2].to_vec();
    let expected = broadcast(&lead(a), &lead(b)).map(|mut s| {
        s.extend([m, n]);
        s
    });
    let fits = expected.as_deref() == Some(&y.shape[..]);
    c.require(3, fits, shapes).then_some([m, n])
}
