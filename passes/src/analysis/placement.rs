//! Which tensors share memory: the home of every tensor value of a function.
//!
//! A reshape, slice, concat or pad moves no bytes when its input and result lie in one place, so
//! each value gets one of four homes. Ops are visited last to first, so a consumer says where it
//! wants an operand before the operand's producer is met:
//! - `return` wants its operands in the caller's outputs;
//! - `int.concat` wants each operand inside its result, `int.pad` wants its input in the middle of
//!   its result (strided like the result; other readers of the operand read it there);
//! - `int.reshape` wants a dense input, and passes a wish about its result on to its input;
//! - the result of `int.slice` is a part of its input.
//!
//! A wish is refused when the operand is a constant, an input of the function or a view, has a
//! home already, must be dense and would not be, or would lie in an output and is read by others
//! (an output has no slack behind it, and other readers may over-read). A refused `int.pad` copies,
//! and so does one of an image with short rows, whose kernels work better on dense ones; every other refusal is listed in [`Placement::copies`] and cured by an `int.copy`.

use crate::consts::is_const;
use crate::int_ops::{ViewOp, conv_operand, view_of};
use indexmap::{IndexMap, IndexSet};
use qcc_ir::dialect::core;
use qcc_ir::dialect::int::Op;
use qcc_ir::dialect::nn;
use qcc_ir::{Func, Layout, OpId, OpKind, Space, TensorType, Value};
use smallvec::SmallVec;

/// Pixels in a row up to which an image is copied into its padded form.
const SHORT_ROW: u64 = 14;

/// Where a value lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Home {
    /// At the start of a buffer of its own, dense.
    Own,
    /// In memory of the caller, dense.
    Caller(Space),
    /// Element 0 is element `start` of `base`, whose strides it has.
    Part {
        /// A value of the same rank.
        base: Value,
        /// Index in `base`, per dimension.
        start: Vec<u64>,
    },
    /// The dense bytes of `base` under another shape.
    Same {
        /// A value of as many elements.
        base: Value,
    },
}

/// An operand that must be copied first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyNeeded {
    /// The op.
    pub op: OpId,
    /// Position of the operand.
    pub operand: usize,
    /// Why the operand cannot be where the op wants it.
    pub why: &'static str,
}

/// The homes of all tensor values except constants.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// Value by value, in order of decision.
    pub homes: IndexMap<Value, Home>,
    /// What stands in the way of this placement; empty when it can be used.
    pub copies: Vec<CopyNeeded>,
    /// Inputs of `int.pad` that stay elsewhere, so the op copies them, and why.
    pub pads: Vec<(OpId, &'static str)>,
}

/// Decides the homes in `f`.
pub fn place(f: &Func) -> Placement {
    let mut p =
        Placer { f, out: Placement::default(), wished: IndexMap::new(), dense: IndexSet::new() };
    for (k, &v) in f.params().iter().enumerate() {
        p.out.homes.insert(v, Home::Caller(Space::Input(k as u32)));
    }
    for &op in f.body_ops().iter().rev() {
        p.visit(op);
    }
    p.out
}

/// A value's root, which has a buffer or memory of the caller, and its layout relative to the
/// start of that (the space of a buffer is [`Space::Arena`]).
pub type Resolved = IndexMap<Value, (Value, Layout)>;

impl Placement {
    /// Follows every home to its root.
    pub fn resolve(&self, f: &Func) -> Resolved {
        let mut done = Resolved::new();
        for &v in self.homes.keys() {
            let mut chain = vec![v];
            while let Some(base) = chain.last().and_then(|v| self.base(*v)) {
                if done.contains_key(&base) {
                    break;
                }
                chain.push(base);
            }
            for v in chain.into_iter().rev() {
                if let Some(at) = self.resolve_one(f, v, &done) {
                    done.insert(v, at);
                }
            }
        }
        done
    }

