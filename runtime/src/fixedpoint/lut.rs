//! Tables: 256-entry tables of 8-bit functions, 513-entry interpolated int16 tables, and the
//! int16 LOGISTIC and TANH.
//!
//! Sources: sections C (LUT8, LUT16) and D.13. Transcendentals are computed in f64 and rounded
//! once to f32, which equals glibc's f32 functions on every table tried.

use super::Affine;
use super::add::checked_log2;
use super::rounding::round_half_away_f32;
use crate::dtype::DType;

/// The 256-entry table of `y = f(x)` for 8-bit codes, indexed by the code's byte (`q as u8`):
/// `v = RNA(f(f32(sx * (q - zx))) * f32(1 / sy))`, `out = clampT(trunc(v + zy))`, all f32.
/// `dtype` is `I8` or `U8`. Section C LUT8.
pub fn lut8(f: impl Fn(f32) -> f32, x: Affine, y: Affine, dtype: DType) -> [u8; 256] {
    let (lo, hi): (i32, i32) = if dtype == DType::U8 { (0, 255) } else { (-128, 127) };
    let inv_scale = 1.0 / y.scale;
    let mut table = [0; 256];
    for q in lo..=hi {
        let real = x.scale * q.wrapping_sub(x.zero_point) as f32;
        let code = round_half_away_f32(f(real) * inv_scale) + y.zero_point as f32;
        table[usize::from(q as u8)] = (code as i32).clamp(lo, hi) as u8;
    }
    table
}

/// 8-bit LOGISTIC's function, `1 / (1 + exp(-v))` in f32. Section D.13.
pub fn logistic8(v: f32) -> f32 {
    1.0 / (1.0 + f64::from(-v).exp() as f32)
}

/// 8-bit TANH's function. Section D.13.
pub fn tanh8(v: f32) -> f32 {
    f64::from(v).tanh() as f32
}

/// 8-bit EXP's function. Section D.22.
pub fn exp8(v: f32) -> f32 {
    f64::from(v).exp() as f32
}

/// 8-bit LOG's function; `least`, the real number of the smallest code, for what is not positive.
/// Section D.22.
pub fn log8(v: f32, least: f32) -> f32 {
    if v <= 0.0 { least } else { f64::from(v).ln() as f32 }
}

/// 8-bit ELU's function. Section D.15.
pub fn elu8(v: f32) -> f32 {
    if v < 0.0 { f64::from(v).exp_m1() as f32 } else { v }
}

/// 8-bit GELU's function, exact: `0.5·v·erfc(v·f32(−√½))`. Section D.15.
pub fn gelu8(v: f32) -> f32 {
    let scaled = v * -std::f32::consts::FRAC_1_SQRT_2;
    0.5 * v * libm::erfc(f64::from(scaled)) as f32
}

/// 8-bit GELU's function, approximate: `0.5·v·(1 + tanh(f32(√(2/π))·(v + 0.044715·v·v·v)))`.
/// Section D.15.
pub fn gelu_tanh8(v: f32) -> f32 {
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
    let root = (FRAC_2_SQRT_PI * FRAC_1_SQRT_2) as f32;
    0.5 * v * (1.0 + tanh8(root * (v + 0.044_715 * v * v * v)))
}

/// A 513-entry int16 table over 512 equal steps.
pub type Lut16 = [i16; 513];

/// In which precision [`lut16_build`] computes: f64 for SOFTMAX, f32 for int16 GELU, EXP, LOG.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lut16Float {
    F32,
    F64,
}

/// LUT16 of `f` on `input = [min, max]` with codes spread over `output = [min, max]`; each entry
/// is moved by half the interpolation error at the middle of its step. Section C LUT16.
pub fn lut16_build(
    f: impl Fn(f64) -> f64,
    input: [f64; 2],
    output: [f64; 2],
    float: Lut16Float,
) -> Lut16 {
    // f32 arithmetic is f64 arithmetic rounded after each +, -, *, /: double rounding is innocuous.
    let r = |v: f64| {
        if float == Lut16Float::F32 { f64::from(v as f32) } else { v }
    };
    let f = |v: f64| r(f(v));
    let code = |v: f64| v.clamp(-32768.0, 32767.0) as i16;
    let step = r(r(input[1] - input[0]) / 512.0);
    let half_step = r(step / 2.0);
    let inv = r(65536.0 / r(output[1] - output[0]));
    let mut table = [0; 513];
    for (i, entry) in table.iter_mut().take(512).enumerate() {
        let start = r(input[0] + r(i as f64 * step));
        let value = r(f(start) * inv).round();
        let next = r(f(r(input[0] + r((i + 1) as f64 * step))) * inv);
        let middle = r(f(r(start + half_step)) * inv).round();
        let interpolated = r(r(next + value) / 2.0).round();
        *entry = code(value - r(r(interpolated - middle) / 2.0).round());
    }
    table[512] = code(r(f(input[1]) * inv).round());
    table
}

/// Interpolated lookup of an int16 code `v`: `i = 256 + (v >> 7)`, `off = v & 127`,
/// `t[i] + ((t[i+1] - t[i]) * off + 64 >> 7)` with int16 wrapping. Section C LUT16.
#[inline]
pub fn lut16_lookup(v: i16, table: &Lut16) -> i16 {
    let i = (256 + (i32::from(v) >> 7)) as usize;
    let slope = i32::from(table[i + 1].wrapping_sub(table[i]));
    let delta = (slope * (i32::from(v) & 127) + 64) >> 7;
    table[i].wrapping_add(delta as i16)
}

