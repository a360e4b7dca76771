//! `cse`: one op instead of several equal pure ones.
//!
//! ```text
//! %a = int.pad(%x) {low=[0,1,1,0], …}
//! %b = int.pad(%x) {low=[0,1,1,0], …}        ─►   %a = int.pad(%x) {…}, used by both
//! ```
//!
//! Equal means: the same attributes, operands and result types. Constants are equal when their
//! bytes and types are. The first op and its location stay. Ops inside regions are left alone.

use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use indexmap::IndexMap;
use qcc_ir::dialect::core;
use qcc_ir::{Bytes, DataId, FuncId, Module, OpId, OpKind, Type, Value};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "cse",
    summary: "share equal pure ops and equal constants",
    doc: include_str!("cse.rs"),
    needs: LevelSet::ALL,
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

/// What two equal ops have in common. Attributes compare by their debug text, in which floats
/// round-trip and -0.0 differs from 0.0.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    kind: String,
    operands: Vec<Value>,
    types: Vec<Type>,
}

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    let first_equal = equal_data(m);
    for func in m.funcs.keys().collect::<Vec<_>>() {
        share_ops(m, ctx, func, &first_equal);
    }
    Ok(())
}

/// For each data block, the first one with the same bytes.
fn equal_data(m: &Module) -> Vec<DataId> {
    let mut seen: IndexMap<Bytes, DataId> = IndexMap::new();
    m.data.iter().map(|(id, d)| *seen.entry(d.bytes.clone()).or_insert(id)).collect()
}

fn share_ops(m: &mut Module, ctx: &mut PassContext, func: FuncId, first_equal: &[DataId]) {
    let mut seen: IndexMap<Key, OpId> = IndexMap::new();
    for op in m.funcs[func].body_ops().to_vec() {
        let f = &mut m.funcs[func];
        if !f.kind(op).spec().pure || !f.op(op).regions().is_empty() {
            continue;
        }
        if let OpKind::Core(core::Op::Const(c)) = f.kind_mut(op) {
            c.data = first_equal[c.data.as_u32() as usize];
        }
        let key = Key {
            kind: format!("{:?}", f.kind(op)),
            operands: f.operands(op).to_vec(),
            types: f.results(op).iter().map(|&v| f.ty(v).clone()).collect(),
        };
        let first = *seen.entry(key).or_insert(op);
        if first != op {
            merge(m, ctx, func, first, op);
        }
    }
}

fn merge(m: &mut Module, ctx: &mut PassContext, func: FuncId, first: OpId, op: OpId) {
    let f = &mut m.funcs[func];
    for (a, b) in f.results(first).to_vec().into_iter().zip(f.results(op).to_vec()) {
        f.replace_uses(b, a);
    }
    let (loc, first_loc) = (f.op(op).loc, f.op(first).loc);
    let is_const = matches!(f.kind(op), OpKind::Core(_));
    f.erase(op);
    if !is_const {
        let message = format!("shares its result with '{}'", m.locs.describe(first_loc));
        ctx.remark(m, loc, message);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use qcc_ir::DType;

    #[test]
    fn shares_equal_ops_and_constants() {
        let mut t = TestModule::int(&[(&[2], DType::I8)]);
        let a = t.const_i64("a", DType::I8, &[2], &[1, 2]);
        let b = t.const_i64("b", DType::I8, &[2], &[1, 2]);
        let ca = t.clamp(a, 0, 1);
        let cb = t.clamp(b, 0, 1);
        let y = t.concat(&[ca, cb, t.param(0)], 0);
        let m = t.ret(&[y]).run("cse,dce");
        assert_eq!(op_names(&m), ["core.const", "int.clamp", "int.concat", "core.return"]);
        assert_eq!(m.data.len(), 1);
    }

    #[test]
    fn other_attributes_are_another_op() {
        let mut t = TestModule::int(&[(&[2], DType::I8)]);
        let a = t.clamp(t.param(0), 0, 1);
        let b = t.clamp(t.param(0), 0, 2);
        let y = t.concat(&[a, b], 0);
        let m = t.ret(&[y]).run("cse,dce");
        assert_eq!(op_names(&m), ["int.clamp", "int.clamp", "int.concat", "core.return"]);
    }
}
