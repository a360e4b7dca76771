//! Floats of 4 and 8 bits at run time.
//!
//! They are float32 values that their type has; codes, one a byte, exist where they enter and leave
//! the model. The code of a number is found by counting the thresholds between neighbouring numbers
//! that it reaches: right for all of these types, but slow.

use super::super::convert::Converter;
use super::super::data::OnnxType;
use super::super::node::Node;
use qcc_ir::dialect::nn::{self, CompareFn, IntFn, ReduceFn, UnaryFn};
use qcc_ir::{DType, TensorType, Value};

/// Elements that are given codes.
const MAX_ELEMENTS: u64 = 1 << 22;

/// How a number gets a type of 4 or 8 bits: the nearest one, halves to even codes.
pub struct Rounding {
    /// The type.
    pub ty: OnnxType,
    /// What is beyond the largest number becomes that, rather than infinity or NaN.
    pub saturate: bool,
    /// −0 stays −0, where the type has it.
    pub signs_zero: bool,
}

impl Converter<'_> {
    /// x rounded, as float32. The node's output is noted to be of the type.
    pub fn rounded(&mut self, node: &Node, x: Value, rounding: &Rounding) -> Result<Value, String> {
        let ty = rounding.ty;
        if ty == OnnxType::FLOAT8E8M0 {
            return Err(format!("rounding to {ty} is not supported"));
        }
        let shape = self.shape(x);
        if shape.iter().product::<u64>() > MAX_ELEMENTS {
            return Err(format!("rounding more than {MAX_ELEMENTS} elements to {ty}"));
        }
        let codes = self.codes_of(node, x, rounding)?;
        let y = self.decoded(&node.name, codes, ty)?;
        self.note_codes(node, ty, codes);
        Ok(y)
    }

    fn codes_of(&mut self, node: &Node, x: Value, rounding: &Rounding) -> Result<Value, String> {
        let shape = self.shape(x);
        let plain = |d| TensorType::plain(&shape, d);
        let Code { thresholds, sign, nan, has_minus_zero } = Code::of(rounding)?;
        let wide = [&shape[..], &[1]].concat();
        let magnitude = self.unary(UnaryFn::Abs, x)?;
        let magnitude = self.reshape(magnitude, &wide)?;
        let n = thresholds.len() as u64;
        let thresholds = self.floats(&format!("{}.thresholds", node.name), &thresholds, &[n])?;
        let reached = self.compare(CompareFn::LessEqual, thresholds, magnitude)?;
        let all = self.shape(reached);
        let reached = self.emit_f32(nn::Cast {}, &[reached], &all)?;
        let last = nn::Reduce { f: ReduceFn::Sum, axes: vec![shape.len() as u32] };
        let count = self.emit_f32(last, &[reached], &shape)?;
        let count = self.emit(nn::Cast {}, &[count], plain(DType::I32))?;
        let zero = self.number(node, 0.0)?;
        let mut negative = self.compare(CompareFn::Less, x, zero)?;
        if !has_minus_zero {
            // What becomes zero has no sign.
            let none = self.integers(node, &[0], &[], DType::I32)?;
            let some = self.compare(CompareFn::Less, none, count)?;
            negative = self.int_binary(IntFn::And, negative, some)?;
        } else if rounding.signs_zero {
            // 1/x tells the sign of a zero.
            let inverse = self.unary(UnaryFn::Reciprocal, x)?;
            let signed = self.compare(CompareFn::Less, inverse, zero)?;
            negative = self.int_binary(IntFn::Or, negative, signed)?;
        }
        let code = self.with_sign(node, (count, negative), sign)?;
        self.with_nan(node, (x, code), nan)
    }

    fn with_sign(
        &mut self,
        node: &Node,
        (code, negative): (Value, Value),
        sign: i64,
    ) -> Result<Value, String> {
        let bit = self.integers(node, &[sign], &[], DType::I32)?;
        let signed = self.int_binary(IntFn::Or, code, bit)?;
        self.select(negative, signed, code)
    }

    /// Codes as bytes, those of NaN put in.
    fn with_nan(
        &mut self,
        node: &Node,
        (x, code): (Value, Value),
        nan: i64,
    ) -> Result<Value, String> {
        let is_number = self.compare(CompareFn::Equal, x, x)?;
        let nan = self.integers(node, &[nan], &[], DType::I32)?;
        let code = self.select(is_number, code, nan)?;
        let shape = self.shape(code);
        self.emit(nn::Cast {}, &[code], TensorType::plain(&shape, DType::U8))
    }
}

/// How the codes of a type are found.
struct Code {
    /// The code without sign is the number of these that |x| reaches.
    thresholds: Vec<f32>,
    sign: i64,
    nan: i64,
    has_minus_zero: bool,
}

impl Code {
    fn of(&Rounding { ty, saturate, .. }: &Rounding) -> Result<Code, String> {
        let number = ty.number_of().ok_or_else(|| format!("{ty} has no codes"))?;
        let (largest, sign, nan) = match ty {
            OnnxType::FLOAT8E4M3FN => (0x7E, 0x80, 0x7F),
            OnnxType::FLOAT8E5M2 => (0x7B, 0x80, 0x7E),
            // It has no NaN; −0 stands for it.
            OnnxType::FLOAT4E2M1 => (7, 8, 8),
            _ => (0x7F, 0x80, 0x80),
        };
        let has_minus_zero = nan != 0x80;
        let between = |code: u8| {
            let (low, next) = (number(code), number(code + 1));
            // Behind the largest number the next one would be as far away as the one before.
            let step = if code == largest { low - number(code - 1) } else { next - low };
            let half = low + step / 2.0;
            // Halves go to the even code.
            if code % 2 == 1 { half } else { half.next_up() }
        };
        let last = if saturate { largest } else { largest + 1 };
        let thresholds = (0..last).map(between).collect();
        Ok(Code { thresholds, sign, nan, has_minus_zero })
    }
}
