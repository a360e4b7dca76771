//! Ops that move elements of any type: for each element of y, where it comes from.

use super::super::index::{broadcast, each, flat, four};
use super::super::int::operand;
use crate::TensorType;
use crate::dialect::nn::{Concat, Gather, Op, Pad, PadMode, ResizeNearest, Slice, Transpose};
use crate::numerics::resize::nearest_axis;
use qcc_runtime::Tensor;

/// `op` on `xs`; y is of type `ty`.
pub(super) fn eval(op: &Op, xs: &[&Tensor], ty: &TensorType, y: Tensor) -> Result<Tensor, String> {
    let x = operand(xs, 0);
    match op {
        Op::Concat(o) => concat(o, xs, y),
        Op::Reshape(_) => Ok(take(x?, y, |i, _| Some(i))),
        Op::Transpose(o) => Ok(transpose(o, x?, y)),
        Op::Slice(o) => Ok(slice(o, x?, y)),
        Op::Pad(o) => pad(o, x?, ty, y),
        Op::Broadcast(_) => {
            let x = x?;
            Ok(take(x, y, |_, at| Some(broadcast(x.shape(), at))))
        }
        Op::Gather(o) => gather(o, x?, operand(xs, 1)?, y),
        Op::ResizeNearest(o) => resize_nearest(o, x?, y),
        other => Err(format!("'{}' is not interpreted", other.spec().name)),
    }
}

/// Copies element `from(i, at)` of x to element `i` (index `at`) of y, where there is one.
fn take(x: &Tensor, mut y: Tensor, from: impl Fn(usize, &[usize]) -> Option<usize>) -> Tensor {
    let (shape, size) = (y.shape().to_vec(), y.dtype().size());
    let (source, out) = (x.bytes(), y.bytes_mut());
    each(&shape, |i, at| {
        if let Some(k) = from(i, at) {
            out[i * size..][..size].copy_from_slice(&source[k * size..][..size]);
        }
    });
    y
}

fn concat(o: &Concat, xs: &[&Tensor], mut y: Tensor) -> Result<Tensor, String> {
    let axis = o.axis as usize;
    let mut start = 0;
    for x in xs {
        let extent = *x.shape().get(axis).ok_or("the axis is not in the shape")?;
        y = take(x, y, |_, at| {
            let mut at = at.to_vec();
            at[axis] = at[axis].checked_sub(start).filter(|&k| k < extent)?;
            Some(flat(x.shape(), &at))
        });
        start += extent;
    }
    Ok(y)
}

fn transpose(o: &Transpose, x: &Tensor, y: Tensor) -> Tensor {
    take(x, y, |_, at| {
        let mut from = vec![0; at.len()];
        o.perm.iter().zip(at).for_each(|(&d, &i)| from[d as usize] = i);
        Some(flat(x.shape(), &from))
    })
}

fn slice(o: &Slice, x: &Tensor, y: Tensor) -> Tensor {
    take(x, y, |_, at| {
        let along = |d: usize| (o.start[d] as i64 + at[d] as i64 * o.step[d]) as usize;
        Some(flat(x.shape(), &(0..at.len()).map(along).collect::<Vec<_>>()))
    })
}

fn pad(o: &Pad, x: &Tensor, ty: &TensorType, mut y: Tensor) -> Result<Tensor, String> {
    if o.mode == PadMode::Constant {
        fill(&mut y, o.value, ty)?;
    }
    let along = |d: usize, at: usize| -> Option<usize> {
        let (n, at) = (x.shape()[d] as i64, at as i64 - o.low[d] as i64);
        let at = match o.mode {
            PadMode::Constant => Some(at).filter(|at| (0..n).contains(at))?,
            PadMode::Edge => at.clamp(0, n - 1),
            PadMode::Reflect if at < 0 => -at,
            PadMode::Reflect if at >= n => 2 * (n - 1) - at,
            PadMode::Symmetric if at < 0 => -at - 1,
            PadMode::Symmetric if at >= n => 2 * n - 1 - at,
            PadMode::Reflect | PadMode::Symmetric => at,
        };
        usize::try_from(at).ok()
    };
    Ok(take(x, y, |_, at| {
        let from: Option<Vec<usize>> = at.iter().enumerate().map(|(d, &i)| along(d, i)).collect();
        from.map(|from| flat(x.shape(), &from))
    }))
}

/// Sets each element to the real number `value`, or the code that stands for it.
fn fill(y: &mut Tensor, value: f32, ty: &TensorType) -> Result<(), String> {
    let value = match ty.quant_type() {
        None => f64::from(value),
        Some(q) => crate::numerics::float::code_of(value, q)?.into(),
    };
    (0..y.len()).for_each(|i| y.set_f64(i, value));
    Ok(())
}

fn gather(o: &Gather, x: &Tensor, indices: &Tensor, y: Tensor) -> Result<Tensor, String> {
    let axis = o.axis as usize;
    let extent = *x.shape().get(axis).ok_or("the axis is not in the shape")? as i64;
    let inner: usize = x.shape()[axis + 1..].iter().product();
    let n = indices.len();
    Ok(take(x, y, |i, _| {
        let (outer, k, inside) = (i / inner / n, i / inner % n, i % inner);
        let index = indices.get_i64(k);
        let index = if index < 0 { index.saturating_add(extent) } else { index };
        let index = index.clamp(0, extent - 1) as usize;
        Some((outer * extent as usize + index) * inner + inside)
    }))
}

fn resize_nearest(o: &ResizeNearest, x: &Tensor, y: Tensor) -> Result<Tensor, String> {
    let (image, out) = (four(x.shape())?, four(y.shape())?);
    let axis = |d: usize| nearest_axis([image[d] as u64, out[d] as u64], o.coordinates, o.rounding);
    let (rows, columns) = (axis(1), axis(2));
    Ok(take(x, y, |_, at| {
        let from = [at[0], rows[at[1]] as usize, columns[at[2]] as usize, at[3]];
        Some(flat(&image, &from))
    }))
}
