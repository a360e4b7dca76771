//! For unit tests: int-level modules in a few lines, and running pipelines on them.

use crate::{DiffEach, PassContext, PassManager, Pipeline, Registry, TargetInfo};
use qcc_ir::dialect::core;
use qcc_ir::dialect::int::{self, AddStyle, MeanRounding, Rescale};
use qcc_ir::{DType, Func, FuncId, FuncKind, Level, Module, Numerics, OpKind, Type, Value};
use qcc_runtime::{Arch, CpuLevel};

/// A module with one function under construction.
pub struct TestModule {
    m: Module,
    main: FuncId,
    n_ops: usize,
}

impl TestModule {
    /// An int-level `main` with these parameters.
    pub fn int(params: &[(&[u64], DType)]) -> TestModule {
        let mut m = Module::new("test", Level::Int, Numerics::TfLite);
        let types: Vec<Type> = params.iter().map(|(s, d)| Type::tensor(s, *d)).collect();
        let main = m.funcs.push(Func::new("main", FuncKind::Main, &types));
        TestModule { m, main, n_ops: 0 }
    }
    pub fn param(&self, i: usize) -> Value {
        self.m.funcs[self.main].params()[i]
    }
    pub fn dim(&self, v: Value, d: usize) -> u64 {
        self.m.funcs[self.main].ty(v).as_tensor().unwrap().shape[d]
    }
    fn dtype(&self, v: Value) -> DType {
        self.m.funcs[self.main].ty(v).as_tensor().unwrap().storage()
    }
    fn shape(&self, v: Value) -> Vec<u64> {
        self.m.funcs[self.main].ty(v).as_tensor().unwrap().shape.to_vec()
    }
    fn push(&mut self, kind: impl Into<OpKind>, operands: &[Value], ty: Type) -> Value {
        let kind = kind.into();
        let mnemonic = kind.name().split('.').nth(1).unwrap().to_string();
        let loc = self.m.locs.node(&format!("{mnemonic}_{}", self.n_ops), Some(self.n_ops as u32));
        self.n_ops += 1;
        let f = &mut self.m.funcs[self.main];
        let op = f.push_op(f.body, kind, operands, &[ty], loc);
        f.result(op)
    }
    fn hidden_const(&mut self, name: &str, dtype: DType, shape: &[u64], values: &[i64]) -> Value {
        let usizes: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
        let t = crate::consts::int_tensor(dtype, &usizes, values.iter().copied());
        assert_eq!(t.len(), values.len());
        let data = self.m.add_data(name, t.bytes());
        let f = &mut self.m.funcs[self.main];
        let ty = Type::tensor(shape, dtype);
        let op = f.push_op(f.body, core::Const { data }, &[], &[ty], Default::default());
        f.result(op)
    }
    pub fn const_i64(&mut self, name: &str, d: DType, shape: &[u64], values: &[i64]) -> Value {
        self.n_ops += 1;
        self.hidden_const(name, d, shape, values)
    }
    fn rescale(&mut self) -> [Value; 2] {
        let mult = self.hidden_const("mult", DType::I32, &[1], &[0x5000_0000]);
        [mult, self.hidden_const("shift", DType::I32, &[1], &[-5])]
    }
    pub fn clamp(&mut self, x: Value, lo: i32, hi: i32) -> Value {
        let ty = Type::tensor(&self.shape(x), self.dtype(x));
        self.push(int::Clamp { lo, hi }, &[x], ty)
    }
    pub fn concat(&mut self, xs: &[Value], axis: u32) -> Value {
        let mut shape = self.shape(xs[0]);
        shape[axis as usize] = xs.iter().map(|&x| self.dim(x, axis as usize)).sum();
        let ty = Type::tensor(&shape, self.dtype(xs[0]));
        self.push(int::Concat { axis }, xs, ty)
    }
    pub fn slice(&mut self, x: Value, start: &[u64], shape: &[u64]) -> Value {
        let ty = Type::tensor(shape, self.dtype(x));
        self.push(int::Slice { start: start.to_vec() }, &[x], ty)
    }
    pub fn reshape(&mut self, x: Value, shape: &[u64]) -> Value {
        let ty = Type::tensor(shape, self.dtype(x));
        self.push(int::Reshape {}, &[x], ty)
    }
    pub fn lut(&mut self, x: Value, table: Value) -> Value {
        let ty = Type::tensor(&self.shape(x), self.dtype(table));
        self.push(int::Lut {}, &[x, table], ty)
    }
    pub fn arg_max(&mut self, x: Value, axis: u32) -> Value {
        let mut shape = self.shape(x);
        shape.remove(axis as usize);
        self.push(int::ArgMax { axis, min: false }, &[x], Type::tensor(&shape, DType::I32))
    }
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        let (lo, hi) = self.limits(a);
        let op = int::Add {
            style: AddStyle::General,
            subtract: false,
            left_shift: 20,
            a_zp: 3,
            a_mult: 0x4000_0000,
            a_shift: 0,
            b_zp: -7,
            b_mult: 0x6000_0000,
            b_shift: -1,
            y_mult: 0x5000_0000,
            y_shift: -19,
            y_zp: 1,
            lo,
            hi,
            a_scale: 0.0,
            b_scale: 0.0,
            epsilon: 0.0,
        };
        let ty = Type::tensor(&self.shape(a), self.dtype(a));
        self.push(op, &[a, b], ty)
    }
    fn limits(&self, v: Value) -> (i32, i32) {
        let (lo, hi) = self.dtype(v).min_max();
        (lo as i32, hi as i32)
    }
    pub fn max_pool(
        &mut self,
        x: Value,
        shape: &[u64],
        set: impl FnOnce(&mut int::MaxPool2d),
    ) -> Value {
        let (lo, hi) = self.limits(x);
        let mut op = int::MaxPool2d { window: [1, 1], stride: [1, 1], pad: [0; 4], lo, hi };
        set(&mut op);
        self.push(op, &[x], Type::tensor(shape, self.dtype(x)))
    }
    pub fn avg_pool(
        &mut self,
        x: Value,
        shape: &[u64],
        set: impl FnOnce(&mut int::AvgPool2d),
    ) -> Value {
        let (lo, hi) = self.limits(x);
        let mut op = int::AvgPool2d {
            window: [1, 1],
            stride: [1, 1],
            pad: [0; 4],
            rounding: MeanRounding::HalfAway,
            code_bias: 0,
            lo,
            hi,
        };
        set(&mut op);
        self.push(op, &[x], Type::tensor(shape, self.dtype(x)))
    }
    pub fn conv2d(
        &mut self,
        x: Value,
        w: Value,
        b: Value,
        shape: &[u64],
        set: impl FnOnce(&mut int::Conv2d),
    ) -> Value {
        let [mult, shift] = self.rescale();
        let (lo, hi) = self.limits(x);
        let mut op = int::Conv2d {
            stride: [1, 1],
            dilation: [1, 1],
            pad: [0; 4],
            groups: 1,
            pad_value: 0,
            x_zp: 0,
            w_zp: 0,
            rescale: Rescale::Double,
            y_zp: 0,
            lo,
            hi,
            kernel: Default::default(),
            forms: Default::default(),
            epilogue: Default::default(),
        };
        set(&mut op);
        self.push(op, &[x, w, b, mult, shift], Type::tensor(shape, self.dtype(x)))
    }
    pub fn depthwise(
        &mut self,
        x: Value,
        w: Value,
        b: Value,
        shape: &[u64],
        set: impl FnOnce(&mut int::DepthwiseConv2d),
    ) -> Value {
        let [mult, shift] = self.rescale();
        let (lo, hi) = self.limits(x);
        let mut op = int::DepthwiseConv2d {
            stride: [1, 1],
            dilation: [1, 1],
            pad: [0; 4],
            pad_value: 0,
            x_zp: 0,
            w_zp: 0,
            rescale: Rescale::Double,
            y_zp: 0,
            lo,
            hi,
            kernel: Default::default(),
            forms: Default::default(),
        };
        set(&mut op);
        self.push(op, &[x, w, b, mult, shift], Type::tensor(shape, self.dtype(x)))
    }
    pub fn fully_connected(
        &mut self,
        x: Value,
        w: Value,
        b: Value,
        set: impl FnOnce(&mut int::FullyConnected),
    ) -> Value {
        let [mult, shift] = self.rescale();
        let (lo, hi) = self.limits(x);
        let rescale = Rescale::Double;
        let mut op = int::FullyConnected {
            x_zp: 0,
            w_zp: 0,
            rescale,
            y_zp: 0,
            lo,
            hi,
            kernel: Default::default(),
            forms: Default::default(),
        };
        set(&mut op);
        let ty = Type::tensor(&[self.dim(x, 0), self.dim(w, 0)], self.dtype(x));
        self.push(op, &[x, w, b, mult, shift], ty)
    }
    /// Ends the function.
    pub fn ret(&mut self, values: &[Value]) -> &mut Self {
        let loc = self.m.locs.node("return", None);
        let f = &mut self.m.funcs[self.main];
        f.push_op(f.body, core::Return {}, values, &[], loc);
        self
    }
    pub fn build(&self) -> (Module, FuncId) {
        (self.m.clone(), self.main)
    }
    /// The module after `pipeline`, which must succeed.
    pub fn run(&self, pipeline: &str) -> Module {
        run_pipeline(self.m.clone(), pipeline)
    }
    /// As `run`; also compares the interpreter's outputs after each pass with those before.
    pub fn run_exact(&self, pipeline: &str) -> Module {
        check_exact(&self.m, pipeline)
    }
    /// Remarks of `pipeline`.
    pub fn remarks(&self, pipeline: &str) -> Vec<String> {
        let mut m = self.m.clone();
        let ctx = run_with(&mut m, pipeline, None).unwrap();
        ctx.remarks.iter().map(|r| r.to_string()).collect()
    }
    /// The errors of `pipeline`, which must fail.
    pub fn error(&self, pipeline: &str) -> String {
        error_of(self.m.clone(), pipeline)
    }
}

