//! `int.arg_max`: index of the first extreme along an axis.

use super::kb::Kb;
use super::scalar_conv::{load_wide, store_code};
use super::site::Site;
use super::{Call, Kernel, View, each};
use qcc_ir::dialect::int;
use qcc_ir::dialect::loops::Pred;
use qcc_ir::{DType, Func};

/// Buffers: x, y.
#[derive(Clone, PartialEq, Debug)]
pub struct ArgMax {
    /// Codes.
    pub x: View,
    /// Indices (int32 or int64): x's shape without `axis`.
    pub y: View,
    /// The axis searched.
    pub axis: usize,
    /// The smallest rather than the largest.
    pub min: bool,
}

impl Kernel for ArgMax {
    fn name(&self) -> String {
        format!("arg_{}_{}", if self.min { "min" } else { "max" }, self.x.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::new(name, &[self.x.mem(), self.y.mem()]);
        let (x, y) = (kb.mem(0), kb.mem(1));
        if self.x.is_empty() {
            return kb.finish();
        }
        let mut strides = self.x.strides.clone();
        let along = strides.remove(self.axis);
        let n = self.x.shape[self.axis];
        let loops = each::loops(&self.y.shape, &[&strides, &self.y.strides]);
        each::nest(&mut kb, &loops, &[x, y], &mut |kb, at| {
            let first = load_wide(kb, self.x.dtype, &at[0], DType::I32);
            let zero = kb.i32(0);
            let rest = at[0].at(along as i64);
            let best = kb.fold(n - 1, &[first, zero], |kb, i, best| {
                let code = load_wide(kb, self.x.dtype, &i.of(&rest, along), DType::I32);
                let one = kb.i32(1);
                let before = kb.index(i);
                let index = kb.add(before, one);
                let pred = if self.min { Pred::Lt } else { Pred::Gt };
                let better = kb.cmp(pred, code, best[0]);
                let code = kb.select(better, code, best[0]);
                vec![code, kb.select(better, index, best[1])]
            });
            store_code(kb, best[1], self.y.dtype, &at[1]);
        });
        kb.finish()
    }
}

/// Lowers `int.arg_max`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower(site: &Site, op: &int::ArgMax) -> Result<Vec<Call>, String> {
    let kernel = ArgMax {
        x: site.view(site.operand(0)),
        y: site.view(site.result()),
        axis: op.axis as usize,
        min: op.min,
    };
    let args = vec![site.arg(site.operand(0)), site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
