//! Quantized multipliers and the rescales made of them.
//!
//! Source: section C, checked there against LiteRT 2.3.0 on x86-64, whose behaviour for
//! out-of-contract shifts is reproduced too. Pure functions; anyone may call.

/// A real multiplier as `mantissa * 2^(shift - 31)`; `mantissa` is 0 or has magnitude in
/// `[2^30, 2^31)` when it comes from [`quantize_multiplier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Multiplier {
    pub mantissa: i32,
    pub shift: i32,
}

impl Multiplier {
    /// The multiplier zero.
    pub const ZERO: Multiplier = Multiplier { mantissa: 0, shift: 0 };

    /// A multiplier from its two integers.
    pub const fn new(mantissa: i32, shift: i32) -> Multiplier {
        Multiplier { mantissa, shift }
    }

    /// The exact value `mantissa * 2^(shift - 31)` (infinite beyond `shift` = 1023).
    pub fn to_f64(self) -> f64 {
        // Two steps, so that the power of two stays a normal number for every sane shift.
        f64::from(self.mantissa) * 2f64.powi(-31) * 2f64.powi(self.shift)
    }
}

/// `x = q * 2^e` with `|q|` in `[1/2, 1)`, as C `frexp`; `x` finite and not zero.
fn frexp(x: f64) -> (f64, i32) {
    const EXPONENT_MASK: u64 = 0x7FF << 52;
    if x.is_subnormal() {
        let (q, e) = frexp(x * 2f64.powi(54));
        return (q, e - 54);
    }
    let bits = x.to_bits();
    let exponent = ((bits & EXPONENT_MASK) >> 52) as i32;
    (f64::from_bits((bits & !EXPONENT_MASK) | (1022 << 52)), exponent - 1022)
}

/// QM: `m = q * 2^shift`, `mantissa = RNA(q * 2^31)`; a mantissa of 2^31 is halved, a shift below
/// -31 flushes to zero, and there is no upper limit. Zero, NaN and infinities give
/// [`Multiplier::ZERO`]; a negative `m` gives a negative mantissa. Section C.
pub fn quantize_multiplier(m: f64) -> Multiplier {
    if m == 0.0 || !m.is_finite() {
        return Multiplier::ZERO;
    }
    let (q, mut shift) = frexp(m);
    let mut mantissa = (q * 2147483648.0).round() as i64;
    if mantissa == 1 << 31 {
        mantissa /= 2;
        shift += 1;
    }
    if shift < -31 {
        return Multiplier::ZERO;
    }
    Multiplier::new(mantissa as i32, shift)
}

/// SRDHM, saturating rounding doubling high multiply: `floor((a*b + 2^30) / 2^31)`, halves up;
/// `a = b = -2^31` gives `2^31 - 1`. Section C.
#[inline]
pub fn srdhm(a: i32, b: i32) -> i32 {
    if a == i32::MIN && b == i32::MIN {
        return i32::MAX;
    }
    ((i64::from(a) * i64::from(b) + (1 << 30)) >> 31) as i32
}

/// RDP, rounding right shift with halves away from zero. `n` outside `0..=31` behaves as x86-64
/// does with the out-of-contract C shift: remainder mask -1 and count `n & 31`. Section C.
#[inline]
pub fn rounding_div_by_pot(x: i32, n: i32) -> i32 {
    let mask = if (0..=31).contains(&n) { ((1i64 << n) - 1) as i32 } else { -1 };
    let threshold = (mask >> 1) + i32::from(x < 0);
    (x >> (n & 31)).wrapping_add(i32::from((x & mask) > threshold))
}

/// MB, multiply by a quantized multiplier with **double rounding**:
/// `RDP(SRDHM(wrap32(x << max(shift, 0)), mantissa), max(-shift, 0))`. The left shift wraps and its
/// count is masked to 5 bits. Section C.
#[inline]
pub fn mul_by_quantized(x: i32, m: Multiplier) -> i32 {
    let shifted = x.wrapping_shl(m.shift.max(0) as u32);
    rounding_div_by_pot(srdhm(shifted, m.mantissa), m.shift.min(0).wrapping_neg())
}

/// MB64 for int64 accumulators: the mantissa is rounded to 16 bits, then one half-up rounding:
/// `(x * r + 2^(14 - shift)) >> (15 - shift)`, low 32 bits. Section C.
pub fn mul_by_quantized_64(x: i64, m: Multiplier) -> i32 {
    let mantissa = i64::from(m.mantissa);
    let reduced = if mantissa < 0x7FFF_0000 { (mantissa + (1 << 15)) >> 16 } else { 0x7FFF };
    let total_shift = 15i32.wrapping_sub(m.shift);
    let half = 1i64.wrapping_shl(total_shift.wrapping_sub(1) as u32);
    x.wrapping_mul(reduced).wrapping_add(half).wrapping_shr(total_shift as u32) as i32
}

/// MB in closed form, what exact kernels execute: for `n = -shift` in `1..=31` and a mantissa >= 0
/// `(x*mantissa + 2^30 + 2^(30+n) - [x<0]*2^31) >> (31+n)` in i64; otherwise [`mul_by_quantized`]
/// itself. Equal to it for every argument. Section C.
#[inline]
pub fn mul_by_quantized_closed_form(x: i32, m: Multiplier) -> i32 {
    let n = m.shift.wrapping_neg();
    if !(1..=31).contains(&n) || m.mantissa < 0 {
        return mul_by_quantized(x, m);
    }
    let nudge = (1i64 << 30) + (1i64 << (30 + n)) - (i64::from(x < 0) << 31);
    ((i64::from(x) * i64::from(m.mantissa) + nudge) >> (31 + n)) as i32
}

