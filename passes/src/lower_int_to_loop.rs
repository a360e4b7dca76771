//! `lower-int-to-loop`: every integer op becomes kernel calls; kernels become loops.
//!
//! ```text
//! int.conv2d(%x, %w, %b, %m, %s) : tensor<…, arena+4096:[…]>
//!   ─►  loop.call(%arena, %w1, %t1, %arena) {kernel = "k0_conv2d…", offsets = [0, 0, 0, 4096]}
//!       kernel @k0_conv2d…(%0: mem<…>, …) { loop.for … }
//! ```
//!
//! Convolutions get the kernel that `select-kernels` noted, with the forms of requantization that
//! `prove-rescale` proved; without those, one product at a time and the reference's arithmetic.
//! Weights become `loop.pack_panels` or `loop.pack_blocks` of the model's, for `pack-weights`;
//! tables of constants are made here ([`crate::kernels`]). Ops with equal kernels share one
//! function. Where there are threads, large kernels are split into tasks that may run at the same
//! time (see [`crate::kernels::split`]). `main` takes the arena, the inputs and the outputs as buffers.

use crate::consts::const_id;
use crate::int_ops::{ViewOp, view_of};
use crate::kernels::moves::{Change, Copy, Fill};
use crate::kernels::site::Site;
use crate::kernels::split::Tasks;
use crate::kernels::{self, Arg, Call, Machine, SLACK, View};
use crate::{Diagnostics, Drift, LevelSet, OptionKind, OptionSpec, Pass, PassContext};
use indexmap::IndexMap;
use qcc_ir::dialect::{OpKind, core, int, loops, nn};
use qcc_ir::{
    Bytes, DType, DataId, Func, FuncKind, Level, LocId, MemType, Module, Space, Type, Value,
};

/// The option that splits small kernels too.
const SPLIT_ALL: &str = "split-all";

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "lower-int-to-loop",
    summary: "turn integer ops into loops over memory and vectors",
    doc: include_str!("lower_int_to_loop.rs"),
    needs: LevelSet::only(Level::Int),
    yields: Some(Level::Loop),
    drift: Drift::Exact,
    options: &[OptionSpec {
        name: SPLIT_ALL,
        kind: OptionKind::Bool,
        default: "false",
        help: "split small kernels into tasks too, where there are threads",
    }],
    run,
};

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    let main_id = m.main().ok_or_else(|| {
        Diagnostics::from(crate::Diagnostic::new(PASS.name, "the module has no function 'main'"))
    })?;
    let main = m.funcs[main_id].clone();
    let tasks = Tasks { n: ctx.target.threads as u64, always: ctx.options.flag(SPLIT_ALL) };
    let mut lowering = Lowering::new(m, &main, tasks);
    let mut errors = Vec::new();
    for &op in main.body_ops() {
        let site = Site::new(m, &main, op, Machine::of(ctx.target.cpu));
        let calls = lower_op(&site);
        let loc = main.op(op).loc;
        for remark in site.remarks.take() {
            ctx.remark(m, loc, remark);
        }
        match calls {
            Ok(calls) => calls.into_iter().for_each(|c| lowering.call(&site, c, loc)),
            Err(why) => errors.push(ctx.error(m, loc, format!("{}: {why}", main.kind(op).name()))),
        }
    }
    if !errors.is_empty() {
        return Err(errors.into());
    }
    lowering.install(m, main_id);
    Ok(())
}

