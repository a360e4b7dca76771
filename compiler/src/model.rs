//! Compiled models and the sessions that run them.

use crate::{Compiler, Cpu, Error, Result, Source, files};
use qcc_codegen::jit::JitProgram;
use qcc_passes::Remark;
use qcc_runtime::tensor::Element;
use qcc_runtime::{AlignedBuf, Pool, Tensor, TensorDesc};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes behind the arena that kernels may read.
pub(crate) const ARENA_SLACK: usize = 64;

/// How a cache file begins.
const CACHE_MARK: &str = "// qcc-cache 1 ";

/// A compiled model. Cloning gives another handle to the same code; dropping the last handle (and
/// the last session) frees it.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    program: JitProgram,
    /// Runs groups of tasks, where the model was compiled for several threads.
    pool: Option<Pool>,
    source: Source,
    cpu: Cpu,
    pipeline: String,
    remarks: Vec<Remark>,
    info: ModelInfo,
}

/// Sizes and times of a compiled model.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// Machine code, bytes.
    pub code_bytes: usize,
    /// Constants (packed weights, tables), bytes.
    pub weights_bytes: usize,
    /// Scratch memory of one session, bytes.
    pub arena_bytes: usize,
    /// Multiply-accumulates of one run.
    pub macs: u64,
    /// From model to code.
    pub compile_time: Duration,
}

/// What a compiled model tells of its source.
pub(crate) struct Summary {
    cpu: Cpu,
    pipeline: String,
    macs: u64,
}

impl Summary {
    pub fn of(source: &Source, compiler: &Compiler) -> Summary {
        Summary {
            cpu: Cpu::level(compiler.level()),
            pipeline: compiler.pipeline(source.module.level).to_string(),
            macs: crate::layers::layers(&source.module).iter().map(|l| l.macs).sum(),
        }
    }
}

impl Model {
    pub(crate) fn new(
        program: JitProgram,
        pool: Option<Pool>,
        source: Source,
        (summary, remarks, compile_time): (Summary, Vec<Remark>, Duration),
    ) -> Model {
        let Summary { cpu, pipeline, macs } = summary;
        let info = ModelInfo {
            code_bytes: program.code_bytes,
            weights_bytes: program.const_bytes(),
            arena_bytes: program.program.arena_bytes + ARENA_SLACK,
            macs,
            compile_time,
        };
        Model(Arc::new(Inner { program, pool, source, cpu, pipeline, remarks, info }))
    }
    /// Inputs in the model's order.
    pub fn inputs(&self) -> &[TensorDesc] {
        &self.0.source.inputs
    }
    /// Outputs in the model's order.
    pub fn outputs(&self) -> &[TensorDesc] {
        &self.0.source.outputs
    }
    /// Sizes and times.
    pub fn info(&self) -> &ModelInfo {
        &self.0.info
    }
    /// The CPU level it was compiled for.
    pub fn cpu(&self) -> Cpu {
        self.0.cpu
    }
    /// What the passes had to say.
    pub fn remarks(&self) -> &[Remark] {
        &self.0.remarks
    }
    /// A session with an arena of its own: [`ModelInfo::arena_bytes`] and the inputs and outputs.
    pub fn session(&self) -> Session {
        let zeros = |d: &TensorDesc| Tensor::zeros(d.dtype, d.shape.clone());
        Session {
            arena: AlignedBuf::zeroed(self.0.info.arena_bytes),
            inputs: self.inputs().iter().map(zeros).collect(),
            outputs: self.outputs().iter().map(zeros).collect(),
            model: self.clone(),
        }
    }

    /// Writes the model to a cache file: its IR, the CPU level and the pipeline, to be compiled
    /// again by [`Model::load`]. What it saves is the original file and its importer; code is made
    /// anew, so a cache file cannot hold wrong code and outlives the machine that wrote it.
    ///
    /// # Errors
    /// The file cannot be written, or the model was compiled without [`Compiler::keep_source`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let inner = &*self.0;
        if inner.source.module.main().is_none() {
            let what = "cannot be saved: it was compiled without Compiler::keep_source";
            return Err(Error::Input(format!("{}: {what}", inner.source.file)));
        }
        let text = qcc_ir::text::print(&inner.source.module);
        let (cpu, pipeline) = (inner.cpu.name(), &inner.pipeline);
        let text = format!("{CACHE_MARK}{cpu} {pipeline}\n{text}");
        files::write_whole(path.as_ref(), text.as_bytes())
    }
    /// Compiles a model that [`Model::save`] wrote, for the CPU level and with the pipeline that
    /// it was compiled with.
    ///
    /// # Errors
    /// The file cannot be read, is not a cache file, is for a CPU that this machine is not, or
    /// needs passes that are not built in.
    pub fn load(path: impl AsRef<Path>) -> Result<Model> {
        let path = path.as_ref();
        let file = path.display().to_string();
        let text = files::read_text(path)?;
        let mark = text.lines().next().and_then(|l| l.strip_prefix(CACHE_MARK)?.split_once(' '));
        let (cpu, pipeline) =
            mark.ok_or_else(|| Error::Input(format!("{file}: not written by Model::save")))?;
        let cpu = Cpu::named(cpu, crate::cpu::host_arch())?;
        let module = qcc_ir::text::parse(&text, &file).map_err(Error::Text)?;
        let source = Source::from_module(module, &file)?;
        Compiler::new().cpu(cpu).passes(pipeline).compile(&source)
    }
}

