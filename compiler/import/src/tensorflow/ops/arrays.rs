//! Operators that give elements another shape or place, and those that say shapes.

use crate::shapes;
use crate::tensorflow::convert::{Converter, Outputs, Val};
use qcc_ir::DType;
use qcc_ir::dialect::nn::{self, NearestRounding, PadMode, ResizeCoordinates};
use qcc_runtime::Tensor;

/// Another shape, of which one extent may be −1.
pub fn reshape(c: &mut Converter) -> Outputs {
    let x = c.input(0)?;
    let wanted = c.ints(1)?;
    let from = c.shape(&x);
    let elements = wanted.iter().try_fold(1i64, |n, &d| n.checked_mul(d.max(1)));
    elements.ok_or_else(|| format!("shape {wanted:?} is too large"))?;
    // A graph exported for a batch of one may write that into its shapes.
    let batch = from.first().copied().filter(|_| wanted.first() == Some(&1)).unwrap_or(1);
    let shape = shapes::reshape(&from, &wanted, batch)?;
    Ok(vec![c.reshape(&x, &shape)?])
}

/// Without dimensions of extent 1: all, or those named.
pub fn squeeze(c: &mut Converter) -> Outputs {
    let x = c.input(0)?;
    let from = c.shape(&x);
    let named = match c.attr_ints("squeeze_dims") {
        [] => c.attr_ints("axis"),
        dims => dims,
    };
    let mut axes = Vec::new();
    for &a in named {
        let axis = shapes::axis(a, from.len())?;
        if from[axis as usize] != 1 {
            return Err(format!("dimension {axis} of {from:?} is not 1"));
        }
        axes.push(axis as usize);
    }
    let goes = |d: usize| if named.is_empty() { from[d] == 1 } else { axes.contains(&d) };
    let shape: Vec<u64> = (0..from.len()).filter(|&d| !goes(d)).map(|d| from[d]).collect();
    Ok(vec![c.reshape(&x, &shape)?])
}

/// With one more dimension, of extent 1.
pub fn expand_dims(c: &mut Converter) -> Outputs {
    let x = c.input(0)?;
    let mut shape = c.shape(&x);
    let axis = shapes::axis(c.int(1)?, shape.len() + 1)?;
    shape.insert(axis as usize, 1);
    Ok(vec![c.reshape(&x, &shape)?])
}

/// Dimensions in another order.
pub fn transpose(c: &mut Converter) -> Outputs {
    let x = c.input(0)?;
    let rank = c.shape(&x).len();
    let mut perm = Vec::new();
    for a in c.ints(1)? {
        perm.push(shapes::axis(a, rank)?);
    }
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank as u32) {
        return Err(format!("{perm:?} is not an order of {rank} dimensions"));
    }
    Ok(vec![c.transpose(&x, &perm)?])
}

/// Side by side; the axis is the last input.
pub fn concat(c: &mut Converter) -> Outputs {
    let n = c.n_inputs().checked_sub(1).filter(|&n| n > 0).ok_or("no inputs")?;
    let xs: Vec<Val> = (0..n).map(|i| c.input(i)).collect::<Result<_, _>>()?;
    let axis = shapes::axis(c.int(n)?, c.shape(&xs[0]).len())?;
    Ok(vec![c.concat(&xs, axis)?])
}

/// Side by side along a new axis.
pub fn pack(c: &mut Converter) -> Outputs {
    let xs: Vec<Val> = (0..c.n_inputs()).map(|i| c.input(i)).collect::<Result<_, _>>()?;
    let mut shape = c.shape(xs.first().ok_or("no inputs")?);
    let axis = shapes::axis(c.attr_int("axis", 0), shape.len() + 1)?;
    if let Some(other) = xs.iter().find(|x| c.shape(x) != shape) {
        return Err(format!("inputs of shapes {shape:?} and {:?}", c.shape(other)));
    }
    shape.insert(axis as usize, 1);
    let mut parts = Vec::new();
    for x in &xs {
        parts.push(c.reshape(x, &shape)?);
    }
    Ok(vec![c.concat(&parts, axis)?])
}

/// A border of zeros, of a value, or mirrored.
pub fn pad(c: &mut Converter) -> Outputs {
    let x = c.input(0)?;
    let from = c.shape(&x);
    let all = c.ints(1)?;
    let fits = all.len() == 2 * from.len() && all.iter().all(|&p| (0..1 << 31).contains(&p));
    if !fits {
        return Err(format!("paddings {all:?} for shape {from:?}"));
    }
    let low: Vec<u64> = all.iter().step_by(2).map(|&p| p as u64).collect();
    let high: Vec<u64> = all.iter().skip(1).step_by(2).map(|&p| p as u64).collect();
    let shape: Vec<u64> = (0..from.len()).map(|d| low[d] + from[d] + high[d]).collect();
    let mode = match c.attr_text("mode").as_str() {
        _ if c.nodes[c.at].def.op != "MirrorPad" => PadMode::Constant,
        "REFLECT" => PadMode::Reflect,
        "SYMMETRIC" => PadMode::Symmetric,
        other => return Err(format!("mode '{other}'")),
    };
    let value = match c.nodes[c.at].def.op == "PadV2" {
        true => {
            let v = c.known(2)?.ok_or("the value around must be a constant")?;
            if v.tensor.len() != 1 {
                return Err("the value around must be one number".into());
            }
            v.tensor.get_f64(0) as f32
        }
        false => 0.0,
    };
    if shape == from {
        return Ok(vec![x]);
    }
    let dtype = c.dtype(&x);
    Ok(vec![c.emit(nn::Pad { low, high, mode, value }, &[&x], &shape, dtype)?])
}

