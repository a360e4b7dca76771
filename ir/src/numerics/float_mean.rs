//! The float32 mean of an image as ONNX Runtime's GlobalAveragePool adds it, for codes of 16 bits, which
//! have no QLinear kernel. Half of the ties of such means depend on the order.
//!
//! Four partial sums take the pixels in turn and meet as (0 + 2) + (1 + 3); what a multiple of four
//! leaves over follows one by one; the sum is divided by the number of pixels (MLAS,
//! `MlasPoolGlobalKernel`).

use super::recipe::{Recipe, parameter_lists};
use super::{Operand, float_list};
use crate::dialect::int::QuantizeRounding;
use crate::dialect::nn::{self, ReduceFn};
use crate::dialect::quant::Act;
use crate::dialect::{OpKind, int};
use crate::{DType, TensorType};

/// Partial sums.
const LANES: u64 = 4;

impl Recipe<'_> {
    /// DequantizeLinear, the mean over rows and columns, QuantizeLinear. `axes` are two that follow each
    /// other: channels are first or last.
    pub(super) fn image_mean_in_float(&mut self, axes: [u32; 2]) {
        let s = self.x(0).shape.clone();
        let [first, last] = axes.map(|a| a as usize);
        let size = |s: &[u64]| s.iter().product::<u64>();
        let (n, pixels) = (size(&s[..first]), size(&s[first..=last]));
        let channels = size(&s[last + 1..]);
        let (scale, zp, axis) = parameter_lists(Recipe::quant(self.x(0)));
        let kind = int::Dequantize { axis, f32_steps: true };
        let real = TensorType::plain(&s, DType::F32);
        let x =
            self.step(kind, &[Operand::Input(0), Operand::Const(scale), Operand::Const(zp)], real);
        let x = self.float_step(nn::Reshape {}, &[x], &[n, pixels, channels]);
        let (sum, from) = match pixels / LANES {
            0 => (self.pixels(&x, 0, [n, 1, channels]), 1),
            groups => (self.sum_of_lanes(&x, [n, groups, channels]), groups * LANES),
        };
        let sum = (from..pixels).fold(sum, |sum, i| {
            let pixel = self.pixels(&x, i, [n, 1, channels]);
            self.total(&sum, &pixel, [n, 1, channels])
        });
        let count = Operand::Const(float_list(DType::F32, [pixels as f64]));
        let mean = self.float_step(nn::Div { act: Act::None }, &[sum, count], &[n, 1, channels]);
        let y = self.y().shape.clone();
        let mean = self.float_step(nn::Reshape {}, &[mean], &y);
        let (scale, zp, axis) = parameter_lists(Recipe::quant(self.y()));
        let kind = int::Quantize { axis, rounding: QuantizeRounding::HalfEven, code_bias: 0 };
        self.push(kind, &[mean, Operand::Const(scale), Operand::Const(zp)]);
    }

    /// The first `groups` · 4 pixels in four sums, and those in one.
    fn sum_of_lanes(&mut self, x: &Operand, [n, groups, channels]: [u64; 3]) -> Operand {
        let x = self.pixels(x, 0, [n, groups * LANES, channels]);
        let x = self.float_step(nn::Reshape {}, &[x], &[n, groups, LANES, channels]);
        let sums = nn::Reduce { f: ReduceFn::Sum, axes: vec![1] };
        let mut sums = self.float_step(sums, &[x], &[n, LANES, channels]);
        for half in [2, 1] {
            let [low, high] = [0, half].map(|from| self.pixels(&sums, from, [n, half, channels]));
            sums = self.total(&low, &high, [n, half, channels]);
        }
        sums
    }

    /// Pixels of `x` from `from` on.
    fn pixels(&mut self, x: &Operand, from: u64, shape: [u64; 3]) -> Operand {
        let kind = nn::Slice { start: vec![0, from, 0], step: vec![1; 3] };
        self.float_step(kind, std::slice::from_ref(x), &shape)
    }

    fn total(&mut self, a: &Operand, b: &Operand, shape: [u64; 3]) -> Operand {
        let kind = nn::Add { act: Act::None };
        self.float_step(kind, &[a.clone(), b.clone()], &shape)
    }

    fn float_step(
        &mut self,
        kind: impl Into<OpKind>,
        operands: &[Operand],
        shape: &[u64],
    ) -> Operand {
        self.step(kind, operands, TensorType::plain(shape, DType::F32))
    }
}
