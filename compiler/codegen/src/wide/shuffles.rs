//! Shuffles of bytes inside 128 bits, and widening.

use super::codes::*;
use super::literals::Literal;
use super::machine::Machine;
use super::plan::Class;
use super::walk::Walk;
use crate::CodegenError;
use qcc_ir::Value;
use qcc_ir::dialect::loops::Op;

type Result<T> = std::result::Result<T, CodegenError>;

/// How a shuffle is done.
#[derive(Clone, PartialEq, Debug)]
enum Way {
    /// One operand as it is.
    Copy(usize),
    /// `vpshufd` of one operand.
    Words(usize, u8),
    /// `vpshufb` of one operand.
    Bytes(usize, Literal),
    /// An instruction of two operands, the first of which is given.
    Pair(Forms, usize),
    /// An instruction of two operands, the first of which is given, with an immediate.
    PairImm(Forms, usize, u8),
    /// `vpshufb` of both, zeros where the other one is, combined.
    Both(Literal, Literal),
}

impl PartialEq for Forms {
    fn eq(&self, other: &Forms) -> bool {
        self.evex == other.evex
    }
}

/// Literals that a shuffle reads.
pub(super) fn masks(mask: &[u32]) -> Vec<Literal> {
    match way(mask) {
        Way::Bytes(_, l) => vec![l],
        Way::Both(a, b) => vec![a, b],
        _ => vec![],
    }
}

/// The order of lanes that `vpermd` or `vpermq` takes for `loop.compact`, unless an immediate does.
pub(super) fn compact_order(m: Machine, bytes: u32) -> Option<Literal> {
    let lanes = m.bytes / 16;
    let order: Vec<u8> = match (bytes, m.bytes) {
        (_, 16) | (8, 32) => return None,
        (8, _) => (0..m.bytes / 8).flat_map(|i| (2 * (i % lanes) as u64).to_le_bytes()).collect(),
        _ => (0..m.bytes / 4).flat_map(|i| (4 * (i % lanes) as u32).to_le_bytes()).collect(),
    };
    Some(Literal::repeat(&order))
}

fn way(mask: &[u32]) -> Way {
    let from = |operand: u32| mask.iter().all(|&i| i / 16 == operand);
    if let Some(operand) = [0, 1].into_iter().find(|&o| from(o)) {
        let local: Vec<u8> = mask.iter().map(|&i| (i % 16) as u8).collect();
        let operand = operand as usize;
        if local.iter().enumerate().all(|(i, &m)| usize::from(m) == i) {
            return Way::Copy(operand);
        }
        return match words(mask) {
            Some(w) => Way::Words(operand, immediate(w.map(|w| w % 4))),
            None => Way::Bytes(operand, Literal::repeat(&local)),
        };
    }
    two_operands(mask).unwrap_or_else(|| {
        let side = |operand: u32| {
            let byte = |&i: &u32| if i / 16 == operand { (i % 16) as u8 } else { 0x80 };
            Literal::repeat(&mask.iter().map(byte).collect::<Vec<u8>>())
        };
        Way::Both(side(0), side(1))
    })
}

/// The 32-bit lanes (0–7) that a mask moves as wholes.
fn words(mask: &[u32]) -> Option<[u32; 4]> {
    let mut out = [0; 4];
    for (i, group) in mask.chunks(4).enumerate() {
        let whole = group[0] % 4 == 0 && (0..4).all(|j| group[j] == group[0] + j as u32);
        if !whole {
            return None;
        }
        out[i] = group[0] / 4;
    }
    Some(out)
}

fn immediate(words: [u32; 4]) -> u8 {
    words.iter().enumerate().fold(0, |imm, (i, &w)| imm | (w as u8) << (2 * i))
}

fn two_operands(mask: &[u32]) -> Option<Way> {
    let low = [PUNPCKLBW, PUNPCKLWD, PUNPCKLDQ, PUNPCKLQDQ];
    let high = [PUNPCKHBW, PUNPCKHWD, PUNPCKHDQ, PUNPCKHQDQ];
    for (first, forms) in [(0, low), (8, high)] {
        for (k, forms) in forms.into_iter().enumerate() {
            let width = 1 << k;
            for swapped in [0, 1] {
                let fits = |(i, &m): (usize, &u32)| m == interleaved(width, first, i, swapped);
                if mask.iter().enumerate().all(fits) {
                    return Some(Way::Pair(forms, swapped as usize));
                }
            }
        }
    }
    if let Some(w) = words(mask) {
        for first in [0, 1] {
            let side = |i: usize| w[i] / 4 == if i < 2 { first } else { 1 - first };
            if (0..4).all(side) {
                return Some(Way::PairImm(SHUFPS, first as usize, immediate(w.map(|w| w % 4))));
            }
        }
    }
    // Bytes of both in a row: the second operand of `vpalignr` is the lower one.
    for lower in [0, 1] {
        let at = |i: usize| (mask[i] + 16 * lower) % 32;
        if (0..16).all(|i| at(i) == at(0) + i as u32) && at(0) < 16 {
            return Some(Way::PairImm(PALIGNR, 1 - lower as usize, at(0) as u8));
        }
    }
    None
}

