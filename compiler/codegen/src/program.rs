//! A loop-level module as functions of a Cranelift module: its kernels, its constants, its entry.

use crate::clif::kernel_signature;
use crate::{CodegenError, Emitter};
use cranelift_codegen::Context;
use cranelift_codegen::ir::{self as clif, AbiParam, InstBuilder, MemFlagsData, types};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataId, FuncId, Linkage, Module};
use indexmap::IndexMap;
use qcc_ir::dialect::{core, loops};
use qcc_ir::{Bytes, FuncKind, OpId, OpKind, Value};
use std::ops::Range;

/// Alignment of every constant and of the arena, in bytes.
pub const ALIGN: usize = 64;

/// Readable bytes behind the last constant.
pub(crate) const CONST_SLACK: usize = 64;

/// One buffer that `main` works on, seen from the entry's arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Buffer {
    /// The scratch arena.
    Arena,
    /// The k-th input.
    Input(usize),
    /// The k-th output.
    Output(usize),
    /// Constants, from this byte of the blob.
    Const(usize),
}

/// One kernel call of `main`.
#[derive(Clone, Debug)]
pub struct Step {
    /// Name of the kernel.
    pub kernel: String,
    /// The source nodes it computes, in the model's own names.
    pub node: String,
    /// Buffer and byte offset of each argument.
    pub args: Vec<(Buffer, u64)>,
    /// Steps from here on, this one included, that may run at the same time; 1 inside a group.
    pub tasks: usize,
}

/// What `main` does: the calls, and the constants they read.
#[derive(Clone, Debug)]
pub struct Program {
    /// Calls in order.
    pub steps: Vec<Step>,
    /// All constants in order, each to be placed at the next multiple of [`ALIGN`].
    pub consts: Vec<Bytes>,
    /// Bytes of the constants in their places, slack included.
    pub const_bytes: usize,
    /// Bytes of arena that a call needs.
    pub arena_bytes: usize,
    /// Number of inputs and outputs.
    pub n_inputs: usize,
    /// Number of outputs.
    pub n_outputs: usize,
}

impl Program {
    /// Reads `main` of a loop-level module.
    ///
    /// # Errors
    /// `main` has something else than constants and kernel calls.
    pub fn read(module: &qcc_ir::Module) -> Result<Program, CodegenError> {
        let bad = |why: String| CodegenError::Program(why);
        let main = module.main().ok_or_else(|| bad("no function 'main'".into()))?;
        let main = &module.funcs[main];
        let params = main.params();
        let (n_inputs, n_outputs) = (main.input_names.len(), main.output_names.len());
        if params.len() != 1 + n_inputs + n_outputs {
            return Err(bad(format!(
                "main has {} buffers, expected an arena, {n_inputs} inputs and {n_outputs} outputs",
                params.len()
            )));
        }
        let mut buffers: IndexMap<Value, Buffer> = IndexMap::new();
        buffers.insert(params[0], Buffer::Arena);
        for (i, &p) in params[1..].iter().enumerate() {
            let buffer = if i < n_inputs { Buffer::Input(i) } else { Buffer::Output(i - n_inputs) };
            buffers.insert(p, buffer);
        }
        let arena_bytes = main.ty(params[0]).as_mem().map_or(0, |m| m.bytes as usize);
        let (steps, consts, const_bytes) = (vec![], vec![], CONST_SLACK);
        let mut program = Program { steps, consts, const_bytes, arena_bytes, n_inputs, n_outputs };
        let mut filled = 0;
        for &op in main.body_ops() {
            match main.kind(op) {
                OpKind::Core(core::Op::Const(c)) => {
                    let bytes = module.data[c.data].bytes.clone();
                    let at = place_const(&mut filled, bytes.len());
                    program.consts.push(bytes);
                    buffers.insert(main.result(op), Buffer::Const(at));
                }
                OpKind::Loop(loops::Op::Call(call)) => {
                    let node = module.locs.describe(main.op(op).loc);
                    program.steps.push(read_step(main, op, call, &buffers, node)?);
                }
                OpKind::Core(core::Op::Return(_)) => {}
                OpKind::Loop(loops::Op::PackPanels(_) | loops::Op::PackBlocks(_)) => {
                    return Err(bad("weights are not packed yet; run pass 'pack-weights'".into()));
                }
                other => return Err(bad(format!("'{}' in main", other.name()))),
            }
        }
        program.const_bytes += filled;
        Ok(program)
    }
}

