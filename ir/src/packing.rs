//! Orders in which kernels read weights: what `loop.pack_panels` and `loop.pack_blocks` mean.
//!
//! A kernel takes accumulators vector by vector, and packing codes works 128 bits by 128 bits; so a
//! vector of accumulators holds channels in turns ([`PanelShape::channel`], [`block_slots`]) and the
//! weights stand in the order of the accumulators. Whatever a dot product reads beyond the weights
//! that there are is zero.

use crate::dialect::loops::{PackBlocks, PackPanels, WeightForm};

/// Channels per accumulator vector of 128 bits.
const QUAD: u64 = 4;

/// The output channels of one tile: whole vectors, the last of which may be in part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PanelShape {
    /// Vectors of accumulators per pixel.
    pub vectors: u64,
    /// Accumulators per vector.
    pub lanes: u64,
}

impl PanelShape {
    /// The shape of a panel of `channels` channels. Wide vectors are packed four, two or one at a
    /// time, so three take the room of four.
    pub fn of(channels: u64, lanes: u64) -> PanelShape {
        let vectors = channels.div_ceil(lanes);
        let vectors = if lanes > QUAD && vectors % 4 == 3 { vectors + 1 } else { vectors };
        PanelShape { vectors, lanes }
    }
    /// Accumulators of one pixel.
    pub fn slots(self) -> u64 {
        self.vectors * self.lanes
    }
    /// The channel of accumulator `slot`. Packing takes four vectors together (or the two or one
    /// that are left), 128 bits by 128 bits, so that wide vectors hold channels in turns: packed
    /// bytes come out in order.
    pub fn channel(self, slot: u64) -> u64 {
        let (v, e) = (slot / self.lanes, slot % self.lanes);
        let (four, together) = (v / 4, (self.vectors - v / 4 * 4).min(4));
        let (block, i) = (e / QUAD, e % QUAD);
        four * 4 * self.lanes + block * QUAD * together + v % 4 * QUAD + i
    }
}

/// All panels of `channels` channels in panels of `vectors` vectors: first channel and shape.
pub fn panels(channels: u64, vectors: u64, lanes: u64) -> impl Iterator<Item = (u64, PanelShape)> {
    let panel = (vectors * lanes).max(1);
    let starts = (0..channels).step_by(panel as usize);
    starts.map(move |start| (start, PanelShape::of((channels - start).min(panel), lanes)))
}

/// The channel, in its block, of each accumulator of a block of `vectors` vectors.
pub fn block_slots(vectors: u64, lanes: u64) -> impl Iterator<Item = u64> {
    (0..vectors)
        .flat_map(move |v| (0..lanes).map(move |e| e / QUAD * QUAD * vectors + QUAD * v + e % QUAD))
}

impl WeightForm {
    /// Bytes that stand for a weight.
    pub fn bytes_per_weight(self) -> u64 {
        if self == WeightForm::Bytes { 1 } else { 2 }
    }
    /// Do magnitudes and flips stand for the weights?
    pub fn has_flips(self) -> bool {
        matches!(self, WeightForm::FlipsU8 | WeightForm::FlipsS8)
    }
    /// What is xored into an activation that `weight` multiplies, for the forms with flips.
    fn flip(self, weight: u8) -> u8 {
        let to_signed = if self == WeightForm::FlipsU8 { 0x80 } else { 0 };
        if (weight as i8) < 0 { to_signed ^ 0xFF } else { to_signed }
    }
    /// What a weight's products with activations have more than those of its magnitude with
    /// flipped ones: the same for every activation.
    pub fn surplus(self, weight: i8) -> i32 {
        let w = i32::from(weight);
        match self {
            WeightForm::Bytes | WeightForm::Pairs => 0,
            // w·x − w·(x − 128) and w·x − |w|·(127 − x)
            WeightForm::FlipsU8 => w * if w < 0 { 127 } else { 128 },
            // w·x − w·x and w·x − |w|·(−1 − x)
            WeightForm::FlipsS8 => w.min(0).abs(),
        }
    }
}

