//! Ops other than control flow: one Cranelift sequence each.

use super::{Walk, flags};
use crate::CodegenError;
use cranelift_codegen::ir::{
    self as clif, InstBuilder, MemFlagsData,
    condcodes::{FloatCC, IntCC},
    immediates::{Ieee32, Ieee64},
    types,
};
use qcc_ir::dialect::loops::{DotSigns, Op, Pred};
use qcc_ir::{OpId, Value};
use qcc_runtime::cpu::Arch;

impl Walk<'_> {
    pub(super) fn lane_op(&mut self, op: OpId, kind: &Op) -> Result<(), CodegenError> {
        if self.memory_op(op, kind)? {
            return Ok(());
        }
        let result = self.pure_op(op, kind)?;
        let v = self.kernel.result(op);
        self.set(v, result);
        Ok(())
    }

    /// Loads, stores and lookups; false if `kind` is none of them.
    fn memory_op(&mut self, op: OpId, kind: &Op) -> Result<bool, CodegenError> {
        let kernel = self.kernel;
        let operands = kernel.operands(op);
        match kind {
            Op::Load(s) => {
                let ty = self.result_type(op);
                let (p, at) = self.address(operands[0], &operands[1..], &s.strides, s.offset)?;
                let v = self.b.ins().load(ty, flags(), p, at);
                self.set(kernel.result(op), v);
            }
            Op::LoadSplat32(s) => {
                let (p, at) = self.address(operands[0], &operands[1..], &s.strides, s.offset)?;
                let v = self.load_splat32(p, at);
                self.set(kernel.result(op), v);
            }
            Op::LoadLow64(s) => {
                let ty = self.result_type(op);
                let (p, at) = self.address(operands[0], &operands[1..], &s.strides, s.offset)?;
                let half = self.b.ins().load(types::F64, flags(), p, at);
                let v = self.b.ins().scalar_to_vector(types::F64X2, half);
                let v = self.cast(v, ty);
                self.set(kernel.result(op), v);
            }
            Op::Store(s) => {
                let v = self.get(operands[0]);
                let (p, at) = self.address(operands[1], &operands[2..], &s.strides, s.offset)?;
                self.b.ins().store(flags(), v, p, at);
            }
            Op::StoreLow(s) => {
                let (wide, _) = match s.bytes {
                    4 => (types::F32X4, types::F32),
                    8 => (types::F64X2, types::F64),
                    n => return Err(self.fail(format!("store_low of {n} bytes"))),
                };
                let v = self.get(operands[0]);
                let v = self.cast(v, wide);
                let low = self.b.ins().extractlane(v, 0);
                let (p, at) = self.address(operands[1], &operands[2..], &s.strides, s.offset)?;
                self.b.ins().store(flags(), low, p, at);
            }
            Op::Lookup(s) => {
                let ty = self.result_type(op);
                let (base, at) = self.address(operands[0], &operands[2..], &s.strides, s.offset)?;
                let index = self.get(operands[1]);
                let index = self.b.ins().sextend(types::I64, index);
                let scaled = self.times(index, s.stride);
                let p = self.b.ins().iadd(base, scaled);
                let v = self.b.ins().load(ty, flags(), p, at);
                self.set(kernel.result(op), v);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// x86: a whole vector shuffled, which folds into one instruction; aarch64: `ld1r`.
    fn load_splat32(&mut self, p: clif::Value, at: i32) -> clif::Value {
        if self.arch == Arch::X86_64 {
            let v = self.b.ins().load(types::I8X16, flags(), p, at);
            let word: Vec<u8> = (0..16).map(|i| i % 4).collect();
            return self.shuffle(types::I8X16, v, v, &word);
        }
        let word = self.b.ins().load(types::I32, flags(), p, at);
        let v = self.b.ins().splat(types::I32X4, word);
        self.cast(v, types::I8X16)
    }

    /// index · stride, by a shift where that does it.
    fn times(&mut self, index: clif::Value, stride: i64) -> clif::Value {
        match stride {
            1 => index,
            s if s > 0 && s & (s - 1) == 0 => {
                self.b.ins().ishl_imm_u(index, i64::from(s.trailing_zeros()))
            }
            s => self.b.ins().imul_imm_s(index, s),
        }
    }

    fn pure_op(&mut self, op: OpId, kind: &Op) -> Result<clif::Value, CodegenError> {
        let ty = self.result_type(op);
        let arg: Vec<clif::Value> =
            self.kernel.operands(op).iter().map(|&v: &Value| self.get(v)).collect();
        Ok(match kind {
            Op::Iconst(s) => self.int_constant(ty, s.value),
            Op::Fconst(s) => self.float_constant(ty, s.value),
            Op::IndexCast(_) => self.b.ins().ireduce(types::I32, arg[0]),
            Op::Splat(_) => self.b.ins().splat(ty, arg[0]),
            Op::Extract(s) => self.b.ins().extractlane(arg[0], s.lane as u8),
            Op::Add(_) => self.b.ins().iadd(arg[0], arg[1]),
            Op::Sub(_) => self.b.ins().isub(arg[0], arg[1]),
            Op::Mul(_) if ty == types::I8X16 => self.multiply_bytes(arg[0], arg[1]),
            Op::Mul(_) => self.b.ins().imul(arg[0], arg[1]),
            Op::And(_) => self.b.ins().band(arg[0], arg[1]),
            Op::Or(_) => self.b.ins().bor(arg[0], arg[1]),
            Op::Xor(_) => self.b.ins().bxor(arg[0], arg[1]),
            Op::Shl(s) => {
                let n = self.b.ins().iconst(types::I32, i64::from(s.n));
                self.b.ins().ishl(arg[0], n)
            }
            Op::ShrS(s) => {
                let n = self.b.ins().iconst(types::I32, i64::from(s.n));
                self.b.ins().sshr(arg[0], n)
            }
            Op::ShrU(s) => {
                let n = self.b.ins().iconst(types::I32, i64::from(s.n));
                self.b.ins().ushr(arg[0], n)
            }
            Op::ShlVar(_) => self.b.ins().ishl(arg[0], arg[1]),
            Op::ShrSVar(_) => self.b.ins().sshr(arg[0], arg[1]),
            Op::MinS(_) => self.b.ins().smin(arg[0], arg[1]),
            Op::MaxS(_) => self.b.ins().smax(arg[0], arg[1]),
            Op::MinU(_) => self.b.ins().umin(arg[0], arg[1]),
            Op::MaxU(_) => self.b.ins().umax(arg[0], arg[1]),
            Op::Clz(_) => self.b.ins().clz(arg[0]),
            Op::DivS(s) => self.divide(ty, arg[0], s.by)?,
            Op::Fadd(_) => self.b.ins().fadd(arg[0], arg[1]),
            Op::Fsub(_) => self.b.ins().fsub(arg[0], arg[1]),
            Op::Fmul(_) => self.b.ins().fmul(arg[0], arg[1]),
            Op::Fdiv(_) => self.b.ins().fdiv(arg[0], arg[1]),
            Op::Fsqrt(_) => self.b.ins().sqrt(arg[0]),
            Op::Fma(_) if self.features.fma => self.b.ins().fma(arg[0], arg[1], arg[2]),
            Op::Fma(_) => return Err(self.fail("this CPU level has no fused multiply-add".into())),
            Op::Select(_) if ty.is_vector() => {
                let mask = self.cast(arg[0], ty);
                self.b.ins().bitselect(mask, arg[1], arg[2])
            }
            Op::Select(_) => self.b.ins().select(arg[0], arg[1], arg[2]),
            Op::Cmp(s) => {
                let v = self.b.ins().icmp(int_cc(s.pred), arg[0], arg[1]);
                self.cast(v, ty)
            }
            Op::Fcmp(s) => {
                let v = self.b.ins().fcmp(float_cc(s.pred), arg[0], arg[1]);
                self.cast(v, ty)
            }
            Op::ExtS(_) => self.b.ins().sextend(ty, arg[0]),
            Op::ExtU(_) => self.b.ins().uextend(ty, arg[0]),
            Op::Trunc(_) => self.b.ins().ireduce(ty, arg[0]),
            Op::IntToFloat(_) => self.b.ins().fcvt_from_sint(ty, arg[0]),
            Op::IntToFloatLow(_) => {
                let wide = self.b.ins().swiden_low(arg[0]);
                self.b.ins().fcvt_from_sint(ty, wide)
            }
            Op::Truncate(_) if self.arch == Arch::X86_64 => self.b.ins().x86_cvtt2dq(ty, arg[0]),
            Op::Truncate(_) | Op::FloatToInt(_) => self.b.ins().fcvt_to_sint_sat(ty, arg[0]),
            Op::FloatCast(_) if ty == types::F64 => self.b.ins().fpromote(ty, arg[0]),
            Op::FloatCast(_) => self.b.ins().fdemote(ty, arg[0]),
            Op::Bitcast(_) => self.cast(arg[0], ty),
            Op::WidenLowS(_) => self.b.ins().swiden_low(arg[0]),
            Op::WidenHighS(_) => self.b.ins().swiden_high(arg[0]),
            Op::WidenLowU(_) => self.b.ins().uwiden_low(arg[0]),
            Op::WidenHighU(_) => self.b.ins().uwiden_high(arg[0]),
            Op::PackS(_) => self.b.ins().snarrow(arg[0], arg[1]),
            Op::PackU(_) => self.b.ins().unarrow(arg[0], arg[1]),
            Op::UnpackLow(_) => self.interleave(ty, arg[0], arg[1], 0),
            Op::UnpackHigh(_) => self.interleave(ty, arg[0], arg[1], 8),
            Op::Shuffle(s) => {
                let mask: Vec<u8> = s.mask.iter().map(|&i| i as u8).collect();
                self.shuffle(ty, arg[0], arg[1], &mask)
            }
            Op::Compact(s) => {
                let bytes = s.bytes as u8;
                let mask: Vec<u8> = (0..16).map(|i| i % bytes).collect();
                self.shuffle(ty, arg[0], arg[0], &mask)
            }
            Op::Dot4(s) => self.dot4(s.signs, arg[0], arg[1], arg[2]),
            Op::Dot2(_) => self.dot2(arg[0], arg[1], arg[2]),
            Op::SubSat(_) => self.b.ins().ssub_sat(arg[0], arg[1]),
            Op::Pick16(_) => self.pick16(arg[0], arg[1]),
            Op::Dot2Sat(_) if self.features.pair_sums => self.b.ins().x86_pmaddubsw(arg[1], arg[0]),
            Op::Dot2Sat(_) => self.dot2_sat(arg[0], arg[1]),
            Op::For(_)
            | Op::Yield(_)
            | Op::Call(_)
            | Op::PackPanels(_)
            | Op::PackBlocks(_)
            | Op::Load(_)
            | Op::LoadSplat32(_)
            | Op::LoadLow64(_)
            | Op::Store(_)
            | Op::StoreLow(_)
            | Op::Lookup(_)
            | Op::Scratch(_)
            | Op::TileZero(_)
            | Op::TileLoad(_)
            | Op::TileDot(_)
            | Op::TileStore(_) => {
                return Err(self.fail(format!("'{}' is not a lane op", kind.spec().name)));
            }
        })
    }

    fn int_constant(&mut self, ty: clif::Type, value: i64) -> clif::Value {
        let lane = ty.lane_type();
        let masked = if lane.bits() == 64 { value } else { value & ((1 << lane.bits()) - 1) };
        if !ty.is_vector() {
            return self.b.ins().iconst(ty, masked);
        }
        let bytes = masked.to_le_bytes();
        self.vector_constant(ty, &bytes[..lane.bytes() as usize])
    }

    fn float_constant(&mut self, ty: clif::Type, value: f64) -> clif::Value {
        match (ty.lane_type(), ty.is_vector()) {
            (types::F32, false) => self.b.ins().f32const(Ieee32::with_float(value as f32)),
            (_, false) => self.b.ins().f64const(Ieee64::with_float(value)),
            (types::F32, true) => self.vector_constant(ty, &(value as f32).to_le_bytes()),
            (_, true) => self.vector_constant(ty, &value.to_le_bytes()),
        }
    }

    /// `lane` repeated through a vector.
    fn vector_constant(&mut self, ty: clif::Type, lane: &[u8]) -> clif::Value {
        let bytes: Vec<u8> = lane.iter().copied().cycle().take(ty.bytes() as usize).collect();
        let constant = self.b.func.dfg.constants.insert(bytes.into());
        self.b.ins().vconst(ty, constant)
    }

    /// Quotient toward zero by a constant other than 0.
    fn divide(
        &mut self,
        ty: clif::Type,
        a: clif::Value,
        by: i64,
    ) -> Result<clif::Value, CodegenError> {
        let unused = 64 - ty.bits();
        if by << unused >> unused != by {
            return Err(self.fail(format!("a division of {} bits by {by}", ty.bits())));
        }
        Ok(match by {
            1 => a,
            -1 => self.b.ins().ineg(a),
            _ => {
                let by = self.int_constant(ty, by);
                self.b.ins().sdiv(a, by)
            }
        })
    }

    /// i8x16 · i8x16, low bytes: x86 has no such instruction, so through words.
    fn multiply_bytes(&mut self, a: clif::Value, b: clif::Value) -> clif::Value {
        if self.arch == Arch::Aarch64 {
            return self.b.ins().imul(a, b);
        }
        let low = (self.b.ins().uwiden_low(a), self.b.ins().uwiden_low(b));
        let high = (self.b.ins().uwiden_high(a), self.b.ins().uwiden_high(b));
        let byte = self.vector_constant(types::I16X8, &[0xFF, 0]);
        let [low, high] = [low, high].map(|(a, b)| {
            let product = self.b.ins().imul(a, b);
            self.b.ins().band(product, byte)
        });
        self.b.ins().unarrow(low, high)
    }

    /// The same bits as `ty`.
    fn cast(&mut self, v: clif::Value, ty: clif::Type) -> clif::Value {
        let from = self.b.func.dfg.value_type(v);
        if from == ty {
            return v;
        }
        let flags = if from.is_vector() || ty.is_vector() {
            MemFlagsData::new().with_endianness(clif::Endianness::Little)
        } else {
            MemFlagsData::new()
        };
        self.b.ins().bitcast(ty, flags, v)
    }

    /// Lanes of a and b in turn, from byte `first` on.
    fn interleave(
        &mut self,
        ty: clif::Type,
        a: clif::Value,
        b: clif::Value,
        first: u8,
    ) -> clif::Value {
        let width = ty.lane_type().bytes() as u8;
        let mask: Vec<u8> = (0..16).map(|i| interleaved(width, first, i)).collect();
        self.shuffle(ty, a, b, &mask)
    }

    fn shuffle(
        &mut self,
        ty: clif::Type,
        a: clif::Value,
        b: clif::Value,
        mask: &[u8],
    ) -> clif::Value {
        let a = self.cast(a, types::I8X16);
        let b = self.cast(b, types::I8X16);
        if !self.features.any_shuffle && !is_sse2_shuffle(mask) {
            let v = self.shuffle_in_memory(a, b, mask);
            return self.cast(v, ty);
        }
        let mask = self.b.func.dfg.immediates.push(mask.to_vec().into());
        let v = self.b.ins().shuffle(a, b, mask);
        self.cast(v, ty)
    }

    /// Any shuffle without `pshufb`, for which Cranelift would call a function that is not there.
    fn shuffle_in_memory(&mut self, a: clif::Value, b: clif::Value, mask: &[u8]) -> clif::Value {
        let slot = |bytes| clif::StackSlotData::new(clif::StackSlotKind::ExplicitSlot, bytes, 4);
        let from = self.b.create_sized_stack_slot(slot(32));
        self.b.ins().stack_store(types::I64, a, from, 0);
        self.b.ins().stack_store(types::I64, b, from, 16);
        if mask.windows(2).all(|w| w[1] == w[0] + 1) {
            return self.b.ins().stack_load(types::I64, types::I8X16, from, i32::from(mask[0]));
        }
        let to = self.b.create_sized_stack_slot(slot(16));
        for (i, &at) in mask.iter().enumerate() {
            let byte = self.b.ins().stack_load(types::I64, types::I8, from, i32::from(at));
            self.b.ins().stack_store(types::I64, byte, to, i as i32);
        }
        self.b.ins().stack_load(types::I64, types::I8X16, to, 0)
    }

    /// The tree that Cranelift folds into one dot-product instruction where the CPU has it:
    /// x86 wants the signed side first in each product, aarch64 the unsigned one.
    fn dot4(
        &mut self,
        signs: DotSigns,
        acc: clif::Value,
        a: clif::Value,
        w: clif::Value,
    ) -> clif::Value {
        let (a_low, a_high) = match signs {
            DotSigns::U8S8 => (self.b.ins().uwiden_low(a), self.b.ins().uwiden_high(a)),
            DotSigns::S8S8 => (self.b.ins().swiden_low(a), self.b.ins().swiden_high(a)),
        };
        let w_low = self.b.ins().swiden_low(w);
        let w_high = self.b.ins().swiden_high(w);
        let (low, high) = match self.arch {
            Arch::X86_64 => (self.b.ins().imul(w_low, a_low), self.b.ins().imul(w_high, a_high)),
            Arch::Aarch64 => (self.b.ins().imul(a_low, w_low), self.b.ins().imul(a_high, w_high)),
        };
        let low = self.sum_pairs_wide(low);
        let high = self.sum_pairs_wide(high);
        let sums = self.b.ins().iadd_pairwise(low, high);
        self.b.ins().iadd(sums, acc)
    }

    /// i16x8 → i32x4 of the sums of neighbours.
    fn sum_pairs_wide(&mut self, v: clif::Value) -> clif::Value {
        let low = self.b.ins().swiden_low(v);
        let high = self.b.ins().swiden_high(v);
        self.b.ins().iadd_pairwise(low, high)
    }

    /// `pshufb`; `tbl`, which wants indices of 16 and above where the result is 0.
    fn pick16(&mut self, table: clif::Value, indices: clif::Value) -> clif::Value {
        match self.arch {
            Arch::X86_64 if self.features.any_shuffle => self.b.ins().x86_pshufb(table, indices),
            Arch::X86_64 => self.pick16_in_memory(table, indices),
            Arch::Aarch64 => {
                let kept = self.b.ins().iconst(types::I8, 0x8F);
                let kept = self.b.ins().splat(types::I8X16, kept);
                let indices = self.b.ins().band(indices, kept);
                self.b.ins().swizzle(table, indices)
            }
        }
    }

    /// Byte by byte, without `pshufb`.
    fn pick16_in_memory(&mut self, table: clif::Value, indices: clif::Value) -> clif::Value {
        let slot = clif::StackSlotData::new(clif::StackSlotKind::ExplicitSlot, 16, 4);
        let (from, to) =
            (self.b.create_sized_stack_slot(slot.clone()), self.b.create_sized_stack_slot(slot));
        self.b.ins().stack_store(types::I64, table, from, 0);
        let base = self.b.ins().stack_addr(types::I64, from, 0);
        for i in 0..16 {
            let index = self.b.ins().extractlane(indices, i);
            let wide = self.b.ins().uextend(types::I64, index);
            let low = self.b.ins().band_imm_u(wide, 15);
            let at = self.b.ins().iadd(base, low);
            let byte = self.b.ins().load(types::I8, flags(), at, 0);
            // All bits where bit 7 of the index is not set.
            let sign = self.b.ins().sshr_imm_u(index, 7);
            let byte = self.b.ins().band_not(byte, sign);
            self.b.ins().stack_store(types::I64, byte, to, i32::from(i));
        }
        self.b.ins().stack_load(types::I64, types::I8X16, to, 0)
    }

    /// Unsigned a, signed b: products fit i16, their sums are narrowed from i32.
    fn dot2_sat(&mut self, a: clif::Value, b: clif::Value) -> clif::Value {
        let (a_low, a_high) = (self.b.ins().uwiden_low(a), self.b.ins().uwiden_high(a));
        let (b_low, b_high) = (self.b.ins().swiden_low(b), self.b.ins().swiden_high(b));
        let low = self.b.ins().imul(a_low, b_low);
        let high = self.b.ins().imul(a_high, b_high);
        let (low, high) = (self.sum_pairs_wide(low), self.sum_pairs_wide(high));
        self.b.ins().snarrow(low, high)
    }

    fn dot2(&mut self, acc: clif::Value, a: clif::Value, w: clif::Value) -> clif::Value {
        let (a_low, a_high) = (self.b.ins().swiden_low(a), self.b.ins().swiden_high(a));
        let (w_low, w_high) = (self.b.ins().swiden_low(w), self.b.ins().swiden_high(w));
        let low = self.b.ins().imul(a_low, w_low);
        let high = self.b.ins().imul(a_high, w_high);
        let sums = self.b.ins().iadd_pairwise(low, high);
        self.b.ins().iadd(sums, acc)
    }
}

/// Whether SSE2 alone has an instruction for this shuffle that Cranelift knows: 32-bit lanes of
/// one vector (`pshufd`), two of each (`shufps`), or an interleave (`punpck…`).
fn is_sse2_shuffle(mask: &[u8]) -> bool {
    let words: Vec<u8> = mask.chunks(4).map(|c| c[0] / 4).collect();
    let whole = mask.iter().enumerate().all(|(i, &m)| m == words[i / 4] * 4 + i as u8 % 4);
    let from_a = |words: &[u8]| words.iter().all(|&w| w < 4);
    let from_b = |words: &[u8]| words.iter().all(|&w| w >= 4);
    let halves = words.split_at(2);
    let one_or_two = from_a(&words) || from_b(&words) || (from_a(halves.0) && from_b(halves.1));
    let interleaves = |(width, first)| (0..16).all(|i| mask[i] == interleaved(width, first, i));
    (whole && one_or_two)
        || [1, 2, 4, 8].into_iter().any(|w| interleaves((w, 0)) || interleaves((w, 8)))
}

/// Byte `i` of the interleave of lanes of `width` bytes from byte `first` on.
fn interleaved(width: u8, first: u8, i: usize) -> u8 {
    let (lane, byte) = (i as u8 / width, i as u8 % width);
    lane % 2 * 16 + first + lane / 2 * width + byte
}

fn int_cc(pred: Pred) -> IntCC {
    match pred {
        Pred::Eq => IntCC::Equal,
        Pred::Ne => IntCC::NotEqual,
        Pred::Lt => IntCC::SignedLessThan,
        Pred::Le => IntCC::SignedLessThanOrEqual,
        Pred::Gt => IntCC::SignedGreaterThan,
        Pred::Ge => IntCC::SignedGreaterThanOrEqual,
        Pred::Ult => IntCC::UnsignedLessThan,
    }
}

fn float_cc(pred: Pred) -> FloatCC {
    match pred {
        Pred::Eq => FloatCC::Equal,
        Pred::Ne => FloatCC::NotEqual,
        Pred::Lt | Pred::Ult => FloatCC::LessThan,
        Pred::Le => FloatCC::LessThanOrEqual,
        Pred::Gt => FloatCC::GreaterThan,
        Pred::Ge => FloatCC::GreaterThanOrEqual,
    }
}
