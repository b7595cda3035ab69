//! When each block is due. The rhythm is fixed: it does not drift by what a read takes, and after
//! a stall it goes on where it would have been, without a burst of what was missed. Owns no clock.

use std::time::Duration;

use tokio::time::Instant;

/// First reads are spread over no more than this, so that a slow rhythm starts soon all the same.
const SPREAD: Duration = Duration::from_secs(10);

/// The due times of a link's blocks, by their index.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    every: Duration,
    due: Instant,
}

impl Schedule {
    /// Starts now. Blocks of the same rhythm are spread over it, so they do not all fall due at once.
    pub(crate) fn new(intervals: &[Duration], now: Instant) -> Self {
        let mut schedule = Self::default();
        for (index, &every) in intervals.iter().enumerate() {
            let place = intervals[..index].iter().filter(|&&other| other == every).count();
            let peers = intervals.iter().filter(|&&other| other == every).count();
            let step = every.min(SPREAD) / u32::try_from(peers).unwrap_or(u32::MAX);
            schedule.add(every, now + step * u32::try_from(place).unwrap_or(u32::MAX));
        }
        schedule
    }

    /// One more block, with its first due time.
    pub(crate) fn add(&mut self, every: Duration, due: Instant) {
        self.entries.push(Entry { every, due });
    }

    /// The block to read next and when, if there is any. A block is held back until
    /// `not_before(index)`. Among those whose time has come, the one that waits longest is first.
    pub(crate) fn next(&self, now: Instant, not_before: impl Fn(usize) -> Option<Instant>) -> Option<(usize, Instant)> {
        let times = self.entries.iter().enumerate().map(|(index, entry)| {
            let held = not_before(index).map_or(entry.due, |until| until.max(entry.due));
            (held.max(now), entry.due, index)
        });
        times.min().map(|(at, _, index)| (index, at))
    }

    /// Makes the block due now.
    pub(crate) fn hasten(&mut self, index: usize, now: Instant) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.due = now;
        }
    }

    /// Says that the block is being read now. Returns how many of its turns were missed.
    pub(crate) fn taken(&mut self, index: usize, now: Instant) -> u64 {
        let Some(entry) = self.entries.get_mut(index) else { return 0 };
        let late = now.saturating_duration_since(entry.due);
        let missed = late.as_nanos() / entry.every.as_nanos().max(1);
        let turns = u32::try_from(missed).unwrap_or(u32::MAX).saturating_add(1);
        entry.due = entry.every.checked_mul(turns).map_or(now + entry.every, |ahead| entry.due + ahead);
        u64::from(turns - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    impl Schedule {
        fn due(&self, index: usize) -> Option<Instant> {
            self.entries.get(index).map(|entry| entry.due)
        }
    }

    fn free(_: usize) -> Option<Instant> {
        None
    }

    #[test]
    fn a_late_read_does_not_shift_the_rhythm() {
        let start = Instant::now();
        let mut schedule = Schedule::new(&[SECOND], start);
        for turn in 0..1000 {
            assert_eq!(schedule.due(0), Some(start + SECOND * turn));
            let late = Duration::from_millis(u64::from(turn * 37 % 999));
            assert_eq!(schedule.taken(0, start + SECOND * turn + late), 0);
        }
    }

    #[test]
    fn after_a_stall_the_missed_turns_are_counted_and_not_made_up_for() {
        let start = Instant::now();
        let mut schedule = Schedule::new(&[SECOND], start);
        assert_eq!(schedule.taken(0, start + Duration::from_millis(4_300)), 4);
        assert_eq!(schedule.due(0), Some(start + SECOND * 5));
        assert_eq!(schedule.taken(0, start + SECOND * 5), 0);
    }

    #[test]
    fn blocks_of_one_rhythm_start_spread_out() {
        let start = Instant::now();
        let minute = SECOND * 60;
        let schedule = Schedule::new(&[SECOND, minute, SECOND, minute], start);
        let due = |index| schedule.due(index).unwrap() - start;
        assert_eq!([due(0), due(2)], [Duration::ZERO, SECOND / 2]);
        assert_eq!([due(1), due(3)], [Duration::ZERO, SPREAD / 2]);
    }

    #[test]
    fn among_overdue_blocks_the_longest_waiting_is_read_first() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.add(SECOND, start + SECOND);
        schedule.add(SECOND, start);
        let now = start + SECOND * 3;
        assert_eq!(schedule.next(now, free), Some((1, now)));
        assert_eq!(schedule.next(start, free), Some((1, start)));
        schedule.taken(1, now);
        assert_eq!(schedule.next(now, free), Some((0, now)));
    }

    #[test]
    fn a_block_that_is_held_back_leaves_the_others_their_time() {
        let start = Instant::now();
        let schedule = Schedule::new(&[SECOND, SECOND * 2], start);
        let held = |index| (index == 0).then_some(start + SECOND * 30);
        assert_eq!(schedule.next(start, held), Some((1, start)));
        let both = |_| Some(start + SECOND * 30);
        assert_eq!(schedule.next(start, both).map(|(_, at)| at), Some(start + SECOND * 30));
    }

    #[test]
    fn nothing_to_read_is_never_due() {
        assert_eq!(Schedule::new(&[], Instant::now()).next(Instant::now(), free), None);
    }
}
