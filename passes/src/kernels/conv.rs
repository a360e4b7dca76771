//! Direct convolution and matrix products: register tiles of dot products.
//!
//! A tile is `pixels` output pixels by `vectors` vectors of output channels, four per 128 bits. The taps of a
//! pixel are `runs` of contiguous bytes (a whole kernel row where nothing separates its columns);
//! each run is padded to whole groups of four with zero weights, so the bytes read behind it do not
//! matter. Weights are packed for the tile by `loop.pack_panels`, panel by panel:
//! `[panel][run][group of 4][channel][4]` bytes, or `[…][pair][channel][2]` int16 where the CPU has
//! no byte dot product.
//!
//! A row of pixels that is no multiple of the tile ends with a tile that overlaps the one before:
//! the same values are written twice.
//!
//! A residual is added when the codes of a few tiles are in y and no accumulators in registers: to
//! all channels at once where panels are inside pixels. It lies apart from y: tiles that overlap
//! need it twice.

use super::flips::Flips;
use super::kb::{Addr, Kb, Var};
use super::requant::Finish;
use super::residual::Residual;
use super::{Dot, Kernel, SLACK, View, const_mem};
use qcc_ir::dialect::loops::{DotSigns, WeightForm};
use qcc_ir::packing::{self, PanelShape};
use qcc_ir::{DType, Func, MemType, Value};
use qcc_runtime::rescale::RescaleForm;

/// Groups of taps that are emitted in line, without loops.
const INLINE_GROUPS: u64 = 12;
/// Bytes of codes to which a residual is added at a time: they and it stay in the nearest cache.
const CHUNK: u64 = 8 << 10;

/// The register tile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tile {
    /// Output pixels.
    pub pixels: u64,
    /// Vectors of four output channels.
    pub vectors: u64,
}

/// What one pixel's taps look like in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taps {
    /// Kernel rows, and bytes between them.
    pub rows: (u64, u64),
    /// Runs per row, and bytes between them.
    pub runs: (u64, u64),
    /// Bytes per run.
    pub bytes: u64,
}

/// Convolution of one channel group without padding. Buffers: x, weights, tables, y, and row sums and a
/// residual if there are any.
#[derive(Clone, PartialEq, Debug)]
pub struct Conv {
    /// Input `[N, H, W, C]`, 8 bits, channels contiguous.
    pub x: View,
    /// Output `[N, OH, OW, O]`, 8 bits, channels contiguous.
    pub y: View,
    /// Vertical and horizontal step.
    pub stride: [u64; 2],
    /// A pixel's taps.
    pub taps: Taps,
    /// How bytes are multiplied.
    pub dot: Dot,
    /// The register tile.
    pub tile: Tile,
    /// Bytes of a vector.
    pub width: u64,
    /// The requantization.
    pub finish: Finish,
    /// Asymmetric weights: view `[N, OH, OW]` of the int32 row sums, and the weights' zero point.
    pub row_sums: Option<(View, i32)>,
    /// What is added to the codes; `y.dtype` is that of the codes before.
    pub residual: Option<Residual>,
    /// Panels inside pixels, rather than pixels inside panels.
    pub panels_inside: bool,
}

impl Taps {
    /// Groups of four bytes per run.
    pub fn groups(&self) -> u64 {
        self.bytes.div_ceil(4)
    }
    /// Groups of four bytes per pixel.
    pub fn all_groups(&self) -> u64 {
        self.rows.0 * self.runs.0 * self.groups()
    }
}

