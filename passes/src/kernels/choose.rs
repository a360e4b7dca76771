//! Which kernel computes a convolution, and what it holds in registers: static heuristics.

use super::conv::{self, Conv, Taps, Tile};
use super::conv_consts::exact_finish;
use super::depthwise::Plan;
use super::layer::Layer;
use super::{Dot, Machine, View, amx};
use qcc_ir::dialect::int::{ConvKernel, TileShape};
use qcc_ir::packing::PanelShape;

/// The kernel that is expected to be the fastest.
pub(crate) fn conv_kernel(machine: Machine, layer: &Layer) -> ConvKernel {
    let (groups, inputs) = (layer.groups, layer.w_view.shape[3]);
    if groups > 1 && layer.fits_blocks(machine) {
        return blocks(machine, layer, merged_pixels(machine, layer));
    }
    // A dot product takes four inputs, and a vector of outputs has at least four.
    if layer.fits_panels()
        && let Some(tiles) = amx::choose(machine, layer)
    {
        return tiles;
    }
    if layer.fits_panels() && (groups == 1 || inputs >= 4 || layer.per_group() >= 4) {
        return panels(machine, layer);
    }
    ConvKernel::Scalar
}

/// A matrix product in register tiles that waste least: accumulators, the weights of one step and
/// the broadcast activations must fit the registers.
pub(super) fn panels(machine: Machine, layer: &Layer) -> ConvKernel {
    let mut conv = group_of(machine, layer);
    let tile = tile(&conv, machine);
    conv.tile = Tile { pixels: tile.pixels.into(), vectors: tile.vectors.into() };
    let weights = layer.per_group() * conv.taps.all_groups() * 4;
    let inside = weights <= WEIGHTS_IN_CACHE || weights <= conv.x.span() / 2;
    if inside { ConvKernel::PanelsInside(tile) } else { ConvKernel::Panels(tile) }
}

/// One group of a layer as the kernel [`Conv`], its tile and requantization still to be chosen.
pub(super) fn group_of(machine: Machine, layer: &Layer) -> Conv {
    Conv {
        x: group_view(&layer.x, layer.w_view.shape[3]),
        y: group_view(&layer.y, layer.per_group()),
        stride: layer.stride,
        taps: taps(layer),
        dot: machine.const_dot(layer.x.dtype),
        tile: Tile { pixels: 1, vectors: 1 },
        width: machine.width,
        finish: exact_finish(layer),
        row_sums: layer.row_sums.clone().map(|sums| (sums, layer.w_zp)),
        residual: None,
        panels_inside: true,
    }
}

/// The first `channels` channels of a tensor.
pub(super) fn group_view(v: &View, channels: u64) -> View {
    let mut shape = v.shape.clone();
    shape[3] = channels;
    View { shape, ..v.clone() }
}

fn taps(layer: &Layer) -> Taps {
    let (kh, kw, i) = (layer.w_view.shape[1], layer.w_view.shape[2], layer.w_view.shape[3]);
    let rows = (kh, layer.dilation[0] * layer.x.strides[1]);
    let between = layer.dilation[1] * layer.x.strides[2];
    let contiguous = between == i && layer.groups == 1;
    match contiguous || kw == 1 {
        true => Taps { rows, runs: (1, 0), bytes: kw * i },
        false => Taps { rows, runs: (kw, between), bytes: i },
    }
}

/// Weights up to this many bytes stay in the first-level cache beside the activations.
const WEIGHTS_IN_CACHE: u64 = 24 << 10;

fn tile(conv: &Conv, machine: Machine) -> TileShape {
    let row = conv.innermost_pixels();
    let candidates: &[(u64, u64)] = match (machine.width, conv.dot, machine.registers) {
        (_, Dot::Flips, 16) => &[(2, 4), (4, 2), (5, 2), (7, 1), (10, 1), (1, 8)],
        (_, Dot::Flips, _) => &[(5, 4), (10, 2), (12, 2), (2, 8), (1, 16), (24, 1)],
        (16, Dot::I16, 16) => &[(2, 4), (3, 3), (4, 2), (1, 8), (8, 1)],
        (16, Dot::I16, _) => &[(4, 4), (8, 2), (2, 8), (1, 8)],
        (16, _, 16) => &[(6, 2), (4, 3), (3, 4), (2, 6), (12, 1), (1, 12)],
        (16, _, _) => &[(4, 6), (6, 4), (8, 3), (12, 2), (2, 8), (1, 12)],
        (_, Dot::I16, 16) => &[(2, 4), (4, 2), (1, 8), (8, 1)],
        (_, Dot::I16, _) => &[(5, 4), (10, 2), (2, 8), (1, 16), (20, 1)],
        (_, _, 16) => &[(3, 4), (5, 2), (6, 2), (1, 8), (12, 1)],
        (_, _, _) => &[(6, 4), (12, 2), (14, 2), (3, 8), (1, 16), (24, 1), (28, 1)],
    };
    let lanes = machine.width / 4;
    let out = conv.y.shape[3];
    let groups = conv.taps.all_groups();
    let cost = |&(pixels, vectors): &(u64, u64)| {
        let step = |v: u64| match conv.dot {
            Dot::Flips => flips_step_cost([pixels, v], machine.registers, 8 * groups * lanes * v),
            _ => step_cost(pixels, v),
        };
        let panel = |v: u64| step(v) * groups + tile_cost(pixels, v);
        let (full, rest) = (out / (lanes * vectors), out % (lanes * vectors));
        let rest = if rest > 0 { panel(PanelShape::of(rest, lanes).vectors) } else { 0 };
        row.div_ceil(pixels) * (full * panel(vectors) + rest)
    };
    let most = PanelShape::of(out, lanes).vectors;
    let narrower = |&(pixels, vectors): &(u64, u64)| {
        (1..=pixels.min(row)).rev().map(move |p| (p, vectors.min(most)))
    };
    let best = candidates.iter().flat_map(narrower).min_by_key(cost);
    let (pixels, vectors) = best.expect("there is a candidate of one pixel");
    shape(machine.width, pixels, vectors)
}

