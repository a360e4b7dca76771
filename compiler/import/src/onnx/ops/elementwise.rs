//! Functions of one, two or many numbers.

use super::super::convert::Converter;
use super::super::node::Node;
use super::Table;
use crate::shapes;
use qcc_ir::dialect::nn::{self, BinaryFn, IntFn, UnaryFn};
use qcc_ir::dialect::quant::Act;
use qcc_ir::{OpKind, Value};

pub const OPS: Table = &[
    ("Abs", |c, n| signed(c, n, UnaryFn::Abs)),
    ("Add", |c, n| pair(c, n, nn::Add { act: Act::None })),
    ("Ceil", |c, n| simple(c, n, UnaryFn::Ceil)),
    ("Celu", celu),
    ("Clip", clip),
    ("Cos", |c, n| simple(c, n, UnaryFn::Cos)),
    ("Div", |c, n| pair(c, n, nn::Div { act: Act::None })),
    ("Elu", |c, n| with_alpha(c, n, UnaryFn::Elu, 1.0)),
    ("Erf", |c, n| simple(c, n, UnaryFn::Erf)),
    ("Exp", |c, n| simple(c, n, UnaryFn::Exp)),
    ("Floor", |c, n| simple(c, n, UnaryFn::Floor)),
    ("Gelu", gelu),
    ("com.microsoft::Gelu", gelu),
    ("HardSigmoid", hard_sigmoid),
    ("HardSwish", |c, n| simple(c, n, UnaryFn::HardSwish)),
    ("LeakyRelu", |c, n| with_alpha(c, n, UnaryFn::LeakyRelu, 0.01)),
    ("Log", |c, n| simple(c, n, UnaryFn::Log)),
    ("Max", |c, n| many(c, n, nn::Binary { f: BinaryFn::Max })),
    ("Mean", mean),
    ("Min", |c, n| many(c, n, nn::Binary { f: BinaryFn::Min })),
    ("Mish", mish),
    ("Mul", |c, n| pair(c, n, nn::Mul { act: Act::None })),
    ("Neg", |c, n| signed(c, n, UnaryFn::Neg)),
    ("PRelu", |c, n| pair(c, n, nn::Binary { f: BinaryFn::Prelu })),
    ("Pow", pow),
    ("Reciprocal", |c, n| simple(c, n, UnaryFn::Reciprocal)),
    ("Relu", relu),
    ("Round", |c, n| simple(c, n, UnaryFn::Round)),
    ("Selu", selu),
    ("Sigmoid", |c, n| simple(c, n, UnaryFn::Sigmoid)),
    ("Sign", |c, n| simple(c, n, UnaryFn::Sign)),
    ("Sin", |c, n| simple(c, n, UnaryFn::Sin)),
    ("Softplus", |c, n| simple(c, n, UnaryFn::Softplus)),
    ("Softsign", |c, n| simple(c, n, UnaryFn::Softsign)),
    ("Sqrt", |c, n| simple(c, n, UnaryFn::Sqrt)),
    ("Sub", |c, n| pair(c, n, nn::Sub { act: Act::None })),
    ("Sum", |c, n| many(c, n, nn::Add { act: Act::None })),
    ("Swish", swish),
    ("Tan", tan),
    ("Tanh", |c, n| simple(c, n, UnaryFn::Tanh)),
    ("ThresholdedRelu", |c, n| with_alpha(c, n, UnaryFn::ThresholdedRelu, 1.0)),
];

impl Converter<'_> {
    /// f(x).
    pub fn unary(&mut self, f: UnaryFn, x: Value) -> Result<Value, String> {
        self.unary_of(f, 0.0, 0.0, x)
    }
    /// f(x) with its two numbers.
    pub fn unary_of(
        &mut self,
        f: UnaryFn,
        alpha: f32,
        beta: f32,
        x: Value,
    ) -> Result<Value, String> {
        let shape = self.shape(x);
        self.emit_f32(nn::Unary { f, alpha, beta }, &[x], &shape)
    }
    /// An op of two values that broadcast.
    pub fn binary(&mut self, kind: impl Into<OpKind>, a: Value, b: Value) -> Result<Value, String> {
        let shape = shapes::broadcast(&self.shape(a), &self.shape(b))?;
        self.emit_f32(kind, &[a, b], &shape)
    }
    /// A number as a tensor of rank 0.
    pub fn number(&mut self, node: &Node, v: f32) -> Result<Value, String> {
        let name = format!("{}.number", node.name);
        self.floats(&name, &[v], &[])
    }
}

fn simple(c: &mut Converter, node: &Node, f: UnaryFn) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let y = c.unary(f, x)?;
    c.done(node, y)
}