impl Conv {
    /// Output channels per panel.
    pub fn panel(&self) -> u64 {
        self.width / 4 * self.tile.vectors
    }
    /// The shape of a panel of up to [`Conv::panel`] channels.
    pub fn panel_shape(&self, channels: u64) -> PanelShape {
        PanelShape::of(channels, self.width / 4)
    }
    /// Bytes of one panel of weights.
    pub fn panel_bytes(&self) -> u64 {
        self.weight_bytes(self.panel_shape(self.panel()))
    }
    fn weight_bytes(&self, shape: PanelShape) -> u64 {
        self.taps.all_groups() * 4 * shape.slots() * self.form().bytes_per_weight()
    }
    /// What stands for a weight.
    pub(super) fn form(&self) -> WeightForm {
        self.dot.weight_form(self.x.dtype)
    }
    /// Pixels in the innermost loop once neighbouring loops are merged.
    pub fn innermost_pixels(&self) -> u64 {
        self.pixel_loops().last().map_or(1, |l| l.n)
    }
    fn channels(&self) -> u64 {
        self.y.shape[3]
    }
    /// All panels, first channel and shape.
    pub fn panels(&self) -> Vec<(u64, PanelShape)> {
        packing::panels(self.channels(), self.tile.vectors, self.width / 4).collect()
    }
    /// Bytes of a full panel's table.
    pub(super) fn table_bytes(&self) -> usize {
        self.finish.table_bytes(self.panel() as usize)
    }

    pub(super) fn mems(&self) -> Vec<MemType> {
        let panels = self.panels();
        let weights: u64 = panels.iter().map(|p| self.weight_bytes(p.1)).sum();
        let tables = panels.iter().map(|p| self.finish.table_bytes(p.1.slots() as usize)).sum();
        let (weights, tables) = (const_mem(weights as usize), const_mem(tables));
        let x = MemType { slack: SLACK, ..self.x.mem() };
        let mut mems = vec![x, weights, tables, self.y.mem()];
        mems.extend(self.row_sums.as_ref().map(|(v, _)| v.mem()));
        mems.extend(self.residual.as_ref().map(|r| r.view.mem()));
        mems
    }

    /// Loops over output pixels, outermost first; neighbours are merged where all views allow it.
    fn pixel_loops(&self) -> Vec<PixelLoop> {
        let (xs, ys) = (&self.x.strides, &self.y.strides);
        let sums = self.row_sums.as_ref().map(|(v, _)| &v.strides);
        let residual = self.residual.as_ref().map(|r| &r.view.strides);
        let x_strides = [xs[0], xs[1] * self.stride[0], xs[2] * self.stride[1]];
        let mut loops: Vec<PixelLoop> = Vec::new();
        for d in (0..3).rev() {
            let next = PixelLoop {
                n: self.y.shape[d],
                x: x_strides[d],
                y: ys[d],
                sums: sums.map_or(0, |s| s[d]),
                residual: residual.map_or(0, |s| s[d]),
            };
            match loops.last_mut() {
                Some(inner) if next.n == 1 || inner.continues_in(&next) => inner.n *= next.n,
                Some(inner) if inner.n == 1 => *inner = next,
                _ => loops.push(next),
            }
        }
        loops.reverse();
        loops
    }
}

/// One loop over pixels: extent and byte strides.
#[derive(Clone, Copy, Debug)]
pub(super) struct PixelLoop {
    n: u64,
    pub x: u64,
    y: u64,
    sums: u64,
    residual: u64,
}

impl PixelLoop {
    fn continues_in(&self, outer: &PixelLoop) -> bool {
        let strides = |l: &PixelLoop| [l.x, l.y, l.sums, l.residual];
        strides(outer) == strides(self).map(|s| self.n * s)
    }
}

/// Addresses of the first pixel of a tile, or of the first of a loop.
#[derive(Clone)]
pub(super) struct Place {
    pub x: Addr,
    y: Addr,
    sums: Option<Addr>,
    residual: Option<Addr>,
}

