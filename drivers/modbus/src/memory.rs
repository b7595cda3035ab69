//! What a link has learnt about its devices, kept over its sessions, and over restarts in a small
//! file: which places they refuse to have read. Without the file nothing is wrong, only learnt anew.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::warn;

use crate::link::Link;
use crate::plan::cost::Gauge;
use crate::plan::holes::{self, Holes};
use crate::small_file;

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
            Some(file) => small_file::read(file, LARGEST).await,
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
        let written = small_file::replace(file, text).await;
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
