//! ONNX files that are imported, and files that are refused.
//!
//! The models of `tests/import/onnx` are made by its script; expected outputs lie beside them.
//! `QCC_FUZZ_CASES` damaged files more are tried with that number.

use qcc::{Compiler, Source};
use qcc_import::ImportOptions;
use qcc_ir::{Level, Numerics, interp};
use qcc_runtime::Tensor;
use qcc_tests::golden::{root, run_jit, same};
use qcc_tests::random::Random;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    root().join("import/onnx")
}

fn options() -> ImportOptions {
    ImportOptions { shapes: vec![("seq".to_string(), vec![3])], ..Default::default() }
}

/// Options for a model: only `shapes` has an extent to give.
fn options_for(name: &str) -> ImportOptions {
    if name == "shapes" { options() } else { ImportOptions::default() }
}

fn close(name: &str, got: &Tensor, want: &Tensor) {
    assert_eq!(got.shape(), want.shape(), "{name}");
    for (i, (g, w)) in got.to_f64_vec().into_iter().zip(want.to_f64_vec()).enumerate() {
        assert!((g - w).abs() <= 1e-5 * (1.0 + w.abs()), "{name}: element {i} is {g}, not {w}");
    }
}

fn run(name: &str) -> Source {
    let path = folder().join(format!("{name}.onnx"));
    let source = Source::read(&path, &options_for(name)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((source.module.level, source.module.numerics), (Level::Nn, Numerics::Onnx));
    let arrays = qcc::npz::read_npz(&path.with_extension("golden.npz")).expect("its golden file");
    let inputs: Vec<Tensor> =
        (0..source.inputs.len()).map(|i| arrays[&format!("case0_in{i}")].clone()).collect();
    let outputs = interp::run_main(&source.module, &inputs).unwrap_or_else(|e| panic!("{e}"));
    for (j, y) in outputs.iter().enumerate() {
        close(name, y, &arrays[&format!("case0_out{j}")]);
    }
    source
}

/// Names of the ops of `main`.
fn ops(source: &Source) -> Vec<&'static str> {
    let main = &source.module.funcs[source.module.main().expect("a main function")];
    main.body_ops().iter().map(|&op| main.kind(op).name()).collect()
}

#[test]
fn convolutions_and_norms_of_channels_first() {
    run("conv_bn");
    run("conv_1d_transposed");
}

