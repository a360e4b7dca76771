//! Operators that exchange space with depth or with the batch: reshape, transpose, reshape.

use super::super::{Converter, Node};
use super::borders::pairs;
use super::product;
use crate::tflite::raw::{BlockOptions, RawOptions};
use qcc_ir::Value;
use qcc_ir::dialect::nn::{self, PadMode};

/// An image's extents, and the extent of a block.
fn image(c: &Converter, x: Value, o: &BlockOptions) -> Result<([u64; 4], u64), String> {
    let own = c.shape(x);
    match (<[u64; 4]>::try_from(own.as_slice()), u64::try_from(o.size)) {
        (Ok(image), Ok(block @ 1..=65535)) => Ok((image, block)),
        _ => Err(format!("blocks of {} in a tensor of shape {own:?}", o.size)),
    }
}

pub fn depth_to_space(c: &mut Converter, node: &Node) -> Result<(), String> {
    let RawOptions::DepthToSpace(o) = &node.op.options else {
        return Err("its options are missing".into());
    };
    let x = c.operand(node, 0)?;
    let ([n, h, w, channels], b) = image(c, x, o)?;
    if !channels.is_multiple_of(b * b) {
        return Err(format!("{channels} channels in blocks of {b}"));
    }
    let left = channels / (b * b);
    let y = c.reshape_to(node, x, &[n, h, w, b, b, left])?;
    let y = c.transpose_by(node, y, &[0, 1, 3, 2, 4, 5])?;
    let y = c.reshape_to(node, y, &[n, h * b, w * b, left])?;
    c.bind(node, 0, y)
}

pub fn space_to_depth(c: &mut Converter, node: &Node) -> Result<(), String> {
    let RawOptions::SpaceToDepth(o) = &node.op.options else {
        return Err("its options are missing".into());
    };
    let x = c.operand(node, 0)?;
    let ([n, h, w, channels], b) = image(c, x, o)?;
    if !h.is_multiple_of(b) || !w.is_multiple_of(b) {
        return Err(format!("an image of {h}x{w} in blocks of {b}"));
    }
    let y = c.reshape_to(node, x, &[n, h / b, b, w / b, b, channels])?;
    let y = c.transpose_by(node, y, &[0, 1, 3, 2, 4, 5])?;
    let y = c.reshape_to(node, y, &[n, h / b, w / b, b * b * channels])?;
    c.bind(node, 0, y)
}

/// Extents of a block, one for each dimension of space.
fn block(c: &Converter, node: &Node, rank: usize) -> Result<Vec<u64>, String> {
    let all = c.constant_ints(node, 1)?;
    if all.len() >= rank || all.iter().any(|b| !(1..1 << 31).contains(b)) {
        return Err(format!("blocks of {all:?} in {rank} dimensions"));
    }
    Ok(all.into_iter().map(|b| b as u64).collect())
}

pub fn space_to_batch(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let rank = c.shape(x).len();
    let block = block(c, node, rank)?;
    let m = block.len();
    let [low, high] = pairs(c, node, 2, m)?;
    let all = |side: &[u64]| [&[0], side, &vec![0; rank - 1 - m]].concat();
    let around = [all(&low), all(&high)];
    let x = match low.iter().chain(&high).all(|&n| n == 0) {
        true => x,
        false => c.padded(node, x, around, (PadMode::Constant, 0.0))?,
    };
    let own = c.shape(x);
    let rest = &own[1 + m..];
    if (0..m).any(|d| !own[1 + d].is_multiple_of(block[d])) {
        return Err(format!("blocks of {block:?} in a padded image of {own:?}"));
    }
    let cells: Vec<u64> = (0..m).map(|d| own[1 + d] / block[d]).collect();
    let split: Vec<u64> = (0..m).flat_map(|d| [cells[d], block[d]]).collect();
    let y = c.reshape_to(node, x, &[&own[..1], &split, rest].concat())?;
    let inside = (0..m).map(|d| 2 + 2 * d);
    let outside = (0..m).map(|d| 1 + 2 * d);
    let behind = 1 + 2 * m..1 + 2 * m + rest.len();
    let perm: Vec<u32> = inside.chain([0]).chain(outside).chain(behind).map(|d| d as u32).collect();
    let y = c.transpose_by(node, y, &perm)?;
    let batch = product(&[&own[..1], &block].concat())?;
    let y = c.reshape_to(node, y, &[&[batch], &cells[..], rest].concat())?;
    c.bind_same(node, 0, y)
}

pub fn batch_to_space(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.operand(node, 0)?;
    let own = c.shape(x);
    let block = block(c, node, own.len())?;
    let m = block.len();
    let [low, high] = pairs(c, node, 2, m)?;
    let (cells, rest) = (&own[1..1 + m], &own[1 + m..]);
    let blocks = product(&block)?;
    if !own[0].is_multiple_of(blocks) {
        return Err(format!("a batch of {} in blocks of {block:?}", own[0]));
    }
    let batch = own[0] / blocks;
    let y = c.reshape_to(node, x, &[&block[..], &[batch], cells, rest].concat())?;
    let pairs = (0..m).flat_map(|d| [m + 1 + d, d]);
    let behind = 1 + 2 * m..1 + 2 * m + rest.len();
    let perm: Vec<u32> = [m].into_iter().chain(pairs).chain(behind).map(|d| d as u32).collect();
    let y = c.transpose_by(node, y, &perm)?;
    let space: Vec<u64> = (0..m).map(|d| cells[d] * block[d]).collect();
    let mut shape = [&[batch], &space[..], rest].concat();
    let mut y = c.reshape_to(node, y, &shape)?;
    if low.iter().chain(&high).any(|&n| n != 0) {
        let mut start = vec![0; own.len()];
        for d in 0..m {
            let left = space[d].checked_sub(low[d]).and_then(|n| n.checked_sub(high[d]));
            let left = left.ok_or_else(|| format!("crops {low:?} and {high:?} of {space:?}"))?;
            shape[1 + d] = left;
            start[1 + d] = if left == 0 { 0 } else { low[d] };
        }
        let kind = nn::Slice { start, step: vec![1; own.len()] };
        y = c.moved(node, kind, &[y], &shape)?;
    }
    c.bind_same(node, 0, y)
}
