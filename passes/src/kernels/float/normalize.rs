//! `nn.softmax`, `nn.log_softmax`, `nn.layer_norm`: one row after the other, a few passes each.

use super::emit::{Emit, load, splat};
use super::row::{Combine, Row};
use crate::kernels::kb::{Addr, Kb};
use crate::kernels::site::Site;
use crate::kernels::{Call, Kernel, View, each};
use qcc_ir::dialect::nn;
use qcc_ir::{DType, Func, Type, Value};
use qcc_runtime::float::{Arith, exp, log};

/// What is done with a row.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Norm {
    /// exp((x − max)·beta) / Σ
    Softmax(f32),
    /// (x − max) − ln Σ exp(x − max)
    LogSoftmax,
    /// Mean 0 and variance 1, then scale and offset (if there is one).
    Layer(f32, bool),
}

/// Buffers: x, scale and offset where the op has them, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Normalize {
    /// Input; rows are along the last dimension.
    pub x: View,
    /// Output, of the same shape.
    pub y: View,
    /// Scale and offset, dense.
    pub parameters: Vec<View>,
    /// What is done.
    pub norm: Norm,
    /// Most floats in a vector.
    pub lanes: u8,
}

impl Kernel for Normalize {
    fn name(&self) -> String {
        let word = match self.norm {
            Norm::Softmax(_) => "softmax",
            Norm::LogSoftmax => "log_softmax",
            Norm::Layer(..) => "layer_norm",
        };
        format!("{word}_f32")
    }

    fn build(&self, name: &str) -> Func {
        let mut mems = vec![self.x.mem()];
        mems.extend(self.parameters.iter().map(View::mem));
        mems.push(self.y.mem());
        let mut kb = Kb::with_width(name, &mems, super::vector_bytes(self.lanes));
        if self.y.is_empty() {
            return kb.finish();
        }
        let (x, y) = (kb.mem(0), kb.mem(mems.len() - 1));
        let last = self.x.shape.len() - 1;
        let (xs, ys) = (&self.x.strides[..last], &self.y.strides[..last]);
        let loops = each::loops(&self.x.shape[..last], &[xs, ys]);
        each::nest(&mut kb, &loops, &[x, y], &mut |kb, at| match self.norm {
            Norm::Softmax(beta) => self.softmax(kb, at, beta),
            Norm::LogSoftmax => self.log_softmax(kb, at),
            Norm::Layer(epsilon, offset) => self.layer(kb, at, epsilon, offset),
        });
        kb.finish()
    }
}

impl Normalize {
    /// The row at `at`: of x, of y, and of the buffers `others`.
    fn row(&self, at: &[Addr], others: &[Addr]) -> Row {
        let last = self.x.shape.len() - 1;
        let steps = [self.x.strides[last], self.y.strides[last]];
        let mut all: Vec<(Addr, u64)> = at.iter().cloned().zip(steps).collect();
        all.extend(others.iter().map(|a| (a.clone(), 4)));
        // Strides along one element mean nothing.
        let n = self.x.shape[last];
        if n == 1 {
            all.iter_mut().for_each(|a| a.1 = 4);
        }
        Row { n, at: all, lanes: self.lanes }
    }

    fn max(&self, kb: &mut Kb, row: &Row) -> Value {
        row.fold(kb, Combine::Max, &mut |kb, lanes, at| load(kb, lanes, &at[0]))
    }

    fn softmax(&self, kb: &mut Kb, at: &[Addr], beta: f32) {
        let row = self.row(at, &[]);
        let max = self.max(kb, &row);
        let sum = row.fold(kb, Combine::Sum, &mut |kb, lanes, at| {
            let x = load(kb, lanes, &at[0]);
            let max = splat(kb, lanes, max);
            let e = &mut Emit::f32(kb, lanes);
            let beta = e.real(beta.into());
            let below = e.sub(x, max);
            let below = e.mul(below, beta);
            let y = exp(e, below);
            kb.store(y, &at[1]);
            y
        });
        row.each(kb, &mut |kb, lanes, at| {
            let e = load(kb, lanes, &at[1]);
            let sum = splat(kb, lanes, sum);
            let y = kb.fdiv(e, sum);
            kb.store(y, &at[1]);
        });
    }

