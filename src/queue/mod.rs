//! The queue on disk: what was captured waits here until the broker has acknowledged it.
//!
//! It stores finished messages as opaque bodies and knows nothing of MQTT. [`Queue::append`]
//! hands a body to a writer thread, which commits everything that waits with one write and one
//! sync; [`Queue::read`] returns committed records only, so what is published is already safe.
//! [`Queue::acknowledge`] finishes a record. What is lost (the disk is full, a record is too old,
//! a sector went bad) is counted in [`Counters`] and told by [`Queue::next_losses`].
//!
//! From top to bottom: [`Queue`] is the handle; `state` is what it shares with the `writer`, whose
//! housekeeping is in `upkeep`; `reader` reads batches; `recovery` opens what an earlier run
//! left; `files` owns the directory; `segment`, `scan`, `frame`, `done` and `cursor` are the
//! formats.
//!
//! # Memory
//!
//! The depth of the queue is on disk. In memory there are about 4 KiB per segment, a window of at
//! most 256 KiB per read, and at most 1024 records or about 2 MiB that wait for a commit.
//!
//! # Format
//!
//! All numbers are little-endian; `crc` is CRC-32C (Castagnoli). A directory holds:
//!
//! - `<first>.seg`, a **segment**, preallocated; `first` is the lowest sequence number that may be
//!   in it, as 20 decimal digits. Records of a segment have consecutive sequence numbers and end
//!   below the next segment's `first`.
//! - `cursor`, the **cursor file**: two slots of 4096 bytes.
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
//! | 8–11 | version, 1 | | 8–15 | sequence number |
//! | 12–15 | 0 | | 16–23 | captured at, milliseconds since 1970 |
//! | 16–23 | `first` | | 24 | kind: 0 a record, 1 acknowledgements |
//! | | | | 25– | body, at most 1 MiB |
//!
//! A reader takes a frame for good if its crc fits and its sequence number is at least `first`
//! (a recycled file ends in stale frames with lower ones). Where no good frame starts it goes on
//! byte by byte; the log ends behind the last good frame of the last segment.
//!
//! The body of an acknowledgement frame is a **set**: a cursor (u64) below which everything is
//! finished, then start and end (exclusive) of each finished range above it, as u64 each, in
//! order. A slot of the cursor file holds magic `whcu`, crc of bytes 8–4095, a generation (u64),
//! the length of the set in bytes (u32) and the set. What is finished is the union of all sets
//! in the last segment and both slots.

mod clock;
mod counters;
mod cursor;
mod done;
mod files;
mod frame;
mod losses;
mod reader;
mod recovery;
mod scan;
mod segment;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod upkeep;
mod writer;

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

use bytes::Bytes;

pub use counters::{Counters, Dropped};
pub use losses::{Loss, LossReason};
pub use settings::{Settings, WhenFull};

use files::{Files, Limits};
use state::{Pending, Shared};
use writer::{Rules, Writer};

/// The longest body that is stored, in bytes; less if a segment is smaller than that.
pub const MAX_BODY: usize = 1 << 20;

