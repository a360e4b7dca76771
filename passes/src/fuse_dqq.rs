//! `fuse-dqq`: a float op between dequantize and quantize becomes a quantized op.
//!
//! ```text
//! %x = quant.dequantize(%xq)
//! %w = quant.dequantize(%wq)
//! %b = quant.dequantize(%bq)
//! %y = nn.conv2d(%x, %w, %b) {act=relu}
//! %yq = quant.quantize(%y)              ─►   %yq = quant.conv2d(%xq, %wq, %bq) {act=relu}
//! ```
//!
//! Nobody else may read %y, and the module's numerics must have the op for the codes' types. Where an
//! op keeps the scale of its input (pools, resizing) and the model asks for another, a `quant.requantize`
//! follows, as TensorFlow's converter has it (an average in a graph that the converter refuses becomes a
//! depthwise convolution by ones instead, which rounds once; see [`crate::converter`]); inputs of a concatenation are requantized before. `quantize`
//! of `dequantize` is `quant.requantize`, or nothing if the types are equal. `nn.arg_max` reads codes.
//!
//! An activation that the output's range implies is left out: all codes of a type whose zero point is its
//! smallest code are at least 0.
//!
//! What is not fused has a remark that names the node and says why; `islands` lists what stays
//! float in the end.

mod arith;
mod conv;
mod window;

use crate::rewriter::{Rewriter, rewrite_all};
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::dialect::nn::{Op, ReduceFn};
use qcc_ir::numerics::derive;
use qcc_ir::{Affine, Level, Module, OpId, OpKind, QuantType, TensorType, Value};
use std::sync::Arc;

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "fuse-dqq",
    summary: "make quantized ops of float ops between dequantize and quantize",
    doc: include_str!("fuse_dqq.rs"),
    needs: LevelSet::of(&[Level::Nn, Level::Quant]),
    yields: None,
    drift: Drift::Lsb(1),
    options: &[],
    run,
};

/// Fusing makes no new chances but for ops that were read twice.
const MAX_ROUNDS: usize = 4;

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    rewrite_all(m, ctx, MAX_ROUNDS, |r, op, ctx| {
        if r.is_quantize(op) {
            return merge_twins(r, op) | quantize(r, op, ctx);
        }
        matches!(r.nn(op), Some(Op::ArgMax(_))) && window::arg_max(r, op)
    });
    leave_island_remarks(m, ctx);
    Ok(())
}

/// Says what stays float; of a model without quantization, only that.
fn leave_island_remarks(m: &mut Module, ctx: &mut PassContext) {
    for func in m.funcs.keys().collect::<Vec<_>>() {
        let r = Rewriter { m, func, pass: PASS.name };
        let ops = r.f().walk();
        let results = ops.iter().flat_map(|&op| r.f().results(op));
        let mut values = results.chain(r.f().params());
        if !values.any(|&v| r.quant_type(v).is_some()) {
            ctx.remark_module("nothing in the model is quantized: it stays float");
            continue;
        }
        for &op in &ops {
            if let Some(island) = crate::islands::island(&r, op) {
                r.remark(ctx, op, island.to_string());
            }
        }
    }
}

/// Quantize ops of one value to one type are one.
fn merge_twins(r: &mut Rewriter, q: OpId) -> bool {
    let (v, y) = (r.operand(q, 0), r.result(q));
    let twin = |&o: &OpId| o != q && r.is_quantize(o) && r.ty(r.result(o)) == r.ty(y);
    let twins: Vec<OpId> = r.readers(v).into_iter().filter(twin).collect();
    for &twin in &twins {
        r.replace(twin, y);
    }
    !twins.is_empty()
}

/// One attempt: a float op `op` whose value only `q` reads.
struct Site<'a, 'm> {
    r: &'a mut Rewriter<'m>,
    op: OpId,
    q: OpId,
    /// The type of the quantized result.
    y: TensorType,
}

/// The quantized value in the place of `quantize(op(…))`, or why there is none.
type Fused = Result<Value, String>;

fn quantize(r: &mut Rewriter, q: OpId, ctx: &mut PassContext) -> bool {
    let v = r.operand(q, 0);
    let Some(op) = r.def(v) else { return false };
    if r.dequantized(v).is_some() {
        return requantize(r, op, q);
    }
    let Some(kind) = r.nn(op).cloned() else { return false };
    if let Some(other) = r.readers(v).into_iter().find(|&o| o != q) {
        let other = r.node(other);
        r.remark(ctx, op, format!("not fused, its output is also read by '{other}'"));
        return false;
    }
    let y = r.ty(r.result(q)).clone();
    let mut site = Site { r, op, q, y };
    match site.fuse(&kind) {
        Ok(new) => {
            finish(r, v, q, new);
            true
        }
        Err(why) => {
            r.remark(ctx, op, format!("{} not fused: {why}", r.f().kind(op).name()));
            false
        }
    }
}

