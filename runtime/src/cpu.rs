//! CPU levels: the instruction sets that code is generated for.
//!
//! A level is a named set of [features](Feature); code for a level runs on every host that lists
//! it in [`levels_of_host`]. Invariant: names are those of `--cpu` on the command line. Anyone may
//! call.

pub mod amx;
mod features;

pub use features::{Feature, FeatureError};

use std::fmt;
use std::str::FromStr;

/// An instruction set architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arch {
    X86_64,
    Aarch64,
}

impl Arch {
    /// The architecture this code runs on; `None` when qcc has no code generator for it.
    pub const fn host() -> Option<Arch> {
        if cfg!(target_arch = "x86_64") {
            Some(Arch::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Arch::Aarch64)
        } else {
            None
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        })
    }
}

/// A level, in increasing order within an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CpuLevel {
    X86Baseline,
    X86V2,
    X86V3,
    X86AvxVnni,
    X86V4,
    X86Avx512Vnni,
    X86Amx,
    A64Baseline,
    A64Dotprod,
    A64I8mm,
}

/// A name that is no CPU level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuNameError {
    #[error(
        "unknown CPU level `{name}` (x86-64: x86-64, x86-64-v2, x86-64-v3, avxvnni, \
         x86-64-v4, avx512vnni, x86-64-amx; \
         aarch64: armv8-a, dotprod, i8mm; or native, baseline)"
    )]
    Unknown { name: String },
    #[error("CPU level `{level}` is of {found}, but the target is {expected}")]
    WrongArch { level: CpuLevel, found: Arch, expected: Arch },
    #[error("CPU level `native` asks for this machine, whose architecture is not {expected}")]
    NotNative { expected: Arch },
}

impl CpuLevel {
    /// Every level, in increasing order per architecture.
    pub const ALL: [CpuLevel; 10] = [
        CpuLevel::X86Baseline,
        CpuLevel::X86V2,
        CpuLevel::X86V3,
        CpuLevel::X86AvxVnni,
        CpuLevel::X86V4,
        CpuLevel::X86Avx512Vnni,
        CpuLevel::X86Amx,
        CpuLevel::A64Baseline,
        CpuLevel::A64Dotprod,
        CpuLevel::A64I8mm,
    ];

    /// The architecture of this level.
    pub const fn arch(self) -> Arch {
        match self {
            CpuLevel::A64Baseline | CpuLevel::A64Dotprod | CpuLevel::A64I8mm => Arch::Aarch64,
            _ => Arch::X86_64,
        }
    }

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            CpuLevel::X86Baseline => "x86-64",
            CpuLevel::X86V2 => "x86-64-v2",
            CpuLevel::X86V3 => "x86-64-v3",
            CpuLevel::X86AvxVnni => "avxvnni",
            CpuLevel::X86V4 => "x86-64-v4",
            CpuLevel::X86Avx512Vnni => "avx512vnni",
            CpuLevel::X86Amx => "x86-64-amx",
            CpuLevel::A64Baseline => "armv8-a",
            CpuLevel::A64Dotprod => "dotprod",
            CpuLevel::A64I8mm => "i8mm",
        }
    }

    /// One line for `qcc targets`.
    pub const fn description(self) -> &'static str {
        match self {
            CpuLevel::X86Baseline => "any x86-64: SSE2",
            CpuLevel::X86V2 => "SSSE3, SSE4.1, SSE4.2, POPCNT (2009 on)",
            CpuLevel::X86V3 => "AVX2, FMA, BMI, F16C (Haswell, Zen)",
            CpuLevel::X86AvxVnni => "x86-64-v3 and AVX-VNNI: 256-bit vpdpbusd (Alder Lake, Zen 5)",
            CpuLevel::X86V4 => "x86-64-v3 and AVX-512 F, VL, BW, DQ: 512-bit vpmaddwd (Skylake-X)",
            CpuLevel::X86Avx512Vnni => "x86-64-v4 and VNNI: 512-bit vpdpbusd (Ice Lake, Zen 4)",
            CpuLevel::X86Amx => "avx512vnni and AMX-INT8 tiles (Sapphire Rapids; Linux 5.16)",
            CpuLevel::A64Baseline => "any 64-bit Arm: NEON",
            CpuLevel::A64Dotprod => "NEON and sdot, udot (Cortex-A75, Neoverse N1, Apple M1)",
            CpuLevel::A64I8mm => "dotprod and usdot, smmla (Neoverse V1, Apple M2)",
        }
    }

    /// The lowest level of an architecture: what `baseline` means.
    pub const fn baseline(arch: Arch) -> CpuLevel {
        match arch {
            Arch::X86_64 => CpuLevel::X86Baseline,
            Arch::Aarch64 => CpuLevel::A64Baseline,
        }
    }

    /// The level that `name` means for a target of `arch`; `native` and `baseline` included.
    /// Errors: an unknown name, a level of the other architecture, `native` on a foreign target.
    pub fn resolve(name: &str, arch: Arch) -> Result<CpuLevel, CpuNameError> {
        let level = match name {
            "baseline" => CpuLevel::baseline(arch),
            "native" => detect_native().ok_or(CpuNameError::NotNative { expected: arch })?,
            _ => name.parse()?,
        };
        match level.arch() {
            found if found == arch => Ok(level),
            _ if name == "native" => Err(CpuNameError::NotNative { expected: arch }),
            found => Err(CpuNameError::WrongArch { level, found, expected: arch }),
        }
    }

    /// True when this machine runs code of this level.
    pub fn runs_here(self) -> bool {
        Arch::host() == Some(self.arch()) && self.features().all(host_has)
    }
}

