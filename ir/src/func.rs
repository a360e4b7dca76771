//! A function: ops, values and regions in arenas, and the only code that may change them.
//!
//! Invariants: `values[v].uses` lists exactly the operand slots that hold `v`; an op is in at most
//! one region; erasing an op requires that its results have no uses.

use crate::{LocId, OpKind, Type};
use cranelift_entity::packed_option::PackedOption;
use cranelift_entity::{PrimaryMap, entity_impl};
use indexmap::IndexMap;
use smallvec::SmallVec;

/// An op of a function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(u32);
entity_impl!(OpId, "op");

/// An SSA value of a function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(u32);
entity_impl!(Value, "v");

/// A single-block region of a function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionId(u32);
entity_impl!(RegionId, "region");

/// What a function is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FuncKind {
    /// The program's entry, `func @main`.
    Main,
    /// A loop-level kernel, `kernel @name`: parameters are buffers, no results.
    Kernel,
}

/// A function.
#[derive(Clone, Debug)]
pub struct Func {
    /// Name, unique in the module.
    pub name: String,
    /// Entry or kernel.
    pub kind: FuncKind,
    /// The body; its arguments are the function's parameters.
    pub body: RegionId,
    /// Names of the model's inputs, in order (`main` only; may be empty).
    pub input_names: Vec<String>,
    /// Names of the model's outputs, in order (`main` only; may be empty).
    pub output_names: Vec<String>,
    ops: PrimaryMap<OpId, OpData>,
    values: PrimaryMap<Value, ValueData>,
    /// Few values have one, in kernels none.
    names: IndexMap<Value, String>,
    regions: PrimaryMap<RegionId, Region>,
}

/// An op: what it does, to what.
#[derive(Clone, Debug)]
pub struct OpData {
    /// The operation with its attributes.
    pub kind: OpKind,
    operands: SmallVec<[Value; 4]>,
    results: Results,
    regions: Regions,
    /// Where it came from.
    pub loc: LocId,
    /// The region it stands in; `None` once erased or before it is placed.
    parent: PackedOption<RegionId>,
}

/// Values that an op defines: mostly one, so that one takes no more than its place. Kernels have tens of
/// thousands of ops.
#[derive(Clone, Debug)]
enum Results {
    One([Value; 1]),
    Any(Box<[Value]>),
}

impl std::ops::Deref for Results {
    type Target = [Value];
    fn deref(&self) -> &[Value] {
        match self {
            Results::One(v) => v,
            Results::Any(vs) => vs,
        }
    }
}

impl From<&[Value]> for Results {
    fn from(values: &[Value]) -> Results {
        match *values {
            [v] => Results::One([v]),
            _ => Results::Any(values.into()),
        }
    }
}

/// Nested regions; only loops have some.
#[derive(Clone, Debug, Default)]
struct Regions(Option<Box<SmallVec<[RegionId; 1]>>>);

impl std::ops::Deref for Regions {
    type Target = [RegionId];
    fn deref(&self) -> &[RegionId] {
        self.0.as_deref().map_or(&[], |r| r)
    }
}

impl From<&[RegionId]> for Regions {
    fn from(regions: &[RegionId]) -> Regions {
        Regions((!regions.is_empty()).then(|| Box::new(regions.into())))
    }
}

