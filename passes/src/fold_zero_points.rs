//! `fold-zero-points`: zero points of convolutions and fully connected layers move into the bias,
//! and weights become i8.
//!
//! ```text
//! %y = int.conv2d(%x, %w, %b, …) {x_zp=-3, …}   ─►   %y = int.conv2d(%x, %w, %b2, …)
//!                                                    b2[o] = b[o] + 3·Σ w[o,…]
//! ```
//!
//! acc = Σ (x − x_zp)·(w − w_zp) + b = Σ x·(w − w_zp) + (b − x_zp·Σ (w − w_zp)), in arithmetic that
//! wraps as the accumulator does, so it is exact. Taps outside the image read `pad_value` and count
//! in Σ, so padding does not matter. Then, with v = w − w_zp:
//! 1. v fits i8: v is the weight tensor, w_zp = 0.
//! 2. depthwise: v as an i16 tensor, w_zp = 0.
//! 3. otherwise u8 weights become w − 128 with w_zp − 128, and what is left of w_zp is one sum per
//!    window, shared by all channels: acc = Σ x·w − w_zp·`int.row_sums`(padded x) + b2.
//!
//! After the pass constant weights are i8 (i16 in depthwise) and w_zp ≠ 0 only beside `row_sums`.

use crate::consts::{Const, const_tensor, insert_const, int_tensor, shared_const};
use crate::expand_padding::expand_conv;
use crate::int_ops::{Conv, ConvForm, conv_of, conv_operand as operand, store_conv};
use crate::{Diagnostics, Drift, LevelSet, Pass, PassContext};
use qcc_ir::dialect::int::{self, Rescale};
use qcc_ir::{DType, Func, FuncId, Level, Module, OpId, Type, Value};
use qcc_runtime::Tensor;

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "fold-zero-points",
    summary: "move zero points into biases and make weights i8",
    doc: include_str!("fold_zero_points.rs"),
    needs: LevelSet::only(Level::Int),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run,
};

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    for func in m.funcs.keys().collect::<Vec<_>>() {
        for op in m.funcs[func].body_ops().to_vec() {
            let Some(conv) = conv_of(m.funcs[func].kind(op)) else {
                continue;
            };
            if let Err(why) = fold(m, func, op, conv) {
                let loc = m.funcs[func].op(op).loc;
                ctx.remark(m, loc, format!("zero points not folded: {why}"));
            }
        }
    }
    Ok(())
}

/// The constants of one op.
struct Constants {
    w: Const,
    bias: Tensor,
}

fn fold(m: &mut Module, func: FuncId, op: OpId, conv: Conv) -> Result<(), String> {
    let c = constants(m, &m.funcs[func], op, &conv)?;
    if m.funcs[func].operands(op).len() > operand::ROW_SUMS {
        // w_zp is taken care of: only x_zp·Σ w is left to fold.
        fold_bias(m, func, op, (&conv, &c), 0);
        return Ok(());
    }
    let plan = plan_weights(&m.funcs[func], op, (&conv, &c))?;
    fold_bias(m, func, op, (&conv, &c), conv.w_zp);
    match plan {
        Weights::Centred(dtype) => {
            let zp = conv.w_zp;
            set_weights(m, func, op, &c, (dtype, zp));
            set_w_zp(&mut m.funcs[func], op, 0);
        }
        Weights::RowSums => {
            let offset = if c.w.dtype == DType::U8 { 128 } else { 0 };
            set_weights(m, func, op, &c, (DType::I8, offset));
            set_w_zp(&mut m.funcs[func], op, conv.w_zp - offset);
            add_row_sums(&mut m.funcs[func], op, (&conv, c.w.shape.as_slice()));
        }
    }
    Ok(())
}

fn constants(m: &Module, f: &Func, op: OpId, conv: &Conv) -> Result<Constants, String> {
    let operands = f.operands(op);
    let w = shared_const(m, f, operands[operand::W]).ok_or("its weights are not constant")?;
    let bias = const_tensor(m, f, operands[operand::BIAS]).ok_or("its bias is not constant")?;
    match bias.len() == conv.n_channels(&w.shape) {
        true => Ok(Constants { w, bias }),
        false => Err("its bias does not have one element per output channel".to_string()),
    }
}

