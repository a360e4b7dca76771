//! `fold-identity-lut`: a table that gives back its index moves nothing.
//!
//! ```text
//! %t = const @t : tensor<256xu8>      // 0, 1, 2, …, 255
//! %y = int.lut(%x, %t)                //                     ─►   uses of %y read %x
//! ```
//!
//! A model that quantizes uint8 to int8 with equal scales flips the top bit of each code; once
//! `choose-signedness` stores both alike, its table is the identity.

use crate::consts::const_tensor;
use crate::int_ops::int_op;
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::dialect::int::Op;
use qcc_ir::{Func, Level, Module, OpId};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "fold-identity-lut",
    summary: "remove lookup tables that change nothing",
    doc: include_str!("fold_identity_lut.rs"),
    needs: LevelSet::only(Level::Int),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    for func in m.funcs.keys().collect::<Vec<_>>() {
        for op in m.funcs[func].walk() {
            if is_identity(m, &m.funcs[func], op) {
                let loc = m.funcs[func].op(op).loc;
                ctx.remark(m, loc, "the table is the identity: removed");
                let f = &mut m.funcs[func];
                let (x, y) = (f.operands(op)[0], f.result(op));
                f.replace_uses(y, x);
                f.erase(op);
            }
        }
    }
    Ok(())
}

fn is_identity(m: &Module, f: &Func, op: OpId) -> bool {
    let Some(Op::Lut(_)) = int_op(f, op) else { return false };
    let (x, y) = (f.operands(op)[0], f.result(op));
    let first = f.ty(x).as_tensor().map_or(0, |t| t.storage().min_max().0);
    let Some(table) = const_tensor(m, f, f.operands(op)[1]) else { return false };
    f.ty(x) == f.ty(y) && (0..table.len()).all(|i| table.get_i64(i) == first + i as i64)
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use qcc_ir::DType;

    fn luts(table: Vec<i64>) -> usize {
        let mut t = TestModule::int(&[(&[1, 4], DType::I8)]);
        let k = t.const_i64("k", DType::I8, &[256], &table);
        let y = t.lut(t.param(0), k);
        let y = t.clamp(y, -100, 100);
        t.ret(&[y]);
        let m = t.run_exact("fold-identity-lut");
        op_names(&m).iter().filter(|n| **n == "int.lut").count()
    }

    #[test]
    fn the_identity_goes_away() {
        assert_eq!(luts((-128..128).collect()), 0);
    }

    #[test]
    fn any_other_table_stays() {
        assert_eq!(luts((-128..128).map(|v| v.max(-127)).collect()), 1);
    }
}
