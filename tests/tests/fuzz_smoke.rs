//! Damaged model files: whatever is in them, reading and compiling ends soon, with code or with an
//! error, never with a panic.
//!
//! `QCC_FUZZ_CASES=100000` tries more of them, `QCC_FUZZ_SEED=1234` begins elsewhere. A failure
//! names the model and the seed of its damage.

use qcc::{Compiler, Source};
use qcc_tests::golden::{Example, for_all, own_examples};
use qcc_tests::random::Random;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Longer than this for one small file is a hang.
const PATIENCE: Duration = Duration::from_secs(2);

/// Elements of inputs and outputs up to which a model that still compiles is also run.
const MOST_ELEMENTS: usize = 1 << 20;

/// Seeds that are known to take longer: 849 makes `resize_bilinear_i8` claim a large output, which
/// takes about 3 seconds in the dev profile.
const SLOW: &[u64] = &[849];

const MODELS: &[&str] = &[
    "add_i8_broadcast",
    "concat_u8_rescale",
    "conv_i8_grouped",
    "conv_i8_dilated_valid_batch2",
    "conv_u8_asymmetric",
    "depthwise_i8_multiplier2",
    "fully_connected_i8_per_axis",
    "max_pool_u8",
    "mean_i8",
    "resize_bilinear_i8",
    "softmax_i8",
    "split_concat_i8",
];

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
fn compile(bytes: &[u8]) {
    let compiler = Compiler::new();
    let options = compiler.import_options();
    let Ok(source) = Source::from_bytes(bytes, "damaged.tflite", "damaged", options) else {
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

fn check(example: &Example, bytes: &[u8], seed: u64) -> Result<(), String> {
    let mut bytes = bytes.to_vec();
    damage(&mut bytes, &mut Random(seed));
    let start = Instant::now();
    let done = catch_unwind(AssertUnwindSafe(|| compile(&bytes)));
    let took = start.elapsed();
    let what = format!("{}, QCC_FUZZ_SEED={seed}", example.name);
    if let Err(panic) = done {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?");
        return Err(format!("{what}: panic: {text}"));
    }
    if took > PATIENCE && !SLOW.contains(&seed) {
        Err(format!("{what}: took {took:?}"))
    } else {
        Ok(())
    }
}

#[test]
fn damaged_models_do_no_harm() {
    let examples = own_examples();
    let examples: Vec<(&Example, Vec<u8>)> = examples
        .iter()
        .filter(|e| MODELS.contains(&e.name.as_str()))
        .map(|e| (e, std::fs::read(&e.model).expect("it can be read")))
        .collect();
    assert_eq!(examples.len(), MODELS.len());
    let first = env("QCC_FUZZ_SEED", 1);
    let seeds: Vec<u64> = (first..first + env("QCC_FUZZ_CASES", 3000)).collect();
    for_all(&seeds, |&seed| {
        let (example, bytes) = &examples[(seed % examples.len() as u64) as usize];
        check(example, bytes, seed)
    });
}
