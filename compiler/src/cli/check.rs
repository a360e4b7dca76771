//! `qcc check`: outputs against a golden file.

use super::{Global, ModelOptions, Outcome};
use crate::npz::{self, Arrays};
use crate::{Compiler, Cpu, Error, Model, Result, Session, Source};
use qcc_codegen::Target;
use qcc_codegen::aot::Interface;
use qcc_runtime::cpu::{Arch, levels_of_host};
use qcc_runtime::{AlignedBuf, Tensor, TensorDesc};
use std::ffi::c_void;
use std::path::{Path, PathBuf};

/// Arguments of `check`.
#[derive(clap::Args, Debug)]
pub struct CheckArgs {
    /// The model, or a folder: then every model that has `<name>.golden.npz` beside it.
    model: PathBuf,
    /// Inputs and expected outputs: case{k}_in{i}, case{k}_out{j}.
    #[arg(long, value_name = "FILE.npz")]
    golden: Option<PathBuf>,
    /// Compare intermediate tensors too (not available yet).
    #[arg(long)]
    per_layer: bool,
    /// Largest difference that passes, in quantized units (floats: absolute).
    #[arg(long, value_name = "LSB", default_value_t = 0.0)]
    tolerance: f64,
    /// Check code compiled into this process (default).
    #[arg(long, conflicts_with_all = ["aot", "interpret"])]
    jit: bool,
    /// Check a shared library.
    #[arg(long, conflicts_with = "interpret")]
    aot: bool,
    /// Check the reference interpreter.
    #[arg(long)]
    interpret: bool,
    /// Check every CPU level of this machine.
    #[arg(long)]
    all_levels: bool,
    #[command(flatten)]
    options: ModelOptions,
}

/// Passed and failed comparisons.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

/// Something that computes a model's outputs.
enum Engine {
    Jit(Session),
    Aot(Box<Shared>),
    Interpreter(Box<Source>),
}

/// Checks a model or a folder of models.
pub fn check(args: &CheckArgs, global: &Global) -> Result<Outcome> {
    if args.per_layer {
        return Err(Error::Input("--per-layer is not available in this version".into()));
    }
    let mut tally = Tally::default();
    if args.model.is_dir() {
        check_folder(args, global, &mut tally)?;
    } else {
        let golden = args
            .golden
            .clone()
            .ok_or_else(|| Error::Input("--golden FILE.npz is needed for a single model".into()))?;
        check_model(args, global, &args.model, &golden, &mut tally, true)?;
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed == 0 { Outcome::Done } else { Outcome::Mismatch })
}

