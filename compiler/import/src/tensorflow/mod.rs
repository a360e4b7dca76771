//! TensorFlow: frozen graphs (`.pb`) and SavedModel folders.
//!
//! `proto` decodes, [`graph`] inlines functions and keeps what the outputs need, `convert` with
//! `ops` makes a module at level nn. Variables come from the checkpoint files of a SavedModel
//! (`checkpoint`, `table`). Integers that only say shapes are computed here (`fold`); float
//! arithmetic on weights is left to `canonicalize`. All is safe Rust, sizes that a file claims are
//! bounded, and no input makes it panic.

mod checkpoint;
mod convert;
mod data;
mod fold;
mod graph;
mod inputs;
mod ops;
mod proto;
mod saved_model;
mod table;

pub use ops::supported;

use crate::{ImportError, ImportOptions, Problem};
use convert::{Interface, Named, Variables};
use prost::Message;
use qcc_ir::Module;
use std::path::Path;

/// Bytes that one file may have; protobuf allows no more.
const MAX_FILE: u64 = 1 << 31;

/// Reads a frozen graph; `name` becomes the module's name.
///
/// Its inputs are the placeholders that the outputs need, in the file's order; its outputs are
/// those of `options`, or what nobody reads, in the file's order.
///
/// # Errors
/// The file is damaged, or has operators that are not supported (all of them are listed).
pub fn import_graph(
    bytes: &[u8],
    name: &str,
    options: &ImportOptions,
) -> Result<Module, ImportError> {
    let def = proto::GraphDef::decode(prost::bytes::Bytes::copy_from_slice(bytes));
    let def = def.map_err(|e| {
        let fix = "give a frozen GraphDef in binary form, or the folder of a SavedModel";
        ImportError::one(Problem::file(&format!("not a GraphDef: {e}"), fix))
    })?;
    let tensor = |name: &String| match name.contains(':') {
        true => name.clone(),
        false => format!("{name}:0"),
    };
    let outputs: Vec<String> = match options.outputs.is_empty() {
        true => graph::sinks(&def),
        false => options.outputs.iter().map(tensor).collect(),
    };
    if outputs.is_empty() {
        let fix = "give one with --outputs; a SavedModel is imported by the name of its folder";
        return Err(ImportError::one(Problem::file("the graph has no outputs", fix)));
    }
    let flat = graph::flatten(&def, &outputs).map_err(ImportError::one)?;
    let outputs = outputs.into_iter().zip(flat.outputs.clone());
    let outputs = outputs.map(|(name, port)| Named { name, port, shape: None }).collect();
    let interface = Interface { inputs: inputs::placeholders(&flat), outputs };
    convert::convert(flat, &interface, &Variables::default(), (name, options))
}

/// Reads the folder of a SavedModel; `name` becomes the module's name.
///
/// Inputs and outputs are those of the signature that `options` names (`serving_default`), sorted
/// by name as TensorFlow does.
///
/// # Errors
/// A file is missing or damaged, there is no such signature, or an operator is not supported.
pub fn import_saved_model(
    folder: &Path,
    name: &str,
    options: &ImportOptions,
) -> Result<Module, ImportError> {
    saved_model::import(folder, name, options)
}

/// The name of a tensor as people write it: `NODE` for the first output of a node.
fn same_tensor(a: &str, b: &str) -> bool {
    a.strip_suffix(":0").unwrap_or(a) == b.strip_suffix(":0").unwrap_or(b)
}

/// Hooks for tests that feed damaged bytes to the parts of the reader.
pub mod testing {
    /// Reads the index of a checkpoint; its number of tensors.
    ///
    /// # Errors
    /// It is damaged.
    pub fn read_index(bytes: &[u8]) -> Result<usize, String> {
        super::checkpoint::parse(bytes).map(|(_, entries)| entries.len())
    }
}
