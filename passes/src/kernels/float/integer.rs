//! `nn.matmul_integer`, `nn.conv_integer`, one output at a time: every type, zero point and border.

use super::pool::windows;
use super::product_lower::lead_strides;
use crate::kernels::kb::{Addr, Kb};
use crate::kernels::pool::{Axis, Segment};
use crate::kernels::scalar_conv::load_wide;
use crate::kernels::site::Site;
use crate::kernels::{Arg, Call, Kernel, View, each};
use qcc_ir::dialect::nn;
use qcc_ir::{DType, Func, MemType, Value};

/// Zero points: their type, and how many; none are zero.
pub type ZeroPoints = Option<View>;

/// The buffers of an integer product: x, w, zero points where there are some, y.
fn mems(x: &View, w: &View, zp: &[ZeroPoints; 2], y: &View) -> Vec<MemType> {
    let all = [Some(x), Some(w), zp[0].as_ref(), zp[1].as_ref(), Some(y)];
    all.into_iter().flatten().map(View::mem).collect()
}

/// Where zero point `which` is, `per` times `step` bytes on if there are several.
fn zero_point(kb: &mut Kb, zp: &[ZeroPoints; 2], which: usize, at: &Addr) -> Value {
    match &zp[which] {
        Some(view) => load_wide(kb, view.dtype, at, DType::I32),
        None => kb.i32(0),
    }
}

/// The first zero point of `which`, in the buffers of [`mems`].
fn zero_point_at(kb: &Kb, zp: &[ZeroPoints; 2], which: usize) -> Addr {
    kb.mem(2 + usize::from(which == 1 && zp[0].is_some()))
}

/// Bytes from one zero point to the next: 0 where there is one for all.
fn zero_point_step(zp: &ZeroPoints) -> u64 {
    zp.as_ref().map_or(0, |v| u64::from(v.len() > 1))
}

/// y[…,m,n] = Σ_k (a − a_zp)·(b − b_zp). Buffers: a, b, zero points, y.
#[derive(Clone, PartialEq, Debug)]
pub struct MatMul {
    /// `[…, M, K]`.
    pub a: View,
    /// `[…, K, N]`.
    pub b: View,
    /// One or M, one or N.
    pub zp: [ZeroPoints; 2],
    /// `[…, M, N]`.
    pub y: View,
}

impl Kernel for MatMul {
    fn name(&self) -> String {
        format!("matmul_{}_{}_scalar", self.a.dtype, self.b.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mems = mems(&self.a, &self.b, &self.zp, &self.y);
        let mut kb = Kb::new(name, &mems);
        if self.y.is_empty() {
            return kb.finish();
        }
        let (a, b, y) = (kb.mem(0), kb.mem(1), kb.mem(mems.len() - 1));
        let zps = [0, 1].map(|i| zero_point_at(&kb, &self.zp, i));
        let rank = self.y.shape.len() - 2;
        let shape = &self.y.shape[..rank];
        let leads = [lead_strides(&self.a, shape, None), lead_strides(&self.b, shape, None)];
        let outer = each::loops(shape, &[&leads[0], &leads[1], &self.y.strides[..rank]]);
        each::nest(&mut kb, &outer, &[a, b, y], &mut |kb, at| {
            kb.for_each(self.y.shape[rank], |kb, m| {
                kb.for_each(self.y.shape[rank + 1], |kb, n| {
                    let [a_last, b_last] = [self.a.shape.len() - 1, self.b.shape.len() - 1];
                    let a = m.of(&at[0], self.a.strides[a_last - 1]);
                    let b = n.of(&at[1], self.b.strides[b_last]);
                    let y = n.of(&m.of(&at[2], self.y.strides[rank]), self.y.strides[rank + 1]);
                    let zp = [
                        m.of(&zps[0], zero_point_step(&self.zp[0])),
                        n.of(&zps[1], zero_point_step(&self.zp[1])),
                    ];
                    self.output(kb, (&a, &b, &y), &zp);
                });
            });
        });
        kb.finish()
    }
}

impl MatMul {
    fn output(&self, kb: &mut Kb, (a, b, y): (&Addr, &Addr, &Addr), zp: &[Addr; 2]) {
        let zp = [0, 1].map(|i| zero_point(kb, &self.zp, i, &zp[i]));
        let last = self.a.shape.len() - 1;
        let (a_step, b_step) = (self.a.strides[last], self.b.strides[self.b.shape.len() - 2]);
        let zero = kb.i32(0);
        let sum = kb.fold(self.a.shape[last], &[zero], |kb, k, sum| {
            let p = load_wide(kb, self.a.dtype, &k.of(a, a_step), DType::I32);
            let q = load_wide(kb, self.b.dtype, &k.of(b, b_step), DType::I32);
            vec![step(kb, sum[0], [p, q], zp)]
        });
        kb.store(sum[0], y);
    }
}

/// sum + (p − zp₀)·(q − zp₁)
fn step(kb: &mut Kb, sum: Value, [p, q]: [Value; 2], zp: [Value; 2]) -> Value {
    let (p, q) = (kb.sub(p, zp[0]), kb.sub(q, zp[1]));
    let product = kb.mul(p, q);
    kb.add(sum, product)
}

/// A convolution of codes less their zero points. Buffers: x, w, zero points, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Conv {
    /// `[N, H, W, C]`.
    pub x: View,
    /// `[O, KH, KW, C/groups]`.
    pub w: View,
    /// One, one or O.
    pub zp: [ZeroPoints; 2],
    /// `[N, OH, OW, O]`.
    pub y: View,
    /// Rows and columns.
    pub axes: [Axis; 2],
    /// Channel groups.
    pub groups: u64,
}

