//! The reference interpreter: what a module computes, by definition.
//!
//! At the level nn a value is a dense [`Tensor`] of floats. At the levels quant and int it is one of
//! stored codes, and every op is evaluated with the arithmetic of `qcc_runtime::fixedpoint`; a
//! quantized op is evaluated as the steps of its integer form ([`crate::numerics::derive`]). At the
//! level loop a program is a list of kernel calls over byte buffers ([`run_loop_main`]).
//!
//! Invariants: a module is verified before it runs, and nothing here panics; speed comes second to
//! saying each op's meaning once.
//!
//! | file | what |
//! | --- | --- |
//! | `int` | which function evaluates which op; elementwise ops |
//! | `conv` | convolutions, fully connected, row sums |
//! | `window` | pools, mean, resize |
//! | `moves` | pad, concat, slice, argmax, softmax rows: indexing |
//! | `quant` | quantized ops by their integer form |
//! | `nn` | float ops, and ops that move elements |
//! | `loops`, `lanes` | kernels over byte buffers, lane by lane |

mod conv;
mod index;
mod int;
mod int_pairs;
mod lanes;
mod loops;
mod moves;
mod nn;
mod quant;
mod window;

pub use loops::run_loop_main;

use crate::dialect::{OpKind, core};
use crate::verify::verify;
use crate::{Func, Level, Module, OpId, TensorType, Value};
use cranelift_entity::SecondaryMap;
use qcc_runtime::Tensor;
use std::sync::Arc;

/// Why a module could not be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterpError {
    /// The module does not hold together.
    #[error("the module is not valid: {0}")]
    Invalid(String),
    /// There is nothing to run.
    #[error("there is no function 'main'")]
    NoMain,
    /// The module is at a level that this function does not run.
    #[error("a module at level '{found}' is run by {by}", found = found.name())]
    Level {
        /// The module's level.
        found: Level,
        /// What would run it.
        by: &'static str,
    },
    /// The number of inputs is wrong.
    #[error("{found} inputs were given, the model has {expected}")]
    InputCount {
        /// How many the model has.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// An input has the wrong type, shape or size.
    #[error("input {index} is {found}, expected {expected}")]
    Input {
        /// Which input.
        index: usize,
        /// What the model takes.
        expected: String,
        /// What was given.
        found: String,
    },
    /// An op could not be evaluated.
    #[error("'{op}' ({node}): {message}")]
    Op {
        /// The op's name.
        op: &'static str,
        /// Where it came from.
        node: String,
        /// What is wrong.
        message: String,
    },
}

/// Runs `main` of a module at level nn, quant or int.
///
/// # Errors
/// The module is invalid or at another level, an input does not fit, or an op has no meaning under
/// the module's numerics.
pub fn run_main(m: &Module, inputs: &[Tensor]) -> Result<Vec<Tensor>, InterpError> {
    run_main_traced(m, inputs, &mut |_, _, _| {})
}

/// As [`run_main`]; `trace` sees each result of each op that is not a constant: the op, which of
/// its results, and the value.
///
/// # Errors
/// As [`run_main`].
pub fn run_main_traced(
    m: &Module,
    inputs: &[Tensor],
    trace: &mut dyn FnMut(OpId, usize, &Tensor),
) -> Result<Vec<Tensor>, InterpError> {
    let f = main_of(m)?;
    match m.level {
        Level::Nn | Level::Quant | Level::Int => {}
        Level::Loop => return Err(InterpError::Level { found: m.level, by: "run_loop_main" }),
    }
    let mut run = Run { m, f, values: SecondaryMap::new() };
    run.set_inputs(inputs)?;
    for &op in f.body_ops() {
        let is_const = matches!(f.kind(op), OpKind::Core(_));
        let results = run.op(op).map_err(|e| op_error(m, f, op, e))?;
        for (i, (&v, t)) in f.results(op).iter().zip(results).enumerate() {
            if !is_const {
                trace(op, i, &t);
            }
            run.values[v] = Some(Arc::new(t));
        }
    }
    let output = |&v| run.value(v).cloned().map_err(InterpError::Invalid);
    f.returned().iter().map(output).collect()
}

