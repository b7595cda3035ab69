//! The cursor file: what is finished, for the moments when nothing is being appended.
//!
//! Two slots are written in turn, each with a generation and a checksum, so a power cut in the
//! middle of one leaves the other. The file is written in full when it is made: on a full disk
//! acknowledgements still find their place. It is a hint, not a second truth: what it says is
//! added to what the log says, and without it records are merely sent again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::done::Done;

const SLOT: usize = 4096;
const MAGIC: [u8; 4] = *b"whcu";
/// Magic, checksum, generation, length of the set.
const HEADER: usize = 20;

/// The open cursor file.
pub struct CursorFile {
    file: File,
    generation: u64,
}

impl CursorFile {
    /// Opens or makes the file, and merges what its good slots say: `None` if neither is good.
    ///
    /// # Errors
    /// Those of the file system; a damaged file is not one.
    pub fn open(path: &Path) -> io::Result<(Self, Option<Done>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut generation = 0;
        let mut known: Option<Done> = None;
        if file.metadata()?.len() < 2 * SLOT as u64 {
            file.write_all_at(&[0; 2 * SLOT], 0)?;
            file.sync_all()?;
        }
        for slot in 0..2 {
            let mut bytes = [0; SLOT];
            // A slot that cannot be read is as good as a damaged one.
            if file.read_exact_at(&mut bytes, slot * SLOT as u64).is_err() {
                continue;
            }
            if let Some((number, done)) = decode(&bytes) {
                generation = generation.max(number);
                known.get_or_insert_with(Done::default).merge(&done);
            }
        }
        Ok((Self { file, generation }, known))
    }

    /// Writes `done` to the older slot and syncs it.
    ///
    /// # Errors
    /// Those of the file system; the other slot is untouched.
    pub fn save(&mut self, done: &Done) -> io::Result<()> {
        let generation = self.generation + 1;
        self.file.write_all_at(&encode(generation, done), (generation % 2) * SLOT as u64)?;
        self.file.sync_data()?;
        self.generation = generation;
        Ok(())
    }
}

fn encode(generation: u64, done: &Done) -> [u8; SLOT] {
    let mut body = Vec::with_capacity(SLOT);
    done.saved().encode(&mut body);
    let mut slot = [0; SLOT];
    slot[..4].copy_from_slice(&MAGIC);
    slot[8..16].copy_from_slice(&generation.to_le_bytes());
    slot[16..20].copy_from_slice(&(body.len() as u32).to_le_bytes());
    slot[HEADER..HEADER + body.len()].copy_from_slice(&body);
    let crc = crc32c::crc32c(&slot[8..]);
    slot[4..8].copy_from_slice(&crc.to_le_bytes());
    slot
}

fn decode(slot: &[u8; SLOT]) -> Option<(u64, Done)> {
    let (magic, rest) = slot.split_first_chunk::<4>()?;
    let (crc, checked) = rest.split_first_chunk::<4>()?;
    let (generation, rest) = checked.split_first_chunk::<8>()?;
    let (length, body) = rest.split_first_chunk::<4>()?;
    if *magic != MAGIC || u32::from_le_bytes(*crc) != crc32c::crc32c(checked) {
        return None;
    }
    let done = Done::decode(body.get(..u32::from_le_bytes(*length) as usize)?)?;
    Some((u64::from_le_bytes(*generation), done))
}

#[cfg(test)]
mod tests {
    use super::super::done::MAX_SAVED;
    use super::*;

    #[test]
    fn the_newer_slot_counts_and_the_older_one_steps_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cursor");
        let (mut file, known) = CursorFile::open(&path).unwrap();
        assert_eq!(known, None);
        for cursor in [10, 20, 30] {
            file.save(&Done::below(cursor)).unwrap();
        }
        assert_eq!(CursorFile::open(&path).unwrap().1, Some(Done::below(30)));
        // Generation 3 is in the second slot.
        file.file.write_all_at(&[0xff; 40], SLOT as u64 + 10).unwrap();
        let (mut file, known) = CursorFile::open(&path).unwrap();
        assert_eq!(known, Some(Done::below(20)));
        file.save(&Done::below(40)).unwrap();
        assert_eq!(CursorFile::open(&path).unwrap().1, Some(Done::below(40)));
    }

    #[test]
    fn the_most_ranges_that_are_saved_fit_a_slot() {
        let mut done = Done::default();
        for n in 1..=2 * MAX_SAVED as u64 {
            done.insert(2 * n..2 * n + 1);
        }
        let (_, read) = decode(&encode(1, &done)).unwrap();
        assert_eq!(read.end(), 2 * MAX_SAVED as u64 + 1);
    }
}
