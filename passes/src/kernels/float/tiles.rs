//! Transposes of two dimensions by tiles that are turned in registers.
//!
//! Where x is contiguous along one dimension and y along another, a tile of as many rows of x as a
//! vector of y has lanes is loaded row by row, interleaved, and stored column by column. What does
//! not divide into tiles is done by tiles that overlap the ones before: each element of y is
//! written with the same value again.

use crate::kernels::kb::{Addr, Kb};
use crate::kernels::moves::{Loop, nest};
use qcc_ir::{DType, Value};

/// Tiles of elements of one size.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Tile {
    /// Bytes of an element.
    size: u64,
    /// Elements of a vector of y; so many rows of x are loaded.
    lanes: u64,
    /// Elements loaded of each row of x.
    columns: u64,
}

impl Tile {
    /// `None` for elements of 8 bytes: a vector holds two of them.
    fn of(size: u64) -> Option<Tile> {
        match size {
            // 16 rows of 16 would need every register; 8 of them leave room.
            1 => Some(Tile { size, lanes: 16, columns: 8 }),
            2 | 4 => Some(Tile { size, lanes: 16 / size, columns: 16 / size }),
            _ => None,
        }
    }

    fn dtype(self) -> DType {
        match self.size {
            1 => DType::I8,
            2 => DType::I16,
            _ => DType::I32,
        }
    }

    /// The dimensions along which x and y are contiguous, if tiles fit in them.
    fn dimensions(self, loops: &[Loop]) -> Option<[usize; 2]> {
        let find = |long: u64, is_contiguous: &dyn Fn(&Loop) -> bool| {
            loops.iter().position(|l| is_contiguous(l) && l.0 >= long)
        };
        let along_x = find(self.columns, &|l| l.1 == self.size as i64)?;
        let along_y = find(self.lanes, &|l| l.2 == self.size as i64)?;
        (along_x != along_y).then_some([along_x, along_y])
    }

    /// Turns one tile: rows of x are `x_row` bytes apart, those of y `y_row`.
    fn turn(self, kb: &mut Kb, (x, x_row): (&Addr, i64), (y, y_row): (&Addr, i64)) {
        let load = |kb: &mut Kb, r: u64| {
            let row = x.at(r as i64 * x_row);
            match self.size {
                1 => kb.load_low64(&row),
                _ => kb.load_vec(self.dtype(), &row),
            }
        };
        let lanes = self.lanes;
        let mut rows: Vec<Value> = if self.columns < lanes {
            // Both halves of a row fit into one vector with those of the row that it meets.
            let mut pair = |r| {
                let (a, b) = (load(kb, r), load(kb, r + lanes / 2));
                kb.unpack_low(a, b)
            };
            (0..lanes / 2).map(&mut pair).collect()
        } else {
            (0..lanes).map(|r| load(kb, r)).collect()
        };
        // Each step moves a bit of the row's number into the lane's: row r meets row r + n/2.
        let steps = if self.columns < lanes { lanes.ilog2() - 1 } else { lanes.ilog2() };
        let half = rows.len() / 2;
        for _ in 0..steps {
            let meet = |r: usize| {
                let (a, b) = (rows[r], rows[r + half]);
                [kb.unpack_low(a, b), kb.unpack_high(a, b)]
            };
            rows = (0..half).flat_map(meet).collect();
        }
        for (c, v) in rows.into_iter().enumerate() {
            kb.store(v, &y.at(c as i64 * y_row));
        }
    }
}

/// Copies what `loops` say by tiles, if they transpose two long enough dimensions; else does
/// nothing and returns false.
pub fn copy(kb: &mut Kb, loops: &[Loop], size: u64, x: &Addr, y: &Addr) -> bool {
    let Some(tile) = Tile::of(size) else { return false };
    let Some([i, j]) = tile.dimensions(loops) else { return false };
    let (columns, rows) = (loops[i], loops[j]);
    let others = loops.iter().enumerate().filter(|(d, _)| *d != i && *d != j);
    let others: Vec<Loop> = others.map(|(_, &l)| l).collect();
    nest(kb, &others, x, y, &mut |kb, x, y| {
        let turn = |kb: &mut Kb, x: &Addr, y: &Addr| tile.turn(kb, (x, rows.1), (y, columns.2));
        let by_rows = (rows, tile.lanes);
        let by_columns = (columns, tile.columns);
        // The shorter dimension inside: what it touches stays in the cache.
        let [outer, inner] =
            if columns.0 < rows.0 { [by_rows, by_columns] } else { [by_columns, by_rows] };
        strips(kb, outer, (x, y), &mut |kb, x, y| {
            strips(kb, inner, (x, y), &mut |kb, x, y| turn(kb, x, y));
        });
    });
    true
}

/// Emits `body` for every `by` steps of a loop, and for the last `by`.
fn strips(
    kb: &mut Kb,
    ((n, xs, ys), by): (Loop, u64),
    (x, y): (&Addr, &Addr),
    body: &mut dyn FnMut(&mut Kb, &Addr, &Addr),
) {
    let step = by as i64;
    kb.for_each(n / by, |kb, k| body(kb, &k.by(x, xs * step), &k.by(y, ys * step)));
    if !n.is_multiple_of(by) {
        let last = (n - by) as i64;
        body(kb, &x.at(xs * last), &y.at(ys * last));
    }
}

#[cfg(test)]
mod tests {
    use super::Tile;

    #[test]
    fn tiles_need_two_long_dimensions() {
        let bytes = Tile::of(1).unwrap();
        // Channels last to first: 8 channels of x, 16 pixels of y.
        assert_eq!(bytes.dimensions(&[(8, 1, 16), (16, 8, 1)]), Some([0, 1]));
        assert_eq!(bytes.dimensions(&[(7, 1, 16), (16, 7, 1)]), None);
        assert_eq!(bytes.dimensions(&[(8, 1, 15), (15, 8, 1)]), None);
        // Backwards, and with gaps.
        assert_eq!(bytes.dimensions(&[(8, 1, 16), (16, 8, -1)]), None);
        assert_eq!(bytes.dimensions(&[(8, 2, 16), (16, 16, 1)]), None);
        assert_eq!(Tile::of(4).unwrap().dimensions(&[(4, 4, 16), (4, 16, 4)]), Some([0, 1]));
        assert_eq!(Tile::of(8), None);
    }
}
