//! `qcc run`: arrays or an image through a model.

mod image_input;
mod resize;

use super::{Global, ModelOptions, Outcome, output};
use crate::npz::{self, Arrays};
use crate::{Error, Model, Result, files};
use qcc_runtime::{DType, Tensor, TensorDesc};
use std::path::{Path, PathBuf};

/// Arguments of `run`.
#[derive(clap::Args, Debug)]
pub struct RunArgs {
    /// The model.
    model: PathBuf,
    /// One input, as NAME=FILE.npy.
    #[arg(long, value_name = "NAME=FILE.npy")]
    input: Vec<String>,
    /// All inputs: arrays named as the model's inputs, or in0, in1, …
    #[arg(long, value_name = "FILE.npz")]
    inputs: Option<PathBuf>,
    /// A PNG or JPEG for the first input, resized to it. Inputs of 8 bits that span 0 to 1 or -1
    /// to 1 get the pixels' bytes (signed: less 128), others the real number pixel / 255.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Where to write out0, out1, …
    #[arg(long, value_name = "FILE.npz")]
    output: Option<PathBuf>,
    /// Print the K largest elements of the first output.
    #[arg(long, value_name = "K")]
    top: Option<usize>,
    /// Names of the first output's elements, one a line.
    #[arg(long, value_name = "FILE", requires = "top")]
    labels: Option<PathBuf>,
    #[command(flatten)]
    options: ModelOptions,
}

/// Runs the model on what was given.
pub fn run(args: &RunArgs, global: &Global) -> Result<Outcome> {
    let mut compiler = args.options.native(global)?;
    compiler.keep_source = false;
    let model = compiler.compile_file(&args.model)?;
    global.report(model.remarks(), &[]);
    let given = given_inputs(args, &model)?;
    let outputs = run_slices(&model, &given)?;
    if let Some(path) = &args.output {
        let names: Vec<String> = (0..outputs.len()).map(|j| format!("out{j}")).collect();
        let pairs = names.iter().map(String::as_str).zip(&outputs);
        output::write(path, &npz::npz_bytes(pairs)?)?;
    }
    if let Some(k) = args.top {
        let first = model.outputs().first().zip(outputs.first());
        let (desc, out) = first.ok_or_else(|| Error::Input("the model has no output".into()))?;
        print_top(k, args.labels.as_deref(), desc, out)?;
    } else if args.output.is_none() && !global.quiet {
        for (d, t) in model.outputs().iter().zip(&outputs) {
            output::line(format!("{} {} {:?} {}", d.name, t.dtype(), t.shape(), first(t)))?;
        }
    }
    Ok(Outcome::Done)
}

/// Elements that are printed of a large output.
const N_SHOWN: usize = 16;

fn first(t: &Tensor) -> String {
    let shown: Vec<String> = (0..t.len().min(N_SHOWN)).map(|i| t.get_f64(i).to_string()).collect();
    let more = if t.len() > N_SHOWN { ", …" } else { "" };
    format!("[{}{more}]", shown.join(", "))
}

/// One tensor per input of the model.
fn given_inputs(args: &RunArgs, model: &Model) -> Result<Vec<Tensor>> {
    let mut arrays = match &args.inputs {
        Some(path) => npz::read_npz_with(path, &|name| position(model, name).is_some())?,
        None => Arrays::new(),
    };
    for pair in &args.input {
        let (name, file) = pair
            .rsplit_once('=')
            .ok_or_else(|| Error::Usage(format!("--input {pair}: expected NAME=FILE.npy")))?;
        if position(model, name).is_none() {
            let names: Vec<&str> = model.inputs().iter().map(|d| d.name.as_str()).collect();
            return Err(Error::Input(format!(
                "--input {pair}: the model has no input '{name}'; its inputs are: {}",
                names.join(", ")
            )));
        }
        arrays.insert(name.to_string(), npz::read_npy(Path::new(file))?);
    }
    if let Some(path) = &args.image {
        let desc = model.inputs().first();
        let desc = desc.ok_or_else(|| Error::Input("--image: the model has no input".into()))?;
        arrays.insert(desc.name.clone(), image_input::read_image(path, desc)?);
    }
    let find = |(i, d): (usize, &TensorDesc)| {
        let names = [d.name.clone(), format!("in{i}"), format!("case0_in{i}")];
        let found = names.iter().find_map(|n| arrays.get(n));
        let found = found.ok_or_else(|| {
            let names: Vec<&str> = arrays.keys().map(String::as_str).collect();
            let names = if names.is_empty() { "nothing".into() } else { names.join(", ") };
            Error::Tensor(format!(
                "input '{}' ({} {:?}) is missing: give it with --input, --inputs (as '{}' or \
                 'in{i}') or --image; given: {names}",
                d.name, d.dtype, d.shape, d.name
            ))
        })?;
        convert(d, found)
    };
    model.inputs().iter().enumerate().map(find).collect()
}

