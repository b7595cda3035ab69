//! What becomes of a message the broker refuses. Pure: time comes in as an argument.
//!
//! An MQTT 5 broker acknowledges a publication with a reason, and the reason says how much patience
//! is worth it:
//!
//! | reason | | tried again | first wait |
//! |---|---|---|---|
//! | 0x80 | unspecified error | 3 times | 1 s |
//! | 0x83 | implementation specific error | 3 times | 1 s |
//! | 0x87 | not authorized | 3 times | 1 s |
//! | 0x90 | topic name invalid | never | |
//! | 0x91 | packet identifier in use | 5 times | none |
//! | 0x97 | quota exceeded | 20 times | 1 s |
//! | 0x99 | payload format invalid | never | |
//! | any other | | 3 times | 1 s |
//!
//! Waits double up to a minute. Meanwhile the message waits aside and what is behind it goes on.
//!
//! A broker that refuses everything for a while has most likely been given wrong rules. Then our
//! state is published once more, as a control. Is it refused as well, and was nothing else taken for
//! ten seconds, a message is tried 20 times whatever the reason (but never with 0x90 and 0x99),
//! which takes a quarter of an hour. A thousand wait like this, and all others in the queue.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::queue::Seq;

/// How many messages may wait aside: more than a full window of refusals, at 64 bytes each.
const ROOM: usize = 2048;
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// After so many refusals and not one acceptance it is not the messages that are at fault.
const ALL_REFUSED: u32 = 32;

/// Without any acceptance for this long, a broker that refuses our state as well takes nothing at
/// all. Longer than it takes to recover from a short trouble, and hardly longer than the shortest
/// patience.
const NOTHING_TAKEN: Duration = Duration::from_secs(10);
/// How often a message is tried then.
const MOST_TRIES: u8 = 20;

/// How long a reason is put up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Patience {
    tries: u8,
    first_wait: Duration,
}

fn patience(reason: u8) -> Patience {
    let (tries, first_wait) = match reason {
        0x90 | 0x99 => (0, Duration::ZERO),
        0x91 => (5, Duration::ZERO),
        0x97 => (MOST_TRIES, Duration::from_secs(1)),
        _ => (3, Duration::from_secs(1)),
    };
    Patience { tries, first_wait }
}

/// A message to be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Its place in the queue.
    pub seq: Seq,
    /// When it was captured.
    pub captured_at: SystemTime,
}

/// Messages that wait aside. Their bodies are in the queue and are read again when it is time.
#[derive(Debug, Default)]
pub struct Aside {
    waiting: BTreeMap<Seq, Waiting>,
    /// When the first of them may be tried again.
    soonest: Option<Instant>,
    refused_in_a_row: u32,
    accepted_at: Option<Instant>,
    control: Control,
}

/// What became of our state, published to see whether the broker takes anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Control {
    #[default]
    NotAsked,
    Asked,
    Taken,
    Refused,
}

#[derive(Debug)]
struct Waiting {
    captured_at: SystemTime,
    refusals: u8,
    /// When it may be tried again; `None` while it is under way, or held until it is released.
    due: Option<Instant>,
    /// The topic it is held for.
    held_for: Option<u64>,
}

impl Aside {
    /// Whether nothing waits aside.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many wait aside.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether this one is here, and not for the lanes to publish.
    pub fn contains(&self, seq: Seq) -> bool {
        self.waiting.contains_key(&seq)
    }

