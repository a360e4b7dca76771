//! Seeded random modules of one op of the nn dialect each, and random inputs for them.

use crate::random::Random;
use qcc_ir::builder::Builder;
use qcc_ir::dialect::OpKind;
use qcc_ir::dialect::nn::*;
use qcc_ir::dialect::quant::Act;
use qcc_ir::{DType, FuncKind, Level, Module, Numerics, Type};
use qcc_runtime::{Tensor, TensorDesc};

/// An operand: extents, element type, and its elements if it is a constant.
type Operand = (Vec<u64>, DType, Option<Tensor>);

/// An op with its operands and the types of its results.
pub struct Case {
    kind: OpKind,
    operands: Vec<Operand>,
    results: Vec<(Vec<u64>, DType)>,
}

/// Makes a case of one op.
type Generator = fn(&mut Random) -> Case;

/// The generators, by name.
pub const OPS: &[(&str, Generator)] = &[
    ("unary", unary),
    ("activation", activation),
    ("binary", binary),
    ("batch_norm", batch_norm),
    ("layer_norm", layer_norm),
    ("fake_quant", fake_quant),
    ("quantize_and_dequantize", quantize_and_dequantize),
    ("softmax", softmax),
    ("reduce", reduce),
    ("pool", pool),
    ("conv2d", conv2d),
    ("depthwise_conv2d", depthwise_conv2d),
    ("fully_connected", fully_connected),
    ("matmul", matmul),
    ("cast", cast),
    ("compare", compare),
    ("select", select),
    ("int_binary", int_binary),
    ("cum_sum", cum_sum),
    ("top_k", top_k),
    ("arg_max", arg_max),
    ("transpose", transpose),
    ("slice", slice),
    ("pad", pad),
    ("broadcast", broadcast),
    ("gather", gather),
    ("concat", concat),
    ("dynamic_quantize", dynamic_quantize),
    ("matmul_integer", matmul_integer),
    ("conv_integer", conv_integer),
    ("resize", resize),
];

/// The module of generator `which` for a seed.
pub fn module(which: usize, seed: u64) -> Module {
    let mut random = Random(seed);
    let Case { kind, operands, results } = OPS[which].1(&mut random);
    let mut m = Module::new(OPS[which].0, Level::Quant, Numerics::TfLite);
    let computed = operands.iter().filter(|o| o.2.is_none());
    let params: Vec<Type> = computed.map(|(s, d, _)| Type::tensor(s, *d)).collect();
    let mut b = Builder::add_func(&mut m, "main", FuncKind::Main, &params);
    let mut next = 0;
    let mut values = Vec::new();
    for (shape, dtype, constant) in &operands {
        values.push(match constant {
            Some(t) => b.constant("c", t.bytes().to_vec(), Type::tensor(shape, *dtype)),
            None => {
                next += 1;
                b.param(next - 1)
            }
        });
    }
    let types: Vec<Type> = results.iter().map(|(s, d)| Type::tensor(s, *d)).collect();
    let op = b.op(kind, &values, &types);
    let results = b.module.funcs[b.func].results(op).to_vec();
    b.ret(&results);
    m
}

/// Elements for an input: floats of several kinds, integers of the whole range or near 0.
pub fn input(random: &mut Random, d: &TensorDesc) -> Tensor {
    let shape: Vec<u64> = d.shape.iter().map(|&n| n as u64).collect();
    match d.dtype {
        DType::F32 => floats(random, &shape),
        _ => {
            let mut t = Tensor::zeros(d.dtype, d.shape.clone());
            let (lo, hi) = d.dtype.min_max();
            let (lo, hi) = (lo.max(-1 << 60), hi.min(1 << 60));
            let near = random.one_in(2);
            for i in 0..t.len() {
                let v = if near { random.range(-4, 9) } else { random.range(lo / 2, hi / 2) * 2 };
                t.set_i64(i, v.clamp(lo, hi));
            }
            t
        }
    }
}

