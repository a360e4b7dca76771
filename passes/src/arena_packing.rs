//! Offsets for buffers so that interfering ones do not overlap, in as few bytes as we can.
//!
//! Greedy best fit over several orders; if none reaches the lower bound (the largest set of
//! buffers that live at once), the best order is changed by seeded swaps under a fixed budget. The
//! same input gives the same offsets on every machine.

use crate::plan_memory::Buffer;
use petgraph::graph::{NodeIndex, UnGraph};

/// Buffer placements spent on improving an order.
const SWAP_BUDGET: usize = 200_000;

/// An offset per buffer.
pub(crate) fn pack(buffers: &[Buffer], interferes: &UnGraph<(), ()>) -> Vec<u64> {
    let bound = largest_live_set(buffers);
    let packer = Packer { buffers, interferes };
    let mut best: Option<(u64, Vec<usize>, Vec<u64>)> = None;
    for order in packer.orders() {
        let offsets = packer.place_all(&order);
        let bytes = packer.bytes(&offsets);
        if best.as_ref().is_none_or(|b| bytes < b.0) {
            best = Some((bytes, order, offsets));
        }
    }
    let Some(best) = best else { return vec![] };
    packer.improve(best, bound)
}

/// The most bytes that are live at once: no packing is smaller.
pub(crate) fn largest_live_set(buffers: &[Buffer]) -> u64 {
    let at = |t: usize| -> u64 {
        let live = buffers.iter().filter(|b| b.live[0] <= t && t <= b.live[1]);
        live.map(|b| b.bytes).sum()
    };
    buffers.iter().map(|b| at(b.live[0])).max().unwrap_or(0)
}

struct Packer<'a> {
    buffers: &'a [Buffer],
    interferes: &'a UnGraph<(), ()>,
}

impl Packer<'_> {
    fn orders(&self) -> Vec<Vec<usize>> {
        let by = |key: &dyn Fn(&Buffer) -> (u64, u64)| {
            let mut order: Vec<usize> = (0..self.buffers.len()).collect();
            order.sort_by_key(|&i| (key(&self.buffers[i]), i));
            order
        };
        let life = |b: &Buffer| b.live[1].saturating_sub(b.live[0]) as u64 + 1;
        let down = |v: u64| u64::MAX - v;
        vec![
            by(&|b| (down(b.bytes), down(life(b)))),
            by(&|b| (down(b.bytes.saturating_mul(life(b))), 0)),
            by(&|b| (down(life(b)), down(b.bytes))),
            by(&|b| (b.live[0] as u64, down(b.bytes))),
            by(&|b| (down(b.live[1] as u64), down(b.bytes))),
        ]
    }

    fn place_all(&self, order: &[usize]) -> Vec<u64> {
        let mut offsets = vec![u64::MAX; self.buffers.len()];
        for &i in order {
            offsets[i] = self.place(i, &offsets);
        }
        offsets
    }

    /// The smallest gap between placed neighbours that `i` fits into.
    fn place(&self, i: usize, offsets: &[u64]) -> u64 {
        let neighbours = self.interferes.neighbors(NodeIndex::new(i)).map(|n| n.index());
        let mut taken: Vec<[u64; 2]> = neighbours
            .filter(|&n| offsets[n] != u64::MAX)
            .map(|n| [offsets[n], offsets[n] + self.buffers[n].bytes])
            .collect();
        taken.sort_unstable();
        let bytes = self.buffers[i].bytes;
        let (mut at, mut best) = (0, None);
        for [start, end] in taken {
            let gap = start.saturating_sub(at);
            if gap >= bytes && best.is_none_or(|(g, _)| gap < g) {
                best = Some((gap, at));
            }
            at = at.max(end);
        }
        best.map_or(at, |(_, at)| at)
    }

    fn bytes(&self, offsets: &[u64]) -> u64 {
        let ends = self.buffers.iter().zip(offsets).map(|(b, o)| b.bytes + o);
        ends.max().unwrap_or(0)
    }

    fn improve(&self, best: (u64, Vec<usize>, Vec<u64>), bound: u64) -> Vec<u64> {
        let (mut bytes, mut order, mut offsets) = best;
        let n = order.len();
        let mut random = XorShift(0x9E37_79B9_7F4A_7C15);
        for _ in 0..SWAP_BUDGET / n.max(1) {
            if bytes <= bound {
                break;
            }
            let mut swapped = order.clone();
            swapped.swap(random.below(n), random.below(n));
            let tried = self.place_all(&swapped);
            // Equal ones are taken too: they lead off plateaus.
            if self.bytes(&tried) <= bytes {
                (bytes, order, offsets) = (self.bytes(&tried), swapped, tried);
            }
        }
        offsets
    }
}

struct XorShift(u64);

impl XorShift {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(buffers: &[(u64, usize, usize)]) -> (u64, u64) {
        let buffers: Vec<Buffer> =
            buffers.iter().map(|&(b, s, e)| Buffer { bytes: b * 64, live: [s, e] }).collect();
        let mut graph = UnGraph::default();
        for _ in &buffers {
            graph.add_node(());
        }
        for (i, a) in buffers.iter().enumerate() {
            for (j, b) in buffers.iter().enumerate().take(i) {
                if a.live[0] <= b.live[1] && b.live[0] <= a.live[1] {
                    graph.add_edge(NodeIndex::new(i), NodeIndex::new(j), ());
                }
            }
        }
        let offsets = pack(&buffers, &graph);
        for e in graph.raw_edges() {
            let (i, j) = (e.source().index(), e.target().index());
            let apart = offsets[i] + buffers[i].bytes <= offsets[j]
                || offsets[j] + buffers[j].bytes <= offsets[i];
            assert!(apart, "buffers {i} and {j} overlap");
        }
        let ends = buffers.iter().zip(&offsets).map(|(b, o)| b.bytes + o);
        (ends.max().unwrap_or(0) / 64, largest_live_set(&buffers) / 64)
    }

    #[test]
    fn reaches_the_bound_on_easy_cases() {
        assert_eq!(packed(&[]), (0, 0));
        assert_eq!(packed(&[(4, 0, 1), (2, 1, 2), (4, 2, 3)]), (6, 6));
        assert_eq!(packed(&[(1, 0, 9), (4, 0, 1), (2, 1, 2), (3, 2, 3), (5, 3, 9)]), (9, 9));
    }

    #[test]
    fn random_lives_stay_near_the_bound() {
        let mut random = XorShift(7);
        let (mut total, mut bound) = (0, 0);
        for _ in 0..50 {
            let buffers: Vec<_> = (0..60)
                .map(|i| (1 + random.below(40) as u64, i, i + 1 + random.below(4)))
                .collect();
            let (bytes, live) = packed(&buffers);
            total += bytes;
            bound += live;
        }
        assert!(total * 100 <= bound * 105, "{total} over {bound}");
    }
}
