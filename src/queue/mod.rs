//! The queue on disk: what was captured waits here until the broker has acknowledged it.
//!
//! It stores finished messages as opaque bodies and knows nothing of MQTT. [`Queue::append`]
//! numbers a body and hands it to a writer thread, which commits everything that waits with one
//! write and one sync; [`Queue::read`] returns committed records only, so what is published is
//! already safe. [`Queue::acknowledge`] finishes a record. What is lost (the disk is full, a record
//! is too old, a sector went bad) is counted in [`Counters`] and told by [`Queue::next_loss`]. The log
//! gets it from whoever asks [`Queue::next_losses`]; here it is written down for those who look for
//! a fault only, at debug level, or a night of losses would be a book.
//!
//! From top to bottom: [`Queue`] is the handle, with `intake` for what comes in and `telling` for what
//! was lost; `shared` is what it shares, a `state` and bells, with the `writer`, whose housekeeping is
//! in `upkeep` and `saving`, and with the `marker`, which writes down what is acknowledged between two
//! commits; `ledger` is the one truth about what became of each number, made of `done`, `losses` and
//! `eras`; `reader` reads batches; `recovery` opens what an earlier run left; `files` owns the
//! directory; `segment`, `scan`, `frame` and `cursor` are the formats. [`inspect`] looks at the files
//! from outside.
//!
//! # Memory
//!
//! The depth of the queue is on disk. In memory there are about 4 KiB per segment, a window of at
//! most 256 KiB per read, at most 1024 records (or four commits full, if that is more) or about
//! 2 MiB that wait for a commit, as many records or 256 KiB that were committed last, and a ledger that is small as a rule and at most 256 KiB on disk,
//! about three times as much in memory.
//!
//! # Format
//!
//! All numbers are little-endian; `crc` is CRC-32C (Castagnoli); times are milliseconds since 1970.
//! A directory holds:
//!
//! - `<first>.seg`, a **segment**, preallocated; `first` is the lowest sequence number that may be
//!   in it, as 20 decimal digits. Sequence numbers in a segment rise, are less than 2^32 above
//!   `first`, and end below the next segment's `first`. Numbers that are missing in between belong
//!   to messages that were never stored, and are finished by the ledger.
//! - `cursor`, the **cursor file**: two slots of 262144 bytes.
//! - `mark`, the **mark**: two such slots, as far as they were needed; it is written and not synced.
//! - `spare`, a file to become the next segment; what is in it means nothing.
//! - `lock`, locked with `flock` by the process that has the queue open.
//! - `*.corrupt`, segments that could not be read, for somebody to look at.
//!
//! A segment begins with a header, and frames follow without gaps:
//!
//! | bytes | segment header | | bytes | frame |
//! |---|---|---|---|---|
//! | 0–3 | magic `whsg` | | 0–3 | length of the body |
//! | 4–7 | crc of bytes 8–23 | | 4–7 | crc of bytes 0–3 and of all from 8 to the end of the body |
//! | 8–11 | version, 1 | | 8–15 | sequence number; a ledger has that of the record behind it |
//! | 12–15 | 0 | | 16–23 | captured at, by the wall clock of the time; 0 for a ledger |
//! | 16–23 | `first` | | 24 | kind: 0 a record, 1 a ledger |
//! | | | | 25– | body, at most 1 MiB |
//!
//! A reader takes a frame for good if its crc fits and its sequence number can be in the segment
//! (a recycled file ends in stale frames with lower ones). Where no good frame starts it goes on
//! byte by byte; the log ends behind the last good frame of the last segment.
//!
//! The **ledger** is written whole, in front of the records it is committed with, whenever it has
//! changed, and as the first frame of each segment; when nothing is being appended, or it would
//! take more than a quarter of a segment, it goes to the slots of the cursor file in turn. Between
//! two commits it goes to the slots of the mark, as soon as a kill would have more sent again than a
//! window. A slot holds magic `whcu`, crc of all that follows, the length of the ledger (u32) and the
//! ledger. Of all ledgers in the cursor file, in the mark, in the last segment and at the beginnings
//! of the others, the one with the highest generation counts, and no other. Its body:
//!
//! | field | meaning |
//! |---|---|
//! | generation, u64 | higher each time; the highest bit says that `expired` is counted |
//! | next, u64 | the number the next captured message gets |
//! | settled, u64 | below this, everything was on disk or finished |
//! | passed over, u64 | finished numbers of which nothing is known: see below |
//! | dropped, 9 or 10 × u64 | how many of the finished numbers were dropped, by reason: full, age, damaged, too large, refused, unwritable, blocked, purged, crash, and expired if there are any |
//! | losses: next id u64, being told u8, count u16, 49 bytes each | not yet told upstream, and whether the first of them is being told and does not change any more: id, first, last, count, from, to (u64 each), reason (u8, place in the list above) |
//! | eras: count u16, 33 bytes each | which clock stamped the records: first number (u64), boot id (16 bytes), wall clock less time since boot in ms (i64), the clock: 0 not set, 1 a guess, 2 set (u8) |
//! | finished: cursor u64, then ranges | everything below the cursor, and from start to end (exclusive) of each range above, u64 each, in order |
//!
//! Everything else follows: captured = next − passed over, dropped as it stands there, acknowledged
//! = finished − dropped − passed over, queued = next − finished.
//!
//! # After a crash
//!
//! A number that no segment holds and that is not finished is **damaged** if it was on disk once: it
//! lies below `settled`, or a later record is there. Otherwise a **crash** caught its message on the
//! way to the disk; it counts as dropped for that reason if the ledger on disk knows its number.
//! Nothing is known of what was captured after the ledger was saved. The numbers of a last segment
//! that cannot be read at all are **passed over**: neither captured nor lost as far as anybody can
//! tell, and not given again, for how many were given in it is not known. A record at the very end
//! of the log that went bad after a crash, with no ledger behind it, cannot be told from one that
//! was never written; it is not counted, and if no ledger knows its number either, that is given
//! again.
//!
//! A segment is removed when both slots know that all in it is finished. If neither slot can be
//! read, whole segments that are missing are therefore taken for finished.

