//! `qcc compile`: a model to a file.

use super::{Global, ModelOptions, Outcome, output};
use crate::{Compiler, Cpu, Error, Result, Source};
use clap::ValueEnum;
use qcc_codegen::aot::{self, Interface, ObjectFile, Variant};
use qcc_codegen::clif::Listing;
use qcc_codegen::emitters::Choice;
use qcc_codegen::program::Program;
use qcc_codegen::{Target, header, jit};
use qcc_ir::Module;
use qcc_passes::{PassTime, Remark};
use qcc_runtime::cpu::Arch;
use std::path::{Path, PathBuf};
use target_lexicon::{Architecture, OperatingSystem, Triple};

/// Arguments of `compile`.
#[derive(clap::Args, Debug)]
pub struct CompileArgs {
    /// The model.
    model: PathBuf,
    /// The result; its extension picks --emit. `-` is standard output.
    #[arg(short, long)]
    output: PathBuf,
    /// What to write.
    #[arg(long)]
    emit: Option<Emit>,
    /// Target triple; this machine by default.
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// CPU features to add (+x) or leave out (-y), from left to right: each level of --cpu becomes
    /// the highest level within the features that result.
    #[arg(long, value_name = "+x,-y", allow_hyphen_values = true)]
    features: Option<String>,
    /// Prefix of the exported symbols; the model's name by default.
    #[arg(long, value_name = "NAME")]
    symbol: Option<String>,
    #[command(flatten)]
    options: ModelOptions,
}

/// Kinds of output.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Emit {
    /// An object file.
    Obj,
    /// A static library.
    Staticlib,
    /// A shared library, through the system's linker.
    Sharedlib,
    /// The C header.
    Header,
    /// The model as imported, in qcc's IR.
    Qir,
    /// The kernels, in qcc's IR.
    Kir,
    /// The kernels in Cranelift's IR.
    Clif,
    /// The kernels' machine code as text.
    Asm,
    /// A report on the model.
    Report,
}

/// Compiles the model and writes the result.
pub fn compile(args: &CompileArgs, global: &Global) -> Result<Outcome> {
    let emit = match args.emit {
        Some(e) => e,
        None => from_extension(&args.output)?,
    };
    let triple = triple(args.target.as_deref())?;
    if args.emit.is_none() && emit == Emit::Sharedlib {
        check_library_name(&args.output, &triple)?;
    }
    // Not 'native': the same command gives the same bytes on every host.
    let arch = arch_of(&triple)?;
    let cpus = args.options.cpus(arch, "baseline")?;
    let cpus = with_features(cpus, args.features.as_deref().unwrap_or_default())?;
    let compiler = args.options.compiler(global, cpus[0])?;
    let source = compiler.read(&args.model)?;
    let bytes = match emit {
        Emit::Qir => qcc_ir::text::print(&source.module).into_bytes(),
        Emit::Report => super::inspect::report(&compiler, &source).into_bytes(),
        _ => {
            let symbol = symbol(args, &source)?;
            let (build, remarks, times) = Build::lower(&compiler, source, &cpus, triple, symbol)?;
            global.report(&remarks, &times);
            build.bytes(emit)?
        }
    };
    output::write(&args.output, &bytes)?;
    global.verbose(|| {
        let cpus: Vec<&str> = cpus.iter().map(|c| c.name()).collect();
        format!("{}: {} bytes for {}", args.output.display(), bytes.len(), cpus.join(", "))
    });
    Ok(Outcome::Done)
}

/// The levels with single features added or left out, in increasing order.
fn with_features(cpus: Vec<Cpu>, changes: &str) -> Result<Vec<Cpu>> {
    let changed: Result<Vec<Cpu>> = cpus.into_iter().map(|c| c.with_features(changes)).collect();
    changed.map(super::ascending)
}

fn from_extension(path: &Path) -> Result<Emit> {
    Ok(match path.extension().and_then(|e| e.to_str()) {
        Some("o" | "obj") => Emit::Obj,
        Some("a" | "lib") => Emit::Staticlib,
        Some("so" | "dylib" | "dll") => Emit::Sharedlib,
        Some("h") => Emit::Header,
        Some("qir") => Emit::Qir,
        Some("kir") => Emit::Kir,
        Some("clif") => Emit::Clif,
        Some("s") => Emit::Asm,
        Some("html") => Emit::Report,
        _ => {
            let path = path.display();
            return Err(Error::Input(format!(
                "{path}: say what to write with --emit, or use .o, .a, .so, .h, .qir, .kir, .clif, \
                 .s or .html"
            )));
        }
    })
}

/// A shared library is called what its system calls one.
fn check_library_name(path: &Path, triple: &Triple) -> Result<()> {
    let usual = match triple.operating_system {
        OperatingSystem::Windows => "dll",
        system if system.is_like_darwin() => "dylib",
        _ => "so",
    };
    match path.extension().is_some_and(|e| e == usual) {
        true => Ok(()),
        false => Err(Error::Input(format!(
            "{}: a shared library for {triple} ends in .{usual}; name it so, choose another \
             --target, or say --emit sharedlib",
            path.display()
        ))),
    }
}

/// A lowered model on its way to a file.
pub(super) struct Build {
    /// The model's file, for messages.
    file: String,
    /// One per CPU level, in increasing order.
    variants: Vec<Variant>,
    triple: Triple,
    interface: Interface,
}

