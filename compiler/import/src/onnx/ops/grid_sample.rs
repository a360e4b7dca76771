//! GridSample of images: pixels are gathered by computed indices and weighted.

use super::super::convert::Converter;
use super::super::node::Node;
use super::Table;
use qcc_ir::dialect::nn::{self, CompareFn, IntFn, UnaryFn};
use qcc_ir::dialect::quant::Act;
use qcc_ir::{DType, TensorType, Value};

pub const OPS: Table = &[("GridSample", grid_sample)];

const ADD: nn::Add = nn::Add { act: Act::None };
const MUL: nn::Mul = nn::Mul { act: Act::None };
const SUB: nn::Sub = nn::Sub { act: Act::None };

/// What a node does.
struct Plan {
    /// Extents of the image, and of the grid, each `[N,H,W]`.
    image: [u64; 3],
    grid: [u64; 3],
    channels: u64,
    is_nearest: bool,
    is_border: bool,
    align_corners: bool,
}

fn grid_sample(c: &mut Converter, node: &Node) -> Result<(), String> {
    let (xs, gs) = (c.shape_of(node, 0)?, c.shape_of(node, 1)?);
    let (&[n, channels, h, w], &[gn, gh, gw, 2]) = (&xs[..], &gs[..]) else {
        return Err(format!("only images are supported, not {xs:?} with a grid {gs:?}"));
    };
    if n != gn || xs.contains(&0) || gs.contains(&0) {
        return Err(format!("an image {xs:?} with a grid {gs:?}"));
    }
    let is_nearest = match node.string("mode", "linear")?.as_str() {
        "linear" | "bilinear" => false,
        "nearest" => true,
        other => return Err(format!("mode '{other}' is not supported")),
    };
    let is_border = match node.string("padding_mode", "zeros")?.as_str() {
        "zeros" => false,
        "border" => true,
        other => return Err(format!("padding_mode '{other}' is not supported")),
    };
    let align_corners = node.flag("align_corners", false)?;
    let (image, grid) = ([n, h, w], [gn, gh, gw]);
    let plan = Plan { image, grid, channels, is_nearest, is_border, align_corners };
    let x = c.float(node, 0)?;
    let x = c.to_nhwc(x)?;
    let pixels = c.reshape(x, &[n * h * w, channels])?;
    let g = c.float(node, 1)?;
    let (y, x) = (plan.position(c, node, (g, 1))?, plan.position(c, node, (g, 0))?);
    let out = if is_nearest {
        let (y, x) = (c.unary(UnaryFn::Round, y)?, c.unary(UnaryFn::Round, x)?);
        let (rows, inside) = plan.pixels(c, node, (pixels, [y, x]))?;
        let one = c.number(node, 1.0)?;
        plan.weighted(c, node, rows, (one, inside))?
    } else {
        plan.blended(c, node, pixels, [y, x])?
    };
    let out = c.from_nhwc(out, 2)?;
    c.done(node, out)
}

impl Plan {
    fn extent(&self, axis: u64) -> f32 {
        self.image[2 - axis as usize] as f32
    }

    /// Pixel coordinates along an axis (0: x, 1: y), `[N,H,W]`.
    fn position(
        &self,
        c: &mut Converter,
        node: &Node,
        (grid, axis): (Value, u64),
    ) -> Result<Value, String> {
        let [n, h, w] = self.grid;
        let slice = nn::Slice { start: vec![0, 0, 0, axis], step: vec![1; 4] };
        let g = c.emit_f32(slice, &[grid], &[n, h, w, 1])?;
        let g = c.reshape(g, &self.grid)?;
        let extent = self.extent(axis);
        // −1 and 1 are the centres of the border's pixels, or their outer edges.
        let (scale, offset) = match self.align_corners {
            true => ((extent - 1.0) / 2.0, (extent - 1.0) / 2.0),
            false => (extent / 2.0, (extent - 1.0) / 2.0),
        };
        let (scale, offset) = (c.number(node, scale)?, c.number(node, offset)?);
        let p = c.binary(MUL, g, scale)?;
        let p = c.binary(ADD, p, offset)?;
        match self.is_border {
            true => c.unary_of(UnaryFn::Clip, 0.0, extent - 1.0, p),
            false => Ok(p),
        }
    }

