//! `nn.reduce` and `nn.mean`.
//!
//! Where the last axis stays, vectors run along it and every lane folds its own output. Where it is
//! reduced, each row is folded in 16 partial results.

use super::elementwise::runs;
use super::emit::{Emit, lanes_type, load, splat};
use super::row::{Combine, Row};
use crate::kernels::kb::{Addr, Kb};
use crate::kernels::site::Site;
use crate::kernels::{Call, Kernel, View, each};
use qcc_ir::dialect::nn::ReduceFn;
use qcc_ir::{DType, Func, Type, Value};
use qcc_runtime::float::{Arith, Floats};

/// What becomes of an element before it is folded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Before {
    /// Nothing.
    Keep,
    /// x·x
    Square,
    /// |x|
    Abs,
}

/// What becomes of the fold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// Nothing.
    Keep,
    /// √
    Root,
    /// Divided by the number of elements.
    Mean,
}

/// Buffers: x, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Reduce {
    /// Input.
    pub x: View,
    /// Output, dense: the dimensions that are left, in order.
    pub y: View,
    /// The reduced axes.
    pub axes: Vec<usize>,
    /// Before, during and after the fold.
    pub form: (Before, Combine, After),
    /// Most floats in a vector.
    pub lanes: u8,
}

impl Kernel for Reduce {
    fn name(&self) -> String {
        let (before, combine, after) = self.form;
        let word = match (before, after) {
            (Before::Keep, After::Mean) => "mean".to_string(),
            (Before::Keep, _) => format!("{combine:?}"),
            (before, after) => format!("{before:?}_{combine:?}_{after:?}"),
        };
        format!("reduce_{word}_f32").to_lowercase()
    }

    fn build(&self, name: &str) -> Func {
        let mut kb =
            Kb::with_width(name, &[self.x.mem(), self.y.mem()], super::vector_bytes(self.lanes));
        let (x, y) = (kb.mem(0), kb.mem(1));
        if self.y.is_empty() {
            return kb.finish();
        }
        let (mut kept, folded) = self.loops();
        match kept.last() {
            Some((_, steps)) if steps[..] == [4, 4] && !self.reduces_rows() => {
                let (n, steps) = kept.pop().expect("there is a last loop");
                each::nest(&mut kb, &kept, &[x, y], &mut |kb, at| {
                    runs(kb, n, self.lanes, at, &steps, &mut |kb, lanes, at| {
                        self.output(kb, lanes, &folded, at);
                    });
                });
            }
            _ => each::nest(&mut kb, &kept, &[x, y], &mut |kb, at| {
                self.output(kb, 1, &folded, at);
            }),
        }
        kb.finish()
    }
}

impl Reduce {
    /// Whether the last axis is reduced.
    fn reduces_rows(&self) -> bool {
        self.x.shape.len().checked_sub(1).is_some_and(|last| self.axes.contains(&last))
    }

    /// Loops over outputs (strides in x and y) and over what is folded (strides in x).
    fn loops(&self) -> (Vec<each::Loop>, Vec<each::Loop>) {
        let rank = self.x.shape.len();
        let pick = |reduced: bool| -> (Vec<u64>, Vec<u64>) {
            let all = (0..rank).filter(|d| self.axes.contains(d) == reduced);
            all.map(|d| (self.x.shape[d], self.x.strides[d])).unzip()
        };
        let (shape, strides) = pick(false);
        let mut dense = vec![4; shape.len()];
        for d in (1..shape.len()).rev() {
            dense[d - 1] = dense[d] * shape[d];
        }
        let kept = each::loops(&shape, &[&strides, &dense]);
        let (shape, strides) = pick(true);
        // The row keeps its own loop: rows are folded one by one.
        let outer = if self.reduces_rows() { shape.len() - 1 } else { shape.len() };
        let folded = each::loops(&shape[..outer], &[&strides[..outer]]);
        (kept, folded)
    }

