//! `check-accumulators`: says of every convolution whether its 32-bit accumulator can overflow.
//!
//! Changes nothing. For each channel, the exact range of the sum follows from the constant weights
//! and the codes that the input can hold ([`crate::analysis::acc_range`]). A sum beyond 32 bits
//! wraps, as in TensorFlow Lite's reference kernels, so it is a remark and not an error:
//!
//! ```text
//! check-accumulators: 'fc_2': channel 7 can reach [-31, 2147483740], beyond i32: the sum wraps
//! check-accumulators: 'conv_1': sums fit 21 bits
//! ```

use crate::analysis::acc_range::acc_range;
use crate::int_ops::conv_of;
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::{Level, Module};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "check-accumulators",
    summary: "say which accumulators can overflow",
    doc: include_str!("check_accumulators.rs"),
    needs: LevelSet::only(Level::Int),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    for f in m.funcs.values() {
        for op in f.walk() {
            if conv_of(f.kind(op)).is_none() {
                continue;
            }
            let message = match acc_range(m, f, op) {
                None => "not checked: its weights or bias are not constant".to_string(),
                Some(r) => match r.first_overflow() {
                    None => format!("sums fit {} bits", r.bits()),
                    Some(c) => format!(
                        "channel {c} can reach [{}, {}], beyond {}: the sum wraps",
                        r.channels[c][0], r.channels[c][1], r.dtype
                    ),
                },
            };
            ctx.remark(m, f.op(op).loc, message);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use qcc_ir::DType;

    fn remark(k: usize) -> String {
        let mut t = TestModule::int(&[(&[1, k as u64], DType::I16)]);
        let w = t.const_i64("w", DType::I8, &[1, k as u64], &vec![127; k]);
        let b = t.const_i64("b", DType::I32, &[1], &[0]);
        let y = t.fully_connected(t.param(0), w, b, |_| ());
        t.ret(&[y]).remarks("check-accumulators").join("\n")
    }

    #[test]
    fn names_the_layer_that_overflows() {
        assert_eq!(
            remark(600),
            "check-accumulators: 'fully_connected_2': channel 0 can reach \
             [-2496921600, 2496845400], beyond i32: the sum wraps"
        );
    }

    #[test]
    fn says_how_many_bits_suffice() {
        let fits = "check-accumulators: 'fully_connected_2': sums fit 32 bits";
        assert_eq!(remark(500), fits);
    }

    #[test]
    fn variable_weights_are_not_checked() {
        let mut t = TestModule::int(&[(&[1, 4], DType::I8), (&[1, 4], DType::I8)]);
        let b = t.const_i64("b", DType::I32, &[1], &[0]);
        let y = t.fully_connected(t.param(0), t.param(1), b, |_| ());
        let remarks = t.ret(&[y]).remarks("check-accumulators");
        assert!(remarks[0].ends_with("not checked: its weights or bias are not constant"));
    }
}
