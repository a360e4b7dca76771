//! Operators on float32 tensors, and FAKE_QUANT: ops of the nn dialect.
//!
//! A graph with any of these becomes a module at level nn, in which quantized operators stay what
//! they are; a graph without them is at level quant.

use super::moves::only_moves;
use super::{Converter, Node, activation, positive};
use crate::shapes;
use crate::tflite::pointwise::{comparison, matmul_shape, pair, unary};
use crate::tflite::raw::{RawOp, RawOptions, RawSubgraph};
use qcc_ir::dialect::nn::{self, BinaryFn, FakeQuantForm, ReduceFn, ResizeCoordinates, UnaryFn};
use qcc_ir::dialect::quant::{self, Act};
use qcc_ir::{DType, LocId, OpKind, TensorType, Type, Value};

/// Operators that convert on float32 only, by the names of TFLite's schema.
pub const FLOAT_ONLY: [&str; 10] =
    ["CEIL", "COS", "FAKE_QUANT", "FLOOR", "NEG", "POW", "REDUCE_PROD", "ROUND", "SIN", "SQUARE"];

/// True if an operator of the graph computes on floats. Quantization and moves alone do not.
pub fn is_float_graph(graph: &RawSubgraph) -> bool {
    let computes = |op: &&RawOp| !only_moves(op);
    graph.ops.iter().filter(computes).any(|op| reads_floats(graph, op))
}

/// True if what an operator works on is float32.
fn reads_floats(graph: &RawSubgraph, op: &RawOp) -> bool {
    let data = if op.name() == "TRANSPOSE_CONV" { 2 } else { 0 };
    let tensor = op.inputs.get(data).copied().flatten().and_then(|t| graph.tensors.get(t));
    tensor.is_some_and(|t| t.storage_dtype() == Some(DType::F32))
}

