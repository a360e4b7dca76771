//! `to-nhwc`: transposes sink until they meet their inverse.
//!
//! ```text
//! %a = nn.conv2d(…)                            %a = nn.conv2d(…)
//! %b = nn.transpose(%a) {perm=[0,3,1,2]}        %c = nn.activation(%a) {act=relu}
//! %c = nn.activation(%b) {act=relu}       ─►   %d = nn.conv2d(%c, …)
//! %t = nn.transpose(%c) {perm=[0,2,3,1]}
//! %d = nn.conv2d(%t, …)
//! ```
//!
//! An importer of NCHW graphs puts transposes around what needs NHWC. One sinks through elementwise ops
//! (constant operands are transposed the other way), quantize and dequantize (parameters along an axis follow
//! it), concatenation of inputs transposed alike, slices, pads, reductions and gathers (their axes are
//! renamed), softmax and its like where the last axis stays last. A pair of inverses cancels; a transpose
//! that moves extents of 1 only is a reshape.
//!
//! What a transpose does not get past has a remark.

mod sink;

use crate::canonicalize::remove_identity;
use crate::rewriter::{Rewriter, rewrite_all};
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::dialect::nn::{self, Op};
use qcc_ir::{Level, Module, OpId, TensorType, Value};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "to-nhwc",
    summary: "sink transposes until they cancel",
    doc: include_str!("to_nhwc.rs"),
    needs: LevelSet::of(&[Level::Nn, Level::Quant]),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

/// A transpose sinks through a whole chain in one round; joins need another each.
const MAX_ROUNDS: usize = 64;

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    rewrite_all(m, ctx, MAX_ROUNDS, |r, op, _| {
        let moves = matches!(r.nn(op), Some(Op::Transpose(_) | Op::Reshape(_)));
        if moves {
            return remove_identity(r, op);
        }
        sink::past(r, op).is_ok_and(|done| done)
    });
    leave_remarks(m, ctx);
    Ok(())
}

/// Says where transposes stopped.
fn leave_remarks(m: &mut Module, ctx: &mut PassContext) {
    for func in m.funcs.keys().collect::<Vec<_>>() {
        let mut r = Rewriter { m, func, pass: PASS.name };
        for op in r.f().walk() {
            if let Err(why) = sink::past(&mut r, op) {
                r.remark(ctx, op, format!("a transpose stays before it: {why}"));
            }
        }
    }
}

/// A transpose: what it reads, and its permutation.
struct Transposed {
    x: Value,
    perm: Vec<u32>,
}

impl Transposed {
    /// The transpose that makes `v`.
    fn of(r: &Rewriter, v: Value) -> Option<Transposed> {
        let op = r.def(v)?;
        let Some(Op::Transpose(o)) = r.nn(op) else { return None };
        Some(Transposed { x: r.operand(op, 0), perm: o.perm.clone() })
    }
    /// `out[perm[d]] = values[d]`: a list by dimensions of the result, as one of x's dimensions.
    fn back<T: Copy>(&self, values: &[T]) -> Vec<T> {
        let mut out = values.to_vec();
        for (d, &p) in self.perm.iter().enumerate() {
            out[p as usize] = values[d];
        }
        out
    }
    /// The permutation that undoes this one.
    fn inverse(&self) -> Vec<u32> {
        let numbers: Vec<u32> = (0..self.perm.len() as u32).collect();
        self.back(&numbers)
    }
    /// A dimension of the result, as one of x's.
    fn axis(&self, axis: u32) -> u32 {
        self.perm[axis as usize]
    }
}

/// The transpose by `perm` of `x`, of type `ty`, right before `op`.
fn transpose(r: &mut Rewriter, op: OpId, x: Value, perm: &[u32], ty: TensorType) -> Value {
    r.insert(op, nn::Transpose { perm: perm.to_vec() }, &[x], ty, &[op])
}
