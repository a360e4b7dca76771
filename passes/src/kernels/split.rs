//! Splitting a kernel into tasks that may run at the same time.
//!
//! The split is decided at compile time: a [`Part`] is the same kernel on a smaller view, with the
//! bytes by which each buffer starts later. Parts write disjoint outputs and together write what
//! the whole would, so any order and any number of threads gives the same bits. Equal parts share
//! one function.

use super::add::Add;
use super::arg_max::ArgMax;
use super::conv::Conv;
use super::convert::{Clamp, Requantize};
use super::depthwise::Depthwise;
use super::lut::Lut;
use super::moves::{Copy, Fill};
use super::pool::Pool;
use super::residual::Residual;
use super::resize::{ENTRY, Resize};
use super::row_sums::RowSums;
use super::{Kernel, View};

/// A share of a kernel's work.
#[derive(Debug)]
pub struct Part {
    /// What to call.
    pub kernel: Box<dyn Kernel>,
    /// Bytes by which each buffer starts later.
    pub offsets: Vec<u64>,
}

/// Into how many tasks kernels are split.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tasks {
    /// At most so many.
    pub n: u64,
    /// Also where a thread is not worth waking; for tests.
    pub always: bool,
}

impl Tasks {
    /// Whether `work` of something is enough, where `least` is worth a thread.
    fn worth(self, work: u64, least: u64) -> bool {
        self.always || work >= least
    }
}

/// Multiply-accumulates below which waking a thread costs more than it gains.
const MIN_MACS: u64 = 200_000;
/// Bytes written below which a kernel without products is not split.
const MIN_BYTES: u64 = 16 << 10;

/// `extent` in up to `tasks` ranges (start, length), as even as whole multiples of `unit` allow.
fn ranges(extent: u64, unit: u64, tasks: u64) -> Vec<(u64, u64)> {
    let units = extent.div_ceil(unit);
    let n = tasks.min(units);
    let at = |i: u64| (units * i / n.max(1) * unit).min(extent);
    (0..n).map(|i| (at(i), at(i + 1) - at(i))).collect()
}

/// The longest range's share of `extent`, as a multiple of an even share: 1 is perfect balance.
fn imbalance(extent: u64, unit: u64, tasks: u64) -> f64 {
    let longest = ranges(extent, unit, tasks).iter().map(|r| r.1).max().unwrap_or(extent);
    longest as f64 * tasks as f64 / extent as f64
}

impl View {
    /// Elements `start` to `start + n` of dimension `d`, and the bytes before them.
    fn part(&self, d: usize, (start, n): (u64, u64)) -> (View, u64) {
        let mut view = self.clone();
        view.shape[d] = n;
        (view, start * self.strides[d])
    }
}

/// Images, rows and columns of a window op.
struct Pixels<'a> {
    x: &'a View,
    y: &'a View,
    /// Vertical and horizontal step.
    stride: [u64; 2],
}

impl Pixels<'_> {
    /// The outermost dimension (0 to 2) that can be split.
    fn dimension(&self) -> usize {
        self.y.shape[..2].iter().position(|&n| n > 1).unwrap_or(2)
    }
    /// What outputs `start` to `start + n` along dimension `d` read, and the outputs themselves.
    fn part(&self, d: usize, (start, n): (u64, u64)) -> [(View, u64); 2] {
        let step = [1, self.stride[0], self.stride[1]][d];
        // What the last window reaches is what the image has left.
        let reach = self.x.shape[d] - (self.y.shape[d] - 1) * step;
        [self.x.part(d, (start * step, (n - 1) * step + reach)), self.y.part(d, (start, n))]
    }
}

impl Conv {
    /// Splits pixels or output channels, whichever is more even.
    pub(super) fn parts(&self, tasks: Tasks) -> Vec<Part> {
        self.parts_as(tasks, &|conv| Box::new(conv))
    }

