//! `targets`, `passes`, and commands that do not exist yet.

use super::Outcome;
use crate::{Error, Result};
use qcc_passes::Registry;
use qcc_runtime::cpu::CpuLevel;

/// Any arguments.
#[derive(clap::Args, Debug)]
pub struct Unavailable {
    /// Ignored.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// The error for a command that is planned.
pub fn unavailable(command: &str) -> Error {
    Error::Input(format!("'qcc {command}' is not available in this version"))
}

/// Target triples that objects can be written for.
const TRIPLES: [&str; 5] = [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "x86_64-apple-darwin",
    "aarch64-apple-darwin",
    "x86_64-pc-windows-msvc",
];

/// Prints targets and CPU levels.
pub fn targets() -> Result<Outcome> {
    println!("targets:");
    for t in TRIPLES {
        println!("  {t}");
    }
    println!("CPU levels:");
    for level in CpuLevel::ALL {
        let here = if level.runs_here() { "runs here" } else { "" };
        println!("  {:<12} {:<9} {}", level.name(), here, level.description());
    }
    Ok(Outcome::Done)
}

/// Prints passes and pipelines.
pub fn passes() -> Result<Outcome> {
    let registry = Registry::default();
    println!("passes:");
    for p in registry.passes() {
        println!("  {:<22} {} [{}]", p.name, p.summary, p.drift);
        for o in p.options {
            println!("  {:<22}   {{{}=…}} {}", "", o.name, o.help);
        }
    }
    println!("pipelines:");
    for (name, text) in registry.pipelines() {
        println!("  @{name}\n    {text}");
    }
    println!("  (built in)\n    {}", crate::compiler::DEFAULT_PIPELINE);
    Ok(Outcome::Done)
}
