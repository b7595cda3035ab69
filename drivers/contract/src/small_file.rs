//! A small text file that a driver keeps in the state directory, read and replaced as a whole, off the
//! runtime's threads. A disk may hang: then one write hangs with it, and only whoever waits for that one.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// How long the disk may take to give the file. What is in it is worth less than what a link hears.
const PATIENCE: Duration = Duration::from_secs(10);

/// The text of the file, `largest` bytes of it at most; empty if there is no such file. Waits for the
/// disk: for who has nothing else to do.
///
/// # Errors
/// It cannot be read, or is no text.
pub fn look(file: &Path, largest: u64) -> io::Result<String> {
    let opened = match fs::File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        opened => opened?,
    };
    let mut text = String::new();
    opened.take(largest).read_to_string(&mut text)?;
    Ok(text)
}

/// The one who reads the file at the start and writes it from then on.
#[derive(Debug)]
pub struct Keeper {
    file: PathBuf,
    /// The read that a disk has not answered yet.
    reading: Mutex<Option<JoinHandle<io::Result<String>>>>,
    /// The write that was begun last, until somebody has seen its end.
    under_way: Mutex<Option<JoinHandle<io::Result<()>>>>,
    /// Whether the file has not been told yet what is new; and the bell for whoever writes it.
    is_news: AtomicBool,
    bell: Notify,
}

impl Keeper {
    /// Of this file, and of nothing else. Touches no disk.
    pub fn new(file: PathBuf) -> Self {
        Self {
            file,
            reading: Mutex::default(),
            under_way: Mutex::default(),
            is_news: AtomicBool::new(false),
            bell: Notify::new(),
        }
    }

    /// Where the file is.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The text of the file, as [`look`] has it. Who tries again after a disk has hung waits for the same
    /// read, so that a disk that hangs for good holds up one thread and not ever more.
    ///
    /// # Errors
    /// It cannot be read, or is no text, or the disk hangs.
    pub async fn read(&self, largest: u64) -> io::Result<String> {
        let mut reading = self.reading.lock().await;
        let file = self.file.clone();
        let read = reading.get_or_insert_with(|| spawn_blocking(move || look(&file, largest)));
        let Ok(read) = timeout(PATIENCE, read).await else {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer"));
        };
        *reading = None;
        read.unwrap_or_else(|error| Err(error.into()))
    }

    /// There is something new, to be written by whoever waits for that.
    pub fn note(&self) {
        self.is_news.store(true, Ordering::Release);
        self.bell.notify_one();
    }

    /// Waits until there may be something new.
    pub async fn noted(&self) {
        self.bell.notified().await;
    }

    /// Replaces the file if something new was noted, else waits for the write under way. What is noted
    /// while a write lasts waits for its end, and the latest state wins.
    ///
    /// # Errors
    /// It cannot be written; the old one stands, and the next time it is tried again.
    pub async fn keep(&self, text: impl FnOnce() -> String) -> io::Result<()> {
        let mut under_way = self.under_way.lock().await;
        let before = end(&mut under_way).await;
        // What comes of the one before counts no more if there is a newer one.
        let written = match self.is_news.swap(false, Ordering::AcqRel) {
            true => self.write(&mut under_way, text()).await,
            false => before,
        };
        if written.is_err() {
            self.is_news.store(true, Ordering::Release);
        }
        written
    }

    /// Replaces the file: a power cut leaves the old one or the new one. One write at a time: `text` is
    /// asked for when the one before has ended. Safe to drop: what was begun goes on, and whoever writes
    /// next waits for it.
    ///
    /// # Errors
    /// It cannot be written; the old one stands.
    pub async fn replace(&self, text: impl FnOnce() -> String) -> io::Result<()> {
        let mut under_way = self.under_way.lock().await;
        // What comes of the one before counts no more: this one is newer.
        let _ = end(&mut under_way).await;
        self.write(&mut under_way, text()).await
    }

    async fn write(&self, under_way: &mut Option<JoinHandle<io::Result<()>>>, text: String) -> io::Result<()> {
        let file = self.file.clone();
        *under_way = Some(spawn_blocking(move || replace(&file, &text)));
        end(under_way).await
    }
}

/// The end of the write under way. Safe to drop: it is still under way then.
async fn end(under_way: &mut Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    let Some(write) = under_way else { return Ok(()) };
    let outcome = write.await;
    *under_way = None;
    outcome.unwrap_or_else(|error| Err(error.into()))
}

/// Replaces the file, and makes its folder if there is none.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    let mut opened = fs::File::create(&new)?;
    opened.write_all(text.as_bytes())?;
    opened.sync_all()?;
    fs::rename(&new, file)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in a folder of its own.
    fn keeper(folder: &Path) -> Keeper {
        Keeper::new(folder.join("bus").join("holes"))
    }

    /// A file that hangs when it is opened, until somebody writes to it, or this is dropped: a test that fails
    /// must not wait for it.
    struct Hanging(PathBuf);

    impl Hanging {
        fn at(file: &Path) -> Self {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(file).status().unwrap().success());
            // By another name, for this one may be given to something else.
            let other = file.with_extension("hanging");
            fs::hard_link(file, &other).unwrap();
            Self(other)
        }
    }

    impl Drop for Hanging {
        fn drop(&mut self) {
            // Opened both ways it does not wait itself, and whoever waits goes on.
            let _ = fs::OpenOptions::new().read(true).write(true).open(&self.0);
        }
    }

    #[tokio::test]
    async fn what_is_new_is_written_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        assert_eq!(keeper.read(100).await.unwrap(), "");
        keeper.keep(|| unreachable!("nothing is new")).await.unwrap();
        keeper.note();
        keeper.noted().await;
        keeper.keep(|| "a hole".into()).await.unwrap();
        keeper.keep(|| unreachable!("it was written")).await.unwrap();
        assert_eq!(keeper.read(100).await.unwrap(), "a hole");
        assert_eq!(keeper.read(3).await.unwrap(), "a h");
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_asked_once_however_often_somebody_tries() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        let _hanging = Hanging::at(keeper.file());
        for _ in 0..3 {
            let patience = async { tokio::time::advance(PATIENCE).await };
            let (read, ()) = tokio::join!(keeper.read(100), patience);
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        // One reader takes all there is; a second one would wait for ever, and so would this test.
        fs::write(keeper.file(), "found").unwrap();
        assert_eq!(keeper.read(100).await.unwrap(), "found");
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_tried_again_with_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        // A file in the place of the folder.
        fs::write(folder.path().join("bus"), "").unwrap();
        keeper.note();
        assert!(keeper.keep(|| "lost".into()).await.is_err());
        fs::remove_file(folder.path().join("bus")).unwrap();
        keeper.keep(|| "found".into()).await.unwrap();
        assert_eq!(look(keeper.file(), 100).unwrap(), "found");
    }
}
