//! Constants of convolution layers: weights, multipliers, and how accumulators become codes.

use super::Arg;
use super::conv::{Conv, PanelShape};
use super::conv_lower::Layer;
use super::depthwise::Depthwise;
use super::requant::{Channel, Finish};
use super::site::Site;
use qcc_ir::DType;
use qcc_ir::dialect::int::Rescale;
use qcc_runtime::Tensor;
use qcc_runtime::fixedpoint::Multiplier;
use qcc_runtime::rescale::{
    LayerProof, Reference, RescaleChannel, RescaleForm, prove_layer_explained,
};

/// Every output channel's bias and multiplier.
pub(super) fn channels(site: &Site, layer: &Layer) -> Result<Vec<Channel>, String> {
    let n = layer.y.shape[3] as usize;
    let bias = site.require_constant(2, "the bias")?;
    let mult = site.require_constant(3, "the multiplier")?;
    let shift = site.require_constant(4, "the shift")?;
    let at = |t: &Tensor, i: usize| if t.len() == 1 { 0 } else { i };
    let channel = |i: usize| {
        let (mult, mult_f64) = match layer.rescale {
            Rescale::F64 | Rescale::F32Even => {
                (Multiplier { mantissa: 0, shift: 0 }, mult.get_f64(at(&mult, i)))
            }
            _ => {
                let m = mult.get_i64(at(&mult, i)) as i32;
                let s = shift.get_i64(at(&shift, i)) as i32;
                (Multiplier { mantissa: m, shift: s }, 0.0)
            }
        };
        let cheap = RescaleChannel { scale: 0.0, bias: 0.0 };
        Channel { bias: bias.get_i64(at(&bias, i)), mult, mult_f64, cheap }
    };
    Ok((0..n).map(channel).collect())
}

/// Each channel's smallest and largest accumulator: bias + Σ over taps of the extreme products.
pub(super) fn accumulator_ranges(layer: &Layer, channels: &[Channel]) -> Vec<(i64, i64)> {
    let (x_min, x_max) = layer.x.dtype.min_max();
    let w = Weights::new(layer);
    let range = |(o, c): (usize, &Channel)| {
        let (below, above) = w.sums(layer, o as u64);
        (c.bias + above * x_min + below * x_max, c.bias + above * x_max + below * x_min)
    };
    channels.iter().enumerate().map(range).collect()
}

/// Constant weights by `[O, KH, KW, I]` index.
pub(super) struct Weights<'a> {
    bytes: &'a [u8],
    pub(super) dtype: DType,
    strides: &'a [u64],
    /// Input channels per output channel.
    channels: u64,
}

impl<'a> Weights<'a> {
    pub(super) fn new(layer: &'a Layer) -> Self {
        let w = layer.w.as_ref().expect("the caller checked that weights are constant");
        let (strides, channels) = (&layer.w_view.strides, layer.w_view.shape[3]);
        Weights { bytes: w.bytes(), dtype: w.dtype(), strides, channels }
    }
    /// Sums of the negative and of the positive weights (less their zero point) of an output
    /// channel.
    fn sums(&self, layer: &Layer, o: u64) -> (i64, i64) {
        let (kh, kw) = (layer.w_view.shape[1], layer.w_view.shape[2]);
        let (mut below, mut above) = (0, 0);
        let mut add = |v: i64| if v < 0 { below += v } else { above += v };
        let zp = i64::from(layer.w_zp);
        let mut bytes = Vec::new();
        for (kh, kw) in (0..kh).flat_map(|h| (0..kw).map(move |w| (h, w))) {
            if self.dtype == DType::I8 {
                bytes.clear();
                self.channels_of(o, kh, kw, &mut bytes);
                bytes.iter().for_each(|&b| add(i64::from(b as i8) - zp));
            } else {
                (0..self.channels).for_each(|i| add(self.at(o, kh, kw, i) - zp));
            }
        }
        (below, above)
    }
    /// Appends all input channels of a tap of int8 weights.
    pub(super) fn channels_of(&self, o: u64, kh: u64, kw: u64, out: &mut Vec<u8>) {
        let s = self.strides;
        let at = (o * s[0] + kh * s[1] + kw * s[2]) as usize;
        match s[3] {
            1 => out.extend_from_slice(&self.bytes[at..at + self.channels as usize]),
            step => out.extend((0..self.channels).map(|i| self.bytes[at + (i * step) as usize])),
        }
    }
    pub(super) fn at(&self, o: u64, kh: u64, kw: u64, i: u64) -> i64 {
        let s = self.strides;
        let at = (o * s[0] + kh * s[1] + kw * s[2] + i * s[3]) as usize;
        match self.dtype {
            DType::I8 => i64::from(self.bytes[at] as i8),
            DType::U8 => i64::from(self.bytes[at]),
            _ => i64::from(i16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])),
        }
    }
}

/// Consecutive output channels that share a form.
pub(super) struct Run {
    /// First channel.
    pub start: usize,
    /// One past the last channel.
    pub end: usize,
    /// Their requantization.
    pub finish: Finish,
}

