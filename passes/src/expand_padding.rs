//! `expand-padding`: padding of convolutions and max pools becomes an `int.pad` of the input.
//!
//! ```text
//! %y = int.conv2d(%x, …) {pad=[1,1,1,1], pad_value=-3, …}
//!   ─►
//! %p = int.pad(%x) {low=[0,1,1,0], high=[0,1,1,0], value=-3}
//! %y = int.conv2d(%p, …) {…}
//! ```
//!
//! Kernels then read without bounds checks, and `plan-memory` lets the producer of %x write into
//! the middle of %p. A max pool pads with the smallest code, which is never the largest in a window
//! that touches the image. Float convolutions of known, finite weights are padded with 0.0. Average pools keep their padding: it counts taps. Equal pads are shared.

use crate::consts::const_tensor;
use crate::int_ops::{Conv, conv_of, dtype_of, int_op, store_conv};
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use indexmap::IndexMap;
use qcc_ir::dialect::int::{self, Op};
use qcc_ir::dialect::nn;
use qcc_ir::{Func, FuncId, Level, Module, OpId, OpKind, TensorType, Value};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "expand-padding",
    summary: "pad inputs of convolutions and max pools once, in memory",
    doc: include_str!("expand_padding.rs"),
    needs: LevelSet::only(Level::Int),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

/// Padded tensors made so far, by input, padding and value.
type Pads = IndexMap<(Value, [u32; 4], i32), Value>;

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    for func in m.funcs.keys().collect::<Vec<_>>() {
        let mut pads = Pads::new();
        let mut zeros = FloatPads::new();
        for op in m.funcs[func].body_ops().to_vec() {
            if let Some(why) = expand_float(m, func, op, &mut zeros) {
                skipped(m, ctx, (func, op), why);
            }
            match expand(&mut m.funcs[func], op, &mut pads) {
                Expanded::Done | Expanded::NotPadded => {}
                Expanded::Not(why) => skipped(m, ctx, (func, op), why),
            }
        }
    }
    Ok(())
}

/// Inputs of float convolutions padded with zeros so far.
type FloatPads = IndexMap<(Value, [u32; 4]), Value>;

/// Padding of a float convolution; why it stays, if it does. A product with 0.0 changes no sum of
/// products that begins at 0 — unless the weight is infinite or no number.
fn expand_float(
    m: &mut Module,
    func: FuncId,
    op: OpId,
    pads: &mut FloatPads,
) -> Option<&'static str> {
    let pad = float_pad(m.funcs[func].kind(op)).filter(|pad| *pad != [0; 4])?;
    let (x, w) = (m.funcs[func].operands(op)[0], m.funcs[func].operands(op)[1]);
    let finite = |t: qcc_runtime::Tensor| t.to_f64_vec().iter().all(|w| w.is_finite());
    if !const_tensor(m, &m.funcs[func], w).is_some_and(finite) {
        return Some("its weights are not all known and finite");
    }
    let f = &mut m.funcs[func];
    let Some(ty) = pad_type(f, x, pad) else {
        return Some("its input is not [N,H,W,C] or too large");
    };
    let padded = match pads.get(&(x, pad)) {
        Some(&padded) => padded,
        None => {
            let (low, high) = low_high(pad);
            let kind = nn::Pad { low, high, mode: nn::PadMode::Constant, value: 0.0 };
            let new = f.create_op(kind, &[x], &[ty.into()], &[], f.op(op).loc);
            f.insert_before(op, new);
            f.result(new)
        }
    };
    pads.insert((x, pad), padded);
    f.set_operand(op, 0, padded);
    match f.kind_mut(op) {
        OpKind::Nn(nn::Op::Conv2d(o)) => o.pad = [0; 4],
        OpKind::Nn(nn::Op::DepthwiseConv2d(o)) => o.pad = [0; 4],
        _ => {}
    }
    None
}

fn float_pad(kind: &OpKind) -> Option<[u32; 4]> {
    match kind {
        OpKind::Nn(nn::Op::Conv2d(o)) => Some(o.pad),
        OpKind::Nn(nn::Op::DepthwiseConv2d(o)) => Some(o.pad),
        _ => None,
    }
}

/// Elements before and after in each dimension of `[N,H,W,C]`.
fn low_high(pad: [u32; 4]) -> (Vec<u64>, Vec<u64>) {
    let [top, bottom, left, right] = pad.map(u64::from);
    (vec![0, top, left, 0], vec![0, bottom, right, 0])
}

fn skipped(m: &Module, ctx: &mut PassContext, (func, op): (FuncId, OpId), why: &str) {
    ctx.remark(m, m.funcs[func].op(op).loc, format!("padding not expanded: {why}"));
}

