//! Views of int-level ops that several passes share: the convolution family as one thing, and the
//! output clamp of every op that has one.

use crate::consts::Const;
use qcc_ir::dialect::int::{ConvKernel, Epilogue, Op, ProvenForms, Rescale};
use qcc_ir::dialect::nn;
use qcc_ir::{DType, Func, OpId, OpKind, Value};

/// Which of the three multiply-accumulate ops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConvForm {
    /// `int.conv2d`, weights `[O,KH,KW,C/groups]`.
    Conv2d,
    /// `int.depthwise_conv2d`, weights `[1,KH,KW,C·multiplier]`.
    Depthwise,
    /// `int.fully_connected`, weights `[O,K]`.
    FullyConnected,
}

/// The attributes of `int.conv2d`, `int.depthwise_conv2d` and `int.fully_connected` that the
/// int-level passes read; [`store_conv`] writes back those that they change.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Conv {
    /// Which op.
    pub form: ConvForm,
    /// Vertical and horizontal step.
    pub stride: [u32; 2],
    /// Vertical and horizontal distance of taps.
    pub dilation: [u32; 2],
    /// Channel groups (1 except in `int.conv2d`).
    pub groups: u32,
    /// Top, bottom, left, right. Written back.
    pub pad: [u32; 4],
    /// What taps outside the image read. Written back.
    pub pad_value: i32,
    /// Zero point of the input. Written back.
    pub x_zp: i32,
    /// Zero point of the weights. Written back.
    pub w_zp: i32,
    /// How the accumulator is rescaled.
    pub rescale: Rescale,
}

impl Conv {
    /// Number of output channels.
    pub fn n_channels(&self, w_shape: &[usize]) -> usize {
        match self.form {
            ConvForm::Depthwise => w_shape.last().copied().unwrap_or(0),
            _ => w_shape.first().copied().unwrap_or(0),
        }
    }
    /// Calls `f` with each weight's output channel and code.
    pub fn for_each_weight(&self, w: &Const, mut f: impl FnMut(usize, i64)) {
        match w.dtype {
            DType::I8 => self.walk(&w.shape, &w.bytes, |c, v| f(c, (v as i8).into())),
            DType::U8 => self.walk(&w.shape, &w.bytes, |c, v| f(c, v.into())),
            _ => self.walk(&w.shape, &w.to_tensor().to_i64_vec(), f),
        }
    }
    /// Σ above zero and Σ below zero of each output channel's weights less their zero point.
    pub fn weight_sums(&self, w: &Const) -> Vec<[i64; 2]> {
        let mut sums = vec![[0i64; 2]; self.n_channels(&w.shape)];
        let zp = self.w_zp as i64;
        let bytes = w.dtype.size() == 1 && (-256..=256).contains(&zp);
        if self.form == ConvForm::Depthwise || !bytes || sums.is_empty() {
            self.for_each_weight(w, |c, code| {
                sums[c][0] += (code - zp).max(0);
                sums[c][1] += (code - zp).min(0);
            });
            return sums;
        }
        // Below 2^9 each, so that 63 of them fit 16 bits: the fastest lanes there are to add up.
        let block = (w.len() / sums.len()).max(1);
        let signed = w.dtype == DType::I8;
        let code = |b: u8| if signed { i16::from(b as i8) } else { i16::from(b) };
        let zp = zp as i16;
        for (sum, own) in sums.iter_mut().zip(w.bytes.chunks(block)) {
            for part in own.chunks(48) {
                let [mut above, mut below] = [0i16; 2];
                for &b in part {
                    let w = code(b) - zp;
                    above += w.max(0);
                    below += w.min(0);
                }
                *sum = [sum[0] + i64::from(above), sum[1] + i64::from(below)];
            }
        }
        sums
    }
    fn walk<T: Copy>(&self, w_shape: &[usize], codes: &[T], mut f: impl FnMut(usize, T)) {
        let n = self.n_channels(w_shape).max(1);
        match self.form {
            ConvForm::Depthwise => {
                let rows = codes.chunks(n);
                rows.for_each(|row| row.iter().enumerate().for_each(|(c, &v)| f(c, v)));
            }
            _ => {
                let blocks = codes.chunks((codes.len() / n).max(1)).enumerate();
                blocks.for_each(|(c, block)| block.iter().for_each(|&v| f(c, v)));
            }
        }
    }
}

