//! `check-memory-plan`: proves a memory plan by running it on labels instead of numbers.
//!
//! Shares no code with the planner. Memory is a map from bytes to labels (tensor, byte): an op
//! that computes writes fresh labels where its result lies, and before that every operand must
//! still be there: each byte must carry the label of the tensor that it is a byte of. Ops that only
//! rename bytes (`int.reshape`, `int.slice`, `int.concat`) write nothing, but their results' labels
//! are those of the operands, so a plan in which they would have to move bytes fails at the next
//! reader. Also checked: every tensor that is not constant has a layout; it stays inside its space;
//! a result overlaps no operand of its op, except elementwise in exactly the same place; inputs
//! are never written, and outputs never read but by `core.return`.
//!
//! ```text
//! check-memory-plan: 'add_3': operand 1 ('conv_1'): byte 64 was overwritten by 'conv_2'
//! ```

use crate::analysis::bytes::{Content, Memory, overlap, spans};
use crate::int_ops::{ViewOp, view_of};
use crate::plan_memory::works_in_place;
use crate::{Diagnostic, Diagnostics, Drift, LevelSet, Pass, PassContext};
use indexmap::IndexMap;
use qcc_ir::dialect::core;
use qcc_ir::{Func, Layout, Level, Module, OpId, OpKind, Space, TensorType, Value};

/// See the module's documentation.
pub static PASS: Pass = Pass {
    name: "check-memory-plan",
    summary: "prove that no tensor is overwritten while it is needed",
    doc: include_str!("check_memory_plan.rs"),
    needs: LevelSet::only(Level::Int),
    yields: None,
    drift: Drift::Exact,
    options: &[],
    run: |m, _: &mut PassContext| check(m, PASS.name),
};

/// Checks the layouts in `main`; errors are in the name of `pass`.
pub(crate) fn check(m: &Module, pass: &str) -> Result<(), Diagnostics> {
    let Some(main) = m.main() else { return Ok(()) };
    let f = &m.funcs[main];
    let mut checker = Checker { m, f, memory: IndexMap::new(), contents: IndexMap::new() };
    let mut errors = Diagnostics::default();
    for &p in f.params() {
        if let Err(what) = checker.write_fresh(p) {
            errors.0.push(Diagnostic::new(pass, format!("an input of the function: {what}")));
        }
    }
    for &op in f.body_ops() {
        if let Err(what) = checker.step(op) {
            errors.0.push(Diagnostic::new(pass, what).at(m.locs.describe(f.op(op).loc)));
        }
    }
    errors.into_result()
}

struct Checker<'a> {
    m: &'a Module,
    f: &'a Func,
    memory: IndexMap<Space, Memory>,
    /// What the bytes of each tensor are; none for constants.
    contents: IndexMap<Value, Content>,
}

impl<'a> Checker<'a> {
    fn step(&mut self, op: OpId) -> Result<(), String> {
        if let OpKind::Core(core::Op::Const(_)) = self.f.kind(op) {
            return Ok(());
        }
        for (i, &v) in self.f.operands(op).iter().enumerate() {
            let what = |e| format!("operand {i} ('{}'): {e}", self.origin(v));
            self.check_operand(op, i, v).map_err(what)?;
        }
        for &y in self.f.results(op) {
            self.check_place(op, y)?;
            self.define(op, y)?;
        }
        Ok(())
    }

    fn origin(&self, v: Value) -> String {
        match self.f.def_op(v) {
            Some(op) => self.m.locs.describe(self.f.op(op).loc),
            None => "an input of the function".to_string(),
        }
    }

    fn layout(&self, v: Value) -> Result<(&'a TensorType, &'a Layout), String> {
        let ty = self.f.ty(v).as_tensor().ok_or("not a tensor")?;
        let layout = ty.layout.as_ref().ok_or("has no address")?;
        match layout.strides.len() == ty.shape.len() {
            true => Ok((ty, layout)),
            false => Err("its layout has another rank".to_string()),
        }
    }

    fn check_operand(&self, op: OpId, i: usize, v: Value) -> Result<(), String> {
        let Some(content) = self.contents.get(&v) else {
            return Ok(());
        };
        let (ty, layout) = self.layout(v)?;
        if let OpKind::Core(core::Op::Return(_)) = self.f.kind(op) {
            let strides = ty.dense_strides();
            if *layout != (Layout { space: Space::Output(i as u32), offset: 0, strides }) {
                return Err(format!("does not lie in output {i} from its start"));
            }
        } else if matches!(layout.space, Space::Output(_)) && !self.reads_nothing(op) {
            return Err("lies in an output, which only `return` may read".to_string());
        }
        let memory = self.memory.get(&layout.space);
        let found = memory.ok_or(layout.offset).and_then(|m| m.read(&spans(ty, layout)));
        let found = found.map_err(|at| format!("byte {at} was never written"))?;
        match content.first_difference(&found) {
            None => Ok(()),
            Some((_, now)) => Err(format!("overwritten by '{}'", self.origin(now.of))),
        }
    }

