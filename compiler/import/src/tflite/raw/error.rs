//! What can be wrong with a file, where, and what to do about it.

use super::TfliteType;

/// A fault and its place; says what is wrong, where, what was expected and what to try.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{place}{fault}; {}", .fault.remedy())]
pub struct RawError {
    /// Where.
    pub place: Place,
    /// What.
    pub fault: Fault,
}

/// The part of a file that is at fault. Displays with a colon after it, the file as nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A subgraph by index.
    Subgraph(usize),
    /// A tensor.
    Tensor {
        /// Index in its subgraph.
        index: usize,
        /// Name, made up if the file has none.
        name: String,
    },
    /// An operator.
    Op {
        /// Index in its subgraph.
        index: usize,
        /// Name of the builtin operator, or of the custom one.
        builtin: String,
        /// Name of its first output tensor.
        name: String,
    },
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::File => Ok(()),
            Place::Subgraph(i) => write!(f, "subgraph {i}: "),
            Place::Tensor { index, name } => write!(f, "tensor {index} '{name}': "),
            Place::Op { index, builtin, name } => {
                write!(f, "operator {index} {builtin} '{name}': ")
            }
        }
    }
}

/// What is wrong, and what was expected.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Fault {
    /// Some other kind of file.
    #[error("not a TFLite model: bytes 4 to 8 are \"{found}\", expected \"TFL3\"")]
    Identifier { found: String },
    /// The verifier found an offset, length or nesting that cannot be.
    #[error("the file is damaged: {detail}")]
    Damaged { detail: String },
    /// Written for another version of the format.
    #[error("schema version {found}, expected 3")]
    Version { found: u32 },
    /// More than a limit of this reader.
    #[error("{found} {what}, expected at most {limit}")]
    TooMany { what: &'static str, found: usize, limit: usize },
    /// An index that points at nothing.
    #[error("{by} refers to {what} {index}, expected one of 0 to {} (there are {count})",
        .count.saturating_sub(1))]
    NoSuch { by: String, what: &'static str, index: i64, count: usize },
    /// A negative extent.
    #[error("shape {shape:?} has a negative dimension, expected at least 0")]
    NegativeDimension { shape: Vec<i32> },
    /// A tensor too large to compile.
    #[error("shape {shape:?} has too many elements, expected at most {limit}")]
    TooManyElements { shape: Vec<i32>, limit: u64 },
    /// A shape signature that does not belong to the shape.
    #[error(
        "shape signature {signature:?}, expected {rank} dimensions of -1 (not known) or at least 0"
    )]
    Signature { signature: Vec<i32>, rank: usize },
    /// Zero points without their scales.
    #[error("{zero_points} zero points for {scales} scales, expected none, one or as many")]
    ZeroPoints { scales: usize, zero_points: usize },
    /// One end of a range without the other.
    #[error("{min} range minima and {max} range maxima, expected as many")]
    MinMax { min: usize, max: usize },
    /// Per-axis parameters that do not fit the shape.
    #[error("{scales} scales along dimension {axis}, expected one for each slice of {shape:?}")]
    PerAxis { scales: usize, axis: i32, shape: Vec<i32> },
    /// A constant that does not fill its shape.
    #[error("{found} bytes of constant data, expected {expected} for {dtype} of shape {shape:?}")]
    DataLength { dtype: TfliteType, shape: Vec<i32>, found: usize, expected: u64 },
    /// A buffer behind the flatbuffer that does not end inside the file.
    #[error("its data is at {offset} with {size} bytes, expected inside the file of {file} bytes")]
    DataOutside { offset: u64, size: u64, file: usize },
    /// Weights in a file of their own.
    #[error("its data is in another file (external buffer {id}), expected inside this one")]
    ExternalFile { id: u32 },
}

impl Fault {
    /// What to try.
    pub fn remedy(&self) -> &'static str {
        match self {
            Fault::Identifier { .. } => {
                "give a .tflite file, or convert the model with a TFLite converter"
            }
            Fault::Damaged { .. } | Fault::DataOutside { .. } => {
                "check that the file is complete and copy or download it again"
            }
            Fault::Version { .. } => "convert the model again with a current TFLite converter",
            Fault::TooMany { .. } | Fault::TooManyElements { .. } => {
                "split the model, or fix the shape if the size is not meant"
            }
            Fault::ExternalFile { .. } => "export the model as a single file",
            Fault::NoSuch { .. }
            | Fault::NegativeDimension { .. }
            | Fault::Signature { .. }
            | Fault::ZeroPoints { .. }
            | Fault::MinMax { .. }
            | Fault::PerAxis { .. }
            | Fault::DataLength { .. } => {
                "the file contradicts itself: export it again, or report it to the tool that wrote it"
            }
        }
    }
}
