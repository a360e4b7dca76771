//! The three ops of the convolution family as one: a grouped convolution over NHWC views.

use super::site::Site;
use super::{Dot, Machine, SLACK, View};
use crate::int_ops::conv_operand;
use qcc_ir::DType;
use qcc_ir::dialect::OpKind;
use qcc_ir::dialect::int::{self, ConvKernel, ProvenForms, Rescale};

/// What kernels are chosen by and made of. Padding is gone, tensors are placed.
pub(crate) struct Layer<'a> {
    /// Input `[N, H, W, C]`.
    pub x: View,
    /// Constant weights, if they are.
    pub w: Option<ConstBytes<'a>>,
    /// Weights as `[O, KH, KW, I]` by strides.
    pub w_view: View,
    /// Output `[N, OH, OW, O]`.
    pub y: View,
    /// Vertical and horizontal step.
    pub stride: [u64; 2],
    /// Distance between taps.
    pub dilation: [u64; 2],
    /// Channel groups.
    pub groups: u64,
    /// Subtracted from each x.
    pub x_zp: i32,
    /// Subtracted from each weight.
    pub w_zp: i32,
    /// The reference's requantization.
    pub rescale: Rescale,
    /// Output zero point.
    pub y_zp: i32,
    /// Smallest output code.
    pub lo: i32,
    /// Largest output code.
    pub hi: i32,
    /// What `select-kernels` chose.
    pub kernel: ConvKernel,
    /// What `prove-rescale` proved.
    pub forms: &'a ProvenForms,
    /// `int.row_sums` of one group, as `[N, OH, OW]`.
    pub row_sums: Option<View>,
}

/// Elements of a constant.
#[derive(Clone, Copy)]
pub(crate) struct ConstBytes<'a> {
    /// Little endian.
    pub bytes: &'a [u8],
    /// Type of an element.
    pub dtype: DType,
}

