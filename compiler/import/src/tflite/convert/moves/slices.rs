//! Parts of a tensor.

use super::super::{Converter, Node};
use crate::shapes;
use crate::tflite::raw::{RawOptions, StridedSliceOptions};
use qcc_ir::Value;
use qcc_ir::dialect::nn;

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
        let len = if size[d] == -1 { (n as i64).saturating_sub(begin[d]) } else { size[d] };
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
        c.bind_same(node, k, y)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> StridedSliceOptions {
        StridedSliceOptions {
            begin_mask: 0,
            end_mask: 0,
            ellipsis_mask: 0,
            new_axis_mask: 0,
            shrink_axis_mask: 0,
            offset: false,
        }
    }

    /// Ranges (start, step, length), and the shape that they leave.
    type Taken = (Vec<(u64, i64, u64)>, Vec<u64>);

    /// What `[begin, end, stride]` in each range take of a tensor of shape `own`.
    fn apply(o: &StridedSliceOptions, spec: &[[i64; 3]], own: &[u64]) -> Result<Taken, String> {
        let list = |k: usize| spec.iter().map(|r| r[k]).collect();
        let spec = Spec { o, begin: list(0), end: list(1), strides: list(2) };
        let (ranges, shape) = spec.apply(own)?;
        Ok((ranges.iter().map(|r| (r.start, r.step, r.len)).collect(), shape))
    }

    #[test]
    fn ends_are_those_of_python() {
        let o = options();
        // x[1:-1, 4:0:-2], and what is not said is whole.
        let (ranges, shape) = apply(&o, &[[1, -1, 1], [4, 0, -2]], &[5, 5, 3]).unwrap();
        assert_eq!(ranges, [(1, 1, 3), (4, -2, 2), (0, 1, 3)]);
        assert_eq!(shape, [3, 2, 3]);
        // x[-9:9], x[3:1], x[::-1]
        let o = StridedSliceOptions { begin_mask: 4, end_mask: 4, ..o };
        let spec = [[-9, 9, 1], [3, 1, 1], [0, 0, -1]];
        let (ranges, shape) = apply(&o, &spec, &[4, 4, 4]).unwrap();
        assert_eq!((ranges[0], ranges[2]), ((0, 1, 4), (3, -1, 4)));
        assert_eq!(shape, [4, 0, 4]);
    }

    #[test]
    fn masks() {
        // x[..., newaxis, 1:3, -1]
        let ellipsis = options();
        let o = StridedSliceOptions {
            ellipsis_mask: 1,
            new_axis_mask: 2,
            shrink_axis_mask: 8,
            ..ellipsis
        };
        let spec = [[7, 7, 7], [0, 0, 0], [1, 3, 1], [-1, 0, 1]];
        let (ranges, shape) = apply(&o, &spec, &[2, 3, 4, 5]).unwrap();
        assert_eq!(ranges, [(0, 1, 2), (0, 1, 3), (1, 1, 2), (4, 1, 1)]);
        assert_eq!(shape, [2, 3, 1, 2]);
        // `end` elements from `begin` on.
        let o = StridedSliceOptions { offset: true, ..options() };
        assert_eq!(apply(&o, &[[2, 3, 1]], &[9]).unwrap().0, [(2, 1, 3)]);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let shrink = StridedSliceOptions { shrink_axis_mask: 1, ..options() };
        assert_eq!(apply(&shrink, &[[3, 4, 1]], &[3]).unwrap_err(), "element 3 of 3 by 1");
        assert_eq!(apply(&options(), &[[0, 1, 0]], &[3]).unwrap_err(), "a stride of 0");
        let both = [[0, 1, 1], [0, 1, 1]];
        assert_eq!(apply(&options(), &both, &[3]).unwrap_err(), "2 ranges of shape [3]");
        let two = StridedSliceOptions { ellipsis_mask: 3, ..options() };
        assert!(apply(&two, &both, &[3]).unwrap_err().starts_with("an ellipsis must be one"));
    }
}
