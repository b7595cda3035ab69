//! Whether a filter fits a topic.

/// As MQTT 3.1.1 has it, chapter 4.7. Topics that begin with `$` are not found by a wildcard in front.
pub fn fits(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut filters, mut levels) = (filter.split('/'), topic.split('/'));
    loop {
        match (filters.next(), levels.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(filter), Some(level)) if filter == level => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_one_level_or_for_the_rest() {
        for (filter, topic) in [("a/b", "a/b"), ("+", "a"), ("#", "a/b"), ("a/#", "a"), ("a/+/c", "a//c"), ("+/+", "/")]
        {
            assert!(fits(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in
            [("a", "a/b"), ("+", "a/b"), ("a/#", "b"), ("#", "$SYS/x"), ("+/x", "$SYS/x"), ("a/b", "a")]
        {
            assert!(!fits(filter, topic), "{filter} {topic}");
        }
        assert!(fits("$SYS/#", "$SYS/x"));
    }
}
