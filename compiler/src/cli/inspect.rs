//! `qcc inspect`: a model's layers as a table, JSON or a page.

mod graph;
mod page;
mod svg;

use super::{Global, ModelOptions, Outcome, output};
use crate::layers::{self, Layer, LayerTensor, layers};
use crate::{Result, Source, TensorDesc};
pub(super) use page::report;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Arguments of `inspect`.
#[derive(clap::Args, Debug)]
pub struct InspectArgs {
    /// The model.
    model: PathBuf,
    /// Write a self-contained page: the graph before and after each stage, layers, remarks.
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
    compiler.check_integer(&source.module, &source.file)?;
    let all = layers(&source.module);
    if let Some(path) = &args.html {
        output::write(path, report(&compiler, &source).as_bytes())?;
    }
    if args.json {
        output::line(as_json(&source, &all).to_string())?;
    } else if args.html.is_none() {
        output::write("-".as_ref(), table(&source, &all).as_bytes())?;
    }
    Ok(Outcome::Done)
}

fn table(source: &Source, all: &[Layer]) -> String {
    let mut out = String::new();
    for (kind, descs) in [("input", &source.inputs), ("output", &source.outputs)] {
        for d in descs {
            out += &format!("{kind} '{}' {}\n", d.name, layers::describe(d));
        }
    }
    let rows: Vec<[String; 8]> = all.iter().enumerate().map(|(i, l)| row(i, l)).collect();
    let head = ["#", "op", "MACs", "bytes", "weights", "inputs", "output", "name"];
    let width = |k: usize| {
        let cells = rows.iter().map(|r| r[k].chars().count());
        cells.max().unwrap_or(0).max(head[k].len())
    };
    let widths: [usize; 8] = std::array::from_fn(width);
    for r in [head.map(String::from)].iter().chain(&rows) {
        let cell = |(k, text): (usize, &String)| match k {
            0 | 2 | 3 => format!("{text:>0$}", widths[k]),
            _ => format!("{text:<0$}", widths[k]),
        };
        let cells: Vec<String> = r.iter().enumerate().map(cell).collect();
        out += cells.join("  ").trim_end();
        out += "\n";
    }
    let sum = Totals::of(all);
    let Totals { macs, const_bytes, bytes } = sum;
    out + &format!(
        "{} layers, {macs} MACs, {const_bytes} bytes of constants, {bytes} bytes read and written\n",
        all.len()
    )
}

fn row(i: usize, l: &Layer) -> [String; 8] {
    let join = |ts: Vec<&LayerTensor>| {
        ts.iter().map(|t| layers::describe(&t.desc)).collect::<Vec<_>>().join(", ")
    };
    let weights = match l.weights() {
        Some(w) => format!("{} {} {}", layers::shape(w), w.dtype, l.granularity()),
        None => String::new(),
    };
    [
        l.index.map_or(i, |n| n as usize).to_string(),
        l.op.into(),
        l.macs.to_string(),
        l.bytes.to_string(),
        weights.trim_end().into(),
        join(l.inputs.iter().filter(|t| !t.constant).collect()),
        join(l.outputs.iter().collect()),
        l.name.clone(),
    ]
}

/// Sums over layers.
struct Totals {
    macs: u64,
    const_bytes: u64,
    bytes: u64,
}

impl Totals {
    fn of(all: &[Layer]) -> Totals {
        Totals {
            macs: all.iter().map(|l| l.macs).sum(),
            const_bytes: all.iter().map(Layer::const_bytes).sum(),
            bytes: all.iter().map(|l| l.bytes).sum(),
        }
    }
}

fn as_json(source: &Source, all: &[Layer]) -> Value {
    let tensor = |d: &TensorDesc| {
        json!({
            "name": d.name, "dtype": d.dtype.to_string(), "shape": d.shape,
            "scales": d.scales, "zero_points": d.zero_points, "axis": d.axis,
        })
    };
    let tensors = |ds: &[TensorDesc]| ds.iter().map(tensor).collect::<Vec<_>>();
    let of_layer = |ts: &[LayerTensor]| {
        let one = |t: &LayerTensor| {
            let mut value = tensor(&t.desc);
            value["constant"] = t.constant.into();
            value
        };
        ts.iter().map(one).collect::<Vec<_>>()
    };
    let layer = |l: &Layer| {
        json!({
            "name": l.name, "index": l.index, "op": l.op, "inputs": of_layer(&l.inputs),
            "outputs": of_layer(&l.outputs), "weights": l.granularity(), "macs": l.macs,
            "bytes": l.bytes, "const_bytes": l.const_bytes(),
        })
    };
    let sum = Totals::of(all);
    json!({
        "model": source.file, "level": source.module.level.name(),
        "inputs": tensors(&source.inputs), "outputs": tensors(&source.outputs),
        "macs": sum.macs, "const_bytes": sum.const_bytes, "bytes": sum.bytes,
        "layers": all.iter().map(layer).collect::<Vec<_>>(),
    })
}
