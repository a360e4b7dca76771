//! Operators on one or two activations, element by element, and products of two.

use super::convert::{Converter, Node, activation};
use super::raw::{BatchMatMulOptions, RawOptions};
use crate::shapes;
use qcc_ir::OpKind;
use qcc_ir::dialect::nn::{self, BinaryFn, CompareFn, UnaryFn};
use qcc_ir::dialect::quant::{self, Act};

impl Converter<'_> {
    /// Converts an operator of this file's kinds.
    ///
    /// # Errors
    /// It is none of them, or is given what its kind has no kernel for.
    pub(super) fn pointwise(&mut self, node: &Node) -> Result<(), String> {
        let name = node.op.name();
        if let Some(kind) = pair(&name, &node.op.options) {
            return self.pair(node, kind?);
        }
        if let Some((f, swap)) = comparison(&name) {
            return self.compare(node, f, swap);
        }
        if name == "BATCH_MATMUL" {
            return self.matmul(node);
        }
        let kind = unary(&name, &node.op.options);
        let kind = kind.ok_or_else(|| format!("operator {name} is supported on float32 only"))?;
        self.output_quantized(node)?;
        self.elementwise(node, kind?)
    }

    fn pair(&mut self, node: &Node, kind: OpKind) -> Result<(), String> {
        self.output_quantized(node)?;
        let (a, b) = (self.quantized(node, 0)?, self.quantized(node, 1)?);
        let shape = shapes::broadcast(&self.shape(a), &self.shape(b))?;
        self.emit(node, kind, &[a, b], &shape)
    }

    /// Truth values, of codes or of plain elements.
    pub(super) fn compare(&mut self, node: &Node, f: CompareFn, swap: bool) -> Result<(), String> {
        let [a, b] = [usize::from(swap), usize::from(!swap)];
        let (a, b) = (self.operand(node, a)?, self.operand(node, b)?);
        let shape = shapes::broadcast(&self.shape(a), &self.shape(b))?;
        match self.is_quantized(a) && self.is_quantized(b) {
            true => self.emit(node, quant::Compare { f }, &[a, b], &shape),
            false => self.emit(node, nn::Compare { f }, &[a, b], &shape),
        }
    }

    fn matmul(&mut self, node: &Node) -> Result<(), String> {
        self.output_quantized(node)?;
        let (a, b) = (self.quantized(node, 0)?, self.quantized(node, 1)?);
        let (o, shape) = matmul_shape(node, &self.shape(a), &self.shape(b))?;
        let kind = quant::MatMul { transpose_a: o.adj_x, transpose_b: o.adj_y };
        self.emit(node, kind, &[a, b], &shape)
    }
}

/// Options and result's shape of BATCH_MATMUL on matrices `[…, p]` and `[…, q]`.
///
/// # Errors
/// They do not fit, or the options are missing.
pub(super) fn matmul_shape<'n>(
    node: &'n Node,
    p: &[u64],
    q: &[u64],
) -> Result<(&'n BatchMatMulOptions, Vec<u64>), String> {
    let RawOptions::BatchMatMul(o) = &node.op.options else {
        return Err("its options are missing".into());
    };
    let ends = |s: &[u64], swap: bool| match s {
        [.., r, c] => Ok(if swap { [*c, *r] } else { [*r, *c] }),
        _ => Err(format!("{s:?} is no matrix")),
    };
    let ([m, k], [l, n]) = (ends(p, o.adj_x)?, ends(q, o.adj_y)?);
    if k != l {
        return Err(format!("matrices of {p:?} and {q:?} do not fit"));
    }
    let mut shape = shapes::broadcast(&p[..p.len() - 2], &q[..q.len() - 2])?;
    shape.extend([m, n]);
    Ok((o, shape))
}

pub(super) type Kind = Result<OpKind, String>;

