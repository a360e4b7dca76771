//! Constants, shapes, and nodes that pass their input on.

use super::super::convert::{Bound, Converter, Known};
use super::super::data::{self, OnnxType};
use super::super::eval;
use super::super::node::Node;
use super::Table;
use super::small_floats::Rounding;
use crate::shapes;
use qcc_ir::dialect::nn::{self, IntFn};
use qcc_ir::{DType, Elem, TensorType, Value};
use qcc_runtime::Tensor;

pub const OPS: Table = &[
    ("Cast", cast),
    ("CastLike", cast_like),
    ("Constant", constant),
    ("ConstantOfShape", constant_of_shape),
    ("Dropout", dropout),
    ("Identity", identity),
    ("NonZero", only_known),
    ("Range", only_known),
    ("Shape", shape),
    ("Size", size),
    ("Mod", only_known),
];

/// Operators that are evaluated and have no op.
fn only_known(c: &mut Converter, node: &Node) -> Result<(), String> {
    for i in 0..node.proto.input.len() {
        if node.input(i).is_some() && c.known(node, i)?.is_none() {
            let name = node.input(i).unwrap_or_default();
            return Err(format!("input {i} ('{name}') must be known when the model is compiled"));
        }
    }
    Err("its inputs are too large to evaluate".into())
}

fn ints(all: &[i64], shape: &[usize]) -> Result<Bound, String> {
    let t = Tensor::from_slice(all, shape).map_err(|e| e.to_string())?;
    Ok(Bound::Known(Known::new(t)))
}

fn constant(c: &mut Converter, node: &Node) -> Result<(), String> {
    let floats = |all: &[f32], shape: &[usize]| {
        let t = Tensor::from_slice(all, shape).map_err(|e| e.to_string())?;
        Ok::<Bound, String>(Bound::Known(Known::new(t)))
    };
    let bound = if let Some(t) = node.tensor("value")? {
        let tensor = data::decode(t, c.folder())?;
        let range = OnnxType(t.data_type).narrow_range();
        c.note_narrow_float(node, OnnxType(t.data_type));
        Bound::Known(Known { range, ..Known::new(tensor) })
    } else if node.has("value_float") {
        floats(&[node.float("value_float", 0.0)?], &[])?
    } else if node.has("value_int") {
        ints(&[node.int("value_int", 0)?], &[])?
    } else if let Some(all) = node.floats("value_floats")? {
        floats(all, &[all.len()])?
    } else if let Some(all) = node.ints("value_ints")? {
        ints(all, &[all.len()])?
    } else {
        return Err("it has no value that can be read (strings and sparse ones cannot)".into());
    };
    c.bind(node, 0, bound)
}

/// Elements of a constant filled at import; larger ones are filled at run time.
const MAX_FILLED: usize = 1 << 24;

fn constant_of_shape(c: &mut Converter, node: &Node) -> Result<(), String> {
    let shape = c.ints(node, 0)?.ok_or("input 0 is missing")?;
    let shape = data::extents(&shape)?;
    let value = match node.tensor("value")? {
        Some(t) => data::decode(t, c.folder())?,
        None => Tensor::zeros(DType::F32, [1]),
    };
    if value.len() != 1 {
        return Err("its value is not one number".into());
    }
    if shape.iter().product::<usize>() > MAX_FILLED {
        let name = node.proto.output.first().cloned().unwrap_or_default();
        let one = c.constant(&name, &value, Elem::Plain(value.dtype()))?;
        let wide: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
        let y = c.emit_like(nn::Broadcast {}, one, &wide)?;
        return c.done(node, y);
    }
    let mut t = Tensor::try_zeros(value.dtype(), shape).map_err(|e| e.to_string())?;
    let n = value.bytes().len();
    t.bytes_mut().chunks_exact_mut(n).for_each(|b| b.copy_from_slice(value.bytes()));
    c.bind(node, 0, Bound::Known(Known::new(t)))
}

pub fn identity(c: &mut Converter, node: &Node) -> Result<(), String> {
    let bound = c.bound(node, 0)?.ok_or("input 0 is missing")?;
    c.bind(node, 0, bound)
}

fn dropout(c: &mut Converter, node: &Node) -> Result<(), String> {
    let is_inference = match (node.input(2), c.known(node, 2)?) {
        (None, _) => true,
        (_, Some(k)) => k.tensor.len() == 1 && k.tensor.get_i64(0) == 0,
        _ => false,
    };
    if !is_inference {
        return Err("training mode, or one that is known only at run time, is not supported".into());
    }
    identity(c, node)?;
    if node.has_output(1) {
        let shape = c.shape_of(node, 0)?;
        let extents: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
        let mut mask = Tensor::try_zeros(DType::Bool, extents).map_err(|e| e.to_string())?;
        mask.bytes_mut().fill(1);
        c.bind(node, 1, Bound::Known(Known::new(mask)))?;
    }
    Ok(())
}

