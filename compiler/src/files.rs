//! Files: written whole or not at all, read up to a limit.

use crate::{Error, Result};
use std::io::{Read, Write};
use std::path::Path;

/// Bytes of the largest file that is read: what a flatbuffer may have.
const MAX_BYTES: u64 = 1 << 31;

/// Reads a file of at most 2 GiB, whatever it is (a device never ends).
///
/// # Errors
/// The file cannot be read, or is larger.
pub(crate) fn read_limited(path: &Path) -> Result<Vec<u8>> {
    let fail = |e: std::io::Error| Error::io(path, e);
    let file = std::fs::File::open(path).map_err(fail)?;
    let size = file.metadata().map_or(0, |m| m.len());
    if size > MAX_BYTES {
        return Err(too_large(path));
    }
    let mut bytes = Vec::with_capacity(size as usize);
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    match bytes.len() as u64 > MAX_BYTES {
        true => Err(too_large(path)),
        false => Ok(bytes),
    }
}

fn too_large(path: &Path) -> Error {
    Error::Input(format!(
        "{}: larger than {} GiB, the most that is read",
        path.display(),
        MAX_BYTES >> 30
    ))
}

/// Reads a text of at most 2 GiB.
///
/// # Errors
/// As [`read_limited`]; also where it is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let text = String::from_utf8(read_limited(path)?);
    text.map_err(|e| Error::Input(format!("{}: not UTF-8 text: {e}", path.display())))
}

/// Writes `bytes` to `path`. A regular file is written beside its final name and renamed, so that
/// a failure leaves what was there before; links are followed; devices and pipes are written to.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |e: std::io::Error| Error::io(path, e);
    match std::fs::metadata(path) {
        Ok(m) if m.is_dir() => return Err(fail(std::io::ErrorKind::IsADirectory.into())),
        Ok(m) if !m.is_file() => {
            let mut device = std::fs::OpenOptions::new().write(true).open(path).map_err(fail)?;
            return device.write_all(bytes).and_then(|()| device.flush()).map_err(fail);
        }
        Ok(m) if m.permissions().readonly() => {
            return Err(fail(std::io::ErrorKind::PermissionDenied.into()));
        }
        _ => {}
    }
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = match target.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let mut file = new_file_beside(folder).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.persist(&target).map_err(|e| fail(e.error))?;
    Ok(())
}

/// A temporary file with the permissions of any new file (by default it would be private).
fn new_file_beside(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".qcc-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out");
        write_whole(&file, b"one").unwrap();
        write_whole(&file, b"two").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
        assert!(write_whole(folder.path(), b"x").is_err());
        assert!(write_whole(&folder.path().join("no/such"), b"x").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    #[cfg(unix)]
    fn links_are_followed_and_devices_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_whole(&link, b"new").unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        write_whole(Path::new("/dev/null"), b"x").unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    }
}
