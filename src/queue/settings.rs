//! How a queue is kept: its bounds, and what gives way at them.

use std::path::PathBuf;
use std::time::Duration;

use crate::clock::Clock;

/// The smallest segment, in bytes.
pub const MIN_SEGMENT: u64 = 64 * 1024;

/// What gives way when the queue or the disk is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest segment.
    #[default]
    DropOldest,
    /// What comes in.
    DropNewest,
    /// Nothing: whoever appends waits.
    Block,
}

/// How a queue is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where its files are; made if it is not there.
    pub dir: PathBuf,
    /// How many bytes its segments may take, the spare included. At least four segments.
    pub max_size: u64,
    /// How old a record may get; `None` for any age.
    pub max_age: Option<Duration>,
    /// How many bytes are left free on the disk.
    pub min_free: u64,
    /// What gives way when there is no room.
    pub when_full: WhenFull,
    /// How long the first waiting record waits for company. Zero commits each as soon as it can.
    pub commit_interval: Duration,
    /// A commit is made as soon as this many records wait, at least 1. When they come faster than
    /// the disk syncs, up to four times as many, or 1024, go together.
    pub commit_records: usize,
    /// Size of a segment in bytes. Made smaller if fewer than four would fit `max_size`.
    pub segment_size: u64,
    /// The clock that stamps records.
    pub clock: Clock,
}

impl Settings {
    /// The defaults: 512 MiB of any age, 64 MiB left free, the oldest give way, a commit every
    /// 100 ms or 256 records, segments of 8 MiB, the system's clock.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            max_size: 512 << 20,
            max_age: None,
            min_free: 64 << 20,
            when_full: WhenFull::default(),
            commit_interval: Duration::from_millis(100),
            commit_records: 256,
            segment_size: 8 << 20,
            clock: Clock::system(),
        }
    }

    /// The size segments get. A multiple of a page, so that the last one fits the bound too.
    pub(super) fn effective_segment_size(&self) -> u64 {
        (self.segment_size.min(self.max_size / 4) / 4096 * 4096).clamp(MIN_SEGMENT, 1 << 30)
    }
}
