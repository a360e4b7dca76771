//! ln x and softplus, in f32.

use super::arith::{Floats, wide};
use super::exp::{LN_2, exp};

/// (ln((1 + s)/(1 − s)) − 2s)/s³ in s² for |s| ≤ 0.172, within 1.1e-11/s³.
const LOG: [f64; 4] = wide([0.666_666_6, 0.400_003_46, 0.285_366_03, 0.235_963_31]);
/// Bits of √½.
const ROOT_HALF: i64 = 0x3F35_04F3;

/// ln x: −∞ for 0, NaN below.
pub fn log<A: Floats>(a: &mut A, x: A::F) -> A::F {
    // Subnormal numbers are scaled first.
    let (least, up) = (a.real(f32::MIN_POSITIVE.into()), a.real(33_554_432.0));
    let scaled = a.mul(x, up);
    let is_subnormal = a.lt(x, least);
    let m = a.select(is_subnormal, scaled, x);
    let (zero, minus_25) = (a.real(0.0), a.real(-25.0));
    let shift = a.select(is_subnormal, minus_25, zero);
    // m = 2^n·(1 + f), √½ ≤ 1 + f < √2.
    let (bits, base) = (a.bits(m), a.int(ROOT_HALF));
    let n = a.isub(bits, base);
    let n = a.shr(n, 23);
    let exponent = a.shl(n, 23);
    let mantissa = a.isub(bits, exponent);
    let (mantissa, n) = (a.of_bits(mantissa), a.to_float(n));
    let n = a.add(n, shift);
    let one = a.real(1.0);
    let f = a.sub(mantissa, one);
    let y = log_of_mantissa(a, n, f);
    special(a, x, y)
}

/// n·ln 2 + ln(1 + f).
fn log_of_mantissa<A: Floats>(a: &mut A, n: A::F, f: A::F) -> A::F {
    let (two, half) = (a.real(2.0), a.real(0.5));
    let sum = a.add(two, f);
    let s = a.div(f, sum);
    let z = a.mul(s, s);
    let p = a.polynomial(z, &LOG);
    let p = a.mul(p, z);
    let square = a.mul(f, f);
    let square = a.mul(half, square);
    // f − (f²/2 − s·(f²/2 + p))
    let inner = a.add(square, p);
    let inner = a.mul(s, inner);
    let low = a.real(LN_2[1]);
    let low = a.mul(n, low);
    let inner = a.add(inner, low);
    let inner = a.sub(square, inner);
    let inner = a.sub(inner, f);
    let high = a.real(LN_2[0]);
    let high = a.mul(n, high);
    a.sub(high, inner)
}

/// ln x where x is not a positive number.
fn special<A: Floats>(a: &mut A, x: A::F, y: A::F) -> A::F {
    let (zero, infinity) = (a.real(0.0), a.real(f64::INFINITY));
    let finite = a.lt(x, infinity);
    // ∞ stays, NaN too.
    let y = a.select(finite, y, x);
    let (minus, nan) = (a.real(f64::NEG_INFINITY), a.real(f64::NAN));
    let is_zero = a.eq(x, zero);
    let y = a.select(is_zero, minus, y);
    let negative = a.lt(x, zero);
    a.select(negative, nan, y)
}

/// ln(1 + x) for 0 ≤ x ≤ 1.
fn log1p<A: Floats>(a: &mut A, x: A::F) -> A::F {
    let one = a.real(1.0);
    let u = a.add(one, x);
    let y = log(a, u);
    // What the sum lost, divided by it.
    let kept = a.sub(u, one);
    let lost = a.sub(x, kept);
    let lost = a.div(lost, u);
    a.add(y, lost)
}

/// ln(1 + e^x) = max(x, 0) + ln(1 + e^−|x|).
pub fn softplus<A: Floats>(a: &mut A, x: A::F) -> A::F {
    let size = a.abs(x);
    let below = a.neg(size);
    let e = exp(a, below);
    let rest = log1p(a, e);
    let zero = a.real(0.0);
    let negative = a.lt(x, zero);
    let linear = a.select(negative, zero, x);
    a.add(linear, rest)
}
