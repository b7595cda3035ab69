//! What a radio counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a radio has counted since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Advertisements heard.
    pub heard: u64,
    /// Of these, dropped because nobody took them in time.
    pub dropped: u64,
    /// Times that all that waited to be looked at was thrown away, because more came than could be.
    pub overruns: u64,
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

impl Counters {
    /// All that only ever grows, each with the name that it goes by on status pages.
    pub fn named(&self) -> [(&'static str, u64); 10] {
        [
            ("heard", self.heard),
            ("dropped", self.dropped),
            ("overruns", self.overruns),
            ("ambiguous", self.ambiguous),
            ("forgotten", self.forgotten),
            ("calls_failed", self.failures),
            ("calls_timed_out", self.timeouts),
            ("scans", self.scans),
            ("power_cycles", self.power_cycles),
            ("bus_connections", self.connections),
        ]
    }
}

/// The same, being counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) heard: Count,
    pub(crate) dropped: Count,
    pub(crate) overruns: Count,
    pub(crate) ambiguous: Count,
    pub(crate) remembered: Count,
    pub(crate) forgotten: Count,
    pub(crate) failures: Count,
    pub(crate) timeouts: Count,
    pub(crate) scans: Count,
    pub(crate) power_cycles: Count,
    pub(crate) connections: Count,
}

/// One number, counted on the radio's thread and read on others.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
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
    pub(crate) fn read(&self) -> Counters {
        Counters {
            heard: self.heard.read(),
            dropped: self.dropped.read(),
            overruns: self.overruns.read(),
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