impl Place {
    pub fn plus(&self, var: Var, by: &PixelLoop, times: u64) -> Place {
        Place {
            x: var.of(&self.x, by.x * times),
            y: var.of(&self.y, by.y * times),
            sums: self.sums.as_ref().map(|s| var.of(s, by.sums * times)),
            residual: self.residual.as_ref().map(|r| var.of(r, by.residual * times)),
        }
    }
    /// `pixels` further on, or back.
    pub fn at(&self, pixels: i64, by: &PixelLoop) -> Place {
        Place {
            x: self.x.at(pixels * by.x as i64),
            y: self.y.at(pixels * by.y as i64),
            sums: self.sums.as_ref().map(|s| s.at(pixels * by.sums as i64)),
            residual: self.residual.as_ref().map(|r| r.at(pixels * by.residual as i64)),
        }
    }
}

/// Tiles of pixels side by side.
pub(super) struct PixelTiles<'a> {
    place: &'a Place,
    /// The loop over their pixels.
    pub by: &'a PixelLoop,
    /// Pixels of a tile.
    pub pixels: u64,
    /// Tiles.
    pub n: u64,
}

impl PixelTiles<'_> {
    /// Tile `var` + `further`.
    pub fn at(&self, var: Var, further: i64) -> Place {
        self.place.plus(var, self.by, self.pixels).at(further * self.pixels as i64, self.by)
    }
}

impl Kernel for Conv {
    fn split(&self, tasks: super::split::Tasks) -> Vec<super::split::Part> {
        self.parts(tasks)
    }

    fn name(&self) -> String {
        let (x, y, t) = (self.x.dtype, self.y.dtype, self.tile);
        let dot = format!("{:?}", self.dot).to_lowercase();
        let sum = if self.residual.is_some() { "_add" } else { "" };
        format!("conv2d{sum}_{x}_i8_{y}_{}x{}_{dot}_{}", t.pixels, t.vectors, 8 * self.width)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::with_width(name, &self.mems(), self.width);
        self.for_tiles(&mut kb, &mut |kb, at| self.tile(kb, at));
        kb.finish()
    }
}

/// Addresses of a panel's constants, its first output channel and how many it has.
pub(super) struct Panel {
    pub weights: Addr,
    pub table: Addr,
    y_offset: (Var, u64),
    y_first: u64,
    channels: u64,
    pub shape: PanelShape,
}

impl Panel {
    /// The panel's channels of the pixel at `place`.
    pub fn output(&self, place: &Place) -> Output {
        let own = |at: &Addr| self.y_offset.0.of(&at.at(self.y_first as i64), self.y_offset.1);
        Output { y: own(&place.y), residual: place.residual.as_ref().map(own) }
    }
}

/// Where a panel's channels of a pixel are written, and what is added to them.
pub(super) struct Output {
    y: Addr,
    residual: Option<Addr>,
}

impl Output {
    /// All channels.
    fn first(place: &Place) -> Output {
        Output { y: place.y.clone(), residual: place.residual.clone() }
    }
}

impl Conv {
    /// Runs `body` for each tile of pixels and panel, in the order that `panels_inside` says.
    fn for_tiles(&self, kb: &mut Kb, body: &mut dyn FnMut(&mut Kb, &BlockAt)) {
        if self.panels_inside {
            self.for_pixels(kb, &mut |kb, tiles| {
                let all = |place: &Place| Output::first(place);
                self.for_chunks(kb, tiles, (&all, self.channels()), &mut |kb, place| {
                    let (by, pixels) = (tiles.by, tiles.pixels);
                    self.for_panels(kb, &mut |kb, panel| {
                        body(kb, &BlockAt { place, by, pixels, panel });
                    });
                });
            });
        } else {
            self.for_panels(kb, &mut |kb, panel| {
                self.for_pixels(kb, &mut |kb, tiles| {
                    let own = |place: &Place| panel.output(place);
                    self.for_chunks(kb, tiles, (&own, panel.channels), &mut |kb, place| {
                        let (by, pixels) = (tiles.by, tiles.pixels);
                        body(kb, &BlockAt { place, by, pixels, panel });
                    });
                });
            });
        }
    }

