//! Golden files: inputs and the outputs to expect.

use super::compare::Verdict;
use crate::npz::{self, Arrays};
use crate::{Error, Result, Source};
use indexmap::IndexMap;
use qcc_runtime::{DType, Tensor, TensorDesc};
use std::fmt;
use std::path::Path;

/// A golden file.
pub struct Golden {
    file: String,
    arrays: Arrays,
    /// Outputs behind those of the model are no error.
    pub may_have_more: bool,
}

/// One call of the model.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// `case{k}_…`
    Single(usize),
    /// `seq{s}_t{t}_…`
    Step(usize, usize),
}

impl Case {
    fn key(self, what: &str) -> String {
        match self {
            Case::Single(k) => format!("case{k}_{what}"),
            Case::Step(s, t) => format!("seq{s}_t{t}_{what}"),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Case::Single(k) => write!(f, "case {k}"),
            Case::Step(s, t) => write!(f, "sequence {s} step {t}"),
        }
    }
}

impl Golden {
    /// Reads the file.
    ///
    /// # Errors
    /// It is not an npz file.
    pub fn read(path: &Path) -> Result<Golden> {
        let (file, arrays) = (path.display().to_string(), npz::read_npz(path)?);
        Ok(Golden { file, arrays, may_have_more: false })
    }

    fn fail(&self, what: impl fmt::Display) -> Error {
        Error::Tensor(format!("{}: {what}", self.file))
    }

    /// Every call that the file has the first output of, single cases first. Models without state
    /// do not care that the steps of a sequence follow each other; others are not imported yet.
    pub fn cases(&self) -> Result<Vec<Case>> {
        let has = |case: &Case| self.arrays.contains_key(&case.key("out0"));
        let mut out: Vec<Case> = (0..).map(Case::Single).take_while(has).collect();
        for s in 0.. {
            let before = out.len();
            out.extend((0..).map(|t| Case::Step(s, t)).take_while(has));
            if out.len() == before {
                break;
            }
        }
        match out.is_empty() {
            true => Err(self.fail("there is no array 'case0_out0'; arrays must be named case{k}_in{i} and case{k}_out{j}")),
            false => Ok(out),
        }
    }

    /// The calls by the shapes of their inputs, in the order of the first of each.
    pub fn cases_by_shapes(&self) -> Result<IndexMap<Vec<Vec<u64>>, Vec<Case>>> {
        let mut all: IndexMap<_, Vec<Case>> = IndexMap::new();
        for case in self.cases()? {
            let input = |i: usize| self.arrays.get(&case.key(&format!("in{i}")));
            let shape = |t: &Tensor| t.shape().iter().map(|&d| d as u64).collect();
            let shapes = (0..).map_while(input).map(shape).collect();
            all.entry(shapes).or_default().push(case);
        }
        Ok(all)
    }

    /// Fails for a golden of a model with more outputs.
    pub fn check_outputs(&self, case: Case, source: &Source) -> Result<()> {
        let n = source.outputs.len();
        match !self.may_have_more && self.arrays.contains_key(&case.key(&format!("out{n}"))) {
            true => Err(self.fail(format!("it has more outputs than the model ({n})"))),
            false => Ok(()),
        }
    }

    /// The inputs of a call, in the model's order.
    pub fn inputs(&self, case: &Case, source: &Source) -> Result<Vec<Tensor>> {
        let input = |(i, d): (usize, &TensorDesc)| {
            let key = case.key(&format!("in{i}"));
            let found = self.arrays.get(&key);
            let t = found.ok_or_else(|| {
                self.fail(format!("there is no array '{key}' for input '{}'", d.name))
            })?;
            self.check_fit("input", d, &key, t)?;
            t.clone().reshaped(d.shape.clone()).map_err(|e| self.fail(e))
        };
        source.inputs.iter().enumerate().map(input).collect()
    }

    /// Output `j` of a call against the golden, or the second acceptable answer.
    pub fn compare(
        &self,
        case: &Case,
        j: usize,
        desc: &TensorDesc,
        got: &Tensor,
        tolerance: Option<f64>,
    ) -> Result<Verdict> {
        let key = case.key(&format!("out{j}"));
        let want = self.arrays.get(&key);
        let want = want.ok_or_else(|| {
            self.fail(format!("there is no array '{key}' for output '{}'", desc.name))
        })?;
        self.check_fit("output", desc, &key, want)?;
        let other = self.arrays.get(&case.key(&format!("opt{j}")));
        let other = other.filter(|o| o.len() == got.len());
        Ok(Verdict::new(got, want, other, tolerance))
    }

    /// zlib's CRC-32 of each tensor of case 0 by its index in the model file, if the file has them.
    pub fn tensor_checksums(&self) -> Option<Vec<u32>> {
        let all = self.arrays.get("case0_tensor_crc32")?;
        Some(all.to_i64_vec().into_iter().map(|v| v as u32).collect())
    }

    fn check_fit(&self, kind: &str, d: &TensorDesc, key: &str, t: &Tensor) -> Result<()> {
        let bytes = |t: DType| if t == DType::Bool { DType::U8 } else { t };
        if bytes(d.dtype) == bytes(t.dtype()) && d.len() == t.len() {
            return Ok(());
        }
        Err(self.fail(format!(
            "{kind} '{}' is {} {:?}, but array '{key}' is {} {:?}",
            d.name,
            d.dtype,
            d.shape,
            t.dtype(),
            t.shape()
        )))
    }
}
