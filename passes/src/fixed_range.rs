//! Ops whose results lie in a range that is known without data, and the parameters that the
//! frameworks' kernels demand for them (numerics.md B).

use qcc_ir::dialect::nn::{Op, UnaryFn};
use qcc_ir::{DType, Numerics, QuantType};

/// 1/256 from 0 on, or 1/32768: softmax and sigmoid of TensorFlow Lite. `None`: any will do.
pub fn softmax_type(storage: DType, numerics: Numerics) -> Option<QuantType> {
    if numerics != Numerics::TfLite {
        return None;
    }
    unit_type(storage)
}

/// [0, 1) in as many steps as the codes allow.
fn unit_type(storage: DType) -> Option<QuantType> {
    let (scale, zero_point) = match storage {
        DType::I8 => (1.0 / 256.0, -128),
        DType::U8 => (1.0 / 256.0, 0),
        DType::I16 => (1.0 / 32768.0, 0),
        _ => return None,
    };
    Some(QuantType::per_tensor(storage, scale, zero_point))
}

/// Sixteenths below 0.
pub fn log_softmax_type(storage: DType) -> Option<QuantType> {
    let largest = match storage {
        DType::I8 => 127,
        DType::U8 => 255,
        _ => return None,
    };
    Some(QuantType::per_tensor(storage, 16.0 / 256.0, largest))
}

/// [-1, 1).
fn tanh_type(storage: DType) -> Option<QuantType> {
    let (scale, zero_point) = match storage {
        DType::I8 => (1.0 / 128.0, 0),
        DType::U8 => (1.0 / 128.0, 128),
        DType::I16 => (1.0 / 32768.0, 0),
        _ => return None,
    };
    Some(QuantType::per_tensor(storage, scale, zero_point))
}

/// The parameters of the result of `op` on codes stored as `storage`, if its range is known from
/// what it computes and TensorFlow Lite's kernels fix them.
pub fn fixed_type(op: &Op, storage: DType) -> Option<QuantType> {
    match op {
        Op::Softmax(_) => unit_type(storage),
        Op::LogSoftmax(_) => log_softmax_type(storage),
        Op::Unary(o) if o.f == UnaryFn::Sigmoid => unit_type(storage),
        Op::Unary(o) if o.f == UnaryFn::Tanh => tanh_type(storage),
        _ => None,
    }
}
