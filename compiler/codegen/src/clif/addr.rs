//! Addresses as pointers that loops carry.
//!
//! An address is `buffer + offset + Σ var_k·stride_k`. Its terms are ordered outermost loop first;
//! every prefix of that list names a pointer, `buffer + Σ_{i≤k} var_i·stride_i`. The loop of
//! `var_k` carries the pointers whose last term is `var_k`, adding a constant per iteration, so an
//! access costs no address arithmetic: its pointer is at hand and `offset` is a displacement.

use cranelift_codegen::ir::{self as clif, InstBuilder};
use cranelift_frontend::FunctionBuilder;
use indexmap::IndexMap;
use qcc_ir::dialect::loops;
use qcc_ir::{Func, OpKind, RegionId, Value};
use smallvec::SmallVec;

/// Terms of an address, outermost loop first.
type Terms = SmallVec<[(Value, i64); 4]>;

/// A buffer with a prefix of an address's terms.
type Key = (Value, Terms);

/// All pointers that a kernel's accesses need.
pub(super) struct Addresses {
    /// The pointers that each loop variable's loop carries.
    by_var: IndexMap<Value, Vec<Key>>,
    /// Nesting depth of each loop variable.
    depth: IndexMap<Value, usize>,
    /// The current value of each pointer.
    now: IndexMap<Key, clif::Value>,
}

/// A pointer carried by the loop being entered.
pub(super) struct Carried {
    key: Key,
    /// Its value in the first iteration.
    pub init: clif::Value,
    /// Bytes per unit of the loop variable.
    pub stride: i64,
}

impl Addresses {
    /// Finds the pointers of every access in `kernel`.
    pub fn collect(kernel: &Func) -> Self {
        let mut all =
            Addresses { by_var: IndexMap::new(), depth: IndexMap::new(), now: IndexMap::new() };
        all.collect_region(kernel, kernel.body, 0);
        all
    }

    fn collect_region(&mut self, kernel: &Func, region: RegionId, depth: usize) {
        for &op in &kernel.region(region).ops {
            let operands = kernel.operands(op);
            let OpKind::Loop(kind) = kernel.kind(op) else { continue };
            if let loops::Op::For(_) = kind {
                let inner = kernel.op(op).regions()[0];
                self.depth.insert(kernel.region(inner).args[0], depth);
                self.collect_region(kernel, inner, depth + 1);
            } else if let Some((mem, vars, strides)) = access(kind, operands) {
                self.add(mem, vars, strides);
            }
        }
    }

    fn add(&mut self, mem: Value, vars: &[Value], strides: &[i64]) {
        let terms = self.ordered(vars, strides);
        for n in 1..=terms.len() {
            let key = (mem, Terms::from_slice(&terms[..n]));
            let keys = self.by_var.entry(terms[n - 1].0).or_default();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }

    /// Terms by loop depth; equal variables summed, zero strides dropped.
    fn ordered(&self, vars: &[Value], strides: &[i64]) -> Terms {
        let mut terms = Terms::new();
        for (&var, &stride) in vars.iter().zip(strides) {
            match terms.iter_mut().find(|(v, _)| *v == var) {
                Some((_, s)) => *s += stride,
                None => terms.push((var, stride)),
            }
        }
        terms.retain(|(_, s)| *s != 0);
        terms.sort_by_key(|(v, _)| self.depth.get(v).copied().unwrap_or(0));
        terms
    }

    /// The pointer to a buffer's first byte.
    pub fn set_base(&mut self, mem: Value, pointer: clif::Value) {
        self.now.insert((mem, Terms::new()), pointer);
    }

    /// The pointers that the loop of `var` carries, with their first values.
    pub fn enter(&self, b: &mut FunctionBuilder, var: Value, lo: i64) -> Vec<Carried> {
        let keys = self.by_var.get(&var).map_or(&[][..], |k| k);
        let mut out = Vec::with_capacity(keys.len());
        for key in keys {
            let (_, stride) = key.1[key.1.len() - 1];
            let outer = (key.0, Terms::from_slice(&key.1[..key.1.len() - 1]));
            let Some(&from) = self.now.get(&outer) else { continue };
            let init = match lo * stride {
                0 => from,
                by => b.ins().iadd_imm_s(from, by),
            };
            out.push(Carried { key: key.clone(), init, stride });
        }
        out
    }

    /// Inside the loop: the carried pointers have the values `now`.
    pub fn bind(&mut self, carried: &[Carried], now: &[clif::Value]) {
        for (c, &v) in carried.iter().zip(now) {
            self.now.insert(c.key.clone(), v);
        }
    }

    /// The pointer for an access.
    pub fn pointer(&self, mem: Value, vars: &[Value], strides: &[i64]) -> Option<clif::Value> {
        self.now.get(&(mem, self.ordered(vars, strides))).copied()
    }
}

/// Buffer, variables and strides of a memory access.
pub(super) fn access<'a>(
    kind: &'a loops::Op,
    operands: &'a [Value],
) -> Option<(Value, &'a [Value], &'a [i64])> {
    Some(match kind {
        loops::Op::Load(s) => (operands[0], &operands[1..], &s.strides),
        loops::Op::LoadSplat32(s) => (operands[0], &operands[1..], &s.strides),
        loops::Op::LoadLow64(s) => (operands[0], &operands[1..], &s.strides),
        loops::Op::Lookup(s) => (operands[0], &operands[2..], &s.strides),
        loops::Op::Store(s) => (operands[1], &operands[2..], &s.strides),
        loops::Op::StoreLow(s) => (operands[1], &operands[2..], &s.strides),
        _ => return None,
    })
}
