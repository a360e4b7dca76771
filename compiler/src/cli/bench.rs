//! `qcc bench`: how long one run takes.

use super::{Global, ModelOptions, Outcome};
use crate::layers::layers;
use crate::npz;
use crate::{Model, Result, Session};
use indexmap::IndexMap;
use qcc_runtime::Tensor;
use std::path::PathBuf;
use std::time::Instant;

/// Arguments of `bench`.
#[derive(clap::Args, Debug)]
pub struct BenchArgs {
    /// The model.
    model: PathBuf,
    /// Seconds of timed runs.
    #[arg(long, alias = "min-time", value_name = "S", default_value_t = 1.0)]
    seconds: f64,
    /// Inputs; case0 of a golden file, or arrays by name. Otherwise seeded noise.
    #[arg(long, value_name = "FILE.npz")]
    inputs: Option<PathBuf>,
    /// A table of kernels.
    #[arg(long)]
    profile: bool,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: ModelOptions,
}

/// Times the model.
pub fn bench(args: &BenchArgs, global: &Global) -> Result<Outcome> {
    let mut compiler = args.options.native(global)?;
    compiler.profile = args.profile;
    let source = compiler.read(&args.model)?;
    let model = compiler.compile(&source)?;
    global.report(model.remarks(), &[]);
    let mut session = model.session();
    fill(&mut session, &model, args)?;
    let mut times = measure(&mut session, args.seconds)?;
    times.sort_by(f64::total_cmp);
    let at = |q: f64| times[((times.len() - 1) as f64 * q).round() as usize];
    let info = model.info();
    let (median, gmacs) = (at(0.5), info.macs as f64 / at(0.5) / 1e6);
    if args.profile {
        profile(&mut session, &source);
    }
    if args.json || !args.profile {
        let line = serde_json::json!({
            "engine": "qcc", "model": args.model.display().to_string(),
            "threads": args.options.thread_count()?, "cpu": model.cpu().name(),
            "median_ms": median, "min_ms": times[0], "p90_ms": at(0.9), "runs": times.len(),
            "compile_ms": info.compile_time.as_secs_f64() * 1e3, "code_bytes": info.code_bytes,
            "weights_bytes": info.weights_bytes, "arena_bytes": info.arena_bytes,
            "macs": info.macs, "gmacs_per_s": gmacs,
        });
        if args.json {
            println!("{line}");
        } else {
            println!(
                "{}: median {median:.4} ms, min {:.4}, p90 {:.4} over {} runs; {gmacs:.1} GMAC/s on \
                 {}; compiled in {:.1} ms; code {} bytes, weights {}, arena {}",
                args.model.display(),
                times[0],
                at(0.9),
                times.len(),
                model.cpu().name(),
                info.compile_time.as_secs_f64() * 1e3,
                info.code_bytes,
                info.weights_bytes,
                info.arena_bytes
            );
        }
    }
    Ok(Outcome::Done)
}

/// Inputs from the file, or seeded noise over each input's whole range.
fn fill(session: &mut Session, model: &Model, args: &BenchArgs) -> Result<()> {
    let arrays = match &args.inputs {
        Some(path) => npz::read_npz(path)?,
        None => npz::Arrays::new(),
    };
    let mut state = 1u32;
    for (i, d) in model.inputs().iter().enumerate() {
        let names = [d.name.clone(), format!("in{i}"), format!("case0_in{i}")];
        if let Some(t) = names.iter().find_map(|n| arrays.get(n)) {
            session.input_mut(i).copy_from_tensor(t)?;
            continue;
        }
        let mut noise = Tensor::zeros(d.dtype, d.shape.clone());
        for k in 0..noise.len() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let byte = (state >> 24) as i64;
            match d.dtype.is_float() {
                true => noise.set_f64(k, byte as f64 / 32.0 - 4.0),
                false => noise.set_i64(k, byte),
            }
        }
        session.input_mut(i).copy_from_tensor(&noise)?;
    }
    Ok(())
}

/// Milliseconds of single runs, after three to warm up.
fn measure(session: &mut Session, seconds: f64) -> Result<Vec<f64>> {
    for _ in 0..3 {
        session.run()?;
    }
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 3 || (start.elapsed().as_secs_f64() < seconds && times.len() < 1_000_000) {
        let run = Instant::now();
        session.run()?;
        times.push(run.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// Runs that a profile takes the best of.
const PROFILE_RUNS: usize = 50;

fn profile(session: &mut Session, source: &crate::Source) {
    let mut best: Vec<(String, String, f64)> = session.profile();
    for _ in 1..PROFILE_RUNS {
        for (b, now) in best.iter_mut().zip(session.profile()) {
            b.2 = b.2.min(now.2);
        }
    }
    let macs: IndexMap<String, u64> =
        layers(&source.module).into_iter().map(|l| (l.name, l.macs)).collect();
    let total: f64 = best.iter().map(|b| b.2).sum();
    println!("{:>10} {:>6} {:>12} {:>8} {:<44} node", "us", "share", "MACs", "GMAC/s", "kernel");
    for (node, kernel, time) in &best {
        let is_dot = kernel.contains("conv2d") || kernel.contains("depthwise");
        let macs = if is_dot { macs.get(node).copied().unwrap_or(0) } else { 0 };
        println!(
            "{:10.2} {:5.1}% {macs:12} {:8.1} {kernel:<44} {node}",
            time * 1e6,
            time / total * 100.0,
            macs as f64 / time / 1e9
        );
    }
    println!("{:10.2} total of {} kernel calls", total * 1e6, best.len());
}
