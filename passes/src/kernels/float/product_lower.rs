//! Which product kernel for which op, and its weights.

use super::product::{Product, Tile, lanes_for, pack};
use super::scalar_conv::ScalarConv;
use crate::kernels::pool::Axis;
use crate::kernels::site::Site;
use crate::kernels::{Arg, Call, SLACK, View, const_mem, each};
use qcc_ir::dialect::nn;
use qcc_ir::dialect::quant::Act;
use qcc_ir::{MemType, Value};

/// No buffer.
const NONE: MemType = MemType { bytes: 0, slack: 0, constant: true };

/// A convolution with or without groups.
struct Conv {
    stride: [u64; 2],
    dilation: [u64; 2],
    pad: [u32; 4],
    groups: u64,
    act: Act,
    /// Strides of w, in elements: channel of a group, tap, input channel; and of groups.
    weights: [u64; 3],
    group: u64,
    /// Channels and input channels of a group, taps.
    per_out: u64,
    per_in: u64,
    window: [u64; 2],
}

/// Lowers `nn.conv2d`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_conv2d(site: &Site, op: &nn::Conv2d) -> Result<Vec<Call>, String> {
    let w = site.view(site.operand(1)).shape;
    let (groups, per_in) = (u64::from(op.groups), w[3]);
    let taps = w[1] * w[2] * per_in;
    let conv = Conv {
        stride: op.stride.map(u64::from),
        dilation: op.dilation.map(u64::from),
        pad: op.pad,
        groups,
        act: op.act,
        weights: [taps, per_in, 1],
        group: w[0] / groups * taps,
        per_out: w[0] / groups,
        per_in,
        window: [w[1], w[2]],
    };
    lower_conv(site, &conv)
}

/// Lowers `nn.depthwise_conv2d` as a convolution in as many groups as channels.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_depthwise(site: &Site, op: &nn::DepthwiseConv2d) -> Result<Vec<Call>, String> {
    let (x, w) = (site.view(site.operand(0)).shape, site.view(site.operand(1)).shape);
    let multiplier = w[3] / x[3];
    let conv = Conv {
        stride: op.stride.map(u64::from),
        dilation: op.dilation.map(u64::from),
        pad: op.pad,
        groups: x[3],
        act: op.act,
        weights: [1, w[3], 0],
        group: multiplier,
        per_out: multiplier,
        per_in: 1,
        window: [w[1], w[2]],
    };
    if multiplier == 1 && op.pad == [0; 4] {
        return super::depthwise::lower(site, op);
    }
    lower_conv(site, &conv)
}

fn lower_conv(site: &Site, conv: &Conv) -> Result<Vec<Call>, String> {
    let weights = site.constant(site.operand(1));
    let bias = bias(site, [conv.groups, conv.per_out]);
    let (Some(w), Some(bias), [0, 0, 0, 0]) = (weights, bias, conv.pad) else {
        return Ok(scalar(site, conv));
    };
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    let steps = [conv.stride[0] * x.strides[1], conv.stride[1] * x.strides[2]];
    let pixels =
        each::loops(&y.shape[..3], &[&[x.strides[0], steps[0], steps[1]], &y.strides[..3]]);
    let lanes = lanes_for(conv.per_out, (site.machine.width / 4) as u8);
    let tile = Tile::fitting(pixels.last().map_or(1, |l| l.0), conv.per_out, lanes);
    let panel = tile.vectors * u64::from(lanes);
    let [rows, columns] = [conv.dilation[0] * x.strides[1], conv.dilation[1] * x.strides[2]];
    let [kh, kw] = conv.window;
    let per_tap = panel * 4;
    let taps = each::loops(
        &[kh, kw, conv.per_in],
        &[&[rows, columns, 4], &[kw * conv.per_in * per_tap, conv.per_in * per_tap, per_tap]],
    );
    let n_taps = kh * kw * conv.per_in;
    let place = |g: u64, c: u64, tap: u64| {
        let [channel, window, input] = conv.weights;
        let (k, i) = (tap / conv.per_in, tap % conv.per_in);
        g * conv.group + c * channel + k * window + i * input
    };
    let floats = w.as_slice::<f32>().map_err(|e| e.to_string())?;
    let packed = pack(floats, [conv.groups, conv.per_out, n_taps], panel, place);
    let group_bytes = packed.len() as u64 / conv.groups.max(1);
    let group = vec![conv.per_in * 4, group_bytes, bias.stride, conv.per_out * 4];
    let kernel = Product {
        mems: [x.mem(), const_mem(packed.len()), bias.mem, y.mem()],
        outer: if conv.groups == 1 { vec![] } else { vec![(conv.groups, group)] },
        pixels,
        taps,
        channels: conv.per_out,
        panel_stride: n_taps * per_tap,
        packed: true,
        tile,
        act: conv.act,
        lanes,
    };
    let weights = Arg::Const { name: "weights".into(), bytes: packed };
    Ok(vec![call(site, kernel, weights, bias.arg)])
}

