//! ONNX Runtime's quantized kernels (CPU provider, x86-64; numerics.md E): f32 scales, halves to
//! even. What it computes in float32 between DequantizeLinear and QuantizeLinear, functions of one
//! or two 8-bit codes, is a table; other such ops stay float32.

use super::recipe::{Recipe, limits, parameter_lists};
use super::{IntForm, Operand, float_list, functions, list, storage_type};
use crate::dialect::OpKind;
use crate::dialect::int::{self, MulStyle, QuantizeRounding, Rescale};
use crate::dialect::nn::{self, ResizeCoordinates};
use crate::dialect::quant::{self, Act, PoolSum};
use crate::{DType, Func, Module, OpId, TensorType};
use qcc_runtime::fixedpoint as fx;

pub(super) fn derive(module: &Module, func: &Func, op: OpId) -> Result<IntForm, String> {
    let OpKind::Quant(kind) = func.kind(op) else {
        return Err(format!("'{}' is not a quantized op", func.kind(op).name()));
    };
    let mut r = Recipe::new(module, func, op);
    match kind {
        quant::Op::Quantize(_) => quantize(&mut r),
        quant::Op::Dequantize(_) => dequantize(&mut r),
        quant::Op::Requantize(_) => requantize(&mut r)?,
        quant::Op::Conv2d(o) => r.conv2d(o)?,
        quant::Op::DepthwiseConv2d(o) => r.depthwise(o)?,
        quant::Op::FullyConnected(o) => r.fully_connected(o)?,
        quant::Op::MatMul(o) => r.matmul(o)?,
        quant::Op::Add(o) => add(&mut r, o)?,
        quant::Op::Sub(o) => two(&mut r, nn::Sub { act: Act::None }, o.act, |a, b| a - b)?,
        quant::Op::Mul(o) => mul(&mut r, o)?,
        quant::Op::Div(o) => two(&mut r, nn::Div { act: Act::None }, o.act, |a, b| a / b)?,
        quant::Op::Compare(o) => compare(&mut r, o)?,
        quant::Op::Binary(o) => {
            two(&mut r, nn::Binary { f: o.f }, Act::None, functions::binary(o.f))?
        }
        quant::Op::Unary(o) => one(&mut r, functions::unary(o.f, [o.alpha, o.beta]))?,
        quant::Op::Activation(o) => activation(&mut r, o)?,
        quant::Op::MaxPool2d(o) => r.max_pool(o)?,
        quant::Op::AvgPool2d(o) => avg_pool(&mut r, o)?,
        quant::Op::Mean(o) => mean(&mut r, o)?,
        quant::Op::ReduceMax(o) => r.reduce_max(o)?,
        quant::Op::Softmax(o) => softmax(&mut r, o)?,
        quant::Op::LogSoftmax(_) | quant::Op::L2Normalize(_) | quant::Op::Sum(_) => {
            return Err(format!("ONNX has no quantized '{}'", kind.spec().name));
        }
        quant::Op::ResizeBilinear(o) => resize(&mut r, o)?,
        quant::Op::ArgMax(o) => {
            r.push(int::ArgMax { axis: o.axis, min: o.min }, &[Operand::Input(0)])
        }
        quant::Op::Concat(o) => concat(&mut r, o)?,
        quant::Op::Split(o) => r.split(o),
        quant::Op::Reinterpret(_) | quant::Op::Reshape(_) => {
            r.push(int::Reshape {}, &[Operand::Input(0)])
        }
    }
    Ok(r.done())
}

fn quantize(r: &mut Recipe) {
    let (scale, zp, axis) = parameter_lists(Recipe::quant(r.y()));
    let kind = int::Quantize { axis, rounding: QuantizeRounding::HalfEven, code_bias: 0 };
    r.push(kind, &[Operand::Input(0), Operand::Const(scale), Operand::Const(zp)]);
}

fn dequantize(r: &mut Recipe) {
    let (scale, zp, axis) = parameter_lists(Recipe::quant(r.x(0)));
    let kind = int::Dequantize { axis, f32_steps: true };
    r.push(kind, &[Operand::Input(0), Operand::Const(scale), Operand::Const(zp)]);
}

/// DequantizeLinear, then QuantizeLinear.
fn requantize(r: &mut Recipe) -> Result<(), String> {
    let per_tensor = |t: &TensorType| Recipe::quant(t).uniform().is_some();
    if r.x(0).storage().size() <= 2 && per_tensor(r.x(0)) && per_tensor(r.y()) {
        return one(r, |v| v);
    }
    let ty = TensorType::plain(&r.x(0).shape, DType::F32);
    let (scale, zp, axis) = parameter_lists(Recipe::quant(r.x(0)));
    let inputs = [Operand::Input(0), Operand::Const(scale), Operand::Const(zp)];
    let real = r.step(int::Dequantize { axis, f32_steps: true }, &inputs, ty);
    let (scale, zp, axis) = parameter_lists(Recipe::quant(r.y()));
    let kind = int::Quantize { axis, rounding: QuantizeRounding::HalfEven, code_bias: 0 };
    r.push(kind, &[real, Operand::Const(scale), Operand::Const(zp)]);
    Ok(())
}

