//! `docs/passes.md` says what the registry and the passes say.

use std::path::Path;

#[test]
fn passes_md_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/passes.md");
    let new = qcc_passes::docs::passes_markdown();
    if std::env::var("QCC_BLESS").is_ok_and(|v| v == "1") {
        std::fs::write(&path, &new).unwrap();
    }
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let same = old == new;
    assert!(
        same,
        "docs/passes.md is out of date: QCC_BLESS=1 cargo test -p qcc-passes --test docs"
    );
}

/// The source file of `crate::module::…` and the function's name.
fn source_of(path: &str) -> Option<(String, String)> {
    let mut words = path.split("::");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(words.next()?).join("src");
    let mut modules: Vec<&str> = words.collect();
    let function = modules.pop()?.to_string();
    let file = root.join(modules.join("/"));
    let found = [file.with_extension("rs"), file.join("mod.rs")].into_iter().find(|f| f.exists());
    Some((std::fs::read_to_string(found?).ok()?, function))
}

#[test]
fn every_equation_ends_at_a_function_that_exists() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/quantization.md");
    let page = std::fs::read_to_string(page).unwrap();
    let equations: Vec<&str> = page.split("\n(").skip(1).collect();
    assert_eq!(equations.len(), 26);
    for (i, text) in equations.iter().enumerate() {
        assert!(text.starts_with(&format!("{}) ", i + 1)), "({text}");
        let ends: Vec<&str> = text.lines().filter(|l| l.starts_with("→ ")).collect();
        assert!(!ends.is_empty(), "no function: ({text}");
        for path in ends.iter().flat_map(|l| l.split('`').skip(1).step_by(2)) {
            let (source, function) = source_of(path).unwrap_or_else(|| panic!("no file: {path}"));
            let found = ["(", "<"].iter().any(|c| source.contains(&format!("fn {function}{c}")));
            assert!(found, "({}) no function {path}", i + 1);
        }
    }
}
