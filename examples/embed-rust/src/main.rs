//! Embed a model in a Rust program: compile the shipped digits classifier, run it on its whole test
//! set, print accuracy and time per image.
//!
//! `cargo run --release --bin digits`

use qcc::npz::read_npz;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("digits");
    let model = qcc::Compiler::new().compile_file(folder.join("digits.tflite"))?;
    let info = model.info();
    println!(
        "compiled digits.tflite for {} in {:.1} ms: {} bytes of code, {} of constants, {} of arena",
        model.cpu().name(),
        info.compile_time.as_secs_f64() * 1e3,
        info.code_bytes,
        info.weights_bytes,
        info.arena_bytes
    );

    let test_set = read_npz(&folder.join("testset.npz"))?;
    let images = test_set["images"].as_slice::<u8>()?;
    let labels = test_set["labels"].as_slice::<u8>()?;
    let size = model.inputs()[0].len();
    let mut session = model.session();
    let mut correct = 0;
    let start = Instant::now();
    for (image, &label) in images.chunks_exact(size).zip(labels) {
        let reals: Vec<f32> = image.iter().map(|&p| f32::from(p) / 255.0).collect();
        session.input_mut(0).quantize_from(&reals)?;
        session.run()?;
        let probabilities = session.output(0).as_slice::<i8>()?;
        let best = (0..probabilities.len()).max_by_key(|&i| (probabilities[i], 10 - i));
        correct += usize::from(best == Some(usize::from(label)));
    }
    let time = start.elapsed();
    println!(
        "{correct} of {} test images right ({:.2} %), {:.2} us per image",
        labels.len(),
        correct as f64 * 100.0 / labels.len() as f64,
        time.as_secs_f64() * 1e6 / labels.len() as f64
    );
    Ok(())
}
