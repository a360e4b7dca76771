//! `int.max_pool2d`, `int.avg_pool2d`.
//!
//! Output rows and columns whose window is cut off by the border are emitted one by one; those
//! whose window lies inside the image share one loop. So no index is tested at run time.

use super::kb::{Addr, Kb};
use super::scalar_conv::store_code;
use super::site::Site;
use super::sums::Sums;
use super::{Call, Kernel, View};
use qcc_ir::dialect::int::{self, MeanRounding};
use qcc_ir::{Func, Type, Value};

/// What is done with the codes in a window.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Reduce {
    /// The largest.
    Max,
    /// The mean, rounded; storage adds `code_bias` to the framework's code.
    Mean { rounding: MeanRounding, code_bias: i32 },
}

/// Buffers: x, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Pool {
    /// Input `[N, H, W, C]`.
    pub x: View,
    /// Output `[N, OH, OW, C]`.
    pub y: View,
    /// What is done.
    pub reduce: Reduce,
    /// Window extents.
    pub window: [u64; 2],
    /// Vertical and horizontal step.
    pub stride: [u64; 2],
    /// Rows above and columns to the left of the image.
    pub before: [u64; 2],
    /// Smallest and largest output.
    pub bounds: [i32; 2],
}

/// Consecutive outputs along one dimension whose windows have `taps` taps inside the image.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// The first output.
    pub first: u64,
    /// Their number.
    pub n: u64,
    /// First input index of the first output's window.
    pub from: u64,
    /// The first tap inside the image.
    pub tap: u64,
    /// Taps inside the image.
    pub taps: u64,
}

/// A window along one dimension.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Axis {
    /// Input and output extent.
    pub extents: [u64; 2],
    /// Step from output to output.
    pub stride: u64,
    /// Taps of the window.
    pub window: u64,
    /// Step from tap to tap.
    pub dilation: u64,
    /// Elements outside before the image.
    pub before: u64,
}

impl Axis {
    /// Outputs grouped by which taps lie inside the image.
    pub fn segments(&self) -> Vec<Segment> {
        let mut out: Vec<Segment> = Vec::new();
        for first in 0..self.extents[1] {
            let start = first * self.stride;
            let at = |tap: u64| (start + tap * self.dilation).checked_sub(self.before);
            let inside = |tap: &u64| at(*tap).is_some_and(|i| i < self.extents[0]);
            let tap = (0..self.window).find(inside).unwrap_or(0);
            let taps = (0..self.window).filter(inside).count() as u64;
            let from = at(tap).unwrap_or(0);
            match out.last_mut() {
                Some(s) if s.taps == taps && s.tap == tap && from == s.from + s.n * self.stride => {
                    s.n += 1;
                }
                _ => out.push(Segment { first, n: 1, from, tap, taps }),
            }
        }
        out
    }
}

impl Kernel for Pool {
    fn split(&self, tasks: super::split::Tasks) -> Vec<super::split::Part> {
        self.parts(tasks)
    }

    fn name(&self) -> String {
        let word = if self.reduce == Reduce::Max { "max_pool" } else { "avg_pool" };
        format!("{word}{}x{}_{}", self.window[0], self.window[1], self.x.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::new(name, &[self.x.mem(), self.y.mem()]);
        let (x, y) = (kb.mem(0), kb.mem(1));
        let (xs, ys) = (&self.x.strides, &self.y.strides);
        if self.y.is_empty() {
            return kb.finish();
        }
        kb.for_each(self.y.shape[0], |kb, n| {
            let (x, y) = (n.of(&x, xs[0]), n.of(&y, ys[0]));
            for row in self.segments(0) {
                let x = x.at((row.from * xs[1]) as i64);
                let y = y.at((row.first * ys[1]) as i64);
                kb.for_each(row.n, |kb, v| {
                    let (x, y) = (v.of(&x, self.stride[0] * xs[1]), v.of(&y, ys[1]));
                    for col in self.segments(1) {
                        let x = x.at((col.from * xs[2]) as i64);
                        let y = y.at((col.first * ys[2]) as i64);
                        kb.for_each(col.n, |kb, v| {
                            let x = v.of(&x, self.stride[1] * xs[2]);
                            self.pixel(kb, &x, &v.of(&y, ys[2]), [row.taps, col.taps]);
                        });
                    }
                });
            }
        });
        kb.finish()
    }
}

impl Pool {
    /// Outputs along dimension `d` (0 rows, 1 columns), grouped.
    fn segments(&self, d: usize) -> Vec<Segment> {
        let axis = Axis {
            extents: [self.x.shape[1 + d], self.y.shape[1 + d]],
            stride: self.stride[d],
            window: self.window[d],
            dilation: 1,
            before: self.before[d],
        };
        axis.segments()
    }

