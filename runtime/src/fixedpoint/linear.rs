//! What ONNX Runtime's quantized kernels compute: f32 scales, halves to even.
//!
//! Source: section E (CPU provider, x86-64 with AVX2). Functions over single codes give the result
//! *with* the zero point, saturated to the type's limits; a NaN becomes the smallest code.

use super::Affine;

/// How far results before the zero point may lie: beyond every code, and exact in f32.
const LIMIT: f32 = (1 << 30) as f32;

/// Nearest integer of `v`, halves to even, limited to ±2^30; NaN is the least.
#[inline]
pub fn round_even_limited(v: f32) -> i32 {
    if v.is_nan() { -(1 << 30) } else { v.clamp(-LIMIT, LIMIT).round_ties_even() as i32 }
}

/// The requantization of QLinearConv, QLinearMatMul and QGemm: `RNE(f32(f32(acc) · m))`, limited to
/// ±2^30; the caller adds the zero point and clamps. `f32(acc)` rounds above 2^24.
#[inline]
pub fn requantize_f32_even(acc: i32, m: f32) -> i32 {
    round_even_limited(acc as f32 * m)
}

/// The multiplier of an accumulator: `f32(f32(sx · sw) / sy)`.
pub fn product_scale(x: f32, w: f32, y: f32) -> f32 {
    x * w / y
}

/// QuantizeLinear: `RNE(f32(x / s)) + z`, saturated to `lo..=hi`.
#[inline]
pub fn quantize_linear(x: f32, params: Affine, (lo, hi): (i32, i32)) -> i32 {
    round_even_limited(x / params.scale).saturating_add(params.zero_point).max(lo).min(hi)
}

/// DequantizeLinear: `f32(f32(q − z) · s)`.
#[inline]
pub fn dequantize_linear(q: i32, params: Affine) -> f32 {
    q.wrapping_sub(params.zero_point) as f32 * params.scale
}

/// QLinearAdd on codes: `RNE(fma(a, ra, fma(b, rb, offset)))`, ra = sa/sy, rb = sb/sy,
/// offset = zy − fma(ra, za, f32(rb · zb)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearAdd {
    /// Output steps per step of a and of b.
    pub scales: [f32; 2],
    /// What is left of the zero points.
    pub offset: f32,
}

impl LinearAdd {
    /// Of inputs `a` and `b` and output `y`.
    pub fn new(a: Affine, b: Affine, y: Affine) -> LinearAdd {
        let scales = [a.scale / y.scale, b.scale / y.scale];
        let zero_points = scales[1] * b.zero_point as f32;
        let zero_points = scales[0].mul_add(a.zero_point as f32, zero_points);
        LinearAdd { scales, offset: y.zero_point as f32 - zero_points }
    }

    /// `fma(b, rb, offset)`: what a code of b adds.
    #[inline]
    pub fn second(&self, b: i32) -> f32 {
        (b as f32).mul_add(self.scales[1], self.offset)
    }

    /// The output code, not yet clamped.
    #[inline]
    pub fn eval(&self, a: i32, b: i32) -> i32 {
        round_even_limited((a as f32).mul_add(self.scales[0], self.second(b)))
    }
}

/// QLinearMul: `RNE(f32(f32(p · r) + zy))`, p = (a − za)·(b − zb), r = [`product_scale`]; the output
/// code, not yet clamped.
#[inline]
pub fn linear_mul(product: i32, scale: f32, zero_point: i32) -> i32 {
    round_even_limited(product as f32 * scale + zero_point as f32)
}

/// QLinearSoftmax's exponentials: entry i is exp((i − 255 + shift)·sx) in f64, rounded to f32; the
/// shift keeps sums of `row` of them finite, and large.
pub fn softmax_table(x_scale: f32, row: usize) -> [f32; 256] {
    let largest = (f32::MAX / row.max(1) as f32).ln() - 5.0;
    let shift = f64::from(largest.max(0.0)) / f64::from(x_scale);
    std::array::from_fn(|i| ((i as f64 - 255.0 + shift) * f64::from(x_scale)).exp() as f32)
}

