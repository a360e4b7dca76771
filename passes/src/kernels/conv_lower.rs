//! Kernel calls of `int.conv2d`, `int.depthwise_conv2d` and `int.fully_connected`: what
//! `select-kernels` and `prove-rescale` noted on the op, as calls with packed weights and tables.

use super::choose;
use super::conv::{Conv, Tile};
use super::conv_consts::{
    Run, channels, constant, conv_tables, depthwise_tables, exact_finish, runs, with_surplus,
};
use super::depthwise::{Depthwise, Plan};
use super::layer::Layer;
use super::requant::Channel;
use super::scalar_conv::ScalarConv;
use super::site::Site;
use super::{Arg, Call, Kernel, Machine, amx, residual};
use crate::int_ops::conv_operand;
use qcc_ir::dialect::int::{ConvKernel, TileShape};
use qcc_ir::dialect::loops::{self, PackBlocks, PackPanels};
use qcc_runtime::rescale::RescaleForm;

/// Lowers an op of the convolution family.
///
/// # Errors
/// Padding that `expand-padding` has not taken away, operands that must be constant and are not,
/// or a kernel that does not compute such an op.
pub fn lower(site: &Site) -> Result<Vec<Call>, String> {
    let layer = Layer::of(site)?.ok_or("not a convolution")?;
    if layer.y.is_empty() {
        return Ok(vec![]);
    }
    match layer.kernel {
        ConvKernel::Auto | ConvKernel::Scalar => scalar(site, &layer),
        ConvKernel::Panels(tile) | ConvKernel::PanelsInside(tile)
            if layer.fits_panels() && fits_machine(tile, site.machine) && tile.packs() =>
        {
            panels(site, &layer)
        }
        ConvKernel::Tiles(tile, step)
            if layer.fits_panels() && amx::fits(site.machine, &layer, tile, step) =>
        {
            panels(site, &layer)
        }
        ConvKernel::Blocks(tile, merged)
            if layer.fits_blocks(site.machine)
                && fits_machine(tile, site.machine)
                && choose::can_merge(&layer, merged.into())
                && matches!(tile.vectors, 2 | 4)
                && u64::from(tile.pixels * merged) <= layer.y.shape[2] =>
        {
            blocks(site, &layer, (tile, merged.into()))
        }
        other => Err(format!("the kernel '{other}' does not compute this op on this CPU level")),
    }
}

fn fits_machine(tile: TileShape, machine: Machine) -> bool {
    u64::from(tile.bits) <= 8 * machine.width
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
    let [x, w] = [conv_operand::X, conv_operand::W].map(|i| site.arg(site.operand(i)));
    let args = vec![x, w, constant("channels", entries), site.arg(site.result())];
    let mut calls = vec![Call { kernel: Box::new(kernel), args }];
    calls.extend(add_behind(site, layer));
    Ok(calls)
}

/// The epilogue of codes that are in y, if there is one.
fn add_behind(site: &Site, layer: &Layer) -> Option<Call> {
    let call = residual::behind(site, layer)?;
    site.remark("the residual is added by a kernel of its own");
    Some(call)
}

fn blocks(site: &Site, layer: &Layer, whole: (TileShape, u64)) -> Result<Vec<Call>, String> {
    let all = channels(site, layer)?;
    let runs = runs(layer);
    let mut calls = Vec::new();
    for Run { start, end, finish } in &runs {
        // What the reference's arithmetic takes one by one gains nothing from wide vectors; merged
        // pixels have all channels.
        let again = |machine| match choose::blocks(machine, layer, 1) {
            ConvKernel::Blocks(tile, _) => (tile, 1),
            _ => unreachable!("`blocks` chooses blocks"),
        };
        let (tile, merged) = match whole {
            _ if finish.form == RescaleForm::Exact => again(site.machine.narrow()),
            (_, 2..) if runs.len() > 1 => again(site.machine),
            whole => whole,
        };
        let n = (end - start) as u64;
        let pixel = layer.x.strides[2];
        let kernel = Depthwise {
            x: choose::group_view(&layer.x, n),
            y: choose::merge_pixels(&choose::group_view(&layer.y, n), merged),
            window: [layer.w_view.shape[1], layer.w_view.shape[2]],
            stride: layer.stride,
            dilation: layer.dilation[0],
            along: [merged * layer.stride[1] * pixel, layer.dilation[1] * pixel],
            dot: layer.block_dot(site.machine),
            addends: layer.addends(site.machine).into(),
            plan: Plan { tile: tile.pixels.into(), quarters: tile.vectors.into() },
            width: u64::from(tile.bits / 8),
            finish: *finish,
        };
        calls.push(blocks_call(site, layer, kernel, (*start, merged), &all[*start..*end]));
    }
    calls.extend(add_behind(site, layer));
    Ok(calls)
}

