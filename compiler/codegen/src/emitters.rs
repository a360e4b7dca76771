//! The emitters of a target behind one: each kernel goes to the one that has its vectors.

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
    /// Kernels with vectors wider than 128 bits go to the wide emitter, all others to Cranelift.
    #[default]
    ByWidth,
    /// The wide emitter takes whatever it can, Cranelift the rest: for tests that compare the two
    /// on the same kernels.
    WideFirst,
}

/// The emitters of a target.
pub struct Emitters {
    clif: ClifEmitter,
    wide: Option<WideEmitter>,
    choice: Choice,
}

impl Emitters {
    /// The emitters of a target; with `listing`, texts are kept.
    pub fn new(target: &Target, isa: &OwnedTargetIsa, listing: bool) -> Emitters {
        let wide = target.cpu.arch() == Arch::X86_64;
        let wide = wide.then(|| WideEmitter::new(target, listing));
        Emitters { clif: ClifEmitter::new(isa, listing), wide, choice: Choice::ByWidth }
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
