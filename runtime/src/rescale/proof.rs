//! The search for constants under which a form equals its reference, and the check.
//!
//! Invariant: [`holds`] is the only way to accept constants. Source: numerics.md F.

use super::reference::{Output, Reference, Steps};
use super::{RescaleChannel, RescaleForm};
use super::{relu_f32, relu_f64, relu_fma, signed_f32, signed_f64, signed_fma};

/// Above this the magic-number rounding of f32 is not valid.
const MAX_F32: f64 = 4194304.0;
/// Likewise for f64.
const MAX_F64: f64 = 2147483648.0;
/// How far the scale is moved, in units of the last place, nearest first.
const SCALE_ULPS: [i32; 17] = [0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6, 7, -7, 8, -8];

/// What [`prove_layer_explained`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerProof {
    /// The first preferred form proven for all channels, else [`RescaleForm::Exact`].
    pub form: RescaleForm,
    /// Its constants; for `Exact`, the real multipliers with bias 0, for reports only.
    pub channels: Vec<RescaleChannel>,
    /// Each form that was tried in vain, with the first channel on which it failed.
    pub failures: Vec<(RescaleForm, usize)>,
}

/// Constants with which `form` equals `reference` on every accumulator of `acc_range` (inclusive),
/// for an output of zero point `zp` clamped to `lo..=hi`. `None` when none were found, or when the
/// reference is not monotone there (its left shift wraps). [`RescaleForm::Exact`] needs no proof.
pub fn prove_channel(
    reference: Reference,
    zp: i32,
    lo: i32,
    hi: i32,
    acc_range: (i64, i64),
    form: RescaleForm,
) -> Option<RescaleChannel> {
    if form == RescaleForm::Exact {
        return Some(RescaleChannel { scale: reference.multiplier(), bias: 0.0 });
    }
    let out = Output { zp, lo, hi };
    find_constants(reference, out, &Steps::new(reference, out, acc_range)?, form)
}

/// The first form of `prefer` that is proven for all channels, with its constants, else
/// [`RescaleForm::Exact`]. `refs` and `ranges` have one entry per channel.
pub fn prove_layer(
    refs: &[Reference],
    zp: i32,
    lo: i32,
    hi: i32,
    ranges: &[(i64, i64)],
    prefer: &[RescaleForm],
) -> (RescaleForm, Vec<RescaleChannel>) {
    let proof = prove_layer_explained(refs, zp, lo, hi, ranges, prefer);
    (proof.form, proof.channels)
}

/// [`prove_layer`], with the channel on which each rejected form failed.
pub fn prove_layer_explained(
    refs: &[Reference],
    zp: i32,
    lo: i32,
    hi: i32,
    ranges: &[(i64, i64)],
    prefer: &[RescaleForm],
) -> LayerProof {
    let out = Output { zp, lo, hi };
    // A missing range is an unknown one: empty, hence refused.
    let range = |c: usize| ranges.get(c).copied().unwrap_or((1, 0));
    let mut steps: Vec<Option<Steps>> = Vec::with_capacity(refs.len());
    let mut failures = vec![];
    for &form in prefer.iter().filter(|&&f| f != RescaleForm::Exact) {
        let mut channels = Vec::with_capacity(refs.len());
        for (c, &reference) in refs.iter().enumerate() {
            if c == steps.len() {
                steps.push(Steps::new(reference, out, range(c)));
            }
            let found = steps[c].as_ref().and_then(|s| find_constants(reference, out, s, form));
            let Some(channel) = found else {
                failures.push((form, c));
                break;
            };
            channels.push(channel);
        }
        if channels.len() == refs.len() {
            return LayerProof { form, channels, failures };
        }
    }
    let exact = |r: &Reference| RescaleChannel { scale: r.multiplier(), bias: 0.0 };
    LayerProof { form: RescaleForm::Exact, channels: refs.iter().map(exact).collect(), failures }
}

