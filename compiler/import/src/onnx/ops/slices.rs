//! Operators that take parts of a tensor, or put something around it.

use super::super::convert::{Bound, Converter};
use super::super::node::Node;
use super::Table;
use crate::shapes;
use qcc_ir::dialect::nn::{self, PadMode};
use qcc_ir::{DType, Value};

pub const OPS: Table = &[("Gather", gather), ("Pad", pad), ("Slice", slice), ("Split", split)];

/// Input `i`, or before opset 10 (11 for Pad) the attribute.
fn list(c: &mut Converter, node: &Node, i: usize, attr: &str) -> Result<Option<Vec<i64>>, String> {
    match node.ints(attr)? {
        Some(all) => Ok(Some(all.to_vec())),
        None => c.ints(node, i),
    }
}

fn slice(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.any(node, 0)?;
    let own = c.shape(x);
    let starts = list(c, node, 1, "starts")?.ok_or("the starts are missing")?;
    let ends = list(c, node, 2, "ends")?.ok_or("the ends are missing")?;
    let axes = list(c, node, 3, "axes")?;
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = c.ints(node, 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("starts, ends, axes and steps have different lengths".into());
    }
    let (mut start, mut step, mut shape) = (vec![0u64; own.len()], vec![1; own.len()], own.clone());
    for (k, &axis) in axes.iter().enumerate() {
        let d = shapes::axis(axis, own.len())? as usize;
        let n = own[d] as i64;
        let by = steps[k];
        if by == 0 {
            return Err("a step of 0".into());
        }
        let place = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
        let (low, high) = if by > 0 { (0, n) } else { (-1, n - 1) };
        let (from, to) = (place(starts[k]), place(ends[k]));
        let from = from.clamp(low.max(0), high.max(0));
        let to = to.clamp(low, high);
        let room = if by > 0 { to - from } else { from - to };
        shape[d] = if n == 0 { 0 } else { room.max(0) as u64 }.div_ceil(by.unsigned_abs());
        (start[d], step[d]) = (from as u64, by.clamp(-(1 << 40), 1 << 40));
        if shape[d] <= 1 {
            step[d] = 1;
        }
        if shape[d] == 0 {
            start[d] = 0;
        }
    }
    let y = c.emit_like(nn::Slice { start, step }, x, &shape)?;
    c.done(node, y)
}

fn split(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.any(node, 0)?;
    let own = c.shape(x);
    let d = shapes::axis(node.int("axis", 0)?, own.len())? as usize;
    let n = node.proto.output.len() as u64;
    let parts: Vec<u64> = match list(c, node, 1, "split")? {
        Some(all) => all.iter().map(|&v| v.max(0) as u64).collect(),
        None => {
            let n_parts = node.int("num_outputs", n as i64)?;
            if n == 0 || n_parts != n as i64 {
                return Err(format!("{n} outputs for {n_parts} parts"));
            }
            let each = own[d].div_ceil(n);
            (0..n).map(|k| each.min(own[d].saturating_sub(k * each))).collect()
        }
    };
    let sum = parts.iter().try_fold(0u64, |a, &b| a.checked_add(b));
    if parts.len() as u64 != n || sum != Some(own[d]) {
        return Err(format!("parts {parts:?} of {} for {n} outputs", own[d]));
    }
    let mut at = 0;
    for (j, &part) in parts.iter().enumerate() {
        let (mut start, mut shape) = (vec![0; own.len()], own.clone());
        (start[d], shape[d]) = (if part == 0 { 0 } else { at }, part);
        at += part;
        if node.has_output(j) {
            let step = vec![1; own.len()];
            let y = c.emit_like(nn::Slice { start, step }, x, &shape)?;
            c.bind(node, j, Bound::Value(y))?;
        }
    }
    Ok(())
}

