//! Pipeline strings: `fold-zero-points,choose-signedness{to=u8},@tflite-int`.
//!
//! `pass`, `pass{option=value,flag}` and `@name` of a registered pipeline, separated by commas.
//! Everything is checked before anything runs: names, options, and that each pass gets a module
//! of a level that it takes. Printing gives the string with every `@name` written out.

use crate::{Options, Pass, Registry};
use qcc_ir::Level;
use std::fmt;

/// `@a` may stand in `@b` this deep; more is a loop.
const MAX_NESTING: usize = 16;

/// One run of a pass in a pipeline.
#[derive(Clone, Debug)]
pub struct Step {
    /// The pass.
    pub pass: Pass,
    /// All its options.
    pub options: Options,
    given: Vec<(String, String)>,
}

/// A checked sequence of passes.
#[derive(Clone, Debug, Default)]
pub struct Pipeline {
    /// The passes, first to last.
    pub steps: Vec<Step>,
}

/// What is wrong with a pipeline string.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct PipelineError {
    /// What and where.
    pub message: String,
}

fn error<T>(message: String) -> Result<T, PipelineError> {
    Err(PipelineError { message })
}

impl Pipeline {
    /// Parses a pipeline string.
    ///
    /// # Errors
    /// Syntax, unknown names (with a suggestion), undeclared options and bad values.
    pub fn parse(text: &str, registry: &Registry) -> Result<Pipeline, PipelineError> {
        let mut pipeline = Pipeline::default();
        pipeline.add(text, registry, 0)?;
        Ok(pipeline)
    }

    fn add(&mut self, text: &str, registry: &Registry, depth: usize) -> Result<(), PipelineError> {
        for item in split_items(text)? {
            match item.strip_prefix('@') {
                Some(name) => self.add_named(name.trim(), registry, depth)?,
                None => self.steps.push(parse_step(item, registry)?),
            }
        }
        Ok(())
    }

    fn add_named(
        &mut self,
        name: &str,
        registry: &Registry,
        depth: usize,
    ) -> Result<(), PipelineError> {
        if depth == MAX_NESTING {
            return error(format!("pipeline '@{name}' contains itself"));
        }
        let Some(text) = registry.pipeline(name) else {
            let known: Vec<&str> = registry.pipelines().map(|(n, _)| n).collect();
            return error(format!("unknown pipeline '@{name}'{}", suggest(name, &known, "@")));
        };
        self.add(text, registry, depth + 1)
    }

    /// The level that a module of level `start` has in the end.
    ///
    /// # Errors
    /// The first pass that would get a module of a level that it does not take.
    pub fn check_levels(&self, start: Level, registry: &Registry) -> Result<Level, PipelineError> {
        let mut level = start;
        for Step { pass, .. } in &self.steps {
            if !pass.needs.contains(level) {
                return error(format!(
                    "pass '{}' needs a module at level {}, but here it is at level {}{}",
                    pass.name,
                    pass.needs,
                    level.name(),
                    suggest_lowering(pass, level, registry)
                ));
            }
            level = pass.level_after(level);
        }
        Ok(level)
    }
}