fn lower_op(site: &Site) -> Result<Vec<Call>, String> {
    use int::Op::*;
    let mut values = site.func.operands(site.op).iter().chain(site.func.results(site.op));
    let homeless = |v: Value| site.tensor_type(v).layout.is_none() && site.constant(v).is_none();
    if values.any(|&v| homeless(v)) {
        return Err("a tensor has no place in memory; run plan-memory first".into());
    }
    let kind = match site.func.kind(site.op) {
        OpKind::Int(kind) => kind,
        OpKind::Nn(op) => return lower_nn(site, op),
        OpKind::Core(_) => return Ok(vec![]),
        other => return Err(format!("'{}' is not an integer op", other.name())),
    };
    match kind {
        Conv2d(_) | DepthwiseConv2d(_) | FullyConnected(_) => kernels::conv_lower::lower(site),
        RowSums(op) => kernels::row_sums::lower(site, op),
        Add(op) => kernels::add::lower(site, op),
        AddFloat(op) => kernels::pairs::lower_add_float(site, op),
        Mul(op) => kernels::pairs::lower_mul(site, op),
        PairLut(op) => kernels::pairs::lower_pair_lut(site, op),
        MatMul(op) => kernels::matmul::lower(site, op),
        MaxPool2d(op) => kernels::pool::lower_max(site, op),
        AvgPool2d(op) => kernels::pool::lower_avg(site, op),
        Mean(op) => kernels::mean::lower(site, op),
        ReduceMax(op) => kernels::reduce_max::lower(site, op),
        Softmax(op) => kernels::softmax::lower(site, op),
        LogSoftmax(op) => kernels::log_softmax::lower(site, op),
        L2Normalize(op) => kernels::l2_normalize::lower(site, op),
        SoftmaxFloat(op) => kernels::softmax_float::lower(site, op),
        ResizeBilinear(op) => kernels::resize::lower(site, op),
        ArgMax(op) => kernels::arg_max::lower(site, op),
        Quantize(op) => kernels::convert::lower_quantize(site, op),
        Dequantize(op) => kernels::convert::lower_dequantize(site, op),
        Requantize(op) => kernels::convert::lower_requantize(site, op),
        Clamp(op) => kernels::convert::lower_clamp(site, op),
        Lut(op) => kernels::lut::lower(site, op),
        Pad(op) => Ok(pad(site, op)),
        Concat(op) => Ok(concat(site, op.axis as usize)),
        Slice(op) => Ok(slice(site, op)),
        Reshape(_) => reshape(site),
        FlipSign(_) => Ok(copy(site, site.operand(0), Change::FlipSign)),
        Copy(_) => Ok(copy(site, site.operand(0), Change::Keep)),
    }
}

/// Float ops, and ops that move elements of any type.
fn lower_nn(site: &Site, op: &nn::Op) -> Result<Vec<Call>, String> {
    if view_of(site.func, site.op) == Some(ViewOp::Reshape) {
        return reshape(site);
    }
    match op {
        nn::Op::Concat(o) => Ok(concat(site, o.axis as usize)),
        nn::Op::Slice(o) if o.step.iter().all(|&s| s == 1) => {
            Ok(slice(site, &int::Slice { start: o.start.clone() }))
        }
        nn::Op::Pad(o) if o.mode == nn::PadMode::Constant => {
            let value = pad_bits(site, o.value)?;
            Ok(pad(site, &int::Pad { low: o.low.clone(), high: o.high.clone(), value }))
        }
        _ => kernels::float::lower(site, op),
    }
}

/// What a border of `value` is filled with: a code, or the bits of a float.
fn pad_bits(site: &Site, value: f32) -> Result<i32, String> {
    match site.view(site.result()).dtype {
        DType::F32 => Ok(value.to_bits() as i32),
        DType::F64 if value.to_bits() == 0 => Ok(0),
        DType::F64 => Err("a border of float64 that is not 0".into()),
        _ => Ok(value as i32),
    }
}

/// Nothing, if the values already share their place.
fn copy(site: &Site, from: Value, change: Change) -> Vec<Call> {
    let (x, y) = (site.view(from), site.view(site.result()));
    if change == Change::Keep && same_place(site, from, 0, &x, &y) {
        return vec![];
    }
    let args = vec![site.arg(from), site.arg(site.result())];
    vec![Call { kernel: Box::new(Copy { x, y, change }), args }]
}

/// Whether view `y` of the result, `offset` bytes in, is exactly where `from` lives.
fn same_place(site: &Site, from: Value, offset: u64, x: &View, y: &View) -> bool {
    let (Some(a), Some(b)) =
        (&site.tensor_type(from).layout, &site.tensor_type(site.result()).layout)
    else {
        return false;
    };
    let moves = |(d, &n): (usize, &u64)| n > 1 && x.strides[d] != y.strides[d];
    a.space == b.space && a.offset == b.offset + offset && !x.shape.iter().enumerate().any(moves)
}

fn reshape(site: &Site) -> Result<Vec<Call>, String> {
    let (x, y) = (site.view(site.operand(0)), site.view(site.result()));
    if !x.is_dense() || !y.is_dense() {
        return Err("a reshape needs dense tensors".into());
    }
    let x = View { shape: y.shape.clone(), strides: y.strides.clone(), ..x };
    if same_place(site, site.operand(0), 0, &x, &y) {
        return Ok(vec![]);
    }
    let args = vec![site.arg(site.operand(0)), site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(Copy { x, y, change: Change::Keep }), args }])
}

