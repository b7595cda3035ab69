//! The rules of evidence, against a broker and a line that are played.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::SystemTime;

use super::*;

fn seen(n: u64, topic: u64) -> Seen {
    let seq = (0..n).fold(Seq::FIRST, |seq, _| seq.next());
    Seen { message: GivenUp { seq, captured_at: SystemTime::UNIX_EPOCH }, topic }
}

/// Messages with these numbers, their topics taken in turn.
fn messages(numbers: std::ops::Range<u64>, topics: u64) -> impl Iterator<Item = Seen> {
    let first = seen(numbers.start, 0).message.seq;
    let seqs = std::iter::successors(Some(first), |seq| Some(seq.next()));
    numbers.zip(seqs).map(move |(n, seq)| {
        let message = GivenUp { seq, captured_at: SystemTime::UNIX_EPOCH };
        Seen { message, topic: n % topics }
    })
}

impl Poison {
    /// Bans a topic, as if two of its messages had been convicted.
    pub fn ban(&mut self, topic: u64, now: Instant) {
        self.topics.push(Topic { topic, convictions: 2, banned_until: now + BAN });
    }
}

/// A queue of messages, sent through a window to a broker that closes the connection at some of
/// them, over a line that breaks by itself.
struct Play {
    poison: Poison,
    now: Instant,
    waiting: VecDeque<Seen>,
    held: BTreeMap<Seq, Seen>,
    acknowledged: BTreeSet<Seq>,
    given_up: BTreeSet<Seq>,
    breaks: u32,
}

impl Play {
    fn new(messages: impl IntoIterator<Item = Seen>) -> Self {
        Self {
            poison: Poison::default(),
            now: Instant::now(),
            waiting: messages.into_iter().collect(),
            held: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            given_up: BTreeSet::new(),
            breaks: 0,
        }
    }

    /// Runs until nothing waits, or so many connections were made. `kills`: what the broker closes
    /// the connection at. `snaps`: whether the line breaks at the next publication.
    fn run(&mut self, connections: u32, window: usize, kills: impl Fn(Seen) -> bool, mut snaps: impl FnMut() -> bool) {
        for _ in 0..connections {
            if self.waiting.is_empty() && self.held.is_empty() {
                return;
            }
            self.connection(window, &kills, &mut snaps);
            self.now += Duration::from_secs(5);
        }
    }

    fn connection(&mut self, window: usize, kills: &impl Fn(Seen) -> bool, snaps: &mut impl FnMut() -> bool) {
        let mut under_way: VecDeque<Seen> = VecDeque::new();
        loop {
            let trial = self.poison.trial(self.now, self.waiting.is_empty() && under_way.is_empty());
            if let Some(seq) = trial {
                if under_way.is_empty() {
                    self.poison.on_trial(seq);
                    under_way.push_back(self.held[&seq]);
                }
            } else if !self.poison.in_session() {
                let window = if self.poison.careful() { 1 } else { window };
                while under_way.len() < window
                    && let Some(next) = self.waiting.pop_front()
                {
                    match self.poison.view(next.topic, self.now) {
                        View::Free => under_way.push_back(next),
                        View::Hold => {
                            self.held.insert(next.message.seq, next);
                        }
                        View::Drop => {
                            self.given_up.insert(next.message.seq);
                        }
                        View::Accuse => {
                            self.held.insert(next.message.seq, next);
                            self.poison.accuse(next, self.now);
                        }
                    }
                }
            }
            let Some(&first) = under_way.front() else { return };
            if kills(first) || snaps() {
                let all: Vec<Seen> = under_way.iter().copied().collect();
                self.poison.broke(&all, all.len() == 1, self.now);
                self.breaks += 1;
                for message in all.into_iter().rev() {
                    if self.poison.holds(message.message.seq) {
                        self.held.insert(message.message.seq, message);
                    } else {
                        self.waiting.push_front(message);
                    }
                }
                return;
            }
            under_way.pop_front();
            self.held.remove(&first.message.seq);
            assert!(self.acknowledged.insert(first.message.seq));
            match self.poison.acknowledged(first.message.seq, first.topic, self.now) {
                Ruling::None => {}
                Ruling::Release(topic) => self.release(topic),
                Ruling::Convicted { seen, banned } => {
                    self.held.remove(&seen.message.seq);
                    self.given_up.insert(seen.message.seq);
                    if banned {
                        let condemned: Vec<Seq> = self.held_for(seen.topic);
                        self.held.retain(|seq, _| !condemned.contains(seq));
                        self.given_up.extend(condemned);
                    } else {
                        self.release(seen.topic);
                    }
                }
            }
        }
    }

