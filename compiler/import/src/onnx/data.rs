//! Constants: from a `TensorProto` in any encoding to a tensor.
//!
//! A constant's bytes stand in the message, in typed fields, or in a file of the model's own
//! folder. Elements that qcc has no type for become the next wider one that it has: float16,
//! bfloat16 and smaller floats become float32, packed 2- and 4-bit integers one byte each, uint32
//! and uint64 int64. Inputs and results of float16 are float32 too: models of float16 are computed
//! with float32, without rounding to float16 in between.

use super::proto;
use crate::shapes;
use qcc_ir::DType;
use qcc_runtime::Tensor;
use qcc_runtime::dtype::f32_of_half;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// An element type, by ONNX's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OnnxType(pub i32);

#[allow(missing_docs)]
impl OnnxType {
    pub const FLOAT: Self = Self(1);
    pub const UINT8: Self = Self(2);
    pub const INT8: Self = Self(3);
    pub const UINT16: Self = Self(4);
    pub const INT16: Self = Self(5);
    pub const INT32: Self = Self(6);
    pub const INT64: Self = Self(7);
    pub const BOOL: Self = Self(9);
    pub const FLOAT16: Self = Self(10);
    pub const DOUBLE: Self = Self(11);
    pub const UINT32: Self = Self(12);
    pub const UINT64: Self = Self(13);
    pub const BFLOAT16: Self = Self(16);
    pub const FLOAT8E4M3FN: Self = Self(17);
    pub const FLOAT8E4M3FNUZ: Self = Self(18);
    pub const FLOAT8E5M2: Self = Self(19);
    pub const FLOAT8E5M2FNUZ: Self = Self(20);
    pub const UINT4: Self = Self(21);
    pub const INT4: Self = Self(22);
    pub const FLOAT4E2M1: Self = Self(23);
    pub const FLOAT8E8M0: Self = Self(24);
    pub const UINT2: Self = Self(25);
    pub const INT2: Self = Self(26);
}

#[rustfmt::skip]
const NAMES: [&str; 29] = [
    "undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool",
    "float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16",
    "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "uint4", "int4",
    "float4e2m1", "float8e8m0", "uint2", "int2", "float6e2m3", "float6e3m2",
];

impl std::fmt::Display for OnnxType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match usize::try_from(self.0).ok().and_then(|i| NAMES.get(i)) {
            Some(name) => f.write_str(name),
            None => write!(f, "type {}", self.0),
        }
    }
}

impl OnnxType {
    /// Bits of a stored element; `None` if qcc cannot read it.
    fn bits(self) -> Option<usize> {
        Some(match self {
            Self::UINT2 | Self::INT2 => 2,
            Self::UINT4 | Self::INT4 | Self::FLOAT4E2M1 => 4,
            _ if self.number_of().is_some() => 8,
            Self::UINT8 | Self::INT8 | Self::BOOL => 8,
            Self::UINT16 | Self::INT16 | Self::FLOAT16 | Self::BFLOAT16 => 16,
            Self::FLOAT | Self::INT32 | Self::UINT32 => 32,
            Self::DOUBLE | Self::INT64 | Self::UINT64 => 64,
            _ => return None,
        })
    }

    /// The type of the same elements at run time; `None` where there is none.
    pub fn dtype(self) -> Option<DType> {
        Some(match self {
            Self::FLOAT | Self::FLOAT16 => DType::F32,
            Self::DOUBLE => DType::F64,
            Self::UINT8 | Self::UINT4 | Self::UINT2 => DType::U8,
            Self::INT8 | Self::INT4 | Self::INT2 => DType::I8,
            Self::UINT16 => DType::U16,
            Self::INT16 => DType::I16,
            Self::INT32 => DType::I32,
            Self::INT64 => DType::I64,
            Self::BOOL => DType::Bool,
            _ => return None,
        })
    }

    /// For floats of 4 and 8 bits: the number that each code stands for.
    pub fn number_of(self) -> Option<fn(u8) -> f32> {
        Some(match self {
            Self::FLOAT8E4M3FN => |b| if b & 0x7F == 0x7F { f32::NAN } else { small(b, 4, 3, 7) },
            Self::FLOAT8E4M3FNUZ => |b| if b == 0x80 { f32::NAN } else { small(b, 4, 3, 8) },
            Self::FLOAT8E5M2 => |b| match (b & 0x7F, small(b, 5, 2, 15)) {
                (0x7C, v) => f32::INFINITY.copysign(v),
                (0x7D.., _) => f32::NAN,
                (_, v) => v,
            },
            Self::FLOAT8E5M2FNUZ => |b| if b == 0x80 { f32::NAN } else { small(b, 5, 2, 16) },
            Self::FLOAT8E8M0 => |b| match b {
                0xFF => f32::NAN,
                b => 2f64.powi(i32::from(b) - 127) as f32,
            },
            Self::FLOAT4E2M1 => |b| small((b & 8) << 4 | (b & 7) << 4, 2, 1, 1),
            _ => return None,
        })
    }

