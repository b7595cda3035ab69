//! The records committed last, kept in memory: a reader that follows the writer closely gets them
//! from here, and does not ask the disk for what has just been written to it.

use std::collections::VecDeque;
use std::ops::Range;

use super::done::Done;
use super::state::Pending;
use super::{Record, Seq};
use crate::clock::{Correction, time};

/// How many records are kept at most, and how many bytes of bodies.
const RECORDS: usize = 1024;
const BYTES: usize = 256 * 1024;

/// The end of the log. Without gaps: what lies between two of its records was never stored.
#[derive(Default)]
pub struct Warm {
    records: VecDeque<Pending>,
    bytes: usize,
}

impl Warm {
    /// Takes in what was just committed. What has to go for it is left in `records`, so that it can
    /// be freed without holding anybody up.
    pub fn push(&mut self, records: &mut Vec<Pending>) {
        self.bytes += records.iter().map(|record| record.body.len()).sum::<usize>();
        self.records.extend(records.drain(..));
        while self.records.len() > RECORDS || self.bytes > BYTES {
            let Some(cold) = self.records.pop_front() else { break };
            self.bytes -= cold.body.len();
            records.push(cold);
        }
    }

    /// The first unfinished records of `within`; `None` if the disk has to be asked.
    pub fn read(&self, done: &Done, within: Range<u64>, max_records: usize, max_bytes: usize) -> Option<Vec<Record>> {
        let wanted = done.first_open(within.start);
        if self.records.front()?.seq > wanted {
            return None;
        }
        let from = self.records.partition_point(|record| record.seq < wanted);
        let mut bytes = 0;
        let mut found = Vec::new();
        for record in self.records.range(from..).take_while(|record| record.seq < within.end) {
            if done.contains(record.seq) {
                continue;
            }
            bytes += record.body.len();
            if found.len() >= max_records || (bytes > max_bytes && !found.is_empty()) {
                break;
            }
            found.push(Record {
                seq: Seq(record.seq),
                captured_at: time(record.captured_at),
                correction: Correction::None,
                body: record.body.clone(),
            });
        }
        (!found.is_empty()).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn warm(seqs: Range<u64>, size: usize) -> Warm {
        let mut warm = Warm::default();
        for seq in seqs {
            warm.push(&mut vec![Pending { seq, captured_at: seq, body: Bytes::from(vec![0; size]) }]);
        }
        warm
    }

    fn read(warm: &Warm, done: &Done, within: Range<u64>, most: usize) -> Option<Vec<u64>> {
        Some(warm.read(done, within, most, 1000)?.iter().map(|record| record.seq.get()).collect())
    }

    #[test]
    fn it_serves_what_it_has_and_sends_to_the_disk_for_what_it_has_not() {
        let (warm, none) = (warm(10..20, 100), Done::default());
        assert_eq!(read(&warm, &none, 9..u64::MAX, 3), None, "9 may be on disk");
        assert_eq!(read(&warm, &Done::below(10), 0..u64::MAX, 3), Some(vec![10, 11, 12]));
        assert_eq!(read(&warm, &none, 15..18, 9), Some(vec![15, 16, 17]));
        assert_eq!(read(&warm, &none, 10..u64::MAX, 99).unwrap().len(), 10, "no more than the bytes allow");
        assert_eq!(read(&warm, &none, 20..u64::MAX, 9), None);
        let mut done = Done::below(11);
        done.insert(12..15);
        assert_eq!(read(&warm, &done, 0..u64::MAX, 3), Some(vec![11, 15, 16]));
        assert_eq!(warm.read(&none, 10..20, 9, 1).unwrap().len(), 1, "the first comes whatever its size");
        assert_eq!(read(&Warm::default(), &none, 0..9, 9), None);
    }

    #[test]
    fn it_is_bounded_in_records_and_in_bytes() {
        let many = warm(0..5000, 1);
        assert_eq!((many.records.len(), many.bytes), (RECORDS, RECORDS));
        let large = warm(0..20, BYTES / 4);
        assert_eq!((large.records.len(), large.bytes), (4, BYTES));
        assert!(warm(0..1, BYTES + 1).records.is_empty());
    }
}
