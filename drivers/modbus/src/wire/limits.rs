//! How long an exchange may take, and until when it may begin.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// The times of one exchange. A mere duration is its timeout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long the answer may take.
    pub(crate) timeout: Duration,
    /// The moment by which the request is sent or never will be; `None` for one that is never too late.
    pub(crate) send_by: Option<Instant>,
    /// Whether everyone on the bus is meant. Nobody answers then, and silence is as it should be.
    pub(crate) broadcast: bool,
}

impl Limits {
    /// Whether it is too late to send the request.
    pub(crate) fn are_over(self, now: Instant) -> bool {
        self.send_by.is_some_and(|send_by| send_by <= now)
    }

    /// What comes of the preparations, or `None` when the time to send the request was over first.
    pub(crate) async fn in_time<T>(self, preparations: impl Future<Output = T>) -> Option<T> {
        match self.send_by {
            Some(send_by) => timeout_at(send_by, preparations).await.ok(),
            None => Some(preparations.await),
        }
    }
}

impl From<Duration> for Limits {
    fn from(timeout: Duration) -> Self {
        Self { timeout, send_by: None, broadcast: false }
    }
}
