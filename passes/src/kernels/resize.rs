//! `int.resize_bilinear`: neighbours and weights of each row and column are constants. Channels are
//! blended one by one here, where they are contiguous bytes in vectors (`resize_lanes.rs`), outputs
//! between the same inputs together (`resize_cells.rs`).

use super::kb::{Addr, Kb, Var};
use super::resize_cells::Cells;
use super::scalar_conv::store_code;
use super::site::Site;
use super::{Arg, Call, Kernel, Machine, View, const_mem};
use qcc_ir::dialect::int::{self, ResizeStyle};
use qcc_ir::{DType, Func, Type, Value};
use qcc_runtime::fixedpoint::{ResizeMode, resize_axis_f32, resize_axis_i10};

/// Bytes of one row's or column's entry: offsets of both neighbours, weight of the second.
pub(super) const ENTRY: u64 = 12;

/// Buffers: x, rows, columns, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Resize {
    /// Input `[N, H, W, C]`.
    pub x: View,
    /// Output `[N, H', W', C]`.
    pub y: View,
    /// Which arithmetic.
    pub style: ResizeStyle,
    /// What storage adds to the framework's code.
    pub code_bias: i32,
    /// Bytes of a vector.
    pub width: u64,
    /// Rows and columns of outputs between the same inputs.
    pub cells: Option<[Cells; 2]>,
}

/// Offsets of the two neighbours and the second one's weight.
#[derive(Clone, Copy)]
pub(super) struct Neighbours {
    pub(super) offsets: [Value; 2],
    pub(super) fraction: Value,
}

impl Kernel for Resize {
    fn name(&self) -> String {
        format!("resize_bilinear_{}_{}", self.x.dtype, 8 * self.width)
    }
    fn split(&self, tasks: super::split::Tasks) -> Vec<super::split::Part> {
        self.parts(tasks)
    }

    fn build(&self, name: &str) -> Func {
        let [h, w] = [self.y.shape[1], self.y.shape[2]];
        let [rows, cols] = [h, w].map(|n| const_mem((n * ENTRY) as usize));
        let mems = [self.x.mem(), rows, cols, self.y.mem()];
        let mut kb = Kb::with_width(name, &mems, self.width);
        if self.y.is_empty() {
            return kb.finish();
        }
        let (x, y) = (kb.mem(0), kb.mem(3));
        kb.for_each(self.y.shape[0], |kb, n| {
            let y = n.of(&y, self.y.strides[0]);
            let image = kb.index(n);
            let image = scaled(kb, image, self.x.strides[0]);
            let Some([rows, columns]) = self.cells else {
                return self.rows(kb, image, &y, [(0, h), (0, w)]);
            };
            let x = n.of(&x, self.x.strides[0]);
            self.rows(kb, image, &y, [(0, rows.first), (0, w)]);
            self.rows(kb, image, &y, [(rows.end(), h), (0, w)]);
            self.rows(kb, image, &y, [(rows.first, rows.end()), (0, columns.first)]);
            self.rows(kb, image, &y, [(rows.first, rows.end()), (columns.end(), w)]);
            self.rows_of_cells(kb, [rows, columns], &x, &y);
        });
        kb.finish()
    }
}

impl Resize {
    /// Outputs of the given ranges of rows and columns, each on its own.
    fn rows(&self, kb: &mut Kb, image: Value, y: &Addr, [rows, columns]: [(u64, u64); 2]) {
        let count = |(start, end): (u64, u64)| end - start;
        if count(rows) == 0 || count(columns) == 0 {
            return;
        }
        let entries = |kb: &Kb, i: usize, start: u64| kb.mem(i).at((start * ENTRY) as i64);
        let (row_entries, column_entries) = (entries(kb, 1, rows.0), entries(kb, 2, columns.0));
        let ys = self.y.strides.clone();
        let y = y.at((rows.0 * ys[1] + columns.0 * ys[2]) as i64);
        kb.for_each(count(rows), |kb, vh| {
            let row = self.neighbours(kb, &vh.of(&row_entries, ENTRY));
            let row_weights = self.is_vector().then(|| self.row_weights(kb, row));
            let y = vh.of(&y, ys[1]);
            kb.for_each(count(columns), |kb, vw| {
                let col = self.neighbours(kb, &vw.of(&column_entries, ENTRY));
                let corners = corners(kb, image, row, col);
                let y = vw.of(&y, ys[2]);
                if let Some(weights) = row_weights {
                    return self.pixel(kb, corners, (weights, col.fraction), &y);
                }
                kb.for_each(self.y.shape[3], |kb, c| {
                    let taps = corners.map(|at| self.tap(kb, at, c));
                    let code = match self.style {
                        ResizeStyle::Fixed10 => self.blend_fixed(kb, taps, row, col),
                        ResizeStyle::Float32 => self.blend_float(kb, taps, row, col),
                    };
                    let bias = kb.i32(self.code_bias);
                    let code = kb.add(code, bias);
                    store_code(kb, code, self.y.dtype, &c.of(&y, ys[3]));
                });
            });
        });
    }

