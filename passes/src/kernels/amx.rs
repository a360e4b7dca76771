//! Direct convolution and matrix products on AMX tiles.
//!
//! ```text
//! c[i][v] = biases, one row repeated          i: tiles of up to 16 pixels, v: of 16 channels
//! for each step of taps:  c[i][v] += a[i] · b[v]
//! scratch[i][v] = c[i][v];  each row of 16·v accumulators ─► requantized, packed, stored
//! ```
//!
//! Tiles are multiplied beside what vectors do: where blocks of pixels lie side by side, one block's
//! sums stand before the requantization of the block before it, in the order of instructions, and
//! leave their tiles behind it.
//!
//! A [`Conv`] whose accumulators are in tiles: the same pixels, panels, weights `[panel][run][group
//! of 4][channel][4]` and tables, so that both kinds of kernels share all but the sums. The taps of
//! a run are cut into equal steps of up to 64 bytes, filled up with zero weights; what lies behind a
//! run's bytes does not matter. A step's rows of `a` are neighbouring pixels, `by.x` bytes apart.

use super::conv::{Conv, Panel, PixelLoop, PixelTiles, Place};
use super::kb::{Addr, Kb, Var};
use super::layer::Layer;
use super::split::{Part, Tasks};
use super::{Dot, Kernel, Machine, choose};
use qcc_ir::dialect::int::{ConvKernel, TileShape};
use qcc_ir::dialect::loops::DotSigns;
use qcc_ir::packing::PanelShape;
use qcc_ir::{DType, Func, Value};

/// Most rows of a tile.
const ROWS: u64 = 16;
/// Most bytes of a tile's row; i32 accumulators have all of them.
const ROW: u64 = 64;
/// Bytes of a tile of accumulators in memory.
const TILE: u64 = ROWS * ROW;
/// Tiles of accumulators: beside them, there is room for what is multiplied.
const ACCUMULATORS: u64 = 4;

/// A convolution in tiles; its vectors have 512 bits.
#[derive(Clone, PartialEq, Debug)]
pub struct TileConv {
    /// Everything else; `taps.bytes` is a multiple of `step`.
    pub conv: Conv,
    /// Bytes of a run that one dot product takes: a multiple of 4, up to 64.
    pub step: u64,
}

/// The tiles for a layer, where they are expected to be faster than vectors.
pub(super) fn choose(machine: Machine, layer: &Layer) -> Option<ConvKernel> {
    if !can(machine, layer) {
        return None;
    }
    let conv = choose::group_of(machine, layer);
    let (row, taps, outputs) = (conv.innermost_pixels(), conv.taps.bytes, conv.y.shape[3]);
    if row < 4 || taps < if outputs >= 64 { 16 } else { 32 } {
        return None;
    }
    let vectors = PanelShape::of(outputs, ROWS).vectors.min(ACCUMULATORS);
    let most = ROWS * (ACCUMULATORS / vectors);
    let pixels = row.div_ceil(row.div_ceil(most));
    let tile = TileShape { bits: 512, pixels: pixels as u32, vectors: vectors as u32 };
    Some(ConvKernel::Tiles(tile, step(taps) as u32))
}

/// Equal steps with the least dot products for a run of `bytes`.
fn step(bytes: u64) -> u64 {
    let groups = bytes.div_ceil(4);
    4 * groups.div_ceil(groups.div_ceil(ROW / 4))
}

/// Whether tiles of this shape compute the layer.
pub(super) fn fits(machine: Machine, layer: &Layer, tile: TileShape, step: u32) -> bool {
    let tiles = u64::from(tile.pixels).div_ceil(ROWS) * u64::from(tile.vectors);
    let shape = tile.bits == 512 && tiles <= ACCUMULATORS && tile.packs();
    let step = u64::from(step);
    let steps = (4..=ROW).contains(&step) && step.is_multiple_of(4) && {
        // What the last step reads behind a run is slack at the end of the input.
        let bytes = choose::group_of(machine, layer).taps.bytes;
        bytes.next_multiple_of(step) - bytes <= super::SLACK.into()
    };
    can(machine, layer) && shape && steps
}