/// Memory for one run at a time of a model.
pub struct Session {
    model: Model,
    arena: AlignedBuf,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

/// An input to be filled.
pub struct InputMut<'a> {
    desc: &'a TensorDesc,
    tensor: &'a mut Tensor,
}

/// An output of the last run.
pub struct Output<'a> {
    desc: &'a TensorDesc,
    tensor: &'a Tensor,
}

impl Session {
    /// The model it runs.
    pub fn model(&self) -> &Model {
        &self.model
    }
    /// Input `i`.
    ///
    /// # Panics
    /// There is no input `i`; [`Model::inputs`] tells how many there are.
    pub fn input_mut(&mut self, i: usize) -> InputMut<'_> {
        InputMut { desc: &self.model.0.source.inputs[i], tensor: &mut self.inputs[i] }
    }
    /// Output `j` of the last run.
    ///
    /// # Panics
    /// There is no output `j`; [`Model::outputs`] tells how many there are.
    pub fn output(&self, j: usize) -> Output<'_> {
        Output { desc: &self.model.0.source.outputs[j], tensor: &self.outputs[j] }
    }
    /// Runs the model once.
    ///
    /// # Errors
    /// The code reports an error; not on valid input.
    pub fn run(&mut self) -> Result<()> {
        let (inputs, outputs) = self.pointers();
        let program = &self.model.0.program;
        let arena = self.arena.as_mut_ptr();
        // SAFETY: the arena has the program's bytes plus slack and is 64-byte aligned; inputs and
        // outputs have the sizes of the descriptions that the program was compiled from. The
        // golden tests run every model through here.
        let code = unsafe {
            match &self.model.0.pool {
                None => program.run(arena, &inputs, &outputs),
                Some(pool) => program.run_parallel(arena, &inputs, &outputs, pool),
            }
        };
        match code {
            0 => Ok(()),
            code => Err(Error::Input(format!("the compiled model returned error {code}"))),
        }
    }
    /// Times each kernel call once, in order, as one run: node names, kernel, seconds. Needs
    /// [`Compiler::profile`], otherwise empty.
    pub fn profile(&mut self) -> Vec<(String, String, f64)> {
        let (inputs, outputs) = self.pointers();
        let program = &self.model.0.program;
        let arena = self.arena.as_mut_ptr();
        let n = if program.has_steps() { program.program.steps.len() } else { 0 };
        let mut out = Vec::with_capacity(n);
        for (i, step) in program.program.steps.iter().enumerate().take(n) {
            let start = Instant::now();
            // SAFETY: as in `run`; steps run in order on the same arena.
            unsafe { program.run_step(i, arena, &inputs, &outputs) };
            let time = start.elapsed().as_secs_f64();
            out.push((step.node.clone(), step.kernel.clone(), time));
        }
        out
    }
    fn pointers(&mut self) -> (Vec<*const u8>, Vec<*mut u8>) {
        let inputs = self.inputs.iter().map(|t| t.bytes().as_ptr()).collect();
        let outputs = self.outputs.iter_mut().map(|t| t.bytes_mut().as_mut_ptr()).collect();
        (inputs, outputs)
    }
}

impl InputMut<'_> {
    /// Fills the input with elements of its own type, row-major.
    ///
    /// # Errors
    /// Another type or number of elements than the input has.
    pub fn copy_from<T: Element>(&mut self, values: &[T]) -> Result<()> {
        let (want, have) = (self.desc.dtype, T::DTYPE);
        if want != have || values.len() != self.desc.len() {
            return Err(Error::Tensor(format!(
                "input '{}' takes {} elements of {want} (shape {:?}), got {} of {have}",
                self.desc.name,
                self.desc.len(),
                self.desc.shape,
                values.len()
            )));
        }
        let target = self.tensor.as_mut_slice::<T>().map_err(|e| Error::Tensor(e.to_string()))?;
        target.copy_from_slice(values);
        Ok(())
    }
    /// Fills the input from a tensor of its type and number of elements.
    ///
    /// # Errors
    /// Another type or number of elements.
    pub fn copy_from_tensor(&mut self, from: &Tensor) -> Result<()> {
        if from.dtype() != self.desc.dtype || from.len() != self.desc.len() {
            return Err(Error::Tensor(format!(
                "input '{}' is {} of shape {:?}, got {} of shape {:?}",
                self.desc.name,
                self.desc.dtype,
                self.desc.shape,
                from.dtype(),
                from.shape()
            )));
        }
        self.tensor.bytes_mut().copy_from_slice(from.bytes());
        Ok(())
    }
    /// Fills a quantized input from real numbers.
    ///
    /// # Errors
    /// Another number of elements, or an input that is not quantized.
    pub fn quantize_from(&mut self, values: &[f32]) -> Result<()> {
        let codes = self.desc.quantize(values).map_err(|e| Error::Tensor(e.to_string()))?;
        self.copy_from_tensor(&codes)
    }
}

impl<'a> Output<'a> {
    /// The elements, row-major.
    ///
    /// # Errors
    /// `T` is not the output's type.
    pub fn as_slice<T: Element>(&self) -> Result<&'a [T]> {
        let name = &self.desc.name;
        self.tensor.as_slice().map_err(|e| Error::Tensor(format!("output '{name}': {e}")))
    }
    /// The real numbers that the codes stand for.
    pub fn dequantize(&self) -> Vec<f32> {
        self.desc.dequantize(self.tensor)
    }
    /// The output as a tensor.
    pub fn tensor(&self) -> &'a Tensor {
        self.tensor
    }
}
