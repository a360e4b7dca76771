//! Convolutions, in qcc's layouts: activations `[N,H,W,C]`, filters `[O,KH,KW,I]`.
//!
//! A convolution over one dimension is one over two with a height of 1. Transposes stand around
//! each convolution; `to-nhwc` cancels them. Constant filters are brought into their layout here,
//! dequantized ones by their codes.

use super::super::convert::{Bound, Converter, Dequant};
use super::super::node::Node;
use super::Table;
use qcc_ir::dialect::nn;
use qcc_ir::dialect::quant::Act;
use qcc_ir::{DType, Elem, QuantParams, TensorType, Value};
use qcc_runtime::Tensor;
use std::sync::Arc;

pub const OPS: Table = &[("Conv", conv), ("ConvInteger", conv_integer)];

/// How a window moves over an image of two dimensions.
pub struct Geometry {
    pub kernel: [u64; 2],
    pub stride: [u32; 2],
    pub dilation: [u32; 2],
    /// Top, bottom, left, right.
    pub pad: [u32; 4],
    /// Output rows and columns.
    pub out: [u64; 2],
}

pub(super) fn two(all: Option<&[i64]>, rank: usize, what: &str) -> Result<[u32; 2], String> {
    let fail = || format!("attribute '{what}' must be {rank} positive numbers");
    let all = match all {
        None => return Ok([1, 1]),
        Some(all) if all.len() == rank => all,
        Some(_) => return Err(fail()),
    };
    let positive =
        |v: i64| u32::try_from(v).ok().filter(|&v| v > 0 && v < 1 << 30).ok_or_else(fail);
    match all {
        [w] => Ok([1, positive(*w)?]),
        [h, w] => Ok([positive(*h)?, positive(*w)?]),
        _ => Err(fail()),
    }
}

/// The window of a node over `image` (rows, columns); `rank` counts spatial dimensions.
pub fn geometry(
    node: &Node,
    rank: usize,
    image: [u64; 2],
    kernel: [u64; 2],
) -> Result<Geometry, String> {
    let stride = two(node.ints("strides")?, rank, "strides")?;
    let dilation = two(node.ints("dilations")?, rank, "dilations")?;
    let ceil = node.flag("ceil_mode", false)?;
    let auto = node.string("auto_pad", "NOTSET")?;
    let mut g = Geometry { kernel, stride, dilation, pad: [0; 4], out: [0; 2] };
    let explicit = match node.ints("pads")? {
        None => [0; 4],
        Some(&[l, r]) if rank == 1 => [0, 0, l, r],
        Some(&[t, l, b, r]) if rank == 2 => [t, b, l, r],
        Some(_) => return Err(format!("attribute 'pads' must be {} numbers", 2 * rank)),
    };
    for d in 0..2 {
        let axis = Axis {
            kernel: kernel[d],
            stride: stride[d].into(),
            dilation: dilation[d].into(),
            pads: [explicit[2 * d], explicit[2 * d + 1]],
        };
        let ([before, after], out) = place(&axis, image[d], &auto, ceil)?;
        (g.pad[2 * d], g.pad[2 * d + 1], g.out[d]) = (before as u32, after as u32, out);
    }
    Ok(g)
}

/// A window along one dimension.
pub struct Axis {
    pub kernel: u64,
    pub stride: u64,
    pub dilation: u64,
    /// As the node gives them.
    pub pads: [i64; 2],
}

/// Padding before and after, and outputs, of a window over `extent` pixels.
pub fn place(axis: &Axis, extent: u64, auto: &str, ceil: bool) -> Result<([u64; 2], u64), String> {
    let s = axis.stride;
    let reach = axis.kernel.saturating_sub(1).saturating_mul(axis.dilation) + 1;
    if axis.kernel == 0 || reach > 1 << 31 || extent > 1 << 31 {
        return Err(format!("a window of {} on {extent} pixels", axis.kernel));
    }
    let pads = match auto {
        "NOTSET" | "" => axis.pads,
        "VALID" => [0, 0],
        "SAME_UPPER" | "SAME_LOWER" => {
            let out = extent.div_ceil(s);
            let all = (out.max(1) - 1) * s + reach;
            let all = all.saturating_sub(extent) as i64;
            if auto == "SAME_UPPER" { [all / 2, all - all / 2] } else { [all - all / 2, all / 2] }
        }
        other => return Err(format!("auto_pad '{other}' is not known")),
    };
    let pads = pads.map(|p| u64::try_from(p).ok().filter(|&p| p < 1 << 30));
    let [Some(before), Some(mut after)] = pads else {
        return Err("negative or absurd padding".into());
    };
    let room = (extent + before + after).checked_sub(reach);
    let room = room.ok_or_else(|| {
        format!("the window reaches over {reach} of {} pixels", extent + before + after)
    })?;
    let mut out = room / s + 1;
    // One more window, if it starts inside the image or the padding in front of it.
    if ceil && !room.is_multiple_of(s) && out * s < extent + before {
        out += 1;
        after = (out - 1) * s + reach - extent - before;
    }
    Ok(([before, after], out))
}

