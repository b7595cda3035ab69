//! The queue's directory: making, recycling and removing files, within the bounds.
//!
//! A roll needs a new file exactly when the disk may have no room for one. So one spare segment
//! is kept, and a segment whose records are finished with becomes the spare instead of being
//! unlinked. Its stale frames do no harm: their sequence numbers are below the new segment's.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use super::cursor::CursorFile;
use super::folder::{self, is_full};
use super::ledger::Ledger;
use super::segment::{Segment, file_name};

/// The file to become the next segment.
pub const SPARE: &str = "spare";

/// Why there is no new file.
#[derive(Debug)]
pub enum NoFile {
    /// The queue's bound or the disk's.
    Full,
    /// Anything else the file system may say.
    Io(io::Error),
}

/// The directory and what may be done to it.
pub struct Files {
    dir: PathBuf,
    /// Synced after a file in it was made or renamed.
    dir_file: File,
    segment_size: u64,
    max_size: u64,
    min_free: u64,
    /// Bytes of all segments and the spare.
    used: u64,
    spare: Option<File>,
    cursor: Option<CursorFile>,
    mark: Option<CursorFile>,
    preallocates: bool,
    /// Locked as long as this lives.
    _lock: File,
}

/// The bounds of a queue, in bytes.
pub struct Limits {
    /// Of each segment.
    pub segment_size: u64,
    /// Of all files.
    pub max_size: u64,
    /// To be left free on the disk.
    pub min_free: u64,
}

impl Files {
    /// Takes hold of the directory, making it if need be. `None` if another process holds it.
    ///
    /// # Errors
    /// The directory cannot be made, opened or locked.
    pub fn open(dir: &Path, limits: Limits) -> io::Result<Option<Self>> {
        let Some(lock) = folder::hold(dir)? else { return Ok(None) };
        Ok(Some(Self {
            dir_file: File::open(dir)?,
            dir: dir.to_path_buf(),
            segment_size: limits.segment_size,
            max_size: limits.max_size,
            min_free: limits.min_free,
            used: 0,
            spare: None,
            cursor: None,
            mark: None,
            preallocates: true,
            _lock: lock,
        }))
    }

