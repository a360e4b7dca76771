//! Parts of a tensor, and borders around it.

use super::super::{Converter, Node};
use crate::shapes;
use crate::tflite::raw::{RawOptions, StridedSliceOptions};
use qcc_ir::dialect::nn::{self, PadMode};
use qcc_ir::numerics::float::code_of;
use qcc_ir::{DType, Value};

/// The part of one dimension that a slice takes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Range {
    start: u64,
    step: i64,
    len: u64,
}

impl Range {
    fn whole(len: u64) -> Range {
        Range { start: 0, step: 1, len }
    }
}

impl Converter<'_> {
    /// The part of `x` that `ranges` say, one for each dimension.
    fn part(&mut self, node: &Node, x: Value, ranges: &[Range]) -> Result<Value, String> {
        let one = |r: &Range| if r.len == 0 { Range::whole(0) } else { *r };
        let ranges: Vec<Range> = ranges.iter().map(one).collect();
        let shape: Vec<u64> = ranges.iter().map(|r| r.len).collect();
        let start = ranges.iter().map(|r| r.start).collect();
        let step = ranges.iter().map(|r| if r.len == 1 { 1 } else { r.step }).collect();
        self.moved(node, nn::Slice { start, step }, &[x], &shape)
    }

    /// x in parts along an axis.
    fn divided(
        &mut self,
        node: &Node,
        (x, axis): (Value, u32),
        lengths: &[u64],
    ) -> Result<Vec<Value>, String> {
        let mut ranges: Vec<Range> = self.shape(x).into_iter().map(Range::whole).collect();
        let mut start = 0;
        let mut parts = Vec::new();
        for &len in lengths {
            ranges[axis as usize] = Range { start, step: 1, len };
            start += len;
            parts.push(self.part(node, x, &ranges)?);
        }
        Ok(parts)
    }
}

/// The numbers of a list of as many elements as x has dimensions.
fn per_dimension(c: &Converter, node: &Node, i: usize, rank: usize) -> Result<Vec<i64>, String> {
    let all = c.constant_ints(node, i)?;
    match all.len() == rank {
        true => Ok(all),
        false => Err(format!("input {i} has {} numbers for {rank} dimensions", all.len())),
    }
}

pub fn slice(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let own = c.shape(x);
    let begin = per_dimension(c, node, 1, own.len())?;
    let size = per_dimension(c, node, 2, own.len())?;
    let mut ranges = Vec::new();
    for (d, &n) in own.iter().enumerate() {
        let len = if size[d] == -1 { n as i64 - begin[d] } else { size[d] };
        let end = begin[d].checked_add(len);
        if begin[d] < 0 || len < 0 || end.is_none_or(|end| end > n as i64) {
            return Err(format!("{} elements from {} on of {n}", size[d], begin[d]));
        }
        ranges.push(Range { start: begin[d] as u64, step: 1, len: len as u64 });
    }
    let y = c.part(node, x, &ranges)?;
    c.bind(node, 0, y)
}

pub fn strided_slice(c: &mut Converter, node: &Node) -> Result<(), String> {
    let RawOptions::StridedSlice(o) = &node.op.options else {
        return Err("its options are missing".into());
    };
    let x = c.operand(node, 0)?;
    let lists = [1, 2, 3].map(|i| c.constant_ints(node, i));
    let [begin, end, strides] = lists;
    let spec = Spec { o, begin: begin?, end: end?, strides: strides? };
    let (ranges, shape) = spec.apply(&c.shape(x))?;
    let y = c.part(node, x, &ranges)?;
    let y = if c.shape(y) == shape { y } else { c.reshape_to(node, y, &shape)? };
    c.bind(node, 0, y)
}

/// Python's `x[begin:end:stride, …, newaxis, i]`.
struct Spec<'a> {
    o: &'a StridedSliceOptions,
    begin: Vec<i64>,
    end: Vec<i64>,
    strides: Vec<i64>,
}

