//! sin, cos and pow of f32 numbers, computed in f64 and rounded once at the end (by the caller).
//!
//! The polynomials are Taylor series, cut where a term is below 2^−44 of the result.

use super::arith::Floats;
use super::round::round_even;

/// π/2 in three parts: an integer below 2^28 times one of the first two is exact.
const HALF_PI: [f64; 3] =
    [1.570_796_251_296_997, 7.549_789_415_861_596e-8, 5.390_302_858_158_119e-15];
const TWO_OVER_PI: f64 = std::f64::consts::FRAC_2_PI;
/// From here on neighbouring f32 are more than a period apart.
const LARGE: f64 = 268_435_456.0;

/// x − k·π/2, |x − k·π/2| ≤ π/4, and k.
fn quadrant<A: Floats>(a: &mut A, x: A::F) -> (A::F, A::F) {
    let c = a.real(TWO_OVER_PI);
    let k = a.mul(x, c);
    let k = round_even(a, k);
    let r = HALF_PI.iter().fold(x, |r, &part| {
        let part = a.real(part);
        let multiple = a.mul(k, part);
        a.sub(r, multiple)
    });
    (r, k)
}

/// sin r and cos r for |r| ≤ π/4.
fn both<A: Floats>(a: &mut A, r: A::F) -> (A::F, A::F) {
    let odd = |n: u32| (1..=n).map(f64::from).product::<f64>();
    let sine: Vec<f64> = (1..8).map(|i| sign_of(i) / odd(2 * i + 1)).collect();
    let cosine: Vec<f64> = (0..8).map(|i| sign_of(i) / odd(2 * i)).collect();
    let z = a.mul(r, r);
    let s = a.polynomial(z, &sine);
    let s = a.mul(s, z);
    let s = a.mul(s, r);
    (a.add(r, s), a.polynomial(z, &cosine))
}

fn sign_of(i: u32) -> f64 {
    if i.is_multiple_of(2) { 1.0 } else { -1.0 }
}

/// 1 where k is an odd integer, else 0.
fn is_odd<A: Floats>(a: &mut A, k: A::F) -> A::M {
    let half = a.real(0.5);
    let halved = a.mul(k, half);
    let whole = round_even(a, halved);
    let rest = a.sub(halved, whole);
    let (rest, zero) = (a.abs(rest), a.real(0.0));
    a.lt(zero, rest)
}

/// sin(x + q·π/2) for q 0 or 1.
fn sine<A: Floats>(a: &mut A, x: A::F, q: f64) -> A::F {
    let (size, large) = (a.abs(x), a.real(LARGE));
    let (r, k) = quadrant(a, x);
    let q = a.real(q);
    let k = a.add(k, q);
    let (s, c) = both(a, r);
    let swap = is_odd(a, k);
    let y = a.select(swap, c, s);
    // Quadrants 2 and 3: ⌊k/2⌋ odd.
    let half = a.real(0.5);
    let k = a.mul(k, half);
    let k = super::round::floor(a, k);
    let minus = a.neg(y);
    let flip = is_odd(a, k);
    let y = a.select(flip, minus, y);
    let known = a.lt(size, large);
    let (infinity, nan) = (a.real(f64::INFINITY), a.real(f64::NAN));
    let finite = a.lt(size, infinity);
    let otherwise = a.select(finite, q, nan);
    a.select(known, y, otherwise)
}

/// sin x; 0 for |x| ≥ 2^28.
pub fn sin<A: Floats>(a: &mut A, x: A::F) -> A::F {
    let y = sine(a, x, 0.0);
    // −0 stays.
    let zero = a.real(0.0);
    let is_zero = a.eq(x, zero);
    a.select(is_zero, x, y)
}

/// cos x; 1 for |x| ≥ 2^28.
pub fn cos<A: Floats>(a: &mut A, x: A::F) -> A::F {
    sine(a, x, 1.0)
}

/// Bits of √½ in f64, the low word zero.
const ROOT_HALF: i64 = 0x3FE6_A09E << 32;

