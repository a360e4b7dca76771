//! What can go wrong, in the words of whoever gave the input.

use std::path::PathBuf;

/// An error of compiling or running a model. Its text names the file, the node in the model's own
/// names, what was expected, and what to try.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The model is damaged, inconsistent, or has operators that are not supported.
    #[error("{file}: {source}")]
    Import {
        /// The file, or `<bytes>`.
        file: String,
        /// All problems found.
        source: qcc_import::ImportError,
    },
    /// A `.qir` text does not parse.
    #[error("{}", .0.iter().map(|d| d.to_string()).collect::<Vec<_>>().join("\n"))]
    Text(Vec<qcc_ir::text::Diagnostic>),
    /// The pipeline string, or a pass.
    #[error("{file}: {source}")]
    Passes {
        /// The file, or `<bytes>`.
        file: String,
        /// Everything the pass found.
        source: qcc_passes::Diagnostics,
    },
    /// Code generation.
    #[error(transparent)]
    Codegen(#[from] qcc_codegen::CodegenError),
    /// A tensor of the wrong type, shape or name was given.
    #[error("{0}")]
    Tensor(String),
    /// Anything else that the input or the options are at fault for.
    #[error("{0}")]
    Input(String),
}

impl Error {
    /// A file that could not be read or written.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Error {
        Error::Io { path: path.into(), source }
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
