//! From a parsed TFLite file to a module at the quant level, or at level nn if it computes on
//! floats (`float`).
//!
//! Shapes are inferred from the inputs on (a file's own shapes are not trusted); every operator
//! that is not supported is reported, not the first one only. Names survive: an op is located by
//! the name of its first output tensor and its index in the file.

mod float;
mod moves;
mod transpose_conv;

pub use float::FLOAT_ONLY;
pub use moves::names as moves;

use super::raw::{RawModel, RawOp, RawOptions, RawSubgraph, RawTensor};
use crate::shapes;
use crate::{ImportError, ImportOptions, Problem};
use qcc_ir::dialect::core;
use qcc_ir::dialect::quant::{self, Act};
use qcc_ir::{
    Affine, DType, Func, FuncKind, Level, LocId, Module, Numerics, OpKind, QuantParams, QuantType,
    TensorType, Type, Value,
};
use std::sync::Arc;

/// Operators that convert to ops, by the names of TFLite's schema; [`FLOAT_ONLY`] and [`moves`] are
/// more.
pub const SUPPORTED: [&str; 51] = [
    "ABS",
    "ADD",
    "ARG_MAX",
    "ARG_MIN",
    "AVERAGE_POOL_2D",
    "BATCH_MATMUL",
    "CONCATENATION",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "DEQUANTIZE",
    "DIV",
    "ELU",
    "EQUAL",
    "EXP",
    "FULLY_CONNECTED",
    "GELU",
    "GREATER",
    "GREATER_EQUAL",
    "HARD_SWISH",
    "L2_NORMALIZATION",
    "LEAKY_RELU",
    "LESS",
    "LESS_EQUAL",
    "LOG",
    "LOGISTIC",
    "LOG_SOFTMAX",
    "MAXIMUM",
    "MAX_POOL_2D",
    "MEAN",
    "MINIMUM",
    "MUL",
    "NOT_EQUAL",
    "PRELU",
    "QUANTIZE",
    "REDUCE_MAX",
    "REDUCE_MIN",
    "RELU",
    "RELU6",
    "RELU_0_TO_1",
    "RELU_N1_TO_1",
    "RESHAPE",
    "RESIZE_BILINEAR",
    "RSQRT",
    "SOFTMAX",
    "SPLIT",
    "SQRT",
    "SQUARED_DIFFERENCE",
    "SUB",
    "SUM",
    "TANH",
    "TRANSPOSE_CONV",
];

/// Converts the first subgraph.
///
/// # Errors
/// Every unsupported operator and every inconsistency, with node names.
pub fn convert(raw: &RawModel, name: &str, options: &ImportOptions) -> Result<Module, ImportError> {
    let graph = raw.subgraphs.first().ok_or_else(|| {
        ImportError::one(Problem::file("the file has no graph", "export the model again"))
    })?;
    let mut c = Converter::new(graph, name);
    c.inputs(options)?;
    c.unsupported()?;
    for op in &graph.ops {
        if let Err(problem) = c.op(op) {
            return Err(ImportError::one(problem));
        }
    }
    c.finish()
}

pub(super) struct Converter<'a> {
    graph: &'a RawSubgraph<'a>,
    module: Module,
    func: Func,
    /// The value of each tensor, once computed.
    values: Vec<Option<Value>>,
    batch: u64,
    /// Level nn: operators on floats are converted.
    is_float_graph: bool,
    /// Bytes of constants that were computed.
    folded_bytes: u64,
}

/// What is known of the op being converted.
pub(super) struct Node<'a> {
    pub(super) op: &'a RawOp,
    name: String,
    loc: LocId,
}

impl<'a> Converter<'a> {
    fn new(graph: &'a RawSubgraph<'a>, name: &str) -> Self {
        let is_float_graph = float::is_float_graph(graph);
        let level = if is_float_graph { Level::Nn } else { Level::Quant };
        Converter {
            graph,
            is_float_graph,
            module: Module::new(name, level, Numerics::TfLite),
            func: Func::new("main", FuncKind::Main, &[]),
            values: vec![None; graph.tensors.len()],
            batch: 1,
            folded_bytes: 0,
        }
    }

    // ---- whole graph ----

