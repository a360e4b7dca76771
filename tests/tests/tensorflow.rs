//! TensorFlow graphs and SavedModels: imported, verified and interpreted against goldens; malformed
//! ones are errors, never panics.

use qcc::{Compiler, Source, Tensor};
use qcc_import::{ImportOptions, tensorflow};
use qcc_tests::golden::{root, shared_file};
use std::path::{Path, PathBuf};

fn own(name: &str) -> PathBuf {
    root().join("import/tensorflow").join(name)
}

/// The largest difference of the interpreter's outputs from `case{k}_out{j}`.
fn difference(source: &Source, golden: &Path) -> f64 {
    let arrays = qcc::npz::read_npz(golden).expect("the golden is an .npz file");
    let array = |key: String, shape: &[usize]| -> Tensor {
        let t = arrays.get(&key).unwrap_or_else(|| panic!("{}: no '{key}'", golden.display()));
        t.clone().reshaped(shape).expect("the golden has the model's shapes")
    };
    let mut worst: f64 = 0.0;
    for k in (0..).take_while(|k| arrays.contains_key(&format!("case{k}_out0"))) {
        let inputs = source.inputs.iter().enumerate();
        let inputs: Vec<Tensor> =
            inputs.map(|(i, d)| array(format!("case{k}_in{i}"), &d.shape)).collect();
        let outputs = qcc_ir::interp::run_main(&source.module, &inputs).expect("the model runs");
        for (j, got) in outputs.iter().enumerate() {
            let want = array(format!("case{k}_out{j}"), got.shape()).to_f64_vec();
            for (g, w) in got.to_f64_vec().into_iter().zip(want) {
                assert!(g.is_finite() == w.is_finite(), "case {k} output {j}: {g} for {w}");
                worst = worst.max((g - w).abs());
            }
        }
    }
    worst
}

#[test]
fn graphs_of_the_corpus_compute_what_tensorflow_simulates() {
    let Some(folder) = shared_file("models/MANIFEST.json") else {
        println!("skipped: there is no ../shared/models beside the repository");
        return;
    };
    let folder = folder.parent().expect("a file is in a folder");
    let graphs = [
        ("digits_b_fq_a8w8_pc.pb", "prob,f8/act_quant"),
        ("digits_b_fq_a8w8_ptn.pb", "prob,f8/act_quant"),
        ("digits_b_qat.pb", ""),
        ("mnist_a_fq_a16w8_pc.pb", "prob,f8/act_quant"),
        ("mnist_a_fq_a8w4_pc.pb", "prob,f8/act_quant"),
        ("mnist_a_fq_a8w8_pc.pb", "prob,f8/act_quant"),
        ("mnist_a_fq_a8w8_pt.pb", "prob,f8/act_quant"),
        ("mnist_a_fq_nudge.pb", "prob,f8/act_quant"),
        ("mnist_a_qat.pb", ""),
        ("digits_b_qat_savedmodel", ""),
        ("mnist_a_qat_savedmodel", ""),
    ];
    for (name, outputs) in graphs {
        let names = outputs.split(',').filter(|o| !o.is_empty());
        let compiler = names.fold(Compiler::new(), |c, o| c.output(o));
        let source = compiler.read(folder.join(name)).expect(name);
        let stem = name.trim_end_matches(".pb").trim_end_matches("_savedmodel");
        let worst = difference(&source, &folder.join(format!("{stem}.golden.npz")));
        // Another order of additions moves a code of 16 bits to its neighbour now and then.
        let tolerance = if name.contains("a16") { 1.5e-3 } else { 1e-5 };
        assert!(worst < tolerance, "{name}: differs by {worst}");
    }
}

#[test]
fn float_tflite_files_of_the_corpus_compute_what_the_reference_does() {
    let Some(folder) = shared_file("models/MANIFEST.json") else {
        println!("skipped: there is no ../shared/models beside the repository");
        return;
    };
    let folder = folder.parent().expect("a file is in a folder");
    for stem in
        ["digits_b_float", "mnist_a_float", "mnist_a_qat_fakequant", "digits_b_fakequant_op8"]
    {
        let source = Compiler::new().read(folder.join(format!("{stem}.tflite"))).expect(stem);
        assert_eq!(source.module.level, qcc_ir::Level::Nn);
        let worst = difference(&source, &folder.join(format!("{stem}.golden.npz")));
        assert!(worst < 1e-5, "{stem}: differs by {worst}");
    }
    // Weights are codes, which the reference meets with activations quantized on the way.
    let hybrid = Compiler::new().read(folder.join("kws_ref_model_float32.tflite"));
    assert_eq!(hybrid.expect("it imports").module.level, qcc_ir::Level::Nn);
}

/// Models in tests/import/tensorflow with a golden, made by the scripts there.
fn own_models() -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(own("")).expect("tests/import/tensorflow exists");
    let paths = entries.map(|e| e.expect("it can be listed").path());
    let mut out: Vec<(String, PathBuf)> = paths
        .filter_map(|p| {
            let name = p.file_name()?.to_str()?.strip_suffix(".golden.npz")?.to_string();
            let graph = own(&format!("{name}.pb"));
            let model = if graph.exists() { graph } else { own(&name) };
            Some((name, model))
        })
        .collect();
    out.sort();
    out
}

