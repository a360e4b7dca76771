//! `nn.max_pool2d`, `nn.avg_pool2d`: vectors run over channels.
//!
//! Outputs whose window has the same taps inside the image share a loop, so no index is tested.

use super::elementwise::runs;
use super::emit::{Emit, lanes_type, load, splat};
use crate::kernels::kb::{Addr, Kb};
use crate::kernels::pool::{Axis, Segment};
use crate::kernels::site::Site;
use crate::kernels::{Call, Kernel, View};
use qcc_ir::dialect::nn;
use qcc_ir::dialect::quant::Act;
use qcc_ir::numerics::float::activate;
use qcc_ir::{DType, Func, Type, Value};

/// What is done with the elements in a window.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Reduce {
    /// The largest, at least the least finite number.
    Max,
    /// The mean of those inside the image.
    Mean(Sum),
    /// Their sum divided by the size of the window.
    MeanOfWindow(Sum),
}

/// In which order elements are added.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Sum {
    /// Row by row.
    Rows,
    /// Each column, then their sums.
    Columns,
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
    /// Rows and columns.
    pub axes: [Axis; 2],
    /// Afterwards.
    pub act: Act,
    /// Most floats in a vector.
    pub lanes: u8,
}

impl Kernel for Pool {
    fn name(&self) -> String {
        let word = if self.reduce == Reduce::Max { "max_pool" } else { "avg_pool" };
        format!("{word}{}x{}_f32", self.axes[0].window, self.axes[1].window)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb =
            Kb::with_width(name, &[self.x.mem(), self.y.mem()], super::vector_bytes(self.lanes));
        windows(&mut kb, (&self.x, &self.y), (0, 1), &self.axes, &mut |kb, at, [row, column]| {
            self.pixel(kb, at, [row.taps, column.taps]);
        });
        kb.finish()
    }
}

/// Emits one output pixel; see [`windows`].
type PixelBody<'a> = dyn FnMut(&mut Kb, &[Addr], [&Segment; 2]) + 'a;

/// Emits `body` for each output pixel: the addresses of its first tap inside the image and of itself,
/// and its row's and column's segments. `buffers` are the numbers of x and y.
pub fn windows(
    kb: &mut Kb,
    (x, y): (&View, &View),
    buffers: (usize, usize),
    [rows, columns]: &[Axis; 2],
    body: &mut PixelBody,
) {
    if y.is_empty() {
        return;
    }
    let (x_at, y_at) = (kb.mem(buffers.0), kb.mem(buffers.1));
    let (xs, ys) = (&x.strides, &y.strides);
    kb.for_each(y.shape[0], |kb, n| {
        let at = [n.of(&x_at, xs[0]), n.of(&y_at, ys[0])];
        segments(kb, rows, (&at, [xs[1], ys[1]]), &mut |kb, row, at| {
            segments(kb, columns, (at, [xs[2], ys[2]]), &mut |kb, column, at| {
                body(kb, at, [row, column]);
            });
        });
    });
}

/// Emits `body` for each output along an axis, with its segment and the addresses of its first tap
/// inside the image and of itself.
fn segments(
    kb: &mut Kb,
    axis: &Axis,
    (at, [xs, ys]): (&[Addr], [u64; 2]),
    body: &mut dyn FnMut(&mut Kb, &Segment, &[Addr]),
) {
    for s in axis.segments() {
        let x = at[0].at((s.from * xs) as i64);
        let y = at[1].at((s.first * ys) as i64);
        kb.for_each(s.n, |kb, k| {
            body(kb, &s, &[k.of(&x, axis.stride * xs), k.of(&y, ys)]);
        });
    }
}

impl Pool {
    fn pixel(&self, kb: &mut Kb, at: &[Addr], taps: [u64; 2]) {
        let (channels, steps) = (self.x.shape[3], [self.x.strides[3], self.y.strides[3]]);
        let lanes = if channels > 1 && steps != [4, 4] { 1 } else { self.lanes };
        runs(kb, channels, lanes, at, &steps, &mut |kb, lanes, at| {
            let y = self.reduce(kb, lanes, &at[0], taps);
            let y = activate(&mut Emit::f32(kb, lanes), self.act, y);
            kb.store(y, &at[1]);
        });
    }

