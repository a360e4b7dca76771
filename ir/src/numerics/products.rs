//! Sums of products: convolutions, fully connected layers, products of two activations. All numerics
//! agree on the accumulator; they differ in the multiplier and in how it is applied.

use super::recipe::{Recipe, limits};
use super::{Operand, float_list, list, storage_type};
use crate::dialect::int::{self, Rescale};
use crate::dialect::nn;
use crate::dialect::quant::{self, Act};
use crate::{Affine, DType, Numerics, TensorType};
use qcc_runtime::Tensor;
use qcc_runtime::fixedpoint as fx;
use std::cmp::Ordering;

/// Bias and requantization operands of an accumulating op, with how they are used.
struct Accumulate {
    rescale: Rescale,
    operands: Vec<Operand>,
}

impl Recipe<'_> {
    pub(super) fn conv2d(&mut self, o: &quant::Conv2d) -> Result<(), String> {
        let channels = self.y().shape[3] as usize;
        let w_zp = self.weight_zero_point()?;
        let acc = self.accumulate(channels, self.conv_wide())?;
        let x_zp = Self::affine(self.x(0), "the input")?.zero_point;
        let (lo, hi) = limits(self.y().storage());
        let kind = int::Conv2d {
            stride: o.stride,
            dilation: o.dilation,
            pad: o.pad,
            groups: o.groups,
            pad_value: x_zp,
            x_zp,
            w_zp,
            rescale: acc.rescale,
            y_zp: Self::affine(self.y(), "the output")?.zero_point,
            lo,
            hi,
            kernel: Default::default(),
            forms: Default::default(),
            epilogue: Default::default(),
        };
        self.finish(kind, &acc.operands, o.act)
    }

    pub(super) fn depthwise(&mut self, o: &quant::DepthwiseConv2d) -> Result<(), String> {
        let channels = self.y().shape[3] as usize;
        let w_zp = self.weight_zero_point()?;
        let acc = self.accumulate(channels, self.x(0).storage() == DType::I16)?;
        let x_zp = Self::affine(self.x(0), "the input")?.zero_point;
        let (lo, hi) = limits(self.y().storage());
        let kind = int::DepthwiseConv2d {
            stride: o.stride,
            dilation: o.dilation,
            pad: o.pad,
            pad_value: x_zp,
            x_zp,
            w_zp,
            rescale: acc.rescale,
            y_zp: Self::affine(self.y(), "the output")?.zero_point,
            lo,
            hi,
            kernel: Default::default(),
            forms: Default::default(),
        };
        self.finish(kind, &acc.operands, o.act)
    }

    /// 64-bit accumulators: 16-bit activations unless the bias is int32.
    fn conv_wide(&self) -> bool {
        let bias = self.func.operands(self.op).get(2).map(|&b| self.tensor(b).storage());
        self.x(0).storage() == DType::I16 && bias.is_none_or(|b| b == DType::I64)
    }

    pub(super) fn fully_connected(&mut self, o: &quant::FullyConnected) -> Result<(), String> {
        let w = self.x(1).clone();
        let (out, k) = (w.shape[0] as usize, w.shape[1]);
        let y = Self::affine(self.y(), "the output")?;
        let w_zp = self.weight_zero_point()?;
        let bias = self.func.operands(self.op).get(2).map(|&b| self.tensor(b).storage());
        let wide = bias == Some(DType::I64);
        let acc = match self.module.numerics {
            Numerics::TfLite => self.accumulate_f64(out, wide)?,
            _ => self.accumulate(out, wide)?,
        };
        let x_zp = Self::affine(self.x(0), "the input")?.zero_point;
        let (lo, hi) = limits(self.y().storage());
        let rescale = acc.rescale;
        let kind = int::FullyConnected {
            x_zp,
            w_zp,
            rescale,
            y_zp: y.zero_point,
            lo,
            hi,
            kernel: Default::default(),
            forms: Default::default(),
        };
        let rows = self.x(0).len().checked_div(k).unwrap_or(0);
        let matrix = TensorType::plain(&[rows, k], self.x(0).storage());
        let mut operands = acc.operands;
        if self.x(0).shape.as_slice() != matrix.shape.as_slice() {
            operands[0] = self.step(int::Reshape {}, &[Operand::Input(0)], matrix);
        }
        let flat = TensorType::plain(&[rows, w.shape[0]], self.y().storage());
        if self.y().shape.as_slice() == flat.shape.as_slice() {
            return self.finish(kind, &operands, o.act);
        }
        let mut last = self.step(kind, &operands, flat.clone());
        if o.act != Act::None {
            let (lo, hi) = self.activation_range(o.act, y, flat.storage());
            last = self.step(int::Clamp { lo, hi }, &[last], flat);
        }
        self.push(int::Reshape {}, &[last]);
        Ok(())
    }

    pub(super) fn matmul(&mut self, o: &quant::MatMul) -> Result<(), String> {
        let a = Self::affine(self.x(0), "the first factor")?;
        let b = Self::affine(self.x(1), "the second factor")?;
        let y = Self::affine(self.y(), "the output")?;
        let (lo, hi) = limits(self.y().storage());
        let mut kind = int::MatMul {
            transpose_a: o.transpose_a,
            transpose_b: o.transpose_b,
            a_zp: a.zero_point,
            b_zp: b.zero_point,
            rescale: Rescale::F32Even,
            mult: 0,
            shift: 0,
            mult_f32: fx::product_scale(a.scale, b.scale, y.scale),
            y_zp: y.zero_point,
            lo,
            hi,
        };
        if self.module.numerics == Numerics::TfLite {
            let m = f64::from(a.scale * b.scale) / f64::from(y.scale);
            let m = fx::quantize_multiplier(m);
            (kind.mult, kind.shift, kind.mult_f32) = (m.mantissa, m.shift, 0.0);
            let wide = self.x(0).storage() == DType::I16;
            kind.rescale = if wide { Rescale::Wide } else { Rescale::Double };
        } else if self.x(0).storage().size() > 1 {
            return Err(format!("there is no product of {}", self.x(0).storage()));
        }
        self.push(kind, &[Operand::Input(0), Operand::Input(1)]);
        Ok(())
    }

    /// Operands of a convolution: x, w, bias, multipliers, shifts.
    fn accumulate(&self, channels: usize, wide: bool) -> Result<Accumulate, String> {
        if self.module.numerics == Numerics::Onnx {
            return self.accumulate_f32(channels);
        }
        let x = Self::affine(self.x(0), "the input")?;
        let y = Self::affine(self.y(), "the output")?;
        // In f64 from the scales; legacy uint8 forms the product of the input scales in f32.
        let legacy = self.x(0).storage() == DType::U8;
        let real = |w: &Affine| match legacy {
            true => f64::from(x.scale * w.scale) / f64::from(y.scale),
            false => f64::from(x.scale) * f64::from(w.scale) / f64::from(y.scale),
        };
        let weights = self.weight_scales(channels)?;
        let all: Vec<_> = weights.iter().map(|w| fx::quantize_multiplier(real(w))).collect();
        let mult = list(DType::I32, all.iter().map(|m| m.mantissa.into()));
        let shift = list(DType::I32, all.iter().map(|m| m.shift.into()));
        let rescale = if wide { Rescale::Wide } else { Rescale::Double };
        self.accumulated(rescale, self.bias(channels, wide)?, mult, shift)
    }

    /// TensorFlow Lite's FULLY_CONNECTED: one multiplier in f64.
    fn accumulate_f64(&self, channels: usize, wide: bool) -> Result<Accumulate, String> {
        let s_x = f64::from(Self::affine(self.x(0), "the input")?.scale);
        let s_y = f64::from(Self::affine(self.y(), "the output")?.scale);
        let scales = self.weight_scales(channels)?;
        let mult = float_list(DType::F64, scales.iter().map(|a| s_x * f64::from(a.scale) / s_y));
        self.accumulated(Rescale::F64, self.bias(channels, wide)?, mult, list(DType::I32, []))
    }

    /// ONNX Runtime's QLinearConv, QLinearMatMul and QGemm: f32(f32(sx·sw)/sy).
    fn accumulate_f32(&self, channels: usize) -> Result<Accumulate, String> {
        let x = Self::affine(self.x(0), "the input")?;
        let y = Self::affine(self.y(), "the output")?;
        if self.x(0).storage().size() > 1 {
            return Err(format!("there is no product of {}", self.x(0).storage()));
        }
        let scales = self.weight_scales(channels)?.iter();
        let mult = scales.map(|w| fx::product_scale(x.scale, w.scale, y.scale).into());
        let mult = float_list(DType::F32, mult);
        self.accumulated(Rescale::F32Even, self.bias(channels, false)?, mult, list(DType::I32, []))
    }

    fn weight_scales(&self, channels: usize) -> Result<&[Affine], String> {
        let weights = Self::quant(self.x(1)).affines();
        match weights.len() == 1 || weights.len() == channels {
            true => Ok(weights),
            false => Err(format!("{} weight scales for {channels} channels", weights.len())),
        }
    }

    fn accumulated(
        &self,
        rescale: Rescale,
        bias: Operand,
        mult: Tensor,
        shift: Tensor,
    ) -> Result<Accumulate, String> {
        let consts = [mult, shift].map(Operand::Const);
        let operands = [Operand::Input(0), Operand::Input(1), bias].into_iter().chain(consts);
        Ok(Accumulate { rescale, operands: operands.collect() })
    }

    /// The op on real numbers: inputs dequantized, `kind` in f32, its result quantized.
    pub(super) fn in_float(
        &mut self,
        kind: impl Into<crate::OpKind>,
        act: Act,
    ) -> Result<(), String> {
        let mut reals = Vec::new();
        for i in 0..self.func.operands(self.op).len() {
            let ty = TensorType::plain(&self.x(i).shape, DType::F32);
            reals.push(self.dequantized(i, ty));
        }
        let y = TensorType::plain(&self.y().shape, DType::F32);
        let real = self.step(kind, &reals, y);
        let (scale, zp, axis) = super::recipe::parameter_lists(Self::quant(self.y()));
        let rounding = int::QuantizeRounding::HalfEven;
        let kind = int::Quantize { axis, rounding, code_bias: 0 };
        self.finish(kind, &[real, Operand::Const(scale), Operand::Const(zp)], act)
    }

    fn dequantized(&mut self, i: usize, ty: TensorType) -> Operand {
        let (scale, zp, axis) = super::recipe::parameter_lists(Self::quant(self.x(i)));
        let kind = int::Dequantize { axis, f32_steps: true };
        self.step(kind, &[Operand::Input(i), Operand::Const(scale), Operand::Const(zp)], ty)
    }

    /// A table over all codes of the only input, of 8 or 16 bits.
    pub(super) fn lut(&mut self, f: impl Fn(i32) -> i32) -> Result<(), String> {
        let x = self.x(0).storage();
        if x.size() > 2 {
            return Err(format!("there is no table of {x}"));
        }
        let (lo, hi) = limits(x);
        let table = list(self.y().storage(), (lo..=hi).map(|q| i64::from(f(q))));
        self.push(int::Lut {}, &[Operand::Input(0), Operand::Const(table)]);
        Ok(())
    }

    /// Truth values of pairs of 8-bit codes, by the order that `order` finds.
    pub(super) fn compare(
        &mut self,
        o: &quant::Compare,
        order: impl Fn(i32, i32) -> Option<Ordering>,
    ) -> Result<(), String> {
        let holds = |p, q| o.f.holds(order(p, q));
        let ty = TensorType::plain(&self.y().shape, DType::U8);
        let truth = self.pair_table(ty, |p, q| holds(p, q).into())?;
        self.push(nn::Cast {}, &[truth]);
        Ok(())
    }

    /// A table over all pairs of codes of the two inputs, of 8 bits.
    pub(super) fn pair_lut(&mut self, f: impl Fn(i32, i32) -> i32) -> Result<(), String> {
        self.pair_table(storage_type(self.y()), f)?;
        Ok(())
    }

    /// A step that looks up each pair of codes in a table of elements of `ty`.
    fn pair_table(
        &mut self,
        ty: TensorType,
        f: impl Fn(i32, i32) -> i32,
    ) -> Result<Operand, String> {
        let (a, b) = (self.x(0).storage(), self.x(1).storage());
        if a.size() > 1 || b.size() > 1 {
            return Err(format!("there is no kernel for {a} and {b}"));
        }
        let ((a_lo, a_hi), (b_lo, b_hi)) = (limits(a), limits(b));
        let pairs = (a_lo..=a_hi).flat_map(|p| (b_lo..=b_hi).map(move |q| (p, q)));
        let table = list(ty.storage(), pairs.map(|(p, q)| i64::from(f(p, q))));
        let inputs = [Operand::Input(0), Operand::Input(1), Operand::Const(table)];
        Ok(self.step(int::PairLut {}, &inputs, ty))
    }
}
