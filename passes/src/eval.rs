//! For unit tests: a plain evaluator of the int ops that these passes touch.

use crate::consts::const_tensor;
use qcc_ir::dialect::core;
use qcc_ir::dialect::int::{MeanRounding, Op, Rescale};
use qcc_ir::{Func, Module, OpId, OpKind, Value};
use qcc_runtime::Tensor;
use qcc_runtime::fixedpoint::{Multiplier, mul_by_quantized};
use std::collections::HashMap;

/// Outputs of `main`.
pub fn evaluate(m: &Module, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let f = &m.funcs[m.main().ok_or("no main")?];
    let mut values: HashMap<Value, Tensor> =
        f.params().iter().copied().zip(inputs.iter().cloned()).collect();
    for &op in f.body_ops() {
        match f.kind(op) {
            OpKind::Core(core::Op::Const(_)) => {
                let v = f.result(op);
                values.insert(v, const_tensor(m, f, v).ok_or("malformed constant")?);
            }
            OpKind::Core(core::Op::Return(_)) => {}
            OpKind::Int(int) => {
                let xs: Vec<&Tensor> = f.operands(op).iter().map(|v| &values[v]).collect();
                let y = Eval { f, op, xs }.run(int)?;
                values.insert(f.result(op), y);
            }
            other => return Err(format!("{} is not evaluated here", other.name())),
        }
    }
    Ok(f.returned().iter().map(|v| values[v].clone()).collect())
}

struct Eval<'a> {
    f: &'a Func,
    op: OpId,
    xs: Vec<&'a Tensor>,
}

/// Geometry and zero points of a multiply-accumulate op.
struct Mac<'a> {
    stride: [u32; 2],
    dilation: [u32; 2],
    pad: [u32; 4],
    groups: usize,
    depthwise: bool,
    pad_value: i64,
    x_zp: i64,
    w_zp: i64,
    rescale: Rescale,
    out: [i32; 3],
    x: &'a [i64],
    x_shape: [usize; 4],
    w: &'a [i64],
    w_shape: [usize; 4],
}