/// Random floats: ordinary ones, or among them zeros, halves, huge and tiny ones, infinities, NaN.
fn floats(random: &mut Random, shape: &[u64]) -> Tensor {
    let special =
        [0.0, -0.0, 0.5, -1.5, 1e30, -3e38, 1e-42, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let (odd, most) = (random.one_in(3), random.pick(&[1i64, 8, 100]));
    let n: u64 = shape.iter().product();
    let value = |_| match odd && random.one_in(12) {
        true => random.pick(&special),
        false => random.range(-most << 20, most << 20) as f32 / (1 << 20) as f32,
    };
    let all: Vec<f32> = (0..n).map(value).collect();
    let shape: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
    Tensor::from_slice(&all, shape).expect("as many elements as the shape has")
}

fn computed(shape: &[u64]) -> Operand {
    (shape.to_vec(), DType::F32, None)
}

/// A constant most of the time.
fn parameter(random: &mut Random, shape: &[u64]) -> Operand {
    let t = (!random.one_in(4)).then(|| floats(random, shape));
    (shape.to_vec(), DType::F32, t)
}

fn size(random: &mut Random, most: i64) -> u64 {
    let small = random.one_in(2);
    random.range(1, if small { most.min(4) } else { most }) as u64
}

fn shape(random: &mut Random) -> Vec<u64> {
    let rank = random.range(0, 4);
    (0..rank).map(|i| if i + 1 == rank { size(random, 70) } else { size(random, 5) }).collect()
}

fn image(random: &mut Random) -> Vec<u64> {
    vec![random.range(1, 2) as u64, size(random, 9), size(random, 9), size(random, 37)]
}

fn act(random: &mut Random) -> Act {
    random.pick(&[Act::None, Act::None, Act::Relu, Act::Relu6, Act::ReluN1To1])
}

fn case(kind: impl Into<OpKind>, operands: Vec<Operand>, result: &[u64]) -> Case {
    Case { kind: kind.into(), operands, results: vec![(result.to_vec(), DType::F32)] }
}

fn unary(random: &mut Random) -> Case {
    use UnaryFn::*;
    let f = random.pick(&[
        Abs,
        Neg,
        Exp,
        Log,
        Sqrt,
        Rsqrt,
        Reciprocal,
        Square,
        Sign,
        Floor,
        Ceil,
        Round,
        Sin,
        Cos,
        Sigmoid,
        Tanh,
        Erf,
        Gelu,
        GeluTanh,
        LeakyRelu,
        Elu,
        Selu,
        Softplus,
        Softsign,
        HardSigmoid,
        HardSwish,
        Clip,
        ThresholdedRelu,
    ]);
    let s = shape(random);
    case(Unary { f, alpha: random.pick(&[0.0, 0.25, -1.5]), beta: 2.5 }, vec![computed(&s)], &s)
}

fn activation(random: &mut Random) -> Case {
    let s = shape(random);
    case(Activation { act: act(random) }, vec![computed(&s)], &s)
}

/// A shape that broadcasts to `s`.
fn part(random: &mut Random, s: &[u64]) -> Vec<u64> {
    let kept: Vec<u64> = s.iter().map(|&n| if random.one_in(4) { 1 } else { n }).collect();
    let dropped = if random.one_in(3) { random.range(0, s.len() as i64) as usize } else { 0 };
    kept[dropped..].to_vec()
}

fn binary(random: &mut Random) -> Case {
    let s = shape(random);
    let (mut a, mut b) = (s.clone(), part(random, &s));
    if random.one_in(3) {
        std::mem::swap(&mut a, &mut b);
    }
    let act = act(random);
    let f = random.pick(&[
        BinaryFn::Min,
        BinaryFn::Max,
        BinaryFn::Pow,
        BinaryFn::SquaredDifference,
        BinaryFn::Prelu,
    ]);
    let kind: OpKind = match random.range(0, 6) {
        0 => Add { act }.into(),
        1 => Sub { act }.into(),
        2 => Mul { act }.into(),
        3 => Div { act }.into(),
        _ => Binary { f }.into(),
    };
    let operands = vec![parameter(random, &a), computed(&b)];
    case(kind, operands, &s)
}

/// An operand of `dtype`, not constant.
fn given(shape: &[u64], dtype: DType) -> Operand {
    (shape.to_vec(), dtype, None)
}

fn compare(random: &mut Random) -> Case {
    let s = shape(random);
    let dtype = random.pick(&DType::ALL);
    let f = random.pick(&[
        CompareFn::Equal,
        CompareFn::NotEqual,
        CompareFn::Less,
        CompareFn::LessEqual,
    ]);
    let operands = vec![given(&s, dtype), given(&part(random, &s), dtype)];
    Case { kind: Compare { f }.into(), operands, results: vec![(s, DType::Bool)] }
}

fn select(random: &mut Random) -> Case {
    let s = shape(random);
    let dtype = random.pick(&DType::ALL);
    let operands = vec![
        given(&part(random, &s), DType::Bool),
        given(&s, dtype),
        given(&part(random, &s), dtype),
    ];
    Case { kind: Select {}.into(), operands, results: vec![(s, dtype)] }
}

fn int_binary(random: &mut Random) -> Case {
    let s = shape(random);
    let bits = [IntFn::And, IntFn::Or, IntFn::Xor];
    let (dtype, f) = match random.one_in(4) {
        true => (DType::Bool, random.pick(&bits)),
        false => {
            let all = [IntFn::Add, IntFn::Sub, IntFn::Mul, IntFn::Min, IntFn::Max, IntFn::And];
            (random.pick(&INTEGERS), random.pick(&all))
        }
    };
    let operands = vec![given(&s, dtype), given(&part(random, &s), dtype)];
    Case { kind: IntBinary { f }.into(), operands, results: vec![(s, dtype)] }
}

const INTEGERS: [DType; 6] = [DType::I8, DType::U8, DType::I16, DType::U16, DType::I32, DType::I64];

fn cum_sum(random: &mut Random) -> Case {
    let s = rows(random);
    let axis = random.range(0, s.len() as i64 - 1) as u32;
    let floats = [DType::F32, DType::F64];
    let dtype = if random.one_in(2) { random.pick(&floats) } else { random.pick(&INTEGERS) };
    let kind = CumSum { axis, exclusive: random.one_in(2), reverse: random.one_in(2) };
    Case { kind: kind.into(), operands: vec![given(&s, dtype)], results: vec![(s, dtype)] }
}

fn top_k(random: &mut Random) -> Case {
    let s = rows(random);
    let mut y = s.clone();
    let last = y.len() - 1;
    y[last] = random.range(1, y[last] as i64) as u64;
    let results = vec![(y.clone(), DType::F32), (y, random.pick(&[DType::I32, DType::I64]))];
    Case { kind: TopK { min: random.one_in(2) }.into(), operands: vec![computed(&s)], results }
}

/// A shape of rank 1 or more.
fn rows(random: &mut Random) -> Vec<u64> {
    let s = shape(random);
    if s.is_empty() { vec![size(random, 70)] } else { s }
}

fn batch_norm(random: &mut Random) -> Case {
    let s = rows(random);
    let c = [*s.last().expect("rank 1 or more")];
    let mut operands = vec![computed(&s)];
    operands.extend((0..4).map(|_| parameter(random, &c)));
    case(BatchNorm { epsilon: 0.25 }, operands, &s)
}

fn layer_norm(random: &mut Random) -> Case {
    let s = rows(random);
    let c = [*s.last().expect("rank 1 or more")];
    let mut operands = vec![computed(&s), parameter(random, &c)];
    if !random.one_in(3) {
        operands.push(parameter(random, &c));
    }
    case(LayerNorm { epsilon: 1e-5 }, operands, &s)
}

fn fake_quant(random: &mut Random) -> Case {
    let s = shape(random);
    let slices = s.last().copied().filter(|_| random.one_in(2));
    let range: Vec<u64> = slices.into_iter().collect();
    let operands = vec![computed(&s), parameter(random, &range), parameter(random, &range)];
    let form =
        random.pick(&[FakeQuantForm::Divide, FakeQuantForm::Multiply, FakeQuantForm::FromLow]);
    let num_bits = random.range(2, 16) as u32;
    case(FakeQuant { num_bits, narrow_range: random.one_in(2), form }, operands, &s)
}

fn quantize_and_dequantize(random: &mut Random) -> Case {
    let s = shape(random);
    let axis = random.range(-1, s.len() as i64 - 1) as i32;
    let mut operands = vec![computed(&s)];
    if random.one_in(2) {
        let range: Vec<u64> = s.get(axis as usize).copied().into_iter().collect();
        operands.extend((0..2).map(|_| parameter(random, &range)));
    }
    let kind = QuantizeAndDequantize {
        num_bits: random.range(2, 16) as u32,
        signed: random.one_in(2),
        narrow_range: random.one_in(2),
        halves: random.pick(&[Halves::Even, Halves::Up]),
        axis,
        limit: true,
    };
    case(kind, operands, &s)
}

fn softmax(random: &mut Random) -> Case {
    let s = rows(random);
    if random.one_in(3) {
        return case(LogSoftmax {}, vec![computed(&s)], &s);
    }
    case(Softmax { beta: random.pick(&[1.0, 0.3, -2.0]) }, vec![computed(&s)], &s)
}

fn reduce(random: &mut Random) -> Case {
    let s = shape(random);
    let axes: Vec<u32> = (0..s.len() as u32).filter(|_| random.one_in(2)).collect();
    let left: Vec<u64> =
        (0..s.len()).filter(|d| !axes.contains(&(*d as u32))).map(|d| s[d]).collect();
    use ReduceFn::*;
    let kind: OpKind = match random.one_in(4) {
        true => Mean { axes }.into(),
        false => Reduce { f: random.pick(&[Sum, Prod, Min, Max, SumSquare, L2, L1]), axes }.into(),
    };
    case(kind, vec![computed(&s)], &left)
}

/// Padding less than the window on each side.
fn pads(random: &mut Random, window: [u64; 2]) -> [u32; 4] {
    if random.one_in(3) {
        return [0; 4];
    }
    let mut side = |w: u64| random.range(0, w as i64 - 1) as u32;
    [side(window[0]), side(window[0]), side(window[1]), side(window[1])]
}

/// Output extents of a window (with dilation) over an image; the pads grow until it fits.
fn outputs(s: &[u64], window: [u64; 2], stride: [u32; 2], pad: &mut [u32; 4]) -> [u64; 2] {
    [0, 1].map(|d| {
        let padded = |pad: &[u32; 4]| s[1 + d] + u64::from(pad[2 * d] + pad[2 * d + 1]);
        while padded(pad) < window[d] {
            pad[2 * d] += 1;
        }
        (padded(pad) - window[d]) / u64::from(stride[d]) + 1
    })
}

fn strides(random: &mut Random) -> [u32; 2] {
    [random.range(1, 3) as u32, random.range(1, 3) as u32]
}

fn pool(random: &mut Random) -> Case {
    let s = image(random);
    let window = [random.range(1, 4) as u64, random.range(1, 4) as u64];
    let (stride, mut pad) = (strides(random), pads(random, window));
    let [oh, ow] = outputs(&s, window, stride, &mut pad);
    let (window, act) = (window.map(|n| n as u32), act(random));
    let kind: OpKind = match random.one_in(2) {
        true => MaxPool2d { window, stride, pad, act }.into(),
        false => {
            let [count_include_pad, by_columns] = [random.one_in(2), random.one_in(2)];
            AvgPool2d { window, stride, pad, act, count_include_pad, by_columns }.into()
        }
    };
    case(kind, vec![computed(&s)], &[s[0], oh, ow, s[3]])
}

fn dilations(random: &mut Random) -> [u32; 2] {
    if random.one_in(3) { [random.range(1, 3) as u32, random.range(1, 3) as u32] } else { [1, 1] }
}

/// Window, its extents with dilation.
fn window(random: &mut Random, dilation: [u32; 2]) -> ([u64; 2], [u64; 2]) {
    let window = [random.range(1, 4) as u64, random.range(1, 4) as u64];
    (window, [0, 1].map(|d| (window[d] - 1) * u64::from(dilation[d]) + 1))
}

/// Operands of a layer with weights: with a bias most of the time.
fn layer(random: &mut Random, x: &[u64], w: &[u64], channels: u64) -> Vec<Operand> {
    let mut operands = vec![computed(x), parameter(random, w)];
    if !random.one_in(4) {
        operands.push(parameter(random, &[channels]));
    }
    operands
}

fn conv2d(random: &mut Random) -> Case {
    let groups = if random.one_in(3) { random.range(1, 4) as u64 } else { 1 };
    let (per_in, per_out) = (size(random, 9), size(random, 37));
    let mut s = image(random);
    s[3] = groups * per_in;
    let (stride, dilation) = (strides(random), dilations(random));
    let (taps, extents) = window(random, dilation);
    let mut pad = pads(random, extents);
    let [oh, ow] = outputs(&s, extents, stride, &mut pad);
    let operands =
        layer(random, &s, &[groups * per_out, taps[0], taps[1], per_in], groups * per_out);
    let kind = Conv2d { stride, dilation, pad, groups: groups as u32, act: act(random) };
    case(kind, operands, &[s[0], oh, ow, groups * per_out])
}

fn depthwise_conv2d(random: &mut Random) -> Case {
    let s = image(random);
    let multiplier = if random.one_in(3) { size(random, 9) } else { 1 };
    let (stride, dilation) = (strides(random), dilations(random));
    let (taps, extents) = window(random, dilation);
    let mut pad = pads(random, extents);
    let [oh, ow] = outputs(&s, extents, stride, &mut pad);
    let n_out = s[3] * multiplier;
    let operands = layer(random, &s, &[1, taps[0], taps[1], n_out], n_out);
    let kind = DepthwiseConv2d { stride, dilation, pad, act: act(random) };
    case(kind, operands, &[s[0], oh, ow, n_out])
}

fn fully_connected(random: &mut Random) -> Case {
    let [m, k, n] = [size(random, 9), size(random, 70), size(random, 70)];
    let x = if random.one_in(3) { vec![m, 1, k, 1] } else { vec![m, k] };
    let operands = layer(random, &x, &[n, k], n);
    case(FullyConnected { act: act(random) }, operands, &[m, n])
}

fn matmul(random: &mut Random) -> Case {
    let [m, k, n] = [size(random, 9), size(random, 40), size(random, 40)];
    let lead: Vec<u64> = (0..random.range(0, 2)).map(|_| size(random, 3)).collect();
    let (a_lead, b_lead) = (lead.clone(), part(random, &lead));
    let (transpose_a, transpose_b) = (random.one_in(3), random.one_in(3));
    let a = [a_lead, if transpose_a { vec![k, m] } else { vec![m, k] }].concat();
    let b = [b_lead, if transpose_b { vec![n, k] } else { vec![k, n] }].concat();
    let operands = vec![computed(&a), parameter(random, &b)];
    case(MatMul { transpose_a, transpose_b }, operands, &[lead, vec![m, n]].concat())
}

/// Any element type that a tensor may have.
fn any_type(random: &mut Random) -> DType {
    random.pick(&[DType::F32, DType::F32, DType::I8, DType::U8, DType::I16, DType::I32, DType::I64])
}

fn moved(kind: impl Into<OpKind>, x: &[u64], d: DType, y: &[u64]) -> Case {
    Case {
        kind: kind.into(),
        operands: vec![(x.to_vec(), d, None)],
        results: vec![(y.to_vec(), d)],
    }
}

fn cast(random: &mut Random) -> Case {
    let s = shape(random);
    let (from, to) = (any_type(random), random.pick(&DType::ALL));
    let mut case = moved(Cast {}, &s, from, &s);
    case.results[0].1 = to;
    case
}

fn arg_max(random: &mut Random) -> Case {
    let s = rows(random);
    let axis = random.range(0, s.len() as i64 - 1) as usize;
    let mut y = s.clone();
    y.remove(axis);
    let kind = ArgMax { axis: axis as u32, min: random.one_in(2) };
    let mut case = case(kind, vec![computed(&s)], &y);
    case.results[0].1 = random.pick(&[DType::I32, DType::I64]);
    case
}

fn transpose(random: &mut Random) -> Case {
    let (s, d) = (shape(random), any_type(random));
    let mut perm: Vec<u32> = (0..s.len() as u32).collect();
    for i in (1..perm.len()).rev() {
        perm.swap(i, random.range(0, i as i64) as usize);
    }
    let y: Vec<u64> = perm.iter().map(|&p| s[p as usize]).collect();
    moved(Transpose { perm }, &s, d, &y)
}

fn slice(random: &mut Random) -> Case {
    let (s, d) = (shape(random), any_type(random));
    let dense = random.one_in(3);
    let (mut start, mut step, mut y) = (vec![], vec![], vec![]);
    for &n in &s {
        let by = if dense { 1 } else { random.pick(&[1, 1, 2, -1, -3]) };
        let at = random.range(0, n as i64 - 1);
        let room = if by > 0 { n as i64 - 1 - at } else { at };
        let most = room / i64::abs(by) + 1;
        y.push(random.range(1, most) as u64);
        start.push(at as u64);
        step.push(by);
    }
    moved(Slice { start, step }, &s, d, &y)
}

fn pad(random: &mut Random) -> Case {
    let (s, d) = (shape(random), any_type(random));
    let mode =
        random.pick(&[PadMode::Constant, PadMode::Reflect, PadMode::Symmetric, PadMode::Edge]);
    let most = |n: u64| match mode {
        PadMode::Reflect => n as i64 - 1,
        PadMode::Symmetric => n as i64,
        _ => 4,
    };
    let mut side = |n: &u64| random.range(0, most(*n).min(4)) as u64;
    let (low, high): (Vec<u64>, Vec<u64>) = s.iter().map(|n| (side(n), side(n))).unzip();
    let y: Vec<u64> = (0..s.len()).map(|i| s[i] + low[i] + high[i]).collect();
    moved(Pad { low, high, mode, value: random.pick(&[0.0, 3.0, 100.0]) }, &s, d, &y)
}

fn broadcast(random: &mut Random) -> Case {
    let (s, d) = (shape(random), any_type(random));
    let x = part(random, &s);
    moved(Broadcast {}, &x, d, &s)
}

fn gather(random: &mut Random) -> Case {
    let (s, d) = (rows(random), any_type(random));
    let axis = random.range(0, s.len() as i64 - 1) as usize;
    let indices: Vec<u64> = (0..random.range(0, 2)).map(|_| size(random, 5)).collect();
    let y = [&s[..axis], &indices, &s[axis + 1..]].concat();
    let mut case = moved(Gather { axis: axis as u32 }, &s, d, &y);
    let ints = [DType::I32, DType::I64, DType::I32, DType::U8];
    case.operands.push((indices, random.pick(&ints), None));
    case
}

fn concat(random: &mut Random) -> Case {
    let (s, d) = (rows(random), any_type(random));
    let axis = random.range(0, s.len() as i64 - 1) as usize;
    let mut y = s.clone();
    y[axis] = 0;
    let mut case = moved(Concat { axis: axis as u32 }, &s, d, &s);
    case.operands.clear();
    for _ in 0..random.range(1, 3) {
        let mut part = s.clone();
        part[axis] = size(random, 9);
        y[axis] += part[axis];
        case.operands.push((part, d, None));
    }
    case.results[0].0 = y;
    case
}

fn dynamic_quantize(random: &mut Random) -> Case {
    let s = shape(random);
    let results = vec![(s.clone(), DType::U8), (vec![], DType::F32), (vec![], DType::U8)];
    Case { kind: DynamicQuantize {}.into(), operands: vec![computed(&s)], results }
}

/// Random codes, constant most of the time if `constant`.
fn codes(random: &mut Random, shape: &[u64], d: DType, constant: bool) -> Operand {
    let (lo, hi) = d.min_max();
    let near = random.one_in(2);
    let mut t = Tensor::zeros(d, shape.iter().map(|&n| n as usize).collect::<Vec<_>>());
    for i in 0..t.len() {
        let v = if near { random.range(lo / 2, hi / 2) } else { random.range(lo, hi) };
        t.set_i64(i, v);
    }
    (shape.to_vec(), d, (constant && !random.one_in(4)).then_some(t))
}

/// Zero points for two factors of types `d`: none, one or both.
fn zero_points(random: &mut Random, d: [DType; 2], ends: [u64; 2]) -> Vec<Operand> {
    (0..random.range(0, 2) as usize)
        .map(|i| {
            let shape = if random.one_in(2) { vec![] } else { vec![ends[i]] };
            codes(random, &shape, d[i], i == 1)
        })
        .collect()
}

fn matmul_integer(random: &mut Random) -> Case {
    let [m, k, n] = [size(random, 9), size(random, 40), size(random, 40)];
    let lead: Vec<u64> = (0..random.range(0, 2)).map(|_| size(random, 3)).collect();
    let d = [DType::U8, random.pick(&[DType::U8, DType::I8])];
    let d = if random.one_in(3) { [DType::I8, d[1]] } else { d };
    let b_lead = if random.one_in(2) { vec![] } else { part(random, &lead) };
    let (a, b) = ([lead.clone(), vec![m, k]].concat(), [b_lead, vec![k, n]].concat());
    let mut operands = vec![codes(random, &a, d[0], false), codes(random, &b, d[1], true)];
    operands.extend(zero_points(random, d, [m, n]));
    let results = vec![([lead, vec![m, n]].concat(), DType::I32)];
    Case { kind: MatMulInteger {}.into(), operands, results }
}

fn conv_integer(random: &mut Random) -> Case {
    let groups = if random.one_in(3) { random.range(1, 4) as u64 } else { 1 };
    let (per_in, per_out) = (size(random, 9), size(random, 9));
    let mut s = image(random);
    s[3] = groups * per_in;
    let (stride, dilation) = (strides(random), dilations(random));
    let (taps, extents) = window(random, dilation);
    let mut pad = pads(random, extents);
    let [oh, ow] = outputs(&s, extents, stride, &mut pad);
    let d = [0, 1].map(|_| random.pick(&[DType::U8, DType::I8]));
    let n_out = groups * per_out;
    let w = [n_out, taps[0], taps[1], per_in];
    let mut operands = vec![codes(random, &s, d[0], false), codes(random, &w, d[1], true)];
    operands.extend(zero_points(random, d, [1, n_out]));
    let kind = ConvInteger { stride, dilation, pad, groups: groups as u32 }.into();
    Case { kind, operands, results: vec![(vec![s[0], oh, ow, n_out], DType::I32)] }
}

fn resize(random: &mut Random) -> Case {
    let s = image(random);
    let y = [s[0], size(random, 12), size(random, 12), s[3]];
    use ResizeCoordinates::*;
    let coordinates = random.pick(&[Asymmetric, HalfPixel, AlignCorners]);
    if random.one_in(2) {
        return case(ResizeBilinear { coordinates }, vec![computed(&s)], &y);
    }
    use NearestRounding::*;
    let rounding = random.pick(&[Floor, Ceil, HalfDown, HalfUp]);
    moved(ResizeNearest { coordinates, rounding }, &s, any_type(random), &y)
}

/// A module of several float ops, many of them views of others' results.
pub fn chain(seed: u64) -> Module {
    let mut random = Random(seed);
    let mut m = Module::new("chain", Level::Quant, Numerics::TfLite);
    let s = image(&mut random);
    let params = [Type::tensor(&s, DType::F32)];
    let b = Builder::add_func(&mut m, "main", FuncKind::Main, &params);
    let x = b.param(0);
    let mut c = Chain { random, b, values: vec![x] };
    for _ in 0..c.random.range(2, 7) {
        c.step();
    }
    let n = c.values.len();
    let mut results = vec![c.values[n - 1]];
    let other = c.pick();
    if other != results[0] && other != c.values[0] && c.random.one_in(2) {
        results.push(other);
    }
    c.b.ret(&results);
    m
}

struct Chain<'m> {
    random: Random,
    b: Builder<'m>,
    values: Vec<qcc_ir::Value>,
}

