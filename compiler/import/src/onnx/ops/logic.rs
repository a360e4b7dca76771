//! Comparisons, truth values, integers, and what is built of them: selections, masks, indices.

use super::super::convert::{Bound, Converter};
use super::super::node::Node;
use super::Table;
use crate::shapes;
use qcc_ir::dialect::nn::{self, CompareFn, IntFn, UnaryFn};
use qcc_ir::{DType, Elem, TensorType, Value};
use qcc_runtime::Tensor;

pub const OPS: Table = &[
    ("And", |c, n| int_pair(c, n, IntFn::And)),
    ("BitwiseAnd", |c, n| int_pair(c, n, IntFn::And)),
    ("BitwiseNot", not),
    ("BitwiseOr", |c, n| int_pair(c, n, IntFn::Or)),
    ("BitwiseXor", |c, n| int_pair(c, n, IntFn::Xor)),
    ("CumSum", cum_sum),
    ("Equal", |c, n| compare(c, n, CompareFn::Equal, false)),
    ("GatherElements", gather_elements),
    ("GatherND", gather_nd),
    ("Greater", |c, n| compare(c, n, CompareFn::Less, true)),
    ("GreaterOrEqual", |c, n| compare(c, n, CompareFn::LessEqual, true)),
    ("IsInf", is_inf),
    ("IsNaN", is_nan),
    ("Less", |c, n| compare(c, n, CompareFn::Less, false)),
    ("LessOrEqual", |c, n| compare(c, n, CompareFn::LessEqual, false)),
    ("Not", not),
    ("OneHot", one_hot),
    ("Or", |c, n| int_pair(c, n, IntFn::Or)),
    ("TopK", top_k),
    ("Trilu", trilu),
    ("Where", select),
    ("Xor", |c, n| int_pair(c, n, IntFn::Xor)),
];

impl Converter<'_> {
    /// Input `i` as a value of plain elements.
    pub fn plain_input(&mut self, node: &Node, i: usize) -> Result<Value, String> {
        let v = self.any(node, i)?;
        self.plain(v)
    }
    /// Integers or truth values `f(a, b)`.
    pub fn int_binary(&mut self, f: IntFn, a: Value, b: Value) -> Result<Value, String> {
        let dtype = self.elem(a).storage();
        if self.elem(b).storage() != dtype || dtype.is_float() {
            return Err(format!("inputs of {dtype} and {}", self.elem(b).storage()));
        }
        let shape = shapes::broadcast(&self.shape(a), &self.shape(b))?;
        self.emit(nn::IntBinary { f }, &[a, b], TensorType::plain(&shape, dtype))
    }
    /// The truth of a ? b.
    pub fn compare(&mut self, f: CompareFn, a: Value, b: Value) -> Result<Value, String> {
        if self.elem(a) != self.elem(b) {
            let [a, b] = [a, b].map(|v| self.elem(v).storage());
            return Err(format!("inputs of {a} and {b}"));
        }
        let shape = shapes::broadcast(&self.shape(a), &self.shape(b))?;
        self.emit(nn::Compare { f }, &[a, b], TensorType::plain(&shape, DType::Bool))
    }
    /// p ? a : b
    pub fn select(&mut self, p: Value, a: Value, b: Value) -> Result<Value, String> {
        if self.elem(a) != self.elem(b) || self.elem(p) != Elem::Plain(DType::Bool) {
            let [p, a, b] = [p, a, b].map(|v| self.elem(v).storage());
            return Err(format!("inputs of {p}, {a} and {b}"));
        }
        let shape = shapes::broadcast(&self.shape(a), &self.shape(b))?;
        let shape = shapes::broadcast(&self.shape(p), &shape)?;
        let ty = self.tensor_type(a).with_shape(&shape);
        self.emit(nn::Select {}, &[p, a, b], ty)
    }
    /// A constant of integers or truth values of type `dtype`.
    pub fn integers(
        &mut self,
        node: &Node,
        all: &[i64],
        shape: &[u64],
        dtype: DType,
    ) -> Result<Value, String> {
        let extents: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
        shapes::check_size(shape)?;
        let mut t = Tensor::try_zeros(dtype, extents).map_err(|e| e.to_string())?;
        all.iter().enumerate().for_each(|(i, &v)| t.set_i64(i, v));
        self.constant(&format!("{}.numbers", node.name), &t, Elem::Plain(dtype))
    }
    /// Indices from the end of `n` elements, where they are negative, from the start.
    fn nonnegative(&mut self, node: &Node, indices: Value, n: &[i64]) -> Result<Value, String> {
        let dtype = self.elem(indices).storage();
        let zero = self.integers(node, &[0], &[], dtype)?;
        let shape = [n.len() as u64];
        let n = self.integers(node, n, if n.len() == 1 { &[] } else { &shape }, dtype)?;
        let is_negative = self.compare(CompareFn::Less, indices, zero)?;
        let moved = self.int_binary(IntFn::Add, indices, n)?;
        self.select(is_negative, moved, indices)
    }
}

