//! Elementwise conversions: quantize, dequantize, requantize, clamp.

use super::kb::{Addr, Kb};
use super::requant::{
    MULTIPLIER_ENTRY, multiplier_entry, rescale_double, round_even, round_half_away,
};
use super::scalar_conv::{load_wide, store_code};
use super::site::Site;
use super::{Arg, Call, Kernel, View, const_mem, each};
use qcc_ir::dialect::int::{self, QuantizeRounding};
use qcc_ir::dialect::loops::Pred;
use qcc_ir::{DType, Func, Type, Value};
use qcc_runtime::Tensor;
use qcc_runtime::fixedpoint::Multiplier;

/// Float to codes, numerics.md D.19. Buffers: x, parameters (`[scale f32][zp i32]` each), y.
#[derive(Clone, PartialEq, Debug)]
pub struct Quantize {
    /// float32.
    pub x: View,
    /// Codes.
    pub y: View,
    /// Axis of per-axis parameters.
    pub axis: Option<usize>,
    /// What storage adds to the framework's code.
    pub code_bias: i32,
    /// How the quotient becomes an integer.
    pub rounding: QuantizeRounding,
}

/// Codes to float. Buffers: x, parameters, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Dequantize {
    /// Codes.
    pub x: View,
    /// float32.
    pub y: View,
    /// Axis of per-axis parameters.
    pub axis: Option<usize>,
    /// f32(code − zero point) and the product in f32; else the product in f64.
    pub f32_steps: bool,
}

impl Kernel for Quantize {
    fn name(&self) -> String {
        format!("quantize_{}", self.y.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mem = parameters_mem(&self.y, self.axis);
        let mut kb = Kb::new(name, &[self.x.mem(), mem, self.y.mem()]);
        let (x, y) = (kb.mem(0), kb.mem(2));
        if self.is_vector() {
            self.vectors(&mut kb);
            return kb.finish();
        }
        elements(&mut kb, (&self.x, &x), (&self.y, &y), self.axis, &mut |kb, x, y, parameter| {
            self.one(kb, x, y, parameter);
        });
        kb.finish()
    }
}

impl Quantize {
    /// Whether 16 elements can be taken at a time: dense bytes of one scale, halves to even.
    fn is_vector(&self) -> bool {
        let dense = self.x.is_dense() && self.y.is_dense();
        let bytes = self.y.dtype.size() == 1;
        dense && bytes && self.axis.is_none() && self.rounding == QuantizeRounding::HalfEven
    }

    fn vectors(&self, kb: &mut Kb) {
        /// Elements of a vector of bytes.
        const STEP: u64 = 16;
        let (x, parameter, y) = (kb.mem(0), kb.mem(1), kb.mem(2));
        let n = self.x.len();
        let zp = kb.load_scalar(DType::I32, &parameter.at(4));
        let bias = kb.i32(self.code_bias);
        let zp = kb.add(zp, bias);
        let [scale, zp] = [kb.load_scalar(DType::F32, &parameter), zp].map(|v| kb.splat(v));
        kb.for_each(n / STEP, |kb, k| {
            let (x, y) = (k.of(&x, 4 * STEP), k.of(&y, STEP));
            let [a, b, c, d] = [0, 16, 32, 48].map(|at| {
                let real = kb.load_vec(DType::F32, &x.at(at));
                let steps = kb.fdiv(real, scale);
                let rounded = round_even(kb, steps);
                kb.add(rounded, zp)
            });
            // Packing saturates.
            let (low, high) = (kb.pack(a, b, true), kb.pack(c, d, true));
            let codes = kb.pack(low, high, self.y.dtype == DType::I8);
            kb.store(codes, &y);
        });
        let done = n / STEP * STEP;
        let (x, y) = (x.at(4 * done as i64), y.at(done as i64));
        if n > done {
            kb.for_each(n - done, |kb, i| self.one(kb, &i.of(&x, 4), &i.of(&y, 1), &parameter));
        }
    }

