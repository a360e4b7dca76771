//! `int.softmax`: the reference's fixed-point arithmetic, exponentials from a table.
//!
//! A row's exponentials depend only on how far a code is below the row's largest, so they are
//! constants: 256 for 8-bit codes, 65,536 for 16-bit ones. What is left per row is a maximum, a
//! sum, one reciprocal, and per element a multiplication and a shift (numerics.md D.11).

use super::fixed::{reciprocal, shift_mask, srdhm};
use super::kb::{Addr, Kb};
use super::requant::rounding_shift;
use super::scalar_conv::{load_wide, store_code};
use super::site::Site;
use super::{Arg, Call, Kernel, View, const_mem, each};
use qcc_ir::dialect::int;
use qcc_ir::{DType, Func, Type, Value};
use qcc_runtime::fixedpoint::{
    Multiplier, Softmax16Tables, SoftmaxParams, lut16_lookup, mul_by_quantized, rounding_div_by_pot,
};

/// Buffers: x, tables, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Softmax {
    /// Codes; the last dimension is normalised.
    pub x: View,
    /// Codes.
    pub y: View,
    /// What storage adds to the framework's output code.
    pub code_bias: i32,
}

/// Entries of the exponential table, and bytes of all tables.
fn layout(x: DType) -> (i64, usize) {
    match x.size() {
        1 => (256, 2 * 256 * 4),
        _ => (65536, 65536 * 2 + 513 * 2),
    }
}

impl Kernel for Softmax {
    fn name(&self) -> String {
        format!("softmax_{}_{}", self.x.dtype, self.y.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let tables = const_mem(layout(self.x.dtype).1);
        let mut kb = Kb::new(name, &[self.x.mem(), tables, self.y.mem()]);
        if self.x.is_empty() || self.x.shape.is_empty() {
            return kb.finish();
        }
        let (x, y) = (kb.mem(0), kb.mem(2));
        let last = self.x.shape.len() - 1;
        let (xs, ys) = (&self.x.strides[..last], &self.y.strides[..last]);
        let loops = each::loops(&self.x.shape[..last], &[xs, ys]);
        each::nest(&mut kb, &loops, &[x, y], &mut |kb, at| match self.x.dtype.size() {
            1 => self.row8(kb, &at[0], &at[1]),
            _ => self.row16(kb, &at[0], &at[1]),
        });
        kb.finish()
    }
}

impl Softmax {
    fn extent(&self) -> u64 {
        *self.x.shape.last().expect("the row kernel needs a last dimension")
    }
    fn steps(&self) -> (u64, u64) {
        let last = self.x.strides.len() - 1;
        (self.x.strides[last], self.y.strides[last])
    }

    fn largest(&self, kb: &mut Kb, x: &Addr) -> Value {
        let first = load_wide(kb, self.x.dtype, x, DType::I32);
        let all = kb.fold(self.extent(), &[first], |kb, i, best| {
            let code = load_wide(kb, self.x.dtype, &i.of(x, self.steps().0), DType::I32);
            vec![kb.max_s(best[0], code)]
        });
        all[0]
    }

    /// The table entry of a code, `at` bytes into the tables.
    fn entry(&self, kb: &mut Kb, x: &Addr, max: Value, dtype: DType, at: i64) -> Value {
        let code = load_wide(kb, self.x.dtype, x, DType::I32);
        let below = kb.sub(max, code);
        let n = layout(self.x.dtype).0;
        let below = kb.clamp_s(below, 0, n - 1);
        let table = kb.mem(1).at(at);
        kb.lookup(dtype, &table, below, dtype.size() as i64, (0, n - 1))
    }

    fn row8(&self, kb: &mut Kb, x: &Addr, y: &Addr) {
        let max = self.largest(kb, x);
        let zero = kb.i32(0);
        let sum = kb.fold(self.extent(), &[zero], |kb, i, sum| {
            let e = self.entry(kb, &i.of(x, self.steps().0), max, DType::I32, 256 * 4);
            vec![kb.add(sum[0], e)]
        });
        let headroom = kb.clz(sum[0]);
        let r = reciprocal(kb, sum[0], headroom);
        let (bits, lowest, highest) = match self.y.dtype {
            DType::I16 => (16, -32768, 32767),
            DType::U8 if self.code_bias == 0 => (8, 0, 255),
            DType::I8 if self.code_bias == -128 => (8, 0, 255),
            _ => (8, -128, 127),
        };
        let total = kb.i32(12 + 31 - bits);
        let shift = kb.sub(total, headroom);
        let (mask, half) = shift_mask(kb, shift);
        kb.for_each(self.extent(), |kb, i| {
            let e = self.entry(kb, &i.of(x, self.steps().0), max, DType::I32, 0);
            let product = srdhm(kb, r, e);
            let steps = rounding_shift(kb, product, shift, mask, half);
            let low = kb.i64(lowest);
            let steps = kb.ext_s(steps, Type::Scalar(DType::I64));
            let code = kb.add(steps, low);
            let code = kb.clamp_s(code, lowest, highest);
            let code = kb.trunc(code, Type::Scalar(DType::I32));
            let bias = kb.i32(self.code_bias);
            let code = kb.add(code, bias);
            store_code(kb, code, self.y.dtype, &i.of(y, self.steps().1));
        });
    }

