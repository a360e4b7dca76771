use super::*;
use qcc_ir::{DType, QuantType};
use std::sync::Arc;

fn q(storage: DType, scale: f32, zero_point: i32) -> Arc<QuantType> {
    Arc::new(QuantType::per_tensor(storage, scale, zero_point))
}

/// A tensor of all 256 codes, several times over.
fn x_type() -> TensorType {
    TensorType::quant(&[4, 1, 128], q(DType::I8, 0.5, -3))
}

fn types() -> Vec<Arc<QuantType>> {
    vec![
        q(DType::I8, 0.5, -3),
        q(DType::I8, 0.25, 5),
        q(DType::I8, 0.7, -128),
        q(DType::U8, 0.5, 125),
        q(DType::I16, 0.001, 0),
    ]
}

fn steps() -> Vec<Step> {
    let mut all = vec![
        Step::Dequantize,
        Step::Act(Act::None),
        Step::Act(Act::Relu),
        Step::Act(Act::Relu6),
        Step::Transpose(vec![2, 0, 1]),
        Step::Transpose(vec![1, 2, 0]),
        Step::Transpose(vec![1, 0, 2]),
        Step::Transpose(vec![0, 1, 2]),
        Step::Reshape(vec![4, 1, 128]),
        Step::Reshape(vec![8, 2, 32]),
        Step::Pad(vec![0, 1, 0], vec![2, 0, 0]),
        Step::Pad(vec![0, 0, 0], vec![0, 0, 0]),
        Step::Pad(vec![0, 0, 3], vec![0, 0, 0]),
    ];
    all.extend(types().into_iter().map(Step::Requantize));
    all.extend(types().into_iter().map(Step::Quantize));
    all
}

fn codes() -> Tensor {
    let mut t = Tensor::zeros(DType::I8, vec![4, 1, 128]);
    (0..512).for_each(|i| t.set_i64(i, (i as i64 * 37) % 256 - 128));
    t
}

/// Whether a chain makes sense on x: each step takes what the one before gives.
fn is_sound(x: &TensorType, chain: &[Step]) -> bool {
    let mut ty = x.clone();
    for step in chain {
        let quantized = ty.quant_type().is_some();
        let fits = match step {
            Step::Quantize(_) => !quantized,
            Step::Dequantize | Step::Requantize(_) | Step::Act(_) => quantized,
            Step::Transpose(p) => p.len() == ty.shape.len(),
            Step::Pad(low, _) => low.len() == ty.shape.len(),
            Step::Reshape(shape) => shape.iter().product::<u64>() == ty.len(),
        };
        if !fits {
            return false;
        }
        ty = step.result(&ty);
    }
    true
}

/// Whatever the rule gives equals what it was given, for all codes; returns how often it fired.
fn check(numerics: Numerics, chain: &[Step], equal: Option<Vec<Step>>, name: &str) -> usize {
    let Some(equal) = equal else { return 0 };
    let x = x_type();
    let ty = |steps: &[Step]| steps.iter().fold(x.clone(), |ty, s| s.result(&ty));
    assert_eq!(ty(chain), ty(&equal), "{name}: {chain:?} became {equal:?}");
    let before = run(numerics, &x, chain, &codes());
    // What the numerics has no arithmetic for is never compared, and never joined.
    let Some(before) = before else { return 0 };
    let after = run(numerics, &x, &equal, &codes());
    assert_eq!(Some(before), after, "{name}: {chain:?} became {equal:?}");
    1
}

#[test]
fn every_rule_holds_for_every_code_and_fires() {
    let numerics = Numerics::TfLite;
    let (env, x) = (Env::new(numerics), x_type());
    for (name, rule) in OF_ONE {
        let all = steps();
        let sound = all.iter().filter(|s| is_sound(&x, std::slice::from_ref(s)));
        let fired =
            sound.map(|s| check(numerics, std::slice::from_ref(s), rule(&env, &x, s), name));
        assert!(fired.sum::<usize>() > 0, "{name} never fired");
    }
    for (name, rule) in OF_TWO {
        let mut fired = 0;
        for a in steps() {
            for b in steps() {
                let chain = [a.clone(), b.clone()];
                if is_sound(&x, &chain) {
                    fired += check(numerics, &chain, rule(&env, &x, [&a, &b]), name);
                }
            }
        }
        assert!(fired > 0, "{name} never fired");
    }
}

#[test]
fn values_are_joined_only_where_all_codes_agree() {
    let (env, x) = (Env::new(Numerics::TfLite), x_type());
    let fine = Step::Requantize(q(DType::I8, 0.25, 5));
    let back = Step::Requantize(q(DType::I8, 0.5, -3));
    // 0.25 saturates half of the codes: going back does not bring them back.
    assert_eq!(join_values(&env, &x, [&fine, &back]), None);
    let shifted = Step::Requantize(q(DType::U8, 0.5, 125));
    assert!(join_values(&env, &x, [&shifted, &back]).is_some());
}

#[test]
fn a_pad_passes_only_what_keeps_zero() {
    let (env, x) = (Env::new(Numerics::TfLite), x_type());
    let pad = Step::Pad(vec![0, 1, 0], vec![0, 0, 0]);
    let requantize = Step::Requantize(q(DType::I8, 0.7, -128));
    let swapped = value_before_move(&env, &x, [&pad, &requantize]);
    assert_eq!(swapped, Some(vec![requantize, pad.clone()]));
    // Zero lies outside of this type's range: its code is clamped to another number.
    let narrow = QuantType { range: [5, 127], ..QuantType::per_tensor(DType::I8, 0.5, 0) };
    let narrow = Step::Requantize(Arc::new(narrow));
    assert_eq!(value_before_move(&env, &x, [&pad, &narrow]), None);
}
