//! Elements by their numbers, and one of two by truth values.

use super::super::{Converter, Node};
use super::{few, product, say};
use crate::shapes;
use crate::tflite::raw::RawOptions;
use qcc_ir::dialect::nn::{self, IntFn};
use qcc_ir::{DType, TensorType, Value};

/// Runs of constant indices up to which slices are written instead of a gather.
const MAX_RUNS: usize = 4;

/// Numbers at equal distances: the first, the distance, how many.
type Run = (u64, i64, u64);

/// Indices as runs, from first to last.
fn runs(all: &[i64]) -> Vec<Run> {
    let (mut out, mut rest) = (Vec::new(), all);
    while let Some(&first) = rest.first() {
        let step = rest.get(1).map_or(0, |second| second - first);
        let equal = rest.windows(2).take_while(|w| step != 0 && w[1] - w[0] == step).count();
        out.push((first as u64, if equal == 0 { 1 } else { step }, equal as u64 + 1));
        rest = &rest[equal + 1..];
    }
    out
}

impl Converter<'_> {
    /// Slices of x along `axis`, by number.
    fn taken(
        &mut self,
        node: &Node,
        (x, axis): (Value, u32),
        indices: Value,
    ) -> Result<Value, String> {
        let (own, at) = (self.shape(x), axis as usize);
        if own[at] == 0 {
            return Err(format!("there is nothing to take from shape {own:?}"));
        }
        if let Some(all) = self.known(indices) {
            let bad = all.to_i64_vec().into_iter().find(|i| !(0..own[at] as i64).contains(i));
            if let Some(bad) = bad {
                return Err(format!("index {bad} of {} slices", own[at]));
            }
            let runs = runs(&all.to_i64_vec());
            if (1..=MAX_RUNS).contains(&runs.len()) {
                return self.sliced(node, (x, axis), indices, &runs);
            }
        }
        let shape = [&own[..at], &self.shape(indices), &own[at + 1..]].concat();
        self.moved(node, nn::Gather { axis }, &[x, indices], &shape)
    }

    /// As `taken`, by slices.
    fn sliced(
        &mut self,
        node: &Node,
        (x, axis): (Value, u32),
        indices: Value,
        runs: &[Run],
    ) -> Result<Value, String> {
        let (own, at) = (self.shape(x), axis as usize);
        let mut shape = own.clone();
        let mut parts = Vec::new();
        for &(first, by, n) in runs {
            let (mut start, mut step) = (vec![0; own.len()], vec![1; own.len()]);
            (start[at], step[at], shape[at]) = (first, by, n);
            parts.push(self.moved(node, nn::Slice { start, step }, &[x], &shape)?);
        }
        shape[at] = runs.iter().map(|r| r.2).sum();
        let y = if parts.len() == 1 { parts[0] } else { self.joined(node, &parts, axis, &shape)? };
        let shape = [&own[..at], &self.shape(indices), &own[at + 1..]].concat();
        if self.shape(y) == shape { Ok(y) } else { self.reshape_to(node, y, &shape) }
    }

    /// `f` of two tensors of integers; the result has the shape of the first.
    fn computed(&mut self, node: &Node, f: IntFn, a: Value, b: Value) -> Result<Value, String> {
        let ty = self.tensor_type(a).clone();
        self.made(node, nn::IntBinary { f }, &[a, b], ty)
    }

    /// Indices that can be computed with: int32 or int64.
    fn indices(&mut self, node: &Node, i: usize) -> Result<(Value, DType), String> {
        let v = self.operand(node, i)?;
        let ty = self.tensor_type(v);
        match ty.storage() {
            d @ (DType::I32 | DType::I64) => Ok((v, d)),
            DType::I16 if ty.quant_type().is_none() => {
                let wide = TensorType::plain(&ty.shape, DType::I32);
                Ok((self.made(node, nn::Cast {}, &[v], wide)?, DType::I32))
            }
            other => Err(format!("indices of {other}; int16, int32 and int64 work")),
        }
    }
}

pub fn gather(c: &mut Converter, node: &Node) -> Result<(), String> {
    let (axis, batch) = match &node.op.options {
        RawOptions::Gather(o) => (o.axis, o.batch_dims),
        _ => (0, 0),
    };
    let x = c.operand(node, 0)?;
    let own = c.shape(x);
    let axis = shapes::axis(axis.into(), own.len())?;
    let (indices, dtype) = c.indices(node, 1)?;
    let picked = c.shape(indices);
    let batch = if batch < 0 { i64::from(batch) + picked.len() as i64 } else { batch.into() };
    let batch = usize::try_from(batch).ok().filter(|&b| b <= picked.len() && b <= axis as usize);
    let batch = batch.ok_or_else(|| format!("batch_dims of {picked:?} before axis {axis}"))?;
    if own[..batch] != picked[..batch] {
        return Err(format!("{own:?} and {picked:?} do not share {batch} dimensions"));
    }
    let y = match batch {
        0 => c.taken(node, (x, axis), indices)?,
        _ => in_batches(c, node, (x, axis as usize), (indices, dtype, batch))?,
    };
    c.bind(node, 0, y)
}

