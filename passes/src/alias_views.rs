//! `alias-views`: copies where two readers want one tensor in two places, so that every reshape,
//! slice and concat is a matter of addresses.
//!
//! ```text
//! %y = int.concat(%x, %a) {axis=3}            %c = int.copy(%x)          // %x: an input of @main
//! %z = int.concat(%a, %b) {axis=3}     ─►     %y = int.concat(%c, %a) {axis=3}
//!                                             %d = int.copy(%a)          // lies in %z already
//!                                             %z = int.concat(%d, %b) {axis=3}
//! ```
//!
//! (Here %a gets its home from the last reader.) Which places are wanted, and when a wish is
//! refused, is in [`crate::analysis::placement`]. Reshapes of constants become constants. After the
//! pass `plan-memory` finds a place for every value.

use crate::analysis::placement::{CopyNeeded, place};
use crate::consts::{const_id, is_const};
use crate::int_ops::{ViewOp, view_of};
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::dialect::core::Const;
use qcc_ir::dialect::int;
use qcc_ir::{Func, FuncId, Level, Module};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "alias-views",
    summary: "add the copies that let views share memory",
    doc: include_str!("alias_views.rs"),
    needs: LevelSet::only(Level::Int),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

/// Each round cures what it found; a copy can only move a conflict to an earlier op.
const MAX_ROUNDS: usize = 100;

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    let Some(func) = m.main() else { return Ok(()) };
    fold_const_reshapes(&mut m.funcs[func]);
    for _ in 0..MAX_ROUNDS {
        let placement = place(&m.funcs[func]);
        for needed in &placement.copies {
            insert_copy(m, ctx, func, needed);
        }
        if placement.copies.is_empty() {
            for (op, why) in placement.pads {
                let loc = m.funcs[func].op(op).loc;
                ctx.remark(m, loc, format!("its input is copied into the padded one: {why}"));
            }
            return Ok(());
        }
    }
    let message = "views still conflict after many rounds of copies";
    Err(crate::Diagnostic::new(PASS.name, message).into())
}

fn insert_copy(m: &mut Module, ctx: &mut PassContext, func: FuncId, needed: &CopyNeeded) {
    let &CopyNeeded { op, operand, why } = needed;
    let f = &mut m.funcs[func];
    let x = f.operands(op)[operand];
    let from = f.def_op(x).map(|d| f.op(d).loc);
    let is_return = f.kind(op).spec().terminator;
    let loc = if is_return { from.unwrap_or_default() } else { f.op(op).loc };
    let copy = f.create_op(int::Copy {}, &[x], &[f.ty(x).clone()], &[], loc);
    f.insert_before(op, copy);
    f.set_operand(op, operand, f.result(copy));
    let from = match from {
        _ if is_const(&m.funcs[func], x) => "a constant".to_string(),
        Some(loc) => format!("'{}'", m.locs.describe(loc)),
        None => "an input of the function".to_string(),
    };
    let message = match is_return {
        true => format!("copied to output {operand} ({from}): {why}"),
        false => {
            let name = m.funcs[func].kind(op).name();
            format!("{name} copies operand {operand} ({from}): {why}")
        }
    };
    ctx.remark(m, loc, message);
}

fn fold_const_reshapes(f: &mut Func) {
    for op in f.body_ops().to_vec() {
        if view_of(f, op) != Some(ViewOp::Reshape) {
            continue;
        }
        let (x, y) = (f.operands(op)[0], f.result(op));
        if let Some(data) = const_id(f, x) {
            let new = f.create_op(Const { data }, &[], &[f.ty(y).clone()], &[], f.op(op).loc);
            f.insert_before(op, new);
            f.replace_uses(y, f.result(new));
            f.erase(op);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use qcc_ir::DType;

    fn copies(t: &TestModule) -> usize {
        let m = t.run_exact("alias-views");
        op_names(&m).iter().filter(|n| **n == "int.copy").count()
    }

    #[test]
    fn a_chain_of_views_needs_no_copies() {
        let mut t = TestModule::int(&[(&[1, 4, 4, 2], DType::I8)]);
        let a = t.clamp(t.param(0), 0, 9);
        let b = t.clamp(t.param(0), -9, 0);
        let y = t.concat(&[a, b], 3);
        let z = t.slice(y, &[0, 1, 0, 1], &[1, 2, 4, 3]);
        let z = t.clamp(z, -1, 1);
        let r = t.reshape(z, &[2, 12]);
        t.ret(&[r]);
        assert_eq!(copies(&t), 0);
    }

    #[test]
    fn inputs_constants_and_twice_used_values_are_copied() {
        let mut t = TestModule::int(&[(&[1, 4], DType::I8)]);
        let a = t.clamp(t.param(0), 0, 9);
        let k = t.const_i64("k", DType::I8, &[1, 4], &[1, 2, 3, 4]);
        let y = t.concat(&[a, t.param(0), a, k], 1);
        t.ret(&[y]);
        // a too: the concat lies in an output, and a has another reader (the concat again).
        assert_eq!(copies(&t), 4);
        assert_eq!(
            t.remarks("alias-views")[1],
            "alias-views: 'concat_2': int.concat copies operand 1 (an input of the function): \
             inputs stay where the caller has them"
        );
    }

    #[test]
    fn a_reshape_of_strided_memory_is_copied() {
        let mut t = TestModule::int(&[(&[1, 2, 2, 2], DType::I8)]);
        let a = t.clamp(t.param(0), 0, 9);
        let flat = t.reshape(a, &[1, 8]);
        let flat = t.clamp(flat, 0, 5);
        let b = t.clamp(t.param(0), -9, 0);
        let y = t.concat(&[a, b], 3);
        let y = t.clamp(y, 0, 8);
        t.ret(&[y, flat]);
        assert_eq!(copies(&t), 1);
    }

    #[test]
    fn results_that_others_read_are_copied_to_the_output() {
        let mut t = TestModule::int(&[(&[4], DType::I8)]);
        let a = t.clamp(t.param(0), 0, 9);
        let b = t.clamp(a, 0, 5);
        t.ret(&[a, b]);
        assert_eq!(copies(&t), 1);
        assert_eq!(
            t.remarks("alias-views"),
            [
                "alias-views: 'clamp_0': copied to output 0 ('clamp_0'): it is also read by other ops, \
              and an output has no slack behind it"
            ]
        );
    }
}
