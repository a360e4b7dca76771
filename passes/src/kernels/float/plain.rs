//! Comparisons, selection, integer functions of two numbers, cumulative sums and top k.
//!
//! All go one element at a time: they are small parts of a model (masks, positions, indices).

use super::elementwise::broadcast;
use super::emit::load;
use crate::kernels::kb::{Addr, Kb};
use crate::kernels::scalar_conv::{load_wide, store_code};
use crate::kernels::site::Site;
use crate::kernels::{Call, Kernel, View, each, lane_type};
use qcc_ir::dialect::loops::Pred;
use qcc_ir::dialect::nn::{self, CompareFn, IntFn};
use qcc_ir::{DType, Func, Type, Value};

/// What is computed from an element of each input.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Element {
    /// The truth of a ? b.
    Compare(CompareFn),
    /// c ? a : b
    Select,
    /// f(a, b)
    Int(IntFn),
}

/// Buffers: the inputs, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Plain {
    /// Inputs, of y's shape (stride 0 where an input is broadcast).
    pub inputs: Vec<View>,
    /// Output.
    pub y: View,
    /// What is computed.
    pub f: Element,
}

impl Kernel for Plain {
    fn name(&self) -> String {
        let f = match self.f {
            Element::Compare(f) => format!("{f:?}"),
            Element::Select => "select".to_string(),
            Element::Int(f) => format!("{f:?}"),
        };
        let dtype = self.inputs.last().map_or(self.y.dtype, |v| v.dtype);
        format!("{f}_{dtype}").to_lowercase()
    }

    fn build(&self, name: &str) -> Func {
        let mems: Vec<_> = self.inputs.iter().chain([&self.y]).map(View::mem).collect();
        let mut kb = Kb::new(name, &mems);
        if self.y.is_empty() {
            return kb.finish();
        }
        let addrs: Vec<Addr> = (0..mems.len()).map(|i| kb.mem(i)).collect();
        let views = self.inputs.iter().chain([&self.y]);
        let strides: Vec<&[u64]> = views.map(|v| &v.strides[..]).collect();
        let loops = each::loops(&self.y.shape, &strides);
        each::nest(&mut kb, &loops, &addrs, &mut |kb, at| {
            let y = self.one(kb, at);
            kb.store(y, &at[self.inputs.len()]);
        });
        kb.finish()
    }
}

impl Plain {
    fn one(&self, kb: &mut Kb, at: &[Addr]) -> Value {
        let dtype = self.inputs[self.inputs.len() - 1].dtype;
        match self.f {
            Element::Compare(f) => {
                let pred = match f {
                    CompareFn::Equal => Pred::Eq,
                    CompareFn::NotEqual => Pred::Ne,
                    CompareFn::Less => Pred::Lt,
                    CompareFn::LessEqual => Pred::Le,
                };
                if dtype.is_float() {
                    let [a, b] = [0, 1].map(|i| kb.load_scalar(dtype, &at[i]));
                    return kb.fcmp(pred, a, b);
                }
                let [a, b] = [0, 1].map(|i| load_wide(kb, dtype, &at[i], DType::I64));
                kb.cmp(pred, a, b)
            }
            Element::Select => {
                let c = kb.load_scalar(DType::I8, &at[0]);
                let zero = kb.int(Type::Scalar(DType::I8), 0);
                let c = kb.cmp(Pred::Ne, c, zero);
                let [a, b] = [1, 2].map(|i| kb.load_scalar(lane_type(dtype), &at[i]));
                kb.select(c, a, b)
            }
            Element::Int(f) => {
                let [a, b] = [0, 1].map(|i| load_wide(kb, dtype, &at[i], DType::I64));
                let y = int_binary(kb, f, a, b);
                narrow(kb, y, dtype)
            }
        }
    }
}

