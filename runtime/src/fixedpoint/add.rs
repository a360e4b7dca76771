//! ADD and SUB of quantized tensors.
//!
//! Source: section D.5. Pure functions over codes; callers broadcast and clamp.

use super::Affine;
use super::gemmlowp::saturating_rounding_multiply_by_pot;
use super::multiplier::{Multiplier, mul_by_quantized, quantize_multiplier};
use crate::dtype::DType;

/// Which of the two ops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddSub {
    Add,
    Sub,
}

/// Constants of the general ADD/SUB: both inputs are scaled to a common `2 * max(s1, s2)` with
/// `left_shift` extra bits, added in int32 (wrapping), and scaled to the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddParams {
    /// 20 for 8-bit types, 15 for int16.
    pub left_shift: u32,
    pub zero_points: [i32; 2],
    pub inputs: [Multiplier; 2],
    pub output: Multiplier,
    pub output_zero_point: i32,
}

impl AddParams {
    /// Constants for inputs `a`, `b` and output `y`, all of storage type `dtype`:
    /// `t = f64(f32(2 * max(s1, s2)))`, input multipliers `QM(s / t)`, output `QM(t / f32(2^L * sy))`.
    pub fn new(a: Affine, b: Affine, y: Affine, dtype: DType) -> AddParams {
        let left_shift = if dtype == DType::I16 { 15 } else { 20 };
        let twice_max = f64::from(2.0 * a.scale.max(b.scale));
        let one = (1u32 << left_shift) as f32;
        AddParams {
            left_shift,
            zero_points: [a.zero_point, b.zero_point],
            inputs: [a, b].map(|t| quantize_multiplier(f64::from(t.scale) / twice_max)),
            output: quantize_multiplier(twice_max / f64::from(one * y.scale)),
            output_zero_point: y.zero_point,
        }
    }

    /// True when the output multiplier is 1 or more. The reference aborts the process on such an
    /// ADD (SUB allows it); importers should reject it with a diagnostic.
    pub fn output_multiplier_exceeds_one(&self) -> bool {
        self.output.shift > 0
    }

    /// One input code, `which` 0 or 1, on the common scale: `MB((q - z) << L, M)`.
    #[inline]
    pub fn scale_input(&self, which: usize, q: i32) -> i32 {
        let centred = q.wrapping_sub(self.zero_points[which]);
        mul_by_quantized(centred.wrapping_shl(self.left_shift), self.inputs[which])
    }

    /// `MB(u ± v, Mo) + zy` of two scaled inputs, before the clamp.
    #[inline]
    pub fn finish(&self, op: AddSub, u: i32, v: i32) -> i32 {
        let sum = match op {
            AddSub::Add => u.wrapping_add(v),
            AddSub::Sub => u.wrapping_sub(v),
        };
        mul_by_quantized(sum, self.output).wrapping_add(self.output_zero_point)
    }

    /// The output code of input codes `a` and `b`, before the clamp.
    #[inline]
    pub fn eval(&self, op: AddSub, a: i32, b: i32) -> i32 {
        self.finish(op, self.scale_input(0, a), self.scale_input(1, b))
    }
}

/// Constants of the int16 ADD/SUB with power-of-two scales (option `pot_scale_int16`): one input
/// is shifted right with rounding, then added with int16 saturation. Read, not run, upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddPotParams {
    /// Exponent for each input, `log2(s_i) - log2(s_y)`: at least one is 0, none is positive.
    pub shifts: [i32; 2],
}

impl AddPotParams {
    /// `None` when a scale is no power of two, or when the shifts break the reference's rule (one
    /// of them 0, none positive): a load error there when all three are powers of two.
    pub fn new(a_scale: f32, b_scale: f32, y_scale: f32) -> Option<AddPotParams> {
        let y = checked_log2(y_scale)?;
        let shifts = [checked_log2(a_scale)? - y, checked_log2(b_scale)? - y];
        let valid = shifts.contains(&0) && shifts.iter().all(|&s| s <= 0);
        valid.then_some(AddPotParams { shifts })
    }

    /// `sat16(RDP(a) ± RDP(b))` of int16 codes (zero points are 0), before the clamp.
    #[inline]
    pub fn eval(&self, op: AddSub, a: i32, b: i32) -> i32 {
        let a = saturating_rounding_multiply_by_pot(a, self.shifts[0]);
        let b = saturating_rounding_multiply_by_pot(b, self.shifts[1]);
        let sum = match op {
            AddSub::Add => a.saturating_add(b),
            AddSub::Sub => a.saturating_sub(b),
        };
        sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
    }
}

/// `log2(x)` when it is an integer to within 1e-3, in f32 as the reference computes it.
pub(super) fn checked_log2(x: f32) -> Option<i32> {
    let log2 = x.ln() * (1.0 / 2f32.ln());
    let rounded = log2.round();
    ((log2 - rounded).abs() < 1e-3).then_some(rounded as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(sy: f32) -> AddParams {
        AddParams::new(Affine::new(0.5, 10), Affine::new(0.25, -3), Affine::new(sy, 1), DType::I8)
    }

    #[test]
    fn add_sub_values() {
        let p = params(0.5);
        // 0.5*(20-10) ± 0.25*(5+3) = 5 ± 2 -> /0.5 + 1
        assert_eq!(p.eval(AddSub::Add, 20, 5), 15);
        assert_eq!(p.eval(AddSub::Sub, 20, 5), 7);
        // 0.25*(-2+3) = 0.25 -> half a step, away from zero.
        assert_eq!((p.eval(AddSub::Add, 10, -2), p.eval(AddSub::Sub, 10, -2)), (2, 0));
        assert_eq!((p.output, p.left_shift), (Multiplier::new(1 << 30, -18), 20));
        assert!(!p.output_multiplier_exceeds_one());
        assert!(params(1e-7).output_multiplier_exceeds_one());
    }

    #[test]
    fn int16_uses_fifteen_bits() {
        let s = Affine::new(0.1, 0);
        let p = AddParams::new(s, s, s, DType::I16);
        assert_eq!((p.left_shift, p.eval(AddSub::Add, 30000, 30000)), (15, 60000));
    }

    #[test]
    fn power_of_two_path() {
        let p = AddPotParams::new(0.25, 0.5, 0.5).unwrap();
        assert_eq!(p.shifts, [-1, 0]);
        assert_eq!(p.eval(AddSub::Add, 3, 10), 12);
        assert_eq!(p.eval(AddSub::Sub, -3, 10), -12);
        assert_eq!(p.eval(AddSub::Add, 32767, 32767), 32767);
        assert_eq!(AddPotParams::new(0.25, 0.25, 0.5), None);
        assert_eq!(AddPotParams::new(1.0, 0.5, 0.5), None);
        assert_eq!(AddPotParams::new(0.3, 0.5, 0.5), None);
    }
}