enum Expanded {
    Done,
    NotPadded,
    Not(&'static str),
}

fn expand(f: &mut Func, op: OpId, pads: &mut Pads) -> Expanded {
    let Some((pad, value)) = padding(f, op) else {
        return Expanded::NotPadded;
    };
    if pad == [0; 4] {
        return Expanded::NotPadded;
    }
    if matches!(int_op(f, op), Some(Op::AvgPool2d(_))) {
        return Expanded::Not("an average pool counts the taps inside the image");
    }
    let x = f.operands(op)[0];
    let Some(padded) = pad_type(f, x, pad) else {
        return Expanded::Not("its input is not [N,H,W,C] or too large");
    };
    let y = match pads.get(&(x, pad, value)) {
        Some(&y) => y,
        None => insert_pad(f, op, (pad, value), padded),
    };
    pads.insert((x, pad, value), y);
    f.set_operand(op, 0, y);
    clear_padding(f.kind_mut(op));
    Expanded::Done
}

/// Padding of an op that has such a thing, and the code that it reads outside the image.
fn padding(f: &Func, op: OpId) -> Option<([u32; 4], i32)> {
    if let Some(Conv { pad, pad_value, .. }) = conv_of(f.kind(op)) {
        return Some((pad, pad_value));
    }
    match int_op(f, op)? {
        Op::MaxPool2d(p) => {
            let (min, _) = dtype_of(f, f.operands(op)[0])?.min_max();
            Some((p.pad, min.max(i32::MIN as i64) as i32))
        }
        Op::AvgPool2d(p) => Some((p.pad, 0)),
        _ => None,
    }
}

fn clear_padding(kind: &mut OpKind) {
    if let OpKind::Int(Op::MaxPool2d(p)) = kind {
        p.pad = [0; 4];
    }
    if let Some(conv) = conv_of(kind) {
        store_conv(kind, &Conv { pad: [0; 4], pad_value: 0, ..conv });
    }
}

/// The type of x `[N,H,W,C]` with rows and columns around it.
fn pad_type(f: &Func, x: Value, pad: [u32; 4]) -> Option<TensorType> {
    let ty = f.ty(x).as_tensor()?;
    let &[n, h, w, c] = ty.shape.as_slice() else {
        return None;
    };
    let [top, bottom, left, right] = pad.map(u64::from);
    let rows = h.checked_add(top + bottom)?;
    let columns = w.checked_add(left + right)?;
    let bytes = [n, rows, columns, c, 8].into_iter().try_fold(1u64, u64::checked_mul)?;
    (bytes <= i64::MAX as u64).then(|| ty.with_shape(&[n, rows, columns, c]))
}

/// Places an `int.pad` of operand 0 of `op` right before it.
pub(crate) fn insert_pad(
    f: &mut Func,
    op: OpId,
    (pad, value): ([u32; 4], i32),
    ty: TensorType,
) -> Value {
    let (low, high) = low_high(pad);
    let (x, loc) = (f.operands(op)[0], f.op(op).loc);
    let kind = int::Pad { low, high, value };
    let new = f.create_op(kind, &[x], &[ty.into()], &[], loc);
    f.insert_before(op, new);
    f.result(new)
}

/// As the pass does for one convolution; false when its input's shape does not allow it.
pub(crate) fn expand_conv(f: &mut Func, op: OpId) -> bool {
    !matches!(expand(f, op, &mut Pads::new()), Expanded::Not(_))
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use qcc_ir::DType;

    #[test]
    fn convolutions_share_a_pad() {
        let mut t = TestModule::int(&[(&[1, 4, 4, 1], DType::I8)]);
        let w = t.const_i64("w", DType::I8, &[1, 3, 3, 1], &[1; 9]);
        let b = t.const_i64("b", DType::I32, &[1], &[0]);
        let conv = |c: &mut qcc_ir::dialect::int::Conv2d| (c.pad, c.pad_value) = ([1; 4], 5);
        let p = t.conv2d(t.param(0), w, b, &[1, 4, 4, 1], conv);
        let q = t.conv2d(t.param(0), w, b, &[1, 4, 4, 1], conv);
        let y = t.concat(&[p, q], 3);
        let m = t.ret(&[y]).run_exact("expand-padding");
        let names = ["int.pad", "int.conv2d", "int.conv2d", "int.concat", "core.return"];
        assert_eq!(op_names_without_consts(&m), names);
    }

    #[test]
    fn a_max_pool_pads_with_the_smallest_code() {
        let mut t = TestModule::int(&[(&[1, 4, 4, 1], DType::I8)]);
        let y = t.max_pool(t.param(0), &[1, 4, 4, 1], |p| (p.window, p.pad) = ([3, 3], [1; 4]));
        let m = t.ret(&[y]).run_exact("expand-padding");
        assert_eq!(op_names(&m), ["int.pad", "int.max_pool2d", "core.return"]);
    }

    #[test]
    fn near_miss_average_pools_keep_their_padding() {
        let mut t = TestModule::int(&[(&[1, 4, 4, 1], DType::I8)]);
        let y = t.avg_pool(t.param(0), &[1, 4, 4, 1], |p| (p.window, p.pad) = ([3, 3], [1; 4]));
        t.ret(&[y]);
        assert_eq!(
            t.remarks("expand-padding"),
            ["expand-padding: 'avg_pool2d_0': padding not expanded: \
              an average pool counts the taps inside the image"]
        );
        assert_eq!(op_names(&t.run("expand-padding")), ["int.avg_pool2d", "core.return"]);
    }
}
