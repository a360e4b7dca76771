//! `fuse-luts`: elementwise ops that depend on one 8-bit code become one table of it.
//!
//! ```text
//! %s = int.lut(%x, %sigmoid)                          %t = const @y_table : tensor<256xi8>
//! %y = int.mul(%x, %s) {a_zp = 3, …}          ─►      %y = int.lut(%x, %t)
//! ```
//!
//! An op joins the ops that make its operands if all of them read the same 8-bit tensor, of the
//! shape of the result, and constants of one element besides; if nothing else reads what lies
//! between; and if one of them is more than a clamp or a flip of signs, which cost less than a
//! table. The table is what the interpreter makes of the 256 codes. Chains grow op by op: the swish
//! above, or x·relu6(x + 3)/6, end as one table.

use crate::consts::{const_tensor, is_const};
use crate::int_ops::{dtype_of, int_op};
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::dialect::core;
use qcc_ir::dialect::int::{Lut, Op};
use qcc_ir::interp::run_main;
use qcc_ir::{DType, Func, FuncId, FuncKind, Level, Module, OpId, Type, Value};
use qcc_runtime::Tensor;

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "fuse-luts",
    summary: "make one lookup table of elementwise ops on one 8-bit tensor",
    doc: include_str!("fuse_luts.rs"),
    needs: LevelSet::only(Level::Int),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    for func in m.funcs.keys().collect::<Vec<_>>() {
        for op in m.funcs[func].walk() {
            let f = &m.funcs[func];
            if let Some(chain) = chain(f, op, &is_read_by) {
                fuse(m, ctx, func, &chain);
            } else if let Some(chain) = chain(f, op, &|_, _, _| true) {
                let shared = chain.ops.iter().find(|&&o| !is_read_by(f, f.result(o), op));
                let shared = shared.map(|&o| m.locs.describe(f.op(o).loc)).unwrap_or_default();
                let message = format!("not one table with '{shared}': others read that too");
                ctx.remark(m, f.op(op).loc, message);
            }
        }
    }
    Ok(())
}

/// Ops that together are a function of one code.
struct Chain {
    /// The tensor of codes.
    x: Value,
    /// Each op after those that it reads; the last one makes the result.
    ops: Vec<OpId>,
}

/// `op` and the ops before it that can be one table; a value made by one of them `is_private` to
/// `op`.
fn chain(f: &Func, op: OpId, is_private: &dyn Fn(&Func, Value, OpId) -> bool) -> Option<Chain> {
    let inputs = data_operands(f, op)?;
    let mut before: Vec<OpId> = Vec::new();
    let mut sources: Vec<Value> = Vec::new();
    for &v in inputs {
        let inner = f.def_op(v).and_then(|d| Some((d, data_operands(f, d)?)));
        match inner {
            Some((d, operands)) if is_private(f, v, op) => {
                sources.extend(varying(f, operands));
                before.push(d);
            }
            _ => sources.extend(varying(f, &[v])),
        }
    }
    before.dedup();
    sources.sort();
    sources.dedup();
    let &[x] = sources.as_slice() else { return None };
    let ops: Vec<OpId> = before.into_iter().chain([op]).collect();
    let shape = f.ty(x).as_tensor()?.shape.clone();
    let same_shape = |&op: &OpId| f.ty(f.result(op)).as_tensor().is_some_and(|t| t.shape == shape);
    let bytes = is_byte(f, x) && ops.iter().all(|&op| is_byte(f, f.result(op)));
    let pays = ops.len() > 1 && ops.iter().any(|&op| costs_a_table(f, op));
    (bytes && pays && ops.iter().all(same_shape)).then_some(Chain { x, ops })
}

/// The codes that an elementwise op reads, without tables.
fn data_operands(f: &Func, op: OpId) -> Option<&[Value]> {
    let n = match int_op(f, op)? {
        Op::Lut(_) | Op::Clamp(_) | Op::Requantize(_) | Op::FlipSign(_) => 1,
        Op::Add(_) | Op::AddFloat(_) | Op::Mul(_) | Op::PairLut(_) => 2,
        _ => return None,
    };
    let all = f.operands(op);
    let (data, tables) = all.split_at(n.min(all.len()));
    let known = tables.iter().all(|&t| is_const(f, t));
    let uniform = |&v: &Value| !is_const(f, v) || elements(f, v) == 1;
    (known && data.iter().all(uniform)).then_some(data)
}

/// The operands that are no constants.
fn varying<'f>(f: &'f Func, operands: &'f [Value]) -> impl Iterator<Item = Value> + 'f {
    operands.iter().copied().filter(|&v| !is_const(f, v))
}

/// True if `op` alone reads `v`.
fn is_read_by(f: &Func, v: Value, op: OpId) -> bool {
    f.value(v).uses().iter().all(|u| u.0 == op)
}

fn elements(f: &Func, v: Value) -> u64 {
    f.ty(v).as_tensor().map_or(0, |t| t.len())
}

fn is_byte(f: &Func, v: Value) -> bool {
    matches!(dtype_of(f, v), Some(DType::I8 | DType::U8))
}

fn costs_a_table(f: &Func, op: OpId) -> bool {
    !matches!(int_op(f, op), Some(Op::Clamp(_) | Op::FlipSign(_)))
}

