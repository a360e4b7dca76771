//! Model importers: from a file's bytes to a module that keeps the model's own names.
//!
//! The only crate that knows model file formats. Importers are safe Rust, do not trust a file's
//! sizes, and report every problem they find with the node's name and a remedy.

pub mod onnx;
mod shapes;
pub mod tensorflow;
pub mod tflite;

/// How to read a model.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The batch size where the model leaves it open (or to replace the model's own).
    pub batch: Option<u64>,
    /// Full shapes of inputs by name.
    pub shapes: Vec<(String, Vec<u64>)>,
    /// Shapes of inputs, in the model's order, for extents that nothing else says (ONNX).
    pub open_shapes: Vec<Vec<u64>>,
    /// The outputs wanted, by name; all if empty (TensorFlow).
    pub outputs: Vec<String>,
    /// The signature of a SavedModel; `serving_default` if not given.
    pub signature: Option<String>,
}

/// One thing that is wrong with a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The node's or tensor's name in the model; empty for the file as a whole.
    pub node: String,
    /// The node's index in the file's order.
    pub index: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to try.
    pub remedy: String,
}

impl Problem {
    /// About the file as a whole.
    pub fn file(what: &str, remedy: &str) -> Problem {
        Problem { node: String::new(), index: None, what: what.into(), remedy: remedy.into() }
    }
    /// About a node.
    pub fn node(node: &str, index: usize, what: String, remedy: &str) -> Problem {
        Problem { node: node.into(), index: Some(index), what, remedy: remedy.into() }
    }
    /// About a tensor.
    pub fn tensor(name: &str, what: String, remedy: &str) -> Problem {
        Problem { node: name.into(), index: None, what, remedy: remedy.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.node.as_str(), self.index) {
            ("", _) => {}
            (node, Some(i)) => write!(f, "node '{node}' (operator {i}): ")?,
            (node, None) => write!(f, "tensor '{node}': ")?,
        }
        write!(f, "{} ({})", self.what, self.remedy)
    }
}

/// Everything that is wrong with a model; never empty.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .problems.iter().map(|p| p.to_string()).collect::<Vec<_>>().join("\n"))]
pub struct ImportError {
    /// The problems, in the file's order.
    pub problems: Vec<Problem>,
}

impl ImportError {
    /// A single problem.
    pub fn one(problem: Problem) -> ImportError {
        ImportError { problems: vec![problem] }
    }
}
