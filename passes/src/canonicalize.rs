//! `canonicalize`: one way to say each thing in a float graph.
//!
//! ```text
//! %a = nn.conv2d(%x, %w)
//! %b = nn.add(%a, %bias)                   // [C], constant
//! %c = nn.unary(%b) {f=clip, alpha=0.0, beta=6.0}   ─►   %y = nn.conv2d(%x, %w, %bias) {act=relu6}
//! %y = nn.reshape(%c)                      // to the shape that it has
//! ```
//!
//! - Ops on constants are evaluated by the interpreter, unless the result is large and larger than
//!   what it is made from. `quant.dequantize` and `nn.fake_quant` of constants stay: they say which codes
//!   the weights have (`constants=all` evaluates the former too, for float islands).
//! - What changes nothing goes: identity transposes, reshapes, broadcasts, pads, slices, + 0, · 1.
//!   Transposes of transposes, reshapes of reshapes and transposes that move only extents of 1 become
//!   one op.
//! - `nn.unary` clips that are activation functions become `nn.activation`, and an activation joins
//!   the op that nobody else reads.
//! - A constant per channel added to a convolution without bias is its bias. A matmul by weights is
//!   `nn.fully_connected`.
//!
//! No value changes: `x / c` stays a division.

mod identity;
mod merge;

pub(crate) use identity::remove as remove_identity;
pub(crate) use merge::{is_weights, per_channel};

use crate::rewriter::{Rewriter, evaluate, rewrite_all};
use crate::{
    Diagnostics, Drift, LevelSet, OptionKind, OptionSpec, Pass, PassContext, consts::is_const,
};
use qcc_ir::dialect::{nn, quant};
use qcc_ir::{Level, Module, OpId, OpKind};
use qcc_runtime::Tensor;

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "canonicalize",
    summary: "fold constants, drop identities, merge biases and activations",
    doc: include_str!("canonicalize.rs"),
    needs: LevelSet::of(&[Level::Nn, Level::Quant]),
    yields: None,
    drift: Drift::Exact,
    options: &[OptionSpec {
        name: "constants",
        kind: OptionKind::Word(&["codes", "all"]),
        default: "codes",
        help: "codes: keep the codes of dequantized constants; all: evaluate them",
    }],
    run,
};

/// Rounds of rewriting; a chain of n ops needs one.
const MAX_ROUNDS: usize = 16;
/// A constant may grow to this many elements when an op on it is evaluated.
const MAX_GROWN: u64 = 4096;
/// No evaluation makes more elements than this, or reads more.
const MAX_EVALUATED: u64 = 1 << 26;

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    let all = ctx.options.word("constants") == "all";
    rewrite_all(m, ctx, MAX_ROUNDS, |r, op, ctx| {
        fold_constants(r, op, all, ctx)
            || identity::remove(r, op)
            || merge::activation(r, op, ctx)
            || merge::bias(r, op)
            || merge::matmul(r, op)
    });
    Ok(())
}

/// Evaluates an op whose operands are constants.
fn fold_constants(r: &mut Rewriter, op: OpId, all: bool, ctx: &mut PassContext) -> bool {
    let f = r.f();
    let kind = f.kind(op).clone();
    let operands = f.operands(op).to_vec();
    if operands.is_empty() || !operands.iter().all(|&v| is_const(f, v)) || !may_fold(&kind, all) {
        return false;
    }
    let [y] = *f.results(op) else { return false };
    let read: u64 = operands.iter().map(|&v| r.ty(v).len()).sum();
    let made = r.ty(y).len();
    if read > MAX_EVALUATED || made > MAX_EVALUATED || made > read.max(MAX_GROWN) {
        return false;
    }
    let Some(inputs) = operands.iter().map(|&v| r.const_tensor(v)).collect::<Option<Vec<_>>>()
    else {
        return false;
    };
    match evaluate_folded(r, op, kind, &inputs) {
        Ok(t) => {
            let elem = r.ty(y).elem.clone();
            let name = r.name_of(operands[0]);
            let new = r.constant(op, &name, &t, elem);
            r.replace(op, new);
            true
        }
        Err(why) => {
            r.remark(ctx, op, format!("not evaluated on its constants: {why}"));
            false
        }
    }
}

/// May an op on constants become a constant?
fn may_fold(kind: &OpKind, all: bool) -> bool {
    match kind {
        OpKind::Nn(nn::Op::FakeQuant(_) | nn::Op::QuantizeAndDequantize(_)) => false,
        OpKind::Nn(_) => true,
        OpKind::Quant(quant::Op::Dequantize(_)) => all,
        OpKind::Quant(quant::Op::Quantize(_)) => true,
        _ => false,
    }
}

/// The value of `op`. Ops that move elements move codes.
fn evaluate_folded(
    r: &Rewriter,
    op: OpId,
    kind: OpKind,
    inputs: &[Tensor],
) -> Result<Tensor, String> {
    let y = r.ty(r.result(op)).clone();
    match kind {
        OpKind::Quant(quant::Op::Dequantize(_)) => {
            let x = r.ty(r.operand(op, 0));
            let q = x.quant_type().ok_or("x is not quantized")?;
            Ok(crate::quant_params::dequantize(&inputs[0], q))
        }
        OpKind::Quant(quant::Op::Quantize(_)) => {
            let q = y.quant_type().ok_or("y is not quantized")?;
            Ok(crate::quant_params::quantize(&inputs[0], q, r.m.numerics))
        }
        _ => {
            let storage = y.storage();
            evaluate(kind, inputs, &qcc_ir::TensorType::plain(&y.shape, storage))
        }
    }
}