/// A function of one number, in f32, as a table.
fn one(r: &mut Recipe, f: impl Fn(f32) -> f32) -> Result<(), String> {
    let x = Recipe::affine(r.x(0), "the input")?;
    let y = Recipe::affine(r.y(), "the output")?;
    let bounds = limits(r.y().storage());
    r.lut(|q| fx::quantize_linear(f(fx::dequantize_linear(q, x)), y, bounds))
}

/// A function of two numbers in f32, then `act`: a table of 8-bit codes, else the float op `kind`.
fn two(
    r: &mut Recipe,
    kind: impl Into<OpKind>,
    act: Act,
    f: impl Fn(f32, f32) -> f32,
) -> Result<(), String> {
    if (0..2).any(|i| r.x(i).storage().size() > 1) {
        return r.in_float(kind, act);
    }
    let a = Recipe::affine(r.x(0), "the first input")?;
    let b = Recipe::affine(r.x(1), "the second input")?;
    let y = Recipe::affine(r.y(), "the output")?;
    let bounds = r.activation_range(act, y, r.y().storage());
    r.pair_lut(|p, q| {
        let v = f(fx::dequantize_linear(p, a), fx::dequantize_linear(q, b));
        fx::quantize_linear(v, y, bounds)
    })
}

/// Comparison between DequantizeLinear and what reads truth values.
fn compare(r: &mut Recipe, o: &quant::Compare) -> Result<(), String> {
    let a = Recipe::affine(r.x(0), "the first input")?;
    let b = Recipe::affine(r.x(1), "the second input")?;
    let real = fx::dequantize_linear;
    r.compare(o, |p, q| real(p, a).partial_cmp(&real(q, b)))
}

/// QLinearAdd.
fn add(r: &mut Recipe, o: &quant::Add) -> Result<(), String> {
    let a = Recipe::affine(r.x(0), "the first input")?;
    let b = Recipe::affine(r.x(1), "the second input")?;
    let y = Recipe::affine(r.y(), "the output")?;
    if r.y().storage().size() > 1 {
        return r.in_float(nn::Add { act: Act::None }, o.act);
    }
    let p = fx::LinearAdd::new(a, b, y);
    let (lo, hi) = limits(r.y().storage());
    let kind = int::AddFloat {
        a_scale: p.scales[0],
        b_scale: p.scales[1],
        offset: p.offset,
        a_bias: 0,
        b_bias: 0,
        y_bias: 0,
        lo,
        hi,
    };
    r.finish(kind, &[Operand::Input(0), Operand::Input(1)], o.act)
}

/// QLinearMul.
fn mul(r: &mut Recipe, o: &quant::Mul) -> Result<(), String> {
    let a = Recipe::affine(r.x(0), "the first input")?;
    let b = Recipe::affine(r.x(1), "the second input")?;
    let y = Recipe::affine(r.y(), "the output")?;
    if r.y().storage().size() > 1 {
        return r.in_float(nn::Mul { act: Act::None }, o.act);
    }
    let (lo, hi) = limits(r.y().storage());
    let kind = int::Mul {
        style: MulStyle::Float,
        a_zp: a.zero_point,
        b_zp: b.zero_point,
        mult: 0,
        shift: 0,
        mult_f32: fx::product_scale(a.scale, b.scale, y.scale),
        y_zp: y.zero_point,
        y_bias: 0,
        lo,
        hi,
    };
    r.finish(kind, &[Operand::Input(0), Operand::Input(1)], o.act)
}

/// A clamp of codes where the parameters are the same, else a table.
fn activation(r: &mut Recipe, o: &quant::Activation) -> Result<(), String> {
    let y = Recipe::affine(r.y(), "the output")?;
    let (lo, hi) = r.activation_range(o.act, y, r.y().storage());
    if Recipe::quant(r.x(0)) == Recipe::quant(r.y()) {
        r.push(int::Clamp { lo, hi }, &[Operand::Input(0)]);
        return Ok(());
    }
    let x = Recipe::affine(r.x(0), "the input")?;
    r.lut(|q| fx::quantize_linear(fx::dequantize_linear(q, x), y, (lo, hi)))
}

