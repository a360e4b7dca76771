//! A `.tflite` file as plain structs, checked but not interpreted.
//!
//! What [`parse`] returns holds: every index is in range, extents are not negative and tensors
//! have at most [`MAX_ELEMENTS`], quantization arrays fit each other and the shape, and constants
//! have as many bytes as their shape and type need. Operators are not checked further: their
//! options may not fit them, and tensors may be missing. Types, activations and paddings are the
//! format's own numbers.

mod error;
mod options;
mod parse;
#[cfg(test)]
mod tests;

pub use error::{Fault, Place, RawError};
pub use options::*;
pub use parse::parse;

use super::names::builtin_name;
use qcc_runtime::DType;
use std::borrow::Cow;
use std::ops::Deref;

/// Elements that one tensor may have.
pub const MAX_ELEMENTS: u64 = 1 << 31;

/// The number of the operator whose name is in the file.
pub const CUSTOM: i32 = 32;

/// A whole file.
#[derive(Debug)]
pub struct RawModel<'a> {
    /// Schema version (3).
    pub version: u32,
    /// What the producer says about it.
    pub description: String,
    /// Graphs; the first is the entry.
    pub subgraphs: Vec<RawSubgraph<'a>>,
}

/// A graph.
#[derive(Debug)]
pub struct RawSubgraph<'a> {
    /// Name.
    pub name: String,
    /// Tensors, by index.
    pub tensors: Vec<RawTensor<'a>>,
    /// Tensor indices of the inputs.
    pub inputs: Vec<usize>,
    /// Tensor indices of the outputs.
    pub outputs: Vec<usize>,
    /// Operators in execution order.
    pub ops: Vec<RawOp>,
}

/// A tensor.
#[derive(Debug)]
pub struct RawTensor<'a> {
    /// Name; `tensor_<index>` if the file has none.
    pub name: String,
    /// Element type.
    pub dtype: TfliteType,
    /// Extents, none negative; what the file was exported with where they are dynamic.
    pub shape: Vec<i32>,
    /// Extents with -1 where they are dynamic.
    pub shape_signature: Option<Vec<i32>>,
    /// The constant as stored (4-bit types packed, sparse ones compressed); `None` if computed.
    pub data: Option<ConstData<'a>>,
    /// Quantization scales: none, one, or one per slice of `quantized_dimension`.
    pub scales: Vec<f32>,
    /// Quantization zero points: none, one, or as many as scales.
    pub zero_points: Vec<i64>,
    /// Smallest value that was seen; as many as `max`. Not used by integer kernels.
    pub min: Vec<f32>,
    /// Largest value that was seen.
    pub max: Vec<f32>,
    /// The axis of per-axis parameters.
    pub quantized_dimension: i32,
    /// Parameters of another form: 0 none, 1 custom, 2 block by block, 3 along several axes.
    pub quantization_details: u8,
    /// Keeps its value between runs.
    pub is_variable: bool,
    /// `data` is in a compressed form that is not read.
    pub is_sparse: bool,
}

/// Bytes of a constant: a part of the file.
#[derive(Clone, Copy)]
pub struct ConstData<'a>(&'a [u8]);

#[cfg(test)]
impl<'a> From<&'a [u8]> for ConstData<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        ConstData(bytes)
    }
}

impl Deref for ConstData<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0
    }
}

impl std::fmt::Debug for ConstData<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes of the file", self.0.len())
    }
}

/// An element type, by the format's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TfliteType(pub i8);

#[allow(missing_docs)]
impl TfliteType {
    pub const FLOAT32: Self = Self(0);
    pub const FLOAT16: Self = Self(1);
    pub const INT32: Self = Self(2);
    pub const UINT8: Self = Self(3);
    pub const INT64: Self = Self(4);
    pub const STRING: Self = Self(5);
    pub const BOOL: Self = Self(6);
    pub const INT16: Self = Self(7);
    pub const COMPLEX64: Self = Self(8);
    pub const INT8: Self = Self(9);
    pub const FLOAT64: Self = Self(10);
    pub const COMPLEX128: Self = Self(11);
    pub const UINT64: Self = Self(12);
    pub const RESOURCE: Self = Self(13);
    pub const VARIANT: Self = Self(14);
    pub const UINT32: Self = Self(15);
    pub const UINT16: Self = Self(16);
    pub const INT4: Self = Self(17);
    pub const BFLOAT16: Self = Self(18);
    pub const INT2: Self = Self(19);
    pub const UINT4: Self = Self(20);
    pub const FLOAT8_E4M3FN: Self = Self(21);
    pub const FLOAT8_E5M2: Self = Self(22);
}

