//! Everything that is wrong with inputs and options: exit status, file, node, remedy.

mod common;
use common::*;

#[test]
fn features_have_a_sign_and_a_known_name() {
    let s = Scratch::new();
    let out = s.path("m.o");
    let with =
        |f| ["compile", "m.tflite", "--target", "x86_64-linux-gnu", "-o", &out, "--features", f];
    fail(1, &["`avx2`", "+NAME"], &with("avx2"));
    fail(1, &["unknown CPU feature `dotprod`", "avx512vnni"], &with("+dotprod"));
}

#[test]
fn what_is_not_there_yet_says_so() {
    fail(1, &["quantize", "not available yet"], &["quantize", "x"]);
    let s = Scratch::new();
    fail(1, &["x.onnx", "the file has no graph"], &["inspect", &s.file("x.onnx", "\x08\x07")]);
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
    for seconds in ["-1", "nan", "inf"] {
        fail(2, &["at least 0"], &["bench", &digits(), &format!("--seconds={seconds}")]);
        fail(2, &["at least 0"], &["check", &digits(), &format!("--tolerance={seconds}")]);
    }
    let linux = ["--target", "x86_64-unknown-linux-gnu", "-o", "digits.dylib"];
    fail(1, &["ends in .so"], &[&["compile", &digits()], &linux[..]].concat());
    let windows = ["--target", "x86_64-pc-windows-msvc", "-o", "digits.so"];
    fail(1, &["ends in .dll"], &[&["compile", &digits()], &windows[..]].concat());
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

#[test]
fn wrong_usage_is_status_2() {
    let (s, model) = (Scratch::new(), digits());
    for args in [&[][..], &["bogus"], &["compile"], &["compile", &model], &["completions", "none"]]
    {
        s.fail(2, args);
    }
    s.fail(2, &["check", &model, "--golden", "g.npz", "--jit", "--aot"]);
    s.fail(2, &["opt", &model, "--print-ir-after", "nosuch"]);
}

#[test]
fn files_that_are_no_models_are_status_1_and_named() {
    let s = Scratch::new();
    let whole = std::fs::read(digits()).unwrap();
    std::fs::create_dir(s.path("folder.tflite")).unwrap();
    let noise: Vec<u8> =
        (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    s.file("half.tflite", &whole[..whole.len() / 2]);
    s.file("empty.tflite", "");
    s.file("empty", "");
    s.file("noise.tflite", &noise);
    s.file("noise.qir", &noise);
    s.file("deep.qir", "(".repeat(100_000));
    s.file("cut.qir", "module @m level(quant");
    let files = "none.tflite folder.tflite half.tflite empty.tflite empty noise.tflite noise.qir \
                 deep.qir cut.qir";
    for file in files.split_whitespace() {
        let text = s.fail(1, &["compile", file, "-o", "out.o"]);
        assert!(text.contains(file), "{file}: {text}");
        assert!(!s.has("out.o"));
    }
}

#[test]
fn an_output_that_cannot_be_written_leaves_nothing() {
    let (s, model) = (Scratch::new(), digits());
    std::fs::create_dir(s.path("folder.o")).unwrap();
    for out in ["none/m.o", "folder.o"] {
        assert!(s.fail(1, &["compile", &model, "-o", out]).contains(out));
    }
    assert_eq!(s.names().len(), 1);
    assert_eq!(std::fs::read_dir(s.path("folder.o")).unwrap().count(), 0);
}

#[test]
fn passes_and_inputs_that_are_not_there_are_named() {
    fail(2, &["nosuch", "fuse-clamp"], &["inspect", &digits(), "--remarks=nosuch"]);
    fail(1, &["'nosuch'", "image"], &["inspect", &digits(), "--shape", "nosuch=1x8x8x1"]);
    let s = Scratch::new();
    s.succeed(&["compile", &digits(), "-o", "m.qir"]);
    s.succeed(&["inspect", "m.qir", "--shape", "image=1x8x8x1"]);
    assert!(s.fail(1, &["inspect", "m.qir", "--shape", "image=2x8x8x1"]).contains("fixes"));
}

#[test]
#[cfg(target_os = "linux")]
fn files_that_never_end_are_not_read_to_the_end() {
    let s = Scratch::new();
    let file = std::fs::File::create(s.path("huge.tflite")).unwrap();
    file.set_len(3 << 30).unwrap();
    fail(1, &["huge.tflite", "2 GiB"], &["inspect", &s.path("huge.tflite")]);
    fail(1, &["npz"], &["run", &digits(), "--inputs", "/dev/zero"]);
}

#[test]
fn what_stays_float_is_an_error_where_asked_for() {
    let s = Scratch::new();
    let text = r#"!x = !quant.uniform<i8:f32, 0.0625:-1>

module @m level(quant) numerics(tflite) {
  func @main(%x: tensor<1x4x!x>) -> tensor<1x4x!x> {
    %f = quant.dequantize(%x) : tensor<1x4xf32> loc("dequantize")
    %g = nn.log_softmax(%f) : tensor<1x4xf32> loc("head/odd_one")
    %q = quant.quantize(%g) : tensor<1x4x!x> loc("quantize")
    return %q
  }
}
"#;
    let model = s.file("m.qir", text);
    let out = s.path("m.o");
    for args in [
        &["compile", &model, "-o", &out, "--require-integer"][..],
        &["run", &model, "--require-integer"],
        &["bench", &model, "--require-integer"],
        &["inspect", &model, "--require-integer"],
        &["opt", &model, "--require-integer"],
    ] {
        fail(1, &["head/odd_one", "nn.log_softmax stays float", "hint: "], args);
    }
    assert!(!s.has("m.o"));
    s.succeed(&["compile", &digits(), "-o", "d.o", "--require-integer"]);
}