/// Whether the machine has tiles that multiply what the layer does.
fn can(machine: Machine, layer: &Layer) -> bool {
    machine.amx && layer.groups == 1 && machine.dot_for(layer.x.dtype) == Dot::U8S8
}

/// `conv` with its accumulators in tiles.
pub(super) fn with_tiles(mut conv: Conv, step: u64) -> TileConv {
    conv.taps.bytes = conv.taps.bytes.next_multiple_of(step);
    TileConv { conv, step }
}

impl Kernel for TileConv {
    fn split(&self, tasks: Tasks) -> Vec<Part> {
        self.conv.parts_as(tasks, &|conv| Box::new(TileConv { conv, step: self.step }))
    }

    fn name(&self) -> String {
        let (x, y, t) = (self.conv.x.dtype, self.conv.y.dtype, self.conv.tile);
        format!("conv2d_{x}_i8_{y}_{}x{}_tiles", t.pixels, t.vectors)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::with_width(name, &self.conv.mems(), self.conv.width);
        let scratch = kb.scratch(TILE * ACCUMULATORS);
        self.conv.for_panels(&mut kb, &mut |kb, panel| {
            self.conv.for_pixels(kb, &mut |kb, pixels| {
                self.blocks(kb, &Blocks { pixels, panel, scratch: &scratch });
            });
        });
        kb.finish()
    }
}

/// Blocks of accumulators side by side, of one panel.
struct Blocks<'a> {
    pixels: &'a PixelTiles<'a>,
    panel: &'a Panel,
    scratch: &'a Addr,
}

impl Blocks<'_> {
    /// Block `var` + `further`.
    fn at(&self, var: Var, further: i64) -> Block<'_> {
        let PixelTiles { by, pixels, .. } = *self.pixels;
        let (place, tiles) = (self.pixels.at(var, further), Tiles::of(pixels));
        Block { place, by, panel: self.panel, scratch: self.scratch, tiles }
    }
}

/// The tiles of a block's pixels: the last one overlaps the one before where they do not fit.
#[derive(Clone, Copy)]
struct Tiles {
    n: u64,
    rows: u64,
    pixels: u64,
}

impl Tiles {
    fn of(pixels: u64) -> Tiles {
        let n = pixels.div_ceil(ROWS);
        Tiles { n, rows: pixels.div_ceil(n), pixels }
    }
    /// First pixels.
    fn starts(self) -> impl Iterator<Item = u64> {
        (0..self.n).map(move |i| (i * self.rows).min(self.pixels - self.rows))
    }
}

/// One block of accumulators.
struct Block<'a> {
    place: Place,
    by: &'a PixelLoop,
    panel: &'a Panel,
    scratch: &'a Addr,
    tiles: Tiles,
}

impl TileConv {
    fn blocks(&self, kb: &mut Kb, blocks: &Blocks) {
        let n = blocks.pixels.n;
        let first = self.sums(kb, &blocks.at(Var::NONE, 0));
        put(kb, blocks.scratch, &first);
        kb.for_others(n, |kb, v| {
            let sums = self.sums(kb, &blocks.at(v, 0));
            self.finish(kb, &blocks.at(v, -1));
            put(kb, blocks.scratch, &sums);
        });
        self.finish(kb, &blocks.at(Var::NONE, n as i64 - 1));
    }

    /// Accumulators of a block, tile after tile.
    fn sums(&self, kb: &mut Kb, block: &Block) -> Vec<Value> {
        let (panel, tiles) = (block.panel, block.tiles);
        let vectors = panel.shape.vectors;
        let mut init = Vec::new();
        for _ in 0..tiles.n {
            for v in 0..vectors {
                let biases = panel.table.at((ROW * v) as i64);
                init.push(kb.tile_load((tiles.rows, ROW), &biases, 0));
            }
        }
        let t = &self.conv.taps;
        let run_bytes = t.groups() * self.group(panel);
        kb.fold(t.rows.0, &init, |kb, row, acc| {
            let x = row.of(&block.place.x, t.rows.1);
            let w = row.of(&panel.weights, t.runs.0 * run_bytes);
            kb.fold(t.runs.0, acc, |kb, run, acc| {
                let (x, w) = (run.of(&x, t.runs.1), run.of(&w, run_bytes));
                kb.fold(t.bytes / self.step, acc, |kb, k, acc| {
                    let w = k.of(&w, self.step / 4 * self.group(panel));
                    self.step(kb, block, (&k.of(&x, self.step), &w), acc)
                })
            })
        })
    }

