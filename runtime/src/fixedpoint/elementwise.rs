//! Elementwise functions of codes: MUL, DIV, comparisons, SQUARED_DIFFERENCE, PRELU, RELU, LEAKY_RELU, ABS, SQRT,
//! RSQRT, HARD_SWISH.
//!
//! Sources: sections D.6, D.14, D.15, D.22. Results are codes before the clamp to the type.

use super::Affine;
use super::gemmlowp::{get_reciprocal, inv_sqrt};
use super::multiplier::{Multiplier, mul_by_quantized, quantize_multiplier, rounding_div_by_pot};

/// MUL: `QM(f64(f32(s1·s2/sy)))`. Section D.6.
pub fn mul_multiplier(a: f32, b: f32, y: f32) -> Multiplier {
    quantize_multiplier(f64::from(a * b / y))
}

/// `QM(f64(f32(sx/sy)))`: RELU, LEAKY_RELU, PRELU, ABS. Section D.15.
pub fn ratio_multiplier(x: f32, y: f32) -> Multiplier {
    quantize_multiplier(f64::from(x / y))
}

/// SQUARED_DIFFERENCE of int8. Section D.22.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SquaredDifference {
    inputs: [Multiplier; 2],
    zero_points: [i32; 2],
    output: Multiplier,
    output_zero_point: i32,
}

impl SquaredDifference {
    /// Extra bits of the inputs on their common scale.
    const LEFT_SHIFT: u32 = 7;

    /// Of inputs `a` and `b` and output `y`.
    pub fn new(a: Affine, b: Affine, y: Affine) -> Self {
        let twice_max = f64::from(2.0 * a.scale.max(b.scale));
        let one = (1u32 << (2 * Self::LEFT_SHIFT)) as f32;
        SquaredDifference {
            inputs: [a, b].map(|t| quantize_multiplier(f64::from(t.scale) / twice_max)),
            zero_points: [a.zero_point, b.zero_point],
            output: quantize_multiplier(twice_max * twice_max / f64::from(one * y.scale)),
            output_zero_point: y.zero_point,
        }
    }

    /// The output code.
    pub fn eval(&self, a: i32, b: i32) -> i32 {
        let scaled = |q: i32, i: usize| {
            let centred = q.wrapping_sub(self.zero_points[i]).wrapping_shl(Self::LEFT_SHIFT);
            mul_by_quantized(centred, self.inputs[i])
        };
        let d = scaled(a, 0).wrapping_sub(scaled(b, 1));
        mul_by_quantized(d.wrapping_mul(d), self.output).wrapping_add(self.output_zero_point)
    }
}

/// DIV of 8-bit codes. Section D.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    multiplier: Multiplier,
    zero_points: [i32; 3],
}

impl Division {
    /// Of inputs `a` and `b` and output `y`: `QM(f64(f32(s1/(s2·sy))))`.
    pub fn new(a: Affine, b: Affine, y: Affine) -> Self {
        let multiplier = quantize_multiplier(f64::from(a.scale / (b.scale * y.scale)));
        Division { multiplier, zero_points: [a, b, y].map(|t| t.zero_point) }
    }

    /// The output code. A divisor of 0, which the reference does not allow, counts as the smallest
    /// positive one. Quotients much below 1 wrap the count of a shift, as the reference does.
    pub fn eval(&self, a: i32, b: i32) -> i32 {
        let (mut a, mut b) =
            (a.wrapping_sub(self.zero_points[0]), b.wrapping_sub(self.zero_points[1]));
        if b < 0 {
            (a, b) = (a.wrapping_neg(), b.wrapping_neg());
        }
        let (reciprocal, bits) = get_reciprocal(b.max(1), 31);
        let headroom = sign_headroom(a);
        let quotient = mul_by_quantized(a, Multiplier::new(reciprocal, headroom));
        let shift = self.multiplier.shift.wrapping_sub(bits).wrapping_sub(headroom);
        mul_by_quantized(quotient, Multiplier::new(self.multiplier.mantissa, shift))
            .wrapping_add(self.zero_points[2])
    }
}

/// Bits that `a` may be shifted left by without losing its sign.
fn sign_headroom(a: i32) -> i32 {
    match a >= 0 {
        true => a.leading_zeros() as i32 - 1,
        false => a.wrapping_mul(-2).wrapping_sub(1).leading_zeros() as i32,
    }
}

/// What EQUAL, LESS and their kind compare in the place of 8-bit codes:
/// `MB((q − z) << 8, QM(f64(s)))`. Section D.20.
pub fn comparable(q: i32, x: Affine) -> i32 {
    let steps = q.wrapping_sub(x.zero_point).wrapping_shl(8);
    mul_by_quantized(steps, quantize_multiplier(x.scale.into()))
}