    /// Runs `body` for each tile. Behind every few of them, the residual is added to their codes,
    /// `channels` from `output` on: in the nearest cache still, but no longer on their way there.
    fn for_chunks(
        &self,
        kb: &mut Kb,
        tiles: &PixelTiles,
        (output, channels): (&dyn Fn(&Place) -> Output, u64),
        body: &mut dyn FnMut(&mut Kb, &Place),
    ) {
        let &PixelTiles { place, by, pixels, n } = tiles;
        let fits = |chunk: &u64| n.is_multiple_of(*chunk) && chunk * pixels * channels <= CHUNK;
        let chunk = match self.residual {
            Some(_) => (1..=n).rev().find(fits).unwrap_or(1),
            None => n,
        };
        kb.for_each(n / chunk, |kb, c| {
            let first = place.plus(c, by, chunk * pixels);
            kb.for_each(chunk, |kb, v| body(kb, &first.plus(v, by, pixels)));
            self.add_residual(kb, &output(&first), (by, chunk * pixels), channels);
        });
    }

    /// The sum of the codes at `to`, `channels` of each of `pixels` pixels, and the residual.
    fn add_residual(
        &self,
        kb: &mut Kb,
        to: &Output,
        (by, pixels): (&PixelLoop, u64),
        channels: u64,
    ) {
        if let (Some(residual), Some(from)) = (&self.residual, &to.residual) {
            let strides = [by.residual, by.y];
            residual.add_rows(kb, [from, &to.y], (pixels, strides), channels);
        }
    }

    /// Runs `body` for all tiles of pixels, as many at a time as lie side by side. Where they do
    /// not fit, the last one overlaps the one before.
    pub(super) fn for_pixels(&self, kb: &mut Kb, body: &mut dyn FnMut(&mut Kb, &PixelTiles)) {
        let sums = self.row_sums.as_ref().map(|_| kb.mem(4));
        let residual = self.residual.as_ref().map(|_| kb.mem(4 + sums.iter().len()));
        let place = Place { x: kb.mem(0), y: kb.mem(3), sums, residual };
        self.pixels(kb, &self.pixel_loops(), &place, body);
    }

    fn pixels(
        &self,
        kb: &mut Kb,
        loops: &[PixelLoop],
        place: &Place,
        body: &mut dyn FnMut(&mut Kb, &PixelTiles),
    ) {
        let (by, outer) = loops.split_last().expect("three loops merge into at least one");
        if let Some((first, rest)) = outer.split_first() {
            let rest: Vec<PixelLoop> = rest.iter().chain([by]).copied().collect();
            return kb.for_each(first.n, |kb, v| {
                self.pixels(kb, &rest, &place.plus(v, first, 1), body);
            });
        }
        let pixels = self.tile.pixels.min(by.n);
        body(kb, &PixelTiles { place, by, pixels, n: by.n / pixels });
        if by.n % pixels != 0 {
            let place = &place.at((by.n - pixels) as i64, by);
            body(kb, &PixelTiles { place, by, pixels, n: 1 });
        }
    }

    /// Runs `body` for each panel; the last one apart if it is narrower.
    pub(super) fn for_panels(&self, kb: &mut Kb, body: &mut dyn FnMut(&mut Kb, &Panel)) {
        let (weights, tables) = (kb.mem(1), kb.mem(2));
        let full = self.channels() / self.panel();
        let (wide, long) = (self.panel_bytes(), self.table_bytes() as u64);
        if full > 0 {
            kb.for_each(full, |kb, v| {
                let panel = Panel {
                    weights: v.of(&weights, wide),
                    table: v.of(&tables, long),
                    y_offset: (v, self.panel()),
                    y_first: 0,
                    channels: self.panel(),
                    shape: self.panel_shape(self.panel()),
                };
                body(kb, &panel);
            });
        }
        let rest = self.channels() % self.panel();
        if rest > 0 {
            let panel = Panel {
                weights: weights.at((full * wide) as i64),
                table: tables.at((full * long) as i64),
                y_offset: (Var::NONE, 0),
                y_first: full * self.panel(),
                channels: rest,
                shape: self.panel_shape(rest),
            };
            body(kb, &panel);
        }
    }