/// The op as a member of the convolution family.
pub fn conv_of(kind: &OpKind) -> Option<Conv> {
    let OpKind::Int(op) = kind else { return None };
    match op {
        Op::Conv2d(c) => Some(Conv {
            form: ConvForm::Conv2d,
            stride: c.stride,
            dilation: c.dilation,
            groups: c.groups,
            pad: c.pad,
            pad_value: c.pad_value,
            x_zp: c.x_zp,
            w_zp: c.w_zp,
            rescale: c.rescale,
        }),
        Op::DepthwiseConv2d(c) => Some(Conv {
            form: ConvForm::Depthwise,
            stride: c.stride,
            dilation: c.dilation,
            groups: 1,
            pad: c.pad,
            pad_value: c.pad_value,
            x_zp: c.x_zp,
            w_zp: c.w_zp,
            rescale: c.rescale,
        }),
        Op::FullyConnected(c) => Some(Conv {
            form: ConvForm::FullyConnected,
            stride: [1, 1],
            dilation: [1, 1],
            groups: 1,
            pad: [0; 4],
            pad_value: 0,
            x_zp: c.x_zp,
            w_zp: c.w_zp,
            rescale: c.rescale,
        }),
        _ => None,
    }
}

/// Writes padding and zero points back.
pub fn store_conv(kind: &mut OpKind, v: &Conv) {
    match kind {
        OpKind::Int(Op::Conv2d(c)) => {
            (c.pad, c.pad_value, c.x_zp, c.w_zp) = (v.pad, v.pad_value, v.x_zp, v.w_zp);
        }
        OpKind::Int(Op::DepthwiseConv2d(c)) => {
            (c.pad, c.pad_value, c.x_zp, c.w_zp) = (v.pad, v.pad_value, v.x_zp, v.w_zp);
        }
        OpKind::Int(Op::FullyConnected(c)) => (c.x_zp, c.w_zp) = (v.x_zp, v.w_zp),
        _ => {}
    }
}

/// What `select-kernels` and `prove-rescale` noted on an op of the convolution family.
pub fn conv_notes_mut(kind: &mut OpKind) -> Option<(&mut ConvKernel, &mut ProvenForms)> {
    match kind {
        OpKind::Int(Op::Conv2d(c)) => Some((&mut c.kernel, &mut c.forms)),
        OpKind::Int(Op::DepthwiseConv2d(c)) => Some((&mut c.kernel, &mut c.forms)),
        OpKind::Int(Op::FullyConnected(c)) => Some((&mut c.kernel, &mut c.forms)),
        _ => None,
    }
}

/// Operand positions in the convolution family.
pub mod conv_operand {
    /// The input.
    pub const X: usize = 0;
    /// The weights.
    pub const W: usize = 1;
    /// The bias.
    pub const BIAS: usize = 2;
    /// The multiplier.
    pub const MULT: usize = 3;
    /// Its shift.
    pub const SHIFT: usize = 4;
    /// `int.row_sums` of the input, if present.
    pub const ROW_SUMS: usize = 5;
    /// Constants of proven forms of requantization, if present.
    pub const PROVEN: usize = 6;
    /// The other operand of an epilogue's sum, if present.
    pub const RESIDUAL: usize = 7;
}

