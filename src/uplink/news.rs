//! What an uplink tells about its connections, for those who look at it from outside.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// The longest error that is kept, in characters.
const LONGEST_ERROR: usize = 500;

/// The latest about an uplink's connections.
#[derive(Debug, Default)]
pub struct News {
    in_flight: AtomicU64,
    last_error: Mutex<Option<(Instant, String)>>,
}

impl News {
    /// A connection failed, or could not be made.
    pub fn failed(&self, error: &dyn std::fmt::Display) {
        self.noted(error);
        self.carries(0);
    }

    /// Something is wrong, although the connection stands.
    pub fn noted(&self, error: &dyn std::fmt::Display) {
        let words = error.to_string().chars().take(LONGEST_ERROR).collect();
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), words));
    }

    /// So many publications are in flight.
    pub fn carries(&self, in_flight: usize) {
        self.in_flight.store(in_flight as u64, Ordering::Relaxed);
    }

    /// What went wrong last, and when.
    pub fn last_error(&self) -> Option<(Instant, String)> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many publications are in flight.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }
}
