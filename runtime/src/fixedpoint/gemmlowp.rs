//! Transcendental functions in 32-bit fixed point, as gemmlowp defines them.
//!
//! Numbers are raw i32 with a stated number of integer bits: `Qk` has `31 - k` fraction bits.
//! Products go through [`srdhm`], which adds the numbers of integer bits. Source: section C.
//! Pure functions; anyone may call, mostly SOFTMAX, LOG_SOFTMAX, L2_NORMALIZATION, RSQRT, DIV.

use super::multiplier::{rounding_div_by_pot, srdhm};

/// RS(x, e): saturating left shift for `e > 0`, [`rounding_div_by_pot`] by `-e` otherwise.
pub fn saturating_rounding_multiply_by_pot(x: i32, e: i32) -> i32 {
    if e <= 0 { rounding_div_by_pot(x, e.wrapping_neg()) } else { saturating_shl(x, e) }
}

/// Saturating left shift as gemmlowp writes it: at the bounds it compares with `±(2^(31-e) - 1)`.
fn saturating_shl(x: i32, e: i32) -> i32 {
    let threshold = if (0..=31).contains(&e) { ((1i64 << (31 - e)) - 1) as i32 } else { 0 };
    if x > threshold {
        i32::MAX
    } else if x < -threshold {
        i32::MIN
    } else {
        x.wrapping_shl(e as u32)
    }
}

/// HalfSum: `(a + b + sgn) / 2` with `sgn = a + b >= 0 ? 1 : -1` and C division.
pub fn rounding_half_sum(a: i32, b: i32) -> i32 {
    let sum = i64::from(a) + i64::from(b);
    ((sum + if sum >= 0 { 1 } else { -1 }) / 2) as i32
}

/// `1 / (1 + a)` for `a` in `[0, 1)`, both Q0: three Newton steps. Section C `recip`.
pub fn reciprocal_one_over_one_plus_x(a: i32) -> i32 {
    const FORTY_EIGHT_17THS: i32 = 1515870810;
    const MINUS_THIRTY_TWO_17THS: i32 = -1010580540;
    let half_denominator = rounding_half_sum(a, i32::MAX);
    let mut x = FORTY_EIGHT_17THS.wrapping_add(srdhm(half_denominator, MINUS_THIRTY_TWO_17THS));
    for _ in 0..3 {
        let one_minus = (1i32 << 29).wrapping_sub(srdhm(half_denominator, x));
        x = x.wrapping_add(saturating_rounding_multiply_by_pot(srdhm(x, one_minus), 2));
    }
    saturating_rounding_multiply_by_pot(x, 1)
}

/// `exp(a)` for `a` in `[-1/4, 0)`, both Q0.
fn exp_on_interval_minus_quarter_to_zero(a: i32) -> i32 {
    const EXP_MINUS_EIGHTH: i32 = 1895147668;
    const ONE_THIRD: i32 = 715827883;
    let x = a.wrapping_add(1 << 28);
    let x2 = srdhm(x, x);
    let x3 = srdhm(x2, x);
    let x4_over_4 = rounding_div_by_pot(srdhm(x2, x2), 2);
    let tail = srdhm(x4_over_4.wrapping_add(x3), ONE_THIRD).wrapping_add(x2);
    let polynomial = x.wrapping_add(rounding_div_by_pot(tail, 1));
    EXP_MINUS_EIGHTH.wrapping_add(srdhm(EXP_MINUS_EIGHTH, polynomial))
}

