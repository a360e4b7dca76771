//! Borders around a tensor.

use super::super::{Converter, Node};
use crate::tflite::raw::RawOptions;
use qcc_ir::dialect::nn::{self, PadMode};
use qcc_ir::numerics::float::code_of;
use qcc_ir::{DType, Value};

/// Elements before and after in each of `rank` dimensions: a constant of shape `[rank, 2]`.
pub(super) fn pairs(
    c: &Converter,
    node: &Node,
    i: usize,
    rank: usize,
) -> Result<[Vec<u64>; 2], String> {
    let all = c.constant_ints(node, i)?;
    if all.len() != 2 * rank || all.iter().any(|v| !(0..1 << 31).contains(v)) {
        return Err(format!("input {i} must be two numbers for each of {rank} dimensions"));
    }
    let side = |k: usize| all.iter().skip(k).step_by(2).map(|&v| v as u64).collect();
    Ok([side(0), side(1)])
}

impl Converter<'_> {
    /// x with so many elements around it.
    pub(super) fn padded(
        &mut self,
        node: &Node,
        x: Value,
        [low, high]: [Vec<u64>; 2],
        (mode, value): (PadMode, f32),
    ) -> Result<Value, String> {
        let own = self.shape(x);
        let sum = |d: usize| own[d] + low[d] + high[d];
        let shape: Vec<u64> = (0..own.len()).map(sum).collect();
        self.moved(node, nn::Pad { low, high, mode, value }, &[x], &shape)
    }
}

pub fn pad(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let around = pairs(c, node, 1, c.shape(x).len())?;
    // The border is the zero point of y, which may have other parameters.
    let x = c.as_output(node, 0, x)?;
    let y = c.padded(node, x, around, (PadMode::Constant, 0.0))?;
    c.bind(node, 0, y)
}

pub fn pad_with(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let around = pairs(c, node, 1, c.shape(x).len())?;
    let value = c.optional(node, 2)?.ok_or("the border's value is missing")?;
    let value = border(c, x, value)?;
    let y = c.padded(node, x, around, (PadMode::Constant, value))?;
    c.bind_same(node, 0, y)
}

/// The number that stands around x, given as a constant of its element type.
fn border(c: &Converter, x: Value, value: Value) -> Result<f32, String> {
    let t = c.known(value).filter(|t| t.len() == 1);
    let t = t.ok_or("the border's value must be one constant number")?;
    let (x, v) = (c.tensor_type(x), c.tensor_type(value));
    if x.storage() != v.storage() {
        return Err(format!("a border of {} around {}", v.storage(), x.storage()));
    }
    let exact = |value: f32, is_exact: bool| match is_exact {
        true => Ok(value),
        false => Err(format!("a border of {} has no float32 that stands for it", t.get_f64(0))),
    };
    if let Some(q) = x.quant_type() {
        let code = t.get_i64(0);
        let zero = q.uniform().map_or(0, |a| a.zero_point);
        let scale = q.uniform().map_or(0.0, |a| a.scale);
        let value = (f64::from(scale) * (code - i64::from(zero)) as f64) as f32;
        return exact(value, code_of(value, q).is_ok_and(|c| i64::from(c) == code));
    }
    match x.storage() {
        DType::F32 | DType::F64 => Ok(t.get_f64(0) as f32),
        _ => exact(t.get_i64(0) as f32, (t.get_i64(0) as f32) as i64 == t.get_i64(0)),
    }
}

pub fn mirror_pad(c: &mut Converter, node: &Node) -> Result<(), String> {
    let RawOptions::MirrorPad(o) = &node.op.options else {
        return Err("its options are missing".into());
    };
    let (mode, spare) = match o.mode {
        0 => (PadMode::Reflect, 1),
        1 => (PadMode::Symmetric, 0),
        other => return Err(format!("mode {other} is neither REFLECT nor SYMMETRIC")),
    };
    let x = c.operand(node, 0)?;
    let own = c.shape(x);
    let around = pairs(c, node, 1, own.len())?;
    let wide = |d: usize| around[0][d].max(around[1][d]) > own[d].saturating_sub(spare);
    if let Some(d) = (0..own.len()).find(|&d| wide(d)) {
        return Err(format!("a mirrored border wider than the {} elements beside it", own[d]));
    }
    let y = c.padded(node, x, around, (mode, 0.0))?;
    c.bind_same(node, 0, y)
}
