//! Pools, means and interpolation.

use super::index::{each, flat, four, tap};
use super::int::codes;
use crate::dialect::int::{
    AvgPool2d, MaxPool2d, Mean, MeanRounding, ReduceMax, Rescale, ResizeBilinear, ResizeStyle,
};
use qcc_runtime::Tensor;
use qcc_runtime::fixedpoint::{
    LerpF32, LerpI10, MeanParams, Multiplier, ResizeMode, average_signed, average_unsigned, clamp,
    requantize_f32_even, resize_axis_f32, resize_axis_i10, resize_bilinear_i10, resize_bilinear_u8,
};

/// Window, stride and padding of a pool.
type Geometry = ([u32; 2], [u32; 2], [u32; 4]);

/// Calls `f` for each output of a pool with its flat index and the codes of its window that are
/// inside the image.
fn pool(
    (window, stride, pad): Geometry,
    x: &Tensor,
    y_shape: &[usize],
    mut f: impl FnMut(usize, &[i32]),
) -> Result<(), String> {
    let all = codes(x);
    let [_, h, w, _] = four(x.shape())?;
    four(y_shape)?;
    let mut taps = Vec::new();
    each(y_shape, |i, at| {
        taps.clear();
        for kh in 0..window[0] as usize {
            let Some(row) = tap(at[1], stride[0], kh, 1, pad[0], h) else { continue };
            for kw in 0..window[1] as usize {
                if let Some(column) = tap(at[2], stride[1], kw, 1, pad[2], w) {
                    taps.push(all[flat(x.shape(), &[at[0], row, column, at[3]])]);
                }
            }
        }
        f(i, &taps);
    });
    Ok(())
}

/// A window without taps gives the smallest code.
pub(super) fn max_pool(o: &MaxPool2d, x: &Tensor, mut y: Tensor) -> Result<Tensor, String> {
    let shape = y.shape().to_vec();
    let least = x.dtype().min_max().0.max(i32::MIN.into()) as i32;
    pool((o.window, o.stride, o.pad), x, &shape, |i, taps| {
        let max = taps.iter().copied().max().unwrap_or(least);
        y.set_i64(i, clamp(max, o.lo, o.hi).into());
    })?;
    Ok(y)
}

/// A window without taps gives the code 0 of the framework.
pub(super) fn avg_pool(o: &AvgPool2d, x: &Tensor, mut y: Tensor) -> Result<Tensor, String> {
    let shape = y.shape().to_vec();
    pool((o.window, o.stride, o.pad), x, &shape, |i, taps| {
        let centred = taps.iter().map(|v| v.wrapping_sub(o.code_bias));
        let sum = centred.fold(0i32, i32::wrapping_add);
        let count = taps.len() as i32;
        let mean = match o.rounding {
            MeanRounding::HalfAway => average_signed(sum, count),
            MeanRounding::HalfUp => average_unsigned(sum, count),
        };
        y.set_i64(i, clamp(mean.wrapping_add(o.code_bias), o.lo, o.hi).into());
    })?;
    Ok(y)
}

/// Combines the codes along `axes` with `combine`, from `first` on: one result per element of what
/// is left, and the number of codes behind each.
fn fold_axes(
    axes: &[u32],
    x: &Tensor,
    first: i64,
    combine: impl Fn(i64, i64) -> i64,
) -> (Vec<i64>, usize) {
    let reduced = |d: usize| axes.contains(&(d as u32));
    let kept: Vec<usize> = (0..x.shape().len()).filter(|&d| !reduced(d)).collect();
    let taps = (0..x.shape().len()).filter(|&d| reduced(d)).map(|d| x.shape()[d]);
    let out: Vec<usize> = kept.iter().map(|&d| x.shape()[d]).collect();
    let mut folded = vec![first; out.iter().product()];
    each(x.shape(), |i, at| {
        let to = kept.iter().zip(&out).fold(0, |i, (&d, n)| i * n + at[d]);
        folded[to] = combine(folded[to], x.get_i64(i));
    });
    (folded, taps.product())
}

