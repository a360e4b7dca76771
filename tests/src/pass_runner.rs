//! `//! run: passes PIPELINE`: runs passes and shows the module that comes out.
//!
//! Expected are the errors, the remarks, and the printed module unless there was an error. The
//! verifier runs after every pass. The target is an x86-64 machine with AVX2, or that of
//! `passes cpu=LEVEL PIPELINE`.

use crate::runners::parse_case;
use crate::text_test::{Case, Note};
use qcc_passes::{PassContext, PassManager, Pipeline, Registry, TargetInfo};
use qcc_runtime::CpuLevel;

/// Runs the pipeline that stands behind the runner's name.
///
/// # Errors
/// An unknown CPU level; whatever else goes wrong is a note.
pub fn run_passes(case: &Case) -> Result<Vec<Note>, String> {
    let mut m = match parse_case(case) {
        Ok(parsed) => parsed.module,
        Err(mistakes) => return Ok(mistakes),
    };
    let registry = Registry::default();
    let (cpu, args) = match case.args.strip_prefix("cpu=").and_then(|rest| rest.split_once(' ')) {
        Some((cpu, args)) => (cpu.parse().map_err(|e| format!("{e}"))?, args),
        None => (CpuLevel::X86V3, case.args),
    };
    let pipeline = match Pipeline::parse(args, &registry) {
        Ok(pipeline) => pipeline,
        Err(e) => return Ok(vec![Note::whole(format!("error {e}"))]),
    };
    let target = TargetInfo { arch: cpu.arch(), cpu, threads: 1 };
    let mut ctx = PassContext::new(target);
    let mut manager = PassManager { verify_each: true, ..Default::default() };
    let done = manager.run(&pipeline, &registry, &mut m, &mut ctx);
    let mut notes: Vec<Note> =
        ctx.remarks.iter().map(|r| Note::whole(format!("remark {r}"))).collect();
    match done {
        Err(errors) => notes.extend(errors.0.iter().map(|e| Note::whole(format!("error {e}")))),
        Ok(()) => notes.push(Note::whole(qcc_ir::text::print(&m))),
    }
    Ok(notes)
}
