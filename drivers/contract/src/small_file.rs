//! A small text file that a driver keeps in the state directory, read and replaced as a whole. Both
//! wait for the disk: an asynchronous caller puts them on a thread for such work.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

/// The text of the file, `largest` bytes of it at most; empty if there is no such file.
///
/// # Errors
/// It cannot be read, or is no text.
pub fn read(file: &Path, largest: u64) -> io::Result<String> {
    let opened = match fs::File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        opened => opened?,
    };
    let mut text = String::new();
    opened.take(largest).read_to_string(&mut text)?;
    Ok(text)
}

/// Replaces the file, and makes its folder if there is none: a power cut leaves the old one or the new
/// one.
///
/// # Errors
/// It cannot be written; the old one stands.
pub fn replace(file: &Path, text: &str) -> io::Result<()> {
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
