//! The wide emitter: every lane op with vectors of 128, 256 and 512 bits computes what the
//! reference interpreter computes, at every CPU level that this machine has.

mod common;

use common::lane_ops::{Case, ROWS, cases, input, source};
use common::*;
use qcc_codegen::Target;
use qcc_codegen::emitters::Choice;
use qcc_codegen::jit::listing;
use qcc_ir::Module;
use qcc_runtime::cpu::{CpuLevel, levels_of_host};

/// Bytes of a vector that the wide emitter has at a level.
fn widths(cpu: CpuLevel) -> &'static [usize] {
    match cpu {
        CpuLevel::X86V3 | CpuLevel::X86AvxVnni => &[16, 32],
        CpuLevel::X86V4 | CpuLevel::X86Avx512Vnni | CpuLevel::X86Amx => &[16, 32, 64],
        _ => &[],
    }
}

/// Every level of this machine that has wide vectors, with the width of each; says what is
/// missing.
fn wide_levels() -> Vec<(CpuLevel, usize)> {
    let here = levels_of_host();
    for cpu in CpuLevel::ALL.into_iter().filter(|cpu| !widths(*cpu).is_empty()) {
        if !here.contains(&cpu) {
            eprintln!("SKIPPED: this machine has no {cpu}");
        }
    }
    here.into_iter().flat_map(|cpu| widths(cpu).iter().map(move |&w| (cpu, w))).collect()
}

/// All cases, their module, and the expected output.
struct Suite {
    width: usize,
    cases: Vec<Case>,
    module: Module,
    x: Vec<u8>,
    expected: Vec<u8>,
}

impl Suite {
    fn of(width: usize) -> Suite {
        let (cases, x) = (cases(true, width), input(width));
        let module = module(&source(&cases, width));
        let expected = interpret(&module, &x);
        Suite { width, cases, module, x, expected }
    }

    fn check(&self, found: &[u8], at: &str) {
        let size = ROWS * self.width;
        assert_eq!(found.len(), self.expected.len(), "{at}");
        let same = |k: &usize| found[k * size..][..size] == self.expected[k * size..][..size];
        let wrong: Vec<String> = (0..self.cases.len())
            .filter(|k| !same(k))
            .map(|k| format!("{:?}", self.cases[k]))
            .collect();
        assert!(wrong.is_empty(), "{at}: {} ops differ:\n{}", wrong.len(), wrong.join("\n"));
    }
}

#[test]
fn every_op_at_every_level_of_this_machine() {
    for (cpu, width) in wide_levels() {
        let suite = Suite::of(width);
        let found = run_jit_choosing(
            &suite.module,
            cpu,
            Choice::WideFirst,
            (&suite.x, suite.expected.len()),
        );
        suite.check(&found.expect("compiles"), &format!("{cpu}, {} bits", 8 * width));
    }
}

