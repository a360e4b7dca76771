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
mod detect;
mod dispatch;
mod link;

pub use archive::archive;
pub use link::link_shared;

use crate::CodegenError;
use crate::emitters::Emitters;
use crate::isa::{CodeModel, Target};
use crate::parallel;
use crate::program::{self, ALIGN, ConstBase, Links, Program};
use cranelift_codegen::ir::{AbiParam, InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module, default_libcall_names};
use cranelift_object::{ObjectBuilder, ObjectModule};
use object::{Object, ObjectSymbol};
use qcc_ir::Bytes;
use qcc_runtime::{CpuLevel, TensorDesc};
use target_lexicon::Triple;

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

/// A model lowered for one CPU level.
#[derive(Clone, Debug)]
pub struct Variant {
    /// At level loop.
    pub module: qcc_ir::Module,
    /// What it may use.
    pub cpu: CpuLevel,
}

/// Compiles a loop-level module to an object file. Functions and constants of the module are freed
/// on the way.
///
/// # Errors
/// The target is not supported, a kernel cannot be emitted, or the code would need a symbol from
/// elsewhere.
pub fn compile_object(
    module: qcc_ir::Module,
    interface: &Interface,
    target: &Target,
) -> Result<ObjectFile, CodegenError> {
    compile_variants(vec![Variant { module, cpu: target.cpu }], interface, &target.triple)
}

/// Compiles one model, lowered for several CPU levels, to an object file that picks the last of
/// `variants` that the CPU runs, at its first call. All give the same bits, the last one soonest.
///
/// # Errors
/// As [`compile_object`]; also where a program cannot ask the CPU.
pub fn compile_variants(
    variants: Vec<Variant>,
    interface: &Interface,
    triple: &Triple,
) -> Result<ObjectFile, CodegenError> {
    let symbol = &interface.symbol;
    check_symbol(symbol)?;
    let target = |cpu| Target { triple: triple.clone(), cpu };
    let levels: Vec<CpuLevel> = variants.iter().map(|v| v.cpu).collect();
    let lowest = levels.iter().min().copied();
    let lowest = lowest.ok_or_else(|| CodegenError::Program("no CPU level".into()))?;
    let isa = target(lowest).isa(CodeModel::Object)?;
    let builder = ObjectBuilder::new(isa, symbol.clone(), default_libcall_names())
        .map_err(|e| CodegenError::backend(symbol, e))?;
    let mut out = ObjectModule::new(builder);
    let mut sizes = Sizes::default();
    let mut runs = Vec::new();
    // Tiles need the system's permission: who asks for it may as well ask the CPU first.
    let asks = levels.len() > 1 || levels.contains(&CpuLevel::X86Amx);
    for Variant { module, cpu } in variants {
        let own = format!("{symbol}_{}", cpu.name().replace('-', "_"));
        let names = match asks {
            false => (symbol.as_str(), Linkage::Export),
            true => (own.as_str(), Linkage::Local),
        };
        runs.push(define_runs(&mut out, module, &target(cpu), names, &mut sizes)?);
    }
    if asks {
        dispatch::define(&mut out, symbol, triple, (&levels, &runs))?;
    }
    define_reset(&mut out, symbol)?;
    let arena_bytes = sizes.arena + ARENA_SLACK;
    let info = description::define(&mut out, interface, arena_bytes)?;
    define_info_getter(&mut out, symbol, info)?;
    let bytes = out.finish().emit().map_err(|e| CodegenError::backend(symbol, e))?;
    check_self_contained(&bytes, symbol)?;
    Ok(ObjectFile { bytes, code_bytes: sizes.code, const_bytes: sizes.consts, arena_bytes })
}

/// Bytes of all variants together (code, constants), and of the largest (arena).
#[derive(Default)]
struct Sizes {
    code: usize,
    consts: usize,
    arena: usize,
}

/// Defines `<prefix>_run` and `<prefix>_run_parallel` of one variant, with kernels and constants.
fn define_runs(
    out: &mut ObjectModule,
    mut module: qcc_ir::Module,
    target: &Target,
    (prefix, linkage): (&str, Linkage),
    sizes: &mut Sizes,
) -> Result<[FuncId; 2], CodegenError> {
    let mut program = Program::read(&module)?;
    module.data.clear();
    let mut emitter = Emitters::new(target, &target.isa(CodeModel::Object)?, false);
    sizes.consts += program.const_bytes;
    sizes.arena = sizes.arena.max(program.arena_bytes);
    let kernels = program::define_kernels(out, &mut module, prefix, &mut emitter)?;
    sizes.code += kernels.code_bytes;
    // After the kernels, whose IR is gone by now.
    let consts = join(std::mem::take(&mut program.consts), program.const_bytes);
    let consts = define_bytes(out, &format!("{prefix}_consts"), consts)?;
    let links = Links { program: &program, kernels: &kernels, consts: ConstBase::Symbol(consts) };
    let (name, all) = (format!("{prefix}_run"), 0..program.steps.len());
    let run = program::define_entry(out, &name, linkage, links, all)?;
    let name = format!("{prefix}_run_parallel");
    let parallel = parallel::define_run_parallel(out, &name, linkage, links, run)?;
    Ok([run, parallel])
}

/// The constants in their places, in `n_bytes` bytes.
fn join(parts: Vec<Bytes>, n_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(n_bytes);
    for part in parts {
        out.resize(out.len().next_multiple_of(ALIGN), 0);
        out.extend_from_slice(&part);
    }
    out.resize(n_bytes, 0);
    out
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
    define_data(out, name, &data, false)
}

fn define_data(
    out: &mut ObjectModule,
    name: &str,
    data: &DataDescription,
    writable: bool,
) -> Result<DataId, CodegenError> {
    let fail = |e| CodegenError::backend(name, e);
    let id = out.declare_data(name, Linkage::Local, writable, false).map_err(fail)?;
    out.define_data(id, data).map_err(fail)?;
    Ok(id)
}

/// Defines `name`, of pointers, from a body that gets the function's parameters.
fn define_function(
    out: &mut ObjectModule,
    name: &str,
    (linkage, n_params): (Linkage, usize),
    returns: Option<types::Type>,
    body: impl FnOnce(&mut dyn Module, &mut FunctionBuilder, &[Value]),
) -> Result<FuncId, CodegenError> {
    let mut sig = crate::clif::kernel_signature(out, n_params);
    sig.returns.extend(returns.map(AbiParam::new));
    program::define_with(out, name, linkage, sig, |out, b, params| {
        body(out, b, params);
        Ok(())
    })
}

/// `void <symbol>_reset(arena)`: models without state have nothing to reset.
fn define_reset(out: &mut ObjectModule, symbol: &str) -> Result<(), CodegenError> {
    let name = format!("{symbol}_reset");
    define_function(out, &name, (Linkage::Export, 1), None, |_, b, _| {
        b.ins().return_(&[]);
    })?;
    Ok(())
}

fn define_info_getter(
    out: &mut ObjectModule,
    symbol: &str,
    info: DataId,
) -> Result<(), CodegenError> {
    let name = format!("{symbol}_info");
    define_function(out, &name, (Linkage::Export, 0), Some(types::I64), |out, b, _| {
        let data = out.declare_data_in_func(info, b.func);
        let address = b.ins().symbol_value(types::I64, data);
        b.ins().return_(&[address]);
    })?;
    Ok(())
}
