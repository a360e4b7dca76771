//! Every lane op at every type and CPU level computes what the reference interpreter computes:
//! in this process, and as objects linked into C programs.

mod common;

use common::lane_ops::{Case, ROWS, cases, input, source};
use common::*;
use qcc_codegen::aot::{Interface, compile_object};
use qcc_codegen::{CodegenError, Target, header};
use qcc_ir::{Module, OpKind};
use qcc_runtime::cpu::{Arch, CpuLevel, levels_of_host};
use qcc_runtime::{DType, TensorDesc};
use std::path::Path;
use std::process::Command;

/// Bytes of a vector.
const WIDTH: usize = 16;

/// All cases that a level has, their module, and the expected output.
struct Suite {
    cases: Vec<Case>,
    module: Module,
    x: Vec<u8>,
    expected: Vec<u8>,
}

impl Suite {
    fn of(cpu: CpuLevel) -> Suite {
        let no_fma = matches!(cpu, CpuLevel::X86Baseline | CpuLevel::X86V2);
        let (cases, x) = (cases(!no_fma, WIDTH), input(WIDTH));
        let module = module(&source(&cases, WIDTH));
        let expected = interpret(&module, &x);
        Suite { cases, module, x, expected }
    }

    fn check(&self, found: &[u8], at: &str) {
        let size = ROWS * WIDTH;
        assert_eq!(found.len(), self.expected.len(), "{at}");
        let same = |k: &usize| found[k * size..][..size] == self.expected[k * size..][..size];
        let wrong: Vec<String> = (0..self.cases.len())
            .filter(|k| !same(k))
            .map(|k| format!("{:?}", self.cases[k]))
            .collect();
        assert!(wrong.is_empty(), "{at}: {} ops differ:\n{}", wrong.len(), wrong.join("\n"));
    }

    /// Compiles to an object, links it with [`DRIVER`] and runs that.
    fn check_linked(&self, target: &Target, cc: &[&str], runner: &[&str], folder: &Path) {
        let tensor = |name: &str, n: usize| TensorDesc::plain(name, DType::I8, [n]);
        let inputs = vec![tensor("x", self.x.len())];
        let outputs = vec![tensor("y", self.expected.len())];
        let (name, symbol) = ("lanes".to_string(), "m".to_string());
        let interface = Interface { name, symbol, inputs, outputs };
        let object = compile_object(self.module.clone(), &interface, target).expect("compiles");
        let text = header::header(&interface, object.arena_bytes);
        let files: [(&str, &[u8]); 3] =
            [("m.o", &object.bytes), ("m.h", text.as_bytes()), ("driver.c", DRIVER)];
        write_all(folder, &files);
        run(Command::new(cc[0])
            .args(&cc[1..])
            .args(["driver.c", "m.o", "-o", "m"])
            .current_dir(folder));
        let found = pipe(runner, &folder.join("m"), &self.x);
        self.check(&found, &format!("{} {}", target.triple, target.cpu));
    }
}

#[test]
fn every_op_at_every_level_of_this_machine() {
    for cpu in levels_of_host() {
        let suite = Suite::of(cpu);
        let found = run_jit(&suite.module, cpu, &suite.x, suite.expected.len());
        suite.check(&found.expect("compiles"), cpu.name());
    }
}

