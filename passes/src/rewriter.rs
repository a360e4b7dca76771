//! Rewriting a graph of tensors (levels nn and quant) in place: what passes on float and quantized
//! graphs share.
//!
//! A [`Rewriter`] holds a module and one of its functions. New ops get the locations of the ops
//! that they come from. Ops left without readers are erased at once, so that "who else reads this"
//! has an exact answer while a pass runs. The module is verified: operands and results are tensors.

use crate::consts::const_tensor;
use crate::{PassContext, Remark};
use qcc_ir::dialect::quant::Act;
use qcc_ir::dialect::{core, nn, quant};
use qcc_ir::{
    Elem, Func, FuncId, FuncKind, Level, LocId, Module, OpId, OpKind, QuantType, TensorType, Type,
    Value, interp,
};
use qcc_runtime::Tensor;
use std::sync::Arc;

/// A function being rewritten by the pass `pass`.
pub struct Rewriter<'a> {
    /// The module.
    pub m: &'a mut Module,
    /// The function.
    pub func: FuncId,
    /// The name in locations of ops made of several.
    pub pass: &'static str,
}

/// Runs `rule` on every op of every function, again and again until it changes nothing (at most
/// `rounds` times). `rule` may erase the op and others.
pub fn rewrite_all(
    m: &mut Module,
    ctx: &mut PassContext,
    rounds: usize,
    mut rule: impl FnMut(&mut Rewriter, OpId, &mut PassContext) -> bool,
) {
    for func in m.funcs.keys().collect::<Vec<_>>() {
        for _ in 0..rounds {
            let mut changed = false;
            let pass = ctx.pass;
            let mut r = Rewriter { m, func, pass };
            for op in r.f().walk() {
                // Erased by an earlier rewrite.
                if r.f().op(op).parent().is_some() {
                    changed |= rule(&mut r, op, ctx);
                }
            }
            if !changed {
                break;
            }
        }
    }
}

