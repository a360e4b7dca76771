//! The `qcc` command: arguments in, exit status out.
//!
//! Exit status: 0 done; 1 the input or the options are at fault; 2 wrong usage; 3 `check` found
//! outputs outside the tolerance. Whatever a command writes to a file appears whole or not at all.

mod bench;
mod check;
mod compile;
mod inspect;
mod opt;
mod output;
mod reduce;
mod run;
mod tables;

use crate::{Compiler, Cpu, Error, Result};
use clap::{Args, Parser, Subcommand};
use qcc_passes::{PrintAt, Registry};
use qcc_runtime::cpu::Arch;
use std::process::ExitCode;

/// Turns a quantized neural network into native integer code.
#[derive(Parser, Debug)]
#[command(name = "qcc", version, about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

/// Options of every command.
#[derive(Args, Debug, Clone)]
pub(crate) struct Global {
    /// Print the IR before PASS (or `all`), to standard error.
    #[arg(long, global = true, value_name = "PASS")]
    print_ir_before: Vec<String>,
    /// Print the IR after PASS (or `all`), to standard error.
    #[arg(long, global = true, value_name = "PASS")]
    print_ir_after: Vec<String>,
    /// Print how long each pass took.
    #[arg(long, global = true)]
    time_passes: bool,
    /// Verify the IR after every pass.
    #[arg(long, global = true)]
    verify_each: bool,
    /// Interpret the IR before and after every pass and compare.
    #[arg(long, global = true)]
    diff_each: bool,
    /// Print what passes did, proved or skipped; with a name, that pass only.
    #[arg(long, global = true, value_name = "PASS", num_args = 0..=1, require_equals = true,
          default_missing_value = "all")]
    remarks: Option<String>,
    /// Say more.
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Colour in messages.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto",
          value_parser = ["auto", "always", "never"])]
    color: String,
    /// Say nothing but results and errors.
    #[arg(short, long, global = true)]
    quiet: bool,
}

/// Threads that may be asked for.
const MAX_THREADS: usize = 256;

/// How a model is read and for which CPU it is compiled.
#[derive(Args, Debug, Clone)]
pub(crate) struct ModelOptions {
    /// CPU level: a name that `qcc targets` lists, `native` or `baseline`; for `compile` several,
    /// as avx512vnni,x86-64-v3: the object picks one at its first call.
    #[arg(long, value_name = "NAME")]
    cpu: Option<String>,
    /// Threads that a run may use; `check` takes several counts, as 1,2,3.
    #[arg(long, value_name = "N", default_value = "1")]
    threads: String,
    /// The batch size where the model leaves it open.
    #[arg(long, value_name = "N")]
    batch: Option<u64>,
    /// The full shape of an input, as INPUT=1x224x224x3.
    #[arg(long, value_name = "INPUT=SHAPE")]
    shape: Vec<String>,
    /// Outputs of a TensorFlow graph, as NODE or NODE:1; without it, what nobody reads.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    outputs: Vec<String>,
    /// The signature of a SavedModel, instead of serving_default.
    #[arg(long, value_name = "NAME")]
    signature: Option<String>,
    /// Fail if some part of the model stays float, naming every such node, why, and what would make
    /// it integer.
    #[arg(long)]
    require_integer: bool,
    /// Another pipeline than the built-in one.
    #[arg(long, value_name = "PIPELINE")]
    passes: Option<String>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Compile a model to an object, a library, a header, or a text of some stage.
    Compile(compile::CompileArgs),
    /// Run a model on arrays or an image.
    Run(run::RunArgs),
    /// Compare a model's outputs with a golden file.
    Check(check::CheckArgs),
    /// Time a model.
    Bench(bench::BenchArgs),
    /// Quantize a float model (not available yet).
    Quantize(tables::Unavailable),
    /// List a model's layers.
    Inspect(inspect::InspectArgs),
    /// Run passes on a module and print it.
    Opt(opt::OptArgs),
    /// Shrink a model for which a command fails.
    Reduce(reduce::ReduceArgs),
    /// List the environment variables that qcc and its tests read.
    Env,
    /// List targets and CPU levels.
    Targets,
    /// List passes and pipelines, or explain a pass.
    Passes(tables::PassesArgs),
    /// Print a completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What a command ends with when nothing went wrong with its input.
pub(crate) enum Outcome {
    /// Exit status 0.
    Done,
    /// Exit status 3.
    Mismatch,
}

/// Stack of the thread that works: models may nest deeply.
const STACK_BYTES: usize = 256 << 20;

/// Bytes from which a block of memory is mapped on its own.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAP_BYTES: libc::c_int = 64 << 10;

/// Free bytes at the heap's end from which they are given back: a kernel's worth stays, or each
/// kernel would fault the same pages in again.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const TRIM_BYTES: libc::c_int = 2 << 20;

/// Bytes by which the heap grows.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const PAD_BYTES: libc::c_int = 512 << 10;

/// Weights are copied a few times from file to code, and each copy is freed. glibc answers by taking
/// blocks of that size from its heap, which then has holes for half of its size; so its thresholds
/// are fixed, and the thread that works shares the one heap.
fn give_freed_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets numbers of the allocator, before there is a second thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAP_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_BYTES);
        libc::mallopt(libc::M_TOP_PAD, PAD_BYTES);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Runs the command line; never panics.
