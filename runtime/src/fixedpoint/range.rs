//! Activation ranges and window arithmetic.
//!
//! Sources: sections B.1 and B.2. Pure functions; anyone may call.

use super::rounding::round_half_away_f32;
use crate::dtype::DType;

/// An activation fused into an op.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FusedAct {
    #[default]
    None,
    Relu,
    Relu6,
    ReluN1To1,
}

/// The clamp `(lo, hi)` of a fused activation on an output of `scale`, `zero_point` and type
/// `dtype`: real bounds become `zero_point + RNA(bound / scale)` in f32, then meet the type's
/// limits. `lo > hi` is possible (then every result is `hi`, see [`clamp`]). Section B.2.
pub fn activation_range(act: FusedAct, scale: f32, zero_point: i32, dtype: DType) -> (i32, i32) {
    let (type_min, type_max) = dtype.min_max();
    let narrow = |v: i64| v.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
    let (type_min, type_max) = (narrow(type_min), narrow(type_max));
    let code = |real: f32| zero_point.saturating_add(round_half_away_f32(real / scale) as i32);
    match act {
        FusedAct::None => (type_min, type_max),
        FusedAct::Relu => (type_min.max(code(0.0)), type_max),
        FusedAct::Relu6 => (type_min.max(code(0.0)), type_max.min(code(6.0))),
        FusedAct::ReluN1To1 => (type_min.max(code(-1.0)), type_max.min(code(1.0))),
    }
}

/// `min(max(q, lo), hi)`: never panics, and gives `hi` when `lo > hi`. Section B.2.
#[inline]
pub fn clamp(q: i32, lo: i32, hi: i32) -> i32 {
    q.max(lo).min(hi)
}

/// How a window op treats the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Padding {
    /// `out = ceil(in / stride)`.
    Same,
    /// Only windows that lie inside the input.
    Valid,
}

/// One spatial dimension of a window op. Input index of tap `t` of output `o`:
/// `o * stride - before + dilation * t`; taps outside `0..in` are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Number of outputs.
    pub out: usize,
    /// Padding before the first input element.
    pub before: usize,
    /// Padding after the last input element.
    pub after: usize,
}

/// Output size and padding of a window of `k` taps, `dil` apart, moved by `stride` over `input`
/// elements. A stride of 0 counts as 1; a VALID window larger than the input gives `out = 0`.
/// Section B.1.
pub fn window_output(
    padding: Padding,
    input: usize,
    k: usize,
    stride: usize,
    dil: usize,
) -> Window {
    let stride = stride.max(1);
    let extent = k.saturating_sub(1).saturating_mul(dil).saturating_add(1);
    let out = match padding {
        Padding::Same => input.div_ceil(stride),
        Padding::Valid => input.saturating_add(stride).saturating_sub(extent) / stride,
    };
    let reach = out.saturating_sub(1).saturating_mul(stride).saturating_add(extent);
    let total = if out == 0 { 0 } else { reach.saturating_sub(input) };
    Window { out, before: total / 2, after: total - total / 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activation_ranges() {
        let at = |act, scale, zp| activation_range(act, scale, zp, DType::I8);
        assert_eq!(at(FusedAct::None, 0.1, 3), (-128, 127));
        assert_eq!(at(FusedAct::Relu, 0.1, 3), (3, 127));
        assert_eq!(at(FusedAct::Relu6, 0.1, -128), (-128, -68));
        assert_eq!(at(FusedAct::Relu6, 0.01, 0), (0, 127));
        assert_eq!(at(FusedAct::ReluN1To1, 0.4, 0), (-3, 3));
        assert_eq!(at(FusedAct::Relu6, 1e-38, 0), (0, 127));
        assert_eq!(at(FusedAct::Relu6, 0.1, 300), (300, 127));
        assert_eq!(clamp(0, 300, 127), 127);
        let uint8 = activation_range(FusedAct::Relu6, 6.0 / 255.0, 0, DType::U8);
        assert_eq!(uint8, (0, 255));
        assert_eq!(activation_range(FusedAct::None, 1.0, 0, DType::I64), (i32::MIN, i32::MAX));
    }

    #[test]
    fn windows() {
        let same = |i, k, s, d| {
            let w = window_output(Padding::Same, i, k, s, d);
            (w.out, w.before, w.after)
        };
        assert_eq!(same(224, 3, 2, 1), (112, 0, 1));
        assert_eq!(same(7, 3, 1, 1), (7, 1, 1));
        assert_eq!(same(10, 3, 1, 2), (10, 2, 2));
        assert_eq!(same(5, 1, 3, 1), (2, 0, 0));
        assert_eq!(same(0, 3, 1, 1), (0, 0, 0));
        let valid = |i, k, s| window_output(Padding::Valid, i, k, s, 1).out;
        assert_eq!((valid(7, 3, 2), valid(7, 7, 1), valid(3, 5, 1), valid(8, 2, 3)), (3, 1, 0, 3));
    }
}
