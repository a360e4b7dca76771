//! Objects, archives and shared libraries in C and C++ programs, and loaded at run time.
//! Skips, and says so, where a compiler or the emulator is missing.

mod common;

use common::*;
use qcc_codegen::aot::{archive, link_shared};
use qcc_codegen::jit::{JitOptions, JitProgram};
use qcc_codegen::{Target, header};
use qcc_runtime::Pool;
use qcc_runtime::arena::AlignedBuf;
use qcc_runtime::cpu::{Arch, CpuLevel, levels_of_host};
use std::path::Path;
use std::process::Command;

const X86: &str = "x86_64-unknown-linux-gnu";
const A64: &str = "aarch64-unknown-linux-gnu";
const STRICT: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"];

fn x86_linux() -> bool {
    cfg!(all(target_os = "linux", target_arch = "x86_64"))
}

fn input() -> Vec<u8> {
    (0..32).map(|i| (i * 37 + 90) as u8).collect()
}

/// Writes `<symbol>.o`, `.a` and `.h` of the test's model, and the C programs.
fn write_model(folder: &Path, triple: &str, cpu: CpuLevel, symbol: &str) {
    let object = add_one_object(triple, cpu, symbol);
    let text = header::header(&add_one_interface(symbol), object.arena_bytes);
    let library = archive(&object.bytes, &header::exported(symbol));
    let name = |suffix: &str| format!("{symbol}.{suffix}");
    let files: [(&str, &[u8]); 5] = [
        (&name("o"), &object.bytes),
        (&name("a"), &library),
        (&name("h"), text.as_bytes()),
        ("driver.c", DRIVER),
        ("describe.c", include_bytes!("common/describe.c")),
    ];
    write_all(folder, &files);
}

#[test]
fn in_this_process() {
    for cpu in levels_of_host() {
        let y = run_jit(&module(ADD_ONE), cpu, &input(), 32).expect("compiles");
        assert_eq!(y, add_one(&input()), "{cpu}");
    }
}

#[test]
fn in_this_process_on_several_threads() {
    for cpu in levels_of_host() {
        let options = JitOptions::default();
        let jit = JitProgram::compile(module(ADD_ONE), &Target::host(cpu), options).unwrap();
        let mut arena = AlignedBuf::zeroed(jit.program.arena_bytes + 64);
        let mut x = input();
        x.resize(x.len() + 64, 0);
        for n_threads in 1..=3 {
            let pool = Pool::new(n_threads).expect("threads");
            let mut y = vec![0u8; 32];
            // SAFETY: buffers are as large as `main` says, plus slack.
            let code = unsafe {
                jit.run_parallel(arena.as_mut_ptr(), &[x.as_ptr()], &[y.as_mut_ptr()], &pool)
            };
            assert_eq!((code, y), (0, add_one(&input())), "{cpu}, {n_threads} threads");
        }
    }
}