    /// As [`Conv::parts`], of a kernel that `make` makes of each part.
    pub(super) fn parts_as(
        &self,
        tasks: Tasks,
        make: &dyn Fn(Conv) -> Box<dyn Kernel>,
    ) -> Vec<Part> {
        let pixels: u64 = self.y.shape[..3].iter().product();
        if !tasks.worth(pixels * self.y.shape[3] * self.taps.all_groups() * 4, MIN_MACS) {
            return vec![];
        }
        let all = Pixels { x: &self.x, y: &self.y, stride: self.stride };
        let d = all.dimension();
        let unit = if d == 2 { self.tile.pixels } else { 1 };
        let by_channels = imbalance(self.y.shape[3], self.panel(), tasks.n);
        if by_channels < imbalance(self.y.shape[d], unit, tasks.n) {
            return self.channel_parts(tasks, make);
        }
        let part = |range| {
            let [(x, x_at), (y, y_at)] = all.part(d, range);
            let sums = self.row_sums.as_ref().map(|(v, zp)| (v.part(d, range), *zp));
            let (residual, residual_at) = self.residual_part(d, range);
            let mut offsets = vec![x_at, 0, 0, y_at];
            offsets.extend(sums.as_ref().map(|((_, at), _)| *at));
            offsets.extend(residual_at);
            let row_sums = sums.map(|((v, _), zp)| (v, zp));
            Part { kernel: make(Conv { x, y, row_sums, residual, ..self.clone() }), offsets }
        };
        ranges(self.y.shape[d], unit, tasks.n).into_iter().map(part).collect()
    }

    /// The residual of outputs along dimension `d`, and the bytes before it.
    fn residual_part(&self, d: usize, range: (u64, u64)) -> (Option<Residual>, Option<u64>) {
        let part = |r: &Residual| {
            let (view, at) = r.view.part(d, range);
            (Residual { view, ..r.clone() }, at)
        };
        self.residual.as_ref().map(part).unzip()
    }

    fn channel_parts(&self, tasks: Tasks, make: &dyn Fn(Conv) -> Box<dyn Kernel>) -> Vec<Part> {
        let part = |range: (u64, u64)| {
            let (y, y_at) = self.y.part(3, range);
            let panel = range.0 / self.panel();
            let tables = panel * self.table_bytes() as u64;
            let mut offsets = vec![0, panel * self.panel_bytes(), tables, y_at];
            offsets.extend(self.row_sums.as_ref().map(|_| 0));
            let (residual, residual_at) = self.residual_part(3, range);
            offsets.extend(residual_at);
            Part { kernel: make(Conv { y, residual, ..self.clone() }), offsets }
        };
        ranges(self.y.shape[3], self.panel(), tasks.n).into_iter().map(part).collect()
    }
}

impl Depthwise {
    /// Splits images or rows, or blocks of channels, whichever is more even.
    pub(super) fn parts(&self, tasks: Tasks) -> Vec<Part> {
        let shape = &self.y.shape;
        let taps = self.window[0] * self.window[1];
        if !tasks.worth(self.y.len() * taps * 4, MIN_MACS) {
            return vec![];
        }
        let all = Pixels { x: &self.x, y: &self.y, stride: self.stride };
        let (d, block) = (all.dimension(), self.block());
        if d < 2 && imbalance(shape[d], 1, tasks.n) <= imbalance(shape[3], block, tasks.n) {
            let part = |range| {
                let [(x, x_at), (y, y_at)] = all.part(d, range);
                let kernel = Box::new(Depthwise { x, y, ..self.clone() });
                Part { kernel, offsets: vec![x_at, 0, 0, y_at] }
            };
            return ranges(shape[d], 1, tasks.n).into_iter().map(part).collect();
        }
        let part = |range: (u64, u64)| {
            let ((x, x_at), (y, y_at)) = (self.x.part(3, range), self.y.part(3, range));
            let first = range.0 / block;
            let (weights, tables) = (first * self.block_bytes(), first * self.table_bytes());
            let kernel = Box::new(Depthwise { x, y, ..self.clone() });
            Part { kernel, offsets: vec![x_at, weights, tables, y_at] }
        };
        ranges(shape[3], block, tasks.n).into_iter().map(part).collect()
    }
}