/// log₂ x for a positive normal f64; −∞ for 0, ∞ for ∞.
fn log2<A: Floats>(a: &mut A, x: A::F) -> A::F {
    let (bits, base) = (a.bits(x), a.int(ROOT_HALF));
    let n = a.isub(bits, base);
    let n = a.shr(n, 52);
    let exponent = a.shl(n, 52);
    let mantissa = a.isub(bits, exponent);
    let (m, n) = (a.of_bits(mantissa), a.to_float(n));
    let one = a.real(1.0);
    let (top, bottom) = (a.sub(m, one), a.add(m, one));
    let s = a.div(top, bottom);
    let z = a.mul(s, s);
    let series: Vec<f64> = (0..10).map(|i| 2.0 / f64::from(2 * i + 1)).collect();
    let p = a.polynomial(z, &series);
    let (p, log2_e) = (a.mul(p, s), a.real(std::f64::consts::LOG2_E));
    let p = a.mul(p, log2_e);
    let y = a.add(n, p);
    let (zero, infinity, minus) = (a.real(0.0), a.real(f64::INFINITY), a.real(f64::NEG_INFINITY));
    let finite = a.lt(x, infinity);
    let y = a.select(finite, y, x);
    let is_zero = a.eq(x, zero);
    a.select(is_zero, minus, y)
}

/// 2^x; beyond ±200 as at ±200, which no f32 reaches.
fn exp2<A: Floats>(a: &mut A, x: A::F) -> A::F {
    let x = a.limit(x, -200.0, 200.0);
    let magic = a.real(6_755_399_441_055_744.0);
    let shifted = a.add(x, magic);
    let n = a.sub(shifted, magic);
    let r = a.sub(x, n);
    let ln_2 = a.real(std::f64::consts::LN_2);
    let r = a.mul(r, ln_2);
    let factorial = |n: u32| (1..=n).map(f64::from).product::<f64>();
    let series: Vec<f64> = (0..13).map(|i| 1.0 / factorial(i)).collect();
    let p = a.polynomial(r, &series);
    let (bits, base) = (a.bits(shifted), a.int(0x4338_0000_0000_0000 - 1023));
    let n = a.isub(bits, base);
    let n = a.shl(n, 52);
    let scale = a.of_bits(n);
    a.mul(p, scale)
}

/// x to the power y as C's `pow`: 1 for y = 0 or x = 1, NaN for a negative x and a fraction y.
pub fn pow<A: Floats>(a: &mut A, x: A::F, y: A::F) -> A::F {
    let (zero, one) = (a.real(0.0), a.real(1.0));
    let size = a.abs(x);
    let log = log2(a, size);
    let product = a.mul(log, y);
    let power = exp2(a, product);
    let is_one = a.eq(size, one);
    let power = a.select(is_one, one, power);
    let power = extremes(a, (product, power));
    // The sign: that of x if y is odd. An f32 from 2^24 on is even.
    let whole = round_even(a, y);
    let is_whole = a.eq(whole, y);
    let signed = a.with_sign(power, x);
    let odd = is_odd(a, whole);
    let odd = {
        let at_odd = a.select(odd, one, zero);
        a.select(is_whole, at_odd, zero)
    };
    let odd = a.lt(zero, odd);
    let number = a.select(odd, signed, power);
    // A negative number to a fraction.
    let (minus, nan) = (a.real(f64::NEG_INFINITY), a.real(f64::NAN));
    let fraction = a.select(is_whole, number, nan);
    let above = a.lt(minus, x);
    let fraction = a.select(above, fraction, number);
    let negative = a.lt(x, zero);
    let number = a.select(negative, fraction, number);
    // NaN of x or y stays, but not against y = 0 or x = 1.
    let number = a.or_nan(x, number);
    let number = a.or_nan(y, number);
    let y_is_zero = a.eq(y, zero);
    let number = a.select(y_is_zero, one, number);
    let x_is_one = a.eq(x, one);
    a.select(x_is_one, one, number)
}

/// `power`, but ∞ or 0 where the exponent is beyond all f32.
fn extremes<A: Floats>(a: &mut A, (exponent, power): (A::F, A::F)) -> A::F {
    let (zero, infinity) = (a.real(0.0), a.real(f64::INFINITY));
    let (high, low) = (a.real(199.0), a.real(-199.0));
    let over = a.lt(high, exponent);
    let power = a.select(over, infinity, power);
    let under = a.lt(exponent, low);
    a.select(under, zero, power)
}
