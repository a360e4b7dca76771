//! When one chain of steps equals another.
//!
//! A rule looks at one step, or two in a row, and the type of what they read, and says what equals
//! them. It is a function without e-graphs in it, tested alone and against the interpreter.

use super::steps::Step;
use super::{Node, Types, apply, step_of};
use egg::{EGraph, Id, Pattern, Rewrite, Subst, Symbol, Var};
use qcc_ir::dialect::{core, quant::Act};
use qcc_ir::{Func, FuncKind, Level, LocId, Module, Numerics, TensorType, Type, interp};
use qcc_runtime::Tensor;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Whose arithmetic the steps have, and what chains of them give for all codes.
#[derive(Clone, Debug)]
pub(super) struct Env {
    numerics: Numerics,
    tables: Rc<RefCell<Tables>>,
}

/// By the text of a type and a chain: the results for all codes in order; `None`: it has none.
type Tables = BTreeMap<String, Option<Vec<u64>>>;

impl Env {
    pub(super) fn new(numerics: Numerics) -> Env {
        Env { numerics, tables: Rc::default() }
    }

    /// The results of steps on values for every code of x's type, as bits of f64.
    fn table(&self, x: &TensorType, steps: &[Step]) -> Option<Vec<u64>> {
        let key = format!("{:?} {steps:?}", x.elem);
        if let Some(known) = self.tables.borrow().get(&key) {
            return known.clone();
        }
        let found = all_codes(x).and_then(|codes| run(self.numerics, x, steps, &codes));
        let bits = found.map(|t| t.to_f64_vec().into_iter().map(f64::to_bits).collect());
        self.tables.borrow_mut().insert(key, bits.clone());
        bits
    }

    /// Do both give the same for every code of x's type?
    fn equal(&self, x: &TensorType, a: &[Step], b: &[Step]) -> bool {
        let table = self.table(x, a);
        table.is_some() && table == self.table(x, b)
    }
}

/// Every code of an 8- or 16-bit type, once.
fn all_codes(x: &TensorType) -> Option<Tensor> {
    let q = x.quant_type().filter(|q| q.storage.size() <= 2)?;
    let [lo, hi] = q.range;
    let mut codes = Tensor::zeros(q.storage, vec![(hi - lo + 1) as usize]);
    (lo..=hi).enumerate().for_each(|(i, code)| codes.set_i64(i, code.into()));
    Some(codes)
}

/// What a chain gives for `codes`, which have the elements of `x`.
pub(super) fn run(
    numerics: Numerics,
    x: &TensorType,
    steps: &[Step],
    codes: &Tensor,
) -> Option<Tensor> {
    let shape: Vec<u64> = codes.shape().iter().map(|&d| d as u64).collect();
    let mut ty = x.with_shape(&shape);
    let mut m = Module::new("chain", Level::Quant, numerics);
    let mut f = Func::new("main", FuncKind::Main, &[Type::from(ty.clone())]);
    let mut v = f.params()[0];
    for step in steps {
        ty = step.result(&ty);
        let op = f.push_op(f.body, step.kind(), &[v], &[ty.clone().into()], LocId(0));
        v = f.result(op);
    }
    f.push_op(f.body, core::Return {}, &[v], &[], LocId(0));
    m.funcs.push(f);
    interp::run_main(&m, std::slice::from_ref(codes)).ok()?.into_iter().next()
}

/// What equals one step on `x`.
type RuleOfOne = fn(&Env, &TensorType, &Step) -> Option<Vec<Step>>;
/// What equals two steps on `x`, first and second.
type RuleOfTwo = fn(&Env, &TensorType, [&Step; 2]) -> Option<Vec<Step>>;

pub(super) const OF_ONE: &[(&str, RuleOfOne)] =
    &[("drop-identity", drop_identity), ("transpose-as-reshape", transpose_as_reshape)];

pub(super) const OF_TWO: &[(&str, RuleOfTwo)] = &[
    ("join-values", join_values),
    ("quantize-of-dequantize", quantize_of_dequantize),
    ("join-transposes", join_transposes),
    ("join-reshapes", join_reshapes),
    ("join-pads", join_pads),
    ("value-before-move", value_before_move),
    ("move-before-value", move_before_value),
];

/// A step that changes nothing.
fn drop_identity(env: &Env, x: &TensorType, step: &Step) -> Option<Vec<Step>> {
    let nothing = match step {
        Step::Requantize(q) => x.quant_type() == Some(q),
        Step::Act(Act::None) => true,
        Step::Act(_) => env.equal(x, std::slice::from_ref(step), &[]),
        Step::Transpose(perm) => perm.is_sorted(),
        Step::Reshape(shape) => x.shape.as_slice() == shape.as_slice(),
        Step::Pad(low, high) => low.iter().chain(high).all(|&n| n == 0),
        Step::Quantize(_) | Step::Dequantize => false,
    };
    nothing.then(Vec::new)
}

/// A transpose that moves extents of 1 only.
fn transpose_as_reshape(_: &Env, x: &TensorType, step: &Step) -> Option<Vec<Step>> {
    let Step::Transpose(perm) = step else { return None };
    let long: Vec<u32> = perm.iter().copied().filter(|&p| x.shape[p as usize] != 1).collect();
    long.is_sorted().then(|| vec![Step::Reshape(step.result(x).shape.to_vec())])
}

