//! Sums of products for many outputs: convolutions, fully connected layers, matrix products.
//!
//! A tile is a few pixels (rows) by a panel of channels (columns), one accumulator vector per pixel
//! and `lanes` channels. Each step over the taps multiplies one element of every pixel by the
//! panel's weights and adds: per output one product after the other, from 0, as the interpreter.
//! Constant weights are packed panel by panel, padded with zeros; others are read in rows.

use super::emit::{Emit, lanes_type, load, splat};
use crate::kernels::kb::{Addr, Kb};
use crate::kernels::{Kernel, each};
use qcc_ir::dialect::quant::Act;
use qcc_ir::numerics::float::activate;
use qcc_ir::{DType, Func, MemType, Value};

/// Pixels and vectors of a register tile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tile {
    /// Outputs that share weights.
    pub pixels: u64,
    /// Vectors of channels.
    pub vectors: u64,
}

impl Tile {
    /// For rows of `run` pixels: enough sums in flight, and all of them in 16 registers.
    pub fn of(run: u64) -> Tile {
        match run {
            0 | 1 => Tile { pixels: 1, vectors: 8 },
            2 | 3 => Tile { pixels: run, vectors: 4 },
            _ => Tile { pixels: 4, vectors: 2 },
        }
    }

    /// For rows of `run` pixels of `channels` channels in vectors of `lanes` floats. Those of 512
    /// bits have 32 registers. Without a second vector, more pixels keep enough sums in flight.
    pub fn fitting(run: u64, channels: u64, lanes: u8) -> Tile {
        let vectors = channels.div_ceil(lanes.into()).max(1);
        let tile = Tile::of(run);
        let full = if lanes >= 16 { 16 } else { 8 };
        if run < 4 {
            // Sums, weights, an element and a product at once.
            let most = if run == 3 && full == 8 { 3 } else { tile.vectors };
            return Tile { vectors: most.min(vectors), ..tile };
        }
        match vectors {
            1 => Tile { pixels: run.min(8), vectors: 1 },
            2 | 3 => Tile { pixels: run.min(full / 2), vectors: 2 },
            _ => Tile { pixels: 4, vectors: full / 4 },
        }
    }
}

/// Floats in the vectors of a product of `channels` channels: the fewest vectors, and the narrowest
/// of those; at most `most`.
pub fn lanes_for(channels: u64, most: u8) -> u8 {
    let widths = [4, 8, 16].into_iter().filter(|&lanes| lanes <= most);
    widths.min_by_key(|&lanes| channels.div_ceil(lanes.into())).unwrap_or(4)
}

/// Buffers: x, w, bias if there is one, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Product {
    /// x, w, bias and y (a bias without bytes is none).
    pub mems: [MemType; 4],
    /// Batches and groups: strides in x, w, bias, y.
    pub outer: Vec<each::Loop>,
    /// Outputs: strides in x and y. The last loop is cut into tiles.
    pub pixels: Vec<each::Loop>,
    /// Products: strides in x and w.
    pub taps: Vec<each::Loop>,
    /// Channels of a group.
    pub channels: u64,
    /// Bytes between panels of w.
    pub panel_stride: u64,
    /// Whether w holds whole panels; else the last vector of a row may not be there.
    pub packed: bool,
    /// The register tile.
    pub tile: Tile,
    /// Afterwards.
    pub act: Act,
    /// Floats in a vector.
    pub lanes: u8,
}

/// Some channels of a panel.
#[derive(Clone, Copy)]
struct Columns {
    /// Floats per vector.
    lanes: u8,
    vectors: u64,
    /// Channels to be written.
    n: u64,
}

impl Kernel for Product {
    fn name(&self) -> String {
        let form = if self.packed { "packed" } else { "rows" };
        format!("product_f32_{form}_{}x{}", self.tile.pixels, self.tile.vectors)
    }

