//! What the handles and the writer thread share: the records that wait for the next commit, the
//! catalogue of committed ones, what is finished, and the counts.
//!
//! One lock guards it all, so the counts agree at every moment. It is held for a few hundred
//! nanoseconds at a time and never while the disk is at work.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Notify;
use tracing::error;

use super::clock::time;
use super::counters::Counters;
use super::done::Done;
use super::losses::{LossReason, Losses};
use super::reader::{Job, Outcome};
use super::segment::{Entry, Mark};

/// A commit is made as soon as this many records wait, or this many bytes.
pub const COMMIT_RECORDS: usize = 256;
/// See [`COMMIT_RECORDS`].
pub const COMMIT_BYTES: usize = 64 * 1024;

/// Appending waits while this many records wait for a commit, or this many bytes.
const INBOX_RECORDS: usize = 4 * COMMIT_RECORDS;
const INBOX_BYTES: usize = 1 << 20;

/// How many ends of recent reads are remembered: one per reader, and some to spare.
const RECENT: usize = 8;

/// The state and the bells that go with it.
#[derive(Default)]
pub struct Shared {
    state: Mutex<State>,
    /// Rung for the writer: something is due.
    pub wake: Condvar,
    /// Rung when the inbox was emptied.
    pub space: Notify,
    /// Rung once per commit, and when the queue closes.
    pub committed: Notify,
    /// Rung when a loss was noted, and when the queue closes.
    pub lost: Notify,
    /// Rung when the writer has ended.
    pub ended: Notify,
    /// How many of the next syncs of the log pretend to fail.
    #[cfg(test)]
    pub failing_syncs: std::sync::atomic::AtomicU32,
}

/// A record on its way to the log.
pub struct Pending {
    /// Its body.
    pub body: Bytes,
    /// Milliseconds since 1970.
    pub captured_at: u64,
}

/// Everything behind the lock.
#[derive(Default)]
pub struct State {
    /// Records that wait for the next commit.
    pub inbox: Vec<Pending>,
    /// Bytes of their bodies.
    pub inbox_bytes: usize,
    /// When the first of them came.
    pub waiting_since: Option<Instant>,
    /// When something was finished that no snapshot on disk shows yet.
    pub finished_since: Option<Instant>,
    /// How many records the writer is committing right now.
    pub committing: u64,
    /// Segments, oldest first; the last one may be growing.
    pub segments: VecDeque<Entry>,
    /// The sequence number the next committed record gets.
    pub next: u64,
    /// What is acknowledged or dropped.
    pub done: Done,
    /// Committed records that are neither.
    pub held: u64,
    /// The counts; `queued` and `oldest_captured_at` are filled in when asked for.
    pub counters: Counters,
    /// When the oldest held record was captured.
    pub oldest: Option<u64>,
    /// Losses nobody has asked for yet.
    pub losses: Losses,
    /// The queue was told to close: no more records are taken.
    pub closing: bool,
    /// The writer has ended.
    pub ended: bool,
    recent: VecDeque<(u64, Mark)>,
}

impl Shared {
    /// Shared state as recovery found it.
    pub fn new(state: State) -> Self {
        Self { state: Mutex::new(state), ..Self::default() }
    }

    /// The state. A panic under the lock is a bug; going on with what is there beats stopping.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails as often as a test has asked for.
    #[cfg(test)]
    pub fn fail_if_told(&self) -> std::io::Result<()> {
        use std::sync::atomic::Ordering::Relaxed;
        let told = self.failing_syncs.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        told.map_or(Ok(()), |_| Err(std::io::Error::from_raw_os_error(5)))
    }
}

impl State {
    /// Whether one more record may wait.
    pub fn has_room(&self) -> bool {
        self.inbox.len() < INBOX_RECORDS && self.inbox_bytes < INBOX_BYTES
    }

    /// Takes a record in. Returns whether the writer has to be woken for it.
    pub fn take_in(&mut self, record: Pending) -> bool {
        let was_due = self.is_large();
        let first = self.inbox.is_empty();
        if first {
            self.waiting_since = Some(Instant::now());
        }
        self.counters.captured += 1;
        self.inbox_bytes += record.body.len();
        self.inbox.push(record);
        first || self.is_large() != was_due
    }

    /// Whether enough records wait for a commit at once.
    pub fn is_large(&self) -> bool {
        self.inbox.len() >= COMMIT_RECORDS || self.inbox_bytes >= COMMIT_BYTES
    }

