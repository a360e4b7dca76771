//! Write a pass, register it, and run it in a pipeline: `report-ranges` leaves a remark with the
//! range of output codes of every convolution of the shipped digits model.
//!
//! `cargo run --release --bin write-a-pass`

use qcc::ir::Level;
use qcc::ir::dialect::{OpKind, int};
use qcc::passes::{Drift, LevelSet, Pass, Registry};

/// The pass: a name, what it promises, a function.
static REPORT_RANGES: Pass = Pass {
    name: "report-ranges",
    summary: "say which codes convolutions can give",
    doc: "Leaves a remark with the bounds of every int.conv2d.",
    needs: LevelSet::only(Level::Int),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run: |m, ctx| {
        for f in m.funcs.values() {
            for op in f.walk() {
                let OpKind::Int(int::Op::Conv2d(conv)) = f.kind(op) else { continue };
                let message = format!("codes from {} to {}", conv.lo, conv.hi);
                ctx.remark(m, f.op(op).loc, message);
            }
        }
        Ok(())
    },
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut registry = Registry::default();
    registry.register_pass(REPORT_RANGES)?;
    let compiler = qcc::Compiler::new().registry(registry);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/digits/digits.tflite");
    let source = compiler.read(path)?;
    let done = compiler.run_passes(&source, "lower-quant-to-int,fuse-clamp,report-ranges")?;
    for remark in done.remarks.iter().filter(|r| r.pass == "report-ranges") {
        println!("{remark}");
    }
    Ok(())
}
