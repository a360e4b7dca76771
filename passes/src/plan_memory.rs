//! `plan-memory`: a byte address for every tensor of `main`.
//!
//! ```text
//! %y = int.conv2d(%x, …) : tensor<1x4x4x8xu8>  ─►  … : tensor<1x4x4x8xu8, arena+1024[128,32,8,1]>
//! ```
//!
//! 1. [`placement`] says which values share a buffer, and where in it.
//! 2. Elementwise ops write over an input that dies there (`in-place`): both are dense, of one
//!    shape and one element size. A kernel that works so must read each element before it writes
//!    it, once: no overlapping tails.
//! 3. Buffers that live at the same time interfere; each gets an address at which it overlaps no
//!    interfering buffer. Several orders are tried, and the best is improved by seeded swaps.
//!
//! Buffers start at multiples of 64 bytes. Behind each, up to 64 further bytes may be read (never
//! written) with arbitrary content, be it another buffer's or the arena's last 64 bytes; memory of
//! the caller has no such slack. [`crate::check_memory_plan`] checks the result with code of its
//! own. [`arena_bytes`] is the arena's size.
//!
//! Afterwards `int.reshape`, `int.slice` and `int.concat` have nothing to do, and `int.pad` only
//! fills the border where its input lies inside its result already.

use crate::analysis::placement::{self, Placement, Resolved};
use crate::check_memory_plan::check;
use crate::int_ops::int_op;
use crate::{
    Diagnostics, Drift, LevelSet, OptionKind, OptionSpec, Pass, PassContext, arena_packing,
};
use indexmap::IndexMap;
use petgraph::graph::{NodeIndex, UnGraph};
use qcc_ir::dialect::int::Op;
use qcc_ir::dialect::nn;
use qcc_ir::{Func, Layout, Level, Module, OpId, OpKind, Space, TensorType, Type, Value};
use std::sync::Arc;

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "plan-memory",
    summary: "give every tensor an address in the arena or the caller's buffers",
    doc: include_str!("plan_memory.rs"),
    needs: LevelSet::only(Level::Int),
    yields: None,
    drift: Drift::Exact,
    options: &[OptionSpec {
        name: "in-place",
        kind: OptionKind::Bool,
        default: "true",
        help: "elementwise ops may write over an input that dies there",
    }],
    run,
};

/// Buffers start at multiples of this.
pub const ALIGN: u64 = 64;
/// Bytes behind any arena buffer that may be read.
pub const SLACK: u64 = 64;

/// Bytes of the arena that the layouts in `main` need, without the [`SLACK`] behind it; 0 when
/// nothing is planned there.
pub fn arena_bytes(m: &Module) -> u64 {
    let Some(main) = m.main() else { return 0 };
    let f = &m.funcs[main];
    let results = f.body_ops().iter().flat_map(|&op| f.results(op));
    let ends = results.filter_map(|&v| match f.ty(v).as_tensor() {
        Some(t @ TensorType { layout: Some(l), .. }) if l.space == Space::Arena => {
            Some(end_of(t, l))
        }
        _ => None,
    });
    ends.max().unwrap_or(0).next_multiple_of(ALIGN)
}

/// One past the last byte of a tensor.
fn end_of(t: &TensorType, layout: &Layout) -> u64 {
    let last = t.shape.iter().zip(&layout.strides).map(|(n, s)| n.saturating_sub(1) * s);
    layout.offset + last.sum::<u64>() + t.storage().size() as u64
}

/// A block of arena memory.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    /// Multiple of [`ALIGN`].
    pub bytes: u64,
    /// Index of the first op that writes it and of the last that touches it.
    pub live: [usize; 2],
}

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    let Some(main) = m.main() else { return Ok(()) };
    let f = &m.funcs[main];
    let placement = placement::place(f);
    if let Some(needed) = placement.copies.first() {
        let message = format!("operand {} has no place: {}", needed.operand, needed.why);
        let e = ctx.error(m, f.op(needed.op).loc, message);
        return Err(e.hint("run 'alias-views' before plan-memory").into());
    }
    let mut plan = Plan::new(f, &placement);
    if ctx.options.flag("in-place") {
        plan.reuse_dying_inputs(f);
    }
    let offsets = plan.pack();
    plan.report(ctx, &offsets);
    let layouts = plan.layouts(&offsets);
    for (v, layout) in layouts {
        set_layout(&mut m.funcs[main], v, layout);
    }
    check(m, PASS.name)
}

