//! Images of another size.
//!
//! Rows and columns of an image, by whole scales, to the nearest pixel or linearly, have ops of
//! their own. All else is done axis by axis: the nearest elements are gathered, interpolation is a
//! product with a constant matrix of weights.

use super::super::convert::Converter;
use super::super::node::Node;
use super::Table;
use super::shape::identity;
use crate::shapes;
use qcc_ir::dialect::nn::{self, NearestRounding, ResizeCoordinates};
use qcc_ir::dialect::quant::Act;
use qcc_ir::{DType, Value};

pub const OPS: Table = &[("Resize", resize), ("Upsample", resize)];

/// What a Resize does.
struct Plan {
    own: Vec<u64>,
    out: Vec<u64>,
    /// Of each axis; where sizes are given, their quotient.
    scale: Vec<f64>,
    /// First and last position of each axis, for tf_crop_and_resize.
    roi: Vec<[f64; 2]>,
    mode: String,
    transform: String,
    rounding: NearestRounding,
}

fn resize(c: &mut Converter, node: &Node) -> Result<(), String> {
    let plan = plan(c, node)?;
    if plan.own == plan.out && plan.transform != "tf_crop_and_resize" {
        return identity(c, node);
    }
    match plan.coordinates().filter(|_| is_plain(node)) {
        Some(coordinates) if plan.is_image() && plan.is_whole() && plan.mode != "cubic" => {
            image(c, node, &plan, coordinates)
        }
        _ => axis_by_axis(c, node, &plan),
    }
}

fn is_plain(node: &Node) -> bool {
    let given = |name| node.flag(name, false).unwrap_or(true);
    !given("antialias") && !given("exclude_outside")
}

fn plan(c: &mut Converter, node: &Node) -> Result<Plan, String> {
    let own = c.shape_of(node, 0)?;
    let is_old = node.opset < 11;
    let rounding = if is_old { "floor" } else { "round_prefer_floor" };
    let rounding = match node.string("nearest_mode", rounding)?.as_str() {
        "floor" => NearestRounding::Floor,
        "ceil" => NearestRounding::Ceil,
        "round_prefer_floor" => NearestRounding::HalfDown,
        "round_prefer_ceil" => NearestRounding::HalfUp,
        other => return Err(format!("nearest_mode '{other}' is not known")),
    };
    let mode = match node.string("mode", "nearest")?.as_str() {
        "bilinear" => "linear".to_string(),
        mode @ ("nearest" | "linear" | "cubic") => mode.to_string(),
        other => return Err(format!("mode '{other}' is not supported")),
    };
    let transform = if is_old { "asymmetric" } else { "half_pixel" };
    let transform = node.string("coordinate_transformation_mode", transform)?;
    let mut plan = Plan {
        out: own.clone(),
        scale: vec![1.0; own.len()],
        roi: vec![[0.0, 1.0]; own.len()],
        own,
        mode,
        transform,
        rounding,
    };
    plan.read_extents(c, node)?;
    shapes::check_size(&plan.out)?;
    Ok(plan)
}

impl Plan {
    /// Extents of the result: sizes, or the input's times scales.
    fn read_extents(&mut self, c: &mut Converter, node: &Node) -> Result<(), String> {
        let (scales_at, sizes_at) = if node.opset >= 11 { (2, 3) } else { (1, 9) };
        let rank = self.own.len();
        let axes: Vec<usize> = match node.ints("axes")? {
            Some(axes) => axes
                .iter()
                .map(|&a| Ok(shapes::axis(a, rank)? as usize))
                .collect::<Result<_, String>>(),
            None => Ok((0..rank).collect()),
        }?;
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
        let common = match (&sizes, node.string("keep_aspect_ratio_policy", "stretch")?.as_str()) {
            (None, _) | (_, "stretch") => None,
            (Some(s), policy) => {
                let all = axes.iter().zip(s).map(|(&d, &n)| n as f64 / self.own[d] as f64);
                match policy {
                    "not_larger" => all.reduce(f64::min),
                    "not_smaller" => all.reduce(f64::max),
                    other => return Err(format!("policy '{other}' is not known")),
                }
            }
        };
        for (k, &d) in axes.iter().enumerate() {
            let own = self.own[d] as f64;
            let (out, scale) = match (&scales, &sizes, common) {
                (Some(s), _, _) => ((own * s[k]).floor(), s[k]),
                (_, _, Some(scale)) => ((own * scale + 0.5).floor(), scale),
                (_, Some(s), _) => (s[k] as f64, s[k] as f64 / own),
                _ => (own, 1.0),
            };
            if !(0.0..2e9).contains(&out) || !(scale > 0.0 || out == 0.0) {
                return Err(format!("a scale of {scale} for {} elements", self.own[d]));
            }
            (self.out[d], self.scale[d]) = (out as u64, scale);
        }
        if self.transform == "tf_crop_and_resize" {
            let roi = c.known(node, 1)?.map(|k| k.tensor.to_f64_vec()).unwrap_or_default();
            if roi.len() != 2 * axes.len() {
                return Err("input 1 ('roi') must be known when the model is compiled".into());
            }
            for (k, &d) in axes.iter().enumerate() {
                self.roi[d] = [roi[k], roi[k + axes.len()]];
            }
        }
        Ok(())
    }