/// Which input is called `name`, or `in{i}`.
fn position(model: &Model, name: &str) -> Option<usize> {
    let inputs = model.inputs();
    let by_name = inputs.iter().position(|d| d.name == name);
    by_name.or_else(|| (0..inputs.len()).find(|i| name == format!("in{i}")))
}

/// Float arrays become codes where the input is quantized; anything else must match.
fn convert(d: &TensorDesc, t: &Tensor) -> Result<Tensor> {
    let float = t.dtype() == DType::F32 || t.dtype() == DType::F64;
    if t.dtype() == d.dtype {
        return Ok(t.clone());
    }
    if !float || d.scales.len() != 1 {
        return Err(Error::Tensor(format!(
            "input '{}' is {} {:?}, the array given for it is {} {:?}",
            d.name,
            d.dtype,
            d.shape,
            t.dtype(),
            t.shape()
        )));
    }
    let one = TensorDesc { shape: t.shape().to_vec(), ..d.clone() };
    let values: Vec<f32> = t.to_f64_vec().into_iter().map(|v| v as f32).collect();
    one.quantize(&values).map_err(|e| Error::Tensor(format!("input '{}': {e}", d.name)))
}

/// Runs slices of the leading dimension; outputs joined along it.
fn run_slices(model: &Model, given: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut slices = None;
    for (d, t) in model.inputs().iter().zip(given) {
        let n = slices_of(d, t)?;
        if *slices.get_or_insert(n) != n {
            let name = &d.name;
            return Err(Error::Tensor(format!("input '{name}' has another number of slices")));
        }
    }
    let slices = slices.unwrap_or(1);
    let mut session = model.session();
    let mut joined: Vec<Vec<u8>> = vec![vec![]; model.outputs().len()];
    for k in 0..slices {
        for (i, (d, t)) in model.inputs().iter().zip(given).enumerate() {
            let bytes = &t.bytes()[k * d.bytes()..(k + 1) * d.bytes()];
            let slice = Tensor::from_bytes(d.dtype, d.shape.clone(), bytes);
            let slice = slice.map_err(|e| Error::Tensor(e.to_string()))?;
            session.input_mut(i).copy_from_tensor(&slice)?;
        }
        session.run()?;
        for (j, out) in joined.iter_mut().enumerate() {
            out.extend_from_slice(session.output(j).tensor().bytes());
        }
    }
    let finish = |(d, bytes): (&TensorDesc, Vec<u8>)| {
        let mut shape = d.shape.clone();
        if let (true, Some(first)) = (slices > 1, shape.first_mut()) {
            *first *= slices;
        }
        Tensor::from_bytes(d.dtype, shape, &bytes).map_err(|e| Error::Tensor(e.to_string()))
    };
    model.outputs().iter().zip(joined).map(finish).collect()
}

/// How many runs an array is good for.
fn slices_of(d: &TensorDesc, t: &Tensor) -> Result<usize> {
    let fits = t.shape().len() == d.shape.len() && t.shape().get(1..) == d.shape.get(1..);
    let n = if d.is_empty() { 1 } else { t.len() / d.len() };
    if n >= 1 && n * d.len() == t.len() && (fits || n == 1) {
        return Ok(n);
    }
    Err(Error::Tensor(format!(
        "input '{}' has shape {:?}, the array given for it {:?}; only the leading dimension may be \
         a multiple",
        d.name,
        d.shape,
        t.shape()
    )))
}

fn print_top(k: usize, labels: Option<&Path>, d: &TensorDesc, t: &Tensor) -> Result<()> {
    let labels: Vec<String> = match labels {
        Some(p) => files::read_text(p)?.lines().map(str::to_string).collect(),
        None => vec![],
    };
    let per_run = d.len().max(1);
    let shape = TensorDesc { shape: t.shape().to_vec(), ..d.clone() };
    let reals = shape.dequantize(t);
    for (r, row) in reals.chunks(per_run).enumerate() {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
        if reals.len() > per_run {
            output::line(format!("run {r}:"))?;
        }
        for &i in order.iter().take(k) {
            let label = labels.get(i).map_or("", String::as_str);
            output::line(format!("{i:6} {:9.5} {label}", row[i]).trim_end())?;
        }
    }
    Ok(())
}
