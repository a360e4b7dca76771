//! The passes of qcc and their manager: one pass per file, named as the pass.
//!
//! - [`Pass`], [`Registry`], [`Pipeline`], [`PassManager`]: what a pass is, all of them by name,
//!   pipeline strings, and running them. A program that embeds qcc adds passes of its own with
//!   [`Registry::register_pass`].
//! - `analysis`: facts that several passes ask for.
//! - one module per pass: its documentation says what it does, before → after.
//!
//! Invariants: a pass never panics on a verified module; whatever it skips it says in a remark;
//! errors and remarks name ops as the source model does; iteration is in a fixed order, so the same
//! input gives the same module. This crate knows no file format and no machine code.

pub mod alias_views;
pub mod analysis;
mod arena_packing;
pub mod canonicalize;
pub mod check_accumulators;
pub mod check_memory_plan;
pub mod choose_params;
pub mod choose_signedness;
pub mod consts;
mod context;
pub mod converter;
pub mod cse;
pub mod dce;
mod diag;
mod diff;
pub mod docs;
pub mod expand_float;
pub mod expand_padding;
pub mod fixed_range;
pub mod fold_batch_norm;
pub mod fold_fake_quant;
pub mod fold_identity_lut;
pub mod fold_zero_points;
pub mod fuse_clamp;
pub mod fuse_dqq;
pub mod fuse_luts;
pub mod fuse_residual_add;
pub mod int_ops;
pub mod islands;
pub mod kernels;
pub mod lower_int_to_loop;
pub mod lower_quant_to_int;
mod manager;
pub mod pack_weights;
mod pass;
mod pipeline;
pub mod plan_memory;
pub mod propagate_params;
pub mod prove_bounds;
pub mod prove_rescale;
pub mod quant_params;
mod registry;
pub mod rewriter;
pub mod select_kernels;
pub mod simplify_requant;
pub mod sink_dequantize;
pub mod stage_inputs;
#[cfg(test)]
mod testing;
pub mod to_nhwc;
pub mod verify;

pub use context::{PassContext, Remark, TargetInfo};
pub use diag::{Diagnostic, Diagnostics};
pub use diff::{DiffEach, Evaluate};
pub use islands::{Island, islands};
pub use manager::{PassManager, PassTime, PrintAt, Printer, When};
pub use pass::{Drift, LevelSet, OptionKind, OptionSpec, Options, Pass, PassFn};
pub use pipeline::{Pipeline, PipelineError, Step};
pub use plan_memory::arena_bytes;
pub use registry::{PIPELINES, Registry, all_passes};
