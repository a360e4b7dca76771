//! Convolutions, pools and matrix products.
//!
//! Images become `[N, H, W, C]`: a node of format NCHW gets transposes around it. A dilated
//! convolution written as SpaceToBatchND, convolution, BatchToSpaceND becomes one op.

use crate::shapes;
use crate::tensorflow::convert::{Converter, Outputs, Val};
use qcc_ir::dialect::nn;
use qcc_ir::dialect::quant::Act;

const TO_NHWC: [u32; 4] = [0, 2, 3, 1];
const TO_NCHW: [u32; 4] = [0, 3, 1, 2];

/// True for the format NCHW.
///
/// # Errors
/// The format is neither NHWC nor NCHW.
pub fn is_nchw(c: &Converter) -> Result<bool, String> {
    match c.attr_text("data_format").as_str() {
        "" | "NHWC" => Ok(false),
        "NCHW" => Ok(true),
        other => Err(format!("data format {other}; NHWC and NCHW are supported")),
    }
}

/// `x` as `[N, H, W, C]`.
pub fn to_nhwc(c: &mut Converter, x: Val) -> Result<Val, String> {
    c.rank(&x, 4)?;
    if is_nchw(c)? { c.transpose(&x, &TO_NHWC) } else { Ok(x) }
}

/// `y` in the node's format.
pub fn from_nhwc(c: &mut Converter, y: &Val) -> Outputs {
    let nchw = is_nchw(c)?;
    Ok(vec![if nchw { c.transpose(y, &TO_NCHW)? } else { y.clone() }])
}

/// How a window walks over an image.
struct Window {
    stride: [u32; 2],
    dilation: [u32; 2],
    /// Size of the result.
    out: [u64; 2],
    /// Top, bottom, left, right.
    pad: [u32; 4],
}

/// The numbers for height and width of a list attribute with one number per dimension.
fn spatial(c: &Converter, name: &str) -> Result<[u32; 2], String> {
    let all = c.attr_ints(name);
    let at = if is_nchw(c)? { [2, 3] } else { [1, 2] };
    match all {
        [] => Ok([1, 1]),
        [_, _, _, _] => {
            let others = (0..4).filter(|d| !at.contains(d));
            if others.map(|d| all[d]).any(|v| v != 1) {
                return Err(format!("{name} {all:?} over batch or channels"));
            }
            let mut out = [0; 2];
            for (o, d) in out.iter_mut().zip(at) {
                *o = u32::try_from(all[d])
                    .ok()
                    .filter(|v| (1..1 << 16).contains(v))
                    .ok_or_else(|| format!("{name} {all:?}: not a positive number below 65536"))?;
            }
            Ok(out)
        }
        _ => Err(format!("{name} {all:?}: expected four numbers")),
    }
}

/// The window of the node over an image of shape `x`.
fn window(c: &Converter, x: &[u64], kernel: [u64; 2]) -> Result<Window, String> {
    let (stride, dilation) = (spatial(c, "strides")?, spatial(c, "dilations")?);
    let code = match c.attr_text("padding").as_str() {
        "SAME" => 0,
        "VALID" => 1,
        "EXPLICIT" => {
            let all = c.attr_ints("explicit_paddings");
            let at = if is_nchw(c)? { 4 } else { 2 };
            let Some(&[t, b, l, r]) = all.get(at..at + 4).filter(|_| all.len() == 8) else {
                return Err(format!("explicit paddings {all:?}: expected eight numbers"));
            };
            return explicit(x, kernel, (stride, dilation), [t, b, l, r]);
        }
        other => return Err(format!("padding '{other}'; SAME, VALID, EXPLICIT are supported")),
    };
    let (out, pad) = shapes::window(x, kernel, stride, dilation, code)?;
    Ok(Window { stride, dilation, out, pad })
}

/// A window with given padding.
fn explicit(
    x: &[u64],
    kernel: [u64; 2],
    (stride, dilation): ([u32; 2], [u32; 2]),
    padding: [i64; 4],
) -> Result<Window, String> {
    let mut pad = [0; 4];
    for (to, from) in pad.iter_mut().zip(padding) {
        let small = u32::try_from(from).ok().filter(|&p| p < 1 << 16);
        *to = small.ok_or_else(|| format!("paddings {padding:?}"))?;
    }
    let mut out = [0; 2];
    for d in 0..2 {
        let reach = kernel[d].saturating_sub(1).saturating_mul(dilation[d].into()) + 1;
        let extent = x[1 + d] + u64::from(pad[2 * d]) + u64::from(pad[2 * d + 1]);
        if kernel[d] == 0 || reach > extent {
            return Err(format!("the window reaches over {reach} of {extent} pixels"));
        }
        out[d] = (extent - reach) / u64::from(stride[d]) + 1;
    }
    Ok(Window { stride, dilation, out, pad })
}

