//! The mark: the ledger as it is between two commits, written to a file of its own and not synced.
//!
//! A kill is not a power cut: what was written survives it. Without a mark, everything acknowledged
//! since the last commit would be sent again after one. So an uplink holds still while as many
//! records as its window has room for are under way or acknowledged in memory alone, and asks for a
//! mark ([`Queue::mark`](super::Queue::mark)). While nothing is being committed that is a copy to the
//! system's memory, and who asks makes it: to wake another thread for it takes ten times as long, and
//! a small window asks after every few messages. Whenever it may have to wait for a disk, a thread of
//! its own writes it: those who acknowledge must not.
//!
//! A mark is a whole ledger with a generation like any other, so recovery needs no rule for it: the
//! newest ledger counts. One that a power cut has swallowed is no loss, the log has an older one. One
//! that survived it, though what was captured meanwhile did not, calls nothing stored that was not
//! synced.
//!
//! It costs a disk next to nothing: the system brings the same few pages there every half minute or
//! so, however often they were written.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use super::cursor::CursorFile;
use super::shared::Shared;
use super::state::Marking;
use crate::seldom::Seldom;

/// A write that took longer than this has waited for the disk.
const SWIFT: Duration = Duration::from_millis(5);

/// For how long the thread then has the marks to itself.
const REST: Duration = Duration::from_secs(10);

/// Writes marks.
pub struct Marker {
    shared: Arc<Shared>,
    /// Where the file is.
    dir: PathBuf,
    pen: Mutex<Pen>,
}

/// What it writes with.
struct Pen {
    file: CursorFile,
    /// The encoded ledger.
    ledger: Vec<u8>,
    failures: Seldom,
    /// Since a write had to wait: when it may be expected not to.
    swift_from: Option<Instant>,
}

impl Marker {
    /// A marker that writes to `file`, which is in `dir`.
    pub fn new(shared: Arc<Shared>, file: CursorFile, dir: PathBuf) -> Self {
        let pen = Pen { file, ledger: Vec::new(), failures: Seldom::default(), swift_from: None };
        Self { shared, dir, pen: Mutex::new(pen) }
    }

    /// The thread: writes the marks that are wanted until the queue is closed.
    pub fn run(&self) {
        while self.wait() {
            self.write(&mut self.pen.lock().unwrap_or_else(PoisonError::into_inner));
            self.shared.lock().marking = Marking::Idle;
            self.shared.marked.notify_one();
        }
        // The files are let go of after this thread: nobody may be at a mark then.
        drop(self.pen.lock());
    }

    /// Writes the mark here and now, if it need not wait for the disk as far as can be known. Returns
    /// whether it has.
    pub fn write_at_once(&self) -> bool {
        let began = Instant::now();
        let Ok(mut pen) = self.pen.try_lock() else { return false };
        let is_busy = {
            let state = self.shared.lock();
            state.closing || state.is_committing
        };
        if is_busy || pen.swift_from.is_some_and(|at| began < at) {
            return false;
        }
        self.write(&mut pen);
        pen.swift_from = rest(began, Instant::now());
        true
    }

    /// Waits until a mark is wanted. `false` when the queue is closing: its last commit knows it all.
    fn wait(&self) -> bool {
        let mut state = self.shared.lock();
        loop {
            if state.closing {
                return false;
            }
            if state.marking == Marking::Wanted {
                state.marking = Marking::Writing;
                return true;
            }
            state = self.shared.mark.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes the ledger as it is now.
    fn write(&self, pen: &mut Pen) {
        pen.ledger.clear();
        let snapshot = self.shared.lock().encode(&mut pen.ledger);
        let written = pen.file.write(&pen.ledger);
        if let Err(error) = &written
            && let Some(line) = pen.failures.note(1)
        {
            let (dir, times) = (self.dir.display(), line.count);
            warn!(%dir, %error, times, "cannot mark what is acknowledged: after a kill more of it is sent again");
        }
        let mut state = self.shared.lock();
        state.counters.marks += u64::from(written.is_ok());
        // Sending something twice is better than sending nothing, so a failure holds nobody up.
        state.keep(snapshot);
    }
}

/// After a write from `began` to `ended`: until when the thread has the marks to itself.
fn rest(began: Instant, ended: Instant) -> Option<Instant> {
    (ended - began > SWIFT).then(|| ended + REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_waited_leaves_the_next_ones_to_the_thread() {
        let began = Instant::now();
        assert_eq!(rest(began, began + SWIFT), None);
        let ended = began + 2 * SWIFT;
        assert_eq!(rest(began, ended), Some(ended + REST));
    }
}
