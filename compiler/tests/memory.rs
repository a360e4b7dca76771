//! How much memory commands take at their peak: less than ten times the model file.

mod common;

use qcc_runtime::cpu::levels_of_host;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A model large enough that the program itself does not count; beside the repository.
fn large_model() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models");
    Some(folder.join("tf2_mobilenet_v2_1.0_224_ptq.tflite")).filter(|p| p.exists())
}

/// Peak resident bytes of a command, as its parent learns them.
fn peak(args: &[&str]) -> Option<u64> {
    let mut command = Command::new("/usr/bin/time");
    let ran =
        command.args(["-f", "peak %M", env!("CARGO_BIN_EXE_qcc")]).args(args).output().ok()?;
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{args:?}: {said}");
    let line = said.lines().rev().find_map(|l| l.strip_prefix("peak "))?;
    Some(line.parse::<u64>().expect("a number") * 1024)
}

#[test]
fn every_command_takes_less_than_ten_times_the_file() {
    let Some(model) = large_model() else {
        println!("skipped: no model beside the repository");
        return;
    };
    let file = std::fs::metadata(&model).expect("it exists").len();
    let model = model.to_str().expect("a path");
    let scratch = common::Scratch::new();
    let object = scratch.path("m.o");
    for level in levels_of_host() {
        let cpu = level.name();
        let commands: [&[&str]; 4] = [
            &["compile", model, "--cpu", cpu, "-o", &object],
            &["bench", model, "--cpu", cpu, "--seconds", "0.01"],
            &["check", model, "--cpu", cpu],
            &["inspect", model],
        ];
        for args in commands {
            let Some(peak) = peak(args) else {
                println!("skipped: needs /usr/bin/time of GNU");
                return;
            };
            let times = peak as f64 / file as f64;
            assert!(times < 10.0, "{args:?}: {times:.2} times the file");
        }
    }
}
