//! An assembler for one function: instructions as they come, then the literals they read.
//!
//! Every instruction is encoded once, when it is put. That works because code here jumps backward
//! (loops) or a few bytes forward; only the distances to literals, which stand behind the code,
//! are patched at the end. Code starts at a multiple of 64, so alignment inside it is known.

use super::literals::{Literal, Pool};
use iced_x86::{
    Code, Encoder, Formatter, IcedError, Instruction, IntelFormatter, OpKind, Register,
};

/// A memory operand.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mem {
    /// `base + index·scale + displacement`; no index: [`Register::None`].
    At { base: Register, index: Register, scale: u32, displacement: i64 },
    /// A literal, in the given number of bytes.
    Literal(Literal, usize),
}

impl Mem {
    pub fn at(base: Register, displacement: i64) -> Mem {
        Mem::At { base, index: Register::None, scale: 1, displacement }
    }
    /// The memory `bytes` behind this one.
    pub fn offset(&self, bytes: i64) -> Mem {
        match self.clone() {
            Mem::At { base, index, scale, displacement } => {
                Mem::At { base, index, scale, displacement: displacement + bytes }
            }
            literal => literal,
        }
    }
}

/// An operand of an instruction.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Reg(Register),
    Mem(Mem),
    /// Memory repeated through the vector.
    Repeated(Mem),
    Imm8(u8),
}

impl From<Register> for Operand {
    fn from(r: Register) -> Operand {
        Operand::Reg(r)
    }
}
impl From<Mem> for Operand {
    fn from(m: Mem) -> Operand {
        Operand::Mem(m)
    }
}
impl From<u8> for Operand {
    fn from(v: u8) -> Operand {
        Operand::Imm8(v)
    }
}

/// A place in the code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label(u64);

/// A short jump whose target is still to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forward {
    end: u64,
    listed: usize,
}

/// Multiples to which loops are aligned; code starts at one.
pub(super) const CODE_ALIGN: usize = 64;

pub(super) struct Asm {
    encoder: Encoder,
    /// Bytes encoded so far.
    at: u64,
    pool: Pool,
    /// Where a displacement stands, where its instruction ends, and what it reads.
    fixups: Vec<Fixup>,
    /// What was encoded, for listings.
    listed: Option<Vec<Instruction>>,
    /// The first instruction that could not be encoded.
    error: Option<IcedError>,
}

struct Fixup {
    displacement: usize,
    end: u64,
    literal: usize,
    listed: usize,
}

impl Asm {
    /// An empty function; `list` keeps what a listing needs.
    pub fn new(list: bool) -> Asm {
        Asm {
            encoder: Encoder::new(64),
            at: 0,
            pool: Pool::default(),
            fixups: vec![],
            listed: list.then(Vec::new),
            error: None,
        }
    }

    /// Whether a listing is kept.
    pub fn lists(&self) -> bool {
        self.listed.is_some()
    }

    /// Appends an instruction; where it starts.
    pub fn put(&mut self, mut instruction: Instruction) -> u64 {
        let at = self.at;
        match self.encoder.encode(&instruction, at) {
            Ok(n) => self.at += n as u64,
            Err(e) => {
                self.error.get_or_insert(e);
                return at;
            }
        }
        if let Some(listed) = &mut self.listed {
            instruction.set_len((self.at - at) as usize);
            instruction.set_ip(at);
            listed.push(instruction);
        }
        at
    }

    /// Appends what iced made.
    pub fn made(&mut self, instruction: Result<Instruction, IcedError>) {
        match instruction {
            Ok(i) => _ = self.put(i),
            Err(e) => _ = self.error.get_or_insert(e),
        }
    }

    /// Appends `code` with these operands.
    pub fn op(&mut self, code: Code, operands: &[Operand]) {
        self.masked(code, Register::None, operands);
    }

    /// Appends `code` under a mask register.
    pub fn masked(&mut self, code: Code, mask: Register, operands: &[Operand]) {
        let mut i = Instruction::default();
        i.set_code(code);
        i.set_op_mask(mask);
        let mut literal = None;
        for (n, operand) in operands.iter().enumerate() {
            let n = n as u32;
            match operand {
                Operand::Reg(r) => i.set_op_register(n, *r),
                Operand::Imm8(v) => {
                    i.set_op_kind(n, OpKind::Immediate8);
                    i.set_immediate8(*v);
                }
                Operand::Mem(m) | Operand::Repeated(m) => {
                    i.set_op_kind(n, OpKind::Memory);
                    i.set_is_broadcast(matches!(operand, Operand::Repeated(_)));
                    literal = literal.or(self.set_memory(&mut i, m));
                }
            }
        }
        let start = self.put(i);
        if let Some(literal) = literal {
            let offset = self.encoder.get_constant_offsets().displacement_offset();
            let listed = self.listed.as_ref().map_or(0, |l| l.len() - 1);
            let displacement = start as usize + offset;
            self.fixups.push(Fixup { displacement, end: self.at, literal, listed });
        }
    }

