//! `choose-signedness`: stores all 8-bit activations as u8, or all as i8.
//!
//! ```text
//! func @main(%x: tensor<…xi8>) {                       func @main(%x: tensor<…xi8>) {
//!   %y = int.conv2d(%x, …) {                             %u = int.flip_sign(%x) : tensor<…xu8>
//!     x_zp=-3, y_zp=5, lo=5, hi=127}            ─►       %v = int.conv2d(%u, …) {
//!   return %y                                              x_zp=125, y_zp=133, lo=133, hi=255}
//! }                                                      return int.flip_sign(%v) }
//! ```
//!
//! x86's byte dot product wants its left side unsigned, aarch64's wants it signed
//! (with i8mm either will do, and nothing changes); the stored code
//! is the framework's plus or minus 128, which is one flipped bit, and only zero points, bounds,
//! `pad_value`, `code_bias` and table entries have to know. Inputs and outputs of the function keep
//! their types: `int.flip_sign` stands at the border. Weights and 16-bit activations stay. Runs
//! before `fold-zero-points`: an op that takes `row_sums` is left as it is, between flips.

use crate::consts::{const_tensor, insert_const, int_tensor, is_const};
use crate::int_ops::{conv_operand, dtype_of, insert_after};
use crate::{Diagnostics, Drift, LevelSet, OptionKind, OptionSpec, Pass, PassContext};
use indexmap::IndexSet;
use qcc_ir::dialect::core;
use qcc_ir::dialect::int::{self, FlipSign, Op};
use qcc_ir::dialect::nn::{self, PadMode};
use qcc_ir::{DType, Func, FuncId, Level, LocId, Module, OpId, OpKind, Type, Value};
use qcc_runtime::{Arch, CpuLevel};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "choose-signedness",
    summary: "store 8-bit activations as u8 (x86) or i8 (aarch64 before i8mm)",
    doc: include_str!("choose_signedness.rs"),
    needs: LevelSet::only(Level::Int),
    yields: None,
    drift: Drift::Exact,
    options: &[OptionSpec {
        name: "to",
        kind: OptionKind::Word(&["auto", "u8", "s8", "keep"]),
        default: "auto",
        help: "storage of 8-bit activations; auto asks the target",
    }],
    run,
};

/// What changes: codes of type `from` become codes of type `to`, `delta` larger.
#[derive(Clone, Copy)]
struct Shift {
    from: DType,
    to: DType,
    delta: i32,
}

const TO_U8: Shift = Shift { from: DType::I8, to: DType::U8, delta: 128 };
const TO_S8: Shift = Shift { from: DType::U8, to: DType::I8, delta: -128 };

fn run(m: &mut Module, ctx: &mut PassContext) -> Result<(), Diagnostics> {
    let shift = match (ctx.options.word("to"), ctx.target.arch) {
        // It multiplies both by bytes with a sign.
        ("auto", _) if ctx.target.cpu == CpuLevel::A64I8mm => return Ok(()),
        ("u8", _) | ("auto", Arch::X86_64) => TO_U8,
        ("s8", _) | ("auto", Arch::Aarch64) => TO_S8,
        _ => return Ok(()),
    };
    let Some(func) = m.main() else { return Ok(()) };
    let mut pass = ChooseSignedness { shift, func, changed: IndexSet::new() };
    let ops = m.funcs[func].body_ops().to_vec();
    pass.flip_params(m);
    for op in ops {
        pass.visit(m, ctx, op);
    }
    Ok(())
}

struct ChooseSignedness {
    shift: Shift,
    func: FuncId,
    /// Values that hold shifted codes.
    changed: IndexSet<Value>,
}

impl ChooseSignedness {
    fn visit(&mut self, m: &mut Module, ctx: &mut PassContext, op: OpId) {
        let f = &m.funcs[self.func];
        match f.kind(op) {
            OpKind::Core(core::Op::Const(_)) => {}
            OpKind::Int(Op::FlipSign(_)) => self.visit_flip(&mut m.funcs[self.func], op),
            OpKind::Int(int) if f.results(op).len() == 1 => {
                let int = int.clone();
                self.visit_int(m, ctx, op, int);
            }
            OpKind::Nn(nn) if f.results(op).len() == 1 => self.visit_move(m, op, nn.clone()),
            // The return, and anything that this pass does not know: original codes.
            _ => self.flip_operands_back(&mut m.funcs[self.func], op),
        }
    }

