//! `pack-weights`: weights in the order in which kernels read them.
//!
//! ```text
//! %w = core.const {data = @weights} : mem<2048 const>
//! %p = loop.pack_panels(%w) {shape = [64, 1, 1, 32], panel = [4, 16], …} : mem<2048 const>
//!   ─►
//! %p = core.const {data = @weights_packed} : mem<2048 const>
//! ```
//!
//! Evaluates what `lower-int-to-loop` left of weights: nothing is packed at run time. Weights that
//! nothing else reads are dropped at once, so that memory holds them once.

use crate::consts::const_id;
use crate::dce::drop_unused_data;
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use indexmap::IndexMap;
use qcc_ir::dialect::{OpKind, core, loops};
use qcc_ir::{Bytes, DataId, FuncId, Level, Module, OpId};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "pack-weights",
    summary: "put weights into the order in which kernels read them",
    doc: include_str!("pack_weights.rs"),
    needs: LevelSet::only(Level::Loop),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    let Some(main) = m.main() else { return Ok(()) };
    let ops = m.funcs[main].body_ops().to_vec();
    let mut constants: IndexMap<DataId, usize> = IndexMap::new();
    for &op in &ops {
        if let OpKind::Core(core::Op::Const(c)) = m.funcs[main].kind(op) {
            *constants.entry(c.data).or_default() += 1;
        }
    }
    let mut bytes = 0;
    for op in ops {
        bytes += pack(m, main, op, &mut constants).unwrap_or(0);
    }
    if bytes > 0 {
        ctx.remark_module(format!("{bytes} bytes of weights packed"));
        drop_unused_data(m);
    }
    Ok(())
}

/// Bytes that `op` packed, if it packs constant weights. `constants` counts the ops that give
/// each data block.
fn pack(
    m: &mut Module,
    main: FuncId,
    op: OpId,
    constants: &mut IndexMap<DataId, usize>,
) -> Option<usize> {
    let f = &m.funcs[main];
    let w = *f.operands(op).first()?;
    let from = const_id(f, w)?;
    let bytes = &m.data.get(from)?.bytes;
    let packed = match f.kind(op) {
        OpKind::Loop(loops::Op::PackPanels(by)) => by.pack(bytes),
        OpKind::Loop(loops::Op::PackBlocks(by)) => by.pack(bytes),
        _ => return None,
    };
    let n = packed.len();
    let data = m.add_data(&format!("{}_packed", m.data[from].name), packed);
    let f = &mut m.funcs[main];
    *f.kind_mut(op) = OpKind::from(core::Const { data });
    f.set_operands(op, &[]);
    if f.value(w).uses().is_empty() {
        f.erase(f.def_op(w).expect("a constant is the result of an op"));
        let left = constants.get_mut(&from).expect("it was counted");
        *left -= 1;
        if *left == 0 {
            m.data[from].bytes = Bytes::default();
        }
    }
    Some(n)
}
