//! SavedModel folders: `saved_model.pb` with graphs and signatures, `variables/` with values.
//!
//! Which variable has which value is said by the graph that restores them: a `RestoreV2` names
//! keys of the checkpoint, and each of its outputs is assigned to a variable. Without it, the
//! names of the saved objects and last the variables' own names are the keys.

use super::checkpoint::{Checkpoint, read_file};
use super::convert::{Interface, Named, Variables, convert};
use super::graph::{callee, flatten, input_name};
use super::proto::{Attr, GraphDef, MetaGraphDef, NodeDef, SavedModel, SignatureDef, TensorInfo};
use super::{MAX_FILE, data};
use crate::{ImportError, ImportOptions, Problem};
use prost::Message;
use qcc_ir::Module;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// See [`super::import_saved_model`].
pub fn import(folder: &Path, name: &str, options: &ImportOptions) -> Result<Module, ImportError> {
    let fail = |what: String, fix: &str| ImportError::one(Problem::file(&what, fix));
    let path = folder.join("saved_model.pb");
    let fix = "give the folder that TensorFlow's SavedModel format wrote";
    let bytes = read_file(&path, MAX_FILE).map_err(|e| fail(e, fix))?;
    let model = SavedModel::decode(prost::bytes::Bytes::from(bytes))
        .map_err(|e| fail(format!("{}: {e}", path.display()), fix))?;
    let meta = serving(&model).map_err(ImportError::one)?;
    let no_graph = || fail("the model has no graph".into(), fix);
    let def = meta.graph_def.as_ref().ok_or_else(no_graph)?;
    let signature = signature(meta, options).map_err(ImportError::one)?;
    let checkpoint = Checkpoint::open(&folder.join("variables").join("variables"));
    let checkpoint = checkpoint.map_err(|e| fail(e, "copy the model again"))?;
    let variables = variables(meta, def, checkpoint).map_err(|e| fail(e, fix))?;

    let outputs: Vec<(&String, &TensorInfo)> = match options.outputs.is_empty() {
        true => signature.outputs.iter().collect(),
        false => wanted(signature, &options.outputs).map_err(ImportError::one)?,
    };
    let tensors = outputs.iter().copied().chain(&signature.inputs);
    let (names, infos): (Vec<&String>, Vec<&TensorInfo>) = tensors.unzip();
    let roots: Vec<String> = infos.iter().map(|i| i.name.clone()).collect();
    let flat = flatten(def, &roots).map_err(ImportError::one)?;
    let ports = names.iter().zip(&infos).zip(&flat.outputs);
    let named = ports.map(|((name, info), &port)| Named {
        name: name.to_string(),
        port,
        shape: info.tensor_shape.clone(),
    });
    let mut named: Vec<Named> = named.collect();
    let inputs = named.split_off(outputs.len());
    convert(flat, &Interface { inputs, outputs: named }, &variables, (name, options))
}

/// The graph for serving.
fn serving(model: &SavedModel) -> Result<&MetaGraphDef, Problem> {
    let tags = |m: &MetaGraphDef| m.meta_info_def.clone().unwrap_or_default().tags;
    let found = model.meta_graphs.iter().find(|m| tags(m).iter().any(|t| t == "serve"));
    found.ok_or_else(|| {
        let all: Vec<String> = model.meta_graphs.iter().flat_map(tags).collect();
        let what = format!("the model has no graph with the tag 'serve', only: {}", all.join(", "));
        Problem::file(&what, "save the model for serving")
    })
}

fn signature<'a>(
    meta: &'a MetaGraphDef,
    options: &ImportOptions,
) -> Result<&'a SignatureDef, Problem> {
    let wanted = options.signature.as_deref().unwrap_or("serving_default");
    meta.signature_def.get(wanted).ok_or_else(|| {
        let all = meta.signature_def.iter().filter(|(_, s)| !s.inputs.is_empty());
        let all: Vec<&str> = all.map(|(name, _)| name.as_str()).collect();
        let what = format!("the model has no signature '{wanted}'");
        Problem::file(&what, &format!("choose with --signature from: {}", all.join(", ")))
    })
}

/// The outputs of a signature that are asked for, by their names.
fn wanted<'a>(
    signature: &'a SignatureDef,
    names: &[String],
) -> Result<Vec<(&'a String, &'a TensorInfo)>, Problem> {
    let find = |name: &String| {
        signature.outputs.get_key_value(name).ok_or_else(|| {
            let all: Vec<&str> = signature.outputs.keys().map(String::as_str).collect();
            let what = format!("the signature has no output '{name}'");
            Problem::file(&what, &format!("its outputs are: {}", all.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

/// Where the values of the variables are.
fn variables(
    meta: &MetaGraphDef,
    def: &GraphDef,
    checkpoint: Option<Checkpoint>,
) -> Result<Variables, String> {
    let Some(checkpoint) = checkpoint else { return Ok(Variables::default()) };
    let by_node = restored(meta, def);
    let by_name = checkpoint.keys_by_name()?;
    Ok(Variables { checkpoint: Some(checkpoint), by_node, by_name })
}

/// From nodes that are variables to keys of the checkpoint.
fn restored(meta: &MetaGraphDef, def: &GraphDef) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    restored_in(&def.node, &HashMap::new(), &mut out);
    let restore = meta.saver_def.as_ref().map_or("", |s| &s.restore_op_name);
    let restore = restore.split(':').next().unwrap_or_default();
    let call = def.node.iter().find(|n| n.name == restore);
    let Some((call, callee)) = call.and_then(|n| Some((n, callee(n)?))) else { return out };
    let functions = def.library.iter().flat_map(|l| &l.function);
    let mut named = functions.filter_map(|f| Some((f.signature.as_ref()?, f)));
    if let Some((signature, function)) = named.find(|(s, _)| s.name == callee) {
        let inputs = call.input.iter().filter_map(|text| input_name(text)).map(|n| n.node);
        let arguments = signature.input_arg.iter().map(|a| a.name.as_str());
        restored_in(&function.node_def, &arguments.zip(inputs).collect(), &mut out);
    }
    out
}

/// Adds the assignments of one body; `arguments` are nodes of the main graph.
fn restored_in(
    nodes: &[NodeDef],
    arguments: &HashMap<&str, &str>,
    out: &mut BTreeMap<String, String>,
) {
    let by_name: HashMap<&str, &NodeDef> = nodes.iter().map(|n| (n.name.as_str(), n)).collect();
    for node in nodes.iter().filter(|n| n.op == "AssignVariableOp" || n.op == "Assign") {
        let data: Vec<_> = node.input.iter().filter_map(|text| input_name(text)).collect();
        let [variable, value, ..] = data.as_slice() else { continue };
        let Some(key) = restored_key(&by_name, *value) else { continue };
        let variable = arguments.get(variable.node).copied().unwrap_or(variable.node);
        out.insert(variable.to_string(), key);
    }
}

/// The key of the checkpoint that a value is read from.
fn restored_key(
    by_name: &HashMap<&str, &NodeDef>,
    value: super::graph::InputName,
) -> Option<String> {
    let mut at = value;
    for _ in 0..8 {
        let node = by_name.get(at.node)?;
        if node.op == "RestoreV2" {
            let names = by_name.get(input_name(node.input.get(1)?)?.node)?;
            let Some(Attr::Tensor(names)) = names.attr.get("value")?.value.as_ref() else {
                return None;
            };
            return data::strings(names).get(at.output()).cloned();
        }
        at = input_name(node.input.first()?).filter(|_| node.op == "Identity")?;
    }
    None
}
