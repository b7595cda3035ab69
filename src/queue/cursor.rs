//! The cursor file: the ledger, for the moments when nothing is being appended. The mark is a second
//! file of the same form.
//!
//! Two slots are written in turn, each with a checksum, so a power cut in the middle of one leaves
//! the other. The file is written in full when it is made: on a full disk acknowledgements and
//! drops still find their place. The ledger says itself how new it is; whether this one or one in
//! the log counts is decided by that.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::ledger::{Ledger, MAX_ENCODED};

/// Bytes of a slot.
pub const SLOT: usize = 256 * 1024;
const MAGIC: [u8; 4] = *b"whcu";
/// Magic, checksum, length of the ledger.
const HEADER: usize = 12;

const _: () = assert!(HEADER + MAX_ENCODED <= SLOT, "the largest ledger fits a slot");

/// The open cursor file.
pub struct CursorFile {
    file: File,
    /// The slot to be written next: the older one.
    slot: usize,
    buffer: Vec<u8>,
}

impl CursorFile {
    /// Opens or makes the file, and reads the newer of its good slots: `None` if neither is good.
    ///
    /// # Errors
    /// Those of the file system; a damaged file is not one.
    pub fn open(path: &Path) -> io::Result<(Self, Option<Ledger>)> {
        let (opened, ledger) = Self::open_sparse(path)?;
        extend(&opened.file)?;
        Ok((opened, ledger))
    }

    /// The same without taking the room before it is needed.
    ///
    /// # Errors
    /// Those of the file system; a damaged file is not one.
    pub fn open_sparse(path: &Path) -> io::Result<(Self, Option<Ledger>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let (newer, ledger) = newest(&file);
        Ok((Self { file, slot: 1 - newer, buffer: Vec::new() }, ledger))
    }

    /// Writes an encoded ledger to the older slot and syncs it. Returns where it was written, and
    /// how many bytes.
    ///
    /// # Errors
    /// Those of the file system; the other slot is untouched.
    pub fn save(&mut self, ledger: &[u8]) -> io::Result<(u64, u64)> {
        let place = self.put(ledger)?;
        self.file.sync_data()?;
        self.slot = 1 - self.slot;
        Ok(place)
    }

    /// Writes an encoded ledger to the older slot and leaves it to the system when that reaches the
    /// disk.
    ///
    /// # Errors
    /// Those of the file system; the other slot is untouched.
    pub fn write(&mut self, ledger: &[u8]) -> io::Result<()> {
        self.put(ledger)?;
        self.slot = 1 - self.slot;
        Ok(())
    }

    /// Fills the older slot.
    fn put(&mut self, ledger: &[u8]) -> io::Result<(u64, u64)> {
        self.buffer.clear();
        self.buffer.extend_from_slice(&MAGIC);
        self.buffer.extend_from_slice(&[0; 4]);
        // A ledger is bounded long before 32 bits.
        self.buffer.extend_from_slice(&(ledger.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(ledger);
        let crc = crc32c::crc32c(&self.buffer[8..]);
        self.buffer[4..8].copy_from_slice(&crc.to_le_bytes());
        let offset = (self.slot * SLOT) as u64;
        self.file.write_all_at(&self.buffer, offset)?;
        Ok((offset, self.buffer.len() as u64))
    }
}

/// Reads the newer of the good slots, and changes nothing. `None` if there is no file or no good
/// slot.
///
/// # Errors
/// Those of the file system; a damaged file is not one.
pub fn look(path: &Path) -> io::Result<Option<Ledger>> {
    match File::open(path) {
        Ok(file) => Ok(newest(&file).1),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The newer of the good slots, and what it holds.
fn newest(file: &File) -> (usize, Option<Ledger>) {
    let [first, second] = [0, 1].map(|slot| read(file, slot));
    let generation = |ledger: &Option<Ledger>| ledger.as_ref().map(|ledger| ledger.generation);
    if generation(&second) > generation(&first) { (1, second) } else { (0, first) }
}

/// Brings a file to its full length. What it holds already stays.
fn extend(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let missing = (2 * SLOT as u64).saturating_sub(length);
    if missing == 0 {
        return Ok(());
    }
    let written = file.write_all_at(&vec![0; missing as usize], length).and_then(|()| file.sync_all());
    if written.is_err() {
        // A part of it is of no use, and the space may be missed elsewhere.
        let _ = file.set_len(length);
    }
    written
}

/// Reads one slot. One that cannot be read is as good as a damaged one.
fn read(file: &File, slot: usize) -> Option<Ledger> {
    let offset = (slot * SLOT) as u64;
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, offset).ok()?;
    let (magic, rest) = header.split_first_chunk::<4>()?;
    let (crc, length) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length.first_chunk::<4>()?) as usize;
    if *magic != MAGIC || length > MAX_ENCODED {
        return None;
    }
    let mut body = vec![0; length];
    file.read_exact_at(&mut body, offset + HEADER as u64).ok()?;
    let checked = crc32c::crc32c_append(crc32c::crc32c(&header[8..]), &body);
    (checked == u32::from_le_bytes(*crc)).then(|| Ledger::decode(&body))?
}

#[cfg(test)]
mod tests {
    use super::super::done::Done;
    use super::*;

    /// A ledger of this generation, with as many finished numbers.
    fn ledger(generation: u64) -> Vec<u8> {
        let done = Done::below(generation);
        let mut bytes = Vec::new();
        Ledger { generation: generation - 1, next: generation, done, ..Ledger::default() }.encode(0, &mut bytes);
        bytes
    }

    fn generation(path: &Path) -> Option<u64> {
        CursorFile::open(path).unwrap().1.map(|ledger| ledger.generation)
    }

    #[test]
    fn the_newer_slot_counts_and_the_older_one_steps_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cursor");
        let (mut file, known) = CursorFile::open(&path).unwrap();
        assert_eq!(known, None);
        let offsets: Vec<u64> = [10, 20, 30].map(|n| file.save(&ledger(n)).unwrap().0).into();
        assert_eq!(generation(&path), Some(30));
        assert_ne!(offsets[1], offsets[2]);
        file.file.write_all_at(&[0xff; 40], offsets[2] + 10).unwrap();
        assert_eq!(generation(&path), Some(20));
        // The damaged slot is the one that is written again.
        let (mut file, _) = CursorFile::open(&path).unwrap();
        assert_eq!(file.save(&ledger(40)).unwrap().0, offsets[2]);
        assert_eq!(generation(&path), Some(40));
    }

    #[test]
    fn a_file_that_was_cut_off_keeps_what_is_left_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cursor");
        let (mut file, _) = CursorFile::open(&path).unwrap();
        let in_first = if file.slot == 0 { 10 } else { 20 };
        file.save(&ledger(10)).unwrap();
        file.save(&ledger(20)).unwrap();
        file.file.set_len(SLOT as u64).unwrap();
        assert_eq!(generation(&path), Some(in_first));
        assert_eq!(path.metadata().unwrap().len(), 2 * SLOT as u64);
        assert_eq!(generation(&path), Some(in_first));
    }
}
