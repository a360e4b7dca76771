//! `int.row_sums`: the sum of the taps of each output pixel.

use super::kb::{Addr, Kb};
use super::scalar_conv::load_wide;
use super::site::Site;
use super::{Arg, Call, Dot, Kernel, View, const_mem};
use qcc_ir::dialect::int;
use qcc_ir::dialect::loops::DotSigns;
use qcc_ir::{DType, Func, Type, Value};

/// Sums over windows of one channel group. Buffers: x, sums, masks (16 ones, then as many ones as a
/// run has bytes beyond whole vectors).
#[derive(Clone, PartialEq, Debug)]
pub struct RowSums {
    /// Input `[N, H, W, C]`.
    pub x: View,
    /// Sums `[N, OH, OW, groups]`, int32.
    pub y: View,
    /// Window extents.
    pub window: [u64; 2],
    /// Vertical and horizontal step.
    pub stride: [u64; 2],
    /// Vertical and horizontal distance between taps.
    pub dilation: [u64; 2],
    /// Channel groups.
    pub groups: u64,
    /// How bytes are summed.
    pub dot: Dot,
}

impl Kernel for RowSums {
    fn split(&self, tasks: super::split::Tasks) -> Vec<super::split::Part> {
        self.parts(tasks)
    }

    fn name(&self) -> String {
        format!("row_sums_{}", self.x.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::new(name, &[self.x.mem(), self.y.mem(), const_mem(32)]);
        let (x, y) = (kb.mem(0), kb.mem(1));
        let (xs, ys) = (&self.x.strides, &self.y.strides);
        let per_group = self.x.shape[3] / self.groups;
        let shape = [self.y.shape[0], self.y.shape[1], self.y.shape[2], self.groups];
        let group = per_group * xs[3];
        let x_strides = [xs[0], self.stride[0] * xs[1], self.stride[1] * xs[2], group];
        let loops = super::each::loops(&shape, &[&x_strides, ys]);
        super::each::nest(&mut kb, &loops, &[x, y], &mut |kb, at| {
            let sum = self.window_sum(kb, &at[0], per_group);
            kb.store(sum, &at[1]);
        });
        kb.finish()
    }
}

impl RowSums {
    /// Contiguous bytes per run, runs per window row, bytes between runs.
    fn runs(&self, channels: u64) -> (u64, u64, u64) {
        let xs = &self.x.strides;
        let cols = self.dilation[1] * xs[2];
        match cols == channels && xs[3] == 1 && self.groups == 1 {
            true => (self.window[1] * channels, 1, 0),
            false => (channels, self.window[1], cols),
        }
    }

    /// The sum over one window.
    fn window_sum(&self, kb: &mut Kb, x: &Addr, channels: u64) -> Value {
        let (bytes, runs, step) = self.runs(channels);
        let vector = self.x.strides[3] == 1 && self.dot != Dot::I16 && self.x.slack >= 16;
        let rows = self.dilation[0] * self.x.strides[1];
        let lanes = if vector { Type::v128(DType::I32) } else { Type::Scalar(DType::I32) };
        let zero = kb.int(lanes, 0);
        let sums = kb.fold(self.window[0], &[zero], |kb, kh, sums| {
            let x = kh.of(x, rows);
            kb.fold(runs, sums, |kb, kw, sums| {
                let x = kw.of(&x, step);
                match vector {
                    true => vec![self.vector_run(kb, sums[0], &x, bytes)],
                    false => self.scalar_run(kb, sums, &x, bytes),
                }
            })
        });
        if !vector {
            return sums[0];
        }
        let halves = [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7];
        let pairs = [4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11];
        let total = [halves, pairs].into_iter().fold(sums[0], |sum, mask| {
            let other = kb.shuffle(sum, sum, mask);
            kb.add(sum, other)
        });
        kb.extract(total, 0)
    }

    fn scalar_run(&self, kb: &mut Kb, sums: &[Value], x: &Addr, bytes: u64) -> Vec<Value> {
        kb.fold(bytes, sums, |kb, i, acc| {
            let v = load_wide(kb, self.x.dtype, &i.of(x, self.x.strides[3]), DType::I32);
            vec![kb.add(acc[0], v)]
        })
    }

    /// Whole vectors times ones, what is left times a mask.
    fn vector_run(&self, kb: &mut Kb, acc: Value, x: &Addr, bytes: u64) -> Value {
        let masks = kb.mem(2);
        let acc = kb.fold(bytes / 16, &[acc], |kb, k, acc| {
            vec![self.add_vector(kb, acc[0], &k.of(x, 16), &masks)]
        });
        match bytes % 16 {
            0 => acc[0],
            _ => self.add_vector(kb, acc[0], &x.at((bytes / 16 * 16) as i64), &masks.at(16)),
        }
    }

    fn add_vector(&self, kb: &mut Kb, acc: Value, x: &Addr, mask: &Addr) -> Value {
        let bytes = kb.load_vec(DType::I8, x);
        let ones = kb.load_vec(DType::I8, mask);
        match (self.dot, self.x.dtype) {
            (Dot::U8S8, _) => kb.dot4(DotSigns::U8S8, acc, bytes, ones),
            (Dot::Flips, dtype) => {
                // Ones are unsigned or signed, as it suits the other factor.
                let factors = if dtype == DType::I8 { [ones, bytes] } else { [bytes, ones] };
                let pairs = kb.dot2_sat(factors[0], factors[1]);
                let words = kb.vec(DType::I16);
                let one = kb.int(words, 1);
                kb.dot2(acc, pairs, one)
            }
            _ => kb.dot4(DotSigns::S8S8, acc, bytes, ones),
        }
    }
}

/// Lowers `int.row_sums`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower(site: &Site, op: &int::RowSums) -> Result<Vec<Call>, String> {
    let x = site.view(site.operand(0));
    let y = site.view(site.result());
    let (x, y) = match x.shape.len() {
        4 => (x, y),
        _ => (rows_of(&x), rows_of(&y)),
    };
    let kernel = RowSums {
        dot: site.machine.const_dot(x.dtype),
        x,
        y,
        window: op.window.map(u64::from),
        stride: op.stride.map(u64::from),
        dilation: op.dilation.map(u64::from),
        groups: u64::from(op.groups),
    };
    let (bytes, ..) = kernel.runs(kernel.x.shape[3] / kernel.groups);
    let mut masks = vec![1u8; 16];
    masks.extend((0..16).map(|i| u8::from(i < bytes % 16)));
    let masks = Arg::Const { name: "masks".into(), bytes: masks };
    let args = vec![site.arg(site.operand(0)), site.arg(site.result()), masks];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}

/// A matrix `[M, K]` as `[1, 1, M, K]`.
fn rows_of(v: &View) -> View {
    let (m, k) = (v.shape[0], v.shape.get(1).copied().unwrap_or(1));
    let (row, column) = (v.strides[0], v.strides.get(1).copied().unwrap_or(4));
    View { shape: vec![1, 1, m, k], strides: vec![m * row, m * row, row, column], ..v.clone() }
}
