//! Reads what an earlier run left.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::entry::{Decoder, Era};
use super::image::Image;
use super::log::{Log, NEXT, file_name, parse_name, seqs};
use super::{FORMAT, MAX_BODY};
use crate::clock::{BootId, CLOCK_WAS_SET, Clock, Stamp};
use crate::queue::folder;
use crate::queue::frame::{self, Frame};
use crate::queue::header::{self, HeaderState};
use crate::queue::scan::{Frames, WINDOW};

/// What was found.
pub struct Found {
    /// What was saved.
    pub image: Image,
    /// The file to go on with. `None`: there is none, or the one there was is not whole, and a new one is better.
    pub log: Option<Log>,
    /// The highest number a file has had.
    pub highest: u64,
    /// Frames that could not be read, and what they said is lost.
    pub damaged: u64,
    /// Files that could not be read.
    pub set_aside: u64,
}

/// Reads the newest file of the folder.
///
/// # Errors
/// It cannot be looked at, or was written by a newer version.
pub fn recover(dir: &Path, clock: &Clock) -> io::Result<Found> {
    let mut numbers: Vec<u64> =
        fs::read_dir(dir)?.filter_map(|entry| parse_name(entry.ok()?.file_name().to_str()?)).collect();
    numbers.sort_unstable();
    let highest = numbers.last().copied().unwrap_or(0);
    let _ = fs::remove_file(dir.join(NEXT));
    let mut set_aside = 0;
    while let Some(number) = numbers.pop() {
        let path = dir.join(file_name(number));
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let read = match &file {
            Ok(file) => read(file, &path, number, clock)?,
            Err(error) => {
                error!(path = %path.display(), %error, "cannot open what was saved of the local broker");
                None
            }
        };
        let (Ok(file), Some(read)) = (file, read) else {
            set_aside += 1;
            folder::set_aside(&path, "what was saved of the local broker");
            continue;
        };
        // Those before it were left by a cut between two steps, and say nothing it does not say better.
        for older in numbers {
            let _ = fs::remove_file(dir.join(file_name(older)));
        }
        return Ok(go_on(read, file, dir, number, Found { set_aside, ..nothing(highest) }));
    }
    Ok(Found { set_aside, ..nothing(highest) })
}

fn nothing(highest: u64) -> Found {
    let mut image = Image::loading(highest);
    image.lose_track();
    Found { image, log: None, highest, damaged: 0, set_aside: 0 }
}

/// Decides whether a file that was read is gone on with.
fn go_on(read: Read, file: File, dir: &Path, number: u64, found: Found) -> Found {
    let Read { mut image, damaged, is_whole, end, next, .. } = read;
    if damaged > 0 {
        error!(damaged, "part of what was saved of the local broker is damaged and lost");
    }
    let log = match Log::go_on(file, dir, number, end, next) {
        Ok(log) if is_whole && damaged == 0 => Some(log),
        Ok(_) => None,
        Err(error) => {
            warn!(dir = %dir.display(), %error, "cannot go on with the local broker's log, so a new one is begun");
            None
        }
    };
    match log {
        Some(_) => image.follow(),
        None => image.lose_track(),
    }
    // What is gone by now is not written again, and its traces are removed.
    image.expire(Instant::now());
    Found { image, log, damaged, ..found }
}

/// A file, read.
struct Read {
    image: Image,
    damaged: u64,
    /// Nothing is missing in it, and nothing lies behind its last commit.
    is_whole: bool,
    /// Where its last commit ends.
    end: u64,
    /// The number of the frame behind that.
    next: u64,
    now: Stamp,
    instant: Instant,
    boot: BootId,
    era: Option<Era>,
    decoder: Decoder,
}

/// Reads a file. `None` if nothing in it can be read.
///
/// # Errors
/// It was written by a newer version.
fn read(file: &File, path: &Path, number: u64, clock: &Clock) -> io::Result<Option<Read>> {
    if let HeaderState::Foreign(version) = FORMAT.check(file, number) {
        let (path, known) = (path.display(), FORMAT.version);
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{path} was written by a newer version of wharf (format {version}, this one reads {known}): \
                 go back to that version, or move the file away, and the local broker starts empty"
            ),
        ));
    }
    // A damaged header says nothing the name and the frames do not say as well.
    let (size, seqs) = (file.metadata()?.len(), seqs(number));
    let mut frames = Frames::new(file, header::LENGTH..size, seqs.clone(), MAX_BODY, WINDOW);
    let mut read = Read {
        image: Image::loading(number),
        damaged: 0,
        is_whole: true,
        end: header::LENGTH,
        next: seqs.start,
        now: clock.stamp(),
        instant: Instant::now(),
        boot: clock.boot_id(),
        era: None,
        decoder: Decoder::default(),
    };
    let is_there = read.all(&mut frames);
    Ok(is_there.then_some(read))
}

impl Read {
    /// Takes in everything up to the last commit. Whether there is anything.
    fn all(&mut self, frames: &mut Frames<'_>) -> bool {
        let (mut expected, mut behind) = (None, self.end);
        let (mut missing, mut committed) = (0, false);
        let mut batch: Vec<Frame> = Vec::new();
        while let Some(found) = frames.next() {
            let (seq, offset) = (found.frame.seq, found.offset);
            let skipped = match expected {
                // Payloads may be anything, a piece of such a file as well; but then it has numbers that
                // cannot be here: behind, or farther ahead than frames would have fitted in between.
                Some(expected) => {
                    let room = offset.saturating_sub(behind) / frame::HEADER as u64;
                    seq.checked_sub(expected).filter(|skipped| *skipped <= room)
                }
                None => Some(u64::from(offset > behind)),
            };
            let Some(skipped) = skipped else { continue };
            missing += skipped;
            (expected, behind) = (Some(seq + 1), frames.offset());
            let is_commit = found.frame.body[..] == [0];
            batch.push(found.frame);
            // The first commit is the file's beginning, and was whole when the file got its name.
            if is_commit || !committed {
                self.damaged += std::mem::take(&mut missing);
                batch.drain(..).for_each(|frame| self.take_in(&frame));
            }
            if is_commit {
                committed = true;
                (self.end, self.next) = (behind, seq + 1);
            }
        }
        // A cut caught a commit on its way: as if it had never been.
        self.is_whole = committed && batch.is_empty();
        expected.is_some()
    }

    fn take_in(&mut self, frame: &Frame) {
        let elapsed = self.elapsed(frame.captured_at);
        match self.decoder.decode(&frame.body, frame.seq, elapsed, self.instant) {
            Some(super::entry::Entry::Clock(era)) => self.era = Some(era),
            Some(entry) => self.image.read(entry, elapsed, self.now),
            None => self.damaged += 1,
        }
    }

    /// How long ago a frame was written, as far as that can be known. Within one boot the time since boot says
    /// it. From boot to boot the wall clock does, if it was set both times and has not been turned back; else
    /// nothing is taken for having passed, and what was worth delivering for an hour then is for an hour now.
    fn elapsed(&self, captured_at: u64) -> Duration {
        let same_boot = |era: &Era| era.boot == self.boot && era.boot != BootId::UNKNOWN;
        let millis = match self.era.filter(same_boot) {
            Some(era) => self.now.boot.saturating_sub(captured_at.saturating_add_signed(era.offset.saturating_neg())),
            None if captured_at >= CLOCK_WAS_SET && self.now.is_set() => self.now.wall.saturating_sub(captured_at),
            None => 0,
        };
        Duration::from_millis(millis)
    }
}