#[test]
fn every_op_in_objects_of_this_machine() {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) || !have(&["gcc"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for cpu in levels_of_host() {
        let target = Target::host(cpu);
        Suite::of(cpu).check_linked(&target, &["gcc"], &[], folder.path());
    }
}

#[test]
fn every_op_in_objects_for_aarch64() {
    if !have(&["aarch64-linux-gnu-gcc", "qemu-aarch64"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for cpu in levels(Arch::Aarch64) {
        let target = target("aarch64-unknown-linux-gnu", cpu);
        let cc = ["aarch64-linux-gnu-gcc", "-static"];
        Suite::of(cpu).check_linked(&target, &cc, &["qemu-aarch64", "-cpu", "max"], folder.path());
    }
}

#[test]
fn every_op_of_the_table_has_a_case() {
    let cases = cases(true, WIDTH);
    // Tiles have tests of their own (amx.rs); what packs weights is gone before code is made.
    let elsewhere = ["loop.tile_", "loop.scratch", "loop.pack_"];
    let own = |name: &str| !elsewhere.iter().any(|prefix| name.starts_with(prefix));
    for spec in OpKind::all_specs().filter(|s| s.name.starts_with("loop.") && own(s.name)) {
        let tested = cases.iter().any(|c| c.op == spec.name) || MEMORY.contains(spec.name);
        assert!(tested, "no case for {}", spec.name);
    }
}

/// Loads, stores, lookups, loop variables and carried values.
const MEMORY: &str = r#"
module @memory level(loop) numerics(tflite) {
  kernel @splats(%x: mem<64, slack=64>, %y: mem<256>) {
    loop.for %i = 0 to 16 {
      %v = loop.load_splat32 %x[%i*-3 + 45] : vec<i8x16>
      loop.store %v, %y[%i*16]
      loop.yield
    }
    return
  }
  kernel @halves(%x: mem<64>, %y: mem<256>) {
    loop.for %i = 0 to 8 {
      %v = loop.load_low64 %x[%i*7] : vec<i8x16>
      loop.store %v, %y[%i*16]
      loop.store_low %v, %y[%i*16 + 128] {bytes = 4}
      %w = loop.bitcast(%v) : vec<i32x4>
      loop.store_low %w, %y[%i*16 + 132] {bytes = 8}
      loop.yield
    }
    return
  }
  kernel @lookups(%x: mem<64>, %t: mem<640, const>, %y: mem<256>) {
    loop.for %i = 0 to 64 {
      %b = loop.load %x[%i] : i8
      %i32 = loop.ext_s(%b) : i32
      %e = loop.lookup(%t, %i32) {offset = 128, stride = 1, lo = -128, hi = 127} : i8
      %low = loop.iconst() {value = 63} : i32
      %k = loop.and(%i32, %low) : i32
      %f = loop.lookup(%t, %k) {offset = 6, stride = 10, lo = 0, hi = 63} : i16
      %m = loop.lookup(%t, %k) {offset = 637, stride = -6, lo = 0, hi = 63} : i8
      loop.store %e, %y[%i*4]
      loop.store %f, %y[%i*4 + 1]
      loop.store %m, %y[%i*4 + 3]
      loop.yield
    }
    return
  }
  kernel @loops(%x: mem<64>, %y: mem<256>) {
    %zero = loop.iconst() {value = 0} : i32
    %mask0 = loop.iconst() {value = 0} : vec<i32x4>
    loop.for %i = 0 to 4 {
      %a, %b = loop.for %j = 1 to 10 step 3 carry(%p = %zero, %q = %mask0) : i32, vec<i32x4> {
        %c = loop.index_cast(%j) : i32
        %u, %p2 = loop.for %k = 5 to 5 carry(%s = %q, %r = %p) : vec<i32x4>, i32 {
          loop.yield %mask0, %zero
        }
        %v = loop.load %x[%i*4 + %j*2 + %i] : vec<i32x4>
        %more = loop.cmp(%v, %u) {pred = gt} : vec<i32x4>
        %w = loop.select(%more, %v, %u) : vec<i32x4>
        %d = loop.index_cast(%i) : i32
        %e = loop.mul(%c, %d) : i32
        %n = loop.add(%p2, %e) : i32
        loop.yield %n, %w
      }
      loop.store %b, %y[%i*32]
      loop.store %a, %y[%i*32 + 20]
      loop.yield
    }
    return
  }
  func @main(%arena: mem<0, slack=64>, %x: mem<64, slack=64>, %y: mem<1024>) inputs("x") outputs("y") {
    %t = const @t : mem<640, const>
    loop.call(%x, %y) {kernel = "splats", offsets = [0, 0]}
    loop.call(%x, %y) {kernel = "halves", offsets = [0, 256]}
    loop.call(%x, %t, %y) {kernel = "lookups", offsets = [0, 0, 512]}
    loop.call(%x, %y) {kernel = "loops", offsets = [0, 768]}
    return
  }
}
data @t = hex"TABLE"
"#;

#[test]
fn memory_and_loops() {
    let table: String = (0..640u32).map(|i| format!("{:02x}", i * 7 % 251)).collect();
    let m = module(&MEMORY.replace("TABLE", &table));
    let x = &input(WIDTH)[..64];
    // Bytes that no kernel writes are not compared.
    let expected = interpret(&m, x);
    let written = |i: &usize| expected[*i] != 0xA5;
    for cpu in levels_of_host() {
        let found = run_jit(&m, cpu, x, expected.len()).expect("compiles");
        let differ = (0..expected.len()).filter(written).find(|&i| found[i] != expected[i]);
        assert_eq!(differ, None, "{cpu}");
    }
}

/// The error of a kernel that reads 16 bytes as `operand` and applies `op`.
fn error_of(op: &str, operand: &str, result: &str, cpu: CpuLevel) -> CodegenError {
    let m = module(&format!(
        "module @m level(loop) numerics(tflite) {{
  kernel @k(%x: mem<64>, %y: mem<64>) {{
    %a = loop.load %x[0] : {operand}
    %r = {op} : {result}
    loop.store %r, %y[0]
    return
  }}
  func @main(%a: mem<0>, %x: mem<64>, %y: mem<64>) inputs(\"x\") outputs(\"y\") {{
    loop.call(%x, %y) {{kernel = \"k\", offsets = [0, 0]}}
    return
  }}
}}"
    ));
    run_jit(&m, cpu, &[0; 64], 64).expect_err("not to be emitted")
}

#[test]
fn what_a_level_has_not_is_an_error() {
    if !CpuLevel::X86V3.runs_here() {
        return;
    }
    let fma = |cpu| error_of("loop.fma(%a, %a, %a)", "vec<f32x4>", "vec<f32x4>", cpu).to_string();
    let expected = "kernel 'k': this CPU level has no fused multiply-add";
    assert_eq!(fma(CpuLevel::X86Baseline), expected);
    assert_eq!(fma(CpuLevel::X86V2), expected);
    let cpu = CpuLevel::X86V3;
    let wide = error_of("loop.add(%a, %a)", "vec<i32x16>", "vec<i32x16>", cpu).to_string();
    assert_eq!(wide, "kernel 'k': a vector of 512 bits; CPU level 'x86-64-v3' has none");
    let divide = error_of("loop.div_s(%a) {by = 128}", "i8", "i8", cpu).to_string();
    assert_eq!(divide, "kernel 'k': a division of 8 bits by 128");
}
