//! What an `int.conv2d` does to its codes before they are stored.

use super::OpKind;
use super::int::{Add, AddFloat, Op};
use crate::{Attr, AttrValue, DType};
use std::fmt;

/// An elementwise sum of the convolution's codes and the operand `residual`. As text, the sum's own
/// attributes behind its operands: `"int.add(conv, residual) left_shift=20 a_zp=3 …"`.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Epilogue {
    /// Codes are stored as they are.
    #[default]
    None,
    /// A sum.
    Sum(Box<ResidualSum>),
}

/// The sum and the sides of its operands.
#[derive(Clone, PartialEq, Debug)]
pub struct ResidualSum {
    /// The arithmetic.
    pub sum: Sum,
    /// The convolution's codes are operand b, and the residual is a.
    pub conv_is_b: bool,
}

/// The op whose arithmetic an epilogue has.
#[derive(Clone, PartialEq, Debug)]
pub enum Sum {
    /// `int.add`.
    Add(Add),
    /// `int.add_float`.
    AddFloat(AddFloat),
}

impl Sum {
    /// The sum of an op, if it is one.
    pub fn of(kind: &OpKind) -> Option<Sum> {
        match kind {
            OpKind::Int(Op::Add(o)) => Some(Sum::Add((**o).clone())),
            OpKind::Int(Op::AddFloat(o)) => Some(Sum::AddFloat(o.clone())),
            _ => None,
        }
    }
    /// As an op of its own.
    pub fn to_op(&self) -> OpKind {
        match self {
            Sum::Add(o) => OpKind::from(o.clone()),
            Sum::AddFloat(o) => OpKind::from(o.clone()),
        }
    }
    /// Smallest and largest code of the sum.
    pub fn bounds_mut(&mut self) -> (&mut i32, &mut i32) {
        match self {
            Sum::Add(o) => (&mut o.lo, &mut o.hi),
            Sum::AddFloat(o) => (&mut o.lo, &mut o.hi),
        }
    }
}

impl Epilogue {
    /// The sum, if there is one.
    pub fn sum(&self) -> Option<&ResidualSum> {
        match self {
            Epilogue::None => None,
            Epilogue::Sum(sum) => Some(sum),
        }
    }
    /// The 8-bit type in which the convolution's codes, from `lo` to `hi`, are given to the sum.
    pub fn codes_type(lo: i32, hi: i32) -> Option<DType> {
        let holds = |d: &DType| {
            let (min, max) = d.min_max();
            [lo, hi].iter().all(|&v| (min..=max).contains(&i64::from(v)))
        };
        [DType::U8, DType::I8].into_iter().find(holds)
    }
    fn parse(text: &str) -> Option<Epilogue> {
        if text == "none" {
            return Some(Epilogue::None);
        }
        let (head, attrs) = text.split_once(')')?;
        let (name, operands) = head.split_once('(')?;
        let conv_is_b = match operands {
            "conv, residual" => false,
            "residual, conv" => true,
            _ => return None,
        };
        let attrs = attrs.split_whitespace().map(parse_attr).collect::<Option<Vec<_>>>()?;
        let sum = Sum::of(&OpKind::from_attrs(name, attrs).ok()?)?;
        Some(Epilogue::Sum(Box::new(ResidualSum { sum, conv_is_b })))
    }
}

/// `name=value`; sums have no lists and no strings.
fn parse_attr(text: &str) -> Option<(String, Attr)> {
    let (name, value) = text.split_once('=')?;
    let attr = if let Ok(v) = value.parse() {
        Attr::Int(v)
    } else if let Ok(v) = value.parse() {
        Attr::Bool(v)
    } else if let Ok(v) = value.parse() {
        Attr::Float(v)
    } else {
        Attr::Word(value.to_string())
    };
    Some((name.to_string(), attr))
}

impl fmt::Display for Epilogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Epilogue::Sum(sum) = self else { return f.write_str("none") };
        let op = sum.sum.to_op();
        let operands = if sum.conv_is_b { "residual, conv" } else { "conv, residual" };
        write!(f, "{}({operands})", op.name())?;
        op.attrs().iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

impl AttrValue for Epilogue {
    const TYPE: &'static str = "epilogue";
    fn to_attr(&self) -> Option<Attr> {
        Some(Attr::Str(self.to_string()))
    }
    fn from_attr(attr: &Attr) -> Result<Self, String> {
        let found = match attr {
            Attr::Str(text) => Epilogue::parse(text),
            _ => None,
        };
        found.ok_or_else(|| {
            format!(
                "expected \"none\", \"int.add(conv, residual) NAME=VALUE …\" or \
                 \"int.add_float(…) …\", found {attr}"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epilogues_survive_their_text() {
        let sum = AddFloat {
            a_scale: 0.1,
            b_scale: -3.5e-9,
            offset: -12.0,
            a_bias: 128,
            b_bias: 0,
            y_bias: -128,
            lo: 0,
            hi: 255,
        };
        let sum = ResidualSum { sum: Sum::AddFloat(sum), conv_is_b: true };
        for epilogue in [Epilogue::None, Epilogue::Sum(Box::new(sum))] {
            let attr = epilogue.to_attr().expect("an epilogue has a text");
            assert_eq!(Epilogue::from_attr(&attr), Ok(epilogue), "{attr}");
        }
    }

    #[test]
    fn what_is_no_sum_is_refused() {
        for text in [
            "",
            "int.add",
            "int.add(conv, residual) lo=0",
            "int.add_float(conv, conv) a_scale=1.0 b_scale=1.0 offset=0.0 lo=0 hi=9",
            "int.clamp(conv, residual) lo=0 hi=9",
        ] {
            let error = Epilogue::from_attr(&Attr::Str(text.into())).expect_err("no epilogue");
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn codes_have_a_type_of_8_bits() {
        assert_eq!(Epilogue::codes_type(0, 255), Some(DType::U8));
        assert_eq!(Epilogue::codes_type(-128, 0), Some(DType::I8));
        assert_eq!(Epilogue::codes_type(-1, 128), None);
    }
}