    fn inputs(&mut self, options: &ImportOptions) -> Result<(), ImportError> {
        let mut problems = Vec::new();
        for &t in &self.graph.inputs {
            match self.input_type(t, options) {
                Ok(ty) => {
                    let v = self.func.add_arg(self.func.body, ty.into());
                    self.func.set_name(v, &self.graph.tensors[t].name);
                    self.func.input_names.push(self.graph.tensors[t].name.clone());
                    self.values[t] = Some(v);
                }
                Err(p) => problems.push(p),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(ImportError { problems }) }
    }

    /// An input's type: the file's shape with dynamic dimensions filled in.
    fn input_type(&mut self, t: usize, options: &ImportOptions) -> Result<TensorType, Problem> {
        let tensor = &self.graph.tensors[t];
        let signature = tensor.shape_signature.as_ref().unwrap_or(&tensor.shape);
        let given = options.shapes.iter().find(|(n, _)| *n == tensor.name).map(|(_, s)| s);
        let mut shape: Vec<u64> = tensor.shape.iter().map(|&d| d.max(0) as u64).collect();
        if let Some(given) = given {
            if given.len() != shape.len() {
                let what = format!("--shape gives {} dimensions, not {}", given.len(), shape.len());
                return Err(Problem::tensor(&tensor.name, what, "give one number per dimension"));
            }
            shape.clone_from(given);
        } else {
            for (d, extent) in shape.iter_mut().enumerate() {
                let dynamic = signature.get(d) == Some(&-1);
                match (dynamic, d, options.batch) {
                    (true, 0, Some(n)) => *extent = n,
                    (true, 0, None) => *extent = 1,
                    (true, _, _) if *extent <= 1 => {
                        let what = format!("dimension {d} is not known");
                        let fix = format!("give it with --shape {}=…", tensor.name);
                        return Err(Problem::tensor(&tensor.name, what, &fix));
                    }
                    _ => {}
                }
            }
            let fixed = shape.first().is_some_and(|&n| options.batch.is_some_and(|b| b != n));
            if fixed {
                shape[0] = options.batch.unwrap_or(1);
            }
        }
        if let Some(&n) = shape.first() {
            let file = tensor.shape.first().copied().unwrap_or(1).max(1) as u64;
            if n != file && n % file == 0 {
                self.batch = n / file;
            }
        }
        shapes::check_size(&shape)
            .map_err(|e| Problem::tensor(&tensor.name, e, "give a smaller shape"))?;
        let elem = self.elem(t, None)?;
        Ok(TensorType { shape: shape.as_slice().into(), elem, layout: None })
    }

    /// All operators that cannot be converted, in one error.
    fn unsupported(&self) -> Result<(), ImportError> {
        let all = SUPPORTED.into_iter().chain(FLOAT_ONLY).chain(moves::names());
        let mut supported: Vec<&str> = all.collect();
        supported.sort_unstable();
        let names = supported.join(", ");
        let problems: Vec<Problem> = self
            .graph
            .ops
            .iter()
            .filter(|op| !supported.contains(&op.name().as_str()))
            .map(|op| {
                let what = format!("operator {} is not supported", op.name());
                let fix = format!("supported operators: {names}");
                Problem::node(&self.node_name(op), op.index, what, &fix)
            })
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(ImportError { problems }) }
    }

    fn node_name(&self, op: &RawOp) -> String {
        let first = op.outputs.first().and_then(|&t| self.graph.tensors.get(t));
        first.map_or_else(|| format!("operator {}", op.index), |t| t.name.clone())
    }

    fn finish(mut self) -> Result<Module, ImportError> {
        let mut results = Vec::new();
        for &t in &self.graph.outputs {
            let name = &self.graph.tensors[t].name;
            let v = self.value(t).map_err(|what| {
                ImportError::one(Problem::tensor(name, what, "check the graph's outputs"))
            })?;
            self.func.output_names.push(name.clone());
            results.push(v);
        }
        let body = self.func.body;
        self.func.push_op(body, core::Return {}, &results, &[], LocId(0));
        self.module.funcs.push(self.func);
        Ok(self.module)
    }

    // ---- tensors ----

    /// The element type of tensor `t`; `like` lends parameters where the file has none.
    fn elem(&self, t: usize, like: Option<&QuantType>) -> Result<qcc_ir::Elem, Problem> {
        let tensor = &self.graph.tensors[t];
        let dtype = tensor.storage_dtype().ok_or_else(|| {
            let what = format!("element type {} is not supported", tensor.dtype);
            let fix = "supported: float32, int8, uint8, int16, int32, int64, bool, int4";
            Problem::tensor(&tensor.name, what, fix)
        })?;
        let quantizable = matches!(dtype, DType::I8 | DType::U8 | DType::I16);
        if !quantizable {
            return Ok(qcc_ir::Elem::Plain(dtype));
        }
        if tensor.scales.is_empty() {
            return Ok(match like {
                Some(q) => qcc_ir::Elem::Quant(Arc::new(q.clone())),
                None => qcc_ir::Elem::Plain(dtype),
            });
        }
        Ok(qcc_ir::Elem::Quant(Arc::new(quant_type(tensor, dtype)?)))
    }

