//! The registry of a link, where its session, those who ask, and the disk get at it.
//!
//! The file is written beside the session. What is said once is on disk within seconds, what changes
//! all the time every ten minutes; a number given away is on disk before the node gets it.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;
use wharf_contract::LinkId;
use wharf_contract::small_file::Keeper;

use super::{Change, Registry};

/// The largest file that is read. With all the bounds of a registry reached it stays below.
pub const LARGEST: u64 = 8 << 20;
/// How long what is said once gathers before it is written: a presentation takes several messages.
const SOON: Duration = Duration::from_secs(3);
/// How often what changes all the time is written, for the sake of the card.
const WHENEVER: Duration = Duration::from_secs(600);
/// How long after a failed write it is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long after one write a link that is lost causes no other, for the sake of the card.
const SPARING: Duration = Duration::from_secs(60);
/// How long a session that has ended waits for the disk. A stopping gateway gives its drivers little more.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// The registry and its file, if it has one.
#[derive(Debug)]
pub struct Store {
    registry: Mutex<Registry>,
    keeper: Option<Keeper>,
    /// Since when something waits to be written, and how soon it should be.
    due: Mutex<Option<Instant>>,
    /// When the file was written last.
    written: Mutex<Option<Instant>>,
    bell: Notify,
    stored: watch::Sender<u64>,
}

impl Store {
    /// A registry that is forgotten with the process.
    pub fn new(registry: Registry) -> Self {
        Self {
            registry: Mutex::new(registry),
            keeper: None,
            due: Mutex::default(),
            written: Mutex::default(),
            bell: Notify::new(),
            stored: watch::Sender::new(0),
        }
    }

    /// The same, kept in this file.
    #[must_use]
    pub fn in_file(self, file: PathBuf) -> Self {
        Self { keeper: Some(Keeper::new(file)), ..self }
    }

    /// The registry. Held for a moment only, never over a wait.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the file. A damaged one is said; no number is given away then until somebody opens the
    /// network for new nodes.
    pub async fn recall(&self, link: &LinkId) {
        let Some(keeper) = &self.keeper else { return };
        let text = keeper.read(LARGEST).await;
        let recalled = {
            let mut registry = self.registry();
            match text {
                Ok(text) => registry.recall(&text).map_err(|error| error.to_string()),
                Err(error) => {
                    registry.forget();
                    Err(error.to_string())
                }
            }
        };
        if let Err(error) = recalled {
            set_aside(keeper.file().to_owned()).await;
            let file = keeper.file().display();
            warn!(%link, %file, error, "what was known of the nodes cannot be read; no numbers are given away until inclusion is opened");
        }
    }

    /// Something has changed in the registry.
    pub fn note(&self, change: Change) {
        self.due_in(match change {
            Change::Whenever => WHENEVER,
            Change::Soon => SOON,
        });
    }

    /// Something has changed that somebody waits to see stored.
    pub fn note_now(&self) {
        self.due_in(Duration::ZERO);
    }

    /// Waits until the registry is stored as it was at this revision. Without a file, nothing is kept
    /// and nothing is waited for.
    pub async fn stored(&self, revision: u64) {
        if self.keeper.is_some() {
            // It lives as long as the store.
            let _ = self.stored.subscribe().wait_for(|stored| *stored >= revision).await;
        }
    }

    /// Writes the file for as long as a session runs.
    pub async fn keep_up(&self, link: &LinkId) -> Infallible {
        loop {
            let due = *self.due();
            match due {
                None => self.bell.notified().await,
                Some(due) => tokio::select! {
                    () = self.bell.notified() => {}
                    () = sleep_until(due) => self.keep(link).await,
                },
            }
        }
    }

    /// Writes what waits, at the end of a session: all of it when the gateway stops, but what changes all the
    /// time not at every loss of a link that comes and goes.
    pub async fn keep_last(&self, link: &LinkId, is_stop: bool) {
        let now = Instant::now();
        // What waits and is not due was being written when the session ended.
        let is_soon = self.due().is_none_or(|due| due <= now + SOON);
        let is_rare = self.written().is_none_or(|at| now.duration_since(at) >= SPARING);
        let is_news = self.registry().revision() != *self.stored.borrow();
        if !is_news || !(is_stop || is_soon || is_rare) {
            return;
        }
        if timeout(LAST_WRITE, self.keep(link)).await.is_err() {
            self.due_in(AGAIN);
            warn!(%link, waited = ?LAST_WRITE, "the disk does not take what is known of the nodes; it is not waited for any longer");
        }
    }

    async fn keep(&self, link: &LinkId) {
        *self.due() = None;
        let Some(keeper) = &self.keeper else { return };
        let mut revision = 0;
        let text = || {
            let registry = self.registry();
            revision = registry.revision();
            registry.to_file()
        };
        match keeper.replace(text).await {
            Ok(()) => {
                *self.written() = Some(Instant::now());
                self.stored.send_if_modified(|stored| std::mem::replace(stored, revision) != revision);
            }
            Err(error) => {
                warn!(%link, %error, "what is known of the nodes cannot be kept over a restart, and no numbers are given away");
                self.due_in(AGAIN);
            }
        }
    }

