//! Integer ops on two tensors of codes: sums, products, tables of pairs.

use super::index::{broadcast, each};
use super::int::codes;
use crate::dialect::int::{Add, AddFloat, AddStyle, MatMul, Mul, MulStyle, Rescale};
use qcc_runtime::Tensor;
use qcc_runtime::fixedpoint::{
    AddParams, AddPotParams, AddSub, LinearAdd, Multiplier, clamp, linear_mul, mul_by_quantized,
    mul_by_quantized_64, requantize_f32_even,
};

/// y = f(a, b), broadcast.
fn pairs([a, b]: [&Tensor; 2], mut y: Tensor, f: impl Fn(i32, i32) -> i64) -> Tensor {
    let shape = y.shape().to_vec();
    let (p, q) = (codes(a), codes(b));
    each(&shape, |i, at| {
        let (u, v) = (p[broadcast(a.shape(), at)], q[broadcast(b.shape(), at)]);
        y.set_i64(i, f(u, v));
    });
    y
}

pub(super) fn add(o: &Add, xs: [&Tensor; 2], y: Tensor) -> Result<Tensor, String> {
    let params = AddParams {
        left_shift: o.left_shift,
        zero_points: [o.a_zp, o.b_zp],
        inputs: [Multiplier::new(o.a_mult, o.a_shift), Multiplier::new(o.b_mult, o.b_shift)],
        output: Multiplier::new(o.y_mult, o.y_shift),
        output_zero_point: o.y_zp,
    };
    let shifted = AddPotParams { shifts: [o.a_shift, o.b_shift] };
    if o.style == AddStyle::PowerOfTwo && shifted.shifts.iter().any(|s| s.abs_diff(0) > 31) {
        return Err(format!("shifts of {:?}, beyond 31 bits", shifted.shifts));
    }
    let op = if o.subtract { AddSub::Sub } else { AddSub::Add };
    Ok(pairs(xs, y, |u, v| {
        let code = match o.style {
            AddStyle::General => params.eval(op, u, v),
            AddStyle::PowerOfTwo => shifted.eval(op, u, v),
        };
        clamp(code, o.lo, o.hi).into()
    }))
}

pub(super) fn add_float(o: &AddFloat, xs: [&Tensor; 2], y: Tensor) -> Tensor {
    let p = LinearAdd { scales: [o.a_scale, o.b_scale], offset: o.offset };
    pairs(xs, y, |u, v| {
        let code = p.eval(u.wrapping_sub(o.a_bias), v.wrapping_sub(o.b_bias));
        clamp(code.wrapping_add(o.y_bias), o.lo, o.hi).into()
    })
}

pub(super) fn mul(o: &Mul, xs: [&Tensor; 2], y: Tensor) -> Tensor {
    let multiplier = Multiplier::new(o.mult, o.shift);
    pairs(xs, y, |u, v| {
        let p = u.wrapping_sub(o.a_zp).wrapping_mul(v.wrapping_sub(o.b_zp));
        let code = match o.style {
            MulStyle::Fixed => mul_by_quantized(p, multiplier).wrapping_add(o.y_zp),
            MulStyle::Float => linear_mul(p, o.mult_f32, o.y_zp),
        };
        clamp(code.wrapping_add(o.y_bias), o.lo, o.hi).into()
    })
}

pub(super) fn pair_lut(xs: [&Tensor; 2], table: &Tensor, y: Tensor) -> Result<Tensor, String> {
    let first = xs.map(|x| x.dtype().min_max().0 as i32);
    if table.len() != 1 << 16 || xs.iter().any(|x| x.dtype().size() != 1) {
        return Err(format!("a table of {} pairs", table.len()));
    }
    Ok(pairs(xs, y, |u, v| table.get_i64((256 * (u - first[0]) + v - first[1]) as usize)))
}

pub(super) fn matmul(o: &MatMul, [a, b]: [&Tensor; 2], mut y: Tensor) -> Result<Tensor, String> {
    let (p, q) = (codes(a), codes(b));
    let ends = |t: &Tensor, swap: bool| -> Option<[usize; 2]> {
        let &[.., r, c] = t.shape() else { return None };
        Some(if swap { [c, r] } else { [r, c] })
    };
    let shapes = ends(a, o.transpose_a).zip(ends(b, o.transpose_b));
    let ([m, k], [_, n]) = shapes.ok_or("a factor is no matrix")?;
    let lead = y.shape()[..y.shape().len() - 2].to_vec();
    let wide = o.rescale == Rescale::Wide;
    each(&lead, |i, at| {
        let base = |t: &Tensor| {
            let lead = &t.shape()[..t.shape().len() - 2];
            broadcast(lead, at) * t.shape()[lead.len()] * t.shape()[lead.len() + 1]
        };
        let (pa, pb) = (base(a), base(b));
        for row in 0..m {
            for col in 0..n {
                let mut acc = 0i64;
                for l in 0..k {
                    let u = p[pa + if o.transpose_a { l * m + row } else { row * k + l }];
                    let v = q[pb + if o.transpose_b { col * k + l } else { l * n + col }];
                    let (u, v) = (u.wrapping_sub(o.a_zp), v.wrapping_sub(o.b_zp));
                    acc = acc.wrapping_add(i64::from(u) * i64::from(v));
                }
                let acc = if wide { acc } else { i64::from(acc as i32) };
                y.set_i64((i * m + row) * n + col, requantized(o, acc).into());
            }
        }
    });
    Ok(y)
}

fn requantized(o: &MatMul, acc: i64) -> i32 {
    let multiplier = Multiplier::new(o.mult, o.shift);
    let steps = match o.rescale {
        Rescale::Wide => mul_by_quantized_64(acc, multiplier),
        Rescale::F32Even => requantize_f32_even(acc as i32, o.mult_f32),
        Rescale::Double | Rescale::F64 => mul_by_quantized(acc as i32, multiplier),
    };
    clamp(steps.wrapping_add(o.y_zp), o.lo, o.hi)
}
