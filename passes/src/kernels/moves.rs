//! Kernels that move bytes: copy, pad borders, flip signs.

use super::kb::{Addr, Kb};
use super::{Kernel, View};
use qcc_ir::{DType, Func, Type};

/// What happens to bytes on their way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Nothing.
    Keep,
    /// The top bit of each byte is flipped.
    FlipSign,
}

/// Copies a tensor between two layouts. Buffers: x, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Copy {
    /// Source.
    pub x: View,
    /// Destination, of the same shape and element size.
    pub y: View,
    /// What changes on the way.
    pub change: Change,
}

impl Kernel for Copy {
    fn split(&self, tasks: super::split::Tasks) -> Vec<super::split::Part> {
        self.parts(tasks)
    }

    fn name(&self) -> String {
        let word = if self.change == Change::Keep { "copy" } else { "flip_sign" };
        format!("{word}_{}", self.x.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::new(name, &[self.x.mem(), self.y.mem()]);
        let (x, y) = (kb.mem(0), kb.mem(1));
        if self.x.is_empty() {
            return kb.finish();
        }
        let (loops, run) = byte_runs(&self.x, &self.y);
        nest(&mut kb, &loops, &x, &y, &mut |kb, x, y| copy_run(kb, run, self.change, x, y));
        kb.finish()
    }
}

/// Fills with a byte or element value. Buffers: y.
#[derive(Clone, PartialEq, Debug)]
pub struct Fill {
    /// Destination.
    pub y: View,
    /// The element's value.
    pub value: i32,
}

impl Kernel for Fill {
    fn split(&self, tasks: super::split::Tasks) -> Vec<super::split::Part> {
        self.parts(tasks)
    }

    fn name(&self) -> String {
        format!("fill_{}", self.y.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::new(name, &[self.y.mem()]);
        let y = kb.mem(0);
        if self.y.is_empty() {
            return kb.finish();
        }
        let (loops, run) = byte_runs(&self.y, &self.y);
        let lane = self.y.lane();
        nest(&mut kb, &loops, &y, &y, &mut |kb, _, y| {
            let mut at = 0;
            if run >= 16 {
                let v = kb.int(Type::v128(lane), i64::from(self.value));
                if run / 16 > 4 {
                    kb.for_each(run / 16, |kb, k| kb.store(v, &k.of(y, 16)));
                } else {
                    (0..run / 16).for_each(|k| kb.store(v, &y.at(16 * k as i64)));
                }
                at = run / 16 * 16;
                if at < run {
                    kb.store(v, &y.at(run as i64 - 16));
                    at = run;
                }
            }
            let size = lane.size() as u64;
            while at < run {
                let v = kb.int(Type::Scalar(lane), i64::from(self.value));
                kb.store(v, &y.at(at as i64));
                at += size;
            }
        });
        kb.finish()
    }
}

/// A loop: extent, source stride, destination stride.
pub type Loop = (u64, i64, i64);

/// The loops around the longest runs of bytes that are contiguous in both views, and that run's
/// length in bytes.
fn byte_runs(x: &View, y: &View) -> (Vec<Loop>, u64) {
    let strides = x.strides.iter().zip(&y.strides);
    let loops: Vec<Loop> =
        x.shape.iter().zip(strides).map(|(&n, (&xs, &ys))| (n, xs as i64, ys as i64)).collect();
    merged(&loops, x.dtype.size() as u64)
}

/// Loops around the longest runs that are contiguous on both sides, and bytes of a run, where an
/// element has `size`.
pub fn merged(loops: &[Loop], size: u64) -> (Vec<Loop>, u64) {
    let mut run = size;
    let mut out: Vec<Loop> = Vec::new();
    for &(n, xs, ys) in loops.iter().rev().filter(|l| l.0 != 1) {
        match out.last_mut() {
            None if xs == run as i64 && ys == run as i64 => run *= n,
            Some((m, ix, iy)) if xs == *ix * *m as i64 && ys == *iy * *m as i64 => *m *= n,
            _ => out.push((n, xs, ys)),
        }
    }
    out.reverse();
    (out, run)
}

/// Emits `loops` around `body`, which gets both addresses.
pub fn nest(
    kb: &mut Kb,
    loops: &[Loop],
    x: &Addr,
    y: &Addr,
    body: &mut dyn FnMut(&mut Kb, &Addr, &Addr),
) {
    let Some((&(n, xs, ys), inner)) = loops.split_first() else {
        return body(kb, x, y);
    };
    kb.for_each(n, |kb, k| nest(kb, inner, &k.by(x, xs), &k.by(y, ys), body));
}

/// Chunks that are emitted in line before a loop is worth it.
const INLINE_CHUNKS: u64 = 8;

/// Copies `run` contiguous bytes: 16 at a time, the last chunk overlapping the one before it.
pub fn copy_run(kb: &mut Kb, run: u64, change: Change, x: &Addr, y: &Addr) {
    let chunks = run / 16;
    let chunk = |kb: &mut Kb, x: &Addr, y: &Addr| {
        let mut v = kb.load_vec(DType::I8, x);
        if change == Change::FlipSign {
            let top = kb.int(Type::v128(DType::I8), 0x80);
            v = kb.xor(v, top);
        }
        kb.store(v, y);
    };
    if chunks > INLINE_CHUNKS {
        kb.for_each(chunks, |kb, k| chunk(kb, &k.of(x, 16), &k.of(y, 16)));
    } else {
        (0..chunks as i64).for_each(|k| chunk(kb, &x.at(16 * k), &y.at(16 * k)));
    }
    if run.is_multiple_of(16) {
        return;
    }
    if chunks > 0 && change == Change::Keep {
        return chunk(kb, &x.at(run as i64 - 16), &y.at(run as i64 - 16));
    }
    let mut at = chunks * 16;
    for (size, dtype) in [(8, DType::I64), (4, DType::I32), (2, DType::I16), (1, DType::I8)] {
        while run - at >= size {
            let mut v = kb.load_scalar(dtype, &x.at(at as i64));
            if change == Change::FlipSign {
                let tops = i64::from_le_bytes([0x80; 8]) & (u64::MAX >> (64 - 8 * size)) as i64;
                let tops = kb.int(Type::Scalar(dtype), tops);
                v = kb.xor(v, tops);
            }
            kb.store(v, &y.at(at as i64));
            at += size;
        }
    }
}
