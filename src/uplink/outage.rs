//! What is told of an outage: each new reason at once, a lasting one now and then, and a fight over
//! the client id plainly. Pure: the time comes in as an argument.
//!
//! A broker ends a session when another client comes with the same client id. If that one comes
//! back each time as we do, the two throw each other out for ever. An MQTT 5 broker may say so;
//! many close the connection without a word.

use std::time::Duration;

use tokio::time::Instant;

use super::client::{Cause, ConnectionError, TAKEN_OVER};

/// How often a reason that lasts is told again.
const REMIND_EVERY: Duration = Duration::from_secs(60);
/// This many sessions ended within that time are a fight.
const FIGHT: usize = 3;
const FIGHT_WITHIN: Duration = Duration::from_secs(60);

/// How sure it is that somebody else uses our client id, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fight {
    /// The broker has said so.
    Certain,
    /// The broker has closed each connection soon after it came about, without a word.
    Likely,
}

/// What has gone wrong so far, for each URL.
#[derive(Debug)]
pub struct Outage {
    told: Vec<Option<(ConnectionError, Instant)>>,
    /// When sessions were ended, and whether the broker said that it was for another client.
    ended: Vec<(Instant, bool)>,
}

impl Outage {
    /// Nothing has gone wrong yet with any of so many URLs.
    pub fn none(urls: usize) -> Self {
        Self { told: vec![None; urls], ended: Vec::new() }
    }

    /// A connection came about: whatever comes next is news.
    pub fn over(&mut self) {
        self.told.fill(None);
    }

    /// Whether this failure is worth a line for everyone, rather than for those who look closely.
    pub fn is_news(&mut self, index: usize, error: &ConnectionError, now: Instant) -> bool {
        let told = &mut self.told[index];
        if told.as_ref().is_some_and(|(last, at)| last == error && now.duration_since(*at) < REMIND_EVERY) {
            return false;
        }
        *told = Some((error.clone(), now));
        true
    }

    /// Whether this failure shows that there is a fight over the client id. `connected_for`: how long
    /// the connection had lasted, if it had come about.
    pub fn fight(&mut self, error: &ConnectionError, connected_for: Option<Duration>, now: Instant) -> Option<Fight> {
        let said = match error.cause {
            Cause::Closed(Some(TAKEN_OVER)) => true,
            Cause::Closed(None) if connected_for.is_some_and(|time| time < FIGHT_WITHIN) => false,
            Cause::Unreachable => {
                // A broker that went away ended the sessions for another reason.
                self.ended.clear();
                return None;
            }
            _ => return None,
        };
        self.ended.retain(|(at, _)| now.duration_since(*at) < FIGHT_WITHIN);
        self.ended.push((now, said));
        if self.ended.len() < FIGHT {
            return None;
        }
        let ended = std::mem::take(&mut self.ended);
        Some(if ended.iter().any(|(_, said)| *said) { Fight::Certain } else { Fight::Likely })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_at_once_and_again_after_a_minute_and_a_new_one_at_once() {
        let now = Instant::now();
        let mut outage = Outage::none(2);
        let (silent, closed) = (ConnectionError::timeout(), ConnectionError::closed());
        assert!(outage.is_news(0, &silent, now));
        assert!(outage.is_news(1, &silent, now));
        assert!(!outage.is_news(0, &silent, now + REMIND_EVERY / 2));
        assert!(outage.is_news(0, &closed, now + REMIND_EVERY / 2));
        assert!(outage.is_news(1, &silent, now + REMIND_EVERY));
        outage.over();
        assert!(outage.is_news(1, &silent, now + REMIND_EVERY));
    }

    #[test]
    fn three_sessions_ended_within_a_minute_are_a_fight_and_one_now_and_then_is_none() {
        let start = Instant::now();
        let after = |second| start + Duration::from_secs(second);
        let taken_over = ConnectionError::new(Cause::Closed(Some(TAKEN_OVER)), "");
        let short = Some(Duration::from_secs(1));
        let mut outage = Outage::none(1);
        for second in [0, 40, 80, 120] {
            assert_eq!(outage.fight(&taken_over, short, after(second)), None, "{second}");
        }
        assert_eq!(outage.fight(&ConnectionError::timeout(), None, after(121)), None);
        assert_eq!(outage.fight(&taken_over, short, after(122)), Some(Fight::Certain));
        assert_eq!(outage.fight(&taken_over, short, after(123)), None, "told once, and then counted anew");
    }

    #[test]
    fn a_broker_that_closes_every_connection_without_a_word_raises_a_suspicion() {
        let now = Instant::now();
        let mut outage = Outage::none(1);
        let mut closed = |connected_for| outage.fight(&ConnectionError::closed(), connected_for, now);
        for connected_for in [None, Some(FIGHT_WITHIN)].repeat(3) {
            assert_eq!(closed(connected_for), None, "{connected_for:?}");
        }
        let short = Some(Duration::from_secs(1));
        assert_eq!((closed(short), closed(short), closed(short)), (None, None, Some(Fight::Likely)));
        for _ in 0..3 {
            assert_eq!(outage.fight(&ConnectionError::closed(), short, now), None, "the broker restarts each time");
            outage.fight(&ConnectionError::new(Cause::Unreachable, ""), None, now);
        }
    }
}
