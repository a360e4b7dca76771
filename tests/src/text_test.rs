//! Text tests: a file of IR, what to run on it, and what to expect, all in one place.
//!
//! ```text
//! //! run: verify
//! module @m level(quant) numerics(tflite) {
//!   func @f(%x: tensor<4xi8>) -> tensor<4xi8> {
//!     %y = quant.reshape(%x) : tensor<5xi8>
//!     //> error reshape_c1: in @f: quant.reshape: x has shape [4], y [5]
//!     return %y
//!   }
//! }
//! // -----
//! (another module, run the same way)
//! ```
//!
//! - `//!` lines at the top say how the file runs: `run: <runner> <arguments>`.
//! - `//>` lines are what the runner says about the line above them; what it says about the whole
//!   stands behind the last line. Under `QCC_BLESS=1` they are rewritten.
//! - `// -----` lines separate modules that run by themselves.
//!
//! A runner is a function from a module's text to notes; see [`crate::runners`].

use crate::runners::{Runner, find_runner};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What separates modules.
const SEPARATOR: &str = "// -----";

/// One module of a test file.
#[derive(Debug)]
pub struct Case<'a> {
    /// The file's name, for messages.
    pub file: &'a str,
    /// What stands behind the runner's name.
    pub args: &'a str,
    /// The text without its expectations.
    pub text: String,
}

/// What a runner says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Note {
    /// The line of the case's text (from 1) that it is about; `None` for the whole.
    pub line: Option<u32>,
    /// One line, or several.
    pub text: String,
}

impl Note {
    /// About line `line`.
    pub fn at(line: u32, text: impl Into<String>) -> Note {
        Note { line: Some(line), text: text.into() }
    }
    /// About the whole.
    pub fn whole(text: impl Into<String>) -> Note {
        Note { line: None, text: text.into() }
    }
}

/// Runs the test file at `path`, called `name`; rewrites its expectations if `bless`.
///
/// # Errors
/// What differs, and the command that accepts it.
pub fn run_file(path: &Path, name: &str, bless: bool) -> Result<(), String> {
    let old = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let new = rerun(&old, name)?;
    if new == old {
        return Ok(());
    }
    if bless {
        return std::fs::write(path, new).map_err(|e| format!("{}: {e}", path.display()));
    }
    let diff = diff(&old, &new);
    Err(format!("{diff}\nif this is right: QCC_BLESS=1 cargo test -p qcc-tests --test text {name}"))
}

/// The test file `text` with the expectations that hold now.
///
/// # Errors
/// No or unknown runner, or the runner's own failure.
pub fn rerun(text: &str, name: &str) -> Result<String, String> {
    let (runner, args) = header(text)?;
    let mut out = String::new();
    for (i, chunk) in chunks(text).into_iter().enumerate() {
        if i > 0 {
            let _ = writeln!(out, "{SEPARATOR}");
        }
        let text = without_notes(&chunk);
        let case = Case { file: name, args, text };
        let mut notes = runner(&case)?;
        notes.sort_by_key(|note| note.line);
        with_notes(&case.text, &notes, &mut out);
    }
    Ok(out)
}

fn header(text: &str) -> Result<(Runner, &str), String> {
    let lines = text.lines().take_while(|line| line.starts_with("//!"));
    let run = lines.filter_map(|line| line[3..].trim().strip_prefix("run:")).next();
    let run = run.ok_or("the file does not begin with '//! run: …'")?.trim();
    let (word, args) = run.split_once(' ').unwrap_or((run, ""));
    Ok((find_runner(word)?, args.trim()))
}

fn chunks(text: &str) -> Vec<String> {
    let mut chunks = vec![String::new()];
    for line in text.lines() {
        if line == SEPARATOR {
            chunks.push(String::new());
        } else if let Some(last) = chunks.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    chunks
}

fn is_note(line: &str) -> bool {
    line.trim_start().starts_with("//>")
}

fn without_notes(text: &str) -> String {
    text.lines().filter(|line| !is_note(line)).flat_map(|line| [line, "\n"]).collect()
}

fn with_notes(text: &str, notes: &[Note], out: &mut String) {
    for (i, line) in text.lines().enumerate() {
        out.push_str(line);
        out.push('\n');
        let indent = &line[..line.len() - line.trim_start().len()];
        for note in notes.iter().filter(|n| n.line == Some(i as u32 + 1)) {
            write_note(note, indent, out);
        }
    }
    let n_lines = text.lines().count() as u32;
    for note in notes.iter().filter(|n| n.line.is_none_or(|line| line > n_lines)) {
        write_note(note, "", out);
    }
}

fn write_note(note: &Note, indent: &str, out: &mut String) {
    for line in note.text.lines() {
        out.push_str(format!("{indent}//> {line}").trim_end());
        out.push('\n');
    }
}

/// Lines of `old` only with `-`, of `new` only with `+`, and up to 2 common lines around them.
fn diff(old: &str, new: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let common = longest_common(&a, &b);
    let (mut i, mut j) = (0, 0);
    let mut marked: Vec<(char, &str)> = Vec::new();
    for (next_i, next_j) in common.into_iter().chain([(a.len(), b.len())]) {
        marked.extend(a[i..next_i].iter().map(|line| ('-', *line)));
        marked.extend(b[j..next_j].iter().map(|line| ('+', *line)));
        marked.extend(a.get(next_i).map(|line| (' ', *line)));
        (i, j) = (next_i + 1, next_j + 1);
    }
    let near = |k: usize| {
        let around = k.saturating_sub(2)..(k + 3).min(marked.len());
        marked[around].iter().any(|(mark, _)| *mark != ' ')
    };
    let mut out = String::new();
    for (_, (mark, line)) in marked.iter().enumerate().filter(|(k, _)| near(*k)) {
        let _ = writeln!(out, "{mark}{line}");
    }
    out
}

/// Positions of the lines of a longest common subsequence.
fn longest_common(a: &[&str], b: &[&str]) -> Vec<(usize, usize)> {
    let width = b.len() + 1;
    let mut best = vec![0u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            best[i * width + j] = match a[i] == b[j] {
                true => best[(i + 1) * width + j + 1] + 1,
                false => best[(i + 1) * width + j].max(best[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            out.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if best[(i + 1) * width + j] >= best[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    out
}

/// All files below `dir` that end in `.qir`, sorted.
pub fn find_files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "qir") {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}