/// QLinearSoftmax of one row of codes: t = table\[x − max + 255\], summed from first to last;
/// `RNE(f64(t) · ⌊1/sy⌋ / f64(sum)) + zy` in f64, saturated to `lo..=hi`. (Section E has that step
/// in f32, which is wrong at exact halves: 6 of 300 random operators told them apart.)
pub fn softmax_linear(
    table: &[f32],
    (y_inverse, zero_point): (f32, i32),
    (lo, hi): (i32, i32),
    x: &[i32],
    y: &mut [i32],
) {
    let max = x.iter().copied().max().unwrap_or(0);
    let term = |q: i32| {
        let at = usize::try_from(q.wrapping_sub(max).wrapping_add(255));
        at.ok().and_then(|i| table.get(i)).copied().unwrap_or(0.0)
    };
    let sum = x.iter().fold(0.0f32, |sum, &q| sum + term(q));
    for (y, &q) in y.iter_mut().zip(x) {
        let steps = f64::from(term(q)) * f64::from(y_inverse) / f64::from(sum);
        // NaN (scales of 0) is the most.
        let steps = if steps < LIMIT.into() { steps } else { LIMIT.into() };
        let steps = steps.round_ties_even() as i32;
        *y = steps.saturating_add(zero_point).max(lo).min(hi);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const I8: (i32, i32) = (-128, 127);

    #[test]
    fn halves_go_to_the_even_neighbour() {
        let at = |acc| requantize_f32_even(acc, 0.5);
        assert_eq!([-5, -3, -1, 0, 1, 3, 5].map(at), [-2, -2, 0, 0, 0, 2, 2]);
        assert_eq!(requantize_f32_even(i32::MAX, 4.0), 1 << 30);
        assert_eq!(requantize_f32_even((1 << 24) + 1, 1.0), 1 << 24);
        assert_eq!(requantize_f32_even(0, f32::INFINITY), -(1 << 30));
    }

    #[test]
    fn quantize_saturates_and_divides() {
        let q = |x, z| quantize_linear(x, Affine::new(0.5, z), I8);
        assert_eq!([0.25, 0.75, -0.25, -0.75, 1.25].map(|x| q(x, 0)), [0, 2, 0, -2, 2]);
        assert_eq!([0.25, -0.25].map(|x| q(x, 1)), [1, 1]);
        assert_eq!([1e30, -1e30, f32::INFINITY, f32::NAN].map(|x| q(x, 3)), [127, -128, 127, -128]);
        // A quotient of 4.5; times the reciprocal it would be above.
        let (x, s) = (0.0135f32, 0.003f32);
        assert_eq!((x / s, quantize_linear(x, Affine::new(s, 0), I8)), (4.5, 4));
        assert!(x * (1.0 / s) > 4.5);
        assert_eq!(dequantize_linear(-128, Affine::new(0.1, 127)), -255.0 * 0.1f32);
    }

    #[test]
    fn add_works_on_codes() {
        let unit = |z| Affine::new(0.5, z);
        let p = LinearAdd::new(unit(10), unit(-3), Affine::new(1.0, 4));
        assert_eq!((p.scales, p.offset), ([0.5, 0.5], 0.5));
        // (20 − 10)/2 + (2 + 3)/2 + 4 = 11.5; the even neighbours of 11.5 and 10.5.
        assert_eq!([(20, 2), (20, 0), (20, 1)].map(|(a, b)| p.eval(a, b)), [12, 10, 11]);
    }

    #[test]
    fn mul_adds_the_zero_point_before_rounding() {
        assert_eq!([1, 3, -1].map(|p| linear_mul(p, 0.5, 1)), [2, 2, 0]);
        assert_eq!(linear_mul(1, 0.500_000_1, 127), 128);
    }

    #[test]
    fn softmax_rows() {
        let table = softmax_table(0.1, 3);
        let mut y = [0; 3];
        softmax_linear(&table, (256.0, 0), (0, 255), &[10, 10, 10], &mut y);
        assert_eq!(y, [85; 3]);
        softmax_linear(&table, (256.0, 0), (0, 255), &[255, 0, 0], &mut y);
        assert_eq!(y, [255, 0, 0]);
        // 255/6 = 42.5, had the sum and the product not been rounded to f32.
        let table = softmax_table(0.063_268_34, 11);
        let (x, mut y) = ([255, 0, 255, 255, 0, 0, 255, 0, 255, 0, 255], [0; 11]);
        softmax_linear(&table, (255.0, 0), (0, 255), &x, &mut y);
        assert_eq!(y[..3], [42, 0, 42]);
        assert!(table.iter().all(|t| t.is_finite()));
    }
}
