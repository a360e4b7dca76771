//! `qcc bench`: its JSON and its profile.

mod common;
use common::*;

#[test]
fn bench_json_has_the_keys_of_the_contract() {
    let (s, model) = (Scratch::new(), digits());
    let text = s.succeed(&["bench", &model, "--seconds", "0.01", "--json"]);
    let json: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    let mut keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = "arena_bytes code_bytes compile_ms cpu engine gmacs_per_s macs median_ms min_ms \
                    model p90_ms runs threads weights_bytes";
    assert_eq!(keys, expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!(text.lines().count(), 1);
    assert!(s.succeed(&["bench", &model, "--seconds", "0.01", "--profile"]).contains("conv1/relu"));
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
    let layers = line["layers"].as_array().expect("a list of layers");
    let nodes: Vec<&str> = layers.iter().filter_map(|l| l["node"].as_str()).collect();
    for node in ["conv1/relu", "block1/pointwise", "block1/add/relu", "logits", "probabilities"] {
        assert!(nodes.iter().any(|n| n.contains(node)), "{node}: {line}");
    }
    let inputs = repository("examples/digits/digits.golden.npz");
    let args = ["bench", &digits(), "--inputs", &inputs, "--seconds", "0.01", "--threads", "2"];
    let out = succeed(&args);
    let last = out.lines().last().unwrap_or_default();
    assert!(serde_json::from_str::<serde_json::Value>(last).is_ok(), "{out}");
}

#[test]
fn the_roofline_is_measured_once() {
    let s = Scratch::new();
    let profile = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_qcc"));
        command.args(["bench", &digits(), "--seconds", "0.01", "--profile", "--json"]).args(more);
        let out = command.env("XDG_CACHE_HOME", s.path("cache")).output().unwrap();
        assert!(out.status.success(), "{}", errors(&out));
        let line: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let share = |l: &serde_json::Value| l["share"].as_f64().unwrap();
        let shares: f64 = line["layers"].as_array().unwrap().iter().map(share).sum();
        assert!((shares - 1.0).abs() < 1e-6, "{shares}");
    };
    profile(&[]);
    let first = s.read("cache/qcc/roofline.json");
    // A cache that says otherwise is believed, and left alone.
    let text = String::from_utf8(first).unwrap().replace("bytes_per_s\":", "bytes_per_s\":1");
    s.file("cache/qcc/roofline.json", &text);
    profile(&[]);
    assert_eq!(s.read("cache/qcc/roofline.json"), text.as_bytes());
    profile(&["--roofline"]);
    assert_ne!(s.read("cache/qcc/roofline.json"), text.as_bytes());
    s.file("cache/qcc/roofline.json", "no JSON");
    profile(&[]);
    assert!(s.read("cache/qcc/roofline.json").starts_with(b"{"));
}