    fn reduce(&self, kb: &mut Kb, lanes: u8, x: &Addr, taps: [u64; 2]) -> Value {
        let init = if self.reduce == Reduce::Max { f64::from(f32::MIN) } else { 0.0 };
        let init = kb.float(lanes_type(DType::F32, lanes), init);
        let [rows, columns] = [0, 1].map(|d| (taps[d], self.x.strides[1 + d]));
        let by_columns = Reduce::Mean(Sum::Columns) == self.reduce
            || Reduce::MeanOfWindow(Sum::Columns) == self.reduce;
        let all = match by_columns {
            true => kb.fold(columns.0, &[init], |kb, kw, total| {
                let x = kw.of(x, columns.1);
                let sum = kb.fold(rows.0, &[init], |kb, kh, sum| {
                    let v = load(kb, lanes, &kh.of(&x, rows.1));
                    vec![self.step(kb, sum[0], v)]
                });
                vec![self.step(kb, total[0], sum[0])]
            }),
            false => kb.fold(rows.0, &[init], |kb, kh, total| {
                let x = kh.of(x, rows.1);
                kb.fold(columns.0, total, |kb, kw, total| {
                    let v = load(kb, lanes, &kw.of(&x, columns.1));
                    vec![self.step(kb, total[0], v)]
                })
            }),
        };
        let [inside, window] = [taps, [self.axes[0].window, self.axes[1].window]]
            .map(|[rows, columns]| rows * columns);
        match self.reduce {
            Reduce::Max => all[0],
            Reduce::Mean(_) if inside == 0 => all[0],
            Reduce::Mean(_) => divide(kb, lanes, all[0], inside),
            Reduce::MeanOfWindow(_) => divide(kb, lanes, all[0], window),
        }
    }

    fn step(&self, kb: &mut Kb, total: Value, v: Value) -> Value {
        if self.reduce != Reduce::Max {
            return kb.fadd(total, v);
        }
        let larger = kb.fcmp(qcc_ir::dialect::loops::Pred::Lt, total, v);
        kb.select(larger, v, total)
    }
}

fn divide(kb: &mut Kb, lanes: u8, sum: Value, count: u64) -> Value {
    let count = kb.float(Type::Scalar(DType::F32), f64::from(count as f32));
    let count = splat(kb, lanes, count);
    kb.fdiv(sum, count)
}

/// Lowers `nn.max_pool2d`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_max(site: &Site, op: &nn::MaxPool2d) -> Result<Vec<Call>, String> {
    lower(site, Reduce::Max, ([op.window, op.stride], op.pad), op.act)
}

/// Lowers `nn.avg_pool2d`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_avg(site: &Site, op: &nn::AvgPool2d) -> Result<Vec<Call>, String> {
    let sum = if op.by_columns { Sum::Columns } else { Sum::Rows };
    let reduce = match op.count_include_pad {
        true => Reduce::MeanOfWindow(sum),
        false => Reduce::Mean(sum),
    };
    lower(site, reduce, ([op.window, op.stride], op.pad), op.act)
}

fn lower(
    site: &Site,
    reduce: Reduce,
    ([window, stride], pad): ([[u32; 2]; 2], [u32; 4]),
    act: Act,
) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    let axis = |d: usize| Axis {
        extents: [x.shape[1 + d], y.shape[1 + d]],
        stride: stride[d].into(),
        window: window[d].into(),
        dilation: 1,
        before: pad[2 * d].into(),
    };
    let axes = [axis(0), axis(1)];
    let lanes = super::lanes(site, y.shape[3]);
    let kernel = Pool { x, y, reduce, axes, act, lanes };
    let args = vec![site.arg(site.operand(0)), site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
