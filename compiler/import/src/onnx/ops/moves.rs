//! Operators that give the same elements another shape or order.

use super::super::convert::{Bound, Converter, Dequant, Known};
use super::super::node::Node;
use super::Table;
use super::conv::{remap_axis, transposed};
use super::shape::identity;
use crate::shapes;
use qcc_ir::dialect::quant::Act;
use qcc_ir::dialect::{nn, quant};
use qcc_ir::{QuantParams, Value};
use std::sync::Arc;

pub const OPS: Table = &[
    ("Concat", concat),
    ("DepthToSpace", depth_to_space),
    ("Expand", expand),
    ("Flatten", flatten),
    ("Reshape", reshape),
    ("SpaceToDepth", space_to_depth),
    ("Squeeze", squeeze),
    ("Tile", tile),
    ("Transpose", transpose),
    ("Unsqueeze", unsqueeze),
];

/// Binds the output to input 0 with another shape, constants as they are.
pub fn reshaped(c: &mut Converter, node: &Node, shape: &[u64]) -> Result<(), String> {
    shapes::check_size(shape)?;
    let own = c.shape_of(node, 0)?;
    if own.iter().product::<u64>() != shape.iter().product() {
        return Err(format!("{own:?} does not reshape to {shape:?}"));
    }
    let extents: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
    let bound = match c.bound(node, 0)?.ok_or("input 0 is missing")? {
        Bound::Known(k) => {
            let t = (*k.tensor).clone().reshaped(extents).map_err(|e| e.to_string())?;
            Bound::Known(Known { range: k.range, ..Known::new(t) })
        }
        Bound::Dequant(d) if matches!(d.quant.params, QuantParams::PerTensor(_)) => {
            let codes = (*d.codes).clone().reshaped(extents).map_err(|e| e.to_string())?;
            Bound::Dequant(Dequant { codes: Arc::new(codes), quant: d.quant })
        }
        _ => {
            let x = c.any(node, 0)?;
            Bound::Value(c.reshape(x, shape)?)
        }
    };
    c.bind(node, 0, bound)
}

fn reshape(c: &mut Converter, node: &Node) -> Result<(), String> {
    let own = c.shape_of(node, 0)?;
    let mut wanted = c.ints(node, 1)?.ok_or("the new shape is missing")?;
    if !node.flag("allowzero", false)? {
        for (d, w) in wanted.iter_mut().enumerate().filter(|(_, w)| **w == 0) {
            *w = *own.get(d).ok_or("a 0 in the shape beyond the input's rank")? as i64;
        }
    }
    let shape = shapes::reshape(&own, &wanted, 1)?;
    reshaped(c, node, &shape)
}

fn flatten(c: &mut Converter, node: &Node) -> Result<(), String> {
    let own = c.shape_of(node, 0)?;
    let axis = node.int("axis", 1)?;
    let at = if axis < 0 { axis + own.len() as i64 } else { axis };
    let at = usize::try_from(at).ok().filter(|&a| a <= own.len());
    let at = at.ok_or_else(|| format!("axis {axis} of shape {own:?}"))?;
    let (rows, columns) = (own[..at].iter().product(), own[at..].iter().product());
    reshaped(c, node, &[rows, columns])
}

/// The axes of a node: an attribute before opset 13, an input since.
fn axes_of(c: &mut Converter, node: &Node) -> Result<Option<Vec<i64>>, String> {
    match node.ints("axes")? {
        Some(all) => Ok(Some(all.to_vec())),
        None => c.ints(node, 1),
    }
}

fn squeeze(c: &mut Converter, node: &Node) -> Result<(), String> {
    let own = c.shape_of(node, 0)?;
    let axes: Vec<u32> = match axes_of(c, node)? {
        Some(all) => all.iter().map(|&a| shapes::axis(a, own.len())).collect::<Result<_, _>>()?,
        None => (0..own.len() as u32).filter(|&d| own[d as usize] == 1).collect(),
    };
    let keep = |d: &usize| !axes.contains(&(*d as u32));
    if (0..own.len()).any(|d| !keep(&d) && own[d] != 1) {
        return Err(format!("axes {axes:?} of shape {own:?} are not all 1"));
    }
    let shape: Vec<u64> = (0..own.len()).filter(keep).map(|d| own[d]).collect();
    reshaped(c, node, &shape)
}