    fn base(&self, v: Value) -> Option<Value> {
        match self.homes.get(&v)? {
            Home::Own | Home::Caller(_) => None,
            Home::Part { base, .. } | Home::Same { base } => Some(*base),
        }
    }

    fn resolve_one(&self, f: &Func, v: Value, done: &Resolved) -> Option<(Value, Layout)> {
        let ty = f.ty(v).as_tensor()?;
        match self.homes.get(&v)? {
            Home::Own => Some((v, dense(ty, Space::Arena))),
            Home::Caller(space) => Some((v, dense(ty, *space))),
            Home::Same { base } => {
                let (root, at) = done.get(base)?.clone();
                Some((root, Layout { strides: ty.dense_strides(), ..at }))
            }
            Home::Part { base, start } => {
                let (root, at) = done.get(base)?.clone();
                let skipped: u64 = start.iter().zip(&at.strides).map(|(i, s)| i * s).sum();
                Some((root, Layout { offset: at.offset + skipped, ..at }))
            }
        }
    }
}

fn dense(ty: &TensorType, space: Space) -> Layout {
    Layout { space, offset: 0, strides: ty.dense_strides() }
}

/// Are these the strides of a dense tensor, as far as they matter?
pub fn is_dense(ty: &TensorType, strides: &[u64]) -> bool {
    let dense = ty.dense_strides();
    (0..ty.shape.len()).all(|d| ty.shape[d] <= 1 || strides.get(d) == Some(&dense[d]))
}

struct Placer<'a> {
    f: &'a Func,
    out: Placement,
    /// Space and strides of values that are not views of earlier ones.
    wished: IndexMap<Value, (Space, SmallVec<[u64; 4]>)>,
    /// Values that some reader needs dense.
    dense: IndexSet<Value>,
}