fn slice(site: &Site, op: &int::Slice) -> Vec<Call> {
    let whole = site.view(site.operand(0));
    let y = site.view(site.result());
    let offset: u64 = op.start.iter().zip(&whole.strides).map(|(a, s)| a * s).sum();
    let x = View { shape: y.shape.clone(), ..whole };
    let from = site.tensor_type(site.operand(0)).layout.as_ref();
    let to = site.tensor_type(site.result()).layout.as_ref();
    let in_place = from.zip(to).is_some_and(|(a, b)| {
        let moves = (0..x.shape.len()).any(|d| x.shape[d] > 1 && x.strides[d] != y.strides[d]);
        a.space == b.space && a.offset + offset == b.offset && !moves
    });
    if in_place {
        return vec![];
    }
    let args = vec![Arg::Value { value: site.operand(0), offset }, site.arg(site.result())];
    vec![Call { kernel: Box::new(Copy { x, y, change: Change::Keep }), args }]
}

fn concat(site: &Site, axis: usize) -> Vec<Call> {
    let y = site.view(site.result());
    let mut offset = 0;
    let mut calls = Vec::new();
    for i in 0..site.n_operands() {
        let part = part_copy(site, site.operand(i), &y, offset);
        calls.extend(part);
        offset += site.view(site.operand(i)).shape[axis] * y.strides[axis];
    }
    calls
}

/// Copies `from` to `offset` bytes into the result, unless it is there.
fn part_copy(site: &Site, from: Value, y: &View, offset: u64) -> Option<Call> {
    let x = site.view(from);
    let y = View { shape: x.shape.clone(), ..y.clone() };
    if x.is_empty() || same_place(site, from, offset, &x, &y) {
        return None;
    }
    let args = vec![site.arg(from), Arg::Value { value: site.result(), offset }];
    Some(Call { kernel: Box::new(Copy { x, y, change: Change::Keep }), args })
}

/// The border, two slabs per padded dimension, and the inside unless it is already in place.
fn pad(site: &Site, op: &int::Pad) -> Vec<Call> {
    let y = site.view(site.result());
    let x = site.view(site.operand(0));
    let mut calls = Vec::new();
    let mut inside: Vec<(u64, u64)> = y.shape.iter().map(|&n| (0, n)).collect();
    for d in 0..y.shape.len() {
        let (low, high) = (op.low[d], op.high[d]);
        for (start, n) in [(0, low), (y.shape[d] - high, high)] {
            let mut slab = inside.clone();
            slab[d] = (start, n);
            calls.extend(fill(site, &y, &slab, op.value));
        }
        inside[d] = (low, x.shape[d]);
    }
    let offset = inside.iter().zip(&y.strides).map(|(r, s)| r.0 * s).sum();
    calls.extend(part_copy(site, site.operand(0), &y, offset));
    calls
}

fn fill(site: &Site, y: &View, ranges: &[(u64, u64)], value: i32) -> Option<Call> {
    let offset = ranges.iter().zip(&y.strides).map(|(r, s)| r.0 * s).sum();
    // Floats are filled with their bits.
    let dtype = match y.dtype {
        DType::F32 => DType::I32,
        DType::F64 => DType::I64,
        d => d,
    };
    let view = View { dtype, shape: ranges.iter().map(|r| r.1).collect(), ..y.clone() };
    let args = vec![Arg::Value { value: site.result(), offset }];
    (!view.is_empty()).then(|| Call { kernel: Box::new(Fill { y: view, value }), args })
}

/// The loop-level module taking shape.
struct Lowering {
    main: Func,
    arena: Value,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    kernels: IndexMap<String, Func>,
    consts: IndexMap<Bytes, Value>,
    /// The model's own constants.
    tensors: IndexMap<DataId, Value>,
    new_data: Vec<(String, Bytes, Value)>,
    /// How kernels are split.
    tasks: Tasks,
}

/// A placeholder until the data blocks exist.
fn const_op() -> OpKind {
    OpKind::from(core::Const { data: DataId::from_u32(0) })
}

impl Lowering {
    fn new(m: &Module, old: &Func, tasks: Tasks) -> Lowering {
        let bytes = |v: Value| old.ty(v).as_tensor().map_or(0, |t| t.bytes());
        let mut params = vec![Type::mem(crate::arena_bytes(m), SLACK)];
        params.extend(old.params().iter().map(|&v| Type::mem(bytes(v), 0)));
        params.extend(old.returned().iter().map(|&v| Type::mem(bytes(v), 0)));
        let mut main = Func::new("main", FuncKind::Main, &params);
        main.input_names = names(&old.input_names, old.params().len(), "in");
        main.output_names = names(&old.output_names, old.returned().len(), "out");
        let values = main.params().to_vec();
        let n_in = old.params().len();
        Lowering {
            main,
            arena: values[0],
            inputs: values[1..1 + n_in].to_vec(),
            outputs: values[1 + n_in..].to_vec(),
            kernels: IndexMap::new(),
            consts: IndexMap::new(),
            tensors: IndexMap::new(),
            new_data: vec![],
            tasks,
        }
    }

