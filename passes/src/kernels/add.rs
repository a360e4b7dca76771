//! `int.add`: sums and differences.
//!
//! 8 bits: t = (a − a_zp)·s_a + (b − b_zp)·s_b, q = rne(t + copysign(e, t)) + y_zp in float32, with
//! the constants that `prove-rescale` found; a vector of outputs at a time.
//! Where there are none, and for 16 bits: the reference's integer arithmetic, one at a time.

use super::conv::store_bytes;
use super::kb::{Addr, Kb};
use super::pair_forms::{Form, PairCodes};
use super::requant::{MULTIPLIER_ENTRY, multiplier_entry, rescale_double, rounding_shift};
use super::residual::Operand;
use super::scalar_conv::{load_minus, load_wide, store_code};
use super::site::Site;
use super::{Arg, Call, Kernel, View, const_mem, each};
use qcc_ir::dialect::int::{self, AddStyle};
use qcc_ir::{DType, Func, Value};
use qcc_runtime::fixedpoint::Multiplier;

/// Constants of the float form.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FloatForm {
    /// Output steps per step of a and of b.
    pub scales: [f32; 2],
    /// Added away from zero before rounding.
    pub epsilon: f32,
}

/// Buffers: a, b, entries of the three multipliers, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Add {
    /// Inputs, broadcast to y's shape (stride 0 where an input has extent 1).
    pub inputs: [View; 2],
    /// Output.
    pub y: View,
    /// Parameters of the op.
    pub op: int::Add,
    /// Bytes of a vector.
    pub width: u64,
}

impl Kernel for Add {
    fn split(&self, tasks: super::split::Tasks) -> Vec<super::split::Part> {
        self.parts(tasks)
    }

    fn name(&self) -> String {
        let form = if self.is_vector() { "f32" } else { "exact" };
        format!("add_{}_{form}", self.y.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let [a, b] = [&self.inputs[0], &self.inputs[1]];
        let entries = const_mem(3 * MULTIPLIER_ENTRY);
        let width = if self.is_vector() { self.width } else { 16 };
        let mems = [a.mem(), b.mem(), entries, self.y.mem()];
        let mut kb = Kb::with_width(name, &mems, width);
        if self.y.is_empty() {
            return kb.finish();
        }
        let addrs = [kb.mem(0), kb.mem(1), kb.mem(3)];
        let mut loops = each::loops(&self.y.shape, &[&a.strides, &b.strides, &self.y.strides]);
        if self.is_vector() {
            let run = loops.pop().map_or(1, |l| l.0);
            each::nest(&mut kb, &loops, &addrs, &mut |kb, at| self.row(kb, at, run));
        } else {
            each::nest(&mut kb, &loops, &addrs, &mut |kb, at| self.one(kb, at));
        }
        kb.finish()
    }
}

impl Add {
    /// The constants that `prove-rescale` found, for 8 bits.
    fn float(&self) -> Option<FloatForm> {
        let [a, b] = &self.inputs;
        let bytes = [a, b, &self.y].iter().all(|v| v.dtype.size() == 1);
        float_form(&self.op).filter(|_| bytes)
    }

    /// Whether rows of all three tensors are contiguous bytes with slack behind them.
    fn is_vector(&self) -> bool {
        let [a, b] = [&self.inputs[0], &self.inputs[1]];
        let loops = each::loops(&self.y.shape, &[&a.strides, &b.strides, &self.y.strides]);
        let inner = loops.last().is_some_and(|(_, s)| s.iter().all(|&s| s == 1));
        let slack = u64::from(a.slack.min(b.slack));
        self.float().is_some() && inner && slack >= self.width
    }

    fn row(&self, kb: &mut Kb, at: &[Addr], run: u64) {
        let step = kb.width();
        kb.for_each(run / step, |kb, k| {
            let codes = self.vector(kb, &k.of(&at[0], step), &k.of(&at[1], step));
            kb.store(codes, &k.of(&at[2], step));
        });
        let done = (run / step * step) as i64;
        if !run.is_multiple_of(step) {
            let codes = self.vector(kb, &at[0].at(done), &at[1].at(done));
            store_bytes(kb, codes, run % step, &at[2].at(done));
        }
    }

    /// A whole vector of codes.
    fn vector(&self, kb: &mut Kb, a: &Addr, b: &Addr) -> Value {
        let form = self.float().expect("the caller checked that there is a float form");
        let types = [self.inputs[0].dtype, self.inputs[1].dtype, self.y.dtype];
        let bytes = [a, b].map(|at| kb.load_vec(DType::I8, at));
        pair_codes(&self.op, form, types).of_bytes(kb, bytes)
    }

