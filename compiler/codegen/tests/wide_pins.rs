//! Instructions that wide kernels must become, and those that would cost: moves and spills in
//! inner loops, loads that are no memory operands.

mod common;

use common::{module, target};
use qcc_codegen::emitters::Choice;
use qcc_codegen::jit::listing;
use qcc_runtime::cpu::CpuLevel;

const LINUX: &str = "x86_64-unknown-linux-gnu";

fn asm_for(body: &str, cpu: CpuLevel, triple: &str) -> String {
    let source = format!(
        "module @m level(loop) numerics(tflite) {{
  kernel @k(%x: mem<4096, slack=64>, %w: mem<8192, const>, %y: mem<4096>) {{
{body}    return
  }}
}}"
    );
    listing(module(&source), &target(triple, cpu), Choice::WideFirst).expect("compiles").asm
}

/// Machine code as text.
fn asm(body: &str, cpu: CpuLevel) -> String {
    asm_for(body, cpu, LINUX)
}

/// The text of the innermost loop: from the target of the first jump back to that jump.
fn inner_loop(asm: &str) -> String {
    let lines: Vec<&str> = asm.lines().collect();
    let jump = lines.iter().position(|l| l.contains(" jne ")).expect("a loop");
    let to = lines[jump].rsplit(' ').next().expect("a target").trim_end_matches('h');
    let to = u64::from_str_radix(to, 16).expect("an offset");
    let offset = |l: &str| u64::from_str_radix(l.split(':').next()?.trim(), 16).ok();
    let head = lines.iter().position(|l| offset(l) == Some(to)).expect("the loop's head");
    lines[head..=jump].join("\n")
}

fn count(text: &str, instruction: &str) -> usize {
    text.lines().filter(|l| l.contains(instruction)).count()
}

/// An inner loop of `op` on two carried vectors, with `loads` in front.
fn two_sums(loads: &str, first: &str, second: &str, ty: &str) -> String {
    format!(
        "    %zero = {zero} : {ty}
    %r, %s = loop.for %k = 0 to 16 carry(%a = %zero, %b = %zero) : {ty}, {ty} {{
{loads}      %c = {first} : {ty}
      %d = {second} : {ty}
      loop.yield %c, %d
    }}
    loop.store %r, %y[0]
    loop.store %s, %y[64]
",
        zero = if ty.contains('f') {
            "loop.fconst() {value = 0.0}"
        } else {
            "loop.iconst() {value = 0}"
        },
    )
}

fn dots(words: usize) -> String {
    let bytes = 4 * words;
    let loads = format!(
        "      %u = loop.load_splat32 %x[%k*4] : vec<i8x{bytes}>
      %v = loop.load %w[%k*128] : vec<i8x{bytes}>
      %w2 = loop.load %w[%k*128 + 64] : vec<i8x{bytes}>\n"
    );
    let dot = |acc, w| format!("loop.dot4({acc}, %u, {w}) {{signs = u8s8}}");
    two_sums(&loads, &dot("%a", "%v"), &dot("%b", "%w2"), &format!("vec<i32x{words}>"))
}

#[test]
fn dot_products_accumulate_in_place_from_memory() {
    for (cpu, words, register) in [
        (CpuLevel::X86Avx512Vnni, 16, "zmm"),
        (CpuLevel::X86Avx512Vnni, 8, "ymm"),
        (CpuLevel::X86AvxVnni, 8, "ymm"),
    ] {
        let text = inner_loop(&asm(&dots(words), cpu));
        assert_eq!(count(&text, &format!("vpdpbusd {register}")), 2, "{text}");
        // One broadcast, two dot products with memory operands, two pointers, counter, jump.
        assert_eq!(text.lines().count(), 7, "{text}");
    }
}

#[test]
fn without_vnni_dot2_is_a_product_and_a_sum() {
    let loads = "      %u = loop.load_splat32 %x[%k*4] : vec<i8x32>
      %u16 = loop.bitcast(%u) : vec<i16x16>
      %v = loop.load %w[%k*64] : vec<i16x16>
      %w2 = loop.load %w[%k*64 + 32] : vec<i16x16>\n";
    let body = two_sums(loads, "loop.dot2(%a, %u16, %v)", "loop.dot2(%b, %u16, %w2)", "vec<i32x8>");
    let text = inner_loop(&asm(&body, CpuLevel::X86V3));
    assert_eq!((count(&text, "vpmaddwd ymm"), count(&text, "vpaddd ymm")), (2, 2), "{text}");
    assert_eq!(text.lines().count(), 9, "{text}");
    let text = inner_loop(&asm(&body, CpuLevel::X86V4));
    assert_eq!(count(&text, "vpmaddwd ymm"), 2, "{text}");
    let text = inner_loop(&asm(&body, CpuLevel::X86AvxVnni));
    assert_eq!(count(&text, "vpdpwssd ymm"), 2, "{text}");
}

#[test]
fn fma_accumulates_in_place() {
    let loads = "      %u = loop.load %x[%k*64] : vec<f32x16>
      %v = loop.load %w[%k*128] : vec<f32x16>\n";
    let body = two_sums(loads, "loop.fma(%u, %v, %a)", "loop.fma(%u, %u, %b)", "vec<f32x16>");
    let text = inner_loop(&asm(&body, CpuLevel::X86Avx512Vnni));
    assert_eq!(count(&text, "vfmadd231ps zmm"), 2, "{text}");
    assert_eq!(count(&text, "vmov"), 1, "{text}");
}

#[test]
fn constants_are_read_outside_of_loops() {
    let body = "    loop.for %k = 0 to 16 {
      %lo = loop.iconst() {value = -5} : vec<i32x16>
      %v = loop.load %x[%k*64] : vec<i32x16>
      %m = loop.max_s(%v, %lo) : vec<i32x16>
      loop.store %m, %y[%k*64]
      loop.yield
    }
