//! Functions of one number in 32-bit fixed point, as `qcc_runtime::fixedpoint` defines them.

use super::kb::Kb;
use super::requant::{high_mul, rounding_shift};
use qcc_ir::dialect::loops::Pred;
use qcc_ir::{DType, Type, Value};

/// srdhm of two i32.
pub fn srdhm(kb: &mut Kb, a: Value, b: Value) -> Value {
    let b = kb.ext_s(b, Type::Scalar(DType::I64));
    let high = high_mul(kb, a, b);
    kb.trunc(high, Type::Scalar(DType::I32))
}

/// a · 2^e, saturating.
pub fn shift_saturating(kb: &mut Kb, a: Value, e: u32) -> Value {
    let wide = kb.ext_s(a, Type::Scalar(DType::I64));
    let up = kb.shl(wide, e);
    let up = kb.clamp_s(up, i32::MIN.into(), i32::MAX.into());
    kb.trunc(up, Type::Scalar(DType::I32))
}

/// `get_reciprocal(sum, _).0`: 1 / (sum · 2^headroom), normalised.
pub fn reciprocal(kb: &mut Kb, sum: Value, headroom: Value) -> Value {
    let shifted = kb.shl_var(sum, headroom);
    let one = kb.i32(i32::MIN);
    let fraction = kb.sub(shifted, one);
    reciprocal_of_one_plus(kb, fraction)
}

/// `reciprocal_one_over_one_plus_x`, by three Newton steps.
fn reciprocal_of_one_plus(kb: &mut Kb, a: Value) -> Value {
    let limit = kb.i32(i32::MAX);
    let half = half_sum(kb, a, limit);
    let slope = kb.i32(-1_010_580_540);
    let start = kb.i32(1_515_870_810);
    let line = srdhm(kb, half, slope);
    let mut x = kb.add(start, line);
    for _ in 0..3 {
        let product = srdhm(kb, half, x);
        let quarter = kb.i32(1 << 29);
        let rest = kb.sub(quarter, product);
        let step = srdhm(kb, x, rest);
        let step = shift_saturating(kb, step, 2);
        x = kb.add(x, step);
    }
    shift_saturating(kb, x, 1)
}

/// `rounding_half_sum` of numbers whose sum is not negative: (a + b + 1) / 2.
fn half_sum(kb: &mut Kb, a: Value, b: Value) -> Value {
    let [a, b] = [a, b].map(|v| kb.ext_s(v, Type::Scalar(DType::I64)));
    let one = kb.i64(1);
    let both = kb.add(a, b);
    let both = kb.add(both, one);
    let half = kb.shr_s(both, 1);
    kb.trunc(half, Type::Scalar(DType::I32))
}

/// Mask and half of a rounding shift by `n` (also above 31, as on x86).
pub fn shift_mask(kb: &mut Kb, n: Value) -> (Value, Value) {
    let (i32t, i64t) = (Type::Scalar(DType::I32), Type::Scalar(DType::I64));
    let n = kb.ext_s(n, i64t);
    let one = kb.i64(1);
    let unit = kb.shl_var(one, n);
    let mask = kb.sub(unit, one);
    let mask = kb.trunc(mask, i32t);
    let half = kb.shr_s(mask, 1);
    (mask, half)
}

/// `rounding_div_by_pot` by a constant.
fn shift_rounding(kb: &mut Kb, x: Value, n: u32) -> Value {
    let [right, mask, half] = [n as i32, (1 << n) - 1, ((1 << n) - 1) >> 1].map(|v| kb.i32(v));
    rounding_shift(kb, x, right, mask, half)
}

/// `inv_sqrt` of a sum of squares: mantissa and shift, as `mul_by_quantized` takes them.
pub fn inv_sqrt(kb: &mut Kb, v: Value) -> (Value, Value) {
    let (start, is_root) = (kb.i32(2), kb.i32(1));
    let some = kb.cmp(Pred::Gt, v, is_root);
    let v = kb.max_s(v, start);
    // At most one division by 4 brings it below 2^29.
    let most = kb.i32(1 << 29);
    let large = kb.cmp(Pred::Ge, v, most);
    let quarter = kb.shr_s(v, 2);
    let v = kb.select(large, quarter, v);
    let (eleven, twelve) = (kb.i32(11), kb.i32(12));
    let shift = kb.select(large, twelve, eleven);
    let zeros = kb.clz(v);
    let three = kb.i32(3);
    let pairs = kb.sub(zeros, three);
    let pairs = kb.shr_s(pairs, 1);
    let shift = kb.sub(shift, pairs);
    let twice = kb.shl(pairs, 1);
    let v = kb.shl_var(v, twice);
    let half = kb.shr_s(v, 1);
    let half = shift_rounding(kb, half, 1);
    let mut x = kb.i32(1 << 28);
    for _ in 0..5 {
        let cube = srdhm(kb, x, x);
        let cube = srdhm(kb, cube, x);
        let cube = shift_saturating(kb, cube, 6);
        let three_halves = kb.i32(402_653_184);
        let [up, down] = [srdhm(kb, three_halves, x), srdhm(kb, half, cube)];
        let next = kb.sub(up, down);
        x = shift_saturating(kb, next, 3);
    }
    let half_root = kb.i32(1_518_500_250);
    let x = srdhm(kb, x, half_root);
    // Shifts to the left are done at once.
    let none = kb.i32(0);
    let left = kb.sub(none, shift);
    let left = kb.max_s(left, none);
    let x = kb.shl_var(x, left);
    let shift = kb.max_s(shift, none);
    let shift = kb.sub(none, shift);
    let largest = kb.i32(i32::MAX);
    (kb.select(some, x, largest), kb.select(some, shift, none))
}