impl Rewriter<'_> {
    // ---- reading ----

    /// The function.
    pub fn f(&self) -> &Func {
        &self.m.funcs[self.func]
    }
    /// The function, for its mutators.
    pub fn f_mut(&mut self) -> &mut Func {
        &mut self.m.funcs[self.func]
    }
    /// The op if it is one of the nn dialect.
    pub fn nn(&self, op: OpId) -> Option<&nn::Op> {
        match self.f().kind(op) {
            OpKind::Nn(op) => Some(op),
            _ => None,
        }
    }
    /// The op if it is one of the quant dialect.
    pub fn quant(&self, op: OpId) -> Option<&quant::Op> {
        match self.f().kind(op) {
            OpKind::Quant(op) => Some(op),
            _ => None,
        }
    }
    /// The op that makes `v`, unless `v` is an input of the function.
    pub fn def(&self, v: Value) -> Option<OpId> {
        self.f().def_op(v)
    }
    /// Operand `i` of `op`.
    pub fn operand(&self, op: OpId, i: usize) -> Value {
        self.f().operands(op)[i]
    }
    /// The only result of `op`.
    pub fn result(&self, op: OpId) -> Value {
        self.f().result(op)
    }
    /// The type of a value.
    pub fn ty(&self, v: Value) -> &TensorType {
        self.f().ty(v).as_tensor().expect("verified: above level loop values are tensors")
    }
    /// The extents of a value.
    pub fn shape(&self, v: Value) -> &[u64] {
        &self.ty(v).shape
    }
    /// The quantization of a value, if it is quantized.
    pub fn quant_type(&self, v: Value) -> Option<&Arc<QuantType>> {
        self.ty(v).quant_type()
    }
    /// The ops that read `v`, each once.
    pub fn readers(&self, v: Value) -> Vec<OpId> {
        let mut all: Vec<OpId> = self.f().value(v).uses().iter().map(|u| u.0).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
    /// The op that reads `v`, if only one does, and once.
    pub fn sole_reader(&self, v: Value) -> Option<OpId> {
        match self.f().value(v).uses() {
            [(op, _)] => Some(*op),
            _ => None,
        }
    }
    /// The constant tensor `v`.
    pub fn const_tensor(&self, v: Value) -> Option<Tensor> {
        const_tensor(self.m, self.f(), v)
    }
    /// The elements of a constant float tensor.
    pub fn const_floats(&self, v: Value) -> Option<Vec<f32>> {
        let t = self.const_tensor(v)?;
        t.as_slice::<f32>().ok().map(<[f32]>::to_vec)
    }
    /// The one value of all elements of a constant float tensor.
    pub fn const_splat(&self, v: Value) -> Option<f32> {
        let all = self.const_floats(v)?;
        let first = *all.first()?;
        all.iter().all(|x| x.to_bits() == first.to_bits()).then_some(first)
    }
    /// The quantized tensor that `v` is the dequantized form of.
    pub fn dequantized(&self, v: Value) -> Option<Value> {
        let op = self.def(v)?;
        matches!(self.quant(op), Some(quant::Op::Dequantize(_))).then(|| self.operand(op, 0))
    }
    /// Is `op` a `quant.quantize`?
    pub fn is_quantize(&self, op: OpId) -> bool {
        matches!(self.quant(op), Some(quant::Op::Quantize(_)))
    }
    /// Is `op` the end of the function?
    pub fn is_return(&self, op: OpId) -> bool {
        matches!(self.f().kind(op), OpKind::Core(core::Op::Return(_)))
    }
    /// The name of the node behind `op`, for remarks.
    pub fn node(&self, op: OpId) -> String {
        match self.is_return(op) {
            true => "the model's output".to_string(),
            false => self.m.locs.describe(self.f().op(op).loc),
        }
    }
    /// A remark about `op`.
    pub fn remark(&self, ctx: &mut PassContext, op: OpId, message: impl Into<String>) {
        let remark = Remark { pass: ctx.pass, loc: self.node(op), message: message.into() };
        // A rule that is tried again says the same again.
        if !ctx.remarks.contains(&remark) {
            ctx.remarks.push(remark);
        }
    }

    // ---- writing ----

    /// A new op of one result right before `before`, made of the ops `from`.
    pub fn insert(
        &mut self,
        before: OpId,
        kind: impl Into<OpKind>,
        operands: &[Value],
        ty: TensorType,
        from: &[OpId],
    ) -> Value {
        let locs: Vec<LocId> = from.iter().map(|&op| self.f().op(op).loc).collect();
        let loc = self.m.locs.fused(self.pass, &locs);
        let f = self.f_mut();
        let op = f.create_op(kind, operands, &[ty.into()], &[], loc);
        f.insert_before(before, op);
        f.result(op)
    }
    /// A constant right before `before`, of type `ty` (its bytes are those of `tensor`).
    pub fn constant(&mut self, before: OpId, name: &str, t: &Tensor, elem: Elem) -> Value {
        let shape: Vec<u64> = t.shape().iter().map(|&d| d as u64).collect();
        let ty = TensorType { shape: shape.as_slice().into(), elem, layout: None };
        let data = self.m.add_data(name, t.bytes());
        let v = self.insert(before, core::Const { data }, &[], ty, &[before]);
        let name = self.m.data[data].name.clone();
        self.f_mut().set_name(v, &name);
        v
    }
    /// A constant float tensor right before `before`.
    pub fn const_f32(&mut self, before: OpId, name: &str, shape: &[u64], values: &[f32]) -> Value {
        let shape: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
        let mut t = Tensor::zeros(qcc_ir::DType::F32, shape);
        values.iter().enumerate().for_each(|(i, &v)| t.set_f64(i, v.into()));
        self.constant(before, name, &t, Elem::Plain(qcc_ir::DType::F32))
    }
    /// The name of the data behind a constant, else that of the value, else `c`.
    pub fn name_of(&self, v: Value) -> String {
        let data = crate::consts::const_id(self.f(), v).and_then(|id| self.m.data.get(id));
        let name = data.map(|d| d.name.clone()).or_else(|| self.f().name(v).map(String::from));
        name.unwrap_or_else(|| "c".to_string())
    }
    /// `to` takes the place of the only result of `op`, which goes away with what only it read.
    pub fn replace(&mut self, op: OpId, to: Value) {
        let from = self.result(op);
        let f = self.f_mut();
        if let Some(name) = f.name(from).map(String::from)
            && f.name(to).is_none()
        {
            f.set_name(to, &name);
        }
        f.replace_uses(from, to);
        self.erase_dead(op);
    }
    /// Sets operand `i`; what made the old one goes away if nothing else reads it.
    pub fn set_operand(&mut self, op: OpId, i: usize, to: Value) {
        let old = self.operand(op, i);
        self.f_mut().set_operand(op, i, to);
        if let Some(def) = self.def(old) {
            self.erase_dead(def);
        }
    }
    /// Erases `op` and what only it read, if it is pure and nothing reads it.
    pub fn erase_dead(&mut self, op: OpId) {
        let mut todo = vec![op];
        while let Some(op) = todo.pop() {
            let f = self.f_mut();
            let unused = f.results(op).iter().all(|&v| f.value(v).uses().is_empty());
            if f.op(op).parent().is_none() || !unused || !f.kind(op).spec().pure {
                continue;
            }
            todo.extend(f.operands(op).iter().filter_map(|&v| f.def_op(v)));
            f.erase(op);
        }
    }
}

