//! Graphs of a few operators, written as what the reader makes of a file.

use crate::ImportOptions;
use crate::tflite::convert::convert;
use crate::tflite::names::builtin_name;
use crate::tflite::raw::{
    GatherOptions, PackOptions, RawModel, RawOp, RawOptions, RawSubgraph, RawTensor,
    StridedSliceOptions, TfliteType,
};
use qcc_ir::dialect::{nn, quant};
use qcc_ir::{Module, OpKind};

/// A tensor without data; `params` are scale and zero point.
fn tensor(
    name: &str,
    dtype: TfliteType,
    shape: &[i32],
    params: Option<(f32, i64)>,
) -> RawTensor<'static> {
    RawTensor {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
        shape_signature: None,
        data: None,
        scales: params.iter().map(|p| p.0).collect(),
        zero_points: params.iter().map(|p| p.1).collect(),
        min: vec![],
        max: vec![],
        quantized_dimension: 0,
        quantization_details: 0,
        is_variable: false,
        is_sparse: false,
    }
}

/// An int8 activation.
fn codes(name: &str, shape: &[i32], scale: f32) -> RawTensor<'static> {
    tensor(name, TfliteType::INT8, shape, Some((scale, 3)))
}

/// Constant int32 numbers.
fn numbers<'a>(name: &str, shape: &[i32], bytes: &'a [u8]) -> RawTensor<'a> {
    RawTensor { data: Some(bytes.into()), ..tensor(name, TfliteType::INT32, shape, None) }
}

