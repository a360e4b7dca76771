//! Seeded random numbers, tensors and quantized graphs.

use qcc_ir::builder::Builder;
use qcc_ir::dialect::OpKind;
use qcc_ir::dialect::quant::{
    Act, Add, ArgMax, AvgPool2d, Concat, Conv2d, DepthwiseConv2d, FullyConnected, L2Normalize,
    LogSoftmax, MaxPool2d, Mean, PoolSum, ReduceMax, Requantize, Reshape, ResizeBilinear, Softmax,
    Split,
};
use qcc_ir::{
    Affine, DType, FuncKind, Level, Module, Numerics, QuantType, TensorType, Type, Value,
};
use qcc_runtime::{Tensor, TensorDesc};
use std::sync::Arc;

mod pairwise;

/// The SplitMix64 generator: equal seeds give equal numbers on every machine.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// Any number.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// `lo` to `hi`, both included.
    pub fn range(&mut self, lo: i64, hi: i64) -> i64 {
        lo + (self.bits() % (hi - lo + 1) as u64) as i64
    }
    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.bits().is_multiple_of(n)
    }
    /// One of the items.
    pub fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[(self.bits() % items.len() as u64) as usize].clone()
    }
    /// A size: small ones are likely, and sizes around the width of a register.
    fn size(&mut self, most: i64) -> u64 {
        let small = self.one_in(2);
        self.range(1, if small { most.min(4) } else { most }) as u64
    }
    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
    /// Between `lo` and `hi`, evenly on a logarithmic scale.
    fn scale(&mut self, lo: f64, hi: f64) -> f32 {
        (lo * (hi / lo).powf(self.unit())) as f32
    }
    /// Codes of an input: random ones, or all at an end of the range.
    pub fn input(&mut self, d: &TensorDesc) -> Tensor {
        let mut t = Tensor::zeros(d.dtype, d.shape.clone());
        let (lo, hi) = d.dtype.min_max();
        let kind = self.range(0, 5);
        for i in 0..t.len() {
            let code = match kind {
                0 => lo,
                1 => hi,
                2 => self.pick(&[lo, hi]),
                _ => self.range(lo, hi),
            };
            t.set_i64(i, code);
        }
        t
    }
}

/// A random quantized graph of up to 5 ops: every call with an equal seed gives the same.
pub fn graph(seed: u64) -> Module {
    let mut random = Random(seed);
    let dtype = random.pick(&[DType::I8, DType::I8, DType::U8]);
    let shape = [random.range(1, 2) as u64, random.size(9), random.size(9), random.size(36)];
    let numerics = random.pick(&[Numerics::TfLite, Numerics::TfLite, Numerics::Onnx]);
    let mut module = Module::new("random", Level::Quant, numerics);
    let x = quantized(&shape, &activation(&mut random, dtype));
    let b = Builder::add_func(&mut module, "main", FuncKind::Main, &[x]);
    let x = b.param(0);
    let mut g = Graph { random, b, values: vec![x], dtype, numerics };
    for _ in 0..g.random.range(1, 5) {
        let x = g.some_value();
        g.add_op(x);
    }
    let last = g.values[g.values.len() - 1];
    let mut results = vec![last];
    let other = g.some_value();
    if other != last && other != g.values[0] && g.random.one_in(3) {
        results.push(other);
    }
    if g.random.one_in(4) {
        let x = g.some_value();
        results.extend(g.arg_max(x));
    }
    g.b.ret(&results);
    module
}

/// Depthwise convolutions of few channels over rows of whole vectors, which kernels read several
/// pixels at a time: one whose window moves by one pixel, then any.
pub fn few_channels(seed: u64) -> Module {
    let mut random = Random(seed);
    let dtype = random.pick(&[DType::I8, DType::U8]);
    let (row, channels) = (random.pick(&[4, 8, 12, 24, 64]), random.pick(&[1, 2, 4, 8, 16]));
    let shape = [random.range(1, 2) as u64, random.size(5), row, channels];
    let numerics = random.pick(&[Numerics::TfLite, Numerics::Onnx]);
    let mut module = Module::new("random", Level::Quant, numerics);
    let x = quantized(&shape, &activation(&mut random, dtype));
    let b = Builder::add_func(&mut module, "main", FuncKind::Main, &[x]);
    let x = b.param(0);
    let mut g = Graph { random, b, values: vec![x], dtype, numerics };
    let (kernel, dilation) = (g.random.pick(&[1, 3, 3, 5]), g.random.pick(&[1, 1, 2]));
    let side = (kernel as u32 / 2) * dilation;
    let down = g.random.range(1, 2) as u32;
    g.depthwise_of(x, ([kernel, kernel], 1), [[dilation; 2], [down, 1]], [side; 4]);
    let x = g.some_value();
    g.depthwise(x);
    let last = g.values[g.values.len() - 1];
    g.b.ret(&[last]);
    module
}

