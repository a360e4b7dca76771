//! Object files of every format: symbols, sections, relocations, determinism; archives.

mod common;

use common::*;
use object::read::archive::ArchiveFile;
use object::{Architecture, BinaryFormat, Object, ObjectSection, ObjectSymbol, SectionKind};
use qcc_codegen::aot::{archive, compile_object};
use qcc_codegen::header;
use qcc_runtime::cpu::{Arch, CpuLevel};

const TARGETS: [(&str, BinaryFormat, Arch); 7] = [
    ("x86_64-unknown-linux-gnu", BinaryFormat::Elf, Arch::X86_64),
    ("aarch64-unknown-linux-gnu", BinaryFormat::Elf, Arch::Aarch64),
    ("aarch64-unknown-none", BinaryFormat::Elf, Arch::Aarch64),
    ("x86_64-apple-darwin", BinaryFormat::MachO, Arch::X86_64),
    ("aarch64-apple-darwin", BinaryFormat::MachO, Arch::Aarch64),
    ("x86_64-pc-windows-msvc", BinaryFormat::Coff, Arch::X86_64),
    ("x86_64-pc-windows-gnu", BinaryFormat::Coff, Arch::X86_64),
];

/// The object of every target and level, with what it should be.
fn every_object() -> Vec<(String, BinaryFormat, Arch, Vec<u8>)> {
    let mut all = vec![];
    for (triple, format, arch) in TARGETS {
        for cpu in levels(arch) {
            let bytes = add_one_object(triple, cpu, "m").bytes;
            all.push((format!("{triple} {cpu}"), format, arch, bytes));
        }
    }
    all
}

/// The C names of the symbols of `file` that `keep` keeps, sorted.
fn names<'a>(
    file: &'a object::File<'a>,
    keep: impl Fn(&object::Symbol<'a, 'a>) -> bool,
) -> Vec<&'a str> {
    let c_name = |name: &'a str| match file.format() {
        BinaryFormat::MachO => name.strip_prefix('_').expect("Mach-O names have an underscore"),
        _ => name,
    };
    let kept = file.symbols().filter(|s| keep(s));
    let mut all: Vec<_> = kept.map(|s| c_name(s.name().expect("UTF-8"))).collect();
    all.sort_unstable();
    all
}

#[test]
fn formats_and_symbols() {
    for (what, format, arch, bytes) in every_object() {
        let file = object::File::parse(&*bytes).expect(&what);
        let expected = match arch {
            Arch::X86_64 => Architecture::X86_64,
            Arch::Aarch64 => Architecture::Aarch64,
        };
        assert_eq!((file.format(), file.architecture()), (format, expected), "{what}");
        let global = names(&file, |s| s.is_global() && s.is_definition());
        let expected = ["m_info", "m_reset", "m_run", "m_run_parallel"];
        let global: Vec<_> = global.into_iter().filter(|n| !n.starts_with(".refptr.")).collect();
        assert_eq!(global, expected, "{what}");
        let undefined = file.symbols().filter(|s| s.is_undefined());
        let undefined: Vec<_> = undefined.filter_map(|s| s.name().ok()).collect();
        assert!(undefined.iter().all(|n| n.is_empty()), "{what}: {undefined:?}");
    }
}

#[test]
fn weights_are_aligned_and_read_only_and_little_is_writable() {
    for (what, format, _, bytes) in every_object() {
        let file = object::File::parse(&*bytes).expect(&what);
        let blob = file.symbols().find(|s| s.name().is_ok_and(|n| n.ends_with("_consts")));
        let blob = blob.expect("the constants have a symbol");
        let section = blob.section_index().expect("defined");
        let section = file.section_by_index(section).expect("exists");
        assert_eq!(section.kind(), SectionKind::ReadOnlyData, "{what}");
        assert_eq!((section.align(), (blob.address() - section.address()) % 64), (64, 0), "{what}");
        for section in file.sections().filter(|s| s.size() > 0) {
            let name = section.name().expect("UTF-8");
            let kind = section.kind();
            let writable = matches!(kind, SectionKind::Data | SectionKind::UninitializedData);
            // Mach-O's place for constants with relocations is a segment, __DATA,__const;
            // ELF's is made read-only after relocation.
            let relro = name == ".data.rel.ro" || name == "__const";
            // An object that asks the CPU keeps the answer.
            let asks = kind == SectionKind::UninitializedData && section.size() == 4;
            let asks =
                asks && file.symbols().any(|s| s.name().is_ok_and(|n| n.ends_with("_level")));
            assert!(!writable || relro || asks, "{what}: {name} is {kind:?}");
        }
        if format == BinaryFormat::Elf {
            assert!(file.section_by_name(".note.GNU-stack").is_some(), "{what}");
        }
    }
}

