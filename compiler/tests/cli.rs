//! The `qcc` command from the outside: files, standard output and exit status.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

fn digits(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits").join(file);
    path.canonicalize().unwrap().display().to_string()
}

fn model() -> String {
    digits("digits.tflite")
}

/// A scratch folder that commands run in.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }
    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }
    fn write(&self, file: &str, bytes: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(file), bytes).unwrap();
        file.to_string()
    }
    fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.path(file)).unwrap()
    }
    fn files(&self) -> usize {
        std::fs::read_dir(self.0.path()).unwrap().count()
    }
    fn command(&self, program: &str, args: &[&str]) -> Output {
        Command::new(program).args(args).current_dir(self.0.path()).output().unwrap()
    }
    fn qcc(&self, args: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_qcc"), args)
    }
    /// Standard output of a command that must succeed.
    fn done(&self, args: &[&str]) -> String {
        let out = self.qcc(args);
        assert_eq!(out.status.code(), Some(0), "qcc {args:?}: {}", errors(&out));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
    /// Standard error of a command that must end with `status`, with a diagnostic, not a panic.
    fn fails(&self, status: i32, args: &[&str]) -> String {
        let out = self.qcc(args);
        let text = errors(&out);
        assert_eq!(out.status.code(), Some(status), "qcc {args:?}: {text}");
        assert!(text.contains("rror: ") || status == 2, "qcc {args:?}: {text}");
        assert!(!text.contains("panicked") && !text.contains("bug in qcc"), "{args:?}: {text}");
        text
    }
}

fn errors(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn every_kind_of_output_is_written_and_is_the_same_every_time() {
    let (s, model) = (Scratch::new(), model());
    let kinds = [
        ("o", "obj"),
        ("a", "staticlib"),
        ("h", "header"),
        ("qir", "qir"),
        ("clif", "clif"),
        ("s", "asm"),
        ("html", "report"),
        ("kir", "kir"),
    ];
    for (extension, emit) in kinds {
        let file = format!("m.{extension}");
        s.done(&["compile", &model, "-o", &file]);
        let piped = s.qcc(&["compile", &model, "--emit", emit, "-o", "-"]);
        assert!(!piped.stdout.is_empty() && piped.stdout == s.read(&file), "{file}");
    }
    assert_eq!(s.files(), kinds.len());
    // Another folder, and the model by another path.
    let other = Scratch::new();
    std::fs::copy(&model, other.path("digits.tflite")).unwrap();
    other.done(&["compile", "digits.tflite", "-o", "m.o"]);
    assert_eq!(other.read("m.o"), s.read("m.o"));
}

#[test]
fn objects_for_other_machines() {
    let (s, model) = (Scratch::new(), model());
    let starts: [(&str, &[u8]); 5] = [
        ("x86_64-unknown-linux-gnu", b"\x7fELF"),
        ("aarch64-unknown-linux-gnu", b"\x7fELF"),
        ("x86_64-apple-darwin", b"\xcf\xfa\xed\xfe"),
        ("aarch64-apple-darwin", b"\xcf\xfa\xed\xfe"),
        ("x86_64-pc-windows-msvc", b"\x64\x86"),
    ];
    for (target, start) in starts {
        s.done(&["compile", &model, "-o", "m.o", "--target", target]);
        assert!(s.read("m.o").starts_with(start), "{target}");
    }
    let text = s.fails(1, &["compile", &model, "-o", "x.o", "--target", "riscv64gc-unknown-linux"]);
    assert!(text.contains("qcc targets"), "{text}");
    assert!(!s.path("x.o").exists());
}

#[test]
#[cfg(target_os = "linux")]
fn two_models_link_into_one_c_program() {
    let s = Scratch::new();
    std::fs::copy(model(), s.path("other.tflite")).unwrap();
    for (model, name) in [(model().as_str(), "digits"), ("other.tflite", "other")] {
        for extension in ["a", "h"] {
            s.done(&["compile", model, "-o", &format!("{name}.{extension}")]);
        }
    }
    s.write(
        "main.c",
        r#"#include "digits.h"
#include "other.h"
#include <stdio.h>
static union { double align[8]; char bytes[OTHER_ARENA_BYTES + DIGITS_ARENA_BYTES + 64]; } arena;
int main(void) {
  static int8_t in[DIGITS_INPUT0_BYTES], a[DIGITS_OUTPUT0_BYTES], b[DIGITS_OUTPUT0_BYTES];
  const void *ins[1] = { in };
  void *outs[1] = { a }, *outs2[1] = { b };
  void *at = arena.bytes + (64 - (size_t)arena.bytes % 64) % 64;
  int i, bad = digits_run(at, ins, outs) + other_run(at, ins, outs2);
  for (i = 0; i < DIGITS_OUTPUT0_BYTES; i++) bad += a[i] != b[i];
  printf("%s %s %d\n", digits_info()->name, other_info()->name, bad);
  return bad;
}
"#,
    );
    let strict = ["-Wall", "-Wextra", "-pedantic", "-Werror"];
    let mut args = vec!["-std=c99", "main.c", "digits.a", "other.a", "-o", "main"];
    args.extend(strict);
    let out = s.command("gcc", &args);
    assert!(out.status.success(), "{}", errors(&out));
    let out = s.command("./main", &[]);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "digits other 0\n");
    s.write("main.cpp", "#include \"digits.h\"\n#include \"other.h\"\n");
    let mut args = vec!["-std=c++11", "-fsyntax-only", "main.cpp"];
    args.extend(strict);
    let out = s.command("g++", &args);
    assert!(out.status.success(), "{}", errors(&out));
}