#[test]
fn own_models_compute_what_their_script_computed() {
    let models = own_models();
    assert!(models.len() >= 5, "run make_models.py");
    for (name, model) in models {
        let source = Compiler::new().read(&model).unwrap_or_else(|e| panic!("{name}: {e}"));
        let worst = difference(&source, &own(&format!("{name}.golden.npz")));
        assert!(worst < 1e-5, "{name}: differs by {worst}");
    }
}

/// TensorFlow's own answers: to the bit.
#[test]
fn quantize_and_dequantize_equals_tensorflow() {
    let source = Compiler::new().read(own("quantize_and_dequantize.pb")).expect("it imports");
    assert!(source.outputs.len() > 50);
    assert_eq!(difference(&source, &own("quantize_and_dequantize.golden.npz")), 0.0);
}

fn error(model: &str, options: &ImportOptions) -> String {
    let bytes = std::fs::read(own(model)).expect(model);
    let e = tensorflow::import_graph(&bytes, "m", options).expect_err(model);
    e.to_string()
}

#[test]
fn malformed_graphs_are_errors_that_name_the_node() {
    let plain = ImportOptions::default();
    for (model, words) in [
        ("bad/cycle.pb", &["'b'", "depends on itself"][..]),
        ("bad/missing.pb", &["'a'", "there is no tensor 'nowhere'"]),
        ("bad/recursion.pb", &["too many or too deep"]),
        ("bad/bomb.pb", &["too many or too deep"]),
        ("bad/unsupported.pb", &["'one'", "Foo", "'two'", "Bar", "Conv2D, "]),
        ("bad/open_shape.pb", &["'x:0'", "dimension 1 is not known", "--shape x:0="]),
        ("bad/huge.pb", &["too large"]),
        ("bad/variable.pb", &["variable 'v' has no value", "SavedModel"]),
        ("bad/training.pb", &["training mode"]),
    ] {
        let message = error(model, &plain);
        for word in words {
            assert!(message.contains(word), "{model}: no '{word}' in: {message}");
        }
    }
    let shapes = vec![("x".to_string(), vec![1, 4])];
    let bytes = std::fs::read(own("bad/open_shape.pb")).expect("it is there");
    let given = ImportOptions { shapes, ..ImportOptions::default() };
    tensorflow::import_graph(&bytes, "m", &given).expect("the shape is given");
    let outputs = vec!["nothing".to_string()];
    let message = error("bad/open_shape.pb", &ImportOptions { outputs, ..given });
    assert!(message.contains("'nothing:0'"), "{message}");
}

#[test]
fn signatures_and_checkpoints_are_checked() {
    let with = |signature: &str| ImportOptions {
        signature: Some(signature.to_string()),
        ..ImportOptions::default()
    };
    let message = tensorflow::import_saved_model(&own("functions"), "m", &with("nosuch"));
    let message = message.expect_err("there is no such signature").to_string();
    assert!(message.contains("'nosuch'") && message.contains("serving_default"), "{message}");

    let copy = tempfile::tempdir().expect("a folder can be made");
    let (from, to) = (own("functions"), copy.path());
    std::fs::create_dir(to.join("variables")).expect("a folder can be made");
    let data = "variables/variables.data-00000-of-00001";
    for file in ["saved_model.pb", "variables/variables.index", data] {
        std::fs::copy(from.join(file), to.join(file)).expect(file);
    }
    let mut bytes = std::fs::read(to.join(data)).expect(data);
    bytes[5] ^= 1;
    std::fs::write(to.join(data), &bytes).expect(data);
    let import = || tensorflow::import_saved_model(to, "m", &ImportOptions::default());
    let message = import().expect_err("a bit is flipped").to_string();
    assert!(message.contains("checksum"), "{message}");
    std::fs::write(to.join(data), &bytes[..4]).expect(data);
    let message = import().expect_err("it is cut").to_string();
    assert!(message.contains("the file has 4"), "{message}");
}

/// A small generator of numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        match self.below(4) {
            0 => out.truncate(self.below(out.len())),
            1 => {
                let at = self.below(out.len());
                let n = self.below(16).min(out.len() - at);
                let copy: Vec<u8> = out[at..at + n].to_vec();
                let to = self.below(out.len());
                out.splice(to..to, copy);
            }
            _ => {
                for _ in 0..=self.below(4) {
                    let at = self.below(out.len());
                    out[at] = if self.below(2) == 0 { 255 } else { self.below(256) as u8 };
                }
            }
        }
        out
    }
}

#[test]
fn mutated_files_never_panic() {
    let mut random = Random(0x5eed_1234_5678_9abc);
    for (name, model) in own_models() {
        let Ok(bytes) = std::fs::read(&model) else { continue };
        for _ in 0..300 {
            let bytes = random.mutate(&bytes);
            // What still imports must also verify, or be refused by the verifier.
            if let Ok(m) = tensorflow::import_graph(&bytes, "m", &ImportOptions::default()) {
                let _ = qcc_ir::verify::verify(&m);
            }
        }
        println!("{name}: mutated");
    }
    for folder in ["functions", "snappy"] {
        let index = std::fs::read(own(folder).join("variables/variables.index")).expect(folder);
        assert!(tensorflow::testing::read_index(&index).expect(folder) > 0);
        for _ in 0..2000 {
            let _ = tensorflow::testing::read_index(&random.mutate(&index));
        }
    }
}
