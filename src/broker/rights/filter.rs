//! Topic filters as they may stand in a rule.

use wharf_contract::topic;
pub use wharf_contract::topic::{includes, matches, overlap};

/// The most levels a filter in a rule may have. Clients have a bound of their own.
pub const MOST_LEVELS: usize = 64;

/// Checks a filter as it may stand in a rule; the error says in words what is wrong with it.
pub fn check(filter: &str) -> Result<(), String> {
    if topic::is_shared(filter) {
        return Err(
            "a rule holds for shared subscriptions as for others: write it without `$share/` and the group".into()
        );
    }
    let levels = topic::levels(filter);
    if levels > MOST_LEVELS {
        return Err(format!("a topic filter has {MOST_LEVELS} levels at most, this one has {levels}"));
    }
    topic::check_filter(filter).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

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
