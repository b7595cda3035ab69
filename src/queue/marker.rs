//! The mark: the ledger as it is between two commits, written to a file of its own and not synced.
//!
//! A kill is not a power cut: what was written survives it. Without a mark, everything acknowledged
//! since the last commit would be sent again after one. So an uplink holds still while as many
//! records as its window has room for are under way or acknowledged in memory alone, and asks for a
//! mark ([`Queue::mark`](super::Queue::mark)). It is written by a thread of its own: the writer may
//! be waiting for a sync, and those who acknowledge must not wait for a disk.
//!
//! A mark is a whole ledger with a generation like any other, so recovery needs no rule for it: the
//! newest ledger counts. One that a power cut has swallowed is no loss, the log has an older one. One
//! that survived it, though what was captured meanwhile did not, calls nothing stored that was not
//! synced.
//!
//! It costs a disk next to nothing: the system brings the same few pages there every half minute or
//! so, however often they were written.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use tracing::warn;

use super::cursor::CursorFile;
use super::state::{Marking, Shared};
use crate::seldom::Seldom;

/// The thread that writes marks.
pub struct Marker {
    shared: Arc<Shared>,
    file: CursorFile,
    /// Where it is.
    dir: PathBuf,
    /// The encoded ledger.
    ledger: Vec<u8>,
    failures: Seldom,
}

impl Marker {
    /// A marker that writes to `file`, which is in `dir`.
    pub fn new(shared: Arc<Shared>, file: CursorFile, dir: PathBuf) -> Self {
        Self { shared, file, dir, ledger: Vec::new(), failures: Seldom::default() }
    }

    /// Runs until the queue is closed.
    pub fn run(mut self) {
        while self.wait() {
            self.mark();
        }
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
    fn mark(&mut self) {
        self.ledger.clear();
        let snapshot = self.shared.lock().encode(&mut self.ledger);
        let written = self.file.write(&self.ledger);
        if let Err(error) = &written
            && let Some(line) = self.failures.note(1)
        {
            let (dir, times) = (self.dir.display(), line.count);
            warn!(%dir, %error, times, "cannot mark what is acknowledged: after a kill more of it is sent again");
        }
        let mut state = self.shared.lock();
        state.marking = Marking::Idle;
        state.counters.marks += u64::from(written.is_ok());
        // Sending something twice is better than sending nothing, so a failure holds nobody up.
        state.keep(snapshot);
        drop(state);
        self.shared.marked.notify_one();
    }
}
