//! Programs compiled into this process.

use crate::CodegenError;
use crate::clif::Listing;
use crate::emitters::{Choice, Emitters};
use crate::isa::{CodeModel, Target};
use crate::parallel;
use crate::program::{self, CONST_SLACK, ConstBase, Links, Program};
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{Linkage, default_libcall_names};
use qcc_runtime::Pool;
use qcc_runtime::abi::QccParallel;
use qcc_runtime::arena::AlignedBuf;
use std::mem::ManuallyDrop;

/// `int (arena, inputs, outputs)` in the C calling convention.
type EntryFn = unsafe extern "C" fn(*mut u8, *const *const u8, *const *mut u8) -> i32;

/// `int (arena, inputs, outputs, pool)` in the C calling convention.
type ParallelFn =
    unsafe extern "C" fn(*mut u8, *const *const u8, *const *mut u8, *const QccParallel) -> i32;

/// A compiled program; dropping it frees its code.
pub struct JitProgram {
    entry: EntryFn,
    parallel: ParallelFn,
    steps: Vec<EntryFn>,
    /// What the entry does, call by call.
    pub program: Program,
    /// Bytes of machine code, all kernels.
    pub code_bytes: usize,
    consts: AlignedBuf,
    module: ManuallyDrop<JITModule>,
}

// SAFETY: after construction the code and constants are only read; the JIT module is touched
// again only by drop. `session_threads` in the tests runs one program from two threads.
unsafe impl Send for JitProgram {}
// SAFETY: as for Send.
unsafe impl Sync for JitProgram {}

/// What to make besides the entry.
#[derive(Clone, Copy, Default, Debug)]
pub struct JitOptions {
    /// One function per kernel call, for profiling.
    pub steps: bool,
    /// Which emitter takes which kernel.
    pub choice: Choice,
}

impl JitProgram {
    /// Compiles a loop-level module for this process. Functions and constants of the module are
    /// freed on the way.
    ///
    /// # Errors
    /// The target is not this machine's, or a kernel cannot be emitted.
    pub fn compile(
        mut module: qcc_ir::Module,
        target: &Target,
        options: JitOptions,
    ) -> Result<JitProgram, CodegenError> {
        let mut program = Program::read(&module)?;
        module.data.clear();
        let isa = target.isa(CodeModel::Jit)?;
        let mut emitter = Emitters::new(target, &isa, false).choosing(options.choice);
        let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
        let memory = ArenaMemoryProvider::new_with_size(code_reserve(&module))
            .map_err(|e| CodegenError::backend("code memory", e))?;
        builder.memory_provider(Box::new(memory));
        let mut jit = JITModule::new(builder);
        let kernels = program::define_kernels(&mut jit, &mut module, "k", &mut emitter)?;
        // After the kernels, whose IR is gone by now.
        let parts = std::mem::take(&mut program.consts);
        let consts = AlignedBuf::from_parts(parts, program.const_bytes - CONST_SLACK, CONST_SLACK);
        let base = ConstBase::Address(consts.as_ptr() as i64);
        let links = Links { program: &program, kernels: &kernels, consts: base };
        let n = program.steps.len();
        let entry = program::define_entry(&mut jit, "run", Linkage::Local, links, 0..n)?;
        let parallel =
            parallel::define_run_parallel(&mut jit, "run_parallel", Linkage::Local, links, entry)?;
        let mut step_ids = Vec::new();
        for i in 0..if options.steps { n } else { 0 } {
            let name = format!("step_{i}");
            let id = program::define_entry(&mut jit, &name, Linkage::Local, links, i..i + 1)?;
            step_ids.push(id);
        }
        jit.finalize_definitions().map_err(|e| CodegenError::backend("code", e))?;
        let code = |id| {
            let address = jit.get_finalized_function(id);
            // SAFETY: `address` is finalized code with exactly this signature
            // (`entry_signature`); the golden tests call it.
            unsafe { std::mem::transmute::<*const u8, EntryFn>(address) }
        };
        let parallel = jit.get_finalized_function(parallel);
        // SAFETY: finalized code with the signature that `define_run_parallel` gives it; the
        // thread tests call it.
        let parallel = unsafe { std::mem::transmute::<*const u8, ParallelFn>(parallel) };
        Ok(JitProgram {
            entry: code(entry),
            parallel,
            steps: step_ids.into_iter().map(code).collect(),
            code_bytes: kernels.code_bytes,
            program,
            consts,
            module: ManuallyDrop::new(jit),
        })
    }

