//! What computes the outputs that are checked.

use crate::cli::compile::Build;
use crate::{Compiler, Cpu, Error, Result, Session, Source};
use qcc_codegen::Target;
use qcc_passes::Remark;
use qcc_runtime::abi::{QccInfoFn, QccModelInfo, QccRunParallelFn};
use qcc_runtime::{AlignedBuf, Pool, Tensor, TensorDesc};

/// Which one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// Code in this process.
    Jit,
    /// A shared library.
    Aot,
    /// The reference interpreter.
    Interpreter,
}

/// Computes a model's outputs.
pub enum Engine {
    /// Code in this process.
    Jit(Box<Session>),
    /// A shared library, and what the passes said.
    Aot(Box<Library>, Vec<Remark>),
    /// The reference interpreter.
    Interpreter,
}

impl Engine {
    /// Makes what the engine needs.
    pub fn build(kind: EngineKind, compiler: &Compiler, source: Source) -> Result<Engine> {
        Ok(match kind {
            EngineKind::Jit => Engine::Jit(Box::new(compiler.compile_owned(source)?.session())),
            EngineKind::Interpreter => Engine::Interpreter,
            EngineKind::Aot => {
                let target = Target::host(compiler.level());
                if !target.cpu.runs_here() {
                    let what = format!("CPU level '{}' does not run on this machine", target.cpu);
                    return Err(Error::Input(what));
                }
                let (cpus, symbol) = ([Cpu::level(target.cpu)], SYMBOL.to_string());
                let (build, remarks, _) =
                    Build::lower(compiler, source, &cpus, target.triple, symbol)?;
                let library = Library::load(build, compiler.thread_count())?;
                Engine::Aot(Box::new(library), remarks)
            }
        })
    }

    /// What the passes said.
    pub fn remarks(&self) -> &[Remark] {
        match self {
            Engine::Jit(session) => session.model().remarks(),
            Engine::Aot(_, remarks) => remarks,
            Engine::Interpreter => &[],
        }
    }

    /// Runs the model. Inputs have the types and sizes of the model's.
    pub fn run(&mut self, source: &Source, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        match self {
            Engine::Jit(session) => {
                for (i, t) in inputs.iter().enumerate() {
                    session.input_mut(i).copy_from_tensor(t)?;
                }
                session.run()?;
                Ok((0..source.outputs.len()).map(|j| session.output(j).tensor().clone()).collect())
            }
            Engine::Aot(library, _) => library.run(source, inputs),
            Engine::Interpreter => crate::interpret(&source.module, inputs)
                .map_err(|e| Error::Verify { file: source.file.clone(), errors: vec![e] }),
        }
    }
}

/// Prefix of the library's functions.
const SYMBOL: &str = "m";

/// A model in a shared library that was made and loaded just now.
pub struct Library {
    run: QccRunParallelFn,
    pool: Pool,
    arena: AlignedBuf,
    _library: libloading::Library,
    _folder: tempfile::TempDir,
}

impl Library {
    fn load(build: Build, threads: usize) -> Result<Library> {
        let no_threads = |e| Error::Input(format!("{threads} threads: {e}"));
        let pool = Pool::new(threads).map_err(no_threads)?;
        let folder = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
        let path = build.link_in(folder.path())?;
        let fail = |e: libloading::Error| Error::Input(format!("{}: {e}", path.display()));
        // SAFETY: the library has no initialisers; its functions have the signatures of the header
        // that goes with it. `check --aot` in the tests calls them.
        unsafe {
            let library = libloading::Library::new(&path).map_err(fail)?;
            let run = *library.get::<QccRunParallelFn>(b"m_run_parallel").map_err(fail)?;
            let info = *library.get::<QccInfoFn>(b"m_info").map_err(fail)?;
            let info: &QccModelInfo = &*info();
            let arena = AlignedBuf::zeroed(info.arena_bytes);
            Ok(Library { run, pool, arena, _library: library, _folder: folder })
        }
    }

    fn run(&mut self, source: &Source, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let zeros = |d: &TensorDesc| Tensor::zeros(d.dtype, d.shape.clone());
        let mut outputs: Vec<Tensor> = source.outputs.iter().map(zeros).collect();
        let ins: Vec<_> = inputs.iter().map(|t| t.bytes().as_ptr().cast()).collect();
        let outs: Vec<_> = outputs.iter_mut().map(|t| t.bytes_mut().as_mut_ptr().cast()).collect();
        let (pool, arena) = (self.pool.as_parallel(), self.arena.as_mut_ptr().cast());
        // SAFETY: the arena is as large as the library asks for; inputs were compared with the
        // model's descriptions, outputs made from them; the pool outlives the call.
        let code = unsafe { (self.run)(arena, ins.as_ptr(), outs.as_ptr(), &pool) };
        match code {
            0 => Ok(outputs),
            code => Err(Error::Input(format!("{SYMBOL}_run_parallel returned {code}"))),
        }
    }
}