    fn log_softmax(&self, kb: &mut Kb, at: &[Addr]) {
        let row = self.row(at, &[]);
        let max = self.max(kb, &row);
        let below = |kb: &mut Kb, lanes: u8, at: &Addr| {
            let x = load(kb, lanes, at);
            let max = splat(kb, lanes, max);
            kb.fsub(x, max)
        };
        let sum = row.fold(kb, Combine::Sum, &mut |kb, lanes, at| {
            let x = below(kb, lanes, &at[0]);
            exp(&mut Emit::f32(kb, lanes), x)
        });
        let log = log(&mut Emit::f32(kb, 1), sum);
        row.each(kb, &mut |kb, lanes, at| {
            let x = below(kb, lanes, &at[0]);
            let log = splat(kb, lanes, log);
            let y = kb.fsub(x, log);
            kb.store(y, &at[1]);
        });
    }

    fn layer(&self, kb: &mut Kb, at: &[Addr], epsilon: f32, offset: bool) {
        let parameters: Vec<Addr> = (0..self.parameters.len()).map(|i| kb.mem(1 + i)).collect();
        let (row, f32t) = (self.row(at, &[]), Type::Scalar(DType::F32));
        let count = kb.float(f32t.clone(), f64::from(row.n as f32));
        let sum = row.fold(kb, Combine::Sum, &mut |kb, lanes, at| load(kb, lanes, &at[0]));
        let mean = kb.fdiv(sum, count);
        let centred = |kb: &mut Kb, lanes: u8, at: &Addr| {
            let x = load(kb, lanes, at);
            let mean = splat(kb, lanes, mean);
            kb.fsub(x, mean)
        };
        let squares = row.fold(kb, Combine::Sum, &mut |kb, lanes, at| {
            let d = centred(kb, lanes, &at[0]);
            kb.fmul(d, d)
        });
        let variance = kb.fdiv(squares, count);
        let e = &mut Emit::f32(kb, 1);
        let (one, epsilon) = (e.real(1.0), e.real(epsilon.into()));
        let sum = e.add(variance, epsilon);
        let root = e.sqrt(sum);
        let factor = e.div(one, root);
        self.row(at, &parameters).each(kb, &mut |kb, lanes, at| {
            let d = centred(kb, lanes, &at[0]);
            let factor = splat(kb, lanes, factor);
            let scale = load(kb, lanes, &at[2]);
            let y = kb.fmul(d, factor);
            let mut y = kb.fmul(y, scale);
            if offset {
                let offset = load(kb, lanes, &at[3]);
                y = kb.fadd(y, offset);
            }
            kb.store(y, &at[1]);
        });
    }
}

/// Lowers `nn.softmax`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_softmax(site: &Site, op: &nn::Softmax) -> Result<Vec<Call>, String> {
    lower(site, Norm::Softmax(op.beta))
}

/// Lowers `nn.log_softmax`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_log_softmax(site: &Site) -> Result<Vec<Call>, String> {
    lower(site, Norm::LogSoftmax)
}

/// Lowers `nn.layer_norm`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_layer_norm(site: &Site, op: &nn::LayerNorm) -> Result<Vec<Call>, String> {
    lower(site, Norm::Layer(op.epsilon, site.n_operands() > 2))
}

fn lower(site: &Site, norm: Norm) -> Result<Vec<Call>, String> {
    let x = site.view(site.operand(0));
    let kernel = Normalize {
        lanes: super::lanes(site, x.shape.last().copied().unwrap_or(1)),
        x,
        y: site.view(site.result()),
        parameters: (1..site.n_operands()).map(|i| site.view(site.operand(i))).collect(),
        norm,
    };
    let mut args: Vec<_> = (0..site.n_operands()).map(|i| site.arg(site.operand(i))).collect();
    args.push(site.arg(site.result()));
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
