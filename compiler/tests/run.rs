//! `qcc run`: arrays and pictures in, arrays and labels out.

mod common;
use common::*;
use qcc::Tensor;
use qcc::npz::{npz_bytes, read_npz};
use std::io::Write;

#[test]
fn run_takes_arrays_by_name_or_number_and_joins_slices() {
    let (s, model, golden) = (Scratch::new(), digits(), example("digits.golden.npz"));
    let arrays = read_npz(golden.as_ref()).unwrap();
    let (one, two) = (&arrays["case0_in0"], &arrays["case1_in0"]);
    let joined = [one.bytes(), two.bytes()].concat();
    let both = Tensor::from_bytes(one.dtype(), vec![2, 8, 8, 1], &joined).unwrap();
    let expected = [arrays["case0_out0"].bytes(), arrays["case1_out0"].bytes()].concat();
    for (name, batch) in [("in0", "1"), ("image", "1"), ("image", "2")] {
        s.file("in.npz", npz_bytes([(name, &both)]).unwrap());
        s.succeed(&["run", &model, "--inputs", "in.npz", "--output", "o.npz", "--batch", batch]);
        let out = read_npz(s.path("o.npz").as_ref()).unwrap();
        assert_eq!(out["out0"].bytes(), expected, "{name}, batch {batch}");
        assert_eq!(out["out0"].shape(), [2, 10]);
    }
    let (image, labels) = (example("images/3.png"), example("labels.txt"));
    let text = s.succeed(&["run", &model, "--image", &image, "--top", "2", "--labels", &labels]);
    assert_eq!(text.lines().count(), 2);
    assert!(text.trim_start().starts_with('3'), "{text}");
    // What does not fit.
    let wrong = Tensor::from_bytes(one.dtype(), vec![1, 64], one.bytes()).unwrap();
    s.file("in.npz", npz_bytes([("nosuch", &wrong)]).unwrap());
    let text = s.fail(1, &["run", &model, "--inputs", "in.npz", "--output", "none.npz"]);
    assert!(text.contains("image") && text.contains("nosuch"), "{text}");
    assert!(!s.has("none.npz"));
    // Elements that no tensor has, where an input should be.
    let mut npz = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    npz.start_file("in0.npy", zip::write::SimpleFileOptions::default()).unwrap();
    let header = "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }\n";
    let length = (header.len() as u16).to_le_bytes();
    let npy = [&b"\x93NUMPY\x01\x00"[..], &length, header.as_bytes(), &[0; 8]].concat();
    npz.write_all(&npy).unwrap();
    s.file("in.npz", npz.finish().unwrap().into_inner());
    let text = s.fail(1, &["run", &model, "--inputs", "in.npz"]);
    assert!(text.contains("in0") && text.contains("c8"), "{text}");
}

#[test]
fn runs_a_test_set_slice_by_slice() {
    let s = Scratch::new();
    let inputs = repository("examples/digits/testset_inputs.npz");
    succeed(&["run", &digits(), "--inputs", &inputs, "--output", &s.path("out.npz")]);
    let out = read_npz(s.path("out.npz").as_ref()).unwrap();
    let labels = read_npz(repository("examples/digits/testset.npz").as_ref()).unwrap();
    let (out, labels) = (&out["out0"], &labels["labels"]);
    assert_eq!(out.shape(), [450, 10]);
    let best = |row: &[i8]| (0..10).max_by_key(|&i| (row[i], 10 - i)).unwrap_or(0) as i64;
    let rows = out.as_slice::<i8>().unwrap().chunks(10);
    let correct = rows.enumerate().filter(|(i, row)| best(row) == labels.get_i64(*i)).count();
    assert_eq!(correct, 442, "of 450; the model's README says so");
}

#[test]
fn float_inputs_are_quantized() {
    let s = Scratch::new();
    let codes = read_npz(repository("examples/digits/digits.golden.npz").as_ref()).unwrap();
    let codes = codes["case0_in0"].clone();
    let reals: Vec<f32> = codes.to_i64_vec().iter().map(|&q| (q + 128) as f32 / 255.0).collect();
    let reals = Tensor::from_slice(&reals, codes.shape()).unwrap();
    let run = |name: &str, array: &Tensor| {
        let inputs = s.file("in.npz", npz_bytes([(name, array)]).unwrap());
        succeed(&["run", &digits(), "--inputs", &inputs, "--output", &s.path("out.npz")]);
        read_npz(s.path("out.npz").as_ref()).unwrap()["out0"].clone()
    };
    assert_eq!(run("image", &reals), run("in0", &codes));
}

#[test]
fn pictures_are_recognised() {
    for digit in 0..10 {
        let image = repository(&format!("examples/digits/images/{digit}.png"));
        let labels = repository("examples/digits/labels.txt");
        let args = ["run", &digits(), "--image", &image, "--top", "2", "--labels", &labels];
        let out = succeed(&args);
        let first = out.lines().next().and_then(|l| l.split_whitespace().next());
        assert_eq!(first, Some(digit.to_string().as_str()), "{out}");
        assert_eq!(out.lines().count(), 2);
    }
}

#[test]
fn lowered_models_run_and_stay_in_their_buffers() {
    let s = Scratch::new();
    let lowered = s.path("l.qir");
    let pipeline = "@tflite-int,@kernels";
    succeed(&["opt", &digits(), "--passes", pipeline, "-o", &lowered]);
    let args = ["bench", &lowered, "--seconds", "0.01", "--json"];
    assert!(succeed(&args).contains("\"macs\":"));
    let golden = read_npz(repository("examples/digits/digits.golden.npz").as_ref()).unwrap();
    let bytes = golden["case2_in0"].bytes();
    let image = Tensor::from_slice(bytes, [bytes.len()]).unwrap();
    let inputs = s.file("in.npz", npz_bytes([("image", &image)]).unwrap());
    succeed(&["run", &lowered, "--inputs", &inputs, "--output", &s.path("out.npz")]);
    let out = read_npz(s.path("out.npz").as_ref()).unwrap();
    assert_eq!(out["out0"].bytes(), golden["case2_out0"].bytes());
    // Buffers that are smaller than what kernels touch, or that claim more than a session gives.
    let text = std::fs::read_to_string(&lowered).unwrap();
    for (from, to) in [("mem<64>", "mem<60>"), ("mem<64>", "mem<64, slack=4096>")] {
        let other = text.replacen(from, to, 1);
        assert_ne!(other, text);
        let other = s.file("other.qir", other);
        for passes in ["prove-bounds", "dce"] {
            fail(1, &["other.qir"], &["bench", &other, "--passes", passes, "--seconds", "0.01"]);
        }
    }
}
