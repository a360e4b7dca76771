//! Everything that is wrong with inputs and options: exit status, file, node, remedy.

mod common;
use common::*;

#[test]
fn what_is_not_there_yet_says_so() {
    for command in ["quantize", "reduce"] {
        fail(1, &[command, "not available yet"], &[command, "x"]);
    }
    let s = Scratch::new();
    fail(1, &["x.onnx", "not supported yet"], &["inspect", &s.file("x.onnx", "\x08\x07")]);
    fail(1, &["a folder"], &["inspect", &s.path("")]);
}

#[test]
fn errors_say_where() {
    let s = Scratch::new();
    fail(1, &["missing.tflite", "No such file"], &["run", &s.path("missing.tflite")]);
    fail(1, &["what.bin", "expected"], &["inspect", &s.file("what.bin", "hello")]);
    fail(1, &["bad.qir:1:"], &["opt", &s.file("bad.qir", "module @m level(quant) nonsense")]);
}

#[test]
fn damaged_models_never_panic() {
    let s = Scratch::new();
    let whole = std::fs::read(digits()).unwrap();
    for n in (0..whole.len()).step_by(whole.len() / 40) {
        let path = s.file("cut.tflite", &whole[..n]);
        fail(1, &["cut.tflite"], &["check", &path, "--golden", &path]);
    }
    for k in 0..60 {
        let mut bytes = whole.clone();
        let at = (k * 7919 + 13) % bytes.len();
        bytes[at] ^= 1 << (k % 8);
        let path = s.file("flip.tflite", &bytes);
        let done = qcc(&["run", &path, "--inputs", &inputs_file()]);
        assert!(matches!(done.status, 0 | 1), "bit {k}: {}", done.stderr);
        assert!(!done.stderr.contains("panicked"), "bit {k}: {}", done.stderr);
    }
}

fn inputs_file() -> String {
    repository("examples/digits/digits.golden.npz")
}

#[test]
fn rules_of_the_ir_are_checked() {
    let s = Scratch::new();
    let text = "module @m level(quant) numerics(tflite) {\n  func @main(%x: tensor<4xi8>) -> \
                tensor<5xi8> {\n    %y = quant.reshape(%x) : tensor<5xi8>\n    return %y\n  }\n}\n";
    fail(1, &["rule.qir", "reshape_c1"], &["opt", &s.file("rule.qir", text)]);
}

#[test]
fn pipelines_are_checked() {
    fail(1, &["no-such-pass"], &["opt", &digits(), "--passes", "no-such-pass"]);
    fail(1, &["prove-bounds"], &["opt", &digits(), "--passes", "prove-bounds"]);
}

#[test]
fn targets_and_levels_are_checked() {
    let to = ["-o", "-", "--emit", "obj"];
    fail(1, &["x86-64-v3", "armv8-a"], &["run", &digits(), "--cpu", "pentium"]);
    fail(1, &["qcc targets"], &[&["compile", &digits(), "--target", "toaster"], &to[..]].concat());
    fail(
        1,
        &["riscv64"],
        &[&["compile", &digits(), "--target", "riscv64gc-unknown-linux-gnu"], &to[..]].concat(),
    );
    fail(
        1,
        &["armv8-a", "x86_64"],
        &[
            &["compile", &digits(), "--target", "x86_64-unknown-linux-gnu", "--cpu", "armv8-a"],
            &to[..],
        ]
        .concat(),
    );
    fail(1, &["C identifier"], &[&["compile", &digits(), "--symbol", "a-b"], &to[..]].concat());
    fail(1, &["--emit"], &["compile", &digits(), "-o", "digits.xyz"]);
}

#[test]
fn unwritable_outputs_leave_nothing() {
    let s = Scratch::new();
    let nowhere = s.path("no/such/folder/d.o");
    fail(1, &["no/such/folder"], &["compile", &digits(), "-o", &nowhere]);
    std::fs::create_dir(s.path("d.o")).unwrap();
    fail(1, &["d.o"], &["compile", &digits(), "-o", &s.path("d.o")]);
    let damaged = s.file("cut.tflite", &std::fs::read(digits()).unwrap()[..5000]);
    let kept = s.file("kept.o", "old");
    fail(1, &["cut.tflite"], &["compile", &damaged, "-o", &kept]);
    assert_eq!(std::fs::read(&kept).unwrap(), b"old");
    let mut names = s.names();
    names.sort();
    assert_eq!(names, ["cut.tflite", "d.o", "kept.o"]);
}

#[test]
#[cfg(target_os = "linux")]
fn full_disks_and_closed_pipes() {
    fail(1, &["/dev/full"], &["compile", &digits(), "--emit", "obj", "-o", "/dev/full"]);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_qcc"));
    command.args(["compile", &digits(), "--emit", "kir", "-o", "-"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
}

#[test]
fn goldens_that_do_not_fit() {
    let s = Scratch::new();
    let model = repository("tests/models/softmax_i8/model.tflite");
    fail(1, &["digits.golden.npz", "input"], &["check", &model, "--golden", &inputs_file()]);
    fail(2, &["--golden"], &["check", &model]);
    fail(1, &["zip.npz"], &["check", &model, "--golden", &s.file("zip.npz", "PK")]);
    fail(1, &["golden"], &["check", &s.path("")]);
    let testset = repository("examples/digits/testset.npz");
    fail(1, &["case0_out0"], &["check", &digits(), "--golden", &testset]);
}

#[test]
fn wrong_arrays_at_run_time() {
    let s = Scratch::new();
    fail(1, &["'image'", "[1, 8, 8, 1]", "--inputs"], &["run", &digits()]);
    let npz = repository("tests/models/softmax_u8/golden.npz");
    fail(1, &["'image'", "i8", "u8"], &["run", &digits(), "--inputs", &npz]);
    let npz = repository("tests/models/softmax_i8/golden.npz");
    fail(1, &["'image'", "[1, 8, 8, 1]", "leading"], &["run", &digits(), "--inputs", &npz]);
    let image = s.file("x.npy", "junk");
    fail(1, &["x.npy"], &["run", &digits(), "--input", &format!("image={image}")]);
    fail(1, &["'pixels'", "image"], &["run", &digits(), "--input", &format!("pixels={image}")]);
    fail(2, &["NAME=FILE"], &["run", &digits(), "--input", &image]);
    fail(1, &["x.npy", "PNG"], &["run", &digits(), "--image", &image]);
    fail(1, &["--threads"], &["run", &digits(), "--threads", "0"]);
    fail(1, &["--shape"], &["run", &digits(), "--shape", "image=1xfoo"]);
}