fn run_with(
    m: &mut Module,
    pipeline: &str,
    diff_each: Option<DiffEach>,
) -> Result<PassContext, String> {
    let registry = Registry::default();
    let pipeline = Pipeline::parse(pipeline, &registry).unwrap();
    let target = TargetInfo { arch: Arch::X86_64, cpu: CpuLevel::X86Avx512Vnni, threads: 1 };
    let mut ctx = PassContext::new(target);
    let mut manager = PassManager { verify_each: true, diff_each, ..Default::default() };
    let done = manager.run(&pipeline, &registry, m, &mut ctx);
    done.map(|()| ctx).map_err(|e| e.to_string())
}

pub fn run_pipeline(mut m: Module, pipeline: &str) -> Module {
    run_with(&mut m, pipeline, None).unwrap_or_else(|e| panic!("{e}"));
    m
}

fn interpret(
    m: &Module,
    inputs: &[qcc_runtime::Tensor],
) -> Result<Vec<qcc_runtime::Tensor>, String> {
    qcc_ir::interp::run_main(m, inputs).map_err(|e| e.to_string())
}

pub fn check_exact(m: &Module, pipeline: &str) -> Module {
    let mut m = m.clone();
    let diff = Some(DiffEach { seed: 1, runs: 4, evaluate: interpret });
    let ctx = run_with(&mut m, pipeline, diff).unwrap_or_else(|e| panic!("{e}"));
    let skipped = ctx.remarks.iter().find(|r| r.pass == "diff-each");
    assert!(skipped.is_none(), "not compared: {skipped:?}");
    m
}

