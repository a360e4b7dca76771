//! What a rescale must equal: the reference, its domain, and its steps.
//!
//! Private to `rescale` except for [`Reference`].

use crate::fixedpoint::{
    Multiplier, mul_by_quantized, mul_by_quantized_closed_form, requantize_f32_even, requantize_f64,
};

/// The framework's own requantization of one channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reference {
    /// [`mul_by_quantized`], numerics.md C: TFLite conv, depthwise, ….
    DoubleRounding(Multiplier),
    /// [`requantize_f64`] by a real multiplier, numerics.md D.3: TFLite FULLY_CONNECTED.
    F64(f64),
    /// [`requantize_f32_even`] by a real multiplier, numerics.md E: QLinearConv, QLinearMatMul.
    F32Even(f32),
}

impl Reference {
    /// The output code of `acc`: rescaled, plus `zp` (wrapping), then max(`lo`), then min(`hi`).
    #[inline]
    pub fn eval(&self, zp: i32, lo: i32, hi: i32, acc: i32) -> i32 {
        let rescaled = match *self {
            Reference::DoubleRounding(m) => mul_by_quantized(acc, m),
            Reference::F64(m) => requantize_f64(i64::from(acc), m),
            Reference::F32Even(m) => requantize_f32_even(acc, m),
        };
        rescaled.wrapping_add(zp).max(lo).min(hi)
    }

    /// The real multiplier.
    pub fn multiplier(&self) -> f64 {
        match *self {
            Reference::DoubleRounding(m) => m.to_f64(),
            Reference::F64(m) => m,
            Reference::F32Even(m) => f64::from(m),
        }
    }

    /// By how many output units the reference's thresholds lie nearer to zero than those of
    /// rounding the real product: `2^(shift-1)` for double rounding, otherwise 0.
    pub(super) fn offset(&self) -> f64 {
        match *self {
            Reference::DoubleRounding(m) if m.shift < 0 => 2f64.powi(m.shift - 1),
            _ => 0.0,
        }
    }

    /// True when the reference is monotone on `lo..=hi` and nothing in it wraps.
    fn is_monotone(&self, lo: i32, hi: i32) -> bool {
        match *self {
            Reference::DoubleRounding(m) => {
                let fits = |x: i32| {
                    (i64::from(x) << m.shift.clamp(0, 31)) == i64::from(x << m.shift.clamp(0, 31))
                };
                m.mantissa >= 0 && (-31..=30).contains(&m.shift) && fits(lo) && fits(hi)
            }
            Reference::F64(m) => {
                let fits = |x: i32| (f64::from(x) * m).abs() < 2147483647.0;
                m >= 0.0 && m.is_finite() && fits(lo) && fits(hi)
            }
            // Limited, so that nothing wraps.
            Reference::F32Even(m) => m >= 0.0 && m.is_finite(),
        }
    }
}

/// The output clamp and zero point of a layer.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub zp: i32,
    pub lo: i32,
    pub hi: i32,
}

/// Thresholds computed side by side.
const LANES: usize = 8;

/// Zero points beyond this are refused: adding one must not wrap.
const MAX_ZERO_POINT: i32 = 1 << 24;

/// The reference as a step function on the accumulators `lo..=hi`: `first` at `lo`, and the level
/// `first + 1 + i` from accumulator `thresholds[i]` on.
pub(super) struct Steps {
    pub lo: i32,
    pub hi: i32,
    pub first: i32,
    pub last: i32,
    pub thresholds: Vec<i32>,
}

impl Steps {
    /// The steps on an accumulator range; `None` where the reference is not monotone, or the range
    /// is empty or leaves int32. Double rounding has exact thresholds (its closed form, solved for
    /// the accumulator); otherwise each threshold `t` of level `k` is searched and checked:
    /// `g(t-1) < k <= g(t)`.
    pub fn new(reference: Reference, out: Output, range: (i64, i64)) -> Option<Steps> {
        let (lo, hi) = (i32::try_from(range.0).ok()?, i32::try_from(range.1).ok()?);
        let sane_zero_point = out.zp.unsigned_abs() <= MAX_ZERO_POINT as u32;
        if lo > hi || !sane_zero_point || !reference.is_monotone(lo, hi) {
            return None;
        }
        match reference {
            Reference::DoubleRounding(m) => {
                let g = |acc| {
                    mul_by_quantized_closed_form(acc, m)
                        .wrapping_add(out.zp)
                        .max(out.lo)
                        .min(out.hi)
                };
                if m.shift < 0 && m.mantissa > 0 {
                    return Steps::of_closed_form(m, out.zp, (lo, g(lo)), (hi, g(hi)));
                }
                Steps::of(g, reference, out.zp, lo, hi)
            }
            Reference::F64(m) => {
                let g = |acc| {
                    let rescaled = requantize_f64(i64::from(acc), m);
                    rescaled.wrapping_add(out.zp).max(out.lo).min(out.hi)
                };
                Steps::of(g, reference, out.zp, lo, hi)
            }
            Reference::F32Even(m) => {
                let g =
                    |acc| requantize_f32_even(acc, m).wrapping_add(out.zp).max(out.lo).min(out.hi);
                Steps::of(g, reference, out.zp, lo, hi)
            }
        }
    }

