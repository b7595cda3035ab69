//! Which commands were received already, from a broker or from a client. Pure: time comes in as an argument.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use super::client::Incoming;

/// How many received commands are remembered to know a second delivery by, and how long at least.
const REMEMBERED: usize = 256;
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// Once there are so many, who has sent this many of them makes room at its own expense: one that sends many has
/// nobody else's forgotten.
const EACH: usize = REMEMBERED / 4;

/// The commands received last. A sender that did not see our acknowledgement delivers a command
/// again, marked as a duplicate and with the same packet id; a second execution would be wrong.
/// After a while a command is forgotten: packet ids are used again, and what looks the same then is
/// a new command whose first delivery was lost. So it is as soon as its sender has used its id for another.
pub struct Received {
    keep: Duration,
    commands: VecDeque<Command>,
}

/// A command that was received.
struct Command {
    at: Instant,
    /// Who sent it, hashed, and with which packet id.
    from: (u64, u16),
    /// What it was, hashed.
    content: u64,
}

impl Received {
    /// Nothing received yet. A session is taken up again after an absence of up to `command_age`,
    /// so that long at least a second delivery is possible.
    pub fn new(command_age: Duration) -> Self {
        Self { keep: command_age.max(REMEMBERED_FOR), commands: VecDeque::new() }
    }

    /// Whether this is a second delivery of a command of that sender's: the client id, or nothing if there is only
    /// one. Remembers it if not.
    pub fn again(&mut self, sender: &str, incoming: &Incoming, now: Instant) -> bool {
        if incoming.id == 0 {
            return false;
        }
        while self.commands.front().is_some_and(|oldest| now.saturating_duration_since(oldest.at) > self.keep) {
            self.commands.pop_front();
        }
        let (from, content) = ((hash(sender), incoming.id), hash((&incoming.topic, &incoming.payload)));
        let known = self.commands.iter().position(|command| command.from == from);
        if let Some(command) = known.and_then(|place| self.commands.get(place))
            && incoming.duplicate
            && command.content == content
        {
            return true;
        }
        known.map(|place| self.commands.remove(place));
        if self.commands.len() >= REMEMBERED {
            let own = |command: &Command| command.from.0 == from.0;
            let has_many = self.commands.iter().filter(|command| own(command)).count() >= EACH;
            let oldest = if has_many { self.commands.iter().position(own) } else { None };
            self.commands.remove(oldest.unwrap_or(0));
        }
        self.commands.push_back(Command { at: now, from, content });
        false
    }

    /// Nothing became of the last command of that sender's with that packet id: when it comes again, it is new.
    pub fn forget(&mut self, sender: &str, id: u16) {
        let from = (hash(sender), id);
        self.commands.retain(|command| command.from != from);
    }
}

fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(id: u16, payload: &'static str, duplicate: bool) -> Incoming {
        Incoming { duplicate, id, ..Incoming::new("gw1-in/tank/valve", payload) }
    }

    #[test]
    fn only_a_marked_repetition_with_the_same_id_and_content_is_a_second_delivery() {
        let (mut received, now) = (Received::new(Duration::ZERO), Instant::now());
        assert!(!received.again("", &command(7, "1", false), now));
        assert!(received.again("", &command(7, "1", true), now), "delivered again");
        assert!(!received.again("", &command(7, "1", false), now), "sent again by its sender");
        assert!(!received.again("", &command(7, "0", true), now), "the id was reused");
        assert!(!received.again("", &command(7, "1", false), now));
        assert!(!received.again("", &command(8, "1", true), now), "the first delivery never arrived");
        assert!(!received.again("", &command(0, "1", true), now), "QoS 0 has no second delivery");
        assert!(received.again("", &command(7, "1", true), now + REMEMBERED_FOR));
        let later = now + REMEMBERED_FOR + Duration::from_millis(1);
        assert!(!received.again("", &command(7, "1", true), later), "too long ago to be the same");
    }

    #[test]
    fn each_sender_has_packet_ids_of_its_own() {
        let (mut received, now) = (Received::new(Duration::ZERO), Instant::now());
        assert!(!received.again("panel", &command(7, "1", false), now));
        assert!(!received.again("phone", &command(7, "1", true), now));
        assert!(received.again("panel", &command(7, "1", true), now));
        received.forget("panel", 7);
        assert!(!received.again("panel", &command(7, "1", true), now), "nothing became of the first");
        assert!(received.again("phone", &command(7, "1", true), now));
    }

    #[test]
    fn an_id_that_was_used_for_another_command_meanwhile_says_nothing_of_the_first() {
        let (mut received, now) = (Received::new(Duration::ZERO), Instant::now());
        assert!(!received.again("", &command(7, "1", false), now));
        assert!(!received.again("", &command(7, "0", false), now));
        assert!(!received.again("", &command(7, "1", true), now));
    }

    #[test]
    fn a_sender_of_many_has_no_other_one_s_forgotten() {
        let (mut received, now) = (Received::new(Duration::ZERO), Instant::now());
        received.again("panel", &command(7, "1", false), now);
        for id in 1..=2000 {
            received.again("flood", &command(id, "1", false), now);
        }
        assert!(received.again("panel", &command(7, "1", true), now));
        assert!(received.again("flood", &command(2000, "1", true), now));
        assert_eq!(received.commands.len(), REMEMBERED);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut received, now) = (Received::new(Duration::ZERO), Instant::now());
        for id in 1..=2000 {
            received.again("", &command(id, "1", false), now);
        }
        assert_eq!(received.commands.len(), REMEMBERED);
    }
}