    /// The coordinates, if an op has them.
    fn coordinates(&self) -> Option<ResizeCoordinates> {
        match self.transform.as_str() {
            "asymmetric" => Some(ResizeCoordinates::Asymmetric),
            "half_pixel" | "half_pixel_symmetric" => Some(ResizeCoordinates::HalfPixel),
            "pytorch_half_pixel"
                if self.own.iter().zip(&self.out).all(|(a, &b)| *a == b || b > 1) =>
            {
                Some(ResizeCoordinates::HalfPixel)
            }
            "align_corners" => Some(ResizeCoordinates::AlignCorners),
            _ => None,
        }
    }

    /// Are the scales just quotients of extents?
    fn is_whole(&self) -> bool {
        let all = self.own.iter().zip(&self.out).zip(&self.scale);
        all.into_iter().all(|((&own, &out), &s)| (own as f64 * s - out as f64).abs() < 1e-4)
    }

    /// Is it rows and columns of images, channels first or last?
    fn is_image(&self) -> bool {
        let (&[n, ch, _, w], &[n2, c2, _, w2]) = (&self.own[..], &self.out[..]) else {
            return false;
        };
        n == n2 && (ch == c2 || w == w2)
    }

    /// Positions in the source along axis `d`.
    fn positions(&self, d: usize) -> Vec<f64> {
        let (own, out, s) = (self.own[d] as f64, self.out[d] as f64, self.scale[d]);
        let exact = own * s;
        let [first, last] = self.roi[d];
        let at = |i: f64| match self.transform.as_str() {
            "align_corners" if exact == 1.0 => 0.0,
            "align_corners" => i * (own - 1.0) / (exact - 1.0),
            "asymmetric" => i / s,
            "tf_crop_and_resize" if exact == 1.0 => {
                (last - first) * (own - 1.0) / 2.0 + first * (own - 1.0)
            }
            "tf_crop_and_resize" => {
                i * (last - first) * (own - 1.0) / (exact - 1.0) + first * (own - 1.0)
            }
            "pytorch_half_pixel" if exact == 1.0 => -0.5,
            "half_pixel_symmetric" => own / 2.0 * (1.0 - out / exact) + (i + 0.5) / s - 0.5,
            _ => (i + 0.5) / s - 0.5,
        };
        (0..self.out[d]).map(|i| at(i as f64)).collect()
    }
}

/// Rows and columns of images, by an op of their own.
fn image(
    c: &mut Converter,
    node: &Node,
    plan: &Plan,
    coordinates: ResizeCoordinates,
) -> Result<(), String> {
    let x = c.any(node, 0)?;
    let out = &plan.out;
    // Rows and columns are the last two dimensions, or (channels last) the middle two.
    let is_nhwc = out[3] == plan.own[3] && out[1] != plan.own[1];
    let x = if is_nhwc { x } else { c.to_nhwc(x)? };
    let target = if is_nhwc { out.clone() } else { vec![out[0], out[2], out[3], out[1]] };
    let y = match plan.mode.as_str() {
        "nearest" => {
            let kind = nn::ResizeNearest { coordinates, rounding: plan.rounding };
            c.emit_like(kind, x, &target)?
        }
        _ => c.emit_f32(nn::ResizeBilinear { coordinates }, &[x], &target)?,
    };
    let y = if is_nhwc { y } else { c.from_nhwc(y, 2)? };
    c.done(node, y)
}