impl Chain<'_> {
    fn pick(&mut self) -> qcc_ir::Value {
        let n = self.values.len();
        if self.random.one_in(3) { self.random.pick(&self.values) } else { self.values[n - 1] }
    }
    fn shape(&self, v: qcc_ir::Value) -> Vec<u64> {
        self.b.ty(v).as_tensor().expect("all values are tensors").shape.to_vec()
    }
    fn push(&mut self, kind: impl Into<OpKind>, operands: &[qcc_ir::Value], y: &[u64]) {
        let y = self.b.op1(kind, operands, Type::tensor(y, DType::F32));
        self.values.push(y);
    }

    fn step(&mut self) {
        let x = self.pick();
        let s = self.shape(x);
        let random = &mut self.random;
        match random.range(0, 9) {
            0 | 1 => {
                let f = random.pick(&[UnaryFn::Neg, UnaryFn::Abs, UnaryFn::Tanh, UnaryFn::Exp]);
                self.push(Unary { f, alpha: 0.0, beta: 0.0 }, &[x], &s);
            }
            2 => {
                let axis = random.range(0, 3) as usize;
                let mut y = s.clone();
                y[axis] *= 2;
                let other = if random.one_in(3) { x } else { self.pick() };
                let other = if self.shape(other) == s { other } else { x };
                self.push(Concat { axis: axis as u32 }, &[x, other], &y);
            }
            3 => {
                let y: Vec<u64> = s.iter().map(|&n| random.range(1, n as i64) as u64).collect();
                let start = (0..4).map(|d| random.range(0, (s[d] - y[d]) as i64) as u64).collect();
                self.push(Slice { start, step: vec![1; 4] }, &[x], &y);
            }
            4 => {
                let (low, high) = (vec![0, 1, random.range(0, 2) as u64, 0], vec![0, 0, 1, 0]);
                let y: Vec<u64> = (0..4).map(|d| s[d] + low[d] + high[d]).collect();
                let mode = random.pick(&[PadMode::Constant, PadMode::Edge]);
                self.push(Pad { low, high, mode, value: -1.5 }, &[x], &y);
            }
            5 => {
                let y = [s[0], s[1] * s[2], 1, s[3]];
                self.push(Reshape {}, &[x], &y);
            }
            6 => {
                let perm = random.pick(&[[0, 2, 1, 3], [0, 1, 3, 2], [0, 3, 1, 2]]);
                let y = perm.map(|d| s[d as usize]);
                self.push(Transpose { perm: perm.to_vec() }, &[x], &y);
            }
            7 => {
                let w = floats(random, &[4, 1, 1, s[3]]);
                let w = self.b.constant(
                    "w",
                    w.bytes().to_vec(),
                    Type::tensor(&[4, 1, 1, s[3]], DType::F32),
                );
                let (stride, dilation, pad) = ([1, 1], [1, 1], [0; 4]);
                let kind = Conv2d { stride, dilation, pad, groups: 1, act: Act::Relu };
                self.push(kind, &[x, w], &[s[0], s[1], s[2], 4]);
            }
            8 => self.push(Softmax { beta: 1.0 }, &[x], &s),
            _ => self.push(Add { act: Act::None }, &[x, x], &s),
        }
    }
}
