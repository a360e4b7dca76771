//! Float ops: float32, one rounding per operation, sums in the order of the weights' layout.
//!
//! As TensorFlow Lite's reference kernels add: for each output from 0 over rows, columns and input
//! channels of the window, skipping what lies outside the image, then the bias.

use super::index::{broadcast, each, flat, four, tap};
use super::int::operand;
use crate::dialect::nn::{
    Add, AvgPool2d, Concat, Conv2d, DepthwiseConv2d, FakeQuant, FakeQuantForm, FullyConnected,
    MaxPool2d, Mean, Op, Softmax,
};
use crate::dialect::quant::Act;
use qcc_runtime::Tensor;

/// The result of `op` on `xs`, written into `y`.
pub(super) fn eval(op: &Op, xs: &[&Tensor], y: Tensor) -> Result<Tensor, String> {
    let x = floats(operand(xs, 0)?);
    let shape = operand(xs, 0)?.shape();
    match op {
        Op::FakeQuant(o) => fake_quant(o, xs, y),
        Op::Conv2d(o) => conv2d(o, xs, y),
        Op::DepthwiseConv2d(o) => depthwise(o, xs, y),
        Op::FullyConnected(o) => fully_connected(o, xs, y),
        Op::Add(o) => add(o, [operand(xs, 0)?, operand(xs, 1)?], y),
        Op::Activation(o) => Ok(fill(y, x.iter().map(|&v| activate(o.act, v)))),
        Op::MaxPool2d(o) => max_pool(o, shape, &x, y),
        Op::AvgPool2d(o) => avg_pool(o, shape, &x, y),
        Op::Mean(o) => mean(o, shape, &x, y),
        Op::Softmax(o) => softmax(o, shape, &x, y),
        Op::Concat(o) => concat(o, xs, y),
        Op::Reshape(_) => Ok(fill(y, x)),
        other => Err(format!("'{}' is not interpreted", other.spec().name)),
    }
}

fn floats(t: &Tensor) -> Vec<f32> {
    match t.as_slice::<f32>() {
        Ok(all) => all.to_vec(),
        Err(_) => t.to_f64_vec().iter().map(|&v| v as f32).collect(),
    }
}

/// `y` with these elements.
fn fill(mut y: Tensor, values: impl IntoIterator<Item = f32>) -> Tensor {
    let n = y.len();
    values.into_iter().take(n).enumerate().for_each(|(i, v)| y.set_f64(i, v.into()));
    y
}

/// min(max(v, lo), hi), and NaN stays NaN.
fn limit(v: f32, lo: f32, hi: f32) -> f32 {
    let v = if v < lo { lo } else { v };
    if v > hi { hi } else { v }
}

fn activate(act: Act, v: f32) -> f32 {
    match act {
        Act::None => v,
        Act::Relu => limit(v, 0.0, f32::INFINITY),
        Act::Relu6 => limit(v, 0.0, 6.0),
        Act::ReluN1To1 => limit(v, -1.0, 1.0),
    }
}

fn fake_quant(o: &FakeQuant, xs: &[&Tensor], y: Tensor) -> Result<Tensor, String> {
    let (x, min, max) = (floats(operand(xs, 0)?), floats(operand(xs, 1)?), floats(operand(xs, 2)?));
    if min.is_empty() || min.len() != max.len() {
        return Err(format!("{} minima, {} maxima", min.len(), max.len()));
    }
    let slice = |i: usize| i % min.len();
    let one = |(i, &v): (usize, &f32)| fake_quant_one(o, [min[slice(i)], max[slice(i)]], v);
    Ok(fill(y, x.iter().enumerate().map(one)))
}

/// numerics.md A.1; the two forms differ in how they reach the grid.
fn fake_quant_one(o: &FakeQuant, [min, max]: [f32; 2], x: f32) -> f32 {
    if min == 0.0 && max == 0.0 {
        return 0.0;
    }
    let q_min = f32::from(u8::from(o.narrow_range));
    let q_max = ((1u64 << o.num_bits.min(16)) - 1) as f32;
    let (scale, inv_scale) = ((max - min) / (q_max - q_min), (q_max - q_min) / (max - min));
    // `round` is half away from zero.
    let zero_point = limit(q_min - min / scale, q_min, q_max).round();
    let (low, high) = ((q_min - zero_point) * scale, (q_max - zero_point) * scale);
    let code_of_zero = ((-low * inv_scale) + 0.5).floor();
    let clamped = if x > high { high } else { x };
    let above = (if clamped < low { low } else { clamped }) - low;
    let code = match o.form {
        FakeQuantForm::Divide => above / scale,
        FakeQuantForm::Multiply => above * inv_scale,
    };
    (code - code_of_zero + 0.5).floor() * scale
}

