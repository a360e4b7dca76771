//! What people see: results on standard output, everything else on standard error.

use super::Global;
use crate::{Error, Result, files};
use std::io::{IsTerminal, Write};
use std::path::Path;

/// Writes `bytes` to `path`, or to standard output for `-`; a file appears whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if path == Path::new("-") {
        return stdout(bytes);
    }
    files::write_whole(path, bytes)
}

/// Prints a line of a result.
pub fn line(text: impl AsRef<str>) -> Result<()> {
    stdout(format!("{}\n", text.as_ref()).as_bytes())
}

fn stdout(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|e| Error::io("-", e))
}

/// Prints a line to standard error; nobody reading it is no reason to stop.
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr(), "{}", text.as_ref());
}

/// Prints an error to standard error: a line for each thing that is wrong, then what to try.
pub fn error(e: &Error, global: &Global) {
    let colour = match global.color.as_str() {
        "always" => true,
        "never" => false,
        _ => std::io::stderr().is_terminal(),
    };
    let paint = |code: &str, word: &str| match colour {
        true => format!("\x1b[1;{code}m{word}\x1b[0m"),
        false => word.to_string(),
    };
    let mut last_hint = None;
    for detail in e.details() {
        let hint = detail.hint.clone();
        if last_hint.is_some() && hint != last_hint {
            print_hint(&paint("36", "hint"), last_hint.as_deref());
        }
        let text = crate::Detail { hint: None, ..detail }.to_string();
        note(format!("{}: {}", paint("31", "error"), text.replace('\n', "\n  ")));
        last_hint = hint;
    }
    print_hint(&paint("36", "hint"), last_hint.as_deref());
}

fn print_hint(label: &str, hint: Option<&str>) {
    if let Some(hint) = hint {
        note(format!("  {label}: {hint}"));
    }
}
