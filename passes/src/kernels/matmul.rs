//! `int.matmul`: products of two activations, one output at a time.

use super::kb::{Addr, Kb, Var};
use super::requant::{Channel, Finish};
use super::scalar_conv::{load_minus, store_code};
use super::site::Site;
use super::{Arg, Call, Kernel, View, const_mem, each};
use qcc_ir::dialect::int::{self, Rescale};
use qcc_ir::{DType, Func};
use qcc_runtime::fixedpoint::Multiplier;
use qcc_runtime::rescale::{RescaleChannel, RescaleForm};

/// Buffers: a, b, the exact entry, y.
#[derive(Clone, PartialEq, Debug)]
pub struct MatMul {
    /// `[…, M, K]`, leading dimensions broadcast to y's.
    pub a: View,
    /// `[…, K, N]`, leading dimensions broadcast to y's.
    pub b: View,
    /// `[…, M, N]`.
    pub y: View,
    /// Zero points of a and b.
    pub zp: [i32; 2],
    /// The requantization; only its reference matters here.
    pub finish: Finish,
}

impl Kernel for MatMul {
    fn name(&self) -> String {
        format!("matmul_{}_{}_{}", self.a.dtype, self.b.dtype, self.y.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mems = [self.a.mem(), self.b.mem(), const_mem(32), self.y.mem()];
        let mut kb = Kb::new(name, &mems);
        if self.y.is_empty() {
            return kb.finish();
        }
        let rank = self.y.shape.len();
        let (lead, last) = (rank - 2, rank - 1);
        let strides = [&self.a.strides[..lead], &self.b.strides[..lead], &self.y.strides[..lead]];
        let loops = each::loops(&self.y.shape[..lead], &strides);
        let addrs = [kb.mem(0), kb.mem(1), kb.mem(3)];
        each::nest(&mut kb, &loops, &addrs, &mut |kb, at| {
            kb.for_each(self.y.shape[lead], |kb, m| {
                let (a, y) =
                    (m.of(&at[0], self.a.strides[lead]), m.of(&at[2], self.y.strides[lead]));
                kb.for_each(self.y.shape[last], |kb, n| {
                    let b = n.of(&at[1], self.b.strides[last]);
                    self.element(kb, &a, &b, &n.of(&y, self.y.strides[last]));
                });
            });
        });
        kb.finish()
    }
}

impl MatMul {
    fn element(&self, kb: &mut Kb, a: &Addr, b: &Addr, y: &Addr) {
        let wide = self.finish.reference == Rescale::Wide;
        let acc_type = if wide { DType::I64 } else { DType::I32 };
        let entry = kb.mem(2);
        let zero = self.finish.exact_bias(kb, acc_type, &entry);
        let rank = self.y.shape.len();
        let steps = (self.a.strides[rank - 1], self.b.strides[rank - 2]);
        let acc = kb.fold(self.a.shape[rank - 1], &[zero], |kb, k: Var, acc| {
            let p = load_minus(kb, self.a.dtype, &k.of(a, steps.0), self.zp[0], acc_type);
            let q = load_minus(kb, self.b.dtype, &k.of(b, steps.1), self.zp[1], acc_type);
            let product = kb.mul(p, q);
            vec![kb.add(acc[0], product)]
        });
        let code = self.finish.code_exact(kb, acc[0], &entry);
        store_code(kb, code, self.y.dtype, y);
    }
}

/// Lowers `int.matmul`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower(site: &Site, op: &int::MatMul) -> Result<Vec<Call>, String> {
    let y = site.view(site.result());
    let factor = |i: usize, transposed: bool| {
        let mut v = site.view(site.operand(i));
        let rank = v.shape.len();
        if transposed {
            v.shape.swap(rank - 1, rank - 2);
            v.strides.swap(rank - 1, rank - 2);
        }
        leading(&v, &y)
    };
    let finish = Finish {
        form: RescaleForm::Exact,
        reference: op.rescale,
        dtype: y.dtype,
        zp: op.y_zp,
        lo: op.lo,
        hi: op.hi,
    };
    let channel = Channel {
        bias: 0,
        mult: Multiplier::new(op.mult, op.shift),
        mult_f64: op.mult_f32.into(),
        cheap: RescaleChannel { scale: 0.0, bias: 0.0 },
    };
    let (a, b) = (factor(0, op.transpose_a), factor(1, op.transpose_b));
    let kernel = MatMul { a, b, y, zp: [op.a_zp, op.b_zp], finish };
    let args = vec![
        site.arg(site.operand(0)),
        site.arg(site.operand(1)),
        Arg::Const { name: "multiplier".into(), bytes: finish.pack_exact(&[channel]) },
        site.arg(site.result()),
    ];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}

/// A factor with y's leading dimensions: stride 0 where it has extent 1 or none.
fn leading(v: &View, y: &View) -> View {
    let (rank, own) = (y.shape.len(), v.shape.len());
    let missing = rank - own;
    let lead = |d: usize| match d.checked_sub(missing) {
        Some(k) if v.shape[k] == y.shape[d] => v.strides[k],
        _ => 0,
    };
    let mut shape = y.shape[..rank - 2].to_vec();
    shape.extend(&v.shape[own - 2..]);
    let mut strides: Vec<u64> = (0..rank - 2).map(lead).collect();
    strides.extend(&v.strides[own - 2..]);
    View { shape, strides, ..v.clone() }
}
