//! Transposed convolutions, as convolutions of an image with zeros between its pixels.

use super::super::convert::Converter;
use super::super::node::Node;
use super::Table;
use super::conv::{image_shape, two};
use crate::shapes;
use qcc_ir::Value;
use qcc_ir::dialect::nn;
use qcc_ir::dialect::quant::Act;

pub const OPS: Table = &[("ConvTranspose", conv_transpose)];

/// As a convolution of the image with `stride − 1` zeros between its pixels.
fn conv_transpose(c: &mut Converter, node: &Node) -> Result<(), String> {
    let (xs, ws) = (c.shape_of(node, 0)?, c.shape_of(node, 1)?);
    let (xi, f) = (image_shape(&xs)?, image_shape(&ws)?);
    let spatial = xs.len() - 2;
    let groups = u32::try_from(node.int("group", 1)?).ok().filter(|&g| g > 0);
    let groups = groups.ok_or("attribute 'group' must be positive")?;
    if !f[0].is_multiple_of(groups.into())
        || f[0] != xi[1]
        || xs.len() != ws.len()
        || f[2] == 0
        || f[3] == 0
    {
        return Err(format!("filter {ws:?} does not fit input {xs:?}"));
    }
    let stride = two(node.ints("strides")?, spatial, "strides")?;
    let dilation = two(node.ints("dilations")?, spatial, "dilations")?;
    let (pad, out) = transposed_pads(node, spatial, [xi[2], xi[3]], [f[2], f[3]])?;
    let x = c.float(node, 0)?;
    let x = c.to_nhwc(x)?;
    let x = spaced(c, x, stride)?;
    // [I,O,KH,KW] -> [O,KH,KW,I], rows and columns in reverse.
    let w = match groups {
        1 => c.filter(node, 1, &f, &[1, 2, 3, 0])?,
        _ => grouped_filter(c, node, f, groups.into())?,
    };
    let shape = c.shape(w);
    let start = vec![0, shape[1] - 1, shape[2] - 1, 0];
    let w = c.emit_f32(nn::Slice { start, step: vec![1, -1, -1, 1] }, &[w], &shape)?;
    let b = c.opt_float(node, 2)?;
    let operands: Vec<Value> = [x, w].into_iter().chain(b).collect();
    let kind = nn::Conv2d { stride: [1, 1], dilation, pad, groups, act: Act::None };
    let y = c.emit_f32(kind, &operands, &[xi[0], out[0], out[1], shape[0]])?;
    let y = c.from_nhwc(y, spatial)?;
    c.done(node, y)
}

/// `[G·I,O,KH,KW]` -> `[G·O,KH,KW,I]`.
fn grouped_filter(
    c: &mut Converter,
    node: &Node,
    f: [u64; 4],
    groups: u64,
) -> Result<Value, String> {
    let w = c.float(node, 1)?;
    let inputs = f[0] / groups;
    let w = c.reshape(w, &[groups, inputs, f[1], f[2], f[3]])?;
    let w = c.transpose(w, &[0, 2, 3, 4, 1])?;
    let outputs = groups.checked_mul(f[1]).ok_or("the filter is too large")?;
    c.reshape(w, &[outputs, f[2], f[3], inputs])
}

/// Padding of the convolution that stands for a transposed one, and its output extents.
fn transposed_pads(
    node: &Node,
    spatial: usize,
    image: [u64; 2],
    kernel: [u64; 2],
) -> Result<([u32; 4], [u64; 2]), String> {
    let stride = two(node.ints("strides")?, spatial, "strides")?;
    let dilation = two(node.ints("dilations")?, spatial, "dilations")?;
    let first = 2 - spatial;
    let of = |name: &str, d: usize| -> Result<Option<i64>, String> {
        let all = node.ints(name)?;
        let one = all.and_then(|a| a.get(d.checked_sub(first)?)).copied();
        Ok(one.map(|v| v.clamp(-(1 << 40), 1 << 40)))
    };
    let auto = node.string("auto_pad", "NOTSET")?;
    let (mut pad, mut out) = ([0; 4], [0; 2]);
    for d in 0..2 {
        let s = i64::from(stride[d]);
        let reach = (kernel[d] as i64 - 1) * i64::from(dilation[d]) + 1;
        let extra = of("output_padding", d)?.unwrap_or(0);
        let full = (image[d] as i64 - 1) * s + extra + reach;
        let wanted = of("output_shape", d)?.or(match auto.as_str() {
            "SAME_UPPER" | "SAME_LOWER" if d >= first => Some(image[d] as i64 * s),
            _ => None,
        });
        let [before, after] = match wanted {
            Some(n) => {
                let all = full - n;
                let half = all.div_euclid(2);
                if auto == "SAME_UPPER" { [half, all - half] } else { [all - half, half] }
            }
            None => {
                let pads = node.ints("pads")?.unwrap_or(&[]);
                let at = |k: usize| pads.get(k).map_or(0, |&p| p.clamp(-(1 << 40), 1 << 40));
                match d.checked_sub(first) {
                    Some(k) => [at(k), at(k + spatial)],
                    None => [0, 0],
                }
            }
        };
        let size = full - before - after;
        let inner = [reach - 1 - before, reach - 1 - after + extra];
        let fits = size > 0 && inner.iter().all(|&p| (0..1 << 30).contains(&p));
        if !fits {
            return Err(format!("padding {before} and {after} of a window over {reach} pixels"));
        }
        out[d] = size as u64;
        pad[2 * d] = inner[0] as u32;
        pad[2 * d + 1] = inner[1] as u32;
    }
    Ok((pad, out))
}

/// `[N,H,W,C]` with zeros between rows and columns.
fn spaced(c: &mut Converter, x: Value, stride: [u32; 2]) -> Result<Value, String> {
    if stride == [1, 1] {
        return Ok(x);
    }
    let s = c.shape(x);
    let step = stride.map(u64::from);
    let x = c.reshape(x, &[s[0], s[1], 1, s[2], 1, s[3]])?;
    let high = vec![0, 0, step[0] - 1, 0, step[1] - 1, 0];
    let pad = nn::Pad { low: vec![0; 6], high, mode: nn::PadMode::Constant, value: 0.0 };
    let x = c.emit_like(pad, x, &[s[0], s[1], step[0], s[2], step[1], s[3]])?;
    let (h, w) = (s[1] * step[0], s[2] * step[1]);
    shapes::check_size(&[s[0], h, w, s[3]])?;
    let x = c.reshape(x, &[s[0], h, w, s[3]])?;
    let cut = [s[0], h - (step[0] - 1), w - (step[1] - 1), s[3]];
    c.emit_like(nn::Slice { start: vec![0; 4], step: vec![1; 4] }, x, &cut)
}
