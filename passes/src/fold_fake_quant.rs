//! `fold-fake-quant`: simulated quantization becomes quantization.
//!
//! ```text
//! %f = nn.fake_quant(%x, %min, %max)        %q = quant.quantize(%x) : …x!quant.uniform<i8:f32, s:z>
//!                                   ─►   %f = quant.dequantize(%q)
//! %w = nn.fake_quant(%const, %m, %n)        %c = const @codes : …x!quant.uniform<i8<-127:127>:f32:3, {…}>
//!                                   ─►   %w = quant.dequantize(%c)
//! ```
//!
//! `nn.quantize_and_dequantize` with a given range likewise. Scale and zero point are those of
//! TensorFlow's converter ([`crate::quant_params`]): 2 to 8 bits in int8 storage with as many codes as the
//! bits have, 9 to 16 bits in int16. They are kept by all later passes. Codes of constants are spread over
//! their storage: 4-bit codes times 16, their scale divided by 16, are the same numbers, and the bias gets
//! 4 bits more.
//!
//! Behind constants the pass goes on, since it alone has the scales before they are rounded to f32:
//! transposes and reshapes move the codes, a factor per channel (`fold-batch-norm` leaves it) goes into the
//! scales, a negative one turns the codes round; the bias of a convolution of a quantized input with
//! such weights gets int32 codes of scale s_x·s_w (int64 where 16-bit activations could overflow int32).
//!
//! A range that is not constant, or that holds one number other than 0, stays float, with a remark.

mod bias;
mod weights;

pub(crate) use weights::axis_after_reshape;

use crate::consts::is_const;
use crate::quant_params::{Exact, Grid};
use crate::rewriter::Rewriter;
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::dialect::nn::{self, Halves, Op};
use qcc_ir::dialect::quant;
use qcc_ir::{Elem, Level, Module, OpId, TensorType, Value};
use qcc_runtime::Tensor;
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "fold-fake-quant",
    summary: "turn fake quantization into quantize and dequantize",
    doc: include_str!("fold_fake_quant.rs"),
    needs: LevelSet::only(Level::Nn),
    yields: None,
    drift: Drift::Quantizes,
    options: &[],
    run,
};

/// The parameters of a value that stands for codes, before rounding to f32.
#[derive(Clone, Debug)]
struct Known {
    grid: Grid,
    params: Vec<Exact>,
    /// `None`: one set for the whole tensor.
    axis: Option<usize>,
}

impl Known {
    fn elem(&self) -> Elem {
        Elem::Quant(Arc::new(self.grid.quant_type(&self.params, self.axis)))
    }
}

/// What is known of the float values made so far.
type AllKnown = BTreeMap<Value, Known>;

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    for func in m.funcs.keys().collect::<Vec<_>>() {
        let mut r = Rewriter { m, func, pass: PASS.name };
        let mut known = AllKnown::new();
        for op in r.f().walk() {
            if r.f().op(op).parent().is_some() {
                visit(&mut r, op, &mut known, ctx);
            }
        }
    }
    Ok(())
}

fn visit(r: &mut Rewriter, op: OpId, known: &mut AllKnown, ctx: &mut PassContext) {
    match r.nn(op) {
        Some(Op::FakeQuant(_) | Op::QuantizeAndDequantize(_)) => match parameters(r, op) {
            Ok(k) => fold(r, op, k, known),
            Err(why) => r.remark(ctx, op, format!("stays float: {why}")),
        },
        Some(Op::Transpose(_) | Op::Reshape(_)) => {
            weights::move_codes(r, op, known);
        }
        Some(Op::Mul(_)) => {
            if let Err(why) = weights::scale_codes(r, op, known) {
                r.remark(ctx, op, format!("the factor is not in the scales: {why}"));
            }
        }
        Some(Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::FullyConnected(_)) => {
            bias::quantize(r, op, known, ctx);
        }
        _ => {}
    }
}

/// Puts quantize and dequantize, or dequantized codes, in the place of `op`.
fn fold(r: &mut Rewriter, op: OpId, mut k: Known, known: &mut AllKnown) {
    let x = r.operand(op, 0);
    let q = match r.const_tensor(x) {
        Some(t) => {
            let codes = spread(k.grid.codes(&t, &k.params, k.axis), &mut k);
            let name = r.name_of(x);
            r.constant(op, &name, &codes, k.elem())
        }
        None => {
            let ty = TensorType { elem: k.elem(), ..r.ty(x).clone() };
            r.insert(op, quant::Quantize {}, &[x], ty, &[op])
        }
    };
    dequantize(r, op, q, k, known);
}

/// Codes of fewer bits than their storage, times a power of two that fills it, and the scale divided
/// by it: the same numbers. Sums of products, and with them biases and their rescaling, get as many
/// bits more.
fn spread(mut codes: Tensor, k: &mut Known) -> Tensor {
    let [lo, hi] = k.grid.range;
    let (min, max) = k.grid.storage.min_max();
    let above = if hi > 0 { max / i64::from(hi) } else { max };
    let below = if lo < 0 { min / i64::from(lo) } else { max };
    let factor = 1 << above.min(below).max(1).ilog2();
    // A zero point is a code too: it has room where the codes have.
    k.grid.range = [lo * factor, hi * factor];
    for p in &mut k.params {
        *p = Exact { scale: p.scale / f64::from(factor), zero_point: p.zero_point * factor };
    }
    for i in 0..codes.len() {
        codes.set_i64(i, codes.get_i64(i) * i64::from(factor));
    }
    codes
}

