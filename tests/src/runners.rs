//! What can be run on the modules of a text test: one function per `//! run:` word.

use crate::text_test::{Case, Note};
use qcc_ir::text::{self, Diagnostic, Parsed};
use qcc_ir::verify::{VerifyError, verify};

/// From a module's text to what there is to say about it; an error is a failure of the test itself.
pub type Runner = fn(&Case) -> Result<Vec<Note>, String>;

/// Every runner, by its word.
pub const RUNNERS: &[(&str, Runner)] = &[
    ("parse", run_parse),
    ("verify", run_verify),
    ("passes", crate::pass_runner::run_passes),
    ("interp", crate::interp_runner::run_interp),
];

/// The runner called `word`.
///
/// # Errors
/// There is none; names those there are.
pub fn find_runner(word: &str) -> Result<Runner, String> {
    let found = RUNNERS.iter().find(|(name, _)| *name == word);
    let known = || RUNNERS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    found.map(|(_, run)| *run).ok_or_else(|| format!("no runner '{word}'; there are: {}", known()))
}

/// The case's module, or its mistakes as notes.
pub fn parse_case(case: &Case) -> Result<Parsed, Vec<Note>> {
    text::parse_mapped(&case.text, case.file)
        .map_err(|mistakes| mistakes.iter().map(mistake).collect())
}

fn mistake(d: &Diagnostic) -> Note {
    let hint = d.hint.as_ref().map_or(String::new(), |hint| format!("\n  hint: {hint}"));
    Note::at(d.line, format!("error col {}: {}{hint}", d.col, d.message))
}

/// Parses; says the mistakes, or the printed form unless it is the text itself.
fn run_parse(case: &Case) -> Result<Vec<Note>, String> {
    let module = match parse_case(case) {
        Ok(parsed) => parsed.module,
        Err(mistakes) => return Ok(mistakes),
    };
    let printed = text::print(&module);
    match text::parse(&printed, "the printed text") {
        Ok(again) if text::print(&again) == printed => {}
        Ok(again) => return Err(format!("printing again differs:\n{}", text::print(&again))),
        Err(mistakes) => return Err(format!("{printed}\n{mistakes:#?}")),
    }
    let is_comment = |line: &&str| line.trim_start().starts_with("//");
    let source: Vec<&str> = case.text.lines().filter(|line| !is_comment(line)).collect();
    let same = source.join("\n").trim() == printed.trim();
    Ok(if same { vec![] } else { vec![Note::whole(printed)] })
}

/// Verifies; says the errors.
fn run_verify(case: &Case) -> Result<Vec<Note>, String> {
    let parsed = match parse_case(case) {
        Ok(parsed) => parsed,
        Err(mistakes) => return Ok(mistakes),
    };
    let errors = verify(&parsed.module).err().unwrap_or_default();
    let note = |e: &VerifyError| {
        let line = match (e.func, e.op) {
            (Some(func), Some(op)) => parsed.map.op_line(func, op),
            (Some(func), None) => parsed.map.func_line(func),
            _ => None,
        };
        Note { line, text: format!("error {e}") }
    };
    Ok(errors.iter().map(note).collect())
}
