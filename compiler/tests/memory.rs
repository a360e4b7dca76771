//! Dropping models gives their memory back. Alone in this program: it watches the whole process.

#![cfg(target_os = "linux")]

use qcc::{Compiler, Source};
use std::path::Path;

const N_MODELS: usize = 200;

/// Resident memory of this process.
fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn dropping_a_model_frees_its_code() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits/digits.tflite");
    let compiler = Compiler::new();
    let source = Source::read(&file, compiler.import_options()).unwrap();
    let once = || {
        let model = compiler.compile(&source).unwrap();
        model.session().run().unwrap();
        model.info().code_bytes + model.info().weights_bytes
    };
    (0..20).for_each(|_| {
        once();
    });
    let before = resident_bytes();
    let made: usize = (0..N_MODELS).map(|_| once()).sum();
    let grown = resident_bytes().saturating_sub(before);
    println!("{N_MODELS} models of {made} bytes in all left {grown} bytes");
    assert!(grown < made / 4, "{grown} bytes left of {made}");
}
