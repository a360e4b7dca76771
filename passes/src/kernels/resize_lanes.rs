//! Bilinear interpolation of as many channels at a time as a vector has bytes: the operations of `resize.rs`, in their
//! order, on vectors.

use super::conv::store_bytes;
use super::kb::{Addr, Kb};
use super::resize::{Neighbours, Resize};
use qcc_ir::dialect::int::ResizeStyle;
use qcc_ir::dialect::loops::Pred;
use qcc_ir::{DType, Type, Value};

/// Weights of the upper and the lower neighbour: vectors of f32, or i32 in 10 fraction bits.
pub(super) type RowWeights = [Value; 2];

impl Resize {
    /// Whether channels are contiguous bytes that may be read a vector at a time.
    pub(super) fn is_vector(&self) -> bool {
        let bytes = self.x.dtype.size() == 1 && self.y.dtype.size() == 1;
        let dense = self.x.is_dense_inner() && self.y.is_dense_inner();
        let whole = self.x.shape[3].is_multiple_of(self.width);
        bytes && dense && (whole || u64::from(self.x.slack) >= self.width)
    }

    /// One minus the row's fraction, and the fraction.
    pub(super) fn row_weights(&self, kb: &mut Kb, row: Neighbours) -> RowWeights {
        match self.style {
            ResizeStyle::Float32 => float_weights(kb, row.fraction),
            ResizeStyle::Fixed10 => fixed_weights(kb, row.fraction),
        }
    }

    /// All channels of one output pixel; `corners` are byte offsets of y0x0, y0x1, y1x0, y1x1.
    pub(super) fn pixel(
        &self,
        kb: &mut Kb,
        corners: [Value; 4],
        (row, fraction): (RowWeights, Value),
        y: &Addr,
    ) {
        let channels = self.x.shape[3];
        let last = (self.x.span() - channels) as i64;
        let corners = corners.map(|at| kb.clamp_s(at, 0, last));
        let weights = self.corner_weights(kb, row, fraction);
        let x = kb.mem(0);
        let step = |kb: &mut Kb, x: &Addr, y: &Addr, n: u64| {
            let bytes = kb.vec(DType::I8);
            let taps = corners.map(|at| kb.lookup_of(bytes.clone(), x, at, 1, (0, last)));
            // Each 128 bits are treated alike.
            let codes = self.blend(kb, taps, weights, n.min(16).div_ceil(4));
            store_bytes(kb, codes, n, y);
        };
        let width = self.width;
        let full = channels / width;
        if full > 0 {
            kb.for_each(full, |kb, k| step(kb, &k.of(&x, width), &k.of(y, width), width));
        }
        if !channels.is_multiple_of(width) {
            let done = (full * width) as i64;
            step(kb, &x.at(done), &y.at(done), channels % width);
        }
    }

    /// The weights that each corner's channels are multiplied with: two factors one after the
    /// other in float, their product (and nothing) in fixed point.
    fn corner_weights(
        &self,
        kb: &mut Kb,
        [gy, fy]: RowWeights,
        fraction: Value,
    ) -> [(Value, Option<Value>); 4] {
        match self.style {
            ResizeStyle::Float32 => {
                let [gx, fx] = float_weights(kb, fraction);
                [(gy, Some(gx)), (gy, Some(fx)), (fy, Some(gx)), (fy, Some(fx))]
            }
            ResizeStyle::Fixed10 => {
                let [gx, fx] = fixed_weights(kb, fraction);
                [(gy, gx), (gy, fx), (fy, gx), (fy, fx)].map(|(wy, wx)| {
                    let product = kb.mul(wy, wx);
                    (kb.splat(product), None)
                })
            }
        }
    }

    /// Codes of the output: of each sixteen, the first `quarters`·4 count.
    fn blend(
        &self,
        kb: &mut Kb,
        taps: [Value; 4],
        weights: [(Value, Option<Value>); 4],
        quarters: u64,
    ) -> Value {
        let halves = taps.map(|t| self.widened(kb, t, quarters));
        let mut codes = Vec::with_capacity(4);
        for q in 0..quarters as usize {
            let taps = std::array::from_fn(|i| quarter(kb, halves[i][q / 2], q));
            codes.push(match self.style {
                ResizeStyle::Float32 => self.blend_float_lanes(kb, taps, weights),
                ResizeStyle::Fixed10 => self.blend_fixed_lanes(kb, taps, weights),
            });
        }
        let at = |q: usize| codes[q.min(codes.len() - 1)];
        let low = kb.pack(at(0), at(1), true);
        let high = if quarters > 2 { kb.pack(at(2), at(3), true) } else { low };
        kb.pack(low, high, self.y.dtype == DType::I8)
    }