    fn held_for(&self, topic: u64) -> Vec<Seq> {
        let held = self.held.values().filter(|held| held.topic == topic && !self.poison.holds(held.message.seq));
        held.map(|held| held.message.seq).collect()
    }

    fn release(&mut self, topic: u64) {
        for seq in self.held_for(topic).into_iter().rev() {
            let released = self.held.remove(&seq).unwrap();
            self.waiting.push_front(released);
        }
    }
}

#[test]
fn a_line_that_breaks_at_random_costs_no_message() {
    for (seed, most) in (0..40).zip([1, 2, 3, 5, 8, 13, 21, 34].into_iter().cycle()) {
        for window in [1, 10, 100] {
            let mut dice = fastrand::Rng::with_seed(seed);
            let mut play = Play::new(messages(0..3000, 7));
            // 200 breaks, each after up to `most` publications.
            play.run(10_000, window, |_| false, {
                let (mut left, mut next) = (200, dice.u32(0..=most));
                move || {
                    let snap = next == 0 && left > 0;
                    left -= u32::from(snap);
                    next = if next == 0 { dice.u32(0..=most) } else { next - 1 };
                    snap
                }
            });
            assert_eq!(play.given_up.len(), 0, "seed {seed}, up to {most}, window {window}");
            assert_eq!(play.acknowledged.len(), 3000, "seed {seed}, up to {most}, window {window}");
        }
    }
}

#[test]
fn a_poisonous_message_is_given_up_and_nothing_else() {
    for window in [1, 10, 100] {
        let mut play = Play::new(messages(0..1000, 7));
        play.run(200, window, |message| message == seen(55, 55 % 7), || false);
        assert_eq!(play.given_up, BTreeSet::from([seen(55, 0).message.seq]));
        assert_eq!(play.acknowledged.len(), 999);
        assert!(play.breaks <= 8, "{} breaks", play.breaks);
    }
}

#[test]
fn a_poisonous_message_is_found_although_connections_begin_now_with_one_lane_and_now_with_the_other() {
    let (backlog, live): (Vec<Seen>, Vec<Seen>) = (messages(0..10, 1).collect(), messages(800..810, 1).collect());
    for order in [[&backlog, &live, &backlog], [&live, &backlog, &live], [&backlog, &backlog, &live]] {
        let (mut poison, now) = (Poison::default(), Instant::now());
        for under_way in order {
            assert!(!poison.careful());
            poison.broke(under_way, false, now);
        }
        assert!(poison.careful(), "three breaks, and nobody has been cleared");
        poison.broke(&live[..1], true, now);
        assert!(poison.holds(live[0].message.seq), "it was alone");
    }
}

#[test]
fn a_poisonous_topic_is_found_although_each_connection_begins_with_what_has_just_been_captured() {
    let (mut poison, now) = (Poison::default(), Instant::now());
    for n in 0..3 {
        // The first few of the connection get through; they were not under way before.
        poison.acknowledged(seen(100 * n, 2).message.seq, 2, now);
        poison.broke(&messages(100 * n + 1..100 * n + 11, 1).collect::<Vec<_>>(), false, now);
    }
    assert!(poison.careful());
    assert_eq!(poison.suspects.len(), 30, "and there are no more of them: from now on there is one under way");
}

#[test]
fn a_line_that_breaks_and_brings_everything_through_the_next_time_makes_nobody_careful() {
    let (mut poison, now) = (Poison::default(), Instant::now());
    for n in 0..20 {
        let under_way: Vec<Seen> = messages(10 * n..10 * n + 10, 7).collect();
        poison.broke(&under_way, false, now);
        assert!(!poison.careful());
        for message in under_way {
            poison.acknowledged(message.message.seq, message.topic, now);
        }
    }
    assert!(poison.is_quiet());
}

