//! `qcc check`: outputs against a golden file.

mod compare;
mod engine;
mod golden;
mod per_layer;

use super::{Global, ModelOptions, Outcome, output};
use crate::{Compiler, Cpu, Detail, Error, Result, Source};
use compare::Verdict;
use engine::{Engine, EngineKind};
use golden::{Case, Golden};
use qcc_runtime::cpu::levels_of_host;
use std::path::{Path, PathBuf};

/// Arguments of `check`.
#[derive(clap::Args, Debug)]
pub struct CheckArgs {
    /// The model, or a folder: then every model that has `<name>.golden.npz` beside it.
    model: PathBuf,
    /// Inputs and expected outputs, case{k}_in{i} and case{k}_out{j}; `<name>.golden.npz` beside
    /// the model by default.
    #[arg(long, value_name = "FILE.npz")]
    golden: Option<PathBuf>,
    /// Compare the result of every layer with the reference interpreter's, and with the checksums
    /// of case 0 where the golden file has them.
    #[arg(long)]
    per_layer: bool,
    /// Largest difference that passes, in quantized units (floats: absolute); by default 0 for
    /// integers, and for floats 2^-18 of the largest number expected (0 per layer).
    #[arg(long, value_name = "LSB", value_parser = super::nonnegative)]
    tolerance: Option<f64>,
    /// Check code compiled into this process (default).
    #[arg(long, conflicts_with_all = ["aot", "interpret"])]
    jit: bool,
    /// Check a shared library, made with the system's linker.
    #[arg(long, conflicts_with = "interpret")]
    aot: bool,
    /// Check the reference interpreter.
    #[arg(long, conflicts_with = "all_levels")]
    interpret: bool,
    /// Check every CPU level that this machine can run.
    #[arg(long, conflicts_with = "cpu")]
    all_levels: bool,
    #[command(flatten)]
    options: ModelOptions,
}

impl CheckArgs {
    fn engine_kind(&self) -> EngineKind {
        match (self.aot, self.interpret) {
            (true, _) => EngineKind::Aot,
            (_, true) => EngineKind::Interpreter,
            _ => EngineKind::Jit,
        }
    }
}

/// Passed and failed comparisons.
#[derive(Clone, Copy, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    /// Of those that passed, floats that differ by rounding.
    rounded: usize,
}

impl Tally {
    fn add(&mut self, verdict: &Verdict) {
        match verdict.passed {
            true => self.passed += 1,
            false => self.failed += 1,
        }
        self.rounded += usize::from(verdict.rounded);
    }
}

/// Whether a model's comparisons are listed, or only summed up.
#[derive(Clone, Copy, PartialEq)]
enum Listing {
    EveryOutput,
    Sum,
}

/// Checks a model or a folder of models.
pub fn check(args: &CheckArgs, global: &Global) -> Result<Outcome> {
    if args.model.is_dir() && !is_saved_model(&args.model) {
        return check_folder(args, global);
    }
    let golden = match &args.golden {
        Some(path) => path.clone(),
        None => golden_beside(&args.model).ok_or_else(|| {
            let model = args.model.display();
            Error::Usage(format!("{model}: there is no golden file beside it; give --golden FILE"))
        })?,
    };
    let tally = check_model(args, global, &args.model, &golden, Listing::EveryOutput)?;
    output::line(format!("{} passed, {} failed", tally.passed, tally.failed))?;
    Ok(if tally.failed == 0 { Outcome::Done } else { Outcome::Mismatch })
}

/// `<name>.golden.npz`, if there is one; the folder `<name>_savedmodel` shares it with other forms
/// of the model.
fn golden_beside(model: &Path) -> Option<PathBuf> {
    let name = match model.is_dir() {
        true => model.file_name()?.to_str()?,
        false => model.file_stem()?.to_str()?,
    };
    let name = name.strip_suffix("_savedmodel").filter(|_| model.is_dir()).unwrap_or(name);
    Some(model.with_file_name(format!("{name}.golden.npz"))).filter(|p| p.exists())
}

/// True for the folder of a TensorFlow SavedModel.
fn is_saved_model(path: &Path) -> bool {
    path.join("saved_model.pb").exists()
}

/// Every model of the folder with a golden beside it, one line each.
fn check_folder(args: &CheckArgs, global: &Global) -> Result<Outcome> {
    if args.golden.is_some() || args.per_layer {
        let what = "--golden and --per-layer are for one model; MODEL is a folder";
        return Err(Error::Usage(what.into()));
    }
    let models = models_in(&args.model)?;
    let (mut sum, mut n_errors) = (Tally::default(), 0);
    for (name, model, golden) in &models {
        match check_model(args, global, model, golden, Listing::Sum) {
            Ok(own) => {
                sum = Tally {
                    passed: sum.passed + own.passed,
                    failed: sum.failed + own.failed,
                    rounded: sum.rounded + own.rounded,
                };
                let n = own.passed + own.failed;
                output::line(match own.failed {
                    0 if own.rounded > 0 => {
                        format!("ok    {name}: {n} outputs, {} but for rounding", own.rounded)
                    }
                    0 => format!("ok    {name}: {n} outputs"),
                    failed => format!("FAIL  {name}: {failed} of {n} outputs differ"),
                })?;
            }
            Err(e) => {
                n_errors += 1;
                let details = e.details();
                let more = match details.len() {
                    0 | 1 => String::new(),
                    n => format!(" (and {} more)", n - 1),
                };
                let first = details.into_iter().next().unwrap_or_default();
                let first = Detail { hint: None, ..first };
                output::line(format!("error {name}: {first}{more}"))?;
            }
        }
    }
    if models.is_empty() {
        let folder = args.model.display();
        let what = "no model in it has a golden file (<name>.golden.npz) beside it";
        return Err(Error::Input(format!("{folder}: {what}")));
    }
    output::line(format!("{} passed, {} failed", sum.passed, sum.failed + n_errors))?;
    match (sum.failed, n_errors) {
        (0, 0) => Ok(Outcome::Done),
        (0, n) => Err(Error::Input(format!("{n} of {} models could not be run", models.len()))),
        _ => Ok(Outcome::Mismatch),
    }
}

