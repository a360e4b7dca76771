//! A checkpoint ("tensor bundle"): `variables.index` says where each tensor stands in
//! `variables.data-00000-of-0000N`.
//!
//! Every checksum is checked. Data is read tensor by tensor, so that what only training needed is
//! never in memory; what the index claims is compared with the file's size first.

use super::data::{self, TfType};
use super::proto::{BundleEntry, BundleHeader, TrackableObjectGraph};
use super::table::{entries, masked_crc, varint};
use prost::Message;
use qcc_runtime::Tensor;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes that an index may have.
const MAX_INDEX: u64 = 1 << 28;

/// An open checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    prefix: PathBuf,
    n_shards: i32,
    entries: BTreeMap<String, BundleEntry>,
}

impl Checkpoint {
    /// Opens `PREFIX.index`, or gives `None` if there is no such file.
    ///
    /// # Errors
    /// The index cannot be read or is damaged.
    pub fn open(prefix: &Path) -> Result<Option<Checkpoint>, String> {
        let path = with_suffix(prefix, ".index");
        if !path.exists() {
            return Ok(None);
        }
        let bytes = read_file(&path, MAX_INDEX)?;
        let at = |e: String| format!("{}: {e}", path.display());
        let (header, entries) = parse(&bytes).map_err(at)?;
        if header.endianness != 0 {
            return Err(at("its numbers are big endian".into()));
        }
        let (prefix, n_shards) = (prefix.to_path_buf(), header.num_shards);
        Ok(Some(Checkpoint { prefix, n_shards, entries }))
    }

    /// True if there is a tensor under `key`.
    pub fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The tensor under `key`.
    ///
    /// # Errors
    /// There is none, its data cannot be read, or its checksum is wrong.
    pub fn tensor(&self, key: &str) -> Result<Tensor, String> {
        let entry = self.entry(key)?;
        if !entry.slices.is_empty() {
            return Err(format!("'{key}' is stored in parts; save the model unpartitioned"));
        }
        let shape = data::extents(entry.shape.as_ref())?;
        let bytes = self.bytes(key, entry)?;
        data::from_bytes(TfType::new(entry.dtype), &shape, &bytes)
            .map_err(|e| format!("'{key}' in the checkpoint: {e}"))
    }

    /// From names of variables to keys, as the saved objects say.
    ///
    /// # Errors
    /// The description of the objects cannot be read.
    pub fn keys_by_name(&self) -> Result<BTreeMap<String, String>, String> {
        const KEY: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";
        let Some(entry) = self.entries.get(KEY) else { return Ok(BTreeMap::new()) };
        let bytes = self.bytes(KEY, entry)?;
        // One string: its length, the checksum of that, the string.
        let mut rest = bytes.as_slice();
        let length = varint(&mut rest)?;
        let text = rest.get(4..).filter(|t| t.len() as u64 == length);
        let text = text.ok_or_else(|| format!("'{KEY}' is not one string"))?;
        let graph = TrackableObjectGraph::decode(text).map_err(|e| format!("'{KEY}': {e}"))?;
        let tensors = graph.nodes.into_iter().flat_map(|n| n.attributes);
        Ok(tensors
            .filter(|t| !t.full_name.is_empty())
            .map(|t| (t.full_name, t.checkpoint_key))
            .collect())
    }

    fn entry(&self, key: &str) -> Result<&BundleEntry, String> {
        self.entries.get(key).ok_or_else(|| format!("the checkpoint has no tensor '{key}'"))
    }

    /// The bytes of an entry, read from its file and checked.
    fn bytes(&self, key: &str, entry: &BundleEntry) -> Result<Vec<u8>, String> {
        let (shard, n) = (entry.shard_id, self.n_shards);
        let path = with_suffix(&self.prefix, &format!(".data-{shard:05}-of-{n:05}"));
        let at = |e: String| format!("{}: '{key}': {e}", path.display());
        let mut file = File::open(&path).map_err(|e| at(e.to_string()))?;
        let length = file.metadata().map_err(|e| at(e.to_string()))?.len();
        let (Ok(offset), Ok(size)) = (u64::try_from(entry.offset), u64::try_from(entry.size))
        else {
            return Err(at("its place is negative".into()));
        };
        if offset.checked_add(size).is_none_or(|end| end > length) {
            return Err(at(format!("{size} bytes at {offset}, but the file has {length}")));
        }
        let mut bytes = vec![0; size as usize];
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|e| at(e.to_string()))?;
        // The checksum of strings covers lengths in another encoding.
        let is_checked = TfType::new(entry.dtype) != TfType::STRING;
        if is_checked && entry.crc32c.is_some_and(|crc| crc != masked_crc(&bytes)) {
            return Err(at("its checksum is wrong; copy the model again".into()));
        }
        Ok(bytes)
    }
}

/// The header and the entries of an index.
///
/// # Errors
/// It is damaged.
pub fn parse(index: &[u8]) -> Result<(BundleHeader, BTreeMap<String, BundleEntry>), String> {
    let mut header = None;
    let mut out = BTreeMap::new();
    for (key, value) in entries(index)? {
        if key.is_empty() {
            header = Some(BundleHeader::decode(value.as_slice()).map_err(|e| e.to_string())?);
            continue;
        }
        let key = String::from_utf8_lossy(&key).into_owned();
        let entry = BundleEntry::decode(value.as_slice()).map_err(|e| format!("'{key}': {e}"))?;
        out.insert(key, entry);
    }
    Ok((header.ok_or("it has no header")?, out))
}

/// A whole file of at most `limit` bytes.
///
/// # Errors
/// It cannot be read or is larger.
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let at = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut bytes = Vec::new();
    File::open(path).map_err(at)?.take(limit + 1).read_to_end(&mut bytes).map_err(at)?;
    match bytes.len() as u64 > limit {
        true => Err(format!("{}: larger than {limit} bytes", path.display())),
        false => Ok(bytes),
    }
}

fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
