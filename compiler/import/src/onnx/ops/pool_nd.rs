//! Pools that no op does, dilated ones and those over three and more dimensions: a slice of the
//! padded image for each place of the window, and the largest or the sum of them.

use super::super::convert::Converter;
use super::super::node::Node;
use super::conv::{Axis, place};
use qcc_ir::Value;
use qcc_ir::dialect::nn::{self, BinaryFn, PadMode, UnaryFn};
use qcc_ir::dialect::quant::Act;

/// Places of a window.
const MAX_TAPS: u64 = 1024;

/// How a window moves along one dimension.
struct Along {
    axis: Axis,
    extent: u64,
    pads: [u64; 2],
    /// Padding after the image that is the node's own, not what the last window needs beyond it.
    own_after: u64,
    out: u64,
}

/// Has the node a window that needs this?
pub fn is_needed(c: &mut Converter, node: &Node) -> Result<bool, String> {
    let spatial = c.shape_of(node, 0)?.len().saturating_sub(2);
    let dilated = node.ints("dilations")?.is_some_and(|all| all.iter().any(|&d| d != 1));
    Ok(spatial > 2 || dilated && spatial > 0)
}

fn window(node: &Node, image: &[u64]) -> Result<Vec<Along>, String> {
    let rank = image.len();
    let kernel = node.ints("kernel_shape")?.ok_or("attribute 'kernel_shape' is missing")?;
    let list = |name: &str, n: usize, otherwise: i64| -> Result<Vec<i64>, String> {
        match node.ints(name)? {
            None => Ok(vec![otherwise; n]),
            Some(all) if all.len() == n => Ok(all.to_vec()),
            Some(_) => Err(format!("attribute '{name}' must be {n} numbers")),
        }
    };
    let (strides, dilations) = (list("strides", rank, 1)?, list("dilations", rank, 1)?);
    let pads = list("pads", 2 * rank, 0)?;
    let (auto, ceil) = (node.string("auto_pad", "NOTSET")?, node.flag("ceil_mode", false)?);
    if kernel.len() != rank {
        return Err("attribute 'kernel_shape' does not fit the input".into());
    }
    let positive = |v: i64| {
        let v = u64::try_from(v).ok().filter(|&v| v > 0 && v < 1 << 30);
        v.ok_or_else(|| "window, strides and dilations must be positive".to_string())
    };
    let mut all = Vec::new();
    for d in 0..rank {
        let axis = Axis {
            kernel: positive(kernel[d])?,
            stride: positive(strides[d])?,
            dilation: positive(dilations[d])?,
            pads: [pads[d], pads[d + rank]],
        };
        let (pads, out) = place(&axis, image[d], &auto, ceil)?;
        let own_after = match auto.starts_with("SAME") {
            true => pads[1],
            false => axis.pads[1].max(0) as u64,
        };
        all.push(Along { axis, extent: image[d], pads, own_after, out });
    }
    Ok(all)
}

/// What becomes of the elements of a window.
#[derive(Clone, Copy, PartialEq)]
pub enum Pool {
    /// The largest.
    Max,
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
}

/// The node's output.
pub fn pool(c: &mut Converter, node: &Node, f: Pool) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let y = pooled(c, node, x, f)?;
    c.done(node, y)
}

/// (Σ |x|^p)^(1/p) over each window.
pub fn lp(c: &mut Converter, node: &Node) -> Result<(), String> {
    let p = node.int("p", 2)? as f32;
    let x = c.float(node, 0)?;
    let x = c.unary(UnaryFn::Abs, x)?;
    let power = |c: &mut Converter, x: Value, p: f32| {
        let p = c.number(node, p)?;
        c.binary(nn::Binary { f: BinaryFn::Pow }, x, p)
    };
    let x = power(c, x, p)?;
    let sum = pooled(c, node, x, Pool::Sum)?;
    let y = power(c, sum, 1.0 / p)?;
    c.done(node, y)
}

fn pooled(c: &mut Converter, node: &Node, x: Value, f: Pool) -> Result<Value, String> {
    let max = f == Pool::Max;
    let own = c.shape(x);
    if own.len() < 3 {
        return Err(format!("an input of shape {own:?} has no spatial dimension"));
    }
    let window = window(node, &own[2..])?;
    let taps = window.iter().try_fold(1u64, |n, a| n.checked_mul(a.axis.kernel));
    let taps = taps.filter(|&n| n <= MAX_TAPS);
    let taps = taps.ok_or_else(|| format!("a window of more than {MAX_TAPS} places"))?;
    let x = padded(c, x, &window, if max { f32::MIN } else { 0.0 })?;
    let shape: Vec<u64> = own[..2].iter().copied().chain(window.iter().map(|a| a.out)).collect();
    let step: Vec<i64> =
        [1, 1].into_iter().chain(window.iter().map(|a| a.axis.stride as i64)).collect();
    let mut y = None;
    for tap in 0..taps {
        let (mut rest, mut start) = (tap, vec![0; own.len()]);
        for (d, a) in window.iter().enumerate().rev() {
            start[d + 2] = rest % a.axis.kernel * a.axis.dilation;
            rest /= a.axis.kernel;
        }
        let part = c.emit_f32(nn::Slice { start, step: step.clone() }, &[x], &shape)?;
        y = Some(match y {
            None => part,
            Some(y) if max => c.binary(nn::Binary { f: BinaryFn::Max }, y, part)?,
            Some(y) => c.binary(nn::Add { act: Act::None }, y, part)?,
        });
    }
    let mut y = y.ok_or("an empty window")?;
    if f == Pool::Mean {
        let counts = counts(c, node, &window)?;
        y = c.binary(nn::Div { act: Act::None }, y, counts)?;
    }
    Ok(y)
}

fn padded(c: &mut Converter, x: Value, window: &[Along], value: f32) -> Result<Value, String> {
    if window.iter().all(|a| a.pads == [0, 0]) {
        return Ok(x);
    }
    let ends = |k: usize| [0, 0].into_iter().chain(window.iter().map(move |a| a.pads[k]));
    let (low, high): (Vec<u64>, Vec<u64>) = (ends(0).collect(), ends(1).collect());
    let own = c.shape(x);
    let shape: Vec<u64> = (0..own.len()).map(|d| own[d] + low[d] + high[d]).collect();
    let pad = nn::Pad { low, high, mode: PadMode::Constant, value };
    c.emit_f32(pad, &[x], &shape)
}

/// Elements in each window: inside the image, or also in its own padding; at least 1.
fn counts(c: &mut Converter, node: &Node, window: &[Along]) -> Result<Value, String> {
    let include = node.flag("count_include_pad", false)?;
    let mut all = vec![1u64];
    for a in window {
        let inside = match include {
            true => 0..a.pads[0] + a.extent + a.own_after,
            false => a.pads[0]..a.pads[0] + a.extent,
        };
        let count = |o: u64| {
            let taps = 0..a.axis.kernel;
            let at = taps.map(|k| o * a.axis.stride + k * a.axis.dilation);
            at.filter(|p| inside.contains(p)).count() as u64
        };
        let here: Vec<u64> = (0..a.out).map(count).collect();
        all = all.iter().flat_map(|n| here.iter().map(move |k| n * k)).collect();
    }
    let shape: Vec<u64> = [1, 1].into_iter().chain(window.iter().map(|a| a.out)).collect();
    let all: Vec<f32> = all.into_iter().map(|n| n.max(1) as f32).collect();
    c.floats(&format!("{}.counts", node.name), &all, &shape)
}
