//! Pools, resizing, reductions.

use super::{Fused, Site};
use crate::consts::int_tensor;
use crate::converter::follows_converter;
use crate::fixed_range::{log_softmax_type, softmax_type};
use crate::rewriter::{Rewriter, act_of};
use qcc_ir::dialect::nn::{self, Op, ReduceFn, ResizeCoordinates};
use qcc_ir::dialect::quant::{self, Act, PoolSum};
use qcc_ir::numerics::derive;
use qcc_ir::{DType, Elem, Numerics, OpId, OpKind, QuantType, TensorType, Value};

/// `arg_max(dequantize(q))` → `arg_max(q)`: codes have the order of the numbers that they stand for.
pub(super) fn arg_max(r: &mut Rewriter, op: OpId) -> bool {
    let Some(Op::ArgMax(o)) = r.nn(op) else { return false };
    let kind = quant::ArgMax { axis: o.axis, min: o.min };
    let Some(x) = r.dequantized(r.operand(op, 0)) else { return false };
    let positive = |q: &qcc_ir::QuantType| q.uniform().is_some_and(|a| a.scale > 0.0);
    if !r.quant_type(x).is_some_and(|q| positive(q)) {
        return false;
    }
    let ty = r.ty(r.result(op)).clone();
    let new = r.insert(op, kind, &[x], ty, &[op]);
    r.replace(op, new);
    true
}

impl Site<'_, '_> {
    /// An op whose result has the parameters of its input, then a requantization if the model asks
    /// for others.
    pub(super) fn same_scale(&mut self, kind: &Op) -> Fused {
        let (x, xq, a) = self.codes(0)?;
        let (yq, _) = self.y_quant()?;
        if let (Op::AvgPool2d(o), false) = (kind, xq == yq)
            && o.pad == [0; 4]
            && self.r.m.numerics == Numerics::TfLite
            && !follows_converter(self.r)
        {
            return self.average(o, x, yq.storage);
        }
        let own = TensorType::quant(&self.y.shape, xq.clone());
        let act = act_of(&OpKind::Nn(kind.clone()));
        let act = if own == self.y { self.needed(act, a) } else { act };
        let mut kind = quantized(kind, act);
        let mut ty = own;
        if let OpKind::Quant(quant::Op::AvgPool2d(o)) = &mut kind
            && self.r.m.numerics == Numerics::Onnx
        {
            // ONNX's averages have any parameters. ONNX Runtime makes QLinearAveragePool, channels
            // last, of those of unsigned codes; in models of signed ones they may stay float.
            if xq.storage == DType::U8 {
                let codes = xq == yq && !o.count_include_pad;
                o.sum = if codes { PoolSum::Codes } else { PoolSum::Rows };
            }
            ty = self.y.clone();
        }
        // Interpolated in float32: any parameters.
        if matches!(kind, OpKind::Quant(quant::Op::ResizeBilinear(_)))
            && self.r.m.numerics == Numerics::Onnx
        {
            ty = self.y.clone();
        }
        let pooled = self.insert(kind, &[x], ty)?;
        self.in_y(pooled)
    }

    /// An average to other parameters with one rounding.
    fn average(&mut self, o: &nn::AvgPool2d, x: Value, storage: DType) -> Fused {
        let w = by_constant(self.r, self.q, o.window, self.r.shape(x)[3]);
        let mut operands = vec![x, w];
        if storage == DType::I16 {
            operands.push(self.zeros(DType::I32));
        }
        let (stride, act) = (o.stride, o.act);
        let kind = quant::DepthwiseConv2d { stride, dilation: [1, 1], pad: [0; 4], act };
        let y = self.y.clone();
        self.insert(kind, &operands, y)
    }

    pub(super) fn mean(&mut self, axes: &[u32]) -> Fused {
        let (x, xq, _) = self.codes(0)?;
        let (yq, _) = self.y_quant()?;
        if xq.storage != yq.storage {
            return Err(format!("there is no kernel for {} to {}", xq.storage, yq.storage));
        }
        let y = self.y.clone();
        self.insert(quant::Mean { axes: axes.to_vec() }, &[x], y)
    }

