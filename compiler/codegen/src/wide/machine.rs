//! What a CPU level offers to vectors of one width, and which instruction an op is.

use super::codes::*;
use iced_x86::{Code, Register};
use qcc_ir::DType;
use qcc_ir::dialect::loops::Op;
use qcc_runtime::cpu::CpuLevel;

/// Instructions and registers for vectors of one width.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Machine {
    /// Bytes of a vector: 16, 32 or 64.
    pub bytes: usize,
    /// AVX-512 F, BW, DQ, VL: 32 registers, masks, embedded broadcasts.
    pub evex: bool,
    /// `vpdpbusd` and `vpdpwssd`, in the encoding that `evex` says.
    pub vnni: bool,
    /// Tiles of bytes.
    pub amx: bool,
}

impl Machine {
    /// What `cpu` has for vectors of `bytes` bytes; `None`: no such vectors.
    pub fn new(cpu: CpuLevel, bytes: usize) -> Option<Machine> {
        let (evex, vnni) = match cpu {
            CpuLevel::X86V3 => (false, false),
            CpuLevel::X86AvxVnni => (false, true),
            CpuLevel::X86V4 => (true, false),
            CpuLevel::X86Avx512Vnni | CpuLevel::X86Amx => (true, true),
            CpuLevel::X86Baseline
            | CpuLevel::X86V2
            | CpuLevel::A64Baseline
            | CpuLevel::A64Dotprod
            | CpuLevel::A64I8mm => return None,
        };
        let has = matches!(bytes, 16 | 32) || bytes == 64 && evex;
        let amx = cpu == CpuLevel::X86Amx;
        has.then_some(Machine { bytes, evex, vnni, amx })
    }

    /// Number of vector registers.
    pub fn registers(self) -> usize {
        if self.evex { 32 } else { 16 }
    }

    /// Vector register `n` at full width.
    pub fn vector(self, n: u8) -> Register {
        match self.bytes {
            16 => xmm(n),
            32 => ymm(n),
            _ => Register::ZMM0 + u32::from(n),
        }
    }

    /// The encoding of an instruction.
    pub fn code(self, forms: Forms) -> Code {
        let size = self.bytes.trailing_zeros() as usize - 4;
        if self.evex { forms.evex[size] } else { forms.vex[size.min(1)] }
    }
}

/// The low 128 bits of vector register `n`.
pub(super) fn xmm(n: u8) -> Register {
    Register::XMM0 + u32::from(n)
}
/// The low 256 bits of vector register `n`.
pub(super) fn ymm(n: u8) -> Register {
    Register::YMM0 + u32::from(n)
}
/// Mask register `n`.
pub(super) fn mask(n: u8) -> Register {
    Register::K0 + u32::from(n)
}

/// Which operands of a one-instruction op may be in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// The only one.
    Unary,
    /// Either of two.
    Commutative,
    /// The second of two.
    Second,
}

/// The instruction of an op that is one instruction without immediate, on vectors of `elem` or,
/// for floats, scalars.
pub(super) fn single(m: Machine, op: &Op, elem: DType, scalar: bool) -> Option<(Forms, Shape)> {
    use Shape::*;
    let ints = |forms: [Option<Forms>; 4], shape| {
        let forms = match elem.size() {
            1 => forms[0],
            2 => forms[1],
            4 => forms[2],
            _ => forms[3],
        };
        forms.map(|f| (f, shape))
    };
    let quads = |f: Forms| m.evex.then_some(f);
    let floats = |vectors: [Forms; 2], scalars: [Forms; 2], shape| {
        let forms = if scalar { scalars } else { vectors };
        Some((forms[usize::from(elem == DType::F64)], shape))
    };
    match op {
        Op::Add(_) => ints([PADDB, PADDW, PADDD, PADDQ].map(Some), Commutative),
        Op::Sub(_) => ints([PSUBB, PSUBW, PSUBD, PSUBQ].map(Some), Second),
        Op::Mul(_) => ints([None, Some(PMULLW), Some(PMULLD), quads(PMULLQ)], Commutative),
        Op::And(_) => Some((PAND, Commutative)),
        Op::Or(_) => Some((POR, Commutative)),
        Op::Xor(_) => Some((PXOR, Commutative)),
        Op::MinS(_) => ints([Some(PMINSB), Some(PMINSW), Some(PMINSD), quads(PMINSQ)], Commutative),
        Op::MaxS(_) => ints([Some(PMAXSB), Some(PMAXSW), Some(PMAXSD), quads(PMAXSQ)], Commutative),
        Op::MinU(_) => ints([Some(PMINUB), Some(PMINUW), Some(PMINUD), quads(PMINUQ)], Commutative),
        Op::MaxU(_) => ints([Some(PMAXUB), Some(PMAXUW), Some(PMAXUD), quads(PMAXUQ)], Commutative),
        Op::Fadd(_) => floats([ADDPS, ADDPD], [ADDSS, ADDSD], Commutative),
        Op::Fsub(_) => floats([SUBPS, SUBPD], [SUBSS, SUBSD], Second),
        Op::Fmul(_) => floats([MULPS, MULPD], [MULSS, MULSD], Commutative),
        Op::Fdiv(_) => floats([DIVPS, DIVPD], [DIVSS, DIVSD], Second),
        Op::Fsqrt(_) if !scalar => floats([SQRTPS, SQRTPD], [SQRTPS, SQRTPD], Unary),
        Op::IntToFloat(_) if !scalar => Some((CVTDQ2PS, Unary)),
        Op::Truncate(_) => Some((CVTTPS2DQ, Unary)),
        // `elem` is the result's.
        Op::PackS(_) => ints([Some(PACKSSWB), Some(PACKSSDW), None, None], Second),
        Op::PackU(_) => ints([Some(PACKUSWB), Some(PACKUSDW), None, None], Second),
        Op::Dot2Sat(_) => Some((PMADDUBSW, Second)),
        Op::SubSat(_) => Some((PSUBSB, Second)),
        Op::Pick16(_) => Some((PSHUFB, Second)),
        Op::UnpackLow(_) => ints([PUNPCKLBW, PUNPCKLWD, PUNPCKLDQ, PUNPCKLQDQ].map(Some), Second),
        Op::UnpackHigh(_) => ints([PUNPCKHBW, PUNPCKHWD, PUNPCKHDQ, PUNPCKHQDQ].map(Some), Second),
        _ => None,
    }
}
