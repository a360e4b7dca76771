//! e^x and what is made of it, in f32.

use super::arith::{Floats, wide};

/// ln 2 in two parts: the first has 9 significant bits, so a small integer times it is exact.
pub(super) const LN_2: [f64; 2] = [0.693_359_375, -2.121_944_4e-4_f32 as f64];
const LOG2_E: f64 = std::f32::consts::LOG2_E as f64;
/// Adding it rounds a small number to an integer, which stands in the low bits of the sum.
const MAGIC: f64 = 12_582_912.0;
/// (e^r − 1 − r)/r² for |r| ≤ ln(2)/2, within 3.4e-9·r².
const E: [f64; 5] = wide([0.5, 0.166_665_12, 0.041_666_187, 0.008_369_599, 0.001_395_171_9]);

/// x = n·ln 2 + r: n as an integer, r, and e^r − 1.
struct Reduced<A: Floats> {
    n: A::I,
    r1: A::F,
}

fn reduce<A: Floats>(a: &mut A, x: A::F) -> Reduced<A> {
    let (log2_e, magic) = (a.real(LOG2_E), a.real(MAGIC));
    let scaled = a.mul(x, log2_e);
    let shifted = a.add(scaled, magic);
    let n = a.sub(shifted, magic);
    let (high, low) = (a.real(LN_2[0]), a.real(LN_2[1]));
    let (high, low) = (a.mul(n, high), a.mul(n, low));
    let r = a.sub(x, high);
    let r = a.sub(r, low);
    let square = a.mul(r, r);
    let q = a.polynomial(r, &E);
    let q = a.mul(square, q);
    let r1 = a.add(r, q);
    let (bits, base) = (a.bits(shifted), a.int(0x4B40_0000));
    Reduced { n: a.isub(bits, base), r1 }
}

/// 2^n for −126 ≤ n ≤ 127.
fn power_of_two<A: Floats>(a: &mut A, n: A::I) -> A::F {
    let bias = a.int(127);
    let n = a.iadd(n, bias);
    let n = a.shl(n, 23);
    a.of_bits(n)
}

/// e^x.
pub fn exp<A: Floats>(a: &mut A, x: A::F) -> A::F {
    let x = a.limit(x, -104.0, 89.0);
    let Reduced { n, r1 } = reduce(a, x);
    let one = a.real(1.0);
    let y = a.add(r1, one);
    // In two steps: the result may be infinite or subnormal.
    let half = a.shr(n, 1);
    let rest = a.isub(n, half);
    let (half, rest) = (power_of_two(a, half), power_of_two(a, rest));
    let y = a.mul(y, half);
    a.mul(y, rest)
}

/// e^x − 1.
pub fn expm1<A: Floats>(a: &mut A, x: A::F) -> A::F {
    let limited = a.limit(x, -18.0, 89.0);
    let Reduced { n, r1 } = reduce(a, limited);
    // 2·(2^(n−1)·r1 + (2^(n−1) − ½)): 2^128 is no float.
    let one = a.int(1);
    let n = a.isub(n, one);
    let (scale, half) = (power_of_two(a, n), a.real(0.5));
    let scaled = a.mul(scale, r1);
    let rest = a.sub(scale, half);
    let y = a.add(scaled, rest);
    let y = a.add(y, y);
    // A tiny x loses its sign or its last bit above.
    let (tiny, size) = (a.real(1e-8_f32.into()), a.abs(x));
    let is_tiny = a.lt(size, tiny);
    a.select(is_tiny, x, y)
}

/// 1/(1 + e^−x).
pub fn sigmoid<A: Floats>(a: &mut A, x: A::F) -> A::F {
    let size = a.abs(x);
    let below = a.neg(size);
    let e = exp(a, below);
    let (zero, one) = (a.real(0.0), a.real(1.0));
    let negative = a.lt(x, zero);
    let top = a.select(negative, e, one);
    let bottom = a.add(one, e);
    a.div(top, bottom)
}

/// Where tanh is a polynomial.
const SMALL: f64 = 0.625;
/// (tanh x − x)/x³ in x² for |x| ≤ 0.625, within 4.2e-9/x³.
const TANH: [f64; 5] =
    wide([-0.333_332_84, 0.133_314_91, -0.053_743_497, 0.020_650_588, -0.005_717_045]);

/// tanh x.
pub fn tanh<A: Floats>(a: &mut A, x: A::F) -> A::F {
    let size = a.abs(x);
    let twice = a.add(size, size);
    let e = exp(a, twice);
    let (one, two) = (a.real(1.0), a.real(2.0));
    let e = a.add(e, one);
    let part = a.div(two, e);
    let large = a.sub(one, part);
    let square = a.mul(x, x);
    let p = a.polynomial(square, &TANH);
    let p = a.mul(p, square);
    let p = a.mul(p, size);
    let small = a.add(size, p);
    let limit = a.real(SMALL);
    let is_small = a.lt(size, limit);
    let y = a.select(is_small, small, large);
    a.with_sign(y, x)
}
