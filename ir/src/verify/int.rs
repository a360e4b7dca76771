//! Level int: shapes, multipliers and clamps.

use super::shapes::{self, Window};
use super::{Constraint, OpCheck};
use crate::dialect::int::{Conv2d, Epilogue, Op, Pad, ProvenForms, Rescale, RowSums, Slice};
use crate::{DType, TensorType};

pub(super) const CONSTRAINTS: &[Constraint] = &[
    (
        "conv2d_c8",
        "mult and shift have one element, or one per output channel; types as in `rescale`",
    ),
    ("conv2d_c9", "the bias is i32, or i64 with wide or f64"),
    ("conv2d_c10", "row_sums is i32 with one element per window and group"),
    ("conv2d_c11", "y can hold lo and hi, or those of the epilogue"),
    (
        "conv2d_c12",
        "forms end at rising channels, the last at O; proven is then f64 [O,2], else missing",
    ),
    (
        "conv2d_c13",
        "residual and epilogue stand together; residual has y's shape; both have 8 bits, as lo and hi do",
    ),
    ("depthwise_conv2d_c8", "as conv2d_c8"),
    ("depthwise_conv2d_c9", "as conv2d_c9"),
    ("depthwise_conv2d_c10", "row_sums is i32 with one element per window and input channel"),
    ("depthwise_conv2d_c11", "y can hold lo and hi"),
    (
        "depthwise_conv2d_c12",
        "forms end at rising channels, the last at O; proven is then f64 [O,2], else missing",
    ),
    ("fully_connected_c8", "as conv2d_c8"),
    ("fully_connected_c9", "as conv2d_c9"),
    ("fully_connected_c10", "row_sums is i32 with one element per row of x"),
    ("fully_connected_c11", "y can hold lo and hi"),
    (
        "fully_connected_c12",
        "forms end at rising channels, the last at O; proven is then f64 [O,2], else missing",
    ),
    ("add_c3", "y can hold lo and hi"),
    ("add_float_c1", "y has the shape of a and b, broadcast"),
    ("add_float_c2", "a, b and y have 8 bits"),
    ("add_float_c3", "y can hold lo and hi"),
    ("mul_c3", "y can hold lo and hi; a and b have 8 or 16 bits"),
    ("pair_lut_c1", "y has the shape of a and b, broadcast"),
    ("pair_lut_c2", "a and b have 8 bits; the table has 65536 elements of y's type"),
    ("matmul_c5", "y can hold lo and hi; a and b have 8 or 16 bits; rescale is not f64"),
    ("log_softmax_c3", "x has 8 bits; y can hold lo and hi"),
    ("l2_normalize_c3", "x has 8 bits; y can hold lo and hi"),
    ("softmax_float_c1", "x and y have one shape, of rank 1 or more"),
    ("softmax_float_c2", "x has 8 bits, the table 256 elements of f32; y can hold lo and hi"),
    ("row_sums_c1", "x has rank 4"),
    ("row_sums_c2", "window, stride and dilation are positive, groups divides C"),
    ("row_sums_c3", "the sums are i32 [N,OH,OW,groups], OH as in conv2d_c4 without padding"),
    ("pad_c3", "x and y have one type, which can hold the value"),
    ("max_pool2d_c5", "y can hold lo and hi; x and y have one type"),
    ("avg_pool2d_c5", "y can hold lo and hi; x and y have one type"),
    ("mean_c4", "y can hold lo and hi; rescale is double or f32_even"),
    ("reduce_max_c5", "x and y have one type"),
    ("softmax_c3", "x has 8 bits and y 8 or 16, or both have 16"),
    ("resize_bilinear_c3", "x and y have one type"),
    (
        "quantize_c2",
        "scale (f32) and zp (i32) have one element, or one per slice of an axis in the shape",
    ),
    (
        "dequantize_c2",
        "scale (f32) and zp (i32) have one element, or one per slice of an axis in the shape",
    ),
    ("requantize_c2", "y can hold lo and hi"),
    ("lut_c1", "x and y have one shape"),
    ("lut_c2", "x has 8 or 16 bits; the table has an element of y's type for each code"),
    ("slice_c1", "start has one element per dimension, and y is inside x"),
    ("slice_c2", "x and y have one type"),
    ("clamp_c1", "x and y have one shape"),
    ("clamp_c2", "x and y have one type, which can hold lo and hi"),
    ("flip_sign_c1", "x and y have one shape"),
    ("flip_sign_c2", "x and y are integers of one width"),
    ("copy_c1", "x and y have one shape"),
    ("copy_c2", "x and y have one type"),
];

