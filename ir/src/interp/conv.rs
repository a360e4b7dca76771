//! Ops that multiply and accumulate.
//!
//! All three are one scheme: for each output pixel and group the taps are gathered, less x's zero
//! point, and multiplied with each output channel's weights, less theirs.

use super::index::{four, tap};
use super::int::{codes, operand};
use super::int_pairs;
use crate::DType;
use crate::dialect::int::{
    Conv2d, DepthwiseConv2d, Epilogue, FullyConnected, Rescale, ResidualSum, RowSums, Sum,
};
use qcc_runtime::Tensor;
use qcc_runtime::fixedpoint::{
    Multiplier, clamp, mul_by_quantized, mul_by_quantized_64, requantize_f32_even, requantize_f64,
};

/// From accumulators to codes, per output channel.
struct Finish<'a> {
    rescale: Rescale,
    bias: Vec<i64>,
    mult: &'a Tensor,
    shift: &'a Tensor,
    y_zp: i32,
    lo: i32,
    hi: i32,
    /// 64-bit accumulators; others wrap at 32.
    wide: bool,
}

impl<'a> Finish<'a> {
    fn new(
        xs: &[&'a Tensor],
        n_channels: usize,
        rescale: Rescale,
        [y_zp, lo, hi]: [i32; 3],
    ) -> Result<Self, String> {
        let (bias, mult, shift) = (operand(xs, 2)?, operand(xs, 3)?, operand(xs, 4)?);
        let counts = |t: &Tensor| t.len() == 1 || t.len() == n_channels;
        let shifts = matches!(rescale, Rescale::F64 | Rescale::F32Even) || counts(shift);
        if bias.len() != n_channels || !counts(mult) || !shifts {
            return Err(format!("parameters do not fit {n_channels} channels"));
        }
        let wide = bias.dtype() == DType::I64;
        let bias = bias.to_i64_vec();
        Ok(Finish { rescale, bias, mult, shift, y_zp, lo, hi, wide })
    }

    /// The code of channel `o`; `sum` is all of the accumulator but the bias.
    fn code(&self, o: usize, sum: i64) -> i32 {
        let acc = sum.wrapping_add(self.bias[o]);
        let acc = if self.wide { acc } else { i64::from(acc as i32) };
        let at = |t: &Tensor| if t.len() == 1 { 0 } else { o };
        let multiplier = || {
            let mantissa = self.mult.get_i64(at(self.mult)) as i32;
            Multiplier::new(mantissa, self.shift.get_i64(at(self.shift)) as i32)
        };
        let steps = match self.rescale {
            Rescale::Double => mul_by_quantized(acc as i32, multiplier()),
            Rescale::Wide => mul_by_quantized_64(acc, multiplier()),
            Rescale::F64 => requantize_f64(acc, self.mult.get_f64(at(self.mult))),
            Rescale::F32Even => {
                requantize_f32_even(acc as i32, self.mult.get_f64(at(self.mult)) as f32)
            }
        };
        clamp(steps.wrapping_add(self.y_zp), self.lo, self.hi)
    }
}

/// Weights by output channel, and what asymmetric ones subtract.
struct Weights<'a> {
    /// Less the zero point, unless `sums` take care of it.
    codes: Vec<i32>,
    /// The zero point and the sums of x that it multiplies.
    sums: Option<(i64, &'a Tensor)>,
}

impl<'a> Weights<'a> {
    fn new(xs: &[&'a Tensor], zp: i32, n_sums: usize) -> Result<Self, String> {
        let mut w = codes(operand(xs, 1)?);
        let Some(&sums) = xs.get(5).filter(|sums| !sums.is_empty()) else {
            w.iter_mut().for_each(|v| *v = v.wrapping_sub(zp));
            return Ok(Weights { codes: w, sums: None });
        };
        match sums.len() == n_sums {
            true => Ok(Weights { codes: w, sums: Some((zp.into(), sums)) }),
            false => Err(format!("{} row sums, expected {n_sums}", sums.len())),
        }
    }

    /// What row sum `i` takes from the accumulator.
    fn correction(&self, i: usize) -> i64 {
        self.sums.map_or(0, |(zp, sums)| zp.wrapping_mul(sums.get_i64(i)).wrapping_neg())
    }
}

/// Σ a·b, modulo 2^64 when `wide`, else modulo 2^32.
fn dot(a: &[i32], b: &[i32], wide: bool) -> i64 {
    let pairs = a.iter().zip(b);
    match wide {
        true => pairs.fold(0i64, |s, (&a, &b)| s.wrapping_add(i64::from(a) * i64::from(b))),
        false => pairs.fold(0i32, |s, (&a, &b)| s.wrapping_add(a.wrapping_mul(b))).into(),
    }
}

/// An image with a window that moves over it.
struct Image<'a> {
    shape: [usize; 4],
    codes: &'a [i32],
    window: [usize; 2],
    stride: [u32; 2],
    dilation: [u32; 2],
    pad: [u32; 4],
}

impl Image<'_> {
    /// Calls `f` with each tap of the window of pixel (`oh`, `ow`): all channels of a pixel inside
    /// the image, or nothing outside.
    fn taps(&self, n: usize, oh: usize, ow: usize, mut f: impl FnMut(Option<&[i32]>)) {
        let [_, h, w, c] = self.shape;
        for kh in 0..self.window[0] {
            let row = tap(oh, self.stride[0], kh, self.dilation[0], self.pad[0], h);
            for kw in 0..self.window[1] {
                let column = tap(ow, self.stride[1], kw, self.dilation[1], self.pad[2], w);
                let at = row.zip(column).map(|(r, v)| ((n * h + r) * w + v) * c);
                f(at.and_then(|at| self.codes.get(at..at + c)));
            }
        }
    }
}

