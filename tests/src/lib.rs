//! The test harness: text tests, goldens, differential tests.

pub mod runners;
pub mod text_test;
