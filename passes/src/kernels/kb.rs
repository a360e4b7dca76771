//! Writing loop-level kernels: a thin layer over [`Func`] with one method per op.

use qcc_ir::dialect::loops::*;
use qcc_ir::dialect::{OpKind, core};
use qcc_ir::{DType, Func, FuncKind, LocId, MemType, RegionId, Type, Value};
use smallvec::SmallVec;

/// A kernel under construction.
pub struct Kb {
    func: Func,
    region: RegionId,
    /// Bytes of every vector.
    width: u64,
}

/// `buffer + offset + Σ var·stride` bytes.
#[derive(Clone, Debug)]
pub struct Addr {
    mem: Value,
    offset: i64,
    terms: SmallVec<[(Value, i64); 4]>,
}

impl Addr {
    /// `bytes` further on.
    pub fn at(&self, bytes: i64) -> Addr {
        Addr { offset: self.offset + bytes, ..self.clone() }
    }
    /// Further on by `stride` bytes per unit of the loop variable.
    pub fn plus(&self, var: Value, stride: i64) -> Addr {
        let mut out = self.clone();
        if stride != 0 {
            out.terms.push((var, stride));
        }
        out
    }
    fn operands(&self) -> (Vec<Value>, Vec<i64>) {
        let mut values = vec![self.mem];
        values.extend(self.terms.iter().map(|t| t.0));
        (values, self.terms.iter().map(|t| t.1).collect())
    }
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident $op:ident),* $(,)?) => {$(
        $(#[$doc])*
        pub fn $name(&mut self, a: Value, b: Value) -> Value {
            let ty = self.func.ty(a).clone();
            self.op($op {}, &[a, b], ty)
        }
    )*};
}
macro_rules! unary_to {
    ($($(#[$doc:meta])* $name:ident $op:ident),* $(,)?) => {$(
        $(#[$doc])*
        pub fn $name(&mut self, a: Value, ty: Type) -> Value {
            self.op($op {}, &[a], ty)
        }
    )*};
}

impl Kb {
    /// A kernel with the given buffers and vectors of 128 bits.
    pub fn new(name: &str, params: &[MemType]) -> Kb {
        Kb::with_width(name, params, 16)
    }
    /// A kernel with the given buffers and vectors of `width` bytes: 16, 32 or 64.
    pub fn with_width(name: &str, params: &[MemType], width: u64) -> Kb {
        let params: Vec<Type> = params.iter().map(|&m| Type::Mem(m)).collect();
        let func = Func::new(name, FuncKind::Kernel, &params);
        let region = func.body;
        Kb { func, region, width }
    }
    /// Bytes of a vector.
    pub fn width(&self) -> u64 {
        self.width
    }
    /// A whole vector of `dtype`.
    pub fn vec(&self, dtype: DType) -> Type {
        Type::vector(dtype, (self.width / dtype.size() as u64) as u8)
    }
    /// The finished kernel.
    pub fn finish(mut self) -> Func {
        let ret = OpKind::from(core::Return {});
        self.func.push_op(self.region, ret, &[], &[], LocId(0));
        self.func.shrink_to_fit();
        self.func
    }
    /// The first byte of buffer `i`.
    pub fn mem(&self, i: usize) -> Addr {
        Addr { mem: self.func.params()[i], offset: 0, terms: SmallVec::new() }
    }

    /// Appends an op with one result.
    pub fn op(&mut self, kind: impl Into<OpKind>, operands: &[Value], ty: Type) -> Value {
        let op = self.func.push_op(self.region, kind, operands, &[ty], LocId(0));
        self.func.result(op)
    }

    /// `for var = lo; var < hi; var += step`, carrying values.
    pub fn for_carry(
        &mut self,
        (lo, hi, step): (i64, i64, i64),
        inits: &[Value],
        body: impl FnOnce(&mut Kb, Value, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        let types: Vec<Type> = inits.iter().map(|&v| self.func.ty(v).clone()).collect();
        let region = self.func.add_region();
        let var = self.func.add_arg(region, Type::Index);
        let carried: Vec<Value> =
            types.iter().map(|ty| self.func.add_arg(region, ty.clone())).collect();
        let outer = std::mem::replace(&mut self.region, region);
        let next = body(self, var, &carried);
        self.func.push_op(region, Yield {}, &next, &[], LocId(0));
        self.region = outer;
        let op = self.func.create_op(For { lo, hi, step }, inits, &types, &[region], LocId(0));
        self.func.append(outer, op);
        self.func.results(op).to_vec()
    }
    /// `for var = 0; var < n; var += 1`. One iteration is emitted in line, with no variable.
    pub fn for_each(&mut self, n: u64, body: impl FnOnce(&mut Kb, Var)) {
        if n == 1 {
            return body(self, Var(None));
        }
        self.for_carry((0, n as i64, 1), &[], |kb, var, _| {
            body(kb, Var(Some(var)));
            vec![]
        });
    }
    /// As [`Kb::for_each`], without the first iteration.
    pub fn for_others(&mut self, n: u64, body: impl FnOnce(&mut Kb, Var)) {
        if n > 1 {
            self.for_carry((1, n as i64, 1), &[], |kb, var, _| {
                body(kb, Var(Some(var)));
                vec![]
            });
        }
    }
    /// As [`Kb::for_each`], carrying values.
    pub fn fold(
        &mut self,
        n: u64,
        inits: &[Value],
        body: impl FnOnce(&mut Kb, Var, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        match n {
            0 => inits.to_vec(),
            1 => body(self, Var(None), inits),
            n => self.for_carry((0, n as i64, 1), inits, |kb, var, carried| {
                body(kb, Var(Some(var)), carried)
            }),
        }
    }

    /// Reads a value of type `ty`.
    pub fn load(&mut self, ty: Type, addr: &Addr) -> Value {
        let (operands, strides) = addr.operands();
        self.op(Load { offset: addr.offset, strides }, &operands, ty)
    }
    /// Reads a scalar.
    pub fn load_scalar(&mut self, dtype: DType, addr: &Addr) -> Value {
        self.load(Type::Scalar(dtype), addr)
    }
    /// Reads a vector as lanes of `dtype`.
    pub fn load_vec(&mut self, dtype: DType, addr: &Addr) -> Value {
        self.load(self.vec(dtype), addr)
    }
    /// Reads 4 bytes, repeated through a vector of i8.
    pub fn load_splat32(&mut self, addr: &Addr) -> Value {
        let (operands, strides) = addr.operands();
        let kind = LoadSplat32 { offset: addr.offset, strides };
        self.op(kind, &operands, self.vec(DType::I8))
    }
    /// Reads 8 bytes per 128 bits into the low halves of those, as i8.
    pub fn load_low64(&mut self, addr: &Addr) -> Value {
        let (operands, strides) = addr.operands();
        let kind = LoadLow64 { offset: addr.offset, strides };
        self.op(kind, &operands, self.vec(DType::I8))
    }
    /// Writes a value.
    pub fn store(&mut self, value: Value, addr: &Addr) {
        let (mut operands, strides) = addr.operands();
        operands.insert(0, value);
        let kind = Store { offset: addr.offset, strides };
        self.func.push_op(self.region, kind, &operands, &[], LocId(0));
    }
    /// Writes the low bytes of a vector: 4 or 8, beyond 128 bits any number.
    pub fn store_low(&mut self, value: Value, bytes: u32, addr: &Addr) {
        let (mut operands, strides) = addr.operands();
        operands.insert(0, value);
        let kind = StoreLow { bytes, offset: addr.offset, strides };
        self.func.push_op(self.region, kind, &operands, &[], LocId(0));
    }
    /// Reads `buffer[offset + index·stride]`, with `index` clamped to `[lo, hi]` already.
    pub fn lookup(
        &mut self,
        dtype: DType,
        addr: &Addr,
        index: Value,
        stride: i64,
        (lo, hi): (i64, i64),
    ) -> Value {
        self.lookup_of(Type::Scalar(dtype), addr, index, stride, (lo, hi))
    }
    /// As [`Kb::lookup`], a value of any type.
    pub fn lookup_of(
        &mut self,
        ty: Type,
        addr: &Addr,
        index: Value,
        stride: i64,
        (lo, hi): (i64, i64),
    ) -> Value {
        let (mut operands, strides) = addr.operands();
        operands.insert(1, index);
        let kind = Lookup { offset: addr.offset, stride, strides, lo, hi };
        self.op(kind, &operands, ty)
    }

    /// A buffer of the kernel's own.
    pub fn scratch(&mut self, bytes: u64) -> Addr {
        let mem = self.op(Scratch {}, &[], Type::mem(bytes, 0));
        Addr { mem, offset: 0, terms: SmallVec::new() }
    }
    /// Reads a tile of `rows` rows of `bytes` bytes, `row` bytes apart.
    pub fn tile_load(&mut self, (rows, bytes): (u64, u64), addr: &Addr, row: i64) -> Value {
        let (operands, strides) = addr.operands();
        let kind = TileLoad { offset: addr.offset, strides, row };
        self.op(kind, &operands, Type::tile(rows, bytes))
    }
    /// acc + a · b, tiles.
    pub fn tile_dot(&mut self, signs: DotSigns, acc: Value, a: Value, b: Value) -> Value {
        let ty = self.func.ty(acc).clone();
        self.op(TileDot { signs }, &[acc, a, b], ty)
    }
    /// Writes a tile, rows `row` bytes apart.
    pub fn tile_store(&mut self, tile: Value, addr: &Addr, row: i64) {
        let (mut operands, strides) = addr.operands();
        operands.insert(0, tile);
        let kind = TileStore { offset: addr.offset, strides, row };
        self.func.push_op(self.region, kind, &operands, &[], LocId(0));
    }

    /// An integer in every lane of `ty`.
    pub fn int(&mut self, ty: Type, value: i64) -> Value {
        self.op(Iconst { value }, &[], ty)
    }
    /// An i32 scalar.
    pub fn i32(&mut self, value: i32) -> Value {
        self.int(Type::Scalar(DType::I32), i64::from(value))
    }
    /// An i64 scalar.
    pub fn i64(&mut self, value: i64) -> Value {
        self.int(Type::Scalar(DType::I64), value)
    }
    /// A float in every lane of `ty`.
    pub fn float(&mut self, ty: Type, value: f64) -> Value {
        self.op(Fconst { value }, &[], ty)
    }
    /// A loop variable as i32 (0 for a loop that is not there).
    pub fn index(&mut self, var: Var) -> Value {
        match var.0 {
            Some(v) => self.op(IndexCast {}, &[v], Type::Scalar(DType::I32)),
            None => self.i32(0),
        }
    }
    /// A scalar in every lane.
    pub fn splat(&mut self, scalar: Value) -> Value {
        let (dtype, _) = self.lanes(scalar);
        self.op(Splat {}, &[scalar], self.vec(dtype))
    }
    /// One lane.
    pub fn extract(&mut self, vector: Value, lane: u32) -> Value {
        let (dtype, _) = self.lanes(vector);
        self.op(Extract { lane }, &[vector], Type::Scalar(dtype))
    }

    binary! {
        /// a + b
        add Add, /// a − b
        sub Sub, /// a − b of signed bytes, saturated
        sub_sat SubSat, /// a[b] of 16 bytes, 0 where b is 128 and above
        pick16 Pick16, /// a · b
        mul Mul, /// a & b
        and And, /// a | b
        or Or, /// a ^ b
        xor Xor, /// signed minimum
        min_s MinS, /// signed maximum
        max_s MaxS, /// unsigned minimum
        min_u MinU, /// unsigned maximum
        max_u MaxU, /// a << b, scalars
        shl_var ShlVar, /// a >> b with sign, scalars
        shr_s_var ShrSVar, /// float a + b
        fadd Fadd, /// float a − b
        fsub Fsub, /// float a · b
        fmul Fmul, /// float a / b
        fdiv Fdiv, /// lanes of both, low halves in turn
        unpack_low UnpackLow, /// lanes of both, high halves in turn
        unpack_high UnpackHigh,
    }
    unary_to! {
        /// Sign-extends a scalar to `ty`.
        ext_s ExtS, /// Zero-extends a scalar to `ty`.
        ext_u ExtU, /// Keeps a scalar's low bits.
        trunc Trunc, /// Signed integer to float.
        int_to_float IntToFloat, /// i32x4 lanes 0 and 1 to f64x2.
        int_to_float_low IntToFloatLow, /// Float to signed integer toward zero, saturating.
        float_to_int FloatToInt, /// f32 lanes below 2^31 to i32 toward zero.
        truncate Truncate, /// Between f32 and f64 scalars.
        float_cast FloatCast, /// The same bits as another type.
        bitcast Bitcast,
    }
    /// a · b + c, rounded once.
    pub fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        let ty = self.func.ty(a).clone();
        self.op(Fma {}, &[a, b, c], ty)
    }
    /// a << n
    pub fn shl(&mut self, a: Value, n: u32) -> Value {
        let ty = self.func.ty(a).clone();
        self.op(Shl { n }, &[a], ty)
    }
    /// a >> n, copies of the sign coming in
    pub fn shr_s(&mut self, a: Value, n: u32) -> Value {
        let ty = self.func.ty(a).clone();
        self.op(ShrS { n }, &[a], ty)
    }
    /// a >> n, zeros coming in
    pub fn shr_u(&mut self, a: Value, n: u32) -> Value {
        let ty = self.func.ty(a).clone();
        self.op(ShrU { n }, &[a], ty)
    }
    /// Quotient toward zero by a constant.
    pub fn div_s(&mut self, a: Value, by: i64) -> Value {
        let ty = self.func.ty(a).clone();
        self.op(DivS { by }, &[a], ty)
    }
    /// Leading zeros of a scalar.
    pub fn clz(&mut self, a: Value) -> Value {
        let ty = self.func.ty(a).clone();
        self.op(Clz {}, &[a], ty)
    }
    /// Integer comparison; scalars give i8 0 or 1, vectors a mask.
    pub fn cmp(&mut self, pred: Pred, a: Value, b: Value) -> Value {
        let ty = self.comparison_type(a);
        self.op(Cmp { pred }, &[a, b], ty)
    }
    /// Float comparison; scalars give i8 0 or 1, vectors a mask.
    pub fn fcmp(&mut self, pred: Pred, a: Value, b: Value) -> Value {
        let ty = self.comparison_type(a);
        self.op(Fcmp { pred }, &[a, b], ty)
    }
    fn comparison_type(&self, a: Value) -> Type {
        match self.lanes(a) {
            (_, 1) => Type::Scalar(DType::I8),
            (DType::F32, n) => Type::vector(DType::I32, n),
            (DType::F64, n) => Type::vector(DType::I64, n),
            (d, n) => Type::vector(d, n),
        }
    }
    /// `a` where `p` holds, else `b`.
    pub fn select(&mut self, p: Value, a: Value, b: Value) -> Value {
        let ty = self.func.ty(a).clone();
        self.op(Select {}, &[p, a, b], ty)
    }
    /// min(max(x, lo), hi) with signed constants.
    pub fn clamp_s(&mut self, x: Value, lo: i64, hi: i64) -> Value {
        let ty = self.func.ty(x).clone();
        let lo = self.int(ty.clone(), lo);
        let hi = self.int(ty, hi);
        let x = self.max_s(x, lo);
        self.min_s(x, hi)
    }

    /// Low half of the lanes, twice as wide.
    pub fn widen_low(&mut self, x: Value, signed: bool) -> Value {
        let ty = self.wider(x);
        if signed { self.op(WidenLowS {}, &[x], ty) } else { self.op(WidenLowU {}, &[x], ty) }
    }
    /// High half of the lanes, twice as wide.
    pub fn widen_high(&mut self, x: Value, signed: bool) -> Value {
        let ty = self.wider(x);
        if signed { self.op(WidenHighS {}, &[x], ty) } else { self.op(WidenHighU {}, &[x], ty) }
    }
    /// Lanes of a then b, half as wide, saturated to the (un)signed range.
    pub fn pack(&mut self, a: Value, b: Value, signed: bool) -> Value {
        let ty = match self.lanes(a).0 {
            DType::I32 => self.vec(DType::I16),
            _ => self.vec(DType::I8),
        };
        if signed { self.op(PackS {}, &[a, b], ty) } else { self.op(PackU {}, &[a, b], ty) }
    }
    /// Bytes of a (0–15) and b (16–31), in each 128 bits.
    pub fn shuffle(&mut self, a: Value, b: Value, mask: [u32; 16]) -> Value {
        let ty = self.func.ty(a).clone();
        self.op(Shuffle { mask: mask.to_vec() }, &[a, b], ty)
    }
    /// The low 4 or 8 bytes of each 128 bits next to each other, repeated.
    pub fn compact(&mut self, x: Value, bytes: u32) -> Value {
        let ty = self.func.ty(x).clone();
        self.op(Compact { bytes }, &[x], ty)
    }
    /// acc + four products per lane.
    pub fn dot4(&mut self, signs: DotSigns, acc: Value, a: Value, b: Value) -> Value {
        self.op(Dot4 { signs }, &[acc, a, b], self.vec(DType::I32))
    }
    /// Two products of unsigned and signed bytes per lane of 16 bits, saturated.
    pub fn dot2_sat(&mut self, a: Value, b: Value) -> Value {
        self.op(Dot2Sat {}, &[a, b], self.vec(DType::I16))
    }
    /// acc + two products per lane.
    pub fn dot2(&mut self, acc: Value, a: Value, b: Value) -> Value {
        self.op(Dot2 {}, &[acc, a, b], self.vec(DType::I32))
    }

    /// Element type and lane count of a value.
    pub fn lanes(&self, v: Value) -> (DType, u8) {
        self.func.ty(v).lanes().expect("a scalar or vector")
    }
    fn wider(&self, x: Value) -> Type {
        match self.lanes(x).0 {
            DType::I8 => self.vec(DType::I16),
            DType::I16 => self.vec(DType::I32),
            _ => self.vec(DType::I64),
        }
    }
}

/// A loop variable, or none for a loop of one iteration.
#[derive(Clone, Copy, Debug)]
pub struct Var(Option<Value>);

impl Var {
    /// No loop.
    pub const NONE: Var = Var(None);
    /// `addr` further on by `stride` bytes per unit.
    pub fn of(self, addr: &Addr, stride: u64) -> Addr {
        self.by(addr, stride as i64)
    }
    /// As [`Var::of`], with a stride that may be negative.
    pub fn by(self, addr: &Addr, stride: i64) -> Addr {
        match self.0 {
            Some(v) => addr.plus(v, stride),
            None => addr.clone(),
        }
    }
}
