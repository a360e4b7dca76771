//! Models with golden files, and the engines that are compared with them.

use qcc::{Compiler, Cpu, Model, Source, Tensor};
use qcc_codegen::Target;
use qcc_codegen::aot::{Interface, ObjectFile, compile_object};
use qcc_codegen::jit::JitProgram;
use qcc_runtime::AlignedBuf;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The folder of the tests' package.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A model file and its golden file.
#[derive(Clone, Debug)]
pub struct Example {
    /// What it is called in messages.
    pub name: String,
    /// The model.
    pub model: PathBuf,
    /// Inputs and expected outputs.
    pub golden: PathBuf,
}

/// One call of a model.
#[derive(Clone, Debug)]
pub struct Case {
    /// One tensor per input.
    pub inputs: Vec<Tensor>,
    /// One tensor per output.
    pub outputs: Vec<Tensor>,
}

impl Example {
    /// Reads the model.
    ///
    /// # Errors
    /// It is not a model that qcc supports.
    pub fn source(&self) -> qcc::Result<Source> {
        Compiler::new().read(&self.model)
    }

    /// The first `most` calls of the golden file.
    ///
    /// # Errors
    /// The file does not fit the model.
    pub fn cases(&self, source: &Source, most: usize) -> Result<Vec<Case>, String> {
        let arrays = qcc::npz::read_npz(&self.golden).map_err(|e| e.to_string())?;
        let tensor = |k: usize, word: &str, i: usize, d: &qcc::TensorDesc| {
            let key = format!("case{k}_{word}{i}");
            let t = arrays.get(&key).ok_or(format!("{}: no array '{key}'", self.name))?;
            if t.dtype() != d.dtype {
                return Err(format!("{}: '{key}' is {}, not {}", self.name, t.dtype(), d.dtype));
            }
            t.clone().reshaped(d.shape.clone()).map_err(|e| format!("{}: {key}: {e}", self.name))
        };
        let tensors = |k: usize, word: &str, descs: &[qcc::TensorDesc]| {
            let all = descs.iter().enumerate().map(|(i, d)| tensor(k, word, i, d));
            all.collect::<Result<Vec<_>, String>>()
        };
        let count = (0..most).take_while(|k| arrays.contains_key(&format!("case{k}_out0"))).count();
        if count == 0 {
            return Err(format!("{}: the golden file has no case", self.name));
        }
        let case = |k: usize| {
            let inputs = tensors(k, "in", &source.inputs)?;
            Ok(Case { inputs, outputs: tensors(k, "out", &source.outputs)? })
        };
        (0..count).map(case).collect()
    }
}

