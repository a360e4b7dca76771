//! Loads, stores and lookups.

use super::asm::{Mem, Operand};
use super::codes::*;
use super::literals::Literal;
use super::machine::{mask, xmm, ymm};
use super::plan::Class;
use super::regs::{SCRATCH, SCRATCH_MASK};
use super::scalars::narrow;
use super::walk::{Loc, Walk};
use crate::CodegenError;
use iced_x86::{Code, Instruction, Register};
use qcc_ir::dialect::loops::{Lookup, Op};
use qcc_ir::{DType, OpId, Value};

type Result<T> = std::result::Result<T, CodegenError>;

impl Walk<'_> {
    /// Loads, stores and lookups; false if `kind` is none of them.
    pub fn memory_op(&mut self, op: OpId, kind: &Op) -> Result<bool> {
        let kernel = self.plan.kernel;
        let operands = kernel.operands(op);
        match kind {
            Op::Load(_) => {
                let from = self.address(op)?;
                self.load(kernel.result(op), &from)?;
            }
            Op::LoadSplat32(_) => {
                let from = self.address(op)?;
                let d = self.define_vector(kernel.result(op))?;
                self.v2(PBROADCASTD, d, from);
            }
            Op::LoadLow64(_) => {
                let from = self.address(op)?;
                self.load_halves(kernel.result(op), &from)?;
            }
            Op::Store(_) => self.store(op, operands[0])?,
            Op::StoreLow(s) => self.store_low(op, operands[0], s.bytes as usize)?,
            Op::Lookup(s) => self.lookup(op, s)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn load(&mut self, v: Value, from: &Mem) -> Result<()> {
        let (elem, _) = self.plan.lanes(v);
        if self.plan.is_vector(v) {
            let d = self.define_vector(v)?;
            self.v2(LOAD, d, from.clone());
        } else if elem.is_float() {
            let d = self.define_vector(v)?;
            self.load_float(d, elem, from.clone());
        } else {
            let d = self.define_general(v)?;
            self.load_general(d, elem.size(), from);
        }
        Ok(())
    }

    /// An integer of `size` bytes, zeros above.
    pub fn load_general(&mut self, d: Register, size: usize, from: &Mem) {
        let (code, d) = match size {
            1 => (Code::Movzx_r32_rm8, narrow(d, 4)),
            2 => (Code::Movzx_r32_rm16, narrow(d, 4)),
            4 => (Code::Mov_r32_rm32, narrow(d, 4)),
            _ => (Code::Mov_r64_rm64, d),
        };
        self.asm.gpr_mem(code, d, from);
    }

    pub fn load_float(&mut self, d: u8, elem: DType, from: Mem) {
        let forms = if elem == DType::F32 { MOVSS_LOAD } else { MOVSD_LOAD };
        self.asm.op(self.m.code(forms), &[xmm(d).into(), from.into()]);
    }

    /// Groups of 8 bytes into the low halves of the 128-bit lanes.
    fn load_halves(&mut self, v: Value, from: &Mem) -> Result<()> {
        let d = self.define_vector(v)?;
        if self.m.bytes == 16 {
            self.asm.op(self.m.code(MOVSD_LOAD), &[xmm(d).into(), from.clone().into()]);
            return Ok(());
        }
        if self.m.bytes == 32 {
            self.asm.op(self.m.code(LOAD_XMM), &[xmm(d).into(), from.clone().into()]);
            let spread = 0b11_01_10_00; // 0, 2, 1, 3: the upper two are zero
            self.v2i(PERMQ_IMM, d, self.m.vector(d), spread);
            return Ok(());
        }
        let order = self.literal_register(&halves_order())?;
        let whole = self.temp()?;
        self.asm.op(self.m.code(LOAD_YMM), &[ymm(whole).into(), from.clone().into()]);
        self.v3(PERMQ, d, order, self.m.vector(whole));
        Ok(())
    }

    fn store(&mut self, op: OpId, v: Value) -> Result<()> {
        let (elem, _) = self.plan.lanes(v);
        if self.plan.is_vector(v) {
            let from = self.register(v)?;
            let to = self.address(op)?;
            let from = self.m.vector(from);
            self.asm.op(self.m.code(STORE), &[to.into(), from.into()]);
        } else if elem.is_float() {
            let from = self.register(v)?;
            let to = self.address(op)?;
            let forms = if elem == DType::F32 { MOVSS_STORE } else { MOVSD_STORE };
            self.asm.op(self.m.code(forms), &[to.into(), xmm(from).into()]);
        } else {
            let from = self.general_register(v, SCRATCH[0])?;
            let to = self.address(op)?;
            self.store_general(&to, from, elem.size());
        }
        Ok(())
    }

    pub fn store_general(&mut self, to: &Mem, from: Register, size: usize) {
        let code = match size {
            1 => Code::Mov_rm8_r8,
            2 => Code::Mov_rm16_r16,
            4 => Code::Mov_rm32_r32,
            _ => Code::Mov_rm64_r64,
        };
        self.asm.op(code, &[to.clone().into(), narrow(from, size).into()]);
    }

    /// The low `bytes` bytes of a vector.
    fn store_low(&mut self, op: OpId, v: Value, bytes: usize) -> Result<()> {
        let from = self.register(v)?;
        let to = self.address(op)?;
        let whole = self.m.vector(from);
        match bytes {
            n if n == self.m.bytes => self.asm.op(self.m.code(STORE), &[to.into(), whole.into()]),
            32 => self.asm.op(self.m.code(STORE_YMM), &[to.into(), ymm(from).into()]),
            16 => self.asm.op(self.m.code(STORE_XMM), &[to.into(), xmm(from).into()]),
            8 => self.asm.op(self.m.code(MOVQ_FROM), &[to.into(), xmm(from).into()]),
            4 => self.asm.op(self.m.code(MOVD_FROM), &[to.into(), xmm(from).into()]),
            n if n > self.m.bytes => {
                return Err(self.fail(format!("store_low of {n} of {} bytes", self.m.bytes)));
            }
            n if self.m.evex => {
                self.set_byte_mask(n);
                let k = mask(SCRATCH_MASK);
                self.asm.masked(self.m.code(STORE_BYTES), k, &[to.into(), whole.into()]);
            }
            n => self.store_parts(from, &to, n)?,
        }
        Ok(())
    }

    /// The scratch mask: its low `n` bits set.
    fn set_byte_mask(&mut self, n: usize) {
        let bits = if n >= 64 { u64::MAX } else { (1 << n) - 1 };
        self.set_general(SCRATCH[0], bits as i64);
        let k = mask(SCRATCH_MASK);
        self.asm.made(Instruction::with2(Code::VEX_Kmovq_kr_r64, k, SCRATCH[0]));
    }

    /// Without byte masks: 16, 8, 4, 2 and 1 bytes.
    fn store_parts(&mut self, from: u8, to: &Mem, bytes: usize) -> Result<()> {
        let (mut half, mut at, mut left) = (from, 0, bytes);
        if left > 16 {
            self.asm.op(self.m.code(STORE_XMM), &[to.clone().into(), xmm(half).into()]);
            let high = self.temp()?;
            self.extract_128(high, half, 1);
            (half, at, left) = (high, 16, left - 16);
        }
        let mut lane = 0;
        for (size, forms) in [(8, PEXTRQ), (4, PEXTRD), (2, PEXTRW), (1, PEXTRB)] {
            if left >= size {
                let ops: [Operand; 3] = [
                    to.offset(at + lane).into(),
                    xmm(half).into(),
                    ((lane as usize / size) as u8).into(),
                ];
                self.asm.op(self.m.code(forms), &ops);
                lane += size as i64;
                left -= size;
            }
        }
        at += lane;
        debug_assert_eq!(at as usize, bytes);
        Ok(())
    }

    fn lookup(&mut self, op: OpId, s: &Lookup) -> Result<()> {
        let plan = self.plan;
        let index = plan.kernel.operands(op)[1];
        let scaled = SCRATCH[0];
        let from = self.general_register(index, scaled)?;
        let made = Instruction::with2(Code::Movsxd_r64_rm32, scaled, narrow(from, 4));
        self.asm.made(made);
        let scale = match s.stride {
            1 | 2 | 4 | 8 => s.stride as u32,
            stride => {
                let Ok(stride) = i32::try_from(stride) else {
                    return Err(self.fail(format!("a table with a stride of {stride} bytes")));
                };
                let made = Instruction::with3(Code::Imul_r64_rm64_imm32, scaled, scaled, stride);
                self.asm.made(made);
                1
            }
        };
        let from = match self.address(op)? {
            Mem::At { base, index: Register::None, displacement, .. } => {
                Mem::At { base, index: scaled, scale, displacement }
            }
            far => {
                self.asm.gpr_mem(Code::Lea_r64_m, SCRATCH[1], &far);
                Mem::At { base: SCRATCH[1], index: scaled, scale, displacement: 0 }
            }
        };
        self.release_operands();
        self.load(plan.kernel.result(op), &from)
    }

    /// `d` = the bits of `v`, which may be a literal.
    pub fn copy_vector(&mut self, d: u8, v: Value) -> Result<()> {
        let (m, plan) = (self.m, self.plan);
        match (self.loc(v), plan.class(v)) {
            (Loc::Vector(from), _) => {
                if from != d {
                    let ops = [m.vector(d).into(), m.vector(from).into()];
                    self.asm.op(m.code(MOVE), &ops);
                }
            }
            (_, Class::Literal(literal)) => match self.resident(literal) {
                Some(r) => {
                    let ops = [m.vector(d).into(), m.vector(r).into()];
                    self.asm.op(m.code(MOVE), &ops);
                }
                None => self.materialize(d, literal),
            },
            _ => return Err(self.fail("a value is read before it is made")),
        }
        Ok(())
    }
}

/// For `vpermq`: the first four quadwords spread over the low halves, zeros between.
pub(super) fn halves_order() -> Literal {
    let order: [u64; 8] = [0, 4, 1, 5, 2, 6, 3, 7];
    let bytes: Vec<u8> = order.iter().flat_map(|i| i.to_le_bytes()).collect();
    Literal::repeat(&bytes)
}
