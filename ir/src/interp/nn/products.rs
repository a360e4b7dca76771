//! Sums of products: for each output from 0 over rows, columns and input channels of the window,
//! skipping what lies outside the image, then the bias.

use super::super::index::{broadcast, each, flat, four, tap};
use super::super::int::{codes, operand};
use super::floats;
use crate::dialect::nn::{Conv2d, ConvInteger, DepthwiseConv2d, FullyConnected, MatMul};
use crate::numerics::float::activate;
use qcc_runtime::Tensor;
use qcc_runtime::float::F32;

/// One bias per channel; zeros when there is none.
fn bias(xs: &[&Tensor], n_channels: usize) -> Result<Vec<f32>, String> {
    let all = xs.get(2).map_or_else(|| vec![0.0; n_channels], |b| floats(b));
    match all.len() == n_channels {
        true => Ok(all),
        false => Err(format!("{} biases for {n_channels} channels", all.len())),
    }
}

fn dot(start: f32, a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(start, |sum, (a, b)| sum + a * b)
}

/// A window over an image: kernel, stride, dilation, padding.
pub(super) type Geometry = ([usize; 2], [u32; 2], [u32; 2], [u32; 4]);

/// The taps of output pixel (`oh`, `ow`) inside image `n`: first element of the pixel, tap number.
pub(super) fn taps(
    ([kh, kw], stride, dilation, pad): Geometry,
    [_, h, w, c]: [usize; 4],
    [n, oh, ow]: [usize; 3],
) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    for k in 0..kh * kw {
        let row = tap(oh, stride[0], k / kw, dilation[0], pad[0], h);
        let column = tap(ow, stride[1], k % kw, dilation[1], pad[2], w);
        out.extend(row.zip(column).map(|(r, v)| (((n * h + r) * w + v) * c, k)));
    }
    out
}

/// Calls `f` for each output pixel of a convolution with its taps.
fn pixels(
    geometry: Geometry,
    image: [usize; 4],
    [n, oh, ow, _]: [usize; 4],
    mut f: impl FnMut(&[(usize, usize)]),
) {
    for pixel in 0..n * oh * ow {
        f(&taps(geometry, image, [pixel / (oh * ow), pixel / ow % oh, pixel % ow]));
    }
}

pub(super) fn conv2d(o: &Conv2d, xs: &[&Tensor], shape: &[usize]) -> Result<Vec<f32>, String> {
    let (x, w) = (operand(xs, 0)?, operand(xs, 1)?);
    let [n_out, kh, kw, per_group] = four(w.shape())?;
    let (image, out) = (four(x.shape())?, four(shape)?);
    let (x, w, bias) = (floats(x), floats(w), bias(xs, n_out)?);
    let per_out = n_out.checked_div(o.groups as usize).ok_or("0 groups")?;
    let mut y = Vec::with_capacity(out.iter().product());
    pixels(([kh, kw], o.stride, o.dilation, o.pad), image, out, |taps| {
        for (c, b) in bias.iter().enumerate() {
            let first = c / per_out * per_group;
            let sum = taps.iter().fold(0.0, |sum, &(at, k)| {
                let weights = &w[(c * kh * kw + k) * per_group..][..per_group];
                dot(sum, &x[at + first..][..per_group], weights)
            });
            y.push(activate(&mut F32, o.act, sum + b));
        }
    });
    Ok(y)
}

pub(super) fn depthwise(
    o: &DepthwiseConv2d,
    xs: &[&Tensor],
    shape: &[usize],
) -> Result<Vec<f32>, String> {
    let (x, w) = (operand(xs, 0)?, operand(xs, 1)?);
    let [_, kh, kw, n_out] = four(w.shape())?;
    let (image, out) = (four(x.shape())?, four(shape)?);
    let (x, w, bias) = (floats(x), floats(w), bias(xs, n_out)?);
    let multiplier = n_out.checked_div(image[3]).ok_or("x has no channels")?;
    let mut y = Vec::with_capacity(out.iter().product());
    pixels(([kh, kw], o.stride, o.dilation, o.pad), image, out, |taps| {
        for (c, b) in bias.iter().enumerate() {
            let product = |&(at, k): &(usize, usize)| x[at + c / multiplier] * w[k * n_out + c];
            let sum = taps.iter().map(product).fold(0.0, |sum, p| sum + p);
            y.push(activate(&mut F32, o.act, sum + b));
        }
    });
    Ok(y)
}

pub(super) fn fully_connected(o: &FullyConnected, xs: &[&Tensor]) -> Result<Vec<f32>, String> {
    let (x, w) = (operand(xs, 0)?, operand(xs, 1)?);
    let &[n_out, k] = w.shape() else { return Err("w has no rank of 2".into()) };
    if k == 0 {
        return Err("w has no columns".into());
    }
    let (x, w, bias) = (floats(x), floats(w), bias(xs, n_out)?);
    let mut y = Vec::new();
    for row in x.chunks_exact(k) {
        for (w, b) in w.chunks_exact(k).zip(&bias) {
            y.push(activate(&mut F32, o.act, dot(0.0, row, w) + b));
        }
    }
    Ok(y)
}

