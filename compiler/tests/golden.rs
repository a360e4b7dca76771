//! `qcc check` on every model of this repository: JIT, AOT and interpreter at every CPU level.

mod common;
use common::*;

fn check(name: &str, how: &[&str]) {
    let folder = repository(&format!("tests/models/{name}"));
    let (model, golden) = (format!("{folder}/model.tflite"), format!("{folder}/golden.npz"));
    let out = succeed(&[&["check", &model, "--golden", &golden], how].concat());
    let last = out.lines().last().unwrap_or_default();
    assert!(last.ends_with(" passed, 0 failed") && !last.starts_with("0 "), "{name}: {out}");
}

#[test]
fn jit_at_all_levels() {
    let names = models();
    assert!(names.len() >= 20, "{names:?}");
    names.iter().for_each(|n| check(n, &["--all-levels", "--verify-each"]));
}

#[test]
fn shared_libraries() {
    models().iter().for_each(|n| check(n, &["--aot"]));
    check("residual_net_i8", &["--aot", "--all-levels"]);
}

#[test]
fn interpreter() {
    models().iter().for_each(|n| check(n, &["--interpret"]));
}

#[test]
fn every_layer() {
    for name in
        ["residual_net_i8", "split_concat_i8", "concat_u8_rescale", "fully_connected_u8_relu"]
    {
        check(name, &["--per-layer"]);
    }
}

#[test]
fn digits_find_their_golden() {
    let out = succeed(&["check", &digits()]);
    assert!(out.ends_with("11 passed, 0 failed\n"), "{out}");
    assert!(
        out.contains("output 0 'probabilities': 10 elements, 0 differ, largest difference 0 LSB")
    );
    let out = succeed(&["check", &repository("examples/digits")]);
    assert_eq!(out, "ok    digits.tflite: 11 outputs\n11 passed, 0 failed\n");
    let out = succeed(&["check", &digits(), "--per-layer", "--jit"]);
    assert!(out.contains("layer 'logits' quant.fully_connected: 10 elements, 0 differ"), "{out}");
}

#[test]
fn the_printed_model_is_the_model() {
    let scratch = Scratch::new();
    let qir = scratch.path("digits.qir");
    succeed(&["compile", &digits(), "-o", &qir]);
    let golden = repository("examples/digits/digits.golden.npz");
    assert!(succeed(&["check", &qir, "--golden", &golden]).ends_with("11 passed, 0 failed\n"));
    let again = succeed(&["compile", &qir, "-o", "-", "--emit", "qir"]);
    assert_eq!(again, std::fs::read_to_string(&qir).unwrap());
}

#[test]
fn passes_keep_every_bit() {
    let out = qcc(&["opt", &digits(), "--passes", "@tflite-int", "--diff-each", "--verify-each"]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    assert!(out.stdout.contains("level(int)"));
}
