//! What the recipes of all numerics share: reading the quantized op, and writing steps.

use super::{IntForm, IntStep, Operand, float_list, list, storage_type};
use crate::dialect::quant::{self, Act};
use crate::dialect::{OpKind, core, int};
use crate::{
    Affine, DType, Func, Module, Numerics, OpId, QuantParams, QuantType, TensorType, Value,
};
use qcc_runtime::Tensor;
use qcc_runtime::fixedpoint as fx;
use std::sync::Arc;

/// The integer form of one op, in the making.
pub(super) struct Recipe<'a> {
    pub(super) module: &'a Module,
    pub(super) func: &'a Func,
    pub(super) op: OpId,
    pub(super) steps: Vec<IntStep>,
}

impl<'a> Recipe<'a> {
    pub(super) fn new(module: &'a Module, func: &'a Func, op: OpId) -> Self {
        Recipe { module, func, op, steps: vec![] }
    }
    pub(super) fn done(self) -> IntForm {
        IntForm { steps: self.steps }
    }

    // ---- what the op says ----

    pub(super) fn operand(&self, i: usize) -> Value {
        self.func.operands(self.op)[i]
    }
    pub(super) fn tensor(&self, v: Value) -> &TensorType {
        self.func.ty(v).as_tensor().expect("verified: quantized ops work on tensors")
    }
    pub(super) fn x(&self, i: usize) -> &TensorType {
        self.tensor(self.operand(i))
    }
    pub(super) fn y(&self) -> &TensorType {
        self.tensor(self.func.results(self.op)[0])
    }
    pub(super) fn quant(t: &TensorType) -> &Arc<QuantType> {
        t.quant_type().expect("verified: the slot takes quantized tensors only")
    }
    /// The parameters of a tensor that must have one set.
    pub(super) fn affine(t: &TensorType, what: &str) -> Result<fx::Affine, String> {
        match Self::quant(t).uniform() {
            Some(a) => Ok(affine(a)),
            None => Err(format!("{what} must be quantized per tensor, not per axis")),
        }
    }

    // ---- steps ----

    pub(super) fn step(
        &mut self,
        kind: impl Into<OpKind>,
        operands: &[Operand],
        result: TensorType,
    ) -> Operand {
        self.steps.push(IntStep { kind: kind.into(), operands: operands.to_vec(), result });
        Operand::Step(self.steps.len() - 1)
    }
    /// A step whose result is the op's.
    pub(super) fn push(&mut self, kind: impl Into<OpKind>, operands: &[Operand]) {
        let ty = storage_type(self.y());
        self.step(kind, operands, ty);
    }
    /// The op's last step, then the clamp of a fused activation.
    pub(super) fn finish(
        &mut self,
        kind: impl Into<OpKind>,
        operands: &[Operand],
        act: Act,
    ) -> Result<(), String> {
        let ty = storage_type(self.y());
        let last = self.step(kind, operands, ty.clone());
        if act != Act::None {
            let a = Self::affine(self.y(), "the output of a fused activation")?;
            let (lo, hi) = self.activation_range(act, a, ty.storage());
            self.step(int::Clamp { lo, hi }, &[last], ty);
        }
        Ok(())
    }

    /// The codes that a fused activation leaves: its bounds, quantized as the numerics rounds.
    pub(super) fn activation_range(&self, act: Act, y: fx::Affine, dtype: DType) -> (i32, i32) {
        if self.module.numerics == Numerics::TfLite {
            return fx::activation_range(fused(act), y.scale, y.zero_point, dtype);
        }
        let (lo, hi) = limits(dtype);
        let code = |real| fx::quantize_linear(real, y, (lo, hi));
        match act {
            Act::None => (lo, hi),
            Act::Relu => (code(0.0), hi),
            Act::Relu6 => (code(0.0), code(6.0)),
            Act::ReluN1To1 => (code(-1.0), code(1.0)),
        }
    }

    /// 256 outputs of the op's output type, for the codes of an 8-bit input in order.
    pub(super) fn table(&self, f: impl Fn(i32) -> i64) -> Tensor {
        let (first, _) = limits(self.x(0).storage());
        list(self.y().storage(), (0..256).map(|i| f(first + i)))
    }

