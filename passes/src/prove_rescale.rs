//! `prove-rescale`: requantization by a few float operations, where they are proven equal to the
//! reference.
//!
//! ```text
//! %y = int.conv2d(%x, %w, %b, %m, %s) {kernel = "panels 512 6x4", …}
//!   ─►
//! %y = int.conv2d(%x, %w, %b, %m, %s, %none, %proven) {kernel = …, forms = "relu_fma:64 exact:96"}
//! ```
//!
//! Constant weights bound every accumulator ([`crate::analysis::acc_range`]). On that range the
//! reference and each form of [`qcc_runtime::rescale`] are step functions, equal iff they agree on
//! both sides of every step. A block of channels (what one tile of the op's kernel holds) gets the
//! cheapest form that is proven on all of them, with constants per channel in a new operand; blocks
//! that have none keep the reference's arithmetic (`exact`). An op in which that would change more
//! than a few times gets one form. `int.add`, and an
//! epilogue with its arithmetic, gets constants that agree on all pairs of codes.

mod add;
mod conv;

use crate::consts::insert_const;
use crate::int_ops::{conv_notes_mut, conv_operand, dtype_of};
use crate::kernels::Machine;
use crate::kernels::layer::Layer;
use crate::kernels::site::Site;
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use conv::Proof;
use qcc_ir::dialect::OpKind;
use qcc_ir::dialect::int::{self, ConvKernel, Epilogue, Op, Sum};
use qcc_ir::{DType, FuncId, Level, Module, OpId};
use qcc_runtime::Tensor;

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "prove-rescale",
    summary: "replace requantizations by cheaper forms that are proven equal",
    doc: include_str!("prove_rescale.rs"),
    needs: LevelSet::only(Level::Int),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    let machine = Machine::of(ctx.target.cpu);
    for func in m.funcs.keys().collect::<Vec<_>>() {
        for op in m.funcs[func].body_ops().to_vec() {
            let loc = m.funcs[func].op(op).loc;
            if let OpKind::Int(Op::Add(sum)) = m.funcs[func].kind(op).clone() {
                let message = prove_add(m, (func, op), *sum);
                message.into_iter().for_each(|text| ctx.remark(m, loc, text));
                continue;
            }
            let message = prove_epilogue(m, (func, op));
            message.into_iter().for_each(|text| ctx.remark(m, loc, text));
            let site = Site::new(m, &m.funcs[func], op, machine);
            let proof = match Layer::of(&site) {
                Ok(Some(layer)) if vectors(&layer) => conv::prove(&site, &layer),
                _ => continue,
            };
            match proof {
                Ok(proof) => {
                    proof.remarks.iter().for_each(|text| ctx.remark(m, loc, text));
                    store(m, (func, op), &proof);
                }
                Err(why) => ctx.remark(m, loc, format!("the reference's arithmetic: {why}")),
            }
        }
    }
    Ok(())
}

/// Does the op have a kernel that takes forms, and none yet?
fn vectors(layer: &Layer) -> bool {
    !matches!(layer.kernel, ConvKernel::Auto | ConvKernel::Scalar) && layer.forms.0.is_empty()
}

fn store(m: &mut Module, (func, op): (FuncId, OpId), proof: &Proof) {
    let f = &mut m.funcs[func];
    let Some((_, forms)) = conv_notes_mut(f.kind_mut(op)) else { return };
    *forms = proof.forms.clone();
    let mut operands = f.operands(op).to_vec();
    let shift = operands[conv_operand::SHIFT];
    if operands.len() <= conv_operand::ROW_SUMS {
        let none = Tensor::zeros(DType::I32, [0]);
        operands.push(insert_const(m, func, op, (shift, "_none"), &none));
    }
    let proven = insert_const(m, func, op, (shift, "_proven"), &proof.constants);
    match operands.get_mut(conv_operand::PROVEN) {
        Some(none) => *none = proven,
        None => operands.push(proven),
    }
    m.funcs[func].set_operands(op, &operands);
}

/// What there is to say of a sum of 8-bit codes, now with constants if there are any.
fn prove_add(m: &mut Module, (func, op): (FuncId, OpId), sum: int::Add) -> Option<String> {
    let f = &mut m.funcs[func];
    let values = f.operands(op).iter().chain(f.results(op));
    let types: Vec<DType> =
        values.filter_map(|&v| f.ty(v).as_tensor().map(|t| t.storage())).collect();
    let [a, b, y] = types[..] else { return None };
    if [a, b, y].iter().any(|d| d.size() != 1) || sum.a_scale != 0.0 {
        return None;
    }
    let mut sum = sum;
    let text = prove_sum(&mut sum, a, b);
    *f.kind_mut(op) = OpKind::from(sum);
    Some(text)
}

/// What there is to say of the sum that a convolution's codes become part of.
fn prove_epilogue(m: &mut Module, (func, op): (FuncId, OpId)) -> Option<String> {
    let f = &mut m.funcs[func];
    let residual = f.operands(op).get(conv_operand::RESIDUAL).and_then(|&v| dtype_of(f, v));
    let OpKind::Int(Op::Conv2d(conv)) = f.kind_mut(op) else { return None };
    let types = [Epilogue::codes_type(conv.lo, conv.hi)?, residual?];
    let Epilogue::Sum(epilogue) = &mut conv.epilogue else { return None };
    let [a, b] = if epilogue.conv_is_b { [types[1], types[0]] } else { types };
    match &mut epilogue.sum {
        Sum::Add(sum) if sum.a_scale == 0.0 => Some(prove_sum(sum, a, b)),
        _ => None,
    }
}

/// Gives a sum of 8-bit codes its float form if one is proven.
fn prove_sum(sum: &mut int::Add, a: DType, b: DType) -> String {
    let Some(proven) = add::prove(sum, a, b) else {
        return "no float form proven on all pairs of codes, scalar integers instead".into();
    };
    [sum.a_scale, sum.b_scale] = proven.scales;
    sum.epsilon = proven.epsilon;
    "a float form proven on all pairs of codes".into()
}
