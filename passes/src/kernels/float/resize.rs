//! `nn.resize_bilinear`, `nn.resize_nearest`: source pixels from tables, vectors over channels.

use super::elementwise::runs;
use super::emit::{Emit, lanes_type, splat};
use super::moves::copy_at;
use crate::kernels::kb::{Addr, Kb};
use crate::kernels::site::Site;
use crate::kernels::{Arg, Call, Kernel, View, const_mem};
use qcc_ir::dialect::nn;
use qcc_ir::numerics::resize::{linear_axis, nearest_axis};
use qcc_ir::{DType, Func, Value};
use qcc_runtime::float::Arith;

/// Bytes of a table entry: two byte offsets (i32), and the weights of both (f32).
const ENTRY: u64 = 16;

/// Buffers: x, rows, columns, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Resize {
    /// Input `[N, H, W, C]`.
    pub x: View,
    /// Output `[N, H', W', C]`.
    pub y: View,
    /// Interpolation, or the first pixel.
    pub bilinear: bool,
    /// Most floats in a vector.
    pub lanes: u8,
}

impl Kernel for Resize {
    fn name(&self) -> String {
        let word = if self.bilinear { "bilinear" } else { "nearest" };
        format!("resize_{word}_{}", self.x.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let tables = [1, 2].map(|d| const_mem((self.y.shape[d] * ENTRY) as usize));
        let mems = [self.x.mem(), tables[0], tables[1], self.y.mem()];
        let mut kb = Kb::with_width(name, &mems, super::vector_bytes(self.lanes));
        let [x, rows, columns, y] = [0, 1, 2, 3].map(|i| kb.mem(i));
        if self.y.is_empty() {
            return kb.finish();
        }
        let (xs, ys) = (&self.x.strides, &self.y.strides);
        kb.for_each(self.y.shape[0], |kb, n| {
            let (x, y) = (n.of(&x, xs[0]), n.of(&y, ys[0]));
            kb.for_each(self.y.shape[1], |kb, row| {
                let (entry, y) = (row.of(&rows, ENTRY), row.of(&y, ys[1]));
                kb.for_each(self.y.shape[2], |kb, column| {
                    let at = [entry.clone(), column.of(&columns, ENTRY)];
                    let y = column.of(&y, ys[2]);
                    match self.bilinear {
                        true => self.lerp(kb, &x, &at, &y),
                        false => self.nearest(kb, &x, &at, &y),
                    }
                });
            });
        });
        kb.finish()
    }
}

impl Resize {
    /// The largest byte offset of a row or column.
    fn last(&self, d: usize) -> i64 {
        ((self.x.shape[d] - 1) * self.x.strides[d]) as i64
    }

    /// The offset of a pixel, and its range: `which` of the two rows and columns.
    fn pixel(&self, kb: &mut Kb, at: &[Addr; 2], which: [i64; 2]) -> (Value, (i64, (i64, i64))) {
        let parts = [0, 1].map(|d| {
            let v = kb.load_scalar(DType::I32, &at[d].at(4 * which[d]));
            kb.clamp_s(v, 0, self.last(1 + d))
        });
        let sum = kb.add(parts[0], parts[1]);
        (sum, (1, (0, self.last(1) + self.last(2))))
    }

    fn nearest(&self, kb: &mut Kb, x: &Addr, at: &[Addr; 2], y: &Addr) {
        let pixel = self.pixel(kb, at, [0, 0]);
        let size = self.x.dtype.size() as u64;
        if self.x.is_dense_inner() && self.y.is_dense_inner() {
            return copy_at(kb, pixel, size * self.x.shape[3], x, y);
        }
        kb.for_each(self.x.shape[3], |kb, c| {
            let (x, y) = (c.of(x, self.x.strides[3]), c.of(y, self.y.strides[3]));
            copy_at(kb, pixel, size, &x, &y);
        });
    }

    fn lerp(&self, kb: &mut Kb, x: &Addr, at: &[Addr; 2], y: &Addr) {
        let mut pixel = |row, column| self.pixel(kb, at, [row, column]);
        let pixels = [pixel(0, 0), pixel(0, 1), pixel(1, 0), pixel(1, 1)];
        let weights = [0, 1].map(|d| [8, 12].map(|b| kb.load_scalar(DType::F32, &at[d].at(b))));
        let steps = [self.x.strides[3], self.y.strides[3]];
        let dense = self.x.shape[3] == 1 || steps == [4, 4];
        let lanes = if dense { self.lanes } else { 1 };
        runs(kb, self.x.shape[3], lanes, &[x.clone(), y.clone()], &steps, &mut |kb, lanes, at| {
            let ty = lanes_type(DType::F32, lanes);
            let v = pixels.map(|(i, (s, range))| kb.lookup_of(ty.clone(), &at[0], i, s, range));
            let top = between(kb, lanes, weights[1], [v[0], v[1]]);
            let bottom = between(kb, lanes, weights[1], [v[2], v[3]]);
            let y = between(kb, lanes, weights[0], [top, bottom]);
            kb.store(y, &at[1]);
        });
    }
}

/// low·(1 − t) + high·t
fn between(kb: &mut Kb, lanes: u8, weights: [Value; 2], [low, high]: [Value; 2]) -> Value {
    let [low_weight, high_weight] = weights.map(|w| splat(kb, lanes, w));
    let a = &mut Emit::f32(kb, lanes);
    let (low, high) = (a.mul(low, low_weight), a.mul(high, high_weight));
    a.add(low, high)
}

/// Lowers `nn.resize_bilinear`.
///
/// # Errors
/// An image of 2^31 bytes or more.
pub fn lower_bilinear(site: &Site, op: &nn::ResizeBilinear) -> Result<Vec<Call>, String> {
    lower(site, true, |extents| {
        let all = linear_axis(extents, op.coordinates);
        all.iter().map(|l| ([l.low, l.high], l.weight)).collect()
    })
}

/// Lowers `nn.resize_nearest`.
///
/// # Errors
/// An image of 2^31 bytes or more.
pub fn lower_nearest(site: &Site, op: &nn::ResizeNearest) -> Result<Vec<Call>, String> {
    lower(site, false, |extents| {
        let all = nearest_axis(extents, op.coordinates, op.rounding);
        all.iter().map(|&i| ([i, i], 0.0)).collect()
    })
}

/// Source pixels and the second's weight, per output along an axis.
type Sources = Vec<([u64; 2], f32)>;

fn lower(
    site: &Site,
    bilinear: bool,
    axis: impl Fn([u64; 2]) -> Sources,
) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    if x.span() > i32::MAX as u64 {
        return Err("the image is too large".into());
    }
    let table = |d: usize, name: &str| {
        let mut bytes = Vec::new();
        for (pixels, weight) in axis([x.shape[d], y.shape[d]]) {
            pixels.iter().for_each(|p| bytes.extend(((p * x.strides[d]) as i32).to_le_bytes()));
            [1.0 - weight, weight].iter().for_each(|w| bytes.extend(w.to_le_bytes()));
        }
        Arg::Const { name: name.into(), bytes }
    };
    let (rows, columns) = (table(1, "rows"), table(2, "columns"));
    let args = vec![site.arg(site.operand(0)), rows, columns, site.arg(site.result())];
    let lanes = super::lanes(site, y.shape[3]);
    let kernel = Resize { x, y, bilinear, lanes };
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