pub(super) fn conv2d(o: &Conv2d, xs: &[&Tensor], y: Tensor) -> Result<Tensor, String> {
    let Some(ResidualSum { sum, conv_is_b }) = o.epilogue.sum() else {
        return conv2d_codes(o, xs, y);
    };
    let dtype = Epilogue::codes_type(o.lo, o.hi).ok_or("codes of more than 8 bits")?;
    let codes = conv2d_codes(o, xs, Tensor::zeros(dtype, y.shape()))?;
    let residual = operand(xs, 7)?;
    let operands = if *conv_is_b { [residual, &codes] } else { [&codes, residual] };
    match sum {
        Sum::Add(o) => int_pairs::add(o, operands, y),
        Sum::AddFloat(o) => Ok(int_pairs::add_float(o, operands, y)),
    }
}

/// The codes before the epilogue.
fn conv2d_codes(o: &Conv2d, xs: &[&Tensor], mut y: Tensor) -> Result<Tensor, String> {
    let (x, w) = (operand(xs, 0)?, operand(xs, 1)?);
    let [n_out, kh, kw, per_group] = four(w.shape())?;
    let [n, oh, ow, _] = four(y.shape())?;
    let groups = o.groups as usize;
    let finish = Finish::new(xs, n_out, o.rescale, [o.y_zp, o.lo, o.hi])?;
    let weights = Weights::new(xs, o.w_zp, n * oh * ow * groups)?;
    let x_codes = codes(x);
    let (stride, dilation, pad) = (o.stride, o.dilation, o.pad);
    let shape = four(x.shape())?;
    let image = Image { shape, codes: &x_codes, window: [kh, kw], stride, dilation, pad };
    let (outside, size) = (o.pad_value.wrapping_sub(o.x_zp), kh * kw * per_group);
    let per_out = n_out.checked_div(groups).ok_or("0 groups")?;
    let mut patch = Vec::with_capacity(size);
    for pixel in 0..n * oh * ow {
        for g in 0..groups {
            patch.clear();
            image.taps(pixel / (oh * ow), pixel / ow % oh, pixel % ow, |t| match t {
                None => patch.extend(std::iter::repeat_n(outside, per_group)),
                Some(t) => {
                    let t = &t[g * per_group..][..per_group];
                    patch.extend(t.iter().map(|v| v.wrapping_sub(o.x_zp)));
                }
            });
            let correction = weights.correction(pixel * groups + g);
            for c in g * per_out..(g + 1) * per_out {
                let sum = dot(&patch, &weights.codes[c * size..][..size], finish.wide);
                let code = finish.code(c, sum.wrapping_add(correction));
                y.set_i64(pixel * n_out + c, code.into());
            }
        }
    }
    Ok(y)
}

