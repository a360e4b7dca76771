//! One converter per operator: from a node to ops, its outputs bound to what they stand for.

mod attention;
mod control;
mod conv;
mod conv_transpose;
mod einsum;
mod elementwise;
mod grid_sample;
mod linear;
mod logic;
mod moves;
mod norm;
mod pool;
mod pool_nd;
mod qoperator;
mod quantize;
mod reduce;
mod resize;
mod scatter;
mod shape;
mod slices;
mod small_floats;

pub use shape::{cast_range, small_float};

use super::convert::Converter;
use super::node::Node;

/// Converts a node.
pub type Convert = fn(&mut Converter, &Node) -> Result<(), String>;
/// Operators and their converters.
type Table = &'static [(&'static str, Convert)];

const TABLES: [Table; 19] = [
    attention::OPS,
    control::OPS,
    conv::OPS,
    conv_transpose::OPS,
    einsum::OPS,
    elementwise::OPS,
    grid_sample::OPS,
    linear::OPS,
    logic::OPS,
    moves::OPS,
    norm::OPS,
    pool::OPS,
    qoperator::OPS,
    quantize::OPS,
    reduce::OPS,
    resize::OPS,
    scatter::OPS,
    shape::OPS,
    slices::OPS,
];

/// The converter of an operator, by its name with its domain.
pub fn find(op: &str) -> Option<Convert> {
    TABLES.iter().flat_map(|t| t.iter()).find(|(name, _)| *name == op).map(|&(_, f)| f)
}

/// Names of all operators that are converted, sorted.
pub fn supported() -> Vec<&'static str> {
    let mut names: Vec<&str> =
        TABLES.iter().flat_map(|t| t.iter()).map(|&(name, _)| name).collect();
    names.sort_unstable();
    names
}

/// Whether a node of known inputs is evaluated: not those that keep or make constants themselves.
pub fn folds(op: &str) -> bool {
    let own = ["Constant", "ConstantOfShape", "DequantizeLinear", "Identity", "QuantizeLinear"];
    !own.contains(&op) && !["If", "Shape", "Size"].contains(&op)
}
