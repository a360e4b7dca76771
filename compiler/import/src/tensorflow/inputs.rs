//! Types of a graph's inputs: shapes with open dimensions filled in.

use super::convert::Named;
use super::data::TfType;
use super::graph::{FlatGraph, Node, Port};
use super::proto::{Attr, TensorShape};
use super::same_tensor;
use crate::{ImportOptions, Problem, shapes};
use qcc_ir::TensorType;

/// The placeholders of a graph in the file's order, named as tensors.
pub fn placeholders(graph: &FlatGraph) -> Vec<Named> {
    let is_input = |n: &(usize, &Node)| n.1.def.op == "Placeholder";
    let mut found: Vec<(usize, &Node)> = graph.nodes.iter().enumerate().filter(is_input).collect();
    found.sort_by_key(|(_, n)| n.index);
    let named = |(node, n): (usize, &Node)| Named {
        name: format!("{}:0", n.name),
        port: Port { node, output: 0 },
        shape: None,
    };
    found.into_iter().map(named).collect()
}

/// The type of input `input`, which is the placeholder `node`.
///
/// # Errors
/// A dimension is not known, or the element type is not supported.
pub fn input_type(
    input: &Named,
    node: &Node,
    options: &ImportOptions,
) -> Result<TensorType, Problem> {
    let fail = |what: String, fix: &str| Err(Problem::tensor(&input.name, what, fix));
    let dtype = match node.def.attr.get("dtype").and_then(|a| a.value.as_ref()) {
        Some(Attr::Type(code)) => TfType::new(*code),
        _ => return fail("its element type is not known".into(), "save the model again"),
    };
    let is_narrow = [TfType::HALF, TfType::BFLOAT16, TfType::DOUBLE].contains(&dtype);
    let dtype = match dtype.dtype() {
        Ok(d) if !is_narrow => d,
        _ => return fail(format!("inputs of {dtype} are not supported"), "save it in float32"),
    };
    let shape = input.shape.as_ref().or(match node.def.attr.get("shape") {
        Some(a) => match &a.value {
            Some(Attr::Shape(s)) => Some(s),
            _ => None,
        },
        None => None,
    });
    let given = options.shapes.iter().find(|(n, _)| same_tensor(n, &input.name));
    let shape = extents(input, shape, given.map(|(_, s)| s.as_slice()), options.batch)?;
    shapes::check_size(&shape)
        .map_err(|e| Problem::tensor(&input.name, e, "give a smaller shape"))?;
    Ok(TensorType::plain(&shape, dtype))
}

/// A placeholder's extents: −1 becomes the batch, or what --shape says.
fn extents(
    input: &Named,
    shape: Option<&TensorShape>,
    given: Option<&[u64]>,
    batch: Option<u64>,
) -> Result<Vec<u64>, Problem> {
    let fail = |what: String| {
        let fix = format!("give it with --shape {}=…", input.name);
        Err(Problem::tensor(&input.name, what, &fix))
    };
    let known = shape.filter(|s| !s.unknown_rank);
    let Some(known) = known else {
        return given.map_or_else(|| fail("its shape is not known".into()), |g| Ok(g.to_vec()));
    };
    if let Some(given) = given {
        let fits = |(g, d): (&u64, &super::proto::Dim)| d.size < 0 || *g as i64 == d.size;
        let file: Vec<i64> = known.dim.iter().map(|d| d.size).collect();
        let agrees = given.len() == file.len() && given.iter().zip(&known.dim).all(fits);
        return match agrees {
            true => Ok(given.to_vec()),
            false => fail(format!("--shape gives {given:?}, the graph says {file:?}")),
        };
    }
    let mut out = Vec::with_capacity(known.dim.len());
    for (d, dim) in known.dim.iter().enumerate() {
        match (u64::try_from(dim.size), d, batch) {
            (_, 0, Some(n)) => out.push(n),
            (Ok(n), ..) => out.push(n),
            (Err(_), 0, None) => out.push(1),
            (Err(_), ..) => return fail(format!("dimension {d} is not known")),
        }
    }
    Ok(out)
}
