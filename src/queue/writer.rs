//! The thread that owns the log: it gathers what waits, writes it with one write and one sync,
//! and only then shows it to readers.
//!
//! Nothing stops it. A sync that failed is final for its segment: the kernel may have thrown the
//! pages away and would report success the next time, so the batch is written again, from
//! memory, to a new one. A full disk costs records, or makes the writer wait, by the rule the site
//! chose. How the ledger gets to disk is in `saving`.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::WhenFull;
use super::files::{Files, NoFile};
use super::folder::is_full;
use super::frame::{self, Kind};
use super::losses::LossReason;
use super::segment::{HEADER, MAX_SPAN, Mark, Segment};
use super::shared::Shared;
use super::state::Pending;
use crate::seldom::Seldom;

/// How many segments a batch is tried on before it is given up.
const ATTEMPTS: u32 = 3;

/// What a buffer that grew for large records shrinks back to, in bytes.
const BUFFER: usize = 256 * 1024;

/// The writer, before and while it runs.
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) files: Files,
    pub(super) rules: Rules,
    /// The thread that writes marks; it ends when the queue closes.
    marker: Option<JoinHandle<()>>,
    pub(super) tail: Option<Tail>,
    /// What is being stored. Records stay in it while the queue is full and blocks.
    batch: Vec<Pending>,
    buffer: Vec<u8>,
    /// Records on their way to those kept warm, and from there.
    warm: Vec<Pending>,
    /// The encoded ledger, and the segments that may be freed once it is on disk.
    pub(super) ledger: Vec<u8>,
    pub(super) freeable: Vec<Arc<Segment>>,
    /// Why records are not being stored, so that it is logged once and not with every commit; and
    /// whether it was logged, for at the brink of a full queue it begins and ends all the time.
    trouble: Option<LossReason>,
    trouble_told: bool,
    troubles: Seldom,
    failures: Seldom,
    pub(super) unsaved: Seldom,
    closing: bool,
    pub(super) next_tick: Instant,
    /// The first record that was not too old when that was last looked at: its number, and when
    /// it was captured.
    pub(super) first_kept: Option<(u64, u64)>,
    /// When making a spare may be tried again.
    pub(super) spare_due: Instant,
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

/// What the writer was woken for.
struct Due {
    commit: bool,
    tick: bool,
}

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stored {
    /// It is on disk, or dropped and counted.
    Settled,
    /// The rest of it waits for room.
    Blocked,
}

/// What is in the buffer.
struct Staged {
    /// How many records of the batch.
    count: usize,
    /// How many bytes they begin behind: those of the ledger.
    ledger: usize,
}

impl Writer {
    /// A writer that goes on with the last segment of the catalogue, or begins a new one.
    pub fn new(shared: Arc<Shared>, files: Files, rules: Rules, marker: Option<JoinHandle<()>>, go_on: bool) -> Self {
        let now = Instant::now();
        let tail = {
            let mut state = shared.lock();
            state.counters.disk_bytes = files.used();
            let last = state.segments.back().filter(|_| go_on);
            last.map(|last| Tail { segment: last.segment.clone(), offset: last.end_offset })
        };
        Self {
            shared,
            files,
            rules,
            marker,
            tail,
            batch: Vec::new(),
            buffer: Vec::new(),
            warm: Vec::new(),
            ledger: Vec::new(),
            freeable: Vec::new(),
            trouble: None,
            trouble_told: false,
            troubles: Seldom::default(),
            failures: Seldom::default(),
            unsaved: Seldom::default(),
            closing: false,
            next_tick: now,
            first_kept: None,
            spare_due: now,
        }
    }

