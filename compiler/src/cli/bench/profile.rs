//! `bench --profile`: where the time of a run goes.
//!
//! A row for each layer of the model, in the model's own names. "of roof" compares a layer with
//! the roofline of this machine: the time that its multiply-accumulates would take at the rate of
//! the best matrix product that qcc makes for this CPU level, or that its bytes would take at the
//! speed of a copy within the cache, whichever is longer. Both rates are measured before.

use super::super::output;
use crate::layers::Layer;
use crate::{Compiler, DType, Result, Session};
use indexmap::IndexMap;
use qcc_ir::builder::Builder;
use qcc_ir::dialect::quant::{Act, FullyConnected};
use qcc_ir::{FuncKind, Level, Module, Numerics, QuantType, TensorType, Type};
use std::sync::Arc;
use std::time::Instant;

/// One layer.
pub struct Row {
    /// The source nodes it computes.
    pub node: String,
    /// Best time of a run, seconds.
    pub seconds: f64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes of inputs, constants and outputs.
    pub bytes: u64,
    /// Kernel calls and their seconds.
    pub calls: Vec<(String, f64)>,
}

/// The roofline's two slopes.
pub struct Roof {
    /// Multiply-accumulates per second.
    pub macs_per_s: f64,
    /// Bytes per second.
    pub bytes_per_s: f64,
}

/// Runs that a profile takes the best of.
const N_RUNS: usize = 50;

/// Times every kernel call; rows in the order of the first call.
pub fn rows(session: &mut Session, layers: &[Layer]) -> Vec<Row> {
    let mut best = session.profile();
    for _ in 1..N_RUNS {
        for (b, now) in best.iter_mut().zip(session.profile()) {
            b.2 = b.2.min(now.2);
        }
    }
    let mut out: IndexMap<String, Row> = IndexMap::new();
    for (node, kernel, seconds) in best {
        let row = out.entry(node).or_insert_with_key(|node| empty_row(node, layers));
        row.seconds += seconds;
        row.calls.push((kernel, seconds));
    }
    out.into_values().collect()
}

fn empty_row(node: &str, layers: &[Layer]) -> Row {
    let is_part = |l: &&Layer| l.name == node || node.split(" + ").any(|n| n == l.name);
    let (mut macs, mut bytes) = (0, 0);
    for layer in layers.iter().filter(is_part) {
        macs += layer.macs;
        bytes += layer.bytes;
    }
    Row { node: node.to_string(), seconds: 0.0, macs, bytes, calls: vec![] }
}

impl Row {
    /// Which part of the roofline's rate it reaches.
    pub fn of_roof(&self, roof: &Roof) -> f64 {
        let (macs, bytes) = (self.macs as f64, self.bytes as f64);
        (macs / roof.macs_per_s).max(bytes / roof.bytes_per_s) / self.seconds
    }
    /// The kernel that takes most of the time.
    pub fn main_kernel(&self) -> &str {
        let slowest = self.calls.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        slowest.map_or("", |(kernel, _)| kernel)
    }
}

/// Prints the table; with every kernel call when `verbose`.
pub fn print(rows: &[Row], roof: &Roof, verbose: bool) -> Result<()> {
    let total: f64 = rows.iter().map(|r| r.seconds).sum();
    output::line(format!(
        "{:>10} {:>6} {:>12} {:>7} {:>10} {:>7}  {:<40} layer",
        "us", "share", "MACs", "GMAC/s", "bytes", "of roof", "kernel"
    ))?;
    for r in rows {
        let more = match r.calls.len() {
            1 => String::new(),
            n => format!(" +{}", n - 1),
        };
        output::line(format!(
            "{:10.2} {:5.1}% {:12} {:7.1} {:10} {:6.0}%  {:<40} {}",
            r.seconds * 1e6,
            r.seconds / total * 100.0,
            r.macs,
            r.macs as f64 / r.seconds / 1e9,
            r.bytes,
            r.of_roof(roof) * 100.0,
            format!("{}{more}", r.main_kernel()),
            r.node
        ))?;
        for (kernel, seconds) in r.calls.iter().filter(|_| verbose) {
            output::line(format!("{:10.2}   {kernel}", seconds * 1e6))?;
        }
    }
    let calls: usize = rows.iter().map(|r| r.calls.len()).sum();
    output::line(format!(
        "{:10.2} in {calls} kernel calls; roof: {:.1} GMAC/s, {:.1} GB/s",
        total * 1e6,
        roof.macs_per_s / 1e9,
        roof.bytes_per_s / 1e9
    ))
}

/// Measures the roofline for the compiler's CPU level.
pub fn measure_roof(compiler: &Compiler) -> Result<Roof> {
    let mut session = compiler.compile_graph(matrix_product())?.session();
    let mut failed = Ok(());
    let product = best_seconds(|| failed = session.run());
    failed?;
    let (from, mut to) = (vec![1u8; COPY_BYTES], vec![0u8; COPY_BYTES]);
    let copy = best_seconds(|| {
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&mut to);
    });
    let macs = (ROWS * INNER * COLUMNS) as f64;
    Ok(Roof { macs_per_s: macs / product, bytes_per_s: 2.0 * COPY_BYTES as f64 / copy })
}

/// Half of this fits the first-level cache of any CPU that is served, all of it the second.
const COPY_BYTES: usize = 64 << 10;

fn best_seconds(mut run: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..N_RUNS).map(time).fold(f64::INFINITY, f64::min)
}

/// Extents of the matrix product that stands for what the CPU can do.
const ROWS: usize = 192;
const INNER: usize = 512;
const COLUMNS: usize = 96;

/// A quantized matrix product whose operands fit the second-level cache.
fn matrix_product() -> Module {
    let mut m = Module::new("roof", Level::Quant, Numerics::TfLite);
    let quantized = |shape: [usize; 2], scale, zero_point| {
        let q = QuantType::per_tensor(DType::I8, scale, zero_point);
        Type::from(TensorType::quant(&shape.map(|n| n as u64), Arc::new(q)))
    };
    let x = quantized([ROWS, INNER], 0.02, 3);
    let mut b = Builder::add_func(&mut m, "main", FuncKind::Main, &[x]);
    let weights: Vec<u8> = (0..COLUMNS * INNER).map(|i| (i * 73 % 255) as u8).collect();
    let weights = b.constant("w", weights, quantized([COLUMNS, INNER], 0.01, 0));
    let bias = Type::tensor(&[COLUMNS as u64], DType::I32);
    let bias = b.constant("bias", vec![0u8; 4 * COLUMNS], bias);
    let x = b.param(0);
    let y = quantized([ROWS, COLUMNS], 0.5, 0);
    let y = b.op1(FullyConnected { act: Act::None }, &[x, weights, bias], y);
    b.ret(&[y]);
    m
}
