//! How the store is to go about it.

use std::time::Duration;

use crate::clock::Clock;

/// How often it writes, and within which bounds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a change may wait for others before they are written together. What a power cut costs is what
    /// changed in that time, and in the time the disk takes.
    pub commit: Duration,
    /// The same for messages the gateway itself retains. It says them again after a restart, so they may be
    /// older on disk; an hour of readings must not be an hour of writing.
    pub commit_own: Duration,
    /// A file that has grown to this many bytes, and to twice what it began with, is followed by a new one.
    pub file_size: u64,
    /// What may be remembered of changes while the disk takes nothing, in bytes. Beyond that everything is
    /// written anew as soon as it does.
    pub pending: usize,
    /// The wait after a first failure of the disk; it doubles from then on.
    pub retry: Duration,
    /// The longest wait after a failure.
    pub longest_retry: Duration,
    /// How long closing waits for the disk.
    pub patience: Duration,
    /// Where time comes from.
    pub clock: Clock,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            commit: Duration::from_secs(1),
            commit_own: Duration::from_secs(60),
            file_size: 4 << 20,
            pending: 8 << 20,
            retry: Duration::from_secs(1),
            longest_retry: Duration::from_secs(60),
            patience: Duration::from_secs(10),
            clock: Clock::system(),
        }
    }
}
