//! Ops whose result is an integer in a general register.
//!
//! Only the low bits that the type has are defined; what needs more extends first.

use super::codes::*;
use super::literals::Literal;
use super::machine::xmm;
use super::plan::Class;
use super::regs::SCRATCH;
use super::walk::{Loc, Walk};
use crate::CodegenError;
use iced_x86::{Code, Instruction, Register};
use qcc_ir::dialect::loops::{Op, Pred};
use qcc_ir::{DType, OpId, Value};
use smallvec::SmallVec;

type Result<T> = std::result::Result<T, CodegenError>;

/// The low `bytes` bytes of a 64-bit register, by name.
pub(super) fn narrow(r: Register, bytes: usize) -> Register {
    let n = r as u32 - Register::RAX as u32;
    match bytes {
        // AL CL DL BL, then SPL BPL SIL DIL behind AH CH DH BH, then R8L.
        1 if n < 4 => Register::AL + n,
        1 => Register::SPL + (n - 4),
        2 => Register::AX + n,
        4 => Register::EAX + n,
        _ => r,
    }
}

/// An instruction with 32 and 64 bits.
#[derive(Clone, Copy)]
struct Alu {
    reg: [Code; 2],
    imm: [Code; 2],
    commutative: bool,
}

const ADD: Alu = Alu {
    reg: [Code::Add_r32_rm32, Code::Add_r64_rm64],
    imm: [Code::Add_rm32_imm32, Code::Add_rm64_imm32],
    commutative: true,
};
const SUB: Alu = Alu {
    reg: [Code::Sub_r32_rm32, Code::Sub_r64_rm64],
    imm: [Code::Sub_rm32_imm32, Code::Sub_rm64_imm32],
    commutative: false,
};
const AND: Alu = Alu {
    reg: [Code::And_r32_rm32, Code::And_r64_rm64],
    imm: [Code::And_rm32_imm32, Code::And_rm64_imm32],
    commutative: true,
};
const OR: Alu = Alu {
    reg: [Code::Or_r32_rm32, Code::Or_r64_rm64],
    imm: [Code::Or_rm32_imm32, Code::Or_rm64_imm32],
    commutative: true,
};
const XOR: Alu = Alu {
    reg: [Code::Xor_r32_rm32, Code::Xor_r64_rm64],
    imm: [Code::Xor_rm32_imm32, Code::Xor_rm64_imm32],
    commutative: true,
};

/// How an integer is made 32 or 64 bits wide.
#[derive(Clone, Copy, PartialEq)]
enum Extend {
    Signed,
    Unsigned,
}

