//! What the hub's side and the writer share, and the side of it the hub sees.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::saved::{Change, Journal, Saved};
use super::image::Image;
use super::log::Written;
use crate::clock::Clock;

/// Locked for as long as it takes to follow one change, or to take out what is to be written: no call on the
/// disk is ever made under the lock.
pub struct Shared {
    state: Mutex<State>,
    /// The writer has something to do.
    pub wake: Condvar,
    /// Something has been written, or never will be.
    pub done: Condvar,
    pub clock: Clock,
    pending: usize,
    #[cfg(test)]
    pub faults: super::tests::Faults,
}

/// What is locked.
pub struct State {
    /// What would be there after a restart.
    pub image: Image,
    /// Since when something waits to be written.
    pub waiting_since: Option<Instant>,
    /// Since when something waits that can wait for longer.
    pub late_since: Option<Instant>,
    /// Somebody waits for what is to be written.
    pub in_a_hurry: bool,
    /// The store is to end.
    pub closing: bool,
    /// The writer has ended.
    pub ended: bool,
    /// How many changes there were, and how many of them are safe.
    pub noted: u64,
    /// See there.
    pub safe: u64,
    /// The hub may have dropped some of what it was given at the start.
    pub wants_everything: bool,
    /// Why the disk has not taken something the last time it has not, and when that was.
    pub last_error: Option<(Instant, String)>,
    pub counters: Counters,
}

/// What the store says about itself, since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Changes that were noted.
    pub noted: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// The same in whole pages of 4096 bytes, which is what a card sees of it. What the file system writes on
    /// top for its journal is not known here.
    pub device_bytes: u64,
    /// Times something was written and made safe.
    pub commits: u64,
    /// How long that took, together.
    pub commit_time: Duration,
    /// How long the longest of them took.
    pub longest_commit: Duration,
    /// Files that were begun.
    pub files: u64,
    /// Times writing failed.
    pub failures: u64,
    /// Times changes were not followed any more because too many waited for the disk, or because it failed.
    pub fallen_behind: u64,
    /// Whether that is so now: what changes is not being made safe.
    pub is_behind: bool,
    /// Damaged records that were skipped when the store was opened. What they said is lost.
    pub damaged: u64,
    /// Files that were set aside when the store was opened, because nothing in them could be read.
    pub set_aside: u64,
    /// Changes that were too large to be written, and are not.
    pub too_large: u64,
    /// What is remembered of changes that wait for the disk, in bytes.
    pub pending_bytes: u64,
    /// For how long the first of them has been waiting.
    pub pending_for: Duration,
    /// What the files take on disk, in bytes, with room for what is to come.
    pub disk_bytes: u64,
}

impl Counters {
    /// Counts what was written.
    pub(super) fn wrote(&mut self, written: Written) {
        self.written_bytes += written.bytes;
        self.device_bytes += written.device_bytes;
        self.too_large += written.too_large;
    }

    /// Counts that it is safe.
    pub(super) fn committed(&mut self, took: Duration) {
        self.commits += 1;
        self.commit_time += took;
        self.longest_commit = self.longest_commit.max(took);
    }
}

impl Shared {
    pub fn new(state: State, clock: Clock, pending: usize) -> Self {
        Self {
            state: Mutex::new(state),
            wake: Condvar::new(),
            done: Condvar::new(),
            clock,
            pending,
            #[cfg(test)]
            faults: super::tests::Faults::default(),
        }
    }

    /// Panics under this lock are defects; going on with what is there beats stopping.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the writer look at what has just changed.
    fn changed(&self, mut state: MutexGuard<'_, State>) {
        state.noted += 1;
        state.counters.noted += 1;
        if state.image.is_following() && state.image.weight() > self.pending {
            state.fall_behind();
        }
        if state.note_what_waits() {
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Waits until what was noted before is safe, or the time is over. Whether it is.
    pub fn settle(&self, patience: Duration) -> bool {
        let mut state = self.lock();
        let wanted = state.noted;
        if state.safe < wanted {
            state.in_a_hurry = true;
            state.waiting_since.get_or_insert_with(Instant::now);
        }
        self.wake.notify_one();
        let pending = |state: &mut State| state.safe < wanted && !state.ended;
        let waited = self.done.wait_timeout_while(state, patience, pending);
        waited.unwrap_or_else(PoisonError::into_inner).0.safe >= wanted
    }
}

impl State {
    /// Notes since when something waits. Whether the writer does not know yet.
    pub fn note_what_waits(&mut self) -> bool {
        let waits = self.image.has_news() || !self.image.is_following();
        let news = waits && self.waiting_since.is_none();
        if news {
            self.waiting_since = Some(Instant::now());
        }
        let late = self.image.has_late_news() && self.late_since.is_none();
        if late {
            self.late_since = Some(Instant::now());
        }
        news || late
    }

    /// The file being written is not good for anything any more.
    pub fn fall_behind(&mut self) {
        self.image.lose_track();
        self.late_since = None;
        self.waiting_since.get_or_insert_with(Instant::now);
        self.counters.fallen_behind += 1;
        self.counters.is_behind = true;
    }
}

/// The side the hub sees.
pub struct Notes(pub Arc<Shared>);

impl Journal for Notes {
    fn note(&mut self, change: Change<'_>) {
        // Only sessions carry a time.
        let now = match change {
            Change::Session(_) => self.0.clock.stamp(),
            _ => crate::clock::Stamp { wall: 0, boot: 0 },
        };
        let mut state = self.0.lock();
        state.image.note(change, now);
        self.0.changed(state);
    }

    fn wants_everything(&self) -> bool {
        self.0.lock().wants_everything
    }

    fn start_over(&mut self, everything: Saved) {
        let now = self.0.clock.stamp();
        let mut state = self.0.lock();
        state.wants_everything = false;
        state.image.go_over_to(&everything, now);
        self.0.changed(state);
    }
}
