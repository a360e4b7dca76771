//! `lower-quant-to-int`: quantized tensors become plain integers, and every op says which integer
//! arithmetic it does.
//!
//! Placeholder text long enough for the registry test while the recipes are written elsewhere.

use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::{Level, Module};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "lower-quant-to-int",
    summary: "replace quantized ops by the integer ops that define them",
    doc: include_str!("lower_quant_to_int.rs"),
    needs: LevelSet::only(Level::Quant),
    yields: Some(Level::Int),
    drift: Drift::Exact,
    options: &[],
    run,
};

fn run(_m: &mut Module, _ctx: &mut PassContext) -> Result<(), Diagnostics> {
    Ok(())
}
