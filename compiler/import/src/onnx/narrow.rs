//! Values of types that are narrower than what they are stored as: integers of 2 and 4 bits in
//! bytes, floats of 4 to 16 bits in float32.
//!
//! Casts, quantization and the graph's outputs ask for the type that was meant.

use super::convert::{Bound, Converter, Slot};
use super::data::OnnxType;
use super::node::Node;
use indexmap::IndexMap;
use qcc_ir::dialect::nn;
use qcc_ir::{DType, Type, Value};

/// What is known of such values, by name.
#[derive(Default)]
pub struct Narrow {
    /// Smallest and largest code of integers that are no constants.
    pub ranges: IndexMap<String, [i32; 2]>,
    /// Types of floats.
    pub floats: IndexMap<String, OnnxType>,
    /// The codes of those of 4 and 8 bits that are no constants.
    pub codes: IndexMap<String, Value>,
}

impl Converter<'_> {
    /// An input of floats of 4 or 8 bits: given as its codes, one a byte, and looked up.
    pub(super) fn coded_input(
        &mut self,
        name: &str,
        ty: OnnxType,
        shape: &[u64],
    ) -> Result<(), String> {
        let codes = self.func.add_arg(self.func.body, Type::tensor(shape, DType::U8));
        self.func.set_name(codes, name);
        self.func.input_names.push(name.to_string());
        let v = self.decoded(name, codes, ty)?;
        self.slots.insert(name.to_string(), Slot { bound: Bound::Value(v), value: None });
        self.narrow.floats.insert(name.to_string(), ty);
        self.narrow.codes.insert(name.to_string(), codes);
        Ok(())
    }

    /// The numbers that codes of a type stand for.
    pub(super) fn decoded(
        &mut self,
        name: &str,
        codes: Value,
        ty: OnnxType,
    ) -> Result<Value, String> {
        let number = ty.number_of().ok_or("it has no codes")?;
        let all: Vec<f32> = (0..=255).map(number).collect();
        let table = self.floats(&format!("{name}.{ty}"), &all, &[256])?;
        let shape = self.shape(codes);
        self.emit_f32(nn::Gather { axis: 0 }, &[table, codes], &shape)
    }

    /// Notes that the node's output is of a type of 4 or 8 bits, and its codes.
    pub(super) fn note_codes(&mut self, node: &Node, ty: OnnxType, codes: Value) {
        if let Some(name) = node.proto.output.first() {
            self.narrow.floats.insert(name.clone(), ty);
            self.narrow.codes.insert(name.clone(), codes);
        }
    }

    /// Smallest and largest code of input `i`, if its type is narrower than its storage.
    pub(super) fn range_of(&mut self, node: &Node, i: usize) -> Result<Option<[i32; 2]>, String> {
        Ok(match self.bound(node, i)? {
            Some(Bound::Known(k)) => k.range,
            _ => node.input(i).and_then(|name| self.narrow.ranges.get(name)).copied(),
        })
    }
    /// Notes the smallest and largest code of the node's output.
    pub(super) fn note_range(&mut self, node: &Node, range: [i32; 2]) {
        if let Some(name) = node.proto.output.first() {
            self.narrow.ranges.insert(name.clone(), range);
        }
    }
    /// The type of input `i` if it is an input or constant of floats narrower than float32.
    pub(super) fn narrow_float(&self, node: &Node, i: usize) -> Option<OnnxType> {
        node.input(i).and_then(|name| self.narrow.floats.get(name)).copied()
    }
    /// Notes that an output of the node is such a constant.
    pub(super) fn note_narrow_float(&mut self, node: &Node, ty: OnnxType) {
        if let Some(name) = node.proto.output.first().filter(|_| ty.is_narrow_float()) {
            self.narrow.floats.insert(name.clone(), ty);
        }
    }
}
