//! The test harness: text tests, goldens, differential tests.

pub mod golden;
pub mod interp_runner;
pub mod pass_runner;
pub mod random;
pub mod random_float;
pub mod runners;
pub mod text_test;