#[test]
fn a_poisonous_topic_is_banned_after_two_convictions() {
    let mut play = Play::new(messages(0..5000, 10));
    play.run(200, 100, |message| message.topic == 3, || false);
    assert_eq!(play.given_up.len(), 500);
    assert_eq!(play.acknowledged.len(), 4500);
    assert!(play.breaks <= 10, "{} breaks for 500 poisonous messages", play.breaks);
}

#[test]
fn several_poisonous_topics_are_found_one_after_the_other() {
    let mut play = Play::new(messages(0..20_000, 50));
    play.run(1000, 100, |message| message.topic < 5, || false);
    assert_eq!(play.given_up.len(), 2000);
    assert_eq!(play.acknowledged.len(), 18_000);
}

#[test]
fn with_nothing_to_compare_with_it_is_tried_for_ever_and_acquitted_when_it_gets_through() {
    let mut play = Play::new([seen(0, 0), seen(1, 0)]);
    play.run(500, 10, |message| message.message.seq == Seq::FIRST, || false);
    assert_eq!(play.given_up.len(), 0);
    assert!(play.breaks > 30);
    play.run(50, 10, |_| false, || false);
    assert_eq!((play.acknowledged.len(), play.waiting.len(), play.held.len()), (2, 0, 0));
    assert!(play.poison.is_quiet());
}

#[test]
fn a_ban_ends_after_an_hour_when_the_broker_has_changed_its_mind() {
    let mut play = Play::new(messages(0..1000, 10));
    play.run(100, 100, |message| message.topic == 3, || false);
    assert_eq!(play.poison.view(3, play.now), View::Drop);
    play.now += BAN;
    assert_eq!(play.poison.view(3, play.now), View::Accuse);
    play.waiting = messages(1000..1100, 10).collect();
    play.given_up.clear();
    play.run(10, 100, |_| false, || false);
    assert_eq!(play.given_up.len(), 0);
    assert!(play.poison.is_quiet(), "{:?}", play.poison);
}

#[test]
fn more_poisonous_topics_than_a_site_will_have_block_nothing_else() {
    let mut play = Play::new(messages(0..20_000, 200));
    play.run(4000, 100, |message| message.topic < 100, || false);
    assert_eq!((play.acknowledged.len(), play.waiting.len()), (10_000, 0), "{} breaks", play.breaks);
}

#[test]
fn a_suspect_that_the_queue_has_dropped_makes_nobody_careful_for_ever() {
    let mut poison = Poison::default();
    let under_way: Vec<Seen> = messages(3..6, 7).collect();
    (0..BREAKS).for_each(|_| poison.broke(&under_way, false, Instant::now()));
    assert!(poison.careful());
    poison.finished_below(under_way[2].message.seq);
    assert!(poison.careful(), "one of them still waits");
    poison.finished_below(under_way[2].message.seq.next());
    assert!(!poison.careful());

    (0..BREAKS).for_each(|_| poison.broke(&under_way[..1], false, Instant::now()));
    poison.gone(under_way[0].message.seq);
    assert!(!poison.careful(), "it was too large for another broker");
}

#[test]
fn an_accused_that_turns_out_unreadable_when_its_trial_comes_lets_its_topic_and_everybody_else_go() {
    let (mut poison, now) = (Poison::default(), Instant::now());
    let accused = seen(3, 7);
    (0..=BREAKS).for_each(|_| poison.broke(&[accused], true, now));
    assert!(poison.holds(accused.message.seq));
    for n in 10..10 + u64::from(CONTROLS) {
        poison.acknowledged(seen(n, 1).message.seq, 1, now);
    }
    assert_eq!(poison.trial(now, false), Some(accused.message.seq), "its trial has come");
    // What is read for it is no message, so it is dropped and never goes out.
    assert_eq!(poison.gone(accused.message.seq), Some(7), "what is held for its topic may go");
    assert_eq!((poison.trial(now, true), poison.in_session()), (None, false));
    assert_eq!(poison.view(7, now), View::Free);
    assert!(poison.is_quiet() && !poison.careful(), "{poison:?}");
}
