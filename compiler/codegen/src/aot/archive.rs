//! Static libraries: an `ar` archive of one object, with an index of its symbols.
//!
//! All dates, owners and modes are fixed, so the same object gives the same archive. Two dialects:
//! System V, which GNU, LLVM and Microsoft linkers read, and BSD with 8-byte alignment for
//! Mach-O objects, as Apple's linkers want.

/// Bytes before a member.
const HEADER: usize = 60;

/// Bytes before the first member's header.
const MAGIC: &[u8] = b"!<arch>\n";

/// A static library holding one object. `exported` are the C names of its functions.
pub fn archive(object: &[u8], exported: &[String]) -> Vec<u8> {
    match object::FileKind::parse(object) {
        Ok(object::FileKind::MachO64) => bsd(object, exported),
        _ => system_v(object, exported),
    }
}

fn system_v(object: &[u8], exported: &[String]) -> Vec<u8> {
    let names: Vec<u8> = exported.iter().flat_map(|n| n.bytes().chain([0])).collect();
    let index_bytes = 4 + 4 * exported.len() + names.len();
    let object_at = MAGIC.len() + HEADER + index_bytes.next_multiple_of(2);
    let mut index: Vec<u8> = (exported.len() as u32).to_be_bytes().to_vec();
    for _ in exported {
        index.extend((object_at as u32).to_be_bytes());
    }
    index.extend(names);
    let mut out = MAGIC.to_vec();
    member(&mut out, "/", &index, 2);
    member(&mut out, "model.o/", object, 2);
    out
}

/// Names follow their header, padded so that the contents are aligned to 8.
fn bsd(object: &[u8], exported: &[String]) -> Vec<u8> {
    let mut names = vec![];
    let mut offsets = vec![];
    for name in exported {
        offsets.push(names.len() as u32);
        names.extend(format!("_{name}\0").bytes());
    }
    names.resize(names.len().next_multiple_of(8), 0);
    let table = 8 * exported.len();
    let index_bytes = (20 + 4 + table + 4 + names.len()).next_multiple_of(8) + 4;
    let object_at = MAGIC.len() + HEADER + index_bytes;
    let mut index = padded("__.SYMDEF SORTED", 20);
    index.extend((table as u32).to_le_bytes());
    let mut sorted: Vec<(&String, u32)> = exported.iter().zip(offsets).collect();
    sorted.sort();
    for (_, name_at) in sorted {
        index.extend(name_at.to_le_bytes());
        index.extend((object_at as u32).to_le_bytes());
    }
    index.extend((names.len() as u32).to_le_bytes());
    index.extend(names);
    index.resize(index_bytes, 0);
    let mut content = padded("model.o", 12);
    content.extend(object);
    content.resize((content.len() - 12).next_multiple_of(8) + 12, b'\n');
    let mut out = MAGIC.to_vec();
    member(&mut out, "#1/20", &index, 1);
    member(&mut out, "#1/12", &content, 1);
    out
}

/// `name`, padded with NULs to `n` bytes.
fn padded(name: &str, n: usize) -> Vec<u8> {
    let mut out = name.as_bytes().to_vec();
    out.resize(n, 0);
    out
}

/// Appends a header and a member, padded to `align`.
fn member(out: &mut Vec<u8>, name: &str, bytes: &[u8], align: usize) {
    let size = bytes.len();
    let header = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 644);
    debug_assert_eq!(header.len(), HEADER);
    out.extend(header.bytes());
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(align), b'\n');
}
