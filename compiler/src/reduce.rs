//! Shrinks a module for which something fails, at the level it is at.
//!
//! Delta debugging (Zeller and Hildebrandt, 2002) with edits that keep a module well-formed: fewer
//! outputs, or those of an earlier op; a run of ops cut out, their results replaced by what they read,
//! by new inputs or by zeros; inputs and constants replaced by zeros; equal constants shared. Every candidate is verified
//! before the predicate sees it, so what is left is a module that qcc accepts.
//!
//! Deterministic: the same module and predicate give the same result. It ends, because every step
//! that is kept leaves fewer ops, fewer inputs or fewer bytes other than zero.

mod edit;

use edit::Replacement;
use qcc_ir::{FuncId, Module, OpId};

/// How large a module is, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Ops other than constants.
    pub n_ops: usize,
    /// Inputs of the model.
    pub n_inputs: usize,
    /// Bytes of constants.
    pub const_bytes: usize,
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Size { n_ops, n_inputs, const_bytes } = self;
        write!(f, "{n_ops} ops, {n_inputs} inputs, {const_bytes} bytes of constants")
    }
}

/// How large a module is.
pub fn size(m: &Module) -> Size {
    let ops = m.funcs.values().map(|f| edit::removable_ops(f).len());
    Size {
        n_ops: ops.sum(),
        n_inputs: m.main().map_or(0, |id| m.funcs[id].params().len()),
        const_bytes: m.data.values().map(|d| d.bytes.len()).sum(),
    }
}

/// What a reduction did.
#[derive(Clone, Debug)]
pub struct Reduced {
    /// The smallest module found.
    pub module: Module,
    /// How often the predicate was asked.
    pub n_tries: usize,
}

/// The smallest module that edits of `module` lead to for which `fails` still holds. `fails` must
/// hold for `module` itself.
///
/// # Errors
/// What `fails` returns.
pub fn reduce<E>(
    module: &Module,
    fails: impl FnMut(&Module) -> Result<bool, E>,
) -> Result<Reduced, E> {
    let mut search = Search { best: module.clone(), fails, n_tries: 0 };
    search.attempt(edit::tidy(module.clone()))?;
    while search.round()? {}
    Ok(Reduced { module: search.best, n_tries: search.n_tries })
}

struct Search<F> {
    best: Module,
    fails: F,
    n_tries: usize,
}

impl<E, F: FnMut(&Module) -> Result<bool, E>> Search<F> {
    /// Every kind of edit once; whether one of them was kept.
    fn round(&mut self) -> Result<bool, E> {
        let mut kept = self.drop_outputs()?;
        for func in self.best.funcs.keys() {
            kept |= self.cut_ops(func)?;
        }
        kept |= self.end_earlier()?;
        kept |= self.zero_inputs()?;
        kept |= self.zero_constants()?;
        Ok(kept)
    }

    /// Takes `candidate` if it is well-formed, other than the best so far, and still fails.
    fn attempt(&mut self, candidate: Module) -> Result<bool, E> {
        if edit::size(&candidate) >= edit::size(&self.best)
            || qcc_ir::verify::verify(&candidate).is_err()
        {
            return Ok(false);
        }
        self.n_tries += 1;
        let holds = (self.fails)(&candidate)?;
        if holds {
            self.best = candidate;
        }
        Ok(holds)
    }

    fn drop_outputs(&mut self) -> Result<bool, E> {
        let n = self.best.main().map_or(0, |id| self.best.funcs[id].returned().len());
        let mut kept = false;
        for (start, end) in runs(n) {
            let n_now = self.best.main().map_or(0, |id| self.best.funcs[id].returned().len());
            let (start, end) = (start.min(n_now), end.min(n_now));
            if end - start < n_now && start < end {
                kept |= self.attempt(edit::without_outputs(&self.best, start..end))?;
            }
        }
        Ok(kept)
    }

    /// Returns what an op computes and nothing else, the first op for which that will do.
    fn end_earlier(&mut self) -> Result<bool, E> {
        let Some(main) = self.best.main() else { return Ok(false) };
        for op in self.ops(main) {
            if let Some(candidate) = edit::ending_at(&self.best, op)
                && self.attempt(candidate)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Cuts runs of ops out, long runs before short ones, last ones first.
    fn cut_ops(&mut self, func: FuncId) -> Result<bool, E> {
        let mut kept = false;
        let mut size = self.ops(func).len();
        while size > 0 {
            let mut end = self.ops(func).len();
            while end > 0 {
                let start = end.saturating_sub(size);
                kept |= self.cut_run(func, start..end)?;
                end = start.min(self.ops(func).len());
            }
            size /= 2;
        }
        Ok(kept)
    }

    fn cut_run(&mut self, func: FuncId, range: std::ops::Range<usize>) -> Result<bool, E> {
        let all = self.ops(func);
        let run: Vec<OpId> = all[range.start.min(all.len())..range.end.min(all.len())].to_vec();
        // A single op may make way for what it reads; a run would only do so by chance.
        let ways: &[Replacement] = match run.len() {
            0 => return Ok(false),
            1 => &[Replacement::Operand, Replacement::Input, Replacement::Zero],
            _ => &[Replacement::Input, Replacement::Zero],
        };
        for &way in ways {
            let candidate = edit::without_ops(&self.best, func, &run, way);
            if let Some(candidate) = candidate
                && self.attempt(candidate)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Ops that may go.
    fn ops(&self, func: FuncId) -> Vec<OpId> {
        // Kernels that nothing calls are gone.
        self.best.funcs.get(func).map_or(vec![], edit::removable_ops)
    }

    fn zero_inputs(&mut self) -> Result<bool, E> {
        let mut kept = false;
        let n = self.best.main().map_or(0, |id| self.best.funcs[id].params().len());
        for k in (0..n).rev() {
            if let Some(candidate) = edit::with_zero_input(&self.best, k) {
                kept |= self.attempt(candidate)?;
            }
        }
        Ok(kept)
    }

    fn zero_constants(&mut self) -> Result<bool, E> {
        let mut kept = false;
        for (start, end) in runs(self.best.data.len()) {
            let ids = self.best.data.keys().skip(start).take(end - start).collect::<Vec<_>>();
            kept |= self.attempt(edit::with_zero_data(&self.best, &ids))?;
        }
        Ok(kept)
    }
}

/// All of `0..n`, then halves, quarters, down to single ones; each size from the last to the first.
fn runs(n: usize) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut size = n;
    while size > 0 {
        let mut end = n;
        while end > 0 {
            let start = end.saturating_sub(size);
            out.push((start, end));
            end = start;
        }
        size /= 2;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_everything_at_every_size() {
        assert_eq!(runs(0), []);
        assert_eq!(runs(3), [(0, 3), (2, 3), (1, 2), (0, 1)]);
        assert_eq!(runs(4)[..3], [(0, 4), (2, 4), (0, 2)]);
    }
}
