//! Depthwise convolution, one input channel per output channel: a block of channels at a time.
//!
//! The taps of one window column are interleaved by rows, so that a dot product sums over rows:
//! four rows per `dot4`, two per `dot2`. Neighbouring outputs share columns; a tile of outputs
//! along a row is emitted in line and each column is interleaved once per tile.
//!
//! A block has `quarters` vectors of accumulators: four where whole vectors of channels are read,
//! two where 8 channels per 128 bits are. Where an image has fewer channels than a block and the
//! window moves by one pixel, a block is several pixels of a row, which lie next to each other: the
//! view of such an image has all of them as its channels, and weights repeat. Weights are packed by `loop.pack_blocks`:
//! `[block][column][row group][addend][quarter][channel][row]`, rows beyond the window zero. Bytes
//! read for rows and channels that do not exist meet zero weights or are not stored.

use super::conv::store_bytes;
use super::flips::Flips;
use super::kb::{Addr, Kb, Var};
use super::requant::Finish;
use super::{Dot, Kernel, SLACK, View, const_mem};
use indexmap::IndexMap;
use qcc_ir::dialect::loops::{DotSigns, WeightForm};
use qcc_ir::packing;
use qcc_ir::{DType, Func, MemType, Value};
use qcc_runtime::rescale::RescaleForm;

/// Depthwise convolution without padding. Buffers: x, weights, tables, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Depthwise {
    /// Input `[N, H, W, C]`, 8 bits, channels contiguous.
    pub x: View,
    /// Output `[N, OH, OW, C]`, 8 bits, channels contiguous.
    pub y: View,
    /// Window extents.
    pub window: [u64; 2],
    /// Vertical and horizontal step, in pixels: what splitting into tasks goes by.
    pub stride: [u64; 2],
    /// Vertical distance between taps, in rows.
    pub dilation: u64,
    /// Bytes of the input from one output to the next along a row, and from tap to tap.
    pub along: [u64; 2],
    /// How products are summed.
    pub dot: Dot,
    /// Addends that each weight is split into: 2 where weights leave int8 (asymmetric uint8 less
    /// their zero point) but bytes are multiplied, else 1.
    pub addends: u64,
    /// How a tile uses the registers.
    pub plan: Plan,
    /// Bytes of a vector.
    pub width: u64,
    /// The requantization.
    pub finish: Finish,
}

/// What is held in registers at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Outputs along a row that are emitted in line.
    pub tile: u64,
    /// Vectors of accumulators per output: 2 or 4.
    pub quarters: u64,
}

impl Depthwise {
    /// Rows summed by one dot product.
    pub fn rows_per_dot(&self) -> u64 {
        if self.dot == Dot::I16 { 2 } else { 4 }
    }
    fn row_groups(&self) -> u64 {
        self.window[0].div_ceil(self.rows_per_dot())
    }
    /// Channels per block.
    pub(super) fn block(&self) -> u64 {
        self.width / 4 * self.plan.quarters
    }
    fn blocks(&self) -> u64 {
        self.y.shape[3].div_ceil(self.block())
    }
    /// The channel, in its block, of each accumulator: packing goes 128 bits by 128 bits.
    pub(super) fn slots(&self) -> impl Iterator<Item = u64> + use<> {
        packing::block_slots(self.plan.quarters, self.width / 4)
    }
    pub(super) fn form(&self) -> WeightForm {
        self.dot.weight_form(self.x.dtype)
    }
    /// Bytes of the weights of a group of rows, or of one addend of them.
    fn group_bytes(&self) -> u64 {
        let flips = if self.form().has_flips() { 2 } else { 1 };
        self.plan.quarters * self.width * flips
    }
    /// Bytes of the weights of one block.
    pub(super) fn block_bytes(&self) -> u64 {
        self.window[1] * self.row_groups() * self.addends * self.group_bytes()
    }
    pub(super) fn table_bytes(&self) -> u64 {
        self.finish.table_bytes(self.block() as usize) as u64
    }
    fn mems(&self) -> [MemType; 4] {
        let weights = const_mem((self.blocks() * self.block_bytes()) as usize);
        let tables = const_mem((self.blocks() * self.table_bytes()) as usize);
        [MemType { slack: SLACK, ..self.x.mem() }, weights, tables, self.y.mem()]
    }
}