/// −x or |x|, also of integers: 0 − x, and the larger of both.
fn signed(c: &mut Converter, node: &Node, f: UnaryFn) -> Result<(), String> {
    let Some(all) = integers(c, node, 1)? else { return simple(c, node, f) };
    let dtype = c.elem(all[0]).storage();
    if f == UnaryFn::Abs && dtype.min_max().0 == 0 {
        return c.done(node, all[0]);
    }
    let zero = c.integers(node, &[0], &[], dtype)?;
    let negative = c.int_binary(IntFn::Sub, zero, all[0])?;
    let y = match f {
        UnaryFn::Abs => c.int_binary(IntFn::Max, all[0], negative)?,
        _ => negative,
    };
    c.done(node, y)
}

fn with_alpha(c: &mut Converter, node: &Node, f: UnaryFn, otherwise: f32) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let y = c.unary_of(f, node.float("alpha", otherwise)?, 0.0, x)?;
    c.done(node, y)
}

fn pair(c: &mut Converter, node: &Node, kind: impl Into<OpKind>) -> Result<(), String> {
    if let Some(all) = integers(c, node, node.proto.input.len())? {
        let y = folded_integers(c, node, &all)?;
        return c.done(node, y);
    }
    let (a, b) = (c.float(node, 0)?, c.float(node, 1)?);
    let y = c.binary(kind, a, b)?;
    c.done(node, y)
}

/// The first `n` inputs, if all are integers and there is an op for them.
fn integers(c: &mut Converter, node: &Node, n: usize) -> Result<Option<Vec<Value>>, String> {
    let mut all = Vec::new();
    for i in 0..n {
        let (dtype, _) = c.storage(node, i)?;
        if !dtype.is_int() {
            return Ok(None);
        }
        all.push(c.plain_input(node, i)?);
    }
    Ok(Some(all))
}

fn folded_integers(c: &mut Converter, node: &Node, all: &[Value]) -> Result<Value, String> {
    let f = match &*node.op {
        "Add" | "Sum" => IntFn::Add,
        "Sub" => IntFn::Sub,
        "Mul" => IntFn::Mul,
        "Min" => IntFn::Min,
        "Max" => IntFn::Max,
        _ => return Err("it is not computed with integers at run time".into()),
    };
    let (&first, rest) = all.split_first().ok_or("no inputs")?;
    rest.iter().try_fold(first, |a, &b| c.int_binary(f, a, b))
}

fn folded(c: &mut Converter, node: &Node, kind: OpKind) -> Result<Value, String> {
    let mut all = c.float(node, 0)?;
    for i in 1..node.proto.input.len() {
        let x = c.float(node, i)?;
        all = c.binary(kind.clone(), all, x)?;
    }
    Ok(all)
}

fn many(c: &mut Converter, node: &Node, kind: impl Into<OpKind>) -> Result<(), String> {
    if let Some(all) = integers(c, node, node.proto.input.len())? {
        let y = folded_integers(c, node, &all)?;
        return c.done(node, y);
    }
    let y = folded(c, node, kind.into())?;
    c.done(node, y)
}

fn mean(c: &mut Converter, node: &Node) -> Result<(), String> {
    let sum = folded(c, node, nn::Add { act: Act::None }.into())?;
    let n = c.number(node, node.proto.input.len() as f32)?;
    let y = c.binary(nn::Div { act: Act::None }, sum, n)?;
    c.done(node, y)
}

fn relu(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let shape = c.shape(x);
    let y = c.emit_f32(nn::Activation { act: Act::Relu }, &[x], &shape)?;
    c.done(node, y)
}

/// A limit of Clip: nothing, a number, or a value.
enum Limit {
    None,
    Number(f32),
    Value(Value),
}

fn limit(c: &mut Converter, node: &Node, i: usize, attr: &str) -> Result<Limit, String> {
    if node.opset < 11 && node.op == "Clip" {
        return Ok(match node.has(attr) {
            true => Limit::Number(node.float(attr, 0.0)?),
            false => Limit::None,
        });
    }
    Ok(match (node.input(i), c.known(node, i)?) {
        (None, _) => Limit::None,
        (_, Some(k)) if k.tensor.len() == 1 => Limit::Number(k.tensor.get_f64(0) as f32),
        _ => Limit::Value(c.float(node, i)?),
    })
}

