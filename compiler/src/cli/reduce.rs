//! `qcc reduce`: the smallest part of a model for which a command still fails.

use super::{Global, ModelOptions, Outcome, output};
use crate::{Error, Result, reduce};
use qcc_ir::Module;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Arguments of `reduce`.
#[derive(clap::Args, Debug)]
pub struct ReduceArgs {
    /// The model; of any kind.
    model: PathBuf,
    /// A shell command that fails on the model; `{}` stands for the file. A module is kept when the
    /// command ends with the same status as for the whole model, which must not be 0.
    #[arg(long, value_name = "COMMAND")]
    fails: String,
    /// Keep a module only where the command also prints this.
    #[arg(long, value_name = "TEXT")]
    says: Option<String>,
    /// The result, in qcc's IR.
    #[arg(short, long, value_name = "SMALL.qir")]
    output: PathBuf,
    #[command(flatten)]
    options: ModelOptions,
}

/// How a command ended: its status (none after a signal), and whether it said what it should.
type Ending = (Option<i32>, bool);

/// Reduces the model and writes what is left.
pub fn reduce(args: &ReduceArgs, global: &Global) -> Result<Outcome> {
    if !args.fails.contains("{}") {
        let what = "--fails: the command must have {} where the file's name goes";
        return Err(Error::Usage(what.into()));
    }
    let source = args.options.native(global)?.read(&args.model)?;
    let folder = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
    let file = folder.path().join("reduced.qir");
    let whole = ending(args, &source.module, &file)?;
    match whole {
        (Some(0), _) => {
            let what = "the command succeeds (status 0) on the model; it must fail";
            return Err(Error::Input(format!("{}: {what}", source.file)));
        }
        (_, false) => {
            let what = format!("the command does not say '{}'", args.says.as_deref().unwrap_or(""));
            return Err(Error::Input(format!("{}: {what}", source.file)));
        }
        _ => {}
    }
    let mut last = reduce::size(&source.module);
    let reduced = reduce::reduce(&source.module, |m| {
        let holds = ending(args, m, &file)? == whole;
        if holds {
            last = reduce::size(m);
            global.verbose(|| format!("{last}"));
        }
        Ok::<bool, Error>(holds)
    })?;
    output::write(&args.output, qcc_ir::text::print(&reduced.module).as_bytes())?;
    if !global.quiet {
        let (before, after) = (reduce::size(&source.module), reduce::size(&reduced.module));
        output::note(format!(
            "{after} left of {before}; the command ran {} times",
            reduced.n_tries + 1
        ));
    }
    Ok(Outcome::Done)
}

/// How the command ends for a module.
fn ending(args: &ReduceArgs, m: &Module, file: &Path) -> Result<Ending> {
    std::fs::write(file, qcc_ir::text::print(m)).map_err(|e| Error::io(file, e))?;
    let command = args.fails.replace("{}", &quoted(&file.display().to_string()));
    let done = Command::new("sh").arg("-c").arg(&command).stdin(Stdio::null()).output();
    let done = done.map_err(|e| Error::Input(format!("--fails: sh: {e}")))?;
    let says = |text: &str| {
        let both = [done.stdout.as_slice(), done.stderr.as_slice()];
        both.iter().any(|out| String::from_utf8_lossy(out).contains(text))
    };
    Ok((done.status.code(), args.says.as_deref().is_none_or(says)))
}

/// A word of the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
