//! Arrays in numpy's files: `.npy`, and `.npz` with stored or deflated members.

use crate::{Error, Result};
use indexmap::IndexMap;
use npyz::WriterBuilder;
use qcc_runtime::tensor::Element;
use qcc_runtime::{DType, Tensor};
use std::io::{Cursor, Read, Write};
use std::path::Path;

/// Bytes that one array of a file may claim.
const MAX_BYTES: u64 = 1 << 32;

/// Named arrays in the order of the file.
pub type Arrays = IndexMap<String, Tensor>;

/// Why an array cannot be read.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    /// Its elements are of a type that no tensor has.
    #[error("element type {0} is not supported")]
    Type(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Reads all arrays of an `.npz` whose element type a tensor can have; others are left out.
///
/// # Errors
/// The file cannot be read, is damaged, or holds arrays in Fortran order.
pub fn read_npz(path: &Path) -> Result<Arrays> {
    let fail = |what: String| Error::Input(format!("{}: {what}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let mut zip = zip::ZipArchive::new(file).map_err(|e| fail(format!("not an npz file: {e}")))?;
    let mut out = Arrays::new();
    for i in 0..zip.len() {
        let mut member = zip.by_index(i).map_err(|e| fail(e.to_string()))?;
        let Some(name) = member.name().strip_suffix(".npy").map(str::to_string) else { continue };
        if member.size() > MAX_BYTES {
            return Err(fail(format!("array '{name}' has {} bytes", member.size())));
        }
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).map_err(|e| fail(format!("array '{name}': {e}")))?;
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
/// As [`read_npz`].
pub fn read_npy(path: &Path) -> Result<Tensor> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    parse_npy(&bytes).map_err(|e| Error::Input(format!("{}: {e}", path.display())))
}

fn other(e: impl std::fmt::Display) -> Unreadable {
    Unreadable::Other(e.to_string())
}

fn parse_npy(bytes: &[u8]) -> std::result::Result<Tensor, Unreadable> {
    let npy = npyz::NpyFile::new(Cursor::new(bytes)).map_err(other)?;
    if npy.order() == npyz::Order::Fortran && npy.shape().len() > 1 {
        return Err(other("it is in Fortran order; save it with np.ascontiguousarray"));
    }
    let claimed = npy.shape().iter().try_fold(1u64, |n, &d| n.checked_mul(d));
    if claimed.is_none_or(|n| n > MAX_BYTES) {
        return Err(other(format!("its shape {:?} is too large", npy.shape())));
    }
    let npyz::DType::Plain(ty) = npy.dtype() else {
        return Err(Unreadable::Type("structured".into()));
    };
    match ty.to_string().trim_start_matches(['<', '|', '=']) {
        "f4" => elements::<f32, _>(npy),
        "f8" => elements::<f64, _>(npy),
        "i1" => elements::<i8, _>(npy),
        "u1" => elements::<u8, _>(npy),
        "i2" => elements::<i16, _>(npy),
        "u2" => elements::<u16, _>(npy),
        "i4" => elements::<i32, _>(npy),
        "i8" => elements::<i64, _>(npy),
        "b1" => {
            let shape: Vec<usize> = npy.shape().iter().map(|&d| d as usize).collect();
            let v: Vec<bool> = npy.into_vec().map_err(other)?;
            let bytes: Vec<u8> = v.into_iter().map(u8::from).collect();
            Tensor::from_bytes(DType::Bool, shape, bytes).map_err(other)
        }
        name => Err(Unreadable::Type(name.to_string())),
    }
}

fn elements<T: Element + npyz::Deserialize, R: Read>(
    npy: npyz::NpyFile<R>,
) -> std::result::Result<Tensor, Unreadable> {
    let shape: Vec<usize> = npy.shape().iter().map(|&d| d as usize).collect();
    let values: Vec<T> = npy.into_vec().map_err(other)?;
    Tensor::from_slice(&values, shape).map_err(other)
}

/// The bytes of an `.npz` with these arrays.
///
/// # Errors
/// Does not fail on memory; the signature is the writer's.
pub fn npz_bytes<'a>(arrays: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Result<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let fail = |e: String| Error::Input(format!("writing npz: {e}"));
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default());
    for (name, tensor) in arrays {
        zip.start_file(format!("{name}.npy"), options).map_err(|e| fail(e.to_string()))?;
        write_npy(&mut zip, tensor).map_err(|e| fail(e.to_string()))?;
    }
    Ok(zip.finish().map_err(|e| fail(e.to_string()))?.into_inner())
}

fn write_npy(out: &mut impl Write, t: &Tensor) -> std::io::Result<()> {
    match t.dtype() {
        DType::F32 => write_elements::<f32>(out, t),
        DType::F64 => write_elements::<f64>(out, t),
        DType::I8 => write_elements::<i8>(out, t),
        DType::U8 | DType::Bool => write_elements::<u8>(out, t),
        DType::I16 => write_elements::<i16>(out, t),
        DType::U16 => write_elements::<u16>(out, t),
        DType::I32 => write_elements::<i32>(out, t),
        DType::I64 => write_elements::<i64>(out, t),
    }
}

fn write_elements<T: Element + npyz::AutoSerialize>(
    out: &mut impl Write,
    t: &Tensor,
) -> std::io::Result<()> {
    let shape: Vec<u64> = t.shape().iter().map(|&d| d as u64).collect();
    let values = t.as_slice::<T>().map_err(std::io::Error::other)?;
    let mut buffer = Vec::new();
    {
        let mut writer = npyz::WriteOptions::new()
            .default_dtype()
            .shape(&shape)
            .writer(&mut buffer)
            .begin_nd()?;
        writer.extend(values.iter().copied())?;
        writer.finish()?;
    }
    out.write_all(&buffer)
}
