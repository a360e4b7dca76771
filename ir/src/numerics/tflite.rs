//! TensorFlow Lite's reference kernels (LiteRT 2.3, `BUILTIN_REF`).

use super::{IntForm, IntStep, Operand, float_list, list, storage_type};
use crate::dialect::int::{self, AddStyle, MeanRounding, Rescale, ResizeStyle};
use crate::dialect::quant::{self, Act};
use crate::dialect::{OpKind, core};
use crate::{Affine, DType, Func, Module, OpId, QuantParams, QuantType, TensorType, Value};
use qcc_runtime::Tensor;
use qcc_runtime::fixedpoint as fx;
use std::sync::Arc;

pub(super) fn derive(module: &Module, func: &Func, op: OpId) -> Result<IntForm, String> {
    let OpKind::Quant(kind) = func.kind(op) else {
        return Err(format!("'{}' is not a quantized op", func.kind(op).name()));
    };
    let mut r = Recipe { module, func, op, steps: vec![] };
    match kind {
        quant::Op::Quantize(_) => r.quantize()?,
        quant::Op::Dequantize(_) => r.dequantize()?,
        quant::Op::Requantize(_) => r.requantize()?,
        quant::Op::Conv2d(o) => r.conv2d(o)?,
        quant::Op::DepthwiseConv2d(o) => r.depthwise(o)?,
        quant::Op::FullyConnected(o) => r.fully_connected(o)?,
        quant::Op::Add(o) => r.add(o)?,
        quant::Op::Sub(_)
        | quant::Op::Mul(_)
        | quant::Op::Binary(_)
        | quant::Op::MatMul(_)
        | quant::Op::Unary(_)
        | quant::Op::Activation(_) => {
            return Err(format!("'{}' is not lowered yet", func.kind(op).name()));
        }
        quant::Op::MaxPool2d(o) => r.max_pool(o)?,
        quant::Op::AvgPool2d(o) => r.avg_pool(o)?,
        quant::Op::Mean(o) => r.mean(o)?,
        quant::Op::Softmax(o) => r.softmax(o)?,
        quant::Op::ResizeBilinear(o) => r.resize(o),
        quant::Op::ArgMax(o) => {
            r.push(int::ArgMax { axis: o.axis, min: o.min }, &[Operand::Input(0)])
        }
        quant::Op::Concat(o) => r.concat(o)?,
        quant::Op::Split(o) => r.split(o),
        quant::Op::Reshape(_) => r.push(int::Reshape {}, &[Operand::Input(0)]),
    }
    Ok(IntForm { steps: r.steps })
}

struct Recipe<'a> {
    module: &'a Module,
    func: &'a Func,
    op: OpId,
    steps: Vec<IntStep>,
}

/// Bias and requantization operands of an accumulating op, with how they are used.
struct Accumulate {
    rescale: Rescale,
    operands: Vec<Operand>,
}