    /// Whether [`JitProgram::run_step`] may be called.
    pub fn has_steps(&self) -> bool {
        !self.steps.is_empty()
    }
    /// Bytes of constants.
    pub fn const_bytes(&self) -> usize {
        self.consts.len()
    }

    /// Runs the program once; the entry's return code.
    ///
    /// # Safety
    /// `arena` has the program's arena bytes plus 64 and is 64-byte aligned; `inputs[i]` and
    /// `outputs[j]` point to buffers of the sizes that `main` declares, inputs with 64 readable
    /// bytes behind them. Nothing else uses arena or outputs meanwhile.
    pub unsafe fn run(&self, arena: *mut u8, inputs: &[*const u8], outputs: &[*mut u8]) -> i32 {
        // SAFETY: the caller's promise is the entry's contract.
        unsafe { (self.entry)(arena, inputs.as_ptr(), outputs.as_ptr()) }
    }

    /// Runs the program once, groups of tasks on `pool`; the same bits as [`JitProgram::run`].
    ///
    /// # Safety
    /// As [`JitProgram::run`].
    pub unsafe fn run_parallel(
        &self,
        arena: *mut u8,
        inputs: &[*const u8],
        outputs: &[*mut u8],
        pool: &Pool,
    ) -> i32 {
        let pool = pool.as_parallel();
        // SAFETY: the caller's promise is the entry's contract; the pool outlives the call.
        unsafe { (self.parallel)(arena, inputs.as_ptr(), outputs.as_ptr(), &pool) }
    }

    /// Runs step `i` only (needs [`JitOptions::steps`]).
    ///
    /// # Safety
    /// As [`JitProgram::run`]; earlier steps have run on the same arena.
    pub unsafe fn run_step(
        &self,
        i: usize,
        arena: *mut u8,
        inputs: &[*const u8],
        outputs: &[*mut u8],
    ) -> i32 {
        // SAFETY: the caller's promise is the entry's contract.
        unsafe { (self.steps[i])(arena, inputs.as_ptr(), outputs.as_ptr()) }
    }
}

impl Drop for JitProgram {
    fn drop(&mut self) {
        // SAFETY: taken once, here; no function pointer outlives `self`.
        unsafe { ManuallyDrop::take(&mut self.module).free_memory() }
    }
}

/// Address space for the code of `module`: generous, only what is used is committed.
fn code_reserve(module: &qcc_ir::Module) -> usize {
    let ops: usize = module.funcs.values().map(|f| f.num_values() + 64).sum();
    (ops * 128 + (16 << 20)).next_multiple_of(1 << 16)
}

/// The machine code of a module's kernels as text, for any target, and the CLIF of those that
/// went through Cranelift: all that can, with [`Choice::ByWidth`].
///
/// # Errors
/// As [`JitProgram::compile`].
pub fn listing(
    mut module: qcc_ir::Module,
    target: &Target,
    choice: Choice,
) -> Result<Listing, CodegenError> {
    let isa = target.isa(CodeModel::Object)?;
    let mut emitter = Emitters::new(target, &isa, true).choosing(choice);
    let builder = cranelift_object::ObjectBuilder::new(isa, "listing", default_libcall_names())
        .map_err(|e| CodegenError::backend("listing", e))?;
    let mut object = cranelift_object::ObjectModule::new(builder);
    program::define_kernels(&mut object, &mut module, "k", &mut emitter)?;
    Ok(emitter.into_listing())
}
