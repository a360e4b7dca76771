//! Programs as files: objects, archives, shared libraries.
//!
//! An object exports `<symbol>_info`, `_run`, `_run_parallel` and `_reset` and needs nothing: no
//! libc, no undefined symbol, no relocation in text. The same module, target and symbol give the
//! same bytes on every host: nothing depends on paths, time or addresses.
//!
//! Weights are in a read-only section, aligned to [`ALIGN`]; the descriptions that
//! `<symbol>_info` returns are the structs of `qcc_runtime::abi`, and their pointers the only
//! relocations outside code. Code reaches data relative to itself.

mod archive;
mod description;
mod link;

pub use archive::archive;
pub use link::link_shared;

use crate::CodegenError;
use crate::clif::ClifEmitter;
use crate::isa::{CodeModel, Target};
use crate::parallel;
use crate::program::{self, ALIGN, ConstBase, Links, Program};
use cranelift_codegen::Context;
use cranelift_codegen::ir::{AbiParam, InstBuilder, types};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module, default_libcall_names};
use cranelift_object::{ObjectBuilder, ObjectModule};
use object::{Object, ObjectSymbol};
use qcc_runtime::{AlignedBuf, TensorDesc};

/// What a compiled model looks like from outside.
#[derive(Clone, Debug)]
pub struct Interface {
    /// The model's name.
    pub name: String,
    /// Prefix of the exported symbols; a C identifier.
    pub symbol: String,
    /// Inputs in order.
    pub inputs: Vec<TensorDesc>,
    /// Outputs in order.
    pub outputs: Vec<TensorDesc>,
}

/// An object file and its sizes.
#[derive(Clone, Debug)]
pub struct ObjectFile {
    /// The file.
    pub bytes: Vec<u8>,
    /// Machine code of the kernels, bytes.
    pub code_bytes: usize,
    /// Constants, bytes.
    pub const_bytes: usize,
    /// Arena that a run needs, bytes.
    pub arena_bytes: usize,
}

/// Bytes behind the arena that kernels may read.
const ARENA_SLACK: usize = 64;

/// Compiles a loop-level module to an object file.
///
/// # Errors
/// The target is not supported, a kernel cannot be emitted, or the code would need a symbol from
/// elsewhere.
pub fn compile_object(
    module: &qcc_ir::Module,
    interface: &Interface,
    target: &Target,
) -> Result<ObjectFile, CodegenError> {
    check_symbol(&interface.symbol)?;
    let mut program = Program::read(module)?;
    let isa = target.isa(CodeModel::Object)?;
    let mut emitter = ClifEmitter::new(&isa, false);
    let symbol = &interface.symbol;
    let builder = ObjectBuilder::new(isa, symbol.clone(), default_libcall_names())
        .map_err(|e| CodegenError::backend(symbol, e))?;
    let mut out = ObjectModule::new(builder);
    let const_bytes = program.consts.len();
    let consts = program.consts.bytes().to_vec();
    program.consts = AlignedBuf::zeroed(0);
    let consts = define_bytes(&mut out, &format!("{symbol}_consts"), consts)?;
    let kernels = program::define_kernels(&mut out, module, symbol, &mut emitter)?;
    let links = Links { program: &program, kernels: &kernels, consts: ConstBase::Symbol(consts) };
    let (name, all) = (format!("{symbol}_run"), 0..program.steps.len());
    let run = program::define_entry(&mut out, &name, Linkage::Export, links, all)?;
    let name = format!("{symbol}_run_parallel");
    parallel::define_run_parallel(&mut out, &name, Linkage::Export, links, run)?;
    define_reset(&mut out, symbol)?;
    let arena_bytes = program.arena_bytes + ARENA_SLACK;
    let info = description::define(&mut out, interface, arena_bytes)?;
    define_info_getter(&mut out, symbol, info)?;
    let bytes = out.finish().emit().map_err(|e| CodegenError::backend(symbol, e))?;
    check_self_contained(&bytes, symbol)?;
    let code_bytes = kernels.code_bytes;
    Ok(ObjectFile { bytes, code_bytes, const_bytes, arena_bytes })
}

/// Fails unless `symbol` is a C identifier: it becomes part of names in C.
fn check_symbol(symbol: &str) -> Result<(), CodegenError> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match symbol.chars().next() {
        Some(first) if !first.is_ascii_digit() && symbol.chars().all(word) => Ok(()),
        _ => Err(CodegenError::Program(format!("'{symbol}' is not a C identifier"))),
    }
}

/// Fails if the object needs a symbol that it does not define.
fn check_self_contained(bytes: &[u8], symbol: &str) -> Result<(), CodegenError> {
    let file = object::File::parse(bytes).map_err(|e| CodegenError::backend(symbol, e))?;
    let undefined: Vec<&str> = file
        .symbols()
        .filter(|s| s.is_undefined())
        .filter_map(|s| s.name().ok())
        .filter(|n| !n.is_empty())
        .collect();
    match undefined.as_slice() {
        [] => Ok(()),
        names => {
            let why = format!("the code calls {} from outside", names.join(", "));
            Err(CodegenError::backend(symbol, why))
        }
    }
}

fn define_bytes(
    out: &mut ObjectModule,
    name: &str,
    bytes: Vec<u8>,
) -> Result<DataId, CodegenError> {
    let mut data = DataDescription::new();
    data.define(bytes.into_boxed_slice());
    data.set_align(ALIGN as u64);
    define_data(out, name, &data)
}

fn define_data(
    out: &mut ObjectModule,
    name: &str,
    data: &DataDescription,
) -> Result<DataId, CodegenError> {
    let fail = |e| CodegenError::backend(name, e);
    let id = out.declare_data(name, Linkage::Local, false, false).map_err(fail)?;
    out.define_data(id, data).map_err(fail)?;
    Ok(id)
}

/// Defines `name` from a body that gets the function's parameters.
fn define_function(
    out: &mut ObjectModule,
    name: &str,
    n_params: usize,
    returns: Option<types::Type>,
    body: impl FnOnce(&mut ObjectModule, &mut FunctionBuilder, Vec<cranelift_codegen::ir::Value>),
) -> Result<FuncId, CodegenError> {
    let fail = |e| CodegenError::backend(name, e);
    let mut sig = crate::clif::kernel_signature(out, n_params);
    sig.returns.extend(returns.map(AbiParam::new));
    let id = out.declare_function(name, Linkage::Export, &sig).map_err(fail)?;
    let mut context = Context::new();
    context.func.signature = sig;
    let mut builder_context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut context.func, &mut builder_context);
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    b.seal_block(block);
    let params = b.block_params(block).to_vec();
    body(out, &mut b, params);
    b.finalize(out.target_config());
    out.define_function(id, &mut context).map_err(fail)?;
    Ok(id)
}

/// `void <symbol>_reset(arena)`: models without state have nothing to reset.
fn define_reset(out: &mut ObjectModule, symbol: &str) -> Result<(), CodegenError> {
    define_function(out, &format!("{symbol}_reset"), 1, None, |_, b, _| {
        b.ins().return_(&[]);
    })?;
    Ok(())
}

fn define_info_getter(
    out: &mut ObjectModule,
    symbol: &str,
    info: DataId,
) -> Result<(), CodegenError> {
    define_function(out, &format!("{symbol}_info"), 0, Some(types::I64), |out, b, _| {
        let data = out.declare_data_in_func(info, b.func);
        let address = b.ins().symbol_value(types::I64, data);
        b.ins().return_(&[address]);
    })?;
    Ok(())
}
