//! Elementwise ops, products of two activations, concatenation.

use super::{Fused, Site};
use qcc_ir::Numerics;
use qcc_ir::dialect::nn::{self, Op, UnaryFn};
use qcc_ir::dialect::quant::{self, Act};
use qcc_ir::{Affine, OpKind, TensorType, Value};

impl Site<'_, '_> {
    /// Two quantized operands of the result's storage.
    pub(super) fn pair(&mut self, kind: &Op) -> Fused {
        let (operands, y) = self.two()?;
        let ty = self.y.clone();
        let kind: OpKind = match kind {
            Op::Add(o) => quant::Add { act: self.needed(o.act, y), pot_scale_int16: false }.into(),
            Op::Sub(o) => quant::Sub { act: self.needed(o.act, y), pot_scale_int16: false }.into(),
            Op::Mul(o) => quant::Mul { act: self.needed(o.act, y) }.into(),
            // TensorFlow Lite's quotients are wrong where they are small.
            Op::Div(o) if self.r.m.numerics == Numerics::Onnx => {
                quant::Div { act: self.needed(o.act, y) }.into()
            }
            Op::Binary(o) => quant::Binary { f: o.f }.into(),
            Op::MatMul(o) => {
                quant::MatMul { transpose_a: o.transpose_a, transpose_b: o.transpose_b }.into()
            }
            other => return Err(format!("{} does not have two operands", other.spec().name)),
        };
        self.insert(kind, &operands, ty)
    }

    fn two(&mut self) -> Result<([Value; 2], Affine), String> {
        let ((a, aq, _), (b, bq, _)) = (self.codes(0)?, self.codes(1)?);
        let (yq, y) = self.y_quant()?;
        let storages = [aq.storage, bq.storage, yq.storage];
        // ONNX multiplies u8 by s8; what else differs has no kernel.
        let mixed = self.r.m.numerics == Numerics::Onnx && aq.storage == yq.storage;
        match mixed || storages.iter().all(|&s| s == storages[0]) {
            true => Ok(([a, b], y)),
            false => {
                let [a, b, y] = storages;
                Err(format!("there is no kernel for {a} and {b} to {y}"))
            }
        }
    }

    pub(super) fn concat(&mut self, axis: u32) -> Fused {
        let n = self.r.f().operands(self.op).len();
        let inputs: Vec<Value> =
            (0..n).map(|i| self.codes(i).map(|(v, ..)| v)).collect::<Result<_, _>>()?;
        self.y_quant()?;
        let inputs: Vec<Value> =
            inputs.into_iter().map(|v| self.in_y(v)).collect::<Result<_, _>>()?;
        let y = self.y.clone();
        self.insert(quant::Concat { axis, act: Act::None }, &inputs, y)
    }

    /// An activation alone: a requantization, and a clamp unless the result's codes imply it.
    pub(super) fn activation(&mut self, act: Act) -> Fused {
        let (x, ..) = self.codes(0)?;
        let (_, y) = self.y_quant()?;
        let act = self.needed(act, y);
        if act == Act::None {
            return self.in_y(x);
        }
        let ty: TensorType = self.y.clone();
        self.insert(quant::Activation { act }, &[x], ty)
    }

    /// A function of one number. Sigmoid and tanh of TensorFlow Lite have fixed parameters; others
    /// are one requantization away.
    pub(super) fn unary(&mut self, o: &nn::Unary) -> Fused {
        let (x, xq, _) = self.codes(0)?;
        let (yq, _) = self.y_quant()?;
        let kind = quant::Unary { f: o.f, alpha: o.alpha, beta: o.beta };
        let fixed = match self.r.m.numerics {
            // 16-bit kernels only: tables of 8-bit codes give any parameters.
            Numerics::TfLite if xq.storage == qcc_ir::DType::I16 => {
                crate::fixed_range::fixed_type(&Op::Unary(o.clone()), xq.storage)
            }
            _ => None,
        };
        if o.f == UnaryFn::Clip && xq == yq && self.clip_is_implied(o) {
            return Ok(x);
        }
        let ty = match fixed {
            Some(q) => TensorType::quant(&self.y.shape, q.into()),
            None => self.y.clone(),
        };
        let y = self.insert(kind, &[x], ty)?;
        self.in_y(y)
    }

    /// Are all numbers of the result's type between the bounds?
    fn clip_is_implied(&self, o: &nn::Unary) -> bool {
        let Ok((q, y)) = self.y_quant() else { return false };
        let real = |code: i32| f64::from(y.scale) * f64::from(code - y.zero_point);
        f64::from(o.alpha) <= real(q.range[0]) && real(q.range[1]) <= f64::from(o.beta)
    }
}