fn set_layout(f: &mut Func, v: Value, layout: Layout) {
    if let Type::Tensor(t) = f.ty(v).clone() {
        let mut t = Arc::unwrap_or_clone(t);
        t.layout = Some(layout);
        f.set_type(v, t.into());
    }
}

struct Plan {
    at: Resolved,
    /// Buffers by root value; a value whose buffer was merged into another's maps to that.
    buffer_of: IndexMap<Value, usize>,
    buffers: Vec<Buffer>,
}

impl Plan {
    fn new(f: &Func, placement: &Placement) -> Plan {
        let at = placement.resolve(f);
        let mut plan = Plan { at, buffer_of: IndexMap::new(), buffers: vec![] };
        let position: IndexMap<OpId, usize> =
            f.body_ops().iter().enumerate().map(|(i, &op)| (op, i)).collect();
        for (&v, (root, layout)) in &plan.at {
            if layout.space != Space::Arena {
                continue;
            }
            let buffer = *plan.buffer_of.entry(*root).or_insert_with(|| {
                let bytes = f.ty(*root).as_tensor().map_or(0, |t| t.bytes());
                let bytes = bytes.max(1).next_multiple_of(ALIGN);
                plan.buffers.push(Buffer { bytes, live: [usize::MAX, 0] });
                plan.buffers.len() - 1
            });
            let touched = f.value(v).uses().iter().map(|u| u.0).chain(f.def_op(v));
            for t in touched.filter_map(|op| position.get(&op).copied()) {
                let live = &mut plan.buffers[buffer].live;
                *live = [live[0].min(t), live[1].max(t)];
            }
        }
        plan
    }

    /// The buffer that `v` fills from end to end.
    fn whole_buffer(&self, v: Value) -> Option<usize> {
        let (root, layout) = self.at.get(&v)?;
        (*root == v && layout.space == Space::Arena).then(|| self.buffer_of[root])
    }

    fn lies_in(&self, v: Value, buffer: usize) -> bool {
        self.at.get(&v).is_some_and(|(root, _)| self.buffer_of.get(root) == Some(&buffer))
    }

    fn reuse_dying_inputs(&mut self, f: &Func) {
        for (t, &op) in f.body_ops().iter().enumerate() {
            if !works_in_place(f, op) {
                continue;
            }
            let y = f.result(op);
            let Some(to) = self.whole_buffer(y) else {
                continue;
            };
            let dies = |&x: &Value| {
                let from = self.whole_buffer(x)?;
                let ends_here = self.buffers[from].live[1] == t && self.buffers[to].live[0] == t;
                let alone = f.operands(op).iter().all(|&o| o == x || !self.lies_in(o, from));
                (from != to && ends_here && alone && same_block(f, x, y)).then_some(from)
            };
            let dying = f.operands(op).iter().find_map(dies);
            if let Some(from) = dying {
                self.merge(from, to);
            }
        }
    }

    /// Buffer `to` starts as buffer `from`: one block of memory for both lives.
    fn merge(&mut self, from: usize, to: usize) {
        let live = [self.buffers[from].live[0], self.buffers[to].live[1]];
        self.buffers[to].live = live;
        self.buffers[from].bytes = 0;
        for b in self.buffer_of.values_mut().filter(|b| **b == from) {
            *b = to;
        }
    }

