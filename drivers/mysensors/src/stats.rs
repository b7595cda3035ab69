//! What a link has counted.

pub use wharf_stream::{Complaints, Counter};

/// What was counted on one link since the gateway started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Complete lines.
    pub lines: u64,
    /// Lines among them that made no sense.
    pub bad_lines: u64,
    /// Lines that were thrown away because they were too long.
    pub too_long: u64,
    /// Log messages of the gateway.
    pub logs: u64,
    /// Echoes of writes.
    pub echoes: u64,
}

/// The counters themselves, shared by the sessions of a link one after the other.
#[derive(Debug, Default)]
pub struct Counters {
    /// See [`Stats::lines`].
    pub lines: Counter,
    /// See [`Stats::bad_lines`].
    pub bad_lines: Counter,
    /// See [`Stats::too_long`].
    pub too_long: Counter,
    /// See [`Stats::logs`].
    pub logs: Counter,
    /// See [`Stats::echoes`].
    pub echoes: Counter,
}

impl Counters {
    /// All of them as they are now.
    pub fn snapshot(&self) -> Stats {
        Stats {
            lines: self.lines.get(),
            bad_lines: self.bad_lines.get(),
            too_long: self.too_long.get(),
            logs: self.logs.get(),
            echoes: self.echoes.get(),
        }
    }
}
