//! Models at the CPU level with AMX: golden outputs, and random convolutions as the interpreter
//! computes them. Where this CPU has no tiles, they are emulated (`common/amx.rs` of codegen's
//! tests): the bits are those of the code that is shipped, the speed is not.
//!
//! `QCC_DIFF_GRAPHS=500` tries more graphs.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "../../compiler/codegen/tests/common/amx.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod amx;

use qcc::ir::dialect::OpKind;
use qcc::ir::dialect::loops::Op;
use qcc::ir::{FuncKind, Module, Type};
use qcc::{Compiler, Cpu, Source};
use qcc_codegen::Target;
use qcc_codegen::jit::{JitOptions, JitProgram};
use qcc_runtime::cpu::CpuLevel;
use qcc_tests::golden::{Case, Example, for_all, own_examples, run_program, same, shared_examples};
use qcc_tests::random::{Random, for_tiles, graph, residuals};
use std::sync::atomic::{AtomicUsize, Ordering};

const LEVEL: CpuLevel = CpuLevel::X86Amx;

/// A pipeline in which every kernel that can be is split into tasks.
const SPLIT: &str = "@tflite-int,select-kernels,prove-rescale,lower-int-to-loop{split-all},\
                     pack-weights,prove-bounds";

fn compiler() -> Compiler {
    Compiler::new().cpu(Cpu::level(LEVEL))
}

/// The program, and how many of its kernels have dot products of tiles.
fn compile(compiler: &Compiler, source: &Source) -> Result<(JitProgram, usize), String> {
    let module = compiler.lower(source).map_err(|e| e.to_string())?.module;
    let tiles = with_tiles(&module);
    let program = JitProgram::compile(module, &Target::host(LEVEL), JitOptions::default());
    Ok((program.map_err(|e| e.to_string())?, tiles))
}

fn with_tiles(module: &Module) -> usize {
    let kernels = module.funcs.values().filter(|f| f.kind == FuncKind::Kernel);
    let dots = kernels.filter(|f| {
        f.walk().into_iter().any(|op| matches!(f.kind(op), OpKind::Loop(Op::TileDot(_))))
    });
    dots.count()
}

/// Checks a model on its golden file; its kernels with tiles, and the dot products of one call.
fn check(example: &Example, most: usize) -> Result<(usize, u64), String> {
    let source = example.source().map_err(|e| format!("{}: {e}", example.name))?;
    let (program, tiles) =
        compile(&compiler(), &source).map_err(|e| format!("{}: {e}", example.name))?;
    let mut dots = 0;
    for (k, Case { inputs, outputs }) in example.cases(&source, most)?.iter().enumerate() {
        let before = amx::dots();
        let got = run_program(&program, &source, inputs);
        dots = amx::dots() - before;
        same(&format!("{}, case {k}", example.name), &got, outputs)?;
    }
    Ok((tiles, dots))
}

#[test]
fn own_models_give_their_golden_outputs() {
    if !amx::available() {
        return;
    }
    let tiles = AtomicUsize::new(0);
    for_all(&own_examples(), |example| {
        tiles.fetch_add(check(example, usize::MAX)?.0, Ordering::Relaxed);
        Ok(())
    });
    assert!(tiles.into_inner() > 0, "some model has a layer that is large enough");
}

#[test]
fn the_corpus_gives_its_golden_outputs() {
    let Some(examples) = shared_examples("models") else { return };
    if !amx::available() {
        return;
    }
    let supported: Vec<_> = examples.into_iter().filter(is_quantized).collect();
    let tiles = AtomicUsize::new(0);
    for_all(&supported, |example| {
        let (n, dots) = check(example, 1)?;
        println!("{}: {n} kernels with tiles, {dots} dot products", example.name);
        tiles.fetch_add(n, Ordering::Relaxed);
        Ok(())
    });
    assert!(tiles.into_inner() > 20);
}

/// Outputs of float models are compared within a tolerance, elsewhere.
fn is_quantized(example: &Example) -> bool {
    let Ok(source) = example.source() else { return false };
    let float = |d: &qcc::TensorDesc| d.dtype == qcc::DType::F32;
    !source.inputs.iter().chain(&source.outputs).any(float)
}

