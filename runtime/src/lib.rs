//! What runs a compiled model: tensors, fixed-point definitions, CPU levels, the artefact's ABI.
//!
//! The leaf of the workspace: it knows nothing of the IR, of Cranelift or of any file format, and it
//! is all that ships beside an embedded, precompiled model. Every crate may use every module here.
//!
//! - [`dtype`], [`tensor`], [`arena`]: values and the memory that holds them.
//! - [`fixedpoint`]: the definition of every rounding and rescale (numerics.md B, C, D).
//! - [`float`]: transcendental functions made of single float operations.
//! - [`rescale`]: cheap requantization forms, and the proof that one equals its definition.
//! - [`cpu`]: the CPU levels that code is generated for.
//! - [`pool`]: the threads that run a model's tasks.
//! - [`abi`]: the C structures of a compiled artefact, and [`TensorDesc`](abi::TensorDesc).

pub mod abi;
pub mod arena;
pub mod cpu;
pub mod dtype;
pub mod fixedpoint;
pub mod float;
pub mod pool;
pub mod rescale;
pub mod tensor;

pub use abi::TensorDesc;
pub use arena::AlignedBuf;
pub use cpu::{Arch, CpuLevel};
pub use dtype::DType;
pub use pool::Pool;
pub use tensor::{Element, Tensor, TensorError};