/// `lo` and `hi` of an op that ends with y = min(max(…, lo), hi).
pub fn bounds_mut(kind: &mut OpKind) -> Option<(&mut i32, &mut i32)> {
    let OpKind::Int(op) = kind else { return None };
    match op {
        Op::Conv2d(o) => Some(match &mut o.epilogue {
            Epilogue::Sum(sum) => sum.sum.bounds_mut(),
            Epilogue::None => (&mut o.lo, &mut o.hi),
        }),
        Op::DepthwiseConv2d(o) => Some((&mut o.lo, &mut o.hi)),
        Op::FullyConnected(o) => Some((&mut o.lo, &mut o.hi)),
        Op::Add(o) => Some((&mut o.lo, &mut o.hi)),
        Op::AddFloat(o) => Some((&mut o.lo, &mut o.hi)),
        Op::Mul(o) => Some((&mut o.lo, &mut o.hi)),
        Op::MatMul(o) => Some((&mut o.lo, &mut o.hi)),
        Op::SoftmaxFloat(o) => Some((&mut o.lo, &mut o.hi)),
        Op::MaxPool2d(o) => Some((&mut o.lo, &mut o.hi)),
        Op::AvgPool2d(o) => Some((&mut o.lo, &mut o.hi)),
        Op::Mean(o) => Some((&mut o.lo, &mut o.hi)),
        Op::L2Normalize(o) => Some((&mut o.lo, &mut o.hi)),
        Op::Requantize(o) => Some((&mut o.lo, &mut o.hi)),
        Op::Clamp(o) => Some((&mut o.lo, &mut o.hi)),
        Op::RowSums(_)
        | Op::Pad(_)
        | Op::ReduceMax(_)
        | Op::Softmax(_)
        | Op::LogSoftmax(_)
        | Op::ResizeBilinear(_)
        | Op::ArgMax(_)
        | Op::Quantize(_)
        | Op::Dequantize(_)
        | Op::Lut(_)
        | Op::PairLut(_)
        | Op::Concat(_)
        | Op::Slice(_)
        | Op::Reshape(_)
        | Op::FlipSign(_)
        | Op::Copy(_) => None,
    }
}

/// `[lo, hi]` of an op that ends with y = min(max(…, lo), hi).
pub fn bounds(kind: &OpKind) -> Option<[i32; 2]> {
    bounds_mut(&mut kind.clone()).map(|(lo, hi)| [*lo, *hi])
}

/// The int-level op.
pub fn int_op(f: &Func, op: OpId) -> Option<&Op> {
    match f.kind(op) {
        OpKind::Int(op) => Some(op),
        _ => None,
    }
}

/// An op of either dialect that moves no bytes where its operands lie in the right places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ViewOp<'a> {
    /// The same bytes under another shape.
    Reshape,
    /// The block that starts here.
    Slice(&'a [u64]),
    /// Side by side along an axis.
    Concat(usize),
    /// So many elements of a constant before in each dimension.
    Pad(&'a [u64]),
}

/// The op as a view, if it is one.
pub fn view_of(f: &Func, op: OpId) -> Option<ViewOp<'_>> {
    match f.kind(op) {
        OpKind::Int(Op::Reshape(_)) | OpKind::Nn(nn::Op::Reshape(_)) => Some(ViewOp::Reshape),
        OpKind::Int(Op::Slice(s)) => Some(ViewOp::Slice(&s.start)),
        OpKind::Nn(nn::Op::Slice(s)) if s.step.iter().all(|&s| s == 1) => {
            Some(ViewOp::Slice(&s.start))
        }
        OpKind::Int(Op::Concat(c)) => Some(ViewOp::Concat(c.axis as usize)),
        OpKind::Nn(nn::Op::Concat(c)) => Some(ViewOp::Concat(c.axis as usize)),
        OpKind::Int(Op::Pad(p)) => Some(ViewOp::Pad(&p.low)),
        OpKind::Nn(nn::Op::Pad(p)) if p.mode == nn::PadMode::Constant => Some(ViewOp::Pad(&p.low)),
        OpKind::Nn(nn::Op::Transpose(t)) => keeps_order(f, op, &t.perm).then_some(ViewOp::Reshape),
        _ => None,
    }
}

/// Does a transpose move only dimensions of extent 1?
fn keeps_order(f: &Func, op: OpId, perm: &[u32]) -> bool {
    let Some(x) = f.operands(op).first().and_then(|&x| f.ty(x).as_tensor()) else { return false };
    let long = |d: &&u32| x.shape.get(**d as usize).is_some_and(|&n| n != 1);
    let moved: Vec<&u32> = perm.iter().filter(long).collect();
    moved.is_sorted()
}

/// The element type of a tensor value.
pub fn dtype_of(f: &Func, v: Value) -> Option<DType> {
    f.ty(v).as_tensor().map(|t| t.storage())
}

/// Places `new` right after `old`.
pub fn insert_after(f: &mut Func, old: OpId, new: OpId) {
    let region = f.op(old).parent().expect("`old` is placed in a region");
    let at = f.region(region).ops.iter().position(|&o| o == old);
    f.insert_at(region, at.expect("a placed op is in its parent region") + 1, new);
}
