//! Functions of the elements of one to five tensors, broadcast to one shape.
//!
//! Vectors run along the innermost loop where it is contiguous in y; an input that stands still
//! there is read once per row and repeated. What is left of a row is done one by one.

use super::emit::{Emit, load, splat};
use crate::kernels::kb::{Addr, Kb};
use crate::kernels::site::Site;
use crate::kernels::{Call, Kernel, View, each};
use qcc_ir::dialect::nn::{self, BinaryFn, FakeQuantForm, Halves, UnaryFn};
use qcc_ir::dialect::quant::Act;
use qcc_ir::numerics::float;
use qcc_ir::{DType, Func, Type, Value};
use qcc_runtime::float::{self as functions, Arith};

/// What is computed from an element of each input.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Element {
    /// f(x; alpha, beta)
    Unary(UnaryFn, [f32; 2]),
    /// act(x)
    Activation(Act),
    /// act(a + b)
    Add(Act),
    /// act(a − b)
    Sub(Act),
    /// act(a · b)
    Mul(Act),
    /// act(a / b)
    Div(Act),
    /// f(a, b)
    Binary(BinaryFn),
    /// (x − mean)·(scale/√(variance + epsilon)) + offset: x, scale, offset, mean, variance.
    BatchNorm(f32),
    /// x on the grid of [min, max]: bits, narrow range.
    FakeQuant(FakeQuantForm, u32, bool),
    /// x on the symmetric grid of [min, max]: bits, signed, narrow range; limited to the range.
    Symmetric(Halves, (u32, bool, bool), bool),
}

impl Element {
    /// Whether it is computed in f64, one at a time.
    fn is_wide(self) -> bool {
        match self {
            Element::Unary(f, _) => float::is_wide(f),
            Element::Binary(f) => f == BinaryFn::Pow,
            _ => false,
        }
    }

    /// The value for `x`, one per input, of `lanes` elements.
    fn emit(self, kb: &mut Kb, lanes: u8, x: &[Value]) -> Value {
        let a = &mut Emit::f32(kb, lanes);
        let (y, act) = match self {
            Element::Unary(f, parameters) => (float::unary(a, f, parameters, x[0]), Act::None),
            Element::Activation(act) => (x[0], act),
            Element::Add(act) => (a.add(x[0], x[1]), act),
            Element::Sub(act) => (a.sub(x[0], x[1]), act),
            Element::Mul(act) => (a.mul(x[0], x[1]), act),
            Element::Div(act) => (a.div(x[0], x[1]), act),
            Element::Binary(f) => (float::binary(a, f, x[0], x[1]), Act::None),
            Element::BatchNorm(epsilon) => (batch_norm(a, x, epsilon), Act::None),
            Element::FakeQuant(form, bits, narrow) => {
                let grid = float::fake_quant_grid(a, (bits, narrow), [x[1], x[2]]);
                (float::fake_quant(a, form, &grid, x[0]), Act::None)
            }
            Element::Symmetric(halves, codes, limit) => {
                let grid = float::symmetric_grid(a, codes, [x[1], x[2]]);
                (symmetric(a, &grid, halves, limit, x[0]), Act::None)
            }
        };
        float::activate(a, act, y)
    }

    /// As [`Element::emit`], one element through f64.
    fn emit_wide(self, kb: &mut Kb, x: &[Value]) -> Value {
        let f64t = Type::Scalar(DType::F64);
        let x: Vec<Value> = x.iter().map(|&v| kb.float_cast(v, f64t.clone())).collect();
        let a = &mut Emit::f64(kb);
        let y = match self {
            Element::Unary(f, parameters) => float::unary(a, f, parameters, x[0]),
            Element::Binary(f) => float::binary(a, f, x[0], x[1]),
            _ => x[0],
        };
        kb.float_cast(y, Type::Scalar(DType::F32))
    }
}

