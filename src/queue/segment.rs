//! One file of the log: its name, its header, and what the queue knows about it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::frame;
use super::header::{self, Format, HeaderState};
use super::scan::Frames;

/// Bytes before the first frame.
pub const HEADER: u64 = header::LENGTH;

const FORMAT: Format = Format { magic: *b"whsg", version: 1 };

/// How many numbers a segment spans at most. Most of them may belong to messages that were never
/// stored, so the file's size says nothing about it.
pub const MAX_SPAN: u64 = 1 << 32;

/// How far apart places in a file are remembered, in bytes: a read that starts anywhere walks
/// over less than this.
const MARK_EVERY: u64 = 128 * 1024;

/// An open segment file. Shared with readers, which keep it readable while it is unlinked.
pub struct Segment {
    /// The file, open for reading and writing.
    pub file: File,
    /// The first sequence number that may be in it, as its name says.
    pub first: u64,
    /// Its size on disk in bytes, unused space included.
    pub size: u64,
}

/// `00000000000000000042.seg`, so that the order of names is the order of age.
pub fn file_name(first: u64) -> String {
    format!("{first:020}.seg")
}

/// The first sequence number in a segment's name; `None` for every other file.
pub fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

impl Segment {
    /// Writes the header. The caller syncs.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_header(&self) -> io::Result<()> {
        self.file.write_all_at(&FORMAT.header(self.first), 0)
    }

    /// Reads and judges the header.
    pub fn check_header(&self) -> HeaderState {
        FORMAT.check(&self.file, self.first)
    }

    /// The sequence numbers that can be in it. Anything else in it is stale.
    pub fn seqs(&self) -> Range<u64> {
        self.first..self.first.saturating_add(MAX_SPAN)
    }

    /// The good frames that lie in `place`.
    pub fn frames(&self, place: Range<u64>, window: usize) -> Frames<'_> {
        Frames::new(&self.file, place, self.seqs(), super::MAX_BODY, window)
    }
}

/// A place in a segment: the frame at `offset`, or the first record after it, carries `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// A sequence number.
    pub seq: u64,
    /// An offset in bytes.
    pub offset: u64,
}

/// A segment in the catalogue, and how much of it is committed.
pub struct Entry {
    /// The file.
    pub segment: Arc<Segment>,
    /// One above the last committed sequence number.
    pub end: u64,
    /// Offset behind the last committed frame, or the file's size if that is not known.
    pub end_offset: u64,
    /// When its first and last records were captured, as far as that is known.
    pub times: Option<(u64, u64)>,
    /// It failed once: when it is finished with it is not used again.
    pub suspect: bool,
    marks: Vec<Mark>,
}

impl Entry {
    /// A segment without committed records.
    pub fn new(segment: Arc<Segment>) -> Self {
        Self { end: segment.first, end_offset: HEADER, segment, times: None, suspect: false, marks: Vec::new() }
    }

    /// The sequence numbers of its records.
    pub fn seqs(&self) -> Range<u64> {
        self.segment.first..self.end
    }

    /// Notes that records captured between these times were added.
    pub fn saw_times(&mut self, from: u64, to: u64) {
        let (first, last) = self.times.unwrap_or((from, to));
        self.times = Some((first.min(from), last.max(to)));
    }

    /// The nearest known place at or before `seq`.
    pub fn mark_before(&self, seq: u64) -> Mark {
        match self.marks.partition_point(|mark| mark.seq <= seq) {
            0 => Mark { seq: self.segment.first, offset: HEADER },
            n => self.marks[n - 1],
        }
    }

    /// Remembers a place, unless another one nearby is known.
    pub fn remember(&mut self, mark: Mark) {
        let at = self.marks.partition_point(|known| known.seq <= mark.seq);
        let before = if at == 0 { HEADER } else { self.marks[at - 1].offset };
        let after = self.marks.get(at).map_or(u64::MAX, |next| next.offset);
        if mark.offset >= before.saturating_add(MARK_EVERY) && mark.offset.saturating_add(MARK_EVERY) <= after {
            self.marks.insert(at, mark);
        }
    }

    /// The average length of a frame in bytes, as a guess for the next read.
    pub fn frame_len(&self) -> u64 {
        (self.end_offset / (self.end - self.segment.first).max(1)).clamp(frame::HEADER as u64, 1 << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(first: u64) -> Segment {
        Segment { file: tempfile::tempfile().unwrap(), first, size: 1 << 20 }
    }

    #[test]
    fn names_sort_by_age_and_only_segments_parse() {
        assert_eq!(file_name(42), "00000000000000000042.seg");
        assert_eq!(parse_name(&file_name(u64::MAX)), Some(u64::MAX));
        for other in ["42.seg", "0000000000000000004x.seg", "00000000000000000042.corrupt", "99999999999999999999.seg"]
        {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let segment = segment(42);
        segment.write_header().unwrap();
        assert_eq!(segment.check_header(), HeaderState::Good);
        let mut newer = FORMAT.header(42);
        newer[8] = 2;
        let crc = crc32c::crc32c(&newer[8..]);
        newer[4..8].copy_from_slice(&crc.to_le_bytes());
        segment.file.write_all_at(&newer, 0).unwrap();
        assert_eq!(segment.check_header(), HeaderState::Foreign(2));
        segment.file.write_all_at(&[0xaa], 17).unwrap();
        assert_eq!(segment.check_header(), HeaderState::Bad);
    }

    #[test]
    fn marks_stay_sparse_and_in_order() {
        let mut entry = Entry::new(Arc::new(segment(0)));
        for seq in (0..4000).rev().chain(0..4000) {
            entry.remember(Mark { seq, offset: HEADER + seq * 200 });
        }
        assert!(entry.marks.len() >= 3 && entry.marks.len() <= 6, "{:?}", entry.marks);
        assert!(entry.marks.is_sorted_by_key(|mark| mark.offset));
        let mark = entry.mark_before(3000);
        assert!(mark.seq <= 3000 && 3000 - mark.seq < 1400, "{mark:?}");
    }
}
