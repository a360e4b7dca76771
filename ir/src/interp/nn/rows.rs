//! Sums along axes, softmax, layer norm, arg max.

use super::super::index::{each, flat};
use super::floats;
use crate::dialect::nn::{ArgMax, LayerNorm, Reduce, ReduceFn, Softmax};
use crate::numerics::float::PARTIAL_SUMS;
use qcc_runtime::Tensor;
use qcc_runtime::float::{self, F32, Floats};

/// `f` over a row as the documentation of the nn dialect prescribes.
fn fold_row(row: &[f32], init: f32, f: impl Fn(f32, f32) -> f32) -> f32 {
    let (blocks, rest) = row.as_chunks::<PARTIAL_SUMS>();
    let mut total = init;
    if !blocks.is_empty() {
        let mut partial = [init; PARTIAL_SUMS];
        for block in blocks {
            partial.iter_mut().zip(block).for_each(|(p, &v)| *p = f(*p, v));
        }
        let mut half = PARTIAL_SUMS / 2;
        while half > 0 {
            (0..half).for_each(|j| partial[j] = f(partial[j], partial[j + half]));
            half /= 2;
        }
        total = partial[0];
    }
    rest.iter().fold(total, |total, &v| f(total, v))
}

fn sum_row(row: &[f32]) -> f32 {
    fold_row(row, 0.0, |a, b| a + b)
}

fn max_of(a: f32, b: f32) -> f32 {
    F32.max(a, b)
}

/// `f` over `axes` of x; `of` comes before it.
fn fold_axes(
    axes: &[u32],
    x: &Tensor,
    of: impl Fn(f32) -> f32,
    (init, f): (f32, impl Fn(f32, f32) -> f32),
) -> Vec<f32> {
    let shape = x.shape();
    let all: Vec<f32> = floats(x).into_iter().map(of).collect();
    let is_kept = |d: &usize| !axes.contains(&(*d as u32));
    let kept: Vec<usize> = (0..shape.len()).filter(is_kept).collect();
    let left: Vec<usize> = kept.iter().map(|&d| shape[d]).collect();
    let mut y = vec![init; left.iter().product()];
    let of_kept = |at: &[usize]| flat(&left, &kept.iter().map(|&d| at[d]).collect::<Vec<_>>());
    let Some((&n, outer)) = shape.split_last() else {
        return all.iter().map(|&v| f(init, v)).collect();
    };
    if is_kept(&outer.len()) {
        each(shape, |i, at| {
            let to = of_kept(at);
            y[to] = f(y[to], all[i]);
        });
        return y;
    }
    each(outer, |i, at| {
        let to = of_kept(at);
        y[to] = f(y[to], fold_row(&all[i * n..][..n], init, &f));
    });
    y
}

pub(super) fn mean(axes: &[u32], x: &Tensor) -> Vec<f32> {
    let mut y = fold_axes(axes, x, |v| v, (0.0, |a, b| a + b));
    let count = x.len().checked_div(y.len()).unwrap_or_default() as f32;
    y.iter_mut().for_each(|v| *v /= count);
    y
}

pub(super) fn reduce(o: &Reduce, x: &Tensor) -> Vec<f32> {
    let add = |a: f32, b: f32| a + b;
    match o.f {
        ReduceFn::Sum => fold_axes(&o.axes, x, |v| v, (0.0, add)),
        ReduceFn::Prod => fold_axes(&o.axes, x, |v| v, (1.0, |a, b| a * b)),
        ReduceFn::Min => fold_axes(&o.axes, x, |v| v, (f32::INFINITY, |a, b| F32.min(a, b))),
        ReduceFn::Max => fold_axes(&o.axes, x, |v| v, (f32::NEG_INFINITY, max_of)),
        ReduceFn::SumSquare => fold_axes(&o.axes, x, |v| v * v, (0.0, add)),
        ReduceFn::L1 => fold_axes(&o.axes, x, f32::abs, (0.0, add)),
        ReduceFn::L2 => {
            let sums = fold_axes(&o.axes, x, |v| v * v, (0.0, add));
            sums.into_iter().map(f32::sqrt).collect()
        }
    }
}

/// The rows of x along its last dimension.
fn rows(x: &Tensor) -> Result<(Vec<f32>, usize), String> {
    let n = *x.shape().last().ok_or("x has no last dimension")?;
    Ok((floats(x), n.max(1)))
}

pub(super) fn softmax(o: &Softmax, x: &Tensor) -> Result<Vec<f32>, String> {
    let (all, n) = rows(x)?;
    let one = |row: &[f32]| {
        let max = fold_row(row, f32::NEG_INFINITY, max_of);
        let exps: Vec<f32> = row.iter().map(|v| float::exp(&mut F32, (v - max) * o.beta)).collect();
        let sum = sum_row(&exps);
        exps.into_iter().map(move |e| e / sum)
    };
    Ok(all.chunks_exact(n).flat_map(one).collect())
}

pub(super) fn log_softmax(x: &Tensor) -> Result<Vec<f32>, String> {
    let (all, n) = rows(x)?;
    let one = |row: &[f32]| {
        let max = fold_row(row, f32::NEG_INFINITY, max_of);
        let exps: Vec<f32> = row.iter().map(|v| float::exp(&mut F32, v - max)).collect();
        let log = float::log(&mut F32, sum_row(&exps));
        row.iter().map(|v| (v - max) - log).collect::<Vec<_>>()
    };
    Ok(all.chunks_exact(n).flat_map(one).collect())
}

pub(super) fn layer_norm(
    o: &LayerNorm,
    shape: &[usize],
    xs: &[Vec<f32>],
) -> Result<Vec<f32>, String> {
    let n = (*shape.last().ok_or("x has no last dimension")?).max(1);
    let (x, scale) = (&xs[0], xs.get(1).ok_or("no scale")?);
    let offset = xs.get(2);
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks_exact(n) {
        let mean = sum_row(row) / n as f32;
        let d: Vec<f32> = row.iter().map(|v| v - mean).collect();
        let squares: Vec<f32> = d.iter().map(|d| d * d).collect();
        let variance = sum_row(&squares) / n as f32;
        let factor = 1.0 / (variance + o.epsilon).sqrt();
        y.extend(d.iter().enumerate().map(|(c, d)| {
            let scaled = d * factor * scale[c];
            offset.map_or(scaled, |b| scaled + b[c])
        }));
    }
    Ok(y)
}

/// The first of equals; NaN is never better.
pub(super) fn arg_max(o: &ArgMax, x: &Tensor, mut y: Tensor) -> Result<Tensor, String> {
    let (axis, all) = (o.axis as usize, floats(x));
    let n = *x.shape().get(axis).ok_or("the axis is not in the shape")?;
    let inner: usize = x.shape()[axis + 1..].iter().product();
    for i in 0..y.len() {
        let at = |k: usize| all[(i / inner * n + k) * inner + i % inner];
        let better = |k, best| if o.min { at(k) < at(best) } else { at(k) > at(best) };
        let best = (1..n).fold(0, |best, k| if better(k, best) { k } else { best });
        y.set_i64(i, best as i64);
    }
    Ok(y)
}
