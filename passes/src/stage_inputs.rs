//! `stage-inputs`: copies a model input into the arena where kernels want to read behind it.
//!
//! ```text
//! %y = int.conv2d(%image, …)      ─►      %copy = int.copy(%image)
//!                                         %y = int.conv2d(%copy, …)
//! ```
//!
//! The caller's buffers end where they end; the arena's have slack behind them. Only convolutions
//! and matrix products read behind their input; they would otherwise fall back to scalar kernels.

use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::dialect::{OpKind, int};
use qcc_ir::{Func, Level, Module, OpId, Value};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "stage-inputs",
    summary: "copy inputs of vector kernels into the arena",
    doc: include_str!("stage_inputs.rs"),
    needs: LevelSet::only(Level::Int),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    for f in m.funcs.values_mut() {
        for input in f.params().to_vec() {
            let users = over_readers(f, input);
            if let Some(&first) = users.first() {
                stage(f, input, first, &users);
            }
        }
    }
    let _ = ctx;
    Ok(())
}

/// The ops that read `v` as the image of a convolution or matrix product, in order; reshapes on
/// the way count.
fn over_readers(f: &Func, v: Value) -> Vec<OpId> {
    use int::Op::{Conv2d, DepthwiseConv2d, FullyConnected, Reshape};
    let reads = |op: &&OpId| {
        if f.operands(**op).first() != Some(&v) {
            return false;
        }
        match f.kind(**op) {
            OpKind::Int(Conv2d(_) | DepthwiseConv2d(_) | FullyConnected(_)) => true,
            OpKind::Int(Reshape(_)) => !over_readers(f, f.result(**op)).is_empty(),
            _ => false,
        }
    };
    f.body_ops().iter().filter(reads).copied().collect()
}

fn stage(f: &mut Func, input: Value, first: OpId, users: &[OpId]) {
    let ty = f.ty(input).clone();
    let loc = f.op(first).loc;
    let copy = f.create_op(int::Copy {}, &[input], &[ty], &[], loc);
    f.insert_before(first, copy);
    let staged = f.result(copy);
    for &user in users {
        f.set_operand(user, 0, staged);
    }
}