    /// Rows of outputs between the same inputs, in such columns.
    fn rows_of_cells(&self, kb: &mut Kb, [rows, columns]: [Cells; 2], x: &Addr, y: &Addr) {
        let (xs, ys) = (self.x.strides[1], self.y.strides[1]);
        let x = x.at((rows.from * xs) as i64);
        let y = y.at((rows.first * ys) as i64);
        let entries = kb.mem(1).at((rows.first * ENTRY) as i64);
        kb.for_each(rows.n, |kb, cell| {
            kb.for_each(rows.each, |kb, i| {
                let entry = i.of(&cell.of(&entries, rows.each * ENTRY), ENTRY);
                let weights = self.weights(kb, &entry);
                let y = i.of(&cell.of(&y, rows.each * ys), ys);
                self.cells(kb, columns, &cell.of(&x, xs), weights, &y);
            });
        });
    }
}

/// v · by
fn scaled(kb: &mut Kb, v: Value, by: u64) -> Value {
    let by = kb.i32(by as i32);
    kb.mul(v, by)
}

/// Byte offsets of the four neighbours: y0x0, y0x1, y1x0, y1x1.
fn corners(kb: &mut Kb, image: Value, row: Neighbours, col: Neighbours) -> [Value; 4] {
    let rows = row.offsets.map(|r| kb.add(image, r));
    [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(r, c)| kb.add(rows[r], col.offsets[c]))
}

impl Resize {
    fn neighbours(&self, kb: &mut Kb, entry: &super::kb::Addr) -> Neighbours {
        let offsets = [0, 4].map(|at| kb.load_scalar(DType::I32, &entry.at(at)));
        let fraction = match self.style {
            ResizeStyle::Fixed10 => {
                let f = kb.load_scalar(DType::I32, &entry.at(8));
                kb.ext_s(f, Type::Scalar(DType::I64))
            }
            ResizeStyle::Float32 => kb.load_scalar(DType::F32, &entry.at(8)),
        };
        Neighbours { offsets, fraction }
    }

    /// The framework's code at a byte offset, in channel `c`.
    fn tap(&self, kb: &mut Kb, corner: Value, c: Var) -> Value {
        let channel = kb.index(c);
        let channel = scaled(kb, channel, self.x.strides[3]);
        let at = kb.add(corner, channel);
        let last = self.x.span() as i64 - self.x.dtype.size() as i64;
        let at = kb.clamp_s(at, 0, last);
        let x = kb.mem(0);
        let code = kb.lookup(self.x.lane(), &x, at, 1, (0, last));
        let i32t = Type::Scalar(DType::I32);
        let code = match self.x.dtype.min_max().0 < 0 {
            true => kb.ext_s(code, i32t),
            false => kb.ext_u(code, i32t),
        };
        let bias = kb.i32(self.code_bias);
        kb.sub(code, bias)
    }

    /// Weighted sum in 20 fraction bits, halves away from zero.
    fn blend_fixed(
        &self,
        kb: &mut Kb,
        taps: [Value; 4],
        row: Neighbours,
        col: Neighbours,
    ) -> Value {
        let one = kb.i64(1024);
        let gy = kb.sub(one, row.fraction);
        let gx = kb.sub(one, col.fraction);
        let weights =
            [(gy, gx), (gy, col.fraction), (row.fraction, gx), (row.fraction, col.fraction)];
        let mut sum = kb.i64(0);
        for (tap, (wy, wx)) in taps.into_iter().zip(weights) {
            let weight = kb.mul(wy, wx);
            let tap = kb.ext_s(tap, Type::Scalar(DType::I64));
            let product = kb.mul(tap, weight);
            sum = kb.add(sum, product);
        }
        // s > 0 ? s + 2^19 : s − 2^19, then C division by 2^20.
        let half = kb.i64(1 << 19);
        let step = kb.i64(1);
        let before = kb.sub(sum, step);
        let negative = kb.shr_s(before, 63);
        let flipped = kb.xor(half, negative);
        let nudge = kb.sub(flipped, negative);
        let nudged = kb.add(sum, nudge);
        let code = kb.div_s(nudged, 1 << 20);
        kb.trunc(code, Type::Scalar(DType::I32))
    }