/// A record's place in the queue: given in order, and never given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// The first place there is.
    pub const FIRST: Self = Self(0);

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
    /// When it was captured, to the millisecond.
    pub captured_at: SystemTime,
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
        let (state, go_on) = recovery::recover(&mut files);
        let shared = Arc::new(Shared::new(state));
        let rules = Rules {
            when_full: settings.when_full,
            max_age: settings.max_age,
            commit_interval: settings.commit_interval,
        };
        let writer = Writer::new(shared.clone(), files, rules, go_on);
        let thread = std::thread::Builder::new().name("queue".into()).spawn(|| writer.run()).map_err(unusable)?;
        let max_body = MAX_BODY.min(reader::largest_body(segment_size));
        Ok(Self { inner: Arc::new(Inner { shared, max_body, writer: Mutex::new(Some(thread)) }) })
    }

    /// Hands a record over for the next commit; waits while too many wait already. A body above
    /// [`MAX_BODY`] is dropped and counted.
    ///
    /// # Errors
    /// The queue is closed, and did not take the record.
    pub async fn append(&self, body: Bytes, captured_at: SystemTime) -> Result<(), Closed> {
        let shared = &self.inner.shared;
        let record = Pending { body, captured_at: clock::millis(captured_at) };
        let Some(record) = self.try_append(record)? else { return Ok(()) };
        let mut record = record;
        loop {
            let mut room = pin!(shared.space.notified());
            room.as_mut().enable();
            match self.try_append(record)? {
                None => return Ok(()),
                Some(back) => record = back,
            }
            room.await;
        }
    }

    /// Gives the record back if there is no room for it now.
    fn try_append(&self, record: Pending) -> Result<Option<Pending>, Closed> {
        let shared = &self.inner.shared;
        let mut state = shared.lock();
        if state.closing {
            return Err(Closed);
        }
        if record.body.len() > self.inner.max_body {
            state.refuse(LossReason::TooLarge, record.captured_at);
            drop(state);
            shared.lost.notify_waiters();
            return Ok(None);
        }
        if !state.has_room() {
            return Ok(Some(record));
        }
        let wake = state.take_in(record);
        drop(state);
        if wake {
            shared.wake.notify_one();
        }
        Ok(None)
    }

    /// Returns the next committed, unacknowledged records at or above `from`: at least one, at
    /// most `max_records`, and after the first no more than `max_bytes` of bodies. Waits until
    /// there is one. A batch may be shorter than the limits although more records wait.
    ///
    /// # Errors
    /// The queue is closed.
    pub async fn read(&self, from: Seq, max_records: usize, max_bytes: usize) -> Result<Vec<Record>, Closed> {
        let shared = &self.inner.shared;
        loop {
            let mut committed = pin!(shared.committed.notified());
            committed.as_mut().enable();
            let job = {
                let state = shared.lock();
                if state.closing {
                    return Err(Closed);
                }
                state.locate(from.0, max_records, max_bytes)
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
        Seq(self.inner.shared.lock().done.cursor())
    }

    /// Where the next committed record will be: what is captured from now on lies at or above it.
    pub fn end(&self) -> Seq {
        Seq(self.inner.shared.lock().next)
    }

    /// Finishes a record: it is not read again, and after the next commit not even after a crash.
    /// In any order; twice does no harm.
    pub fn acknowledge(&self, seq: Seq) {
        let shared = &self.inner.shared;
        if shared.lock().acknowledge(seq.0) {
            shared.wake.notify_one();
        }
    }

    /// Drops a record that cannot be delivered, and says why: it is counted and told as a loss.
    pub fn discard(&self, seq: Seq, captured_at: SystemTime, reason: LossReason) {
        let shared = &self.inner.shared;
        let at = clock::millis(captured_at);
        if shared.lock().drop_stored(seq.0..seq.0.saturating_add(1), reason, (at, at)) > 0 {
            shared.wake.notify_one();
            shared.lost.notify_waiters();
        }
    }

    /// The counts as of now.
    pub fn counters(&self) -> Counters {
        self.inner.shared.lock().counters()
    }

    /// What was dropped since this was last asked; waits until something is. Losses of one reason
    /// that follow each other come as one. Empty once the queue is closed and all is told.
    pub async fn next_losses(&self) -> Vec<Loss> {
        let shared = &self.inner.shared;
        loop {
            let mut lost = pin!(shared.lost.notified());
            lost.as_mut().enable();
            {
                let mut state = shared.lock();
                let losses = state.losses.take();
                if !losses.is_empty() || state.ended {
                    return losses;
                }
            }
            lost.await;
        }
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
        // Readers and those who wait for room learn it at once.
        self.shared.committed.notify_waiters();
        self.shared.space.notify_waiters();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.ask_to_close();
    }
}