pub fn main() -> ExitCode {
    give_freed_memory_back();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    let global = cli.global.clone();
    let worker = std::thread::Builder::new().stack_size(STACK_BYTES);
    let result = match worker.spawn(move || dispatch(&cli)) {
        Ok(thread) => thread.join(),
        Err(e) => Ok(Err(Error::Input(format!("cannot start a thread: {e}")))),
    };
    match result {
        Ok(Ok(Outcome::Done)) => ExitCode::SUCCESS,
        Ok(Ok(Outcome::Mismatch)) => ExitCode::from(3),
        Ok(Err(e)) if e.is_closed_pipe() => ExitCode::SUCCESS,
        Ok(Err(e)) => {
            output::error(&e, &global);
            ExitCode::from(if matches!(e, Error::Usage(_)) { 2 } else { 1 })
        }
        Err(_) => {
            output::note("error: this is a bug in qcc; please report it with model and command");
            ExitCode::from(1)
        }
    }
}

fn dispatch(cli: &Cli) -> Result<Outcome> {
    let global = &cli.global;
    if let Some(name) = global.remarks.as_ref().filter(|name| *name != "all") {
        known_pass("--remarks", name)?;
    }
    match &cli.command {
        Command::Compile(args) => compile::compile(args, global),
        Command::Run(args) => run::run(args, global),
        Command::Check(args) => check::check(args, global),
        Command::Bench(args) => bench::bench(args, global),
        Command::Inspect(args) => inspect::inspect(args, global),
        Command::Opt(args) => opt::opt(args, global),
        Command::Quantize(_) => Err(tables::unavailable("quantize")),
        Command::Reduce(args) => reduce::reduce(args, global),
        Command::Env => tables::env(),
        Command::Targets => tables::targets(),
        Command::Passes(args) => tables::passes(args),
        Command::Completions { shell } => {
            let mut command = <Cli as clap::CommandFactory>::command();
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut command, "qcc", &mut script);
            output::write("-".as_ref(), &script)?;
            Ok(Outcome::Done)
        }
    }
}

impl Global {
    /// Prints remarks and pass times that were asked for.
    fn report(&self, remarks: &[qcc_passes::Remark], times: &[qcc_passes::PassTime]) {
        if let Some(pass) = &self.remarks {
            for r in remarks.iter().filter(|r| pass == "all" || r.pass == pass) {
                output::note(format!("remark: {r}"));
            }
        }
        if self.time_passes {
            for t in times {
                output::note(format!("{:10.3} ms  {}", t.time.as_secs_f64() * 1e3, t.step));
            }
        }
    }
    /// Prints a line that `-v` asked for.
    fn verbose(&self, text: impl FnOnce() -> String) {
        if self.verbose && !self.quiet {
            output::note(text());
        }
    }
}

impl ModelOptions {
    /// A compiler for this machine with these options.
    fn native(&self, global: &Global) -> Result<Compiler> {
        match self.cpus(crate::cpu::host_arch(), "native")?.as_slice() {
            [only] => self.compiler(global, *only),
            _ => {
                let what = "only `compile` takes several CPU levels; give one";
                let cpu = self.cpu.as_deref().unwrap_or_default();
                Err(Error::Input(format!("--cpu {cpu}: {what}")))
            }
        }
    }

