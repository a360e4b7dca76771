//! What holds for every op, whatever it computes.

use super::{Constraint, OpCheck, VerifyError, check_op, op_error, types};
use crate::dialect::{Is, OpSpec, Slot, accepts, core, loops};
use crate::{Elem, Func, FuncId, Module, OpId, OpKind, RegionId, Type, Value};
use std::collections::{HashMap, HashSet};

pub(super) const CONSTRAINTS: &[Constraint] = &[
    ("op_c1", "as many operands and results as the op's row in the table says"),
    ("op_c2", "operands are of the kinds that the row says"),
    ("op_c3", "results are of the kinds that the row says"),
    ("op_c4", "operands are defined above, in the same or an enclosing region"),
    ("op_c5", "the op may stand at the module's level"),
    ("op_c6", "loop.for has one region, other ops have none; regions nest at most 64 deep"),
    (
        "op_c7",
        "a region's last op ends it (return in functions, yield in loops), and no other does",
    ),
    ("op_c8", "a value's use-list holds exactly the operands that are this value"),
    ("op_c9", "an op stands at one place, a region belongs to one op"),
    ("op_c10", "ops that move codes: results are stored as the first operand is"),
];

/// Regions inside regions.
const MAX_DEPTH: usize = 64;

/// Checks that regions form a tree of bounded depth: what walking a function relies on.
pub(super) fn check_placement(m: &Module, id: FuncId, f: &Func, errors: &mut Vec<VerifyError>) {
    let mut todo = vec![(f.body, 0)];
    let mut regions = HashSet::from([f.body]);
    let mut ops = HashSet::new();
    while let Some((region, depth)) = todo.pop() {
        for &op in &f.region(region).ops {
            let once = ops.insert(op) && f.op(op).parent() == Some(region);
            if !once {
                errors.push(op_error(m, id, op, "op_c9", "the op stands at several places"));
                continue;
            }
            for &inner in f.op(op).regions() {
                if !regions.insert(inner) {
                    let message = "the region belongs to several ops";
                    errors.push(op_error(m, id, op, "op_c9", message));
                } else if depth + 1 >= MAX_DEPTH {
                    let message = format!("regions are more than {MAX_DEPTH} deep");
                    errors.push(op_error(m, id, op, "op_c6", &message));
                } else {
                    todo.push((inner, depth + 1));
                }
            }
        }
    }
}

/// Checks all ops of a function whose placement is fine.
pub(super) fn check_ops(m: &Module, id: FuncId, f: &Func, errors: &mut Vec<VerifyError>) {
    let mut walk = Walk { m, id, f, errors, visible: HashSet::new(), uses: HashMap::new() };
    walk.region(f.body, None);
    walk.check_use_lists();
}

struct Walk<'a> {
    m: &'a Module,
    id: FuncId,
    f: &'a Func,
    errors: &'a mut Vec<VerifyError>,
    visible: HashSet<Value>,
    uses: HashMap<Value, HashSet<(OpId, u32)>>,
}