/// What becomes of the weights.
enum Weights {
    /// w − w_zp in this type.
    Centred(DType),
    /// i8 codes that keep a zero point, and sums of the input.
    RowSums,
}

fn plan_weights(f: &Func, op: OpId, (conv, c): (&Conv, &Constants)) -> Result<Weights, String> {
    if (c.w.dtype, conv.w_zp) == (DType::I8, 0) {
        return Ok(Weights::Centred(DType::I8));
    }
    let (mut min, mut max) = (i64::MAX, i64::MIN);
    conv.for_each_weight(&c.w, |_, w| (min, max) = (min.min(w), max.max(w)));
    let zp = conv.w_zp as i64;
    let fits = |d: DType| c.w.is_empty() || d.min_max().0 + zp <= min && max <= d.min_max().1 + zp;
    if fits(DType::I8) {
        return Ok(Weights::Centred(DType::I8));
    }
    if conv.form == ConvForm::Depthwise {
        return match fits(DType::I16) {
            true => Ok(Weights::Centred(DType::I16)),
            false => Err("its weights less their zero point do not fit 16 bits".to_string()),
        };
    }
    if conv.rescale == Rescale::Wide || c.bias.dtype() == DType::I64 {
        return Err("a 64-bit accumulator with weights that do not fit i8".to_string());
    }
    if !matches!(c.w.dtype, DType::I8 | DType::U8) {
        return Err(format!("its weights are {}", c.w.dtype));
    }
    let rank = f.ty(f.operands(op)[operand::X]).as_tensor().map_or(0, |t| t.shape.len());
    match (conv.form, rank, c.w.shape.as_slice()) {
        (ConvForm::Conv2d, 4, [_, _, _, _]) => Ok(Weights::RowSums),
        (ConvForm::FullyConnected, _, [_, k]) if *k > 0 => Ok(Weights::RowSums),
        _ => Err("no row sums for inputs or weights of such a shape".to_string()),
    }
}

/// bias − x_zp·Σ (w − w_zp), in the bias's own wrapping type; x_zp becomes 0.
fn fold_bias(m: &mut Module, func: FuncId, op: OpId, (conv, c): (&Conv, &Constants), w_zp: i32) {
    if conv.x_zp == 0 {
        return;
    }
    let mut bias = c.bias.to_i64_vec();
    let sums = Conv { w_zp, ..*conv }.weight_sums(&c.w);
    for (bias, [above, below]) in bias.iter_mut().zip(sums) {
        *bias = bias.wrapping_sub((conv.x_zp as i64).wrapping_mul(above.wrapping_add(below)));
    }
    let folded = int_tensor(c.bias.dtype(), c.bias.shape(), bias);
    set_const(m, func, op, operand::BIAS, ("_folded", &folded));
    let f = &mut m.funcs[func];
    if let Some(conv) = conv_of(f.kind(op)) {
        store_conv(f.kind_mut(op), &Conv { x_zp: 0, ..conv });
    }
}

/// Weights w − `offset` as `dtype`, unless they are that already.
fn set_weights(
    m: &mut Module,
    func: FuncId,
    op: OpId,
    c: &Constants,
    (dtype, offset): (DType, i32),
) {
    if (dtype, offset) == (c.w.dtype, 0) {
        return;
    }
    let bytes = &c.w.bytes;
    let w = match (c.w.dtype.size(), dtype) {
        // They fit, so their low bytes say it all: much the fastest way.
        (1, DType::I8) => {
            let moved: Vec<u8> = bytes.iter().map(|b| b.wrapping_sub(offset as u8)).collect();
            Tensor::from_bytes(dtype, c.w.shape.clone(), moved).unwrap_or(c.w.to_tensor())
        }
        _ => {
            let codes = c.w.to_tensor().to_i64_vec().into_iter().map(|w| w - offset as i64);
            int_tensor(dtype, c.w.shape.as_slice(), codes)
        }
    };
    set_const(m, func, op, operand::W, ("_centred", &w));
}

