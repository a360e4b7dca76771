//! `lower-quant-to-int`: quantized tensors become plain integers, and every op says which integer
//! arithmetic it does.
//!
//! ```text
//! %y = quant.conv2d(%x, %w, %b) {act = relu6} : tensor<1x4x4x2x!y>
//!   ─►  %m = const @c_mult : tensor<2xi32>
//!       %s = const @c_shift : tensor<2xi32>
//!       %a = int.conv2d(%x, %w, %b, %m, %s) {x_zp = -1, y_zp = 3, lo = -128, hi = 127} : …xi8>
//!       %y = int.clamp(%a) {lo = 3, hi = 127} : tensor<1x4x4x2xi8>
//! ```
//!
//! The steps come from [`qcc_ir::numerics`], which the interpreter follows too. Names and order of
//! inputs and outputs stay; their types lose scale and zero point.

use crate::{Diagnostic, Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::dialect::{OpKind, core, nn};
use qcc_ir::numerics::float::code_of;
use qcc_ir::numerics::{IntForm, Operand, derive, storage_type};
use qcc_ir::{Func, FuncId, Level, Module, OpId, Type, Value};
use qcc_runtime::Tensor;

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "lower-quant-to-int",
    summary: "replace quantized ops by the integer ops that define them",
    doc: include_str!("lower_quant_to_int.rs"),
    needs: LevelSet::only(Level::Quant),
    yields: Some(Level::Int),
    drift: Drift::Exact,
    options: &[],
    run,
};

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    let mut errors: Vec<Diagnostic> = Vec::new();
    let mut forms: Vec<(FuncId, OpId, IntForm)> = Vec::new();
    for (id, f) in m.funcs.iter() {
        for op in f.walk() {
            if !matches!(f.kind(op), OpKind::Quant(_)) {
                continue;
            }
            match derive(m, f, op) {
                Ok(form) => forms.push((id, op, form)),
                Err(why) => errors.push(ctx.error(m, f.op(op).loc, why)),
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors.into());
    }
    for (func, op, form) in forms {
        replace(m, func, op, form);
    }
    for func in m.funcs.keys().collect::<Vec<_>>() {
        forget_parameters(m, func);
    }
    m.level = Level::Int;
    Ok(())
}

/// Puts the steps of `form` in the place of `op`.
fn replace(m: &mut Module, func: FuncId, op: OpId, form: IntForm) {
    let inputs = m.funcs[func].operands(op).to_vec();
    let loc = m.funcs[func].op(op).loc;
    let mut results: Vec<Value> = Vec::with_capacity(form.steps.len());
    for step in form.steps {
        let mut operands = Vec::with_capacity(step.operands.len());
        for operand in step.operands {
            operands.push(match operand {
                Operand::Input(i) => inputs[i],
                Operand::Step(k) => results[k],
                Operand::Const(t) => constant(m, func, op, &t),
            });
        }
        let f = &mut m.funcs[func];
        let new = f.create_op(step.kind, &operands, &[step.result.into()], &[], loc);
        f.insert_before(op, new);
        results.push(f.result(new));
    }
    let f = &mut m.funcs[func];
    let old = f.results(op).to_vec();
    let first = results.len() - old.len();
    for (&from, &to) in old.iter().zip(&results[first..]) {
        if let Some(name) = f.name(from).map(String::from) {
            f.set_name(to, &name);
        }
        f.replace_uses(from, to);
    }
    f.erase(op);
}

/// A constant right before `op`, its data named after the op's first result.
fn constant(m: &mut Module, func: FuncId, op: OpId, t: &Tensor) -> Value {
    let f = &m.funcs[func];
    let name = f.results(op).first().and_then(|&v| f.name(v).map(String::from));
    let data = m.add_data(&name.unwrap_or("c".into()), t.bytes());
    let shape: Vec<u64> = t.shape().iter().map(|&d| d as u64).collect();
    let f = &mut m.funcs[func];
    let loc = f.op(op).loc;
    let ty = Type::tensor(&shape, t.dtype());
    let new = f.create_op(core::Const { data }, &[], &[ty], &[], loc);
    f.insert_before(op, new);
    f.result(new)
}

/// The border of a quantized tensor becomes that of codes.
fn pad_with_code(f: &mut Func, op: OpId) {
    let OpKind::Nn(nn::Op::Pad(pad)) = f.kind(op) else { return };
    let ty = f.ty(f.result(op)).as_tensor();
    let code = ty.and_then(|t| t.quant_type()).and_then(|q| code_of(pad.value, q).ok());
    if let (Some(code), OpKind::Nn(nn::Op::Pad(pad))) = (code, f.kind_mut(op)) {
        pad.value = code as f32;
    }
}

/// Parameters and constants become plain integers.
fn forget_parameters(m: &mut Module, func: FuncId) {
    let f = &mut m.funcs[func];
    for op in f.walk() {
        pad_with_code(f, op);
    }
    let mut values = f.params().to_vec();
    values.extend(f.walk().iter().flat_map(|&op| f.results(op).to_vec()));
    for v in values {
        if let Some(plain) = f.ty(v).as_tensor().map(storage_type) {
            f.set_type(v, plain.into());
        }
    }
}
