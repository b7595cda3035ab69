//! What a radio counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a radio has counted since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Advertisements heard.
    pub heard: u64,
    /// Of these, dropped because nobody took them in time.
    pub dropped: u64,
    /// Of these, handed over without some of their data, because it could not be told from what
    /// earlier ones had carried.
    pub ambiguous: u64,
    /// Devices remembered at the moment.
    pub remembered: u64,
    /// Devices forgotten because more were heard than are remembered.
    pub forgotten: u64,
    /// Calls to the daemon that failed.
    pub failures: u64,
    /// Of these, calls that got no answer in time.
    pub timeouts: u64,
    /// Scans started.
    pub scans: u64,
    /// Times the adapter was switched off and on again because of silence.
    pub power_cycles: u64,
    /// Connections to the bus.
    pub connections: u64,
}

/// The same, being counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub heard: Count,
    pub dropped: Count,
    pub ambiguous: Count,
    pub remembered: Count,
    pub forgotten: Count,
    pub failures: Count,
    pub timeouts: Count,
    pub scans: Count,
    pub power_cycles: Count,
    pub connections: Count,
}

/// One number, counted on the radio's thread and read on others.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Tally {
    pub(super) fn read(&self) -> Counters {
        Counters {
            heard: self.heard.read(),
            dropped: self.dropped.read(),
            ambiguous: self.ambiguous.read(),
            remembered: self.remembered.read(),
            forgotten: self.forgotten.read(),
            failures: self.failures.read(),
            timeouts: self.timeouts.read(),
            scans: self.scans.read(),
            power_cycles: self.power_cycles.read(),
            connections: self.connections.read(),
        }
    }
}
