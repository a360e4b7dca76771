//! Float functions as ops: [`Arith`] over a kernel under construction.
//!
//! A function of `qcc_runtime::float` or `qcc_ir::numerics::float` called with an [`Emit`] appends
//! exactly the operations that it does on numbers, so kernel and interpreter agree bit for bit.

use crate::kernels::kb::{Addr, Kb};
use qcc_ir::dialect::loops::{Fsqrt, Pred, Splat};
use qcc_ir::{DType, Type, Value};
use qcc_runtime::float::Arith;

/// Emits operations on `lanes` floats of one type.
pub struct Emit<'a> {
    /// The kernel.
    pub kb: &'a mut Kb,
    dtype: DType,
    lanes: u8,
}

impl<'a> Emit<'a> {
    /// Operations on `lanes` f32; one lane is a scalar.
    pub fn f32(kb: &'a mut Kb, lanes: u8) -> Self {
        Emit { kb, dtype: DType::F32, lanes }
    }
    /// Operations on one f64.
    pub fn f64(kb: &'a mut Kb) -> Self {
        Emit { kb, dtype: DType::F64, lanes: 1 }
    }
    fn float(&self) -> Type {
        lanes_type(self.dtype, self.lanes)
    }
    fn integer(&self) -> Type {
        let dtype = if self.dtype == DType::F32 { DType::I32 } else { DType::I64 };
        lanes_type(dtype, self.lanes)
    }
}

/// `lanes` numbers; one is a scalar.
pub fn lanes_type(dtype: DType, lanes: u8) -> Type {
    if lanes == 1 { Type::Scalar(dtype) } else { Type::vector(dtype, lanes) }
}

/// `lanes` f32 from memory.
pub fn load(kb: &mut Kb, lanes: u8, at: &Addr) -> Value {
    kb.load(lanes_type(DType::F32, lanes), at)
}

/// A scalar in each of `lanes`.
pub fn splat(kb: &mut Kb, lanes: u8, scalar: Value) -> Value {
    if lanes == 1 {
        return scalar;
    }
    let (dtype, _) = kb.lanes(scalar);
    kb.op(Splat {}, &[scalar], Type::vector(dtype, lanes))
}

impl Arith for Emit<'_> {
    type F = Value;
    type I = Value;
    type M = Value;

    fn width(&self) -> u32 {
        8 * self.dtype.size() as u32
    }
    fn real(&mut self, v: f64) -> Value {
        let ty = self.float();
        self.kb.float(ty, v)
    }
    fn int(&mut self, v: i64) -> Value {
        let ty = self.integer();
        self.kb.int(ty, v)
    }
    fn add(&mut self, a: Value, b: Value) -> Value {
        self.kb.fadd(a, b)
    }
    fn sub(&mut self, a: Value, b: Value) -> Value {
        self.kb.fsub(a, b)
    }
    fn mul(&mut self, a: Value, b: Value) -> Value {
        self.kb.fmul(a, b)
    }
    fn div(&mut self, a: Value, b: Value) -> Value {
        self.kb.fdiv(a, b)
    }
    fn sqrt(&mut self, a: Value) -> Value {
        let ty = self.float();
        self.kb.op(Fsqrt {}, &[a], ty)
    }
    fn lt(&mut self, a: Value, b: Value) -> Value {
        self.kb.fcmp(Pred::Lt, a, b)
    }
    fn le(&mut self, a: Value, b: Value) -> Value {
        self.kb.fcmp(Pred::Le, a, b)
    }
    fn eq(&mut self, a: Value, b: Value) -> Value {
        self.kb.fcmp(Pred::Eq, a, b)
    }
    fn select(&mut self, m: Value, a: Value, b: Value) -> Value {
        self.kb.select(m, a, b)
    }
    fn bits(&mut self, a: Value) -> Value {
        let ty = self.integer();
        self.kb.bitcast(a, ty)
    }
    fn of_bits(&mut self, a: Value) -> Value {
        let ty = self.float();
        self.kb.bitcast(a, ty)
    }
    fn to_float(&mut self, a: Value) -> Value {
        let ty = self.float();
        self.kb.int_to_float(a, ty)
    }
    fn iadd(&mut self, a: Value, b: Value) -> Value {
        self.kb.add(a, b)
    }
    fn isub(&mut self, a: Value, b: Value) -> Value {
        self.kb.sub(a, b)
    }
    fn iand(&mut self, a: Value, b: Value) -> Value {
        self.kb.and(a, b)
    }
    fn ior(&mut self, a: Value, b: Value) -> Value {
        self.kb.or(a, b)
    }
    fn ixor(&mut self, a: Value, b: Value) -> Value {
        self.kb.xor(a, b)
    }
    fn shl(&mut self, a: Value, n: u32) -> Value {
        self.kb.shl(a, n)
    }
    fn shr(&mut self, a: Value, n: u32) -> Value {
        self.kb.shr_s(a, n)
    }
}