    fn visit_int(&mut self, m: &mut Module, ctx: &mut PassContext, op: OpId, mut int: Op) {
        self.shift_const_operands(m, op, &int);
        let f = &mut m.funcs[self.func];
        let y = f.result(op);
        let y_changes = dtype_of(f, y) == Some(self.shift.from) && makes_codes(&int);
        let xs: Vec<bool> = f.operands(op).iter().map(|v| self.changed.contains(v)).collect();
        let delta = Delta { by: self.shift.delta, xs: &xs, y: y_changes };
        if !xs.contains(&true) && !y_changes {
            return;
        }
        let parameter = shifted_parameter(&int, &xs, y_changes);
        let known = parameter.is_none_or(|i| is_const(f, f.operands(op)[i]));
        if !known || !delta.apply(&mut int) {
            self.keep_between_flips(f, op, y_changes);
            let message = "keeps its codes: it cannot be restated for the other signedness";
            ctx.remark(m, m.funcs[self.func].op(op).loc, message);
            return;
        }
        *f.kind_mut(op) = OpKind::Int(int);
        if y_changes {
            self.retype(f, y);
        }
        if let Some(i) = parameter {
            let dtype = if y_changes { self.shift.to } else { DType::I32 };
            self.shift_const(m, op, i, dtype);
        }
    }

    /// An op that moves elements of any type moves shifted codes as well.
    fn visit_move(&mut self, m: &mut Module, op: OpId, mut nn: nn::Op) {
        let f = &mut m.funcs[self.func];
        let y = f.result(op);
        let n_data = match &mut nn {
            nn::Op::Concat(_) => f.operands(op).len(),
            nn::Op::Reshape(_) | nn::Op::Transpose(_) | nn::Op::Slice(_) | nn::Op::Broadcast(_) => {
                1
            }
            nn::Op::Gather(_) | nn::Op::ResizeNearest(_) => 1,
            nn::Op::Pad(o) => {
                if o.mode == PadMode::Constant {
                    o.value += self.shift.delta as f32;
                }
                1
            }
            _ => 0,
        };
        let (data, others) = f.operands(op).split_at(n_data);
        let shifted = |v: &Value| self.changed.contains(v);
        if data.is_empty() || !data.iter().all(shifted) || others.iter().any(shifted) {
            return self.flip_operands_back(f, op);
        }
        *f.kind_mut(op) = OpKind::Nn(nn);
        self.retype(f, y);
    }

    /// An existing flip changes nothing any more: both of its sides hold the same bytes now. Its
    /// users read the input itself where nobody else does, else a copy, because whether codes are
    /// shifted is a property of the value.
    fn visit_flip(&mut self, f: &mut Func, op: OpId) {
        let (x, y) = (f.operands(op)[0], f.result(op));
        let y_changes = dtype_of(f, y) == Some(self.shift.from);
        if self.changed.contains(&x) == y_changes {
            return;
        }
        let mut now = x;
        if f.value(x).uses().len() > 1 {
            let copy = f.create_op(int::Copy {}, &[x], &[f.ty(x).clone()], &[], f.op(op).loc);
            f.insert_before(op, copy);
            now = f.result(copy);
        }
        f.replace_uses(y, now);
        f.erase(op);
        match y_changes {
            true => self.changed.insert(now),
            false => self.changed.swap_remove(&now),
        };
    }

    fn retype(&mut self, f: &mut Func, v: Value) {
        if let Some(ty) = f.ty(v).as_tensor() {
            let ty = Type::tensor(&ty.shape.clone(), self.shift.to);
            f.set_type(v, ty);
            self.changed.insert(v);
        }
    }

    /// Constants that an op reads as activations: the same bytes with the top bit flipped.
    fn shift_const_operands(&mut self, m: &mut Module, op: OpId, int: &Op) {
        for i in 0..m.funcs[self.func].operands(op).len() {
            let f = &m.funcs[self.func];
            let v = f.operands(op)[i];
            if !is_activation(int, i) || dtype_of(f, v) != Some(self.shift.from) {
                continue;
            }
            let new = self.shift_const(m, op, i, self.shift.to);
            self.changed.extend(new);
        }
    }

