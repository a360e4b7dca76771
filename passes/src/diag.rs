//! What a pass says to people: errors, each with the node that it is about and a hint.

use std::fmt;

/// One error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// The pass that found it (or `pipeline`).
    pub pass: String,
    /// The node's name in the source model; empty when it is about the whole module.
    pub loc: String,
    /// What is wrong.
    pub message: String,
    /// What to try.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error about the whole module.
    pub fn new(pass: &str, message: impl Into<String>) -> Self {
        let (pass, message) = (pass.to_string(), message.into());
        Diagnostic { pass, loc: String::new(), message, hint: None }
    }
    /// The same about one node.
    pub fn at(mut self, loc: impl Into<String>) -> Self {
        self.loc = loc.into();
        self
    }
    /// The same with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.pass)?;
        if !self.loc.is_empty() {
            write!(f, "'{}': ", self.loc)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

/// All the errors found, never empty when returned as an error.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// `Ok` when there are none.
    pub fn into_result(self) -> Result<(), Diagnostics> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(self),
        }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(one: Diagnostic) -> Self {
        Diagnostics(vec![one])
    }
}

impl From<Vec<Diagnostic>> for Diagnostics {
    fn from(all: Vec<Diagnostic>) -> Self {
        Diagnostics(all)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Diagnostic::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Diagnostics {}