fn unsqueeze(c: &mut Converter, node: &Node) -> Result<(), String> {
    let own = c.shape_of(node, 0)?;
    let axes = axes_of(c, node)?.ok_or("the axes are missing")?;
    if axes.len() > 64 {
        return Err(format!("{} axes", axes.len()));
    }
    let rank = own.len() + axes.len();
    let axes: Vec<u32> = axes.iter().map(|&a| shapes::axis(a, rank)).collect::<Result<_, _>>()?;
    let mut rest = own.iter();
    let is_new = |d: usize| axes.contains(&(d as u32));
    let extent = |d| if is_new(d) { Some(1) } else { rest.next().copied() };
    let shape: Option<Vec<u64>> = (0..rank).map(extent).collect();
    reshaped(c, node, &shape.ok_or("an axis is given twice")?)
}

fn transpose(c: &mut Converter, node: &Node) -> Result<(), String> {
    let own = c.shape_of(node, 0)?;
    let rank = own.len();
    let perm: Vec<u32> = match node.ints("perm")? {
        Some(all) => all.iter().map(|&a| shapes::axis(a, rank)).collect::<Result<_, _>>()?,
        None => (0..rank as u32).rev().collect(),
    };
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank as u32) {
        return Err(format!("perm {perm:?} for shape {own:?}"));
    }
    let bound = match c.bound(node, 0)?.ok_or("input 0 is missing")? {
        Bound::Known(k) => {
            let t = transposed(&k.tensor, &own, &perm)?;
            Bound::Known(Known { range: k.range, ..Known::new(t) })
        }
        Bound::Dequant(mut d) => {
            d.codes = Arc::new(transposed(&d.codes, &own, &perm)?);
            remap_axis(&mut d.quant.params, &perm);
            Bound::Dequant(d)
        }
        _ => {
            let x = c.any(node, 0)?;
            Bound::Value(c.transpose(x, &perm)?)
        }
    };
    c.bind(node, 0, bound)
}

fn concat(c: &mut Converter, node: &Node) -> Result<(), String> {
    let xs: Vec<Value> =
        (0..node.proto.input.len()).map(|i| c.any(node, i)).collect::<Result<_, _>>()?;
    let y = joined(c, node, xs)?;
    c.done(node, y)
}

/// Values side by side along the node's axis.
fn joined(c: &mut Converter, node: &Node, xs: Vec<Value>) -> Result<Value, String> {
    let first = *xs.first().ok_or("no inputs")?;
    let mut shape = c.shape(first);
    let axis = shapes::axis(node.int("axis", 0)?, shape.len())?;
    let at = axis as usize;
    shape[at] = 0;
    let mut same = true;
    for &x in &xs {
        let own = c.shape(x);
        let fits = own.len() == shape.len()
            && (0..shape.len()).all(|d| d == at || own[d] == shape[d])
            && c.elem(x).storage() == c.elem(first).storage();
        if !fits {
            return Err(format!("an input of shape {own:?} does not fit the others"));
        }
        shape[at] = shape[at].checked_add(own[at]).ok_or("the shape is too large")?;
        same &= c.elem(x) == c.elem(first);
    }
    // Plain codes side by side: nothing says that they stand for the same numbers.
    let mut plain = Vec::new();
    for x in xs {
        plain.push(if same { x } else { c.plain(x)? });
    }
    let ty = c.tensor_type(plain[0]).with_shape(&shape);
    match ty.quant_type() {
        Some(_) => c.emit(quant::Concat { axis, act: Act::None }, &plain, ty),
        None => c.emit(nn::Concat { axis }, &plain, ty),
    }
}

