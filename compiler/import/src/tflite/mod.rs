//! TensorFlow Lite flatbuffers (`.tflite`).
//!
//! `schema_generated` (made by `flatc` from `schema/tflite.fbs`) verifies and reads the bytes,
//! [`raw`] gives checked plain structs, `convert` makes a module at the quant level, or at level nn
//! where a graph computes on floats. Outside the generated accessors, which run only on verified
//! bytes, all is safe Rust: no input makes it panic or read outside the file.

mod convert;
mod names;
mod pointwise;
pub mod raw;
#[allow(dead_code, deprecated, missing_docs, non_snake_case, unused_imports, clippy::all)]
mod schema_generated;

pub use convert::{FLOAT_ONLY, SUPPORTED, moves};
pub use names::builtin_name;

use crate::{ImportError, ImportOptions, Problem};
use qcc_ir::Module;
use raw::{Place, RawError};

/// Reads a model and converts it to the quant level; `name` becomes the module's name.
///
/// # Errors
/// The file is damaged, or has operators that are not supported (all of them are listed).
pub fn import(bytes: &[u8], name: &str, options: &ImportOptions) -> Result<Module, ImportError> {
    let raw = raw::parse(bytes).map_err(|e| ImportError::one(problem(&e)))?;
    convert::convert(&raw, name, options)
}

/// A reader's error as a diagnostic.
fn problem(error: &RawError) -> Problem {
    let (what, remedy) = (error.fault.to_string(), error.fault.remedy());
    match &error.place {
        Place::File => Problem::file(&what, remedy),
        Place::Subgraph(i) => Problem::file(&format!("subgraph {i}: {what}"), remedy),
        Place::Tensor { name, .. } => Problem::tensor(name, what, remedy),
        Place::Op { index, builtin, name } => {
            Problem::node(name, *index, format!("{builtin}: {what}"), remedy)
        }
    }
}