    /// Gives `op` a constant operand that is `delta` larger, of type `dtype`.
    fn shift_const(&self, m: &mut Module, op: OpId, operand: usize, dtype: DType) -> Option<Value> {
        let f = &m.funcs[self.func];
        let v = f.operands(op)[operand];
        let t = const_tensor(m, f, v)?;
        let shifted = t.to_i64_vec().into_iter().map(|c| c + self.shift.delta as i64);
        let shifted = int_tensor(dtype, t.shape(), shifted);
        let new = insert_const(m, self.func, op, (v, "_flipped"), &shifted);
        m.funcs[self.func].set_operand(op, operand, new);
        Some(new)
    }

    fn flip_params(&mut self, m: &mut Module) {
        let f = &m.funcs[self.func];
        for (i, p) in f.params().to_vec().into_iter().enumerate().rev() {
            let f = &mut m.funcs[self.func];
            if dtype_of(f, p) != Some(self.shift.from) {
                continue;
            }
            let readers: Vec<(OpId, u32)> =
                f.value(p).uses().iter().copied().filter(|u| !is_return(f, u.0)).collect();
            if readers.is_empty() {
                continue;
            }
            let loc = match f.input_names.get(i) {
                Some(name) => m.locs.node(name, None),
                None => LocId::default(),
            };
            let flip = self.make_flip(f, p, loc);
            f.insert_at(f.body, 0, flip);
            let u = f.result(flip);
            self.changed.insert(u);
            for (op, index) in readers {
                f.set_operand(op, index as usize, u);
            }
        }
    }

    /// Gives `op` the original codes of every shifted operand.
    fn flip_operands_back(&mut self, f: &mut Func, op: OpId) {
        for i in 0..f.operands(op).len() {
            let v = f.operands(op)[i];
            if self.changed.contains(&v) {
                let loc = f.def_op(v).map_or(f.op(op).loc, |d| f.op(d).loc);
                let flip = self.make_flip(f, v, loc);
                f.insert_before(op, flip);
                f.set_operand(op, i, f.result(flip));
            }
        }
    }

    fn keep_between_flips(&mut self, f: &mut Func, op: OpId, y_changes: bool) {
        self.flip_operands_back(f, op);
        if !y_changes {
            return;
        }
        let y = f.result(op);
        let users = f.value(y).uses().to_vec();
        let flip = self.make_flip(f, y, f.op(op).loc);
        insert_after(f, op, flip);
        let u = f.result(flip);
        self.changed.insert(u);
        for (user, index) in users {
            f.set_operand(user, index as usize, u);
        }
    }

    /// An unplaced flip of `v`, in whichever direction `v` has to go.
    fn make_flip(&self, f: &mut Func, v: Value, loc: LocId) -> OpId {
        let to = match dtype_of(f, v) == Some(self.shift.from) {
            true => self.shift.to,
            false => self.shift.from,
        };
        let shape = f.ty(v).as_tensor().map(|t| t.shape.clone()).unwrap_or_default();
        f.create_op(FlipSign {}, &[v], &[Type::tensor(&shape, to)], &[], loc)
    }
}

fn is_return(f: &Func, op: OpId) -> bool {
    matches!(f.kind(op), OpKind::Core(core::Op::Return(_)))
}

/// The operand that holds parameters of shifted codes: a table of results, zero points of codes.
fn shifted_parameter(op: &Op, xs: &[bool], y_changes: bool) -> Option<usize> {
    match op {
        Op::Lut(_) if y_changes => Some(1),
        Op::PairLut(_) if y_changes => Some(2),
        Op::Dequantize(_) if xs[0] => Some(2),
        _ => None,
    }
}

/// Is operand `i` a tensor of codes, and not of weights or parameters? (Weights that another op
/// computes are codes too, but only constants are asked about.)
fn is_activation(op: &Op, i: usize) -> bool {
    match op {
        Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::FullyConnected(_) => i == conv_operand::X,
        Op::Lut(_) | Op::Dequantize(_) | Op::SoftmaxFloat(_) => i == 0,
        Op::PairLut(_) => i < 2,
        Op::Quantize(_) => false,
        _ => true,
    }
}

