//! `int.add_float`, `int.mul`, `int.pair_lut`: functions of two tensors of codes.
//!
//! 8 bits: a few float32 operations, 16 outputs at a time, either those that define the op or
//! others that give its codes on all 65,536 pairs; where none do, a table of all pairs. 16 bits: the
//! definition, one at a time.

use super::conv::store_bytes;
use super::kb::{Addr, Kb};
pub use super::pair_forms::Form;
use super::pair_forms::PairCodes;
use super::requant::{MULTIPLIER_ENTRY, multiplier_entry, rescale_double, round_even};
use super::residual::Operand;
use super::scalar_conv::{load_minus, load_wide, store_code};
use super::site::Site;
use super::{Arg, Call, Kernel, View, const_mem, each};
use qcc_ir::dialect::int::{self, MulStyle};
use qcc_ir::{DType, Func, Type, Value};
use qcc_runtime::fixedpoint::{LinearAdd, Multiplier, mul_by_quantized};

/// Buffers: a, b, constants, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Pairs {
    /// The op.
    pub op: &'static str,
    /// Inputs, broadcast to y's shape (stride 0 where an input has extent 1).
    pub inputs: [View; 2],
    /// Output.
    pub y: View,
    /// The arithmetic.
    pub form: Form,
    /// Subtracted from the inputs' codes.
    pub zp: [i32; 2],
    /// Added to what the form gives.
    pub y_zp: i32,
    /// Smallest and largest output.
    pub bounds: [i32; 2],
}

impl Kernel for Pairs {
    fn name(&self) -> String {
        let form = match self.form {
            Form::Table => "table",
            _ if self.is_vector() => "f32",
            _ => "scalar",
        };
        format!("{}_{}_{form}", self.op, self.y.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let [a, b] = [&self.inputs[0], &self.inputs[1]];
        let constants = const_mem(self.constant_bytes());
        let mut kb = Kb::new(name, &[a.mem(), b.mem(), constants, self.y.mem()]);
        if self.y.is_empty() {
            return kb.finish();
        }
        let addrs = [kb.mem(0), kb.mem(1), kb.mem(3)];
        let mut loops = self.loops();
        if self.is_vector() {
            let (run, steps) = loops.pop().unwrap_or((1, vec![1, 1, 1]));
            each::nest(&mut kb, &loops, &addrs, &mut |kb, at| self.row(kb, at, run, &steps));
        } else {
            each::nest(&mut kb, &loops, &addrs, &mut |kb, at| self.one(kb, at));
        }
        kb.finish()
    }
}

impl Pairs {
    fn loops(&self) -> Vec<each::Loop> {
        let [a, b] = [&self.inputs[0], &self.inputs[1]];
        each::loops(&self.y.shape, &[&a.strides, &b.strides, &self.y.strides])
    }

    fn constant_bytes(&self) -> usize {
        match self.form {
            Form::Table => self.y.dtype.size() << 16,
            _ => MULTIPLIER_ENTRY,
        }
    }

    /// Whether rows are contiguous bytes with slack behind them (or one repeated input).
    fn is_vector(&self) -> bool {
        let float = self.form.is_float();
        let loops = self.loops();
        let Some((_, steps)) = loops.last() else { return false };
        let input = |i: usize| match steps[i] {
            0 => true,
            1 => self.inputs[i].slack >= 16,
            _ => false,
        };
        let varies = steps[0] + steps[1] > 0;
        float && input(0) && input(1) && varies && steps[2] == 1 && self.y.dtype.size() == 1
    }

    fn row(&self, kb: &mut Kb, at: &[Addr], run: u64, steps: &[u64]) {
        let repeated: Vec<Option<Value>> = (0..2)
            .map(|i| {
                (steps[i] == 0).then(|| {
                    let v = self.real(kb, &at[i], i);
                    kb.splat(v)
                })
            })
            .collect();
        kb.for_each(run / 16, |kb, k| {
            let [a, b] = [0, 1].map(|i| k.of(&at[i], 16 * steps[i]));
            let codes = self.vector(kb, [&a, &b], &repeated);
            kb.store(codes, &k.of(&at[2], 16));
        });
        let done = run / 16 * 16;
        if run > done {
            let [a, b] = [0, 1].map(|i| at[i].at((done * steps[i]) as i64));
            let codes = self.vector(kb, [&a, &b], &repeated);
            store_bytes(kb, codes, run - done, &at[2].at(done as i64));
        }
    }

