//! Which records are finished with: acknowledged, or dropped and counted.
//!
//! Everything below a cursor is finished; above it, finished records form ranges. An uplink
//! that sends live readings first and works off its backlog beside them makes two or three
//! ranges, and acknowledgements out of order add as many as the window is wide.

use std::collections::BTreeMap;
use std::ops::Range;

/// How many ranges there are at most, in memory as on disk.
pub const MAX_RANGES: usize = 16_000;

/// How many of them acknowledgements may open. One that would open more is refused, which means
/// at worst that its record is sent again. The rest is for what was dropped, which cannot be
/// refused.
pub const MAX_ACKNOWLEDGED: usize = 12_000;

/// No queue gets this far: a name or a ledger that says so is nonsense.
pub const HIGHEST: u64 = 1 << 61;

/// The set of finished sequence numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    cursor: u64,
    /// Start to end (exclusive) of each range above the cursor; disjoint, never touching.
    above: BTreeMap<u64, u64>,
    /// How many numbers the ranges hold.
    len_above: u64,
}

impl Done {
    /// Everything below `cursor` finished, and nothing else.
    pub fn below(cursor: u64) -> Self {
        Self { cursor, ..Self::default() }
    }

    /// The lowest sequence number that is not finished.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// How many numbers are finished.
    pub fn len(&self) -> u64 {
        self.cursor + self.len_above
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

    /// Whether `seq` could be added without opening a range beyond [`MAX_ACKNOWLEDGED`].
    pub fn has_room_for(&self, seq: u64) -> bool {
        self.above.len() < MAX_ACKNOWLEDGED
            || seq <= self.cursor
            || (seq > 0 && self.contains(seq - 1))
            || self.contains(seq)
    }

    /// Adds a range, and says how many of it are new.
    pub fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        // Nearly always the oldest is finished first.
        if range.start == self.cursor && self.above.first_key_value().is_none_or(|(start, _)| *start > range.end) {
            self.cursor = range.end;
            return range.end - range.start;
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
            self.len_above -= end - start;
            merged = start.min(merged.start)..end.max(merged.end);
        }
        if merged.start <= self.cursor {
            self.cursor = self.cursor.max(merged.end);
        } else {
            self.len_above += merged.end - merged.start;
            self.above.insert(merged.start, merged.end);
        }
        new
    }

    /// The shortest stretch between two ranges, if there are more ranges than allowed.
    pub fn overflow(&self) -> Option<Range<u64>> {
        if self.above.len() <= MAX_RANGES {
            return None;
        }
        let starts = self.above.keys();
        let ends = std::iter::once(&self.cursor).chain(self.above.values());
        ends.zip(starts).min_by_key(|(end, start)| **start - **end).map(|(end, start)| *end..*start)
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
            done.len_above += end - start;
            done.above.insert(start, end);
        }
        (rest.is_empty() && done.above.len() <= MAX_RANGES).then_some(done)
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
            prop_assert_eq!(done.len(), model.len() as u64);
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
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
            let _ = Done::decode(&bytes);
        }
    }

    #[test]
    fn a_set_full_of_ranges_takes_only_what_joins_one() {
        let mut done = Done::default();
        for n in 1..=MAX_ACKNOWLEDGED as u64 {
            done.insert(2 * n..2 * n + 1);
        }
        assert!(!done.has_room_for(1_000_000));
        assert!(done.has_room_for(0));
        assert!(done.has_room_for(3));
        assert!(done.has_room_for(4));
    }

    #[test]
    fn one_range_too_many_names_the_shortest_stretch_that_waits() {
        let mut done = Done::default();
        for n in 1..=MAX_RANGES as u64 {
            done.insert(10 * n..10 * n + 1);
        }
        assert_eq!(done.overflow(), None);
        done.insert(5..6);
        assert_eq!(done.overflow(), Some(6..10));
        done.insert(6..10);
        assert_eq!(done.overflow(), None);
    }
}
