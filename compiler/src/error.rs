//! What can go wrong, in the words of whoever gave the input.

use std::fmt;
use std::path::PathBuf;

/// An error of compiling or running a model: everything that was found, not the first thing only.
/// [`Error::details`] has the parts; the text has one line for each.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(self))]
pub enum Error {
    /// A file could not be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The model is damaged, inconsistent, or has operators that are not supported.
    Import {
        /// The file, or `<bytes>`.
        file: String,
        /// All problems found.
        source: qcc_import::ImportError,
    },
    /// A `.qir` text does not parse.
    Text(Vec<qcc_ir::text::Diagnostic>),
    /// The module breaks rules of the IR.
    Verify {
        /// The file, or `<graph>`.
        file: String,
        /// All rules broken.
        errors: Vec<String>,
    },
    /// A pass.
    Passes {
        /// The file, or `<bytes>`.
        file: String,
        /// Everything the pass found.
        source: qcc_passes::Diagnostics,
    },
    /// Parts of the model stay float, where all of it must be integer.
    Float {
        /// The file, or `<bytes>`.
        file: String,
        /// What stays float, why, and what would make it integer.
        islands: Vec<qcc_passes::Island>,
    },
    /// Code generation.
    Codegen {
        /// The file, or `<bytes>`.
        file: String,
        /// Its reason.
        source: qcc_codegen::CodegenError,
    },
    /// A tensor of the wrong type, shape or name was given.
    Tensor(String),
    /// The command line makes no sense.
    Usage(String),
    /// Anything else that the input or the options are at fault for.
    Input(String),
}

/// One thing that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// The file, with line and column where it is a text.
    pub file: Option<String>,
    /// The node or tensor, by its name in the source model.
    pub node: Option<String>,
    /// What is wrong, and what was expected.
    pub message: String,
    /// What to try.
    pub hint: Option<String>,
}

impl Detail {
    fn message(message: impl fmt::Display) -> Detail {
        Detail { message: message.to_string(), ..Detail::default() }
    }
    fn file(mut self, file: impl Into<String>) -> Detail {
        self.file = Some(file.into());
        self
    }
    fn node(mut self, node: &str) -> Detail {
        self.node = (!node.is_empty()).then(|| node.to_string());
        self
    }
    fn hint(mut self, hint: Option<String>) -> Detail {
        self.hint = hint.filter(|h| !h.is_empty());
        self
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        if let Some(node) = &self.node {
            write!(f, "'{node}': ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl Error {
    /// A file that could not be read or written.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Error {
        Error::Io { path: path.into(), source }
    }
    /// Did whoever reads the output stop reading?
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
    }
    /// Everything that is wrong.
    pub fn details(&self) -> Vec<Detail> {
        match self {
            Error::Io { path, source } => {
                vec![Detail::message(source).file(path.display().to_string())]
            }
            Error::Import { file, source } => {
                source.problems.iter().map(|p| import_detail(file, p)).collect()
            }
            Error::Text(all) => all.iter().map(text_detail).collect(),
            Error::Verify { file, errors } => {
                errors.iter().map(|e| Detail::message(e).file(file)).collect()
            }
            Error::Passes { file, source } => {
                source.0.iter().map(|d| pass_detail(file, d)).collect()
            }
            Error::Float { file, islands } => {
                islands.iter().map(|i| island_detail(file, i)).collect()
            }
            Error::Codegen { file, source } => vec![Detail::message(source).file(file)],
            Error::Tensor(message) | Error::Usage(message) | Error::Input(message) => {
                vec![Detail::message(message)]
            }
        }
    }
}

fn lines(e: &Error) -> String {
    let lines: Vec<String> = e.details().iter().map(Detail::to_string).collect();
    lines.join("\n")
}

fn import_detail(file: &str, p: &qcc_import::Problem) -> Detail {
    let message = match p.index {
        Some(i) => format!("operator {i}: {}", p.what),
        None => p.what.clone(),
    };
    Detail::message(message).file(file).node(&p.node).hint(Some(p.remedy.clone()))
}

fn text_detail(d: &qcc_ir::text::Diagnostic) -> Detail {
    let place = format!("{}:{}:{}", d.file, d.line, d.col);
    Detail::message(&d.message).file(place).hint(d.hint.clone())
}

fn pass_detail(file: &str, d: &qcc_passes::Diagnostic) -> Detail {
    let message = format!("{}: {}", d.pass, d.message);
    Detail::message(message).file(file).node(&d.loc).hint(d.hint.clone())
}

fn island_detail(file: &str, i: &qcc_passes::Island) -> Detail {
    let message = format!("{} stays float: {}", i.op, i.why);
    Detail::message(message).file(file).node(&i.node).hint(Some(i.remedy.clone()))
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
