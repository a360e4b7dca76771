//! Functions of two 8-bit codes by a few float32 operations, on vectors of any width.

use super::kb::Kb;
use super::requant::clamp_bytes;
use qcc_ir::{DType, Type, Value};

/// How two codes, less their zero points, become one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Form {
    /// rne(a·s₀ + (b·s₁ + offset)), each product and sum fused or not.
    Sum { scales: [f32; 2], offset: f32, fused: bool },
    /// t = a·s₀ + b·s₁; rne(t + copysign(epsilon, t)).
    AwayFromZero { scales: [f32; 2], epsilon: f32 },
    /// t = (a·b)·scale + offset; rne(t + copysign(epsilon, t)).
    Product { scale: f32, offset: f32, epsilon: f32 },
    /// An entry of a table of all pairs (buffer 2).
    Table,
    /// `mul_by_quantized` of the product (entry in buffer 2).
    Fixed,
    /// `linear_mul` of the product, in integers before it is scaled.
    Float { scale: f32, offset: f32 },
}

impl Form {
    /// Is it a few operations on vectors of float32?
    pub fn is_float(&self) -> bool {
        matches!(self, Form::Sum { .. } | Form::AwayFromZero { .. } | Form::Product { .. })
    }
}

/// A float form with all that it needs to go from codes to codes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PairCodes {
    /// The arithmetic; one that [`Form::is_float`].
    pub form: Form,
    /// Types of a, b and the result.
    pub types: [DType; 3],
    /// Subtracted from the inputs' codes.
    pub zp: [i32; 2],
    /// Added to what the form gives.
    pub y_zp: i32,
    /// Smallest and largest output.
    pub bounds: [i32; 2],
}

impl PairCodes {
    /// A vector of codes from two.
    pub fn of_bytes(&self, kb: &mut Kb, bytes: [Value; 2]) -> Value {
        let [a, b] = [0, 1].map(|i| self.reals(kb, bytes[i], i));
        self.of_reals(kb, &a, &b)
    }

    /// A vector of codes from what [`PairCodes::reals`] made of two.
    pub fn of_reals(&self, kb: &mut Kb, a: &[Value], b: &[Value]) -> Value {
        let codes: Vec<Value> = a.iter().zip(b).map(|(&a, &b)| self.code(kb, a, b)).collect();
        let low = kb.pack(codes[0], codes[1], true);
        let high = kb.pack(codes[2], codes[3], true);
        let bytes = kb.pack(low, high, self.types[2] == DType::I8);
        clamp_bytes(kb, bytes, self.types[2], self.bounds[0], self.bounds[1])
    }

    /// code − zero point of a vector of codes of input `i`, as four vectors of f32.
    pub fn reals(&self, kb: &mut Kb, bytes: Value, i: usize) -> Vec<Value> {
        let signed = self.types[i] == DType::I8;
        let (words, floats) = (kb.vec(DType::I16), kb.vec(DType::F32));
        let halves = [kb.widen_low(bytes, signed), kb.widen_high(bytes, signed)];
        let mut out = Vec::with_capacity(4);
        for half in halves {
            let zp = kb.int(words.clone(), i64::from(self.zp[i]));
            let centred = kb.sub(half, zp);
            for quarter in [kb.widen_low(centred, true), kb.widen_high(centred, true)] {
                out.push(kb.int_to_float(quarter, floats.clone()));
            }
        }
        out
    }

    /// The unclamped code (i32 lanes) of two reals, scalars or vectors.
    pub fn code(&self, kb: &mut Kb, a: Value, b: Value) -> Value {
        let (f32t, i32t) = types_of(kb, a);
        let real = |kb: &mut Kb, v: f32| kb.float(f32t.clone(), f64::from(v));
        let t = match self.form {
            Form::Sum { scales, offset, fused } => {
                let [p, q, offset] = [scales[0], scales[1], offset].map(|v| real(kb, v));
                if fused {
                    let second = kb.fma(b, q, offset);
                    kb.fma(a, p, second)
                } else {
                    let second = kb.fmul(b, q);
                    let second = kb.fadd(second, offset);
                    let first = kb.fmul(a, p);
                    kb.fadd(first, second)
                }
            }
            Form::AwayFromZero { scales, epsilon } => {
                let [p, q] = scales.map(|v| real(kb, v));
                let (first, second) = (kb.fmul(a, p), kb.fmul(b, q));
                let t = kb.fadd(first, second);
                away_from_zero(kb, t, epsilon)
            }
            Form::Product { scale, offset, epsilon } => {
                let scale = real(kb, scale);
                let product = kb.fmul(a, b);
                let mut t = kb.fmul(product, scale);
                if offset != 0.0 {
                    let offset = real(kb, offset);
                    t = kb.fadd(t, offset);
                }
                if epsilon != 0.0 { away_from_zero(kb, t, epsilon) } else { t }
            }
            _ => unreachable!("the caller has seen that the form is a float form"),
        };
        let magic = kb.float(f32t, 12_582_912.0);
        let rounded = kb.fadd(t, magic);
        let bits = kb.bitcast(rounded, i32t.clone());
        let base = kb.int(i32t, i64::from(0x4B40_0000 - self.y_zp));
        kb.sub(bits, base)
    }
}

/// t + copysign(epsilon, t).
fn away_from_zero(kb: &mut Kb, t: Value, epsilon: f32) -> Value {
    let (f32t, i32t) = types_of(kb, t);
    let sign_bit = kb.int(i32t.clone(), 1 << 31);
    let bits = kb.bitcast(t, i32t.clone());
    let sign = kb.and(bits, sign_bit);
    let magnitude = kb.int(i32t, i64::from(epsilon.to_bits()));
    let signed = kb.or(sign, magnitude);
    let signed = kb.bitcast(signed, f32t);
    kb.fadd(t, signed)
}

/// f32 and i32 with as many lanes as `v`.
fn types_of(kb: &mut Kb, v: Value) -> (Type, Type) {
    match kb.lanes(v).1 {
        1 => (Type::Scalar(DType::F32), Type::Scalar(DType::I32)),
        n => (Type::vector(DType::F32, n), Type::vector(DType::I32, n)),
    }
}
