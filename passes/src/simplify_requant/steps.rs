//! The ops of a chain, without what they read.

use crate::rewriter::Rewriter;
use qcc_ir::dialect::nn::{self, PadMode};
use qcc_ir::dialect::quant::{self, Act};
use qcc_ir::{DType, Elem, OpId, OpKind, QuantType, TensorType};
use std::sync::Arc;

/// An op of one operand.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Step {
    /// To codes of a type.
    Quantize(Arc<QuantType>),
    /// To float32.
    Dequantize,
    /// To codes of another type.
    Requantize(Arc<QuantType>),
    /// A clamp of codes that keeps their type.
    Act(Act),
    /// Dimension d of the result is dimension perm[d].
    Transpose(Vec<u32>),
    /// To a shape.
    Reshape(Vec<u64>),
    /// Zeros before and after, in each dimension.
    Pad(Vec<u64>, Vec<u64>),
}

impl Step {
    /// The op as a step. Types with parameters per axis are left alone.
    pub(super) fn of(r: &Rewriter, op: OpId) -> Option<Step> {
        let (x, y) = (*r.f().operands(op).first()?, *r.f().results(op).first()?);
        let uniform = |v| r.quant_type(v).is_none_or(|q| q.uniform().is_some());
        let constant = crate::consts::is_const(r.f(), x);
        if constant || !uniform(x) || !uniform(y) || r.ty(y).layout.is_some() {
            return None;
        }
        let quantized = || r.quant_type(y).cloned();
        match r.f().kind(op) {
            OpKind::Quant(quant::Op::Quantize(_)) => Some(Step::Quantize(quantized()?)),
            OpKind::Quant(quant::Op::Dequantize(_)) => {
                (r.ty(y).storage() == DType::F32).then_some(Step::Dequantize)
            }
            OpKind::Quant(quant::Op::Requantize(_)) => Some(Step::Requantize(quantized()?)),
            OpKind::Quant(quant::Op::Activation(o)) if r.ty(x).elem == r.ty(y).elem => {
                Some(Step::Act(o.act))
            }
            OpKind::Quant(quant::Op::Reshape(_)) | OpKind::Nn(nn::Op::Reshape(_))
                if r.ty(x).elem == r.ty(y).elem =>
            {
                Some(Step::Reshape(r.shape(y).to_vec()))
            }
            OpKind::Nn(nn::Op::Transpose(o)) => Some(Step::Transpose(o.perm.clone())),
            OpKind::Nn(nn::Op::Pad(o)) if o.mode == PadMode::Constant && o.value == 0.0 => {
                Some(Step::Pad(o.low.clone(), o.high.clone()))
            }
            _ => None,
        }
    }

    /// The step as an op.
    pub(super) fn kind(&self) -> OpKind {
        match self {
            Step::Quantize(_) => quant::Quantize {}.into(),
            Step::Dequantize => quant::Dequantize {}.into(),
            Step::Requantize(_) => quant::Requantize {}.into(),
            Step::Act(act) => quant::Activation { act: *act }.into(),
            Step::Transpose(perm) => nn::Transpose { perm: perm.clone() }.into(),
            Step::Reshape(_) => quant::Reshape {}.into(),
            Step::Pad(low, high) => {
                let (low, high) = (low.clone(), high.clone());
                nn::Pad { low, high, mode: PadMode::Constant, value: 0.0 }.into()
            }
        }
    }

    /// The type of the result on an operand of type `x`.
    pub(super) fn result(&self, x: &TensorType) -> TensorType {
        let elem = match self {
            Step::Quantize(q) | Step::Requantize(q) => Elem::Quant(q.clone()),
            Step::Dequantize => Elem::Plain(DType::F32),
            _ => x.elem.clone(),
        };
        let shape: Vec<u64> = match self {
            Step::Transpose(perm) => perm.iter().map(|&p| x.shape[p as usize]).collect(),
            Step::Reshape(shape) => shape.clone(),
            Step::Pad(low, high) => {
                let padded = |(d, n): (usize, &u64)| n + low[d] + high[d];
                x.shape.iter().enumerate().map(padded).collect()
            }
            _ => x.shape.to_vec(),
        };
        TensorType { shape: shape.as_slice().into(), elem, layout: None }
    }

    /// Does it map elements one by one, wherever they are?
    pub(super) fn is_of_values(&self) -> bool {
        matches!(self, Step::Quantize(_) | Step::Dequantize | Step::Requantize(_) | Step::Act(_))
    }

    /// Bytes read and written, several times for what cannot move whole vectors; never 0.
    pub(super) fn cost(&self, x: &TensorType, y: &TensorType) -> u64 {
        let bytes = x.bytes().saturating_add(y.bytes());
        let per_byte = match self {
            Step::Reshape(_) => return 1,
            Step::Transpose(_) => 4,
            Step::Quantize(_) | Step::Dequantize => 2,
            Step::Requantize(_) | Step::Act(_) | Step::Pad(..) => 1,
        };
        bytes.saturating_mul(per_byte).saturating_add(1)
    }
}