fn bytes(all: &[i32]) -> Vec<u8> {
    all.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn op(name: &str, inputs: &[usize], outputs: &[usize], options: RawOptions) -> RawOp {
    RawOp {
        index: 0,
        opcode: (0..256).find(|&c| builtin_name(c) == Some(name)).unwrap(),
        custom: None,
        version: 1,
        inputs: inputs.iter().map(|&t| Some(t)).collect(),
        outputs: outputs.to_vec(),
        intermediates: vec![],
        options,
    }
}

/// The graph from tensor 0 to the last one.
fn import(tensors: Vec<RawTensor>, ops: Vec<RawOp>) -> Result<Module, String> {
    let outputs = vec![tensors.len() - 1];
    let graph = RawSubgraph { name: "main".into(), tensors, inputs: vec![0], outputs, ops };
    let model = RawModel { version: 3, description: String::new(), subgraphs: vec![graph] };
    let options = ImportOptions::default();
    let module = convert(&model, "m", &options).map_err(|e| e.problems[0].what.clone())?;
    qcc_ir::verify::verify(&module).map_err(|e| e[0].to_string())?;
    Ok(module)
}

/// The ops of a module that are no constants and no return.
fn ops(m: &Module) -> Vec<OpKind> {
    let f = &m.funcs[m.main().unwrap()];
    let all = f.body_ops().iter().map(|&op| f.kind(op).clone());
    all.filter(|k| !matches!(k, OpKind::Core(_))).collect()
}

#[test]
fn codes_are_moved_whatever_they_stand_for() {
    let perm = bytes(&[1, 0]);
    let graph = |y| vec![codes("x", &[2, 3], 0.5), numbers("perm", &[2], &perm), y];
    let turn = || vec![op("TRANSPOSE", &[0, 1], &[2], RawOptions::None)];
    let same = import(graph(codes("y", &[3, 2], 0.5)), turn()).unwrap();
    assert_eq!(ops(&same), [nn::Transpose { perm: vec![1, 0] }.into()]);
    let other = import(graph(codes("y", &[3, 2], 0.25)), turn()).unwrap();
    assert_eq!(ops(&other)[1], quant::Reinterpret {}.into());
    let float = import(graph(tensor("y", TfliteType::FLOAT32, &[3, 2], None)), turn());
    let message = "TRANSPOSE: its output is f32, what it moves is i8 of scale 0.5 and zero point 3";
    assert_eq!(float.unwrap_err(), message);
}

#[test]
fn some_kernels_check_that_parameters_stay() {
    let tensors = vec![codes("x", &[2], 0.5), codes("y", &[1, 2], 0.25)];
    let pack = RawOptions::Pack(PackOptions { axis: 0, values: 1 });
    let message = "PACK: its input is i8 of scale 0.5 and zero point 3, its output i8 of scale 0.25 \
                   and zero point 3; they must agree";
    assert_eq!(import(tensors, vec![op("PACK", &[0], &[1], pack)]).unwrap_err(), message);
    // The border is the zero point of y.
    let around = bytes(&[1, 1]);
    let y = codes("y", &[4], 0.25);
    let tensors = vec![codes("x", &[2], 0.5), numbers("around", &[1, 2], &around), y];
    let m = import(tensors, vec![op("PAD", &[0, 1], &[2], RawOptions::None)]).unwrap();
    assert_eq!(ops(&m)[0], quant::Reinterpret {}.into());
    assert!(matches!(&ops(&m)[1], OpKind::Nn(nn::Op::Pad(p)) if p.low == [1] && p.value == 0.0));
}

#[test]
fn shapes_that_the_graph_computes_are_known() {
    let (zero, one, rest) = (bytes(&[0]), bytes(&[1]), bytes(&[-1]));
    let plain = |name: &str, shape: &[i32]| tensor(name, TfliteType::INT32, shape, None);
    let tensors = vec![
        codes("x", &[2, 3, 4], 0.5),
        plain("shape", &[3]),
        numbers("zero", &[1], &zero),
        numbers("one", &[1], &one),
        plain("first", &[]),
        numbers("rest", &[], &rest),
        plain("target", &[2]),
        codes("y", &[2, 12], 0.5),
    ];
    let slice = StridedSliceOptions {
        begin_mask: 0,
        end_mask: 0,
        ellipsis_mask: 0,
        new_axis_mask: 0,
        shrink_axis_mask: 1,
        offset: false,
    };
    let pack = RawOptions::Pack(PackOptions { axis: 0, values: 2 });
    let all = vec![
        op("SHAPE", &[0], &[1], RawOptions::None),
        op("STRIDED_SLICE", &[1, 2, 3, 3], &[4], RawOptions::StridedSlice(slice)),
        op("PACK", &[4, 5], &[6], pack),
        op("RESHAPE", &[0, 6], &[7], RawOptions::None),
    ];
    let m = import(tensors, all).unwrap();
    assert_eq!(ops(&m), [quant::Reshape {}.into()]);
    let f = &m.funcs[m.main().unwrap()];
    assert_eq!(f.ty(f.returned()[0]).as_tensor().unwrap().shape[..], [2, 12]);
}

#[test]
fn what_is_out_of_reach_is_named() {
    let rows = bytes(&[0, 3]);
    let tensors =
        || vec![codes("x", &[3, 2], 0.5), numbers("rows", &[2], &rows), codes("y", &[2, 2], 0.5)];
    let gather = |axis| RawOptions::Gather(GatherOptions { axis, batch_dims: 0 });
    let found = import(tensors(), vec![op("GATHER", &[0, 1], &[2], gather(0))]);
    assert_eq!(found.unwrap_err(), "GATHER: index 3 of 3 slices");
    let found = import(tensors(), vec![op("GATHER", &[0, 1], &[2], gather(2))]);
    assert_eq!(found.unwrap_err(), "GATHER: axis 2 of 2 dimensions");
    let found = import(tensors(), vec![op("TRANSPOSE", &[0, 1], &[2], RawOptions::None)]);
    assert_eq!(found.unwrap_err(), "TRANSPOSE: axis 3 of 2 dimensions");
}

#[test]
fn a_tensor_is_written_once() {
    let double = |from, to| op("ADD", &[from, from], &[to], RawOptions::None);
    let graph = || vec![codes("x", &[2], 0.5), codes("y", &[2], 0.5)];
    assert!(import(graph(), vec![double(0, 1)]).is_ok());
    let again = import(graph(), vec![double(0, 1), double(1, 1)]).unwrap_err();
    assert_eq!(again, "ADD: 'y' has a value before: a cycle, or two writers");
    let input = import(graph(), vec![double(0, 0), double(0, 1)]).unwrap_err();
    assert_eq!(input, "ADD: 'x' has a value before: a cycle, or two writers");
}
