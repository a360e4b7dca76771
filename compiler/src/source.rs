//! A model as it was read: a verified module and the descriptions of its inputs and outputs.

use crate::model::ARENA_SLACK;
use crate::{Error, Result, files};
use qcc_import::ImportOptions;
use qcc_ir::{Func, Level, Module, QuantParams, Type, Value};
use qcc_runtime::TensorDesc;
use std::path::Path;

/// A model before compilation.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it is called in messages.
    pub file: String,
    /// The module, verified.
    pub module: Module,
    /// Inputs in the model's order.
    pub inputs: Vec<TensorDesc>,
    /// Outputs in the model's order.
    pub outputs: Vec<TensorDesc>,
}

impl Source {
    /// Reads a model file; its kind is told by its name and content.
    ///
    /// # Errors
    /// The file cannot be read, or is not a model that qcc supports.
    pub fn read(path: &Path, options: &ImportOptions) -> Result<Source> {
        if let Some(folder) = saved_model_folder(path) {
            return Source::read_saved_model(folder, options);
        }
        let bytes = files::read_limited(path)?;
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned());
        let (file, name) = (path.display().to_string(), stem.unwrap_or_default());
        if is_onnx(&file) {
            return Source::import_onnx(&bytes, &file, &name, path.parent(), options);
        }
        Source::from_bytes(&bytes, &file, &name, options)
    }

    /// Reads an ONNX model; its external data may be in `folder`. The importer checks the shapes
    /// that were given, which may be those of extents by name.
    fn import_onnx(
        bytes: &[u8],
        file: &str,
        name: &str,
        folder: Option<&Path>,
        options: &ImportOptions,
    ) -> Result<Source> {
        let module = qcc_import::onnx::import(bytes, &identifier(name), folder, options);
        let module = module.map_err(|source| Error::Import { file: file.to_string(), source })?;
        Source::from_module(module, file)
    }

    /// Reads the folder of a TensorFlow SavedModel.
    fn read_saved_model(folder: &Path, options: &ImportOptions) -> Result<Source> {
        let file = folder.display().to_string();
        if !folder.join("saved_model.pb").exists() {
            return Err(Error::Input(format!(
                "{file}: a folder without saved_model.pb; expected a TensorFlow SavedModel, or a \
                 file: .tflite, .onnx, .pb or .qir"
            )));
        }
        let name = folder.canonicalize().unwrap_or(folder.to_path_buf());
        let name = name.file_name().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let module =
            qcc_import::tensorflow::import_saved_model(folder, &identifier(&name), options);
        let module = module.map_err(|source| Error::Import { file: file.clone(), source })?;
        let source = Source::from_module(module, &file)?;
        check_shapes(&source, options)?;
        Ok(source)
    }

    /// Reads a model from memory. `file` is used in messages, `name` becomes the module's name.
    ///
    /// # Errors
    /// The bytes are not a model that qcc supports.
    pub fn from_bytes(
        bytes: &[u8],
        file: &str,
        name: &str,
        options: &ImportOptions,
    ) -> Result<Source> {
        if is_onnx(file) {
            return Source::import_onnx(bytes, file, name, None, options);
        }
        let source = Source::import(bytes, file, name, options)?;
        check_shapes(&source, options)?;
        Ok(source)
    }

    fn import(bytes: &[u8], file: &str, name: &str, options: &ImportOptions) -> Result<Source> {
        let is_tflite = file.ends_with(".tflite") || bytes.get(4..8) == Some(b"TFL3");
        if is_tflite {
            let module = qcc_import::tflite::import(bytes, &identifier(name), options);
            let module =
                module.map_err(|source| Error::Import { file: file.to_string(), source })?;
            return Source::from_module(module, file);
        }
        if file.ends_with(".qir") || bytes.starts_with(b"!") || bytes.starts_with(b"module") {
            let text = std::str::from_utf8(bytes)
                .map_err(|e| Error::Input(format!("{file}: not UTF-8 text: {e}")))?;
            let module = qcc_ir::text::parse(text, file).map_err(Error::Text)?;
            return Source::from_module(module, file);
        }
        if file.ends_with(".pb") {
            let module = qcc_import::tensorflow::import_graph(bytes, &identifier(name), options);
            let module =
                module.map_err(|source| Error::Import { file: file.to_string(), source })?;
            return Source::from_module(module, file);
        }
        Err(Error::Input(format!(
            "{file}: not a model: expected a .tflite flatbuffer (identifier TFL3), an .onnx file or a \
             .qir text"
        )))
    }

    /// Takes a module built in Rust.
    ///
    /// # Errors
    /// The verifier's, all of them.
    pub fn from_module(module: Module, file: &str) -> Result<Source> {
        if let Err(errors) = qcc_ir::verify::verify(&module) {
            let errors = errors.iter().map(ToString::to_string).collect();
            return Err(Error::Verify { file: file.to_string(), errors });
        }
        let Some(main) = module.main().map(|id| &module.funcs[id]) else {
            return Err(Error::Input(format!("{file}: the module has no function 'main'")));
        };
        let (inputs, outputs) = match module.level {
            Level::Loop => loop_interface(main)
                .map_err(|e| Error::Verify { file: file.to_string(), errors: vec![e] })?,
            _ => (
                describe("in", &main.input_names, main, main.params()),
                describe("out", &main.output_names, main, main.returned()),
            ),
        };
        Ok(Source { file: file.to_string(), module, inputs, outputs })
    }

    /// Its module; an empty one of the same level stays.
    pub(crate) fn take_module(&mut self) -> Module {
        let m = &self.module;
        let empty = Module::new(&m.name, m.level, m.numerics);
        std::mem::replace(&mut self.module, empty)
    }

    /// The source with its module; an empty one stays.
    pub(crate) fn take(&mut self) -> Source {
        let module = self.take_module();
        Source { module, ..self.clone() }
    }

    /// An error of making code from this model.
    pub(crate) fn codegen_error(&self, source: qcc_codegen::CodegenError) -> Error {
        Error::Codegen { file: self.file.clone(), source }
    }
}

