//! The store, tried.

mod damage;
mod faults;
mod life;
mod model;
mod time;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::super::packet::{RetainedWanted, Wanted};
use super::super::publication::{Origin, Properties, Publication, Qos};
use super::super::saved::{Change, Journal, Saved, SavedSession, SessionFacts, Stage, Waiting};
use super::log::{parse_name, seqs};
use super::{MAX_BODY, Settings, Store};
use crate::clock::pretend::Pretend;
use crate::queue::header;
use crate::queue::scan::Frames;

/// How long something may take that is expected to happen: generous, because machines are slow.
const PATIENCE: Duration = Duration::from_secs(30);
/// An hour nobody waits for.
const LATER: Duration = Duration::from_secs(3600);
const NOW: u64 = 1_795_000_000_000;

/// What goes wrong with the disk.
#[derive(Default)]
pub struct Faults {
    /// How many of the next writes fail.
    failures: AtomicU32,
    /// Held by whoever makes the disk hang.
    hang: Mutex<()>,
}

impl Faults {
    /// Called before each sync.
    pub fn meet(&self) -> io::Result<()> {
        drop(self.hang.lock().unwrap());
        let more = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if more.is_ok() { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}

/// Settings by which nothing is written before somebody asks for it.
fn on_request() -> Settings {
    let retry = Duration::from_millis(10);
    let clock = Pretend::booted(1, NOW).clock();
    Settings { commit: LATER, commit_own: LATER, retry, longest_retry: retry, clock, ..Settings::default() }
}

/// Opens a store that has nothing to tell of damage.
fn open(dir: &Path, settings: Settings) -> (Saved, Store) {
    let (saved, store) = Store::open_with(dir, settings).unwrap();
    assert_eq!((store.counters().damaged, store.counters().set_aside), (0, 0));
    (saved, store)
}

/// What the next start would find.
fn found(dir: &Path) -> Saved {
    let (saved, store) = open(dir, on_request());
    store.close().unwrap();
    saved
}

fn publication(topic: &str, payload: &str) -> Arc<Publication> {
    let from = Origin::Client { client: "plug".into(), user: None };
    Arc::new(Publication { from, ..Publication::new(topic, payload.to_owned()) })
}

fn waiting(number: u64, publication: &Arc<Publication>) -> Waiting {
    let (publication, qos) = (publication.clone(), Qos::AtLeastOnce);
    Waiting { number, publication, qos, retain: false, subscriptions: Vec::new(), stage: Stage::Waiting }
}

fn wanted(filter: &str) -> Wanted {
    let (qos, retained) = (Qos::AtLeastOnce, RetainedWanted::All);
    Wanted { filter: filter.into(), qos, no_local: false, retain_as_published: false, retained }
}

fn facts(client: &str) -> SessionFacts<'_> {
    SessionFacts { client, user: None, expiry: 3600, away_since: None }
}

/// A session, and messages that wait in it from number `first` on.
fn queue(journal: &mut dyn Journal, client: &str, first: u64, messages: &[&Arc<Publication>]) {
    journal.note(Change::Session(facts(client)));
    for (number, message) in (first..).zip(messages) {
        journal.note(Change::Queued { client, waiting: &waiting(number, message) });
    }
}

/// The newest file of the log.
fn newest(dir: &Path) -> (u64, PathBuf) {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let numbered = names.filter_map(|path| Some((parse_name(path.file_name()?.to_str()?)?, path)));
    numbered.max().expect("there is no file")
}

/// Where the last frame of a file ends, and how many there are.
fn end_of(number: u64, path: &Path) -> (usize, usize) {
    let file = fs::File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    let mut frames = Frames::new(&file, header::LENGTH..size, seqs(number), MAX_BODY, 1 << 16);
    let count = frames.by_ref().count();
    (frames.offset() as usize, count)
}

fn payloads(session: &SavedSession) -> Vec<&[u8]> {
    session.waiting.iter().map(|waiting| &waiting.publication.payload[..]).collect()
}

fn contains(path: &Path, text: &str) -> bool {
    fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
}