fn shape(width: u64, pixels: u64, vectors: u64) -> TileShape {
    TileShape { bits: 8 * width as u32, pixels: pixels as u32, vectors: vectors as u32 }
}

/// Half cycles of what a tile costs besides its steps: about six operations per accumulator, and
/// for each pixel the packing of every started group of 16 channels.
fn tile_cost(pixels: u64, vectors: u64) -> u64 {
    20 + 3 * pixels * vectors + 3 * pixels * vectors.div_ceil(4)
}

/// Half cycles of one step (four taps) of a tile: two dot products and two loads per cycle, four
/// cycles from one dot product to the next on the same accumulator.
fn step_cost(pixels: u64, vectors: u64) -> u64 {
    (pixels * vectors).max(pixels + vectors).max(8) + 1
}

/// As [`step_cost`] for [`Dot::Flips`]: four instructions per product, four per cycle. The `bytes`
/// of a panel come from the second-level cache if they do not fit the first, 32 a cycle.
fn flips_step_cost([pixels, vectors]: [u64; 2], registers: u32, bytes: u64) -> u64 {
    let stream = if bytes > WEIGHTS_IN_CACHE { 4 * vectors } else { 0 };
    let held = conv::holds_flips([pixels, vectors], registers);
    let loads = pixels + vectors + if held { vectors } else { pixels * vectors };
    // A single vector reads all pixels again for every few channels.
    let again = if vectors == 1 { pixels / 4 } else { 0 };
    let more = if pixels < vectors || held { 1 } else { 2 };
    (2 * pixels * vectors).max(loads).max(stream) + more + again
}

/// A depthwise convolution that takes `merged` pixels of a row as one.
pub(super) fn blocks(machine: Machine, layer: &Layer, merged: u64) -> ConvKernel {
    let window = [layer.w_view.shape[1], layer.w_view.shape[2]];
    let dot = layer.block_dot(machine);
    let (width, plan) = depthwise_plan(machine, &merge_pixels(&layer.y, merged), window, dot);
    ConvKernel::Blocks(shape(width, plan.tile, plan.quarters), merged as u32)
}

/// The width of a depthwise kernel's vectors, and what it holds in them.
fn depthwise_plan(machine: Machine, y: &View, window: [u64; 2], dot: Dot) -> (u64, Plan) {
    let row = y.shape[2];
    if machine.width == 16 {
        return (16, Plan { tile: even_tile(row, 8), quarters: 2 });
    }
    let rows_per_dot = if dot == Dot::I16 { 2 } else { 4 };
    let row_groups = window[0].div_ceil(rows_per_dot);
    let fits = |plan: &Plan| {
        // A tile keeps the columns that its next outputs share; accumulators and what is made of
        // rows on the way need room too.
        let columns = if plan.tile > 1 { window[1] } else { 1 };
        let held = plan.quarters * (columns * row_groups + 1);
        held + rows_per_dot + 4 <= u64::from(machine.registers)
    };
    let tile = even_tile(row, 8);
    // Whole vectors of channels unless half of them would be missing.
    let quarters: &[u64] = if y.shape[3] > machine.width / 2 { &[4, 2] } else { &[2] };
    let plans = [tile, 1]
        .into_iter()
        .flat_map(|tile| quarters.iter().map(move |&quarters| Plan { tile, quarters }));
    match plans.into_iter().find(fits) {
        Some(plan) => (machine.width, plan),
        None => depthwise_plan(machine.narrow(), y, window, dot),
    }
}

/// The largest tile up to `most` that splits `n` with the least overlap.
fn even_tile(n: u64, most: u64) -> u64 {
    let cost = |t: u64| n.div_ceil(t) * t;
    (1..=most.min(n)).rev().min_by_key(|&t| (cost(t), n.div_ceil(t))).unwrap_or(1)
}

/// Few channels fill a wide vector only together with those of the next pixels, which lie behind
/// them: how many pixels of a row a block takes, where the window moves by one pixel; else 1.
fn merged_pixels(machine: Machine, layer: &Layer) -> u64 {
    /// With more channels, columns that neighbouring outputs share are worth more.
    const FEW: u64 = 16;
    let channels = layer.y.shape[3];
    if machine.width == 16 || channels > FEW {
        return 1;
    }
    let fits = |bytes: &u64| bytes.is_multiple_of(channels) && can_merge(layer, bytes / channels);
    [machine.width, machine.width / 2].into_iter().find(fits).map_or(1, |n| n / channels)
}

/// Do `pixels` pixels of a row, as one with all their channels, make the same convolution?
pub(super) fn can_merge(layer: &Layer, pixels: u64) -> bool {
    let channels = layer.y.shape[3];
    let dense = [&layer.x, &layer.y].iter().all(|v| v.strides[2] == channels);
    pixels == 1
        || pixels > 1 && dense && layer.stride[1] == 1 && layer.y.shape[2].is_multiple_of(pixels)
}

/// Every `pixels` pixels of a row as one, with the channels of all.
pub(super) fn merge_pixels(v: &View, pixels: u64) -> View {
    let mut out = v.clone();
    out.shape[2] /= pixels;
    out.shape[3] *= pixels;
    out.strides[2] *= pixels;
    out
}