/// `exp(a)` in Q0 for `a <= 0` with `integer_bits` in `0..=29` integer bits; `a = 0` gives
/// `2^31 - 1`. Section C `expneg`.
pub fn exp_on_negative_values(a: i32, integer_bits: i32) -> i32 {
    /// `exp(-2^e)` in Q0.
    const STEPS: [(i32, i32); 7] = [
        (-2, 1672461947),
        (-1, 1302514674),
        (0, 790015084),
        (1, 290630308),
        (2, 39332535),
        (3, 720401),
        (4, 242),
    ];
    let ib = integer_bits.clamp(0, 29);
    if a == 0 {
        return i32::MAX;
    }
    if ib > 5 && a < -(1 << (36 - ib)) {
        return 0;
    }
    let quarter = 1i32 << (29 - ib);
    let a_mod = (a & (quarter - 1)) - quarter;
    let remainder = a_mod.wrapping_sub(a);
    let start =
        exp_on_interval_minus_quarter_to_zero(saturating_rounding_multiply_by_pot(a_mod, ib));
    STEPS
        .iter()
        .filter(|(e, _)| ib > *e && (remainder >> (31 - ib + e)) & 1 != 0)
        .fold(start, |result, &(_, factor)| srdhm(result, factor))
}

/// Normalised reciprocal of `x > 0` with `integer_bits` integer bits: `(r, bits)` such that
/// `1/x = r * 2^-bits` with `r` in Q0. Section C `recip_norm`.
pub fn get_reciprocal(x: i32, integer_bits: i32) -> (i32, i32) {
    let headroom = x.leading_zeros();
    let shifted = (x as u32).checked_shl(headroom).unwrap_or(0);
    let fraction = shifted.wrapping_sub(1 << 31) as i32;
    (reciprocal_one_over_one_plus_x(fraction), integer_bits - headroom as i32)
}

/// `1 / sqrt(v)` for an integer `v` as a Q0 multiplier and a shift that is zero or negative (as
/// [`mul_by_quantized`](super::mul_by_quantized) takes it); `v <= 1` gives `(2^31 - 1, 0)`.
/// Section C `invsqrt`.
pub fn inv_sqrt(v: i32) -> (i32, i32) {
    const HALF_SQRT_2: i32 = 1518500250;
    const THREE_HALVES: i32 = 402653184;
    if v <= 1 {
        return (i32::MAX, 0);
    }
    let (mut v, mut shift) = (v, 11);
    while v >= 1 << 29 {
        v /= 4;
        shift += 1;
    }
    let pairs = (v.leading_zeros() as i32 - 1) / 2 - 1;
    shift -= pairs;
    v <<= 2 * pairs;
    let half = rounding_div_by_pot(v >> 1, 1);
    let mut x = 1i32 << 28;
    for _ in 0..5 {
        let x3 = saturating_rounding_multiply_by_pot(srdhm(srdhm(x, x), x), 6);
        let next = srdhm(THREE_HALVES, x).wrapping_sub(srdhm(half, x3));
        x = saturating_rounding_multiply_by_pot(next, 3);
    }
    x = srdhm(x, HALF_SQRT_2);
    if shift < 0 {
        x = x.wrapping_shl(-shift as u32);
        shift = 0;
    }
    (x, -shift)
}