impl Converter<'_> {
    /// True for an operator that [`Self::float_op`] converts.
    pub(super) fn is_float(&self, op: &RawOp) -> bool {
        self.is_float_graph && op.name() != "QUANTIZE" && reads_floats(self.graph, op)
    }

    /// Converts an operator on floats.
    pub(super) fn float_op(&mut self, node: &Node) -> Result<(), String> {
        match node.op.name().as_str() {
            "FAKE_QUANT" => self.fake_quant(node),
            "CONV_2D" => self.float_conv2d(node),
            "DEPTHWISE_CONV_2D" => self.float_depthwise(node),
            "FULLY_CONNECTED" => self.float_fully_connected(node),
            "TRANSPOSE_CONV" => self.transpose_conv(node),
            "MAX_POOL_2D" | "AVERAGE_POOL_2D" => self.float_pool(node),
            "MEAN" => {
                let x = self.float(node, 0)?;
                let (axes, shape) = self.reduced(node, x)?;
                self.emit(node, nn::Mean { axes }, &[x], &shape)
            }
            "SUM" => self.float_reduce(node, ReduceFn::Sum),
            "REDUCE_PROD" => self.float_reduce(node, ReduceFn::Prod),
            "REDUCE_MAX" => self.float_reduce(node, ReduceFn::Max),
            "REDUCE_MIN" => self.float_reduce(node, ReduceFn::Min),
            "SOFTMAX" => {
                let RawOptions::Softmax(o) = &node.op.options else {
                    return Err("its options are missing".into());
                };
                self.float_unary(node, nn::Softmax { beta: o.beta })
            }
            "L2_NORMALIZATION" => self.float_l2_normalize(node),
            "LOG_SOFTMAX" => self.float_unary(node, nn::LogSoftmax {}),
            "RESIZE_BILINEAR" => self.float_resize(node),
            "ARG_MAX" => self.float_arg(node, false),
            "ARG_MIN" => self.float_arg(node, true),
            "BATCH_MATMUL" => self.float_matmul(node),
            "POW" => self.float_pair(node, quant::Binary { f: BinaryFn::Pow }.into()),
            other if let Some((f, swap)) = comparison(other) => self.compare(node, f, swap),
            other if let Some(f) = float_function(other) => {
                self.float_unary(node, nn::Unary { f, alpha: 0.0, beta: 0.0 })
            }
            other => match pair(other, &node.op.options) {
                Some(kind) => self.float_pair(node, kind?),
                None => {
                    let kind = unary(other, &node.op.options);
                    let kind = kind.ok_or("it is not supported on float32")?;
                    self.float_unary(node, on_floats(kind?)?)
                }
            },
        }
    }

    /// A float32 operand. Weights stored as codes beside float activations are dequantized; the
    /// reference quantizes the activations on the way instead, from run to run differently.
    pub(super) fn float(&mut self, node: &Node, i: usize) -> Result<Value, String> {
        let v = self.operand(node, i)?;
        let ty = self.tensor_type(v);
        match (ty.quant_type(), ty.storage()) {
            (None, DType::F32) => Ok(v),
            (Some(_), _) => {
                let ty: Type = TensorType::plain(&ty.shape, DType::F32).into();
                let body = self.func.body;
                let kind = qcc_ir::dialect::quant::Dequantize {};
                let op = self.func.push_op(body, kind, &[v], &[ty], node.loc);
                Ok(self.func.result(op))
            }
            (None, other) => Err(format!("input {i} is {other}, expected float32")),
        }
    }

    /// Operands x, weights and, where there is one, the bias.
    fn floats(&mut self, node: &Node) -> Result<Vec<Value>, String> {
        let mut out = vec![self.float(node, 0)?, self.float(node, 1)?];
        if self.optional(node, 2)?.is_some() {
            out.push(self.float(node, 2)?);
        }
        Ok(out)
    }

    fn float_unary(&mut self, node: &Node, kind: impl Into<OpKind>) -> Result<(), String> {
        let x = self.float(node, 0)?;
        let shape = self.shape(x);
        self.emit(node, kind, &[x], &shape)
    }

    fn fake_quant(&mut self, node: &Node) -> Result<(), String> {
        let RawOptions::FakeQuant(o) = &node.op.options else {
            return Err("its options are missing".into());
        };
        let num_bits = u32::try_from(o.num_bits).ok().filter(|b| (2..=16).contains(b));
        let num_bits = num_bits.ok_or_else(|| format!("{} bits; 2 to 16 work", o.num_bits))?;
        let is_range = o.min <= o.max;
        if !is_range {
            return Err(format!("a range from {} to {}", o.min, o.max));
        }
        let (min, max) = (self.scalar(node, "min", o.min), self.scalar(node, "max", o.max));
        let form = FakeQuantForm::FromLow;
        let kind = nn::FakeQuant { num_bits, narrow_range: o.narrow_range, form };
        let x = self.float(node, 0)?;
        let shape = self.shape(x);
        self.emit(node, kind, &[x, min, max], &shape)
    }

    /// A number as a constant, named after the node.
    fn scalar(&mut self, node: &Node, what: &str, v: f32) -> Value {
        let loc: LocId = node.loc;
        let name = format!("{}/{what}", node.name);
        let id = self.module.add_data(&name, v.to_le_bytes());
        let ty: Type = TensorType::plain(&[], DType::F32).into();
        let body = self.func.body;
        let kind = qcc_ir::dialect::core::Const { data: id };
        let op = self.func.push_op(body, kind, &[], &[ty], loc);
        self.func.result(op)
    }

    fn float_conv2d(&mut self, node: &Node) -> Result<(), String> {
        let operands = self.floats(node)?;
        let (xs, ws) = (self.rank(operands[0], 4)?, self.rank(operands[1], 4)?);
        let RawOptions::Conv2d(o) = &node.op.options else {
            return Err("its options are missing".into());
        };
        let (stride, dilation) =
            (positive([o.stride_h, o.stride_w])?, positive([o.dilation_h, o.dilation_w])?);
        if ws[3] == 0 || xs[3] % ws[3] != 0 || ws[0] % (xs[3] / ws[3]).max(1) != 0 {
            return Err(format!("{} input channels do not fit filters {ws:?}", xs[3]));
        }
        let (out, pad) = shapes::window(&xs, [ws[1], ws[2]], stride, dilation, o.padding)?;
        let (groups, act) = ((xs[3] / ws[3]) as u32, activation(o.fused_activation)?);
        let kind = nn::Conv2d { stride, dilation, pad, groups, act };
        self.emit(node, kind, &operands, &[xs[0], out[0], out[1], ws[0]])
    }

    fn float_depthwise(&mut self, node: &Node) -> Result<(), String> {
        let operands = self.floats(node)?;
        let (xs, ws) = (self.rank(operands[0], 4)?, self.rank(operands[1], 4)?);
        let RawOptions::DepthwiseConv2d(o) = &node.op.options else {
            return Err("its options are missing".into());
        };
        let (stride, dilation) =
            (positive([o.stride_h, o.stride_w])?, positive([o.dilation_h, o.dilation_w])?);
        if ws[0] != 1 || xs[3] == 0 || ws[3] % xs[3] != 0 {
            return Err(format!("{} input channels do not fit filters {ws:?}", xs[3]));
        }
        let (out, pad) = shapes::window(&xs, [ws[1], ws[2]], stride, dilation, o.padding)?;
        let act = activation(o.fused_activation)?;
        let kind = nn::DepthwiseConv2d { stride, dilation, pad, act };
        self.emit(node, kind, &operands, &[xs[0], out[0], out[1], ws[3]])
    }

    fn float_fully_connected(&mut self, node: &Node) -> Result<(), String> {
        let RawOptions::FullyConnected(o) = &node.op.options else {
            return Err("its options are missing".into());
        };
        if o.weights_format != 0 {
            return Err("shuffled weights are not supported".into());
        }
        let operands = self.floats(node)?;
        let (xs, ws) = (self.shape(operands[0]), self.rank(operands[1], 2)?);
        let shape = super::fully_connected_shape(&xs, &ws, o.keep_num_dims)?;
        let act = activation(o.fused_activation)?;
        self.emit(node, nn::FullyConnected { act }, &operands, &shape)
    }

    fn float_pair(&mut self, node: &Node, kind: OpKind) -> Result<(), String> {
        let (a, b) = (self.float(node, 0)?, self.float(node, 1)?);
        let shape = shapes::broadcast(&self.shape(a), &self.shape(b))?;
        self.emit(node, on_floats(kind)?, &[a, b], &shape)
    }

    fn float_matmul(&mut self, node: &Node) -> Result<(), String> {
        let (a, b) = (self.float(node, 0)?, self.float(node, 1)?);
        let (o, shape) = matmul_shape(node, &self.shape(a), &self.shape(b))?;
        let kind = nn::MatMul { transpose_a: o.adj_x, transpose_b: o.adj_y };
        self.emit(node, kind, &[a, b], &shape)
    }

    fn float_pool(&mut self, node: &Node) -> Result<(), String> {
        let RawOptions::Pool2d(o) = &node.op.options else {
            return Err("its options are missing".into());
        };
        let x = self.float(node, 0)?;
        let xs = self.rank(x, 4)?;
        let stride = positive([o.stride_h, o.stride_w])?;
        let window = positive([o.filter_height, o.filter_width])?;
        let (out, pad) = shapes::window(&xs, window.map(u64::from), stride, [1, 1], o.padding)?;
        let act = activation(o.fused_activation)?;
        let shape = [xs[0], out[0], out[1], xs[3]];
        if node.op.name() == "MAX_POOL_2D" {
            return self.emit(node, nn::MaxPool2d { window, stride, pad, act }, &[x], &shape);
        }
        let (count_include_pad, by_columns) = (false, false);
        let kind = nn::AvgPool2d { window, stride, pad, act, count_include_pad, by_columns };
        self.emit(node, kind, &[x], &shape)
    }

    fn float_reduce(&mut self, node: &Node, f: ReduceFn) -> Result<(), String> {
        let x = self.float(node, 0)?;
        let (axes, shape) = self.reduced(node, x)?;
        self.emit(node, nn::Reduce { f, axes }, &[x], &shape)
    }

    /// x / max(√Σx², 1e-6) over the last axis.
    fn float_l2_normalize(&mut self, node: &Node) -> Result<(), String> {
        let x = self.float(node, 0)?;
        let shape = self.shape(x);
        let Some((_, outer)) = shape.split_last() else { return Err("a scalar".into()) };
        let rows = [outer, &[1]].concat();
        let axes = vec![outer.len() as u32];
        let norm = self.inner(node, nn::Reduce { f: ReduceFn::L2, axes }, &[x], &rows)?;
        let least = self.scalar(node, "epsilon", 1e-6);
        let norm = self.inner(node, nn::Binary { f: BinaryFn::Max }, &[norm, least], &rows)?;
        self.emit(node, nn::Div { act: Act::None }, &[x, norm], &shape)
    }

    fn float_resize(&mut self, node: &Node) -> Result<(), String> {
        let RawOptions::ResizeBilinear(o) = &node.op.options else {
            return Err("its options are missing".into());
        };
        let x = self.float(node, 0)?;
        let shape = self.resized(node, x)?;
        let coordinates = match (o.align_corners, o.half_pixel_centers) {
            (true, _) => ResizeCoordinates::AlignCorners,
            (false, true) => ResizeCoordinates::HalfPixel,
            (false, false) => ResizeCoordinates::Asymmetric,
        };
        self.emit(node, nn::ResizeBilinear { coordinates }, &[x], &shape)
    }

    fn float_arg(&mut self, node: &Node, min: bool) -> Result<(), String> {
        let x = self.float(node, 0)?;
        let mut shape = self.shape(x);
        let &[a] = self.constant_ints(node, 1)?.as_slice() else {
            return Err("one axis is needed".into());
        };
        let axis = shapes::axis(a, shape.len())?;
        shape.remove(axis as usize);
        self.emit(node, nn::ArgMax { axis, min }, &[x], &shape)
    }
}