    /// Bytes of weights of a group of four taps.
    fn group(&self, panel: &Panel) -> u64 {
        4 * panel.shape.slots()
    }

    /// Every tile of pixels times every tile of weights.
    fn step(&self, kb: &mut Kb, block: &Block, at: (&Addr, &Addr), acc: &[Value]) -> Vec<Value> {
        let (x, w) = at;
        let vectors = block.panel.shape.vectors;
        let stride = block.by.x as i64;
        let group = self.group(block.panel) as i64;
        let mut acc = acc.to_vec();
        let weights = |kb: &mut Kb, v: u64| {
            kb.tile_load((self.step / 4, ROW), &w.at((ROW * v) as i64), group)
        };
        // One side is held, the other one passes by.
        let held: Vec<Value> =
            if block.tiles.n > 1 { (0..vectors).map(|v| weights(kb, v)).collect() } else { vec![] };
        for (i, start) in block.tiles.starts().enumerate() {
            let from = x.at(start as i64 * stride);
            let pixels = kb.tile_load((block.tiles.rows, self.step), &from, stride);
            for v in 0..vectors as usize {
                let w = held.get(v).copied().unwrap_or_else(|| weights(kb, v as u64));
                let c = &mut acc[i * vectors as usize + v];
                *c = kb.tile_dot(DotSigns::U8S8, *c, pixels, w);
            }
        }
        acc
    }

    /// From the accumulators of a block to codes, pixel by pixel.
    fn finish(&self, kb: &mut Kb, block: &Block) {
        let Block { by, panel, .. } = *block;
        for (i, start) in block.tiles.starts().enumerate() {
            let place = block.place.at(start as i64, by);
            let scratch = block.scratch.at((TILE * panel.shape.vectors * i as u64) as i64);
            kb.for_each(block.tiles.rows, |kb, r| {
                let place = place.plus(r, by, 1);
                let from = r.of(&scratch, ROW);
                let correction = self.conv.correction(kb, &place);
                let acc: Vec<Value> = (0..panel.shape.vectors)
                    .map(|v| {
                        let sums = kb.load_vec(DType::I32, &from.at((TILE * v) as i64));
                        correction.map_or(sums, |c| kb.add(sums, c))
                    })
                    .collect();
                self.conv.store_fast(kb, &acc, panel, &panel.output(&place));
            });
        }
    }
}

/// Writes accumulators to the scratch buffer, tile after tile.
fn put(kb: &mut Kb, scratch: &Addr, sums: &[Value]) {
    for (i, &sum) in sums.iter().enumerate() {
        kb.tile_store(sum, &scratch.at((TILE * i as u64) as i64), ROW as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_even_and_few() {
        let cases = [(16, 16), (32, 32), (64, 64), (65, 36), (96, 48), (144, 48), (160, 56)];
        for (bytes, expected) in cases {
            assert_eq!(step(bytes), expected, "{bytes}");
        }
        for bytes in 1..5000u64 {
            let step = step(bytes);
            assert!(step.is_multiple_of(4) && step <= 64);
            let padded = bytes.next_multiple_of(step);
            assert!(padded / step == bytes.div_ceil(4).div_ceil(16), "{bytes}: as few as with 64");
            assert!(padded - bytes < 64, "{bytes}: no more than slack");
        }
    }

    #[test]
    fn tiles_cover_their_pixels() {
        for pixels in 1..=64 {
            let tiles = Tiles::of(pixels);
            let mut next = 0;
            for start in tiles.starts() {
                assert!(start <= next && tiles.rows <= 16);
                next = start + tiles.rows;
            }
            assert_eq!(next, pixels);
        }
    }
}
