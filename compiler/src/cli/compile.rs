//! `qcc compile`: a model to a file.

use super::{Global, ModelOptions, Outcome, output};
use crate::{Artefact, Compiler, Error, Result, Source};
use qcc_codegen::aot::{self, Interface};
use qcc_codegen::{Target, header, jit};
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
    /// CPU features to add (+x) or leave out (-y).
    #[arg(long, value_name = "+x,-y", allow_hyphen_values = true)]
    features: Option<String>,
    /// Prefix of the exported symbols; the model's name by default.
    #[arg(long, value_name = "NAME")]
    symbol: Option<String>,
    /// Fail if some part of the model cannot be integer.
    #[arg(long)]
    require_integer: bool,
    #[command(flatten)]
    options: ModelOptions,
}

/// Kinds of output.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
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
    if let Some(f) = &args.features {
        let what = "single CPU features are not available yet; choose a level with --cpu";
        return Err(Error::Input(format!("--features {f}: {what}")));
    }
    let compiler = args.options.compiler(global, arch_of(&triple)?)?;
    let source = compiler.read(&args.model)?;
    if args.require_integer {
        require_integer(&source)?;
    }
    if emit == Emit::Qir {
        output::write(&args.output, qcc_ir::text::print(&source.module).as_bytes())?;
        return Ok(Outcome::Done);
    }
    let lowered = compiler.lower(&source)?;
    global.report(&lowered.remarks, &lowered.times);
    let target = Target { triple, cpu: compiler.level() };
    let interface = interface(args, &source)?;
    if emit == Emit::Sharedlib {
        return shared_library(args, &lowered, &interface, &target);
    }
    let bytes = artefact(emit, &compiler, &source, &lowered, &interface, &target)?;
    output::write(&args.output, &bytes)?;
    Ok(Outcome::Done)
}

fn from_extension(path: &Path) -> Result<Emit> {
    Ok(match path.extension().and_then(|e| e.to_str()) {
        Some("o" | "obj") => Emit::Obj,
        Some("a" | "lib") => Emit::Staticlib,
        Some("so" | "dylib" | "dll") => Emit::Sharedlib,
        Some("h") => Emit::Header,
        Some("qir") => Emit::Qir,
        Some("clif") => Emit::Clif,
        Some("s") => Emit::Asm,
        Some("html") => Emit::Report,
        _ => {
            let path = path.display();
            return Err(Error::Input(format!(
                "{path}: say what to write with --emit, or use .o, .a, .so, .h, .qir, .clif, .s or \
                 .html"
            )));
        }
    })
}

fn artefact(
    emit: Emit,
    compiler: &Compiler,
    source: &Source,
    lowered: &Artefact,
    interface: &Interface,
    target: &Target,
) -> Result<Vec<u8>> {
    let _ = compiler;
    let object = || aot::compile_object(&lowered.module, interface, target);
    Ok(match emit {
        Emit::Obj => object()?.bytes,
        Emit::Staticlib => aot::archive(&object()?.bytes, &header::exported(&interface.symbol)),
        Emit::Header => header::header(interface, object()?.arena_bytes).into_bytes(),
        Emit::Kir => qcc_ir::text::print(&lowered.module).into_bytes(),
        Emit::Clif => jit::listing(&lowered.module, target)?.clif.into_bytes(),
        Emit::Asm => jit::listing(&lowered.module, target)?.asm.into_bytes(),
        Emit::Report => super::inspect::report(source).into_bytes(),
        Emit::Qir | Emit::Sharedlib => unreachable!("handled by the caller"),
    })
}

/// The linker writes a file of its own, which is then read and written like any result.
fn shared_library(
    args: &CompileArgs,
    lowered: &Artefact,
    interface: &Interface,
    target: &Target,
) -> Result<Outcome> {
    let folder = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
    let bytes = link_in(folder.path(), lowered, interface, target)?;
    output::write(&args.output, &bytes)?;
    Ok(Outcome::Done)
}

/// Links a shared library inside `folder`; its bytes.
pub fn link_in(
    folder: &Path,
    lowered: &Artefact,
    interface: &Interface,
    target: &Target,
) -> Result<Vec<u8>> {
    let object = aot::compile_object(&lowered.module, interface, target)?;
    let (from, to) = (folder.join("model.o"), folder.join("model.so"));
    std::fs::write(&from, &object.bytes).map_err(|e| Error::io(&from, e))?;
    aot::link_shared(&from, &to, target)?;
    std::fs::read(&to).map_err(|e| Error::io(&to, e))
}

fn interface(args: &CompileArgs, source: &Source) -> Result<Interface> {
    let symbol = match &args.symbol {
        Some(s) => s.clone(),
        None => crate::source::identifier(&source.module.name),
    };
    let fits = symbol == crate::source::identifier(&symbol);
    if !fits {
        return Err(Error::Input(format!("--symbol {symbol}: not a C identifier")));
    }
    Ok(Interface {
        name: source.module.name.clone(),
        symbol,
        inputs: source.inputs.clone(),
        outputs: source.outputs.clone(),
    })
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

/// Fails if some op works on floats, other than at the model's edges.
fn require_integer(source: &Source) -> Result<()> {
    let floats: Vec<String> = crate::layers::layers(&source.module)
        .into_iter()
        .filter(|l| l.op.starts_with("nn."))
        .map(|l| format!("node '{}' ({}) works on floats", l.name, l.op))
        .collect();
    match floats.as_slice() {
        [] => Ok(()),
        all => Err(Error::Input(format!("{}: {}", source.file, all.join("\n")))),
    }
}
