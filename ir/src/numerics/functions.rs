//! Functions of real numbers from which tables are made, as the frameworks' float kernels compute
//! them: transcendental parts as the C library's float functions (f64, rounded once), the rest in
//! f32 in the written order.

use super::float;
use crate::dialect::nn::{BinaryFn, UnaryFn};
use qcc_runtime::fixedpoint as fx;
use qcc_runtime::float::{F32, F64};

/// f(x).
pub(super) fn unary(f: UnaryFn, [alpha, beta]: [f32; 2]) -> impl Fn(f32) -> f32 {
    let libm = |v: f32, g: fn(f64) -> f64| g(f64::from(v)) as f32;
    move |v| match f {
        UnaryFn::Exp => libm(v, f64::exp),
        UnaryFn::Log => libm(v, f64::ln),
        UnaryFn::Sin => libm(v, f64::sin),
        UnaryFn::Cos => libm(v, f64::cos),
        UnaryFn::Sigmoid => fx::logistic8(v),
        UnaryFn::Tanh => fx::tanh8(v),
        UnaryFn::Elu if v < 0.0 => alpha * libm(v, f64::exp_m1),
        UnaryFn::Elu => v,
        other => float::unary(&mut F32, other, [alpha, beta], v),
    }
}

/// f(a, b).
pub(super) fn binary(f: BinaryFn) -> impl Fn(f32, f32) -> f32 {
    move |a, b| match f {
        BinaryFn::Pow => float::binary(&mut F64, f, f64::from(a), f64::from(b)) as f32,
        _ => float::binary(&mut F32, f, a, b),
    }
}
