//! Ops that move elements of any type.

use crate::dialect::nn::{Gather, Op, Pad, PadMode, Slice, Transpose};
use crate::verify::OpCheck;
use crate::verify::shapes::{self, broadcast};
use crate::{Affine, Elem, QuantParams, QuantType, TensorType};
use std::sync::Arc;

pub(super) fn check(c: &mut OpCheck, op: &Op) {
    match op {
        Op::Concat(o) => {
            shapes::concat(c, o.axis);
            let elem = &c.result(0).elem;
            let other = (0..c.operands().len()).any(|i| c.tensor(i).elem != *elem);
            c.require(5, !other, || "inputs and y have different element types".to_string());
        }
        Op::Reshape(_) => {
            shapes::reshape(c);
            shapes::same_elem(c, 2);
        }
        Op::Transpose(o) => transpose(c, o),
        Op::Slice(o) => slice(c, o),
        Op::Pad(o) => pad(c, o),
        Op::Broadcast(_) => {
            let (x, y) = (c.tensor(0), c.result(0));
            let fits = broadcast(&x.shape, &y.shape).is_some_and(|s| s[..] == y.shape[..]);
            c.require(1, fits, || format!("{:?} does not broadcast to {:?}", x.shape, y.shape));
            one_parameter_set(c, 2);
        }
        Op::Gather(o) => gather(c, o),
        Op::ResizeNearest(_) => {
            shapes::resize_bilinear(c, false, false);
            shapes::same_elem(c, 2);
        }
        _ => {}
    }
}

/// Constraint `n`: the operand's element type is the result's, and not per axis.
fn one_parameter_set(c: &mut OpCheck, n: u32) {
    shapes::same_elem(c, n);
    let per_axis = c.tensor(0).quant_type().is_some_and(|q| q.uniform().is_none());
    c.require(n, !per_axis, || "per-axis parameters".to_string());
}

/// x's elements where parameters along `axis` become those that `moved` says.
fn moved(x: &TensorType, moved: impl Fn(usize, &[Affine]) -> (usize, Vec<Affine>)) -> Elem {
    match &x.elem {
        Elem::Quant(q) => {
            let params = match &q.params {
                QuantParams::PerTensor(p) => QuantParams::PerTensor(*p),
                QuantParams::PerAxis { axis, params } => {
                    let (axis, params) = moved(*axis, params);
                    QuantParams::PerAxis { axis, params }
                }
            };
            Elem::Quant(Arc::new(QuantType { params, ..(**q).clone() }))
        }
        plain => plain.clone(),
    }
}

fn transpose(c: &mut OpCheck, op: &Transpose) {
    let (x, y) = (c.tensor(0), c.result(0));
    let rank = x.shape.len();
    let each_once = (0..rank).all(|d| op.perm.contains(&(d as u32)));
    let message = || format!("perm {:?} of a shape of rank {rank}", op.perm);
    if !c.require(1, op.perm.len() == rank && each_once, message) {
        return;
    }
    let expected: Vec<u64> = op.perm.iter().map(|&d| x.shape[d as usize]).collect();
    let message = || format!("y has shape {:?}, not {expected:?}", y.shape);
    c.require(2, expected[..] == y.shape[..], message);
    let place = |axis| op.perm.iter().position(|&d| d as usize == axis).unwrap_or(axis);
    let elem = moved(x, |axis, params| (place(axis), params.to_vec()));
    c.require(3, y.elem == elem, || "y has other elements than x".to_string());
}

fn slice(c: &mut OpCheck, op: &Slice) {
    let (x, y) = (c.tensor(0), c.result(0));
    let rank = x.shape.len();
    let lengths = [op.start.len(), op.step.len(), y.shape.len()];
    let fits = lengths == [rank; 3] && !op.step.contains(&0);
    let message = || format!("start {:?}, step {:?} of rank {rank}", op.start, op.step);
    if !c.require(3, fits, message) {
        return;
    }
    let inside = |d: usize| {
        let (first, n) = (i128::from(op.start[d]), i128::from(y.shape[d]));
        let last = first + (n - 1) * i128::from(op.step[d]);
        n == 0 || [first, last].iter().all(|&at| at >= 0 && at < i128::from(x.shape[d]))
    };
    let message = || format!("{:?} from {:?} by {:?} of {:?}", y.shape, op.start, op.step, x.shape);
    if !c.require(4, (0..rank).all(inside), message) {
        return;
    }
    let elem = moved(x, |axis, params| {
        let at = |i: u64| op.start[axis] as i64 + i as i64 * op.step[axis];
        let kept = (0..y.shape[axis]).filter_map(|i| params.get(at(i) as usize).copied());
        (axis, kept.collect())
    });
    c.require(5, y.elem == elem, || "y has other elements than x".to_string());
}

fn pad(c: &mut OpCheck, op: &Pad) {
    let (x, y) = (c.tensor(0), c.result(0));
    let rank = x.shape.len();
    let lengths = [op.low.len(), op.high.len(), y.shape.len()];
    let message = || format!("low {:?}, high {:?} of rank {rank}", op.low, op.high);
    if !c.require(1, lengths == [rank; 3], message) {
        return;
    }
    let sum = |d: usize| x.shape[d].checked_add(op.low[d])?.checked_add(op.high[d]);
    let fits = (0..rank).all(|d| sum(d) == Some(y.shape[d]));
    let message =
        || format!("{:?} with {:?} and {:?} is not {:?}", x.shape, op.low, op.high, y.shape);
    c.require(2, fits, message);
    one_parameter_set(c, 4);
    let widest = |n: u64| match op.mode {
        PadMode::Constant => u64::MAX,
        PadMode::Reflect => n.saturating_sub(1),
        PadMode::Symmetric => n,
        PadMode::Edge if n == 0 => 0,
        PadMode::Edge => u64::MAX,
    };
    let fits = (0..rank).all(|d| op.low[d].max(op.high[d]) <= widest(x.shape[d]));
    let message = || format!("low {:?}, high {:?} around {:?}", op.low, op.high, x.shape);
    c.require(5, fits, message);
}

fn gather(c: &mut OpCheck, op: &Gather) {
    let (x, indices, y) = (c.tensor(0), c.tensor(1), c.result(0));
    let axis = op.axis as usize;
    let extent = x.shape.get(axis).copied();
    let message = || format!("axis {axis} of shape {:?}", x.shape);
    if !c.require(1, extent.is_some_and(|n| n > 0), message) {
        return;
    }
    let mut expected = x.shape[..axis].to_vec();
    expected.extend(&indices.shape);
    expected.extend(&x.shape[axis + 1..]);
    let message = || format!("y has shape {:?}, not {expected:?}", y.shape);
    c.require(2, expected[..] == y.shape[..], message);
    one_parameter_set(c, 3);
}