pub(super) fn check(c: &mut OpCheck, op: &Op) {
    match op {
        Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::FullyConnected(_) => conv(c, op),
        Op::Add(o) => {
            shapes::add(c);
            clamp(c, 3, o.lo, o.hi);
        }
        Op::AddFloat(o) => {
            shapes::add(c);
            bits(c, 2, 3, 1);
            clamp(c, 3, o.lo, o.hi);
        }
        Op::Mul(o) => {
            shapes::add(c);
            bits(c, 3, 2, 2);
            clamp(c, 3, o.lo, o.hi);
        }
        Op::PairLut(_) => {
            shapes::add(c);
            bits(c, 2, 2, 1);
            table(c, 2, 1 << 16);
        }
        Op::MatMul(o) => {
            shapes::product(c, [o.transpose_a, o.transpose_b]);
            bits(c, 5, 2, 2);
            clamp(c, 5, o.lo, o.hi);
            c.require(5, o.rescale != Rescale::F64, || "f64".to_string());
        }
        Op::RowSums(o) => row_sums(c, o),
        Op::Pad(o) => pad(c, o),
        Op::MaxPool2d(o) => {
            pool(c, o.window, o.stride, o.pad);
            clamp(c, 5, o.lo, o.hi);
        }
        Op::AvgPool2d(o) => {
            pool(c, o.window, o.stride, o.pad);
            clamp(c, 5, o.lo, o.hi);
        }
        Op::Mean(o) => {
            shapes::mean(c, &o.axes);
            clamp(c, 4, o.lo, o.hi);
            let known = matches!(o.rescale, Rescale::Double | Rescale::F32Even);
            c.require(4, known, || o.rescale.word().to_string());
        }
        Op::ReduceMax(o) => {
            shapes::reduce_max(c, &o.axes);
            shapes::same_elem(c, 5);
        }
        Op::Softmax(_) => softmax(c),
        Op::LogSoftmax(o) => row_of_bytes(c, o.lo, o.hi),
        Op::L2Normalize(o) => row_of_bytes(c, o.lo, o.hi),
        Op::SoftmaxFloat(o) => {
            shapes::softmax(c);
            bits(c, 2, 1, 1);
            let t = c.tensor(1);
            let fits = t.len() == 256 && t.storage() == DType::F32;
            c.require(2, fits, || format!("{} elements of {}", t.len(), t.storage()));
            clamp(c, 2, o.lo, o.hi);
        }
        Op::ResizeBilinear(o) => {
            shapes::resize_bilinear(c, o.align_corners, o.half_pixel_centers);
            shapes::same_elem(c, 3);
        }
        Op::ArgMax(o) => shapes::arg_max(c, o.axis),
        Op::Quantize(o) => params(c, o.axis),
        Op::Dequantize(o) => params(c, o.axis),
        Op::Requantize(o) => {
            shapes::same_shape(c);
            clamp(c, 2, o.lo, o.hi);
        }
        Op::Lut(_) => lut(c),
        Op::Concat(o) => concat(c, o.axis),
        Op::Slice(o) => slice(c, o),
        Op::Reshape(_) => {
            shapes::reshape(c);
            shapes::same_elem(c, 2);
        }
        Op::Clamp(o) => {
            shapes::same_shape(c);
            shapes::same_elem(c, 2);
            clamp(c, 2, o.lo, o.hi);
        }
        Op::FlipSign(_) => flip_sign(c),
        Op::Copy(_) => {
            shapes::same_shape(c);
            shapes::same_elem(c, 2);
        }
    }
}

/// Constraint `n`: y can hold lo and hi.
fn clamp(c: &mut OpCheck, n: u32, lo: i32, hi: i32) {
    let d = c.result(0).storage();
    let (min, max) = d.min_max();
    let within = |v: i32| (min..=max).contains(&i64::from(v));
    let fits = within(lo) && within(hi);
    c.require(n, fits, || format!("a clamp from {lo} to {hi}, of {d}"));
}

fn row_of_bytes(c: &mut OpCheck, lo: i32, hi: i32) {
    shapes::softmax(c);
    bits(c, 3, 1, 1);
    clamp(c, 3, lo, hi);
}

fn softmax(c: &mut OpCheck) {
    shapes::softmax(c);
    let (x, y) = (c.tensor(0).storage(), c.result(0).storage());
    let fits = matches!((x.size(), y.size()), (1, 1 | 2) | (2, 2));
    c.require(3, fits, || format!("from {x} to {y}"));
}