    fn build(&self, name: &str) -> Func {
        let has_bias = self.has_bias();
        let mems: Vec<MemType> = self
            .mems
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != 2 || has_bias)
            .map(|m| *m.1)
            .collect();
        let mut kb = Kb::with_width(name, &mems, super::vector_bytes(self.lanes));
        let bias = if has_bias { 2 } else { 0 };
        let at = [0, 1, bias, mems.len() - 1].map(|i| kb.mem(i));
        if self.channels > 0 {
            each::nest(&mut kb, &self.outer, &at, &mut |kb, at| self.panels(kb, at));
        }
        kb.finish()
    }
}

impl Product {
    fn has_bias(&self) -> bool {
        self.mems[2].bytes > 0
    }

    /// All channels of all pixels; `at`: x, w, bias, y.
    fn panels(&self, kb: &mut Kb, at: &[Addr]) {
        let lanes = u64::from(self.lanes);
        let panel = self.tile.vectors * lanes;
        let step = panel * 4;
        let all = Columns { lanes: self.lanes, vectors: self.tile.vectors, n: panel };
        let [x, w, bias, y] = [0, 1, 2, 3].map(|i| at[i].clone());
        kb.for_each(self.channels / panel, |kb, k| {
            let at = [x.clone(), k.of(&w, self.panel_stride), k.of(&bias, step), k.of(&y, step)];
            self.columns(kb, &at, all);
        });
        let whole = self.channels / panel;
        let (mut done, mut left) = (whole * panel, self.channels % panel);
        let from = |done: u64| {
            let w = w.at((whole * self.panel_stride + (done - whole * panel) * 4) as i64);
            [x.clone(), w, bias.at((done * 4) as i64), y.at((done * 4) as i64)]
        };
        let vectors = if self.packed { left.div_ceil(lanes) } else { left / lanes };
        if vectors > 0 {
            let n = left.min(vectors * lanes);
            self.columns(kb, &from(done), Columns { lanes: self.lanes, vectors, n });
            (done, left) = (done + n, left - n);
        }
        let [x, w, bias, y] = from(done);
        kb.for_each(left, |kb, c| {
            let at = [x.clone(), c.of(&w, 4), c.of(&bias, 4), c.of(&y, 4)];
            self.columns(kb, &at, Columns { lanes: 1, vectors: 1, n: 1 });
        });
    }

    /// All pixels of some channels.
    fn columns(&self, kb: &mut Kb, at: &[Addr], columns: Columns) {
        let (outer, run, steps) = match self.pixels.split_last() {
            Some(((n, steps), outer)) => (outer, *n, [steps[0], steps[1]]),
            None => (&[][..], 1, [0, 0]),
        };
        let (w, bias) = (&at[1], &at[2]);
        each::nest(kb, outer, &[at[0].clone(), at[3].clone()], &mut |kb, at| {
            let per = self.tile.pixels;
            kb.for_each(run / per, |kb, k| {
                let (x, y) = (k.of(&at[0], per * steps[0]), k.of(&at[1], per * steps[1]));
                self.tile(kb, [&x, w, bias, &y], (per, steps), columns);
            });
            let done = run / per * per;
            if run > done {
                let x = at[0].at((done * steps[0]) as i64);
                let y = at[1].at((done * steps[1]) as i64);
                self.tile(kb, [&x, w, bias, &y], (run - done, steps), columns);
            }
        });
    }

    fn tile(
        &self,
        kb: &mut Kb,
        [x, w, bias, y]: [&Addr; 4],
        (pixels, steps): (u64, [u64; 2]),
        columns: Columns,
    ) {
        let zero = kb.float(lanes_type(DType::F32, columns.lanes), 0.0);
        let zeros = vec![zero; (pixels * columns.vectors) as usize];
        let shape = (pixels, steps[0], columns);
        let sums = self.sums(kb, &self.taps, (x, w), shape, &zeros);
        for (i, &sum) in sums.iter().enumerate() {
            let (pixel, vector) = (i as u64 / columns.vectors, i as u64 % columns.vectors);
            let first = vector * u64::from(columns.lanes);
            // Read here, as an operand of the addition: the sums need the registers.
            let sum = match self.has_bias() {
                true => {
                    let bias = load(kb, columns.lanes, &bias.at((first * 4) as i64));
                    kb.fadd(sum, bias)
                }
                false => sum,
            };
            let v = activate(&mut Emit::f32(kb, columns.lanes), self.act, sum);
            let at = y.at((pixel * steps[1] + first * 4) as i64);
            store_some(kb, v, columns.lanes, columns.n - first, &at);
        }
    }

