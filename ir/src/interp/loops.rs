//! Kernels over byte buffers.
use super::InterpError;
use crate::Module;
/// todo
pub fn run_loop_main(_m: &Module, _inputs: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, InterpError> {
    Err(InterpError::NoMain)
}
