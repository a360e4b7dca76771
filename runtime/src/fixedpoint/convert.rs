//! QUANTIZE, DEQUANTIZE, integer requantization, and the rescale of uint8 CONCATENATION.
//!
//! Sources: sections D.16 and D.19. Pure functions over codes.

use super::Affine;
use super::multiplier::{Multiplier, mul_by_quantized, quantize_multiplier};
use super::rounding::round_half_away_f32;
use crate::dtype::DType;

/// QUANTIZE f32 → `dtype`: `clampT(int32(RNA(f32(x / s))) + z)`. Beyond int32, and for NaN, the
/// conversion gives `i32::MIN` (x86) and adding `z` wraps: the result is the type's minimum, or its
/// maximum when `z < 0`. Section D.19.
pub fn quantize_f32(x: f32, params: Affine, dtype: DType) -> i32 {
    let rounded = round_half_away_f32(x / params.scale);
    let code = if rounded.abs() < 2147483648.0 { rounded as i32 } else { i32::MIN };
    let (lo, hi) = dtype.min_max();
    i64::from(code.wrapping_add(params.zero_point)).clamp(lo, hi) as i32
}

/// DEQUANTIZE per tensor: `f32(f64(s) * (q - z))`. Section D.19.
#[inline]
pub fn dequantize_per_tensor(q: i32, params: Affine) -> f32 {
    let centred = i64::from(q) - i64::from(params.zero_point);
    (f64::from(params.scale) * centred as f64) as f32
}

/// DEQUANTIZE per axis: `f32(s_c * f32(q - z_c))`. Section D.19.
#[inline]
pub fn dequantize_per_axis(q: i32, channel: Affine) -> f32 {
    let centred = i64::from(q) - i64::from(channel.zero_point);
    channel.scale * centred as f32
}

/// QUANTIZE int → int: `MB(q - zx, QM(f64(sx) / f64(sy))) + zy`, before the clamp. Section D.19.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntRequant {
    pub multiplier: Multiplier,
    pub input_zero_point: i32,
    pub output_zero_point: i32,
}

impl IntRequant {
    /// From the parameters `x` to the parameters `y`.
    pub fn new(x: Affine, y: Affine) -> IntRequant {
        IntRequant {
            multiplier: quantize_multiplier(f64::from(x.scale) / f64::from(y.scale)),
            input_zero_point: x.zero_point,
            output_zero_point: y.zero_point,
        }
    }

    /// The output code of `q`, before the clamp.
    #[inline]
    pub fn eval(&self, q: i32) -> i32 {
        mul_by_quantized(q.wrapping_sub(self.input_zero_point), self.multiplier)
            .wrapping_add(self.output_zero_point)
    }
}

/// uint8 CONCATENATION of an input whose parameters differ from the output's:
/// `s = f32(sx * f32(1/sy))`, `b = f32(-zx * s)`, `q' = clampU8(RNA(f32(f32(q*s) + b)) + zy)`.
/// Inputs with equal parameters are copied. Section D.16.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConcatRescale {
    pub scale: f32,
    pub bias: f32,
    pub output_zero_point: i32,
}

impl ConcatRescale {
    /// `None` when the parameters are equal, bit for bit: copy the bytes.
    pub fn new(x: Affine, y: Affine) -> Option<ConcatRescale> {
        if x == y {
            return None;
        }
        let scale = x.scale * (1.0 / y.scale);
        let bias = x.zero_point.wrapping_neg() as f32 * scale;
        Some(ConcatRescale { scale, bias, output_zero_point: y.zero_point })
    }

    /// The output code of `q`, clamped.
    pub fn eval(&self, q: u8) -> u8 {
        let rounded = round_half_away_f32(f32::from(q) * self.scale + self.bias);
        (rounded as i32).saturating_add(self.output_zero_point).clamp(0, 255) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantize_ties_and_saturation() {
        let q = |x, z| quantize_f32(x, Affine::new(1.0, z), DType::I8);
        assert_eq!([q(0.5, 0), q(-0.5, 0), q(1.5, -1), q(200.0, 0)], [1, -1, 1, 127]);
        assert_eq!([q(-200.0, 0), q(126.6, 3)], [-128, 127]);
    }

    #[test]
    fn quantize_beyond_int32_wraps_with_the_zero_point() {
        for x in [f32::NAN, f32::INFINITY, -f32::INFINITY, 1e30, -1e30, 2147483648.0] {
            assert_eq!(quantize_f32(x, Affine::new(1.0, 0), DType::I8), -128, "{x}");
            assert_eq!(quantize_f32(x, Affine::new(1.0, -1), DType::I8), 127, "{x}");
            assert_eq!(quantize_f32(x, Affine::new(1.0, 5), DType::U8), 0, "{x}");
        }
    }

    #[test]
    fn dequantize() {
        assert_eq!(dequantize_per_tensor(-128, Affine::new(0.5, 127)), -127.5);
        assert_eq!(dequantize_per_axis(3, Affine::new(0.1, 0)), 0.1f32 * 3.0);
        assert_eq!(dequantize_per_tensor(i32::MIN, Affine::new(1.0, i32::MAX)), -4294967295.0);
    }

    #[test]
    fn int_requant_int8_to_uint8_flips_the_top_bit() {
        let r = IntRequant::new(Affine::new(0.3, -1), Affine::new(0.3, 127));
        for q in -128..=127 {
            assert_eq!(r.eval(q), q + 128);
        }
    }

    #[test]
    fn concat() {
        let y = Affine::new(0.5, 10);
        assert_eq!(ConcatRescale::new(y, y), None);
        let r = ConcatRescale::new(Affine::new(0.25, 4), y).unwrap();
        assert_eq!([r.eval(5), r.eval(3), r.eval(0), r.eval(255)], [11, 9, 8, 136]);
    }
}