impl RowSums {
    /// Splits images or rows.
    pub(super) fn parts(&self, tasks: Tasks) -> Vec<Part> {
        let all = Pixels { x: &self.x, y: &self.y, stride: self.stride };
        let (d, pixels) = (all.dimension(), self.y.shape[..3].iter().product::<u64>());
        let taps = self.window[0] * self.window[1] * self.x.shape[3];
        if d == 2 || !tasks.worth(pixels * taps, MIN_MACS) {
            return vec![];
        }
        let part = |range| {
            let [(x, x_at), (y, y_at)] = all.part(d, range);
            let kernel = Box::new(RowSums { x, y, ..self.clone() });
            Part { kernel, offsets: vec![x_at, y_at, 0] }
        };
        ranges(self.y.shape[d], 1, tasks.n).into_iter().map(part).collect()
    }
}

impl Resize {
    /// Splits output rows; each part has its rows of the table, and all of the input.
    pub(super) fn parts(&self, tasks: Tasks) -> Vec<Part> {
        if self.y.shape[0] != 1 || !tasks.worth(self.y.len(), MIN_BYTES) {
            return vec![];
        }
        let part = |range: (u64, u64)| {
            let (y, y_at) = self.y.part(1, range);
            let cells = self.cells.and_then(|[rows, columns]| Some([rows.part(range)?, columns]));
            let kernel = Box::new(Resize { y, cells, ..self.clone() });
            Part { kernel, offsets: vec![0, range.0 * ENTRY, 0, y_at] }
        };
        ranges(self.y.shape[1], 1, tasks.n).into_iter().map(part).collect()
    }
}

impl Pool {
    /// Splits channels: windows at the border stay as they are.
    pub(super) fn parts(&self, tasks: Tasks) -> Vec<Part> {
        let taps = self.window[0] * self.window[1];
        let enough = tasks.worth(self.y.len() * taps, MIN_MACS / 4);
        if !enough || self.y.shape[3] < 16 * tasks.n || !self.y.is_dense_inner() {
            return vec![];
        }
        let part = |range: (u64, u64)| {
            let ((x, x_at), (y, y_at)) = (self.x.part(3, range), self.y.part(3, range));
            Part { kernel: Box::new(Pool { x, y, ..self.clone() }), offsets: vec![x_at, y_at] }
        };
        ranges(self.y.shape[3], 16, tasks.n).into_iter().map(part).collect()
    }
}

/// Ranges of the outermost dimension that has one for each task, for kernels that treat elements
/// one by one; none if there is too little to do.
fn element_ranges(y: &View, tasks: Tasks) -> Option<(usize, Vec<(u64, u64)>)> {
    let d = y.shape.iter().position(|&n| n >= tasks.n)?;
    let enough = tasks.worth(y.len() * y.dtype.size() as u64, MIN_BYTES);
    // The innermost dimension is what vectors run over.
    (enough && d + 1 < y.shape.len()).then(|| (d, ranges(y.shape[d], 1, tasks.n)))
}

/// Parts of a kernel that treats elements one by one; `part` makes one from a dimension and a range.
fn element_parts(y: &View, tasks: Tasks, part: &dyn Fn(usize, (u64, u64)) -> Part) -> Vec<Part> {
    let (d, ranges) = element_ranges(y, tasks).unwrap_or_default();
    ranges.into_iter().map(|range| part(d, range)).collect()
}

impl Add {
    /// Splits the outermost dimension that is large enough.
    pub(super) fn parts(&self, tasks: Tasks) -> Vec<Part> {
        element_parts(&self.y, tasks, &|d, range| {
            let [(a, a_at), (b, b_at)] = [0, 1].map(|i| self.inputs[i].part(d, range));
            let (y, y_at) = self.y.part(d, range);
            let kernel = Add { inputs: [a, b], y, ..self.clone() };
            Part { kernel: Box::new(kernel), offsets: vec![a_at, b_at, 0, y_at] }
        })
    }
}

