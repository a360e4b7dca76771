//! The pointers of [`crate::addr`] as values that loops carry.

use crate::addr::{Access, Key, Nest, Terms, access};
use cranelift_codegen::ir::{self as clif, InstBuilder};
use cranelift_frontend::FunctionBuilder;
use indexmap::IndexMap;
use qcc_ir::{Func, OpKind, Value};

/// All pointers that a kernel's accesses need.
pub(super) struct Addresses {
    /// The pointers that each loop variable's loop carries.
    by_var: IndexMap<Value, Vec<Key>>,
    nest: Nest,
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
        let nest = Nest::of(kernel);
        let mut all = Addresses { by_var: IndexMap::new(), nest, now: IndexMap::new() };
        for op in kernel.walk() {
            let OpKind::Loop(kind) = kernel.kind(op) else { continue };
            if let Some(a) = access(kind, kernel.operands(op)) {
                all.add(&a);
            }
        }
        all
    }

    fn add(&mut self, a: &Access) {
        let terms = self.nest.ordered(a.vars, a.strides);
        for n in 1..=terms.len() {
            let key = (a.mem, Terms::from_slice(&terms[..n]));
            let keys = self.by_var.entry(terms[n - 1].0).or_default();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
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
        self.now.get(&(mem, self.nest.ordered(vars, strides))).copied()
    }
}
