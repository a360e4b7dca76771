//! Ops that compute with plain elements of more types than float32.

use super::super::index::{broadcast, each};
use super::floats;
use crate::TensorType;
use crate::dialect::nn::{Compare, CumSum, IntBinary, IntFn, TopK};
use qcc_runtime::{DType, Tensor};
use std::cmp::Ordering;

/// Calls `f` with each flat index of `shape` and of tensors of the shapes `from`, broadcast.
fn pairs<const N: usize>(shape: &[usize], xs: [&Tensor; N], mut f: impl FnMut(usize, [usize; N])) {
    each(shape, |i, at| f(i, xs.map(|x| broadcast(x.shape(), at))));
}

pub(super) fn compare(o: &Compare, xs: [&Tensor; 2], mut y: Tensor) -> Result<Tensor, String> {
    let [a, b] = xs;
    let float = a.dtype().is_float();
    let shape = y.shape().to_vec();
    pairs(&shape, xs, |i, [p, q]| {
        let order = match float {
            true => a.get_f64(p).partial_cmp(&b.get_f64(q)),
            false => Some(a.get_i64(p).cmp(&b.get_i64(q))),
        };
        y.set_i64(i, o.f.holds(order).into());
    });
    Ok(y)
}

pub(super) fn select(xs: [&Tensor; 3], mut y: Tensor) -> Tensor {
    let size = y.dtype().size();
    let [c, a, b] = xs;
    let shape = y.shape().to_vec();
    let out = y.bytes_mut();
    pairs(&shape, xs, |i, [k, p, q]| {
        let (from, at) = if c.get_i64(k) != 0 { (a, p) } else { (b, q) };
        out[i * size..][..size].copy_from_slice(&from.bytes()[at * size..][..size]);
    });
    y
}

pub(super) fn int_binary(o: &IntBinary, xs: [&Tensor; 2], mut y: Tensor) -> Tensor {
    let shape = y.shape().to_vec();
    pairs(&shape, xs, |i, [p, q]| {
        let (a, b) = (xs[0].get_i64(p), xs[1].get_i64(q));
        let v = match o.f {
            IntFn::Add => a.wrapping_add(b),
            IntFn::Sub => a.wrapping_sub(b),
            IntFn::Mul => a.wrapping_mul(b),
            IntFn::Min => a.min(b),
            IntFn::Max => a.max(b),
            IntFn::And => a & b,
            IntFn::Or => a | b,
            IntFn::Xor => a ^ b,
        };
        y.set_i64(i, v);
    });
    y
}

pub(super) fn cum_sum(o: &CumSum, x: &Tensor, mut y: Tensor) -> Result<Tensor, String> {
    let axis = o.axis as usize;
    let n = *x.shape().get(axis).ok_or("the axis is not in the shape")?;
    let inner: usize = x.shape()[axis + 1..].iter().product();
    let rows = x.len().checked_div(n).unwrap_or(0);
    for row in 0..rows {
        let (mut real, mut whole) = (0f64, 0i64);
        for k in 0..n {
            let k = if o.reverse { n - 1 - k } else { k };
            let at = (row / inner * n + k) * inner + row % inner;
            let before = (real, whole);
            match x.dtype() {
                // A sum of two rounded from float64 to float32 is the float32 sum.
                DType::F32 => real = f64::from((real + x.get_f64(at)) as f32),
                DType::F64 => real += x.get_f64(at),
                _ => whole = whole.wrapping_add(x.get_i64(at)),
            }
            let (real, whole) = if o.exclusive { before } else { (real, whole) };
            match x.dtype().is_float() {
                true => y.set_f64(at, real),
                false => y.set_i64(at, whole),
            }
        }
    }
    Ok(y)
}

pub(super) fn top_k(
    o: &TopK,
    x: &Tensor,
    types: &[&TensorType],
    shapes: &[Vec<usize>],
) -> Result<Vec<Tensor>, String> {
    let make = |j: usize| {
        let ty = types.get(j).ok_or("two results are expected")?;
        Tensor::try_zeros(ty.storage(), shapes[j].clone()).map_err(|e| e.to_string())
    };
    let (mut y, mut indices) = (make(0)?, make(1)?);
    let n = *x.shape().last().ok_or("a shape of rank 0")?;
    let k = *shapes[0].last().ok_or("a shape of rank 0")?;
    let all = floats(x);
    for (row, values) in all.chunks(n.max(1)).enumerate() {
        let mut order: Vec<usize> = (0..values.len()).collect();
        // Stable, so the first of equals comes first; NaN is behind all numbers.
        order.sort_by(|&a, &b| match (values[a], values[b]) {
            (p, q) if p.is_nan() || q.is_nan() => p.is_nan().cmp(&q.is_nan()),
            (p, q) if o.min => p.partial_cmp(&q).unwrap_or(Ordering::Equal),
            (p, q) => q.partial_cmp(&p).unwrap_or(Ordering::Equal),
        });
        for (j, &at) in order.iter().take(k).enumerate() {
            y.set_f64(row * k + j, values[at].into());
            indices.set_i64(row * k + j, at as i64);
        }
    }
    Ok(vec![y, indices])
}
