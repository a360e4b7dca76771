//! If: the branch that is taken, or, when only the run knows, both and a selection of their results
//! (operators have no side effects).

use super::super::convert::{Bound, Converter, Known};
use super::super::data;
use super::super::node::{Node, display_name, is_onnx_domain, qualified};
use super::super::proto::Graph;
use super::Table;
use qcc_ir::{DType, Elem, Value};
use std::borrow::Cow;

pub const OPS: Table = &[("If", either)];

fn either(c: &mut Converter, node: &Node) -> Result<(), String> {
    let [yes, no] = ["then_branch", "else_branch"].map(|name| {
        let graph = node.graph(name)?;
        graph.ok_or_else(|| format!("attribute '{name}' is missing"))
    });
    let (yes, no) = (yes?, no?);
    if let Some(k) = c.known(node, 0)? {
        if k.tensor.len() != 1 {
            return Err("its condition is not one truth value".into());
        }
        let results = branch(c, node, if k.tensor.get_i64(0) != 0 { yes } else { no })?;
        for (j, (_, bound)) in results.into_iter().enumerate().filter(|(j, _)| node.has_output(*j))
        {
            c.bind(node, j, bound)?;
        }
        return Ok(());
    }
    let p = c.plain_input(node, 0)?;
    if c.elem(p) != Elem::Plain(DType::Bool) || c.shape(p).iter().product::<u64>() != 1 {
        return Err("its condition is not one truth value".into());
    }
    let p = c.reshape(p, &[])?;
    let (a, b) = (values(c, node, yes)?, values(c, node, no)?);
    for (j, (a, b)) in a.into_iter().zip(b).enumerate().filter(|(j, _)| node.has_output(*j)) {
        if c.shape(a) != c.shape(b) {
            let (a, b) = (c.shape(a), c.shape(b));
            return Err(format!(
                "its branches give shapes {a:?} and {b:?}, and the condition is not known when the \
                 model is compiled"
            ));
        }
        let y = c.select(p, a, b)?;
        c.bind(node, j, Bound::Value(y))?;
    }
    Ok(())
}

/// The results of a branch as values of plain elements.
fn values(c: &mut Converter, node: &Node, graph: &Graph) -> Result<Vec<Value>, String> {
    let mut all = Vec::new();
    for (name, bound) in branch(c, node, graph)? {
        let v = c.value_of(&name, bound)?;
        all.push(c.plain(v)?);
    }
    Ok(all)
}

/// Converts the nodes of a branch, which see all names before the node; its own names end with it.
fn branch(c: &mut Converter, node: &Node, graph: &Graph) -> Result<Vec<(String, Bound)>, String> {
    let before = c.names();
    for t in &graph.initializer {
        let tensor = data::decode(t, c.folder()).map_err(|e| format!("'{}': {e}", t.name))?;
        let range = data::OnnxType(t.data_type).narrow_range();
        c.define(&t.name, Bound::Known(Known { range, ..Known::new(tensor) }))?;
    }
    for inner in &graph.node {
        let name = format!("{}/{}", node.name, display_name(inner, node.index));
        let loc = c.module.locs.node(&name, Some(node.index as u32));
        let op = Cow::from(qualified(&inner.domain, &inner.op_type));
        let opset = if is_onnx_domain(&inner.domain) { node.opset } else { 1 };
        let inner = Node { proto: inner, op, name, index: node.index, opset, loc };
        c.node(&inner).map_err(|e| format!("{} '{}': {e}", inner.op, inner.name))?;
    }
    c.loc = node.loc;
    let mut results = Vec::new();
    for output in &graph.output {
        results.push((output.name.clone(), c.lookup(&output.name)?));
    }
    c.forget(before);
    Ok(results)
}
