//! What costs many messages is done once in a while, however often somebody asks for it.
//!
//! Asked for again too soon, it is done once more when the while is over: who asked last is answered too,
//! and a controller that asks in a loop cannot fill the queues upstream.

use std::time::Duration;

use tokio::time::Instant;

/// How long after one time the next is.
pub const PAUSE: Duration = Duration::from_secs(10);

/// One such thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paced {
    next: Option<Instant>,
    again: bool,
}

impl Paced {
    /// Somebody asks for it. Whether it is to be done now; if not, it will be [due](Self::due).
    pub fn ask(&mut self, now: Instant) -> bool {
        self.again = self.next.is_some_and(|next| now < next);
        if !self.again {
            self.done(now);
        }
        !self.again
    }

    /// It is done now, whoever asked.
    pub fn done(&mut self, now: Instant) {
        *self = Self { next: Some(now + PAUSE), again: false };
    }

    /// When it is to be done once more, if somebody asked too soon.
    pub fn until(&self) -> Option<Instant> {
        self.next.filter(|_| self.again)
    }

    /// Whether it is to be done once more, and now.
    pub fn due(&mut self, now: Instant) -> bool {
        let is_due = self.until().is_some_and(|next| next <= now);
        if is_due {
            self.done(now);
        }
        is_due
    }

    /// Whoever asked too soon does not want it any more.
    pub fn forget(&mut self) {
        self.again = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_ten_times_a_second_is_done_at_once_and_then_once_in_ten_seconds() {
        let (start, mut paced) = (Instant::now(), Paced::default());
        let mut done = Vec::new();
        for tenth in 0..=350 {
            let now = start + Duration::from_millis(tenth * 100);
            // Nobody asks after half a minute.
            if paced.due(now) || (tenth < 250 && paced.ask(now)) {
                done.push(tenth / 10);
            }
        }
        assert_eq!(done, [0, 10, 20, 30], "the last time for those who asked after the one before");
        assert_eq!(paced.until(), None);
    }
}
