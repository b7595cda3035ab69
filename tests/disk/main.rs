//! The queue, and what the local broker keeps, against real file systems that fail them: the power
//! goes while they write, the disk is full to the last byte.
//!
//! These tests mount file systems of their own, in temporary folders, and need root for it. Where
//! they may not, they say `skipped`, with the reason, and pass.

#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is the assertion")]

mod broker;
mod full;
mod keeper;
mod many;
mod numbered;
mod power_cut;
mod writer;

use std::time::Duration;

/// How long something may take that is expected to happen: generous, because machines are slow.
const PATIENCE: Duration = Duration::from_secs(30);
