//! Cheap requantization forms, and the proof that one equals the reference.
//!
//! A [`RescaleForm`] is a short sequence of float operations that vector code executes; [`eval`] is
//! its definition, with exactly those operations (no fused multiply-add, each one IEEE-rounded).
//! The reference and each form are monotone step functions of the accumulator, so they are equal
//! on a whole range iff they agree on both sides of every step and at the two ends (numerics.md F):
//! [`prove_channel`] and [`prove_layer`] check that and nothing less.
//!
//! Invariant: constants are only ever returned with a completed proof. Callers: `prove-rescale`
//! (compiler), the interpreter and the kernels' tests ([`eval`]).

mod proof;
mod reference;

pub use proof::{LayerProof, prove_channel, prove_layer, prove_layer_explained};
pub use reference::Reference;
use std::fmt;
use std::str::FromStr;

/// `1.5 * 2^23`: adding it rounds an f32 of magnitude below 2^22 to the nearest even integer, which
/// then stands in the low bits.
const MAGIC_F32: f32 = 12582912.0;
/// `1.5 * 2^52`, likewise for f64 of magnitude below 2^31 and the low 32 bits.
const MAGIC_F64: f64 = 6755399441055744.0;

/// How vector code takes an int32 accumulator to an output code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RescaleForm {
    /// `rne((f32(acc) + b) · s) + zp` with the product and the rounding in one fused step: outputs
    /// clamped at the zero point, where only `acc >= 0` matters.
    ReluFma,
    /// `rne((f32(acc) + copysign(b, acc)) · s) + zp`, product and rounding fused.
    SignedFma,
    /// As `ReluFma`, the product rounded to f32 on its own: CPUs without fused multiply-add.
    ReluF32,
    /// As `SignedFma`, the product rounded to f32 on its own.
    SignedF32,
    /// `rne((acc + b) · s) + zp` in f64: outputs clamped at the zero point.
    ReluF64,
    /// `rne(acc * s + copysign(b, acc)) + zp` in f64.
    SignedF64,
    /// The reference itself, in integers (f64 for FULLY_CONNECTED, f32 for ONNX).
    Exact,
}

impl RescaleForm {
    const NAMES: [(RescaleForm, &str); 7] = [
        (RescaleForm::ReluFma, "relu_fma"),
        (RescaleForm::SignedFma, "signed_fma"),
        (RescaleForm::ReluF32, "relu_f32"),
        (RescaleForm::SignedF32, "signed_f32"),
        (RescaleForm::ReluF64, "relu_f64"),
        (RescaleForm::SignedF64, "signed_f64"),
        (RescaleForm::Exact, "exact"),
    ];
}

impl fmt::Display for RescaleForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = RescaleForm::NAMES.iter().find(|(form, _)| form == self);
        f.write_str(named.map_or("", |(_, name)| name))
    }
}

impl FromStr for RescaleForm {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let named = RescaleForm::NAMES.iter().find(|(_, name)| *name == text);
        named.map(|(form, _)| *form).ok_or_else(|| format!("no form of requantization: {text}"))
    }
}

/// Constants of one output channel. The f32 forms hold values that f32 represents exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RescaleChannel {
    /// Output units per accumulator unit, `s`.
    pub scale: f64,
    /// Offset `b`, non-negative: in output units for `SignedF64`, else in accumulator units.
    pub bias: f64,
}

/// The output code of `acc` under a form: the definition that every emitter follows. The code is
/// clamped with max(`lo`), then min(`hi`).
///
/// # Panics
/// For [`RescaleForm::Exact`], which is no function of the channel constants: call
/// [`Reference::eval`].
#[inline]
pub fn eval(form: RescaleForm, ch: &RescaleChannel, zp: i32, lo: i32, hi: i32, acc: i32) -> i32 {
    let rounded = match form {
        RescaleForm::ReluFma => relu_fma(acc, ch.scale as f32, ch.bias as f32),
        RescaleForm::SignedFma => signed_fma(acc, ch.scale as f32, ch.bias as f32),
        RescaleForm::ReluF32 => relu_f32(acc, ch.scale as f32, ch.bias as f32),
        RescaleForm::SignedF32 => signed_f32(acc, ch.scale as f32, ch.bias as f32),
        RescaleForm::ReluF64 => relu_f64(acc, ch.scale, ch.bias),
        RescaleForm::SignedF64 => signed_f64(acc, ch.scale, ch.bias),
        RescaleForm::Exact => unreachable!("Exact has no channel constants: use Reference::eval"),
    };
    rounded.wrapping_add(zp).max(lo).min(hi)
}

