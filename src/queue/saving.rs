//! How the writer brings the ledger to disk, and which segments it lets go of afterwards.
//!
//! The ledger goes into the log, in front of the records it is committed with; when there are none,
//! or no room for it there, it goes to the cursor file.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tracing::warn;

use super::segment::{Entry, Segment};
use super::upkeep::TICK;
use super::writer::Writer;

impl Writer {
    /// Whether the ledger on disk is behind, and which one that is.
    pub(super) fn ledger_state(&self) -> (bool, u64) {
        let state = self.shared.lock();
        (state.changed_since.is_some(), state.saved)
    }

    /// Encodes the ledger as it is now, and notes what may be freed once that is on disk.
    pub(super) fn encode_ledger(&mut self) {
        let tail = self.tail.as_ref().map(|tail| tail.segment.first);
        self.ledger.clear();
        let mut state = self.shared.lock();
        state.changed_since = None;
        state.encoded = state.encode(&mut self.ledger);
        self.freeable = state.finished_segments(tail);
    }

    /// What was encoded last is not on disk after all.
    pub(super) fn ledger_not_saved(&mut self) {
        self.freeable.clear();
        self.shared.lock().changed();
    }

    /// Brings the ledger to the cursor file. A failure is made up for by a later commit.
    pub(super) fn save(&mut self) -> bool {
        self.encode_ledger();
        self.write_cursor_or_warn()
    }

    /// Brings what was encoded last to the cursor file; says whether that worked.
    pub(super) fn write_cursor_or_warn(&mut self) -> bool {
        let written = self.write_cursor();
        if let Err(error) = &written
            && let Some(line) = self.unsaved.note(1)
        {
            let (dir, times) = (self.files.dir().display(), line.count);
            warn!(%dir, %error, times, "cannot save what is acknowledged");
        }
        written.is_ok()
    }

    /// Brings what was encoded last to the cursor file.
    pub(super) fn write_cursor(&mut self) -> io::Result<()> {
        let written = self.files.save_cursor(&self.ledger);
        #[cfg(test)]
        let written = self.shared.fail_cursor_if_told().and(written);
        let mut state = self.shared.lock();
        match written {
            Ok((offset, bytes)) => {
                state.encoded_is_saved();
                state.counters.wrote(offset, bytes);
                state.counters.syncs += 1;
                drop(state);
                self.shared.saved.notify_waiters();
                self.shared.marked.notify_one();
                Ok(())
            }
            Err(error) => {
                state.counters.failed_syncs += 1;
                // Tried again a tick from now and not at once: a disk that refuses goes on refusing.
                state.changed_since.get_or_insert(Instant::now() + TICK);
                self.freeable.clear();
                Err(error)
            }
        }
    }

    /// Frees segments whose records are all finished. Returns whether there were any.
    pub(super) fn free(&mut self) -> bool {
        if self.freeable.is_empty() {
            return false;
        }
        // Both slots of the cursor file have to know, so that damage to one does not make it look
        // as if the records had been lost with the file.
        if !(self.save() && self.save()) {
            return false;
        }
        for segment in std::mem::take(&mut self.freeable) {
            self.forget(&segment);
        }
        true
    }

    /// Takes a segment out of the catalogue and lets go of its file.
    fn forget(&mut self, segment: &Arc<Segment>) {
        let mut state = self.shared.lock();
        // By identity: an empty segment's name goes to the one that replaces it.
        let place = state.segments.iter().position(|entry| Arc::ptr_eq(&entry.segment, segment));
        let Some(entry) = place.and_then(|at| state.segments.remove(at)) else { return };
        drop(state);
        self.let_go(&entry);
    }

    /// Lets go of a file that is not in the catalogue any more.
    pub(super) fn let_go(&mut self, entry: &Entry) {
        if entry.suspect {
            self.files.unlink(&entry.segment);
        } else {
            self.files.release(&entry.segment);
        }
    }
}