impl Kernel for Conv {
    fn name(&self) -> String {
        format!("conv_integer_{}_{}_scalar", self.x.dtype, self.w.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mems = mems(&self.x, &self.w, &self.zp, &self.y);
        let mut kb = Kb::new(name, &mems);
        let buffers = (0, mems.len() - 1);
        windows(&mut kb, (&self.x, &self.y), buffers, &self.axes, &mut |kb, at, window| {
            self.pixel(kb, at, window);
        });
        kb.finish()
    }
}

impl Conv {
    fn pixel(&self, kb: &mut Kb, at: &[Addr], window: [&Segment; 2]) {
        let per_out = self.y.shape[3] / self.groups;
        let (ws, w) = (self.w.strides[0], kb.mem(1));
        let w_zp = zero_point_at(kb, &self.zp, 1);
        let zp_step = zero_point_step(&self.zp[1]);
        kb.for_each(self.groups, |kb, g| {
            let x = g.of(&at[0], self.w.shape[3] * self.x.strides[3]);
            let (y, w) = (g.of(&at[1], per_out * self.y.strides[3]), g.of(&w, per_out * ws));
            let w_zp = g.of(&w_zp, per_out * zp_step);
            kb.for_each(per_out, |kb, c| {
                let (w, y) = (c.of(&w, ws), c.of(&y, self.y.strides[3]));
                self.output(kb, (&x, &w, &c.of(&w_zp, zp_step), &y), window);
            });
        });
    }

    fn output(
        &self,
        kb: &mut Kb,
        (x, w, w_zp, y): (&Addr, &Addr, &Addr, &Addr),
        [row, column]: [&Segment; 2],
    ) {
        let (xs, ws) = (&self.x.strides, &self.w.strides);
        let x_zp = zero_point_at(kb, &self.zp, 0);
        let zp = [zero_point(kb, &self.zp, 0, &x_zp), zero_point(kb, &self.zp, 1, w_zp)];
        let w = w.at((row.tap * ws[1] + column.tap * ws[2]) as i64);
        let [rows, columns] = [0, 1].map(|d| self.axes[d].dilation * xs[1 + d]);
        let zero = kb.i32(0);
        let sum = kb.fold(row.taps, &[zero], |kb, kh, sum| {
            let (x, w) = (kh.of(x, rows), kh.of(&w, ws[1]));
            kb.fold(column.taps, sum, |kb, kw, sum| {
                let (x, w) = (kw.of(&x, columns), kw.of(&w, ws[2]));
                kb.fold(self.w.shape[3], sum, |kb, i, sum| {
                    let p = load_wide(kb, self.x.dtype, &i.of(&x, xs[3]), DType::I32);
                    let q = load_wide(kb, self.w.dtype, &i.of(&w, ws[3]), DType::I32);
                    vec![step(kb, sum[0], [p, q], zp)]
                })
            })
        });
        kb.store(sum[0], y);
    }
}

/// Zero points among the operands.
fn zero_points(site: &Site) -> [ZeroPoints; 2] {
    [2, 3].map(|i| (i < site.n_operands()).then(|| site.view(site.operand(i))))
}

fn args(site: &Site) -> Vec<Arg> {
    let mut args: Vec<Arg> = (0..site.n_operands()).map(|i| site.arg(site.operand(i))).collect();
    args.push(site.arg(site.result()));
    args
}

/// Lowers `nn.matmul_integer`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_mat_mul(site: &Site) -> Result<Vec<Call>, String> {
    if let Some(calls) = super::integer_dots::lower(site) {
        return Ok(calls);
    }
    let kernel = MatMul {
        a: site.view(site.operand(0)),
        b: site.view(site.operand(1)),
        zp: zero_points(site),
        y: site.view(site.result()),
    };
    Ok(vec![Call { kernel: Box::new(kernel), args: args(site) }])
}

/// Lowers `nn.conv_integer`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_conv(site: &Site, op: &nn::ConvInteger) -> Result<Vec<Call>, String> {
    let (x, w, y) =
        (site.view(site.operand(0)), site.view(site.operand(1)), site.view(site.result()));
    let axis = |d: usize| Axis {
        extents: [x.shape[1 + d], y.shape[1 + d]],
        stride: op.stride[d].into(),
        window: w.shape[1 + d],
        dilation: op.dilation[d].into(),
        before: op.pad[2 * d].into(),
    };
    let axes = [axis(0), axis(1)];
    let kernel = Conv { zp: zero_points(site), axes, groups: op.groups.into(), x, w, y };
    Ok(vec![Call { kernel: Box::new(kernel), args: args(site) }])
}
