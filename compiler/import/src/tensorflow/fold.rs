//! Tensors known at import: moving their elements, and arithmetic on the few numbers that say
//! shapes.

use crate::shapes;
use qcc_ir::DType;
use qcc_runtime::Tensor;

/// Elements that arithmetic at import may have if they are floats; more is left to passes.
pub const SMALL: usize = 64;

/// A tensor of shape `shape` whose element i is element `start + Σ i[d]·strides[d]` of `x`.
///
/// # Errors
/// The tensor is too large, or an element lies outside `x`.
pub fn strided(x: &Tensor, start: i64, strides: &[i64], shape: &[u64]) -> Result<Tensor, String> {
    let extents = extents(shape)?;
    let size = x.dtype().size();
    let mut out = Vec::with_capacity(extents.iter().product::<usize>() * size);
    let mut at = vec![0usize; extents.len()];
    let mut from = start;
    for _ in 0..extents.iter().product::<usize>() {
        let first = usize::try_from(from).ok().and_then(|f| f.checked_mul(size));
        let element = first.and_then(|f| x.bytes().get(f..f + size));
        out.extend_from_slice(element.ok_or("an element outside the tensor")?);
        for d in (0..extents.len()).rev() {
            at[d] += 1;
            from += strides[d];
            if at[d] < extents[d] {
                break;
            }
            from -= strides[d] * extents[d] as i64;
            at[d] = 0;
        }
    }
    Tensor::from_bytes(x.dtype(), extents, out).map_err(|e| e.to_string())
}

/// Steps between neighbours of a dense tensor.
pub fn dense(shape: &[u64]) -> Vec<i64> {
    let mut out = vec![1i64; shape.len()];
    for d in (1..shape.len()).rev() {
        out[d - 1] = out[d] * shape[d].max(1) as i64;
    }
    out
}

/// Extents as the machine counts.
pub fn extents(shape: &[u64]) -> Result<Vec<usize>, String> {
    shapes::check_size(shape)?;
    Ok(shape.iter().map(|&d| d as usize).collect())
}

/// The shape of a tensor.
pub fn shape(t: &Tensor) -> Vec<u64> {
    t.shape().iter().map(|&d| d as u64).collect()
}

/// Tensors side by side along `axis`.
///
/// # Errors
/// They differ in type, or the result is too large.
pub fn concat(xs: &[&Tensor], axis: usize, to: &[u64]) -> Result<Tensor, String> {
    let inner =
        |t: &Tensor| -> usize { t.shape()[axis..].iter().product::<usize>() * t.dtype().size() };
    let dtype = xs.first().ok_or("no inputs")?.dtype();
    if xs.iter().any(|x| x.dtype() != dtype) {
        return Err("inputs of different element types".into());
    }
    let extents = extents(to)?;
    let mut out = Vec::new();
    for row in 0..extents[..axis].iter().product() {
        for x in xs {
            let n = inner(x);
            out.extend_from_slice(&x.bytes()[row * n..][..n]);
        }
    }
    Tensor::from_bytes(dtype, extents, out).map_err(|e| e.to_string())
}

/// A tensor of another element type: to integer toward zero, to boolean is not zero.
///
/// # Errors
/// The tensor is too large.
pub fn cast(x: &Tensor, to: DType) -> Result<Tensor, String> {
    let mut y = Tensor::try_zeros(to, x.shape()).map_err(|e| e.to_string())?;
    for i in 0..x.len() {
        match (x.dtype().is_float(), to) {
            (_, DType::Bool) => y.set_i64(i, i64::from(x.get_f64(i) != 0.0)),
            (true, to) if to.is_int() => y.set_i64(i, x.get_f64(i) as i64),
            (true, _) => y.set_f64(i, x.get_f64(i)),
            (false, to) if to.is_float() => y.set_f64(i, x.get_i64(i) as f64),
            (false, _) => y.set_i64(i, x.get_i64(i)),
        }
    }
    Ok(y)
}

/// True where arithmetic is done at import: on integers, and on a few floats.
pub fn is_small(ts: &[&Tensor]) -> bool {
    let few = |t: &&Tensor| !t.dtype().is_float() || t.len() <= SMALL;
    ts.iter().all(few) && ts.iter().all(|t| t.len() <= 1 << 16)
}

/// An elementwise operator of two inputs on known numbers, with numpy's broadcasting; `None` if
/// there is no such operator here.
///
/// # Errors
/// Shapes or types do not fit.
pub fn binary(op: &str, a: &Tensor, b: &Tensor) -> Result<Option<Tensor>, String> {
    if a.dtype() != b.dtype() {
        return Err(format!("inputs of {} and {}", a.dtype(), b.dtype()));
    }
    let to = shapes::broadcast(&shape(a), &shape(b))?;
    let strides = |t: &Tensor| broadcast_strides(&shape(t), &to);
    let (x, y) = (strided(a, 0, &strides(a), &to)?, strided(b, 0, &strides(b), &to)?);
    let mut out = x.clone();
    for i in 0..out.len() {
        if a.dtype().is_float() {
            let Some(v) = float(op, x.get_f64(i) as f32, y.get_f64(i) as f32) else {
                return Ok(None);
            };
            out.set_f64(i, v.into());
        } else {
            let Some(v) = integer(op, x.get_i64(i), y.get_i64(i))? else { return Ok(None) };
            out.set_i64(i, v);
        }
    }
    Ok(Some(out))
}

