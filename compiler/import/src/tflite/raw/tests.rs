//! Small models made with the flatbuffers builder, whole, broken in one way each, and damaged at
//! random.

use super::*;
use crate::tflite::schema_generated as schema;
use flatbuffers::{FlatBufferBuilder, WIPOffset};

/// What a test changes in a small model: `x -> CONV_2D(w, no bias) -> y -> custom op -> z`.
struct Spec {
    version: u32,
    shape: Vec<i32>,
    signature: Vec<i32>,
    scales: Vec<f32>,
    zero_points: Vec<i64>,
    max: Vec<f32>,
    axis: i32,
    weight_type: TfliteType,
    weight_shape: Vec<i32>,
    weights: Vec<u8>,
    weight_buffer: u32,
    sparse: bool,
    external: u32,
    opcode_index: u32,
    inputs: Vec<i32>,
    graph_outputs: Vec<i32>,
    /// Weights behind the flatbuffer: offset (from its end) and size.
    outside: Option<(u64, u64)>,
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            version: 3,
            shape: vec![1, 4, 4, 1],
            signature: vec![-1, 4, 4, 1],
            scales: vec![0.5, 0.25],
            zero_points: vec![0, 0],
            max: vec![1.0],
            axis: 0,
            weight_type: TfliteType::INT8,
            weight_shape: vec![2, 1, 1, 1],
            weights: vec![0xFD, 0x27],
            weight_buffer: 1,
            sparse: false,
            external: 0,
            opcode_index: 0,
            inputs: vec![0, 1, -1],
            graph_outputs: vec![3],
            outside: None,
        }
    }
}

type Builder = FlatBufferBuilder<'static>;

fn quantization(
    b: &mut Builder,
    spec: &Spec,
) -> WIPOffset<schema::QuantizationParameters<'static>> {
    let (min, max) = (b.create_vector(&[-1.0f32]), b.create_vector(&spec.max));
    let (scale, zero_point) = (b.create_vector(&spec.scales), b.create_vector(&spec.zero_points));
    let args = schema::QuantizationParametersArgs {
        min: Some(min),
        max: Some(max),
        scale: Some(scale),
        zero_point: Some(zero_point),
        quantized_dimension: spec.axis,
        details_kind: 0,
    };
    schema::QuantizationParameters::create(b, &args)
}

fn weights(b: &mut Builder, spec: &Spec) -> WIPOffset<schema::Tensor<'static>> {
    let name = b.create_vector(b"w");
    let shape = b.create_vector(&spec.weight_shape);
    let quantization = quantization(b, spec);
    let sparsity = schema::SparsityParameters::create(b, &schema::SparsityParametersArgs {});
    let args = schema::TensorArgs {
        shape: Some(shape),
        type_: spec.weight_type.0,
        buffer: spec.weight_buffer,
        name: Some(name),
        quantization: Some(quantization),
        sparsity: spec.sparse.then_some(sparsity),
        external_buffer: spec.external,
        ..Default::default()
    };
    schema::Tensor::create(b, &args)
}

fn activation(b: &mut Builder, name: &str, spec: &Spec) -> WIPOffset<schema::Tensor<'static>> {
    let name = b.create_vector(name.as_bytes());
    let shape = b.create_vector(&spec.shape);
    let signature = b.create_vector(&spec.signature);
    let args = schema::TensorArgs {
        shape: Some(shape),
        type_: TfliteType::INT8.0,
        name: Some(name),
        shape_signature: Some(signature),
        ..Default::default()
    };
    schema::Tensor::create(b, &args)
}

