//! Normalizations.

use super::super::convert::{Bound, Converter};
use super::super::node::Node;
use super::Table;
use crate::shapes;
use qcc_ir::Value;
use qcc_ir::dialect::nn::{self, BinaryFn, ReduceFn, UnaryFn};
use qcc_ir::dialect::quant::Act;

pub const OPS: Table = &[
    ("BatchNormalization", batch),
    ("GroupNormalization", group),
    ("InstanceNormalization", instance),
    ("LRN", local_response),
    ("LayerNormalization", layer),
    ("LpNormalization", lp),
    ("MeanVarianceNormalization", mean_variance),
    ("RMSNormalization", rms),
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

/// Each channel a group of its own.
fn instance(c: &mut Converter, node: &Node) -> Result<(), String> {
    let channels = c.shape_of(node, 0)?.get(1).copied().unwrap_or(0);
    grouped(c, node, channels)
}

fn group(c: &mut Converter, node: &Node) -> Result<(), String> {
    let groups = u64::try_from(node.int("num_groups", 0)?).map_err(|_| "negative num_groups")?;
    grouped(c, node, groups)
}

/// Rows of one group of channels, normalized; then scale and offset of each channel, or (before
/// opset 21) of each group.
fn grouped(c: &mut Converter, node: &Node, groups: u64) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let own = c.shape(x);
    let [n, ch, rest @ ..] = &own[..] else { return Err("the input has no channels".into()) };
    let (n, ch, pixels) = (*n, *ch, rest.iter().product::<u64>());
    if groups == 0 || !ch.is_multiple_of(groups) {
        return Err(format!("{ch} channels in {groups} groups"));
    }
    let row = ch / groups * pixels;
    let rows = c.reshape(x, &[n, groups, row])?;
    let ones = c.floats(&format!("{}.ones", node.name), &vec![1.0; row as usize], &[row])?;
    let kind = nn::LayerNorm { epsilon: node.float("epsilon", 1e-5)? };
    let y = c.emit_f32(kind, &[rows, ones], &[n, groups, row])?;
    let (scale, offset) = (c.float(node, 1)?, c.float(node, 2)?);
    let parts: u64 = c.shape(scale).iter().product();
    if parts != ch && parts != groups {
        return Err(format!("{parts} scales for {ch} channels in {groups} groups"));
    }
    let y = c.reshape(y, &[n, parts, ch / parts * pixels])?;
    let (scale, offset) = (c.reshape(scale, &[parts, 1])?, c.reshape(offset, &[parts, 1])?);
    let y = c.binary(MUL, y, scale)?;
    let y = c.binary(ADD, y, offset)?;
    let y = c.reshape(y, &own)?;
    c.done(node, y)
}

/// x / √(mean(x²) + epsilon), times the scale.
fn rms(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let own = c.shape(x);
    let at = shapes::axis(node.int("axis", -1)?, own.len())? as usize;
    let (rows, row) = (own[..at].iter().product(), own[at..].iter().product());
    let flat = c.reshape(x, &[rows, row])?;
    let square = c.unary(UnaryFn::Square, flat)?;
    let mean = c.emit_f32(nn::Mean { axes: vec![1] }, &[square], &[rows, 1])?;
    let epsilon = c.number(node, node.float("epsilon", 1e-5)?)?;
    let mean = c.binary(ADD, mean, epsilon)?;
    let factor = c.unary(UnaryFn::Rsqrt, mean)?;
    let y = c.binary(MUL, flat, factor)?;
    let y = c.reshape(y, &own)?;
    let scale = c.float(node, 1)?;
    let y = c.binary(MUL, y, scale)?;
    c.done(node, y)
}

/// x / ‖x‖ along an axis; 0 where the norm is 0.
fn lp(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let mut kept = c.shape(x);
    let axis = shapes::axis(node.int("axis", -1)?, kept.len())?;
    let f = match node.int("p", 2)? {
        1 => ReduceFn::L1,
        2 => ReduceFn::L2,
        p => return Err(format!("p = {p} is not supported")),
    };
    kept[axis as usize] = 1;
    let norm = c.emit_f32(nn::Reduce { f, axes: vec![axis] }, &[x], &kept)?;
    let least = c.number(node, f32::MIN_POSITIVE)?;
    let norm = c.binary(nn::Binary { f: BinaryFn::Max }, norm, least)?;
    let y = c.binary(nn::Div { act: Act::None }, x, norm)?;
    c.done(node, y)
}

/// (x − mean) / (deviation + 1e-9) over axes.
fn mean_variance(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let own = c.shape(x);
    let given = node.ints("axes")?.unwrap_or(&[0, 2, 3]);
    let mut axes: Vec<u32> =
        given.iter().map(|&a| shapes::axis(a, own.len())).collect::<Result<_, _>>()?;
    axes.sort_unstable();
    axes.dedup();
    let kept: Vec<u64> =
        (0..own.len()).map(|d| if axes.contains(&(d as u32)) { 1 } else { own[d] }).collect();
    let mean = c.emit_f32(nn::Mean { axes: axes.clone() }, &[x], &kept)?;
    let x = c.binary(SUB, x, mean)?;
    let square = c.unary(UnaryFn::Square, x)?;
    let variance = c.emit_f32(nn::Mean { axes }, &[square], &kept)?;
    let deviation = c.unary(UnaryFn::Sqrt, variance)?;
    let least = c.number(node, 1e-9)?;
    let deviation = c.binary(ADD, deviation, least)?;
    let y = c.binary(nn::Div { act: Act::None }, x, deviation)?;
    c.done(node, y)
}

/// x / (bias + alpha·mean of x² over neighbouring channels)^beta; beyond the channels are zeros.
fn local_response(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let own = c.shape(x);
    let [n, ch, rest @ ..] = &own[..] else { return Err("the input has no channels".into()) };
    let (n, ch, pixels) = (*n, *ch, rest.iter().product::<u64>());
    let size = u32::try_from(node.int("size", 0)?).ok().filter(|s| (1..1 << 20).contains(s));
    let size = size.ok_or("attribute 'size' is not positive")?;
    // Channels are the rows of an image of one column.
    let square = c.unary(UnaryFn::Square, x)?;
    let image = c.reshape(square, &[n, ch, 1, pixels])?;
    let (before, behind) = ((size - 1) / 2, size - 1 - (size - 1) / 2);
    let mean = nn::AvgPool2d {
        window: [size, 1],
        stride: [1, 1],
        pad: [before, behind, 0, 0],
        act: Act::None,
        count_include_pad: true,
        by_columns: false,
    };
    let mean = c.emit_f32(mean, &[image], &[n, ch, 1, pixels])?;
    let mean = c.reshape(mean, &own)?;
    let [alpha, beta, bias] = [("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)]
        .map(|(name, otherwise)| node.float(name, otherwise));
    let (alpha, bias) = (c.number(node, alpha?)?, c.number(node, bias?)?);
    let sum = c.binary(MUL, mean, alpha)?;
    let sum = c.binary(ADD, sum, bias)?;
    let beta = c.number(node, beta?)?;
    let root = c.binary(nn::Binary { f: BinaryFn::Pow }, sum, beta)?;
    let y = c.binary(nn::Div { act: Act::None }, x, root)?;
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