    /// A result must lie in memory that may be written, inside it, and off the op's operands.
    fn check_place(&self, op: OpId, y: Value) -> Result<(), String> {
        let (ty, layout) = self.layout(y)?;
        if only_renames(self.f, op) {
            return Ok(());
        }
        let y_spans = spans(ty, layout);
        match layout.space {
            Space::Input(k) => return Err(format!("its result lies in input {k}")),
            Space::Output(k) => {
                let returned = self.f.returned().get(k as usize);
                let whole = returned.and_then(|&v| self.f.ty(v).as_tensor());
                let bytes = whole.map_or(0, TensorType::bytes);
                if y_spans.iter().any(|s| s[1] > bytes) {
                    return Err(format!("its result goes beyond output {k} of {bytes} bytes"));
                }
            }
            Space::Arena => {}
        }
        for &x in self.f.operands(op).iter().filter(|x| self.contents.contains_key(*x)) {
            let (x_ty, x_layout) = self.layout(x)?;
            let same = x_layout == layout
                && x_ty.shape == ty.shape
                && x_ty.storage().size() == ty.storage().size();
            let apart = x_layout.space != layout.space
                || (same && works_in_place(self.f, op))
                || !overlap(spans(x_ty, x_layout), y_spans.clone());
            if !apart && !self.pads_in_place(op) {
                return Err(format!("its result lies on its operand ('{}')", self.origin(x)));
            }
        }
        Ok(())
    }

    fn define(&mut self, op: OpId, y: Value) -> Result<(), String> {
        let f = self.f;
        let content = match view_of(f, op) {
            Some(ViewOp::Reshape) => self.content(f.operands(op)[0])?.clone(),
            Some(ViewOp::Slice(start)) => self.sliced(f.operands(op)[0], y, start)?,
            Some(ViewOp::Concat(axis)) => self.concatenated(op, y, axis)?,
            Some(ViewOp::Pad(low)) if self.pads_in_place(op) => return self.pad(op, y, low),
            _ => return self.write_fresh(y),
        };
        self.contents.insert(y, content);
        Ok(())
    }

    fn content(&self, v: Value) -> Result<&Content, String> {
        self.contents.get(&v).ok_or("a view of a constant".to_string())
    }

    /// `v` is computed: its bytes are its own.
    fn write_fresh(&mut self, v: Value) -> Result<(), String> {
        let (ty, layout) = self.layout(v)?;
        let content = Content::fresh(v, ty.bytes());
        self.memory.entry(layout.space).or_default().write(&spans(ty, layout), &content);
        self.contents.insert(v, content);
        Ok(())
    }

    fn sliced(&self, x: Value, y: Value, start: &[u64]) -> Result<Content, String> {
        let (whole, _) = self.layout(x)?;
        let (part, _) = self.layout(y)?;
        let mut dense = Memory::default();
        dense.write(&[[0, whole.bytes()]], self.content(x)?);
        dense.read(&block_spans(part, whole, start)).map_err(|_| "reads beyond its input".into())
    }

    fn concatenated(&self, op: OpId, y: Value, axis: usize) -> Result<Content, String> {
        let (whole, _) = self.layout(y)?;
        let mut dense = Memory::default();
        let mut start = vec![0; whole.shape.len()];
        for &x in self.f.operands(op) {
            let (part, _) = self.layout(x)?;
            dense.write(&block_spans(part, whole, &start), self.content(x)?);
            *start.get_mut(axis).ok_or("no such axis")? += part.shape[axis];
        }
        dense.read(&[[0, whole.bytes()]]).map_err(|at| format!("no operand gives byte {at}"))
    }

    /// Does the input lie in the middle of the result, so that only the border is written?
    fn pads_in_place(&self, op: OpId) -> bool {
        let Some(ViewOp::Pad(low)) = view_of(self.f, op) else {
            return false;
        };
        let (x, y) = (self.f.operands(op)[0], self.f.result(op));
        let (Ok((_, x)), Ok((_, y))) = (self.layout(x), self.layout(y)) else {
            return false;
        };
        *x == middle(y, low)
    }

