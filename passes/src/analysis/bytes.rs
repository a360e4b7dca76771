//! Memory whose bytes carry labels instead of numbers, for checking memory plans.
//!
//! A label says "byte `from` of tensor `of`". [`Content`] lists the labels of a tensor's bytes in
//! row-major order; [`Memory`] maps addresses to labels. Both keep runs, and neighbouring runs that
//! continue each other are one, so equal contents are equal lists.

use qcc_ir::{Layout, TensorType, Value};
use std::collections::BTreeMap;

/// `len` bytes: bytes `from`, `from + 1`, … of tensor `of`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Number of bytes.
    pub len: u64,
    /// The tensor that they were computed for.
    pub of: Value,
    /// Position of the first one in that tensor's row-major bytes.
    pub from: u64,
}

/// The labels of some bytes in order.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Content(pub Vec<Run>);

impl Content {
    /// The content of `v` just computed.
    pub fn fresh(v: Value, bytes: u64) -> Content {
        let mut out = Content::default();
        out.push(Run { len: bytes, of: v, from: 0 });
        out
    }
    fn push(&mut self, run: Run) {
        if run.len == 0 {
            return;
        }
        match self.0.last_mut() {
            Some(l) if l.of == run.of && l.from + l.len == run.from => l.len += run.len,
            _ => self.0.push(run),
        }
    }
    /// The first run in which two contents differ, as they are here and there.
    pub fn first_difference(&self, other: &Content) -> Option<(Run, Run)> {
        self.0.iter().zip(&other.0).find(|(a, b)| a != b).map(|(a, b)| (*a, *b))
    }
}

/// Labelled bytes by address.
#[derive(Clone, Default, Debug)]
pub struct Memory {
    runs: BTreeMap<u64, Run>,
}

impl Memory {
    /// Stores `content` into address ranges `spans`, one after the other.
    pub fn write(&mut self, spans: &[[u64; 2]], content: &Content) {
        let mut runs = content.0.iter().copied();
        let mut run = runs.next();
        for &[mut at, end] in spans {
            self.erase(at, end);
            while let (true, Some(r)) = (at < end, run) {
                let len = r.len.min(end - at);
                self.runs.insert(at, Run { len, ..r });
                at += len;
                run = match len == r.len {
                    true => runs.next(),
                    false => Some(Run { len: r.len - len, from: r.from + len, ..r }),
                };
            }
        }
    }

    /// What lies in `spans`.
    ///
    /// # Errors
    /// The first address that was never written.
    pub fn read(&self, spans: &[[u64; 2]]) -> Result<Content, u64> {
        let mut out = Content::default();
        for &[mut at, end] in spans {
            while at < end {
                let run = self.run_at(at).ok_or(at)?;
                let len = run.len.min(end - at);
                out.push(Run { len, ..run });
                at += len;
            }
        }
        Ok(out)
    }

    /// The run from address `at` on.
    fn run_at(&self, at: u64) -> Option<Run> {
        let (start, run) = self.runs.range(..=at).next_back()?;
        let skip = at - start;
        (skip < run.len).then(|| Run { len: run.len - skip, from: run.from + skip, ..*run })
    }

    fn erase(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let behind = self.run_at(end);
        if let Some((&s, run)) = self.runs.range_mut(..start).next_back() {
            run.len = run.len.min(start - s);
        }
        let inside: Vec<u64> = self.runs.range(start..end).map(|(&a, _)| a).collect();
        for a in inside {
            self.runs.remove(&a);
        }
        if let Some(run) = behind {
            self.runs.insert(end, run);
        }
    }
}

/// The address ranges of a tensor's bytes, in row-major order of its elements.
pub fn spans(ty: &TensorType, layout: &Layout) -> Vec<[u64; 2]> {
    if ty.is_empty() {
        return vec![];
    }
    // Innermost dimensions that form one block.
    let mut block = ty.storage().size() as u64;
    let mut outer = ty.shape.len();
    while outer > 0 && (ty.shape[outer - 1] == 1 || layout.strides[outer - 1] == block) {
        block *= ty.shape[outer - 1];
        outer -= 1;
    }
    let mut starts = vec![layout.offset];
    for d in 0..outer {
        let along = |s: u64| (0..ty.shape[d]).map(move |i| s + i * layout.strides[d]);
        starts = starts.into_iter().flat_map(along).collect();
    }
    starts.into_iter().map(|s| [s, s + block]).collect()
}

/// Do two lists of address ranges have an address in common?
pub fn overlap(mut a: Vec<[u64; 2]>, mut b: Vec<[u64; 2]>) -> bool {
    a.sort_unstable();
    b.sort_unstable();
    let (mut i, mut j) = (0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        if x[0] < y[1] && y[0] < x[1] {
            return true;
        }
        match x[1] <= y[0] {
            true => i += 1,
            false => j += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use qcc_ir::{DType, Space};

    fn v(i: u32) -> Value {
        Value::from_u32(i)
    }

    #[test]
    fn what_is_written_is_read() {
        let mut m = Memory::default();
        m.write(&[[10, 20]], &Content::fresh(v(0), 10));
        m.write(&[[12, 14], [16, 17]], &Content::fresh(v(1), 3));
        let run = |len, of, from| Run { len, of: v(of), from };
        assert_eq!(
            m.read(&[[10, 20]]).unwrap().0,
            [run(2, 0, 0), run(2, 1, 0), run(2, 0, 4), run(1, 1, 2), run(3, 0, 7)]
        );
        assert_eq!(m.read(&[[12, 14], [16, 17]]), Ok(Content::fresh(v(1), 3)));
        assert_eq!(m.read(&[[18, 22]]), Err(20));
    }

    #[test]
    fn spans_follow_strides() {
        let t = TensorType::plain(&[1, 2, 2, 3], DType::I8);
        let at = |strides: &[u64]| Layout {
            space: Space::Arena,
            offset: 5,
            strides: strides.iter().copied().collect(),
        };
        assert_eq!(spans(&t, &at(&[12, 6, 3, 1])), [[5, 17]]);
        assert_eq!(spans(&t, &at(&[99, 10, 3, 1])), [[5, 11], [15, 21]]);
        assert_eq!(spans(&t, &at(&[99, 20, 4, 1])), [[5, 8], [9, 12], [25, 28], [29, 32]]);
        assert!(overlap(vec![[5, 8], [1, 2]], vec![[3, 6]]));
        assert!(!overlap(vec![[5, 8], [1, 2]], vec![[2, 5], [8, 9]]));
    }
}
