//! The graph of a module at one stage: boxes in the order of the program, and what feeds what.

use crate::layers::{describe, shape};
use crate::source::describe_type;
use indexmap::{IndexMap, IndexSet};
use qcc_ir::dialect::{core, loops};
use qcc_ir::{Func, FuncId, Level, Loc, LocId, LocTable, Module, OpId, OpKind, Value};

/// A module as boxes and arrows.
pub struct Graph {
    /// Level of the module.
    pub level: Level,
    /// In the order of the program: inputs, ops, outputs.
    pub nodes: Vec<Node>,
    /// From, to; sorted.
    pub edges: IndexSet<(usize, usize)>,
}

/// A box.
pub struct Node {
    /// What it does: the op's or kernel's name.
    pub title: String,
    /// What it makes.
    pub detail: String,
    /// Names of the source model's nodes that it computes.
    pub names: Vec<String>,
    /// Everything there is to say, for a tooltip.
    pub more: String,
    /// What it looks like.
    pub family: &'static str,
}

/// The graph of a module's `main`.
pub fn graph(m: &Module) -> Graph {
    let mut g = Graph { level: m.level, nodes: vec![], edges: IndexSet::new() };
    if let Some(id) = m.main() {
        match m.level {
            Level::Loop => calls(m, id, &mut g),
            _ => tensors(m, &m.funcs[id], &mut g),
        }
    }
    g.edges.sort_unstable();
    g
}

/// Node names behind a location.
fn names(locs: &LocTable, id: LocId) -> Vec<String> {
    match locs.get(id) {
        Loc::Unknown => vec![],
        Loc::Node { name, .. } => vec![name.clone()],
        Loc::Fused { from, .. } => {
            let all: IndexSet<String> = from.iter().flat_map(|&l| names(locs, l)).collect();
            all.into_iter().collect()
        }
    }
}

fn end(title: &str, name: &str, detail: String) -> Node {
    let more = format!("{title} '{name}' {detail}");
    Node { title: title.into(), detail, names: vec![name.into()], more, family: "end" }
}

fn tensors(m: &Module, f: &Func, g: &mut Graph) {
    let mut makers: IndexMap<Value, usize> = IndexMap::new();
    let name = |names: &[String], k: usize| names.get(k).cloned().unwrap_or(k.to_string());
    for (k, &v) in f.params().iter().enumerate() {
        makers.insert(v, g.nodes.len());
        let detail = describe(&describe_type("", f.ty(v)));
        g.nodes.push(end("input", &name(&f.input_names, k), detail));
    }
    for &op in f.body_ops() {
        if matches!(f.kind(op), OpKind::Core(_)) {
            continue;
        }
        let at = g.nodes.len();
        g.edges.extend(f.operands(op).iter().filter_map(|v| Some((*makers.get(v)?, at))));
        makers.extend(f.results(op).iter().map(|&v| (v, at)));
        g.nodes.push(op_node(m, f, op));
    }
    for (k, v) in f.returned().iter().enumerate() {
        let at = g.nodes.len();
        g.edges.extend(makers.get(v).map(|&from| (from, at)));
        let detail = describe(&describe_type("", f.ty(*v)));
        g.nodes.push(end("output", &name(&f.output_names, k), detail));
    }
}

fn op_node(m: &Module, f: &Func, op: OpId) -> Node {
    let results = f.results(op).iter().map(|&v| describe_type("", f.ty(v)));
    let results: Vec<_> = results.collect();
    let first = results.first().map_or(String::new(), |d| format!("{} {}", shape(d), d.dtype));
    let mut lines: Vec<String> = vec![f.kind(op).name().into()];
    for &v in f.operands(op) {
        let constant =
            f.def_op(v).is_some_and(|d| matches!(f.kind(d), OpKind::Core(core::Op::Const(_))));
        let word = if constant { "constant" } else { "reads" };
        lines.push(format!("{word} {}", describe(&describe_type("", f.ty(v)))));
    }
    lines.extend(results.iter().map(|d| format!("makes {}", describe(d))));
    let title = f.kind(op).name();
    let below_nn = m.level > Level::Nn;
    Node {
        title: title.into(),
        detail: first,
        names: names(&m.locs, f.op(op).loc),
        more: lines.join("\n"),
        family: family(title, below_nn),
    }
}

/// A class of ops, by mnemonic. Float ops below level nn are islands.
fn family(op: &str, below_nn: bool) -> &'static str {
    let (dialect, name) = op.split_once('.').unwrap_or(("", op));
    match name {
        "quantize"
        | "dequantize"
        | "requantize"
        | "fake_quant"
        | "dynamic_quantize"
        | "quantize_and_dequantize" => "convert",
        "reshape" | "transpose" | "concat" | "slice" | "pad" | "copy" | "broadcast" | "gather"
        | "flip_sign" | "resize_nearest" | "split" => "move",
        _ if below_nn && dialect == "nn" => "float",
        "conv2d" | "conv_integer" => "conv",
        "depthwise_conv2d" => "depthwise",
        "fully_connected" | "matmul" | "matmul_integer" => "matmul",
        n if n.contains("pool") || matches!(n, "mean" | "reduce" | "row_sums") => "pool",
        "add" | "sub" | "mul" | "div" | "binary" => "binary",
        _ => "unary",
    }
}

/// Bytes of a buffer of `main` that a call wrote.
#[derive(Clone)]
struct Written {
    buffer: Value,
    /// First byte, and the one behind the last.
    range: (u64, u64),
    /// Who wrote it.
    node: usize,
    /// Has it been read since?
    read: bool,
}

/// What the buffers hold.
#[derive(Default)]
struct Contents(Vec<Written>);

