//! Bilinear enlarging where neighbouring outputs lie between the same inputs: between two rows and
//! two columns of the input there are as many rows and columns of outputs each time (513 from 65: 8).
//!
//! What the rows' weights make of a cell's four corners is then computed once per row of outputs
//! and cell, with addresses that are known. Same operations in the same order as `resize_lanes.rs`:
//! a·(1−fy)·(1−fx) begins with a·(1−fy), which does not depend on the column.

use super::conv::store_bytes;
use super::kb::{Addr, Kb};
use super::resize::{ENTRY, Resize};
use super::resize_lanes::round_fixed;
use qcc_ir::dialect::int::ResizeStyle;
use qcc_ir::{DType, Value};

/// Outputs of one axis that lie between neighbouring inputs, the same number each time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cells {
    /// The first such output.
    pub first: u64,
    /// Outputs per cell.
    pub each: u64,
    /// Cells.
    pub n: u64,
    /// The input before the first cell.
    pub from: u64,
}

impl Cells {
    /// The longest stretch of cells with the same number of outputs, at least two, that takes at
    /// least half of the axis. `neighbours` are both inputs of each output.
    pub fn find(neighbours: &[(usize, usize)]) -> Option<Cells> {
        let mut best: Option<Cells> = None;
        let mut open: Option<Cells> = None;
        let mut at = 0;
        while at < neighbours.len() {
            let (lo, hi) = neighbours[at];
            let each = neighbours[at..].iter().take_while(|&&n| n == (lo, hi)).count();
            let cell = Cells { first: at as u64, each: each as u64, n: 1, from: lo as u64 };
            open = match open {
                _ if hi != lo + 1 || each < 2 => None,
                Some(o) if o.each == cell.each && o.from + o.n == cell.from => {
                    Some(Cells { n: o.n + 1, ..o })
                }
                _ => Some(cell),
            };
            let longer = |o: &Cells| best.is_none_or(|b: Cells| o.outputs() > b.outputs());
            best = open.filter(longer).or(best);
            at += each;
        }
        best.filter(|b| 2 * b.outputs() >= neighbours.len() as u64)
    }
    /// Outputs in all cells.
    pub fn outputs(&self) -> u64 {
        self.each * self.n
    }
    /// One past the last output.
    pub fn end(&self) -> u64 {
        self.first + self.outputs()
    }
    /// Whole cells of the outputs `start` to `start + n`, counted from `start`.
    pub fn part(&self, (start, n): (u64, u64)) -> Option<Cells> {
        let skipped = start.saturating_sub(self.first).div_ceil(self.each);
        let first = self.first + skipped * self.each;
        let end = (start + n).min(self.end());
        let cells = end.checked_sub(first)? / self.each;
        let part = Cells { first: first - start, n: cells, from: self.from + skipped, ..*self };
        (cells > 0).then_some(part)
    }
}

/// Corners of a cell above each other: left upper, left lower, right upper, right lower.
type Corners<T> = [T; 4];

impl Resize {
    /// All outputs of one row in the cells `columns`. `x` is the first corner, `y` the row.
    pub(super) fn cells(
        &self,
        kb: &mut Kb,
        columns: Cells,
        x: &Addr,
        weights: [Value; 2],
        y: &Addr,
    ) {
        let (xs, ys) = (self.x.strides[2], self.y.strides[2]);
        let x = x.at((columns.from * xs) as i64);
        let y = y.at((columns.first * ys) as i64);
        let entries = kb.mem(2).at((columns.first * ENTRY) as i64);
        kb.for_each(columns.n, |kb, cell| {
            let x = cell.of(&x, xs);
            let y = cell.of(&y, columns.each * ys);
            let entries = cell.of(&entries, columns.each * ENTRY);
            let step = |kb: &mut Kb, x: &Addr, y: &Addr, n: u64| {
                let halves = self.corners(kb, x, weights);
                kb.for_each(columns.each, |kb, i| {
                    let weights = self.weights(kb, &i.of(&entries, ENTRY));
                    let codes = halves.map(|corners| self.between(kb, corners, weights));
                    store_codes(kb, codes, self.y.dtype, n, &i.of(y, ys));
                });
            };
            let (channels, chunk) = (self.x.shape[3], self.width / 2);
            let full = channels / chunk;
            kb.for_each(full, |kb, k| step(kb, &k.of(&x, chunk), &k.of(&y, chunk), chunk));
            if channels % chunk != 0 {
                let done = (full * chunk) as i64;
                step(kb, &x.at(done), &y.at(done), channels % chunk);
            }
        });
    }

    /// One minus the fraction of an entry, and the fraction, in every lane: f32, or i32 in 10 bits.
    pub(super) fn weights(&self, kb: &mut Kb, entry: &Addr) -> [Value; 2] {
        let bytes = kb.load_splat32(&entry.at(8));
        match self.style {
            ResizeStyle::Float32 => {
                let floats = kb.vec(DType::F32);
                let fraction = kb.bitcast(bytes, floats.clone());
                let one = kb.float(floats, 1.0);
                [kb.fsub(one, fraction), fraction]
            }
            ResizeStyle::Fixed10 => {
                let words = kb.vec(DType::I32);
                let fraction = kb.bitcast(bytes, words.clone());
                let one = kb.int(words, 1024);
                [kb.sub(one, fraction), fraction]
            }
        }
    }