    /// The form on codes; only where it is a float form.
    fn codes(&self) -> PairCodes {
        let types = [self.inputs[0].dtype, self.inputs[1].dtype, self.y.dtype];
        let Pairs { form, zp, y_zp, bounds, .. } = *self;
        PairCodes { form, types, zp, y_zp, bounds }
    }

    fn vector(&self, kb: &mut Kb, at: [&Addr; 2], repeated: &[Option<Value>]) -> Value {
        let codes = self.codes();
        let [a, b] = [0, 1].map(|i| match repeated[i] {
            Some(v) => vec![v; 4],
            None => {
                let bytes = kb.load_vec(DType::I8, at[i]);
                codes.reals(kb, bytes, i)
            }
        });
        codes.of_reals(kb, &a, &b)
    }

    /// code − zero point of one code, as f32.
    fn real(&self, kb: &mut Kb, at: &Addr, i: usize) -> Value {
        let v = load_minus(kb, self.inputs[i].dtype, at, self.zp[i], DType::I32);
        kb.int_to_float(v, Type::Scalar(DType::F32))
    }

    /// One output.
    fn one(&self, kb: &mut Kb, at: &[Addr]) {
        if self.form == Form::Table {
            return self.entry(kb, at);
        }
        let code = match self.form {
            Form::Fixed | Form::Float { .. } => self.product(kb, at),
            _ => {
                let (a, b) = (self.real(kb, &at[0], 0), self.real(kb, &at[1], 1));
                self.codes().code(kb, a, b)
            }
        };
        let code = kb.clamp_s(code, self.bounds[0].into(), self.bounds[1].into());
        store_code(kb, code, self.y.dtype, &at[2]);
    }

    fn entry(&self, kb: &mut Kb, at: &[Addr]) {
        let [a, b] = [0, 1].map(|i| {
            let code = load_wide(kb, DType::U8, &at[i], DType::I32);
            if self.inputs[i].dtype == DType::U8 {
                return code;
            }
            let sign = kb.i32(0x80);
            kb.xor(code, sign)
        });
        let row = kb.shl(a, 8);
        let index = kb.or(row, b);
        let index = kb.clamp_s(index, 0, 65535);
        let (table, size) = (kb.mem(2), self.y.dtype.size() as i64);
        let code = kb.lookup(self.y.lane(), &table, index, size, (0, 65535));
        kb.store(code, &at[2]);
    }

    /// The unclamped code of a product of integers.
    fn product(&self, kb: &mut Kb, at: &[Addr]) -> Value {
        let [a, b] =
            [0, 1].map(|i| load_minus(kb, self.inputs[i].dtype, &at[i], self.zp[i], DType::I32));
        let product = kb.mul(a, b);
        let steps = match self.form {
            Form::Float { scale, offset } => {
                let f32t = Type::Scalar(DType::F32);
                let f = kb.int_to_float(product, f32t.clone());
                let scale = kb.float(f32t.clone(), scale.into());
                let v = kb.fmul(f, scale);
                let offset = kb.float(f32t, offset.into());
                let v = kb.fadd(v, offset);
                round_even(kb, v)
            }
            _ => {
                let entry = kb.mem(2);
                rescale_double(kb, product, &entry)
            }
        };
        let zp = kb.i32(self.y_zp);
        kb.add(steps, zp)
    }
}

/// Beyond this the kernels' rounding by a magic number is not valid.
const MAX_ROUNDED: f32 = 4_000_000.0;

/// Whether codes less these zero points fit 16 bits.
fn sane(zero_points: &[i32]) -> bool {
    zero_points.iter().all(|zp| zp.unsigned_abs() < 30_000)
}

/// Calls `f` with all pairs of codes.
fn all_pairs([a, b]: [DType; 2], mut f: impl FnMut(i32, i32) -> bool) -> bool {
    let range = |d: DType| d.min_max().0 as i32..=d.min_max().1 as i32;
    range(a).all(|p| range(b).all(|q| f(p, q)))
}

/// The table of all pairs, `y` bytes each.
fn table(types: [DType; 2], y: DType, f: impl Fn(i32, i32) -> i32) -> Vec<u8> {
    let mut out = Vec::with_capacity(y.size() << 16);
    all_pairs(types, |a, b| {
        out.extend_from_slice(&f(a, b).to_le_bytes()[..y.size()]);
        true
    });
    out
}

/// Lowers `int.add_float`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_add_float(site: &Site, op: &int::AddFloat) -> Result<Vec<Call>, String> {
    let operands = [0, 1].map(|i| Operand::of(site, site.operand(i)));
    Ok(vec![add_float_call(site, op, operands, Operand::of(site, site.result()))])
}

