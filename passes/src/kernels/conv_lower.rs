//! Choosing and packing convolution kernels: `int.conv2d`, `int.depthwise_conv2d` and
//! `int.fully_connected`.

use super::conv::{Conv, Taps, Tile, panel_vectors};
use super::conv_consts::{
    Run, Weights, channels, constant, conv_tables, depthwise_tables, exact_finish, finish_runs,
};
use super::depthwise::{Depthwise, Plan};
use super::requant::Channel;
use super::scalar_conv::ScalarConv;
use super::site::Site;
use super::{Arg, Call, Dot, Machine, View};
use qcc_ir::DType;
use qcc_ir::dialect::int::{self, Rescale};
use qcc_runtime::Tensor;
use qcc_runtime::rescale::RescaleForm;

/// The attributes that the three ops share.
pub(super) struct Layer {
    pub(super) x: View,
    pub(super) w: Option<Tensor>,
    /// Weights as `[O, KH, KW, I]` by strides.
    pub(super) w_view: View,
    pub(super) y: View,
    pub(super) stride: [u64; 2],
    pub(super) dilation: [u64; 2],
    pub(super) groups: u64,
    pub(super) x_zp: i32,
    pub(super) w_zp: i32,
    pub(super) rescale: Rescale,
    pub(super) y_zp: i32,
    pub(super) lo: i32,
    pub(super) hi: i32,
}

/// Lowers `int.conv2d`.
///
/// # Errors
/// Padding that `expand-padding` has not taken away, or operands that must be constant and are not.
pub fn lower_conv2d(site: &Site, op: &int::Conv2d) -> Result<Vec<Call>, String> {
    no_padding(op.pad)?;
    let w_view = View { slack: super::SLACK, ..site.view(site.operand(1)) };
    let layer = Layer {
        x: site.view(site.operand(0)),
        w: site.constant(site.operand(1)),
        w_view,
        y: site.view(site.result()),
        stride: op.stride.map(u64::from),
        dilation: op.dilation.map(u64::from),
        groups: u64::from(op.groups),
        x_zp: op.x_zp,
        w_zp: op.w_zp,
        rescale: op.rescale,
        y_zp: op.y_zp,
        lo: op.lo,
        hi: op.hi,
    };
    lower(site, &layer)
}

/// Lowers `int.depthwise_conv2d`: a convolution in as many groups as input channels.
///
/// # Errors
/// As [`lower_conv2d`].
pub fn lower_depthwise(site: &Site, op: &int::DepthwiseConv2d) -> Result<Vec<Call>, String> {
    no_padding(op.pad)?;
    let x = site.view(site.operand(0));
    let w = site.view(site.operand(1));
    // [1, KH, KW, O] read as [O, KH, KW, 1].
    let w_view = View {
        shape: vec![w.shape[3], w.shape[1], w.shape[2], 1],
        strides: vec![w.strides[3], w.strides[1], w.strides[2], w.strides[3]],
        slack: super::SLACK,
        ..w
    };
    let layer = Layer {
        groups: x.shape[3],
        x,
        w: site.constant(site.operand(1)),
        w_view,
        y: site.view(site.result()),
        stride: op.stride.map(u64::from),
        dilation: op.dilation.map(u64::from),
        x_zp: op.x_zp,
        w_zp: op.w_zp,
        rescale: op.rescale,
        y_zp: op.y_zp,
        lo: op.lo,
        hi: op.hi,
    };
    lower(site, &layer)
}

/// Lowers `int.fully_connected`: a 1×1 convolution over a row of pixels.
///
/// # Errors
/// As [`lower_conv2d`].
pub fn lower_fully_connected(site: &Site, op: &int::FullyConnected) -> Result<Vec<Call>, String> {
    let w = site.view(site.operand(1));
    let (out, k) = (w.shape[0], w.shape[1]);
    let x = matrix(&site.view(site.operand(0)), k)?;
    let y = matrix(&site.view(site.result()), out)?;
    let w_view = View {
        shape: vec![out, 1, 1, k],
        strides: vec![w.strides[0], w.strides[0], w.strides[0], w.strides[1]],
        slack: super::SLACK,
        ..w
    };
    let layer = Layer {
        x,
        w: site.constant(site.operand(1)),
        w_view,
        y,
        stride: [1, 1],
        dilation: [1, 1],
        groups: 1,
        x_zp: op.x_zp,
        w_zp: op.w_zp,
        rescale: op.rescale,
        y_zp: op.y_zp,
        lo: op.lo,
        hi: op.hi,
    };
    lower(site, &layer)
}