pub(super) fn depthwise(
    o: &DepthwiseConv2d,
    xs: &[&Tensor],
    mut y: Tensor,
) -> Result<Tensor, String> {
    let (x, w) = (operand(xs, 0)?, operand(xs, 1)?);
    let [_, kh, kw, n_out] = four(w.shape())?;
    let [n, oh, ow, _] = four(y.shape())?;
    let shape = four(x.shape())?;
    let n_in = shape[3];
    let multiplier = n_out.checked_div(n_in).ok_or("x has no channels")?;
    let finish = Finish::new(xs, n_out, o.rescale, [o.y_zp, o.lo, o.hi])?;
    let weights = Weights::new(xs, o.w_zp, n * oh * ow * n_in)?;
    let x_codes = codes(x);
    let (stride, dilation, pad) = (o.stride, o.dilation, o.pad);
    let image = Image { shape, codes: &x_codes, window: [kh, kw], stride, dilation, pad };
    let outside = vec![o.pad_value; n_in];
    let mut sums = vec![0i64; n_out];
    for pixel in 0..n * oh * ow {
        sums.fill(0);
        let mut rows = weights.codes.chunks_exact(n_out.max(1));
        image.taps(pixel / (oh * ow), pixel / ow % oh, pixel % ow, |t| {
            let t = t.unwrap_or(&outside);
            for (c, &w) in rows.next().unwrap_or_default().iter().enumerate() {
                let product = i64::from(t[c / multiplier].wrapping_sub(o.x_zp)) * i64::from(w);
                sums[c] = sums[c].wrapping_add(product);
            }
        });
        for (c, &sum) in sums.iter().enumerate() {
            let correction = weights.correction(pixel * n_in + c / multiplier);
            let code = finish.code(c, sum.wrapping_add(correction));
            y.set_i64(pixel * n_out + c, code.into());
        }
    }
    Ok(y)
}

pub(super) fn fully_connected(
    o: &FullyConnected,
    xs: &[&Tensor],
    mut y: Tensor,
) -> Result<Tensor, String> {
    let (x, w) = (operand(xs, 0)?, operand(xs, 1)?);
    let &[n_out, k] = w.shape() else { return Err("w has no rank of 2".into()) };
    if k == 0 {
        return Err("w has no columns".into());
    }
    let finish = Finish::new(xs, n_out, o.rescale, [o.y_zp, o.lo, o.hi])?;
    let weights = Weights::new(xs, o.w_zp, x.len() / k)?;
    let x = codes(x).iter().map(|v| v.wrapping_sub(o.x_zp)).collect::<Vec<_>>();
    for (m, row) in x.chunks_exact(k).enumerate() {
        let correction = weights.correction(m);
        for (c, w) in weights.codes.chunks_exact(k).enumerate() {
            let sum = dot(row, w, finish.wide).wrapping_add(correction);
            y.set_i64(m * n_out + c, finish.code(c, sum).into());
        }
    }
    Ok(y)
}

pub(super) fn row_sums(o: &RowSums, x: &Tensor, mut y: Tensor) -> Result<Tensor, String> {
    let [n, oh, ow, groups] = four(y.shape())?;
    let shape = four(x.shape())?;
    let per_group = shape[3].checked_div(groups).ok_or("0 groups")?;
    let x_codes = codes(x);
    let (stride, dilation, window) = (o.stride, o.dilation, o.window.map(|k| k as usize));
    let image = Image { shape, codes: &x_codes, window, stride, dilation, pad: [0; 4] };
    let mut sums = vec![0i32; groups];
    for pixel in 0..n * oh * ow {
        sums.fill(0);
        image.taps(pixel / (oh * ow), pixel / ow % oh, pixel % ow, |t| {
            for (c, &v) in t.unwrap_or_default().iter().enumerate() {
                sums[c / per_group] = sums[c / per_group].wrapping_add(v);
            }
        });
        for (g, &sum) in sums.iter().enumerate() {
            y.set_i64(pixel * groups + g, sum.into());
        }
    }
    Ok(y)
}
