//! How long a silent device is left alone. Every timeout is time its neighbours do not get, so
//! it is asked less and less often until it speaks. Owns no clock.

use std::time::Duration;

use tokio::time::Instant;

/// The least a silent device is left alone, even where its silence was cheap.
const SHORTEST: Duration = Duration::from_secs(1);

/// Doubling goes no further than this, unless the link's share demands it.
const LONGEST: Duration = Duration::from_secs(60);

/// For one part of waiting in vain, this many parts for the others: a tenth of the link's time.
const SHARE: u32 = 9;

/// What is known of one device's silence.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    silence: Option<Silence>,
}

#[derive(Clone, Copy, Debug)]
struct Silence {
    /// The wait that doubles.
    wait: Duration,
    until: Instant,
}

impl Patience {
    /// The device spoke: all is forgiven.
    pub(crate) fn heard(&mut self) {
        self.silence = None;
    }

    /// The device cost `cost` and said nothing. `silent` devices on the link, this one included,
    /// share the part of its time that may be spent in vain.
    pub(crate) fn not_heard(&mut self, cost: Duration, silent: usize, now: Instant) {
        let fair = cost * SHARE;
        let first = fair.max(SHORTEST);
        let wait = self.silence.map_or(first, |silence| (silence.wait * 2).min(LONGEST).max(first));
        let share = fair * u32::try_from(silent).unwrap_or(u32::MAX).max(1);
        self.silence = Some(Silence { wait, until: now + wait.max(share) });
    }

    /// Until when it is left alone, if it is silent.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.silence.map(|silence| silence.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn waits(cost: Duration, silent: usize, times: usize) -> Vec<u64> {
        let now = Instant::now();
        let mut patience = Patience::default();
        let mut waits = Vec::new();
        for _ in 0..times {
            patience.not_heard(cost, silent, now);
            waits.push((patience.until().unwrap() - now).as_secs());
        }
        waits
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute() {
        assert_eq!(waits(SECOND, 1, 6), [9, 18, 36, 60, 60, 60]);
    }

    #[test]
    fn a_silence_that_costs_next_to_nothing_still_earns_a_wait() {
        assert_eq!(waits(SECOND / 1000, 1, 3), [1, 2, 4]);
    }

    #[test]
    fn several_silent_devices_share_a_tenth_of_the_time() {
        assert_eq!(waits(SECOND, 10, 4), [90, 90, 90, 90]);
        assert_eq!(waits(SECOND * 10, 1, 2), [90, 90]);
    }

    #[test]
    fn one_answer_ends_the_wait() {
        let mut patience = Patience::default();
        patience.not_heard(SECOND, 1, Instant::now());
        patience.heard();
        assert!(patience.until().is_none());
    }
}
