//! A `.tflite` file as plain structs, checked but not interpreted.
//!
//! Field numbers, enum values and defaults are those of TensorFlow Lite's public schema (version
//! 3). Every index is in range, extents are not negative, and constants have as many bytes as
//! their shape and type need.

use super::flat::{Malformed, Table};
use super::names::builtin_name;
use qcc_runtime::DType;
use std::ops::Range;
use std::sync::Arc;

/// Ops, tensors and subgraphs that one file may have.
const MAX_ITEMS: usize = 1 << 17;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// The file does not have the identifier of a TFLite model.
    #[error("not a TFLite model (no identifier 'TFL3'); export it with a TFLite converter")]
    Identifier,
    /// An offset or length points outside the file.
    #[error("the file is damaged near its {0}: an offset or length does not fit; copy it again")]
    Damaged(&'static str),
    /// Something refers to something that does not exist.
    #[error("{what}; the file is damaged or was written by a broken tool, export it again")]
    Inconsistent {
        /// What refers to what.
        what: String,
    },
}

/// A whole file.
#[derive(Debug)]
pub struct RawModel {
    /// Schema version (3).
    pub version: u32,
    /// What the producer says about it.
    pub description: String,
    /// Graphs; the first is the entry.
    pub subgraphs: Vec<RawSubgraph>,
}

/// A graph.
#[derive(Debug)]
pub struct RawSubgraph {
    /// Name.
    pub name: String,
    /// Tensors, by index.
    pub tensors: Vec<RawTensor>,
    /// Tensor indices of the inputs.
    pub inputs: Vec<usize>,
    /// Tensor indices of the outputs.
    pub outputs: Vec<usize>,
    /// Operators in execution order.
    pub ops: Vec<RawOp>,
}

/// A tensor.
#[derive(Debug)]
pub struct RawTensor {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: TfliteType,
    /// Extents.
    pub shape: Vec<i32>,
    /// Extents with -1 where they are dynamic.
    pub shape_signature: Option<Vec<i32>>,
    /// Quantization scales: none, one, or one per slice of `quantized_dimension`.
    pub scales: Vec<f32>,
    /// Quantization zero points.
    pub zero_points: Vec<i64>,
    /// The axis of per-axis parameters.
    pub quantized_dimension: i32,
    /// Keeps its value between runs.
    pub is_variable: bool,
    file: Arc<[u8]>,
    data: Option<Range<usize>>,
}

/// An element type, by the schema's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TfliteType(pub i8);

impl TfliteType {
    const INT4: i8 = 17;
    /// Elements are packed two to a byte.
    fn is_int4(self) -> bool {
        self.0 == Self::INT4
    }
}

impl std::fmt::Display for TfliteType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const NAMES: [&str; 19] = [
            "float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16",
            "complex64", "int8", "float64", "complex128", "uint64", "resource", "variant",
            "uint32", "uint16", "int4", "bfloat16",
        ];
        match NAMES.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "type {}", self.0),
        }
    }
}

impl RawTensor {
    /// The type of one unpacked element; `None` if qcc has no such type.
    pub fn storage_dtype(&self) -> Option<DType> {
        Some(match self.dtype.0 {
            0 => DType::F32,
            2 => DType::I32,
            3 => DType::U8,
            4 => DType::I64,
            6 => DType::Bool,
            7 => DType::I16,
            9 | TfliteType::INT4 => DType::I8,
            10 => DType::F64,
            16 => DType::U16,
            _ => return None,
        })
    }

    /// The elements of a constant, one element per `storage_dtype`; `None` if it is computed.
    pub fn constant_bytes(&self) -> Option<Vec<u8>> {
        let packed = &self.file[self.data.clone()?];
        if !self.dtype.is_int4() {
            return Some(packed.to_vec());
        }
        let n: usize = self.shape.iter().map(|&d| d as usize).product();
        let nibble = |i: usize| {
            let byte = packed[i / 2];
            let low = if i % 2 == 0 { byte << 4 } else { byte & 0xF0 };
            ((low as i8) >> 4) as u8
        };
        Some((0..n).map(nibble).collect())
    }

    /// Bytes of the constant, as stored in the file.
    fn stored_bytes(&self) -> Option<usize> {
        let n = self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d as usize))?;
        match self.dtype.is_int4() {
            true => Some(n.div_ceil(2)),
            false => n.checked_mul(self.storage_dtype()?.size()),
        }
    }
}

