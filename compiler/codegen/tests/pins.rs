//! The instructions that kernels must become at each CPU level when Cranelift emits them. A wrong operand order or flag
//! silently costs ten instructions, so these are pinned.

mod common;

use common::{module, target};
use qcc_codegen::emitters::Choice;
use qcc_codegen::jit::listing;
use qcc_runtime::cpu::{Arch, CpuLevel};

/// Machine code as text of a kernel that applies `op` to an accumulator and 16 bytes each of `a`
/// and `b`, in a loop.
fn asm(op: &str, elem: &str, cpu: CpuLevel) -> String {
    asm_with("", op, elem, cpu)
}

/// As [`asm`], with ops before `op`.
fn asm_with(before: &str, op: &str, elem: &str, cpu: CpuLevel) -> String {
    let source = format!(
        "module @m level(loop) numerics(tflite) {{
  kernel @k(%x: mem<1024, slack=64>, %w: mem<1024, const>, %y: mem<16>) {{
    %zero = loop.iconst() {{value = 0}} : vec<i32x4>
    %r = loop.for %i = 0 to 64 carry(%acc = %zero) : vec<i32x4> {{
      %a0 = loop.load_splat32 %x[%i*4] : vec<i8x16>
      %a = loop.bitcast(%a0) : {elem}
      %b = loop.load %w[%i*16] : {elem}
{before}      %next = {op} : vec<i32x4>
      loop.yield %next
    }}
    loop.store %r, %y[0]
    return
  }}
}}"
    );
    let triple = match cpu.arch() {
        Arch::X86_64 => "x86_64-unknown-linux-gnu",
        Arch::Aarch64 => "aarch64-unknown-linux-gnu",
    };
    listing(module(&source), &target(triple, cpu), Choice::ByWidth).expect("compiles").asm
}

/// The text has `instruction` and none of the instructions that only the slow form has.
fn pin(asm: &str, instruction: &str, without: &[&str]) {
    assert!(asm.contains(instruction), "no {instruction} in:\n{asm}");
    for slow in without {
        assert!(!asm.contains(slow), "{slow} in:\n{asm}");
    }
}

const DOT4_U8S8: &str = "loop.dot4(%acc, %a, %b) {signs = u8s8}";
const DOT4_S8S8: &str = "loop.dot4(%acc, %a, %b) {signs = s8s8}";
const DOT2: &str = "loop.dot2(%acc, %a, %b)";
const BYTES: &str = "vec<i8x16>";
const WORDS: &str = "vec<i16x8>";

#[test]
fn dot4_on_x86() {
    for cpu in [CpuLevel::X86AvxVnni, CpuLevel::X86Avx512Vnni] {
        pin(&asm(DOT4_U8S8, BYTES, cpu), "vpdpbusd", &["pmovzx", "pmovsx", "phadd", "pmadd"]);
    }
    for cpu in [CpuLevel::X86Baseline, CpuLevel::X86V2, CpuLevel::X86V3, CpuLevel::X86V4] {
        pin(&asm(DOT4_U8S8, BYTES, cpu), "pmul", &["vpdpbusd"]);
    }
}

#[test]
fn dot4_on_aarch64() {
    for cpu in [CpuLevel::A64Dotprod, CpuLevel::A64I8mm] {
        pin(&asm(DOT4_S8S8, BYTES, cpu), "sdot", &["sxtl", "saddlp", "addp"]);
    }
    pin(&asm(DOT4_U8S8, BYTES, CpuLevel::A64I8mm), "usdot", &["sxtl", "saddlp", "addp"]);
    pin(&asm(DOT4_S8S8, BYTES, CpuLevel::A64Baseline), "addp", &["sdot"]);
    pin(&asm(DOT4_U8S8, BYTES, CpuLevel::A64Dotprod), "addp", &["usdot"]);
}

#[test]
fn dot2_is_pmaddwd_on_every_x86() {
    for cpu in common::levels(Arch::X86_64) {
        pin(&asm(DOT2, WORDS, cpu), "pmaddwd", &["pmulld", "phaddd"]);
    }
}

#[test]
fn dot2_sat_is_pmaddubsw_from_v2_on() {
    const SUM: &str = "loop.dot2(%acc, %sat, %sat)";
    let asm = |cpu| asm_with("      %sat = loop.dot2_sat(%a, %b) : vec<i16x8>\n", SUM, BYTES, cpu);
    for cpu in common::levels(Arch::X86_64) {
        match cpu {
            CpuLevel::X86Baseline => pin(&asm(cpu), "packssdw", &["pmaddubsw"]),
            _ => pin(&asm(cpu), "pmaddubsw", &["packssdw"]),
        }
    }
}

#[test]
fn nothing_is_called() {
    for cpu in CpuLevel::ALL {
        let text = asm(DOT4_S8S8, BYTES, cpu);
        assert!(!text.contains("call"), "{cpu}:\n{text}");
    }
}
