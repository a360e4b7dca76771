//! Loops of ops that reduce axes: over what is left, and over what is folded.

use super::kb::{Addr, Kb};
use super::{View, each};

/// x reduced along some axes to y, innermost kept dimension apart.
#[derive(Clone, Debug)]
pub struct Reduced {
    /// Loops over what is folded: extents and byte strides of x.
    pub taps: Vec<(u64, u64)>,
    /// Results next to each other: the extent of the innermost dimension that is left.
    pub channels: u64,
    /// Bytes of x between them.
    pub x_step: u64,
    /// Bytes of y between them.
    pub y_step: u64,
    /// The other dimensions that are left.
    loops: Vec<each::Loop>,
}

impl Reduced {
    /// The loops of `x` reduced along `axes`. `y` has x's rank, or the dimensions that are left; of
    /// another shape it is dense.
    pub fn new(x: &View, y: &View, axes: &[u32]) -> Reduced {
        let is_folded = |d: &usize| axes.contains(&(*d as u32));
        let all = 0..x.shape.len();
        let mut kept: Vec<usize> = all.clone().filter(|d| !is_folded(d)).collect();
        let taps = all.filter(is_folded).map(|d| (x.shape[d], x.strides[d])).collect();
        let inner = kept.pop();
        let channels = inner.map_or(1, |d| x.shape[d]);
        let shape: Vec<u64> = kept.iter().map(|&d| x.shape[d]).collect();
        let x_strides: Vec<u64> = kept.iter().map(|&d| x.strides[d]).collect();
        let (y_strides, y_step) = output_strides(x, y, (&kept, inner), &shape);
        let loops = each::loops(&shape, &[&x_strides, &y_strides]);
        Reduced { taps, channels, x_step: inner.map_or(0, |d| x.strides[d]), y_step, loops }
    }

    /// Emits `body` for each row of `channels` results, with the addresses of x and y.
    pub fn nest(
        &self,
        kb: &mut Kb,
        x: &Addr,
        y: &Addr,
        body: &mut dyn FnMut(&mut Kb, &Addr, &Addr),
    ) {
        each::nest(kb, &self.loops, &[x.clone(), y.clone()], &mut |kb, at| {
            body(kb, &at[0], &at[1])
        });
    }
}

/// Strides of the output along the kept axes but the innermost, and along that one.
fn output_strides(
    x: &View,
    y: &View,
    (outer, inner): (&[usize], Option<usize>),
    shape: &[u64],
) -> (Vec<u64>, u64) {
    if y.shape.len() == x.shape.len() {
        let step = inner.map_or(0, |d| y.strides[d]);
        return (outer.iter().map(|&d| y.strides[d]).collect(), step);
    }
    if y.shape.len() == outer.len() + usize::from(inner.is_some()) {
        let (strides, step) = y.strides.split_at(outer.len());
        return (strides.to_vec(), step.first().copied().unwrap_or(0));
    }
    let size = y.dtype.size() as u64;
    (dense(shape, inner.map_or(1, |d| x.shape[d]) * size), size)
}

/// Strides of a dense tensor whose innermost elements are `unit` bytes apart.
fn dense(shape: &[u64], unit: u64) -> Vec<u64> {
    let mut out = vec![0; shape.len()];
    let mut stride = unit;
    for d in (0..shape.len()).rev() {
        out[d] = stride;
        stride *= shape[d];
    }
    out
}

/// Whether [`Reduced::new`] can take `y`.
///
/// # Errors
/// It has a rank of its own and is not dense.
pub fn check_output(x: &View, y: &View, axes: &[u32]) -> Result<(), String> {
    let kept = x.shape.len() - axes.len();
    match y.is_dense() || y.shape.len() == x.shape.len() || y.shape.len() == kept {
        true => Ok(()),
        false => Err("an output of another rank must be dense".into()),
    }
}