/// A comparison, if `name` is one, and whether its operands change places.
pub(super) fn comparison(name: &str) -> Option<(CompareFn, bool)> {
    Some(match name {
        "EQUAL" => (CompareFn::Equal, false),
        "NOT_EQUAL" => (CompareFn::NotEqual, false),
        "LESS" => (CompareFn::Less, false),
        "LESS_EQUAL" => (CompareFn::LessEqual, false),
        "GREATER" => (CompareFn::Less, true),
        "GREATER_EQUAL" => (CompareFn::LessEqual, true),
        _ => return None,
    })
}

/// An operator on two activations, if `name` is one.
pub(super) fn pair(name: &str, options: &RawOptions) -> Option<Kind> {
    let binary = |f| Ok(quant::Binary { f }.into());
    Some(match (name, options) {
        ("ADD", RawOptions::Add(o)) => activation(o.fused_activation)
            .map(|act| quant::Add { act, pot_scale_int16: o.pot_scale_int16 }.into()),
        ("ADD", _) => Ok(quant::Add { act: Act::None, pot_scale_int16: true }.into()),
        ("SUB", RawOptions::Sub(o)) => activation(o.fused_activation)
            .map(|act| quant::Sub { act, pot_scale_int16: o.pot_scale_int16 }.into()),
        ("SUB", _) => Ok(quant::Sub { act: Act::None, pot_scale_int16: true }.into()),
        ("MUL", RawOptions::Mul(o)) => {
            activation(o.fused_activation).map(|act| quant::Mul { act }.into())
        }
        ("MUL", _) => Ok(quant::Mul { act: Act::None }.into()),
        ("DIV", RawOptions::Div(o)) => {
            activation(o.fused_activation).map(|act| quant::Div { act }.into())
        }
        ("DIV", _) => Ok(quant::Div { act: Act::None }.into()),
        ("MINIMUM", _) => binary(BinaryFn::Min),
        ("MAXIMUM", _) => binary(BinaryFn::Max),
        ("SQUARED_DIFFERENCE", _) => binary(BinaryFn::SquaredDifference),
        ("PRELU", _) => binary(BinaryFn::Prelu),
        _ => return None,
    })
}

/// A function of one activation, if `name` is one.
pub(super) fn unary(name: &str, options: &RawOptions) -> Option<Kind> {
    let of = |f, alpha, beta| Ok(quant::Unary { f, alpha, beta }.into());
    let plain = |f| of(f, 0.0, 0.0);
    let clamp = |act| Ok(quant::Activation { act }.into());
    Some(match (name, options) {
        ("RELU", _) => clamp(Act::Relu),
        ("RELU6", _) => clamp(Act::Relu6),
        ("RELU_N1_TO_1", _) => clamp(Act::ReluN1To1),
        ("RELU_0_TO_1", _) => of(UnaryFn::Clip, 0.0, 1.0),
        ("LEAKY_RELU", RawOptions::LeakyRelu(o)) => of(UnaryFn::LeakyRelu, o.alpha, 0.0),
        ("LEAKY_RELU", _) => Err("its options are missing".into()),
        ("GELU", RawOptions::Gelu(o)) if o.approximate => plain(UnaryFn::GeluTanh),
        ("GELU", _) => plain(UnaryFn::Gelu),
        ("LOGISTIC", _) => plain(UnaryFn::Sigmoid),
        ("TANH", _) => plain(UnaryFn::Tanh),
        ("HARD_SWISH", _) => plain(UnaryFn::HardSwish),
        ("ELU", _) => of(UnaryFn::Elu, 1.0, 0.0),
        ("EXP", _) => plain(UnaryFn::Exp),
        ("LOG", _) => plain(UnaryFn::Log),
        ("SQRT", _) => plain(UnaryFn::Sqrt),
        ("RSQRT", _) => plain(UnaryFn::Rsqrt),
        ("ABS", _) => plain(UnaryFn::Abs),
        _ => return None,
    })
}
