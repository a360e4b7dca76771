//! Convolution one element at a time: every type, group count and depth multiplier. The exact
//! fallback, and the only kernel for 16-bit activations.

use super::kb::{Addr, Kb, Var};
use super::requant::Finish;
use super::{Kernel, View, const_mem};
use qcc_ir::dialect::int::Rescale;
use qcc_ir::{DType, Func, MemType, Type, Value};

/// A grouped convolution without padding. Depthwise is `groups = C`.
///
/// Buffers: x, weights, entries (exact form), y.
#[derive(Clone, PartialEq, Debug)]
pub struct ScalarConv {
    /// Input `[N, H, W, C]`.
    pub x: View,
    /// Weights `[O, KH, KW, I]` by strides.
    pub w: View,
    /// Output `[N, OH, OW, O]`.
    pub y: View,
    /// Vertical and horizontal step.
    pub stride: [u64; 2],
    /// Vertical and horizontal distance between taps.
    pub dilation: [u64; 2],
    /// Channel groups.
    pub groups: u64,
    /// Subtracted from each x.
    pub x_zp: i32,
    /// Subtracted from each weight.
    pub w_zp: i32,
    /// The requantization; only its reference matters here.
    pub finish: Finish,
}

impl ScalarConv {
    fn acc(&self) -> DType {
        if self.finish.reference == Rescale::Wide { DType::I64 } else { DType::I32 }
    }
    fn mems(&self) -> [MemType; 4] {
        let out = self.y.shape[3] as usize;
        let w = MemType { bytes: self.w.span(), slack: super::SLACK, constant: true };
        [self.x.mem(), w, const_mem(32 * out), self.y.mem()]
    }
}

impl Kernel for ScalarConv {
    fn name(&self) -> String {
        format!("conv2d_{}_{}_{}_scalar", self.x.dtype, self.w.dtype, self.y.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::new(name, &self.mems());
        let [x, w, entries, y] = [0, 1, 2, 3].map(|i| kb.mem(i));
        let (xs, ws, ys) = (&self.x.strides, &self.w.strides, &self.y.strides);
        let per_group = self.y.shape[3] / self.groups;
        let in_group = self.w.shape[3];
        let [n, oh, ow] = [self.y.shape[0], self.y.shape[1], self.y.shape[2]];
        kb.for_each(n, |kb, vn| {
            kb.for_each(oh, |kb, vh| {
                kb.for_each(ow, |kb, vw| {
                    kb.for_each(self.groups, |kb, vg| {
                        kb.for_each(per_group, |kb, vo| {
                            let at = |base: &Addr, list: &[(Var, u64)]| super::element(base, list);
                            let rows = self.stride[0] * xs[1];
                            let cols = self.stride[1] * xs[2];
                            let xg = in_group * xs[3];
                            let x = at(&x, &[(vn, xs[0]), (vh, rows), (vw, cols), (vg, xg)]);
                            let w = at(&w, &[(vg, per_group * ws[0]), (vo, ws[0])]);
                            let entry = at(&entries, &[(vg, per_group * 32), (vo, 32)]);
                            let yg = per_group * ys[3];
                            let y = at(
                                &y,
                                &[(vn, ys[0]), (vh, ys[1]), (vw, ys[2]), (vg, yg), (vo, ys[3])],
                            );
                            self.element(kb, &x, &w, &entry, &y);
                        });
                    });
                });
            });
        });
        kb.finish()
    }
}

impl ScalarConv {
    fn element(&self, kb: &mut Kb, x: &Addr, w: &Addr, entry: &Addr, y: &Addr) {
        let (xs, ws) = (&self.x.strides, &self.w.strides);
        let bias = self.finish.exact_bias(kb, self.acc(), entry);
        let (rows, cols) = (self.dilation[0] * xs[1], self.dilation[1] * xs[2]);
        let acc = kb.fold(self.w.shape[1], &[bias], |kb, kh, acc| {
            let (x, w) = (kh.of(x, rows), kh.of(w, ws[1]));
            kb.fold(self.w.shape[2], acc, |kb, kw, acc| {
                let (x, w) = (kw.of(&x, cols), kw.of(&w, ws[2]));
                kb.fold(self.w.shape[3], acc, |kb, i, acc| {
                    let (x, w) = (i.of(&x, xs[3]), i.of(&w, ws[3]));
                    let a = load_minus(kb, self.x.dtype, &x, self.x_zp, self.acc());
                    let b = load_minus(kb, self.w.dtype, &w, self.w_zp, self.acc());
                    let product = kb.mul(a, b);
                    vec![kb.add(acc[0], product)]
                })
            })
        });
        let code = self.finish.code_exact(kb, acc[0], entry);
        store_code(kb, code, self.y.dtype, y);
    }
}

/// A stored integer, widened to `wide` by its own sign, minus a constant.
pub fn load_minus(kb: &mut Kb, dtype: DType, addr: &Addr, minus: i32, wide: DType) -> Value {
    let v = load_wide(kb, dtype, addr, wide);
    if minus == 0 {
        return v;
    }
    let zp = kb.int(Type::Scalar(wide), i64::from(minus));
    kb.sub(v, zp)
}

/// A stored integer, widened to `wide` by its own sign.
pub fn load_wide(kb: &mut Kb, dtype: DType, addr: &Addr, wide: DType) -> Value {
    let v = kb.load_scalar(super::lane_type(dtype), addr);
    if dtype.size() == wide.size() {
        return v;
    }
    let ty = Type::Scalar(wide);
    if dtype.min_max().0 < 0 { kb.ext_s(v, ty) } else { kb.ext_u(v, ty) }
}

/// Stores an i32 code as an element of type `dtype`.
pub fn store_code(kb: &mut Kb, code: Value, dtype: DType, addr: &Addr) {
    let narrow = match dtype.size() {
        4 => code,
        8 => kb.ext_s(code, Type::Scalar(DType::I64)),
        _ => kb.trunc(code, Type::Scalar(super::lane_type(dtype))),
    };
    kb.store(narrow, addr);
}
