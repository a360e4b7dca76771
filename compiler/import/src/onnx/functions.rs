//! The list of nodes to convert: those of the graph, with calls of the model's own functions
//! replaced by the functions' bodies.

use super::node::{display_name, is_onnx_domain};
use super::proto::{Attribute, Function, Graph, Model, Node, Opset};
use crate::Problem;
use indexmap::IndexMap;
use std::borrow::Cow;

/// The oldest and newest operator sets that are understood.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;
/// Calls inside calls.
const MAX_DEPTH: usize = 16;
/// Nodes of a model.
const MAX_NODES: usize = 1 << 20;

/// A node, and what it needs of its surroundings.
pub struct Planned<'m> {
    /// The node.
    pub node: Cow<'m, Node>,
    /// Its place in the file's order; for a function's node, the caller's.
    pub index: usize,
    /// The version of its operator set.
    pub opset: i64,
}

/// All nodes in order.
///
/// # Errors
/// The operator set is not understood, or functions call each other without end.
pub fn plan<'m>(model: &'m Model, graph: &'m Graph) -> Result<Vec<Planned<'m>>, Problem> {
    let mut plan = Plan { model, out: Vec::with_capacity(graph.node.len()) };
    plan.check_opset(&model.opset_import)?;
    for (index, node) in graph.node.iter().enumerate() {
        plan.node(Cow::Borrowed(node), index, &model.opset_import, 0)?;
    }
    Ok(plan.out)
}

struct Plan<'m> {
    model: &'m Model,
    out: Vec<Planned<'m>>,
}

impl<'m> Plan<'m> {
    fn check_opset(&self, opsets: &[Opset]) -> Result<(), Problem> {
        let own = opsets.iter().filter(|o| is_onnx_domain(&o.domain));
        for o in own {
            if !OPSETS.contains(&o.version) {
                let (low, high) = (OPSETS.start(), OPSETS.end());
                let what = format!("operator set {} is not supported", o.version);
                return Err(Problem::file(&what, &format!("export with opset {low} to {high}")));
            }
        }
        Ok(())
    }

    fn node(
        &mut self,
        node: Cow<'m, Node>,
        index: usize,
        opsets: &[Opset],
        depth: usize,
    ) -> Result<(), Problem> {
        let called = |f: &&Function| f.name == node.op_type && same(&f.domain, &node.domain);
        if let Some(function) = self.model.functions.iter().find(called) {
            return self.call(function, &node, index, depth);
        }
        let version = opsets.iter().find(|o| same(&o.domain, &node.domain)).map(|o| o.version);
        let opset = version.unwrap_or(1);
        if is_onnx_domain(&node.domain) && !OPSETS.contains(&opset) {
            let what = format!("operator set {opset} is not supported");
            let fix = "the file must import the operator set ai.onnx";
            return Err(Problem::node(&display_name(&node, index), index, what, fix));
        }
        if self.out.len() == MAX_NODES {
            return Err(Problem::file("the model has too many nodes", "split the model"));
        }
        self.out.push(Planned { node, index, opset });
        Ok(())
    }

    /// The function's nodes with the caller's names.
    fn call(
        &mut self,
        function: &'m Function,
        caller: &Node,
        index: usize,
        depth: usize,
    ) -> Result<(), Problem> {
        let name = display_name(caller, index);
        if depth == MAX_DEPTH {
            let what = format!("function {} calls itself", function.name);
            return Err(Problem::node(&name, index, what, "export the model without functions"));
        }
        let bind = |own: &'m [String], given: &[String]| -> Vec<(&'m str, String)> {
            let given = given.iter().cloned().chain(std::iter::repeat(String::new()));
            own.iter().map(String::as_str).zip(given).collect()
        };
        let mut names: IndexMap<&str, String> = IndexMap::new();
        names.extend(bind(&function.input, &caller.input));
        let outputs = bind(&function.output, &caller.output);
        names.extend(outputs.into_iter().filter(|(_, given)| !given.is_empty()));
        // The caller's place in the list keeps names of two calls apart.
        let inner = format!("{name}/{}", self.out.len());
        let rename = |n: &String| match names.get(n.as_str()) {
            Some(outer) => outer.clone(),
            None if n.is_empty() => String::new(),
            None => format!("{inner}/{n}"),
        };
        for node in &function.node {
            let mut own = node.clone();
            own.input = node.input.iter().map(rename).collect();
            own.output = node.output.iter().map(rename).collect();
            own.name = format!("{name}/{}", display_name(node, index));
            own.attribute =
                node.attribute.iter().filter_map(|a| bound(a, function, caller)).collect();
            self.node(Cow::Owned(own), index, &function.opset_import, depth + 1)?;
        }
        Ok(())
    }
}

fn same(a: &str, b: &str) -> bool {
    a == b || is_onnx_domain(a) && is_onnx_domain(b)
}

/// An attribute with the caller's value, or the function's default, put in.
fn bound(a: &Attribute, function: &Function, caller: &Node) -> Option<Attribute> {
    if a.ref_attr_name.is_empty() {
        return Some(a.clone());
    }
    let given = caller.attribute.iter().chain(&function.attribute_proto);
    let value = given.clone().find(|v| v.name == a.ref_attr_name)?;
    Some(Attribute { name: a.name.clone(), ref_attr_name: String::new(), ..value.clone() })
}