fn operators(b: &mut Builder, spec: &Spec) -> Vec<WIPOffset<schema::Operator<'static>>> {
    let options = schema::Conv2DOptions::create(
        b,
        &schema::Conv2DOptionsArgs { stride_w: 1, stride_h: 2, padding: 1, ..Default::default() },
    );
    let inputs = b.create_vector(&spec.inputs);
    let outputs = b.create_vector(&[2]);
    let conv = schema::OperatorArgs {
        opcode_index: spec.opcode_index,
        inputs: Some(inputs),
        outputs: Some(outputs),
        builtin_options_type: schema::BuiltinOptions::Conv2DOptions,
        builtin_options: Some(options.as_union_value()),
        ..Default::default()
    };
    let conv = schema::Operator::create(b, &conv);
    let (inputs, outputs) = (b.create_vector(&[2]), b.create_vector(&[3]));
    let custom = schema::OperatorArgs {
        opcode_index: 1,
        inputs: Some(inputs),
        outputs: Some(outputs),
        ..Default::default()
    };
    vec![conv, schema::Operator::create(b, &custom)]
}

fn operator_codes(b: &mut Builder) -> Vec<WIPOffset<schema::OperatorCode<'static>>> {
    // An old file's code in the first field only, a new file's in both.
    let old = schema::OperatorCodeArgs { deprecated_builtin_code: 3, ..Default::default() };
    let old = schema::OperatorCode::create(b, &old);
    let name = b.create_vector(b"MyOp");
    let custom = schema::OperatorCodeArgs {
        deprecated_builtin_code: 32,
        builtin_code: 32,
        custom_code: Some(name),
        ..Default::default()
    };
    vec![old, schema::OperatorCode::create(b, &custom)]
}

fn build_at(spec: &Spec, outside: Option<(u64, u64)>) -> Vec<u8> {
    let mut b = FlatBufferBuilder::new();
    let tensors = vec![
        activation(&mut b, "x", spec),
        weights(&mut b, spec),
        activation(&mut b, "y", spec),
        activation(&mut b, "", spec),
    ];
    let tensors = b.create_vector(&tensors);
    let ops = operators(&mut b, spec);
    let ops = b.create_vector(&ops);
    let (inputs, outputs) = (b.create_vector(&[0]), b.create_vector(&spec.graph_outputs));
    let graph = schema::SubGraphArgs {
        tensors: Some(tensors),
        inputs: Some(inputs),
        outputs: Some(outputs),
        operators: Some(ops),
        name: None,
    };
    let graph = schema::SubGraph::create(&mut b, &graph);
    let graphs = b.create_vector(&[graph]);
    let data = b.create_vector(&spec.weights);
    let buffer = match outside {
        Some((offset, size)) => schema::BufferArgs { data: None, offset, size },
        None => schema::BufferArgs { data: Some(data), ..Default::default() },
    };
    let none = schema::Buffer::create(&mut b, &schema::BufferArgs::default());
    let buffer = schema::Buffer::create(&mut b, &buffer);
    let buffers = b.create_vector(&[none, buffer]);
    let codes = operator_codes(&mut b);
    let codes = b.create_vector(&codes);
    let description = b.create_vector(b"caf\xE9");
    let model = schema::ModelArgs {
        version: spec.version,
        operator_codes: Some(codes),
        subgraphs: Some(graphs),
        description: Some(description),
        buffers: Some(buffers),
    };
    let model = schema::Model::create(&mut b, &model);
    schema::finish_model_buffer(&mut b, model);
    b.finished_data().to_vec()
}

fn build(spec: &Spec) -> Vec<u8> {
    let Some((offset, size)) = spec.outside else { return build_at(spec, None) };
    // Numbers that are not 0 do not change the length.
    let length = build_at(spec, Some((u64::MAX, size))).len() as u64;
    let mut file = build_at(spec, Some((length.wrapping_add(offset), size)));
    file.extend(&spec.weights);
    file
}

/// The model of `spec` is refused with exactly this message.
#[track_caller]
fn check(spec: Spec, message: &str) {
    let error = parse(&build(&spec)).expect_err(message);
    assert_eq!(error.to_string(), message);
}

const CONTRADICTS: &str =
    "the file contradicts itself: export it again, or report it to the tool that wrote it";

