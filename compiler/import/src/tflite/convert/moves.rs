//! Operators that only move elements, on quantized, float and plain integer tensors alike.
//!
//! The reference's kernels move codes and do not look at scales, so a result has its input's
//! parameters; where the file gives it others, [`Converter::bind`] says so. Each operator becomes
//! ops of the nn dialect that move elements. What has only constant inputs is evaluated here: that
//! is how shapes that a graph computes (SHAPE, STRIDED_SLICE, PACK) are known to RESHAPE.

mod blocks;
mod borders;
mod fill;
mod gather;
mod slices;
#[cfg(test)]
mod tests;

use super::{Converter, Node};
use crate::shapes;
use crate::tflite::raw::{RawOp, RawOptions};
use qcc_ir::dialect::core;
use qcc_ir::dialect::nn::{self, NearestRounding, ResizeCoordinates};
use qcc_ir::dialect::quant;
use qcc_ir::{
    DType, Elem, Func, FuncKind, Level, LocId, Module, Numerics, OpKind, QuantType, TensorType,
    Type, Value, interp,
};
use qcc_runtime::Tensor;

type Convert = fn(&mut Converter, &Node) -> Result<(), String>;

/// The operators, by the names of TFLite's schema.
const MOVES: [(&str, Convert); 29] = [
    ("BATCH_TO_SPACE_ND", blocks::batch_to_space),
    ("BROADCAST_TO", fill::broadcast_to),
    ("CAST", fill::cast),
    ("DEPTH_TO_SPACE", blocks::depth_to_space),
    ("EXPAND_DIMS", expand_dims),
    ("FILL", fill::fill),
    ("GATHER", gather::gather),
    ("GATHER_ND", gather::gather_nd),
    ("MIRROR_PAD", borders::mirror_pad),
    ("PACK", pack),
    ("PAD", borders::pad),
    ("PADV2", borders::pad_with),
    ("RANGE", fill::range),
    ("RANK", fill::rank),
    ("RESIZE_NEAREST_NEIGHBOR", resize_nearest),
    ("REVERSE_V2", slices::reverse),
    ("SELECT", gather::select),
    ("SELECT_V2", gather::select),
    ("SHAPE", fill::shape),
    ("SLICE", slices::slice),
    ("SPACE_TO_BATCH_ND", blocks::space_to_batch),
    ("SPACE_TO_DEPTH", blocks::space_to_depth),
    ("SPLIT_V", slices::split_v),
    ("SQUEEZE", squeeze),
    ("STRIDED_SLICE", slices::strided_slice),
    ("TILE", fill::tile),
    ("TRANSPOSE", transpose),
    ("UNPACK", slices::unpack),
    ("ZEROS_LIKE", fill::zeros_like),
];

/// The names of all operators of this module.
pub fn names() -> impl Iterator<Item = &'static str> {
    MOVES.iter().map(|m| m.0)
}

/// True for an operator of this module, and for others where they compute nothing.
pub(super) fn only_moves(op: &RawOp) -> bool {
    let name = op.name();
    ["CONCATENATION", "QUANTIZE", "RESHAPE", "SPLIT"].contains(&name.as_str())
        || names().any(|n| n == name)
}

/// Elements up to which results of constants are computed here.
const MAX_FOLDED: u64 = 1 << 22;
/// Bytes of all results computed here.
const MAX_FOLDED_BYTES: u64 = 1 << 28;

