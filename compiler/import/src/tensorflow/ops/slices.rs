//! Parts of tensors.

use crate::shapes;
use crate::tensorflow::convert::{Converter, Outputs, Val};
use crate::tensorflow::fold;
use qcc_ir::dialect::nn;
use qcc_runtime::Tensor;

/// A box: start, and size or −1 for the rest.
pub fn slice(c: &mut Converter) -> Outputs {
    let x = c.input(0)?;
    let (from, begin, size) = (c.shape(&x), c.ints(1)?, c.ints(2)?);
    let rank = from.len();
    if begin.len() != rank || size.len() != rank {
        return Err(format!("{} starts and {} sizes of {rank}", begin.len(), size.len()));
    }
    let (mut start, mut shape) = (vec![], vec![]);
    for d in 0..rank {
        let first = u64::try_from(begin[d]).ok().filter(|&s| s <= from[d]);
        let rest = first.map(|s| from[d] - s);
        let n = if size[d] == -1 { rest } else { u64::try_from(size[d]).ok() };
        let (Some(s), Some(n)) = (first, n.filter(|&n| Some(n) <= rest)) else {
            return Err(format!("from {begin:?} on {size:?} of shape {from:?}"));
        };
        start.push(s);
        shape.push(n);
    }
    Ok(vec![c.slice(&x, &start, &vec![1; rank], &shape)?])
}

/// Python's slices: what becomes of each dimension.
struct Strided {
    start: Vec<u64>,
    step: Vec<i64>,
    /// Extents of the slice.
    shape: Vec<u64>,
    /// Extents of the result: without dimensions that an index took, with new ones.
    result: Vec<u64>,
}

/// `x[a:b:s, ..., i, newaxis]`.
pub fn strided_slice(c: &mut Converter) -> Outputs {
    let x = c.input(0)?;
    let spec = [c.ints(1)?, c.ints(2)?, c.ints(3)?];
    let mask = |name| c.attr_int(name, 0);
    let masks = Masks {
        begin: mask("begin_mask"),
        end: mask("end_mask"),
        ellipsis: mask("ellipsis_mask"),
        new_axis: mask("new_axis_mask"),
        shrink: mask("shrink_axis_mask"),
    };
    let s = resolve(&c.shape(&x), &spec, &masks)?;
    let y = c.slice(&x, &s.start, &s.step, &s.shape)?;
    Ok(vec![c.reshape(&y, &s.result)?])
}

/// Bit i speaks of entry i of the specification.
struct Masks {
    begin: i64,
    end: i64,
    ellipsis: i64,
    new_axis: i64,
    shrink: i64,
}

fn resolve(from: &[u64], spec: &[Vec<i64>; 3], masks: &Masks) -> Result<Strided, String> {
    let [begin, end, step] = spec;
    let n = begin.len();
    if end.len() != n || step.len() != n || n > 32 {
        return Err(format!("{n} starts, {} ends, {} steps", end.len(), step.len()));
    }
    let is = |mask: i64, i: usize| mask >> i & 1 == 1;
    let is_new = |i: usize| is(masks.new_axis, i) && !is(masks.ellipsis, i);
    let named = (0..n).filter(|&i| !is(masks.ellipsis, i) && !is_new(i)).count();
    let open = from
        .len()
        .checked_sub(named)
        .ok_or_else(|| format!("{named} slices of a tensor of shape {from:?}"))?;
    let mut out = Strided { start: vec![], step: vec![], shape: vec![], result: vec![] };
    let whole = |out: &mut Strided, extent: u64| {
        out.start.push(0);
        out.step.push(1);
        out.shape.push(extent);
        out.result.push(extent);
    };
    for i in 0..n {
        let d = out.start.len();
        if is(masks.ellipsis, i) {
            from[d..(d + open).min(from.len())].iter().for_each(|&e| whole(&mut out, e));
        } else if is_new(i) {
            out.result.push(1);
        } else {
            let extent = *from.get(d).ok_or("more than one ellipsis")?;
            let one = is(masks.shrink, i);
            let ends = [
                (!is(masks.begin, i) || one).then_some(begin[i]),
                (!is(masks.end, i)).then_some(end[i]),
            ];
            let (start, step, size) = dimension(extent, ends, step[i], one)?;
            out.start.push(start);
            out.step.push(step);
            out.shape.push(size);
            if !one {
                out.result.push(size);
            }
        }
    }
    from[out.start.len()..].iter().for_each(|&e| whole(&mut out, e));
    Ok(out)
}

