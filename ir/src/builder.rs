//! Building functions in Rust: importers, passes and kernel generators write ops through here.
//!
//! A [`Builder`] stands at one place of one function and adds ops there, with the location in
//! `loc`. It checks the number of operands and results against the op table and nothing more:
//! [`crate::verify`] checks the rest.
//!
//! ```
//! use qcc_ir::builder::{Addr, Builder};
//! use qcc_ir::{DType, FuncKind, Level, Module, Numerics, Type};
//!
//! let mut m = Module::new("sum", Level::Loop, Numerics::TfLite);
//! let mems = [Type::const_mem(64, 0), Type::mem(4, 0)];
//! let mut b = Builder::add_func(&mut m, "k", FuncKind::Kernel, &mems);
//! let (x, y) = (b.param(0), b.param(1));
//! let zero = b.iconst(0, Type::Scalar(DType::I32));
//! let sum = b.for_loop(0, 16, 1, &[zero], |b, i, carried| {
//!     let v = b.load(Addr::new(x, 0).plus(i, 4), Type::Scalar(DType::I32));
//!     vec![b.binary(qcc_ir::dialect::loops::Add {}, carried[0], v)]
//! });
//! b.store(sum[0], Addr::new(y, 0));
//! b.ret(&[]);
//! assert!(qcc_ir::text::print(&m).contains("loop.load %0[%4*4] : i32"));
//! assert!(qcc_ir::verify::verify(&m).is_ok());
//! ```

use crate::dialect::{accepts, core, loops};
use crate::{Func, FuncId, FuncKind, LocId, Module, OpId, OpKind, RegionId, Type, Value};
use qcc_runtime::Tensor;
use smallvec::{SmallVec, smallvec};

/// Adds ops at one place of a function.
pub struct Builder<'m> {
    /// The module.
    pub module: &'m mut Module,
    /// The function being written.
    pub func: FuncId,
    /// The region being written.
    pub region: RegionId,
    /// Ops go in front of this one, else to the region's end.
    pub before: Option<OpId>,
    /// The location of new ops.
    pub loc: LocId,
}

/// An address: `mem + offset + Σ var·stride` bytes.
#[derive(Clone, Debug)]
pub struct Addr {
    /// The buffer.
    pub mem: Value,
    /// Constant bytes.
    pub offset: i64,
    /// Loop variables, each with bytes per unit.
    pub terms: SmallVec<[(Value, i64); 4]>,
}

impl Addr {
    /// `mem + offset`.
    pub fn new(mem: Value, offset: i64) -> Self {
        Addr { mem, offset, terms: smallvec![] }
    }
    /// This address plus `var·stride` bytes.
    #[must_use]
    pub fn plus(mut self, var: Value, stride: i64) -> Self {
        self.terms.push((var, stride));
        self
    }
    /// This address plus `bytes`.
    #[must_use]
    pub fn at(mut self, bytes: i64) -> Self {
        self.offset += bytes;
        self
    }
    fn strides(&self) -> Vec<i64> {
        self.terms.iter().map(|t| t.1).collect()
    }
    fn operands(&self, stored: Option<Value>) -> SmallVec<[Value; 6]> {
        let vars = self.terms.iter().map(|t| t.0);
        stored.into_iter().chain([self.mem]).chain(vars).collect()
    }
}

impl<'m> Builder<'m> {
    /// At the end of an existing function.
    pub fn new(module: &'m mut Module, func: FuncId) -> Self {
        let region = module.funcs[func].body;
        Builder { module, func, region, before: None, loc: LocId(0) }
    }
    /// In a new function.
    pub fn add_func(module: &'m mut Module, name: &str, kind: FuncKind, params: &[Type]) -> Self {
        let func = module.funcs.push(Func::new(name, kind, params));
        Self::new(module, func)
    }
    /// In front of an op, with its location.
    ///
    /// # Panics
    /// If `op` was erased.
    pub fn before(module: &'m mut Module, func: FuncId, op: OpId) -> Self {
        let data = module.funcs[func].op(op);
        let (loc, region) = (data.loc, data.parent().expect("`op` is placed in a region"));
        Builder { module, func, region, before: Some(op), loc }
    }

    /// The function.
    pub fn f(&self) -> &Func {
        &self.module.funcs[self.func]
    }
    /// The function, for its mutators.
    pub fn f_mut(&mut self) -> &mut Func {
        &mut self.module.funcs[self.func]
    }
    /// The function's k-th parameter.
    pub fn param(&self, k: usize) -> Value {
        self.f().params()[k]
    }
    /// A value's type.
    pub fn ty(&self, v: Value) -> &Type {
        self.f().ty(v)
    }

    /// Adds an op.
    ///
    /// # Panics
    /// If the table gives the op another number of operands or results.
    #[track_caller]
    pub fn op(&mut self, kind: impl Into<OpKind>, operands: &[Value], types: &[Type]) -> OpId {
        self.op_with_regions(kind.into(), operands, types, &[])
    }

