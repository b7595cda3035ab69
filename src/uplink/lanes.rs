//! Who goes next: what has just been captured, or what waited. Pure: time comes in as an argument.
//!
//! One queue feeds two lanes. *Live* is what was captured since the connection was made, and a
//! few seconds before; *backlog* is what is older. Live goes first, but while both have something
//! to send the backlog gets its share of the turns, so neither can starve the other; and a turn
//! that one does not want goes to the other, so no turn is wasted.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::queue::Seq;

/// A lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// What has just been captured.
    Live,
    /// What waited.
    Backlog,
}

/// Takes turns between the lanes.
#[derive(Debug)]
pub struct Turns {
    /// Percent of the turns that the backlog gets while both want them.
    share: u32,
    /// What the backlog has saved up, in hundredths of a turn: below 100 between two turns.
    credit: u32,
}

impl Turns {
    /// The backlog gets that many percent of the turns, 1–99.
    pub fn new(share: u8) -> Self {
        Self { share: u32::from(share).clamp(1, 99), credit: 0 }
    }

    /// Whose turn it is, given who wants one; `None` if nobody does.
    pub fn next(&mut self, live: bool, backlog: bool) -> Option<Lane> {
        match (live, backlog) {
            (false, false) => None,
            (true, false) => Some(Lane::Live),
            (false, true) => Some(Lane::Backlog),
            (true, true) => {
                self.credit += self.share;
                if self.credit < 100 {
                    return Some(Lane::Live);
                }
                self.credit -= 100;
                Some(Lane::Backlog)
            }
        }
    }
}

/// Holds the backlog to a rate. Without one it lets everything through.
#[derive(Debug)]
pub struct Rate {
    per_second: Option<u32>,
    tokens: f64,
    filled: Instant,
}

impl Rate {
    /// So many messages a second; at most a tenth of a second's worth at once.
    pub fn new(per_second: Option<u32>, now: Instant) -> Self {
        Self { per_second, tokens: 0.0, filled: now }
    }

    /// Whether one more may go now.
    pub fn allows(&mut self, now: Instant) -> bool {
        let Some(per_second) = self.per_second.map(f64::from) else { return true };
        let earned = now.saturating_duration_since(self.filled).as_secs_f64() * per_second;
        self.tokens = (self.tokens + earned).min((per_second / 10.0).max(1.0));
        self.filled = now;
        self.tokens >= 1.0
    }

    /// One has gone.
    pub fn took(&mut self) {
        self.tokens -= 1.0;
    }

    /// When the next one may go; `None` if it is not the rate that holds it.
    pub fn ready_at(&self) -> Option<Instant> {
        let per_second = self.per_second.map(f64::from).filter(|_| self.tokens < 1.0)?;
        // A clock that ticks in whole nanoseconds must not stop just short of it.
        let missing = Duration::from_secs_f64((1.0 - self.tokens) / per_second);
        Some(self.filled + missing + Duration::from_micros(1))
    }
}

/// How far back it is known where the queue ended, and how finely.
const KEPT: Duration = Duration::from_secs(12);
/// How often to note it.
pub const STEP: Duration = Duration::from_millis(500);

/// Where the queue ended in the last seconds. It tells how long ago a record was captured by a
/// clock that nobody sets.
#[derive(Debug)]
pub struct Recent {
    ends: VecDeque<(Instant, Seq)>,
}

impl Recent {
    /// The queue ends there now. Whatever lies below is taken for old, however old it is.
    pub fn new(now: Instant, end: Seq) -> Self {
        Self { ends: VecDeque::from([(now, end)]) }
    }

