//! What a driver asks on its link, and what comes of it. Counted since the gateway started.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a request ended. Each ends in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, by a value or by a refusal.
    Answered,
    /// It was sent to all devices, and so never answered.
    Untold,
    /// No answer came in time, or a gateway said that its device was silent.
    Silent,
    /// The connection broke, or what came could not be believed.
    Damaged,
    /// It was not sent: it was too late for that, or there was no way.
    Unsent,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Answered, Self::Untold, Self::Silent, Self::Damaged, Self::Unsent];

    /// As it stands in what a machine reads.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Untold => "untold",
            Self::Silent => "silent",
            Self::Damaged => "damaged",
            Self::Unsent => "unsent",
        }
    }
}

/// The counts of one link or one device, shared by the driver and the gateway. A driver that only listens leaves
/// them at zero.
#[derive(Clone, Debug, Default)]
pub struct Traffic(Arc<[AtomicU64; Outcome::ALL.len()]>);

impl Traffic {
    /// One more request has ended.
    pub fn count(&self, outcome: Outcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many ended so.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize].load(Ordering::Relaxed)
    }

    /// How many there were.
    pub fn requests(&self) -> u64 {
        Outcome::ALL.into_iter().map(|outcome| self.of(outcome)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_a_count_of_its_own_and_together_they_are_the_requests() {
        let traffic = Traffic::default();
        for (times, outcome) in Outcome::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| traffic.count(outcome));
        }
        assert_eq!(Outcome::ALL.map(|outcome| traffic.of(outcome)), [0, 1, 2, 3, 4]);
        assert_eq!(traffic.requests(), 10);
    }
}
