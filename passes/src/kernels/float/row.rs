//! Folding a row in 16 partial results, as the documentation of the nn dialect prescribes.

use super::emit::{Emit, lanes_type, splat};
use crate::kernels::kb::{Addr, Kb};
use qcc_ir::numerics::float::PARTIAL_SUMS;
use qcc_ir::{DType, Type, Value};
use qcc_runtime::float::Floats;

/// How two partial results become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Combine {
    /// a + b, from 0
    Sum,
    /// a · b, from 1
    Product,
    /// the smaller or NaN, from ∞
    Min,
    /// the larger or NaN, from −∞
    Max,
}

impl Combine {
    /// What a fold begins with.
    pub fn init(self) -> f64 {
        match self {
            Combine::Sum => 0.0,
            Combine::Product => 1.0,
            Combine::Min => f64::INFINITY,
            Combine::Max => f64::NEG_INFINITY,
        }
    }
    /// a ∘ b of `lanes` floats.
    pub fn emit(self, kb: &mut Kb, lanes: u8, a: Value, b: Value) -> Value {
        let e = &mut Emit::f32(kb, lanes);
        match self {
            Combine::Sum => e.kb.fadd(a, b),
            Combine::Product => e.kb.fmul(a, b),
            Combine::Min => e.min(a, b),
            Combine::Max => e.max(a, b),
        }
    }
}

/// A row in memory.
#[derive(Clone, Debug)]
pub struct Row {
    /// Elements.
    pub n: u64,
    /// Addresses of the first element, one per buffer that is walked, and bytes per element.
    pub at: Vec<(Addr, u64)>,
    /// Most floats in a vector.
    pub lanes: u8,
}

/// What is folded: the value of `lanes` elements at the given addresses.
pub type Element<'a> = dyn FnMut(&mut Kb, u8, &[Addr]) -> Value + 'a;

impl Row {
    /// Addresses of element `k`.
    fn moved(&self, k: u64) -> Vec<Addr> {
        self.at.iter().map(|(a, s)| a.at((k * s) as i64)).collect()
    }

    /// Floats per vector: 1 unless every buffer is contiguous.
    fn width(&self) -> u64 {
        let contiguous = self.at.iter().all(|(_, s)| *s == 4);
        if contiguous { u64::from(self.lanes).min(PARTIAL_SUMS as u64) } else { 1 }
    }

    /// The fold of `element` over the row, a scalar.
    pub fn fold(&self, kb: &mut Kb, combine: Combine, element: &mut Element) -> Value {
        let blocks = self.n / PARTIAL_SUMS as u64;
        let mut total = kb.float(Type::Scalar(DType::F32), combine.init());
        if blocks > 0 {
            total = self.blocks(kb, blocks, combine, element);
        }
        let done = blocks * PARTIAL_SUMS as u64;
        let rest = self.moved(done);
        let total = kb.fold(self.n - done, &[total], |kb, k, total| {
            let at: Vec<Addr> = rest.iter().zip(&self.at).map(|(a, s)| k.of(a, s.1)).collect();
            let v = element(kb, 1, &at);
            vec![combine.emit(kb, 1, total[0], v)]
        });
        total[0]
    }

    /// The 16 partial results of the whole blocks, combined by halves.
    fn blocks(&self, kb: &mut Kb, n: u64, combine: Combine, element: &mut Element) -> Value {
        let width = self.width();
        let lanes = width as u8;
        let init = kb.float(lanes_type(DType::F32, lanes), combine.init());
        let inits = vec![init; PARTIAL_SUMS / width as usize];
        let partial = kb.fold(n, &inits, |kb, block, partial| {
            let mut out = Vec::with_capacity(partial.len());
            for (i, &p) in partial.iter().enumerate() {
                let within = i as u64 * width;
                let at: Vec<Addr> = self
                    .at
                    .iter()
                    .map(|(a, s)| block.of(&a.at((within * s) as i64), PARTIAL_SUMS as u64 * s))
                    .collect();
                let v = element(kb, lanes, &at);
                out.push(combine.emit(kb, lanes, p, v));
            }
            out
        });
        self.combine(kb, partial, lanes, combine)
    }

    fn combine(&self, kb: &mut Kb, partial: Vec<Value>, lanes: u8, combine: Combine) -> Value {
        let vectors = halve(kb, partial, &mut |kb, a, b| combine.emit(kb, lanes, a, b));
        if lanes == 1 {
            return vectors;
        }
        let scalars = (0..u32::from(lanes)).map(|i| kb.extract(vectors, i)).collect();
        halve(kb, scalars, &mut |kb, a, b| combine.emit(kb, 1, a, b))
    }

    /// `body` for all elements, in vectors.
    pub fn each(&self, kb: &mut Kb, body: &mut dyn FnMut(&mut Kb, u8, &[Addr])) {
        let at: Vec<Addr> = self.at.iter().map(|(a, _)| a.clone()).collect();
        let steps: Vec<u64> = self.at.iter().map(|(_, s)| *s).collect();
        let lanes = if steps.iter().all(|&s| s == 4) { self.lanes } else { 1 };
        super::elementwise::runs(kb, self.n, lanes, &at, &steps, body);
    }
}

/// One of a power of two, each with the one half the number away.
fn halve(
    kb: &mut Kb,
    mut all: Vec<Value>,
    f: &mut dyn FnMut(&mut Kb, Value, Value) -> Value,
) -> Value {
    while all.len() > 1 {
        let half = all.len() / 2;
        all = (0..half).map(|j| f(kb, all[j], all[j + half])).collect();
    }
    all[0]
}

/// A scalar for use beside `lanes` floats.
pub fn repeated(kb: &mut Kb, lanes: u8, scalar: Value) -> Value {
    splat(kb, lanes, scalar)
}
