//! The registry of a link, where its session, those who ask, and the disk get at it.
//!
//! The file is written beside the session. What is said once is on disk within seconds, what changes
//! all the time every ten minutes; a number given away is on disk before the node gets it. Nothing is
//! written before the file has been read: a disk that is slow has not lost anything.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};
use wharf_contract::LinkId;
use wharf_contract::small_file::Keeper;

use super::{Change, Registry};

/// The largest file that is read. With all the bounds of a registry reached it stays below.
pub const LARGEST: u64 = 8 << 20;
/// How long what is said once gathers before it is written: a presentation takes several messages.
const SOON: Duration = Duration::from_secs(3);
/// How often what changes all the time is written, for the sake of the card.
const WHENEVER: Duration = Duration::from_secs(600);
/// How long after a failed write, or a failed read, it is tried again.
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
    /// Why the file could not be read so far.
    trouble: Mutex<Option<String>>,
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
            trouble: Mutex::default(),
            bell: Notify::new(),
            stored: watch::Sender::new(0),
        }
    }

    /// The same, kept in this file.
    #[must_use]
    pub fn in_file(self, file: PathBuf) -> Self {
        self.registry().await_file();
        Self { keeper: Some(Keeper::new(file)), ..self }
    }

    /// The registry. Held for a moment only, never over a wait.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the file, if that has not been done; tells whether it was read now. A damaged one is said and
    /// set aside; no number is given away then until somebody opens the network for new nodes. A disk that
    /// does not give it is said once, and is to be asked [again](Self::recall_again).
    pub async fn recall(&self, link: &LinkId) -> bool {
        let Some(keeper) = self.keeper.as_ref().filter(|_| self.registry().is_unread()) else { return false };
        let file = keeper.file().display();
        let recalled = match keeper.read(LARGEST).await {
            Ok(text) => self.registry().recall(&text).map_err(|error| error.to_string()),
            // What is there is no text, so it is no such file.
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                self.registry().forget();
                Err(error.to_string())
            }
            Err(error) => {
                let error = error.to_string();
                if self.trouble().replace(error.clone()).is_none() {
                    warn!(%link, %file, error, "what was known of the nodes cannot be read yet; until then no numbers are given away");
                }
                return false;
            }
        };
        if self.trouble().take().is_some() {
            info!(%link, %file, "what was known of the nodes was read");
        }
        if let Err(error) = recalled {
            set_aside(keeper.file().to_owned()).await;
            warn!(%link, %file, error, "what was known of the nodes is damaged; no numbers are given away until inclusion is opened");
        }
        true
    }

    /// Goes on trying until the file has been read; tells whether it was read now.
    pub async fn recall_again(&self, link: &LinkId) -> bool {
        while self.registry().is_unread() {
            if self.recall(link).await {
                return true;
            }
            sleep(AGAIN).await;
        }
        false
    }

    /// Why it is not known what was known, in words, as long as the disk does not tell.
    pub fn why_unread(&self) -> Option<String> {
        let trouble = self.trouble().clone()?;
        let file = self.keeper.as_ref()?.file().display();
        Some(format!(
            "what was known of the nodes cannot be read from {file} ({trouble}): until it can, new nodes get no numbers"
        ))
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
        if self.registry().is_unread() || !is_news || !(is_stop || is_soon || is_rare) {
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
        // What was known is worth more than what was heard since, and would be overwritten by it.
        if self.registry().is_unread() {
            return self.due_in(AGAIN);
        }
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

    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The same, after a start.
    async fn started(folder: &std::path::Path) -> Store {
        let store = store(folder);
        store.recall(&"garden".into()).await;
        store
    }

    #[tokio::test]
    async fn a_number_is_on_disk_before_it_counts_as_stored() {
        let folder = tempfile::tempdir().unwrap();
        let (before, link) = (started(folder.path()).await, LinkId::from("garden"));
        let revision = {
            let mut registry = before.registry();
            registry.give_number(SystemTime::now());
            registry.revision()
        };
        before.note_now();
        let stored = async { timeout(Duration::from_secs(60), before.stored(revision)).await.unwrap() };
        tokio::select! { () = stored => {}, never = before.keep_up(&link) => match never {} }
        let after = started(folder.path()).await;
        assert!(after.registry().node(1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_stored_is_not_said_to_be_and_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let (store, link) = (started(folder.path()).await, LinkId::from("garden"));
        std::fs::write(folder.path().join("mysensors"), "a file in the place of the folder").unwrap();
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
        let (store, link) = (started(folder.path()).await, LinkId::from("garden"));
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
        let (store, link) = (started(folder.path()).await, LinkId::from("garden"));
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

    /// A file that hangs when it is opened, until somebody writes to it, or this is dropped: a test that fails
    /// must not wait for it.
    struct Hanging(PathBuf);

    impl Hanging {
        fn at(file: &std::path::Path) -> Self {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(file).status().unwrap().success());
            // By another name, for this one may be given to something else.
            let other = file.with_extension("hanging");
            std::fs::hard_link(file, &other).unwrap();
            Self(other)
        }
    }

    impl Drop for Hanging {
        fn drop(&mut self) {
            // Opened both ways it does not wait itself, and whoever waits goes on.
            let _ = std::fs::OpenOptions::new().read(true).write(true).open(&self.0);
        }
    }

    /// What a node says, as it is heard now.
    fn hear(store: &Store, lines: &[&str]) {
        for line in lines {
            let message = crate::message::Message::parse(line.as_bytes()).unwrap();
            store.registry().hear(&message, SystemTime::now());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_is_slow_has_lost_nothing_and_no_number_is_given_until_it_has_answered() {
        let folder = tempfile::tempdir().unwrap();
        let (before, link) = (Store::new(Registry::new("garden", NameSource::Presentation)), LinkId::from("garden"));
        before.registry().give_number(SystemTime::now());
        hear(&before, &["2;255;0;0;17;2.3.2", "2;255;3;0;11;Bed", "2;1;0;0;6;Soil", "2;1;1;0;0;19", "2;1;1;0;1;60"]);
        let text = before.registry().to_file();

        let file = folder.path().join("mysensors").join("garden.nodes");
        let _hanging = Hanging::at(&file);
        let store = Store::new(Registry::new("garden", NameSource::Presentation)).in_file(file.clone());
        let patience = tokio::time::advance(Duration::from_secs(10));
        assert!(!tokio::join!(store.recall(&link), patience).0);
        assert!(store.why_unread().unwrap().contains("the disk does not answer"));
        assert_eq!(store.registry().give_number(SystemTime::now()), None);
        hear(&store, &["2;1;1;0;0;21", "7;255;3;0;11;Bed"]);
        assert_eq!(store.registry().device_name(7), None, "the name may be another's");
        // Nothing is written over what has not been read; if it were, this would replace it.
        store.note_now();
        store.keep_last(&link, true).await;
        assert!(std::os::unix::fs::FileTypeExt::is_fifo(&std::fs::metadata(&file).unwrap().file_type()));

        std::fs::write(&file, text).unwrap();
        assert!(store.recall_again(&link).await);
        assert_eq!((store.why_unread(), store.registry().is_incomplete()), (None, false));
        assert!(!file.with_file_name("garden.nodes.damaged").exists());
        {
            let mut registry = store.registry();
            assert_eq!((registry.value(2, 1, 0), registry.value(2, 1, 1)), (Some("21"), Some("60")));
            assert_eq!((registry.device_name(2), registry.device_name(7)), (Some("garden-bed"), Some("garden-bed-7")));
            assert!(registry.is_child_presented(2, 1));
            assert_eq!(registry.give_number(SystemTime::now()), Some(3), "1 was given and 2 is in use");
        }
        store.keep_last(&link, true).await;
        assert_eq!(stored_value(folder.path()).as_deref(), Some("21"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_cannot_be_opened_is_not_set_aside_and_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let (store, link) = (store(folder.path()), LinkId::from("garden"));
        let file = folder.path().join("mysensors").join("garden.nodes");
        std::fs::create_dir_all(&file).unwrap();
        assert!(!store.recall(&link).await);
        assert!(file.is_dir() && !file.with_file_name("garden.nodes.damaged").exists());
        assert_eq!(store.registry().give_number(SystemTime::now()), None);
        let mended = async {
            tokio::time::sleep(AGAIN / 2).await;
            std::fs::remove_dir(&file).unwrap();
        };
        assert!(tokio::join!(store.recall_again(&link), mended).0);
        assert_eq!(store.registry().give_number(SystemTime::now()), Some(1));
    }

    #[tokio::test]
    async fn a_damaged_file_is_no_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("mysensors")).unwrap();
        for damaged in [&b"{\"nodes\": ["[..], b"\xff\xfe", b"[]"] {
            let store = self::store(folder.path());
            std::fs::write(folder.path().join("mysensors").join("garden.nodes"), damaged).unwrap();
            assert!(store.recall(&"garden".into()).await);
            assert!(store.registry().is_incomplete() && store.why_unread().is_none());
            assert_eq!(std::fs::read(folder.path().join("mysensors").join("garden.nodes.damaged")).unwrap(), damaged);
        }
    }
}
