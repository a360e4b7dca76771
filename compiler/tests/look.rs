//! Commands that look into models and passes: `inspect`, `opt`, lists, and what every command
//! prints when asked.

mod common;
use common::*;

#[test]
fn inspect_names_the_layers() {
    let table = succeed(&["inspect", &digits()]);
    for word in ["block1/pointwise", "quant.conv2d", "per-axis", "73728", "12 layers, 129856 MACs"]
    {
        assert!(table.contains(word), "no {word} in {table}");
    }
    let json = succeed(&["inspect", &digits(), "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let layers = json["layers"].as_array().unwrap();
    assert_eq!((layers.len(), &json["macs"]), (12, &129856.into()));
    assert_eq!(json["inputs"][0]["name"], "image");
    let weights = &layers[0]["inputs"][1];
    assert_eq!(weights["shape"], serde_json::json!([16, 3, 3, 1]));
    assert_eq!((&weights["constant"], &weights["axis"]), (&true.into(), &0.into()));
    assert_eq!(weights["scales"].as_array().map(Vec::len), Some(16));
    let macs: u64 = layers.iter().map(|l| l["macs"].as_u64().unwrap()).sum();
    assert_eq!(macs, 129856);
}

#[test]
fn the_report_shows_every_stage_and_needs_nothing_else() {
    let s = Scratch::new();
    for name in ["r.html", "again.html"] {
        s.succeed(&["inspect", &digits(), "--cpu", "baseline", "--html", name]);
    }
    assert_eq!(s.read("r.html"), s.read("again.html"));
    let page = String::from_utf8(s.read("r.html")).unwrap();
    // One file: nothing is loaded from anywhere.
    for word in ["http", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(word), "{word}");
    }
    let stages: Vec<&str> = page.split("<div class=\"stage\">").skip(1).collect();
    let titles = ["As imported", "Integers", "Integers, placed in memory", "Kernels"];
    assert_eq!(stages.len(), titles.len());
    let ops = ["quant.depthwise_conv2d", "int.depthwise_conv2d", "int.pad", "depthwise3x3"];
    for ((stage, title), op) in stages.iter().zip(titles).zip(ops) {
        assert!(stage.contains(&format!("<h3>{title}</h3>")), "{title}");
        assert!(stage.contains(op) && stage.contains("block1/depthwise/relu"), "{title}: {op}");
        let stage = stage.split("</svg>").next().unwrap();
        assert_eq!(stage.matches("<rect").count(), stage.matches("<title>").count());
        // Every box but the input is fed by another; the residual's arrow passes boxes.
        assert!(stage.matches("class=\"h").count() + 1 >= stage.matches("<rect").count());
        assert!(stage.contains("class=\"e s0\""), "{title}");
    }
    assert!(page.contains("id=\"layers\"") && page.contains("id=\"remarks\""));
    assert!(page.contains("129\u{202f}856"));
    s.succeed(&["compile", &digits(), "-o", "same.html"]);
    assert_eq!(s.read("same.html"), s.read("r.html"));
}

#[test]
fn models_that_do_not_compile_have_a_report_too() {
    let s = Scratch::new();
    let text = "module @m level(int) numerics(tflite) {\n  func @main(%x: tensor<1x4xi32>) -> \
                tensor<1x2xi32> {\n    %y = int.slice(%x) {start = [0, 1]} : tensor<1x2xi32>\n    \
                return %y\n  }\n}\n";
    s.file("m.qir", text);
    s.succeed(&["inspect", "m.qir", "--html", "r.html", "--passes", "lower-int-to-loop"]);
    let page = String::from_utf8(s.read("r.html")).unwrap();
    assert!(page.contains("class=\"problem\"") && page.contains("plan-memory"), "{page}");
    assert!(page.contains("int.slice") && page.contains("As imported"));
}

#[test]
fn passes_run_and_are_compared_one_by_one() {
    let (s, model) = (Scratch::new(), digits());
    let pipeline = "@tflite-int,@kernels";
    let args = ["opt", &model, "--passes", pipeline, "--diff-each", "--verify-each", "-o", "l.qir"];
    s.succeed(&args);
    // The passes that make and prove kernels were compared too.
    let out = s.output(&[&args[..], &["--remarks"]].concat());
    assert!(!errors(&out).contains("not compared"), "{}", errors(&out));
    s.succeed(&["opt", "l.qir", "-o", "again.qir"]);
    assert_eq!(s.read("l.qir"), s.read("again.qir"));
    let out =
        s.output(&["opt", &model, "--passes", "dce", "--print-ir-after", "all", "-o", "x.qir"]);
    assert!(errors(&out).contains("after dce"));
    let out = s.output(&["opt", &model, "--passes", "dce", "--time-passes", "-o", "x.qir"]);
    assert!(errors(&out).contains("dce"));
    assert!(s.fail(1, &["opt", "l.qir", "--passes", "@tflite-int"]).contains("level"));
    assert!(s.fail(1, &["opt", &model, "--passes", "nosuch"]).contains("nosuch"));
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
fn env_lists_every_variable_that_is_read() {
    let listed = succeed(&["env"]);
    let mut sources = Vec::new();
    for folder in ["runtime", "ir", "passes", "compiler", "tests", "benches"] {
        rust_files(repository(folder).as_ref(), &mut sources);
    }
    assert!(sources.len() > 100, "{} files", sources.len());
    for file in sources {
        let text = std::fs::read_to_string(&file).unwrap();
        for quoted in text.split("\"QCC_").skip(1) {
            let name = quoted.split(|c: char| !c.is_ascii_uppercase() && c != '_').next().unwrap();
            assert!(
                name.is_empty() || listed.contains(&format!("QCC_{name} ")),
                "{} reads QCC_{name}, which `qcc env` does not list",
                file.display()
            );
        }
    }
}

fn rust_files(folder: &std::path::Path, out: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.extension() {
            _ if path.is_dir() => rust_files(&path, out),
            Some(e) if e == "rs" => out.push(path),
            _ => {}
        }
    }
}
