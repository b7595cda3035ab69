//! What a queue says about itself.

use std::time::SystemTime;

use super::LossReason;

/// The counts of a queue. What became of its records is counted since the queue was made, and
/// `captured = acknowledged + queued + dropped.total()` holds at every moment; the rest is
/// counted since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records that were given a number since the queue was made. What a crash caught in memory
    /// is as if it had never been captured.
    pub captured: u64,
    /// Records acknowledged since the queue was made.
    pub acknowledged: u64,
    /// Records that wait: on disk, or for the next commit.
    pub queued: u64,
    /// Records dropped since the queue was made, by reason.
    pub dropped: Dropped,
    /// Acknowledgements that found no room and were forgotten; their records are sent again.
    pub refused_acknowledgements: u64,
    /// Bytes of record bodies committed.
    pub committed_bytes: u64,
    /// Bytes written to the log and the cursor file, frames and headers included.
    pub written_bytes: u64,
    /// The same in whole pages of 4096 bytes, which is what a card sees of it. What the file
    /// system writes on top for its journal is not known here.
    pub device_bytes: u64,
    /// Times the mark was written. It is not synced, and its bytes are counted nowhere.
    pub marks: u64,
    /// Times records were committed.
    pub commits: u64,
    /// Times the log or the cursor file was synced.
    pub syncs: u64,
    /// Times a write or a sync failed.
    pub failed_syncs: u64,
    /// Segments set aside as `*.corrupt`.
    pub set_aside: u64,
    /// Bytes all segments take on disk, the spare included: what `max_size` bounds. The cursor file
    /// takes another half MiB, always, and the mark a few KiB as a rule.
    pub disk_bytes: u64,
    /// Whether the queue is full and makes those who append wait ([`WhenFull::Block`](super::WhenFull::Block)).
    pub is_blocking: bool,
    /// When the oldest waiting record was captured; looked up about once a second.
    pub oldest_captured_at: Option<SystemTime>,
    /// Losses the broker has not acknowledged the report of.
    pub losses_untold: u64,
}

impl Counters {
    /// Counts bytes that were written from `offset` on.
    pub(super) fn wrote(&mut self, offset: u64, bytes: u64) {
        const PAGE: u64 = 4096;
        self.written_bytes += bytes;
        self.device_bytes += (offset + bytes).div_ceil(PAGE) * PAGE - offset / PAGE * PAGE;
    }
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
    /// See [`LossReason::Blocked`].
    pub blocked: u64,
    /// See [`LossReason::Purged`].
    pub purged: u64,
    /// See [`LossReason::Crash`].
    pub crash: u64,
    /// See [`LossReason::Expired`].
    pub expired: u64,
}

impl Dropped {
    /// All of them.
    pub fn total(&self) -> u64 {
        LossReason::ALL.into_iter().fold(0, |sum, reason| sum.saturating_add(self.of(reason)))
    }

    /// Those of one reason.
    pub fn of(&self, reason: LossReason) -> u64 {
        // A copy, so that one list of fields serves both ways.
        *{ *self }.of_mut(reason)
    }

    pub(super) fn of_mut(&mut self, reason: LossReason) -> &mut u64 {
        match reason {
            LossReason::Full => &mut self.full,
            LossReason::Age => &mut self.age,
            LossReason::Damaged => &mut self.damaged,
            LossReason::TooLarge => &mut self.too_large,
            LossReason::Refused => &mut self.refused,
            LossReason::Unwritable => &mut self.unwritable,
            LossReason::Blocked => &mut self.blocked,
            LossReason::Purged => &mut self.purged,
            LossReason::Crash => &mut self.crash,
            LossReason::Expired => &mut self.expired,
        }
    }
}
