//! What a queue says about itself.

use std::time::SystemTime;

use super::LossReason;

/// Counts since the queue was opened; what was found on disk then counts as captured.
/// `captured = acknowledged + queued + dropped.total()`, at every moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records handed over, and those found when the queue was opened.
    pub captured: u64,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records that wait: on disk, or for the next commit.
    pub queued: u64,
    /// Records dropped, by reason.
    pub dropped: Dropped,
    /// Acknowledgements that found no room and were forgotten; their records are sent again.
    pub refused_acknowledgements: u64,
    /// Bytes of record bodies committed.
    pub committed_bytes: u64,
    /// Bytes written to the log, frames and headers included.
    pub written_bytes: u64,
    /// Times the log or the cursor file was synced.
    pub syncs: u64,
    /// Times a write or a sync failed.
    pub failed_syncs: u64,
    /// Segments set aside as `*.corrupt`.
    pub set_aside: u64,
    /// Bytes all segments take on disk, the spare included.
    pub disk_bytes: u64,
    /// When the oldest waiting record was captured; looked up about once a second.
    pub oldest_captured_at: Option<SystemTime>,
}

/// Dropped records, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// See [`LossReason::Full`].
    pub full: u64,
    /// See [`LossReason::Age`].
    pub age: u64,
    /// See [`LossReason::Damaged`].
    pub damaged: u64,
    /// See [`LossReason::TooLarge`].
    pub too_large: u64,
    /// See [`LossReason::Refused`].
    pub refused: u64,
    /// See [`LossReason::Unwritable`].
    pub unwritable: u64,
}

impl Dropped {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.full + self.age + self.damaged + self.too_large + self.refused + self.unwritable
    }

    pub(super) fn add(&mut self, reason: LossReason, count: u64) {
        *match reason {
            LossReason::Full => &mut self.full,
            LossReason::Age => &mut self.age,
            LossReason::Damaged => &mut self.damaged,
            LossReason::TooLarge => &mut self.too_large,
            LossReason::Refused => &mut self.refused,
            LossReason::Unwritable => &mut self.unwritable,
        } += count;
    }
}
