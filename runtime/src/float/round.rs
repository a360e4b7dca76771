//! Rounding to integers, and the sign, without a rounding instruction.

use super::arith::Floats;

/// The nearest integer, halves to even, with the sign of x. NaN and infinities stay.
pub fn round_even<A: Floats>(a: &mut A, x: A::F) -> A::F {
    // From 2^23 (2^52) on, every float is an integer; below, adding that much leaves no fraction.
    let limit = a.real(if a.width() == 32 { 8_388_608.0 } else { 4_503_599_627_370_496.0 });
    let size = a.abs(x);
    let up = a.add(size, limit);
    let down = a.sub(up, limit);
    let y = a.with_sign(down, x);
    let has_fraction = a.lt(size, limit);
    a.select(has_fraction, y, x)
}

/// The largest integer not above x.
pub fn floor<A: Floats>(a: &mut A, x: A::F) -> A::F {
    let y = round_even(a, x);
    let one = a.real(1.0);
    let below = a.sub(y, one);
    let above = a.lt(x, y);
    a.select(above, below, y)
}

/// The smallest integer not below x; −0 between −1 and 0.
pub fn ceil<A: Floats>(a: &mut A, x: A::F) -> A::F {
    let minus = a.neg(x);
    let y = floor(a, minus);
    a.neg(y)
}

/// −1 below 0, 1 above, else x (a zero, or NaN).
pub fn sign<A: Floats>(a: &mut A, x: A::F) -> A::F {
    let (zero, one, minus) = (a.real(0.0), a.real(1.0), a.real(-1.0));
    let (above, below) = (a.lt(zero, x), a.lt(x, zero));
    let y = a.select(below, minus, x);
    a.select(above, one, y)
}
