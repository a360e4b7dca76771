//! Pools over windows and over whole images.

use super::super::convert::Converter;
use super::super::node::Node;
use super::Table;
use super::conv::{Geometry, geometry, image_shape};
use super::pool_nd;
use qcc_ir::dialect::nn::{self, PadMode, ReduceFn};
use qcc_ir::dialect::quant::{self, Act};
use qcc_ir::{DType, OpKind, QuantType, Value};

pub const OPS: Table = &[
    ("AveragePool", average),
    ("GlobalAveragePool", |c, n| global(c, n, nn::Mean { axes: vec![1, 2] })),
    ("GlobalMaxPool", |c, n| global(c, n, nn::Reduce { f: ReduceFn::Max, axes: vec![1, 2] })),
    ("LpPool", pool_nd::lp),
    ("MaxPool", max),
];

/// The window of a pool.
pub fn window(c: &mut Converter, node: &Node) -> Result<(Geometry, usize), String> {
    let xs = c.shape_of(node, 0)?;
    let x = image_shape(&xs)?;
    let spatial = xs.len() - 2;
    let kernel = node.ints("kernel_shape")?.ok_or("attribute 'kernel_shape' is missing")?;
    let positive = |v: i64| u64::try_from(v).ok().filter(|&v| v > 0 && v < 1 << 30);
    let kernel: Option<Vec<u64>> = kernel.iter().map(|&v| positive(v)).collect();
    let kernel = match kernel.as_deref() {
        Some(&[w]) if spatial == 1 => [1, w],
        Some(&[h, w]) if spatial == 2 => [h, w],
        _ => return Err("attribute 'kernel_shape' does not fit the input".into()),
    };
    let g = geometry(node, spatial, [x[2], x[3]], kernel)?;
    if g.dilation != [1, 1] {
        return Err("dilated pools are not supported".into());
    }
    Ok((g, spatial))
}

fn max(c: &mut Converter, node: &Node) -> Result<(), String> {
    if node.has_output(1) {
        return Err("the output 'Indices' is not supported".into());
    }
    if pool_nd::is_needed(c, node)? {
        return pool_nd::pool(c, node, pool_nd::Pool::Max);
    }
    let (g, spatial) = window(c, node)?;
    let x = c.any(node, 0)?;
    let (is_quantized, codes) = (c.tensor_type(x).quant_type().is_some(), c.elem(x).storage());
    // Codes of unknown meaning: the largest is the largest for any positive scale.
    let is_plain = !is_quantized && matches!(codes, DType::I8 | DType::U8);
    let x = match is_plain {
        true => c.as_quant(x, &QuantType::per_tensor(codes, 1.0, 0))?,
        false if is_quantized => x,
        false => c.float(node, 0)?,
    };
    let is_quantized = is_quantized || is_plain;
    let x = c.to_nhwc(x)?;
    let s = c.shape(x);
    let window = g.kernel.map(|k| k as u32);
    let (stride, pad, act) = (g.stride, g.pad, Act::None);
    let kind: OpKind = match is_quantized {
        true => quant::MaxPool2d { window, stride, pad, act }.into(),
        false => nn::MaxPool2d { window, stride, pad, act }.into(),
    };
    let y = c.emit_like(kind, x, &[s[0], g.out[0], g.out[1], s[3]])?;
    let y = c.from_nhwc(y, spatial)?;
    let y = if is_plain { c.plain(y)? } else { y };
    c.done(node, y)
}

fn average(c: &mut Converter, node: &Node) -> Result<(), String> {
    if pool_nd::is_needed(c, node)? {
        return pool_nd::pool(c, node, pool_nd::Pool::Mean);
    }
    let (mut g, spatial) = window(c, node)?;
    let mut count_include_pad = node.flag("count_include_pad", false)?;
    let x = c.float(node, 0)?;
    let mut x = c.to_nhwc(x)?;
    if count_include_pad && node.flag("ceil_mode", false)? {
        // The padding counts, what the last window needs beyond it does not.
        x = padded(c, node, x, &mut g, spatial)?;
        count_include_pad = false;
    }
    let s = c.shape(x);
    let window = g.kernel.map(|k| k as u32);
    let (stride, pad, act) = (g.stride, g.pad, Act::None);
    // ONNX Runtime has two kernels: since opset 19 it adds row by row, before, columns first.
    let by_columns = node.opset < 19;
    let kind = nn::AvgPool2d { window, stride, pad, act, count_include_pad, by_columns };
    let y = c.emit_f32(kind, &[x], &[s[0], g.out[0], g.out[1], s[3]])?;
    let y = c.from_nhwc(y, spatial)?;
    c.done(node, y)
}

/// The image with the node's own padding made of zeros; `g` keeps what is beyond.
fn padded(
    c: &mut Converter,
    node: &Node,
    x: Value,
    g: &mut Geometry,
    spatial: usize,
) -> Result<Value, String> {
    let own = match node.ints("pads")? {
        Some(&[l, r]) if spatial == 1 => [0, 0, l, r],
        Some(&[t, l, b, r]) if spatial == 2 => [t, b, l, r],
        _ => [0; 4],
    };
    let own = own.map(|p| p.max(0) as u32);
    for (all, own) in g.pad.iter_mut().zip(own) {
        *all = all.saturating_sub(own);
    }
    let [t, b, l, r] = own.map(u64::from);
    let s = c.shape(x);
    let (low, high) = (vec![0, t, l, 0], vec![0, b, r, 0]);
    let pad = nn::Pad { low, high, mode: PadMode::Constant, value: 0.0 };
    c.emit_like(pad, x, &[s[0], s[1] + t + b, s[2] + l + r, s[3]])
}

fn global(c: &mut Converter, node: &Node, kind: impl Into<OpKind>) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let spatial = c.shape(x).len().saturating_sub(2);
    let x = c.to_nhwc(x)?;
    let s = c.shape(x);
    let y = c.emit_f32(kind, &[x], &[s[0], 1, 1, s[3]])?;
    let y = c.from_nhwc(y, spatial)?;
    c.done(node, y)
}