// ---- sums of products ----

/// One bias per channel; zeros when there is none.
fn bias(xs: &[&Tensor], n_channels: usize) -> Result<Vec<f32>, String> {
    let all = xs.get(2).map_or_else(|| vec![0.0; n_channels], |b| floats(b));
    match all.len() == n_channels {
        true => Ok(all),
        false => Err(format!("{} biases for {n_channels} channels", all.len())),
    }
}

fn dot(start: f32, a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(start, |sum, (a, b)| sum + a * b)
}

/// A window over an image: kernel, stride, dilation, padding.
type Geometry = ([usize; 2], [u32; 2], [u32; 2], [u32; 4]);

/// The taps of output pixel (`oh`, `ow`) inside image `n`: first element of the pixel, tap number.
fn taps(
    ([kh, kw], stride, dilation, pad): Geometry,
    [_, h, w, c]: [usize; 4],
    [n, oh, ow]: [usize; 3],
) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    for k in 0..kh * kw {
        let row = tap(oh, stride[0], k / kw, dilation[0], pad[0], h);
        let column = tap(ow, stride[1], k % kw, dilation[1], pad[2], w);
        out.extend(row.zip(column).map(|(r, v)| (((n * h + r) * w + v) * c, k)));
    }
    out
}

fn conv2d(o: &Conv2d, xs: &[&Tensor], mut y: Tensor) -> Result<Tensor, String> {
    let (x, w) = (operand(xs, 0)?, operand(xs, 1)?);
    let [n_out, kh, kw, per_group] = four(w.shape())?;
    let (image, [n, oh, ow, _]) = (four(x.shape())?, four(y.shape())?);
    let (x, w, bias) = (floats(x), floats(w), bias(xs, n_out)?);
    let per_out = n_out.checked_div(o.groups as usize).ok_or("0 groups")?;
    let geometry = ([kh, kw], o.stride, o.dilation, o.pad);
    for pixel in 0..n * oh * ow {
        let taps = taps(geometry, image, [pixel / (oh * ow), pixel / ow % oh, pixel % ow]);
        for (c, b) in bias.iter().enumerate() {
            let first = c / per_out * per_group;
            let sum = taps.iter().fold(0.0, |sum, &(at, k)| {
                let weights = &w[(c * kh * kw + k) * per_group..][..per_group];
                dot(sum, &x[at + first..][..per_group], weights)
            });
            y.set_f64(pixel * n_out + c, activate(o.act, sum + b).into());
        }
    }
    Ok(y)
}

fn depthwise(o: &DepthwiseConv2d, xs: &[&Tensor], mut y: Tensor) -> Result<Tensor, String> {
    let (x, w) = (operand(xs, 0)?, operand(xs, 1)?);
    let [_, kh, kw, n_out] = four(w.shape())?;
    let (image, [n, oh, ow, _]) = (four(x.shape())?, four(y.shape())?);
    let (x, w, bias) = (floats(x), floats(w), bias(xs, n_out)?);
    let multiplier = n_out.checked_div(image[3]).ok_or("x has no channels")?;
    let geometry = ([kh, kw], o.stride, o.dilation, o.pad);
    for pixel in 0..n * oh * ow {
        let taps = taps(geometry, image, [pixel / (oh * ow), pixel / ow % oh, pixel % ow]);
        for (c, b) in bias.iter().enumerate() {
            let product = |&(at, k): &(usize, usize)| x[at + c / multiplier] * w[k * n_out + c];
            let sum = taps.iter().map(product).fold(0.0, |sum, p| sum + p);
            y.set_f64(pixel * n_out + c, activate(o.act, sum + b).into());
        }
    }
    Ok(y)
}

fn fully_connected(o: &FullyConnected, xs: &[&Tensor], mut y: Tensor) -> Result<Tensor, String> {
    let (x, w) = (operand(xs, 0)?, operand(xs, 1)?);
    let &[n_out, k] = w.shape() else { return Err("w has no rank of 2".into()) };
    if k == 0 {
        return Err("w has no columns".into());
    }
    let (x, w, bias) = (floats(x), floats(w), bias(xs, n_out)?);
    for (m, row) in x.chunks_exact(k).enumerate() {
        for (c, (w, b)) in w.chunks_exact(k).zip(&bias).enumerate() {
            y.set_f64(m * n_out + c, activate(o.act, dot(0.0, row, w) + b).into());
        }
    }
    Ok(y)
}