fn batch_norm(a: &mut Emit, x: &[Value], epsilon: f32) -> Value {
    let epsilon = a.real(epsilon.into());
    let sum = a.add(x[4], epsilon);
    let root = a.sqrt(sum);
    let factor = a.div(x[1], root);
    let d = a.sub(x[0], x[3]);
    let scaled = a.mul(d, factor);
    a.add(scaled, x[2])
}

fn symmetric(
    a: &mut Emit,
    grid: &float::SymmetricGrid<Value>,
    halves: Halves,
    limit: bool,
    x: Value,
) -> Value {
    let mut x = x;
    if limit {
        let below = a.lt(x, grid.range[0]);
        x = a.select(below, grid.range[0], x);
        let above = a.lt(grid.range[1], x);
        x = a.select(above, grid.range[1], x);
    }
    let steps = a.mul(x, grid.scale);
    let code = match halves {
        Halves::Even => functions::round_even(a, steps),
        Halves::Up => {
            let half = a.real(0.5);
            let up = a.add(steps, half);
            functions::floor(a, up)
        }
    };
    a.mul(code, grid.inv_scale)
}

/// Buffers: the inputs, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Elementwise {
    /// Inputs, of y's shape (stride 0 where an input is broadcast).
    pub inputs: Vec<View>,
    /// Output.
    pub y: View,
    /// What is computed.
    pub f: Element,
    /// Most floats in a vector.
    pub lanes: u8,
}

impl Kernel for Elementwise {
    fn name(&self) -> String {
        match self.f {
            Element::Unary(f, _) => format!("{f:?}_f32").to_lowercase(),
            Element::Binary(f) => format!("{f:?}_f32").to_lowercase(),
            f => {
                let all = format!("{f:?}");
                let word = all.split(['(', ' ']).next().unwrap_or_default();
                format!("{word}_f32").to_lowercase()
            }
        }
    }

    fn build(&self, name: &str) -> Func {
        let mems: Vec<_> = self.inputs.iter().chain([&self.y]).map(View::mem).collect();
        let mut kb = Kb::with_width(name, &mems, super::vector_bytes(self.lanes));
        if self.y.is_empty() {
            return kb.finish();
        }
        let addrs: Vec<Addr> = (0..mems.len()).map(|i| kb.mem(i)).collect();
        let views = self.inputs.iter().chain([&self.y]);
        let strides: Vec<&[u64]> = views.map(|v| &v.strides[..]).collect();
        let mut loops = each::loops(&self.y.shape, &strides);
        match loops.last() {
            Some((_, inner)) if self.is_vector(inner) => {
                let (run, steps) = loops.pop().expect("there is a last loop");
                each::nest(&mut kb, &loops, &addrs, &mut |kb, at| self.row(kb, at, (run, &steps)));
            }
            _ => each::nest(&mut kb, &loops, &addrs, &mut |kb, at| self.one(kb, at)),
        }
        kb.finish()
    }
}

impl Elementwise {
    fn is_vector(&self, inner: &[u64]) -> bool {
        let (y, inputs) = inner.split_last().expect("y has a stride");
        !self.f.is_wide() && *y == 4 && inputs.iter().all(|&s| s == 0 || s == 4)
    }

    fn one(&self, kb: &mut Kb, at: &[Addr]) {
        let n = self.inputs.len();
        let x: Vec<Value> = at[..n].iter().map(|a| load(kb, 1, a)).collect();
        let y = match self.f.is_wide() {
            true => self.f.emit_wide(kb, &x),
            false => self.f.emit(kb, 1, &x),
        };
        kb.store(y, &at[n]);
    }

    /// A contiguous row of `run` outputs.
    fn row(&self, kb: &mut Kb, at: &[Addr], (run, steps): (u64, &[u64])) {
        let n = self.inputs.len();
        let still: Vec<Option<Value>> =
            (0..n).map(|i| (steps[i] == 0).then(|| load(kb, 1, &at[i]))).collect();
        let moving: Vec<Addr> = at.to_vec();
        runs(kb, run, self.lanes, &moving, steps, &mut |kb, lanes, at| {
            let x: Vec<Value> = (0..n)
                .map(|i| match still[i] {
                    Some(scalar) => splat(kb, lanes, scalar),
                    None => load(kb, lanes, &at[i]),
                })
                .collect();
            let y = self.f.emit(kb, lanes, &x);
            kb.store(y, &at[n]);
        });
    }
}

