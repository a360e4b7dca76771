//! Arrays in numpy's files: `.npy`, and `.npz` with stored or deflated members.
//!
//! Nothing in a file is trusted: an array is only made when the file has the bytes for it.

use crate::{Error, Result};
use indexmap::IndexMap;
use npyz::{AutoSerialize, Deserialize, NpyFile, Order, WriterBuilder};
use qcc_runtime::tensor::Element;
use qcc_runtime::{DType, Tensor};
use std::io::{Cursor, Read, Write};
use std::path::Path;

/// Bytes that one array may have.
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
    let fail = |what: String| Error::Input(format!("{}: {what}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let mut zip = zip::ZipArchive::new(file).map_err(|e| fail(format!("not an npz file: {e}")))?;
    let mut out = Arrays::new();
    for i in 0..zip.len() {
        let member = zip.by_index(i).map_err(|e| fail(e.to_string()))?;
        let Some(name) = member.name().strip_suffix(".npy").map(str::to_string) else { continue };
        let mut bytes = Vec::new();
        let read = member.take(MAX_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|e| fail(format!("array '{name}': {e}")))?;
        match parse_npy(&bytes) {
            Ok(array) => drop(out.insert(name, array)),
            Err(Unreadable::Type(_)) => {}
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
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    parse_npy(&bytes).map_err(|e| Error::Input(format!("{}: {e}", path.display())))
}

fn other(e: impl std::fmt::Display) -> Unreadable {
    Unreadable::Other(e.to_string())
}

type Npy<'a> = NpyFile<Cursor<&'a [u8]>>;

/// `uint32` becomes `i64`: there is no tensor of it.
fn parse_npy(bytes: &[u8]) -> std::result::Result<Tensor, Unreadable> {
    let npy = NpyFile::new(Cursor::new(bytes)).map_err(other)?;
    let npyz::DType::Plain(ty) = npy.dtype() else {
        return Err(Unreadable::Type("structured".into()));
    };
    let ty = ty.to_string();
    let has_bytes = |size: u64| {
        let n = npy.shape().iter().try_fold(size, |n, &d| n.checked_mul(d));
        match n.is_some_and(|n| n <= bytes.len() as u64 && n <= MAX_BYTES) {
            true => Ok(()),
            false => Err(other(format!("the file has no {:?} elements", npy.shape()))),
        }
    };
    let ty = ty.trim_start_matches(['<', '>', '|', '=']);
    has_bytes(ty.get(1..).and_then(|n| n.parse().ok()).unwrap_or(1))?;
    match ty {
        "f4" => elements(npy, |v: f32| v),
        "f8" => elements(npy, |v: f64| v),
        "i1" => elements(npy, |v: i8| v),
        "u1" => elements(npy, |v: u8| v),
        "i2" => elements(npy, |v: i16| v),
        "u2" => elements(npy, |v: u16| v),
        "i4" => elements(npy, |v: i32| v),
        "u4" => elements(npy, |v: u32| i64::from(v)),
        "i8" => elements(npy, |v: i64| v),
        "b1" => {
            let t = elements(npy, |v: bool| u8::from(v))?;
            Tensor::from_bytes(DType::Bool, t.shape(), t.bytes()).map_err(other)
        }
        name => Err(Unreadable::Type(name.to_string())),
    }
}

fn elements<F: Deserialize, T: Element>(
    npy: Npy,
    convert: impl Fn(F) -> T,
) -> std::result::Result<Tensor, Unreadable> {
    let shape: Vec<usize> = npy.shape().iter().map(|&d| d as usize).collect();
    let column_major = npy.order() == Order::Fortran && shape.len() > 1;
    let values: Vec<F> = npy.into_vec().map_err(other)?;
    let mut values: Vec<T> = values.into_iter().map(convert).collect();
    if column_major {
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
    fn claims_are_not_believed() {
        for shape in ["(1000000000000,)", "(4294967296, 4294967296, 2)", "(3,)"] {
            let bytes = header("<f8", "False", shape);
            let error = parse_npy(&bytes).unwrap_err().to_string();
            assert!(error.contains("has no"), "{error}");
        }
        assert!(parse_npy(b"\x93NUMPY").is_err());
        assert!(matches!(parse_npy(&header("<c8", "False", "(0,)")), Err(Unreadable::Type(_))));
    }
}
