//! Constants of a function: what they are, and where they stand behind its code.

use indexmap::IndexSet;
use smallvec::SmallVec;

/// A constant vector or float: its bytes, repeated from the shortest period of at least 4.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Literal(SmallVec<[u8; 16]>);

impl Literal {
    /// The vector that repeats `bytes` (a power of two of them).
    pub fn repeat(bytes: &[u8]) -> Literal {
        let mut period = SmallVec::from_slice(bytes);
        while period.len() < 4 {
            let half = period.clone();
            period.extend(half);
        }
        while period.len() > 4 && period[..period.len() / 2] == period[period.len() / 2..] {
            period.truncate(period.len() / 2);
        }
        Literal(period)
    }
    /// `value` in lanes of `size` bytes.
    pub fn lanes(value: i64, size: usize) -> Literal {
        Literal::repeat(&value.to_le_bytes()[..size])
    }
    /// One period.
    pub fn period(&self) -> &[u8] {
        &self.0
    }
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|&b| b == 0)
    }
    pub fn is_ones(&self) -> bool {
        self.0.iter().all(|&b| b == 0xFF)
    }
    /// The first `n` bytes of the vector.
    fn bytes(&self, n: usize) -> Vec<u8> {
        self.0.iter().copied().cycle().take(n).collect()
    }
}

/// The literals that code reads.
#[derive(Default)]
pub(super) struct Pool {
    entries: IndexSet<Vec<u8>>,
}

impl Pool {
    /// The entry for the first `bytes` bytes of a literal.
    pub fn entry(&mut self, literal: &Literal, bytes: usize) -> usize {
        self.entries.insert_full(literal.bytes(bytes)).0
    }

    /// Appends all entries to the code, largest first, each at a multiple of its size; where each
    /// one stands.
    pub fn place(&self, code: &mut Vec<u8>) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.entries.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(self.entries[i].len()));
        let mut places = vec![0; order.len()];
        for i in order {
            let bytes = &self.entries[i];
            let at = code.len().next_multiple_of(bytes.len());
            code.resize(at, 0xCC);
            places[i] = at;
            code.extend_from_slice(bytes);
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_period_of_at_least_four() {
        assert_eq!(Literal::lanes(-1, 1).period(), [0xFF; 4]);
        assert_eq!(Literal::lanes(0x0102, 2).period(), [2, 1, 2, 1]);
        assert_eq!(Literal::lanes(5, 8).period(), [5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Literal::lanes(0, 8).period(), [0; 4]);
    }

    #[test]
    fn entries_stand_once_and_aligned() {
        let mut pool = Pool::default();
        let one = pool.entry(&Literal::lanes(1, 4), 4);
        let wide = pool.entry(&Literal::lanes(1, 4), 64);
        assert_eq!(pool.entry(&Literal::lanes(1, 4), 4), one);
        let mut code = vec![0x90; 3];
        let places = pool.place(&mut code);
        assert_eq!((places[wide], places[one]), (64, 128));
        assert_eq!(code[places[one]..], [1, 0, 0, 0]);
    }
}