";
    let whole = asm(body, CpuLevel::X86Avx512Vnni);
    let text = inner_loop(&whole);
    assert!(!text.contains("rip") && !text.contains("1to16"), "{text}");
    assert_eq!(count(&whole, "vpbroadcastd zmm"), 1, "{whole}");
    // Load folded, store, two pointers, counter, jump.
    assert_eq!(text.lines().count(), 6, "{text}");
}

#[test]
fn comparisons_of_selects_stay_in_mask_registers() {
    let body = "    %v = loop.load %x[0] : vec<i32x16>
    %w0 = loop.load %x[64] : vec<i32x16>
    %p = loop.cmp(%v, %w0) {pred = lt} : vec<i32x16>
    %s = loop.select(%p, %v, %w0) : vec<i32x16>
    loop.store %s, %y[0]
";
    let text = asm(body, CpuLevel::X86Avx512Vnni);
    assert_eq!((count(&text, "vpblendmd"), count(&text, "vpmovm2d")), (1, 0), "{text}");
}

#[test]
fn sums_with_nothing_are_no_instructions() {
    let body = "    %zero = loop.iconst() {value = 0} : vec<i32x16>
    %v = loop.load %x[0] : vec<i32x16>
    %s = loop.add(%v, %zero) : vec<i32x16>
    %t = loop.sub(%s, %zero) : vec<i32x16>
    loop.store %t, %y[0]
";
    let text = asm(body, CpuLevel::X86Avx512Vnni);
    // Load, store, vzeroupper, ret, and the kernel's name.
    assert_eq!(text.lines().filter(|l| !l.is_empty()).count(), 5, "{text}");
}

#[test]
fn widened_halves_are_one_load() {
    let body = "    %v = loop.load_low64 %x[0] : vec<i8x32>
    %s = loop.widen_low_u(%v) : vec<i16x16>
    loop.store %s, %y[0]
";
    let text = asm(body, CpuLevel::X86V3);
    assert_eq!(count(&text, "vpmovzxbw ymm0, [rdi]"), 1, "{text}");
    assert_eq!(text.lines().filter(|l| !l.is_empty()).count(), 5, "{text}");
}

#[test]
fn one_pointer_per_buffer_serves_a_nest_of_loops() {
    let body = "    loop.for %i = 0 to 3 {
      loop.for %j = 0 to 3 {
        loop.for %k = 0 to 3 {
          %v = loop.load %x[%i*300 + %j*100 + %k*32] : vec<i8x32>
          loop.store %v, %y[%i*300 + %j*100 + %k*32]
          loop.yield
        }
        loop.yield
      }
      loop.yield
    }
";
    let text = asm(body, CpuLevel::X86V3);
    assert!(!text.contains("push") && !text.contains("rsp"), "{text}");
    // Three counters and nothing else is set up.
    assert_eq!((count(&text, " lea "), count(&text, " mov ")), (0, 3), "{text}");
}

#[test]
fn windows_gets_its_registers_back() {
    let loads: String =
        (0..12).map(|i| format!("    %v{i} = loop.load %x[{}] : vec<i32x8>\n", 32 * i)).collect();
    let sums: String = (0..11)
        .map(|i| {
            let left = if i == 0 { "%v0".to_string() } else { format!("%s{i}") };
            let next = i + 1;
            format!("    %s{next} = loop.sub({left}, %v{next}) : vec<i32x8>\n    loop.store %v{next}, %y[{}]\n", 32 * next)
        })
        .collect();
    let body = format!("{loads}{sums}    loop.store %s11, %y[0]\n");
    let windows = asm_for(&body, CpuLevel::X86V3, "x86_64-pc-windows-msvc");
    assert!(windows.contains("[rcx") && windows.contains("[r8"), "{windows}");
    let saves = |t: &str| t.lines().filter(|l| l.contains("[rsp") && l.contains("xmm")).count();
    let used = (6..16).filter(|i| windows.contains(&format!("ymm{i},"))).count();
    assert!(used > 0, "{windows}");
    assert_eq!(saves(&windows), 2 * used, "{windows}");
    assert_eq!(saves(&asm(&body, CpuLevel::X86V3)), 0);
}

#[test]
fn every_function_ends_with_vzeroupper() {
    for cpu in [CpuLevel::X86V3, CpuLevel::X86AvxVnni, CpuLevel::X86Avx512Vnni] {
        let text = asm(&dots(8), cpu);
        let last: Vec<&str> = text.lines().filter(|l| !l.is_empty()).rev().take(2).collect();
        assert!(last[0].ends_with("ret") && last[1].ends_with("vzeroupper"), "{text}");
    }
}

#[test]
fn too_many_vectors_are_an_error_that_names_the_kernel() {
    let loads: String =
        (0..33).map(|i| format!("    %v{i} = loop.load %x[{}] : vec<i32x16>\n", 64 * i)).collect();
    let stores: String =
        (0..33).map(|i| format!("    loop.store %v{i}, %y[{}]\n", 64 * i)).collect();
    let source = format!(
        "module @m level(loop) numerics(tflite) {{
  kernel @big(%x: mem<4096, slack=64>, %y: mem<4096>) {{
{loads}{stores}    return
  }}
}}"
    );
    let made = listing(module(&source), &target(LINUX, CpuLevel::X86Avx512Vnni), Choice::WideFirst);
    let error = made.expect_err("33 vectors").to_string();
    assert_eq!(error, "kernel 'big': more than 32 vectors are needed at once: use a smaller tile");
}
