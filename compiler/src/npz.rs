//! Arrays in numpy's files: `.npy`, and `.npz` with stored or deflated members.
//!
//! Nothing in a file is trusted: an array is only made when the file has the bytes for it.

use crate::{Error, Result, files};
use indexmap::IndexMap;
use npyz::{AutoSerialize, WriterBuilder};
use qcc_runtime::tensor::Element;
use qcc_runtime::{DType, Tensor, dtype::f32_of_half};
use std::io::{Cursor, Read, Write};
use std::path::Path;

/// Bytes that one array, and all arrays of a file together, may have.
const MAX_BYTES: u64 = 1 << 31;

/// Named arrays in the order of the file.
pub type Arrays = IndexMap<String, Tensor>;

/// Why an array cannot be read.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    /// Its elements are of a type that no tensor has.
    #[error(
        "element type {0} is not supported; save it as float32, float64, bool or an integer type"
    )]
    Type(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Reads all arrays of an `.npz` whose element type a tensor can have; others are left out.
///
/// # Errors
/// The file cannot be read, or is damaged.
pub fn read_npz(path: &Path) -> Result<Arrays> {
    read_npz_with(path, &|_| false)
}

/// As [`read_npz`], but an array that is `needed` must have an element type of tensors.
///
/// # Errors
/// As [`read_npz`].
pub fn read_npz_with(path: &Path, needed: &dyn Fn(&str) -> bool) -> Result<Arrays> {
    let fail = |what: String| Error::Input(format!("{}: {what}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let mut zip = zip::ZipArchive::new(file).map_err(|e| fail(format!("not an npz file: {e}")))?;
    let (mut out, mut left) = (Arrays::new(), MAX_BYTES);
    for i in 0..zip.len() {
        let member = zip.by_index(i).map_err(|e| fail(e.to_string()))?;
        let Some(name) = member.name().strip_suffix(".npy").map(str::to_string) else { continue };
        let mut bytes = Vec::new();
        let read = member.take(left + 1).read_to_end(&mut bytes);
        let n_bytes = read.map_err(|e| fail(format!("array '{name}': {e}")))?;
        let too_many = || fail(format!("arrays of more than {} GiB", MAX_BYTES >> 30));
        left = left.checked_sub(n_bytes as u64).ok_or_else(too_many)?;
        match parse_npy(&bytes) {
            Ok(array) => drop(out.insert(name, array)),
            Err(Unreadable::Type(_)) if !needed(&name) => {}
            Err(e) => return Err(fail(format!("array '{name}': {e}"))),
        }
    }
    Ok(out)
}

/// Reads one `.npy`.
///
/// # Errors
/// The file cannot be read, is damaged, or has an element type that no tensor has.
pub fn read_npy(path: &Path) -> Result<Tensor> {
    let bytes = files::read_limited(path)?;
    parse_npy(&bytes).map_err(|e| Error::Input(format!("{}: {e}", path.display())))
}

fn other(e: impl std::fmt::Display) -> Unreadable {
    Unreadable::Other(e.to_string())
}

/// The header of an `.npy`.
struct Header<'a> {
    /// Element type as numpy writes it: byte order, kind, bytes.
    descr: &'a str,
    column_major: bool,
    shape: Vec<usize>,
}

/// Splits an `.npy` into its header and the bytes of its elements. (The npyz crate's reader
/// multiplies extents without looking for overflow.)
fn split_npy(bytes: &[u8]) -> Option<(Header<'_>, &[u8])> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (&[major, _minor], rest) = rest.split_first_chunk()?;
    let (len, rest) = match major {
        1 => rest.split_first_chunk().map(|(n, rest)| (u16::from_le_bytes(*n) as usize, rest))?,
        2 | 3 => {
            rest.split_first_chunk().map(|(n, rest)| (u32::from_le_bytes(*n) as usize, rest))?
        }
        _ => return None,
    };
    let (header, data) = rest.split_at_checked(len)?;
    let header = std::str::from_utf8(header).ok()?;
    let field = |name: &str| Some(header.split_once(name)?.1.trim_start_matches([':', ' ']));
    let descr = match field("'descr'")? {
        quoted if quoted.starts_with('\'') => quoted[1..].split_once('\'')?.0,
        _ => "structured",
    };
    let inner = field("'shape'")?.strip_prefix('(')?.split_once(')')?.0;
    let extents = inner.split(',').map(str::trim).filter(|e| !e.is_empty());
    let shape = extents.map(|e| e.trim_end_matches('L').parse().ok()).collect::<Option<_>>()?;
    let column_major = field("'fortran_order'")?.starts_with("True");
    Some((Header { descr, column_major, shape }, data))
}

/// `uint32` becomes `i64` and `float16` `f32`: there are no tensors of them.
fn parse_npy(bytes: &[u8]) -> std::result::Result<Tensor, Unreadable> {
    let (header, data) = split_npy(bytes).ok_or_else(|| other("not an npy array"))?;
    match header.descr.trim_start_matches(['<', '>', '|', '=']) {
        "f2" => elements(header, data, |b| f32_of_half(u16::from_le_bytes(b))),
        "f4" => elements(header, data, f32::from_le_bytes),
        "f8" => elements(header, data, f64::from_le_bytes),
        "i1" => elements(header, data, i8::from_le_bytes),
        "u1" => elements(header, data, u8::from_le_bytes),
        "i2" => elements(header, data, i16::from_le_bytes),
        "u2" => elements(header, data, u16::from_le_bytes),
        "i4" => elements(header, data, i32::from_le_bytes),
        "u4" => elements(header, data, |b| i64::from(u32::from_le_bytes(b))),
        "i8" => elements(header, data, i64::from_le_bytes),
        "b1" => {
            let t = elements(header, data, |[b]: [u8; 1]| u8::from(b != 0))?;
            Tensor::from_bytes(DType::Bool, t.shape(), t.bytes()).map_err(other)
        }
        _ => Err(Unreadable::Type(header.descr.to_string())),
    }
}

fn elements<const N: usize, T: Element>(
    header: Header,
    data: &[u8],
    from_bytes: impl Fn([u8; N]) -> T,
) -> std::result::Result<Tensor, Unreadable> {
    let shape = header.shape;
    let n_bytes = shape.iter().try_fold(N, |n, &d| n.checked_mul(d));
    let data = n_bytes.filter(|&n| n as u64 <= MAX_BYTES).and_then(|n| data.get(..n));
    let data = data.ok_or_else(|| other(format!("the file has no {shape:?} elements")))?;
    let big_endian = header.descr.starts_with('>');
    let value = |chunk: &[u8]| {
        let mut bytes: [u8; N] = std::array::from_fn(|i| chunk[i]);
        if big_endian {
            bytes.reverse();
        }
        from_bytes(bytes)
    };
    let mut values: Vec<T> = data.chunks_exact(N).map(value).collect();
    if header.column_major && shape.len() > 1 {
        values = row_major(&values, &shape);
    }
    Tensor::from_slice(&values, shape).map_err(other)
}

/// Elements whose first index runs fastest, with the last running fastest.
fn row_major<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
    let from = |mut i: usize| {
        let (mut at, mut stride) = (0, values.len());
        for &extent in shape.iter().rev() {
            stride /= extent;
            at += i % extent * stride;
            i /= extent;
        }
        values[at]
    };
    (0..values.len()).map(from).collect()
}

/// The bytes of an `.npz` with these arrays; the same arrays give the same bytes.
///
/// # Errors
/// The archive would be too large for its format.
pub fn npz_bytes<'a>(arrays: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Result<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let fail = |e: String| Error::Input(format!("writing npz: {e}"));
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default());
    for (name, tensor) in arrays {
        zip.start_file(format!("{name}.npy"), options).map_err(|e| fail(e.to_string()))?;
        let bytes = npy_bytes(tensor).map_err(|e| fail(e.to_string()))?;
        zip.write_all(&bytes).map_err(|e| fail(e.to_string()))?;
    }
    Ok(zip.finish().map_err(|e| fail(e.to_string()))?.into_inner())
}

