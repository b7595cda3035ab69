//! The thread that owns the log: it gathers what waits, writes it with one write and one sync,
//! and only then shows it to readers.
//!
//! Nothing stops it. A sync that failed is final for its segment: the kernel may have thrown the
//! pages away and would report success the next time, so the batch is written again, from
//! memory, to a new one. A full disk costs records, by the rule the site chose, and is counted.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::WhenFull;
use super::done::Done;
use super::files::{Files, NoFile, is_full};
use super::frame::{self, Kind};
use super::losses::LossReason;
use super::segment::{Entry, Mark, Segment};
use super::state::{Pending, Shared};

/// How many segments a batch is tried on before it is given up.
const ATTEMPTS: u32 = 3;

/// What a buffer that grew for large records shrinks back to, in bytes.
const BUFFER: usize = 256 * 1024;

/// The writer, before and while it runs.
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) files: Files,
    pub(super) rules: Rules,
    pub(super) tail: Option<Tail>,
    /// The sequence number the next record gets.
    pub(super) next: u64,
    batch: Vec<Pending>,
    buffer: Vec<u8>,
    /// Why records are being dropped, so that it is logged once and not with every commit.
    trouble: Option<LossReason>,
    pub(super) next_tick: Instant,
    /// When making a spare may be tried again.
    pub(super) spare_due: Instant,
    /// The oldest held record, as the last tick found it, and when it was captured.
    pub(super) oldest: Option<(u64, u64)>,
}

/// The settings that concern the writer.
pub struct Rules {
    /// What gives way when the queue is full.
    pub when_full: WhenFull,
    /// How old a record may get.
    pub max_age: Option<Duration>,
    /// How long the first waiting record waits for company.
    pub commit_interval: Duration,
}

/// The segment being appended to.
pub struct Tail {
    /// Its file.
    pub segment: Arc<Segment>,
    /// Where the next frame goes.
    pub offset: u64,
}

/// What is finished, as it goes to disk, and the segments that may be freed once it is there.
struct Snapshot {
    done: Done,
    freed: Vec<Arc<Segment>>,
}

/// What the writer was woken for.
struct Due {
    commit: bool,
    tick: bool,
    closing: bool,
}

impl Writer {
    /// A writer that goes on with the last segment of the catalogue, or begins a new one.
    pub fn new(shared: Arc<Shared>, files: Files, rules: Rules, go_on: bool) -> Self {
        let now = Instant::now();
        let (tail, next) = {
            let mut state = shared.lock();
            state.counters.disk_bytes = files.used();
            let last = state.segments.back().filter(|_| go_on);
            (last.map(|last| Tail { segment: last.segment.clone(), offset: last.end_offset }), state.next)
        };
        Self {
            shared,
            files,
            rules,
            tail,
            next,
            batch: Vec::new(),
            buffer: Vec::new(),
            trouble: None,
            next_tick: now,
            spare_due: now,
            oldest: None,
        }
    }

    /// Runs until the queue is closed and everything is on disk.
    ///
    /// # Errors
    /// What is acknowledged could not be saved at the end: it will be sent again.
    pub fn run(mut self) -> io::Result<()> {
        // Whatever ends this thread, nobody waits for it in vain.
        let _ended = Ended(self.shared.clone());
        loop {
            let due = self.wait();
            if due.commit {
                self.commit();
            }
            if due.tick {
                self.tick();
            }
            if due.closing {
                let done = self.shared.lock().done.saved();
                return self.files.save_cursor(&done);
            }
        }
    }

