//! Topic filters: what they match, where two of them meet, when one has all of another.
//!
//! A filter is levels between slashes; `+` stands for one level and `#`, at the end, for any number of
//! them, none included. Neither stands for a first level that begins with `$` (MQTT 5, chapter 4.7). Texts that are no
//! valid filters come to no harm here; what they match is of no meaning then.

/// The most levels a filter in a rule may have. Clients have a bound of their own.
pub const MOST_LEVELS: usize = 64;

/// Checks a filter as it may stand in a rule; the error says in words what is wrong with it.
pub fn check(filter: &str) -> Result<(), String> {
    if filter.is_empty() {
        return Err("a topic filter cannot be empty".into());
    }
    if filter.len() > usize::from(u16::MAX) || filter.contains('\0') {
        return Err("a topic filter has 65535 bytes at most, and no NUL among them".into());
    }
    if filter.starts_with("$share/") {
        return Err(
            "a rule holds for shared subscriptions as for others: write it without `$share/` and the group".into()
        );
    }
    let levels = filter.split('/').count();
    if levels > MOST_LEVELS {
        return Err(format!("a topic filter has {MOST_LEVELS} levels at most, this one has {levels}"));
    }
    for (index, level) in filter.split('/').enumerate() {
        match level {
            "#" if index + 1 < levels => return Err("`#` stands at the end alone".into()),
            "#" | "+" => {}
            _ if level.contains(['+', '#']) => {
                return Err(format!("in `{level}` a wildcard does not stand for a whole level"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a filter matches a topic.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(text), Some(level)) if text == level => {}
            _ => return false,
        }
    }
}

/// Whether there is a topic that both filters match.
pub fn overlap(one: &str, other: &str) -> bool {
    if is_system(one) && begins_wild(other) || is_system(other) && begins_wild(one) {
        return false;
    }
    let (mut one, mut other) = (spelt_out(one).split('/'), spelt_out(other).split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(_), Some("+")) | (Some("+"), Some(_)) => {}
            (Some(text), Some(level)) if text == level => {}
            _ => return false,
        }
    }
}

/// Whether a filter matches every topic that another one matches.
pub fn includes(whole: &str, part: &str) -> bool {
    if is_system(part) && begins_wild(whole) {
        return false;
    }
    let (mut whole, mut part) = (whole.split('/'), spelt_out(part).split('/'));
    loop {
        match (whole.next(), part.next()) {
            (Some("#"), _) | (None, None) => return true,
            (_, Some("#")) => return false,
            (Some("+"), Some(_)) => {}
            (Some(text), Some(level)) if text == level => {}
            _ => return false,
        }
    }
}

/// Whether what it matches begins with `$`.
fn is_system(filter: &str) -> bool {
    filter.starts_with('$')
}

/// The same filter, without the empty topic: there is none.
fn spelt_out(filter: &str) -> &str {
    match filter {
        "#" => "+/#",
        "/#" => "/+/#",
        other => other,
    }
}

fn begins_wild(filter: &str) -> bool {
    filter.starts_with(['+', '#'])
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    /// Every topic of up to four levels over a few words. `z` is in no filter, so it stands for all words that are not.
    fn topics() -> &'static [String] {
        static TOPICS: LazyLock<Vec<String>> = LazyLock::new(all_topics);
        &TOPICS
    }

    fn all_topics() -> Vec<String> {
        let words = ["a", "b", "z", "", "$a"];
        let mut topics: Vec<String> = words.iter().map(ToString::to_string).collect();
        let mut longest = topics.clone();
        for _ in 0..3 {
            longest =
                longest.iter().flat_map(|topic| words.iter().map(move |word| format!("{topic}/{word}"))).collect();
            topics.extend(longest.iter().cloned());
        }
        topics.retain(|topic| !topic.is_empty());
        topics
    }

    /// The definition, level by level.
    fn matches_by_the_book(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => matches_by_the_book(filter, topic),
            ([text, filter @ ..], [level, topic @ ..]) => text == level && matches_by_the_book(filter, topic),
            _ => false,
        }
    }

    fn by_the_book(filter: &str, topic: &str) -> bool {
        let (f, t): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
        !(topic.starts_with('$') && matches!(f[0], "+" | "#")) && matches_by_the_book(&f, &t)
    }

    /// Filters of up to three levels: with a topic of one more every difference shows.
    fn filters() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["a", "b", "", "$a", "+", "+"]);
        (prop::collection::vec(level, 0..=3), any::<bool>()).prop_filter_map("empty", |(mut levels, open)| {
            if open && levels.len() < 3 {
                levels.push("#");
            }
            Some(levels.join("/")).filter(|filter| !filter.is_empty())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn a_filter_matches_what_the_standard_says(filter in filters()) {
            prop_assert!(check(&filter).is_ok());
            for topic in topics() {
                prop_assert_eq!(matches(&filter, topic), by_the_book(&filter, topic), "{} on {}", filter, topic);
            }
        }

        #[test]
        fn two_filters_overlap_if_there_is_a_topic_for_both(one in filters(), other in filters()) {
            let both = topics().iter().any(|topic| matches(&one, topic) && matches(&other, topic));
            prop_assert_eq!(overlap(&one, &other), both);
            prop_assert_eq!(overlap(&other, &one), both);
        }

        #[test]
        fn a_filter_includes_another_if_there_is_no_topic_for_that_one_alone(whole in filters(), part in filters()) {
            let alone = topics().iter().find(|topic| matches(&part, topic) && !matches(&whole, topic));
            prop_assert_eq!(includes(&whole, &part), alone.is_none(), "{:?}", alone);
        }

        #[test]
        fn no_text_does_harm(one in ".{0,12}", other in "[a/+#$]{0,8}") {
            let _ = (check(&one), matches(&one, &other), overlap(&one, &other), includes(&other, &one));
        }
    }

    #[test]
    fn a_filter_that_is_none_is_told_why() {
        for (filter, why) in [
            ("", "empty"),
            ("a/#/b", "end"),
            ("a#", "whole level"),
            ("a/b+/c", "`b+`"),
            ("a\0", "NUL"),
            ("$share/g/a", "$share"),
            (&"/".repeat(MOST_LEVELS), "levels"),
        ] {
            let told = check(filter).unwrap_err();
            assert!(told.contains(why), "{filter}: {told}");
        }
        for filter in ["#", "+", "/", "a//b", "+/+/#", "$SYS/#", "/#"] {
            assert_eq!(check(filter), Ok(()), "{filter}");
        }
    }
}
