//! What a link has learnt about its devices, kept over its sessions, and over restarts in a small
//! file: which places they refuse to have read. Without the file nothing is wrong, only learnt anew.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::{info, warn};
use wharf_contract::small_file::{self, Keeper};

use crate::link::Link;
use crate::plan::cost::Gauge;
use crate::plan::holes::{self, Holes};

/// The largest file that is read. A link of 200 devices with all the holes they may have is smaller.
const LARGEST: u64 = 4 << 20;

/// How many refused places the log names when they are remembered.
const NAMED: usize = 12;

/// What a link has learnt.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    file: Option<Keeper>,
    kept: Mutex<Option<Kept>>,
    /// Whether the last session has said of all its devices that they are away.
    took_leave: AtomicBool,
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
        Self { file: Some(Keeper::new(file)), ..Self::default() }
    }

    /// Whether the session before ended with a word on its devices. If it panicked it did not, and of the
    /// one before the gateway was started nobody knows.
    pub(crate) fn took_leave(&self) -> bool {
        self.took_leave.load(Ordering::Relaxed)
    }

    /// Notes whether all that the session has said of its devices ends with that they are away.
    pub(crate) fn take_leave(&self, taken: bool) {
        self.took_leave.store(taken, Ordering::Relaxed);
    }

    /// What was learnt so far.
    pub(crate) async fn recall(&self, link: &Link) -> Kept {
        if let Some(kept) = self.kept().clone() {
            return kept;
        }
        let text = match &self.file {
            Some(keeper) => keeper.read(LARGEST).await,
            None => Ok(String::new()),
        };
        let text = text.unwrap_or_else(|error| {
            warn!(link = %link.name, %error, "what was learnt about the devices cannot be read; it is learnt anew");
            String::new()
        });
        let kept = Kept { holes: holes::parse(&text, &link.devices, seconds_now()), gauge: Gauge::default() };
        self.tell(link, &kept.holes);
        *self.kept() = Some(kept.clone());
        kept
    }

    /// Says once what is left out from the start, and what to do if that is not right any more.
    fn tell(&self, link: &Link, holes: &[Holes]) {
        let each = link.devices.iter().zip(holes);
        let mut places: Vec<String> = each
            .flat_map(|(device, holes)| {
                holes.in_words(device).into_iter().map(move |hole| format!("{} {hole}", device.name))
            })
            .collect();
        if places.is_empty() {
            return;
        }
        let beyond = places.len().saturating_sub(NAMED);
        places.truncate(NAMED);
        if beyond > 0 {
            places.push(format!("{beyond} more"));
        }
        let forget = self.how_to_forget().unwrap_or_default();
        info!(link = %link.name, places = %places.join(", "), forget, "these were refused before and are remembered");
    }

    fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(Keeper::file)
    }

    /// How a person has it forget what was refused.
    pub(crate) fn how_to_forget(&self) -> Option<String> {
        self.file().map(|file| format!("stop the gateway and delete {}", file.display()))
    }

    /// The places that are known to be refused, of each device: as the session knows them, or as the file
    /// does. Reads it at once, for who waits for nothing else.
    pub(crate) fn look(&self, link: &Link) -> Vec<Holes> {
        if let Some(kept) = &*self.kept() {
            return kept.holes.clone();
        }
        let text = self.file().and_then(|file| small_file::look(file, LARGEST).ok()).unwrap_or_default();
        holes::parse(&text, &link.devices, seconds_now())
    }

    /// Keeps what was measured.
    pub(crate) fn keep_gauge(&self, gauge: Gauge) {
        if let Some(kept) = &mut *self.kept() {
            kept.gauge = gauge;
        }
    }

    /// Keeps what was learnt, of all devices. The file is written beside the session, by [`keep_up`](Self::keep_up).
    pub(crate) fn keep_holes(&self, holes: Vec<Holes>) {
        if let Some(kept) = &mut *self.kept() {
            kept.holes = holes;
        }
        if let Some(keeper) = &self.file {
            keeper.note();
        }
    }

    /// Writes the file for as long as a session runs.
    pub(crate) async fn keep_up(&self, link: &Link) -> Infallible {
        let Some(keeper) = &self.file else { return std::future::pending().await };
        loop {
            self.keep(link).await;
            keeper.noted().await;
        }
    }

    /// Writes the file if there is news, and waits for a write under way.
    pub(crate) async fn keep(&self, link: &Link) {
        let Some(keeper) = &self.file else { return };
        let text = || {
            let holes = self.kept().as_ref().map(|kept| kept.holes.clone()).unwrap_or_default();
            holes::render(link.devices.iter().zip(&holes))
        };
        if let Err(error) = keeper.keep(text).await {
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
