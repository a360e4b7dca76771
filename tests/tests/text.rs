//! Runs every text test under `tests/ir` (see `qcc_tests::text_test`), and checks that every
//! constraint of the verifier has one.

use libtest_mimic::{Arguments, Failed, Trial};
use qcc_tests::text_test::{find_files, run_file};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Constraints that no text can break: the parser, or the types of the API, are in the way. Their
/// tests are in `ir/tests/verify.rs`.
const TESTED_IN_RUST: &[&str] = &["module_c2", "const_c1", "op_c4", "op_c8", "op_c9", "type_c8"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn trial(path: PathBuf, bless: bool) -> Trial {
    let name = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().replace('\\', "/");
    let test_name = name.clone();
    Trial::test(test_name, move || run_file(&path, &name, bless).map_err(Failed::from))
}

fn every_constraint_has_a_test() -> Result<(), Failed> {
    let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let texts: String = find_files(&root().join("ir/verify")).iter().map(read).collect();
    let rust = read(&root().join("../ir/tests/verify.rs"));
    let is_tested = |id: &str| match TESTED_IN_RUST.contains(&id) {
        true => rust.contains(&format!("\"{id}\"")),
        false => texts.contains(&format!("//> error {id}: ")),
    };
    let all = qcc_ir::verify::constraints().map(|(id, _)| *id);
    let untested: Vec<&str> = all.filter(|id| !is_tested(id)).collect();
    if untested.is_empty() { Ok(()) } else { Err(format!("untested: {untested:?}").into()) }
}

fn main() -> ExitCode {
    let bless = std::env::var("QCC_BLESS").is_ok_and(|v| v == "1");
    let mut trials: Vec<Trial> =
        find_files(&root().join("ir")).into_iter().map(|path| trial(path, bless)).collect();
    trials.push(Trial::test("every_constraint_has_a_test", every_constraint_has_a_test));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