/// Steps through a tensor of shape `from` as it is repeated to `to`.
pub fn broadcast_strides(from: &[u64], to: &[u64]) -> Vec<i64> {
    let own = dense(from);
    let lead = to.len().saturating_sub(from.len());
    let step = |d: usize| if from[d] == 1 { 0 } else { own[d] };
    (0..to.len()).map(|d| d.checked_sub(lead).map_or(0, step)).collect()
}

fn float(op: &str, a: f32, b: f32) -> Option<f32> {
    Some(match op {
        "Add" | "AddV2" => a + b,
        "Sub" => a - b,
        "Mul" => a * b,
        "RealDiv" | "Div" => a / b,
        "Maximum" => a.max(b),
        "Minimum" => a.min(b),
        "FloorDiv" => (a / b).floor(),
        _ => return None,
    })
}

fn integer(op: &str, a: i64, b: i64) -> Result<Option<i64>, String> {
    let divided = |q: Option<i64>| q.ok_or_else(|| format!("{a} divided by {b}"));
    Ok(Some(match op {
        "Add" | "AddV2" => a.wrapping_add(b),
        "Sub" => a.wrapping_sub(b),
        "Mul" => a.wrapping_mul(b),
        "Maximum" => a.max(b),
        "Minimum" => a.min(b),
        "Div" | "TruncateDiv" | "RealDiv" => divided(a.checked_div(b))?,
        "FloorDiv" => {
            let q = divided(a.checked_div(b))?;
            q - i64::from(q * b != a && (a < 0) != (b < 0))
        }
        "FloorMod" => {
            let r = divided(a.checked_rem(b))?;
            if r != 0 && (r < 0) != (b < 0) { r + b } else { r }
        }
        _ => return Ok(None),
    }))
}

/// A reduction of known integers over `axes`; `None` for floats.
///
/// # Errors
/// The result is too large.
pub fn reduce(op: &str, x: &Tensor, axes: &[u32], to: &[u64]) -> Result<Option<Tensor>, String> {
    if x.dtype().is_float() || x.len() > 1 << 16 {
        return Ok(None);
    }
    let from = shape(x);
    let mut sums: Vec<Option<i64>> = vec![None; extents(to)?.iter().product()];
    let kept: Vec<usize> = (0..from.len()).filter(|d| !axes.contains(&(*d as u32))).collect();
    let strides = dense(&from);
    for i in 0..x.len() {
        let place = kept
            .iter()
            .fold(0, |at, &d| at * from[d] as usize + i / strides[d] as usize % from[d] as usize);
        let v = x.get_i64(i);
        sums[place] = Some(match (sums[place], op) {
            (None, _) => v,
            (Some(s), "Sum") => s.wrapping_add(v),
            (Some(s), "Prod") => s.wrapping_mul(v),
            (Some(s), "Max") => s.max(v),
            (Some(s), "Min") => s.min(v),
            _ => return Ok(None),
        });
    }
    let empty = i64::from(op == "Prod");
    let mut out = Tensor::try_zeros(x.dtype(), extents(to)?).map_err(|e| e.to_string())?;
    for (i, s) in sums.into_iter().enumerate() {
        out.set_i64(i, s.unwrap_or(empty));
    }
    Ok(Some(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(v: &[i64], shape: &[usize]) -> Tensor {
        Tensor::from_slice(v, shape).unwrap()
    }

    #[test]
    fn strided_reads_transposes_and_reversals() {
        let x = ints(&[1, 2, 3, 4, 5, 6], &[2, 3]);
        assert_eq!(strided(&x, 0, &[1, 3], &[3, 2]).unwrap().to_i64_vec(), [1, 4, 2, 5, 3, 6]);
        assert_eq!(strided(&x, 2, &[-1], &[3]).unwrap().to_i64_vec(), [3, 2, 1]);
        assert_eq!(strided(&x, 0, &[0, 1], &[2, 2]).unwrap().to_i64_vec(), [1, 2, 1, 2]);
        assert!(strided(&x, 4, &[1], &[3]).is_err());
        assert_eq!(strided(&x, 9, &[1], &[0]).unwrap().len(), 0);
    }

    #[test]
    fn integers_divide_as_python_does() {
        let at = |op, a, b| integer(op, a, b);
        assert_eq!(at("FloorDiv", -7, 2), Ok(Some(-4)));
        assert_eq!(at("FloorMod", -7, 2), Ok(Some(1)));
        assert_eq!(at("FloorDiv", 7, 2), Ok(Some(3)));
        assert_eq!(at("Div", -7, 2), Ok(Some(-3)));
        assert!(at("FloorDiv", 7, 0).is_err());
        assert!(at("FloorDiv", i64::MIN, -1).is_err());
    }

    #[test]
    fn integers_reduce_over_axes() {
        let x = ints(&[1, 2, 3, 4, 5, 6], &[2, 3]);
        let over =
            |op, axes: &[u32], to: &[u64]| reduce(op, &x, axes, to).unwrap().unwrap().to_i64_vec();
        assert_eq!(over("Sum", &[0], &[3]), [5, 7, 9]);
        assert_eq!(over("Prod", &[1], &[2]), [6, 120]);
        assert_eq!(over("Max", &[0, 1], &[]), [6]);
        let empty = ints(&[], &[0]);
        assert_eq!(reduce("Prod", &empty, &[0], &[]).unwrap().unwrap().to_i64_vec(), [1]);
    }
}
