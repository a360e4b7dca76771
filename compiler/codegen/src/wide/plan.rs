//! What emission needs to know before it starts: where values live, and until when.
//!
//! Ops are numbered in the order of the walk; a loop has the number of its op as start and that
//! of its `yield` as end. A value is live from its definition to its last use; a use inside a
//! loop that the definition is outside of counts as a use at that loop's end. Bitcasts between
//! vectors and sums with nothing are no ops at all: a value stands for its root.

use super::literals::Literal;
use super::machine::{Machine, Shape, single};
use super::schedule::{Schedule, body};
use cranelift_codegen::entity::SecondaryMap;
use qcc_ir::dialect::loops::{DotSigns, For, Op};
use qcc_ir::{DType, Func, OpId, OpKind, RegionId, Type, Value};
use smallvec::SmallVec;

/// Where a value is kept.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) enum Class {
    /// Nowhere: nobody reads it.
    #[default]
    Unused,
    /// A vector register: vectors and float scalars.
    Vector,
    /// A mask register: comparisons that only selects read.
    Mask,
    /// A general register.
    General,
    /// A tile register.
    Tile,
    /// A tile of zeros: nowhere until something is accumulated into it.
    Zeros,
    /// The literal pool.
    Literal(Literal),
    /// An immediate.
    Integer(i64),
    /// Memory: a load done by the one op that reads it.
    Folded(OpId),
    /// A loop variable or a buffer.
    Address,
}

impl Class {
    /// Whether such a value is in a register that is released when it dies.
    fn is_register(&self) -> bool {
        matches!(self, Class::Vector | Class::General | Class::Mask | Class::Tile)
    }
}

/// What is known about a value.
#[derive(Clone, Debug, Default)]
pub(super) struct Info {
    pub class: Class,
    /// Where it is defined.
    pub from: u32,
    /// Where it is read last.
    pub to: u32,
    /// Ops that read it, bitcasts looked through.
    pub uses: u32,
}

/// An op's place in the walk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub start: u32,
    /// Of a loop: its `yield`. Else: `start`.
    pub end: u32,
}

/// A kernel, seen before it is emitted.
pub(super) struct Plan<'a> {
    pub kernel: &'a Func,
    pub machine: Machine,
    info: SecondaryMap<Value, Info>,
    root: SecondaryMap<Value, Option<Value>>,
    span: SecondaryMap<OpId, Span>,
    schedule: Schedule,
    /// All live ops in order, loops before their bodies.
    pub order: Vec<OpId>,
    /// The end of the outermost loop around each position.
    outermost_end: Vec<u32>,
    /// Values read last at each position.
    pub expiring: Vec<SmallVec<[Value; 2]>>,
    /// Loop variables whose value is read.
    pub counted: SecondaryMap<Value, bool>,
    /// Values that would best share a register, each with another of its group.
    group: SecondaryMap<Value, Option<Value>>,
}