/// An operator.
#[derive(Debug)]
pub struct RawOp {
    /// Index in the file's order.
    pub index: usize,
    /// Builtin operator number; 32 is a custom one.
    pub opcode: i32,
    /// Name of a custom operator.
    pub custom: Option<String>,
    /// Operator version.
    pub version: i32,
    /// Tensor indices; `None` for an optional input left out.
    pub inputs: Vec<Option<usize>>,
    /// Tensor indices.
    pub outputs: Vec<usize>,
    /// Parameters.
    pub options: RawOptions,
}

impl RawOp {
    /// The operator's name in the schema, or the custom operator's own.
    pub fn name(&self) -> String {
        match &self.custom {
            Some(name) if self.opcode == 32 => name.clone(),
            _ => builtin_name(self.opcode).map_or(format!("#{}", self.opcode), str::to_string),
        }
    }
}

/// Parameters of the operators that are read.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum RawOptions {
    None,
    /// Of a kind that is not read; its number in the schema's union.
    Other(u8),
    Conv2d(ConvOptions),
    DepthwiseConv2d(ConvOptions),
    Pool2d(PoolOptions),
    FullyConnected(FullyConnectedOptions),
    Softmax(SoftmaxOptions),
    Concatenation(ConcatOptions),
    Add(AddOptions),
    Reshape(ReshapeOptions),
    Reducer(ReducerOptions),
    ResizeBilinear(ResizeOptions),
}

/// Of CONV_2D and DEPTHWISE_CONV_2D.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct ConvOptions {
    pub padding: i8,
    pub stride_h: i32,
    pub stride_w: i32,
    pub dilation_h: i32,
    pub dilation_w: i32,
    pub fused_activation: i8,
}
/// Of the pooling operators.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct PoolOptions {
    pub padding: i8,
    pub stride_h: i32,
    pub stride_w: i32,
    pub filter_height: i32,
    pub filter_width: i32,
    pub fused_activation: i8,
}
/// Of FULLY_CONNECTED.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct FullyConnectedOptions {
    pub fused_activation: i8,
    pub weights_format: i8,
    pub keep_num_dims: bool,
}
/// Of SOFTMAX.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct SoftmaxOptions {
    pub beta: f32,
}
/// Of CONCATENATION.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct ConcatOptions {
    pub axis: i32,
    pub fused_activation: i8,
}
/// Of ADD.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct AddOptions {
    pub fused_activation: i8,
    pub pot_scale_int16: bool,
}
/// Of RESHAPE.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct ReshapeOptions {
    pub new_shape: Vec<i32>,
}
/// Of MEAN and its like.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct ReducerOptions {
    pub keep_dims: bool,
}
/// Of RESIZE_BILINEAR.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct ResizeOptions {
    pub align_corners: bool,
    pub half_pixel_centers: bool,
}

/// Reads a file.
///
/// # Errors
/// The file is no TFLite model, is damaged, or contradicts itself.
pub fn parse(bytes: &[u8]) -> Result<RawModel, RawError> {
    if bytes.get(4..8) != Some(b"TFL3") {
        return Err(RawError::Identifier);
    }
    let file: Arc<[u8]> = bytes.into();
    let damaged = |part| move |_: Malformed| RawError::Damaged(part);
    let root = Table::root(&file).map_err(damaged("root"))?;
    let codes = root.tables(1).map_err(damaged("operator codes"))?;
    let buffers = root.tables(4).map_err(damaged("buffers"))?;
    let graphs = root.tables(2).map_err(damaged("subgraphs"))?;
    limit("subgraphs", graphs.len())?;
    let reader = Reader { file: &file, codes, buffers };
    Ok(RawModel {
        version: root.number(0, 0).map_err(damaged("version"))?,
        description: root.string(3).map_err(damaged("description"))?.unwrap_or_default(),
        subgraphs: graphs.iter().map(|g| reader.subgraph(g)).collect::<Result<_, _>>()?,
    })
}

fn limit(what: &str, n: usize) -> Result<(), RawError> {
    match n > MAX_ITEMS {
        true => Err(inconsistent(format!("{n} {what}, more than {MAX_ITEMS}"))),
        false => Ok(()),
    }
}