/// Calls `f` for each output of a matrix product with the flat indices of its k-th factors.
fn matrix_products(
    [a, b]: [&Tensor; 2],
    [transpose_a, transpose_b]: [bool; 2],
    shape: &[usize],
    mut f: impl FnMut(&[usize], &mut dyn Iterator<Item = (usize, usize)>),
) -> Result<(), String> {
    let (sa, sb) = (a.shape(), b.shape());
    if shape.len() < 2 || sa.len() < 2 || sb.len() < 2 {
        return Err("a matrix has rank 2 or more".into());
    }
    let depth = sa[sa.len() - if transpose_a { 2 } else { 1 }];
    each(shape, |_, at| {
        let (batch, matrix) = at.split_at(at.len() - 2);
        let element = |s: &[usize], [row, column]: [usize; 2], swap: bool| {
            let (lead, last) = s.split_at(s.len() - 2);
            let within = if swap { column * last[1] + row } else { row * last[1] + column };
            broadcast(lead, batch) * last[0] * last[1] + within
        };
        let factors = |k| {
            (element(sa, [matrix[0], k], transpose_a), element(sb, [k, matrix[1]], transpose_b))
        };
        f(matrix, &mut (0..depth).map(factors));
    });
    Ok(())
}

pub(super) fn mat_mul(o: &MatMul, xs: &[&Tensor], shape: &[usize]) -> Result<Vec<f32>, String> {
    let both = [operand(xs, 0)?, operand(xs, 1)?];
    let (a, b) = (floats(both[0]), floats(both[1]));
    let mut y = Vec::with_capacity(shape.iter().product());
    matrix_products(both, [o.transpose_a, o.transpose_b], shape, |_, factors| {
        y.push(factors.fold(0.0, |sum, (i, j)| sum + a[i] * b[j]));
    })?;
    Ok(y)
}

/// A zero point per slice, or one for all, or 0.
fn zero_points(xs: &[&Tensor], i: usize) -> Result<impl Fn(usize) -> i32 + use<>, String> {
    let all = xs.get(i).map_or(vec![0], |t| codes(t));
    if all.is_empty() {
        return Err("no zero point".into());
    }
    Ok(move |k: usize| all[k.min(all.len() - 1)])
}

pub(super) fn mat_mul_integer(xs: &[&Tensor], mut y: Tensor) -> Result<Tensor, String> {
    let both = [operand(xs, 0)?, operand(xs, 1)?];
    let (a, b) = (codes(both[0]), codes(both[1]));
    let (a_zp, b_zp) = (zero_points(xs, 2)?, zero_points(xs, 3)?);
    let (shape, mut out) = (y.shape().to_vec(), Vec::with_capacity(y.len()));
    matrix_products(both, [false, false], &shape, |at, factors| {
        let (a_zp, b_zp) = (a_zp(at[0]), b_zp(at[1]));
        out.push(
            factors.fold(0i32, |sum, (i, j)| {
                sum.wrapping_add((a[i] - a_zp).wrapping_mul(b[j] - b_zp))
            }),
        );
    })?;
    out.iter().enumerate().for_each(|(i, &v)| y.set_i64(i, v.into()));
    Ok(y)
}

pub(super) fn conv_integer(
    o: &ConvInteger,
    xs: &[&Tensor],
    mut y: Tensor,
) -> Result<Tensor, String> {
    let (x, w) = (operand(xs, 0)?, operand(xs, 1)?);
    let [n_out, kh, kw, per_group] = four(w.shape())?;
    let (image, out) = (four(x.shape())?, four(y.shape())?);
    let (x, w) = (codes(x), codes(w));
    let (x_zp, w_zp) = (zero_points(xs, 2)?(0), zero_points(xs, 3)?);
    let per_out = n_out.checked_div(o.groups as usize).ok_or("0 groups")?;
    let mut sums = Vec::with_capacity(y.len());
    pixels(([kh, kw], o.stride, o.dilation, o.pad), image, out, |taps| {
        for c in 0..n_out {
            let first = c / per_out * per_group;
            let products = taps.iter().flat_map(|&(at, k)| {
                let x = &x[at + first..][..per_group];
                x.iter().zip(&w[flat(&[n_out, kh * kw, per_group], &[c, k, 0])..])
            });
            sums.push(
                products.fold(0i32, |sum, (x, w)| {
                    sum.wrapping_add((x - x_zp).wrapping_mul(w - w_zp(c)))
                }),
            );
        }
    });
    sums.iter().enumerate().for_each(|(i, &v)| y.set_i64(i, v.into()));
    Ok(y)
}
