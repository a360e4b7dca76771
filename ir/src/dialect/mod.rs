//! The op tables: one declarative table per dialect, from which the op enum, the attribute
//! structs, operand accessors, parser, printer and the documentation all come.

use crate::{Attr, AttrMap, Level};

pub mod core;
pub mod epilogue;
pub mod int;
pub mod kernel_choice;
pub mod loops;
pub mod nn;
pub mod quant;

/// What an operand or result may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Is {
    /// Any tensor.
    Tensor,
    /// A float tensor.
    FloatTensor,
    /// A tensor of quantized elements.
    QuantTensor,
    /// A tensor of plain integers.
    IntTensor,
    /// A byte buffer.
    Mem,
    /// A loop variable.
    Index,
    /// A number.
    Scalar,
    /// A vector of numbers.
    Vector,
    /// A number or a vector of numbers.
    Lanes,
    /// A matrix in a tile register.
    Tile,
    /// What a loop carries: a number, a vector or a tile.
    Carried,
    /// Anything.
    Any,
}

impl Is {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Is::Tensor => "a tensor",
            Is::FloatTensor => "a float tensor",
            Is::QuantTensor => "a quantized tensor",
            Is::IntTensor => "an integer tensor",
            Is::Mem => "a buffer",
            Is::Index => "a loop variable",
            Is::Scalar => "a number",
            Is::Vector => "a vector",
            Is::Lanes => "a number or vector",
            Is::Tile => "a tile",
            Is::Carried => "a number, vector or tile",
            Is::Any => "anything",
        }
    }
}

/// How many values an operand or result stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arity {
    /// Exactly one.
    One,
    /// One or none; only behind all `One`s.
    Opt,
    /// Any number; only in last place.
    Many,
}

/// One operand or result in the table.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Name.
    pub name: &'static str,
    /// How many values.
    pub arity: Arity,
    /// What they may be.
    pub is: Is,
}

/// True when `n` values fill `slots`.
pub fn accepts(slots: &[Slot], n: usize) -> bool {
    let least = slots.iter().filter(|s| s.arity == Arity::One).count();
    let many = slots.iter().any(|s| s.arity == Arity::Many);
    n >= least && (many || n <= slots.len())
}

/// One attribute in the table.
#[derive(Clone, Copy, Debug)]
pub struct AttrSpec {
    /// Name.
    pub name: &'static str,
    /// Name of its type.
    pub ty: &'static str,
    /// The value when the text leaves it out, if it may.
    pub default: Option<&'static str>,
}

/// A row of an op table.
#[derive(Clone, Copy, Debug)]
pub struct OpSpec {
    /// `dialect.mnemonic`.
    pub name: &'static str,
    /// Documentation: formula, shapes, errors, source.
    pub doc: &'static str,
    /// Operands in order.
    pub operands: &'static [Slot],
    /// Results in order.
    pub results: &'static [Slot],
    /// Attributes in order.
    pub attrs: &'static [AttrSpec],
    /// Ends its region.
    pub terminator: bool,
    /// Has no effect but its results.
    pub pure: bool,
    /// Output elements carry the input's quantization unchanged.
    pub same_scale: bool,
}

/// The operation of an op, by dialect.
#[derive(Clone, PartialEq, Debug)]
pub enum OpKind {
    /// Constants and function structure; allowed at every level.
    Core(core::Op),
    /// Float ops.
    Nn(nn::Op),
    /// Ops on quantized tensors.
    Quant(quant::Op),
    /// Ops on integers.
    Int(int::Op),
    /// Loops, memory and vectors.
    Loop(loops::Op),
}

