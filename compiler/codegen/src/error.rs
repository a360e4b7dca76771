//! What can go wrong between the loop level and machine code.

/// An error of code generation.
#[derive(Debug, thiserror::Error)]
pub enum CodegenError {
    /// The target triple or CPU level is not one that qcc generates code for.
    #[error("target '{target}' is not supported: {why}")]
    Target { target: String, why: String },
    /// There is no linker, or it failed.
    #[error("no shared library for '{target}': {why}")]
    Link { target: String, why: String },
    /// A kernel cannot be expressed on this target.
    #[error("kernel '{kernel}': {why}")]
    Kernel { kernel: String, why: String },
    /// Cranelift refused the code.
    #[error("code generation of '{what}' failed: {why}")]
    Backend { what: String, why: String },
    /// The module is not a valid loop-level program.
    #[error("not a loop-level program: {0}")]
    Program(String),
}

impl CodegenError {
    pub(crate) fn backend(what: &str, why: impl std::fmt::Display) -> Self {
        CodegenError::Backend { what: what.to_string(), why: why.to_string() }
    }
}