    /// Adds an op that has exactly one result.
    ///
    /// # Panics
    /// As [`Builder::op`].
    #[track_caller]
    pub fn op1(&mut self, kind: impl Into<OpKind>, operands: &[Value], ty: Type) -> Value {
        let op = self.op(kind, operands, &[ty]);
        self.f().result(op)
    }

    #[track_caller]
    fn op_with_regions(
        &mut self,
        kind: OpKind,
        operands: &[Value],
        types: &[Type],
        regions: &[RegionId],
    ) -> OpId {
        let spec = kind.spec();
        let (n, k) = (operands.len(), types.len());
        assert!(accepts(spec.operands, n), "'{}' cannot have {n} operands", spec.name);
        assert!(accepts(spec.results, k), "'{}' cannot have {k} results", spec.name);
        let (loc, region, before) = (self.loc, self.region, self.before);
        let f = self.f_mut();
        let op = f.create_op(kind, operands, types, regions, loc);
        match before {
            Some(before) => f.insert_before(before, op),
            None => f.append(region, op),
        }
        op
    }

    /// A constant of the given bytes (little endian, row-major) and type.
    pub fn constant(&mut self, name: &str, bytes: impl Into<crate::Bytes>, ty: Type) -> Value {
        let data = self.module.add_data(name, bytes);
        let v = self.op1(core::Const { data }, &[], ty);
        let name = self.module.data[data].name.clone();
        self.f_mut().set_name(v, &name);
        v
    }

    /// A constant tensor of plain numbers.
    pub fn constant_tensor(&mut self, name: &str, t: &Tensor) -> Value {
        let shape: SmallVec<[u64; 4]> = t.shape().iter().map(|&d| d as u64).collect();
        self.constant(name, t.bytes(), Type::tensor(&shape, t.dtype()))
    }

    /// Ends the function.
    pub fn ret(&mut self, values: &[Value]) {
        self.op(core::Return {}, values, &[]);
    }

    // ---- level loop ----

    /// A counted loop; `body` gets the loop variable and the carried values and returns the next
    /// ones. Returns the last ones.
    pub fn for_loop(
        &mut self,
        lo: i64,
        hi: i64,
        step: i64,
        inits: &[Value],
        body: impl FnOnce(&mut Builder, Value, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        let types: Vec<Type> = inits.iter().map(|&v| self.ty(v).clone()).collect();
        let f = self.f_mut();
        let region = f.add_region();
        let var = f.add_arg(region, Type::Index);
        let carried: Vec<Value> = types.iter().map(|ty| f.add_arg(region, ty.clone())).collect();
        let (func, loc) = (self.func, self.loc);
        let mut inner = Builder { module: self.module, func, region, before: None, loc };
        let next = body(&mut inner, var, &carried);
        inner.op(loops::Yield {}, &next, &[]);
        let kind = loops::For { lo, hi, step }.into();
        let op = self.op_with_regions(kind, inits, &types, &[region]);
        self.f().results(op).to_vec()
    }

    /// Reads a scalar or vector.
    pub fn load(&mut self, addr: Addr, ty: Type) -> Value {
        let kind = loops::Load { offset: addr.offset, strides: addr.strides() };
        self.op1(kind, &addr.operands(None), ty)
    }
    /// Reads 4 bytes and repeats them through a vector.
    pub fn load_splat32(&mut self, addr: Addr, ty: Type) -> Value {
        let kind = loops::LoadSplat32 { offset: addr.offset, strides: addr.strides() };
        self.op1(kind, &addr.operands(None), ty)
    }
    /// Reads 8 bytes into the low half of a vector.
    pub fn load_low64(&mut self, addr: Addr, ty: Type) -> Value {
        let kind = loops::LoadLow64 { offset: addr.offset, strides: addr.strides() };
        self.op1(kind, &addr.operands(None), ty)
    }
    /// Writes a scalar or vector.
    pub fn store(&mut self, value: Value, addr: Addr) {
        let kind = loops::Store { offset: addr.offset, strides: addr.strides() };
        self.op(kind, &addr.operands(Some(value)), &[]);
    }
    /// Writes the low 4 or 8 bytes of a vector.
    pub fn store_low(&mut self, value: Value, bytes: u32, addr: Addr) {
        let kind = loops::StoreLow { bytes, offset: addr.offset, strides: addr.strides() };
        self.op(kind, &addr.operands(Some(value)), &[]);
    }
    /// An integer constant, in every lane.
    pub fn iconst(&mut self, value: i64, ty: Type) -> Value {
        self.op1(loops::Iconst { value }, &[], ty)
    }
    /// A float constant, in every lane.
    pub fn fconst(&mut self, value: f64, ty: Type) -> Value {
        self.op1(loops::Fconst { value }, &[], ty)
    }
    /// An op of two values whose result has the type of `a`.
    pub fn binary(&mut self, kind: impl Into<OpKind>, a: Value, b: Value) -> Value {
        let ty = self.ty(a).clone();
        self.op1(kind, &[a, b], ty)
    }
}