fn npy_bytes(t: &Tensor) -> std::io::Result<Vec<u8>> {
    match t.dtype() {
        DType::F32 => write(t, |v: f32| v),
        DType::F64 => write(t, |v: f64| v),
        DType::I8 => write(t, |v: i8| v),
        DType::U8 => write(t, |v: u8| v),
        DType::Bool => write(t, |v: u8| v != 0),
        DType::I16 => write(t, |v: i16| v),
        DType::U16 => write(t, |v: u16| v),
        DType::I32 => write(t, |v: i32| v),
        DType::I64 => write(t, |v: i64| v),
    }
}

fn write<T: Element, F: AutoSerialize>(
    t: &Tensor,
    convert: impl Fn(T) -> F,
) -> std::io::Result<Vec<u8>> {
    let shape: Vec<u64> = t.shape().iter().map(|&d| d as u64).collect();
    let values = t.as_slice::<T>().map_err(std::io::Error::other)?;
    let mut out = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
    let mut writer = options.writer(&mut out).begin_nd()?;
    writer.extend(values.iter().map(|&v| convert(v)))?;
    writer.finish()?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(descr: &str, order: &str, shape: &str) -> Vec<u8> {
        let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
        let text = format!("{text:<117}\n");
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend((text.len() as u16).to_le_bytes());
        out.extend(text.bytes());
        out
    }

    #[test]
    fn arrays_round_trip() {
        for dtype in DType::ALL {
            let mut t = Tensor::zeros(dtype, [2, 3]);
            (0..6).for_each(|i| t.set_i64(i, i as i64 % 2));
            assert_eq!(parse_npy(&npy_bytes(&t).unwrap()).unwrap(), t);
        }
        let scalar = Tensor::from_slice(&[7i32], []).unwrap();
        assert_eq!(parse_npy(&npy_bytes(&scalar).unwrap()).unwrap(), scalar);
    }

    #[test]
    fn column_major_and_big_endian_arrays_are_turned() {
        let mut bytes = header(">i2", "True", "(2, 3)");
        for v in [0i16, 10, 1, 11, 2, 12] {
            bytes.extend(v.to_be_bytes());
        }
        assert_eq!(parse_npy(&bytes).unwrap().to_i64_vec(), [0, 1, 2, 10, 11, 12]);
    }

    #[test]
    fn half_precision_numbers() {
        let data: Vec<u8> = [0x3C00, 0xC100].iter().flat_map(|b: &u16| b.to_le_bytes()).collect();
        let npy = [header("<f2", "False", "(2,)"), data].concat();
        assert_eq!(parse_npy(&npy).unwrap().to_f64_vec(), [1.0, -2.5]);
    }

    #[test]
    fn claims_are_not_believed() {
        for shape in ["(1000000000000,)", "(4294967296, 4294967296, 2)", "(3,)"] {
            let bytes = header("<f8", "False", shape);
            let error = parse_npy(&bytes).unwrap_err().to_string();
            assert!(error.contains("has no"), "{error}");
        }
        let whole = npy_bytes(&Tensor::zeros(DType::I16, [4])).unwrap();
        for n in 0..whole.len() {
            assert!(parse_npy(&whole[..n]).is_err());
        }
        assert!(matches!(parse_npy(&header("<c8", "False", "(0,)")), Err(Unreadable::Type(_))));
    }
}
