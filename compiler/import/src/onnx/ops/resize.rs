//! Images of another size.

use super::super::convert::Converter;
use super::super::node::Node;
use super::Table;
use super::shape::identity;
use qcc_ir::dialect::nn::{self, NearestRounding, ResizeCoordinates};

pub const OPS: Table = &[("Resize", resize), ("Upsample", resize)];

/// Extents of the result: sizes, or the input's times scales.
fn extents(c: &mut Converter, node: &Node, own: &[u64]) -> Result<Vec<u64>, String> {
    let (scales_at, sizes_at) = if node.opset >= 11 { (2, 3) } else { (1, 9) };
    if node.string("keep_aspect_ratio_policy", "stretch")? != "stretch" {
        return Err("keep_aspect_ratio_policy is not supported".into());
    }
    let axes: Vec<i64> = match node.ints("axes")? {
        Some(axes) => axes.to_vec(),
        None => (0..own.len() as i64).collect(),
    };
    let mut out = own.to_vec();
    let scales: Option<Vec<f64>> = match (node.floats("scales")?, c.known(node, scales_at)?) {
        (Some(all), _) => Some(all.iter().map(|&s| s.into()).collect()),
        (_, Some(k)) if !k.tensor.is_empty() => Some(k.tensor.to_f64_vec()),
        _ => None,
    };
    let sizes = if node.op == "Resize" { c.ints(node, sizes_at)? } else { None };
    let n = scales.as_ref().map(Vec::len).or(sizes.as_ref().map(Vec::len));
    if n != Some(axes.len()) {
        return Err("scales or sizes must be known when the model is compiled".into());
    }
    for (k, &a) in axes.iter().enumerate() {
        let d = crate::shapes::axis(a, own.len())? as usize;
        out[d] = match (&scales, &sizes) {
            (Some(s), _) => {
                let exact = own[d] as f64 * s[k];
                let is_whole = exact.fract() == 0.0 || node.op == "Upsample";
                if !is_whole || !(0.0..2e9).contains(&exact) {
                    return Err(format!("a scale of {} does not make {} whole", s[k], own[d]));
                }
                exact as u64
            }
            (_, Some(s)) => u64::try_from(s[k]).map_err(|_| "a negative size")?,
            _ => own[d],
        };
    }
    Ok(out)
}

fn resize(c: &mut Converter, node: &Node) -> Result<(), String> {
    let own = c.shape_of(node, 0)?;
    let out = extents(c, node, &own)?;
    if own == out {
        return identity(c, node);
    }
    let is_old = node.opset < 11;
    let mode = node.string("mode", "nearest")?;
    let transform = if is_old { "asymmetric" } else { "half_pixel" };
    let transform = node.string("coordinate_transformation_mode", transform)?;
    let coordinates = match transform.as_str() {
        "asymmetric" => ResizeCoordinates::Asymmetric,
        "half_pixel" | "half_pixel_symmetric" => ResizeCoordinates::HalfPixel,
        "pytorch_half_pixel" if own.iter().zip(&out).all(|(a, &b)| *a == b || b > 1) => {
            ResizeCoordinates::HalfPixel
        }
        "align_corners" => ResizeCoordinates::AlignCorners,
        other => return Err(format!("coordinates '{other}' are not supported")),
    };
    if node.flag("antialias", false)? {
        return Err("antialias is not supported".into());
    }
    let &[n, ch, h, w] = &own[..] else {
        return Err(format!("only images of 2 spatial dimensions are resized, not {own:?}"));
    };
    let x = c.any(node, 0)?;
    // Rows and columns are the last two dimensions, or (channels last) the middle two.
    let is_nhwc = (out[0], out[3]) == (n, w) && out[1] != ch;
    if out[0] != n || (!is_nhwc && out[1] != ch) {
        return Err(format!("{own:?} cannot be resized to {out:?}: only rows and columns can"));
    }
    let _ = h;
    let x = if is_nhwc { x } else { c.to_nhwc(x)? };
    let target = if is_nhwc { out.clone() } else { vec![out[0], out[2], out[3], out[1]] };
    let y = match mode.as_str() {
        "nearest" => {
            let rounding = if is_old { "floor" } else { "round_prefer_floor" };
            let rounding = match node.string("nearest_mode", rounding)?.as_str() {
                "floor" => NearestRounding::Floor,
                "ceil" => NearestRounding::Ceil,
                "round_prefer_floor" => NearestRounding::HalfDown,
                "round_prefer_ceil" => NearestRounding::HalfUp,
                other => return Err(format!("nearest_mode '{other}' is not known")),
            };
            c.emit_like(nn::ResizeNearest { coordinates, rounding }, x, &target)?
        }
        "linear" | "bilinear" => c.emit_f32(nn::ResizeBilinear { coordinates }, &[x], &target)?,
        other => return Err(format!("mode '{other}' is not supported")),
    };
    let y = if is_nhwc { y } else { c.from_nhwc(y, 2)? };
    c.done(node, y)
}
