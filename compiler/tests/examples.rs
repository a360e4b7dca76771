//! The example programs in C, built by their own scripts with this build's `qcc`; the examples' golden files.
#![cfg(target_os = "linux")]

mod common;

use common::{errors, repository, succeed};
use std::process::Command;

/// Runs an example's `build.sh` for a CPU level; what its program prints.
fn build(example: &str, cpu: &str) -> String {
    let script = repository(&format!("examples/{example}/build.sh"));
    let mut command = Command::new("bash");
    command.arg(script).env("QCC", env!("CARGO_BIN_EXE_qcc")).env("CPU", cpu).env_remove("OUT");
    let out = command.output().expect("bash starts");
    assert!(out.status.success(), "{example}: {}", errors(&out));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// TensorFlow's simulation gives 442 too, and what its converter makes of the graph is as far from it.
#[test]
fn the_keras_model_is_all_integer_and_as_accurate_as_its_simulation() {
    let levels =
        if cfg!(target_arch = "x86_64") { &["baseline", "native"][..] } else { &["native"] };
    for cpu in levels {
        let text = build("keras-qat-to-c", cpu);
        let expected = "442 of 450 test images right (98.22 %)\n\
             450 of 450 as TensorFlow's simulation; probabilities at most 0.0320 from it\n\
             4500 of 4500 probabilities equal those of TensorFlow's integer conversion\n";
        assert!(text.starts_with(expected), "{cpu}: {text}");
        assert!(text.ends_with(" us per image\n"), "{cpu}: {text}");
    }
}

#[test]
fn the_digits_model_reads_ten_digits() {
    if cfg!(target_arch = "x86_64") {
        let text = build("link-c-x86_64", "baseline");
        let digits: Vec<&str> = text.lines().filter_map(|l| l.split(' ').next()).collect();
        assert_eq!(digits.join(" "), "4 2 0 3 7 0 2 0 7 5");
    }
}

/// Float outputs that are codes times a scale: not even their last bit differs.
#[test]
fn goldens_of_the_keras_and_the_onnx_model_hold_exactly_at_all_levels() {
    for (model, cases) in
        [("keras-qat-to-c/digits_qat.pb", 10), ("onnx-qdq-to-rust/digits_qdq.onnx", 11)]
    {
        let model = repository(&format!("examples/{model}"));
        let golden = std::path::Path::new(&model).with_extension("golden.npz");
        let golden = golden.to_str().expect("the repository's path is UTF-8");
        let text = succeed(&["check", &model, "--golden", golden, "--all-levels"]);
        let compared: Vec<&str> = text.lines().filter(|l| l.contains(" elements, ")).collect();
        assert!(!compared.is_empty() && compared.len().is_multiple_of(cases), "{text}");
        assert!(compared.iter().all(|l| l.contains(" elements, 0 differ")), "{text}");
    }
}
