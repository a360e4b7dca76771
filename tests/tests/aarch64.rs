//! Object files, linked by a C compiler and run: on this CPU, and on aarch64 under qemu. Goldens
//! hold bit for bit, and objects look as promised from outside, on every system.

use object::{Object, ObjectSymbol};
use qcc::{Source, Tensor};
use qcc_codegen::{Target, header};
use qcc_runtime::CpuLevel;
use qcc_runtime::cpu::{Arch, levels_of_host};
use qcc_tests::golden::{Case, for_all, interface, object_for, own_examples, same};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Reads inputs of several calls from one file, writes their outputs to another.
const MAIN_C: &str = r#"
#include "m.h"
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
  const qcc_model_info *info = m_info();
  FILE *from = fopen(argv[1], "rb"), *to = fopen(argv[2], "wb");
  int calls = atoi(argv[3]);
  void *arena = aligned_alloc(info->arena_align, (info->arena_bytes + 127) / 64 * 64);
  const void *in[64];
  void *out[64];
  if (argc != 4 || !from || !to || !arena || info->n_inputs > 64 || info->n_outputs > 64) return 2;
  for (unsigned i = 0; i < info->n_inputs; ++i) in[i] = malloc(info->inputs[i].bytes + 1);
  for (unsigned j = 0; j < info->n_outputs; ++j) out[j] = malloc(info->outputs[j].bytes + 1);
  for (int call = 0; call < calls; ++call) {
    for (unsigned i = 0; i < info->n_inputs; ++i)
      if (fread((void *)in[i], 1, info->inputs[i].bytes, from) != info->inputs[i].bytes) return 3;
    if (m_run(arena, in, out)) return 4;
    for (unsigned j = 0; j < info->n_outputs; ++j)
      fwrite(out[j], 1, info->outputs[j].bytes, to);
  }
  return fclose(to) ? 5 : 0;
}
"#;

/// Calls of one model that are checked.
const MOST_CASES: usize = 3;

/// A way to build and run for one architecture.
struct Tools {
    gcc: &'static str,
    nm: &'static str,
    readelf: &'static str,
    /// Runs the program; empty for this CPU.
    emulator: &'static [&'static str],
    triple: &'static str,
}

const X86_64: Tools = Tools {
    gcc: "gcc",
    nm: "nm",
    readelf: "readelf",
    emulator: &[],
    triple: "x86_64-unknown-linux-gnu",
};

const AARCH64: Tools = Tools {
    gcc: "aarch64-linux-gnu-gcc",
    nm: "aarch64-linux-gnu-nm",
    readelf: "aarch64-linux-gnu-readelf",
    emulator: &["qemu-aarch64", "-cpu", "max"],
    triple: "aarch64-unknown-linux-gnu",
};

impl Tools {
    fn exist(&self) -> bool {
        let first = self.emulator.first().copied();
        let missing =
            [Some(self.gcc), Some(self.nm), Some(self.readelf), first].into_iter().flatten();
        let missing = missing.filter(|t| Command::new(t).arg("--version").output().is_err());
        let missing: Vec<&str> = missing.collect();
        if !missing.is_empty() {
            println!("skipped: {} needs {}", self.triple, missing.join(", "));
        }
        missing.is_empty()
    }
    fn target(&self, cpu: CpuLevel) -> Target {
        Target { triple: self.triple.parse().expect("a triple"), cpu }
    }
}

fn call(program: &str, args: &[&str]) -> Result<Output, String> {
    let done = Command::new(program).args(args).output().map_err(|e| format!("{program}: {e}"))?;
    match done.status.success() {
        true => Ok(done),
        false => Err(format!(
            "{program} {}: {}\n{}",
            args.join(" "),
            done.status,
            String::from_utf8_lossy(&done.stderr)
        )),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have UTF-8 names")
}

fn write(path: &PathBuf, bytes: impl AsRef<[u8]>) -> Result<(), String> {
    std::fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))
}

