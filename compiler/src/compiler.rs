//! Options, and the way from a model to code.

use crate::model::Summary;
use crate::{Cpu, Error, Model, Result, Source};
use qcc_codegen::jit::{JitOptions, JitProgram};
use qcc_codegen::{CodegenError, Target};
use qcc_import::ImportOptions;
use qcc_ir::Module;
use qcc_passes::{
    DiffEach, PassContext, PassManager, PassTime, Pipeline, PrintAt, Printer, Registry, Remark,
    TargetInfo, When,
};
use qcc_runtime::Pool;
use qcc_runtime::cpu::CpuLevel;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// The passes from the quant level to kernels.
pub const DEFAULT_PIPELINE: &str = "@tflite-int,@kernels";

/// The passes from float and fake-quantized graphs to kernels.
pub const QUANTIZE_PIPELINE: &str = "@quantize,@tflite-int,@kernels";

/// [`DEFAULT_PIPELINE`] without the first pass of `@tflite-int`, which makes the int level. Passes
/// that a module has been through already change nothing.
const AFTER_INT: &str = "@place-int,@kernels";

/// The pass that no program goes without.
const PROVE_BOUNDS: &str = "prove-bounds";

/// Turns models into code. Options first, then one of the `compile_…` methods.
#[derive(Clone, Debug)]
pub struct Compiler {
    cpu: Cpu,
    threads: usize,
    pipeline: Option<String>,
    registry: Registry,
    import: ImportOptions,
    /// Verify the module after every pass.
    pub verify_each: bool,
    /// Interpret the module around every pass and compare.
    pub diff_each: bool,
    /// Print the module before these passes, to standard error.
    pub print_before: PrintAt,
    /// Print the module after these passes, to standard error.
    pub print_after: PrintAt,
    /// Fail, naming the ops, where some part of the model stays float.
    pub require_integer: bool,
    /// One function per kernel call, so that [`crate::Session::profile`] works.
    pub profile: bool,
    /// Keep the model's own weights beside the compiled ones, as [`Model::save`] needs them.
    pub keep_source: bool,
}

impl Default for Compiler {
    fn default() -> Self {
        Compiler::new()
    }
}

/// A lowered module and what was said on the way.
#[derive(Clone, Debug)]
pub struct Artefact {
    /// The module after the last pass.
    pub module: Module,
    /// Remarks of all passes.
    pub remarks: Vec<Remark>,
    /// How long each pass took.
    pub times: Vec<PassTime>,
}

impl Compiler {
    /// For this machine, one thread.
    pub fn new() -> Compiler {
        Compiler {
            cpu: Cpu::native(),
            threads: 1,
            pipeline: None,
            registry: Registry::default(),
            import: ImportOptions::default(),
            verify_each: false,
            diff_each: false,
            print_before: PrintAt::Never,
            print_after: PrintAt::Never,
            require_integer: false,
            profile: false,
            keep_source: true,
        }
    }
    /// Instructions that may be used.
    pub fn cpu(mut self, cpu: Cpu) -> Self {
        self.cpu = cpu;
        self
    }
    /// Threads that a run may use: kernels are split into as many tasks. The same bits for any
    /// number.
    pub fn threads(mut self, n: usize) -> Self {
        self.threads = n.max(1);
        self
    }
    /// Another pipeline than [`DEFAULT_PIPELINE`].
    pub fn passes(mut self, pipeline: &str) -> Self {
        self.pipeline = Some(pipeline.to_string());
        self
    }
    /// Passes of your own, by name in pipelines.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }
    /// The batch size where the model leaves it open.
    pub fn batch(mut self, n: u64) -> Self {
        self.import.batch = Some(n);
        self
    }
    /// The full shape of an input.
    pub fn shape(mut self, input: &str, shape: &[u64]) -> Self {
        self.import.shapes.push((input.to_string(), shape.to_vec()));
        self
    }
    /// Shapes of the inputs, in the model's order, for extents that neither the model nor
    /// [`Compiler::batch`] and [`Compiler::shape`] say.
    pub fn open_shapes(mut self, shapes: &[Vec<u64>]) -> Self {
        self.import.open_shapes = shapes.to_vec();
        self
    }
    /// An output that is wanted, by name; all outputs if none is given (TensorFlow).
    pub fn output(mut self, name: &str) -> Self {
        self.import.outputs.push(name.to_string());
        self
    }
    /// The signature of a SavedModel instead of `serving_default`.
    pub fn signature(mut self, name: &str) -> Self {
        self.import.signature = Some(name.to_string());
        self
    }
    /// How models are read.
    pub fn import_options(&self) -> &ImportOptions {
        &self.import
    }
    /// The pipeline that a module at `level` goes through.
    pub fn pipeline(&self, level: qcc_ir::Level) -> &str {
        self.pipeline.as_deref().unwrap_or(default_pipeline(level))
    }
    /// Threads that a run may use.
    pub fn thread_count(&self) -> usize {
        self.threads
    }
    /// The CPU level in use.
    pub fn level(&self) -> CpuLevel {
        self.cpu.0
    }

