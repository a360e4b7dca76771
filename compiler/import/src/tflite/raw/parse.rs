//! From a file's bytes to [`RawModel`]: verifies, then checks and copies, all but the constants.

use super::{
    CUSTOM, ConstData, Fault, MAX_ELEMENTS, Place, RawError, RawModel, RawOp, RawSubgraph,
    RawTensor, TfliteType, opcode_name, options,
};
use crate::tflite::schema_generated as schema;
use flatbuffers::{InvalidFlatbuffer, Vector, VerifierOptions};
use std::ops::Range;

/// Tables (tensors, operators, options, …) that one file may have.
const MAX_TABLES: usize = 1 << 20;
/// Tables inside tables; the format needs five levels.
const MAX_DEPTH: usize = 16;
/// Dimensions of a tensor.
const MAX_RANK: usize = 64;
/// Bytes that a flatbuffer's offsets can reach; only constants may lie beyond.
const MAX_FLATBUFFER: usize = i32::MAX as usize;

type Read<T> = Result<T, RawError>;

/// Reads a file.
///
/// # Errors
/// The file is no TFLite model, is damaged, or contradicts itself; the first fault found.
pub fn parse(file: &[u8]) -> Read<RawModel<'_>> {
    let model = verified(file)?;
    if model.version() != 3 {
        return Err(Place::File.fault(Fault::Version { found: model.version() }));
    }
    let reader = Reader { file, model };
    let graphs = model.subgraphs().into_iter().flatten().enumerate();
    Ok(RawModel {
        version: model.version(),
        description: text(model.description()).unwrap_or_default(),
        subgraphs: graphs.map(|(i, g)| reader.subgraph(i, &g)).collect::<Read<_>>()?,
    })
}

/// The root table, after all that is read of the file has been checked to be inside it.
fn verified(file: &[u8]) -> Read<schema::Model<'_>> {
    if file.get(4..8) != Some(schema::MODEL_IDENTIFIER.as_bytes()) {
        let found = file.get(4..8).unwrap_or_default().escape_ascii().to_string();
        return Err(Place::File.fault(Fault::Identifier { found }));
    }
    let options = VerifierOptions {
        max_depth: MAX_DEPTH,
        max_tables: MAX_TABLES,
        // Parts may be shared, but not so that a small file stands for an endless one.
        max_apparent_size: file.len().saturating_mul(4).saturating_add(16 << 20),
        ignore_missing_null_terminator: true,
    };
    let flatbuffer = &file[..file.len().min(MAX_FLATBUFFER)];
    schema::root_as_model_with_opts(&options, flatbuffer)
        .map_err(|e| Place::File.fault(Fault::Damaged { detail: describe(&e) }))
}

/// The verifier's message and the innermost place, on one line.
fn describe(error: &InvalidFlatbuffer) -> String {
    match error {
        InvalidFlatbuffer::TooManyTables => {
            return format!("more than {MAX_TABLES} tables");
        }
        InvalidFlatbuffer::ApparentSizeTooLarge => {
            return "parts are shared so often that it stands for far more than its size".into();
        }
        _ => {}
    }
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).take(2).collect();
    lines.join(" ")
}

impl Place {
    fn fault(&self, fault: Fault) -> RawError {
        RawError { place: self.clone(), fault }
    }

    /// A tensor index, checked against the number of tensors.
    fn tensor_index(&self, by: impl Fn() -> String, t: i32, count: usize) -> Read<usize> {
        match usize::try_from(t) {
            Ok(i) if i < count => Ok(i),
            _ => {
                let index = t.into();
                Err(self.fault(Fault::NoSuch { by: by(), what: "tensor", index, count }))
            }
        }
    }

    /// All of a list of tensor indices.
    fn tensor_indices(&self, by: &str, list: Ints, count: usize) -> Read<Vec<usize>> {
        let list = list.into_iter().flatten().enumerate();
        list.map(|(i, t)| self.tensor_index(|| format!("{by} {i}"), t, count)).collect()
    }

    /// A list of tensor indices where -1 stands for none.
    fn optional_indices(&self, by: &str, list: Ints, count: usize) -> Read<Vec<Option<usize>>> {
        let list = list.into_iter().flatten().enumerate();
        list.map(|(i, t)| match t {
            -1 => Ok(None),
            _ => self.tensor_index(|| format!("{by} {i}"), t, count).map(Some),
        })
        .collect()
    }
}

type Ints<'a> = Option<Vector<'a, i32>>;

