//! Random graphs: what the interpreter says at the quant level stays true after every pass and
//! for the code of every level of this CPU, bit for bit.
//!
//! `QCC_DIFF_GRAPHS=5000` tries more graphs, `QCC_DIFF_SEED=1234` begins elsewhere. A failure names
//! the seed of its graph and prints the graph.

use qcc::passes::Remark;
use qcc::{Compiler, Cpu, Source};
use qcc_runtime::Tensor;
use qcc_runtime::cpu::{CpuLevel, levels_of_host};
use qcc_tests::golden::{for_all, run_jit, same};
use qcc_tests::random::{Random, few_channels, graph, residuals};

fn env(name: &str, otherwise: u64) -> u64 {
    let Ok(value) = std::env::var(name) else { return otherwise };
    value.parse().unwrap_or_else(|_| panic!("{name} must be a number"))
}

fn check(seed: u64) -> Result<(), String> {
    let module = graph(seed);
    let text = qcc::ir::text::print(&module);
    let code = text.split("\ndata ").next().unwrap_or_default().to_string();
    check_module(module, seed).map_err(|e| format!("QCC_DIFF_SEED={seed}: {e}\n{code}"))
}

fn check_module(module: qcc::ir::Module, seed: u64) -> Result<(), String> {
    let source =
        Source::from_module(module, "random").map_err(|e| format!("the generator: {e}"))?;
    let mut random = Random(!seed);
    let inputs = (0..3).map(|_| source.inputs.iter().map(|d| random.input(d)).collect::<Vec<_>>());
    let inputs: Vec<_> = inputs.collect();
    let expected = inputs.iter().map(|i| qcc::interpret(&source.module, i));
    let expected = expected.collect::<Result<Vec<_>, _>>()?;
    for (k, level) in levels_of_host().into_iter().rev().enumerate() {
        let mut compiler = Compiler::new().cpu(Cpu::level(level));
        compiler.verify_each = true;
        // Interpreting loops is slow; the best level and one other see every pass compared.
        compiler.diff_each = k == 0 || k as u64 == 1 + seed % 4;
        let model = compiler.compile(&source).map_err(|e| format!("{level}: {e}"))?;
        // Modules of kernels take memory, not tensors; running their code takes over there.
        let missed = |r: &&Remark| r.pass == "diff-each" && !is_of_kernels(&r.message);
        if let Some(r) = model.remarks().iter().find(missed) {
            return Err(format!("{level}: {r}"));
        }
        for (i, (inputs, expected)) in inputs.iter().zip(&expected).enumerate() {
            let got = run_jit(&model, inputs).map_err(|e| format!("{level}: {e}"))?;
            same(&format!("{level}, input set {i}"), &got, expected)?;
        }
        if k as u64 == seed % 3 {
            check_threads(&source, level, 2 + seed as usize % 3, (&inputs[0], &expected[0]))?;
        }
    }
    Ok(())
}

/// The same bits when every kernel that can be is split into tasks.
fn check_threads(
    source: &Source,
    level: CpuLevel,
    n: usize,
    (inputs, expected): (&[Tensor], &[Tensor]),
) -> Result<(), String> {
    let pipeline = "@tflite-int,select-kernels,prove-rescale,lower-int-to-loop{split-all},pack-weights,prove-bounds";
    let compiler = Compiler::new().cpu(Cpu::level(level)).threads(n).passes(pipeline);
    let model = compiler.compile(source).map_err(|e| format!("{level}, {n} threads: {e}"))?;
    let got = run_jit(&model, inputs).map_err(|e| format!("{level}: {e}"))?;
    same(&format!("{level}, {n} threads"), &got, expected)
}

fn is_of_kernels(message: &str) -> bool {
    ["'lower-int-to-loop'", "'prove-bounds'"].iter().any(|pass| message.contains(pass))
}

#[test]
fn random_graphs_mean_the_same_everywhere() {
    let first = env("QCC_DIFF_SEED", 1);
    let seeds: Vec<u64> = (first..first + env("QCC_DIFF_GRAPHS", 48)).collect();
    for_all(&seeds, |&seed| check(seed));
}

#[test]
fn rows_of_few_channels_mean_the_same_everywhere() {
    for_all(&(1..=24).collect::<Vec<u64>>(), |&seed| {
        check_module(few_channels(seed), seed).map_err(|e| format!("seed {seed}: {e}"))
    });
}

#[test]
fn residuals_mean_the_same_everywhere() {
    let first = env("QCC_DIFF_SEED", 1);
    let seeds: Vec<u64> = (first..first + env("QCC_DIFF_GRAPHS", 48)).collect();
    for_all(&seeds, |&seed| {
        check_module(residuals(seed), seed).map_err(|e| format!("seed {seed}: {e}"))
    });
    let added: usize = seeds.iter().map(|&seed| kernels_that_add(seed)).sum();
    assert!(added >= seeds.len() / 2, "{added} convolutions add in {} graphs", seeds.len());
}

/// How many kernels of a graph are convolutions that add a residual.
fn kernels_that_add(seed: u64) -> usize {
    let source = Source::from_module(residuals(seed), "random").expect("a valid graph");
    let compiler = Compiler::new().cpu(Cpu::level(CpuLevel::X86V2));
    let module = compiler.lower(&source).expect("a graph that compiles").module;
    module.funcs.values().filter(|f| f.name.contains("_conv2d_add_")).count()
}
