//! The topic aliases a client uses (MQTT 5, chapter 3.3.2.3.4). They live as long as the connection.

use std::sync::Arc;

use crate::broker::packet::reason;

use super::Violation;

/// What the topics of one client's aliases may take together, in bytes: one of the longest there is, and hundreds as
/// they usually are.
const LONGEST_TOGETHER: usize = 64 * 1024;

/// The aliases of one connection.
#[derive(Debug)]
pub struct Aliases {
    topics: Vec<Option<Arc<str>>>,
    bytes: usize,
    most: u16,
}

impl Aliases {
    /// None yet, and no more than that many.
    pub fn new(most: u16) -> Self {
        Self { topics: Vec::new(), bytes: 0, most }
    }

    /// The topic a client means.
    ///
    /// # Errors
    /// An alias that is 0, too large or not known, and neither topic nor alias; topics too long to be remembered.
    pub fn resolve(&mut self, topic: Arc<str>, alias: Option<u16>) -> Result<Arc<str>, Violation> {
        let Some(alias) = alias else {
            let words = "a publication has neither a topic nor an alias";
            return if topic.is_empty() { Err(Violation { reason: reason::PROTOCOL_ERROR, words }) } else { Ok(topic) };
        };
        let invalid = |words| Violation { reason: reason::TOPIC_ALIAS_INVALID, words };
        if alias == 0 || alias > self.most {
            return Err(invalid("the topic alias is 0, or larger than the broker takes"));
        }
        let at = usize::from(alias) - 1;
        if topic.is_empty() {
            let known = self.topics.get(at).and_then(Clone::clone);
            return known.ok_or(Violation { reason: reason::PROTOCOL_ERROR, words: "the topic alias is not known" });
        }
        if at >= self.topics.len() {
            self.topics.resize(at + 1, None);
        }
        if let Some(place) = self.topics.get_mut(at) {
            let before = place.as_ref().map_or(0, |topic| topic.len());
            let bytes = self.bytes - before + topic.len();
            if bytes > LONGEST_TOGETHER {
                let words = "the topics of the topic aliases are too long together";
                return Err(Violation { reason: reason::QUOTA_EXCEEDED, words });
            }
            (*place, self.bytes) = (Some(Arc::clone(&topic)), bytes);
        }
        Ok(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_stands_for_the_topic_it_was_last_given() {
        let mut aliases = Aliases::new(2);
        assert_eq!(aliases.resolve("a".into(), None).as_deref(), Ok("a"));
        assert_eq!(aliases.resolve("a".into(), Some(2)).as_deref(), Ok("a"));
        assert_eq!(aliases.resolve("".into(), Some(2)).as_deref(), Ok("a"));
        assert_eq!(aliases.resolve("b".into(), Some(2)).as_deref(), Ok("b"));
        assert_eq!(aliases.resolve("".into(), Some(2)).as_deref(), Ok("b"));
    }

    #[test]
    fn the_topics_of_aliases_are_bounded_together() {
        let mut aliases = Aliases::new(64);
        let longest: Arc<str> = "x".repeat(65_535).into();
        for _ in 0..2 {
            assert!(aliases.resolve(longest.clone(), Some(1)).is_ok(), "one of the longest fits, and again");
        }
        let refused = aliases.resolve("ab".into(), Some(2)).unwrap_err();
        assert_eq!(refused.reason, reason::QUOTA_EXCEEDED);
        assert!(aliases.resolve("ab".into(), Some(1)).is_ok());
        assert!(aliases.resolve("ab".into(), Some(2)).is_ok());
        assert_eq!(aliases.bytes, 4);
    }

    #[test]
    fn an_alias_that_cannot_be_is_a_violation() {
        let mut aliases = Aliases::new(2);
        let reason_of = |result: Result<Arc<str>, Violation>| result.unwrap_err().reason;
        assert_eq!(reason_of(aliases.resolve("a".into(), Some(0))), reason::TOPIC_ALIAS_INVALID);
        assert_eq!(reason_of(aliases.resolve("a".into(), Some(3))), reason::TOPIC_ALIAS_INVALID);
        assert_eq!(reason_of(aliases.resolve("".into(), Some(1))), reason::PROTOCOL_ERROR);
        assert_eq!(reason_of(aliases.resolve("".into(), None)), reason::PROTOCOL_ERROR);
    }
}
