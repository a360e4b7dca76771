//! Tensors made of a shape or of one number, repetition, and other element types.

use super::super::{Converter, Node};
use crate::shapes;
use qcc_ir::dialect::{nn, quant};
use qcc_ir::{DType, Elem, TensorType};

/// Elements that RANGE may have.
const MAX_RANGE: usize = 1 << 24;

/// Extents in a constant operand.
fn extents(c: &Converter, node: &Node, i: usize) -> Result<Vec<u64>, String> {
    let all = c.constant_ints(node, i)?;
    let sizes: Option<Vec<u64>> = all.iter().map(|&d| u64::try_from(d).ok()).collect();
    sizes.ok_or_else(|| format!("a shape of {all:?}"))
}

/// The type of a list of integers: that of output 0.
fn integer_type(c: &Converter, node: &Node) -> Result<DType, String> {
    let t = *node.op.outputs.first().ok_or("no output")?;
    match c.graph.tensors[t].storage_dtype() {
        Some(d @ (DType::I32 | DType::I64)) => Ok(d),
        _ => Err(format!("an output of {}; int32 and int64 work", c.graph.tensors[t].dtype)),
    }
}

pub fn shape(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let all: Vec<i64> = c.shape(x).iter().map(|&d| d as i64).collect();
    let dtype = integer_type(c, node)?;
    let y = c.integers(node, &all, &[all.len() as u64], dtype);
    c.bind(node, 0, y)
}

pub fn rank(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let rank = c.shape(x).len() as i64;
    let y = c.integers(node, &[rank], &[], DType::I32);
    c.bind(node, 0, y)
}

pub fn fill(c: &mut Converter, node: &Node) -> Result<(), String> {
    let shape = extents(c, node, 0)?;
    let value = c.operand(node, 1)?;
    if !c.shape(value).is_empty() {
        return Err(format!("its value has shape {:?}, expected []", c.shape(value)));
    }
    let y = c.moved(node, nn::Broadcast {}, &[value], &shape)?;
    c.bind(node, 0, y)
}

pub fn zeros_like(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let ty = c.tensor_type(x).clone();
    let Elem::Plain(dtype) = ty.elem else {
        return Err("it is supported on float32, int32 and int64 only".into());
    };
    let zero = c.constant(node, vec![0; dtype.size()], TensorType::plain(&[], dtype));
    let y = c.moved(node, nn::Broadcast {}, &[zero], &ty.shape)?;
    c.bind(node, 0, y)
}

pub fn range(c: &mut Converter, node: &Node) -> Result<(), String> {
    let mut ends = Vec::new();
    for i in 0..3 {
        let v = c.operand(node, i)?;
        let t = c.known(v).filter(|t| t.len() == 1);
        ends.push(t.ok_or_else(|| format!("input {i} must be one constant number"))?);
    }
    let dtype = ends[0].dtype();
    let bytes: Vec<u8> = match dtype {
        DType::F32 => {
            let [start, limit, delta] = [0, 1, 2].map(|i| ends[i].get_f64(0) as f32);
            let n = steps(limit - start, delta, ((limit - start) / delta).abs().ceil() as usize)?;
            // The reference adds up.
            let each = (0..n).scan(start, |at, _| Some(std::mem::replace(at, *at + delta)));
            each.flat_map(f32::to_le_bytes).collect()
        }
        DType::I32 | DType::I64 => {
            let [start, limit, delta] = [0, 1, 2].map(|i| ends[i].get_i64(0));
            let room = limit.checked_sub(start).ok_or("a range beyond int64")?;
            let n = room.unsigned_abs().div_ceil(delta.unsigned_abs().max(1)) as usize;
            let n = steps(room as f32, delta as f32, n)?;
            let each = (0..n).map(|i| start + i as i64 * delta);
            match dtype {
                DType::I64 => each.flat_map(i64::to_le_bytes).collect(),
                _ => each.flat_map(|v| (v as i32).to_le_bytes()).collect(),
            }
        }
        other => return Err(format!("a range of {other}; int32, int64 and float32 work")),
    };
    let n = (bytes.len() / dtype.size()) as u64;
    let y = c.constant(node, bytes, TensorType::plain(&[n], dtype));
    c.bind(node, 0, y)
}

/// `n`, if that many steps of `delta` go over `room`.
fn steps(room: f32, delta: f32, n: usize) -> Result<usize, String> {
    let is_away = delta == 0.0 || (room > 0.0 && delta < 0.0) || (room < 0.0 && delta > 0.0);
    if is_away || n > MAX_RANGE {
        return Err(format!("a range over {room} by {delta}"));
    }
    Ok(n)
}

pub fn broadcast_to(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let (own, shape) = (c.shape(x), extents(c, node, 1)?);
    if shapes::broadcast(&own, &shape).ok().as_ref() != Some(&shape) {
        return Err(format!("{own:?} does not broadcast to {shape:?}"));
    }
    let y = c.moved(node, nn::Broadcast {}, &[x], &shape)?;
    c.bind(node, 0, y)
}

pub fn tile(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let (own, times) = (c.shape(x), extents(c, node, 1)?);
    if times.len() != own.len() || times.iter().any(|&t| t >= 1 << 31) {
        return Err(format!("{times:?} repetitions of shape {own:?}"));
    }
    // A dimension of its own for what is repeated, where something is.
    let split = |f: &dyn Fn(usize) -> u64| -> Vec<u64> {
        let each = (0..own.len()).map(|d| match times[d] {
            1 => vec![own[d]],
            _ => vec![f(d), own[d]],
        });
        each.flatten().collect()
    };
    let shape: Vec<u64> = own.iter().zip(&times).map(|(&n, &t)| n * t).collect();
    shapes::check_size(&shape)?;
    let y = c.reshape_to(node, x, &split(&|_| 1))?;
    let y = c.moved(node, nn::Broadcast {}, &[y], &split(&|d| times[d]))?;
    let y = c.reshape_to(node, y, &shape)?;
    c.bind(node, 0, y)
}

/// C's casts, of codes too: what they stand for does not count.
pub fn cast(c: &mut Converter, node: &Node) -> Result<(), String> {
    let mut x = c.operand(node, 0)?;
    let ty = c.tensor_type(x).clone();
    let from = TensorType::plain(&ty.shape, ty.storage());
    if ty.quant_type().is_some() {
        x = c.made(node, quant::Reinterpret {}, &[x], from.clone())?;
    }
    let (_, to) = c.output(node, 0, &from.elem)?;
    let y = c.made(node, nn::Cast {}, &[x], TensorType::plain(&ty.shape, to.storage()))?;
    c.bind(node, 0, y)
}
