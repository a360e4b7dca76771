//! All passes and pipelines by name: the built-in ones and those that an embedding program adds.

use crate::Pass;
use indexmap::IndexMap;

/// Every built-in pass, in the order of a compilation. A new pass is one line here.
pub fn all_passes() -> Vec<&'static Pass> {
    vec![
        &crate::verify::PASS,
        &crate::dce::PASS,
        &crate::cse::PASS,
        &crate::canonicalize::PASS,
        &crate::fold_batch_norm::PASS,
        &crate::fold_fake_quant::PASS,
        &crate::to_nhwc::PASS,
        &crate::propagate_params::PASS,
        &crate::choose_params::PASS,
        &crate::sink_dequantize::PASS,
        &crate::fuse_dqq::PASS,
        &crate::simplify_requant::PASS,
        &crate::lower_quant_to_int::PASS,
        &crate::choose_signedness::PASS,
        &crate::fold_identity_lut::PASS,
        &crate::fold_zero_points::PASS,
        &crate::fuse_clamp::PASS,
        &crate::fuse_luts::PASS,
        &crate::check_accumulators::PASS,
        &crate::expand_float::PASS,
        &crate::expand_padding::PASS,
        &crate::fuse_residual_add::PASS,
        &crate::stage_inputs::PASS,
        &crate::alias_views::PASS,
        &crate::plan_memory::PASS,
        &crate::check_memory_plan::PASS,
        &crate::select_kernels::PASS,
        &crate::prove_rescale::PASS,
        &crate::lower_int_to_loop::PASS,
        &crate::pack_weights::PASS,
        &crate::prove_bounds::PASS,
    ]
}

/// Built-in pipelines: name, without the `@`, and pipeline string.
pub const PIPELINES: &[(&str, &str)] = &[
    (
        "quantize",
        "canonicalize,to-nhwc,canonicalize,fold-batch-norm,fold-fake-quant,canonicalize,sink-dequantize,propagate-params,choose-params,\
         sink-dequantize,fuse-dqq,simplify-requant,canonicalize{constants=all},cse,dce",
    ),
    ("tflite-int", "lower-quant-to-int,@place-int"),
    (
        "place-int",
        "choose-signedness,fold-identity-lut,fold-zero-points,fuse-clamp,fuse-luts,check-accumulators,expand-float,\
         expand-padding,cse,dce,fuse-residual-add,stage-inputs,alias-views,plan-memory",
    ),
    ("kernels", "select-kernels,prove-rescale,lower-int-to-loop,pack-weights,prove-bounds"),
];

/// Passes and pipelines by name.
#[derive(Clone, Debug)]
pub struct Registry {
    passes: IndexMap<&'static str, Pass>,
    pipelines: IndexMap<String, String>,
}

impl Default for Registry {
    fn default() -> Self {
        let own = |&(name, text): &(&str, &str)| (name.to_string(), text.to_string());
        Registry {
            passes: all_passes().into_iter().map(|p| (p.name, *p)).collect(),
            pipelines: PIPELINES.iter().map(own).collect(),
        }
    }
}

impl Registry {
    /// Adds a pass.
    ///
    /// # Errors
    /// The name is taken, or not made of lower-case letters, digits and `-`.
    pub fn register_pass(&mut self, pass: Pass) -> Result<(), String> {
        check_name(pass.name)?;
        if self.passes.contains_key(pass.name) {
            return Err(format!("there is a pass '{}' already", pass.name));
        }
        self.passes.insert(pass.name, pass);
        Ok(())
    }
    /// Adds a pipeline, to be called `@name`; its text is parsed where it is used.
    ///
    /// # Errors
    /// The name is taken, or not made of lower-case letters, digits and `-`.
    pub fn register_pipeline(&mut self, name: &str, text: &str) -> Result<(), String> {
        check_name(name)?;
        if self.pipelines.contains_key(name) {
            return Err(format!("there is a pipeline '@{name}' already"));
        }
        self.pipelines.insert(name.to_string(), text.to_string());
        Ok(())
    }
    /// The pass called `name`.
    pub fn pass(&self, name: &str) -> Option<&Pass> {
        self.passes.get(name)
    }
    /// The text of `@name`.
    pub fn pipeline(&self, name: &str) -> Option<&str> {
        self.pipelines.get(name).map(String::as_str)
    }
    /// All passes.
    pub fn passes(&self) -> impl Iterator<Item = &Pass> {
        self.passes.values()
    }
    /// All pipelines: name and text.
    pub fn pipelines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pipelines.iter().map(|(n, t)| (n.as_str(), t.as_str()))
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match !name.is_empty() && name.chars().all(ok) {
        true => Ok(()),
        false => Err(format!("'{name}' is not a name of lower-case letters, digits and '-'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Drift, LevelSet, Pipeline};

    #[test]
    fn names_are_unique_and_documented() {
        let registry = Registry::default();
        assert_eq!(registry.passes().count(), all_passes().len());
        for p in registry.passes() {
            assert!(check_name(p.name).is_ok(), "{}", p.name);
            assert!(!p.summary.is_empty() && p.doc_text().len() > 80, "{}", p.name);
        }
    }

    #[test]
    fn built_in_pipelines_parse() {
        let registry = Registry::default();
        for (name, _) in registry.pipelines() {
            Pipeline::parse(&format!("@{name}"), &registry).unwrap();
        }
    }

    #[test]
    fn a_user_adds_a_pass_and_a_pipeline() {
        let mine = Pass {
            name: "count-ops",
            summary: "counts",
            doc: "Counts ops.",
            needs: LevelSet::ALL,
            yields: None,
            drift: Drift::Exact,
            options: &[],
            run: |m, ctx| {
                let n: usize = m.funcs.values().map(|f| f.walk().len()).sum();
                ctx.remark_module(format!("{n} ops"));
                Ok(())
            },
        };
        let mut registry = Registry::default();
        registry.register_pass(mine).unwrap();
        assert!(registry.register_pass(mine).is_err());
        assert!(registry.register_pass(Pass { name: "Bad Name", ..mine }).is_err());
        registry.register_pipeline("twice", "count-ops,count-ops").unwrap();
        let p = Pipeline::parse("dce,@twice", &registry).unwrap();
        assert_eq!(p.to_string(), "dce,count-ops,count-ops");
    }
}