/// `[N,C,L]` or `[N,C,H,W]` with two spatial dimensions.
pub fn image_shape(x: &[u64]) -> Result<[u64; 4], String> {
    match *x {
        [n, c, l] => Ok([n, c, 1, l]),
        [n, c, h, w] => Ok([n, c, h, w]),
        _ => Err(format!("only 1 and 2 spatial dimensions are supported, the shape is {x:?}")),
    }
}

impl Converter<'_> {
    /// A transposed value.
    pub fn transpose(&mut self, v: Value, perm: &[u32]) -> Result<Value, String> {
        let ty = self.tensor_type(v).clone();
        let shape: Vec<u64> = perm.iter().map(|&p| ty.shape[p as usize]).collect();
        let elem = match &ty.elem {
            Elem::Quant(q) => {
                let mut q = (**q).clone();
                remap_axis(&mut q.params, perm);
                Elem::Quant(Arc::new(q))
            }
            plain => plain.clone(),
        };
        let ty = TensorType { shape: shape.as_slice().into(), elem, layout: None };
        self.emit(nn::Transpose { perm: perm.to_vec() }, &[v], ty)
    }
    /// A value of another shape; itself if it has that shape.
    pub fn reshape(&mut self, v: Value, shape: &[u64]) -> Result<Value, String> {
        match self.shape(v) == shape {
            true => Ok(v),
            false => self.emit_like(nn::Reshape {}, v, shape),
        }
    }
    /// `[N,C,H,W]` or `[N,C,L]` to `[N,H,W,C]`.
    #[allow(clippy::wrong_self_convention)] // it adds an op
    pub fn to_nhwc(&mut self, v: Value) -> Result<Value, String> {
        let shape = image_shape(&self.shape(v))?;
        let v = self.reshape(v, &shape)?;
        self.transpose(v, &[0, 2, 3, 1])
    }
    /// `[N,H,W,C]` to `[N,C,H,W]`, or to `[N,C,W]` if the model has one spatial dimension.
    #[allow(clippy::wrong_self_convention)] // it adds an op
    pub fn from_nhwc(&mut self, v: Value, spatial: usize) -> Result<Value, String> {
        let v = self.transpose(v, &[0, 3, 1, 2])?;
        let s = self.shape(v);
        if spatial == 1 { self.reshape(v, &[s[0], s[1], s[3]]) } else { Ok(v) }
    }
    /// Input `i` as a filter: reshaped to `shape`, then transposed; constants at once.
    pub fn filter(
        &mut self,
        node: &Node,
        i: usize,
        shape: &[u64],
        perm: &[u32],
    ) -> Result<Value, String> {
        let name = node.input(i).unwrap_or("w").to_string();
        match self.bound(node, i)? {
            Some(Bound::Known(k)) => {
                let t = transposed(&k.tensor, shape, perm)?;
                self.constant(&name, &t, Elem::Plain(t.dtype()))
            }
            Some(Bound::Dequant(d)) => {
                let codes = Arc::new(transposed(&d.codes, shape, perm)?);
                let mut quant = d.quant;
                // Only the height of 1 is put in, behind the axes that have parameters.
                remap_axis(&mut quant.params, perm);
                self.dequantized(&name, &Dequant { codes, quant })
            }
            _ => {
                let v = self.any(node, i)?;
                let v = self.reshape(v, shape)?;
                self.transpose(v, perm)
            }
        }
    }
}

/// The axis of parameters after a transpose.
pub fn remap_axis(params: &mut QuantParams, perm: &[u32]) {
    if let QuantParams::PerAxis { axis, .. } = params {
        *axis = perm.iter().position(|&p| p as usize == *axis).unwrap_or(*axis);
    }
}

/// Element d of the result's shape is element perm[d] of `shape`.
pub fn transposed(t: &Tensor, shape: &[u64], perm: &[u32]) -> Result<Tensor, String> {
    let from: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
    let to: Vec<usize> = perm.iter().map(|&p| from[p as usize]).collect();
    let mut y = Tensor::try_zeros(t.dtype(), to.clone()).map_err(|e| e.to_string())?;
    let mut strides = vec![1usize; from.len()];
    for d in (0..from.len().saturating_sub(1)).rev() {
        strides[d] = strides[d + 1] * from[d + 1];
    }
    let steps: Vec<usize> = perm.iter().map(|&p| strides[p as usize]).collect();
    let (size, mut at, mut source) = (t.dtype().size(), vec![0; to.len()], 0);
    let bytes = t.bytes();
    for out in y.bytes_mut().chunks_exact_mut(size) {
        out.copy_from_slice(&bytes[source * size..][..size]);
        for d in (0..to.len()).rev() {
            at[d] += 1;
            source += steps[d];
            if at[d] < to[d] {
                break;
            }
            source -= steps[d] * to[d];
            at[d] = 0;
        }
    }
    Ok(y)
}

