//! From ranges to scales, zero points and codes, as TensorFlow's converter computes them
//! (numerics.md A.3): in f64 from the f32 range; only the scale in the type is rounded to f32.

use qcc_ir::{Affine, DType, Numerics, QuantParams, QuantType};
use qcc_runtime::Tensor;
use qcc_runtime::fixedpoint as fx;

/// The codes that quantized values may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grid {
    /// How a code is stored.
    pub storage: DType,
    /// The smallest and largest code.
    pub range: [i32; 2],
}

/// Scale and zero point before the scale is rounded to f32.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Exact {
    /// Real units per code step.
    pub scale: f64,
    /// The code of zero.
    pub zero_point: i32,
}

impl Grid {
    /// Signed codes of `bits` bits (2 to 16): int8 storage up to 8, int16 above. Without the
    /// smallest code if `narrow`.
    pub fn signed(bits: u32, narrow: bool) -> Grid {
        let half = 1i32 << (bits.clamp(2, 16) - 1);
        let storage = if bits <= 8 { DType::I8 } else { DType::I16 };
        Grid { storage, range: [-half + i32::from(narrow), half - 1] }
    }
    /// The parameters that put [min, max] on this grid, zero being one of its points. `None` if
    /// the range is empty, turned round, not finite, or one number that is not zero.
    pub fn from_range(self, min: f32, max: f32) -> Option<Exact> {
        let [qmin, qmax] = self.range.map(f64::from);
        let (min, max) = (f64::from(min), f64::from(max));
        if min == 0.0 && max == 0.0 {
            let zero_point = 0.clamp(self.range[0], self.range[1]);
            return Some(Exact { scale: 1.0, zero_point });
        }
        let scale = (max - min) / (qmax - qmin);
        if !scale.is_finite() || scale <= 0.0 {
            return None;
        }
        // Of the two ways to place zero, the one with the smaller rounding error.
        let (from_min, from_max) = (qmin - min / scale, qmax - max / scale);
        let error = |q: f64, v: f64| q.abs() + (v / scale).abs();
        let z = if error(qmin, min) < error(qmax, max) { from_min } else { from_max };
        let zero_point = fx::round_half_away_f64(z.clamp(qmin, qmax)) as i32;
        Some(Exact { scale, zero_point })
    }
    /// The quantized type with these parameters: one for all, or one per slice along `axis`.
    pub fn quant_type(self, params: &[Exact], axis: Option<usize>) -> QuantType {
        let affine = |p: &Exact| Affine::new(p.scale as f32, p.zero_point);
        let params = match (axis, params) {
            (Some(axis), all) => {
                QuantParams::PerAxis { axis, params: all.iter().map(affine).collect() }
            }
            (None, all) => QuantParams::PerTensor(all.first().map_or(Affine::new(1.0, 0), affine)),
        };
        QuantType { storage: self.storage, range: self.range, expressed: DType::F32, params }
    }
    /// The codes of `x`: nearest in f64, halves away from zero.
    pub fn codes(self, x: &Tensor, params: &[Exact], axis: Option<usize>) -> Tensor {
        let mut out = Tensor::zeros(self.storage, x.shape());
        let slices = Slices::new(x.shape(), axis, params.len());
        for i in 0..x.len() {
            let p = params[slices.of(i)];
            let q = fx::round_half_away_f64(x.get_f64(i) / p.scale + f64::from(p.zero_point));
            // NaN becomes the zero point's neighbour 0, as `as` has it.
            out.set_i64(i, (q as i64).clamp(self.range[0].into(), self.range[1].into()));
        }
        out
    }
}

/// Which set of parameters an element has.
pub struct Slices {
    inner: usize,
    n: usize,
}

impl Slices {
    /// For a tensor of `shape` with `n` sets of parameters along `axis`.
    pub fn new(shape: &[usize], axis: Option<usize>, n: usize) -> Slices {
        let inner = axis.map_or(1, |a| shape.get(a + 1..).unwrap_or(&[]).iter().product());
        Slices { inner: inner.max(1), n: n.max(1) }
    }
    /// For a tensor of type `q`.
    pub fn of_type(shape: &[usize], q: &QuantType) -> Slices {
        let axis = match q.params {
            QuantParams::PerTensor(_) => None,
            QuantParams::PerAxis { axis, .. } => Some(axis),
        };
        Slices::new(shape, axis, q.affines().len())
    }
    /// The set of element `i`.
    pub fn of(&self, i: usize) -> usize {
        i / self.inner % self.n
    }
}

/// The reals behind constant codes, as `quant.dequantize` computes them.
pub fn dequantize(codes: &Tensor, q: &QuantType) -> Tensor {
    let mut out = Tensor::zeros(DType::F32, codes.shape());
    let slices = Slices::of_type(codes.shape(), q);
    let per_axis = q.uniform().is_none();
    for i in 0..codes.len() {
        let a = q.affines()[slices.of(i)];
        let (a, code) = (fx::Affine::new(a.scale, a.zero_point), codes.get_i64(i) as i32);
        let x = match per_axis {
            true => fx::dequantize_per_axis(code, a),
            false => fx::dequantize_per_tensor(code, a),
        };
        out.set_f64(i, x.into());
    }
    out
}

/// The codes of constant reals, as `quant.quantize` computes them.
pub fn quantize(x: &Tensor, q: &QuantType, numerics: Numerics) -> Tensor {
    let mut out = Tensor::zeros(q.storage, x.shape());
    let slices = Slices::of_type(x.shape(), q);
    let (lo, hi) = q.storage.min_max();
    for i in 0..x.len() {
        let a = q.affines()[slices.of(i)];
        let v = x.get_f64(i) as f32;
        let code = match numerics {
            Numerics::Onnx => {
                let steps = fx::round_half_even_f32(v / a.scale) as i64;
                steps.saturating_add(a.zero_point.into()).clamp(lo, hi)
            }
            _ => fx::quantize_f32(v, fx::Affine::new(a.scale, a.zero_point), q.storage).into(),
        };
        out.set_i64(i, code);
    }
    out
}