    /// An offset per buffer.
    fn pack(&self) -> Vec<u64> {
        let mut graph: UnGraph<(), ()> = UnGraph::with_capacity(self.buffers.len(), 0);
        for _ in &self.buffers {
            graph.add_node(());
        }
        for (i, a) in self.buffers.iter().enumerate() {
            for (j, b) in self.buffers.iter().enumerate().take(i) {
                let meet = a.live[0] <= b.live[1] && b.live[0] <= a.live[1];
                if meet && a.bytes > 0 && b.bytes > 0 {
                    graph.add_edge(NodeIndex::new(i), NodeIndex::new(j), ());
                }
            }
        }
        arena_packing::pack(&self.buffers, &graph)
    }

    fn report(&self, ctx: &mut PassContext, offsets: &[u64]) {
        let ends = self.buffers.iter().zip(offsets).map(|(b, o)| b.bytes + o);
        let arena = ends.max().unwrap_or(0);
        let live = arena_packing::largest_live_set(&self.buffers);
        let n = self.buffers.iter().filter(|b| b.bytes > 0).count();
        let percent = if live == 0 { 0.0 } else { 100.0 * (arena - live) as f64 / live as f64 };
        ctx.remark_module(format!(
            "{n} buffers in {arena} bytes of arena; the largest live set is {live} bytes \
             (+{percent:.1} %)"
        ));
    }

    fn layouts(&self, offsets: &[u64]) -> Vec<(Value, Layout)> {
        let place = |(&v, (root, layout)): (&Value, &(Value, Layout))| {
            let base = self.buffer_of.get(root).map_or(0, |&b| offsets[b]);
            (v, Layout { offset: layout.offset + base, ..layout.clone() })
        };
        self.at.iter().map(place).collect()
    }
}

/// Ops that make element i of the result from element i of each operand (or of a smaller one).
pub(crate) fn works_in_place(f: &Func, op: OpId) -> bool {
    if let OpKind::Nn(op) = f.kind(op) {
        return float_works_in_place(op);
    }
    match int_op(f, op) {
        Some(Op::Add(_) | Op::Lut(_) | Op::Clamp(_) | Op::FlipSign(_) | Op::Requantize(_)) => true,
        Some(Op::AddFloat(_) | Op::Mul(_) | Op::PairLut(_)) => true,
        Some(
            Op::Conv2d(_)
            | Op::DepthwiseConv2d(_)
            | Op::FullyConnected(_)
            | Op::RowSums(_)
            | Op::Pad(_)
            | Op::MaxPool2d(_)
            | Op::AvgPool2d(_)
            | Op::Mean(_)
            | Op::ReduceMax(_)
            | Op::MatMul(_)
            | Op::Softmax(_)
            | Op::LogSoftmax(_)
            | Op::L2Normalize(_)
            | Op::SoftmaxFloat(_)
            | Op::ResizeBilinear(_)
            | Op::ArgMax(_)
            | Op::Quantize(_)
            | Op::Dequantize(_)
            | Op::Concat(_)
            | Op::Slice(_)
            | Op::Reshape(_)
            | Op::Copy(_),
        )
        | None => false,
    }
}

/// Elementwise ops, and those that read a row for the last time where they write it.
fn float_works_in_place(op: &nn::Op) -> bool {
    use nn::Op::*;
    matches!(
        op,
        Unary(_)
            | Activation(_)
            | Add(_)
            | Sub(_)
            | Mul(_)
            | Div(_)
            | Binary(_)
            | BatchNorm(_)
            | FakeQuant(_)
            | QuantizeAndDequantize(_)
            | Softmax(_)
            | LogSoftmax(_)
            | LayerNorm(_)
    )
}

