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
        longest = longest.iter().flat_map(|topic| words.iter().map(move |word| format!("{topic}/{word}"))).collect();
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

/// What the standard says of a filter's characters, sentence by sentence.
fn is_filter_by_the_book(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let stands_alone = |level: &&str| level.len() == 1 || !level.contains(['+', '#']);
    !filter.is_empty()
        && !filter.contains('\0')
        && levels.iter().all(stands_alone)
        && !levels[..levels.len() - 1].contains(&"#")
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
    fn a_filter_is_what_the_standard_says(text in "[a+#/\\x00]{0,6}", group in "[g+#]{0,2}") {
        prop_assert_eq!(check_filter(&text).is_ok(), is_filter_by_the_book(&text), "{:?}", text);
        prop_assert_eq!(is_topic(&text), is_filter_by_the_book(&text) && !text.contains(['+', '#']));
        prop_assert_eq!(levels(&text), text.split('/').count());
        let whole = format!("$share/{group}/{text}");
        let parsed = Subscription::parse(&whole).map(|parsed| (parsed.group, parsed.filter));
        let is_one = is_filter_by_the_book(&text) && !group.is_empty() && !group.contains(['+', '#']);
        prop_assert_eq!(parsed, is_one.then_some((Some(group.as_str()), text.as_str())), "{:?}", whole);
    }

    #[test]
    fn a_filter_matches_what_the_standard_says(filter in filters()) {
        prop_assert_eq!(check_filter(&filter), Ok(()));
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
        let _ = (check_filter(&one), matches(&one, &other), overlap(&one, &other), includes(&other, &one));
        let _ = (Subscription::parse(&one), Subscription::parse(&other), is_topic(&one), levels(&other));
    }
}

#[test]
fn the_examples_of_the_standard_are_matched_as_it_says() {
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
fn filters_that_share_a_topic_overlap() {
    let check = |one, other, expected| {
        assert_eq!(overlap(one, other), expected, "{one} and {other}");
        assert_eq!(overlap(other, one), expected, "{other} and {one}");
    };
    check("a/b", "a/b", true);
    check("a/b", "a/c", false);
    check("a/+", "+/b", true);
    check("a/+", "b/+", false);
    check("a/#", "a", true);
    check("a/#", "a/b/c", true);
    check("a/#", "+/b/#", true);
    check("a/+", "a", false);
    check("#", "a", true);
    check("#", "$SYS/a", false);
    check("$SYS/#", "$SYS/a", true);
    // Only the empty topic would be of both, and there is none.
    check("/#", "+", false);
}

#[test]
fn a_filter_that_is_none_is_told_why() {
    for (filter, why) in [
        ("", NoFilter::Empty),
        ("a/#/b", NoFilter::NotTheEnd),
        ("a#", NoFilter::PartOfALevel("a#")),
        ("a/b+/c", NoFilter::PartOfALevel("b+")),
        ("a\0", NoFilter::NoText),
        (&"a".repeat(LONGEST + 1), NoFilter::NoText),
    ] {
        assert_eq!(check_filter(filter), Err(why), "{filter}");
    }
    for filter in ["#", "+", "/", "a//b", "+/+/#", "$SYS/#", "/#", &"a".repeat(LONGEST)] {
        assert_eq!(check_filter(filter), Ok(()), "{filter}");
    }
}

#[test]
fn a_shared_filter_is_taken_apart() {
    for (text, group, filter) in
        [("$share/g/a/b", Some("g"), "a/b"), ("$share/g//a", Some("g"), "/a"), ("$shared", None, "$shared")]
    {
        assert_eq!(Subscription::parse(text), Some(Subscription { group, filter }));
        assert_eq!(is_shared(text), group.is_some());
    }
    for none in ["$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g/a#"] {
        assert_eq!(Subscription::parse(none), None, "{none}");
    }
}