impl PackPanels {
    /// Contiguous taps: runs per kernel row and bytes per run.
    fn runs(&self) -> (u64, u64) {
        let [_, _, columns, inputs] = self.shape;
        if self.merged { (1, columns * inputs) } else { (columns, inputs) }
    }
    /// A run of `bytes` filled up.
    fn whole(&self, bytes: u64) -> Option<u64> {
        bytes.checked_next_multiple_of(u64::from(self.whole))
    }
    /// Bytes of the packed weights, if they can be counted.
    pub fn bytes(&self) -> Option<u64> {
        let [channels, rows, ..] = self.shape;
        let [vectors, lanes] = self.panel.map(u64::from);
        let (runs, bytes) = self.runs();
        let slots = match vectors.checked_mul(lanes)? {
            0 => return None,
            panel => {
                let rest = PanelShape::of(channels % panel, lanes).slots();
                (channels / panel).checked_mul(PanelShape::of(panel, lanes).slots())? + rest
            }
        };
        let per_slot = rows.checked_mul(runs)?.checked_mul(self.whole(bytes)?)?;
        slots.checked_mul(per_slot)?.checked_mul(self.form.bytes_per_weight())
    }
    /// The packed weights. `w` holds every weight that the attributes speak of.
    pub fn pack(&self, w: &[u8]) -> Vec<u8> {
        let [channels, rows, ..] = self.shape;
        let [vectors, lanes] = self.panel.map(u64::from);
        let (runs, bytes) = self.runs();
        let whole = self.whole(bytes).unwrap_or(bytes) as usize;
        let mut out = Vec::with_capacity(self.bytes().unwrap_or(0) as usize);
        // The runs of all channels of a panel, each filled up with zeros to whole groups.
        let mut panel = Vec::new();
        for (start, shape) in panels(channels, vectors, lanes) {
            for (row, run) in (0..rows).flat_map(|row| (0..runs).map(move |run| (row, run))) {
                panel.clear();
                for slot in 0..shape.slots() {
                    let (channel, end) = (start + shape.channel(slot), panel.len() + whole);
                    if channel < channels {
                        self.append_run(w, [channel, row, run], &mut panel);
                    }
                    panel.resize(end, 0);
                }
                interleave_runs(&panel, whole, self.form, &mut out);
            }
        }
        out
    }
    fn append_run(&self, w: &[u8], [channel, row, run]: [u64; 3], out: &mut Vec<u8>) {
        let [_, _, columns, inputs] = self.shape;
        let s = self.strides;
        let columns = if self.merged { 0..columns } else { run..run + 1 };
        for column in columns {
            let at = (self.first + channel * s[0] + row * s[1] + column * s[2]) as usize;
            match s[3] {
                1 => out.extend_from_slice(&w[at..at + inputs as usize]),
                step => out.extend((0..inputs).map(|i| w[at + (i * step) as usize])),
            }
        }
    }
}

/// Groups of four bytes of each run in turn, in the given form.
fn interleave_runs(runs: &[u8], whole: usize, form: WeightForm, out: &mut Vec<u8>) {
    let word = |b: u8| i16::from(b as i8).to_le_bytes();
    let pair = |a: u8, b: u8| [word(a)[0], word(a)[1], word(b)[0], word(b)[1]];
    for at in (0..whole).step_by(4) {
        let mut each = |f: &dyn Fn([u8; 4]) -> [u8; 4]| {
            let start = out.len();
            out.resize(start + runs.len() / whole * 4, 0);
            let places = out[start..].as_chunks_mut::<4>().0;
            for (place, run) in places.iter_mut().zip(runs.chunks_exact(whole)) {
                *place = f([run[at], run[at + 1], run[at + 2], run[at + 3]]);
            }
        };
        match form {
            WeightForm::Bytes => each(&|w| w),
            WeightForm::Pairs => {
                each(&|w| pair(w[0], w[1]));
                each(&|w| pair(w[2], w[3]));
            }
            WeightForm::FlipsU8 | WeightForm::FlipsS8 => {
                each(&|w| w.map(|w| (w as i8).unsigned_abs()));
                each(&|w| w.map(|w| form.flip(w)));
            }
        }
    }
}

