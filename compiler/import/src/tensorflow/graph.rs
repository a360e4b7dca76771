//! From a GraphDef to a flat list of nodes in topological order, with functions inlined.
//!
//! Only what the wanted outputs depend on by data is kept: control inputs, `NoOp`s and what was
//! for training fall away. Nodes of an inlined function are named after the path of calls that
//! lead to them. Malformed graphs (missing nodes, cycles, recursion) are errors, and the work is
//! bounded: a few nested functions could otherwise stand for 2^n nodes.

use super::proto::{Attr, FunctionDef, GraphDef, NodeDef};
use crate::Problem;
use std::collections::HashMap;

/// Nodes, over all calls of all functions, that are looked at.
const MAX_WORK: usize = 1 << 18;
/// Functions that may be inside one another.
const MAX_DEPTH: usize = 64;

/// An output of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Port {
    /// Which node of the flat graph.
    pub node: usize,
    /// Which of its outputs.
    pub output: usize,
}

/// A node of the flat graph.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// Its name, with the names of the calls that it is in.
    pub name: String,
    /// Its position in the file, or that of the call in the main graph.
    pub index: usize,
    /// The node's own text.
    pub def: &'a NodeDef,
    /// Data inputs.
    pub inputs: Vec<Port>,
}

/// Nodes, each behind those it depends on.
#[derive(Clone, Debug, Default)]
pub struct FlatGraph<'a> {
    /// The nodes.
    pub nodes: Vec<Node<'a>>,
    /// The wanted outputs.
    pub outputs: Vec<Port>,
}

/// The part of `def` that the tensors `outputs` (`node` or `node:k`) need.
///
/// # Errors
/// A name does not exist, or the graph is malformed.
pub fn flatten<'a>(def: &'a GraphDef, outputs: &[String]) -> Result<FlatGraph<'a>, Problem> {
    let functions = def.library.iter().flat_map(|l| &l.function);
    let named = functions.filter_map(|f| Some((f.signature.as_ref()?.name.as_str(), f)));
    let mut flattener =
        Flattener { functions: named.collect(), graph: FlatGraph::default(), work: 0 };
    let scope = Scope { prefix: "", index: None, depth: 0 };
    let frame = flattener.body(&def.node, outputs, HashMap::new(), &scope)?;
    for name in outputs {
        flattener.graph.outputs.push(frame.port(name, name)?);
    }
    Ok(flattener.graph)
}

/// The text of an input: `node`, `node:2`, `node:argument:2`; `None` for a control input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputName<'a> {
    pub node: &'a str,
    argument: Option<&'a str>,
    output: usize,
}

impl InputName<'_> {
    /// Which output of the node, or of its result with the argument's name.
    pub fn output(&self) -> usize {
        self.output
    }
}

/// Reads the text of an input.
pub fn input_name(text: &str) -> Option<InputName<'_>> {
    if text.starts_with('^') {
        return None;
    }
    let mut parts = text.split(':');
    let node = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let number = |s: &str| s.parse().unwrap_or(0);
    let (argument, output) = match rest.as_slice() {
        [k] => (None, number(k)),
        [argument, k, ..] => (Some(*argument), number(k)),
        [] => (None, 0),
    };
    Some(InputName { node, argument, output })
}

/// Which output of an operator is number `k` of its result named `argument`.
fn output_index(op: &str, name: &InputName) -> usize {
    let batch_norm = ["y", "batch_mean", "batch_variance"];
    match name.argument {
        Some(argument) if op.starts_with("FusedBatchNorm") => {
            batch_norm.iter().position(|&a| a == argument).unwrap_or(batch_norm.len())
        }
        _ => name.output,
    }
}

/// The function that a node calls, if it is a call.
pub fn callee(node: &NodeDef) -> Option<&str> {
    match (node.op.as_str(), node.attr.get("f").and_then(|a| a.value.as_ref())) {
        ("PartitionedCall" | "StatefulPartitionedCall", Some(Attr::Func(f))) => Some(&f.name),
        _ => None,
    }
}

struct Flattener<'a> {
    functions: HashMap<&'a str, &'a FunctionDef>,
    graph: FlatGraph<'a>,
    work: usize,
}

