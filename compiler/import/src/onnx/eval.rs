//! Arithmetic on numbers known at import: what shape computations are made of.
//!
//! Elementwise operators, casts and generators on every element type; float32 is computed with one
//! rounding per operation, integers wrap as their type does. Operators that move elements and all
//! other float operators are evaluated by the interpreter.

use super::convert::Known;
use super::data::OnnxType;
use super::node::Node;
use crate::shapes;
use qcc_ir::DType;
use qcc_runtime::Tensor;

/// Elements that a generator may make.
const MAX_ELEMENTS: u64 = 1 << 24;

/// The results of a node on known inputs; `None` if this operator is not evaluated here.
///
/// # Errors
/// The inputs do not fit the operator.
pub fn eval(node: &Node, xs: &[Option<Known>]) -> Result<Option<Vec<Tensor>>, String> {
    let x = |i: usize| xs.get(i).and_then(Option::as_ref).map(|k| &*k.tensor);
    let need = |i: usize| x(i).ok_or_else(|| format!("input {i} is missing"));
    let result = match &*node.op {
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "And" | "Or" | "Xor" | "Equal" | "Less"
        | "LessOrEqual" | "Greater" | "GreaterOrEqual" => binary(node, need(0)?, need(1)?)?,
        "Min" | "Max" => {
            let mut all = need(0)?.clone();
            for i in 1..xs.len() {
                all = binary(node, &all, need(i)?)?;
            }
            all
        }
        "Neg" | "Abs" | "Sign" | "Not" if !need(0)?.dtype().is_float() => {
            integer_unary(&node.op, need(0)?)?
        }
        "Where" => select(need(0)?, need(1)?, need(2)?)?,
        "Cast" => {
            let to = OnnxType(node.int("to", 0)? as i32);
            if to.narrow_range().is_some() {
                return Ok(None);
            }
            cast(need(0)?, constant_dtype(to)?)?
        }
        "CastLike" if xs.get(1).is_some_and(|k| k.as_ref().is_some_and(|k| k.range.is_some())) => {
            return Ok(None);
        }
        "CastLike" => cast(need(0)?, need(1)?.dtype())?,
        "Range" => range(need(0)?, need(1)?, need(2)?)?,
        "NonZero" => non_zero(need(0)?)?,
        "ReduceSum" | "ReduceProd" | "ReduceMin" | "ReduceMax" if need(0)?.dtype().is_int() => {
            return reduce(node, need(0)?, x(1)).map(|t| t.map(|t| vec![t]));
        }
        _ => return Ok(None),
    };
    Ok(Some(vec![result]))
}

/// The type that numbers cast to `to` have; half floats are not a type of qcc.
pub fn constant_dtype(to: OnnxType) -> Result<DType, String> {
    to.dtype().ok_or_else(|| format!("element type {to} is not supported"))
}

fn extents(shape: &[u64]) -> Result<Vec<usize>, String> {
    shapes::check_size(shape)?;
    match shape.iter().product::<u64>() <= MAX_ELEMENTS {
        true => Ok(shape.iter().map(|&d| d as usize).collect()),
        false => Err(format!("shape {shape:?} is too large for a value computed at import")),
    }
}

fn zeros(dtype: DType, shape: &[u64]) -> Result<Tensor, String> {
    Tensor::try_zeros(dtype, extents(shape)?).map_err(|e| e.to_string())
}

fn shape(t: &Tensor) -> Vec<u64> {
    t.shape().iter().map(|&d| d as u64).collect()
}

/// For each element of `to`, which element of a tensor of shape `from` it reads.
fn broadcast_indices(from: &[u64], to: &[u64]) -> Vec<usize> {
    let mut indices = vec![0usize];
    let mut stride = 1;
    for d in (0..to.len()).rev() {
        let own = (d + from.len()).checked_sub(to.len()).map_or(1, |d| from[d]) as usize;
        let step = if own == 1 { 0 } else { stride };
        stride *= own;
        // The dimensions done so far repeat inside this one.
        let outer = (0..to[d] as usize).flat_map(|i| {
            let base = i * step;
            indices.iter().map(move |&k| base + k)
        });
        indices = outer.collect();
    }
    indices
}