impl Converter<'_> {
    /// The conversion of an operator that moves elements, if `op` is one.
    pub(super) fn mover(&self, op: &RawOp) -> Option<Convert> {
        let name = op.name();
        if let Some((_, convert)) = MOVES.iter().find(|m| m.0 == name) {
            return Some(*convert);
        }
        let data = op.inputs.get(if name == "SPLIT" { 1 } else { 0 }).copied().flatten();
        let is_quantized = data.is_some_and(|t| match self.values[t] {
            Some(v) => self.tensor_type(v).quant_type().is_some(),
            None => !self.graph.tensors[t].scales.is_empty(),
        });
        match name.as_str() {
            _ if is_quantized => None,
            "CONCATENATION" => Some(concat),
            "RESHAPE" => Some(reshape),
            "SPLIT" => Some(slices::split),
            _ => None,
        }
    }

    /// Appends an op with one result of type `ty`; a constant where its operands are.
    pub(super) fn made(
        &mut self,
        node: &Node,
        kind: impl Into<OpKind>,
        operands: &[Value],
        ty: TensorType,
    ) -> Result<Value, String> {
        shapes::check_size(&ty.shape)?;
        let kind = kind.into();
        if let Some(t) = self.folded(&kind, operands, &ty) {
            return Ok(self.constant(node, t.bytes().to_vec(), ty));
        }
        let op = self.func.push_op(self.func.body, kind, operands, &[ty.into()], node.loc);
        Ok(self.func.result(op))
    }

    /// Appends an op that moves elements of `operands[0]` into a tensor of `shape`.
    fn moved(
        &mut self,
        node: &Node,
        kind: impl Into<OpKind>,
        operands: &[Value],
        shape: &[u64],
    ) -> Result<Value, String> {
        let ty = self.tensor_type(operands[0]).with_shape(shape);
        if ty.quant_type().is_some_and(|q| q.uniform().is_none()) {
            return Err("a tensor with parameters per axis; quantize it per tensor".into());
        }
        self.made(node, kind, operands, ty)
    }

    fn reshape_to(&mut self, node: &Node, x: Value, shape: &[u64]) -> Result<Value, String> {
        self.moved(node, nn::Reshape {}, &[x], shape)
    }

    fn transpose_by(&mut self, node: &Node, x: Value, perm: &[u32]) -> Result<Value, String> {
        let own = self.shape(x);
        let shape: Vec<u64> = perm.iter().map(|&d| own[d as usize]).collect();
        self.moved(node, nn::Transpose { perm: perm.to_vec() }, &[x], &shape)
    }

    /// A constant of type `ty`, named after the node.
    pub(super) fn constant(&mut self, node: &Node, bytes: Vec<u8>, ty: TensorType) -> Value {
        let data = self.module.add_data(&node.name, bytes);
        let kind = core::Const { data };
        let op = self.func.push_op(self.func.body, kind, &[], &[ty.into()], node.loc);
        self.func.result(op)
    }

    /// Numbers as a constant of plain integers.
    fn integers(&mut self, node: &Node, all: &[i64], shape: &[u64], dtype: DType) -> Value {
        let bytes = match dtype {
            DType::I64 => all.iter().flat_map(|v| v.to_le_bytes()).collect(),
            _ => all.iter().flat_map(|&v| (v as i32).to_le_bytes()).collect(),
        };
        let dtype = if dtype == DType::I64 { DType::I64 } else { DType::I32 };
        self.constant(node, bytes, TensorType::plain(shape, dtype))
    }

    /// The elements of a constant.
    pub(super) fn known(&self, v: Value) -> Option<Tensor> {
        let op = self.func.def_op(v)?;
        let OpKind::Core(core::Op::Const(c)) = self.func.kind(op) else { return None };
        let ty = self.tensor_type(v);
        let shape: Vec<usize> = ty.shape.iter().map(|&d| d as usize).collect();
        Tensor::from_bytes(ty.storage(), shape, &self.module.data[c.data].bytes).ok()
    }

    /// What an op of constants gives, if it is small enough to store.
    fn folded(&mut self, kind: &OpKind, operands: &[Value], ty: &TensorType) -> Option<Tensor> {
        let is_const = |v: &Value| {
            let op = self.func.def_op(*v);
            op.is_some_and(|op| matches!(self.func.kind(op), OpKind::Core(core::Op::Const(_))))
        };
        let bytes = self.folded_bytes.saturating_add(ty.bytes());
        let is_small = ty.len() <= MAX_FOLDED && bytes <= MAX_FOLDED_BYTES;
        if operands.is_empty() || !operands.iter().all(is_const) || !is_small {
            return None;
        }
        let inputs: Option<Vec<Tensor>> = operands.iter().map(|&v| self.known(v)).collect();
        let mut m = Module::new("fold", Level::Nn, Numerics::TfLite);
        let types: Vec<Type> = operands.iter().map(|&v| self.func.ty(v).clone()).collect();
        let mut f = Func::new("main", FuncKind::Main, &types);
        let params = f.params().to_vec();
        let op = f.push_op(f.body, kind.clone(), &params, &[ty.clone().into()], LocId(0));
        let y = f.result(op);
        f.push_op(f.body, core::Return {}, &[y], &[], LocId(0));
        m.funcs.push(f);
        let y = interp::run_main(&m, &inputs?).ok()?.into_iter().next()?;
        self.folded_bytes = bytes;
        Some(y)
    }

    /// The tensor of output `k`, and its element type; `like` lends parameters where it has none.
    fn output(&self, node: &Node, k: usize, like: &Elem) -> Result<(usize, Elem), String> {
        let n = node.op.outputs.len();
        let t = *node.op.outputs.get(k).ok_or_else(|| format!("{n} outputs, not {}", k + 1))?;
        let like = match like {
            Elem::Quant(q) => Some(q.as_ref()),
            Elem::Plain(_) => None,
        };
        Ok((t, self.elem(t, like).map_err(|p| p.what)?))
    }

    /// `v` with the element type of output `k`: the reference moves bytes, whatever they stand for.
    pub(super) fn as_output(&mut self, node: &Node, k: usize, v: Value) -> Result<Value, String> {
        let ty = self.tensor_type(v).clone();
        let (_, elem) = self.output(node, k, &ty.elem)?;
        if ty.elem == elem {
            return Ok(v);
        }
        if ty.elem.storage() != elem.storage() {
            return Err(format!(
                "its output is {}, what it moves is {}",
                say(&elem),
                say(&ty.elem)
            ));
        }
        self.made(node, quant::Reinterpret {}, &[v], TensorType { elem, ..ty })
    }

    /// Output `k` of the node is `v`.
    pub(super) fn bind(&mut self, node: &Node, k: usize, v: Value) -> Result<(), String> {
        let v = self.as_output(node, k, v)?;
        let t = node.op.outputs[k];
        self.define(t, v)
    }

    /// As `bind`, for an operator whose kernel checks that no parameters change.
    fn bind_same(&mut self, node: &Node, k: usize, v: Value) -> Result<(), String> {
        let own = self.tensor_type(v).elem.clone();
        let (_, elem) = self.output(node, k, &own)?;
        if own != elem {
            let (own, elem) = (say(&own), say(&elem));
            return Err(format!("its input is {own}, its output {elem}; they must agree"));
        }
        self.bind(node, k, v)
    }

    /// The only integer of a constant operand.
    fn constant_int(&self, node: &Node, i: usize, what: &str) -> Result<i64, String> {
        match self.constant_ints(node, i)?.as_slice() {
            [one] => Ok(*one),
            other => Err(format!("{what} must be one number, found {other:?}")),
        }
    }

    /// Axes of a tensor of `rank` dimensions, some of them negative.
    fn axes(&self, all: &[i64], rank: usize) -> Result<Vec<u32>, String> {
        all.iter().map(|&a| shapes::axis(a, rank)).collect()
    }
}

