//! `dce`: removes pure ops whose results nobody uses, and constant data that no op names.
//!
//! ```text
//! %w  = core.const {data=@w}                 // no other use
//! %y  = int.clamp(%x) {lo=0, hi=6}           // no use          ─►   return %x
//! return %x
//! ```
//!
//! Data blocks are renumbered, so a `DataId` from before the pass means nothing after it.

use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use indexmap::IndexSet;
use qcc_ir::dialect::core;
use qcc_ir::{DataId, Func, Module, OpKind, RegionId};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "dce",
    summary: "remove ops and constant data that nothing uses",
    doc: include_str!("dce.rs"),
    needs: LevelSet::ALL,
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

fn run(m: &mut Module, _ctx: &mut PassContext) -> Result<(), Diagnostics> {
    for f in m.funcs.values_mut() {
        erase_unused(f, f.body);
    }
    drop_unused_data(m);
    Ok(())
}

/// Erases unused pure ops, last to first, so that one sweep frees whole chains.
pub fn erase_unused(f: &mut Func, region: RegionId) {
    for op in f.region(region).ops.clone().into_iter().rev() {
        let unused = f.results(op).iter().all(|&v| f.value(v).uses().is_empty());
        if unused && f.kind(op).spec().pure {
            f.erase(op);
            continue;
        }
        for inner in f.op(op).regions().to_vec() {
            erase_unused(f, inner);
        }
    }
}

/// Removes data that no constant names, and renumbers the rest.
pub fn drop_unused_data(m: &mut Module) {
    let mut used: IndexSet<DataId> = IndexSet::new();
    for f in m.funcs.values() {
        used.extend(f.walk().into_iter().filter_map(|op| const_data(f.kind(op))));
    }
    used.sort_unstable();
    if used.len() == m.data.len() {
        return;
    }
    let old = std::mem::take(&mut m.data);
    for &id in &used {
        m.data.push(old[id].clone());
    }
    for f in m.funcs.values_mut() {
        for op in f.walk() {
            if let OpKind::Core(core::Op::Const(c)) = f.kind_mut(op) {
                let at = used.get_index_of(&c.data).expect("every named data block was collected");
                c.data = DataId::from_u32(at as u32);
            }
        }
    }
}

fn const_data(kind: &OpKind) -> Option<DataId> {
    match kind {
        OpKind::Core(core::Op::Const(c)) => Some(c.data),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use qcc_ir::DType;

    #[test]
    fn removes_chains_and_their_data() {
        let mut t = TestModule::int(&[(&[4], DType::I8)]);
        let x = t.param(0);
        let w = t.const_i64("dead", DType::I8, &[4], &[1, 2, 3, 4]);
        let k = t.const_i64("live", DType::I8, &[4], &[5, 6, 7, 8]);
        let dead = t.clamp(w, 0, 1);
        t.clamp(dead, 0, 1);
        let y = t.concat(&[x, k], 0);
        let m = t.ret(&[y]).run("dce");
        assert_eq!(op_names(&m), ["core.const", "int.concat", "core.return"]);
        assert_eq!(m.data.len(), 1);
        assert_eq!(const_values(&m, "live"), [5, 6, 7, 8]);
    }

    #[test]
    fn keeps_what_is_returned() {
        let mut t = TestModule::int(&[(&[4], DType::I8)]);
        let y = t.clamp(t.param(0), 0, 1);
        let m = t.ret(&[y]).run("dce");
        assert_eq!(op_names(&m), ["int.clamp", "core.return"]);
    }
}