fn axis_by_axis(c: &mut Converter, node: &Node, plan: &Plan) -> Result<(), String> {
    let is_crop = plan.transform == "tf_crop_and_resize";
    let is_nearest = plan.mode == "nearest";
    let mut y = if is_nearest { c.any(node, 0)? } else { c.float(node, 0)? };
    let changes = |d: &usize| {
        plan.own[*d] != plan.out[*d]
            || plan.scale[*d] != 1.0
            || (is_crop && plan.roi[*d] != [0.0, 1.0])
    };
    let axes: Vec<usize> = (0..plan.own.len()).filter(changes).collect();
    if axes.iter().any(|&d| plan.own[d] == 0) {
        return Err(format!("an empty image of shape {:?}", plan.own));
    }
    for &d in &axes {
        y = match is_nearest {
            true => gathered(c, node, plan, (y, d))?,
            false => interpolated(c, node, plan, (y, d))?,
        };
    }
    for &d in axes.iter().filter(|_| is_crop) {
        let last = plan.own[d] as f64 - 1.0;
        let inside = plan.positions(d).into_iter().map(|p| (0.0..=last).contains(&p).into());
        let inside: Vec<i64> = inside.collect();
        let mut wide = vec![1; plan.own.len()];
        wide[d] = plan.out[d];
        let inside = c.integers(node, &inside, &wide, DType::Bool)?;
        let outside = c.number(node, node.float("extrapolation_value", 0.0)?)?;
        y = c.select(inside, y, outside)?;
    }
    c.done(node, y)
}

/// The nearest elements along an axis.
fn gathered(
    c: &mut Converter,
    node: &Node,
    plan: &Plan,
    (x, d): (Value, usize),
) -> Result<Value, String> {
    let nearest = |at: f64| match plan.rounding {
        NearestRounding::Floor => at.floor(),
        NearestRounding::Ceil => at.ceil(),
        NearestRounding::HalfDown => (at - 0.5).ceil(),
        NearestRounding::HalfUp => (at + 0.5).floor(),
    };
    let last = plan.own[d] as i64 - 1;
    let index = |at: f64| (nearest(at) as i64).clamp(0, last);
    let all: Vec<i64> = plan.positions(d).into_iter().map(index).collect();
    let all = c.integers(node, &all, &[plan.out[d]], DType::I64)?;
    let mut shape = c.shape(x);
    shape[d] = plan.out[d];
    let ty = c.tensor_type(x).with_shape(&shape);
    c.emit(nn::Gather { axis: d as u32 }, &[x, all], ty)
}

/// Weighted sums of elements along an axis.
fn interpolated(
    c: &mut Converter,
    node: &Node,
    plan: &Plan,
    (x, d): (Value, usize),
) -> Result<Value, String> {
    let (n, out) = (plan.own[d], plan.out[d]);
    shapes::check_size(&[n, out])?;
    let exclude = node.flag("exclude_outside", false)?;
    let mut all = vec![0f32; (n * out) as usize];
    for (row, at) in all.chunks_mut(n as usize).zip(plan.positions(d)) {
        let mut taps = taps(node, plan, (at, plan.scale[d]))?;
        if exclude {
            taps.retain(|&(i, _)| (0..n as i64).contains(&i));
        }
        let sum: f64 = if exclude { taps.iter().map(|t| t.1).sum() } else { 1.0 };
        for (i, weight) in taps {
            row[i.clamp(0, n as i64 - 1) as usize] += (weight / sum) as f32;
        }
    }
    let w = c.floats(&format!("{}.weights", node.name), &all, &[out, n])?;
    let mut perm: Vec<u32> = (0..plan.own.len() as u32).collect();
    perm.swap(d, plan.own.len() - 1);
    let x = c.transpose(x, &perm)?;
    let mut shape = c.shape(x);
    shape[plan.own.len() - 1] = out;
    let y = c.emit_f32(nn::FullyConnected { act: Act::None }, &[x, w], &shape)?;
    c.transpose(y, &perm)
}

/// Elements around a position, and their weights.
fn taps(node: &Node, plan: &Plan, (at, scale): (f64, f64)) -> Result<Vec<(i64, f64)>, String> {
    // The element before the position, and how far that is: in (0, 1].
    let base = at.ceil() - 1.0;
    let ratio = at - base;
    let a = f64::from(node.float("cubic_coeff_a", -0.75)?);
    let cubic = |x: f64| match x.abs() {
        x if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
        _ => 0.0,
    };
    let is_cubic = plan.mode == "cubic";
    let reach = if is_cubic { 2.0 } else { 1.0 };
    // Antialiasing widens the filter by what the image shrinks.
    let shrink = if node.flag("antialias", false)? { scale.min(1.0) } else { 1.0 };
    let first = (-reach / shrink).floor() as i64 + 1;
    if first < -(1 << 20) {
        return Err(format!("a scale of {scale}"));
    }
    let weight = |i: i64| {
        let x = (i as f64 - ratio) * shrink;
        if is_cubic { cubic(x) } else { (1.0 - x.abs()).max(0.0) }
    };
    let all: Vec<(i64, f64)> = (first..=1 - first).map(|i| (base as i64 + i, weight(i))).collect();
    let sum: f64 = if shrink < 1.0 { all.iter().map(|t| t.1).sum() } else { 1.0 };
    Ok(all.into_iter().map(|(i, w)| (i, w / sum)).collect())
}
