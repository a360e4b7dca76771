//! From accumulators to output codes: tables of constants and the ops that use them.
//!
//! One description, [`Finish`], fixes the arithmetic; the packer ([`Finish::pack_table`]) and the
//! kernels ([`Finish::codes`], [`Finish::code_exact`]) both follow its layout.

use super::kb::{Addr, Kb};
use qcc_ir::dialect::int::Rescale;
use qcc_ir::dialect::loops::Pred;
use qcc_ir::{DType, Type, Value};
use qcc_runtime::fixedpoint::Multiplier;
use qcc_runtime::rescale::{RescaleChannel, RescaleForm};

/// Bytes of one channel's entry in the table of the exact form.
const EXACT_ENTRY: usize = 8 + MULTIPLIER_ENTRY;

/// How accumulators become codes, for a whole layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finish {
    /// The sequence of operations, proven equal to the reference.
    pub form: RescaleForm,
    /// The reference itself, for [`RescaleForm::Exact`].
    pub reference: Rescale,
    /// Output element type.
    pub dtype: DType,
    /// Output zero point.
    pub zp: i32,
    /// Smallest output code.
    pub lo: i32,
    /// Largest output code.
    pub hi: i32,
}

/// One output channel's constants.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    /// Added to the accumulator.
    pub bias: i64,
    /// The reference's multiplier (`double`, `wide`).
    pub mult: Multiplier,
    /// The reference's multiplier (`f64`, `f32_even`).
    pub mult_f64: f64,
    /// Constants of the cheap form.
    pub cheap: RescaleChannel,
}

impl Finish {
    /// Bytes of the table of `n` channels.
    pub fn table_bytes(&self, n: usize) -> usize {
        match self.form {
            RescaleForm::ReluFma
            | RescaleForm::SignedFma
            | RescaleForm::ReluF32
            | RescaleForm::SignedF32 => 12 * n,
            RescaleForm::ReluF64 | RescaleForm::SignedF64 => 20 * n,
            RescaleForm::Exact => (4 + EXACT_ENTRY) * n,
        }
    }

