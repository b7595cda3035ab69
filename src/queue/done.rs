//! Which records are finished with: acknowledged, or dropped and counted.
//!
//! Everything below a cursor is finished; above it, finished records form ranges. An uplink
//! that sends live readings first and works off its backlog beside them makes two or three
//! ranges, and acknowledgements out of order add as many as the window is wide.

use std::collections::BTreeMap;
use std::ops::Range;

/// How many ranges are kept in memory. An acknowledgement that would open one more is refused,
/// which means at worst that its record is sent again.
pub const MAX_RANGES: usize = 65_536;

/// How many ranges go to disk with a snapshot: what fits a slot of the cursor file. After a
/// crash, records acknowledged above them are sent again.
pub const MAX_SAVED: usize = 250;

/// No queue gets this far; a set on disk that says so is nonsense.
const HIGHEST: u64 = u64::MAX / 2;

/// The set of finished sequence numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    cursor: u64,
    /// Start to end (exclusive) of each range above the cursor; disjoint, never touching.
    above: BTreeMap<u64, u64>,
}

impl Done {
    /// Everything below `cursor` finished, and nothing else.
    pub fn below(cursor: u64) -> Self {
        Self { cursor, above: BTreeMap::new() }
    }

    /// The lowest sequence number that is not finished.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// One above the highest finished sequence number.
    pub fn end(&self) -> u64 {
        self.above.last_key_value().map_or(self.cursor, |(_, end)| *end)
    }

    /// Whether `seq` is finished.
    pub fn contains(&self, seq: u64) -> bool {
        self.first_open(seq) != seq
    }

    /// The first unfinished sequence number at or above `from`.
    pub fn first_open(&self, from: u64) -> u64 {
        let from = from.max(self.cursor);
        match self.above.range(..=from).next_back() {
            Some((_, end)) if *end > from => *end,
            _ => from,
        }
    }

    /// The first finished sequence number above `open`, which is not finished itself.
    pub fn next_done(&self, open: u64) -> Option<u64> {
        self.above.range(open..).next().map(|(start, _)| *start)
    }

    /// How many of `range` are finished.
    pub fn count(&self, range: Range<u64>) -> u64 {
        let below = self.cursor.min(range.end).saturating_sub(range.start);
        let before = self.above.range(..range.start).next_back();
        let within = self.above.range(range.start..range.end.max(range.start));
        let above: u64 = before
            .into_iter()
            .chain(within)
            .map(|(start, end)| range.end.min(*end).saturating_sub(range.start.max(*start)))
            .sum();
        below + above
    }

    /// Whether `seq` could be added without opening a range beyond [`MAX_RANGES`].
    pub fn has_room_for(&self, seq: u64) -> bool {
        self.above.len() < MAX_RANGES || seq <= self.cursor || (seq > 0 && self.contains(seq - 1)) || self.contains(seq)
    }

    /// Adds a range, and says how many of it are new.
    pub fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let new = range.end - range.start - self.count(range.clone());
        if new == 0 {
            return 0;
        }
        let mut merged = range;
        while let Some((&start, &end)) = self.above.range(..=merged.end).next_back() {
            if end < merged.start {
                break;
            }
            self.above.remove(&start);
            merged = start.min(merged.start)..end.max(merged.end);
        }
        if merged.start <= self.cursor {
            self.cursor = self.cursor.max(merged.end);
        } else {
            self.above.insert(merged.start, merged.end);
        }
        new
    }

    /// Adds everything that is finished in `other`.
    pub fn merge(&mut self, other: &Done) {
        self.insert(0..other.cursor);
        for (start, end) in &other.above {
            self.insert(*start..*end);
        }
    }

    /// The part of the set that goes to disk: the cursor and the lowest ranges.
    pub fn saved(&self) -> Self {
        let above = self.above.iter().take(MAX_SAVED).map(|(start, end)| (*start, *end)).collect();
        Self { cursor: self.cursor, above }
    }

    /// Appends the set: the cursor, then start and end of each range, all as u64.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.cursor.to_le_bytes());
        for (start, end) in &self.above {
            out.extend_from_slice(&start.to_le_bytes());
            out.extend_from_slice(&end.to_le_bytes());
        }
    }

    /// Reads what [`Done::encode`] wrote. `None` if it makes no sense.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        let mut numbers = numbers.iter().map(|number| u64::from_le_bytes(*number));
        let mut done = Self::below(numbers.next().filter(|cursor| *cursor <= HIGHEST)?);
        while let Some(start) = numbers.next() {
            let end = numbers.next()?;
            if start <= done.end() || end <= start || end > HIGHEST {
                return None;
            }
            done.above.insert(start, end);
        }
        rest.is_empty().then_some(done)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_set(
            ranges in prop::collection::vec((0u64..200, 0u64..20), 0..60), probe in 0u64..230, span in 0u64..80,
        ) {
            let (mut done, mut model) = (Done::default(), BTreeSet::new());
            for (start, len) in ranges {
                let before = model.len();
                model.extend(start..start + len);
                prop_assert_eq!(done.insert(start..start + len), (model.len() - before) as u64);
            }
            prop_assert_eq!(done.contains(probe), model.contains(&probe));
            let open = (probe..).find(|seq| !model.contains(seq)).unwrap();
            prop_assert_eq!(done.first_open(probe), open);
            prop_assert_eq!(done.next_done(open), (open..300).find(|seq| model.contains(seq)));
            prop_assert_eq!(done.cursor(), (0..).find(|seq| !model.contains(seq)).unwrap());
            prop_assert_eq!(done.end(), model.last().map_or(0, |last| last + 1));
            prop_assert_eq!(done.count(probe..probe + span), model.range(probe..probe + span).count() as u64);
            let mut bytes = Vec::new();
            done.encode(&mut bytes);
            prop_assert_eq!(Done::decode(&bytes), Some(done.clone()));
            let mut merged = Done::below(3);
            merged.merge(&done);
            let mut both = done.clone();
            both.insert(0..3);
            prop_assert_eq!(merged, both);
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
            let _ = Done::decode(&bytes);
        }
    }

    #[test]
    fn a_set_full_of_ranges_takes_only_what_joins_one() {
        let mut done = Done::default();
        for n in 1..=MAX_RANGES as u64 {
            done.insert(2 * n..2 * n + 1);
        }
        assert!(!done.has_room_for(1_000_000));
        assert!(done.has_room_for(0));
        assert!(done.has_room_for(3));
        assert!(done.has_room_for(4));
    }
}
