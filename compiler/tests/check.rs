//! `qcc check`: exit status, and what it says.

mod common;
use common::*;
use qcc::npz::{npz_bytes, read_npz};

#[test]
fn check_says_0_for_equal_and_3_for_different() {
    let (s, model, golden) = (Scratch::new(), digits(), example("digits.golden.npz"));
    for how in [&["--jit"][..], &["--interpret"], &["--all-levels"]] {
        let args = [&["check", &model, "--golden", &golden], how].concat();
        assert!(s.succeed(&args).ends_with(" passed, 0 failed\n"), "{how:?}");
    }
    // The text form is the same model.
    s.succeed(&["compile", &model, "-o", "digits.qir"]);
    s.succeed(&["check", "digits.qir", "--golden", &golden]);
    // Case 0 with the answer of case 1.
    let arrays = read_npz(golden.as_ref()).unwrap();
    let wrong = [("case0_in0", &arrays["case0_in0"]), ("case0_out0", &arrays["case1_out0"])];
    s.file("digits.golden.npz", npz_bytes(wrong).unwrap());
    let out = s.output(&["check", "digits.qir", "--golden", "digits.golden.npz"]);
    assert_eq!(out.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&out.stdout).ends_with("0 passed, 1 failed\n"));
    s.succeed(&["check", "digits.qir", "--golden", "digits.golden.npz", "--tolerance", "255"]);
    assert_eq!(s.output(&["check", "."]).status.code(), Some(3));
}

#[test]
fn the_first_layer_that_differs_is_named() {
    let s = Scratch::new();
    let (model, golden) = (digits(), example("digits.golden.npz"));
    let said = s.succeed(&["check", &model, "--golden", &golden, "--per-layer"]);
    assert!(said.contains("ok    layer 'conv1/relu' quant.conv2d: "), "{said}");
    assert!(
        said.contains("\nall 12 layers are the interpreter's, 0 compared with the golden too\n")
    );
    // Checksums by the tensors' indices in the file; 0 where there is none.
    let bytes = std::fs::read(&model).unwrap();
    let file = qcc_import::tflite::raw::parse(&bytes).unwrap();
    let graph = &file.subgraphs[0];
    let check = |known: &[(usize, u32)]| {
        let mut arrays = read_npz(golden.as_ref()).unwrap();
        let mut sums = vec![0i64; graph.tensors.len()];
        known.iter().for_each(|&(op, sum)| sums[graph.ops[op].outputs[0]] = sum.into());
        let sums = qcc::Tensor::from_slice(&sums, [sums.len()]).unwrap();
        arrays.insert("case0_tensor_crc32".into(), sums);
        let arrays = arrays.iter().map(|(name, t)| (name.as_str(), t));
        s.file("sums.npz", npz_bytes(arrays).unwrap());
        let out = s.output(&["check", &model, "--golden", "sums.npz", "--per-layer"]);
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let arrays = read_npz(golden.as_ref()).unwrap();
    let right = (graph.ops.len() - 1, crc32(arrays["case0_out0"].bytes()));
    let (status, said) = check(&[right]);
    assert_eq!(status, Some(0));
    assert!(
        said.contains("\nall 12 layers are the interpreter's, 1 compared with the golden too\n")
    );
    let (status, said) = check(&[(2, 1), (6, 2), right]);
    assert_eq!(status, Some(3));
    let source = qcc::Source::read(model.as_ref(), &Default::default()).unwrap();
    let name = &qcc::layers::layers(&source.module)[2].name;
    assert!(said.contains(&format!("\nfirst layer that differs: '{name}' ")), "{said}");
    assert!(said.contains("differs from the golden\n"));
    assert_eq!(said.matches("FAIL").count(), 2);
}

#[test]
fn open_extents_are_those_of_the_golden() {
    let s = Scratch::new();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/import/onnx/shapes.onnx");
    fail(1, &["is not known"], &["run", model]);
    let said = s.succeed(&["check", model, "--tolerance", "1e-5"]);
    assert!(said.ends_with("1 passed, 0 failed\n"), "{said}");
}

/// zlib's checksum, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let byte = |sum: u32, &b: &u8| {
        (0..8).fold(sum ^ u32::from(b), |s, _| (s >> 1) ^ (0xEDB8_8320 & (s & 1).wrapping_neg()))
    };
    !bytes.iter().fold(!0, byte)
}
