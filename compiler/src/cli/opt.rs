//! `qcc opt`: run passes on a module, print it.

use super::{Global, ModelOptions, Outcome, output};
use crate::Result;
use std::path::PathBuf;

/// Arguments of `opt`.
#[derive(clap::Args, Debug)]
pub struct OptArgs {
    /// A `.qir` text or a model.
    file: PathBuf,
    /// Where to write the result.
    #[arg(short, long, default_value = "-")]
    output: PathBuf,
    #[command(flatten)]
    options: ModelOptions,
}

/// Runs the pipeline (none by default) and prints the module.
pub fn opt(args: &OptArgs, global: &Global) -> Result<Outcome> {
    let compiler = args.options.native(global)?;
    let source = compiler.read(&args.file)?;
    compiler.check_integer(&source.module, &source.file)?;
    let pipeline = args.options.passes.as_deref().unwrap_or("");
    let done = compiler.run_passes(&source, pipeline)?;
    global.report(&done.remarks, &done.times);
    output::write(&args.output, qcc_ir::text::print(&done.module).as_bytes())?;
    Ok(Outcome::Done)
}
