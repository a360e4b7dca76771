//! Ops that compute with plain elements of more types than float32.

use crate::dialect::nn::{CumSum, IntBinary, IntFn, Op};
use crate::verify::OpCheck;
use crate::verify::shapes::{self, broadcast};
use crate::{DType, Elem};

pub(super) fn check(c: &mut OpCheck, op: &Op) {
    match op {
        Op::Compare(_) => {
            shapes::add(c);
            let [a, b, y] = [&c.tensor(0).elem, &c.tensor(1).elem, &c.result(0).elem];
            let fits = is_plain(a) && a == b && *y == Elem::Plain(DType::Bool);
            let message = format!("{}, {} and {}", a.storage(), b.storage(), y.storage());
            c.require(2, fits, || message);
        }
        Op::Select(_) => select(c),
        Op::IntBinary(o) => int_binary(c, o),
        Op::CumSum(o) => cum_sum(c, o),
        Op::TopK(_) => top_k(c),
        _ => {}
    }
}

fn is_plain(elem: &Elem) -> bool {
    matches!(elem, Elem::Plain(_))
}

fn select(c: &mut OpCheck) {
    let (p, a, b, y) = (c.tensor(0), c.tensor(1), c.tensor(2), c.result(0));
    let all = broadcast(&a.shape, &b.shape).and_then(|s| broadcast(&s, &p.shape));
    let fits = all.is_some_and(|s| s[..] == y.shape[..]);
    let message = || format!("{:?}, {:?} and {:?}: {:?}", p.shape, a.shape, b.shape, y.shape);
    c.require(1, fits, message);
    let fits = p.elem == Elem::Plain(DType::Bool)
        && y.quant_type().is_none_or(|q| q.uniform().is_some())
        && [a, b].iter().all(|t| t.elem == y.elem);
    let message = || format!("{} ? {} : {}", p.storage(), a.storage(), b.storage());
    c.require(2, fits, message);
}

fn int_binary(c: &mut OpCheck, op: &IntBinary) {
    shapes::add(c);
    let [a, b, y] = [&c.tensor(0).elem, &c.tensor(1).elem, &c.result(0).elem];
    let bits = matches!(op.f, IntFn::And | IntFn::Or | IntFn::Xor);
    let is_fit = match y {
        Elem::Plain(DType::Bool) => bits,
        Elem::Plain(d) => d.is_int(),
        Elem::Quant(_) => false,
    };
    let message = format!("{} and {} make {}", a.storage(), b.storage(), y.storage());
    c.require(2, is_fit && a == y && b == y, || message);
}

fn cum_sum(c: &mut OpCheck, op: &CumSum) {
    let (x, y) = (c.tensor(0), c.result(0));
    let fits = x.shape == y.shape && (op.axis as usize) < x.shape.len();
    c.require(1, fits, || format!("axis {} of {:?} and {:?}", op.axis, x.shape, y.shape));
    let is_fit = match &x.elem {
        Elem::Plain(d) => *d != DType::Bool,
        Elem::Quant(_) => false,
    };
    c.require(2, is_fit && x.elem == y.elem, || format!("{} to {}", x.storage(), y.storage()));
}

fn top_k(c: &mut OpCheck) {
    let (x, y, indices) = (c.tensor(0), c.result(0), c.result(1));
    let fits = match (x.shape.split_last(), y.shape.split_last()) {
        (Some((n, outer)), Some((k, own))) => outer == own && k <= n,
        _ => false,
    };
    let message = || format!("{:?} of {:?}", y.shape, x.shape);
    c.require(1, fits && indices.shape == y.shape, message);
    let fits = [x, y].iter().all(|t| t.elem == Elem::Plain(DType::F32))
        && matches!(indices.elem, Elem::Plain(DType::I32 | DType::I64));
    c.require(2, fits, || format!("{} and {}", y.storage(), indices.storage()));
}
