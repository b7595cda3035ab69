//! Reads committed records out of one segment.
//!
//! A read runs on tokio's blocking threads: an SD card that is busy writing can hold a `pread`
//! for a tenth of a second, and no worker of the runtime may stand still that long. One read
//! brings a batch, so the hop costs a fraction of a microsecond per record.

use std::ops::Range;
use std::sync::Arc;

use super::frame::{self, Kind};
use super::segment::{Mark, Segment};
use super::{Record, Seq};
use crate::clock::{Correction, time};

/// What to read.
pub struct Job {
    /// The file.
    pub segment: Arc<Segment>,
    /// Where to start: at or before the first wanted record.
    pub start: Mark,
    /// The records wanted: all of them committed and, a moment ago, unacknowledged.
    pub wanted: Range<u64>,
    /// Offset behind the last committed frame.
    pub end_offset: u64,
    /// How many records to read at most.
    pub max_records: usize,
    /// How many bytes of bodies to read at most; the first record comes whatever its size.
    pub max_bytes: usize,
    /// The likely length of a frame in bytes.
    pub frame_len: u64,
}

/// What was read.
#[derive(Default)]
pub struct Outcome {
    /// The records, in order.
    pub records: Vec<Record>,
    /// Sequence numbers that should have been there and were not.
    pub missing: Vec<Missing>,
    /// Where the next read may start.
    pub reached: Option<Mark>,
}

/// Records that are not where they should be.
pub struct Missing {
    /// Their sequence numbers.
    pub seqs: Range<u64>,
    /// When their neighbours were captured, where there are any.
    pub times: Option<(u64, u64)>,
}

impl Job {
    /// Reads. Blocks on the disk.
    pub fn run(&self) -> Outcome {
        let mut outcome = Outcome::default();
        let mut expected = self.start.seq;
        let mut bytes = 0;
        let mut last_time = None;
        // What lies before the first wanted record is walked over in full windows.
        let near = self.wanted.start.saturating_sub(self.start.seq) <= self.max_records as u64;
        let likely = self.frame_len.saturating_mul((self.max_records as u64).saturating_add(1));
        let guess = likely.min((self.max_bytes as u64).saturating_mul(2));
        let window = if near { guess as usize } else { usize::MAX };
        let mut frames = self.segment.frames(self.start.offset..self.end_offset, window);
        while expected < self.wanted.end && outcome.records.len() < self.max_records {
            let Some(found) = frames.next() else {
                // The file ends early, so the rest of it is gone.
                outcome.missing.push(Missing { seqs: expected..self.wanted.end, times: both(last_time, None) });
                expected = self.wanted.end;
                break;
            };
            let frame = found.frame;
            if frame.kind != Kind::Record || frame.seq < expected {
                continue;
            }
            if frame.seq > expected {
                let seqs = expected..frame.seq.min(self.wanted.end);
                outcome.missing.push(Missing { seqs, times: both(last_time, Some(frame.captured_at)) });
            }
            expected = frame.seq;
            let full = !outcome.records.is_empty() && bytes + frame.body.len() > self.max_bytes;
            if frame.seq >= self.wanted.end || full {
                outcome.reached = Some(Mark { seq: expected, offset: found.offset });
                return outcome;
            }
            expected += 1;
            last_time = Some(frame.captured_at);
            if frame.seq >= self.wanted.start {
                bytes += frame.body.len();
                outcome.records.push(Record {
                    seq: Seq(frame.seq),
                    captured_at: time(frame.captured_at),
                    correction: Correction::None,
                    body: frame.body,
                });
            }
        }
        outcome.reached = Some(Mark { seq: expected, offset: frames.offset() });
        outcome
    }
}

fn both(before: Option<u64>, after: Option<u64>) -> Option<(u64, u64)> {
    let first = before.or(after)?;
    Some((first, after.unwrap_or(first)))
}

/// The longest body a file of this size can hold.
pub fn largest_body(segment_size: u64) -> usize {
    segment_size.saturating_sub(super::segment::HEADER + frame::HEADER as u64) as usize
}
