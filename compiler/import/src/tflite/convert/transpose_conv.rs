//! TRANSPOSE_CONV, as a convolution that makes each pixel's share of the output at once.
//!
//! Output row `before + y` is s·j + p: its phase p, of s, and the pixel j it starts from. It gets
//! x[j − m]·w[p + s·m] for m = 0, 1, …: of every phase a convolution by ⌈KH/s⌉ taps with stride 1.
//! All phases (rows times columns) are output channels of one convolution; weights beyond the
//! filter are zero points. Then the channels of a pixel move to its s·s places, and what lies
//! outside the output is cut off.

use super::{Converter, Node, activation, positive};
use crate::shapes;
use crate::tflite::raw::RawOptions;
use qcc_ir::dialect::{nn, quant};
use qcc_ir::{Affine, DType, Elem, OpKind, QuantParams, QuantType, TensorType, Value};
use std::sync::Arc;

/// One dimension of the image.
#[derive(Clone, Copy)]
struct Axis {
    stride: u64,
    /// Extent of the filter.
    filter: u64,
    /// Taps of each phase.
    taps: u64,
    /// Pixels that the convolution adds before and after the image.
    pad: [u64; 2],
    /// Outputs of the convolution.
    pixels: u64,
    /// Outputs of all phases that come before the first one wanted.
    cut: u64,
    /// Outputs wanted.
    out: u64,
}

impl Axis {
    /// Of an image of `input` pixels; the first `before` outputs are not wanted.
    fn new([input, filter, out]: [u64; 3], stride: u64, before: u64) -> Axis {
        let taps = filter.div_ceil(stride);
        let skipped = (before / stride).min(taps - 1);
        let low = taps - 1 - skipped;
        let wanted = (before + out).div_ceil(stride) - skipped;
        let high = (wanted + taps - 1).saturating_sub(input + low);
        let pixels = input + low + high - (taps - 1);
        let cut = before - skipped * stride;
        Axis { stride, filter, taps, pad: [low, high], pixels, cut, out }
    }

    /// The filter's row that tap `k` of phase `p` reads.
    fn row(&self, p: u64, k: u64) -> Option<u64> {
        Some(p + self.stride * (self.taps - 1 - k)).filter(|&row| row < self.filter)
    }
}

