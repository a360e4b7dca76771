//! `nn.matmul_integer` with constant weights, as register tiles of dot products.
//!
//! Weights less their zero points are packed: in bytes, four products per lane, where the machine
//! has such a dot product and they fit; else in 16 bits, two products per lane. The zero point of
//! the first factor, known only at run time, is taken off at the end: Σ(a − z)·w = Σ a·w − z·Σ w,
//! exact in wrapping arithmetic.

use super::product::Tile;
use crate::kernels::kb::{Addr, Kb};
use crate::kernels::scalar_conv::load_wide;
use crate::kernels::site::Site;
use crate::kernels::{Arg, Call, Dot, Kernel, View, const_mem};
use qcc_ir::dialect::loops::DotSigns;
use qcc_ir::{DType, Func, Type, Value};
use qcc_runtime::Tensor;

/// Lanes of i32 in 128 bits.
const LANES: u64 = 4;

/// Buffers: a, weights, sums of weights, zero points of a, y.
#[derive(Clone, PartialEq, Debug)]
pub struct IntegerDots {
    /// `[…, M, K]`, dense.
    pub a: View,
    /// i32 `[…, M, N]`, dense.
    pub y: View,
    /// How products are summed.
    pub dot: Dot,
    /// Zero points of a: one, or one per row.
    pub zp: View,
    /// The register tile.
    pub tile: Tile,
}

impl IntegerDots {
    /// Rows, products and columns.
    fn extents(&self) -> [u64; 3] {
        let (k, n) = (self.a.shape[self.a.shape.len() - 1], self.y.shape[self.y.shape.len() - 1]);
        [self.y.len() / n.max(1), k, n]
    }
    /// Products per lane, and bytes of a weight.
    fn per_lane(&self) -> [u64; 2] {
        if self.dot == Dot::I16 { [2, 2] } else { [4, 1] }
    }
    /// Bytes of a panel of weights.
    fn panel_bytes(&self) -> u64 {
        self.extents()[1].div_ceil(self.per_lane()[0]) * self.tile.vectors * 16
    }
    fn panels(&self) -> u64 {
        self.extents()[2].div_ceil(self.tile.vectors * LANES)
    }

    /// Weights (k, n) less their zero points, panel by panel; and the sums over k.
    fn pack(&self, w: &impl Fn(u64, u64) -> i32) -> (Vec<u8>, Vec<u8>) {
        let ([_, k, n], [per, size]) = (self.extents(), self.per_lane());
        let panel = self.tile.vectors * LANES;
        let (mut bytes, mut sums) = (Vec::new(), Vec::new());
        for p in 0..self.panels() {
            for step in 0..k.div_ceil(per) {
                for c in p * panel..(p + 1) * panel {
                    for j in step * per..(step + 1) * per {
                        let weight = if c < n && j < k { w(j, c) } else { 0 };
                        bytes.extend(&weight.to_le_bytes()[..size as usize]);
                    }
                }
            }
            for c in p * panel..(p + 1) * panel {
                let column = (0..k).filter(|_| c < n).map(|j| w(j, c));
                sums.extend(column.fold(0i32, i32::wrapping_add).to_le_bytes());
            }
        }
        (bytes, sums)
    }
}

impl Kernel for IntegerDots {
    fn name(&self) -> String {
        let Tile { pixels, vectors } = self.tile;
        format!("matmul_{}_{:?}_{pixels}x{vectors}", self.a.dtype, self.dot).to_lowercase()
    }

    fn build(&self, name: &str) -> Func {
        let weights = const_mem((self.panels() * self.panel_bytes()) as usize);
        let sums = const_mem((self.panels() * self.tile.vectors * 16) as usize);
        let mems = [self.a.mem(), weights, sums, self.zp.mem(), self.y.mem()];
        let mut kb = Kb::new(name, &mems);
        if self.y.is_empty() {
            return kb.finish();
        }
        let [_, _, n] = self.extents();
        let [weights, sums, y] = [1, 2, 4].map(|i| kb.mem(i));
        let panel = self.tile.vectors * LANES;
        kb.for_each(n / panel, |kb, p| {
            let at =
                [p.of(&weights, self.panel_bytes()), p.of(&sums, panel * 4), p.of(&y, panel * 4)];
            self.rows(kb, &at, panel);
        });
        let done = n / panel;
        if n % panel > 0 {
            let by = |a: &Addr, bytes: u64| a.at((done * bytes) as i64);
            let at = [by(&weights, self.panel_bytes()), by(&sums, panel * 4), by(&y, panel * 4)];
            self.rows(&mut kb, &at, n % panel);
        }
        kb.finish()
    }
}

impl IntegerDots {
    /// All rows of `columns` columns; `at`: weights, sums, y.
    fn rows(&self, kb: &mut Kb, at: &[Addr; 3], columns: u64) {
        let [m, k, n] = self.extents();
        let (a, zp, per) = (kb.mem(0), kb.mem(3), self.tile.pixels);
        let zp_step = u64::from(self.zp.len() > 1);
        kb.for_each(m / per, |kb, r| {
            let (a, y) = (r.of(&a, per * k), r.of(&at[2], per * n * 4));
            self.tile(kb, &[a, r.of(&zp, per * zp_step), y], at, (per, columns));
        });
        let done = m / per * per;
        if m > done {
            let (a, y) = (a.at((done * k) as i64), at[2].at((done * n * 4) as i64));
            let zp = zp.at((done * zp_step) as i64);
            self.tile(kb, &[a, zp, y], at, (m - done, columns));
        }
    }

