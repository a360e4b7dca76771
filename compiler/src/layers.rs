//! What a model's layers are: for people, reports and profiles.

use crate::source::describe_type;
use qcc_ir::dialect::{OpKind, core};
use qcc_ir::{Func, Module, OpId, Value};
use qcc_runtime::TensorDesc;

/// One op of a model.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Name in the source model.
    pub name: String,
    /// Index in the source model's order.
    pub index: Option<u32>,
    /// `dialect.mnemonic`.
    pub op: &'static str,
    /// What it reads.
    pub inputs: Vec<LayerTensor>,
    /// What it computes.
    pub outputs: Vec<LayerTensor>,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes of inputs, constants and outputs.
    pub bytes: u64,
}

/// A tensor that a layer reads or computes.
#[derive(Clone, Debug)]
pub struct LayerTensor {
    /// Shape, type and parameters; by the value's name, which may be empty.
    pub desc: TensorDesc,
    /// Part of the model rather than computed.
    pub constant: bool,
}

impl Layer {
    /// The weights: the first constant of two or more dimensions of an op that multiplies by it.
    pub fn weights(&self) -> Option<&TensorDesc> {
        let found = self.inputs.iter().find(|t| t.constant && t.desc.shape.len() > 1);
        found.map(|t| &t.desc).filter(|_| self.macs > 0)
    }
    /// How the weights are quantized: `per-axis`, `per-tensor`, or empty.
    pub fn granularity(&self) -> &'static str {
        match self.weights() {
            Some(w) if w.scales.is_empty() => "",
            Some(w) if w.axis.is_some() => "per-axis",
            Some(_) => "per-tensor",
            None => "",
        }
    }
    /// Bytes of constants.
    pub fn const_bytes(&self) -> u64 {
        self.inputs.iter().filter(|t| t.constant).map(|t| t.desc.bytes() as u64).sum()
    }
}

/// The layers of `main`, in order; constants are left out.
pub fn layers(m: &Module) -> Vec<Layer> {
    let Some(main) = m.main().map(|id| &m.funcs[id]) else { return vec![] };
    let is_layer = |op: &&OpId| !matches!(main.kind(**op), OpKind::Core(_));
    main.body_ops().iter().filter(is_layer).map(|&op| layer(m, main, op)).collect()
}

fn layer(m: &Module, f: &Func, op: OpId) -> Layer {
    let loc = f.op(op).loc;
    let (inputs, outputs) = (tensors(f, f.operands(op)), tensors(f, f.results(op)));
    Layer {
        name: m.locs.describe(loc),
        index: m.locs.node_index(loc),
        op: f.kind(op).name(),
        macs: macs(f.kind(op), &inputs, &outputs),
        bytes: inputs.iter().chain(&outputs).map(|t| t.desc.bytes() as u64).sum(),
        inputs,
        outputs,
    }
}

fn tensors(f: &Func, values: &[Value]) -> Vec<LayerTensor> {
    let tensors = values.iter().filter(|&&v| f.ty(v).as_tensor().is_some());
    let tensor = |&v: &Value| {
        let constant =
            f.def_op(v).is_some_and(|d| matches!(f.kind(d), OpKind::Core(core::Op::Const(_))));
        let name = f.name(v).unwrap_or("");
        LayerTensor { desc: describe_type(name, f.ty(v)), constant }
    };
    tensors.map(tensor).collect()
}

/// Products that an op adds up, by its mnemonic, which is the same at every level.
fn macs(kind: &OpKind, inputs: &[LayerTensor], outputs: &[LayerTensor]) -> u64 {
    let (Some(y), Some(w)) = (outputs.first(), inputs.get(1)) else { return 0 };
    let shape = &w.desc.shape;
    let per_output: usize = match kind.name().split_once('.').map_or("", |(_, name)| name) {
        "conv2d" | "conv_integer" => shape.iter().skip(1).product(),
        "depthwise_conv2d" => shape.iter().skip(1).take(2).product(),
        "fully_connected" => shape.get(1).copied().unwrap_or(0),
        // The extent that both operands share: all of the first one's elements over the rows.
        "matmul" | "matmul_integer" => {
            let (a, columns) = (inputs[0].desc.len(), y.desc.shape.last().copied().unwrap_or(1));
            a * columns / y.desc.len().max(1)
        }
        _ => 0,
    };
    per_output as u64 * y.desc.len() as u64
}

/// `1x8x8x3 i8 s=0.5 z=-1`, scales per axis as a count.
pub fn describe(d: &TensorDesc) -> String {
    let parameters = parameters(d);
    let space = if parameters.is_empty() { "" } else { " " };
    format!("{} {}{space}{parameters}", shape(d), d.dtype)
}

/// `1x8x8x3`
pub fn shape(d: &TensorDesc) -> String {
    let extents: Vec<String> = d.shape.iter().map(usize::to_string).collect();
    if extents.is_empty() { "scalar".into() } else { extents.join("x") }
}

/// `s=0.5 z=-1`, or how many scales there are along which axis, and their range.
pub fn parameters(d: &TensorDesc) -> String {
    match (d.scales.as_slice(), d.axis) {
        ([], _) => String::new(),
        (scales, Some(axis)) => {
            let (lo, hi) =
                scales.iter().fold((f32::INFINITY, 0f32), |(lo, hi), &s| (lo.min(s), hi.max(s)));
            format!("{} scales {lo}..{hi} along axis {axis}", scales.len())
        }
        ([scale, ..], None) => {
            format!("s={scale} z={}", d.zero_points.first().copied().unwrap_or(0))
        }
    }
}
