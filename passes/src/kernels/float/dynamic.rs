//! `nn.dynamic_quantize`: the range of x, then its codes.

use super::elementwise::runs;
use super::emit::{Emit, lanes_type, load, splat};
use crate::kernels::kb::{Addr, Kb};
use crate::kernels::site::Site;
use crate::kernels::{Call, Kernel, View, each};
use qcc_ir::dialect::loops::Pred;
use qcc_ir::numerics::float::dynamic_grid;
use qcc_ir::{DType, Func, Type, Value};
use qcc_runtime::float::{Arith, round_even};

/// Buffers: x, y, scale, zero point.
#[derive(Clone, PartialEq, Debug)]
pub struct DynamicQuantize {
    /// f32.
    pub x: View,
    /// Codes, of the same shape.
    pub y: View,
    /// One f32.
    pub scale: View,
    /// One code.
    pub zero_point: View,
}

/// Floats in a vector: codes are packed within 128 bits.
const LANES: u8 = 4;

impl Kernel for DynamicQuantize {
    fn name(&self) -> String {
        "dynamic_quantize_f32_u8".into()
    }

    fn build(&self, name: &str) -> Func {
        let views = [&self.x, &self.y, &self.scale, &self.zero_point];
        let mut kb = Kb::new(name, &views.map(View::mem));
        let [x, y, scale_at, zp_at] = [0, 1, 2, 3].map(|i| kb.mem(i));
        let (min, max) = self.range(&mut kb, &x);
        let (scale, zp) = dynamic_grid(&mut Emit::f32(&mut kb, 1), [min, max]);
        kb.store(scale, &scale_at);
        let code = kb.float_to_int(zp, Type::Scalar(DType::I32));
        let code = kb.trunc(code, Type::Scalar(DType::I8));
        kb.store(code, &zp_at);
        if self.y.is_empty() {
            return kb.finish();
        }
        let mut loops = each::loops(&self.x.shape, &[&self.x.strides, &self.y.strides]);
        let inner = match loops.last() {
            Some((_, steps)) if steps[..] == [4, 1] => loops.pop().map_or(1, |l| l.0),
            _ => 1,
        };
        each::nest(&mut kb, &loops, &[x, y], &mut |kb, at| codes(kb, at, inner, [scale, zp]));
        kb.finish()
    }
}

impl DynamicQuantize {
    /// The smallest and largest element, and 0; NaN is passed over.
    fn range(&self, kb: &mut Kb, x: &Addr) -> (Value, Value) {
        let loops = each::loops(&self.x.shape, &[&self.x.strides]);
        let zero = kb.float(lanes_type(DType::F32, LANES), 0.0);
        let ends = self.nest(kb, &loops, x, &[zero, zero]);
        let lanes: Vec<[Value; 2]> = (0..u32::from(LANES))
            .map(|i| [kb.extract(ends[0], i), kb.extract(ends[1], i)])
            .collect();
        let mut out = lanes[0];
        for lane in &lanes[1..] {
            out = [better(kb, Pred::Lt, out[0], lane[0]), better(kb, Pred::Gt, out[1], lane[1])];
        }
        (out[0], out[1])
    }

    fn nest(&self, kb: &mut Kb, loops: &[each::Loop], x: &Addr, ends: &[Value]) -> Vec<Value> {
        match loops.split_first() {
            Some(((n, steps), [])) if steps[0] == 4 => {
                let lanes = u64::from(LANES);
                let ends = kb.fold(n / lanes, ends, |kb, k, ends| {
                    let v = load(kb, LANES, &k.of(x, 4 * lanes));
                    wider(kb, ends, v)
                });
                let rest = x.at((n / lanes * lanes * 4) as i64);
                kb.fold(n % lanes, &ends, |kb, k, ends| repeated(kb, ends, &k.of(&rest, 4)))
            }
            Some(((n, steps), inner)) => {
                kb.fold(*n, ends, |kb, k, ends| self.nest(kb, inner, &k.of(x, steps[0]), ends))
            }
            None if self.x.is_empty() => ends.to_vec(),
            None => repeated(kb, ends, x),
        }
    }
}

/// The range with the element at `x` too.
fn repeated(kb: &mut Kb, ends: &[Value], x: &Addr) -> Vec<Value> {
    let v = load(kb, 1, x);
    let v = splat(kb, LANES, v);
    wider(kb, ends, v)
}

fn wider(kb: &mut Kb, ends: &[Value], v: Value) -> Vec<Value> {
    vec![better(kb, Pred::Lt, ends[0], v), better(kb, Pred::Gt, ends[1], v)]
}

/// `v` where it is `pred` than `best`.
fn better(kb: &mut Kb, pred: Pred, best: Value, v: Value) -> Value {
    let p = kb.fcmp(pred, v, best);
    kb.select(p, v, best)
}

/// `n` codes of contiguous elements.
fn codes(kb: &mut Kb, at: &[Addr], n: u64, grid: [Value; 2]) {
    kb.for_each(n / 16, |kb, k| {
        let (x, y) = (k.of(&at[0], 64), k.of(&at[1], 16));
        let quarters = [0, 16, 32, 48].map(|at| {
            let v = code(kb, LANES, grid, &x.at(at));
            integer(kb, LANES, v)
        });
        let low = kb.pack(quarters[0], quarters[1], true);
        let high = kb.pack(quarters[2], quarters[3], true);
        let bytes = kb.pack(low, high, false);
        kb.store(bytes, &y);
    });
    let done = n / 16 * 16;
    let rest = [at[0].at(done as i64 * 4), at[1].at(done as i64)];
    runs(kb, n - done, 1, &rest, &[4, 1], &mut |kb, lanes, at| {
        let v = code(kb, lanes, grid, &at[0]);
        let v = integer(kb, lanes, v);
        let v = kb.trunc(v, Type::Scalar(DType::I8));
        kb.store(v, &at[1]);
    });
}

/// round(x/scale) + zero point from 0 to 255, NaN as 0.
fn code(kb: &mut Kb, lanes: u8, [scale, zp]: [Value; 2], x: &Addr) -> Value {
    let x = load(kb, lanes, x);
    let (scale, zp) = (splat(kb, lanes, scale), splat(kb, lanes, zp));
    let a = &mut Emit::f32(kb, lanes);
    let steps = a.div(x, scale);
    let steps = round_even(a, steps);
    let code = a.add(steps, zp);
    let (zero, most) = (a.real(0.0), a.real(255.0));
    let above = a.le(zero, code);
    let code = a.select(above, code, zero);
    let below = a.lt(most, code);
    a.select(below, most, code)
}

/// A float from 0 to 255 as an integer: it stands in the low bits once 2^23 is added.
fn integer(kb: &mut Kb, lanes: u8, v: Value) -> Value {
    let a = &mut Emit::f32(kb, lanes);
    let (magic, mask) = (a.real(8_388_608.0), a.int(255));
    let sum = a.add(v, magic);
    let bits = a.bits(sum);
    a.iand(bits, mask)
}

/// Lowers `nn.dynamic_quantize`.
///
/// # Errors
/// None today; the signature is that of all lowerings.
pub fn lower(site: &Site) -> Result<Vec<Call>, String> {
    let results = site.func.results(site.op);
    let kernel = DynamicQuantize {
        x: site.view(site.operand(0)),
        y: site.view(results[0]),
        scale: site.view(results[1]),
        zero_point: site.view(results[2]),
    };
    let mut args = vec![site.arg(site.operand(0))];
    args.extend(results.iter().map(|&v| site.arg(v)));
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}