    /// The broker refused this one. Returns what is to be given up: this one, if its reason
    /// deserves no further try, or the oldest that waits, if there are too many.
    pub fn refused(&mut self, message: GivenUp, reason: u8, now: Instant) -> Option<GivenUp> {
        self.refused_in_a_row = self.refused_in_a_row.saturating_add(1);
        let GivenUp { seq, captured_at } = message;
        let refusals = self.waiting.get(&seq).map_or(0, |known| known.refusals);
        let mut patience = patience(reason);
        if patience.tries > 0 && self.nothing_is_taken(now) {
            patience.tries = patience.tries.max(MOST_TRIES);
        }
        if refusals >= patience.tries {
            self.gone(seq);
            return Some(message);
        }
        let wait = patience.first_wait.saturating_mul(1 << refusals.min(16)).min(LONGEST_WAIT);
        let entry = Waiting { captured_at, refusals: refusals + 1, due: Some(now + wait), held_for: None };
        self.waiting.insert(seq, entry);
        let oldest = if self.waiting.len() > ROOM { self.oldest_refused() } else { None };
        if let Some(oldest) = oldest {
            self.waiting.remove(&oldest.seq);
        }
        self.look();
        oldest
    }

    /// The oldest that was refused and waits. What is held was never refused, and what is under
    /// way may be accepted yet.
    fn oldest_refused(&self) -> Option<GivenUp> {
        let (seq, oldest) = self.waiting.iter().find(|(_, waiting)| waiting.refusals > 0 && waiting.due.is_some())?;
        Some(GivenUp { seq: *seq, captured_at: oldest.captured_at })
    }

    /// Holds a message until its topic is released or dropped. `false`: there is no room.
    pub fn hold(&mut self, message: GivenUp, topic: u64) -> bool {
        let GivenUp { seq, captured_at } = message;
        if self.waiting.len() >= ROOM / 2 && !self.waiting.contains_key(&seq) {
            return false;
        }
        self.waiting.insert(seq, Waiting { captured_at, refusals: 0, due: None, held_for: Some(topic) });
        true
    }

    /// The messages held for a topic may go.
    pub fn release(&mut self, topic: u64, now: Instant) {
        for held in self.waiting.values_mut().filter(|waiting| waiting.held_for == Some(topic)) {
            held.held_for = None;
            held.due = Some(now);
        }
        self.look();
    }

    /// The messages held for a topic are to be given up.
    pub fn give_up(&mut self, topic: u64) -> Vec<GivenUp> {
        let held = self.waiting.iter().filter(|(_, waiting)| waiting.held_for == Some(topic));
        let held: Vec<_> = held.map(|(seq, w)| GivenUp { seq: *seq, captured_at: w.captured_at }).collect();
        for message in &held {
            self.waiting.remove(&message.seq);
        }
        held
    }

    /// The broker accepted this one.
    pub fn accepted(&mut self, seq: Seq, now: Instant) {
        self.refused_in_a_row = 0;
        self.accepted_at = Some(now);
        self.control = Control::NotAsked;
        self.gone(seq);
    }

    /// Whether our state is to be published as a control. Says so once, and again when something
    /// was accepted meanwhile or the connection is another.
    pub fn wants_control(&mut self) -> bool {
        let wanted = self.refused_in_a_row >= ALL_REFUSED && self.control == Control::NotAsked;
        if wanted {
            self.control = Control::Asked;
        }
        wanted
    }

    /// The broker has answered our state. Returns whether this is the news that it takes nothing.
    pub fn control_answered(&mut self, refused: bool) -> bool {
        let news = refused && self.control == Control::Asked;
        self.control = match (self.control, refused) {
            // That of a new connection, before anything was refused on it.
            (Control::NotAsked, _) => Control::NotAsked,
            (_, true) => Control::Refused,
            (_, false) => Control::Taken,
        };
        news
    }

    /// Whether the broker takes nothing at all, for all that is known.
    fn nothing_is_taken(&self, now: Instant) -> bool {
        let for_long = self.accepted_at.is_none_or(|at| now.saturating_duration_since(at) >= NOTHING_TAKEN);
        self.refused_in_a_row >= ALL_REFUSED && self.control == Control::Refused && for_long
    }

    /// This one needs no more attention.
    pub fn gone(&mut self, seq: Seq) {
        if !self.waiting.is_empty() && self.waiting.remove(&seq).is_some() {
            self.look();
        }
    }

