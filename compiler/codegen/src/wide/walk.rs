//! Emission: one walk over a kernel, in order.
//!
//! Invariants: a value has a register from its definition to its last use ([`Plan`]), and its
//! register holds it on every path; registers freed by an op may be taken by its result. Carried
//! values have one register all through their loop: the next value is computed into it where that
//! is possible, else moved there by the `yield`.

use super::anchors::{Anchors, Place, step};
use super::asm::{Asm, Mem, Operand};
use super::codes::*;
use super::literals::Literal;
use super::machine::{Machine, xmm};
use super::plan::{Class, Plan, trips};
use super::regs::{Convention, File, SCRATCH, SCRATCH_MASK};
use super::residents::Resident;
use super::tiles::TileFile;
use crate::CodegenError;
use crate::addr::access;
use cranelift_codegen::entity::SecondaryMap;
use iced_x86::{Code, Instruction, Register};
use indexmap::IndexMap;
use qcc_ir::dialect::loops::{For, Op};
use qcc_ir::{OpId, OpKind, RegionId, Value};

/// Where a value is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Loc {
    #[default]
    Nowhere,
    Vector(u8),
    Mask(u8),
    General(u8),
    Tile(u8),
}

/// Where an anchor or counter is now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Held {
    Not,
    Register(u8),
    Slot(usize),
}

pub(super) struct Walk<'a> {
    pub m: Machine,
    pub plan: &'a Plan<'a>,
    pub asm: Asm,
    pub convention: Convention,
    pub vectors: File,
    pub masks: File,
    pub general: File,
    pub tiles: TileFile,
    loc: SecondaryMap<Value, Loc>,
    /// The register that the values of a group want.
    home: SecondaryMap<Value, Option<u8>>,
    pub anchors: &'a Anchors,
    pub held: Vec<Held>,
    /// Anchor and distance of each pointer that is known here.
    bound: Vec<Option<i64>>,
    /// Stack slots in use, and ever used.
    slots: Vec<bool>,
    /// Literals in registers, by their start; how many have started; those that are, with their
    /// registers and ends.
    residents: &'a [Resident],
    started: usize,
    resident: IndexMap<Literal, (u8, u32)>,
    /// The first end among those.
    next_end: u32,
    /// Vector registers to release when the op is done.
    temps: Vec<u8>,
    /// The current position.
    pub at: u32,
}

/// What a loop has to know at its end.
struct Frame {
    op: OpId,
    args: Vec<Value>,
    targets: Vec<Loc>,
    /// Distances when the body starts.
    bound: Vec<Option<i64>>,
    /// Pointers that this loop advances.
    carried: Vec<usize>,
}

type Result<T> = std::result::Result<T, CodegenError>;

