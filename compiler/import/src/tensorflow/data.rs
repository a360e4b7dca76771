//! Constants: from a `TensorProto` or a checkpoint's bytes to a tensor.
//!
//! Elements that qcc has no type for become the next wider one that it has: float16 and bfloat16
//! become float32, uint32 and uint64 int64.

use super::proto::{TensorProto, TensorShape};
use crate::shapes;
use qcc_ir::DType;
use qcc_runtime::Tensor;
use qcc_runtime::dtype::f32_of_half;

/// Bytes that one constant may have where the file does not hold them but asks for repetition.
const MAX_REPEATED: usize = 1 << 26;

/// An element type, by TensorFlow's number; reference types are like their elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TfType(i32);

#[allow(missing_docs)]
impl TfType {
    pub const FLOAT: Self = Self(1);
    pub const DOUBLE: Self = Self(2);
    pub const INT32: Self = Self(3);
    pub const UINT8: Self = Self(4);
    pub const INT16: Self = Self(5);
    pub const INT8: Self = Self(6);
    pub const STRING: Self = Self(7);
    pub const INT64: Self = Self(9);
    pub const BOOL: Self = Self(10);
    pub const BFLOAT16: Self = Self(14);
    pub const UINT16: Self = Self(17);
    pub const HALF: Self = Self(19);
    pub const UINT32: Self = Self(22);
    pub const UINT64: Self = Self(23);
}

#[rustfmt::skip]
const NAMES: [&str; 24] = [
    "no type", "float32", "float64", "int32", "uint8", "int16", "int8", "string", "complex64",
    "int64", "bool", "qint8", "quint8", "qint32", "bfloat16", "qint16", "quint16", "uint16",
    "complex128", "float16", "resource", "variant", "uint32", "uint64",
];

impl std::fmt::Display for TfType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match usize::try_from(self.0).ok().and_then(|i| NAMES.get(i)) {
            Some(name) => f.write_str(name),
            None => write!(f, "type {}", self.0),
        }
    }
}

impl TfType {
    /// The type with TensorFlow's number `code`.
    pub fn new(code: i32) -> TfType {
        TfType(if code > 100 { code - 100 } else { code })
    }

    /// Bytes of a stored element; `None` if qcc cannot read it.
    fn size(self) -> Option<usize> {
        Some(match self {
            Self::UINT8 | Self::INT8 | Self::BOOL => 1,
            Self::INT16 | Self::UINT16 | Self::HALF | Self::BFLOAT16 => 2,
            Self::FLOAT | Self::INT32 | Self::UINT32 => 4,
            Self::DOUBLE | Self::INT64 | Self::UINT64 => 8,
            _ => return None,
        })
    }

    /// The type of the same elements in qcc.
    ///
    /// # Errors
    /// There is none.
    pub fn dtype(self) -> Result<DType, String> {
        Ok(match self {
            Self::FLOAT | Self::HALF | Self::BFLOAT16 => DType::F32,
            Self::DOUBLE => DType::F64,
            Self::INT32 => DType::I32,
            Self::UINT8 => DType::U8,
            Self::INT16 => DType::I16,
            Self::INT8 => DType::I8,
            Self::INT64 | Self::UINT32 | Self::UINT64 => DType::I64,
            Self::BOOL => DType::Bool,
            Self::UINT16 => DType::U16,
            other => return Err(format!("element type {other} is not supported")),
        })
    }
}

/// A constant of a graph.
///
/// # Errors
/// Its type is not supported, or its values do not fit its shape.
pub fn constant(proto: &TensorProto) -> Result<Tensor, String> {
    let ty = TfType::new(proto.dtype);
    let shape = extents(proto.tensor_shape.as_ref())?;
    if !proto.tensor_content.is_empty() {
        return from_bytes(ty, &shape, &proto.tensor_content);
    }
    let dtype = ty.dtype()?;
    let n: usize = shape.iter().product();
    let given = values(ty, proto);
    if given.len() > n {
        return Err(format!("{} values for shape {shape:?}", given.len()));
    }
    if given.len() < n && n * dtype.size() > MAX_REPEATED {
        return Err(format!("{} values repeated to shape {shape:?}: too large", given.len()));
    }
    let mut t = Tensor::try_zeros(dtype, shape).map_err(|e| e.to_string())?;
    // Values that are missing repeat the last one; without any they are zero.
    let Some(last) = given.last().copied() else { return Ok(t) };
    for (i, v) in given.into_iter().chain(std::iter::repeat(last)).take(n).enumerate() {
        v.store(&mut t, i);
    }
    Ok(t)
}

/// Strings of a constant.
pub fn strings(proto: &TensorProto) -> Vec<String> {
    proto.string_val.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect()
}

/// A tensor from its little-endian elements of type `ty`.
///
/// # Errors
/// The type is not supported, or the number of bytes is wrong.
pub fn from_bytes(ty: TfType, shape: &[usize], bytes: &[u8]) -> Result<Tensor, String> {
    let dtype = ty.dtype()?;
    let size = ty.size().ok_or_else(|| format!("element type {ty} is not supported"))?;
    let n: usize = shape.iter().product();
    if n.checked_mul(size) != Some(bytes.len()) {
        return Err(format!("{} bytes for {ty} of shape {shape:?}", bytes.len()));
    }
    if size == dtype.size() && ty != TfType::UINT64 {
        return Tensor::from_bytes(dtype, shape, bytes).map_err(|e| e.to_string());
    }
    let mut t = Tensor::try_zeros(dtype, shape).map_err(|e| e.to_string())?;
    for (i, element) in bytes.chunks_exact(size).enumerate() {
        let bits = element.iter().rev().fold(0u64, |v, &b| v << 8 | u64::from(b));
        widen(ty, bits).store(&mut t, i);
    }
    Ok(t)
}

