//! `prove-bounds`: every access of every kernel stays inside its buffer, or compilation fails.
//!
//! ```text
//! loop.for %k = 0 to 48 { %w0 = loop.load %w[%k*256 + 16] : vec<i8x16> }
//!   16 + 0·256 … 16 + 47·256 + 16 bytes  ⊆  %w : mem<12288>        ─►  proven
//! ```
//!
//! Addresses are affine in loop variables with static ranges, so the proof is interval arithmetic.
//! The index of a table lookup is bounded by the ops that compute it (clamps, zero extensions,
//! masks). A read may use a buffer's slack, a write may not; a constant buffer is never written.
//! Then every call in `main` gives each kernel a range that lies inside the caller's buffer.

use crate::{Diagnostic, Diagnostics, Drift, LevelSet, Pass, PassContext};
use indexmap::IndexMap;
use qcc_ir::dialect::{OpKind, loops};
use qcc_ir::{DType, Func, FuncKind, Level, MemType, Module, OpId, RegionId, Value, ValueDef};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "prove-bounds",
    summary: "show every memory access of every kernel in bounds",
    doc: include_str!("prove_bounds.rs"),
    needs: LevelSet::only(Level::Loop),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

fn run(m: &mut Module, _ctx: &mut PassContext) -> Result<(), Diagnostics> {
    let mut errors: Vec<Diagnostic> = Vec::new();
    for f in m.funcs.values() {
        let found = match f.kind {
            FuncKind::Kernel => Prover::new(f).check(),
            FuncKind::Main => check_calls(m, f),
        };
        let name = &f.name;
        errors
            .extend(found.into_iter().map(|e| Diagnostic::new(PASS.name, format!("{name}: {e}"))));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors.into()) }
}

/// Smallest and largest value.
type Range = (i64, i64);

/// How an access uses its buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Read,
    Write,
}

struct Prover<'a> {
    f: &'a Func,
    vars: IndexMap<Value, Range>,
    errors: Vec<String>,
}

impl<'a> Prover<'a> {
    fn new(f: &'a Func) -> Self {
        Prover { f, vars: IndexMap::new(), errors: vec![] }
    }

    fn check(mut self) -> Vec<String> {
        self.region(self.f.body);
        self.errors
    }

    fn region(&mut self, region: RegionId) {
        let f = self.f;
        for &op in &f.region(region).ops {
            let OpKind::Loop(kind) = f.kind(op) else { continue };
            match kind {
                loops::Op::For(l) if l.lo >= l.hi || l.step <= 0 => {
                    if l.step <= 0 {
                        self.errors.push(format!("{op}: a loop with step {}", l.step));
                    }
                }
                loops::Op::For(l) => {
                    let inner = f.op(op).regions()[0];
                    let last = l.lo + (l.hi - 1 - l.lo) / l.step * l.step;
                    self.vars.insert(f.region(inner).args[0], (l.lo, last));
                    self.region(inner);
                }
                _ => self.access(op, kind),
            }
        }
    }

    fn access(&mut self, op: OpId, kind: &loops::Op) {
        let operands = self.f.operands(op);
        match kind {
            loops::Op::Load(s) => {
                let bytes = self.width(self.f.result(op));
                self.affine(
                    op,
                    operands[0],
                    &operands[1..],
                    &s.strides,
                    s.offset,
                    bytes,
                    Use::Read,
                );
            }
            // An emitter may read a whole vector.
            loops::Op::LoadSplat32(s) => {
                self.affine(op, operands[0], &operands[1..], &s.strides, s.offset, 16, Use::Read);
            }
            loops::Op::LoadLow64(s) => {
                let half = self.width(self.f.result(op)) / 2;
                self.affine(op, operands[0], &operands[1..], &s.strides, s.offset, half, Use::Read);
            }
            loops::Op::Store(s) => {
                let bytes = self.width(operands[0]);
                self.affine(
                    op,
                    operands[1],
                    &operands[2..],
                    &s.strides,
                    s.offset,
                    bytes,
                    Use::Write,
                );
            }
            loops::Op::StoreLow(s) => {
                let bytes = i64::from(s.bytes);
                self.affine(
                    op,
                    operands[1],
                    &operands[2..],
                    &s.strides,
                    s.offset,
                    bytes,
                    Use::Write,
                );
            }
            loops::Op::Lookup(s) => self.lookup(op, s),
            loops::Op::TileLoad(s) => {
                let tile = self.f.result(op);
                self.tile(op, tile, operands, (&s.strides, s.offset, s.row), Use::Read);
            }
            loops::Op::TileStore(s) => {
                let address = (s.strides.as_slice(), s.offset, s.row);
                self.tile(op, operands[0], &operands[1..], address, Use::Write);
            }
            _ => {}
        }
    }