fn clip(c: &mut Converter, node: &Node) -> Result<(), String> {
    if integers(c, node, 1)?.is_some() {
        return clip_integers(c, node);
    }
    let x = c.float(node, 0)?;
    let (low, high) = (limit(c, node, 1, "min")?, limit(c, node, 2, "max")?);
    let shape = c.shape(x);
    let y = match (low, high) {
        (Limit::None, Limit::None) => x,
        (Limit::Number(0.0), Limit::Number(6.0)) => {
            c.emit_f32(nn::Activation { act: Act::Relu6 }, &[x], &shape)?
        }
        (Limit::Number(0.0), Limit::None) => {
            c.emit_f32(nn::Activation { act: Act::Relu }, &[x], &shape)?
        }
        (Limit::Number(low), Limit::Number(high)) => c.unary_of(UnaryFn::Clip, low, high, x)?,
        (low, high) => {
            let x = bounded(c, node, BinaryFn::Max, x, low)?;
            bounded(c, node, BinaryFn::Min, x, high)?
        }
    };
    c.done(node, y)
}

fn clip_integers(c: &mut Converter, node: &Node) -> Result<(), String> {
    let mut x = c.plain_input(node, 0)?;
    for (i, f) in [(1, IntFn::Max), (2, IntFn::Min)] {
        if node.input(i).is_some() {
            let limit = c.plain_input(node, i)?;
            x = c.int_binary(f, x, limit)?;
        }
    }
    c.done(node, x)
}

fn bounded(
    c: &mut Converter,
    node: &Node,
    f: BinaryFn,
    x: Value,
    limit: Limit,
) -> Result<Value, String> {
    let limit = match limit {
        Limit::None => return Ok(x),
        Limit::Number(v) => c.number(node, v)?,
        Limit::Value(v) => v,
    };
    c.binary(nn::Binary { f }, x, limit)
}

fn pow(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let exponent = match c.known(node, 1)? {
        Some(k) if k.tensor.len() == 1 && k.tensor.shape().len() <= c.shape(x).len() => {
            Some(k.tensor.get_f64(0))
        }
        _ => None,
    };
    let y = match exponent {
        Some(2.0) => c.unary(UnaryFn::Square, x)?,
        Some(0.5) => c.unary(UnaryFn::Sqrt, x)?,
        Some(1.0) => x,
        Some(v) => {
            let b = c.number(node, v as f32)?;
            c.binary(nn::Binary { f: BinaryFn::Pow }, x, b)?
        }
        None => {
            let mut b = c.plain_input(node, 1)?;
            if !c.elem(b).storage().is_float() {
                let shape = c.shape(b);
                b = c.emit_f32(nn::Cast {}, &[b], &shape)?;
            } else {
                b = c.float(node, 1)?;
            }
            c.binary(nn::Binary { f: BinaryFn::Pow }, x, b)?
        }
    };
    c.done(node, y)
}

fn gelu(c: &mut Converter, node: &Node) -> Result<(), String> {
    match node.string("approximate", "none")?.as_str() {
        "none" => simple(c, node, UnaryFn::Gelu),
        "tanh" => simple(c, node, UnaryFn::GeluTanh),
        other => Err(format!("approximation '{other}' is not supported")),
    }
}

fn hard_sigmoid(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let (alpha, beta) = (node.float("alpha", 0.2)?, node.float("beta", 0.5)?);
    let y = c.unary_of(UnaryFn::HardSigmoid, alpha, beta, x)?;
    c.done(node, y)
}

fn selu(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let alpha = node.float("alpha", 1.673_263_2)?;
    let gamma = node.float("gamma", 1.050_701)?;
    let y = c.unary_of(UnaryFn::Selu, alpha, gamma, x)?;
    c.done(node, y)
}

/// max(0, x) + min(0, alpha·(e^(x/alpha) − 1)), which is alpha·elu(x/alpha).
fn celu(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let alpha = node.float("alpha", 1.0)?;
    let scale = c.number(node, alpha)?;
    let x = c.binary(nn::Div { act: Act::None }, x, scale)?;
    let x = c.unary_of(UnaryFn::Elu, 1.0, 0.0, x)?;
    let y = c.binary(nn::Mul { act: Act::None }, x, scale)?;
    c.done(node, y)
}

fn mish(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let plus = c.unary(UnaryFn::Softplus, x)?;
    let gate = c.unary(UnaryFn::Tanh, plus)?;
    let y = c.binary(nn::Mul { act: Act::None }, x, gate)?;
    c.done(node, y)
}

fn swish(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let alpha = c.number(node, node.float("alpha", 1.0)?)?;
    let scaled = c.binary(nn::Mul { act: Act::None }, x, alpha)?;
    let gate = c.unary(UnaryFn::Sigmoid, scaled)?;
    let y = c.binary(nn::Mul { act: Act::None }, x, gate)?;
    c.done(node, y)
}

fn tan(c: &mut Converter, node: &Node) -> Result<(), String> {
    let x = c.float(node, 0)?;
    let (sin, cos) = (c.unary(UnaryFn::Sin, x)?, c.unary(UnaryFn::Cos, x)?);
    let y = c.binary(nn::Div { act: Act::None }, sin, cos)?;
    c.done(node, y)
}
