//! How many registers of each kind are taken at each position.
//!
//! Counts are upper bounds: they leave out that a result may take the register of an operand
//! that dies, unless the op is known to do so.

use super::machine::single;
use super::plan::{Class, Plan};
use qcc_ir::dialect::loops::Op;
use qcc_ir::{OpId, OpKind, Value};

/// Registers taken at each position.
#[derive(Clone, Debug)]
pub(super) struct Pressure(Vec<u32>);

impl Pressure {
    /// Vector registers that values and ops need, literals in memory.
    pub fn vectors(plan: &Plan) -> Pressure {
        Pressure::of(plan, &Class::Vector)
    }
    /// General registers that values need.
    pub fn general(plan: &Plan) -> Pressure {
        Pressure::of(plan, &Class::General)
    }

    fn of(plan: &Plan, class: &Class) -> Pressure {
        let mut delta = vec![0i64; plan.len() + 2];
        let f = plan.kernel;
        let mut out = Pressure(vec![0; plan.len()]);
        for &op in &plan.order {
            let args = plan.body(op).map_or(&[][..], |r| &f.region(r).args);
            for &v in f.results(op).iter().chain(args) {
                let info = plan.info(v);
                if info.class == *class && plan.root(v) == v && info.to > info.from {
                    delta[info.from as usize + 1] += 1;
                    delta[info.to as usize + 1] -= 1;
                }
            }
            out.0[plan.span(op).start as usize] += extra(plan, op, class);
        }
        let mut now = 0;
        for (at, n) in out.0.iter_mut().enumerate() {
            now += delta[at];
            *n += now as u32;
        }
        out
    }

    /// The most that are taken from `from` to `to`.
    pub fn most(&self, from: u32, to: u32) -> u32 {
        self.0[from as usize..=to as usize].iter().copied().max().unwrap_or(0)
    }
    /// Takes one more from `from` to `to`.
    pub fn add(&mut self, from: u32, to: u32) {
        self.0[from as usize..=to as usize].iter_mut().for_each(|n| *n += 1);
    }
}

/// Registers that an op takes besides its operands.
fn extra(plan: &Plan, op: OpId, class: &Class) -> u32 {
    let f = plan.kernel;
    let OpKind::Loop(kind) = f.kind(op) else { return 0 };
    if let Op::For(_) = kind {
        // Carried values that start as a copy.
        let at = plan.span(op).start;
        let carried = plan.body(op).map_or(f.results(op), |r| &f.region(r).args[1..]);
        let copied = |(init, v): &(&Value, &Value)| {
            !plan.dies(**init, at) && plan.register_class(**v) == *class
        };
        return f.operands(op).iter().zip(carried).filter(copied).count() as u32;
    }
    let result = f.results(op).first().is_some_and(|&v| plan.class(v) == class);
    let temps = if *class == Class::Vector { temps(plan, op, kind) } else { 0 };
    let at = plan.span(op).start;
    let dying = f.operands(op).iter().any(|&v| plan.class(v) == class && plan.dies(v, at));
    u32::from(result && !(dying && temps == 0)) + temps
}

/// Vector registers that the sequence of an op changes besides its result's.
fn temps(plan: &Plan, op: OpId, kind: &Op) -> u32 {
    let f = plan.kernel;
    let m = plan.machine;
    let Some(&result) = f.results(op).first() else {
        return u32::from(matches!(kind, Op::StoreLow(_)));
    };
    let (elem, _) = plan.lanes(result);
    let scalar = !plan.is_vector(result);
    let literal = |v: &Value| matches!(plan.class(*v), Class::Literal(_));
    let literals = f.operands(op).iter().filter(|v| literal(v)).count() as u32;
    if single(m, kind, elem, scalar).is_some() {
        return literals.saturating_sub(1);
    }
    let own = match kind {
        Op::Mul(_) => 3,
        Op::MinS(_) | Op::MaxS(_) | Op::MinU(_) | Op::MaxU(_) => 3,
        Op::Shl(_) | Op::ShrS(_) | Op::ShrU(_) if elem.size() == 1 || elem.size() == 8 => 1,
        Op::Cmp(_) | Op::Fcmp(_) => 2,
        Op::Dot4(_) if m.vnni => 0,
        Op::Dot4(_) => 4,
        Op::Dot2(_) if m.vnni => 0,
        Op::Dot2(_) => {
            // The sum and one factor may be in memory.
            let both = [1, 2].iter().all(|&i| literal(&f.operands(op)[i]));
            let spent = plan.spent_factor(f.operands(op), plan.span(op).start);
            return u32::from(both) + u32::from(spent.is_none());
        }
        Op::Shuffle(_) => 2,
        Op::Extract(_) | Op::IntToFloatLow(_) | Op::Compact(_) => 1,
        Op::WidenLowS(_) | Op::WidenHighS(_) | Op::WidenLowU(_) | Op::WidenHighU(_) => 1,
        Op::LoadLow64(_) => 1,
        _ => 0,
    };
    own + literals
}
