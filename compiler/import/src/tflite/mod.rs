//! TensorFlow Lite flatbuffers (`.tflite`).
//!
//! [`flat`] reads bytes, [`raw`] gives checked plain structs, [`convert`] makes a module at the
//! quant level. Safe Rust throughout: no input makes it panic or read outside the file.

mod convert;
mod flat;
mod names;
pub mod raw;
mod shapes;

pub use convert::SUPPORTED;

use crate::{ImportError, ImportOptions, Problem};
use qcc_ir::Module;

/// Reads a model and converts it to the quant level; `name` becomes the module's name.
///
/// # Errors
/// The file is damaged, or has operators that are not supported (all of them are listed).
pub fn import(bytes: &[u8], name: &str, options: &ImportOptions) -> Result<Module, ImportError> {
    let raw = raw::parse(bytes).map_err(|e| {
        ImportError::one(Problem::file(&e.to_string(), "check that the file is complete"))
    })?;
    convert::convert(&raw, name, options)
}