/// `op` becomes the dequantized form of `q`, whose parameters are `k`.
fn dequantize(r: &mut Rewriter, op: OpId, q: Value, k: Known, known: &mut AllKnown) {
    let ty = r.ty(r.result(op)).clone();
    let y = r.insert(op, quant::Dequantize {}, &[q], ty, &[op]);
    r.replace(op, y);
    known.insert(y, k);
}

/// The parameters that a fake quantization means.
fn parameters(r: &Rewriter, op: OpId) -> Result<Known, String> {
    match r.nn(op) {
        Some(Op::FakeQuant(o)) => of_fake_quant(r, op, o),
        Some(Op::QuantizeAndDequantize(o)) => of_quantize_and_dequantize(r, op, o),
        _ => Err("it is no fake quantization".to_string()),
    }
}

fn of_fake_quant(r: &Rewriter, op: OpId, o: &nn::FakeQuant) -> Result<Known, String> {
    let [x, min, max] = [0, 1, 2].map(|i| r.operand(op, i));
    let (Some(min), Some(max)) = (r.const_floats(min), r.const_floats(max)) else {
        return Err("its range is computed by the model; freeze it into constants".to_string());
    };
    let grid = Grid::signed(o.num_bits, o.narrow_range);
    let one = |(&lo, &hi): (&f32, &f32)| {
        grid.from_range(lo, hi).ok_or_else(|| format!("[{lo}, {hi}] is no range"))
    };
    let params: Vec<Exact> = min.iter().zip(&max).map(one).collect::<Result<_, _>>()?;
    let last = r.shape(x).len().checked_sub(1);
    let axis = if params.len() > 1 { last } else { None };
    Ok(Known { grid, params, axis })
}

/// numerics.md A.2: of the two scales that the ends of the range ask for, the larger step.
fn of_quantize_and_dequantize(
    r: &Rewriter,
    op: OpId,
    o: &nn::QuantizeAndDequantize,
) -> Result<Known, String> {
    let bits = o.num_bits;
    if !(2..=16).contains(&bits) {
        return Err(format!("{bits} bits do not fit 16-bit codes"));
    }
    if o.halves == Halves::Up && r.m.numerics == qcc_ir::Numerics::Onnx {
        return Err("it rounds halves up, and integers of this module halves to even".to_string());
    }
    let axis = usize::try_from(o.axis).ok();
    let (min, max) = given_or_actual_range(r, op, axis)?;
    let signed = Grid::signed(bits, o.narrow_range);
    // Unsigned codes are stored less half their number.
    let zero_point = if o.signed { 0 } else { Grid::signed(bits, false).range[0] };
    let grid = if o.signed { signed } else { Grid::signed(bits, false) };
    let [lo, hi] = grid.range.map(|q| (q - zero_point) as f32);
    let one = |(&mn, &mx): (&f32, &f32)| {
        let of_min = if lo * mn > 0.0 { lo / mn } else { f32::MAX };
        let of_max = if hi * mx > 0.0 { hi / mx } else { f32::MAX };
        let step = if of_min < of_max { mn / lo } else { mx / hi };
        match step.is_finite() && step > 0.0 {
            true => Ok(Exact { scale: step.into(), zero_point }),
            false => Err(format!("[{mn}, {mx}] is no range")),
        }
    };
    let params: Vec<Exact> = min.iter().zip(&max).map(one).collect::<Result<_, _>>()?;
    Ok(Known { grid, axis: if params.len() > 1 { axis } else { None }, params })
}

/// The range operands, or the range of a constant x: one, or one per slice.
fn given_or_actual_range(
    r: &Rewriter,
    op: OpId,
    axis: Option<usize>,
) -> Result<(Vec<f32>, Vec<f32>), String> {
    let operands = r.f().operands(op);
    if let [_, min, max] = *operands {
        let range = r.const_floats(min).zip(r.const_floats(max));
        return range.ok_or_else(|| {
            "its range is computed by the model; freeze it into constants".to_string()
        });
    }
    let x = operands[0];
    let Some(t) = is_const(r.f(), x).then(|| r.const_tensor(x)).flatten() else {
        return Err("its range is that of the data; give it a range".to_string());
    };
    let n = axis.map_or(1, |a| t.shape().get(a).copied().unwrap_or(1));
    let slices = crate::quant_params::Slices::new(t.shape(), axis, n);
    let (mut min, mut max) = (vec![0f32; n], vec![0f32; n]);
    for i in 0..t.len() {
        let (c, v) = (slices.of(i), t.get_f64(i) as f32);
        min[c] = min[c].min(v);
        max[c] = max[c].max(v);
    }
    Ok((min, max))
}
