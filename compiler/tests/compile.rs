//! `qcc compile`: every kind of output, for every machine.

mod common;
use common::*;

#[test]
fn every_kind_of_output_is_written_and_is_the_same_every_time() {
    let (s, model) = (Scratch::new(), digits());
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
        s.succeed(&["compile", &model, "-o", &file]);
        let piped = s.output(&["compile", &model, "--emit", emit, "-o", "-"]);
        assert!(!piped.stdout.is_empty() && piped.stdout == s.read(&file), "{file}");
    }
    assert_eq!(s.names().len(), kinds.len());
    // Another folder, and the model by another path.
    let other = Scratch::new();
    std::fs::copy(&model, other.path("digits.tflite")).unwrap();
    other.succeed(&["compile", "digits.tflite", "-o", "m.o"]);
    assert_eq!(other.read("m.o"), s.read("m.o"));
}

#[test]
fn objects_for_other_machines() {
    let (s, model) = (Scratch::new(), digits());
    let starts: [(&str, &[u8]); 5] = [
        ("x86_64-unknown-linux-gnu", b"\x7fELF"),
        ("aarch64-unknown-linux-gnu", b"\x7fELF"),
        ("x86_64-apple-darwin", b"\xcf\xfa\xed\xfe"),
        ("aarch64-apple-darwin", b"\xcf\xfa\xed\xfe"),
        ("x86_64-pc-windows-msvc", b"\x64\x86"),
    ];
    for (target, start) in starts {
        s.succeed(&["compile", &model, "-o", "m.o", "--target", target]);
        assert!(s.read("m.o").starts_with(start), "{target}");
    }
    let text = s.fail(1, &["compile", &model, "-o", "x.o", "--target", "riscv64gc-unknown-linux"]);
    assert!(text.contains("qcc targets"), "{text}");
    assert!(!s.has("x.o"));
}

#[test]
fn features_choose_the_level() {
    let (s, model) = (Scratch::new(), digits());
    let object = |options: &[&str]| {
        let target = ["--target", "x86_64-unknown-linux-gnu"];
        s.succeed(&[&["compile", &model, "-o", "m.o"], &target[..], options].concat());
        s.read("m.o")
    };
    let v3 = object(&["--cpu", "x86-64-v3"]);
    let vnni = object(&["--cpu", "avxvnni"]);
    assert_ne!(v3, vnni);
    assert_eq!(object(&["--cpu", "x86-64-v3", "--features", "+avxvnni"]), vnni);
    assert_eq!(object(&["--cpu", "avxvnni", "--features", "-avxvnni"]), v3);
    // Two levels that come to the same are one.
    assert_eq!(object(&["--cpu", "x86-64-v3,avxvnni", "--features", "-avxvnni"]), v3);
}

#[test]
#[cfg(target_os = "linux")]
fn two_models_link_into_one_c_program() {
    let s = Scratch::new();
    std::fs::copy(digits(), s.path("other.tflite")).unwrap();
    for (model, name) in [(digits().as_str(), "digits"), ("other.tflite", "other")] {
        for extension in ["a", "h"] {
            s.succeed(&["compile", model, "-o", &format!("{name}.{extension}")]);
        }
    }
    s.file(
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
    s.file("main.cpp", "#include \"digits.h\"\n#include \"other.h\"\n");
    let mut args = vec!["-std=c++11", "-fsyntax-only", "main.cpp"];
    args.extend(strict);
    let out = s.command("g++", &args);
    assert!(out.status.success(), "{}", errors(&out));
}

#[test]
fn the_header_knows_the_arena() {
    // 64 bytes more than the plan: kernels may read behind it.
    let header = succeed(&["compile", &digits(), "-o", "-", "--emit", "header", "--symbol", "net"]);
    let planned = succeed(&["compile", &digits(), "-o", "-", "--emit", "kir"]);
    let arena = planned.split("mem<").nth(1).and_then(|m| m.split([',', '>']).next());
    let arena: usize = arena.and_then(|n| n.parse().ok()).unwrap();
    assert!(header.contains(&format!("#define NET_ARENA_BYTES {}\n", arena + 64)), "{header}");
    assert!(header.contains("int net_run(void *arena"));
}
