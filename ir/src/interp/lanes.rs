//! Numbers and vectors of numbers as bytes, and every pure loop op on them.
//!
//! A lane is read as a `u64` that holds its bits, zeros above; what they mean is the op's business.

use crate::DType;
use crate::dialect::loops::{DotSigns, Op, Pred};
use smallvec::SmallVec;

/// A scalar or vector: the lanes' bytes, little endian.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Lanes {
    /// The lanes' type.
    pub elem: DType,
    /// Their bytes.
    pub bytes: SmallVec<[u8; 16]>,
}

/// Element type and number of lanes.
type Ty = (DType, u8);

impl Lanes {
    /// From the lanes' bytes.
    pub fn from_bytes(elem: DType, bytes: &[u8]) -> Lanes {
        Lanes { elem, bytes: bytes.into() }
    }

    /// `n` lanes, given by the low bits of `f`.
    pub fn build((elem, n): Ty, f: impl Fn(usize) -> u64) -> Lanes {
        let mut bytes = SmallVec::new();
        for i in 0..usize::from(n) {
            bytes.extend_from_slice(&f(i).to_le_bytes()[..elem.size()]);
        }
        Lanes { elem, bytes }
    }

    fn size(&self) -> usize {
        self.elem.size()
    }
    fn len(&self) -> usize {
        self.bytes.len() / self.size()
    }
    fn bits(&self) -> u32 {
        8 * self.size() as u32
    }
    /// Lane `i` without sign; 0 beyond the last.
    pub fn u(&self, i: usize) -> u64 {
        let size = self.size();
        let mut wide = [0; 8];
        if let Some(lane) = self.bytes.get(i * size..(i + 1) * size) {
            wide[..size].copy_from_slice(lane);
        }
        u64::from_le_bytes(wide)
    }
    /// Lane `i` with sign.
    pub fn s(&self, i: usize) -> i64 {
        let unused = 64 - self.bits();
        (self.u(i) << unused) as i64 >> unused
    }
    /// Lane `i` as a float; exact.
    fn f(&self, i: usize) -> f64 {
        match self.elem {
            DType::F32 => f32::from_bits(self.u(i) as u32).into(),
            _ => f64::from_bits(self.u(i)),
        }
    }
}

/// The bits of `v` rounded to a float type.
fn float_bits(elem: DType, v: f64) -> u64 {
    match elem {
        DType::F32 => (v as f32).to_bits().into(),
        _ => v.to_bits(),
    }
}

/// Bytes that shuffles and width changes stay inside of.
const BLOCK: usize = 16;

/// The result, of type `ty`, of a pure op; `None` when `op` is none.
pub(super) fn eval(op: &Op, xs: &[&Lanes], ty: Ty) -> Option<Lanes> {
    match xs {
        [x, ..] if x.bytes.len() > BLOCK && works_in_blocks(op) => eval_blocks(op, xs, ty),
        _ => eval_whole(op, xs, ty),
    }
}

/// Ops that do in each 128 bits what they do in a vector of 128 bits.
fn works_in_blocks(op: &Op) -> bool {
    matches!(
        op,
        Op::IntToFloatLow(_)
            | Op::WidenLowS(_)
            | Op::WidenHighS(_)
            | Op::WidenLowU(_)
            | Op::WidenHighU(_)
            | Op::PackS(_)
            | Op::PackU(_)
            | Op::UnpackLow(_)
            | Op::UnpackHigh(_)
            | Op::Shuffle(_)
    )
}

fn eval_blocks(op: &Op, xs: &[&Lanes], (elem, n): Ty) -> Option<Lanes> {
    let blocks = xs[0].bytes.len() / BLOCK;
    let ty = (elem, (usize::from(n) / blocks) as u8);
    let mut bytes = SmallVec::new();
    for k in 0..blocks {
        let at = k * BLOCK..(k + 1) * BLOCK;
        let block = |x: &&Lanes| Some(Lanes::from_bytes(x.elem, x.bytes.get(at.clone())?));
        let parts: SmallVec<[Lanes; 3]> = xs.iter().map(block).collect::<Option<_>>()?;
        let parts: SmallVec<[&Lanes; 3]> = parts.iter().collect();
        bytes.extend_from_slice(&eval_whole(op, &parts, ty)?.bytes);
    }
    Some(Lanes { elem, bytes })
}

