//! The float form of a sum, checked on every pair of codes.

use crate::kernels::add::FloatForm;
use qcc_ir::DType;
use qcc_ir::dialect::int::{self, AddStyle};
use qcc_runtime::fixedpoint::{Multiplier, mul_by_quantized};

/// Constants that give the reference's code on every pair, if any of a few candidates does.
pub(super) fn prove(op: &int::Add, a: DType, b: DType) -> Option<FloatForm> {
    // Centred codes must fit 16 bits.
    let sane = [op.a_zp, op.b_zp, op.y_zp].iter().all(|zp| zp.abs() < 30_000);
    if !sane || op.style != AddStyle::General {
        return None;
    }
    let (first_a, first_b) = (a.min_max().0 as i32, b.min_max().0 as i32);
    let m = |mant, shift| Multiplier { mantissa: mant, shift };
    let scaled = |q: i32, zp: i32, m| mul_by_quantized(q.wrapping_sub(zp) << op.left_shift, m);
    let u: Vec<i32> =
        (0..256).map(|i| scaled(first_a + i, op.a_zp, m(op.a_mult, op.a_shift))).collect();
    let v: Vec<i32> =
        (0..256).map(|i| scaled(first_b + i, op.b_zp, m(op.b_mult, op.b_shift))).collect();
    let out = m(op.y_mult, op.y_shift);
    let clamp = |q: i32| q.max(op.lo).min(op.hi);
    let want: Vec<i32> = u
        .iter()
        .flat_map(|&u| {
            let sum = move |v: i32| if op.subtract { u.wrapping_sub(v) } else { u.wrapping_add(v) };
            v.iter().map(move |&v| sum(v))
        })
        .map(|sum| clamp(mul_by_quantized(sum, out).wrapping_add(op.y_zp)))
        .collect();
    let left = f64::from(1u32 << op.left_shift);
    let mut scales = [m(op.a_mult, op.a_shift), m(op.b_mult, op.b_shift)]
        .map(|m| left * m.to_f64() * out.to_f64());
    if op.subtract {
        scales[1] = -scales[1];
    }
    let unit = 2f64.powi(op.y_shift.min(0) - 1);
    candidates(scales, unit).find(|form| agrees(form, op, (first_a, first_b), &want))
}

/// Scales ± 2 ulp times a few offsets, likeliest first.
fn candidates(scales: [f64; 2], unit: f64) -> impl Iterator<Item = FloatForm> {
    const ULPS: [[i32; 2]; 9] =
        [[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1], [1, 1], [-1, -1], [2, 0], [0, 2]];
    let moved = |v: f64, by: i32| f32::from_bits((v as f32).to_bits().wrapping_add_signed(by));
    ULPS.into_iter().flat_map(move |[i, j]| {
        [1.0, 2.0, 4.0, 0.5, 8.0, 0.0].into_iter().map(move |k| FloatForm {
            scales: [moved(scales[0], i), moved(scales[1], j)],
            epsilon: (k * unit) as f32,
        })
    })
}

/// Whether the kernel's operations give `want` on all pairs.
fn agrees(form: &FloatForm, op: &int::Add, first: (i32, i32), want: &[i32]) -> bool {
    let limit = 400_000.0 / 256.0;
    if !form.scales.iter().all(|s| s.is_finite() && s.abs() < limit) {
        return false;
    }
    let term = |i: i32, first: i32, zp: i32, s: f32| (first + i - zp) as f32 * s;
    let b: Vec<f32> = (0..256).map(|i| term(i, first.1, op.b_zp, form.scales[1])).collect();
    (0..256).all(|i| {
        let a = term(i, first.0, op.a_zp, form.scales[0]);
        let row = &want[i as usize * 256..][..256];
        let wrong = b.iter().zip(row).fold(0u32, |wrong, (&b, &want)| {
            let t = a + b;
            let t = t + form.epsilon.copysign(t);
            let code = ((t + 12_582_912.0).to_bits() as i32).wrapping_sub(0x4B40_0000) + op.y_zp;
            wrong | u32::from(code.max(op.lo).min(op.hi) != want)
        });
        wrong == 0
    })
}