fn int_pair(c: &mut Converter, node: &Node, f: IntFn) -> Result<(), String> {
    let (a, b) = (c.plain_input(node, 0)?, c.plain_input(node, 1)?);
    let y = c.int_binary(f, a, b)?;
    c.done(node, y)
}

/// a ? b, or b ? a.
fn compare(c: &mut Converter, node: &Node, f: CompareFn, swap: bool) -> Result<(), String> {
    let (a, b) = (c.plain_input(node, 0)?, c.plain_input(node, 1)?);
    let y = if swap { c.compare(f, b, a)? } else { c.compare(f, a, b)? };
    c.done(node, y)
}

/// All bits of an integer, or the truth value, turned over.
fn not(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.plain_input(node, 0)?;
    let y = inverse(c, node, x)?;
    c.done(node, y)
}

fn inverse(c: &mut Converter, node: &Node, x: Value) -> Result<Value, String> {
    let dtype = c.elem(x).storage();
    let ones = c.integers(node, &[if dtype == DType::Bool { 1 } else { -1 }], &[], dtype)?;
    c.int_binary(IntFn::Xor, x, ones)
}

fn select(c: &mut Converter, node: &Node) -> Result<(), String> {
    let p = c.plain_input(node, 0)?;
    let (a, b) = (c.plain_input(node, 1)?, c.plain_input(node, 2)?);
    let y = c.select(p, a, b)?;
    c.done(node, y)
}

fn is_nan(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.plain_input(node, 0)?;
    let same = c.compare(CompareFn::Equal, x, x)?;
    let y = inverse(c, node, same)?;
    c.done(node, y)
}

fn is_inf(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let (high, low) = (node.flag("detect_positive", true)?, node.flag("detect_negative", true)?);
    let x = match (high, low) {
        (true, true) => c.unary(UnaryFn::Abs, x)?,
        (false, true) => c.unary(UnaryFn::Neg, x)?,
        _ => x,
    };
    let wanted = if high || low { f32::INFINITY } else { f32::NAN };
    let wanted = c.number(node, wanted)?;
    let y = c.compare(CompareFn::Equal, x, wanted)?;
    c.done(node, y)
}

/// The part of each matrix on one side of a diagonal, zeros elsewhere.
fn trilu(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.plain_input(node, 0)?;
    let shape = c.shape(x);
    let &[.., rows, columns] = &shape[..] else {
        return Err(format!("a matrix is expected, not {shape:?}"));
    };
    let k = c.ints(node, 1)?.and_then(|k| k.first().copied()).unwrap_or(0);
    let upper = node.flag("upper", true)?;
    let is_kept = |i: u64, j: u64| {
        let (place, k) = (j as i128 - i as i128, i128::from(k));
        if upper { place >= k } else { place <= k }
    };
    shapes::check_size(&[rows, columns])?;
    let all = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j)));
    let mask: Vec<i64> = all.map(|(i, j)| is_kept(i, j).into()).collect();
    let mask = c.integers(node, &mask, &[rows, columns], DType::Bool)?;
    let zero = zero_like(c, node, x)?;
    let y = c.select(mask, x, zero)?;
    c.done(node, y)
}

