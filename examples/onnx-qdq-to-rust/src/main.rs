//! A QDQ ONNX model in a Rust program: compile it, say which of its nodes became integer, run its test
//! set, compare every output with ONNX Runtime's, print accuracy and time per image.
//!
//! `cargo run --release --bin digits-qdq`

use qcc::npz::read_npz;
use qcc::{Compiler, Source};
use std::path::Path;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx-qdq-to-rust");
    let compiler = Compiler::new();
    let source = compiler.read(folder.join("digits_qdq.onnx"))?;
    print_nodes(&compiler, &source)?;
    let model = compiler.compile(&source)?;
    println!(
        "compiled for {} in {:.1} ms: {} bytes of code, {} of constants, {} of arena",
        model.cpu().name(),
        model.info().compile_time.as_secs_f64() * 1e3,
        model.info().code_bytes,
        model.info().weights_bytes,
        model.info().arena_bytes
    );

    let test_set = read_npz(&folder.join("testset.npz"))?;
    let images = test_set["images"].as_slice::<u8>()?;
    let labels = test_set["labels"].as_slice::<u8>()?;
    let expected = test_set["logits"].as_slice::<f32>()?;
    let (pixels, classes) = (model.inputs()[0].len(), model.outputs()[0].len());
    let mut session = model.session();
    let (mut correct, mut equal, mut time) = (0, 0, Duration::ZERO);
    let cases = images.chunks_exact(pixels).zip(expected.chunks_exact(classes)).zip(labels);
    for ((image, expected), &label) in cases {
        // The model's own first node quantizes these.
        let reals: Vec<f32> = image.iter().map(|&p| f32::from(p) / 255.0).collect();
        let start = Instant::now();
        session.input_mut(0).copy_from(&reals)?;
        session.run()?;
        time += start.elapsed();
        let logits = session.output(0).as_slice::<f32>()?;
        let best = (0..classes).max_by(|&i, &j| logits[i].total_cmp(&logits[j]).then(j.cmp(&i)));
        correct += usize::from(best == Some(usize::from(label)));
        equal += logits.iter().zip(expected).filter(|(a, b)| a.to_bits() == b.to_bits()).count();
    }
    println!(
        "{correct} of {} test images right ({:.2} %), {:.2} us per image",
        labels.len(),
        correct as f64 * 100.0 / labels.len() as f64,
        time.as_secs_f64() * 1e6 / labels.len() as f64
    );
    println!("{equal} of {} logits equal those of ONNX Runtime, bit for bit", expected.len());
    Ok(())
}

/// Lists the ops of the quantized model by the ONNX node that they come from, then what stays float.
fn print_nodes(compiler: &Compiler, source: &Source) -> Result<()> {
    let quantized = compiler.run_passes(source, "@quantize")?;
    let layers = qcc::layers::layers(&quantized.module);
    for layer in &layers {
        println!("{:<24} {}", layer.op, layer.name);
    }
    // Ops on floats, with the reason and the remedy; `--remarks` prints them too.
    let floats = qcc::passes::islands(&quantized.module);
    for island in &floats {
        println!("{}: {island}", island.node);
    }
    println!("{} ops, {} of them float", layers.len(), floats.len());
    Ok(())
}