fn eval_whole(op: &Op, xs: &[&Lanes], ty: Ty) -> Option<Lanes> {
    match (op, xs) {
        (Op::Iconst(o), _) => Some(Lanes::build(ty, |_| o.value as u64)),
        (Op::Fconst(o), _) => Some(Lanes::build(ty, |_| float_bits(ty.0, o.value))),
        (op, &[a]) => unary(op, a, ty),
        (op, &[a, b]) => {
            let y = integer(op, a, b, ty).or_else(|| float(op, a, b, ty));
            y.or_else(|| shuffles(op, a, b, ty))
        }
        (op, &[a, b, c]) => ternary(op, a, b, c, ty),
        _ => None,
    }
}

fn unary(op: &Op, a: &Lanes, ty: Ty) -> Option<Lanes> {
    let half = a.len() / 2;
    let one = |f: &dyn Fn(usize) -> u64| Some(Lanes::build(ty, f));
    match op {
        Op::Splat(_) => one(&|_| a.u(0)),
        Op::Extract(o) => one(&|_| a.u(o.lane as usize)),
        Op::Shl(o) => one(&|i| a.u(i).wrapping_shl(o.n)),
        Op::ShrS(o) => one(&|i| a.s(i).wrapping_shr(o.n) as u64),
        Op::ShrU(o) => one(&|i| a.u(i).wrapping_shr(o.n)),
        Op::Clz(_) => one(&|i| u64::from(a.u(i).leading_zeros() - (64 - a.bits()))),
        Op::DivS(o) if o.by != 0 => one(&|i| a.s(i).wrapping_div(o.by) as u64),
        Op::ExtS(_) => one(&|i| a.s(i) as u64),
        Op::ExtU(_) | Op::Trunc(_) => one(&|i| a.u(i)),
        Op::IntToFloat(_) => one(&|i| match ty.0 {
            DType::F32 => (a.s(i) as f32).to_bits().into(),
            _ => (a.s(i) as f64).to_bits(),
        }),
        Op::IntToFloatLow(_) => one(&|i| (a.s(i) as f64).to_bits()),
        Op::Truncate(_) => one(&|i| a.f(i) as i32 as u64),
        Op::FloatToInt(_) => one(&|i| match ty.0 {
            DType::I32 => a.f(i) as i32 as u64,
            _ => a.f(i) as i64 as u64,
        }),
        Op::FloatCast(_) => one(&|i| float_bits(ty.0, a.f(i))),
        Op::Bitcast(_) => Some(Lanes::from_bytes(ty.0, &a.bytes)),
        Op::Compact(o) => {
            let low = |block: &'_ [u8]| block.iter().take(o.bytes as usize).copied().collect();
            let packed: Vec<Vec<u8>> = a.bytes.chunks(BLOCK).map(low).collect();
            let bytes = packed.concat().iter().cycle().take(a.bytes.len()).copied().collect();
            Some(Lanes { elem: ty.0, bytes })
        }
        Op::Fsqrt(_) => one(&|i| match ty.0 {
            DType::F32 => (a.f(i) as f32).sqrt().to_bits().into(),
            _ => a.f(i).sqrt().to_bits(),
        }),
        Op::WidenLowS(_) => one(&|i| a.s(i) as u64),
        Op::WidenHighS(_) => one(&|i| a.s(half + i) as u64),
        Op::WidenLowU(_) => one(&|i| a.u(i)),
        Op::WidenHighU(_) => one(&|i| a.u(half + i)),
        _ => None,
    }
}

fn integer(op: &Op, a: &Lanes, b: &Lanes, ty: Ty) -> Option<Lanes> {
    let one = |f: &dyn Fn(usize) -> u64| Some(Lanes::build(ty, f));
    let amount = || (b.u(0) & u64::from(a.bits() - 1)) as u32;
    match op {
        Op::Add(_) => one(&|i| a.u(i).wrapping_add(b.u(i))),
        Op::Sub(_) => one(&|i| a.u(i).wrapping_sub(b.u(i))),
        Op::SubSat(_) => one(&|i| (a.s(i) - b.s(i)).clamp(-128, 127) as u64),
        Op::Mul(_) => one(&|i| a.u(i).wrapping_mul(b.u(i))),
        Op::And(_) => one(&|i| a.u(i) & b.u(i)),
        Op::Or(_) => one(&|i| a.u(i) | b.u(i)),
        Op::Xor(_) => one(&|i| a.u(i) ^ b.u(i)),
        Op::ShlVar(_) => one(&|i| a.u(i).wrapping_shl(amount())),
        Op::ShrSVar(_) => one(&|i| a.s(i).wrapping_shr(amount()) as u64),
        Op::MinS(_) => one(&|i| a.s(i).min(b.s(i)) as u64),
        Op::MaxS(_) => one(&|i| a.s(i).max(b.s(i)) as u64),
        Op::MinU(_) => one(&|i| a.u(i).min(b.u(i))),
        Op::MaxU(_) => one(&|i| a.u(i).max(b.u(i))),
        Op::Cmp(o) => one(&|i| mask(ty, holds(o.pred, (a.s(i), b.s(i)), a.u(i) < b.u(i)))),
        _ => None,
    }
}