/// Codes to codes in two steps is a requantization if all results are the same.
fn join_values(env: &Env, x: &TensorType, [a, b]: [&Step; 2]) -> Option<Vec<Step>> {
    if !a.is_of_values() || !b.is_of_values() {
        return None;
    }
    let y = b.result(&a.result(x));
    let joined = vec![Step::Requantize(y.quant_type()?.clone())];
    env.equal(x, &[a.clone(), b.clone()], &joined).then_some(joined)
}

/// Codes that are dequantized and quantized to the type that they had.
fn quantize_of_dequantize(env: &Env, x: &TensorType, [a, b]: [&Step; 2]) -> Option<Vec<Step>> {
    let (Step::Dequantize, Step::Quantize(q)) = (a, b) else { return None };
    let same = x.quant_type() == Some(q) && env.equal(x, &[a.clone(), b.clone()], &[]);
    same.then(Vec::new)
}

fn join_transposes(_: &Env, _: &TensorType, [a, b]: [&Step; 2]) -> Option<Vec<Step>> {
    let (Step::Transpose(p), Step::Transpose(q)) = (a, b) else { return None };
    Some(vec![Step::Transpose(q.iter().map(|&d| p[d as usize]).collect())])
}

fn join_reshapes(_: &Env, _: &TensorType, [a, b]: [&Step; 2]) -> Option<Vec<Step>> {
    matches!((a, b), (Step::Reshape(_), Step::Reshape(_))).then(|| vec![b.clone()])
}

fn join_pads(_: &Env, _: &TensorType, [a, b]: [&Step; 2]) -> Option<Vec<Step>> {
    let (Step::Pad(al, ah), Step::Pad(bl, bh)) = (a, b) else { return None };
    let sum = |a: &[u64], b: &[u64]| a.iter().zip(b).map(|(a, b)| a + b).collect();
    Some(vec![Step::Pad(sum(al, bl), sum(ah, bh))])
}

/// `value(move(x))` → `move(value(x))`.
fn value_before_move(env: &Env, x: &TensorType, [a, b]: [&Step; 2]) -> Option<Vec<Step>> {
    (b.is_of_values() && commute(env, x, b, a)).then(|| vec![b.clone(), a.clone()])
}

/// `move(value(x))` → `value(move(x))`.
fn move_before_value(env: &Env, x: &TensorType, [a, b]: [&Step; 2]) -> Option<Vec<Step>> {
    (a.is_of_values() && commute(env, x, a, b)).then(|| vec![b.clone(), a.clone()])
}

/// A step on values of type `x` and a move: a pad needs zeros to stay zeros.
fn commute(env: &Env, x: &TensorType, value: &Step, by: &Step) -> bool {
    match by {
        Step::Transpose(_) | Step::Reshape(_) => true,
        Step::Pad(..) => zero_stays(env, x, value).unwrap_or(false),
        _ => false,
    }
}

/// Does the step give zero for zero?
fn zero_stays(env: &Env, x: &TensorType, value: &Step) -> Option<bool> {
    let y = value.result(x);
    let zero_of = |ty: &TensorType| match ty.quant_type() {
        Some(q) => q.uniform().map(|a| f64::from(a.zero_point)),
        None => Some(0.0),
    };
    let zero = zero_of(x)?;
    let mut codes = Tensor::zeros(x.storage(), vec![1]);
    codes.set_f64(0, zero);
    let result = run(env.numerics, x, std::slice::from_ref(value), &codes)?;
    Some(result.get_f64(0) == zero_of(&y)?)
}

// ---- as rewrites of the e-graph ----

/// All rules.
pub(super) fn all() -> Vec<Rewrite<Node, Types>> {
    let one = OF_ONE.iter().map(|&(name, rule)| rewrite(name, "(apply ?a ?x)", Rule::One(rule)));
    let two = OF_TWO
        .iter()
        .map(|&(name, rule)| rewrite(name, "(apply ?b (apply ?a ?x))", Rule::Two(rule)));
    one.chain(two).collect()
}

#[derive(Clone, Copy)]
enum Rule {
    One(RuleOfOne),
    Two(RuleOfTwo),
}

fn rewrite(name: &str, pattern: &str, rule: Rule) -> Rewrite<Node, Types> {
    let searcher: Pattern<Node> = pattern.parse().expect("the pattern is ours");
    let [a, b, x] = ["?a", "?b", "?x"].map(|v| v.parse::<Var>().expect("the variable is ours"));
    Rewrite::new(name, searcher, Applier { rule, a, b, x }).expect("variables are bound")
}

struct Applier {
    rule: Rule,
    a: Var,
    b: Var,
    x: Var,
}

impl egg::Applier<Node, Types> for Applier {
    fn apply_one(
        &self,
        graph: &mut EGraph<Node, Types>,
        class: Id,
        subst: &Subst,
        _: Option<&egg::PatternAst<Node>>,
        rule_name: Symbol,
    ) -> Vec<Id> {
        let equal = self.equal(graph, subst);
        let Some(steps) = equal else { return vec![] };
        let mut new = subst[self.x];
        for step in steps {
            new = apply(graph, step, new);
        }
        match graph.union_trusted(class, new, rule_name) {
            true => vec![class],
            false => vec![],
        }
    }
}

impl Applier {
    fn equal(&self, graph: &EGraph<Node, Types>, subst: &Subst) -> Option<Vec<Step>> {
        let env = &graph.analysis.env;
        let x = graph[subst[self.x]].data.as_ref()?;
        let a = step_of(graph, subst[self.a])?;
        match self.rule {
            Rule::One(rule) => rule(env, x, a),
            Rule::Two(rule) => rule(env, x, [a, step_of(graph, subst[self.b])?]),
        }
    }
}

#[cfg(test)]
mod tests;
