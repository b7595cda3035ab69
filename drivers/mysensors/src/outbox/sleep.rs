//! Which nodes sleep, and when they listen.
//!
//! A node of library 2.2 or later says before it sleeps for how long it still listens (pre-sleep, 32);
//! an older one sends a heartbeat (22) when it wakes, and then listens for a while. A node that has never
//! done either is taken to listen always. The site file may say so of a node outright, either way.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::message::{Command, GATEWAY, Message, SELF};
use crate::registry::Version;
use crate::types;

/// How long a node listens that does not say how long: what the library does unless a sketch sets it.
pub const USUAL_WINDOW: Duration = Duration::from_millis(500);
/// The longest that is believed.
const LONGEST_WINDOW: Duration = Duration::from_secs(300);
/// What of a window is left unused, at most: a message takes its time through gateway and air.
const MARGIN: Duration = Duration::from_millis(50);
/// How long after a request for heartbeats a heartbeat is its answer, and no sign of waking.
const ASKED: Duration = Duration::from_secs(10);
/// The library version from which a node announces its sleep.
const ANNOUNCES: Version = Version { major: 2, minor: 2 };

/// What is known of each node's sleep.
#[derive(Debug, Default)]
pub struct Sleep {
    nodes: BTreeMap<u8, Node>,
    /// The windows that are open, with the nodes' messages in them: few at any time.
    windows: VecDeque<Window>,
    /// Until when heartbeats of all nodes are answers.
    asked_all: Option<Instant>,
}

#[derive(Debug, Default)]
struct Node {
    /// What the site file says.
    told: Option<bool>,
    /// Whether it was seen to sleep.
    found: bool,
    /// Whether its library announces no sleep; `None` until it has said which it is.
    old: Option<bool>,
    asked: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    node: u8,
    next: Instant,
    until: Instant,
}

impl Sleep {
    /// What the site file says of a node.
    pub fn tell(&mut self, node: u8, sleeps: bool) {
        self.node(node).told = Some(sleeps);
    }

    /// What was known of a node before: the version of its library, and whether it sleeps.
    pub fn recall(&mut self, node: u8, version: Option<Version>, sleeps: bool) {
        let node = self.node(node);
        node.old = version.map(|version| version < ANNOUNCES).or(node.old);
        node.found |= sleeps;
    }