/// Tries the candidates of a form, likeliest first.
fn find_constants(
    reference: Reference,
    out: Output,
    steps: &Steps,
    form: RescaleForm,
) -> Option<RescaleChannel> {
    let accepted = |ch: &RescaleChannel| holds(form, ch, out, steps);
    if let Reference::F32Even(m) = reference {
        // `ReluF32` without an offset is this reference; the others nearly are.
        let same = RescaleChannel { scale: m.into(), bias: 0.0 };
        if accepted(&same) {
            return Some(same);
        }
    }
    match form {
        RescaleForm::ReluFma | RescaleForm::ReluF32 => {
            f32_candidates(reference, out, steps, false).find(accepted)
        }
        RescaleForm::SignedFma | RescaleForm::SignedF32 => {
            f32_candidates(reference, out, steps, true).find(accepted)
        }
        RescaleForm::ReluF64 => {
            let candidate = with_offset(out, steps, reference.multiplier(), false);
            candidate.filter(accepted)
        }
        RescaleForm::SignedF64 => f64_candidates(reference).find(accepted),
        RescaleForm::Exact => None,
    }
}

/// Scales around the exact one, each with the offset in the middle of those that put every step
/// where it belongs (in real arithmetic; [`holds`] then checks the rounded operations).
fn f32_candidates(
    reference: Reference,
    out: Output,
    steps: &Steps,
    signed: bool,
) -> impl Iterator<Item = RescaleChannel> {
    let scale = reference.multiplier() as f32;
    SCALE_ULPS.into_iter().filter_map(move |ulps| {
        let moved = f32::from_bits(scale.to_bits().checked_add_signed(ulps)?);
        if !moved.is_finite() || (ulps != 0 && scale <= 0.0) {
            return None;
        }
        let found = with_offset(out, steps, f64::from(moved), signed)?;
        Some(RescaleChannel { bias: f64::from(found.bias as f32), ..found })
    })
}

/// A scale with the offset in the middle of its interval.
fn with_offset(out: Output, steps: &Steps, scale: f64, signed: bool) -> Option<RescaleChannel> {
    let (low, high) = offset_interval(out, steps, scale, signed);
    let bias = (low + high) / 2.0;
    (low < high && bias >= 0.0).then_some(RescaleChannel { scale, bias })
}

/// The offsets b for which (acc ± b)·scale passes k − ½ between acc = t − 1 and acc = t, for every
/// threshold t of level k: with g = (k − ½)/scale − t, that is g ≤ b < g + 1 where b is added, and
/// −g − 1 < b ≤ −g where a negative accumulator takes it away (at t = 0: b ≥ g and b > −g − 1).
fn offset_interval(out: Output, steps: &Steps, scale: f64, signed: bool) -> (f64, f64) {
    let inv_scale = 1.0 / scale;
    let first = steps.first + 1 - out.zp;
    let below_zero = match signed {
        true => steps.thresholds.partition_point(|&t| t < 0),
        false => 0,
    };
    let (negative, rest) = steps.thresholds.split_at(below_zero);
    let g = |t: i32, level: i32| (f64::from(level) - 0.5) * inv_scale - f64::from(t);
    // The smallest and the largest g; written so that it becomes vectors.
    let extremes = |ts: &[i32], first: i32| {
        ts.iter().zip(first..).fold(
            (f64::INFINITY, f64::NEG_INFINITY),
            |(min, max), (&t, level)| {
                let g = g(t, level);
                (if g < min { g } else { min }, if g > max { g } else { max })
            },
        )
    };
    let (mut low, mut high) = (0.0f64, 1e9f64);
    let (least, most) = extremes(negative, first);
    low = low.max(-least - 1.0);
    high = high.min(-most);
    let mut from = below_zero;
    if signed && rest.first() == Some(&0) {
        let g = g(0, first + from as i32);
        low = low.max(g.max(-g - 1.0));
        from += 1;
    }
    let (least, most) = extremes(&steps.thresholds[from..], first + from as i32);
    low = low.max(most);
    high = high.min(least + 1.0);
    (low, if high > 1e8 { low + 1.0 } else { high })
}

/// The exact scale with the exact offset, plus half of the finest product so that an exact tie
/// goes away from zero; then the offset alone.
fn f64_candidates(reference: Reference) -> impl Iterator<Item = RescaleChannel> {
    let (scale, epsilon) = (reference.multiplier(), reference.offset());
    let biases = match reference {
        Reference::DoubleRounding(m) => {
            let half_unit = 2f64.powi(m.shift.saturating_sub(32));
            [epsilon + half_unit, epsilon, epsilon * 0.75]
        }
        Reference::F64(_) | Reference::F32Even(_) => [0.0, 2f64.powi(-40), 2f64.powi(-30)],
    };
    biases.into_iter().map(move |bias| RescaleChannel { scale, bias })
}

