//! Codes of constants follow what moves and scales them.

use super::{AllKnown, Known, dequantize};
use crate::quant_params::{Exact, Slices};
use crate::rewriter::{Rewriter, evaluate};
use qcc_ir::dialect::nn::{Mul, Op};
use qcc_ir::dialect::quant::Act;
use qcc_ir::{OpId, TensorType, Value};
use qcc_runtime::Tensor;

/// Codes behind a value: its constant and what is known of it.
fn constant_codes(r: &Rewriter, v: Value, known: &AllKnown) -> Option<(Value, Tensor, Known)> {
    let k = known.get(&v)?;
    let q = r.dequantized(v)?;
    Some((q, r.const_tensor(q)?, k.clone()))
}

/// `move(dequantize(codes))` → `dequantize(moved codes)`, for transposes and reshapes.
pub(super) fn move_codes(r: &mut Rewriter, op: OpId, known: &mut AllKnown) -> Option<()> {
    let x = r.operand(op, 0);
    let (q, codes, mut k) = constant_codes(r, x, known)?;
    let y = r.ty(r.result(op)).clone();
    if let Some(axis) = k.axis {
        k.axis = Some(match r.nn(op)? {
            Op::Transpose(o) => o.perm.iter().position(|&p| p as usize == axis)?,
            _ => axis_after_reshape(r.shape(x), &y.shape, axis)?,
        });
    }
    let kind = r.f().kind(op).clone();
    let plain = TensorType::plain(&y.shape, codes.dtype());
    let moved = evaluate(kind, &[codes], &plain).ok()?;
    let name = r.name_of(q);
    let q = r.constant(op, &name, &moved, k.elem());
    dequantize(r, op, q, k, known);
    Some(())
}

/// Where slices along `axis` lie after a reshape, if they are slices still.
pub(crate) fn axis_after_reshape(from: &[u64], to: &[u64], axis: usize) -> Option<usize> {
    let before: u64 = from[..axis].iter().product();
    let fits = |&a: &usize| to[..a].iter().product::<u64>() == before && to[a] == from[axis];
    (0..to.len()).find(fits)
}

/// `dequantize(codes) · factor per channel` → `dequantize` with other scales.
pub(super) fn scale_codes(r: &mut Rewriter, op: OpId, known: &mut AllKnown) -> Result<(), String> {
    let Some(Op::Mul(Mul { act: Act::None })) = r.nn(op) else { return Ok(()) };
    let (x, c) = (r.operand(op, 0), r.operand(op, 1));
    let (Some((q, mut codes, mut k)), Some(factors)) =
        (constant_codes(r, x, known), r.const_floats(c))
    else {
        return Ok(());
    };
    if r.shape(x) != r.shape(r.result(op)) {
        return Err("it changes the shape".to_string());
    }
    let axis = factor_axis(r.shape(x), r.shape(c));
    let axis = axis.ok_or("it is not one per channel")?;
    match (k.axis, axis) {
        (_, None) => {}
        (None, Some(_)) => {
            k.params = vec![k.params[0]; factors.len()];
            k.axis = axis;
        }
        (Some(a), Some(b)) if a == b => {}
        (Some(a), Some(b)) => return Err(format!("scales lie along axis {a}, factors along {b}")),
    }
    let factor = |i: usize| factors[if factors.len() == 1 { 0 } else { i }];
    if k.params.iter().any(|p| p.zero_point != 0) && factors.iter().any(|&f| f <= 0.0) {
        return Err("some factors are not positive, and zero points not 0".to_string());
    }
    let slices = Slices::new(codes.shape(), k.axis, k.params.len());
    for i in 0..codes.len() {
        let f = factor(slices.of(i));
        let code = codes.get_i64(i);
        let turned = if f < 0.0 {
            -code
        } else if f == 0.0 {
            0
        } else {
            code
        };
        if turned > k.grid.range[1].into() {
            return Err(format!("a factor is negative, and {turned} is no code"));
        }
        codes.set_i64(i, turned);
    }
    // A channel that is 0 throughout keeps its scale: its bias needs one.
    let scaled = |(i, p): (usize, &Exact)| {
        let f = f64::from(factor(i).abs());
        Exact { scale: if f == 0.0 { p.scale } else { p.scale * f }, ..*p }
    };
    k.params = k.params.iter().enumerate().map(scaled).collect();
    let name = r.name_of(q);
    let q = r.constant(op, &name, &codes, k.elem());
    dequantize(r, op, q, k, known);
    Ok(())
}

/// The axis along which the elements of a factor of shape `c` differ on an x of shape `x`: `None`
/// inside if there is one element. `None` if they differ along several.
fn factor_axis(x: &[u64], c: &[u64]) -> Option<Option<usize>> {
    let lead = x.len().checked_sub(c.len())?;
    let long: Vec<usize> = (0..c.len()).filter(|&d| c[d] != 1).collect();
    match long.as_slice() {
        [] => Some(None),
        [d] if c[*d] == x[lead + d] => Some(Some(lead + d)),
        _ => None,
    }
}