fn binary(node: &Node, a: &Tensor, b: &Tensor) -> Result<Tensor, String> {
    if a.dtype() != b.dtype() {
        return Err(format!("inputs of {} and {}", a.dtype(), b.dtype()));
    }
    let out = shapes::broadcast(&shape(a), &shape(b))?;
    let arithmetic = matches!(&*node.op, "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Min" | "Max");
    let mut y = zeros(if arithmetic { a.dtype() } else { DType::Bool }, &out)?;
    let (ia, ib) = (broadcast_indices(&shape(a), &out), broadcast_indices(&shape(b), &out));
    let fmod = &*node.op == "Mod" && node.flag("fmod", false)?;
    for (i, (&p, &q)) in ia.iter().zip(&ib).enumerate() {
        if a.dtype().is_float() {
            let v = float(&node.op, a.get_f64(p), b.get_f64(q), fmod);
            y.set_f64(i, v.ok_or("it is not defined on floats")?);
        } else {
            let v = integer(&node.op, a.get_i64(p), b.get_i64(q), fmod);
            y.set_i64(i, v.ok_or("an integer is divided by 0")?);
        }
    }
    Ok(y)
}

/// In float64; rounded to float32 this is float32 arithmetic, for each of these operations.
fn float(op: &str, a: f64, b: f64, fmod: bool) -> Option<f64> {
    let truth = |v: bool| f64::from(u8::from(v));
    Some(match op {
        "Add" => a + b,
        "Sub" => a - b,
        "Mul" => a * b,
        "Div" => a / b,
        "Mod" if fmod => a % b,
        // The sign of the divisor.
        "Mod" => match a % b {
            r if r != 0.0 && (r < 0.0) != (b < 0.0) => r + b,
            r => r,
        },
        "Min" if a.is_nan() || a < b => a,
        "Max" if a.is_nan() || a > b => a,
        "Min" | "Max" => b,
        "Equal" => truth(a == b),
        "Less" => truth(a < b),
        "LessOrEqual" => truth(a <= b),
        "Greater" => truth(a > b),
        "GreaterOrEqual" => truth(a >= b),
        _ => return None,
    })
}

/// `None` for a division by zero.
fn integer(op: &str, a: i64, b: i64, fmod: bool) -> Option<i64> {
    Some(match op {
        "Add" => a.wrapping_add(b),
        "Sub" => a.wrapping_sub(b),
        "Mul" => a.wrapping_mul(b),
        "Div" | "Mod" if b == 0 => return None,
        "Div" => a.wrapping_div(b),
        "Mod" if fmod => a.wrapping_rem(b),
        // The sign of the divisor.
        "Mod" => a.wrapping_rem(b).wrapping_add(b).wrapping_rem(b),
        "Min" => a.min(b),
        "Max" => a.max(b),
        "And" => i64::from(a != 0 && b != 0),
        "Or" => i64::from(a != 0 || b != 0),
        "Xor" => i64::from((a != 0) != (b != 0)),
        "Equal" => i64::from(a == b),
        "Less" => i64::from(a < b),
        "LessOrEqual" => i64::from(a <= b),
        "Greater" => i64::from(a > b),
        _ => i64::from(a >= b),
    })
}

fn integer_unary(op: &str, x: &Tensor) -> Result<Tensor, String> {
    let mut y = zeros(x.dtype(), &shape(x))?;
    for i in 0..x.len() {
        let v = x.get_i64(i);
        y.set_i64(
            i,
            match op {
                "Neg" => v.wrapping_neg(),
                "Abs" => v.wrapping_abs(),
                "Sign" => v.signum(),
                _ => i64::from(v == 0),
            },
        );
    }
    Ok(y)
}

fn copy(from: &Tensor, i: usize, to: &mut Tensor, k: usize) {
    if from.dtype().is_float() {
        to.set_f64(k, from.get_f64(i));
    } else {
        to.set_i64(k, from.get_i64(i));
    }
}

