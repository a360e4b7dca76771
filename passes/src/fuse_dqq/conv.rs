//! Sums of products: convolutions and fully connected.

use super::{Fused, Site};
use crate::quant_params::accumulator_dtype;
use crate::rewriter::act_of;
use qcc_ir::dialect::nn::Op;
use qcc_ir::dialect::quant::{self, Act};
use qcc_ir::{Affine, DType, Elem, OpKind, QuantParams, QuantType, Value};
use qcc_runtime::Tensor;

/// A bias's scale is s_x·s_w but for rounding.
const SCALE_TOLERANCE: f64 = 1e-5;

impl Site<'_, '_> {
    pub(super) fn conv(&mut self, kind: &Op) -> Fused {
        let (x, xq, a) = self.codes(0)?;
        let (w, wq) = self.weights(kind)?;
        let (_, y) = self.y_quant()?;
        self.check_types(&xq, &wq)?;
        let act = self.needed(act_of(&OpKind::Nn(kind.clone())), y);
        let bias = self.bias((w, &wq), &xq, a)?;
        let operands: Vec<Value> = [x, w].into_iter().chain(bias).collect();
        let kind: OpKind = match kind.clone() {
            Op::Conv2d(o) => quant::Conv2d {
                stride: o.stride,
                dilation: o.dilation,
                pad: o.pad,
                groups: o.groups,
                act,
            }
            .into(),
            Op::DepthwiseConv2d(o) => {
                quant::DepthwiseConv2d { stride: o.stride, dilation: o.dilation, pad: o.pad, act }
                    .into()
            }
            _ => quant::FullyConnected { act }.into(),
        };
        let y = self.y.clone();
        self.insert(kind, &operands, y)
    }

    /// The codes of the weights: constant, one set of parameters or one per output channel.
    fn weights(&self, kind: &Op) -> Result<(Value, QuantType), String> {
        let v = self.r.operand(self.op, 1);
        let Some(w) = self.r.dequantized(v) else {
            return Err("its weights are not quantized".to_string());
        };
        let q = self.r.quant_type(w).ok_or("its weights have no parameters")?;
        let channel = if matches!(kind, Op::DepthwiseConv2d(_)) { 3 } else { 0 };
        if let QuantParams::PerAxis { axis, .. } = &q.params
            && *axis != channel
        {
            return Err(format!("its weights are quantized along axis {axis}, not {channel}"));
        }
        let zp = q.affines().first().map_or(0, |a| a.zero_point);
        if q.affines().iter().any(|a| a.zero_point != zp) {
            return Err("the zero points of its weights differ between channels".to_string());
        }
        Ok((w, QuantType::clone(q)))
    }

    fn check_types(&self, x: &QuantType, w: &QuantType) -> Result<(), String> {
        let y = self.y.storage();
        match (x.storage, w.storage) {
            (DType::I8 | DType::U8, DType::I8 | DType::U8) if y.size() == 1 => Ok(()),
            (DType::I16, DType::I8) if y == DType::I16 => Ok(()),
            (a, b) => Err(format!("there is no kernel for {a} by {b} to {y}")),
        }
    }

    /// The bias as plain integers.
    fn bias(
        &mut self,
        (w, wq): (Value, &QuantType),
        xq: &QuantType,
        x: Affine,
    ) -> Result<Option<Value>, String> {
        let reach = [xq.range[0] - x.zero_point, xq.range[1] - x.zero_point];
        let reach = i64::from(reach[0].abs().max(reach[1].abs()));
        let dtype = accumulator_dtype(xq.storage, self.r.const_tensor(w).as_ref(), reach);
        let Some(&b) = self.r.f().operands(self.op).get(2) else {
            // The type of the bias is that of the sums.
            let needed = xq.storage == DType::I16 && dtype == DType::I32;
            return Ok(needed.then(|| self.zeros(dtype)));
        };
        let Some(codes) = self.r.dequantized(b) else {
            return Err("its bias is float and has no codes".to_string());
        };
        let bq = self.r.quant_type(codes).ok_or("its bias has no parameters")?.clone();
        if !same_scales(&bq, x, wq) {
            return Err("the scale of its bias is not s_x·s_w".to_string());
        }
        let Some(t) = self.r.const_tensor(codes) else {
            return Err("its bias is not constant".to_string());
        };
        let name = self.r.name_of(codes);
        let elem = Elem::Plain(t.dtype());
        Ok(Some(self.r.constant(self.q, &name, &t, elem)))
    }

    pub(super) fn zeros(&mut self, dtype: DType) -> Value {
        let n = self.y.shape.last().copied().unwrap_or(1) as usize;
        self.r.constant(self.q, "zero_bias", &Tensor::zeros(dtype, vec![n]), Elem::Plain(dtype))
    }

    /// The activation that the result's codes do not imply.
    pub(super) fn needed(&self, act: Act, y: Affine) -> Act {
        let [lo, hi] = self.y.quant_type().map_or([i32::MIN, i32::MAX], |q| q.range);
        let real = |q: i32| f64::from(y.scale) * (f64::from(q) - f64::from(y.zero_point));
        let (above, below) = (real(lo), real(hi));
        // An upper bound within half a step of the largest code cuts nothing off.
        let half = f64::from(y.scale) / 2.0;
        let implied = match act {
            Act::None => true,
            Act::Relu => above >= 0.0,
            Act::Relu6 => above >= 0.0 && below < 6.0 + half,
            Act::ReluN1To1 => above > -1.0 - half && below < 1.0 + half,
        };
        if implied { Act::None } else { act }
    }
}

/// Are the scales of the bias those of input times weights, and its zero points 0?
fn same_scales(b: &QuantType, x: Affine, w: &QuantType) -> bool {
    let (b, w) = (b.affines(), w.affines());
    let n = b.len().max(w.len());
    let at = |all: &[Affine], i: usize| all[if all.len() == 1 { 0 } else { i }];
    let fits = b.len() == 1 || w.len() == 1 || b.len() == w.len();
    let same = |i: usize| {
        let product = f64::from(x.scale) * f64::from(at(w, i).scale);
        let b = at(b, i);
        let error = (f64::from(b.scale) - product).abs();
        b.zero_point == 0 && error <= SCALE_TOLERANCE * product
    };
    fits && (0..n).all(same)
}