/// Where a body is inlined.
struct Scope<'s> {
    prefix: &'s str,
    index: Option<usize>,
    depth: usize,
}

/// What the names in a body stand for.
#[derive(Default)]
struct Frame<'a> {
    names: HashMap<&'a str, Def<'a>>,
}

enum Def<'a> {
    /// A node of the flat graph.
    Node(usize, &'a str),
    /// The results of a call, or an argument.
    Ports(Vec<Port>),
}

impl Frame<'_> {
    /// The tensor called `text`, for the node `user`.
    fn port(&self, text: &str, user: &str) -> Result<Port, Problem> {
        let name = input_name(text);
        let def = name.and_then(|n| Some((n, self.names.get(n.node)?)));
        match def {
            Some((n, Def::Node(node, op))) => {
                Ok(Port { node: *node, output: output_index(op, &n) })
            }
            Some((n, Def::Ports(ports))) if n.output < ports.len() => Ok(ports[n.output]),
            _ => Err(missing(text, user)),
        }
    }
}

fn missing(text: &str, user: &str) -> Problem {
    let what = format!("there is no tensor '{text}' in the graph");
    Problem::tensor(user, what, "freeze or save the model again; name outputs as NODE or NODE:K")
}

impl<'a> Flattener<'a> {
    /// Adds the part of a body that `wanted` needs.
    fn body(
        &mut self,
        nodes: &'a [NodeDef],
        wanted: &[String],
        arguments: HashMap<&'a str, Port>,
        scope: &Scope,
    ) -> Result<Frame<'a>, Problem> {
        self.work += nodes.len() + 1;
        if self.work > MAX_WORK || scope.depth > MAX_DEPTH {
            let what =
                format!("the functions called by '{}' are too many or too deep", scope.prefix);
            return Err(Problem::file(&what, "save the model without recursive functions"));
        }
        let mut by_name: HashMap<&str, usize> = HashMap::with_capacity(nodes.len());
        for (i, node) in nodes.iter().enumerate() {
            if by_name.insert(&node.name, i).is_some() {
                let what = "two nodes have this name".to_string();
                return Err(Problem::node(&node.name, i, what, "save the model again"));
            }
        }
        let is_argument = |name: &str| arguments.contains_key(name);
        let order = order(nodes, &by_name, &is_argument, wanted)?;
        let names = arguments.into_iter().map(|(n, p)| (n, Def::Ports(vec![p]))).collect();
        let mut frame = Frame { names };
        for i in order {
            let def = self.node(&nodes[i], i, &frame, scope)?;
            frame.names.insert(&nodes[i].name, def);
        }
        Ok(frame)
    }

    /// Adds one node, or the function that it calls.
    fn node(
        &mut self,
        def: &'a NodeDef,
        i: usize,
        frame: &Frame<'a>,
        scope: &Scope,
    ) -> Result<Def<'a>, Problem> {
        let name = format!("{}{}", scope.prefix, def.name);
        let data = def.input.iter().filter(|text| !text.starts_with('^'));
        let inputs: Vec<Port> =
            data.map(|text| frame.port(text, &name)).collect::<Result<_, _>>()?;
        let index = scope.index.unwrap_or(i);
        let function = callee(def).unwrap_or(&def.op);
        if let Some(&function) = self.functions.get(function) {
            return self.call(function, &inputs, &name, index, scope.depth).map(Def::Ports);
        }
        self.graph.nodes.push(Node { name, index, def, inputs });
        Ok(Def::Node(self.graph.nodes.len() - 1, &def.op))
    }

    /// Inlines a function; its results.
    fn call(
        &mut self,
        function: &'a FunctionDef,
        inputs: &[Port],
        name: &str,
        index: usize,
        depth: usize,
    ) -> Result<Vec<Port>, Problem> {
        let signature = function.signature.as_ref();
        let fail = |what: String| Problem::node(name, index, what, "save the model again");
        let (arguments, results) =
            signature.map(|s| (&s.input_arg[..], &s.output_arg[..])).unwrap_or_default();
        if arguments.len() != inputs.len() {
            let (n, m) = (inputs.len(), arguments.len());
            return Err(fail(format!("{n} inputs for a function of {m} arguments")));
        }
        let arguments = arguments.iter().zip(inputs).map(|(a, &p)| (a.name.as_str(), p)).collect();
        let returned = |r: &super::proto::ArgDef| {
            function.ret.get(&r.name).cloned().ok_or_else(|| {
                fail(format!("the function does not say what its result '{}' is", r.name))
            })
        };
        let wanted: Vec<String> = results.iter().map(returned).collect::<Result<_, _>>()?;
        let prefix = format!("{name}/");
        let scope = Scope { prefix: &prefix, index: Some(index), depth: depth + 1 };
        let frame = self.body(&function.node_def, &wanted, arguments, &scope)?;
        wanted.iter().map(|text| frame.port(text, name)).collect()
    }
}