#[test]
fn reads_what_the_file_says() {
    let file = build(&Spec::default());
    let model = parse(&file).unwrap();
    assert_eq!((model.version, model.description.as_str()), (3, "caf\u{FFFD}"));
    let g = &model.subgraphs[0];
    let names: Vec<&str> = g.tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["x", "w", "y", "tensor_3"]);
    assert_eq!((&g.inputs, &g.outputs), (&vec![0], &vec![3]));
    assert_eq!(g.tensors[0].shape_signature, Some(vec![-1, 4, 4, 1]));
    assert!(g.tensors[0].data.is_none());
    let w = &g.tensors[1];
    assert_eq!((w.scales.as_slice(), w.zero_points.as_slice()), (&[0.5, 0.25][..], &[0, 0][..]));
    assert_eq!((w.min.as_slice(), w.max.as_slice()), (&[-1.0][..], &[1.0][..]));
    assert_eq!(w.constant_bytes().as_deref(), Some(&[0xFD, 0x27][..]));
    let [conv, custom] = g.ops.as_slice() else { panic!("two ops") };
    assert_eq!(conv.inputs, [Some(0), Some(1), None]);
    assert_eq!(op_label(g, conv), "operator 0 CONV_2D 'y'");
    assert_eq!(op_label(g, custom), "operator 1 MyOp 'tensor_3'");
    assert_eq!((custom.opcode, &custom.options), (CUSTOM, &RawOptions::None));
    let RawOptions::Conv2d(o) = &conv.options else { panic!("{:?}", conv.options) };
    assert_eq!((o.padding, o.stride_h, o.stride_w), (1, 2, 1));
    assert_eq!((o.dilation_h, o.dilation_w), (1, 1));
}

#[test]
fn int4_is_two_to_a_byte_low_half_first() {
    let weight_shape = vec![3, 1, 1, 1];
    let (scales, zero_points) = (vec![1.0], vec![0]);
    let spec = Spec {
        weight_type: TfliteType::INT4,
        weight_shape,
        scales,
        zero_points,
        ..Spec::default()
    };
    let file = build(&spec);
    let model = parse(&file).unwrap();
    let w = &model.subgraphs[0].tensors[1];
    assert_eq!(w.data.as_deref(), Some(&[0xFD, 0x27][..]));
    assert_eq!(w.constant_bytes().as_deref(), Some(&[-3i8 as u8, -1i8 as u8, 7][..]));
}

#[test]
fn unknown_types_keep_their_number() {
    let spec = Spec { weight_type: TfliteType(99), weights: vec![1, 2, 3], ..Spec::default() };
    let file = build(&spec);
    let model = parse(&file).unwrap();
    let w = &model.subgraphs[0].tensors[1];
    assert_eq!((w.dtype.to_string().as_str(), w.storage_dtype()), ("type 99", None));
    assert_eq!(TfliteType(-1).to_string(), "type -1");
}

#[test]
fn sparse_constants_are_flagged_and_not_read() {
    let spec = Spec { sparse: true, weights: vec![1], ..Spec::default() };
    let file = build(&spec);
    let model = parse(&file).unwrap();
    let w = &model.subgraphs[0].tensors[1];
    assert_eq!((w.is_sparse, w.data.as_deref(), w.constant_bytes()), (true, Some(&[1][..]), None));
}

#[test]
fn buffers_behind_the_flatbuffer() {
    let spec = Spec { outside: Some((0, 2)), ..Spec::default() };
    let file = build(&spec);
    let model = parse(&file).unwrap();
    assert_eq!(model.subgraphs[0].tensors[1].constant_bytes().as_deref(), Some(&[0xFD, 0x27][..]));

    let n = file.len();
    let at = n as u64 - 1;
    check(
        Spec { outside: Some((1, 2)), ..Spec::default() },
        &format!(
            "tensor 1 'w': its data is at {at} with 2 bytes, expected inside the file of {n} \
             bytes; check that the file is complete and copy or download it again"
        ),
    );
    let huge = Spec { outside: Some((0, u64::MAX)), ..Spec::default() };
    assert!(matches!(parse(&build(&huge)).unwrap_err().fault, Fault::DataOutside { .. }));
}

#[test]
fn offset_one_is_a_placeholder() {
    let file = build_at(&Spec::default(), Some((1, 1)));
    let model = parse(&file).unwrap();
    assert!(model.subgraphs[0].tensors[1].data.is_none());
}

