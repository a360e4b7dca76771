//! `int.mean`: sums over axes, requantized exactly.

use super::kb::{Addr, Kb};
use super::reduced::{Reduced, check_output};
use super::requant::{MULTIPLIER_ENTRY, multiplier_entry, rescale_double, round_even};
use super::scalar_conv::store_code;
use super::site::Site;
use super::sums::Sums;
use super::{Arg, Call, Kernel, View, const_mem};
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
        let reduced = Reduced::new(&self.x, &self.y, &self.axes);
        let sums = Sums {
            dtype: self.x.dtype,
            taps: reduced.taps.clone(),
            channels: reduced.channels,
            stride: reduced.x_step,
        };
        reduced.nest(&mut kb, &x, &y, &mut |kb, x, y| {
            self.outputs(kb, &sums, x, y, reduced.y_step);
        });
        kb.finish()
    }
}

impl Mean {
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

/// Lowers `int.mean`.
///
/// # Errors
/// The output has a shape of its own and is not dense.
pub fn lower(site: &Site, op: &int::Mean) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    check_output(&x, &y, &op.axes)?;
    let even = (op.rescale == Rescale::F32Even).then_some(op.mult_f32);
    let kernel =
        Mean { x, y, axes: op.axes.clone(), zp: [op.x_zp, op.y_zp], bounds: [op.lo, op.hi], even };
    let bytes = multiplier_entry(Multiplier { mantissa: op.mult, shift: op.shift }).to_vec();
    let entry = Arg::Const { name: "multiplier".into(), bytes };
    let args = vec![site.arg(site.operand(0)), entry, site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