/// The nodes that `wanted` needs, each behind those it depends on.
fn order(
    nodes: &[NodeDef],
    by_name: &HashMap<&str, usize>,
    is_argument: &dyn Fn(&str) -> bool,
    wanted: &[String],
) -> Result<Vec<usize>, Problem> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut state = vec![State::New; nodes.len()];
    let mut order = Vec::new();
    for text in wanted {
        let root = input_name(text).map(|n| n.node).unwrap_or_default();
        if is_argument(root) {
            continue;
        }
        let Some(&root) = by_name.get(root) else { return Err(missing(text, text)) };
        let mut stack = vec![(root, 0)];
        while let Some((at, next)) = stack.pop() {
            if next == 0 && state[at] == State::Done {
                continue;
            }
            state[at] = State::Open;
            let Some(text) = nodes[at].input.get(next) else {
                state[at] = State::Done;
                order.push(at);
                continue;
            };
            stack.push((at, next + 1));
            let Some(name) = input_name(text).filter(|n| !is_argument(n.node)) else { continue };
            let Some(&input) = by_name.get(name.node) else {
                return Err(missing(text, &nodes[at].name));
            };
            match state[input] {
                State::New => stack.push((input, 0)),
                State::Done => {}
                State::Open => {
                    let what = format!("it depends on itself through '{text}'");
                    let fix = "loops are not supported; unroll them when saving the model";
                    return Err(Problem::node(&nodes[at].name, at, what, fix));
                }
            }
        }
    }
    Ok(order)
}

/// Outputs of a graph that does not name them: nodes that compute something from an input and that
/// nobody reads, in the file's order.
pub fn sinks(def: &GraphDef) -> Vec<String> {
    let by_name: HashMap<&str, usize> =
        def.node.iter().enumerate().map(|(i, n)| (n.name.as_str(), i)).collect();
    let inputs = |n: &NodeDef| -> Vec<usize> {
        let names = n.input.iter().filter_map(|text| input_name(text));
        names.filter_map(|n| by_name.get(n.node).copied()).collect()
    };
    let mut is_read = vec![false; def.node.len()];
    let mut readers = vec![Vec::new(); def.node.len()];
    for (i, node) in def.node.iter().enumerate() {
        for input in inputs(node) {
            is_read[input] = true;
            readers[input].push(i);
        }
    }
    let is_input = |n: &NodeDef| n.op == "Placeholder";
    let mut stack: Vec<usize> = (0..def.node.len()).filter(|&i| is_input(&def.node[i])).collect();
    let mut computed = vec![false; def.node.len()];
    while let Some(at) = stack.pop() {
        for &reader in &readers[at] {
            if !std::mem::replace(&mut computed[reader], true) {
                stack.push(reader);
            }
        }
    }
    let is_sink = |&i: &usize| computed[i] && !is_read[i] && def.node[i].op != "NoOp";
    let found = (0..def.node.len()).filter(is_sink);
    found.flat_map(|i| outputs_of(&def.node[i])).collect()
}

/// The names of all outputs of a node.
fn outputs_of(node: &NodeDef) -> Vec<String> {
    let attr = match node.op.as_str() {
        "Split" | "SplitV" => "num_split",
        "Unpack" => "num",
        _ => return vec![format!("{}:0", node.name)],
    };
    let n = match node.attr.get(attr).and_then(|a| a.value.as_ref()) {
        Some(Attr::I(n)) => (*n).clamp(1, 4096),
        _ => 1,
    };
    (0..n).map(|k| format!("{}:{k}", node.name)).collect()
}
