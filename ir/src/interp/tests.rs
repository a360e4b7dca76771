//! Modules of one op, with literal values.

use super::*;
use crate::dialect::int::{self, AddStyle, MeanRounding, Rescale};
use crate::dialect::loops;
use crate::{DType, FuncKind, MemType, Numerics, Type};

/// A module whose `main` is one op over its parameters and constants.
fn module(
    level: Level,
    kind: impl Into<OpKind>,
    params: &[Type],
    consts: &[Tensor],
    y: Type,
) -> Module {
    let mut m = Module::new("test", level, Numerics::TfLite);
    let mut f = Func::new("main", FuncKind::Main, params);
    let mut operands = f.params().to_vec();
    for t in consts {
        let data = m.add_data("c", t.bytes());
        let shape: Vec<u64> = t.shape().iter().map(|&d| d as u64).collect();
        let ty = Type::tensor(&shape, t.dtype());
        let op = f.push_op(f.body, core::Const { data }, &[], &[ty], Default::default());
        operands.push(f.result(op));
    }
    let op = f.push_op(f.body, kind, &operands, &[y], Default::default());
    let result = f.result(op);
    f.push_op(f.body, core::Return {}, &[result], &[], Default::default());
    m.funcs.push(f);
    m
}

fn i8s(values: &[i8], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape).unwrap()
}

fn run_i8(
    kind: impl Into<OpKind>,
    x: &[i8],
    shape: &[u64],
    y: &[u64],
    consts: &[Tensor],
) -> Vec<i64> {
    let m = module(
        Level::Int,
        kind,
        &[Type::tensor(shape, DType::I8)],
        consts,
        Type::tensor(y, DType::I8),
    );
    let dims: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
    run_main(&m, &[i8s(x, &dims)]).unwrap()[0].to_i64_vec()
}

#[test]
fn requantize_rounds_ties_away_from_zero_and_saturates() {
    // A multiplier of one half.
    let op = int::Requantize { x_zp: 0, mult: 1 << 30, shift: 0, y_zp: 0, lo: -20, hi: 20 };
    let y = run_i8(op, &[1, -1, 3, -3, 100, -100], &[6], &[6], &[]);
    // SRDHM rounds halves up: −1/2 → 0, −3/2 → −1.
    assert_eq!(y, [1, 0, 2, -1, 20, -20]);
    // The same half as a shift: halves away from zero.
    let op = int::Requantize { x_zp: 0, mult: i32::MAX, shift: -1, y_zp: 3, lo: -128, hi: 127 };
    assert_eq!(run_i8(op, &[1, -1, 3, -3], &[4], &[4], &[]), [4, 2, 5, 1]);
}

fn half_pool(rounding: MeanRounding, code_bias: i32) -> int::AvgPool2d {
    let (window, stride) = ([1, 2], [1, 2]);
    int::AvgPool2d { window, stride, pad: [0; 4], rounding, code_bias, lo: -128, hi: 127 }
}

#[test]
fn averages_round_as_asked() {
    let x = [1, 2, -1, -2, 5, 5];
    let (xs, ys) = ([1, 1, 6, 1], [1, 1, 3, 1]);
    assert_eq!(run_i8(half_pool(MeanRounding::HalfAway, 0), &x, &xs, &ys, &[]), [2, -2, 5]);
    // About −128 the sums are 257, 253, 266: halves up.
    assert_eq!(run_i8(half_pool(MeanRounding::HalfUp, -128), &x, &xs, &ys, &[]), [2, -1, 5]);
}

#[test]
fn extremes_along_axes() {
    let x = [1, -7, 3, 5, -128, 4];
    let max = |axes: &[u32], y: &[u64], min| {
        run_i8(int::ReduceMax { axes: axes.to_vec(), min }, &x, &[1, 2, 3], y, &[])
    };
    assert_eq!(max(&[1], &[1, 3], false), [5, -7, 4]);
    assert_eq!(max(&[2], &[2], true), [-7, -128]);
    assert_eq!(max(&[0, 1, 2], &[], false), [5]);
    assert_eq!(max(&[], &[6], true), [1, -7, 3, 5, -128, 4]);
}

#[test]
fn rows_are_normalized() {
    let op = int::L2Normalize { x_zp: 1, left: 0, more: 7, y_zp: 0, lo: -128, hi: 100 };
    assert_eq!(run_i8(op, &[4, 5, 1, -2, 1, 1], &[2, 3], &[2, 3], &[]), [77, 100, 0, -128, 0, 0]);
    let p = qcc_runtime::fixedpoint::LogSoftmaxParams::new(0.0625);
    let op = int::LogSoftmax {
        mult: p.softmax.multiplier.mantissa,
        shift: p.softmax.multiplier.shift,
        diff_min: p.softmax.diff_min,
        back_mult: p.back.mantissa,
        back_shift: p.back.shift,
        lo: -128,
        hi: 127,
    };
    // −ln 2 is 11 sixteenths; 0 of 1 is certain, and 12 below it is exp(−12).
    assert_eq!(run_i8(op, &[3, 3, 90, -102], &[2, 2], &[2, 2], &[]), [116, 116, 127, -65]);
}