/// One call of a depthwise convolution: `own` channels from `first` on.
fn blocks_call(
    site: &Site,
    layer: &Layer,
    kernel: Depthwise,
    (first, merged): (usize, u64),
    own: &[Channel],
) -> Call {
    let s = &layer.w_view.strides;
    let pack = PackBlocks {
        first: first as u64 * s[0],
        strides: [s[0], s[1], s[2]],
        shape: [own.len() as u64, kernel.window[0], kernel.window[1]],
        repeat: merged,
        wide: layer.w_view.dtype.size() == 2,
        block: [kernel.plan.quarters as u32, kernel.width as u32 / 4],
        form: kernel.form(),
        addends: kernel.addends as u32,
    };
    let slots = own.len() * merged as usize;
    let own = with_surplus(layer, kernel.form(), first as u64, own);
    let repeated: Vec<Channel> = own.iter().copied().cycle().take(slots).collect();
    let args = vec![
        Arg::Value { value: site.operand(conv_operand::X), offset: first as u64 },
        packed(site, pack.bytes(), loops::Op::PackBlocks(pack.into())),
        constant("channels", depthwise_tables(&kernel, &repeated)),
        Arg::Value { value: site.result(), offset: first as u64 },
    ];
    Call { kernel: Box::new(kernel), args }
}

fn packed(site: &Site, bytes: Option<u64>, by: loops::Op) -> Arg {
    let bytes = bytes.expect("packed weights that are in memory can be counted");
    Arg::Packed { value: site.operand(conv_operand::W), by, bytes }
}

fn panels(site: &Site, layer: &Layer) -> Result<Vec<Call>, String> {
    let all = channels(site, layer)?;
    let wide = panels_kernel(site.machine, layer, layer.kernel);
    // The reference's arithmetic takes accumulators one by one.
    let narrow = || {
        let machine = site.machine.narrow();
        panels_kernel(machine, layer, choose::panels(machine, layer))
    };
    let (per_group, runs) = (layer.per_group() as usize, runs(layer));
    let (mut calls, mut fused) = (Vec::new(), false);
    for group in 0..layer.groups {
        let base = group as usize * per_group;
        for run in &runs {
            // Groups keep one form: their channels are other runs of other calls.
            let channels = match layer.groups {
                1 => run.start..run.end,
                _ => base..base + per_group,
            };
            let exact = run.finish.form == RescaleForm::Exact;
            let whole = if exact { narrow() } else { wide.clone() };
            let step = if exact { None } else { tile_step(layer.kernel) };
            let n = channels.len() as u64;
            let mut part = Conv { y: choose::group_view(&layer.y, n), finish: run.finish, ..whole };
            if layer.groups == 1 && runs.len() == 1 {
                part.residual = residual::of_panels(site, layer, &part);
            }
            fused |= part.residual.is_some();
            let first = channels.start as u64;
            calls.push(panels_call(site, layer, (part, step), (group, first), &all[channels]));
        }
    }
    calls.extend(if fused { None } else { add_behind(site, layer) });
    Ok(calls)
}

fn panels_kernel(machine: Machine, layer: &Layer, kernel: ConvKernel) -> Conv {
    let (ConvKernel::Panels(tile) | ConvKernel::PanelsInside(tile) | ConvKernel::Tiles(tile, _)) =
        kernel
    else {
        unreachable!("the caller has matched panels and tiles")
    };
    let group = choose::group_of(machine, layer);
    Conv {
        tile: Tile { pixels: tile.pixels.into(), vectors: tile.vectors.into() },
        width: u64::from(tile.bits / 8),
        panels_inside: matches!(kernel, ConvKernel::PanelsInside(_)),
        ..group
    }
}

/// Bytes of a run that a dot product of tiles takes.
fn tile_step(kernel: ConvKernel) -> Option<u32> {
    match kernel {
        ConvKernel::Tiles(_, step) => Some(step),
        _ => None,
    }
}

/// One call of a matrix product: output channels from `first` on, of a group.
fn panels_call(
    site: &Site,
    layer: &Layer,
    (conv, step): (Conv, Option<u32>),
    (group, first): (u64, u64),
    channels: &[Channel],
) -> Call {
    let (s, w) = (&layer.w_view.strides, &layer.w_view.shape);
    let pack = PackPanels {
        first: first * s[0],
        strides: [s[0], s[1], s[2], s[3]],
        shape: [channels.len() as u64, w[1], w[2], w[3]],
        merged: conv.taps.runs.0 != w[2],
        panel: [conv.tile.vectors as u32, conv.width as u32 / 4],
        form: conv.form(),
        whole: step.unwrap_or(4),
    };
    let channels = with_surplus(layer, conv.form(), first, channels);
    let mut args = vec![
        Arg::Value { value: site.operand(conv_operand::X), offset: group * w[3] },
        packed(site, pack.bytes(), loops::Op::PackPanels(pack.into())),
        constant("channels", conv_tables(&conv, &channels)),
        Arg::Value { value: site.result(), offset: first },
    ];
    if conv.row_sums.is_some() {
        args.push(Arg::Value { value: site.operand(conv_operand::ROW_SUMS), offset: 4 * group });
    }
    if conv.residual.is_some() {
        args.push(site.arg(site.operand(conv_operand::RESIDUAL)));
    }
    let kernel: Box<dyn Kernel> = match step {
        Some(step) => Box::new(amx::with_tiles(conv, step.into())),
        None => Box::new(conv),
    };
    Call { kernel, args }
}