fn zero_like(c: &mut Converter, node: &Node, x: Value) -> Result<Value, String> {
    let t = Tensor::zeros(c.elem(x).storage(), []);
    c.constant(&format!("{}.zero", node.name), &t, Elem::Plain(t.dtype()))
}

/// 1 where the index is, 0 elsewhere, along a new axis; both numbers are given.
fn one_hot(c: &mut Converter, node: &Node) -> Result<(), String> {
    let depth = match c.known(node, 1)? {
        Some(k) if k.tensor.len() == 1 => k.tensor.get_f64(0) as i64,
        _ => return Err("input 1 ('depth') must be known when the model is compiled".into()),
    };
    let depth = u64::try_from(depth).ok().filter(|d| (1..1 << 24).contains(d));
    let depth = depth.ok_or("the depth is not positive")?;
    let x = c.plain_input(node, 0)?;
    let mut shape = c.shape(x);
    let axis = shapes::axis(node.int("axis", -1)?, shape.len() + 1)? as usize;
    let x = match c.elem(x).storage() {
        d if d.is_float() => c.emit(nn::Cast {}, &[x], TensorType::plain(&shape, DType::I64))?,
        _ => x,
    };
    let dtype = c.elem(x).storage();
    let x = c.nonnegative(node, x, &[depth as i64])?;
    let all: Vec<i64> = (0..depth as i64).collect();
    let mut wide = vec![1; shape.len() + 1];
    wide[axis] = depth;
    let all = c.integers(node, &all, &wide, dtype)?;
    shape.insert(axis, 1);
    let x = c.reshape(x, &shape)?;
    let is_here = c.compare(CompareFn::Equal, x, all)?;
    let values = c.plain_input(node, 2)?;
    if c.shape(values) != [2] {
        return Err("the values are not two".into());
    }
    let one = |c: &mut Converter, at: u64| {
        let v = c.emit_like(nn::Slice { start: vec![at], step: vec![1] }, values, &[1])?;
        c.reshape(v, &[])
    };
    let (off, on) = (one(c, 0)?, one(c, 1)?);
    let y = c.select(is_here, on, off)?;
    c.done(node, y)
}

fn cum_sum(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.plain_input(node, 0)?;
    let shape = c.shape(x);
    let axis = c.ints(node, 1)?.and_then(|a| a.first().copied()).ok_or("the axis is missing")?;
    let axis = shapes::axis(axis, shape.len())?;
    let (exclusive, reverse) = (node.flag("exclusive", false)?, node.flag("reverse", false)?);
    let y = c.emit_like(nn::CumSum { axis, exclusive, reverse }, x, &shape)?;
    c.done(node, y)
}

fn top_k(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let own = c.shape(x);
    let axis = shapes::axis(node.int("axis", -1)?, own.len())? as usize;
    let k = match node.opset < 10 {
        true => node.int("k", -1)?,
        false => c.ints(node, 1)?.and_then(|k| k.first().copied()).ok_or("k is missing")?,
    };
    let k = u64::try_from(k).ok().filter(|&k| k <= own[axis]);
    let k = k.ok_or_else(|| format!("more elements are asked for than axis {axis} has"))?;
    let mut perm: Vec<u32> = (0..own.len() as u32).collect();
    perm.swap(axis, own.len() - 1);
    let is_last = axis + 1 == own.len();
    let x = if is_last { x } else { c.transpose(x, &perm)? };
    let mut shape = c.shape(x);
    shape[own.len() - 1] = k;
    let types = vec![TensorType::plain(&shape, DType::F32), TensorType::plain(&shape, DType::I64)];
    let results = c.emit_all(nn::TopK { min: !node.flag("largest", true)? }, &[x], types)?;
    for (j, v) in results.into_iter().enumerate().filter(|(j, _)| node.has_output(*j)) {
        let v = if is_last { v } else { c.transpose(v, &perm)? };
        c.bind(node, j, Bound::Value(v))?;
    }
    Ok(())
}

