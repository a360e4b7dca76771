//! Fake quantization and dynamic quantization.

use super::super::int::operand;
use super::floats;
use crate::dialect::nn::{FakeQuant, Halves, QuantizeAndDequantize};
use crate::numerics::float::{
    dynamic_grid, fake_quant as on_grid, fake_quant_grid, symmetric_grid,
};
use qcc_runtime::Tensor;
use qcc_runtime::float::{self, F32, Floats};

pub(super) fn fake_quant(o: &FakeQuant, xs: &[Vec<f32>]) -> Result<Vec<f32>, String> {
    let [x, min, max] = xs else { return Err("three operands".into()) };
    if min.is_empty() || min.len() != max.len() {
        return Err(format!("{} minima, {} maxima", min.len(), max.len()));
    }
    let grid = |(&min, &max)| fake_quant_grid(&mut F32, (o.num_bits, o.narrow_range), [min, max]);
    let grids: Vec<_> = min.iter().zip(max).map(grid).collect();
    let one = |(i, &v): (usize, &f32)| on_grid(&mut F32, o.form, &grids[i % grids.len()], v);
    Ok(x.iter().enumerate().map(one).collect())
}

pub(super) fn quantize_and_dequantize(
    o: &QuantizeAndDequantize,
    xs: &[&Tensor],
) -> Result<Vec<f32>, String> {
    let x = operand(xs, 0)?;
    let all = floats(x);
    let (n, inner) = match usize::try_from(o.axis) {
        Ok(axis) => {
            let n = *x.shape().get(axis).ok_or("the axis is not in the shape")?;
            (n.max(1), x.shape()[axis + 1..].iter().product::<usize>().max(1))
        }
        Err(_) => (1, 1),
    };
    let slice = |i: usize| if n == 1 { 0 } else { i / inner % n };
    let given = xs.len() > 2;
    let ranges = match given {
        true => floats(xs[1]).into_iter().zip(floats(xs[2])).map(|(a, b)| [a, b]).collect(),
        false => ranges_of(&all, n, slice),
    };
    if ranges.len() != n {
        return Err(format!("{} ranges for {n} slices", ranges.len()));
    }
    let form = (o.num_bits, o.signed, o.narrow_range);
    let grids: Vec<_> = ranges.iter().map(|&r| symmetric_grid(&mut F32, form, r)).collect();
    let one = |(i, &v): (usize, &f32)| {
        let g = &grids[slice(i)];
        let v = if given && o.limit { limit(v, g.range) } else { v };
        let steps = v * g.scale;
        let code = match o.halves {
            Halves::Even => float::round_even(&mut F32, steps),
            Halves::Up => float::floor(&mut F32, steps + 0.5),
        };
        code * g.inv_scale
    };
    Ok(all.iter().enumerate().map(one).collect())
}

/// Smallest and largest element of each slice; NaN where one is.
fn ranges_of(all: &[f32], n: usize, slice: impl Fn(usize) -> usize) -> Vec<[f32; 2]> {
    let mut out = vec![[f32::INFINITY, f32::NEG_INFINITY]; n];
    for (i, &v) in all.iter().enumerate() {
        let [low, high] = out[slice(i)];
        out[slice(i)] = [F32.min(low, v), F32.max(high, v)];
    }
    out
}

fn limit(v: f32, [low, high]: [f32; 2]) -> f32 {
    let v = if v < low { low } else { v };
    if v > high { high } else { v }
}

/// y, scale and zero point.
pub(super) fn dynamic_quantize(x: &Tensor) -> Result<Vec<Tensor>, String> {
    let all = floats(x);
    let min = all.iter().fold(0.0, |a, &b| if b < a { b } else { a });
    let max = all.iter().fold(0.0, |a, &b| if a < b { b } else { a });
    let (scale, zero_point) = dynamic_grid(&mut F32, [min, max]);
    let code = |&v: &f32| {
        let steps = float::round_even(&mut F32, v / scale);
        // NaN becomes the smallest code.
        let code = steps + zero_point;
        if code >= 0.0 { F32.min(code, 255.0) as u8 } else { 0 }
    };
    let codes: Vec<u8> = all.iter().map(code).collect();
    let y = Tensor::from_slice(&codes, x.shape().to_vec());
    let scale = Tensor::from_slice(&[scale], []);
    let zero_point = Tensor::from_slice(&[zero_point as u8], []);
    [y, scale, zero_point].into_iter().collect::<Result<_, _>>().map_err(|e| e.to_string())
}