/// y[b…, o…, k…, i…] = x[b…, o…, indices[b…, k…], i…]: rows `[o…, i…]` of a table of all b and
/// all places along the axis.
fn in_batches(
    c: &mut Converter,
    node: &Node,
    (x, axis): (Value, usize),
    (indices, dtype, batch): (Value, DType, usize),
) -> Result<Value, String> {
    let (own, picked) = (c.shape(x), c.shape(indices));
    let [outer, inner] = [product(&own[batch..axis])?, product(&own[axis + 1..])?];
    let (batches, extent) = (few(product(&own[..batch])?)?, own[axis]);
    let picks = product(&picked[batch..])?;
    let table = c.reshape_to(node, x, &[batches, outer, extent, inner])?;
    let table = c.transpose_by(node, table, &[0, 2, 1, 3])?;
    let table = c.reshape_to(node, table, &[batches * extent, outer * inner])?;
    let flat = c.reshape_to(node, indices, &[batches, picks])?;
    let first: Vec<i64> = (0..batches).map(|b| (b * extent) as i64).collect();
    let first = c.integers(node, &first, &[batches, 1], dtype);
    let rows = c.computed(node, IntFn::Add, flat, first)?;
    let y = c.taken(node, (table, 0), rows)?;
    let y = c.reshape_to(node, y, &[batches, picks, outer, inner])?;
    let y = c.transpose_by(node, y, &[0, 2, 1, 3])?;
    let shape = [&own[..axis], &picked[batch..], &own[axis + 1..]].concat();
    c.reshape_to(node, y, &shape)
}

pub fn gather_nd(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let own = c.shape(x);
    let (indices, dtype) = c.indices(node, 1)?;
    let picked = c.shape(indices);
    let Some((&depth, outer)) = picked.split_last() else {
        return Err("indices without a dimension".into());
    };
    let depth = usize::try_from(depth).ok().filter(|&k| k <= own.len());
    let depth = depth.ok_or_else(|| format!("indices {picked:?} into shape {own:?}"))?;
    if let Some(all) = c.known(indices).filter(|_| depth > 0) {
        let bad = |at: &[i64]| at.iter().zip(&own).any(|(i, &n)| !(0..n as i64).contains(i));
        if let Some(at) = all.to_i64_vec().chunks(depth).find(|at| bad(at)) {
            return Err(format!("element {at:?} of shape {own:?}"));
        }
    }
    let (rows, inner) = (product(&own[..depth])?, product(&own[depth..])?);
    let table = c.reshape_to(node, x, &[rows, inner])?;
    let flat = flattened(c, node, (indices, dtype), &own[..depth])?;
    let y = c.taken(node, (table, 0), flat)?;
    let y = c.reshape_to(node, y, &[outer, &own[depth..]].concat())?;
    c.bind(node, 0, y)
}

/// The number of the element of shape `own` that each row of indices `[…, k]` names.
fn flattened(
    c: &mut Converter,
    node: &Node,
    (indices, dtype): (Value, DType),
    own: &[u64],
) -> Result<Value, String> {
    let picked = c.shape(indices);
    let n = product(&picked[..picked.len() - 1])?;
    if own.is_empty() {
        return Ok(c.integers(node, &vec![0; few(n)? as usize], &[n], dtype));
    }
    let mut sum = None;
    let table = c.reshape_to(node, indices, &[n, own.len() as u64])?;
    for d in 0..own.len() {
        let kind = nn::Slice { start: vec![0, d as u64], step: vec![1, 1] };
        let part = c.moved(node, kind, &[table], &[n, 1])?;
        let part = c.reshape_to(node, part, &[n])?;
        let stride = product(&own[d + 1..])?;
        let stride = c.integers(node, &[stride as i64], &[1], dtype);
        let part = c.computed(node, IntFn::Mul, part, stride)?;
        sum = match sum {
            None => Some(part),
            Some(sum) => Some(c.computed(node, IntFn::Add, sum, part)?),
        };
    }
    sum.ok_or_else(|| "indices of nothing".to_string())
}

/// SELECT takes a condition of the tensors' shape, of one element, or one per slice of their first
/// dimension; SELECT_V2 broadcasts.
pub fn select(c: &mut Converter, node: &Node) -> Result<(), String> {
    let [mut p, a, b] = [c.operand(node, 0)?, c.operand(node, 1)?, c.operand(node, 2)?];
    let own = c.shape(p);
    let all = shapes::broadcast(&c.shape(a), &c.shape(b))?;
    if node.op.name() == "SELECT" && own.len() == 1 && own.first() == all.first() {
        let per_slice: Vec<u64> = (0..all.len()).map(|d| if d == 0 { own[0] } else { 1 }).collect();
        p = c.reshape_to(node, p, &per_slice)?;
    }
    let shape = shapes::broadcast(&c.shape(p), &all)?;
    let (a, b) = (c.as_output(node, 0, a)?, c.as_output(node, 0, b)?);
    let [x, y] = [a, b].map(|v| c.tensor_type(v).elem.clone());
    if x != y {
        return Err(format!("it selects from {} and {}", say(&x), say(&y)));
    }
    if c.tensor_type(p).storage() != DType::Bool {
        return Err("its condition is not bool".into());
    }
    let ty = c.tensor_type(a).with_shape(&shape);
    let y = c.made(node, nn::Select {}, &[p, a, b], ty)?;
    c.bind(node, 0, y)
}

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn indices_are_runs() {
        assert_eq!(runs(&[2, 1, 0]), [(2, -1, 3)]);
        assert_eq!(runs(&[0, 2, 4, 5, 9]), [(0, 2, 3), (5, 4, 2)]);
        assert_eq!(runs(&[7, 7, 3]), [(7, 1, 1), (7, -4, 2)]);
        assert_eq!(runs(&[]), []);
    }
}
