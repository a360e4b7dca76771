//! The emitters of a target behind one: each kernel goes to the one that makes the best of it.
//!
//! On x86 with AVX that is our own wherever it can, 128 bits included: its code for them runs
//! up to twice as fast as Cranelift's (literals and loads as memory operands, lanes that leave
//! vectors late) and is made faster. Cranelift has everything else: other machines, x86 without
//! AVX, kernels of 128 bits that need more vector registers at once than there are.

use crate::clif::{ClifEmitter, Listing};
use crate::isa::Target;
use crate::wide::{WideEmitter, is_wide};
use crate::{CodegenError, Emitter};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_module::{FuncId, Module};
use qcc_ir::Func;
use qcc_runtime::cpu::Arch;

/// Which emitter takes which kernel.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Choice {
    /// The wide emitter takes whatever it can, Cranelift the rest.
    #[default]
    WideFirst,
    /// Cranelift takes whatever it can, the wide emitter what has vectors wider than 128 bits:
    /// for CLIF as text, and for tests that compare the two on the same kernels.
    ByWidth,
}

/// The emitters of a target.
pub struct Emitters {
    clif: ClifEmitter,
    wide: Option<WideEmitter>,
    choice: Choice,
}

impl Emitters {
    /// The emitters of a target, [`Choice::default`]; with `listing`, texts are kept.
    pub fn new(target: &Target, isa: &OwnedTargetIsa, listing: bool) -> Emitters {
        let wide = target.cpu.arch() == Arch::X86_64;
        let wide = wide.then(|| WideEmitter::new(target, listing));
        Emitters { clif: ClifEmitter::new(isa, listing), wide, choice: Choice::default() }
    }

    /// The same emitters, with another way to choose.
    pub fn choosing(self, choice: Choice) -> Emitters {
        Emitters { choice, ..self }
    }

    /// The texts of everything emitted so far.
    pub fn into_listing(self) -> Listing {
        let mut all = self.clif.into_listing();
        let wide = self.wide.map(WideEmitter::into_listing).unwrap_or_default();
        all.asm.push_str(&wide.asm);
        all
    }
}

impl Emitter for Emitters {
    fn define(
        &mut self,
        out: &mut dyn Module,
        id: FuncId,
        kernel: &Func,
    ) -> Result<usize, CodegenError> {
        let Some(wide) = &mut self.wide else { return self.clif.define(out, id, kernel) };
        if is_wide(kernel) {
            return wide.define(out, id, kernel);
        }
        if self.choice == Choice::WideFirst
            && let Ok(size) = wide.define(out, id, kernel)
        {
            return Ok(size);
        }
        self.clif.define(out, id, kernel)
    }
}
