//! Elementwise operators, reductions, normalization.

use super::conv::{from_nhwc, is_nchw, to_nhwc};
use crate::shapes;
use crate::tensorflow::convert::{Converter, Outputs, Val};
use crate::tensorflow::fold;
use qcc_ir::DType;
use qcc_ir::dialect::nn::{self, BinaryFn, ReduceFn, UnaryFn};
use qcc_ir::dialect::quant::Act;

fn name(c: &Converter) -> &'static str {
    let op = &c.nodes[c.at].def.op;
    super::OPS.iter().find(|(n, _)| n == op).map_or("", |(n, _)| n)
}

/// Functions of two numbers. Integers, and a few floats, are computed here.
pub fn binary(c: &mut Converter) -> Outputs {
    let op = name(c);
    if let (Some(a), Some(b)) = (c.known(0)?, c.known(1)?)
        && fold::is_small(&[&a.tensor, &b.tensor])
        && let Some(t) = fold::binary(op, &a.tensor, &b.tensor)?
    {
        return Ok(vec![c.make_known(t)?]);
    }
    let (a, b) = (c.float(0)?, c.float(1)?);
    let shape = shapes::broadcast(&c.shape(&a), &c.shape(&b))?;
    let act = Act::None;
    let mut two = |f| c.emit_float(nn::Binary { f }, &[&a, &b], &shape);
    let y = match op {
        "Maximum" => two(BinaryFn::Max),
        "Minimum" => two(BinaryFn::Min),
        "Pow" => two(BinaryFn::Pow),
        "SquaredDifference" => two(BinaryFn::SquaredDifference),
        "Sub" => c.emit_float(nn::Sub { act }, &[&a, &b], &shape),
        "Mul" => c.emit_float(nn::Mul { act }, &[&a, &b], &shape),
        "Div" | "RealDiv" => c.emit_float(nn::Div { act }, &[&a, &b], &shape),
        "Add" | "AddV2" => c.emit_float(nn::Add { act }, &[&a, &b], &shape),
        _ => Err("it is supported on constants only".into()),
    };
    Ok(vec![y?])
}

/// A number for each channel, added.
pub fn bias_add(c: &mut Converter) -> Outputs {
    let (x, b) = (c.float(0)?, c.float(1)?);
    let (shape, n) = (c.shape(&x), c.rank(&b, 1)?[0]);
    let axis = if is_nchw(c)? { 1 } else { shape.len().wrapping_sub(1) };
    if shape.get(axis) != Some(&n) {
        return Err(format!("{n} biases for shape {shape:?}"));
    }
    let mut spread = vec![1; shape.len() - axis];
    spread[0] = n;
    let b = c.reshape(&b, &spread)?;
    Ok(vec![c.emit_float(nn::Add { act: Act::None }, &[&x, &b], &shape)?])
}

/// Functions of one number.
pub fn unary(c: &mut Converter) -> Outputs {
    const SELU_ALPHA: f32 = 1.673_263_2;
    const SELU_SCALE: f32 = 1.050_701;
    let x = c.float(0)?;
    let shape = c.shape(&x);
    let (f, alpha, beta) = match name(c) {
        "Abs" => (UnaryFn::Abs, 0.0, 0.0),
        "Ceil" => (UnaryFn::Ceil, 0.0, 0.0),
        "Cos" => (UnaryFn::Cos, 0.0, 0.0),
        "Elu" => (UnaryFn::Elu, 1.0, 0.0),
        "Erf" => (UnaryFn::Erf, 0.0, 0.0),
        "Exp" => (UnaryFn::Exp, 0.0, 0.0),
        "Floor" => (UnaryFn::Floor, 0.0, 0.0),
        "LeakyRelu" => (UnaryFn::LeakyRelu, c.attr_float("alpha", 0.2), 0.0),
        "Log" => (UnaryFn::Log, 0.0, 0.0),
        "Neg" => (UnaryFn::Neg, 0.0, 0.0),
        "Reciprocal" => (UnaryFn::Reciprocal, 0.0, 0.0),
        "Round" => (UnaryFn::Round, 0.0, 0.0),
        "Rsqrt" => (UnaryFn::Rsqrt, 0.0, 0.0),
        "Selu" => (UnaryFn::Selu, SELU_ALPHA, SELU_SCALE),
        "Sigmoid" => (UnaryFn::Sigmoid, 0.0, 0.0),
        "Sign" => (UnaryFn::Sign, 0.0, 0.0),
        "Sin" => (UnaryFn::Sin, 0.0, 0.0),
        "Softplus" => (UnaryFn::Softplus, 0.0, 0.0),
        "Softsign" => (UnaryFn::Softsign, 0.0, 0.0),
        "Sqrt" => (UnaryFn::Sqrt, 0.0, 0.0),
        "Square" => (UnaryFn::Square, 0.0, 0.0),
        "Tanh" => (UnaryFn::Tanh, 0.0, 0.0),
        other => return Err(format!("{other} has no function")),
    };
    Ok(vec![c.emit_float(nn::Unary { f, alpha, beta }, &[&x], &shape)?])
}