    /// As of softmax; ONNX Runtime has no kernel.
    pub(super) fn log_softmax(&mut self) -> Fused {
        let (x, xq, _) = self.codes(0)?;
        self.y_quant()?;
        let fixed = log_softmax_type(xq.storage)
            .ok_or_else(|| format!("there is no kernel for {}", xq.storage))?;
        let y = TensorType::quant(&self.y.shape, fixed.into());
        let y = self.insert(quant::LogSoftmax {}, &[x], y)?;
        self.in_y(y)
    }

    /// The result's parameters are fixed; others are one requantization away.
    pub(super) fn softmax(&mut self, beta: f32) -> Fused {
        let (x, xq, _) = self.codes(0)?;
        self.y_quant()?;
        let numerics = self.r.m.numerics;
        let fixed = match softmax_type(xq.storage, numerics) {
            Some(q) => TensorType::quant(&self.y.shape, q.into()),
            None => self.y.clone(),
        };
        let y = self.insert(quant::Softmax { beta }, &[x], fixed)?;
        self.in_y(y)
    }
}

/// The quantized form of a pool or resize.
fn quantized(kind: &Op, act: Act) -> OpKind {
    match kind {
        Op::MaxPool2d(o) => {
            quant::MaxPool2d { window: o.window, stride: o.stride, pad: o.pad, act }.into()
        }
        Op::AvgPool2d(o) => {
            let (window, stride, pad) = (o.window, o.stride, o.pad);
            let count_include_pad = o.count_include_pad && o.pad != [0; 4];
            let sum = if o.by_columns { PoolSum::Columns } else { PoolSum::Rows };
            quant::AvgPool2d { window, stride, pad, act, count_include_pad, sum }.into()
        }
        Op::ResizeBilinear(o) => {
            let align_corners = o.coordinates == ResizeCoordinates::AlignCorners;
            let half_pixel_centers = o.coordinates == ResizeCoordinates::HalfPixel;
            quant::ResizeBilinear { align_corners, half_pixel_centers }.into()
        }
        Op::Reduce(o) => {
            quant::ReduceMax { axes: o.axes.clone(), min: o.f == ReduceFn::Min }.into()
        }
        other => OpKind::Nn(other.clone()),
    }
}

/// Codes in the place of ones: so many bits more before the rounding of a sum.
const FINE: i64 = 64;

/// Weights of a depthwise convolution over `window` that average it.
fn by_constant(r: &mut Rewriter, before: OpId, [kh, kw]: [u32; 2], channels: u64) -> Value {
    let shape = [1, kh as usize, kw as usize, channels as usize];
    let codes = int_tensor(DType::I8, &shape, std::iter::repeat_n(FINE, shape.iter().product()));
    let scale = 1.0 / (FINE as f64 * f64::from(kh) * f64::from(kw));
    let ty = QuantType::per_tensor(DType::I8, scale as f32, 0);
    r.constant(before, "average", &codes, Elem::Quant(ty.into()))
}

/// `x` in other parameters, `ty`; named after `node`, right before `before`. TensorFlow Lite's
/// requantization of 8 bits rounds twice: where its converter is not followed, a depthwise
/// convolution by a constant rounds once.
pub(super) fn rescaled(
    r: &mut Rewriter,
    (node, before): (OpId, OpId),
    x: Value,
    ty: TensorType,
) -> Fused {
    let eight_bits = |t: &TensorType| t.storage() == DType::I8;
    let once = r.m.numerics == Numerics::TfLite
        && eight_bits(r.ty(x))
        && eight_bits(&ty)
        && ty.shape.len() == 4
        && !follows_converter(r);
    let y = match once {
        true => {
            let w = by_constant(r, before, [1, 1], ty.shape[3]);
            let (stride, dilation, pad) = ([1, 1], [1, 1], [0; 4]);
            let kind = quant::DepthwiseConv2d { stride, dilation, pad, act: Act::None };
            r.insert(before, kind, &[x, w], ty, &[node])
        }
        false => r.insert(before, quant::Requantize {}, &[x], ty, &[node]),
    };
    let op = r.def(y).ok_or("it was not made")?;
    let known = derive(r.m, r.f(), op).map(|_| y);
    if known.is_err() {
        r.erase_dead(op);
    }
    known
}
