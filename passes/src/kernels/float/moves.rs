//! Ops that move elements of any size: transpose, slice, pad, broadcast, gather.
//!
//! All but gather are copies between two ways of walking memory, whose strides may be 0 or
//! negative; runs that are contiguous on both sides are copied whole, and what is contiguous on each
//! side along another dimension goes by tiles (`tiles`).

use super::tiles;
use crate::kernels::kb::{Addr, Kb};
use crate::kernels::moves::{Change, Loop, copy_run, merged, nest};
use crate::kernels::scalar_conv::load_wide;
use crate::kernels::site::Site;
use crate::kernels::{Call, Kernel, View, each};
use qcc_ir::dialect::loops::Pred;
use qcc_ir::dialect::nn::{self, PadMode};
use qcc_ir::{DType, Func, MemType, Type, Value};

/// A block of y and where it comes from.
#[derive(Clone, PartialEq, Debug)]
pub struct Block {
    /// Outermost first.
    pub loops: Vec<Loop>,
    /// Bytes before the first element of x and of y.
    pub from: [u64; 2],
}

/// Copies blocks. Buffers: x, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Move {
    /// Where elements come from.
    pub x: MemType,
    /// Where they go.
    pub y: MemType,
    /// Bytes of an element.
    pub size: u64,
    /// What is copied; blocks of y do not overlap.
    pub blocks: Vec<Block>,
}

impl Kernel for Move {
    fn name(&self) -> String {
        format!("move_{}", 8 * self.size)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::new(name, &[self.x, self.y]);
        for block in &self.blocks {
            if block.loops.iter().any(|l| l.0 == 0) {
                continue;
            }
            let (loops, run) = merged(&block.loops, self.size);
            let x = kb.mem(0).at(block.from[0] as i64);
            let y = kb.mem(1).at(block.from[1] as i64);
            if run == self.size && tiles::copy(&mut kb, &loops, run, &x, &y) {
                continue;
            }
            nest(&mut kb, &loops, &x, &y, &mut |kb, x, y| copy_run(kb, run, Change::Keep, x, y));
        }
        kb.finish()
    }
}

fn calls(site: &Site, blocks: Vec<Block>) -> Vec<Call> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    let kernel = Move { x: x.mem(), y: y.mem(), size: y.dtype.size() as u64, blocks };
    let args = vec![site.arg(site.operand(0)), site.arg(site.result())];
    vec![Call { kernel: Box::new(kernel), args }]
}

/// All of y, where dimension d of y steps through x by `strides[d]` bytes from `first` on.
fn whole(y: &View, strides: impl IntoIterator<Item = i64>, first: u64) -> Block {
    let all = y.shape.iter().zip(strides).zip(&y.strides);
    let loops = all.map(|((&n, xs), &ys)| (n, xs, ys as i64)).collect();
    Block { loops, from: [first, 0] }
}

/// Lowers `nn.transpose`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_transpose(site: &Site, op: &nn::Transpose) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    let strides = op.perm.iter().map(|&d| x.strides[d as usize] as i64);
    Ok(calls(site, vec![whole(&y, strides, 0)]))
}

/// Lowers `nn.slice`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_slice(site: &Site, op: &nn::Slice) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    let strides = op.step.iter().zip(&x.strides).map(|(step, &s)| step * s as i64);
    let first = op.start.iter().zip(&x.strides).map(|(i, s)| i * s).sum();
    Ok(calls(site, vec![whole(&y, strides, first)]))
}

/// Lowers `nn.broadcast`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_broadcast(site: &Site) -> Result<Vec<Call>, String> {
    let y = site.view(site.result());
    let x = super::elementwise::broadcast(site.view(site.operand(0)), &y.shape);
    Ok(calls(site, vec![whole(&y, x.strides.iter().map(|&s| s as i64), 0)]))
}

/// Part of a padded dimension: first index of y, extent, first index of x, step in x.
type Range = (u64, u64, u64, i64);

/// Lowers `nn.pad` of a mirrored or repeated border: a block per combination of the three parts of
/// each dimension.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_pad(site: &Site, op: &nn::Pad) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    let mut blocks = vec![Block { loops: vec![], from: [0, 0] }];
    for d in 0..y.shape.len() {
        let parts = parts(op, d, x.shape[d]);
        let with = |b: &Block, &(at, n, from, step): &Range| {
            let mut next = b.clone();
            next.loops.push((n, step * x.strides[d] as i64, y.strides[d] as i64));
            next.from[0] += from * x.strides[d];
            next.from[1] += at * y.strides[d];
            next
        };
        blocks = blocks.iter().flat_map(|b| parts.iter().map(move |p| with(b, p))).collect();
    }
    Ok(calls(site, blocks))
}