    /// Carries the sums through the loops over taps.
    fn sums(
        &self,
        kb: &mut Kb,
        loops: &[each::Loop],
        (x, w): (&Addr, &Addr),
        shape: (u64, u64, Columns),
        sums: &[Value],
    ) -> Vec<Value> {
        match loops.split_first() {
            Some(((n, steps), inner)) => kb.fold(*n, sums, |kb, k, sums| {
                let (x, w) = (k.of(x, steps[0]), k.of(w, steps[1]));
                self.sums(kb, inner, (&x, &w), shape, sums)
            }),
            None => step(kb, (x, w), shape, sums),
        }
    }
}

/// One product more in every sum.
fn step(
    kb: &mut Kb,
    (x, w): (&Addr, &Addr),
    (pixels, pixel_step, columns): (u64, u64, Columns),
    sums: &[Value],
) -> Vec<Value> {
    let bytes = i64::from(columns.lanes) * 4;
    let weights: Vec<Value> =
        (0..columns.vectors as i64).map(|v| load(kb, columns.lanes, &w.at(v * bytes))).collect();
    let mut out = Vec::with_capacity(sums.len());
    for p in 0..pixels {
        let element = load(kb, 1, &x.at((p * pixel_step) as i64));
        let element = splat(kb, columns.lanes, element);
        for (v, &weight) in weights.iter().enumerate() {
            let product = kb.fmul(element, weight);
            out.push(kb.fadd(sums[(p * columns.vectors) as usize + v], product));
        }
    }
    out
}

/// Writes the first `n` lanes.
fn store_some(kb: &mut Kb, v: Value, lanes: u8, n: u64, at: &Addr) {
    if n >= u64::from(lanes) {
        return kb.store(v, at);
    }
    if lanes > 4 {
        return kb.store_low(v, 4 * n as u32, at);
    }
    for i in 0..n {
        let lane = kb.extract(v, i as u32);
        kb.store(lane, &at.at(i as i64 * 4));
    }
}

/// `groups` blocks of weights packed for tiles of `panel` channels: panel by panel, tap by tap.
/// `at(group, channel, tap)` is a weight's place in `w`.
pub fn pack(
    w: &[f32],
    [groups, channels, taps]: [u64; 3],
    panel: u64,
    at: impl Fn(u64, u64, u64) -> u64,
) -> Vec<u8> {
    let panels = channels.div_ceil(panel);
    let mut bytes = Vec::with_capacity((groups * panels * taps * panel * 4) as usize);
    for group in 0..groups {
        for p in 0..panels {
            for tap in 0..taps {
                for c in p * panel..(p + 1) * panel {
                    let weight = if c < channels { w[at(group, c, tap) as usize] } else { 0.0 };
                    bytes.extend(weight.to_le_bytes());
                }
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_the_fewest_and_the_narrowest_of_those() {
        assert_eq!(lanes_for(3, 16), 4);
        assert_eq!(lanes_for(8, 16), 8);
        assert_eq!(lanes_for(20, 16), 16);
        assert_eq!(lanes_for(64, 8), 8);
        assert_eq!(lanes_for(64, 4), 4);
    }

    #[test]
    fn tiles_leave_registers_for_weights_an_element_and_a_product() {
        for lanes in [4, 8, 16] {
            let registers = if lanes == 16 { 32 } else { 16 };
            for (run, channels) in (1..12).flat_map(|r| (1..200).map(move |c| (r, c))) {
                let t = Tile::fitting(run, channels, lanes);
                assert!(t.pixels <= run.max(1) && t.vectors * t.pixels > 0);
                // A weight that one pixel reads is an operand in memory.
                let weights = if t.pixels == 1 { 0 } else { t.vectors };
                let all = t.pixels * t.vectors + weights + 2;
                assert!(all <= registers, "{t:?} for {run} x {channels} in {lanes} lanes");
            }
        }
    }
}