    fn due_in(&self, wait: Duration) {
        let wanted = Instant::now() + wait;
        let mut due = self.due();
        if due.is_none_or(|due| due > wanted) {
            *due = Some(wanted);
            self.bell.notify_one();
        }
    }

    fn written(&self) -> MutexGuard<'_, Option<Instant>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn due(&self) -> MutexGuard<'_, Option<Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a damaged file for whoever can still read something in it, as well as that is possible.
async fn set_aside(file: PathBuf) {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".damaged");
    let aside = file.with_file_name(name);
    let moved = spawn_blocking(move || std::fs::rename(&file, &aside));
    // A disk that hangs is not waited for, and a file that stays is overwritten.
    let _ = timeout(LAST_WRITE, moved).await;
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::names::NameSource;
    use super::*;

    fn store(folder: &std::path::Path) -> Store {
        Store::new(Registry::new("garden", NameSource::Numbers)).in_file(folder.join("mysensors").join("garden.nodes"))
    }

    #[tokio::test]
    async fn a_number_is_on_disk_before_it_counts_as_stored() {
        let folder = tempfile::tempdir().unwrap();
        let (before, link) = (store(folder.path()), LinkId::from("garden"));
        let revision = {
            let mut registry = before.registry();
            registry.give_number(SystemTime::now());
            registry.revision()
        };
        before.note_now();
        let stored = async { timeout(Duration::from_secs(60), before.stored(revision)).await.unwrap() };
        tokio::select! { () = stored => {}, never = before.keep_up(&link) => match never {} }
        let after = store(folder.path());
        after.recall(&link).await;
        assert!(after.registry().node(1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_stored_is_not_said_to_be_and_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("mysensors"), "a file in the place of the folder").unwrap();
        let (store, link) = (store(folder.path()), LinkId::from("garden"));
        let revision = {
            let mut registry = store.registry();
            registry.give_number(SystemTime::now());
            registry.revision()
        };
        store.note_now();
        tokio::select! {
            () = store.stored(revision) => panic!("there is nowhere to store it"),
            () = tokio::time::sleep(AGAIN / 2) => {}
            never = store.keep_up(&link) => match never {},
        }
        std::fs::remove_file(folder.path().join("mysensors")).unwrap();
        tokio::select! { () = store.stored(revision) => {}, never = store.keep_up(&link) => match never {} }
    }

    /// The value of node 2 as it stands in the file.
    fn stored_value(folder: &std::path::Path) -> Option<String> {
        let text = wharf_contract::small_file::look(&folder.join("mysensors").join("garden.nodes"), LARGEST).unwrap();
        let mut registry = Registry::new("garden", NameSource::Numbers);
        registry.recall(&text).unwrap();
        registry.value(2, 1, 0).map(str::to_owned)
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_is_lost_again_and_again_does_not_wear_the_card_and_a_stop_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (store, link) = (store(folder.path()), LinkId::from("garden"));
        let session = async |value: &str, change, is_stop| {
            store.registry().wrote(2, 1, 0, value);
            store.note(change);
            store.keep_last(&link, is_stop).await;
            stored_value(folder.path())
        };
        assert_eq!(session("1", Change::Whenever, false).await.as_deref(), Some("1"));
        assert_eq!(session("2", Change::Whenever, false).await.as_deref(), Some("1"), "it was written just now");
        assert_eq!(session("3", Change::Soon, false).await.as_deref(), Some("3"), "it is said once");
        tokio::time::sleep(SPARING).await;
        assert_eq!(session("4", Change::Whenever, false).await.as_deref(), Some("4"));
        assert_eq!(session("5", Change::Whenever, true).await.as_deref(), Some("5"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waited_for_a_disk_that_hangs_is_written_when_it_is_back_although_its_session_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let (store, link) = (store(folder.path()), LinkId::from("garden"));
        // Opening it hangs until somebody reads it.
        let hangs = folder.path().join("mysensors").join("garden.nodes.new");
        std::fs::create_dir(folder.path().join("mysensors")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&hangs).status().unwrap().success());
        for value in ["1", "2"] {
            store.registry().wrote(2, 1, 0, value);
            store.note(Change::Soon);
            let begun = store.keep(&link);
            tokio::select! { biased; () = begun => panic!("the disk hangs"), () = std::future::ready(()) => {} }
        }
        let mut reader = std::fs::File::open(&hangs).unwrap();
        std::fs::remove_file(&hangs).unwrap();
        std::io::Read::read_to_string(&mut reader, &mut String::new()).unwrap();
        store.keep_last(&link, false).await;
        assert_eq!(stored_value(folder.path()).as_deref(), Some("2"));
    }

    #[tokio::test]
    async fn a_damaged_file_is_no_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        std::fs::create_dir(folder.path().join("mysensors")).unwrap();
        std::fs::write(folder.path().join("mysensors").join("garden.nodes"), "{\"nodes\": [").unwrap();
        store.recall(&"garden".into()).await;
        assert!(store.registry().is_incomplete());
        assert!(folder.path().join("mysensors").join("garden.nodes.damaged").exists());
    }
}
