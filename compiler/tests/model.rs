//! What a compiled model tells, and what errors consist of.

mod common;
use common::{digits, repository};
use qcc::npz::read_npz;
use qcc::{Compiler, Cpu, Error, Session};

/// Runs the golden's case `k`.
fn run_case(session: &mut Session, k: usize) -> bool {
    let golden = read_npz(repository("examples/digits/digits.golden.npz").as_ref()).unwrap();
    let image = golden[&format!("case{k}_in0")].as_slice::<i8>().unwrap();
    session.input_mut(0).copy_from(image).unwrap();
    session.run().unwrap();
    let want = golden[&format!("case{k}_out0")].as_slice::<i8>().unwrap();
    session.output(0).as_slice::<i8>().unwrap() == want
}

#[test]
fn compile_run_and_read() {
    let model = Compiler::new().cpu(Cpu::baseline()).threads(2).compile_file(digits()).unwrap();
    let (x, y) = (&model.inputs()[0], &model.outputs()[0]);
    assert_eq!((x.name.as_str(), x.shape.as_slice()), ("image", &[1, 8, 8, 1][..]));
    assert_eq!((y.scales.as_slice(), y.zero_points.as_slice()), (&[1.0 / 256.0][..], &[-128][..]));
    let info = model.info();
    assert!(info.code_bytes > 0 && info.weights_bytes > 6000 && info.arena_bytes > 0);
    assert_eq!(info.macs, 129_856);
    assert!(!model.remarks().is_empty());
    let mut session = model.session();
    assert!((0..11).all(|k| run_case(&mut session, k)));
    let sum: f32 = session.output(0).dequantize().iter().sum();
    assert!((sum - 1.0).abs() < 0.05, "{sum}");
}

#[test]
fn errors_have_parts() {
    let bytes = std::fs::read(digits()).unwrap();
    let error = Compiler::new().compile_bytes(&bytes[..9000]).err().unwrap();
    assert!(matches!(error, Error::Import { .. }), "{error:?}");
    let details = error.details();
    assert_eq!(details[0].file.as_deref(), Some("<bytes>"));
    assert!(details[0].hint.is_some(), "{details:?}");
}

#[test]
fn other_levels_are_refused() {
    let Some(level) = qcc::CpuLevel::ALL.into_iter().find(|l| !l.runs_here()) else { return };
    let error = Compiler::new().cpu(Cpu::level(level)).compile_file(digits()).err().unwrap();
    let error = error.to_string();
    assert!(error.contains(level.name()) && error.contains("digits.tflite"), "{error}");
}