/// Puts a table in the place of `chain`. Nothing happens if the interpreter refuses an op.
fn fuse(m: &mut Module, ctx: &mut PassContext, func: FuncId, chain: &Chain) {
    let Some(table) = tabulate(m, &m.funcs[func], chain) else { return };
    let f = &m.funcs[func];
    let [.., op] = chain.ops[..] else { return };
    let y = f.result(op);
    let name = f.name(y).unwrap_or("lut").to_string() + "_table";
    let locs: Vec<_> = chain.ops.iter().map(|&op| f.op(op).loc).collect();
    let nodes: Vec<String> = locs[..locs.len() - 1].iter().map(|&l| m.locs.describe(l)).collect();
    let remark = format!("is one table with '{}'", nodes.join("', '"));
    ctx.remark(m, locs[locs.len() - 1], remark);
    let loc = m.locs.fused(PASS.name, &locs);
    let data = m.add_data(&name, table.bytes());
    let f = &mut m.funcs[func];
    let ty = Type::tensor(&[table.len() as u64], table.dtype());
    let constant = f.create_op(core::Const { data }, &[], &[ty], &[], loc);
    f.insert_before(op, constant);
    let operands = [chain.x, f.result(constant)];
    let lut = f.create_op(Lut {}, &operands, &[f.ty(y).clone()], &[], loc);
    f.insert_before(op, lut);
    let result = f.result(lut);
    if let Some(name) = f.name(y).map(String::from) {
        f.set_name(result, &name);
    }
    f.replace_uses(y, result);
    chain.ops.iter().rev().for_each(|&op| f.erase(op));
}

/// What the chain makes of each code of x.
fn tabulate(m: &Module, f: &Func, chain: &Chain) -> Option<Tensor> {
    let codes = |v: Value| dtype_of(f, v).map(|d| Type::tensor(&[256], d));
    let mut copy = Module::new("table", Level::Int, m.numerics);
    let mut main = Func::new("main", FuncKind::Main, &[codes(chain.x)?]);
    let mut known = vec![(chain.x, main.params()[0])];
    for &op in &chain.ops {
        for &v in f.operands(op) {
            if let Some(t) = const_tensor(m, f, v) {
                let data = copy.add_data("c", t.bytes());
                let ty = Type::tensor(&[t.len() as u64], t.dtype());
                let c = main.push_op(main.body, core::Const { data }, &[], &[ty], f.op(op).loc);
                known.push((v, main.result(c)));
            }
        }
        let of = |v: &Value| known.iter().rev().find(|k| k.0 == *v).map(|k| k.1);
        let operands: Option<Vec<Value>> = f.operands(op).iter().map(of).collect();
        let (kind, y) = (f.kind(op).clone(), f.result(op));
        let new = main.push_op(main.body, kind, &operands?, &[codes(y)?], Default::default());
        known.push((y, main.result(new)));
    }
    let result = known.last()?.1;
    main.push_op(main.body, core::Return {}, &[result], &[], Default::default());
    copy.funcs.push(main);
    let dtype = dtype_of(f, chain.x)?;
    let mut all = Tensor::zeros(dtype, [256]);
    (0..256).for_each(|i| all.set_i64(i, dtype.min_max().0 + i as i64));
    run_main(&copy, &[all]).ok()?.into_iter().next()
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use qcc_ir::DType;

    fn ops(build: impl FnOnce(&mut TestModule)) -> Vec<&'static str> {
        let mut t = TestModule::int(&[(&[2, 40], DType::I8)]);
        build(&mut t);
        op_names_without_consts(&t.run_exact("fuse-luts,dce"))
    }

    fn reversed(t: &mut TestModule) -> qcc_ir::Value {
        t.const_i64(
            "reversed",
            DType::I8,
            &[256],
            &ramp(256, -128).into_iter().rev().collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_diamond_over_one_tensor_is_a_table() {
        let names = ops(|t| {
            let (x, k) = (t.param(0), reversed(t));
            let a = t.lut(x, k);
            let a = t.clamp(a, -100, 70);
            let y = t.add(x, a);
            t.ret(&[y]);
        });
        assert_eq!(names, ["int.lut", "core.return"]);
    }

    #[test]
    fn a_constant_of_one_element_is_no_other_tensor() {
        let names = ops(|t| {
            let three = t.const_i64("three", DType::I8, &[1], &[3]);
            let y = t.add(t.param(0), three);
            let k = reversed(t);
            let y = t.lut(y, k);
            t.ret(&[y]);
        });
        assert_eq!(names, ["int.lut", "core.return"]);
    }

    #[test]
    fn two_tensors_are_no_function_of_one_code() {
        let mut t = TestModule::int(&[(&[4], DType::I8), (&[4], DType::I8)]);
        let k = reversed(&mut t);
        let a = t.lut(t.param(0), k);
        let y = t.add(a, t.param(1));
        t.ret(&[y]);
        let m = t.run_exact("fuse-luts");
        assert_eq!(op_names_without_consts(&m), ["int.lut", "int.add", "core.return"]);
    }

    #[test]
    fn what_others_read_stays() {
        let names = ops(|t| {
            let k = reversed(t);
            let a = t.lut(t.param(0), k);
            let y = t.lut(a, k);
            t.ret(&[y, a]);
        });
        assert_eq!(names, ["int.lut", "int.lut", "core.return"]);
    }

    #[test]
    fn clamps_alone_cost_less() {
        let names = ops(|t| {
            let a = t.clamp(t.param(0), -100, 70);
            let y = t.clamp(a, -90, 100);
            t.ret(&[y]);
        });
        assert_eq!(names, ["int.clamp", "int.clamp", "core.return"]);
    }
}
