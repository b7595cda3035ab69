//! Who may come in: so many controllers at all the doors together. One that is sent away is counted, and said
//! once a minute at most, however often it tries.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::warn;
use wharf_stream::Complaints;

use super::tally::Tally;

/// The most controllers that may be attached at a time; one more is sent away.
pub const MOST: usize = 16;

/// What every door asks before it lets somebody in.
#[derive(Debug)]
pub struct Reception {
    places: Arc<Semaphore>,
    tally: Arc<Tally>,
    complaints: Mutex<Complaints>,
}

impl Reception {
    /// Nobody has come yet.
    pub fn new(tally: Arc<Tally>) -> Arc<Self> {
        Arc::new(Self { places: Arc::new(Semaphore::new(MOST)), tally, complaints: Mutex::default() })
    }

    /// The place of one controller, which is free again when this is dropped.
    ///
    /// # Errors
    /// Why it cannot come in: all are taken.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, &'static str> {
        self.places.clone().try_acquire_owned().map_err(|_| "there are too many already")
    }

    /// Somebody is sent away.
    pub fn send_away(&self, who: impl Display, why: &str) {
        self.tally.refused();
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refused) = complaints.one_more(Instant::now()) {
            warn!(%who, why, refused, "a controller was sent away");
        }
    }
}
