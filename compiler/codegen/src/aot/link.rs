//! Shared libraries, through the system's linker.

use crate::{CodegenError, Target};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use target_lexicon::{OperatingSystem, Triple};

/// Links an object into a shared library at `output` with the system's C compiler.
///
/// # Errors
/// There is no linker for the target (the message names those tried), or it failed.
pub fn link_shared(object: &Path, output: &Path, target: &Target) -> Result<(), CodegenError> {
    let triple = &target.triple;
    let fail = |why: String| CodegenError::Link { target: triple.to_string(), why };
    let candidates = linkers(triple);
    for linker in &candidates {
        let mut command = Command::new(linker);
        command.args(["-shared", "-nostdlib", "-o"]).arg(output).arg(object);
        if triple.operating_system == OperatingSystem::Linux {
            command.args(["-Wl,-z,text", "-Wl,--build-id=none", "-Wl,-Bsymbolic"]);
        }
        match command.output() {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(fail(format!("{linker}: {e}"))),
            Ok(done) if done.status.success() => return Ok(()),
            Ok(done) => {
                let message = String::from_utf8_lossy(&done.stderr);
                return Err(fail(format!("{linker} failed: {}", message.trim())));
            }
        }
    }
    Err(fail(match candidates.as_slice() {
        [] => "no linker for this target; write an object (.o) and link it there".into(),
        names => format!(
            "no linker found (tried {}); install one, or write an object (.o)",
            names.join(", ")
        ),
    }))
}

/// C compilers that link for `triple`, best first.
fn linkers(triple: &Triple) -> Vec<String> {
    let host = Triple::host();
    let here = host.architecture == triple.architecture
        && host.operating_system == triple.operating_system;
    match triple.operating_system {
        _ if here => vec!["cc".into(), "gcc".into(), "clang".into()],
        OperatingSystem::Linux => vec![format!("{}-linux-gnu-gcc", triple.architecture)],
        OperatingSystem::Windows => vec![format!("{}-w64-mingw32-gcc", triple.architecture)],
        _ => vec![],
    }
}
