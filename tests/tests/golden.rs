//! Models give their golden outputs, bit for bit: interpreter, JIT at every level of this CPU, and
//! shared libraries. The corpus beside the repository runs too where it exists.

use qcc::{Compiler, Cpu, Source, Tensor};
use qcc_codegen::emitters::Choice;
use qcc_codegen::jit::{JitOptions, JitProgram};
use qcc_codegen::{Target, aot};
use qcc_runtime::AlignedBuf;
use qcc_runtime::abi::{QccInfoFn, QccRunFn};
use qcc_runtime::cpu::{Arch, CpuLevel, levels_of_host};
use qcc_tests::golden::{
    Case, Example, for_all, object_for, own_examples, run_jit, run_program, same, shared_examples,
};
use std::path::Path;
use std::process::Command;

/// Calls of one model that are checked.
const MOST_CASES: usize = 3;

/// Models that must be in the corpus, and import.
const REQUIRED: &[&str] = &[
    "mobilenet_v1_0.25_128_quant",
    "mobilenet_v2_1.0_224_quant",
    "tf2_mobilenet_v2_1.0_224_ptq",
    "deeplabv3_mnv2_dm05_pascal_quant",
    "kws_ref_model",
    "pretrainedResnet_quant",
    "vww_96_int8",
    "ad01_int8",
    "model_ToyCar_quant_fullint",
    "hello_world_int8",
    "micro_speech_quantized",
    "split_concat",
    "simple_add_model",
    "digits_b_fq_a8w8_pc_int8",
    "digits_b_fq_a8w8_ptn_int8",
    "digits_b_ptq_int8",
    "digits_b_qat_int8",
    "mnist_a_fq_a8w8_pc_int8",
    "mnist_a_fq_nudge_int8",
    "mnist_a_ptq_int8",
    "mnist_a_qat_int8",
];

/// Models that import and are not compared with their golden file, with the reason.
const NOT_COMPARED: &[(&str, &str)] = &[];

fn open(example: &Example, most: usize) -> Result<(Source, Vec<Case>), String> {
    let source = example.source().map_err(|e| format!("{}: {e}", example.name))?;
    let cases = example.cases(&source, most)?;
    Ok((source, cases))
}

fn check_jit(
    name: &str,
    source: &Source,
    cases: &[Case],
    compiler: Compiler,
) -> Result<(), String> {
    let what = format!("{name} at {}", compiler.level());
    let model = compiler.compile(source).map_err(|e| format!("{what}: {e}"))?;
    for (k, case) in cases.iter().enumerate() {
        let got = run_jit(&model, &case.inputs).map_err(|e| format!("{what}: {e}"))?;
        same(&format!("{what}, case {k}"), &got, &case.outputs)?;
    }
    Ok(())
}

#[test]
fn the_interpreter_gives_the_golden_outputs() {
    for_all(&own_examples(), |example| {
        let (source, cases) = open(example, MOST_CASES)?;
        for case in cases {
            let got = qcc::interpret(&source.module, &case.inputs)?;
            same(&format!("{} interpreted", example.name), &got, &case.outputs)?;
        }
        Ok(())
    });
}

#[test]
fn every_level_of_this_cpu_gives_the_golden_outputs() {
    for_all(&own_examples(), |example| {
        let (source, cases) = open(example, usize::MAX)?;
        levels_of_host().into_iter().try_for_each(|level| {
            let compiler = Compiler::new().cpu(Cpu::level(level));
            check_jit(&example.name, &source, &cases, compiler)
        })
    });
}