    fn tile(&self, kb: &mut Kb, at: &BlockAt) {
        let BlockAt { place, by, pixels, panel } = *at;
        let vectors = panel.shape.vectors;
        let at = TileAt { place, by, panel, pixels, vectors };
        let init = self.biases(kb, &at);
        let acc = self.dots(kb, &at, &init);
        for p in 0..pixels {
            let y = Output { residual: None, ..panel.output(&place.at(p as i64, by)) };
            let row = &acc[(p * vectors) as usize..((p + 1) * vectors) as usize];
            match self.finish.form {
                RescaleForm::Exact => self.store_exact(kb, row, panel, &y.y),
                _ => self.store_fast(kb, row, panel, &y),
            }
        }
    }

    /// First accumulators: the biases, less w_zp times the row sums.
    fn biases(&self, kb: &mut Kb, tile: &TileAt) -> Vec<Value> {
        let mut out = Vec::new();
        for p in 0..tile.pixels {
            let correction = self.correction(kb, &tile.place.at(p as i64, tile.by));
            for v in 0..tile.vectors {
                let at = tile.panel.table.at((self.width * v) as i64);
                let bias = kb.load_vec(DType::I32, &at);
                out.push(correction.map_or(bias, |c| kb.add(bias, c)));
            }
        }
        out
    }

    /// What asymmetric weights add to each sum of a pixel: −w_zp times its row sum.
    pub(super) fn correction(&self, kb: &mut Kb, place: &Place) -> Option<Value> {
        let (_, w_zp) = self.row_sums.as_ref()?;
        let sum = kb.load_scalar(DType::I32, place.sums.as_ref().expect("they have an address"));
        let minus = kb.i32(w_zp.wrapping_neg());
        let product = kb.mul(sum, minus);
        Some(kb.splat(product))
    }

    fn dots(&self, kb: &mut Kb, tile: &TileAt, init: &[Value]) -> Vec<Value> {
        let t = &self.taps;
        let group = self.weight_bytes(tile.panel.shape) / t.all_groups();
        if t.all_groups() <= INLINE_GROUPS {
            return self.dots_inline(kb, tile, group, init);
        }
        let run_bytes = t.groups() * group;
        kb.fold(t.rows.0, init, |kb, row, acc| {
            let x = row.of(&tile.place.x, t.rows.1);
            let w = row.of(&tile.panel.weights, t.runs.0 * run_bytes);
            kb.fold(t.runs.0, acc, |kb, run, acc| {
                let step = tile.step(run.of(&x, t.runs.1), run.of(&w, run_bytes), group);
                self.run(kb, &step, acc)
            })
        })
    }

    /// All taps without loops.
    fn dots_inline(&self, kb: &mut Kb, tile: &TileAt, group: u64, init: &[Value]) -> Vec<Value> {
        let t = &self.taps;
        let mut acc = init.to_vec();
        for k in 0..t.all_groups() {
            let (run, g) = (k / t.groups(), k % t.groups());
            let (row, run) = (run / t.runs.0, run % t.runs.0);
            let x = tile.place.x.at((row * t.rows.1 + run * t.runs.1 + 4 * g) as i64);
            let w = tile.panel.weights.at((k * group) as i64);
            acc = self.block(kb, &tile.step(x, w, group), 1, &acc);
        }
        acc
    }

    /// One run: steps of 16 bytes in a loop, then what is left.
    fn run(&self, kb: &mut Kb, at: &Step, acc: &[Value]) -> Vec<Value> {
        let groups = self.taps.groups();
        let blocks = groups / 4;
        let mut acc = kb.fold(blocks, acc, |kb, k, acc| {
            let step = at.moved(k, 16, 4 * at.group);
            self.block(kb, &step, 4, acc)
        });
        for g in blocks * 4..groups {
            let mut step = at.clone();
            step.x = step.x.at(4 * g as i64);
            step.w = step.w.at((g * at.group) as i64);
            acc = self.block(kb, &step, 1, &acc);
        }
        acc
    }

