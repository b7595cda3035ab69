//! What a log on disk needs of its folder: to hold it alone, room in its files, and a place for what cannot be read.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FallocateFlags, FlockOperation};
use tracing::error;

/// How many unreadable files are kept for somebody to look at; the oldest go first.
const MAX_SET_ASIDE: usize = 4;

/// How often the lock of a folder is asked for again, and how long after the time before.
const TRIES: u32 = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(25);

/// Takes hold of a folder, making it if need be, for as long as the file lives. `None` if another process
/// holds it for longer than half a second.
///
/// # Errors
/// The folder cannot be made, opened or locked.
pub fn hold(dir: &Path) -> io::Result<Option<File>> {
    // What devices said is nobody else's business.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(dir.join("lock"))?;
    let mut tries = 0;
    loop {
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(lock)),
            // A process that is about to end, or was just forked and has not become another program yet, still holds it.
            Err(rustix::io::Errno::WOULDBLOCK) if tries < TRIES => tries += 1,
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(BETWEEN_TRIES);
    }
}

/// Makes a file that long, all of it on disk already. `false` if the file system cannot do that: then the
/// file is as it was.
///
/// # Errors
/// Those of the file system, above all that it is full.
pub fn preallocate(file: &File, size: u64) -> io::Result<bool> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Renames an unreadable file to `*.corrupt`, out of the way, for somebody to look at. `what` it was is told
/// in the log.
pub fn set_aside(path: &Path, what: &str) {
    let aside = path.with_extension("corrupt");
    match fs::rename(path, &aside) {
        Ok(()) => error!(path = %aside.display(), "{what} cannot be read and was set aside"),
        Err(error) => error!(path = %path.display(), %error, "{what} can neither be read nor set aside"),
    }
    let mut kept: Vec<PathBuf> = fs::read_dir(path.parent().unwrap_or(path))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "corrupt"))
        .collect();
    kept.sort();
    for path in kept.iter().rev().skip(MAX_SET_ASIDE) {
        let _ = fs::remove_file(path);
    }
}

/// Whether the disk, or a quota on it, is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
