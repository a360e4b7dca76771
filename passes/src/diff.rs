//! `--diff-each`: a module's outputs before and after a pass, compared as the pass promised.
//!
//! Inputs are drawn from a seeded generator, from the codes' whole range for integers and from
//! [-4, 4) for floats, so two runs of the compiler see the same numbers. Who computes the outputs
//! is up to the caller: the interpreter, or compiled code.
//!
//! All passes of a pipeline see the same inputs. At level loop, inputs and outputs are buffers: their
//! bytes are compared, as what the outputs were before.

use crate::{Drift, PassContext, Remark};
use qcc_ir::{Level, Module, TensorType};
use qcc_runtime::{DType, Tensor};

/// Runs `main` of a module: inputs to outputs, or why it cannot. At level loop, outputs are bytes.
pub type Evaluate = fn(&Module, &[Tensor]) -> Result<Vec<Tensor>, String>;

/// How to compare.
#[derive(Clone, Copy, Debug)]
pub struct DiffEach {
    /// Where the inputs come from.
    pub seed: u64,
    /// How many sets of inputs.
    pub runs: usize,
    /// Runs a module.
    pub evaluate: Evaluate,
}

/// How much of a float a pass may move that reorders additions: a few hundred roundings of 2^-24.
const FLOAT_REASSOC_TOLERANCE: f64 = 1e-4;

/// Inputs and what a module computed from them, per set of inputs.
pub(crate) struct Outputs {
    inputs: Vec<Vec<Tensor>>,
    outputs: Vec<Vec<Tensor>>,
}

impl DiffEach {
    /// The outputs of `m`, from the inputs of `before` if there was a run before; a remark and
    /// nothing when it cannot be run.
    pub(crate) fn run(
        &self,
        m: &Module,
        before: Option<&Outputs>,
        ctx: &mut PassContext,
    ) -> Option<Outputs> {
        let inputs = match before {
            Some(before) => Ok(before.inputs.clone()),
            None => (0..self.runs).map(|r| self.draw(m, r as u64)).collect(),
        };
        let run = |inputs: Vec<Vec<Tensor>>| {
            let outputs = inputs.iter().map(|i| (self.evaluate)(m, i)).collect::<Result<_, _>>()?;
            Ok(Outputs { inputs, outputs })
        };
        match inputs.and_then(run) {
            Ok(all) => Some(all),
            Err(why) => {
                let message = format!("not compared after '{}': {why}", ctx.pass);
                let remark = Remark { pass: "diff-each", loc: String::new(), message };
                ctx.remarks.push(remark);
                None
            }
        }
    }

    fn draw(&self, m: &Module, run: u64) -> Result<Vec<Tensor>, String> {
        let main = m.main().ok_or("there is no function 'main'")?;
        if m.level == Level::Loop {
            return Err("its inputs are bytes of unknown meaning".into());
        }
        let mut random = SplitMix(self.seed.wrapping_add(run.wrapping_mul(0x9E37_79B9)));
        let mut inputs = Vec::new();
        for &p in m.funcs[main].params() {
            let ty = m.funcs[main].ty(p).as_tensor().ok_or("its inputs are not tensors")?;
            inputs.push(random.tensor(ty)?);
        }
        Ok(inputs)
    }
}

impl Outputs {
    /// Are those after the pass as it promised?
    pub(crate) fn compare(&self, after: &Outputs, drift: Drift) -> Result<(), String> {
        for (run, (a, b)) in self.outputs.iter().zip(&after.outputs).enumerate() {
            if a.len() != b.len() {
                return Err(format!("{} outputs became {}", a.len(), b.len()));
            }
            for (k, (a, b)) in a.iter().zip(b).enumerate() {
                let what = |e| format!("output {k} changed (input set {run}): {e}");
                compare(a, b, drift).map_err(what)?;
            }
        }
        Ok(())
    }
}

