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
use indexmap::IndexSet;
use qcc_ir::dialect::{OpKind, int, nn};
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

fn run(m: &mut Module, _ctx: &mut PassContext) -> Result<(), Diagnostics> {
    for f in m.funcs.values_mut() {
        for input in f.params().to_vec() {
            let users = over_readers(f, input);
            if let Some(&first) = users.first() {
                stage(f, input, first, &users);
            }
        }
    }
    Ok(())
}

/// The ops that read `v` as the image of a convolution or matrix product, in order; reshapes on
/// the way count.
fn over_readers(f: &Func, v: Value) -> Vec<OpId> {
    use int::Op::{Conv2d, DepthwiseConv2d, FullyConnected, Reshape};
    let mut over_read: IndexSet<Value> = IndexSet::new();
    let mut users = Vec::new();
    for &op in f.body_ops().iter().rev() {
        let over = match f.kind(op) {
            OpKind::Int(Conv2d(_) | DepthwiseConv2d(_) | FullyConnected(_)) => true,
            OpKind::Nn(nn::Op::MatMulInteger(_)) => true,
            OpKind::Int(Reshape(_)) | OpKind::Nn(nn::Op::Reshape(_)) => {
                over_read.contains(&f.result(op))
            }
            _ => false,
        };
        if over {
            over_read.extend(f.operands(op).first());
            users.extend((f.operands(op).first() == Some(&v)).then_some(op));
        }
    }
    users.reverse();
    users
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

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use qcc_ir::DType;

    fn copies(t: &TestModule) -> usize {
        op_names(&t.run_exact("stage-inputs")).iter().filter(|n| **n == "int.copy").count()
    }

    #[test]
    fn inputs_of_matrix_products_are_copied_once() {
        let mut t = TestModule::int(&[(&[2, 2], DType::U8)]);
        let w = t.const_i64("w", DType::I8, &[1, 4], &[1, 2, 3, 4]);
        let b = t.const_i64("b", DType::I32, &[1], &[0]);
        let flat = t.reshape(t.param(0), &[1, 4]);
        let y = t.fully_connected(flat, w, b, |_| ());
        let z = t.fully_connected(flat, w, b, |_| ());
        t.ret(&[y, z]);
        assert_eq!(copies(&t), 1);
    }

    #[test]
    fn near_miss_other_readers_stay_inside() {
        let mut t = TestModule::int(&[(&[2, 2], DType::U8)]);
        let y = t.reshape(t.param(0), &[1, 4]);
        let y = t.clamp(y, 0, 9);
        t.ret(&[y]);
        assert_eq!(copies(&t), 0);
    }
}