/// PRELU and LEAKY_RELU: one multiplier at and above the zero point, another below. Section D.15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwoSlopes {
    above: Multiplier,
    below: Multiplier,
    zero_points: [i32; 2],
}

impl TwoSlopes {
    /// LEAKY_RELU: below zero `QM(f64(f32(f32(sx·alpha)/sy)))`.
    pub fn leaky_relu(x: Affine, alpha: f32, y: Affine) -> Self {
        let below = quantize_multiplier(f64::from(x.scale * alpha / y.scale));
        Self::new(x, below, y)
    }

    /// PRELU with slopes of scale `alpha`: below zero `QM(f64(f32(f32(sx·sα)/sy)))`.
    pub fn prelu(x: Affine, alpha: f32, y: Affine) -> Self {
        let below = quantize_multiplier(f64::from(x.scale * alpha / y.scale));
        Self::new(x, below, y)
    }

    fn new(x: Affine, below: Multiplier, y: Affine) -> Self {
        let above = ratio_multiplier(x.scale, y.scale);
        TwoSlopes { above, below, zero_points: [x.zero_point, y.zero_point] }
    }

    /// The output code of `q`; below the zero point it is multiplied by the slope's code less its
    /// zero point (1 for LEAKY_RELU). A negative multiplier is applied by its magnitude.
    pub fn eval(&self, q: i32, slope: i32) -> i32 {
        let v = q.wrapping_sub(self.zero_points[0]);
        let steps = match v >= 0 {
            true => mul_by_quantized(v, self.above),
            false => {
                let m = Multiplier::new(self.below.mantissa.wrapping_abs(), self.below.shift);
                let steps = mul_by_quantized(v.wrapping_mul(slope), m);
                if self.below.mantissa < 0 { steps.wrapping_neg() } else { steps }
            }
        };
        steps.wrapping_add(self.zero_points[1])
    }
}

/// ABS: `|q − zx|`, rescaled only if the scales differ. Section D.22.
pub fn abs_code(q: i32, x: Affine, y: Affine) -> i32 {
    let magnitude = q.wrapping_sub(x.zero_point).wrapping_abs();
    let steps = match x.scale == y.scale {
        true => magnitude,
        false => mul_by_quantized(magnitude, ratio_multiplier(x.scale, y.scale)),
    };
    steps.wrapping_add(y.zero_point)
}

/// RSQRT of int8: `MB(MB(1, m, s+20), QM(1/f64(f32(√sx·sy))), shift −20) + zy`; 0 gives the largest
/// code, a negative real (an error at run time in the reference) too. Section D.22.
pub fn rsqrt_code(q: i32, x: Affine, y: Affine, largest: i32) -> i32 {
    let v = q.wrapping_sub(x.zero_point);
    if v <= 0 {
        return largest;
    }
    let out = quantize_multiplier(1.0 / f64::from(x.scale.sqrt() * y.scale));
    let (m, s) = inv_sqrt(v);
    let root = mul_by_quantized(1, Multiplier::new(m, s.wrapping_add(20)));
    let out = Multiplier::new(out.mantissa, out.shift.wrapping_sub(20));
    mul_by_quantized(root, out).wrapping_add(y.zero_point)
}

/// SQRT of int8: `trunc(f32(√f32(sx·(q − zx)) / sy)) + zy`. Section D.22.
pub fn sqrt_code(q: i32, x: Affine, y: Affine) -> i32 {
    let real = x.scale * q.wrapping_sub(x.zero_point) as f32;
    ((real.sqrt() / y.scale) as i32).saturating_add(y.zero_point)
}

/// HARD_SWISH of 8-bit codes in 16-bit fixed point. Section D.14.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HardSwish {
    out: (i32, i32),
    relu: (i32, i32),
    zero_points: [i32; 2],
}

impl HardSwish {
    /// Of input `x` and output `y`.
    pub fn new(x: Affine, y: Affine) -> Self {
        let fine = x.scale * (1.0 / 128.0);
        let reduced = |m: f32| {
            let m = quantize_multiplier(f64::from(m));
            let mantissa = match m.mantissa >= i32::MAX - (1 << 15) {
                true => 32767,
                false => (m.mantissa + (1 << 15)) >> 16,
            };
            (mantissa, m.shift)
        };
        HardSwish {
            out: reduced(fine / y.scale),
            relu: reduced(fine / (3.0f32 / 32768.0)),
            zero_points: [x.zero_point, y.zero_point],
        }
    }

