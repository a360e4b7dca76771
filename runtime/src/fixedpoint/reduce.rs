//! MEAN over axes, L2_NORMALIZATION of rows.
//!
//! Source: sections D.9 and D.22. Callers of MEAN sum the codes; all clamp.

use super::Affine;
use super::gemmlowp::inv_sqrt;
use super::multiplier::{Multiplier, mul_by_quantized, quantize_multiplier};

/// Constants of MEAN over `count` elements: the division is folded into the multiplier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeanParams {
    /// `floor((M << k) / n)` and `s - k`; not normalised.
    pub multiplier: Multiplier,
    /// `zx * n`, low 32 bits.
    pub offset: i32,
    pub output_zero_point: i32,
}

impl MeanParams {
    /// `(M, s) = QM(sx / sy)`, `k = min(floor(log2 n), 32, 31 + s)`. A `count` of 0 counts as 1.
    pub fn new(x: Affine, y: Affine, count: usize) -> MeanParams {
        let n = i64::try_from(count.max(1)).unwrap_or(i64::MAX);
        let m = quantize_multiplier(f64::from(x.scale) / f64::from(y.scale));
        let k = (n.ilog2() as i32).min(32).min(m.shift.saturating_add(31));
        let mantissa = (i64::from(m.mantissa) << k) / n;
        MeanParams {
            multiplier: Multiplier::new(mantissa as i32, m.shift - k),
            offset: x.zero_point.wrapping_mul(n as i32),
            output_zero_point: y.zero_point,
        }
    }

    /// The output code of `sum`, the sum of `count` input codes; before the clamp.
    #[inline]
    pub fn finish(&self, sum: i64) -> i32 {
        let centred = (sum as i32).wrapping_sub(self.offset);
        mul_by_quantized(centred, self.multiplier).wrapping_add(self.output_zero_point)
    }
}

/// One row of L2_NORMALIZATION: `MB(d·2^left, m, s + more)` of each difference d from the zero
/// point, with `(m, s) = 1/√Σd²`. int8 has `left` 0 and `more` 7, uint8 7 and 0. Steps above the
/// output's zero point, not clamped. Section D.22.
pub fn l2_normalize_row(differences: &[i32], out: &mut [i32], left: u32, more: i32) {
    let square = |sum: i32, &d: &i32| sum.wrapping_add(d.wrapping_mul(d));
    let (mantissa, shift) = inv_sqrt(differences.iter().fold(0, square));
    let m = Multiplier::new(mantissa, shift + more);
    for (y, &d) in out.iter_mut().zip(differences) {
        *y = mul_by_quantized(d.wrapping_shl(left), m);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_values() {
        let p = MeanParams::new(Affine::new(0.5, 3), Affine::new(0.5, -1), 4);
        assert_eq!(p.multiplier, Multiplier::new(1 << 30, -1));
        // (3 + 5 + 3 + 3) - 12 = 2 -> 0.5 -> away from zero -> 1, plus zy.
        assert_eq!((p.finish(14), p.finish(12), p.finish(10)), (0, -1, -2));
        let q = MeanParams::new(Affine::new(0.25, 0), Affine::new(0.5, 0), 49);
        assert_eq!((q.finish(49 * 100), q.finish(-49 * 3)), (50, -2));
    }

    #[test]
    fn rows_of_length_one() {
        let mut y = [0; 3];
        // (3, 4, 0)/5 in steps of 1/128; uint8 rounds once less.
        l2_normalize_row(&[3, 4, 0], &mut y, 0, 7);
        assert_eq!(y, [77, 102, 0]);
        l2_normalize_row(&[-3, 4, 0], &mut y, 7, 0);
        assert_eq!(y, [-77, 102, 0]);
        l2_normalize_row(&[0, 0, 0], &mut y, 0, 7);
        assert_eq!(y, [0, 0, 0]);
    }

    #[test]
    fn extreme_ratios_do_not_panic() {
        for (sx, sy, n) in [(1e-38, 1.0, usize::MAX), (1e38, 1e-38, 7), (0.0, 0.0, 0)] {
            MeanParams::new(Affine::new(sx, 300), Affine::new(sy, 0), n).finish(i64::MIN);
        }
    }
}