pub(super) fn reduce_max(o: &ReduceMax, x: &Tensor, mut y: Tensor) -> Result<Tensor, String> {
    let (least, most) = x.dtype().min_max();
    let (folded, _) = match o.min {
        true => fold_axes(&o.axes, x, most, i64::min),
        false => fold_axes(&o.axes, x, least, i64::max),
    };
    if folded.len() != y.len() {
        return Err(format!("{:?} has no {} elements left", x.shape(), y.len()));
    }
    folded.into_iter().enumerate().for_each(|(i, v)| y.set_i64(i, v));
    Ok(y)
}

pub(super) fn mean(o: &Mean, x: &Tensor, mut y: Tensor) -> Result<Tensor, String> {
    let (sums, count) = fold_axes(&o.axes, x, 0, i64::wrapping_add);
    if sums.len() != y.len() {
        return Err(format!("{:?} has no {} elements left", x.shape(), y.len()));
    }
    let params = MeanParams {
        multiplier: Multiplier::new(o.mult, o.shift),
        offset: o.x_zp.wrapping_mul(count as i32),
        output_zero_point: o.y_zp,
    };
    for (i, &sum) in sums.iter().enumerate() {
        let code = match o.rescale {
            Rescale::F32Even => {
                let centred = (sum as i32).wrapping_sub(params.offset);
                requantize_f32_even(centred, o.mult_f32).wrapping_add(o.y_zp)
            }
            _ => params.finish(sum),
        };
        y.set_i64(i, clamp(code, o.lo, o.hi).into());
    }
    Ok(y)
}

/// The two neighbours of an output coordinate.
trait Neighbours {
    fn places(&self) -> [usize; 2];
}
impl Neighbours for LerpI10 {
    fn places(&self) -> [usize; 2] {
        [self.lo, self.hi]
    }
}
impl Neighbours for LerpF32 {
    fn places(&self) -> [usize; 2] {
        [self.lo, self.hi]
    }
}

pub(super) fn resize(o: &ResizeBilinear, x: &Tensor, y: Tensor) -> Result<Tensor, String> {
    let mode = ResizeMode::from_options(o.align_corners, o.half_pixel_centers);
    let ([_, h, w, _], [_, oh, ow, _]) = (four(x.shape())?, four(y.shape())?);
    match o.style {
        ResizeStyle::Fixed10 => {
            let axes = [resize_axis_i10(h, oh, mode), resize_axis_i10(w, ow, mode)];
            interpolate(o, x, y, &axes, |taps, row, column| {
                resize_bilinear_i10(taps, row.frac, column.frac)
            })
        }
        ResizeStyle::Float32 => {
            let axes = [resize_axis_f32(h, oh, mode), resize_axis_f32(w, ow, mode)];
            interpolate(o, x, y, &axes, |taps, row, column| {
                let taps = taps.map(|r| r.map(|v| v as u8));
                resize_bilinear_u8(taps, row.frac, column.frac).into()
            })
        }
    }
}

fn interpolate<L: Neighbours>(
    o: &ResizeBilinear,
    x: &Tensor,
    mut y: Tensor,
    [rows, columns]: &[Vec<L>; 2],
    blend: impl Fn([[i32; 2]; 2], &L, &L) -> i32,
) -> Result<Tensor, String> {
    let shape = y.shape().to_vec();
    let all = codes(x);
    each(&shape, |i, at| {
        let (row, column) = (&rows[at[1]], &columns[at[2]]);
        let taps = row.places().map(|r| {
            column
                .places()
                .map(|c| all[flat(x.shape(), &[at[0], r, c, at[3]])].wrapping_sub(o.code_bias))
        });
        y.set_i64(i, blend(taps, row, column).wrapping_add(o.code_bias).into());
    });
    Ok(y)
}