impl Walk<'_> {
    fn check(&mut self, op: OpId) -> OpCheck<'_> {
        OpCheck { m: self.m, f: self.f, func: self.id, op, errors: self.errors }
    }

    fn region(&mut self, region: RegionId, parent: Option<OpId>) {
        let f = self.f;
        let mut defined = f.region(region).args.clone();
        self.visible.extend(&defined);
        for (i, &op) in f.region(region).ops.iter().enumerate() {
            self.operands(op);
            self.op(op);
            let is_last = i + 1 == f.region(region).ops.len();
            self.terminator(op, is_last, parent);
            for &inner in f.op(op).regions() {
                self.region(inner, Some(op));
            }
            defined.extend(f.results(op));
            self.visible.extend(f.results(op));
        }
        if f.region(region).ops.is_empty() {
            self.missing_terminator(parent);
        }
        for v in &defined {
            self.visible.remove(v);
            self.uses.entry(*v).or_default();
        }
    }

    fn operands(&mut self, op: OpId) {
        for (i, &v) in self.f.operands(op).iter().enumerate() {
            self.uses.entry(v).or_default().insert((op, i as u32));
            let defined = self.visible.contains(&v);
            let message = || format!("operand {i} is not defined above");
            self.check(op).require_id("op_c4", defined, message);
        }
    }

    fn op(&mut self, op: OpId) {
        let f = self.f;
        let before = self.errors.len();
        let (kind, spec) = (f.kind(op), f.kind(op).spec());
        let is_loop = matches!(kind, OpKind::Loop(loops::Op::For(_)));
        let level = self.m.level;
        let mut c = self.check(op);
        let fits = kind.levels().contains(&level);
        c.require_id("op_c5", fits, || format!("not an op of level {}", level.name()));
        let regions = f.op(op).regions().len();
        c.require_id("op_c6", regions == usize::from(is_loop), || format!("has {regions} regions"));
        check_slots(&mut c, spec);
        for &v in f.results(op) {
            types::check(self.m, self.id, f, Some(op), v, self.errors);
        }
        for &region in f.op(op).regions() {
            for &v in &f.region(region).args {
                types::check(self.m, self.id, f, Some(op), v, self.errors);
            }
        }
        if self.errors.len() > before || !self.operand_types_are_sound(op) {
            return;
        }
        let mut c = self.check(op);
        if spec.same_scale {
            check_same_scale(&mut c);
        }
        check_op(&mut c);
    }

    /// Whether the operands' own types are free of errors (reported where they are defined).
    fn operand_types_are_sound(&self, op: OpId) -> bool {
        let mut errors = Vec::new();
        for &v in self.f.operands(op) {
            types::check(self.m, self.id, self.f, None, v, &mut errors);
        }
        errors.is_empty()
    }

    fn terminator(&mut self, op: OpId, is_last: bool, parent: Option<OpId>) {
        let kind = self.f.kind(op);
        let fits = match parent {
            None => matches!(kind, OpKind::Core(core::Op::Return(_))),
            Some(_) => matches!(kind, OpKind::Loop(loops::Op::Yield(_))),
        };
        let expected = if parent.is_none() { "return" } else { "loop.yield" };
        let message = match (is_last, kind.spec().terminator) {
            (true, _) if !fits => format!("the last op of this region is not '{expected}'"),
            (false, true) => "there are ops behind it in its region".to_string(),
            _ => return,
        };
        self.check(op).require_id("op_c7", false, || message);
    }

    fn missing_terminator(&mut self, parent: Option<OpId>) {
        match parent {
            Some(op) => {
                let message = || "the region is empty: it needs a 'loop.yield'".to_string();
                self.check(op).require_id("op_c7", false, message);
            }
            None => {
                let message =
                    format!("in @{}: the body is empty: it needs a 'return'", self.f.name);
                self.errors.push(super::func_error(self.id, "op_c7", message));
            }
        }
    }

    fn check_use_lists(&mut self) {
        let mut values: Vec<_> = std::mem::take(&mut self.uses).into_iter().collect();
        values.sort_by_key(|(v, _)| *v);
        for (v, slots) in values {
            let listed = self.f.value(v).uses();
            let exact = listed.len() == slots.len() && listed.iter().all(|u| slots.contains(u));
            if !exact {
                let (n, k) = (listed.len(), slots.len());
                let name = &self.f.name;
                let message = format!("in @{name}: {v} lists {n} uses and has {k}, or others");
                self.errors.push(super::func_error(self.id, "op_c8", message));
            }
        }
    }
}

fn check_slots(c: &mut OpCheck, spec: &OpSpec) {
    let (operands, results) = (c.operands(), c.f.results(c.op));
    let (n, k) = (operands.len(), results.len());
    let fits = c
        .require_id("op_c1", accepts(spec.operands, n), || counts("operands", spec.operands, n))
        & c.require_id("op_c1", accepts(spec.results, k), || counts("results", spec.results, k));
    if !fits {
        return;
    }
    for (id, slots, values) in
        [("op_c2", spec.operands, operands), ("op_c3", spec.results, results)]
    {
        for (i, &v) in values.iter().enumerate() {
            let slot = &slots[i.min(slots.len() - 1)];
            let ty = c.ty(v);
            let message = || {
                let found = crate::text::print_type(ty);
                format!("'{}' is {}, found {found}", slot.name, slot.is.words())
            };
            c.require_id(id, is_kind(ty, slot.is), message);
        }
    }
}

fn counts(what: &str, slots: &[Slot], found: usize) -> String {
    let names: Vec<&str> = slots.iter().map(|s| s.name).collect();
    format!("{what} are ({}), found {found}", names.join(", "))
}

fn is_kind(ty: &Type, is: Is) -> bool {
    let elem = ty.as_tensor().map(|t| &t.elem);
    match is {
        Is::Tensor => elem.is_some(),
        Is::FloatTensor => matches!(elem, Some(Elem::Plain(d)) if d.is_float()),
        Is::QuantTensor => matches!(elem, Some(Elem::Quant(_))),
        Is::IntTensor => matches!(elem, Some(Elem::Plain(d)) if d.is_int()),
        Is::Mem => matches!(ty, Type::Mem(_)),
        Is::Index => matches!(ty, Type::Index),
        Is::Scalar => matches!(ty, Type::Scalar(_)),
        Is::Vector => matches!(ty, Type::Vector { .. }),
        Is::Lanes => ty.lanes().is_some(),
        Is::Tile => ty.as_tile().is_some(),
        Is::Carried => ty.lanes().is_some() || ty.as_tile().is_some(),
        Is::Any => true,
    }
}

fn check_same_scale(c: &mut OpCheck) {
    let storage = c.tensor(0).storage();
    let same = (0..c.f.results(c.op).len()).all(|i| c.result(i).storage() == storage);
    c.require_id("op_c10", same, || "a result is not stored as the operand is".to_string());
}