    /// The table of one panel: int32 biases, then scales, then offsets (cheap forms), or biases,
    /// then entries (exact form). `slots` are the channels of the panel in the order of its
    /// accumulators, vector by vector of `lanes` lanes; slots without a channel are zero.
    pub fn pack_table(&self, slots: &[Option<&Channel>], lanes: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.table_bytes(slots.len()));
        let mut column =
            |width: usize, slots: &[Option<&Channel>], f: &dyn Fn(&Channel) -> Vec<u8>| {
                for slot in slots {
                    let end = out.len() + width;
                    out.extend(slot.iter().flat_map(|c| f(c)));
                    out.resize(end, 0);
                }
            };
        column(4, slots, &|c| (c.bias as i32).to_le_bytes().to_vec());
        match self.form {
            RescaleForm::ReluFma
            | RescaleForm::SignedFma
            | RescaleForm::ReluF32
            | RescaleForm::SignedF32 => {
                column(4, slots, &|c| (c.cheap.scale as f32).to_le_bytes().to_vec());
                column(4, slots, &|c| (c.cheap.bias as f32).to_le_bytes().to_vec());
            }
            RescaleForm::ReluF64 | RescaleForm::SignedF64 => {
                let halves = in_halves(slots, lanes);
                column(8, &halves, &|c| c.cheap.scale.to_le_bytes().to_vec());
                column(8, &halves, &|c| c.cheap.bias.to_le_bytes().to_vec());
            }
            RescaleForm::Exact => column(EXACT_ENTRY, slots, &|c| self.exact_entry(c).to_vec()),
        }
        out
    }

    /// The exact form's table alone, one entry per channel.
    pub fn pack_exact(&self, channels: &[Channel]) -> Vec<u8> {
        channels.iter().flat_map(|c| self.exact_entry(c)).collect()
    }

    /// `[bias i64]`, then the multiplier's entry (f64: its bits in place of the mantissa).
    fn exact_entry(&self, c: &Channel) -> [u8; EXACT_ENTRY] {
        let m = i64::from(c.mult.mantissa);
        let entry = match self.reference {
            Rescale::Double => multiplier_entry(c.mult),
            Rescale::Wide => {
                let reduced = if m < 0x7FFF_0000 { (m + (1 << 15)) >> 16 } else { 0x7FFF };
                entry_bytes(reduced, [0, 15 - c.mult.shift, 0, 0])
            }
            Rescale::F64 => entry_bytes(c.mult_f64.to_bits() as i64, [0; 4]),
            Rescale::F32Even => entry_bytes((c.mult_f64 as f32).to_bits().into(), [0; 4]),
        };
        let mut out = [0; EXACT_ENTRY];
        out[..8].copy_from_slice(&c.bias.to_le_bytes());
        out[8..].copy_from_slice(&entry);
        out
    }

    /// Output codes (i32, before clamping) of accumulator vector `v` of a panel of `n` channels
    /// whose table is at `table`. Cheap forms only.
    pub fn codes(&self, kb: &mut Kb, acc: Value, table: &Addr, n: usize, v: usize) -> Value {
        match self.form {
            RescaleForm::ReluF64 | RescaleForm::SignedF64 => self.codes_f64(kb, acc, table, n, v),
            _ => self.codes_f32(kb, acc, table, n, v),
        }
    }

    fn codes_f32(&self, kb: &mut Kb, acc: Value, table: &Addr, n: usize, v: usize) -> Value {
        let floats = kb.vec(DType::F32);
        let words = kb.vec(DType::I32);
        let at = kb.width() as usize * v;
        let scale = kb.load(floats.clone(), &table.at((4 * n + at) as i64));
        let mut bias = kb.load(floats.clone(), &table.at((8 * n + at) as i64));
        let f = kb.int_to_float(acc, floats.clone());
        if matches!(self.form, RescaleForm::SignedF32 | RescaleForm::SignedFma) {
            let sign_bit = kb.int(words.clone(), 1 << 31);
            let bits = kb.bitcast(f, words.clone());
            let sign = kb.and(bits, sign_bit);
            let magnitude = kb.bitcast(bias, words.clone());
            let signed = kb.or(sign, magnitude);
            bias = kb.bitcast(signed, floats.clone());
        }
        let shifted = kb.fadd(f, bias);
        let magic = kb.float(floats, 12_582_912.0);
        let rounded = match self.form {
            RescaleForm::ReluFma | RescaleForm::SignedFma => kb.fma(shifted, scale, magic),
            _ => {
                let product = kb.fmul(shifted, scale);
                kb.fadd(product, magic)
            }
        };
        let bits = kb.bitcast(rounded, words.clone());
        let base = kb.int(words, i64::from(0x4B40_0000 - self.zp));
        kb.sub(bits, base)
    }

    fn codes_f64(&self, kb: &mut Kb, acc: Value, table: &Addr, n: usize, v: usize) -> Value {
        let words = kb.vec(DType::I32);
        let bytes_type = kb.vec(DType::I8);
        let high =
            kb.shuffle(acc, acc, [8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15]);
        let mut halves = Vec::with_capacity(2);
        for (k, half) in [acc, high].into_iter().enumerate() {
            let at = kb.width() as i64 * (2 * v + k) as i64;
            let bits = self.half_f64(kb, half, &table.at(4 * n as i64 + at), 8 * n as i64);
            halves.push(kb.bitcast(bits, bytes_type.clone()));
        }
        let even = [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27];
        let low_words = kb.shuffle(halves[0], halves[1], even);
        let codes = kb.bitcast(low_words, words.clone());
        let zp = kb.int(words, i64::from(self.zp));
        kb.add(codes, zp)
    }

    /// Lanes 0 and 1 of each 128 bits of `acc`, rounded, as the low words of f64.
    fn half_f64(&self, kb: &mut Kb, acc: Value, scale_at: &Addr, bias_behind: i64) -> Value {
        let doubles = kb.vec(DType::F64);
        let longs = kb.vec(DType::I64);
        let f = kb.int_to_float_low(acc, doubles.clone());
        let scale = kb.load(doubles.clone(), scale_at);
        let bias_at = scale_at.at(bias_behind);
        let shifted = if self.form == RescaleForm::ReluF64 {
            let bias = kb.load(doubles.clone(), &bias_at);
            let moved = kb.fadd(f, bias);
            kb.fmul(moved, scale)
        } else {
            let bias = kb.load(longs.clone(), &bias_at);
            let product = kb.fmul(f, scale);
            let sign_bit = kb.int(longs.clone(), i64::MIN);
            let bits = kb.bitcast(f, longs.clone());
            let sign = kb.and(bits, sign_bit);
            let signed = kb.or(sign, bias);
            let signed = kb.bitcast(signed, doubles.clone());
            kb.fadd(product, signed)
        };
        let magic = kb.float(doubles, 6_755_399_441_055_744.0);
        let rounded = kb.fadd(shifted, magic);
        kb.bitcast(rounded, longs)
    }

    /// The clamped output code of one accumulator by the reference itself; `entry` is the
    /// channel's exact entry. `acc` (i32, or i64 for `wide`) has its bias already.
    pub fn code_exact(&self, kb: &mut Kb, acc: Value, entry: &Addr) -> Value {
        let steps = match self.reference {
            Rescale::Double => rescale_double(kb, acc, &entry.at(8)),
            Rescale::Wide => wide(kb, acc, entry),
            Rescale::F64 => f64_half_away(kb, acc, entry),
            Rescale::F32Even => f32_even(kb, acc, entry),
        };
        let zp = kb.i32(self.zp);
        let code = kb.add(steps, zp);
        kb.clamp_s(code, i64::from(self.lo), i64::from(self.hi))
    }

    /// Loads a channel's bias from its exact entry, as `dtype`.
    pub fn exact_bias(&self, kb: &mut Kb, dtype: DType, entry: &Addr) -> Value {
        kb.load_scalar(dtype, entry)
    }

    /// 16 packed codes from two vectors of i16, clamped.
    pub fn pack_codes(&self, kb: &mut Kb, low: Value, high: Value) -> Value {
        let signed = self.dtype == DType::I8;
        let bytes = kb.pack(low, high, signed);
        clamp_bytes(kb, bytes, self.dtype, self.lo, self.hi)
    }
}