/// Emits `body` for `run` elements, `lanes` at a time, then one by one; it gets the addresses of
/// its first element, `steps[i]` bytes per element.
pub fn runs(
    kb: &mut Kb,
    run: u64,
    lanes: u8,
    at: &[Addr],
    steps: &[u64],
    body: &mut dyn FnMut(&mut Kb, u8, &[Addr]),
) {
    let lanes = u64::from(lanes);
    let done = run / lanes * lanes;
    for (first, n, width) in [(0, run / lanes, lanes), (done, run - done, 1)] {
        if n == 0 {
            continue;
        }
        let from: Vec<Addr> = at.iter().zip(steps).map(|(a, s)| a.at((first * s) as i64)).collect();
        kb.for_each(n, |kb, k| {
            let here: Vec<Addr> = from.iter().zip(steps).map(|(a, s)| k.of(a, s * width)).collect();
            body(kb, width as u8, &here);
        });
    }
}

/// `v` seen in `shape`, by numpy's rule.
pub fn broadcast(v: View, shape: &[u64]) -> View {
    let missing = shape.len() - v.shape.len();
    let stride = |d: usize| match d.checked_sub(missing) {
        Some(i) if v.shape[i] > 1 => v.strides[i],
        _ => 0,
    };
    View { shape: shape.to_vec(), strides: (0..shape.len()).map(stride).collect(), ..v }
}

/// `v`, one element or one per index of dimension `axis`, seen in `shape`.
fn along(v: View, axis: Option<usize>, shape: &[u64]) -> View {
    let mut strides = vec![0; shape.len()];
    if let (Some(axis), true) = (axis, v.len() > 1) {
        strides[axis] = 4;
    }
    View { shape: shape.to_vec(), strides, ..v }
}

/// Lowers an op of one or two numbers per output.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower(site: &Site, f: Element) -> Result<Vec<Call>, String> {
    let y = site.view(site.result());
    let input = |i| broadcast(site.view(site.operand(i)), &y.shape);
    let inputs = (0..site.n_operands()).map(input).collect();
    Ok(call(site, inputs, f))
}

/// Lowers an op whose operands after the first are dense, of one element or one per slice along
/// `axis`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_along(site: &Site, axis: Option<usize>, f: Element) -> Result<Vec<Call>, String> {
    let y = site.view(site.result());
    let mut inputs = vec![site.view(site.operand(0))];
    let parameters = (1..site.n_operands()).map(|i| site.view(site.operand(i)));
    inputs.extend(parameters.map(|v| along(v, axis, &y.shape)));
    Ok(call(site, inputs, f))
}

/// Lowers `nn.quantize_and_dequantize` of a given range.
///
/// # Errors
/// The range is not given: `expand-float` computes it.
pub fn lower_symmetric(site: &Site, op: &nn::QuantizeAndDequantize) -> Result<Vec<Call>, String> {
    if site.n_operands() < 3 {
        return Err("no range; run expand-float first".into());
    }
    let axis = usize::try_from(op.axis).ok();
    let codes = (op.num_bits, op.signed, op.narrow_range);
    lower_along(site, axis, Element::Symmetric(op.halves, codes, op.limit))
}

fn call(site: &Site, inputs: Vec<View>, f: Element) -> Vec<Call> {
    let y = site.view(site.result());
    let mut args: Vec<_> = (0..site.n_operands()).map(|i| site.arg(site.operand(i))).collect();
    args.push(site.arg(site.result()));
    let strides: Vec<&[u64]> = inputs.iter().chain([&y]).map(|v| &v.strides[..]).collect();
    let run = each::loops(&y.shape, &strides).last().map_or(1, |l| l.0);
    let kernel = Elementwise { inputs, y, f, lanes: super::lanes(site, run) };
    vec![Call { kernel: Box::new(kernel), args }]
}
