//! Sums of codes over nested loops, for every channel: pools and means.

use super::kb::{Addr, Kb};
use super::scalar_conv::load_wide;
use qcc_ir::{DType, Type, Value};

/// What is summed.
#[derive(Clone, Debug)]
pub struct Sums {
    /// Code type.
    pub dtype: DType,
    /// Loops over what is summed: extents and byte strides.
    pub taps: Vec<(u64, u64)>,
    /// Sums wanted.
    pub channels: u64,
    /// Bytes between channels.
    pub stride: u64,
}

/// Codes that 16-bit lanes can sum without overflow: 128 · 255 < 2^15.
const MAX_TAPS_16: u64 = 128;

impl Sums {
    /// For each channel, emits its sum (int32) and then `finish` with it and y's address (channels
    /// of y are `y_stride` bytes apart).
    pub fn emit(
        &self,
        kb: &mut Kb,
        x: &Addr,
        y: &Addr,
        y_stride: u64,
        finish: &mut dyn FnMut(&mut Kb, Value, &Addr),
    ) {
        let blocks = if self.is_vector() { self.channels / 16 } else { 0 };
        kb.for_each(blocks, |kb, k| {
            let y = k.of(y, 16 * y_stride);
            for (i, sum) in self.sixteen(kb, &k.of(x, 16)).into_iter().enumerate() {
                finish(kb, sum, &y.at((i as u64 * y_stride) as i64));
            }
        });
        let done = 16 * blocks;
        let (x, y) = (x.at((done * self.stride) as i64), y.at((done * y_stride) as i64));
        kb.for_each(self.channels - done, |kb, c| {
            let zero = kb.i32(0);
            let sum = self.one(kb, &c.of(&x, self.stride), &self.taps, zero);
            finish(kb, sum, &c.of(&y, y_stride));
        });
    }

    fn is_vector(&self) -> bool {
        let count: u64 = self.taps.iter().map(|t| t.0).product();
        self.dtype.size() == 1 && self.stride == 1 && count <= MAX_TAPS_16
    }

    fn one(&self, kb: &mut Kb, x: &Addr, taps: &[(u64, u64)], sum: Value) -> Value {
        let Some((&(n, stride), inner)) = taps.split_first() else {
            let code = load_wide(kb, self.dtype, x, DType::I32);
            return kb.add(sum, code);
        };
        let all =
            kb.fold(n, &[sum], |kb, k, sum| vec![self.one(kb, &k.of(x, stride), inner, sum[0])]);
        all[0]
    }

    /// Sums of 16 channels, in 16-bit lanes while they last.
    fn sixteen(&self, kb: &mut Kb, x: &Addr) -> Vec<Value> {
        let zero = kb.int(Type::v128(DType::I16), 0);
        let halves = self.vectors(kb, x, &self.taps, &[zero, zero]);
        let mut out = Vec::with_capacity(16);
        for half in halves {
            for lane in 0..8 {
                let v = kb.extract(half, lane);
                out.push(kb.ext_s(v, Type::Scalar(DType::I32)));
            }
        }
        out
    }

    fn vectors(&self, kb: &mut Kb, x: &Addr, taps: &[(u64, u64)], sums: &[Value]) -> Vec<Value> {
        let Some((&(n, stride), inner)) = taps.split_first() else {
            let signed = self.dtype == DType::I8;
            let codes = kb.load_vec(DType::I8, x);
            let (low, high) = (kb.widen_low(codes, signed), kb.widen_high(codes, signed));
            return vec![kb.add(sums[0], low), kb.add(sums[1], high)];
        };
        kb.fold(n, sums, |kb, k, sums| self.vectors(kb, &k.of(x, stride), inner, sums))
    }
}