/// `ReluFma` without zero point and clamp; valid while the product is below 2^22.
#[inline]
fn relu_fma(acc: i32, s: f32, b: f32) -> i32 {
    round_product(acc as f32 + b, s)
}

/// `SignedFma` without zero point and clamp; valid while the product is below 2^22.
#[inline]
fn signed_fma(acc: i32, s: f32, b: f32) -> i32 {
    let a = acc as f32;
    round_product(a + b.copysign(a), s)
}

/// `ReluF32` without zero point and clamp; valid while the product is below 2^22.
#[inline]
fn relu_f32(acc: i32, s: f32, b: f32) -> i32 {
    round_f32((acc as f32 + b) * s)
}

/// `SignedF32` without zero point and clamp; valid while the product is below 2^22.
#[inline]
fn signed_f32(acc: i32, s: f32, b: f32) -> i32 {
    let a = acc as f32;
    round_f32((a + b.copysign(a)) * s)
}

/// `ReluF64` without zero point and clamp; valid while the product is below 2^31.
#[inline]
fn relu_f64(acc: i32, s: f64, b: f64) -> i32 {
    ((f64::from(acc) + b) * s + MAGIC_F64).to_bits() as i32
}

/// `SignedF64` without zero point and clamp; valid while `|acc * s + b| < 2^31`.
#[inline]
fn signed_f64(acc: i32, s: f64, b: f64) -> i32 {
    let a = f64::from(acc);
    let t = a * s + b.copysign(a) + MAGIC_F64;
    t.to_bits() as i32
}

/// Nearest even integer of the exact product, as `fma(t, s, 1.5 · 2^23)` leaves it in the low bits:
/// f64 holds the product of two f32 exactly, and one f64 addition rounds it to an integer.
#[inline]
fn round_product(t: f32, s: f32) -> i32 {
    (f64::from(t) * f64::from(s) + MAGIC_F64).to_bits() as i32
}

/// Nearest even integer of `v`, `|v| < 2^22`.
#[inline]
fn round_f32(v: f32) -> i32 {
    ((v + MAGIC_F32).to_bits() as i32).wrapping_sub(MAGIC_F32.to_bits() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_constants() {
        assert_eq!(MAGIC_F32.to_bits(), 0x4B40_0000);
        assert_eq!(MAGIC_F64.to_bits() as u32, 0);
        let even = |v| round_f32(v);
        assert_eq!([0.5, -0.5, 1.5, -2.5, -4194303.5].map(even), [0, 0, 2, -2, -4194304]);
    }

    #[test]
    fn forms_round_to_even_after_the_offset() {
        let f64_channel = RescaleChannel { scale: 0.5, bias: 0.25 };
        let f32_channel = RescaleChannel { scale: 0.5, bias: 0.5 };
        for form in [RescaleForm::ReluF32, RescaleForm::ReluFma, RescaleForm::ReluF64] {
            let at = |acc| eval(form, &f32_channel, 10, -128, 127, acc);
            assert_eq!([-3, -1, 0, 1, 3].map(at), [9, 10, 10, 11, 12]);
        }
        for (form, ch) in [
            (RescaleForm::SignedF32, f32_channel),
            (RescaleForm::SignedFma, f32_channel),
            (RescaleForm::SignedF64, f64_channel),
        ] {
            let at = |acc| eval(form, &ch, 10, -128, 127, acc);
            assert_eq!([-3, -1, 0, 1, 3].map(at), [8, 9, 10, 11, 12]);
            assert_eq!([-1000, 1000].map(at), [-128, 127]);
        }
    }

    #[test]
    fn the_fused_product_is_what_fma_gives() {
        let mut state = 1u32;
        for _ in 0..100_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let t = (state as i32 >> 8) as f32 + 0.625;
            let s = f32::from_bits(0x3900_0000 | (state.rotate_left(9) & 0x007F_FFFF));
            let fused = t.mul_add(s, MAGIC_F32).to_bits().wrapping_sub(MAGIC_F32.to_bits());
            assert_eq!(round_product(t, s), fused as i32, "{t} {s}");
        }
    }
}
