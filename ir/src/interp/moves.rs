//! Ops that move elements, and those that look along one axis.

use super::index::{each, flat};
use super::int::codes;
use crate::DType;
use crate::dialect::int::{
    ArgMax, Concat, L2Normalize, LogSoftmax, Pad, Slice, Softmax, SoftmaxFloat,
};
use qcc_runtime::Tensor;
use qcc_runtime::fixedpoint::{
    LogSoftmaxParams, Multiplier, Softmax16Params, Softmax16Tables, SoftmaxOut, SoftmaxParams,
    clamp, l2_normalize_row, log_softmax_row, softmax_linear, softmax_row, softmax_row16,
};

pub(super) fn pad(o: &Pad, x: &Tensor, mut y: Tensor) -> Result<Tensor, String> {
    let shape = y.shape().to_vec();
    each(&shape, |i, at| {
        let inside = |d: usize| at[d].checked_sub(o.low[d] as usize).filter(|&p| p < x.shape()[d]);
        let from: Option<Vec<usize>> = (0..at.len()).map(inside).collect();
        y.set_i64(i, from.map_or(o.value.into(), |p| x.get_i64(flat(x.shape(), &p))));
    });
    Ok(y)
}

pub(super) fn slice(o: &Slice, x: &Tensor, mut y: Tensor) -> Result<Tensor, String> {
    let shape = y.shape().to_vec();
    each(&shape, |i, at| {
        let from: Vec<usize> = at.iter().zip(&o.start).map(|(a, s)| a + *s as usize).collect();
        y.set_i64(i, x.get_i64(flat(x.shape(), &from)));
    });
    Ok(y)
}

pub(super) fn concat(o: &Concat, xs: &[&Tensor], mut y: Tensor) -> Result<Tensor, String> {
    let axis = o.axis as usize;
    let shape = y.shape().to_vec();
    let mut start = 0;
    for x in xs {
        each(x.shape(), |i, at| {
            let mut to = at.to_vec();
            to[axis] += start;
            y.set_i64(flat(&shape, &to), x.get_i64(i));
        });
        start += x.shape()[axis];
    }
    Ok(y)
}

/// The first of equals.
pub(super) fn arg_max(o: &ArgMax, x: &Tensor, mut y: Tensor) -> Result<Tensor, String> {
    let axis = o.axis as usize;
    let n = *x.shape().get(axis).ok_or("the axis is not in the shape")?;
    let inner: usize = x.shape()[axis + 1..].iter().product();
    for i in 0..y.len() {
        let code = |k: usize| x.get_i64((i / inner * n + k) * inner + i % inner);
        let better = |k, best| if o.min { code(k) < code(best) } else { code(k) > code(best) };
        let best = (1..n).fold(0, |best, k| if better(k, best) { k } else { best });
        y.set_i64(i, best as i64);
    }
    Ok(y)
}

pub(super) fn softmax(o: &Softmax, x: &Tensor, mut y: Tensor) -> Result<Tensor, String> {
    let row = *x.shape().last().ok_or("x has no last dimension")?;
    if row == 0 {
        return Ok(y);
    }
    let multiplier = Multiplier::new(o.mult, o.shift);
    if x.dtype().size() > 1 {
        return softmax16(multiplier, row, x, y);
    }
    let out_type = match (y.dtype(), o.y_code_bias) {
        (DType::I16, _) => SoftmaxOut::I16,
        (DType::U8, 0) | (DType::I8, -128) => SoftmaxOut::U8,
        _ => SoftmaxOut::I8,
    };
    let table = SoftmaxParams { multiplier, diff_min: o.diff_min }.exp_table();
    let mut out = vec![0; row];
    for (r, codes) in codes(x).chunks_exact(row).enumerate() {
        softmax_row(&table, codes, &mut out, out_type);
        for (j, &code) in out.iter().enumerate() {
            y.set_i64(r * row + j, code.wrapping_add(o.y_code_bias).into());
        }
    }
    Ok(y)
}

/// Calls `f` with each row of codes, and stores what it makes of it.
fn rows(
    x: &Tensor,
    mut y: Tensor,
    mut f: impl FnMut(&[i32], &mut [i32]),
) -> Result<Tensor, String> {
    let row = *x.shape().last().ok_or("x has no last dimension")?;
    if row == 0 {
        return Ok(y);
    }
    let mut out = vec![0; row];
    for (r, codes) in codes(x).chunks_exact(row).enumerate() {
        f(codes, &mut out);
        out.iter().enumerate().for_each(|(j, &code)| y.set_i64(r * row + j, code.into()));
    }
    Ok(y)
}

pub(super) fn log_softmax(o: &LogSoftmax, x: &Tensor, y: Tensor) -> Result<Tensor, String> {
    let multiplier = Multiplier::new(o.mult, o.shift);
    let softmax = SoftmaxParams { multiplier, diff_min: o.diff_min };
    let p = LogSoftmaxParams { softmax, back: Multiplier::new(o.back_mult, o.back_shift) };
    rows(x, y, |codes, out| log_softmax_row(&p, codes, out, (o.lo, o.hi)))
}

pub(super) fn l2_normalize(o: &L2Normalize, x: &Tensor, y: Tensor) -> Result<Tensor, String> {
    rows(x, y, |codes, out| {
        let differences: Vec<i32> = codes.iter().map(|q| q.wrapping_sub(o.x_zp)).collect();
        l2_normalize_row(&differences, out, o.left, o.more);
        out.iter_mut().for_each(|v| *v = clamp(v.wrapping_add(o.y_zp), o.lo, o.hi));
    })
}

pub(super) fn softmax_float(
    o: &SoftmaxFloat,
    x: &Tensor,
    table: &Tensor,
    y: Tensor,
) -> Result<Tensor, String> {
    let table = table.as_slice::<f32>().map_err(|e| e.to_string())?;
    rows(x, y, |codes, out| softmax_linear(table, (o.y_inverse, o.y_zp), (o.lo, o.hi), codes, out))
}

fn softmax16(
    multiplier: Multiplier,
    row: usize,
    x: &Tensor,
    mut y: Tensor,
) -> Result<Tensor, String> {
    let tables = Softmax16Tables::new();
    let x = x.as_slice::<i16>().map_err(|e| e.to_string())?;
    let out = y.as_mut_slice::<i16>().map_err(|e| e.to_string())?;
    for (x, out) in x.chunks_exact(row).zip(out.chunks_exact_mut(row)) {
        softmax_row16(&tables, Softmax16Params { multiplier }, x, out);
    }
    Ok(y)
}
