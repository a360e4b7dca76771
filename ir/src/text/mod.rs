//! The text form: `parse(print(m)) == m` for every module, and printing is a fixpoint.
//!
//! ```text
//! !q0 = !quant.uniform<i8:f32, 0.0078125:-1>
//! !q1 = !quant.uniform<i8<-127:127>:f32:0, {0.02:0, 0.013:0}>
//!
//! module @stem level(quant) numerics(tflite) {
//!   func @main(%image: tensor<1x8x8x3x!q0>) -> tensor<1x4x4x2x!q0> inputs("image") outputs("y") {
//!     %w = const @w0 : tensor<2x3x3x3x!q1>
//!     %y = quant.conv2d(%image, %w) {stride = [2, 2], act = relu6} : tensor<1x4x4x2x!q0> loc("Conv" #3)
//!     return %y
//!   }
//! }
//!
//! data @w0 = hex"00112233"
//! ```
//!
//! ```text
//! file    = alias* module data*
//! alias   = "!"name "=" type
//! module  = "module" @name "level(" level ")" "numerics(" numerics ")" "{" func* "}"
//! func    = ("func" | "kernel") @name "(" params ")" ["->" types] ["inputs(" strings ")"]
//!           ["outputs(" strings ")"] "{" op* "}"
//! op      = [values "="] name "(" values ")" [attrs] region* [":" type, …] ["loc(" loc ")"]
//! attrs   = "{" name "=" (number | true | word | "string" | [ints] | @data) , … "}"
//! region  = "region(" params ")" "{" op* "}"
//! loc     = "string" ["#" number] | "fused" "string" "[" loc , … "]" | "unknown"
//! data    = "data" @name "=" hex"…"
//! ```
//!
//! Shorter spellings, used whenever they say everything:
//! - `%w = const @w0 : type`, `return %a, %b`, `loop.yield %a`;
//! - `%r = loop.for %k = 0 to 48 step 4 carry(%p = %init) : type { … }`;
//! - an address `%mem[%n*256 + %k + 16]` for the buffer, variables, strides and offset of
//!   `loop.load`, `loop.load_splat32`, `loop.load_low64`, `loop.store` and `loop.store_low`.
//!
//! Values are called by their name hint where it is a plain word and unique in the function, else
//! numbered in order of definition; each distinct quantized type gets an alias in order of first use.

mod lexer;
mod parser;
mod printer;

pub use parser::{Parsed, SourceMap, parse, parse_mapped};
pub use printer::{print, print_op, print_type};

use crate::Module;
use std::fmt;

/// A mistake in a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// The file's name as given to [`parse`].
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in bytes, from 1.
    pub col: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic { file, line, col, message, hint } = self;
        write!(f, "{file}:{line}:{col}: error: {message}")?;
        match hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// True when two modules are the same program: equal up to the numbering of ids and unusable name
/// hints, which is to say that they print the same text.
pub fn equal(a: &Module, b: &Module) -> bool {
    print(a) == print(b)
}