    /// Whether a node sleeps, as far as is known.
    pub fn sleeps(&self, node: u8) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.told.unwrap_or(node.found))
    }

    /// Whether a node was seen to sleep, whatever the site file says of it.
    pub fn was_seen_asleep(&self, node: u8) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.found)
    }

    /// A node is asked for a heartbeat; 255 asks all.
    pub fn heartbeat_asked(&mut self, node: u8, now: Instant) {
        match node {
            SELF => self.asked_all = Some(now + ASKED),
            node => self.node(node).asked = Some(now + ASKED),
        }
    }

    /// Takes in what a node says of itself. Its window opens if it is about to sleep.
    pub fn hear(&mut self, message: &Message, now: Instant) {
        if matches!(message.node, GATEWAY | SELF) || message.child != SELF {
            return;
        }
        match (message.command, message.kind) {
            (Command::Presentation, _) => {
                self.node(message.node).old = Version::parse(&message.payload).map(|version| version < ANNOUNCES);
            }
            (Command::Internal, types::PRE_SLEEP) => {
                let window = message.payload.trim().parse().map_or(USUAL_WINDOW, Duration::from_millis);
                self.node(message.node).found = true;
                self.open(message.node, window.min(LONGEST_WINDOW), now);
            }
            (Command::Internal, types::POST_SLEEP) => self.node(message.node).found = true,
            (Command::Internal, types::HEARTBEAT_RESPONSE) => {
                let asked_all = self.asked_all.is_some_and(|until| now < until);
                let node = self.node(message.node);
                let asked = asked_all || node.asked.take().is_some_and(|until| now < until);
                // One that was told to sleep may not have said which library it has.
                let wakes = node.old.unwrap_or(node.told == Some(true));
                let is_seen = node.old.is_some();
                if wakes && !asked {
                    self.node(message.node).found |= is_seen;
                    self.open(message.node, USUAL_WINDOW, now);
                }
            }
            _ => {}
        }
    }

    /// The nodes that may be sent a message at `now`.
    pub fn listening(&mut self, now: Instant) -> impl Iterator<Item = u8> {
        self.windows.retain(|window| now < window.until);
        self.windows.iter().filter(move |window| window.next <= now).map(|window| window.node)
    }

    /// A node was sent a message in its window; the next one waits for `pause`.
    pub fn pace(&mut self, node: u8, now: Instant, pause: Duration) {
        for window in self.windows.iter_mut().filter(|window| window.node == node) {
            window.next = now + pause;
        }
    }

    /// When a node with messages waiting may next be sent one, if a window is open for it.
    pub fn next(&self, waits: impl Fn(u8) -> bool) -> Option<Instant> {
        let open = self.windows.iter().filter(|window| window.next < window.until && waits(window.node));
        open.map(|window| window.next).min()
    }

    /// The link is lost: whatever was said of windows is past when it is back.
    pub fn close(&mut self) {
        self.windows.clear();
    }

    fn open(&mut self, node: u8, window: Duration, now: Instant) {
        if self.node(node).told == Some(false) {
            return;
        }
        self.windows.retain(|window| window.node != node && now < window.until);
        let until = now + window.saturating_sub(MARGIN.min(window / 10));
        self.windows.push_back(Window { node, next: now, until });
    }

    fn node(&mut self, node: u8) -> &mut Node {
        self.nodes.entry(node).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(sleep: &mut Sleep, line: &str, now: Instant) {
        sleep.hear(&Message::parse(line.as_bytes()).unwrap(), now);
    }

    fn listens(sleep: &mut Sleep, now: Instant) -> bool {
        sleep.listening(now).any(|node| node == 7)
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_node_listens_as_long_as_it_says_before_it_sleeps_and_a_little_less() {
        for (payload, window) in [("500", 500), ("", 500), ("soon", 500), ("100", 100), ("99999999999", 300_000)] {
            let (mut sleep, now) = (Sleep::default(), Instant::now());
            assert!(!sleep.sleeps(7));
            hear(&mut sleep, &format!("7;255;3;0;32;{payload}"), now);
            assert!(sleep.sleeps(7) && listens(&mut sleep, now), "{payload}");
            let margin = 50.min(window / 10);
            assert!(listens(&mut sleep, now + MS * (window - margin - 1)), "{payload}");
            assert!(!listens(&mut sleep, now + MS * (window - margin)), "{payload}");
        }
    }

    #[test]
    fn a_heartbeat_is_a_sign_of_waking_before_2_2_only_and_only_if_nobody_asked_for_it() {
        for (version, wakes) in [("2.1.1", true), ("2.0", true), ("1.5.4", true), ("2.2.0", false), ("2.3.2", false)] {
            let (mut sleep, now) = (Sleep::default(), Instant::now());
            hear(&mut sleep, &format!("7;255;0;0;17;{version}"), now);
            hear(&mut sleep, "7;255;3;0;22;123456", now);
            assert_eq!((sleep.sleeps(7), listens(&mut sleep, now)), (wakes, wakes), "{version}");
        }
        let (mut sleep, now) = (Sleep::default(), Instant::now());
        hear(&mut sleep, "7;255;3;0;22;1", now);
        assert!(!sleep.sleeps(7), "it has not said which library it has");
        hear(&mut sleep, "7;255;0;0;17;2.1.1", now);
        for everybody in [7, SELF] {
            sleep.heartbeat_asked(everybody, now);
            hear(&mut sleep, "7;255;3;0;22;1", now + MS);
            assert!(!sleep.sleeps(7), "it was asked");
        }
        hear(&mut sleep, "7;255;3;0;22;1", now + ASKED + ASKED);
        assert!(sleep.sleeps(7));
    }

    #[test]
    fn the_site_file_has_the_last_word_on_who_sleeps() {
        let (mut sleep, now) = (Sleep::default(), Instant::now());
        sleep.tell(7, true);
        assert!(sleep.sleeps(7) && !listens(&mut sleep, now));
        hear(&mut sleep, "7;255;3;0;22;1", now);
        assert!(listens(&mut sleep, now), "it may be of an old library");
        sleep.tell(7, false);
        hear(&mut sleep, "7;255;3;0;32;500", now + USUAL_WINDOW);
        assert!(!sleep.sleeps(7) && !listens(&mut sleep, now + USUAL_WINDOW));
    }

    #[test]
    fn what_the_site_file_says_of_a_node_is_nothing_that_was_seen_of_it() {
        let (mut sleep, now) = (Sleep::default(), Instant::now());
        sleep.tell(7, true);
        hear(&mut sleep, "7;255;3;0;22;1", now);
        assert!(listens(&mut sleep, now) && !sleep.was_seen_asleep(7), "its library is not known");
        hear(&mut sleep, "7;255;3;0;32;500", now);
        assert!(sleep.was_seen_asleep(7));
    }

    #[test]
    fn what_was_known_before_counts_until_the_node_says_more() {
        let (mut sleep, now) = (Sleep::default(), Instant::now());
        sleep.recall(7, Version::parse("2.1.0"), true);
        assert!(sleep.sleeps(7));
        hear(&mut sleep, "7;255;3;0;22;1", now);
        assert!(listens(&mut sleep, now));
        sleep.close();
        assert!(!listens(&mut sleep, now));
    }

    #[test]
    fn between_two_messages_a_node_is_left_a_pause() {
        let (mut sleep, now) = (Sleep::default(), Instant::now());
        hear(&mut sleep, "7;255;3;0;32;500", now);
        sleep.pace(7, now, MS * 20);
        assert!(!listens(&mut sleep, now + MS * 19) && listens(&mut sleep, now + MS * 20));
        assert_eq!(sleep.next(|node| node == 7), Some(now + MS * 20));
        assert_eq!(sleep.next(|node| node == 8), None);
        sleep.pace(7, now, MS * 450);
        assert_eq!(sleep.next(|_| true), None, "the window closes before");
    }
}
