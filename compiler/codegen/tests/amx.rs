//! Tiles in the wide emitter: what is emitted, and that it computes what the interpreter computes,
//! on this CPU's tiles or emulated ones.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use common::*;
use qcc_codegen::CodegenError;
use qcc_codegen::emitters::Choice;
use qcc_codegen::jit::listing;
use qcc_ir::Module;
use qcc_runtime::cpu::{Arch, CpuLevel};

/// A kernel with buffers of 4096 bytes in and 8192 out.
fn kernel(body: &str) -> Module {
    module(&format!(
        "module @m level(loop) numerics(tflite) {{\n  \
         kernel @k(%x: mem<4096, slack=64>, %y: mem<8192>) {{\n{body}\n    return\n  }}\n  \
         func @main(%a: mem<0, slack=64>, %x: mem<4096, slack=64>, %y: mem<8192>) \
         inputs(\"x\") outputs(\"y\") {{\n    \
         loop.call(%x, %y) {{kernel = \"k\", offsets = [0, 0]}}\n    return\n  }}\n}}\n"
    ))
}

/// 2×2 tiles of sums over k, started from zeros and from a repeated row; through a buffer of the
/// kernel's own; vectors and scalars around them.
const PRODUCT: &str = r#"
    %s = loop.scratch() : mem<4096>
    loop.for %m = 0 to 2 {
      %z = loop.tile_zero() : tile<13x48>
      %bias = loop.tile_load %x[%m*64 + 3000] {row = 0} : tile<13x48>
      %c0, %c1, %c2, %c3 = loop.for %k = 0 to 5 carry(%p0 = %z, %p1 = %z, %p2 = %bias, %p3 = %z) : tile<13x48>, tile<13x48>, tile<13x48>, tile<13x48> {
        %a0 = loop.tile_load %x[%m*700 + %k*28] {row = 51} : tile<13x28>
        %b0 = loop.tile_load %x[%k*336 + 1000] {row = 96} : tile<7x48>
        %q0 = loop.tile_dot(%p0, %a0, %b0) {signs = u8s8} : tile<13x48>
        %b1 = loop.tile_load %x[%k*336 + 1048] {row = 96} : tile<7x48>
        %q1 = loop.tile_dot(%p1, %a0, %b1) {signs = s8s8} : tile<13x48>
        %a1 = loop.tile_load %x[%m*700 + %k*28 + 663] {row = 51} : tile<13x28>
        %q2 = loop.tile_dot(%p2, %a1, %b0) {signs = u8s8} : tile<13x48>
        %q3 = loop.tile_dot(%p3, %a1, %b1) {signs = s8s8} : tile<13x48>
        loop.yield %q0, %q1, %q2, %q3
      }
      loop.tile_store %c0, %s[0] {row = 64}
      loop.tile_store %c1, %s[1024] {row = 64}
      loop.tile_store %c2, %s[2048] {row = 64}
      loop.tile_store %c3, %s[3072] {row = 64}
      loop.for %r = 0 to 13 {
        %v0 = loop.load %s[%r*64] : vec<i32x16>
        %v1 = loop.load %s[%r*64 + 1024] : vec<i32x16>
        %v2 = loop.load %s[%r*64 + 2048] : vec<i32x16>
        %v3 = loop.load %s[%r*64 + 3072] : vec<i32x16>
        loop.store_low %v0, %y[%m*4096 + %r*256] {bytes = 48}
        loop.store_low %v1, %y[%m*4096 + %r*256 + 48] {bytes = 48}
        loop.store_low %v2, %y[%m*4096 + %r*256 + 96] {bytes = 48}
        %i = loop.index_cast(%r) : i32
        %w = loop.splat(%i) : vec<i32x16>
        %sum = loop.add(%v3, %w) : vec<i32x16>
        loop.store_low %sum, %y[%m*4096 + %r*256 + 144] {bytes = 48}
        loop.yield
      }
      loop.yield
    }"#;

