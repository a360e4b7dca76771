//! Objects for several CPU levels: which variant runs, on this CPU and on emulated ones.
//!
//! The variants of these tests differ in what they add, so the answer tells which one ran.

mod common;

use common::*;
use qcc_codegen::aot::{Interface, Variant, compile_variants, link_shared};
use qcc_codegen::header;
use qcc_ir::Module;
use qcc_runtime::abi::{QccInfoFn, QccRunFn, QccRunParallelFn};
use qcc_runtime::arena::AlignedBuf;
use qcc_runtime::cpu::{Arch, CpuLevel, levels_of_host};
use std::path::Path;
use std::process::Command;

const A64: &str = "aarch64-unknown-linux-gnu";

/// [`ADD_ONE`] with `value` for the 1.
fn adding(value: usize) -> Module {
    module(&ADD_ONE.replace("{value = 1}", &format!("{{value = {value}}}")))
}

/// Variant k of `levels` adds k + 1.
fn object(levels: &[CpuLevel], triple: &str) -> Vec<u8> {
    let modules = (1..=levels.len()).map(adding);
    let variants = modules.zip(levels).map(|(module, &cpu)| Variant { module, cpu }).collect();
    let triple = triple.parse().expect("a triple");
    compile_variants(variants, &add_one_interface("m"), &triple).expect("compiles").bytes
}

fn input() -> Vec<u8> {
    (0..32).collect()
}

/// What variant k answers.
fn answer(k: usize) -> Vec<u8> {
    add_one(&input().iter().map(|v| v + k as u8).collect::<Vec<u8>>())
}

/// What the object at `path`, linked and loaded, answers: run, run_parallel, run again.
fn load_and_run(path: &Path) -> Vec<(i32, Vec<u8>)> {
    let x = [input(), vec![0; 64]].concat();
    // SAFETY: the library was just made by this crate; its functions have the contract's types,
    // and the buffers are as large as its description says, plus slack.
    unsafe {
        let library = libloading::Library::new(path).expect("loads");
        let info = library.get::<QccInfoFn>(b"m_info").expect("exported");
        let run = library.get::<QccRunFn>(b"m_run").expect("exported");
        let parallel = library.get::<QccRunParallelFn>(b"m_run_parallel").expect("exported");
        let mut arena = AlignedBuf::zeroed((*info()).arena_bytes);
        let mut answers = Vec::new();
        for call in 0..3 {
            let mut y = vec![0u8; 32];
            let (inputs, outputs) = ([x.as_ptr().cast()], [y.as_mut_ptr().cast()]);
            let arena = arena.as_mut_ptr().cast();
            let code = match call {
                1 => parallel(arena, inputs.as_ptr(), outputs.as_ptr(), std::ptr::null()),
                _ => run(arena, inputs.as_ptr(), outputs.as_ptr()),
            };
            answers.push((code, y));
        }
        answers
    }
}

#[test]
fn the_best_variant_of_this_cpu_runs() {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) || !have(&["cc"]) {
        return;
    }
    let all: Vec<CpuLevel> = levels(Arch::X86_64).collect();
    let host = levels_of_host();
    let dir = tempfile::tempdir().expect("a folder");
    // All levels, each pair of neighbours, and sets without the baseline.
    let mut sets: Vec<&[CpuLevel]> = vec![&all, &all[1..]];
    sets.extend(all.windows(2));
    // Alone it asks too: tiles need permission.
    sets.push(&[CpuLevel::X86Amx]);
    for (i, set) in sets.into_iter().enumerate() {
        let (from, to) = (dir.path().join("m.o"), dir.path().join(format!("m{i}.so")));
        std::fs::write(&from, object(set, "x86_64-unknown-linux-gnu")).expect("written");
        link_shared(&from, &to, &target("x86_64-unknown-linux-gnu", set[0])).expect("links");
        let expected = match set.iter().rposition(|l| host.contains(l)) {
            Some(k) => (0, answer(k)),
            None => (2, vec![0; 32]),
        };
        for (call, got) in load_and_run(&to).into_iter().enumerate() {
            assert_eq!(got, expected, "{set:?}, call {call}");
        }
    }
}

#[test]
fn the_best_variant_of_an_emulated_arm_runs() {
    if !have(&["aarch64-linux-gnu-gcc", "qemu-aarch64"]) {
        return;
    }
    let all: Vec<CpuLevel> = levels(Arch::Aarch64).collect();
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    let text = header::header(&add_one_interface("m"), 1 << 16);
    let files: [(&str, &[u8]); 3] =
        [("m.o", &object(&all, A64)), ("m.h", text.as_bytes()), ("driver.c", DRIVER)];
    write_all(folder, &files);
    let mut command = Command::new("aarch64-linux-gnu-gcc");
    command.args(["-std=c99", "-D_ISOC11_SOURCE", "-static", "driver.c", "m.o", "-o", "m"]);
    run(command.current_dir(folder));
    // A Cortex-A53 has neither extension, a Neoverse N1 has dot products, `max` has all.
    for (cpu, k) in [("cortex-a53", 0), ("neoverse-n1", 1), ("max", 2)] {
        let y = pipe(&["qemu-aarch64", "-cpu", cpu], &folder.join("m"), &input());
        assert_eq!(y, answer(k), "{cpu}");
    }
}

#[test]
fn nothing_is_exported_or_missing_beside_the_contract() {
    use object::{Object, ObjectSymbol};
    for triple in ["x86_64-unknown-linux-gnu", "x86_64-apple-darwin", "x86_64-pc-windows-gnu"] {
        let all: Vec<CpuLevel> = levels(Arch::X86_64).collect();
        let bytes = object(&all, triple);
        assert!(bytes == object(&all, triple), "{triple}: the same bytes twice");
        let file = object::File::parse(&*bytes).expect("an object");
        let name = |s: &object::Symbol| s.name().unwrap_or("").trim_start_matches('_').to_string();
        let mut global: Vec<String> = file
            .symbols()
            .filter(|s| s.is_global() && s.is_definition())
            .map(|s| name(&s))
            .collect();
        global.retain(|n| !n.starts_with(".refptr."));
        global.sort();
        assert_eq!(global, ["m_info", "m_reset", "m_run", "m_run_parallel"], "{triple}");
        let missing: Vec<String> =
            file.symbols().filter(|s| s.is_undefined()).map(|s| name(&s)).collect();
        assert!(missing.iter().all(String::is_empty), "{triple}: {missing:?}");
    }
}

#[test]
fn a_program_that_cannot_ask_says_so() {
    let module = adding(1);
    let levels = [CpuLevel::A64Baseline, CpuLevel::A64Dotprod];
    let variants = levels.map(|cpu| Variant { module: module.clone(), cpu }).to_vec();
    let interface: Interface = add_one_interface("m");
    let triple = "aarch64-apple-darwin".parse().expect("a triple");
    let error = compile_variants(variants, &interface, &triple).unwrap_err().to_string();
    assert!(error.contains("cannot ask the CPU"), "{error}");
}
