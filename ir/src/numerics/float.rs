//! What float ops compute, one element at a time, over any [`Arith`]: numbers for the interpreter,
//! emitted ops for kernels. Operations are in the written order.

use crate::QuantType;
use crate::dialect::nn::{BinaryFn, FakeQuantForm, UnaryFn};
use crate::dialect::quant::Act;
use qcc_runtime::float::{self, Floats};

/// How many partial sums a row has: see [`crate::dialect::nn`].
pub const PARTIAL_SUMS: usize = 16;

/// act(x); NaN stays.
pub fn activate<A: Floats>(a: &mut A, act: Act, x: A::F) -> A::F {
    match act {
        Act::None => x,
        Act::Relu => {
            let zero = a.real(0.0);
            let below = a.lt(x, zero);
            a.select(below, zero, x)
        }
        Act::Relu6 => a.limit(x, 0.0, 6.0),
        Act::ReluN1To1 => a.limit(x, -1.0, 1.0),
    }
}

/// Whether `f` is computed in f64, one number at a time.
pub fn is_wide(f: UnaryFn) -> bool {
    matches!(f, UnaryFn::Sin | UnaryFn::Cos)
}

/// f(x) for every `f` but those that [`is_wide`] says.
pub fn unary<A: Floats>(a: &mut A, f: UnaryFn, [alpha, beta]: [f32; 2], x: A::F) -> A::F {
    let [alpha, beta] = [f64::from(alpha), f64::from(beta)];
    match f {
        UnaryFn::Abs => a.abs(x),
        UnaryFn::Neg => a.neg(x),
        UnaryFn::Exp => float::exp(a, x),
        UnaryFn::Log => float::log(a, x),
        UnaryFn::Sqrt => a.sqrt(x),
        UnaryFn::Rsqrt => {
            let (one, root) = (a.real(1.0), a.sqrt(x));
            a.div(one, root)
        }
        UnaryFn::Reciprocal => {
            let one = a.real(1.0);
            a.div(one, x)
        }
        UnaryFn::Square => a.mul(x, x),
        UnaryFn::Sign => float::sign(a, x),
        UnaryFn::Floor => float::floor(a, x),
        UnaryFn::Ceil => float::ceil(a, x),
        UnaryFn::Round => float::round_even(a, x),
        UnaryFn::Sin => float::sin(a, x),
        UnaryFn::Cos => float::cos(a, x),
        UnaryFn::Sigmoid => float::sigmoid(a, x),
        UnaryFn::Tanh => float::tanh(a, x),
        UnaryFn::Erf => float::erf(a, x),
        UnaryFn::Gelu => gelu(a, x),
        UnaryFn::GeluTanh => gelu_tanh(a, x),
        UnaryFn::LeakyRelu => {
            let alpha = a.real(alpha);
            let scaled = a.mul(alpha, x);
            below_zero(a, x, scaled)
        }
        UnaryFn::Elu => {
            let e = scaled_expm1(a, alpha, x);
            below_zero(a, x, e)
        }
        UnaryFn::Selu => {
            let (zero, beta) = (a.real(0.0), a.real(beta));
            let e = scaled_expm1(a, alpha, x);
            let above = a.lt(zero, x);
            let y = a.select(above, x, e);
            a.mul(beta, y)
        }
        UnaryFn::Softplus => float::softplus(a, x),
        UnaryFn::Softsign => {
            let (one, size) = (a.real(1.0), a.abs(x));
            let sum = a.add(one, size);
            a.div(x, sum)
        }
        UnaryFn::HardSigmoid => affine_limit(a, x, alpha, beta),
        UnaryFn::HardSwish => {
            let part = affine_limit(a, x, f64::from(1.0f32 / 6.0), 0.5);
            a.mul(x, part)
        }
        UnaryFn::Clip => a.limit(x, alpha, beta),
        UnaryFn::ThresholdedRelu => {
            let (alpha, zero) = (a.real(alpha), a.real(0.0));
            let above = a.lt(alpha, x);
            a.select(above, x, zero)
        }
    }
}

/// `otherwise` where x < 0, else x.
fn below_zero<A: Floats>(a: &mut A, x: A::F, otherwise: A::F) -> A::F {
    let zero = a.real(0.0);
    let below = a.lt(x, zero);
    a.select(below, otherwise, x)
}

fn scaled_expm1<A: Floats>(a: &mut A, alpha: f64, x: A::F) -> A::F {
    let (alpha, e) = (a.real(alpha), float::expm1(a, x));
    a.mul(alpha, e)
}

