//! `docs/passes.md` from the registry.

use crate::{OptionKind, PIPELINES, Pass, Registry};
use std::fmt::Write;

/// What is before the passes.
const HEAD: &str = "# Passes

Generated from the registry (`passes/src/registry.rs`) and each pass's own documentation by
`QCC_BLESS=1 cargo test -p qcc-passes --test docs`; do not edit.

A pipeline is a list of passes with options, `fold-zero-points,cse`, and of other pipelines by name,
`@tflite-int`. A pass takes modules of certain levels, leaves them at one, and says how far it may move
outputs: `--diff-each` holds it to that.
";

/// The reference of all passes and pipelines, in Markdown.
pub fn passes_markdown() -> String {
    let registry = Registry::default();
    let mut out = HEAD.to_string();
    out.push_str("\n## Pipelines\n\n");
    for (name, text) in PIPELINES {
        let words: Vec<&str> = text.split(',').map(str::trim).collect();
        let _ = writeln!(out, "- `@{name}`: `{}`", words.join(", "));
    }
    out.push_str("\n## All passes\n\n| pass | takes | leaves | moves outputs | |\n");
    out.push_str("| --- | --- | --- | --- | --- |\n");
    for p in registry.passes() {
        let (name, leaves) = (p.name, leaves(p));
        let _ = writeln!(
            out,
            "| [`{name}`](#{name}) | {} | {leaves} | {} | {} |",
            p.needs, p.drift, p.summary
        );
    }
    for p in registry.passes() {
        pass(p, &mut out);
    }
    out
}

fn leaves(p: &Pass) -> &'static str {
    p.yields.map_or("the same", |l| l.name())
}

fn pass(p: &Pass, out: &mut String) {
    let _ = write!(out, "\n## {}\n\n", p.name);
    // The first line of the documentation is the name and the summary.
    let text = p.doc_text();
    let _ = writeln!(out, "{}", text.trim());
    if !p.options.is_empty() {
        out.push_str("\n| option | values | default | |\n| --- | --- | --- | --- |\n");
    }
    for o in p.options {
        let values = match o.kind {
            OptionKind::Bool => "true, false".to_string(),
            OptionKind::Int => "an integer".to_string(),
            OptionKind::Word(words) => words.join(", "),
        };
        let _ = writeln!(out, "| `{}` | {values} | {} | {} |", o.name, o.default, o.help);
    }
}
