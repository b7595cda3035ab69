//! What the ledger said at a moment, read without disturbing those who write it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::super::cursor;
use super::super::files::SPARE;
use super::super::frame::Kind;
use super::super::ledger::Ledger;
use super::super::recovery::last_record;
use super::super::scan::WINDOW;
use super::super::segment::{HEADER, Segment, file_name, parse_name};
use super::Overview;

/// How often the files are read again when the writer was too busy with them to tell.
pub const ATTEMPTS: usize = 5;

/// The ledger as it was at a moment, and how far the log reached then.
pub struct Known {
    /// The ledger.
    pub ledger: Ledger,
    /// Every waiting message below this number has to be on disk.
    pub stored_to: u64,
}

impl Known {
    /// Reads it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let mut attempt = 1;
        loop {
            let firsts = segments(dir)?;
            let known = Self::read_once(dir, &firsts)?;
            // After a roll, the newest ledger is in another file.
            if segments(dir)?.last() == firsts.last() || attempt == ATTEMPTS {
                return Ok(known);
            }
            attempt += 1;
        }
    }

    /// Finds the newest ledger, as recovery does: in the cursor file, in the mark, and in the last
    /// segment.
    fn read_once(dir: &Path, firsts: &[u64]) -> io::Result<Self> {
        let mut newest = cursor::look(&dir.join("cursor"))?;
        let has_cursor = newest.is_some();
        newest = newer(newest, cursor::look(&dir.join("mark"))?);
        let mut end = 0;
        if let Some(&first) = firsts.last()
            && let Some(segment) = open(dir, first)?
        {
            end = first;
            for found in segment.frames(HEADER..segment.size, WINDOW) {
                match found.frame.kind {
                    Kind::Record => end = end.max(found.frame.seq + 1),
                    Kind::Ledger => newest = newer(newest, Ledger::decode(&found.frame.body)),
                }
            }
        }
        let mut ledger = newest.unwrap_or_default();
        ledger.next = ledger.next.max(end);
        if !has_cursor {
            // Segments go when all in them is finished, and the ledger that said so is gone. As in
            // recovery, what lies in none is taken for finished.
            let mut reached = 0;
            for &first in firsts {
                ledger.done.insert(reached..first);
                let last = open(dir, first)?.and_then(|segment| last_record(&segment));
                reached = last.map_or(first, |last| last + 1);
            }
        }
        let stored_to = ledger.settled.max(end);
        Ok(Self { ledger, stored_to })
    }

    /// What follows from it, but for the oldest message.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn overview(&self, dir: &Path) -> io::Result<Overview> {
        let ledger = &self.ledger;
        let in_memory = self.stored_to..ledger.next;
        let mut overview = Overview {
            captured: ledger.captured(),
            acknowledged: ledger.acknowledged(),
            waiting: ledger.queued(),
            unstored: ledger.next - self.stored_to - ledger.done.count(in_memory),
            dropped: ledger.dropped,
            losses: ledger.untold.iter().cloned().collect(),
            ..Overview::default()
        };
        for entry in entries(dir)? {
            // What vanishes meanwhile takes no space.
            let Ok(meta) = entry.metadata() else { continue };
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let is_segment = parse_name(name).is_some();
            if is_segment || name == SPARE {
                overview.disk_bytes += meta.len();
            }
            overview.segments += usize::from(is_segment);
            overview.set_aside += usize::from(name.ends_with(".corrupt"));
        }
        Ok(overview)
    }
}

fn newer(one: Option<Ledger>, other: Option<Ledger>) -> Option<Ledger> {
    let generation = |ledger: &Option<Ledger>| ledger.as_ref().map(|ledger| ledger.generation);
    if generation(&other) > generation(&one) { other } else { one }
}

/// The first numbers of all segments, in order.
///
/// # Errors
/// Those of the file system.
pub fn segments(dir: &Path) -> io::Result<Vec<u64>> {
    let names = entries(dir)?.into_iter().map(|entry| entry.file_name());
    let mut firsts: Vec<u64> = names.filter_map(|name| parse_name(name.to_str()?)).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// What is in the directory; nothing if there is none.
fn entries(dir: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Opens a segment to read; `None` if it has been freed.
///
/// # Errors
/// Those of the file system.
pub fn open(dir: &Path, first: u64) -> io::Result<Option<Segment>> {
    match File::open(dir.join(file_name(first))) {
        Ok(file) => {
            let size = file.metadata()?.len();
            Ok(Some(Segment { file, first, size }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