impl<'a> Layer<'a> {
    /// The op as a layer; `None` if it is another op.
    ///
    /// # Errors
    /// Padding that `expand-padding` has not taken away; a matrix whose rows are not contiguous.
    pub fn of(site: &Site<'a>) -> Result<Option<Layer<'a>>, String> {
        let OpKind::Int(op) = site.func.kind(site.op) else { return Ok(None) };
        let mut layer = match op {
            int::Op::Conv2d(op) => conv2d(site, op)?,
            int::Op::DepthwiseConv2d(op) => depthwise(site, op)?,
            int::Op::FullyConnected(op) => fully_connected(site, op)?,
            _ => return Ok(None),
        };
        layer.row_sums = row_sums(site, &layer.y);
        Ok(Some(layer))
    }
    /// Output channels of a group.
    pub fn per_group(&self) -> u64 {
        self.y.shape[3] / self.groups
    }
    /// Can vectors of bytes compute it? 8-bit codes side by side, constant weights, and nothing of
    /// the input's zero point left.
    fn fits_vectors(&self) -> bool {
        let bytes = self.x.dtype.size() == 1 && self.y.dtype.size() == 1;
        let dense = self.x.is_dense_inner() && self.y.is_dense_inner();
        let folded = self.x_zp == 0 && self.w.is_some() && self.rescale != Rescale::Wide;
        bytes && dense && folded && self.x.slack >= SLACK && !self.y.is_empty()
    }
    /// Is it what [`ConvKernel::Panels`] computes?
    pub fn fits_panels(&self) -> bool {
        let symmetric = self.w_zp == 0 || self.row_sums.is_some();
        self.fits_vectors() && symmetric && self.w.is_some_and(|w| w.dtype == DType::I8)
    }
    /// Is it what [`ConvKernel::Blocks`] computes: one channel to one, weights of int8, or the sums
    /// of two where bytes are multiplied?
    pub fn fits_blocks(&self, machine: Machine) -> bool {
        let one_to_one = self.groups == self.x.shape[3] && self.per_group() == 1;
        let typed = self.w.is_some_and(|w| matches!(w.dtype, DType::I8 | DType::I16));
        self.fits_vectors() && typed && one_to_one && self.w_zp == 0 && {
            let short = machine.dot_for(self.x.dtype) == Dot::I16;
            short || self.addends(machine) == 1 || self.fits_two_bytes()
        }
    }
    /// How many int8 a depthwise weight is the sum of.
    pub fn addends(&self, machine: Machine) -> u32 {
        let bytes = machine.dot_for(self.x.dtype) != Dot::I16;
        let wide = self.w.is_some_and(|w| w.dtype != DType::I8);
        if bytes && wide { 2 } else { 1 }
    }
    fn fits_two_bytes(&self) -> bool {
        let two = |b: &[u8]| i16::from_le_bytes([b[0], b[1]]);
        let fits = |w: ConstBytes| match w.dtype {
            DType::I16 => w.bytes.chunks_exact(2).all(|b| (-256..=254).contains(&two(b))),
            _ => false,
        };
        self.w.is_some_and(fits)
    }
}

fn conv2d<'a>(site: &Site<'a>, op: &'a int::Conv2d) -> Result<Layer<'a>, String> {
    no_padding(op.pad)?;
    Ok(Layer {
        x: site.view(site.operand(0)),
        w: site.constant_bytes(site.operand(1)),
        w_view: View { slack: SLACK, ..site.view(site.operand(1)) },
        y: site.view(site.result()),
        stride: op.stride.map(u64::from),
        dilation: op.dilation.map(u64::from),
        groups: u64::from(op.groups),
        x_zp: op.x_zp,
        w_zp: op.w_zp,
        rescale: op.rescale,
        y_zp: op.y_zp,
        lo: op.lo,
        hi: op.hi,
        kernel: op.kernel,
        forms: &op.forms,
        row_sums: None,
    })
}

/// A convolution in as many groups as input channels.
fn depthwise<'a>(site: &Site<'a>, op: &'a int::DepthwiseConv2d) -> Result<Layer<'a>, String> {
    no_padding(op.pad)?;
    let x = site.view(site.operand(0));
    let w = site.view(site.operand(1));
    // [1, KH, KW, O] read as [O, KH, KW, 1].
    let w_view = View {
        shape: vec![w.shape[3], w.shape[1], w.shape[2], 1],
        strides: vec![w.strides[3], w.strides[1], w.strides[2], w.strides[3]],
        slack: SLACK,
        ..w
    };
    Ok(Layer {
        groups: x.shape[3],
        x,
        w: site.constant_bytes(site.operand(1)),
        w_view,
        y: site.view(site.result()),
        stride: op.stride.map(u64::from),
        dilation: op.dilation.map(u64::from),
        x_zp: op.x_zp,
        w_zp: op.w_zp,
        rescale: op.rescale,
        y_zp: op.y_zp,
        lo: op.lo,
        hi: op.hi,
        kernel: op.kernel,
        forms: &op.forms,
        row_sums: None,
    })
}

/// A 1×1 convolution over a row of pixels.
fn fully_connected<'a>(site: &Site<'a>, op: &'a int::FullyConnected) -> Result<Layer<'a>, String> {
    let w = site.view(site.operand(1));
    let (out, k) = (w.shape[0], w.shape[1]);
    let x = matrix(&site.view(site.operand(0)), k)?;
    let y = matrix(&site.view(site.result()), out)?;
    let w_view = View {
        shape: vec![out, 1, 1, k],
        strides: vec![w.strides[0], w.strides[0], w.strides[0], w.strides[1]],
        slack: SLACK,
        ..w
    };
    Ok(Layer {
        x,
        w: site.constant_bytes(site.operand(1)),
        w_view,
        y,
        stride: [1, 1],
        dilation: [1, 1],
        groups: 1,
        x_zp: op.x_zp,
        w_zp: op.w_zp,
        rescale: op.rescale,
        y_zp: op.y_zp,
        lo: op.lo,
        hi: op.hi,
        kernel: op.kernel,
        forms: &op.forms,
        row_sums: None,
    })
}

fn no_padding(pad: [u32; 4]) -> Result<(), String> {
    match pad {
        [0, 0, 0, 0] => Ok(()),
        _ => Err("padding must be expanded first (pass expand-padding)".into()),
    }
}

/// A tensor as `[1, 1, rows, columns]`: dense, or a matrix with any distance between its rows.
fn matrix(v: &View, columns: u64) -> Result<View, String> {
    let size = v.dtype.size() as u64;
    let rows = v.len().checked_div(columns).unwrap_or(0);
    let stride = match v.shape.as_slice() {
        _ if v.is_dense() => columns * size,
        [_, k] if *k == columns && v.is_dense_inner() => v.strides[0],
        _ => return Err("the rows of a matrix must be contiguous".into()),
    };
    Ok(View {
        shape: vec![1, 1, rows, columns],
        strides: vec![rows * stride, rows * stride, stride, size],
        ..v.clone()
    })
}

/// Row sums `[N, OH, OW, groups]` (or M sums of any shape) as `[N, OH, OW]` of one group.
fn row_sums(site: &Site, y: &View) -> Option<View> {
    let sums = site.func.operands(site.op).get(conv_operand::ROW_SUMS)?;
    let v = site.view(*sums);
    if v.is_empty() {
        return None;
    }
    if v.shape.len() == 4 && v.shape[..3] == y.shape[..3] {
        return Some(View { shape: v.shape[..3].to_vec(), strides: v.strides[..3].to_vec(), ..v });
    }
    let rows = y.shape[2];
    Some(View { shape: vec![1, 1, rows], strides: vec![4 * rows, 4 * rows, 4], ..v })
}
