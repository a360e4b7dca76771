//! Element types of tensors.
//!
//! Invariant: [`DType`]'s text form is the type's spelling in the textual IR, and its TFLite code
//! is the `dtype` field of the compiled artefact (contract.md). Anyone may call.

use std::fmt;
use std::str::FromStr;

/// The element type of a [`Tensor`](crate::Tensor).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    F32,
    F64,
    I8,
    U8,
    I16,
    U16,
    I32,
    I64,
    Bool,
}

/// A name that is no element type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown element type `{0}` (expected f32, f64, i8, u8, i16, u16, i32, i64 or bool)")]
pub struct UnknownDType(pub String);

impl DType {
    /// Every element type, in declaration order.
    pub const ALL: [DType; 9] = [
        DType::F32,
        DType::F64,
        DType::I8,
        DType::U8,
        DType::I16,
        DType::U16,
        DType::I32,
        DType::I64,
        DType::Bool,
    ];

    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            DType::I8 | DType::U8 | DType::Bool => 1,
            DType::I16 | DType::U16 => 2,
            DType::F32 | DType::I32 => 4,
            DType::F64 | DType::I64 => 8,
        }
    }

    /// The number of this type in TFLite's `TensorType`, which contract.md uses in the C header.
    pub const fn tflite_code(self) -> i32 {
        match self {
            DType::F32 => 0,
            DType::I32 => 2,
            DType::U8 => 3,
            DType::I64 => 4,
            DType::Bool => 6,
            DType::I16 => 7,
            DType::I8 => 9,
            DType::F64 => 10,
            DType::U16 => 16,
        }
    }

    /// The inverse of [`tflite_code`](Self::tflite_code); `None` for types that qcc has not.
    pub fn from_tflite_code(code: i32) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.tflite_code() == code)
    }

    /// True for the integer types; `bool` is not one.
    pub const fn is_int(self) -> bool {
        !matches!(self, DType::F32 | DType::F64 | DType::Bool)
    }

    /// True for `f32` and `f64`.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64)
    }

    /// Smallest and largest value of an integer type. `bool` gives `(0, 1)`; a float type gives
    /// the whole of `i64`, so that clamping to it does nothing.
    pub const fn min_max(self) -> (i64, i64) {
        match self {
            DType::I8 => (i8::MIN as i64, i8::MAX as i64),
            DType::U8 => (0, u8::MAX as i64),
            DType::I16 => (i16::MIN as i64, i16::MAX as i64),
            DType::U16 => (0, u16::MAX as i64),
            DType::I32 => (i32::MIN as i64, i32::MAX as i64),
            DType::Bool => (0, 1),
            DType::I64 | DType::F32 | DType::F64 => (i64::MIN, i64::MAX),
        }
    }

    /// The spelling in the textual IR.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::I16 => "i16",
            DType::U16 => "u16",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::Bool => "bool",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DType {
    type Err = UnknownDType;

    fn from_str(s: &str) -> Result<DType, UnknownDType> {
        DType::ALL.into_iter().find(|d| d.name() == s).ok_or_else(|| UnknownDType(s.to_string()))
    }
}

/// The number that a float16 stands for: 1 bit of sign, 5 of exponent, 10 of fraction. Exact.
pub fn f32_of_half(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (1024.0 + fraction) * 2f32.powi(e - 25),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_round_trip() {
        for d in DType::ALL {
            assert_eq!(d.to_string().parse(), Ok(d));
            assert_eq!(DType::from_tflite_code(d.tflite_code()), Some(d));
        }
        assert!("i4".parse::<DType>().is_err());
        assert_eq!(DType::from_tflite_code(1), None);
    }

    #[test]
    fn ranges() {
        assert_eq!(DType::I8.min_max(), (-128, 127));
        assert_eq!(DType::U16.min_max(), (0, 65535));
        assert!(DType::U8.is_int() && !DType::Bool.is_int() && DType::F64.is_float());
    }

    #[test]
    fn half_precision() {
        let numbers = [0x3C00, 0xC100, 0x0001, 0x7BFF, 0xFC00, 0x8000].map(f32_of_half);
        assert_eq!(numbers, [1.0, -2.5, 2f32.powi(-24), 65504.0, f32::NEG_INFINITY, 0.0]);
        assert!(f32_of_half(0x7E00).is_nan());
    }
}
