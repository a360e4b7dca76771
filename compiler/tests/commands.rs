//! What the commands do when nothing is wrong.

mod common;
use common::*;
use qcc::Tensor;
use qcc::npz::{npz_bytes, read_npz};

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
fn bench_prints_json() {
    let args = ["bench", &digits(), "--min-time", "0.01", "--json", "--profile"];
    let line: serde_json::Value = serde_json::from_str(&succeed(&args)).unwrap();
    for key in [
        "median_ms",
        "min_ms",
        "p90_ms",
        "runs",
        "compile_ms",
        "code_bytes",
        "weights_bytes",
        "arena_bytes",
        "macs",
        "gmacs_per_s",
        "threads",
    ] {
        assert!(line[key].is_number(), "{key}: {line}");
    }
    assert_eq!(line["engine"], "qcc");
    assert!(line["layers"].as_array().is_some_and(|l| l.len() >= 12), "{line}");
    let inputs = repository("examples/digits/digits.golden.npz");
    let args = ["bench", &digits(), "--inputs", &inputs, "--seconds", "0.01", "--threads", "2"];
    let out = succeed(&args);
    let last = out.lines().last().unwrap_or_default();
    assert!(serde_json::from_str::<serde_json::Value>(last).is_ok(), "{out}");
}

#[test]
fn inspect_names_the_layers() {
    let table = succeed(&["inspect", &digits()]);
    for word in ["block1/pointwise", "quant.conv2d", "per-axis", "73728", "12 layers, 129856 MACs"]
    {
        assert!(table.contains(word), "no {word} in {table}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&succeed(&["inspect", &digits(), "--json"])).unwrap();
    assert_eq!(json["layers"].as_array().map(Vec::len), Some(12));
    assert_eq!(json["inputs"][0]["name"], "image");
    let s = Scratch::new();
    succeed(&["inspect", &digits(), "--html", &s.path("r.html")]);
    let page = std::fs::read_to_string(s.path("r.html")).unwrap();
    assert!(page.contains("block1/pointwise") && !page.contains("http"));
}

#[test]
fn lists() {
    assert!(succeed(&["targets"]).contains("--cpu x86-64-v3"));
    let passes = succeed(&["passes"]);
    assert!(passes.contains("fold-zero-points") && passes.contains("@tflite-int"));
    assert!(succeed(&["passes", "cse"]).lines().count() > 4);
    for shell in ["bash", "zsh", "fish"] {
        assert!(succeed(&["completions", shell]).contains("qcc"));
    }
    assert!(succeed(&["--help"]).contains("compile"));
    assert!(succeed(&["--version"]).starts_with("qcc "));
}

#[test]
fn global_flags() {
    let s = Scratch::new();
    let out = s.path("d.o");
    let done = qcc(&[
        "compile",
        &digits(),
        "-o",
        &out,
        "--time-passes",
        "--remarks=check-accumulators",
        "--print-ir-after",
        "fuse-clamp",
        "--verify-each",
        "-v",
    ]);
    assert_eq!(done.status, 0, "{}", done.stderr);
    for word in
        ["ms  fold-zero-points", "remark: check-accumulators", "// after fuse-clamp", "d.o: "]
    {
        assert!(done.stderr.contains(word), "no {word} in {}", done.stderr);
    }
    assert!(!done.stderr.contains("remark: plan-memory") && done.stdout.is_empty());
}

#[test]
fn colour_only_where_asked_for() {
    let plain = qcc(&["run", "missing.tflite"]);
    assert!(plain.stderr.starts_with("error: missing.tflite"), "{}", plain.stderr);
    let painted = qcc(&["run", "missing.tflite", "--color", "always"]);
    assert!(painted.stderr.starts_with("\x1b[1;31merror"), "{}", painted.stderr);
}

#[test]
fn lowered_models_run_and_stay_in_their_buffers() {
    let s = Scratch::new();
    let lowered = s.path("l.qir");
    let pipeline = "@tflite-int,lower-int-to-loop,prove-bounds";
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
