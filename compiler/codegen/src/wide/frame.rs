//! What stands around a kernel's body: saved registers, stack slots, parameters.

use super::asm::{Asm, CODE_ALIGN, Mem, nops};
use super::codes::{LOAD_XMM, STORE_XMM};
use super::machine::{Machine, xmm};
use super::regs::{Convention, SCRATCH};
use super::walk::{Held, Walk};
use crate::CodegenError;
use iced_x86::{Code, Instruction, Register};

type Result<T> = std::result::Result<T, CodegenError>;

/// Where parameters are when the body starts.
pub(super) struct Params {
    /// Parameter number and place.
    places: Vec<(usize, Held)>,
    /// Buffers of the kernel's own: distance from the first one, and place.
    own: Vec<(i64, Held)>,
    /// Bytes of those, one after the other.
    own_bytes: i64,
}

impl Params {
    /// To be called when parameters are bound, before the body.
    pub fn of(walk: &Walk) -> Params {
        let kernel = walk.plan.kernel;
        let mut out = Params { places: vec![], own: vec![], own_bytes: 0 };
        for (mem, &pointer) in &walk.anchors.params {
            let held = walk.held[walk.anchors.pointers[pointer].anchor];
            match kernel.params().iter().position(|p| p == mem) {
                Some(n) => out.places.push((n, held)),
                None => {
                    out.own.push((out.own_bytes, held));
                    let bytes = kernel.ty(*mem).as_mem().map_or(0, |m| m.bytes as i64);
                    out.own_bytes += (bytes + OWN_ALIGN - 1) / OWN_ALIGN * OWN_ALIGN;
                }
            }
        }
        out
    }
}

/// Alignment of a kernel's own buffers.
const OWN_ALIGN: i64 = 64;

/// A stack may grow by so many bytes at a time.
const PAGE: i64 = 4096;

/// What a function saves, and how much stack it takes.
struct Frame {
    convention: Convention,
    machine: Machine,
    /// Registers of the caller.
    general: Vec<Register>,
    /// Vector registers of the caller, their low 128 bits.
    vectors: Vec<u8>,
    slots: usize,
    /// Bytes of the kernel's own buffers.
    own: i64,
}

impl Frame {
    fn of(walk: &Walk, params: &Params) -> Frame {
        let convention = walk.convention;
        let general = walk.general.used().filter(|&r| r as usize >= convention.volatile);
        let saved = |r: &u8| (convention.first_saved_vector..16).contains(r);
        Frame {
            convention,
            machine: walk.m,
            general: general.map(|r| convention.registers[r as usize]).collect(),
            vectors: walk.vectors.used().filter(saved).collect(),
            slots: walk.slots(),
            own: params.own_bytes,
        }
    }

    fn bytes(&self) -> i32 {
        let own = if self.own > 0 { self.own + OWN_ALIGN } else { 0 };
        (self.saves() + own) as i32
    }

    /// Bytes of slots and saved registers.
    fn saves(&self) -> i64 {
        (8 * self.slots + 16 * self.vectors.len()) as i64
    }

    /// Where vector register `i` of those saved is.
    fn saved(&self, i: usize) -> Mem {
        Mem::at(Register::RSP, (8 * self.slots + 16 * i) as i64)
    }

