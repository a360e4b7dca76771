//! `qcc inspect`: a model's layers as a table, JSON or a page.

use super::{Global, ModelOptions, Outcome, output};
use crate::layers::{Layer, layers};
use crate::{Result, Source, TensorDesc};
use std::path::PathBuf;

/// Arguments of `inspect`.
#[derive(clap::Args, Debug)]
pub struct InspectArgs {
    /// The model.
    model: PathBuf,
    /// Write a self-contained page.
    #[arg(long, value_name = "REPORT.html")]
    html: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: ModelOptions,
}

/// Prints the layers.
pub fn inspect(args: &InspectArgs, global: &Global) -> Result<Outcome> {
    let compiler = args.options.native(global)?;
    let source = compiler.read(&args.model)?;
    let all = layers(&source.module);
    if let Some(path) = &args.html {
        output::write(path, page(&source, &all).as_bytes())?;
    }
    if args.json {
        output::line(json(&source, &all).to_string())?;
    } else if args.html.is_none() {
        output::write("-".as_ref(), table(&source, &all).as_bytes())?;
    }
    Ok(Outcome::Done)
}

fn table(source: &Source, all: &[Layer]) -> String {
    let mut out = String::new();
    for (kind, descs) in [("input", &source.inputs), ("output", &source.outputs)] {
        for d in descs {
            out += &format!("{kind} '{}' {} {:?}{}\n", d.name, d.dtype, d.shape, parameters(d));
        }
    }
    out += &format!(
        "{:>4} {:<24} {:>12} {:>10} {:<10} {:<40} name\n",
        "#", "op", "MACs", "bytes", "weights", "output"
    );
    for (i, l) in all.iter().enumerate() {
        let index = l.index.map_or(i, |n| n as usize);
        let output = l.outputs.join(", ");
        out += &format!(
            "{index:>4} {:<24} {:>12} {:>10} {:<10} {output:<40} {}\n",
            l.op, l.macs, l.bytes, l.granularity, l.name
        );
    }
    let macs: u64 = all.iter().map(|l| l.macs).sum();
    out + &format!("{} layers, {macs} MACs\n", all.len())
}

/// ` scale 0.5 zero point -1`, or a count of scales along an axis.
fn parameters(d: &TensorDesc) -> String {
    match (d.scales.as_slice(), d.axis) {
        ([], _) => String::new(),
        (scales, Some(axis)) => format!(" {} scales along axis {axis}", scales.len()),
        (scales, None) => {
            let zero_point = d.zero_points.first().copied().unwrap_or(0);
            format!(" scale {} zero point {zero_point}", scales[0])
        }
    }
}

fn json(source: &Source, all: &[Layer]) -> serde_json::Value {
    let descs = |ds: &[TensorDesc]| -> Vec<serde_json::Value> {
        ds.iter()
            .map(|d| {
                serde_json::json!({
                    "name": d.name, "dtype": d.dtype.to_string(), "shape": d.shape,
                    "scales": d.scales, "zero_points": d.zero_points, "axis": d.axis,
                })
            })
            .collect()
    };
    let layers: Vec<_> = all
        .iter()
        .map(|l| {
            serde_json::json!({
                "name": l.name, "index": l.index, "op": l.op, "inputs": l.inputs,
                "outputs": l.outputs, "weights": l.granularity, "macs": l.macs, "bytes": l.bytes,
            })
        })
        .collect();
    serde_json::json!({
        "model": source.file, "inputs": descs(&source.inputs),
        "outputs": descs(&source.outputs), "macs": all.iter().map(|l| l.macs).sum::<u64>(),
        "layers": layers,
    })
}

/// The page that `compile --emit report` writes.
pub fn report(source: &Source) -> String {
    page(source, &layers(&source.module))
}

fn page(source: &Source, all: &[Layer]) -> String {
    let cells = |cells: &[String]| {
        let cells: String = cells.iter().map(|c| format!("<td>{}", escape(c))).collect();
        format!("<tr>{cells}\n")
    };
    let mut tensors = String::new();
    for (kind, descs) in [("input", &source.inputs), ("output", &source.outputs)] {
        for d in descs {
            let ty = format!("{} {:?}", d.dtype, d.shape);
            tensors += &cells(&[kind.into(), d.name.clone(), ty, parameters(d)]);
        }
    }
    let row = |(i, l): (usize, &Layer)| {
        cells(&[
            l.index.map_or(i, |n| n as usize).to_string(),
            l.name.clone(),
            l.op.into(),
            l.inputs.join("; "),
            l.outputs.join("; "),
            l.granularity.into(),
            l.macs.to_string(),
            l.bytes.to_string(),
        ])
    };
    let rows: String = all.iter().enumerate().map(row).collect();
    let macs: u64 = all.iter().map(|l| l.macs).sum();
    format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>{0}</title>\n<style>{STYLE}</style>\n\
         <h1>{0}</h1>\n<p>{1} layers, {macs} multiply-accumulates\n\
         <table><tr><th><th>name<th>type<th>quantization\n{tensors}</table>\n\
         <table><tr><th>#<th>name<th>op<th>inputs<th>outputs<th>weights<th>MACs<th>bytes\n\
         {rows}</table>\n",
        escape(&source.file),
        all.len()
    )
}

const STYLE: &str = "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse;\
    margin:1em 0}td,th{padding:2px 8px;text-align:left;vertical-align:top;border-bottom:1px solid \
    #ddd}";

fn escape(s: &str) -> String {
    s.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