/// `[KH,KW,I,O]` filters.
pub fn conv2d(c: &mut Converter) -> Outputs {
    if is_in_batches(c) {
        return Ok(vec![Val::InBatches]);
    }
    let x = c.float(0)?;
    let x = to_nhwc(c, x)?;
    let (xs, kernel) = (c.shape(&x), kernel(c)?);
    let w = window(c, &xs, kernel)?;
    let y = convolution(c, &x, &w)?;
    from_nhwc(c, &y)
}

/// `[KH,KW,C,multiplier]` filters.
pub fn depthwise(c: &mut Converter) -> Outputs {
    conv2d(c)
}

/// Height and width of the filters.
fn kernel(c: &Converter) -> Result<[u64; 2], String> {
    let w = c.float(1)?;
    let ws = c.rank(&w, 4)?;
    Ok([ws[0], ws[1]])
}

/// The convolution that the converter stands at, over `x` in NHWC.
fn convolution(c: &mut Converter, x: &Val, window: &Window) -> Result<Val, String> {
    let (w, xs) = (c.float(1)?, c.rank(x, 4)?);
    let ws = c.rank(&w, 4)?;
    let Window { stride, dilation, out, pad } = *window;
    let misfit = || format!("{} input channels do not fit filters {ws:?}", xs[3]);
    if c.nodes[c.at].def.op == "DepthwiseConv2dNative" {
        let channels = ws[2].checked_mul(ws[3]).ok_or_else(misfit)?;
        if ws[2] != xs[3] || channels == 0 {
            return Err(misfit());
        }
        let w = c.reshape(&w, &[1, ws[0], ws[1], channels])?;
        let kind = nn::DepthwiseConv2d { stride, dilation, pad, act: Act::None };
        return c.emit_float(kind, &[x, &w], &[xs[0], out[0], out[1], channels]);
    }
    let groups = xs[3].checked_div(ws[2]).ok_or_else(misfit)?;
    if groups == 0 || xs[3] % ws[2] != 0 || ws[3] % groups != 0 {
        return Err(misfit());
    }
    let w = c.transpose(&w, &[3, 0, 1, 2])?;
    let groups = groups as u32;
    let kind = nn::Conv2d { stride, dilation, pad, groups, act: Act::None };
    c.emit_float(kind, &[x, &w], &[xs[0], out[0], out[1], ws[3]])
}

// ---- dilation by batches ----

/// True at a convolution of what SpaceToBatchND made.
fn is_in_batches(c: &Converter) -> bool {
    let node = &c.nodes[c.at];
    node.inputs.first().is_some_and(|p| c.nodes[p.node].def.op == "SpaceToBatchND")
}

/// Waits for the BatchToSpaceND behind the convolution.
pub fn space_to_batch(c: &mut Converter) -> Outputs {
    let x = c.float(0)?;
    c.rank(&x, 4)?;
    Ok(vec![Val::InBatches])
}

/// The end of a dilated convolution: converts the three nodes as one op, located at the
/// convolution.
pub fn batch_to_space(c: &mut Converter) -> Outputs {
    let only = "BatchToSpaceND is supported right behind a convolution of SpaceToBatchND only";
    let end = c.at;
    let conv = c.nodes[end].inputs.first().ok_or("input 0 is missing")?.node;
    let is_conv = ["Conv2D", "DepthwiseConv2dNative"].contains(&c.nodes[conv].def.op.as_str());
    let start = c.nodes[conv].inputs.first().map(|p| p.node);
    let Some(start) = start.filter(|&s| is_conv && c.nodes[s].def.op == "SpaceToBatchND") else {
        return Err(only.into());
    };
    let (block, crops) = (c.ints(1)?, c.ints(2)?);
    c.at = start;
    let (x, dilation, pads) = (c.float(0)?, c.ints(1)?, c.ints(2)?);
    c.at = conv;
    let end_loc = c.loc;
    let node = &c.nodes[conv];
    c.loc = c.module.locs.node(&node.name, Some(node.index as u32));
    let y = dilated(c, &x, (&dilation, &block), (&pads, &crops));
    (c.at, c.loc) = (end, end_loc);
    Ok(vec![y?])
}

