//! ONNX files (`.onnx`).
//!
//! A model becomes a module at level nn with the numerics `onnx`. `proto` holds the messages,
//! `data` reads constants, `inputs` fills in open extents, `convert` walks the nodes and keeps what
//! each name stands for, `ops` has one converter per operator, `eval` the integer arithmetic of
//! shape computations. No input makes it panic, or read outside the model's folder.

mod convert;
mod data;
mod eval;
mod functions;
mod inputs;
mod narrow;
mod node;
mod ops;
mod proto;

use crate::{ImportError, ImportOptions, Problem};
use prost::Message;
use prost::bytes::Bytes;
use qcc_ir::Module;
use std::path::Path;

pub use ops::supported;

/// Reads a model and converts it to level nn; `name` becomes the module's name, `folder` is where
/// external data may be (none: the model must be in one piece).
///
/// # Errors
/// The file is damaged, extents are not known, or operators are not supported (all are listed).
pub fn import(
    bytes: &[u8],
    name: &str,
    folder: Option<&Path>,
    options: &ImportOptions,
) -> Result<Module, ImportError> {
    let model = proto::Model::decode(Bytes::copy_from_slice(bytes)).map_err(|e| {
        let what = format!("not a readable ONNX file: {e}");
        ImportError::one(Problem::file(&what, "the file may be cut off; fetch it again"))
    })?;
    convert::convert(&model, name, folder, options)
}
