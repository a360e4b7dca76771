//! `int.arg_max`: index of the first extreme along an axis.

use super::kb::{Addr, Kb};
use super::scalar_conv::{load_wide, store_code};
use super::site::Site;
use super::{Arg, Call, Kernel, View, const_mem, each};
use qcc_ir::dialect::int;
use qcc_ir::dialect::loops::Pred;
use qcc_ir::{DType, Func, Type};

/// Buffers: x, y; where rows are searched a vector at a time, their indices.
#[derive(Clone, PartialEq, Debug)]
pub struct ArgMax {
    /// Codes.
    pub x: View,
    /// Indices (int32 or int64): x's shape without `axis`.
    pub y: View,
    /// The axis searched.
    pub axis: usize,
    /// The smallest rather than the largest.
    pub min: bool,
}

impl Kernel for ArgMax {
    fn split(&self, tasks: super::split::Tasks) -> Vec<super::split::Part> {
        self.parts(tasks)
    }

    fn name(&self) -> String {
        format!("arg_{}_{}", if self.min { "min" } else { "max" }, self.x.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mut mems = vec![self.x.mem(), self.y.mem()];
        if self.is_vector() {
            mems.push(const_mem(self.indices().len()));
        }
        let mut kb = Kb::new(name, &mems);
        let (x, y) = (kb.mem(0), kb.mem(1));
        if self.x.is_empty() {
            return kb.finish();
        }
        let mut strides = self.x.strides.clone();
        let along = strides.remove(self.axis);
        let n = self.x.shape[self.axis];
        let loops = each::loops(&self.y.shape, &[&strides, &self.y.strides]);
        if self.is_vector() {
            let rows = &mut |kb: &mut Kb, at: &[Addr]| self.row(kb, &at[0], &at[1]);
            each::nest(&mut kb, &loops, &[x, y], rows);
            return kb.finish();
        }
        each::nest(&mut kb, &loops, &[x, y], &mut |kb, at| {
            let first = load_wide(kb, self.x.dtype, &at[0], DType::I32);
            let zero = kb.i32(0);
            let rest = at[0].at(along as i64);
            let best = kb.fold(n - 1, &[first, zero], |kb, i, best| {
                let code = load_wide(kb, self.x.dtype, &i.of(&rest, along), DType::I32);
                let one = kb.i32(1);
                let before = kb.index(i);
                let index = kb.add(before, one);
                let pred = if self.min { Pred::Lt } else { Pred::Gt };
                let better = kb.cmp(pred, code, best[0]);
                let code = kb.select(better, code, best[0]);
                vec![code, kb.select(better, index, best[1])]
            });
            store_code(kb, best[1], self.y.dtype, &at[1]);
        });
        kb.finish()
    }
}

/// Bytes that are read at once.
const STEP: u64 = 16;

impl ArgMax {
    /// Whether rows are contiguous bytes, at least one vector of them, with indices of one byte.
    pub(super) fn is_vector(&self) -> bool {
        let last = self.axis + 1 == self.x.shape.len();
        let n = self.x.shape[self.axis];
        last && self.x.dtype.size() == 1 && self.x.is_dense_inner() && (STEP..=256).contains(&n)
    }
    /// Where each vector of a row starts; the last one overlaps the one before it.
    fn starts(&self) -> Vec<u64> {
        let n = self.x.shape[self.axis];
        let mut starts: Vec<u64> = (0..n / STEP).map(|i| i * STEP).collect();
        if !n.is_multiple_of(STEP) {
            starts.push(n - STEP);
        }
        starts
    }
    /// 255 less the index of each byte of each vector.
    fn indices(&self) -> Vec<u8> {
        let starts = self.starts().into_iter();
        starts.flat_map(|s| (s..s + STEP).map(|i| 255 - i as u8)).collect()
    }

    /// One row: the largest of `code · 256 + 255 − index` over all lanes, codes read as signed.
    fn row(&self, kb: &mut Kb, x: &Addr, y: &Addr) {
        let i8x16 = Type::v128(DType::I8);
        let unsigned = self.x.dtype == DType::U8;
        let flip = i64::from(if unsigned { 0x80 } else { 0 }) ^ if self.min { 0xFF } else { 0 };
        let indices = kb.mem(2);
        let mut best = None;
        for (k, start) in self.starts().into_iter().enumerate() {
            let codes = kb.load_vec(DType::I8, &x.at(start as i64));
            let flips = kb.int(i8x16.clone(), flip);
            let codes = kb.xor(codes, flips);
            let index = kb.load_vec(DType::I8, &indices.at(STEP as i64 * k as i64));
            for keys in [kb.unpack_low(index, codes), kb.unpack_high(index, codes)] {
                let keys = kb.bitcast(keys, Type::v128(DType::I16));
                best = Some(best.map_or(keys, |best| kb.max_s(best, keys)));
            }
        }
        let mut best = best.expect("a row has at least one vector");
        for distance in [8, 4, 2] {
            let other = kb.shuffle(best, best, std::array::from_fn(|i| (i as u32 + distance) % 16));
            best = kb.max_s(best, other);
        }
        let key = kb.extract(best, 0);
        let key = kb.ext_u(key, Type::Scalar(DType::I32));
        let last = kb.i32(255);
        let low = kb.and(key, last);
        let index = kb.sub(last, low);
        store_code(kb, index, self.y.dtype, y);
    }
}

/// Lowers `int.arg_max`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower(site: &Site, op: &int::ArgMax) -> Result<Vec<Call>, String> {
    let kernel = ArgMax {
        x: site.view(site.operand(0)),
        y: site.view(site.result()),
        axis: op.axis as usize,
        min: op.min,
    };
    let mut args = vec![site.arg(site.operand(0)), site.arg(site.result())];
    if kernel.is_vector() {
        args.push(Arg::Const { name: "indices".into(), bytes: kernel.indices() });
    }
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