/// Name, model and golden file of every model in a folder, sorted by name.
fn models_in(folder: &Path) -> Result<Vec<(String, PathBuf, PathBuf)>> {
    let fail = |e| Error::io(folder, e);
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let model = entry.map_err(fail)?.path();
        let extension = model.extension().and_then(|e| e.to_str());
        let is_model =
            matches!(extension, Some("tflite" | "onnx" | "pb" | "qir")) || is_saved_model(&model);
        let name = model.file_name().map(|n| n.to_string_lossy().into_owned());
        if let (true, Some(name), Some(golden)) = (is_model, name, golden_beside(&model)) {
            out.push((name, model, golden));
        }
    }
    out.sort();
    Ok(out)
}

fn check_model(
    args: &CheckArgs,
    global: &Global,
    model: &Path,
    golden: &Path,
    listing: Listing,
) -> Result<Tally> {
    let mut compiler = args.options.native(global)?;
    compiler.keep_source = false;
    let mut golden = Golden::read(golden)?;
    // A frozen graph does not say its outputs: the golden may know of more.
    golden.may_have_more = model.extension().is_some_and(|e| e == "pb");
    let mut tally = Tally::default();
    for (shapes, cases) in golden.cases_by_shapes()? {
        // Extents that the model leaves open are the golden's.
        let compiler = compiler.clone().open_shapes(&shapes);
        let source = compiler.read(model)?;
        golden.check_outputs(cases[0], &source)?;
        let check = Check { args, global, model, golden: &golden, listing };
        check.run(&compiler, (source, &cases), &mut tally)?;
    }
    Ok(tally)
}

/// Cases of a model whose inputs have the same shapes.
struct Check<'a> {
    args: &'a CheckArgs,
    global: &'a Global,
    model: &'a Path,
    golden: &'a Golden,
    listing: Listing,
}

impl Check<'_> {
    /// The cases at every CPU level and number of threads that was asked for.
    fn run(
        &self,
        compiler: &Compiler,
        (mut source, cases): (Source, &[Case]),
        tally: &mut Tally,
    ) -> Result<()> {
        let args = self.args;
        let levels = match args.all_levels {
            true => levels_of_host().into_iter().map(Cpu::level).collect(),
            false => vec![Cpu::level(compiler.level())],
        };
        let counts = args.options.thread_counts()?;
        let mut left = levels.len() * counts.len();
        for (cpu, &n) in levels.iter().flat_map(|&cpu| counts.iter().map(move |n| (cpu, n))) {
            left -= 1;
            let compiler = compiler.clone().cpu(cpu).threads(n);
            let mut label = String::new();
            if args.all_levels {
                label += &format!("{} ", cpu.name());
            }
            if counts.len() > 1 {
                label += &format!("{n} threads ");
            }
            if args.per_layer {
                let (golden, case, model) = (self.golden, cases[0], self.model);
                let check = per_layer::Check { args, compiler: &compiler, golden, case, model };
                check.run(&source, &label, tally)?;
            }
            let kind = args.engine_kind();
            // The last one to need the weights frees them once they are packed.
            let own = match left == 0 && kind != EngineKind::Interpreter {
                true => source.take(),
                false => source.clone(),
            };
            let mut engine = Engine::build(kind, &compiler, own)?;
            self.global.report(engine.remarks(), &[]);
            self.outputs(&mut engine, (&source, cases, &label), tally)?;
        }
        Ok(())
    }

    /// All outputs of the cases.
    fn outputs(
        &self,
        engine: &mut Engine,
        (source, cases, label): (&Source, &[Case], &str),
        tally: &mut Tally,
    ) -> Result<()> {
        let (args, golden) = (self.args, self.golden);
        for case in cases {
            let outputs = engine.run(source, &golden.inputs(case, source)?)?;
            for (j, (desc, got)) in source.outputs.iter().zip(&outputs).enumerate() {
                let verdict = golden.compare(case, j, desc, got, args.tolerance)?;
                tally.add(&verdict);
                if self.listing == Listing::EveryOutput {
                    let word = verdict.word();
                    let name = &desc.name;
                    output::line(format!("{word}  {label}{case} output {j} '{name}': {verdict}"))?;
                }
            }
        }
        Ok(())
    }
}
