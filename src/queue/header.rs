//! The first bytes of a log file: what kind of file it is, of which format, and where its numbers begin.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes before the first frame.
pub const LENGTH: u64 = 24;

/// A kind of log file: four letters nobody else begins a file with, and the version of what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The letters.
    pub magic: [u8; 4],
    /// The version.
    pub version: u32,
}

/// What a header turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderState {
    /// As written by this version.
    Good,
    /// Intact, and of a format this version does not know.
    Foreign(u32),
    /// Damaged, or not such a file at all.
    Bad,
}

impl Format {
    /// The header of the file whose numbers begin with `first`.
    pub fn header(self, first: u64) -> [u8; LENGTH as usize] {
        let mut bytes = [0; LENGTH as usize];
        bytes[..4].copy_from_slice(&self.magic);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[16..24].copy_from_slice(&first.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads and judges the header of the file whose numbers should begin with `first`.
    pub fn check(self, file: &File, first: u64) -> HeaderState {
        let mut bytes = [0; LENGTH as usize];
        if file.read_exact_at(&mut bytes, 0).is_err() {
            return HeaderState::Bad;
        }
        let expected = self.header(first);
        let crc = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        if bytes == expected {
            HeaderState::Good
        } else if bytes[..4] == self.magic && crc32c::crc32c(&bytes[8..]) == crc && bytes[8..12] != expected[8..12] {
            HeaderState::Foreign(u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]))
        } else {
            HeaderState::Bad
        }
    }
}