fn set_const(m: &mut Module, func: FuncId, op: OpId, at: usize, (suffix, t): (&str, &Tensor)) {
    let like = m.funcs[func].operands(op)[at];
    let new = insert_const(m, func, op, (like, suffix), t);
    m.funcs[func].set_operand(op, at, new);
}

fn set_w_zp(f: &mut Func, op: OpId, w_zp: i32) {
    if let Some(conv) = conv_of(f.kind(op)) {
        store_conv(f.kind_mut(op), &Conv { w_zp, ..conv });
    }
}

/// Pads the input of `op` in memory if it is padded, and adds the sums of its windows.
fn add_row_sums(f: &mut Func, op: OpId, (conv, w_shape): (&Conv, &[usize])) {
    if !expand_conv(f, op) {
        return;
    }
    let (x, loc) = (f.operands(op)[operand::X], f.op(op).loc);
    let (x, window, shape) = match conv.form {
        ConvForm::FullyConnected => {
            let Some(ty) = f.ty(x).as_tensor() else {
                return;
            };
            let rows = ty.len() / w_shape[1] as u64;
            let ty = ty.with_shape(&[rows, 1, 1, w_shape[1] as u64]);
            let reshape = f.create_op(int::Reshape {}, &[x], &[ty.into()], &[], loc);
            f.insert_before(op, reshape);
            (f.result(reshape), [1, 1], [rows, 1, 1, 1])
        }
        _ => {
            let y = f.result(op);
            let window = [w_shape[1] as u32, w_shape[2] as u32];
            (x, window, [dim(f, y, 0), dim(f, y, 1), dim(f, y, 2), conv.groups as u64])
        }
    };
    let (stride, dilation, groups) = (conv.stride, conv.dilation, conv.groups);
    let kind = int::RowSums { window, stride, dilation, groups };
    let ty = Type::tensor(&shape, DType::I32);
    let sums = f.create_op(kind, &[x], &[ty], &[], loc);
    f.insert_before(op, sums);
    let mut operands = f.operands(op).to_vec();
    operands.push(f.result(sums));
    f.set_operands(op, &operands);
}

