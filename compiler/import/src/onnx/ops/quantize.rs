//! QuantizeLinear, DequantizeLinear and the dynamic ones; parameters known at import go into types.

use super::super::convert::{Bound, Converter, Dequant, Known};
use super::super::data::OnnxType;
use super::super::node::Node;
use super::Table;
use super::small_floats::Rounding;
use crate::shapes;
use qcc_ir::dialect::nn::{self, UnaryFn};
use qcc_ir::dialect::quant;
use qcc_ir::dialect::quant::Act;
use qcc_ir::{Affine, DType, Elem, QuantParams, QuantType, TensorType, Value};
use qcc_runtime::Tensor;
use std::sync::Arc;

pub const OPS: Table = &[
    ("DequantizeLinear", dequantize),
    ("DynamicQuantizeLinear", dynamic_quantize),
    ("QuantizeLinear", quantize),
    ("com.microsoft::DequantizeLinear", dequantize),
    ("com.microsoft::QuantizeLinear", quantize),
];

impl Converter<'_> {
    /// The quantized type with scale and zero point of inputs `at` and `at + 1`, if both are known;
    /// `storage` and `range` are those of the codes, `shape` and `axis` the tensor's.
    pub fn params(
        &mut self,
        node: &Node,
        at: usize,
        (storage, range): (DType, Option<[i32; 2]>),
        (shape, axis): (&[u64], i64),
    ) -> Result<Option<QuantType>, String> {
        let Some(scale) = self.known(node, at)? else { return Ok(None) };
        let zero = match (node.input(at + 1).is_some(), self.known(node, at + 1)?) {
            (true, None) => return Ok(None),
            (_, zero) => zero,
        };
        let scales = scale.tensor.to_f64_vec();
        let zeros = zero.map(|k| k.tensor.to_i64_vec());
        if zeros.as_ref().is_some_and(|z| z.len() != scales.len()) {
            return Err("scale and zero point have different shapes".into());
        }
        let affine = |i: usize| {
            let zero = zeros.as_ref().map_or(0, |z| z[i]);
            let (low, high) = storage.min_max();
            let scale = scales[i] as f32;
            if !scale.is_finite() || scale < 0.0 {
                return Err(format!("scale {scale} is not a number of at least 0"));
            }
            match i32::try_from(zero) {
                Ok(zero) if (low..=high).contains(&i64::from(zero)) => Ok(Affine::new(scale, zero)),
                _ => Err(format!("zero point {zero} is no {storage}")),
            }
        };
        let affines: Vec<Affine> = (0..scales.len()).map(affine).collect::<Result<_, _>>()?;
        let mut q = match affines.as_slice() {
            [one] => QuantType::per_tensor(storage, one.scale, one.zero_point),
            _ => {
                let axis = shapes::axis(axis, shape.len())? as usize;
                if scale.tensor.shape().len() > 1 || shape[axis] != affines.len() as u64 {
                    let n = affines.len();
                    return Err(format!("{n} scales for {} slices of axis {axis}", shape[axis]));
                }
                QuantType::per_axis(storage, axis, affines)
            }
        };
        if let Some(range) = range {
            q.range = range;
        }
        Ok(Some(q))
    }

    /// A value whose codes stand for real numbers as `q` says.
    pub fn as_quant(&mut self, v: Value, q: &QuantType) -> Result<Value, String> {
        let ty = self.tensor_type(v).clone();
        let elem = Elem::Quant(Arc::new(q.clone()));
        if ty.elem == elem {
            return Ok(v);
        }
        if ty.storage() != q.storage {
            return Err(format!("codes of {} with a zero point of {}", ty.storage(), q.storage));
        }
        let new = TensorType { elem, ..ty.clone() };
        let is_unused_input = self.func.def_op(v).is_none() && self.func.value(v).uses().is_empty();
        if is_unused_input && matches!(ty.elem, Elem::Plain(_)) {
            self.func.set_type(v, new.into());
            return Ok(v);
        }
        self.emit(quant::Reinterpret {}, &[v], new)
    }
    /// A value's codes as plain integers.
    pub fn plain(&mut self, v: Value) -> Result<Value, String> {
        let ty = self.tensor_type(v).clone();
        match &ty.elem {
            Elem::Plain(_) => Ok(v),
            Elem::Quant(q) => {
                let plain = TensorType::plain(&ty.shape, q.storage);
                self.emit(quant::Reinterpret {}, &[v], plain)
            }
        }
    }
    /// Input `i` as a value of codes with the quantization `q`.
    pub fn codes(&mut self, node: &Node, i: usize, q: &QuantType) -> Result<Value, String> {
        match self.bound(node, i)? {
            Some(Bound::Known(k)) => {
                let elem = Elem::Quant(Arc::new(q.clone()));
                let name = node.input(i).unwrap_or("codes").to_string();
                self.constant(&name, &k.tensor, elem)
            }
            _ => {
                let v = self.any(node, i)?;
                self.as_quant(v, q)
            }
        }
    }
    /// Storage and range of the codes of input `i`.
    pub fn storage(&mut self, node: &Node, i: usize) -> Result<(DType, Option<[i32; 2]>), String> {
        Ok(match self.bound(node, i)?.ok_or_else(|| format!("input {i} is missing"))? {
            Bound::Known(k) => (k.tensor.dtype(), k.range),
            Bound::Value(v) => (self.elem(v).storage(), self.range_of(node, i)?),
            Bound::Dequant(_) | Bound::Broken => (DType::F32, None),
        })
    }
}