pub fn error_of(mut m: Module, pipeline: &str) -> String {
    match run_with(&mut m, pipeline, None) {
        Ok(_) => panic!("'{pipeline}' must fail"),
        Err(e) => e,
    }
}

/// `n` numbers from `start` on.
pub fn ramp(n: usize, start: i64) -> Vec<i64> {
    (0..n as i64).map(|i| start + i).collect()
}

fn main_func(m: &Module) -> &Func {
    &m.funcs[m.main().unwrap()]
}

pub fn op_names(m: &Module) -> Vec<&'static str> {
    let f = main_func(m);
    f.walk().into_iter().map(|op| f.kind(op).name()).collect()
}

pub fn op_names_without_consts(m: &Module) -> Vec<&'static str> {
    op_names(m).into_iter().filter(|n| *n != "core.const").collect()
}

/// The elements of the constant whose data is called `name`.
pub fn const_values(m: &Module, name: &str) -> Vec<i64> {
    let f = main_func(m);
    let results = f.walk().into_iter().flat_map(|op| f.results(op).to_vec());
    let named =
        |v: &Value| crate::consts::const_id(f, *v).is_some_and(|id| m.data[id].name == name);
    let v = results.into_iter().find(named).expect("a constant of that name");
    crate::consts::const_tensor(m, f, v).unwrap().to_i64_vec()
}

