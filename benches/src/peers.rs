//! qcc next to other engines: interleaved rounds, medians, ratios, a chart.
//!
//! ```text
//! cargo run --release --bin bench-peers -- MODEL… [--threads N] [--cpu LEVEL] [--rounds N]
//!     [--min-time S] [--svg FILE]
//! ```
//!
//! Builds `qcc`, makes a Python virtual environment under `target/` with the engines from PyPI, and lets
//! every engine that reads a model time one batch a round, in turn: slow phases of the machine hit all
//! of them. An engine that cannot run a model is left out, and said so. Prints a Markdown table; draws
//! it as a bar chart with `--svg`. `--cpu` limits qcc to a CPU level, and OpenVINO (whose kernels are
//! oneDNN's) to the same instructions; LiteRT and ONNX Runtime have no such switch.

use serde_json::Value;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What the engines need from PyPI.
const PACKAGES: [&str; 4] = ["numpy", "ai-edge-litert", "openvino", "onnxruntime"];

const USAGE: &str = "usage: bench-peers MODEL… [--threads N] [--cpu LEVEL] [--rounds N] \
                     [--min-time S] [--svg FILE]";

/// One engine's median on one model.
struct Bar {
    engine: String,
    median_ms: f64,
}

/// Medians of a model's engines, qcc first.
struct Row {
    model: String,
    bars: Vec<Bar>,
}

struct Options {
    models: Vec<PathBuf>,
    threads: usize,
    cpu: Option<String>,
    rounds: usize,
    min_time: f64,
    svg: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = options()?;
    let qcc = build_qcc()?;
    let python = environment()?;
    let mut rows = Vec::new();
    for path in &options.models {
        let model = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        rows.push(Row { model, bars: measure(path, &options, (&qcc, &python))? });
    }
    println!("{}", table(&rows, &options));
    if let Some(path) = &options.svg {
        std::fs::write(path, chart(&rows, &options))?;
    }
    Ok(())
}

fn options() -> Result<Options> {
    let mut out =
        Options { models: vec![], threads: 1, cpu: None, rounds: 5, min_time: 0.5, svg: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--threads" => out.threads = value()?.parse()?,
            "--rounds" => out.rounds = value()?.parse()?,
            "--cpu" => out.cpu = Some(value()?),
            "--min-time" => out.min_time = value()?.parse()?,
            "--svg" => out.svg = Some(value()?.into()),
            option if option.starts_with("--") => return Err(USAGE.into()),
            _ => out.models.push(arg.into()),
        }
    }
    match out.models.is_empty() || out.rounds == 0 {
        true => Err(USAGE.into()),
        false => Ok(out),
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a command whose output goes to standard error; it must succeed.
fn succeed(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::from(std::io::stderr())).status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

fn build_qcc() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let args = ["build", "--release", "--quiet", "-p", "qcc"];
    succeed(Command::new(cargo).args(args).current_dir(repository()))?;
    Ok(repository().join("target/release/qcc"))
}

/// The Python of an environment that has the engines.
fn environment() -> Result<PathBuf> {
    let folder = repository().join("target/peers-venv");
    let python = folder.join("bin/python");
    if !python.exists() {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    let args = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    succeed(Command::new(&python).args(args).args(PACKAGES))?;
    Ok(python)
}

/// A peer in a process of its own, waiting for a line to time a batch.
struct Peer {
    child: Child,
    answers: std::io::Lines<BufReader<std::process::ChildStdout>>,
    version: String,
    medians: Vec<f64>,
}

impl Peer {
    fn start(python: &Path, engine: &str, model: &Path, o: &Options) -> Result<Peer> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers.py");
        let mut command = Command::new(python);
        command.arg(script).arg(engine).arg(model);
        command.args([o.threads.to_string(), o.min_time.to_string()]);
        if let Some(isa) = o.cpu.as_deref().and_then(onednn_isa) {
            command.env("ONEDNN_MAX_CPU_ISA", isa);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let out = child.stdout.take().ok_or("no standard output")?;
        let mut answers = BufReader::new(out).lines();
        let line = answers.next().ok_or("it cannot run the model")??;
        let version = serde_json::from_str::<Value>(&line)?["version"].as_str().map(String::from);
        Ok(Peer { child, answers, version: version.ok_or("no version")?, medians: vec![] })
    }

    fn batch(&mut self) -> Result<()> {
        writeln!(self.child.stdin.as_mut().ok_or("no standard input")?)?;
        let line = self.answers.next().ok_or("it stopped")??;
        let ms = serde_json::from_str::<Value>(&line)?["median_ms"].as_f64();
        self.medians.push(ms.ok_or("no median")?);
        Ok(())
    }
}

/// oneDNN's name for the instructions of a CPU level.
fn onednn_isa(level: &str) -> Option<&'static str> {
    Some(match level {
        "x86-64" | "x86-64-v2" => "SSE41",
        "x86-64-v3" => "AVX2",
        "avxvnni" => "AVX2_VNNI",
        "x86-64-v4" => "AVX512_CORE",
        "avx512vnni" => "AVX512_CORE_VNNI",
        _ => return None,
    })
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends when its standard input does; in any case nothing waits for it any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn qcc_batch(qcc: &Path, model: &Path, o: &Options) -> Result<f64> {
    let mut command = Command::new(qcc);
    command.arg("bench").arg(model).arg("--json");
    command.args(["--threads", &o.threads.to_string(), "--min-time", &o.min_time.to_string()]);
    if let Some(cpu) = &o.cpu {
        command.args(["--cpu", cpu]);
    }
    let out = command.stderr(Stdio::inherit()).output()?;
    let line: Value = serde_json::from_slice(&out.stdout)
        .map_err(|e| format!("qcc bench {}: {e}", model.display()))?;
    Ok(line["median_ms"].as_f64().ok_or("no median_ms")?)
}

/// Medians over the rounds, qcc first.
fn measure(model: &Path, o: &Options, (qcc, python): (&Path, &Path)) -> Result<Vec<Bar>> {
    let engines: &[&str] = match model.extension().and_then(|e| e.to_str()) {
        Some("tflite") => &["litert", "openvino"],
        Some("onnx") => &["onnxruntime", "openvino"],
        _ => &[],
    };
    let mut peers = Vec::new();
    for engine in engines {
        match Peer::start(python, engine, model, o) {
            Ok(peer) => peers.push(peer),
            Err(e) => eprintln!("{}: {engine} left out: {e}", model.display()),
        }
    }
    let mut own = Vec::new();
    for _ in 0..o.rounds {
        own.push(qcc_batch(qcc, model, o)?);
        for peer in &mut peers {
            peer.batch()?;
        }
    }
    let bar = |engine: String, medians: Vec<f64>| Bar { engine, median_ms: median(medians) };
    let mut bars = vec![bar("qcc".into(), own)];
    bars.extend(peers.iter_mut().map(|p| bar(p.version.clone(), std::mem::take(&mut p.medians))));
    Ok(bars)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The CPU as the system names it.
fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("model name"));
    let cpu = line.map_or("unknown CPU", |l| l.trim_start_matches([' ', '\t', ':']));
    let n = std::thread::available_parallelism().map_or(1, |n| n.get());
    format!("{cpu}, {n} CPUs, {}", std::env::consts::OS)
}

