//! `nn.cast` and `nn.arg_max`.

use super::elementwise::runs;
use super::emit::{lanes_type, load};
use crate::kernels::kb::{Addr, Kb};
use crate::kernels::scalar_conv::{load_wide, store_code};
use crate::kernels::site::Site;
use crate::kernels::{Call, Kernel, View, each, lane_type};
use qcc_ir::dialect::loops::Pred;
use qcc_ir::dialect::nn;
use qcc_ir::{DType, Func, Type, Value};

/// Buffers: x, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Cast {
    /// Input.
    pub x: View,
    /// Output, of the same shape.
    pub y: View,
    /// Most numbers in a vector.
    pub lanes: u8,
}

impl Kernel for Cast {
    fn name(&self) -> String {
        format!("cast_{}_{}", self.x.dtype, self.y.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mems = [self.x.mem(), self.y.mem()];
        let mut kb = Kb::with_width(name, &mems, super::vector_bytes(self.lanes));
        let addrs = [kb.mem(0), kb.mem(1)];
        if self.y.is_empty() {
            return kb.finish();
        }
        let mut loops = each::loops(&self.y.shape, &[&self.x.strides, &self.y.strides]);
        let vector = (self.x.dtype, self.y.dtype) == (DType::I32, DType::F32);
        match loops.last() {
            Some((_, steps)) if vector && steps[..] == [4, 4] => {
                let (n, steps) = loops.pop().expect("there is a last loop");
                each::nest(&mut kb, &loops, &addrs, &mut |kb, at| {
                    runs(kb, n, self.lanes, at, &steps, &mut |kb, lanes, at| {
                        let x = kb.load(lanes_type(DType::I32, lanes), &at[0]);
                        let y = kb.int_to_float(x, lanes_type(DType::F32, lanes));
                        kb.store(y, &at[1]);
                    });
                });
            }
            _ => each::nest(&mut kb, &loops, &addrs, &mut |kb, at| self.one(kb, at)),
        }
        kb.finish()
    }
}

impl Cast {
    fn one(&self, kb: &mut Kb, at: &[Addr]) {
        let (from, to) = (self.x.dtype, self.y.dtype);
        let y = match (from.is_float(), to) {
            (true, DType::Bool) => {
                let x = kb.load_scalar(from, &at[0]);
                let zero = kb.float(Type::Scalar(from), 0.0);
                kb.fcmp(Pred::Ne, x, zero)
            }
            (true, to) if to.is_float() => {
                let x = kb.load_scalar(from, &at[0]);
                if from == to { x } else { kb.float_cast(x, Type::Scalar(to)) }
            }
            (true, to) => {
                let x = kb.load_scalar(from, &at[0]);
                let code = kb.float_to_int(x, Type::Scalar(DType::I64));
                let (low, high) = to.min_max();
                let code = kb.clamp_s(code, low, high);
                narrow(kb, code, to)
            }
            (false, to) => {
                let x = load_wide(kb, from, &at[0], DType::I64);
                match to {
                    DType::Bool => {
                        let zero = kb.i64(0);
                        kb.cmp(Pred::Ne, x, zero)
                    }
                    to if to.is_float() => kb.int_to_float(x, Type::Scalar(to)),
                    to => narrow(kb, x, to),
                }
            }
        };
        kb.store(y, &at[1]);
    }
}

fn narrow(kb: &mut Kb, v: Value, to: DType) -> Value {
    if to.size() == 8 { v } else { kb.trunc(v, Type::Scalar(lane_type(to))) }
}

/// Lowers `nn.cast`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower(site: &Site) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    let run = each::loops(&y.shape, &[&x.strides, &y.strides]).last().map_or(1, |l| l.0);
    let kernel = Cast { x, y, lanes: super::lanes(site, run) };
    let args = vec![site.arg(site.operand(0)), site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}

/// Index of the first extreme along an axis. Buffers: x, y.
#[derive(Clone, PartialEq, Debug)]
pub struct ArgMax {
    /// f32.
    pub x: View,
    /// Indices: x's shape without `axis`.
    pub y: View,
    /// The axis searched.
    pub axis: usize,
    /// The smallest rather than the largest.
    pub min: bool,
}

impl Kernel for ArgMax {
    fn name(&self) -> String {
        format!("arg_{}_f32", if self.min { "min" } else { "max" })
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::new(name, &[self.x.mem(), self.y.mem()]);
        let (x, y) = (kb.mem(0), kb.mem(1));
        if self.y.is_empty() {
            return kb.finish();
        }
        let mut strides = self.x.strides.clone();
        let along = strides.remove(self.axis);
        let n = self.x.shape[self.axis];
        let loops = each::loops(&self.y.shape, &[&strides, &self.y.strides]);
        each::nest(&mut kb, &loops, &[x, y], &mut |kb, at| {
            let (first, zero) = (load(kb, 1, &at[0]), kb.i32(0));
            let rest = at[0].at(along as i64);
            let best = kb.fold(n - 1, &[first, zero], |kb, i, best| {
                let v = load(kb, 1, &i.of(&rest, along));
                let (one, before) = (kb.i32(1), kb.index(i));
                let index = kb.add(before, one);
                let pred = if self.min { Pred::Lt } else { Pred::Gt };
                let better = kb.fcmp(pred, v, best[0]);
                let v = kb.select(better, v, best[0]);
                vec![v, kb.select(better, index, best[1])]
            });
            store_code(kb, best[1], self.y.dtype, &at[1]);
        });
        kb.finish()
    }
}

/// Lowers `nn.arg_max`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_arg_max(site: &Site, op: &nn::ArgMax) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    let kernel = ArgMax { x, y, axis: op.axis as usize, min: op.min };
    let args = vec![site.arg(site.operand(0)), site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
