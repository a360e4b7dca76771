//! `int.mean`: sums over axes, requantized exactly.

use super::kb::{Addr, Kb};
use super::requant::{MULTIPLIER_ENTRY, multiplier_entry, rescale_double, round_even};
use super::scalar_conv::store_code;
use super::site::Site;
use super::sums::Sums;
use super::{Arg, Call, Kernel, View, const_mem, each};
use qcc_ir::dialect::int::{self, Rescale};
use qcc_ir::{DType, Func, Type};
use qcc_runtime::fixedpoint::Multiplier;

/// Buffers: x, multiplier entry, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Mean {
    /// Input of any rank.
    pub x: View,
    /// Output: as many elements as the axes that are left, in order, dense.
    pub y: View,
    /// Reduced axes.
    pub axes: Vec<u32>,
    /// Input and output zero point.
    pub zp: [i32; 2],
    /// Smallest and largest output.
    pub bounds: [i32; 2],
    /// f32 multiplier, halves to even, instead of the entry.
    pub even: Option<f32>,
}

impl Kernel for Mean {
    fn name(&self) -> String {
        format!("mean_{}_{}", self.x.dtype, self.y.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::new(name, &[self.x.mem(), const_mem(MULTIPLIER_ENTRY), self.y.mem()]);
        let (x, y) = (kb.mem(0), kb.mem(2));
        if self.y.is_empty() {
            return kb.finish();
        }
        let reduced = |d: &usize| self.axes.contains(&(*d as u32));
        let all = 0..self.x.shape.len();
        let mut kept: Vec<usize> = all.clone().filter(|d| !reduced(d)).collect();
        let taps: Vec<(u64, u64)> =
            all.filter(reduced).map(|d| (self.x.shape[d], self.x.strides[d])).collect();
        let inner = kept.pop();
        let step = self.y.dtype.size() as u64;
        let channels = inner.map_or(1, |d| self.x.shape[d]);
        let shape: Vec<u64> = kept.iter().map(|&d| self.x.shape[d]).collect();
        let x_strides: Vec<u64> = kept.iter().map(|&d| self.x.strides[d]).collect();
        let (y_strides, step) = self.output_strides(&kept, inner, channels * step, &shape);
        let sums = Sums {
            dtype: self.x.dtype,
            taps: taps.clone(),
            channels,
            stride: inner.map_or(0, |d| self.x.strides[d]),
        };
        let loops = each::loops(&shape, &[&x_strides, &y_strides]);
        each::nest(&mut kb, &loops, &[x, y], &mut |kb, at| {
            self.outputs(kb, &sums, &at[0], &at[1], step);
        });
        kb.finish()
    }
}

impl Mean {
    /// Strides of the output along the kept axes but the innermost, and along that one.
    fn output_strides(
        &self,
        outer: &[usize],
        inner: Option<usize>,
        row: u64,
        shape: &[u64],
    ) -> (Vec<u64>, u64) {
        if self.y.shape.len() == self.x.shape.len() {
            let step = inner.map_or(0, |d| self.y.strides[d]);
            return (outer.iter().map(|&d| self.y.strides[d]).collect(), step);
        }
        if self.y.shape.len() == outer.len() + usize::from(inner.is_some()) {
            let (strides, step) = self.y.strides.split_at(outer.len());
            return (strides.to_vec(), step.first().copied().unwrap_or(0));
        }
        (dense(shape, row), self.y.dtype.size() as u64)
    }

    fn outputs(&self, kb: &mut Kb, sums: &Sums, x: &Addr, y: &Addr, step: u64) {
        let count: u64 = sums.taps.iter().map(|t| t.0).product();
        let offset = self.zp[0].wrapping_mul(count as i32);
        let entry = kb.mem(1);
        sums.emit(kb, x, y, step, &mut |kb, sum, y| {
            let offset = kb.i32(offset);
            let centred = kb.sub(sum, offset);
            let steps = match self.even {
                None => rescale_double(kb, centred, &entry),
                Some(mult) => {
                    let f32t = Type::Scalar(DType::F32);
                    let real = kb.int_to_float(centred, f32t.clone());
                    let mult = kb.float(f32t, mult.into());
                    let steps = kb.fmul(real, mult);
                    round_even(kb, steps)
                }
            };
            let zp = kb.i32(self.zp[1]);
            let code = kb.add(steps, zp);
            let code = kb.clamp_s(code, self.bounds[0].into(), self.bounds[1].into());
            store_code(kb, code, self.y.dtype, y);
        });
    }
}

/// Strides of a dense tensor whose innermost elements are `unit` bytes apart.
fn dense(shape: &[u64], unit: u64) -> Vec<u64> {
    let mut out = vec![0; shape.len()];
    let mut stride = unit;
    for d in (0..shape.len()).rev() {
        out[d] = stride;
        stride *= shape[d];
    }
    out
}

/// Lowers `int.mean`.
///
/// # Errors
/// The output has a rank of its own and is not dense.
pub fn lower(site: &Site, op: &int::Mean) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    let kept = x.shape.len() - op.axes.len();
    if !y.is_dense() && y.shape.len() != x.shape.len() && y.shape.len() != kept {
        return Err("an output of another rank must be dense".into());
    }
    let even = (op.rescale == Rescale::F32Even).then_some(op.mult_f32);
    let kernel =
        Mean { x, y, axes: op.axes.clone(), zp: [op.x_zp, op.y_zp], bounds: [op.lo, op.hi], even };
    let bytes = multiplier_entry(Multiplier { mantissa: op.mult, shift: op.shift }).to_vec();
    let entry = Arg::Const { name: "multiplier".into(), bytes };
    let args = vec![site.arg(site.operand(0)), entry, site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
