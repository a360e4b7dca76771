//! `simplify-requant`: the cheapest of all equal chains of quantize, dequantize, requantize, activation,
//! transpose, reshape and pad.
//!
//! ```text
//! %a = quant.requantize(%x) : …!u
//! %b = nn.transpose(%a) {perm=[1,0]}            %y = quant.requantize(%x) : …!t
//! %c = quant.requantize(%b) : …!t        ─►
//! %y = nn.transpose(%c) {perm=[1,0]}
//! ```
//!
//! Each maximal chain of such ops, in which only the last value has other readers, becomes an expression of an
//! e-graph (crate `egg`). Rules ([`rules`]) add equal expressions; those about values hold only if both
//! sides give the same result for every code of the input's type, which the interpreter decides. Then
//! the chain that moves the fewest bytes is taken. The search is bounded by nodes and iterations, never by
//! time, so the result is the same every time.

mod rules;
mod steps;

use crate::rewriter::Rewriter;
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use egg::{EGraph, Extractor, Id, Language, RecExpr, Runner, Symbol};
use qcc_ir::{Level, Module, OpId, TensorType, Value};
use rules::Env;
use std::time::Duration;
use steps::Step;

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "simplify-requant",
    summary: "find the cheapest equal chain of requantizations and moves",
    doc: include_str!("simplify_requant.rs"),
    needs: LevelSet::of(&[Level::Nn, Level::Quant]),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

/// Limits of the search. A chain of ten ops stays below a tenth of them.
const MAX_NODES: usize = 10_000;
const MAX_ITERATIONS: usize = 12;
/// A longer chain is cut: the search grows with the square of its length.
const MAX_CHAIN: usize = 16;

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    let env = Env::new(m.numerics);
    for func in m.funcs.keys().collect::<Vec<_>>() {
        let mut r = Rewriter { m, func, pass: PASS.name };
        for last in r.f().walk().into_iter().rev() {
            if r.f().op(last).parent().is_some() && ends_chain(&r, last) {
                simplify(&mut r, last, &env, ctx);
            }
        }
    }
    Ok(())
}

/// A step whose result is read by others than one further step.
fn ends_chain(r: &Rewriter, op: OpId) -> bool {
    let Some(_) = Step::of(r, op) else { return false };
    match r.sole_reader(r.result(op)) {
        Some(next) => Step::of(r, next).is_none(),
        None => true,
    }
}

/// The chain that ends with `last`: what it starts from, and its ops in order.
fn chain(r: &Rewriter, last: OpId) -> (Value, Vec<OpId>) {
    let mut ops = vec![last];
    let mut x = r.operand(last, 0);
    while ops.len() < MAX_CHAIN
        && let Some(op) = r.def(x)
        && Step::of(r, op).is_some()
        && r.sole_reader(x).is_some()
    {
        ops.push(op);
        x = r.operand(op, 0);
    }
    ops.reverse();
    (x, ops)
}

fn simplify(r: &mut Rewriter, last: OpId, env: &Env, ctx: &mut PassContext) {
    let (x, ops) = chain(r, last);
    let steps: Vec<Step> = ops.iter().filter_map(|&op| Step::of(r, op)).collect();
    let best = cheapest(&steps, r.ty(x), env);
    if best == steps {
        return;
    }
    let (n, k) = (steps.len(), best.len());
    r.remark(ctx, last, format!("a chain of {n} moves and requantizations became one of {k}"));
    let mut v = x;
    for step in best {
        let ty = step.result(r.ty(v));
        v = r.insert(last, step.kind(), &[v], ty, &ops);
    }
    r.replace(last, v);
}

