//! MQTT topics and topic filters: what is one, and which filter is for which topic (MQTT 3.1.1 and 5, chapter 4.7).
//!
//! A topic is levels between slashes. In a filter `+` stands for one level and `#`, at the end, for any number of them,
//! none included (4.7.1). Neither stands for a first level that begins with `$` (4.7.2). Pure functions over text. Texts
//! that are no filters come to no harm in them; what they match is of no meaning then.

/// The longest topic or filter, in bytes (4.7.3).
pub const LONGEST: usize = 65_535;

/// What the topics begin with that are the broker's own (4.7.2).
const SYSTEM: char = '$';

/// The two wildcards: one level, and all that follow.
const WILDCARDS: [char; 2] = ['+', '#'];

/// What a shared subscription begins with (MQTT 5, chapter 4.8.2).
const SHARE: &str = "$share/";

/// Why a text is no topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFilter<'a> {
    /// There has to be a character (4.7.3).
    #[error("a topic filter cannot be empty")]
    Empty,
    /// It is too long, or has a NUL (4.7.3).
    #[error("a topic filter has 65535 bytes at most, and no NUL among them")]
    NoText,
    /// Something follows a `#` (4.7.1.2).
    #[error("`#` stands at the end alone")]
    NotTheEnd,
    /// This level has a wildcard and something else (4.7.1.2 and 4.7.1.3).
    #[error("in `{0}` a wildcard does not stand for a whole level")]
    PartOfALevel(&'a str),
}

/// Checks a filter, its group not among it.
///
/// # Errors
/// It is none, and why.
pub fn check_filter(filter: &str) -> Result<(), NoFilter<'_>> {
    if filter.is_empty() {
        return Err(NoFilter::Empty);
    }
    if !is_text(filter) {
        return Err(NoFilter::NoText);
    }
    let mut rest = filter.split('/').peekable();
    while let Some(level) = rest.next() {
        match level {
            "#" if rest.peek().is_some() => return Err(NoFilter::NotTheEnd),
            "#" | "+" => {}
            _ if has_wildcards(level) => return Err(NoFilter::PartOfALevel(level)),
            _ => {}
        }
    }
    Ok(())
}

/// Whether something may be published under a name (3.3.2.1 and 4.7.3).
pub fn is_topic(name: &str) -> bool {
    !name.is_empty() && is_text(name) && !has_wildcards(name)
}

/// How many levels a topic or a filter has: 1 or more.
pub fn levels(name: &str) -> usize {
    name.bytes().filter(|byte| *byte == b'/').count() + 1
}

/// Whether a topic, or what a filter matches, is the broker's own.
#[inline]
pub fn is_system(name: &str) -> bool {
    name.starts_with(SYSTEM)
}

/// Whether a filter may match more than the topic that is spelled like it.
#[inline]
pub fn has_wildcards(filter: &str) -> bool {
    filter.contains(WILDCARDS)
}

/// What a client subscribes to: a filter, and the group it shares it with, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// The group of `$share/group/filter`.
    pub group: Option<&'a str>,
    /// The filter itself.
    pub filter: &'a str,
}

impl<'a> Subscription<'a> {
    /// Takes the filter of a subscription apart. `None` if it is none.
    pub fn parse(text: &'a str) -> Option<Self> {
        let subscription = match text.strip_prefix(SHARE) {
            None => Self { group: None, filter: text },
            Some(rest) => {
                let (group, filter) = rest.split_once('/')?;
                if group.is_empty() || has_wildcards(group) {
                    return None;
                }
                Self { group: Some(group), filter }
            }
        };
        check_filter(subscription.filter).is_ok().then_some(subscription)
    }
}

/// Whether a subscription to that is, or means to be, a shared one.
pub fn is_shared(filter: &str) -> bool {
    filter.starts_with(SHARE)
}

/// Whether a filter matches a topic.
pub fn matches(filter: &str, topic: &str) -> bool {
    if is_system(topic) && begins_wild(filter) {
        return false;
    }
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            // `a/#` matches `a` as well.
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

fn is_text(name: &str) -> bool {
    name.len() <= LONGEST && !name.contains('\0')
}

fn begins_wild(filter: &str) -> bool {
    filter.starts_with(WILDCARDS)
}

/// The same filter, without the empty topic: there is none.
fn spelt_out(filter: &str) -> &str {
    match filter {
        "#" => "+/#",
        "/#" => "/+/#",
        other => other,
    }
}

#[cfg(test)]
mod tests;