    /// Is it a float of which there are constants, in float32, but no results?
    pub fn is_narrow_float(self) -> bool {
        matches!(self, Self::BFLOAT16) || self.number_of().is_some()
    }

    /// The type that a constant of this type gets.
    fn constant_dtype(self) -> Option<DType> {
        match self {
            _ if self.is_narrow_float() => Some(DType::F32),
            Self::UINT32 | Self::UINT64 => Some(DType::I64),
            _ => self.dtype(),
        }
    }

    /// Smallest and largest code of a type narrower than its storage.
    pub fn narrow_range(self) -> Option<[i32; 2]> {
        Some(match self {
            Self::UINT4 => [0, 15],
            Self::INT4 => [-8, 7],
            Self::UINT2 => [0, 3],
            Self::INT2 => [-2, 1],
            _ => return None,
        })
    }
}

/// A constant's extents, checked.
pub fn extents(dims: &[i64]) -> Result<Vec<usize>, String> {
    let positive: Option<Vec<u64>> = dims.iter().map(|&d| u64::try_from(d).ok()).collect();
    let shape = positive.ok_or_else(|| format!("shape {dims:?} has a negative extent"))?;
    shapes::check_size(&shape)?;
    Ok(shape.iter().map(|&d| d as usize).collect())
}

/// Reads a constant; `folder` is where the model's own files are.
///
/// # Errors
/// The element type cannot be read, or the bytes are missing, too few or outside the folder.
pub fn decode(t: &proto::Tensor, folder: Option<&Path>) -> Result<Tensor, String> {
    let ty = OnnxType(t.data_type);
    let (Some(bits), Some(dtype)) = (ty.bits(), ty.constant_dtype()) else {
        return Err(format!("element type {ty} is not supported"));
    };
    let shape = extents(&t.dims)?;
    let count: usize = shape.iter().product();
    let stored = (count * bits).div_ceil(8);
    let bytes = match (t.data_location, &t.raw_data) {
        (1, _) => external(t, folder, stored)?,
        (_, Some(raw)) => raw.to_vec(),
        _ => typed_bytes(t, ty, count, stored)?,
    };
    if bytes.len() != stored {
        return Err(format!(
            "{} bytes for {count} elements of {ty}, expected {stored}",
            bytes.len()
        ));
    }
    let bytes = widen(bytes, ty, count)?;
    Tensor::from_bytes(dtype, shape, bytes).map_err(|e| e.to_string())
}

/// The bytes of elements that stand in typed fields; there must be as many as the shape says.
fn typed_bytes(t: &proto::Tensor, ty: OnnxType, n: usize, bytes: usize) -> Result<Vec<u8>, String> {
    let words = |size: usize, want: usize| -> Result<Vec<u8>, String> {
        let some = t.int32_data.get(..want).filter(|all| all.len() == t.int32_data.len());
        let some =
            some.ok_or_else(|| format!("{} elements, expected {want}", t.int32_data.len()))?;
        Ok(some.iter().flat_map(|v| v.to_le_bytes()[..size].to_vec()).collect())
    };
    let all: Vec<u8> = match ty {
        OnnxType::FLOAT => t.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        OnnxType::DOUBLE => t.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        OnnxType::INT64 => t.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        OnnxType::UINT64 => t.uint64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        OnnxType::UINT32 => t.uint64_data.iter().flat_map(|&v| (v as u32).to_le_bytes()).collect(),
        OnnxType::INT32 => words(4, n)?,
        _ if bytes <= n => words(1, bytes)?,
        _ => words(2, n)?,
    };
    Ok(all)
}