/// The next aligned place for `bytes` bytes; `filled` moves behind it.
fn place_const(filled: &mut usize, bytes: usize) -> usize {
    let at = filled.next_multiple_of(ALIGN);
    *filled = at + bytes;
    at
}

fn read_step(
    main: &qcc_ir::Func,
    op: OpId,
    call: &loops::Call,
    buffers: &IndexMap<Value, Buffer>,
    node: String,
) -> Result<Step, CodegenError> {
    let mut args = Vec::with_capacity(call.offsets.len());
    for (mem, &offset) in main.operands(op).iter().zip(&call.offsets) {
        let buffer = buffers.get(mem).copied();
        let buffer =
            buffer.ok_or_else(|| CodegenError::Program("a call on an unknown buffer".into()))?;
        args.push((buffer, offset));
    }
    let tasks = if call.task == 0 { call.tasks as usize } else { 1 };
    Ok(Step { kernel: call.kernel.clone(), node, args, tasks })
}

/// Where the constant blob is at run time.
#[derive(Clone, Copy, Debug)]
pub enum ConstBase {
    /// At this address of this process.
    Address(i64),
    /// A data object of the same module.
    Symbol(DataId),
}

/// The kernels of a program, declared and defined.
pub struct Kernels {
    ids: IndexMap<String, (FuncId, usize)>,
    /// Bytes of machine code, all kernels.
    pub code_bytes: usize,
}

/// Defines every kernel of `module` as a local function `<prefix>_<kernel>`. Takes all functions
/// out of the module: a kernel's IR is large and not needed once its code is made.
///
/// # Errors
/// The emitter's, with the kernel's name.
pub fn define_kernels(
    out: &mut dyn Module,
    module: &mut qcc_ir::Module,
    prefix: &str,
    emitter: &mut dyn Emitter,
) -> Result<Kernels, CodegenError> {
    let mut kernels = Kernels { ids: IndexMap::new(), code_bytes: 0 };
    let funcs = std::mem::take(&mut module.funcs);
    for (_, func) in funcs.into_iter().filter(|(_, f)| f.kind == FuncKind::Kernel) {
        let n = func.params().len();
        let sig = kernel_signature(out, n);
        let id = out
            .declare_function(&format!("{prefix}_{}", func.name), Linkage::Local, &sig)
            .map_err(|e| CodegenError::backend(&func.name, e))?;
        kernels.code_bytes += emitter.define(out, id, &func)?;
        kernels.ids.insert(func.name, (id, n));
    }
    give_back();
    Ok(kernels)
}

/// Gives the heap's free pages back to the system. The IR of kernels was tens of thousands of small
/// blocks; what was allocated since keeps glibc from giving back what lies below, while constants
/// are about to be copied.
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: any thread may call it at any time; blocks in use stay where they are.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Code returned by the entry when the arena is null or not aligned to [`ALIGN`].
pub const ERROR_ARENA: i64 = 1;

/// Where a program's functions find what they call and read.
#[derive(Clone, Copy)]
pub struct Links<'a> {
    /// The program.
    pub program: &'a Program,
    /// Its kernels, defined.
    pub kernels: &'a Kernels,
    /// Its constants.
    pub consts: ConstBase,
}

/// Defines `int name(arena, inputs, outputs)`, which runs `steps` of the program in order.
///
/// # Errors
/// A step names a kernel that was not defined.
pub fn define_entry(
    out: &mut dyn Module,
    name: &str,
    linkage: Linkage,
    links: Links,
    steps: Range<usize>,
) -> Result<FuncId, CodegenError> {
    let sig = entry_signature(out);
    define_with(out, name, linkage, sig, |out, b, params| {
        let mut calls = Calls::new(out, b, links, [params[0], params[1], params[2]]);
        calls.check_arena();
        calls.steps(steps)?;
        calls.return_ok();
        Ok(())
    })
}

/// Defines a function of one block whose code `body` writes from its parameters.
pub(crate) fn define_with(
    out: &mut dyn Module,
    name: &str,
    linkage: Linkage,
    sig: clif::Signature,
    body: impl FnOnce(&mut dyn Module, &mut FunctionBuilder, &[clif::Value]) -> Result<(), CodegenError>,
) -> Result<FuncId, CodegenError> {
    let fail = |e| CodegenError::backend(name, e);
    let id = out.declare_function(name, linkage, &sig).map_err(fail)?;
    let mut context = Context::new();
    context.func.signature = sig;
    let mut builder_context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut context.func, &mut builder_context);
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    b.seal_block(block);
    let params = b.block_params(block).to_vec();
    body(out, &mut b, &params)?;
    b.finalize(out.target_config());
    out.define_function(id, &mut context).map_err(fail)?;
    Ok(id)
}