fn select(cond: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor, String> {
    if a.dtype() != b.dtype() {
        return Err(format!("inputs of {} and {}", a.dtype(), b.dtype()));
    }
    let out = shapes::broadcast(&shapes::broadcast(&shape(cond), &shape(a))?, &shape(b))?;
    let mut y = zeros(a.dtype(), &out)?;
    let [ic, ia, ib] = [cond, a, b].map(|t| broadcast_indices(&shape(t), &out));
    for i in 0..y.len() {
        match cond.get_i64(ic[i]) != 0 {
            true => copy(a, ia[i], &mut y, i),
            false => copy(b, ib[i], &mut y, i),
        }
    }
    Ok(y)
}

/// Floats to integers toward zero, saturating; integers wrap; to boolean: is not zero.
fn cast(x: &Tensor, to: DType) -> Result<Tensor, String> {
    let mut y = zeros(to, &shape(x))?;
    for i in 0..x.len() {
        match (x.dtype().is_float(), to) {
            (true, DType::Bool) => y.set_i64(i, i64::from(x.get_f64(i) != 0.0)),
            (false, DType::Bool) => y.set_i64(i, i64::from(x.get_i64(i) != 0)),
            (true, _) if to.is_int() => {
                let (low, high) = to.min_max();
                y.set_i64(i, (x.get_f64(i) as i64).clamp(low, high));
            }
            (false, _) if to.is_float() => y.set_f64(i, x.get_i64(i) as f64),
            _ => copy(x, i, &mut y, i),
        }
    }
    Ok(y)
}

fn scalar(t: &Tensor) -> Result<f64, String> {
    match t.len() {
        1 => Ok(t.get_f64(0)),
        n => Err(format!("{n} elements where one number is expected")),
    }
}

fn range(start: &Tensor, limit: &Tensor, delta: &Tensor) -> Result<Tensor, String> {
    let [a, b, step] = [scalar(start)?, scalar(limit)?, scalar(delta)?];
    let n = ((b - a) / step).ceil().max(0.0);
    if !n.is_finite() || n > MAX_ELEMENTS as f64 {
        return Err(format!("a range from {a} to {b} by {step}"));
    }
    let mut y = zeros(start.dtype(), &[n as u64])?;
    for i in 0..y.len() {
        match start.dtype().is_float() {
            true => y.set_f64(i, a + i as f64 * step),
            false => y.set_i64(
                i,
                start.get_i64(0).wrapping_add((i as i64).wrapping_mul(delta.get_i64(0))),
            ),
        }
    }
    Ok(y)
}

fn non_zero(x: &Tensor) -> Result<Tensor, String> {
    let found: Vec<usize> = (0..x.len()).filter(|&i| x.get_f64(i) != 0.0).collect();
    let mut y = zeros(DType::I64, &[x.shape().len() as u64, found.len() as u64])?;
    let mut stride = 1;
    for d in (0..x.shape().len()).rev() {
        for (k, &i) in found.iter().enumerate() {
            y.set_i64(d * found.len() + k, (i / stride % x.shape()[d]) as i64);
        }
        stride *= x.shape()[d];
    }
    Ok(y)
}

/// Integers over all axes, or over given ones; `None` where that is left to others.
fn reduce(node: &Node, x: &Tensor, axes: Option<&Tensor>) -> Result<Option<Tensor>, String> {
    let axes = match (axes, node.ints("axes")?) {
        (Some(t), _) => t.to_i64_vec(),
        (None, Some(all)) => all.to_vec(),
        (None, None) => vec![],
    };
    let rank = x.shape().len();
    let axes: Vec<u32> = axes.iter().map(|&a| shapes::axis(a, rank)).collect::<Result<_, _>>()?;
    if axes.is_empty() && node.flag("noop_with_empty_axes", false)? {
        return Ok(Some(x.clone()));
    }
    let reduced = |d: usize| axes.is_empty() || axes.contains(&(d as u32));
    let own = shape(x);
    let kept: Vec<u64> = (0..rank).map(|d| if reduced(d) { 1 } else { own[d] }).collect();
    let start = match &*node.op {
        "ReduceSum" => 0,
        "ReduceProd" => 1,
        "ReduceMin" => x.dtype().min_max().1,
        _ => x.dtype().min_max().0,
    };
    let mut all = vec![start; kept.iter().product::<u64>() as usize];
    for (i, to) in broadcast_indices(&kept, &own).into_iter().enumerate() {
        let v = x.get_i64(i);
        all[to] = match &*node.op {
            "ReduceSum" => all[to].wrapping_add(v),
            "ReduceProd" => all[to].wrapping_mul(v),
            "ReduceMin" => all[to].min(v),
            _ => all[to].max(v),
        };
    }
    let keep = node.flag("keepdims", true)?;
    let left: Vec<u64> = match keep {
        true => kept,
        false => (0..rank).filter(|&d| !reduced(d)).map(|d| own[d]).collect(),
    };
    let mut y = zeros(x.dtype(), &left)?;
    all.into_iter().enumerate().for_each(|(i, v)| y.set_i64(i, v));
    Ok(Some(y))
}