/// A string; bytes that are not UTF-8 are replaced.
fn text(bytes: Option<Vector<'_, u8>>) -> Option<String> {
    bytes.map(|b| String::from_utf8_lossy(b.bytes()).into_owned())
}

struct Reader<'a> {
    file: &'a [u8],
    model: schema::Model<'a>,
}

impl<'a> Reader<'a> {
    fn subgraph(&self, index: usize, g: &schema::SubGraph) -> Read<RawSubgraph<'a>> {
        let place = Place::Subgraph(index);
        let tensors = g.tensors().into_iter().flatten().enumerate();
        let tensors = tensors.map(|(i, t)| self.tensor(i, &t)).collect::<Read<Vec<_>>>()?;
        let ops = g.operators().into_iter().flatten().enumerate();
        Ok(RawSubgraph {
            name: text(g.name()).unwrap_or_default(),
            inputs: place.tensor_indices("input", g.inputs(), tensors.len())?,
            outputs: place.tensor_indices("output", g.outputs(), tensors.len())?,
            ops: ops.map(|(i, op)| self.op(i, &op, &tensors)).collect::<Read<_>>()?,
            tensors,
        })
    }

    // ---- tensors ----

    fn tensor(&self, index: usize, t: &schema::Tensor) -> Read<RawTensor<'a>> {
        let name = text(t.name()).filter(|n| !n.is_empty());
        let name = name.unwrap_or_else(|| format!("tensor_{index}"));
        let place = Place::Tensor { index, name: name.clone() };
        let q = t.quantization();
        let signature = t.shape_signature().filter(|s| !s.is_empty());
        let mut tensor = RawTensor {
            name,
            dtype: TfliteType(t.type_()),
            shape: shape(t).map_err(|fault| place.fault(fault))?,
            shape_signature: signature.map(|s| s.iter().collect()),
            data: None,
            scales: q.and_then(|q| q.scale()).into_iter().flatten().collect(),
            zero_points: q.and_then(|q| q.zero_point()).into_iter().flatten().collect(),
            min: q.and_then(|q| q.min()).into_iter().flatten().collect(),
            max: q.and_then(|q| q.max()).into_iter().flatten().collect(),
            quantized_dimension: q.map_or(0, |q| q.quantized_dimension()),
            quantization_details: q.map_or(0, |q| q.details_kind()),
            is_variable: t.is_variable(),
            is_sparse: t.sparsity().is_some(),
        };
        check_signature(&tensor).map_err(|fault| place.fault(fault))?;
        check_quantization(&tensor).map_err(|fault| place.fault(fault))?;
        if t.external_buffer() != 0 {
            return Err(place.fault(Fault::ExternalFile { id: t.external_buffer() }));
        }
        let range = self.data(t.buffer()).map_err(|fault| place.fault(fault))?;
        let range = constant(&tensor, range).map_err(|fault| place.fault(fault))?;
        tensor.data = range.map(|range| ConstData(&self.file[range]));
        Ok(tensor)
    }

    /// Where a buffer's bytes are in the file; `None` for buffer 0 and buffers without data.
    fn data(&self, buffer: u32) -> Result<Option<Range<usize>>, Fault> {
        if buffer == 0 {
            return Ok(None);
        }
        let buffers = self.model.buffers();
        let count = buffers.map_or(0, |b| b.len());
        let Some(table) = buffers.filter(|_| (buffer as usize) < count) else {
            let (by, index) = ("its data".to_string(), buffer.into());
            return Err(Fault::NoSuch { by, what: "buffer", index, count });
        };
        let table = table.get(buffer as usize);
        if let Some(data) = table.data() {
            let start = data.bytes().as_ptr() as usize - self.file.as_ptr() as usize;
            return Ok(Some(start..start + data.len()));
        }
        let (offset, size) = (table.offset(), table.size());
        // 1 is what writers put before they know the place.
        if offset <= 1 {
            return Ok(None);
        }
        let file = self.file.len();
        match offset.checked_add(size) {
            Some(end) if end <= file as u64 => Ok(Some(offset as usize..end as usize)),
            _ => Err(Fault::DataOutside { offset, size, file }),
        }
    }

    // ---- operators ----

    fn op(&self, index: usize, op: &schema::Operator, tensors: &[RawTensor]) -> Read<RawOp> {
        let output = op.outputs().and_then(|list| list.iter().next());
        let output = output.and_then(|t| tensors.get(usize::try_from(t).ok()?));
        let name = output.map_or_else(String::new, |t| t.name.clone());
        let codes = self.model.operator_codes();
        let (code, count) = (op.opcode_index(), codes.map_or(0, |c| c.len()));
        let Some(code) = codes.filter(|_| (code as usize) < count).map(|c| c.get(code as usize))
        else {
            let place = Place::Op { index, builtin: "(unknown)".into(), name };
            let (by, index) = ("it".to_string(), code.into());
            return Err(place.fault(Fault::NoSuch { by, what: "operator code", index, count }));
        };
        // Old files have the first field only; new ones put a placeholder there for large codes.
        let opcode = i32::from(code.deprecated_builtin_code()).max(code.builtin_code());
        let custom = text(code.custom_code()).filter(|_| opcode == CUSTOM);
        let place = Place::Op { index, builtin: opcode_name(opcode, custom.as_deref()), name };
        let n = tensors.len();
        Ok(RawOp {
            index,
            opcode,
            custom,
            version: code.version(),
            inputs: place.optional_indices("input", op.inputs(), n)?,
            outputs: place.tensor_indices("output", op.outputs(), n)?,
            intermediates: place.optional_indices("intermediate", op.intermediates(), n)?,
            options: options::read(op),
        })
    }
}

