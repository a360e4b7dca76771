//! `int.lut`: one table entry per code of 8 or 16 bits.
//!
//! From bytes to bytes a vector of codes is looked up at once, 16 entries of the table at a time:
//! `pick16` gives the entry of the low bits for indices that are not negative as signed bytes, so
//! walking an index down by 16 passes through the 16 parts of the table, T0 to T15. An index below
//! 128 meets parts 0 to its own, then stays negative: `xor` sums differences, D0 = T0,
//! Dk = Tk ^ Tk−1, up to its part. An index of 128 and above is negative at first and meets, of the
//! first eight, those behind its own less 8; D8 to D15 take that back. From part 9 on differences
//! saturate, so that an index that has become negative never comes back.

use super::kb::{Addr, Kb};
use super::scalar_conv::load_wide;
use super::site::Site;
use super::{Arg, Call, Kernel, Machine, View, const_mem, each};
use qcc_ir::dialect::int;
use qcc_ir::{DType, Func, Value};

/// y = table[x − smallest code]. Buffers: x, table (an element of y's type per code, then what
/// vectors use), y.
#[derive(Clone, PartialEq, Debug)]
pub struct Lut {
    /// Codes of 8 or 16 bits.
    pub x: View,
    /// Results.
    pub y: View,
    /// Bytes of vectors of codes; 0: one code at a time.
    pub width: u64,
}

/// Vectors that are looked up together, so that each part of the table is read once for them.
const TOGETHER: u64 = 4;

impl Kernel for Lut {
    fn split(&self, tasks: super::split::Tasks) -> Vec<super::split::Part> {
        self.parts(tasks)
    }

    fn name(&self) -> String {
        format!("lut_{}_{}", self.x.dtype, self.y.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mems = [self.x.mem(), const_mem(self.table_bytes()), self.y.mem()];
        let mut kb = Kb::with_width(name, &mems, self.width.max(16));
        let (x, y) = (kb.mem(0), kb.mem(2));
        if self.x.is_empty() {
            return kb.finish();
        }
        let mut loops = each::loops(&self.x.shape, &[&self.x.strides, &self.y.strides]);
        let dense = loops.last().is_some_and(|(_, strides)| strides[..] == [1, 1]);
        if self.width == 0 || !dense {
            each::nest(&mut kb, &loops, &[x, y], &mut |kb, at| self.one(kb, &at[0], &at[1]));
            return kb.finish();
        }
        let n = loops.pop().map_or(1, |l| l.0);
        each::nest(&mut kb, &loops, &[x, y], &mut |kb, at| self.row(kb, n, &at[0], &at[1]));
        kb.finish()
    }
}

impl Lut {
    /// Bytes of the table, and of its parts for vectors.
    fn table_bytes(&self) -> usize {
        (self.y.dtype.size() << (8 * self.x.dtype.size())) + 16 * self.width as usize
    }

    /// `n` codes next to each other. x and y may be one place: nothing is read behind what is
    /// written.
    fn row(&self, kb: &mut Kb, n: u64, x: &Addr, y: &Addr) {
        let mut done = 0;
        for together in [TOGETHER, 1] {
            let step = together * self.width;
            let (x, y) = (x.at(done as i64), y.at(done as i64));
            let blocks = (n - done) / step;
            kb.for_each(blocks, |kb, k| {
                self.vectors(kb, together, &k.of(&x, step), &k.of(&y, step))
            });
            done += blocks * step;
        }
        let (x, y) = (x.at(done as i64), y.at(done as i64));
        kb.for_each(n - done, |kb, k| self.one(kb, &k.of(&x, 1), &k.of(&y, 1)));
    }

    fn vectors(&self, kb: &mut Kb, n: u64, x: &Addr, y: &Addr) {
        let at = |base: &Addr, i: u64| base.at((i * self.width) as i64);
        let mut indices: Vec<Value> = (0..n).map(|i| kb.load_vec(DType::I8, &at(x, i))).collect();
        let parts = kb.mem(1).at(256);
        let bytes = kb.vec(DType::I8);
        let sixteen = kb.int(bytes, 16);
        let mut sums: Vec<Value> = Vec::new();
        for part in 0..16 {
            let table = kb.load_vec(DType::I8, &at(&parts, part));
            for (i, index) in indices.iter_mut().enumerate() {
                if part > 0 {
                    *index = match part <= 8 {
                        true => kb.sub(*index, sixteen),
                        false => kb.sub_sat(*index, sixteen),
                    };
                }
                let picked = kb.pick16(table, *index);
                match sums.get_mut(i) {
                    Some(sum) => *sum = kb.xor(*sum, picked),
                    None => sums.push(picked),
                }
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            kb.store(sum, &at(y, i as u64));
        }
    }

    fn one(&self, kb: &mut Kb, x: &Addr, y: &Addr) {
        let size = self.y.dtype.size();
        let bits = 8 * self.x.dtype.size() as u32;
        let last = (1i64 << bits) - 1;
        let (unsigned, sign) = match bits {
            8 => (DType::U8, 0x80),
            _ => (DType::U16, 0x8000),
        };
        let mut code = load_wide(kb, unsigned, x, DType::I32);
        if self.x.dtype.min_max().0 < 0 {
            let sign = kb.i32(sign);
            code = kb.xor(code, sign);
        }
        let code = kb.clamp_s(code, 0, last);
        let table = kb.mem(1);
        let entry = kb.lookup(self.y.lane(), &table, code, size as i64, (0, last));
        kb.store(entry, y);
    }

    /// The table as it is, then its parts D0 to D15 as vectors read them, each for every 128 bits.
    fn pack(&self, table: &[u8]) -> Vec<u8> {
        let mut out = table.to_vec();
        if self.width == 0 {
            return out;
        }
        // By the byte that is stored.
        let flip = if self.x.dtype.min_max().0 < 0 { 0x80 } else { 0 };
        let entry = |part: usize, i: usize| table[(16 * part + i) ^ flip];
        for part in 0..16 {
            let difference = |i: usize| {
                let before = |part: usize| if part == 0 { 0 } else { entry(part - 1, i) };
                let own = entry(part, i) ^ before(part);
                if part < 8 { own } else { own ^ entry(part - 8, i) ^ before(part - 8) }
            };
            let bytes: Vec<u8> = (0..16).map(difference).collect();
            out.extend(bytes.repeat(self.width as usize / 16));
        }
        out
    }
}

/// Whether bytes are looked up in vectors: x86-64 needs SSSE3.
fn vector_width(machine: Machine, x: &View, y: &View) -> u64 {
    let bytes = x.dtype.size() == 1 && y.dtype.size() == 1;
    let large = x.len() >= machine.width;
    if bytes && large && machine.picks_bytes { machine.width } else { 0 }
}

/// Lowers `int.lut`.
///
/// # Errors
/// The table is not constant.
pub fn lower(site: &Site, _op: &int::Lut) -> Result<Vec<Call>, String> {
    let table = site.require_constant(1, "the table")?;
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    let width = vector_width(site.machine, &x, &y);
    let kernel = Lut { x, y, width };
    let table = Arg::Const { name: "table".into(), bytes: kernel.pack(table.bytes()) };
    let args = vec![site.arg(site.operand(0)), table, site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