/// A convolution or matrix product large enough for tiles, and another behind it.
pub fn for_tiles(seed: u64) -> Module {
    let mut random = Random(seed);
    let dtype = random.pick(&[DType::I8, DType::U8]);
    let row = random.pick(&[4, 5, 7, 12, 16, 17, 29, 40]);
    let shape = [1, random.size(4), row, random.pick(&[11, 16, 32, 36, 48, 65, 96, 130])];
    let numerics = random.pick(&[Numerics::TfLite, Numerics::Onnx]);
    let mut module = Module::new("random", Level::Quant, numerics);
    let x = quantized(&shape, &activation(&mut random, dtype));
    let b = Builder::add_func(&mut module, "main", FuncKind::Main, &[x]);
    let x = b.param(0);
    let mut g = Graph { random, b, values: vec![x], dtype, numerics };
    for _ in 0..2 {
        let x = *g.values.last().expect("the input at least");
        let outputs = g.random.pick(&[8, 16, 20, 32, 48, 64, 80, 150]);
        match g.random.one_in(4) || g.shape(x).len() != 4 {
            true => g.fully_connected_of(x, outputs),
            false => g.conv_of(x, 1, outputs),
        }
    }
    let last = *g.values.last().expect("the input at least");
    g.b.ret(&[last]);
    module
}

/// Convolutions whose codes are added to another value of their shape, before or behind it.
pub fn residuals(seed: u64) -> Module {
    let mut random = Random(seed);
    let dtype = random.pick(&[DType::I8, DType::U8]);
    let row = random.pick(&[1, 3, 7, 8, 13, 16, 29]);
    let shape = [random.range(1, 2) as u64, random.size(6), row, random.pick(&[3, 8, 16, 36])];
    let numerics = random.pick(&[Numerics::TfLite, Numerics::Onnx]);
    let mut module = Module::new("random", Level::Quant, numerics);
    let x = quantized(&shape, &activation(&mut random, dtype));
    let b = Builder::add_func(&mut module, "main", FuncKind::Main, &[x]);
    let x = b.param(0);
    let mut g = Graph { random, b, values: vec![x], dtype, numerics };
    let outputs = g.random.pick(&[3, 4, 16, 20, 33, 48, 64, 80, 100]);
    for _ in 0..g.random.range(1, 2) {
        let (x, first) = (g.some_value(), *g.values.last().expect("the input at least"));
        let residual = if g.random.one_in(3) { first } else { g.same_conv(x, outputs) };
        let n = *g.shape(residual).last().expect("rank 4");
        let codes = g.same_conv(x, n);
        let act = g.act();
        let y = quantized(&g.shape(codes), &g.activation());
        let operands = if g.random.one_in(2) { [codes, residual] } else { [residual, codes] };
        g.push(Add { act, pot_scale_int16: false }, &operands, y);
    }
    let sum = *g.values.last().expect("a sum");
    if g.random.one_in(2) {
        let groups = 1;
        g.conv_of(sum, groups, 16);
    }
    let last = *g.values.last().expect("a sum");
    g.b.ret(&[last]);
    module
}

struct Graph<'m> {
    random: Random,
    b: Builder<'m>,
    values: Vec<Value>,
    dtype: DType,
    numerics: Numerics,
}

/// Where the zero point of int8 weights may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zero {
    /// At 0, as the reference demands of convolutions.
    InTheMiddle,
    Anywhere,
}

/// Full-range parameters; one zero point in four is at an end of the range.
fn activation(random: &mut Random, dtype: DType) -> QuantType {
    let (lo, hi) = dtype.min_max();
    let anywhere = random.range(lo, hi);
    let zero = if random.one_in(4) { random.pick(&[lo, hi]) } else { anywhere };
    QuantType::per_tensor(dtype, random.scale(0.004, 0.5), zero as i32)
}

fn quantized(shape: &[u64], q: &QuantType) -> Type {
    TensorType::quant(shape, Arc::new(q.clone())).into()
}

