//! Elementwise ops.

use super::{Fused, Site};
use qcc_ir::dialect::quant::{self, Act};
use qcc_ir::{Affine, QuantType, TensorType, Value};

impl Site<'_, '_> {
    pub(super) fn add(&mut self, act: Act) -> Fused {
        let (operands, y) = self.two()?;
        let act = self.needed(act, y);
        let ty = self.y.clone();
        Ok(self.insert(quant::Add { act, pot_scale_int16: false }, &operands, ty))
    }

    /// Two quantized operands of the result's storage.
    pub(super) fn two(&mut self) -> Result<([Value; 2], Affine), String> {
        let ((a, aq, _), (b, bq, _)) = (self.codes(0)?, self.codes(1)?);
        let (yq, y) = self.y_quant()?;
        let storages = [&aq, &bq, &yq].map(|q: &std::sync::Arc<QuantType>| q.storage);
        match storages.iter().all(|&s| s == storages[0]) {
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
        let inputs: Vec<Value> = inputs.into_iter().map(|v| self.in_y(v)).collect();
        let y = self.y.clone();
        Ok(self.insert(quant::Concat { axis, act: Act::None }, &inputs, y))
    }

    /// An activation alone: a requantization, and a clamp unless the result's codes imply it.
    pub(super) fn activation(&mut self, act: Act) -> Fused {
        let (x, ..) = self.codes(0)?;
        let (_, y) = self.y_quant()?;
        let act = self.needed(act, y);
        let x = self.in_y(x);
        if act == Act::None {
            return Ok(x);
        }
        let ty: TensorType = self.y.clone();
        Ok(self.insert(quant::Concat { axis: 0, act }, &[x], ty))
    }
}