impl<'a> Plan<'a> {
    pub fn new(kernel: &'a Func, machine: Machine) -> Plan<'a> {
        let mut plan = Plan {
            kernel,
            machine,
            info: SecondaryMap::new(),
            root: SecondaryMap::new(),
            span: SecondaryMap::new(),
            schedule: Schedule::new(kernel),
            order: vec![],
            outermost_end: vec![],
            expiring: vec![],
            counted: SecondaryMap::new(),
            group: SecondaryMap::new(),
        };
        plan.number(kernel.body, &mut 0);
        plan.find_outermost_loops();
        plan.classify();
        plan.find_folds();
        plan.find_masks();
        plan.find_last_uses(kernel.body, &mut vec![]);
        plan.expire();
        plan.find_groups();
        plan
    }

    /// The value that `v` is another name of.
    pub fn root(&self, v: Value) -> Value {
        self.root[v].unwrap_or(v)
    }
    pub fn info(&self, v: Value) -> &Info {
        &self.info[self.root(v)]
    }
    pub fn class(&self, v: Value) -> &Class {
        &self.info(v).class
    }
    pub fn span(&self, op: OpId) -> Span {
        self.span[op]
    }
    /// Whether the result of an op is another name of an operand.
    pub fn is_no_op(&self, op: OpId) -> bool {
        self.kernel.results(op).first().is_some_and(|&v| self.root(v) != v)
    }
    /// The ops of a region that are emitted, in order.
    pub fn ops(&self, region: RegionId) -> &[OpId] {
        self.schedule.ops(region)
    }
    /// Number of positions.
    pub fn len(&self) -> usize {
        self.expiring.len()
    }
    /// Element type and number of lanes.
    pub fn lanes(&self, v: Value) -> (DType, u8) {
        self.kernel.ty(v).lanes().unwrap_or((DType::I64, 1))
    }
    pub fn is_vector(&self, v: Value) -> bool {
        matches!(self.kernel.ty(v), Type::Vector { .. })
    }
    /// Whether `v` is read last at `at`.
    pub fn dies(&self, v: Value, at: u32) -> bool {
        let info = self.info(v);
        info.class.is_register() && info.to == at
    }

    /// A factor of `acc + a·b` in a vector register that nothing reads afterwards.
    pub fn spent_factor(&self, operands: &[Value], at: u32) -> Option<Value> {
        let (acc, factors) = (self.root(operands[0]), &operands[1..]);
        let spent = |v: &Value| {
            *self.class(*v) == Class::Vector && self.dies(*v, at) && self.root(*v) != acc
        };
        factors.iter().copied().find(spent)
    }

    /// The body of a loop that has iterations.
    pub fn body(&self, op: OpId) -> Option<RegionId> {
        body(self.kernel, op)
    }

    fn number(&mut self, region: RegionId, next: &mut u32) {
        for op in self.ops(region).to_vec() {
            let start = *next;
            *next += 1;
            self.order.push(op);
            self.span[op] = Span { start, end: start };
            if let Some(inner) = self.body(op) {
                self.number(inner, next);
                self.span[op].end = *next - 1;
            }
        }
        self.expiring.resize(*next as usize, SmallVec::new());
    }

    fn find_outermost_loops(&mut self) {
        for op in self.ops(self.kernel.body).to_vec() {
            let span = self.span[op];
            self.outermost_end.resize(span.end as usize + 1, span.end);
        }
    }

    fn classify(&mut self) {
        let f = self.kernel;
        for &param in f.params() {
            self.info[param].class = Class::Address;
        }
        for op in self.order.clone() {
            let OpKind::Loop(kind) = f.kind(op) else { continue };
            if let Some(from) = self.same_bits(op, kind) {
                self.root[f.result(op)] = Some(self.root(from));
                continue;
            }
            if let Some(inner) = self.body(op) {
                let (&var, carried) =
                    f.region(inner).args.split_first().expect("verified: a loop has a variable");
                self.info[var].class = Class::Address;
                for &v in carried {
                    self.define(v, self.span[op].start);
                }
            }
            for &v in f.results(op) {
                self.define(v, self.span[op].end);
                match kind {
                    Op::Iconst(c) if self.info[v].class == Class::General => {
                        let unused = 64 - 8 * self.lanes(v).0.size() as u32;
                        self.info[v].class = Class::Integer(c.value << unused >> unused);
                    }
                    Op::Iconst(c) => {
                        let literal = Literal::lanes(c.value, self.lanes(v).0.size());
                        self.info[v].class = Class::Literal(literal);
                    }
                    Op::Splat(_) => {
                        if let Some(literal) = self.splat_literal(f.operands(op)[0]) {
                            self.info[v].class = Class::Literal(literal);
                        }
                    }
                    Op::TileZero(_) => self.info[v].class = Class::Zeros,
                    Op::Fconst(c) => {
                        let literal = match self.lanes(v).0 {
                            DType::F32 => Literal::repeat(&(c.value as f32).to_le_bytes()),
                            _ => Literal::repeat(&c.value.to_le_bytes()),
                        };
                        self.info[v].class = Class::Literal(literal);
                    }
                    _ => {}
                }
            }
            self.count_uses(op, kind);
        }
    }

    /// The operand whose bits are the result, in the same kind of register: bitcasts, and sums
    /// with nothing (a zero point of 0).
    fn same_bits(&self, op: OpId, kind: &Op) -> Option<Value> {
        let operands = self.kernel.operands(op);
        let zero = |i: usize| match self.class(operands[i]) {
            Class::Literal(l) => l.is_zero(),
            Class::Integer(n) => *n == 0,
            _ => false,
        };
        match kind {
            Op::Bitcast(_) => {
                let [from, to] = [operands[0], self.kernel.result(op)];
                (self.register_class(from) == self.register_class(to)).then_some(from)
            }
            Op::Add(_) | Op::Or(_) | Op::Xor(_) if zero(0) => Some(operands[1]),
            Op::Add(_) | Op::Sub(_) | Op::Or(_) | Op::Xor(_) if zero(1) => Some(operands[0]),
            _ => None,
        }
    }

    /// A constant scalar in every lane.
    fn splat_literal(&self, v: Value) -> Option<Literal> {
        match self.class(v) {
            Class::Integer(n) => Some(Literal::lanes(*n, self.lanes(v).0.size())),
            Class::Literal(l) => Some(l.clone()),
            _ => None,
        }
    }

    fn count_uses(&mut self, op: OpId, kind: &Op) {
        for &v in self.kernel.operands(op) {
            let root = self.root(v);
            self.info[root].uses += 1;
        }
        if let Op::IndexCast(_) = kind {
            self.counted[self.kernel.operands(op)[0]] = true;
        }
    }

    fn define(&mut self, v: Value, at: u32) {
        let class = self.register_class(v);
        self.info[v] = Info { class, from: at, to: at, uses: 0 };
    }

    /// The last position of the outermost loop around a position; itself outside of loops.
    pub fn end_of_outermost_loop(&self, at: u32) -> u32 {
        self.outermost_end[at as usize]
    }

    /// The kind of register that a value of this type is in.
    pub fn register_class(&self, v: Value) -> Class {
        match self.kernel.ty(v) {
            Type::Vector { .. } => Class::Vector,
            Type::Scalar(d) if d.is_float() => Class::Vector,
            Type::Scalar(_) => Class::General,
            Type::Tile { .. } => Class::Tile,
            _ => Class::Address,
        }
    }

    /// Loads that the one op that reads them does: in the same region, nothing stored in between.
    fn find_folds(&mut self) {
        let f = self.kernel;
        let mut last_store: i64 = -1;
        for op in self.order.clone() {
            let OpKind::Loop(kind) = f.kind(op) else { continue };
            if matches!(kind, Op::Store(_) | Op::StoreLow(_) | Op::TileStore(_)) {
                last_store = i64::from(self.span[op].start);
            }
            if self.is_no_op(op) {
                continue;
            }
            for (slot, form) in memory_slots(self, op, kind) {
                let v = self.root(f.operands(op)[slot]);
                let Some(load) = f.def_op(v) else { continue };
                let fits = self.info[v].uses == 1
                    && f.op(load).parent() == f.op(op).parent()
                    && i64::from(self.span[load].start) > last_store
                    && self.is_load(load, form);
                if fits {
                    self.info[v].class = Class::Folded(load);
                    break;
                }
            }
        }
    }

    /// Whether `load` reads memory in the given form.
    fn is_load(&self, load: OpId, form: Form) -> bool {
        let v = self.kernel.result(load);
        let OpKind::Loop(kind) = self.kernel.kind(load) else { return false };
        match (kind, form) {
            (Op::Load(_), Form::Vector(_)) => self.is_vector(v),
            (Op::LoadSplat32(_), Form::Vector(repeats)) => repeats == 4 && self.machine.evex,
            (Op::Load(_), Form::Scalar) => !self.is_vector(v),
            (Op::LoadLow64(_), Form::Halves) => true,
            _ => false,
        }
    }

    /// Comparisons that live in mask registers.
    fn find_masks(&mut self) {
        if !self.machine.evex {
            return;
        }
        let f = self.kernel;
        for op in self.order.clone() {
            if !matches!(f.kind(op), OpKind::Loop(Op::Cmp(_) | Op::Fcmp(_))) {
                continue;
            }
            let v = f.result(op);
            let selects = f.value(v).uses().iter().all(|&(user, slot)| {
                let select = matches!(f.kind(user), OpKind::Loop(Op::Select(_)));
                select && slot == 0 && f.op(user).parent() == f.op(op).parent()
            });
            if selects && self.is_vector(v) {
                self.info[v].class = Class::Mask;
            }
        }
    }

    /// `loops` are the loops around `region`, outermost first, with the regions they stand in.
    fn find_last_uses(&mut self, region: RegionId, loops: &mut Vec<(RegionId, u32)>) {
        let f = self.kernel;
        for op in self.ops(region).to_vec() {
            for &v in f.operands(op) {
                self.read(v, region, self.span[op].start, loops);
            }
            if let Some(inner) = self.body(op) {
                loops.push((region, self.span[op].end));
                self.find_last_uses(inner, loops);
                loops.pop();
            }
        }
    }

    fn read(&mut self, v: Value, region: RegionId, at: u32, loops: &[(RegionId, u32)]) {
        let root = self.root(v);
        let home = match home_region(self.kernel, root) {
            Some(home) if home != region => home,
            _ => {
                self.info[root].to = self.info[root].to.max(at);
                return;
            }
        };
        let outermost = loops.iter().find(|(around, _)| *around == home);
        let at = outermost.map_or(at, |&(_, end)| end);
        self.info[root].to = self.info[root].to.max(at);
    }

    fn expire(&mut self) {
        let f = self.kernel;
        let mut add = |v: Value| {
            let info = &self.info[v];
            if info.class.is_register() {
                self.expiring[info.to as usize].push(v);
            }
        };
        for &op in &self.order {
            if let Some(body) = body(f, op) {
                f.region(body).args[1..].iter().for_each(|&v| add(v));
            }
            for &v in f.results(op) {
                if self.root[v].is_none() {
                    add(v);
                }
            }
        }
    }

    /// The value that stands for the group of `v`: values that would best share a register.
    pub fn group(&self, v: Value) -> Value {
        let mut v = self.root(v);
        while let Some(next) = self.group[v] {
            v = next;
        }
        v
    }

    /// A loop's carried values, and accumulators with what is accumulated into them.
    fn find_groups(&mut self) {
        let f = self.kernel;
        for op in self.order.clone() {
            let OpKind::Loop(kind) = f.kind(op) else { continue };
            let at = self.span[op].start;
            let Some(region) = self.body(op) else {
                if let Some(slot) = accumulator(kind) {
                    let v = f.operands(op)[slot];
                    if self.dies(v, at) {
                        self.unite(f.result(op), v);
                    }
                }
                continue;
            };
            let last = *f.region(region).ops.last().expect("verified: a yield is last");
            let args = &f.region(region).args[1..];
            for (k, &arg) in args.iter().enumerate() {
                self.unite(f.results(op)[k], arg);
                let next = self.root(f.operands(last)[k]);
                if home_region(f, next) == Some(region) {
                    self.unite(next, arg);
                }
                if self.dies(f.operands(op)[k], at) {
                    self.unite(f.operands(op)[k], arg);
                }
            }
        }
    }

    fn unite(&mut self, a: Value, b: Value) {
        let (a, b) = (self.group(a), self.group(b));
        if a != b && self.info[a].class == self.info[b].class {
            self.group[a] = Some(b);
        }
    }
}

/// The operand that an op's instruction overwrites.
fn accumulator(kind: &Op) -> Option<usize> {
    match kind {
        Op::Dot4(_) | Op::Dot2(_) | Op::TileDot(_) => Some(0),
        Op::Fma(_) => Some(2),
        _ => None,
    }
}

/// The region that a value belongs to.
fn home_region(f: &Func, v: Value) -> Option<RegionId> {
    use qcc_ir::ValueDef;
    match f.value(v).def {
        ValueDef::Result { op, .. } => f.op(op).parent(),
        ValueDef::Arg { region, .. } => Some(region),
    }
}

/// Number of iterations.
pub(super) fn trips(s: &For) -> u64 {
    if s.lo >= s.hi { 0 } else { ((s.hi - s.lo) as u64).div_ceil(s.step as u64) }
}

/// A memory operand's form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// A full vector, or (EVEX) that many bytes repeated.
    Vector(usize),
    /// A scalar.
    Scalar,
    /// 8 bytes per 128 bits.
    Halves,
}

