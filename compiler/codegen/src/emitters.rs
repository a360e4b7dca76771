//! The emitters of a target behind one: each kernel goes to the one that has its vectors.

use crate::clif::{ClifEmitter, Listing};
use crate::isa::Target;
use crate::wide::{WideEmitter, is_wide};
use crate::{CodegenError, Emitter};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_module::{FuncId, Module};
use qcc_ir::Func;
use qcc_runtime::cpu::Arch;

/// Kernels with vectors wider than 128 bits to the wide emitter, all others to Cranelift.
pub struct Emitters {
    clif: ClifEmitter,
    wide: Option<WideEmitter>,
}

impl Emitters {
    /// The emitters of a target; with `listing`, texts are kept.
    pub fn new(target: &Target, isa: &OwnedTargetIsa, listing: bool) -> Emitters {
        let wide = target.cpu.arch() == Arch::X86_64;
        let wide = wide.then(|| WideEmitter::new(target, listing));
        Emitters { clif: ClifEmitter::new(isa, listing), wide }
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
        match &mut self.wide {
            Some(wide) if is_wide(kernel) => wide.define(out, id, kernel),
            _ => self.clif.define(out, id, kernel),
        }
    }
}
