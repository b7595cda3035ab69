//! What the tests of several crates of wharf share. They name it among their `dev-dependencies`, so that
//! nothing here is ever part of a product.
//!
//! - [`seeded`]: inputs for fuzz targets that a seed makes, and those that once found something.
//! - [`settings`]: settings from JSON, read as those of a site file are.
//! - [`lab`]: what tests need of the machine, a Python and a free port.
//! - [`volume`]: file systems of a test's own, whose power can be cut.
//!
//! The tests of `wharf-contract` cannot use it: a contract under test is another crate than the one that
//! this is built with.

#![expect(clippy::unwrap_used, reason = "in what only tests use, an unwrap is the assertion")]

pub mod lab;
pub mod seeded;
pub mod settings;
pub mod volume;