#[test]
fn check_says_0_for_equal_and_3_for_different() {
    let (s, model, golden) = (Scratch::new(), model(), digits("digits.golden.npz"));
    for how in [&["--jit"][..], &["--interpret"], &["--all-levels"]] {
        let args = [&["check", &model, "--golden", &golden], how].concat();
        assert!(s.done(&args).ends_with(" passed, 0 failed\n"), "{how:?}");
    }
    // The text form is the same model.
    s.done(&["compile", &model, "-o", "digits.qir"]);
    s.done(&["check", "digits.qir", "--golden", &golden]);
    // Case 0 with the answer of case 1.
    let arrays = qcc::npz::read_npz(golden.as_ref()).unwrap();
    let wrong = [("case0_in0", &arrays["case0_in0"]), ("case0_out0", &arrays["case1_out0"])];
    s.write("digits.golden.npz", qcc::npz::npz_bytes(wrong).unwrap());
    let out = s.qcc(&["check", "digits.qir", "--golden", "digits.golden.npz"]);
    assert_eq!(out.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&out.stdout).ends_with("0 passed, 1 failed\n"));
    s.done(&["check", "digits.qir", "--golden", "digits.golden.npz", "--tolerance", "255"]);
    assert_eq!(s.qcc(&["check", "."]).status.code(), Some(3));
}

#[test]
fn run_takes_arrays_by_name_or_number_and_joins_slices() {
    let (s, model, golden) = (Scratch::new(), model(), digits("digits.golden.npz"));
    let arrays = qcc::npz::read_npz(golden.as_ref()).unwrap();
    let (one, two) = (&arrays["case0_in0"], &arrays["case1_in0"]);
    let joined = [one.bytes(), two.bytes()].concat();
    let both = qcc::Tensor::from_bytes(one.dtype(), vec![2, 8, 8, 1], &joined).unwrap();
    let expected = [arrays["case0_out0"].bytes(), arrays["case1_out0"].bytes()].concat();
    for (name, batch) in [("in0", "1"), ("image", "1"), ("image", "2")] {
        s.write("in.npz", qcc::npz::npz_bytes([(name, &both)]).unwrap());
        s.done(&["run", &model, "--inputs", "in.npz", "--output", "o.npz", "--batch", batch]);
        let out = qcc::npz::read_npz(&s.path("o.npz")).unwrap();
        assert_eq!(out["out0"].bytes(), expected, "{name}, batch {batch}");
        assert_eq!(out["out0"].shape(), [2, 10]);
    }
    let (image, labels) = (digits("images/3.png"), digits("labels.txt"));
    let text = s.done(&["run", &model, "--image", &image, "--top", "2", "--labels", &labels]);
    assert_eq!(text.lines().count(), 2);
    assert!(text.trim_start().starts_with('3'), "{text}");
    // What does not fit.
    let wrong = qcc::Tensor::from_bytes(one.dtype(), vec![1, 64], one.bytes()).unwrap();
    s.write("in.npz", qcc::npz::npz_bytes([("nosuch", &wrong)]).unwrap());
    let text = s.fails(1, &["run", &model, "--inputs", "in.npz", "--output", "none.npz"]);
    assert!(text.contains("image") && text.contains("nosuch"), "{text}");
    assert!(!s.path("none.npz").exists());
}