fn pointwise(x_zp: i32, w_zp: i32) -> int::Conv2d {
    int::Conv2d {
        stride: [1, 1],
        dilation: [1, 1],
        pad: [0, 0, 1, 0],
        groups: 1,
        pad_value: 7,
        x_zp,
        w_zp,
        rescale: Rescale::Double,
        y_zp: 0,
        lo: -128,
        hi: 127,
        kernel: Default::default(),
        forms: Default::default(),
        epilogue: Default::default(),
    }
}

fn ints(dtype: DType, values: &[i64]) -> Tensor {
    let mut t = Tensor::zeros(dtype, [values.len()]);
    values.iter().enumerate().for_each(|(i, &v)| t.set_i64(i, v));
    t
}

#[test]
fn convolution_reads_the_pad_value_outside() {
    let consts = [
        i8s(&[2], &[1, 1, 1, 1]),
        ints(DType::I32, &[10]),
        ints(DType::I32, &[1 << 30]),
        ints(DType::I32, &[1]),
    ];
    // (7 − 1)·(2 − 3) + 10, then (4 − 1)·(2 − 3) + 10.
    let y = run_i8(pointwise(1, 3), &[4], &[1, 1, 1, 1], &[1, 1, 2, 1], &consts);
    assert_eq!(y, [4, 7]);
}

#[test]
fn an_epilogue_adds_the_clamped_code_and_the_residual() {
    let sum = int::AddFloat {
        a_scale: 1.0,
        b_scale: 2.0,
        offset: 0.25,
        a_bias: 0,
        b_bias: 1,
        y_bias: 10,
        lo: -128,
        hi: 60,
    };
    let epilogue = |conv_is_b| {
        let sum = int::ResidualSum { sum: int::Sum::AddFloat(sum.clone()), conv_is_b };
        int::Epilogue::Sum(Box::new(sum))
    };
    let consts = [
        i8s(&[2], &[1, 1, 1, 1]),
        ints(DType::I32, &[10]),
        ints(DType::I32, &[1 << 30]),
        ints(DType::I32, &[1]),
        ints(DType::I32, &[]),
        ints(DType::F64, &[]),
        i8s(&[5, 30, -60], &[1, 3, 1, 1]),
    ];
    let run = |conv_is_b| {
        let op =
            int::Conv2d { pad: [0; 4], hi: 20, epilogue: epilogue(conv_is_b), ..pointwise(0, 0) };
        run_i8(op, &[1, 4, 100], &[1, 3, 1, 1], &[1, 3, 1, 1], &consts)
    };
    // Codes 12, 18 and 20: c + 2·(r − 1) + 0.25 + 10, or r + 2·(c − 1) + 0.25 + 10, up to 60.
    assert_eq!(run(false), [30, 60, -92]);
    assert_eq!(run(true), [37, 60, -12]);
}

#[test]
fn an_accumulator_wraps_at_32_bits() {
    let mut op = pointwise(0, 0);
    op.pad = [0; 4];
    let consts = [
        i8s(&[1], &[1, 1, 1, 1]),
        ints(DType::I32, &[i32::MAX.into()]),
        ints(DType::I32, &[1 << 30]),
        ints(DType::I32, &[0]),
    ];
    assert_eq!(run_i8(op, &[1], &[1, 1, 1, 1], &[1, 1, 1, 1], &consts), [-128]);
}

#[test]
fn add_broadcasts() {
    let op = int::Add {
        subtract: false,
        style: AddStyle::General,
        left_shift: 1,
        a_zp: 0,
        a_mult: 1 << 30,
        a_shift: 1,
        b_zp: 1,
        b_mult: 1 << 30,
        b_shift: 1,
        y_mult: 1 << 30,
        y_shift: 0,
        y_zp: 0,
        lo: -128,
        hi: 127,
        a_scale: 0.0,
        b_scale: 0.0,
        epsilon: 0.0,
    };
    let y = run_i8(op, &[1, 2, 100, -100], &[2, 2], &[2, 2], &[i8s(&[31, -29], &[2])]);
    assert_eq!(y, [31, -28, 127, -128]);
}

