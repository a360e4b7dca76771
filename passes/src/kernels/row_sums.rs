//! `int.row_sums`: the sum of the taps of each output pixel.

use super::kb::{Addr, Kb};
use super::scalar_conv::load_wide;
use super::site::Site;
use super::{Call, Dot, Kernel, View};
use qcc_ir::dialect::int;
use qcc_ir::dialect::loops::DotSigns;
use qcc_ir::{DType, Func, Type, Value};

/// Sums over windows of one channel group. Buffers: x, sums.
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
    fn name(&self) -> String {
        format!("row_sums_{}", self.x.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::new(name, &[self.x.mem(), self.y.mem()]);
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
    /// The sum over one window.
    fn window_sum(&self, kb: &mut Kb, x: &Addr, channels: u64) -> Value {
        let xs = &self.x.strides;
        let (rows, cols) = (self.dilation[0] * xs[1], self.dilation[1] * xs[2]);
        let contiguous = cols == channels && xs[3] == 1 && self.groups == 1;
        let (runs, bytes) = match contiguous {
            true => (1, self.window[1] * channels),
            false => (self.window[1], channels),
        };
        let vectors = if xs[3] == 1 && self.dot != Dot::I16 { bytes / 16 } else { 0 };
        let zero = kb.int(Type::v128(DType::I32), 0);
        let zero32 = kb.i32(0);
        let sums = kb.fold(self.window[0], &[zero, zero32], |kb, kh, sums| {
            let x = kh.of(x, rows);
            kb.fold(runs, sums, |kb, kw, sums| {
                let x = kw.of(&x, cols);
                let vector = kb.fold(vectors, &sums[..1], |kb, k, acc| {
                    vec![self.add_vector(kb, acc[0], &k.of(&x, 16))]
                });
                let rest = x.at((16 * vectors) as i64);
                let tail = kb.fold(bytes - 16 * vectors, &sums[1..], |kb, i, acc| {
                    let v = load_wide(kb, self.x.dtype, &i.of(&rest, xs[3]), DType::I32);
                    vec![kb.add(acc[0], v)]
                });
                vec![vector[0], tail[0]]
            })
        });
        if vectors == 0 {
            return sums[1];
        }
        (0..4).fold(sums[1], |total, lane| {
            let part = kb.extract(sums[0], lane);
            kb.add(total, part)
        })
    }

    fn add_vector(&self, kb: &mut Kb, acc: Value, x: &Addr) -> Value {
        let bytes = kb.load_v128(DType::I8, x);
        let ones = kb.int(Type::v128(DType::I8), 1);
        let signs = if self.dot == Dot::U8S8 { DotSigns::U8S8 } else { DotSigns::S8S8 };
        kb.dot4(signs, acc, bytes, ones)
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
        dot: site.machine.dot_for(x.dtype),
        x,
        y,
        window: op.window.map(u64::from),
        stride: op.stride.map(u64::from),
        dilation: op.dilation.map(u64::from),
        groups: u64::from(op.groups),
    };
    let args = vec![site.arg(site.operand(0)), site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}

/// A matrix `[M, K]` as `[1, 1, M, K]`.
fn rows_of(v: &View) -> View {
    let (m, k) = (v.shape[0], v.shape.get(1).copied().unwrap_or(1));
    let (row, column) = (v.strides[0], v.strides.get(1).copied().unwrap_or(4));
    View { shape: vec![1, 1, m, k], strides: vec![m * row, m * row, row, column], ..v.clone() }
}
