//! Scatters to places that are known at import: each output then comes from a known element of the
//! data or of the updates, and is gathered from both.

use super::super::convert::{Converter, Known};
use super::super::node::Node;
use super::Table;
use crate::shapes;
use qcc_ir::dialect::nn::{self, BinaryFn, IntFn};
use qcc_ir::dialect::quant::Act;
use qcc_ir::{DType, Elem, Value};
use qcc_runtime::Tensor;

pub const OPS: Table = &[("Scatter", elements), ("ScatterElements", elements), ("ScatterND", rows)];

/// Updates of one place that are added, multiplied and so on.
const MAX_ROUNDS: usize = 256;

/// Where updates go.
struct Plan {
    /// Places in the data, and elements of each.
    places: u64,
    inner: u64,
    /// The place of each update.
    targets: Vec<u64>,
}

fn indices(c: &mut Converter, node: &Node) -> Result<Known, String> {
    let known = c.known(node, 1)?.filter(|k| k.tensor.dtype().is_int());
    known.ok_or_else(|| "input 1 ('indices') must be known when the model is compiled".into())
}

/// The index from the start of `n` elements.
fn from_start(index: i64, n: u64) -> Result<u64, String> {
    let at = if index < 0 { index.saturating_add(n as i64) } else { index };
    let at = u64::try_from(at).ok().filter(|&at| at < n);
    at.ok_or_else(|| format!("index {index} of {n} elements"))
}

/// Whole rows, by the indices of their first dimensions.
fn rows(c: &mut Converter, node: &Node) -> Result<(), String> {
    let own = c.shape_of(node, 0)?;
    let known = indices(c, node)?;
    let at = known.shape();
    let depth = at.last().copied().unwrap_or(0) as usize;
    if depth == 0 || depth > own.len() {
        return Err(format!("indices of shape {at:?} for {own:?}"));
    }
    let place = |index: &[i64]| {
        index.iter().zip(&own).try_fold(0, |place, (&i, &n)| Ok(place * n + from_start(i, n)?))
    };
    let all = known.tensor.to_i64_vec();
    let targets = all.chunks(depth).map(place).collect::<Result<Vec<u64>, String>>()?;
    let (places, inner) = (own[..depth].iter().product(), own[depth..].iter().product());
    scatter(c, node, &Plan { places, inner, targets })
}

/// Single elements, each along an axis.
fn elements(c: &mut Converter, node: &Node) -> Result<(), String> {
    let own = c.shape_of(node, 0)?;
    let known = indices(c, node)?;
    let at = known.shape();
    let axis = shapes::axis(node.int("axis", 0)?, own.len())? as usize;
    let fits = own.len() == at.len() && (0..own.len()).all(|d| d == axis || at[d] <= own[d]);
    if !fits {
        return Err(format!("indices of shape {at:?} for {own:?}"));
    }
    let mut targets = Vec::new();
    for (i, index) in known.tensor.to_i64_vec().into_iter().enumerate() {
        let (mut rest, mut place, mut stride) = (i as u64, 0, 1);
        for d in (0..own.len()).rev() {
            let here = if d == axis { from_start(index, own[d])? } else { rest % at[d] };
            place += here * stride;
            (rest, stride) = (rest / at[d], stride * own[d]);
        }
        targets.push(place);
    }
    scatter(c, node, &Plan { places: own.iter().product(), inner: 1, targets })
}

fn scatter(c: &mut Converter, node: &Node, plan: &Plan) -> Result<(), String> {
    let shape = c.shape_of(node, 0)?;
    let (x, updates) = (c.plain_input(node, 0)?, c.plain_input(node, 2)?);
    let n: u64 = c.shape(updates).iter().product();
    if n != plan.targets.len() as u64 * plan.inner || c.elem(x) != c.elem(updates) {
        return Err(format!("{n} updates for {} places", plan.targets.len()));
    }
    let x = c.reshape(x, &[plan.places, plan.inner])?;
    let updates = c.reshape(updates, &[plan.targets.len() as u64, plan.inner])?;
    let y = match node.string("reduction", "none")?.as_str() {
        "none" => {
            let mut from: Vec<i64> = (0..plan.places as i64).collect();
            for (k, &place) in plan.targets.iter().enumerate() {
                from[place as usize] = plan.places as i64 + k as i64;
            }
            gathered(c, node, [x, updates], &from)?
        }
        reduction => reduced(c, node, plan, (x, updates, reduction))?,
    };
    let y = c.reshape(y, &shape)?;
    c.done(node, y)
}

/// Rows `from` of two tables, one after the other.
fn gathered(
    c: &mut Converter,
    node: &Node,
    tables: [Value; 2],
    from: &[i64],
) -> Result<Value, String> {
    let [a, b] = tables.map(|t| c.shape(t));
    let ty = c.tensor_type(tables[0]).with_shape(&[a[0] + b[0], a[1]]);
    let all = c.emit(nn::Concat { axis: 0 }, &tables, ty)?;
    let from = c.integers(node, from, &[from.len() as u64], DType::I64)?;
    let rows = c.shape(from)[0];
    let ty = c.tensor_type(all).with_shape(&[rows, a[1]]);
    c.emit(nn::Gather { axis: 0 }, &[all, from], ty)
}

/// In each round every place takes at most one update, and the others one that changes nothing.
fn reduced(
    c: &mut Converter,
    node: &Node,
    plan: &Plan,
    (x, updates, reduction): (Value, Value, &str),
) -> Result<Value, String> {
    let dtype = c.elem(x).storage();
    let (low, high) = match dtype.is_float() {
        true => (f64::NEG_INFINITY, f64::INFINITY),
        false => (dtype.min_max().0 as f64, dtype.min_max().1 as f64),
    };
    let (real, whole, neutral) = match reduction {
        "add" => (nn::Add { act: Act::None }.into(), IntFn::Add, 0.0),
        "mul" => (nn::Mul { act: Act::None }.into(), IntFn::Mul, 1.0),
        "max" => (nn::Binary { f: BinaryFn::Max }.into(), IntFn::Max, low),
        "min" => (nn::Binary { f: BinaryFn::Min }.into(), IntFn::Min, high),
        other => return Err(format!("reduction '{other}' is not known")),
    };
    let real: qcc_ir::OpKind = real;
    let mut row = Tensor::try_zeros(dtype, [1, plan.inner as usize]).map_err(|e| e.to_string())?;
    (0..row.len()).for_each(|i| row.set_f64(i, neutral));
    let row = c.constant(&format!("{}.neutral", node.name), &row, Elem::Plain(dtype))?;
    let mut left: Vec<usize> = (0..plan.targets.len()).collect();
    let mut y = x;
    for _ in 0..MAX_ROUNDS {
        if left.is_empty() {
            return Ok(y);
        }
        let mut from = vec![0; plan.places as usize];
        left.retain(|&k| {
            let place = plan.targets[k] as usize;
            let is_taken = from[place] != 0;
            if !is_taken {
                from[place] = k as i64 + 1;
            }
            is_taken
        });
        let part = gathered(c, node, [row, updates], &from)?;
        y = match dtype {
            DType::F32 => c.binary(real.clone(), y, part)?,
            _ => c.int_binary(whole, y, part)?,
        };
    }
    Err(format!("a place takes more than {MAX_ROUNDS} updates"))
}
