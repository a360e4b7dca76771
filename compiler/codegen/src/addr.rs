//! Addresses as pointers that loops advance: what both emitters see in a kernel's accesses.
//!
//! An address is `buffer + offset + Σ var_k·stride_k`. Its terms are ordered outermost loop first;
//! every prefix of that list names a pointer, `buffer + Σ_{i≤k} var_i·stride_i`, which the loop of
//! `var_k` advances by a constant per iteration. So an access costs no address arithmetic: its
//! pointer is at hand and `offset` is a displacement.

use indexmap::IndexMap;
use qcc_ir::dialect::loops;
use qcc_ir::{Func, OpKind, RegionId, Value};
use smallvec::SmallVec;

/// Terms of an address, outermost loop first.
pub(crate) type Terms = SmallVec<[(Value, i64); 4]>;

/// A buffer with a prefix of an address's terms: the name of a pointer.
pub(crate) type Key = (Value, Terms);

/// Nesting depth of each loop variable.
pub(crate) struct Nest {
    depth: IndexMap<Value, usize>,
}

impl Nest {
    pub fn of(kernel: &Func) -> Nest {
        let mut nest = Nest { depth: IndexMap::new() };
        nest.collect(kernel, kernel.body, 0);
        nest
    }

    fn collect(&mut self, kernel: &Func, region: RegionId, depth: usize) {
        for &op in &kernel.region(region).ops {
            if let OpKind::Loop(loops::Op::For(_)) = kernel.kind(op) {
                let inner = kernel.op(op).regions()[0];
                self.depth.insert(kernel.region(inner).args[0], depth);
                self.collect(kernel, inner, depth + 1);
            }
        }
    }

    /// Terms by loop depth; equal variables summed, zero strides dropped.
    pub fn ordered(&self, vars: &[Value], strides: &[i64]) -> Terms {
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
}

/// Buffer, variables, strides and offset of a memory access at an affine address.
pub(crate) struct Access<'a> {
    pub mem: Value,
    pub vars: &'a [Value],
    pub strides: &'a [i64],
    pub offset: i64,
}

/// The affine access that an op makes; a lookup's index comes on top.
pub(crate) fn access<'a>(kind: &'a loops::Op, operands: &'a [Value]) -> Option<Access<'a>> {
    let (mem, vars, strides, offset) = match kind {
        loops::Op::Load(s) => (0, 1, &s.strides, s.offset),
        loops::Op::LoadSplat32(s) => (0, 1, &s.strides, s.offset),
        loops::Op::LoadLow64(s) => (0, 1, &s.strides, s.offset),
        loops::Op::Lookup(s) => (0, 2, &s.strides, s.offset),
        loops::Op::Store(s) => (1, 2, &s.strides, s.offset),
        loops::Op::StoreLow(s) => (1, 2, &s.strides, s.offset),
        loops::Op::TileLoad(s) => (0, 1, &s.strides, s.offset),
        loops::Op::TileStore(s) => (1, 2, &s.strides, s.offset),
        _ => return None,
    };
    Some(Access { mem: operands[mem], vars: &operands[vars..], strides, offset })
}