/// Extents multiplied, if a tensor may have as many elements. (Shapes with an extent of 0 may have
/// any others.)
fn product(all: &[u64]) -> Result<u64, String> {
    let product = all.iter().try_fold(1u64, |a, &b| a.checked_mul(b)).filter(|&p| p <= 1 << 31);
    product.ok_or_else(|| format!("extents of {all:?}"))
}

/// Numbers that one constant made here may have.
const MAX_NUMBERS: u64 = 1 << 24;

/// Fails for a list of numbers too long to be made here.
fn few(n: u64) -> Result<u64, String> {
    if n <= MAX_NUMBERS { Ok(n) } else { Err(format!("a list of {n} numbers")) }
}

/// An element type in a message.
fn say(elem: &Elem) -> String {
    let params = |q: &QuantType| match q.uniform() {
        Some(a) => format!("{} of scale {} and zero point {}", q.storage, a.scale, a.zero_point),
        None => format!("{} with parameters per axis", q.storage),
    };
    match elem {
        Elem::Plain(d) => d.to_string(),
        Elem::Quant(q) => params(q),
    }
}

fn reshape(c: &mut Converter, node: &Node) -> Result<(), String> {
    let (x, shape) = c.reshaped(node)?;
    let y = c.reshape_to(node, x, &shape)?;
    c.bind(node, 0, y)
}

fn squeeze(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let own = c.shape(x);
    let given = match &node.op.options {
        RawOptions::Squeeze(o) => o.axes.iter().map(|&a| a.into()).collect(),
        _ => Vec::new(),
    };
    let axes = match given.is_empty() {
        true => (0..own.len() as u32).filter(|&d| own[d as usize] == 1).collect(),
        false => c.axes(&given, own.len())?,
    };
    if axes.iter().any(|&d| own[d as usize] != 1) {
        return Err(format!("axes {axes:?} of shape {own:?} are not all of extent 1"));
    }
    let kept = |d: &usize| !axes.contains(&(*d as u32));
    let shape: Vec<u64> = (0..own.len()).filter(kept).map(|d| own[d]).collect();
    let y = c.reshape_to(node, x, &shape)?;
    c.bind(node, 0, y)
}

fn expand_dims(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let mut shape = c.shape(x);
    let axis = shapes::axis(c.constant_int(node, 1, "the axis")?, shape.len() + 1)?;
    shape.insert(axis as usize, 1);
    let y = c.reshape_to(node, x, &shape)?;
    c.bind_same(node, 0, y)
}

