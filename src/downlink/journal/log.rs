//! The journal's file: one record a line, each with a checksum, the newest last.
//!
//! A line that a crash cut off, or that a poor disk has changed, fails its checksum and is left
//! out. When the file has grown it is written anew beside the old one and put in its place.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

/// A larger file is none of ours.
const LARGEST: u64 = 64 << 20;
/// How much a file may grow before it is written anew, in bytes.
const GROWTH: u64 = 1 << 20;

/// The file, made when there is something to put into it.
pub struct Log {
    path: PathBuf,
    file: Option<File>,
    length: u64,
    /// Its length after it was written anew.
    compact: u64,
}

/// A record as a line.
pub fn line(record: &Json, lines: &mut Vec<u8>) {
    let text = record.to_string();
    lines.extend_from_slice(format!("{:08x} {text}\n", crc32c::crc32c(text.as_bytes())).as_bytes());
}

impl Log {
    /// Opens the file, if there is one, and hands out its records. Gives how many were damaged:
    /// those that `take` has no use for, too.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: &Path, mut take: impl FnMut(&Json) -> bool) -> io::Result<(Self, usize)> {
        let mut log = Self { path: path.to_owned(), file: None, length: 0, compact: 0 };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((log, 0)),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes)?;
        let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let mut damaged = 0;
        for (index, line) in lines.iter().enumerate() {
            // The last line may be one that a crash cut off: it was never safe, so nothing was
            // begun on its strength.
            let is_cut = index + 1 == lines.len() && !line.ends_with(b"\n");
            if !is_cut && *line != b"\n" && !record(line).is_some_and(|record| take(&record)) {
                damaged += 1;
            }
        }
        log.length = bytes.len() as u64;
        log.file = Some(OpenOptions::new().append(true).open(path)?);
        Ok((log, damaged))
    }

    /// Whether there is no file yet.
    pub fn is_new(&self) -> bool {
        self.file.is_none()
    }

    /// Whether it is time to write it anew.
    pub fn is_large(&self) -> bool {
        self.length > 2 * self.compact + GROWTH
    }

    /// Appends lines, and waits for the disk if that is asked for.
    ///
    /// # Errors
    /// Those of the file system. Half a line may be at its end then, so the file is to be written
    /// anew.
    pub fn append(&mut self, lines: &[u8], sync: bool) -> io::Result<()> {
        let Some(file) = &mut self.file else { return self.replace(lines) };
        file.write_all(lines)?;
        self.length += lines.len() as u64;
        if sync { file.sync_data() } else { Ok(()) }
    }

    /// Writes the file anew, with these lines alone.
    ///
    /// # Errors
    /// Those of the file system. The old file is still there then.
    pub fn replace(&mut self, lines: &[u8]) -> io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        // What is commanded is nobody else's business.
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let fresh = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(lines)?;
        file.sync_data()?;
        drop(file);
        fs::rename(&fresh, &self.path)?;
        File::open(dir)?.sync_all()?;
        self.file = Some(OpenOptions::new().append(true).open(&self.path)?);
        self.length = lines.len() as u64;
        self.compact = self.length;
        Ok(())
    }
}

#[cfg(test)]
impl Log {
    /// From now on appending fails, as on a full disk.
    pub fn take_nothing_more(&mut self) {
        self.file = File::open(&self.path).ok();
    }
}

fn record(line: &[u8]) -> Option<Json> {
    let text = std::str::from_utf8(line).ok()?.trim_end_matches('\n');
    let (sum, text) = text.split_once(' ')?;
    let sum = u32::from_str_radix(sum, 16).ok()?;
    (crc32c::crc32c(text.as_bytes()) == sum).then(|| serde_json::from_str(text).ok())?
}