/// A function of one number that has no quantized form.
fn float_function(name: &str) -> Option<UnaryFn> {
    Some(match name {
        "CEIL" => UnaryFn::Ceil,
        "COS" => UnaryFn::Cos,
        "FLOOR" => UnaryFn::Floor,
        "NEG" => UnaryFn::Neg,
        "ROUND" => UnaryFn::Round,
        "SIN" => UnaryFn::Sin,
        "SQUARE" => UnaryFn::Square,
        _ => return None,
    })
}

/// The op on floats that is like one on codes.
fn on_floats(kind: OpKind) -> Result<OpKind, String> {
    use quant::Op;
    Ok(match kind {
        OpKind::Quant(Op::Add(o)) => nn::Add { act: o.act }.into(),
        OpKind::Quant(Op::Sub(o)) => nn::Sub { act: o.act }.into(),
        OpKind::Quant(Op::Div(o)) => nn::Div { act: o.act }.into(),
        OpKind::Quant(Op::Mul(o)) => nn::Mul { act: o.act }.into(),
        OpKind::Quant(Op::Binary(o)) => nn::Binary { f: o.f }.into(),
        OpKind::Quant(Op::Unary(o)) => nn::Unary { f: o.f, alpha: o.alpha, beta: o.beta }.into(),
        OpKind::Quant(Op::Activation(o)) => nn::Activation { act: o.act }.into(),
        other => return Err(format!("'{}' is not supported on float32", other.name())),
    })
}
