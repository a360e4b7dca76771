//! `fold-batch-norm`: what scales and shifts channels behind a convolution goes into its weights.
//!
//! ```text
//! %a = nn.conv2d(%x, %w, %b)
//! %y = nn.batch_norm(%a, γ, β, μ, σ²)   ─►   %y = nn.conv2d(%x, %w·f, b·f + (β − μ·f)),  f = γ/√(σ² + ε)
//! ```
//!
//! Also a multiplication, division or addition by constants per channel. The convolution is
//! `nn.conv2d`, `nn.depthwise_conv2d` or `nn.fully_connected` without activation, for one reader; what
//! stands behind takes its activation. Constant weights are multiplied; weights that are
//! fake-quantized or dequantized get an `nn.mul`, which `fold-fake-quant` takes into their scales: the codes
//! stay as trained, and weights with one scale get one per channel.
//!
//! A batch norm that follows no convolution becomes a multiplication and an addition.

use crate::canonicalize::{is_weights, per_channel};
use crate::rewriter::{Rewriter, act_mut, act_of, rewrite_all};
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::dialect::nn::{self, Op};
use qcc_ir::dialect::quant::Act;
use qcc_ir::{Level, Module, OpId, Value};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "fold-batch-norm",
    summary: "fold batch norms and factors per channel into the convolutions before them",
    doc: include_str!("fold_batch_norm.rs"),
    needs: LevelSet::only(Level::Nn),
    yields: None,
    drift: Drift::FloatReassoc,
    options: &[],
    run,
};

/// A chain of this many affine ops folds.
const MAX_ROUNDS: usize = 16;

/// y = factor·x + offset along channels, then an activation.
struct ChannelAffine {
    x: Value,
    factor: Vec<f32>,
    offset: Vec<f32>,
    act: Act,
}

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    rewrite_all(m, ctx, MAX_ROUNDS, |r, op, ctx| {
        let Some(affine) = channel_affine(r, op) else { return false };
        match foldable(r, op, &affine) {
            Ok(conv) => {
                fold(r, op, conv, &affine);
                true
            }
            Err(why) if matches!(r.nn(op), Some(Op::BatchNorm(_))) => {
                r.remark(ctx, op, format!("not folded into a convolution: {why}"));
                spell_out(r, op, &affine);
                true
            }
            Err(_) => false,
        }
    });
    Ok(())
}

/// What `op` does to each channel, if that is all that it does.
fn channel_affine(r: &Rewriter, op: OpId) -> Option<ChannelAffine> {
    let kind = r.nn(op)?;
    let y = r.shape(r.result(op)).to_vec();
    let n = *y.last()? as usize;
    let act = act_of(r.f().kind(op));
    if let Op::BatchNorm(o) = kind {
        return batch_norm(r, op, o.epsilon);
    }
    let [a, b] = *r.f().operands(op) else { return None };
    let commutes = matches!(kind, Op::Add(_) | Op::Mul(_));
    let pairs = [(a, b), (b, a)].into_iter().take(1 + usize::from(commutes));
    let usable = |&(x, _): &(Value, Value)| r.shape(x) == y && !crate::consts::is_const(r.f(), x);
    let (x, c) = pairs.into_iter().filter(usable).find_map(|(x, c)| {
        let values = per_channel(r, c, &y)?;
        Some((x, values))
    })?;
    let (ones, zeros) = (vec![1.0; n], vec![0.0; n]);
    let (factor, offset) = match kind {
        Op::Add(_) => (ones, c),
        Op::Sub(_) => (ones, c.iter().map(|v| -v).collect()),
        Op::Mul(_) => (c, zeros),
        Op::Div(_) => (c.iter().map(|v| 1.0 / v).collect(), zeros),
        _ => return None,
    };
    Some(ChannelAffine { x, factor, offset, act })
}

/// f = γ·(1/√(σ² + ε)) and β − μ·f, each step in f32 as TensorFlow's converter takes them.
fn batch_norm(r: &Rewriter, op: OpId, epsilon: f32) -> Option<ChannelAffine> {
    let floats = |i| r.const_floats(r.operand(op, i));
    let (scale, offset, mean, variance) = (floats(1)?, floats(2)?, floats(3)?, floats(4)?);
    let factor = |(g, v): (&f32, &f32)| g * (1.0 / (v + epsilon).sqrt());
    let factor: Vec<f32> = scale.iter().zip(&variance).map(factor).collect();
    let shift = |(i, f): (usize, &f32)| offset[i] - mean[i] * f;
    let offset = factor.iter().enumerate().map(shift).collect();
    Some(ChannelAffine { x: r.operand(op, 0), factor, offset, act: Act::None })
}

