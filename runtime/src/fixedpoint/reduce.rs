//! MEAN over axes.
//!
//! Source: section D.9. Callers sum the codes and clamp.

use super::Affine;
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
    fn extreme_ratios_do_not_panic() {
        for (sx, sy, n) in [(1e-38, 1.0, usize::MAX), (1e38, 1e-38, 7), (0.0, 0.0, 0)] {
            MeanParams::new(Affine::new(sx, 300), Affine::new(sy, 0), n).finish(i64::MIN);
        }
    }
}
