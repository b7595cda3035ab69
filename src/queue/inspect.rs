//! Looks at a queue's files from outside, while its writer is at work or when it is gone, and
//! changes nothing.
//!
//! The writer may commit, roll, free and recycle segments meanwhile. So the ledger is read first,
//! and with it how far the log reached at that moment: what came later is not judged. A message that
//! was waiting by the ledger and is not found is looked up in the ledger as it is then: if it has
//! been finished in between, all is well. Files are streamed: memory does not grow with the queue.

mod audit;
mod known;

use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::counters::Dropped;
use super::frame::Kind;
use super::losses::Loss;
use super::scan::WINDOW;
use super::segment::HEADER;
use super::state::corrected;
use super::{Record, Seq};
use crate::clock::time;
use known::{Known, open, segments};

pub use audit::{Audit, Damage, audit};

/// What a queue's files say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overview {
    /// Messages captured since the queue was made, as far as the disk knows.
    pub captured: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Messages that wait.
    pub waiting: u64,
    /// Of these, messages that are in the memory of the gateway and not on disk yet. Of one that
    /// was killed they are gone.
    pub unstored: u64,
    /// Messages dropped, by reason.
    pub dropped: Dropped,
    /// The first message that waits, and when it was captured.
    pub oldest: Option<(Seq, SystemTime)>,
    /// Losses the broker has not been told of, oldest first.
    pub losses: Vec<Loss>,
    /// Bytes all segments take on disk, the spare included: what `max_size` bounds, counted as in
    /// [`Counters::disk_bytes`](super::Counters::disk_bytes).
    pub disk_bytes: u64,
    /// Segments in use.
    pub segments: usize,
    /// Segments set aside as `*.corrupt`.
    pub set_aside: usize,
}

/// A message in the files.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The message.
    pub record: Record,
    /// It is acknowledged or dropped, and its segment not freed yet.
    pub finished: bool,
}

/// Reads the ledger and how far the log reaches. A directory that is not there is an empty queue.
///
/// # Errors
/// The directory or a file in it cannot be read.
pub fn overview(dir: &Path) -> io::Result<Overview> {
    let known = Known::read(dir)?;
    let mut overview = known.overview(dir)?;
    walk_known(dir, &known, 0, 1, false, &mut |kept| {
        overview.oldest = Some((kept.record.seq, kept.record.captured_at));
        false
    })?;
    Ok(overview)
}

/// Hands over the messages that wait, in order, beginning with number `from`: `most` of them at the
/// most, until `each` returns false. With `finished`, also those that are finished with and still
/// there. What comes in meanwhile is left out.
///
/// # Errors
/// As [`overview`].
pub fn walk(dir: &Path, from: u64, most: u64, finished: bool, mut each: impl FnMut(Kept) -> bool) -> io::Result<()> {
    walk_known(dir, &Known::read(dir)?, from, most, finished, &mut each)
}

fn walk_known(
    dir: &Path,
    known: &Known,
    from: u64,
    most: u64,
    finished: bool,
    each: &mut dyn FnMut(Kept) -> bool,
) -> io::Result<()> {
    let (mut from, mut left) = (from, most);
    let firsts = segments(dir)?;
    for (index, &first) in firsts.iter().enumerate() {
        let end = firsts.get(index + 1).copied().unwrap_or(u64::MAX).min(known.stored_to);
        if end <= from || (!finished && known.ledger.done.first_open(from.max(first)) >= end) {
            continue;
        }
        let Some(segment) = open(dir, first)? else { continue };
        for found in segment.frames(HEADER..segment.size, WINDOW) {
            let frame = found.frame;
            if frame.kind != Kind::Record || frame.seq < from || frame.seq >= end {
                continue;
            }
            from = frame.seq + 1;
            let is_finished = known.ledger.done.contains(frame.seq);
            if is_finished && !finished {
                continue;
            }
            if left == 0 {
                return Ok(());
            }
            left -= 1;
            let correction = known.ledger.eras.correction(frame.seq, frame.captured_at);
            let captured_at = time(corrected(frame.captured_at, correction));
            let record = Record { seq: Seq(frame.seq), captured_at, correction, body: frame.body };
            if !each(Kept { record, finished: is_finished }) {
                return Ok(());
            }
        }
    }
    Ok(())
}