impl OpKind {
    /// The op's row in its table.
    pub fn spec(&self) -> &'static OpSpec {
        match self {
            OpKind::Core(op) => op.spec(),
            OpKind::Nn(op) => op.spec(),
            OpKind::Quant(op) => op.spec(),
            OpKind::Int(op) => op.spec(),
            OpKind::Loop(op) => op.spec(),
        }
    }
    /// `dialect.mnemonic`.
    pub fn name(&self) -> &'static str {
        self.spec().name
    }
    /// The levels at which the op may stand: quantized ops already in float graphs, float ops (and
    /// ops that move elements) until kernels are made.
    pub fn levels(&self) -> &'static [Level] {
        match self {
            OpKind::Core(_) => &Level::ALL,
            OpKind::Nn(_) => &[Level::Nn, Level::Quant, Level::Int],
            OpKind::Quant(_) => &[Level::Nn, Level::Quant],
            OpKind::Int(_) => &[Level::Int],
            OpKind::Loop(_) => &[Level::Loop],
        }
    }
    /// The attributes that differ from their defaults, in table order.
    pub fn attrs(&self) -> AttrMap {
        match self {
            OpKind::Core(op) => op.attrs(),
            OpKind::Nn(op) => op.attrs(),
            OpKind::Quant(op) => op.attrs(),
            OpKind::Int(op) => op.attrs(),
            OpKind::Loop(op) => op.attrs(),
        }
    }
    /// The op called `name` with the given attributes.
    ///
    /// # Errors
    /// Unknown op, unknown or missing attribute, or an attribute of the wrong type.
    pub fn from_attrs(name: &str, attrs: Vec<(String, Attr)>) -> Result<OpKind, String> {
        let dialect = name.split('.').next().unwrap_or("");
        match dialect {
            "core" => core::Op::from_attrs(name, attrs).map(OpKind::Core),
            "nn" => nn::Op::from_attrs(name, attrs).map(OpKind::Nn),
            "quant" => quant::Op::from_attrs(name, attrs).map(OpKind::Quant),
            "int" => int::Op::from_attrs(name, attrs).map(OpKind::Int),
            "loop" => loops::Op::from_attrs(name, attrs).map(OpKind::Loop),
            _ => Err(format!("unknown op '{name}'")),
        }
    }
    /// All rows of all tables.
    pub fn all_specs() -> impl Iterator<Item = &'static OpSpec> {
        let tables = [core::SPECS, nn::SPECS, quant::SPECS, int::SPECS, loops::SPECS];
        tables.into_iter().flatten()
    }
}

/// Takes attribute `name` out of `attrs`.
pub(crate) fn take_attr(attrs: &mut Vec<(String, Attr)>, name: &str) -> Option<Attr> {
    let at = attrs.iter().position(|(n, _)| n == name)?;
    Some(attrs.remove(at).1)
}

/// Fails if attributes are left that the op does not have.
pub(crate) fn no_more_attrs(op: &str, attrs: &[(String, Attr)]) -> Result<(), String> {
    match attrs.first() {
        Some((name, _)) => Err(format!("'{op}' has no attribute '{name}'")),
        None => Ok(()),
    }
}

/// Position of `name` among the slots.
pub(crate) const fn slot_index(slots: &[Slot], name: &str) -> usize {
    let mut i = 0;
    while i < slots.len() {
        if const_str_eq(slots[i].name, name) {
            return i;
        }
        i += 1;
    }
    panic!("no such operand");
}