    /// All rows of a tile, at a buffer and loop variables `at`.
    fn tile(
        &mut self,
        op: OpId,
        tile: Value,
        at: &[Value],
        (strides, offset, row): (&[i64], i64, i64),
        usage: Use,
    ) {
        let Some((rows, bytes)) = self.f.ty(tile).as_tile() else {
            return self.errors.push(format!("{op}: {tile} is not a tile"));
        };
        let last = row.saturating_mul(rows as i64 - 1);
        if let Some((lo, hi)) = self.sum(op, &at[1..], strides) {
            let end = hi.saturating_add(last.max(0)).saturating_add(bytes as i64);
            let start = lo.saturating_add(last.min(0));
            let range = (offset.saturating_add(start), offset.saturating_add(end));
            self.inside(op, at[0], range, usage);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn affine(
        &mut self,
        op: OpId,
        mem: Value,
        vars: &[Value],
        strides: &[i64],
        offset: i64,
        bytes: i64,
        usage: Use,
    ) {
        if let Some((lo, hi)) = self.sum(op, vars, strides) {
            self.inside(op, mem, (offset + lo, offset + hi + bytes), usage);
        }
    }

    /// The range of Σ var·stride.
    fn sum(&mut self, op: OpId, vars: &[Value], strides: &[i64]) -> Option<Range> {
        let (mut lo, mut hi) = (0, 0);
        for (var, &stride) in vars.iter().zip(strides) {
            let Some(&(first, last)) = self.vars.get(var) else {
                self.errors.push(format!("{op}: {var} is not a loop variable in scope"));
                return None;
            };
            lo += (stride * first).min(stride * last);
            hi += (stride * first).max(stride * last);
        }
        Some((lo, hi))
    }

    fn lookup(&mut self, op: OpId, s: &loops::Lookup) {
        let operands = self.f.operands(op);
        let (lo, hi) = self.range(operands[1], 0);
        if lo < s.lo || hi > s.hi {
            let claim = format!("{op}: an index in [{lo}, {hi}] claimed in [{}, {}]", s.lo, s.hi);
            return self.errors.push(claim);
        }
        let ends = [s.offset + s.lo * s.stride, s.offset + s.hi * s.stride];
        let bytes = self.width(self.f.result(op));
        let Some((low, high)) = self.sum(op, &operands[2..], &s.strides) else { return };
        let range = (ends[0].min(ends[1]) + low, ends[0].max(ends[1]) + high + bytes);
        self.inside(op, operands[0], range, Use::Read);
    }

    fn inside(&mut self, op: OpId, mem: Value, (lo, hi): Range, usage: Use) {
        let Some(ty) = self.f.ty(mem).as_mem() else {
            return self.errors.push(format!("{op}: {mem} is not a buffer"));
        };
        let MemType { bytes, slack, constant } = ty;
        let end = match usage {
            Use::Read => bytes + u64::from(slack),
            Use::Write => bytes,
        };
        if usage == Use::Write && constant {
            self.errors.push(format!("{op}: writes a constant buffer"));
        }
        if lo < 0 || hi > end as i64 {
            self.errors.push(format!("{op}: bytes {lo}..{hi} of a buffer of {end}"));
        }
    }

    fn width(&self, v: Value) -> i64 {
        let lanes = self.f.ty(v).lanes();
        lanes.map_or(8, |(d, n)| d.size() as i64 * i64::from(n))
    }

    /// Bounds of an integer scalar, from the ops that compute it.
    fn range(&self, v: Value, depth: u32) -> Range {
        let full = match self.f.ty(v).lanes() {
            Some((d, 1)) if d.is_int() => signed_limits(d),
            _ => (i64::MIN, i64::MAX),
        };
        if let Some(&r) = self.vars.get(&v) {
            return r;
        }
        let ValueDef::Result { op, .. } = self.f.value(v).def else { return full };
        let OpKind::Loop(kind) = self.f.kind(op) else { return full };
        if depth > 32 {
            return full;
        }
        let arg = |i: usize| self.range(self.f.operands(op)[i], depth + 1);
        let exact = |lo: Option<i64>, hi: Option<i64>| match (lo, hi) {
            (Some(lo), Some(hi)) if lo >= full.0 && hi <= full.1 => (lo, hi),
            _ => full,
        };
        match kind {
            loops::Op::Iconst(c) => (c.value, c.value),
            loops::Op::IndexCast(_) | loops::Op::ExtS(_) => arg(0),
            loops::Op::Trunc(_) => {
                let (lo, hi) = arg(0);
                exact(Some(lo), Some(hi))
            }
            loops::Op::ExtU(_) => {
                let from = self.f.ty(self.f.operands(op)[0]).lanes().map_or(8, |l| l.0.size());
                let r = arg(0);
                if r.0 >= 0 { r } else { (0, (1i64 << (8 * from.min(7))) - 1) }
            }
            loops::Op::Add(_) => {
                let (a, b) = (arg(0), arg(1));
                exact(a.0.checked_add(b.0), a.1.checked_add(b.1))
            }
            loops::Op::Sub(_) => {
                let (a, b) = (arg(0), arg(1));
                exact(a.0.checked_sub(b.1), a.1.checked_sub(b.0))
            }
            loops::Op::Mul(_) => {
                let (a, b) = (arg(0), arg(1));
                let all = [(a.0, b.0), (a.0, b.1), (a.1, b.0), (a.1, b.1)];
                let all = all.map(|(x, y)| x.checked_mul(y));
                exact(all.iter().copied().min().flatten(), all.iter().copied().max().flatten())
            }
            loops::Op::MinS(_) => {
                let (a, b) = (arg(0), arg(1));
                (a.0.min(b.0), a.1.min(b.1))
            }
            loops::Op::Select(_) => {
                let (a, b) = (arg(1), arg(2));
                (a.0.min(b.0), a.1.max(b.1))
            }
            loops::Op::MaxS(_) => {
                let (a, b) = (arg(0), arg(1));
                (a.0.max(b.0), a.1.max(b.1))
            }
            loops::Op::And(_) => match (arg(0), arg(1)) {
                ((a, b), (c, d)) if a >= 0 && c >= 0 => (0, b.min(d)),
                ((a, b), _) if a >= 0 => (0, b),
                (_, (c, d)) if c >= 0 => (0, d),
                _ => full,
            },
            loops::Op::ShrS(s) => {
                let a = arg(0);
                (a.0 >> s.n.min(63), a.1 >> s.n.min(63))
            }
            _ => full,
        }
    }
}

fn signed_limits(d: DType) -> Range {
    match d.size() {
        1 => (-128, 127),
        2 => (-32768, 32767),
        4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    }
}

/// Every call hands out ranges inside the caller's buffers, and constants only where nothing
/// writes (a kernel's own parameter says so).
fn check_calls(m: &Module, main: &Func) -> Vec<String> {
    let mut errors = Vec::new();
    for op in main.walk() {
        let OpKind::Loop(loops::Op::Call(call)) = main.kind(op) else { continue };
        let Some(callee) = m.func_named(&call.kernel).map(|id| &m.funcs[id]) else {
            errors.push(format!("{op}: no kernel '{}'", call.kernel));
            continue;
        };
        let (params, mems) = (callee.params(), main.operands(op));
        if params.len() != mems.len() || mems.len() != call.offsets.len() {
            errors.push(format!("{op}: {} buffers for {} parameters", mems.len(), params.len()));
            continue;
        }
        for ((&param, &mem), &offset) in params.iter().zip(mems).zip(&call.offsets) {
            let (Some(want), Some(have)) = (callee.ty(param).as_mem(), main.ty(mem).as_mem())
            else {
                errors.push(format!("{op}: {mem} or {param} is not a buffer"));
                continue;
            };
            let end = offset.saturating_add(want.bytes);
            let reach = end.saturating_add(want.slack.into());
            let readable = have.bytes + u64::from(have.slack);
            if end > have.bytes || reach > readable || (have.constant && !want.constant) {
                errors.push(format!(
                    "{op}: {}'s {param} takes {want:?} from byte {offset} of {have:?}",
                    call.kernel
                ));
            }
        }
    }
    errors
}
