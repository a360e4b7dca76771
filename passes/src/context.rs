//! What a running pass is given: its options, the target, and a place for remarks.

use crate::{Diagnostic, Options};
use qcc_ir::{LocId, Module};
use qcc_runtime::{Arch, CpuLevel};

/// The machine that code is made for, as far as passes above the kernels care.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TargetInfo {
    /// Instruction set family.
    pub arch: Arch,
    /// What the CPU can do.
    pub cpu: CpuLevel,
    /// Threads that a run may use: kernels are split into as many tasks.
    pub threads: usize,
}

/// Something a pass did, proved, or did not do and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remark {
    /// The pass.
    pub pass: &'static str,
    /// The node's name in the source model; empty when it is about the whole module.
    pub loc: String,
    /// What it has to say.
    pub message: String,
}

impl std::fmt::Display for Remark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.loc.as_str() {
            "" => write!(f, "{}: {}", self.pass, self.message),
            loc => write!(f, "{}: '{loc}': {}", self.pass, self.message),
        }
    }
}

/// The surroundings of a running pass.
#[derive(Clone, Debug)]
pub struct PassContext {
    /// Options of the pass that runs.
    pub options: Options,
    /// All remarks so far, of every pass.
    pub remarks: Vec<Remark>,
    /// The machine to compile for.
    pub target: TargetInfo,
    /// Name of the pass that runs.
    pub(crate) pass: &'static str,
}

impl PassContext {
    /// A context without remarks, for `target`.
    pub fn new(target: TargetInfo) -> Self {
        PassContext { options: Options::default(), remarks: vec![], target, pass: "" }
    }
    /// Leaves a remark about the op at `loc`.
    pub fn remark(&mut self, m: &Module, loc: LocId, message: impl Into<String>) {
        let loc = m.locs.describe(loc);
        self.remarks.push(Remark { pass: self.pass, loc, message: message.into() });
    }
    /// Leaves a remark about the whole module.
    pub fn remark_module(&mut self, message: impl Into<String>) {
        let message = message.into();
        self.remarks.push(Remark { pass: self.pass, loc: String::new(), message });
    }
    /// An error about the op at `loc`, in the name of the running pass.
    pub fn error(&self, m: &Module, loc: LocId, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.pass, message).at(m.locs.describe(loc))
    }
}
