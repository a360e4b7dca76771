//! From a flat graph to a module at level nn.
//!
//! Nodes are visited in topological order, each once; [`ops`] says which ops a node becomes. A
//! tensor is either known (constants, variables, shapes) or a value of the module; a known tensor
//! becomes `core.const` when an op first needs it. What moves elements of a known tensor is done
//! here, so weights reach qcc's layouts as constants; behind a fake-quant they get
//! `nn.transpose` and `nn.reshape`.

use super::checkpoint::Checkpoint;
use super::data::{self, TfType};
use super::graph::{FlatGraph, Node, Port};
use super::proto::{Attr, TensorShape};
use super::{fold, inputs, ops};
use crate::{ImportError, ImportOptions, Problem, shapes};
use cranelift_entity::EntitySet;
use qcc_ir::dialect::{core, nn};
use qcc_ir::{
    DType, Func, FuncKind, Level, LocId, Module, Numerics, OpKind, TensorType, Type, Value,
};
use qcc_runtime::Tensor;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Bytes that all known tensors of a model may have together.
const MAX_KNOWN: usize = 1 << 30;

/// A tensor of the graph's interface.
#[derive(Clone, Debug)]
pub struct Named {
    /// As people know it.
    pub name: String,
    /// Where it is.
    pub port: Port,
    /// Its shape, where the signature says one.
    pub shape: Option<TensorShape>,
}

/// Inputs and outputs in order.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Placeholders.
    pub inputs: Vec<Named>,
    /// Any tensors.
    pub outputs: Vec<Named>,
}

/// The values of variables.
#[derive(Debug, Default)]
pub struct Variables {
    /// The file, if the model has one.
    pub checkpoint: Option<Checkpoint>,
    /// Keys by the name of the variable's node.
    pub by_node: BTreeMap<String, String>,
    /// Keys by the variable's own name.
    pub by_name: BTreeMap<String, String>,
}

/// Converts a graph.
///
/// # Errors
/// Every unsupported operator, or the first inconsistency, with node names.
pub fn convert(
    graph: FlatGraph,
    interface: &Interface,
    variables: &Variables,
    (name, options): (&str, &ImportOptions),
) -> Result<Module, ImportError> {
    unsupported(&graph)?;
    let FlatGraph { nodes, .. } = &graph;
    let mut c = Converter {
        nodes,
        variables,
        module: Module::new(name, Level::Nn, Numerics::TfLite),
        func: Func::new("main", FuncKind::Main, &[]),
        results: vec![vec![]; nodes.len()],
        constant: EntitySet::new(),
        known_bytes: 0,
        at: 0,
        loc: LocId(0),
    };
    c.inputs(&interface.inputs, options)?;
    for at in 0..nodes.len() {
        c.node(at).map_err(ImportError::one)?;
    }
    c.finish(&interface.outputs).map_err(ImportError::one)
}

/// All operators that cannot be converted, in one error.
fn unsupported(graph: &FlatGraph) -> Result<(), ImportError> {
    let fix = format!("supported operators: {}", ops::supported().join(", "));
    let problem = |n: &Node| {
        let what = format!("operator {} is not supported", n.def.op);
        Problem::node(&n.name, n.index, what, &fix)
    };
    let is_bad = |n: &&Node| ops::find(&n.def.op).is_none();
    let problems: Vec<Problem> = graph.nodes.iter().filter(is_bad).map(problem).collect();
    if problems.is_empty() { Ok(()) } else { Err(ImportError { problems }) }
}

/// A tensor of the graph.
#[derive(Clone)]
pub enum Val {
    /// A value of the module.
    Value(Value),
    /// Known at import.
    Known(Rc<Known>),
    /// What `SpaceToBatchND`, or a convolution of it, makes: it has a meaning only together with
    /// the `BatchToSpaceND` that follows.
    InBatches,
}