/// The convolution that takes the factors, or why there is none.
fn foldable(r: &Rewriter, op: OpId, affine: &ChannelAffine) -> Result<OpId, String> {
    let conv = r.def(affine.x).ok_or("its input is an input of the model")?;
    let is_conv =
        matches!(r.nn(conv), Some(Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::FullyConnected(_)));
    if !is_conv {
        return Err(format!("its input is made by {}", r.f().kind(conv).name()));
    }
    if act_of(r.f().kind(conv)) != Act::None {
        return Err(format!("'{}' ends with an activation", r.node(conv)));
    }
    if let Some(other) = r.readers(affine.x).into_iter().find(|&o| o != op) {
        return Err(format!("its input is also read by '{}'", r.node(other)));
    }
    if !is_weights(r, r.operand(conv, 1)) {
        return Err(format!("the weights of '{}' are not constant", r.node(conv)));
    }
    let has_other_bias = r.f().operands(conv).get(2).is_some_and(|&b| r.const_floats(b).is_none());
    if has_other_bias {
        return Err(format!("the bias of '{}' is not constant", r.node(conv)));
    }
    let finite = |v: &f32| v.is_finite();
    match affine.factor.iter().all(finite) && affine.offset.iter().all(finite) {
        true => Ok(conv),
        false => Err("some factors are not finite".to_string()),
    }
}

fn fold(r: &mut Rewriter, op: OpId, conv: OpId, affine: &ChannelAffine) {
    let n = affine.factor.len();
    let bias = r.f().operands(conv).get(2).and_then(|&b| r.const_floats(b));
    let bias = bias.unwrap_or_else(|| vec![0.0; n]);
    let folded = |i: usize| bias[i] * affine.factor[i] + affine.offset[i];
    let bias: Vec<f32> = (0..n).map(folded).collect();
    let bias = r.const_f32(op, "bias", &[n as u64], &bias);
    let w = scaled_weights(r, op, conv, &affine.factor);
    let mut kind = r.f().kind(conv).clone();
    if let Some(act) = act_mut(&mut kind) {
        *act = affine.act;
    }
    let ty = r.ty(r.result(op)).clone();
    let x = r.operand(conv, 0);
    let new = r.insert(op, kind, &[x, w, bias], ty, &[conv, op]);
    r.replace(op, new);
}

/// The weights times a factor per output channel.
fn scaled_weights(r: &mut Rewriter, op: OpId, conv: OpId, factor: &[f32]) -> Value {
    let w = r.operand(conv, 1);
    if factor.iter().all(|&f| f == 1.0) {
        return w;
    }
    let mut shape = vec![1; r.shape(w).len()];
    let axis = match r.nn(conv) {
        Some(Op::DepthwiseConv2d(_)) => 3,
        _ => 0,
    };
    shape[axis] = factor.len() as u64;
    let ty = r.ty(w).clone();
    let Some(t) = r.const_tensor(w) else {
        let factor = r.const_f32(op, "factor", &shape, factor);
        return r.insert(op, nn::Mul { act: Act::None }, &[w, factor], ty, &[op]);
    };
    let slices = crate::quant_params::Slices::new(t.shape(), Some(axis), factor.len());
    let scaled = |i: usize| t.get_f64(i) as f32 * factor[slices.of(i)];
    let values: Vec<f32> = (0..t.len()).map(scaled).collect();
    let name = r.name_of(w);
    r.const_f32(op, &name, &ty.shape, &values)
}

/// A batch norm as a multiplication and an addition.
fn spell_out(r: &mut Rewriter, op: OpId, affine: &ChannelAffine) {
    let n = affine.factor.len() as u64;
    let ty = r.ty(r.result(op)).clone();
    let factor = r.const_f32(op, "factor", &[n], &affine.factor);
    let product = nn::Mul { act: Act::None };
    let product = r.insert(op, product, &[affine.x, factor], ty.clone(), &[op]);
    let offset = r.const_f32(op, "offset", &[n], &affine.offset);
    let sum = r.insert(op, nn::Add { act: affine.act }, &[product, offset], ty, &[op]);
    r.replace(op, sum);
}