    /// The framework's codes as two vectors of i16 (the second only where it is needed).
    fn widened(&self, kb: &mut Kb, bytes: Value, quarters: u64) -> [Value; 2] {
        let signed = self.x.dtype == DType::I8;
        let bias = kb.int(kb.vec(DType::I16), i64::from(self.code_bias));
        let low = kb.widen_low(bytes, signed);
        let low = kb.sub(low, bias);
        if quarters <= 2 {
            return [low, low];
        }
        let high = kb.widen_high(bytes, signed);
        [low, kb.sub(high, bias)]
    }

    /// As `blend_float`: y0x0 first, then the corner below, then those beside.
    fn blend_float_lanes(
        &self,
        kb: &mut Kb,
        taps: [Value; 4],
        weights: [(Value, Option<Value>); 4],
    ) -> Value {
        let mut terms = taps.into_iter().zip(weights).map(|(tap, (wy, wx))| {
            let v = kb.int_to_float(tap, kb.vec(DType::F32));
            let v = kb.fmul(v, wy);
            wx.map_or(v, |wx| kb.fmul(v, wx))
        });
        let [a, c, b, d] = std::array::from_fn(|_| terms.next().expect("four corners"));
        let sum = kb.fadd(a, b);
        let sum = kb.fadd(sum, c);
        let sum = kb.fadd(sum, d);
        let half = kb.float(kb.vec(DType::F32), 0.5);
        let value = kb.fadd(sum, half);
        let code = floor(kb, value);
        let whole_range =
            self.y.dtype.min_max() == (self.code_bias.into(), 255 + i64::from(self.code_bias));
        // Packing saturates to the same range.
        let code = if whole_range { code } else { kb.clamp_s(code, 0, 255) };
        let bias = kb.int(kb.vec(DType::I32), i64::from(self.code_bias));
        kb.add(code, bias)
    }

    /// As `blend_fixed`; the weights are those of an interpolation, so that sums fit 32 bits.
    fn blend_fixed_lanes(
        &self,
        kb: &mut Kb,
        taps: [Value; 4],
        weights: [(Value, Option<Value>); 4],
    ) -> Value {
        let products = [0, 1, 2, 3].map(|i| kb.mul(taps[i], weights[i].0));
        let [first, rest @ ..] = products;
        let sum = rest.into_iter().fold(first, |sum, p| kb.add(sum, p));
        let code = round_fixed(kb, sum);
        let bias = kb.int(kb.vec(DType::I32), i64::from(self.code_bias));
        kb.add(code, bias)
    }
}

/// i32 sums in 20 fraction bits to integers, halves away from zero.
pub(super) fn round_fixed(kb: &mut Kb, sum: Value) -> Value {
    // + 2^19 where the sum is above 0, else − 2^19.
    let one = kb.int(kb.vec(DType::I32), 1);
    let half = kb.int(kb.vec(DType::I32), 1 << 19);
    let before = kb.sub(sum, one);
    let negative = kb.shr_s(before, 31);
    let flipped = kb.xor(half, negative);
    let nudge = kb.sub(flipped, negative);
    let nudged = kb.add(sum, nudge);
    // Toward zero: negative numbers are moved up by the divisor less one.
    let sign = kb.shr_s(nudged, 31);
    let up = kb.shr_u(sign, 12);
    let moved = kb.add(nudged, up);
    kb.shr_s(moved, 20)
}

/// Lanes 4q to 4q + 3 of every sixteen, as i32x4, from the half that holds them.
fn quarter(kb: &mut Kb, half: Value, q: usize) -> Value {
    if q.is_multiple_of(2) { kb.widen_low(half, true) } else { kb.widen_high(half, true) }
}

/// The largest integers not above floats of magnitude below 2^22; for those that are not negative,
/// what truncation gives. (Negative ones are clamped to 0 either way.)
fn floor(kb: &mut Kb, value: Value) -> Value {
    /// 1.5·2^23: adding it leaves the nearest integer in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let magic = kb.float(kb.vec(DType::F32), f64::from(MAGIC));
    let sum = kb.fadd(value, magic);
    let nearest = kb.fsub(sum, magic);
    let bits = kb.bitcast(sum, kb.vec(DType::I32));
    let magic_bits = kb.int(kb.vec(DType::I32), i64::from(MAGIC.to_bits()));
    let nearest_code = kb.sub(bits, magic_bits);
    let above = kb.fcmp(Pred::Gt, nearest, value);
    kb.add(nearest_code, above)
}

/// 1 − f and f in every lane.
fn float_weights(kb: &mut Kb, fraction: Value) -> [Value; 2] {
    let one = kb.float(Type::Scalar(DType::F32), 1.0);
    let rest = kb.fsub(one, fraction);
    [kb.splat(rest), kb.splat(fraction)]
}

/// 1024 − f and f as i32; the fraction comes as i64.
fn fixed_weights(kb: &mut Kb, fraction: Value) -> [Value; 2] {
    let f = kb.trunc(fraction, Type::Scalar(DType::I32));
    let one = kb.i32(1024);
    [kb.sub(one, f), f]
}
