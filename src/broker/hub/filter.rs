//! Topics, filters, and which filter matches which topic (chapter 4.7 of the MQTT standards).

/// What a client subscribes to: a filter, and the group it shares it with, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// The group of `$share/group/filter`.
    pub group: Option<&'a str>,
    /// The filter itself.
    pub filter: &'a str,
}

/// Takes a subscription's filter apart. `None` if it is none.
pub fn parse(text: &str, levels: usize) -> Option<Parsed<'_>> {
    let parsed = match text.strip_prefix("$share/") {
        None => Parsed { group: None, filter: text },
        Some(rest) => {
            let (group, filter) = rest.split_once('/')?;
            if group.is_empty() || group.contains(['+', '#']) {
                return None;
            }
            Parsed { group: Some(group), filter }
        }
    };
    is_filter(parsed.filter, levels).then_some(parsed)
}

/// Whether something may be published under a name.
pub fn is_topic(topic: &str, levels: usize) -> bool {
    is_name(topic, levels) && !topic.contains(['+', '#'])
}

/// Whether a filter may match more than the topic that is spelled like it.
pub fn has_wildcards(filter: &str) -> bool {
    filter.contains(['+', '#'])
}

/// Whether a filter matches a topic. Topics that begin with `$` are the broker's own, and not meant by a wildcard at
/// the beginning.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            // `a/#` matches `a` as well.
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

fn is_filter(filter: &str, levels: usize) -> bool {
    if !is_name(filter, levels) {
        return false;
    }
    let mut rest = filter.split('/').peekable();
    while let Some(level) = rest.next() {
        let is_last = rest.peek().is_none();
        match level {
            "+" => {}
            "#" if is_last => {}
            level if has_wildcards(level) => return false,
            _ => {}
        }
    }
    true
}

fn is_name(name: &str, levels: usize) -> bool {
    !name.is_empty()
        && name.len() <= usize::from(u16::MAX)
        && !name.contains('\0')
        && name.bytes().filter(|byte| *byte == b'/').count() < levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_matches_what_the_standard_says() {
        let cases = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/tennis/player1/#", "sport/tennis/player2", false),
            ("sport/#", "sport", true),
            ("sport/#", "sports", false),
            ("#", "a/b/c", true),
            ("#", "/", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("+/tennis/#", "sport/tennis", true),
            ("#", "$SYS/uptime", false),
            ("+/uptime", "$SYS/uptime", false),
            ("$SYS/#", "$SYS/uptime", true),
            ("$SYS/+", "$SYS/uptime", true),
            ("a//b", "a//b", true),
            ("a/+/b", "a//b", true),
            ("a", "A", false),
        ];
        for (filter, topic, expected) in cases {
            assert_eq!(matches(filter, topic), expected, "{filter} and {topic}");
        }
    }

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

    #[test]
    fn a_shared_filter_is_taken_apart() {
        assert_eq!(parse("$share/g/a/b", 8), Some(Parsed { group: Some("g"), filter: "a/b" }));
        assert_eq!(parse("a/b", 8), Some(Parsed { group: None, filter: "a/b" }));
    }
}