    /// One element.
    fn one(&self, kb: &mut Kb, x: &Addr, y: &Addr, parameter: &Addr) {
        let (min, max) = self.y.dtype.min_max();
        let bias = i64::from(self.code_bias);
        let scale = kb.load_scalar(DType::F32, parameter);
        let zp = kb.load_scalar(DType::I32, &parameter.at(4));
        let real = kb.load_scalar(DType::F32, x);
        let steps = kb.fdiv(real, scale);
        let rounded = match self.rounding {
            QuantizeRounding::HalfAway => saturate_as_c(kb, steps),
            QuantizeRounding::HalfEven => round_even(kb, steps),
        };
        let code = kb.add(rounded, zp);
        let code = kb.clamp_s(code, min - bias, max - bias);
        let bias = kb.i32(self.code_bias);
        let code = kb.add(code, bias);
        store_code(kb, code, self.y.dtype, y);
    }
}

/// A float rounded half away from zero and cast to int32 as x86 C code does: what does not fit
/// (NaN too) becomes the smallest int32.
fn saturate_as_c(kb: &mut Kb, v: Value) -> Value {
    let f32t = Type::Scalar(DType::F32);
    let rounded = round_half_away(kb, v);
    let limit = kb.float(f32t.clone(), 2_147_483_648.0);
    let low = kb.float(f32t, -2_147_483_648.0);
    let below = kb.fcmp(Pred::Lt, v, limit);
    let above = kb.fcmp(Pred::Ge, v, low);
    let fits = kb.and(below, above);
    let smallest = kb.i32(i32::MIN);
    kb.select(fits, rounded, smallest)
}

impl Kernel for Dequantize {
    fn name(&self) -> String {
        format!("dequantize_{}", self.x.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mem = parameters_mem(&self.x, self.axis);
        let mut kb = Kb::new(name, &[self.x.mem(), mem, self.y.mem()]);
        let (x, y) = (kb.mem(0), kb.mem(2));
        let (f32t, f64t) = (Type::Scalar(DType::F32), Type::Scalar(DType::F64));
        elements(&mut kb, (&self.x, &x), (&self.y, &y), self.axis, &mut |kb, x, y, parameter| {
            let scale = kb.load_scalar(DType::F32, parameter);
            let zp = kb.load_scalar(DType::I32, &parameter.at(4));
            let code = load_wide(kb, self.x.dtype, x, DType::I32);
            let steps = kb.sub(code, zp);
            let real = match self.f32_steps {
                true => {
                    let steps = kb.int_to_float(steps, f32t.clone());
                    kb.fmul(scale, steps)
                }
                false => {
                    let steps = kb.int_to_float(steps, f64t.clone());
                    let scale = kb.float_cast(scale, f64t.clone());
                    let product = kb.fmul(scale, steps);
                    kb.float_cast(product, f32t.clone())
                }
            };
            kb.store(real, y);
        });
        kb.finish()
    }
}

fn parameters_mem(v: &View, axis: Option<usize>) -> qcc_ir::MemType {
    const_mem(8 * axis.map_or(1, |a| v.shape[a] as usize))
}

/// `body` for each element of x and y, with the address of its parameters (buffer 1).
fn elements(
    kb: &mut Kb,
    (x, x_at): (&View, &Addr),
    (y, y_at): (&View, &Addr),
    axis: Option<usize>,
    body: &mut dyn FnMut(&mut Kb, &Addr, &Addr, &Addr),
) {
    if x.is_empty() {
        return;
    }
    let mut parameter_strides = vec![0; x.shape.len()];
    if let Some(a) = axis {
        parameter_strides[a] = 8;
    }
    let loops = each::loops(&x.shape, &[&x.strides, &y.strides, &parameter_strides]);
    let addrs = [x_at.clone(), y_at.clone(), kb.mem(1)];
    each::nest(kb, &loops, &addrs, &mut |kb, at| body(kb, &at[0], &at[1], &at[2]));
}

/// Lowers `int.quantize`.
///
/// # Errors
/// Parameters that are not constant or do not fit the axis.
pub fn lower_quantize(site: &Site, op: &int::Quantize) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    let (axis, parameters) = parameters(site, &y, op.axis)?;
    if op.rounding == QuantizeRounding::HalfEven && y.dtype.size() > 2 {
        return Err(format!("halves to even: there is no kernel for {}", y.dtype));
    }
    let kernel = Quantize { x, y, axis, code_bias: op.code_bias, rounding: op.rounding };
    let args = vec![site.arg(site.operand(0)), parameters, site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}

/// Lowers `int.dequantize`.
///
/// # Errors
/// Parameters that are not constant or do not fit the axis.
pub fn lower_dequantize(site: &Site, op: &int::Dequantize) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    let (axis, parameters) = parameters(site, &x, op.axis)?;
    let f32_steps = axis.is_some() || op.f32_steps;
    let kernel = Dequantize { x, y, axis, f32_steps };
    let args = vec![site.arg(site.operand(0)), parameters, site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}

/// `[scale f32][zp i32]` per slice, and the axis if there are several.
fn parameters(site: &Site, v: &View, axis: u32) -> Result<(Option<usize>, Arg), String> {
    let scale: Tensor = site.require_constant(1, "the scale")?;
    let zp = site.require_constant(2, "the zero point")?;
    let mut bytes = Vec::with_capacity(8 * scale.len());
    for i in 0..scale.len() {
        bytes.extend((scale.get_f64(i) as f32).to_le_bytes());
        let z = if zp.len() == 1 { zp.get_i64(0) } else { zp.get_i64(i) };
        bytes.extend((z as i32).to_le_bytes());
    }
    let axis = (scale.len() > 1).then_some(axis as usize);
    match axis {
        Some(a) if v.shape.get(a) != Some(&(scale.len() as u64)) => {
            Err(format!("{} scales do not fit axis {a}", scale.len()))
        }
        _ => Ok((axis, Arg::Const { name: "parameters".into(), bytes })),
    }
}

/// clamp(rescale(x − x_zp) + y_zp), exact. Buffers: x, multiplier entry, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Requantize {
    /// Codes.
    pub x: View,
    /// Codes.
    pub y: View,
    /// Input and output zero point.
    pub zp: [i32; 2],
    /// Smallest and largest output.
    pub bounds: [i32; 2],
}

impl Kernel for Requantize {
    fn split(&self, tasks: super::split::Tasks) -> Vec<super::split::Part> {
        self.parts(tasks)
    }