impl fmt::Display for CpuLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for CpuLevel {
    type Err = CpuNameError;

    /// Accepts the names of levels; for `native` and `baseline` see [`CpuLevel::resolve`].
    fn from_str(name: &str) -> Result<CpuLevel, CpuNameError> {
        CpuLevel::ALL
            .into_iter()
            .find(|l| l.name() == name)
            .ok_or_else(|| CpuNameError::Unknown { name: name.to_string() })
    }
}

/// The highest level this machine runs: what `native` means. `None` on a foreign architecture.
pub fn detect_native() -> Option<CpuLevel> {
    levels_of_host().last().copied()
}

/// The levels this machine runs, in increasing order.
pub fn levels_of_host() -> Vec<CpuLevel> {
    CpuLevel::ALL.into_iter().filter(|l| l.runs_here()).collect()
}

/// True when the CPU has the feature, and the system lets programs use it.
#[cfg(target_arch = "x86_64")]
fn host_has(feature: Feature) -> bool {
    use std::arch::is_x86_feature_detected as has;
    match feature {
        Feature::Sse3 => has!("sse3"),
        Feature::Ssse3 => has!("ssse3"),
        Feature::Sse41 => has!("sse4.1"),
        Feature::Sse42 => has!("sse4.2"),
        Feature::Popcnt => has!("popcnt"),
        Feature::Avx => has!("avx"),
        Feature::Avx2 => has!("avx2"),
        Feature::Fma => has!("fma"),
        Feature::F16c => has!("f16c"),
        Feature::Bmi1 => has!("bmi1"),
        Feature::Bmi2 => has!("bmi2"),
        Feature::Lzcnt => has!("lzcnt"),
        Feature::Movbe => has!("movbe"),
        Feature::AvxVnni => has!("avxvnni"),
        Feature::Avx512F => has!("avx512f"),
        Feature::Avx512Vl => has!("avx512vl"),
        Feature::Avx512Bw => has!("avx512bw"),
        Feature::Avx512Dq => has!("avx512dq"),
        Feature::Avx512Vnni => has!("avx512vnni"),
        Feature::AmxInt8 => amx::available(),
        Feature::Dotprod | Feature::I8mm => false,
    }
}

/// True when the CPU has the feature.
#[cfg(target_arch = "aarch64")]
fn host_has(feature: Feature) -> bool {
    use std::arch::is_aarch64_feature_detected as has;
    match feature {
        Feature::Dotprod => has!("dotprod"),
        Feature::I8mm => has!("i8mm"),
        _ => false,
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn host_has(_: Feature) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for l in CpuLevel::ALL {
            assert_eq!(l.to_string().parse(), Ok(l));
            assert_eq!(CpuLevel::resolve(l.name(), l.arch()), Ok(l));
        }
        let error = "avx1024".parse::<CpuLevel>().unwrap_err().to_string();
        assert!(CpuLevel::ALL.iter().all(|l| error.contains(l.name())), "{error}");
    }

    #[test]
    fn host_levels_ascend_from_the_baseline() {
        let levels = levels_of_host();
        assert!(levels.is_sorted());
        if let Some(arch) = Arch::host() {
            assert_eq!(levels[0], CpuLevel::baseline(arch));
            assert_eq!(CpuLevel::resolve("native", arch).ok(), detect_native());
        }
    }

    #[test]
    fn resolve_checks_the_architecture() {
        assert_eq!(CpuLevel::resolve("baseline", Arch::Aarch64), Ok(CpuLevel::A64Baseline));
        assert!(CpuLevel::resolve("i8mm", Arch::X86_64).is_err());
        assert!(CpuLevel::resolve("nonsense", Arch::X86_64).is_err());
    }
}