pub fn clamp_bounds(m: &Module) -> Vec<[i32; 2]> {
    let f = main_func(m);
    f.walk().into_iter().filter_map(|op| crate::int_ops::bounds(f.kind(op))).collect()
}

/// A seeded generator of small numbers.
pub struct Random(pub u64);

impl Random {
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n.max(1) as u64) as usize
    }
    fn up_to(&mut self, n: u64) -> u64 {
        self.below(n as usize + 1) as u64
    }
}

/// A random module of image tensors with many views.
pub fn random_views(seed: u64) -> TestModule {
    let mut r = Random(seed);
    let mut t = TestModule::int(&[(&[1, 4, 4, 4], DType::I8), (&[1, 2, 4, 8], DType::I8)]);
    let mut values = vec![t.param(0), t.param(1)];
    for _ in 0..3 + r.below(14) {
        let x = values[r.below(values.len())];
        let v = random_op(&mut t, &mut r, x, &values);
        values.push(v);
    }
    let n = 1 + r.below(3);
    let outputs: Vec<Value> = (0..n).map(|_| values[r.below(values.len())]).collect();
    t.ret(&outputs);
    t
}

fn random_op(t: &mut TestModule, r: &mut Random, x: Value, values: &[Value]) -> Value {
    let s = t.shape(x);
    let same: Vec<Value> = values.iter().copied().filter(|&v| t.shape(v) == s).collect();
    let axis = 1 + r.below(3);
    let joins = |t: &TestModule, v: Value| {
        (1..4).all(|d| d == axis || t.dim(v, d) == s[d]) && t.dim(v, axis) + s[axis] <= 40
    };
    match r.below(9) {
        0 => t.add(x, same[r.below(same.len())]),
        1 | 2 => {
            let fits: Vec<Value> = values.iter().copied().filter(|&v| joins(t, v)).collect();
            let mut xs = vec![x];
            if !fits.is_empty() {
                xs.push(fits[r.below(fits.len())]);
            }
            t.concat(&xs, axis as u32)
        }
        3 => {
            let start: Vec<u64> = s.iter().map(|&n| r.up_to(n - 1)).collect();
            let shape: Vec<u64> =
                s.iter().zip(&start).map(|(&n, &a)| 1 + r.up_to(n - a - 1)).collect();
            t.slice(x, &start, &shape)
        }
        4 => t.reshape(x, &[1, s[2], s[1], s[3]]),
        5 => t.reshape(x, &[1, 1, s[1] * s[2], s[3]]),
        6 => {
            let pad = [r.up_to(2), r.up_to(2)];
            let shape = [1, s[1] + pad[0], s[2] + pad[1], s[3]];
            let (low, high) = (vec![0, pad[0], 0, 0], vec![0, 0, pad[1], 0]);
            t.push(int::Pad { low, high, value: 5 }, &[x], Type::tensor(&shape, DType::I8))
        }
        7 => t.max_pool(x, &s, |p| (p.window, p.pad) = ([3, 3], [1; 4])),
        _ => {
            let lo = r.below(100) as i32 - 100;
            t.clamp(x, lo, lo + 100)
        }
    }
}

