//! The exact range of every accumulator, per output channel, from constant weights.
//!
//! acc[c] = bias[c] + Σ_w (x − x_zp)·(w − w_zp) with x anywhere in its code range, so
//! lo[c] = bias[c] + Σ_w min over both ends of x, and hi[c] likewise (numerics.md F). Both ends are
//! reached by some input, unless the producer of x cannot give those codes together. The ranges
//! are those of the mathematical sum: whatever the order of the additions, and with `row_sums` or
//! without, a wrapping 32-bit accumulator ends at the sum exactly when the range fits 32 bits.

use crate::consts::{const_tensor, shared_const};
use crate::int_ops::{bounds, conv_of, conv_operand as operand, dtype_of, int_op};
use qcc_ir::dialect::int::Op;
use qcc_ir::{DType, Func, Module, OpId, Value};

/// The accumulators of one op of the convolution family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccRange {
    /// Smallest and largest sum, per output channel.
    pub channels: Vec<[i64; 2]>,
    /// The accumulator's type: i32, or i64 where the bias is.
    pub dtype: DType,
}

impl AccRange {
    /// The first channel whose sums do not all fit the accumulator.
    pub fn first_overflow(&self) -> Option<usize> {
        let (min, max) = self.dtype.min_max();
        self.channels.iter().position(|r| r[0] < min || r[1] > max)
    }
    /// Bits of the narrowest signed accumulator that holds every channel.
    pub fn bits(&self) -> u32 {
        let bits = |v: i64| 65 - (v ^ (v >> 63)).leading_zeros();
        self.channels.iter().map(|r| bits(r[0]).max(bits(r[1]))).max().unwrap_or(1)
    }
}

/// The accumulator range of `op`; `None` when it is not of the convolution family, or its weights
/// or bias are not constant.
pub fn acc_range(m: &Module, f: &Func, op: OpId) -> Option<AccRange> {
    let conv = conv_of(f.kind(op))?;
    let operands = f.operands(op);
    let w = shared_const(m, f, operands[operand::W])?;
    let bias = const_tensor(m, f, operands[operand::BIAS])?;
    let mut x = code_range(m, f, operands[operand::X])?;
    if conv.pad != [0; 4] {
        x = [x[0].min(conv.pad_value as i64), x[1].max(conv.pad_value as i64)];
    }
    let n = conv.n_channels(&w.shape);
    if n == 0 || bias.len() != n {
        return None;
    }
    // Σ of the weights above and below zero: x·w is largest at x's upper end where w > 0.
    let weights = conv.weight_sums(&w);
    let [x_lo, x_hi] = x.map(|v| (v - conv.x_zp as i64) as i128);
    let ends = |(bias, [above, below]): (i64, [i64; 2])| {
        let (bias, above, below) = (bias as i128, above as i128, below as i128);
        let ends = [bias + x_lo * above + x_hi * below, bias + x_hi * above + x_lo * below];
        ends.map(|v| v.clamp(i64::MIN as i128, i64::MAX as i128) as i64)
    };
    let channels = bias.to_i64_vec().into_iter().zip(weights).map(ends).collect();
    Some(AccRange { channels, dtype: bias.dtype() })
}

/// Smallest and largest code that the integer tensor `v` can hold, as far as its producer says.
pub fn code_range(m: &Module, f: &Func, v: Value) -> Option<[i64; 2]> {
    let mut v = v;
    let mut range: Option<[i64; 2]> = None;
    // Follow ops that only move codes; stop at the first that makes them.
    while let Some(op) = f.def_op(v) {
        match int_op(f, op) {
            Some(Op::Reshape(_) | Op::Slice(_) | Op::Copy(_)) => v = f.operands(op)[0],
            Some(Op::Pad(p)) => {
                let value = p.value as i64;
                let [lo, hi] = range.unwrap_or([value, value]);
                range = Some([lo.min(value), hi.max(value)]);
                v = f.operands(op)[0];
            }
            _ => break,
        }
    }
    let made = made_range(m, f, v)?;
    Some(range.map_or(made, |r| [r[0].min(made[0]), r[1].max(made[1])]))
}

fn made_range(m: &Module, f: &Func, v: Value) -> Option<[i64; 2]> {
    let dtype = dtype_of(f, v).filter(|d| d.is_int())?;
    let (min, max) = dtype.min_max();
    let Some(op) = f.def_op(v) else {
        return Some([min, max]);
    };
    if let Some([lo, hi]) = bounds(f.kind(op)) {
        // y = min(max(…, lo), hi): with lo > hi everything is hi.
        let (lo, hi) = (lo.min(hi) as i64, hi as i64);
        return Some([lo.clamp(min, max), hi.clamp(min, max)]);
    }
    let table = match int_op(f, op) {
        Some(Op::Lut(_)) => const_tensor(m, f, f.operands(op)[1]),
        _ => const_tensor(m, f, v),
    };
    let codes = table.map(|t| t.to_i64_vec()).unwrap_or_default();
    match (codes.iter().min(), codes.iter().max()) {
        (Some(&lo), Some(&hi)) => Some([lo, hi]),
        _ => Some([min, max]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn ranges_are_those_of_the_extreme_inputs() {
        let mut t = TestModule::int(&[(&[1, 2], DType::I8)]);
        let w = t.const_i64("w", DType::I8, &[2, 2], &[1, -2, 127, 127]);
        let b = t.const_i64("b", DType::I32, &[2], &[10, 0]);
        let y = t.fully_connected(t.param(0), w, b, |c| c.x_zp = -128);
        let (m, main) = t.ret(&[y]).build();
        let f = &m.funcs[main];
        let r = acc_range(&m, f, f.def_op(y).unwrap()).unwrap();
        assert_eq!(r.channels, [[10 - 510, 10 + 255], [0, 2 * 255 * 127]]);
        assert_eq!((r.first_overflow(), r.bits()), (None, 17));
    }

    #[test]
    fn the_producer_narrows_and_padding_widens() {
        let mut t = TestModule::int(&[(&[1, 4, 4, 1], DType::I8)]);
        let x = t.clamp(t.param(0), 0, 10);
        let w = t.const_i64("w", DType::I8, &[1, 1, 1, 1], &[3]);
        let b = t.const_i64("b", DType::I32, &[1], &[i32::MAX as i64 - 5]);
        let y = t.conv2d(x, w, b, &[1, 6, 6, 1], |c| (c.pad, c.pad_value) = ([1; 4], -1));
        let (m, main) = t.ret(&[y]).build();
        let f = &m.funcs[main];
        let r = acc_range(&m, f, f.def_op(y).unwrap()).unwrap();
        assert_eq!(r.channels, [[i32::MAX as i64 - 8, i32::MAX as i64 + 25]]);
        assert_eq!(r.first_overflow(), Some(0));
    }
}
