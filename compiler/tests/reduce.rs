//! `qcc reduce`, with shell commands as predicates.
#![cfg(unix)]

mod common;
use common::*;
use qcc::ir::{Module, text};

fn parsed(s: &Scratch, file: &str) -> Module {
    text::parse(&String::from_utf8(s.read(file)).unwrap(), file).unwrap()
}

/// Names of the ops of `main` other than constants and the return.
fn ops(m: &Module) -> Vec<&'static str> {
    let f = &m.funcs[m.main().unwrap()];
    let names = f.body_ops().iter().map(|&op| f.kind(op).name());
    names.filter(|n| !n.starts_with("core.")).collect()
}

#[test]
fn one_op_of_a_tflite_model_is_left() {
    let s = Scratch::new();
    // Fails where the text has an average pooling.
    let fails = "! grep -q quant.mean {}";
    let said = s.output(&["reduce", &digits(), "--fails", fails, "-o", "small.qir"]);
    assert_eq!(said.status.code(), Some(0), "{}", errors(&said));
    assert!(errors(&said).starts_with("1 ops, 0 inputs, "), "{}", errors(&said));
    let m = parsed(&s, "small.qir");
    assert_eq!(ops(&m), ["quant.mean"]);
    assert!(m.data.values().all(|d| d.bytes.iter().all(|&b| b == 0)));
    // The same again, from the reduced module: nothing is left to take away.
    s.succeed(&["reduce", "small.qir", "--fails", fails, "-o", "again.qir"]);
    assert_eq!(s.read("again.qir"), s.read("small.qir"));
}

#[test]
fn what_the_failure_needs_stays() {
    let s = Scratch::new();
    let text = r#"module @m level(int) numerics(tflite) {
  func @main(%x: tensor<4xi8>, %y: tensor<4xi8>) -> (tensor<4xi8>, tensor<4xi8>, tensor<4xi8>) {
    %k = const @k : tensor<4xi8>
    %a = int.clamp(%x) {lo = -7, hi = 7} : tensor<4xi8>
    %b = int.copy(%a) : tensor<4xi8>
    %c = int.clamp(%b) {lo = -5, hi = 5} : tensor<4xi8>
    %d = int.concat(%c, %k) {axis = 0} : tensor<8xi8>
    %e = int.slice(%d) {start = [2]} : tensor<4xi8>
    %f = int.copy(%y) : tensor<4xi8>
    return %c, %e, %f
  }
}

data @k = hex"00010203"
"#;
    s.file("m.qir", text);
    // Status 3, and only with both: other statuses do not count.
    let fails = "grep -q 'hi = 7' {} || exit 1; grep -q int.slice {} || exit 2; exit 3";
    s.succeed(&["reduce", "m.qir", "--fails", fails, "-o", "small.qir"]);
    let m = parsed(&s, "small.qir");
    // One output is left, which both ops must reach; the copies are gone.
    assert_eq!(ops(&m), ["int.clamp", "int.concat", "int.slice"]);
    let main = &m.funcs[m.main().unwrap()];
    assert_eq!((main.params().len(), main.returned().len()), (0, 1));
}

#[test]
fn kernels_are_reduced_too() {
    let s = Scratch::new();
    let lowered = "@tflite-int,lower-int-to-loop";
    s.succeed(&["opt", &digits(), "--passes", lowered, "-o", "l.qir"]);
    let fails = "! grep -q loop.dot4 {}";
    let args = ["reduce", "l.qir", "--fails", fails, "-o", "small.qir", "--cpu", "native"];
    if !String::from_utf8(s.read("l.qir")).unwrap().contains("loop.dot4") {
        return;
    }
    s.succeed(&args);
    let m = parsed(&s, "small.qir");
    assert_eq!(m.funcs.len(), 2, "main and the kernel with the dot product");
    let kernel = m.funcs.values().find(|f| f.name != "main").unwrap();
    let names: Vec<&str> = kernel.walk().iter().map(|&op| kernel.kind(op).name()).collect();
    assert_eq!(names.iter().filter(|n| **n == "loop.dot4").count(), 1);
    assert!(names.len() < 20, "{names:?}");
}

#[test]
fn the_command_must_say_what_it_should() {
    let s = Scratch::new();
    // Every module fails to lower twice; only those with a softmax say so.
    let qcc = env!("CARGO_BIN_EXE_qcc");
    let fails = format!("{qcc} opt {{}} -o - | grep -o quant.softmax; exit 1");
    let args =
        ["reduce", &digits(), "--fails", &fails, "--says", "quant.softmax", "-o", "small.qir"];
    s.succeed(&args);
    assert_eq!(ops(&parsed(&s, "small.qir")), ["quant.softmax"]);
}

#[test]
fn commands_that_do_not_fail_are_an_error() {
    let s = Scratch::new();
    fail(1, &["succeeds"], &["reduce", &digits(), "--fails", "true {}", "-o", &s.path("x.qir")]);
    fail(2, &["{}"], &["reduce", &digits(), "--fails", "false", "-o", &s.path("x.qir")]);
    let args = ["reduce", &digits(), "--fails", "false {}", "--says", "zebra", "-o", "x.qir"];
    assert!(s.fail(1, &args).contains("zebra"));
    assert!(!s.has("x.qir"));
}
