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

/// What sums of 8-bit weights with activations stored as `x` add up in: int32, or int64 for 16-bit
/// activations (|code − zero point| ≤ `reach`) unless int32 provably holds every sum.
pub fn accumulator_dtype(x: DType, weights: Option<&Tensor>, reach: i64) -> DType {
    if x != DType::I16 {
        return DType::I32;
    }
    // Half of int32 is left for the bias.
    let limit = 1i64 << 30;
    let per_output = |w: &Tensor| {
        let n = w.shape().first().copied().unwrap_or(1).max(1);
        let rows = w.to_i64_vec();
        let block = if n == 1 { 1 } else { rows.len() / n };
        let sums = rows.chunks(block.max(1)).map(|row| row.iter().map(|v| v.abs()).sum::<i64>());
        let largest = sums.max().unwrap_or(0);
        // [1,KH,KW,C]: as many taps per output as there are rows.
        let taps = if n == 1 { w.shape().iter().rev().skip(1).product::<usize>() } else { 1 };
        largest.saturating_mul(taps as i64)
    };
    let bound = weights.map(|w| per_output(w).saturating_mul(reach));
    if bound.is_some_and(|b| b < limit) { DType::I32 } else { DType::I64 }
}

/// The codes of a bias: nearest multiple of the scale (one, or one per channel) in f64, halves away
/// from zero. `None` where one does not fit `dtype` with room for the sum.
pub fn bias_codes(b: &[f32], scales: &[f64], dtype: DType) -> Option<Tensor> {
    let limit = if dtype == DType::I64 { 1i64 << 46 } else { 1i64 << 30 };
    let mut out = Tensor::zeros(dtype, vec![b.len()]);
    for (i, &v) in b.iter().enumerate() {
        let scale = if scales.len() == 1 { scales[0] } else { *scales.get(i)? };
        let code = match v == 0.0 {
            true => 0.0,
            false => fx::round_half_away_f64(f64::from(v) / scale),
        };
        if code.is_nan() || code.abs() >= limit as f64 {
            return None;
        }
        out.set_i64(i, code as i64);
    }
    Some(out)
}

/// The type of a bias of these scales.
pub fn bias_type(scales: &[f64], dtype: DType) -> QuantType {
    let affine = |&s: &f64| Affine::new(s as f32, 0);
    match scales {
        [one] => QuantType::per_tensor(dtype, *one as f32, 0),
        all => QuantType::per_axis(dtype, 0, all.iter().map(affine).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_become_parameters_as_the_converter_has_them() {
        let of = |min, max| Grid::signed(8, false).from_range(min, max).unwrap();
        let p = of(0.0, 1.0);
        assert_eq!((p.scale as f32, p.zero_point), (0.003_921_569, -128));
        assert_eq!(of(0.0, 6.0).scale as f32, 0.023_529_412);
        // Ranges that miss zero move.
        assert_eq!(of(0.02, 1.0).zero_point, -128);
        assert_eq!(of(-3.0, -0.05).zero_point, 127);
        let w = Grid::signed(8, true).from_range(-1.27, 1.27).unwrap();
        assert_eq!((w.scale as f32, w.zero_point), (0.01, 0));
        assert_eq!(Grid::signed(4, true).range, [-7, 7]);
        assert_eq!(Grid::signed(16, false), Grid { storage: DType::I16, range: [-32768, 32767] });
    }

    #[test]
    fn what_is_no_range() {
        let of = |min, max| Grid::signed(8, false).from_range(min, max);
        assert_eq!(of(0.0, 0.0), Some(Exact { scale: 1.0, zero_point: 0 }));
        for (min, max) in [(1.0, 1.0), (1.0, 0.0), (f32::NAN, 1.0), (0.0, f32::INFINITY)] {
            assert_eq!(of(min, max), None, "{min} {max}");
        }
    }

    #[test]
    fn codes_are_nearest_in_f64_per_slice() {
        let grid = Grid::signed(4, true);
        let params = [Exact { scale: 0.5, zero_point: 0 }, Exact { scale: 1.0, zero_point: 0 }];
        let mut x = Tensor::zeros(DType::F32, vec![2, 2]);
        for (i, v) in [0.75, 0.5, -9.0, -2.4].into_iter().enumerate() {
            x.set_f64(i, v);
        }
        assert_eq!(grid.codes(&x, &params, Some(1)).to_i64_vec(), [2, 1, -7, -2]);
        assert_eq!(grid.codes(&x, &params, Some(0)).to_i64_vec(), [2, 1, -7, -2]);
        let q = grid.quant_type(&params, Some(1));
        let back = dequantize(&grid.codes(&x, &params, Some(1)), &q);
        assert_eq!(back.to_f64_vec(), [1.0, 1.0, -3.5, -2.0]);
    }

    #[test]
    fn biases_are_codes_of_the_product_of_scales() {
        let codes = bias_codes(&[1.0, -0.3, 0.0], &[0.5, 0.25, 0.0], DType::I32).unwrap();
        assert_eq!(codes.to_i64_vec(), [2, -1, 0]);
        assert_eq!(bias_codes(&[1.0], &[1e-12], DType::I32), None);
        assert!(bias_codes(&[1.0], &[1e-12], DType::I64).is_some());
    }

    #[test]
    fn sixteen_bit_activations_add_up_in_int32_where_that_holds_all_sums() {
        let mut w = Tensor::zeros(DType::I8, vec![2, 100]);
        (0..200).for_each(|i| w.set_i64(i, 127));
        assert_eq!(accumulator_dtype(DType::I8, Some(&w), 255), DType::I32);
        assert_eq!(accumulator_dtype(DType::I16, Some(&w), 65535), DType::I32);
        assert_eq!(accumulator_dtype(DType::I16, Some(&w), 100_000), DType::I64);
        assert_eq!(accumulator_dtype(DType::I16, None, 1), DType::I64);
    }
}