/// Whether a comparison holds; `below` is the unsigned a < b.
fn holds<T: PartialOrd>(pred: Pred, (a, b): (T, T), below: bool) -> bool {
    match pred {
        Pred::Eq => a == b,
        Pred::Ne => a != b,
        Pred::Lt => a < b,
        Pred::Le => a <= b,
        Pred::Gt => a > b,
        Pred::Ge => a >= b,
        Pred::Ult => below,
    }
}

/// What a comparison gives: all bits for vectors, 1 for scalars.
fn mask((_, n): Ty, holds: bool) -> u64 {
    match (holds, n) {
        (false, _) => 0,
        (true, 1) => 1,
        (true, _) => u64::MAX,
    }
}

/// Each operation rounds once: f32 in f32.
fn float(op: &Op, a: &Lanes, b: &Lanes, ty: Ty) -> Option<Lanes> {
    if let Op::Fcmp(o) = op {
        let lane = |i| mask(ty, holds(o.pred, (a.f(i), b.f(i)), false));
        return Some(Lanes::build(ty, lane));
    }
    let single: fn(f32, f32) -> f32;
    let double: fn(f64, f64) -> f64;
    match op {
        Op::Fadd(_) => (single, double) = (|a, b| a + b, |a, b| a + b),
        Op::Fsub(_) => (single, double) = (|a, b| a - b, |a, b| a - b),
        Op::Fmul(_) => (single, double) = (|a, b| a * b, |a, b| a * b),
        Op::Fdiv(_) => (single, double) = (|a, b| a / b, |a, b| a / b),
        _ => return None,
    }
    Some(Lanes::build(ty, |i| match ty.0 {
        DType::F32 => single(a.f(i) as f32, b.f(i) as f32).to_bits().into(),
        _ => double(a.f(i), b.f(i)).to_bits(),
    }))
}

fn shuffles(op: &Op, a: &Lanes, b: &Lanes, ty: Ty) -> Option<Lanes> {
    let n = a.len();
    let half = n / 2;
    match op {
        Op::PackS(_) => Some(pack(a, b, ty, true)),
        Op::PackU(_) => Some(pack(a, b, ty, false)),
        Op::Dot2Sat(_) => {
            let sum = |i: usize| (2 * i..2 * i + 2).map(|j| a.u(j) as i64 * b.s(j)).sum::<i64>();
            Some(Lanes::build(ty, |i| sum(i).clamp(i16::MIN.into(), i16::MAX.into()) as u64))
        }
        Op::Pick16(_) => {
            let entry = |i: usize| a.u(i / 16 * 16 + b.u(i) as usize % 16);
            let pick = |i| if b.s(i) < 0 { 0 } else { entry(i) };
            Some(Lanes::build(ty, pick))
        }
        Op::UnpackLow(_) => Some(interleave(a, b, ty, 0)),
        Op::UnpackHigh(_) => Some(interleave(a, b, ty, half)),
        Op::Shuffle(o) => {
            let byte = |&at: &u32| {
                let at = at as usize;
                let found = if at < 16 { a.bytes.get(at) } else { b.bytes.get(at - 16) };
                found.copied().unwrap_or_default()
            };
            let bytes = o.mask.iter().map(byte).collect();
            Some(Lanes { elem: ty.0, bytes })
        }
        _ => None,
    }
}

fn pack(a: &Lanes, b: &Lanes, ty: Ty, signed: bool) -> Lanes {
    let bits = 8 * ty.0.size() as u32;
    let (lo, hi) = match signed {
        true => (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1),
        false => (0, (1i64 << bits) - 1),
    };
    let n = a.len();
    let lane = |i| if i < n { a.s(i) } else { b.s(i - n) };
    Lanes::build(ty, |i| lane(i).clamp(lo, hi) as u64)
}

fn interleave(a: &Lanes, b: &Lanes, ty: Ty, first: usize) -> Lanes {
    let from = |i: usize| if i.is_multiple_of(2) { a } else { b };
    Lanes::build(ty, |i| from(i).u(first + i / 2))
}