/// Addresses of one tile in one block.
struct Place {
    x: Addr,
    w: Addr,
    table: Addr,
    y: Addr,
}

impl Kernel for Depthwise {
    fn split(&self, tasks: super::split::Tasks) -> Vec<super::split::Part> {
        self.parts(tasks)
    }

    fn name(&self) -> String {
        let [kh, kw] = self.window;
        let dot = format!("{:?}", self.dot).to_lowercase();
        let (x, y, tile, bits) = (self.x.dtype, self.y.dtype, self.plan.tile, 8 * self.width);
        format!("depthwise{kh}x{kw}_{x}_{y}_{tile}_{dot}_{bits}")
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::with_width(name, &self.mems(), self.width);
        let tile = self.plan.tile;
        let [n, oh, ow] = [self.y.shape[0], self.y.shape[1], self.y.shape[2]];
        let (xs, ys) = (self.x.strides.clone(), self.y.strides.clone());
        let (x, y) = (kb.mem(0), kb.mem(3));
        let (rows, cols) = (self.stride[0] * xs[1], self.along[0]);
        kb.for_each(n, |kb, vn| {
            let (x, y) = (vn.of(&x, xs[0]), vn.of(&y, ys[0]));
            kb.for_each(oh, |kb, vh| {
                let (x, y) = (vh.of(&x, rows), vh.of(&y, ys[1]));
                let full = ow / tile;
                kb.for_each(full, |kb, vw| {
                    let x = vw.of(&x, tile * cols);
                    self.all_blocks(kb, &x, &vw.of(&y, tile * ys[2]));
                });
                if ow % tile != 0 {
                    let last = (ow - tile) as i64;
                    let x = x.at(last * cols as i64);
                    self.all_blocks(kb, &x, &y.at(last * ys[2] as i64));
                }
            });
        });
        kb.finish()
    }
}

impl Depthwise {
    fn all_blocks(&self, kb: &mut Kb, x: &Addr, y: &Addr) {
        let (channels, block) = (self.y.shape[3], self.block());
        let full = channels / block;
        let (w, table) = (kb.mem(1), kb.mem(2));
        let (wide, long) = (self.block_bytes(), self.table_bytes());
        if full > 0 {
            kb.for_each(full, |kb, v: Var| {
                let place = Place {
                    x: v.of(x, block),
                    w: v.of(&w, wide),
                    table: v.of(&table, long),
                    y: v.of(y, block),
                };
                self.tile(kb, &place, block);
            });
        }
        if !channels.is_multiple_of(block) {
            let done = (full * block) as i64;
            let place = Place {
                x: x.at(done),
                w: w.at((full * wide) as i64),
                table: table.at((full * long) as i64),
                y: y.at(done),
            };
            self.tile(kb, &place, channels % block);
        }
    }

    fn tile(&self, kb: &mut Kb, at: &Place, channels: u64) {
        let quarters = self.plan.quarters;
        let mut columns: IndexMap<u64, Vec<Vec<Value>>> = IndexMap::new();
        for o in 0..self.plan.tile {
            let bias = |q: u64| at.table.at((q * self.width) as i64);
            let mut acc: Vec<Value> =
                (0..quarters).map(|q| kb.load_vec(DType::I32, &bias(q))).collect();
            for kw in 0..self.window[1] {
                let column = o * self.along[0] + kw * self.along[1];
                if !columns.contains_key(&column) {
                    let quads = self.column(kb, &at.x.at(column as i64));
                    columns.insert(column, quads);
                }
                for (g, rows) in columns[&column].iter().enumerate() {
                    for part in 0..self.addends {
                        let index = (kw * self.row_groups() + g as u64) * self.addends + part;
                        let w = at.w.at((index * self.group_bytes()) as i64);
                        self.products(kb, &mut acc, rows, &w);
                    }
                }
            }
            let y = at.y.at((o * self.y.strides[2]) as i64);
            self.store(kb, &acc, &at.table, channels, &y);
        }
    }