    fn pixel(&self, kb: &mut Kb, x: &Addr, y: &Addr, taps: [u64; 2]) {
        match self.reduce {
            Reduce::Max => self.max(kb, x, y, taps),
            Reduce::Mean { rounding, code_bias } => {
                let sums = Sums {
                    dtype: self.x.dtype,
                    taps: vec![(taps[0], self.x.strides[1]), (taps[1], self.x.strides[2])],
                    channels: self.x.shape[3],
                    stride: self.x.strides[3],
                };
                let count = (taps[0] * taps[1]) as i64;
                let step = self.y.strides[3];
                sums.emit(kb, x, y, step, &mut |kb, sum, y| {
                    let biased = kb.i32((i64::from(code_bias) * count) as i32);
                    let sum = kb.sub(sum, biased);
                    let mean = divide(kb, sum, count, rounding);
                    let bias = kb.i32(code_bias);
                    let code = kb.add(mean, bias);
                    let code = kb.clamp_s(code, self.bounds[0].into(), self.bounds[1].into());
                    store_code(kb, code, self.y.dtype, y);
                });
            }
        }
    }

    fn max(&self, kb: &mut Kb, x: &Addr, y: &Addr, taps: [u64; 2]) {
        let channels = self.x.shape[3];
        let dense = self.x.is_dense_inner() && self.y.is_dense_inner();
        let size = self.x.dtype.size() as u64;
        let lanes = 16 / size;
        let vectors = if dense { channels / lanes } else { 0 };
        kb.for_each(vectors, |kb, k| {
            let ty = Type::v128(self.x.lane());
            let code = self.max_of(kb, &k.of(x, 16), taps, &ty);
            let bounds = self.bounds.map(|b| kb.int(ty.clone(), b.into()));
            let code = self.larger(kb, code, bounds[0]);
            let code = self.smaller(kb, code, bounds[1]);
            kb.store(code, &k.of(y, 16));
        });
        let done = (vectors * 16) as i64;
        let (x, y) = (x.at(done), y.at(done));
        let (step_x, step_y) = (self.x.strides[3], self.y.strides[3]);
        kb.for_each(channels - vectors * lanes, |kb, c| {
            let ty = Type::Scalar(self.x.lane());
            let code = self.max_of(kb, &c.of(&x, step_x), taps, &ty);
            let bounds = self.bounds.map(|b| kb.int(ty.clone(), b.into()));
            let code = self.larger(kb, code, bounds[0]);
            let code = self.smaller(kb, code, bounds[1]);
            kb.store(code, &c.of(&y, step_y));
        });
    }

    fn max_of(&self, kb: &mut Kb, x: &Addr, taps: [u64; 2], ty: &Type) -> Value {
        let first = kb.load(ty.clone(), x);
        let all = kb.fold(taps[0], &[first], |kb, kh, best| {
            let x = kh.of(x, self.x.strides[1]);
            kb.fold(taps[1], best, |kb, kw, best| {
                let code = kb.load(ty.clone(), &kw.of(&x, self.x.strides[2]));
                vec![self.larger(kb, best[0], code)]
            })
        });
        all[0]
    }

    fn larger(&self, kb: &mut Kb, a: Value, b: Value) -> Value {
        if self.x.dtype.min_max().0 == 0 { kb.max_u(a, b) } else { kb.max_s(a, b) }
    }
    fn smaller(&self, kb: &mut Kb, a: Value, b: Value) -> Value {
        if self.x.dtype.min_max().0 == 0 { kb.min_u(a, b) } else { kb.min_s(a, b) }
    }
}

/// sum / count, rounded.
fn divide(kb: &mut Kb, sum: Value, count: i64, rounding: MeanRounding) -> Value {
    let half = kb.i32((count / 2) as i32);
    let nudged = match rounding {
        MeanRounding::HalfUp => kb.add(sum, half),
        MeanRounding::HalfAway => {
            // s > 0 ? s + c/2 : s − c/2; the sign mask of s − 1 tells s ≤ 0.
            let one = kb.i32(1);
            let before = kb.sub(sum, one);
            let negative = kb.shr_s(before, 31);
            let flipped = kb.xor(half, negative);
            let nudge = kb.sub(flipped, negative);
            kb.add(sum, nudge)
        }
    };
    kb.div_s(nudged, count)
}

/// Lowers `int.max_pool2d`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_max(site: &Site, op: &int::MaxPool2d) -> Result<Vec<Call>, String> {
    lower(site, Reduce::Max, [op.window, op.stride], op.pad, [op.lo, op.hi])
}

/// Lowers `int.avg_pool2d`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_avg(site: &Site, op: &int::AvgPool2d) -> Result<Vec<Call>, String> {
    let reduce = Reduce::Mean { rounding: op.rounding, code_bias: op.code_bias };
    lower(site, reduce, [op.window, op.stride], op.pad, [op.lo, op.hi])
}

fn lower(
    site: &Site,
    reduce: Reduce,
    [window, stride]: [[u32; 2]; 2],
    pad: [u32; 4],
    bounds: [i32; 2],
) -> Result<Vec<Call>, String> {
    let kernel = Pool {
        x: site.view(site.operand(0)),
        y: site.view(site.result()),
        reduce,
        window: window.map(u64::from),
        stride: stride.map(u64::from),
        before: [pad[0].into(), pad[2].into()],
        bounds,
    };
    let outside = (0..2).any(|d| kernel.segments(d).iter().any(|s| s.taps == 0));
    if outside {
        return Err("a window lies outside the image".into());
    }
    let args = vec![site.arg(site.operand(0)), site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