/// `int (void *arena, const void *const *inputs, void *const *outputs)`.
pub fn entry_signature(module: &dyn Module) -> clif::Signature {
    let mut sig = kernel_signature(module, 3);
    sig.returns.push(AbiParam::new(types::I32));
    sig
}

/// Writes kernel calls into a function.
pub(crate) struct Calls<'a, 'b> {
    pub out: &'a mut dyn Module,
    pub b: &'a mut FunctionBuilder<'b>,
    links: Links<'a>,
    /// Arena, inputs, outputs.
    pub buffers: [clif::Value; 3],
}

impl<'a, 'b> Calls<'a, 'b> {
    /// Calls on `buffers`: arena, inputs, outputs.
    pub fn new(
        out: &'a mut dyn Module,
        b: &'a mut FunctionBuilder<'b>,
        links: Links<'a>,
        buffers: [clif::Value; 3],
    ) -> Self {
        Calls { out, b, links, buffers }
    }

    /// The calls of `steps`, in order.
    pub fn steps(&mut self, steps: Range<usize>) -> Result<(), CodegenError> {
        let program = self.links.program;
        let base = self.const_base();
        for step in &program.steps[steps] {
            let (id, n) = *self.links.kernels.ids.get(&step.kernel).ok_or_else(|| {
                CodegenError::Program(format!("call of unknown kernel '{}'", step.kernel))
            })?;
            if n != step.args.len() {
                let why = format!("{} arguments for {n} buffers", step.args.len());
                return Err(CodegenError::Kernel { kernel: step.kernel.clone(), why });
            }
            let args: Vec<_> =
                step.args.iter().map(|&(buf, at)| self.pointer(base, buf, at)).collect();
            let callee = self.out.declare_func_in_func(id, self.b.func);
            self.b.ins().call(callee, &args);
        }
        Ok(())
    }

    /// Returns 0.
    pub fn return_ok(&mut self) {
        let ok = self.b.ins().iconst(types::I32, 0);
        self.b.ins().return_(&[ok]);
    }

    /// Returns [`ERROR_ARENA`] unless the arena is aligned and not null.
    pub fn check_arena(&mut self) {
        let arena = self.buffers[0];
        let (fail, go) = (self.b.create_block(), self.b.create_block());
        let low = self.b.ins().band_imm_u(arena, ALIGN as i64 - 1);
        let null = self.b.ins().icmp_imm_s(clif::condcodes::IntCC::Equal, arena, 0);
        let null = self.b.ins().uextend(types::I64, null);
        let bad = self.b.ins().bor(low, null);
        self.b.ins().brif(bad, fail, [].iter(), go, [].iter());
        self.b.switch_to_block(fail);
        self.b.seal_block(fail);
        let code = self.b.ins().iconst(types::I32, ERROR_ARENA);
        self.b.ins().return_(&[code]);
        self.b.switch_to_block(go);
        self.b.seal_block(go);
    }

    fn const_base(&mut self) -> clif::Value {
        match self.links.consts {
            ConstBase::Address(at) => self.b.ins().iconst(types::I64, at),
            ConstBase::Symbol(id) => {
                let data = self.out.declare_data_in_func(id, self.b.func);
                self.b.ins().symbol_value(types::I64, data)
            }
        }
    }

    fn pointer(&mut self, consts: clif::Value, buffer: Buffer, offset: u64) -> clif::Value {
        let element = |b: &mut FunctionBuilder, list: clif::Value, i: usize| {
            let flags = MemFlagsData::trusted();
            b.ins().load(types::I64, flags, list, (i * 8) as i32)
        };
        let [arena, inputs, outputs] = self.buffers;
        let (base, at) = match buffer {
            Buffer::Arena => (arena, offset),
            Buffer::Input(i) => (element(self.b, inputs, i), offset),
            Buffer::Output(i) => (element(self.b, outputs, i), offset),
            Buffer::Const(start) => (consts, offset + start as u64),
        };
        if at == 0 { base } else { self.b.ins().iadd_imm_s(base, at as i64) }
    }
}
