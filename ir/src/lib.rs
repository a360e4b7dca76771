//! The qcc IR: one program representation at four levels.
//!
//! A [`Module`] holds functions over typed SSA values. Every op belongs to a dialect, and each
//! dialect is the vocabulary of one [`Level`]:
//!
//! | level | dialect | values are |
//! | --- | --- | --- |
//! | [`Level::Nn`] | [`dialect::nn`] | float tensors, as the model had them |
//! | [`Level::Quant`] | [`dialect::quant`] | tensors of `!quant.uniform` elements: reals, stored as integers |
//! | [`Level::Int`] | [`dialect::int`] | plain integers; zero points and multipliers are explicit |
//! | [`Level::Loop`] | [`dialect::loops`] | memory buffers, scalars and 128-bit vectors |
//!
//! Invariants that hold for every verified module:
//! - regions are single blocks; control flow is a structured op (`loop.for`), there is no CFG;
//! - every value is defined before it is used, in its own or an enclosing region;
//! - use-lists are exact: only the mutators of [`Func`] touch operands;
//! - every op has a location, and fusing ops fuses their locations, so a diagnostic can always
//!   name a node of the source model;
//! - `parse(print(m)) == m` for every module.
//!
//! This crate knows nothing about file formats, passes or machine code.

pub mod attr;
pub mod builder;
pub mod dialect;
pub mod docs;
mod func;
pub mod interp;
mod loc;
mod module;
pub mod numerics;
pub mod packing;
pub mod text;
pub mod types;
pub mod verify;

pub use attr::{Attr, AttrMap, AttrValue};
pub use dialect::{OpKind, OpSpec};
pub use func::{Func, FuncKind, OpData, OpId, Region, RegionId, Value, ValueData, ValueDef};
pub use loc::{Loc, LocId, LocTable};
pub use module::{Bytes, Data, DataId, FuncId, Level, Module, Numerics};
pub use qcc_runtime::dtype::DType;
pub use types::{Affine, Elem, Layout, MemType, QuantParams, QuantType, Space, TensorType, Type};