fn inconsistent(what: String) -> RawError {
    RawError::Inconsistent { what }
}

struct Reader<'a> {
    file: &'a Arc<[u8]>,
    codes: Vec<Table<'a>>,
    buffers: Vec<Table<'a>>,
}

impl From<Malformed> for RawError {
    fn from(_: Malformed) -> Self {
        RawError::Damaged("tensors and operators")
    }
}

impl Reader<'_> {
    fn subgraph(&self, g: &Table) -> Result<RawSubgraph, RawError> {
        let tables = g.tables(0)?;
        limit("tensors", tables.len())?;
        let mut tensors = Vec::with_capacity(tables.len());
        for (i, t) in tables.iter().enumerate() {
            tensors.push(self.tensor(t, i)?);
        }
        let n = tensors.len();
        let indices = |id: usize, what: &str| -> Result<Vec<usize>, RawError> {
            let list = g.numbers::<i32>(id)?;
            list.into_iter().map(|t| tensor_index(t, n, what)).collect()
        };
        let ops = g.tables(3)?;
        limit("operators", ops.len())?;
        let op = |(i, t): (usize, &Table)| self.op(t, i, n);
        Ok(RawSubgraph {
            name: g.string(4)?.unwrap_or_default(),
            inputs: indices(1, "the list of inputs")?,
            outputs: indices(2, "the list of outputs")?,
            ops: ops.iter().enumerate().map(op).collect::<Result<_, _>>()?,
            tensors,
        })
    }

    fn tensor(&self, t: &Table, index: usize) -> Result<RawTensor, RawError> {
        let name = t.string(3)?.filter(|n| !n.is_empty());
        let name = name.unwrap_or_else(|| format!("tensor_{index}"));
        let quantization = t.table(4)?;
        let (scales, zero_points, quantized_dimension) = match &quantization {
            Some(q) => (q.numbers(2)?, q.numbers(3)?, q.number(6, 0)?),
            None => (vec![], vec![], 0),
        };
        let signature = t.numbers::<i32>(7)?;
        let mut tensor = RawTensor {
            dtype: TfliteType(t.number(1, 0)?),
            shape: t.numbers(0)?,
            shape_signature: (!signature.is_empty()).then_some(signature),
            scales,
            zero_points,
            quantized_dimension,
            is_variable: t.bool(5, false)?,
            file: self.file.clone(),
            data: None,
            name,
        };
        if tensor.shape.iter().any(|&d| d < 0) {
            let what = format!("tensor '{}' has shape {:?}", tensor.name, tensor.shape);
            return Err(inconsistent(what));
        }
        let n_zp = tensor.zero_points.len();
        if n_zp > 1 && n_zp != tensor.scales.len() {
            let n = tensor.scales.len();
            let what = format!("tensor '{}' has {n} scales and {n_zp} zero points", tensor.name);
            return Err(inconsistent(what));
        }
        tensor.data = self.data(&tensor, t.number(2, 0u32)?)?;
        Ok(tensor)
    }

    /// Where a tensor's constant is in the file.
    fn data(&self, tensor: &RawTensor, buffer: u32) -> Result<Option<Range<usize>>, RawError> {
        if buffer == 0 {
            return Ok(None);
        }
        let table = self.buffers.get(buffer as usize).ok_or_else(|| {
            let n = self.buffers.len();
            inconsistent(format!("tensor '{}' is in buffer {buffer} of {n}", tensor.name))
        })?;
        let range = match table.bytes(0)? {
            Some(b) => {
                let start = b.as_ptr() as usize - self.file.as_ptr() as usize;
                start..start + b.len()
            }
            None => {
                let (offset, size) = (table.number(1, 0u64)?, table.number(2, 0u64)?);
                let end = offset.checked_add(size).filter(|&e| e <= self.file.len() as u64);
                let end = end.ok_or(RawError::Damaged("external buffers"))?;
                offset as usize..end as usize
            }
        };
        if range.is_empty() {
            let empty = tensor.stored_bytes() == Some(0) && !tensor.is_variable;
            return Ok(empty.then_some(range));
        }
        match tensor.stored_bytes() {
            Some(n) if n != range.len() => Err(inconsistent(format!(
                "tensor '{}' of shape {:?} and type {} has {} bytes, expected {n}",
                tensor.name,
                tensor.shape,
                tensor.dtype,
                range.len()
            ))),
            _ => Ok(Some(range)),
        }
    }

    fn op(&self, t: &Table, index: usize, n_tensors: usize) -> Result<RawOp, RawError> {
        let code = t.number(0, 0u32)? as usize;
        let code = self.codes.get(code).ok_or_else(|| {
            let n = self.codes.len();
            inconsistent(format!("operator {index} has code {code} of {n}"))
        })?;
        let old = i32::from(code.number(0, 0i8)?);
        let opcode = old.max(code.number(3, 0i32)?);
        let what = format!("operator {index}");
        let input = |t: i32| match t {
            -1 => Ok(None),
            t => tensor_index(t, n_tensors, &what).map(Some),
        };
        Ok(RawOp {
            index,
            opcode,
            custom: code.string(1)?,
            version: code.number(2, 1)?,
            inputs: t.numbers::<i32>(1)?.into_iter().map(input).collect::<Result<_, _>>()?,
            outputs: t
                .numbers::<i32>(2)?
                .into_iter()
                .map(|t| tensor_index(t, n_tensors, &what))
                .collect::<Result<_, _>>()?,
            options: options(t.number(3, 0u8)?, t.table(4)?, opcode)?,
        })
    }
}

