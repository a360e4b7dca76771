//! What a quantized op computes: its integer form, derived from the types' scales.
//!
//! [`derive`] gives the recipe of one op at the quant level as steps of the int level. It is the
//! only place where multipliers, zero points and clamps are chosen. The interpreter evaluates the
//! recipe, `lower-quant-to-int` writes it into the module; so both mean the same by construction.
//!
//! Formulas and their order of rounding: numerics.md, sections B and D (`tflite`: TensorFlow Lite's
//! reference kernels, LiteRT 2.3) and E (`onnx`: ONNX Runtime's).

pub mod float;
mod float_mean;
mod functions;
mod onnx;
mod pointwise;
mod products;
mod recipe;
pub mod resize;
mod tflite;

use crate::dialect::int;
use crate::{DType, Func, Module, Numerics, OpId, OpKind, TensorType};
use qcc_runtime::Tensor;

/// The integer form of one op. The last steps give the op's results, in order.
#[derive(Clone, Debug)]
pub struct IntForm {
    /// Steps in order.
    pub steps: Vec<IntStep>,
}

/// One op at the int level.
#[derive(Clone, Debug)]
pub struct IntStep {
    /// What it does.
    pub kind: OpKind,
    /// What it reads.
    pub operands: Vec<Operand>,
    /// What it gives.
    pub result: TensorType,
}

/// Something that a step reads.
#[derive(Clone, Debug)]
pub enum Operand {
    /// Operand `i` of the quantized op, as stored integers.
    Input(usize),
    /// A constant.
    Const(Tensor),
    /// The result of an earlier step.
    Step(usize),
}

/// The integer form of the quantized op `op`.
///
/// # Errors
/// Types or parameters for which the framework has no integer kernel; says which.
pub fn derive(module: &Module, func: &Func, op: OpId) -> Result<IntForm, String> {
    let mut form = match module.numerics {
        Numerics::TfLite => tflite::derive(module, func, op)?,
        Numerics::Onnx => onnx::derive(module, func, op)?,
        other => return Err(format!("numerics '{}' are not yet supported", other.name())),
    };
    narrow(func, op, &mut form);
    Ok(form)
}

/// A clamp behind an op whose result has fewer codes than its storage.
fn narrow(func: &Func, op: OpId, form: &mut IntForm) {
    let [y] = *func.results(op) else { return };
    let Some(q) = func.ty(y).as_tensor().and_then(TensorType::quant_type) else { return };
    if q.is_full_range() || func.kind(op).spec().same_scale {
        return;
    }
    let Some(last) = form.steps.last().map(|s| s.result.clone()) else { return };
    let kind = int::Clamp { lo: q.range[0], hi: q.range[1] }.into();
    let operands = vec![Operand::Step(form.steps.len() - 1)];
    form.steps.push(IntStep { kind, operands, result: last });
}

/// The tensor as the int level sees it: stored integers without parameters.
pub fn storage_type(ty: &TensorType) -> TensorType {
    TensorType::plain(&ty.shape, ty.storage())
}

/// A constant list.
fn list(dtype: DType, values: impl IntoIterator<Item = i64>) -> Tensor {
    let values: Vec<i64> = values.into_iter().collect();
    let mut t = Tensor::zeros(dtype, vec![values.len()]);
    for (i, &v) in values.iter().enumerate() {
        t.set_i64(i, v);
    }
    t
}

/// A constant list of floats.
fn float_list(dtype: DType, values: impl IntoIterator<Item = f64>) -> Tensor {
    let values: Vec<f64> = values.into_iter().collect();
    let mut t = Tensor::zeros(dtype, vec![values.len()]);
    for (i, &v) in values.iter().enumerate() {
        t.set_f64(i, v);
    }
    t
}