/// Extents of what a window slides over; `None` if it does not fit.
fn window_extent(size: u64, pad: [u32; 2], window: u64, stride: u32) -> Option<u64> {
    let padded = size + u64::from(pad[0] + pad[1]);
    Some(padded.checked_sub(window)? / u64::from(stride) + 1)
}

impl Graph<'_> {
    fn some_value(&mut self) -> Value {
        // The newest one most of the time, so that graphs are deep.
        let n = self.values.len();
        if self.random.one_in(3) { self.random.pick(&self.values) } else { self.values[n - 1] }
    }
    fn ty(&self, v: Value) -> TensorType {
        self.b.ty(v).as_tensor().expect("all values are tensors").clone()
    }
    fn shape(&self, v: Value) -> Vec<u64> {
        self.ty(v).shape.to_vec()
    }
    fn activation(&mut self) -> QuantType {
        activation(&mut self.random, self.dtype)
    }
    fn act(&mut self) -> Act {
        self.random.pick(&[Act::None, Act::None, Act::Relu, Act::Relu6, Act::ReluN1To1])
    }
    fn push(&mut self, kind: impl Into<OpKind>, operands: &[Value], ty: Type) {
        let y = self.b.op1(kind, operands, ty);
        self.values.push(y);
    }

    fn add_op(&mut self, x: Value) {
        let image = self.shape(x).len() == 4;
        match self.random.range(0, 21) {
            0..=2 if image => self.conv(x),
            3 | 4 if image => self.depthwise(x),
            5 | 6 if image => self.pool(x),
            7 if image => self.mean(x),
            // ONNX interpolates in float32, which has no kernel yet.
            8 if image && self.numerics == Numerics::TfLite => self.resize(x),
            9 => self.split(x),
            10 => self.concat(x),
            11 => self.softmax(x),
            12 => self.reshape(x),
            13 => self.requantize(x),
            14 => self.fully_connected(x),
            15 | 16 => self.pair(x),
            17 => self.unary(x),
            18 => self.matmul(x),
            19 => self.reduce_max(x),
            _ => self.add(x),
        }
    }

    /// Random weights of a shape, per slice of `axis` or with one parameter set.
    fn weights(&mut self, shape: &[u64], axis: usize, zero: Zero) -> Value {
        let dtype = self.weight_type();
        let per_axis = dtype == DType::I8 && self.random.one_in(2);
        let scale = |r: &mut Random| r.scale(0.001, 0.02);
        let q = if per_axis {
            let params = (0..shape[axis]).map(|_| Affine::new(scale(&mut self.random), 0));
            QuantType::per_axis(DType::I8, axis, params.collect())
        } else {
            let always = zero == Zero::InTheMiddle || !self.random.one_in(4);
            let symmetric = dtype == DType::I8 && always;
            let (lo, hi) = dtype.min_max();
            let zero = if symmetric { 0 } else { self.random.range(lo, hi) };
            let zero = if !symmetric && self.random.one_in(4) { lo } else { zero };
            QuantType::per_tensor(dtype, scale(&mut self.random), zero as i32)
        };
        let n = shape.iter().product::<u64>();
        let extreme = self.random.one_in(6);
        let random = &mut self.random;
        // -128 does not occur in int8 weights of TFLite, but nothing forbids it.
        let bytes: Vec<u8> =
            (0..n)
                .map(|_| {
                    if extreme {
                        random.pick(&[0x80, 0x7F, 0xFF, 0x00])
                    } else {
                        random.bits() as u8
                    }
                })
                .collect();
        self.b.constant("w", bytes, quantized(shape, &q))
    }
    fn bias(&mut self, n: u64) -> Value {
        let most = self.random.pick(&[0, 100, 20_000, 4_000_000]);
        let random = &mut self.random;
        let bytes: Vec<u8> =
            (0..n).flat_map(|_| (random.range(-most, most) as i32).to_le_bytes()).collect();
        self.b.constant("b", bytes, Type::tensor(&[n], DType::I32))
    }
    /// Operands of a layer with weights: with a bias most of the time.
    fn layer(&mut self, x: Value, w: Value, n: u64) -> Vec<Value> {
        match self.random.one_in(5) {
            true => vec![x, w],
            false => vec![x, w, self.bias(n)],
        }
    }
    /// Padding: none, or less than the window on each side.
    fn pad(&mut self, windows: [u64; 2]) -> [u32; 4] {
        if self.random.one_in(3) {
            return [0; 4];
        }
        let mut side = |w: u64| self.random.range(0, w as i64 - 1) as u32;
        [side(windows[0]), side(windows[0]), side(windows[1]), side(windows[1])]
    }
    fn strides(&mut self) -> [u32; 2] {
        let s = self.random.range(1, 3) as u32;
        if self.random.one_in(4) { [s, self.random.range(1, 3) as u32] } else { [s, s] }
    }
    fn dilations(&mut self) -> [u32; 2] {
        if self.random.one_in(3) {
            [self.random.range(1, 3) as u32, self.random.range(1, 3) as u32]
        } else {
            [1, 1]
        }
    }

    fn conv(&mut self, x: Value) {
        let s = self.shape(x);
        let divisors: Vec<u64> = (1..=s[3]).filter(|g| s[3].is_multiple_of(*g)).collect();
        let groups = if self.random.one_in(4) { self.random.pick(&divisors) } else { 1 };
        let per_group = if groups == 1 { self.random.size(36) } else { self.random.size(5) };
        self.conv_of(x, groups, groups * per_group);
    }
    /// Nothing where the window does not fit.
    fn conv_of(&mut self, x: Value, groups: u64, outputs: u64) {
        let s = self.shape(x);
        let (kernel, dilation, stride) = (self.kernel(), self.dilations(), self.strides());
        let extents = [0, 1].map(|i| u64::from(dilation[i]) * (kernel[i] - 1) + 1);
        let pad = self.pad(extents);
        let rows = window_extent(s[1], [pad[0], pad[1]], extents[0], stride[0]);
        let columns = window_extent(s[2], [pad[2], pad[3]], extents[1], stride[1]);
        let (Some(rows), Some(columns)) = (rows, columns) else { return };
        let w = self.weights(&[outputs, kernel[0], kernel[1], s[3] / groups], 0, Zero::InTheMiddle);
        let operands = self.layer(x, w, outputs);
        let act = self.act();
        let y = quantized(&[s[0], rows, columns, outputs], &self.activation());
        self.push(Conv2d { stride, dilation, pad, groups: groups as u32, act }, &operands, y);
    }
    /// A convolution that keeps the image's extents.
    fn same_conv(&mut self, x: Value, outputs: u64) -> Value {
        let mut shape = self.shape(x);
        let k = self.random.pick(&[1, 1, 3]);
        let w = self.weights(&[outputs, k, k, shape[3]], 0, Zero::InTheMiddle);
        let operands = self.layer(x, w, outputs);
        let act = self.act();
        shape[3] = outputs;
        let y = quantized(&shape, &self.activation());
        let (stride, dilation, pad) = ([1; 2], [1; 2], [k as u32 / 2; 4]);
        self.push(Conv2d { stride, dilation, pad, groups: 1, act }, &operands, y);
        *self.values.last().expect("it was pushed")
    }
    fn kernel(&mut self) -> [u64; 2] {
        let k = self.random.pick(&[1, 1, 2, 3, 3, 5]);
        if self.random.one_in(4) { [k, self.random.size(4)] } else { [k, k] }
    }

    fn depthwise(&mut self, x: Value) {
        let multiplier = if self.random.one_in(3) { self.random.size(4) } else { 1 };
        let (kernel, dilation, stride) = (self.kernel(), self.dilations(), self.strides());
        let extents = [0, 1].map(|i| u64::from(dilation[i]) * (kernel[i] - 1) + 1);
        let pad = self.pad(extents);
        self.depthwise_of(x, (kernel, multiplier), [dilation, stride], pad);
    }
    /// Nothing where the window does not fit.
    fn depthwise_of(
        &mut self,
        x: Value,
        (kernel, multiplier): ([u64; 2], u64),
        [dilation, stride]: [[u32; 2]; 2],
        pad: [u32; 4],
    ) {
        let s = self.shape(x);
        let outputs = s[3] * multiplier;
        let extents = [0, 1].map(|i| u64::from(dilation[i]) * (kernel[i] - 1) + 1);
        let rows = window_extent(s[1], [pad[0], pad[1]], extents[0], stride[0]);
        let columns = window_extent(s[2], [pad[2], pad[3]], extents[1], stride[1]);
        let (Some(rows), Some(columns)) = (rows, columns) else { return };
        let w = self.weights(&[1, kernel[0], kernel[1], outputs], 3, Zero::InTheMiddle);
        let operands = self.layer(x, w, outputs);
        let act = self.act();
        let y = quantized(&[s[0], rows, columns, outputs], &self.activation());
        self.push(DepthwiseConv2d { stride, dilation, pad, act }, &operands, y);
    }

    fn pool(&mut self, x: Value) {
        let (s, t) = (self.shape(x), self.ty(x));
        let (kernel, stride) = (self.kernel(), self.strides());
        let pad = self.pad(kernel);
        let rows = window_extent(s[1], [pad[0], pad[1]], kernel[0], stride[0]);
        let columns = window_extent(s[2], [pad[2], pad[3]], kernel[1], stride[1]);
        let (Some(rows), Some(columns)) = (rows, columns) else { return };
        let y = Type::from(t.with_shape(&[s[0], rows, columns, s[3]]));
        let (window, act) = (kernel.map(|k| k as u32), self.act());
        match self.random.one_in(2) {
            true => self.push(MaxPool2d { window, stride, pad, act }, &[x], y),
            false => self.push(
                AvgPool2d {
                    window,
                    stride,
                    pad,
                    act,
                    count_include_pad: false,
                    sum: PoolSum::Rows,
                },
                &[x],
                y,
            ),
        }
    }

    fn fully_connected(&mut self, x: Value) {
        let outputs = self.random.size(40);
        self.fully_connected_of(x, outputs);
    }
    fn fully_connected_of(&mut self, x: Value, outputs: u64) {
        let s = self.shape(x);
        let inner = *s.last().expect("no scalars");
        let rows: u64 = s[..s.len() - 1].iter().product();
        let w = self.weights(&[outputs, inner], 0, Zero::Anywhere);
        let operands = self.layer(x, w, outputs);
        let act = self.act();
        let y = quantized(&[rows, outputs], &self.activation());
        self.push(FullyConnected { act }, &operands, y);
    }

    fn add(&mut self, x: Value) {
        let operands = self.pair_operands(x);
        let act = self.act();
        let y = quantized(&self.shape(x), &self.activation());
        self.push(Add { act, pot_scale_int16: false }, &operands, y);
    }

    /// x and another value or a constant, in any order.
    fn pair_operands(&mut self, x: Value) -> [Value; 2] {
        let shape = self.shape(x);
        let alike: Vec<Value> =
            self.values.iter().copied().filter(|&v| self.shape(v) == shape).collect();
        let mut other = self.random.pick(&alike);
        if self.random.one_in(2) {
            // A constant, broadcast along some dimensions.
            let mut shape = shape.clone();
            for d in &mut shape {
                if self.random.one_in(3) {
                    *d = 1;
                }
            }
            let n = shape.iter().product::<u64>();
            let bytes: Vec<u8> = (0..n).map(|_| self.random.bits() as u8).collect();
            let q = self.activation();
            other = self.b.constant("c", bytes, quantized(&shape, &q));
        }
        if self.random.one_in(2) { [x, other] } else { [other, x] }
    }

    /// Over any axes, which stay with extent 1 or go.
    fn reduce_max(&mut self, x: Value) {
        let (s, t) = (self.shape(x), self.ty(x));
        let axes: Vec<u32> = (0..s.len() as u32).filter(|_| self.random.one_in(2)).collect();
        let folded = |d: usize| axes.contains(&(d as u32));
        let y: Vec<u64> = match self.random.one_in(2) {
            true => (0..s.len()).map(|d| if folded(d) { 1 } else { s[d] }).collect(),
            false => (0..s.len()).filter(|&d| !folded(d)).map(|d| s[d]).collect(),
        };
        if y.is_empty() {
            return;
        }
        let min = self.random.one_in(2);
        self.push(ReduceMax { axes, min }, &[x], t.with_shape(&y).into());
    }

    fn mean(&mut self, x: Value) {
        let s = self.shape(x);
        let axes = self.random.pick(&[vec![1, 2], vec![1, 2], vec![3], vec![1], vec![2, 3]]);
        let keep = self.random.one_in(2);
        let shape = s.iter().enumerate().filter_map(|(d, &extent)| {
            let gone = axes.contains(&(d as u32));
            if gone { keep.then_some(1) } else { Some(extent) }
        });
        let shape: Vec<u64> = shape.collect();
        let y = quantized(&shape, &self.activation());
        self.push(Mean { axes }, &[x], y);
    }

    fn softmax(&mut self, x: Value) {
        let (lo, hi) = self.dtype.min_max();
        let of = |scale, zero| QuantType::per_tensor(self.dtype, scale, zero as i32);
        let shape = self.shape(x);
        match self.random.range(0, 3) {
            0 if self.numerics == Numerics::TfLite => {
                return self.push(LogSoftmax {}, &[x], quantized(&shape, &of(0.0625, hi)));
            }
            1 if self.numerics == Numerics::TfLite => {
                let unit = of(1.0 / 128.0, lo + 128);
                return self.push(L2Normalize {}, &[x], quantized(&shape, &unit));
            }
            _ => {}
        }
        let q = of(1.0 / 256.0, lo);
        let (y, beta) = (quantized(&self.shape(x), &q), self.random.pick(&[1.0, 1.0, 0.5, 2.0]));
        self.push(Softmax { beta }, &[x], y);
    }

    /// Indices of extremes along any axis, most often the last; none of an empty axis.
    fn arg_max(&mut self, x: Value) -> Option<Value> {
        let mut shape = self.shape(x);
        let last = shape.len() - 1;
        let axis =
            if self.random.one_in(3) { self.random.range(0, last as i64) } else { last as i64 };
        let extent = shape.remove(axis as usize);
        let ty = Type::tensor(&shape, self.random.pick(&[DType::I32, DType::I64]));
        let op = ArgMax { axis: axis as u32, min: self.random.one_in(2) };
        (extent > 0).then(|| self.b.op1(op, &[x], ty))
    }

    fn resize(&mut self, x: Value) {
        let (s, t) = (self.shape(x), self.ty(x));
        let y = t.with_shape(&[s[0], self.random.size(12), self.random.size(12), s[3]]);
        let (align_corners, half_pixel_centers) =
            self.random.pick(&[(false, false), (true, false), (false, true)]);
        self.push(ResizeBilinear { align_corners, half_pixel_centers }, &[x], y.into());
    }

    fn requantize(&mut self, x: Value) {
        if self.random.one_in(3) {
            self.dtype = self.random.pick(&[DType::I8, DType::U8]);
        }
        let y = quantized(&self.shape(x), &self.activation());
        self.push(Requantize {}, &[x], y);
        // Only values of the new type may be used from here on.
        let dtype = self.dtype;
        let b = &self.b;
        self.values.retain(|&v| b.ty(v).as_tensor().is_some_and(|t| t.storage() == dtype));
    }

    fn reshape(&mut self, x: Value) {
        let t = self.ty(x);
        let n = t.len();
        let divisors: Vec<u64> = (1..=n.min(64)).filter(|d| n.is_multiple_of(*d)).collect();
        let inner = self.random.pick(&divisors);
        let shape = match self.random.one_in(2) {
            true => vec![n / inner, inner],
            false => vec![1, 1, n / inner, inner],
        };
        self.push(Reshape {}, &[x], t.with_shape(&shape).into());
    }

    fn split(&mut self, x: Value) {
        let (s, t) = (self.shape(x), self.ty(x));
        let axis = self.random.range(0, s.len() as i64 - 1) as usize;
        if s[axis] < 2 {
            return;
        }
        let first = self.random.range(1, s[axis] as i64 - 1) as u64;
        let part = |extent: u64| {
            let mut shape = s.clone();
            shape[axis] = extent;
            Type::from(t.with_shape(&shape))
        };
        let types = [part(first), part(s[axis] - first)];
        let op = self.b.op(Split { axis: axis as u32 }, &[x], &types);
        let results = self.b.f().results(op).to_vec();
        self.values.extend(results);
    }

    fn concat(&mut self, x: Value) {
        let (s, t) = (self.shape(x), self.ty(x));
        let axis = self.random.range(0, s.len() as i64 - 1) as usize;
        let fits = |v: Value| {
            let o = self.shape(v);
            let same = |d: usize| d == axis || o[d] == s[d];
            // Signed inputs must have the output's parameters.
            let params = self.dtype == DType::U8 || self.ty(v).elem == t.elem;
            o.len() == s.len() && (0..o.len()).all(same) && params
        };
        let alike: Vec<Value> = self.values.iter().copied().filter(|&v| fits(v)).collect();
        let n = self.random.range(1, 3);
        let xs: Vec<Value> = (0..n).map(|_| self.random.pick(&alike)).collect();
        let mut shape = s.clone();
        shape[axis] = xs.iter().map(|&v| self.shape(v)[axis]).sum();
        let q = match self.dtype {
            DType::U8 if self.random.one_in(2) => self.activation(),
            _ => (**t.quant_type().expect("all values are quantized")).clone(),
        };
        self.push(Concat { axis: axis as u32, act: Act::None }, &xs, quantized(&shape, &q));
    }
}