fn no_padding(pad: [u32; 4]) -> Result<(), String> {
    match pad {
        [0, 0, 0, 0] => Ok(()),
        _ => Err("padding must be expanded first (pass expand-padding)".into()),
    }
}

/// A tensor as `[1, 1, rows, columns]`: dense, or a matrix with any distance between its rows.
fn matrix(v: &View, columns: u64) -> Result<View, String> {
    let size = v.dtype.size() as u64;
    let rows = v.len().checked_div(columns).unwrap_or(0);
    let stride = match v.shape.as_slice() {
        _ if v.is_dense() => columns * size,
        [_, k] if *k == columns && v.is_dense_inner() => v.strides[0],
        _ => return Err("the rows of a matrix must be contiguous".into()),
    };
    Ok(View {
        shape: vec![1, 1, rows, columns],
        strides: vec![rows * stride, rows * stride, stride, size],
        ..v.clone()
    })
}

fn lower(site: &Site, layer: &Layer) -> Result<Vec<Call>, String> {
    if layer.y.is_empty() {
        return Ok(vec![]);
    }
    let bytes = layer.x.dtype.size() == 1 && layer.y.dtype.size() == 1;
    let dense = layer.x.is_dense_inner() && layer.y.is_dense_inner();
    let folded = layer.x_zp == 0 && layer.w.is_some() && layer.rescale != Rescale::Wide;
    let per_group = layer.y.shape[3] / layer.groups;
    let w_i8 = layer.w.as_ref().is_some_and(|w| w.dtype() == DType::I8);
    if bytes && dense && folded && layer.x.slack >= super::SLACK {
        let one_to_one = layer.groups == layer.x.shape[3] && per_group == 1;
        if one_to_one && layer.groups > 1 && layer.w_zp == 0 {
            return depthwise(site, layer);
        }
        if w_i8 && (layer.groups == 1 || layer.w_view.shape[3] >= 4 || per_group >= 4) {
            return gemm(site, layer);
        }
    }
    scalar(site, layer)
}