/// FULLY_CONNECTED's requantization in double precision: `RNA(f64(acc) * m)`, low 32 bits; the
/// caller adds the zero point and clamps. Beyond the range of i64 (and NaN) gives 0. Section D.3.
#[inline]
pub fn requantize_f64(acc: i64, m: f64) -> i32 {
    let v = (acc as f64 * m).round();
    if v.abs() < 9223372036854775808.0 { v as i64 as i32 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantize_multiplier_values() {
        let qm = |m| {
            let q = quantize_multiplier(m);
            (q.mantissa, q.shift)
        };
        assert_eq!(qm(0.0), (0, 0));
        assert_eq!(qm(1.0), (1 << 30, 1));
        assert_eq!(qm(0.5), (1 << 30, 0));
        assert_eq!(qm(-0.75), (-1610612736, 0));
        assert_eq!(qm(1.0 - 2f64.powi(-40)), (1 << 30, 1));
        assert_eq!(qm(2f64.powi(-32)), (1 << 30, -31));
        assert_eq!(qm(2f64.powi(-33)), (0, 0));
        assert_eq!(qm(2f64.powi(-1070)), (0, 0));
        assert_eq!(qm(3e34).1, 115);
        assert_eq!(qm(f64::NAN), (0, 0));
        assert_eq!(quantize_multiplier(0.0123).to_f64(), 1690499128.0 * 2f64.powi(-37));
    }

    #[test]
    fn srdhm_rounds_half_up_and_saturates() {
        assert_eq!(srdhm(i32::MIN, i32::MIN), i32::MAX);
        assert_eq!(srdhm(1, 1 << 30), 1);
        assert_eq!(srdhm(-1, 1 << 30), 0);
        assert_eq!(srdhm(-3, 1 << 30), -1);
        assert_eq!(srdhm(i32::MIN, i32::MAX), -i32::MAX);
    }

    #[test]
    fn rdp_rounds_half_away() {
        let at = |x| rounding_div_by_pot(x, 1);
        assert_eq!([3, -3, 1, -1, 2].map(at), [2, -2, 1, -1, 1]);
        assert_eq!(rounding_div_by_pot(i32::MIN, 31), -1);
        assert_eq!(rounding_div_by_pot(i32::MAX, 31), 1);
        assert_eq!(rounding_div_by_pot(-7, 0), -7);
        // Out of contract: mask -1, count n & 31.
        assert_eq!([0, 5, -1, -8].map(|x| rounding_div_by_pot(x, 33)), [1, 3, -1, -4]);
    }

    #[test]
    fn mb_shifts() {
        assert_eq!(mul_by_quantized(3, Multiplier::new(1 << 30, 1)), 3);
        assert_eq!(mul_by_quantized(1 << 30, Multiplier::new(1 << 30, 2)), 0);
        assert_eq!(mul_by_quantized(1, Multiplier::new(1 << 30, 33)), 1);
        // Double rounding: 5 * 0.25 = 1.25 -> SRDHM(5, 1/2) = 3 -> RDP(3, 1) = 2.
        assert_eq!(mul_by_quantized(5, Multiplier::new(1 << 30, -1)), 2);
        assert_eq!(mul_by_quantized(-5, Multiplier::new(1 << 30, -1)), -1);
    }

    #[test]
    fn mb64_rounds_once() {
        assert_eq!(mul_by_quantized_64(5, Multiplier::new(1 << 30, -1)), 1);
        assert_eq!(mul_by_quantized_64(6, Multiplier::new(1 << 30, -1)), 2);
        assert_eq!(mul_by_quantized_64(-6, Multiplier::new(1 << 30, -1)), -1);
        assert_eq!(mul_by_quantized_64(1 << 20, Multiplier::new(i32::MAX, 0)), 0x7FFF << 5);
    }

    #[test]
    fn f64_requantization() {
        assert_eq!([1, -1, 3, -3].map(|a| requantize_f64(a, 0.5)), [1, -1, 2, -2]);
        assert_eq!(requantize_f64(1, 1e300), 0);
        assert_eq!(requantize_f64(1 << 40, 1.0), 0);
    }

    #[test]
    fn closed_form_equals_double_rounding() {
        let mut rng = 0x9E37_79B9_7F4A_7C15u64;
        let mut next = || {
            rng ^= rng << 13;
            rng ^= rng >> 7;
            rng ^= rng << 17;
            rng
        };
        for _ in 0..400_000 {
            let mantissa = (next() >> 33) as i32 | (1 << 30);
            let m = Multiplier::new(mantissa, -((next() % 34) as i32));
            let x = (next() as i32) >> (next() % 31);
            let edge = (2 * i64::from(x) + 1) << 30;
            for x in [x, x.wrapping_neg(), (edge / i64::from(mantissa)) as i32] {
                assert_eq!(mul_by_quantized_closed_form(x, m), mul_by_quantized(x, m), "{x} {m:?}");
            }
        }
        for x in [0, 1, -1, i32::MAX, i32::MIN] {
            for shift in -31..=0 {
                let m = Multiplier::new(i32::MAX, shift);
                assert_eq!(mul_by_quantized_closed_form(x, m), mul_by_quantized(x, m));
            }
        }
    }
}
