//! Retained messages never go back in time. Pure.
//!
//! A broker keeps the retained message that came last. A message from the backlog may come after
//! a newer one of its topic, and must then not be kept; everyone who listens sees it all the same.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::queue::Seq;

/// How many topics are known, at 16 bytes each.
const TOPICS: usize = 16_384;

/// The newest retained publication of each topic.
#[derive(Debug)]
pub struct Retained {
    hasher: RandomState,
    // Two topics with one hash cost a retain flag at worst.
    newest: HashMap<u64, Seq>,
    /// Below this, an earlier run had finished some; which topics they had is not known.
    finished_before: Seq,
    /// Topics were forgotten: of those that are not known, anything may have been published.
    forgot: bool,
}

impl Retained {
    /// Nothing published yet by this run; `finished_before` is one above the highest number that
    /// an earlier run had finished.
    pub fn new(finished_before: Seq) -> Self {
        Self { hasher: RandomState::new(), newest: HashMap::new(), finished_before, forgot: false }
    }

    /// Whether a publication may be retained: it is the newest of its topic so far. Takes note of
    /// it if so. `oldest`: everything below is finished and will not be published again.
    pub fn may_keep(&mut self, topic: &str, seq: Seq, replayed: bool, oldest: impl FnOnce() -> Seq) -> bool {
        let topic = self.hasher.hash_one(topic);
        if let Some(newest) = self.newest.get_mut(&topic) {
            let is_newest = seq >= *newest;
            *newest = seq.max(*newest);
            return is_newest;
        }
        if replayed && (seq < self.finished_before || self.forgot) {
            return false;
        }
        if self.newest.len() >= TOPICS {
            let oldest = oldest();
            self.newest.retain(|_, newest| *newest > oldest);
        }
        if self.newest.len() >= TOPICS {
            self.forgot = true;
        } else {
            self.newest.insert(topic, seq);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seq(n: u64) -> Seq {
        (0..n).fold(Seq::FIRST, |seq, _| seq.next())
    }

    proptest! {
        /// A broker that obeys never holds an older value than the newest it was ever sent.
        #[test]
        fn the_value_a_broker_keeps_never_gets_older(
            sent in proptest::collection::vec((0u8..4, 0u64..100), 0..200), finished in 0u64..50, live_from in 0u64..100,
        ) {
            let mut retained = Retained::new(seq(finished));
            let mut kept = std::collections::BTreeMap::new();
            for (topic, n) in sent {
                if retained.may_keep(&format!("t/{topic}"), seq(n), n < live_from, || Seq::FIRST) {
                    let before = kept.insert(topic, n);
                    prop_assert!(before.is_none_or(|before| before <= n), "{before:?} gave way to {n}");
                }
            }
        }
    }

    #[test]
    fn what_an_earlier_run_left_behind_newer_ones_is_not_kept() {
        let mut retained = Retained::new(seq(10));
        assert!(!retained.may_keep("a", seq(9), true, || seq(5)));
        assert!(retained.may_keep("a", seq(10), true, || seq(5)));
        assert!(!retained.may_keep("a", seq(9), true, || seq(5)));
    }

    #[test]
    fn with_too_many_topics_the_backlog_is_not_kept_and_the_present_is() {
        let mut retained = Retained::new(Seq::FIRST);
        for n in 0..TOPICS {
            assert!(retained.may_keep(&n.to_string(), seq(7), false, || seq(3)));
        }
        assert!(retained.may_keep("one more", seq(8), false, || seq(3)));
        assert!(!retained.may_keep("one more", seq(6), true, || seq(3)));
        assert!(retained.may_keep("one more", seq(9), false, || seq(3)));
        assert_eq!(retained.newest.len(), TOPICS);
    }

    #[test]
    fn topics_with_nothing_older_left_make_room_for_others() {
        let mut retained = Retained::new(Seq::FIRST);
        for n in 0..TOPICS {
            retained.may_keep(&n.to_string(), seq(7), false, || seq(8));
        }
        assert!(retained.may_keep("one more", seq(9), false, || seq(8)));
        assert!(!retained.may_keep("one more", seq(8), true, || seq(8)));
    }
}