/// Name and bits of an element, by number; 0 bits where elements have no fixed size.
const TYPES: [(&str, u32); 23] = [
    ("float32", 32),
    ("float16", 16),
    ("int32", 32),
    ("uint8", 8),
    ("int64", 64),
    ("string", 0),
    ("bool", 8),
    ("int16", 16),
    ("complex64", 64),
    ("int8", 8),
    ("float64", 64),
    ("complex128", 128),
    ("uint64", 64),
    ("resource", 0),
    ("variant", 0),
    ("uint32", 32),
    ("uint16", 16),
    ("int4", 4),
    ("bfloat16", 16),
    ("int2", 2),
    ("uint4", 4),
    ("float8_e4m3fn", 8),
    ("float8_e5m2", 8),
];

impl TfliteType {
    fn row(self) -> Option<(&'static str, u32)> {
        usize::try_from(self.0).ok().and_then(|i| TYPES.get(i).copied())
    }

    /// Bits of an element; `None` for strings, handles and types newer than this reader.
    pub fn bits(self) -> Option<u32> {
        self.row().map(|(_, bits)| bits).filter(|&bits| bits > 0)
    }
}

impl std::fmt::Display for TfliteType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.row() {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "type {}", self.0),
        }
    }
}

impl<'a> RawTensor<'a> {
    /// The type of one unpacked element; `None` if qcc has no such type.
    pub fn storage_dtype(&self) -> Option<DType> {
        Some(match self.dtype {
            TfliteType::FLOAT32 => DType::F32,
            TfliteType::INT32 => DType::I32,
            TfliteType::UINT8 => DType::U8,
            TfliteType::INT64 => DType::I64,
            TfliteType::BOOL => DType::Bool,
            TfliteType::INT16 => DType::I16,
            TfliteType::INT8 | TfliteType::INT4 => DType::I8,
            TfliteType::FLOAT64 => DType::F64,
            TfliteType::UINT16 => DType::U16,
            _ => return None,
        })
    }

    /// Number of elements; at most [`MAX_ELEMENTS`].
    pub fn elements(&self) -> usize {
        self.shape.iter().map(|&d| d as usize).product()
    }

    /// The elements of a constant, one element per `storage_dtype`; `None` if it is computed, or
    /// sparse and so not readable.
    pub fn constant_bytes(&self) -> Option<Cow<'a, [u8]>> {
        let ConstData(packed) = self.data.filter(|_| !self.is_sparse)?;
        if self.dtype != TfliteType::INT4 {
            return Some(packed.into());
        }
        let signed = |nibble: u8| (((nibble << 4) as i8) >> 4) as u8;
        let both = packed.iter().flat_map(|&b| [signed(b & 15), signed(b >> 4)]);
        Some(both.take(self.elements()).collect())
    }
}

/// An operator.
#[derive(Debug)]
pub struct RawOp {
    /// Index in the file's order.
    pub index: usize,
    /// Builtin operator number; [`CUSTOM`] is a custom one.
    pub opcode: i32,
    /// Name of a custom operator.
    pub custom: Option<String>,
    /// Operator version.
    pub version: i32,
    /// Tensor indices; `None` for an optional input left out.
    pub inputs: Vec<Option<usize>>,
    /// Tensor indices.
    pub outputs: Vec<usize>,
    /// Tensor indices of values inside the operator, for their quantization parameters.
    pub intermediates: Vec<Option<usize>>,
    /// Parameters.
    pub options: RawOptions,
}

impl RawOp {
    /// The operator's name in the schema, or the custom operator's own.
    pub fn name(&self) -> String {
        opcode_name(self.opcode, self.custom.as_deref())
    }
}

fn opcode_name(opcode: i32, custom: Option<&str>) -> String {
    match custom {
        Some(name) if opcode == CUSTOM => name.to_string(),
        _ => builtin_name(opcode).map_or(format!("#{opcode}"), str::to_string),
    }
}

/// An operator as diagnostics name it: `operator 3 CONV_2D 'stem/Relu6'`, with the name of its
/// first output in `graph`.
pub fn op_label(graph: &RawSubgraph, op: &RawOp) -> String {
    let first = op.outputs.first().and_then(|&t| graph.tensors.get(t));
    let name = first.map_or("", |t| t.name.as_str());
    format!("operator {} {} '{name}'", op.index, op.name())
}
