//! `check --per-layer`: every intermediate result, to find the first layer that is wrong.
//!
//! All results of ops become outputs of a copy of the model, which is compiled and run like any
//! other. (Such a copy keeps more in memory, so layers share less of it than in the model itself.)
//! References: the interpreter, and the golden file's checksums where they are.

use super::compare::Verdict;
use super::engine::{Engine, EngineKind};
use super::golden::{Case, Golden};
use super::{CheckArgs, Tally};
use crate::cli::output;
use crate::{Compiler, Error, Result, Source, files};
use indexmap::IndexMap;
use qcc_ir::{Level, Module, OpId, OpKind, Value};
use std::path::Path;

/// A model to be looked into.
pub struct Check<'a> {
    pub args: &'a CheckArgs,
    pub compiler: &'a Compiler,
    pub golden: &'a Golden,
    pub case: Case,
    pub model: &'a Path,
}

/// A result of an op.
struct Layer {
    name: String,
    op: &'static str,
    /// Place among the op's results.
    result: usize,
    /// The operator's index in the model file, on the last op made from it.
    index: Option<usize>,
}

impl Layer {
    /// The golden's checksum of this result.
    fn checksum(&self, all: &Checksums) -> Option<u32> {
        all.get(&(self.index?, self.result)).copied()
    }
}

/// Checksums by operator index and output.
type Checksums = IndexMap<(usize, usize), u32>;

impl Check<'_> {
    /// Compares the layers in a case of the golden; a line each.
    pub fn run(&self, source: &Source, label: &str, tally: &mut Tally) -> Result<()> {
        if !matches!(source.module.level, Level::Nn | Level::Quant) {
            let what = "--per-layer needs a model at level nn or quant";
            return Err(Error::Input(format!("{}: {what}", source.file)));
        }
        let (module, layers) = expose_layers(&source.module);
        let exposed = Source::from_module(module, &source.file)?;
        let case = self.case;
        let inputs = self.golden.inputs(&case, source)?;
        let kind = self.args.engine_kind();
        let got = Engine::build(kind, self.compiler, exposed.clone())?.run(&exposed, &inputs)?;
        let want = match kind {
            EngineKind::Interpreter => got.clone(),
            _ => Engine::Interpreter.run(&exposed, &inputs)?,
        };
        let checksums = self.checksums()?;
        let tolerance = self.args.tolerance.unwrap_or(0.0);
        let mut first_wrong = None;
        for (k, layer) in layers.iter().enumerate() {
            let verdict = Verdict::new(&got[k], &want[k], None, Some(tolerance));
            let matches = layer.checksum(&checksums).map(|sum| sum == crc32(got[k].bytes()));
            let passed = verdict.passed && matches != Some(false);
            let word = if passed { "ok  " } else { "FAIL" };
            let golden = match matches {
                Some(true) => "; checksum is the golden's",
                Some(false) => "; checksum is NOT the golden's",
                None => "",
            };
            let Layer { name, op, .. } = layer;
            output::line(format!("{word}  {label}layer '{name}' {op}: {verdict}{golden}"))?;
            match passed {
                true => tally.passed += 1,
                false => tally.failed += 1,
            }
            if !passed && first_wrong.is_none() {
                let from = if verdict.passed { "the golden" } else { "the interpreter" };
                first_wrong = Some(format!("'{name}' {op}: {verdict}; differs from {from}"));
            }
        }
        let n_sums = layers.iter().filter(|l| l.checksum(&checksums).is_some()).count();
        output::line(match first_wrong {
            Some(layer) => format!("first layer that differs: {label}{layer}"),
            None => format!(
                "{label}all {} layers are the interpreter's, {n_sums} compared with the golden too",
                layers.len()
            ),
        })
    }

    /// The golden's checksums; none where it has none for a tensor.
    fn checksums(&self) -> Result<Checksums> {
        let is_tflite = self.model.extension().is_some_and(|e| e == "tflite");
        let sums = self.golden.tensor_checksums().filter(|_| is_tflite);
        let Some(sums) = sums else { return Ok(IndexMap::new()) };
        let bytes = files::read_limited(self.model)?;
        let file = qcc_import::tflite::raw::parse(&bytes);
        let file = file.map_err(|e| Error::Input(format!("{}: {e}", self.model.display())))?;
        let mut out = IndexMap::new();
        for op in file.subgraphs.first().map_or(&[][..], |g| &g.ops) {
            for (k, &tensor) in op.outputs.iter().enumerate() {
                match sums.get(tensor) {
                    None | Some(0) => {}
                    Some(&sum) => drop(out.insert((op.index, k), sum)),
                }
            }
        }
        Ok(out)
    }
}

/// The module with every op's results as its outputs, and what they are.
fn expose_layers(m: &Module) -> (Module, Vec<Layer>) {
    let mut m = m.clone();
    let Some(id) = m.main() else { return (m, vec![]) };
    let (f, locs) = (&mut m.funcs[id], &m.locs);
    let ops: Vec<OpId> = f.body_ops().to_vec();
    let index = |op: OpId, f: &qcc_ir::Func| locs.node_index(f.op(op).loc);
    let (mut layers, mut values): (Vec<Layer>, Vec<Value>) = (vec![], vec![]);
    for (at, &op) in ops.iter().enumerate() {
        if matches!(f.kind(op), OpKind::Core(_)) {
            continue;
        }
        let own = index(op, f);
        let is_last = !ops[at + 1..].iter().any(|&later| index(later, f) == own);
        for (result, &v) in f.results(op).iter().enumerate() {
            values.push(v);
            layers.push(Layer {
                name: locs.describe(f.op(op).loc),
                op: f.kind(op).name(),
                result,
                index: own.filter(|_| is_last).map(|i| i as usize),
            });
        }
    }
    if let Some(&end) = ops.last() {
        f.set_operands(end, &values);
    }
    f.output_names = (0..layers.len()).map(|k| format!("{k} {}", layers[k].name)).collect();
    (m, layers)
}

/// The CRC-32 of zlib.
fn crc32(bytes: &[u8]) -> u32 {
    let table: [u32; 256] = std::array::from_fn(|i| {
        (0..8).fold(i as u32, |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })
    });
    let step = |c: u32, &b: &u8| table[usize::from(c as u8 ^ b)] ^ c >> 8;
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    #[test]
    fn crc32_is_zlibs() {
        assert_eq!(super::crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(super::crc32(b""), 0);
    }
}
