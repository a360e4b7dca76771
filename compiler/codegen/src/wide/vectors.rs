//! Ops on vectors and float scalars, apart from shuffles and comparisons.

use super::asm::{Mem, Operand};
use super::codes::*;
use super::literals::Literal;
use super::machine::{Shape, single, xmm};
use super::memory::halves_order;
use super::plan::{Class, Plan};
use super::regs::SCRATCH;
use super::scalars::narrow;
use super::shuffles;
use super::walk::{Loc, Walk};
use crate::CodegenError;
use iced_x86::{Code, Register};
use qcc_ir::dialect::loops::{DotSigns, Op, Pred};
use qcc_ir::{DType, OpId, Value};
use smallvec::SmallVec;

type Result<T> = std::result::Result<T, CodegenError>;

/// Literals that the instructions of an op read, other than its operands.
pub(super) fn implied_literals(plan: &Plan, op: OpId, kind: &Op) -> Vec<Literal> {
    let f = plan.kernel;
    let Some(&result) = f.results(op).first() else { return vec![] };
    if !plan.is_vector(result) || *plan.class(result) == Class::Unused {
        return vec![];
    }
    let m = plan.machine;
    let size = plan.lanes(f.operands(op)[0]).0.size();
    let unsigned_compare = || vec![sign(size)];
    match kind {
        Op::LoadLow64(_) if m.bytes == 64 => vec![halves_order()],
        Op::Mul(_) if size == 1 => vec![low_bytes()],
        Op::Shl(s) if size == 1 => vec![Literal::lanes(0xFF << s.n & 0xFF, 1)],
        Op::ShrU(s) if size == 1 => vec![Literal::lanes(0xFF >> s.n, 1)],
        Op::ShrS(s) if size == 1 => vec![Literal::lanes(0xFF >> s.n, 1), shifted_sign(1, s.n)],
        Op::ShrS(s) if size == 8 && !m.evex => vec![shifted_sign(8, s.n)],
        Op::MinU(_) | Op::MaxU(_) if size == 8 && !m.evex => unsigned_compare(),
        Op::Cmp(s) if !m.evex => match s.pred {
            Pred::Ult => unsigned_compare(),
            Pred::Ne | Pred::Le | Pred::Ge => vec![Literal::lanes(-1, 8)],
            _ => vec![],
        },
        Op::WidenLowU(_) | Op::WidenHighU(_) => vec![Literal::lanes(0, 8)],
        Op::Shuffle(s) => shuffles::masks(&s.mask),
        Op::Compact(s) => shuffles::compact_order(m, s.bytes).into_iter().collect(),
        Op::Dot4(s) if !(m.vnni && s.signs == DotSigns::U8S8) => vec![low_bytes()],
        _ => vec![],
    }
}

/// The sign bit of lanes of `size` bytes.
pub(super) fn sign(size: usize) -> Literal {
    Literal::lanes(i64::MIN >> (64 - 8 * size), size)
}
/// Where the sign bit is after a shift to the right.
fn shifted_sign(size: usize, n: u32) -> Literal {
    Literal::lanes((1u64 << (8 * size as u32 - 1 - n)) as i64, size)
}
/// The even bytes.
fn low_bytes() -> Literal {
    Literal::lanes(0xFF, 2)
}