    /// Makes `m` the memory operand of `i`; the pool's entry where it is a literal.
    fn set_memory(&mut self, i: &mut Instruction, m: &Mem) -> Option<usize> {
        match m {
            &Mem::At { base, index, scale, displacement } => {
                i.set_memory_base(base);
                i.set_memory_index(index);
                i.set_memory_index_scale(scale);
                i.set_memory_displacement64(displacement as u64);
                i.set_memory_displ_size(if displacement == 0 { 0 } else { 1 });
                None
            }
            Mem::Literal(literal, bytes) => {
                i.set_memory_base(Register::RIP);
                i.set_memory_displacement64(self.at);
                i.set_memory_displ_size(8);
                Some(self.pool.entry(literal, *bytes))
            }
        }
    }

    /// `code dst, mem` for general registers.
    pub fn gpr_mem(&mut self, code: Code, dst: Register, m: &Mem) {
        self.op(code, &[dst.into(), m.clone().into()]);
    }

    /// A place to jump back to; `align` moves it to the next multiple of that many bytes.
    pub fn label(&mut self, align: usize) -> Label {
        let gap = (self.at as usize).next_multiple_of(align) - self.at as usize;
        for byte in nops(gap) {
            self.encoder.write_u8(byte);
        }
        self.at += gap as u64;
        Label(self.at)
    }

    /// Jumps back to `to`; `short` and `near` are the two lengths of one instruction.
    pub fn jump_back(&mut self, short: Code, near: Code, to: Label) {
        let code = if self.at + 2 - to.0 <= 128 { short } else { near };
        self.made(Instruction::with_branch(code, to.0));
    }

    /// A jump of at most 127 bytes to where [`Asm::land`] will be called.
    pub fn jump_forward(&mut self, short: Code) -> Forward {
        self.made(Instruction::with_branch(short, self.at + 2));
        let listed = self.listed.as_ref().map_or(0, |l| l.len().saturating_sub(1));
        Forward { end: self.at, listed }
    }

    /// The target of a forward jump.
    pub fn land(&mut self, jump: Forward) {
        let distance = self.at - jump.end;
        debug_assert!(distance < 128, "forward jumps are short");
        let mut bytes = self.encoder.take_buffer();
        if let Some(byte) = bytes.get_mut(jump.end as usize - 1) {
            *byte = distance as u8;
        }
        self.encoder.set_buffer(bytes);
        if let Some(i) = self.listed.as_mut().and_then(|l| l.get_mut(jump.listed)) {
            i.set_near_branch64(self.at);
        }
    }

    /// The code with its literals behind it, and its listing.
    ///
    /// # Errors
    /// An instruction has no encoding.
    pub fn finish(mut self) -> Result<(Vec<u8>, String), IcedError> {
        if let Some(e) = self.error {
            return Err(e);
        }
        let mut bytes = self.encoder.take_buffer();
        let places = self.pool.place(&mut bytes);
        for fixup in &self.fixups {
            let to = places[fixup.literal] as u64;
            let distance = (to as i64 - fixup.end as i64) as i32;
            bytes[fixup.displacement..][..4].copy_from_slice(&distance.to_le_bytes());
            if let Some(listed) = &mut self.listed {
                listed[fixup.listed].set_memory_displacement64(to);
            }
        }
        let text = self.listed.map_or(String::new(), |l| list(&l));
        Ok((bytes, text))
    }
}

/// Instructions that do nothing, `n` bytes of them.
pub(super) fn nops(mut n: usize) -> Vec<u8> {
    const NOPS: [&[u8]; 9] = [
        &[0x90],
        &[0x66, 0x90],
        &[0x0F, 0x1F, 0x00],
        &[0x0F, 0x1F, 0x40, 0x00],
        &[0x0F, 0x1F, 0x44, 0x00, 0x00],
        &[0x66, 0x0F, 0x1F, 0x44, 0x00, 0x00],
        &[0x0F, 0x1F, 0x80, 0x00, 0x00, 0x00, 0x00],
        &[0x0F, 0x1F, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        &[0x66, 0x0F, 0x1F, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    ];
    let mut out = Vec::with_capacity(n);
    while n > 0 {
        let nop = NOPS[n.min(9) - 1];
        out.extend_from_slice(nop);
        n -= nop.len();
    }
    out
}

/// One instruction a line: offset, text.
fn list(instructions: &[Instruction]) -> String {
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_space_after_operand_separator(true);
    let mut out = String::new();
    for i in instructions {
        out.push_str(&format!("{:6x}: ", i.ip()));
        formatter.format(i, &mut out);
        out.push('\n');
    }
    out
}
