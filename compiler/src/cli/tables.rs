//! `targets`, `passes`, and commands that do not exist yet.

use super::{Outcome, output};
use crate::compiler::DEFAULT_PIPELINE;
use crate::{Error, Result};
use qcc_passes::{OptionKind, OptionSpec, Pass, Registry};
use qcc_runtime::cpu::{Arch, CpuLevel, detect_native};

/// Any arguments.
#[derive(clap::Args, Debug)]
pub struct Unavailable {
    /// Ignored.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Arguments of `passes`.
#[derive(clap::Args, Debug)]
pub struct PassesArgs {
    /// Print the documentation of this pass.
    pass: Option<String>,
}

/// The error for a command that is planned.
pub fn unavailable(command: &str) -> Error {
    Error::Input(format!("'qcc {command}' is not available yet"))
}

/// Target triples that objects can be written for.
const TRIPLES: [(&str, Arch); 5] = [
    ("x86_64-unknown-linux-gnu", Arch::X86_64),
    ("x86_64-apple-darwin", Arch::X86_64),
    ("x86_64-pc-windows-msvc", Arch::X86_64),
    ("aarch64-unknown-linux-gnu", Arch::Aarch64),
    ("aarch64-apple-darwin", Arch::Aarch64),
];

/// Environment variables, and what they do.
const VARIABLES: &[(&str, &str)] = &[
    ("QCC_BLESS", "tests: rewrite expectations and generated pages (1)"),
    ("QCC_DIFF_GRAPHS", "tests: how many random graphs are compared"),
    ("QCC_DIFF_SEED", "tests: where random graphs begin"),
    ("QCC_FLOAT_CASES", "tests: how many random float kernels are compared"),
    ("QCC_FLOAT_OP", "tests: compare float kernels of this op only"),
    ("QCC_FLOAT_SEED", "tests: where random float kernels begin"),
    ("QCC_FUZZ_CASES", "tests: how many damaged models are read"),
    ("QCC_ONNX_NODE_TESTS", "tests: the folder of ONNX node tests, of the pip package onnx"),
    ("QCC_ONNX_OP", "tests: the only operator whose ONNX node tests run"),
    ("QCC_FUZZ_SEED", "tests: where damage begins"),
    ("QCC_RANDOM_KERNELS", "tests: how many random kernels the wide emitter is compared on"),
];

/// Prints the variables that qcc and its tests read, and their values.
pub fn env() -> Result<Outcome> {
    for (name, what) in VARIABLES {
        let value = std::env::var_os(name);
        let value = value.map_or("not set".into(), |v| format!("= {}", v.display()));
        output::line(format!("{name:<18} {what}; {value}"))?;
    }
    Ok(Outcome::Done)
}

/// Prints targets and CPU levels.
pub fn targets() -> Result<Outcome> {
    let native = detect_native();
    for arch in [Arch::X86_64, Arch::Aarch64] {
        output::line(format!("{arch}"))?;
        for (triple, _) in TRIPLES.iter().filter(|(_, a)| *a == arch) {
            output::line(format!("  --target {triple}"))?;
        }
        for level in CpuLevel::ALL.into_iter().filter(|l| l.arch() == arch) {
            let here = match level.runs_here() {
                true if Some(level) == native => "native",
                true => "runs here",
                false => "",
            };
            let (name, what) = (level.name(), level.description());
            output::line(format!("  --cpu {name:<11} {here:<9} {what}").trim_end())?;
        }
    }
    Ok(Outcome::Done)
}

/// Prints passes and pipelines, or a pass's documentation.
pub fn passes(args: &PassesArgs) -> Result<Outcome> {
    let registry = Registry::default();
    let Some(name) = &args.pass else { return all_passes(&registry) };
    let unknown = || Error::Usage(format!("there is no pass '{name}'; see `qcc passes`"));
    let pass = registry.pass(name).ok_or_else(unknown)?;
    let level = pass.yields.map_or("the same", |l| l.name());
    output::line(format!(
        "{}: {}\ntakes level {}, leaves {level}; moves outputs: {}",
        pass.name, pass.summary, pass.needs, pass.drift
    ))?;
    print_options(pass)?;
    output::line(format!("\n{}", pass.doc_text()))?;
    Ok(Outcome::Done)
}

fn all_passes(registry: &Registry) -> Result<Outcome> {
    output::line("passes:")?;
    for p in registry.passes() {
        output::line(format!("  {:<22} {} [{}]", p.name, p.summary, p.drift))?;
        print_options(p)?;
    }
    output::line("pipelines:")?;
    for (name, text) in registry.pipelines() {
        output::line(format!("  @{name}\n    {text}"))?;
    }
    output::line(format!("  (what compile, run, check and bench use)\n    {DEFAULT_PIPELINE}"))?;
    Ok(Outcome::Done)
}

fn print_options(pass: &Pass) -> Result<()> {
    for o in pass.options {
        output::line(format!("    {}={} (default {}): {}", o.name, values(o), o.default, o.help))?;
    }
    Ok(())
}

fn values(o: &OptionSpec) -> String {
    match o.kind {
        OptionKind::Bool => "true|false".into(),
        OptionKind::Int => "N".into(),
        OptionKind::Word(words) => words.join("|"),
    }
}