impl Eval<'_> {
    fn run(&self, op: &Op) -> Result<Tensor, String> {
        let mut y = self.empty();
        let shape = y.shape().to_vec();
        let x = self.xs[0];
        let codes = x.to_i64_vec();
        match op {
            Op::Conv2d(o) => self.mac(
                Mac {
                    stride: o.stride,
                    dilation: o.dilation,
                    pad: o.pad,
                    groups: o.groups as usize,
                    depthwise: false,
                    pad_value: o.pad_value as i64,
                    x_zp: o.x_zp as i64,
                    w_zp: o.w_zp as i64,
                    rescale: o.rescale,
                    out: [o.y_zp, o.lo, o.hi],
                    x: &codes,
                    x_shape: four(x.shape()),
                    w: &self.xs[1].to_i64_vec(),
                    w_shape: four(self.xs[1].shape()),
                },
                &mut y,
            ),
            Op::DepthwiseConv2d(o) => self.mac(
                Mac {
                    stride: o.stride,
                    dilation: o.dilation,
                    pad: o.pad,
                    groups: 1,
                    depthwise: true,
                    pad_value: o.pad_value as i64,
                    x_zp: o.x_zp as i64,
                    w_zp: o.w_zp as i64,
                    rescale: o.rescale,
                    out: [o.y_zp, o.lo, o.hi],
                    x: &codes,
                    x_shape: four(x.shape()),
                    w: &self.xs[1].to_i64_vec(),
                    w_shape: four(self.xs[1].shape()),
                },
                &mut y,
            ),
            Op::FullyConnected(o) => {
                let (n, k) = (self.xs[1].shape()[0], self.xs[1].shape()[1]);
                self.mac(
                    Mac {
                        stride: [1; 2],
                        dilation: [1; 2],
                        pad: [0; 4],
                        groups: 1,
                        depthwise: false,
                        pad_value: 0,
                        x_zp: o.x_zp as i64,
                        w_zp: o.w_zp as i64,
                        rescale: o.rescale,
                        out: [o.y_zp, o.lo, o.hi],
                        x: &codes,
                        x_shape: [1, 1, codes.len() / k, k],
                        w: &self.xs[1].to_i64_vec(),
                        w_shape: [n, 1, 1, k],
                    },
                    &mut y,
                )
            }
            Op::RowSums(o) => each(&shape, |i, at| {
                let [n, _, w, c] = four(x.shape());
                let (per, mut sum) = (c / o.groups as usize, 0);
                assert!(at[0] < n);
                for kh in 0..o.window[0] as usize {
                    for kw in 0..o.window[1] as usize {
                        let h = at[1] * o.stride[0] as usize + kh * o.dilation[0] as usize;
                        let v = at[2] * o.stride[1] as usize + kw * o.dilation[1] as usize;
                        let start = ((at[0] * x.shape()[1] + h) * w + v) * c + at[3] * per;
                        sum += codes[start..start + per].iter().sum::<i64>();
                    }
                }
                y.set_i64(i, sum);
            }),
            Op::Add(o) => {
                let (a, b) = (&codes, self.xs[1].to_i64_vec());
                let scaled = |q: i64, zp: i32, m: i32, s: i32| {
                    mul_by_quantized((q as i32 - zp) << o.left_shift, Multiplier::new(m, s))
                };
                each(&shape, |i, at| {
                    let u = scaled(a[broadcast(x.shape(), at)], o.a_zp, o.a_mult, o.a_shift);
                    let j = broadcast(self.xs[1].shape(), at);
                    let sum = u.wrapping_add(scaled(b[j], o.b_zp, o.b_mult, o.b_shift));
                    let q = mul_by_quantized(sum, Multiplier::new(o.y_mult, o.y_shift));
                    y.set_i64(i, q.wrapping_add(o.y_zp).max(o.lo).min(o.hi) as i64);
                });
            }
            Op::MaxPool2d(o) => each(&shape, |i, at| {
                let taps = window(x.shape(), at, (o.window, o.stride, o.pad));
                let max = taps.iter().map(|&t| codes[t]).max().unwrap_or(x.dtype().min_max().0);
                y.set_i64(i, max.max(o.lo as i64).min(o.hi as i64));
            }),
            Op::AvgPool2d(o) => each(&shape, |i, at| {
                let taps = window(x.shape(), at, (o.window, o.stride, o.pad));
                let (n, bias) = (taps.len() as i64, o.code_bias as i64);
                let s: i64 = taps.iter().map(|&t| codes[t] - bias).sum();
                let mean = match o.rounding {
                    MeanRounding::HalfAway if s <= 0 => (s - n / 2) / n,
                    _ => (s + n / 2) / n,
                };
                y.set_i64(i, (mean + bias).max(o.lo as i64).min(o.hi as i64));
            }),
            Op::Clamp(o) => {
                let clamp = |v: i64| v.max(o.lo as i64).min(o.hi as i64);
                codes.iter().enumerate().for_each(|(i, &v)| y.set_i64(i, clamp(v)));
            }
            Op::ArgMax(o) => {
                let d = o.axis as usize;
                let inner: usize = x.shape()[d + 1..].iter().product();
                for i in 0..y.len() {
                    let at = |k: usize| codes[(i / inner * x.shape()[d] + k) * inner + i % inner];
                    let best = (0..x.shape()[d]).rev().max_by_key(|&k| at(k));
                    y.set_i64(i, best.unwrap_or(0) as i64);
                }
            }
            Op::Lut(_) => {
                let (first, table) = (x.dtype().min_max().0, self.xs[1]);
                let entry = |v: i64| table.get_i64((v - first) as usize);
                codes.iter().enumerate().for_each(|(i, &v)| y.set_i64(i, entry(v)));
            }
            Op::FlipSign(_) => {
                let flipped: Vec<u8> = x.bytes().iter().map(|b| b ^ 0x80).collect();
                y.bytes_mut().copy_from_slice(&flipped);
            }
            Op::Reshape(_) | Op::Copy(_) => y.bytes_mut().copy_from_slice(x.bytes()),
            Op::Pad(o) => each(&shape, |i, at| {
                let inside = |d: usize| at[d].checked_sub(o.low[d] as usize);
                let from: Option<Vec<usize>> = (0..at.len()).map(inside).collect();
                let from = from.filter(|p| p.iter().zip(x.shape()).all(|(p, n)| p < n));
                let v = from.map_or(o.value as i64, |p| codes[broadcast(x.shape(), &p)]);
                y.set_i64(i, v);
            }),
            Op::Slice(o) => each(&shape, |i, at| {
                let p: Vec<usize> = at.iter().zip(&o.start).map(|(a, s)| a + *s as usize).collect();
                y.set_i64(i, codes[index(x.shape(), &p)]);
            }),
            Op::Concat(o) => each(&shape, |i, at| {
                let (mut at, d) = (at.to_vec(), o.axis as usize);
                let mut part = 0;
                while at[d] >= self.xs[part].shape()[d] {
                    at[d] -= self.xs[part].shape()[d];
                    part += 1;
                }
                y.set_i64(i, self.xs[part].get_i64(index(self.xs[part].shape(), &at)));
            }),
            other => return Err(format!("{} is not evaluated here", other.spec().name)),
        }
        Ok(y)
    }

    fn empty(&self) -> Tensor {
        let ty = self.f.ty(self.f.result(self.op)).as_tensor().unwrap();
        let shape: Vec<usize> = ty.shape.iter().map(|&d| d as usize).collect();
        Tensor::zeros(ty.storage(), shape)
    }

    fn mac(&self, c: Mac, y: &mut Tensor) {
        let shape = match y.shape() {
            s @ [_, _, _, _] => four(s),
            s => [1, 1, s.iter().rev().skip(1).product(), *s.last().unwrap()],
        };
        assert_eq!(c.rescale, Rescale::Double);
        let param = |k: usize, o: usize| self.xs[k].get_i64(o.min(self.xs[k].len() - 1)) as i32;
        each(&shape, |i, at| {
            let o = at[3];
            let mut acc = self.xs[2].get_i64(o);
            let mut sums_zp = c.w_zp;
            if let Some(sums) = self.xs.get(5) {
                let groups = sums.len() / (shape[0] * shape[1] * shape[2]);
                let g = o / (shape[3] / groups);
                acc -= c.w_zp * sums.get_i64(i / shape[3] * groups + g);
                sums_zp = 0;
            }
            for kh in 0..c.w_shape[1] {
                for kw in 0..c.w_shape[2] {
                    acc += c.tap(at, [kh, kw], sums_zp);
                }
            }
            let m = Multiplier::new(param(3, o), param(4, o));
            let [zp, lo, hi] = c.out;
            let q = mul_by_quantized(acc as i32, m).wrapping_add(zp);
            y.set_i64(i, q.max(lo).min(hi) as i64);
        });
    }
}