// ---- elementwise, windows, reductions ----

fn add(o: &Add, [a, b]: [&Tensor; 2], mut y: Tensor) -> Result<Tensor, String> {
    let (p, q, shape) = (floats(a), floats(b), y.shape().to_vec());
    each(&shape, |i, at| {
        let sum = p[broadcast(a.shape(), at)] + q[broadcast(b.shape(), at)];
        y.set_f64(i, activate(o.act, sum).into());
    });
    Ok(y)
}

/// Calls `f` for each output of a pool with the elements of its window, in order.
fn pool(
    geometry: Geometry,
    (shape, x): (&[usize], &[f32]),
    mut y: Tensor,
    f: impl Fn(&[f32]) -> f32,
) -> Result<Tensor, String> {
    let image = four(shape)?;
    let out = four(y.shape())?;
    each(&out, |i, at| {
        let taps = taps(geometry, image, [at[0], at[1], at[2]]);
        let window: Vec<f32> = taps.iter().map(|&(first, _)| x[first + at[3]]).collect();
        y.set_f64(i, f(&window).into());
    });
    Ok(y)
}

/// A window without taps gives the least float.
fn max_pool(o: &MaxPool2d, shape: &[usize], x: &[f32], y: Tensor) -> Result<Tensor, String> {
    let geometry = (o.window.map(|k| k as usize), o.stride, [1, 1], o.pad);
    let larger = |a: f32, &b: &f32| if a < b { b } else { a };
    pool(geometry, (shape, x), y, |window| activate(o.act, window.iter().fold(f32::MIN, larger)))
}

/// A window without taps gives 0.
fn avg_pool(o: &AvgPool2d, shape: &[usize], x: &[f32], y: Tensor) -> Result<Tensor, String> {
    let geometry = (o.window.map(|k| k as usize), o.stride, [1, 1], o.pad);
    pool(geometry, (shape, x), y, |window| {
        let sum = window.iter().fold(0.0, |sum, v| sum + v);
        activate(o.act, if window.is_empty() { 0.0 } else { sum / window.len() as f32 })
    })
}

fn mean(o: &Mean, shape: &[usize], x: &[f32], y: Tensor) -> Result<Tensor, String> {
    let is_kept = |d: &usize| !o.axes.contains(&(*d as u32));
    let kept: Vec<usize> = (0..shape.len()).filter(is_kept).collect();
    let left: Vec<usize> = kept.iter().map(|&d| shape[d]).collect();
    let mut sums = vec![0f32; left.iter().product()];
    each(shape, |i, at| {
        let to: Vec<usize> = kept.iter().map(|&d| at[d]).collect();
        sums[flat(&left, &to)] += x[i];
    });
    let count = x.len().checked_div(sums.len()).unwrap_or_default() as f32;
    Ok(fill(y, sums.iter().map(|sum| sum / count)))
}

/// exp(beta·(x − max)) / Σ; the exponential is that of float64, rounded.
fn softmax(o: &Softmax, shape: &[usize], x: &[f32], y: Tensor) -> Result<Tensor, String> {
    let row = *shape.last().ok_or("x has no last dimension")?;
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(row.max(1)) {
        let max = row.iter().fold(f32::MIN, |a, &b| if a < b { b } else { a });
        let exps = row.iter().map(|v| f64::from((v - max) * o.beta).exp() as f32);
        let exps: Vec<f32> = exps.collect();
        let sum = exps.iter().fold(0f32, |sum, e| sum + e);
        out.extend(exps.iter().map(|e| e / sum));
    }
    Ok(fill(y, out))
}

fn concat(o: &Concat, xs: &[&Tensor], mut y: Tensor) -> Result<Tensor, String> {
    let axis = o.axis as usize;
    let shape = y.shape().to_vec();
    let mut start = 0;
    for x in xs {
        each(x.shape(), |i, at| {
            let mut to = at.to_vec();
            to[axis] += start;
            y.set_f64(flat(&shape, &to), x.get_f64(i));
        });
        start += x.shape().get(axis).copied().unwrap_or(0);
    }
    Ok(y)
}