/// True iff the form equals the reference on all of `steps.lo..=steps.hi`: non-negative constants
/// make it monotone, the rounding trick is valid at both ends (hence between them), and values
/// agree at the ends and on both sides of every step.
fn holds(form: RescaleForm, ch: &RescaleChannel, out: Output, steps: &Steps) -> bool {
    let usable = ch.scale >= 0.0 && ch.bias >= 0.0 && ch.scale.is_finite() && ch.bias.is_finite();
    if !usable {
        return false;
    }
    let limit = if matches!(form, RescaleForm::SignedF64 | RescaleForm::ReluF64) {
        MAX_F64
    } else {
        MAX_F32
    };
    // 1 covers the roundings of the product and of the sum below the limit.
    let offset = if form == RescaleForm::SignedF64 { ch.bias } else { ch.bias * ch.scale };
    let magnitude = |acc: i32| f64::from(acc).abs() * ch.scale + offset + 1.0;
    if !(magnitude(steps.lo) < limit && magnitude(steps.hi) < limit) {
        return false;
    }
    let (s, b) = (ch.scale as f32, ch.bias as f32);
    match form {
        RescaleForm::ReluFma => agrees(|acc| relu_fma(acc, s, b), out, steps),
        RescaleForm::SignedFma => agrees(|acc| signed_fma(acc, s, b), out, steps),
        RescaleForm::ReluF32 => agrees(|acc| relu_f32(acc, s, b), out, steps),
        RescaleForm::SignedF32 => agrees(|acc| signed_f32(acc, s, b), out, steps),
        RescaleForm::ReluF64 => agrees(|acc| relu_f64(acc, ch.scale, ch.bias), out, steps),
        RescaleForm::SignedF64 => agrees(|acc| signed_f64(acc, ch.scale, ch.bias), out, steps),
        RescaleForm::Exact => true,
    }
}

/// Compares a monotone `f` (without zero point and clamp) with the steps. Levels lie within the
/// clamp, so the clamp matters only at the ends.
fn agrees(f: impl Fn(i32) -> i32, out: Output, steps: &Steps) -> bool {
    /// Steps checked between two looks at the result; a multiple of the vector width.
    const CHUNK: usize = 64;
    let clamped = |acc| f(acc).wrapping_add(out.zp).max(out.lo).min(out.hi);
    if clamped(steps.lo) != steps.first || clamped(steps.hi) != steps.last {
        return false;
    }
    let base = steps.first + 1 - out.zp;
    steps.thresholds.chunks(CHUNK).enumerate().all(|(i, chunk)| {
        let first = base + (i * CHUNK) as i32;
        let wrong = chunk.iter().zip(first..).fold(0u32, |wrong, (&t, level)| {
            wrong | u32::from(f(t) < level) | u32::from(f(t.wrapping_sub(1)) >= level)
        });
        wrong == 0
    })
}

#[cfg(test)]
mod tests {
    use super::super::eval;
    use super::*;
    use crate::fixedpoint::{Multiplier, quantize_multiplier};

    const CHEAP: [RescaleForm; 6] = [
        RescaleForm::ReluFma,
        RescaleForm::SignedFma,
        RescaleForm::ReluF32,
        RescaleForm::SignedF32,
        RescaleForm::ReluF64,
        RescaleForm::SignedF64,
    ];

    fn assert_equal_everywhere(
        reference: Reference,
        (zp, lo, hi): (i32, i32, i32),
        range: (i64, i64),
        form: RescaleForm,
    ) -> bool {
        let Some(ch) = prove_channel(reference, zp, lo, hi, range, form) else {
            return false;
        };
        for acc in range.0 as i32..=range.1 as i32 {
            let want = reference.eval(zp, lo, hi, acc);
            assert_eq!(eval(form, &ch, zp, lo, hi, acc), want, "{form:?} {reference:?} {acc}");
        }
        true
    }

    #[test]
    fn proven_constants_are_right_on_every_accumulator() {
        let mut proven = [0; 6];
        for i in 0..60 {
            let m = 0.0003 * 1.17f64.powi(i % 30);
            let reference = if i % 3 == 0 {
                Reference::F64(m)
            } else {
                Reference::DoubleRounding(quantize_multiplier(m))
            };
            for (n, form) in CHEAP.into_iter().enumerate() {
                let relu = matches!(
                    form,
                    RescaleForm::ReluF32 | RescaleForm::ReluFma | RescaleForm::ReluF64
                );
                let lo = if relu { -7 } else { -128 };
                let ok = assert_equal_everywhere(reference, (-7, lo, 127), (-70_000, 90_000), form);
                proven[n] += u32::from(ok);
            }
        }
        assert!(proven.iter().all(|&n| n >= 55), "{proven:?} of 60");
    }

