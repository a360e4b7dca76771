//! `nn.fake_quant` against TensorFlow's own outputs, where the corpus lies beside the repository.

use qcc_ir::dialect::nn::FakeQuantForm;
use qcc_ir::numerics::float::{fake_quant, fake_quant_grid};
use qcc_runtime::Tensor;
use qcc_runtime::float::F32;
use qcc_tests::golden::shared_file;

struct Vectors {
    arrays: qcc::npz::Arrays,
    wrong: Vec<String>,
}

impl Vectors {
    fn floats(&self, name: &str) -> Vec<f32> {
        let values: Vec<f64> = self.array(name).to_f64_vec();
        values.into_iter().map(|v| v as f32).collect()
    }
    fn array(&self, name: &str) -> &Tensor {
        self.arrays.get(name).unwrap_or_else(|| panic!("no array '{name}'"))
    }
    /// Compares row `i` of `name`: codes of `[min, max]`, one range or one per last index.
    fn check(
        &mut self,
        name: &str,
        (row, n): (usize, usize),
        form: FakeQuantForm,
        ranges: &[[f32; 2]],
    ) {
        let bits = self.array(&format!("{name}_bits"));
        let narrow = self.array(&format!("{name}_narrow"));
        let at = if bits.len() == 1 { 0 } else { row };
        let grid = (bits.get_i64(at) as u32, narrow.get_i64(at) != 0);
        let grids: Vec<_> = ranges.iter().map(|&r| fake_quant_grid(&mut F32, grid, r)).collect();
        let (x, y) = (self.floats(&format!("{name}_x")), self.floats(&format!("{name}_y")));
        for i in row * n..(row + 1) * n {
            let got = fake_quant(&mut F32, form, &grids[i % grids.len()], x[i]);
            let same = got == y[i] || (got.is_nan() && y[i].is_nan());
            if !same {
                let range = ranges[i % grids.len()];
                self.wrong.push(format!(
                    "{name} row {row} {grid:?} {range:?} {}: {got} not {}",
                    x[i], y[i]
                ));
            }
        }
    }
}

#[test]
fn equals_tensorflow_on_every_vector() {
    let Some(path) = shared_file("models/fakequant/fakequant_vectors.npz") else {
        println!("skipped: there is no ../shared/models beside the repository");
        return;
    };
    let arrays = qcc::npz::read_npz(&path).expect("the vectors are an .npz file");
    let mut v = Vectors { arrays, wrong: vec![] };
    for (name, form) in [("args", FakeQuantForm::Multiply), ("vars", FakeQuantForm::Divide)] {
        let (min, max) = (v.floats(&format!("{name}_min")), v.floats(&format!("{name}_max")));
        let n = v.array(&format!("{name}_x")).len() / min.len();
        for row in 0..min.len() {
            v.check(name, (row, n), form, &[[min[row], max[row]]]);
        }
    }
    let mut channels = 0;
    while v.arrays.contains_key(&format!("pc{channels}_min")) {
        let name = format!("pc{channels}");
        let (min, max) = (v.floats(&format!("{name}_min")), v.floats(&format!("{name}_max")));
        let ranges: Vec<[f32; 2]> = min.into_iter().zip(max).map(|(a, b)| [a, b]).collect();
        let n = v.array(&format!("{name}_x")).len();
        v.check(&name, (0, n), FakeQuantForm::Multiply, &ranges);
        channels += 1;
    }
    assert!(channels > 0, "no vectors per channel");
    assert!(
        v.wrong.is_empty(),
        "{} wrong:\n{}",
        v.wrong.len(),
        v.wrong[..v.wrong.len().min(20)].join("\n")
    );
}

/// What LiteRT's FAKE_QUANT answers for a range of −1 to 1.5 and 4 bits.
#[test]
fn equals_tensorflow_lite() {
    let x = [-2.0, -1.0, -0.3, 0.0, 0.117_647_1, 0.5, 0.55, 1.4, 1.499_99, 9.0];
    let y = [
        0xbf80_0000,
        0xbf80_0000,
        0xbeaa_aaaa,
        0,
        0x3e2a_aab0,
        0x3f00_0000,
        0x3f00_0000,
        0x3faa_aaac,
        0x3fc0_0000,
        0x3fc0_0000,
    ];
    let grid = fake_quant_grid(&mut F32, (4, false), [-1.0, 1.5]);
    let got = x.map(|x| fake_quant(&mut F32, FakeQuantForm::FromLow, &grid, x).to_bits());
    assert_eq!(got, y);
}