fn scalar(site: &Site, layer: &Layer) -> Result<Vec<Call>, String> {
    // Row sums, if any, are not needed: each weight's zero point is taken away from it.
    let finish = exact_finish(layer);
    let entries = finish.pack_exact(&channels(site, layer)?);
    let kernel = ScalarConv {
        x: layer.x.clone(),
        w: layer.w_view.clone(),
        y: layer.y.clone(),
        stride: layer.stride,
        dilation: layer.dilation,
        groups: layer.groups,
        x_zp: layer.x_zp,
        w_zp: layer.w_zp,
        finish,
    };
    let weights = match &layer.w {
        Some(w) => constant("weights", w.bytes().to_vec()),
        None => site.arg(site.operand(1)),
    };
    let x = site.arg(site.operand(0));
    let args = vec![x, weights, constant("channels", entries), site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}

fn depthwise(site: &Site, layer: &Layer) -> Result<Vec<Call>, String> {
    let mut all = channels(site, layer)?;
    let w = Weights::new(layer);
    let dot = site.machine.dot_for(layer.x.dtype);
    let split = w.dtype != DType::I8 && dot != Dot::I16;
    if split && !fits_two_bytes(&w, layer) {
        return scalar(site, layer);
    }
    let mut calls = Vec::new();
    let window = [layer.w_view.shape[1], layer.w_view.shape[2]];
    let merged = merged_pixels(site.machine, layer);
    let plan_for = |pixels: u64, machine: Machine| {
        depthwise_plan(machine, &merge_pixels(&layer.y, pixels), window, dot)
    };
    let (width, plan) = plan_for(merged, site.machine);
    let runs = finish_runs(site, layer, &mut all, (width / 4 * plan.quarters) as usize);
    for Run { start, end, finish } in &runs {
        let n = (end - start) as u64;
        let exact = finish.form == RescaleForm::Exact;
        // Merged pixels have all channels, and what the reference's arithmetic takes one by one
        // gains nothing from them.
        let pixels = if exact || runs.len() > 1 { 1 } else { merged };
        let machine = if exact { site.machine.narrow() } else { site.machine };
        let (width, plan) = plan_for(pixels, machine);
        let pixel = layer.x.strides[2];
        let kernel = Depthwise {
            x: group_view(&layer.x, n),
            y: merge_pixels(&group_view(&layer.y, n), pixels),
            window,
            stride: layer.stride,
            dilation: layer.dilation[0],
            along: [pixels * layer.stride[1] * pixel, layer.dilation[1] * pixel],
            dot,
            addends: 1 + u64::from(split),
            plan,
            width,
            finish: *finish,
        };
        let first = *start as u64;
        let weight = |c, kh, kw| w.at(first + c % n, kh, kw, 0) as i16;
        let weights = super::depthwise::pack_weights(&kernel, &weight);
        let slots = (n * pixels) as usize;
        let channels: Vec<Channel> =
            all[*start..*end].iter().copied().cycle().take(slots).collect();
        let args = vec![
            Arg::Value { value: site.operand(0), offset: first },
            constant("weights", weights),
            constant("channels", depthwise_tables(&kernel, &channels)),
            Arg::Value { value: site.result(), offset: first },
        ];
        calls.push(Call { kernel: Box::new(kernel), args });
    }
    Ok(calls)
}

/// Few channels fill a wide vector only together with those of the next pixels, which lie behind
/// them: how many pixels of a row a block takes, where the window moves by one pixel; else 1.
fn merged_pixels(machine: Machine, layer: &Layer) -> u64 {
    /// With more channels, columns that neighbouring outputs share are worth more.
    const FEW: u64 = 16;
    let (channels, row) = (layer.y.shape[3], layer.y.shape[2]);
    let dense = [&layer.x, &layer.y].iter().all(|v| v.strides[2] == channels);
    if machine.width == 16 || channels > FEW || layer.stride[1] != 1 || !dense {
        return 1;
    }
    let fits = |&bytes: &u64| bytes % channels == 0 && row.is_multiple_of(bytes / channels);
    [machine.width, machine.width / 2].into_iter().find(fits).map_or(1, |n| n / channels)
}

/// Every `pixels` pixels of a row as one, with the channels of all.
fn merge_pixels(v: &View, pixels: u64) -> View {
    let mut out = v.clone();
    out.shape[2] /= pixels;
    out.shape[3] *= pixels;
    out.strides[2] *= pixels;
    out
}

/// Whether every weight is the sum of two int8.
fn fits_two_bytes(w: &Weights, layer: &Layer) -> bool {
    let s = &layer.w_view.shape;
    let all =
        |c: u64| (0..s[1]).all(|h| (0..s[2]).all(|x| (-256..=254).contains(&w.at(c, h, x, 0))));
    (0..s[0]).all(all)
}

fn gemm(site: &Site, layer: &Layer) -> Result<Vec<Call>, String> {
    let mut all = channels(site, layer)?;
    let (per_group, in_group) = (layer.y.shape[3] / layer.groups, layer.w_view.shape[3]);
    let mut conv = Conv {
        x: group_view(&layer.x, in_group),
        y: group_view(&layer.y, per_group),
        stride: layer.stride,
        taps: taps(layer),
        dot: site.machine.dot_for(layer.x.dtype),
        tile: Tile { pixels: 1, vectors: 1 },
        width: 16,
        finish: exact_finish(layer),
        row_sums: None,
        panels_inside: true,
    };
    if site.n_operands() > 5 {
        conv.row_sums = Some((row_sums_view(site, layer), layer.w_zp));
    }
    let mut narrow = conv.clone();
    choose_tile(&mut conv, site.machine);
    choose_tile(&mut narrow, site.machine.narrow());
    // Groups keep one form: their channels are other runs of other calls.
    let block = if layer.groups == 1 { conv.panel() as usize } else { all.len() };
    let runs = finish_runs(site, layer, &mut all, block);
    let mut calls = Vec::new();
    for group in 0..layer.groups {
        let base = (group * per_group) as usize;
        for run in &runs {
            let channels = match layer.groups {
                1 => run.start..run.end,
                _ => base..base + per_group as usize,
            };
            // The reference's arithmetic takes accumulators one by one.
            let whole = if run.finish.form == RescaleForm::Exact { &narrow } else { &conv };
            let part = Conv {
                y: group_view(&layer.y, channels.len() as u64),
                finish: run.finish,
                ..whole.clone()
            };
            let first = channels.start as u64;
            calls.push(gemm_call(site, layer, part, (group, first), &all[channels]));
        }
    }
    Ok(calls)
}

/// One call of a matrix product: output channels from `first` on, of a group.
fn gemm_call(
    site: &Site,
    layer: &Layer,
    conv: Conv,
    (group, first): (u64, u64),
    channels: &[Channel],
) -> Call {
    let w = Weights::new(layer);
    let in_group = layer.w_view.shape[3];
    // A merged run goes over all columns of a kernel row.
    let columns = layer.w_view.shape[2] / conv.taps.runs.0;
    let weights = super::conv::pack_weights(&conv, &|[o, row, run], out| {
        for kw in run * columns..(run + 1) * columns {
            w.channels_of(first + o, row, kw, out);
        }
    });
    let mut args = vec![
        Arg::Value { value: site.operand(0), offset: group * in_group },
        constant("weights", weights),
        constant("channels", conv_tables(&conv, channels)),
        Arg::Value { value: site.result(), offset: first },
    ];
    if conv.row_sums.is_some() {
        args.push(Arg::Value { value: site.operand(5), offset: 4 * group });
    }
    Call { kernel: Box::new(conv), args }
}

/// The first `channels` channels of a tensor.
fn group_view(v: &View, channels: u64) -> View {
    let mut shape = v.shape.clone();
    shape[3] = channels;
    View { shape, ..v.clone() }
}

/// Row sums `[N, OH, OW, groups]` (or M sums of any shape) as `[N, OH, OW]` of one group.
fn row_sums_view(site: &Site, layer: &Layer) -> View {
    let v = site.view(site.operand(5));
    if v.shape.len() == 4 && v.shape[..3] == layer.y.shape[..3] {
        return View { shape: v.shape[..3].to_vec(), strides: v.strides[..3].to_vec(), ..v };
    }
    let rows = layer.y.shape[2];
    View { shape: vec![1, 1, rows], strides: vec![4 * rows, 4 * rows, 4], ..v }
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

/// The largest tile up to `most` that splits `n` with the least overlap.
fn even_tile(n: u64, most: u64) -> u64 {
    let cost = |t: u64| n.div_ceil(t) * t;
    (1..=most.min(n)).rev().min_by_key(|&t| (cost(t), n.div_ceil(t))).unwrap_or(1)
}

/// Weights up to this many bytes stay in the first-level cache beside the activations.
const WEIGHTS_IN_CACHE: u64 = 24 << 10;

/// Picks the register tile that wastes least: accumulators, the weights of one step and the
/// broadcast activations must fit the registers.
fn choose_tile(conv: &mut Conv, machine: Machine) {
    conv.width = machine.width;
    let row = conv.innermost_pixels();
    let candidates: &[(u64, u64)] = match (machine.width, conv.dot, machine.registers) {
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
        let panel = |v: u64| step_cost(pixels, v) * groups + tile_cost(pixels, v);
        let (full, rest) = (out / (lanes * vectors), out % (lanes * vectors));
        let rest = if rest > 0 { panel(panel_vectors(machine.width, rest)) } else { 0 };
        row.div_ceil(pixels) * (full * panel(vectors) + rest)
    };
    let most = panel_vectors(machine.width, out);
    let narrower = |&(pixels, vectors): &(u64, u64)| {
        (1..=pixels.min(row)).rev().map(move |p| (p, vectors.min(most)))
    };
    let best = candidates.iter().flat_map(narrower).min_by_key(cost);
    let (pixels, vectors) = best.expect("there is a candidate of one pixel");
    conv.tile = Tile { pixels, vectors };
    let weights = out * conv.taps.all_groups() * 4;
    conv.panels_inside = weights <= WEIGHTS_IN_CACHE || weights <= conv.x.span() / 2;
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