    fn call(&mut self, site: &Site, call: Call, loc: LocId) {
        let mut mems = Vec::new();
        let mut offsets = Vec::new();
        for arg in call.args {
            let (mem, offset) = match arg {
                Arg::Const { name, bytes } => (self.constant(name, bytes), 0),
                Arg::Value { value, offset } => self.place(site, value, offset),
                Arg::Packed { value, by, bytes } => (self.packed(site, value, by, bytes), 0),
            };
            mems.push(mem);
            offsets.push(offset);
        }
        let parts = if self.tasks.n > 1 { call.kernel.split(self.tasks) } else { vec![] };
        if parts.len() <= 1 {
            return self.push_call(call.kernel.as_ref(), (0, 1), &mems, offsets, loc);
        }
        for (i, part) in parts.iter().enumerate() {
            let offsets = offsets.iter().zip(&part.offsets).map(|(a, b)| a + b).collect();
            let task = (i as u32, parts.len() as u32);
            self.push_call(part.kernel.as_ref(), task, &mems, offsets, loc);
        }
    }

    fn push_call(
        &mut self,
        kernel: &dyn kernels::Kernel,
        (task, tasks): (u32, u32),
        mems: &[Value],
        offsets: Vec<u64>,
        loc: LocId,
    ) {
        let kernel = self.kernel(kernel);
        let call = loops::Call { kernel, offsets, task, tasks };
        self.main.push_op(self.main.body, call, mems, &[], loc);
    }

    /// The buffer that a value lives in, and where.
    fn place(&mut self, site: &Site, value: Value, offset: u64) -> (Value, u64) {
        match &site.tensor_type(value).layout {
            Some(l) => match l.space {
                Space::Arena => (self.arena, l.offset + offset),
                Space::Input(i) => (self.inputs[i as usize], l.offset + offset),
                Space::Output(i) => (self.outputs[i as usize], l.offset + offset),
            },
            None => (self.tensor(site, value), offset),
        }
    }

    /// One of the model's constants as it is.
    fn tensor(&mut self, site: &Site, value: Value) -> Value {
        let id = const_id(site.func, value);
        let id = id.expect("`lower_op` has seen that all but constants are placed");
        if let Some(&v) = self.tensors.get(&id) {
            return v;
        }
        let data = &site.module.data[id];
        let v = self.new_constant(data.name.clone(), data.bytes.clone());
        self.tensors.insert(id, v);
        v
    }

    /// What `by` will make of a constant tensor.
    fn packed(&mut self, site: &Site, value: Value, by: loops::Op, bytes: u64) -> Value {
        let w = self.tensor(site, value);
        let ty = Type::Mem(MemType { bytes, slack: SLACK, constant: true });
        let op = self.main.push_op(self.main.body, OpKind::Loop(by), &[w], &[ty], LocId(0));
        self.main.result(op)
    }

    fn constant(&mut self, name: String, bytes: Vec<u8>) -> Value {
        let bytes = Bytes::from(bytes);
        if let Some(&v) = self.consts.get(&bytes) {
            return v;
        }
        let v = self.new_constant(name, bytes.clone());
        self.consts.insert(bytes, v);
        v
    }

    fn new_constant(&mut self, name: String, bytes: Bytes) -> Value {
        let ty = Type::Mem(MemType { bytes: bytes.len() as u64, slack: SLACK, constant: true });
        let op = self.main.push_op(self.main.body, const_op(), &[], &[ty], LocId(0));
        let v = self.main.result(op);
        self.new_data.push((name, bytes, v));
        v
    }

    fn kernel(&mut self, kernel: &dyn kernels::Kernel) -> String {
        let key = format!("{kernel:?}");
        let index = self.kernels.len();
        let build = || kernel.build(&format!("k{index}_{}", kernel.name()));
        self.kernels.entry(key).or_insert_with(build).name.clone()
    }

    /// Replaces the integer-level contents of `m`.
    fn install(mut self, m: &mut Module, main_id: qcc_ir::FuncId) {
        m.data.clear();
        for (name, bytes, v) in std::mem::take(&mut self.new_data) {
            let id = m.add_data(&name, bytes);
            let op = self.main.def_op(v).expect("a constant's value is a result");
            *self.main.kind_mut(op) = OpKind::from(core::Const { data: id });
        }
        let body = self.main.body;
        self.main.push_op(body, core::Return {}, &[], &[], LocId(0));
        m.funcs[main_id] = self.main;
        for (_, func) in self.kernels {
            m.funcs.push(func);
        }
        m.level = Level::Loop;
    }
}

fn names(given: &[String], n: usize, prefix: &str) -> Vec<String> {
    (0..n).map(|i| given.get(i).cloned().unwrap_or(format!("{prefix}{i}"))).collect()
}