/// The border before, the inside and the border behind, where they are not empty.
fn parts(op: &nn::Pad, d: usize, n: u64) -> Vec<Range> {
    let (low, high) = (op.low[d], op.high[d]);
    let last = n.saturating_sub(1);
    let (before, behind) = match op.mode {
        PadMode::Reflect => ((0, low, low, -1), (low + n, high, last.saturating_sub(1), -1)),
        PadMode::Symmetric => ((0, low, low.saturating_sub(1), -1), (low + n, high, last, -1)),
        PadMode::Edge | PadMode::Constant => ((0, low, 0, 0), (low + n, high, last, 0)),
    };
    [before, (low, n, 0, 1), behind].into_iter().filter(|p| p.1 > 0).collect()
}

/// Copies rows by their number. Buffers: x, indices, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Gather {
    /// The table.
    pub x: View,
    /// Numbers of rows, dense.
    pub indices: View,
    /// x with dimension `axis` replaced by those of the indices.
    pub y: View,
    /// The dimension that is indexed.
    pub axis: usize,
}

impl Kernel for Gather {
    fn name(&self) -> String {
        format!("gather_{}_{}", self.x.dtype, self.indices.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::new(name, &[self.x.mem(), self.indices.mem(), self.y.mem()]);
        let (x, indices, y) = (kb.mem(0), kb.mem(1), kb.mem(2));
        if self.y.is_empty() {
            return kb.finish();
        }
        let (axis, rank) = (self.axis, self.indices.shape.len());
        let outer =
            each::loops(&self.x.shape[..axis], &[&self.x.strides[..axis], &self.y.strides[..axis]]);
        let middle = axis..axis + rank;
        let rows =
            each::loops(&self.indices.shape, &[&self.indices.strides, &self.y.strides[middle]]);
        let inner: Vec<Loop> = (axis + 1..self.x.shape.len())
            .map(|d| {
                let ys = self.y.strides[d - 1 + rank];
                (self.x.shape[d], self.x.strides[d] as i64, ys as i64)
            })
            .collect();
        let (inner, run) = merged(&inner, self.x.dtype.size() as u64);
        each::nest(&mut kb, &outer, &[x, y], &mut |kb, outer| {
            let (x, y) = (outer[0].clone(), outer[1].clone());
            each::nest(kb, &rows, &[indices.clone(), y], &mut |kb, at| {
                let index = self.index(kb, &at[0]);
                nest(kb, &inner, &x, &at[1], &mut |kb, x, y| self.row(kb, index, run, x, y));
            });
        });
        kb.finish()
    }
}

impl Gather {
    fn extent(&self) -> i64 {
        self.x.shape[self.axis] as i64
    }

    /// The number at `at`, from the end if it is negative, within the table; i32.
    fn index(&self, kb: &mut Kb, at: &Addr) -> Value {
        let wide = if self.indices.dtype == DType::I64 { DType::I64 } else { DType::I32 };
        let ty = Type::Scalar(wide);
        let index = load_wide(kb, self.indices.dtype, at, wide);
        let (zero, extent) = (kb.int(ty.clone(), 0), kb.int(ty, self.extent()));
        let negative = kb.cmp(Pred::Lt, index, zero);
        let from_end = kb.add(index, extent);
        let index = kb.select(negative, from_end, index);
        let index = kb.clamp_s(index, 0, self.extent() - 1);
        match wide {
            DType::I64 => kb.trunc(index, Type::Scalar(DType::I32)),
            _ => index,
        }
    }

    /// Copies `run` bytes of row `index`.
    fn row(&self, kb: &mut Kb, index: Value, run: u64, x: &Addr, y: &Addr) {
        let row = (self.x.strides[self.axis] as i64, (0, self.extent() - 1));
        copy_at(kb, (index, row), run, x, y);
    }
}

/// A computed index: its value, bytes per unit, and range.
pub type Index = (Value, (i64, (i64, i64)));

/// Copies `run` bytes from x at a computed index.
pub fn copy_at(kb: &mut Kb, (index, (stride, range)): Index, run: u64, x: &Addr, y: &Addr) {
    let vectors = run / 16;
    kb.for_each(vectors, |kb, k| {
        let v = kb.lookup_of(Type::v128(DType::I8), &k.of(x, 16), index, stride, range);
        kb.store(v, &k.of(y, 16));
    });
    let mut at = vectors * 16;
    for (size, dtype) in [(8, DType::I64), (4, DType::I32), (2, DType::I16), (1, DType::I8)] {
        while run - at >= size {
            let from = x.at(at as i64);
            let v = kb.lookup_of(Type::Scalar(dtype), &from, index, stride, range);
            kb.store(v, &y.at(at as i64));
            at += size;
        }
    }
}

/// Lowers `nn.gather`.
///
/// # Errors
/// A table of more than 2^31 rows.
pub fn lower_gather(site: &Site, op: &nn::Gather) -> Result<Vec<Call>, String> {
    let (x, indices) = (site.view(site.operand(0)), site.view(site.operand(1)));
    let kernel = Gather { x, indices, y: site.view(site.result()), axis: op.axis as usize };
    if kernel.extent() > i64::from(i32::MAX) {
        return Err("the table has too many rows".into());
    }
    let args = vec![site.arg(site.operand(0)), site.arg(site.operand(1)), site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
