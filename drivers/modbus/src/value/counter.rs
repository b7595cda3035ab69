//! Counters that begin anew at the end of their range. What they lose by that is added again, so that
//! the value only rises; a counter that was set back is told apart, and shown as it is.
//!
//! Nothing is added without memory of the last value. The memory lives as long as the driver, so it
//! outlasts a lost connection; `counters` keeps it over a restart of the gateway.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is known of one counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counter {
    /// What the device showed last.
    pub(crate) last: Option<i128>,
    /// What was lost by beginning anew: a multiple of the range.
    pub(crate) height: i128,
}

impl Counter {
    /// The whole count for what the device shows now, from 0 to `wraps_at` less one.
    ///
    /// A step back is one of three things. If the way forward, over the top, is at most a quarter of
    /// the range, the counter went around; so it has to be read at least four times on each way
    /// around. Else, if the step is below a thousandth of the range, the device corrected
    /// itself, and its value stands. Else it was set back, and what was added before is no part of
    /// its count any more.
    pub(crate) fn total(&mut self, shown: i128, wraps_at: u128) -> Result<i128, String> {
        let range = i128::try_from(wraps_at).unwrap_or(i128::MAX);
        if shown < 0 || shown >= range {
            return Err(format!("{shown} is no value of a counter that begins anew at {wraps_at}"));
        }
        if let Some(last) = self.last.filter(|last| shown < *last) {
            if range - last + shown <= range / 4 {
                self.height = self.height.saturating_add(range);
            } else if last - shown >= (range / 1000).max(1) {
                self.height = 0;
            }
        }
        self.last = Some(shown);
        Ok(self.height.saturating_add(shown))
    }

    /// Whether a counter of this range can have come to this.
    pub(crate) fn is_sound(&self, wraps_at: u128) -> bool {
        let range = i128::try_from(wraps_at).unwrap_or(i128::MAX);
        let shown = self.last.is_none_or(|last| (0..range).contains(&last));
        // Far beyond any count, and far from where adding to it would end.
        shown && (0..1 << 100).contains(&self.height) && self.height % range.max(1) == 0
    }
}

/// A point's [`Counter`], boxed, for few points are counters. Two points are the same whatever they
/// remember.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Option<Box<Counter>>>);

impl Memory {
    /// See [`Counter::total`].
    pub(crate) fn total(&self, shown: i128, wraps_at: u128) -> Result<i128, String> {
        self.lock().get_or_insert_default().total(shown, wraps_at)
    }

    /// What it remembers.
    pub(crate) fn get(&self) -> Counter {
        self.lock().as_deref().copied().unwrap_or_default()
    }

    /// Puts something else in its memory.
    pub(crate) fn set(&self, counter: Counter) {
        *self.lock() = Some(Box::new(counter));
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Counter>>> {
        // A counter is changed in one step, so it is whole even if another thread panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Memory {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.lock().clone()))
    }
}

impl PartialEq for Memory {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WORD: u128 = 1 << 16;

    fn totals(wraps_at: u128, shown: &[i128]) -> Vec<i128> {
        let mut counter = Counter::default();
        shown.iter().map(|shown| counter.total(*shown, wraps_at).unwrap()).collect()
    }

    #[test]
    fn what_is_lost_on_the_way_around_is_added_again() {
        let shown = [65_000, 65_535, 10, 40_000, 60_000, 0];
        assert_eq!(totals(WORD, &shown), [65_000, 65_535, 65_546, 105_536, 125_536, 131_072]);
        assert_eq!(totals(1_000_000, &[999_998, 1]), [999_998, 1_000_001]);
        assert_eq!(totals(1 << 64, &[(1 << 64) - 1, 5]), [(1 << 64) - 1, (1 << 64) + 5]);
    }

    #[test]
    fn without_memory_of_the_last_value_nothing_is_added() {
        assert_eq!(totals(WORD, &[7]), [7]);
    }

    #[test]
    fn a_counter_that_was_set_back_counts_anew() {
        assert_eq!(totals(WORD, &[30_000, 0, 5]), [30_000, 0, 5]);
        assert_eq!(totals(WORD, &[65_000, 100, 30_000, 12]), [65_000, 65_636, 95_536, 12]);
    }

    #[test]
    fn a_small_step_back_is_a_correction_and_no_reset() {
        assert_eq!(totals(WORD, &[65_500, 1_000, 999, 1_001]), [65_500, 66_536, 66_535, 66_537]);
    }

    #[test]
    fn the_same_answer_twice_counts_once() {
        assert_eq!(totals(WORD, &[65_500, 4, 4, 4]), [65_500, 65_540, 65_540, 65_540]);
    }

    #[test]
    fn what_cannot_be_a_value_of_the_counter_is_refused_and_forgotten() {
        let mut counter = Counter::default();
        assert_eq!(counter.total(90, 100), Ok(90));
        assert!(counter.total(100, 100).unwrap_err().contains("begins anew at 100"));
        assert!(counter.total(-1, 100).is_err());
        assert_eq!(counter.total(3, 100), Ok(103));
    }

    #[test]
    fn only_what_a_counter_can_have_come_to_is_taken_from_a_file() {
        let sound = |last, height| Counter { last: Some(last), height }.is_sound(100);
        assert!(sound(0, 0) && sound(99, 300));
        assert!(!sound(100, 0) && !sound(-1, 0) && !sound(5, 50) && !sound(5, -100) && !sound(5, i128::MAX));
    }

    proptest! {
        /// A count that is read often enough comes out as it is, whatever its range.
        #[test]
        fn a_count_is_the_same_as_on_an_endless_counter(
            wraps_at in 100_u128..=1 << 64,
            begin in 0.0..1.0_f64,
            steps in prop::collection::vec(0.0..0.25_f64, 1..50),
        ) {
            let range = i128::try_from(wraps_at).unwrap();
            let part = |share: f64| (range as f64 * share * 0.999) as i128;
            let (mut counter, mut endless) = (Counter::default(), part(begin));
            prop_assert_eq!(counter.total(endless, wraps_at), Ok(endless));
            for step in steps {
                endless += part(step);
                prop_assert_eq!(counter.total(endless % range, wraps_at), Ok(endless));
            }
        }
    }
}
