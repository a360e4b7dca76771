//! `nn.depthwise_conv2d` with one output per channel: vectors run over channels.

use super::elementwise::runs;
use super::emit::{Emit, lanes_type, load};
use crate::kernels::kb::{Addr, Kb};
use crate::kernels::site::Site;
use crate::kernels::{Call, Kernel, View, each};
use qcc_ir::dialect::nn;
use qcc_ir::dialect::quant::Act;
use qcc_ir::numerics::float::activate;
use qcc_ir::{DType, Func};

/// Buffers: x, w, bias if there is one, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Depthwise {
    /// Input `[N, H, W, C]`, its border expanded.
    pub x: View,
    /// Weights `[1, KH, KW, C]`, dense.
    pub w: View,
    /// Bias `[C]`, dense.
    pub bias: Option<View>,
    /// Output `[N, OH, OW, C]`.
    pub y: View,
    /// Vertical and horizontal step.
    pub stride: [u64; 2],
    /// Vertical and horizontal distance between taps.
    pub dilation: [u64; 2],
    /// Afterwards.
    pub act: Act,
    /// Most floats in a vector.
    pub lanes: u8,
}

impl Kernel for Depthwise {
    fn name(&self) -> String {
        format!("depthwise{}x{}_f32", self.w.shape[1], self.w.shape[2])
    }

    fn build(&self, name: &str) -> Func {
        let views = [Some(&self.x), Some(&self.w), self.bias.as_ref(), Some(&self.y)];
        let mems: Vec<_> = views.iter().flatten().map(|v| v.mem()).collect();
        let mut kb = Kb::with_width(name, &mems, super::vector_bytes(self.lanes));
        let (x, w, y) = (kb.mem(0), kb.mem(1), kb.mem(mems.len() - 1));
        let bias = kb.mem(if self.bias.is_some() { 2 } else { 1 });
        if self.y.is_empty() {
            return kb.finish();
        }
        let xs = &self.x.strides;
        let steps = [xs[0], self.stride[0] * xs[1], self.stride[1] * xs[2]];
        let pixels = each::loops(&self.y.shape[..3], &[&steps, &self.y.strides[..3]]);
        let dense = self.y.shape[3] == 1 || (xs[3] == 4 && self.y.strides[3] == 4);
        let lanes = if dense { self.lanes } else { 1 };
        let strides = [xs[3], self.y.strides[3], 4, 4];
        each::nest(&mut kb, &pixels, &[x, y], &mut |kb, at| {
            let all = [at[0].clone(), at[1].clone(), w.clone(), bias.clone()];
            runs(kb, self.y.shape[3], lanes, &all, &strides, &mut |kb, lanes, at| {
                self.output(kb, lanes, at);
            });
        });
        kb.finish()
    }
}

impl Depthwise {
    fn output(&self, kb: &mut Kb, lanes: u8, at: &[Addr]) {
        let [kh, kw, c] = [self.w.shape[1], self.w.shape[2], self.w.shape[3]];
        let [rows, columns] = [0, 1].map(|d| self.dilation[d] * self.x.strides[1 + d]);
        let zero = kb.float(lanes_type(DType::F32, lanes), 0.0);
        let taps = each::loops(&[kh, kw], &[&[rows, columns], &[kw * c * 4, c * 4]]);
        let mut sum = self.nest(kb, lanes, &taps, (&at[0], &at[2]), zero);
        if self.bias.is_some() {
            let b = load(kb, lanes, &at[3]);
            sum = kb.fadd(sum, b);
        }
        let v = activate(&mut Emit::f32(kb, lanes), self.act, sum);
        kb.store(v, &at[1]);
    }

    fn nest(
        &self,
        kb: &mut Kb,
        lanes: u8,
        taps: &[each::Loop],
        (x, w): (&Addr, &Addr),
        sum: qcc_ir::Value,
    ) -> qcc_ir::Value {
        let Some(((n, steps), inner)) = taps.split_first() else {
            let (a, b) = (load(kb, lanes, x), load(kb, lanes, w));
            let product = kb.fmul(a, b);
            return kb.fadd(sum, product);
        };
        // Short windows are emitted in line.
        if *n <= 5 {
            return (0..*n as i64).fold(sum, |sum, k| {
                let (x, w) = (x.at(k * steps[0] as i64), w.at(k * steps[1] as i64));
                self.nest(kb, lanes, inner, (&x, &w), sum)
            });
        }
        kb.fold(*n, &[sum], |kb, k, sum| {
            let (x, w) = (k.of(x, steps[0]), k.of(w, steps[1]));
            vec![self.nest(kb, lanes, inner, (&x, &w), sum[0])]
        })[0]
    }
}

/// Lowers `nn.depthwise_conv2d` without padding and with one output per channel.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower(site: &Site, op: &nn::DepthwiseConv2d) -> Result<Vec<Call>, String> {
    let y = site.view(site.result());
    let kernel = Depthwise {
        lanes: super::lanes(site, y.shape[3]),
        x: site.view(site.operand(0)),
        w: site.view(site.operand(1)),
        bias: (site.n_operands() > 2).then(|| site.view(site.operand(2))),
        y,
        stride: op.stride.map(u64::from),
        dilation: op.dilation.map(u64::from),
        act: op.act,
    };
    let mut args: Vec<_> = (0..site.n_operands()).map(|i| site.arg(site.operand(i))).collect();
    args.push(site.arg(site.result()));
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