/// Partial loads and stores, lookups, loop variables, carried values that change places.
const MEMORY: &str = r#"
module @memory level(loop) numerics(tflite) {
  kernel @splats(%x: mem<256, slack=64>, %y: mem<2048>) {
    loop.for %i = 0 to 16 {
      %v = loop.load_splat32 %x[%i*-3 + 45] : vec<i8xW>
      loop.store %v, %y[%i*W]
      loop.yield
    }
    return
  }
  kernel @halves(%x: mem<256, slack=64>, %y: mem<2048>) {
    loop.for %i = 0 to 8 {
      %v = loop.load_low64 %x[%i*7] : vec<i8xW>
      loop.store %v, %y[%i*W]
      %w = loop.widen_low_s(%v) : vec<i16xHALF>
      loop.store %w, %y[%i*W + 512]
      %p = loop.load_low64 %x[%i*5 + 3] : vec<i8xW>
      %q = loop.widen_low_u(%p) : vec<i16xHALF>
      loop.store %q, %y[%i*W + 1024]
      loop.yield
    }
    return
  }
  kernel @lookups(%x: mem<256>, %t: mem<640, const>, %y: mem<2048>) {
    %unused = loop.iconst() {value = 5} : vec<i8xW>
    loop.for %i = 0 to 64 {
      %b = loop.load %x[%i] : i8
      %i32 = loop.ext_s(%b) : i32
      %e = loop.lookup(%t, %i32) {offset = 128, stride = 1, lo = -128, hi = 127} : i8
      %low = loop.iconst() {value = 7} : i32
      %k = loop.and(%i32, %low) : i32
      %f = loop.lookup(%t, %k) {offset = 6, stride = 10, lo = 0, hi = 7} : i16
      %m = loop.lookup(%t, %k) {offset = 637, stride = -6, lo = 0, hi = 7} : i8
      %v = loop.lookup(%t, %k) {offset = 64, stride = 64, lo = 0, hi = 7} : vec<i8xW>
      %s = loop.add(%v, %unused) : vec<i8xW>
      loop.store_low %s, %y[%i*16] {bytes = LOW}
      loop.store %e, %y[%i*4 + 1100]
      loop.store %f, %y[%i*4 + 1101]
      loop.store %m, %y[%i*4 + 1103]
      loop.yield
    }
    return
  }
  kernel @loops(%x: mem<256>, %y: mem<2048>) {
    %zero = loop.iconst() {value = 0} : i32
    %mask0 = loop.iconst() {value = 0} : vec<i32xWORDS>
    %one0 = loop.iconst() {value = 1} : vec<i32xWORDS>
    loop.for %i = 0 to 4 {
      %a, %b = loop.for %j = 1 to 10 step 3 carry(%p = %zero, %q = %mask0) : i32, vec<i32xWORDS> {
        %c = loop.index_cast(%j) : i32
        %u, %p2 = loop.for %k = 5 to 5 carry(%s = %q, %r = %p) : vec<i32xWORDS>, i32 {
          loop.yield %mask0, %zero
        }
        %u2, %p3 = loop.for %k = 5 to 6 carry(%s = %u, %r = %p2) : vec<i32xWORDS>, i32 {
          %k32 = loop.index_cast(%k) : i32
          %r2 = loop.add(%r, %k32) : i32
          loop.yield %s, %r2
        }
        %v = loop.load %x[%i*4 + %j*2 + %i] : vec<i32xWORDS>
        %more = loop.cmp(%v, %u2) {pred = gt} : vec<i32xWORDS>
        %w = loop.select(%more, %v, %u2) : vec<i32xWORDS>
        %d = loop.index_cast(%i) : i32
        %e = loop.mul(%c, %d) : i32
        %n = loop.add(%p3, %e) : i32
        loop.yield %n, %w
      }
      loop.store %b, %y[%i*128]
      loop.store %a, %y[%i*128 + 100]
      %f0 = loop.load %x[%i*8] : vec<i32xWORDS>
      %f1 = loop.load %x[%i*8 + 64] : vec<i32xWORDS>
      %g0, %g1, %g2, %g3 = loop.for %k = 0 to 5 carry(%h0 = %f0, %h1 = %f1, %h2 = %f0, %h3 = %one0)
          : vec<i32xWORDS>, vec<i32xWORDS>, vec<i32xWORDS>, vec<i32xWORDS> {
        %z = loop.add(%h0, %h3) : vec<i32xWORDS>
        loop.yield %h1, %z, %h0, %mask0
      }
      %l0 = loop.sub(%g0, %g1) : vec<i32xWORDS>
      %l1 = loop.xor(%l0, %g2) : vec<i32xWORDS>
      loop.store %l1, %y[%i*64 + 600]
      %t0, %t1, %t2 = loop.for %k = 0 to 4 carry(%v0 = %g0, %v1 = %g1, %v2 = %g2)
          : vec<i32xWORDS>, vec<i32xWORDS>, vec<i32xWORDS> {
        loop.yield %v1, %v2, %v0
      }
      loop.store %t0, %y[%i*64 + 1000]
      loop.store %t1, %y[%i*64 + 1300]
      loop.store %t2, %y[%i*64 + 1600]
      loop.yield
    }
    return
  }
PARTS
  func @main(%arena: mem<0, slack=64>, %x: mem<256, slack=64>, %y: mem<16384>) inputs("x") outputs("y") {
    %t = const @t : mem<640, const>
    loop.call(%x, %y) {kernel = "splats", offsets = [0, 0]}
    loop.call(%x, %y) {kernel = "halves", offsets = [0, 2048]}
    loop.call(%x, %t, %y) {kernel = "lookups", offsets = [0, 0, 4096]}
    loop.call(%x, %y) {kernel = "loops", offsets = [0, 6144]}
    loop.call(%x, %y) {kernel = "parts", offsets = [0, 8192]}
    return
  }
}
data @t = hex"TABLE"
"#;

