//! Native code for loop-level modules. The only crate that knows Cranelift and object files.
//!
//! A loop-level [`qcc_ir::Module`] is a `main` that calls kernels on byte ranges of buffers. Each
//! kernel goes through an [`Emitter`]; `main` becomes one entry function that owns the arena
//! layout and calls the kernels in order. Constants are one read-only blob, 64-byte aligned.
//!
//! After `qcc_ir::verify` and `prove-bounds` accept a module, emission may return an error but
//! never panics, and no emitted access leaves its buffer.

mod addr;
pub mod aot;
pub mod clif;
pub mod emitters;
mod error;
pub mod header;
pub mod isa;
pub mod jit;
mod parallel;
pub mod program;
pub mod wide;

pub use error::CodegenError;
pub use isa::Target;
pub use jit::JitProgram;

use cranelift_module::{FuncId, Module};

/// Turns one loop-level kernel into machine code.
///
/// The kernel's parameters are pointers to its buffers, in order, in the target's C calling
/// convention; it returns nothing, calls nothing and allocates nothing. An emitter defines the
/// already declared function `id` in `out`, by whatever means: Cranelift IR, or its own bytes
/// through [`Module::define_function_bytes`].
pub trait Emitter {
    /// Defines `id` as the code of `kernel`; returns the code's size in bytes.
    ///
    /// # Errors
    /// The kernel needs something this emitter or CPU level does not have.
    fn define(
        &mut self,
        out: &mut dyn Module,
        id: FuncId,
        kernel: &qcc_ir::Func,
    ) -> Result<usize, CodegenError>;
}