/// `int.add_float` of two operands.
pub(super) fn add_float_call(
    site: &Site,
    op: &int::AddFloat,
    operands: [Operand; 2],
    y: Operand,
) -> Call {
    let types = [operands[0].view.dtype, operands[1].view.dtype];
    let codes = add_float_codes(op, [types[0], types[1], y.view.dtype], site.machine.fma);
    let constants = || table(types, y.view.dtype, |a, b| linear_add(op, a, b));
    let bytes = if codes.form == Form::Table { constants() } else { vec![] };
    let form = ("add_float", codes.form);
    emit_on(site, form, (codes.zp, codes.y_zp), codes.bounds, (operands, y), bytes)
}

/// The definition of `int.add_float`.
fn linear_add(op: &int::AddFloat, a: i32, b: i32) -> i32 {
    let p = LinearAdd { scales: [op.a_scale, op.b_scale], offset: op.offset };
    let code = p.eval(a.wrapping_sub(op.a_bias), b.wrapping_sub(op.b_bias));
    code.wrapping_add(op.y_bias).max(op.lo).min(op.hi)
}

/// `int.add_float` of codes of these types; its form is a table where nothing else is exact.
pub(super) fn add_float_codes(op: &int::AddFloat, types: [DType; 3], fma: bool) -> PairCodes {
    let p = LinearAdd { scales: [op.a_scale, op.b_scale], offset: op.offset };
    let accepted = |form: &Form| {
        let Form::Sum { scales, offset, .. } = *form else { return false };
        all_pairs([types[0], types[1]], |a, b| {
            let [u, v] = [a - op.a_bias, b - op.b_bias].map(|v| v as f32);
            let t = u * scales[0] + (v * scales[1] + offset);
            let code = (t.round_ties_even() as i32).wrapping_add(op.y_bias);
            code.max(op.lo).min(op.hi) == linear_add(op, a, b)
        })
    };
    let form = match sane(&[op.a_bias, op.b_bias, op.y_bias]) {
        true => sum_form(&p, fma, accepted),
        false => Form::Table,
    };
    let zp = [op.a_bias, op.b_bias];
    PairCodes { form, types, zp, y_zp: op.y_bias, bounds: [op.lo, op.hi] }
}

/// The definition, where fused multiply-add exists; else what `accepted` says is equal on all pairs.
fn sum_form(p: &LinearAdd, fma: bool, accepted: impl Fn(&Form) -> bool) -> Form {
    let size = 256.0 * (p.scales[0].abs() + p.scales[1].abs()) + p.offset.abs();
    // Not so for NaN either.
    let valid = size < MAX_ROUNDED;
    if !valid {
        return Form::Table;
    }
    let (scales, offset) = (p.scales, p.offset);
    if fma {
        return Form::Sum { scales, offset, fused: true };
    }
    const ULPS: [[i32; 3]; 9] = [
        [0, 0, 0],
        [0, 0, 1],
        [0, 0, -1],
        [1, 0, 0],
        [0, 1, 0],
        [-1, 0, 0],
        [0, -1, 0],
        [0, 0, 2],
        [0, 0, -2],
    ];
    let moved = |v: f32, by: i32| f32::from_bits(v.to_bits().wrapping_add_signed(by));
    let candidates = ULPS.into_iter().map(|[i, j, k]| Form::Sum {
        scales: [moved(scales[0], i), moved(scales[1], j)],
        offset: moved(offset, k),
        fused: false,
    });
    candidates.into_iter().find(accepted).unwrap_or(Form::Table)
}