/// 16 codes of `dtype` clamped to [lo, hi], where that is narrower than the type.
pub fn clamp_bytes(kb: &mut Kb, bytes: Value, dtype: DType, lo: i32, hi: i32) -> Value {
    let bytes_type = kb.vec(DType::I8);
    let (min, max) = dtype.min_max();
    let mut out = bytes;
    if i64::from(lo) > min {
        let lo = kb.int(bytes_type.clone(), i64::from(lo));
        out = if min < 0 { kb.max_s(out, lo) } else { kb.max_u(out, lo) };
    }
    if i64::from(hi) < max {
        let hi = kb.int(bytes_type, i64::from(hi));
        out = if min < 0 { kb.min_s(out, hi) } else { kb.min_u(out, hi) };
    }
    out
}

/// Slots in the order in which doubles are made: of each vector, lanes 0 and 1 of every 128 bits,
/// then lanes 2 and 3.
fn in_halves<T: Copy>(slots: &[T], lanes: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(slots.len());
    for vector in slots.chunks(lanes) {
        for half in 0..2 {
            out.extend(vector.chunks(4).flat_map(|four| &four[2 * half..2 * half + 2]));
        }
    }
    out
}

/// Bytes of a multiplier's entry.
pub const MULTIPLIER_ENTRY: usize = 24;

/// `[mantissa i64][left i32][right i32][mask i32][half i32]`: what [`rescale_double`] reads.
pub fn multiplier_entry(m: Multiplier) -> [u8; MULTIPLIER_ENTRY] {
    let right = m.shift.wrapping_neg().max(0);
    let mask = if right > 31 { -1 } else { ((1i64 << right) - 1) as i32 };
    entry_bytes(i64::from(m.mantissa), [m.shift.max(0) & 31, right & 31, mask, mask >> 1])
}

fn entry_bytes(mult: i64, words: [i32; 4]) -> [u8; MULTIPLIER_ENTRY] {
    let mut out = [0; MULTIPLIER_ENTRY];
    out[..8].copy_from_slice(&mult.to_le_bytes());
    for (k, v) in words.into_iter().enumerate() {
        out[8 + 4 * k..12 + 4 * k].copy_from_slice(&v.to_le_bytes());
    }
    out
}

/// `mul_by_quantized`: doubling high multiply, then a rounding shift (numerics.md C).
pub fn rescale_double(kb: &mut Kb, acc: Value, entry: &Addr) -> Value {
    let left = kb.load_scalar(DType::I32, &entry.at(8));
    let shifted = kb.shl_var(acc, left);
    let mult = kb.load_scalar(DType::I64, entry);
    let high = high_mul(kb, shifted, mult);
    let high = kb.trunc(high, Type::Scalar(DType::I32));
    let right = kb.load_scalar(DType::I32, &entry.at(12));
    let mask = kb.load_scalar(DType::I32, &entry.at(16));
    let half = kb.load_scalar(DType::I32, &entry.at(20));
    rounding_shift(kb, high, right, mask, half)
}

