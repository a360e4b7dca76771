//! Comparisons of vectors, and selects.
//!
//! With AVX-512 a comparison gives a mask register; it becomes a vector only where something
//! else than a select reads it.

use super::asm::Operand;
use super::codes::*;
use super::literals::Literal;
use super::machine::mask;
use super::plan::Class;
use super::regs::SCRATCH_MASK;
use super::vectors::sign;
use super::walk::{Loc, Walk};
use crate::CodegenError;
use qcc_ir::dialect::loops::Pred;
use qcc_ir::{DType, Value};

type Result<T> = std::result::Result<T, CodegenError>;

/// The form for lanes of `size` bytes.
fn by_size(forms: [Forms; 4], size: usize) -> Forms {
    match size {
        1 => forms[0],
        2 => forms[1],
        4 => forms[2],
        _ => forms[3],
    }
}

impl Walk<'_> {
    pub fn compare(&mut self, v: Value, arg: &[Value], pred: Pred) -> Result<()> {
        let size = self.plan.lanes(arg[0]).0.size();
        if !self.m.evex {
            return self.compare_vex(v, arg, pred, size);
        }
        let signed = by_size([PCMPB, PCMPW, PCMPD, PCMPQ], size);
        let unsigned = by_size([PCMPUB, PCMPUW, PCMPUD, PCMPUQ], size);
        let (forms, code) = match pred {
            Pred::Eq => (signed, 0),
            Pred::Ne => (signed, 4),
            Pred::Lt => (signed, 1),
            Pred::Le => (signed, 2),
            Pred::Gt => (signed, 6),
            Pred::Ge => (signed, 5),
            Pred::Ult => (unsigned, 1),
        };
        self.compare_masks(v, arg, (forms, code))
    }

    pub fn compare_floats(&mut self, v: Value, arg: &[Value], pred: Pred) -> Result<()> {
        let forms = if self.plan.lanes(arg[0]).0 == DType::F32 { CMPPS } else { CMPPD };
        // Quiet and ordered; `ne` holds for NaN.
        let code = match pred {
            Pred::Eq => 0x00,
            Pred::Ne => 0x04,
            Pred::Lt | Pred::Ult => 0x11,
            Pred::Le => 0x12,
            Pred::Gt => 0x1E,
            Pred::Ge => 0x1D,
        };
        if self.m.evex {
            return self.compare_masks(v, arg, (forms, code));
        }
        let a = self.register(arg[0])?;
        let b = self.operand(arg[1], 0)?;
        self.release_operands();
        let d = self.define_vector(v)?;
        self.v3i(forms, d, a, b, code);
        Ok(())
    }

    /// Into a mask register, and from there into a vector where it has to be one.
    fn compare_masks(&mut self, v: Value, arg: &[Value], (forms, code): (Forms, u8)) -> Result<()> {
        let a = self.register(arg[0])?;
        let b = self.operand(arg[1], forms.broadcast)?;
        let kept = match self.plan.class(v) {
            Class::Mask => self.define_mask(v),
            _ => None,
        };
        let k = mask(kept.unwrap_or(SCRATCH_MASK));
        let ops = [k.into(), self.m.vector(a).into(), b, code.into()];
        self.asm.op(self.m.code(forms), &ops);
        if kept.is_none() {
            let size = self.plan.lanes(v).0.size();
            self.release_operands();
            let d = self.define_vector(v)?;
            self.v2(by_size([PMOVM2B, PMOVM2W, PMOVM2D, PMOVM2Q], size), d, k);
        }
        Ok(())
    }

    /// From equal and greater, what they do not say by a complement.
    fn compare_vex(&mut self, v: Value, arg: &[Value], pred: Pred, size: usize) -> Result<()> {
        let (mut a, mut b) = (self.register(arg[0])?, self.register(arg[1])?);
        if pred == Pred::Ult {
            let sign = self.literal_operand(&sign(size), 0);
            let (x, y) = (self.temp()?, self.temp()?);
            self.v3(PXOR, x, a, sign.clone());
            self.v3(PXOR, y, b, sign);
            (a, b) = (x, y);
        }
        self.release_operands();
        let d = self.define_vector(v)?;
        let equal = by_size([PCMPEQB, PCMPEQW, PCMPEQD, PCMPEQQ], size);
        let greater = by_size([PCMPGTB, PCMPGTW, PCMPGTD, PCMPGTQ], size);
        match pred {
            Pred::Eq | Pred::Ne => self.r3(equal, d, a, b),
            Pred::Gt | Pred::Le => self.r3(greater, d, a, b),
            Pred::Lt | Pred::Ge | Pred::Ult => self.r3(greater, d, b, a),
        }
        if matches!(pred, Pred::Ne | Pred::Le | Pred::Ge) {
            let ones = self.literal_operand(&Literal::lanes(-1, 8), 0);
            self.v3(PXOR, d, d, ones);
        }
        Ok(())
    }

    pub fn select(&mut self, v: Value, arg: &[Value], elem: DType) -> Result<()> {
        let forms = by_size([PBLENDMB, PBLENDMW, PBLENDMD, PBLENDMQ], elem.size());
        if let Loc::Mask(k) = self.loc(arg[0]) {
            let otherwise = self.register(arg[2])?;
            let when = self.operand(arg[1], forms.broadcast)?;
            self.release_operands();
            let d = self.define_vector(v)?;
            let ops = [self.m.vector(d).into(), self.m.vector(otherwise).into(), when];
            self.asm.masked(self.m.code(forms), mask(k), &ops);
            return Ok(());
        }
        let p = self.register(arg[0])?;
        let (when, otherwise) = (self.register(arg[1])?, self.register(arg[2])?);
        if !self.m.evex {
            self.release_operands();
            let d = self.define_vector(v)?;
            self.blend(d, p, when, otherwise);
            return Ok(());
        }
        let d = match self.take_over(arg[0], v) {
            Some(d) => d,
            None => {
                let d = self.define_vector(v)?;
                self.copy_vector(d, arg[0])?;
                d
            }
        };
        let choose = 0xCA; // first ? second : third, bit by bit
        let ops = [d, when, otherwise].map(|r| Operand::Reg(self.m.vector(r)));
        let [d, when, otherwise] = ops;
        self.asm.op(self.m.code(PTERNLOGD), &[d, when, otherwise, Operand::Imm8(choose)]);
        Ok(())
    }
}
