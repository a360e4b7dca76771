//! The test harness: text tests, goldens, differential tests.
