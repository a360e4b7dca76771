//! The ops of each region that are emitted, in the order in which they are.
//!
//! Ops without effect whose results nobody needs are left out. Lanes taken out of vectors move
//! down to the first op that reads them: sixteen of them at once would need sixteen registers,
//! where the vector needs one.

use super::plan::trips;
use cranelift_codegen::entity::SecondaryMap;
use qcc_ir::dialect::loops::Op;
use qcc_ir::{Func, OpId, OpKind, RegionId, Value};

/// What is emitted, region by region.
pub(super) struct Schedule {
    regions: SecondaryMap<RegionId, Vec<OpId>>,
}

impl Schedule {
    pub fn new(kernel: &Func) -> Schedule {
        let mut all = vec![];
        find_ops(kernel, kernel.body, &mut all);
        let live = find_live(kernel, &all);
        let mut schedule = Schedule { regions: SecondaryMap::new() };
        schedule.region(kernel, kernel.body, &live);
        schedule
    }

    /// The ops of a region, in order.
    pub fn ops(&self, region: RegionId) -> &[OpId] {
        &self.regions[region]
    }

    fn region(&mut self, f: &Func, region: RegionId, live: &SecondaryMap<OpId, bool>) {
        let mut held: SecondaryMap<OpId, bool> = SecondaryMap::new();
        let mut out = vec![];
        for &op in f.region(region).ops.iter().filter(|&&op| live[op]) {
            if let Some(inner) = body(f, op) {
                self.region(f, inner, live);
            }
            if sinks(f, op) {
                held[op] = true;
                continue;
            }
            self.release(f, op, &mut held, &mut out);
            out.push(op);
        }
        self.regions[region] = out;
    }

    /// Appends what is held back and `op`, or an op inside of it, reads.
    fn release(
        &self,
        f: &Func,
        op: OpId,
        held: &mut SecondaryMap<OpId, bool>,
        out: &mut Vec<OpId>,
    ) {
        for &v in f.operands(op) {
            if let Some(source) = f.def_op(v).filter(|&s| held[s]) {
                held[source] = false;
                self.release(f, source, held, out);
                out.push(source);
            }
        }
        if let Some(inner) = body(f, op) {
            for &op in self.ops(inner) {
                self.release(f, op, held, out);
            }
        }
    }
}

/// Whether an op moves down to its first reader: a lane of a vector, or such a lane made wider.
fn sinks(f: &Func, op: OpId) -> bool {
    let from_sinking = || f.def_op(f.operands(op)[0]).is_some_and(|source| sinks(f, source));
    match f.kind(op) {
        OpKind::Loop(Op::Extract(_)) => true,
        OpKind::Loop(Op::ExtS(_) | Op::ExtU(_) | Op::Trunc(_)) => from_sinking(),
        _ => false,
    }
}

/// All ops that run, in order; a loop without iterations has no body.
fn find_ops(f: &Func, region: RegionId, out: &mut Vec<OpId>) {
    for &op in &f.region(region).ops {
        out.push(op);
        if let Some(inner) = body(f, op) {
            find_ops(f, inner, out);
        }
    }
}

/// Ops with an effect and those that they need.
fn find_live(f: &Func, all: &[OpId]) -> SecondaryMap<OpId, bool> {
    let mut live = SecondaryMap::new();
    let mut needed: SecondaryMap<Value, bool> = SecondaryMap::new();
    for &op in all.iter().rev() {
        let effect = !matches!(f.kind(op), OpKind::Loop(k) if is_value(k));
        if effect || f.results(op).iter().any(|&v| needed[v]) {
            live[op] = true;
            for &v in f.operands(op) {
                needed[v] = true;
            }
        }
    }
    live
}

/// Whether an op only computes a value.
fn is_value(kind: &Op) -> bool {
    use Op::{Call, For, Store, StoreLow, TileStore, Yield};
    !matches!(kind, For(_) | Yield(_) | Call(_) | Store(_) | StoreLow(_) | TileStore(_))
}

/// The body of a loop that has iterations.
pub(super) fn body(f: &Func, op: OpId) -> Option<RegionId> {
    match f.kind(op) {
        OpKind::Loop(Op::For(s)) if trips(s) > 0 => Some(f.op(op).regions()[0]),
        _ => None,
    }
}