/// What the interpreter says of a module is what the code for tiles computes, whole and split.
fn compare(module: Module, seed: u64) -> Result<usize, String> {
    let source = Source::from_module(module, "random").map_err(|e| e.to_string())?;
    let (whole, tiles) = compile(&compiler(), &source)?;
    let (split, _) = compile(&compiler().threads(3).passes(SPLIT), &source)?;
    let mut random = Random(!seed);
    for call in 0..3 {
        let inputs: Vec<_> = source.inputs.iter().map(|d| random.input(d)).collect();
        let expected = qcc::interpret(&source.module, &inputs)?;
        same(&format!("call {call}"), &run_program(&whole, &source, &inputs), &expected)?;
        same(&format!("call {call}, split"), &run_program(&split, &source, &inputs), &expected)?;
    }
    Ok(tiles)
}

fn graphs(otherwise: u64) -> Vec<u64> {
    let n = std::env::var("QCC_DIFF_GRAPHS").ok().and_then(|v| v.parse().ok());
    (1..=n.unwrap_or(otherwise)).collect()
}

#[test]
fn random_convolutions_are_what_the_interpreter_computes() {
    if !amx::available() {
        return;
    }
    let (all, tiles) = (graphs(60), AtomicUsize::new(0));
    for_all(&all, |&seed| {
        let n = compare(for_tiles(seed), seed).map_err(|e| {
            let text = qcc::ir::text::print(&for_tiles(seed));
            let code = text.split("\ndata ").next().unwrap_or_default();
            format!("seed {seed}: {e}\n{code}")
        })?;
        tiles.fetch_add(n, Ordering::Relaxed);
        Ok(())
    });
    let tiles = tiles.into_inner();
    assert!(tiles >= all.len() / 2, "{tiles} kernels with tiles in {} graphs", all.len());
}

#[test]
fn random_graphs_are_what_the_interpreter_computes() {
    if !amx::available() {
        return;
    }
    for_all(&graphs(40), |&seed| {
        compare(graph(seed), seed).map(drop).map_err(|e| format!("seed {seed}: {e}"))
    });
}

#[test]
fn random_residuals_are_what_the_interpreter_computes() {
    if !amx::available() {
        return;
    }
    let (all, tiles) = (graphs(40), AtomicUsize::new(0));
    for_all(&all, |&seed| {
        let n = compare(residuals(seed), seed).map_err(|e| format!("seed {seed}: {e}"))?;
        tiles.fetch_add(n, Ordering::Relaxed);
        Ok(())
    });
    assert!(tiles.into_inner() > 0, "no kernels with tiles in {} graphs", all.len());
}

/// The interpreter executes tiles too: the kernels' logic is tested without emitting code.
#[test]
fn the_loops_themselves_are_right() {
    for_all(&(1..=6).collect::<Vec<u64>>(), |&seed| {
        let source = Source::from_module(for_tiles(seed), "random").map_err(|e| e.to_string())?;
        let module = compiler().lower(&source).map_err(|e| e.to_string())?.module;
        let main = &module.funcs[module.main().ok_or("no main")?];
        let bytes = |v| match main.ty(v) {
            Type::Mem(m) => m.bytes,
            _ => 0,
        };
        let mut random = Random(seed);
        let inputs: Vec<_> = source.inputs.iter().map(|d| random.input(d)).collect();
        let expected = qcc::interpret(&source.module, &inputs)?;
        let raw: Vec<Vec<u8>> = inputs.iter().map(|t| t.bytes().to_vec()).collect();
        assert_eq!(bytes(main.params()[1]), raw[0].len() as u64);
        let got = qcc::ir::interp::run_loop_main(&module, &raw).map_err(|e| e.to_string())?;
        let same = got.iter().zip(&expected).all(|(g, e)| g == e.bytes());
        if same { Ok(()) } else { Err(format!("seed {seed}")) }
    });
}
