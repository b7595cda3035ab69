//! How long a device that costs its link too much is left alone. Every timeout is time that its
//! neighbours do not get. Owns no clock.
//!
//! The breaker of a device is closed while it answers. A failure opens it: the device is left
//! alone, so long that all silent devices together take no more than a tenth of the link's time.
//! Then one probe is sent. An answer closes the breaker; another silence opens it for longer, up
//! to the device's own interval, so that after its return it is noticed within one interval
//! wherever the tenth allows that.

use std::time::Duration;

use tokio::time::Instant;

/// The least a silent device is left alone, even where its silence was cheap.
const SHORTEST: Duration = Duration::from_secs(1);

/// Doubling goes no further than this, however slow the rhythm of the device.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

/// For one part of waiting in vain, this many parts for the others: a tenth of the link's time.
const SHARE: u32 = 9;

/// How long whoever cost the link this much in vain leaves it to the others.
pub(crate) fn fair(cost: Duration) -> Duration {
    cost * SHARE
}

/// What is known of one device's silence.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Breaker {
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    /// Failures in a row.
    failures: u32,
    /// The wait that doubles.
    wait: Duration,
}

impl Breaker {
    /// The device spoke: all is forgiven. Returns whether there was something to forgive.
    pub(crate) fn heard(&mut self) -> bool {
        self.open.take().is_some()
    }

    /// The device, whose fastest points are read `every` so often, cost the link `cost` and said
    /// nothing. `silent` devices on the link, this one included, share the part of its time that
    /// may be spent in vain. Returns until when it is left alone.
    pub(crate) fn failed(&mut self, cost: Duration, silent: usize, every: Duration, now: Instant) -> Instant {
        let share = (fair(cost) * u32::try_from(silent).unwrap_or(u32::MAX).max(1)).max(SHORTEST);
        let first = fair(cost).max(SHORTEST);
        let longest = every.clamp(SHORTEST, LONGEST);
        let (failures, wait) = match self.open {
            None => (1, first),
            Some(open) => (open.failures.saturating_add(1), (open.wait * 2).min(longest).max(first)),
        };
        self.open = Some(Open { failures, wait });
        now + wait.max(share)
    }

    /// How often in a row it failed.
    pub(crate) fn failures(&self) -> u32 {
        self.open.map_or(0, |open| open.failures)
    }

    /// Whether the device may not be asked in the ordinary way.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

/// How long a device rests that answers, but so slowly that the others miss their turns: as long
/// as a silent one. `None` where the link has room for one exchange of `cost` between two turns of
/// the others, the fastest of which are read every `shortest` and take `load` of the link's time;
/// and where those others take as much themselves, so that it is not this device that is slow.
pub(crate) fn rest(cost: Duration, shortest: Option<Duration>, load: f64) -> Option<Duration> {
    let (cost_secs, shortest) = (cost.as_secs_f64(), shortest?.as_secs_f64());
    let no_room = cost_secs > shortest * (1.0 - load).max(0.0);
    let is_slow = cost_secs > 2.0 * shortest * load;
    (no_room && is_slow).then_some(fair(cost))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// For how many seconds the device is left alone after each of its silences.
    fn waits(cost: Duration, silent: usize, every: Duration) -> Vec<u64> {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        (0..6).map(|_| (breaker.failed(cost, silent, every, now) - now).as_secs()).collect()
    }

    #[test]
    fn the_wait_doubles_up_to_the_rhythm_of_the_device_and_no_further_than_a_minute() {
        assert_eq!(waits(SECOND, 1, SECOND * 30), [9, 18, 30, 30, 30, 30]);
        assert_eq!(waits(SECOND, 1, SECOND * 3600), [9, 18, 36, 60, 60, 60]);
    }

    #[test]
    fn a_silent_device_takes_a_tenth_of_the_time_however_fast_its_rhythm() {
        assert_eq!(waits(SECOND, 1, SECOND), [9; 6]);
        assert_eq!(waits(SECOND / 10, 1, SECOND), [1; 6]);
    }

    #[test]
    fn a_silence_that_costs_next_to_nothing_still_earns_a_wait() {
        assert_eq!(waits(SECOND / 1000, 1, SECOND * 10), [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn several_silent_devices_share_a_tenth_of_the_time() {
        assert_eq!(waits(SECOND, 10, SECOND), [90; 6]);
    }

    #[test]
    fn one_answer_closes_the_breaker() {
        let mut breaker = Breaker::default();
        assert!(!breaker.heard());
        breaker.failed(SECOND, 1, SECOND, Instant::now());
        assert!(breaker.is_open() && breaker.failures() == 1);
        assert!(breaker.heard());
        assert!(!breaker.is_open() && breaker.failures() == 0);
    }

    #[test]
    fn a_slow_device_rests_only_where_the_others_would_miss_their_turns() {
        let slow = Duration::from_millis(700);
        assert_eq!(rest(slow, Some(SECOND), 0.2), None);
        assert_eq!(rest(slow, Some(SECOND), 0.34), Some(slow * 9));
        assert_eq!(rest(slow, None, 0.0), None, "there are no others");
        assert_eq!(rest(slow, Some(SECOND), 1.0), None, "the others need all of the time themselves");
    }
}