/// max(0, min(1, alpha·x + beta)); NaN stays.
fn affine_limit<A: Floats>(a: &mut A, x: A::F, alpha: f64, beta: f64) -> A::F {
    let (alpha, beta) = (a.real(alpha), a.real(beta));
    let y = a.mul(alpha, x);
    let y = a.add(y, beta);
    a.limit(y, 0.0, 1.0)
}

/// (x·(1 + erf(x·√½)))·½
fn gelu<A: Floats>(a: &mut A, x: A::F) -> A::F {
    let root = a.real(std::f32::consts::FRAC_1_SQRT_2.into());
    let scaled = a.mul(x, root);
    let e = float::erf(a, scaled);
    half_of_product(a, x, e)
}

/// (x·(1 + tanh(√(2/π)·(x + 0.044715·((x·x)·x)))))·½
fn gelu_tanh<A: Floats>(a: &mut A, x: A::F) -> A::F {
    let (c, root) = (a.real(0.044_715_f32.into()), a.real(0.797_884_6_f32.into()));
    let square = a.mul(x, x);
    let cube = a.mul(square, x);
    let cube = a.mul(c, cube);
    let sum = a.add(x, cube);
    let sum = a.mul(root, sum);
    let t = float::tanh(a, sum);
    half_of_product(a, x, t)
}

/// (x·(1 + t))·½
fn half_of_product<A: Floats>(a: &mut A, x: A::F, t: A::F) -> A::F {
    let (one, half) = (a.real(1.0), a.real(0.5));
    let t = a.add(one, t);
    let y = a.mul(x, t);
    a.mul(y, half)
}

/// f(p, q); `pow` of f64 numbers only.
pub fn binary<A: Floats>(a: &mut A, f: BinaryFn, p: A::F, q: A::F) -> A::F {
    match f {
        BinaryFn::Min => a.min(p, q),
        BinaryFn::Max => a.max(p, q),
        BinaryFn::Pow => float::pow(a, p, q),
        BinaryFn::SquaredDifference => {
            let d = a.sub(p, q);
            a.mul(d, d)
        }
        BinaryFn::Prelu => {
            let scaled = a.mul(q, p);
            below_zero(a, p, scaled)
        }
    }
}

/// The grid of `nn.fake_quant` (numerics.md A.1).
#[derive(Clone, Copy, Debug)]
pub struct Grid<F> {
    low: F,
    high: F,
    scale: F,
    inv_scale: F,
    /// The code of zero.
    zero: F,
    /// 0 where the range is empty, else 1.
    is_empty: F,
}

/// The nudged grid of `[min, max]`.
pub fn fake_quant_grid<A: Floats>(
    a: &mut A,
    (num_bits, narrow_range): (u32, bool),
    [min, max]: [A::F; 2],
) -> Grid<A::F> {
    let limits = [f64::from(u8::from(narrow_range)), ((1u64 << num_bits.min(16)) - 1) as f64];
    let [q_min, q_max, zero, one, half] = [limits[0], limits[1], 0.0, 1.0, 0.5].map(|v| a.real(v));
    let (width, steps) = (a.sub(max, min), a.sub(q_max, q_min));
    let (scale, inv_scale) = (a.div(width, steps), a.div(steps, width));
    let below = a.div(min, scale);
    let code = a.sub(q_min, below);
    let code = a.limit(code, limits[0], limits[1]);
    let code = round_nonnegative(a, code);
    let (low, high) = (a.sub(q_min, code), a.sub(q_max, code));
    let (low, high) = (a.mul(low, scale), a.mul(high, scale));
    let minus = a.neg(low);
    let code_of_zero = a.mul(minus, inv_scale);
    let code_of_zero = a.add(code_of_zero, half);
    let code_of_zero = float::floor(a, code_of_zero);
    let (min_is_0, max_is_0) = (a.eq(min, zero), a.eq(max, zero));
    let is_empty = a.select(max_is_0, zero, one);
    let is_empty = a.select(min_is_0, is_empty, one);
    Grid { low, high, scale, inv_scale, zero: code_of_zero, is_empty }
}

/// The nearest integer to a number that is not negative, halves up.
fn round_nonnegative<A: Floats>(a: &mut A, x: A::F) -> A::F {
    let (half, one) = (a.real(0.5), a.real(1.0));
    let whole = float::floor(a, x);
    let (rest, next) = (a.sub(x, whole), a.add(whole, one));
    let up = a.le(half, rest);
    a.select(up, next, whole)
}

impl<F: Copy> Grid<F> {
    /// The same grid in other lanes.
    pub fn map<G>(&self, mut f: impl FnMut(F) -> G) -> Grid<G> {
        let Grid { low, high, scale, inv_scale, zero, is_empty } = *self;
        let [low, high, scale, inv_scale] = [low, high, scale, inv_scale].map(&mut f);
        Grid { low, high, scale, inv_scale, zero: f(zero), is_empty: f(is_empty) }
    }
}

