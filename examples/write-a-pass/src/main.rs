//! Write a pass, register it, and run it in a pipeline: `report-clamps` leaves a remark for every
//! op of the shipped digits model whose outputs are cut off below its type's limit.
//!
//! `cargo run --release --bin write-a-pass`

use qcc::ir::Level;
use qcc::ir::dialect::{OpKind, int};
use qcc::passes::{Drift, LevelSet, Pass, Registry};

/// The pass: a name, what it promises, a function.
static REPORT_CLAMPS: Pass = Pass {
    name: "report-clamps",
    summary: "say which convolutions have a fused activation",
    doc: "Leaves a remark for every int.conv2d whose lower bound is above its type's.",
    needs: LevelSet::only(Level::Int),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run: |m, ctx| {
        for f in m.funcs.values() {
            for op in f.walk() {
                let OpKind::Int(int::Op::Conv2d(conv)) = f.kind(op) else { continue };
                let y = f.ty(f.result(op)).as_tensor().map_or(0, |t| t.storage().min_max().0);
                if i64::from(conv.lo) > y {
                    ctx.remark(m, f.op(op).loc, format!("codes below {} are cut off", conv.lo));
                }
            }
        }
        Ok(())
    },
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut registry = Registry::default();
    registry.register_pass(REPORT_CLAMPS)?;
    let compiler = qcc::Compiler::new().registry(registry);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/digits/digits.tflite");
    let source = compiler.read(path)?;
    let done = compiler.run_passes(&source, "lower-quant-to-int,fuse-clamp,report-clamps")?;
    for remark in done.remarks.iter().filter(|r| r.pass == "report-clamps") {
        println!("{remark}");
    }
    Ok(())
}
