//! A module: functions, constant data and locations, at one level.

use crate::{Func, LocTable};
use cranelift_entity::{PrimaryMap, entity_impl};
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
    pub bytes: Arc<[u8]>,
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
    pub fn add_data(&mut self, name: &str, bytes: impl Into<Arc<[u8]>>) -> DataId {
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