/// Rows of the elements in order by their numbers, which are computed from indices.
fn gather_nd(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.plain_input(node, 0)?;
    let indices = c.plain_input(node, 1)?;
    let (own, at) = (c.shape(x), c.shape(indices));
    let batch = usize::try_from(node.int("batch_dims", 0)?).map_err(|_| "negative batch_dims")?;
    let depth = at.last().copied().unwrap_or(0) as usize;
    let fits = batch < at.len() && depth > 0 && batch + depth <= own.len();
    if !fits || own[..batch] != at[..batch] || own.contains(&0) {
        return Err(format!("indices of shape {at:?} for {own:?}, {batch} dimensions together"));
    }
    let dtype = c.elem(indices).storage();
    let used = &own[batch..batch + depth];
    let extents: Vec<i64> = used.iter().map(|&n| n as i64).collect();
    let indices = c.nonnegative(node, indices, &extents)?;
    // The number of the row: Σ index·stride, and the batch's own start.
    let mut row: Option<Value> = None;
    for d in 0..depth {
        let mut start = vec![0; at.len()];
        start[at.len() - 1] = d as u64;
        let mut part = at.clone();
        part[at.len() - 1] = 1;
        let slice = nn::Slice { start, step: vec![1; at.len()] };
        let index = c.emit_like(slice, indices, &part)?;
        let stride: u64 = used[d + 1..].iter().product();
        let stride = c.integers(node, &[stride as i64], &[], dtype)?;
        let term = c.int_binary(IntFn::Mul, index, stride)?;
        row = Some(match row {
            Some(sum) => c.int_binary(IntFn::Add, sum, term)?,
            None => term,
        });
    }
    let mut row = row.ok_or("no indices")?;
    let (batches, rows): (u64, u64) = (own[..batch].iter().product(), used.iter().product());
    if batches > 1 {
        let starts: Vec<i64> = (0..batches).map(|b| (b * rows) as i64).collect();
        let mut wide = vec![1; at.len()];
        wide[..batch].copy_from_slice(&own[..batch]);
        let starts = c.integers(node, &starts, &wide, dtype)?;
        row = c.int_binary(IntFn::Add, row, starts)?;
    }
    let kept = &own[batch + depth..];
    let row = c.reshape(row, &at[..at.len() - 1])?;
    let table = [&[batches * rows], kept].concat();
    let x = c.reshape(x, &table)?;
    let shape = [&at[..at.len() - 1], kept].concat();
    let ty = c.tensor_type(x).with_shape(&shape);
    let y = c.emit(nn::Gather { axis: 0 }, &[x, row], ty)?;
    c.done(node, y)
}

/// Each output's own element along an axis.
fn gather_elements(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.plain_input(node, 0)?;
    let indices = c.plain_input(node, 1)?;
    let (own, at) = (c.shape(x), c.shape(indices));
    let axis = shapes::axis(node.int("axis", 0)?, own.len())? as usize;
    let fits = own.len() == at.len()
        && !own.contains(&0)
        && (0..own.len()).all(|d| d == axis || at[d] <= own[d]);
    if !fits {
        return Err(format!("indices of shape {at:?} for {own:?}"));
    }
    let dtype = c.elem(indices).storage();
    let index = c.nonnegative(node, indices, &[own[axis] as i64])?;
    let stride = |d: usize| own[d + 1..].iter().product::<u64>() as i64;
    let along = c.integers(node, &[stride(axis)], &[], dtype)?;
    let mut number = c.int_binary(IntFn::Mul, index, along)?;
    for d in 0..own.len() {
        if d != axis && at[d] > 1 {
            let starts: Vec<i64> = (0..at[d] as i64).map(|i| i * stride(d)).collect();
            let mut wide = vec![1; own.len()];
            wide[d] = at[d];
            let starts = c.integers(node, &starts, &wide, dtype)?;
            number = c.int_binary(IntFn::Add, number, starts)?;
        }
    }
    let x = c.reshape(x, &[own.iter().product()])?;
    let ty = c.tensor_type(x).with_shape(&at);
    let y = c.emit(nn::Gather { axis: 0 }, &[x, number], ty)?;
    c.done(node, y)
}
