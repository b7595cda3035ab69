//! The last message of each topic whose publisher wanted it kept.
//!
//! Topics are sorted, so that a subscription gets its retained messages bit by bit: a [`Cursor`] remembers how far it has come,
//! and what is published meanwhile is not lost or sent twice.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::broker::limits::Limits;
use crate::broker::publication::{Publication, Qos};

use super::filter::{has_wildcards, matches};

/// How often it is looked for what is not worth keeping any more, at most.
const SWEEP: Duration = Duration::from_secs(1);

/// The retained messages.
#[derive(Debug, Default)]
pub struct Retained {
    topics: BTreeMap<Arc<str>, Kept>,
    bytes: usize,
    /// Nothing expires before that.
    expires: Option<Instant>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Kept {
    publication: Arc<Publication>,
    /// When it was published, as a number.
    serial: u64,
}

/// What became of a message that was to be retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is.
    Kept,
    /// It was empty, and the one before is not retained any more.
    Cleared,
    /// It was empty, and there was none before.
    Nothing,
    /// There was no room. What its topic had before is gone nevertheless: no value is better than a wrong one.
    NoRoom {
        /// Whether there was one before.
        cleared: bool,
    },
}

/// A subscription on its way through the retained messages.
#[derive(Debug)]
pub struct Cursor {
    /// The filter, without its group.
    pub filter: Arc<str>,
    /// How hard they are wanted.
    pub qos: Qos,
    /// The number of the subscription; 0 if it has none.
    pub identifier: u32,
    /// Whether rights are looked at for each message.
    pub is_checked: bool,
    /// What was published later came, or comes, as it was published.
    until: u64,
    /// The topic it has come past.
    past: Option<Arc<str>>,
}

impl Cursor {
    /// From the beginning, as far as what was published up to now.
    pub fn new(filter: Arc<str>, qos: Qos, identifier: u32, is_checked: bool, until: u64) -> Self {
        Self { filter, qos, identifier, is_checked, until, past: None }
    }

    /// That topic is done with.
    pub fn pass(&mut self, topic: &Arc<str>) {
        self.past = Some(Arc::clone(topic));
    }
}

impl Retained {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// What they count for, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All of them, by topic.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Publication>> {
        self.topics.values().map(|kept| &kept.publication)
    }

    /// Retains a message, or clears its topic if it is empty.
    pub fn keep(&mut self, publication: &Arc<Publication>, serial: u64, limits: &Limits) -> Outcome {
        if publication.payload.is_empty() {
            return if self.clear(&publication.topic) { Outcome::Cleared } else { Outcome::Nothing };
        }
        let weight = publication.weight();
        let before = self.topics.get(&publication.topic).map(|kept| kept.publication.weight());
        if publication.size() > limits.largest_retained
            || self.bytes - before.unwrap_or(0) + weight > limits.retained_bytes
            || before.is_none() && self.topics.len() >= limits.retained
        {
            return Outcome::NoRoom { cleared: self.clear(&publication.topic) };
        }
        self.bytes = self.bytes - before.unwrap_or(0) + weight;
        self.expires = [self.expires, publication.expires].into_iter().flatten().min();
        let kept = Kept { publication: Arc::clone(publication), serial };
        match self.topics.entry(Arc::clone(&publication.topic)) {
            Entry::Occupied(mut entry) => {
                entry.insert(kept);
            }
            Entry::Vacant(entry) => {
                entry.insert(kept);
            }
        }
        Outcome::Kept
    }

    /// The next message for a subscription; the cursor stays before it. Looks at `steps` topics at most, and counts
    /// them. `None` with steps left: there is no more.
    pub fn next(&self, cursor: &mut Cursor, steps: &mut usize, now: Instant) -> Option<&Arc<Publication>> {
        if !has_wildcards(&cursor.filter) {
            let kept = self.topics.get(&cursor.filter).filter(|_| cursor.past.is_none())?;
            return Some(&kept.publication).filter(|_| kept.is_for(cursor, now));
        }
        let prefix = literal_prefix(&cursor.filter).to_owned();
        let from = match &cursor.past {
            Some(past) => Bound::Excluded(&**past),
            None => Bound::Included(prefix.as_str()),
        };
        let mut passed = None;
        let mut found = None;
        for (topic, kept) in self.topics.range::<str, _>((from, Bound::Unbounded)) {
            if !topic.starts_with(&prefix) || *steps == 0 {
                break;
            }
            *steps -= 1;
            if kept.is_for(cursor, now) && matches(&cursor.filter, topic) {
                found = Some(&kept.publication);
                break;
            }
            passed = Some(topic);
        }
        if let Some(topic) = passed {
            cursor.past = Some(Arc::clone(topic));
        }
        found
    }

    /// When it is to be looked for what has expired.
    pub fn due(&self) -> Option<Instant> {
        let earliest = self.swept.map(|swept| swept + SWEEP);
        self.expires.map(|expires| earliest.map_or(expires, |earliest| earliest.max(expires)))
    }

    /// Forgets what has expired. How many there were, and their topics.
    pub fn sweep(&mut self, now: Instant) -> Vec<Arc<str>> {
        if self.due().is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.swept = Some(now);
        let gone: Vec<_> = self
            .topics
            .iter()
            .filter(|(_, kept)| kept.publication.has_expired(now))
            .map(|(topic, _)| Arc::clone(topic))
            .collect();
        for topic in &gone {
            self.clear(topic);
        }
        self.expires = self.iter().filter_map(|publication| publication.expires).min();
        gone
    }

    fn clear(&mut self, topic: &str) -> bool {
        let Some(kept) = self.topics.remove(topic) else { return false };
        self.bytes = self.bytes.saturating_sub(kept.publication.weight());
        true
    }
}