/// x on the grid.
pub fn fake_quant<A: Floats>(a: &mut A, form: FakeQuantForm, g: &Grid<A::F>, x: A::F) -> A::F {
    let above = a.lt(g.high, x);
    let x = a.select(above, g.high, x);
    let below = a.lt(x, g.low);
    let x = a.select(below, g.low, x);
    let x = a.sub(x, g.low);
    let zero = a.real(0.0);
    let y = match form {
        FakeQuantForm::Divide => {
            let code = a.div(x, g.scale);
            around_zero(a, g, code)
        }
        FakeQuantForm::Multiply => {
            let code = a.mul(x, g.inv_scale);
            around_zero(a, g, code)
        }
        FakeQuantForm::FromLow => {
            let one = a.real(1.0);
            let inv_scale = a.div(one, g.scale);
            let code = a.mul(x, inv_scale);
            let code = round_nonnegative(a, code);
            let steps = a.mul(code, g.scale);
            a.add(steps, g.low)
        }
    };
    let is_empty = a.eq(g.is_empty, zero);
    a.select(is_empty, zero, y)
}

/// The real number of a code, rounded as its distance from the code of zero.
fn around_zero<A: Floats>(a: &mut A, g: &Grid<A::F>, code: A::F) -> A::F {
    let half = a.real(0.5);
    let code = a.sub(code, g.zero);
    let code = a.add(code, half);
    let code = float::floor(a, code);
    a.mul(code, g.scale)
}

/// Scale, its inverse, and the range that `nn.quantize_and_dequantize` uses (numerics.md A.2).
#[derive(Clone, Copy, Debug)]
pub struct SymmetricGrid<F> {
    /// Codes per unit.
    pub scale: F,
    /// Units per code.
    pub inv_scale: F,
    /// What x is limited to, if the range was given.
    pub range: [F; 2],
}

/// The symmetric grid of `[min, max]`.
pub fn symmetric_grid<A: Floats>(
    a: &mut A,
    (num_bits, signed, narrow_range): (u32, bool, bool),
    [min, max]: [A::F; 2],
) -> SymmetricGrid<A::F> {
    let half = 1i64 << num_bits.clamp(1, 32).saturating_sub(1);
    let codes = match signed {
        true => [-half + i64::from(narrow_range), half - 1],
        false => [0, 2 * half - 1],
    };
    let codes = codes.map(|c| f64::from(c as f32));
    let scales: [A::F; 2] = std::array::from_fn(|i| {
        let (code, end) = (a.real(codes[i]), [min, max][i]);
        let (product, scale) = (a.mul(code, end), a.div(code, end));
        let (zero, most) = (a.real(0.0), a.real(f32::MAX.into()));
        let usable = a.lt(zero, product);
        a.select(usable, scale, most)
    });
    let by_min = a.lt(scales[0], scales[1]);
    let (low, high) = (a.real(codes[0]), a.real(codes[1]));
    let (inv_min, inv_max) = (a.div(min, low), a.div(max, high));
    let scale = a.select(by_min, scales[0], scales[1]);
    let inv_scale = a.select(by_min, inv_min, inv_max);
    let (from, to) = (a.mul(low, inv_scale), a.mul(high, inv_scale));
    let range = [a.select(by_min, min, from), a.select(by_min, to, max)];
    SymmetricGrid { scale, inv_scale, range }
}

/// Scale and zero point of `nn.dynamic_quantize` for x in [min, max], which contains 0.
pub fn dynamic_grid<A: Floats>(a: &mut A, [min, max]: [A::F; 2]) -> (A::F, A::F) {
    let (zero, one, steps) = (a.real(0.0), a.real(1.0), a.real(255.0));
    let width = a.sub(max, min);
    let scale = a.div(width, steps);
    let is_point = a.eq(min, max);
    let scale = a.select(is_point, one, scale);
    let below = a.sub(zero, min);
    let code = a.div(below, scale);
    let code = a.limit(code, 0.0, 255.0);
    (scale, float::round_even(a, code))
}

/// The code that stands for the real number `value`: clamp(round half even(value/scale) + zero
/// point).
///
/// # Errors
/// Parameters per axis.
pub fn code_of(value: f32, q: &QuantType) -> Result<i32, String> {
    let p = q.uniform().ok_or("the parameters are per axis")?;
    let steps = (value / p.scale).round_ties_even() as i32;
    let [low, high] = q.range;
    Ok(steps.saturating_add(p.zero_point).min(high).max(low))
}
