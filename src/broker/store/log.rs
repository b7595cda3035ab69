//! One file of the log: made beside the one before it, and then appended to, commit by commit.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::entry::{Encoder, Entry, Era, Moment};
use super::{FORMAT, MAX_BODY};
use crate::clock::{Clock, STEP};
use crate::queue::folder;
use crate::queue::frame::{self, Kind};
use crate::queue::header;

/// The file that is to become the next of the log.
pub const NEXT: &str = "next";

/// By how much a file grows when it is full, in bytes. A file that grew with every commit would have the file
/// system write down its length each time.
const PIECE: u64 = 1 << 20;

/// What is gathered before it is written, in bytes.
const BUFFER: usize = 256 * 1024;

/// How many numbers the frames of one file have.
const SPAN: u64 = 1 << 32;

/// Among how many of them the first is chosen. Files are followed by others long before the rest is used up.
const SPAN_OF_FIRST: u32 = 1 << 31;

/// The highest number a file can have.
const HIGHEST: u64 = u64::MAX / SPAN - 1;

/// `00000000000000000042.log`, so that the order of names is the order of age.
pub fn file_name(number: u64) -> String {
    format!("{number:020}.log")
}

/// The number in a file's name; `None` for every other file.
pub fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let number = (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok());
    number?.filter(|number| *number <= HIGHEST)
}

/// The numbers of a file's frames.
pub fn seqs(number: u64) -> Range<u64> {
    number.saturating_mul(SPAN)..number.saturating_add(1).saturating_mul(SPAN)
}

/// What was written, for those who count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes.
    pub bytes: u64,
    /// The same in whole pages of 4096 bytes.
    pub device_bytes: u64,
    /// Entries that were too large to be written, and are not.
    pub too_large: u64,
}

/// A file that is being appended to. After a failure it is not good for anything any more.
pub struct Log {
    file: File,
    path: PathBuf,
    number: u64,
    /// Where the next byte goes, once the buffer is written.
    end: u64,
    /// As long as the file is.
    size: u64,
    preallocates: bool,
    next: u64,
    era: Option<Era>,
    encoder: Encoder,
    buffer: Vec<u8>,
    body: Vec<u8>,
    written: Written,
}

impl Log {
    /// Begins file `number`, with room for `expected` bytes. It has no name of its own yet.
    ///
    /// # Errors
    /// Those of the file system, above all that it is full. Then nothing is left of it.
    pub fn create(dir: &Path, number: u64, expected: u64) -> io::Result<Self> {
        let path = dir.join(NEXT);
        let begun = Self::begin(&path, number, expected);
        if begun.is_err() {
            let _ = fs::remove_file(&path);
        }
        begun
    }

    fn begin(path: &Path, number: u64, expected: u64) -> io::Result<Self> {
        if number > HIGHEST {
            return Err(io::Error::other("the numbers of files have come to their end"));
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        // Nobody can know the numbers, and have something taken for a frame that lies in the payload of one.
        let first = seqs(number).start + u64::from(fastrand::u32(..SPAN_OF_FIRST));
        let mut log = Self::at(file, path.into(), number, header::LENGTH, first);
        log.size = 0;
        log.make_room(expected.max(header::LENGTH))?;
        log.file.write_all_at(&FORMAT.header(number), 0)?;
        log.written = Written { bytes: header::LENGTH, device_bytes: 0, too_large: 0 };
        Ok(log)
    }

    /// Goes on with a file that was read: behind `end`, with frame `next`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn go_on(file: File, dir: &Path, number: u64, end: u64, next: u64) -> io::Result<Self> {
        let size = file.metadata()?.len();
        // What a killed process wrote but did not sync has been believed, so it has to last.
        file.sync_data()?;
        Ok(Self { size, ..Self::at(file, dir.join(file_name(number)), number, end, next) })
    }

    fn at(file: File, path: PathBuf, number: u64, end: u64, next: u64) -> Self {
        Self {
            file,
            path,
            number,
            end,
            size: 0,
            preallocates: true,
            next,
            era: None,
            encoder: Encoder::default(),
            buffer: Vec::new(),
            body: Vec::new(),
            written: Written::default(),
        }
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Where the next byte goes.
    pub fn end(&self) -> u64 {
        self.end + self.buffer.len() as u64
    }

    /// How long the file is, with room for what is to come, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What was written since this was last asked.
    pub fn take_written(&mut self) -> Written {
        std::mem::take(&mut self.written)
    }

    /// Appends entries. They do not count before [`Log::commit`].
    ///
    /// # Errors
    /// Those of the file system.
    pub fn append(&mut self, entries: &[Entry], clock: &Clock) -> io::Result<()> {
        let moment = Moment { instant: Instant::now(), stamp: clock.stamp() };
        let era = Era { boot: clock.boot_id(), offset: moment.stamp.offset() };
        let goes_on = |last: Era| last.boot == era.boot && last.offset.abs_diff(era.offset) <= STEP;
        if !self.era.is_some_and(goes_on) {
            self.era = Some(era);
            self.frame(&Entry::Clock(era), moment)?;
        }
        entries.iter().try_for_each(|entry| self.frame(entry, moment))
    }

    /// Makes what was appended count, and safe.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn commit(&mut self, clock: &Clock) -> io::Result<()> {
        self.append(&[Entry::Commit], clock)?;
        self.write()?;
        self.file.sync_data()
    }

    fn frame(&mut self, entry: &Entry, moment: Moment) -> io::Result<()> {
        self.body.clear();
        self.encoder.encode(&mut self.body, self.next, entry, moment);
        if self.body.len() > MAX_BODY {
            self.encoder.take_back(self.next);
            self.body = Vec::new();
            self.written.too_large += 1;
            return Ok(());
        }
        frame::encode(&mut self.buffer, Kind::Record, self.next, moment.stamp.wall, &self.body);
        self.next += 1;
        if self.buffer.len() >= BUFFER { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        const PAGE: u64 = 4096;
        let (from, to) = (self.end, self.end());
        self.make_room(to)?;
        self.file.write_all_at(&self.buffer, from)?;
        self.written.bytes += to - from;
        self.written.device_bytes += to.div_ceil(PAGE) * PAGE - from / PAGE * PAGE;
        self.end = to;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER);
        Ok(())
    }

    /// Makes sure that the file is that long.
    fn make_room(&mut self, needed: u64) -> io::Result<()> {
        if needed <= self.size || !self.preallocates {
            return Ok(());
        }
        let size = needed.div_ceil(PIECE) * PIECE;
        if folder::preallocate(&self.file, size)? {
            self.size = size;
        } else {
            self.preallocates = false;
        }
        Ok(())
    }

    /// Takes its place as the newest of the log: a power cut leaves this one or the one before it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn take_its_place(&mut self, dir: &File) -> io::Result<()> {
        self.file.sync_all()?;
        let path = self.path.with_file_name(file_name(self.number));
        fs::rename(&self.path, &path)?;
        self.path = path;
        dir.sync_all()
    }

    /// Removes the file.
    pub fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}
