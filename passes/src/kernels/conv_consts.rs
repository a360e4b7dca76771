//! Constants of convolution layers: multipliers, and how accumulators become codes.

use super::Arg;
use super::conv::Conv;
use super::depthwise::Depthwise;
use super::layer::Layer;
use super::requant::{Channel, Finish};
use super::site::Site;
use crate::int_ops::conv_operand;
use qcc_ir::dialect::int::{ProvenForm, Rescale};
use qcc_ir::dialect::loops::WeightForm;
use qcc_ir::packing::PanelShape;
use qcc_runtime::Tensor;
use qcc_runtime::fixedpoint::Multiplier;
use qcc_runtime::rescale::{RescaleChannel, RescaleForm};

/// Every output channel's bias and multiplier.
pub(crate) fn channels(site: &Site, layer: &Layer) -> Result<Vec<Channel>, String> {
    let n = layer.y.shape[3] as usize;
    let bias = site.require_constant(conv_operand::BIAS, "the bias")?;
    let mult = site.require_constant(conv_operand::MULT, "the multiplier")?;
    let shift = site.require_constant(conv_operand::SHIFT, "the shift")?;
    let proven = site.func.operands(site.op).get(conv_operand::PROVEN);
    let proven = proven.and_then(|&v| site.constant(v)).filter(|t| !t.is_empty());
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
        let of_channel = |k: usize| proven.as_ref().map_or(0.0, |t| t.get_f64(2 * i + k));
        let cheap = RescaleChannel { scale: of_channel(0), bias: of_channel(1) };
        Channel { bias: bias.get_i64(at(&bias, i)), mult, mult_f64, cheap }
    };
    Ok((0..n).map(channel).collect())
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

/// The requantization of a layer: what `prove-rescale` proved, else the reference's.
pub(super) fn runs(layer: &Layer) -> Vec<Run> {
    let exact = exact_finish(layer);
    let mut start = 0;
    let run = |f: &ProvenForm| {
        let run = Run { start, end: f.end as usize, finish: Finish { form: f.form, ..exact } };
        start = run.end;
        run
    };
    let runs: Vec<Run> = layer.forms.0.iter().map(run).collect();
    match runs.is_empty() {
        true => vec![Run { start: 0, end: layer.y.shape[3] as usize, finish: exact }],
        false => runs,
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

/// Channels from `first` on, with what their biases are to have more as the weights stand in `form`.
pub(super) fn with_surplus(
    layer: &Layer,
    form: WeightForm,
    first: u64,
    channels: &[Channel],
) -> Vec<Channel> {
    let Some(w) = layer.w.as_ref().filter(|_| form.has_flips()) else { return channels.to_vec() };
    let (s, shape) = (&layer.w_view.strides, &layer.w_view.shape);
    let of_weight: Vec<i32> = (0..=u8::MAX).map(|w| form.surplus(w as i8)).collect();
    let of_run = |at: u64| -> i64 {
        let taps = (0..shape[3]).map(|i| (at + i * s[3]) as usize);
        taps.map(|at| i64::from(of_weight[usize::from(w.bytes[at])])).sum()
    };
    let of_channel = |o: u64| -> i64 {
        let runs = (0..shape[1]).flat_map(|row| (0..shape[2]).map(move |column| [row, column]));
        runs.map(|[row, column]| of_run(o * s[0] + row * s[1] + column * s[2])).sum()
    };
    let more = |(o, c): (u64, &Channel)| Channel { bias: c.bias + of_channel(o), ..*c };
    (first..).zip(channels).map(more).collect()
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
