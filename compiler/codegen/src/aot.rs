//! Programs as files: objects, archives, shared libraries.
//!
//! An object exports `<symbol>_info`, `_run`, `_run_parallel` and `_reset` and needs nothing: no
//! libc, no undefined symbol, no relocation in text. The same module, target and symbol give the
//! same bytes on every host.

use crate::CodegenError;
use crate::clif::ClifEmitter;
use crate::isa::{CodeModel, Target};
use crate::program::{self, ALIGN, ConstBase, Program};
use cranelift_codegen::Context;
use cranelift_codegen::ir::{AbiParam, InstBuilder, types};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module, default_libcall_names};
use cranelift_object::{ObjectBuilder, ObjectModule};
use object::{Object, ObjectSymbol};
use qcc_runtime::TensorDesc;
use qcc_runtime::abi::ABI_VERSION;
use std::path::Path;
use std::process::Command;

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
    let mut program = Program::read(module)?;
    let isa = target.isa(CodeModel::Object)?;
    let mut emitter = ClifEmitter::new(&isa, false);
    let symbol = &interface.symbol;
    let builder = ObjectBuilder::new(isa, symbol.clone(), default_libcall_names())
        .map_err(|e| CodegenError::backend(symbol, e))?;
    let mut out = ObjectModule::new(builder);
    let const_bytes = program.consts.len();
    let consts = std::mem::take(&mut program.consts);
    let consts = define_bytes(&mut out, &format!("{symbol}_consts"), consts)?;
    let kernels = program::define_kernels(&mut out, module, symbol, &mut emitter)?;
    let run = program::define_entry(
        &mut out,
        &format!("{symbol}_run"),
        Linkage::Export,
        &program,
        0..program.steps.len(),
        &kernels,
        ConstBase::Symbol(consts),
    )?;
    define_run_parallel(&mut out, symbol, run)?;
    define_reset(&mut out, symbol)?;
    let arena_bytes = program.arena_bytes + ARENA_SLACK;
    let info = define_info(&mut out, interface, arena_bytes)?;
    define_info_getter(&mut out, symbol, info)?;
    let bytes = out.finish().emit().map_err(|e| CodegenError::backend(symbol, e))?;
    check_self_contained(&bytes, symbol)?;
    let code_bytes = kernels.code_bytes;
    Ok(ObjectFile { bytes, code_bytes, const_bytes, arena_bytes })
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