    fn prologue(&self, asm: &mut Asm, params: &Params) {
        for &r in &self.general {
            asm.made(Instruction::with1(Code::Push_r64, r));
        }
        if self.bytes() > 0 {
            let rsp = Register::RSP;
            for page in 1..=i64::from(self.bytes()) / PAGE {
                let at = Mem::at(rsp, -page * PAGE);
                asm.op(Code::Test_rm32_r32, &[at.into(), Register::EAX.into()]);
            }
            asm.made(Instruction::with2(Code::Sub_rm64_imm32, rsp, self.bytes()));
        }
        for (i, &r) in self.vectors.iter().enumerate() {
            asm.op(self.machine.code(STORE_XMM), &[self.saved(i).into(), xmm(r).into()]);
        }
        let slot = |n: usize| Mem::at(Register::RSP, 8 * n as i64);
        // First what is in registers: the others may be loaded into them.
        for &(n, held) in &params.places {
            if let (Some(&from), Held::Slot(to)) = (self.convention.params.get(n), held) {
                asm.op(Code::Mov_rm64_r64, &[slot(to).into(), from.into()]);
            }
        }
        let above = i64::from(self.bytes()) + 8 * self.general.len() as i64 + 8;
        for &(n, held) in params.places.iter().filter(|p| p.0 >= self.convention.params.len()) {
            let n = (n - self.convention.params.len()) as i64;
            let from = Mem::at(Register::RSP, above + self.convention.shadow + 8 * n);
            match held {
                Held::Register(r) => {
                    let to = self.convention.registers[r as usize];
                    asm.gpr_mem(Code::Mov_r64_rm64, to, &from);
                }
                Held::Slot(to) => {
                    asm.gpr_mem(Code::Mov_r64_rm64, SCRATCH[0], &from);
                    asm.op(Code::Mov_rm64_r64, &[slot(to).into(), SCRATCH[0].into()]);
                }
                Held::Not => {}
            }
        }
        self.place_own(asm, params);
    }

    /// Pointers to the kernel's own buffers, which stand above everything else, aligned.
    fn place_own(&self, asm: &mut Asm, params: &Params) {
        for &(distance, held) in &params.own {
            let to = match held {
                Held::Register(r) => self.convention.registers[r as usize],
                _ => SCRATCH[0],
            };
            let start = Mem::at(Register::RSP, self.saves() + distance + OWN_ALIGN - 1);
            asm.gpr_mem(Code::Lea_r64_m, to, &start);
            asm.made(Instruction::with2(Code::And_rm64_imm8, to, -OWN_ALIGN as i32));
            if let Held::Slot(slot) = held {
                let slot = Mem::at(Register::RSP, 8 * slot as i64);
                asm.op(Code::Mov_rm64_r64, &[slot.into(), to.into()]);
            }
        }
    }

    fn epilogue(&self, asm: &mut Asm) {
        for (i, &r) in self.vectors.iter().enumerate() {
            asm.op(self.machine.code(LOAD_XMM), &[xmm(r).into(), self.saved(i).into()]);
        }
        if self.bytes() > 0 {
            let rsp = Register::RSP;
            asm.made(Instruction::with2(Code::Add_rm64_imm32, rsp, self.bytes()));
        }
        for &r in self.general.iter().rev() {
            asm.made(Instruction::with1(Code::Pop_r64, r));
        }
        asm.put(Instruction::with(Code::VEX_Vzeroupper));
        asm.put(Instruction::with(Code::Retnq));
    }
}

/// A function: its bytes and, where wanted, its listing.
pub(super) struct Emitted {
    pub bytes: Vec<u8>,
    pub listing: String,
}

/// Emits a kernel whose pointers and literals are decided.
///
/// The prologue depends on what the body uses, so the body comes first; in memory it stands at
/// the next multiple of [`CODE_ALIGN`] behind the prologue.
pub(super) fn emit(mut walk: Walk) -> Result<Emitted> {
    walk.bind_params()?;
    let params = Params::of(&walk);
    walk.run()?;
    let frame = Frame::of(&walk, &params);
    let name = &walk.plan.kernel.name;
    let fail = |e| CodegenError::backend(name, e);
    let listed = walk.asm.lists();
    let mut head = Asm::new(listed);
    frame.prologue(&mut head, &params);
    frame.epilogue(&mut walk.asm);
    let (mut bytes, mut listing) = head.finish().map_err(fail)?;
    let (body, body_listing) = walk.asm.finish().map_err(fail)?;
    bytes.extend(nops(bytes.len().next_multiple_of(CODE_ALIGN) - bytes.len()));
    bytes.extend(body);
    listing.push_str(&body_listing);
    Ok(Emitted { bytes, listing })
}