/// Every model of the folder with a golden beside it, one line each.
fn check_folder(args: &CheckArgs, global: &Global, tally: &mut Tally) -> Result<()> {
    let entries = std::fs::read_dir(&args.model).map_err(|e| Error::io(&args.model, e))?;
    let mut models: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    models.sort();
    for model in models {
        let is_model = model.extension().is_some_and(|e| e == "tflite" || e == "qir");
        let golden = model.with_extension("golden.npz");
        if !is_model || !golden.exists() {
            continue;
        }
        let mut own = Tally::default();
        let done = check_model(args, global, &model, &golden, &mut own, false);
        let name = model.file_name().map(|n| n.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        match done {
            Ok(()) if own.failed == 0 => println!("ok    {name}: {} outputs", own.passed),
            Ok(()) => println!("FAIL  {name}: {} of {}", own.failed, own.passed + own.failed),
            Err(e) => {
                own.failed += 1;
                println!("FAIL  {name}: {}", e.to_string().lines().next().unwrap_or(""));
            }
        }
        tally.passed += own.passed;
        tally.failed += own.failed;
    }
    Ok(())
}

fn check_model(
    args: &CheckArgs,
    global: &Global,
    model: &Path,
    golden: &Path,
    tally: &mut Tally,
    lines: bool,
) -> Result<()> {
    let compiler = args.options.compiler(global, Arch::host().unwrap_or(Arch::X86_64))?;
    let source = compiler.read(model)?;
    let arrays = npz::read_npz(golden)?;
    if arrays.keys().any(|k| k.starts_with("seq")) && !arrays.contains_key("case0_out0") {
        return Err(Error::Input(format!(
            "{}: stateful models are not supported yet",
            golden.display()
        )));
    }
    let levels = match args.all_levels && !args.interpret {
        true => levels_of_host().into_iter().map(Cpu::level).collect(),
        false => vec![Cpu::level(compiler.level())],
    };
    for cpu in levels {
        let compiler = compiler.clone().cpu(cpu);
        let mut engine = engine(args, &compiler, &source)?;
        let label = if args.all_levels { format!("{} ", cpu.name()) } else { String::new() };
        check_cases(args, &source, &arrays, &mut engine, tally, lines.then_some(label.as_str()))?;
    }
    Ok(())
}

fn engine(args: &CheckArgs, compiler: &Compiler, source: &Source) -> Result<Engine> {
    if args.interpret {
        return Ok(Engine::Interpreter(Box::new(source.clone())));
    }
    if args.aot {
        return Shared::build(compiler, source).map(|s| Engine::Aot(Box::new(s)));
    }
    let model: Model = compiler.compile(source)?;
    Ok(Engine::Jit(model.session()))
}

fn check_cases(
    args: &CheckArgs,
    source: &Source,
    arrays: &Arrays,
    engine: &mut Engine,
    tally: &mut Tally,
    label: Option<&str>,
) -> Result<()> {
    let mut k = 0;
    while arrays.contains_key(&format!("case{k}_out0")) {
        let mut inputs = Vec::with_capacity(source.inputs.len());
        for (i, d) in source.inputs.iter().enumerate() {
            let key = format!("case{k}_in{i}");
            let found = arrays.get(&key).ok_or_else(|| {
                Error::Tensor(format!(
                    "the golden file has no array '{key}' for input '{}'",
                    d.name
                ))
            })?;
            inputs.push(found.clone());
        }
        let outputs = engine.run(source, &inputs)?;
        for (j, (d, got)) in source.outputs.iter().zip(&outputs).enumerate() {
            let key = format!("case{k}_out{j}");
            let want = arrays
                .get(&key)
                .ok_or_else(|| Error::Tensor(format!("the golden file has no array '{key}'")))?;
            let other = arrays.get(&format!("case{k}_opt{j}"));
            let passed = compare(args.tolerance, d, got, want, other)?;
            let (ok, text) = passed;
            if let Some(label) = label {
                let word = if ok { "ok  " } else { "FAIL" };
                println!("{word}  {label}case {k} output {j} '{}': {text}", d.name);
            }
            if ok { tally.passed += 1 } else { tally.failed += 1 }
        }
        k += 1;
    }
    match k {
        0 => Err(Error::Tensor("the golden file has no array 'case0_out0'".into())),
        _ => Ok(()),
    }
}

/// Whether an output passes against the golden (or the second acceptable answer), and a line.
fn compare(
    tolerance: f64,
    d: &TensorDesc,
    got: &Tensor,
    want: &Tensor,
    other: Option<&Tensor>,
) -> Result<(bool, String)> {
    if got.len() != want.len() {
        return Err(Error::Tensor(format!(
            "output '{}' has shape {:?}, the golden array {:?}",
            d.name,
            got.shape(),
            want.shape()
        )));
    }
    let found = difference(got, want);
    let passes = |d: &Difference| d.largest <= tolerance && (!d.nan || d.differing == 0);
    let by_other = other.filter(|o| o.len() == got.len()).map(|o| difference(got, o));
    let ok = passes(&found) || by_other.as_ref().is_some_and(passes);
    let unit = if d.dtype.is_float() { "abs" } else { "LSB" };
    let mut text = format!(
        "{} elements, {} differ, largest difference {} {unit}",
        got.len(),
        found.differing,
        found.largest
    );
    if d.dtype.is_float() {
        text += &format!(", relative {:e}", found.relative);
    }
    Ok((ok, text))
}

#[derive(Default)]
struct Difference {
    differing: usize,
    largest: f64,
    relative: f64,
    nan: bool,
}

fn difference(got: &Tensor, want: &Tensor) -> Difference {
    let mut out = Difference::default();
    for i in 0..got.len() {
        let (a, b) = (got.get_f64(i), want.get_f64(i));
        if a == b || (a.is_nan() && b.is_nan()) {
            continue;
        }
        out.differing += 1;
        out.nan |= a.is_nan() || b.is_nan();
        out.largest = out.largest.max((a - b).abs());
        out.relative = out.relative.max((a - b).abs() / b.abs().max(f64::MIN_POSITIVE));
    }
    out
}

impl Engine {
    fn run(&mut self, source: &Source, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        match self {
            Engine::Jit(session) => {
                for (i, t) in inputs.iter().enumerate() {
                    session.input_mut(i).copy_from_tensor(t)?;
                }
                session.run()?;
                Ok((0..source.outputs.len()).map(|j| session.output(j).tensor().clone()).collect())
            }
            Engine::Aot(shared) => shared.run(source, inputs),
            Engine::Interpreter(source) => {
                let shaped = source.inputs.iter().zip(inputs).map(|(d, t)| {
                    let given = t.clone().reshaped(d.shape.clone());
                    given.map_err(|e| Error::Tensor(format!("input '{}': {e}", d.name)))
                });
                let shaped: Vec<Tensor> = shaped.collect::<Result<_>>()?;
                crate::interpret(&source.module, &shaped)
                    .map_err(|e| Error::Input(format!("{}: {e}", source.file)))
            }
        }
    }
}

/// A model compiled to a shared library and loaded.
struct Shared {
    library: libloading::Library,
    arena: AlignedBuf,
    _folder: tempfile::TempDir,
}

type RunFn = unsafe extern "C" fn(*mut c_void, *const *const c_void, *const *mut c_void) -> i32;

impl Shared {
    fn build(compiler: &Compiler, source: &Source) -> Result<Shared> {
        let lowered = compiler.lower(source)?;
        let interface = Interface {
            name: source.module.name.clone(),
            symbol: "m".into(),
            inputs: source.inputs.clone(),
            outputs: source.outputs.clone(),
        };
        let folder = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
        let target = Target::host(compiler.level());
        super::compile::link_in(folder.path(), &lowered, &interface, &target)?;
        let object = qcc_codegen::aot::compile_object(&lowered.module, &interface, &target)?;
        let path = folder.path().join("model.so");
        // SAFETY: the library was made just now by this program; it has no initialisers.
        let library = unsafe { libloading::Library::new(&path) };
        let library = library.map_err(|e| Error::Input(format!("{}: {e}", path.display())))?;
        Ok(Shared { library, arena: AlignedBuf::zeroed(object.arena_bytes), _folder: folder })
    }

    fn run(&mut self, source: &Source, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        for (d, t) in source.inputs.iter().zip(inputs) {
            if d.dtype != t.dtype() || d.len() != t.len() {
                let (name, found) = (&d.name, t.dtype());
                return Err(Error::Tensor(format!("input '{name}' does not fit {found} data")));
            }
        }
        let zeros = |d: &TensorDesc| Tensor::zeros(d.dtype, d.shape.clone());
        let mut outputs: Vec<Tensor> = source.outputs.iter().map(zeros).collect();
        let ins: Vec<*const c_void> = inputs.iter().map(|t| t.bytes().as_ptr().cast()).collect();
        let outs: Vec<*mut c_void> =
            outputs.iter_mut().map(|t| t.bytes_mut().as_mut_ptr().cast()).collect();
        // SAFETY: `m_run` has this signature (header.rs); sizes were compared above.
        let code = unsafe {
            let run: libloading::Symbol<RunFn> =
                self.library.get(b"m_run").map_err(|e| Error::Input(e.to_string()))?;
            run(self.arena.as_mut_ptr().cast(), ins.as_ptr(), outs.as_ptr())
        };
        match code {
            0 => Ok(outputs),
            code => Err(Error::Input(format!("m_run returned {code}"))),
        }
    }
}
