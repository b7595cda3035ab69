//! Signs that somebody else answers the nodes too.
//!
//! Nobody hears what another controller tells the radio, but two signs remain: it sends an answer
//! through here, or a node comes up with a number that nobody knows, right after one was given here.

use std::time::Duration;

use tokio::time::Instant;

use crate::message::{Command, GATEWAY, Message, SELF};
use crate::types;

/// How long a sign counts.
const COUNTS: Duration = Duration::from_secs(600);
/// How long after a number was given a node with another one is a sign.
const SOON: Duration = Duration::from_secs(30);

/// The signs so far.
#[derive(Debug, Default)]
pub struct Rivals {
    seen: u64,
    last: Option<(Instant, String)>,
    /// The number given last that no node has come up with yet.
    given: Option<(u8, Instant)>,
}

impl Rivals {
    /// What it looks like, if there was a sign of late.
    pub fn words(&self, now: Instant) -> Option<&str> {
        let (at, words) = self.last.as_ref()?;
        (now.duration_since(*at) < COUNTS).then_some(words.as_str())
    }

    /// How many signs there were.
    pub fn count(&self) -> u64 {
        self.seen
    }

    /// A number was given to a node that asked for one.
    pub fn gave(&mut self, number: u8, now: Instant) {
        self.given = Some((number, now));
    }

    /// A node said something. `was_known`: whether it was known before.
    pub fn heard(&mut self, message: &Message, was_known: bool, now: Instant) {
        let Some((number, at)) = self.given else { return };
        if message.node == number || now.duration_since(at) > SOON {
            self.given = None;
        } else if !was_known && !matches!(message.node, GATEWAY | SELF) {
            self.given = None;
            let node = message.node;
            self.note(format!("node {node} came up when a new node was given the number {number}: does another controller give numbers too?"), now);
        }
    }

    /// Somebody sends this through here.
    pub fn relayed(&mut self, message: &Message, now: Instant) {
        if message.command != Command::Internal {
            return;
        }
        let what = match message.kind {
            types::ID_RESPONSE => "a number",
            types::CONFIG if !message.payload.is_empty() => "its units",
            types::TIME if !message.payload.is_empty() => "the time",
            _ => return,
        };
        let who = if message.node == SELF { "a node".to_owned() } else { format!("node {}", message.node) };
        self.note(
            format!("another controller has told {who} {what}, and so does this gateway: one of them has to leave it"),
            now,
        );
    }

    fn note(&mut self, words: String, now: Instant) {
        self.seen += 1;
        self.last = Some((now, words));
    }
}