fn ternary(op: &Op, a: &Lanes, b: &Lanes, c: &Lanes, ty: Ty) -> Option<Lanes> {
    let dot = |n: usize, left: &dyn Fn(usize) -> i64| {
        let sum = |i: usize| (n * i..n * (i + 1)).map(|j| left(j) * c.s(j)).sum::<i64>();
        Some(Lanes::build(ty, |i| a.s(i).wrapping_add(sum(i)) as u64))
    };
    match op {
        Op::Fma(_) => Some(Lanes::build(ty, |i| match ty.0 {
            DType::F32 => (a.f(i) as f32).mul_add(b.f(i) as f32, c.f(i) as f32).to_bits().into(),
            _ => a.f(i).mul_add(b.f(i), c.f(i)).to_bits(),
        })),
        Op::Select(_) => Some(Lanes::build(ty, |i| if a.u(i) != 0 { b.u(i) } else { c.u(i) })),
        Op::Dot4(o) => match o.signs {
            DotSigns::U8S8 => dot(4, &|j| b.u(j) as i64),
            DotSigns::S8S8 => dot(4, &|j| b.s(j)),
        },
        Op::Dot2(_) => dot(2, &|j| b.s(j)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::loops;

    fn vector(elem: DType, values: &[i64]) -> Lanes {
        Lanes::build((elem, values.len() as u8), |i| values[i] as u64)
    }
    fn signed(op: impl Into<crate::OpKind>, xs: &[&Lanes], ty: Ty) -> Vec<i64> {
        let crate::OpKind::Loop(op) = op.into() else { panic!("a loop op") };
        let y = eval(&op, xs, ty).unwrap();
        (0..y.len()).map(|i| y.s(i)).collect()
    }

    #[test]
    fn packs_saturate() {
        let (a, b) = (vector(DType::I32, &[70_000, -70_000, 5, -5]), vector(DType::I32, &[0; 4]));
        let ty = (DType::I16, 8);
        assert_eq!(signed(loops::PackS {}, &[&a, &b], ty)[..4], [32767, -32768, 5, -5]);
        let y = signed(loops::PackU {}, &[&a, &b], ty);
        assert_eq!(y[..4], [-1, 0, 5, 0]); // 65535 read with sign
    }

    #[test]
    fn packs_stay_inside_128_bits() {
        let a = vector(DType::I32, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let b = vector(DType::I32, &[10, 20, 30, 40, 50, 60, 70, 80]);
        let y = signed(loops::PackS {}, &[&a, &b], (DType::I16, 16));
        assert_eq!(y, [1, 2, 3, 4, 10, 20, 30, 40, 5, 6, 7, 8, 50, 60, 70, 80]);
        let y = signed(loops::WidenHighS {}, &[&a], (DType::I64, 4));
        assert_eq!(y, [3, 4, 7, 8]);
        let y = signed(loops::UnpackLow {}, &[&a, &b], (DType::I32, 8));
        assert_eq!(y, [1, 10, 2, 20, 5, 50, 6, 60]);
    }

    #[test]
    fn dots_read_signs_as_told_and_wrap() {
        let a = vector(DType::I8, &[-1, 1, 0, 0]);
        let b = vector(DType::I8, &[-128, 2, 3, 4]);
        let acc = vector(DType::I32, &[i32::MIN.into()]);
        let dot = |signs| signed(loops::Dot4 { signs }, &[&acc, &a, &b], (DType::I32, 1));
        assert_eq!(dot(DotSigns::S8S8), [i64::from(i32::MIN) + 130]);
        let wrapped = i32::MIN.wrapping_add(255 * -128 + 2);
        assert_eq!(dot(DotSigns::U8S8), [i64::from(wrapped)]);
    }

    #[test]
    fn floats_become_integers_toward_zero() {
        let x = |v: f32| Lanes::build((DType::F32, 1), |_| v.to_bits().into());
        let y = |v| signed(loops::FloatToInt {}, &[&x(v)], (DType::I32, 1))[0];
        assert_eq!([y(-1.9), y(1e30), y(f32::NAN)], [-1, i32::MAX.into(), 0]);
    }

    #[test]
    fn comparisons_give_masks() {
        let (a, b) = (vector(DType::I8, &[1, -1]), vector(DType::I8, &[2, 2]));
        let lt = |pred, n| signed(loops::Cmp { pred }, &[&a, &b], (DType::I8, n));
        assert_eq!(lt(Pred::Lt, 2), [-1, -1]);
        assert_eq!(lt(Pred::Ult, 2), [-1, 0]);
        assert_eq!(lt(Pred::Lt, 1), [1]);
    }
}