fn gather(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.any(node, 0)?;
    let indices = c.any(node, 1)?;
    let own = c.shape(x);
    let axis = shapes::axis(node.int("axis", 0)?, own.len())?;
    let at = axis as usize;
    if let Some(k) = c.known(node, 1)? {
        let n = own[at] as i64;
        if let Some(bad) = k.tensor.to_i64_vec().into_iter().find(|i| !(-n..n).contains(i)) {
            return Err(format!("index {bad} of {n} slices"));
        }
    }
    let shape = [&own[..at], &c.shape(indices), &own[at + 1..]].concat();
    let ty = c.tensor_type(x).with_shape(&shape);
    let y = c.emit(nn::Gather { axis }, &[x, indices], ty)?;
    c.done(node, y)
}

/// The tensor repeated in all directions, by gathering slices along each padded axis.
fn wrapped(
    c: &mut Converter,
    node: &Node,
    mut x: Value,
    [low, high]: [&[i64]; 2],
) -> Result<(), String> {
    for d in 0..low.len() {
        let mut shape = c.shape(x);
        let n = shape[d] as i64;
        if (low[d], high[d]) == (0, 0) {
            continue;
        }
        if n == 0 {
            return Err("an empty tensor cannot be repeated".into());
        }
        let all: Vec<i64> = (-low[d]..n + high[d]).map(|i| i.rem_euclid(n)).collect();
        shape[d] = all.len() as u64;
        shapes::check_size(&shape)?;
        let all = c.integers(node, &all, &[shape[d]], DType::I64)?;
        let ty = c.tensor_type(x).with_shape(&shape);
        x = c.emit(nn::Gather { axis: d as u32 }, &[x, all], ty)?;
    }
    c.done(node, x)
}

fn pad(c: &mut Converter, node: &Node) -> Result<(), String> {
    let mut x = c.any(node, 0)?;
    let own = c.shape(x);
    let rank = own.len();
    let pads = list(c, node, 1, "pads")?.ok_or("the pads are missing")?;
    let value = match (node.has("value"), c.known(node, 2)?) {
        (true, _) => node.float("value", 0.0)?,
        (_, Some(k)) if k.tensor.len() == 1 => k.tensor.get_f64(0) as f32,
        _ if node.input(2).is_none() => 0.0,
        _ => return Err("the padding value must be known when the model is compiled".into()),
    };
    let axes = c.ints(node, 3)?.unwrap_or_else(|| (0..rank as i64).collect());
    if pads.len() != 2 * axes.len() {
        return Err(format!("{} pads for {} axes", pads.len(), axes.len()));
    }
    let (mut low, mut high) = (vec![0i64; rank], vec![0i64; rank]);
    for (k, &a) in axes.iter().enumerate() {
        let d = shapes::axis(a, rank)? as usize;
        (low[d], high[d]) = (pads[k], pads[k + axes.len()]);
    }
    if low.iter().chain(&high).any(|p| p.unsigned_abs() > 1 << 31) {
        return Err("absurd padding".into());
    }
    let mode = match node.string("mode", "constant")?.as_str() {
        "constant" => PadMode::Constant,
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => return wrapped(c, node, x, [&low, &high]),
        other => return Err(format!("mode '{other}' is not supported")),
    };
    // Negative padding cuts.
    let cut = |p: i64| (-p).max(0) as u64;
    if low.iter().chain(&high).any(|&p| p < 0) {
        let start: Vec<u64> = low.iter().map(|&p| cut(p)).collect();
        let left = |d: usize| own[d].checked_sub(cut(low[d]) + cut(high[d]));
        let shape: Option<Vec<u64>> = (0..rank).map(left).collect();
        let shape = shape.ok_or("the padding cuts off more than there is")?;
        x = c.emit_like(nn::Slice { start, step: vec![1; rank] }, x, &shape)?;
    }
    let own = c.shape(x);
    let low: Vec<u64> = low.iter().map(|&p| p.max(0) as u64).collect();
    let high: Vec<u64> = high.iter().map(|&p| p.max(0) as u64).collect();
    let shape: Vec<u64> = (0..rank).map(|d| own[d] + low[d] + high[d]).collect();
    let y = c.emit_like(nn::Pad { low, high, mode, value }, x, &shape)?;
    c.done(node, y)
}