#[test]
fn bench_json_has_the_keys_of_the_contract() {
    let (s, model) = (Scratch::new(), model());
    let text = s.done(&["bench", &model, "--seconds", "0.01", "--json"]);
    let json: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    let mut keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = "arena_bytes code_bytes compile_ms cpu engine gmacs_per_s macs median_ms min_ms \
                    model p90_ms runs threads weights_bytes";
    assert_eq!(keys, expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!(text.lines().count(), 1);
    assert!(s.done(&["bench", &model, "--seconds", "0.01", "--profile"]).contains("conv1/relu"));
}

#[test]
fn passes_run_and_are_compared_one_by_one() {
    let (s, model) = (Scratch::new(), model());
    let pipeline = "@tflite-int,lower-int-to-loop,prove-bounds";
    let args = ["opt", &model, "--passes", pipeline, "--diff-each", "--verify-each", "-o", "l.qir"];
    s.done(&args);
    s.done(&["opt", "l.qir", "-o", "again.qir"]);
    assert_eq!(s.read("l.qir"), s.read("again.qir"));
    let out = s.qcc(&["opt", &model, "--passes", "dce", "--print-ir-after", "all", "-o", "x.qir"]);
    assert!(errors(&out).contains("after dce"));
    let out = s.qcc(&["opt", &model, "--passes", "dce", "--time-passes", "-o", "x.qir"]);
    assert!(errors(&out).contains("dce"));
    assert!(s.fails(1, &["opt", "l.qir", "--passes", "@tflite-int"]).contains("level"));
    assert!(s.fails(1, &["opt", &model, "--passes", "nosuch"]).contains("nosuch"));
}

#[test]
fn lists_and_reports() {
    let (s, model) = (Scratch::new(), model());
    assert!(s.done(&["targets"]).contains("aarch64-unknown-linux-gnu"));
    assert!(s.done(&["passes"]).contains("plan-memory"));
    assert!(s.done(&["completions", "bash"]).contains("_qcc"));
    assert!(s.done(&["inspect", &model]).contains("conv1/relu"));
    let json = s.done(&["inspect", &model, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["inputs"][0]["name"], "image");
    s.done(&["inspect", &model, "--html", "r.html"]);
    assert!(s.read("r.html").starts_with(b"<!doctype html>"));
}

#[test]
fn wrong_usage_is_status_2() {
    let (s, model) = (Scratch::new(), model());
    for args in [&[][..], &["bogus"], &["compile"], &["compile", &model], &["completions", "none"]]
    {
        s.fails(2, args);
    }
    s.fails(2, &["check", &model, "--golden", "g.npz", "--jit", "--aot"]);
    s.fails(2, &["opt", &model, "--print-ir-after", "nosuch"]);
}

#[test]
fn files_that_are_no_models_are_status_1_and_named() {
    let s = Scratch::new();
    let whole = std::fs::read(model()).unwrap();
    std::fs::create_dir(s.path("folder.tflite")).unwrap();
    let noise: Vec<u8> =
        (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    s.write("half.tflite", &whole[..whole.len() / 2]);
    s.write("empty.tflite", "");
    s.write("empty", "");
    s.write("noise.tflite", &noise);
    s.write("noise.qir", &noise);
    s.write("deep.qir", "(".repeat(100_000));
    s.write("cut.qir", "module @m level(quant");
    let files = "none.tflite folder.tflite half.tflite empty.tflite empty noise.tflite noise.qir \
                 deep.qir cut.qir";
    for file in files.split_whitespace() {
        let text = s.fails(1, &["compile", file, "-o", "out.o"]);
        assert!(text.contains(file), "{file}: {text}");
        assert!(!s.path("out.o").exists());
    }
}

#[test]
fn an_output_that_cannot_be_written_leaves_nothing() {
    let (s, model) = (Scratch::new(), model());
    std::fs::create_dir(s.path("folder.o")).unwrap();
    for out in ["none/m.o", "folder.o"] {
        assert!(s.fails(1, &["compile", &model, "-o", out]).contains(out));
    }
    assert_eq!(s.files(), 1);
    assert_eq!(std::fs::read_dir(s.path("folder.o")).unwrap().count(), 0);
}

#[test]
fn damaged_models_never_panic() {
    let s = Scratch::new();
    let whole = std::fs::read(model()).unwrap();
    let mut seed = 1u64;
    let mut next = |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    for _ in 0..20 {
        let mut bytes = whole.clone();
        for _ in 0..4 {
            let at = next(bytes.len());
            bytes[at] = next(256) as u8;
        }
        s.write("m.tflite", &bytes);
        let out = s.qcc(&["inspect", "m.tflite"]);
        assert!(matches!(out.status.code(), Some(0 | 1)), "{}", errors(&out));
    }
}
