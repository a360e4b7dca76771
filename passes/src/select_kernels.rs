//! `select-kernels`: each convolution and matrix product gets its kernel.
//!
//! ```text
//! %y = int.conv2d(%x, %w, …) {lo = 0, hi = 255}
//!   ─►
//! %y = int.conv2d(%x, %w, …) {lo = 0, hi = 255, kernel = "panels-inside 512 6x4"}
//! ```
//!
//! By the op's shape, the strides of its tensors and what the CPU level can do (static heuristics,
//! module `kernels::choose`). Kernels: register tiles over panels of output channels; blocks of
//! channels of a depthwise convolution; one product at a time for everything else. A kernel that is
//! there already stays: it may be set by hand. Nothing but speed depends on the choice.

use crate::int_ops::conv_notes_mut;
use crate::kernels::layer::Layer;
use crate::kernels::site::Site;
use crate::kernels::{Machine, choose};
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::dialect::int::ConvKernel;
use qcc_ir::{Level, Module};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "select-kernels",
    summary: "choose the kernel of each convolution and matrix product",
    doc: include_str!("select_kernels.rs"),
    needs: LevelSet::only(Level::Int),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    let machine = Machine::of(ctx.target.cpu);
    for func in m.funcs.keys().collect::<Vec<_>>() {
        for op in m.funcs[func].body_ops().to_vec() {
            let site = Site::new(m, &m.funcs[func], op, machine);
            let chosen = match Layer::of(&site) {
                Ok(Some(layer)) if layer.kernel == ConvKernel::Auto => {
                    Ok(choose::conv_kernel(machine, &layer))
                }
                Ok(_) => continue,
                Err(why) => Err(why),
            };
            let loc = m.funcs[func].op(op).loc;
            match chosen {
                Ok(kernel) => {
                    ctx.remark(m, loc, format!("kernel {kernel}"));
                    if let Some((noted, _)) = conv_notes_mut(m.funcs[func].kind_mut(op)) {
                        *noted = kernel;
                    }
                }
                Err(why) => ctx.remark(m, loc, format!("no kernel chosen: {why}")),
            }
        }
    }
    Ok(())
}
