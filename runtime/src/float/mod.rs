//! The transcendental functions of float ops, the same bits on every CPU.
//!
//! Each function is written once over [`Arith`]: a float type that adds, subtracts, multiplies,
//! divides, takes square roots (all rounded once, to nearest even), compares, selects and shows its
//! bits. [`F32`] and [`F64`] compute with numbers; the compiler's kernel builder implements the same
//! trait by emitting one op per call, for any number of lanes. So a function and its kernel are the
//! same sequence of operations, and no libm and no fused multiply-add is in it.
//!
//! Errors, in units in the last place of the f32 result, over all floats (`tests` measures them
//! densely): [`log`] 1.0, [`exp`], [`tanh`], [`erf`] 1.5, [`expm1`], [`softplus`] 2.0,
//! [`sigmoid`] 2.5, [`sin`], [`cos`] (|x| < 2^28), [`pow`] 0.6; subnormal results included.
//! NaN gives NaN, of any sign and payload: those differ between CPUs.
//!
//! | file | what |
//! | --- | --- |
//! | `arith` | the trait, and the two scalar implementations |
//! | `exp` | exp, expm1, sigmoid, tanh |
//! | `log` | log, log1p of a number in [0, 1], softplus |
//! | `erf` | erf |
//! | `wide` | sin, cos, pow: computed in f64, for one number at a time |
//! | `round` | floor, ceil, round to even, sign |

mod arith;
mod erf;
mod exp;
mod log;
mod round;
#[cfg(test)]
mod tests;
mod wide;

pub use arith::{Arith, F32, F64, Floats};
pub use erf::erf;
pub use exp::{exp, expm1, sigmoid, tanh};
pub use log::{log, softplus};
pub use round::{ceil, floor, round_even, sign};
pub use wide::{cos, pow, sin};