impl OpData {
    /// Values read.
    pub fn operands(&self) -> &[Value] {
        &self.operands
    }
    /// Values defined.
    pub fn results(&self) -> &[Value] {
        &self.results
    }
    /// Nested regions.
    pub fn regions(&self) -> &[RegionId] {
        &self.regions
    }
    /// The region it stands in.
    pub fn parent(&self) -> Option<RegionId> {
        self.parent.expand()
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueDef {
    /// Result `index` of an op.
    Result { op: OpId, index: u32 },
    /// Argument `index` of a region.
    Arg { region: RegionId, index: u32 },
}

/// Operand slots; most values have one or two.
type Uses = SmallVec<[(OpId, u32); 2]>;

/// A value's type, origin and uses.
#[derive(Clone, Debug)]
pub struct ValueData {
    /// Its type.
    pub ty: Type,
    /// Who defines it.
    pub def: ValueDef,
    uses: Uses,
}

impl ValueData {
    /// The operand slots that hold this value.
    pub fn uses(&self) -> &[(OpId, u32)] {
        &self.uses
    }
}

/// A list of ops with arguments.
#[derive(Clone, Debug, Default)]
pub struct Region {
    /// Values defined on entry.
    pub args: Vec<Value>,
    /// Ops in order; the last one is a terminator.
    pub ops: Vec<OpId>,
}

impl Func {
    /// An empty function with the given parameter types.
    pub fn new(name: &str, kind: FuncKind, params: &[Type]) -> Self {
        let mut regions = PrimaryMap::new();
        let body = regions.push(Region::default());
        let mut func = Func {
            name: name.to_string(),
            kind,
            body,
            input_names: vec![],
            output_names: vec![],
            ops: PrimaryMap::new(),
            values: PrimaryMap::new(),
            names: IndexMap::new(),
            regions,
        };
        for ty in params {
            func.add_arg(body, ty.clone());
        }
        func
    }

    /// The function's parameters.
    pub fn params(&self) -> &[Value] {
        &self.regions[self.body].args
    }
    /// The operands of the final `return`, or nothing.
    pub fn returned(&self) -> &[Value] {
        self.regions[self.body].ops.last().map_or(&[], |&op| self.ops[op].operands())
    }
    /// An op.
    pub fn op(&self, op: OpId) -> &OpData {
        &self.ops[op]
    }
    /// What an op does.
    pub fn kind(&self, op: OpId) -> &OpKind {
        &self.ops[op].kind
    }
    /// To change an op's attributes; operands go through [`Func::set_operand`].
    pub fn kind_mut(&mut self, op: OpId) -> &mut OpKind {
        &mut self.ops[op].kind
    }
    /// Values that an op reads.
    pub fn operands(&self, op: OpId) -> &[Value] {
        &self.ops[op].operands
    }
    /// Values that an op defines.
    pub fn results(&self, op: OpId) -> &[Value] {
        &self.ops[op].results
    }
    /// The only result of an op that has exactly one.
    pub fn result(&self, op: OpId) -> Value {
        self.ops[op].results[0]
    }
    /// A value.
    pub fn value(&self, v: Value) -> &ValueData {
        &self.values[v]
    }
    /// A value's type.
    pub fn ty(&self, v: Value) -> &Type {
        &self.values[v].ty
    }
    /// Changes a value's type (for passes that move a module between levels or plan memory).
    pub fn set_type(&mut self, v: Value, ty: Type) {
        self.values[v].ty = ty;
    }
    /// The name hint of a value, for the text form.
    pub fn name(&self, v: Value) -> Option<&str> {
        self.names.get(&v).map(String::as_str)
    }
    /// Sets the name hint of a value.
    pub fn set_name(&mut self, v: Value, name: &str) {
        self.names.insert(v, name.to_string());
    }
    /// The op that defines `v`, unless it is an argument.
    pub fn def_op(&self, v: Value) -> Option<OpId> {
        match self.values[v].def {
            ValueDef::Result { op, .. } => Some(op),
            ValueDef::Arg { .. } => None,
        }
    }
    /// A region.
    pub fn region(&self, r: RegionId) -> &Region {
        &self.regions[r]
    }
    /// Ops of the body, in order.
    pub fn body_ops(&self) -> &[OpId] {
        &self.regions[self.body].ops
    }
    /// Every op reachable from the body, outer before inner, in order.
    pub fn walk(&self) -> Vec<OpId> {
        let mut out = Vec::new();
        self.walk_region(self.body, &mut out);
        out
    }
    fn walk_region(&self, r: RegionId, out: &mut Vec<OpId>) {
        for &op in &self.regions[r].ops {
            out.push(op);
            for &inner in self.ops[op].regions() {
                self.walk_region(inner, out);
            }
        }
    }
    /// Number of values ever made; value indices are below it.
    pub fn num_values(&self) -> usize {
        self.values.len()
    }

    // ---- mutators ----

    /// Gives back memory reserved for more ops; kernels are many and finished once.
    pub fn shrink_to_fit(&mut self) {
        self.ops.shrink_to_fit();
        self.values.shrink_to_fit();
        self.regions.shrink_to_fit();
        self.regions.values_mut().for_each(|r| r.ops.shrink_to_fit());
    }

    /// A new empty region, to be given to [`Func::create_op`].
    pub fn add_region(&mut self) -> RegionId {
        self.regions.push(Region::default())
    }
    /// A new argument at the end of a region's list.
    pub fn add_arg(&mut self, region: RegionId, ty: Type) -> Value {
        let index = self.regions[region].args.len() as u32;
        let def = ValueDef::Arg { region, index };
        let v = self.values.push(ValueData { ty, def, uses: Uses::new() });
        self.regions[region].args.push(v);
        v
    }
    /// Makes an op without placing it.
    pub fn create_op(
        &mut self,
        kind: impl Into<OpKind>,
        operands: &[Value],
        result_types: &[Type],
        regions: &[RegionId],
        loc: LocId,
    ) -> OpId {
        let op = self.ops.push(OpData {
            kind: kind.into(),
            operands: operands.into(),
            results: Results::Any([].into()),
            regions: regions.into(),
            loc,
            parent: None.into(),
        });
        for (i, &v) in operands.iter().enumerate() {
            self.values[v].uses.push((op, i as u32));
        }
        let result = |(i, ty): (usize, &Type)| {
            let def = ValueDef::Result { op, index: i as u32 };
            self.values.push(ValueData { ty: ty.clone(), def, uses: Uses::new() })
        };
        let results: SmallVec<[Value; 4]> = result_types.iter().enumerate().map(result).collect();
        self.ops[op].results = results.as_slice().into();
        op
    }
    /// Places an op at the end of a region.
    pub fn append(&mut self, region: RegionId, op: OpId) {
        self.ops[op].parent = region.into();
        self.regions[region].ops.push(op);
    }
    /// Places an op right before `before`.
    pub fn insert_before(&mut self, before: OpId, op: OpId) {
        let region = self.ops[before].parent().expect("`before` is placed in a region");
        let at = self.position(region, before);
        self.ops[op].parent = region.into();
        self.regions[region].ops.insert(at, op);
    }
    /// Places an op at position `at` of a region.
    pub fn insert_at(&mut self, region: RegionId, at: usize, op: OpId) {
        self.ops[op].parent = region.into();
        self.regions[region].ops.insert(at, op);
    }
    fn position(&self, region: RegionId, op: OpId) -> usize {
        let ops = &self.regions[region].ops;
        ops.iter().position(|&o| o == op).expect("a placed op is in its parent region")
    }
    /// Makes an op and places it at the end of a region.
    pub fn push_op(
        &mut self,
        region: RegionId,
        kind: impl Into<OpKind>,
        operands: &[Value],
        result_types: &[Type],
        loc: LocId,
    ) -> OpId {
        let op = self.create_op(kind, operands, result_types, &[], loc);
        self.append(region, op);
        op
    }
    /// Replaces one operand.
    pub fn set_operand(&mut self, op: OpId, index: usize, to: Value) {
        let from = self.ops[op].operands[index];
        self.values[from].uses.retain(|u| *u != (op, index as u32));
        self.ops[op].operands[index] = to;
        self.values[to].uses.push((op, index as u32));
    }
    /// Replaces all operands (the count may change).
    pub fn set_operands(&mut self, op: OpId, to: &[Value]) {
        self.drop_uses_of(op);
        self.ops[op].operands = to.into();
        for (i, &v) in to.iter().enumerate() {
            self.values[v].uses.push((op, i as u32));
        }
    }
    /// Every use of `from` becomes a use of `to`.
    pub fn replace_uses(&mut self, from: Value, to: Value) {
        if from == to {
            return;
        }
        let uses = std::mem::take(&mut self.values[from].uses);
        for &(op, index) in &uses {
            self.ops[op].operands[index as usize] = to;
        }
        self.values[to].uses.extend(uses);
    }
    /// Removes an op whose results are unused (its regions go with it).
    pub fn erase(&mut self, op: OpId) {
        let unused = self.ops[op].results.iter().all(|&v| self.values[v].uses.is_empty());
        assert!(unused, "erase needs an op whose results are unused");
        for &region in self.ops[op].regions.clone().iter() {
            for inner in self.regions[region].ops.clone().into_iter().rev() {
                self.erase(inner);
            }
        }
        self.drop_uses_of(op);
        self.ops[op].operands.clear();
        if let Some(region) = self.ops[op].parent.take() {
            let at = self.position(region, op);
            self.regions[region].ops.remove(at);
        }
    }
    fn drop_uses_of(&mut self, op: OpId) {
        for (i, v) in self.ops[op].operands.clone().into_iter().enumerate() {
            self.values[v].uses.retain(|u| *u != (op, i as u32));
        }
    }
}