    /// The connection broke: what was under way is to be tried again.
    pub fn broke(&mut self, now: Instant) {
        if self.control != Control::Refused {
            self.control = Control::NotAsked;
        }
        for waiting in self.waiting.values_mut().filter(|waiting| waiting.held_for.is_none()) {
            waiting.due.get_or_insert(now);
        }
        self.look();
    }

    /// The oldest that may be tried again now; it then counts as under way.
    pub fn take_due(&mut self, now: Instant) -> Option<Seq> {
        self.soonest.filter(|due| *due <= now)?;
        let (seq, waiting) = self.waiting.iter_mut().find(|(_, waiting)| waiting.due.is_some_and(|due| due <= now))?;
        let seq = *seq;
        waiting.due = None;
        self.look();
        Some(seq)
    }

    /// When the next one may be tried again.
    pub fn next_due(&self) -> Option<Instant> {
        self.soonest
    }

    /// Looks who is next. Refusals are rare, and what goes on beside them is not.
    fn look(&mut self) {
        self.soonest = self.waiting.values().filter_map(|waiting| waiting.due).min();
    }

    /// Whether the broker takes nothing at all. Then the lanes hold back while `under_way` more
    /// could come back refused, so that a whole queue is not run through its patience; the tries
    /// of what waits aside tell when the broker has changed its mind.
    pub fn all_are_refused(&self, under_way: usize) -> bool {
        // What is held waits for the lanes to go on, so it must not be what stops them.
        let refused = || self.waiting.values().filter(|waiting| waiting.held_for.is_none()).count();
        self.refused_in_a_row >= ALL_REFUSED && refused() + under_way >= ROOM / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(n: u64) -> GivenUp {
        let seq = (0..n).fold(Seq::FIRST, |seq, _| seq.next());
        GivenUp { seq, captured_at: SystemTime::UNIX_EPOCH + Duration::from_secs(n) }
    }

    /// Refuses a message as often as it is tried; returns the waits in between.
    fn waits(reason: u8) -> Vec<u64> {
        let (mut aside, mut now, mut waits) = (Aside::default(), Instant::now(), Vec::new());
        while aside.refused(message(7), reason, now).is_none() {
            let due = aside.next_due().unwrap();
            waits.push((due - now).as_secs());
            now = due;
            assert_eq!(aside.take_due(now), Some(message(7).seq));
            assert_eq!(aside.next_due(), None, "it is under way");
        }
        assert!(aside.is_empty());
        waits
    }

    #[test]
    fn each_reason_gets_the_tries_it_deserves() {
        for reason in [0x90, 0x99] {
            assert!(waits(reason).is_empty());
        }
        for reason in [0x80, 0x83, 0x87, 0xff] {
            assert_eq!(waits(reason), [1, 2, 4]);
        }
        assert_eq!(waits(0x91), [0; 5]);
        let quota = waits(0x97);
        assert_eq!((quota.len(), &quota[..8]), (20, &[1, 2, 4, 8, 16, 32, 60, 60][..]));
    }

    #[test]
    fn what_is_accepted_in_the_end_is_forgotten() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        aside.refused(message(1), 0x87, now);
        assert!(aside.contains(message(1).seq));
        aside.accepted(message(1).seq, now);
        assert!(aside.is_empty());
    }