impl Spec<'_> {
    /// What is taken of each dimension of a tensor of shape `own`, and the result's shape.
    fn apply(&self, own: &[u64]) -> Result<(Vec<Range>, Vec<u64>), String> {
        let n = self.begin.len();
        if self.end.len() != n || self.strides.len() != n || n > 32 {
            return Err("begin, end and strides have different lengths, or more than 32".into());
        }
        let has = |mask: i32, i: usize| mask >> i & 1 == 1;
        let is_ellipsis = |i: usize| has(self.o.ellipsis_mask, i);
        let is_new = |i: usize| !is_ellipsis(i) && has(self.o.new_axis_mask, i);
        let ellipses = (0..n).filter(|&i| is_ellipsis(i)).count();
        let taken = (0..n).filter(|&i| !is_ellipsis(i) && !is_new(i)).count();
        let left = own.len().checked_sub(taken);
        let left = left.ok_or_else(|| format!("{taken} ranges of shape {own:?}"))?;
        if ellipses > 1 || (ellipses == 1 && left == 0) {
            return Err("an ellipsis must be one, and stand for a dimension at least".into());
        }
        let (mut ranges, mut shape) = (Vec::new(), Vec::new());
        for i in 0..n {
            let d = ranges.len();
            if is_ellipsis(i) {
                ranges.extend(own[d..d + left].iter().map(|&n| Range::whole(n)));
                shape.extend(&own[d..d + left]);
            } else if is_new(i) {
                shape.push(1);
            } else if has(self.o.shrink_axis_mask, i) {
                ranges.push(self.element(i, own[d])?);
            } else {
                ranges.push(self.range(i, own[d])?);
                shape.push(ranges[d].len);
            }
        }
        for &n in &own[ranges.len()..] {
            ranges.push(Range::whole(n));
            shape.push(n);
        }
        Ok((ranges, shape))
    }

    /// The first element of range `i` of a dimension, before or behind it if there is none.
    fn start(&self, i: usize, n: i64) -> i64 {
        let (low, high) = if self.strides[i] > 0 { (0, n) } else { (-1, n - 1) };
        if self.o.begin_mask >> i & 1 == 1 {
            return if self.strides[i] > 0 { low } else { high };
        }
        place(self.begin[i], n).clamp(low, high)
    }

    /// A single element: where the range would end does not matter.
    fn element(&self, i: usize, n: u64) -> Result<Range, String> {
        let start = u64::try_from(self.start(i, n as i64)).ok().filter(|&s| s < n);
        let start = start.filter(|_| self.strides[i] > 0);
        let message = || format!("element {} of {n} by {}", self.begin[i], self.strides[i]);
        Ok(Range { start: start.ok_or_else(message)?, step: 1, len: 1 })
    }

    fn range(&self, i: usize, n: u64) -> Result<Range, String> {
        let step = self.strides[i];
        if step == 0 {
            return Err("a stride of 0".into());
        }
        let n = n as i64;
        let start = self.start(i, n);
        let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
        let end = match self.o.end_mask >> i & 1 == 1 {
            true if step > 0 => high,
            true => low,
            false if self.o.offset => place(self.end[i].saturating_add(start), n).clamp(low, high),
            false => place(self.end[i], n).clamp(low, high),
        };
        let room = if step > 0 { end - start } else { start - end };
        let len = (room.max(0) as u64).div_ceil(step.unsigned_abs());
        let step = step.clamp(-(1 << 40), 1 << 40);
        Ok(Range { start: start.max(0) as u64, step, len })
    }
}

/// An index that counts from the end if negative.
fn place(i: i64, n: i64) -> i64 {
    if i < 0 { i.saturating_add(n) } else { i }
}

/// SPLIT of plain elements.
pub fn split(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 1)?;
    let (axis, part) = c.parts(node, x)?;
    let lengths = vec![part[axis as usize]; node.op.outputs.len()];
    for (k, y) in c.divided(node, (x, axis), &lengths)?.into_iter().enumerate() {
        c.bind(node, k, y)?;
    }
    Ok(())
}

pub fn split_v(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let own = c.shape(x);
    let sizes = c.constant_ints(node, 1)?;
    let axis = shapes::axis(c.constant_int(node, 2, "the axis")?, own.len())?;
    let n = own[axis as usize];
    let fail = || format!("{n} elements in {} parts of {sizes:?}", node.op.outputs.len());
    let known: Option<u64> = sizes
        .iter()
        .filter(|&&s| s != -1)
        .try_fold(0u64, |sum, &s| sum.checked_add(u64::try_from(s).ok()?));
    let rest = known.and_then(|known| n.checked_sub(known)).ok_or_else(fail)?;
    let open = sizes.iter().filter(|&&s| s == -1).count();
    if open > 1 || (open == 0 && rest != 0) || sizes.len() != node.op.outputs.len() {
        return Err(fail());
    }
    let lengths: Vec<u64> = sizes.iter().map(|&s| if s == -1 { rest } else { s as u64 }).collect();
    for (k, y) in c.divided(node, (x, axis), &lengths)?.into_iter().enumerate() {
        c.bind(node, k, y)?;
    }
    Ok(())
}

pub fn unpack(c: &mut Converter, node: &Node) -> Result<(), String> {
    let RawOptions::Unpack(o) = &node.op.options else {
        return Err("its options are missing".into());
    };
    let x = c.operand(node, 0)?;
    let mut shape = c.shape(x);
    let axis = shapes::axis(o.axis.into(), shape.len())?;
    let n = shape.remove(axis as usize);
    if n != node.op.outputs.len() as u64 {
        return Err(format!("{n} slices for {} outputs", node.op.outputs.len()));
    }
    for (k, y) in c.divided(node, (x, axis), &vec![1; n as usize])?.into_iter().enumerate() {
        let y = c.reshape_to(node, y, &shape)?;
        c.bind(node, k, y)?;
    }
    Ok(())
}

