//! Running the `qcc` command, and paths of models in this repository.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a command left behind.
#[derive(Debug)]
pub struct Done {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `qcc` with these arguments.
pub fn qcc(args: &[&str]) -> Done {
    let output = Command::new(env!("CARGO_BIN_EXE_qcc")).args(args).output().expect("qcc starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Done {
        status: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Runs `qcc`, which must succeed; its standard output.
#[track_caller]
pub fn succeed(args: &[&str]) -> String {
    let done = qcc(args);
    assert_eq!(done.status, 0, "{args:?}: {}{}", done.stdout, done.stderr);
    done.stdout
}

/// Runs `qcc`, which must end with `status` and say each of `words` on standard error.
#[track_caller]
pub fn fail(status: i32, words: &[&str], args: &[&str]) {
    let done = qcc(args);
    assert_eq!(done.status, status, "{args:?}: {}{}", done.stdout, done.stderr);
    for word in words {
        assert!(done.stderr.contains(word), "{args:?}: no '{word}' in: {}", done.stderr);
    }
    assert!(!done.stderr.contains("panicked"), "{args:?}: {}", done.stderr);
}

/// A file of the repository.
pub fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    path.to_str().expect("the repository's path is UTF-8").to_string()
}

/// The digits classifier.
pub fn digits() -> String {
    example("digits.tflite")
}

/// A file that belongs to the digits classifier.
pub fn example(file: &str) -> String {
    repository(&format!("examples/digits/{file}"))
}

/// Standard error of a command.
pub fn errors(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// Names of the models under tests/models.
pub fn models() -> Vec<String> {
    let entries = std::fs::read_dir(repository("tests/models")).expect("the folder exists");
    let folders = entries.map(|e| e.expect("a readable folder").path()).filter(|p| p.is_dir());
    let name = |p: PathBuf| p.file_name().and_then(|n| n.to_str()).map(str::to_string);
    let mut names: Vec<String> = folders.filter_map(name).collect();
    names.sort();
    names
}

/// A folder that goes away, and paths in it.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new() -> Scratch {
        Scratch(tempfile::tempdir().expect("a temporary folder"))
    }
    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").to_string()
    }
    /// Writes a file; its path.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), bytes).expect("the folder is writable");
        self.path(name)
    }
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("readable");
        entries.map(|e| e.expect("readable").file_name().to_string_lossy().into_owned()).collect()
    }
    pub fn has(&self, name: &str) -> bool {
        self.0.path().join(name).exists()
    }
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("the file is there")
    }
    /// Runs a program in this folder.
    pub fn command(&self, program: &str, args: &[&str]) -> Output {
        Command::new(program).args(args).current_dir(self.0.path()).output().expect("it starts")
    }
    /// Runs `qcc` in this folder.
    pub fn output(&self, args: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_qcc"), args)
    }
    /// Runs `qcc` in this folder, which must succeed; its standard output.
    #[track_caller]
    pub fn succeed(&self, args: &[&str]) -> String {
        let out = self.output(args);
        assert_eq!(out.status.code(), Some(0), "qcc {args:?}: {}", errors(&out));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
    /// Runs `qcc` in this folder, which must end with `status` and a diagnostic; its standard error.
    #[track_caller]
    pub fn fail(&self, status: i32, args: &[&str]) -> String {
        let out = self.output(args);
        let text = errors(&out);
        assert_eq!(out.status.code(), Some(status), "qcc {args:?}: {text}");
        assert!(text.contains("rror: ") || status == 2, "qcc {args:?}: {text}");
        assert!(!text.contains("panicked") && !text.contains("bug in qcc"), "{args:?}: {text}");
        text
    }
}