/// Bytes of elements as they are stored, to bytes of `constant_dtype`.
fn widen(bytes: Vec<u8>, ty: OnnxType, count: usize) -> Result<Vec<u8>, String> {
    let halves = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    Ok(match ty {
        OnnxType::FLOAT16 => halves().flat_map(|h| f32_of_half(h).to_le_bytes()).collect(),
        OnnxType::BFLOAT16 => halves().flat_map(|h| (u32::from(h) << 16).to_le_bytes()).collect(),
        OnnxType::UINT32 => bytes.chunks_exact(4).flat_map(|b| [b, &[0; 4]].concat()).collect(),
        OnnxType::UINT64 if bytes.chunks_exact(8).any(|b| b[7] >= 0x80) => {
            return Err("it has uint64 elements above the range of int64".into());
        }
        OnnxType::UINT4 | OnnxType::INT4 => unpack(&bytes, 4, ty == OnnxType::INT4, count),
        OnnxType::UINT2 | OnnxType::INT2 => unpack(&bytes, 2, ty == OnnxType::INT2, count),
        OnnxType::FLOAT4E2M1 => {
            let codes = unpack(&bytes, 4, false, count);
            codes.iter().flat_map(|&b| number(ty, b).to_le_bytes()).collect()
        }
        _ if ty.number_of().is_some() => {
            bytes.iter().flat_map(|&b| number(ty, b).to_le_bytes()).collect()
        }
        OnnxType::BOOL => bytes.iter().map(|&b| u8::from(b != 0)).collect(),
        _ => bytes,
    })
}

/// Integers of `bits` bits, the first one in the lowest bits of the first byte.
fn unpack(bytes: &[u8], bits: u32, signed: bool, count: usize) -> Vec<u8> {
    let top = 8 - bits;
    let one = |b: u8, k: u32| {
        let high = b << (top - k * bits);
        if signed { ((high as i8) >> top) as u8 } else { high >> top }
    };
    bytes.iter().flat_map(|&b| (0..8 / bits).map(move |k| one(b, k))).take(count).collect()
}

fn number(ty: OnnxType, code: u8) -> f32 {
    ty.number_of().map_or(f32::NAN, |f| f(code))
}

/// A float of a sign, `e` bits of exponent and `m` of mantissa in the highest bits of a byte,
/// without infinities; exact.
fn small(bits: u8, e: u32, m: u32, bias: i32) -> f32 {
    let sign = if bits & 0x80 != 0 { -1.0 } else { 1.0 };
    let rest = (bits & 0x7F) >> (7 - e - m);
    let (exponent, mantissa) = (i32::from(rest >> m), f32::from(rest & ((1 << m) - 1)));
    let one = (1u32 << m) as f32;
    sign * match exponent {
        0 => mantissa / one * 2f32.powi(1 - bias),
        _ => (1.0 + mantissa / one) * 2f32.powi(exponent - bias),
    }
}

/// Bytes from a file of the model's folder.
fn external(t: &proto::Tensor, folder: Option<&Path>, expected: usize) -> Result<Vec<u8>, String> {
    let entry = |key: &str| t.external_data.iter().find(|e| e.key == key).map(|e| &e.value);
    let number = |key: &str, otherwise: u64| match entry(key) {
        None => Ok(otherwise),
        Some(v) => v.parse::<u64>().map_err(|_| format!("external data: {key} '{v}' is no number")),
    };
    let location = entry("location").ok_or("external data without a location")?;
    let folder = folder.ok_or("external data, but the model was not read from a folder")?;
    let (offset, length) = (number("offset", 0)?, number("length", expected as u64)?);
    if length != expected as u64 {
        return Err(format!("external data: {length} bytes, its shape needs {expected}"));
    }
    let path = inside(folder, location)?;
    let fail = |e: std::io::Error| format!("external data: {location}: {e}");
    let mut file = std::fs::File::open(path).map_err(fail)?;
    let size = file.metadata().map_err(fail)?.len();
    if offset.checked_add(length).is_none_or(|end| end > size) {
        return Err(format!(
            "external data: {location} has {size} bytes, not {length} at {offset}"
        ));
    }
    file.seek(SeekFrom::Start(offset)).map_err(fail)?;
    let mut bytes = vec![0; expected];
    file.read_exact(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

/// The file at `location` below `folder`: no absolute path, no `..`, no link that leads out.
fn inside(folder: &Path, location: &str) -> Result<PathBuf, String> {
    let relative = Path::new(location);
    let plain = |c: Component| matches!(c, Component::Normal(_) | Component::CurDir);
    if location.is_empty() || !relative.components().all(plain) {
        return Err(format!("external data: '{location}' is not a path below the model's folder"));
    }
    let fail = |e: std::io::Error| format!("external data: {location}: {e}");
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let root = folder.canonicalize().map_err(fail)?;
    let path = root.join(relative).canonicalize().map_err(fail)?;
    if !path.starts_with(&root) {
        return Err(format!("external data: '{location}' leads out of the model's folder"));
    }
    match path.is_file() {
        true => Ok(path),
        false => Err(format!("external data: '{location}' is not a file")),
    }
}