/// Lowers `int.mul`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower_mul(site: &Site, op: &int::Mul) -> Result<Vec<Call>, String> {
    let zp = [op.a_zp, op.b_zp];
    let bounds = [op.lo, op.hi];
    let wide = types(site).iter().any(|d| d.size() > 1);
    let size = site.view(site.result()).dtype.size();
    if op.style == MulStyle::Float {
        let (scale, offset) = (op.mult_f32, op.y_zp as f32);
        let largest = 512.0 * 512.0 * scale.abs() + offset.abs();
        let fits = sane(&[op.a_zp, op.b_zp, op.y_bias]) && largest < MAX_ROUNDED;
        let form = match !wide && size == 1 && fits {
            true => Form::Product { scale, offset, epsilon: 0.0 },
            false => Form::Float { scale, offset },
        };
        return emit(site, ("mul", form), (zp, op.y_bias), bounds, Vec::new);
    }
    let m = Multiplier::new(op.mult, op.shift);
    let y_zp = op.y_zp.wrapping_add(op.y_bias);
    let entry = || multiplier_entry(m).to_vec();
    if wide {
        return emit(site, ("mul", Form::Fixed), (zp, y_zp), bounds, entry);
    }
    let want = |a: i32, b: i32| {
        let p = a.wrapping_sub(op.a_zp).wrapping_mul(b.wrapping_sub(op.b_zp));
        mul_by_quantized(p, m).wrapping_add(y_zp).max(op.lo).min(op.hi)
    };
    let accepted = |form: &Form| {
        let Form::Product { scale, epsilon, .. } = *form else { return false };
        all_pairs(types(site), |a, b| {
            let t = ((a - op.a_zp) as f32 * (b - op.b_zp) as f32) * scale;
            let t = t + epsilon.copysign(t);
            let code = (t.round_ties_even() as i32).wrapping_add(y_zp);
            code.max(op.lo).min(op.hi) == want(a, b)
        })
    };
    let form = match sane(&[op.a_zp, op.b_zp, y_zp]) {
        true => product_form(m, accepted),
        false => Form::Table,
    };
    emit(site, ("mul", form), (zp, y_zp), bounds, || {
        table(types(site), site.view(site.result()).dtype, want)
    })
}

/// Scales and offsets that may equal double rounding; else the table.
fn product_form(m: Multiplier, accepted: impl Fn(&Form) -> bool) -> Form {
    let scale = m.to_f64() as f32;
    let valid = scale >= 0.0 && 512.0 * 512.0 * scale < MAX_ROUNDED;
    if !valid || !(-31..=30).contains(&m.shift) {
        return Form::Table;
    }
    let unit = 2f64.powi(m.shift.min(0) - 1);
    let moved = |by: i32| f32::from_bits(scale.to_bits().saturating_add_signed(by));
    let candidates = [0, 1, -1, 2, -2].into_iter().flat_map(|ulps| {
        [1.0, 2.0, 0.5, 4.0, 0.25, 0.0].into_iter().map(move |k| (ulps, (k * unit) as f32))
    });
    let forms = candidates.map(|(ulps, epsilon)| Form::Product {
        scale: moved(ulps),
        offset: 0.0,
        epsilon,
    });
    forms.into_iter().find(accepted).unwrap_or(Form::Table)
}

/// Lowers `int.pair_lut`.
///
/// # Errors
/// The table is not constant.
pub fn lower_pair_lut(site: &Site, _op: &int::PairLut) -> Result<Vec<Call>, String> {
    let table = site.require_constant(2, "the table")?;
    emit(site, ("pair_lut", Form::Table), ([0; 2], 0), [0; 2], || table.bytes().to_vec())
}

fn types(site: &Site) -> [DType; 2] {
    [0, 1].map(|i| site.view(site.operand(i)).dtype)
}

fn emit(
    site: &Site,
    (op, form): (&'static str, Form),
    (zp, y_zp): ([i32; 2], i32),
    bounds: [i32; 2],
    constants: impl FnOnce() -> Vec<u8>,
) -> Result<Vec<Call>, String> {
    let operands = [0, 1].map(|i| Operand::of(site, site.operand(i)));
    let y = Operand::of(site, site.result());
    let bytes = match form {
        Form::Table | Form::Fixed => constants(),
        _ => vec![],
    };
    Ok(vec![emit_on(site, (op, form), (zp, y_zp), bounds, (operands, y), bytes)])
}

fn emit_on(
    site: &Site,
    (op, form): (&'static str, Form),
    (zp, y_zp): ([i32; 2], i32),
    bounds: [i32; 2],
    ([a, b], y): ([Operand; 2], Operand),
    mut bytes: Vec<u8>,
) -> Call {
    let inputs = [&a, &b].map(|v| super::add::broadcast(&v.view, &y.view));
    let kernel = Pairs { op, inputs, y: y.view, form, zp, y_zp, bounds };
    bytes.resize(kernel.constant_bytes(), 0);
    if form == Form::Table && op != "pair_lut" {
        site.remark("no float form gives its codes: a table of all pairs");
    }
    let constants = Arg::Const { name: "constants".into(), bytes };
    Call { kernel: Box::new(kernel), args: vec![a.arg, b.arg, constants, y.arg] }
}