/// ⌊(a·m + 2^30) / 2^31⌋ as i64; `a` i32, `m` i64.
pub fn high_mul(kb: &mut Kb, a: Value, m: Value) -> Value {
    let wide = kb.ext_s(a, Type::Scalar(DType::I64));
    let product = kb.mul(wide, m);
    let nudge = kb.i64(1 << 30);
    let sum = kb.add(product, nudge);
    kb.shr_s(sum, 31)
}

/// `rounding_div_by_pot` with its mask and half given: x >> right, halves away from zero.
pub fn rounding_shift(kb: &mut Kb, x: Value, right: Value, mask: Value, half: Value) -> Value {
    let i32t = Type::Scalar(DType::I32);
    let rem = kb.and(x, mask);
    let negative = kb.shr_u(x, 31);
    let threshold = kb.add(half, negative);
    let up = kb.cmp(Pred::Gt, rem, threshold);
    let up = kb.ext_u(up, i32t);
    let down = kb.shr_s_var(x, right);
    kb.add(down, up)
}

/// `mul_by_quantized_64`.
fn wide(kb: &mut Kb, acc: Value, entry: &Addr) -> Value {
    let i64t = Type::Scalar(DType::I64);
    let reduced = kb.load_scalar(DType::I64, &entry.at(8));
    let right = kb.load_scalar(DType::I32, &entry.at(20));
    let right = kb.ext_s(right, i64t);
    let product = kb.mul(acc, reduced);
    let one = kb.i64(1);
    let before = kb.sub(right, one);
    let half = kb.shl_var(one, before);
    let sum = kb.add(product, half);
    let out = kb.shr_s_var(sum, right);
    kb.trunc(out, Type::Scalar(DType::I32))
}

/// `requantize_f64`: f64 product, rounded half away from zero.
fn f64_half_away(kb: &mut Kb, acc: Value, entry: &Addr) -> Value {
    let f64t = Type::Scalar(DType::F64);
    let mult = kb.load_scalar(DType::F64, &entry.at(8));
    let f = kb.int_to_float(acc, f64t);
    let v = kb.fmul(f, mult);
    round_half_away(kb, v)
}

/// `requantize_f32_even`: f32 product, halves to even.
fn f32_even(kb: &mut Kb, acc: Value, entry: &Addr) -> Value {
    let f32t = Type::Scalar(DType::F32);
    let mult = kb.load_scalar(DType::F32, &entry.at(8));
    let f = kb.int_to_float(acc, f32t);
    let v = kb.fmul(f, mult);
    round_even(kb, v)
}

/// f32 lanes to i32, halves to even, limited to ±2^21; NaN becomes −2^21. Codes of 16 bits are
/// far inside.
pub fn round_even(kb: &mut Kb, v: Value) -> Value {
    let n = kb.lanes(v).1;
    let (f32t, i32t) = match n {
        1 => (Type::Scalar(DType::F32), Type::Scalar(DType::I32)),
        n => (Type::vector(DType::F32, n), Type::vector(DType::I32, n)),
    };
    let (low, high) = (kb.float(f32t.clone(), -2_097_152.0), kb.float(f32t.clone(), 2_097_152.0));
    let above = kb.fcmp(Pred::Gt, v, low);
    let v = kb.select(above, v, low);
    let below = kb.fcmp(Pred::Lt, v, high);
    let v = kb.select(below, v, high);
    let magic = kb.float(f32t, 12_582_912.0);
    let sum = kb.fadd(v, magic);
    let bits = kb.bitcast(sum, i32t.clone());
    let base = kb.int(i32t, 0x4B40_0000);
    kb.sub(bits, base)
}

/// A float scalar to i32, halves away from zero, saturating.
pub fn round_half_away(kb: &mut Kb, v: Value) -> Value {
    let ty = Type::Scalar(kb.lanes(v).0);
    let (i32t, i64t) = (Type::Scalar(DType::I32), Type::Scalar(DType::I64));
    let toward_zero = kb.float_to_int(v, i64t.clone());
    let whole = kb.int_to_float(toward_zero, ty.clone());
    let fraction = kb.fsub(v, whole);
    let half = kb.float(ty.clone(), 0.5);
    let minus_half = kb.float(ty, -0.5);
    let up = kb.fcmp(Pred::Ge, fraction, half);
    let down = kb.fcmp(Pred::Le, fraction, minus_half);
    let up = kb.ext_u(up, i64t.clone());
    let down = kb.ext_u(down, i64t);
    let rounded = kb.add(toward_zero, up);
    let rounded = kb.sub(rounded, down);
    let rounded = kb.clamp_s(rounded, i64::from(i32::MIN), i64::from(i32::MAX));
    kb.trunc(rounded, i32t)
}
