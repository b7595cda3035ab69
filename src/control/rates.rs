//! Messages a second, over the last minute.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How far back rates look.
const WINDOW: Duration = Duration::from_secs(60);

/// What a queue had counted at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// Messages captured by then.
    pub captured: u64,
    /// Messages acknowledged by then.
    pub acknowledged: u64,
}

/// How fast messages come and go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Captured per second.
    pub into: f64,
    /// Acknowledged per second.
    pub out: f64,
    /// The time this was counted over: a minute, or less after a start.
    pub over: Duration,
}

/// The samples of the last minute.
#[derive(Debug, Default)]
pub struct Rates {
    samples: VecDeque<Sample>,
}

impl Rates {
    /// Adds a sample and lets go of those that are too old, but for one that reaches over the whole
    /// minute.
    pub fn note(&mut self, sample: Sample) {
        self.samples.push_back(sample);
        while self.samples.get(1).is_some_and(|next| sample.at - next.at >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// The rates up to `now`. Less than a second is too short to tell, and counts as one.
    pub fn rate(&self, now: Sample) -> Rate {
        let from = self.samples.front().copied().unwrap_or(now);
        let over = now.at.saturating_duration_since(from.at);
        let seconds = over.as_secs_f64().max(1.0);
        Rate {
            into: now.captured.saturating_sub(from.captured) as f64 / seconds,
            out: now.acknowledged.saturating_sub(from.acknowledged) as f64 / seconds,
            over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_look_back_one_minute_and_no_further() {
        let start = Instant::now();
        let at = |second: u64, captured, acknowledged| Sample {
            at: start + Duration::from_secs(second),
            captured,
            acknowledged,
        };
        let mut rates = Rates::default();
        assert_eq!(rates.rate(at(0, 7, 7)), Rate { into: 0.0, out: 0.0, over: Duration::ZERO });
        // Ten a second for a while, then none.
        for second in 0..=100 {
            rates.note(at(second, 10 * second, 0));
        }
        assert_eq!(rates.rate(at(100, 1000, 0)).into, 10.0);
        for second in 101..=400 {
            rates.note(at(second, 1000, 5 * (second - 100)));
        }
        assert_eq!(rates.rate(at(400, 1000, 1500)), Rate { into: 0.0, out: 5.0, over: WINDOW });
        assert_eq!(rates.samples.len(), 61);
    }
}