/// Are the results codes, and not sums or indices?
fn makes_codes(op: &Op) -> bool {
    !matches!(op, Op::RowSums(_) | Op::ArgMax(_))
}

/// How an op's codes move: which operands and whether the result.
struct Delta<'a> {
    by: i32,
    xs: &'a [bool],
    y: bool,
}

impl Delta<'_> {
    fn x(&self, i: usize) -> i32 {
        if self.xs.get(i) == Some(&true) { self.by } else { 0 }
    }
    /// Moves constants that live in the codes of the result.
    fn y(&self, fields: [&mut i32; 3]) -> bool {
        if self.y {
            fields.into_iter().for_each(|v| *v = v.saturating_add(self.by));
        }
        true
    }
    /// For ops whose input and result have the same codes.
    fn same(&self, fields: &mut [&mut i32]) -> bool {
        if !self.y || self.xs.contains(&false) {
            return false;
        }
        fields.iter_mut().for_each(|v| **v = v.saturating_add(self.by));
        true
    }
    /// Restates `op`; false when that cannot be done (then `op` is as it was).
    fn apply(&self, op: &mut Op) -> bool {
        let move_by = |v: &mut i32, d: i32| *v = v.saturating_add(d);
        let is_conv = matches!(op, Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::FullyConnected(_));
        if is_conv && self.xs.len() > conv_operand::ROW_SUMS {
            return false;
        }
        match op {
            Op::Conv2d(o) => {
                move_by(&mut o.x_zp, self.x(0));
                move_by(&mut o.pad_value, self.x(0));
                move_by(&mut o.w_zp, self.x(1));
                self.y([&mut o.y_zp, &mut o.lo, &mut o.hi])
            }
            Op::DepthwiseConv2d(o) => {
                move_by(&mut o.x_zp, self.x(0));
                move_by(&mut o.pad_value, self.x(0));
                move_by(&mut o.w_zp, self.x(1));
                self.y([&mut o.y_zp, &mut o.lo, &mut o.hi])
            }
            Op::FullyConnected(o) => {
                move_by(&mut o.x_zp, self.x(0));
                move_by(&mut o.w_zp, self.x(1));
                self.y([&mut o.y_zp, &mut o.lo, &mut o.hi])
            }
            Op::Add(o) => {
                move_by(&mut o.a_zp, self.x(0));
                move_by(&mut o.b_zp, self.x(1));
                self.y([&mut o.y_zp, &mut o.lo, &mut o.hi])
            }
            Op::AddFloat(o) => {
                move_by(&mut o.a_bias, self.x(0));
                move_by(&mut o.b_bias, self.x(1));
                self.y([&mut o.y_bias, &mut o.lo, &mut o.hi])
            }
            // y_zp is part of a float sum: the result moves behind its rounding.
            Op::Mul(o) => {
                move_by(&mut o.a_zp, self.x(0));
                move_by(&mut o.b_zp, self.x(1));
                self.y([&mut o.y_bias, &mut o.lo, &mut o.hi])
            }
            Op::MatMul(o) => {
                move_by(&mut o.a_zp, self.x(0));
                move_by(&mut o.b_zp, self.x(1));
                self.y([&mut o.y_zp, &mut o.lo, &mut o.hi])
            }
            Op::SoftmaxFloat(o) => self.y([&mut o.y_zp, &mut o.lo, &mut o.hi]),
            Op::Mean(o) => {
                move_by(&mut o.x_zp, self.x(0));
                self.y([&mut o.y_zp, &mut o.lo, &mut o.hi])
            }
            Op::LogSoftmax(o) => self.y([&mut o.lo, &mut o.hi, &mut 0]),
            Op::L2Normalize(o) => {
                move_by(&mut o.x_zp, self.x(0));
                self.y([&mut o.y_zp, &mut o.lo, &mut o.hi])
            }
            Op::Requantize(o) => {
                move_by(&mut o.x_zp, self.x(0));
                self.y([&mut o.y_zp, &mut o.lo, &mut o.hi])
            }
            Op::Pad(o) => self.same(&mut [&mut o.value]),
            Op::MaxPool2d(o) => self.same(&mut [&mut o.lo, &mut o.hi]),
            Op::AvgPool2d(o) => self.same(&mut [&mut o.code_bias, &mut o.lo, &mut o.hi]),
            Op::ResizeBilinear(o) => self.same(&mut [&mut o.code_bias]),
            Op::Clamp(o) => self.same(&mut [&mut o.lo, &mut o.hi]),
            Op::Concat(_) | Op::Slice(_) | Op::Reshape(_) | Op::Copy(_) => self.same(&mut []),
            Op::ReduceMax(_) => self.same(&mut []),
            Op::Softmax(o) => {
                move_by(&mut o.y_code_bias, if self.y { self.by } else { 0 });
                true
            }
            Op::Quantize(o) => {
                move_by(&mut o.code_bias, if self.y { self.by } else { 0 });
                true
            }
            // The order of codes, the index into a table and the parameters in operands.
            Op::ArgMax(_) | Op::Lut(_) | Op::PairLut(_) | Op::Dequantize(_) => true,
            Op::RowSums(_) | Op::FlipSign(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use qcc_ir::DType;

    fn conv_net(t: &mut TestModule) {
        let w = t.const_i64("w", DType::I8, &[2, 3, 3, 1], &ramp(18, -9));
        let b = t.const_i64("b", DType::I32, &[2], &[100, -70]);
        let x = t.param(0);
        let c = t.conv2d(x, w, b, &[1, 4, 4, 2], |c| {
            (c.pad, c.pad_value, c.x_zp, c.y_zp) = ([1; 4], -3, -3, 5);
            (c.lo, c.hi) = (5, 100);
        });
        let p = t.avg_pool(c, &[1, 2, 2, 2], |p| (p.window, p.stride) = ([2, 2], [2, 2]));
        let k = t.const_i64("k", DType::I8, &[1, 2, 2, 2], &ramp(8, -4));
        let y = t.add(p, k);
        let i = t.arg_max(y, 3);
        t.ret(&[y, i]);
    }

    #[test]
    fn i8_becomes_u8_between_flips() {
        let mut t = TestModule::int(&[(&[1, 4, 4, 1], DType::I8)]);
        conv_net(&mut t);
        let m = t.run_exact("choose-signedness{to=u8}");
        let names = [
            "int.flip_sign",
            "int.conv2d",
            "int.avg_pool2d",
            "int.add",
            "int.arg_max",
            "int.flip_sign",
            "core.return",
        ];
        assert_eq!(op_names_without_consts(&m), names);
        let back = check_exact(&m, "choose-signedness{to=s8}");
        // The sum is also read by int.arg_max, so the output's codes get a value of their own.
        let names =
            ["int.conv2d", "int.avg_pool2d", "int.add", "int.arg_max", "int.copy", "core.return"];
        assert_eq!(op_names_without_consts(&back), names);
    }

    #[test]
    fn near_miss_i16_stays() {
        let mut t = TestModule::int(&[(&[4], DType::I16)]);
        let y = t.clamp(t.param(0), 0, 300);
        let m = t.ret(&[y]).run_exact("choose-signedness{to=u8}");
        assert_eq!(op_names(&m), ["int.clamp", "core.return"]);
    }

    #[test]
    fn ops_with_row_sums_stay_between_flips() {
        let mut t = TestModule::int(&[(&[1, 2], DType::I8)]);
        let w = t.const_i64("w", DType::U8, &[2, 2], &[0, 255, 3, 4]);
        let b = t.const_i64("b", DType::I32, &[2], &[0, 0]);
        let y = t.fully_connected(t.param(0), w, b, |c| c.w_zp = 100);
        t.ret(&[y]);
        let folded = t.run("fold-zero-points");
        check_exact(&folded, "choose-signedness{to=u8}");
    }

    #[test]
    fn keep_changes_nothing() {
        let mut t = TestModule::int(&[(&[1, 4, 4, 1], DType::I8)]);
        conv_net(&mut t);
        let names = op_names(&t.run_exact("choose-signedness{to=keep}"));
        assert!(!names.contains(&"int.flip_sign"));
    }
}
