//! Topics and filters with as many levels as a client may use. What is one at all, and which filter matches which topic,
//! is [`topic`]'s.

use wharf_contract::topic;
pub use wharf_contract::topic::{Subscription, has_wildcards, is_shared, is_system, matches};

/// Takes a subscription's filter apart. `None` if it is none, or has more levels than that.
pub fn parse(text: &str, levels: usize) -> Option<Subscription<'_>> {
    Subscription::parse(text).filter(|subscription| topic::levels(subscription.filter) <= levels)
}

/// Whether something may be published under a name with at most so many levels.
pub fn is_topic(topic: &str, levels: usize) -> bool {
    topic::levels(topic) <= levels && topic::is_topic(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_filter_is_told_from_what_is() {
        for good in ["a", "/", "+", "#", "a/#", "+/+/#", "a//b", "$SYS/#", "$share/g/a/#", "$share/g//a", "$shared"] {
            assert!(parse(good, 8).is_some(), "{good}");
        }
        let bad = [
            "",
            "a#",
            "a/#/b",
            "#/a",
            "a+",
            "a/+b",
            "a\0",
            "$share/g",
            "$share/g/",
            "$share//a",
            "$share/+/a",
            "$share/g/a#",
        ];
        for bad in bad {
            assert!(parse(bad, 8).is_none(), "{bad}");
        }
        assert!(parse("a/b/c", 3).is_some());
        assert!(parse("a/b/c", 2).is_none());
        assert!(parse(&"a".repeat(65_536), 8).is_none());
    }

    #[test]
    fn a_topic_has_no_wildcards() {
        assert!(is_topic("a/b", 8));
        for bad in ["", "a/+", "#", "a\0", "a/b/c/d/e/f/g/h/i"] {
            assert!(!is_topic(bad, 8), "{bad}");
        }
    }
}
