//! Facts about a module that passes ask for and that change nothing.

pub mod acc_range;
pub mod bytes;
pub mod placement;