/// Operands of an op that may be in memory, best first, and how.
pub(super) fn memory_slots(plan: &Plan, op: OpId, kind: &Op) -> SmallVec<[(usize, Form); 3]> {
    let f = plan.kernel;
    let mut out = SmallVec::new();
    let Some(&result) = f.results(op).first() else { return out };
    if let Op::For(_) = kind {
        return out;
    }
    let m = plan.machine;
    let scalar = !plan.is_vector(result);
    let elem = plan.lanes(result).0;
    if scalar && !elem.is_float() {
        if matches!(kind, Op::ExtS(_) | Op::ExtU(_)) {
            out.push((0, Form::Scalar));
        }
        return out;
    }
    if let Some((forms, shape)) = single(m, kind, elem, scalar) {
        let form = if scalar { Form::Scalar } else { Form::Vector(forms.broadcast) };
        match shape {
            Shape::Unary => out.push((0, form)),
            Shape::Second => out.push((1, form)),
            Shape::Commutative => out.extend([(1, form), (0, form)]),
        }
        return out;
    }
    match kind {
        Op::Fma(_) if scalar => out.extend([1, 0, 2].map(|i| (i, Form::Scalar))),
        Op::Fma(_) => out.extend([1, 0, 2].map(|i| (i, Form::Vector(elem.size())))),
        Op::Dot4(s) if m.vnni && s.signs == DotSigns::U8S8 => out.push((2, Form::Vector(4))),
        Op::Dot2(_) if m.vnni => out.extend([2, 1].map(|i| (i, Form::Vector(4)))),
        Op::Dot2(_) => out.extend([2, 1].map(|i| (i, Form::Vector(0)))),
        Op::Splat(_) => out.push((0, Form::Scalar)),
        Op::WidenLowS(_) | Op::WidenLowU(_) => out.push((0, Form::Halves)),
        _ => {}
    }
    out
}