#[test]
fn what_cranelift_can_emit_gives_the_golden_outputs() {
    for_all(&own_examples(), |example| {
        let (source, cases) = open(example, MOST_CASES)?;
        let ours = levels_of_host().into_iter().filter(|&l| l >= CpuLevel::X86V3);
        ours.filter(|l| l.arch() == Arch::X86_64).try_for_each(|level| {
            let compiler = Compiler::new().cpu(Cpu::level(level));
            let module = compiler.lower(&source).map_err(|e| e.to_string())?.module;
            let options = JitOptions { choice: Choice::ByWidth, ..JitOptions::default() };
            let program = JitProgram::compile(module, &Target::host(level), options);
            let program = program.map_err(|e| e.to_string())?;
            cases.iter().try_for_each(|case| {
                let got = run_program(&program, &source, &case.inputs);
                same(&format!("{} through Cranelift, {level}", example.name), &got, &case.outputs)
            })
        })
    });
}

#[test]
fn shared_libraries_give_the_golden_outputs() {
    if Command::new("cc").arg("--version").output().is_err() {
        println!("skipped: no C compiler (cc)");
        return;
    }
    for_all(&own_examples(), |example| {
        let (source, cases) = open(example, MOST_CASES)?;
        let target = Target::host(Compiler::new().level());
        let object = object_for(&source, &target)?;
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let (from, to) = (folder.path().join("m.o"), folder.path().join("m.so"));
        std::fs::write(&from, &object.bytes).map_err(|e| e.to_string())?;
        aot::link_shared(&from, &to, &target).map_err(|e| e.to_string())?;
        for case in cases {
            let got = run_library(&to, &source, &case.inputs).map_err(|e| e.to_string())?;
            same(&format!("{} as a library", example.name), &got, &case.outputs)?;
        }
        Ok(())
    });
}

fn run_library(
    path: &Path,
    source: &Source,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>, libloading::Error> {
    let zeros = |d: &qcc::TensorDesc| Tensor::zeros(d.dtype, d.shape.clone());
    let mut outputs: Vec<Tensor> = source.outputs.iter().map(zeros).collect();
    let ins: Vec<_> = inputs.iter().map(|t| t.bytes().as_ptr().cast()).collect();
    let outs: Vec<_> = outputs.iter_mut().map(|t| t.bytes_mut().as_mut_ptr().cast()).collect();
    // SAFETY: qcc made the library just now: the functions have these signatures, the arena is as
    // large as it asks for, inputs and outputs have the sizes of the model's.
    let code = unsafe {
        let library = libloading::Library::new(path)?;
        let run = *library.get::<QccRunFn>(b"m_run")?;
        let info = &*library.get::<QccInfoFn>(b"m_info")?();
        let mut arena = AlignedBuf::zeroed(info.arena_bytes);
        run(arena.as_mut_ptr().cast(), ins.as_ptr(), outs.as_ptr())
    };
    assert_eq!(code, 0);
    Ok(outputs)
}

/// Checks every quantized model of a folder that imports; returns the names of those. What a float
/// model computes is not a matter of bits: `tests/tensorflow.rs` compares those.
fn check_shared(folder: &str) -> Option<Vec<String>> {
    let Some(examples) = shared_examples(folder) else {
        println!("skipped: there is no folder ../shared/{folder} beside the repository");
        return None;
    };
    let mut imported = Vec::new();
    for example in examples {
        match example.source() {
            Ok(source) if source.module.level == qcc::ir::Level::Nn => {
                println!("not compared bit for bit: {}", example.name);
            }
            Ok(_) => imported.push(example),
            Err(e) => println!("not imported: {e:.240}"),
        }
    }
    imported.retain(|e| NOT_COMPARED.iter().all(|(name, _)| *name != e.name));
    for_all(&imported, |example| {
        let (source, cases) = open(example, 2)?;
        check_jit(&example.name, &source, &cases, Compiler::new())
    });
    Some(imported.into_iter().map(|e| e.name).collect())
}

#[test]
fn the_corpus_gives_its_golden_outputs() {
    if let Some(checked) = check_shared("models") {
        for name in REQUIRED {
            assert!(checked.iter().any(|c| c == name), "{name} was not checked");
        }
    }
}

#[test]
fn the_corpus_operators_give_their_golden_outputs() {
    if let Some(checked) = check_shared("models/ops") {
        assert!(checked.len() >= 50, "only {} import", checked.len());
    }
}
