//! A small text file in the state directory, read and replaced as a whole, off the runtime's threads.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

/// The text of the file, `largest` bytes of it at most; empty if there is no such file.
///
/// # Errors
/// It cannot be read.
pub(crate) async fn read(file: PathBuf, largest: u64) -> io::Result<String> {
    spawn_blocking(move || read_now(&file, largest)).await.unwrap_or_else(|error| Err(error.into()))
}

/// Replaces the file: a power cut leaves the old one or the new one.
///
/// # Errors
/// It cannot be written; the old one stands.
pub(crate) async fn replace(file: PathBuf, text: String) -> io::Result<()> {
    spawn_blocking(move || replace_now(&file, &text)).await.unwrap_or_else(|error| Err(error.into()))
}

fn read_now(file: &Path, largest: u64) -> io::Result<String> {
    let opened = match fs::File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        opened => opened?,
    };
    let mut text = String::new();
    opened.take(largest).read_to_string(&mut text)?;
    Ok(text)
}

fn replace_now(file: &Path, text: &str) -> io::Result<()> {
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
