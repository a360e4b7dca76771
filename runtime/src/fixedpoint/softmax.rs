//! SOFTMAX of int8, uint8 (output of the same type or int16) and int16, LOG_SOFTMAX of 8 bits.
//!
//! Source: sections D.11 and D.12. The reference is fixed point for 8-bit inputs and two interpolated tables
//! for int16. Callers split a tensor into rows of the last axis.

use super::gemmlowp::{exp_on_negative_values, get_reciprocal, log_x};
use super::lut::{Lut16, Lut16Float, lut16_build, lut16_lookup};
use super::multiplier::{
    Multiplier, mul_by_quantized, quantize_multiplier, rounding_div_by_pot, srdhm,
};

/// Integer bits of the scaled difference that 8-bit SOFTMAX feeds to `exp`.
const DIFF_BITS: i32 = 5;
/// Integer bits of the sum of exponentials.
const SUM_BITS: i32 = 12;

/// Constants of SOFTMAX over 8-bit inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftmaxParams {
    /// Takes a difference of codes to Q5.
    pub multiplier: Multiplier,
    /// Differences below this count as minus infinity.
    pub diff_min: i32,
}

impl SoftmaxParams {
    /// `QM(min(beta * sx * 2^26, 2^31 - 1))` in f64, and `diff_min = -floor(31 * 2^26 / 2^shift)`.
    pub fn new(beta: f32, scale: f32) -> SoftmaxParams {
        let one = f64::from(1u32 << (31 - DIFF_BITS));
        let real = (f64::from(beta) * f64::from(scale) * one).min(f64::from(i32::MAX));
        let multiplier = quantize_multiplier(real);
        let largest = f64::from((1 << DIFF_BITS) - 1) * one / 2f64.powi(multiplier.shift);
        SoftmaxParams { multiplier, diff_min: -(largest.floor() as i32) }
    }

    /// `exp` of a code difference `d = -i` in Q0 at index `i`, 0 below `diff_min`: everything a
    /// row needs (an entry of 0 adds 0 to the sum and gives the smallest output code).
    pub fn exp_table(&self) -> [i32; 256] {
        std::array::from_fn(|i| {
            let d = -(i as i32);
            if d < self.diff_min {
                return 0;
            }
            exp_on_negative_values(mul_by_quantized(d, self.multiplier), DIFF_BITS)
        })
    }
}

/// The output type of SOFTMAX over 8-bit inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SoftmaxOut {
    I8,
    U8,
    I16,
}

impl SoftmaxOut {
    /// `(bits, smallest code, largest code)`.
    const fn limits(self) -> (i32, i32, i32) {
        match self {
            SoftmaxOut::I8 => (8, -128, 127),
            SoftmaxOut::U8 => (8, 0, 255),
            SoftmaxOut::I16 => (16, -32768, 32767),
        }
    }
}

/// One row of 8-bit SOFTMAX: `out[j]` = code of `exp(x[j] - max) / Σ exp`, clamped to the type.
/// `table` is [`SoftmaxParams::exp_table`]; as many elements as the shorter slice has are written.
///
/// `sum = Σ RDP(e, 12)` (wrapping), `(r, bits) = recip_norm(sum, 12)`,
/// `q = clamp(RDP(r ⊗ e, bits + 31 - outbits) + Tmin)`.
pub fn softmax_row<T>(table: &[i32; 256], x: &[T], out: &mut [i32], out_type: SoftmaxOut)
where
    T: Copy + Into<i32>,
{
    let Some(max) = x.iter().map(|&q| q.into()).max() else {
        return;
    };
    let exp = |q: T| table.get((max - q.into()) as usize).copied().unwrap_or(0);
    let sum =
        x.iter().fold(0i32, |sum, &q| sum.wrapping_add(rounding_div_by_pot(exp(q), SUM_BITS)));
    let (reciprocal, bits) = get_reciprocal(sum, SUM_BITS);
    let (out_bits, lo, hi) = out_type.limits();
    for (y, &q) in out.iter_mut().zip(x) {
        let code = rounding_div_by_pot(srdhm(reciprocal, exp(q)), bits + 31 - out_bits);
        *y = code.saturating_add(lo).clamp(lo, hi);
    }
}