impl PackBlocks {
    /// Rows summed by one dot product.
    fn rows_per_dot(&self) -> u64 {
        if self.form == WeightForm::Pairs { 2 } else { 4 }
    }
    /// Bytes of the packed weights, if they can be counted.
    pub fn bytes(&self) -> Option<u64> {
        let [channels, rows, columns] = self.shape;
        let [vectors, lanes] = self.block.map(u64::from);
        let block = vectors.checked_mul(lanes).filter(|&n| n > 0)?;
        let per_slot = columns
            .checked_mul(rows.div_ceil(self.rows_per_dot()))?
            .checked_mul(u64::from(self.addends))?
            .checked_mul(self.rows_per_dot() * self.form.bytes_per_weight())?;
        let slots = channels.checked_mul(self.repeat)?.div_ceil(block).checked_mul(block)?;
        slots.checked_mul(per_slot)
    }
    /// The packed weights. `w` holds every weight that the attributes speak of.
    pub fn pack(&self, w: &[u8]) -> Vec<u8> {
        let [channels, rows, columns] = self.shape;
        let [vectors, lanes] = self.block.map(u64::from);
        let (per_dot, all) = (self.rows_per_dot(), channels * self.repeat);
        let slots: Vec<u64> = block_slots(vectors, lanes).collect();
        let weight = |c: u64, column: u64, row: u64| {
            let exists = c < all && row < rows;
            if exists { self.weight(w, [c % channels, row, column]) } else { 0 }
        };
        let mut out = Vec::with_capacity(self.bytes().unwrap_or(0) as usize);
        for first in (0..all).step_by((vectors * lanes).max(1) as usize) {
            for column in 0..columns {
                for group in (0..rows).step_by(per_dot as usize) {
                    let all = || {
                        let rows = |&slot: &u64| (group..group + per_dot).map(move |r| (slot, r));
                        slots.iter().flat_map(rows).map(|(s, row)| weight(first + s, column, row))
                    };
                    match self.form {
                        WeightForm::Bytes => {
                            for addend in 0..self.addends {
                                out.extend(all().map(|w| part(w, addend) as u8));
                            }
                        }
                        WeightForm::Pairs => out.extend(all().flat_map(i16::to_le_bytes)),
                        WeightForm::FlipsU8 | WeightForm::FlipsS8 => {
                            out.extend(all().map(|w| w.unsigned_abs() as u8));
                            out.extend(all().map(|w| self.form.flip(w as u8)));
                        }
                    }
                }
            }
        }
        out
    }
    fn weight(&self, w: &[u8], [channel, row, column]: [u64; 3]) -> i16 {
        let s = self.strides;
        let at = (self.first + channel * s[0] + row * s[1] + column * s[2]) as usize;
        if self.wide { i16::from_le_bytes([w[at], w[at + 1]]) } else { i16::from(w[at] as i8) }
    }
}

