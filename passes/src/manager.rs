//! Runs pipelines: checks levels first, then each pass, with whatever watching was asked for.
//!
//! Invariant: after an error the module is as the failing pass left it, and nothing later has run.

use crate::diff::{DiffEach, Outputs};
use crate::pipeline::Step;
use crate::{Diagnostic, Diagnostics, PassContext, Pipeline, Registry, verify};
use qcc_ir::Module;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Which passes to print the module around.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum PrintAt {
    /// None.
    #[default]
    Never,
    /// These.
    Passes(BTreeSet<String>),
    /// All.
    All,
}

impl PrintAt {
    fn includes(&self, pass: &str) -> bool {
        match self {
            PrintAt::Never => false,
            PrintAt::Passes(names) => names.contains(pass),
            PrintAt::All => true,
        }
    }
}

/// When a module is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// Before the pass.
    Before,
    /// After it.
    After,
}

/// Receives a module to be printed: when, which pass, the module.
pub type Printer<'a> = dyn FnMut(When, &str, &Module) + 'a;

/// How long a pass took.
#[derive(Clone, Debug)]
pub struct PassTime {
    /// The step as in the pipeline string.
    pub step: String,
    /// Time in the pass itself.
    pub time: Duration,
}

/// Runs pipelines.
#[derive(Default)]
pub struct PassManager<'a> {
    /// Run the verifier after every pass (and before the first).
    pub verify_each: bool,
    /// Interpret the module before and after every pass and compare outputs.
    pub diff_each: Option<DiffEach>,
    /// Passes to print the module before.
    pub print_before: PrintAt,
    /// Passes to print the module after.
    pub print_after: PrintAt,
    /// Gets the modules to be printed.
    pub printer: Option<Box<Printer<'a>>>,
    /// Filled with one entry per step when `Some`.
    pub times: Option<Vec<PassTime>>,
}

impl PassManager<'_> {
    /// Runs `pipeline` on `m`; remarks go to `ctx`.
    ///
    /// # Errors
    /// A pass that would get a module of the wrong level (nothing has run then), the errors of the
    /// first pass that fails, of the verifier, or of the comparison.
    pub fn run(
        &mut self,
        pipeline: &Pipeline,
        registry: &Registry,
        m: &mut Module,
        ctx: &mut PassContext,
    ) -> Result<(), Diagnostics> {
        let levels = pipeline.check_levels(m.level, registry);
        levels.map_err(|e| Diagnostic::new("pipeline", e.message))?;
        if self.verify_each {
            verify::check(m, "before the first pass")?;
        }
        let mut outputs = self.diff_each.as_ref().and_then(|d| d.run(m, None, ctx));
        for step in &pipeline.steps {
            self.run_step(step, m, ctx)?;
            self.compare(step, &mut outputs, m, ctx)?;
        }
        Ok(())
    }

    fn run_step(
        &mut self,
        step: &Step,
        m: &mut Module,
        ctx: &mut PassContext,
    ) -> Result<(), Diagnostics> {
        let name = step.pass.name;
        let level_after = step.pass.level_after(m.level);
        self.print(When::Before, name, m);
        ctx.pass = name;
        ctx.options = step.options.clone();
        let start = Instant::now();
        let done = (step.pass.run)(m, ctx);
        if let Some(times) = &mut self.times {
            times.push(PassTime { step: step.to_string(), time: start.elapsed() });
        }
        done?;
        self.print(When::After, name, m);
        if m.level != level_after {
            let (is, should) = (m.level.name(), level_after.name());
            let message = format!("left the module at level {is}, not {should}");
            return Err(Diagnostic::new(name, message).into());
        }
        match self.verify_each {
            true => verify::check(m, &format!("after {name}")),
            false => Ok(()),
        }
    }

    fn print(&mut self, when: When, pass: &str, m: &Module) {
        let at = match when {
            When::Before => &self.print_before,
            When::After => &self.print_after,
        };
        if let (true, Some(printer)) = (at.includes(pass), &mut self.printer) {
            printer(when, pass, m);
        }
    }

    /// Compares the outputs of `m` with those before the step, which they replace.
    fn compare(
        &self,
        step: &Step,
        before: &mut Option<Outputs>,
        m: &Module,
        ctx: &mut PassContext,
    ) -> Result<(), Diagnostics> {
        let Some(diff) = &self.diff_each else {
            return Ok(());
        };
        let after = diff.run(m, before.as_ref(), ctx);
        if let (Some(before), Some(after)) = (&*before, &after) {
            let same = before.compare(after, step.pass.drift);
            same.map_err(|e| Diagnostic::new(step.pass.name, e))?;
        }
        *before = after;
        Ok(())
    }
}