    /// One window column: per row group, quarters of the channels with their rows side by side.
    fn column(&self, kb: &mut Kb, x: &Addr) -> Vec<Vec<Value>> {
        let row = (self.dilation * self.x.strides[1]) as i64;
        let per_dot = self.rows_per_dot();
        let group = |kb: &mut Kb, first: u64| {
            let rows = first..(first + per_dot).min(self.window[0]);
            let rows: Vec<Value> = rows
                .map(|kh| {
                    let at = x.at(kh as i64 * row);
                    match self.plan.quarters {
                        2 => kb.load_low64(&at),
                        _ => kb.load_vec(DType::I8, &at),
                    }
                })
                .collect();
            self.interleave(kb, &rows)
        };
        (0..self.row_groups()).map(|g| group(kb, g * per_dot)).collect()
    }

    /// Rows that do not exist repeat one that does: their weights are zero.
    fn interleave(&self, kb: &mut Kb, rows: &[Value]) -> Vec<Value> {
        let row = |i: usize| rows[i.min(rows.len() - 1)];
        let all = self.plan.quarters == 4;
        let mut out = Vec::with_capacity(4);
        if self.dot == Dot::I16 {
            let signed = self.x.dtype == DType::I8;
            let mut pair = |kb: &mut Kb, a: Value, b: Value| {
                out.push(kb.unpack_low(a, b));
                out.push(kb.unpack_high(a, b));
            };
            let [a, b] = [row(0), row(1)].map(|r| kb.widen_low(r, signed));
            pair(kb, a, b);
            if all {
                let [a, b] = [row(0), row(1)].map(|r| kb.widen_high(r, signed));
                pair(kb, a, b);
            }
            return out;
        }
        let (words, bytes) = (kb.vec(DType::I16), kb.vec(DType::I8));
        let mut quads = |kb: &mut Kb, first: Value, second: Value| {
            let [first, second] = [first, second].map(|v| kb.bitcast(v, words.clone()));
            let low = kb.unpack_low(first, second);
            let high = kb.unpack_high(first, second);
            out.extend([low, high].map(|v| kb.bitcast(v, bytes.clone())));
        };
        let first = kb.unpack_low(row(0), row(1));
        let second = if rows.len() > 2 { kb.unpack_low(row(2), row(3)) } else { first };
        quads(kb, first, second);
        if all {
            let first = kb.unpack_high(row(0), row(1));
            let second = if rows.len() > 2 { kb.unpack_high(row(2), row(3)) } else { first };
            quads(kb, first, second);
        }
        out
    }

    fn products(&self, kb: &mut Kb, acc: &mut [Value], rows: &[Value], w: &Addr) {
        let flips = (self.dot == Dot::Flips).then(|| {
            let at = w.at((self.width * self.plan.quarters) as i64);
            Flips::of(kb, &at, 0)
        });
        for (q, (acc, &rows)) in acc.iter_mut().zip(rows).enumerate() {
            let at = w.at(self.width as i64 * q as i64);
            let lane = if self.dot == Dot::I16 { DType::I16 } else { DType::I8 };
            let weight = kb.load_vec(lane, &at);
            *acc = match (&flips, self.dot) {
                (Some(flips), _) => flips.dot(kb, q as u64, *acc, [rows, weight]),
                (None, Dot::I16) => kb.dot2(*acc, rows, weight),
                (None, Dot::U8S8) => kb.dot4(DotSigns::U8S8, *acc, rows, weight),
                _ => kb.dot4(DotSigns::S8S8, *acc, rows, weight),
            };
        }
    }

    fn store(&self, kb: &mut Kb, acc: &[Value], table: &Addr, channels: u64, y: &Addr) {
        let n = self.block() as usize;
        if self.finish.form == RescaleForm::Exact {
            let entries = table.at(4 * n as i64);
            for c in 0..channels {
                let lane = kb.extract(acc[(c / 4) as usize], (c % 4) as u32);
                let code = self.finish.code_exact(kb, lane, &entries.at(32 * c as i64));
                super::scalar_conv::store_code(kb, code, self.y.dtype, &y.at(c as i64));
            }
            return;
        }
        let codes: Vec<Value> =
            acc.iter().enumerate().map(|(q, &a)| self.finish.codes(kb, a, table, n, q)).collect();
        let words: Vec<Value> =
            codes.chunks(2).map(|pair| kb.pack(pair[0], pair[1], true)).collect();
        let bytes = self.finish.pack_codes(kb, words[0], words[words.len() - 1]);
        let bytes = match self.plan.quarters {
            2 if self.width > 16 => kb.compact(bytes, 8),
            _ => bytes,
        };
        store_bytes(kb, bytes, channels, y);
    }
}