    fn name(&self) -> String {
        format!("requantize_{}_{}", self.x.dtype, self.y.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mem = const_mem(MULTIPLIER_ENTRY);
        let mut kb = Kb::new(name, &[self.x.mem(), mem, self.y.mem()]);
        let (x, entry, y) = (kb.mem(0), kb.mem(1), kb.mem(2));
        each::pairs(&mut kb, (&self.x, &x), (&self.y, &y), &mut |kb, x, y| {
            let zp = self.zp[0];
            let v = super::scalar_conv::load_minus(kb, self.x.dtype, x, zp, DType::I32);
            let steps = rescale_double(kb, v, &entry);
            let zp = kb.i32(self.zp[1]);
            let code = kb.add(steps, zp);
            let code = kb.clamp_s(code, self.bounds[0].into(), self.bounds[1].into());
            store_code(kb, code, self.y.dtype, y);
        });
        kb.finish()
    }
}

/// Lowers `int.requantize`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_requantize(site: &Site, op: &int::Requantize) -> Result<Vec<Call>, String> {
    let kernel = Requantize {
        x: site.view(site.operand(0)),
        y: site.view(site.result()),
        zp: [op.x_zp, op.y_zp],
        bounds: [op.lo, op.hi],
    };
    let bytes = multiplier_entry(Multiplier { mantissa: op.mult, shift: op.shift }).to_vec();
    let entry = Arg::Const { name: "multiplier".into(), bytes };
    let args = vec![site.arg(site.operand(0)), entry, site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}

/// min(max(x, lo), hi). Buffers: x, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Clamp {
    /// Codes.
    pub x: View,
    /// Codes of the same type.
    pub y: View,
    /// Smallest and largest output.
    pub bounds: [i32; 2],
}

impl Kernel for Clamp {
    fn split(&self, tasks: super::split::Tasks) -> Vec<super::split::Part> {
        self.parts(tasks)
    }

    fn name(&self) -> String {
        format!("clamp_{}", self.x.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let mut kb = Kb::new(name, &[self.x.mem(), self.y.mem()]);
        let (x, y) = (kb.mem(0), kb.mem(1));
        each::pairs(&mut kb, (&self.x, &x), (&self.y, &y), &mut |kb, x, y| {
            let code = load_wide(kb, self.x.dtype, x, DType::I32);
            let code = kb.clamp_s(code, self.bounds[0].into(), self.bounds[1].into());
            store_code(kb, code, self.y.dtype, y);
        });
        kb.finish()
    }
}

/// Lowers `int.clamp`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_clamp(site: &Site, op: &int::Clamp) -> Result<Vec<Call>, String> {
    let kernel = Clamp {
        x: site.view(site.operand(0)),
        y: site.view(site.result()),
        bounds: [op.lo, op.hi],
    };
    let args = vec![site.arg(site.operand(0)), site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
