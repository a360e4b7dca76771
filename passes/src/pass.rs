//! What a pass is: a name, what it promises, and a function.
//!
//! Every pass is one `static` [`Pass`] in a file of its own, named as the pass with `_` for `-`.
//! Invariants: `run` leaves the module at the level that `yields` says, moves no output value by
//! more than `drift` allows, and leaves a remark for every rewrite that it considered and skipped.

use crate::{Diagnostics, PassContext};
use qcc_ir::{Level, Module};
use std::fmt;

/// The body of a pass.
pub type PassFn = fn(&mut Module, &mut PassContext) -> Result<(), Diagnostics>;

/// A pass. Copies are cheap; an embedding program may make its own and register it with
/// [`crate::Registry::register_pass`].
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// kebab-case verb-object; the name in pipeline strings.
    pub name: &'static str,
    /// One line for `qcc passes`.
    pub summary: &'static str,
    /// Documentation; a source file's leading `//!` lines (see [`Pass::doc_text`]) or plain text.
    pub doc: &'static str,
    /// Levels of modules that it takes.
    pub needs: LevelSet,
    /// The level that it leaves a module at; `None`: the one it came with.
    pub yields: Option<Level>,
    /// How far it may move the module's outputs.
    pub drift: Drift,
    /// Options that a pipeline string may set.
    pub options: &'static [OptionSpec],
    /// Does it.
    pub run: PassFn,
}

impl Pass {
    /// The documentation as markdown.
    pub fn doc_text(&self) -> String {
        let module_doc: Vec<&str> = self
            .doc
            .lines()
            .map_while(|l| l.strip_prefix("//!"))
            .map(|l| l.strip_prefix(' ').unwrap_or(l))
            .collect();
        match module_doc.is_empty() {
            true => self.doc.to_string(),
            false => module_doc.join("\n"),
        }
    }
    /// The level of a module that came at `level`, after the pass.
    pub fn level_after(&self, level: Level) -> Level {
        self.yields.unwrap_or(level)
    }
}

/// How far a pass may move the outputs of a module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drift {
    /// Every bit stays.
    Exact,
    /// Integer outputs by at most so many steps.
    Lsb(u32),
    /// Float arithmetic becomes quantized: by whatever the chosen parameters lose.
    Quantizes,
    /// Float additions are reordered: by rounding errors.
    FloatReassoc,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Drift::Exact => f.write_str("exact"),
            Drift::Lsb(n) => write!(f, "at most {n} LSB"),
            Drift::Quantizes => f.write_str("quantizes"),
            Drift::FloatReassoc => f.write_str("reorders float additions"),
        }
    }
}

/// A set of levels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LevelSet(u8);

impl LevelSet {
    /// Every level.
    pub const ALL: LevelSet = LevelSet(0b1111);

    /// One level.
    pub const fn only(level: Level) -> LevelSet {
        LevelSet::of(&[level])
    }
    /// The levels given.
    pub const fn of(levels: &[Level]) -> LevelSet {
        let mut bits = 0;
        let mut i = 0;
        while i < levels.len() {
            bits |= 1 << levels[i] as u8;
            i += 1;
        }
        LevelSet(bits)
    }
    /// Is `level` one of them?
    pub fn contains(self, level: Level) -> bool {
        self.0 >> level as u8 & 1 == 1
    }
}

impl fmt::Display for LevelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == LevelSet::ALL {
            return f.write_str("any");
        }
        let names: Vec<&str> =
            Level::ALL.into_iter().filter(|&l| self.contains(l)).map(Level::name).collect();
        f.write_str(&names.join(" or "))
    }
}

/// An option of a pass, as declared.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Name, kebab-case.
    pub name: &'static str,
    /// What values it takes.
    pub kind: OptionKind,
    /// The value when the pipeline string gives none.
    pub default: &'static str,
    /// One line.
    pub help: &'static str,
}

/// What values an option takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OptionKind {
    /// `true` or `false`; the bare name means `true`.
    Bool,
    /// A decimal integer.
    Int,
    /// One of these words.
    Word(&'static [&'static str]),
}

impl OptionKind {
    /// Is `value` one of the option's values? The error says what is.
    pub fn check(self, value: &str) -> Result<(), String> {
        match self {
            OptionKind::Bool if matches!(value, "true" | "false") => Ok(()),
            OptionKind::Bool => Err("expected true or false".to_string()),
            OptionKind::Int if value.parse::<i64>().is_ok() => Ok(()),
            OptionKind::Int => Err("expected an integer".to_string()),
            OptionKind::Word(words) if words.contains(&value) => Ok(()),
            OptionKind::Word(words) => Err(format!("expected one of {}", words.join(", "))),
        }
    }
}

/// The options of one run of a pass: every declared one has a checked value.
#[derive(Clone, Default, Debug)]
pub struct Options {
    values: Vec<(&'static str, String)>,
}

impl Options {
    /// The declared defaults, overridden by `given`.
    ///
    /// # Errors
    /// An option that is not declared, or a value that it does not take.
    pub fn new(specs: &'static [OptionSpec], given: &[(String, String)]) -> Result<Self, String> {
        let mut values: Vec<_> = specs.iter().map(|s| (s.name, s.default.to_string())).collect();
        for (name, value) in given {
            let Some(at) = specs.iter().position(|s| s.name == name) else {
                let names: Vec<&str> = specs.iter().map(|s| s.name).collect();
                let known = match names.is_empty() {
                    true => "it takes none".to_string(),
                    false => format!("it takes {}", names.join(", ")),
                };
                return Err(format!("no option '{name}'; {known}"));
            };
            let bad = |e| format!("option '{name}' is '{value}': {e}");
            specs[at].kind.check(value).map_err(bad)?;
            values[at].1 = value.clone();
        }
        Ok(Options { values })
    }
    /// The value of a declared option.
    pub fn word(&self, name: &str) -> &str {
        let found = self.values.iter().find(|(n, _)| *n == name);
        &found.expect("a pass only asks for options that it declares").1
    }
    /// The value of a declared `Bool` option.
    pub fn flag(&self, name: &str) -> bool {
        self.word(name) == "true"
    }
    /// The value of a declared `Int` option.
    pub fn int(&self, name: &str) -> i64 {
        self.word(name).parse().expect("Int options are checked when they are set")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[OptionSpec] = &[
        OptionSpec { name: "to", kind: OptionKind::Word(&["u8", "s8"]), default: "u8", help: "" },
        OptionSpec { name: "n", kind: OptionKind::Int, default: "3", help: "" },
        OptionSpec { name: "fast", kind: OptionKind::Bool, default: "false", help: "" },
    ];
    fn given(name: &str, value: &str) -> Result<Options, String> {
        Options::new(SPECS, &[(name.to_string(), value.to_string())])
    }

    #[test]
    fn options_have_defaults_and_are_checked() {
        let o = given("fast", "true").unwrap();
        assert_eq!((o.word("to"), o.int("n"), o.flag("fast")), ("u8", 3, true));
        assert_eq!(given("x", "1").unwrap_err(), "no option 'x'; it takes to, n, fast");
        assert_eq!(given("to", "f4").unwrap_err(), "option 'to' is 'f4': expected one of u8, s8");
        assert!(given("n", "many").is_err());
    }

    #[test]
    fn level_sets() {
        let s = LevelSet::of(&[Level::Int, Level::Quant]);
        assert!(s.contains(Level::Int) && !s.contains(Level::Loop));
        assert_eq!(s.to_string(), "quant or int");
        assert_eq!(LevelSet::ALL.to_string(), "any");
    }
}
