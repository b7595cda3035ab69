//! What a link has counted, and how often it may complain.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long further complaints are only counted.
const MINUTE: Duration = Duration::from_secs(60);

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

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts so many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Lets the first of many complaints through, and then one a minute with how many there were.
#[derive(Debug, Default)]
pub struct Complaints {
    last: Option<Instant>,
    since: u64,
}

impl Complaints {
    /// There is something to complain about. Says how many times there was since the last
    /// complaint, if it is time for one.
    pub fn one_more(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        if self.last.is_some_and(|last| now < last + MINUTE) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_complaint_is_made_at_once_and_the_others_once_a_minute() {
        let start = Instant::now();
        let mut complaints = Complaints::default();
        let made: Vec<_> = (0..=120)
            .filter_map(|second| complaints.one_more(start + Duration::from_secs(second)).map(|count| (second, count)))
            .collect();
        assert_eq!(made, [(0, 1), (60, 60), (120, 60)]);
    }
}