/// The folder of the SavedModel at `path`: itself, or that of its `saved_model.pb`.
fn saved_model_folder(path: &Path) -> Option<&Path> {
    if path.is_dir() {
        return Some(path);
    }
    let parent = path.parent().filter(|_| path.ends_with("saved_model.pb"))?;
    Some(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}

/// ONNX files have no mark of their own; their name tells.
fn is_onnx(file: &str) -> bool {
    file.ends_with(".onnx")
}

/// True for two names of a tensor; TensorFlow's first output of a node is `NODE` or `NODE:0`.
fn same_tensor(a: &str, b: &str) -> bool {
    a.strip_suffix(":0").unwrap_or(a) == b.strip_suffix(":0").unwrap_or(b)
}

/// Fails for a shape given to an input that the model does not have, or that a `.qir` fixes.
fn check_shapes(source: &Source, options: &ImportOptions) -> Result<()> {
    for (name, shape) in &options.shapes {
        let shape: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
        let names: Vec<&str> = source.inputs.iter().map(|d| d.name.as_str()).collect();
        let what = match source.inputs.iter().find(|d| same_tensor(&d.name, name)) {
            Some(d) if d.shape == shape => continue,
            Some(d) => format!("the model fixes the shape of '{name}' at {:?}", d.shape),
            None => {
                format!("the model has no input '{name}'; its inputs are: {}", names.join(", "))
            }
        };
        return Err(Error::Input(format!("{}: --shape {name}: {what}", source.file)));
    }
    Ok(())
}

/// Descriptions of values by their types; names where there are any.
fn describe(prefix: &str, names: &[String], main: &Func, values: &[Value]) -> Vec<TensorDesc> {
    let name = |k: usize| names.get(k).cloned().unwrap_or_else(|| format!("{prefix}{k}"));
    values.iter().enumerate().map(|(k, &v)| describe_type(&name(k), main.ty(v))).collect()
}

/// Inputs and outputs of `main` at level loop, whose parameters are the arena and one buffer for
/// each. Sessions give buffers of the very size, so kernels must not want to read behind them.
fn loop_interface(main: &Func) -> std::result::Result<(Vec<TensorDesc>, Vec<TensorDesc>), String> {
    let (n_inputs, n_outputs) = (main.input_names.len(), main.output_names.len());
    let params = main.params();
    if params.len() != 1 + n_inputs + n_outputs {
        return Err(format!(
            "@main has {} parameters, expected an arena, {n_inputs} inputs and {n_outputs} outputs",
            params.len()
        ));
    }
    let allowed = |k: usize| if k == 0 { ARENA_SLACK } else { 0 };
    for (k, &v) in params.iter().enumerate() {
        match main.ty(v).as_mem() {
            None => return Err(format!("parameter {k} of @main is not a buffer")),
            Some(m) if m.slack as usize > allowed(k) => {
                let (found, allowed) = (m.slack, allowed(k));
                return Err(format!("parameter {k} of @main has slack {found}, not {allowed}"));
            }
            Some(_) => {}
        }
    }
    let (inputs, outputs) = params[1..].split_at(n_inputs);
    Ok((
        describe("in", &main.input_names, main, inputs),
        describe("out", &main.output_names, main, outputs),
    ))
}

/// A type as users see it; a buffer is bytes.
pub(crate) fn describe_type(name: &str, ty: &Type) -> TensorDesc {
    let Some(t) = ty.as_tensor() else {
        let bytes = ty.as_mem().map_or(0, |m| m.bytes as usize);
        return TensorDesc::plain(name, qcc_ir::DType::U8, vec![bytes]);
    };
    let shape: Vec<usize> = t.shape.iter().map(|&d| d as usize).collect();
    let mut out = TensorDesc::plain(name, t.storage(), shape);
    if let Some(q) = t.quant_type() {
        out.scales = q.affines().iter().map(|a| a.scale).collect();
        out.zero_points = q.affines().iter().map(|a| a.zero_point).collect();
        if let QuantParams::PerAxis { axis, .. } = q.params {
            out.axis = Some(axis);
        }
    }
    out
}

/// A C identifier from a file's stem.
pub(crate) fn identifier(name: &str) -> String {
    let mut out: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, 'm');
    }
    out
}