/// Start, step and size along a dimension of `extent` elements; `one` for a plain index.
fn dimension(
    extent: u64,
    [begin, end]: [Option<i64>; 2],
    step: i64,
    one: bool,
) -> Result<(u64, i64, u64), String> {
    let n = extent as i64;
    let positive = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
    if one {
        let at = positive(begin.unwrap_or(0));
        return match (0..n).contains(&at) {
            true => Ok((at as u64, 1, 1)),
            false => Err(format!("index {at} of {n} elements")),
        };
    }
    if step == 0 {
        return Err("a step of 0".into());
    }
    // Where a slice may begin and end, by its direction.
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let limit = |v: Option<i64>, default| v.map_or(default, |v| positive(v).clamp(low, high));
    let (from, to) = (limit(begin, first), limit(end, last));
    let distance = if step > 0 { to - from } else { from - to };
    let size = distance.max(0).unsigned_abs().div_ceil(step.unsigned_abs());
    Ok(if size == 0 { (0, 1, 0) } else { (from as u64, step, size) })
}

/// Equal parts; the axis is input 0.
pub fn split(c: &mut Converter) -> Outputs {
    let x = c.input(1)?;
    let shape = c.shape(&x);
    let axis = shapes::axis(c.int(0)?, shape.len())? as usize;
    let parts = c.attr_int("num_split", 0);
    if parts <= 0 || !shape[axis].is_multiple_of(parts as u64) {
        return Err(format!("{} does not divide into {parts}", shape[axis]));
    }
    if parts > 1 << 16 {
        return Err(format!("{parts} parts"));
    }
    let size = shape[axis] / parts as u64;
    cut(c, &x, axis, &vec![size; parts as usize])
}

/// Parts of given sizes, of which one may be −1.
pub fn split_v(c: &mut Converter) -> Outputs {
    let x = c.input(0)?;
    let shape = c.shape(&x);
    let (sizes, axis) = (c.ints(1)?, shapes::axis(c.int(2)?, shape.len())? as usize);
    let given: u64 =
        sizes.iter().filter(|&&s| s > 0).map(|&s| s as u64).fold(0, u64::saturating_add);
    let rest = shape[axis].checked_sub(given);
    let open = sizes.iter().filter(|&&s| s < 0).count();
    let (Some(rest), true) = (rest, open <= 1 && (open == 1 || rest == Some(0))) else {
        return Err(format!("{} does not divide into {sizes:?}", shape[axis]));
    };
    let sizes: Vec<u64> = sizes.iter().map(|&s| if s < 0 { rest } else { s as u64 }).collect();
    cut(c, &x, axis, &sizes)
}

/// Parts of the given sizes along `axis`.
fn cut(c: &mut Converter, x: &Val, axis: usize, sizes: &[u64]) -> Outputs {
    let mut shape = c.shape(x);
    let (mut start, step) = (vec![0; shape.len()], vec![1; shape.len()]);
    let mut out = Vec::new();
    for &size in sizes {
        shape[axis] = size;
        out.push(c.slice(x, &start, &step, &shape)?);
        start[axis] += size;
    }
    Ok(out)
}

/// Parts of extent 1 along an axis, without that axis.
pub fn unpack(c: &mut Converter) -> Outputs {
    let x = c.input(0)?;
    let mut shape = c.shape(&x);
    let axis = shapes::axis(c.attr_int("axis", 0), shape.len())? as usize;
    let parts = c.attr_int("num", -1);
    if parts >= 0 && parts as u64 != shape[axis] || shape[axis] > 1 << 16 {
        return Err(format!("{parts} parts of {}", shape[axis]));
    }
    let parts = cut(c, &x, axis, &vec![1; shape[axis] as usize])?;
    shape.remove(axis);
    parts.iter().map(|p| c.reshape(p, &shape)).collect()
}