#[test]
fn code_has_relative_relocations_only() {
    for (what, _, _, bytes) in every_object() {
        let file = object::File::parse(&*bytes).expect(&what);
        let text = file.sections().filter(|s| s.kind() == SectionKind::Text);
        for (at, r) in text.flat_map(|s| s.relocations().collect::<Vec<_>>()) {
            assert_ne!(r.kind(), object::RelocationKind::Absolute, "{what}: {at:#x} {r:?}");
        }
    }
}

#[test]
fn the_same_bytes_every_time() {
    assert!(every_object() == every_object());
    let host = std::env::current_dir().expect("a folder");
    let host = host.to_string_lossy();
    for (what, _, _, bytes) in every_object() {
        let path = bytes.windows(host.len()).any(|w| w == host.as_bytes());
        assert!(!path, "{what}: holds a path of this machine");
    }
}

#[test]
fn nm_lists_nothing_undefined() {
    if !have(&["nm"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.o");
    for (what, format, arch, bytes) in every_object() {
        if format == BinaryFormat::Elf && arch == Arch::X86_64 {
            std::fs::write(&path, &bytes).expect("a writable folder");
            assert_eq!(run(std::process::Command::new("nm").arg("-u").arg(&path)), "", "{what}");
        }
    }
}

#[test]
fn archives_hold_the_object_and_an_index() {
    for (triple, format, arch) in TARGETS {
        let object = add_one_object(triple, CpuLevel::baseline(arch), "m").bytes;
        let exported = header::exported("m");
        let bytes = archive(&object, &exported);
        assert!(bytes == archive(&object, &exported));
        let file = ArchiveFile::parse(&*bytes).expect("an archive");
        let members: Vec<_> = file.members().map(|m| m.expect("a member")).collect();
        assert_eq!(members.len(), 1, "{triple}");
        assert_eq!(members[0].name(), b"model.o");
        let data = members[0].data(&*bytes).expect("its bytes");
        assert_eq!(data[..object.len()], object, "{triple}");
        let mut index: Vec<String> = vec![];
        for symbol in file.symbols().expect("readable").expect("an index") {
            let symbol = symbol.expect("a symbol");
            let member = file.member(symbol.offset()).expect("a member");
            assert_eq!(member.name(), b"model.o", "{triple}");
            index.push(String::from_utf8_lossy(symbol.name()).into_owned());
        }
        let prefix = if format == BinaryFormat::MachO { "_" } else { "" };
        let mut expected: Vec<_> = exported.iter().map(|n| format!("{prefix}{n}")).collect();
        index.sort_unstable();
        expected.sort_unstable();
        assert_eq!(index, expected, "{triple}");
    }
}

#[test]
fn a_symbol_must_be_a_c_identifier() {
    let m = module(ADD_ONE);
    let target = target("x86_64-unknown-linux-gnu", CpuLevel::X86Baseline);
    for symbol in ["", "1st", "a-b", "a b", "é"] {
        let error = compile_object(m.clone(), &add_one_interface(symbol), &target).unwrap_err();
        let expected = format!("not a loop-level program: '{symbol}' is not a C identifier");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn sizes_are_reported() {
    let object = add_one_object("x86_64-unknown-linux-gnu", CpuLevel::X86Baseline, "m");
    assert_eq!(object.arena_bytes, 128 + 64);
    assert_eq!(object.const_bytes, 32 + 64);
    assert!(object.code_bytes > 40 && object.code_bytes < object.bytes.len());
}
