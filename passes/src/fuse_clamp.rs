//! `fuse-clamp`: an `int.clamp` joins the op that made its input.
//!
//! ```text
//! %a = int.conv2d(%x, …) {lo=-128, hi=127, …}
//! %y = int.clamp(%a) {lo=0, hi=6}               ─►   %y = int.conv2d(%x, …) {lo=0, hi=6, …}
//! ```
//!
//! With g(t) = min(max(t, lo₂), hi₂): g(min(max(t, lo₁), hi₁)) = min(max(t, g(lo₁)), g(hi₁)),
//! because g is monotone and changes only what lies outside [lo₂, hi₂]; this also holds where some
//! lo > hi. The producer must end with a clamp, give the same type, and have no other use. A clamp
//! that covers its whole type goes away whatever made its input.

use crate::analysis::acc_range::code_range;
use crate::int_ops::{bounds, bounds_mut, int_op};
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::dialect::int::{Clamp, Op};
use qcc_ir::{FuncId, Level, Module, OpId};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "fuse-clamp",
    summary: "merge clamps into the ops that make their inputs",
    doc: include_str!("fuse_clamp.rs"),
    needs: LevelSet::only(Level::Int),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    for func in m.funcs.keys().collect::<Vec<_>>() {
        for op in m.funcs[func].walk() {
            if let Some(Op::Clamp(clamp)) = int_op(&m.funcs[func], op) {
                let clamp = clamp.clone();
                if let Err(why) = fuse(m, func, op, &clamp) {
                    ctx.remark(m, m.funcs[func].op(op).loc, format!("clamp not fused: {why}"));
                }
            }
        }
    }
    Ok(())
}

fn fuse(m: &mut Module, func: FuncId, op: OpId, clamp: &Clamp) -> Result<(), String> {
    let f = &m.funcs[func];
    let (x, y) = (f.operands(op)[0], f.result(op));
    if f.ty(x) != f.ty(y) {
        return Err("it changes the type".to_string());
    }
    let all = code_range(m, f, x)
        .is_some_and(|[lo, hi]| (clamp.lo as i64) <= lo && hi <= clamp.hi as i64);
    if all {
        let f = &mut m.funcs[func];
        f.replace_uses(y, x);
        f.erase(op);
        return Ok(());
    }
    let Some(producer) = f.def_op(x) else {
        return Err("its input is an input of the function".to_string());
    };
    let Some([lo, hi]) = bounds(f.kind(producer)) else {
        return Err(format!("its input is made by {}", f.kind(producer).name()));
    };
    if let Some(other) = f.value(x).uses().iter().map(|u| u.0).find(|&u| u != op) {
        let other = m.locs.describe(f.op(other).loc);
        return Err(format!("its input is also read by '{other}'"));
    }
    let merged = |v: i32| v.max(clamp.lo).min(clamp.hi);
    replace_both(m, func, (producer, op), [merged(lo), merged(hi)]);
    Ok(())
}

/// Puts one op with bounds `[lo, hi]` in the place of producer and clamp.
fn replace_both(m: &mut Module, func: FuncId, (producer, op): (OpId, OpId), [lo, hi]: [i32; 2]) {
    let f = &mut m.funcs[func];
    let loc = m.locs.fused(PASS.name, &[f.op(producer).loc, f.op(op).loc]);
    let mut kind = f.kind(producer).clone();
    if let Some(bounds) = bounds_mut(&mut kind) {
        (*bounds.0, *bounds.1) = (lo, hi);
    }
    let operands = f.operands(producer).to_vec();
    let (x, y) = (f.operands(op)[0], f.result(op));
    let new = f.create_op(kind, &operands, &[f.ty(y).clone()], &[], loc);
    f.insert_before(producer, new);
    let result = f.result(new);
    if let Some(name) = f.name(y).or(f.name(x)).map(String::from) {
        f.set_name(result, &name);
    }
    f.replace_uses(y, result);
    f.erase(op);
    f.erase(producer);
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use qcc_ir::DType;

    #[test]
    fn joins_its_producer() {
        let mut t = TestModule::int(&[(&[4], DType::I8)]);
        let a = t.clamp(t.param(0), -10, 100);
        let b = t.clamp(a, 0, 120);
        let c = t.clamp(b, -128, 90);
        let m = t.ret(&[c]).run("fuse-clamp");
        assert_eq!(op_names(&m), ["int.clamp", "core.return"]);
        assert_eq!(clamp_bounds(&m), [[0, 90]]);
    }

    #[test]
    fn near_miss_other_users_read_the_unclamped_value() {
        let mut t = TestModule::int(&[(&[4], DType::I8)]);
        let a = t.clamp(t.param(0), -10, 100);
        let b = t.clamp(a, 0, 90);
        let y = t.concat(&[a, b], 0);
        t.ret(&[y]);
        let remarks = t.remarks("fuse-clamp");
        assert_eq!(
            remarks,
            [
                "fuse-clamp: 'clamp_0': clamp not fused: its input is an input of the function",
                "fuse-clamp: 'clamp_1': clamp not fused: its input is also read by 'concat_2'"
            ]
        );
    }

    #[test]
    fn a_clamp_that_does_nothing_goes() {
        let mut t = TestModule::int(&[(&[4], DType::I8)]);
        let y = t.clamp(t.param(0), -128, 127);
        assert_eq!(op_names(&t.ret(&[y]).run("fuse-clamp")), ["core.return"]);
    }

    #[test]
    fn crossed_bounds_give_the_upper_one() {
        let all = || -300i32..300;
        for (lo1, hi1, lo2, hi2) in [
            (10, 5, 0, 7),
            (0, 7, 10, 5),
            (9, 3, 4, 2),
            (-5, 5, -9, 9),
            (-9, 9, -5, 5),
            (0, 3, 5, 8),
        ] {
            let merged = |v: i32| v.max(lo2).min(hi2);
            let (lo, hi) = (merged(lo1), merged(hi1));
            let two = |t: i32| merged(t.max(lo1).min(hi1));
            assert!(all().all(|t| t.max(lo).min(hi) == two(t)), "{lo1} {hi1} {lo2} {hi2}");
        }
    }
}