/// A bias buffer, a multiple of a vector per group.
struct Bias {
    mem: MemType,
    arg: Option<Arg>,
    /// Bytes per group.
    stride: u64,
}

/// The bias padded for whole vectors; `None` if it is computed.
fn bias(site: &Site, [groups, channels]: [u64; 2]) -> Option<Bias> {
    if site.n_operands() < 3 {
        return Some(Bias { mem: NONE, arg: None, stride: 0 });
    }
    let t = site.constant(site.operand(2))?;
    let all = t.as_slice::<f32>().ok()?;
    let padded = channels.next_multiple_of(64);
    let mut bytes = vec![0; (groups * padded * 4) as usize];
    for (i, b) in all.iter().enumerate() {
        let (group, c) = (i as u64 / channels, i as u64 % channels);
        let at = ((group * padded + c) * 4) as usize;
        bytes[at..at + 4].copy_from_slice(&b.to_le_bytes());
    }
    let mem = const_mem(bytes.len());
    let arg = Some(Arg::Const { name: "bias".into(), bytes });
    Some(Bias { mem, arg, stride: padded * 4 })
}

fn call(site: &Site, kernel: Product, weights: Arg, bias: Option<Arg>) -> Call {
    let mut args = vec![site.arg(site.operand(0)), weights];
    args.extend(bias);
    args.push(site.arg(site.result()));
    Call { kernel: Box::new(kernel), args }
}

/// One output at a time, for computed weights and borders that are not expanded.
fn scalar(site: &Site, conv: &Conv) -> Vec<Call> {
    let (x, w, y) =
        (site.view(site.operand(0)), site.view(site.operand(1)), site.view(site.result()));
    let axis = |d: usize| Axis {
        extents: [x.shape[1 + d], y.shape[1 + d]],
        stride: conv.stride[d],
        window: conv.window[d],
        dilation: conv.dilation[d],
        before: conv.pad[2 * d].into(),
    };
    let [channel, window, input] = conv.weights.map(|s| s * 4);
    site.remark("one output at a time: its weights or its border are not known before it runs");
    let kernel = ScalarConv {
        axes: [axis(0), axis(1)],
        weights: [window * conv.window[1], window, input],
        outputs: [[conv.groups, conv.group * 4], [conv.per_out, channel]],
        per_in: conv.per_in,
        bias: (site.n_operands() > 2).then(|| site.view(site.operand(2))),
        act: conv.act,
        x,
        w,
        y,
    };
    let mut args: Vec<Arg> = (0..site.n_operands()).map(|i| site.arg(site.operand(i))).collect();
    args.push(site.arg(site.result()));
    vec![Call { kernel: Box::new(kernel), args }]
}

/// Lowers `nn.fully_connected`.
///
/// # Errors
/// Weights that are not constant (`expand-float` makes them a matrix product), or strided operands.
pub fn lower_fully_connected(site: &Site, act: Act) -> Result<Vec<Call>, String> {
    let w = site.require_constant(1, "the weights")?;
    let [n_out, k] = [w.shape()[0] as u64, w.shape()[1] as u64];
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    let rows = |v: &View, n: u64| match v.shape.len() {
        2 => Ok(v.strides[0]),
        _ if v.is_dense() => Ok(n * 4),
        _ => Err("a matrix of another rank is not dense".to_string()),
    };
    let (x_row, y_row) = (rows(&x, k)?, rows(&y, n_out)?);
    let bias = bias(site, [1, n_out]).ok_or("the bias must be constant")?;
    let m = x.len() / k;
    let matrix = Matrix { m, k, n: n_out, x: [x_row, 4], y: y_row };
    let floats = w.as_slice::<f32>().map_err(|e| e.to_string())?;
    let (kernel, weights) = matrix.packed(site, floats, 1, |_, c, tap| c * k + tap);
    let mems = [x.mem(), const_mem(weights.len()), bias.mem, y.mem()];
    let kernel = Product { mems, act, ..kernel };
    let weights = Arg::Const { name: "weights".into(), bytes: weights };
    Ok(vec![call(site, kernel, weights, bias.arg)])
}

/// y[m,n] = Σ_k x[m,k]·w[k,n]
struct Matrix {
    m: u64,
    k: u64,
    n: u64,
    /// Bytes between rows and between elements of x.
    x: [u64; 2],
    /// Bytes between rows of y.
    y: u64,
}

