//! The error function, in f32.

use super::arith::{Floats, wide};
use super::exp::exp;

/// Where erf is a polynomial.
const SMALL: f64 = 0.875;
/// erf(x)/x − 1 in x² for |x| ≤ 0.9, within 3e-10.
const ERF: [f64; 7] = wide([
    0.128_379_17,
    -0.376_126_35,
    0.112_837_195,
    -0.026_860_753,
    0.005_204_436,
    -0.000_818_192_67,
    0.000_085_388_376,
]);
/// ln(1 − erf x) for 0.875 ≤ x ≤ 4, within 5.5e-11/(1 − erf x).
const LOG_ERFC: [f64; 8] = wide([
    0.000_170_551_31,
    -1.129_495_1,
    -0.633_386_7,
    -0.108_236_61,
    0.025_091_49,
    -0.004_160_524_3,
    0.000_432_302_42,
    -0.000_020_909_501,
]);

/// (2/√π)·∫ e^−t² dt from 0 to x.
pub fn erf<A: Floats>(a: &mut A, x: A::F) -> A::F {
    let size = a.abs(x);
    let square = a.mul(x, x);
    let p = a.polynomial(square, &ERF);
    let p = a.mul(size, p);
    let small = a.add(size, p);
    let limited = a.limit(size, 0.0, 4.0);
    let q = a.polynomial(limited, &LOG_ERFC);
    let e = exp(a, q);
    let (one, limit) = (a.real(1.0), a.real(SMALL));
    let large = a.sub(one, e);
    let is_small = a.lt(size, limit);
    let y = a.select(is_small, small, large);
    a.with_sign(y, x)
}
