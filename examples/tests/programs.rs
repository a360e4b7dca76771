//! What the example programs print about the models in this folder.

use std::process::Command;

fn output_of(program: &str) -> String {
    let out = Command::new(program).output().expect("it starts");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    text
}

/// One op runs per step that ONNX Runtime has a kernel for, and each gives the same bits.
#[test]
fn the_qdq_model_is_all_integer_and_equals_onnx_runtime() {
    let text = output_of(env!("CARGO_BIN_EXE_digits-qdq"));
    for line in [
        "quant.conv2d             conv1_out/Conv\n",
        "quant.depthwise_conv2d   block1/depthwise_out/Conv\n",
        " ops, 0 of them float\n",
        "441 of 450 test images right (98.00 %), ",
        "4500 of 4500 logits equal those of ONNX Runtime, bit for bit\n",
    ] {
        assert!(text.contains(line), "no '{line}' in:\n{text}");
    }
}

#[test]
fn the_tflite_model_has_the_accuracy_of_its_reference() {
    let text = output_of(env!("CARGO_BIN_EXE_digits"));
    assert!(text.contains("442 of 450 test images right (98.22 %), "), "{text}");
}
