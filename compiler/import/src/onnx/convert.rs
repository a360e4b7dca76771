//! The walk over the nodes: what each name stands for, and the ops that come of it.
//!
//! A name stands for numbers known at import ([`Known`]), for a dequantized constant ([`Dequant`],
//! whose codes a convolution can still bring into its own layout), or for a value of the function.
//! A node whose inputs are all known is evaluated, by `eval` or by the interpreter, and leaves no
//! op. Nodes that cannot be converted are all reported; what depends on them is passed over.

use super::data;
use super::functions::{self, Planned};
use super::narrow::Narrow;
use super::node::{Node, display_name, qualified};
use super::{eval, inputs, ops, proto};
use crate::{ImportError, ImportOptions, Problem, shapes};
use indexmap::IndexMap;
use qcc_ir::dialect::{core, quant};
use qcc_ir::{
    DType, Elem, Func, FuncKind, Level, LocId, Module, Numerics, OpKind, QuantType, TensorType,
    Type, Value, interp,
};
use qcc_runtime::Tensor;
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

/// Elements up to which results of known inputs are computed at import.
const MAX_FOLDED: u64 = 1 << 24;
/// Bytes of all results computed at import; beyond it nodes stay in the program.
const MAX_FOLDED_BYTES: usize = 1 << 29;
/// Problems that are reported.
const MAX_PROBLEMS: usize = 100;

/// Numbers known at import.
#[derive(Clone)]
pub struct Known {
    /// The numbers.
    pub tensor: Arc<Tensor>,
    /// Smallest and largest code of a type narrower than its storage (int4).
    pub range: Option<[i32; 2]>,
}

impl Known {
    /// A tensor of an ordinary type.
    pub fn new(tensor: Tensor) -> Known {
        Known { tensor: Arc::new(tensor), range: None }
    }
    /// Its extents.
    pub fn shape(&self) -> Vec<u64> {
        self.tensor.shape().iter().map(|&d| d as u64).collect()
    }
}

/// A constant of quantized elements that the graph reads as floats.
#[derive(Clone)]
pub struct Dequant {
    /// The codes.
    pub codes: Arc<Tensor>,
    /// Scales and zero points.
    pub quant: QuantType,
}

/// What a name stands for.
#[derive(Clone)]
pub enum Bound {
    /// Numbers known at import.
    Known(Known),
    /// A dequantized constant.
    Dequant(Dequant),
    /// A value of the function.
    Value(Value),
    /// The result of a node that could not be converted.
    Broken,
}

pub(super) struct Slot {
    pub(super) bound: Bound,
    /// The value that stands for a constant in the function, once one was needed.
    pub(super) value: Option<Value>,
}

/// A function under construction.
pub struct Converter<'a> {
    initializers: IndexMap<&'a str, &'a proto::Tensor>,
    folder: Option<&'a Path>,
    pub(super) module: Module,
    pub(super) func: Func,
    pub(super) slots: IndexMap<String, Slot>,
    /// The node being converted.
    pub(super) loc: LocId,
    folded_bytes: usize,
    /// Inside a scratch function nothing is folded: it is what folds.
    is_scratch: bool,
    /// What is of a type narrower than what it is stored as.
    pub(super) narrow: Narrow,
}

/// Converts a model.
///
/// # Errors
/// Everything that is wrong with it, with node names.
pub fn convert(
    model: &proto::Model,
    name: &str,
    folder: Option<&Path>,
    options: &ImportOptions,
) -> Result<Module, ImportError> {
    let graph = model.graph.as_ref().ok_or_else(|| {
        ImportError::one(Problem::file("the file has no graph", "export the model again"))
    })?;
    let plan = functions::plan(model, graph).map_err(ImportError::one)?;
    unsupported(&plan)?;
    let mut c = Converter::new(name, folder);
    c.interface(graph, options)?;
    c.nodes(&plan)?;
    c.finish(graph)
}