/// `int <symbol>_run_parallel(arena, inputs, outputs, pool)`: kernels run on the calling thread, so
/// the pool is not asked.
fn define_run_parallel(
    out: &mut ObjectModule,
    symbol: &str,
    run: FuncId,
) -> Result<(), CodegenError> {
    let name = format!("{symbol}_run_parallel");
    define_function(out, &name, 4, Some(types::I32), |out, b, params| {
        let run = out.declare_func_in_func(run, b.func);
        let call = b.ins().call(run, &params[..3]);
        let code = b.inst_results(call)[0];
        b.ins().return_(&[code]);
    })?;
    Ok(())
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

// ---- description ----

/// Bytes of `qcc_model_info` and `qcc_tensor_info` on 64-bit targets.
const MODEL_INFO: usize = 64;
const TENSOR_INFO: usize = 56;

/// Strings, shapes and parameters, and where structs point into them.
#[derive(Default)]
struct Pool {
    bytes: Vec<u8>,
}

impl Pool {
    /// Adds bytes at an 8-byte boundary; their offset.
    fn add(&mut self, bytes: impl IntoIterator<Item = u8>) -> usize {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let at = self.bytes.len();
        self.bytes.extend(bytes);
        at
    }
    fn text(&mut self, text: &str) -> usize {
        self.add(text.bytes().filter(|&b| b != 0).chain([0]))
    }
}

/// A struct under construction: its bytes, and pointers into the pool or itself.
struct Structs {
    bytes: Vec<u8>,
    into_pool: Vec<(usize, usize)>,
    into_self: Vec<(usize, usize)>,
}

impl Structs {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// Defines the `qcc_model_info` and all it points to.
fn define_info(
    out: &mut ObjectModule,
    interface: &Interface,
    arena_bytes: usize,
) -> Result<DataId, CodegenError> {
    let mut pool = Pool::default();
    let tensors: Vec<&TensorDesc> = interface.inputs.iter().chain(&interface.outputs).collect();
    let mut s = Structs {
        bytes: vec![0; MODEL_INFO + TENSOR_INFO * tensors.len()],
        into_pool: vec![],
        into_self: vec![],
    };
    s.put(0, &ABI_VERSION.to_le_bytes());
    s.into_pool.push((8, pool.text(&interface.name)));
    s.put(16, &(arena_bytes as u64).to_le_bytes());
    s.put(24, &(ALIGN as u64).to_le_bytes());
    s.put(40, &(interface.inputs.len() as u32).to_le_bytes());
    s.put(44, &(interface.outputs.len() as u32).to_le_bytes());
    s.into_self.push((48, MODEL_INFO));
    s.into_self.push((56, MODEL_INFO + TENSOR_INFO * interface.inputs.len()));
    for (i, t) in tensors.iter().enumerate() {
        put_tensor(&mut s, &mut pool, MODEL_INFO + TENSOR_INFO * i, t);
    }
    let symbol = &interface.symbol;
    let pool = define_bytes(out, &format!("{symbol}_strings"), pool.bytes)?;
    let name = format!("{symbol}_infos");
    let fail = |e| CodegenError::backend(&name, e);
    let id = out.declare_data(&name, Linkage::Local, false, false).map_err(fail)?;
    let mut data = DataDescription::new();
    data.define(s.bytes.into_boxed_slice());
    data.set_align(8);
    let pool = out.declare_data_in_data(pool, &mut data);
    let own = out.declare_data_in_data(id, &mut data);
    for (at, to) in s.into_pool {
        data.write_data_addr(at as u32, pool, to as i64);
    }
    for (at, to) in s.into_self {
        data.write_data_addr(at as u32, own, to as i64);
    }
    out.define_data(id, &data).map_err(fail)?;
    Ok(id)
}

fn put_tensor(s: &mut Structs, pool: &mut Pool, at: usize, t: &TensorDesc) {
    s.into_pool.push((at, pool.text(&t.name)));
    s.put(at + 8, &t.dtype.tflite_code().to_le_bytes());
    s.put(at + 12, &(t.shape.len() as i32).to_le_bytes());
    let shape = t.shape.iter().flat_map(|&d| (d as i64).to_le_bytes());
    s.into_pool.push((at + 16, pool.add(shape)));
    s.put(at + 24, &(t.bytes() as u64).to_le_bytes());
    s.put(at + 32, &t.axis.map_or(-1, |a| a as i32).to_le_bytes());
    s.put(at + 36, &(t.scales.len() as i32).to_le_bytes());
    s.into_pool.push((at + 40, pool.add(t.scales.iter().flat_map(|v| v.to_le_bytes()))));
    s.into_pool.push((at + 48, pool.add(t.zero_points.iter().flat_map(|v| v.to_le_bytes()))));
}

// ---- archives and shared libraries ----

/// A static library (System V `ar` with an index) holding one object.
pub fn archive(object: &[u8], exported: &[String]) -> Vec<u8> {
    let mut index: Vec<u8> = (exported.len() as u32).to_be_bytes().to_vec();
    let names: Vec<u8> = exported.iter().flat_map(|n| n.bytes().chain([0])).collect();
    let index_bytes = 4 + 4 * exported.len() + names.len();
    let object_at = 8 + 60 + index_bytes.next_multiple_of(2);
    for _ in exported {
        index.extend((object_at as u32).to_be_bytes());
    }
    index.extend(names);
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes) in [("/", index.as_slice()), ("model.o/", object)] {
        let size = bytes.len();
        out.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 644).bytes());
        out.extend(bytes);
        if size % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

/// Links an object into a shared library at `output` with the system's C compiler.
///
/// # Errors
/// There is no linker for the target, or it failed.
pub fn link_shared(object: &Path, output: &Path, target: &Target) -> Result<(), CodegenError> {
    let host = target_lexicon::Triple::host();
    let triple = target.triple.to_string();
    let same = host.architecture == target.triple.architecture
        && host.operating_system == target.triple.operating_system;
    let linux = target.triple.operating_system == target_lexicon::OperatingSystem::Linux;
    let candidates: Vec<String> = match (same, linux) {
        (true, _) => vec!["cc".into(), "gcc".into(), "clang".into()],
        (false, true) => vec![format!("{}-linux-gnu-gcc", target.triple.architecture)],
        (false, false) => vec![],
    };
    let fail = |why: String| CodegenError::Target { target: triple.clone(), why };
    for linker in &candidates {
        let mut command = Command::new(linker);
        command.args(["-shared", "-nostdlib", "-o"]).arg(output).arg(object);
        if linux {
            command.args(["-Wl,-z,text", "-Wl,--build-id=none"]);
        }
        match command.output() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(fail(format!("{linker}: {e}"))),
            Ok(done) if done.status.success() => return Ok(()),
            Ok(done) => {
                let message = String::from_utf8_lossy(&done.stderr);
                return Err(fail(format!("{linker} failed: {}", message.trim())));
            }
        }
    }
    Err(fail(match candidates.as_slice() {
        [] => "no linker for this target; write an object (.o) and link it there".into(),
        names => format!(
            "no linker found (tried {}); install one, or write an object (.o)",
            names.join(", ")
        ),
    }))
}