    fn reads_nothing(&self, op: OpId) -> bool {
        only_renames(self.f, op) || self.pads_in_place(op)
    }

    /// Writes the border of `y` around what lies in its middle.
    fn pad(&mut self, op: OpId, y: Value, low: &[u64]) -> Result<(), String> {
        let x = self.f.operands(op)[0];
        let (part, x_layout) = self.layout(x)?;
        let (whole, layout) = self.layout(y)?;
        let inner = self.content(x)?.clone();
        let mut dense = Memory::default();
        dense.write(&[[0, whole.bytes()]], &Content::fresh(y, whole.bytes()));
        dense.write(&block_spans(part, whole, low), &inner);
        let all = [[0, whole.bytes()]];
        let content = dense.read(&all).map_err(|at| format!("byte {at} has no value"))?;
        let memory = self.memory.entry(layout.space).or_default();
        memory.write(&spans(whole, layout), &content);
        memory.write(&spans(part, x_layout), &inner);
        self.contents.insert(y, content);
        Ok(())
    }
}

/// Ops that write nothing: their results are bytes of their operands.
fn only_renames(f: &Func, op: OpId) -> bool {
    matches!(view_of(f, op), Some(ViewOp::Reshape | ViewOp::Slice(_) | ViewOp::Concat(_)))
}

/// The layout of a block of a tensor at `layout`.
fn middle(layout: &Layout, start: &[u64]) -> Layout {
    let skipped: u64 = start.iter().zip(&layout.strides).map(|(i, s)| i * s).sum();
    Layout { offset: layout.offset + skipped, ..layout.clone() }
}

/// Where a block lies in the dense bytes of `whole`.
fn block_spans(part: &TensorType, whole: &TensorType, start: &[u64]) -> Vec<[u64; 2]> {
    let dense = Layout { space: Space::Arena, offset: 0, strides: whole.dense_strides() };
    match part.shape.len() == whole.shape.len() {
        true => spans(part, &middle(&dense, start)),
        false => vec![],
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use qcc_ir::{DType, Layout, Module, Space, TensorType, Type, Value};

    fn planned() -> (Module, [Value; 4]) {
        let mut t = TestModule::int(&[(&[64], DType::I8)]);
        let a = t.clamp(t.param(0), 0, 9);
        let b = t.clamp(a, 1, 5);
        let c = t.add(a, b);
        let d = t.clamp(c, 0, 4);
        (t.ret(&[d]).run("alias-views,plan-memory"), [a, b, c, d])
    }
    fn move_to(m: &mut Module, v: Value, space: Space, offset: u64) {
        let main = m.main().unwrap();
        let f = &mut m.funcs[main];
        let t = f.ty(v).as_tensor().unwrap().clone();
        let layout = Some(Layout { space, offset, strides: t.dense_strides() });
        f.set_type(v, Type::from(TensorType { layout, ..t }));
    }

    #[test]
    fn accepts_a_plan() {
        check_exact(&planned().0, "check-memory-plan");
    }

    #[test]
    fn finds_what_is_overwritten() {
        let (mut m, [a, b, ..]) = planned();
        move_to(&mut m, a, Space::Arena, 0);
        move_to(&mut m, b, Space::Arena, 0);
        let says = "check-memory-plan: 'add_2': operand 0 ('clamp_0'): overwritten by 'clamp_1'";
        assert_eq!(error_of(m, "check-memory-plan"), says);
    }

    #[test]
    fn finds_partial_overlap_and_wrong_spaces() {
        let (mut m, [a, b, _, d]) = planned();
        move_to(&mut m, a, Space::Arena, 0);
        move_to(&mut m, b, Space::Arena, 32);
        let says = error_of(m.clone(), "check-memory-plan");
        assert!(says.contains("'clamp_1': its result lies on its operand ('clamp_0')"), "{says}");
        move_to(&mut m, b, Space::Input(0), 0);
        let says = error_of(m.clone(), "check-memory-plan");
        assert!(says.contains("'clamp_1': its result lies in input 0"), "{says}");
        move_to(&mut m, b, Space::Arena, 512);
        move_to(&mut m, d, Space::Output(0), 1);
        let says = error_of(m, "check-memory-plan");
        assert!(says.contains("its result goes beyond output 0 of 64 bytes"), "{says}");
    }

    #[test]
    fn finds_missing_layouts() {
        let mut t = TestModule::int(&[(&[4], DType::I8)]);
        let y = t.clamp(t.param(0), 0, 9);
        t.ret(&[y]);
        assert!(t.error("check-memory-plan").contains("'clamp_0': has no address"));
    }
}
