//! `int.reduce_max`: the largest or smallest code over axes.
//!
//! Where neighbouring results come from neighbouring codes, a vector of them is folded at once.
//! Where a row of codes gives one result, the row is folded vector by vector, the last one
//! overlapping the one before it, and then the lanes of what is left.

use super::kb::{Addr, Kb};
use super::reduced::{Reduced, check_output};
use super::site::Site;
use super::{Call, Kernel, View};
use qcc_ir::dialect::int;
use qcc_ir::{Func, Type, Value};

/// Buffers: x, y.
#[derive(Clone, PartialEq, Debug)]
pub struct ReduceMax {
    /// Codes of any rank.
    pub x: View,
    /// As many elements as the axes that are left, in order; the type of x.
    pub y: View,
    /// Reduced axes.
    pub axes: Vec<u32>,
    /// The smallest rather than the largest.
    pub min: bool,
    /// Bytes of a vector; 16 where rows are folded.
    pub width: u64,
}

impl Kernel for ReduceMax {
    fn name(&self) -> String {
        format!("reduce_{}_{}", if self.min { "min" } else { "max" }, self.x.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::with_width(name, &[self.x.mem(), self.y.mem()], self.width);
        let (x, y) = (kb.mem(0), kb.mem(1));
        if self.y.is_empty() {
            return kb.finish();
        }
        let reduced = Reduced::new(&self.x, &self.y, &self.axes);
        reduced.nest(&mut kb, &x, &y, &mut |kb, x, y| self.row(kb, &reduced, x, y));
        kb.finish()
    }
}

impl ReduceMax {
    /// The results of one row of channels.
    fn row(&self, kb: &mut Kb, reduced: &Reduced, x: &Addr, y: &Addr) {
        let size = self.x.dtype.size() as u64;
        let scalar = Type::Scalar(self.x.lane());
        let side_by_side = reduced.x_step == size && reduced.y_step == size;
        let lanes = self.width / size;
        let vectors = if side_by_side { reduced.channels / lanes } else { 0 };
        let vector = kb.vec(self.x.lane());
        kb.for_each(vectors, |kb, k| {
            let code = self.extreme(kb, &k.of(x, self.width), &reduced.taps, &vector);
            kb.store(code, &k.of(y, self.width));
        });
        let done = (vectors * self.width) as i64;
        let (x, y) = (x.at(done), y.at(done));
        kb.for_each(reduced.channels - vectors * lanes, |kb, c| {
            let x = c.of(&x, reduced.x_step);
            let code = match self.dense_row(&reduced.taps) {
                Some((outer, n)) => self.extreme_of_rows(kb, &x, outer, n),
                None => self.extreme(kb, &x, &reduced.taps, &scalar),
            };
            kb.store(code, &c.of(&y, reduced.y_step));
        });
    }

    /// The loops around rows of at least one vector of neighbouring codes, and the row's length.
    fn dense_row<'t>(&self, taps: &'t [(u64, u64)]) -> Option<(&'t [(u64, u64)], u64)> {
        let (&(n, stride), outer) = taps.split_last()?;
        let size = self.x.dtype.size() as u64;
        (stride == size && n * size >= ROW_STEP).then_some((outer, n))
    }

    /// The extreme of the codes that `taps` reach from `x`, in each lane of `ty`.
    fn extreme(&self, kb: &mut Kb, x: &Addr, taps: &[(u64, u64)], ty: &Type) -> Value {
        let first = kb.load(ty.clone(), x);
        self.fold(kb, x, taps, first, &mut |kb, x| kb.load(ty.clone(), x))
    }

    /// The extreme of rows of `n` codes, one per step of the loops `outer`.
    fn extreme_of_rows(&self, kb: &mut Kb, x: &Addr, outer: &[(u64, u64)], n: u64) -> Value {
        let first = self.lanes_of_row(kb, x, n);
        let mut best = self.fold(kb, x, outer, first, &mut |kb, x| self.lanes_of_row(kb, x, n));
        let size = self.x.dtype.size() as u32;
        for distance in [8, 4, 2, 1].into_iter().filter(|&d| d >= size) {
            let rotated = std::array::from_fn(|i| (i as u32 + distance) % ROW_STEP as u32);
            let bytes = kb.bitcast(best, Type::v128(qcc_ir::DType::I8));
            let other = kb.shuffle(bytes, bytes, rotated);
            let other = kb.bitcast(other, Type::v128(self.x.lane()));
            best = self.better(kb, best, other);
        }
        kb.extract(best, 0)
    }

    /// The extreme of a row's vectors, lane by lane.
    fn lanes_of_row(&self, kb: &mut Kb, x: &Addr, n: u64) -> Value {
        let bytes = n * self.x.dtype.size() as u64;
        let ty = Type::v128(self.x.lane());
        let last = kb.load(ty.clone(), &x.at((bytes - ROW_STEP) as i64));
        let all = kb.fold(bytes / ROW_STEP, &[last], |kb, k, best| {
            let codes = kb.load(ty.clone(), &k.of(x, ROW_STEP));
            vec![self.better(kb, best[0], codes)]
        });
        all[0]
    }

    /// Folds what `load` reads at each step of the loops `taps` into `best`.
    fn fold(
        &self,
        kb: &mut Kb,
        x: &Addr,
        taps: &[(u64, u64)],
        best: Value,
        load: &mut dyn FnMut(&mut Kb, &Addr) -> Value,
    ) -> Value {
        let Some((&(n, stride), inner)) = taps.split_first() else {
            let codes = load(kb, x);
            return self.better(kb, best, codes);
        };
        let all = kb.fold(n, &[best], |kb, k, best| {
            vec![self.fold(kb, &k.of(x, stride), inner, best[0], load)]
        });
        all[0]
    }

    fn better(&self, kb: &mut Kb, a: Value, b: Value) -> Value {
        match (self.x.dtype.min_max().0 == 0, self.min) {
            (true, true) => kb.min_u(a, b),
            (true, false) => kb.max_u(a, b),
            (false, true) => kb.min_s(a, b),
            (false, false) => kb.max_s(a, b),
        }
    }
}

/// Bytes of the vectors that fold a row.
const ROW_STEP: u64 = 16;

/// Lowers `int.reduce_max`.
///
/// # Errors
/// The output has a shape of its own and is not dense.
pub fn lower(site: &Site, op: &int::ReduceMax) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    check_output(&x, &y, &op.axes)?;
    let mut kernel = ReduceMax { x, y, axes: op.axes.clone(), min: op.min, width: ROW_STEP };
    let reduced = Reduced::new(&kernel.x, &kernel.y, &kernel.axes);
    if kernel.dense_row(&reduced.taps).is_none() {
        kernel.width = site.machine.width;
    }
    let args = vec![site.arg(site.operand(0)), site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
