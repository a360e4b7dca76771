//! What a model's layers are: for people, reports and profiles.

use qcc_ir::dialect::{OpKind, quant};
use qcc_ir::{Elem, Func, Module, OpId, TensorType, Value};

/// One op of a model.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Name in the source model.
    pub name: String,
    /// Index in the source model's order.
    pub index: Option<u32>,
    /// `dialect.mnemonic`.
    pub op: &'static str,
    /// Input types.
    pub inputs: Vec<String>,
    /// Output types.
    pub outputs: Vec<String>,
    /// How the weights are quantized: `per-axis`, `per-tensor` or empty.
    pub granularity: &'static str,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes of inputs, constants and outputs.
    pub bytes: u64,
}

/// The layers of `main`, in order; constants are left out.
pub fn layers(m: &Module) -> Vec<Layer> {
    let Some(main) = m.main().map(|id| &m.funcs[id]) else { return vec![] };
    let is_layer = |op: &&OpId| !matches!(main.kind(**op), OpKind::Core(_));
    main.body_ops().iter().filter(is_layer).map(|&op| layer(m, main, op)).collect()
}

fn layer(m: &Module, f: &Func, op: OpId) -> Layer {
    let loc = f.op(op).loc;
    let tensors = |vs: &[Value]| -> Vec<TensorType> {
        vs.iter().filter_map(|&v| f.ty(v).as_tensor().cloned()).collect()
    };
    let (inputs, outputs) = (tensors(f.operands(op)), tensors(f.results(op)));
    let granularity = match inputs.get(1).and_then(|w| w.quant_type()) {
        Some(q) if has_weights(f.kind(op)) => {
            if q.uniform().is_some() {
                "per-tensor"
            } else {
                "per-axis"
            }
        }
        _ => "",
    };
    Layer {
        name: m.locs.describe(loc),
        index: m.locs.node_index(loc),
        op: f.kind(op).name(),
        inputs: inputs.iter().map(describe).collect(),
        outputs: outputs.iter().map(describe).collect(),
        granularity,
        macs: macs(f.kind(op), &inputs, &outputs),
        bytes: inputs.iter().chain(&outputs).map(|t| t.bytes()).sum(),
    }
}

fn has_weights(kind: &OpKind) -> bool {
    use quant::Op::*;
    matches!(kind, OpKind::Quant(Conv2d(_) | DepthwiseConv2d(_) | FullyConnected(_)))
}

/// Products that an op adds up.
fn macs(kind: &OpKind, inputs: &[TensorType], outputs: &[TensorType]) -> u64 {
    let (Some(y), Some(w)) = (outputs.first(), inputs.get(1)) else { return 0 };
    let per_output = match kind {
        OpKind::Quant(quant::Op::Conv2d(_)) => w.shape[1..].iter().product(),
        OpKind::Quant(quant::Op::DepthwiseConv2d(_)) => w.shape[1] * w.shape[2],
        OpKind::Quant(quant::Op::FullyConnected(_)) => w.shape.get(1).copied().unwrap_or(0),
        _ => 0,
    };
    per_output * y.len()
}

/// `1x8x8x3 i8 s=0.5 z=-1`, scales per axis as a count.
fn describe(t: &TensorType) -> String {
    let shape: Vec<String> = t.shape.iter().map(u64::to_string).collect();
    let elem = match &t.elem {
        Elem::Plain(d) => d.to_string(),
        Elem::Quant(q) => match q.uniform() {
            Some(a) => format!("{} s={} z={}", q.storage, a.scale, a.zero_point),
            None => format!("{} {} scales", q.storage, q.affines().len()),
        },
    };
    format!("{} {elem}", if shape.is_empty() { "scalar".into() } else { shape.join("x") })
}