fn transpose(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let own = c.shape(x);
    let perm = c.axes(&c.constant_ints(node, 1)?, own.len())?;
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..own.len() as u32) {
        return Err(format!("perm {perm:?} for shape {own:?}"));
    }
    let y = c.transpose_by(node, x, &perm)?;
    c.bind(node, 0, y)
}

/// CONCATENATION of plain elements.
fn concat(c: &mut Converter, node: &Node) -> Result<(), String> {
    let n = node.op.inputs.len();
    let first = c.operand(node, 0)?;
    let is_float = c.tensor_type(first).storage() == DType::F32;
    let one = |i| if is_float { c.float(node, i) } else { c.operand(node, i) };
    let xs: Vec<Value> = (0..n).map(one).collect::<Result<_, _>>()?;
    let (axis, act, shape) = c.concatenated(node, &xs)?;
    if act != qcc_ir::dialect::quant::Act::None {
        return Err("a fused activation is supported on quantized tensors only".into());
    }
    let y = c.joined(node, &xs, axis, &shape)?;
    c.bind(node, 0, y)
}

fn pack(c: &mut Converter, node: &Node) -> Result<(), String> {
    let RawOptions::Pack(o) = &node.op.options else {
        return Err("its options are missing".into());
    };
    let first = c.operand(node, 0)?;
    let own = c.shape(first);
    let axis = shapes::axis(o.axis.into(), own.len() + 1)?;
    let (mut one, mut shape) = (own.clone(), own.clone());
    one.insert(axis as usize, 1);
    shape.insert(axis as usize, node.op.inputs.len() as u64);
    let mut parts = Vec::new();
    for i in 0..node.op.inputs.len() {
        let x = c.operand(node, i)?;
        if c.shape(x) != own {
            return Err(format!("inputs of shapes {own:?} and {:?}", c.shape(x)));
        }
        // The kernel looks at the parameters of the first only.
        let x = if i == 0 { x } else { c.as_output(node, 0, x)? };
        parts.push(c.reshape_to(node, x, &one)?);
    }
    let y = c.joined(node, &parts, axis, &shape)?;
    c.bind_same(node, 0, y)
}

impl Converter<'_> {
    /// Tensors of one element type side by side.
    fn joined(
        &mut self,
        node: &Node,
        xs: &[Value],
        axis: u32,
        shape: &[u64],
    ) -> Result<Value, String> {
        let elem = |c: &Self, v: Value| c.tensor_type(v).elem.clone();
        let first = elem(self, xs[0]);
        if let Some(other) = xs.iter().map(|&x| elem(self, x)).find(|e| *e != first) {
            return Err(format!("its inputs are {} and {}", say(&first), say(&other)));
        }
        self.moved(node, nn::Concat { axis }, xs, shape)
    }
}

fn resize_nearest(c: &mut Converter, node: &Node) -> Result<(), String> {
    let RawOptions::ResizeNearest(o) = &node.op.options else {
        return Err("its options are missing".into());
    };
    let x = c.operand(node, 0)?;
    let shape = c.resized(node, x)?;
    let (coordinates, rounding) = match (o.align_corners, o.half_pixel_centers) {
        (true, true) => return resize_both(c, node, x, &shape),
        (true, false) => (ResizeCoordinates::AlignCorners, NearestRounding::HalfUp),
        // ⌊(i + ½)·s⌋ = ⌊p + ½⌋ at p = (i + ½)·s − ½: what is taken off and added again is exact
        // but for positions below ½, which are 0 both ways.
        (false, true) => (ResizeCoordinates::HalfPixel, NearestRounding::HalfUp),
        (false, false) => (ResizeCoordinates::Asymmetric, NearestRounding::Floor),
    };
    let y = c.moved(node, nn::ResizeNearest { coordinates, rounding }, &[x], &shape)?;
    c.bind(node, 0, y)
}

/// Half a pixel off between aligned corners: ⌊(i + ½)·(in − 1)/(out − 1) + ½⌋, in f32.
fn resize_both(c: &mut Converter, node: &Node, x: Value, shape: &[u64]) -> Result<(), String> {
    let mut y = x;
    for d in [1, 2] {
        let (mut own, n) = (c.shape(y), few(shape[d])?);
        let last = own[d].saturating_sub(1);
        let scale = match n {
            1 => own[d] as f32,
            _ => last as f32 / (n - 1) as f32,
        };
        let nearest = |i: u64| ((i as f32 + 0.5) * scale).round().min(last as f32) as i64;
        let all: Vec<i64> = (0..n).map(nearest).collect();
        let all = c.integers(node, &all, &[n], DType::I32);
        own[d] = n;
        y = c.moved(node, nn::Gather { axis: d as u32 }, &[y, all], &own)?;
    }
    c.bind(node, 0, y)
}