/// The type of the codes that a QuantizeLinear makes.
fn storage_of_output(c: &mut Converter, node: &Node) -> Result<(DType, Option<[i32; 2]>), String> {
    if node.input(2).is_some() {
        return c.storage(node, 2);
    }
    match node.int("output_dtype", 0)? {
        0 => Ok((DType::U8, None)),
        t => {
            let ty = OnnxType(t as i32);
            let dtype = ty.dtype().filter(|d| d.is_int());
            Ok((
                dtype.ok_or_else(|| format!("codes of {ty} are not supported"))?,
                ty.narrow_range(),
            ))
        }
    }
}

fn is_blocked(c: &mut Converter, node: &Node) -> Result<bool, String> {
    Ok(node.int("block_size", 0)? != 0 && c.shape_of(node, 1)?.len() > 1)
}

/// The default axis exists only in tensors that have it.
fn axis_of(node: &Node) -> Result<i64, String> {
    node.int("axis", 1)
}

fn quantize(c: &mut Converter, node: &Node) -> Result<(), String> {
    let shape = c.shape_of(node, 0)?;
    let ty = match c.narrow_float(node, 2) {
        Some(ty) => ty,
        None => OnnxType(node.int("output_dtype", 0)? as i32),
    };
    if ty.number_of().is_some() {
        let x = c.float(node, 0)?;
        let scale = c.float(node, 1)?;
        let scale = spread(c, node, scale, &shape)?;
        let x = c.emit_f32(nn::Div { act: Act::None }, &[x, scale], &shape)?;
        // The zero point, which is 0, makes 0 of −0.
        let (saturate, signs_zero) = (node.flag("saturate", true)?, node.input(2).is_none());
        let y = c.rounded(node, x, &Rounding { ty, saturate, signs_zero })?;
        return c.done(node, y);
    }
    let (storage, range) = storage_of_output(c, node)?;
    if !storage.is_int() {
        return Err(format!("codes of {storage} are not supported"));
    }
    let params = match is_blocked(c, node)? {
        true => None,
        false => c.params(node, 1, (storage, range), (&shape, axis_of(node)?))?,
    };
    let small = matches!(storage, DType::I8 | DType::U8 | DType::I16 | DType::U16);
    match (params, c.bound(node, 0)?) {
        (Some(q), Some(Bound::Known(k))) => {
            let codes = quantized(&k.tensor, &q)?;
            c.bind(node, 0, Bound::Known(Known { range, ..Known::new(codes) }))
        }
        (Some(q), _) if small => {
            let x = c.float(node, 0)?;
            let ty = TensorType::quant(&shape, Arc::new(q));
            let y = c.emit(quant::Quantize {}, &[x], ty)?;
            c.done(node, y)
        }
        _ if small => quantize_by_float_ops(c, node, (storage, range), &shape),
        _ => Err(format!("codes of {storage} are not supported")),
    }
}

/// q = clamp(round_even(x / s) + z), as `quant.quantize` under the numerics of ONNX.
fn quantized(x: &Tensor, q: &QuantType) -> Result<Tensor, String> {
    let mut y = Tensor::try_zeros(q.storage, x.shape()).map_err(|e| e.to_string())?;
    let (axis, affines) = (axis(q), q.affines());
    let inner: usize = x.shape().iter().skip(axis + 1).product();
    for i in 0..x.len() {
        let a = affines[if affines.len() == 1 { 0 } else { i / inner.max(1) % affines.len() }];
        let v = (x.get_f64(i) as f32 / a.scale).round_ties_even();
        let code = f64::from(v) + f64::from(a.zero_point);
        let code = if code.is_nan() { q.range[0].into() } else { code };
        y.set_f64(i, code.clamp(q.range[0].into(), q.range[1].into()));
    }
    Ok(y)
}

fn axis(q: &QuantType) -> usize {
    match &q.params {
        QuantParams::PerAxis { axis, .. } => *axis,
        QuantParams::PerTensor(_) => 0,
    }
}

