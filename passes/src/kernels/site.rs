//! One op of a planned integer-level function, as kernels' lowerings see it.

use super::{Arg, Machine, View};
use crate::consts::const_tensor;
use qcc_ir::{Func, Module, OpId, TensorType, Value};
use qcc_runtime::Tensor;

/// An op to lower, and what is known around it.
pub struct Site<'a> {
    /// The module, for constant data and names.
    pub module: &'a Module,
    /// The function that the op is in.
    pub func: &'a Func,
    /// The op.
    pub op: OpId,
    /// What the machine can do.
    pub machine: Machine,
    /// Remarks to pass on: proofs that failed, slower forms chosen.
    pub remarks: std::cell::RefCell<Vec<String>>,
}

impl<'a> Site<'a> {
    /// A site without remarks.
    pub fn new(module: &'a Module, func: &'a Func, op: OpId, machine: Machine) -> Site<'a> {
        Site { module, func, op, machine, remarks: Default::default() }
    }
    /// Operand `i`.
    pub fn operand(&self, i: usize) -> Value {
        self.func.operands(self.op)[i]
    }
    /// Number of operands.
    pub fn n_operands(&self) -> usize {
        self.func.operands(self.op).len()
    }
    /// Result 0.
    pub fn result(&self) -> Value {
        self.func.result(self.op)
    }
    /// A tensor's type.
    pub fn tensor_type(&self, v: Value) -> &TensorType {
        self.func.ty(v).as_tensor().expect("verified: values at the int level are tensors")
    }
    /// How kernels see a tensor.
    pub fn view(&self, v: Value) -> View {
        View::of(self.tensor_type(v))
    }
    /// A tensor as a kernel argument, from its first element.
    pub fn arg(&self, v: Value) -> Arg {
        Arg::Value { value: v, offset: 0 }
    }
    /// The elements of a constant operand; `None` if it is computed.
    pub fn constant(&self, v: Value) -> Option<Tensor> {
        const_tensor(self.module, self.func, v)
    }
    /// The elements of an operand that must be constant.
    ///
    /// # Errors
    /// Says which operand is not.
    pub fn require_constant(&self, i: usize, what: &str) -> Result<Tensor, String> {
        let found = self.operand(i);
        self.constant(found).ok_or_else(|| format!("{what} must be constant"))
    }
    /// Leaves a remark about this op.
    pub fn remark(&self, message: impl Into<String>) {
        self.remarks.borrow_mut().push(message.into());
    }
}