fn int_binary(kb: &mut Kb, f: IntFn, a: Value, b: Value) -> Value {
    match f {
        IntFn::Add => kb.add(a, b),
        IntFn::Sub => kb.sub(a, b),
        IntFn::Mul => kb.mul(a, b),
        IntFn::Min | IntFn::Max => {
            let pred = if f == IntFn::Min { Pred::Le } else { Pred::Ge };
            let first = kb.cmp(pred, a, b);
            kb.select(first, a, b)
        }
        IntFn::And => kb.and(a, b),
        IntFn::Or => kb.or(a, b),
        IntFn::Xor => kb.xor(a, b),
    }
}

/// The low bits of an i64.
fn narrow(kb: &mut Kb, v: Value, to: DType) -> Value {
    if to.size() == 8 { v } else { kb.trunc(v, Type::Scalar(lane_type(to))) }
}

/// Lowers an op of one output element per element of its broadcast operands.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower(site: &Site, f: Element) -> Result<Vec<Call>, String> {
    let y = site.view(site.result());
    let input = |i| broadcast(site.view(site.operand(i)), &y.shape);
    let inputs = (0..site.n_operands()).map(input).collect();
    let mut args: Vec<_> = (0..site.n_operands()).map(|i| site.arg(site.operand(i))).collect();
    args.push(site.arg(site.result()));
    Ok(vec![Call { kernel: Box::new(Plain { inputs, y, f }), args }])
}

/// Sums of all elements up to each one. Buffers: x, y.
#[derive(Clone, PartialEq, Debug)]
pub struct CumSum {
    /// Input.
    pub x: View,
    /// Output, of the same type and shape.
    pub y: View,
    /// What is summed, and how.
    pub op: nn::CumSum,
}

impl Kernel for CumSum {
    fn name(&self) -> String {
        format!("cum_sum_{}", self.x.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::new(name, &[self.x.mem(), self.y.mem()]);
        let addrs = [kb.mem(0), kb.mem(1)];
        if self.y.is_empty() {
            return kb.finish();
        }
        let axis = self.op.axis as usize;
        let mut shape = self.x.shape.clone();
        let n = shape.remove(axis);
        let (mut xs, mut ys) = (self.x.strides.clone(), self.y.strides.clone());
        let steps = [xs.remove(axis) as i64, ys.remove(axis) as i64];
        let loops = each::loops(&shape, &[&xs, &ys]);
        each::nest(&mut kb, &loops, &addrs, &mut |kb, at| self.row(kb, at, n, steps));
        kb.finish()
    }
}

impl CumSum {
    fn row(&self, kb: &mut Kb, at: &[Addr], n: u64, steps: [i64; 2]) {
        let dtype = self.x.dtype;
        let first = if self.op.reverse { n as i64 - 1 } else { 0 };
        let sign = if self.op.reverse { -1 } else { 1 };
        let from = [0, 1].map(|i| at[i].at(first * steps[i]));
        let start = match dtype.is_float() {
            true => kb.float(Type::Scalar(dtype), 0.0),
            false => kb.i64(0),
        };
        kb.fold(n, &[start], |kb, k, sum| {
            let [x, y] = [0, 1].map(|i| k.by(&from[i], sign * steps[i]));
            let next = match dtype.is_float() {
                true => {
                    let v = kb.load_scalar(dtype, &x);
                    kb.fadd(sum[0], v)
                }
                false => {
                    let v = load_wide(kb, dtype, &x, DType::I64);
                    kb.add(sum[0], v)
                }
            };
            let out = if self.op.exclusive { sum[0] } else { next };
            let out = if dtype.is_float() { out } else { narrow(kb, out, dtype) };
            kb.store(out, &y);
            vec![next]
        });
    }
}

/// Lowers `nn.cum_sum`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_cum_sum(site: &Site, op: &nn::CumSum) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    let args = vec![site.arg(site.operand(0)), site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(CumSum { x, y, op: op.clone() }), args }])
}

