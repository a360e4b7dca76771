//! Quantized ops: the steps of their integer form, one after the other.

use super::{int, nn};
use crate::dialect::OpKind;
use crate::numerics::{IntStep, Operand, derive};
use crate::{Func, Module, OpId};
use qcc_runtime::Tensor;

/// The results of the quantized op `op` on stored codes.
pub(super) fn eval(m: &Module, f: &Func, op: OpId, xs: &[&Tensor]) -> Result<Vec<Tensor>, String> {
    let form = derive(m, f, op)?;
    let mut done: Vec<Tensor> = Vec::with_capacity(form.steps.len());
    for step in &form.steps {
        let y = run_step(step, xs, &done)?;
        done.push(y);
    }
    let first = done.len().checked_sub(f.results(op).len());
    let first = first.ok_or("the integer form has too few steps")?;
    Ok(done.split_off(first))
}

fn run_step(step: &IntStep, xs: &[&Tensor], done: &[Tensor]) -> Result<Tensor, String> {
    let operand = |o| operand(o, xs, done);
    let xs: Vec<&Tensor> = step.operands.iter().map(operand).collect::<Result<_, _>>()?;
    match &step.kind {
        OpKind::Int(kind) => int::eval(kind, &xs, &step.result),
        OpKind::Nn(kind) => {
            let results = nn::eval(kind, &xs, &[&step.result])?;
            results.into_iter().next().ok_or_else(|| "a step without a result".to_string())
        }
        other => Err(format!("'{}' is no integer op", other.name())),
    }
}

fn operand<'a>(
    operand: &'a Operand,
    xs: &[&'a Tensor],
    done: &'a [Tensor],
) -> Result<&'a Tensor, String> {
    let found = match operand {
        Operand::Input(i) => xs.get(*i).copied(),
        Operand::Const(t) => Some(t),
        Operand::Step(i) => done.get(*i),
    };
    found.ok_or_else(|| "the integer form reads a value that is not there".to_string())
}
