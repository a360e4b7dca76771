//! Pointers and counters: which registers advance through which buffers.
//!
//! An *anchor* is a register (or stack slot) that holds an address; a pointer ([`Key`]) is an
//! anchor plus a distance known at emission. The pointer that a loop carries shares the anchor of
//! the pointer it starts from where that one is not needed inside the loop: the loop advances the
//! anchor, and behind the loop the distance is corrected by all that it advanced. So a kernel
//! mostly needs one register per buffer, however deep its loops.
//!
//! A loop that has one iteration is no loop: its variable is a constant.

use super::plan::{Class, Plan, trips};
use super::pressure::Pressure;
use crate::addr::{Access, Key, Nest, Terms, access};
use indexmap::IndexMap;
use qcc_ir::dialect::loops::{For, Op};
use qcc_ir::{OpId, OpKind, RegionId, Value};

/// Where an anchor or counter is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Register,
    /// A slot of the stack frame.
    Slot,
}

/// An anchor or a counter, as long as it is needed.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub from: u32,
    pub to: u32,
    /// How often it is used, roughly.
    weight: u64,
    pub place: Place,
}

/// A pointer.
#[derive(Clone, Debug)]
pub(super) struct Pointer {
    /// The pointer that its loop starts from.
    pub parent: Option<usize>,
    /// The loop that advances it, by `stride` bytes per unit of its variable.
    pub carrier: Option<OpId>,
    pub stride: i64,
    pub anchor: usize,
    /// Positions of accesses.
    accesses: Vec<u32>,
    children: Vec<usize>,
}

/// All pointers, anchors and counters of a kernel.
pub(super) struct Anchors {
    pub pointers: Vec<Pointer>,
    by_key: IndexMap<Key, usize>,
    /// The kernel's parameters that are accessed, with their pointers.
    pub params: IndexMap<Value, usize>,
    pub items: Vec<Item>,
    /// The counter of each loop, an index into `items`.
    pub counters: IndexMap<OpId, usize>,
    nest: Nest,
    /// Variables of loops with one iteration.
    fixed: IndexMap<Value, i64>,
    loop_of: IndexMap<Value, (OpId, u64)>,
}

impl Anchors {
    /// Finds everything, and gives registers to what is used most; `pressure` is that of scalars.
    pub fn new(plan: &Plan, pressure: &mut Pressure, registers: usize) -> Anchors {
        let mut all = Anchors {
            pointers: vec![],
            by_key: IndexMap::new(),
            params: IndexMap::new(),
            items: vec![],
            counters: IndexMap::new(),
            nest: Nest::of(plan.kernel),
            fixed: IndexMap::new(),
            loop_of: IndexMap::new(),
        };
        all.collect(plan, plan.kernel.body, 1);
        all.share(plan);
        all.assign(pressure, registers as u32);
        all
    }

    /// The pointer of an access, and the access's distance from it.
    pub fn find(&self, a: &Access) -> Option<(usize, i64)> {
        let (terms, offset) = self.terms(a);
        Some((*self.by_key.get(&(a.mem, terms))?, offset))
    }

    /// The counter of a loop.
    pub fn counter(&self, op: OpId) -> Option<usize> {
        self.counters.get(&op).copied()
    }
    /// The counter of the loop of `var`.
    pub fn counter_of(&self, var: Value) -> Option<usize> {
        self.counter(self.loop_of.get(&var)?.0)
    }

    /// The variable of a loop of one iteration.
    pub fn fixed(&self, var: Value) -> Option<i64> {
        self.fixed.get(&var).copied()
    }

    fn terms(&self, a: &Access) -> (Terms, i64) {
        let mut terms = self.nest.ordered(a.vars, a.strides);
        let mut offset = a.offset;
        terms.retain(|(v, stride)| match self.fixed.get(v) {
            Some(&at) => {
                offset = offset.wrapping_add(at.wrapping_mul(*stride));
                false
            }
            None => true,
        });
        (terms, offset)
    }