const fn const_str_eq(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

macro_rules! arity {
    (one) => {
        $crate::dialect::Arity::One
    };
    (opt) => {
        $crate::dialect::Arity::Opt
    };
    (many) => {
        $crate::dialect::Arity::Many
    };
}
macro_rules! arity_type {
    (one) => { $crate::Value };
    (opt) => { Option<$crate::Value> };
    (many) => { &[$crate::Value] };
}
macro_rules! arity_get {
    (one, $ops:ident, $i:expr) => {
        $ops[$i]
    };
    (opt, $ops:ident, $i:expr) => {
        $ops.get($i).copied()
    };
    (many, $ops:ident, $i:expr) => {
        &$ops[$i.min($ops.len())..]
    };
}
macro_rules! stored {
    ($t:ty) => { $t };
    ($t:ty, $place:ident) => { $place<$t> };
}
macro_rules! default_text {
    () => {
        None
    };
    ($d:expr) => {
        Some(stringify!($d))
    };
}
macro_rules! default_or_missing {
    ($op:expr, $attr:expr) => {
        return Err(format!("'{}' needs attribute '{}'", $op, $attr))
    };
    ($op:expr, $attr:expr, $d:expr) => {
        $d
    };
}
macro_rules! print_unless_default {
    ($out:ident, $name:expr, $v:expr) => {
        if let Some(a) = $crate::AttrValue::to_attr($v) {
            $out.push(($name, a));
        }
    };
    ($out:ident, $name:expr, $v:expr, $d:expr) => {
        if *$v != $d {
            print_unless_default!($out, $name, $v)
        }
    };
}

/// Declares a dialect's table. Each row:
/// `/// doc` `Variant in Box "dialect.mnemonic" (operand: arity Is, …) -> (result: arity Is, …)
/// { attr: Type = default, … } flags…;`
/// `in Box` is for attributes of more than 40 bytes: kernels have tens of thousands of small ops.
macro_rules! dialect {
    ($dialect:ident; $(
        $(#[doc = $doc:literal])+
        $variant:ident $(in $place:ident)? $name:literal
        ( $($o:ident : $oa:ident $ois:ident),* ) -> ( $($r:ident : $ra:ident $ris:ident),* )
        { $($(#[doc = $adoc:literal])* $attr:ident : $aty:ty $(= $adef:expr)?),* $(,)? }
        $($flag:ident)*;
    )+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, PartialEq, Debug)]
            pub struct $variant {
                $(
                    #[doc = concat!("Attribute `", stringify!($attr), "`.")]
                    $(#[doc = $adoc])*
                    pub $attr: $aty,
                )*
            }
            #[allow(missing_docs, clippy::len_without_is_empty)]
            impl $variant {
                /// The row's operands.
                pub const OPERANDS: &'static [$crate::dialect::Slot] = &[$(
                    $crate::dialect::Slot {
                        name: stringify!($o), arity: arity!($oa), is: $crate::dialect::Is::$ois,
                    }
                ),*];
                $(
                    #[doc = concat!("Operand `", stringify!($o), "` out of an op's operands.")]
                    pub fn $o(operands: &[$crate::Value]) -> arity_type!($oa) {
                        const I: usize =
                            $crate::dialect::slot_index($variant::OPERANDS, stringify!($o));
                        arity_get!($oa, operands, I)
                    }
                )*
            }
            impl From<$variant> for $crate::OpKind {
                fn from(op: $variant) -> Self {
                    $crate::OpKind::$dialect(Op::$variant(op.into()))
                }
            }
        )+

        /// The ops of this dialect.
        #[derive(Clone, PartialEq, Debug)]
        pub enum Op { $(
            #[doc = concat!("`", $name, "`")]
            $variant(stored!($variant $(, $place)?))
        ),+ }

        /// This dialect's table.
        pub static SPECS: &[$crate::dialect::OpSpec] = &[$(
            $crate::dialect::OpSpec {
                name: $name,
                doc: concat!($($doc, "\n"),+),
                operands: $variant::OPERANDS,
                results: &[$(
                    $crate::dialect::Slot {
                        name: stringify!($r), arity: arity!($ra), is: $crate::dialect::Is::$ris,
                    }
                ),*],
                attrs: &[$(
                    $crate::dialect::AttrSpec {
                        name: stringify!($attr),
                        ty: <$aty as $crate::AttrValue>::TYPE,
                        default: default_text!($($adef)?),
                    }
                ),*],
                $($flag: true,)*
                ..$crate::dialect::NO_FLAGS
            }
        ),+];

        impl Op {
            /// The op's row in [`SPECS`].
            pub fn spec(&self) -> &'static $crate::dialect::OpSpec {
                #[allow(clippy::enum_variant_names, non_camel_case_types)]
                enum Row { $($variant),+ }
                &SPECS[match self { $(Op::$variant(_) => Row::$variant as usize),+ }]
            }
            /// The attributes that differ from their defaults.
            pub fn attrs(&self) -> $crate::AttrMap {
                #[allow(unused_mut)]
                let mut out: $crate::AttrMap = Vec::new();
                match self { $(
                    #[allow(unused_variables)]
                    Op::$variant(op) => {
                        $(print_unless_default!(out, stringify!($attr), &op.$attr $(, $adef)?);)*
                    }
                )+ }
                out
            }
            /// The op called `name` with `attrs`.
            ///
            /// # Errors
            /// Unknown op; unknown, missing or mistyped attribute.
            #[allow(unused_mut)]
            pub fn from_attrs(
                name: &str,
                mut attrs: Vec<(String, $crate::Attr)>,
            ) -> Result<Op, String> {
                match name {
                    $($name => {
                        let op = $variant { $(
                            $attr: match $crate::dialect::take_attr(&mut attrs, stringify!($attr)) {
                                Some(a) => <$aty as $crate::AttrValue>::from_attr(&a)
                                    .map_err(|e| format!("attribute '{}': {e}", stringify!($attr)))?,
                                None => default_or_missing!($name, stringify!($attr) $(, $adef)?),
                            },
                        )* };
                        $crate::dialect::no_more_attrs(name, &attrs)?;
                        Ok(Op::$variant(op.into()))
                    })+
                    _ => Err(format!("unknown op '{name}'")),
                }
            }
        }
    };
}
pub(crate) use {
    arity, arity_get, arity_type, default_or_missing, default_text, dialect, print_unless_default,
    stored,
};

/// A row with no flags, to fill up from.
pub(crate) const NO_FLAGS: OpSpec = OpSpec {
    name: "",
    doc: "",
    operands: &[],
    results: &[],
    attrs: &[],
    terminator: false,
    pure: false,
    same_scale: false,
};