impl Walk<'_> {
    // ---- instructions ----

    pub fn v2(&mut self, forms: Forms, d: u8, a: impl Into<Operand>) {
        let ops = [self.m.vector(d).into(), a.into()];
        self.asm.op(self.m.code(forms), &ops);
    }
    pub fn v2i(&mut self, forms: Forms, d: u8, a: impl Into<Operand>, n: u8) {
        let ops = [self.m.vector(d).into(), a.into(), n.into()];
        self.asm.op(self.m.code(forms), &ops);
    }
    pub fn v3(&mut self, forms: Forms, d: u8, a: u8, b: impl Into<Operand>) {
        let ops = [self.m.vector(d).into(), self.m.vector(a).into(), b.into()];
        self.asm.op(self.m.code(forms), &ops);
    }
    /// As [`Walk::v3`], all in registers.
    pub fn r3(&mut self, forms: Forms, d: u8, a: u8, b: u8) {
        self.v3(forms, d, a, self.m.vector(b));
    }
    pub fn v3i(&mut self, forms: Forms, d: u8, a: u8, b: impl Into<Operand>, n: u8) {
        let ops = [self.m.vector(d).into(), self.m.vector(a).into(), b.into(), n.into()];
        self.asm.op(self.m.code(forms), &ops);
    }
    /// Lane `lane` of 128 bits into the low lane of `d`; not lane 0.
    pub fn extract_128(&mut self, d: u8, from: u8, lane: u8) {
        let ops = [xmm(d).into(), self.m.vector(from).into(), lane.into()];
        self.asm.op(self.m.code(EXTRACT128), &ops);
    }

    // ---- operands ----

    /// The register of a vector or float; a literal gets one for this op.
    pub fn register(&mut self, v: Value) -> Result<u8> {
        let plan = self.plan;
        match (self.loc(v), plan.class(v)) {
            (Loc::Vector(r), _) => Ok(r),
            (_, Class::Literal(literal)) => self.literal_register(literal),
            _ => Err(self.fail("a value is read before it is made")),
        }
    }

    /// A register with a literal, for this op.
    pub fn literal_register(&mut self, literal: &Literal) -> Result<u8> {
        if let Some(r) = self.resident(literal) {
            return Ok(r);
        }
        let r = self.temp()?;
        self.materialize(r, literal);
        Ok(r)
    }

    /// Whether a value is read from memory rather than from a register.
    pub fn in_memory(&self, v: Value) -> bool {
        match self.plan.class(v) {
            Class::Folded(_) => true,
            Class::Literal(l) => self.resident(l).is_none(),
            _ => false,
        }
    }

    /// A vector as an operand that may be memory; `broadcast` as in [`Forms`].
    pub fn operand(&mut self, v: Value, broadcast: usize) -> Result<Operand> {
        let plan = self.plan;
        match plan.class(v) {
            &Class::Folded(load) => {
                let mem = self.address(load)?;
                let kind = self.plan.kernel.kind(load);
                let repeated = matches!(kind, qcc_ir::OpKind::Loop(Op::LoadSplat32(_)));
                Ok(if repeated { Operand::Repeated(mem) } else { Operand::Mem(mem) })
            }
            Class::Literal(literal) if self.resident(literal).is_none() => {
                Ok(self.literal_operand(literal, broadcast))
            }
            _ => Ok(self.m.vector(self.register(v)?).into()),
        }
    }

    /// A literal as an operand.
    pub fn literal_operand(&self, literal: &Literal, broadcast: usize) -> Operand {
        if let Some(r) = self.resident(literal) {
            return self.m.vector(r).into();
        }
        if self.m.evex && literal.period().len() <= broadcast {
            return Operand::Repeated(Mem::Literal(literal.clone(), broadcast));
        }
        Mem::Literal(literal.clone(), self.m.bytes).into()
    }

    /// A float scalar as an operand that may be memory.
    pub fn float_operand(&mut self, v: Value) -> Result<Operand> {
        let plan = self.plan;
        match plan.class(v) {
            &Class::Folded(load) => Ok(self.address(load)?.into()),
            Class::Literal(literal) if self.resident(literal).is_none() => {
                Ok(Mem::Literal(literal.clone(), self.plan.lanes(v).0.size()).into())
            }
            _ => Ok(xmm(self.register(v)?).into()),
        }
    }

    // ---- ops ----

    pub fn vector_op(&mut self, op: OpId, kind: &Op) -> Result<()> {
        let f = self.plan.kernel;
        let v = f.result(op);
        let arg: SmallVec<[Value; 3]> = SmallVec::from_slice(f.operands(op));
        let (elem, _) = self.plan.lanes(v);
        let scalar = !self.plan.is_vector(v);
        if let Some((forms, shape)) = single(self.m, kind, elem, scalar) {
            return self.single(v, &arg, forms, shape);
        }
        match kind {
            Op::Fma(_) => self.fma(v, &arg, elem, scalar),
            Op::Dot4(s) if self.m.vnni && s.signs == DotSigns::U8S8 => self.dot(v, &arg, PDPBUSD),
            Op::Dot4(s) => self.dot4_by_words(v, &arg, s.signs),
            Op::Dot2(_) if self.m.vnni => self.dot(v, &arg, PDPWSSD),
            Op::Dot2(_) => self.dot2(v, &arg),
            Op::Mul(_) if elem.size() == 1 => self.multiply_bytes(v, &arg),
            Op::Mul(_) => self.multiply_quads(v, &arg),
            Op::Shl(s) => self.shift(v, arg[0], kind, s.n as u8),
            Op::ShrS(s) => self.shift(v, arg[0], kind, s.n as u8),
            Op::ShrU(s) => self.shift(v, arg[0], kind, s.n as u8),
            Op::MinS(_) | Op::MaxS(_) | Op::MinU(_) | Op::MaxU(_) => self.extreme(v, &arg, kind),
            Op::Cmp(s) => self.compare(v, &arg, s.pred),
            Op::Fcmp(s) => self.compare_floats(v, &arg, s.pred),
            Op::Select(_) if scalar => self.select_float(v, &arg),
            Op::Select(_) => self.select(v, &arg, elem),
            Op::Splat(_) => self.splat(v, arg[0]),
            Op::Extract(s) => self.extract_float(v, arg[0], s.lane),
            Op::IntToFloat(_) => self.int_to_float(v, arg[0], elem),
            Op::IntToFloatLow(_) => self.int_to_float_low(v, arg[0]),
            Op::FloatCast(_) if elem == DType::F64 => self.scalar_unary(v, arg[0], CVTSS2SD),
            Op::FloatCast(_) => self.scalar_unary(v, arg[0], CVTSD2SS),
            Op::Fsqrt(_) if elem == DType::F64 => self.scalar_unary(v, arg[0], SQRTSD),
            Op::Fsqrt(_) => self.scalar_unary(v, arg[0], SQRTSS),
            Op::Bitcast(_) => self.bits_to_float(v, arg[0], elem),
            Op::WidenLowS(_) | Op::WidenHighS(_) | Op::WidenLowU(_) | Op::WidenHighU(_) => {
                self.widen(v, arg[0], kind)
            }
            Op::Shuffle(s) => self.shuffle(v, &arg, &s.mask),
            Op::Compact(s) => self.compact(v, arg[0], s.bytes),
            _ => Err(self.fail(format!("'{}' on wide vectors", kind.spec().name))),
        }
    }

    /// One instruction.
    fn single(&mut self, v: Value, arg: &[Value], forms: Forms, shape: Shape) -> Result<()> {
        let scalar = !self.plan.is_vector(v);
        let mut arg: SmallVec<[Value; 2]> = SmallVec::from_slice(arg);
        if shape == Shape::Commutative && self.in_memory(arg[0]) && !self.is_folded(arg[1]) {
            arg.swap(0, 1);
        }
        let (first, last) = arg.split_at(arg.len() - 1);
        let first =
            first.iter().map(|&a| self.register(a)).collect::<Result<SmallVec<[u8; 2]>>>()?;
        let last = match scalar {
            true => self.float_operand(last[0])?,
            false => self.operand(last[0], forms.broadcast)?,
        };
        self.release_operands();
        let d = self.define_vector(v)?;
        let name = |r: u8| if scalar { xmm(r) } else { self.m.vector(r) };
        let mut ops: SmallVec<[Operand; 3]> = SmallVec::new();
        ops.push(name(d).into());
        ops.extend(first.iter().map(|&r| Operand::Reg(name(r))));
        ops.push(last);
        self.asm.op(self.m.code(forms), &ops);
        Ok(())
    }

    fn is_folded(&self, v: Value) -> bool {
        matches!(self.plan.class(v), Class::Folded(_))
    }

    /// a · b + c: in the register of an operand that dies, best c.
    fn fma(&mut self, v: Value, arg: &[Value], elem: DType, scalar: bool) -> Result<()> {
        let forms = match (elem, scalar) {
            (DType::F32, false) => [FMADD132PS, FMADD213PS, FMADD231PS],
            (DType::F32, true) => [FMADD132SS, FMADD213SS, FMADD231SS],
            (_, false) => [FMADD132PD, FMADD213PD, FMADD231PD],
            (_, true) => [FMADD132SD, FMADD213SD, FMADD231SD],
        };
        let folded = (0..3).find(|&i| self.is_folded(arg[i]));
        let memory = folded.or_else(|| [2, 1, 0].into_iter().find(|&i| self.in_memory(arg[i])));
        let mut at: [Option<u8>; 3] = [None; 3];
        for i in (0..3).filter(|&i| Some(i) != memory) {
            at[i] = Some(self.register(arg[i])?);
        }
        let (mut x, mut y) = (0, 1);
        if memory == Some(0) || memory != Some(1) && self.plan.dies(arg[1], self.at) {
            (x, y) = (1, 0);
        }
        // 132: x·y + c → x; 213: x·y + c → x; 231: x·y + c → c. The last operand may be memory.
        let last_is_y = memory == Some(0) || memory == Some(1);
        let c_free = memory != Some(2) && self.plan.dies(arg[2], self.at);
        let x_free = self.plan.dies(arg[x], self.at);
        let (code, target, second, third) = match () {
            _ if c_free => (forms[2], 2, x, y),
            _ if x_free && last_is_y => (forms[0], x, 2, y),
            _ if x_free || memory == Some(2) => (forms[1], x, y, 2),
            _ => (forms[2], 2, x, y),
        };
        let second = at[second].expect("at most one operand is memory");
        let third = match at[third] {
            Some(r) if scalar => xmm(r).into(),
            Some(r) => self.m.vector(r).into(),
            None if scalar => self.float_operand(arg[third])?,
            None => self.operand(arg[third], elem.size())?,
        };
        let d = match self.take_over(arg[target], v) {
            Some(d) => d,
            None => {
                let d = self.define_vector(v)?;
                self.copy_vector(d, arg[target])?;
                d
            }
        };
        let name = |r: u8| if scalar { xmm(r) } else { self.m.vector(r) };
        let ops = [name(d).into(), name(second).into(), third];
        self.asm.op(self.m.code(code), &ops);
        Ok(())
    }

    /// acc += a·b, in the accumulator's register if it dies.
    fn dot(&mut self, v: Value, arg: &[Value], forms: Forms) -> Result<()> {
        let (mut a, mut b) = (arg[1], arg[2]);
        let symmetric = forms.evex == PDPWSSD.evex;
        if symmetric && (self.is_folded(a) || self.in_memory(a) && !self.is_folded(b)) {
            (a, b) = (b, a);
        }
        let a = self.register(a)?;
        let b = self.operand(b, forms.broadcast)?;
        let d = match self.take_over(arg[0], v) {
            Some(d) => d,
            None => {
                let d = self.define_vector(v)?;
                self.copy_vector(d, arg[0])?;
                d
            }
        };
        self.v3(forms, d, a, b);
        Ok(())
    }

    fn dot2(&mut self, v: Value, arg: &[Value]) -> Result<()> {
        let (mut a, mut b) = (arg[1], arg[2]);
        if self.is_folded(a) || self.in_memory(a) && !self.is_folded(b) {
            (a, b) = (b, a);
        }
        let a = self.register(a)?;
        // The products take the register of a factor that dies.
        let dying = self.plan.spent_factor(arg, self.at);
        let b = self.operand(b, 0)?;
        let products = match dying {
            Some(f) => self.register(f)?,
            None => self.temp()?,
        };
        self.v3(PMADDWD, products, a, b);
        let acc = self.operand(arg[0], PADDD.broadcast)?;
        self.release_operands();
        let d = self.define_vector(v)?;
        self.v3(PADDD, d, products, acc);
        Ok(())
    }

    /// Exact without `vpdpbusd`: even and odd bytes as words, each multiplied and summed in pairs.
    fn dot4_by_words(&mut self, v: Value, arg: &[Value], signs: DotSigns) -> Result<()> {
        let [acc, a, b] = [arg[0], arg[1], arg[2]].map(|x| self.register(x));
        let (acc, a, b) = (acc?, a?, b?);
        let low = self.literal_operand(&low_bytes(), PAND.broadcast);
        let (x, y, sum) = (self.temp()?, self.temp()?, self.temp()?);
        let words = |w: &mut Self, to: u8, from: u8, signed: bool| match signed {
            true => {
                w.v2i(PSLLW, to, w.m.vector(from), 8);
                w.v2i(PSRAW, to, w.m.vector(to), 8);
            }
            false => w.v3(PAND, to, from, low.clone()),
        };
        let signed = signs == DotSigns::S8S8;
        words(self, x, a, signed);
        words(self, y, b, true);
        self.r3(PMADDWD, sum, x, y);
        self.v2i(if signed { PSRAW } else { PSRLW }, x, self.m.vector(a), 8);
        self.v2i(PSRAW, y, self.m.vector(b), 8);
        self.r3(PMADDWD, x, x, y);
        self.r3(PADDD, sum, sum, x);
        self.release_operands();
        let d = self.define_vector(v)?;
        self.r3(PADDD, d, sum, acc);
        Ok(())
    }

    /// i8 products through words.
    fn multiply_bytes(&mut self, v: Value, arg: &[Value]) -> Result<()> {
        let (a, b) = (self.register(arg[0])?, self.register(arg[1])?);
        let low = self.literal_operand(&low_bytes(), PAND.broadcast);
        let (x, y) = (self.temp()?, self.temp()?);
        let d = self.define_vector(v)?;
        self.v2i(PSRLW, x, self.m.vector(a), 8);
        self.v2i(PSRLW, y, self.m.vector(b), 8);
        self.r3(PMULLW, x, x, y);
        self.v2i(PSLLW, x, self.m.vector(x), 8);
        self.r3(PMULLW, d, a, b);
        self.v3(PAND, d, d, low);
        self.r3(POR, d, d, x);
        Ok(())
    }

    /// i64 products from three of 32 bits.
    fn multiply_quads(&mut self, v: Value, arg: &[Value]) -> Result<()> {
        let (a, b) = (self.register(arg[0])?, self.register(arg[1])?);
        let (x, y) = (self.temp()?, self.temp()?);
        let d = self.define_vector(v)?;
        self.v2i(PSRLQ, x, self.m.vector(a), 32);
        self.r3(PMULUDQ, x, x, b);
        self.v2i(PSRLQ, y, self.m.vector(b), 32);
        self.r3(PMULUDQ, y, y, a);
        self.r3(PADDQ, x, x, y);
        self.v2i(PSLLQ, x, self.m.vector(x), 32);
        self.r3(PMULUDQ, d, a, b);
        self.r3(PADDQ, d, d, x);
        Ok(())
    }

    fn shift(&mut self, v: Value, a: Value, kind: &Op, n: u8) -> Result<()> {
        let size = self.plan.lanes(v).0.size();
        let a = self.register(a)?;
        self.release_operands();
        let d = self.define_vector(v)?;
        let from = self.m.vector(a);
        let forms = match (kind, size) {
            (Op::Shl(_), 1 | 2) => PSLLW,
            (Op::Shl(_), 4) => PSLLD,
            (Op::Shl(_), _) => PSLLQ,
            (Op::ShrU(_), 1 | 2) | (Op::ShrS(_), 1) => PSRLW,
            (Op::ShrU(_), 4) => PSRLD,
            (Op::ShrU(_), _) => PSRLQ,
            (_, 2) => PSRAW,
            (_, 4) => PSRAD,
            _ if self.m.evex => PSRAQ,
            _ => PSRLQ,
        };
        self.v2i(forms, d, from, n);
        if size == 1 {
            let kept = if let Op::Shl(_) = kind { 0xFF << n & 0xFF } else { 0xFF >> n };
            let kept = self.literal_operand(&Literal::lanes(kept, 1), PAND.broadcast);
            self.v3(PAND, d, d, kept);
        }
        if matches!(kind, Op::ShrS(_)) && (size == 1 || size == 8 && !self.m.evex) {
            // The sign, shifted as zeros came in, is spread: (x ^ s) − s.
            let sign = self.literal_operand(&shifted_sign(size, n.into()), PXOR.broadcast);
            self.v3(PXOR, d, d, sign);
            let forms = if size == 1 { PSUBB } else { PSUBQ };
            let sign = self.literal_operand(&shifted_sign(size, n.into()), forms.broadcast);
            self.v3(forms, d, d, sign);
        }
        Ok(())
    }

    /// Minimum and maximum of i64 without AVX-512.
    fn extreme(&mut self, v: Value, arg: &[Value], kind: &Op) -> Result<()> {
        let (a, b) = (self.register(arg[0])?, self.register(arg[1])?);
        let (mut x, mut y) = (a, b);
        if matches!(kind, Op::MinU(_) | Op::MaxU(_)) {
            let sign = self.literal_operand(&sign(8), 0);
            (x, y) = (self.temp()?, self.temp()?);
            self.v3(PXOR, x, a, sign.clone());
            self.v3(PXOR, y, b, sign);
        }
        let more = self.temp()?;
        self.r3(PCMPGTQ, more, x, y);
        self.release_operands();
        let d = self.define_vector(v)?;
        let (when, otherwise) = match kind {
            Op::MinS(_) | Op::MinU(_) => (b, a),
            _ => (a, b),
        };
        self.blend(d, more, when, otherwise);
        Ok(())
    }

    /// `d` = `when` where the mask's bytes are set, else `otherwise` (VEX).
    pub fn blend(&mut self, d: u8, mask: u8, when: u8, otherwise: u8) {
        let ops = [d, otherwise, when, mask].map(|r| Operand::Reg(self.m.vector(r)));
        let code = match self.m.bytes {
            16 => Code::VEX_Vpblendvb_xmm_xmm_xmmm128_xmm,
            _ => Code::VEX_Vpblendvb_ymm_ymm_ymmm256_ymm,
        };
        self.asm.op(code, &ops);
    }

    fn splat(&mut self, v: Value, x: Value) -> Result<()> {
        let (elem, _) = self.plan.lanes(x);
        let lane = match elem.size() {
            1 => 0,
            2 => 1,
            4 => 2,
            _ => 3,
        };
        let from_memory = [PBROADCASTB, PBROADCASTW, PBROADCASTD, PBROADCASTQ][lane];
        let plan = self.plan;
        match (plan.class(x), self.loc(x)) {
            (&Class::Folded(load), _) => {
                let from = self.address(load)?;
                let d = self.define_vector(v)?;
                self.v2(from_memory, d, from);
            }
            (_, Loc::Vector(r)) => {
                self.release_operands();
                let d = self.define_vector(v)?;
                self.v2(from_memory, d, xmm(r));
            }
            _ => {
                let r = self.general_register(x, SCRATCH[0])?;
                self.release_operands();
                let d = self.define_vector(v)?;
                let r = if lane == 3 { r } else { narrow(r, 4) };
                if self.m.evex {
                    let forms =
                        [PBROADCASTB_GPR, PBROADCASTW_GPR, PBROADCASTD_GPR, PBROADCASTQ_GPR][lane];
                    self.v2(forms, d, r);
                } else {
                    self.move_to_xmm(d, r, lane == 3);
                    self.v2(from_memory, d, xmm(d));
                }
            }
        }
        Ok(())
    }

    /// A general register into the low lane of `d`.
    fn move_to_xmm(&mut self, d: u8, r: Register, quad: bool) {
        let forms = if quad { MOVQ_TO } else { MOVD_TO };
        self.asm.op(self.m.code(forms), &[xmm(d).into(), r.into()]);
    }

    fn extract_float(&mut self, v: Value, x: Value, lane: u32) -> Result<()> {
        let size = self.plan.lanes(v).0.size();
        let from = self.register(x)?;
        self.release_operands();
        let d = self.define_vector(v)?;
        let at = lane as usize * size;
        let mut half = from;
        if at >= 16 {
            self.extract_128(d, from, (at / 16) as u8);
            half = d;
        }
        let dword = at % 16 / 4;
        if dword != 0 {
            let pattern = if size == 8 { 0xEE } else { dword as u8 };
            let ops = [xmm(d).into(), xmm(half).into(), pattern.into()];
            self.asm.op(self.m.code(PSHUFD_XMM), &ops);
        } else if half != d {
            self.asm.op(self.m.code(MOVE_XMM), &[xmm(d).into(), xmm(half).into()]);
        }
        Ok(())
    }

    fn int_to_float(&mut self, v: Value, x: Value, elem: DType) -> Result<()> {
        let wide = self.plan.lanes(x).0.size() == 8;
        let r = self.general_register(x, SCRATCH[0])?;
        let d = self.define_vector(v)?;
        self.materialize(d, &Literal::lanes(0, 8)); // or it would wait for what was in `d`
        let forms = match (elem, wide) {
            (DType::F32, false) => CVTSI2SS32,
            (DType::F32, true) => CVTSI2SS64,
            (_, false) => CVTSI2SD32,
            (_, true) => CVTSI2SD64,
        };
        let r = if wide { r } else { narrow(r, 4) };
        self.asm.op(self.m.code(forms), &[xmm(d).into(), xmm(d).into(), r.into()]);
        Ok(())
    }

    /// Lanes 0 and 1 of each four.
    fn int_to_float_low(&mut self, v: Value, x: Value) -> Result<()> {
        let x = self.register(x)?;
        if self.m.bytes == 16 {
            self.release_operands();
            let d = self.define_vector(v)?;
            self.v2(CVTDQ2PD, d, xmm(x));
            return Ok(());
        }
        let t = self.temp()?;
        if self.m.bytes == 32 {
            self.v2i(PERMQ_IMM, t, self.m.vector(x), 0b10_00);
            self.release_operands();
            let d = self.define_vector(v)?;
            self.v2(CVTDQ2PD, d, xmm(t));
        } else {
            self.v2i(PSRAD, t, self.m.vector(x), 31);
            self.r3(PUNPCKLDQ, t, x, t);
            self.release_operands();
            let d = self.define_vector(v)?;
            self.v2(CVTQQ2PD, d, self.m.vector(t));
        }
        Ok(())
    }

    /// A scalar instruction whose first source gives what is above the result.
    fn scalar_unary(&mut self, v: Value, x: Value, forms: Forms) -> Result<()> {
        let x = self.register(x)?;
        self.release_operands();
        let d = self.define_vector(v)?;
        self.asm.op(self.m.code(forms), &[xmm(d).into(), xmm(x).into(), xmm(x).into()]);
        Ok(())
    }

    fn bits_to_float(&mut self, v: Value, x: Value, elem: DType) -> Result<()> {
        let r = self.general_register(x, SCRATCH[0])?;
        let d = self.define_vector(v)?;
        let quad = elem == DType::F64;
        self.move_to_xmm(d, if quad { r } else { narrow(r, 4) }, quad);
        Ok(())
    }

    /// `test p, p`, then the one or the other.
    fn select_float(&mut self, v: Value, arg: &[Value]) -> Result<()> {
        let p = self.general_register(arg[0], SCRATCH[0])?;
        let d = self.define_vector(v)?;
        self.copy_vector(d, arg[2])?;
        let p = narrow(p, 1);
        self.asm.op(Code::Test_rm8_r8, &[p.into(), p.into()]);
        let skip = self.asm.jump_forward(Code::Je_rel8_64);
        self.copy_vector(d, arg[1])?;
        self.asm.land(skip);
        Ok(())
    }
}