/// Extents of a constant, all known.
///
/// # Errors
/// An extent is not known, or the tensor would be too large.
pub fn extents(shape: Option<&TensorShape>) -> Result<Vec<usize>, String> {
    let Some(shape) = shape else { return Ok(vec![]) };
    if shape.unknown_rank || shape.dim.iter().any(|d| d.size < 0) {
        return Err("its shape is not known".into());
    }
    let out: Vec<u64> = shape.dim.iter().map(|d| d.size as u64).collect();
    shapes::check_size(&out)?;
    Ok(out.iter().map(|&d| d as usize).collect())
}

/// A number on its way into a tensor.
#[derive(Clone, Copy)]
enum Number {
    Int(i64),
    Real(f64),
}

impl Number {
    fn store(self, t: &mut Tensor, i: usize) {
        match self {
            Number::Int(v) => t.set_i64(i, v),
            Number::Real(v) => t.set_f64(i, v),
        }
    }
}

/// The typed values of a constant.
fn values(ty: TfType, p: &TensorProto) -> Vec<Number> {
    let ints = |v: &[i32]| v.iter().map(|&x| Number::Int(x.into())).collect();
    match ty {
        TfType::FLOAT => p.float_val.iter().map(|&x| Number::Real(x.into())).collect(),
        TfType::DOUBLE => p.double_val.iter().map(|&x| Number::Real(x)).collect(),
        TfType::HALF | TfType::BFLOAT16 => {
            p.half_val.iter().map(|&x| widen(ty, x as u16 as u64)).collect()
        }
        TfType::INT64 => p.int64_val.iter().map(|&x| Number::Int(x)).collect(),
        TfType::BOOL => p.bool_val.iter().map(|&x| Number::Int(x.into())).collect(),
        TfType::UINT32 => p.uint32_val.iter().map(|&x| Number::Int(x.into())).collect(),
        TfType::UINT64 => p.uint64_val.iter().map(|&x| widen(ty, x)).collect(),
        _ => ints(&p.int_val),
    }
}

/// An element that qcc has no type for, as one that it has.
fn widen(ty: TfType, bits: u64) -> Number {
    match ty {
        TfType::HALF => Number::Real(f32_of_half(bits as u16).into()),
        TfType::BFLOAT16 => Number::Real(f32::from_bits((bits as u32) << 16).into()),
        _ => Number::Int(i64::try_from(bits).unwrap_or(i64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensorflow::proto::Dim;

    fn proto(ty: TfType, shape: &[i64]) -> TensorProto {
        let dim = shape.iter().map(|&size| Dim { size }).collect();
        let tensor_shape = Some(TensorShape { dim, unknown_rank: false });
        TensorProto { dtype: ty.0, tensor_shape, ..Default::default() }
    }

    #[test]
    fn typed_values_repeat_the_last() {
        let mut p = proto(TfType::FLOAT, &[2, 2]);
        p.float_val = vec![1.0, 2.5];
        assert_eq!(constant(&p).unwrap().as_slice::<f32>().unwrap(), [1.0, 2.5, 2.5, 2.5]);
        p.float_val.clear();
        assert_eq!(constant(&p).unwrap().as_slice::<f32>().unwrap(), [0.0; 4]);
        p.float_val = vec![0.0; 5];
        assert!(constant(&p).unwrap_err().contains("5 values"));
    }

    #[test]
    fn narrow_floats_and_wide_integers_become_types_of_qcc() {
        let mut p = proto(TfType::HALF, &[4]);
        p.half_val = vec![0x3c00, 0xc000, 0x0001, 0x7c00];
        let want = [1.0, -2.0, 5.960_464_5e-8, f32::INFINITY];
        assert_eq!(constant(&p).unwrap().as_slice::<f32>().unwrap(), want);
        let t = from_bytes(TfType::BFLOAT16, &[1], &[0x80, 0x3f]).unwrap();
        assert_eq!(t.as_slice::<f32>().unwrap(), [1.0]);
        let t = from_bytes(TfType::UINT64, &[1], &[255; 8]).unwrap();
        assert_eq!(t.as_slice::<i64>().unwrap(), [i64::MAX]);
    }

    #[test]
    fn sizes_that_a_file_claims_are_not_trusted() {
        let huge = proto(TfType::FLOAT, &[1 << 20, 1 << 10]);
        assert!(constant(&huge).unwrap_err().contains("too large"));
        let overflow = proto(TfType::FLOAT, &[i64::MAX, i64::MAX]);
        assert!(constant(&overflow).unwrap_err().contains("elements"));
        assert!(from_bytes(TfType::FLOAT, &[3], &[0; 11]).unwrap_err().contains("11 bytes"));
        assert!(constant(&proto(TfType::STRING, &[1])).unwrap_err().contains("string"));
    }
}
