//! The three ops of the convolution family as one: a grouped convolution over NHWC views.

use super::residual::LayerResidual;
use super::site::Site;
use super::{Dot, Machine, SLACK, View};
use crate::consts::{Const, shared_const};
use crate::int_ops::{ConvForm, conv_of, conv_operand};
use qcc_ir::DType;
use qcc_ir::dialect::OpKind;
use qcc_ir::dialect::int::{self, ConvKernel, Epilogue, ProvenForms, Rescale};

/// What kernels are chosen by and made of. Padding is gone, tensors are placed.
pub(crate) struct Layer<'a> {
    /// Input `[N, H, W, C]`.
    pub x: View,
    /// Constant weights, if they are.
    pub w: Option<Const>,
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
    /// The epilogue; y then has the type of the codes before it.
    pub residual: Option<LayerResidual<'a>>,
}

impl<'a> Layer<'a> {
    /// The op as a layer; `None` if it is another op.
    ///
    /// # Errors
    /// Padding that `expand-padding` has not taken away; a matrix whose rows are not contiguous.
    pub fn of(site: &Site<'a>) -> Result<Option<Layer<'a>>, String> {
        let kind = site.func.kind(site.op);
        let Some(conv) = conv_of(kind) else { return Ok(None) };
        let (y_zp, [lo, hi], kernel, forms) = match kind {
            OpKind::Int(int::Op::Conv2d(op)) => (op.y_zp, [op.lo, op.hi], op.kernel, &op.forms),
            OpKind::Int(int::Op::DepthwiseConv2d(op)) => {
                (op.y_zp, [op.lo, op.hi], op.kernel, &op.forms)
            }
            OpKind::Int(int::Op::FullyConnected(op)) => {
                (op.y_zp, [op.lo, op.hi], op.kernel, &op.forms)
            }
            _ => return Ok(None),
        };
        if conv.pad != [0; 4] {
            return Err("padding must be expanded first (pass expand-padding)".into());
        }
        let [x, w, mut y] = views(site, conv.form)?;
        let residual = residual(site, y.dtype);
        if residual.is_some() {
            y.dtype = Epilogue::codes_type(lo, hi).ok_or("an epilogue of more than 8 bits")?;
        }
        Ok(Some(Layer {
            // A depthwise convolution has as many groups as input channels.
            groups: match conv.form {
                ConvForm::Depthwise => x.shape[3],
                _ => conv.groups as u64,
            },
            row_sums: row_sums(site, &y),
            residual,
            x,
            w: shared_const(site.module, site.func, site.operand(conv_operand::W)),
            w_view: View { slack: SLACK, ..w },
            y,
            stride: conv.stride.map(u64::from),
            dilation: conv.dilation.map(u64::from),
            x_zp: conv.x_zp,
            w_zp: conv.w_zp,
            rescale: conv.rescale,
            y_zp,
            lo,
            hi,
            kernel,
            forms,
        }))
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
        self.fits_vectors() && symmetric && self.w.as_ref().is_some_and(|w| w.dtype == DType::I8)
    }
    /// Is it what [`ConvKernel::Blocks`] computes: one channel to one, weights of int8, or the sums
    /// of two where bytes are multiplied?
    pub fn fits_blocks(&self, machine: Machine) -> bool {
        let one_to_one = self.groups == self.x.shape[3] && self.per_group() == 1;
        let typed = self.w.as_ref().is_some_and(|w| matches!(w.dtype, DType::I8 | DType::I16));
        self.fits_vectors() && typed && one_to_one && self.w_zp == 0 && {
            let short = self.block_dot(machine) == Dot::I16;
            short || self.addends(machine) == 1 || self.fits_two_bytes()
        }
    }
    /// How many int8 a depthwise weight is the sum of.
    pub fn addends(&self, machine: Machine) -> u32 {
        let bytes = self.block_dot(machine) != Dot::I16;
        if bytes && self.has_wide_weights() { 2 } else { 1 }
    }
    /// How [`ConvKernel::Blocks`] multiplies.
    pub fn block_dot(&self, machine: Machine) -> Dot {
        match self.has_wide_weights() {
            true => machine.dot_for(self.x.dtype),
            false => machine.const_dot(self.x.dtype),
        }
    }
    fn has_wide_weights(&self) -> bool {
        self.w.as_ref().is_some_and(|w| w.dtype != DType::I8)
    }
    fn fits_two_bytes(&self) -> bool {
        let two = |b: &[u8]| i16::from_le_bytes([b[0], b[1]]);
        let fits = |w: &Const| match w.dtype {
            DType::I16 => w.bytes.chunks_exact(2).all(|b| (-256..=254).contains(&two(b))),
            _ => false,
        };
        self.w.as_ref().is_some_and(fits)
    }
}

/// Input, weights and output, all of rank 4: weights as `[O, KH, KW, I]`, a matrix product as a
/// 1×1 convolution over a row of pixels.
fn views(site: &Site, form: ConvForm) -> Result<[View; 3], String> {
    let [x, w] = [conv_operand::X, conv_operand::W].map(|i| site.view(site.operand(i)));
    let y = site.view(site.result());
    let s = &w.strides;
    Ok(match form {
        ConvForm::Conv2d => [x, w, y],
        ConvForm::Depthwise => {
            // [1, KH, KW, O]
            let shape = vec![w.shape[3], w.shape[1], w.shape[2], 1];
            let strides = vec![s[3], s[1], s[2], s[3]];
            [x, View { shape, strides, ..w }, y]
        }
        ConvForm::FullyConnected => {
            let (out, k) = (w.shape[0], w.shape[1]);
            let (shape, strides) = (vec![out, 1, 1, k], vec![s[0], s[0], s[0], s[1]]);
            [matrix(&x, k)?, View { shape, strides, ..w }, matrix(&y, out)?]
        }
    })
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

/// The epilogue of an op whose result is of type `y`.
fn residual<'a>(site: &Site<'a>, y: DType) -> Option<LayerResidual<'a>> {
    let OpKind::Int(int::Op::Conv2d(op)) = site.func.kind(site.op) else { return None };
    let view = site.view(*site.func.operands(site.op).get(conv_operand::RESIDUAL)?);
    Some(LayerResidual { view, sum: op.epilogue.sum()?, y })
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