/// The float op between the conversions, or the mean of the codes themselves.
fn avg_pool(r: &mut Recipe, o: &quant::AvgPool2d) -> Result<(), String> {
    let kind = nn::AvgPool2d {
        window: o.window,
        stride: o.stride,
        pad: o.pad,
        act: Act::None,
        count_include_pad: o.count_include_pad,
        by_columns: o.sum == PoolSum::Columns,
    };
    if o.sum != PoolSum::Codes {
        return r.in_float(kind, o.act);
    }
    if Recipe::quant(r.x(0)) != Recipe::quant(r.y()) {
        return Err("a mean of codes keeps scale and zero point".into());
    }
    if o.count_include_pad && o.pad != [0; 4] {
        return Err("a mean of codes does not know zeros around the image".into());
    }
    let [scale, zp] = [float_list(DType::F32, [1.0]), list(DType::I32, [0])].map(Operand::Const);
    let x = TensorType::plain(&r.x(0).shape, DType::F32);
    let y = TensorType::plain(&r.y().shape, DType::F32);
    let codes = int::Dequantize { axis: 0, f32_steps: true };
    let codes = r.step(codes, &[Operand::Input(0), scale.clone(), zp.clone()], x);
    let mean = r.step(kind, &[codes], y);
    let kind = int::Quantize { axis: 0, rounding: QuantizeRounding::HalfEven, code_bias: 0 };
    r.finish(kind, &[mean, scale, zp], o.act)
}

/// QLinearGlobalAveragePool; float32 where the codes are wider.
fn mean(r: &mut Recipe, o: &quant::Mean) -> Result<(), String> {
    if r.x(0).storage().size() > 1 {
        match (r.x(0).shape.len(), o.axes.as_slice()) {
            (4, &[rows, columns]) if columns == rows + 1 => {
                r.image_mean_in_float([rows, columns]);
            }
            _ => r.in_float(nn::Mean { axes: o.axes.clone() }, Act::None)?,
        }
        return Ok(());
    }
    let x = Recipe::affine(r.x(0), "the input")?;
    let y = Recipe::affine(r.y(), "the output")?;
    let count: u64 = o.axes.iter().map(|&a| r.x(0).shape[a as usize]).product();
    let (lo, hi) = limits(r.y().storage());
    let kind = int::Mean {
        axes: o.axes.clone(),
        x_zp: x.zero_point,
        rescale: Rescale::F32Even,
        mult: 0,
        shift: 0,
        mult_f32: x.scale / (y.scale * count as f32),
        y_zp: y.zero_point,
        lo,
        hi,
    };
    r.push(kind, &[Operand::Input(0)]);
    Ok(())
}

/// QLinearSoftmax.
fn softmax(r: &mut Recipe, o: &quant::Softmax) -> Result<(), String> {
    let x = Recipe::affine(r.x(0), "the input")?;
    let y = Recipe::affine(r.y(), "the output")?;
    if r.x(0).storage().size() > 1 || r.y().storage().size() > 1 || o.beta != 1.0 {
        return r.in_float(nn::Softmax { beta: o.beta }, Act::None);
    }
    let row = r.x(0).shape.last().copied().unwrap_or(1);
    let table = fx::softmax_table(x.scale, row as usize);
    let table = float_list(DType::F32, table.iter().map(|&v| v.into()));
    let (lo, hi) = limits(r.y().storage());
    let y_inverse = (1.0 / y.scale).floor();
    let kind = int::SoftmaxFloat { y_inverse, y_zp: y.zero_point, lo, hi };
    r.push(kind, &[Operand::Input(0), Operand::Const(table)]);
    Ok(())
}

fn resize(r: &mut Recipe, o: &quant::ResizeBilinear) -> Result<(), String> {
    let coordinates = match (o.align_corners, o.half_pixel_centers) {
        (true, _) => ResizeCoordinates::AlignCorners,
        (_, true) => ResizeCoordinates::HalfPixel,
        _ => ResizeCoordinates::Asymmetric,
    };
    r.in_float(nn::ResizeBilinear { coordinates }, Act::None)
}

/// QLinearConcat: each input by its table, unless it has y's parameters.
fn concat(r: &mut Recipe, o: &quant::Concat) -> Result<(), String> {
    let y = Recipe::affine(r.y(), "the output")?;
    let dtype = r.y().storage();
    let mut parts = Vec::new();
    for i in 0..r.func.operands(r.op).len() {
        let x = Recipe::affine(r.x(i), "every input")?;
        if x == y {
            parts.push(Operand::Input(i));
            continue;
        }
        let bounds = limits(dtype);
        let code = |q: i32| fx::quantize_linear(fx::dequantize_linear(q, x), y, bounds);
        if dtype.size() > 2 {
            return Err(format!("there is no table of {dtype}"));
        }
        let table = list(dtype, (bounds.0..=bounds.1).map(|q| code(q).into()));
        let ty = storage_type(r.x(i));
        parts.push(r.step(int::Lut {}, &[Operand::Input(i), Operand::Const(table)], ty));
    }
    r.finish(int::Concat { axis: o.axis }, &parts, o.act)
}