impl Walk<'_> {
    pub fn scalar_op(&mut self, op: OpId, kind: &Op) -> Result<()> {
        let f = self.plan.kernel;
        let v = f.result(op);
        let arg: SmallVec<[Value; 3]> = SmallVec::from_slice(f.operands(op));
        let size = self.plan.lanes(v).0.size();
        match kind {
            Op::Add(_) => self.alu(v, &arg, ADD, size),
            Op::Sub(_) => self.alu(v, &arg, SUB, size),
            Op::And(_) => self.alu(v, &arg, AND, size),
            Op::Or(_) => self.alu(v, &arg, OR, size),
            Op::Xor(_) => self.alu(v, &arg, XOR, size),
            Op::Mul(_) => self.multiply(v, &arg, size),
            Op::Shl(s) => self.shift_scalar(v, arg[0], kind, s.n, size),
            Op::ShrS(s) => self.shift_scalar(v, arg[0], kind, s.n, size),
            Op::ShrU(s) => self.shift_scalar(v, arg[0], kind, s.n, size),
            Op::ShlVar(_) | Op::ShrSVar(_) => self.shift_by(v, &arg, kind, size),
            Op::MinS(_) => self.extreme_scalar(v, &arg, Extend::Signed, CMOVG, size),
            Op::MaxS(_) => self.extreme_scalar(v, &arg, Extend::Signed, CMOVL, size),
            Op::MinU(_) => self.extreme_scalar(v, &arg, Extend::Unsigned, CMOVA, size),
            Op::MaxU(_) => self.extreme_scalar(v, &arg, Extend::Unsigned, CMOVB, size),
            Op::Clz(_) => self.leading_zeros(v, arg[0], size),
            Op::DivS(s) => self.divide(v, arg[0], s.by, size),
            Op::Cmp(s) => self.compare_scalars(v, &arg, s.pred),
            Op::Fcmp(s) => self.compare_float_scalars(v, &arg, s.pred),
            Op::Select(_) => self.select_scalar(v, &arg),
            Op::ExtS(_) => self.extend_op(v, arg[0], Extend::Signed),
            Op::ExtU(_) => self.extend_op(v, arg[0], Extend::Unsigned),
            Op::Trunc(_) => {
                let from = self.general_register(arg[0], SCRATCH[0])?;
                self.define_as(v, from)
            }
            Op::IndexCast(_) => {
                self.release_operands();
                let d = self.define_general(v)?;
                self.read_variable(arg[0], d)
            }
            Op::Extract(s) => self.extract_int(v, arg[0], s.lane, size),
            Op::FloatToInt(_) => self.float_to_int(v, arg[0], size),
            Op::Bitcast(_) => {
                let from = self.register(arg[0])?;
                let d = self.define_general(v)?;
                self.move_from_xmm(d, from, size);
                Ok(())
            }
            _ => Err(self.fail(format!("'{}' on integers", kind.spec().name))),
        }
    }

    // ---- operands ----

    /// The register of an integer; a constant is put into `scratch`.
    pub fn general_register(&mut self, v: Value, scratch: Register) -> Result<Register> {
        match (self.loc(v), self.plan.class(v)) {
            (Loc::General(r), _) => Ok(self.convention.registers[r as usize]),
            (_, &Class::Integer(n)) => {
                self.set_general(scratch, n);
                Ok(scratch)
            }
            _ => Err(self.fail("a value is read before it is made")),
        }
    }

    /// Register `r` = `v`, which may be a constant.
    pub fn copy_general(&mut self, r: u8, v: Value) {
        let to = self.convention.registers[r as usize];
        match (self.loc(v), self.plan.class(v)) {
            (Loc::General(from), _) => self.mov(to, self.convention.registers[from as usize]),
            (_, &Class::Integer(n)) => self.set_general(to, n),
            _ => debug_assert!(false, "a value is read before it is made"),
        }
    }

    fn mov(&mut self, to: Register, from: Register) {
        if to != from {
            self.asm.made(Instruction::with2(Code::Mov_r64_rm64, to, from));
        }
    }

    /// `v` is what `from` holds.
    fn define_as(&mut self, v: Value, from: Register) -> Result<()> {
        self.release_operands();
        let d = self.define_general(v)?;
        self.mov(d, from);
        Ok(())
    }

    /// `code` with two registers of at least 32 bits.
    fn rr(&mut self, codes: [Code; 2], size: usize, d: Register, s: Register) {
        let wide = size.max(4);
        let made =
            Instruction::with2(codes[usize::from(wide == 8)], narrow(d, wide), narrow(s, wide));
        self.asm.made(made);
    }
    fn ri(&mut self, codes: [Code; 2], size: usize, d: Register, n: i32) {
        let wide = size.max(4);
        self.asm.made(Instruction::with2(codes[usize::from(wide == 8)], narrow(d, wide), n));
    }

    /// The integer `v` in `to`, extended to at least 32 bits.
    fn extended(&mut self, v: Value, to: Register, how: Extend) -> Result<Register> {
        let size = self.plan.lanes(v).0.size();
        let from = self.general_register(v, to)?;
        if size >= 4 {
            return Ok(from);
        }
        let code = match (how, size) {
            (Extend::Signed, 1) => Code::Movsx_r32_rm8,
            (Extend::Signed, _) => Code::Movsx_r32_rm16,
            (Extend::Unsigned, 1) => Code::Movzx_r32_rm8,
            (Extend::Unsigned, _) => Code::Movzx_r32_rm16,
        };
        self.asm.made(Instruction::with2(code, narrow(to, 4), narrow(from, size)));
        Ok(to)
    }

    // ---- arithmetic ----

    fn small(&self, v: Value) -> Option<i32> {
        match self.plan.class(v) {
            Class::Integer(n) => i32::try_from(*n).ok(),
            _ => None,
        }
    }

    fn alu(&mut self, v: Value, arg: &[Value], alu: Alu, size: usize) -> Result<()> {
        let (mut a, mut b) = (arg[0], arg[1]);
        if alu.commutative && self.small(a).is_some() {
            (a, b) = (b, a);
        }
        let ra = self.general_register(a, SCRATCH[0])?;
        if let Some(n) = self.small(b) {
            self.define_as(v, ra)?;
            let d = self.general_register(v, SCRATCH[0])?;
            self.ri(alu.imm, size, d, n);
            return Ok(());
        }
        let rb = self.general_register(b, SCRATCH[1])?;
        self.release_operands();
        let d = self.define_general(v)?;
        match () {
            _ if d != rb || ra == rb => {
                self.mov(d, ra);
                self.rr(alu.reg, size, d, if ra == rb { d } else { rb });
            }
            _ if alu.commutative => self.rr(alu.reg, size, d, ra),
            _ => {
                self.mov(SCRATCH[0], ra);
                self.rr(alu.reg, size, SCRATCH[0], rb);
                self.mov(d, SCRATCH[0]);
            }
        }
        Ok(())
    }

    fn multiply(&mut self, v: Value, arg: &[Value], size: usize) -> Result<()> {
        let alu = Alu {
            reg: [Code::Imul_r32_rm32, Code::Imul_r64_rm64],
            imm: [Code::INVALID; 2],
            commutative: true,
        };
        let (mut a, mut b) = (arg[0], arg[1]);
        if self.small(a).is_some() {
            (a, b) = (b, a);
        }
        let Some(n) = self.small(b) else { return self.alu(v, &[a, b], alu, size) };
        let ra = self.general_register(a, SCRATCH[0])?;
        self.release_operands();
        let d = self.define_general(v)?;
        let made = match size {
            8 => Instruction::with3(Code::Imul_r64_rm64_imm32, d, ra, n),
            _ => {
                let (d, ra) = (narrow(d, 4), narrow(ra, 4));
                Instruction::with3(Code::Imul_r32_rm32_imm32, d, ra, n)
            }
        };
        self.asm.made(made);
        Ok(())
    }

    fn shift_scalar(&mut self, v: Value, a: Value, kind: &Op, n: u32, size: usize) -> Result<()> {
        let (codes, how) = match kind {
            Op::Shl(_) => ([Code::Shl_rm32_imm8, Code::Shl_rm64_imm8], Extend::Unsigned),
            Op::ShrS(_) => ([Code::Sar_rm32_imm8, Code::Sar_rm64_imm8], Extend::Signed),
            _ => ([Code::Shr_rm32_imm8, Code::Shr_rm64_imm8], Extend::Unsigned),
        };
        let from = self.extended(a, SCRATCH[0], how)?;
        self.define_as(v, from)?;
        let d = self.general_register(v, SCRATCH[0])?;
        self.ri(codes, size, d, n as i32);
        Ok(())
    }

    /// By an amount that counts modulo the width.
    fn shift_by(&mut self, v: Value, arg: &[Value], kind: &Op, size: usize) -> Result<()> {
        let codes = match kind {
            Op::ShlVar(_) => [Code::VEX_Shlx_r32_rm32_r32, Code::VEX_Shlx_r64_rm64_r64],
            _ => [Code::VEX_Sarx_r32_rm32_r32, Code::VEX_Sarx_r64_rm64_r64],
        };
        let a = self.extended(arg[0], SCRATCH[0], Extend::Signed)?;
        let mut n = self.general_register(arg[1], SCRATCH[1])?;
        if size < 4 {
            self.mov(SCRATCH[1], n);
            n = SCRATCH[1];
            self.ri(AND.imm, 4, n, 8 * size as i32 - 1);
        }
        self.release_operands();
        let d = self.define_general(v)?;
        let wide = size.max(4);
        let [d, a, n] = [d, a, n].map(|r| narrow(r, wide));
        self.asm.made(Instruction::with3(codes[usize::from(wide == 8)], d, a, n));
        Ok(())
    }

    /// `cmov` takes b where the comparison of a with b says so.
    fn extreme_scalar(
        &mut self,
        v: Value,
        arg: &[Value],
        how: Extend,
        cmov: [Code; 2],
        size: usize,
    ) -> Result<()> {
        let a = self.extended(arg[0], SCRATCH[0], how)?;
        let b = self.extended(arg[1], SCRATCH[1], how)?;
        self.mov(SCRATCH[0], a);
        self.rr([Code::Cmp_r32_rm32, Code::Cmp_r64_rm64], size, SCRATCH[0], b);
        self.rr(cmov, size, SCRATCH[0], b);
        self.define_as(v, SCRATCH[0])
    }

    fn leading_zeros(&mut self, v: Value, a: Value, size: usize) -> Result<()> {
        let a = self.extended(a, SCRATCH[0], Extend::Unsigned)?;
        self.release_operands();
        let d = self.define_general(v)?;
        self.rr([Code::Lzcnt_r32_rm32, Code::Lzcnt_r64_rm64], size, d, a);
        if size < 4 {
            self.ri(SUB.imm, 4, d, 32 - 8 * size as i32);
        }
        Ok(())
    }

    /// Quotient toward zero by a constant, wrapping.
    fn divide(&mut self, v: Value, a: Value, by: i64, size: usize) -> Result<()> {
        let unused = 64 - 8 * size as u32;
        if by << unused >> unused != by {
            return Err(self.fail(format!("a division of {} bits by {by}", 8 * size)));
        }
        if by == 1 || by == -1 {
            let from = self.general_register(a, SCRATCH[0])?;
            self.define_as(v, from)?;
            if by == -1 {
                let d = self.general_register(v, SCRATCH[0])?;
                self.asm.made(Instruction::with1(Code::Neg_rm64, d));
            }
            return Ok(());
        }
        if size == 8 {
            return self.divide_quad(v, a, by);
        }
        // ⌊a·m / 2^(31+l)⌋ + [a < 0] with m = ⌊2^(31+l)/|by|⌋ + 1 < 2^32 (Granlund, Montgomery).
        let divisor = by.unsigned_abs();
        let l = 64 - (divisor - 1).leading_zeros();
        let m = ((1u64 << (31 + l)) / divisor + 1) as i64;
        let (x, q) = (SCRATCH[0], SCRATCH[1]);
        let from = self.extended(a, x, Extend::Signed)?;
        self.asm.made(Instruction::with2(Code::Movsxd_r64_rm32, x, narrow(from, 4)));
        self.set_general(q, m);
        self.rr([Code::Imul_r32_rm32, Code::Imul_r64_rm64], 8, q, x);
        self.ri([Code::Sar_rm32_imm8, Code::Sar_rm64_imm8], 8, q, (31 + l) as i32);
        self.ri([Code::Sar_rm32_imm8, Code::Sar_rm64_imm8], 8, x, 63);
        let (d, s) = if by > 0 { (q, x) } else { (x, q) };
        self.rr(SUB.reg, 8, d, s);
        self.define_as(v, d)
    }

    /// By `idiv`, which wants `rax` and `rdx`.
    fn divide_quad(&mut self, v: Value, a: Value, by: i64) -> Result<()> {
        let (rax, rdx, divisor) = (Register::RAX, Register::RDX, SCRATCH[1]);
        let a = self.general_register(a, rax)?;
        self.mov(rax, a);
        self.asm.made(Instruction::with1(Code::Push_r64, rdx));
        self.set_general(divisor, by);
        self.asm.put(Instruction::with(Code::Cqo));
        self.asm.made(Instruction::with1(Code::Idiv_rm64, divisor));
        self.asm.made(Instruction::with1(Code::Pop_r64, rdx));
        self.define_as(v, rax)
    }

    // ---- comparisons ----

    fn compare_scalars(&mut self, v: Value, arg: &[Value], pred: Pred) -> Result<()> {
        let (how, set) = match pred {
            Pred::Eq => (Extend::Unsigned, Code::Sete_rm8),
            Pred::Ne => (Extend::Unsigned, Code::Setne_rm8),
            Pred::Lt => (Extend::Signed, Code::Setl_rm8),
            Pred::Le => (Extend::Signed, Code::Setle_rm8),
            Pred::Gt => (Extend::Signed, Code::Setg_rm8),
            Pred::Ge => (Extend::Signed, Code::Setge_rm8),
            Pred::Ult => (Extend::Unsigned, Code::Setb_rm8),
        };
        let size = self.plan.lanes(arg[0]).0.size();
        let a = self.extended(arg[0], SCRATCH[0], how)?;
        let b = self.extended(arg[1], SCRATCH[1], how)?;
        self.rr([Code::Cmp_r32_rm32, Code::Cmp_r64_rm64], size, a, b);
        self.define_flag(v, set)
    }

    /// `v` = a condition of the flags as 0 or 1.
    fn define_flag(&mut self, v: Value, set: Code) -> Result<()> {
        self.asm.made(Instruction::with1(set, Register::AL));
        self.define_byte(v)
    }

    /// `v` = `al`.
    fn define_byte(&mut self, v: Value) -> Result<()> {
        self.release_operands();
        let d = self.define_general(v)?;
        self.asm.made(Instruction::with2(Code::Movzx_r32_rm8, narrow(d, 4), Register::AL));
        Ok(())
    }

    fn compare_float_scalars(&mut self, v: Value, arg: &[Value], pred: Pred) -> Result<()> {
        let forms = if self.plan.lanes(arg[0]).0 == DType::F32 { UCOMISS } else { UCOMISD };
        let (mut a, mut b) = (self.register(arg[0])?, self.register(arg[1])?);
        if matches!(pred, Pred::Lt | Pred::Le | Pred::Ult) {
            (a, b) = (b, a); // "above" is false for NaN, "below" is not
        }
        self.asm.op(self.m.code(forms), &[xmm(a).into(), xmm(b).into()]);
        match pred {
            Pred::Lt | Pred::Gt | Pred::Ult => self.define_flag(v, Code::Seta_rm8),
            Pred::Le | Pred::Ge => self.define_flag(v, Code::Setae_rm8),
            Pred::Eq | Pred::Ne => {
                let (equal, ordered, join) = match pred {
                    Pred::Eq => (Code::Sete_rm8, Code::Setnp_rm8, AND),
                    _ => (Code::Setne_rm8, Code::Setp_rm8, OR),
                };
                self.asm.made(Instruction::with1(equal, Register::AL));
                self.asm.made(Instruction::with1(ordered, narrow(SCRATCH[1], 1)));
                self.rr(join.reg, 4, SCRATCH[0], SCRATCH[1]);
                self.define_byte(v)
            }
        }
    }

    fn select_scalar(&mut self, v: Value, arg: &[Value]) -> Result<()> {
        let d = self.define_general(v)?;
        match self.loc(v) {
            Loc::General(r) => self.copy_general(r, arg[2]),
            _ => return Err(self.fail("a select without a register")),
        }
        let a = self.general_register(arg[1], SCRATCH[0])?;
        let p = narrow(self.general_register(arg[0], SCRATCH[1])?, 1);
        self.asm.op(Code::Test_rm8_r8, &[p.into(), p.into()]);
        self.asm.made(Instruction::with2(Code::Cmovne_r64_rm64, d, a));
        Ok(())
    }

    // ---- conversions ----

    fn extend_op(&mut self, v: Value, x: Value, how: Extend) -> Result<()> {
        let (from, to) = (self.plan.lanes(x).0.size(), self.plan.lanes(v).0.size());
        let code = match (how, from, to) {
            (Extend::Signed, 1, 8) => Code::Movsx_r64_rm8,
            (Extend::Signed, 2, 8) => Code::Movsx_r64_rm16,
            (Extend::Signed, 4, 8) => Code::Movsxd_r64_rm32,
            (Extend::Signed, 1, _) => Code::Movsx_r32_rm8,
            (Extend::Signed, _, _) => Code::Movsx_r32_rm16,
            // Writing 32 bits clears the rest.
            (Extend::Unsigned, 1, _) => Code::Movzx_r32_rm8,
            (Extend::Unsigned, 2, _) => Code::Movzx_r32_rm16,
            (Extend::Unsigned, _, _) => Code::Mov_r32_rm32,
        };
        let wide = if how == Extend::Signed && to == 8 { 8 } else { 4 };
        if let Class::Folded(load) = *self.plan.class(x) {
            let from = self.address(load)?;
            let d = self.define_general(v)?;
            self.asm.gpr_mem(code, narrow(d, wide), &from);
            return Ok(());
        }
        let source = self.general_register(x, SCRATCH[0])?;
        self.release_operands();
        let d = self.define_general(v)?;
        self.asm.made(Instruction::with2(code, narrow(d, wide), narrow(source, from)));
        Ok(())
    }

    fn move_from_xmm(&mut self, d: Register, from: u8, size: usize) {
        let forms = if size == 8 { MOVQ_FROM } else { MOVD_FROM };
        self.asm.op(self.m.code(forms), &[narrow(d, size.max(4)).into(), xmm(from).into()]);
    }

    fn extract_int(&mut self, v: Value, x: Value, lane: u32, size: usize) -> Result<()> {
        let mut half = self.register(x)?;
        let at = lane as usize * size;
        if at >= 16 {
            let t = self.temp()?;
            self.extract_128(t, half, (at / 16) as u8);
            half = t;
        }
        self.release_operands();
        let d = self.define_general(v)?;
        let lane = (at % 16 / size) as u8;
        if lane == 0 && size >= 4 {
            self.move_from_xmm(d, half, size);
            return Ok(());
        }
        let (forms, wide) = match size {
            1 => (PEXTRB, 4),
            2 => (PEXTRW, 4),
            4 => (PEXTRD, 4),
            _ => (PEXTRQ, 8),
        };
        let ops = [narrow(d, wide).into(), xmm(half).into(), lane.into()];
        self.asm.op(self.m.code(forms), &ops);
        Ok(())
    }

    /// Toward zero; out of range to the nearest end, NaN to 0.
    fn float_to_int(&mut self, v: Value, x: Value, size: usize) -> Result<()> {
        let single = self.plan.lanes(x).0 == DType::F32;
        let x = xmm(self.register(x)?);
        let zero = self.temp()?;
        let d = self.define_general(v)?;
        let forms = match (single, size) {
            (true, 8) => CVTTSS2SI64,
            (true, _) => CVTTSS2SI32,
            (false, 8) => CVTTSD2SI64,
            (false, _) => CVTTSD2SI32,
        };
        self.asm.op(self.m.code(forms), &[narrow(d, size.max(4)).into(), x.into()]);
        // The minimum, and only that, overflows: it says that the value did not fit.
        self.ri([Code::Cmp_rm32_imm32, Code::Cmp_rm64_imm32], size, d, 1);
        let fits = self.asm.jump_forward(Code::Jno_rel8_64);
        self.materialize(zero, &Literal::lanes(0, 8));
        let forms = if single { UCOMISS } else { UCOMISD };
        self.asm.op(self.m.code(forms), &[x.into(), xmm(zero).into()]);
        let number = self.asm.jump_forward(Code::Jnp_rel8_64);
        self.rr(XOR.reg, 4, d, d);
        self.asm.land(number);
        // Not above: negative and the minimum, or zero from NaN.
        let done = self.asm.jump_forward(Code::Jbe_rel8_64);
        self.ri(SUB.imm, size, d, 1);
        self.asm.land(done);
        self.asm.land(fits);
        Ok(())
    }
}

const CMOVG: [Code; 2] = [Code::Cmovg_r32_rm32, Code::Cmovg_r64_rm64];
const CMOVL: [Code; 2] = [Code::Cmovl_r32_rm32, Code::Cmovl_r64_rm64];
const CMOVA: [Code; 2] = [Code::Cmova_r32_rm32, Code::Cmova_r64_rm64];
const CMOVB: [Code; 2] = [Code::Cmovb_r32_rm32, Code::Cmovb_r64_rm64];
