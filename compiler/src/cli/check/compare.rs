//! How far an output is from what was expected.

use qcc_runtime::{DType, Tensor};
use std::fmt;

/// Share of the largest number expected that float outputs may be off by, if nobody says otherwise:
/// the order of a sum, the last bits of a function. Far less than a step of 16 bits.
const ROUNDING: f64 = 1.0 / (1 << 18) as f64;

/// What a comparison found.
pub struct Verdict {
    /// Within the tolerance of one of the acceptable answers?
    pub passed: bool,
    /// Did it pass though it is none of the acceptable answers?
    pub rounded: bool,
    dtype: DType,
    n: usize,
    found: Difference,
}

impl Verdict {
    /// `got` against `want`, or against `other` if `want` does not pass. All have as many elements.
    /// Without a tolerance integers must be equal, and floats but for rounding.
    pub fn new(
        got: &Tensor,
        want: &Tensor,
        other: Option<&Tensor>,
        tolerance: Option<f64>,
    ) -> Verdict {
        let own = tolerance.unwrap_or(match got.dtype().is_float() {
            true => ROUNDING * largest(want),
            false => 0.0,
        });
        let found = Difference::between(got, want);
        let second = other.map(|o| Difference::between(got, o));
        let within = |limit: f64| {
            found.is_within(limit) || second.as_ref().is_some_and(|d| d.is_within(limit))
        };
        let (passed, equal) = (within(own), within(0.0));
        Verdict { passed, rounded: passed && !equal, dtype: got.dtype(), n: got.len(), found }
    }
    /// How a line about it begins.
    pub fn word(&self) -> &'static str {
        if self.passed { "ok  " } else { "FAIL" }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { differing, largest, relative, .. } = &self.found;
        write!(f, "{} elements, {differing} differ, largest difference ", self.n)?;
        match self.dtype.is_float() {
            true => write!(f, "{largest:e} absolute, {relative:e} relative"),
            false => write!(f, "{largest} LSB"),
        }
    }
}

/// The largest finite magnitude.
fn largest(t: &Tensor) -> f64 {
    let finite = (0..t.len()).map(|i| t.get_f64(i).abs()).filter(|v| v.is_finite());
    finite.fold(0.0, f64::max)
}

#[derive(Default)]
struct Difference {
    differing: usize,
    largest: f64,
    relative: f64,
    /// A NaN on one side only.
    nan: bool,
}

impl Difference {
    fn between(got: &Tensor, want: &Tensor) -> Difference {
        let mut out = Difference::default();
        if got.bytes() == want.bytes() {
            return out;
        }
        for i in 0..got.len() {
            let (a, b) = (got.get_f64(i), want.get_f64(i));
            if a == b || (a.is_nan() && b.is_nan()) {
                continue;
            }
            out.differing += 1;
            out.nan |= a.is_nan() || b.is_nan();
            out.largest = out.largest.max((a - b).abs());
            out.relative = out.relative.max((a - b).abs() / b.abs().max(f64::MIN_POSITIVE));
        }
        out
    }
    fn is_within(&self, tolerance: f64) -> bool {
        self.largest <= tolerance && !self.nan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(got: &[f32], want: &[f32], tolerance: f64) -> Verdict {
        let t = |v| Tensor::from_slice(v, [v.len()]).unwrap();
        Verdict::new(&t(got), &t(want), None, Some(tolerance))
    }

    #[test]
    fn tolerance_and_nan() {
        assert!(verdict(&[1.0, f32::NAN], &[1.0, f32::NAN], 0.0).passed);
        assert!(!verdict(&[f32::NAN], &[1.0], 9.0).passed);
        assert!(verdict(&[0.0], &[-0.0], 0.0).passed);
        assert!(!verdict(&[1.0], &[1.5], 0.25).passed);
        assert!(verdict(&[1.0], &[1.5], 0.5).passed);
    }

    #[test]
    fn floats_may_differ_by_rounding() {
        let t = |v: &[f32]| Tensor::from_slice(v, [v.len()]).unwrap();
        let verdict = |got: &[f32], want: &[f32]| Verdict::new(&t(got), &t(want), None, None);
        let close = verdict(&[100.000_01, 0.0], &[100.0, 1e-5]);
        assert!(close.passed && close.rounded);
        // A step of 16 bits, and a number where nothing should be.
        assert!(!verdict(&[1.0], &[1.0 + 1.0 / 65536.0]).passed);
        assert!(!verdict(&[1e-9], &[0.0]).passed);
        let equal = verdict(&[1.5], &[1.5]);
        assert!(equal.passed && !equal.rounded);
    }

    #[test]
    fn a_second_answer_counts() {
        let t = |v: i8| Tensor::from_slice(&[v], [1]).unwrap();
        let v = Verdict::new(&t(3), &t(5), Some(&t(3)), None);
        assert!(v.passed);
        assert_eq!(v.to_string(), "1 elements, 1 differ, largest difference 2 LSB");
    }
}