impl Matrix {
    /// In vectors of `lanes` floats.
    fn product(&self, lanes: u8) -> Product {
        Product {
            mems: [NONE; 4],
            outer: vec![],
            pixels: each::loops(&[self.m], &[&[self.x[0]], &[self.y]]),
            taps: vec![],
            channels: self.n,
            panel_stride: 0,
            packed: true,
            tile: Tile::fitting(self.m, self.n, lanes),
            act: Act::None,
            lanes,
        }
    }

    /// With `n` matrices of constant weights, packed.
    fn packed(
        &self,
        site: &Site,
        w: &[f32],
        n: u64,
        at: impl Fn(u64, u64, u64) -> u64,
    ) -> (Product, Vec<u8>) {
        let kernel = self.product(lanes_for(self.n, (site.machine.width / 4) as u8));
        let panel = kernel.tile.vectors * u64::from(kernel.lanes);
        let bytes = pack(w, [n, self.n, self.k], panel, at);
        let taps = each::loops(&[self.k], &[&[self.x[1]], &[panel * 4]]);
        (Product { taps, panel_stride: self.k * panel * 4, ..kernel }, bytes)
    }

    /// With weights in rows, `stride` bytes apart.
    fn in_rows(&self, site: &Site, stride: u64, slack: u32) -> Product {
        // The last vector reads behind a row; behind the last row it needs the slack.
        let packed = slack >= SLACK;
        let lanes = match packed {
            true => lanes_for(self.n, (site.machine.width / 4) as u8),
            false => super::lanes(site, self.n),
        };
        let kernel = self.product(lanes);
        let panel = kernel.tile.vectors * u64::from(kernel.lanes);
        let taps = each::loops(&[self.k], &[&[self.x[1]], &[stride]]);
        Product { taps, panel_stride: panel * 4, packed, ..kernel }
    }
}

/// Lowers `nn.matmul`.
///
/// # Errors
/// A transposed second factor that is not constant (`expand-float` turns it).
pub fn lower_mat_mul(site: &Site, op: &nn::MatMul) -> Result<Vec<Call>, String> {
    let (a, b, y) =
        (site.view(site.operand(0)), site.view(site.operand(1)), site.view(site.result()));
    let (rank, last) = (y.shape.len() - 2, a.shape.len() - 1);
    let (row, column) = if op.transpose_a { (last, last - 1) } else { (last - 1, last) };
    let matrix = Matrix {
        m: a.shape[row],
        k: a.shape[column],
        n: y.shape[rank + 1],
        x: [a.strides[row], a.strides[column]],
        y: y.strides[rank],
    };
    let lead = |v: &View, bytes: Option<u64>| lead_strides(v, &y.shape[..rank], bytes);
    let zeros = vec![0; rank];
    let (kernel, weights, w_lead) = match constant(site, site.operand(1)) {
        Some(w) => {
            let n = b.shape[..b.shape.len() - 2].iter().product();
            let (k, size) = (matrix.k, matrix.n * matrix.k);
            let at = |g, c, tap| {
                g * size + if op.transpose_b { c * k + tap } else { tap * matrix.n + c }
            };
            let (kernel, bytes) = matrix.packed(site, &w, n, at);
            let per = bytes.len() as u64 / n.max(1);
            let mem = const_mem(bytes.len());
            let arg = Arg::Const { name: "weights".into(), bytes };
            (Product { mems: [a.mem(), mem, NONE, y.mem()], ..kernel }, arg, lead(&b, Some(per)))
        }
        None if op.transpose_b => return Err("the second factor is transposed".into()),
        None => {
            let kernel = matrix.in_rows(site, b.strides[b.shape.len() - 2], b.slack);
            let arg = site.arg(site.operand(1));
            (Product { mems: [a.mem(), b.mem(), NONE, y.mem()], ..kernel }, arg, lead(&b, None))
        }
    };
    let a_lead = lead(&a, None);
    let outer = each::loops(&y.shape[..rank], &[&a_lead, &w_lead, &zeros, &y.strides[..rank]]);
    Ok(vec![call(site, Product { outer, ..kernel }, weights, None)])
}

/// Strides of the leading dimensions of a factor seen in `shape`; `bytes` per matrix if it is packed.
pub fn lead_strides(v: &View, shape: &[u64], bytes: Option<u64>) -> Vec<u64> {
    let n = v.shape.len() - 2;
    let mut strides = v.strides[..n].to_vec();
    if let Some(bytes) = bytes {
        let mut step = bytes;
        for d in (0..n).rev() {
            strides[d] = step;
            step *= v.shape[d];
        }
    }
    let lead = View { shape: v.shape[..n].to_vec(), strides, ..v.clone() };
    super::elementwise::broadcast(lead, shape).strides
}

fn constant(site: &Site, v: Value) -> Option<Vec<f32>> {
    site.constant(v)?.as_slice::<f32>().ok().map(<[f32]>::to_vec)
}
