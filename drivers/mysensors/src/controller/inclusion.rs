//! A network that is open for new nodes, for a limited time.

use std::time::Duration;

use tokio::time::Instant;

/// Whether the network is open, and until when.
#[derive(Clone, Copy, Debug)]
pub struct Inclusion {
    lasts: Duration,
    until: Option<Instant>,
}

impl Inclusion {
    /// Closed; once opened it stays so for this long.
    pub fn new(lasts: Duration) -> Self {
        Self { lasts, until: None }
    }

    /// Opens it from now on, or closes it.
    pub fn set(&mut self, open: bool, now: Instant) {
        self.until = open.then(|| now + self.lasts);
    }

    /// Whether it is open.
    pub fn is_open(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// When it ends by itself.
    pub fn ends(&self) -> Option<Instant> {
        self.until
    }

    /// Whether its time is over since this was asked last.
    pub fn has_ended(&mut self, now: Instant) -> bool {
        self.until.take_if(|until| *until <= now).is_some()
    }
}