/// `ln(x)` in Q5 for `x >= 1` in Q12 (raw `x >= 2^19`). Section C `logx`.
pub fn log_x(x: i32) -> i32 {
    const LN_2: i32 = 1488522236;
    const SQRT_SQRT_HALF: i32 = 1805811301;
    const SQRT_HALF: i32 = 1518500250;
    const ALPHA_N: i32 = 117049297;
    const ALPHA_D: i32 = 127690142;
    const ALPHA_I: i32 = 1057819769;
    const ALPHA_F: i32 = 638450708;
    const QUARTER_Q6: i32 = 1 << 23;
    let clz = |v: i32| v.leading_zeros() as i32;
    let shl = |v: i32, e: i32| if e == 0 { v } else { saturating_shl(v, e) };
    let exponent = |h: i32| shl(12 - h, 25);

    let z_half = srdhm(x, SQRT_HALF);
    let r_a = shl(srdhm(shl(x, clz(x) - 1), SQRT_HALF), 1);
    let z_a = exponent(clz(x)).saturating_add(QUARTER_Q6);
    let headroom_b = clz(z_half) - 1;
    let r_b = shl(x, headroom_b);
    let z_b = exponent(headroom_b).saturating_sub(QUARTER_Q6);
    let (r, z) = (r_a.min(r_b), z_a.max(z_b));

    let p = rounding_half_sum(r, SQRT_SQRT_HALF);
    let q = r.wrapping_sub(SQRT_SQRT_HALF).wrapping_mul(2);
    let c = srdhm(q, q);
    let num = srdhm(q, r).wrapping_add(srdhm(srdhm(q, c), ALPHA_N));
    let scaled_p = srdhm(p, ALPHA_I.wrapping_add(q).wrapping_add(srdhm(ALPHA_D, c)));
    let denominator_minus_one = scaled_p.wrapping_add(srdhm(ALPHA_F, q));
    let reciprocal = reciprocal_one_over_one_plus_x(denominator_minus_one);
    let fraction = srdhm(rounding_div_by_pot(num, 6), reciprocal);
    shl(srdhm(z, LN_2).wrapping_add(fraction), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_ends_and_middle() {
        assert_eq!(exp_on_negative_values(0, 5), i32::MAX);
        assert_eq!(exp_on_negative_values(i32::MIN, 5), 0);
        for (x, ib) in [(-1.0f64, 5), (-0.3, 5), (-7.9, 5), (-0.1, 0), (-11.0, 12)] {
            let raw = (x * 2f64.powi(31 - ib)).round() as i32;
            let got = f64::from(exp_on_negative_values(raw, ib)) / 2f64.powi(31);
            assert!((got - x.exp()).abs() < 1e-6, "{x}: {got}");
        }
    }

    #[test]
    fn shifts_beyond_the_contract_do_as_x86_does() {
        assert_eq!(saturating_rounding_multiply_by_pot(5, i32::MIN), 6);
        assert_eq!(saturating_rounding_multiply_by_pot(-5, -33), -3);
        assert_eq!(saturating_rounding_multiply_by_pot(5, i32::MAX), i32::MAX);
    }

    #[test]
    fn reciprocal_values() {
        assert_eq!(reciprocal_one_over_one_plus_x(0), i32::MAX);
        let (r, bits) = get_reciprocal(3 << 19, 12);
        let got = f64::from(r) / 2f64.powi(31) / 2f64.powi(bits);
        assert!((got - 1.0 / 3.0).abs() < 1e-8, "{got}");
    }

    #[test]
    fn inv_sqrt_values() {
        assert_eq!(inv_sqrt(1), (i32::MAX, 0));
        assert_eq!(inv_sqrt(-4), (i32::MAX, 0));
        for v in [2, 3, 100, 65536, 123_456_789, i32::MAX] {
            let (m, shift) = inv_sqrt(v);
            let got = f64::from(m) * 2f64.powi(shift - 31);
            assert!((got * f64::from(v).sqrt() - 1.0).abs() < 1e-4, "{v}: {got}");
        }
    }

    #[test]
    fn log_values() {
        for v in [1.0f64, 1.5, 2.0, 10.0, 300.0, 4000.0] {
            let got = f64::from(log_x((v * 524288.0) as i32)) / 2f64.powi(26);
            assert!((got - v.ln()).abs() < 1e-5, "{v}: {got}");
        }
    }

    #[test]
    fn half_sum_rounds_away() {
        assert_eq!(
            [(1, 2), (-1, -2), (0, 0), (-1, 0)].map(|(a, b)| rounding_half_sum(a, b)),
            [2, -2, 0, -1]
        );
        assert_eq!(rounding_half_sum(i32::MAX, i32::MAX), i32::MAX);
        assert_eq!(saturating_rounding_multiply_by_pot(1 << 29, 2), i32::MAX);
        assert_eq!(saturating_rounding_multiply_by_pot(-(1 << 30), 2), i32::MIN);
    }
}