/// The models of this repository: `tests/models` and the digits example.
pub fn own_examples() -> Vec<Example> {
    let folder = root().join("models");
    let entries = std::fs::read_dir(&folder).expect("tests/models exists");
    let folders = entries.map(|e| e.expect("tests/models can be listed").path());
    let mut out: Vec<Example> = folders
        .filter(|folder| folder.join("model.tflite").exists())
        .map(|folder| Example {
            name: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            model: folder.join("model.tflite"),
            golden: folder.join("golden.npz"),
        })
        .collect();
    let digits = root().join("../examples/digits");
    out.push(Example {
        name: "digits".into(),
        model: digits.join("digits.tflite"),
        golden: digits.join("digits.golden.npz"),
    });
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

/// The TFLite models with a golden file in a folder of the corpus beside the repository; `None`
/// where there is no such folder.
pub fn shared_examples(folder: &str) -> Option<Vec<Example>> {
    let folder = root().join("../../shared").join(folder);
    let entries = std::fs::read_dir(&folder).ok()?;
    let mut out = Vec::new();
    for model in entries.flatten().map(|e| e.path()) {
        let golden = model.with_extension("golden.npz");
        if model.extension().is_some_and(|e| e == "tflite") && golden.exists() {
            let name = model.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            out.push(Example { name, model, golden });
        }
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    Some(out)
}

/// A file of the corpus beside the repository, where there is one.
pub fn shared_file(path: &str) -> Option<PathBuf> {
    Some(root().join("../../shared").join(path)).filter(|p| p.exists())
}

/// Runs a compiled model once.
///
/// # Errors
/// The inputs do not fit.
pub fn run_jit(model: &Model, inputs: &[Tensor]) -> qcc::Result<Vec<Tensor>> {
    let mut session = model.session();
    for (i, t) in inputs.iter().enumerate() {
        session.input_mut(i).copy_from_tensor(t)?;
    }
    session.run()?;
    Ok((0..model.outputs().len()).map(|j| session.output(j).tensor().clone()).collect())
}

/// Runs a compiled program once.
///
/// # Panics
/// The program refuses.
pub fn run_program(program: &JitProgram, source: &Source, inputs: &[Tensor]) -> Vec<Tensor> {
    let zeros = |d: &qcc::TensorDesc| Tensor::zeros(d.dtype, d.shape.clone());
    let mut outputs: Vec<Tensor> = source.outputs.iter().map(zeros).collect();
    let mut arena = AlignedBuf::zeroed(program.program.arena_bytes + 64);
    let padded = |t: &Tensor| [t.bytes(), &[0; 64]].concat();
    let padded: Vec<Vec<u8>> = inputs.iter().map(padded).collect();
    let ins: Vec<_> = padded.iter().map(|b| b.as_ptr()).collect();
    let outs: Vec<_> = outputs.iter_mut().map(|t| t.bytes_mut().as_mut_ptr()).collect();
    // SAFETY: arena, inputs with their slack and outputs are as large as `run` asks for.
    assert_eq!(unsafe { program.run(arena.as_mut_ptr(), &ins, &outs) }, 0);
    outputs
}

/// The model as an object file whose functions begin with `m_`.
///
/// # Errors
/// What the passes or code generation say.
pub fn object_for(source: &Source, target: &Target) -> Result<ObjectFile, String> {
    let compiler = Compiler::new().cpu(Cpu::level(target.cpu));
    let lowered = compiler.lower(source).map_err(|e| e.to_string())?;
    compile_object(lowered.module, &interface(source), target).map_err(|e| e.to_string())
}

/// The model from outside, under the symbol `m`.
pub fn interface(source: &Source) -> Interface {
    Interface {
        name: "m".into(),
        symbol: "m".into(),
        inputs: source.inputs.clone(),
        outputs: source.outputs.clone(),
    }
}

/// Says where and how much `got` differs from `want`.
///
/// # Errors
/// They are not the same bits.
pub fn same(what: &str, got: &[Tensor], want: &[Tensor]) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{what}: {} outputs, not {}", got.len(), want.len()));
    }
    for (j, (g, w)) in got.iter().zip(want).enumerate() {
        if g.bytes() == w.bytes() && g.dtype() == w.dtype() {
            continue;
        }
        if g.len() != w.len() || g.dtype() != w.dtype() {
            return Err(format!("{what}: output {j}: another type or size"));
        }
        let differing: Vec<usize> =
            (0..g.len()).filter(|&i| g.get_f64(i) != w.get_f64(i)).collect();
        let first = differing.first().copied().unwrap_or(0);
        let (n, of) = (differing.len(), g.len());
        let (a, b) = (g.get_f64(first), w.get_f64(first));
        return Err(format!(
            "{what}: output {j}: {n} of {of} differ, first at {first}: {a}, not {b}"
        ));
    }
    Ok(())
}

/// Runs `check` on every item, several at a time.
///
/// # Panics
/// One of them fails; says which.
pub fn for_all<T: Sync>(items: &[T], check: impl Fn(&T) -> Result<(), String> + Sync) {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let work = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(e) = check(item) {
                failures.lock().expect("no thread panics with the lock").push(e);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let failures = failures.into_inner().expect("no thread panicked");
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), items.len(), failures.join("\n"));
}