    /// Runs until the queue is closed and everything is on disk.
    ///
    /// # Errors
    /// The ledger could not be saved at the end: some records will be sent again.
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
            if self.closing {
                let saved = self.finish();
                // A mark that could not be written has said so.
                let _ = self.marker.take().map(JoinHandle::join);
                return saved;
            }
        }
    }

    /// Waits until something is due, and takes the batch if a commit is.
    fn wait(&mut self) -> Due {
        let interval = self.rules.commit_interval;
        let shared = self.shared.clone();
        let mut state = shared.lock();
        loop {
            let now = Instant::now();
            // With a batch in hand that found no room, only what changes the room is of interest.
            let blocked = !self.batch.is_empty();
            let waiting_since = state.waiting_since.filter(|_| !blocked);
            let oldest = [waiting_since, state.changed_since].into_iter().flatten().min();
            let commit_at = oldest.map(|since| since + interval);
            let tick = self.next_tick <= now;
            let large = state.is_large() && !blocked;
            let commit = state.closing || large || commit_at.is_some_and(|at| at <= now) || (tick && blocked);
            if commit || tick {
                self.closing = state.closing;
                state.is_committing = commit;
                drop(state);
                if commit {
                    self.take_batch();
                }
                return Due { commit, tick };
            }
            let until = commit_at.map_or(self.next_tick, |at| at.min(self.next_tick));
            let waited = shared.wake.wait_timeout(state, until - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes what waits, unless there is something in hand.
    fn take_batch(&mut self) {
        if !self.batch.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        std::mem::swap(&mut state.inbox, &mut self.batch);
        state.inbox_bytes = 0;
        state.waiting_since = None;
        state.in_hand = self.batch.first().map(|record| record.seq);
        drop(state);
        self.shared.space.notify_waiters();
    }

    /// Brings the batch and the ledger to disk, and frees what is finished.
    fn commit(&mut self) {
        loop {
            // What changes from here on is for the next commit: one sync is enough for each.
            let (changed, saved) = self.ledger_state();
            let stored = self.store();
            self.buffer.clear();
            self.buffer.shrink_to(BUFFER);
            if changed && self.ledger_state().1 == saved {
                self.save();
            }
            let freed = self.free();
            // What was waiting for room has some now.
            if stored == Stored::Settled || !freed {
                break;
            }
            self.forget_purged();
        }
        self.reserve();
        let mut state = self.shared.lock();
        state.counters.disk_bytes = self.files.used();
        state.is_committing = false;
    }

    /// The last commit of a queue that is being closed. Nothing waits for room any more.
    fn finish(&mut self) -> io::Result<()> {
        self.take_batch();
        self.commit();
        // Twice, so that damage to one slot of the cursor file costs nothing.
        self.encode_ledger();
        self.write_cursor()?;
        self.encode_ledger();
        self.write_cursor()
    }

    /// Stores the batch.
    fn store(&mut self) -> Stored {
        let mut at = 0;
        let mut failures = 0;
        while at < self.batch.len() {
            let staged = self.stage(at);
            if staged.count == 0 {
                match self.roll(self.batch[at].seq) {
                    Ok(()) => continue,
                    Err(NoFile::Full) if self.waits_for_room() => {
                        self.keep(at);
                        return Stored::Blocked;
                    }
                    Err(why) => {
                        self.give_up(at, why);
                        break;
                    }
                }
            }
            match self.write() {
                Ok(()) => {
                    self.publish(at, &staged);
                    at += staged.count;
                }
                Err(error) => {
                    failures += 1;
                    self.abandon_tail(&error);
                    let full = is_full(&error);
                    if full && self.waits_for_room() {
                        self.keep(at);
                        return Stored::Blocked;
                    }
                    if failures >= ATTEMPTS {
                        self.give_up(at, if full { NoFile::Full } else { NoFile::Io(error) });
                        break;
                    }
                    if full && self.rules.when_full == WhenFull::DropOldest {
                        self.evict_oldest();
                    }
                }
            }
        }
        self.batch.clear();
        Stored::Settled
    }

    /// Whether a full queue keeps its records in hand. At the end there is no time for that.
    fn waits_for_room(&self) -> bool {
        self.rules.when_full == WhenFull::Block && !self.closing
    }

    /// Encodes as much of the batch as the tail has room for. In front goes the ledger, if it has
    /// changed: a torn write then never leaves records whose ledger is missing. Each segment
    /// begins with one as well.
    fn stage(&mut self, from: usize) -> Staged {
        self.buffer.clear();
        let nothing = Staged { count: 0, ledger: 0 };
        let Some(tail) = &self.tail else { return nothing };
        let (first, size) = (tail.segment.first, tail.segment.size);
        let is_fresh = tail.offset == HEADER;
        let room = size.saturating_sub(tail.offset) as usize;
        let smallest = frame::HEADER + self.batch[from].body.len();
        if smallest > room || self.batch[from].seq - first >= MAX_SPAN {
            return nothing;
        }
        let mut ledger = 0;
        if is_fresh || self.shared.lock().changed_since.is_some() {
            self.encode_ledger();
            ledger = frame::HEADER + self.ledger.len();
            let fits = ledger + smallest <= room;
            if !fits && !is_fresh && (ledger as u64) < size / 4 {
                self.ledger_not_saved();
                return nothing;
            }
            if fits && (ledger as u64) < size / 4 {
                frame::encode(&mut self.buffer, Kind::Ledger, self.batch[from].seq, 0, &self.ledger);
            } else {
                // Too large for the log, or a record as large as the segment is on its way.
                ledger = 0;
                self.write_cursor_or_warn();
            }
        }
        let mut count = 0;
        for record in &self.batch[from..] {
            if self.buffer.len() + frame::HEADER + record.body.len() > room || record.seq - first >= MAX_SPAN {
                break;
            }
            frame::encode(&mut self.buffer, Kind::Record, record.seq, record.captured_at, &record.body);
            count += 1;
        }
        Staged { count, ledger }
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
    fn publish(&mut self, from: usize, staged: &Staged) {
        let Some(tail) = &mut self.tail else { return };
        let records = &self.batch[from..from + staged.count];
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return };
        let bodies: usize = records.iter().map(|record| record.body.len()).sum();
        self.warm.extend_from_slice(records);
        let mut state = self.shared.lock();
        if let Some(entry) = state.segments.back_mut() {
            entry.end = last.seq + 1;
            entry.end_offset = tail.offset + self.buffer.len() as u64;
            entry.remember(Mark { seq: first.seq, offset: tail.offset + staged.ledger as u64 });
            let (from, to) = times(records);
            entry.saw_times(from, to);
        }
        if state.ledger.done.cursor() >= first.seq || state.oldest.is_none() {
            state.oldest = Some((first.seq, first.captured_at));
        }
        state.in_hand = self.batch.get(from + staged.count).map(|record| record.seq);
        if staged.ledger > 0 {
            state.encoded_is_saved();
        }
        state.counters.committed_bytes += bodies as u64;
        state.counters.wrote(tail.offset, self.buffer.len() as u64);
        state.counters.commits += 1;
        state.counters.is_blocking = false;
        state.counters.syncs += 1;
        state.warm.push(&mut self.warm);
        drop(state);
        self.warm.clear();
        tail.offset += self.buffer.len() as u64;
        self.shared.committed.notify_waiters();
        if staged.ledger > 0 {
            self.shared.saved.notify_waiters();
            self.shared.marked.notify_one();
        }
        if self.trouble.take().is_some() && std::mem::take(&mut self.trouble_told) {
            info!(dir = %self.files.dir().display(), "records are being stored again");
        }
    }

    /// Keeps the rest of the batch until there is room.
    fn keep(&mut self, from: usize) {
        self.batch.drain(..from);
        self.shared.lock().counters.is_blocking = true;
        if self.is_new_trouble(LossReason::Full) {
            warn!(dir = %self.files.dir().display(), "the queue is full, so new records wait");
        }
    }

    /// Takes records out of a batch in hand that were purged meanwhile.
    fn forget_purged(&mut self) {
        let mut state = self.shared.lock();
        self.batch.retain(|record| !state.ledger.done.contains(record.seq));
        state.in_hand = self.batch.first().map(|record| record.seq);
        state.counters.is_blocking &= !self.batch.is_empty();
    }

    /// Counts the rest of the batch as dropped: there is nowhere to put it.
    fn give_up(&mut self, from: usize, why: NoFile) {
        let reason = if matches!(why, NoFile::Full) { LossReason::Full } else { LossReason::Unwritable };
        // That and how much is lost is told by whoever watches the losses; what the disk says is known
        // here alone.
        if self.is_new_trouble(reason)
            && let NoFile::Io(error) = why
        {
            error!(dir = %self.files.dir().display(), %error, "the disk takes no records, so they are dropped");
        }
        let rest = &self.batch[from..];
        let (Some(first), Some(last)) = (rest.first(), rest.last()) else { return };
        let mut state = self.shared.lock();
        state.lose(first.seq..last.seq + 1, reason, times(rest));
        state.in_hand = None;
        drop(state);
        self.shared.lost.notify_waiters();
        self.shared.committed.notify_waiters();
    }

    /// Notes why records are not being stored. Returns whether that is to be logged.
    fn is_new_trouble(&mut self, reason: LossReason) -> bool {
        let tell = self.trouble.replace(reason) != Some(reason) && self.troubles.note(1).is_some();
        self.trouble_told |= tell;
        tell
    }

    /// Seals the tail where it was last known to be good.
    fn abandon_tail(&mut self, error: &io::Error) {
        if let Some(line) = self.failures.note(1) {
            let (dir, times) = (self.files.dir().display(), line.count);
            warn!(%dir, %error, times, "a segment could not be written, so a new one is begun");
        }
        self.tail = None;
        self.ledger_not_saved();
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
        self.0.mark.notify_one();
        for bell in [&self.0.space, &self.0.committed, &self.0.lost, &self.0.saved, &self.0.ended] {
            bell.notify_waiters();
        }
    }
}
