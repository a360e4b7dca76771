//! Features: the sets of instructions that CPU levels are made of, by the names that LLVM and
//! rustc give them.
//!
//! Invariant: a feature belongs to the lowest level that needs it, and to every level above that
//! one. Code is generated for levels; [`CpuLevel::with_features`] says for which.

use super::{Arch, CpuLevel};

/// One feature of a CPU that a level needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feature {
    Sse3,
    Ssse3,
    Sse41,
    Sse42,
    Popcnt,
    Avx,
    Avx2,
    Fma,
    F16c,
    Bmi1,
    Bmi2,
    Lzcnt,
    Movbe,
    AvxVnni,
    Avx512F,
    Avx512Vl,
    Avx512Bw,
    Avx512Dq,
    Avx512Vnni,
    AmxInt8,
    Dotprod,
    I8mm,
}

/// Features that cannot be added or left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    #[error("`{item}`: write +NAME to add a CPU feature, -NAME to leave it out")]
    Sign { item: String },
    #[error("unknown CPU feature `{name}` (of {arch}: {known})")]
    Unknown { name: String, arch: Arch, known: String },
}

impl Feature {
    /// Every feature, level by level.
    pub const ALL: [Feature; 22] = [
        Feature::Sse3,
        Feature::Ssse3,
        Feature::Sse41,
        Feature::Sse42,
        Feature::Popcnt,
        Feature::Avx,
        Feature::Avx2,
        Feature::Fma,
        Feature::F16c,
        Feature::Bmi1,
        Feature::Bmi2,
        Feature::Lzcnt,
        Feature::Movbe,
        Feature::AvxVnni,
        Feature::Avx512F,
        Feature::Avx512Vl,
        Feature::Avx512Bw,
        Feature::Avx512Dq,
        Feature::Avx512Vnni,
        Feature::AmxInt8,
        Feature::Dotprod,
        Feature::I8mm,
    ];

    /// The name in `--features`.
    pub const fn name(self) -> &'static str {
        match self {
            Feature::Sse3 => "sse3",
            Feature::Ssse3 => "ssse3",
            Feature::Sse41 => "sse4.1",
            Feature::Sse42 => "sse4.2",
            Feature::Popcnt => "popcnt",
            Feature::Avx => "avx",
            Feature::Avx2 => "avx2",
            Feature::Fma => "fma",
            Feature::F16c => "f16c",
            Feature::Bmi1 => "bmi1",
            Feature::Bmi2 => "bmi2",
            Feature::Lzcnt => "lzcnt",
            Feature::Movbe => "movbe",
            Feature::AvxVnni => "avxvnni",
            Feature::Avx512F => "avx512f",
            Feature::Avx512Vl => "avx512vl",
            Feature::Avx512Bw => "avx512bw",
            Feature::Avx512Dq => "avx512dq",
            Feature::Avx512Vnni => "avx512vnni",
            Feature::AmxInt8 => "amx-int8",
            Feature::Dotprod => "dotprod",
            Feature::I8mm => "i8mm",
        }
    }

    /// The lowest level that needs this feature.
    pub const fn level(self) -> CpuLevel {
        match self {
            Feature::Sse3 | Feature::Ssse3 | Feature::Sse41 | Feature::Sse42 | Feature::Popcnt => {
                CpuLevel::X86V2
            }
            Feature::Avx
            | Feature::Avx2
            | Feature::Fma
            | Feature::F16c
            | Feature::Bmi1
            | Feature::Bmi2
            | Feature::Lzcnt
            | Feature::Movbe => CpuLevel::X86V3,
            Feature::AvxVnni => CpuLevel::X86AvxVnni,
            Feature::Avx512F | Feature::Avx512Vl | Feature::Avx512Bw | Feature::Avx512Dq => {
                CpuLevel::X86V4
            }
            Feature::Avx512Vnni => CpuLevel::X86Avx512Vnni,
            Feature::AmxInt8 => CpuLevel::X86Amx,
            Feature::Dotprod => CpuLevel::A64Dotprod,
            Feature::I8mm => CpuLevel::A64I8mm,
        }
    }

    /// The feature called `name` on `arch`.
    fn named(name: &str, arch: Arch) -> Result<Feature, FeatureError> {
        let mut of_arch = Feature::ALL.into_iter().filter(|f| f.level().arch() == arch);
        of_arch.clone().find(|f| f.name() == name).ok_or_else(|| {
            let known = of_arch.by_ref().map(Feature::name).collect::<Vec<_>>().join(", ");
            FeatureError::Unknown { name: name.to_string(), arch, known }
        })
    }
}