impl<'a> Walk<'a> {
    pub fn new(
        plan: &'a Plan<'a>,
        anchors: &'a Anchors,
        residents: &'a [Resident],
        convention: Convention,
        list: bool,
    ) -> Walk<'a> {
        let mut masks = File::new(8);
        masks.claim(0); // it means no mask
        masks.claim(SCRATCH_MASK);
        Walk {
            m: plan.machine,
            plan,
            asm: Asm::new(list),
            convention,
            vectors: File::new(plan.machine.registers()),
            masks,
            general: File::new(convention.registers.len()),
            tiles: TileFile::default(),
            loc: SecondaryMap::new(),
            home: SecondaryMap::new(),
            anchors,
            held: vec![Held::Not; anchors.items.len()],
            bound: vec![None; anchors.pointers.len()],
            slots: vec![],
            residents,
            started: 0,
            resident: IndexMap::new(),
            next_end: u32::MAX,
            temps: vec![],
            at: 0,
        }
    }

    /// Number of 8-byte stack slots.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Emits the whole body; parameters are bound.
    pub fn run(&mut self) -> Result<()> {
        self.start_tiles();
        self.region(self.plan.kernel.body)?;
        self.finish_tiles();
        Ok(())
    }

    /// Parameters that come in registers stay there; those without a register are in slots. The
    /// kernel's own buffers are parameters that no one gives.
    pub fn bind_params(&mut self) -> Result<()> {
        let params = self.plan.kernel.params();
        let mut later = vec![];
        for (&mem, &pointer) in &self.anchors.params {
            let n = params.iter().position(|&p| p == mem);
            let anchor = self.anchors.pointers[pointer].anchor;
            self.bound[pointer] = Some(0);
            let given = n.and_then(|n| self.convention.params.get(n));
            match (self.anchors.items[anchor].place, given) {
                (Place::Register, Some(&r)) => {
                    let r = self.general.take(Some(self.convention.number(r)));
                    self.held[anchor] = Held::Register(r.expect("all are free"));
                }
                _ => later.push(anchor),
            }
        }
        for anchor in later {
            self.hold(anchor)?;
        }
        Ok(())
    }

    fn region(&mut self, region: RegionId) -> Result<()> {
        for &op in self.plan.ops(region) {
            let OpKind::Loop(kind) = self.plan.kernel.kind(op) else {
                self.at = self.plan.span(op).start;
                continue; // `return`
            };
            match kind {
                Op::Yield(_) => {}
                Op::For(spec) => self.for_loop(op, spec)?,
                _ => self.value_op(op, kind)?,
            }
        }
        Ok(())
    }

    fn value_op(&mut self, op: OpId, kind: &Op) -> Result<()> {
        let position = self.plan.span(op).start;
        let skip = self.plan.kernel.results(op).first().is_some_and(|&v| {
            use Class::{Folded, Integer, Literal, Zeros};
            matches!(self.plan.class(v), Literal(_) | Integer(_) | Folded(_) | Zeros)
                || self.plan.root(v) != v
        });
        self.begin(position)?;
        if !skip {
            self.emit(op, kind)?;
        }
        self.end(position);
        self.release_params(position);
        Ok(())
    }

    fn emit(&mut self, op: OpId, kind: &Op) -> Result<()> {
        if self.memory_op(op, kind)? || self.tile_op(op, kind)? {
            return Ok(());
        }
        let v = self.plan.kernel.result(op);
        match self.plan.class(v) {
            Class::General => self.scalar_op(op, kind),
            _ => self.vector_op(op, kind),
        }
    }

    // ---- positions ----

    /// Makes the literals that are in registers from here on.
    fn begin(&mut self, at: u32) -> Result<()> {
        self.at = at;
        let residents = self.residents;
        while let Some(next) = residents.get(self.started).filter(|r| r.from <= at) {
            self.started += 1;
            let r = self.take_vector(None)?;
            self.materialize(r, &next.literal);
            self.resident.insert(next.literal.clone(), (r, next.to));
            self.next_end = self.next_end.min(next.to);
        }
        Ok(())
    }

    /// Releases what is not needed behind `at`.
    fn end(&mut self, at: u32) {
        self.release_dying(at);
        if at < self.next_end {
            return;
        }
        let vectors = &mut self.vectors;
        self.resident.retain(|_, &mut (r, to)| {
            if to <= at {
                vectors.release(r);
            }
            to > at
        });
        self.next_end = self.resident.values().map(|r| r.1).min().unwrap_or(u32::MAX);
    }

    /// Releases parameters that nothing reads behind `at`, the end of an op or loop.
    fn release_params(&mut self, at: u32) {
        for &pointer in self.anchors.params.values() {
            let anchor = self.anchors.pointers[pointer].anchor;
            if self.anchors.items[anchor].to == at {
                self.release_item(anchor);
            }
        }
    }

    /// Releases operands that die at `at`, and temporaries: the result may have their registers.
    pub fn release_operands(&mut self) {
        self.release_dying(self.at);
    }

    fn release_dying(&mut self, at: u32) {
        while let Some(r) = self.temps.pop() {
            self.vectors.release(r);
        }
        let plan = self.plan;
        for &v in &plan.expiring[at as usize] {
            match std::mem::take(&mut self.loc[v]) {
                Loc::Vector(r) => self.vectors.release(r),
                Loc::General(r) => self.general.release(r),
                Loc::Mask(r) => self.masks.release(r),
                Loc::Tile(t) => self.tiles.release(t),
                Loc::Nowhere => {}
            }
        }
    }

    // ---- registers ----

    pub fn fail(&self, why: impl Into<String>) -> CodegenError {
        CodegenError::Kernel { kernel: self.plan.kernel.name.clone(), why: why.into() }
    }
    pub fn loc(&self, v: Value) -> Loc {
        self.loc[self.plan.root(v)]
    }

    pub fn take_vector(&mut self, prefer: Option<u8>) -> Result<u8> {
        let n = self.m.registers();
        let found = self.vectors.take(prefer);
        found.ok_or_else(|| {
            self.fail(format!("more than {n} vectors are needed at once: use a smaller tile"))
        })
    }
    pub fn take_general(&mut self, prefer: Option<u8>) -> Result<u8> {
        let found = self.general.take(prefer);
        found.ok_or_else(|| self.fail("more scalars and pointers are needed at once than 13"))
    }
    /// A vector register until the op is done.
    pub fn temp(&mut self) -> Result<u8> {
        let r = self.take_vector(None)?;
        self.temps.push(r);
        Ok(r)
    }
    /// A register for the vector or float `v`.
    pub fn define_vector(&mut self, v: Value) -> Result<u8> {
        let group = self.plan.group(v);
        let r = self.take_vector(self.home[group])?;
        self.home[group].get_or_insert(r);
        self.loc[v] = Loc::Vector(r);
        Ok(r)
    }
    /// A register for the integer `v`.
    pub fn define_general(&mut self, v: Value) -> Result<Register> {
        let group = self.plan.group(v);
        let r = self.take_general(self.home[group])?;
        self.home[group].get_or_insert(r);
        self.loc[v] = Loc::General(r);
        Ok(self.convention.registers[r as usize])
    }
    /// A mask register for the comparison `v`; without one left it is a vector.
    pub fn define_mask(&mut self, v: Value) -> Option<u8> {
        let k = self.masks.take(None)?;
        self.loc[v] = Loc::Mask(k);
        Some(k)
    }
    /// `to` takes over the register of `from`, which dies here; false if it has none or lives on.
    pub fn take_over(&mut self, from: Value, to: Value) -> Option<u8> {
        let from = self.plan.root(from);
        if !self.plan.dies(from, self.at) {
            return None;
        }
        let Loc::Vector(r) = self.loc[from] else { return None };
        self.loc[from] = Loc::Nowhere;
        self.loc[to] = Loc::Vector(r);
        self.home[self.plan.group(to)].get_or_insert(r);
        Some(r)
    }

    pub fn take_tile(&mut self, v: Value) -> Result<u8> {
        let shape = self.plan.kernel.ty(v).as_tile();
        let found = shape.and_then(|shape| self.tiles.take(shape));
        found.ok_or_else(|| self.fail("more tiles of one shape are needed at once than planned"))
    }
    /// A register for the tile `v`.
    pub fn define_tile(&mut self, v: Value) -> Result<u8> {
        let t = self.take_tile(v)?;
        self.loc[v] = Loc::Tile(t);
        Ok(t)
    }
    /// The register of a tile that has one.
    pub fn tile_of(&self, v: Value) -> Option<u8> {
        match self.loc(v) {
            Loc::Tile(t) => Some(t),
            _ => None,
        }
    }
    /// `to` takes over the register of the tile `from`.
    pub fn take_over_tile(&mut self, from: Value, to: Value) -> Result<u8> {
        match self.loc[from] {
            Loc::Tile(t) if self.plan.dies(from, self.at) => {
                self.loc[from] = Loc::Nowhere;
                self.loc[to] = Loc::Tile(t);
                Ok(t)
            }
            _ => Err(self.fail("a tile that is accumulated into is read again: a copy of a tile")),
        }
    }

    /// The literal's register, where it has one.
    pub fn resident(&self, literal: &Literal) -> Option<u8> {
        self.resident.get(literal).map(|r| r.0)
    }

    /// Puts a literal into a register.
    pub fn materialize(&mut self, r: u8, literal: &Literal) {
        let m = self.m;
        let full = m.vector(r);
        if literal.is_zero() {
            let code = if r < 16 { Code::VEX_Vpxor_xmm_xmm_xmmm128 } else { m.code(XORPS_XMM) };
            return self.asm.op(code, &[xmm(r).into(), xmm(r).into(), xmm(r).into()]);
        }
        if literal.is_ones() {
            return match m.evex {
                true => {
                    let ops = [full.into(), full.into(), full.into(), Operand::Imm8(0xFF)];
                    self.asm.op(m.code(PTERNLOGD), &ops)
                }
                false => {
                    self.asm.op(m.code(PCMPEQD), &[full.into(), full.into(), full.into()]);
                }
            };
        }
        let (forms, n) = match literal.period().len() {
            4 => (PBROADCASTD, 4),
            8 => (PBROADCASTQ, 8),
            16 => (BROADCAST128, 16),
            _ => (LOAD, m.bytes),
        };
        let memory = Mem::Literal(literal.clone(), n);
        self.asm.op(m.code(forms), &[full.into(), memory.into()]);
    }

    // ---- loops ----

    fn for_loop(&mut self, op: OpId, spec: &For) -> Result<()> {
        let span = self.plan.span(op);
        self.begin(span.start)?;
        let f = self.plan.kernel;
        let Some(region) = self.plan.body(op) else {
            let results = f.results(op).to_vec();
            self.start_values(op, &results)?;
            self.end(span.start);
            return Ok(());
        };
        let args = f.region(region).args[1..].to_vec();
        let targets = self.start_values(op, &args)?;
        if trips(spec) == 1 {
            self.release_dying(span.start);
            let frame = Frame { op, args, targets, bound: vec![], carried: vec![] };
            self.want(&frame, true);
            self.region(region)?;
            self.yield_values(&frame, region)?;
            self.finish_loop(&frame);
            return Ok(());
        }
        let carried = self.enter_pointers(op, spec)?;
        let counter = self.start_counter(op, spec)?;
        // Not earlier: what lives through the loop must not get a carried value's register.
        self.release_dying(span.start);
        let bound = self.bound.clone();
        let frame = Frame { op, args, targets, bound, carried };
        self.want(&frame, true);
        let innermost = !self.plan.ops(region).iter().any(|&o| self.plan.body(o).is_some());
        let head = self.asm.label(if innermost { 32 } else { 1 });
        self.region(region)?;
        self.yield_values(&frame, region)?;
        self.advance(&frame, spec);
        self.count(counter, op, spec);
        self.asm.jump_back(Code::Jne_rel8_64, Code::Jne_rel32_64, head);
        self.leave_pointers(&frame, spec);
        self.release_item(counter);
        self.finish_loop(&frame);
        Ok(())
    }

    /// Gives the values that a loop starts with to `to`: its carried values, or its results.
    fn start_values(&mut self, op: OpId, to: &[Value]) -> Result<Vec<Loc>> {
        let plan = self.plan;
        let mut moved = vec![];
        let mut targets = vec![];
        for (&init, &v) in plan.kernel.operands(op).iter().zip(to) {
            let root = plan.root(init);
            let loc = self.loc[root];
            if plan.dies(root, self.at) && !moved.contains(&root) && loc != Loc::Nowhere {
                moved.push(root);
                targets.push(loc);
                continue;
            }
            let target = match plan.register_class(v) {
                Class::General => {
                    let r = self.take_general(self.home[plan.group(v)])?;
                    self.copy_general(r, init);
                    Loc::General(r)
                }
                Class::Tile => {
                    if *plan.class(root) != Class::Zeros {
                        return Err(self.fail("a loop starts with a tile that lives on: a copy"));
                    }
                    let t = self.take_tile(v)?;
                    self.zero_tile(t);
                    Loc::Tile(t)
                }
                _ => {
                    let r = self.take_vector(self.home[plan.group(v)])?;
                    self.copy_vector(r, init)?;
                    Loc::Vector(r)
                }
            };
            targets.push(target);
        }
        for root in moved {
            self.loc[root] = Loc::Nowhere;
        }
        for (&v, &target) in to.iter().zip(&targets) {
            self.loc[v] = target;
            if let Loc::Vector(r) | Loc::General(r) = target {
                self.home[plan.group(v)] = Some(r);
            }
        }
        Ok(targets)
    }

    /// Marks the registers that carried values come back to.
    fn want(&mut self, frame: &Frame, yes: bool) {
        for target in &frame.targets {
            let (file, r) = match *target {
                Loc::Vector(r) => (&mut self.vectors, r),
                Loc::General(r) => (&mut self.general, r),
                _ => continue,
            };
            if yes { file.want(r) } else { file.unwant(r) }
        }
    }

    /// Puts the yielded values where the carried ones are.
    fn yield_values(&mut self, frame: &Frame, region: RegionId) -> Result<()> {
        let plan = self.plan;
        let op = *plan.kernel.region(region).ops.last().expect("verified: a yield is last");
        self.begin(plan.span(op).start)?;
        self.want(frame, false);
        let values = plan.kernel.operands(op).to_vec();
        let mut vector_moves = vec![];
        let mut general_moves = vec![];
        for (&v, target) in values.iter().zip(&frame.targets) {
            match (self.loc(v), *target) {
                (Loc::Vector(from), Loc::Vector(to)) => vector_moves.push((to, from)),
                (Loc::General(from), Loc::General(to)) => general_moves.push((to, from)),
                (Loc::Tile(from), Loc::Tile(to)) if from != to => {
                    return Err(self.fail("a loop's tile comes back in another register: a copy"));
                }
                _ => {}
            }
        }
        self.move_vectors(vector_moves);
        self.move_generals(general_moves);
        for (&v, target) in values.iter().zip(&frame.targets) {
            match (self.loc(v), *target) {
                (Loc::Nowhere, Loc::Vector(to)) => self.copy_vector(to, v)?,
                (Loc::Nowhere, Loc::General(to)) => self.copy_general(to, v),
                (Loc::Nowhere, Loc::Tile(to)) => self.zero_tile(to),
                _ => {}
            }
        }
        // From here on the targets hold the results. Values of the body are gone.
        self.end(self.at);
        let results = plan.kernel.results(frame.op);
        for ((&result, &arg), &target) in results.iter().zip(&frame.args).zip(&frame.targets) {
            debug_assert_eq!(self.loc[arg], Loc::Nowhere, "carried values die in their loop");
            match target {
                Loc::Vector(r) => self.vectors.claim(r),
                Loc::General(r) => self.general.claim(r),
                Loc::Tile(t) => self.tiles.claim(t),
                _ => {}
            }
            self.loc[result] = target;
        }
        Ok(())
    }

    /// Results that nobody reads are released.
    fn finish_loop(&mut self, frame: &Frame) {
        let at = self.plan.span(frame.op).end;
        self.release_params(at);
        for &v in self.plan.kernel.results(frame.op) {
            let info = self.plan.info(v);
            if info.to == at && info.uses == 0 {
                match std::mem::take(&mut self.loc[v]) {
                    Loc::Vector(r) => self.vectors.release(r),
                    Loc::General(r) => self.general.release(r),
                    Loc::Tile(t) => self.tiles.release(t),
                    _ => {}
                }
            }
        }
    }

    /// Parallel moves `(to, from)` between vector registers.
    fn move_vectors(&mut self, moves: Vec<(u8, u8)>) {
        let m = self.m;
        sequence(moves, |step| match step {
            Step::Move(to, from) => {
                let ops = [m.vector(to).into(), m.vector(from).into()];
                self.asm.op(m.code(MOVE), &ops);
            }
            Step::Swap(a, b) => {
                let (a, b) = (m.vector(a), m.vector(b));
                for (d, x, y) in [(a, a, b), (b, a, b), (a, a, b)] {
                    self.asm.op(m.code(PXOR), &[d.into(), x.into(), y.into()]);
                }
            }
        });
    }

    fn move_generals(&mut self, moves: Vec<(u8, u8)>) {
        let registers = self.convention.registers;
        let wide = |r: u8| registers[r as usize];
        sequence(moves, |step| match step {
            Step::Move(to, from) => {
                self.asm.made(Instruction::with2(Code::Mov_r64_rm64, wide(to), wide(from)));
            }
            Step::Swap(a, b) => {
                self.asm.made(Instruction::with2(Code::Xchg_rm64_r64, wide(a), wide(b)));
            }
        });
    }

    // ---- pointers and counters ----

    /// Gives an anchor or counter its place.
    fn hold(&mut self, item: usize) -> Result<Held> {
        let held = match self.anchors.items[item].place {
            Place::Register => Held::Register(self.take_general(None)?),
            Place::Slot => {
                let free = self.slots.iter().position(|used| !used);
                let slot = free.unwrap_or(self.slots.len());
                if free.is_none() {
                    self.slots.push(true);
                }
                self.slots[slot] = true;
                Held::Slot(slot)
            }
        };
        self.held[item] = held;
        Ok(held)
    }

    fn release_item(&mut self, item: usize) {
        match std::mem::replace(&mut self.held[item], Held::Not) {
            Held::Register(r) => self.general.release(r),
            Held::Slot(slot) => self.slots[slot] = false,
            Held::Not => {}
        }
    }

    pub fn slot(&self, slot: usize) -> Mem {
        Mem::at(Register::RSP, 8 * slot as i64)
    }

    /// The base register of an anchor; one in a slot is read into `scratch`.
    fn base(&mut self, anchor: usize, scratch: Register) -> Result<Register> {
        match self.held[anchor] {
            Held::Register(r) => Ok(self.convention.registers[r as usize]),
            Held::Slot(slot) => {
                let slot = self.slot(slot);
                self.asm.gpr_mem(Code::Mov_r64_rm64, scratch, &slot);
                Ok(scratch)
            }
            Held::Not => Err(self.fail("an address outside its loops")),
        }
    }

    /// The memory at `offset` behind pointer `id`; may change `scratch`.
    fn pointed(&mut self, id: usize, offset: i64, scratch: Register) -> Result<Mem> {
        let outside = || self.fail("an address outside its loops");
        let distance = self.bound[id].ok_or_else(outside)?;
        let base = self.base(self.anchors.pointers[id].anchor, scratch)?;
        let at = distance.wrapping_add(offset);
        if i32::try_from(at).is_ok() {
            return Ok(Mem::at(base, at));
        }
        let far = SCRATCH[1];
        if base == far {
            self.add_constant(far, at);
            return Ok(Mem::at(far, 0));
        }
        self.asm.made(Instruction::with2(Code::Mov_r64_imm64, far, at));
        Ok(Mem::At { base, index: far, scale: 1, displacement: 0 })
    }

    fn add_constant(&mut self, r: Register, by: i64) {
        match i32::try_from(by) {
            Ok(by) => self.asm.made(Instruction::with2(add_code(by), r, by)),
            Err(_) => {
                let other = if r == SCRATCH[0] { SCRATCH[1] } else { SCRATCH[0] };
                self.asm.made(Instruction::with2(Code::Mov_r64_imm64, other, by));
                self.asm.made(Instruction::with2(Code::Add_r64_rm64, r, other));
            }
        }
    }

    /// The memory that an access op reads or writes.
    pub fn address(&mut self, op: OpId) -> Result<Mem> {
        let plan = self.plan;
        let OpKind::Loop(kind) = plan.kernel.kind(op) else { unreachable!("a loop op") };
        let access = access(kind, plan.kernel.operands(op)).expect("an access");
        let found = self.anchors.find(&access);
        let (pointer, offset) = found.ok_or_else(|| self.fail("an address outside its loops"))?;
        self.pointed(pointer, offset, SCRATCH[1])
    }

    /// Binds the pointers that the loop `op` advances.
    fn enter_pointers(&mut self, op: OpId, spec: &For) -> Result<Vec<usize>> {
        let anchors = self.anchors;
        let mut carried = vec![];
        for (id, p) in anchors.pointers.iter().enumerate() {
            let (Some(parent), true) = (p.parent, p.carrier == Some(op)) else { continue };
            let start = p.stride.wrapping_mul(spec.lo);
            if anchors.pointers[parent].anchor == p.anchor {
                self.bound[id] = self.bound[parent].map(|d| d.wrapping_add(start));
            } else {
                let from = self.pointed(parent, start, SCRATCH[0])?;
                let held = self.hold(p.anchor)?;
                let to = match held {
                    Held::Register(r) => self.convention.registers[r as usize],
                    _ => SCRATCH[0],
                };
                self.lea(to, &from);
                if let Held::Slot(slot) = held {
                    let slot = self.slot(slot);
                    self.asm.op(Code::Mov_rm64_r64, &[slot.into(), to.into()]);
                }
                self.bound[id] = Some(0);
            }
            carried.push(id);
        }
        Ok(carried)
    }

    fn lea(&mut self, to: Register, from: &Mem) {
        match *from {
            Mem::At { base, index: Register::None, displacement: 0, .. } => {
                self.asm.made(Instruction::with2(Code::Mov_r64_rm64, to, base));
            }
            _ => self.asm.gpr_mem(Code::Lea_r64_m, to, from),
        }
    }

    /// Advances anchors to where the next iteration expects them.
    fn advance(&mut self, frame: &Frame, spec: &For) {
        let anchors = self.anchors;
        let mut by: IndexMap<usize, i64> = IndexMap::new();
        for (id, before) in frame.bound.iter().enumerate() {
            let (Some(before), Some(now)) = (before, self.bound[id]) else { continue };
            // The anchor moved by what the distance lost.
            by.insert(anchors.pointers[id].anchor, now - before);
        }
        for &id in &frame.carried {
            let p = &anchors.pointers[id];
            *by.entry(p.anchor).or_default() += step(p, spec);
        }
        for (anchor, by) in by {
            match self.held[anchor] {
                _ if by == 0 => {}
                Held::Register(r) => self.add_constant(self.convention.registers[r as usize], by),
                Held::Slot(slot) => {
                    let slot = self.slot(slot);
                    self.asm.gpr_mem(Code::Mov_r64_rm64, SCRATCH[0], &slot);
                    self.add_constant(SCRATCH[0], by);
                    self.asm.op(Code::Mov_rm64_r64, &[slot.into(), SCRATCH[0].into()]);
                }
                Held::Not => {}
            }
        }
    }

    /// Behind the loop: its pointers are gone, those they shared anchors with are further back.
    fn leave_pointers(&mut self, frame: &Frame, spec: &For) {
        self.bound.clone_from(&frame.bound);
        let anchors = self.anchors;
        for &id in &frame.carried {
            let p = &anchors.pointers[id];
            self.bound[id] = None;
            let Some(parent) = p.parent else { continue };
            if anchors.pointers[parent].anchor == p.anchor {
                let moved = step(p, spec).wrapping_mul(trips(spec) as i64);
                for (other, bound) in self.bound.iter_mut().enumerate() {
                    if anchors.pointers[other].anchor == p.anchor {
                        *bound = bound.map(|d| d.wrapping_sub(moved));
                    }
                }
            } else {
                self.release_item(p.anchor);
            }
        }
    }

    fn start_counter(&mut self, op: OpId, spec: &For) -> Result<usize> {
        let item = self.anchors.counter(op).expect("every loop has a counter");
        let first = if self.is_counted(op) { spec.lo } else { trips(spec) as i64 };
        match self.hold(item)? {
            Held::Register(r) => self.set_general(self.convention.registers[r as usize], first),
            Held::Slot(slot) => {
                let slot = self.slot(slot);
                self.set_general(SCRATCH[0], first);
                self.asm.op(Code::Mov_rm64_r64, &[slot.into(), SCRATCH[0].into()]);
            }
            Held::Not => {}
        }
        Ok(item)
    }

    /// Whether a loop's variable is read as a number.
    fn is_counted(&self, op: OpId) -> bool {
        let region = self.plan.kernel.op(op).regions()[0];
        self.plan.counted[self.plan.kernel.region(region).args[0]]
    }

    /// Counts one iteration; the zero flag is clear while there are more.
    fn count(&mut self, item: usize, op: OpId, spec: &For) {
        let end = spec.lo.wrapping_add((trips(spec) as i64).wrapping_mul(spec.step));
        let (r, slot) = match self.held[item] {
            Held::Register(r) => (self.convention.registers[r as usize], None),
            Held::Slot(slot) => (SCRATCH[0], Some(self.slot(slot))),
            Held::Not => return,
        };
        if let Some(slot) = &slot {
            self.asm.gpr_mem(Code::Mov_r64_rm64, r, slot);
        }
        let counted = self.is_counted(op);
        if counted {
            self.add_constant(r, spec.step);
        } else {
            self.asm.made(Instruction::with2(Code::Sub_rm64_imm8, r, 1i32));
        }
        if let Some(slot) = slot {
            self.asm.op(Code::Mov_rm64_r64, &[slot.into(), r.into()]);
        }
        if counted {
            match i32::try_from(end) {
                Ok(end) => self.asm.made(Instruction::with2(Code::Cmp_rm64_imm32, r, end)),
                Err(_) => {
                    let other = SCRATCH[1];
                    self.asm.made(Instruction::with2(Code::Mov_r64_imm64, other, end));
                    self.asm.made(Instruction::with2(Code::Cmp_r64_rm64, r, other));
                }
            }
        }
    }

    /// The variable `var` as an i32 in `to`.
    pub fn read_variable(&mut self, var: Value, to: Register) -> Result<()> {
        if let Some(at) = self.anchors.fixed(var) {
            self.set_general(to, i64::from(at as i32));
            return Ok(());
        }
        let item = self.anchors.counter_of(var);
        match item.map(|i| self.held[i]) {
            Some(Held::Register(r)) => {
                let from = self.convention.registers[r as usize];
                self.asm.made(Instruction::with2(Code::Mov_r64_rm64, to, from));
            }
            Some(Held::Slot(slot)) => {
                let slot = self.slot(slot);
                self.asm.gpr_mem(Code::Mov_r64_rm64, to, &slot);
            }
            _ => return Err(self.fail("a loop variable outside its loop")),
        }
        Ok(())
    }

    /// `r` = a constant.
    pub fn set_general(&mut self, r: Register, value: i64) {
        let short = super::scalars::narrow(r, 4);
        let made = match value {
            0 => Instruction::with2(Code::Xor_r32_rm32, short, short),
            v if u32::try_from(v).is_ok() => {
                Instruction::with2(Code::Mov_r32_imm32, short, v as u32)
            }
            v if i32::try_from(v).is_ok() => Instruction::with2(Code::Mov_rm64_imm32, r, v as i32),
            v => Instruction::with2(Code::Mov_r64_imm64, r, v),
        };
        self.asm.made(made);
    }
}

fn add_code(by: i32) -> Code {
    if i8::try_from(by).is_ok() { Code::Add_rm64_imm8 } else { Code::Add_rm64_imm32 }
}

/// One of a sequence of moves.
enum Step {
    Move(u8, u8),
    Swap(u8, u8),
}

/// Parallel moves `(to, from)`, all `to` different, as a sequence.
fn sequence(mut moves: Vec<(u8, u8)>, mut emit: impl FnMut(Step)) {
    moves.retain(|(to, from)| to != from);
    while !moves.is_empty() {
        let free = moves.iter().position(|&(to, _)| moves.iter().all(|&(_, from)| from != to));
        match free {
            Some(i) => {
                let (to, from) = moves.remove(i);
                emit(Step::Move(to, from));
            }
            None => {
                // Only cycles are left: after a swap `to` has its value, and what it had is in
                // `from`.
                let (to, from) = moves.remove(0);
                emit(Step::Swap(to, from));
                for (_, other) in moves.iter_mut() {
                    match *other {
                        r if r == to => *other = from,
                        r if r == from => *other = to,
                        _ => {}
                    }
                }
                moves.retain(|(to, from)| to != from);
            }
        }
    }
}
