//! Forms of requantization of the convolution family.

use crate::analysis::acc_range::acc_range;
use crate::kernels::conv_consts::channels;
use crate::kernels::layer::Layer;
use crate::kernels::requant::Channel;
use crate::kernels::site::Site;
use qcc_ir::DType;
use qcc_ir::dialect::int::{ConvKernel, ProvenForm, ProvenForms, Rescale};
use qcc_runtime::Tensor;
use qcc_runtime::rescale::{LayerProof, Reference, RescaleForm, prove_layer_explained};

/// Calls that one op may be split into, one per run of channels.
const MAX_RUNS: usize = 8;

/// What was proven of an op.
pub(super) struct Proof {
    /// The forms.
    pub forms: ProvenForms,
    /// Scale and offset of each channel, f64 `[O, 2]`.
    pub constants: Tensor,
    /// The same in words, and what was tried in vain.
    pub remarks: Vec<String>,
}

/// The forms of an op whose kernel is chosen.
///
/// # Errors
/// Why its accumulators are not known.
pub(super) fn prove(site: &Site, layer: &Layer) -> Result<Proof, String> {
    let channels = channels(site, layer)?;
    let range = acc_range(site.module, site.func, site.op);
    let range = range.ok_or("its weights or bias are not constant")?;
    if let Some(channel) = range.first_overflow() {
        return Err(format!("the sums of channel {channel} can wrap"));
    }
    if range.dtype != DType::I32 && range.bits() > 32 {
        return Err("sums need more than 32 bits".into());
    }
    let ranges: Vec<(i64, i64)> = range.channels.iter().map(|&[lo, hi]| (lo, hi)).collect();
    let layer = Channels { site, layer, channels, ranges };
    let blocks = layer.prove(layer.block());
    let runs = runs(&blocks);
    if runs.0.len() <= MAX_RUNS {
        return Ok(layer.proof(runs, &blocks));
    }
    let whole = layer.prove(layer.channels.len());
    Ok(layer.proof(self::runs(&whole), &whole))
}

/// An op's channels and what their accumulators can be.
struct Channels<'a> {
    site: &'a Site<'a>,
    layer: &'a Layer<'a>,
    channels: Vec<Channel>,
    ranges: Vec<(i64, i64)>,
}

impl Channels<'_> {
    /// Channels that have one form: those of a tile; all where there are groups, whose tiles are
    /// those of several calls.
    fn block(&self) -> usize {
        match self.layer.kernel {
            ConvKernel::Blocks(tile, _) => tile.channels() as usize,
            ConvKernel::Panels(tile)
            | ConvKernel::PanelsInside(tile)
            | ConvKernel::Tiles(tile, _)
                if self.layer.groups == 1 =>
            {
                tile.channels() as usize
            }
            _ => self.channels.len(),
        }
    }

    /// Proofs of blocks of `block` channels, with the end of each.
    fn prove(&self, block: usize) -> Vec<(usize, LayerProof)> {
        let prefer = preferred_forms(self.site, self.layer);
        let (zp, lo, hi) = (self.layer.y_zp, self.layer.lo, self.layer.hi);
        let mut end = 0;
        let blocks = self.channels.chunks(block.max(1)).zip(self.ranges.chunks(block.max(1)));
        blocks
            .map(|(own, ranges)| {
                let refs: Vec<Reference> = own.iter().map(|c| reference(self.layer, c)).collect();
                end += own.len();
                (end, prove_layer_explained(&refs, zp, lo, hi, ranges, &prefer))
            })
            .collect()
    }

    fn proof(&self, forms: ProvenForms, blocks: &[(usize, LayerProof)]) -> Proof {
        let mut constants = Tensor::zeros(DType::F64, [self.channels.len(), 2]);
        for (i, c) in blocks.iter().flat_map(|(_, proof)| &proof.channels).enumerate() {
            constants.set_f64(2 * i, c.scale);
            constants.set_f64(2 * i + 1, c.bias);
        }
        let mut remarks = Vec::new();
        let mut start = 0;
        for f in &forms.0 {
            remarks.push(format!("requantization {} on channels {start}..{}", f.form, f.end));
            start = f.end;
        }
        let mut start = 0;
        for (end, proof) in blocks {
            if proof.form == RescaleForm::Exact {
                let failed = |(form, c): &(RescaleForm, usize)| format!("{form} at {}", start + c);
                let failed: Vec<String> = proof.failures.iter().map(failed).collect();
                remarks.push(format!("not proven, channel: {}", failed.join(", ")));
            }
            start = *end;
        }
        Proof { forms, constants, remarks }
    }
}

/// Neighbouring blocks of one form as one.
fn runs(blocks: &[(usize, LayerProof)]) -> ProvenForms {
    let mut runs: Vec<ProvenForm> = Vec::new();
    for (end, proof) in blocks {
        let end = *end as u32;
        match runs.last_mut() {
            Some(last) if last.form == proof.form => last.end = end,
            _ => runs.push(ProvenForm { form: proof.form, end }),
        }
    }
    ProvenForms(runs)
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