    /// The sum of the four pixels around each position, weighted.
    fn blended(
        &self,
        c: &mut Converter,
        node: &Node,
        pixels: Value,
        at: [Value; 2],
    ) -> Result<Value, String> {
        let one = c.number(node, 1.0)?;
        // Along y and x: the pixel before and its weight, the pixel behind and its weight.
        let mut ends = Vec::new();
        for p in at {
            let first = c.unary(UnaryFn::Floor, p)?;
            let second = c.binary(ADD, first, one)?;
            let behind = c.binary(SUB, p, first)?;
            let before = c.binary(SUB, one, behind)?;
            ends.push([(first, before), (second, behind)]);
        }
        let mut sum: Option<Value> = None;
        for (y, wy) in ends[0] {
            for (x, wx) in ends[1] {
                let (rows, inside) = self.pixels(c, node, (pixels, [y, x]))?;
                let weight = c.binary(MUL, wy, wx)?;
                let part = self.weighted(c, node, rows, (weight, inside))?;
                sum = Some(match sum {
                    Some(sum) => c.binary(ADD, sum, part)?,
                    None => part,
                });
            }
        }
        sum.ok_or_else(|| "no corners".into())
    }

    /// Pixels at whole positions, the nearest in the image, `[N,H,W,C]`; and which of them are in it.
    fn pixels(
        &self,
        c: &mut Converter,
        node: &Node,
        (pixels, [y, x]): (Value, [Value; 2]),
    ) -> Result<(Value, Value), String> {
        let [n, h, w] = self.image;
        let mut indices = Vec::new();
        let mut inside: Option<Value> = None;
        for (p, axis) in [(y, 1), (x, 0)] {
            let last = self.extent(axis) - 1.0;
            let near = c.unary_of(UnaryFn::Clip, 0.0, last, p)?;
            let same = c.compare(CompareFn::Equal, near, p)?;
            inside = Some(match inside {
                Some(all) => c.int_binary(IntFn::And, all, same)?,
                None => same,
            });
            indices.push(c.emit(
                nn::Cast {},
                &[near],
                TensorType::plain(&self.grid, DType::I32),
            )?);
        }
        let width = c.integers(node, &[w as i64], &[], DType::I32)?;
        let row = c.int_binary(IntFn::Mul, indices[0], width)?;
        let mut index = c.int_binary(IntFn::Add, row, indices[1])?;
        if n > 1 {
            let starts: Vec<i64> = (0..n as i64).map(|b| b * (h * w) as i64).collect();
            let starts = c.integers(node, &starts, &[n, 1, 1], DType::I32)?;
            index = c.int_binary(IntFn::Add, index, starts)?;
        }
        let [gn, gh, gw] = self.grid;
        let shape = [gn, gh, gw, self.channels];
        let rows = c.emit_f32(nn::Gather { axis: 0 }, &[pixels, index], &shape)?;
        Ok((rows, inside.ok_or("no axes")?))
    }

    /// Rows times their weight; 0 outside of the image, unless its border goes on.
    fn weighted(
        &self,
        c: &mut Converter,
        node: &Node,
        rows: Value,
        (weight, inside): (Value, Value),
    ) -> Result<Value, String> {
        let zero = c.number(node, 0.0)?;
        let [n, h, w] = self.grid;
        let column = [n, h, w, 1];
        if self.is_nearest && !self.is_border {
            let inside = c.reshape(inside, &column)?;
            return c.select(inside, rows, zero);
        }
        if self.is_nearest {
            return Ok(rows);
        }
        let weight = if self.is_border { weight } else { c.select(inside, weight, zero)? };
        let weight = c.reshape(weight, &column)?;
        c.binary(MUL, rows, weight)
    }
}