/// Repeated by numpy's rule.
pub fn broadcast_to(c: &mut Converter) -> Outputs {
    let x = c.input(0)?;
    let shape = sizes(&c.ints(1)?)?;
    Ok(vec![c.broadcast(&x, &shape)?])
}

/// Repeated as often as said along each dimension.
pub fn tile(c: &mut Converter) -> Outputs {
    let x = c.input(0)?;
    let (from, times) = (c.shape(&x), sizes(&c.ints(1)?)?);
    if times.len() != from.len() {
        return Err(format!("{} factors for shape {from:?}", times.len()));
    }
    // A repetition is a broadcast over a new dimension before each.
    let ones: Vec<u64> = from.iter().flat_map(|&d| [1, d]).collect();
    let wide: Vec<u64> = times.iter().zip(&from).flat_map(|(&t, &d)| [t, d]).collect();
    shapes::check_size(&wide)?;
    let shape: Vec<u64> = times.iter().zip(&from).map(|(t, d)| t * d).collect();
    if shape == from {
        return Ok(vec![x]);
    }
    let y = c.reshape(&x, &ones)?;
    let y = c.broadcast(&y, &wide)?;
    Ok(vec![c.reshape(&y, &shape)?])
}

/// One number everywhere.
pub fn fill(c: &mut Converter) -> Outputs {
    let shape = sizes(&c.ints(0)?)?;
    let x = c.input(1)?;
    if !c.shape(&x).is_empty() {
        return Err("the value must be a scalar".into());
    }
    Ok(vec![c.broadcast(&x, &shape)?])
}

/// Extents of 0 and above.
fn sizes(ints: &[i64]) -> Result<Vec<u64>, String> {
    let size = |&d: &i64| u64::try_from(d).map_err(|_| format!("an extent of {d}"));
    let shape: Vec<u64> = ints.iter().map(size).collect::<Result<_, _>>()?;
    shapes::check_size(&shape)?;
    Ok(shape)
}

/// Shape, Size and Rank of a tensor: always known.
pub fn shape_of(c: &mut Converter) -> Outputs {
    let x = c.input(0)?;
    let shape = c.shape(&x);
    let dtype = match c.attr("out_type") {
        Some(_) => c.attr_dtype("out_type")?,
        None => DType::I32,
    };
    let (numbers, extents) = match c.nodes[c.at].def.op.as_str() {
        "Rank" => (vec![shape.len() as u64], vec![]),
        "Size" => (vec![shape.iter().product()], vec![]),
        _ => (shape.clone(), vec![shape.len()]),
    };
    let mut t = Tensor::try_zeros(dtype, extents).map_err(|e| e.to_string())?;
    numbers.iter().enumerate().for_each(|(i, &n)| t.set_i64(i, n as i64));
    Ok(vec![c.make_known(t)?])
}

/// start, start + step, … below limit.
pub fn range(c: &mut Converter) -> Outputs {
    let (start, limit, step) = (c.int(0)?, c.int(1)?, c.int(2)?);
    if step == 0 {
        return Err("a step of 0".into());
    }
    let distance = if step > 0 { limit.checked_sub(start) } else { start.checked_sub(limit) };
    let n = distance.unwrap_or(i64::MAX).max(0).unsigned_abs().div_ceil(step.unsigned_abs());
    if n > 1 << 16 {
        return Err(format!("{n} numbers"));
    }
    let x = c.input(0)?;
    let dtype = c.dtype(&x);
    let mut t = Tensor::try_zeros(dtype, vec![n as usize]).map_err(|e| e.to_string())?;
    (0..n).for_each(|i| t.set_i64(i as usize, start.wrapping_add(step.wrapping_mul(i as i64))));
    Ok(vec![c.make_known(t)?])
}

/// Images of another size.
pub fn resize(c: &mut Converter) -> Outputs {
    let x = c.input(0)?;
    let xs = c.rank(&x, 4)?;
    let &[h, w] = c.ints(1)?.as_slice() else { return Err("the size must be two numbers".into()) };
    let (Ok(h), Ok(w)) = (u64::try_from(h), u64::try_from(w)) else {
        return Err(format!("the size {h}x{w}"));
    };
    if h == 0 || w == 0 || xs.contains(&0) {
        return Err(format!("from {xs:?} to {h}x{w}"));
    }
    let (corners, centers) =
        (c.attr_bool("align_corners", false), c.attr_bool("half_pixel_centers", false));
    let coordinates = match (corners, centers) {
        (true, _) => ResizeCoordinates::AlignCorners,
        (false, true) => ResizeCoordinates::HalfPixel,
        (false, false) => ResizeCoordinates::Asymmetric,
    };
    let shape = [xs[0], h, w, xs[3]];
    if c.nodes[c.at].def.op == "ResizeBilinear" {
        let x = c.float(0)?;
        return Ok(vec![c.emit_float(nn::ResizeBilinear { coordinates }, &[&x], &shape)?]);
    }
    // With half pixels TensorFlow takes ⌊(i + ½)·in/out⌋, which is the source coordinate
    // (i + ½)·in/out − ½ rounded with halves up.
    let rounding =
        if corners || centers { NearestRounding::HalfUp } else { NearestRounding::Floor };
    let dtype = c.dtype(&x);
    Ok(vec![c.emit(nn::ResizeNearest { coordinates, rounding }, &[&x], &shape, dtype)?])
}