/// Addend 0 or 1 of a weight: what fits int8, and the rest (|weight| ≤ 255).
fn part(weight: i16, addend: u32) -> i16 {
    let first = weight.clamp(-128, 127);
    if addend == 0 { first } else { weight - first }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panels_of(shape: [u64; 4], panel: [u32; 2]) -> PackPanels {
        let [_, rows, columns, inputs] = shape;
        let strides = [rows * columns * inputs, columns * inputs, inputs, 1];
        let form = WeightForm::Bytes;
        PackPanels { first: 0, strides, shape, merged: false, panel, form, whole: 4 }
    }

    #[test]
    fn groups_of_four_taps_stand_channel_by_channel() {
        let w: Vec<u8> = (1..=10).collect();
        let op = panels_of([2, 1, 1, 5], [1, 4]);
        let first = [1, 2, 3, 4, 6, 7, 8, 9, 0, 0, 0, 0, 0, 0, 0, 0];
        let second = [5, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(op.pack(&w), [first, second].concat());
        assert_eq!(op.bytes(), Some(32));
    }

    #[test]
    fn magnitudes_stand_before_flips() {
        let w = [1, -2, -128, 127].map(|w: i8| w as u8);
        let op = |form| PackPanels { form, ..panels_of([1, 1, 1, 4], [1, 4]) };
        let packed = op(WeightForm::FlipsU8).pack(&w);
        assert_eq!(packed[..4], [1, 2, 128, 127]);
        assert_eq!(packed[16..20], [0x80, 0x7F, 0x7F, 0x80]);
        assert_eq!(op(WeightForm::FlipsS8).pack(&w)[16..20], [0, 0xFF, 0xFF, 0]);
        assert_eq!(op(WeightForm::FlipsS8).bytes(), Some(32));
    }

    #[test]
    fn flipped_products_miss_the_surplus() {
        for (form, signed) in [(WeightForm::FlipsU8, false), (WeightForm::FlipsS8, true)] {
            for (w, x) in (i8::MIN..=i8::MAX).flat_map(|w| (0..=u8::MAX).map(move |x| (w, x))) {
                let value = if signed { i32::from(x as i8) } else { i32::from(x) };
                let flipped = i32::from((x ^ form.flip(w as u8)) as i8);
                let product = i32::from(w.unsigned_abs()) * flipped;
                assert_eq!(product + form.surplus(w), i32::from(w) * value, "{w} {x}");
            }
        }
    }

    #[test]
    fn columns_of_a_merged_row_are_one_run() {
        let w: Vec<u8> = (1..=6).collect();
        let op = PackPanels { merged: true, ..panels_of([1, 1, 2, 3], [1, 4]) };
        let zeros = [0; 12];
        assert_eq!(op.pack(&w), [&[1, 2, 3, 4][..], &zeros, &[5, 6, 0, 0], &zeros].concat());
    }

    #[test]
    fn runs_are_filled_up_to_whole_steps() {
        let w: Vec<u8> = (1..=10).collect();
        let op = PackPanels { whole: 12, ..panels_of([2, 1, 1, 5], [1, 4]) };
        let short = panels_of([2, 1, 1, 5], [1, 4]).pack(&w);
        assert_eq!(op.pack(&w), [&short[..], &[0; 16]].concat());
        assert_eq!(op.bytes(), Some(48));
        assert_eq!(PackPanels { whole: 0, ..op }.bytes(), None);
    }

    #[test]
    fn wide_vectors_hold_channels_in_turns() {
        let shape = PanelShape::of(32, 8);
        let channels: Vec<u64> = (0..32).map(|s| shape.channel(s)).collect();
        assert_eq!(channels[..8], [0, 1, 2, 3, 16, 17, 18, 19]);
        assert_eq!(channels[8..16], [4, 5, 6, 7, 20, 21, 22, 23]);
        assert_eq!(PanelShape::of(24, 8).vectors, 4, "three vectors take the room of four");
        let mut all = channels;
        all.sort();
        assert!(all.into_iter().eq(0..32));
    }

    #[test]
    fn blocks_stand_row_by_row_and_split_what_exceeds_a_byte() {
        let w: Vec<u8> = [200i16, -3].iter().flat_map(|v| v.to_le_bytes()).collect();
        let op = PackBlocks {
            first: 0,
            strides: [2, 2, 2],
            shape: [2, 1, 1],
            repeat: 1,
            wide: true,
            block: [1, 4],
            form: WeightForm::Bytes,
            addends: 2,
        };
        let packed = op.pack(&w);
        assert_eq!(packed.len() as u64, op.bytes().expect("small"));
        assert_eq!(packed[..8], [127, 0, 0, 0, 253, 0, 0, 0]);
        assert_eq!(packed[16..24], [73, 0, 0, 0, 0, 0, 0, 0]);
        let pairs = PackBlocks { form: WeightForm::Pairs, addends: 1, ..op };
        assert_eq!(pairs.pack(&w)[..8], [200, 0, 0, 0, 253, 255, 0, 0]);
        let strides = [1, 1, 1];
        let flips =
            PackBlocks { form: WeightForm::FlipsU8, wide: false, strides, addends: 1, ..op };
        let packed = flips.pack(&[0xFD, 5]);
        assert_eq!(packed.len() as u64, flips.bytes().expect("small"));
        assert_eq!(packed[..8], [3, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(packed[16..24], [0x7F, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]);
    }
}
