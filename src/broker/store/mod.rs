//! Makes safe on disk what is to survive the broker: retained messages, and sessions with their subscriptions
//! and with what waits for them.
//!
//! The hub [notes](super::saved::Journal::note) each change. [`Store`] follows it in memory and writes what has
//! changed about once a second, with one sync: that second is what a power cut costs. A hanging or a full disk
//! never holds up the hub. As long as the disk takes nothing, up to 8 MiB are remembered of what it lacks;
//! beyond that, and after any failure, it gets everything anew as soon as it does take it.
//!
//! From top to bottom: [`Store`] is the handle; `shared` is what the hub's side and the `writer`, a thread,
//! have in common; `image` is what would be there after a restart, made of `tracked` values; `log` writes one
//! file, of `entry` after `entry`, made of `bytes`; `recovery` reads what an earlier run left. Frames, and
//! how to find them again behind damage, are those of the [queue](crate::queue).
//!
//! # What is written, and what is not
//!
//! What changed several times between two commits is written once, as it is then; what came and went between
//! them is not written at all. So a client that takes its messages at once costs the disk nothing, and
//! ten values a second on a retained topic cost as much as one. Messages the gateway itself retains are written
//! once a minute: it says them again after a restart. A message for several clients is written once in a commit.
//!
//! # Memory
//!
//! Messages are shared with the hub. Beside them the image takes about 100 bytes for each message that waits,
//! about 150 for each that is retained and what its topic takes. A commit is gathered before it is written: about
//! 100 bytes for each change, and 256 KiB.
//!
//! # Format
//!
//! A directory holds:
//!
//! - `<number>.log`, a **file** of the log, its number as 20 decimal digits. The one with the highest number
//!   counts. It begins with everything there was when it was made, and what has changed since follows.
//!   When it has grown to 4 MiB, and to twice what it began with, the next one is made, as `next`, synced, named,
//!   and those before it are removed. It grows by preallocated pieces of 1 MiB.
//! - `lock`, locked with `flock` by the process that has the store open.
//! - `*.corrupt`, files that could not be read, for somebody to look at.
//!
//! A file begins with a header of 24 bytes as the queue's segments do: magic `whbs`, crc of bytes 8–23, version
//! (1), four zeros, its number. Frames follow, as in the queue, of the kind "record"; `captured at` is the wall
//! clock when the frame was written. They are numbered one by one, from 2^32 times the file's number and a random
//! number below 2^31 on: a gap is damage, and is counted. The body is at most 4 MiB: a byte that says what it is, and then
//!
//! | | what | fields |
//! |---|---|---|
//! | 0 | the end of a commit | |
//! | 1 | the clock of the frames from here on | boot id (16 bytes), wall clock less time since boot in ms (i64) |
//! | 2 | retained | publication |
//! | 3 | retained no more | topic |
//! | 4 | a session | client, flags (1 has a user, 2 is away), expiry in s, user, away for how many ms |
//! | 5 | a session is gone, and all of it | client |
//! | 6 | subscribed | client, filter, flags (QoS in bits 0–1, retained handling in 2–3, 16 no local, 32 retain as published, 64 has a number), number |
//! | 7 | subscribed no more | client, filter |
//! | 8 | waits | client, number, flags (QoS in bits 0–1, 4 retain), stage, how many subscription numbers, those, publication |
//! | 9 | how far one is that waits | client, number, stage |
//! | 10 | wait no more | client, first number, how many more behind it |
//! | 11 | a packet id of the client's own (QoS 2) | client, id, 1 taken or 0 released |
//!
//! Numbers take seven bits of each byte, the lowest first; the eighth says that more follow. Texts and bytes
//! stand behind their length. A stage is 0 waiting, 1 sent, 2 released, and for the last two the packet id. A
//! publication is the distance, in frames, back to the frame of the same commit that has it; or 0, flags (QoS in
//! bits 0–1, 4 retain, 8 has properties, 16 expires, origin in bits 5–6: 0 the gateway, 1 a client, 2 a will,
//! 128 has a user), topic, payload, client, user, the ms it is still worth delivering, properties; these are
//! flags (1 says whether it is text, 2 is text, 4 content type, 8 response topic, 16 correlation), what they say
//! is there, how many pairs, those.
//!
//! # After a crash
//!
//! What stands behind the last end of a commit was caught on its way, and counts as if it had never been: what
//! is found is what there was at one moment, the last commit. Where no good frame starts the reader goes on byte by
//! byte, so damage costs the frames it hit, and they are counted. After either, a new file is made of what is
//! left. A file in which nothing can be read is set aside, and the broker starts with the one before, if that is
//! still there, else empty; both are told as errors. A file of a newer version is refused.
//!
//! # Time
//!
//! Of what expires the time left is written. How long it has lain on disk is known from the time since boot within
//! one boot, from the wall clock beyond that. If that was not set, or has been turned back, no time has passed as far
//! as anybody can tell: nothing lives longer than the time it had left when it was written, counted from the
//! start, and nothing dies because a clock shows nonsense. So it is with how long a client has been away.