/// Constants of LOG_SOFTMAX over 8-bit inputs. Section D.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSoftmaxParams {
    /// As of SOFTMAX with a factor of 1.
    pub softmax: SoftmaxParams,
    /// From Q5 back to differences of codes.
    pub back: Multiplier,
}

impl LogSoftmaxParams {
    /// Of inputs of `scale`: `back = QM(2^(31 − s)/M)`.
    pub fn new(scale: f32) -> LogSoftmaxParams {
        let softmax = SoftmaxParams::new(1.0, scale);
        let Multiplier { mantissa, shift } = softmax.multiplier;
        let real = 2f64.powi(31 - shift) / f64::from(mantissa.max(1));
        LogSoftmaxParams { softmax, back: quantize_multiplier(real) }
    }

    /// A code difference `d = -i` in Q5 at index `i`.
    pub fn diff_table(&self) -> [i32; 256] {
        std::array::from_fn(|i| mul_by_quantized(-(i as i32), self.softmax.multiplier))
    }

    /// ln of a row's sum in Q5, and the largest difference whose output is the smallest code.
    pub fn of_row(&self, sum: i32) -> (i32, i32) {
        let log = log_x(sum.max(ONE_TERM));
        let cut = mul_by_quantized(log.wrapping_add(i32::MIN), self.back);
        (log, cut.max(self.softmax.diff_min.wrapping_sub(1)))
    }
}

/// The least sum of a row: its largest element adds exp(0) = 1 in Q12. (Of more than 4095 elements
/// the sum may wrap, which the reference does not define.)
const ONE_TERM: i32 = 1 << (31 - SUM_BITS);

/// One row of 8-bit LOG_SOFTMAX: `x − max − ln Σ exp(x − max)` in steps of 1/16 below the largest
/// code, clamped to `[lo, hi]`, the codes of the output's type. Section D.12.
pub fn log_softmax_row(p: &LogSoftmaxParams, x: &[i32], out: &mut [i32], (lo, hi): (i32, i32)) {
    let Some(&max) = x.iter().max() else { return };
    let (exp, diff) = (p.softmax.exp_table(), p.diff_table());
    let below = |q: i32| max.wrapping_sub(q).clamp(0, 255) as usize;
    let term = |q: &i32| rounding_div_by_pot(exp[below(*q)], SUM_BITS);
    let sum = x.iter().map(term).fold(0, i32::wrapping_add);
    let (log, cut) = p.of_row(sum);
    for (y, &q) in out.iter_mut().zip(x) {
        let steps = rounding_div_by_pot(diff[below(q)].wrapping_sub(log), LOG_STEP_BITS);
        let code = steps.saturating_add(hi).clamp(lo, hi);
        *y = if -(below(q) as i32) > cut { code } else { lo };
    }
}

/// From Q5 to sixteenths.
const LOG_STEP_BITS: i32 = 31 - DIFF_BITS - 4;

/// Constants of SOFTMAX int16 → int16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax16Params {
    /// Takes a difference of codes to the exp table's scale, 10/65535.
    pub multiplier: Multiplier,
}

impl Softmax16Params {
    /// `QM(f64(f32(sx * beta)) / (10 / 65535))`.
    pub fn new(beta: f32, scale: f32) -> Softmax16Params {
        let multiplier = quantize_multiplier(f64::from(scale * beta) / (10.0 / 65535.0));
        Softmax16Params { multiplier }
    }
}

/// The two tables of int16 SOFTMAX; the same for every op.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Softmax16Tables {
    /// `exp` on `[-10, 0]`.
    pub exp: Lut16,
    /// `1 / (1 + x)` on `[0, 1]`.
    pub reciprocal: Lut16,
}

impl Softmax16Tables {
    /// Builds both tables in f64; outputs have scale 2/65535.
    pub fn new() -> Softmax16Tables {
        const RANGE: f64 = 65535.0;
        let output = [2.0 / RANGE * -32768.0, 2.0 / RANGE * 32767.0];
        let exp_in = [10.0 / RANGE * -RANGE, 0.0];
        let reciprocal_in = [0.0, 1.0 / RANGE * RANGE];
        Softmax16Tables {
            exp: lut16_build(f64::exp, exp_in, output, Lut16Float::F64),
            reciprocal: lut16_build(|x| 1.0 / (1.0 + x), reciprocal_in, output, Lut16Float::F64),
        }
    }
}

