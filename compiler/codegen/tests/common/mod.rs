//! What the tests of this crate share: modules from text, buffers, tools of this machine.
#![allow(dead_code, reason = "each test file uses some of it")]

use qcc_codegen::aot::{Interface, ObjectFile, compile_object};
use qcc_codegen::emitters::Choice;
use qcc_codegen::jit::{JitOptions, JitProgram};
use qcc_codegen::{CodegenError, Target};
use qcc_ir::{Module, interp, text, verify};
use qcc_runtime::TensorDesc;
use qcc_runtime::arena::AlignedBuf;
use qcc_runtime::cpu::{Arch, CpuLevel};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod amx;
pub mod lane_ops;

/// The module that `source` spells; it verifies.
pub fn module(source: &str) -> Module {
    let m = text::parse(source, "test.qir").unwrap_or_else(|e| panic!("{e:?}\n{source}"));
    verify::verify(&m).unwrap_or_else(|e| panic!("{e:?}\n{source}"));
    m
}

/// Adds 1 to each byte of 32, with a loop; keeps a copy in the arena, and adds a constant table, in
/// two tasks.
pub const ADD_ONE: &str = r#"
module @add_one level(loop) numerics(tflite) {
  kernel @add_one(%x: mem<32, slack=64>, %y: mem<32>) {
    %one = loop.iconst() {value = 1} : vec<i8x16>
    loop.for %i = 0 to 2 {
      %v = loop.load %x[%i*16] : vec<i8x16>
      %w = loop.add(%v, %one) : vec<i8x16>
      loop.store %w, %y[%i*16]
      loop.yield
    }
    return
  }
  kernel @add_table(%x: mem<16>, %t: mem<16, const>, %y: mem<16>) {
    loop.for %i = 0 to 16 {
      %v = loop.load %x[%i] : i8
      %t0 = loop.load %t[%i] : i8
      %w = loop.add(%v, %t0) : i8
      loop.store %w, %y[%i]
      loop.yield
    }
    return
  }
  func @main(%arena: mem<128, slack=64>, %x: mem<32, slack=64>, %y: mem<32>) inputs("x") outputs("y") {
    %t = const @table : mem<32, const>
    loop.call(%x, %arena) {kernel = "add_one", offsets = [0, 64]}
    loop.call(%arena, %t, %y) {kernel = "add_table", offsets = [64, 0, 0], tasks = 2}
    loop.call(%arena, %t, %y) {kernel = "add_table", offsets = [80, 16, 16], task = 1, tasks = 2}
    return
  }
}
data @table = hex"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
"#;

/// What [`ADD_ONE`] answers.
pub fn add_one(x: &[u8]) -> Vec<u8> {
    x.iter().enumerate().map(|(i, v)| v.wrapping_add(1).wrapping_add(i as u8)).collect()
}

/// The interface of [`ADD_ONE`] under `symbol`.
pub fn add_one_interface(symbol: &str) -> Interface {
    let x = TensorDesc::plain("x", qcc_runtime::DType::I8, [1, 32]).quantized(0.5, -3);
    let mut y = TensorDesc::plain("y \"*/\"", qcc_runtime::DType::I8, [4, 8]);
    (y.scales, y.zero_points, y.axis) = (vec![0.5, 0.25, 1.0, 2.0], vec![7], Some(0));
    Interface { name: "add one".into(), symbol: symbol.into(), inputs: vec![x], outputs: vec![y] }
}

/// Runs a module of one input and one output in this process.
pub fn run_jit(
    m: &Module,
    cpu: CpuLevel,
    x: &[u8],
    y_bytes: usize,
) -> Result<Vec<u8>, CodegenError> {
    run_jit_choosing(m, cpu, Choice::ByWidth, (x, y_bytes))
}

/// As [`run_jit`]; `choice` says which emitter takes which kernel.
pub fn run_jit_choosing(
    m: &Module,
    cpu: CpuLevel,
    choice: Choice,
    (x, y_bytes): (&[u8], usize),
) -> Result<Vec<u8>, CodegenError> {
    let options = JitOptions { choice, ..JitOptions::default() };
    let jit = JitProgram::compile(m.clone(), &Target::host(cpu), options)?;
    let mut arena = AlignedBuf::zeroed(jit.program.arena_bytes + 64);
    let mut padded = x.to_vec();
    padded.resize(x.len() + 64, 0x5A);
    let mut y = vec![0xEE; y_bytes];
    // SAFETY: the arena, the input with its slack and the output are as large as `run` asks for.
    let code = unsafe { jit.run(arena.as_mut_ptr(), &[padded.as_ptr()], &[y.as_mut_ptr()]) };
    assert_eq!(code, 0);
    Ok(y)
}

/// What the reference interpreter answers.
pub fn interpret(m: &Module, x: &[u8]) -> Vec<u8> {
    interp::run_loop_main(m, &[x.to_vec()]).expect("the module runs").remove(0)
}

/// A target by triple and level.
pub fn target(triple: &str, cpu: CpuLevel) -> Target {
    Target { triple: triple.parse().expect("a triple"), cpu }
}

/// All levels of an architecture.
pub fn levels(arch: Arch) -> impl Iterator<Item = CpuLevel> {
    CpuLevel::ALL.into_iter().filter(move |l| l.arch() == arch)
}

/// [`ADD_ONE`] as an object for `triple`.
pub fn add_one_object(triple: &str, cpu: CpuLevel, symbol: &str) -> ObjectFile {
    let interface = add_one_interface(symbol);
    compile_object(module(ADD_ONE), &interface, &target(triple, cpu)).expect("compiles")
}

/// Whether all tools can be started; prints what is missing.
pub fn have(tools: &[&str]) -> bool {
    let found = |tool: &&str| {
        let mut command = Command::new(tool);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let missing: Vec<_> = tools.iter().filter(|t| !found(t)).collect();
    if !missing.is_empty() {
        eprintln!("SKIPPED: {missing:?} not on this machine");
    }
    missing.is_empty()
}

/// Runs a command that must succeed; its standard output.
pub fn run(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let message = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{command:?}: {}\n{message}", out.status);
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A C program that runs a model with the symbol `m`.
pub const DRIVER: &[u8] = include_bytes!("driver.c");

/// Runs a program on `input` through `runner` (an emulator, or nothing); its standard output.
pub fn pipe(runner: &[&str], program: &Path, input: &[u8]) -> Vec<u8> {
    let words: Vec<_> = runner.iter().map(Path::new).chain([program]).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let out = child.wait_with_output().expect("runs");
    writer.join().expect("no panic").expect("the program reads its input");
    assert!(out.status.success(), "{command:?}: {}", out.status);
    out.stdout
}

/// Writes files into a folder.
pub fn write_all(folder: &Path, files: &[(&str, &[u8])]) {
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).expect("a writable folder");
    }
}
