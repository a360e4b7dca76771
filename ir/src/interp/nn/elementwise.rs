//! Functions of one and two numbers, batch norm, cast.

use super::super::index::{broadcast, each};
use super::floats;
use crate::dialect::nn::{Activation, BatchNorm, Binary, BinaryFn, Op, Unary};
use crate::dialect::quant::Act;
use crate::numerics::float;
use qcc_runtime::float::{F32, F64};
use qcc_runtime::{DType, Tensor};

pub(super) fn unary(o: &Unary, x: &[f32]) -> Vec<f32> {
    let parameters = [o.alpha, o.beta];
    let narrow = |&x: &f32| float::unary(&mut F32, o.f, parameters, x);
    let wide = |&x: &f32| float::unary(&mut F64, o.f, parameters, x.into()) as f32;
    if float::is_wide(o.f) { x.iter().map(wide).collect() } else { x.iter().map(narrow).collect() }
}

pub(super) fn activation(o: &Activation, x: &[f32]) -> Vec<f32> {
    x.iter().map(|&v| float::activate(&mut F32, o.act, v)).collect()
}

/// `op` is one of the five of two numbers.
pub(super) fn binary(op: &Op, xs: [&Tensor; 2], shape: &[usize]) -> Result<Vec<f32>, String> {
    let (f, act): (fn(f32, f32) -> f32, Act) = match op {
        Op::Add(o) => (|a, b| a + b, o.act),
        Op::Sub(o) => (|a, b| a - b, o.act),
        Op::Mul(o) => (|a, b| a * b, o.act),
        Op::Div(o) => (|a, b| a / b, o.act),
        Op::Binary(Binary { f: BinaryFn::Pow }) => {
            (|a, b| float::binary(&mut F64, BinaryFn::Pow, a.into(), b.into()) as f32, Act::None)
        }
        Op::Binary(o) => {
            let f = o.f;
            return Ok(zip(xs, shape, |a, b| float::binary(&mut F32, f, a, b)));
        }
        other => return Err(format!("'{}' has not two numbers", other.spec().name)),
    };
    Ok(zip(xs, shape, |a, b| float::activate(&mut F32, act, f(a, b))))
}

fn zip([a, b]: [&Tensor; 2], shape: &[usize], f: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    let (p, q) = (floats(a), floats(b));
    let mut y = Vec::with_capacity(shape.iter().product());
    each(shape, |_, at| y.push(f(p[broadcast(a.shape(), at)], q[broadcast(b.shape(), at)])));
    y
}

pub(super) fn batch_norm(o: &BatchNorm, xs: &[Vec<f32>]) -> Result<Vec<f32>, String> {
    let [x, scale, offset, mean, variance] = xs else { return Err("five operands".into()) };
    let factor = |c: usize| scale[c] / (variance[c] + o.epsilon).sqrt();
    let factors: Vec<f32> = (0..scale.len()).map(factor).collect();
    let one = |(i, &v): (usize, &f32)| {
        let c = i % scale.len();
        (v - mean[c]) * factors[c] + offset[c]
    };
    Ok(x.iter().enumerate().map(one).collect())
}

pub(super) fn cast(x: &Tensor, mut y: Tensor) -> Tensor {
    let (from, to) = (x.dtype(), y.dtype());
    for i in 0..y.len() {
        match (from, to) {
            (_, DType::Bool) => y.set_i64(i, i64::from(x.get_f64(i) != 0.0)),
            // f64 lies between i64 and f32: one rounding, not two.
            (DType::I64, DType::F32) => y.set_f64(i, (x.get_i64(i) as f32).into()),
            (_, d) if d.is_float() || from.is_float() => y.set_f64(i, x.get_f64(i)),
            _ => y.set_i64(i, x.get_i64(i)),
        }
    }
    y
}