    /// With n = −shift ≥ 1, `(x·M + 2^30 + 2^(30+n) − [x<0]·2^31) >> (31+n)` reaches level k where
    /// x ≥ ⌈((2k − 1)·2^(30+n) − 2^30)/M⌉, and for k ≤ 0 (negative x, or 0) where
    /// x ≥ ⌈((2k − 1)·2^(30+n) + 2^30)/M⌉. Next levels are a constant apart: one division each way,
    /// and lanes that leap over each other's levels instead of waiting for each other.
    fn of_closed_form(
        m: Multiplier,
        zp: i32,
        (lo, first): (i32, i32),
        (hi, last): (i32, i32),
    ) -> Option<Steps> {
        if first > last {
            return None;
        }
        let (mantissa, n) = (i128::from(m.mantissa), -m.shift);
        let step = 1i128 << (31 + n);
        let (step_quotient, step_rest) = ((step / mantissa) as i64, (step % mantissa) as i64);
        let leap = step * LANES as i128;
        let (leap_quotient, leap_rest) = ((leap / mantissa) as u32, (leap % mantissa) as u32);
        let divisor = m.mantissa as u32;
        let n = (i64::from(last) - i64::from(first)) as usize;
        let mut thresholds = Vec::with_capacity(n + 2 * LANES);
        let mut levels = |from: i64, to: i64, half: i128| {
            // ⌈a/M⌉ = ⌊(a + M − 1)/M⌋
            let a = i128::from(2 * from - 1) * (step / 2) + half + mantissa - 1;
            let (mut t, mut rest) = (a.div_euclid(mantissa) as i64, a.rem_euclid(mantissa) as i64);
            // Thresholds are of i32: low bits say it all, and `rest` + `rest` fits u32.
            let lane = |_| {
                let lane = (t as u32, rest as u32);
                rest += step_rest;
                let carry = i64::from(rest >= i64::from(m.mantissa));
                rest -= carry * i64::from(m.mantissa);
                t += step_quotient + carry;
                lane
            };
            let mut lanes: [(u32, u32); LANES] = std::array::from_fn(lane);
            let n = (to + 1 - from).max(0) as usize;
            let end = thresholds.len() + n;
            for _ in 0..n.div_ceil(LANES) {
                thresholds.extend(lanes.map(|(t, _)| t as i32));
                for (t, rest) in &mut lanes {
                    let sum = *rest + leap_rest;
                    let carry = sum >= divisor;
                    *rest = if carry { sum - divisor } else { sum };
                    *t = t.wrapping_add(leap_quotient).wrapping_add(u32::from(carry));
                }
            }
            thresholds.truncate(end);
        };
        let level = |code: i32| i64::from(code) - i64::from(zp);
        let (from, to) = (level(first) + 1, level(last));
        levels(from, to.min(0), 1 << 30);
        levels(from.max(1), to, -(1 << 30));
        Some(Steps { lo, hi, first, last, thresholds })
    }

    fn of(
        g: impl Fn(i32) -> i32,
        reference: Reference,
        zp: i32,
        lo: i32,
        hi: i32,
    ) -> Option<Steps> {
        let (first, last) = (g(lo), g(hi));
        if first > last {
            return None;
        }
        let (inv, offset) = (1.0 / reference.multiplier(), reference.offset());
        let mut thresholds = Vec::with_capacity((i64::from(last) - i64::from(first)) as usize);
        for k in first + 1..=last {
            let level = f64::from(k) - f64::from(zp);
            let nearer = if level > 0.0 { -offset } else { offset };
            let guess = ceil((level - 0.5 + nearer) * inv);
            thresholds.push(threshold(&g, k, guess, lo, hi));
        }
        Some(Steps { lo, hi, first, last, thresholds })
    }
}

/// `ceil` without a call into libm on baseline x86-64.
fn ceil(x: f64) -> i64 {
    let truncated = x as i64;
    truncated + i64::from((truncated as f64) < x)
}