/// Tiles alone: a dot product that starts from zeros, sums that go on behind a loop, a loop that
/// does nothing, a far address, rows backward.
const TILES: &str = r#"
    %z = loop.tile_zero() : tile<4x16>
    %a = loop.tile_load %x[5] {row = 9} : tile<4x8>
    %b = loop.tile_load %x[105] {row = 17} : tile<2x16>
    %d = loop.tile_dot(%z, %a, %b) {signs = u8s8} : tile<4x16>
    %e = loop.for %k = 0 to 3 carry(%p = %d) : tile<4x16> {
      %u = loop.tile_load %x[%k*8 + 60] {row = -20} : tile<4x8>
      %q = loop.tile_dot(%p, %u, %b) {signs = s8s8} : tile<4x16>
      loop.yield %q
    }
    %f = loop.for %k = 0 to 0 carry(%p = %e) : tile<4x16> {
      loop.yield %p
    }
    %g = loop.for %k = 0 to 1 carry(%p = %f) : tile<4x16> {
      %q = loop.tile_dot(%p, %a, %b) {signs = u8s8} : tile<4x16>
      loop.yield %q
    }
    loop.tile_store %g, %y[48] {row = -16}
    loop.tile_store %g, %y[100] {row = 100}
    %n = loop.for %k = 0 to 2 carry(%p = %z) : tile<4x16> {
      loop.yield %z
    }
    loop.tile_store %n, %y[1000] {row = 16}"#;

fn bytes(n: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..n).map(|_| next()).collect()
}

#[test]
fn kernels_with_tiles_compute_what_the_interpreter_computes() {
    if !amx::available() {
        return;
    }
    for body in [PRODUCT, TILES] {
        let (m, x) = (kernel(body), bytes(4096));
        let found = run_jit(&m, CpuLevel::X86Amx, &x, 8192).expect("compiles");
        let expected = interpret(&m, &x);
        let written = |i: &usize| expected[*i] != 0xA5;
        let wrong: Vec<usize> =
            (0..8192).filter(written).filter(|&i| found[i] != expected[i]).collect();
        assert!(wrong.is_empty(), "{} bytes differ, first {:?}", wrong.len(), &wrong[..1]);
        assert!((0..8192).filter(written).count() > 128);
        // What the interpreter does not write, the code does not either.
        let written_elsewhere = (0..8192).filter(|i| !written(i) && found[*i] != 0xEE).count();
        assert!(written_elsewhere <= 64, "{written_elsewhere} bytes elsewhere");
    }
}

fn error(body: &str, cpu: CpuLevel) -> CodegenError {
    let target = target("x86_64-unknown-linux-gnu", cpu);
    listing(kernel(body), &target, Choice::ByWidth).expect_err("it cannot be emitted")
}

fn asm(body: &str, triple: &str) -> String {
    listing(kernel(body), &target(triple, CpuLevel::X86Amx), Choice::ByWidth).expect("emits").asm
}

#[test]
fn one_configuration_and_one_release() {
    for triple in ["x86_64-unknown-linux-gnu", "x86_64-pc-windows-msvc"] {
        let text = asm(PRODUCT, triple);
        for (what, n) in [
            ("ldtilecfg", 1),
            ("tilerelease", 1),
            ("tileloadd", 5),
            ("tdpbusd", 2),
            ("tdpbssd", 2),
            ("tilestored", 4),
            // The three sums that start with zeros.
            ("tilezero", 3),
        ] {
            assert_eq!(text.matches(what).count(), n, "{triple}: {what}\n{text}");
        }
    }
    let none = asm(
        "    %v = loop.load %x[0] : vec<i8x64>\n    loop.store %v, %y[0]",
        "x86_64-unknown-linux-gnu",
    );
    assert!(!none.contains("tile"), "{none}");
}

#[test]
fn what_cannot_be_emitted_says_why() {
    let amx = CpuLevel::X86Amx;
    let zeros = |n: usize| -> String {
        let load = |i| format!("    %t{i} = loop.tile_load %x[{i}] {{row = 64}} : tile<16x64>\n");
        let store = |i| format!("    loop.tile_store %t{i}, %y[{i}] {{row = 64}}\n");
        (0..n).map(load).chain((0..n).map(store)).collect()
    };
    asm(&zeros(8), "x86_64-unknown-linux-gnu");
    let nine = error(&zeros(9), amx).to_string();
    assert!(nine.contains("9 tiles are needed at once, there are 8"), "{nine}");
    for cpu in levels(Arch::X86_64).filter(|&l| l != amx) {
        let e = error(TILES, cpu).to_string();
        assert!(e.contains(cpu.name()) || e.contains("has none"), "{e}");
    }
    let copy = "
    %a = loop.tile_load %x[0] {row = 64} : tile<16x64>
    %b = loop.tile_load %x[64] {row = 64} : tile<16x64>
    %c = loop.tile_load %x[64] {row = 64} : tile<16x64>
    %d = loop.tile_dot(%c, %a, %b) {signs = u8s8} : tile<16x64>
    loop.tile_store %c, %y[0] {row = 64}
    loop.tile_store %d, %y[0] {row = 64}";
    let e = error(copy, amx).to_string();
    assert!(e.contains("a copy of a tile"), "{e}");
}