fn tensor_index(t: i32, n: usize, what: &str) -> Result<usize, RawError> {
    match usize::try_from(t) {
        Ok(i) if i < n => Ok(i),
        _ => Err(inconsistent(format!("{what} names tensor {t} of {n}"))),
    }
}

/// Options by the operator they belong to. A file may leave a table out when all its fields have
/// their defaults.
fn options(kind: u8, table: Option<Table>, opcode: i32) -> Result<RawOptions, Malformed> {
    let Some(t) = table else {
        return Ok(if kind == 0 { RawOptions::None } else { RawOptions::Other(kind) });
    };
    Ok(match opcode {
        0 => RawOptions::Add(AddOptions {
            fused_activation: t.number(0, 0)?,
            pot_scale_int16: t.bool(1, true)?,
        }),
        1 | 17 => RawOptions::Pool2d(PoolOptions {
            padding: t.number(0, 0)?,
            stride_w: t.number(1, 0)?,
            stride_h: t.number(2, 0)?,
            filter_width: t.number(3, 0)?,
            filter_height: t.number(4, 0)?,
            fused_activation: t.number(5, 0)?,
        }),
        2 => RawOptions::Concatenation(ConcatOptions {
            axis: t.number(0, 0)?,
            fused_activation: t.number(1, 0)?,
        }),
        3 => RawOptions::Conv2d(conv_options(&t, [3, 4, 5])?),
        4 => RawOptions::DepthwiseConv2d(conv_options(&t, [4, 5, 6])?),
        9 => RawOptions::FullyConnected(FullyConnectedOptions {
            fused_activation: t.number(0, 0)?,
            weights_format: t.number(1, 0)?,
            keep_num_dims: t.bool(2, false)?,
        }),
        22 => RawOptions::Reshape(ReshapeOptions { new_shape: t.numbers(0)? }),
        23 => RawOptions::ResizeBilinear(ResizeOptions {
            align_corners: t.bool(2, false)?,
            half_pixel_centers: t.bool(3, false)?,
        }),
        25 => RawOptions::Softmax(SoftmaxOptions { beta: t.number(0, 0.0)? }),
        40 => RawOptions::Reducer(ReducerOptions { keep_dims: t.bool(0, false)? }),
        _ => RawOptions::Other(kind),
    })
}

/// `[activation, dilation_w, dilation_h]` field numbers differ between the two convolutions.
fn conv_options(t: &Table, [act, dilation_w, dilation_h]: [usize; 3]) -> Result<ConvOptions, Malformed> {
    Ok(ConvOptions {
        padding: t.number(0, 0)?,
        stride_w: t.number(1, 0)?,
        stride_h: t.number(2, 0)?,
        fused_activation: t.number(act, 0)?,
        dilation_w: t.number(dilation_w, 1)?,
        dilation_h: t.number(dilation_h, 1)?,
    })
}