    /// Reads a model without compiling it.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Source> {
        Source::read(path.as_ref(), &self.import)
    }

    /// Compiles a model file for this process.
    ///
    /// # Errors
    /// The file cannot be read or compiled; the error names node and remedy.
    pub fn compile_file(&self, path: impl AsRef<Path>) -> Result<Model> {
        self.compile_owned(self.read(path)?)
    }
    /// Compiles a model in memory for this process.
    ///
    /// # Errors
    /// As [`Compiler::compile_file`].
    pub fn compile_bytes(&self, bytes: &[u8]) -> Result<Model> {
        self.compile_owned(Source::from_bytes(bytes, "<bytes>", "model", &self.import)?)
    }
    /// Compiles a graph built in Rust for this process.
    ///
    /// # Errors
    /// The verifier's, the passes', or code generation's.
    pub fn compile_graph(&self, module: Module) -> Result<Model> {
        self.compile_owned(Source::from_module(module, "<graph>")?)
    }

    /// Compiles for this process.
    ///
    /// # Errors
    /// The passes' or code generation's.
    pub fn compile(&self, source: &Source) -> Result<Model> {
        self.compile_owned(source.clone())
    }

    /// As [`Compiler::compile`], of a model that nothing else needs: without
    /// [`Compiler::keep_source`], its weights are freed once they are packed.
    ///
    /// # Errors
    /// The passes' or code generation's.
    pub fn compile_owned(&self, mut source: Source) -> Result<Model> {
        let start = Instant::now();
        let summary = Summary::of(&source, self);
        let module = match self.keep_source {
            true => source.module.clone(),
            false => source.take_module(),
        };
        let lowered = self.lower_module(module, &source.file)?;
        let target = Target::host(self.cpu.0);
        if !self.cpu.0.runs_here() {
            let why = format!("CPU level '{}' does not run on this machine", self.cpu.name());
            let target = target.triple.to_string();
            return Err(source.codegen_error(CodegenError::Target { target, why }));
        }
        let options = JitOptions { steps: self.profile, ..JitOptions::default() };
        let program = JitProgram::compile(lowered.module, &target, options)
            .map_err(|e| source.codegen_error(e))?;
        check_memory(&program, &source)?;
        let time: Duration = start.elapsed();
        let pool = match self.threads {
            1 => None,
            n => Some(Pool::new(n).map_err(|e| Error::Input(format!("{n} threads: {e}")))?),
        };
        Ok(Model::new(program, pool, source, (summary, lowered.remarks, time)))
    }

    /// Runs the passes only. Kernels in the result are proven to stay in their buffers, whatever
    /// the pipeline.
    ///
    /// # Errors
    /// The pipeline's or a pass's.
    pub fn lower(&self, source: &Source) -> Result<Artefact> {
        self.lower_module(source.module.clone(), &source.file)
    }

    /// As [`Compiler::lower`], of a module that nothing else needs: its weights are freed once they
    /// are packed.
    ///
    /// # Errors
    /// The pipeline's or a pass's.
    pub fn lower_module(&self, module: Module, file: &str) -> Result<Artefact> {
        self.check_integer(&module, file)?;
        let pipeline = self.pipeline(module.level);
        let mut lowered = self.run_pipeline(module, file, pipeline)?;
        let proven = lowered.times.last().is_some_and(|t| t.step == PROVE_BOUNDS);
        if lowered.module.level == qcc_ir::Level::Loop && !proven {
            // Whatever the pipeline was: no code from a module that may leave its buffers.
            let checked = self.run_pipeline(lowered.module, file, "verify,prove-bounds")?;
            lowered.module = checked.module;
            lowered.remarks.extend(checked.remarks);
            lowered.times.extend(checked.times);
        }
        Ok(lowered)
    }

    /// With `require_integer`, fails where ops on floats are left once passes have quantized what they
    /// can.
    ///
    /// # Errors
    /// [`Error::Float`], which lists them.
    pub fn check_integer(&self, module: &Module, file: &str) -> Result<()> {
        if !self.require_integer {
            return Ok(());
        }
        let mut islands = qcc_passes::islands(module);
        let mut see = |_: When, _: &str, m: &Module| {
            if m.level < qcc_ir::Level::Int {
                islands = qcc_passes::islands(m);
            }
        };
        // What comes after may fail on a float op; that it is float says more.
        let seeing = Compiler { print_after: PrintAt::All, ..Compiler::new().cpu(self.cpu) };
        let pipeline = self.pipeline(module.level);
        let seeing = Compiler { registry: self.registry.clone(), ..seeing };
        let _ = seeing.run_printing(module.clone(), file, pipeline, Box::new(&mut see));
        match islands.is_empty() {
            true => Ok(()),
            false => Err(Error::Float { file: file.into(), islands }),
        }
    }

    /// Runs a pipeline on a model.
    ///
    /// # Errors
    /// The pipeline's or a pass's.
    pub fn run_passes(&self, source: &Source, pipeline: &str) -> Result<Artefact> {
        self.run_pipeline(source.module.clone(), &source.file, pipeline)
    }

    /// Runs the whole pipeline of a model, and tells `see` of the module after every pass.
    ///
    /// # Errors
    /// The pipeline's or a pass's; `see` has been told of the passes before.
    pub fn lower_seeing(
        &self,
        source: &Source,
        see: &mut dyn FnMut(&str, &Module),
    ) -> Result<Artefact> {
        let pipeline = self.pipeline(source.module.level);
        let printer: Box<Printer> = Box::new(|when, pass, m| match when {
            When::After => see(pass, m),
            When::Before => {}
        });
        let seeing =
            Compiler { print_before: PrintAt::Never, print_after: PrintAt::All, ..self.clone() };
        seeing.run_printing(source.module.clone(), &source.file, pipeline, printer)
    }

    fn run_pipeline(&self, module: Module, file: &str, pipeline: &str) -> Result<Artefact> {
        self.run_printing(module, file, pipeline, Box::new(print_module))
    }

    fn run_printing(
        &self,
        mut module: Module,
        file: &str,
        pipeline: &str,
        printer: Box<Printer>,
    ) -> Result<Artefact> {
        let failed = |d: qcc_passes::Diagnostics| Error::Passes { file: file.into(), source: d };
        let pipeline = Pipeline::parse(pipeline, &self.registry)
            .map_err(|e| Error::Input(format!("pipeline: {e}")))?;
        let target = TargetInfo { arch: self.cpu.0.arch(), cpu: self.cpu.0, threads: self.threads };
        let mut context = PassContext::new(target);
        let mut manager = PassManager {
            verify_each: self.verify_each,
            diff_each: self.diff_each.then_some(DiffEach {
                seed: 1,
                runs: 1,
                evaluate: crate::interpret,
            }),
            print_before: self.print_before.clone(),
            print_after: self.print_after.clone(),
            printer: Some(printer),
            times: Some(vec![]),
        };
        manager.run(&pipeline, &self.registry, &mut module, &mut context).map_err(failed)?;
        let times = manager.times.take().unwrap_or_default();
        Ok(Artefact { module, remarks: context.remarks, times })
    }
}

