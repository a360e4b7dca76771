//! Every op of the nn dialect on random shapes and numbers: the code of every level of this CPU
//! gives the interpreter's bits (any NaN for NaN).
//!
//! `QCC_FLOAT_CASES=200` tries more cases per op, `QCC_FLOAT_SEED=7` begins elsewhere,
//! `QCC_FLOAT_OP=reduce` runs one generator.

use qcc::{Compiler, Cpu, Source, Tensor};
use qcc_runtime::cpu::levels_of_host;
use qcc_tests::golden::{for_all, run_jit};
use qcc_tests::random::Random;
use qcc_tests::random_float::{OPS, chain, input, module};

fn env(name: &str, otherwise: u64) -> u64 {
    let Ok(value) = std::env::var(name) else { return otherwise };
    value.parse().unwrap_or_else(|_| panic!("{name} must be a number"))
}

fn same(got: &[Tensor], expected: &[Tensor]) -> Result<(), String> {
    for (k, (got, expected)) in got.iter().zip(expected).enumerate() {
        if (got.dtype(), got.shape()) != (expected.dtype(), expected.shape()) {
            return Err(format!("output {k} has another type"));
        }
        let size = got.dtype().size();
        let all = got.bytes().chunks(size).zip(expected.bytes().chunks(size));
        for (i, (a, b)) in all.enumerate() {
            let nan = got.get_f64(i).is_nan() && expected.get_f64(i).is_nan();
            if a != b && !nan {
                let (a, b) = (got.get_f64(i), expected.get_f64(i));
                return Err(format!("output {k}, element {i}: {a:e}, not {b:e}"));
            }
        }
    }
    Ok(())
}

/// Case `seed` of generator `which`; the one behind the last is that of chains.
fn check(which: usize, seed: u64) -> Result<(), String> {
    let name = OPS.get(which).map_or("chain", |op| op.0);
    let module = if which < OPS.len() { module(which, seed) } else { chain(seed) };
    let text = qcc::ir::text::print(&module);
    let code = text.split("\ndata ").next().unwrap_or_default().to_string();
    let say = |e: String| format!("{name} seed {seed}: {e}\n{code}");
    let source = Source::from_module(module, "random").map_err(|e| say(e.to_string()))?;
    let mut random = Random(!seed);
    let inputs: Vec<Vec<Tensor>> =
        (0..2).map(|_| source.inputs.iter().map(|d| input(&mut random, d)).collect()).collect();
    for level in levels_of_host() {
        let mut compiler = Compiler::new().cpu(Cpu::level(level));
        compiler.verify_each = true;
        let model = compiler.compile(&source).map_err(|e| say(format!("{level}: {e}")))?;
        for inputs in &inputs {
            let expected = qcc::interpret(&source.module, inputs).map_err(&say)?;
            let got = run_jit(&model, inputs).map_err(|e| say(format!("{level}: {e}")))?;
            same(&got, &expected).map_err(|e| say(format!("{level}: {e}")))?;
        }
    }
    Ok(())
}

#[test]
fn code_gives_the_interpreters_bits() {
    let only = std::env::var("QCC_FLOAT_OP").ok();
    let (first, n) = (env("QCC_FLOAT_SEED", 1), env("QCC_FLOAT_CASES", 12));
    let name = |i: usize| OPS.get(i).map_or("chain", |op| op.0);
    let chosen = (0..=OPS.len()).filter(|&i| only.as_deref().is_none_or(|o| o == name(i)));
    let cases: Vec<(usize, u64)> =
        chosen.flat_map(|i| (first..first + n).map(move |seed| (i, seed))).collect();
    for_all(&cases, |&(which, seed)| check(which, seed));
}