#[test]
fn objects_and_archives_in_c_and_cpp() {
    if !x86_linux() || !have(&["gcc", "g++"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    for cpu in levels_of_host() {
        write_model(folder, X86, cpu, "m");
        for cc in [["gcc", "-std=c99"], ["g++", "-std=c++11"]] {
            for library in ["m.o", "m.a"] {
                let mut command = Command::new(cc[0]);
                command.args([cc[1], "-D_ISOC11_SOURCE"]).args(STRICT);
                if cc[0] == "g++" {
                    // The driver is C; as C++ it needs its casts, so only the header is compiled.
                    std::fs::write(folder.join("only.cc"), "#include \"m.h\"\n").expect("written");
                    run(command.args(["-fsyntax-only", "only.cc"]).current_dir(folder));
                    continue;
                }
                command.args(["driver.c", library, "-Wl,-z,text", "-Wl,--fatal-warnings"]);
                run(command.args(["-o", "m"]).current_dir(folder));
                assert_eq!(pipe(&[], &folder.join("m"), &input()), add_one(&input()), "{cpu}");
            }
        }
    }
}

#[test]
fn the_description_is_what_c_reads() {
    if !x86_linux() || !have(&["gcc"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    write_model(folder, X86, CpuLevel::X86Baseline, "m");
    write_model(folder, X86, CpuLevel::X86Baseline, "other");
    let mut command = Command::new("gcc");
    command.arg("-std=c99").args(STRICT).args(["describe.c", "m.o", "other.a", "-o", "describe"]);
    run(command.current_dir(folder));
    let one = "add one abi 1 arena 192 align 64 state 0\n\
               x dtype 9 rank 2 bytes 32 axis -1 shape 1 32 (0.5 -3)\n\
               y \"*/\" dtype 9 rank 2 bytes 32 axis 0 shape 4 8 (0.5 7) (0.25 0) (1 0) (2 0)\n";
    assert_eq!(run(&mut Command::new(folder.join("describe"))), format!("{one}{one}"));
}

#[test]
fn cross_compiled_for_aarch64() {
    if !have(&["aarch64-linux-gnu-gcc", "qemu-aarch64"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    for cpu in levels(Arch::Aarch64) {
        write_model(folder, A64, cpu, "m");
        let mut command = Command::new("aarch64-linux-gnu-gcc");
        command.args(["-std=c99", "-D_ISOC11_SOURCE", "-static"]).args(STRICT);
        run(command.args(["driver.c", "m.o", "-o", "m"]).current_dir(folder));
        let y = pipe(&["qemu-aarch64", "-cpu", "max"], &folder.join("m"), &input());
        assert_eq!(y, add_one(&input()), "{cpu}");
    }
}

#[test]
fn shared_library_loads_and_runs() {
    if !x86_linux() || !have(&["cc"]) {
        return;
    }
    use qcc_runtime::abi::{QccInfoFn, QccParallel, QccRunFn, QccRunParallelFn};
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    write_model(folder, X86, CpuLevel::X86Baseline, "m");
    let target = target(X86, CpuLevel::X86Baseline);
    let link = |name: &str| {
        let path = folder.join(name);
        link_shared(&folder.join("m.o"), &path, &target).expect("links");
        path
    };
    let (path, again) = (link("one.so"), link("two.so"));
    assert!(std::fs::read(&path).unwrap() == std::fs::read(again).unwrap(), "deterministic");
    let (x, mut y) = (input(), vec![0u8; 32]);
    // SAFETY: the library was just made by this crate; its functions have the contract's types,
    // and the buffers are as large as its description says.
    unsafe {
        let library = libloading::Library::new(&path).expect("loads");
        let info = library.get::<QccInfoFn>(b"m_info").expect("exported");
        let run = library.get::<QccRunFn>(b"m_run").expect("exported");
        let mut arena = AlignedBuf::zeroed((*info()).arena_bytes);
        let (inputs, outputs) = ([x.as_ptr().cast()], [y.as_mut_ptr().cast()]);
        assert_eq!(run(arena.as_mut_ptr().cast(), inputs.as_ptr(), outputs.as_ptr()), 0);
        assert_eq!(y, add_one(&x));
        let run = library.get::<QccRunParallelFn>(b"m_run_parallel").expect("exported");
        let pool = Pool::new(2).expect("threads");
        let parallel = pool.as_parallel();
        let nobody = QccParallel { parallel_for: None, ..parallel };
        for pool in [std::ptr::from_ref(&parallel), &nobody, std::ptr::null()] {
            y.fill(0);
            let outputs = [y.as_mut_ptr().cast()];
            let arena = arena.as_mut_ptr().cast();
            assert_eq!(run(arena, inputs.as_ptr(), outputs.as_ptr(), pool), 0);
            assert_eq!(y, add_one(&x));
        }
    }
}

#[test]
fn shared_library_for_aarch64() {
    if !have(&["aarch64-linux-gnu-gcc"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    write_model(dir.path(), A64, CpuLevel::A64Baseline, "m");
    let target = target(A64, CpuLevel::A64Baseline);
    let path = dir.path().join("libm_model.so");
    link_shared(&dir.path().join("m.o"), &path, &target).expect("links");
    let bytes = std::fs::read(path).expect("written");
    assert_eq!(object::FileKind::parse(&*bytes).unwrap(), object::FileKind::Elf64);
}

#[test]
fn without_a_linker_the_error_says_what_was_tried() {
    let dir = tempfile::tempdir().expect("a folder");
    let error = |triple: &str, cpu| {
        let object = dir.path().join("m.o");
        let target = target(triple, cpu);
        link_shared(&object, &dir.path().join("m.so"), &target).unwrap_err().to_string()
    };
    if !cfg!(target_os = "macos") {
        let e = error("aarch64-apple-darwin", CpuLevel::A64Baseline);
        assert!(e.contains("no linker for this target; write an object (.o)"), "{e}");
    }
    if x86_linux() {
        let e = error(X86, CpuLevel::X86Baseline);
        assert!(e.contains("cc failed") && e.contains("m.o"), "{e}");
        assert!(!dir.path().join("m.so").exists());
    }
}