/// `new` takes the place of `q`, under the name that the float value had.
fn finish(r: &mut Rewriter, v: Value, q: OpId, new: Value) {
    if let Some(name) = r.f().name(v).map(String::from) {
        r.f_mut().set_name(new, &name);
    }
    r.replace(q, new);
}

/// `quantize(dequantize(x))`.
fn requantize(r: &mut Rewriter, dequantize: OpId, q: OpId) -> bool {
    let x = r.operand(dequantize, 0);
    let y = r.ty(r.result(q)).clone();
    if *r.ty(x) == y {
        r.replace(q, x);
        return true;
    }
    let uniform = |t: &TensorType| t.quant_type().is_some_and(|q| q.uniform().is_some());
    if !uniform(r.ty(x)) || !uniform(&y) {
        return false;
    }
    let Ok(new) = window::rescaled(r, (q, q), x, y) else { return false };
    r.replace(q, new);
    true
}

impl Site<'_, '_> {
    fn fuse(&mut self, kind: &Op) -> Fused {
        match kind {
            Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::FullyConnected(_) => self.conv(kind),
            Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) => self.pair(kind),
            Op::Binary(_) | Op::MatMul(_) => self.pair(kind),
            Op::Unary(o) => self.unary(o),
            Op::Concat(o) => self.concat(o.axis),
            Op::Activation(o) => self.activation(o.act),
            Op::MaxPool2d(_) | Op::AvgPool2d(_) | Op::ResizeBilinear(_) => self.same_scale(kind),
            Op::Mean(o) => self.mean(&o.axes),
            Op::Reduce(o) if matches!(o.f, ReduceFn::Min | ReduceFn::Max) => self.same_scale(kind),
            Op::Softmax(o) => self.softmax(o.beta),
            Op::LogSoftmax(_) => self.log_softmax(),
            _ => Err("it has no integer form".to_string()),
        }
    }

    // ---- what the op reads ----

    /// The quantized value behind operand `i`, with its one set of parameters.
    fn codes(&self, i: usize) -> Result<(Value, Arc<QuantType>, Affine), String> {
        let v = self.r.operand(self.op, i);
        let Some(q) = self.r.dequantized(v) else {
            return Err(format!("{} is not quantized", self.describe(v)));
        };
        let ty = self.r.quant_type(q).cloned().ok_or("an input has no parameters")?;
        match ty.uniform() {
            Some(a) => Ok((q, ty, a)),
            None => Err(format!("{} is quantized per axis", self.describe(v))),
        }
    }
    /// A value, for people.
    fn describe(&self, v: Value) -> String {
        match self.r.def(v) {
            None => "its input, an input of the model,".to_string(),
            Some(op) if crate::consts::is_const(self.r.f(), v) => {
                let _ = op;
                "a constant input".to_string()
            }
            Some(op) => format!("its input from '{}'", self.r.node(op)),
        }
    }
    /// The result's one set of parameters.
    fn y_quant(&self) -> Result<(Arc<QuantType>, Affine), String> {
        let q = self.y.quant_type().cloned().ok_or("the result has no parameters")?;
        match q.uniform() {
            Some(a) => Ok((q, a)),
            None => Err("its output is quantized per axis".to_string()),
        }
    }
    /// A quantized op, if the module's numerics has it. Its node name is that of the float op.
    fn insert(&mut self, kind: impl Into<OpKind>, operands: &[Value], ty: TensorType) -> Fused {
        let y = self.r.insert(self.q, kind, operands, ty, &[self.op]);
        let new = self.r.def(y).ok_or("it was not made")?;
        match derive(self.r.m, self.r.f(), new) {
            Ok(_) => Ok(y),
            Err(why) => {
                self.r.f_mut().erase(new);
                Err(why)
            }
        }
    }
    /// `v` in the result's parameters.
    fn in_y(&mut self, v: Value) -> Fused {
        let q = self.y.quant_type().cloned();
        if self.r.quant_type(v) == q.as_ref() {
            return Ok(v);
        }
        let ty = TensorType { elem: self.y.elem.clone(), ..self.r.ty(v).clone() };
        window::rescaled(self.r, (self.op, self.q), v, ty)
    }
}