fn conv(c: &mut OpCheck, op: &Op) {
    let (rescale, lo, hi, per_window, forms) = match op {
        Op::Conv2d(o) => {
            shapes::conv2d(c, &Window::new(o.stride, o.dilation, o.pad), o.groups);
            (o.rescale, o.lo, o.hi, u64::from(o.groups), &o.forms)
        }
        Op::DepthwiseConv2d(o) => {
            shapes::depthwise_conv2d(c, &Window::new(o.stride, o.dilation, o.pad));
            (o.rescale, o.lo, o.hi, c.tensor(0).shape.last().copied().unwrap_or(0), &o.forms)
        }
        Op::FullyConnected(o) => {
            shapes::fully_connected(c);
            (o.rescale, o.lo, o.hi, 1, &o.forms)
        }
        _ => return,
    };
    let bias = c.tensor(2);
    multipliers(c, rescale, bias.len());
    let d = bias.storage();
    let wide = matches!(rescale, Rescale::Wide | Rescale::F64);
    let fits = d == DType::I32 || d == DType::I64 && wide;
    c.require(9, fits, || format!("the bias is {d}, with {}", rescale.word()));
    if let Some(sums) = c.opt_tensor(5).filter(|sums| !sums.is_empty()) {
        let windows = c.result(0).len() / bias.len().max(1);
        let count = windows.checked_mul(per_window);
        let fits = sums.storage() == DType::I32 && Some(sums.len()) == count;
        c.require(10, fits, || format!("{} sums of {}", sums.len(), sums.storage()));
    }
    match op {
        Op::Conv2d(o) => epilogue(c, o),
        _ => clamp(c, 11, lo, hi),
    }
    proven(c, forms, bias.len());
}

/// Constraints 11 and 13: what is stored fits, and a sum has its operands.
fn epilogue(c: &mut OpCheck, o: &Conv2d) {
    let residual = c.opt_tensor(7);
    let Some(sum) = o.epilogue.sum() else {
        c.require(13, residual.is_none(), || "a residual without an epilogue".to_string());
        return clamp(c, 11, o.lo, o.hi);
    };
    let (lo, hi) = {
        let mut sum = sum.sum.clone();
        let (lo, hi) = sum.bounds_mut();
        (*lo, *hi)
    };
    clamp(c, 11, lo, hi);
    let y = c.result(0);
    let is_byte = |t: &TensorType| matches!(t.storage(), DType::I8 | DType::U8);
    let fits = residual.as_ref().is_some_and(|r| r.shape == y.shape && is_byte(r)) && is_byte(y);
    c.require(13, fits && Epilogue::codes_type(o.lo, o.hi).is_some(), || {
        let residual =
            residual.map_or("none".to_string(), |r| format!("{} {:?}", r.storage(), r.shape));
        format!("codes from {} to {}, residual {residual}, y {:?}", o.lo, o.hi, y.shape)
    });
}

/// Constraint 12: channels with proven forms have their constants.
fn proven(c: &mut OpCheck, forms: &ProvenForms, n_channels: u64) {
    let constants = c.opt_tensor(6).filter(|t| !t.is_empty());
    let fits = match &constants {
        Some(t) => {
            t.shape[..] == [n_channels, 2] && t.storage() == DType::F64 && !forms.0.is_empty()
        }
        None => forms.0.is_empty(),
    };
    c.require(12, fits && forms.cover(n_channels), || {
        let shape = constants.map_or("none".to_string(), |t| format!("{:?}", t.shape));
        format!("{} forms, constants {shape}, {n_channels} channels", forms.0.len())
    });
}

fn multipliers(c: &mut OpCheck, rescale: Rescale, n_channels: u64) {
    let (mult, shift) = (c.tensor(3), c.tensor(4));
    let counts = |t: &TensorType| t.len() == 1 || t.len() == n_channels;
    let fits = match rescale {
        Rescale::Double | Rescale::Wide => mult.storage() == DType::I32 && counts(shift),
        Rescale::F64 => mult.storage() == DType::F64 && shift.is_empty(),
        Rescale::F32Even => mult.storage() == DType::F32 && shift.is_empty(),
    };
    c.require(8, fits && counts(mult) && shift.storage() == DType::I32, || {
        let kind = rescale.word();
        let (m, s) = (mult.storage(), shift.storage());
        format!("{kind}: {} multipliers of {m}, {} shifts of {s}", mult.len(), shift.len())
    });
}