#[test]
fn flip_sign_changes_the_top_bit() {
    let (x, y) = (Type::tensor(&[3], DType::I16), Type::tensor(&[3], DType::U16));
    let m = module(Level::Int, int::FlipSign {}, &[x], &[], y);
    let x = Tensor::from_slice(&[-32768i16, 0, 5], [3]).unwrap();
    assert_eq!(run_main(&m, &[x]).unwrap()[0].to_i64_vec(), [0, 32768, 32773]);
}

#[test]
fn inputs_are_checked() {
    let ty = Type::tensor(&[2], DType::I8);
    let m = module(Level::Int, int::Copy {}, std::slice::from_ref(&ty), &[], ty.clone());
    let error = |inputs: &[Tensor]| run_main(&m, inputs).unwrap_err().to_string();
    assert_eq!(error(&[]), "0 inputs were given, the model has 1");
    assert_eq!(error(&[i8s(&[1], &[1])]), "input 0 is i8 [1], expected i8 [2]");
    let error = run_loop_main(&m, &[]).unwrap_err().to_string();
    assert_eq!(error, "a module at level 'int' is run by run_main");
}

#[test]
fn the_trace_sees_results() {
    let ty = Type::tensor(&[2], DType::I8);
    let m = module(Level::Int, int::Copy {}, std::slice::from_ref(&ty), &[], ty.clone());
    let mut seen = vec![];
    run_main_traced(&m, &[i8s(&[1, 2], &[2])], &mut |_, i, t| seen.push((i, t.to_i64_vec())))
        .unwrap();
    assert_eq!(seen, [(0, vec![1, 2])]);
}

/// A kernel that copies 4 bytes, from byte `offset` of an input of 4 bytes to the output.
fn loop_module(offset: i64) -> Module {
    let mut m = Module::new("test", Level::Loop, Numerics::TfLite);
    let mem = |constant| Type::Mem(MemType { bytes: 4, slack: 0, constant });
    let mut f = Func::new("main", FuncKind::Main, &[mem(false), mem(false), mem(false)]);
    (f.input_names, f.output_names) = (vec!["x".into()], vec!["y".into()]);
    let args = [f.params()[1], f.params()[2]];
    let call = loops::Call { kernel: "copy".into(), offsets: vec![0, 0], task: 0, tasks: 1 };
    f.push_op(f.body, call, &args, &[], Default::default());
    f.push_op(f.body, core::Return {}, &[], &[], Default::default());
    m.funcs.push(f);
    let mut k = Func::new("copy", FuncKind::Kernel, &[mem(false), mem(false)]);
    let [x, y] = [k.params()[0], k.params()[1]];
    let scalar = Type::Scalar(DType::I32);
    let load = loops::Load { offset, strides: vec![] };
    let load = k.push_op(k.body, load, &[x], &[scalar], Default::default());
    let store = loops::Store { offset: 0, strides: vec![] };
    k.push_op(k.body, store, &[k.result(load), y], &[], Default::default());
    k.push_op(k.body, core::Return {}, &[], &[], Default::default());
    m.funcs.push(k);
    m
}

#[test]
fn kernels_stay_inside_their_buffers() {
    let x = vec![1, 2, 3, 4];
    assert_eq!(run_loop_main(&loop_module(0), std::slice::from_ref(&x)), Ok(vec![x.clone()]));
    let error = run_loop_main(&loop_module(1), std::slice::from_ref(&x)).unwrap_err().to_string();
    assert!(error.contains("4 bytes at 1, outside a buffer of 4"), "{error}");
    let error = run_loop_main(&loop_module(0), &[vec![0; 3]]).unwrap_err().to_string();
    assert_eq!(error, "input 0 is 3 bytes, expected 4 bytes");
    let error = run_main(&loop_module(0), &[]).unwrap_err().to_string();
    assert_eq!(error, "a module at level 'loop' is run by run_loop_main");
}

/// Equal parameters on both sides: the codes' mean 2.5 goes to 2; less the zero point it would go
/// to 3 (ONNX Runtime 1.32, MNIST model in QDQ form).
#[test]
fn onnx_averages_codes_of_equal_parameters() {
    let text = "!x = !quant.uniform<u8:f32, 0.5:1>\n\
        module @m level(quant) numerics(onnx) {\n\
        func @main(%x: tensor<1x1x2x1x!x>) -> tensor<1x1x1x1x!x> {\n\
        %y = quant.avg_pool2d(%x) {window = [1, 2], sum = codes} : tensor<1x1x1x1x!x>\n\
        return %y\n}\n}\n";
    let m = crate::text::parse(text, "test").expect("the text is a module");
    let mut x = Tensor::zeros(crate::DType::U8, vec![1, 1, 2, 1]);
    x.set_i64(0, 2);
    x.set_i64(1, 3);
    let y = run_main(&m, &[x]).expect("the op has a form");
    assert_eq!(y[0].to_i64_vec(), [2]);
}
