//! How many instructions one run of a model takes, at the CPU levels that valgrind knows: the same
//! number on every machine, where times are noise. `tests/instruction-counts.txt` holds the last
//! numbers that somebody looked at; a run that takes 2 % more fails. `QCC_BLESS=1` rewrites it.
//!
//! Skips, and says so, where valgrind or gcc is missing.

use qcc::{Compiler, Source};
use qcc_codegen::{Target, header};
use qcc_runtime::CpuLevel;
use qcc_tests::golden::{Example, interface, object_for, own_examples};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Levels whose instructions valgrind can run.
const LEVELS: [CpuLevel; 3] = [CpuLevel::X86Baseline, CpuLevel::X86V2, CpuLevel::X86V3];

/// Models that between them have every kernel of weight.
const MODELS: [&str; 9] = [
    "digits",
    "residual_net_i8",
    "conv_i8_pointwise",
    "conv_u8_asymmetric",
    "depthwise_i8_multiplier2",
    "fully_connected_i8_per_axis",
    "average_pool_i8",
    "resize_bilinear_i8",
    "softmax_i8",
];

/// What a run may take more than recorded.
const TOLERANCE: f64 = 1.02;

/// Runs the model as often as told, on zeros.
const MAIN_C: &str = r#"
#include "m.h"
#include <stdlib.h>
int main(int argc, char **argv) {
  const qcc_model_info *info = m_info();
  void *arena = aligned_alloc(64, (info->arena_bytes + 63) / 64 * 64);
  const void *in[64];
  void *out[64];
  if (argc != 2 || !arena || info->n_inputs > 64 || info->n_outputs > 64) return 2;
  for (unsigned i = 0; i < info->n_inputs; ++i) in[i] = calloc(info->inputs[i].bytes, 1);
  for (unsigned j = 0; j < info->n_outputs; ++j) out[j] = malloc(info->outputs[j].bytes);
  for (int n = atoi(argv[1]); n > 0; --n)
    if (m_run(arena, in, out)) return 3;
  return 0;
}
"#;

fn tools_exist() -> bool {
    let exists = |tool: &&str| Command::new(tool).arg("--version").output().is_ok();
    let ok = cfg!(all(target_os = "linux", target_arch = "x86_64"))
        && ["gcc", "valgrind"].iter().all(exists);
    if !ok {
        println!("skipped: needs x86-64 Linux with gcc and valgrind");
    }
    ok
}

fn run(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{command:?}: {}\n{said}", out.status);
    said
}

/// A program that runs `example` compiled for `cpu`.
fn program(example: &Example, cpu: CpuLevel, folder: &Path) -> PathBuf {
    let source: Source = Compiler::new().read(&example.model).expect("a model of this repository");
    let triple = "x86_64-unknown-linux-gnu".parse().expect("a triple");
    let object = object_for(&source, &Target { triple, cpu }).expect("compiles");
    let text = header::header(&interface(&source), object.arena_bytes);
    for (name, bytes) in
        [("m.o", object.bytes.as_slice()), ("m.h", text.as_bytes()), ("main.c", MAIN_C.as_bytes())]
    {
        std::fs::write(folder.join(name), bytes).expect("a writable folder");
    }
    run(Command::new("gcc").args(["-static", "main.c", "m.o", "-o", "m"]).current_dir(folder));
    folder.join("m")
}

/// Instructions of the whole program when it runs the model `runs` times.
fn count(program: &Path, runs: u64) -> u64 {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let said = run(command.arg(program).arg(runs.to_string()));
    let line = said.lines().find_map(|l| l.split_once("Collected : "));
    let number = line.and_then(|(_, n)| n.trim().parse().ok());
    number.unwrap_or_else(|| panic!("callgrind did not say how much it collected:\n{said}"))
}

fn measure() -> BTreeMap<String, u64> {
    let examples = own_examples();
    let mut counts = BTreeMap::new();
    for name in MODELS {
        let example = examples.iter().find(|e| e.name == name);
        let example = example.unwrap_or_else(|| panic!("no model '{name}' in this repository"));
        for cpu in LEVELS {
            let folder = tempfile::tempdir().expect("a folder");
            let program = program(example, cpu, folder.path());
            let per_run = (count(&program, 5) - count(&program, 1)) / 4;
            counts.insert(format!("{name} {cpu}"), per_run);
        }
    }
    counts
}

#[test]
fn no_run_takes_more_instructions_than_recorded() {
    if !tools_exist() {
        return;
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instruction-counts.txt");
    let counts = measure();
    if std::env::var_os("QCC_BLESS").is_some() {
        let lines: Vec<String> = counts.iter().map(|(what, n)| format!("{what} {n}\n")).collect();
        std::fs::write(&file, lines.concat()).expect("a writable repository");
        return;
    }
    let recorded = std::fs::read_to_string(&file).expect("the recorded counts");
    let recorded: BTreeMap<&str, u64> = recorded
        .lines()
        .map(|l| l.rsplit_once(' ').expect("model, level, count"))
        .map(|(what, n)| (what, n.parse().expect("a number")))
        .collect();
    let mut worse = Vec::new();
    for (what, &n) in &counts {
        match recorded.get(what.as_str()) {
            Some(&old) if n as f64 <= old as f64 * TOLERANCE => {}
            Some(old) => worse.push(format!("{what}: {n} instructions, recorded {old}")),
            None => worse.push(format!("{what}: {n} instructions, not recorded")),
        }
    }
    let advice = "if this is right: QCC_BLESS=1 cargo test -p qcc-tests --test instruction_counts";
    assert!(worse.is_empty(), "{}\n{advice}", worse.join("\n"));
}