fn expand(c: &mut Converter, node: &Node) -> Result<(), String> {
    let own = c.shape_of(node, 0)?;
    let wanted = c.ints(node, 1)?.ok_or("the shape is missing")?;
    let wanted: Option<Vec<u64>> = wanted.iter().map(|&d| u64::try_from(d).ok()).collect();
    let shape = shapes::broadcast(&own, &wanted.ok_or("a negative extent")?)?;
    if shape == own {
        return identity(c, node);
    }
    let x = c.any(node, 0)?;
    let y = c.emit_like(nn::Broadcast {}, x, &shape)?;
    c.done(node, y)
}

fn tile(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.any(node, 0)?;
    let own = c.shape(x);
    let repeats = c.ints(node, 1)?.ok_or("the repeats are missing")?;
    if repeats.len() != own.len() || repeats.iter().any(|&r| !(0..1 << 31).contains(&r)) {
        return Err(format!("repeats {repeats:?} of shape {own:?}"));
    }
    let repeats: Vec<u64> = repeats.iter().map(|&r| r as u64).collect();
    let pairs = |f: &dyn Fn(usize) -> u64| -> Vec<u64> {
        (0..own.len()).flat_map(|d| [f(d), own[d]]).collect()
    };
    let y = c.reshape(x, &pairs(&|_| 1))?;
    let y = c.emit_like(nn::Broadcast {}, y, &pairs(&|d| repeats[d]))?;
    let shape: Vec<u64> = (0..own.len()).map(|d| own[d] * repeats[d]).collect();
    let y = c.reshape(y, &shape)?;
    c.done(node, y)
}

/// Extents and block size of an image.
fn blocks(c: &mut Converter, node: &Node) -> Result<([u64; 4], u64), String> {
    let own = c.shape_of(node, 0)?;
    let block = u64::try_from(node.int("blocksize", 0)?).ok().filter(|b| (1..1 << 16).contains(b));
    match (<[u64; 4]>::try_from(own), block) {
        (Ok(own), Some(block)) => Ok((own, block)),
        _ => Err("it needs an image [N,C,H,W] and a positive blocksize".into()),
    }
}

fn depth_to_space(c: &mut Converter, node: &Node) -> Result<(), String> {
    let ([n, ch, h, w], b) = blocks(c, node)?;
    if !ch.is_multiple_of(b * b) {
        return Err(format!("{ch} channels in blocks of {b}"));
    }
    let left = ch / (b * b);
    let (shape, perm) = match node.string("mode", "DCR")?.as_str() {
        "DCR" => ([n, b, b, left, h, w], [0, 3, 4, 1, 5, 2]),
        "CRD" => ([n, left, b, b, h, w], [0, 1, 4, 2, 5, 3]),
        other => return Err(format!("mode '{other}' is not known")),
    };
    let x = c.any(node, 0)?;
    let y = c.reshape(x, &shape)?;
    let y = c.transpose(y, &perm)?;
    let y = c.reshape(y, &[n, left, h * b, w * b])?;
    c.done(node, y)
}

fn space_to_depth(c: &mut Converter, node: &Node) -> Result<(), String> {
    let ([n, ch, h, w], b) = blocks(c, node)?;
    if !h.is_multiple_of(b) || !w.is_multiple_of(b) {
        return Err(format!("an image of {h} by {w} in blocks of {b}"));
    }
    let perm = match node.string("mode", "DCR")?.as_str() {
        "DCR" => [0, 3, 5, 1, 2, 4],
        "CRD" => [0, 1, 3, 5, 2, 4],
        other => return Err(format!("mode '{other}' is not known")),
    };
    let x = c.any(node, 0)?;
    let y = c.reshape(x, &[n, ch, h / b, b, w / b, b])?;
    let y = c.transpose(y, &perm)?;
    let y = c.reshape(y, &[n, ch * b * b, h / b, w / b])?;
    c.done(node, y)
}
