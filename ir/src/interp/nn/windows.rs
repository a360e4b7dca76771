//! Pools and bilinear resize.

use super::super::index::{each, flat, four};
use super::floats;
use super::products::{Geometry, taps};
use crate::dialect::nn::{AvgPool2d, MaxPool2d, ResizeBilinear};
use crate::numerics::float::activate;
use crate::numerics::resize::{Lerp, linear_axis};
use qcc_runtime::Tensor;
use qcc_runtime::float::F32;

/// Calls `f` for each output of a pool with the elements of its window, row by row, and how many there
/// are in a row.
fn pool(
    geometry: Geometry,
    x: &Tensor,
    shape: &[usize],
    f: impl Fn(&[f32], usize) -> f32,
) -> Result<Vec<f32>, String> {
    let (image, out, all) = (four(x.shape())?, four(shape)?, floats(x));
    let ([_, width], [_, stride], _, [_, _, left, _]) = geometry;
    let (width, stride, left) = (width as i64, stride as usize, i64::from(left));
    let mut y = Vec::with_capacity(out.iter().product());
    each(&out, |_, at| {
        let taps = taps(geometry, image, [at[0], at[1], at[2]]);
        let window: Vec<f32> = taps.iter().map(|&(first, _)| all[first + at[3]]).collect();
        let first = (at[2] * stride) as i64 - left;
        let inside = |k: &i64| (0..image[2] as i64).contains(k);
        y.push(f(&window, (first..first + width).filter(inside).count()));
    });
    Ok(y)
}

pub(super) fn max_pool(o: &MaxPool2d, x: &Tensor, shape: &[usize]) -> Result<Vec<f32>, String> {
    let geometry = (o.window.map(|k| k as usize), o.stride, [1, 1], o.pad);
    let larger = |a: f32, &b: &f32| if a < b { b } else { a };
    pool(geometry, x, shape, |window, _| {
        activate(&mut F32, o.act, window.iter().fold(f32::MIN, larger))
    })
}

pub(super) fn avg_pool(o: &AvgPool2d, x: &Tensor, shape: &[usize]) -> Result<Vec<f32>, String> {
    let window = o.window.map(|k| k as usize);
    pool((window, o.stride, [1, 1], o.pad), x, shape, |inside, columns| {
        let total = |all: &mut dyn Iterator<Item = f32>| all.fold(0.0, |sum, v| sum + v);
        let column = |k: usize| total(&mut inside.iter().skip(k).step_by(columns).copied());
        let sum = match o.by_columns {
            true => total(&mut (0..columns).map(column)),
            false => total(&mut inside.iter().copied()),
        };
        let count = if o.count_include_pad { window[0] * window[1] } else { inside.len() };
        activate(&mut F32, o.act, if count == 0 { 0.0 } else { sum / count as f32 })
    })
}

pub(super) fn resize_bilinear(
    o: &ResizeBilinear,
    x: &Tensor,
    shape: &[usize],
) -> Result<Vec<f32>, String> {
    let (image, out, all) = (four(x.shape())?, four(shape)?, floats(x));
    let axis = |d: usize| linear_axis([image[d] as u64, out[d] as u64], o.coordinates);
    let (rows, columns) = (axis(1), axis(2));
    let mut y = Vec::with_capacity(out.iter().product());
    each(&out, |_, at| {
        let (row, column) = (rows[at[1]], columns[at[2]]);
        let pixel = |r, c| all[flat(&image, &[at[0], r as usize, c as usize, at[3]])];
        let along = |r| lerp(&column, pixel(r, column.low), pixel(r, column.high));
        y.push(lerp(&row, along(row.low), along(row.high)));
    });
    Ok(y)
}

fn lerp(l: &Lerp, low: f32, high: f32) -> f32 {
    low * (1.0 - l.weight) + high * l.weight
}
