//! The wide emitter's code next to what the machine can do: GEMM tiles written as loop kernels.
//!
//! `cargo run --release --bin bench-wide [--asm]`
//!
//! Every tile multiplies 96 rows of u8 with packed s8 weights into i32 (`vpdpbusd`), all of it in
//! the first-level cache. The peak is measured: independent dot products on registers. Best of
//! many runs each.

use qcc_codegen::Target;
use qcc_codegen::emitters::Choice;
use qcc_codegen::jit::{JitOptions, JitProgram, listing};
use qcc_ir::{Module, text, verify};
use qcc_runtime::AlignedBuf;
use qcc_runtime::cpu::{Arch, CpuLevel, levels_of_host};
use std::fmt::Write;
use std::time::Instant;

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let show = std::env::args().any(|a| a == "--asm");
    if Arch::host() != Some(Arch::X86_64) {
        return Err("the wide emitter is for x86-64".into());
    }
    let here = levels_of_host();
    let zmm: &[(usize, usize)] = &[(6, 4), (4, 6), (12, 2), (14, 2), (24, 1), (8, 3)];
    let ymm: &[(usize, usize)] = &[(6, 2), (4, 3), (12, 1)];
    let cases = [(CpuLevel::X86Avx512Vnni, 64, zmm), (CpuLevel::X86AvxVnni, 32, ymm)];
    for (cpu, width, tiles) in cases.into_iter().filter(|c| here.contains(&c.0)) {
        println!("CPU level {cpu}, {} bits", 8 * width);
        let peak = speed(&peak_kernel(width), 1000.0 * (12 * width) as f64, cpu, show)?;
        println!("  {:<28} {peak:8.1} GMAC/s", "dot products on registers");
        for &(rows, vectors) in tiles {
            let k_bytes = 256;
            let macs = (96 / rows * rows * k_bytes * vectors * width / 4) as f64;
            let source = tile_kernel(width, (rows, vectors), k_bytes);
            let found = speed(&source, macs, cpu, show)?;
            let share = found / peak * 100.0;
            let name = format!("tile {rows}x{vectors}, K = {k_bytes}");
            println!("  {name:<28} {found:8.1} GMAC/s {share:6.1} % of the peak");
        }
    }
    Ok(())
}

/// A module of one kernel `k` on an input, weights and an output.
fn wrap(body: &str) -> String {
    format!(
        "module @m level(loop) numerics(tflite) {{\n  \
         kernel @k(%x: mem<65536, slack=64>, %w: mem<262144>, %y: mem<65536>) {{\n{body}    \
         return\n  }}\n  \
         func @main(%a: mem<0, slack=64>, %x: mem<65536, slack=64>, %w: mem<262144, slack=64>, \
         %y: mem<65536>) inputs(\"x\", \"w\") outputs(\"y\") {{\n    \
         loop.call(%x, %w, %y) {{kernel = \"k\", offsets = [0, 0, 0]}}\n    return\n  }}\n}}\n"
    )
}

fn carry(n: usize, init: &str, words: usize) -> (String, String, String) {
    let list = |f: &dyn Fn(usize) -> String| (0..n).map(f).collect::<Vec<_>>().join(", ");
    let carried = list(&|i| format!("%a{i} = {init}"));
    let types = list(&|_| format!("vec<i32x{words}>"));
    (list(&|i| format!("%r{i}")), carried, types)
}

/// 12 independent accumulators, 1000 times.
fn peak_kernel(width: usize) -> String {
    let words = width / 4;
    let mut out = format!(
        "    %zero = loop.iconst() {{value = 0}} : vec<i32x{words}>\n    \
         %u = loop.load %x[0] : vec<i8x{width}>\n    %v = loop.load %w[0] : vec<i8x{width}>\n"
    );
    let (results, carried, types) = carry(12, "%zero", words);
    writeln!(out, "    {results} = loop.for %i = 0 to 1000 carry({carried}) : {types} {{").ok();
    for i in 0..12 {
        let op = format!("loop.dot4(%a{i}, %u, %v) {{signs = u8s8}}");
        writeln!(out, "      %b{i} = {op} : vec<i32x{words}>").ok();
    }
    let next: Vec<String> = (0..12).map(|i| format!("%b{i}")).collect();
    writeln!(out, "      loop.yield {}\n    }}", next.join(", ")).ok();
    for i in 0..12 {
        writeln!(out, "    loop.store %r{i}, %y[{}]", i * width).ok();
    }
    wrap(&out)
}

/// 96 rows in blocks of `rows`, one panel of `vectors` vectors.
fn tile_kernel(width: usize, (rows, vectors): (usize, usize), k_bytes: usize) -> String {
    let words = width / 4;
    let n = rows * vectors;
    let mut out = format!("    %zero = loop.iconst() {{value = 0}} : vec<i32x{words}>\n");
    writeln!(out, "    loop.for %m = 0 to {} {{", 96 / rows).ok();
    let (results, carried, types) = carry(n, "%zero", words);
    let quads = k_bytes / 4;
    writeln!(out, "      {results} = loop.for %k = 0 to {quads} carry({carried}) : {types} {{")
        .ok();
    for v in 0..vectors {
        let at = format!("%w[%k*{} + {}]", vectors * width, v * width);
        writeln!(out, "        %w{v} = loop.load {at} : vec<i8x{width}>").ok();
    }
    for r in 0..rows {
        let at = format!("%x[%m*{} + %k*4 + {}]", rows * k_bytes, r * k_bytes);
        writeln!(out, "        %x{r} = loop.load_splat32 {at} : vec<i8x{width}>").ok();
        for v in 0..vectors {
            let i = r * vectors + v;
            let op = format!("loop.dot4(%a{i}, %x{r}, %w{v}) {{signs = u8s8}}");
            writeln!(out, "        %b{i} = {op} : vec<i32x{words}>").ok();
        }
    }
    let next: Vec<String> = (0..n).map(|i| format!("%b{i}")).collect();
    writeln!(out, "        loop.yield {}\n      }}", next.join(", ")).ok();
    for i in 0..n {
        let at = format!("%y[%m*{} + {}]", n * width, i * width);
        writeln!(out, "      loop.store %r{i}, {at}").ok();
    }
    out.push_str("      loop.yield\n    }\n");
    wrap(&out)
}

/// GMAC/s of a module of `macs` multiplications.
fn speed(source: &str, macs: f64, cpu: CpuLevel, show: bool) -> Result<f64, Error> {
    let module: Module = text::parse(source, "bench.qir").map_err(|e| format!("{e:?}"))?;
    verify::verify(&module).map_err(|e| format!("{e:?}"))?;
    let target = Target::host(cpu);
    if show {
        println!("{}", listing(module.clone(), &target, Choice::default())?.asm);
    }
    let jit = JitProgram::compile(module, &target, JitOptions::default())?;
    let mut arena = AlignedBuf::zeroed(64);
    let (x, w) = (AlignedBuf::zeroed(65536 + 64), AlignedBuf::zeroed(262144 + 64));
    let mut y = AlignedBuf::zeroed(65536);
    let mut best = f64::INFINITY;
    for _ in 0..3000 {
        let start = Instant::now();
        // SAFETY: the buffers have the sizes that the module's main declares.
        unsafe { jit.run(arena.as_mut_ptr(), &[x.as_ptr(), w.as_ptr()], &[y.as_mut_ptr()]) };
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(macs / best / 1e9)
}