    /// a·(1−fy)(1−fx) + b·fy(1−fx) + c·(1−fy)fx + d·fy·fx in float32, left to right, plus ½,
    /// truncated; b is below a, c beside it.
    fn blend_float(
        &self,
        kb: &mut Kb,
        taps: [Value; 4],
        row: Neighbours,
        col: Neighbours,
    ) -> Value {
        let f32t = Type::Scalar(DType::F32);
        let one = kb.float(f32t.clone(), 1.0);
        let gy = kb.fsub(one, row.fraction);
        let gx = kb.fsub(one, col.fraction);
        let [a, c, b, d] = taps.map(|t| kb.int_to_float(t, f32t.clone()));
        let (fy, fx) = (row.fraction, col.fraction);
        let terms = [(a, gy, gx), (b, fy, gx), (c, gy, fx), (d, fy, fx)];
        let [first, rest @ ..] = terms.map(|(v, wy, wx)| {
            let v = kb.fmul(v, wy);
            kb.fmul(v, wx)
        });
        let sum = rest.into_iter().fold(first, |sum, t| kb.fadd(sum, t));
        let half = kb.float(f32t, 0.5);
        let value = kb.fadd(sum, half);
        let code = kb.float_to_int(value, Type::Scalar(DType::I32));
        kb.clamp_s(code, 0, 255)
    }
}

/// Lowers `int.resize_bilinear`.
///
/// # Errors
/// The input is too large for 32-bit offsets.
pub fn lower(site: &Site, op: &int::ResizeBilinear) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    if x.span() > i32::MAX as u64 {
        return Err("the input has more than 2^31 bytes".into());
    }
    let mode = ResizeMode::from_options(op.align_corners, op.half_pixel_centers);
    let [rows, columns] =
        [1, 2].map(|d| axis(op.style, x.shape[d] as usize, y.shape[d] as usize, mode));
    let table = |entries: &[Entry], stride: u64| Arg::Const {
        name: "neighbours".into(),
        bytes: entries.iter().flat_map(|e| e.bytes(stride)).collect(),
    };
    let tables = [table(&rows, x.strides[1]), table(&columns, x.strides[2])];
    let (style, code_bias) = (op.style, op.code_bias);
    let width = vector_width(site.machine, &x);
    let mut kernel = Resize { x, y, style, code_bias, width, cells: None };
    kernel.choose_cells(site.machine, [&rows, &columns]);
    let [rows, columns] = tables;
    let args = vec![site.arg(site.operand(0)), rows, columns, site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}

impl Resize {
    /// Takes outputs between the same inputs together, where channels are vectors.
    fn choose_cells(&mut self, machine: Machine, axes: [&[Entry]; 2]) {
        let [rows, columns] = [1, 2].map(|d| {
            let cell = |e: &Entry| e.cell(self.x.shape[d] as usize);
            Cells::find(&axes[d - 1].iter().map(cell).collect::<Vec<_>>())
        });
        let Some(cells) = rows.zip(columns) else { return };
        // Half a vector of channels at a time.
        let width = |&width: &u64| width == machine.width || width / 2 >= self.x.shape[3];
        let width = [16, 32, 64].into_iter().find(width).unwrap_or(self.width);
        let wider = Resize { width, cells: Some(cells.into()), ..self.clone() };
        if wider.is_vector() {
            *self = wider;
        }
    }
}

/// The narrowest vectors that take all channels at once, or the widest there are.
fn vector_width(machine: Machine, x: &View) -> u64 {
    let channels = x.shape[3];
    let fits = |&width: &u64| {
        let readable = channels.is_multiple_of(width) || u64::from(x.slack) >= width;
        width <= machine.width && readable
    };
    let widths: Vec<u64> = [16, 32, 64].into_iter().filter(fits).collect();
    let enough = widths.iter().find(|&&width| width >= channels);
    enough.or(widths.last()).copied().unwrap_or(16)
}

/// Neighbours of one output along an axis, and the second one's weight.
pub(super) struct Entry {
    lo: usize,
    hi: usize,
    fraction: [u8; 4],
}

impl Entry {
    /// Both neighbours, as if an output that is just an input lay before the next of `inputs`:
    /// that one's weight is 0.
    pub(super) fn cell(&self, inputs: usize) -> (usize, usize) {
        let next = self.lo + 1;
        let at_input = self.fraction == [0; 4] && self.hi == self.lo && next < inputs;
        (self.lo, if at_input { next } else { self.hi })
    }
    /// `[offset of lo][offset of hi][fraction]`, inputs lying `stride` bytes apart.
    fn bytes(&self, stride: u64) -> Vec<u8> {
        let at = |i: usize| (i as u64 * stride) as i32;
        [at(self.lo).to_le_bytes(), at(self.hi).to_le_bytes(), self.fraction].concat()
    }
}

/// Entries of one axis.
pub(super) fn axis(style: ResizeStyle, from: usize, to: usize, mode: ResizeMode) -> Vec<Entry> {
    match style {
        ResizeStyle::Fixed10 => resize_axis_i10(from, to, mode)
            .iter()
            .map(|l| Entry { lo: l.lo, hi: l.hi, fraction: l.frac.to_le_bytes() })
            .collect(),
        ResizeStyle::Float32 => resize_axis_f32(from, to, mode)
            .iter()
            .map(|l| Entry { lo: l.lo, hi: l.hi, fraction: l.frac.to_le_bytes() })
            .collect(),
    }
}
