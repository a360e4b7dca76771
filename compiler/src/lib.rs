//! qcc turns a quantized neural network into native integer code.
//!
//! ```no_run
//! let model = qcc::Compiler::new().cpu(qcc::Cpu::native()).compile_file("m.tflite")?;
//! let mut session = model.session();
//! session.input_mut(0).copy_from(&[0i8; 64])?;
//! session.run()?;
//! let logits = session.output(0).as_slice::<i8>()?;
//! # let _ = logits;
//! # Ok::<(), qcc::Error>(())
//! ```
//!
//! A [`Compiler`] holds options; a [`Model`] is compiled code, shared between threads; a
//! [`Session`] owns the memory of one run at a time. Outputs equal the reference kernels of the
//! framework that the model came from, bit for bit, on every CPU level.

pub mod cli;
mod compiler;
mod cpu;
mod error;
mod files;
pub mod layers;
mod model;
pub mod npz;
pub mod reduce;
mod source;

pub use compiler::{Artefact, Compiler};
pub use cpu::Cpu;
pub use error::{Detail, Error, Result};
pub use model::{InputMut, Model, ModelInfo, Output, Session};
pub use source::Source;

pub use qcc_ir as ir;
pub use qcc_passes as passes;
pub use qcc_runtime::{Arch, CpuLevel, DType, Tensor, TensorDesc};

/// Runs a module in the reference interpreter: one tensor per input, one per output. At level loop,
/// inputs are taken by their bytes, and outputs are bytes.
///
/// # Errors
/// What the interpreter finds wrong with the inputs or the module.
pub fn interpret(
    module: &ir::Module,
    inputs: &[Tensor],
) -> std::result::Result<Vec<Tensor>, String> {
    if module.level != ir::Level::Loop {
        return ir::interp::run_main(module, inputs).map_err(|e| e.to_string());
    }
    let bytes: Vec<Vec<u8>> = inputs.iter().map(|t| t.bytes().to_vec()).collect();
    let outputs = ir::interp::run_loop_main(module, &bytes).map_err(|e| e.to_string())?;
    let tensor = |b: Vec<u8>| Tensor::from_bytes(DType::U8, vec![b.len()], &b);
    outputs.into_iter().map(|b| tensor(b).map_err(|e| e.to_string())).collect()
}