    /// The output code.
    pub fn eval(&self, q: i32) -> i32 {
        let sat16 = |v: i32| v.clamp(-32768, 32767);
        let shl =
            |v: i32, n: i32| sat16(v.saturating_mul(1i32.wrapping_shl(n.clamp(0, 15) as u32)));
        let v = i32::from((q.wrapping_sub(self.zero_points[0]) << 7) as i16);
        let product = srdhm16(v, self.out.0);
        let (mant, exp) = self.relu;
        let mut r = if exp > 0 { shl(v, exp - 1) } else { v };
        r = srdhm16(r, mant);
        r = match exp {
            e if e > 0 => shl(r, 1),
            e if e < 0 => rounding_div_by_pot(r, -e),
            _ => r,
        };
        r = (r + 32768) >> 1;
        // Truncated: C's division.
        let p = if r == -32768 && product == -32768 { 32767 } else { r * product / 32768 };
        let steps = rounding_div_by_pot(p, self.out.1.wrapping_neg());
        i32::from(steps.wrapping_add(self.zero_points[1]) as i16)
    }
}

/// Saturating rounding doubling high multiply of 16 bits, halves up.
fn srdhm16(a: i32, b: i32) -> i32 {
    if a == -32768 && b == -32768 { 32767 } else { (a * b + (1 << 14)) >> 15 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(scale: f32, zero_point: i32) -> Affine {
        Affine::new(scale, zero_point)
    }

    #[test]
    fn slopes() {
        let p = TwoSlopes::leaky_relu(at(1.0, 10), 0.25, at(0.5, -3));
        // A half of a step is rounded up by the high multiplication.
        assert_eq!([14, 10, 6, 9].map(|q| p.eval(q, 1)), [5, -3, -5, -3]);
        let negative = TwoSlopes::leaky_relu(at(1.0, 0), -0.5, at(1.0, 0));
        assert_eq!([4, -4, -3].map(|q| negative.eval(q, 1)), [4, 2, 1]);
        let p = TwoSlopes::prelu(at(1.0, 0), 0.5, at(1.0, 0));
        assert_eq!([(3, 9), (-3, 2), (-3, 1)].map(|(q, s)| p.eval(q, s)), [3, -3, -1]);
    }

    #[test]
    fn magnitudes_and_roots() {
        assert_eq!(abs_code(-5, at(0.5, 1), at(0.5, 0)), 6);
        assert_eq!(abs_code(-5, at(0.5, 1), at(1.0, 2)), 5);
        assert_eq!([0, 1, 4, 5].map(|q| sqrt_code(q, at(1.0, 0), at(0.5, 0))), [0, 2, 4, 4]);
        assert_eq!([0, 4, -1].map(|q| rsqrt_code(q, at(1.0, 0), at(0.25, 1), 127)), [127, 3, 127]);
        let p = SquaredDifference::new(at(0.5, 0), at(0.5, 0), at(0.25, -1));
        assert_eq!([(3, 1), (1, 3), (5, 5)].map(|(a, b)| p.eval(a, b)), [3, 3, -1]);
    }

    #[test]
    fn quotients() {
        let p = Division::new(at(0.5, 0), at(0.5, 0), at(1.0, 0));
        // The last one wraps the count of its shift, and the reference says 1.
        let pairs = [(7, 2), (-7, 2), (7, -2), (-6, -3), (0, 5)];
        assert_eq!(pairs.map(|(a, b)| p.eval(a, b)), [4, -3, -3, 2, 1]);
        let p = Division::new(at(1.0, 3), at(0.25, -1), at(0.5, 10));
        // (13 − 3)/((7 + 1)·0.25)/0.5 + 10
        assert_eq!(p.eval(13, 7), 20);
    }

    #[test]
    fn comparable_codes_of_one_number_are_equal() {
        assert_eq!(comparable(12, at(0.5, 2)), comparable(22, at(0.25, 2)));
        assert_eq!([-3, 2, 3].map(|q| comparable(q, at(0.5, 2))), [-640, 0, 128]);
        // Below half a step of 1/256 two numbers count as one.
        assert_eq!(comparable(1, at(0.001, 0)), comparable(0, at(0.001, 0)));
    }

    #[test]
    fn hard_swish_of_large_and_small_numbers() {
        let p = HardSwish::new(at(0.1, 0), at(0.1, 0));
        // x ≥ 3: x; x ≤ −3: 0; 1·(1 + 3)/6 = 0.67.
        assert_eq!([127, 40, -40, -128, 10, 0].map(|q| p.eval(q)), [127, 40, 0, 0, 7, 0]);
    }
}
