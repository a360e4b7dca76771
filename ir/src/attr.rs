//! Attributes: the compile-time parameters of an op, and their mapping to typed fields.

use crate::{DType, DataId};
use std::fmt;

/// A generic attribute, as printed and parsed.
#[derive(Clone, PartialEq, Debug)]
pub enum Attr {
    /// `3`
    Int(i64),
    /// `0.5`
    Float(f64),
    /// `true`
    Bool(bool),
    /// `[1, 2]`
    Ints(Vec<i64>),
    /// `"text"`
    Str(String),
    /// A bare word: the name of an enum's case.
    Word(String),
    /// `@w0`
    Data(DataId),
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attr::Int(v) => write!(f, "{v}"),
            Attr::Float(v) => write!(f, "{v:?}"),
            Attr::Bool(v) => write!(f, "{v}"),
            Attr::Ints(v) => write!(f, "{v:?}"),
            Attr::Str(v) => write!(f, "{v:?}"),
            Attr::Word(v) => write!(f, "{v}"),
            Attr::Data(v) => write!(f, "{v}"),
        }
    }
}

/// Attributes by name, in table order.
pub type AttrMap = Vec<(&'static str, Attr)>;

/// A Rust type that an attribute field can have.
pub trait AttrValue: Sized {
    /// The type's name in docs/ops.md.
    const TYPE: &'static str;
    /// The generic form; `None` leaves the attribute out of the text.
    fn to_attr(&self) -> Option<Attr>;
    /// The field's value, or what was expected.
    fn from_attr(attr: &Attr) -> Result<Self, String>;
}

fn expected<T: AttrValue>(attr: &Attr) -> String {
    format!("expected {}, found {attr}", T::TYPE)
}

macro_rules! int_attr {
    ($($t:ty),*) => {$(
        impl AttrValue for $t {
            const TYPE: &'static str = stringify!($t);
            fn to_attr(&self) -> Option<Attr> { Some(Attr::Int(*self as i64)) }
            fn from_attr(attr: &Attr) -> Result<Self, String> {
                match attr {
                    Attr::Int(v) => <$t>::try_from(*v).map_err(|_| expected::<Self>(attr)),
                    _ => Err(expected::<Self>(attr)),
                }
            }
        }
        impl<const N: usize> AttrValue for [$t; N] {
            const TYPE: &'static str = concat!("[", stringify!($t), "; N]");
            fn to_attr(&self) -> Option<Attr> {
                Some(Attr::Ints(self.iter().map(|&v| v as i64).collect()))
            }
            fn from_attr(attr: &Attr) -> Result<Self, String> {
                let all = <Vec<$t>>::from_attr(attr)?;
                all.try_into().map_err(|_| format!("expected {N} integers, found {attr}"))
            }
        }
        impl AttrValue for Vec<$t> {
            const TYPE: &'static str = concat!("[", stringify!($t), "]");
            fn to_attr(&self) -> Option<Attr> {
                Some(Attr::Ints(self.iter().map(|&v| v as i64).collect()))
            }
            fn from_attr(attr: &Attr) -> Result<Self, String> {
                let Attr::Ints(all) = attr else { return Err(expected::<Self>(attr)) };
                let one = |&v: &i64| <$t>::try_from(v).map_err(|_| expected::<Self>(attr));
                all.iter().map(one).collect()
            }
        }
    )*};
}
int_attr!(i32, i64, u32, u64);

impl AttrValue for bool {
    const TYPE: &'static str = "bool";
    fn to_attr(&self) -> Option<Attr> {
        Some(Attr::Bool(*self))
    }
    fn from_attr(attr: &Attr) -> Result<Self, String> {
        match attr {
            Attr::Bool(b) => Ok(*b),
            _ => Err(expected::<Self>(attr)),
        }
    }
}

impl AttrValue for f64 {
    const TYPE: &'static str = "f64";
    fn to_attr(&self) -> Option<Attr> {
        Some(Attr::Float(*self))
    }
    fn from_attr(attr: &Attr) -> Result<Self, String> {
        match attr {
            Attr::Float(v) => Ok(*v),
            Attr::Int(v) => Ok(*v as f64),
            _ => Err(expected::<Self>(attr)),
        }
    }
}

impl AttrValue for f32 {
    const TYPE: &'static str = "f32";
    fn to_attr(&self) -> Option<Attr> {
        Some(Attr::Float(*self as f64))
    }
    fn from_attr(attr: &Attr) -> Result<Self, String> {
        f64::from_attr(attr).map(|v| v as f32)
    }
}

impl AttrValue for String {
    const TYPE: &'static str = "string";
    fn to_attr(&self) -> Option<Attr> {
        Some(Attr::Str(self.clone()))
    }
    fn from_attr(attr: &Attr) -> Result<Self, String> {
        match attr {
            Attr::Str(s) => Ok(s.clone()),
            _ => Err(expected::<Self>(attr)),
        }
    }
}

impl AttrValue for DataId {
    const TYPE: &'static str = "@data";
    fn to_attr(&self) -> Option<Attr> {
        Some(Attr::Data(*self))
    }
    fn from_attr(attr: &Attr) -> Result<Self, String> {
        match attr {
            Attr::Data(d) => Ok(*d),
            _ => Err(expected::<Self>(attr)),
        }
    }
}

impl AttrValue for DType {
    const TYPE: &'static str = "dtype";
    fn to_attr(&self) -> Option<Attr> {
        Some(Attr::Word(self.to_string()))
    }
    fn from_attr(attr: &Attr) -> Result<Self, String> {
        match attr {
            Attr::Word(w) => w.parse().map_err(|_| expected::<Self>(attr)),
            _ => Err(expected::<Self>(attr)),
        }
    }
}

/// Declares an enum whose cases are bare words in the text form.
#[macro_export]
macro_rules! attr_enum {
    ($(#[$doc:meta])* pub enum $name:ident {
        $($(#[$cdoc:meta])* $case:ident = $word:literal),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $($(#[$cdoc])* $case),+ }
        impl $name {
            /// The case's word in the text form.
            pub fn word(self) -> &'static str {
                match self { $($name::$case => $word),+ }
            }
        }
        impl $crate::AttrValue for $name {
            const TYPE: &'static str = concat!($($word, " "),+);
            fn to_attr(&self) -> Option<$crate::Attr> {
                Some($crate::Attr::Word(self.word().to_string()))
            }
            fn from_attr(attr: &$crate::Attr) -> Result<Self, String> {
                match attr {
                    $($crate::Attr::Word(w) if w == $word => Ok($name::$case),)+
                    _ => Err(format!("expected one of: {}, found {attr}", Self::TYPE.trim_end())),
                }
            }
        }
    };
}