    /// `groups` (1 or 4) groups of four taps: every pixel times every vector.
    fn block(&self, kb: &mut Kb, at: &Step, groups: u64, acc: &[Value]) -> Vec<Value> {
        let mut acc = acc.to_vec();
        for g in 0..groups {
            let w = at.w.at((g * at.group) as i64);
            if self.dot == Dot::I16 {
                self.products_i16(kb, at, &w, 4 * g, &mut acc);
            } else {
                self.products_i8(kb, at, &w, 4 * g, &mut acc);
            }
        }
        acc
    }

    fn products_i8(&self, kb: &mut Kb, at: &Step, w: &Addr, byte: u64, acc: &mut [Value]) {
        // The longer side streams through one register.
        let weight = |kb: &mut Kb, v: u64| kb.load_vec(DType::I8, &w.at((self.width * v) as i64));
        let pixel = |kb: &mut Kb, p: u64| kb.load_splat32(&at.x.at((p * at.pixel + byte) as i64));
        let flips = (self.dot == Dot::Flips).then(|| {
            let w = w.at((at.group / 2) as i64);
            let registers = if self.width == 64 { 32 } else { 16 };
            let held = holds_flips([at.pixels, at.vectors], registers);
            Flips::of(kb, &w, if held { at.vectors } else { 0 })
        });
        let mut product = |kb: &mut Kb, [p, v]: [u64; 2], x: Value, weight: Value| {
            let a = &mut acc[(p * at.vectors + v) as usize];
            *a = match (&flips, self.dot) {
                (Some(flips), _) => flips.dot(kb, v, *a, [x, weight]),
                (None, Dot::U8S8) => kb.dot4(DotSigns::U8S8, *a, x, weight),
                _ => kb.dot4(DotSigns::S8S8, *a, x, weight),
            };
        };
        if at.pixels >= at.vectors {
            let weights: Vec<Value> = (0..at.vectors).map(|v| weight(kb, v)).collect();
            for p in 0..at.pixels {
                let x = pixel(kb, p);
                (0..at.vectors).for_each(|v| product(kb, [p, v], x, weights[v as usize]));
            }
        } else {
            let pixels: Vec<Value> = (0..at.pixels).map(|p| pixel(kb, p)).collect();
            for v in 0..at.vectors {
                let weight = weight(kb, v);
                (0..at.pixels).for_each(|p| product(kb, [p, v], pixels[p as usize], weight));
            }
        }
    }

    fn products_i16(&self, kb: &mut Kb, at: &Step, w: &Addr, byte: u64, acc: &mut [Value]) {
        let signed = self.x.dtype == DType::I8;
        let half = (at.group / 2) as i64;
        for p in 0..at.pixels {
            let x = kb.load_splat32(&at.x.at((p * at.pixel + byte) as i64));
            let x = kb.widen_low(x, signed);
            for pair in 0..2u32 {
                let lane = std::array::from_fn(|i| 4 * pair + i as u32 % 4);
                let both = kb.shuffle(x, x, lane);
                for v in 0..at.vectors {
                    let from = w.at(i64::from(pair) * half + (self.width * v) as i64);
                    let weight = kb.load_vec(DType::I16, &from);
                    let a = &mut acc[(p * at.vectors + v) as usize];
                    *a = kb.dot2(*a, both, weight);
                }
            }
        }
    }

