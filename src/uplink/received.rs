//! Which commands were received already. Pure: time comes in as an argument.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use super::client::Incoming;

/// How many received commands are remembered to know a second delivery by, and how long at least.
const REMEMBERED: usize = 256;
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// The commands received last. A broker that did not see our acknowledgement delivers a command
/// again, marked as a duplicate and with the same packet id; a second execution would be wrong.
/// After a while a command is forgotten: packet ids are used again, and what looks the same then is
/// a new command whose first delivery was lost.
pub struct Received {
    keep: Duration,
    commands: VecDeque<(Instant, u16, u64)>,
}

impl Received {
    /// Nothing received yet. A session is taken up again after an absence of up to `command_age`,
    /// so that long at least a second delivery is possible.
    pub fn new(command_age: Duration) -> Self {
        Self { keep: command_age.max(REMEMBERED_FOR), commands: VecDeque::new() }
    }

    /// Whether this is a second delivery of a command. Remembers it if not.
    pub fn again(&mut self, incoming: &Incoming, now: Instant) -> bool {
        if incoming.id == 0 {
            return false;
        }
        while self.commands.len() >= REMEMBERED || self.commands.front().is_some_and(|(at, ..)| now - *at > self.keep) {
            self.commands.pop_front();
        }
        let mut hasher = DefaultHasher::new();
        (&incoming.topic, &incoming.payload).hash(&mut hasher);
        let content = hasher.finish();
        if incoming.duplicate && self.commands.iter().any(|(_, id, known)| (*id, *known) == (incoming.id, content)) {
            return true;
        }
        self.commands.push_back((now, incoming.id, content));
        false
    }
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
        assert!(!received.again(&command(7, "1", false), now));
        assert!(received.again(&command(7, "1", true), now), "delivered again");
        assert!(!received.again(&command(7, "1", false), now), "sent again by its sender");
        assert!(!received.again(&command(7, "0", true), now), "the id was reused");
        assert!(!received.again(&command(8, "1", true), now), "the first delivery never arrived");
        assert!(!received.again(&command(0, "1", true), now), "QoS 0 has no second delivery");
        assert!(received.again(&command(7, "1", true), now + REMEMBERED_FOR));
        let later = now + REMEMBERED_FOR + Duration::from_millis(1);
        assert!(!received.again(&command(7, "1", true), later), "too long ago to be the same");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut received, now) = (Received::new(Duration::ZERO), Instant::now());
        for id in 1..=2000 {
            received.again(&command(id, "1", false), now);
        }
        assert_eq!(received.commands.len(), REMEMBERED);
    }
}
