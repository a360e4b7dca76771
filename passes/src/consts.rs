//! Reading and making constant tensors. Malformed constants (data of the wrong length) read as
//! "not constant", so passes skip them and `verify` reports them.

use qcc_ir::dialect::core;
use qcc_ir::{Bytes, DType, DataId, Func, FuncId, Module, OpId, OpKind, Type, Value};
use qcc_runtime::Tensor;

/// The data behind `v`, if a constant op defines it.
pub fn const_id(f: &Func, v: Value) -> Option<DataId> {
    match f.kind(f.def_op(v)?) {
        OpKind::Core(core::Op::Const(c)) => Some(c.data),
        _ => None,
    }
}

/// Does a constant op define `v`?
pub fn is_const(f: &Func, v: Value) -> bool {
    const_id(f, v).is_some()
}

/// A constant as it stands in the module: its bytes are not copied.
#[derive(Clone, Debug)]
pub struct Const {
    /// Of each element.
    pub dtype: DType,
    /// Extents.
    pub shape: Vec<usize>,
    /// As many as the elements take.
    pub bytes: Bytes,
}

impl Const {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }
    /// Are there no elements?
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
    /// A copy of it, to compute with.
    pub fn to_tensor(&self) -> Tensor {
        Tensor::from_bytes(self.dtype, self.shape.clone(), &self.bytes)
            .expect("`shared_const` has checked the length")
    }
}

/// The constant `v`, its bytes shared with the module.
pub fn shared_const(m: &Module, f: &Func, v: Value) -> Option<Const> {
    let data = m.data.get(const_id(f, v)?)?;
    let ty = f.ty(v).as_tensor()?;
    let shape: Vec<usize> = ty.shape.iter().map(|&d| d as usize).collect();
    let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    let fits = elements.checked_mul(ty.storage().size()) == Some(data.bytes.len());
    fits.then(|| Const { dtype: ty.storage(), shape, bytes: data.bytes.clone() })
}

/// The constant tensor `v`.
pub fn const_tensor(m: &Module, f: &Func, v: Value) -> Option<Tensor> {
    let data = m.data.get(const_id(f, v)?)?;
    let ty = f.ty(v).as_tensor()?;
    let shape: Vec<usize> = ty.shape.iter().map(|&d| d as usize).collect();
    Tensor::from_bytes(ty.storage(), shape, &data.bytes).ok()
}

/// An integer tensor of the given elements; they must fit, and their number must match.
pub fn int_tensor(dtype: DType, shape: &[usize], values: impl IntoIterator<Item = i64>) -> Tensor {
    let mut t = Tensor::zeros(dtype, shape);
    for (i, v) in values.into_iter().enumerate() {
        t.set_i64(i, v);
    }
    t
}

/// Places a constant right before `before`. Its data is named after the constant `like` with
/// `suffix`.
pub fn insert_const(
    m: &mut Module,
    func: FuncId,
    before: OpId,
    (like, suffix): (Value, &str),
    tensor: &Tensor,
) -> Value {
    let base = const_id(&m.funcs[func], like).and_then(|id| m.data.get(id));
    let name = base.map_or("c".to_string(), |d| d.name.clone()) + suffix;
    let data = m.add_data(&name, tensor.bytes());
    let shape: Vec<u64> = tensor.shape().iter().map(|&d| d as u64).collect();
    let f = &mut m.funcs[func];
    let loc = f.op(before).loc;
    let ty = Type::tensor(&shape, tensor.dtype());
    let op = f.create_op(core::Const { data }, &[], &[ty], &[], loc);
    f.insert_before(before, op);
    f.result(op)
}