/// A kernel that stores every number of bytes.
fn parts(width: usize) -> String {
    let sizes = (1..=width).filter(|n| width > 16 || matches!(n, 4 | 8));
    let stores: String = sizes
        .map(|n| format!("    loop.store_low %v, %y[{}] {{bytes = {n}}}\n", 80 * (n - 1)))
        .collect();
    format!(
        "  kernel @parts(%x: mem<256>, %y: mem<8192>) {{\n    \
         %v = loop.load %x[3] : vec<i8x{width}>\n{stores}    return\n  }}\n"
    )
}

#[test]
fn memory_and_loops() {
    let table: String = (0..640u32).map(|i| format!("{:02x}", i * 7 % 251)).collect();
    for (cpu, width) in wide_levels() {
        let source = MEMORY
            .replace("PARTS", &parts(width))
            .replace("TABLE", &table)
            .replace("LOW", if width > 16 { "13" } else { "8" })
            .replace("WORDS", &(width / 4).to_string())
            .replace("HALF", &(width / 2).to_string())
            .replace("xW>", &format!("x{width}>"))
            .replace("*W", &format!("*{width}"));
        let m = module(&source);
        let x = &input(width)[..256];
        let expected = interpret(&m, x);
        let found =
            run_jit_choosing(&m, cpu, Choice::WideFirst, (x, expected.len())).expect("compiles");
        // What no kernel writes is 0xA5 for the interpreter and 0xEE here.
        let same =
            |i: &usize| found[*i] == expected[*i] || (expected[*i], found[*i]) == (0xA5, 0xEE);
        let differ = (0..expected.len()).find(|i| !same(i));
        assert_eq!(differ, None, "{cpu}, {} bits", 8 * width);
    }
}

/// A kernel of more buffers than registers: parameters on the stack, pointers and counters in
/// stack slots.
fn many_buffers(width: usize) -> String {
    let n = 20;
    let list = |f: &dyn Fn(usize) -> String| (0..n).map(f).collect::<Vec<_>>().join(", ");
    let mut body = String::new();
    let mut last = "%zero".to_string();
    for i in 0..n {
        let (a, b) = (16 + i, 3 + i);
        // Both pointers are needed inside of the inner loop.
        body += &format!(
            "        %a{i} = loop.load %x{i}[%i*{a} + %j*{b}] : vec<i8x{width}>
        %b{i} = loop.load %x{i}[%i*{a} + 7] : vec<i8x{width}>
        %c{i} = loop.sub({last}, %a{i}) : vec<i8x{width}>
        %d{i} = loop.xor(%c{i}, %b{i}) : vec<i8x{width}>\n"
        );
        last = format!("%d{i}");
    }
    format!(
        "module @m level(loop) numerics(tflite) {{
  kernel @many({params}, %y: mem<4096>) {{
    %zero = loop.iconst() {{value = 3}} : vec<i8x{width}>
    loop.for %h = 0 to 2 {{
      loop.for %i = 0 to 3 {{
        loop.for %j = 0 to 5 {{
        %h32 = loop.index_cast(%h) : i32
{body}        loop.store {last}, %y[%h*1024 + %i*340 + %j*65]
        loop.store %h32, %y[%h*1024 + %i*4 + 1010]
        loop.yield
        }}
        loop.yield
      }}
      loop.yield
    }}
    return
  }}
  func @main(%a: mem<0, slack=64>, %x: mem<4096, slack=64>, %y: mem<4096>) inputs(\"x\") outputs(\"y\") {{
    loop.call({args}, %y) {{kernel = \"many\", offsets = [{offsets}, 0]}}
    return
  }}
}}",
        params = list(&|i| format!("%x{i}: mem<512, slack=64>")),
        args = list(&|_| "%x".into()),
        offsets = list(&|i| (100 * i).to_string()),
    )
}

#[test]
fn more_buffers_than_registers() {
    for (cpu, width) in wide_levels() {
        let m = module(&many_buffers(width));
        let x = &input(width)[..4096];
        let expected = interpret(&m, x);
        let text = listing(m.clone(), &Target::host(cpu), Choice::WideFirst).expect("compiles").asm;
        assert!(width == 16 || text.contains("[rsp"), "{text}");
        let found = run_jit_choosing(&m, cpu, Choice::WideFirst, (x, expected.len()));
        let found = found.expect("compiles");
        let same =
            |i: &usize| found[*i] == expected[*i] || (expected[*i], found[*i]) == (0xA5, 0xEE);
        let differ = (0..expected.len()).find(|i| !same(i));
        assert_eq!(differ, None, "{cpu}, {} bits", 8 * width);
    }
}