/// What an op of plain tensors gives for constants, or why not.
///
/// # Errors
/// The interpreter's.
pub fn evaluate(kind: OpKind, inputs: &[Tensor], y: &TensorType) -> Result<Tensor, String> {
    let mut m = Module::new("fold", Level::Nn, qcc_ir::Numerics::Real);
    let plain = |t: &Tensor| {
        let shape: Vec<u64> = t.shape().iter().map(|&d| d as u64).collect();
        Type::tensor(&shape, t.dtype())
    };
    let types: Vec<Type> = inputs.iter().map(plain).collect();
    let mut f = Func::new("main", FuncKind::Main, &types);
    let params = f.params().to_vec();
    let op = f.push_op(f.body, kind, &params, &[y.clone().into()], LocId(0));
    let result = f.result(op);
    f.push_op(f.body, core::Return {}, &[result], &[], LocId(0));
    m.funcs.push(f);
    let outputs = interp::run_main(&m, inputs).map_err(|e| e.to_string())?;
    outputs.into_iter().next().ok_or_else(|| "nothing came out".to_string())
}

/// The activation that `op` applies in the end, if the op has such an attribute.
pub fn act_mut(kind: &mut OpKind) -> Option<&mut Act> {
    match kind {
        OpKind::Nn(op) => match op {
            nn::Op::Conv2d(o) => Some(&mut o.act),
            nn::Op::DepthwiseConv2d(o) => Some(&mut o.act),
            nn::Op::FullyConnected(o) => Some(&mut o.act),
            nn::Op::Add(o) => Some(&mut o.act),
            nn::Op::Sub(o) => Some(&mut o.act),
            nn::Op::Mul(o) => Some(&mut o.act),
            nn::Op::Div(o) => Some(&mut o.act),
            nn::Op::MaxPool2d(o) => Some(&mut o.act),
            nn::Op::AvgPool2d(o) => Some(&mut o.act),
            nn::Op::Activation(o) => Some(&mut o.act),
            _ => None,
        },
        _ => None,
    }
}

/// The activation that `op` applies in the end: none if it has no such attribute.
pub fn act_of(kind: &OpKind) -> Act {
    act_mut(&mut kind.clone()).map_or(Act::None, |a| *a)
}
