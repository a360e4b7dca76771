//! What a float function is made of.

/// Float lanes, integer lanes of the same width, and what comparisons give.
///
/// Every operation acts lane by lane and rounds once, to nearest even. Subnormal numbers are
/// numbers. Integers wrap.
pub trait Arith {
    /// Float lanes.
    type F: Copy;
    /// Integer lanes as wide as the floats.
    type I: Copy;
    /// The outcome of a comparison.
    type M: Copy;

    /// Bits of a float.
    fn width(&self) -> u32;
    /// `v` (exact in the float type) in every lane.
    fn real(&mut self, v: f64) -> Self::F;
    /// `v` in every lane.
    fn int(&mut self, v: i64) -> Self::I;
    /// a + b
    fn add(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// a − b
    fn sub(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// a · b
    fn mul(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// a / b
    fn div(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// √a
    fn sqrt(&mut self, a: Self::F) -> Self::F;
    /// a < b; false where a side is NaN.
    fn lt(&mut self, a: Self::F, b: Self::F) -> Self::M;
    /// a ≤ b; false where a side is NaN.
    fn le(&mut self, a: Self::F, b: Self::F) -> Self::M;
    /// a = b; false where a side is NaN.
    fn eq(&mut self, a: Self::F, b: Self::F) -> Self::M;
    /// `a` where `m` holds, else `b`.
    fn select(&mut self, m: Self::M, a: Self::F, b: Self::F) -> Self::F;
    /// The bits of a float.
    fn bits(&mut self, a: Self::F) -> Self::I;
    /// The float of these bits.
    fn of_bits(&mut self, a: Self::I) -> Self::F;
    /// The nearest float.
    fn to_float(&mut self, a: Self::I) -> Self::F;
    /// a + b
    fn iadd(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// a − b
    fn isub(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// a & b
    fn iand(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// a | b
    fn ior(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// a ^ b
    fn ixor(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// a << n
    fn shl(&mut self, a: Self::I, n: u32) -> Self::I;
    /// a >> n, copies of the sign coming in
    fn shr(&mut self, a: Self::I, n: u32) -> Self::I;
}

/// What is made of the operations above.
pub trait Floats: Arith {
    /// The bits of −0.
    fn sign_bit(&mut self) -> Self::I {
        let bit = -1 << (self.width() - 1);
        self.int(bit)
    }
    /// |a|
    fn abs(&mut self, a: Self::F) -> Self::F {
        let all = i64::MAX >> (64 - self.width());
        let (a, mask) = (self.bits(a), self.int(all));
        let a = self.iand(a, mask);
        self.of_bits(a)
    }
    /// −a, NaN's sign flipped too.
    fn neg(&mut self, a: Self::F) -> Self::F {
        let sign = self.sign_bit();
        let a = self.bits(a);
        let a = self.ixor(a, sign);
        self.of_bits(a)
    }
    /// `a`, which is not negative, with the sign of `b`.
    fn with_sign(&mut self, a: Self::F, b: Self::F) -> Self::F {
        let (a, b, sign) = (self.bits(a), self.bits(b), self.sign_bit());
        let b = self.iand(b, sign);
        let a = self.ior(a, b);
        self.of_bits(a)
    }
    /// min(max(a, lo), hi); NaN stays.
    fn limit(&mut self, a: Self::F, lo: f64, hi: f64) -> Self::F {
        let (lo, hi) = (self.real(lo), self.real(hi));
        let below = self.lt(a, lo);
        let a = self.select(below, lo, a);
        let above = self.lt(hi, a);
        self.select(above, hi, a)
    }
    /// The larger; NaN where one is.
    fn max(&mut self, a: Self::F, b: Self::F) -> Self::F {
        let larger = self.lt(a, b);
        let y = self.select(larger, b, a);
        self.or_nan(b, y)
    }
    /// The smaller; NaN where one is.
    fn min(&mut self, a: Self::F, b: Self::F) -> Self::F {
        let smaller = self.lt(b, a);
        let y = self.select(smaller, b, a);
        self.or_nan(b, y)
    }
    /// `y`, but `b` where that is NaN.
    fn or_nan(&mut self, b: Self::F, y: Self::F) -> Self::F {
        let number = self.eq(b, b);
        self.select(number, y, b)
    }
    /// c0 + x·(c1 + x·(…)), innermost first.
    fn polynomial(&mut self, x: Self::F, coefficients: &[f64]) -> Self::F {
        let Some((&last, rest)) = coefficients.split_last() else { return self.real(0.0) };
        let mut y = self.real(last);
        for &c in rest.iter().rev() {
            y = self.mul(y, x);
            let c = self.real(c);
            y = self.add(y, c);
        }
        y
    }
}
impl<A: Arith> Floats for A {}

/// f32 constants as [`Arith::real`] takes them.
pub(super) const fn wide<const N: usize>(narrow: [f32; N]) -> [f64; N] {
    let (mut out, mut i) = ([0.0; N], 0);
    while i < N {
        out[i] = narrow[i] as f64;
        i += 1;
    }
    out
}

/// One f32.
#[derive(Clone, Copy, Debug)]
pub struct F32;
/// One f64.
#[derive(Clone, Copy, Debug)]
pub struct F64;

macro_rules! scalar {
    ($name:ident, $f:ty, $i:ty, $width:literal) => {
        impl Arith for $name {
            type F = $f;
            type I = $i;
            type M = bool;

            fn width(&self) -> u32 {
                $width
            }
            fn real(&mut self, v: f64) -> $f {
                debug_assert!(v.is_nan() || f64::from(v as $f) == v, "{v} is not exact");
                v as $f
            }
            fn int(&mut self, v: i64) -> $i {
                v as $i
            }
            fn add(&mut self, a: $f, b: $f) -> $f {
                a + b
            }
            fn sub(&mut self, a: $f, b: $f) -> $f {
                a - b
            }
            fn mul(&mut self, a: $f, b: $f) -> $f {
                a * b
            }
            fn div(&mut self, a: $f, b: $f) -> $f {
                a / b
            }
            fn sqrt(&mut self, a: $f) -> $f {
                a.sqrt()
            }
            fn lt(&mut self, a: $f, b: $f) -> bool {
                a < b
            }
            fn le(&mut self, a: $f, b: $f) -> bool {
                a <= b
            }
            fn eq(&mut self, a: $f, b: $f) -> bool {
                a == b
            }
            fn select(&mut self, m: bool, a: $f, b: $f) -> $f {
                if m { a } else { b }
            }
            fn bits(&mut self, a: $f) -> $i {
                a.to_bits() as $i
            }
            fn of_bits(&mut self, a: $i) -> $f {
                <$f>::from_bits(a as _)
            }
            fn to_float(&mut self, a: $i) -> $f {
                a as $f
            }
            fn iadd(&mut self, a: $i, b: $i) -> $i {
                a.wrapping_add(b)
            }
            fn isub(&mut self, a: $i, b: $i) -> $i {
                a.wrapping_sub(b)
            }
            fn iand(&mut self, a: $i, b: $i) -> $i {
                a & b
            }
            fn ior(&mut self, a: $i, b: $i) -> $i {
                a | b
            }
            fn ixor(&mut self, a: $i, b: $i) -> $i {
                a ^ b
            }
            fn shl(&mut self, a: $i, n: u32) -> $i {
                a << n
            }
            fn shr(&mut self, a: $i, n: u32) -> $i {
                a >> n
            }
        }
    };
}
scalar!(F32, f32, i32, 32);
scalar!(F64, f64, i64, 64);