    /// The CPU levels of `--cpu`, or `default`: at least one, in increasing order.
    fn cpus(&self, arch: Arch, default: &str) -> Result<Vec<Cpu>> {
        let names = self.cpu.as_deref().unwrap_or(default).split(',');
        let cpus: Result<Vec<Cpu>> = names.map(|n| Cpu::named(n.trim(), arch)).collect();
        cpus.map(ascending)
    }
    /// A compiler for a CPU level with these options.
    fn compiler(&self, global: &Global, cpu: Cpu) -> Result<Compiler> {
        let mut c = Compiler::new().cpu(cpu).threads(self.thread_count()?);
        if let Some(n) = self.batch {
            if n == 0 {
                return Err(Error::Input("--batch must be at least 1".into()));
            }
            c = c.batch(n);
        }
        for s in &self.shape {
            let (name, shape) = parse_shape(s)?;
            c = c.shape(&name, &shape);
        }
        for name in &self.outputs {
            c = c.output(name);
        }
        if let Some(name) = &self.signature {
            c = c.signature(name);
        }
        if let Some(p) = &self.passes {
            c = c.passes(p);
        }
        c.require_integer = self.require_integer;
        c.verify_each = global.verify_each;
        c.diff_each = global.diff_each;
        c.print_before = print_at(&global.print_ir_before)?;
        c.print_after = print_at(&global.print_ir_after)?;
        Ok(c)
    }

    /// The largest of the thread counts.
    fn thread_count(&self) -> Result<usize> {
        Ok(self.thread_counts()?.into_iter().max().unwrap_or(1))
    }
    /// The thread counts, at least one.
    fn thread_counts(&self) -> Result<Vec<usize>> {
        let counts = self.threads.split(',').map(|n| n.trim().parse::<usize>());
        let counts: std::result::Result<Vec<usize>, _> = counts.collect();
        match counts {
            Ok(counts) if counts.iter().all(|n| (1..=MAX_THREADS).contains(n)) => Ok(counts),
            _ => {
                let what = format!("not numbers from 1 to {MAX_THREADS}");
                Err(Error::Input(format!("--threads {}: {what}", self.threads)))
            }
        }
    }
}

fn print_at(names: &[String]) -> Result<PrintAt> {
    for name in names.iter().filter(|n| *n != "all") {
        known_pass("--print-ir-before/-after", name)?;
    }
    Ok(match names {
        [] => PrintAt::Never,
        _ if names.iter().any(|n| n == "all") => PrintAt::All,
        _ => PrintAt::Passes(names.iter().cloned().collect()),
    })
}

/// Fails for an option about a pass that there is not; names those there are.
fn known_pass(option: &str, name: &str) -> Result<()> {
    let registry = Registry::default();
    if registry.pass(name).is_some() {
        return Ok(());
    }
    let names: Vec<&str> = registry.passes().map(|p| p.name).collect();
    let names = names.join(", ");
    Err(Error::Usage(format!("{option}: there is no pass '{name}'; passes are: all, {names}")))
}

/// Each level once, in increasing order.
fn ascending(mut cpus: Vec<Cpu>) -> Vec<Cpu> {
    cpus.sort_by_key(|c| c.0);
    cpus.dedup();
    cpus
}

/// `INPUT=1x224x224x3`
fn parse_shape(text: &str) -> Result<(String, Vec<u64>)> {
    let fail = || Error::Input(format!("--shape {text}: expected INPUT=1x224x224x3"));
    let (name, shape) = text.rsplit_once('=').ok_or_else(fail)?;
    let extents: std::result::Result<Vec<u64>, _> = shape.split('x').map(str::parse).collect();
    Ok((name.to_string(), extents.map_err(|_| fail())?))
}

/// A number of at least 0 that has an end.
fn nonnegative(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse::<f64>().map_err(|e| e.to_string())?;
    match number >= 0.0 && number.is_finite() {
        true => Ok(number),
        false => Err("a finite number of at least 0 is needed".into()),
    }
}
