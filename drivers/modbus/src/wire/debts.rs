//! Requests whose answers may still come, and how long that keeps others from being asked. Pure.

use std::time::{Duration, Instant};

use super::question::Kin;

/// The least time after which a late answer is thought dead.
pub(super) const LATEST: Duration = Duration::from_secs(1);

/// The same, in timeouts.
const LATEST_TIMEOUTS: u32 = 4;

/// However long the timeout: after so much more than it an answer is thought dead.
const LATEST_MORE: Duration = Duration::from_secs(10);

/// How many are kept in mind. Beyond that the whole line waits for the others.
const MOST: usize = 64;

/// What a line is owed.
#[derive(Debug, Default)]
pub(super) struct Debts {
    open: Vec<Debt>,
    /// When those are dead that there was no room for.
    others: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Debt {
    kin: Kin,
    sent: Instant,
    /// Until then the line is left quiet.
    quiet: Instant,
    /// Until then nothing is asked that the answer could be taken for.
    dead: Instant,
}

impl Debts {
    /// A request was not answered within the timeout. `characters` is what its answer takes on the wire.
    pub(super) fn owe(&mut self, kin: Kin, sent: Instant, timeout: Duration, characters: Duration) {
        let last = |timeouts: u32| (timeout * timeouts).min(timeout + LATEST_MORE);
        let quiet = sent + characters + last(2);
        let dead = sent + characters + last(LATEST_TIMEOUTS).max(LATEST);
        if self.open.len() < MOST {
            self.open.push(Debt { kin, sent, quiet, dead });
        } else {
            self.others = self.others.max(Some(dead));
        }
    }

    /// An answer came that nobody waits for any more. Says after how long, if it was owed.
    pub(super) fn pay(&mut self, kin: Kin, now: Instant) -> Option<Duration> {
        let index = self.open.iter().position(|debt| debt.kin == kin)?;
        Some(now.saturating_duration_since(self.open.remove(index).sent))
    }

    /// Forgets what will not come any more.
    pub(super) fn forget(&mut self, now: Instant) {
        self.open.retain(|debt| debt.dead > now);
        self.others = self.others.filter(|dead| *dead > now);
    }

    /// From when on this may be asked. `None`: at any time.
    pub(super) fn free(&self, kin: Kin) -> Option<Instant> {
        let each = self.open.iter().map(|debt| if debt.kin == kin { debt.dead } else { debt.quiet });
        each.chain(self.others).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(500);
    const CHARACTERS: Duration = Duration::from_millis(20);

    #[test]
    fn kin_waits_for_four_timeouts_and_others_for_two() {
        let now = Instant::now();
        let mut debts = Debts::default();
        debts.owe((1, 3), now, TIMEOUT, CHARACTERS);
        assert_eq!(debts.free((1, 3)), Some(now + TIMEOUT * 4 + CHARACTERS));
        assert_eq!(debts.free((1, 4)), Some(now + TIMEOUT * 2 + CHARACTERS));
        assert_eq!(debts.free((2, 3)), Some(now + TIMEOUT * 2 + CHARACTERS));
        debts.forget(now + TIMEOUT * 4 + CHARACTERS);
        assert_eq!(debts.free((1, 3)), None);
    }

    #[test]
    fn a_short_timeout_does_not_make_an_answer_die_sooner_than_a_second() {
        let now = Instant::now();
        let mut debts = Debts::default();
        debts.owe((1, 3), now, Duration::from_millis(10), Duration::ZERO);
        assert_eq!(debts.free((1, 3)), Some(now + LATEST));
    }

    #[test]
    fn a_long_timeout_does_not_keep_anybody_waiting_for_minutes() {
        let now = Instant::now();
        let mut debts = Debts::default();
        debts.owe((1, 3), now, Duration::from_secs(60), Duration::ZERO);
        assert_eq!(debts.free((1, 3)), Some(now + Duration::from_secs(70)));
        assert_eq!(debts.free((2, 3)), Some(now + Duration::from_secs(70)));
    }

    #[test]
    fn a_late_answer_pays_for_its_kin_alone() {
        let now = Instant::now();
        let mut debts = Debts::default();
        debts.owe((1, 3), now, TIMEOUT, CHARACTERS);
        assert_eq!(debts.pay((2, 3), now), None);
        assert_eq!(debts.pay((1, 3), now + TIMEOUT), Some(TIMEOUT));
        assert_eq!(debts.free((1, 3)), None);
    }

    #[test]
    fn what_there_is_no_room_for_keeps_the_whole_line_waiting() {
        let now = Instant::now();
        let mut debts = Debts::default();
        for unit in 0..=u8::try_from(MOST).unwrap() {
            debts.owe((unit, 3), now, TIMEOUT, CHARACTERS);
        }
        assert_eq!(debts.open.len(), MOST);
        assert_eq!(debts.free((200, 3)), Some(now + TIMEOUT * 4 + CHARACTERS));
    }
}
