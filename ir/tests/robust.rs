//! Whatever the text, parsing, verifying and printing do not panic, and what parses prints and
//! parses again.

use qcc_ir::text::{parse, print};
use qcc_ir::verify::verify;
use std::path::Path;

/// Runs each seed file's text changed in this many ways.
const CHANGES_PER_FILE: u64 = 400;

fn seeds(dir: &Path, out: &mut Vec<String>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            seeds(&path, out);
        } else if path.extension().is_some_and(|e| e == "qir") {
            let text = std::fs::read_to_string(path).unwrap();
            out.extend(text.split("// -----").map(str::to_string));
        }
    }
}

/// Xorshift: the same changes in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

/// Replaces some short stretches of the text by stretches from elsewhere in it, or by numbers.
fn change(text: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..1 + random.below(3) {
        let at = random.below(chars.len());
        let end = (at + random.below(12)).min(chars.len());
        let from = random.below(chars.len());
        let to = (from + random.below(12)).min(chars.len());
        let numbers = ["0", "-1", "9223372036854775807", "18446744073709551615", "65", "é"];
        let new: Vec<char> = match random.below(3) {
            0 => numbers[random.below(numbers.len())].chars().collect(),
            1 => vec![],
            _ => chars[from..to].to_vec(),
        };
        chars.splice(at..end, new);
    }
    chars.into_iter().collect()
}

#[test]
fn changed_texts_do_not_panic() {
    let mut texts = Vec::new();
    seeds(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/ir"), &mut texts);
    assert!(!texts.is_empty());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut parsed = 0;
    for text in &texts {
        for _ in 0..CHANGES_PER_FILE {
            let text = change(text, &mut random);
            let Ok(m) = parse(&text, "changed") else { continue };
            parsed += 1;
            let _ = verify(&m);
            let printed = print(&m);
            match parse(&printed, "printed") {
                Ok(again) => assert_eq!(print(&again), printed, "{text}"),
                Err(mistakes) => panic!("{text}\n{printed}\n{mistakes:#?}"),
            }
        }
    }
    assert!(parsed > 100, "only {parsed} texts were well formed");
}

#[test]
fn deep_nesting_is_refused() {
    let open = "loop.for %i = 0 to 1 {\n".repeat(10_000);
    let loops = format!("module @m level(loop) numerics(real) {{ kernel @k() {{\n{open}");
    assert!(parse(&loops, "deep").is_err());
    let fused = "fused \"p\" [".repeat(10_000);
    let locs = format!("module @m level(loop) numerics(real) {{ kernel @k() {{ return loc({fused}");
    assert!(parse(&locs, "deep").is_err());
    assert!(parse(&"%".repeat(100_000), "odd").is_err());
    assert!(parse("\"\\", "odd").is_err());
}