    /// One output per lane.
    fn output(&self, kb: &mut Kb, lanes: u8, folded: &[each::Loop], at: &[Addr]) {
        let (_, combine, after) = self.form;
        let init = kb.float(lanes_type(DType::F32, lanes), combine.init());
        let total = self.nest(kb, lanes, folded, &at[0], init);
        let y = self.finish(kb, lanes, after, total);
        kb.store(y, &at[1]);
    }

    fn nest(&self, kb: &mut Kb, lanes: u8, loops: &[each::Loop], x: &Addr, total: Value) -> Value {
        let combine = self.form.1;
        match loops.split_first() {
            Some(((n, steps), inner)) => kb.fold(*n, &[total], |kb, k, total| {
                vec![self.nest(kb, lanes, inner, &k.of(x, steps[0]), total[0])]
            })[0],
            None if self.reduces_rows() => {
                let last = self.x.shape.len() - 1;
                let at = vec![(x.clone(), self.x.strides[last])];
                let row = Row { n: self.x.shape[last], at, lanes: self.lanes };
                let v = row.fold(kb, combine, &mut |kb, lanes, at| {
                    let v = load(kb, lanes, &at[0]);
                    self.before(kb, lanes, v)
                });
                combine.emit(kb, 1, total, v)
            }
            None => {
                let v = load(kb, lanes, x);
                let v = self.before(kb, lanes, v);
                combine.emit(kb, lanes, total, v)
            }
        }
    }

    fn before(&self, kb: &mut Kb, lanes: u8, v: Value) -> Value {
        match self.form.0 {
            Before::Keep => v,
            Before::Square => kb.fmul(v, v),
            Before::Abs => Emit::f32(kb, lanes).abs(v),
        }
    }

    fn finish(&self, kb: &mut Kb, lanes: u8, after: After, v: Value) -> Value {
        match after {
            After::Keep => v,
            After::Root => Emit::f32(kb, lanes).sqrt(v),
            After::Mean => {
                let n: u64 = self.axes.iter().map(|&d| self.x.shape[d]).product();
                let n = kb.float(Type::Scalar(DType::F32), f64::from(n as f32));
                let n = splat(kb, lanes, n);
                kb.fdiv(v, n)
            }
        }
    }
}

/// Lowers `nn.reduce`.
///
/// # Errors
/// y is not dense.
pub fn lower_reduce(site: &Site, f: ReduceFn, axes: &[u32]) -> Result<Vec<Call>, String> {
    let form = match f {
        ReduceFn::Sum => (Before::Keep, Combine::Sum, After::Keep),
        ReduceFn::Prod => (Before::Keep, Combine::Product, After::Keep),
        ReduceFn::Min => (Before::Keep, Combine::Min, After::Keep),
        ReduceFn::Max => (Before::Keep, Combine::Max, After::Keep),
        ReduceFn::SumSquare => (Before::Square, Combine::Sum, After::Keep),
        ReduceFn::L2 => (Before::Square, Combine::Sum, After::Root),
        ReduceFn::L1 => (Before::Abs, Combine::Sum, After::Keep),
    };
    lower(site, axes, form)
}

/// Lowers `nn.mean`.
///
/// # Errors
/// y is not dense.
pub fn lower_mean(site: &Site, axes: &[u32]) -> Result<Vec<Call>, String> {
    lower(site, axes, (Before::Keep, Combine::Sum, After::Mean))
}

fn lower(site: &Site, axes: &[u32], form: (Before, Combine, After)) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    if !y.is_dense() {
        return Err("a reduction writes one dense block".into());
    }
    let axes = axes.iter().map(|&a| a as usize).collect();
    let kernel = Reduce { x, y, axes, form, lanes: 4 };
    let run = match kernel.reduces_rows() {
        true => kernel.x.shape.last().copied(),
        false => kernel.loops().0.last().map(|l| l.0),
    };
    let kernel = Reduce { lanes: super::lanes(site, run.unwrap_or(1)), ..kernel };
    let args = vec![site.arg(site.operand(0)), site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