/// `mul_by_quantized` with a shift of at most 31 either way that is computed.
pub struct ByShift {
    mantissa: Value,
    left: Value,
    right: Value,
    mask: Value,
    half: Value,
}

impl ByShift {
    /// The parts of a multiplier that every product needs.
    pub fn new(kb: &mut Kb, mantissa: Value, shift: Value) -> ByShift {
        let none = kb.i32(0);
        let left = kb.max_s(shift, none);
        let right = kb.sub(none, shift);
        let right = kb.max_s(right, none);
        let (mask, half) = shift_mask(kb, right);
        ByShift { mantissa, left, right, mask, half }
    }

    /// One product.
    pub fn apply(&self, kb: &mut Kb, x: Value) -> Value {
        let shifted = kb.shl_var(x, self.left);
        let product = srdhm(kb, shifted, self.mantissa);
        rounding_shift(kb, product, self.right, self.mask, self.half)
    }
}

/// `log_x` of 2^19 and above.
pub fn log_x(kb: &mut Kb, x: Value) -> Value {
    let (root_half, quarter) = (kb.i32(1_518_500_250), kb.i32(1 << 23));
    let zeros = kb.clz(x);
    let one = kb.i32(1);
    let left = kb.sub(zeros, one);
    let up = kb.shl_var(x, left);
    let r_a = srdhm(kb, up, root_half);
    let r_a = shift_saturating(kb, r_a, 1);
    let z_a = exponent(kb, zeros);
    let z_a = kb.add(z_a, quarter);
    let z_half = srdhm(kb, x, root_half);
    let zeros_b = kb.clz(z_half);
    let headroom_b = kb.sub(zeros_b, one);
    let r_b = shift_saturating_var(kb, x, headroom_b);
    let z_b = exponent(kb, headroom_b);
    let z_b = kb.sub(z_b, quarter);
    let (r, z) = (kb.min_s(r_a, r_b), kb.max_s(z_a, z_b));
    let fraction = log_fraction(kb, r);
    let ln_2 = kb.i32(1_488_522_236);
    let whole = srdhm(kb, z, ln_2);
    let sum = kb.add(whole, fraction);
    shift_saturating(kb, sum, 1)
}

/// (12 − h) · 2^25
fn exponent(kb: &mut Kb, h: Value) -> Value {
    let twelve = kb.i32(12);
    let e = kb.sub(twelve, h);
    kb.shl(e, 25)
}

/// a · 2^e for a ≥ 0 and 0 ≤ e < 32, saturating.
fn shift_saturating_var(kb: &mut Kb, a: Value, e: Value) -> Value {
    let i64t = Type::Scalar(DType::I64);
    let [wide, e] = [a, e].map(|v| kb.ext_s(v, i64t.clone()));
    let up = kb.shl_var(wide, e);
    let up = kb.clamp_s(up, i32::MIN.into(), i32::MAX.into());
    kb.trunc(up, Type::Scalar(DType::I32))
}

/// What `log_x` adds for the mantissa r.
fn log_fraction(kb: &mut Kb, r: Value) -> Value {
    let root = kb.i32(1_805_811_301);
    let p = half_sum(kb, r, root);
    let q = kb.sub(r, root);
    let q = kb.shl(q, 1);
    let c = srdhm(kb, q, q);
    let [alpha_n, alpha_d, alpha_i, alpha_f] =
        [117_049_297, 127_690_142, 1_057_819_769, 638_450_708].map(|v| kb.i32(v));
    let qc = srdhm(kb, q, c);
    let [a, b] = [srdhm(kb, q, r), srdhm(kb, qc, alpha_n)];
    let numerator = kb.add(a, b);
    let dc = srdhm(kb, alpha_d, c);
    let inner = kb.add(alpha_i, q);
    let inner = kb.add(inner, dc);
    let [a, b] = [srdhm(kb, p, inner), srdhm(kb, alpha_f, q)];
    let denominator = kb.add(a, b);
    let reciprocal = reciprocal_of_one_plus(kb, denominator);
    let numerator = shift_rounding(kb, numerator, 6);
    srdhm(kb, numerator, reciprocal)
}
