//! A node with its attributes, read with their types checked.

use super::proto;
use qcc_ir::LocId;
use std::borrow::Cow;

/// A node being converted.
pub struct Node<'a> {
    /// The node as the file has it.
    pub proto: &'a proto::Node,
    /// `Conv`, `com.microsoft::QLinearAdd`.
    pub op: Cow<'a, str>,
    /// The node's name, or its first output's.
    pub name: String,
    /// Place in the file's order; for a node of a function, the caller's.
    pub index: usize,
    /// The version of its operator set.
    pub opset: i64,
    /// The node as ops are located.
    pub loc: LocId,
}

/// `ai.onnx` may be left out or spelled out.
pub fn is_onnx_domain(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// The operator's name with its domain, unless that is ONNX's own.
pub fn qualified(domain: &str, op: &str) -> String {
    if is_onnx_domain(domain) { op.to_string() } else { format!("{domain}::{op}") }
}

/// The node's name, or the name of its first output.
pub fn display_name(n: &proto::Node, index: usize) -> String {
    let first = n.output.iter().find(|o| !o.is_empty());
    match (n.name.as_str(), first) {
        ("", Some(output)) => output.clone(),
        ("", None) => format!("operator {index}"),
        (name, _) => name.to_string(),
    }
}

impl Node<'_> {
    /// The name of input `i`, if it is there.
    pub fn input(&self, i: usize) -> Option<&str> {
        self.proto.input.get(i).map(String::as_str).filter(|s| !s.is_empty())
    }
    /// True when output `i` is asked for.
    pub fn has_output(&self, i: usize) -> bool {
        self.proto.output.get(i).is_some_and(|s| !s.is_empty())
    }

    /// The attribute called `name`, if it has the type `kind`.
    fn attribute(&self, name: &str, kind: i32) -> Result<Option<&proto::Attribute>, String> {
        match self.proto.attribute.iter().find(|a| a.name == name) {
            Some(a) if a.kind == kind || a.kind == 0 => Ok(Some(a)),
            Some(_) => Err(format!("attribute '{name}' has the wrong type")),
            None => Ok(None),
        }
    }
    /// True when the node has the attribute.
    pub fn has(&self, name: &str) -> bool {
        self.proto.attribute.iter().any(|a| a.name == name)
    }
    /// An integer.
    pub fn int(&self, name: &str, otherwise: i64) -> Result<i64, String> {
        Ok(self.attribute(name, 2)?.map_or(otherwise, |a| a.i))
    }
    /// An integer that is 0 or not.
    pub fn flag(&self, name: &str, otherwise: bool) -> Result<bool, String> {
        Ok(self.int(name, otherwise.into())? != 0)
    }
    /// A number.
    pub fn float(&self, name: &str, otherwise: f32) -> Result<f32, String> {
        Ok(self.attribute(name, 1)?.map_or(otherwise, |a| a.f))
    }
    /// Integers.
    pub fn ints(&self, name: &str) -> Result<Option<&[i64]>, String> {
        Ok(self.attribute(name, 7)?.map(|a| a.ints.as_slice()))
    }
    /// Numbers.
    pub fn floats(&self, name: &str) -> Result<Option<&[f32]>, String> {
        Ok(self.attribute(name, 6)?.map(|a| a.floats.as_slice()))
    }
    /// A string.
    pub fn string(&self, name: &str, otherwise: &str) -> Result<String, String> {
        match self.attribute(name, 3)? {
            None => Ok(otherwise.to_string()),
            Some(a) => String::from_utf8(a.s.to_vec())
                .map_err(|_| format!("attribute '{name}' is not text")),
        }
    }
    /// A graph.
    pub fn graph(&self, name: &str) -> Result<Option<&proto::Graph>, String> {
        Ok(self.attribute(name, 5)?.and_then(|a| a.g.as_ref()))
    }
    /// A tensor.
    pub fn tensor(&self, name: &str) -> Result<Option<&proto::Tensor>, String> {
        Ok(self.attribute(name, 4)?.and_then(|a| a.t.as_ref()))
    }
}