/// The first elements of each row in order, found one after another: the next is the best of those
/// behind the one before. Buffers: x, y, indices.
#[derive(Clone, PartialEq, Debug)]
pub struct TopK {
    /// f32.
    pub x: View,
    /// Values.
    pub y: View,
    /// Their indices.
    pub indices: View,
    /// Smallest instead of largest.
    pub min: bool,
}

impl Kernel for TopK {
    fn name(&self) -> String {
        format!("top_k_{}", if self.min { "min" } else { "max" })
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::new(name, &[self.x.mem(), self.y.mem(), self.indices.mem()]);
        let addrs = [kb.mem(0), kb.mem(1), kb.mem(2)];
        if self.y.is_empty() {
            return kb.finish();
        }
        let last = self.x.shape.len() - 1;
        let views = [&self.x, &self.y, &self.indices];
        let strides = views.map(|v| &v.strides[..last]);
        let steps = views.map(|v| v.strides[last]);
        let loops = each::loops(&self.x.shape[..last], &strides);
        each::nest(&mut kb, &loops, &addrs, &mut |kb, at| self.row(kb, at, steps));
        kb.finish()
    }
}

impl TopK {
    fn row(&self, kb: &mut Kb, at: &[Addr], steps: [u64; 3]) {
        let last = self.x.shape.len() - 1;
        let (n, k) = (self.x.shape[last], self.y.shape[last]);
        let (zero, none) = (kb.float(Type::Scalar(DType::F32), 0.0), kb.i32(-1));
        kb.fold(k, &[zero, none], |kb, j, before| {
            let before = [before[0], before[1]];
            let best = kb.fold(n, &[zero, none], |kb, i, best| {
                let v = load(kb, 1, &i.of(&at[0], steps[0]));
                let index = kb.index(i);
                let candidate = [v, index];
                let is_left = self.follows(kb, candidate, before);
                // Later ones are no better for being equal.
                let is_better = self.follows(kb, [best[0], best[1]], candidate);
                let none = self.is_none(kb, best[1]);
                let better = kb.or(is_better, none);
                let take = kb.and(is_left, better);
                vec![kb.select(take, v, best[0]), kb.select(take, index, best[1])]
            });
            kb.store(best[0], &j.of(&at[1], steps[1]));
            store_code(kb, best[1], self.indices.dtype, &j.of(&at[2], steps[2]));
            best
        });
    }

    fn is_none(&self, kb: &mut Kb, index: Value) -> Value {
        let zero = kb.i32(0);
        kb.cmp(Pred::Lt, index, zero)
    }

    /// Does element `a` stand behind `b` in the order? True if there is no b (its index is −1).
    fn follows(&self, kb: &mut Kb, a: [Value; 2], b: [Value; 2]) -> Value {
        let pred = if self.min { Pred::Gt } else { Pred::Lt };
        let worse = kb.fcmp(pred, a[0], b[0]);
        let [a_nan, b_nan] = [a[0], b[0]].map(|v| kb.fcmp(Pred::Ne, v, v));
        let b_number = kb.fcmp(Pred::Eq, b[0], b[0]);
        let behind_numbers = kb.and(a_nan, b_number);
        let equal = kb.fcmp(Pred::Eq, a[0], b[0]);
        let both_nan = kb.and(a_nan, b_nan);
        let tie = kb.or(equal, both_nan);
        let later = kb.cmp(Pred::Gt, a[1], b[1]);
        let tie = kb.and(tie, later);
        let worse = kb.or(worse, behind_numbers);
        let worse = kb.or(worse, tie);
        let none = self.is_none(kb, b[1]);
        kb.or(worse, none)
    }
}

/// Lowers `nn.top_k`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_top_k(site: &Site, op: &nn::TopK) -> Result<Vec<Call>, String> {
    let results = site.func.results(site.op);
    let (x, y, indices) =
        (site.view(site.operand(0)), site.view(results[0]), site.view(results[1]));
    let args = vec![site.arg(site.operand(0)), site.arg(results[0]), site.arg(results[1])];
    Ok(vec![Call { kernel: Box::new(TopK { x, y, indices, min: op.min }), args }])
}