impl Recipe<'_> {
    // ---- what the op says ----

    fn operand(&self, i: usize) -> Value {
        self.func.operands(self.op)[i]
    }
    fn tensor(&self, v: Value) -> &TensorType {
        self.func.ty(v).as_tensor().expect("verified: quantized ops work on tensors")
    }
    fn x(&self, i: usize) -> &TensorType {
        self.tensor(self.operand(i))
    }
    fn y(&self) -> &TensorType {
        self.tensor(self.func.results(self.op)[0])
    }
    fn quant(t: &TensorType) -> &Arc<QuantType> {
        t.quant_type().expect("verified: the slot takes quantized tensors only")
    }
    /// The parameters of a tensor that must have one set.
    fn affine(t: &TensorType, what: &str) -> Result<fx::Affine, String> {
        match Self::quant(t).uniform() {
            Some(a) => Ok(affine(a)),
            None => Err(format!("{what} must be quantized per tensor, not per axis")),
        }
    }

    // ---- steps ----

    fn step(
        &mut self,
        kind: impl Into<OpKind>,
        operands: &[Operand],
        result: TensorType,
    ) -> Operand {
        self.steps.push(IntStep { kind: kind.into(), operands: operands.to_vec(), result });
        Operand::Step(self.steps.len() - 1)
    }
    /// A step whose result is the op's.
    fn push(&mut self, kind: impl Into<OpKind>, operands: &[Operand]) {
        let ty = storage_type(self.y());
        self.step(kind, operands, ty);
    }
    /// The op's last step, then the clamp of a fused activation.
    fn finish(
        &mut self,
        kind: impl Into<OpKind>,
        operands: &[Operand],
        act: Act,
    ) -> Result<(), String> {
        let ty = storage_type(self.y());
        let last = self.step(kind, operands, ty.clone());
        if act != Act::None {
            let a = Self::affine(self.y(), "the output of a fused activation")?;
            let (lo, hi) = fx::activation_range(fused(act), a.scale, a.zero_point, ty.storage());
            self.step(int::Clamp { lo, hi }, &[last], ty);
        }
        Ok(())
    }

    // ---- conversions ----

    fn quantize(&mut self) -> Result<(), String> {
        let (scale, zp, axis) = parameter_lists(Self::quant(self.y()));
        let kind = int::Quantize { axis, code_bias: 0 };
        self.push(kind, &[Operand::Input(0), Operand::Const(scale), Operand::Const(zp)]);
        Ok(())
    }

    fn dequantize(&mut self) -> Result<(), String> {
        let (scale, zp, axis) = parameter_lists(Self::quant(self.x(0)));
        let kind = int::Dequantize { axis };
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

    /// 256 outputs of the op's output type, for the codes of an 8-bit input in order.
    fn table(&self, f: impl Fn(i32) -> i64) -> Tensor {
        let (first, _) = limits(self.x(0).storage());
        list(self.y().storage(), (0..256).map(|i| f(first + i)))
    }

    // ---- accumulating ops ----

    fn conv2d(&mut self, o: &quant::Conv2d) -> Result<(), String> {
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
        };
        self.finish(kind, &acc.operands, o.act)
    }

    fn depthwise(&mut self, o: &quant::DepthwiseConv2d) -> Result<(), String> {
        let channels = self.y().shape[3] as usize;
        let wide = self.x(0).storage() == DType::I16;
        let w_zp = self.weight_zero_point()?;
        let acc = self.accumulate(channels, wide)?;
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
        };
        self.finish(kind, &acc.operands, o.act)
    }

    /// 64-bit accumulators: 16-bit activations unless the bias is int32.
    fn conv_wide(&self) -> bool {
        let bias = self.func.operands(self.op).get(2).map(|&b| self.tensor(b).storage());
        self.x(0).storage() == DType::I16 && bias.is_none_or(|b| b == DType::I64)
    }

    /// The zero point of all weights. Where a reference kernel ignores it (numerics.md G.1), the
    /// importer of that format says so in the type.
    fn weight_zero_point(&self) -> Result<i32, String> {
        let affines = Self::quant(self.x(1)).affines();
        let first = affines.first().map_or(0, |a| a.zero_point);
        match affines.iter().all(|a| a.zero_point == first) {
            true => Ok(first),
            false => Err("the zero points of the weights differ between channels".into()),
        }
    }

    fn fully_connected(&mut self, o: &quant::FullyConnected) -> Result<(), String> {
        let w = self.x(1).clone();
        let (out, k) = (w.shape[0] as usize, w.shape[1]);
        let s_x = f64::from(Self::affine(self.x(0), "the input")?.scale);
        let y = Self::affine(self.y(), "the output")?;
        let w_zp = self.weight_zero_point()?;
        let scales = Self::quant(&w).affines().iter();
        let mult = scales.map(|a| s_x * f64::from(a.scale) / f64::from(y.scale));
        let mult = float_list(DType::F64, mult);
        if mult.len() != 1 && mult.len() != out {
            return Err(format!("{} weight scales for {out} outputs", mult.len()));
        }
        let wide = self.func.operands(self.op).get(2).map(|&b| self.tensor(b).storage());
        let bias = self.bias(out, wide == Some(DType::I64))?;
        let x_zp = Self::affine(self.x(0), "the input")?.zero_point;
        let (lo, hi) = limits(self.y().storage());
        let kind =
            int::FullyConnected { x_zp, w_zp, rescale: Rescale::F64, y_zp: y.zero_point, lo, hi };
        let shift = Operand::Const(list(DType::I32, []));
        let rows = self.x(0).len().checked_div(k).unwrap_or(0);
        let matrix = TensorType::plain(&[rows, k], self.x(0).storage());
        let mut x = Operand::Input(0);
        if self.x(0).shape.as_slice() != matrix.shape.as_slice() {
            x = self.step(int::Reshape {}, &[x], matrix);
        }
        let operands = [x, Operand::Input(1), bias, Operand::Const(mult), shift];
        let flat = TensorType::plain(&[rows, w.shape[0]], self.y().storage());
        if self.y().shape.as_slice() == flat.shape.as_slice() {
            return self.finish(kind, &operands, o.act);
        }
        let mut last = self.step(kind, &operands, flat.clone());
        if o.act != Act::None {
            let dtype = flat.storage();
            let (lo, hi) = fx::activation_range(fused(o.act), y.scale, y.zero_point, dtype);
            last = self.step(int::Clamp { lo, hi }, &[last], flat);
        }
        self.push(int::Reshape {}, &[last]);
        Ok(())
    }

    /// Operands of a convolution: x, w, bias, multipliers, shifts. The real multiplier is formed in
    /// f64 from the scales; legacy uint8 forms the product of the input scales in f32.
    fn accumulate(&self, channels: usize, wide: bool) -> Result<Accumulate, String> {
        let x = Self::affine(self.x(0), "the input")?;
        let y = Self::affine(self.y(), "the output")?;
        let legacy = self.x(0).storage() == DType::U8;
        let real = |w: &Affine| match legacy {
            true => f64::from(x.scale * w.scale) / f64::from(y.scale),
            false => f64::from(x.scale) * f64::from(w.scale) / f64::from(y.scale),
        };
        let weights = Self::quant(self.x(1)).affines();
        if weights.len() != 1 && weights.len() != channels {
            return Err(format!("{} weight scales for {channels} channels", weights.len()));
        }
        let all: Vec<_> = weights.iter().map(|w| fx::quantize_multiplier(real(w))).collect();
        let mult = list(DType::I32, all.iter().map(|m| m.mantissa.into()));
        let shift = list(DType::I32, all.iter().map(|m| m.shift.into()));
        let bias = self.bias(channels, wide)?;
        let consts = [mult, shift].map(Operand::Const);
        let operands = [Operand::Input(0), Operand::Input(1), bias].into_iter().chain(consts);
        let rescale = if wide { Rescale::Wide } else { Rescale::Double };
        Ok(Accumulate { rescale, operands: operands.collect() })
    }

    /// The bias as int32, or int64 for wide accumulators; zeros when there is none.
    fn bias(&self, channels: usize, wide: bool) -> Result<Operand, String> {
        let dtype = if wide { DType::I64 } else { DType::I32 };
        let Some(&b) = self.func.operands(self.op).get(2) else {
            return Ok(Operand::Const(list(dtype, std::iter::repeat_n(0, channels))));
        };
        let ty = self.tensor(b);
        if ty.len() != channels as u64 {
            return Err(format!("{} biases for {channels} channels", ty.len()));
        }
        if ty.storage() == dtype && ty.shape.len() == 1 {
            return Ok(Operand::Input(2));
        }
        if !ty.storage().is_int() {
            return Err(format!("the bias is {}, expected {dtype}", ty.storage()));
        }
        let found = self.constant(b).ok_or_else(|| {
            format!("the bias is {} and not constant, expected {dtype}", ty.storage())
        })?;
        Ok(Operand::Const(list(dtype, found.to_i64_vec())))
    }

    fn constant(&self, v: Value) -> Option<Tensor> {
        let op = self.func.def_op(v)?;
        let OpKind::Core(core::Op::Const(c)) = self.func.kind(op) else { return None };
        let ty = self.tensor(v);
        let shape: Vec<usize> = ty.shape.iter().map(|&d| d as usize).collect();
        Tensor::from_bytes(ty.storage(), shape, &self.module.data[c.data].bytes).ok()
    }

    // ---- elementwise, pooling, reductions ----

    fn add(&mut self, o: &quant::Add) -> Result<(), String> {
        let a = Self::affine(self.x(0), "the first input")?;
        let b = Self::affine(self.x(1), "the second input")?;
        let y = Self::affine(self.y(), "the output")?;
        let dtype = self.y().storage();
        let (lo, hi) = limits(dtype);
        let p = fx::AddParams::new(a, b, y, dtype);
        let mut kind = int::Add {
            style: AddStyle::General,
            left_shift: p.left_shift,
            a_zp: p.zero_points[0],
            a_mult: p.inputs[0].mantissa,
            a_shift: p.inputs[0].shift,
            b_zp: p.zero_points[1],
            b_mult: p.inputs[1].mantissa,
            b_shift: p.inputs[1].shift,
            y_mult: p.output.mantissa,
            y_shift: p.output.shift,
            y_zp: p.output_zero_point,
            lo,
            hi,
        };
        let pot = match dtype == DType::I16 && o.pot_scale_int16 {
            true => fx::AddPotParams::new(a.scale, b.scale, y.scale),
            false => None,
        };
        if let Some(pot) = pot {
            kind.style = AddStyle::PowerOfTwo;
            (kind.a_shift, kind.b_shift) = (pot.shifts[0], pot.shifts[1]);
        } else if p.output_multiplier_exceeds_one() {
            return Err(
                "the output scale is too small for the inputs (the reference aborts)".into()
            );
        }
        self.finish(kind, &[Operand::Input(0), Operand::Input(1)], o.act)
    }

    fn max_pool(&mut self, o: &quant::MaxPool2d) -> Result<(), String> {
        let (lo, hi) = limits(self.y().storage());
        let kind = int::MaxPool2d { window: o.window, stride: o.stride, pad: o.pad, lo, hi };
        self.finish(kind, &[Operand::Input(0)], o.act)
    }

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
            mult: p.multiplier.mantissa,
            shift: p.multiplier.shift,
            y_zp: p.output_zero_point,
            lo,
            hi,
        };
        self.push(kind, &[Operand::Input(0)]);
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

    fn split(&mut self, o: &quant::Split) {
        let axis = o.axis as usize;
        let rank = self.x(0).shape.len();
        let results = self.func.results(self.op).to_vec();
        let mut at = 0;
        for v in results {
            let ty = storage_type(self.tensor(v));
            let mut start = vec![0; rank];
            start[axis] = at;
            at += ty.shape[axis];
            self.step(int::Slice { start }, &[Operand::Input(0)], ty);
        }
    }
}

fn affine(a: Affine) -> fx::Affine {
    fx::Affine::new(a.scale, a.zero_point)
}

fn fused(act: Act) -> fx::FusedAct {
    match act {
        Act::None => fx::FusedAct::None,
        Act::Relu => fx::FusedAct::Relu,
        Act::Relu6 => fx::FusedAct::Relu6,
        Act::ReluN1To1 => fx::FusedAct::ReluN1To1,
    }
}

/// Smallest and largest code of a type.
fn limits(dtype: DType) -> (i32, i32) {
    let (lo, hi) = dtype.min_max();
    let clamp = |v: i64| v.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
    (clamp(lo), clamp(hi))
}

/// Scales (f32), zero points (int32) and their axis.
fn parameter_lists(q: &QuantType) -> (Tensor, Tensor, u32) {
    let scale = float_list(DType::F32, q.affines().iter().map(|a| a.scale.into()));
    let zp = list(DType::I32, q.affines().iter().map(|a| a.zero_point.into()));
    let axis = match q.params {
        QuantParams::PerAxis { axis, .. } => axis as u32,
        QuantParams::PerTensor(_) => 0,
    };
    (scale, zp, axis)
}