    /// A tensor's value; constants become `core.const` on first use.
    fn value(&mut self, t: usize) -> Result<Value, String> {
        if let Some(v) = self.values[t] {
            return Ok(v);
        }
        let tensor = &self.graph.tensors[t];
        if tensor.is_sparse {
            return Err(format!("tensor '{}' is sparse; densify the model", tensor.name));
        }
        let Some(data) = tensor.constant_bytes() else {
            let state = if tensor.is_variable { "a state variable" } else { "never computed" };
            return Err(format!("tensor '{}' is {state}", tensor.name));
        };
        let elem = self.elem(t, None).map_err(|p| p.what)?;
        let shape: Vec<u64> = tensor.shape.iter().map(|&d| d.max(0) as u64).collect();
        let ty: Type = TensorType { shape: shape.as_slice().into(), elem, layout: None }.into();
        let id = self.module.add_data(&tensor.name, data);
        let loc = self.module.locs.node(&tensor.name, None);
        let body = self.func.body;
        let op = self.func.push_op(body, core::Const { data: id }, &[], &[ty], loc);
        let v = self.func.result(op);
        self.values[t] = Some(v);
        Ok(v)
    }

    fn tensor_type(&self, v: Value) -> &TensorType {
        self.func.ty(v).as_tensor().expect("values of an imported graph are tensors")
    }
    pub(super) fn shape(&self, v: Value) -> Vec<u64> {
        self.tensor_type(v).shape.to_vec()
    }

    // ---- ops ----

    fn op(&mut self, op: &'a RawOp) -> Result<(), Problem> {
        let name = self.node_name(op);
        let loc = self.module.locs.node(&name, Some(op.index as u32));
        let node = Node { op, name, loc };
        let fix = "check that the file was exported for this operator's reference kernel";
        self.dispatch(&node).map_err(|what| {
            Problem::node(&node.name, op.index, format!("{}: {what}", op.name()), fix)
        })
    }

    fn dispatch(&mut self, node: &Node) -> Result<(), String> {
        if let Some(convert) = self.mover(node.op) {
            return convert(self, node);
        }
        if self.is_float(node.op) {
            return self.float_op(node);
        }
        match node.op.name().as_str() {
            "QUANTIZE" => self.quantize(node),
            "DEQUANTIZE" => self.elementwise(node, quant::Dequantize {}),
            "CONV_2D" => self.conv2d(node),
            "DEPTHWISE_CONV_2D" => self.depthwise(node),
            "FULLY_CONNECTED" => self.fully_connected(node),
            "TRANSPOSE_CONV" => self.transpose_conv(node),
            "MAX_POOL_2D" | "AVERAGE_POOL_2D" => self.pool(node),
            "MEAN" => self.mean(node),
            "SUM" => self.sum(node),
            "REDUCE_MAX" => self.reduce_max(node, false),
            "REDUCE_MIN" => self.reduce_max(node, true),
            "SOFTMAX" => self.softmax(node),
            "LOG_SOFTMAX" => self.elementwise(node, quant::LogSoftmax {}),
            "L2_NORMALIZATION" => self.elementwise(node, quant::L2Normalize {}),
            "RESIZE_BILINEAR" => self.resize(node),
            "ARG_MAX" => self.arg_extreme(node, false),
            "ARG_MIN" => self.arg_extreme(node, true),
            "CONCATENATION" => self.concat(node),
            "SPLIT" => self.split(node),
            "RESHAPE" => self.reshape(node),
            _ => self.pointwise(node),
        }
    }

