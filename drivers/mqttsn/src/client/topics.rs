//! Which topic has which number, for one client; and which numbers all know from the beginning.

use std::collections::VecDeque;

use wharf_contract::topic;

use crate::message::Topic;

/// The longest topic that is dealt with, in bytes.
pub const LONGEST_TOPIC: usize = 512;

/// The topics whose numbers everybody knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Predefined(pub Vec<(u16, String)>);

impl Predefined {
    /// The topic of that number.
    pub fn name(&self, id: u16) -> Option<&str> {
        self.0.iter().find(|(number, _)| *number == id).map(|(_, name)| name.as_str())
    }

    /// The number of that topic.
    pub fn id(&self, name: &str) -> Option<u16> {
        self.0.iter().find(|(_, topic)| topic == name).map(|(number, _)| *number)
    }
}

/// Whether something can be published there.
pub fn is_topic(name: &str) -> bool {
    name.len() <= LONGEST_TOPIC && topic::is_topic(name)
}

/// Whether that can be subscribed to.
pub fn is_filter(filter: &str) -> bool {
    filter.len() <= LONGEST_TOPIC && topic::check_filter(filter).is_ok()
}

/// The topic that a name of two bytes is.
pub fn short(name: [u8; 2]) -> Option<String> {
    std::str::from_utf8(&name).ok().filter(|name| is_topic(name)).map(str::to_owned)
}

#[derive(Debug)]
struct Registered {
    id: u16,
    name: String,
    /// Whether the client has been told, as far as is known.
    known: bool,
    /// Whether the client has asked for it, and may use it at any time.
    asked: bool,
}

/// The numbers that one client and the gateway have agreed upon, the oldest first.
#[derive(Debug, Default)]
pub struct Topics {
    registered: VecDeque<Registered>,
    last: u16,
}

impl Topics {
    /// The topic of that number.
    pub fn name(&self, id: u16) -> Option<&str> {
        self.registered.iter().find(|topic| topic.id == id).map(|topic| topic.name.as_str())
    }

    /// A number for a topic that the client has asked for. `None`: there are `most` already.
    pub fn ask(&mut self, name: &str, most: usize) -> Option<u16> {
        let id = self.give(name, most)?;
        if let Some(topic) = self.registered.iter_mut().find(|topic| topic.id == id) {
            (topic.asked, topic.known) = (true, true);
        }
        Some(id)
    }

    /// A number for a topic that something has come for, and whether the client knows it.
    pub fn tell(&mut self, name: &str, most: usize) -> Option<(u16, bool)> {
        let id = self.give(name, most)?;
        let known = self.registered.iter().any(|topic| topic.id == id && topic.known);
        Some((id, known))
    }

    /// The number of a topic that the client has asked for and knows.
    pub fn asked(&self, name: &str) -> Option<u16> {
        let mut known = self.registered.iter().filter(|topic| topic.asked && topic.known);
        known.find(|topic| topic.name == name).map(|topic| topic.id)
    }

    /// The client knows a number, or has turned out not to.
    pub fn know(&mut self, id: u16, known: bool) {
        if let Some(topic) = self.registered.iter_mut().find(|topic| topic.id == id) {
            topic.known = known;
        }
    }

    /// Who begins anew may have forgotten all of them.
    pub fn doubt(&mut self) {
        self.registered.iter_mut().for_each(|topic| topic.known = false);
    }

    /// None is valid any more.
    pub fn clear(&mut self) {
        self.registered.clear();
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.registered.len()
    }

    fn give(&mut self, name: &str, most: usize) -> Option<u16> {
        if let Some(topic) = self.registered.iter().find(|topic| topic.name == name) {
            return Some(topic.id);
        }
        if self.registered.len() >= most {
            // What the client has not asked for it cannot use by itself, so its number can go.
            let oldest = self.registered.iter().position(|topic| !topic.asked)?;
            self.registered.remove(oldest);
        }
        let id = self.free()?;
        self.registered.push_back(Registered { id, name: name.to_owned(), known: false, asked: false });
        Some(id)
    }

    /// A number that is not in use. 0 and 65535 are reserved.
    fn free(&mut self) -> Option<u16> {
        for _ in 0..=self.registered.len() {
            self.last = if self.last >= u16::MAX - 1 { 1 } else { self.last + 1 };
            if self.name(self.last).is_none() {
                return Some(self.last);
            }
        }
        None
    }
}

/// How a PUBLISH to the client names a topic without a number of its own: by its two bytes, or by a
/// number that everybody knows.
pub fn without_number(name: &str, predefined: &Predefined) -> Option<Topic> {
    match <[u8; 2]>::try_from(name.as_bytes()) {
        Ok(short) => Some(Topic::Short(short)),
        Err(_) => predefined.id(name).map(Topic::Predefined),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_keeps_its_number_and_the_oldest_that_was_not_asked_for_goes() {
        let mut topics = Topics::default();
        assert_eq!(topics.ask("a/b", 3), Some(1));
        assert_eq!(topics.tell("c/d", 3), Some((2, false)));
        topics.know(2, true);
        assert_eq!(topics.tell("c/d", 3), Some((2, true)));
        assert_eq!(topics.tell("e/f", 3), Some((3, false)));
        assert_eq!(topics.tell("g/h", 3), Some((4, false)));
        assert_eq!((topics.name(1), topics.name(2), topics.count()), (Some("a/b"), None, 3));
        assert_eq!(topics.ask("e/f", 3), Some(3));
        assert_eq!(topics.ask("g/h", 3), Some(4));
        assert_eq!(topics.ask("i/j", 3), None);
    }

    #[test]
    fn wildcards_are_levels_of_their_own() {
        for filter in ["a/b", "+", "#", "+/b/#", "a/+/c", "/", "$SYS/#"] {
            assert!(is_filter(filter), "{filter}");
        }
        for filter in ["", "a#", "#/a", "a/b+", "+a/b", "a/#/b"] {
            assert!(!is_filter(filter), "{filter}");
        }
        assert!(is_topic("a/b") && !is_topic("a/+") && !is_topic(""));
        assert_eq!((short(*b"t1"), short(*b"a#"), short([0xFF, 1])), (Some("t1".into()), None, None));
    }
}
