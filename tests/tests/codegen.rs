//! The instructions that each CPU level is there for occur in its code.

use qcc::{Compiler, Cpu, Source};
use qcc_codegen::emitters::Choice;
use qcc_codegen::{Target, jit};
use qcc_runtime::CpuLevel;
use qcc_runtime::cpu::Arch;
use qcc_tests::golden::own_examples;

fn model(name: &str) -> Source {
    let examples = own_examples();
    let found = examples.iter().find(|e| e.name == name);
    found.expect("the model is in this repository").source().expect("it can be read")
}

/// The code of a model's kernels, in Cranelift's spelling.
fn asm(name: &str, cpu: CpuLevel) -> String {
    let source = model(name);
    let lowered = Compiler::new().cpu(Cpu::level(cpu)).lower(&source).expect("it can be lowered");
    let triple = match cpu.arch() {
        Arch::X86_64 => "x86_64-unknown-linux-gnu",
        Arch::Aarch64 => "aarch64-unknown-linux-gnu",
    };
    let target = Target { triple: triple.parse().expect("a triple"), cpu };
    jit::listing(lowered.module, &target, Choice::WideFirst).expect("code can be made").asm
}

#[track_caller]
fn assert_has(name: &str, cpu: CpuLevel, instruction: &str) {
    let asm = asm(name, cpu);
    assert!(asm.contains(instruction), "{name} at {cpu} has no {instruction}:\n{asm}");
}

#[track_caller]
fn assert_has_not(name: &str, cpu: CpuLevel, instruction: &str) {
    let asm = asm(name, cpu);
    assert!(!asm.contains(instruction), "{name} at {cpu} has {instruction}");
}

#[test]
fn vnni_multiplies_by_vpdpbusd() {
    for cpu in [CpuLevel::X86AvxVnni, CpuLevel::X86Avx512Vnni] {
        assert_has("digits", cpu, "vpdpbusd");
        assert_has("conv_u8_asymmetric", cpu, "vpdpbusd");
    }
}

#[test]
fn older_x86_multiplies_by_pmaddwd() {
    for cpu in [CpuLevel::X86Baseline, CpuLevel::X86V2, CpuLevel::X86V3, CpuLevel::X86V4] {
        assert_has("digits", cpu, "pmaddwd");
        assert_has_not("digits", cpu, "vpdpbusd");
    }
    assert_has_not("digits", CpuLevel::X86Baseline, "vpmaddwd");
    assert_has("digits", CpuLevel::X86V3, "vpmaddwd");
    assert_has("digits", CpuLevel::X86V4, "vpmaddwd zmm");
}

#[test]
fn dotprod_multiplies_by_sdot() {
    assert_has("digits", CpuLevel::A64Dotprod, "sdot");
    assert_has("digits", CpuLevel::A64I8mm, "sdot");
    assert_has_not("digits", CpuLevel::A64Baseline, "sdot");
}

#[test]
fn i8mm_multiplies_unsigned_by_usdot() {
    assert_has("conv_u8_asymmetric", CpuLevel::A64I8mm, "usdot");
    assert_has_not("conv_u8_asymmetric", CpuLevel::A64Dotprod, "usdot");
}
