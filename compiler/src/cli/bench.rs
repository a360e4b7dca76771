//! `qcc bench`: how long one run takes.

mod profile;
mod roofline;

use super::{Global, ModelOptions, Outcome, output};
use crate::layers::layers;
use crate::npz::{self, Arrays};
use crate::{Compiler, Model, Result, Session};
use qcc_runtime::{Tensor, TensorDesc};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;

/// Arguments of `bench`.
#[derive(clap::Args, Debug)]
pub struct BenchArgs {
    /// The model.
    model: PathBuf,
    /// Seconds of timed runs.
    #[arg(long, visible_alias = "min-time", value_name = "S", default_value_t = 1.0,
          value_parser = super::nonnegative)]
    seconds: f64,
    /// Inputs; case0 of a golden file, or arrays by name. Otherwise seeded noise.
    #[arg(long, value_name = "FILE.npz")]
    inputs: Option<PathBuf>,
    /// Also time each layer: a table, or "layers" in the JSON. -v lists every kernel call.
    #[arg(long)]
    profile: bool,
    /// Measure this machine's roofline again; otherwise it is measured once and kept in the user's
    /// cache folder.
    #[arg(long, requires = "profile")]
    roofline: bool,
    /// One line of JSON and nothing else. (Where standard output is not a terminal, that line
    /// comes last anyway.)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: ModelOptions,
}

/// Times the model.
pub fn bench(args: &BenchArgs, global: &Global) -> Result<Outcome> {
    let mut compiler = args.options.native(global)?;
    compiler.keep_source = false;
    let start = Instant::now();
    let source = compiler.read(&args.model)?;
    // A profile needs it once more.
    let again = args.profile.then(|| source.clone());
    let model = compiler.compile_owned(source)?;
    let compile_ms = start.elapsed().as_secs_f64() * 1e3;
    global.report(model.remarks(), &[]);
    let arrays = match &args.inputs {
        Some(path) => npz::read_npz(path)?,
        None => Arrays::new(),
    };
    let mut session = model.session();
    fill(&mut session, &model, &arrays)?;
    let times = Times::measure(&mut session, args.seconds)?;
    let mut line = json_line(args, &model, &times, compile_ms)?;
    if !args.json {
        output::line(summary(args, &model, &times, compile_ms))?;
    }
    if let Some(source) = again {
        compiler.profile = true;
        let layers = layers(&source.module);
        let mut session = compiler.compile_owned(source)?.session();
        fill(&mut session, &model, &arrays)?;
        let rows = profile::rows(&mut session, &layers);
        let roof = roofline::roofline(&quiet(compiler), args.roofline)?;
        if args.json {
            let total = rows.iter().map(|r| r.seconds).sum();
            line["layers"] = rows.iter().map(|r| json_row(r, total, &roof)).collect();
        } else {
            profile::print(&rows, &roof, global.verbose)?;
        }
    }
    if args.json || !std::io::stdout().is_terminal() {
        output::line(line.to_string())?;
    }
    Ok(Outcome::Done)
}

/// The compiler without what was asked for the model only.
fn quiet(compiler: Compiler) -> Compiler {
    Compiler::new().cpu(crate::Cpu::level(compiler.level()))
}

fn json_line(
    args: &BenchArgs,
    model: &Model,
    times: &Times,
    compile_ms: f64,
) -> Result<serde_json::Value> {
    let info = model.info();
    Ok(serde_json::json!({
        "engine": "qcc", "model": args.model.display().to_string(),
        "threads": args.options.thread_count()?, "cpu": model.cpu().name(),
        "median_ms": times.median_ms, "min_ms": times.min_ms, "p90_ms": times.p90_ms,
        "runs": times.runs, "compile_ms": compile_ms, "code_bytes": info.code_bytes,
        "weights_bytes": info.weights_bytes, "arena_bytes": info.arena_bytes,
        "macs": info.macs, "gmacs_per_s": times.gmacs_per_s(info.macs),
    }))
}

fn json_row(r: &profile::Row, total: f64, roof: &profile::Roof) -> serde_json::Value {
    serde_json::json!({
        "node": r.node, "us": r.seconds * 1e6, "share": r.seconds / total, "macs": r.macs,
        "gmacs_per_s": r.macs as f64 / r.seconds / 1e9, "bytes": r.bytes,
        "of_roof": r.of_roof(roof), "kernel": r.main_kernel(),
    })
}

fn summary(args: &BenchArgs, model: &Model, times: &Times, compile_ms: f64) -> String {
    let (info, Times { median_ms, min_ms, p90_ms, runs }) = (model.info(), times);
    format!(
        "{}: median {median_ms:.4} ms, min {min_ms:.4}, p90 {p90_ms:.4} over {runs} runs; {:.1} \
         GMAC/s on {}; compiled in {compile_ms:.1} ms; code {} bytes, weights {}, arena {}",
        args.model.display(),
        times.gmacs_per_s(info.macs),
        model.cpu().name(),
        info.code_bytes,
        info.weights_bytes,
        info.arena_bytes
    )
}

/// Fills the inputs from arrays by name, else with seeded noise over each input's whole range.
fn fill(session: &mut Session, model: &Model, arrays: &Arrays) -> Result<()> {
    let mut state = 1u32;
    for (i, d) in model.inputs().iter().enumerate() {
        let names = [d.name.clone(), format!("in{i}"), format!("case0_in{i}")];
        match names.iter().find_map(|n| arrays.get(n)) {
            Some(t) => session.input_mut(i).copy_from_tensor(t)?,
            None => session.input_mut(i).copy_from_tensor(&noise(d, &mut state))?,
        }
    }
    Ok(())
}

fn noise(d: &TensorDesc, state: &mut u32) -> Tensor {
    let mut out = Tensor::zeros(d.dtype, d.shape.clone());
    for k in 0..out.len() {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let byte = i64::from(*state >> 24);
        match d.dtype.is_float() {
            true => out.set_f64(k, byte as f64 / 32.0 - 4.0),
            false => out.set_i64(k, byte),
        }
    }
    out
}

/// Times of single runs.
struct Times {
    median_ms: f64,
    min_ms: f64,
    p90_ms: f64,
    runs: usize,
}

/// Runs to warm up, least and most runs to time.
const WARM_UP: usize = 3;
const MIN_RUNS: usize = 3;
const MAX_RUNS: usize = 1_000_000;

impl Times {
    fn measure(session: &mut Session, seconds: f64) -> Result<Times> {
        for _ in 0..WARM_UP {
            session.run()?;
        }
        let mut ms = Vec::new();
        let start = Instant::now();
        while ms.len() < MIN_RUNS
            || (start.elapsed().as_secs_f64() < seconds && ms.len() < MAX_RUNS)
        {
            let run = Instant::now();
            session.run()?;
            ms.push(run.elapsed().as_secs_f64() * 1e3);
        }
        ms.sort_by(f64::total_cmp);
        let at = |q: f64| ms[((ms.len() - 1) as f64 * q).round() as usize];
        Ok(Times { median_ms: at(0.5), min_ms: ms[0], p90_ms: at(0.9), runs: ms.len() })
    }
    fn gmacs_per_s(&self, macs: u64) -> f64 {
        macs as f64 / self.median_ms / 1e6
    }
}
