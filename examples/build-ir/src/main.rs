//! Build a graph in Rust, print it, compile it, run it: y = relu(w·x + b) on int8.
//!
//! `cargo run --release --bin build-ir`

use qcc::ir::builder::Builder;
use qcc::ir::dialect::quant::{Act, FullyConnected};
use qcc::ir::{DType, FuncKind, Level, Module, Numerics, QuantType, TensorType, Type};
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
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
    let y_type = quantized(&[1, 2], 0.5, -128);
    let y = b.op1(FullyConnected { act: Act::Relu }, &[x, w, bias], y_type);
    b.ret(&[y]);
    println!("{}", qcc::ir::text::print(&module));

    let model = qcc::Compiler::new().compile_graph(module)?;
    let mut session = model.session();
    session.input_mut(0).quantize_from(&[1.0, 2.0, 3.0, 4.0])?;
    session.run()?;
    println!("y = {:?}", session.output(0).dequantize());
    Ok(())
}
