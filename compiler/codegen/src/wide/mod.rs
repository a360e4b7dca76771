//! The wide emitter: x86 vectors of 256 and 512 bits, which Cranelift does not have. It knows
//! 128 bits too, so that both emitters can be compared.
//!
//! A kernel becomes machine code in one walk over its ops, encoded by iced; the bytes, with
//! their literals behind them, are placed in the same Cranelift module as everything else.
//! What happens, in this order:
//!
//! 1. [`schedule`], [`plan`]: what is emitted and in which order; positions, last uses, loads that
//!    become memory operands, masks.
//! 2. [`pressure`], [`anchors`], [`residents`]: what gets registers besides values. Pointers and
//!    counters may live in stack slots, literals in memory; vectors may not: a kernel that needs
//!    more of them at once than there are registers is an error.
//! 3. [`walk`]: registers as values come and go, instructions ([`vectors`], [`compare`],
//!    [`shuffles`], [`scalars`], [`memory`], [`tiles`]).
//! 4. [`frame`]: prologue and epilogue, when it is known what the body changes.

mod anchors;
mod asm;
mod codes;
mod compare;
mod frame;
mod literals;
mod machine;
mod memory;
mod plan;
mod pressure;
mod regs;
mod residents;
mod scalars;
mod schedule;
mod shuffles;
mod tiles;
mod vectors;
mod walk;

use crate::clif::Listing;
use crate::isa::Target;
use crate::{CodegenError, Emitter};
use anchors::Anchors;
use asm::CODE_ALIGN;
use cranelift_module::{FuncId, Module};
use frame::Emitted;
use machine::Machine;
use plan::Plan;
use pressure::Pressure;
use qcc_ir::dialect::loops;
use qcc_ir::{Func, OpKind, Type};
use qcc_runtime::cpu::CpuLevel;
use target_lexicon::BinaryFormat;
use tiles::TileFile;
use walk::Walk;

/// Emits kernels with vectors of 128, 256 or 512 bits, at CPU levels that have AVX2.
pub struct WideEmitter {
    cpu: CpuLevel,
    convention: regs::Convention,
    listing: Option<Listing>,
}

impl WideEmitter {
    /// An emitter for an x86 target; with `listing`, texts are kept.
    pub fn new(target: &Target, listing: bool) -> WideEmitter {
        let windows = target.triple.binary_format == BinaryFormat::Coff;
        let convention = if windows { regs::WINDOWS } else { regs::SYSTEM_V };
        WideEmitter { cpu: target.cpu, convention, listing: listing.then(Listing::default) }
    }
    /// The texts of everything emitted so far.
    pub fn into_listing(self) -> Listing {
        self.listing.unwrap_or_default()
    }

    fn emit(&self, kernel: &Func) -> Result<Emitted, CodegenError> {
        let fail = |why: String| CodegenError::Kernel { kernel: kernel.name.clone(), why };
        let bytes = width(kernel).map_err(fail)?;
        let machine = Machine::new(self.cpu, bytes);
        let machine = machine.ok_or_else(|| {
            fail(format!("a vector of {} bits; CPU level '{}' has none", 8 * bytes, self.cpu))
        })?;
        if !machine.amx && has_tiles(kernel) {
            return Err(fail(format!("a tile; CPU level '{}' has none", self.cpu)));
        }
        let plan = Plan::new(kernel, machine);
        let tiles = TileFile::new(&plan).map_err(fail)?;
        let mut general = Pressure::general(&plan);
        let anchors = Anchors::new(&plan, &mut general, self.convention.registers.len());
        // The pressure is an estimate: where it is too low, fewer literals stay in registers.
        let mut last = None;
        for spare in [0, 2, 4, 32] {
            let mut vectors = Pressure::vectors(&plan);
            let residents = residents::choose(&plan, &mut vectors, spare);
            let list = self.listing.is_some();
            let mut walk = Walk::new(&plan, &anchors, &residents, self.convention, list);
            walk.tiles = tiles.clone();
            match frame::emit(walk) {
                Ok(emitted) => return Ok(emitted),
                Err(e) => last = Some(e),
            }
        }
        Err(last.unwrap_or_else(|| fail("no attempt to emit it".into())))
    }
}

impl Emitter for WideEmitter {
    fn define(
        &mut self,
        out: &mut dyn Module,
        id: FuncId,
        kernel: &Func,
    ) -> Result<usize, CodegenError> {
        let Emitted { bytes, listing } = self.emit(kernel)?;
        out.define_function_bytes(id, CODE_ALIGN as u64, &bytes, &[])
            .map_err(|e| CodegenError::backend(&kernel.name, format!("{e:?}")))?;
        if let Some(texts) = &mut self.listing {
            texts.asm.push_str(&format!("{}:\n{listing}\n", kernel.name));
        }
        Ok(bytes.len())
    }
}

/// Whether a kernel has vectors wider than 128 bits, or tiles.
pub fn is_wide(kernel: &Func) -> bool {
    vectors(kernel).any(|bytes| bytes > 16) || has_tiles(kernel)
}

/// Whether a kernel has tiles, or a buffer of its own.
fn has_tiles(kernel: &Func) -> bool {
    kernel.walk().into_iter().any(|op| {
        let tile = |&v: &qcc_ir::Value| kernel.ty(v).as_tile().is_some();
        let own = matches!(kernel.kind(op), OpKind::Loop(loops::Op::Scratch(_)));
        own || kernel.results(op).iter().any(tile)
    })
}

/// Bytes of each vector in a kernel.
fn vectors(kernel: &Func) -> impl Iterator<Item = usize> + '_ {
    let results = kernel.walk().into_iter().flat_map(|op| kernel.results(op));
    results.filter_map(|&v| match kernel.ty(v) {
        Type::Vector { elem, lanes } => Some(elem.size() * usize::from(*lanes)),
        _ => None,
    })
}

/// Bytes of all vectors in a kernel; without any, of the narrowest there are.
fn width(kernel: &Func) -> Result<usize, String> {
    let mut all = vectors(kernel);
    let Some(first) = all.next() else { return Ok(16) };
    match all.find(|&bytes| bytes != first) {
        Some(other) => Err(format!("vectors of {} and of {} bits", 8 * first, 8 * other)),
        None => Ok(first),
    }
}
