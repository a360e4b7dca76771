//! A module: functions, constant data and locations, at one level.

use crate::{Func, LocTable};
use cranelift_entity::{PrimaryMap, entity_impl};
use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// A function of a module.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FuncId(u32);
entity_impl!(FuncId, "func");

/// A block of constant bytes of a module.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DataId(u32);
entity_impl!(DataId, "data");

/// Which vocabulary a module is written in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// Float ops and fake-quantization, as the model had them.
    Nn,
    /// Ops on quantized tensors.
    Quant,
    /// Ops on plain integers with explicit parameters.
    Int,
    /// Loops over memory and vectors.
    Loop,
}

impl Level {
    /// All levels, top to bottom.
    pub const ALL: [Level; 4] = [Level::Nn, Level::Quant, Level::Int, Level::Loop];
    /// The level's name in text.
    pub fn name(self) -> &'static str {
        match self {
            Level::Nn => "nn",
            Level::Quant => "quant",
            Level::Int => "int",
            Level::Loop => "loop",
        }
    }
    /// The level called `name`.
    pub fn from_name(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|l| l.name() == name)
    }
}

/// Whose arithmetic the quantized ops have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Numerics {
    /// TensorFlow Lite's reference kernels (double rounding; FULLY_CONNECTED in float64).
    TfLite,
    /// ONNX Runtime's CPU kernels (float32, nearest even).
    Onnx,
    /// Real arithmetic, rounded once.
    Real,
}

impl Numerics {
    /// The name in text.
    pub fn name(self) -> &'static str {
        match self {
            Numerics::TfLite => "tflite",
            Numerics::Onnx => "onnx",
            Numerics::Real => "real",
        }
    }
    /// The numerics called `name`.
    pub fn from_name(name: &str) -> Option<Numerics> {
        [Numerics::TfLite, Numerics::Onnx, Numerics::Real].into_iter().find(|n| n.name() == name)
    }
}

/// Constant bytes (little endian, row-major) under a name unique in the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Data {
    /// Name, without the `@`.
    pub name: String,
    /// The bytes.
    pub bytes: Bytes,
}

/// Bytes that never change, shared by their clones. A vector becomes one without being copied.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Bytes(Arc<Vec<u8>>);

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(mut bytes: Vec<u8>) -> Bytes {
        bytes.shrink_to_fit();
        Bytes(Arc::new(bytes))
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Bytes {
        bytes.to_vec().into()
    }
}

impl<const N: usize> From<[u8; N]> for Bytes {
    fn from(bytes: [u8; N]) -> Bytes {
        bytes.to_vec().into()
    }
}

impl From<Cow<'_, [u8]>> for Bytes {
    fn from(bytes: Cow<[u8]>) -> Bytes {
        bytes.into_owned().into()
    }
}

impl Hash for Bytes {
    /// Weights are megabytes: eight bytes at a time, not what the hasher would do.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (words, rest) = self.as_chunks::<8>();
        let mix = |h: u64, word: u64| (h.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95);
        let all = words.iter().fold(0, |h, &word| mix(h, u64::from_le_bytes(word)));
        state.write_u64(rest.iter().fold(all, |h, &byte| mix(h, byte.into())));
        state.write_usize(self.len());
    }
}

/// A whole program.
#[derive(Clone, Debug)]
pub struct Module {
    /// The program's name (a C identifier: it becomes the symbol prefix).
    pub name: String,
    /// The vocabulary in use.
    pub level: Level,
    /// Whose bits the outputs must have.
    pub numerics: Numerics,
    /// Functions; the one named `main` is the entry.
    pub funcs: PrimaryMap<FuncId, Func>,
    /// Constant data.
    pub data: PrimaryMap<DataId, Data>,
    /// Origins of ops.
    pub locs: LocTable,
}

impl Module {
    /// An empty module.
    pub fn new(name: &str, level: Level, numerics: Numerics) -> Self {
        Module {
            name: name.to_string(),
            level,
            numerics,
            funcs: PrimaryMap::new(),
            data: PrimaryMap::new(),
            locs: LocTable::default(),
        }
    }
    /// The entry function.
    pub fn main(&self) -> Option<FuncId> {
        self.func_named("main")
    }
    /// The function called `name`.
    pub fn func_named(&self, name: &str) -> Option<FuncId> {
        self.funcs.iter().find(|(_, f)| f.name == name).map(|(id, _)| id)
    }
    /// The data block called `name`.
    pub fn data_named(&self, name: &str) -> Option<DataId> {
        self.data.iter().find(|(_, d)| d.name == name).map(|(id, _)| id)
    }
    /// Adds constant bytes; a name already taken gets a numeric suffix.
    pub fn add_data(&mut self, name: &str, bytes: impl Into<Bytes>) -> DataId {
        let mut unique = sanitize(name);
        let base = unique.clone();
        let mut n = 1;
        while self.data_named(&unique).is_some() {
            unique = format!("{base}_{n}");
            n += 1;
        }
        self.data.push(Data { name: unique, bytes: bytes.into() })
    }
}

/// A name made of letters, digits, `_`, `.` and `$`, not starting with a digit.
fn sanitize(name: &str) -> String {
    let mut out: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "_.$".contains(c) { c } else { '_' })
        .collect();
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}
