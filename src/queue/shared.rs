//! What the handles, the writer and the marker share: the state, and the bells by which they wake each
//! other.
//!
//! One lock guards all of the state, so the counts agree at every moment. It is held for a few hundred
//! nanoseconds at a time and never while the disk is at work.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::state::State;
use crate::clock::{BootId, Clock};

/// The state and the bells that go with it.
pub struct Shared {
    state: Mutex<State>,
    /// The clock that stamps records.
    pub clock: Clock,
    /// Which boot this is.
    pub boot: BootId,
    /// Rung for the writer: something is due.
    pub wake: Condvar,
    /// Rung when the inbox was emptied.
    pub space: Notify,
    /// Rung for the marker: a mark is wanted.
    pub mark: Condvar,
    /// Rung for the one who waits for it when a ledger has been written.
    pub marked: Notify,
    /// Rung when records were committed or given up, and when the queue closes.
    pub committed: Notify,
    /// Rung when a loss was noted, and when the queue closes.
    pub lost: Notify,
    /// Rung when the ledger was saved.
    pub saved: Notify,
    /// Rung when the writer has ended.
    pub ended: Notify,
    /// How many of the next syncs of the log pretend to fail.
    #[cfg(test)]
    pub failing_syncs: std::sync::atomic::AtomicU32,
    /// Whether the cursor file pretends to fail.
    #[cfg(test)]
    pub failing_cursor: std::sync::atomic::AtomicBool,
    /// Whether syncs of the log do not come to their end.
    #[cfg(test)]
    pub stuck_sync: std::sync::atomic::AtomicBool,
}

impl Shared {
    /// Shared state as recovery found it.
    pub fn new(state: State, clock: Clock) -> Self {
        Self {
            state: Mutex::new(state),
            boot: clock.boot_id(),
            clock,
            wake: Condvar::new(),
            mark: Condvar::new(),
            marked: Notify::new(),
            space: Notify::new(),
            committed: Notify::new(),
            lost: Notify::new(),
            saved: Notify::new(),
            ended: Notify::new(),
            #[cfg(test)]
            failing_syncs: std::sync::atomic::AtomicU32::new(0),
            #[cfg(test)]
            failing_cursor: std::sync::atomic::AtomicBool::new(false),
            #[cfg(test)]
            stuck_sync: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// The state. A panic under the lock is a bug; going on with what is there beats stopping.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, and what the wall clock shows; a new era begins if the clock was set meanwhile.
    pub fn lock_now(&self) -> (MutexGuard<'_, State>, u64) {
        let wall = self.clock.wall();
        let mut state = self.lock();
        if state.ledger.eras.is_due(wall) {
            state.look_at_clock(self.boot, &self.clock);
        }
        (state, wall)
    }

    /// Fails if a test has asked for it.
    #[cfg(test)]
    pub fn fail_cursor_if_told(&self) -> std::io::Result<()> {
        let told = self.failing_cursor.load(std::sync::atomic::Ordering::Relaxed);
        if told { Err(std::io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    /// Fails as often as a test has asked for.
    #[cfg(test)]
    pub fn fail_if_told(&self) -> std::io::Result<()> {
        use std::sync::atomic::Ordering::Relaxed;
        while self.stuck_sync.load(Relaxed) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let told = self.failing_syncs.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        told.map_or(Ok(()), |_| Err(std::io::Error::from_raw_os_error(5)))
    }
}