/// Clamps.
pub fn activation(c: &mut Converter) -> Outputs {
    let x = c.float(0)?;
    let act = if name(c) == "Relu6" { Act::Relu6 } else { Act::Relu };
    let shape = c.shape(&x);
    Ok(vec![c.emit_float(nn::Activation { act }, &[&x], &shape)?])
}

/// Over the last dimension.
pub fn softmax(c: &mut Converter) -> Outputs {
    let x = c.float(0)?;
    let shape = c.shape(&x);
    if shape.is_empty() {
        return Err("a scalar has no last dimension".into());
    }
    let y = match name(c) {
        "LogSoftmax" => c.emit_float(nn::LogSoftmax {}, &[&x], &shape),
        _ => c.emit_float(nn::Softmax { beta: 1.0 }, &[&x], &shape),
    };
    Ok(vec![y?])
}

/// The axes of input `i`, sorted and unique.
fn axes(c: &Converter, i: usize, rank: usize) -> Result<Vec<u32>, String> {
    let mut axes = Vec::new();
    for a in c.ints(i)? {
        axes.push(shapes::axis(a, rank)?);
    }
    axes.sort_unstable();
    axes.dedup();
    Ok(axes)
}

/// Sums and the like over axes.
pub fn reduce(c: &mut Converter) -> Outputs {
    let (x, op) = (c.input(0)?, name(c));
    let xs = c.shape(&x);
    let axes = axes(c, 1, xs.len())?;
    let keep = c.attr_bool("keep_dims", false);
    let is_reduced = |d: &usize| axes.contains(&(*d as u32));
    let shape: Vec<u64> = (0..xs.len())
        .filter(|d| keep || !is_reduced(d))
        .map(|d| if is_reduced(&d) { 1 } else { xs[d] })
        .collect();
    if let Val::Known(k) = &x
        && let Some(t) = fold::reduce(op, &k.tensor, &axes, &shape)?
    {
        return Ok(vec![c.make_known(t)?]);
    }
    let x = c.float(0)?;
    let f = match op {
        "Mean" => return Ok(vec![c.emit_float(nn::Mean { axes }, &[&x], &shape)?]),
        "Sum" => ReduceFn::Sum,
        "Prod" => ReduceFn::Prod,
        "Max" => ReduceFn::Max,
        _ => ReduceFn::Min,
    };
    Ok(vec![c.emit_float(nn::Reduce { f, axes }, &[&x], &shape)?])
}

/// Index of the largest or smallest element.
pub fn arg_extreme(c: &mut Converter) -> Outputs {
    let x = c.float(0)?;
    let mut shape = c.shape(&x);
    let axis = if c.n_inputs() > 1 { c.int(1)? } else { 0 };
    let axis = shapes::axis(axis, shape.len())?;
    shape.remove(axis as usize);
    let dtype = match c.attr("output_type") {
        Some(_) => c.attr_dtype("output_type")?,
        None => DType::I64,
    };
    if ![DType::I32, DType::I64].contains(&dtype) {
        return Err(format!("indices of type {dtype}"));
    }
    let min = name(c) == "ArgMin";
    Ok(vec![c.emit(nn::ArgMax { axis, min }, &[&x], &shape, dtype)?])
}

/// Another element type.
pub fn cast(c: &mut Converter) -> Outputs {
    let x = c.input(0)?;
    let to = c.attr_dtype("DstT")?;
    if c.dtype(&x) == to {
        return Ok(vec![x]);
    }
    if let Val::Known(k) = &x {
        let t = fold::cast(&k.tensor, to)?;
        return Ok(vec![c.make_known(t)?]);
    }
    let shape = c.shape(&x);
    Ok(vec![c.emit(nn::Cast {}, &[&x], &shape, to)?])
}

/// Inference: mean and variance are given.
pub fn batch_norm(c: &mut Converter) -> Outputs {
    if c.attr_bool("is_training", true) {
        return Err("it is in training mode; save the model for inference".into());
    }
    let epsilon = c.attr_float("epsilon", 1e-4);
    let x = c.float(0)?;
    let x = to_nhwc(c, x)?;
    let shape = c.shape(&x);
    let parameters: Vec<Val> = (1..5).map(|i| c.float(i)).collect::<Result<_, _>>()?;
    for p in &parameters {
        let n = c.rank(p, 1)?[0];
        if n != shape[3] {
            return Err(format!("{n} parameters for {} channels", shape[3]));
        }
    }
    let operands: Vec<&Val> = [&x].into_iter().chain(&parameters).collect();
    let y = c.emit_float(nn::BatchNorm { epsilon }, &operands, &shape)?;
    from_nhwc(c, &y)
}