/// Compiles, looks at the object, links it both ways, runs it, compares.
fn check(
    tools: &Tools,
    cpu: CpuLevel,
    name: &str,
    source: &Source,
    cases: &[Case],
) -> Result<(), String> {
    let what = format!("{name} for {} at {cpu}", tools.triple);
    let fail = |e: String| format!("{what}: {e}");
    let target = tools.target(cpu);
    let object = object_for(source, &target).map_err(fail)?;
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let path = |name: &str| folder.path().join(name);
    let (o, c, exe, so) = (path("m.o"), path("main.c"), path("main"), path("m.so"));
    let (from, to) = (path("in"), path("out"));
    write(&o, &object.bytes)?;
    write(&c, MAIN_C)?;
    write(&path("m.h"), header::header(&interface(source), object.arena_bytes))?;

    let undefined = call(tools.nm, &["-u", text(&o)]).map_err(fail)?;
    if !undefined.stdout.is_empty() {
        return Err(fail(String::from_utf8_lossy(&undefined.stdout).into_owned()));
    }
    let link = ["-shared", "-nostdlib", "-Wl,-z,text", text(&o), "-o", text(&so)];
    call(tools.gcc, &link).map_err(fail)?;
    let dynamic = call(tools.readelf, &["-d", text(&so)]).map_err(fail)?;
    if String::from_utf8_lossy(&dynamic.stdout).contains("TEXTREL") {
        return Err(fail("the library has relocations in its text".into()));
    }

    let inputs: Vec<u8> =
        cases.iter().flat_map(|c| &c.inputs).flat_map(Tensor::bytes).copied().collect();
    write(&from, inputs)?;
    let build = ["-std=c11", "-O1", "-static", text(&c), text(&o), "-o", text(&exe)];
    call(tools.gcc, &build).map_err(fail)?;
    let calls = cases.len().to_string();
    let words = [tools.emulator, &[text(&exe), text(&from), text(&to), &calls]].concat();
    call(words[0], &words[1..]).map_err(fail)?;
    let bytes = std::fs::read(&to).map_err(|e| e.to_string())?;
    let mut rest = bytes.as_slice();
    for (k, case) in cases.iter().enumerate() {
        let mut got = Vec::new();
        for want in &case.outputs {
            let (part, tail) =
                rest.split_at_checked(want.bytes().len()).ok_or(fail("output is short".into()))?;
            rest = tail;
            got.push(
                Tensor::from_bytes(want.dtype(), want.shape(), part).map_err(|e| e.to_string())?,
            );
        }
        same(&format!("{what}, case {k}"), &got, &case.outputs)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(fail("output is long".into())) }
}

fn check_all(tools: &Tools, levels: &[CpuLevel]) {
    if !tools.exist() {
        return;
    }
    for_all(&own_examples(), |example| {
        let source = example.source().map_err(|e| e.to_string())?;
        let cases = example.cases(&source, MOST_CASES)?;
        levels.iter().try_for_each(|&cpu| check(tools, cpu, &example.name, &source, &cases))
    });
}

#[test]
fn aarch64_programs_give_the_golden_outputs() {
    let all = CpuLevel::ALL.into_iter().filter(|l| l.arch() == Arch::Aarch64);
    check_all(&AARCH64, &all.collect::<Vec<_>>());
}

#[test]
fn x86_64_programs_give_the_golden_outputs() {
    let levels = levels_of_host();
    match Arch::host() {
        Some(Arch::X86_64) => check_all(&X86_64, &levels),
        _ => println!("skipped: this is not an x86-64 machine"),
    }
}

#[test]
fn objects_for_every_system_parse_and_export_their_functions() {
    let targets = [
        ("x86_64-unknown-linux-gnu", CpuLevel::X86V3, ""),
        ("aarch64-unknown-linux-gnu", CpuLevel::A64Dotprod, ""),
        ("x86_64-apple-darwin", CpuLevel::X86V3, "_"),
        ("aarch64-apple-darwin", CpuLevel::A64Dotprod, "_"),
        ("x86_64-pc-windows-msvc", CpuLevel::X86V3, ""),
    ];
    let digits = own_examples().into_iter().find(|e| e.name == "digits").expect("it is there");
    let source = digits.source().expect("it can be read");
    for (triple, cpu, prefix) in targets {
        let target = Target { triple: triple.parse().expect("a triple"), cpu };
        let object = object_for(&source, &target).unwrap_or_else(|e| panic!("{triple}: {e}"));
        let again = object_for(&source, &target).unwrap_or_else(|e| panic!("{triple}: {e}"));
        assert_eq!(object.bytes, again.bytes, "{triple}: compiling again gives other bytes");
        let file = object::File::parse(object.bytes.as_slice()).expect("it parses");
        let symbols = || file.symbols().filter(|s| s.is_global());
        let names = |undefined: bool| {
            let names = symbols().filter(|s| s.is_undefined() == undefined);
            let mut names: Vec<String> = names.map(|s| s.name().unwrap_or("?").into()).collect();
            names.sort();
            names
        };
        let mut want: Vec<String> =
            header::exported("m").iter().map(|name| format!("{prefix}{name}")).collect();
        want.sort();
        assert_eq!(names(false), want, "{triple}");
        assert_eq!(names(true), Vec::<String>::new(), "{triple}");
    }
}