fn row_sums(c: &mut OpCheck, op: &RowSums) {
    let (x, y) = (c.tensor(0), c.result(0));
    let message = || format!("x has shape {:?}", x.shape);
    if !c.require(1, x.shape.len() == 4, message) {
        return;
    }
    let groups = u64::from(op.groups);
    let all = [op.window, op.stride, op.dilation].concat();
    let positive = groups > 0 && all.iter().all(|&n| n > 0) && x.shape[3].is_multiple_of(groups);
    let message = || format!("a size of 0, or {groups} groups of {} channels", x.shape[3]);
    if !c.require(2, positive, message) {
        return;
    }
    let window = Window { stride: op.stride, dilation: op.dilation, pad: [0; 4] };
    let out = window.out([x.shape[1], x.shape[2]], op.window.map(u64::from));
    let fits = out.is_some_and(|[oh, ow]| y.shape[..] == [x.shape[0], oh, ow, groups]);
    let message = || format!("x has shape {:?}, the sums {:?}", x.shape, y.shape);
    c.require(3, fits && y.storage() == DType::I32, message);
}

fn pad(c: &mut OpCheck, op: &Pad) {
    let (x, y) = (c.tensor(0), c.result(0));
    let rank = x.shape.len();
    let fits = op.low.len() == rank && op.high.len() == rank;
    if c.require(1, fits, || format!("a shape of rank {rank}")) {
        let sum = |d: usize| x.shape[d].checked_add(op.low[d])?.checked_add(op.high[d]);
        let fits = y.shape.len() == rank && (0..rank).all(|d| sum(d) == Some(y.shape[d]));
        c.require(2, fits, || format!("x has shape {:?}, y {:?}", x.shape, y.shape));
    }
    shapes::same_elem(c, 3);
    let (min, max) = y.storage().min_max();
    let fits = (min..=max).contains(&i64::from(op.value));
    c.require(3, fits, || format!("{} is no {}", op.value, y.storage()));
}

fn pool(c: &mut OpCheck, taps: [u32; 2], stride: [u32; 2], pad: [u32; 4]) {
    shapes::pool2d(c, taps, &Window { stride, dilation: [1, 1], pad });
    shapes::same_elem(c, 5);
}

fn params(c: &mut OpCheck, axis: u32) {
    shapes::same_shape(c);
    let (x, scale, zp) = (c.tensor(0), c.tensor(1), c.tensor(2));
    let extent = x.shape.get(axis as usize).copied();
    let counts = |t: &TensorType| t.len() == 1 || Some(t.len()) == extent;
    let types = scale.storage() == DType::F32 && zp.storage() == DType::I32;
    c.require(2, types && counts(scale) && counts(zp), || {
        let (s, z) = (scale.storage(), zp.storage());
        format!("{} scales of {s}, {} zero points of {z}, axis {axis}", scale.len(), zp.len())
    });
}

fn lut(c: &mut OpCheck) {
    shapes::same_shape(c);
    bits(c, 2, 1, 2);
    table(c, 1, 1 << (8 * c.tensor(0).storage().size().min(2)));
}

/// Constraint 2: operand `i` is a table of `n` elements of y's type.
fn table(c: &mut OpCheck, i: usize, n: u64) {
    let (x, table, y) = (c.tensor(0), c.tensor(i), c.result(0));
    c.require(2, table.len() == n && table.elem == y.elem, || {
        let (n, d) = (table.len(), table.storage());
        format!("x is {}, the table has {n} elements of {d}", x.storage())
    });
}

/// Constraint `n`: the first `count` of a, b and y have at most `bytes` bytes per element.
fn bits(c: &mut OpCheck, n: u32, count: usize, bytes: usize) {
    let operands = c.operands().len().min(2);
    let of = |i: usize| if i < operands { c.tensor(i) } else { c.result(0) };
    let wide = (0..count).map(|i| of(i).storage()).find(|d| d.size() > bytes);
    c.require(n, wide.is_none(), || format!("elements of {}", wide.unwrap_or(DType::I64)));
}

fn concat(c: &mut OpCheck, axis: u32) {
    shapes::concat(c, axis);
    let elem = &c.result(0).elem;
    let same = (0..c.operands().len()).all(|i| c.tensor(i).elem == *elem);
    c.require(5, same, || "inputs and y have different types".to_string());
}

fn slice(c: &mut OpCheck, op: &Slice) {
    let (x, y) = (c.tensor(0), c.result(0));
    let rank = x.shape.len();
    let inside =
        |d: usize| op.start[d].checked_add(y.shape[d]).is_some_and(|end| end <= x.shape[d]);
    let fits = op.start.len() == rank && y.shape.len() == rank && (0..rank).all(inside);
    let message = || format!("{:?} from {:?} on, of {:?}", y.shape, op.start, x.shape);
    c.require(1, fits, message);
    shapes::same_elem(c, 2);
}

fn flip_sign(c: &mut OpCheck) {
    shapes::same_shape(c);
    let (x, y) = (c.tensor(0).storage(), c.result(0).storage());
    c.require(2, x.size() == y.size(), || format!("from {x} to {y}"));
}