    /// Where the files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes of all segments and the spare.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Opens a segment that was found, and counts its size.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open_segment(&mut self, first: u64) -> io::Result<Segment> {
        let file = OpenOptions::new().read(true).write(true).open(self.dir.join(file_name(first)))?;
        let size = file.metadata()?.len();
        self.used += size;
        Ok(Segment { file, first, size })
    }

    /// Takes over the spare an earlier run left.
    pub fn find_spare(&mut self) {
        let path = self.dir.join(SPARE);
        let Ok(file) = OpenOptions::new().read(true).write(true).open(&path) else { return };
        if file.metadata().is_ok_and(|meta| meta.len() == self.segment_size) {
            self.used += self.segment_size;
            self.spare = Some(file);
        } else if let Err(error) = fs::remove_file(&path) {
            warn!(path = %path.display(), %error, "cannot remove a spare segment of the wrong size");
        }
    }

    /// Makes sure there is a spare segment.
    ///
    /// # Errors
    /// [`NoFile::Full`] if the queue's or the disk's bound forbids it.
    pub fn make_spare(&mut self) -> Result<(), NoFile> {
        if self.spare.is_some() {
            return Ok(());
        }
        if self.used + self.segment_size > self.max_size {
            return Err(NoFile::Full);
        }
        let disk = rustix::fs::statvfs(&self.dir).map_err(|error| NoFile::Io(error.into()))?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < self.segment_size.saturating_add(self.min_free) {
            return Err(NoFile::Full);
        }
        let path = self.dir.join(SPARE);
        let made = self.allocate(&path);
        if made.is_err() {
            let _ = fs::remove_file(&path);
        }
        self.spare = Some(made.map_err(|error| if is_full(&error) { NoFile::Full } else { NoFile::Io(error) })?);
        self.used += self.segment_size;
        Ok(())
    }

    fn allocate(&mut self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        if self.preallocates {
            if folder::preallocate(&file, self.segment_size)? {
                return Ok(file);
            }
            self.preallocates = false;
            warn!(dir = %self.dir.display(), "the file system cannot preallocate, so segments grow as they fill");
        }
        file.set_len(self.segment_size)?;
        Ok(file)
    }

    /// Turns the spare into the segment that begins with `first`. `None` without a spare.
    ///
    /// # Errors
    /// Those of the file system; the spare is gone then.
    pub fn take_spare(&mut self, first: u64) -> io::Result<Option<Arc<Segment>>> {
        let Some(file) = self.spare.take() else { return Ok(None) };
        let segment = Segment { file, first, size: self.segment_size };
        let named = segment
            .write_header()
            .and_then(|()| segment.file.sync_all())
            .and_then(|()| fs::rename(self.dir.join(SPARE), self.dir.join(file_name(first))))
            .and_then(|()| self.dir_file.sync_all());
        if let Err(error) = named {
            self.used -= self.segment_size;
            let _ = fs::remove_file(self.dir.join(SPARE));
            return Err(error);
        }
        Ok(Some(Arc::new(segment)))
    }

    /// Lets go of a segment whose records are all finished: it becomes the spare, or is unlinked.
    pub fn release(&mut self, segment: &Segment) {
        let path = self.dir.join(file_name(segment.first));
        if self.spare.is_none()
            && segment.size == self.segment_size
            && let Ok(file) = segment.file.try_clone()
            && fs::rename(&path, self.dir.join(SPARE)).is_ok()
        {
            self.spare = Some(file);
            return;
        }
        self.unlink(segment);
    }

    /// Removes a segment for good: it was finished, or the disk would not take it.
    pub fn unlink(&mut self, segment: &Segment) {
        self.used = self.used.saturating_sub(segment.size);
        let path = self.dir.join(file_name(segment.first));
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(path = %path.display(), %error, "cannot remove a finished segment");
        }
    }

    /// Renames an unreadable segment to `*.corrupt`, out of the way, for somebody to look at.
    pub fn set_aside(&mut self, first: u64, size: u64) {
        self.used = self.used.saturating_sub(size);
        folder::set_aside(&self.dir.join(file_name(first)), "a segment");
    }

    /// Reads the cursor file, making it if need be. On a disk too full for it this is tried
    /// again with every save.
    pub fn load_cursor(&mut self) -> Option<Ledger> {
        match CursorFile::open(&self.dir.join("cursor")) {
            Ok((file, known)) => {
                self.cursor = Some(file);
                known
            }
            Err(error) => {
                warn!(dir = %self.dir.display(), %error, "cannot open the cursor file");
                None
            }
        }
    }

    /// Reads the mark, making its file if need be.
    pub fn load_mark(&mut self) -> Option<Ledger> {
        match CursorFile::open_sparse(&self.dir.join("mark")) {
            Ok((file, known)) => {
                self.mark = Some(file);
                known
            }
            Err(error) => {
                warn!(dir = %self.dir.display(), %error, "cannot open the mark: after a kill more may be sent again");
                None
            }
        }
    }

    /// Hands over the file of the mark, if there is one.
    pub fn take_mark(&mut self) -> Option<CursorFile> {
        self.mark.take()
    }

    /// Writes an encoded ledger to the cursor file and syncs it. Returns where, and how many bytes.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save_cursor(&mut self, ledger: &[u8]) -> io::Result<(u64, u64)> {
        let cursor = match &mut self.cursor {
            Some(cursor) => cursor,
            none => {
                let (file, _) = CursorFile::open(&self.dir.join("cursor"))?;
                self.dir_file.sync_all()?;
                none.insert(file)
            }
        };
        cursor.save(ledger)
    }
}