#[test]
fn other_files() {
    let message = "not a TFLite model: bytes 4 to 8 are \"\", expected \"TFL3\"; give a .tflite \
                   file, or convert the model with a TFLite converter";
    assert_eq!(parse(b"").unwrap_err().to_string(), message);
    let found = match parse(b"\x00\x00\x00\x00\"\nPK").unwrap_err().fault {
        Fault::Identifier { found } => found,
        other => panic!("{other:?}"),
    };
    assert_eq!(found, "\\\"\\nPK");
    check(
        Spec { version: 4, ..Spec::default() },
        "schema version 4, expected 3; convert the model again with a current TFLite converter",
    );
}

#[test]
fn indices() {
    check(
        Spec { inputs: vec![0, 4], ..Spec::default() },
        &format!(
            "operator 0 CONV_2D 'y': input 1 refers to tensor 4, expected one of 0 to 3 (there \
             are 4); {CONTRADICTS}"
        ),
    );
    check(
        Spec { graph_outputs: vec![-1], ..Spec::default() },
        &format!(
            "subgraph 0: output 0 refers to tensor -1, expected one of 0 to 3 (there are 4); \
             {CONTRADICTS}"
        ),
    );
    check(
        Spec { weight_buffer: 7, ..Spec::default() },
        &format!(
            "tensor 1 'w': its data refers to buffer 7, expected one of 0 to 1 (there are 2); \
             {CONTRADICTS}"
        ),
    );
    check(
        Spec { opcode_index: 9, ..Spec::default() },
        &format!(
            "operator 0 (unknown) 'y': it refers to operator code 9, expected one of 0 to 1 \
             (there are 2); {CONTRADICTS}"
        ),
    );
}

#[test]
fn shapes() {
    let shape = vec![1, -2];
    check(
        Spec { shape: shape.clone(), signature: vec![], ..Spec::default() },
        &format!(
            "tensor 0 'x': shape [1, -2] has a negative dimension, expected at least 0; \
             {CONTRADICTS}"
        ),
    );
    let refused = |shape: Vec<i32>| {
        let spec = Spec { shape, signature: vec![], ..Spec::default() };
        parse(&build(&spec)).expect_err("refused").fault
    };
    let big = vec![i32::MAX; 9];
    assert!(matches!(refused(big), Fault::TooManyElements { limit: MAX_ELEMENTS, .. }));
    assert!(matches!(refused(vec![1 << 16, 1 << 15, 2]), Fault::TooManyElements { .. }));
    assert!(matches!(refused(vec![1; 65]), Fault::TooMany { found: 65, .. }));
    let largest = Spec { shape: vec![1 << 16, 1 << 15], signature: vec![], ..Spec::default() };
    assert!(parse(&build(&largest)).is_ok());
    check(
        Spec { signature: vec![-1, 4], ..Spec::default() },
        &format!(
            "tensor 0 'x': shape signature [-1, 4], expected 4 dimensions of -1 (not known) or at \
             least 0; {CONTRADICTS}"
        ),
    );
}

#[test]
fn quantization_arrays() {
    check(
        Spec { zero_points: vec![0, 0, 0], ..Spec::default() },
        &format!(
            "tensor 1 'w': 3 zero points for 2 scales, expected none, one or as many; \
             {CONTRADICTS}"
        ),
    );
    check(
        Spec { axis: 1, ..Spec::default() },
        &format!(
            "tensor 1 'w': 2 scales along dimension 1, expected one for each slice of \
             [2, 1, 1, 1]; {CONTRADICTS}"
        ),
    );
    for axis in [-1, 4, i32::MIN] {
        let fault = parse(&build(&Spec { axis, ..Spec::default() })).unwrap_err().fault;
        assert!(matches!(fault, Fault::PerAxis { .. }), "{fault:?}");
    }
    check(
        Spec { max: vec![], ..Spec::default() },
        &format!(
            "tensor 1 'w': 1 range minima and 0 range maxima, expected as many; {CONTRADICTS}"
        ),
    );
}

