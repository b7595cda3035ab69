//! Large packets on their way in: a thousand clients may each send one, but not all of them at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::broker::limits::Limits;
use crate::broker::packet::{Wrong, reason};

/// What any client may have sent of a packet that is not complete, in bytes.
const SMALL: usize = 256 * 1024;

/// The place that a connection has for a packet larger than that, while it comes.
#[derive(Default)]
pub struct Large(Option<OwnedSemaphorePermit>);

/// How many of them may be under way: together they take no more than may wait for all clients.
pub fn places(limits: &Limits) -> Arc<Semaphore> {
    Arc::new(Semaphore::new((limits.queued_bytes_together / limits.packet.max(1)).clamp(1, limits.clients.max(1))))
}

impl Large {
    /// So much has come of a packet, and there is more to come.
    ///
    /// # Errors
    /// It is large, and there are enough of them.
    pub fn hold(&mut self, bytes: usize, places: &Arc<Semaphore>) -> Result<(), Wrong> {
        if bytes <= SMALL {
            self.0 = None;
        } else if self.0.is_none() {
            let place = places.clone().try_acquire_owned();
            let words = "too many large packets are on their way";
            self.0 = Some(place.map_err(|_| Wrong { reason: reason::QUOTA_EXCEEDED, words })?);
        }
        Ok(())
    }
}