/// Splits at the commas outside braces.
fn split_items(text: &str) -> Result<Vec<&str>, PipelineError> {
    let (mut items, mut start, mut in_braces) = (vec![], 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '{' if in_braces => return error(format!("'{{' inside braces at column {}", at + 1)),
            '{' => in_braces = true,
            '}' if !in_braces => return error(format!("'}}' without '{{' at column {}", at + 1)),
            '}' => in_braces = false,
            ',' if !in_braces => {
                items.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if in_braces {
        return error(format!("'{{' without '}}' in '{text}'"));
    }
    items.push(&text[start..]);
    let items: Vec<&str> = items.into_iter().map(str::trim).collect();
    match items.as_slice() {
        [""] => Ok(vec![]),
        all if all.contains(&"") => error(format!("empty pass name in '{text}'")),
        _ => Ok(items),
    }
}

fn parse_step(item: &str, registry: &Registry) -> Result<Step, PipelineError> {
    let (name, options) = match item.split_once('{') {
        None => (item, ""),
        Some((name, rest)) => match rest.strip_suffix('}') {
            Some(options) => (name.trim(), options),
            None => return error(format!("text after '}}' in '{item}'")),
        },
    };
    let Some(&pass) = registry.pass(name) else {
        let known: Vec<&str> = registry.passes().map(|p| p.name).collect();
        return error(format!("unknown pass '{name}'{}", suggest(name, &known, "")));
    };
    let given = parse_options(options);
    match Options::new(pass.options, &given) {
        Ok(options) => Ok(Step { pass, options, given }),
        Err(e) => error(format!("pass '{name}': {e}")),
    }
}

fn parse_options(text: &str) -> Vec<(String, String)> {
    let pair = |s: &str| match s.split_once('=') {
        Some((name, value)) => (name.trim().to_string(), value.trim().to_string()),
        None => (s.trim().to_string(), "true".to_string()),
    };
    text.split(',').filter(|s| !s.trim().is_empty()).map(pair).collect()
}

/// `; did you mean 'x'?`, or nothing.
fn suggest(name: &str, known: &[&str], prefix: &str) -> String {
    let best = known.iter().map(|k| (edit_distance(name, k), *k)).min();
    match best {
        Some((d, k)) if d <= 2.max(name.len() / 3) => format!("; did you mean '{prefix}{k}'?"),
        _ => "; `qcc passes` lists them".to_string(),
    }
}

/// `; run 'x' before it`, or nothing.
fn suggest_lowering(pass: &Pass, level: Level, registry: &Registry) -> String {
    let lowers = |p: &&Pass| {
        p.needs.contains(level) && p.yields.is_some_and(|y| y != level && pass.needs.contains(y))
    };
    match registry.passes().find(lowers) {
        Some(p) => format!("; run '{}' before it", p.name),
        None => String::new(),
    }
}

/// Levenshtein distance in bytes.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + (x != y) as usize;
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.pass.name)?;
        if self.given.is_empty() {
            return Ok(());
        }
        let options: Vec<String> = self.given.iter().map(|(n, v)| format!("{n}={v}")).collect();
        write!(f, "{{{}}}", options.join(","))
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<String> = self.steps.iter().map(Step::to_string).collect();
        f.write_str(&steps.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Pipeline, String> {
        Pipeline::parse(text, &Registry::default()).map_err(|e| e.message)
    }

    #[test]
    fn prints_back_what_it_parsed() {
        for text in ["", "dce", "cse,dce", "choose-signedness{to=u8},dce"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        let spaced = parse(" cse , choose-signedness{ to = s8 } ").unwrap();
        assert_eq!(spaced.to_string(), "cse,choose-signedness{to=s8}");
        let named = parse("@tflite-int").unwrap().to_string();
        assert!(named.starts_with("lower-quant-to-int,choose-signedness,"), "{named}");
        assert_eq!(parse(&named).unwrap().to_string(), named);
    }

    #[test]
    fn errors_say_what_to_write() {
        let err = |text: &str| parse(text).unwrap_err();
        assert_eq!(err("dse"), "unknown pass 'dse'; did you mean 'cse'?");
        assert_eq!(
            err("unroll-everything"),
            "unknown pass 'unroll-everything'; `qcc passes` lists them"
        );
        assert_eq!(err("@tflite"), "unknown pipeline '@tflite'; `qcc passes` lists them");
        assert_eq!(
            err("@tflite-imt"),
            "unknown pipeline '@tflite-imt'; did you mean '@tflite-int'?"
        );
        assert_eq!(err("dce,,cse"), "empty pass name in 'dce,,cse'");
        assert_eq!(err("dce}"), "'}' without '{' at column 4");
        assert_eq!(err("dce{a{"), "'{' inside braces at column 6");
        assert_eq!(err("dce{a"), "'{' without '}' in 'dce{a'");
        assert_eq!(err("dce{}x"), "text after '}' in 'dce{}x'");
        assert_eq!(err("dce{a=1}"), "pass 'dce': no option 'a'; it takes none");
        assert_eq!(
            err("choose-signedness{to=i4}"),
            "pass 'choose-signedness': option 'to' is 'i4': expected one of auto, u8, s8, keep"
        );
    }

    #[test]
    fn a_pipeline_that_calls_itself_is_refused() {
        let mut registry = Registry::default();
        registry.register_pipeline("loop", "dce,@loop").unwrap();
        let e = Pipeline::parse("@loop", &registry).unwrap_err();
        assert_eq!(e.message, "pipeline '@loop' contains itself");
    }

    #[test]
    fn levels_are_checked_before_running() {
        let registry = Registry::default();
        let p = parse("@tflite-int").unwrap();
        assert_eq!(p.check_levels(Level::Quant, &registry), Ok(Level::Int));
        let e = parse("dce,plan-memory").unwrap().check_levels(Level::Quant, &registry);
        assert_eq!(
            e.unwrap_err().message,
            "pass 'plan-memory' needs a module at level int, but here it is at level quant; \
             run 'lower-quant-to-int' before it"
        );
    }
}