mod bytes;
mod entry;
mod image;
mod log;
mod recovery;
mod settings;
mod shared;
#[cfg(test)]
mod tests;
mod tracked;
mod writer;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::queue::folder;
use crate::queue::header::Format;

pub use settings::Settings;
pub use shared::Counters;
// What is saved is made of these.
pub use super::packet::{RetainedWanted, Wanted};
pub use super::publication::{Origin, Properties, Publication, Qos};
pub use super::saved::{Change, Journal, Saved, SavedSession, SessionFacts, Stage, Waiting};

use shared::{Notes, Shared, State};
use writer::Writer;

/// The files of the log.
const FORMAT: Format = Format { magic: *b"whbs", version: 1 };

/// The longest body of a frame, in bytes.
const MAX_BODY: usize = 4 << 20;

/// What keeps it safe. When dropped it writes what is left, but only [`Store::close`] waits for that.
pub struct Store {
    shared: Arc<Shared>,
    patience: Duration,
    writer: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

impl Store {
    /// Opens the store in a directory, making it if there is none, and reads what an earlier run left there.
    /// What changes is written within `commit`, and the time the disk takes.
    ///
    /// # Errors
    /// The directory cannot be used, another process is using it, or it was written by a newer version.
    pub fn open(dir: &Path, commit: Duration) -> io::Result<(Saved, Self)> {
        Self::open_with(dir, Settings { commit, ..Settings::default() })
    }

    /// The same, with settings of the caller's choice.
    ///
    /// # Errors
    /// See [`Store::open`].
    pub fn open_with(dir: &Path, settings: Settings) -> io::Result<(Saved, Self)> {
        let lock = folder::hold(dir)?;
        let in_use = || format!("{} is in use by another process", dir.display());
        let lock = lock.ok_or_else(|| io::Error::new(io::ErrorKind::ResourceBusy, in_use()))?;
        let found = recovery::recover(dir, &settings.clock)?;
        let saved = found.image.saved(settings.clock.stamp());
        let counters = Counters { damaged: found.damaged, set_aside: found.set_aside, ..Counters::default() };
        let mut state = State {
            // The hub may not want all of it: its limits may be others now.
            wants_everything: !found.image.is_empty(),
            image: found.image,
            waiting_since: None,
            late_since: None,
            in_a_hurry: false,
            closing: false,
            ended: false,
            noted: 0,
            safe: 0,
            last_error: None,
            counters,
        };
        // What has expired is to be removed, and damage mended, before anything changes.
        state.note_what_waits();
        let shared = Arc::new(Shared::new(state, settings.clock.clone(), settings.pending));
        let patience = settings.patience;
        let writer = Writer::new(shared.clone(), dir.into(), lock, settings, found.log, found.highest)?;
        let thread = std::thread::Builder::new().name("broker-store".into()).spawn(|| writer.run())?;
        Ok((saved, Self { shared, patience, writer: Mutex::new(Some(thread)) }))
    }

    /// Where changes are noted.
    pub fn journal(&self) -> Box<dyn Journal> {
        Box::new(Notes(self.shared.clone()))
    }

    /// What the store says about itself.
    pub fn counters(&self) -> Counters {
        let state = self.shared.lock();
        let pending_since = state.waiting_since.into_iter().chain(state.late_since).min();
        let pending_for = pending_since.map_or(Duration::ZERO, |since| since.elapsed());
        Counters { pending_bytes: state.image.weight() as u64, pending_for, ..state.counters }
    }

    /// When the disk last did not take something, and why.
    pub fn last_error(&self) -> Option<(Instant, String)> {
        self.shared.lock().last_error.clone()
    }

    /// Waits until everything noted so far is safe on disk, or the patience is over. Whether it is.
    pub fn settle(&self, patience: Duration) -> bool {
        self.shared.settle(patience)
    }

    /// Writes what is left, and ends. Waits no longer than ten seconds for the disk.
    ///
    /// # Errors
    /// What has changed last is not safe.
    pub fn close(&self) -> io::Result<()> {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
        let waited = self.shared.done.wait_timeout_while(self.shared.lock(), self.patience, |state| !state.ended);
        let ended = waited.unwrap_or_else(PoisonError::into_inner).0.ended;
        if !ended {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the disk takes nothing"));
        }
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        match writer.map(JoinHandle::join) {
            Some(Ok(written)) => written,
            Some(Err(_)) => Err(io::Error::other("the thread that writes has panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
    }
}