impl Kept {
    fn is_for(&self, cursor: &Cursor, now: Instant) -> bool {
        self.serial <= cursor.until && !self.publication.has_expired(now)
    }
}

/// What every topic begins with that a filter matches.
fn literal_prefix(filter: &str) -> &str {
    let wild = filter.find(['+', '#']).unwrap_or(filter.len());
    let prefix = filter.get(..wild).unwrap_or("");
    // `a/#` matches `a` as well.
    if filter.get(wild..) == Some("#") { prefix.strip_suffix('/').unwrap_or(prefix) } else { prefix }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn publication(topic: &str, payload: &str) -> Arc<Publication> {
        Arc::new(Publication { retain: true, ..Publication::new(topic, payload.to_owned()) })
    }

    fn all(retained: &Retained, filter: &str, until: u64) -> Vec<String> {
        let mut cursor = Cursor::new(filter.into(), Qos::AtMostOnce, 0, false, until);
        let now = Instant::now();
        let mut found = Vec::new();
        // Two steps at a time, as a connection would that is short of room.
        loop {
            let mut steps = 2;
            match retained.next(&mut cursor, &mut steps, now) {
                Some(publication) => {
                    found.push(publication.topic.to_string());
                    cursor.pass(&publication.topic);
                }
                None if steps > 0 => return found,
                None => {}
            }
        }
    }

    #[test]
    fn a_message_replaces_the_one_before_and_an_empty_one_clears() {
        let limits = Limits::default();
        let mut retained = Retained::default();
        assert_eq!(retained.keep(&publication("a", "1"), 1, &limits), Outcome::Kept);
        assert_eq!(retained.keep(&publication("a", "22"), 2, &limits), Outcome::Kept);
        assert_eq!((retained.len(), retained.bytes()), (1, publication("a", "22").weight()));
        assert_eq!(retained.keep(&publication("a", ""), 3, &limits), Outcome::Cleared);
        assert_eq!(retained.keep(&publication("a", ""), 4, &limits), Outcome::Nothing);
        assert_eq!((retained.len(), retained.bytes()), (0, 0));
    }

    #[test]
    fn what_finds_no_room_leaves_no_old_value_behind() {
        let limits = Limits { retained: 1, largest_retained: 10, ..Limits::default() };
        let mut retained = Retained::default();
        retained.keep(&publication("a", "1"), 1, &limits);
        assert_eq!(retained.keep(&publication("b", "1"), 2, &limits), Outcome::NoRoom { cleared: false });
        assert_eq!(retained.keep(&publication("a", "0123456789"), 3, &limits), Outcome::NoRoom { cleared: true });
        assert_eq!(retained.len(), 0);
    }

    #[test]
    fn what_is_published_after_a_subscription_is_not_brought_by_its_cursor() {
        let limits = Limits::default();
        let mut retained = Retained::default();
        for (serial, topic) in [(1, "a"), (2, "b"), (3, "c")] {
            retained.keep(&publication(topic, "1"), serial, &limits);
        }
        assert_eq!(all(&retained, "#", 2), ["a", "b"]);
        assert_eq!(all(&retained, "b", 2), ["b"]);
        assert_eq!(all(&retained, "c", 2), [""; 0]);
    }

    #[test]
    fn what_has_expired_is_not_brought_and_goes_at_the_next_sweep() {
        let limits = Limits::default();
        let now = Instant::now();
        let mut retained = Retained::default();
        let short = Publication { expires: Some(now), ..Publication::new("a", "1") };
        retained.keep(&Arc::new(short), 1, &limits);
        retained.keep(&publication("b", "1"), 2, &limits);
        assert_eq!(all(&retained, "#", 9), ["b"]);
        assert_eq!(all(&retained, "a", 9), [""; 0]);
        assert_eq!(retained.sweep(now), ["a".into()]);
        assert_eq!((retained.len(), retained.due()), (1, None));
    }

    proptest! {
        #[test]
        fn a_cursor_brings_what_its_filter_matches_once(
            topics in prop::collection::btree_set("\\$?[ab!0]?(/[ab!]?){0,3}", 0..20),
            filter in "(\\$?[ab+]{0,1}/){0,3}([ab]|#|\\+|)",
        ) {
            prop_assume!(super::super::filter::parse(&filter, 8).is_some());
            let mut retained = Retained::default();
            for topic in &topics {
                retained.keep(&publication(topic, "1"), 1, &Limits::default());
            }
            let expected: Vec<_> = topics.iter().filter(|topic| matches(&filter, topic)).cloned().collect();
            prop_assert_eq!(all(&retained, &filter, 1), expected);
        }
    }
}
