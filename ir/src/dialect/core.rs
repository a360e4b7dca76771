//! Ops of every level: constants and function structure.

use super::*;
use crate::DataId;

dialect! { Core;
    /// Constant bytes as a tensor, or as a constant buffer at the loop level.
    ///
    /// The data has exactly the bytes of the result's type: little endian, row-major, unpacked
    /// (4-bit weights take a byte each).
    Const "core.const" () -> (value: one Any) {
        data: DataId,
    } pure;
    /// Ends a function; the operands are its results.
    Return "core.return" (values: many Any) -> () {} terminator;
}