    fn row16(&self, kb: &mut Kb, x: &Addr, y: &Addr) {
        let (i32t, i64t) = (Type::Scalar(DType::I32), Type::Scalar(DType::I64));
        let max = self.largest(kb, x);
        let zero = kb.i32(0);
        let sum = kb.fold(self.extent(), &[zero], |kb, i, sum| {
            let e = self.entry(kb, &i.of(x, self.steps().0), max, DType::I16, 0);
            let e = kb.ext_s(e, i32t.clone());
            vec![kb.add(sum[0], e)]
        });
        let headroom = kb.clz(sum[0]);
        let r = self.reciprocal16(kb, sum[0], headroom);
        let r = kb.ext_s(r, i64t.clone());
        let all = kb.i32(31);
        let shift = kb.sub(all, headroom);
        let none = kb.i32(0);
        let shift = kb.max_s(shift, none);
        let shift = kb.ext_s(shift, i64t.clone());
        let one = kb.i64(1);
        let unit = kb.shl_var(one, shift);
        let half = kb.shr_s(unit, 1);
        kb.for_each(self.extent(), |kb, i| {
            let e = self.entry(kb, &i.of(x, self.steps().0), max, DType::I16, 0);
            let e = kb.ext_s(e, i64t.clone());
            let product = kb.mul(e, r);
            let sum = kb.add(product, half);
            let code = kb.shr_s_var(sum, shift);
            let code = kb.clamp_s(code, 0, 32767);
            let code = kb.trunc(code, i32t.clone());
            store_code(kb, code, self.y.dtype, &i.of(y, self.steps().1));
        });
    }

    /// 1 / sum through the interpolated table.
    fn reciprocal16(&self, kb: &mut Kb, sum: Value, headroom: Value) -> Value {
        let one = kb.i32(1);
        let left = kb.sub(headroom, one);
        let up = kb.shl_var(sum, left);
        let nudge = kb.i32(1 << 13);
        let up = kb.add(up, nudge);
        let normalised = kb.shr_s(up, 14);
        let offset = kb.i32((1 << 15) + (1 << 16));
        let v = kb.sub(normalised, offset);
        let v = kb.clamp_s(v, i16::MIN.into(), i16::MAX.into());
        let step = kb.shr_s(v, 7);
        let middle = kb.i32(256);
        let index = kb.add(step, middle);
        let index = kb.clamp_s(index, 0, 511);
        let table = kb.mem(1).at(2 * 65536);
        let low = kb.lookup(DType::I16, &table, index, 2, (0, 511));
        let high = kb.lookup(DType::I16, &table.at(2), index, 2, (0, 511));
        let slope = kb.sub(high, low);
        let slope = kb.ext_s(slope, Type::Scalar(DType::I32));
        let mask = kb.i32(127);
        let offset = kb.and(v, mask);
        let product = kb.mul(slope, offset);
        let nudge = kb.i32(64);
        let product = kb.add(product, nudge);
        let delta = kb.shr_s(product, 7);
        let delta = kb.trunc(delta, Type::Scalar(DType::I16));
        kb.add(low, delta)
    }
}

/// Lowers `int.softmax`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower(site: &Site, op: &int::Softmax) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    let multiplier = Multiplier { mantissa: op.mult, shift: op.shift };
    let bytes = match x.dtype.size() {
        1 => tables8(multiplier, op.diff_min),
        _ => tables16(multiplier),
    };
    let kernel = Softmax { x, y, code_bias: op.y_code_bias };
    let tables = Arg::Const { name: "exponentials".into(), bytes };
    let args = vec![site.arg(site.operand(0)), tables, site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}

/// exp by difference, then the same rounded for the sum.
fn tables8(multiplier: Multiplier, diff_min: i32) -> Vec<u8> {
    let e = SoftmaxParams { multiplier, diff_min }.exp_table();
    let summed = e.iter().map(|&e| rounding_div_by_pot(e, 12));
    e.iter().copied().chain(summed).flat_map(i32::to_le_bytes).collect()
}

/// exp by difference, then the reciprocal's table.
fn tables16(multiplier: Multiplier) -> Vec<u8> {
    let tables = Softmax16Tables::new();
    let exp = |below: i32| {
        let scaled = mul_by_quantized(-below, multiplier).saturating_add(32767);
        lut16_lookup(scaled.clamp(i16::MIN.into(), i16::MAX.into()) as i16, &tables.exp)
    };
    let e = (0..65536).map(exp);
    e.chain(tables.reciprocal.iter().copied()).flat_map(i16::to_le_bytes).collect()
}