fn same_block(f: &Func, x: Value, y: Value) -> bool {
    match (f.ty(x).as_tensor(), f.ty(y).as_tensor()) {
        (Some(a), Some(b)) => a.shape == b.shape && a.storage().size() == b.storage().size(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use qcc_ir::DType;

    const PLAN: &str = "alias-views,plan-memory";

    fn layout(m: &Module, v: Value) -> Layout {
        let f = &m.funcs[m.main().unwrap()];
        f.ty(v).as_tensor().unwrap().layout.clone().unwrap()
    }

    #[test]
    fn a_chain_of_elementwise_ops_uses_one_buffer() {
        let mut t = TestModule::int(&[(&[1, 100], DType::I8)]);
        let mut x = t.param(0);
        for i in 0..5 {
            x = t.clamp(x, -i, 100);
        }
        let m = t.ret(&[x]).run(PLAN);
        assert_eq!(arena_bytes(&m), 128);
        assert_eq!(layout(&m, x).space, Space::Output(0));
        let two = run_pipeline(t.build().0, "plan-memory{in-place=false}");
        assert_eq!(arena_bytes(&two), 256);
    }

    #[test]
    fn concat_operands_are_parts_of_the_result() {
        let mut t = TestModule::int(&[(&[1, 2, 2, 3], DType::I8)]);
        let a = t.clamp(t.param(0), 0, 9);
        let b = t.clamp(t.param(0), -9, 0);
        let y = t.concat(&[a, b], 3);
        let z = t.slice(y, &[0, 1, 0, 2], &[1, 1, 2, 2]);
        let c = t.clamp(z, 0, 5);
        let m = t.ret(&[c]).run(PLAN);
        let at = |v| (layout(&m, v).offset, layout(&m, v).strides.to_vec());
        let strides = vec![24, 12, 6, 1];
        assert_eq!(at(a), (0, strides.clone()));
        assert_eq!(at(b), (3, strides.clone()));
        assert_eq!(at(y), (0, strides.clone()));
        assert_eq!(at(z), (14, strides));
        assert_eq!(layout(&m, c).space, Space::Output(0));
    }

    #[test]
    fn a_padded_input_is_computed_in_the_middle() {
        let mut t = TestModule::int(&[(&[1, 2, 16, 1], DType::I8)]);
        let a = t.clamp(t.param(0), 0, 9);
        let y = t.max_pool(a, &[1, 2, 16, 1], |p| (p.window, p.pad) = ([3, 3], [1; 4]));
        let m = t.ret(&[y]).run("expand-padding,alias-views,plan-memory");
        assert_eq!(layout(&m, a).offset, 19);
        assert_eq!(layout(&m, a).strides.as_slice(), [72, 18, 1, 1]);
    }

    #[test]
    fn near_miss_short_rows_are_padded_by_copy() {
        let mut t = TestModule::int(&[(&[1, 2, 2, 1], DType::I8)]);
        let a = t.clamp(t.param(0), 0, 9);
        let y = t.max_pool(a, &[1, 2, 2, 1], |p| (p.window, p.pad) = ([3, 3], [1; 4]));
        let m = t.ret(&[y]).run("expand-padding,alias-views,plan-memory");
        assert_eq!(layout(&m, a).strides.as_slice(), [4, 2, 1, 1]);
    }

    #[test]
    fn near_miss_an_operand_that_is_a_part_of_the_dying_one() {
        let mut t = TestModule::int(&[(&[1, 4, 64], DType::I8)]);
        let a = t.clamp(t.param(0), 0, 9);
        let row = t.slice(a, &[0, 2, 0], &[1, 1, 64]);
        let sum = t.add(a, row);
        let y = t.clamp(sum, 0, 5);
        let m = t.ret(&[y]).run_exact(PLAN);
        assert_ne!(layout(&m, sum).offset, layout(&m, a).offset);
    }

    #[test]
    fn views_without_copies_are_refused() {
        let mut t = TestModule::int(&[(&[4], DType::I8)]);
        let y = t.concat(&[t.param(0), t.param(0)], 0);
        t.ret(&[y]);
        let error = t.error("plan-memory");
        assert!(error.starts_with("plan-memory: 'concat_0': operand 0 has no place: "), "{error}");
        assert!(error.ends_with("(hint: run 'alias-views' before plan-memory)"), "{error}");
    }

    /// The plan of each is checked by code of its own, see [`crate::check_memory_plan`].
    #[test]
    fn random_views_find_a_place() {
        for seed in 0..2000 {
            random_views(seed).run_exact("cse,expand-padding,alias-views,plan-memory");
        }
    }
}