fn dequantize(c: &mut Converter, node: &Node) -> Result<(), String> {
    let shape = c.shape_of(node, 0)?;
    let (storage, range) = c.storage(node, 0)?;
    if c.narrow_float(node, 0).is_some() {
        return dequantize_floats(c, node, &shape);
    }
    if !storage.is_int() {
        return Err(format!("codes of {storage} are not supported"));
    }
    let params = match is_blocked(c, node)? {
        true => None,
        false => c.params(node, 1, (storage, range), (&shape, axis_of(node)?))?,
    };
    match (params, c.bound(node, 0)?) {
        (Some(q), Some(Bound::Known(k))) => {
            c.bind(node, 0, Bound::Dequant(Dequant { codes: k.tensor, quant: q }))
        }
        (Some(q), _) => {
            let x = c.codes(node, 0, &q)?;
            let y = c.emit_f32(quant::Dequantize {}, &[x], &shape)?;
            c.done(node, y)
        }
        _ => {
            let x = c.any(node, 0)?;
            let x = c.plain(x)?;
            let mut x = c.emit_f32(nn::Cast {}, &[x], &shape)?;
            let (scale, zero) = spread_params(c, node, &shape)?;
            if let Some(zero) = zero {
                x = c.emit_f32(nn::Sub { act: Act::None }, &[x, zero], &shape)?;
            }
            let y = c.emit_f32(nn::Mul { act: Act::None }, &[x, scale], &shape)?;
            c.done(node, y)
        }
    }
}

/// Floats of 8 bits or less times their scale; the only zero point that they have is 0.
fn dequantize_floats(c: &mut Converter, node: &Node, shape: &[u64]) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let scale = c.float(node, 1)?;
    let scale = spread(c, node, scale, shape)?;
    let y = c.emit_f32(nn::Mul { act: Act::None }, &[x, scale], shape)?;
    c.done(node, y)
}

fn quantize_by_float_ops(
    c: &mut Converter,
    node: &Node,
    (storage, range): (DType, Option<[i32; 2]>),
    shape: &[u64],
) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let (scale, zero) = spread_params(c, node, shape)?;
    let x = c.emit_f32(nn::Div { act: Act::None }, &[x, scale], shape)?;
    let round = nn::Unary { f: UnaryFn::Round, alpha: 0.0, beta: 0.0 };
    let mut x = c.emit_f32(round, &[x], shape)?;
    if let Some(zero) = zero {
        x = c.emit_f32(nn::Add { act: Act::None }, &[x, zero], shape)?;
    }
    let (low, high) = storage.min_max();
    let [low, high] = range.unwrap_or([low as i32, high as i32]).map(|v| v as f32);
    let clip = nn::Unary { f: UnaryFn::Clip, alpha: low, beta: high };
    let x = c.emit_f32(clip, &[x], shape)?;
    let y = c.emit(nn::Cast {}, &[x], TensorType::plain(shape, storage))?;
    c.done(node, y)
}

/// Scale and zero point as float32 values that broadcast to `shape`.
fn spread_params(
    c: &mut Converter,
    node: &Node,
    shape: &[u64],
) -> Result<(Value, Option<Value>), String> {
    let scale = c.float(node, 1)?;
    let scale = spread(c, node, scale, shape)?;
    let zero = match node.input(2) {
        None => None,
        Some(_) => {
            let zero = c.any(node, 2)?;
            let zero = c.plain(zero)?;
            let own = c.shape(zero);
            let zero = c.emit_f32(nn::Cast {}, &[zero], &own)?;
            Some(spread(c, node, zero, shape)?)
        }
    };
    Ok((scale, zero))
}

/// One parameter for all, one per slice along the axis, or one per block of it.
fn spread(c: &mut Converter, node: &Node, p: Value, shape: &[u64]) -> Result<Value, String> {
    let own = c.shape(p);
    let one: u64 = own.iter().product();
    if one == 1 {
        return c.emit_like(nn::Reshape {}, p, &[]);
    }
    let axis = shapes::axis(axis_of(node)?, shape.len())? as usize;
    let mut wide = vec![1; shape.len()];
    if own.len() == 1 {
        wide[axis] = own[0];
        return c.emit_like(nn::Reshape {}, p, &wide);
    }
    let block = node.int("block_size", 0)?;
    if own.len() != shape.len() || block <= 0 || block as u64 > shape[axis].max(1) {
        return Err(format!("scales of shape {own:?} and blocks of {block} for {shape:?}"));
    }
    // [.., n, ..] -> [.., n, 1, ..] -> [.., n, block, ..] -> [.., n·block, ..], cut to the extent.
    let mut split = own.clone();
    split.insert(axis + 1, 1);
    let p = c.emit_like(nn::Reshape {}, p, &split)?;
    split[axis + 1] = block as u64;
    let p = c.emit_like(nn::Broadcast {}, p, &split)?;
    let mut joined = own;
    joined[axis] *= block as u64;
    let p = c.emit_like(nn::Reshape {}, p, &joined)?;
    if joined == shape {
        return Ok(p);
    }
    let (start, step) = (vec![0; shape.len()], vec![1; shape.len()]);
    c.emit_like(nn::Slice { start, step }, p, shape)
}

fn dynamic_quantize(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let shape = c.shape(x);
    let types = vec![
        TensorType::plain(&shape, DType::U8),
        TensorType::plain(&[], DType::F32),
        TensorType::plain(&[], DType::U8),
    ];
    let results = c.emit_all(nn::DynamicQuantize {}, &[x], types)?;
    for (j, v) in results.into_iter().enumerate().filter(|(j, _)| node.has_output(*j)) {
        c.bind(node, j, Bound::Value(v))?;
    }
    Ok(())
}