    /// The zero point of all weights. Where a reference kernel ignores it (numerics.md G.1), the
    /// importer of that format says so in the type.
    pub(super) fn weight_zero_point(&self) -> Result<i32, String> {
        let affines = Self::quant(self.x(1)).affines();
        let first = affines.first().map_or(0, |a| a.zero_point);
        match affines.iter().all(|a| a.zero_point == first) {
            true => Ok(first),
            false => Err("the zero points of the weights differ between channels".into()),
        }
    }

    /// The bias as int32, or int64 for wide accumulators; zeros when there is none.
    pub(super) fn bias(&self, channels: usize, wide: bool) -> Result<Operand, String> {
        let dtype = if wide { DType::I64 } else { DType::I32 };
        let Some(&b) = self.func.operands(self.op).get(2) else {
            return Ok(Operand::Const(list(dtype, std::iter::repeat_n(0, channels))));
        };
        let ty = self.tensor(b);
        if ty.len() != channels as u64 {
            return Err(format!("{} biases for {channels} channels", ty.len()));
        }
        if ty.storage() == dtype && ty.shape.len() == 1 {
            return Ok(Operand::Input(2));
        }
        if !ty.storage().is_int() {
            return Err(format!("the bias is {}, expected {dtype}", ty.storage()));
        }
        let found = self.constant(b).ok_or_else(|| {
            format!("the bias is {} and not constant, expected {dtype}", ty.storage())
        })?;
        Ok(Operand::Const(list(dtype, found.to_i64_vec())))
    }

    pub(super) fn constant(&self, v: Value) -> Option<Tensor> {
        let op = self.func.def_op(v)?;
        let OpKind::Core(core::Op::Const(c)) = self.func.kind(op) else { return None };
        let ty = self.tensor(v);
        let shape: Vec<usize> = ty.shape.iter().map(|&d| d as usize).collect();
        Tensor::from_bytes(ty.storage(), shape, &self.module.data[c.data].bytes).ok()
    }

    pub(super) fn max_pool(&mut self, o: &quant::MaxPool2d) -> Result<(), String> {
        let (lo, hi) = limits(self.y().storage());
        let kind = int::MaxPool2d { window: o.window, stride: o.stride, pad: o.pad, lo, hi };
        self.finish(kind, &[Operand::Input(0)], o.act)
    }

    pub(super) fn reduce_max(&mut self, o: &quant::ReduceMax) -> Result<(), String> {
        if Self::quant(self.x(0)) != Self::quant(self.y()) {
            return Err("the input and the output must share scale and zero point".into());
        }
        let kind = int::ReduceMax { axes: o.axes.clone(), min: o.min };
        self.push(kind, &[Operand::Input(0)]);
        Ok(())
    }

    pub(super) fn split(&mut self, o: &quant::Split) {
        let axis = o.axis as usize;
        let rank = self.x(0).shape.len();
        let results = self.func.results(self.op).to_vec();
        let mut at = 0;
        for v in results {
            let ty = storage_type(self.tensor(v));
            let mut start = vec![0; rank];
            start[axis] = at;
            at += ty.shape[axis];
            self.step(int::Slice { start }, &[Operand::Input(0)], ty);
        }
    }
}

fn fused(act: Act) -> fx::FusedAct {
    match act {
        Act::None => fx::FusedAct::None,
        Act::Relu => fx::FusedAct::Relu,
        Act::Relu6 => fx::FusedAct::Relu6,
        Act::ReluN1To1 => fx::FusedAct::ReluN1To1,
    }
}

pub(super) fn affine(a: Affine) -> fx::Affine {
    fx::Affine::new(a.scale, a.zero_point)
}

/// Smallest and largest code of a type.
pub(super) fn limits(dtype: DType) -> (i32, i32) {
    let (lo, hi) = dtype.min_max();
    let clamp = |v: i64| v.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
    (clamp(lo), clamp(hi))
}

/// Scales (f32), zero points (int32) and their axis.
pub(super) fn parameter_lists(q: &QuantType) -> (Tensor, Tensor, u32) {
    let scale = float_list(DType::F32, q.affines().iter().map(|a| a.scale.into()));
    let zp = list(DType::I32, q.affines().iter().map(|a| a.zero_point.into()));
    let axis = match q.params {
        QuantParams::PerAxis { axis, .. } => axis as u32,
        QuantParams::PerTensor(_) => 0,
    };
    (scale, zp, axis)
}