/// Byte `i` of the interleave of lanes of `width` bytes from byte `first` on.
fn interleaved(width: u32, first: u32, i: usize, swapped: u32) -> u32 {
    let (lane, byte) = (i as u32 / width, i as u32 % width);
    ((lane % 2) ^ swapped) * 16 + first + lane / 2 * width + byte
}

impl Walk<'_> {
    pub fn shuffle(&mut self, v: Value, arg: &[Value], mask: &[u32]) -> Result<()> {
        let same = self.plan.root(arg[0]) == self.plan.root(arg[1]);
        let way = match way(mask) {
            Way::Both(..) | Way::Pair(..) | Way::PairImm(..) if same => {
                let local: Vec<u32> = mask.iter().map(|i| i % 16).collect();
                way(&local)
            }
            other => other,
        };
        match way {
            Way::Copy(i) => {
                let from = self.register(arg[i])?;
                self.release_operands();
                let d = self.define_vector(v)?;
                if d != from {
                    self.v2(MOVE, d, self.m.vector(from));
                }
            }
            Way::Words(i, n) => {
                let from = self.register(arg[i])?;
                self.release_operands();
                let d = self.define_vector(v)?;
                self.v2i(PSHUFD, d, self.m.vector(from), n);
            }
            Way::Bytes(i, mask) => {
                let from = self.register(arg[i])?;
                let mask = self.literal_operand(&mask, PSHUFB.broadcast);
                self.release_operands();
                let d = self.define_vector(v)?;
                self.v3(PSHUFB, d, from, mask);
            }
            Way::Pair(forms, first) => {
                let a = self.register(arg[first])?;
                let b = self.operand(arg[1 - first], forms.broadcast)?;
                self.release_operands();
                let d = self.define_vector(v)?;
                self.v3(forms, d, a, b);
            }
            Way::PairImm(forms, first, n) => {
                let a = self.register(arg[first])?;
                let b = self.register(arg[1 - first])?;
                self.release_operands();
                let d = self.define_vector(v)?;
                self.v3i(forms, d, a, self.m.vector(b), n);
            }
            Way::Both(of_a, of_b) => {
                let (a, b) = (self.register(arg[0])?, self.register(arg[1])?);
                let [of_a, of_b] = [of_a, of_b].map(|l| self.literal_operand(&l, PSHUFB.broadcast));
                let t = self.temp()?;
                self.v3(PSHUFB, t, b, of_b);
                let d = self.define_vector(v)?;
                self.v3(PSHUFB, d, a, of_a);
                self.r3(POR, d, d, t);
            }
        }
        Ok(())
    }

    /// The low 4 or 8 bytes of each 128 bits, next to each other.
    pub fn compact(&mut self, v: Value, x: Value, bytes: u32) -> Result<()> {
        let from = self.register(x)?;
        let order = match compact_order(self.m, bytes) {
            Some(order) => Some(self.literal_register(&order)?),
            None => None,
        };
        self.release_operands();
        let d = self.define_vector(v)?;
        match order {
            None if self.m.bytes == 16 => {
                let pattern = if bytes == 8 { 0b01_00_01_00 } else { 0 };
                self.v2i(PSHUFD, d, self.m.vector(from), pattern);
            }
            // 0, 2, 0, 2
            None => self.v2i(PERMQ_IMM, d, self.m.vector(from), 0b10_00_10_00),
            Some(order) => {
                let forms = if bytes == 8 { PERMQ } else { PERMD };
                self.v3(forms, d, order, self.m.vector(from));
            }
        }
        Ok(())
    }

    /// Half of each 128 bits, twice as wide.
    pub fn widen(&mut self, v: Value, x: Value, kind: &Op) -> Result<()> {
        let size = self.plan.lanes(x).0.size();
        let lane = match size {
            1 => 0,
            2 => 1,
            _ => 2,
        };
        let signed = matches!(kind, Op::WidenLowS(_) | Op::WidenHighS(_));
        if let Class::Folded(load) = *self.plan.class(x) {
            let forms = match signed {
                true => [PMOVSXBW, PMOVSXWD, PMOVSXDQ],
                false => [PMOVZXBW, PMOVZXWD, PMOVZXDQ],
            };
            let from = self.address(load)?;
            let d = self.define_vector(v)?;
            self.v2(forms[lane], d, from);
            return Ok(());
        }
        let forms = match kind {
            Op::WidenLowS(_) | Op::WidenLowU(_) => [PUNPCKLBW, PUNPCKLWD, PUNPCKLDQ],
            _ => [PUNPCKHBW, PUNPCKHWD, PUNPCKHDQ],
        };
        let x = self.register(x)?;
        let above = match signed {
            false => self.literal_register(&Literal::lanes(0, 8))?,
            true if size == 4 => {
                let t = self.temp()?;
                self.v2i(PSRAD, t, self.m.vector(x), 31);
                t
            }
            true => x,
        };
        self.release_operands();
        let d = self.define_vector(v)?;
        self.r3(forms[lane], d, x, above);
        match (signed, size) {
            (true, 1) => self.v2i(PSRAW, d, self.m.vector(d), 8),
            (true, 2) => self.v2i(PSRAD, d, self.m.vector(d), 16),
            _ => {}
        }
        Ok(())
    }
}
