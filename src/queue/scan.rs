//! Walks the frames of a segment file, and finds the thread again behind damage.
//!
//! Reads go through one small window, so a scan needs the same memory whatever the file's size.
//! A part of the disk that cannot be read looks like zeros here, and so costs its frames only.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::{Bytes, BytesMut};

use super::frame::{Frame, HEADER, Header};

/// The largest window, in bytes; a single frame above it gets a window of its own size.
pub const WINDOW: usize = 256 * 1024;

/// What is tried in one read after a larger read failed, in bytes.
const SECTOR: usize = 4096;

/// The good frames of one file, from some offset on.
pub struct Frames<'a> {
    file: &'a File,
    offset: u64,
    end: u64,
    seqs: Range<u64>,
    max_body: usize,
    window: usize,
    chunk: Bytes,
    chunk_at: u64,
}

/// A good frame and where it starts.
pub struct Found {
    /// The frame.
    pub frame: Frame,
    /// Offset of its first byte in the file.
    pub offset: u64,
}

impl<'a> Frames<'a> {
    /// Frames that lie wholly within `place` and carry a sequence number out of `seqs`: stale
    /// bytes of a recycled file are thus passed over. `window` bytes are read at a time.
    pub fn new(file: &'a File, place: Range<u64>, seqs: Range<u64>, max_body: usize, window: usize) -> Self {
        let window = window.clamp(SECTOR, WINDOW);
        Self {
            file,
            offset: place.start,
            end: place.end,
            seqs,
            max_body,
            window,
            chunk: Bytes::new(),
            chunk_at: place.start,
        }
    }

    /// Where the next frame is looked for: behind the last good one.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Makes sure `len` bytes from `at` on are in the window, and says where in it they start.
    fn load(&mut self, at: u64, len: usize) -> usize {
        let loaded = self.chunk_at..self.chunk_at + self.chunk.len() as u64;
        if at < loaded.start || at + len as u64 > loaded.end {
            let wanted = (self.end - at).min(self.window.max(len) as u64) as usize;
            let mut chunk = BytesMut::zeroed(wanted);
            fill(self.file, &mut chunk, at);
            self.chunk = chunk.freeze();
            self.chunk_at = at;
        }
        (at - self.chunk_at) as usize
    }

    /// The frame that starts exactly at `at`, if it is a good one.
    fn frame_at(&mut self, at: u64) -> Option<Frame> {
        let start = self.load(at, HEADER);
        let header = Header::parse(&self.chunk[start..], &self.seqs, self.max_body)?;
        let len = header.frame_len();
        if at + len as u64 > self.end {
            return None;
        }
        let start = self.load(at, len);
        header.vouches_for(&self.chunk[start..start + len]).then(|| Frame {
            seq: header.seq,
            captured_at: header.captured_at,
            kind: header.kind,
            body: self.chunk.slice(start + HEADER..start + len),
        })
    }

    /// Where to try after `at`. Long runs of zeros, as in a file not yet written to its end, are
    /// jumped over; a frame starts with eight zeros at most: an empty body's length and an
    /// unlucky checksum.
    fn step(&mut self, at: u64) -> u64 {
        let start = self.load(at, HEADER);
        let rest = &self.chunk[start..];
        let zeros = rest.iter().position(|byte| *byte != 0).unwrap_or(rest.len()) as u64;
        at + zeros.saturating_sub(8).max(1)
    }
}

impl Iterator for Frames<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let mut at = self.offset;
        while at + HEADER as u64 <= self.end {
            if let Some(frame) = self.frame_at(at) {
                self.offset = at + (HEADER + frame.body.len()) as u64;
                return Some(Found { frame, offset: at });
            }
            at = self.step(at);
        }
        None
    }
}

/// Reads what can be read of `chunk`; the rest stays zero.
fn fill(file: &File, chunk: &mut [u8], at: u64) {
    if file.read_exact_at(chunk, at).is_ok() {
        return;
    }
    for (index, sector) in chunk.chunks_mut(SECTOR).enumerate() {
        let mut done = 0;
        while done < sector.len() {
            match file.read_at(&mut sector[done..], at + (index * SECTOR + done) as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => {
                    sector[done..].fill(0);
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::frame::{Kind, encode};
    use super::*;

    fn file_with(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn seqs_in(bytes: &[u8], seqs: Range<u64>) -> Vec<u64> {
        let file = file_with(bytes);
        Frames::new(&file, 0..bytes.len() as u64, seqs, 1 << 20, SECTOR).map(|found| found.frame.seq).collect()
    }

    fn log(seqs: Range<u64>, body: usize) -> Vec<u8> {
        let mut out = Vec::new();
        seqs.for_each(|seq| encode(&mut out, Kind::Record, seq, 0, &vec![b'x'; body]));
        out
    }

    #[test]
    fn damage_costs_only_the_frame_it_hit() {
        let mut bytes = log(0..100, 150);
        bytes[175 * 40 + 60] ^= 4;
        bytes[175 * 60] ^= 4;
        let expected: Vec<u64> = (0..100).filter(|seq| *seq != 40 && *seq != 60).collect();
        assert_eq!(seqs_in(&bytes, 0..1000), expected);
    }

    #[test]
    fn a_frame_larger_than_the_window_is_read_whole() {
        assert_eq!(seqs_in(&log(0..3, 300_000), 0..10), [0, 1, 2]);
    }

    #[test]
    fn frames_behind_a_long_run_of_zeros_are_found_wherever_they_start() {
        for shift in 0..64 {
            let mut bytes = vec![0; 3 * SECTOR + shift];
            bytes.extend(log(7..9, 0));
            bytes.extend([0; 1000]);
            assert_eq!(seqs_in(&bytes, 0..10), [7, 8]);
        }
    }

    #[test]
    fn stale_frames_of_an_earlier_life_of_the_file_are_passed_over() {
        let mut bytes = log(500..510, 20);
        bytes.extend(log(3..40, 20));
        assert_eq!(seqs_in(&bytes, 500..600), (500..510).collect::<Vec<_>>());
    }

    #[test]
    fn a_torn_last_frame_is_not_reported() {
        let bytes = log(0..5, 150);
        assert_eq!(seqs_in(&bytes[..bytes.len() - 1], 0..10), [0, 1, 2, 3]);
    }
}