    /// `rows` rows of `columns` columns; `own`: a, zero points, y.
    fn tile(&self, kb: &mut Kb, own: &[Addr; 3], at: &[Addr; 3], (rows, columns): (u64, u64)) {
        let [_, k, n] = self.extents();
        let [per, _] = self.per_lane();
        let vectors = columns.div_ceil(LANES);
        let zero = kb.int(Type::v128(DType::I32), 0);
        let zeros = vec![zero; (rows * vectors) as usize];
        let step = self.tile.vectors * 16;
        let acc = kb.fold(k / per, &zeros, |kb, i, acc| {
            let a = i.of(&own[0], per);
            self.step(kb, (&a, per), &i.of(&at[0], step), (rows, vectors), acc)
        });
        let whole = k / per;
        let acc = match k % per {
            0 => acc,
            left => {
                let (a, w) = (own[0].at((whole * per) as i64), at[0].at((whole * step) as i64));
                self.step(kb, (&a, left), &w, (rows, vectors), &acc)
            }
        };
        for r in 0..rows {
            let zp_at = own[1].at((r * u64::from(self.zp.len() > 1)) as i64);
            let zp = load_wide(kb, self.zp.dtype, &zp_at, DType::I32);
            let zp = kb.splat(zp);
            for v in 0..vectors {
                let sums = kb.load_vec(DType::I32, &at[1].at((v * 16) as i64));
                let off = kb.mul(zp, sums);
                let value = kb.sub(acc[(r * vectors + v) as usize], off);
                let y = own[2].at((r * n * 4 + v * 16) as i64);
                store_some(kb, value, (columns - v * LANES).min(LANES), &y);
            }
        }
    }

    /// The next products (`count` of them) of every accumulator.
    fn step(
        &self,
        kb: &mut Kb,
        (a, count): (&Addr, u64),
        w: &Addr,
        (rows, vectors): (u64, u64),
        acc: &[Value],
    ) -> Vec<Value> {
        let k = self.extents()[1];
        let lane = if self.dot == Dot::I16 { DType::I16 } else { DType::I8 };
        let weights: Vec<Value> =
            (0..vectors as i64).map(|v| kb.load_vec(lane, &w.at(16 * v))).collect();
        let mut out = Vec::with_capacity(acc.len());
        for r in 0..rows {
            let x = self.repeated(kb, &a.at((r * k) as i64), count);
            for (v, &w) in weights.iter().enumerate() {
                let sum = acc[r as usize * vectors as usize + v];
                out.push(match self.dot {
                    Dot::U8S8 => kb.dot4(DotSigns::U8S8, sum, x, w),
                    Dot::S8S8 => kb.dot4(DotSigns::S8S8, sum, x, w),
                    Dot::I16 | Dot::Flips => kb.dot2(sum, x, w),
                });
            }
        }
        out
    }

    /// The next elements of a row in every lane; what lies behind `count` meets weights of 0.
    fn repeated(&self, kb: &mut Kb, a: &Addr, count: u64) -> Value {
        if self.dot != Dot::I16 {
            return kb.load_splat32(a);
        }
        let mut pair = load_wide(kb, self.a.dtype, a, DType::I32);
        let mask = kb.i32(0xFFFF);
        pair = kb.and(pair, mask);
        if count > 1 {
            let second = load_wide(kb, self.a.dtype, &a.at(1), DType::I32);
            let second = kb.shl(second, 16);
            pair = kb.or(pair, second);
        }
        let all = kb.splat(pair);
        kb.bitcast(all, Type::v128(DType::I16))
    }
}

fn store_some(kb: &mut Kb, v: Value, n: u64, at: &Addr) {
    if n == LANES {
        return kb.store(v, at);
    }
    for i in 0..n {
        let lane = kb.extract(v, i as u32);
        kb.store(lane, &at.at(4 * i as i64));
    }
}

/// The call, if weights and their zero points are constant and the matrices dense.
pub fn lower(site: &Site) -> Option<Vec<Call>> {
    let (a, y) = (site.view(site.operand(0)), site.view(site.result()));
    let w = site.constant(site.operand(1))?;
    let &[_, n] = w.shape() else { return None };
    let zero = |d: DType| Tensor::zeros(d, []);
    let w_zp = match site.n_operands() {
        4 => site.constant(site.operand(3))?,
        _ => zero(w.dtype()),
    };
    if !a.is_dense() || !y.is_dense() || a.is_empty() {
        return None;
    }
    let (zp, zp_arg) = match site.n_operands() {
        0..=2 => {
            let bytes = vec![0];
            let ty = qcc_ir::TensorType::plain(&[], a.dtype);
            (View::of(&ty), Arg::Const { name: "zero".into(), bytes })
        }
        _ => (site.view(site.operand(2)), site.arg(site.operand(2))),
    };
    let codes: Vec<i32> = (0..w.len())
        .map(|i| w.get_i64(i) as i32 - w_zp.get_i64(if w_zp.len() > 1 { i % n } else { 0 }) as i32)
        .collect();
    let bytes = codes.iter().all(|w| (-128..=127).contains(w));
    let dot = if bytes && a.slack >= 16 { site.machine.dot_for(a.dtype) } else { Dot::I16 };
    // Zero points per row belong to one matrix; a batch of them repeats.
    let rows = y.len() / (n as u64).max(1);
    if zp.len() > 1 && zp.len() != rows {
        return None;
    }
    let kernel = IntegerDots { a, y, dot, zp, tile: Tile::of(rows) };
    let (weights, sums) = kernel.pack(&|k, c| codes[k as usize * n + c as usize]);
    let args = vec![
        site.arg(site.operand(0)),
        Arg::Const { name: "weights".into(), bytes: weights },
        Arg::Const { name: "sums".into(), bytes: sums },
        zp_arg,
        site.arg(site.result()),
    ];
    Some(vec![Call { kernel: Box::new(kernel), args }])
}