/// `sigmoid(i / 24)` in 0.16 as the reference ships it: rounded, except for the entries below.
const fn sigmoid_is_one_above(i: usize) -> bool {
    #[rustfmt::skip]
    const ONE_ABOVE: [u8; 44] = [
        4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39, 40,
        41, 43, 44, 45, 46, 49, 50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135, 255,
    ];
    let mut k = 0;
    while k < ONE_ABOVE.len() {
        if ONE_ABOVE[k] as usize == i {
            return true;
        }
        k += 1;
    }
    false
}

fn sigmoid_table() -> &'static [i32; 256] {
    static TABLE: std::sync::OnceLock<[i32; 256]> = std::sync::OnceLock::new();
    TABLE.get_or_init(|| {
        std::array::from_fn(|i| {
            let exact = (65536.0 / (1.0 + (-(i as f64) / 24.0).exp()) + 0.5).floor();
            exact.min(65535.0) as i32 + i32::from(sigmoid_is_one_above(i))
        })
    })
}

/// How int16 LOGISTIC and TANH bring a code to the grid of their table: `(q*mult + half) >> shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act16 {
    pub mult: i32,
    pub shift: u32,
}

impl Act16 {
    /// Constants of LOGISTIC for an input scale: exact at 2^-12, otherwise `f64(s) * 12288` doubled
    /// while at most 16383.5 (at most 31 times), truncated. Section D.13.
    pub fn logistic(scale: f32) -> Act16 {
        Act16::new(scale, 0..=0)
    }

    /// Constants of TANH for an input scale: exact also at 2^-11. Section D.13.
    pub fn tanh(scale: f32) -> Act16 {
        Act16::new(scale, 0..=1)
    }

    fn new(scale: f32, exact_shifts: std::ops::RangeInclusive<i32>) -> Act16 {
        let left = checked_log2(scale).map(|l| l.saturating_add(12));
        if let Some(left) = left.filter(|l| exact_shifts.contains(l)) {
            return Act16 { mult: 3 << left, shift: 0 };
        }
        let (mut mult, mut shift) = (f64::from(scale) * 4096.0 * 3.0, 0);
        while mult <= 32767.0 / 2.0 && shift <= 30 {
            mult *= 2.0;
            shift += 1;
        }
        Act16 { mult: mult as i32, shift }
    }

    fn to_grid(self, q: i16) -> i32 {
        let half = (1i64 << self.shift) >> 1;
        ((i64::from(q) * i64::from(self.mult) + half) >> self.shift) as i32
    }
}

/// Interpolates the sigmoid table at `a / 2^bits` steps; past its end gives `end << bits`.
fn interpolate_sigmoid(a: i32, bits: u32, end: i32) -> i32 {
    let i = (a >> bits) as usize;
    if i >= 255 {
        return end << (bits + u32::from(bits == 9));
    }
    let table = sigmoid_table();
    (table[i] << bits) + (a & ((1 << bits) - 1)) * (table[i + 1] - table[i])
}

/// LOGISTIC of an int16 code; the output has scale 2^-15 and zero point 0. Section D.13.
pub fn logistic16(q: i16, params: Act16) -> i16 {
    let v = params.to_grid(q);
    let r = interpolate_sigmoid(v.saturating_abs(), 9, 0x7FFF);
    (if v >= 0 { r + 512 } else { (1 << 25) - r + 511 } >> 10) as i16
}

/// TANH of an int16 code; the output has scale 2^-15 and zero point 0. Section D.13.
pub fn tanh16(q: i16, params: Act16) -> i16 {
    let v = params.to_grid(q);
    let r = interpolate_sigmoid(v.saturating_abs(), 8, 0xFFFF);
    (if v >= 0 { r - (1 << 23) + 128 } else { -r + (1 << 23) + 127 } >> 8) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lut8_rounds_and_saturates() {
        let (x, y) = (Affine::new(0.5, 0), Affine::new(1.0, 0));
        let t = lut8(|v| v, x, y, DType::I8);
        assert_eq!([t[1], t[255], t[3]].map(|b| b as i8), [1, -1, 2]);
        let t = lut8(|v| 1e30 * v, x, y, DType::I8);
        assert_eq!([t[1], t[128], t[0]].map(|b| b as i8), [127, -128, 0]);
        let t = lut8(logistic8, Affine::new(0.1, 128), Affine::new(1.0 / 256.0, 0), DType::U8);
        assert_eq!((t[128], t[0], t[255]), (128, 0, 255));
        assert_eq!(tanh8(0.0), 0.0);
    }

    #[test]
    fn lut16_interpolates() {
        let t = lut16_build(|v| v, [-1.0, 1.0], [-1.0, 1.0], Lut16Float::F64);
        assert_eq!((t[0], t[256], t[512]), (-32768, 0, 32767));
        assert_eq!([0, 64, -64, -32768].map(|v| lut16_lookup(v, &t)), [0, 64, -64, -32768]);
    }

    #[test]
    fn int16_logistic_and_tanh() {
        let p = Act16::logistic(2f32.powi(-12));
        assert_eq!(p, Act16 { mult: 3, shift: 0 });
        assert_eq!([0, 32767, -32768].map(|q| logistic16(q, p)), [16384, 32757, 11]);
        assert_eq!(Act16::tanh(2f32.powi(-11)), Act16 { mult: 6, shift: 0 });
        let p = Act16::tanh(0.0001);
        assert_eq!((p.shift, tanh16(0, p)), (14, 0));
        for q in [-30000, -1, 500, 9000] {
            let want = (f64::from(q) * 0.0001).tanh() * 32768.0;
            assert!((f64::from(tanh16(q as i16, p)) - want).abs() < 3.0, "{q}");
        }
        Act16::tanh(f32::NAN);
        logistic16(-5, Act16::logistic(1e30));
    }
}
