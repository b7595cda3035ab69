//! Which of an uplink's URLs is tried next, and when. Pure: the time comes in as an argument.
//!
//! A round goes through the URLs in the order of the list; one that fails makes room for the next at
//! once. Between rounds there is a short wait. A URL that answers and refuses us is moreover left in
//! peace for longer and longer, without keeping the others from being tried. When a connection that
//! had come about is lost, a new round begins.

use std::time::Duration;

use tokio::time::Instant;

use super::client::Cause;
use crate::backoff::{Backoff, Jitter};

/// The wait where nobody was reached. Trying costs nothing there, and the broker's return is
/// noticed within it.
const UNREACHABLE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(1500));
/// The first and the longest wait where somebody answered, and it did not work all the same.
pub const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The most that many gateways are spread over when they all turn to the next URL.
const TURNING: Duration = Duration::from_millis(300);
/// How often the wait for going back doubles when going back has failed.
const RETURN_DOUBLINGS: u32 = 4;

/// The way to a broker.
#[derive(Debug)]
pub struct Route {
    hops: Vec<Hop>,
    next_round: Instant,
    /// What is tried next whatever the round says.
    ordered: Option<usize>,
    /// Whether what is tried is a return to an earlier URL.
    returning: bool,
    failed_returns: u32,
}

#[derive(Debug)]
struct Hop {
    backoff: Backoff,
    not_before: Instant,
    tried: bool,
}

impl Route {
    /// A route over that many URLs.
    pub fn new(urls: usize, now: Instant) -> Self {
        let hop =
            || Hop { backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT, Jitter::Full), not_before: now, tried: false };
        let hops = (0..urls).map(|_| hop()).collect();
        Self { hops, next_round: now, ordered: None, returning: false, failed_returns: 0 }
    }

    /// The same, with another first wait where somebody answered.
    #[must_use]
    pub fn first_wait(mut self, first: Duration) -> Self {
        for hop in &mut self.hops {
            hop.backoff = Backoff::new(first, LONGEST_WAIT, Jitter::Full);
        }
        self
    }

    /// Which URL is tried next, and how long to wait before that.
    pub fn next(&mut self, now: Instant) -> (usize, Duration) {
        if let Some(index) = self.ordered.take() {
            return (index, Duration::ZERO);
        }
        let turning = self.hops.iter().any(|hop| hop.tried);
        if let Some(index) = self.hops.iter().position(|hop| turning && !hop.tried && hop.not_before <= now) {
            return (index, between(Duration::ZERO, TURNING));
        }
        self.begin_round();
        let due = self.hops.iter().map(|hop| hop.not_before).min().unwrap_or(now);
        let begins = due.max(self.next_round).max(now);
        let index = self.hops.iter().position(|hop| hop.not_before <= begins).unwrap_or(0);
        (index, begins - now)
    }

    /// A connection to this URL failed, or did not come about (`connected_for` is `None` then).
    pub fn failed(&mut self, index: usize, cause: Cause, connected_for: Option<Duration>, now: Instant) {
        let hop = &mut self.hops[index];
        hop.tried = true;
        match cause {
            Cause::Unreachable => {
                // Whoever listens there next is not the one who refused us.
                hop.backoff.forget();
                self.next_round = now + between(UNREACHABLE.0, UNREACHABLE.1);
            }
            _ => hop.not_before = now + hop.backoff.next(connected_for.unwrap_or_default()),
        }
        if connected_for.is_some() {
            // The first of the list has its turn again; but not for as long as one that is to be left
            // in peace would have the others wait.
            self.next_round = hop.not_before.min(now + UNREACHABLE.1);
            self.begin_round();
        } else if std::mem::take(&mut self.returning) {
            self.failed_returns += 1;
        }
    }

    /// Leaves a URL in peace for that long.
    pub fn rest(&mut self, index: usize, wait: Duration, now: Instant) {
        self.hops[index].not_before = now + wait;
    }

    /// A connection came about.
    pub fn connected(&mut self) {
        if std::mem::take(&mut self.returning) {
            self.failed_returns = 0;
        }
    }

    /// Has this URL tried next, at once.
    pub fn again(&mut self, index: usize) {
        self.begin_round();
        self.ordered = Some(index);
    }

    /// Has this URL, which stands before the one in use, tried next, at once.
    pub fn go_back(&mut self, index: usize) {
        self.again(index);
        self.returning = true;
    }

    /// How long to stay with a later URL before an earlier one is looked for. Somewhat more than
    /// `steady`, so that gateways that left together do not come back together; and more and more
    /// while an earlier one takes connections but does not let us in.
    pub fn stay(&self, steady: Duration) -> Duration {
        let doubled = steady.saturating_mul(1 << self.failed_returns.min(RETURN_DOUBLINGS));
        doubled.mul_f64(1.0 + fastrand::f64() / 4.0)
    }

    fn begin_round(&mut self) {
        self.hops.iter_mut().for_each(|hop| hop.tried = false);
    }
}

