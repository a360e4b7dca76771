//! Integer ops: which function evaluates which, and the elementwise ones.

use super::{conv, int_pairs, moves, window, zeros};
use crate::TensorType;
use crate::dialect::int::{Dequantize, Op, Quantize, QuantizeRounding, Requantize};
use qcc_runtime::Tensor;
use qcc_runtime::fixedpoint::{
    Affine, IntRequant, Multiplier, clamp, dequantize_per_axis, dequantize_per_tensor,
    quantize_f32, quantize_linear,
};
use qcc_runtime::{DType, TensorError};

/// The result, of type `ty`, of `op` on `xs`.
pub(super) fn eval(op: &Op, xs: &[&Tensor], ty: &TensorType) -> Result<Tensor, String> {
    let &x = xs.first().ok_or("an op without operands")?;
    let y = zeros(ty)?;
    match op {
        Op::Conv2d(o) => conv::conv2d(o, xs, y),
        Op::DepthwiseConv2d(o) => conv::depthwise(o, xs, y),
        Op::FullyConnected(o) => conv::fully_connected(o, xs, y),
        Op::RowSums(o) => conv::row_sums(o, x, y),
        Op::Add(o) => int_pairs::add(o, [x, operand(xs, 1)?], y),
        Op::AddFloat(o) => Ok(int_pairs::add_float(o, [x, operand(xs, 1)?], y)),
        Op::Mul(o) => Ok(int_pairs::mul(o, [x, operand(xs, 1)?], y)),
        Op::PairLut(_) => int_pairs::pair_lut([x, operand(xs, 1)?], operand(xs, 2)?, y),
        Op::MatMul(o) => int_pairs::matmul(o, [x, operand(xs, 1)?], y),
        Op::Pad(o) => moves::pad(o, x, y),
        Op::MaxPool2d(o) => window::max_pool(o, x, y),
        Op::AvgPool2d(o) => window::avg_pool(o, x, y),
        Op::Mean(o) => window::mean(o, x, y),
        Op::ReduceMax(o) => window::reduce_max(o, x, y),
        Op::Softmax(o) => moves::softmax(o, x, y),
        Op::LogSoftmax(o) => moves::log_softmax(o, x, y),
        Op::L2Normalize(o) => moves::l2_normalize(o, x, y),
        Op::SoftmaxFloat(o) => moves::softmax_float(o, x, operand(xs, 1)?, y),
        Op::ResizeBilinear(o) => window::resize(o, x, y),
        Op::ArgMax(o) => moves::arg_max(o, x, y),
        Op::Quantize(o) => quantize(o, x, [operand(xs, 1)?, operand(xs, 2)?], y),
        Op::Dequantize(o) => dequantize(o, x, [operand(xs, 1)?, operand(xs, 2)?], y),
        Op::Requantize(o) => Ok(requantize(o, x, y)),
        Op::Lut(_) => lut(x, operand(xs, 1)?, y),
        Op::Concat(o) => moves::concat(o, xs, y),
        Op::Slice(o) => moves::slice(o, x, y),
        Op::Reshape(_) | Op::Copy(_) => same_bytes(x, y),
        Op::Clamp(o) => Ok(map(x, y, |v| v.max(o.lo.into()).min(o.hi.into()))),
        Op::FlipSign(_) => flip_sign(x, y),
    }
}

/// Operand `i`.
pub(super) fn operand<'a>(xs: &[&'a Tensor], i: usize) -> Result<&'a Tensor, String> {
    xs.get(i).copied().ok_or_else(|| format!("operand {i} is missing"))
}

/// Codes as int32; only int64 codes lose bits.
pub(super) fn codes(x: &Tensor) -> Vec<i32> {
    fn wide<T: qcc_runtime::Element + Into<i32>>(x: &Tensor) -> Result<Vec<i32>, TensorError> {
        Ok(x.as_slice::<T>()?.iter().map(|&v| v.into()).collect())
    }
    let all = match x.dtype() {
        DType::I8 => wide::<i8>(x),
        DType::U8 => wide::<u8>(x),
        DType::I16 => wide::<i16>(x),
        DType::U16 => wide::<u16>(x),
        DType::I32 => wide::<i32>(x),
        _ => Ok(x.to_i64_vec().iter().map(|&v| v as i32).collect()),
    };
    all.unwrap_or_default()
}

