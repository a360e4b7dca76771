//! Targets: a triple and a CPU level, as Cranelift settings.

use crate::CodegenError;
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use qcc_runtime::cpu::{Arch, CpuLevel};
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
        for flag in cpu_flags(self.cpu) {
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

/// Cranelift's flags for a CPU level.
fn cpu_flags(cpu: CpuLevel) -> Vec<&'static str> {
    const V2: [&str; 5] = ["has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"];
    const V3: [&str; 6] = ["has_avx", "has_avx2", "has_fma", "has_bmi1", "has_bmi2", "has_lzcnt"];
    const V4: [&str; 3] = ["has_avx512vl", "has_avx512f", "has_avx512dq"];
    let all = |sets: &[&[&'static str]]| sets.concat();
    match cpu {
        CpuLevel::X86Baseline => vec![],
        CpuLevel::X86V2 => all(&[&V2]),
        CpuLevel::X86V3 => all(&[&V2, &V3]),
        CpuLevel::X86AvxVnni => all(&[&V2, &V3, &["has_avx_vnni"]]),
        CpuLevel::X86V4 => all(&[&V2, &V3, &V4]),
        CpuLevel::X86Avx512Vnni | CpuLevel::X86Amx => all(&[&V2, &V3, &V4, &["has_avx512vnni"]]),
        CpuLevel::A64Baseline => vec![],
        CpuLevel::A64Dotprod => vec!["has_dotprod"],
        CpuLevel::A64I8mm => vec!["has_dotprod", "has_i8mm"],
    }
}
