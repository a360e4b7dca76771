//! Float ops, and ops that move elements.
//!
//! Everything is float32 with one rounding per operation; orders of sums are those of
//! [`crate::dialect::nn`]. What an op does to one element is in [`crate::numerics::float`], which
//! kernels are made from too.
//!
//! | file | what |
//! | --- | --- |
//! | `products` | convolutions, fully connected, matrix products, of floats and of integers |
//! | `elementwise` | functions of one and two numbers, batch norm, cast |
//! | `rows` | sums along axes, softmax, layer norm, arg max |
//! | `windows` | pools, bilinear resize |
//! | `grids` | fake quantization, dynamic quantization |
//! | `plain` | comparisons, selection, integers of two, cumulative sums, top k |
//! | `moves` | concat, reshape, transpose, slice, pad, broadcast, gather, nearest resize |

mod elementwise;
mod grids;
mod moves;
mod plain;
mod products;
mod rows;
mod windows;

use super::extents;
use super::int::operand;
use crate::TensorType;
use crate::dialect::nn::Op;
use qcc_runtime::Tensor;

/// The results, of types `types`, of `op` on `xs`.
pub(super) fn eval(op: &Op, xs: &[&Tensor], types: &[&TensorType]) -> Result<Vec<Tensor>, String> {
    let shapes: Vec<Vec<usize>> = types.iter().map(|t| extents(t)).collect::<Result<_, _>>()?;
    if let Op::DynamicQuantize(_) = op {
        return grids::dynamic_quantize(operand(xs, 0)?);
    }
    if let Op::TopK(o) = op {
        return plain::top_k(o, operand(xs, 0)?, types, &shapes);
    }
    let (ty, shape) = (*types.first().ok_or("no result")?, &shapes[0]);
    if let Some(y) = floats_of(op, xs, shape)? {
        return Ok(vec![Tensor::from_slice(&y, shape.clone()).map_err(|e| e.to_string())?]);
    }
    let y = Tensor::try_zeros(ty.storage(), shape.clone()).map_err(|e| e.to_string())?;
    let y = match op {
        Op::ArgMax(o) => rows::arg_max(o, operand(xs, 0)?, y),
        Op::Compare(o) => plain::compare(o, [operand(xs, 0)?, operand(xs, 1)?], y),
        Op::Select(_) => Ok(plain::select([operand(xs, 0)?, operand(xs, 1)?, operand(xs, 2)?], y)),
        Op::IntBinary(o) => Ok(plain::int_binary(o, [operand(xs, 0)?, operand(xs, 1)?], y)),
        Op::CumSum(o) => plain::cum_sum(o, operand(xs, 0)?, y),
        Op::Cast(_) => Ok(elementwise::cast(operand(xs, 0)?, y)),
        Op::MatMulInteger(_) => products::mat_mul_integer(xs, y),
        Op::ConvInteger(o) => products::conv_integer(o, xs, y),
        other => moves::eval(other, xs, ty, y),
    };
    Ok(vec![y?])
}

/// The elements of a float result; `None` if `op` gives something else.
fn floats_of(op: &Op, xs: &[&Tensor], shape: &[usize]) -> Result<Option<Vec<f32>>, String> {
    let x = operand(xs, 0).map(|x| x.shape());
    let y = match op {
        Op::FakeQuant(o) => grids::fake_quant(o, &all_floats(xs)),
        Op::QuantizeAndDequantize(o) => grids::quantize_and_dequantize(o, xs),
        Op::Conv2d(o) => products::conv2d(o, xs, shape),
        Op::DepthwiseConv2d(o) => products::depthwise(o, xs, shape),
        Op::FullyConnected(o) => products::fully_connected(o, xs),
        Op::MatMul(o) => products::mat_mul(o, xs, shape),
        Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) | Op::Binary(_) => {
            elementwise::binary(op, [operand(xs, 0)?, operand(xs, 1)?], shape)
        }
        Op::Unary(o) => Ok(elementwise::unary(o, &floats(operand(xs, 0)?))),
        Op::Activation(o) => Ok(elementwise::activation(o, &floats(operand(xs, 0)?))),
        Op::BatchNorm(o) => elementwise::batch_norm(o, &all_floats(xs)),
        Op::LayerNorm(o) => rows::layer_norm(o, x?, &all_floats(xs)),
        Op::MaxPool2d(o) => windows::max_pool(o, operand(xs, 0)?, shape),
        Op::AvgPool2d(o) => windows::avg_pool(o, operand(xs, 0)?, shape),
        Op::Mean(o) => Ok(rows::mean(&o.axes, operand(xs, 0)?)),
        Op::Reduce(o) => Ok(rows::reduce(o, operand(xs, 0)?)),
        Op::Softmax(o) => rows::softmax(o, operand(xs, 0)?),
        Op::LogSoftmax(_) => rows::log_softmax(operand(xs, 0)?),
        Op::ResizeBilinear(o) => windows::resize_bilinear(o, operand(xs, 0)?, shape),
        _ => return Ok(None),
    };
    y.map(Some)
}

/// The elements of a float32 tensor.
fn floats(t: &Tensor) -> Vec<f32> {
    match t.as_slice::<f32>() {
        Ok(all) => all.to_vec(),
        Err(_) => t.to_f64_vec().iter().map(|&v| v as f32).collect(),
    }
}

fn all_floats(xs: &[&Tensor]) -> Vec<Vec<f32>> {
    xs.iter().map(|t| floats(t)).collect()
}
