//! The stated errors, against f64, over a dense grid of all floats; and the corner cases.

use super::*;

/// Distance of `y` from `exact` in units in the last place of an f32 near `exact`.
fn units(y: f32, exact: f64) -> f64 {
    if (y.is_nan() && exact.is_nan()) || f64::from(y) == exact {
        return 0.0;
    }
    // What rounds to infinity may be infinite.
    if f64::from(exact as f32) == f64::from(y) {
        return 0.5;
    }
    let exponent = ((exact.abs().to_bits() >> 52) as i32 - 1023).max(-126);
    (f64::from(y) - exact).abs() / 2f64.powi(exponent - 23)
}

/// The largest error over every 1009th float.
fn worst(f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> (f64, f32) {
    let mut worst = (0.0, 0.0);
    for bits in (0..=u32::MAX).step_by(1009) {
        let x = f32::from_bits(bits);
        let error = units(f(x), exact(x.into()));
        if error.is_nan() || error > worst.0 {
            worst = (error, x);
        }
    }
    worst
}

/// erf by its series, and by the continued fraction of erfc.
fn exact_erf(x: f64) -> f64 {
    let size = x.abs();
    let scale = 2.0 / std::f64::consts::PI.sqrt();
    if size < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return scale * sum;
    }
    let below = (1..60).rev().fold(size, |b, k| size + f64::from(k) / 2.0 / b);
    (1.0 - (-x * x).exp() * scale / 2.0 / below).copysign(x)
}

fn exact_softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p() + if x.is_nan() { x } else { 0.0 }
}

#[test]
fn errors_are_as_documented() {
    let check = |name: &str, bound: f64, (error, at): (f64, f32)| {
        assert!(error <= bound, "{name}({at:e}) is {error} units off, documented: {bound}");
    };
    check("exp", 1.5, worst(|x| exp(&mut F32, x), f64::exp));
    check("expm1", 2.0, worst(|x| expm1(&mut F32, x), f64::exp_m1));
    check("log", 1.0, worst(|x| log(&mut F32, x), f64::ln));
    check("tanh", 1.5, worst(|x| tanh(&mut F32, x), f64::tanh));
    check("erf", 1.5, worst(|x| erf(&mut F32, x), exact_erf));
    check("sigmoid", 2.5, worst(|x| sigmoid(&mut F32, x), |x| 1.0 / (1.0 + (-x).exp())));
    check("softplus", 2.0, worst(|x| softplus(&mut F32, x), exact_softplus));
    let near = |f: fn(&mut F64, f64) -> f64| {
        move |x: f32| if x.abs() < 268_435_456.0 { f(&mut F64, x.into()) as f32 } else { 0.0 }
    };
    let far = |f: fn(f64) -> f64| move |x: f64| if x.abs() < 268_435_456.0 { f(x) } else { 0.0 };
    check("sin", 0.6, worst(near(sin), far(f64::sin)));
    check("cos", 0.6, worst(near(cos), far(f64::cos)));
}

#[test]
fn powers_are_within_a_unit() {
    let mut worst = (0.0, 0.0, 0.0);
    for i in (0..=u32::MAX).step_by(40_009) {
        let x = f32::from_bits(i);
        for y in [-2.5f32, -1.0, 0.5, 1.0 / 3.0, 2.0, 3.0, 0.001, 17.25, -0.0, f32::INFINITY] {
            let power = pow(&mut F64, x.into(), y.into()) as f32;
            let error = units(power, f64::from(x).powf(y.into()));
            if error.is_nan() || error > worst.0 {
                worst = (error, x, y);
            }
        }
    }
    assert!(worst.0 <= 0.6, "{worst:?}");
}

#[test]
fn powers_of_special_numbers() {
    let special = [
        0.0f32,
        -0.0,
        1.0,
        -1.0,
        2.0,
        -2.0,
        0.5,
        3.0,
        -3.0,
        16_777_217.0,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        1e-45,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    for x in special {
        for y in special {
            let (power, exact) = (pow(&mut F64, x.into(), y.into()) as f32, x.powf(y));
            let same = power.to_bits() == exact.to_bits() || (power.is_nan() && exact.is_nan());
            assert!(same, "{x}^{y} is {power}, not {exact}");
        }
    }
}

#[test]
fn rounding_equals_that_of_the_standard_library() {
    for bits in (0..=u32::MAX).step_by(1009) {
        let x = f32::from_bits(bits);
        let same = |y: f32, exact: f32| y.to_bits() == exact.to_bits() || x.is_nan() && y.is_nan();
        assert!(same(round_even(&mut F32, x), x.round_ties_even()), "round {x}");
        assert!(same(floor(&mut F32, x), x.floor()), "floor {x}");
        assert!(same(ceil(&mut F32, x), x.ceil()), "ceil {x}");
    }
    let halves: Vec<f32> = [0.5, 1.5, 2.5, -0.5].map(|x| round_even(&mut F32, x)).to_vec();
    assert_eq!(halves, [0.0, 2.0, 2.0, -0.0]);
    assert_eq!([-3.0, 0.0, 0.5].map(|x| sign(&mut F32, x)), [-1.0, 0.0, 1.0]);
}

#[test]
fn ends_of_the_range() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let bits = |f: fn(&mut F32, f32) -> f32, x: f32| f(&mut F32, x).to_bits();
    assert_eq!([exp(&mut F32, inf), exp(&mut F32, -inf), exp(&mut F32, 0.0)], [inf, 0.0, 1.0]);
    assert_eq!([expm1(&mut F32, inf), expm1(&mut F32, -inf)], [inf, -1.0]);
    assert_eq!([log(&mut F32, inf), log(&mut F32, -0.0), log(&mut F32, 1.0)], [inf, -inf, 0.0]);
    assert!(log(&mut F32, -1.0).is_nan());
    assert_eq!([tanh(&mut F32, inf), tanh(&mut F32, -inf)], [1.0, -1.0]);
    assert_eq!([erf(&mut F32, inf), erf(&mut F32, -inf)], [1.0, -1.0]);
    assert_eq!([sigmoid(&mut F32, inf), sigmoid(&mut F32, -inf)], [1.0, 0.0]);
    assert_eq!([softplus(&mut F32, inf), softplus(&mut F32, -inf)], [inf, 0.0]);
    assert_eq!([sin(&mut F64, 1e30), cos(&mut F64, 1e30)], [0.0, 1.0]);
    assert!(sin(&mut F64, f64::INFINITY).is_nan());
    for f in [tanh, erf, expm1] {
        assert_eq!(bits(f, -0.0), (-0.0f32).to_bits());
    }
    for f in [exp, expm1, log, tanh, erf, sigmoid, softplus, round_even, floor, sign] {
        assert!(f(&mut F32, nan).is_nan());
    }
}