impl ArgMax {
    /// Splits the outermost dimension that is large enough, where rows are searched.
    pub(super) fn parts(&self, tasks: Tasks) -> Vec<Part> {
        if !self.is_vector() || !tasks.worth(self.x.len(), MIN_BYTES) {
            return vec![];
        }
        let rows = Tasks { always: true, ..tasks };
        element_parts(&self.y, rows, &|d, range| {
            let ((x, x_at), (y, y_at)) = (self.x.part(d, range), self.y.part(d, range));
            let kernel = Box::new(ArgMax { x, y, ..*self });
            Part { kernel, offsets: vec![x_at, y_at, 0] }
        })
    }
}

impl Fill {
    /// Splits the outermost dimension that is large enough.
    pub(super) fn parts(&self, tasks: Tasks) -> Vec<Part> {
        element_parts(&self.y, tasks, &|d, range| {
            let (y, y_at) = self.y.part(d, range);
            Part { kernel: Box::new(Fill { y, ..*self }), offsets: vec![y_at] }
        })
    }
}

/// Parts of a kernel with buffers `x` and `y` of one shape; `part` makes a kernel of two views, and
/// the offsets of all its buffers of theirs.
fn pairwise<K: Kernel + 'static>(
    (x, y): (&View, &View),
    tasks: Tasks,
    part: impl Fn(View, View) -> K,
    offsets: impl Fn(u64, u64) -> Vec<u64>,
) -> Vec<Part> {
    element_parts(y, tasks, &|d, range| {
        let ((x, x_at), (y, y_at)) = (x.part(d, range), y.part(d, range));
        Part { kernel: Box::new(part(x, y)), offsets: offsets(x_at, y_at) }
    })
}

impl Copy {
    /// Splits the outermost dimension that is large enough.
    pub(super) fn parts(&self, tasks: Tasks) -> Vec<Part> {
        let part = |x, y| Copy { x, y, ..*self };
        pairwise((&self.x, &self.y), tasks, part, |x, y| vec![x, y])
    }
}

impl Lut {
    /// Splits the outermost dimension that is large enough.
    pub(super) fn parts(&self, tasks: Tasks) -> Vec<Part> {
        let part = |x, y| Lut { x, y, ..*self };
        pairwise((&self.x, &self.y), tasks, part, |x, y| vec![x, 0, y])
    }
}

impl Clamp {
    /// Splits the outermost dimension that is large enough.
    pub(super) fn parts(&self, tasks: Tasks) -> Vec<Part> {
        let part = |x, y| Clamp { x, y, ..*self };
        pairwise((&self.x, &self.y), tasks, part, |x, y| vec![x, y])
    }
}

impl Requantize {
    /// Splits the outermost dimension that is large enough.
    pub(super) fn parts(&self, tasks: Tasks) -> Vec<Part> {
        let part = |x, y| Requantize { x, y, ..*self };
        pairwise((&self.x, &self.y), tasks, part, |x, y| vec![x, 0, y])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_even_and_cover_everything() {
        assert_eq!(ranges(7, 1, 2), [(0, 3), (3, 4)]);
        assert_eq!(ranges(100, 16, 2), [(0, 48), (48, 52)]);
        assert_eq!(ranges(3, 1, 4), [(0, 1), (1, 1), (2, 1)]);
        assert_eq!(ranges(20, 64, 2), [(0, 20)]);
        for extent in 1..200 {
            for unit in [1, 4, 16] {
                for tasks in 1..6 {
                    let all = ranges(extent, unit, tasks);
                    let mut at = 0;
                    for (start, n) in all {
                        assert!(start == at && n > 0);
                        at += n;
                    }
                    assert_eq!(at, extent);
                }
            }
        }
    }

    #[test]
    fn imbalance_is_one_for_even_splits() {
        assert_eq!(imbalance(8, 1, 2), 1.0);
        assert_eq!(imbalance(7, 1, 2), 8.0 / 7.0);
        assert_eq!(imbalance(16, 16, 2), 2.0);
    }
}