    pub(super) fn operand(&mut self, node: &Node, i: usize) -> Result<Value, String> {
        let t = node.op.inputs.get(i).copied().flatten();
        let t = t.ok_or_else(|| format!("input {i} is missing"))?;
        self.value(t)
    }
    pub(super) fn optional(&mut self, node: &Node, i: usize) -> Result<Option<Value>, String> {
        match node.op.inputs.get(i).copied().flatten() {
            Some(t) => self.value(t).map(Some),
            None => Ok(None),
        }
    }
    pub(super) fn is_quantized(&self, v: Value) -> bool {
        self.tensor_type(v).quant_type().is_some()
    }
    /// A quantized operand.
    pub(super) fn quantized(&mut self, node: &Node, i: usize) -> Result<Value, String> {
        let v = self.operand(node, i)?;
        match self.tensor_type(v).quant_type() {
            Some(_) => Ok(v),
            None => Err(format!(
                "input {i} is {}, not quantized; quantize the model to int8, uint8 or int16",
                self.tensor_type(v).storage()
            )),
        }
    }
    /// The integers of a constant operand.
    fn constant_ints(&self, node: &Node, i: usize) -> Result<Vec<i64>, String> {
        let t = node.op.inputs.get(i).copied().flatten();
        let t = t.ok_or_else(|| format!("input {i} is missing"))?;
        let tensor = &self.graph.tensors[t];
        let known = self.values[t].and_then(|v| self.known(v));
        if let Some(t) = known.filter(|t| [DType::I32, DType::I64].contains(&t.dtype())) {
            return Ok(t.to_i64_vec());
        }
        let bytes = tensor.constant_bytes();
        let bytes = bytes.ok_or_else(|| format!("input {i} must be a constant"))?;
        match tensor.storage_dtype() {
            Some(DType::I32) => Ok(bytes
                .chunks_exact(4)
                .map(|b| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]])))
                .collect()),
            Some(DType::I64) => Ok(bytes
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes(b.try_into().expect("chunks of 8 bytes")))
                .collect()),
            _ => Err(format!("input {i} must hold int32 or int64")),
        }
    }

    /// Appends an op with one result of the given shape for output `0` of the node.
    pub(super) fn emit(
        &mut self,
        node: &Node,
        kind: impl Into<OpKind>,
        operands: &[Value],
        shape: &[u64],
    ) -> Result<(), String> {
        self.emit_all(node, kind, operands, &[shape.to_vec()])
    }

    /// An op whose result has the element type of the node's, and another shape.
    fn inner(
        &mut self,
        node: &Node,
        kind: impl Into<OpKind>,
        operands: &[Value],
        shape: &[u64],
    ) -> Result<Value, String> {
        let &t = node.op.outputs.first().ok_or("no output")?;
        let elem = self.elem(t, None).map_err(|p| p.what)?;
        let ty = TensorType { shape: shape.into(), elem, layout: None };
        self.made(node, kind, operands, ty)
    }

    /// Tensor `t` is `v`, which an operator computes.
    ///
    /// # Errors
    /// It has a value already: the graph has a cycle, or two operators write one tensor.
    pub(super) fn define(&mut self, t: usize, v: Value) -> Result<(), String> {
        let name = &self.graph.tensors[t].name;
        if self.values[t].is_some() {
            return Err(format!("'{name}' has a value before: a cycle, or two writers"));
        }
        self.func.set_name(v, name);
        self.values[t] = Some(v);
        Ok(())
    }

    fn emit_all(
        &mut self,
        node: &Node,
        kind: impl Into<OpKind>,
        operands: &[Value],
        shapes: &[Vec<u64>],
    ) -> Result<(), String> {
        if node.op.outputs.len() != shapes.len() {
            let (found, want) = (node.op.outputs.len(), shapes.len());
            return Err(format!("{found} outputs, expected {want}"));
        }
        let mut types = Vec::with_capacity(shapes.len());
        for (&t, shape) in node.op.outputs.iter().zip(shapes) {
            shapes::check_size(shape)?;
            let elem = self.elem(t, None).map_err(|p| p.what)?;
            types.push(Type::from(TensorType {
                shape: shape.as_slice().into(),
                elem,
                layout: None,
            }));
        }
        let body = self.func.body;
        let op = self.func.push_op(body, kind, operands, &types, node.loc);
        for (k, &t) in node.op.outputs.iter().enumerate() {
            let v = self.func.results(op)[k];
            self.define(t, v)?;
        }
        Ok(())
    }

    /// Requires output 0 to be quantized like its kind of op needs.
    pub(super) fn output_quantized(&self, node: &Node) -> Result<(), String> {
        let t = *node.op.outputs.first().ok_or("no output")?;
        match self.graph.tensors[t].scales.is_empty() {
            true => Err("the output has no quantization parameters".into()),
            false => Ok(()),
        }
    }

    pub(super) fn elementwise(
        &mut self,
        node: &Node,
        kind: impl Into<OpKind>,
    ) -> Result<(), String> {
        let x = self.quantized(node, 0)?;
        let shape = self.shape(x);
        self.emit(node, kind, &[x], &shape)
    }

    fn quantize(&mut self, node: &Node) -> Result<(), String> {
        self.output_quantized(node)?;
        let x = self.operand(node, 0)?;
        let shape = self.shape(x);
        match (self.tensor_type(x).quant_type(), self.tensor_type(x).storage()) {
            (Some(_), _) => self.emit(node, quant::Requantize {}, &[x], &shape),
            (None, DType::F32) => self.emit(node, quant::Quantize {}, &[x], &shape),
            (None, other) => Err(format!("cannot quantize {other}")),
        }
    }

    fn conv2d(&mut self, node: &Node) -> Result<(), String> {
        let RawOptions::Conv2d(o) = &node.op.options else {
            return Err("its options are missing".into());
        };
        self.output_quantized(node)?;
        let (x, w) = (self.quantized(node, 0)?, self.quantized(node, 1)?);
        let b = self.optional(node, 2)?;
        let (xs, ws) = (self.rank(x, 4)?, self.rank(w, 4)?);
        let (stride, dilation) =
            (positive([o.stride_h, o.stride_w])?, positive([o.dilation_h, o.dilation_w])?);
        if ws[3] == 0 || xs[3] % ws[3] != 0 || ws[0] % (xs[3] / ws[3]).max(1) != 0 {
            return Err(format!("{} input channels do not fit filters {ws:?}", xs[3]));
        }
        let (out, pad) = shapes::window(&xs, [ws[1], ws[2]], stride, dilation, o.padding)?;
        let kind = quant::Conv2d {
            stride,
            dilation,
            pad,
            groups: (xs[3] / ws[3]) as u32,
            act: activation(o.fused_activation)?,
        };
        let operands: Vec<Value> = [x, w].into_iter().chain(b).collect();
        self.emit(node, kind, &operands, &[xs[0], out[0], out[1], ws[0]])
    }

    fn depthwise(&mut self, node: &Node) -> Result<(), String> {
        let RawOptions::DepthwiseConv2d(o) = &node.op.options else {
            return Err("its options are missing".into());
        };
        self.output_quantized(node)?;
        let (x, w) = (self.quantized(node, 0)?, self.quantized(node, 1)?);
        let b = self.optional(node, 2)?;
        let (xs, ws) = (self.rank(x, 4)?, self.rank(w, 4)?);
        let (stride, dilation) =
            (positive([o.stride_h, o.stride_w])?, positive([o.dilation_h, o.dilation_w])?);
        if ws[0] != 1 || xs[3] == 0 || ws[3] % xs[3] != 0 {
            return Err(format!("{} input channels do not fit filters {ws:?}", xs[3]));
        }
        let (out, pad) = shapes::window(&xs, [ws[1], ws[2]], stride, dilation, o.padding)?;
        let act = activation(o.fused_activation)?;
        let kind = quant::DepthwiseConv2d { stride, dilation, pad, act };
        let w =
            if self.tensor_type(x).storage() == DType::U8 { w } else { self.zero_points_off(w) };
        let operands: Vec<Value> = [x, w].into_iter().chain(b).collect();
        self.emit(node, kind, &operands, &[xs[0], out[0], out[1], ws[3]])
    }

    /// The weights `w` as the reference reads them where it ignores their zero points: in int8
    /// depthwise convolutions and per-axis fully connected layers (numerics.md G.1).
    fn zero_points_off(&mut self, w: Value) -> Value {
        let ty = self.tensor_type(w);
        let (Some(q), Some(op)) = (ty.quant_type(), self.func.def_op(w)) else { return w };
        let is_const = matches!(self.func.kind(op), OpKind::Core(core::Op::Const(_)));
        if !is_const || q.affines().iter().all(|a| a.zero_point == 0) {
            return w;
        }
        let mut q = QuantType::clone(q);
        let zeroed = |a: &Affine| Affine::new(a.scale, 0);
        q.params = match &q.params {
            QuantParams::PerTensor(a) => QuantParams::PerTensor(zeroed(a)),
            QuantParams::PerAxis { axis, params } => {
                QuantParams::PerAxis { axis: *axis, params: params.iter().map(zeroed).collect() }
            }
        };
        let ty = TensorType::quant(&ty.shape, Arc::new(q));
        let (kind, loc) = (self.func.kind(op).clone(), self.func.op(op).loc);
        let operands = self.func.operands(op).to_vec();
        let op = self.func.push_op(self.func.body, kind, &operands, &[ty.into()], loc);
        self.func.result(op)
    }

    fn fully_connected(&mut self, node: &Node) -> Result<(), String> {
        let RawOptions::FullyConnected(o) = &node.op.options else {
            return Err("its options are missing".into());
        };
        if o.weights_format != 0 {
            return Err("shuffled weights are not supported".into());
        }
        self.output_quantized(node)?;
        let (x, w) = (self.quantized(node, 0)?, self.quantized(node, 1)?);
        let b = self.optional(node, 2)?;
        let (xs, ws) = (self.shape(x), self.rank(w, 2)?);
        let shape = fully_connected_shape(&xs, &ws, o.keep_num_dims)?;
        let kind = quant::FullyConnected { act: activation(o.fused_activation)? };
        let per_axis = self.tensor_type(w).quant_type().is_some_and(|q| q.uniform().is_none());
        let w = if per_axis { self.zero_points_off(w) } else { w };
        let operands: Vec<Value> = [x, w].into_iter().chain(b).collect();
        self.emit(node, kind, &operands, &shape)
    }

    fn pool(&mut self, node: &Node) -> Result<(), String> {
        let RawOptions::Pool2d(o) = &node.op.options else {
            return Err("its options are missing".into());
        };
        self.output_quantized(node)?;
        let x = self.quantized(node, 0)?;
        let xs = self.rank(x, 4)?;
        let stride = positive([o.stride_h, o.stride_w])?;
        let window = positive([o.filter_height, o.filter_width])?;
        let extent = window.map(u64::from);
        let (out, pad) = shapes::window(&xs, extent, stride, [1, 1], o.padding)?;
        let act = activation(o.fused_activation)?;
        let shape = [xs[0], out[0], out[1], xs[3]];
        if node.op.name() == "MAX_POOL_2D" {
            self.emit(node, quant::MaxPool2d { window, stride, pad, act }, &[x], &shape)
        } else {
            self.emit(
                node,
                quant::AvgPool2d {
                    window,
                    stride,
                    pad,
                    act,
                    count_include_pad: false,
                    sum: quant::PoolSum::Rows,
                },
                &[x],
                &shape,
            )
        }
    }

    fn mean(&mut self, node: &Node) -> Result<(), String> {
        self.output_quantized(node)?;
        let x = self.quantized(node, 0)?;
        let (axes, shape) = self.reduced(node, x)?;
        self.emit(node, quant::Mean { axes }, &[x], &shape)
    }

    fn sum(&mut self, node: &Node) -> Result<(), String> {
        self.output_quantized(node)?;
        let x = self.quantized(node, 0)?;
        let (axes, shape) = self.reduced(node, x)?;
        self.emit(node, quant::Sum { axes }, &[x], &shape)
    }

    fn reduce_max(&mut self, node: &Node, min: bool) -> Result<(), String> {
        self.output_quantized(node)?;
        let x = self.quantized(node, 0)?;
        let (axes, shape) = self.reduced(node, x)?;
        self.not_empty(x, &axes)?;
        self.emit(node, quant::ReduceMax { axes, min }, &[x], &shape)
    }

    /// An extreme of nothing is no number.
    fn not_empty(&self, x: Value, axes: &[u32]) -> Result<(), String> {
        let shape = self.shape(x);
        match axes.iter().find(|&&a| shape[a as usize] == 0) {
            Some(a) => Err(format!("axis {a} of shape {shape:?} has no elements")),
            None => Ok(()),
        }
    }

    /// The axes that are reduced, sorted and unique, and the shape that is left.
    fn reduced(&self, node: &Node, x: Value) -> Result<(Vec<u32>, Vec<u64>), String> {
        let keep = matches!(&node.op.options, RawOptions::Reducer(o) if o.keep_dims);
        let xs = self.shape(x);
        let mut axes = Vec::new();
        for a in self.constant_ints(node, 1)? {
            axes.push(shapes::axis(a, xs.len())?);
        }
        axes.sort_unstable();
        axes.dedup();
        let reduced = |d: &usize| axes.contains(&(*d as u32));
        let shape: Vec<u64> = match keep {
            true => (0..xs.len()).map(|d| if reduced(&d) { 1 } else { xs[d] }).collect(),
            false => (0..xs.len()).filter(|d| !reduced(d)).map(|d| xs[d]).collect(),
        };
        Ok((axes, shape))
    }

    fn softmax(&mut self, node: &Node) -> Result<(), String> {
        let beta = match &node.op.options {
            RawOptions::Softmax(o) => o.beta,
            _ => return Err("its options are missing".into()),
        };
        self.output_quantized(node)?;
        self.elementwise(node, quant::Softmax { beta })
    }

    fn resize(&mut self, node: &Node) -> Result<(), String> {
        let RawOptions::ResizeBilinear(o) = &node.op.options else {
            return Err("its options are missing".into());
        };
        let kind = quant::ResizeBilinear {
            align_corners: o.align_corners,
            half_pixel_centers: o.half_pixel_centers,
        };
        let x = self.quantized(node, 0)?;
        let shape = self.resized(node, x)?;
        self.emit(node, kind, &[x], &shape)
    }

    /// The shape of an image of the size that input 1 says.
    fn resized(&self, node: &Node, x: Value) -> Result<[u64; 4], String> {
        let xs = self.rank(x, 4)?;
        let size = self.constant_ints(node, 1)?;
        let &[h, w] = size.as_slice() else {
            return Err("the size must be two numbers".into());
        };
        if h <= 0 || w <= 0 {
            return Err(format!("the size {h}x{w} must be positive"));
        }
        Ok([xs[0], h as u64, w as u64, xs[3]])
    }

    fn arg_extreme(&mut self, node: &Node, min: bool) -> Result<(), String> {
        let x = self.quantized(node, 0)?;
        let xs = self.shape(x);
        let axes = self.constant_ints(node, 1)?;
        let &[a] = axes.as_slice() else { return Err("one axis is needed".into()) };
        let axis = shapes::axis(a, xs.len())?;
        let mut shape = xs;
        shape.remove(axis as usize);
        self.emit(node, quant::ArgMax { axis, min }, &[x], &shape)
    }

    fn concat(&mut self, node: &Node) -> Result<(), String> {
        let n = node.op.inputs.len();
        let xs: Vec<Value> = (0..n).map(|i| self.quantized(node, i)).collect::<Result<_, _>>()?;
        let (axis, act, shape) = self.concatenated(node, &xs)?;
        // Of 16-bit inputs the reference moves codes, whatever they stand for.
        let is_wide = self.tensor_type(xs[0]).storage() == DType::I16;
        let codes = |x| if is_wide { self.as_output(node, 0, x) } else { Ok(x) };
        let xs: Vec<Value> = xs.into_iter().map(codes).collect::<Result<_, _>>()?;
        self.emit(node, quant::Concat { axis, act }, &xs, &shape)
    }

    /// Axis, activation and shape of a concatenation.
    fn concatenated(&self, node: &Node, xs: &[Value]) -> Result<(u32, Act, Vec<u64>), String> {
        let RawOptions::Concatenation(o) = &node.op.options else {
            return Err("its options are missing".into());
        };
        let first = xs.first().ok_or("no inputs")?;
        let mut shape = self.shape(*first);
        let axis = shapes::axis(o.axis.into(), shape.len())?;
        shape[axis as usize] = 0;
        for &x in xs {
            let other = self.shape(x);
            let fits = other.len() == shape.len()
                && (0..shape.len()).all(|d| d == axis as usize || other[d] == shape[d]);
            if !fits {
                return Err(format!("inputs of shapes {shape:?} and {other:?} do not fit"));
            }
            shape[axis as usize] += other[axis as usize];
        }
        Ok((axis, activation(o.fused_activation)?, shape))
    }

    fn split(&mut self, node: &Node) -> Result<(), String> {
        let x = self.quantized(node, 1)?;
        let (axis, shape) = self.parts(node, x)?;
        self.emit_all(node, quant::Split { axis }, &[x], &vec![shape; node.op.outputs.len()])
    }

    /// The axis along which x is split, and the shape of each part.
    fn parts(&self, node: &Node, x: Value) -> Result<(u32, Vec<u64>), String> {
        let axes = self.constant_ints(node, 0)?;
        let &[a] = axes.as_slice() else { return Err("one axis is needed".into()) };
        let mut shape = self.shape(x);
        let axis = shapes::axis(a, shape.len())?;
        let parts = node.op.outputs.len() as u64;
        if parts == 0 || !shape[axis as usize].is_multiple_of(parts) {
            return Err(format!("{} does not divide into {parts}", shape[axis as usize]));
        }
        shape[axis as usize] /= parts;
        Ok((axis, shape))
    }

    fn reshape(&mut self, node: &Node) -> Result<(), String> {
        let (x, shape) = self.reshaped(node)?;
        let ty = self.tensor_type(x).with_shape(&shape);
        let y = self.made(node, quant::Reshape {}, &[x], ty)?;
        self.bind(node, 0, y)
    }

    /// What is reshaped, and to what.
    fn reshaped(&mut self, node: &Node) -> Result<(Value, Vec<u64>), String> {
        let x = self.operand(node, 0)?;
        let from = self.shape(x);
        let wanted: Vec<i64> = match self.constant_ints(node, 1) {
            Ok(shape) => shape,
            Err(_) => match &node.op.options {
                RawOptions::Reshape(o) if !o.new_shape.is_empty() => {
                    o.new_shape.iter().map(|&d| d.into()).collect()
                }
                _ => return Err("the new shape must be a constant".into()),
            },
        };
        Ok((x, shapes::reshape(&from, &wanted, self.batch)?))
    }

    fn rank(&self, v: Value, rank: usize) -> Result<Vec<u64>, String> {
        let shape = self.shape(v);
        match shape.len() == rank {
            true => Ok(shape),
            false => Err(format!("expected {rank} dimensions, found shape {shape:?}")),
        }
    }
}

