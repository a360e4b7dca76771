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
    /// The loops of `x` reduced along `axes`. `y` has x's rank and extents of 1 along them, or the
    /// dimensions that are left; of another shape it is dense.
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
    let inner_extent = inner.map_or(1, |d| x.shape[d]);
    if keeps_rank(x, y, |d| outer.contains(&d) || inner == Some(d)) {
        let step = inner.map_or(0, |d| y.strides[d]);
        return (outer.iter().map(|&d| y.strides[d]).collect(), step);
    }
    if drops_axes(y, shape.iter().copied().chain(inner.map(|_| inner_extent))) {
        let (strides, step) = y.strides.split_at(outer.len());
        return (strides.to_vec(), step.first().copied().unwrap_or(0));
    }
    let size = y.dtype.size() as u64;
    (dense(shape, inner_extent * size), size)
}

/// Has y x's extents along the axes that are left, and 1 along the others? An image's mean with the
/// channels first may be one with the channels last: four dimensions, but others.
fn keeps_rank(x: &View, y: &View, is_left: impl Fn(usize) -> bool) -> bool {
    let extent = |d: usize| if is_left(d) { x.shape[d] } else { 1 };
    y.shape.len() == x.shape.len() && (0..x.shape.len()).all(|d| y.shape[d] == extent(d))
}

/// Has y the extents that are left, and no others?
fn drops_axes(y: &View, left: impl Iterator<Item = u64>) -> bool {
    left.eq(y.shape.iter().copied())
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
/// It has a shape of its own and is not dense.
pub fn check_output(x: &View, y: &View, axes: &[u32]) -> Result<(), String> {
    let is_left = |d: usize| !axes.contains(&(d as u32));
    let left = (0..x.shape.len()).filter(|&d| is_left(d)).map(|d| x.shape[d]);
    match y.is_dense() || keeps_rank(x, y, is_left) || drops_axes(y, left) {
        true => Ok(()),
        false => Err("an output of another shape must be dense".into()),
    }
}
