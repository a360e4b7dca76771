//! Register files: which registers are free.

use iced_x86::Register;

/// Up to 32 registers of one kind, by number.
#[derive(Clone, Debug)]
pub(super) struct File {
    free: u32,
    used: u32,
    /// Registers that carried values come back to: taken last.
    wanted: [u8; 32],
}

impl File {
    /// Registers `0..n`, all free.
    pub fn new(n: usize) -> File {
        let free = if n >= 32 { u32::MAX } else { (1 << n) - 1 };
        File { free, used: 0, wanted: [0; 32] }
    }
    /// Takes `prefer` if it is free, else the first free register that nothing comes back to,
    /// else any.
    pub fn take(&mut self, prefer: Option<u8>) -> Option<u8> {
        let prefer = prefer.filter(|&r| self.free >> r & 1 == 1);
        let calm = || (0..32).find(|&r| self.free >> r & 1 == 1 && self.wanted[r as usize] == 0);
        let any = || (0..32).find(|&r| self.free >> r & 1 == 1);
        let r = prefer.or_else(calm).or_else(any)?;
        self.free &= !(1 << r);
        self.used |= 1 << r;
        Some(r)
    }
    /// Takes `r`, which is free.
    pub fn claim(&mut self, r: u8) {
        let taken = self.take(Some(r));
        debug_assert_eq!(taken, Some(r), "the register is free");
    }
    pub fn release(&mut self, r: u8) {
        debug_assert!(self.free >> r & 1 == 0, "a register is released once");
        self.free |= 1 << r;
    }
    /// From now on `r` is taken only when nothing else is free.
    pub fn want(&mut self, r: u8) {
        self.wanted[r as usize] += 1;
    }
    pub fn unwant(&mut self, r: u8) {
        self.wanted[r as usize] -= 1;
    }
    /// Registers taken at any time.
    pub fn used(&self) -> impl Iterator<Item = u8> + '_ {
        (0..32).filter(|&r| self.used >> r & 1 == 1)
    }
}

/// General registers that values may live in, those that callers expect to be changed first.
/// Not among them: `rsp`, and [`SCRATCH`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Convention {
    pub registers: [Register; 13],
    /// How many of `registers`, from the first on, a function may change.
    pub volatile: usize,
    /// Where the first parameters are; the others are on the stack.
    pub params: &'static [Register],
    /// Bytes between the return address and the parameters on the stack.
    pub shadow: i64,
    /// Vector registers from this to 15 belong to the caller.
    pub first_saved_vector: u8,
}

/// Registers that any instruction sequence may change.
pub(super) const SCRATCH: [Register; 2] = [Register::RAX, Register::R11];

use Register::*;

/// System V.
pub(super) const SYSTEM_V: Convention = Convention {
    registers: [RDI, RSI, RDX, RCX, R8, R9, R10, RBX, RBP, R12, R13, R14, R15],
    volatile: 7,
    params: &[RDI, RSI, RDX, RCX, R8, R9],
    shadow: 0,
    first_saved_vector: 16,
};

/// Windows x64.
pub(super) const WINDOWS: Convention = Convention {
    registers: [RCX, RDX, R8, R9, R10, RBX, RBP, RDI, RSI, R12, R13, R14, R15],
    volatile: 5,
    params: &[RCX, RDX, R8, R9],
    shadow: 32,
    first_saved_vector: 6,
};

impl Convention {
    /// The number of a register in `registers`.
    pub fn number(&self, r: Register) -> u8 {
        self.registers.iter().position(|&x| x == r).expect("a parameter's register") as u8
    }
}

/// The mask register that any instruction sequence may change.
pub(super) const SCRATCH_MASK: u8 = 7;