/// ONNX Runtime has two kernels for averages of float32, and QLinear kernels for 8-bit codes only.
#[test]
fn averages_are_added_in_the_order_of_onnx_runtime() {
    for name in ["averages_17", "averages_21"] {
        let path = folder().join(format!("{name}.onnx"));
        let source = Source::read(&path, &ImportOptions::default()).expect("it imports");
        let arrays = qcc::npz::read_npz(&path.with_extension("golden.npz")).expect("golden");
        let all = |what: &str, n: usize| -> Vec<Tensor> {
            (0..n).map(|i| arrays[&format!("case0_{what}{i}")].clone()).collect()
        };
        let (inputs, want) = (all("in", source.inputs.len()), all("out", source.outputs.len()));
        let model = Compiler::new().compile(&source).unwrap_or_else(|e| panic!("{name}: {e}"));
        let got = run_jit(&model, &inputs).expect("it runs");
        same(name, &got, &want).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn attributes_that_later_became_inputs() {
    run("opset10");
}

#[test]
fn functions_are_expanded_with_their_attributes() {
    run("function");
}

#[test]
fn einsums_are_products_and_sums() {
    run("einsum");
}

#[test]
fn a_branch_is_chosen_at_import_or_selected_at_run_time() {
    let found = ops(&run("branches"));
    let count = |name: &str| found.iter().filter(|n| **n == name).count();
    assert_eq!(count("nn.select"), 1, "{found:?}");
}

#[test]
fn masks_and_positions_are_computed_at_run_time() {
    let found = ops(&run("masks"));
    for op in ["nn.compare", "nn.int_binary", "nn.cum_sum", "nn.select", "nn.top_k"] {
        assert!(found.contains(&op), "{op} in {found:?}");
    }
}

#[test]
fn shape_computations_leave_no_op() {
    let found = ops(&run("shapes"));
    assert_eq!(found, ["nn.reshape", "core.const", "nn.add", "core.return"]);
}

#[test]
fn an_extent_that_is_not_known_is_named() {
    let path = folder().join("shapes.onnx");
    let error = Source::read(&path, &ImportOptions::default()).expect_err("seq is open");
    assert!(error.to_string().contains("'seq', is not known"), "{error}");
}

#[test]
fn known_parameters_go_into_types() {
    let source = run("qdq");
    let found = ops(&source);
    let count = |name: &str| found.iter().filter(|n| **n == name).count();
    assert_eq!((count("quant.quantize"), count("quant.dequantize")), (2, 4));
    let text = qcc_ir::text::print(&source.module);
    assert!(text.contains("i8:f32:0"), "the filter's axis in [O,KH,KW,I]\n{text}");
    assert!(text.contains("i8:f32:0") && !text.contains("i8:f32:1"), "and the matrix's in [O,K]");
}

#[test]
fn external_data_is_read_from_the_models_folder() {
    run("external");
}

#[test]
fn bad_files_are_refused_with_the_reason() {
    let expected = [
        ("bad_cycle", "'b' is never computed"),
        ("bad_external_absolute", "is not a path below the model's folder"),
        ("bad_external_missing", "nosuch.bin"),
        ("bad_external_parent", "is not a path below the model's folder"),
        ("bad_huge", "more than 2147483648 elements"),
        ("bad_opset", "operator set 99 is not supported"),
        ("bad_short_data", "5 bytes for 4 elements of float32, expected 16"),
        ("bad_unsupported", "operator Det is not supported"),
        ("bad_unsupported", "operator LSTM is not supported"),
    ];
    for (name, what) in expected {
        let path = folder().join(format!("{name}.onnx"));
        let error = Source::read(&path, &ImportOptions::default()).expect_err(name).to_string();
        assert!(error.contains(what), "{name}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_folder_is_not_followed() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let inner = temp.path().join("model");
    std::fs::create_dir(&inner).expect("a folder");
    let copy = |to: &Path, name: &str| {
        std::fs::copy(folder().join(name), to.join(name)).expect("a copy");
    };
    copy(&inner, "external.onnx");
    copy(temp.path(), "external.bin");
    std::os::unix::fs::symlink("../external.bin", inner.join("external.bin")).expect("a link");
    let error = Source::read(&inner.join("external.onnx"), &ImportOptions::default());
    let error = error.expect_err("the link leads out").to_string();
    assert!(error.contains("leads out of the model's folder"), "{error}");
}

/// One to four changed, repeated or dropped bytes.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..random.range(1, 4) {
        let at = random.range(0, bytes.len() as i64 - 1) as usize;
        match random.range(0, 9) {
            0 => bytes.truncate(at.max(1)),
            1..=4 => bytes[at] ^= 1 << random.range(0, 7),
            5..=7 => bytes[at] = random.pick(&[0, 1, 2, 4, 0x7F, 0x80, 0xFF]),
            8 => bytes.insert(at, bytes[at]),
            _ if bytes.len() > 1 => drop(bytes.remove(at)),
            _ => {}
        }
    }
}

#[test]
fn damaged_files_give_modules_or_errors() {
    let cases = std::env::var("QCC_FUZZ_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(300);
    let names = [
        "conv_bn",
        "conv_1d_transposed",
        "einsum",
        "masks",
        "branches",
        "shapes",
        "qdq",
        "function",
    ];
    for name in names.into_iter().chain(["opset10"]) {
        let whole = std::fs::read(folder().join(format!("{name}.onnx"))).expect("a model");
        for seed in 0..cases {
            let (mut bytes, mut random) = (whole.clone(), Random(seed));
            damage(&mut bytes, &mut random);
            let import = || drop(Source::from_bytes(&bytes, "x.onnx", "x", &options()));
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(import));
            assert!(result.is_ok(), "{name} with damage {seed} panics");
        }
    }
}
