//! How far an output is from what was expected.

use qcc_runtime::{DType, Tensor};
use std::fmt;

/// What a comparison found.
pub struct Verdict {
    /// Within the tolerance of one of the acceptable answers?
    pub passed: bool,
    dtype: DType,
    n: usize,
    found: Difference,
}

impl Verdict {
    /// `got` against `want`, or against `other` if `want` does not pass. All have as many elements.
    pub fn new(got: &Tensor, want: &Tensor, other: Option<&Tensor>, tolerance: f64) -> Verdict {
        let found = Difference::between(got, want);
        let passed = found.is_within(tolerance)
            || other.is_some_and(|o| Difference::between(got, o).is_within(tolerance));
        Verdict { passed, dtype: got.dtype(), n: got.len(), found }
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
        Verdict::new(&t(got), &t(want), None, tolerance)
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
    fn a_second_answer_counts() {
        let t = |v: i8| Tensor::from_slice(&[v], [1]).unwrap();
        let v = Verdict::new(&t(3), &t(5), Some(&t(3)), 0.0);
        assert!(v.passed);
        assert_eq!(v.to_string(), "1 elements, 1 differ, largest difference 2 LSB");
    }
}