    /// Counts a record that is dropped before it was stored.
    pub fn refuse(&mut self, reason: LossReason, captured_at: u64) {
        self.counters.captured += 1;
        self.never_stored(reason, 1, (captured_at, captured_at));
    }

    /// Counts captured records that will not be stored.
    pub fn never_stored(&mut self, reason: LossReason, count: u64, times: (u64, u64)) {
        self.counters.dropped.add(reason, count);
        self.losses.note(reason, (self.next, self.next), count, times);
    }

    /// Acknowledges a committed record. Returns whether the writer has to be woken.
    pub fn acknowledge(&mut self, seq: u64) -> bool {
        if seq >= self.next {
            return false;
        }
        if !self.done.has_room_for(seq) {
            self.counters.refused_acknowledgements += 1;
            return false;
        }
        let new = self.done.insert(seq..seq.saturating_add(1));
        self.counters.acknowledged += new;
        self.held = self.held.saturating_sub(new);
        new > 0 && self.is_dirty_now()
    }

    /// Drops committed records: those of `seqs` that are not finished. Returns how many.
    pub fn drop_stored(&mut self, seqs: Range<u64>, reason: LossReason, times: (u64, u64)) -> u64 {
        let first = self.done.first_open(seqs.start);
        let last = seqs.end.saturating_sub(1);
        let new = self.done.insert(seqs);
        if new > 0 {
            self.held = self.held.saturating_sub(new);
            self.counters.dropped.add(reason, new);
            self.losses.note(reason, (first, last), new, times);
            self.is_dirty_now();
        }
        new
    }

    /// Notes that the snapshot on disk is behind. Returns whether that is news.
    fn is_dirty_now(&mut self) -> bool {
        let news = self.finished_since.is_none();
        self.finished_since.get_or_insert_with(Instant::now);
        news
    }

    /// How to read the first unfinished records at or above `from`; `None` if there are none.
    pub fn locate(&self, from: u64, max_records: usize, max_bytes: usize) -> Option<Job> {
        let mut wanted = self.done.first_open(from);
        let entry = self.segments.get(self.segments.partition_point(|entry| entry.end <= wanted))?;
        wanted = wanted.max(entry.segment.first);
        let end = self.done.next_done(wanted).unwrap_or(u64::MAX).min(entry.end);
        let known = entry.mark_before(wanted);
        let first = entry.segment.first;
        let start = self
            .recent
            .iter()
            .filter(|(segment, mark)| *segment == first && mark.seq <= wanted)
            .map(|(_, mark)| *mark)
            .fold(known, |best, mark| if mark.offset > best.offset { mark } else { best });
        (wanted < end).then(|| Job {
            segment: entry.segment.clone(),
            start,
            wanted: wanted..end,
            end_offset: entry.end_offset,
            max_records: max_records.max(1),
            max_bytes: max_bytes.max(1),
            frame_len: entry.frame_len(),
        })
    }

    /// Takes note of what a read found, and leaves in `outcome` the records that still wait.
    /// Returns whether something was lost.
    pub fn finish_read(&mut self, job: &Job, outcome: &mut Outcome) -> bool {
        let first = job.segment.first;
        let entry = self.segments.iter_mut().find(|entry| entry.segment.first == first);
        let known = entry.as_ref().and_then(|entry| entry.times).unwrap_or_default();
        if let (Some(entry), Some(reached)) = (entry, outcome.reached) {
            entry.remember(reached);
            self.recent.retain(|(segment, mark)| (*segment, mark) != (first, &job.start));
            self.recent.push_back((first, reached));
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        let mut lost = 0;
        for missing in outcome.missing.drain(..) {
            // A reader that was overtaken may miss what has been finished and freed meanwhile;
            // only what still should be there counts.
            let (first, last) = (missing.seqs.start, missing.seqs.end.saturating_sub(1));
            let damaged = self.drop_stored(missing.seqs, LossReason::Damaged, missing.times.unwrap_or(known));
            if damaged > 0 {
                error!(first, last, damaged, "records on disk are damaged and lost");
            }
            lost += damaged;
        }
        if self.done.count(job.wanted.clone()) > 0 {
            outcome.records.retain(|record| !self.done.contains(record.seq.0));
        }
        lost > 0
    }

    /// The counts as of now.
    pub fn counters(&self) -> Counters {
        let queued = self.inbox.len() as u64 + self.committing + self.held;
        let oldest_captured_at = self.oldest.filter(|_| self.held > 0).map(time);
        Counters { queued, oldest_captured_at, ..self.counters.clone() }
    }
}
