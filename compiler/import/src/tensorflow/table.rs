//! LevelDB's sorted table, the format of a checkpoint's index: blocks of prefix-compressed keys.
//!
//! A block is entries, restart points, then one byte (0: plain, 1: Snappy) and a masked CRC-32C.
//! The file's last 48 bytes say where the block of blocks is. Keys are bounded in number and
//! length, and a block is read once, so a small file cannot claim much memory or time.

/// Bytes of the footer.
const FOOTER: usize = 48;
const MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57u64.to_le_bytes();
/// Bytes of all keys together.
const MAX_KEY_BYTES: usize = 1 << 28;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// The table's entries in the file's order.
///
/// # Errors
/// The file is not a table, or is damaged.
pub fn entries(file: &[u8]) -> Result<Vec<Entry>, String> {
    let n = file.len();
    if n < FOOTER || file[n - 8..] != MAGIC {
        return Err("it is not a table of TensorFlow's checkpoint format".into());
    }
    let mut footer = &file[n - FOOTER..];
    handle(&mut footer)?;
    let mut budget = MAX_KEY_BYTES;
    let (index, _) = block(file, handle(&mut footer)?, 0)?;
    let mut out = Vec::new();
    let mut end = 0;
    for (_, value) in block_entries(&index, &mut budget)? {
        let (data, next) = block(file, handle(&mut value.as_slice())?, end)?;
        end = next;
        out.extend(block_entries(&data, &mut budget)?);
    }
    Ok(out)
}

/// CRC-32C of `bytes`, rotated and offset as TensorFlow and LevelDB store it.
pub fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A varint at the front of `bytes`.
pub fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    prost::encoding::decode_varint(bytes).map_err(|e| format!("a number is damaged: {e}"))
}

fn size(bytes: &mut &[u8]) -> Result<usize, String> {
    usize::try_from(varint(bytes)?).map_err(|e| e.to_string())
}

/// Offset and size of a block.
fn handle(bytes: &mut &[u8]) -> Result<[usize; 2], String> {
    Ok([size(bytes)?, size(bytes)?])
}

/// A block's content, and where it ends; it must not begin before `from`.
fn block(file: &[u8], [offset, size]: [usize; 2], from: usize) -> Result<(Vec<u8>, usize), String> {
    let end = offset.checked_add(size).and_then(|e| e.checked_add(5));
    let Some(end) = end.filter(|&e| e <= file.len() && offset >= from) else {
        return Err(format!("a block of {size} bytes at {offset} lies outside the file"));
    };
    let (content, trailer) = file[offset..end].split_at(size);
    let stored = u32::from_le_bytes([trailer[1], trailer[2], trailer[3], trailer[4]]);
    if masked_crc(&file[offset..end - 4]) != stored {
        return Err(format!("the checksum of the block at {offset} is wrong"));
    }
    let content = match trailer[0] {
        0 => content.to_vec(),
        1 => {
            let bad = |e: snap::Error| format!("the block at {offset} does not decompress: {e}");
            let length = snap::raw::decompress_len(content).map_err(bad)?;
            // A copy of 64 bytes takes 3 bytes at least.
            if length > content.len().saturating_mul(32).saturating_add(64) {
                return Err(format!("the block at {offset} claims {length} bytes"));
            }
            snap::raw::Decoder::new().decompress_vec(content).map_err(bad)?
        }
        other => return Err(format!("compression {other} of the block at {offset}")),
    };
    Ok((content, end))
}

/// The entries of a block; `budget` is what their keys may still take.
fn block_entries(block: &[u8], budget: &mut usize) -> Result<Vec<Entry>, String> {
    let short = || "a block is shorter than its entries".to_string();
    let Some((_, count)) = block.split_last_chunk::<4>() else { return Err(short()) };
    let restarts = (u32::from_le_bytes(*count) as usize).checked_mul(4).ok_or_else(short)?;
    let end = block.len().checked_sub(4 + restarts).ok_or_else(short)?;
    let mut rest = &block[..end];
    let mut out: Vec<Entry> = Vec::new();
    while !rest.is_empty() {
        let (shared, own, value) = (size(&mut rest)?, size(&mut rest)?, size(&mut rest)?);
        let last = out.last().map_or(&[][..], |(k, _)| k);
        let prefix = last.get(..shared).ok_or("a key shares more than its neighbour has")?;
        *budget = budget
            .checked_sub(shared)
            .and_then(|b| b.checked_sub(own))
            .ok_or("its keys are too long")?;
        let (suffix, after) = rest.split_at_checked(own).ok_or_else(short)?;
        let (value, after) = after.split_at_checked(value).ok_or_else(short)?;
        rest = after;
        out.push(([prefix, suffix].concat(), value.to_vec()));
    }
    Ok(out)
}
