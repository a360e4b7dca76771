//! The embedding API as a program in Rust uses it.

use qcc::ir::builder::Builder;
use qcc::ir::dialect::quant::{Act, FullyConnected};
use qcc::ir::{DType, FuncKind, Level, Module, Numerics, QuantType, TensorType, Type};
use qcc::{Compiler, Error, Model, Session, npz};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn digits(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits").join(file)
}

fn compiled() -> Model {
    Compiler::new().compile_file(digits("digits.tflite")).unwrap()
}

/// Inputs and expected outputs of the golden file's cases.
fn cases() -> Vec<(Vec<i8>, Vec<i8>)> {
    let arrays = npz::read_npz(&digits("digits.golden.npz")).unwrap();
    let get = |name: String| Some(arrays.get(&name)?.as_slice::<i8>().unwrap().to_vec());
    (0..)
        .map_while(|k| Some((get(format!("case{k}_in0"))?, get(format!("case{k}_out0"))?)))
        .collect()
}

fn outputs_of(session: &mut Session, input: &[i8]) -> Vec<i8> {
    session.input_mut(0).copy_from(input).unwrap();
    session.run().unwrap();
    session.output(0).as_slice::<i8>().unwrap().to_vec()
}

/// y = relu(w·x + b), 4 numbers to 2.
fn affine() -> Module {
    let quantized = |shape: &[u64], scale: f32, zero_point: i32| -> Type {
        let q = QuantType::per_tensor(DType::I8, scale, zero_point);
        TensorType::quant(shape, Arc::new(q)).into()
    };
    let mut module = Module::new("affine", Level::Quant, Numerics::TfLite);
    let x_type = quantized(&[1, 4], 0.5, 0);
    let mut b = Builder::add_func(&mut module, "main", FuncKind::Main, &[x_type]);
    let x = b.param(0);
    let weights: Vec<u8> = [1i8, 2, 3, 4, -1, -2, -3, -4].iter().map(|&v| v as u8).collect();
    let w = b.constant("w", weights, quantized(&[2, 4], 0.25, 0));
    let bias: Vec<u8> = [8i32, 0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let bias = b.constant("b", bias, Type::tensor(&[2], DType::I32));
    let y = b.op1(FullyConnected { act: Act::Relu }, &[x, w, bias], quantized(&[1, 2], 0.5, -128));
    b.ret(&[y]);
    module
}

#[test]
fn two_threads_share_a_model() {
    fn shareable<T: Send + Sync + Clone>(_: &T) {}
    fn sendable<T: Send>(_: &T) {}
    let (model, cases) = (compiled(), cases());
    shareable(&model);
    sendable(&model.session());
    assert!(cases.len() > 1);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut session = model.session();
                for (input, expected) in cases.iter().cycle().take(50) {
                    assert_eq!(&outputs_of(&mut session, input), expected);
                }
            });
        }
    });
}

#[test]
fn a_session_outlives_its_model_handle() {
    let (input, expected) = cases().remove(0);
    let mut session = compiled().session();
    assert_eq!(outputs_of(&mut session, &input), expected);
}

#[test]
fn wrong_types_and_lengths_are_errors_that_name_the_tensor() {
    let model = compiled();
    let mut session = model.session();
    let says = |e: Error| {
        assert!(matches!(e, Error::Tensor(_)), "{e:?}");
        e.to_string()
    };
    let name = &model.inputs()[0].name;
    assert!(says(session.input_mut(0).copy_from(&[0u8; 64]).unwrap_err()).contains(name));
    assert!(says(session.input_mut(0).copy_from(&[0i8; 63]).unwrap_err()).contains("64"));
    assert!(says(session.input_mut(0).copy_from::<i8>(&[]).unwrap_err()).contains("64"));
    says(session.input_mut(0).quantize_from(&[0.0; 65]).unwrap_err());
    session.run().unwrap();
    let output = &model.outputs()[0].name;
    assert!(says(session.output(0).as_slice::<f32>().unwrap_err()).contains(output));
}

#[test]
fn a_saved_model_gives_the_same_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.cache");
    let model = compiled();
    model.save(&file).unwrap();
    let loaded = Model::load(&file).unwrap();
    assert_eq!((loaded.inputs(), loaded.outputs()), (model.inputs(), model.outputs()));
    assert_eq!(loaded.cpu().name(), model.cpu().name());
    let mut session = loaded.session();
    for (input, expected) in cases() {
        assert_eq!(outputs_of(&mut session, &input), expected);
    }
    for text in ["", "// qcc-cache 1 nosuchcpu x\n", "module @m"] {
        std::fs::write(&file, text).unwrap();
        assert!(Model::load(&file).is_err(), "{text:?}");
    }
    assert!(Model::load(folder.path().join("none")).is_err());
}

#[test]
fn graphs_built_in_rust_compile() {
    let model = Compiler::new().compile_graph(affine()).unwrap();
    let mut session = model.session();
    session.input_mut(0).quantize_from(&[1.0, 2.0, 3.0, 4.0]).unwrap();
    session.run().unwrap();
    // 0.25 (1 + 4 + 9 + 16) + 8 * 0.125, and a negative sum cut off by relu.
    assert_eq!(session.output(0).dequantize(), [8.5, 0.0]);
}

#[test]
fn bytes_compile_as_the_file_does() {
    let bytes = std::fs::read(digits("digits.tflite")).unwrap();
    let mut session = Compiler::new().compile_bytes(&bytes).unwrap().session();
    for (input, expected) in cases() {
        assert_eq!(outputs_of(&mut session, &input), expected);
    }
    let half = Compiler::new().compile_bytes(&bytes[..bytes.len() / 2]).err().unwrap();
    assert!(matches!(half, Error::Import { .. }), "{half:?}");
    assert!(Compiler::new().compile_bytes(b"").is_err());
}
