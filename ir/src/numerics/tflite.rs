//! TensorFlow Lite's reference kernels (LiteRT 2.3, `BUILTIN_REF`).

use super::recipe::{Recipe, limits, parameter_lists};
use super::{IntForm, Operand, list, storage_type};
use crate::dialect::OpKind;
use crate::dialect::int::{self, MeanRounding, QuantizeRounding, Rescale, ResizeStyle};
use crate::dialect::quant;
use crate::{DType, Func, Module, OpId, TensorType};
use qcc_runtime::fixedpoint as fx;

pub(super) fn derive(module: &Module, func: &Func, op: OpId) -> Result<IntForm, String> {
    let OpKind::Quant(kind) = func.kind(op) else {
        return Err(format!("'{}' is not a quantized op", func.kind(op).name()));
    };
    let mut r = Recipe::new(module, func, op);
    match kind {
        quant::Op::Quantize(_) => r.quantize()?,
        quant::Op::Dequantize(_) => r.dequantize()?,
        quant::Op::Requantize(_) => r.requantize()?,
        quant::Op::Conv2d(o) => r.conv2d(o)?,
        quant::Op::DepthwiseConv2d(o) => r.depthwise(o)?,
        quant::Op::FullyConnected(o) => r.fully_connected(o)?,
        quant::Op::Add(o) => r.add(o)?,
        quant::Op::Sub(o) => r.sub(o)?,
        quant::Op::Mul(o) => r.mul(o)?,
        quant::Op::Div(o) => r.div(o)?,
        quant::Op::Compare(o) => r.compare_rounded(o)?,
        quant::Op::Binary(o) => r.binary(o)?,
        quant::Op::MatMul(o) => r.matmul(o)?,
        quant::Op::Unary(o) => r.unary(o)?,
        quant::Op::Activation(o) => r.activation(o)?,
        quant::Op::MaxPool2d(o) => r.max_pool(o)?,
        quant::Op::AvgPool2d(o) => r.avg_pool(o)?,
        quant::Op::Mean(o) => r.mean(o)?,
        quant::Op::Sum(o) => r.sum_over(o)?,
        quant::Op::ReduceMax(o) => r.reduce_max(o)?,
        quant::Op::Softmax(o) => r.softmax(o)?,
        quant::Op::LogSoftmax(_) => r.log_softmax()?,
        quant::Op::L2Normalize(_) => r.l2_normalize()?,
        quant::Op::ResizeBilinear(o) => r.resize(o),
        quant::Op::ArgMax(o) => {
            r.push(int::ArgMax { axis: o.axis, min: o.min }, &[Operand::Input(0)])
        }
        quant::Op::Concat(o) => r.concat(o)?,
        quant::Op::Split(o) => r.split(o),
        quant::Op::Reinterpret(_) | quant::Op::Reshape(_) => {
            r.push(int::Reshape {}, &[Operand::Input(0)])
        }
    }
    Ok(r.done())
}