/// Slices by index.
pub fn gather(c: &mut Converter) -> Outputs {
    let (x, indices) = (c.input(0)?, c.input(1)?);
    let from = c.shape(&x);
    let axis = if c.n_inputs() > 2 { c.int(2)? } else { 0 };
    let axis = shapes::axis(axis, from.len())? as usize;
    if c.attr_int("batch_dims", 0) != 0 {
        return Err("batch dimensions are not supported".into());
    }
    let dtype = c.dtype(&x);
    let shape = [&from[..axis], &c.shape(&indices), &from[axis + 1..]].concat();
    if let Val::Known(i) = &indices {
        let inside = |&i: &i64| (0..from[axis] as i64).contains(&i);
        if let Some(bad) = i.tensor.to_i64_vec().iter().find(|i| !inside(i)) {
            return Err(format!("index {bad} of {} elements", from[axis]));
        }
        if let Val::Known(x) = &x {
            let t = pick(&x.tensor, &i.tensor, axis, &shape)?;
            return Ok(vec![c.make_known(t)?]);
        }
    }
    Ok(vec![c.emit(nn::Gather { axis: axis as u32 }, &[&x, &indices], &shape, dtype)?])
}

/// The slices of `x` at `indices`, which are inside.
fn pick(x: &Tensor, indices: &Tensor, axis: usize, to: &[u64]) -> Result<Tensor, String> {
    let extents = fold::extents(to)?;
    let row = x.shape()[axis + 1..].iter().product::<usize>() * x.dtype().size();
    let mut out = Vec::new();
    for outer in 0..x.shape()[..axis].iter().product() {
        for i in indices.to_i64_vec() {
            let at = (outer * x.shape()[axis] + i as usize) * row;
            out.extend_from_slice(&x.bytes()[at..][..row]);
        }
    }
    Tensor::from_bytes(x.dtype(), extents, out).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks() -> Masks {
        Masks { begin: 0, end: 0, ellipsis: 0, new_axis: 0, shrink: 0 }
    }

    #[test]
    fn slices_are_those_of_python() {
        let at = |n, a, b, s| dimension(n, [a, b], s, false).unwrap();
        assert_eq!(at(10, Some(2), Some(7), 2), (2, 2, 3));
        assert_eq!(at(10, Some(-3), None, 1), (7, 1, 3));
        assert_eq!(at(10, None, None, -1), (9, -1, 10));
        assert_eq!(at(10, Some(7), Some(2), -2), (7, -2, 3));
        assert_eq!(at(10, Some(5), Some(i64::MAX), 1), (5, 1, 5));
        assert_eq!(at(10, Some(5), Some(i64::MIN), -1), (5, -1, 6));
        assert_eq!(at(10, Some(20), None, 1), (0, 1, 0));
        assert_eq!(dimension(4, [Some(-1), None], 1, true), Ok((3, 1, 1)));
        assert!(dimension(4, [Some(4), None], 1, true).is_err());
        assert!(dimension(4, [None, None], 0, false).is_err());
    }

    #[test]
    fn ellipsis_new_axis_and_index_change_the_rank() {
        // x[1, ..., newaxis, ::2] of [2, 3, 4, 5]
        let spec = [vec![1, 0, 0, 0], vec![2, 0, 0, 0], vec![1, 1, 1, 2]];
        let masks = Masks { begin: 8, end: 8, ellipsis: 2, new_axis: 4, shrink: 1 };
        let s = resolve(&[2, 3, 4, 5], &spec, &masks).unwrap();
        assert_eq!((s.start, s.step), (vec![1, 0, 0, 0], vec![1, 1, 1, 2]));
        assert_eq!((s.shape, s.result), (vec![1, 3, 4, 3], vec![3, 4, 1, 3]));
    }

    #[test]
    fn what_is_not_named_stays_whole() {
        let s = resolve(&[4, 5], &[vec![1], vec![3], vec![1]], &masks()).unwrap();
        assert_eq!((s.start, s.result), (vec![1, 0], vec![2, 5]));
        assert!(resolve(&[4], &[vec![0, 0], vec![1, 1], vec![1, 1]], &masks()).is_err());
    }
}
