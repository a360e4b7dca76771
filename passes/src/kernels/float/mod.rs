//! Kernels of the nn dialect: float ops, and ops that move elements.
//!
//! Vectors run over outputs; a sum is cut into partial sums only where the dialect's documentation
//! says so. What is done to an element is emitted by the functions that the interpreter calls
//! ([`emit`]). So the bits do not depend on the CPU nor on the width of its vectors.
//!
//! | file | ops |
//! | --- | --- |
//! | `elementwise` | functions of one and two numbers, batch norm, fake quantization |
//! | `row`, `reduce` | sums along axes |
//! | `normalize` | softmax, log softmax, layer norm |
//! | `pool` | pools |
//! | `product`, `product_lower` | convolutions, fully connected, matrix products |
//! | `depthwise` | depthwise convolution |
//! | `dynamic` | dynamic quantization |
//! | `integer`, `integer_dots` | integer products with zero points |
//! | `resize` | resizes |
//! | `cast` | casts, arg max |
//! | `plain` | comparisons, selection, integers of two, cumulative sums, top k |
//! | `moves` | transpose, slice, pad, broadcast, gather |
//! | `scalar_conv` | convolutions that nothing is known about |

pub mod cast;
pub mod depthwise;
pub mod dynamic;
pub mod elementwise;
pub mod emit;
pub mod integer;
pub mod integer_dots;
pub mod moves;
pub mod normalize;
pub mod plain;
pub mod pool;
pub mod product;
pub mod product_lower;
pub mod reduce;
pub mod resize;
pub mod row;
pub mod scalar_conv;
pub mod tiles;

use super::Call;
use super::site::Site;
use elementwise::Element;
use qcc_ir::dialect::nn::Op;

/// Floats in the vectors of a kernel that walks rows of `run` floats: of those widths that the
/// machine has, the one with the fewest steps, as what a vector does not fill is done one by one.
/// All vectors of a kernel have this width.
pub fn lanes(site: &Site, run: u64) -> u8 {
    fitting((site.machine.width / 4) as u8, run)
}

fn fitting(most: u8, run: u64) -> u8 {
    let steps = |lanes: &u8| run / u64::from(*lanes) + run % u64::from(*lanes);
    [4, 8, 16].into_iter().filter(|&lanes| lanes <= most).min_by_key(steps).unwrap_or(4)
}

/// Bytes of a vector of `lanes` floats; of the narrowest for one float.
fn vector_bytes(lanes: u8) -> u64 {
    u64::from(lanes.max(4)) * 4
}

/// Lowers an op of the nn dialect that is no view.
///
/// # Errors
/// Says what a kernel cannot do.
pub fn lower(site: &Site, op: &Op) -> Result<Vec<Call>, String> {
    match op {
        Op::Unary(o) => elementwise::lower(site, Element::Unary(o.f, [o.alpha, o.beta])),
        Op::Activation(o) => elementwise::lower(site, Element::Activation(o.act)),
        Op::Add(o) => elementwise::lower(site, Element::Add(o.act)),
        Op::Sub(o) => elementwise::lower(site, Element::Sub(o.act)),
        Op::Mul(o) => elementwise::lower(site, Element::Mul(o.act)),
        Op::Div(o) => elementwise::lower(site, Element::Div(o.act)),
        Op::Binary(o) => elementwise::lower(site, Element::Binary(o.f)),
        Op::BatchNorm(o) => {
            elementwise::lower_along(site, last_axis(site), Element::BatchNorm(o.epsilon))
        }
        Op::FakeQuant(o) => {
            let f = Element::FakeQuant(o.form, o.num_bits, o.narrow_range);
            elementwise::lower_along(site, last_axis(site), f)
        }
        Op::QuantizeAndDequantize(o) => elementwise::lower_symmetric(site, o),
        Op::Softmax(o) => normalize::lower_softmax(site, o),
        Op::LogSoftmax(_) => normalize::lower_log_softmax(site),
        Op::LayerNorm(o) => normalize::lower_layer_norm(site, o),
        Op::Mean(o) => reduce::lower_mean(site, &o.axes),
        Op::Reduce(o) => reduce::lower_reduce(site, o.f, &o.axes),
        Op::MaxPool2d(o) => pool::lower_max(site, o),
        Op::AvgPool2d(o) => pool::lower_avg(site, o),
        Op::Conv2d(o) => product_lower::lower_conv2d(site, o),
        Op::DepthwiseConv2d(o) => product_lower::lower_depthwise(site, o),
        Op::FullyConnected(o) => product_lower::lower_fully_connected(site, o.act),
        Op::MatMul(o) => product_lower::lower_mat_mul(site, o),
        Op::ArgMax(o) => cast::lower_arg_max(site, o),
        Op::Cast(_) => cast::lower(site),
        Op::Compare(o) => plain::lower(site, plain::Element::Compare(o.f)),
        Op::Select(_) => plain::lower(site, plain::Element::Select),
        Op::IntBinary(o) => plain::lower(site, plain::Element::Int(o.f)),
        Op::CumSum(o) => plain::lower_cum_sum(site, o),
        Op::TopK(o) => plain::lower_top_k(site, o),
        Op::Transpose(o) => moves::lower_transpose(site, o),
        Op::Slice(o) => moves::lower_slice(site, o),
        Op::Pad(o) => moves::lower_pad(site, o),
        Op::Broadcast(_) => moves::lower_broadcast(site),
        Op::Gather(o) => moves::lower_gather(site, o),
        Op::DynamicQuantize(_) => dynamic::lower(site),
        Op::MatMulInteger(_) => integer::lower_mat_mul(site),
        Op::ConvInteger(o) => integer::lower_conv(site, o),
        Op::ResizeBilinear(o) => resize::lower_bilinear(site, o),
        Op::ResizeNearest(o) => resize::lower_nearest(site, o),
        Op::Concat(_) | Op::Reshape(_) => Err("a view has no kernel".into()),
    }
}

fn last_axis(site: &Site) -> Option<usize> {
    site.tensor_type(site.operand(0)).shape.len().checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::fitting;

    #[test]
    fn rows_take_the_width_of_the_fewest_steps() {
        assert_eq!(fitting(16, 1024), 16);
        assert_eq!(fitting(8, 1024), 8);
        // One of 16 and eight alone, or three of 8.
        assert_eq!(fitting(16, 24), 8);
        assert_eq!(fitting(16, 5), 4);
        assert_eq!(fitting(4, 1024), 4);
    }
}
