//! `int.log_softmax`: exponentials and differences in fixed point come from tables, as in softmax;
//! per row one logarithm is computed.

use super::fixed::log_x;
use super::kb::{Addr, Kb};
use super::requant::{MULTIPLIER_ENTRY, multiplier_entry, rescale_double, rounding_shift};
use super::scalar_conv::{load_wide, store_code};
use super::site::Site;
use super::{Arg, Call, Kernel, View, const_mem, each};
use qcc_ir::dialect::int;
use qcc_ir::dialect::loops::Pred;
use qcc_ir::{DType, Func, Value};
use qcc_runtime::fixedpoint::{LogSoftmaxParams, Multiplier, SoftmaxParams, rounding_div_by_pot};

/// Buffers: x, tables (256 terms of the sum, 256 differences), multiplier entry, y.
#[derive(Clone, PartialEq, Debug)]
pub struct LogSoftmax {
    /// 8-bit codes; the last dimension is normalised.
    pub x: View,
    /// Codes.
    pub y: View,
    /// Differences below this count as minus infinity.
    pub diff_min: i32,
    /// Smallest and largest output.
    pub bounds: [i32; 2],
}

/// Bytes of one table.
const TABLE: i64 = 256 * 4;

impl Kernel for LogSoftmax {
    fn name(&self) -> String {
        format!("log_softmax_{}_{}", self.x.dtype, self.y.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let consts = [const_mem(2 * TABLE as usize), const_mem(MULTIPLIER_ENTRY)];
        let mems = [self.x.mem(), consts[0], consts[1], self.y.mem()];
        let mut kb = Kb::new(name, &mems);
        let (x, y) = (kb.mem(0), kb.mem(3));
        if !self.x.is_empty() {
            each::rows(&mut kb, (&self.x, &x), (&self.y, &y), &mut |kb, row, at| {
                self.row(kb, row, at)
            });
        }
        kb.finish()
    }
}

impl LogSoftmax {
    fn row(&self, kb: &mut Kb, (n, steps): each::Row, [x, y]: [&Addr; 2]) {
        let code = |kb: &mut Kb, at: &Addr| load_wide(kb, self.x.dtype, at, DType::I32);
        let first = code(kb, x);
        let max = kb.fold(n, &[first], |kb, i, best| {
            let q = code(kb, &i.of(x, steps[0]));
            vec![kb.max_s(best[0], q)]
        })[0];
        let below = |kb: &mut Kb, at: &Addr| -> Value {
            let q = code(kb, at);
            let below = kb.sub(max, q);
            kb.clamp_s(below, 0, 255)
        };
        let tables = kb.mem(1);
        let zero = kb.i32(0);
        let sum = kb.fold(n, &[zero], |kb, i, sum| {
            let at = below(kb, &i.of(x, steps[0]));
            let term = kb.lookup(DType::I32, &tables, at, 4, (0, 255));
            vec![kb.add(sum[0], term)]
        });
        let (log, cut) = self.of_row(kb, sum[0]);
        let [right, mask, half] = [22, (1 << 22) - 1, ((1 << 22) - 1) >> 1].map(|v| kb.i32(v));
        kb.for_each(n, |kb, i| {
            let at = below(kb, &i.of(x, steps[0]));
            let scaled = kb.lookup(DType::I32, &tables.at(TABLE), at, 4, (0, 255));
            let scaled = kb.sub(scaled, log);
            let steps_below = rounding_shift(kb, scaled, right, mask, half);
            let [lo, hi] = self.bounds.map(|v| kb.i32(v));
            let out = kb.add(steps_below, hi);
            let out = kb.clamp_s(out, self.bounds[0].into(), self.bounds[1].into());
            let none = kb.i32(0);
            let difference = kb.sub(none, at);
            let counts = kb.cmp(Pred::Gt, difference, cut);
            let out = kb.select(counts, out, lo);
            store_code(kb, out, self.y.dtype, &i.of(y, steps[1]));
        });
    }

    /// `LogSoftmaxParams::of_row`.
    fn of_row(&self, kb: &mut Kb, sum: Value) -> (Value, Value) {
        let least = kb.i32(1 << 19);
        let sum = kb.max_s(sum, least);
        let log = log_x(kb, sum);
        let low = kb.i32(i32::MIN);
        let shifted = kb.add(log, low);
        let entry = kb.mem(2);
        let cut = rescale_double(kb, shifted, &entry);
        let least = kb.i32(self.diff_min.wrapping_sub(1));
        (log, kb.max_s(cut, least))
    }
}

/// Lowers `int.log_softmax`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower(site: &Site, op: &int::LogSoftmax) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    let multiplier = Multiplier { mantissa: op.mult, shift: op.shift };
    let back = Multiplier { mantissa: op.back_mult, shift: op.back_shift };
    let softmax = SoftmaxParams { multiplier, diff_min: op.diff_min };
    let p = LogSoftmaxParams { softmax, back };
    let terms = softmax.exp_table().map(|e| rounding_div_by_pot(e, 12));
    let bytes = terms.into_iter().chain(p.diff_table()).flat_map(i32::to_le_bytes).collect();
    let tables = Arg::Const { name: "exponentials".into(), bytes };
    let entry = Arg::Const { name: "multiplier".into(), bytes: multiplier_entry(back).to_vec() };
    let kernel = LogSoftmax { x, y, diff_min: op.diff_min, bounds: [op.lo, op.hi] };
    let args = vec![site.arg(site.operand(0)), tables, entry, site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
