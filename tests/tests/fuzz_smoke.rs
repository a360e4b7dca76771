//! Damaged model files: whatever is in them, reading and compiling ends soon, with code or with an
//! error, never with a panic.
//!
//! `QCC_FUZZ_CASES=100000` tries more of them, `QCC_FUZZ_SEED=1234` begins elsewhere. A failure
//! names the model and the seed of its damage.

use qcc::{Compiler, Source};
use qcc_tests::golden::{for_all, own_examples, root};
use qcc_tests::random::Random;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Longer than this for one small file is a hang, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(20);

/// Elements of inputs and outputs up to which a model that still compiles is also run.
const MOST_ELEMENTS: usize = 1 << 20;

/// Kinds of files.
const SUFFIXES: &[&str] = &["tflite", "onnx", "pb"];

/// A good model that will be damaged.
struct Victim {
    name: String,
    suffix: &'static str,
    bytes: Vec<u8>,
}

/// All models of this repository's tests that are one file.
fn victims() -> Vec<Victim> {
    let examples = own_examples().into_iter().map(|e| e.model);
    let folders = ["import/onnx", "import/tensorflow"].map(|f| root().join(f));
    let files = folders.iter().flat_map(|f| std::fs::read_dir(f).expect("it is there"));
    let mut paths: Vec<PathBuf> = files.map(|f| f.expect("it can be listed").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let suffix = path.extension()?.to_str()?;
        let suffix = *SUFFIXES.iter().find(|s| **s == suffix)?;
        let name = path.iter().rev().take(2).map(|p| p.to_string_lossy()).collect::<Vec<_>>();
        let bytes = std::fs::read(&path).expect("it can be read");
        Some(Victim { name: name.join(" of "), suffix, bytes })
    };
    examples.chain(paths).filter_map(read).collect()
}

fn env(name: &str, otherwise: u64) -> u64 {
    let Ok(value) = std::env::var(name) else { return otherwise };
    value.parse().unwrap_or_else(|_| panic!("{name} must be a number"))
}

/// One to four kinds of damage.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..random.range(1, 4) {
        let n = bytes.len() as i64;
        if n < 32 {
            return;
        }
        let at = random.range(0, n - 1) as usize;
        match random.range(0, 15) {
            0 => bytes.truncate(at),
            1..=5 => bytes[at] ^= 1 << random.range(0, 7),
            6..=9 => bytes[at] = random.pick(&[0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF]),
            10..=12 => {
                // A word, as most fields are.
                let at = at.min(n as usize - 4) & !3;
                let word =
                    random.pick(&[0u32, 1, 2, 4, 0x7FFF_FFFF, 0x8000_0000, u32::MAX, 1 << 20]);
                bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
            13 | 14 => {
                let length = random.range(1, 16) as usize;
                let other = random.range(0, n - 1) as usize;
                let fits = n as usize - at.max(other);
                for i in 0..length.min(fits) {
                    bytes.swap(at + i, other + i);
                }
            }
            _ => {
                let end = (at + random.range(1, 32) as usize).min(n as usize);
                bytes.drain(at..end);
            }
        }
    }
}

/// Reads and compiles; an error is as good as code.
fn compile(bytes: &[u8], suffix: &str) {
    let compiler = Compiler::new();
    let options = compiler.import_options();
    let name = format!("damaged.{suffix}");
    let Ok(source) = Source::from_bytes(bytes, &name, "damaged", options) else {
        return;
    };
    let Ok(model) = compiler.compile(&source) else { return };
    let elements = |d: &qcc::TensorDesc| d.shape.iter().fold(1usize, |n, &e| n.saturating_mul(e));
    let all = source.inputs.iter().chain(&source.outputs).map(elements);
    let small = all.fold(0, usize::saturating_add) <= MOST_ELEMENTS;
    let info = model.info();
    if small && info.arena_bytes <= 16 * MOST_ELEMENTS && info.macs <= 1 << 24 {
        model.session().run().expect("a model that compiles runs");
    }
}

fn check(victim: &Victim, seed: u64) -> Result<(), String> {
    let mut bytes = victim.bytes.clone();
    damage(&mut bytes, &mut Random(seed));
    let start = Instant::now();
    let done = catch_unwind(AssertUnwindSafe(|| compile(&bytes, victim.suffix)));
    let took = start.elapsed();
    let what = format!("{}, QCC_FUZZ_SEED={seed}", victim.name);
    if let Err(panic) = done {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?");
        return Err(format!("{what}: panic: {text}"));
    }
    if took > PATIENCE { Err(format!("{what}: took {took:?}")) } else { Ok(()) }
}

#[test]
fn damaged_models_do_no_harm() {
    let victims = victims();
    for suffix in SUFFIXES {
        assert!(victims.iter().any(|v| v.suffix == *suffix), "no model of kind {suffix}");
    }
    let first = env("QCC_FUZZ_SEED", 1);
    let seeds: Vec<u64> = (first..first + env("QCC_FUZZ_CASES", 3000)).collect();
    for_all(&seeds, |&seed| check(&victims[(seed % victims.len() as u64) as usize], seed));
}