    #[test]
    fn f32_even_is_its_own_cheap_form() {
        let mut fused = 0;
        for k in 0..200 {
            let m = 0.0003 * 1.041f32.powi(k);
            let reference = Reference::F32Even(m);
            let out = (5, -128, 127);
            assert!(assert_equal_everywhere(
                reference,
                out,
                (-70_000, 90_000),
                RescaleForm::ReluF32
            ));
            let form = RescaleForm::ReluFma;
            fused += u32::from(assert_equal_everywhere(reference, out, (-70_000, 90_000), form));
        }
        assert!(fused >= 190, "{fused} of 200");
        let reference = Reference::F32Even(1.0);
        let range = (0, 5_000_000);
        assert_eq!(prove_channel(reference, 0, 0, 255, range, RescaleForm::ReluF32), None);
    }

    #[test]
    fn f64_form_covers_signed_double_rounding() {
        for k in 0..200 {
            let m = Multiplier::new((1 << 30) + 5_368_709 * k + 1, -(k % 12) - 1);
            let reference = Reference::DoubleRounding(m);
            let range = (-3_000_000, 3_000_000);
            let proof = prove_channel(reference, 3, -128, 127, range, RescaleForm::SignedF64);
            assert!(proof.is_some(), "{m:?}");
        }
    }

    #[test]
    fn relu_form_fails_on_signed_output() {
        let reference = Reference::DoubleRounding(quantize_multiplier(0.0123));
        let range = (-20_000, 20_000);
        assert_eq!(prove_channel(reference, 0, -128, 127, range, RescaleForm::ReluF32), None);
        assert!(prove_channel(reference, 0, 0, 127, range, RescaleForm::ReluF32).is_some());
    }

    #[test]
    fn wrong_constants_do_not_hold() {
        let m = 0.0123;
        let reference = Reference::DoubleRounding(quantize_multiplier(m));
        let out = Output { zp: -128, lo: -128, hi: 127 };
        let steps = Steps::new(reference, out, (-50_000, 50_000)).unwrap();
        let plain = RescaleChannel { scale: f64::from(m as f32), bias: 0.0 };
        assert!(!holds(RescaleForm::ReluF32, &plain, out, &steps));
        let nan = RescaleChannel { scale: f64::NAN, bias: 0.0 };
        assert!(!holds(RescaleForm::ReluF32, &nan, out, &steps));
    }

    #[test]
    fn magic_rounding_must_be_in_range() {
        let reference = Reference::F64(1.0);
        let range = (0, 5_000_000);
        assert_eq!(prove_channel(reference, 0, 0, 255, range, RescaleForm::ReluF32), None);
        assert!(prove_channel(reference, 0, 0, 255, range, RescaleForm::SignedF64).is_some());
    }

    #[test]
    fn layers_fall_back_and_say_why() {
        let refs = [0.0123, 0.0217].map(|m| Reference::DoubleRounding(quantize_multiplier(m)));
        let ranges = [(-20_000, 20_000); 2];
        let proof = prove_layer_explained(&refs, 0, -128, 127, &ranges, &CHEAP);
        assert_eq!(proof.form, RescaleForm::SignedFma);
        assert_eq!((proof.failures, proof.channels.len()), (vec![(RescaleForm::ReluFma, 0)], 2));
        let wraps = [refs[0], Reference::DoubleRounding(Multiplier::new(1 << 30, 40))];
        const SIGNED: [RescaleForm; 2] = [RescaleForm::SignedF32, RescaleForm::SignedF64];
        let proof = prove_layer_explained(&wraps, 0, -128, 127, &ranges, &SIGNED);
        assert_eq!(proof.form, RescaleForm::Exact);
        assert_eq!(proof.failures, [(RescaleForm::SignedF32, 1), (RescaleForm::SignedF64, 1)]);
        assert_eq!(prove_layer(&refs, 0, -128, 127, &[], &CHEAP).0, RescaleForm::Exact);
    }

    #[test]
    fn constant_channels() {
        for reference in [Reference::DoubleRounding(Multiplier::ZERO), Reference::F64(0.0)] {
            for form in CHEAP {
                assert!(assert_equal_everywhere(reference, (5, -128, 127), (-100, 100), form));
            }
        }
    }
}
