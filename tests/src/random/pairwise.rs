//! Ops of two activations, and functions of one.

use super::{Graph, quantized};
use qcc_ir::dialect::nn::{BinaryFn, UnaryFn};
use qcc_ir::dialect::quant::{Act, Activation, Binary, MatMul, Mul, Sub, Unary};
use qcc_ir::{DType, Numerics, Value};

impl Graph<'_> {
    /// Differences, products, minima, squared differences and slopes.
    pub(super) fn pair(&mut self, x: Value) {
        let operands = self.pair_operands(x);
        let shape = self.shape(x);
        let y = quantized(&shape, &self.activation());
        let act = self.act();
        match self.random.range(0, 4) {
            0 | 1 => self.push(Mul { act }, &operands, y),
            2 => self.push(Sub { act, pot_scale_int16: false }, &operands, y),
            3 => {
                let f = match self.numerics {
                    Numerics::Onnx => self.random.pick(&[BinaryFn::Min, BinaryFn::Max]),
                    _ => BinaryFn::Prelu,
                };
                self.push(Binary { f }, &operands, y);
            }
            _ => self.push(Binary { f: BinaryFn::SquaredDifference }, &operands, y),
        }
    }

    /// A function of every code: one that both numerics have.
    pub(super) fn unary(&mut self, x: Value) {
        let shape = self.shape(x);
        let y = quantized(&shape, &self.activation());
        let functions = [
            UnaryFn::Sigmoid,
            UnaryFn::Tanh,
            UnaryFn::LeakyRelu,
            UnaryFn::HardSwish,
            UnaryFn::Gelu,
            UnaryFn::Exp,
            UnaryFn::Clip,
        ];
        let f = self.random.pick(&functions);
        let (alpha, beta) = match f {
            UnaryFn::Clip => (-0.5, 2.0),
            _ => (0.3, 0.0),
        };
        if self.random.one_in(4) {
            let act = self.random.pick(&[Act::Relu, Act::Relu6, Act::ReluN1To1]);
            return self.push(Activation { act }, &[x], y);
        }
        self.push(Unary { f, alpha, beta }, &[x], y);
    }

    /// The rows of x times those of x or of a constant.
    pub(super) fn matmul(&mut self, x: Value) {
        let s = self.shape(x);
        if s.len() < 2 {
            return;
        }
        let (m, k) = (s[s.len() - 2], s[s.len() - 1]);
        let mut shape = s.clone();
        let other = match self.random.one_in(2) {
            true => x,
            false => {
                let n = self.random.size(20);
                let bytes: Vec<u8> = (0..n * k).map(|_| self.random.bits() as u8).collect();
                shape = vec![n, k];
                let q = self.activation();
                self.b.constant("f", bytes, quantized(&shape, &q))
            }
        };
        let n = shape[shape.len() - 2];
        let mut out = s[..s.len() - 2].to_vec();
        out.extend([m, n]);
        let y = quantized(&out, &self.activation());
        self.push(MatMul { transpose_a: false, transpose_b: true }, &[x, other], y);
    }

    /// The type of weights: ONNX has them apart from that of activations.
    pub(super) fn weight_type(&mut self) -> DType {
        match self.numerics {
            Numerics::Onnx => self.random.pick(&[DType::I8, DType::I8, DType::U8]),
            _ => self.dtype,
        }
    }
}