/// A random network of convolutions, pools and sums with zero points and padding, over i8 or u8.
pub fn random_network(seed: u64) -> TestModule {
    let mut r = Random(seed);
    let dtype = [DType::I8, DType::U8][r.below(2)];
    let mut t = TestModule::int(&[(&[1, 5, 4, 3], dtype)]);
    let mut values = vec![t.param(0)];
    for _ in 0..2 + r.below(6) {
        let x = values[r.below(values.len())];
        let v = random_layer(&mut t, &mut r, x);
        values.push(v);
    }
    let last = values[values.len() - 1];
    let index = t.arg_max(last, 3);
    let any = values[r.below(values.len())];
    t.ret(&[last, index, any]);
    t
}

fn random_layer(t: &mut TestModule, r: &mut Random, x: Value) -> Value {
    let (s, dtype) = (t.shape(x), t.dtype(x));
    let (lo, hi) = t.limits(x);
    let code = |r: &mut Random| lo + r.below(256) as i32;
    match r.below(7) {
        0 | 1 => {
            let o = 1 + r.below(5) as u64;
            let k = 1 + 2 * r.below(2) as u64;
            let (w, w_zp) = random_weights(t, r, &[o, k, k, s[3]]);
            let b = random_bias(t, r, o);
            let (zp, y_zp, pad) = (code(r), code(r), [(k / 2) as u32; 4]);
            t.conv2d(x, w, b, &[1, s[1], s[2], o], |c| {
                (c.x_zp, c.pad_value, c.w_zp, c.y_zp, c.pad) = (zp, zp, w_zp, y_zp, pad);
            })
        }
        2 => {
            let (w, w_zp) = random_weights(t, r, &[1, 3, 3, s[3]]);
            let b = random_bias(t, r, s[3]);
            let (zp, y_zp) = (code(r), code(r));
            t.depthwise(x, w, b, &s, |c| {
                (c.x_zp, c.pad_value, c.w_zp, c.y_zp, c.pad) = (zp, zp, w_zp, y_zp, [1; 4]);
            })
        }
        3 => {
            let k = s[1] * s[2] * s[3];
            let flat = t.reshape(x, &[1, k]);
            let (w, w_zp) = random_weights(t, r, &[24, k]);
            let b = random_bias(t, r, 24);
            let (zp, y_zp) = (code(r), code(r));
            let y = t.fully_connected(flat, w, b, |c| (c.x_zp, c.w_zp, c.y_zp) = (zp, w_zp, y_zp));
            t.reshape(y, &[1, 2, 4, 3])
        }
        4 => {
            let n = s.iter().product::<u64>() as usize;
            let codes: Vec<i64> = (0..n).map(|_| code(r) as i64).collect();
            let k = t.const_i64("k", dtype, &s, &codes);
            t.add(x, k)
        }
        5 => t.avg_pool(x, &s, |p| (p.window, p.pad, p.lo) = ([3, 3], [1; 4], lo + 9)),
        _ => {
            let x = t.max_pool(x, &s, |p| (p.window, p.pad) = ([3, 3], [1; 4]));
            t.clamp(x, lo + 20, hi - 30)
        }
    }
}

fn random_weights(t: &mut TestModule, r: &mut Random, shape: &[u64]) -> (Value, i32) {
    let dtype = [DType::I8, DType::U8][r.below(2)];
    let (lo, hi) = dtype.min_max();
    let spread = [20, 256][r.below(2)];
    let base = lo + r.below(257 - spread) as i64;
    let n = shape.iter().product::<u64>() as usize;
    let codes: Vec<i64> = (0..n).map(|_| base + r.below(spread) as i64).collect();
    let w_zp = if dtype == DType::I8 && r.below(2) == 0 { 0 } else { (base + hi) / 2 };
    (t.const_i64("w", dtype, shape, &codes), w_zp as i32)
}

fn random_bias(t: &mut TestModule, r: &mut Random, n: u64) -> Value {
    let values: Vec<i64> = (0..n).map(|_| r.below(20000) as i64 - 10000).collect();
    t.const_i64("b", DType::I32, &[n], &values)
}