// ---- checks ----

/// A tensor's shape: of reasonable rank, not negative, with at most [`MAX_ELEMENTS`].
fn shape(t: &schema::Tensor) -> Result<Vec<i32>, Fault> {
    let rank = t.shape().map_or(0, |s| s.len());
    if rank > MAX_RANK {
        return Err(Fault::TooMany { what: "dimensions", found: rank, limit: MAX_RANK });
    }
    let shape: Vec<i32> = t.shape().into_iter().flatten().collect();
    let mut elements = 1u64;
    for &d in &shape {
        let Ok(d) = u64::try_from(d) else {
            return Err(Fault::NegativeDimension { shape });
        };
        elements = match elements.checked_mul(d) {
            Some(n) if n <= MAX_ELEMENTS => n,
            _ => return Err(Fault::TooManyElements { shape, limit: MAX_ELEMENTS }),
        };
    }
    Ok(shape)
}

fn check_signature(tensor: &RawTensor) -> Result<(), Fault> {
    let rank = tensor.shape.len();
    match &tensor.shape_signature {
        Some(s) if s.len() > MAX_RANK => {
            Err(Fault::TooMany { what: "dimensions", found: s.len(), limit: MAX_RANK })
        }
        Some(s) if s.len() != rank || s.iter().any(|&d| d < -1) => {
            Err(Fault::Signature { signature: s.clone(), rank })
        }
        _ => Ok(()),
    }
}

fn check_quantization(tensor: &RawTensor) -> Result<(), Fault> {
    let (scales, zero_points) = (tensor.scales.len(), tensor.zero_points.len());
    if zero_points > 1 && zero_points != scales {
        return Err(Fault::ZeroPoints { scales, zero_points });
    }
    let (min, max) = (tensor.min.len(), tensor.max.len());
    if min != max {
        return Err(Fault::MinMax { min, max });
    }
    let axis = tensor.quantized_dimension;
    let slices = usize::try_from(axis).ok().and_then(|axis| tensor.shape.get(axis));
    if scales > 1 && slices.is_none_or(|&n| n as usize != scales) {
        return Err(Fault::PerAxis { scales, axis, shape: tensor.shape.clone() });
    }
    Ok(())
}

/// The constant's place if the tensor is one. A buffer without bytes is a constant only where the
/// shape needs none: computed tensors may have an empty buffer of their own.
fn constant(
    tensor: &RawTensor,
    range: Option<Range<usize>>,
) -> Result<Option<Range<usize>>, Fault> {
    let bits = tensor.dtype.bits().map(|bits| u64::from(bits) * tensor.elements() as u64);
    let expected = bits.map(|bits| bits.div_ceil(8));
    let Some(range) = range else { return Ok(None) };
    let found = range.len();
    match expected {
        _ if found == 0 => {
            let is_constant = expected == Some(0) && !tensor.is_variable;
            Ok(is_constant.then_some(range))
        }
        Some(expected) if expected != found as u64 && !tensor.is_sparse => {
            let (dtype, shape) = (tensor.dtype, tensor.shape.clone());
            Err(Fault::DataLength { dtype, shape, found, expected })
        }
        _ => Ok(Some(range)),
    }
}