impl CpuLevel {
    /// The level that this one is built on: it has all features of that, and more.
    pub const fn below(self) -> Option<CpuLevel> {
        match self {
            CpuLevel::X86Baseline | CpuLevel::A64Baseline => None,
            CpuLevel::X86V2 => Some(CpuLevel::X86Baseline),
            CpuLevel::X86V3 => Some(CpuLevel::X86V2),
            CpuLevel::X86AvxVnni | CpuLevel::X86V4 => Some(CpuLevel::X86V3),
            CpuLevel::X86Avx512Vnni => Some(CpuLevel::X86V4),
            CpuLevel::X86Amx => Some(CpuLevel::X86Avx512Vnni),
            CpuLevel::A64Dotprod => Some(CpuLevel::A64Baseline),
            CpuLevel::A64I8mm => Some(CpuLevel::A64Dotprod),
        }
    }

    /// The features that code of this level may use, besides its architecture's baseline.
    pub fn features(self) -> impl Iterator<Item = Feature> {
        let levels: Vec<CpuLevel> = std::iter::successors(Some(self), |l| l.below()).collect();
        Feature::ALL.into_iter().filter(move |f| levels.contains(&f.level()))
    }

    /// The highest level that stays within this level's features as `changes` edits them, a list
    /// like `+avx512vnni,-fma` that is read from left to right. `+x` also adds what the lowest
    /// level with `x` has, as every CPU with `x` does.
    ///
    /// # Errors
    /// An item without a sign; a name that is no feature of this architecture.
    pub fn with_features(self, changes: &str) -> Result<CpuLevel, FeatureError> {
        let mut allowed: Vec<Feature> = self.features().collect();
        for item in changes.split(',').map(str::trim).filter(|i| !i.is_empty()) {
            if let Some(name) = item.strip_prefix('+') {
                allowed.extend(Feature::named(name, self.arch())?.level().features());
            } else if let Some(name) = item.strip_prefix('-') {
                let left_out = Feature::named(name, self.arch())?;
                allowed.retain(|&f| f != left_out);
            } else {
                return Err(FeatureError::Sign { item: item.to_string() });
            }
        }
        let of_arch = CpuLevel::ALL.into_iter().filter(|l| l.arch() == self.arch());
        let mut from_the_highest = of_arch.rev();
        let within = from_the_highest.find(|l| l.features().all(|f| allowed.contains(&f)));
        Ok(within.unwrap_or(CpuLevel::baseline(self.arch())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_the_features_below_them() {
        for level in CpuLevel::ALL {
            if let Some(below) = level.below() {
                assert!(below < level && below.arch() == level.arch());
                let features: Vec<Feature> = level.features().collect();
                assert!(below.features().all(|f| features.contains(&f)), "{level}");
                assert!(features.len() > below.features().count(), "{level} adds nothing");
            }
            assert_eq!(level.with_features(""), Ok(level));
        }
    }

    #[test]
    fn features_move_the_level() {
        use CpuLevel::*;
        for (from, changes, to) in [
            (X86Baseline, "+avx512vnni", X86Avx512Vnni),
            (X86V3, "+avxvnni", X86AvxVnni),
            (X86AvxVnni, "+avx512vl", X86V4),
            (X86Avx512Vnni, "-avx512vnni", X86V4),
            (X86Avx512Vnni, "-avx512dq,+avxvnni", X86AvxVnni),
            (X86V3, "-fma", X86V2),
            (X86V3, "-fma, +fma", X86V3),
            (X86Amx, "-amx-int8", X86Avx512Vnni),
            (A64Baseline, "+dotprod", A64Dotprod),
            (A64I8mm, "-dotprod", A64Baseline),
        ] {
            assert_eq!(from.with_features(changes), Ok(to), "{from} {changes}");
        }
    }

    #[test]
    fn what_is_no_feature_is_refused() {
        let unknown = CpuLevel::A64Baseline.with_features("+avx2").unwrap_err().to_string();
        assert!(unknown.contains("`avx2`") && unknown.contains("dotprod, i8mm"), "{unknown}");
        let sign = CpuLevel::X86V3.with_features("avx2").unwrap_err();
        assert_eq!(sign, FeatureError::Sign { item: "avx2".to_string() });
    }
}