/// The cheapest chain that equals `steps` on values of type `x`.
fn cheapest(steps: &[Step], x: &TensorType, env: &Env) -> Vec<Step> {
    let mut graph = EGraph::new(Types { env: env.clone(), steps: vec![], x: x.clone() });
    let mut root = graph.add(Node::Leaf(Symbol::from("x")));
    for step in steps {
        root = apply(&mut graph, step.clone(), root);
    }
    let runner =
        Runner::<Node, Types, ()>::new(Types { env: env.clone(), steps: vec![], x: x.clone() })
            .with_egraph(graph)
            .with_node_limit(MAX_NODES)
            .with_iter_limit(MAX_ITERATIONS)
            .with_time_limit(Duration::MAX)
            .run(&rules::all());
    let graph = runner.egraph;
    let extractor = Extractor::new(&graph, Bytes { graph: &graph });
    let (before, (after, best)) = (cost_of(steps, x), extractor.find_best(root));
    // Of equals, the chain as it was.
    if after >= before { steps.to_vec() } else { steps_of(&graph, &best) }
}

fn cost_of(steps: &[Step], x: &TensorType) -> u64 {
    let mut ty = x.clone();
    let mut cost = 0;
    for step in steps {
        let y = step.result(&ty);
        cost += step.cost(&ty, &y);
        ty = y;
    }
    cost
}

fn steps_of(graph: &EGraph<Node, Types>, best: &RecExpr<Node>) -> Vec<Step> {
    let nodes = best.as_ref();
    let mut steps = Vec::new();
    let mut at = nodes.last();
    while let Some(Node::Apply([step, x])) = at {
        if let Node::Step(i) = nodes[usize::from(*step)] {
            steps.push(graph.analysis.steps[i as usize].clone());
        }
        at = Some(&nodes[usize::from(*x)]);
    }
    steps.reverse();
    steps
}

egg::define_language! {
    /// A chain: a value, or a step applied to one.
    enum Node {
        "apply" = Apply([Id; 2]),
        Step(u32),
        Leaf(Symbol),
    }
}

/// What the e-graph knows of each class: the type of its values.
#[derive(Clone, Debug)]
struct Types {
    env: Env,
    /// The steps by number.
    steps: Vec<Step>,
    /// The type of the leaf.
    x: TensorType,
}

impl egg::Analysis<Node> for Types {
    /// `None`: a step.
    type Data = Option<TensorType>;

    fn make(graph: &mut EGraph<Node, Self>, node: &Node, _: Id) -> Self::Data {
        match node {
            Node::Leaf(_) => Some(graph.analysis.x.clone()),
            Node::Step(_) => None,
            Node::Apply([step, x]) => {
                let step = step_of(graph, *step)?;
                Some(step.result(graph[*x].data.as_ref()?))
            }
        }
    }
    fn merge(&mut self, a: &mut Self::Data, b: Self::Data) -> egg::DidMerge {
        debug_assert_eq!(*a, b, "equal chains have one type");
        egg::DidMerge(false, false)
    }
}

/// The step that a class is.
fn step_of(graph: &EGraph<Node, Types>, id: Id) -> Option<&Step> {
    let node = graph[id].nodes.iter().find_map(|n| match n {
        Node::Step(i) => Some(*i),
        _ => None,
    })?;
    graph.analysis.steps.get(node as usize)
}

/// `step` applied to the class `x`.
fn apply(graph: &mut EGraph<Node, Types>, step: Step, x: Id) -> Id {
    let known = graph.analysis.steps.iter().position(|s| *s == step);
    let i = known.unwrap_or_else(|| {
        graph.analysis.steps.push(step);
        graph.analysis.steps.len() - 1
    });
    let step = graph.add(Node::Step(i as u32));
    graph.add(Node::Apply([step, x]))
}

/// The cost of a chain.
struct Bytes<'a> {
    graph: &'a EGraph<Node, Types>,
}

impl egg::CostFunction<Node> for Bytes<'_> {
    type Cost = u64;
    fn cost<C: FnMut(Id) -> u64>(&mut self, node: &Node, mut costs: C) -> u64 {
        let children = node.fold(0u64, |sum, id| sum.saturating_add(costs(id)));
        let Node::Apply([step, x]) = node else { return children };
        let (Some(step), Some(x)) = (step_of(self.graph, *step), &self.graph[*x].data) else {
            return u64::MAX;
        };
        children.saturating_add(step.cost(x, &step.result(x)))
    }
}