    pub(super) fn store_fast(&self, kb: &mut Kb, acc: &[Value], panel: &Panel, to: &Output) {
        let n = panel.shape.slots() as usize;
        let codes: Vec<Value> = acc
            .iter()
            .enumerate()
            .map(|(v, &a)| self.finish.codes(kb, a, &panel.table, n, v))
            .collect();
        for (k, four) in codes.chunks(4).enumerate() {
            let at = self.width * k as u64;
            let left = (panel.channels - at).min(self.width);
            let mut bytes = self.packed(kb, four);
            if let (Some(residual), Some(from)) = (&self.residual, &to.residual) {
                bytes = residual.add(kb, bytes, &from.at(at as i64));
            }
            store_bytes(kb, bytes, left, &to.y.at(at as i64));
        }
    }

    /// The bytes of up to four vectors of codes, in the order of their channels.
    fn packed(&self, kb: &mut Kb, codes: &[Value]) -> Value {
        let halves: Vec<Value> = codes
            .chunks(2)
            .map(|pair| kb.pack(pair[0], *pair.last().expect("not empty"), true))
            .collect();
        let high = *halves.last().expect("not empty");
        let bytes = self.finish.pack_codes(kb, halves[0], high);
        match codes.len() {
            1 | 2 if self.width > 16 => kb.compact(bytes, 4 * codes.len() as u32),
            _ => bytes,
        }
    }

    fn store_exact(&self, kb: &mut Kb, acc: &[Value], panel: &Panel, y: &Addr) {
        let entries = panel.table.at(4 * panel.shape.slots() as i64);
        for c in 0..panel.channels {
            let lane = kb.extract(acc[(c / 4) as usize], (c % 4) as u32);
            let code = self.finish.code_exact(kb, lane, &entries.at(32 * c as i64));
            super::scalar_conv::store_code(kb, code, self.y.dtype, &y.at(c as i64));
        }
    }
}

/// Pixels and panel of one block of accumulators.
struct BlockAt<'a> {
    place: &'a Place,
    by: &'a PixelLoop,
    pixels: u64,
    panel: &'a Panel,
}

/// One tile: where it is, and how many pixels and vectors of channels it has.
struct TileAt<'a> {
    place: &'a Place,
    by: &'a PixelLoop,
    panel: &'a Panel,
    pixels: u64,
    vectors: u64,
}

impl TileAt<'_> {
    fn step(&self, x: Addr, w: Addr, group: u64) -> Step {
        Step { x, w, pixel: self.by.x, pixels: self.pixels, vectors: self.vectors, group }
    }
}

/// Where a block of taps is read.
#[derive(Clone)]
struct Step {
    x: Addr,
    w: Addr,
    /// Bytes between pixels.
    pixel: u64,
    pixels: u64,
    vectors: u64,
    /// Bytes of weights per group of four taps.
    group: u64,
}

impl Step {
    fn moved(&self, var: Var, x: u64, w: u64) -> Step {
        Step { x: var.of(&self.x, x), w: var.of(&self.w, w), ..self.clone() }
    }
}

/// Do the flips of all vectors of a step fit the registers beside accumulators, magnitudes, an
/// activation, two values on the way and words of one?
pub(super) fn holds_flips([pixels, vectors]: [u64; 2], registers: u32) -> bool {
    pixels >= vectors && pixels * vectors + 2 * vectors + 4 <= u64::from(registers)
}

/// Stores the first `n` bytes of a vector.
pub fn store_bytes(kb: &mut Kb, bytes: Value, n: u64, y: &Addr) {
    if n >= kb.width() {
        return kb.store(bytes, y);
    }
    if kb.width() > 16 {
        return kb.store_low(bytes, n as u32, y);
    }
    let mut rest = bytes;
    let mut at = 0;
    for size in [8u64, 4] {
        if n - at >= size {
            kb.store_low(rest, size as u32, &y.at(at as i64));
            at += size;
            if at < n {
                let down = std::array::from_fn(|i| (i as u32 + size as u32) % 16);
                rest = kb.shuffle(rest, rest, down);
            }
        }
    }
    for lane in 0..n - at {
        let byte = kb.extract(rest, lane as u32);
        kb.store(byte, &y.at((at + lane) as i64));
    }
}