impl Default for Softmax16Tables {
    fn default() -> Self {
        Softmax16Tables::new()
    }
}

/// One row of int16 SOFTMAX; the output has scale 2^-15, zero point 0, codes `0..=32767`.
/// As many elements as the shorter slice has are written.
///
/// `e = LUTexp(clamp16(MB(x - max) + 32767))`; `h = clz(Σe)`;
/// `r = LUTrecip(clamp16(((Σe << (h-1)) + 2^13 >> 14) - 2^15 - 2^16))`;
/// `q = clamp((e*r + 2^(30-h)) >> (31-h), 0, 32767)`.
pub fn softmax_row16(
    tables: &Softmax16Tables,
    params: Softmax16Params,
    x: &[i16],
    out: &mut [i16],
) {
    let Some(max) = x.iter().copied().max() else {
        return;
    };
    let exp = |q: i16| {
        let scaled = mul_by_quantized(i32::from(q) - i32::from(max), params.multiplier);
        lut16_lookup(saturate16(scaled.saturating_add(32767)), &tables.exp)
    };
    let sum = x.iter().fold(0i32, |sum, &q| sum.wrapping_add(i32::from(exp(q))));
    let headroom = sum.leading_zeros();
    let normalised = sum.wrapping_shl(headroom.wrapping_sub(1)).wrapping_add(1 << 13) >> 14;
    let reciprocal =
        lut16_lookup(saturate16(normalised - (1 << 15) - (1 << 16)), &tables.reciprocal);
    let shift = 31u32.saturating_sub(headroom);
    let half = (1i64 << shift) >> 1;
    for (y, &q) in out.iter_mut().zip(x) {
        let code = (i64::from(exp(q)) * i64::from(reciprocal) + half) >> shift;
        *y = code.clamp(0, 32767) as i16;
    }
}

fn saturate16(v: i32) -> i16 {
    v.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row8<T: Copy + Into<i32>>(scale: f32, x: &[T], out_type: SoftmaxOut) -> Vec<i32> {
        let mut out = vec![0; x.len()];
        softmax_row(&SoftmaxParams::new(1.0, scale).exp_table(), x, &mut out, out_type);
        out
    }

    #[test]
    fn equal_inputs_share_equally() {
        assert_eq!(row8(0.1, &[5i8; 4], SoftmaxOut::I8), [-64; 4]);
        assert_eq!(row8(0.1, &[5u8; 2], SoftmaxOut::U8), [128; 2]);
        assert_eq!(row8(0.1, &[5i8; 2], SoftmaxOut::I16), [0; 2]);
    }

    #[test]
    fn saturates_at_the_ends() {
        assert_eq!(row8(1.0, &[127i8, -128], SoftmaxOut::I8), [127, -128]);
        assert_eq!(row8(1.0, &[7i8], SoftmaxOut::I16), [32767]);
        assert!(row8::<i8>(1.0, &[], SoftmaxOut::I8).is_empty());
        // exp(-1) / (1 + exp(-1)) * 256 = 68.8
        assert_eq!(row8(0.5, &[3u8, 1], SoftmaxOut::U8), [187, 69]);
    }

    #[test]
    fn params() {
        let p = SoftmaxParams::new(1.0, 1.0);
        assert_eq!((p.multiplier.shift, p.diff_min), (27, -15));
        let t = p.exp_table();
        assert_eq!((t[0], t[15] > 0, t[16]), (i32::MAX, true, 0));
        for (beta, scale) in [(0.0, 1.0), (1e30, 1e30), (f32::NAN, 1.0), (1.0, 1e-38)] {
            SoftmaxParams::new(beta, scale).exp_table();
        }
    }

    #[test]
    fn int16_rows() {
        let tables = Softmax16Tables::new();
        let mut out = [0; 2];
        softmax_row16(&tables, Softmax16Params::new(1.0, 0.001), &[100, 100], &mut out);
        assert_eq!(out, [16384, 16384]);
        softmax_row16(&tables, Softmax16Params::new(1.0, 0.001), &[32767, -32768], &mut out);
        assert_eq!(out, [32766, 2]);
    }
}
