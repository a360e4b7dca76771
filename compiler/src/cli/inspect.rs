//! `qcc inspect`: a model's layers as a table, JSON or a page.

use super::{Global, ModelOptions, Outcome, output};
use crate::layers::{Layer, layers};
use crate::{Result, Source};
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
        println!("{}", json(&source, &all));
    } else if args.html.is_none() {
        print!("{}", table(&source, &all));
    }
    Ok(Outcome::Done)
}

fn table(source: &Source, all: &[Layer]) -> String {
    let mut out = String::new();
    for (kind, descs) in [("input", &source.inputs), ("output", &source.outputs)] {
        for d in descs {
            out += &format!(
                "{kind} {} {} {:?} scales {:?} zero points {:?}\n",
                d.name, d.dtype, d.shape, d.scales, d.zero_points
            );
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

fn json(source: &Source, all: &[Layer]) -> serde_json::Value {
    let descs = |ds: &[crate::TensorDesc]| -> Vec<serde_json::Value> {
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
        "outputs": descs(&source.outputs), "layers": layers,
    })
}

/// The page that `compile --emit report` writes.
pub fn report(source: &Source) -> String {
    page(source, &layers(&source.module))
}

fn page(source: &Source, all: &[Layer]) -> String {
    let escape = |s: &str| s.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let rows: String = all
        .iter()
        .enumerate()
        .map(|(i, l)| {
            format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
                 <td>{}</td></tr>\n",
                l.index.map_or(i, |n| n as usize),
                escape(&l.name),
                l.op,
                escape(&l.outputs.join(", ")),
                l.granularity,
                l.macs,
                l.bytes
            )
        })
        .collect();
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>{0}</title><style>body{{font:14px \
         sans-serif}}td,th{{padding:2px 8px;text-align:left;border-bottom:1px solid \
         #ddd}}</style><h1>{0}</h1><table><tr><th>#<th>name<th>op<th>output<th>weights<th>MACs\
         <th>bytes</tr>\n{rows}</table>\n",
        escape(&source.file)
    )
}
