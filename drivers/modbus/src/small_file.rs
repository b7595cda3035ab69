//! A small text file in the state directory, read and replaced off the runtime's threads.
//! A disk may hang: then one write hangs with it, and only whoever waits for that one.

use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};
use wharf_contract::small_file;

/// The text of the file, `largest` bytes of it at most; empty if there is no such file.
///
/// # Errors
/// It cannot be read.
pub(crate) async fn read(file: PathBuf, largest: u64) -> io::Result<String> {
    spawn_blocking(move || small_file::read(&file, largest)).await.unwrap_or_else(|error| Err(error.into()))
}

/// The one who writes the file.
#[derive(Debug)]
pub(crate) struct Writer {
    file: PathBuf,
    /// The write that was begun last, until somebody has seen its end.
    under_way: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

impl Writer {
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file, under_way: Mutex::default() }
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Replaces the file: a power cut leaves the old one or the new one. One write at a time: `text` is
    /// asked for when the one before has ended. Safe to drop: what was begun goes on, and whoever writes
    /// next waits for it.
    ///
    /// # Errors
    /// It cannot be written; the old one stands.
    pub(crate) async fn replace(&self, text: impl FnOnce() -> String) -> io::Result<()> {
        let mut under_way = self.under_way.lock().await;
        // What comes of the one before counts no more: this one is newer.
        let _ = end(&mut under_way).await;
        let (file, text) = (self.file.clone(), text());
        *under_way = Some(spawn_blocking(move || small_file::replace(&file, &text)));
        end(&mut under_way).await
    }

    /// Waits for the write under way, if there is one.
    ///
    /// # Errors
    /// It failed.
    pub(crate) async fn settle(&self) -> io::Result<()> {
        end(&mut *self.under_way.lock().await).await
    }
}

/// The end of the write under way. Safe to drop: it is still under way then.
async fn end(under_way: &mut Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    let Some(write) = under_way else { return Ok(()) };
    let outcome = write.await;
    *under_way = None;
    outcome.unwrap_or_else(|error| Err(error.into()))
}
