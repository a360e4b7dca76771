//! Whose roundings between ops a module of `tflite` numerics follows.
//!
//! TensorFlow's converter quantizes a value that has two sets of parameters in a row with the second
//! at once, and pools in the parameters of the input before it requantizes. A graph that it takes is
//! compiled as it would be, bit for bit. One that it refuses (weights with fewer bits or a zero point,
//! 16-bit activations) has no such model: there, the roundings are those of the simulation that the
//! graph was trained with, which is closer by half.

use crate::rewriter::Rewriter;
use qcc_ir::{DType, Numerics, OpId, QuantType, Value};

/// Would TensorFlow's converter make an integer model of this graph?
pub fn follows_converter(r: &Rewriter) -> bool {
    r.m.numerics == Numerics::TfLite && r.f().body_ops().iter().all(|&op| takes(r, op))
}

fn takes(r: &Rewriter, op: OpId) -> bool {
    r.f().results(op).iter().all(|&v| match r.quant_type(v) {
        Some(q) if crate::consts::is_const(r.f(), v) => is_constant_of_converter(r, v, q),
        Some(q) => matches!(q.storage, DType::I8 | DType::I32) && q.is_full_range(),
        None => true,
    })
}

/// 8-bit weights without zero point, or 32-bit biases; small constants may be anything.
fn is_constant_of_converter(r: &Rewriter, v: Value, q: &QuantType) -> bool {
    let weights = r.shape(v).len() > 1;
    let full = q.range[1] == q.storage.min_max().1 as i32;
    !weights || (q.storage == DType::I8 && full && q.affines().iter().all(|a| a.zero_point == 0))
}