impl Converter<'_> {
    /// Operands: the output's shape, weights `[O,KH,KW,I]`, x `[N,H,W,I]`, a bias if there is one.
    pub(super) fn transpose_conv(&mut self, node: &Node) -> Result<(), String> {
        let axes = self.transposed_axes(node)?;
        let x = self.operand(node, 2)?;
        let (w, b) = (self.phase_weights(node, axes)?, self.phase_bias(node, axes)?);
        let operands: Vec<Value> = [x, w].into_iter().chain(b).collect();
        let n = self.shape(x)[0];
        let phases = axes[0].stride * axes[1].stride;
        let channels = self.shape(w)[0] / phases;
        let [rows, columns] = axes.map(|a| a.pixels);
        let kind = self.phase_conv(node, axes)?;
        let y = self.inner(node, kind, &operands, &[n, rows, columns, channels * phases])?;
        let y = self.spread(node, y, axes)?;
        let cut = vec![0, axes[0].cut, axes[1].cut, 0];
        let kind = nn::Slice { start: cut, step: vec![1; 4] };
        self.emit(node, kind, &[y], &[n, axes[0].out, axes[1].out, channels])
    }

    /// Checks shapes and options.
    fn transposed_axes(&mut self, node: &Node) -> Result<[Axis; 2], String> {
        let RawOptions::TransposeConv(o) = &node.op.options else {
            return Err("its options are missing".into());
        };
        let (x, w) = (self.operand(node, 2)?, self.operand(node, 1)?);
        let (xs, ws) = (self.rank(x, 4)?, self.rank(w, 4)?);
        let shape = self.constant_ints(node, 0)?;
        let &[_, height, width, channels] = shape.as_slice() else {
            return Err("the output's shape must be four numbers".into());
        };
        if channels != ws[0] as i64 || xs[3] != ws[3] || height <= 0 || width <= 0 {
            return Err(format!("{xs:?} and filters {ws:?} do not make {shape:?}"));
        }
        let out = [xs[0], height as u64, width as u64, ws[0]];
        shapes::check_size(&out)?;
        let stride = positive([o.stride_h, o.stride_w])?;
        let (_, pad) = shapes::window(&out, [ws[1], ws[2]], stride, [1, 1], o.padding)?;
        if ws.contains(&0) || xs.contains(&0) {
            return Err(format!("{xs:?} or filters {ws:?} are empty"));
        }
        Ok([0, 1].map(|d| {
            let extents = [xs[1 + d], ws[1 + d], out[1 + d]];
            Axis::new(extents, stride[d].into(), pad[2 * d].into())
        }))
    }

    fn phase_conv(&mut self, node: &Node, axes: [Axis; 2]) -> Result<OpKind, String> {
        let RawOptions::TransposeConv(o) = &node.op.options else {
            return Err("its options are missing".into());
        };
        let act = activation(o.fused_activation)?;
        let [rows, columns] = axes.map(|a| a.pad.map(|p| p as u32));
        let pad = [rows[0], rows[1], columns[0], columns[1]];
        let (stride, dilation, groups) = ([1, 1], [1, 1], 1);
        let x = self.operand(node, 2)?;
        if self.is_quantized(x) {
            self.output_quantized(node)?;
            return Ok(quant::Conv2d { stride, dilation, pad, groups, act }.into());
        }
        Ok(nn::Conv2d { stride, dilation, pad, groups, act }.into())
    }

    /// Weights `[SH·SW·O,TH,TW,I]` of all phases.
    fn phase_weights(&mut self, node: &Node, axes: [Axis; 2]) -> Result<Value, String> {
        let w = self.operand(node, 1)?;
        let (ty, ws) = (self.tensor_type(w).clone(), self.shape(w));
        let t = node.op.inputs.get(1).copied().flatten().ok_or("the weights are missing")?;
        let bytes = self.graph.tensors[t].constant_bytes().ok_or("the weights must be constant")?;
        let size = ty.storage().size();
        let row = ws[3] as usize * size;
        let shape = [axes[0].stride * axes[1].stride * ws[0], axes[0].taps, axes[1].taps, ws[3]];
        shapes::check_size(&shape)?;
        let mut all = Vec::with_capacity(shape.iter().product::<u64>() as usize * size);
        for [p, q, o, k, l] in places([axes[0].stride, axes[1].stride, ws[0], shape[1], shape[2]]) {
            match (axes[0].row(p, k), axes[1].row(q, l)) {
                (Some(r), Some(c)) => {
                    let at = ((o * ws[1] + r) * ws[2] + c) as usize * row;
                    all.extend(bytes.get(at..at + row).ok_or("the weights are cut short")?);
                }
                _ => all.extend(zero_row(&ty, o, row)),
            }
        }
        let elem = match ty.quant_type() {
            Some(q) => Elem::Quant(Arc::new(repeated(q, axes[0].stride * axes[1].stride)?)),
            None => ty.elem.clone(),
        };
        let ty = TensorType { shape: shape[..].into(), elem, layout: None };
        Ok(self.constant(node, all, ty))
    }

    /// The bias of each channel, once per phase.
    fn phase_bias(&mut self, node: &Node, axes: [Axis; 2]) -> Result<Option<Value>, String> {
        let Some(b) = self.optional(node, 3)? else { return Ok(None) };
        let (ty, bs) = (self.tensor_type(b).clone(), self.rank(b, 1)?);
        let t = node.op.inputs.get(3).copied().flatten().ok_or("the bias is missing")?;
        let bytes = self.graph.tensors[t].constant_bytes().ok_or("the bias must be constant")?;
        let phases = axes[0].stride * axes[1].stride;
        let all = bytes.repeat(phases as usize);
        let ty = TensorType::plain(&[bs[0] * phases], ty.storage());
        Ok(Some(self.constant(node, all, ty)))
    }

    /// `[N,H,W,SH·SW·O]` to `[N,H·SH,W·SW,O]`.
    fn spread(&mut self, node: &Node, y: Value, [r, c]: [Axis; 2]) -> Result<Value, String> {
        let [n, h, w, _] = self.shape(y)[..] else { return Err("its result is no image".into()) };
        let channels = self.shape(y)[3] / (r.stride * c.stride);
        let split = [n, h, w, r.stride, c.stride, channels];
        let y = self.inner(node, nn::Reshape {}, &[y], &split)?;
        let perm = vec![0, 1, 3, 2, 4, 5];
        let moved = [n, h, r.stride, w, c.stride, channels];
        let y = self.inner(node, nn::Transpose { perm }, &[y], &moved)?;
        self.inner(node, nn::Reshape {}, &[y], &[n, h * r.stride, w * c.stride, channels])
    }
}

/// Each index of a tensor, in order.
fn places<const N: usize>(shape: [u64; N]) -> impl Iterator<Item = [u64; N]> {
    let count: u64 = shape.iter().product();
    (0..count).map(move |mut i| {
        let mut at = [0; N];
        for d in (0..N).rev() {
            (at[d], i) = (i % shape[d], i / shape[d]);
        }
        at
    })
}

/// A row of weights of channel `o` that stand for 0.
fn zero_row(ty: &TensorType, o: u64, bytes: usize) -> Vec<u8> {
    let affines = ty.quant_type().map_or(&[][..], |q| q.affines());
    let zero = affines.get(o as usize).or(affines.first()).map_or(0, |a: &Affine| a.zero_point);
    match ty.storage() {
        DType::I8 | DType::U8 => vec![zero as u8; bytes],
        _ => vec![0; bytes],
    }
}

/// Parameters of output channels, once per phase.
fn repeated(q: &QuantType, phases: u64) -> Result<QuantType, String> {
    let mut q = q.clone();
    if let QuantParams::PerAxis { axis, params } = &mut q.params {
        if *axis != 0 {
            return Err(format!("its weights are quantized along axis {axis}, not 0"));
        }
        *params = params.repeat(phases as usize);
    }
    Ok(q)
}