impl Contents {
    /// Who wrote what is there.
    fn read(&mut self, buffer: Value, (from, to): (u64, u64)) -> Vec<usize> {
        let overlaps = |w: &&mut Written| w.buffer == buffer && w.range.0 < to && from < w.range.1;
        let found = self.0.iter_mut().filter(overlaps);
        found
            .map(|w| {
                w.read = true;
                w.node
            })
            .collect()
    }

    /// Writes a range. Returns those whose bytes there nobody has read yet: a tensor is made in
    /// several steps (a border, then what is inside), and the last one stands for all of it. What
    /// has been read is another tensor, whose place is used again.
    fn write(&mut self, buffer: Value, (from, to): (u64, u64), node: usize) -> Vec<usize> {
        let (mut range, mut steps, mut rest) = ((from, to), vec![], vec![]);
        for w in std::mem::take(&mut self.0) {
            let (start, end) = w.range;
            if w.buffer != buffer || end <= from || to <= start {
                rest.push(w);
            } else if !w.read {
                range = (range.0.min(start), range.1.max(end));
                steps.push(w.node);
            } else {
                let parts = [(start, from), (to, end)].into_iter().filter(|(a, b)| a < b);
                rest.extend(parts.map(|range| Written { range, ..w.clone() }));
            }
        }
        self.0 = rest;
        self.0.push(Written { buffer, range, node, read: false });
        steps
    }
}

/// Calls of kernels; one feeds another where it wrote bytes that the other reads or completes.
fn calls(m: &Module, main: FuncId, g: &mut Graph) {
    let f = &m.funcs[main];
    let mut contents = Contents::default();
    let (n_in, n_out) = (f.input_names.len(), f.output_names.len());
    let bytes = |v: Value| f.ty(v).as_mem().map_or(0, |m| m.bytes);
    for (k, &v) in f.params().iter().skip(1).take(n_in).enumerate() {
        contents.write(v, (0, bytes(v)), g.nodes.len());
        g.nodes.push(end("input", &f.input_names[k], format!("{} bytes", bytes(v))));
    }
    for &op in f.body_ops() {
        let OpKind::Loop(loops::Op::Call(call)) = f.kind(op) else { continue };
        let Some(kernel) = m.func_named(&call.kernel).map(|id| &m.funcs[id]) else { continue };
        let at = g.nodes.len();
        let (reads, writes) = touched(kernel);
        let range = |k: usize| -> Option<(Value, (u64, u64))> {
            let (v, from) = (*f.operands(op).get(k)?, *call.offsets.get(k)?);
            Some((v, (from, from + kernel.ty(kernel.params()[k]).as_mem()?.bytes)))
        };
        for (v, bytes) in reads.iter().filter_map(|&k| range(k)) {
            g.edges.extend(contents.read(v, bytes).into_iter().map(|from| (from, at)));
        }
        for (v, bytes) in writes.iter().filter_map(|&k| range(k)) {
            let steps = contents.write(v, bytes, at).into_iter().filter(|&from| from != at);
            g.edges.extend(steps.map(|from| (from, at)));
        }
        g.nodes.push(call_node(m, f, (op, call), kernel));
    }
    for (k, &v) in f.params().iter().skip(1 + n_in).take(n_out).enumerate() {
        let at = g.nodes.len();
        g.edges.extend(contents.read(v, (0, bytes(v))).into_iter().map(|from| (from, at)));
        g.nodes.push(end("output", &f.output_names[k], format!("{} bytes", bytes(v))));
    }
}

fn call_node(m: &Module, f: &Func, (op, call): (OpId, &loops::Call), kernel: &Func) -> Node {
    // `k12_conv2d_…`: the number is the module's, not the kernel's.
    let title = call.kernel.split_once('_').map_or(call.kernel.as_str(), |(_, name)| name);
    let n_ops = kernel.walk().len();
    let tasks = if call.tasks > 1 { format!(", task {}", call.task) } else { String::new() };
    let constants = f.operands(op).iter().filter_map(|&v| f.ty(v).as_mem());
    let const_bytes: u64 = constants.filter(|t| t.constant).map(|t| t.bytes).sum();
    let mut lines = vec![call.kernel.clone()];
    for (k, &p) in kernel.params().iter().enumerate() {
        let bytes = kernel.ty(p).as_mem().map_or(0, |t| t.bytes);
        let from = call.offsets.get(k).copied().unwrap_or(0);
        lines.push(format!("buffer {k}: {bytes} bytes from {from} on"));
    }
    let family = ["depthwise", "conv", "pool", "add", "fully_connected", "mean", "lut", "softmax"]
        .into_iter()
        .find(|word| title.contains(word));
    Node {
        title: title.into(),
        detail: format!("{n_ops} ops, {const_bytes} bytes of constants{tasks}"),
        names: names(&m.locs, f.op(op).loc),
        more: lines.join("\n"),
        family: match family {
            Some("depthwise") => "depthwise",
            Some("conv") => "conv",
            Some("fully_connected") => "matmul",
            Some("pool" | "mean") => "pool",
            Some("add") => "binary",
            Some(_) => "unary",
            None => "move",
        },
    }
}

/// Which buffers a kernel reads, and which it writes.
fn touched(kernel: &Func) -> (Vec<usize>, Vec<usize>) {
    let (mut reads, mut writes) = (IndexSet::new(), IndexSet::new());
    for op in kernel.walk() {
        use loops::Op::{Store, StoreLow, TileStore};
        let stores = matches!(kernel.kind(op), OpKind::Loop(Store(_) | StoreLow(_) | TileStore(_)));
        for v in kernel.operands(op) {
            if let Some(k) = kernel.params().iter().position(|p| p == v) {
                if stores {
                    writes.insert(k)
                } else {
                    reads.insert(k)
                };
            }
        }
    }
    (reads.into_iter().collect(), writes.into_iter().collect())
}