impl Placer<'_> {
    fn visit(&mut self, op: OpId) {
        let operands = self.f.operands(op);
        if let OpKind::Core(core::Op::Return(_)) = self.f.kind(op) {
            for (k, &v) in operands.iter().enumerate() {
                self.wish_or_copy(op, k, v, Home::Caller(Space::Output(k as u32)));
            }
            return;
        }
        if self.f.results(op).len() != 1 {
            self.f.results(op).iter().for_each(|&y| self.own(y));
            return self.visit_plain_operands(op);
        }
        if is_const(self.f, self.f.result(op)) {
            return;
        }
        let y = self.f.result(op);
        match view_of(self.f, op) {
            Some(ViewOp::Reshape) => self.visit_reshape(op, y),
            Some(ViewOp::Slice(start)) => self.visit_slice(op, y, start),
            Some(ViewOp::Concat(axis)) => self.visit_concat(op, y, axis),
            Some(ViewOp::Pad(low)) => {
                self.own(y);
                let home = Home::Part { base: y, start: low.to_vec() };
                let short = self.has_short_rows(operands[0]);
                match short.or_else(|| self.refusal(operands[0], &home)) {
                    None => self.grant(operands[0], home),
                    Some(why) => self.out.pads.push((op, why)),
                }
            }
            _ => {
                self.own(y);
                self.visit_plain_operands(op);
            }
        }
    }

    /// A small image costs less to copy than its producer loses on rows that do not follow each
    /// other: dense rows merge into one run of pixels, which register tiles split evenly.
    fn has_short_rows(&self, image: Value) -> Option<&'static str> {
        let shape = &self.f.ty(image).as_tensor()?.shape;
        let short = shape.len() == 4 && shape[2] <= SHORT_ROW;
        short.then_some("its rows are short, kernels work better on dense ones")
    }

    fn visit_reshape(&mut self, op: OpId, y: Value) {
        let x = self.f.operands(op)[0];
        if self.out.homes.contains_key(&y) {
            return; // `grant` has placed x with it.
        }
        match self.require_dense(x) {
            true => {
                self.out.homes.insert(y, Home::Same { base: x });
            }
            false => self.copy_instead(op, 0, y, "a reshape needs a dense input"),
        }
    }

    fn visit_slice(&mut self, op: OpId, y: Value, start: &[u64]) {
        let base = self.f.operands(op)[0];
        match is_const(self.f, base) {
            false => {
                self.out.homes.insert(y, Home::Part { base, start: start.to_vec() });
            }
            true => self.copy_instead(op, 0, y, "a constant has no place in the arena"),
        }
    }

    fn visit_concat(&mut self, op: OpId, y: Value, axis: usize) {
        self.own(y);
        let rank = self.f.ty(y).as_tensor().map_or(0, |t| t.shape.len());
        let mut start = vec![0; rank];
        for (k, &x) in self.f.operands(op).iter().enumerate() {
            self.wish_or_copy(op, k, x, Home::Part { base: y, start: start.clone() });
            let extent = self.f.ty(x).as_tensor().and_then(|t| t.shape.get(axis));
            if let (Some(at), Some(extent)) = (start.get_mut(axis), extent) {
                *at += extent;
            }
        }
    }

    /// Readers of strided memory index it by its own dimensions; some operands are not read so.
    fn visit_plain_operands(&mut self, op: OpId) {
        for (operand, &x) in self.f.operands(op).iter().enumerate() {
            let rank = self.f.ty(x).as_tensor().map_or(0, |t| t.shape.len());
            let strided_is_fine = match self.f.kind(op) {
                OpKind::Int(Op::Add(_)) => true,
                OpKind::Int(Op::FullyConnected(_)) | OpKind::Nn(nn::Op::FullyConnected(_)) => {
                    operand == 0 && rank == 2
                }
                OpKind::Nn(op) => operand == 0 || reads_by_strides(op),
                OpKind::Int(Op::Conv2d(_)) => [0, conv_operand::RESIDUAL].contains(&operand),
                _ => operand == 0,
            };
            if !strided_is_fine && !self.require_dense(x) {
                let why = "the op reads this operand as one dense block";
                self.out.copies.push(CopyNeeded { op, operand, why });
            }
        }
    }

    /// A buffer for `y`, unless a reader of it has wished for something else.
    fn own(&mut self, y: Value) {
        if !self.out.homes.contains_key(&y) {
            self.grant(y, Home::Own);
        }
    }

    fn copy_instead(&mut self, op: OpId, operand: usize, y: Value, why: &'static str) {
        self.out.copies.push(CopyNeeded { op, operand, why });
        self.own(y);
    }

    fn wish_or_copy(&mut self, op: OpId, operand: usize, v: Value, home: Home) {
        match self.refusal(v, &home) {
            None => self.grant(v, home),
            Some(why) => self.out.copies.push(CopyNeeded { op, operand, why }),
        }
    }

    /// Why `v` cannot live at `home`; asks the inputs of reshapes too, since they move along.
    fn refusal(&self, v: Value, home: &Home) -> Option<&'static str> {
        let Some((space, is_dense)) = self.describe(v, home) else {
            return Some("it is not a tensor");
        };
        let mut v = v;
        loop {
            let Some(def) = self.f.def_op(v) else {
                return Some("inputs stay where the caller has them");
            };
            if let Some(why) = self.refusal_of_one(v, def, (space, is_dense)) {
                return Some(why);
            }
            match view_of(self.f, def) {
                Some(ViewOp::Reshape) if !is_dense => {
                    return Some("it is a reshape and would not be dense");
                }
                Some(ViewOp::Reshape) => v = self.f.operands(def)[0],
                _ => return None,
            }
        }
    }

    fn refusal_of_one(
        &self,
        v: Value,
        def: OpId,
        (space, is_dense): (Space, bool),
    ) -> Option<&'static str> {
        if is_const(self.f, v) {
            return Some("it is a constant");
        }
        if self.out.homes.contains_key(&v) {
            return Some("it is computed into another place already");
        }
        if !is_dense && self.dense.contains(&v) {
            return Some("another reader needs it dense");
        }
        if matches!(space, Space::Output(_)) && self.f.value(v).uses().len() > 1 {
            return Some("it is also read by other ops, and an output has no slack behind it");
        }
        if let Some(ViewOp::Slice(_)) = view_of(self.f, def) {
            return Some("it is a part of another tensor");
        }
        let block = match self.f.kind(def) {
            OpKind::Int(Op::Mean(_) | Op::ReduceMax(_) | Op::FullyConnected(_)) => {
                self.is_not_matrix(v)
            }
            OpKind::Nn(nn::Op::FullyConnected(_)) => self.is_not_matrix(v),
            OpKind::Nn(nn::Op::Mean(_) | nn::Op::Reduce(_) | nn::Op::DynamicQuantize(_)) => true,
            _ => false,
        };
        (block && !is_dense).then_some("its op writes one dense block")
    }

    fn is_not_matrix(&self, v: Value) -> bool {
        self.f.ty(v).as_tensor().is_none_or(|t| t.shape.len() != 2)
    }

    /// Space and density of `v` at `home`.
    fn describe(&self, v: Value, home: &Home) -> Option<(Space, bool)> {
        let (space, strides) = self.at(v, home)?;
        Some((space, is_dense(self.f.ty(v).as_tensor()?, &strides)))
    }

    fn at(&self, v: Value, home: &Home) -> Option<(Space, SmallVec<[u64; 4]>)> {
        let dense = self.f.ty(v).as_tensor()?.dense_strides();
        match home {
            Home::Own => Some((Space::Arena, dense)),
            Home::Caller(space) => Some((*space, dense)),
            Home::Same { base } => Some((self.wished.get(base)?.0, dense)),
            Home::Part { base, .. } => self.wished.get(base).cloned(),
        }
    }

    /// Gives `v` a home that [`Self::refusal`] has nothing against.
    fn grant(&mut self, v: Value, home: Home) {
        let (mut v, mut home) = (v, home);
        loop {
            if let Some(at) = self.at(v, &home) {
                self.wished.insert(v, at);
            }
            let own = home == Home::Own;
            self.out.homes.insert(v, home);
            match self.f.def_op(v) {
                Some(def) if !own && view_of(self.f, def) == Some(ViewOp::Reshape) => {
                    home = Home::Same { base: v };
                    v = self.f.operands(def)[0];
                }
                _ => return,
            }
        }
    }

    /// Makes sure that `v` is dense; false when it cannot be.
    fn require_dense(&mut self, v: Value) -> bool {
        let mut v = v;
        loop {
            let Some(ty) = self.f.ty(v).as_tensor() else {
                return false;
            };
            let Some(def) = self.f.def_op(v) else {
                return true;
            };
            if is_const(self.f, v) {
                return true;
            }
            if self.out.homes.contains_key(&v) {
                return self.wished.get(&v).is_none_or(|(_, strides)| is_dense(ty, strides));
            }
            match view_of(self.f, def) {
                Some(ViewOp::Reshape) => return true,
                Some(ViewOp::Slice(_)) => {
                    let base = self.f.operands(def)[0];
                    let whole = self.f.ty(base).as_tensor();
                    if !whole.is_some_and(|w| is_contiguous(ty, w)) {
                        return false;
                    }
                    v = base;
                }
                _ => {
                    self.dense.insert(v);
                    return true;
                }
            }
        }
    }
}

/// Whether kernels read every operand by its strides.
fn reads_by_strides(op: &nn::Op) -> bool {
    use nn::Op::*;
    matches!(op, Add(_) | Sub(_) | Mul(_) | Div(_) | Binary(_) | MatMul(_))
}

/// Is a block of shape `part` inside a dense tensor of shape `whole` one run of bytes?
fn is_contiguous(part: &TensorType, whole: &TensorType) -> bool {
    if part.shape.len() != whole.shape.len() {
        return false;
    }
    let split = part.shape.iter().position(|&n| n != 1).unwrap_or(part.shape.len());
    (split + 1..part.shape.len()).all(|d| part.shape[d] == whole.shape[d])
}
