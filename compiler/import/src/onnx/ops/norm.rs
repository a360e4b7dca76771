//! Normalizations.

use super::super::convert::{Bound, Converter};
use super::super::node::Node;
use super::Table;
use crate::shapes;
use qcc_ir::Value;
use qcc_ir::dialect::nn::{self, UnaryFn};
use qcc_ir::dialect::quant::Act;

pub const OPS: Table = &[
    ("BatchNormalization", batch),
    ("InstanceNormalization", instance),
    ("LayerNormalization", layer),
];

const ADD: nn::Add = nn::Add { act: Act::None };
const MUL: nn::Mul = nn::Mul { act: Act::None };
const SUB: nn::Sub = nn::Sub { act: Act::None };

fn batch(c: &mut Converter, node: &Node) -> Result<(), String> {
    if node.flag("training_mode", false)? || node.has_output(1) {
        return Err("training mode is not supported".into());
    }
    let x = c.float(node, 0)?;
    let own = c.shape(x);
    if own.len() < 2 {
        return Err(format!("an input of shape {own:?} has no channels"));
    }
    let mut operands = vec![x];
    for i in 1..5 {
        operands.push(c.float(node, i)?);
    }
    // Channels last, and back.
    let last: Vec<u32> = [0].into_iter().chain(2..own.len() as u32).chain([1]).collect();
    let back: Vec<u32> =
        [0, own.len() as u32 - 1].into_iter().chain(1..own.len() as u32 - 1).collect();
    operands[0] = if own.len() > 2 { c.transpose(x, &last)? } else { x };
    let shape = c.shape(operands[0]);
    let kind = nn::BatchNorm { epsilon: node.float("epsilon", 1e-5)? };
    let y = c.emit_f32(kind, &operands, &shape)?;
    let y = if own.len() > 2 { c.transpose(y, &back)? } else { y };
    c.done(node, y)
}

/// Rows of one channel, normalized; then scale and offset of each channel.
fn instance(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let own = c.shape(x);
    let [n, ch, rest @ ..] = &own[..] else { return Err("the input has no channels".into()) };
    let (n, ch, pixels) = (*n, *ch, rest.iter().product::<u64>());
    let rows = c.reshape(x, &[n, ch, pixels])?;
    let ones = c.floats(&format!("{}.ones", node.name), &vec![1.0; pixels as usize], &[pixels])?;
    let kind = nn::LayerNorm { epsilon: node.float("epsilon", 1e-5)? };
    let y = c.emit_f32(kind, &[rows, ones], &[n, ch, pixels])?;
    let (scale, offset) = (c.float(node, 1)?, c.float(node, 2)?);
    let (scale, offset) = (c.reshape(scale, &[ch, 1])?, c.reshape(offset, &[ch, 1])?);
    let y = c.binary(MUL, y, scale)?;
    let y = c.binary(ADD, y, offset)?;
    let y = c.reshape(y, &own)?;
    c.done(node, y)
}

fn layer(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let own = c.shape(x);
    let at = shapes::axis(node.int("axis", -1)?, own.len())? as usize;
    let row: u64 = own[at..].iter().product();
    let rows: u64 = own[..at].iter().product();
    let epsilon = node.float("epsilon", 1e-5)?;
    let flat = c.reshape(x, &[rows, row])?;
    let mut operands = vec![flat];
    for i in 1..3 {
        if let Some(p) = c.opt_float(node, i)? {
            let wide = c.shape(p);
            let p = match wide == own[at..] {
                true => p,
                false => c.emit_f32(nn::Broadcast {}, &[p], &own[at..])?,
            };
            operands.push(c.reshape(p, &[row])?);
        }
    }
    let y = c.emit_f32(nn::LayerNorm { epsilon }, &operands, &[rows, row])?;
    let y = c.reshape(y, &own)?;
    c.done(node, y)?;
    let kept: Vec<u64> = (0..own.len()).map(|d| if d < at { own[d] } else { 1 }).collect();
    if node.has_output(1) || node.has_output(2) {
        statistics(c, node, flat, (&kept, epsilon))?;
    }
    Ok(())
}

/// The mean of each row and one over its deviation.
fn statistics(
    c: &mut Converter,
    node: &Node,
    x: Value,
    (kept, epsilon): (&[u64], f32),
) -> Result<(), String> {
    let rows = c.shape(x)[0];
    let mean = c.emit_f32(nn::Mean { axes: vec![1] }, &[x], &[rows, 1])?;
    let difference = c.binary(SUB, x, mean)?;
    let square = c.unary(UnaryFn::Square, difference)?;
    let variance = c.emit_f32(nn::Mean { axes: vec![1] }, &[square], &[rows, 1])?;
    let epsilon = c.number(node, epsilon)?;
    let variance = c.binary(ADD, variance, epsilon)?;
    let deviation = c.unary(UnaryFn::Sqrt, variance)?;
    let inverse = c.unary(UnaryFn::Reciprocal, deviation)?;
    for (j, v) in [(1, mean), (2, inverse)] {
        if node.has_output(j) {
            let v = c.reshape(v, kept)?;
            c.bind(node, j, Bound::Value(v))?;
        }
    }
    Ok(())
}