mod counters;
mod cursor;
pub mod disk;
mod done;
mod eras;
mod files;
pub(crate) mod folder;
pub(crate) mod frame;
pub(crate) mod header;
pub mod inspect;
mod intake;
mod ledger;
mod losses;
mod marker;
mod reader;
mod recovery;
mod saving;
pub(crate) mod scan;
mod segment;
mod settings;
mod shared;
mod state;
mod telling;
#[cfg(test)]
mod tests;
mod upkeep;
mod warm;
mod writer;

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

use bytes::Bytes;

use crate::clock::{Correction, millis};

pub use counters::{Counters, Dropped};
pub use losses::{Loss, LossId, LossReason};
pub use settings::{Settings, WhenFull};

use files::{Files, Limits};
use marker::Marker;
use shared::Shared;
use writer::{Rules, Writer};

/// The longest body that is stored, in bytes; less if a segment is smaller than that.
pub const MAX_BODY: usize = 1 << 20;

/// A record's place in the queue: given in order, and never given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// The first place there is.
    pub const FIRST: Self = Self(0);
    /// Behind every place there is.
    pub const END: Self = Self(u64::MAX);

    /// The place behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// As a number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for Seq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A committed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place.
    pub seq: Seq,
    /// When it was captured, to the millisecond; put right if the clock was set only later.
    pub captured_at: SystemTime,
    /// What that time was put right by, and what holds for other times captured with it.
    pub correction: Correction,
    /// What was appended. Shares memory with the records it was read with.
    pub body: Bytes,
}

/// Why a queue could not be opened. Damage inside it is never a reason.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be used.
    #[error("cannot use the queue directory {dir}: {source}")]
    Directory {
        /// Which one.
        dir: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("the queue directory {dir} is in use by another process")]
    Locked {
        /// Which one.
        dir: PathBuf,
    },
}