    /// The queue ends there now.
    pub fn note(&mut self, now: Instant, end: Seq) {
        self.ends.push_back((now, end));
        while self.ends.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= KEPT) {
            self.ends.pop_front();
        }
    }

    /// Below this everything was captured longer ago than `age`, at most 12 s. What was there
    /// at the beginning counts as older than any age.
    pub fn older_than(&self, age: Duration, now: Instant) -> Seq {
        let old = self.ends.iter().rev().find(|(at, _)| now.saturating_duration_since(*at) >= age);
        old.or(self.ends.front()).map_or(Seq::FIRST, |(_, end)| *end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn seq(n: u64) -> Seq {
        (0..n).fold(Seq::FIRST, |seq, _| seq.next())
    }

    proptest! {
        /// Whenever one lane or both are idle in between: counted over the turns that both want,
        /// each gets what it is due, to within one turn; and nobody who wants a turn sees it wasted.
        #[test]
        fn neither_lane_starves_the_other_and_no_turn_is_wasted(
            share in 1u8..=90,
            wants in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..2000),
        ) {
            let mut turns = Turns::new(share);
            let (mut contested, mut live_got, mut backlog_got) = (0u32, 0u32, 0u32);
            for (live, backlog) in wants {
                let turn = turns.next(live, backlog);
                match turn {
                    None => prop_assert!(!live && !backlog),
                    Some(Lane::Live) => prop_assert!(live),
                    Some(Lane::Backlog) => prop_assert!(backlog),
                }
                if live && backlog {
                    contested += 1;
                    live_got += u32::from(turn == Some(Lane::Live));
                    backlog_got += u32::from(turn == Some(Lane::Backlog));
                }
                let share = u32::from(share);
                prop_assert!(100 * (backlog_got + 1) > contested * share);
                prop_assert!(100 * (live_got + 1) > contested * (100 - share));
            }
        }

        /// However often it is asked, no second sees more than the rate and the little that may
        /// come at once, and a backlog that always wants gets its rate.
        #[test]
        fn the_backlog_keeps_to_its_rate(rate in 1u32..2000, steps in proptest::collection::vec(1u64..300, 1..200)) {
            let start = Instant::now();
            let (mut bucket, mut now, mut gone) = (Rate::new(Some(rate), start), start, 0u32);
            for step in steps {
                let before = now;
                now += Duration::from_millis(step);
                // Whoever waits asks again exactly when he was told to.
                loop {
                    let at = bucket.ready_at().unwrap_or(before).max(before);
                    if at > now { break }
                    prop_assert!(bucket.allows(at));
                    bucket.took();
                    gone += 1;
                }
                let ideal = now.duration_since(start).as_secs_f64() * f64::from(rate);
                prop_assert!(f64::from(gone) <= ideal + f64::from(rate) / 10.0 + 2.0);
                prop_assert!(f64::from(gone) >= ideal * 0.9 - 2.0, "{gone} of {ideal}");
            }
        }
    }

    #[test]
    fn without_a_rate_everything_goes_at_once() {
        let now = Instant::now();
        let mut rate = Rate::new(None, now);
        for _ in 0..100_000 {
            assert!(rate.allows(now));
            rate.took();
            assert_eq!(rate.ready_at(), None);
        }
    }

    #[test]
    fn how_old_a_record_is_follows_from_where_the_queue_ended() {
        let start = Instant::now();
        let mut recent = Recent::new(start, seq(100));
        assert_eq!(recent.older_than(second(3), start), seq(100), "what was there before is old");
        for n in 1..=20 {
            recent.note(start + second(n), seq(100 + n));
        }
        let now = start + second(20);
        assert_eq!(recent.older_than(second(3), now), seq(117));
        assert_eq!(recent.older_than(second(0), now), seq(120));
        assert_eq!(recent.older_than(second(10), now), seq(110));
        assert_eq!(recent.older_than(second(10), now + Duration::from_millis(400)), seq(110));
    }

    #[test]
    fn what_is_known_of_the_past_is_bounded() {
        let start = Instant::now();
        let mut recent = Recent::new(start, Seq::FIRST);
        for n in 0..10_000 {
            recent.note(start + n * STEP, Seq::FIRST);
        }
        assert!(recent.ends.len() <= 26, "{}", recent.ends.len());
    }
}