/// All operators that cannot be converted, in one error.
fn unsupported(plan: &[Planned]) -> Result<(), ImportError> {
    let mut problems = Vec::new();
    for p in plan {
        let op = qualified(&p.node.domain, &p.node.op_type);
        if ops::find(&op).is_none() {
            let fix = format!("supported operators: {}", ops::supported().join(", "));
            let what = format!("operator {op} is not supported");
            problems.push(Problem::node(&display_name(&p.node, p.index), p.index, what, &fix));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(ImportError { problems }) }
}

impl<'a> Converter<'a> {
    fn new(name: &str, folder: Option<&'a Path>) -> Self {
        Converter {
            initializers: IndexMap::new(),
            folder,
            module: Module::new(name, Level::Nn, Numerics::Onnx),
            func: Func::new("main", FuncKind::Main, &[]),
            slots: IndexMap::new(),
            loc: LocId(0),
            folded_bytes: 0,
            is_scratch: false,
            narrow: Narrow::default(),
        }
    }

    // ---- whole graph ----

    fn interface(&mut self, graph: &'a proto::Graph, o: &ImportOptions) -> Result<(), ImportError> {
        for t in &graph.initializer {
            self.initializers.insert(&t.name, t);
        }
        if let Some(t) = graph.sparse_initializer.first().and_then(|s| s.values.as_ref()) {
            let what = "sparse constants are not supported".to_string();
            let fix = "store the tensor densely";
            return Err(ImportError::one(Problem::tensor(&t.name, what, fix)));
        }
        let given = |i: &&proto::ValueInfo| !self.initializers.contains_key(i.name.as_str());
        let inputs: Vec<&proto::ValueInfo> = graph.input.iter().filter(given).collect();
        let fail = |problems| ImportError { problems };
        let shapes = inputs::shapes_of(&inputs, o).map_err(fail)?;
        let mut problems = Vec::new();
        for (input, shape) in inputs.iter().zip(shapes) {
            let ty = input.ty.as_ref().and_then(|t| t.tensor.as_ref());
            let ty = data::OnnxType(ty.map_or(0, |t| t.elem_type));
            if ty.number_of().is_some() {
                self.coded_input(&input.name, ty, &shape).map_err(|what| {
                    ImportError::one(Problem::tensor(&input.name, what, "see the input's type"))
                })?;
                continue;
            }
            let Some(dtype) = ty.dtype() else {
                let what = format!("element type {ty} is not supported");
                let fix = "supported: float32, float16 (as float32), int8, uint8, int16, uint16, int32, int64, bool";
                problems.push(Problem::tensor(&input.name, what, fix));
                continue;
            };
            let v = self.func.add_arg(self.func.body, Type::tensor(&shape, dtype));
            if let Some(range) = ty.narrow_range() {
                self.narrow.ranges.insert(input.name.clone(), range);
            }
            self.func.set_name(v, &input.name);
            self.func.input_names.push(input.name.clone());
            self.slots.insert(input.name.clone(), Slot { bound: Bound::Value(v), value: None });
        }
        if problems.is_empty() { Ok(()) } else { Err(ImportError { problems }) }
    }

    fn nodes(&mut self, plan: &[Planned]) -> Result<(), ImportError> {
        let mut problems = Vec::new();
        for p in plan {
            let (node, name) = (&p.node, display_name(&p.node, p.index));
            let loc = self.module.locs.node(&name, Some(p.index as u32));
            let op = Cow::from(qualified(&node.domain, &node.op_type));
            let node = Node { proto: node, op, name, index: p.index, opset: p.opset, loc };
            if let Err(what) = self.node(&node) {
                let what = format!("{}: {what}", node.op);
                let fix = "see the operator's definition in the ONNX documentation";
                problems.push(Problem::node(&node.name, node.index, what, fix));
                self.give_up(&node);
            }
            if problems.len() == MAX_PROBLEMS {
                break;
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(ImportError { problems }) }
    }

    fn give_up(&mut self, node: &Node) {
        for name in &node.proto.output {
            let slot = Slot { bound: Bound::Broken, value: None };
            self.slots.entry(name.clone()).or_insert(slot);
        }
    }

    /// Converts one node.
    pub(super) fn node(&mut self, node: &Node) -> Result<(), String> {
        self.loc = node.loc;
        let mut all_known = !node.proto.input.is_empty();
        for i in 0..node.proto.input.len() {
            match self.bound(node, i)? {
                Some(Bound::Broken) => {
                    self.give_up(node);
                    return Ok(());
                }
                Some(Bound::Known(_)) | None => {}
                Some(_) => all_known = false,
            }
        }
        let is_small = ops::small_float(self, node)?.is_some();
        if all_known && !is_small && !self.is_scratch && ops::folds(&node.op) && self.fold(node)? {
            return Ok(());
        }
        let convert = ops::find(&node.op);
        let convert = convert.ok_or_else(|| format!("operator {} is not supported", node.op))?;
        convert(self, node)
    }

    fn finish(mut self, graph: &proto::Graph) -> Result<Module, ImportError> {
        let mut results = Vec::new();
        self.loc = LocId(0);
        for output in &graph.output {
            let fail = |what| {
                ImportError::one(Problem::tensor(&output.name, what, "check the graph's outputs"))
            };
            let ty = output.ty.as_ref().and_then(|t| t.tensor.as_ref());
            let ty = data::OnnxType(ty.map_or(0, |t| t.elem_type));
            let codes = self.narrow.codes.get(&output.name).copied();
            if let Some(codes) = codes.filter(|_| ty.number_of().is_some()) {
                results.push(codes);
                self.func.output_names.push(output.name.clone());
                continue;
            }
            if ty.is_narrow_float() {
                let fix = "cast it to float32 in the model";
                let what = format!("an output of {ty} is not supported");
                return Err(ImportError::one(Problem::tensor(&output.name, what, fix)));
            }
            let v = self.lookup(&output.name).and_then(|b| self.value_of(&output.name, b));
            results.push(v.map_err(fail)?);
            self.func.output_names.push(output.name.clone());
        }
        Ok(self.close(&results))
    }

    fn close(mut self, results: &[Value]) -> Module {
        let body = self.func.body;
        self.func.push_op(body, core::Return {}, results, &[], LocId(0));
        self.module.funcs.push(self.func);
        self.module
    }

    // ---- folding ----

    /// Evaluates a node whose inputs are known; false if that is not possible.
    fn fold(&mut self, node: &Node) -> Result<bool, String> {
        if self.folded_bytes > MAX_FOLDED_BYTES {
            return Ok(false);
        }
        let mut knowns = Vec::new();
        for i in 0..node.proto.input.len() {
            knowns.push(self.known(node, i)?);
        }
        let results = match eval::eval(node, &knowns)? {
            Some(results) => results,
            None => match self.interpret(node, &knowns) {
                Some(results) => results,
                None => return Ok(false),
            },
        };
        self.folded_bytes += results.iter().map(|t| t.bytes().len()).sum::<usize>();
        let range = ops::cast_range(self, node)?;
        for (i, t) in results.into_iter().enumerate().filter(|(i, _)| node.has_output(*i)) {
            self.bind(node, i, Bound::Known(Known { range, ..Known::new(t) }))?;
        }
        Ok(true)
    }

    /// Converts the node alone and runs it.
    fn interpret(&self, node: &Node, inputs: &[Option<Known>]) -> Option<Vec<Tensor>> {
        let mut c = Converter::new("fold", None);
        c.is_scratch = true;
        for (known, name) in inputs.iter().zip(&node.proto.input) {
            if let Some(known) = known {
                let slot = Slot { bound: Bound::Known(known.clone()), value: None };
                c.slots.insert(name.clone(), slot);
            }
        }
        c.node(node).ok()?;
        let mut results = Vec::new();
        for name in &node.proto.output {
            if name.is_empty() {
                return None;
            }
            let bound = c.lookup(name).ok()?;
            results.push(c.value_of(name, bound).ok()?);
        }
        let too_large = |v: &Value| c.tensor_type(*v).len() > MAX_FOLDED;
        let ops = c.func.body_ops().to_vec();
        if ops.iter().flat_map(|&op| c.func.results(op)).any(too_large) {
            return None;
        }
        interp::run_main(&c.close(&results), &[]).ok()
    }

    // ---- names ----

    /// What `name` stands for.
    pub(super) fn lookup(&mut self, name: &str) -> Result<Bound, String> {
        if let Some(slot) = self.slots.get(name) {
            return Ok(slot.bound.clone());
        }
        let never = || format!("'{name}' is never computed, or only later in the file");
        let t = *self.initializers.get(name).ok_or_else(never)?;
        let tensor = data::decode(t, self.folder).map_err(|e| format!("constant '{name}': {e}"))?;
        let ty = data::OnnxType(t.data_type);
        let range = ty.narrow_range();
        if ty.is_narrow_float() {
            self.narrow.floats.insert(name.to_string(), ty);
        }
        let bound = Bound::Known(Known { tensor: Arc::new(tensor), range });
        self.slots.insert(name.to_string(), Slot { bound: bound.clone(), value: None });
        Ok(bound)
    }

    /// The value of a name, which for a constant is made on first use.
    pub(super) fn value_of(&mut self, name: &str, bound: Bound) -> Result<Value, String> {
        if let Some(v) = self.slots.get(name).and_then(|s| s.value) {
            return Ok(v);
        }
        let v = match bound {
            Bound::Value(v) => return Ok(v),
            Bound::Known(k) => self.constant(name, &k.tensor, Elem::Plain(k.tensor.dtype()))?,
            Bound::Dequant(d) => self.dequantized(name, &d)?,
            Bound::Broken => return Err(format!("'{name}' could not be converted")),
        };
        if let Some(slot) = self.slots.get_mut(name) {
            slot.value = Some(v);
        }
        Ok(v)
    }

    /// What input `i` of the node stands for; `None` if it was left out.
    pub(super) fn bound(&mut self, node: &Node, i: usize) -> Result<Option<Bound>, String> {
        node.input(i).map(|name| self.lookup(name)).transpose()
    }
    /// Input `i`, if it is there and known at import.
    pub(super) fn known(&mut self, node: &Node, i: usize) -> Result<Option<Known>, String> {
        Ok(match self.bound(node, i)? {
            Some(Bound::Known(known)) => Some(known),
            _ => None,
        })
    }
    /// Input `i` as a value.
    pub(super) fn any(&mut self, node: &Node, i: usize) -> Result<Value, String> {
        let name = node.input(i).ok_or_else(|| format!("input {i} is missing"))?;
        let bound = self.lookup(name)?;
        self.value_of(name, bound)
    }
    /// Input `i` as a value of float32.
    pub(super) fn float(&mut self, node: &Node, i: usize) -> Result<Value, String> {
        let v = self.any(node, i)?;
        match &self.tensor_type(v).elem {
            Elem::Plain(DType::F32) => Ok(v),
            elem => Err(format!(
                "input {i} has elements of {}; at run time qcc computes with float32 and quantized \
                 numbers only",
                elem.storage()
            )),
        }
    }
    /// Input `i` as a value of float32, if it is there.
    pub(super) fn opt_float(&mut self, node: &Node, i: usize) -> Result<Option<Value>, String> {
        node.input(i).is_some().then(|| self.float(node, i)).transpose()
    }
    /// The integers of input `i`, which must be known; `None` if it was left out.
    pub(super) fn ints(&mut self, node: &Node, i: usize) -> Result<Option<Vec<i64>>, String> {
        let Some(name) = node.input(i) else { return Ok(None) };
        match self.known(node, i)? {
            Some(k) if k.tensor.dtype().is_int() => Ok(Some(k.tensor.to_i64_vec())),
            Some(k) => Err(format!("input {i} holds {}, not integers", k.tensor.dtype())),
            None => Err(format!("input {i} ('{name}') must be known when the model is compiled")),
        }
    }
    /// Extents of input `i`, whatever it stands for.
    pub(super) fn shape_of(&mut self, node: &Node, i: usize) -> Result<Vec<u64>, String> {
        match self.bound(node, i)?.ok_or_else(|| format!("input {i} is missing"))? {
            Bound::Known(k) => Ok(k.shape()),
            Bound::Dequant(d) => Ok(d.codes.shape().iter().map(|&n| n as u64).collect()),
            Bound::Value(v) => Ok(self.shape(v)),
            Bound::Broken => Err(format!("input {i} could not be converted")),
        }
    }

    /// How many names there are.
    pub(super) fn names(&self) -> usize {
        self.slots.len()
    }
    /// A name inside a branch.
    pub(super) fn define(&mut self, name: &str, bound: Bound) -> Result<(), String> {
        match self.slots.insert(name.to_string(), Slot { bound, value: None }) {
            Some(_) => Err(format!("'{name}' exists already")),
            None => Ok(()),
        }
    }
    /// Forgets all names but the first `n`.
    pub(super) fn forget(&mut self, n: usize) {
        self.slots.truncate(n);
    }

    /// Says what output `j` of the node is.
    pub(super) fn bind(&mut self, node: &Node, j: usize, bound: Bound) -> Result<(), String> {
        let name = node.proto.output.get(j).ok_or_else(|| format!("output {j} is missing"))?;
        let taken = self.initializers.contains_key(name.as_str());
        if taken || self.slots.insert(name.clone(), Slot { bound, value: None }).is_some() {
            return Err(format!("its output '{name}' exists already"));
        }
        Ok(())
    }
    /// The node's only output is `v`.
    pub(super) fn done(&mut self, node: &Node, v: Value) -> Result<(), String> {
        self.bind(node, 0, Bound::Value(v))
    }

    /// Where external data may be.
    pub(super) fn folder(&self) -> Option<&'a Path> {
        self.folder
    }

    // ---- values ----

    pub(super) fn tensor_type(&self, v: Value) -> &TensorType {
        self.func.ty(v).as_tensor().expect("values of an imported graph are tensors")
    }
    pub(super) fn shape(&self, v: Value) -> Vec<u64> {
        self.tensor_type(v).shape.to_vec()
    }
    pub(super) fn elem(&self, v: Value) -> Elem {
        self.tensor_type(v).elem.clone()
    }

    /// A constant; its codes or plain numbers are `t`.
    pub(super) fn constant(&mut self, name: &str, t: &Tensor, elem: Elem) -> Result<Value, String> {
        let shape: Vec<u64> = t.shape().iter().map(|&d| d as u64).collect();
        let data = self.module.add_data(name, t.bytes());
        let ty = TensorType { shape: shape.as_slice().into(), elem, layout: None };
        self.emit(core::Const { data }, &[], ty)
    }
    /// A constant of float32.
    pub(super) fn floats(
        &mut self,
        name: &str,
        all: &[f32],
        shape: &[u64],
    ) -> Result<Value, String> {
        let extents: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
        let t = Tensor::from_slice(all, extents).map_err(|e| e.to_string())?;
        self.constant(name, &t, Elem::Plain(DType::F32))
    }
    /// A constant of quantized elements, as floats.
    pub(super) fn dequantized(&mut self, name: &str, d: &Dequant) -> Result<Value, String> {
        let q = self.constant(name, &d.codes, Elem::Quant(Arc::new(d.quant.clone())))?;
        let shape = self.shape(q);
        self.emit_f32(quant::Dequantize {}, &[q], &shape)
    }

    /// Adds an op with one result, located at the node being converted.
    pub(super) fn emit(
        &mut self,
        kind: impl Into<OpKind>,
        operands: &[Value],
        ty: TensorType,
    ) -> Result<Value, String> {
        Ok(self.emit_all(kind, operands, vec![ty])?[0])
    }
    /// Adds an op with several results.
    pub(super) fn emit_all(
        &mut self,
        kind: impl Into<OpKind>,
        operands: &[Value],
        types: Vec<TensorType>,
    ) -> Result<Vec<Value>, String> {
        for ty in &types {
            shapes::check_size(&ty.shape)?;
        }
        let types: Vec<Type> = types.into_iter().map(Type::from).collect();
        let op = self.func.push_op(self.func.body, kind, operands, &types, self.loc);
        Ok(self.func.results(op).to_vec())
    }
    /// Adds an op whose result is float32.
    pub(super) fn emit_f32(
        &mut self,
        kind: impl Into<OpKind>,
        operands: &[Value],
        shape: &[u64],
    ) -> Result<Value, String> {
        self.emit(kind, operands, TensorType::plain(shape, DType::F32))
    }
    /// Adds an op of `x` whose result has the elements of `x`.
    pub(super) fn emit_like(
        &mut self,
        kind: impl Into<OpKind>,
        x: Value,
        shape: &[u64],
    ) -> Result<Value, String> {
        let ty = self.tensor_type(x).with_shape(shape);
        self.emit(kind, &[x], ty)
    }
}
