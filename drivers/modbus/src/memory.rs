//! What a link has learnt about its devices, kept over its sessions, and over restarts in a small
//! file: which places they refuse to have read. Without the file nothing is wrong, only learnt anew.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::spawn_blocking;
use tracing::warn;

use crate::link::Link;
use crate::plan::cost::Gauge;
use crate::plan::holes::{self, Holes};

/// The largest file that is read. A link of 200 devices with all the holes they may have is smaller.
const LARGEST: u64 = 4 << 20;

/// What a link has learnt.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    file: Option<PathBuf>,
    kept: Mutex<Option<Kept>>,
    /// Whether anything was told of the devices since the gateway started.
    introduced: AtomicBool,
}

/// What there is to know at the start of a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    /// Of each device.
    pub(crate) holes: Vec<Holes>,
    pub(crate) gauge: Gauge,
}

impl Memory {
    /// A memory that outlives the process.
    pub(crate) fn in_file(file: PathBuf) -> Self {
        Self { file: Some(file), ..Self::default() }
    }

    /// Notes that the devices are told of. Returns whether that is for the first time since the
    /// gateway started.
    pub(crate) fn introduce(&self) -> bool {
        !self.introduced.swap(true, Ordering::Relaxed)
    }

    /// What was learnt so far.
    pub(crate) async fn recall(&self, link: &Link) -> Kept {
        if let Some(kept) = self.kept().clone() {
            return kept;
        }
        let text = match self.file.clone() {
            Some(file) => spawn_blocking(move || read(&file)).await.unwrap_or_else(|error| Err(error.into())),
            None => Ok(String::new()),
        };
        let text = text.unwrap_or_else(|error| {
            warn!(link = %link.name, %error, "what was learnt about the devices cannot be read; it is learnt anew");
            String::new()
        });
        let kept = Kept { holes: holes::parse(&text, &link.devices, seconds_now()), gauge: Gauge::default() };
        *self.kept() = Some(kept.clone());
        kept
    }

    /// Keeps what was measured.
    pub(crate) fn keep_gauge(&self, gauge: Gauge) {
        if let Some(kept) = &mut *self.kept() {
            kept.gauge = gauge;
        }
    }

    /// Keeps what was learnt, of all devices.
    pub(crate) async fn keep_holes(&self, link: &Link, holes: Vec<Holes>) {
        let text = holes::render(link.devices.iter().zip(&holes));
        if let Some(kept) = &mut *self.kept() {
            kept.holes = holes;
        }
        let Some(file) = self.file.clone() else { return };
        let written = spawn_blocking(move || write(&file, &text)).await.unwrap_or_else(|error| Err(error.into()));
        if let Err(error) = written {
            warn!(link = %link.name, %error, "what was learnt about the devices cannot be kept over a restart");
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds since 1970.
pub(crate) fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn read(file: &Path) -> io::Result<String> {
    let opened = match fs::File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        opened => opened?,
    };
    let mut text = String::new();
    opened.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// Replaces the file as a whole: a power cut leaves the old one or the new one.
fn write(file: &Path, text: &str) -> io::Result<()> {
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
