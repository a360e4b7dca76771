//! Which instructions compiled code may use.

use crate::{Error, Result};
use qcc_runtime::cpu::{Arch, CpuLevel, detect_native};

/// A CPU level by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cpu(pub(crate) CpuLevel);

impl Cpu {
    /// The best level that this machine has.
    pub fn native() -> Cpu {
        Cpu(detect_native().unwrap_or_else(|| CpuLevel::baseline(host_arch())))
    }
    /// The lowest level of this machine's architecture.
    pub fn baseline() -> Cpu {
        Cpu(CpuLevel::baseline(host_arch()))
    }
    /// The level called `name`: `native`, `baseline`, or one that `qcc targets` lists.
    ///
    /// # Errors
    /// An unknown name; the error lists the names.
    pub fn named(name: &str, arch: Arch) -> Result<Cpu> {
        CpuLevel::resolve(name, arch).map(Cpu).map_err(|e| Error::Input(e.to_string()))
    }
    /// The highest level within this one's features after `changes`, a list like
    /// `+avx512vnni,-fma`: see [`CpuLevel::with_features`].
    ///
    /// # Errors
    /// An item without a sign; a feature that this architecture's levels do not know.
    pub fn with_features(self, changes: &str) -> Result<Cpu> {
        self.0.with_features(changes).map(Cpu).map_err(|e| Error::Input(e.to_string()))
    }
    /// A given level.
    pub fn level(level: CpuLevel) -> Cpu {
        Cpu(level)
    }
    /// The level's name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }
}

/// The architecture this program runs on.
pub(crate) fn host_arch() -> Arch {
    Arch::host().unwrap_or(Arch::X86_64)
}
