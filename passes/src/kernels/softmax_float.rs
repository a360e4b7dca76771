//! `int.softmax_float`: exponentials from a table of 256, summed in float32 from first to last,
//! divided in float64.

use super::kb::{Addr, Kb};
use super::scalar_conv::{load_wide, store_code};
use super::site::Site;
use super::{Arg, Call, Kernel, View, const_mem, each};
use qcc_ir::dialect::int;
use qcc_ir::dialect::loops::Pred;
use qcc_ir::{DType, Func, Type, Value};

/// Buffers: x, table, y.
#[derive(Clone, PartialEq, Debug)]
pub struct SoftmaxFloat {
    /// 8-bit codes; the last dimension is normalised.
    pub x: View,
    /// Codes.
    pub y: View,
    /// Output steps of the real number 1.
    pub y_inverse: f32,
    /// Output zero point.
    pub y_zp: i32,
    /// Smallest and largest output.
    pub bounds: [i32; 2],
}

impl Kernel for SoftmaxFloat {
    fn name(&self) -> String {
        format!("softmax_float_{}_{}", self.x.dtype, self.y.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::new(name, &[self.x.mem(), const_mem(4 * 256), self.y.mem()]);
        if self.x.is_empty() || self.x.shape.is_empty() {
            return kb.finish();
        }
        let (x, y) = (kb.mem(0), kb.mem(2));
        let last = self.x.shape.len() - 1;
        let (xs, ys) = (&self.x.strides[..last], &self.y.strides[..last]);
        let loops = each::loops(&self.x.shape[..last], &[xs, ys]);
        each::nest(&mut kb, &loops, &[x, y], &mut |kb, at| self.row(kb, &at[0], &at[1]));
        kb.finish()
    }
}

impl SoftmaxFloat {
    fn row(&self, kb: &mut Kb, x: &Addr, y: &Addr) {
        let last = self.x.shape.len() - 1;
        let (n, step) = (self.x.shape[last], self.x.strides[last]);
        let first = load_wide(kb, self.x.dtype, x, DType::I32);
        let max = kb.fold(n, &[first], |kb, i, best| {
            let code = load_wide(kb, self.x.dtype, &i.of(x, step), DType::I32);
            vec![kb.max_s(best[0], code)]
        })[0];
        let zero = kb.float(Type::Scalar(DType::F32), 0.0);
        let sum = kb.fold(n, &[zero], |kb, i, sum| {
            let t = self.term(kb, &i.of(x, step), max);
            vec![kb.fadd(sum[0], t)]
        })[0];
        kb.for_each(n, |kb, i| {
            let t = self.term(kb, &i.of(x, step), max);
            let steps = self.steps(kb, t, sum);
            let zp = kb.i32(self.y_zp);
            let code = kb.add(steps, zp);
            let code = kb.clamp_s(code, self.bounds[0].into(), self.bounds[1].into());
            store_code(kb, code, self.y.dtype, &i.of(y, self.y.strides[last]));
        });
    }

    /// round_even(t·y_inverse/sum), at most 2^30: the low half of the sum with 1.5·2^52.
    fn steps(&self, kb: &mut Kb, t: Value, sum: Value) -> Value {
        let f64t = Type::Scalar(DType::F64);
        let [t, sum] = [t, sum].map(|v| kb.float_cast(v, f64t.clone()));
        let inverse = kb.float(f64t.clone(), self.y_inverse.into());
        let scaled = kb.fmul(t, inverse);
        let v = kb.fdiv(scaled, sum);
        let most = kb.float(f64t.clone(), f64::from(1 << 30));
        let below = kb.fcmp(Pred::Lt, v, most);
        let v = kb.select(below, v, most);
        let magic = kb.float(f64t, 6_755_399_441_055_744.0);
        let rounded = kb.fadd(v, magic);
        let bits = kb.bitcast(rounded, Type::Scalar(DType::I64));
        kb.trunc(bits, Type::Scalar(DType::I32))
    }

    fn term(&self, kb: &mut Kb, x: &Addr, max: Value) -> Value {
        let code = load_wide(kb, self.x.dtype, x, DType::I32);
        let below = kb.sub(code, max);
        let end = kb.i32(255);
        let index = kb.add(below, end);
        let index = kb.clamp_s(index, 0, 255);
        let table = kb.mem(1);
        kb.lookup(DType::F32, &table, index, 4, (0, 255))
    }
}

/// Lowers `int.softmax_float`.
///
/// # Errors
/// The table is not constant.
pub fn lower(site: &Site, op: &int::SoftmaxFloat) -> Result<Vec<Call>, String> {
    let table = site.require_constant(1, "the table")?;
    let kernel = SoftmaxFloat {
        x: site.view(site.operand(0)),
        y: site.view(site.result()),
        y_inverse: op.y_inverse,
        y_zp: op.y_zp,
        bounds: [op.lo, op.hi],
    };
    let table = Arg::Const { name: "table".into(), bytes: table.bytes().to_vec() };
    let args = vec![site.arg(site.operand(0)), table, site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
