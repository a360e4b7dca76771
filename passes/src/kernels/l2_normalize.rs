//! `int.l2_normalize`: a sum of squares per row, then one multiplier for all of its codes.

use super::fixed::{ByShift, inv_sqrt};
use super::kb::{Addr, Kb};
use super::scalar_conv::{load_minus, store_code};
use super::site::Site;
use super::{Call, Kernel, View, each};
use qcc_ir::dialect::int;
use qcc_ir::{DType, Func, Value};

/// Buffers: x, y.
#[derive(Clone, PartialEq, Debug)]
pub struct L2Normalize {
    /// 8-bit codes; the last dimension is normalised.
    pub x: View,
    /// Codes.
    pub y: View,
    /// Input and output zero point.
    pub zp: [i32; 2],
    /// Bits that differences are shifted by before they are multiplied.
    pub left: u32,
    /// Bits that are added to the shift of the multiplier.
    pub more: i32,
    /// Smallest and largest output.
    pub bounds: [i32; 2],
}

impl Kernel for L2Normalize {
    fn name(&self) -> String {
        format!("l2_normalize_{}_{}", self.x.dtype, self.y.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::new(name, &[self.x.mem(), self.y.mem()]);
        let (x, y) = (kb.mem(0), kb.mem(1));
        if !self.x.is_empty() {
            each::rows(&mut kb, (&self.x, &x), (&self.y, &y), &mut |kb, row, at| {
                self.row(kb, row, at)
            });
        }
        kb.finish()
    }
}

impl L2Normalize {
    fn row(&self, kb: &mut Kb, (n, steps): each::Row, [x, y]: [&Addr; 2]) {
        let difference = |kb: &mut Kb, at: &Addr| -> Value {
            load_minus(kb, self.x.dtype, at, self.zp[0], DType::I32)
        };
        let zero = kb.i32(0);
        let sum = kb.fold(n, &[zero], |kb, i, sum| {
            let d = difference(kb, &i.of(x, steps[0]));
            let square = kb.mul(d, d);
            vec![kb.add(sum[0], square)]
        });
        let (mantissa, shift) = inv_sqrt(kb, sum[0]);
        let more = kb.i32(self.more);
        let shift = kb.add(shift, more);
        let by = ByShift::new(kb, mantissa, shift);
        kb.for_each(n, |kb, i| {
            let d = difference(kb, &i.of(x, steps[0]));
            let d = kb.shl(d, self.left);
            let scaled = by.apply(kb, d);
            let zp = kb.i32(self.zp[1]);
            let code = kb.add(scaled, zp);
            let code = kb.clamp_s(code, self.bounds[0].into(), self.bounds[1].into());
            store_code(kb, code, self.y.dtype, &i.of(y, steps[1]));
        });
    }
}

/// Lowers `int.l2_normalize`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower(site: &Site, op: &int::L2Normalize) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    let (zp, bounds) = ([op.x_zp, op.y_zp], [op.lo, op.hi]);
    let kernel = L2Normalize { x, y, zp, left: op.left, more: op.more, bounds };
    let args = vec![site.arg(site.operand(0)), site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
