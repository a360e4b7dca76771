//! The machine's roofline, measured once and kept in the user's cache folder.
//!
//! One entry for each version of qcc, CPU level and CPU; a cache that cannot be read or written is
//! as good as none.

use super::profile::{Roof, measure_roof};
use crate::{Compiler, Result, files};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The roofline from the cache, or measured and kept; measured in any case with `again`.
pub fn roofline(compiler: &Compiler, again: bool) -> Result<Roof> {
    let (path, key) = (cache_file(), key(compiler));
    let mut all = path.as_deref().map(read).unwrap_or_default();
    if let Some(roof) = all.get(&key).filter(|_| !again).and_then(parse) {
        return Ok(roof);
    }
    let roof = measure_roof(compiler)?;
    let entry = json!({ "macs_per_s": roof.macs_per_s, "bytes_per_s": roof.bytes_per_s });
    all.insert(key, entry);
    if let Some(path) = path {
        let folder = path.parent().map(std::fs::create_dir_all);
        if folder.is_some_and(|made| made.is_ok()) {
            // Next time it is measured again.
            let _ = files::write_whole(&path, Value::Object(all).to_string().as_bytes());
        }
    }
    Ok(roof)
}

fn cache_file() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = || folder("HOME").map(|home| home.join(".cache"));
    let base = folder("XDG_CACHE_HOME").or_else(home).or_else(|| folder("LOCALAPPDATA"))?;
    Some(base.join("qcc").join("roofline.json"))
}

/// What the measurement depends on.
fn key(compiler: &Compiler) -> String {
    let cpu_info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = cpu_info.lines().find_map(|l| l.strip_prefix("model name"));
    let cpu = line.unwrap_or("").trim_start_matches([' ', '\t', ':']);
    format!("{} {} {cpu}", env!("CARGO_PKG_VERSION"), compiler.level().name())
}

fn read(path: &Path) -> Map<String, Value> {
    let bytes = files::read_limited(path).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn parse(entry: &Value) -> Option<Roof> {
    let positive = |name: &str| entry[name].as_f64().filter(|v| *v > 0.0);
    Some(Roof { macs_per_s: positive("macs_per_s")?, bytes_per_s: positive("bytes_per_s")? })
}