    #[test]
    fn a_try_that_a_broken_connection_cut_short_is_made_again() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        aside.refused(message(1), 0x91, now);
        assert_eq!(aside.take_due(now), Some(message(1).seq));
        aside.broke(now);
        assert_eq!(aside.take_due(now), Some(message(1).seq));
    }

    #[test]
    fn with_too_many_aside_the_oldest_is_given_up() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        for n in 1..=ROOM as u64 {
            assert_eq!(aside.refused(message(n), 0x97, now), None);
        }
        assert_eq!(aside.refused(message(5000), 0x97, now), Some(message(1)));
        assert_eq!(aside.waiting.len(), ROOM);
    }

    #[test]
    fn lanes_hold_back_only_when_everything_is_refused() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        for n in 1..=1000 {
            aside.refused(message(n), 0x97, now);
        }
        assert!(aside.all_are_refused(100));
        assert!(!aside.all_are_refused(10), "there is room for more");
        aside.accepted(message(2000).seq, now);
        assert!(!aside.all_are_refused(100), "the broker takes something");
    }

    #[test]
    fn what_is_held_waits_for_its_topic() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        assert!(aside.hold(message(1), 11) && aside.hold(message(2), 22) && aside.hold(message(3), 11));
        aside.broke(now);
        assert_eq!(aside.next_due(), None);
        assert_eq!(aside.give_up(11), [message(1), message(3)]);
        aside.release(22, now);
        assert_eq!(aside.take_due(now), Some(message(2).seq));
        for n in 10..5000 {
            aside.hold(message(n), 33);
        }
        assert_eq!(aside.waiting.len(), ROOM / 2, "and it is bounded");
    }

    #[test]
    fn what_is_only_held_is_no_sign_of_a_broker_that_takes_nothing() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        for n in 0..ROOM as u64 / 2 {
            assert!(aside.hold(message(n), 33));
        }
        for n in 5000..5000 + u64::from(ALL_REFUSED) {
            aside.refused(message(n), 0x90, now);
        }
        assert!(!aside.all_are_refused(0), "nothing would ever be tried that could show the contrary");
    }

    #[test]
    fn what_was_not_refused_and_what_is_under_way_is_never_given_up_for_want_of_room() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        assert!(aside.hold(message(1), 33));
        aside.refused(message(2), 0x91, now);
        assert_eq!(aside.take_due(now), Some(message(2).seq));
        for n in 3..=ROOM as u64 {
            assert_eq!(aside.refused(message(n), 0x97, now), None);
        }
        assert_eq!(aside.refused(message(5000), 0x97, now), Some(message(3)));
    }
    /// How often a message is tried by a broker that refuses it each time, until it is given up.
    fn tries(aside: &mut Aside, n: u64, reason: u8, mut now: Instant) -> (usize, Instant) {
        for tries in 1.. {
            if aside.refused(message(n), reason, now).is_some() {
                return (tries, now);
            }
            now = aside.next_due().unwrap();
            aside.take_due(now);
        }
        unreachable!("patience ends")
    }

    /// Nothing but refusals so far, and our state has met with the same.
    fn takes_nothing(aside: &mut Aside, now: Instant) {
        for n in 0..u64::from(ALL_REFUSED) {
            assert!(!aside.wants_control());
            aside.refused(message(100 + n), 0x90, now);
        }
        assert!(aside.wants_control() && !aside.wants_control(), "asked once");
        assert!(aside.control_answered(true), "this is news");
        assert!(!aside.control_answered(true), "and now it is none");
    }

    #[test]
    fn a_broker_that_takes_nothing_at_all_is_given_a_quarter_of_an_hour() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        takes_nothing(&mut aside, now);
        let (count, end) = tries(&mut aside, 1, 0x87, now);
        assert_eq!(count, 1 + usize::from(MOST_TRIES));
        assert!((600..1200).contains(&(end - now).as_secs()), "{:?}", end - now);
        assert_eq!(tries(&mut aside, 1, 0x90, now).0, 1, "what is wrong by itself does not become right");
        aside.accepted(message(2).seq, end);
        assert_eq!(tries(&mut aside, 1, 0x87, end).0, 4, "it was the message");
    }

    #[test]
    fn a_broker_that_takes_our_state_or_took_something_a_moment_ago_finds_fault_with_the_messages() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        takes_nothing(&mut aside, now);
        aside.control_answered(false);
        assert_eq!(tries(&mut aside, 1, 0x87, now).0, 4);

        let mut aside = Aside::default();
        aside.accepted(message(2).seq, now);
        takes_nothing(&mut aside, now);
        assert_eq!(tries(&mut aside, 1, 0x87, now).0, 4);
        assert_eq!(tries(&mut aside, 1, 0x87, now + NOTHING_TAKEN).0, 1 + usize::from(MOST_TRIES));
    }
}