/// Fails where a session could not get its memory (allocation cannot fail later without ending the
/// process).
fn check_memory(program: &JitProgram, source: &Source) -> Result<()> {
    let io = source.inputs.iter().chain(&source.outputs).map(|d| d.bytes());
    let bytes = io.fold(program.program.arena_bytes, usize::saturating_add);
    match Vec::<u8>::new().try_reserve_exact(bytes) {
        Ok(()) => Ok(()),
        Err(_) => Err(Error::Input(format!(
            "{}: a run needs {bytes} bytes, more than there are; try a smaller --batch or --shape",
            source.file
        ))),
    }
}

/// What is left to do for a module at `level`.
fn default_pipeline(level: qcc_ir::Level) -> &'static str {
    match level {
        qcc_ir::Level::Loop => PROVE_BOUNDS,
        qcc_ir::Level::Int => AFTER_INT,
        qcc_ir::Level::Quant => DEFAULT_PIPELINE,
        qcc_ir::Level::Nn => QUANTIZE_PIPELINE,
    }
}

fn print_module(when: When, pass: &str, m: &Module) {
    let word = if when == When::Before { "before" } else { "after" };
    let text = format!("// {word} {pass}\n{}\n", qcc_ir::text::print(m));
    // Nobody reading it is no reason to stop.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_at_the_int_level_go_through_the_rest_of_the_pipeline() {
        let registry = Registry::default();
        let passes = |text: &str| Pipeline::parse(text, &registry).unwrap().to_string();
        let whole = passes(DEFAULT_PIPELINE);
        assert_eq!(whole, format!("lower-quant-to-int,{}", passes(AFTER_INT)));
    }
}