/// `main` of a module that verifies.
fn main_of(m: &Module) -> Result<&Func, InterpError> {
    let main = m.main().ok_or(InterpError::NoMain)?;
    verify(m).map_err(|e| {
        let first = e.first().map(ToString::to_string);
        InterpError::Invalid(first.unwrap_or_default())
    })?;
    Ok(&m.funcs[main])
}

fn op_error(m: &Module, f: &Func, op: OpId, message: String) -> InterpError {
    let node = m.locs.describe(f.op(op).loc);
    InterpError::Op { op: f.kind(op).name(), node, message }
}

/// A running function over tensors.
struct Run<'a> {
    m: &'a Module,
    f: &'a Func,
    values: SecondaryMap<Value, Option<Arc<Tensor>>>,
}

impl Run<'_> {
    fn set_inputs(&mut self, inputs: &[Tensor]) -> Result<(), InterpError> {
        let expected = self.f.params().len();
        if inputs.len() != expected {
            return Err(InterpError::InputCount { expected, found: inputs.len() });
        }
        for (index, (&v, t)) in self.f.params().iter().zip(inputs).enumerate() {
            let ty = tensor_type(self.f, v).map_err(InterpError::Invalid)?;
            let shape = extents(ty).map_err(InterpError::Invalid)?;
            if t.dtype() != ty.storage() || t.shape() != shape {
                return Err(InterpError::Input {
                    index,
                    expected: format!("{} {shape:?}", ty.storage()),
                    found: format!("{} {:?}", t.dtype(), t.shape()),
                });
            }
            self.values[v] = Some(Arc::new(t.clone()));
        }
        Ok(())
    }

    fn value(&self, v: Value) -> Result<&Tensor, String> {
        self.values[v].as_deref().ok_or_else(|| "a value is used before it is defined".to_string())
    }

    /// The results of one op.
    fn op(&self, op: OpId) -> Result<Vec<Tensor>, String> {
        let xs: Vec<&Tensor> =
            self.f.operands(op).iter().map(|&v| self.value(v)).collect::<Result<_, _>>()?;
        match self.f.kind(op) {
            OpKind::Core(core::Op::Return(_)) => Ok(vec![]),
            OpKind::Core(core::Op::Const(c)) => {
                let ty = tensor_type(self.f, self.f.result(op))?;
                let bytes = &self.m.data[c.data].bytes;
                let t = Tensor::from_bytes(ty.storage(), extents(ty)?, bytes);
                Ok(vec![t.map_err(|e| e.to_string())?])
            }
            OpKind::Int(kind) => {
                let ty = tensor_type(self.f, self.f.result(op))?;
                Ok(vec![int::eval(kind, &xs, ty)?])
            }
            OpKind::Quant(_) => quant::eval(self.m, self.f, op, &xs),
            OpKind::Nn(kind) => {
                let types = self.f.results(op).iter().map(|&v| tensor_type(self.f, v));
                nn::eval(kind, &xs, &types.collect::<Result<Vec<_>, _>>()?)
            }
            other => Err(format!("'{}' does not belong to this level", other.name())),
        }
    }
}

fn tensor_type(f: &Func, v: Value) -> Result<&TensorType, String> {
    f.ty(v).as_tensor().ok_or_else(|| "a value is not a tensor".to_string())
}

/// A shape in machine words.
fn extents(ty: &TensorType) -> Result<Vec<usize>, String> {
    let fits = |&d: &u64| usize::try_from(d).map_err(|_| format!("an extent of {d}"));
    ty.shape.iter().map(fits).collect()
}

/// A tensor of zeros of type `ty`.
fn zeros(ty: &TensorType) -> Result<Tensor, String> {
    Tensor::try_zeros(ty.storage(), extents(ty)?).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests;