    /// One output by the reference's arithmetic.
    fn one(&self, kb: &mut Kb, at: &[Addr]) {
        let op = &self.op;
        let code = match op.style {
            AddStyle::General => {
                let a = self.scaled(kb, &at[0], 0);
                let b = self.scaled(kb, &at[1], 1);
                let sum = self.sum(kb, a, b);
                let entry = kb.mem(2).at(2 * MULTIPLIER_ENTRY as i64);
                let steps = rescale_double(kb, sum, &entry);
                let zp = kb.i32(op.y_zp);
                kb.add(steps, zp)
            }
            AddStyle::PowerOfTwo => {
                let a = self.shifted(kb, &at[0], 0, op.a_shift);
                let b = self.shifted(kb, &at[1], 1, op.b_shift);
                let sum = self.sum(kb, a, b);
                kb.clamp_s(sum, i16::MIN.into(), i16::MAX.into())
            }
        };
        let code = kb.clamp_s(code, op.lo.into(), op.hi.into());
        store_code(kb, code, self.y.dtype, &at[2]);
    }

    fn sum(&self, kb: &mut Kb, a: Value, b: Value) -> Value {
        if self.op.subtract { kb.sub(a, b) } else { kb.add(a, b) }
    }

    fn scaled(&self, kb: &mut Kb, at: &Addr, which: usize) -> Value {
        let zp = if which == 0 { self.op.a_zp } else { self.op.b_zp };
        let v = load_minus(kb, self.inputs[which].dtype, at, zp, DType::I32);
        let shifted = kb.shl(v, self.op.left_shift);
        let entry = kb.mem(2).at((which * MULTIPLIER_ENTRY) as i64);
        rescale_double(kb, shifted, &entry)
    }

    fn shifted(&self, kb: &mut Kb, at: &Addr, which: usize, shift: i32) -> Value {
        let v = load_wide(kb, self.inputs[which].dtype, at, DType::I32);
        if shift == 0 {
            return v;
        }
        let n = shift.unsigned_abs().min(31);
        let mask = ((1i64 << n) - 1) as i32;
        let (right, mask_v, half) = (kb.i32(n as i32), kb.i32(mask), kb.i32(mask >> 1));
        rounding_shift(kb, v, right, mask_v, half)
    }
}

/// The constants that `prove-rescale` found.
pub(super) fn float_form(op: &int::Add) -> Option<FloatForm> {
    let form = FloatForm { scales: [op.a_scale, op.b_scale], epsilon: op.epsilon };
    (op.a_scale != 0.0).then_some(form)
}

/// The float form of a sum, from codes to codes.
pub(super) fn pair_codes(op: &int::Add, form: FloatForm, types: [DType; 3]) -> PairCodes {
    PairCodes {
        form: Form::AwayFromZero { scales: form.scales, epsilon: form.epsilon },
        types,
        zp: [op.a_zp, op.b_zp],
        y_zp: op.y_zp,
        bounds: [op.lo, op.hi],
    }
}

/// Lowers `int.add`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower(site: &Site, op: &int::Add) -> Result<Vec<Call>, String> {
    let operands = [0, 1].map(|i| Operand::of(site, site.operand(i)));
    Ok(vec![call(site, op, operands, Operand::of(site, site.result()))])
}

/// The sum of two operands.
pub(super) fn call(site: &Site, op: &int::Add, [a, b]: [Operand; 2], y: Operand) -> Call {
    let inputs = [&a, &b].map(|v| broadcast(&v.view, &y.view));
    let multipliers = [(op.a_mult, op.a_shift), (op.b_mult, op.b_shift), (op.y_mult, op.y_shift)];
    let entries = multipliers
        .iter()
        .flat_map(|&(mantissa, shift)| multiplier_entry(Multiplier { mantissa, shift }))
        .collect();
    let width = vector_width(site, &y.view);
    let kernel = Add { inputs, y: y.view, op: op.clone(), width };
    let entries = Arg::Const { name: "multipliers".into(), bytes: entries };
    Call { kernel: Box::new(kernel), args: vec![a.arg, b.arg, entries, y.arg] }
}

/// The machine's vectors, unless there is less than one of them to do.
fn vector_width(site: &Site, y: &View) -> u64 {
    if y.len() >= site.machine.width { site.machine.width } else { 16 }
}

/// `v` seen in the shape of `y`: stride 0 where `v` has extent 1.
pub(super) fn broadcast(v: &View, y: &View) -> View {
    let missing = y.shape.len() - v.shape.len();
    let stride = |d: usize| match d.checked_sub(missing) {
        Some(k) if v.shape[k] == y.shape[d] => v.strides[k],
        _ => 0,
    };
    let strides = (0..y.shape.len()).map(stride).collect();
    View { shape: y.shape.clone(), strides, ..v.clone() }
}