pub fn reverse(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let own = c.shape(x);
    let axes = c.axes(&c.constant_ints(node, 1)?, own.len())?;
    let range = |(d, &n): (usize, &u64)| match axes.contains(&(d as u32)) {
        true => Range { start: n.saturating_sub(1), step: -1, len: n },
        false => Range::whole(n),
    };
    let ranges: Vec<Range> = own.iter().enumerate().map(range).collect();
    let y = c.part(node, x, &ranges)?;
    c.bind(node, 0, y)
}

// ---- borders ----

/// Elements before and after in each of `rank` dimensions: a constant of shape `[rank, 2]`.
pub(super) fn pairs(
    c: &Converter,
    node: &Node,
    i: usize,
    rank: usize,
) -> Result<[Vec<u64>; 2], String> {
    let all = c.constant_ints(node, i)?;
    if all.len() != 2 * rank || all.iter().any(|v| !(0..1 << 31).contains(v)) {
        return Err(format!("input {i} must be two numbers for each of {rank} dimensions"));
    }
    let side = |k: usize| all.iter().skip(k).step_by(2).map(|&v| v as u64).collect();
    Ok([side(0), side(1)])
}

impl Converter<'_> {
    /// x with so many elements around it.
    pub(super) fn padded(
        &mut self,
        node: &Node,
        x: Value,
        [low, high]: [Vec<u64>; 2],
        (mode, value): (PadMode, f32),
    ) -> Result<Value, String> {
        let own = self.shape(x);
        let sum = |d: usize| own[d] + low[d] + high[d];
        let shape: Vec<u64> = (0..own.len()).map(sum).collect();
        self.moved(node, nn::Pad { low, high, mode, value }, &[x], &shape)
    }
}

pub fn pad(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let around = pairs(c, node, 1, c.shape(x).len())?;
    let y = c.padded(node, x, around, (PadMode::Constant, 0.0))?;
    c.bind(node, 0, y)
}

pub fn pad_with(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let around = pairs(c, node, 1, c.shape(x).len())?;
    let value = c.optional(node, 2)?.ok_or("the border's value is missing")?;
    let value = border(c, x, value)?;
    let y = c.padded(node, x, around, (PadMode::Constant, value))?;
    c.bind(node, 0, y)
}

/// The number that stands around x, given as a constant of its element type.
fn border(c: &Converter, x: Value, value: Value) -> Result<f32, String> {
    let t = c.known(value).filter(|t| t.len() == 1);
    let t = t.ok_or("the border's value must be one constant number")?;
    let (x, v) = (c.tensor_type(x), c.tensor_type(value));
    if x.storage() != v.storage() {
        return Err(format!("a border of {} around {}", v.storage(), x.storage()));
    }
    let exact = |value: f32, is_exact: bool| match is_exact {
        true => Ok(value),
        false => Err(format!("a border of {} has no float32 that stands for it", t.get_f64(0))),
    };
    if let Some(q) = x.quant_type() {
        let code = t.get_i64(0);
        let zero = q.uniform().map_or(0, |a| a.zero_point);
        let scale = q.uniform().map_or(0.0, |a| a.scale);
        let value = (f64::from(scale) * (code - i64::from(zero)) as f64) as f32;
        return exact(value, code_of(value, q).is_ok_and(|c| i64::from(c) == code));
    }
    match x.storage() {
        DType::F32 | DType::F64 => Ok(t.get_f64(0) as f32),
        _ => exact(t.get_i64(0) as f32, (t.get_i64(0) as f32) as i64 == t.get_i64(0)),
    }
}

pub fn mirror_pad(c: &mut Converter, node: &Node) -> Result<(), String> {
    let RawOptions::MirrorPad(o) = &node.op.options else {
        return Err("its options are missing".into());
    };
    let (mode, spare) = match o.mode {
        0 => (PadMode::Reflect, 1),
        1 => (PadMode::Symmetric, 0),
        other => return Err(format!("mode {other} is neither REFLECT nor SYMMETRIC")),
    };
    let x = c.operand(node, 0)?;
    let own = c.shape(x);
    let around = pairs(c, node, 1, own.len())?;
    let wide = |d: usize| around[0][d].max(around[1][d]) > own[d].saturating_sub(spare);
    if let Some(d) = (0..own.len()).find(|&d| wide(d)) {
        return Err(format!("a mirrored border wider than the {} elements beside it", own[d]));
    }
    let y = c.padded(node, x, around, (mode, 0.0))?;
    c.bind(node, 0, y)
}