/// The queue is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue is closed")]
pub struct Closed;

/// A handle to a queue; clones share it. The queue closes when the last one is dropped, but only
/// [`Queue::close`] waits until everything is on disk.
#[derive(Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    max_body: usize,
    finished_end_at_open: Seq,
    /// Who writes marks, if there is room for the file.
    marker: Option<Arc<Marker>>,
    writer: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

impl Queue {
    /// Opens the queue in `settings.dir`, making it if there is none, and recovers what an
    /// earlier run left there. Blocks on the disk for some milliseconds.
    ///
    /// # Errors
    /// The directory cannot be used, or another process is using it.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Directory { dir: settings.dir.clone(), source };
        let segment_size = settings.effective_segment_size();
        let max_size = settings.max_size.max(4 * segment_size);
        let limits = Limits { segment_size, max_size, min_free: settings.min_free };
        let files = Files::open(&settings.dir, limits).map_err(unusable)?;
        let mut files = files.ok_or_else(|| OpenError::Locked { dir: settings.dir.clone() })?;
        let (mut state, go_on) = recovery::recover(&mut files);
        state.commit_records = settings.commit_records.max(1);
        let mark = files.take_mark();
        let finished_end_at_open = Seq(state.ledger.done.end());
        let shared = Arc::new(Shared::new(state, settings.clock));
        let rules = Rules {
            when_full: settings.when_full,
            max_age: settings.max_age,
            commit_interval: settings.commit_interval,
        };
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let marker = mark.map(|file| Arc::new(Marker::new(shared.clone(), file, settings.dir.clone())));
        let marking = marker.clone().map(|marker| thread("queue-mark").spawn(move || marker.run()));
        let marking = marking.transpose().map_err(unusable)?;
        let writer = Writer::new(shared.clone(), files, rules, marking, go_on);
        let thread = thread("queue").spawn(|| writer.run()).map_err(unusable)?;
        let max_body = MAX_BODY.min(reader::largest_body(segment_size));
        let writer = Mutex::new(Some(thread));
        Ok(Self { inner: Arc::new(Inner { shared, max_body, finished_end_at_open, marker, writer }) })
    }

    /// Returns the next committed, unacknowledged records at or above `from` and below `until`: at
    /// least one, at most `max_records`, and after the first no more than `max_bytes` of bodies.
    /// Waits until there is one. A batch may be shorter than the limits although more records
    /// wait. Empty if nothing is left there and nothing can come: `until` is at most
    /// [`Queue::end`].
    ///
    /// # Errors
    /// The queue is closed.
    pub async fn read(
        &self,
        from: Seq,
        until: Seq,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, Closed> {
        let shared = &self.inner.shared;
        loop {
            let mut committed = pin!(shared.committed.notified());
            committed.as_mut().enable();
            let job = {
                let state = shared.lock();
                if state.closing {
                    return Err(Closed);
                }
                if let Some(records) = state.at_hand(from.0..until.0, max_records, max_bytes) {
                    return Ok(records);
                }
                match state.locate(from.0..until.0, max_records, max_bytes) {
                    None if until.0 <= state.settled() => return Ok(Vec::new()),
                    job => job,
                }
            };
            let Some(job) = job else {
                committed.await;
                continue;
            };
            let read = tokio::task::spawn_blocking(move || {
                let outcome = job.run();
                (job, outcome)
            });
            // Reading does not panic; what is left is a runtime that is shutting down.
            let (job, mut outcome) = read.await.map_err(|_| Closed)?;
            if shared.lock().finish_read(&job, &mut outcome) {
                shared.lost.notify_waiters();
            }
            if !outcome.records.is_empty() {
                return Ok(outcome.records);
            }
        }
    }

    /// The oldest record that is not acknowledged, or where the next one will be: where to begin
    /// after a reconnect.
    pub fn oldest_unacknowledged(&self) -> Seq {
        Seq(self.inner.shared.lock().ledger.done.cursor())
    }

    /// Where the next committed record may be: everything below is on disk or finished, and what
    /// is captured from now on lies at or above it.
    pub fn end(&self) -> Seq {
        Seq(self.inner.shared.lock().settled())
    }

    /// One above the highest place that was finished when the queue was opened.
    pub fn finished_end_at_open(&self) -> Seq {
        self.inner.finished_end_at_open
    }

    /// Finishes a record: it is not read again, after the next mark not even after a kill, and after
    /// the next commit not even after a power cut. In any order; twice does no harm.
    pub fn acknowledge(&self, seq: Seq) {
        let shared = &self.inner.shared;
        if shared.lock().acknowledge(seq.0) {
            shared.wake.notify_one();
        }
    }

    /// How many acknowledgements a kill would make forgotten: they came after the ledger that was
    /// written last. 0 if nothing but a commit can write one, which is not worth waiting for.
    pub fn unsaved(&self) -> usize {
        let unsaved = self.inner.marker.as_ref().map_or(0, |_| self.inner.shared.lock().unsaved());
        usize::try_from(unsaved).unwrap_or(usize::MAX)
    }

    /// Has the ledger written, so that a kill makes nothing forgotten, and waits until
    /// [`Queue::unsaved`] may have become less; look again then. For one caller at a time, who waits
    /// for ever once the queue is closed.
    pub async fn mark(&self) {
        // Acknowledgements come in bursts. One mark is enough for each.
        tokio::task::yield_now().await;
        if self.inner.marker.as_ref().is_some_and(|marker| marker.write_at_once()) {
            return;
        }
        let shared = &self.inner.shared;
        if shared.lock().want_mark() {
            shared.mark.notify_one();
        }
        shared.marked.notified().await;
    }

    /// Drops a record that cannot be delivered, and says why: it is counted and told as a loss.
    pub fn discard(&self, seq: Seq, captured_at: SystemTime, reason: LossReason) {
        let shared = &self.inner.shared;
        let at = millis(captured_at);
        let mut state = shared.lock();
        if seq.0 < state.settled() && state.lose(seq.0..seq.0 + 1, reason, (at, at)) > 0 {
            drop(state);
            shared.wake.notify_one();
            shared.lost.notify_waiters();
        }
    }

    /// Drops everything that waits now, and returns how many records that were. They are counted
    /// and told as a loss; what is being sent may still arrive.
    pub fn purge(&self) -> u64 {
        let shared = &self.inner.shared;
        let (mut state, now) = shared.lock_now();
        let count = state.purge(now);
        drop(state);
        shared.wake.notify_one();
        shared.space.notify_waiters();
        shared.committed.notify_waiters();
        shared.lost.notify_waiters();
        count
    }

    /// The counts as of now.
    pub fn counters(&self) -> Counters {
        self.inner.shared.lock().counters()
    }

    /// Commits what waits, saves what is acknowledged, and ends the writer. Takes as long as the
    /// disk does.
    ///
    /// # Errors
    /// What is acknowledged could not be saved: some records will be sent again.
    pub async fn close(&self) -> io::Result<()> {
        let shared = &self.inner.shared;
        self.inner.ask_to_close();
        loop {
            let mut ended = pin!(shared.ended.notified());
            ended.as_mut().enable();
            if shared.lock().ended {
                break;
            }
            ended.await;
        }
        let writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The thread has announced its end, so this does not wait.
        match writer.map(JoinHandle::join) {
            Some(Ok(saved)) => saved,
            Some(Err(_)) => Err(io::Error::other("the queue's writer panicked")),
            None => Ok(()),
        }
    }
}

impl Inner {
    fn ask_to_close(&self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
        self.shared.mark.notify_one();
        // Everybody who waits learns it at once.
        self.shared.committed.notify_waiters();
        self.shared.lost.notify_waiters();
        self.shared.space.notify_waiters();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.ask_to_close();
    }
}