#[test]
fn constants() {
    check(
        Spec { weight_type: TfliteType::INT32, ..Spec::default() },
        &format!(
            "tensor 1 'w': 2 bytes of constant data, expected 8 for int32 of shape \
             [2, 1, 1, 1]; {CONTRADICTS}"
        ),
    );
    check(
        Spec { external: 5, ..Spec::default() },
        "tensor 1 'w': its data is in another file (external buffer 5), expected inside this \
         one; export the model as a single file",
    );
}

#[test]
fn type_sizes_follow_the_table() {
    assert_eq!(TfliteType::INT4.bits(), Some(4));
    assert_eq!(TfliteType::STRING.bits(), None);
    assert_eq!(TfliteType::FLOAT8_E5M2.to_string(), "float8_e5m2");
    assert_eq!(TfliteType(23).bits(), None);
}

// ---- damage ----

/// Everything that a caller can ask of a model; must not panic.
fn use_all(bytes: &[u8]) -> bool {
    match parse(bytes) {
        Ok(model) => {
            for g in &model.subgraphs {
                let used: usize =
                    g.tensors.iter().filter_map(|t| t.constant_bytes()).map(|b| b.len()).sum();
                let labels: usize = g.ops.iter().map(|op| op_label(g, op).len()).sum();
                assert!(used <= 4 * bytes.len() * g.tensors.len(), "{used} {labels}");
            }
            true
        }
        Err(e) => {
            assert!(!e.to_string().is_empty());
            false
        }
    }
}

/// Numbers of Knuth's 64-bit generator.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n as u64) as usize
    }
}

/// Cuts `file` at every `step`th length and applies `mutations` random changes: single bits, and
/// bytes or words with values that offsets and lengths trip over.
fn damage(file: &[u8], step: usize, mutations: usize) {
    for n in (0..file.len()).step_by(step) {
        use_all(&file[..n]);
    }
    let mut random = Lcg(file.len() as u64);
    let words = [0u32, 1, 3, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF_FFF0];
    let (mut read, mut refused) = (0, 0);
    for _ in 0..mutations {
        let mut bad = file.to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(bad.len());
            match random.below(3) {
                0 => bad[at] ^= 1 << random.below(8),
                1 => bad[at] = random.below(256) as u8,
                _ => {
                    let word = words[random.below(words.len())].to_le_bytes();
                    let at = at.min(bad.len() - 4);
                    bad[at..at + 4].copy_from_slice(&word);
                }
            }
        }
        if use_all(&bad) { read += 1 } else { refused += 1 }
    }
    assert!(read > 0 && refused > 0, "{read} read, {refused} refused: the changes test nothing");
}

#[test]
fn damaged_small_model() {
    damage(&build(&Spec::default()), 1, 20_000);
    damage(&build(&Spec { outside: Some((0, 2)), ..Spec::default() }), 1, 5_000);
}

#[test]
fn damaged_shared_model() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let path = std::path::Path::new(root).join("../shared/models/hello_world_int8.tflite");
    let Ok(file) = std::fs::read(&path) else {
        eprintln!("skipped: {} is not there", path.display());
        return;
    };
    assert!(use_all(&file), "{:?}", parse(&file).err());
    damage(&file, 3, 5_000);
}

/// A file that names one large part many times must not make the reader copy it many times.
#[test]
fn shared_parts_do_not_multiply() {
    let mut b = FlatBufferBuilder::new();
    let shape = b.create_vector(&vec![1i32; 1 << 16]);
    let args = schema::TensorArgs { shape: Some(shape), ..Default::default() };
    let tensor = schema::Tensor::create(&mut b, &args);
    let tensors = b.create_vector(&vec![tensor; 1 << 12]);
    let args = schema::SubGraphArgs { tensors: Some(tensors), ..Default::default() };
    let graph = schema::SubGraph::create(&mut b, &args);
    let graphs = b.create_vector(&[graph]);
    let args = schema::ModelArgs { version: 3, subgraphs: Some(graphs), ..Default::default() };
    let model = schema::Model::create(&mut b, &args);
    schema::finish_model_buffer(&mut b, model);
    let error = parse(b.finished_data()).unwrap_err();
    assert!(matches!(error.fault, Fault::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("shared so often"), "{error}");
}
