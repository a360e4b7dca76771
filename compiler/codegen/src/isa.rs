//! Targets: a triple and a CPU level, as Cranelift settings.

use crate::CodegenError;
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use qcc_runtime::cpu::{Arch, CpuLevel, Feature};
use target_lexicon::{Architecture, BinaryFormat, Triple};

/// A machine to generate code for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Operating system, architecture, object format.
    pub triple: Triple,
    /// Instructions that may be used.
    pub cpu: CpuLevel,
}

/// Where the code will run from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeModel {
    /// This process, at a known address.
    Jit,
    /// An object file, position independent.
    Object,
}

impl Target {
    /// This machine, at `cpu`.
    pub fn host(cpu: CpuLevel) -> Target {
        Target { triple: Triple::host(), cpu }
    }

    /// The Cranelift back end for this target.
    ///
    /// # Errors
    /// The triple's architecture is not the CPU level's, or Cranelift has no such back end.
    pub fn isa(&self, model: CodeModel) -> Result<OwnedTargetIsa, CodegenError> {
        self.check_arch()?;
        let fail = |why: String| CodegenError::Target { target: self.triple.to_string(), why };
        let mut shared = settings::builder();
        let pic = if model == CodeModel::Object { "true" } else { "false" };
        for (name, value) in [
            ("opt_level", "none"),
            ("is_pic", pic),
            ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
            ("enable_probestack", "false"),
            ("unwind_info", "false"),
            ("preserve_frame_pointers", "false"),
        ] {
            shared.set(name, value).map_err(|e| fail(e.to_string()))?;
        }
        let mut triple = self.triple.clone();
        if triple.binary_format == BinaryFormat::Unknown {
            triple.binary_format = BinaryFormat::Elf; // bare metal: aarch64-unknown-none
        }
        let mut builder = isa::lookup(triple).map_err(|e| fail(e.to_string()))?;
        for flag in self.cpu.features().filter_map(flag) {
            builder.enable(flag).map_err(|e| fail(format!("{flag}: {e}")))?;
        }
        builder.finish(settings::Flags::new(shared)).map_err(|e| fail(e.to_string()))
    }

    fn check_arch(&self) -> Result<(), CodegenError> {
        let fits = match self.triple.architecture {
            Architecture::X86_64 => self.cpu.arch() == Arch::X86_64,
            Architecture::Aarch64(_) => self.cpu.arch() == Arch::Aarch64,
            _ => false,
        };
        if fits {
            return Ok(());
        }
        let why = format!("CPU level '{}' does not belong to it", self.cpu);
        Err(CodegenError::Target { target: self.triple.to_string(), why })
    }
}

/// Cranelift's flag for a feature; `None` where it makes no difference to Cranelift.
fn flag(feature: Feature) -> Option<&'static str> {
    Some(match feature {
        Feature::Sse3 => "has_sse3",
        Feature::Ssse3 => "has_ssse3",
        Feature::Sse41 => "has_sse41",
        Feature::Sse42 => "has_sse42",
        Feature::Popcnt => "has_popcnt",
        Feature::Avx => "has_avx",
        Feature::Avx2 => "has_avx2",
        Feature::Fma => "has_fma",
        Feature::Bmi1 => "has_bmi1",
        Feature::Bmi2 => "has_bmi2",
        Feature::Lzcnt => "has_lzcnt",
        Feature::AvxVnni => "has_avx_vnni",
        Feature::Avx512F => "has_avx512f",
        Feature::Avx512Vl => "has_avx512vl",
        Feature::Avx512Dq => "has_avx512dq",
        Feature::Avx512Vnni => "has_avx512vnni",
        Feature::Dotprod => "has_dotprod",
        Feature::I8mm => "has_i8mm",
        Feature::F16c | Feature::Movbe | Feature::Avx512Bw | Feature::AmxInt8 => return None,
    })
}
