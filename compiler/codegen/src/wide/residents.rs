//! Literals that stay in registers: where loops read them, and registers are free all the while.

use super::literals::Literal;
use super::plan::{Class, Plan, trips};
use super::pressure::Pressure;
use super::vectors::implied_literals;
use indexmap::IndexMap;
use qcc_ir::dialect::loops::Op;
use qcc_ir::{OpId, OpKind, RegionId};

/// A literal in a register from one position to another.
#[derive(Clone, Debug)]
pub(super) struct Resident {
    pub literal: Literal,
    pub from: u32,
    pub to: u32,
}

/// A position that reads a literal, and the loops around it, outermost first.
#[derive(Clone, Debug)]
struct Use {
    at: u32,
    loops: Vec<(u32, u32)>,
    /// How often it runs.
    times: u64,
}

/// Chooses residents. `spare` registers are left free everywhere.
pub(super) fn choose(plan: &Plan, pressure: &mut Pressure, spare: usize) -> Vec<Resident> {
    let mut uses: IndexMap<Literal, Vec<Use>> = IndexMap::new();
    collect(plan, plan.kernel.body, &mut vec![], 1, &mut uses);
    let mut order: Vec<(Literal, Vec<Use>)> = uses.into_iter().collect();
    order.sort_by_key(|(_, u)| std::cmp::Reverse(u.iter().map(|u| u.times).sum::<u64>()));
    let limit = plan.machine.registers().saturating_sub(spare) as u32;
    let mut chosen = Chosen { pressure, limit, residents: vec![] };
    for (literal, uses) in order {
        chosen.place(&literal, &uses, 0);
    }
    let mut residents = chosen.residents;
    residents.sort_by_key(|r| r.from);
    residents
}

fn collect(
    plan: &Plan,
    region: RegionId,
    loops: &mut Vec<(u32, u32)>,
    times: u64,
    uses: &mut IndexMap<Literal, Vec<Use>>,
) {
    let f = plan.kernel;
    for &op in plan.ops(region) {
        let OpKind::Loop(kind) = f.kind(op) else { continue };
        let span = plan.span(op);
        for literal in literals_of(plan, op, kind) {
            let entry = uses.entry(literal).or_default();
            entry.push(Use { at: span.start, loops: loops.clone(), times });
        }
        if let (Op::For(s), Some(inner)) = (kind, plan.body(op)) {
            // One iteration is no loop.
            let n = trips(s);
            let pushed = n > 1;
            if pushed {
                loops.push((span.start, span.end));
            }
            collect(plan, inner, loops, times.saturating_mul(n), uses);
            if pushed {
                loops.pop();
            }
        }
    }
}

/// Literals that an op reads; not those that loops start from.
fn literals_of(plan: &Plan, op: OpId, kind: &Op) -> Vec<Literal> {
    if matches!(kind, Op::For(_) | Op::Iconst(_) | Op::Fconst(_)) || plan.is_no_op(op) {
        return vec![];
    }
    let operands = plan.kernel.operands(op).iter();
    let own = operands.filter_map(|&v| match plan.class(v) {
        Class::Literal(l) => Some(l.clone()),
        _ => None,
    });
    own.chain(implied_literals(plan, op, kind)).collect()
}

struct Chosen<'a> {
    pressure: &'a mut Pressure,
    limit: u32,
    residents: Vec<Resident>,
}

impl Chosen<'_> {
    /// Finds room around `uses`, which share the loops up to `depth`.
    fn place(&mut self, literal: &Literal, uses: &[Use], depth: usize) {
        let spans: Vec<(u32, u32)> =
            uses.iter().map(|u| u.loops.get(depth).copied().unwrap_or((u.at, u.at))).collect();
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else { return };
        let worth = uses.len() > 1 || uses[0].loops.len() > depth;
        if !worth {
            return;
        }
        if self.take(literal, first.0, last.1) {
            return;
        }
        // Not as a whole: each loop for itself, and the last of what stands outside of them.
        let mut outside: Vec<&Use> = vec![];
        let mut at = 0;
        while at < uses.len() {
            let n = spans[at..].iter().take_while(|s| **s == spans[at]).count();
            if uses[at].loops.len() > depth {
                self.place(literal, &uses[at..at + n], depth + 1);
            } else {
                outside.extend(&uses[at..at + n]);
            }
            at += n;
        }
        // The longest run of them that ends with the last.
        let fits = |w: &&[&Use]| self.pressure.most(w[0].at, w[1].at) < self.limit;
        let run = outside.windows(2).rev().take_while(fits).count();
        if run > 0 {
            let last = outside.len() - 1;
            self.take(literal, outside[last - run].at, outside[last].at);
        }
    }

    fn take(&mut self, literal: &Literal, from: u32, to: u32) -> bool {
        let overlaps = |r: &Resident| r.literal == *literal && r.from <= to && from <= r.to;
        if self.pressure.most(from, to) >= self.limit || self.residents.iter().any(overlaps) {
            return false;
        }
        self.pressure.add(from, to);
        self.residents.push(Resident { literal: literal.clone(), from, to });
        true
    }
}
