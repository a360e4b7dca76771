//! Depthwise convolution, one input channel per output channel: eight channels at a time.
//!
//! The taps of one window column are interleaved by rows, so that a dot product sums over rows:
//! four rows per `dot4`, two per `dot2`. Neighbouring outputs share columns; a tile of outputs
//! along a row is emitted in line and each column is interleaved once per tile.
//!
//! Weights are packed by [`pack_weights`]:
//! `[block of 8][column][row group][addend][half][channel][row]`, rows beyond the window zero. Bytes read for rows and channels that do not exist meet zero
//! weights or are not stored.

use super::conv::store_bytes;
use super::kb::{Addr, Kb, Var};
use super::requant::Finish;
use super::{Dot, Kernel, SLACK, View, const_mem};
use indexmap::IndexMap;
use qcc_ir::dialect::loops::DotSigns;
use qcc_ir::{DType, Func, MemType, Value};
use qcc_runtime::rescale::RescaleForm;

/// Channels per block.
const BLOCK: u64 = 8;

/// Depthwise convolution without padding. Buffers: x, weights, tables, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Depthwise {
    /// Input `[N, H, W, C]`, 8 bits, channels contiguous.
    pub x: View,
    /// Output `[N, OH, OW, C]`, 8 bits, channels contiguous.
    pub y: View,
    /// Window extents.
    pub window: [u64; 2],
    /// Vertical and horizontal step.
    pub stride: [u64; 2],
    /// Vertical and horizontal distance between taps.
    pub dilation: [u64; 2],
    /// How products are summed.
    pub dot: Dot,
    /// Addends that each weight is split into: 2 where weights leave int8 (asymmetric uint8 less
    /// their zero point) but bytes are multiplied, else 1.
    pub addends: u64,
    /// Outputs along a row that are emitted in line.
    pub tile: u64,
    /// The requantization.
    pub finish: Finish,
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
        BLOCK
    }
    fn blocks(&self) -> u64 {
        self.x.shape[3].div_ceil(BLOCK)
    }
    /// Bytes of the weights of one block.
    pub(super) fn block_bytes(&self) -> u64 {
        self.window[1] * self.row_groups() * self.addends * 32
    }
    pub(super) fn table_bytes(&self) -> u64 {
        self.finish.table_bytes(BLOCK as usize) as u64
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
        format!("depthwise{kh}x{kw}_{}_{}_{}_{dot}", self.x.dtype, self.y.dtype, self.tile)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::new(name, &self.mems());
        let [n, oh, ow] = [self.y.shape[0], self.y.shape[1], self.y.shape[2]];
        let (xs, ys) = (self.x.strides.clone(), self.y.strides.clone());
        let (x, y) = (kb.mem(0), kb.mem(3));
        let (rows, cols) = (self.stride[0] * xs[1], self.stride[1] * xs[2]);
        kb.for_each(n, |kb, vn| {
            let (x, y) = (vn.of(&x, xs[0]), vn.of(&y, ys[0]));
            kb.for_each(oh, |kb, vh| {
                let (x, y) = (vh.of(&x, rows), vh.of(&y, ys[1]));
                let full = ow / self.tile;
                kb.for_each(full, |kb, vw| {
                    let x = vw.of(&x, self.tile * cols);
                    self.all_blocks(kb, &x, &vw.of(&y, self.tile * ys[2]));
                });
                if ow % self.tile != 0 {
                    let last = (ow - self.tile) as i64;
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
        let channels = self.x.shape[3];
        let full = channels / BLOCK;
        let (w, table) = (kb.mem(1), kb.mem(2));
        let (wide, long) = (self.block_bytes(), self.table_bytes());
        if full > 0 {
            kb.for_each(full, |kb, v: Var| {
                let place = Place {
                    x: v.of(x, BLOCK),
                    w: v.of(&w, wide),
                    table: v.of(&table, long),
                    y: v.of(y, BLOCK),
                };
                self.tile(kb, &place, BLOCK);
            });
        }
        if !channels.is_multiple_of(BLOCK) {
            let done = (full * BLOCK) as i64;
            let place = Place {
                x: x.at(done),
                w: w.at((full * wide) as i64),
                table: table.at((full * long) as i64),
                y: y.at(done),
            };
            self.tile(kb, &place, channels % BLOCK);
        }
    }

    fn tile(&self, kb: &mut Kb, at: &Place, channels: u64) {
        let mut columns: IndexMap<u64, Vec<[Value; 2]>> = IndexMap::new();
        for o in 0..self.tile {
            let mut acc = [0, 16].map(|half| kb.load_v128(DType::I32, &at.table.at(half)));
            for kw in 0..self.window[1] {
                let column = o * self.stride[1] + kw * self.dilation[1];
                if !columns.contains_key(&column) {
                    let quads = self.column(kb, &at.x.at((column * self.x.strides[2]) as i64));
                    columns.insert(column, quads);
                }
                for (g, pair) in columns[&column].iter().enumerate() {
                    for part in 0..self.addends {
                        let index = (kw * self.row_groups() + g as u64) * self.addends + part;
                        self.products(kb, &mut acc, pair, &at.w.at((index * 32) as i64));
                    }
                }
            }
            let y = at.y.at((o * self.y.strides[2]) as i64);
            self.store(kb, &acc, &at.table, channels, &y);
        }
    }

    /// One window column: per row group, channels 0–3 and 4–7 with their rows side by side.
    fn column(&self, kb: &mut Kb, x: &Addr) -> Vec<[Value; 2]> {
        let row = (self.dilation[0] * self.x.strides[1]) as i64;
        let rows: Vec<Value> = (0..self.window[0] as i64)
            .map(|kh| {
                let v = kb.load_low64(&x.at(kh * row));
                match self.dot {
                    Dot::I16 => kb.widen_low(v, self.x.dtype == DType::I8),
                    _ => v,
                }
            })
            .collect();
        let groups = rows.chunks(self.rows_per_dot() as usize);
        groups.map(|g| self.interleave(kb, g)).collect()
    }

    /// Rows that do not exist repeat one that does: their weights are zero.
    fn interleave(&self, kb: &mut Kb, rows: &[Value]) -> [Value; 2] {
        let row = |i: usize| rows[i.min(rows.len() - 1)];
        if self.dot == Dot::I16 {
            return [kb.unpack_low(row(0), row(1)), kb.unpack_high(row(0), row(1))];
        }
        let i16x8 = qcc_ir::Type::v128(DType::I16);
        let i8x16 = qcc_ir::Type::v128(DType::I8);
        let first = kb.unpack_low(row(0), row(1));
        let second = if rows.len() > 2 { kb.unpack_low(row(2), row(3)) } else { first };
        let first = kb.bitcast(first, i16x8.clone());
        let second = kb.bitcast(second, i16x8);
        let low = kb.unpack_low(first, second);
        let high = kb.unpack_high(first, second);
        [kb.bitcast(low, i8x16.clone()), kb.bitcast(high, i8x16)]
    }

    fn products(&self, kb: &mut Kb, acc: &mut [Value; 2], rows: &[Value; 2], w: &Addr) {
        for half in 0..2 {
            let at = w.at(16 * half as i64);
            acc[half] = match self.dot {
                Dot::I16 => {
                    let weight = kb.load_v128(DType::I16, &at);
                    kb.dot2(acc[half], rows[half], weight)
                }
                Dot::U8S8 => {
                    let weight = kb.load_v128(DType::I8, &at);
                    kb.dot4(DotSigns::U8S8, acc[half], rows[half], weight)
                }
                Dot::S8S8 => {
                    let weight = kb.load_v128(DType::I8, &at);
                    kb.dot4(DotSigns::S8S8, acc[half], rows[half], weight)
                }
            };
        }
    }

    fn store(&self, kb: &mut Kb, acc: &[Value; 2], table: &Addr, channels: u64, y: &Addr) {
        let n = BLOCK as usize;
        if self.finish.form == RescaleForm::Exact {
            let entries = table.at(4 * BLOCK as i64);
            for c in 0..channels {
                let lane = kb.extract(acc[(c / 4) as usize], (c % 4) as u32);
                let code = self.finish.code_exact(kb, lane, &entries.at(32 * c as i64));
                super::scalar_conv::store_code(kb, code, self.y.dtype, &y.at(c as i64));
            }
            return;
        }
        let low = self.finish.codes(kb, acc[0], table, n, 0);
        let high = self.finish.codes(kb, acc[1], table, n, 1);
        let words = kb.pack(low, high, true);
        let bytes = self.finish.pack_codes(kb, words, words);
        store_bytes(kb, bytes, channels, y);
    }
}

/// Weights `w(channel, row, column)` in the order that [`Depthwise`] reads them.
pub fn pack_weights(dw: &Depthwise, w: &dyn Fn(u64, u64, u64) -> i16) -> Vec<u8> {
    let per_dot = dw.rows_per_dot();
    let mut out = Vec::with_capacity((dw.blocks() * dw.block_bytes()) as usize);
    let weight = |block: u64, column: u64, group: u64, i: u64| {
        let (c, row) = (block * BLOCK + i / per_dot, group * per_dot + i % per_dot);
        let exists = c < dw.x.shape[3] && row < dw.window[0];
        if exists { w(c, row, column) } else { 0 }
    };
    for block in 0..dw.blocks() {
        for column in 0..dw.window[1] {
            for group in 0..dw.row_groups() {
                for addend in 0..dw.addends {
                    for i in 0..BLOCK * per_dot {
                        let weight = weight(block, column, group, i);
                        match dw.dot {
                            Dot::I16 => out.extend(weight.to_le_bytes()),
                            _ => out.push(part(weight, addend) as u8),
                        }
                    }
                }
            }
        }
    }
    out
}

/// Addend 0 or 1 of a weight: what fits int8, and the rest (|weight| ≤ 255).
fn part(weight: i16, addend: u64) -> i16 {
    let first = weight.clamp(-128, 127);
    if addend == 0 { first } else { weight - first }
}