    /// Waits until something is due, and takes the batch if a commit is.
    fn wait(&mut self) -> Due {
        let interval = self.rules.commit_interval;
        let mut state = self.shared.lock();
        loop {
            let now = Instant::now();
            let oldest = [state.waiting_since, state.finished_since].into_iter().flatten().min();
            let commit_at = oldest.map(|since| since + interval);
            let commit = state.closing || state.is_large() || commit_at.is_some_and(|at| at <= now);
            let tick = self.next_tick <= now;
            if commit || tick {
                let closing = state.closing;
                if commit {
                    std::mem::swap(&mut state.inbox, &mut self.batch);
                    state.committing = self.batch.len() as u64;
                    state.inbox_bytes = 0;
                    state.waiting_since = None;
                }
                drop(state);
                self.shared.space.notify_waiters();
                return Due { commit, tick, closing };
            }
            let until = commit_at.map_or(self.next_tick, |at| at.min(self.next_tick));
            let waited = self.shared.wake.wait_timeout(state, until - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Brings the batch and what is finished to disk.
    fn commit(&mut self) {
        let snapshot = self.snapshot();
        let logged = self.store(snapshot.as_ref().map(|snapshot| &snapshot.done));
        self.batch.clear();
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER);
        if let Some(snapshot) = snapshot
            && (logged || self.save(&snapshot.done))
        {
            self.free(&snapshot.freed);
        }
        self.reserve();
        self.shared.lock().counters.disk_bytes = self.files.used();
    }

    /// What is finished, if that has changed since the last snapshot.
    fn snapshot(&self) -> Option<Snapshot> {
        let mut state = self.shared.lock();
        state.finished_since.take()?;
        let done = state.done.saved();
        let tail = self.tail.as_ref().map(|tail| tail.segment.first);
        let finished = |entry: &&Entry| {
            tail != Some(entry.segment.first) && done.count(entry.seqs()) == entry.end - entry.segment.first
        };
        let freed = state.segments.iter().filter(finished).map(|entry| entry.segment.clone()).collect();
        Some(Snapshot { done, freed })
    }

    /// Stores the batch. Returns whether `done` went with it.
    fn store(&mut self, done: Option<&Done>) -> bool {
        let mut at = 0;
        let mut failures = 0;
        while at < self.batch.len() {
            let (count, with_done) = self.stage(at, done);
            if count == 0 {
                if let Err(why) = self.roll() {
                    self.give_up(at, why);
                    return false;
                }
                continue;
            }
            match self.write() {
                Ok(()) => {
                    self.publish(at, count);
                    at += count;
                    if with_done {
                        return true;
                    }
                }
                Err(error) => {
                    failures += 1;
                    self.abandon_tail(&error);
                    let full = is_full(&error);
                    if failures >= ATTEMPTS {
                        self.give_up(at, if full { NoFile::Full } else { NoFile::Io(error) });
                        return false;
                    }
                    if full && self.rules.when_full == WhenFull::DropOldest {
                        self.evict_oldest();
                    }
                }
            }
        }
        false
    }

    /// Encodes as much of the batch as the tail has room for, and `done` behind it if that is
    /// all of it. Returns how many records, and whether `done` is with them.
    fn stage(&mut self, from: usize, done: Option<&Done>) -> (usize, bool) {
        self.buffer.clear();
        let Some(tail) = &self.tail else { return (0, false) };
        let room = tail.segment.size.saturating_sub(tail.offset) as usize;
        let mut count = 0;
        for record in &self.batch[from..] {
            if self.buffer.len() + frame::HEADER + record.body.len() > room {
                return (count, false);
            }
            let seq = self.next + count as u64;
            frame::encode(&mut self.buffer, Kind::Record, seq, record.captured_at, &record.body);
            count += 1;
        }
        let Some(done) = done else { return (count, false) };
        let records = self.buffer.len();
        let mut body = Vec::new();
        done.encode(&mut body);
        frame::encode(&mut self.buffer, Kind::Acknowledged, self.next + count as u64, 0, &body);
        if self.buffer.len() > room {
            self.buffer.truncate(records);
            return (count, false);
        }
        (count, true)
    }

    /// Writes the buffer to the tail and syncs it.
    fn write(&mut self) -> io::Result<()> {
        let Some(tail) = &mut self.tail else { return Ok(()) };
        tail.segment.file.write_all_at(&self.buffer, tail.offset)?;
        #[cfg(test)]
        self.shared.fail_if_told()?;
        tail.segment.file.sync_data()
    }

    /// Shows readers what was just made durable.
    fn publish(&mut self, from: usize, count: usize) {
        let Some(tail) = &mut self.tail else { return };
        let start = Mark { seq: self.next, offset: tail.offset };
        tail.offset += self.buffer.len() as u64;
        self.next += count as u64;
        let records = &self.batch[from..from + count];
        let bodies: usize = records.iter().map(|record| record.body.len()).sum();
        let mut state = self.shared.lock();
        if let Some(entry) = state.segments.back_mut() {
            entry.end = self.next;
            entry.end_offset = tail.offset;
            entry.remember(start);
            let (from, to) = times(records);
            entry.saw_times(from, to);
        }
        if state.held == 0 {
            state.oldest = records.first().map(|record| record.captured_at);
        }
        state.next = self.next;
        state.held += count as u64;
        state.committing -= count as u64;
        state.counters.committed_bytes += bodies as u64;
        state.counters.written_bytes += self.buffer.len() as u64;
        state.counters.syncs += 1;
        drop(state);
        self.shared.committed.notify_waiters();
        if self.trouble.take().is_some() {
            info!(dir = %self.files.dir().display(), "records are being stored again");
        }
    }

    /// Counts the rest of the batch as dropped: there is nowhere to put it.
    fn give_up(&mut self, from: usize, why: NoFile) {
        let rest = &self.batch[from..];
        let reason = if matches!(why, NoFile::Full) { LossReason::Full } else { LossReason::Unwritable };
        if self.trouble != Some(reason) {
            self.trouble = Some(reason);
            let dir = self.files.dir().display();
            match why {
                NoFile::Full => error!(%dir, "the queue is full, so new records are dropped"),
                NoFile::Io(error) => error!(%dir, %error, "the disk takes no records, so they are dropped"),
            }
        }
        let mut state = self.shared.lock();
        state.committing -= rest.len() as u64;
        state.never_stored(reason, rest.len() as u64, times(rest));
        drop(state);
        self.shared.lost.notify_waiters();
    }

    /// Seals the tail where it was last known to be good.
    fn abandon_tail(&mut self, error: &io::Error) {
        warn!(dir = %self.files.dir().display(), %error, "a segment could not be written, so a new one is begun");
        self.tail = None;
        let mut state = self.shared.lock();
        state.counters.failed_syncs += 1;
        if let Some(entry) = state.segments.back_mut() {
            entry.suspect = true;
        }
    }
}

/// When the earliest and the latest of these records were captured.
fn times(records: &[Pending]) -> (u64, u64) {
    let captured = records.iter().map(|record| record.captured_at);
    (captured.clone().min().unwrap_or_default(), captured.max().unwrap_or_default())
}

/// Tells everybody when the writer is gone.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closing = true;
        state.ended = true;
        drop(state);
        for bell in [&self.0.space, &self.0.committed, &self.0.lost, &self.0.ended] {
            bell.notify_waiters();
        }
    }
}