fn map(x: &Tensor, mut y: Tensor, f: impl Fn(i64) -> i64) -> Tensor {
    for i in 0..y.len().min(x.len()) {
        y.set_i64(i, f(x.get_i64(i)));
    }
    y
}

fn same_bytes(x: &Tensor, mut y: Tensor) -> Result<Tensor, String> {
    if x.bytes().len() != y.bytes().len() {
        return Err(format!("{} bytes do not fit {:?}", x.bytes().len(), y.shape()));
    }
    y.bytes_mut().copy_from_slice(x.bytes());
    Ok(y)
}

/// The top bit of each code, little endian: in the last byte.
fn flip_sign(x: &Tensor, y: Tensor) -> Result<Tensor, String> {
    let mut y = same_bytes(x, y)?;
    let size = y.dtype().size();
    y.bytes_mut().iter_mut().skip(size - 1).step_by(size).for_each(|b| *b ^= 0x80);
    Ok(y)
}

fn requantize(o: &Requantize, x: &Tensor, y: Tensor) -> Tensor {
    let p = IntRequant {
        multiplier: Multiplier::new(o.mult, o.shift),
        input_zero_point: o.x_zp,
        output_zero_point: o.y_zp,
    };
    map(x, y, |v| clamp(p.eval(v as i32), o.lo, o.hi).into())
}

fn lut(x: &Tensor, table: &Tensor, mut y: Tensor) -> Result<Tensor, String> {
    let first = x.dtype().min_max().0;
    for i in 0..x.len() {
        let at = x.get_i64(i).wrapping_sub(first) as usize;
        if at >= table.len() {
            return Err(format!("code {} is outside the table", x.get_i64(i)));
        }
        y.set_i64(i, table.get_i64(at));
    }
    Ok(y)
}

/// Scales and zero points by element.
struct Parameters<'a> {
    scale: &'a Tensor,
    zp: &'a Tensor,
    /// Slices along the axis, and elements between neighbours along it.
    extent: usize,
    inner: usize,
}

impl<'a> Parameters<'a> {
    fn new([scale, zp]: [&'a Tensor; 2], axis: u32, shape: &[usize]) -> Result<Self, String> {
        let axis = axis as usize;
        let extent = shape.get(axis).copied().unwrap_or(1);
        let inner = shape.iter().skip(axis + 1).product();
        let fits = |t: &Tensor| t.len() == 1 || t.len() == extent;
        match fits(scale) && fits(zp) {
            true => Ok(Parameters { scale, zp, extent, inner }),
            false => Err(format!("{} scales for {extent} slices", scale.len())),
        }
    }

    fn at(&self, i: usize) -> Affine {
        let slice = i / self.inner % self.extent;
        let one = |t: &Tensor| if t.len() == 1 { 0 } else { slice };
        let scale = self.scale.get_f64(one(self.scale)) as f32;
        Affine::new(scale, self.zp.get_i64(one(self.zp)) as i32)
    }
}

fn quantize(o: &Quantize, x: &Tensor, p: [&Tensor; 2], mut y: Tensor) -> Result<Tensor, String> {
    let p = Parameters::new(p, o.axis, x.shape())?;
    let bias = i64::from(o.code_bias);
    let (lo, hi) = y.dtype().min_max();
    for i in 0..x.len() {
        let real = x.get_f64(i) as f32;
        let code = match o.rounding {
            QuantizeRounding::HalfAway => quantize_f32(real, p.at(i), DType::I32),
            QuantizeRounding::HalfEven => quantize_linear(real, p.at(i), (i32::MIN, i32::MAX)),
        };
        let stored = i64::from(code).saturating_add(bias).max(lo).min(hi);
        y.set_i64(i, stored);
    }
    Ok(y)
}

fn dequantize(
    o: &Dequantize,
    x: &Tensor,
    p: [&Tensor; 2],
    mut y: Tensor,
) -> Result<Tensor, String> {
    let p = Parameters::new(p, o.axis, x.shape())?;
    for i in 0..x.len() {
        let code = x.get_i64(i) as i32;
        let real = match p.scale.len() {
            1 if !o.f32_steps => dequantize_per_tensor(code, p.at(i)),
            _ => dequantize_per_axis(code, p.at(i)),
        };
        y.set_f64(i, real.into());
    }
    Ok(y)
}
