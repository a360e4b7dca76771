//! Dot products of bytes where the CPU has but `pmaddubsw`, which saturates sums of two products.
//!
//! Unsigned activations times int8 weights would: 255·127·2 > 32767. Magnitudes of weights (up to
//! 128) times signed bytes never do, and an activation x becomes such a byte by one `xor`: with 0x80
//! x − 128 where the weight is positive, with 0x7F 127 − x where it is negative. What that adds to
//! a sum is known from the weights alone and goes into the bias ([`WeightForm::surplus`]).
//!
//! [`WeightForm::surplus`]: qcc_ir::dialect::loops::WeightForm::surplus

use super::kb::{Addr, Kb};
use qcc_ir::{DType, Value};

/// What turns activations around, of one group of taps or rows.
pub(super) struct Flips {
    at: Addr,
    /// Those in registers; else each use is a load, which becomes a memory operand.
    held: Vec<Value>,
    /// Words of one.
    ones: Value,
}

impl Flips {
    /// The flips at `at`, those of the first `held` vectors in registers.
    pub fn of(kb: &mut Kb, at: &Addr, held: u64) -> Flips {
        let held = (0..held).map(|v| Flips::load(kb, at, v)).collect();
        let words = kb.vec(DType::I16);
        Flips { at: at.clone(), held, ones: kb.int(words, 1) }
    }
    fn load(kb: &mut Kb, at: &Addr, v: u64) -> Value {
        let at = at.at((kb.width() * v) as i64);
        kb.load_vec(DType::I8, &at)
    }
    /// acc + vector `v` of the weights, given their magnitudes, times x.
    pub fn dot(&self, kb: &mut Kb, v: u64, acc: Value, [x, magnitudes]: [Value; 2]) -> Value {
        let held = self.held.get(v as usize).copied();
        let flip = held.unwrap_or_else(|| Flips::load(kb, &self.at, v));
        let flipped = kb.xor(x, flip);
        let pairs = kb.dot2_sat(magnitudes, flipped);
        kb.dot2(acc, pairs, self.ones)
    }
}