/// A time between two others, at random.
pub fn between(least: Duration, most: Duration) -> Duration {
    least + (most - least).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn unreachable(route: &mut Route, index: usize, now: Instant) {
        route.failed(index, Cause::Unreachable, None, now);
    }

    #[test]
    fn where_nothing_listens_is_tried_again_within_a_second_and_a_half_however_often_it_failed() {
        let mut now = Instant::now();
        let mut route = Route::new(1, now);
        for _ in 0..1000 {
            unreachable(&mut route, 0, now);
            let (index, wait) = route.next(now);
            assert_eq!(index, 0);
            assert!(wait >= SECOND / 2 && wait <= SECOND * 3 / 2, "{wait:?}");
            now += wait;
        }
    }

    #[test]
    fn who_refuses_is_asked_less_and_less_often_up_to_once_a_minute_and_forgiven_after_a_steady_one() {
        let now = Instant::now();
        let mut route = Route::new(1, now);
        let longest_of = |route: &mut Route, connected_for| {
            (0..200)
                .map(|_| {
                    route.failed(0, Cause::Refused, connected_for, now);
                    route.next(now).1
                })
                .max()
                .unwrap()
        };
        let longest = longest_of(&mut route, None);
        assert!(longest > 30 * SECOND && longest <= 60 * SECOND, "{longest:?}");
        route.failed(0, Cause::Closed(None), Some(60 * SECOND), now);
        assert!(route.next(now).1 <= SECOND);
        // One that went away and came back is not the one who refused.
        longest_of(&mut route, None);
        unreachable(&mut route, 0, now);
        route.failed(0, Cause::Closed(None), None, now);
        assert!(route.next(now).1 <= SECOND * 3 / 2);
    }

    #[test]
    fn the_list_is_tried_in_order_and_from_the_first_again_after_a_wait() {
        let mut now = Instant::now();
        let mut route = Route::new(3, now);
        for round in 0..50 {
            for expected in 0..3 {
                let (index, wait) = route.next(now);
                assert_eq!(index, expected, "round {round}");
                let most = if expected == 0 { SECOND * 3 / 2 } else { TURNING };
                assert!(wait <= most, "{wait:?}");
                assert!(expected != 0 || round == 0 || wait >= SECOND / 10, "a round begins without a wait");
                now += wait;
                unreachable(&mut route, index, now);
            }
        }
    }

    #[test]
    fn one_that_refuses_does_not_keep_the_other_from_being_tried() {
        let mut now = Instant::now();
        let mut route = Route::new(2, now);
        let mut tried = [0_u32; 2];
        let end = now + 60 * SECOND;
        while now < end {
            let (index, wait) = route.next(now);
            now += wait;
            tried[index] += 1;
            let cause = if index == 0 { Cause::Refused } else { Cause::Unreachable };
            route.failed(index, cause, None, now);
        }
        assert!(tried[1] >= 35, "the silent one is tried all the time: {tried:?}");
        assert!(tried[0] <= 20, "the refusing one is left in peace: {tried:?}");
    }

    #[test]
    fn a_connection_that_broke_is_followed_by_the_first_url_not_by_the_next() {
        let now = Instant::now();
        let mut route = Route::new(3, now);
        unreachable(&mut route, 0, now);
        assert_eq!(route.next(now).0, 1);
        route.failed(1, Cause::Closed(None), Some(5 * SECOND), now);
        let (index, wait) = route.next(now);
        assert_eq!(index, 0);
        assert!(wait <= SECOND * 3 / 2, "{wait:?}");
    }

    #[test]
    fn going_back_is_at_once_and_if_it_fails_the_later_one_follows_and_is_kept_for_longer() {
        let now = Instant::now();
        let mut route = Route::new(2, now);
        unreachable(&mut route, 0, now);
        let now = now + 600 * SECOND;
        let stay = route.stay(600 * SECOND);
        assert!(stay >= 600 * SECOND && stay <= 750 * SECOND, "{stay:?}");
        for failures in 1..10 {
            route.go_back(0);
            assert_eq!(route.next(now), (0, Duration::ZERO));
            route.failed(0, Cause::Refused, None, now);
            let (index, wait) = route.next(now);
            assert!(index == 1 && wait <= TURNING, "{index} {wait:?}");
            route.connected();
            assert!(route.stay(SECOND) >= SECOND * (1 << failures.min(4)));
        }
        route.go_back(0);
        route.next(now);
        route.connected();
        assert!(route.stay(SECOND) <= SECOND * 5 / 4);
    }
}
