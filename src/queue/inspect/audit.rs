//! Every number that waits by the ledger is looked for in the files.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use super::super::done::Done;
use super::super::frame::Kind;
use super::super::header::HeaderState;
use super::super::scan::WINDOW;
use super::super::segment::{HEADER, Segment, file_name};
use super::known::{ATTEMPTS, Known, open, segments};
use super::{Overview, overview};

/// How long the writer is given before the files are read once more.
const PAUSE: Duration = Duration::from_millis(200);

/// How many missing ranges and damaged places are named; more are counted.
const NAMED: usize = 10_000;

/// Whether the files hold what the ledger says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Audit {
    /// What the ledger says.
    pub overview: Overview,
    /// Waiting messages that were read and found whole.
    pub found: u64,
    /// Messages that waited when the ledger was read, and were finished before they were.
    pub finished_since: u64,
    /// Waiting messages that are not there, or not whole.
    pub missing_count: u64,
    /// Their numbers, in order: at most 10,000 ranges.
    pub missing: Vec<Range<u64>>,
    /// Places in the log that hold no message although one stands behind them.
    pub damaged_count: u64,
    /// Where they are: at most 10,000.
    pub damaged: Vec<Damage>,
}

/// Bytes that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file's name.
    pub file: String,
    /// The bytes.
    pub bytes: Range<u64>,
}

impl Audit {
    /// Whether captured = acknowledged + waiting + dropped, and every waiting message is there.
    pub fn holds(&self) -> bool {
        let overview = &self.overview;
        let sum = overview.acknowledged + overview.waiting + overview.dropped.total();
        self.missing_count == 0 && sum == overview.captured
    }
}

/// Reads every message that waits, and holds what is there against the ledger.
///
/// # Errors
/// As [`overview`].
pub fn audit(dir: &Path) -> io::Result<Audit> {
    let mut attempt = 1;
    loop {
        let known = Known::read(dir)?;
        let mut audit = check(dir, &known)?;
        if audit.missing_count > 0 {
            audit.excuse(&Known::read(dir)?.ledger.done);
        }
        if audit.holds() || attempt == ATTEMPTS {
            audit.overview.oldest = overview(dir)?.oldest;
            return Ok(audit);
        }
        attempt += 1;
        sleep(PAUSE);
    }
}

/// Looks for every number that waits by the ledger.
fn check(dir: &Path, known: &Known) -> io::Result<Audit> {
    let mut audit = Audit { overview: known.overview(dir)?, ..Audit::default() };
    let mut expected = known.ledger.done.first_open(0);
    let firsts = segments(dir)?;
    for (index, &first) in firsts.iter().enumerate() {
        let end = firsts.get(index + 1).copied().unwrap_or(u64::MAX).min(known.stored_to);
        let Some(segment) = open(dir, first)? else { continue };
        let mut damaged = Places::default();
        if segment.check_header() != HeaderState::Good {
            damaged.note(0..HEADER);
        }
        let mut frames = segment.frames(HEADER..segment.size, WINDOW);
        let mut whole_to = HEADER;
        while let Some(found) = frames.next() {
            let (seq, is_record) = (found.frame.seq, found.frame.kind == Kind::Record);
            // What the writer is writing right now is not judged.
            if found.offset > whole_to && seq < end {
                damaged.note(whole_to..found.offset);
            }
            whole_to = frames.offset();
            if !is_record || seq < expected || seq >= end {
                continue;
            }
            audit.miss(&known.ledger.done, expected..seq);
            if !known.ledger.done.contains(seq) {
                audit.found += 1;
            }
            expected = known.ledger.done.first_open(seq + 1);
        }
        // Of a segment that was recycled under our hands, what was read means nothing.
        if is_still(dir, &segment)? {
            audit.damaged_count += damaged.count;
            let room = NAMED - audit.damaged.len();
            let named = damaged.named.into_iter().take(room);
            audit.damaged.extend(named.map(|bytes| Damage { file: file_name(first), bytes }));
        }
    }
    audit.miss(&known.ledger.done, expected..known.stored_to);
    Ok(audit)
}

impl Audit {
    /// Notes the numbers of a range that are not finished and were not found.
    fn miss(&mut self, done: &Done, range: Range<u64>) {
        let mut start = done.first_open(range.start);
        while start < range.end {
            let end = done.next_done(start).unwrap_or(u64::MAX).min(range.end);
            self.missing_count += end - start;
            if self.missing.len() < NAMED {
                self.missing.push(start..end);
            }
            start = done.first_open(end);
        }
    }

    /// Takes back what has been finished in the meantime.
    fn excuse(&mut self, done: &Done) {
        let before = self.missing_count;
        let named: u64 = self.missing.iter().map(|range| range.end - range.start).sum();
        self.missing_count -= named;
        for range in std::mem::take(&mut self.missing) {
            self.miss(done, range);
        }
        self.finished_since = before - self.missing_count;
    }
}

/// Places in one file: all are counted, and as many as may be shown are kept.
#[derive(Default)]
struct Places {
    count: u64,
    named: Vec<Range<u64>>,
}

impl Places {
    fn note(&mut self, bytes: Range<u64>) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(bytes);
        }
    }
}

/// Whether a segment's file still has its name, and so its meaning.
fn is_still(dir: &Path, segment: &Segment) -> io::Result<bool> {
    let opened = segment.file.metadata()?;
    match fs::metadata(dir.join(file_name(segment.first))) {
        Ok(named) => Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
