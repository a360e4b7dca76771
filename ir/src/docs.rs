//! `docs/ops.md` from the op tables and the verifier's constraints.

use crate::OpKind;
use crate::dialect::{Arity, AttrSpec, OpSpec, Slot};
use crate::verify::{constraints, constraints_of};
use std::fmt::Write;

/// What is before the ops.
const HEAD: &str = "# Ops

Generated from the op tables (`ir/src/dialect`) and the verifier's constraints by
`QCC_BLESS=1 cargo test -p qcc-ir --test docs`; do not edit.

An op is written `%y = name(%operand, …) {attribute = value, …} : type`. `ir/src/text/mod.rs` has the
grammar and the shorter spellings of `const`, `return`, `loop.for`, `loop.yield`, loads and stores.
Every constraint has an id; a module that breaks it is refused with this id.
";

/// Each dialect with what it is for.
const DIALECTS: [(&str, &str); 5] = [
    ("core", "Ops of every level."),
    ("nn", "Level nn: float ops as the source model had them; activations are `[N, H, W, C]`."),
    (
        "quant",
        "Level quant: ops on tensors of quantized elements, real = scale · (q − zero point).",
    ),
    ("int", "Level int: plain integers; zero points, multipliers and shifts are explicit."),
    ("loop", "Level loop: counted loops over byte buffers, scalars and vectors."),
];

/// The reference of all ops, in Markdown.
pub fn ops_markdown() -> String {
    let mut out = HEAD.to_string();
    general_constraints(&mut out);
    for (dialect, purpose) in DIALECTS {
        let _ = write!(out, "\n## {dialect}\n\n{purpose}\n");
        let prefix = format!("{dialect}.");
        for spec in OpKind::all_specs().filter(|s| s.name.starts_with(&prefix)) {
            op(spec, &mut out);
        }
    }
    out
}

/// Constraints that are not about the ops of one mnemonic.
fn general_constraints(out: &mut String) {
    out.push_str("\n## What holds everywhere\n\n");
    let is_op = |id: &str| OpKind::all_specs().any(|spec| subject(id) == mnemonic(spec));
    for (id, text) in constraints().filter(|(id, _)| !is_op(id)) {
        let _ = writeln!(out, "- `{id}`: {text}");
    }
}

/// `conv2d` of `conv2d_c3`.
fn subject(id: &str) -> &str {
    id.rsplit_once("_c").map_or(id, |(subject, _)| subject)
}

fn mnemonic(spec: &OpSpec) -> &'static str {
    spec.name.split_once('.').map_or(spec.name, |(_, mnemonic)| mnemonic)
}

fn op(spec: &OpSpec, out: &mut String) {
    let _ = write!(out, "\n### {}\n\n", spec.name);
    for line in spec.doc.trim_end().lines() {
        let _ = writeln!(out, "{}", line.strip_prefix(' ').unwrap_or(line));
    }
    out.push('\n');
    slots("Operands", spec.operands, out);
    slots("Results", spec.results, out);
    if !spec.attrs.is_empty() {
        out.push_str("- Attributes: ");
        list(spec.attrs.iter().map(attr), out);
    }
    let traits = [
        (spec.terminator, "ends its region"),
        (spec.pure, "pure"),
        (spec.same_scale, "its codes are those of its operand"),
    ];
    if traits.iter().any(|t| t.0) {
        out.push_str("- Traits: ");
        list(traits.iter().filter(|t| t.0).map(|t| t.1.to_string()), out);
    }
    op_constraints(spec, out);
}

fn op_constraints(spec: &OpSpec, out: &mut String) {
    let dialect = spec.name.split('.').next().unwrap_or("");
    let about = constraints_of(dialect).filter(|(id, _)| subject(id) == mnemonic(spec));
    for (id, text) in about {
        let _ = writeln!(out, "- `{id}`: {text}");
    }
}

fn slots(title: &str, slots: &[Slot], out: &mut String) {
    if slots.is_empty() {
        return;
    }
    let _ = write!(out, "- {title}: ");
    list(slots.iter().map(slot), out);
}

fn list(items: impl Iterator<Item = String>, out: &mut String) {
    out.push_str(&items.collect::<Vec<_>>().join(", "));
    out.push('\n');
}

fn slot(slot: &Slot) -> String {
    let count = match slot.arity {
        Arity::One => "",
        Arity::Opt => ", optional",
        Arity::Many => ", any number",
    };
    format!("`{}` ({}{count})", slot.name, slot.is.words())
}

fn attr(attr: &AttrSpec) -> String {
    let words: Vec<&str> = attr.ty.split(' ').filter(|w| !w.is_empty()).collect();
    let ty = words.join(if attr.ty.starts_with('[') { " " } else { " \\| " });
    let count = attr.default.map(|d| d.split(',').count().to_string());
    let ty = ty.replace("; N", &count.map_or("; N".to_string(), |n| format!("; {n}")));
    match attr.default {
        Some(default) => format!("`{}`: {ty} = {}", attr.name, default_word(default)),
        None => format!("`{}`: {ty}", attr.name),
    }
}

/// A default as the text form has it: `relu6` for `Act::Relu6`.
fn default_word(rust: &str) -> String {
    if rust == "Vec::new()" {
        return "[]".to_string();
    }
    let Some((_, case)) = rust.split_once("::") else { return rust.to_string() };
    let mut out = String::new();
    for (i, c) in case.char_indices() {
        if c.is_uppercase() && i > 0 {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}
