//! TensorFlow Lite's elementwise ops: numerics.md D.5, D.6, D.13 to D.15, D.20, D.22.

use super::Operand;
use super::recipe::{Recipe, limits};
use crate::DType;
use crate::dialect::int::{self, AddStyle, MulStyle};
use crate::dialect::nn::{self, BinaryFn, UnaryFn};
use crate::dialect::quant::{self, Act};
use qcc_runtime::fixedpoint as fx;

/// Both inputs.
const PAIR: [Operand; 2] = [Operand::Input(0), Operand::Input(1)];

impl Recipe<'_> {
    pub(super) fn add(&mut self, o: &quant::Add) -> Result<(), String> {
        self.sum(false, o.pot_scale_int16, o.act)
    }

    pub(super) fn sub(&mut self, o: &quant::Sub) -> Result<(), String> {
        self.sum(true, o.pot_scale_int16, o.act)
    }

    fn sum(&mut self, subtract: bool, pot_scale: bool, act: Act) -> Result<(), String> {
        let [a, b, y] = self.three()?;
        let dtype = self.y().storage();
        let (lo, hi) = limits(dtype);
        let p = fx::AddParams::new(a, b, y, dtype);
        let mut kind = int::Add {
            style: AddStyle::General,
            subtract,
            left_shift: p.left_shift,
            a_zp: p.zero_points[0],
            a_mult: p.inputs[0].mantissa,
            a_shift: p.inputs[0].shift,
            b_zp: p.zero_points[1],
            b_mult: p.inputs[1].mantissa,
            b_shift: p.inputs[1].shift,
            y_mult: p.output.mantissa,
            y_shift: p.output.shift,
            y_zp: p.output_zero_point,
            lo,
            hi,
            a_scale: 0.0,
            b_scale: 0.0,
            epsilon: 0.0,
        };
        let pot = match dtype == DType::I16 && pot_scale {
            true => fx::AddPotParams::new(a.scale, b.scale, y.scale),
            false => None,
        };
        if let Some(pot) = pot {
            kind.style = AddStyle::PowerOfTwo;
            (kind.a_shift, kind.b_shift) = (pot.shifts[0], pot.shifts[1]);
        } else if p.output_multiplier_exceeds_one() && !subtract {
            return Err(
                "the output scale is too small for the inputs (the reference aborts)".into()
            );
        }
        self.finish(kind, &PAIR, act)
    }

    pub(super) fn mul(&mut self, o: &quant::Mul) -> Result<(), String> {
        let [a, b, y] = self.three()?;
        let m = fx::mul_multiplier(a.scale, b.scale, y.scale);
        let (lo, hi) = limits(self.y().storage());
        let kind = int::Mul {
            style: MulStyle::Fixed,
            a_zp: a.zero_point,
            b_zp: b.zero_point,
            mult: m.mantissa,
            shift: m.shift,
            mult_f32: 0.0,
            y_zp: y.zero_point,
            y_bias: 0,
            lo,
            hi,
        };
        self.finish(kind, &PAIR, o.act)
    }

    pub(super) fn div(&mut self, o: &quant::Div) -> Result<(), String> {
        let [a, b, y] = self.three()?;
        let p = fx::Division::new(a, b, y);
        let (lo, hi) = self.activation_range(o.act, y, self.y().storage());
        self.pair_lut(|a, b| fx::clamp(p.eval(a, b), lo, hi))
    }

    pub(super) fn compare_rounded(&mut self, o: &quant::Compare) -> Result<(), String> {
        let a = Self::affine(self.x(0), "the first input")?;
        let b = Self::affine(self.x(1), "the second input")?;
        self.compare(o, |p, q| Some(fx::comparable(p, a).cmp(&fx::comparable(q, b))))
    }

    /// The smaller or larger of two codes of one scale: a table of bytes, or as plain integers.
    fn extreme(&mut self, f: nn::IntFn, of: impl Fn(i32, i32) -> i32) -> Result<(), String> {
        if self.x(0).storage() != DType::I16 {
            return self.pair_lut(of);
        }
        self.push(nn::IntBinary { f }, &PAIR);
        Ok(())
    }

    pub(super) fn binary(&mut self, o: &quant::Binary) -> Result<(), String> {
        let [a, b, y] = self.three()?;
        let (lo, hi) = limits(self.y().storage());
        match o.f {
            BinaryFn::Min | BinaryFn::Max if a != b || a != y => {
                Err("the inputs and the output must share scale and zero point".into())
            }
            BinaryFn::Min => self.extreme(nn::IntFn::Min, i32::min),
            BinaryFn::Max => self.extreme(nn::IntFn::Max, i32::max),
            BinaryFn::SquaredDifference => {
                let p = fx::SquaredDifference::new(a, b, y);
                self.pair_lut(|a, b| fx::clamp(p.eval(a, b), lo, hi))
            }
            BinaryFn::Prelu => {
                let p = fx::TwoSlopes::prelu(a, b.scale, y);
                let slope = |q: i32| q.wrapping_sub(b.zero_point);
                self.pair_lut(|a, b| fx::clamp(p.eval(a, slope(b)), lo, hi))
            }
            BinaryFn::Pow => Err("there is no integer power".into()),
        }
    }

    pub(super) fn activation(&mut self, o: &quant::Activation) -> Result<(), String> {
        let y = Self::affine(self.y(), "the output")?;
        let (lo, hi) = self.activation_range(o.act, y, self.y().storage());
        self.rescaled(lo, hi)
    }

    /// RELU and its kind: D.15.
    fn rescaled(&mut self, lo: i32, hi: i32) -> Result<(), String> {
        let x = Self::affine(self.x(0), "the input")?;
        let y = Self::affine(self.y(), "the output")?;
        let p = fx::IntRequant {
            multiplier: fx::ratio_multiplier(x.scale, y.scale),
            input_zero_point: x.zero_point,
            output_zero_point: y.zero_point,
        };
        if self.x(0).storage().size() == 1 {
            return self.lut(|q| fx::clamp(p.eval(q), lo, hi));
        }
        let kind = int::Requantize {
            x_zp: x.zero_point,
            mult: p.multiplier.mantissa,
            shift: p.multiplier.shift,
            y_zp: y.zero_point,
            lo,
            hi,
        };
        self.push(kind, &[Operand::Input(0)]);
        Ok(())
    }

    pub(super) fn unary(&mut self, o: &quant::Unary) -> Result<(), String> {
        let x = Self::affine(self.x(0), "the input")?;
        let y = Self::affine(self.y(), "the output")?;
        let (lo, hi) = limits(self.y().storage());
        let clamp = |v: i32| fx::clamp(v, lo, hi);
        match (o.f, self.x(0).storage()) {
            (UnaryFn::Clip, _) => {
                let code = |real: f32| y.zero_point.saturating_add((real / y.scale).round() as i32);
                self.rescaled(lo.max(code(o.alpha)), hi.min(code(o.beta)))
            }
            (UnaryFn::LeakyRelu, DType::I8 | DType::U8 | DType::I16) => {
                let p = fx::TwoSlopes::leaky_relu(x, o.alpha, y);
                self.lut(|q| clamp(p.eval(q, 1)))
            }
            (UnaryFn::Abs, DType::I8 | DType::I16) => self.lut(|q| clamp(fx::abs_code(q, x, y))),
            (UnaryFn::HardSwish, DType::I8 | DType::U8) => {
                let p = fx::HardSwish::new(x, y);
                self.lut(|q| clamp(p.eval(q)))
            }
            (UnaryFn::Sqrt, DType::I8) => self.lut(|q| clamp(fx::sqrt_code(q, x, y))),
            (UnaryFn::Rsqrt, DType::I8) => self.lut(|q| clamp(fx::rsqrt_code(q, x, y, hi))),
            (UnaryFn::Sigmoid, DType::I16) => {
                let p = fx::Act16::logistic(x.scale);
                self.lut(|q| fx::logistic16(q as i16, p).into())
            }
            (UnaryFn::Tanh, DType::I16) => {
                let p = fx::Act16::tanh(x.scale);
                self.lut(|q| fx::tanh16(q as i16, p).into())
            }
            (f, DType::I8 | DType::U8) => self.lut8(f, x, y),
            (f, other) => Err(format!("there is no {} of {other}", f.word())),
        }
    }

    /// LUT8 (numerics.md C): a float function of 8-bit codes.
    fn lut8(&mut self, f: UnaryFn, x: fx::Affine, y: fx::Affine) -> Result<(), String> {
        let dtype = self.y().storage();
        if dtype != self.x(0).storage() {
            return Err(format!(
                "there is no {} from {} to {dtype}",
                f.word(),
                self.x(0).storage()
            ));
        }
        let (lo, _) = limits(dtype);
        let least = lo.wrapping_sub(y.zero_point) as f32 * y.scale;
        let table = match f {
            UnaryFn::Sigmoid => fx::lut8(fx::logistic8, x, y, dtype),
            UnaryFn::Tanh => fx::lut8(fx::tanh8, x, y, dtype),
            UnaryFn::Exp => fx::lut8(fx::exp8, x, y, dtype),
            UnaryFn::Log => fx::lut8(|v| fx::log8(v, least), x, y, dtype),
            UnaryFn::Elu => fx::lut8(fx::elu8, x, y, dtype),
            UnaryFn::Gelu => fx::lut8(fx::gelu8, x, y, dtype),
            UnaryFn::GeluTanh => fx::lut8(fx::gelu_tanh8, x, y, dtype),
            other => return Err(format!("there is no integer {}", other.word())),
        };
        let code = |q: i32| match dtype {
            DType::U8 => i32::from(table[usize::from(q as u8)]),
            _ => i32::from(table[usize::from(q as u8)] as i8),
        };
        self.lut(code)
    }

    /// Parameters of two inputs and the output.
    fn three(&self) -> Result<[fx::Affine; 3], String> {
        Ok([
            Self::affine(self.x(0), "the first input")?,
            Self::affine(self.x(1), "the second input")?,
            Self::affine(self.y(), "the output")?,
        ])
    }
}
