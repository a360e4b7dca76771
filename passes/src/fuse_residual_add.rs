//! `fuse-residual-add`: a sum joins the convolution that makes one of its operands.
//!
//! ```text
//! %c = int.conv2d(%x, …)                 ─►  %y = int.conv2d(%x, …, %none, %none, %r)
//! %y = int.add(%c, %r) {a_zp = 3, …}             {epilogue = "int.add(conv, residual) a_zp=3 …", …}
//! ```
//!
//! Also `int.add_float`. The codes of %c are never in memory: kernels add a vector of them to the
//! residual and store the sum. Both operands and the result have 8 bits and one shape, the sum is
//! all that reads %c, and the residual is there before the convolution: where two convolutions meet,
//! the later one gets the sum. Only convolutions with constant int8 weights and one group, which
//! have kernels that do this; where such a kernel turns out not to, `lower-int-to-loop` takes the
//! sum behind the convolution, in place.

use crate::consts::{insert_const, is_const};
use crate::int_ops::{conv_operand, dtype_of};
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::dialect::int::{AddStyle, Conv2d, Epilogue, Op, ResidualSum, Sum};
use qcc_ir::{DType, Func, FuncId, Level, Module, OpId, OpKind, Value};
use qcc_runtime::Tensor;

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "fuse-residual-add",
    summary: "add residuals as convolutions store their codes",
    doc: include_str!("fuse_residual_add.rs"),
    needs: LevelSet::only(Level::Int),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    for func in m.funcs.keys().collect::<Vec<_>>() {
        for op in m.funcs[func].body_ops().to_vec() {
            let f = &m.funcs[func];
            let Some(sum) = Sum::of(f.kind(op)) else { continue };
            let loc = f.op(op).loc;
            match candidate(m, f, op, &sum) {
                Ok(conv) => {
                    let made_by = m.locs.describe(f.op(conv.op).loc);
                    ctx.remark(m, loc, format!("joins '{made_by}'"));
                    fuse(m, func, op, conv, sum);
                }
                Err(Some(why)) => ctx.remark(m, loc, format!("not joined to a convolution: {why}")),
                Err(None) => {}
            }
        }
    }
    Ok(())
}

/// The convolution that takes a sum over.
struct Candidate {
    op: OpId,
    /// Its operand of the sum.
    operand: usize,
}

/// The last convolution that the sum adds to; else why there is none, if one is an operand.
fn candidate(m: &Module, f: &Func, op: OpId, sum: &Sum) -> Result<Candidate, Option<String>> {
    let place = |op: OpId| f.body_ops().iter().position(|&o| o == op);
    let made_by = |operand: usize| {
        let conv = f.def_op(f.operands(op)[operand])?;
        matches!(f.kind(conv), OpKind::Int(Op::Conv2d(_))).then_some((place(conv)?, operand, conv))
    };
    let Some((_, operand, conv)) = [0, 1].into_iter().filter_map(made_by).max() else {
        return Err(None);
    };
    let why = refusal(m, f, (op, sum), (conv, operand));
    let residual = f.operands(op)[1 - operand];
    let late = f.def_op(residual).is_some_and(|def| place(def) > place(conv));
    match why {
        Some(why) => Err(Some(why)),
        None if late => Err(Some("the other operand is computed after it".to_string())),
        None => Ok(Candidate { op: conv, operand }),
    }
}

/// Why operand `operand` of a sum, made by `conv`, cannot be added there.
fn refusal(
    m: &Module,
    f: &Func,
    (op, sum): (OpId, &Sum),
    (conv, operand): (OpId, usize),
) -> Option<String> {
    let (codes, residual, y) = (f.operands(op)[operand], f.operands(op)[1 - operand], f.result(op));
    if f.returned().contains(&codes) {
        return Some("its codes are an output too".into());
    }
    if let Some(other) = f.value(codes).uses().iter().map(|u| u.0).find(|&u| u != op) {
        return Some(format!("its codes are also read by '{}'", m.locs.describe(f.op(other).loc)));
    }
    if codes == residual {
        return Some("both operands are its codes".into());
    }
    let shape = |v: Value| f.ty(v).as_tensor().map(|t| t.shape.clone());
    if shape(codes) != shape(y) || shape(residual) != shape(y) {
        return Some("an operand is broadcast".into());
    }
    let byte = |v: Value| matches!(dtype_of(f, v), Some(DType::I8 | DType::U8));
    let x = f.operands(conv)[conv_operand::X];
    if ![x, codes, residual, y].into_iter().all(byte) {
        return Some("not all codes have 8 bits".into());
    }
    let shifts = matches!(sum, Sum::Add(o) if o.style != AddStyle::General);
    let OpKind::Int(Op::Conv2d(kind)) = f.kind(conv) else { return Some("no conv2d".into()) };
    let w = f.operands(conv)[conv_operand::W];
    if kind.groups != 1 || dtype_of(f, w) != Some(DType::I8) || !is_const(f, w) || shifts {
        return Some("it has groups, or weights that are not constant int8".into());
    }
    (kind.epilogue != Epilogue::None).then(|| "it adds another residual".into())
}

/// Puts a convolution with an epilogue where the convolution was, for both.
fn fuse(m: &mut Module, func: FuncId, op: OpId, conv: Candidate, sum: Sum) {
    let f = &m.funcs[func];
    let OpKind::Int(Op::Conv2d(kind)) = f.kind(conv.op).clone() else { return };
    let sum = ResidualSum { sum, conv_is_b: conv.operand == 1 };
    let kind = Conv2d { epilogue: Epilogue::Sum(Box::new(sum)), ..*kind };
    let loc = m.locs.fused(PASS.name, &[f.op(conv.op).loc, f.op(op).loc]);
    let residual = f.operands(op)[1 - conv.operand];
    let mut operands = f.operands(conv.op).to_vec();
    let shift = operands[conv_operand::SHIFT];
    let none = |dtype| Tensor::zeros(dtype, [0]);
    if operands.len() <= conv_operand::ROW_SUMS {
        let name = (shift, "_none");
        operands.push(insert_const(m, func, conv.op, name, &none(DType::I32)));
    }
    if operands.len() <= conv_operand::PROVEN {
        let name = (shift, "_unproven");
        operands.push(insert_const(m, func, conv.op, name, &none(DType::F64)));
    }
    operands.push(residual);
    let f = &mut m.funcs[func];
    let (codes, y) = (f.operands(op)[conv.operand], f.result(op));
    let new = f.create_op(kind, &operands, &[f.ty(y).clone()], &[], loc);
    f.insert_before(conv.op, new);
    let result = f.result(new);
    if let Some(name) = f.name(y).or(f.name(codes)).map(String::from) {
        f.set_name(result, &name);
    }
    f.replace_uses(y, result);
    f.erase(op);
    f.erase(conv.op);
}
