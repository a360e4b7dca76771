//! One object for several CPU levels: the exported functions ask the CPU once and jump.
//!
//! The answer is kept in four bytes of the object, the only ones it ever writes: 0 until the first
//! call, then one more than the index of the variant. Threads that race compute the same answer.

use super::{define_data, define_function, detect};
use crate::CodegenError;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, condcodes::IntCC, types};
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module};
use cranelift_object::ObjectModule;
use qcc_runtime::cpu::{Arch, CpuLevel};
use target_lexicon::Triple;

/// Code returned where no variant runs on this CPU.
const ERROR_CPU: i64 = 2;

/// Defines `<symbol>_run` and `<symbol>_run_parallel` from those of the variants, the best last.
pub(super) fn define(
    out: &mut ObjectModule,
    symbol: &str,
    triple: &Triple,
    (levels, runs): (&[CpuLevel], &[[FuncId; 2]]),
) -> Result<(), CodegenError> {
    let is_arm = levels.iter().any(|l| l.arch() == Arch::Aarch64);
    if is_arm && triple.operating_system.is_like_darwin() {
        let why = "programs cannot ask the CPU there; give one level".to_string();
        return Err(CodegenError::Target { target: triple.to_string(), why });
    }
    let best_first: Vec<CpuLevel> = levels.iter().rev().copied().collect();
    let detect = detect::define(out, symbol, &best_first)?;
    let mut cell = DataDescription::new();
    cell.define_zeroinit(4);
    cell.set_align(4);
    let cell = define_data(out, &format!("{symbol}_level"), &cell, true)?;
    for (which, (name, n_params)) in [("run", 3), ("run_parallel", 4)].into_iter().enumerate() {
        let name = format!("{symbol}_{name}");
        let exported = (Linkage::Export, n_params);
        define_function(out, &name, exported, Some(types::I32), |out, b, params| {
            let level = cached_level(out, b, cell, detect);
            for (i, run) in runs.iter().rev().map(|r| r[which]).enumerate() {
                let (this, next) = (b.create_block(), b.create_block());
                let this_one = i as i64 + 1;
                let is_this = b.ins().icmp_imm_s(IntCC::Equal, level, this_one);
                b.ins().brif(is_this, this, [].iter(), next, [].iter());
                b.switch_to_block(this);
                b.seal_block(this);
                let run = out.declare_func_in_func(run, b.func);
                let call = b.ins().call(run, params);
                let code = b.inst_results(call)[0];
                b.ins().return_(&[code]);
                b.switch_to_block(next);
                b.seal_block(next);
            }
            let code = b.ins().iconst(types::I32, ERROR_CPU);
            b.ins().return_(&[code]);
        })?;
    }
    Ok(())
}

/// The cell's value, filled if it was 0.
fn cached_level(
    out: &mut dyn Module,
    b: &mut FunctionBuilder,
    cell: DataId,
    detect: FuncId,
) -> Value {
    let cell = out.declare_data_in_func(cell, b.func);
    let at = b.ins().symbol_value(types::I64, cell);
    let known = b.ins().load(types::I32, MemFlagsData::trusted(), at, 0);
    let (ask, go) = (b.create_block(), b.create_block());
    b.append_block_param(go, types::I32);
    b.ins().brif(known, go, [known.into()].iter(), ask, [].iter());
    b.switch_to_block(ask);
    b.seal_block(ask);
    let detect = out.declare_func_in_func(detect, b.func);
    let call = b.ins().call(detect, &[]);
    let found = b.inst_results(call)[0];
    b.ins().store(MemFlagsData::trusted(), found, at, 0);
    b.ins().jump(go, [found.into()].iter());
    b.switch_to_block(go);
    b.seal_block(go);
    b.block_params(go)[0]
}