fn dim(f: &Func, v: Value, d: usize) -> u64 {
    f.ty(v).as_tensor().and_then(|t| t.shape.get(d).copied()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use crate::int_ops::conv_of;
    use crate::testing::*;
    use qcc_ir::dialect::int::Conv2d;
    use qcc_ir::{DType, Module};

    fn conv(w_dtype: DType, w: &[i64], set: impl FnOnce(&mut Conv2d)) -> TestModule {
        let mut t = TestModule::int(&[(&[1, 4, 4, 1], DType::U8)]);
        let w = t.const_i64("w", w_dtype, &[w.len() as u64 / 9, 3, 3, 1], w);
        let b = t.const_i64("b", DType::I32, &[t.dim(w, 0)], &vec![50; t.dim(w, 0) as usize]);
        let y_shape = [1, 4, 4, t.dim(w, 0)];
        let y = t.conv2d(t.param(0), w, b, &y_shape, |c| {
            (c.pad, c.pad_value, c.x_zp) = ([1; 4], 7, 7);
            set(c);
        });
        t.ret(&[y]);
        t
    }
    fn zero_points(m: &Module) -> (i32, i32) {
        let f = &m.funcs[m.main().unwrap()];
        let c = f.walk().into_iter().find_map(|op| conv_of(f.kind(op))).unwrap();
        (c.x_zp, c.w_zp)
    }

    #[test]
    fn the_input_zero_point_goes_into_the_bias() {
        let m = conv(DType::I8, &ramp(9, -4), |_| ()).run_exact("fold-zero-points,dce");
        assert_eq!(zero_points(&m), (0, 0));
        assert_eq!(const_values(&m, "b_folded"), [50]);
        let m = conv(DType::I8, &ramp(9, 0), |_| ()).run_exact("fold-zero-points,dce");
        assert_eq!(const_values(&m, "b_folded"), [50 - 7 * 36]);
    }

    #[test]
    fn u8_weights_that_fit_become_i8() {
        let m = conv(DType::U8, &ramp(18, 120), |c| c.w_zp = 130).run_exact("fold-zero-points,dce");
        assert_eq!(zero_points(&m), (0, 0));
        assert_eq!(const_values(&m, "w_centred"), ramp(18, -10));
    }

    #[test]
    fn wide_weights_need_row_sums() {
        let w: Vec<i64> = (0..18).map(|i| i * 15).collect();
        let m = conv(DType::U8, &w, |c| c.w_zp = 100).run_exact("fold-zero-points,dce");
        assert_eq!(zero_points(&m), (0, -28));
        assert_eq!(
            op_names_without_consts(&m),
            ["int.pad", "int.row_sums", "int.conv2d", "core.return"]
        );
        check_exact(&m, "fold-zero-points");
    }

    #[test]
    fn depthwise_weights_become_i16() {
        let mut t = TestModule::int(&[(&[1, 4, 4, 2], DType::U8)]);
        let w: Vec<i64> = (0..18).map(|i| i * 15).collect();
        let w = t.const_i64("w", DType::U8, &[1, 3, 3, 2], &w);
        let b = t.const_i64("b", DType::I32, &[2], &[1, 2]);
        let y = t.depthwise(t.param(0), w, b, &[1, 4, 4, 2], |c| {
            (c.pad, c.pad_value, c.x_zp, c.w_zp) = ([1; 4], 7, 7, 100);
        });
        let m = t.ret(&[y]).run_exact("fold-zero-points,dce");
        assert_eq!(zero_points(&m), (0, 0));
        assert_eq!(const_values(&m, "w_centred")[17], 155);
    }

    #[test]
    fn fully_connected_layers_too() {
        let mut t = TestModule::int(&[(&[3, 4], DType::U8)]);
        let w = t.const_i64("w", DType::U8, &[2, 4], &[0, 255, 100, 3, 9, 8, 7, 250]);
        let b = t.const_i64("b", DType::I32, &[2], &[1, 2]);
        let y = t.fully_connected(t.param(0), w, b, |c| (c.x_zp, c.w_zp) = (128, 100));
        let m = t.ret(&[y]).run_exact("fold-zero-points,dce");
        assert_eq!(
            op_names_without_consts(&m),
            ["int.reshape", "int.row_sums", "int.fully_connected", "core.return"]
        );
    }

    #[test]
    fn the_bias_wraps_as_the_accumulator_does() {
        let mut t = TestModule::int(&[(&[1, 2], DType::U8)]);
        let w = t.const_i64("w", DType::I8, &[1, 2], &[-128, -128]);
        let b = t.const_i64("b", DType::I32, &[1], &[i32::MAX as i64]);
        let y = t.fully_connected(t.param(0), w, b, |c| c.x_zp = 255);
        let m = t.ret(&[y]).run_exact("fold-zero-points,dce");
        assert_eq!(const_values(&m, "b_folded"), [i32::MIN as i64 + 255 * 256 - 1]);
    }

    #[test]
    fn near_miss_variable_weights() {
        let mut t = TestModule::int(&[(&[1, 2], DType::U8), (&[1, 2], DType::I8)]);
        let b = t.const_i64("b", DType::I32, &[1], &[0]);
        let y = t.fully_connected(t.param(0), t.param(1), b, |c| c.x_zp = 255);
        t.ret(&[y]);
        assert_eq!(
            t.remarks("fold-zero-points"),
            ["fold-zero-points: 'fully_connected_1': zero points not folded: \
              its weights are not constant"]
        );
    }

    #[test]
    fn random_networks_keep_their_bits() {
        let passes = "choose-signedness{to=u8},fold-zero-points,fuse-clamp,check-accumulators,\
                      expand-padding,cse,dce,stage-inputs,alias-views,plan-memory";
        for seed in 0..200 {
            let t = random_network(seed);
            t.run_exact(passes);
            t.run_exact(&passes.replace("u8", "s8"));
            t.run_exact("fold-zero-points,choose-signedness{to=u8}");
        }
    }
}