/// A known tensor.
pub struct Known {
    /// Its elements.
    pub tensor: Tensor,
    /// The node that it came from, which names the constant.
    node: usize,
    value: Cell<Option<Value>>,
}

/// What a node becomes: its outputs.
pub type Outputs = Result<Vec<Val>, String>;

/// The conversion at one node.
pub struct Converter<'g> {
    pub nodes: &'g [Node<'g>],
    variables: &'g Variables,
    pub module: Module,
    pub func: Func,
    results: Vec<Vec<Val>>,
    /// Values that depend on constants only.
    constant: EntitySet<Value>,
    known_bytes: usize,
    /// The node that is converted.
    pub at: usize,
    pub loc: LocId,
}

impl<'g> Converter<'g> {
    fn inputs(&mut self, inputs: &[Named], options: &ImportOptions) -> Result<(), ImportError> {
        let mut problems = Vec::new();
        for input in inputs {
            match inputs::input_type(input, &self.nodes[input.port.node], options) {
                Ok(ty) => {
                    let v = self.func.add_arg(self.func.body, ty.into());
                    self.func.set_name(v, &input.name);
                    self.func.input_names.push(input.name.clone());
                    self.results[input.port.node] = vec![Val::Value(v)];
                }
                Err(p) => problems.push(p),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(ImportError { problems }) }
    }

    fn node(&mut self, at: usize) -> Result<(), Problem> {
        if !self.results[at].is_empty() {
            return Ok(());
        }
        let node = &self.nodes[at];
        self.at = at;
        self.loc = self.module.locs.node(&node.name, Some(node.index as u32));
        let fail = |what: String| {
            let fix = "check that the graph was made for inference by TensorFlow";
            Problem::node(&node.name, node.index, format!("{}: {what}", node.def.op), fix)
        };
        let convert = ops::find(&node.def.op).ok_or_else(|| fail("is not supported".into()))?;
        let results = convert(self).map_err(fail)?;
        for (k, result) in results.iter().enumerate() {
            let own = |v: &Value| self.func.name(*v).is_none();
            if let Val::Value(v) = result
                && own(v)
            {
                let suffix = if k == 0 { String::new() } else { format!(":{k}") };
                self.func.set_name(*v, &format!("{}{suffix}", node.name));
            }
        }
        self.results[at] = results;
        Ok(())
    }

    fn finish(mut self, outputs: &[Named]) -> Result<Module, Problem> {
        let mut returned = Vec::new();
        for output in outputs {
            let fail = |what| Problem::tensor(&output.name, what, "choose another output");
            let val = self.port(output.port).map_err(fail)?;
            let v = self.value_of(&val).map_err(fail)?;
            self.func.output_names.push(output.name.clone());
            returned.push(v);
        }
        let body = self.func.body;
        self.func.push_op(body, core::Return {}, &returned, &[], LocId(0));
        self.module.funcs.push(self.func);
        Ok(self.module)
    }

    // ---- inputs of the node ----

    /// The tensor at a port.
    fn port(&self, port: Port) -> Result<Val, String> {
        let found = self.results[port.node].get(port.output).cloned();
        found.ok_or_else(|| {
            let name = &self.nodes[port.node].name;
            format!("output {} of '{name}' is not supported", port.output)
        })
    }

    /// The number of inputs.
    pub fn n_inputs(&self) -> usize {
        self.nodes[self.at].inputs.len()
    }

    /// Input `i`.
    pub fn input(&self, i: usize) -> Result<Val, String> {
        let port = self.nodes[self.at].inputs.get(i);
        let val = self.port(*port.ok_or_else(|| format!("input {i} is missing"))?)?;
        match val {
            Val::InBatches => {
                Err("SpaceToBatchND is supported right before a convolution only".into())
            }
            val => Ok(val),
        }
    }

    /// Input `i`, if it is known.
    pub fn known(&self, i: usize) -> Result<Option<Rc<Known>>, String> {
        match self.input(i)? {
            Val::Known(k) => Ok(Some(k)),
            _ => Ok(None),
        }
    }

    /// Input `i` as float32.
    pub fn float(&self, i: usize) -> Result<Val, String> {
        let x = self.input(i)?;
        match self.dtype(&x) {
            DType::F32 => Ok(x),
            other => Err(format!("input {i} is {other}; only f32 is supported here")),
        }
    }

    /// The integers of input `i`, which must be known.
    pub fn ints(&self, i: usize) -> Result<Vec<i64>, String> {
        let known = self.known(i)?.ok_or_else(|| format!("input {i} must be a constant"))?;
        match known.tensor.dtype().is_int() {
            true => Ok(known.tensor.to_i64_vec()),
            false => Err(format!("input {i} is {}, expected integers", known.tensor.dtype())),
        }
    }

    /// The one integer of input `i`.
    pub fn int(&self, i: usize) -> Result<i64, String> {
        match self.ints(i)?.as_slice() {
            [one] => Ok(*one),
            other => Err(format!("input {i} has {} numbers, expected one", other.len())),
        }
    }

    /// The shape of a tensor.
    pub fn shape(&self, x: &Val) -> Vec<u64> {
        match x {
            Val::Value(v) => self.func.ty(*v).as_tensor().map_or(vec![], |t| t.shape.to_vec()),
            Val::Known(k) => fold::shape(&k.tensor),
            Val::InBatches => vec![],
        }
    }

    /// The shape of a tensor that has `rank` dimensions.
    pub fn rank(&self, x: &Val, rank: usize) -> Result<Vec<u64>, String> {
        let shape = self.shape(x);
        match shape.len() == rank {
            true => Ok(shape),
            false => Err(format!("expected {rank} dimensions, found shape {shape:?}")),
        }
    }

    /// The element type of a tensor.
    pub fn dtype(&self, x: &Val) -> DType {
        match x {
            Val::Value(v) => self.func.ty(*v).as_tensor().map_or(DType::F32, |t| t.storage()),
            Val::Known(k) => k.tensor.dtype(),
            Val::InBatches => DType::F32,
        }
    }

    /// True if no input of the model changes a tensor: weights.
    pub fn is_constant(&self, x: &Val) -> bool {
        match x {
            Val::Value(v) => self.constant.contains(*v),
            Val::Known(_) => true,
            Val::InBatches => false,
        }
    }

    // ---- attributes of the node ----

    /// Attribute `name`.
    pub fn attr(&self, name: &str) -> Option<&'g Attr> {
        self.nodes[self.at].def.attr.get(name)?.value.as_ref()
    }
    /// An integer attribute.
    pub fn attr_int(&self, name: &str, default: i64) -> i64 {
        if let Some(Attr::I(i)) = self.attr(name) { *i } else { default }
    }
    /// A float attribute.
    pub fn attr_float(&self, name: &str, default: f32) -> f32 {
        if let Some(Attr::F(f)) = self.attr(name) { *f } else { default }
    }
    /// A boolean attribute.
    pub fn attr_bool(&self, name: &str, default: bool) -> bool {
        if let Some(Attr::B(b)) = self.attr(name) { *b } else { default }
    }
    /// A text attribute; empty if there is none.
    pub fn attr_text(&self, name: &str) -> String {
        match self.attr(name) {
            Some(Attr::S(s)) => String::from_utf8_lossy(s).into_owned(),
            _ => String::new(),
        }
    }
    /// A list of integers; empty if there is none.
    pub fn attr_ints(&self, name: &str) -> &'g [i64] {
        if let Some(Attr::List(l)) = self.attr(name) { &l.i } else { &[] }
    }
    /// An element type.
    pub fn attr_dtype(&self, name: &str) -> Result<DType, String> {
        match self.attr(name) {
            Some(Attr::Type(code)) => TfType::new(*code).dtype(),
            _ => Err(format!("attribute '{name}' is missing")),
        }
    }

    // ---- results ----

    /// A known tensor, named after the node.
    pub fn make_known(&mut self, tensor: Tensor) -> Result<Val, String> {
        self.make_known_like(tensor, self.at)
    }

    fn make_known_like(&mut self, tensor: Tensor, node: usize) -> Result<Val, String> {
        self.known_bytes += tensor.bytes().len();
        if self.known_bytes > MAX_KNOWN {
            return Err(format!("the model's constants have more than {MAX_KNOWN} bytes"));
        }
        Ok(Val::Known(Rc::new(Known { tensor, node, value: Cell::new(None) })))
    }

    /// The value of the node's constant or variable.
    pub fn variable(&self) -> Result<Tensor, String> {
        let node = &self.nodes[self.at];
        let shared = self.attr_text("shared_name");
        let own = if shared.is_empty() { node.def.name.clone() } else { shared };
        let Some(checkpoint) = &self.variables.checkpoint else {
            return Err(format!(
                "variable '{own}' has no value here; freeze the graph, or give the folder of the \
                 SavedModel"
            ));
        };
        let by_node = self.variables.by_node.get(&node.def.name);
        let key = by_node.or_else(|| self.variables.by_name.get(&own));
        checkpoint.tensor(key.filter(|k| checkpoint.contains(k)).unwrap_or(&own))
    }

    /// The tensor of a constant node.
    pub fn constant(&self) -> Result<Tensor, String> {
        match self.attr("value") {
            Some(Attr::Tensor(t)) => data::constant(t),
            _ => Err("it has no value".into()),
        }
    }

    /// A tensor as a value of the module; a known one becomes `core.const` the first time.
    pub fn value_of(&mut self, x: &Val) -> Result<Value, String> {
        let known = match x {
            Val::Value(v) => return Ok(*v),
            Val::Known(k) => k,
            Val::InBatches => return Err("SpaceToBatchND without BatchToSpaceND".into()),
        };
        if let Some(v) = known.value.get() {
            return Ok(v);
        }
        let node = &self.nodes[known.node];
        let ty: Type = TensorType::plain(&fold::shape(&known.tensor), known.tensor.dtype()).into();
        let data = self.module.add_data(&node.name, known.tensor.bytes());
        let loc = self.module.locs.node(&node.name, Some(node.index as u32));
        let body = self.func.body;
        let op = self.func.push_op(body, core::Const { data }, &[], &[ty], loc);
        let v = self.func.result(op);
        self.constant.insert(v);
        known.value.set(Some(v));
        Ok(v)
    }

    /// Appends an op with one result.
    pub fn emit(
        &mut self,
        kind: impl Into<OpKind>,
        operands: &[&Val],
        shape: &[u64],
        dtype: DType,
    ) -> Result<Val, String> {
        shapes::check_size(shape)?;
        let operands: Vec<Value> =
            operands.iter().map(|x| self.value_of(x)).collect::<Result<_, _>>()?;
        let ty: Type = TensorType::plain(shape, dtype).into();
        let body = self.func.body;
        let op = self.func.push_op(body, kind, &operands, &[ty], self.loc);
        let v = self.func.result(op);
        if operands.iter().all(|&o| self.constant.contains(o)) {
            self.constant.insert(v);
        }
        Ok(Val::Value(v))
    }

    /// Appends an op with one float result.
    pub fn emit_float(
        &mut self,
        kind: impl Into<OpKind>,
        operands: &[&Val],
        shape: &[u64],
    ) -> Result<Val, String> {
        self.emit(kind, operands, shape, DType::F32)
    }

    // ---- moving elements, at import if they are known ----

    /// The same elements under another shape.
    pub fn reshape(&mut self, x: &Val, shape: &[u64]) -> Result<Val, String> {
        if self.shape(x) == shape {
            return Ok(x.clone());
        }
        match x {
            Val::Known(k) => {
                let extents = fold::extents(shape)?;
                let t = Tensor::from_bytes(k.tensor.dtype(), extents, k.tensor.bytes());
                self.make_known_like(t.map_err(|e| e.to_string())?, k.node)
            }
            _ => self.emit(nn::Reshape {}, &[x], shape, self.dtype(x)),
        }
    }

    /// Dimension d of the result is dimension `perm[d]` of `x`.
    pub fn transpose(&mut self, x: &Val, perm: &[u32]) -> Result<Val, String> {
        let from = self.shape(x);
        let shape: Vec<u64> = perm.iter().map(|&d| from[d as usize]).collect();
        match x {
            _ if perm.iter().enumerate().all(|(d, &p)| d == p as usize) => Ok(x.clone()),
            Val::Known(k) => {
                let own = fold::dense(&from);
                let strides: Vec<i64> = perm.iter().map(|&d| own[d as usize]).collect();
                let t = fold::strided(&k.tensor, 0, &strides, &shape)?;
                self.make_known_like(t, k.node)
            }
            _ => self.emit(nn::Transpose { perm: perm.to_vec() }, &[x], &shape, self.dtype(x)),
        }
    }

    /// Element i of the result is element start + i·step of `x`, in each dimension.
    pub fn slice(
        &mut self,
        x: &Val,
        start: &[u64],
        step: &[i64],
        shape: &[u64],
    ) -> Result<Val, String> {
        let from = self.shape(x);
        if step.iter().all(|&s| s == 1) && from == shape {
            return Ok(x.clone());
        }
        match x {
            Val::Known(k) => {
                let own = fold::dense(&from);
                let first = start.iter().zip(&own).map(|(&s, o)| s as i64 * o).sum();
                let strides: Vec<i64> = step.iter().zip(&own).map(|(s, o)| s * o).collect();
                let t = fold::strided(&k.tensor, first, &strides, shape)?;
                self.make_known_like(t, k.node)
            }
            _ => {
                let kind = nn::Slice { start: start.to_vec(), step: step.to_vec() };
                self.emit(kind, &[x], shape, self.dtype(x))
            }
        }
    }

    /// `x` repeated to `shape`.
    pub fn broadcast(&mut self, x: &Val, shape: &[u64]) -> Result<Val, String> {
        let from = self.shape(x);
        if shapes::broadcast(&from, shape)? != shape {
            return Err(format!("shape {from:?} does not broadcast to {shape:?}"));
        }
        match x {
            _ if from == shape => Ok(x.clone()),
            Val::Known(k) => {
                let strides = fold::broadcast_strides(&from, shape);
                let t = fold::strided(&k.tensor, 0, &strides, shape)?;
                self.make_known_like(t, k.node)
            }
            _ => self.emit(nn::Broadcast {}, &[x], shape, self.dtype(x)),
        }
    }

    /// Tensors side by side along `axis`.
    pub fn concat(&mut self, xs: &[Val], axis: u32) -> Result<Val, String> {
        let first = xs.first().ok_or("no inputs")?;
        let (mut shape, dtype, at) = (self.shape(first), self.dtype(first), axis as usize);
        shape[at] = 0;
        for x in xs {
            let other = self.shape(x);
            let fits = other.len() == shape.len()
                && self.dtype(x) == dtype
                && (0..shape.len()).all(|d| d == at || other[d] == shape[d]);
            if !fits {
                return Err(format!("inputs of shapes {shape:?} and {other:?} do not fit"));
            }
            shape[at] += other[at];
        }
        if let [one] = xs {
            return Ok(one.clone());
        }
        let known: Option<Vec<&Tensor>> =
            xs.iter().map(|x| if let Val::Known(k) = x { Some(&k.tensor) } else { None }).collect();
        match known {
            Some(known) => {
                let t = fold::concat(&known, at, &shape)?;
                self.make_known(t)
            }
            None => {
                let operands: Vec<&Val> = xs.iter().collect();
                self.emit(nn::Concat { axis }, &operands, &shape, dtype)
            }
        }
    }
}