/// A convolution over `x` with `dilation` (equal to `block`), of the padded image, cropped.
fn dilated(
    c: &mut Converter,
    x: &Val,
    (dilation, block): (&[i64], &[i64]),
    (pads, crops): (&[i64], &[i64]),
) -> Result<Val, String> {
    let is_plain = !is_nchw(c)?
        && c.attr_text("padding") == "VALID"
        && spatial(c, "strides")? == [1, 1]
        && spatial(c, "dilations")? == [1, 1];
    let (&[dh, dw], &[t, b, l, r]) = (dilation, pads) else {
        return Err("blocks are supported over height and width only".into());
    };
    if !is_plain || dilation != block || crops.len() != 4 {
        return Err("this use of SpaceToBatchND is not a dilated convolution".into());
    }
    let small = |v: i64| u32::try_from(v).ok().filter(|v| (1..1 << 16).contains(v));
    let dilation = [small(dh).ok_or("a block of 0")?, small(dw).ok_or("a block of 0")?];
    // Cropped rows and columns are padding that is not needed; more than that is cut off.
    let less: Vec<i64> = pads.iter().zip(crops).map(|(p, c)| (p - c).max(0)).collect();
    let &[t2, b2, l2, r2] = less.as_slice() else { return Err("crops".into()) };
    let (xs, kernel) = (c.shape(x), kernel(c)?);
    let window = explicit(&xs, kernel, ([1, 1], dilation), [t2, b2, l2, r2])?;
    let y = convolution(c, x, &window)?;
    let left = |pad: i64, crop: i64| (crop - pad).max(0) as u64;
    let cut = [[t, b, crops[0], crops[1]], [l, r, crops[2], crops[3]]]
        .map(|[p, q, from, to]| [left(p, from), left(q, to)]);
    let mut shape = c.shape(&y);
    let mut start = vec![0; 4];
    for (d, [before, after]) in cut.into_iter().enumerate() {
        let rest = shape[1 + d].checked_sub(before).and_then(|s| s.checked_sub(after));
        shape[1 + d] = rest.ok_or("more is cropped than there is")?;
        start[1 + d] = before;
    }
    c.slice(&y, &start, &[1; 4], &shape)
}

// ---- pools ----

/// The largest or the mean of each window.
pub fn pool(c: &mut Converter) -> Outputs {
    let x = c.float(0)?;
    let x = to_nhwc(c, x)?;
    let (xs, size) = (c.shape(&x), spatial(c, "ksize")?);
    let Window { stride, out, pad, .. } = window(c, &xs, size.map(u64::from))?;
    let shape = [xs[0], out[0], out[1], xs[3]];
    let act = Act::None;
    let y = if c.nodes[c.at].def.op == "MaxPool" {
        c.emit_float(nn::MaxPool2d { window: size, stride, pad, act }, &[&x], &shape)?
    } else {
        let count_include_pad = false;
        let by_columns = false;
        let kind = nn::AvgPool2d { window: size, stride, pad, act, count_include_pad, by_columns };
        c.emit_float(kind, &[&x], &shape)?
    };
    from_nhwc(c, &y)
}

// ---- matrix products ----

/// Weights on the right become a fully connected layer.
pub fn matmul(c: &mut Converter) -> Outputs {
    let (a, b) = (c.float(0)?, c.float(1)?);
    let (ta, tb) = (c.attr_bool("transpose_a", false), c.attr_bool("transpose_b", false));
    c.rank(&a, 2)?;
    c.rank(&b, 2)?;
    if !c.is_constant(&b) || c.is_constant(&a) {
        return product(c, &a, &b, (ta, tb));
    }
    let a = if ta { c.transpose(&a, &[1, 0])? } else { a };
    let w = if tb { b } else { c.transpose(&b, &[1, 0])? };
    let (xs, ws) = (c.shape(&a), c.shape(&w));
    if xs[1] != ws[1] || ws[1] == 0 {
        return Err(format!("rows of {} and columns of {} do not fit", xs[1], ws[1]));
    }
    let kind = nn::FullyConnected { act: Act::None };
    Ok(vec![c.emit_float(kind, &[&a, &w], &[xs[0], ws[0]])?])
}

/// Leading dimensions are batches.
pub fn batch_matmul(c: &mut Converter) -> Outputs {
    let (a, b) = (c.float(0)?, c.float(1)?);
    let flags = (c.attr_bool("adj_x", false), c.attr_bool("adj_y", false));
    product(c, &a, &b, flags)
}

fn product(c: &mut Converter, a: &Val, b: &Val, (ta, tb): (bool, bool)) -> Outputs {
    let (xs, ys) = (c.shape(a), c.shape(b));
    let misfit = || format!("matrices of shapes {xs:?} and {ys:?} do not fit");
    let ([outer_a @ .., m, k], [outer_b @ .., k2, n]) = (xs.as_slice(), ys.as_slice()) else {
        return Err(misfit());
    };
    let (m, k) = if ta { (k, m) } else { (m, k) };
    let (k2, n) = if tb { (n, k2) } else { (k2, n) };
    if k != k2 {
        return Err(misfit());
    }
    let mut shape = shapes::broadcast(outer_a, outer_b)?;
    shape.extend([*m, *n]);
    let kind = nn::MatMul { transpose_a: ta, transpose_b: tb };
    Ok(vec![c.emit_float(kind, &[a, b], &shape)?])
}