/// The smallest `t` in `lo+1..=hi` with `g(t) >= k`, given `g(lo) < k <= g(hi)` and a monotone `g`:
/// `guess` when it is right, else found from there by doubling steps and bisection.
fn threshold(g: &impl Fn(i32) -> i32, k: i32, guess: i64, lo: i32, hi: i32) -> i32 {
    let guess = guess.clamp(i64::from(lo) + 1, i64::from(hi)) as i32;
    let reached = g(guess) >= k;
    if reached && g(guess - 1) < k {
        return guess;
    }
    let (mut below, mut above) = (lo, hi);
    let mut step = 1i32;
    if reached {
        above = guess - 1;
        while let Some(t) = above.checked_sub(step).filter(|&t| t > lo) {
            if g(t) < k {
                below = t;
                break;
            }
            above = t;
            step = step.saturating_mul(2);
        }
    } else {
        below = guess;
        while let Some(t) = below.checked_add(step).filter(|&t| t < hi) {
            if g(t) >= k {
                above = t;
                break;
            }
            below = t;
            step = step.saturating_mul(2);
        }
    }
    while i64::from(above) - i64::from(below) > 1 {
        let middle = ((i64::from(above) + i64::from(below)) / 2) as i32;
        if g(middle) >= k { above = middle } else { below = middle }
    }
    above
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixedpoint::quantize_multiplier;

    #[test]
    fn closed_form_thresholds_equal_the_searched_ones() {
        for i in 0..3000i32 {
            let mantissa = (1 << 30) + (i.wrapping_mul(715_827_883) & 0x3FFF_FFFF);
            let m = Multiplier::new(mantissa, -(i % 20) - 1);
            let reference = Reference::DoubleRounding(m);
            let out = Output { zp: i % 256 - 128, lo: -128, hi: 127 };
            let reach = (1i64 << (i % 20 + 9)).min(1 << 29);
            let range = (-reach + i64::from(i % 7), reach - i64::from(i % 5));
            let fast = Steps::new(reference, out, range).unwrap();
            let g = |acc| mul_by_quantized(acc, m).wrapping_add(out.zp).clamp(out.lo, out.hi);
            let slow = Steps::of(g, reference, out.zp, range.0 as i32, range.1 as i32).unwrap();
            assert_eq!((fast.first, fast.last), (slow.first, slow.last), "{m:?} {range:?}");
            assert_eq!(fast.thresholds, slow.thresholds, "{m:?} {range:?}");
        }
    }

    #[test]
    fn thresholds_are_the_first_accumulators_of_their_level() {
        for m in [0.9, 0.0123, 0.00037, 3.7] {
            let references = [
                Reference::DoubleRounding(quantize_multiplier(m)),
                Reference::F64(m),
                Reference::F32Even(m as f32),
            ];
            for reference in references {
                let out = Output { zp: -5, lo: -128, hi: 127 };
                let steps = Steps::new(reference, out, (-40_000, 50_000)).unwrap();
                let g = |acc| reference.eval(out.zp, out.lo, out.hi, acc);
                let mut expected = vec![];
                for acc in -40_000 + 1..=50_000 {
                    expected.extend((g(acc - 1)..g(acc)).map(|_| acc));
                }
                assert_eq!(steps.thresholds, expected, "{reference:?}");
            }
        }
    }

    #[test]
    fn a_wrong_guess_is_repaired() {
        let g = |t: i32| i32::from(t >= 77);
        for guess in [i64::MIN, -1000, 0, 76, 77, 78, 500, i64::MAX] {
            assert_eq!(threshold(&g, 1, guess, -1000, 1000), 77, "{guess}");
            assert_eq!(threshold(&g, 1, guess, i32::MIN, i32::MAX), 77, "{guess}");
            assert_eq!(threshold(&g, 1, guess, 76, 77), 77, "{guess}");
        }
    }

    #[test]
    fn refuses_what_is_not_monotone() {
        let out = Output { zp: 0, lo: -128, hi: 127 };
        let wraps = Reference::DoubleRounding(Multiplier::new(1 << 30, 8));
        assert!(Steps::new(wraps, out, (0, 1 << 22)).is_some());
        assert!(Steps::new(wraps, out, (0, 1 << 23)).is_none());
        for bad in [f64::NAN, -1.0, f64::INFINITY, 1e9] {
            assert!(Steps::new(Reference::F64(bad), out, (0, 100)).is_none());
        }
        assert!(Steps::new(Reference::F32Even(f32::INFINITY), out, (0, 100)).is_none());
        let fine = Reference::F64(0.1);
        assert!(Steps::new(fine, out, (5, 4)).is_none());
        assert!(Steps::new(fine, out, (0, 1 << 31)).is_none());
        assert!(Steps::new(fine, Output { zp: i32::MAX, ..out }, (0, 9)).is_none());
        let negative = Reference::DoubleRounding(Multiplier::new(-5, 0));
        assert!(Steps::new(negative, out, (0, 9)).is_none());
    }
}
