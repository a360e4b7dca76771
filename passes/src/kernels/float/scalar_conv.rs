//! Convolution one output at a time: weights that are computed, borders that are not expanded.
//! Taps outside the image are left out, as the interpreter does: an infinite weight there counts
//! for nothing.

use super::emit::{Emit, load};
use super::pool::windows;
use crate::kernels::kb::{Addr, Kb};
use crate::kernels::pool::{Axis, Segment};
use crate::kernels::{Kernel, View};
use qcc_ir::dialect::quant::Act;
use qcc_ir::numerics::float::activate;
use qcc_ir::{DType, Func, Type};

/// Buffers: x, w, bias if there is one, y.
#[derive(Clone, PartialEq, Debug)]
pub struct ScalarConv {
    /// Input `[N, H, W, C]`.
    pub x: View,
    /// Weights.
    pub w: View,
    /// Bias, dense.
    pub bias: Option<View>,
    /// Output `[N, OH, OW, O]`.
    pub y: View,
    /// Rows and columns.
    pub axes: [Axis; 2],
    /// Bytes of w per row, column and input channel of the window.
    pub weights: [u64; 3],
    /// Groups and channels of a group, with their bytes in w.
    pub outputs: [[u64; 2]; 2],
    /// Input channels of a group.
    pub per_in: u64,
    /// Afterwards.
    pub act: Act,
}

impl Kernel for ScalarConv {
    fn name(&self) -> String {
        "conv2d_f32_scalar".into()
    }

    fn build(&self, name: &str) -> Func {
        let views = [Some(&self.x), Some(&self.w), self.bias.as_ref(), Some(&self.y)];
        let mems: Vec<_> = views.iter().flatten().map(|v| v.mem()).collect();
        let mut kb = Kb::new(name, &mems);
        let buffers = (0, mems.len() - 1);
        windows(&mut kb, (&self.x, &self.y), buffers, &self.axes, &mut |kb, at, window| {
            self.pixel(kb, at, window);
        });
        kb.finish()
    }
}

impl ScalarConv {
    fn pixel(&self, kb: &mut Kb, at: &[Addr], window: [&Segment; 2]) {
        let [[groups, group_bytes], [per_out, channel_bytes]] = self.outputs;
        let (w, bias) = (kb.mem(1), kb.mem(2));
        kb.for_each(groups, |kb, g| {
            let x = g.of(&at[0], self.per_in * self.x.strides[3]);
            let (y, w) = (g.of(&at[1], per_out * self.y.strides[3]), g.of(&w, group_bytes));
            let bias = g.of(&bias, per_out * 4);
            kb.for_each(per_out, |kb, c| {
                let (w, y) = (c.of(&w, channel_bytes), c.of(&y, self.y.strides[3]));
                self.output(kb, (&x, &w, &c.of(&bias, 4), &y), window);
            });
        });
    }

    fn output(
        &self,
        kb: &mut Kb,
        (x, w, bias, y): (&Addr, &Addr, &Addr, &Addr),
        [row, column]: [&Segment; 2],
    ) {
        let [by_row, by_column, by_input] = self.weights;
        let w = w.at((row.tap * by_row + column.tap * by_column) as i64);
        let [rows, columns] = [0, 1].map(|d| self.axes[d].dilation * self.x.strides[1 + d]);
        let zero = kb.float(Type::Scalar(DType::F32), 0.0);
        let sum = kb.fold(row.taps, &[zero], |kb, kh, sum| {
            let (x, w) = (kh.of(x, rows), kh.of(&w, by_row));
            kb.fold(column.taps, sum, |kb, kw, sum| {
                let (x, w) = (kw.of(&x, columns), kw.of(&w, by_column));
                kb.fold(self.per_in, sum, |kb, i, sum| {
                    let a = load(kb, 1, &i.of(&x, self.x.strides[3]));
                    let b = load(kb, 1, &i.of(&w, by_input));
                    let product = kb.fmul(a, b);
                    vec![kb.fadd(sum[0], product)]
                })
            })
        });
        let mut sum = sum[0];
        if self.bias.is_some() {
            let b = load(kb, 1, bias);
            sum = kb.fadd(sum, b);
        }
        let v = activate(&mut Emit::f32(kb, 1), self.act, sum);
        kb.store(v, y);
    }
}