impl Mac<'_> {
    /// Σ over the input channels of one tap.
    fn tap(&self, at: &[usize], k: [usize; 2], w_zp: i64) -> i64 {
        let [_, h, w, channels] = self.x_shape;
        let place = |d: usize, before: u32| {
            (at[1 + d] * self.stride[d] as usize + k[d] * self.dilation[d] as usize)
                .wrapping_sub(before as usize)
        };
        let (row, column) = (place(0, self.pad[0]), place(1, self.pad[2]));
        let x = |c: usize| match row < h && column < w {
            true => self.x[((at[0] * h + row) * w + column) * channels + c],
            false => self.pad_value,
        };
        let [n, kh, kw, per] = self.w_shape;
        let w_at = |o: usize, c: usize| self.w[((o * kh + k[0]) * kw + k[1]) * per + c];
        let o = at[3];
        if self.depthwise {
            return (x(o / (per / channels)) - self.x_zp) * (w_at(0, o) - w_zp);
        }
        let first = o / (n / self.groups) * per;
        (0..per).map(|c| (x(first + c) - self.x_zp) * (w_at(o, c) - w_zp)).sum()
    }
}

fn four(shape: &[usize]) -> [usize; 4] {
    shape.try_into().expect("rank 4")
}

/// Calls `f` with every flat and full index of a shape.
fn each(shape: &[usize], mut f: impl FnMut(usize, &[usize])) {
    let mut at = vec![0; shape.len()];
    for i in 0..shape.iter().product() {
        f(i, &at);
        for d in (0..shape.len()).rev() {
            at[d] += 1;
            if at[d] < shape[d] {
                break;
            }
            at[d] = 0;
        }
    }
}

fn index(shape: &[usize], at: &[usize]) -> usize {
    shape.iter().zip(at).fold(0, |i, (n, a)| i * n + a)
}

/// The element of a tensor that is broadcast (numpy) to index `at`.
fn broadcast(shape: &[usize], at: &[usize]) -> usize {
    let at = &at[at.len() - shape.len()..];
    shape.iter().zip(at).fold(0, |i, (n, a)| i * n + if *n == 1 { 0 } else { *a })
}

/// Flat indices of the taps of a window inside the image.
fn window(
    x: &[usize],
    at: &[usize],
    (size, stride, pad): ([u32; 2], [u32; 2], [u32; 4]),
) -> Vec<usize> {
    let mut out = vec![];
    for kh in 0..size[0] as usize {
        for kw in 0..size[1] as usize {
            let row = (at[1] * stride[0] as usize + kh).wrapping_sub(pad[0] as usize);
            let column = (at[2] * stride[1] as usize + kw).wrapping_sub(pad[2] as usize);
            if row < x[1] && column < x[2] {
                out.push(index(x, &[at[0], row, column, at[3]]));
            }
        }
    }
    out
}
