//! `verify`: every rule of the IR, as a pass.
//!
//! Changes nothing; its errors are those of [`qcc_ir::verify`], each with the constraint's id and
//! the op's location. A pass manager with `verify_each` does the same after every pass.
//!
//! ```text
//! verify: 'conv_1': op_c2: operand 1 (w) is an integer tensor, found f32
//! ```

use crate::{Diagnostic, Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::Module;
use qcc_ir::verify::VerifyError;

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
pub(crate) fn check(m: &Module, pass: &str) -> Result<(), Diagnostics> {
    let diagnostic = |e: VerifyError| {
        let op = e.func.zip(e.op).and_then(|(f, op)| Some(m.funcs.get(f)?.op(op).loc));
        let found = Diagnostic::new(pass, e.to_string());
        op.map_or(found.clone(), |loc| found.at(m.locs.describe(loc)))
    };
    let all = |errors: Vec<VerifyError>| errors.into_iter().map(diagnostic).collect::<Vec<_>>();
    qcc_ir::verify::verify(m).map_err(|errors| all(errors).into())
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use qcc_ir::DType;

    #[test]
    fn names_the_node_at_fault() {
        let mut t = TestModule::int(&[(&[1, 2], DType::F32)]);
        let y = t.clamp(t.param(0), 0, 1);
        t.ret(&[y]);
        let says = t.error("verify");
        assert!(says.contains("'clamp_0': op_c2"), "{says}");
    }

    #[test]
    fn accepts_what_is_right() {
        let mut t = TestModule::int(&[(&[1, 2], DType::I8)]);
        let y = t.clamp(t.param(0), 0, 1);
        t.ret(&[y]).run("verify");
    }
}