fn shape(c: &mut Converter, node: &Node) -> Result<(), String> {
    let all: Vec<i64> = c.shape_of(node, 0)?.iter().map(|&d| d as i64).collect();
    let rank = all.len() as i64;
    let place = |v: i64| (if v < 0 { v + rank } else { v }).clamp(0, rank) as usize;
    let (from, to) = (place(node.int("start", 0)?), place(node.int("end", rank)?));
    let part = &all[from..to.max(from)];
    c.bind(node, 0, ints(part, &[part.len()])?)
}

fn size(c: &mut Converter, node: &Node) -> Result<(), String> {
    let n: u64 = c.shape_of(node, 0)?.iter().product();
    c.bind(node, 0, ints(&[n as i64], &[])?)
}

/// Smallest and largest code that a cast makes, if its type is narrower than its storage.
pub fn cast_range(c: &mut Converter, node: &Node) -> Result<Option<[i32; 2]>, String> {
    match &*node.op {
        "Cast" => Ok(OnnxType(node.int("to", 0)? as i32).narrow_range()),
        "CastLike" => c.range_of(node, 1),
        _ => Ok(None),
    }
}

/// The type that a cast rounds to, if it has 4 or 8 bits.
pub fn small_float(c: &mut Converter, node: &Node) -> Result<Option<OnnxType>, String> {
    let ty = match &*node.op {
        "Cast" => Some(OnnxType(node.int("to", 0)? as i32)),
        "CastLike" => c.narrow_float(node, 1),
        _ => None,
    };
    match ty {
        Some(ty) if ty.is_narrow_float() && ty.number_of().is_none() => {
            Err(format!("casts to {ty} are not supported"))
        }
        ty => Ok(ty.filter(|ty| ty.number_of().is_some())),
    }
}

fn to_small_float(c: &mut Converter, node: &Node, ty: OnnxType) -> Result<(), String> {
    let mut x = c.plain_input(node, 0)?;
    if c.elem(x) != Elem::Plain(DType::F32) {
        let shape = c.shape(x);
        x = c.emit_f32(nn::Cast {}, &[x], &shape)?;
    }
    let saturate = node.flag("saturate", true)?;
    let y = c.rounded(node, x, &Rounding { ty, saturate, signs_zero: true })?;
    c.done(node, y)
}

fn cast(c: &mut Converter, node: &Node) -> Result<(), String> {
    if let Some(ty) = small_float(c, node)? {
        return to_small_float(c, node, ty);
    }
    let to = OnnxType(node.int("to", 0)? as i32);
    cast_to(c, node, eval::constant_dtype(to)?)
}

fn cast_like(c: &mut Converter, node: &Node) -> Result<(), String> {
    if let Some(ty) = small_float(c, node)? {
        return to_small_float(c, node, ty);
    }
    let to = match c.bound(node, 1)?.ok_or("input 1 is missing")? {
        Bound::Known(k) => k.tensor.dtype(),
        Bound::Value(v) => c.elem(v).storage(),
        _ => DType::F32,
    };
    cast_to(c, node, to)
}

fn cast_to(c: &mut Converter, node: &Node, to: DType) -> Result<(), String> {
    let x = c.any(node, 0)?;
    let x = c.plain(x)?;
    if let Some(range) = cast_range(c, node)? {
        c.note_range(node, range);
        let y = wrapped(c, node, x, (range, to))?;
        return c.done(node, y);
    }
    if c.elem(x) == Elem::Plain(to) {
        return c.done(node, x);
    }
    let shape = c.shape(x);
    shapes::check_size(&shape)?;
    let y = c.emit(nn::Cast {}, &[x], TensorType::plain(&shape, to))?;
    c.done(node, y)
}

/// The low bits of the integers that x has toward zero, as codes from `low` on.
fn wrapped(
    c: &mut Converter,
    node: &Node,
    x: Value,
    ([low, high], to): ([i32; 2], DType),
) -> Result<Value, String> {
    let shape = c.shape(x);
    let x = c.emit(nn::Cast {}, &[x], TensorType::plain(&shape, DType::I32))?;
    let mask = c.integers(node, &[i64::from(high) - i64::from(low)], &[], DType::I32)?;
    let sign = c.integers(node, &[-i64::from(low)], &[], DType::I32)?;
    let x = c.int_binary(IntFn::And, x, mask)?;
    let x = c.int_binary(IntFn::Xor, x, sign)?;
    let x = c.int_binary(IntFn::Sub, x, sign)?;
    c.emit(nn::Cast {}, &[x], TensorType::plain(&shape, to))
}