    fn collect(&mut self, plan: &Plan, region: RegionId, times: u64) {
        let f = plan.kernel;
        for &op in plan.ops(region) {
            let OpKind::Loop(kind) = f.kind(op) else { continue };
            let at = plan.span(op).start;
            if let (Op::For(s), Some(inner)) = (kind, plan.body(op)) {
                let var = f.region(inner).args[0];
                let n = trips(s);
                if n == 1 {
                    self.fixed.insert(var, s.lo);
                } else {
                    self.loop_of.insert(var, (op, times.saturating_mul(n)));
                    let span = plan.span(op);
                    let weight = times.saturating_mul(n);
                    self.counters.insert(op, self.items.len());
                    let place = Place::Slot;
                    self.items.push(Item { from: span.start, to: span.end, weight, place });
                }
                self.collect(plan, inner, times.saturating_mul(n));
            } else if let Some(a) = access(kind, f.operands(op)) {
                // A folded load happens where it is read.
                let at = match plan.class(f.results(op).first().copied().unwrap_or(a.mem)) {
                    Class::Folded(_) => plan.info(f.result(op)).to,
                    _ => at,
                };
                self.add(&a, at);
            }
        }
    }

    fn add(&mut self, a: &Access, at: u32) {
        let (terms, _) = self.terms(a);
        let mut parent = None;
        for n in 0..=terms.len() {
            let key = (a.mem, Terms::from_slice(&terms[..n]));
            let next = self.pointers.len();
            let id = *self.by_key.entry(key).or_insert(next);
            if id == next {
                let carrier = terms[..n].last().and_then(|(v, _)| self.loop_of.get(v));
                self.pointers.push(Pointer {
                    parent,
                    carrier: carrier.map(|c| c.0),
                    stride: terms[..n].last().map_or(0, |t| t.1),
                    anchor: usize::MAX,
                    accesses: vec![],
                    children: vec![],
                });
                match parent {
                    Some(p) => self.pointers[p].children.push(id),
                    None => _ = self.params.insert(a.mem, id),
                }
            }
            parent = Some(id);
        }
        self.pointers[parent.expect("the buffer itself is a pointer")].accesses.push(at);
    }

    /// Gives every pointer an anchor: its parent's where it can be shared.
    fn share(&mut self, plan: &Plan) {
        for id in 0..self.pointers.len() {
            let anchor = match self.pointers[id].parent {
                Some(parent) if self.may_share(plan, parent, id) => self.pointers[parent].anchor,
                _ => {
                    let to = match self.pointers[id].carrier {
                        Some(op) => plan.span(op).end,
                        None => 0,
                    };
                    let from = self.pointers[id].carrier.map_or(0, |op| plan.span(op).start);
                    self.items.push(Item { from, to, weight: 0, place: Place::Slot });
                    self.items.len() - 1
                }
            };
            self.pointers[id].anchor = anchor;
            let p = &self.pointers[id];
            let times = |op: Option<OpId>| {
                let found = op.and_then(|op| self.loop_of.values().find(|l| l.0 == op));
                found.map_or(1, |l| l.1)
            };
            let weight = times(p.carrier).saturating_mul(2 + p.accesses.len() as u64);
            let last = p.accesses.iter().map(|&at| plan.end_of_outermost_loop(at)).max();
            let carried = p.carrier.map(|op| plan.end_of_outermost_loop(plan.span(op).start));
            let item = &mut self.items[anchor];
            item.weight = item.weight.saturating_add(weight);
            if item.from == 0 {
                item.to = item.to.max(last.unwrap_or(0)).max(carried.unwrap_or(0));
            }
        }
    }

    /// Whether nothing needs `parent` while the loop of its child `id` runs, and no other child
    /// has its anchor in that loop.
    fn may_share(&self, plan: &Plan, parent: usize, id: usize) -> bool {
        let Some(carrier) = self.pointers[id].carrier else { return false };
        let span = plan.span(carrier);
        let inside = |at: u32| span.start <= at && at <= span.end;
        let p = &self.pointers[parent];
        let rival = |child: &usize| {
            let c = &self.pointers[*child];
            let Some(other) = c.carrier.filter(|_| *child != id) else { return false };
            let starts_inside = other != carrier && inside(plan.span(other).start);
            let around = plan.span(other);
            let contains = around.start <= span.start && span.start <= around.end;
            starts_inside || (c.anchor == p.anchor && contains)
        };
        !p.accesses.iter().any(|&at| inside(at)) && !p.children.iter().any(rival)
    }

    fn assign(&mut self, pressure: &mut Pressure, registers: u32) {
        let mut order: Vec<usize> = (0..self.items.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(self.items[i].weight));
        for i in order {
            let item = &mut self.items[i];
            if pressure.most(item.from, item.to) < registers {
                pressure.add(item.from, item.to);
                item.place = Place::Register;
            }
        }
    }
}

/// Bytes that a pointer advances per iteration of its loop.
pub(super) fn step(pointer: &Pointer, s: &For) -> i64 {
    pointer.stride.wrapping_mul(s.step)
}