/// Calls that one layer may be split into.
const MAX_RUNS: usize = 8;

/// The requantization of a layer: runs of blocks of `block` channels, each with the cheapest form
/// proven on all its channels. A layer that would fall into many runs gets one form.
pub(super) fn finish_runs(
    site: &Site,
    layer: &Layer,
    channels: &mut [Channel],
    block: usize,
) -> Vec<Run> {
    let ranges = accumulator_ranges(layer, channels);
    let fits = |r: &(i64, i64)| r.0 >= i64::from(i32::MIN) && r.1 <= i64::from(i32::MAX);
    let n = channels.len();
    if !ranges.iter().all(fits) {
        site.remark("accumulators can overflow int32 (they wrap, as in the reference)");
        return vec![Run { start: 0, end: n, finish: exact_finish(layer) }];
    }
    let mut runs = prove_blocks(site, layer, channels, &ranges, block);
    if runs.len() > MAX_RUNS {
        runs = prove_blocks(site, layer, channels, &ranges, n);
    }
    for r in &runs {
        let Run { start, end, finish } = r;
        site.remark(format!("requantization {:?} on channels {start}..{end}", finish.form));
    }
    runs
}

fn prove_blocks(
    site: &Site,
    layer: &Layer,
    channels: &mut [Channel],
    ranges: &[(i64, i64)],
    block: usize,
) -> Vec<Run> {
    let prefer = preferred_forms(site, layer);
    let (zp, lo, hi) = (layer.y_zp, layer.lo, layer.hi);
    let mut runs: Vec<Run> = Vec::new();
    let mut start = 0;
    for (own, ranges) in channels.chunks_mut(block).zip(ranges.chunks(block)) {
        let refs: Vec<Reference> = own.iter().map(|c| reference(layer, c)).collect();
        let LayerProof { form, channels: cheap, .. } =
            prove_layer_explained(&refs, zp, lo, hi, ranges, &prefer);
        for (c, proven) in own.iter_mut().zip(cheap) {
            c.cheap = proven;
        }
        let end = start + own.len();
        match runs.last_mut() {
            Some(last) if last.finish.form == form => last.end = end,
            _ => runs.push(Run { start, end, finish: Finish { form, ..exact_finish(layer) } }),
        }
        start = end;
    }
    runs
}

fn reference(layer: &Layer, c: &Channel) -> Reference {
    match layer.rescale {
        Rescale::F64 => Reference::F64(c.mult_f64),
        Rescale::F32Even => Reference::F32Even(c.mult_f64 as f32),
        _ => Reference::DoubleRounding(c.mult),
    }
}

/// Cheapest first; what is not proven by any runs the reference.
fn preferred_forms(site: &Site, layer: &Layer) -> Vec<RescaleForm> {
    use RescaleForm::{ReluF32, ReluF64, ReluFma, SignedF32, SignedF64, SignedFma};
    if layer.rescale == Rescale::F32Even {
        // Halves to even on both sides of zero: nothing depends on the sign.
        let fused = site.machine.fma.then_some(ReluFma);
        return fused.into_iter().chain([ReluF32, SignedF64]).collect();
    }
    match (layer.lo >= layer.y_zp, site.machine.fma) {
        (true, true) => vec![ReluFma, ReluF64, SignedF64],
        (true, false) => vec![ReluF32, ReluF64, SignedF64],
        (false, true) => vec![SignedFma, SignedF64],
        (false, false) => vec![SignedF32, SignedF64],
    }
}

pub(super) fn exact_finish(layer: &Layer) -> Finish {
    Finish {
        form: RescaleForm::Exact,
        reference: layer.rescale,
        dtype: layer.y.dtype,
        zp: layer.y_zp,
        lo: layer.lo,
        hi: layer.hi,
    }
}

/// Tables of all panels of a convolution.
pub(super) fn conv_tables(conv: &Conv, channels: &[Channel]) -> Vec<u8> {
    let panel = |(start, shape): (u64, PanelShape)| {
        let slot = |s: u64| channels.get((start + shape.channel(s)) as usize);
        let slots: Vec<Option<&Channel>> = (0..shape.slots()).map(slot).collect();
        conv.finish.pack_table(&slots, (conv.width / 4) as usize)
    };
    conv.panels().into_iter().flat_map(panel).collect()
}

/// Tables of all blocks of a depthwise convolution.
pub(super) fn depthwise_tables(dw: &Depthwise, channels: &[Channel]) -> Vec<u8> {
    let block = |own: &[Channel]| {
        let slots: Vec<Option<&Channel>> = dw.slots().map(|s| own.get(s as usize)).collect();
        dw.finish.pack_table(&slots, (dw.width / 4) as usize)
    };
    channels.chunks(dw.block() as usize).flat_map(block).collect()
}

pub(super) fn constant(name: &str, bytes: Vec<u8>) -> Arg {
    Arg::Const { name: name.to_string(), bytes }
}