/// The result's shape of x `xs` and weights `[O, K]`.
fn fully_connected_shape(xs: &[u64], ws: &[u64], keep_rank: bool) -> Result<Vec<u64>, String> {
    let elements: u64 = xs.iter().product();
    if ws[1] == 0 || !elements.is_multiple_of(ws[1]) {
        return Err(format!("{elements} inputs do not fit weights {ws:?}"));
    }
    let rows = elements / ws[1];
    let shape = match (keep_rank, xs.split_last()) {
        (true, Some((_, outer))) => [outer, &[ws[0]]].concat(),
        _ => vec![rows, ws[0]],
    };
    match shape.iter().product::<u64>() == rows * ws[0] {
        true => Ok(shape),
        false => Err(format!("input {xs:?} does not fit weights {ws:?} with its rank kept")),
    }
}

fn quant_type(tensor: &RawTensor, dtype: DType) -> Result<QuantType, Problem> {
    let fail = |what: String| {
        Err(Problem::tensor(&tensor.name, what, "export the model again with valid parameters"))
    };
    if tensor.quantization_details != 0 {
        return fail("its quantization is neither per tensor nor per axis".into());
    }
    if let Some(bad) = tensor.scales.iter().find(|s| !s.is_finite() || **s < 0.0) {
        return fail(format!("quantization scale {bad} is not a number of at least 0"));
    }
    let zp = |i: usize| -> i32 {
        let z = tensor.zero_points.get(i).or(tensor.zero_points.first()).copied().unwrap_or(0);
        z.clamp(i32::MIN.into(), i32::MAX.into()) as i32
    };
    let affines: Vec<Affine> =
        tensor.scales.iter().enumerate().map(|(i, &s)| Affine::new(s, zp(i))).collect();
    let params = match affines.as_slice() {
        [one] => QuantParams::PerTensor(*one),
        _ => {
            let axis = tensor.quantized_dimension.max(0) as usize;
            let extent = tensor.shape.get(axis).copied().unwrap_or(-1);
            if extent != affines.len() as i32 {
                return fail(format!("{} scales for {extent} slices", affines.len()));
            }
            QuantParams::PerAxis { axis, params: affines }
        }
    };
    Ok(match params {
        QuantParams::PerTensor(a) => QuantType::per_tensor(dtype, a.scale, a.zero_point),
        QuantParams::PerAxis { axis, params } => QuantType::per_axis(dtype, axis, params),
    })
}

pub(super) fn activation(code: i8) -> Result<Act, String> {
    match code {
        0 => Ok(Act::None),
        1 => Ok(Act::Relu),
        2 => Ok(Act::ReluN1To1),
        3 => Ok(Act::Relu6),
        other => Err(format!("fused activation {other} is not supported")),
    }
}

fn positive(values: [i32; 2]) -> Result<[u32; 2], String> {
    match values {
        [a, b] if a > 0 && b > 0 => Ok([a as u32, b as u32]),
        _ => Err(format!("strides, dilations and windows must be positive, found {values:?}")),
    }
}
