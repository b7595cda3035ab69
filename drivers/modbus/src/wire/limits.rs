//! How long an exchange may take, and until when it may begin.

use std::time::Duration;

use tokio::time::Instant;

/// The times of one exchange. A mere duration is its timeout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long the answer may take.
    pub(crate) timeout: Duration,
    /// The moment by which the request is sent or never will be; `None` for one that is never too late.
    pub(crate) send_by: Option<Instant>,
}

impl Limits {
    /// Whether it is too late to send the request.
    pub(crate) fn are_over(self, now: Instant) -> bool {
        self.send_by.is_some_and(|send_by| send_by <= now)
    }
}

impl From<Duration> for Limits {
    fn from(timeout: Duration) -> Self {
        Self { timeout, send_by: None }
    }
}
