//! Running a program on the caller's threads.
//!
//! `run_parallel(arena, inputs, outputs, pool)` walks the steps of a program: steps that stand alone
//! run on the calling thread; a group of tasks becomes one call of the pool's `parallel_for`, on a
//! function that runs task `i`. What a task needs travels in a struct on the caller's stack. Without
//! a pool, everything runs on the calling thread: the same bits in any case, since the tasks of a
//! group write to different places.

use crate::CodegenError;
use crate::clif::kernel_signature;
use crate::program::{Calls, Links, define_with, entry_signature};
use cranelift_codegen::ir::{
    AbiParam, InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Value, condcodes::IntCC,
    types,
};
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{FuncId, Linkage, Module};
use qcc_runtime::abi::QccParallel;
use std::mem::offset_of;

/// What a task is given: arena, inputs, outputs.
const CONTEXT_BYTES: u32 = 24;

/// Defines `int name(arena, inputs, outputs, pool)`; `run` is the program's sequential entry.
///
/// # Errors
/// As [`crate::program::define_entry`].
pub fn define_run_parallel(
    out: &mut dyn Module,
    name: &str,
    linkage: Linkage,
    links: Links,
    run: FuncId,
) -> Result<FuncId, CodegenError> {
    let groups = define_groups(out, name, links)?;
    let mut sig = entry_signature(out);
    sig.params.push(AbiParam::new(out.target_config().pointer_type()));
    define_with(out, name, linkage, sig, |out, b, params| {
        if groups.is_empty() {
            return call_run(out, b, run, params);
        }
        let parallel_for = without_pool(out, b, run, params);
        let mut calls = Calls::new(out, b, links, [params[0], params[1], params[2]]);
        calls.check_arena();
        let context = store_context(&mut calls);
        let mut done = 0;
        for &(start, n, task) in &groups {
            calls.steps(done..start)?;
            call_group(&mut calls, (n, task), context, (params[3], parallel_for));
            done = start + n;
        }
        calls.steps(done..links.program.steps.len())?;
        calls.return_ok();
        Ok(())
    })
}

/// A function per group of tasks: first step, number of tasks, function.
fn define_groups(
    out: &mut dyn Module,
    name: &str,
    links: Links,
) -> Result<Vec<(usize, usize, FuncId)>, CodegenError> {
    let mut groups = Vec::new();
    let mut at = 0;
    while let Some(step) = links.program.steps.get(at) {
        if step.tasks > 1 {
            let name = format!("{name}_group_{}", groups.len());
            groups.push((at, step.tasks, define_task(out, &name, links, (at, step.tasks))?));
        }
        at += step.tasks;
    }
    Ok(groups)
}

/// `void name(const context *arg, int32_t i)`: runs step `start + i`.
fn define_task(
    out: &mut dyn Module,
    name: &str,
    links: Links,
    (start, n): (usize, usize),
) -> Result<FuncId, CodegenError> {
    let mut sig = kernel_signature(out, 1);
    sig.params.push(AbiParam::new(types::I32));
    define_with(out, name, Linkage::Local, sig, |out, b, params| {
        let field = |b: &mut FunctionBuilder, at| {
            b.ins().load(types::I64, MemFlagsData::trusted(), params[0], at)
        };
        let buffers = [field(b, 0), field(b, 8), field(b, 16)];
        for i in 0..n {
            let (this, next) = (b.create_block(), b.create_block());
            let is_this = b.ins().icmp_imm_s(IntCC::Equal, params[1], i as i64);
            b.ins().brif(is_this, this, [].iter(), next, [].iter());
            b.switch_to_block(this);
            b.seal_block(this);
            Calls::new(out, b, links, buffers).steps(start + i..start + i + 1)?;
            b.ins().return_(&[]);
            b.switch_to_block(next);
            b.seal_block(next);
        }
        b.ins().return_(&[]);
        Ok(())
    })
}

fn call_run(
    out: &mut dyn Module,
    b: &mut FunctionBuilder,
    run: FuncId,
    params: &[Value],
) -> Result<(), CodegenError> {
    let run = out.declare_func_in_func(run, b.func);
    let call = b.ins().call(run, &params[..3]);
    let code = b.inst_results(call)[0];
    b.ins().return_(&[code]);
    Ok(())
}

/// Leaves through `run` if there is no pool; the pool's `parallel_for`.
fn without_pool(
    out: &mut dyn Module,
    b: &mut FunctionBuilder,
    run: FuncId,
    params: &[Value],
) -> Value {
    let (look, alone, go) = (b.create_block(), b.create_block(), b.create_block());
    let pool = params[3];
    b.ins().brif(pool, look, [].iter(), alone, [].iter());
    b.switch_to_block(look);
    b.seal_block(look);
    let at = offset_of!(QccParallel, parallel_for) as i32;
    let parallel_for = b.ins().load(types::I64, MemFlagsData::trusted(), pool, at);
    b.ins().brif(parallel_for, go, [].iter(), alone, [].iter());
    b.switch_to_block(alone);
    b.seal_block(alone);
    call_run(out, b, run, params).expect("a call of a defined function");
    b.switch_to_block(go);
    b.seal_block(go);
    parallel_for
}

/// The context of all tasks, on the stack.
fn store_context(calls: &mut Calls) -> Value {
    let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, CONTEXT_BYTES, 3);
    let slot = calls.b.create_sized_stack_slot(slot);
    let pointer = calls.b.ins().stack_addr(types::I64, slot, 0);
    for (i, buffer) in calls.buffers.into_iter().enumerate() {
        let flags = MemFlagsData::trusted();
        calls.b.ins().store(flags, buffer, pointer, 8 * i as i32);
    }
    pointer
}

/// `parallel_for(pool->ctx, n, task, context)`.
fn call_group(
    calls: &mut Calls,
    (n, task): (usize, FuncId),
    context: Value,
    (pool, parallel_for): (Value, Value),
) {
    let mut sig = kernel_signature(calls.out, 1);
    sig.params.push(AbiParam::new(types::I32));
    sig.params.extend(kernel_signature(calls.out, 2).params);
    let sig = calls.b.import_signature(sig);
    let at = offset_of!(QccParallel, ctx) as i32;
    let ctx = calls.b.ins().load(types::I64, MemFlagsData::trusted(), pool, at);
    let n = calls.b.ins().iconst(types::I32, n as i64);
    let task = calls.out.declare_func_in_func(task, calls.b.func);
    let task = calls.b.ins().func_addr(types::I64, task);
    calls.b.ins().call_indirect(sig, parallel_for, &[ctx, n, task, context]);
}