/// What a convolution node says, for any element type.
pub struct Conv {
    pub g: Geometry,
    pub groups: u32,
    /// One input channel for each group.
    pub is_depthwise: bool,
    /// Extents of the filter `[O,I,KH,KW]`.
    pub filter: [u64; 4],
    /// Extents of the output `[N,OH,OW,O]`.
    pub out: [u64; 4],
    pub spatial: usize,
}

impl Conv {
    /// Reads the node; its filter is input `w`.
    pub fn read(c: &mut Converter, node: &Node, w: usize) -> Result<Conv, String> {
        let (xs, ws) = (c.shape_of(node, 0)?, c.shape_of(node, w)?);
        let (x, f) = (image_shape(&xs)?, image_shape(&ws)?);
        if xs.len() != ws.len() {
            return Err(format!("input {xs:?} and filter {ws:?} have different ranks"));
        }
        let groups = node.int("group", 1)?;
        let groups = u32::try_from(groups).ok().filter(|&g| g > 0);
        let groups = groups.ok_or("attribute 'group' must be positive")?;
        if f[1].checked_mul(groups.into()) != Some(x[1]) || !f[0].is_multiple_of(groups.into()) {
            return Err(format!("filter {ws:?} does not fit input {xs:?} in {groups} groups"));
        }
        let spatial = xs.len() - 2;
        let g = geometry(node, spatial, [x[2], x[3]], [f[2], f[3]])?;
        let is_depthwise = groups > 1 && f[1] == 1;
        let out = [x[0], g.out[0], g.out[1], f[0]];
        Ok(Conv { g, groups, is_depthwise, filter: f, out, spatial })
    }
    /// From `[O,I,KH,KW]` to qcc's filter.
    pub fn perm(&self) -> [u32; 4] {
        if self.is_depthwise { [1, 2, 3, 0] } else { [0, 2, 3, 1] }
    }
}

fn conv(c: &mut Converter, node: &Node) -> Result<(), String> {
    let o = Conv::read(c, node, 1)?;
    let x = c.float(node, 0)?;
    let x = c.to_nhwc(x)?;
    let w = c.filter(node, 1, &o.filter, &o.perm())?;
    let b = c.opt_float(node, 2)?;
    let operands: Vec<Value> = [x, w].into_iter().chain(b).collect();
    let (stride, dilation, pad) = (o.g.stride, o.g.dilation, o.g.pad);
    let y = if o.is_depthwise {
        let kind = nn::DepthwiseConv2d { stride, dilation, pad, act: Act::None };
        c.emit_f32(kind, &operands, &o.out)?
    } else {
        let kind = nn::Conv2d { stride, dilation, pad, groups: o.groups, act: Act::None };
        c.emit_f32(kind, &operands, &o.out)?
    };
    let y = c.from_nhwc(y, o.spatial)?;
    c.done(node, y)
}

fn conv_integer(c: &mut Converter, node: &Node) -> Result<(), String> {
    let o = Conv::read(c, node, 1)?;
    let x = c.any(node, 0)?;
    let x = c.plain(x)?;
    let x = c.to_nhwc(x)?;
    let w = c.filter(node, 1, &o.filter, &[0, 2, 3, 1])?;
    let w = c.plain(w)?;
    let mut operands = vec![x, w];
    operands.extend(zero_points(c, node, [2, 3], [x, w])?);
    let (stride, dilation, pad) = (o.g.stride, o.g.dilation, o.g.pad);
    let kind = nn::ConvInteger { stride, dilation, pad, groups: o.groups };
    let y = c.emit(kind, &operands, TensorType::plain(&o.out, DType::I32))?;
    let y = c.from_nhwc(y, o.spatial)?;
    c.done(node, y)
}

/// Zero points of two operands; a first one left out becomes 0 if there is a second.
pub fn zero_points(
    c: &mut Converter,
    node: &Node,
    at: [usize; 2],
    of: [Value; 2],
) -> Result<Vec<Value>, String> {
    let mut out = Vec::new();
    let last = if node.input(at[1]).is_some() { 2 } else { 1 };
    for (i, v) in at.into_iter().zip(of).take(last) {
        if node.input(i).is_some() {
            let z = c.any(node, i)?;
            out.push(c.plain(z)?);
        } else if last == 2 {
            let dtype = c.elem(v).storage();
            let zero = Tensor::zeros(dtype, [0; 0]);
            let name = format!("{}.zero_point", node.name);
            out.push(c.constant(&name, &zero, Elem::Plain(dtype))?);
        }
    }
    Ok(out)
}