impl Recipe<'_> {
    // ---- conversions ----

    fn quantize(&mut self) -> Result<(), String> {
        let (scale, zp, axis) = parameter_lists(Self::quant(self.y()));
        let kind = int::Quantize { axis, rounding: QuantizeRounding::HalfAway, code_bias: 0 };
        self.push(kind, &[Operand::Input(0), Operand::Const(scale), Operand::Const(zp)]);
        Ok(())
    }

    fn dequantize(&mut self) -> Result<(), String> {
        let (scale, zp, axis) = parameter_lists(Self::quant(self.x(0)));
        let kind = int::Dequantize { axis, f32_steps: false };
        self.push(kind, &[Operand::Input(0), Operand::Const(scale), Operand::Const(zp)]);
        Ok(())
    }

    fn requantize(&mut self) -> Result<(), String> {
        let x = Self::affine(self.x(0), "the input")?;
        let y = Self::affine(self.y(), "the output")?;
        let rescale = fx::IntRequant::new(x, y);
        let (lo, hi) = limits(self.y().storage());
        if self.x(0).storage().size() == 1 {
            let table = self.table(|q| rescale.eval(q).clamp(lo, hi).into());
            self.push(int::Lut {}, &[Operand::Input(0), Operand::Const(table)]);
            return Ok(());
        }
        let kind = int::Requantize {
            x_zp: x.zero_point,
            mult: rescale.multiplier.mantissa,
            shift: rescale.multiplier.shift,
            y_zp: y.zero_point,
            lo,
            hi,
        };
        self.push(kind, &[Operand::Input(0)]);
        Ok(())
    }

    // ---- accumulating ops ----

    // ---- elementwise, pooling, reductions ----

    fn avg_pool(&mut self, o: &quant::AvgPool2d) -> Result<(), String> {
        if o.count_include_pad {
            return Err("TensorFlow Lite's average pooling does not count the padding".into());
        }
        if Self::quant(self.x(0)) != Self::quant(self.y()) {
            return Err("the input and the output must share scale and zero point".into());
        }
        let dtype = self.y().storage();
        let (lo, hi) = limits(dtype);
        let rounding = match dtype {
            DType::U8 => MeanRounding::HalfUp,
            _ => MeanRounding::HalfAway,
        };
        let kind = int::AvgPool2d {
            window: o.window,
            stride: o.stride,
            pad: o.pad,
            rounding,
            code_bias: 0,
            lo,
            hi,
        };
        self.finish(kind, &[Operand::Input(0)], o.act)
    }

    fn mean(&mut self, o: &quant::Mean) -> Result<(), String> {
        let x = Self::affine(self.x(0), "the input")?;
        let y = Self::affine(self.y(), "the output")?;
        let count: u64 = o.axes.iter().map(|&a| self.x(0).shape[a as usize]).product();
        let p = fx::MeanParams::new(x, y, count as usize);
        let (lo, hi) = limits(self.y().storage());
        let kind = int::Mean {
            axes: o.axes.clone(),
            x_zp: x.zero_point,
            rescale: Rescale::Double,
            mult: p.multiplier.mantissa,
            shift: p.multiplier.shift,
            mult_f32: 0.0,
            y_zp: p.output_zero_point,
            lo,
            hi,
        };
        self.push(kind, &[Operand::Input(0)]);
        Ok(())
    }

    /// As the mean without its division, on the stored bytes (numerics.md D.10).
    fn sum_over(&mut self, o: &quant::Sum) -> Result<(), String> {
        let x = Self::affine(self.x(0), "the input")?;
        let y = Self::affine(self.y(), "the output")?;
        let (from, to) = (self.x(0).storage(), self.y().storage());
        if from != to || from.size() != 1 {
            return Err(format!("there is no sum of {from} to {to}"));
        }
        let m = fx::quantize_multiplier(f64::from(x.scale) / f64::from(y.scale));
        let kind = int::Mean {
            axes: o.axes.clone(),
            x_zp: x.zero_point,
            rescale: Rescale::Double,
            mult: m.mantissa,
            shift: m.shift,
            mult_f32: 0.0,
            y_zp: y.zero_point,
            lo: 0,
            hi: 255,
        };
        if from == DType::U8 {
            self.push(kind, &[Operand::Input(0)]);
            return Ok(());
        }
        let bytes = |shape| TensorType::plain(shape, DType::U8);
        let as_bytes = list(DType::U8, (-128..128).map(|q| q & 0xFF));
        let as_codes = list(to, (0..256).map(|b| i64::from(b as u8 as i8)));
        let (xs, ys) = (bytes(&self.x(0).shape), bytes(&self.y().shape));
        let x = self.step(int::Lut {}, &[Operand::Input(0), Operand::Const(as_bytes)], xs);
        let sum = self.step(kind, &[x], ys);
        self.push(int::Lut {}, &[sum, Operand::Const(as_codes)]);
        Ok(())
    }

    fn softmax(&mut self, o: &quant::Softmax) -> Result<(), String> {
        let x = Self::affine(self.x(0), "the input")?;
        let (m, diff_min) = match (self.x(0).storage(), self.y().storage()) {
            (DType::I16, DType::I16) => (fx::Softmax16Params::new(o.beta, x.scale).multiplier, 0),
            (DType::I8, DType::I8 | DType::I16) | (DType::U8, DType::U8 | DType::I16) => {
                let p = fx::SoftmaxParams::new(o.beta, x.scale);
                (p.multiplier, p.diff_min)
            }
            (a, b) => return Err(format!("softmax from {a} to {b} has no reference kernel")),
        };
        let kind = int::Softmax { mult: m.mantissa, shift: m.shift, diff_min, y_code_bias: 0 };
        self.push(kind, &[Operand::Input(0)]);
        Ok(())
    }

    fn log_softmax(&mut self) -> Result<(), String> {
        let x = Self::affine(self.x(0), "the input")?;
        let (lo, hi) = self.fixed_output((16.0 / 256.0, 1.0))?;
        let p = fx::LogSoftmaxParams::new(x.scale);
        let kind = int::LogSoftmax {
            mult: p.softmax.multiplier.mantissa,
            shift: p.softmax.multiplier.shift,
            diff_min: p.softmax.diff_min,
            back_mult: p.back.mantissa,
            back_shift: p.back.shift,
            lo,
            hi,
        };
        self.push(kind, &[Operand::Input(0)]);
        Ok(())
    }

    fn l2_normalize(&mut self) -> Result<(), String> {
        let x_zp = Self::affine(self.x(0), "the input")?.zero_point;
        let (lo, hi) = self.fixed_output((1.0 / 128.0, 0.5))?;
        let (left, more, y_zp) = match self.y().storage() {
            DType::U8 => (7, 0, 128),
            _ => (0, 7, 0),
        };
        let kind = int::L2Normalize { x_zp, left, more, y_zp, lo, hi };
        self.push(kind, &[Operand::Input(0)]);
        Ok(())
    }

    /// The codes of the output, which must be those of the 8-bit input's type, in steps of `scale`,
    /// with 0 at the share `zero` of them.
    fn fixed_output(&self, (scale, zero): (f32, f64)) -> Result<(i32, i32), String> {
        let (x, dtype) = (self.x(0).storage(), self.y().storage());
        if x != dtype || x.size() != 1 {
            return Err(format!("there is no kernel from {x} to {dtype}"));
        }
        let (lo, hi) = limits(dtype);
        let zero_point = lo + (zero * 256.0).min(255.0) as i32;
        let y = Self::affine(self.y(), "the output")?;
        match (y.scale, y.zero_point) == (scale, zero_point) {
            true => Ok((lo, hi)),
            false => {
                Err(format!("the output's scale must be {scale}, its zero point {zero_point}"))
            }
        }
    }

    fn resize(&mut self, o: &quant::ResizeBilinear) {
        let style = match self.x(0).storage() {
            DType::U8 => ResizeStyle::Float32,
            _ => ResizeStyle::Fixed10,
        };
        let kind = int::ResizeBilinear {
            style,
            align_corners: o.align_corners,
            half_pixel_centers: o.half_pixel_centers,
            code_bias: 0,
        };
        self.push(kind, &[Operand::Input(0)]);
    }

    // ---- movement ----

    fn concat(&mut self, o: &quant::Concat) -> Result<(), String> {
        let y = Self::affine(self.y(), "the output")?;
        let mut parts = Vec::new();
        for i in 0..self.func.operands(self.op).len() {
            parts.push(self.concat_part(i, y)?);
        }
        self.finish(int::Concat { axis: o.axis }, &parts, o.act)
    }

    /// Input `i` in the output's parameters: only uint8 inputs may differ.
    fn concat_part(&mut self, i: usize, y: fx::Affine) -> Result<Operand, String> {
        let x = Self::affine(self.x(i), "every input")?;
        if self.x(i).storage() != DType::U8 {
            return match x == y {
                true => Ok(Operand::Input(i)),
                false => Err(format!("input {i} and the output must share scale and zero point")),
            };
        }
        let Some(rescale) = fx::ConcatRescale::new(x, y) else { return Ok(Operand::Input(i)) };
        let table = list(DType::U8, (0..=255u8).map(|q| rescale.eval(q).into()));
        let ty = storage_type(self.x(i));
        Ok(self.step(int::Lut {}, &[Operand::Input(i), Operand::Const(table)], ty))
    }
}
