//! What `select-kernels` and `prove-rescale` note on an op: neither changes what it computes.

use crate::{Attr, AttrValue};
use qcc_runtime::rescale::RescaleForm;
use std::fmt;

/// Which kernel computes a convolution or matrix product.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ConvKernel {
    /// Not chosen yet.
    #[default]
    Auto,
    /// One product at a time, the reference's requantization.
    Scalar,
    /// Register tiles of dot products over panels of output channels.
    Panels(TileShape),
    /// Panels, all of which are computed for a tile of pixels before the next tile.
    PanelsInside(TileShape),
    /// Panels with accumulators in tile registers; this many bytes of a run per dot product.
    Tiles(TileShape, u32),
    /// Depthwise: blocks of channels, this many pixels of a row as one with all their channels.
    Blocks(TileShape, u32),
}

/// What a kernel holds in registers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TileShape {
    /// Bits of a vector: 128, 256 or 512.
    pub bits: u32,
    /// Output pixels per tile.
    pub pixels: u32,
    /// Vectors of accumulators per pixel.
    pub vectors: u32,
}

/// A number of pixels, vectors or bytes, as small as any kernel has.
fn count(text: &str) -> Option<u32> {
    text.parse().ok().filter(|n| (1..=64).contains(n))
}

impl TileShape {
    /// i32 lanes of a vector.
    pub fn lanes(self) -> u32 {
        self.bits / 32
    }
    /// Output channels per tile.
    pub fn channels(self) -> u32 {
        self.lanes() * self.vectors
    }
    /// Can its codes be packed? Wide vectors are packed four, two or one at a time.
    pub fn packs(self) -> bool {
        self.bits == 128 || self.vectors % 4 != 3
    }
    fn parse(bits: &str, tile: &str) -> Option<TileShape> {
        let (pixels, vectors) = tile.split_once('x')?;
        let bits = bits.parse().ok().filter(|b| matches!(b, 128 | 256 | 512))?;
        Some(TileShape { bits, pixels: count(pixels)?, vectors: count(vectors)? })
    }
}

impl fmt::Display for TileShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}x{}", self.bits, self.pixels, self.vectors)
    }
}

impl fmt::Display for ConvKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConvKernel::Auto => write!(f, "auto"),
            ConvKernel::Scalar => write!(f, "scalar"),
            ConvKernel::Panels(tile) => write!(f, "panels {tile}"),
            ConvKernel::PanelsInside(tile) => write!(f, "panels-inside {tile}"),
            ConvKernel::Tiles(tile, step) => write!(f, "tiles {tile} by {step}"),
            ConvKernel::Blocks(tile, 1) => write!(f, "blocks {tile}"),
            ConvKernel::Blocks(tile, pixels) => write!(f, "blocks {tile} of {pixels}"),
        }
    }
}

impl ConvKernel {
    fn parse(text: &str) -> Option<ConvKernel> {
        let words: Vec<&str> = text.split_whitespace().collect();
        Some(match words[..] {
            ["auto"] => ConvKernel::Auto,
            ["scalar"] => ConvKernel::Scalar,
            ["panels", bits, tile] => ConvKernel::Panels(TileShape::parse(bits, tile)?),
            ["panels-inside", bits, tile] => {
                ConvKernel::PanelsInside(TileShape::parse(bits, tile)?)
            }
            ["tiles", bits, tile, "by", step] => {
                let step = count(step).filter(|step| step % 4 == 0)?;
                ConvKernel::Tiles(TileShape::parse(bits, tile)?, step)
            }
            ["blocks", bits, tile] => ConvKernel::Blocks(TileShape::parse(bits, tile)?, 1),
            ["blocks", bits, tile, "of", n] => {
                ConvKernel::Blocks(TileShape::parse(bits, tile)?, count(n)?)
            }
            _ => return None,
        })
    }
}

impl AttrValue for ConvKernel {
    const TYPE: &'static str = "kernel";
    fn to_attr(&self) -> Option<Attr> {
        Some(Attr::Str(self.to_string()))
    }
    fn from_attr(attr: &Attr) -> Result<Self, String> {
        let found = match attr {
            Attr::Str(text) => ConvKernel::parse(text),
            _ => None,
        };
        found.ok_or_else(|| {
            format!(
                "expected \"scalar\", \"panels BITS PIXELSxVECTORS\", \"panels-inside …\", \
                 \"tiles BITS PIXELSxVECTORS by BYTES\" or \"blocks BITS PIXELSxVECTORS of PIXELS\", found {attr}"
            )
        })
    }
}

/// Forms of requantization, each proven for the channels up to `end` from where the form before
/// ends. None: every channel has the reference's.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ProvenForms(pub Vec<ProvenForm>);

/// One form of [`ProvenForms`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ProvenForm {
    /// The form.
    pub form: RescaleForm,
    /// One past its last channel.
    pub end: u32,
}

impl ProvenForms {
    /// Do the forms reach channel `n`, each having a channel of its own?
    pub fn cover(&self, n: u64) -> bool {
        let rising = self.0.windows(2).all(|two| two[0].end < two[1].end);
        let first = self.0.first().is_none_or(|f| f.end > 0);
        rising && first && self.0.last().is_none_or(|last| u64::from(last.end) == n)
    }
}

impl AttrValue for ProvenForms {
    const TYPE: &'static str = "forms";
    fn to_attr(&self) -> Option<Attr> {
        let runs: Vec<String> = self.0.iter().map(|f| format!("{}:{}", f.form, f.end)).collect();
        Some(Attr::Str(runs.join(" ")))
    }
    fn from_attr(attr: &Attr) -> Result<Self, String> {
        let run = |text: &str| {
            let (form, end) = text.split_once(':')?;
            Some(ProvenForm { form: form.parse().ok()?, end: end.parse().ok()? })
        };
        let all = match attr {
            Attr::Str(text) => text.split_whitespace().map(run).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        let all = all.ok_or_else(|| format!("expected \"FORM:END …\", found {attr}"))?;
        Ok(ProvenForms(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_and_forms_survive_their_text() {
        let tile = TileShape { bits: 256, pixels: 5, vectors: 2 };
        for kernel in [
            ConvKernel::Auto,
            ConvKernel::Scalar,
            ConvKernel::Panels(tile),
            ConvKernel::PanelsInside(tile),
            ConvKernel::Tiles(tile, 48),
            ConvKernel::Blocks(tile, 1),
            ConvKernel::Blocks(tile, 8),
        ] {
            let attr = kernel.to_attr().expect("a kernel has a text");
            assert_eq!(ConvKernel::from_attr(&attr), Ok(kernel), "{attr}");
        }
        let text = Attr::Str("relu_fma:48 exact:64".into());
        let forms = ProvenForms::from_attr(&text).expect("two forms");
        assert_eq!(forms.to_attr(), Some(text));
        assert!(forms.cover(64) && !forms.cover(63));
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        for text in [
            "panels",
            "panels 100 1x1",
            "panels 128 0x1",
            "blocks 128 1x2 of 0",
            "tiles 512 1x2 by 6",
        ] {
            let error = ConvKernel::from_attr(&Attr::Str(text.into())).expect_err("no kernel");
            assert!(error.contains(text), "{error}");
        }
        assert!(ProvenForms::from_attr(&Attr::Str("exact".into())).is_err());
        let falling = Attr::Str("exact:4 relu_fma:4".into());
        assert!(!ProvenForms::from_attr(&falling).expect("well formed").cover(4));
    }
}