    /// Corners weighted by row, of half a vector of channels: in float each one, in fixed point the
    /// sums of those above each other (the others repeat them).
    fn corners(&self, kb: &mut Kb, x: &Addr, [gy, fy]: [Value; 2]) -> [Corners<Value>; 2] {
        let (below, beside) = (self.x.strides[1] as i64, self.x.strides[2] as i64);
        let taps = [0, below, beside, below + beside].map(|at| self.tap_lanes(kb, &x.at(at)));
        [0, 1].map(|half| {
            let [a, b, c, d] = taps.map(|tap| tap[half]);
            let pairs = [(a, gy), (b, fy), (c, gy), (d, fy)];
            match self.style {
                ResizeStyle::Float32 => pairs.map(|(tap, weight)| {
                    let v = kb.int_to_float(tap, kb.vec(DType::F32));
                    kb.fmul(v, weight)
                }),
                ResizeStyle::Fixed10 => {
                    let [a, b, c, d] = pairs.map(|(tap, weight)| kb.mul(tap, weight));
                    let (left, right) = (kb.add(a, b), kb.add(c, d));
                    [left, left, right, right]
                }
            }
        })
    }

    /// The framework's codes of half a vector of channels: of each eight, lanes 0 to 3 and 4 to 7.
    fn tap_lanes(&self, kb: &mut Kb, x: &Addr) -> [Value; 2] {
        let bytes = kb.load_low64(x);
        let mut words = kb.widen_low(bytes, self.x.dtype == DType::I8);
        if self.code_bias != 0 {
            let bias = kb.int(kb.vec(DType::I16), i64::from(self.code_bias));
            words = kb.sub(words, bias);
        }
        [kb.widen_low(words, true), kb.widen_high(words, true)]
    }

    /// Codes of one output, i32.
    fn between(&self, kb: &mut Kb, [a, b, c, d]: Corners<Value>, [gx, fx]: [Value; 2]) -> Value {
        let code = match self.style {
            ResizeStyle::Float32 => {
                let [first, rest @ ..] =
                    [(a, gx), (b, gx), (c, fx), (d, fx)].map(|(v, weight)| kb.fmul(v, weight));
                let sum = rest.into_iter().fold(first, |sum, term| kb.fadd(sum, term));
                let half = kb.float(kb.vec(DType::F32), 0.5);
                // Not negative and below 256: between codes.
                let value = kb.fadd(sum, half);
                kb.truncate(value, kb.vec(DType::I32))
            }
            ResizeStyle::Fixed10 => {
                let (left, right) = (kb.mul(a, gx), kb.mul(c, fx));
                let sum = kb.add(left, right);
                round_fixed(kb, sum)
            }
        };
        if self.code_bias == 0 {
            return code;
        }
        let bias = kb.int(kb.vec(DType::I32), i64::from(self.code_bias));
        kb.add(code, bias)
    }
}

/// Stores `n` channels of two halves of codes.
fn store_codes(kb: &mut Kb, [low, high]: [Value; 2], dtype: DType, n: u64, y: &Addr) {
    let words = kb.pack(low, high, true);
    let bytes = kb.pack(words, words, dtype == DType::I8);
    let bytes = if kb.width() > 16 { kb.compact(bytes, 8) } else { bytes };
    store_bytes(kb, bytes, n, y);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::resize::axis;
    use qcc_runtime::fixedpoint::ResizeMode;

    fn of(from: usize, to: usize, mode: ResizeMode) -> Option<Cells> {
        let of_style = |style| {
            let axis = axis(style, from, to, mode);
            Cells::find(&axis.iter().map(|e| e.cell(from)).collect::<Vec<_>>())
        };
        let cells = of_style(ResizeStyle::Float32);
        assert_eq!(cells, of_style(ResizeStyle::Fixed10));
        cells
    }

    #[test]
    fn cells_are_found_in_every_mode() {
        let corners = Cells { first: 0, each: 8, n: 64, from: 0 };
        assert_eq!(of(65, 513, ResizeMode::AlignCorners), Some(corners));
        let centers = Cells { first: 1, each: 2, n: 6, from: 0 };
        assert_eq!(of(7, 14, ResizeMode::HalfPixel), Some(centers));
        let corner = Cells { first: 0, each: 2, n: 6, from: 0 };
        assert_eq!(of(7, 14, ResizeMode::Corner), Some(corner));
        assert_eq!(of(7, 10, ResizeMode::Corner), None, "one or two outputs each");
        assert_eq!(of(9, 4, ResizeMode::Corner), None);
        assert_eq!(of(1, 4, ResizeMode::Corner), None);
    }

    #[test]
    fn a_part_has_the_whole_cells_in_it() {
        let all = Cells { first: 1, each: 3, n: 4, from: 5 };
        assert_eq!(all.part((0, 14)), Some(all));
        assert_eq!(all.part((2, 7)), Some(Cells { first: 2, n: 1, from: 6, ..all }));
        assert_eq!(all.part((4, 9)), Some(Cells { first: 0, n: 3, from: 6, ..all }));
        assert_eq!(all.part((5, 4)), None);
        assert_eq!(all.part((13, 3)), None);
    }
}