fn compare(a: &Tensor, b: &Tensor, drift: Drift) -> Result<(), String> {
    if let Some(b) = as_before(a, b) {
        return compare(a, &b, drift);
    }
    if (a.dtype(), a.shape()) != (b.dtype(), b.shape()) {
        let of = |t: &Tensor| format!("{:?} of {}", t.shape(), t.dtype());
        return Err(format!("{} became {}", of(a), of(b)));
    }
    if a.bytes() == b.bytes() {
        return Ok(());
    }
    let allowed = |a: f64| match drift {
        Drift::Exact => 0.0,
        Drift::Lsb(n) => n as f64,
        Drift::Quantizes => f64::INFINITY,
        Drift::FloatReassoc => FLOAT_REASSOC_TOLERANCE * a.abs().max(1.0),
    };
    // Equal values of unequal bytes are zeros of unequal signs; NaN equals itself here.
    let differs = |&(_, a, b): &(usize, f64, f64)| {
        !(a == b || (a - b).abs() <= allowed(a) || (a.is_nan() && b.is_nan()))
    };
    let values = a.to_f64_vec().into_iter().zip(b.to_f64_vec()).enumerate();
    let bad: Vec<_> = values.map(|(i, (a, b))| (i, a, b)).filter(differs).collect();
    match bad.first() {
        None => Ok(()),
        Some((i, a, b)) => Err(format!(
            "{} elements differ, first element {i}: {a} became {b} (allowed: {drift})",
            bad.len()
        )),
    }
}

/// A buffer's bytes as the tensor that was there before; nothing for what is no buffer.
fn as_before(a: &Tensor, b: &Tensor) -> Option<Tensor> {
    let is_buffer = b.dtype() == DType::U8 && b.shape().len() == 1;
    let differs = (a.dtype(), a.shape()) != (b.dtype(), b.shape());
    let fits = is_buffer && differs && a.bytes().len() == b.len();
    fits.then(|| Tensor::from_bytes(a.dtype(), a.shape().to_vec(), b.bytes()).ok())?
}

/// A generator whose every seed is good.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn tensor(&mut self, ty: &TensorType) -> Result<Tensor, String> {
        let dtype = ty.storage();
        let shape: Vec<usize> = ty.shape.iter().map(|&d| d as usize).collect();
        let mut t = Tensor::try_zeros(dtype, shape).map_err(|e| e.to_string())?;
        let (lo, hi) = dtype.min_max();
        for i in 0..t.len() {
            let bits = self.next();
            match dtype.is_float() {
                true => t.set_f64(i, (bits >> 40) as f64 / (1 << 21) as f64 - 4.0),
                false => {
                    t.set_i64(i, lo.wrapping_add((bits % hi.abs_diff(lo).saturating_add(1)) as i64))
                }
            }
        }
        Ok(t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qcc_runtime::DType;

    fn outputs(values: &[i64]) -> Outputs {
        let t = crate::consts::int_tensor(DType::I8, &[values.len()], values.iter().copied());
        Outputs { inputs: vec![], outputs: vec![vec![t]] }
    }

    #[test]
    fn drift_is_what_the_pass_promised() {
        let (a, b) = (outputs(&[1, 2, 3]), outputs(&[1, 3, 3]));
        assert_eq!(a.compare(&a, Drift::Exact), Ok(()));
        assert_eq!(
            a.compare(&b, Drift::Exact).unwrap_err(),
            "output 0 changed (input set 0): 1 elements differ, first element 1: 2 became 3 \
             (allowed: exact)"
        );
        assert_eq!(a.compare(&b, Drift::Lsb(1)), Ok(()));
        assert!(a.compare(&outputs(&[1, 4, 3]), Drift::Lsb(1)).is_err());
        assert_eq!(a.compare(&outputs(&[9, 9, 9]), Drift::Quantizes), Ok(()));
        assert!(a.compare(&outputs(&[1]), Drift::Quantizes).is_err());
    }

    #[test]
    fn buffers_are_what_was_there_before() {
        let bytes = |values: &[u8]| Outputs {
            inputs: vec![],
            outputs: vec![vec![Tensor::from_slice(values, [values.len()]).unwrap()]],
        };
        let a = outputs(&[1, -2, 3]);
        assert_eq!(a.compare(&bytes(&[1, 254, 3]), Drift::Exact), Ok(()));
        let error = a.compare(&bytes(&[1, 2, 3]), Drift::Exact).unwrap_err();
        assert!(error.contains("element 1: -2 became 2"), "{error}");
        assert!(a.compare(&bytes(&[1, 254]), Drift::Exact).is_err());
    }

    #[test]
    fn inputs_are_seeded_and_cover_the_codes() {
        let ty = TensorType::plain(&[4096], DType::I8);
        let codes = SplitMix(1).tensor(&ty).unwrap().to_i64_vec();
        assert_eq!(codes, SplitMix(1).tensor(&ty).unwrap().to_i64_vec());
        assert_eq!(codes.iter().min(), Some(&-128));
        assert_eq!(codes.iter().max(), Some(&127));
    }
}