impl Build {
    /// Lowers the model for each CPU; `symbol` is the prefix of the exported functions. What the
    /// passes said and how long they took comes with it.
    pub fn lower(
        compiler: &Compiler,
        source: Source,
        cpus: &[Cpu],
        triple: Triple,
        symbol: String,
    ) -> Result<(Build, Vec<Remark>, Vec<PassTime>)> {
        let Source { file, module, inputs, outputs } = source;
        let interface = Interface { name: module.name.clone(), symbol, inputs, outputs };
        let (mut variants, mut remarks, mut times) = (vec![], vec![], vec![]);
        // The last one may use the module up.
        let mut modules: Vec<Module> = vec![module.clone(); cpus.len().saturating_sub(1)];
        modules.push(module);
        for (&cpu, module) in cpus.iter().zip(modules) {
            let compiler = compiler.clone().cpu(cpu);
            let lowered = compiler.lower_module(module, &file)?;
            variants.push(Variant { module: lowered.module, cpu: compiler.level() });
            remarks.extend(lowered.remarks);
            times.extend(lowered.times);
        }
        Ok((Build { file, variants, triple, interface }, remarks, times))
    }

    fn object(self) -> Result<ObjectFile> {
        let Build { file, variants, triple, interface } = self;
        aot::compile_variants(variants, &interface, &triple)
            .map_err(|source| Error::Codegen { file, source })
    }

    /// The only variant.
    fn only(mut self, emit: Emit) -> Result<(String, Module, Target)> {
        match (self.variants.pop(), self.variants.is_empty()) {
            (Some(Variant { module, cpu }), true) => {
                Ok((self.file, module, Target { triple: self.triple, cpu }))
            }
            _ => {
                let name = emit.to_possible_value();
                let name = name.as_ref().map_or("", |v| v.get_name());
                let what = "shows the code of one CPU level; give one with --cpu";
                Err(Error::Input(format!("--emit {name} {what}")))
            }
        }
    }

    fn listing(self, emit: Emit) -> Result<Listing> {
        let (file, module, target) = self.only(emit)?;
        // Who asks for CLIF wants it of all kernels that Cranelift can emit.
        let choice = if emit == Emit::Clif { Choice::ByWidth } else { Choice::default() };
        jit::listing(module, &target, choice).map_err(|source| Error::Codegen { file, source })
    }

    fn bytes(self, emit: Emit) -> Result<Vec<u8>> {
        Ok(match emit {
            Emit::Obj => self.object()?.bytes,
            Emit::Staticlib => {
                let exported = header::exported(&self.interface.symbol);
                aot::archive(&self.object()?.bytes, &exported)
            }
            Emit::Sharedlib => {
                let folder = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
                let library = self.link_in(folder.path())?;
                std::fs::read(&library).map_err(|e| Error::io(&library, e))?
            }
            Emit::Header => {
                let mut arena_bytes = 0;
                for v in &self.variants {
                    let program = Program::read(&v.module)
                        .map_err(|source| Error::Codegen { file: self.file.clone(), source })?;
                    arena_bytes = arena_bytes.max(program.arena_bytes);
                }
                header::header(&self.interface, arena_bytes + crate::model::ARENA_SLACK)
                    .into_bytes()
            }
            Emit::Kir => qcc_ir::text::print(&self.only(emit)?.1).into_bytes(),
            Emit::Clif => self.listing(emit)?.clif.into_bytes(),
            Emit::Asm => self.listing(emit)?.asm.into_bytes(),
            Emit::Qir | Emit::Report => unreachable!("made from the source by the caller"),
        })
    }

    /// Links a shared library inside `folder`; its path.
    pub fn link_in(self, folder: &Path) -> Result<PathBuf> {
        let (from, to) = (folder.join("model.o"), folder.join("model.so"));
        let file = self.file.clone();
        let target = Target { triple: self.triple.clone(), cpu: self.variants[0].cpu };
        std::fs::write(&from, &self.object()?.bytes).map_err(|e| Error::io(&from, e))?;
        aot::link_shared(&from, &to, &target).map_err(|source| Error::Codegen { file, source })?;
        Ok(to)
    }
}

/// The prefix of the exported functions.
fn symbol(args: &CompileArgs, source: &Source) -> Result<String> {
    let Some(s) = &args.symbol else {
        return Ok(crate::source::identifier(&source.module.name));
    };
    match *s == crate::source::identifier(s) {
        true => Ok(s.clone()),
        false => Err(Error::Input(format!("--symbol {s}: not a C identifier"))),
    }
}

fn triple(text: Option<&str>) -> Result<Triple> {
    let Some(text) = text else { return Ok(Triple::host()) };
    let fail = |why: String| Error::Input(format!("--target {text}: {why}"));
    let triple: Triple = text.parse().map_err(|e| fail(format!("{e}; see `qcc targets`")))?;
    let known = matches!(
        triple.operating_system,
        OperatingSystem::Linux | OperatingSystem::Windows | OperatingSystem::None_
    ) || triple.operating_system.is_like_darwin();
    match known {
        true => Ok(triple),
        false => Err(fail("no objects for this system; see `qcc targets`".into())),
    }
}

fn arch_of(triple: &Triple) -> Result<Arch> {
    match triple.architecture {
        Architecture::X86_64 => Ok(Arch::X86_64),
        Architecture::Aarch64(_) => Ok(Arch::Aarch64),
        other => Err(Error::Input(format!("--target: no code for {other}; see `qcc targets`"))),
    }
}