/// What was measured, and where.
fn title(o: &Options) -> String {
    let cpu = o.cpu.as_ref().map_or(String::new(), |cpu| format!(", limited to {cpu}"));
    let s = if o.threads == 1 { "" } else { "s" };
    format!("{}; {} thread{s}{cpu}; median time of a run", machine(), o.threads)
}

/// One line a model: milliseconds of each engine, and how many times as long the fastest other takes.
fn table(rows: &[Row], o: &Options) -> String {
    let mut engines: Vec<&str> = Vec::new();
    for bar in rows.iter().flat_map(|row| &row.bars) {
        if !engines.contains(&bar.engine.as_str()) {
            engines.push(&bar.engine);
        }
    }
    let mut out = format!("{}\n\n| model |", title(o));
    engines.iter().for_each(|engine| out += &format!(" {engine} ms |"));
    out += " fastest other / qcc |\n| --- |";
    out += &" --- |".repeat(engines.len() + 1);
    for row in rows {
        let _ = write!(out, "\n| {} |", row.model);
        for engine in &engines {
            let bar = row.bars.iter().find(|bar| bar.engine == *engine);
            out += &bar.map_or(" – |".to_string(), |bar| format!(" {} |", digits(bar.median_ms)));
        }
        let fastest = row.bars[1..].iter().map(|bar| bar.median_ms).fold(f64::NAN, f64::min);
        let ratio = fastest / row.bars[0].median_ms;
        out += &if ratio.is_nan() { " – |".to_string() } else { format!(" {ratio:.2} |") };
    }
    out
}

/// Three significant digits.
fn digits(ms: f64) -> String {
    let decimals = (2 - ms.log10().floor() as i32).clamp(0, 6);
    format!("{ms:.*}", decimals as usize)
}

/// Bars of each model's times relative to its slowest engine.
fn chart(rows: &[Row], o: &Options) -> String {
    let (row, left, width) = (22, 210, 420);
    let mut y = 40;
    let mut body = String::new();
    let text = |s: &str| s.replace('&', "&amp;").replace('<', "&lt;");
    for Row { model, bars } in rows {
        let slowest = bars.iter().map(|b| b.median_ms).fold(0.0, f64::max);
        let _ =
            writeln!(body, "<text class=\"m\" x=\"12\" y=\"{}\">{}</text>", y + 14, text(model));
        y += row;
        for (i, b) in bars.iter().enumerate() {
            let w = (b.median_ms / slowest * f64::from(width)).max(1.0);
            let class = if i == 0 { "q" } else { "p" };
            let _ = writeln!(
                body,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><rect class=\"{class}\" \
                 x=\"{left}\" y=\"{y}\" width=\"{w:.1}\" height=\"{}\" rx=\"3\"/><text x=\"{:.1}\" \
                 y=\"{}\">{} ms</text>",
                left - 8,
                y + 13,
                text(&b.engine),
                row - 5,
                f64::from(left) + w + 6.0,
                y + 13,
                digits(b.median_ms)
            );
            y += row;
        }
        y += 10;
    }
    let (total, title) = (left + width + 90, text(&title(o)));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{total}\" height=\"{y}\" \
         viewBox=\"0 0 {total} {y}\"><style>text{{font:12px system-ui,sans-serif;fill:#1c2430}}\
         .m{{font-weight:600}}.q{{fill:#3b6fd4}}.p{{fill:#b6bec9}}.b{{fill:#fff}}</style>\n\
         <rect class=\"b\" width=\"100%\" height=\"100%\"/>\n\
         <text x=\"12\" y=\"22\">{title}, shorter is better</text>\n{body}</svg>\n"
    )
}
