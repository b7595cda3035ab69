//! What a link has learnt about its devices, kept over its sessions, and over restarts in a small
//! file: which places they refuse to have read. Without the file nothing is wrong, only learnt anew.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tracing::{info, warn};

use crate::link::Link;
use crate::plan::cost::Gauge;
use crate::plan::holes::{self, Holes};
use crate::small_file::{self, Writer};

/// The largest file that is read. A link of 200 devices with all the holes they may have is smaller.
const LARGEST: u64 = 4 << 20;

/// How many refused places the log names when they are remembered.
const NAMED: usize = 12;

/// What a link has learnt.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    file: Option<Writer>,
    kept: Mutex<Option<Kept>>,
    /// Whether the file has not been told yet what was learnt last; and the bell for whoever writes it.
    is_news: AtomicBool,
    news: Notify,
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
        Self { file: Some(Writer::new(file)), ..Self::default() }
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
            Some(writer) => small_file::read(writer.file().to_owned(), LARGEST).await,
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
        self.file.as_ref().map(Writer::file)
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
        let text =
            self.file().and_then(|file| wharf_contract::small_file::read(file, LARGEST).ok()).unwrap_or_default();
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
        self.is_news.store(true, Ordering::Release);
        self.news.notify_one();
    }

    /// Writes the file for as long as a session runs. What is learnt while a write lasts waits for its end,
    /// and the latest state wins.
    pub(crate) async fn keep_up(&self, link: &Link) -> Infallible {
        loop {
            self.keep(link).await;
            self.news.notified().await;
        }
    }

    /// Writes the file if there is news, and waits for a write under way.
    pub(crate) async fn keep(&self, link: &Link) {
        let Some(writer) = &self.file else { return };
        let text = || {
            self.is_news.store(false, Ordering::Release);
            let holes = self.kept().as_ref().map(|kept| kept.holes.clone()).unwrap_or_default();
            holes::render(link.devices.iter().zip(&holes))
        };
        let is_news = self.is_news.load(Ordering::Acquire);
        let written = if is_news { writer.replace(text).await } else { writer.settle().await };
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
