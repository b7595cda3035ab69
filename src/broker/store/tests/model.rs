//! The store against a plain model of it: whatever happens, and wherever the power goes, what is found is what there
//! was at one of the commits.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use super::*;

const CLIENTS: [&str; 4] = ["panel", "node-red", "home", "phone"];
const TOPICS: [&str; 6] = ["a", "a/b", "plug/state", "meter/power", "x", "gw1-sys/state"];

/// What should be there.
#[derive(Clone, Default)]
struct Model {
    retained: BTreeMap<Arc<str>, Arc<Publication>>,
    sessions: BTreeMap<&'static str, Session>,
}

#[derive(Clone, Default)]
struct Session {
    user: Option<Arc<str>>,
    expiry: u32,
    away_since: Option<std::time::SystemTime>,
    subscriptions: BTreeMap<&'static str, (Wanted, Option<u32>)>,
    waiting: BTreeMap<u64, Waiting>,
    incoming: BTreeSet<u16>,
    next: u64,
}

impl Model {
    fn saved(&self) -> Saved {
        let session = |(client, session): (&&str, &Session)| SavedSession {
            client: (*client).into(),
            user: session.user.clone(),
            expiry: session.expiry,
            away_since: session.away_since,
            subscriptions: session.subscriptions.values().cloned().collect(),
            waiting: session.waiting.values().cloned().collect(),
            incoming: session.incoming.iter().copied().collect(),
        };
        Saved {
            retained: self.retained.values().cloned().collect(),
            sessions: self.sessions.iter().map(session).collect(),
        }
    }
}

/// Where commits ended, and what there was then.
type Commits = Vec<(usize, Saved)>;

/// A run: the model, the store, and what was safe when.
struct Run {
    random: fastrand::Rng,
    dir: tempfile::TempDir,
    settings: Settings,
    model: Model,
    store: Store,
    journal: Box<dyn Journal>,
    /// By file: its bytes, and what there was at each of its commits and where that ended.
    files: BTreeMap<u64, (Vec<u8>, Commits)>,
}

impl Run {
    fn begin(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let dir = tempfile::tempdir().unwrap();
        let pending = if random.bool() { 2000 } else { 8 << 20 };
        let settings = Settings { file_size: random.u64(1000..20_000), pending, ..on_request() };
        let (_, store) = open(dir.path(), settings.clone());
        let journal = store.journal();
        Self { random, dir, settings, model: Model::default(), store, journal, files: BTreeMap::new() }
    }

    /// Something changes.
    fn step(&mut self) {
        let client = CLIENTS[self.random.usize(0..CLIENTS.len())];
        let session = self.model.sessions.get_mut(client);
        match (self.random.u8(0..16), session) {
            (0, _) => self.retain(),
            (1, _) => {
                let topic = TOPICS[self.random.usize(0..TOPICS.len())];
                self.model.retained.remove(topic);
                self.journal.note(Change::Cleared(topic));
            }
            (2, Some(_)) if self.random.u8(0..4) == 0 => {
                self.model.sessions.remove(client);
                self.journal.note(Change::Ended(client));
            }
            (2 | 3, _) | (_, None) => self.begin_session(client),
            (4, Some(session)) => {
                let filter = TOPICS[self.random.usize(0..TOPICS.len())];
                let wanted = Wanted { no_local: self.random.bool(), ..wanted(filter) };
                let identifier = self.random.bool().then(|| self.random.u32(1..1000));
                self.journal.note(Change::Subscribed { client, wanted: &wanted, identifier });
                session.subscriptions.insert(filter, (wanted, identifier));
            }
            (5, Some(session)) => {
                let filter = TOPICS[self.random.usize(0..TOPICS.len())];
                session.subscriptions.remove(filter);
                self.journal.note(Change::Unsubscribed { client, filter });
            }
            (6, Some(session)) => {
                let (id, taken) = (self.random.u16(1..6), self.random.bool());
                if taken {
                    session.incoming.insert(id)
                } else {
                    session.incoming.remove(&id)
                };
                self.journal.note(Change::Incoming { client, id, taken });
            }
            (7..=10, Some(_)) => self.publish(),
            (11, Some(session)) => {
                let Some((number, waiting)) = session.waiting.iter_mut().next_back() else { return };
                waiting.stage =
                    [Stage::Sent(number.to_le_bytes()[0].into()), Stage::Released(7)][self.random.usize(0..2)];
                self.journal.note(Change::Stage { client, number: *number, stage: waiting.stage });
            }
            (_, Some(session)) => {
                // Mostly in order, now and then not, and now and then many.
                for _ in 0..[1, 1, 1, 20][self.random.usize(0..4)] {
                    let at = if self.random.bool() { 0 } else { self.random.usize(0..session.waiting.len() + 1) };
                    let Some(number) = session.waiting.keys().nth(at).copied() else { break };
                    session.waiting.remove(&number);
                    self.journal.note(Change::Done { client, number });
                }
            }
        }
    }

    fn publication(&mut self) -> Arc<Publication> {
        let topic = TOPICS[self.random.usize(0..TOPICS.len())];
        let payload = "x".repeat(self.random.usize(0..200)) + &self.random.u32(..).to_string();
        match self.random.bool() {
            true => Arc::new(Publication::new(topic, payload)),
            false => publication(topic, &payload),
        }
    }

    fn retain(&mut self) {
        let publication = self.publication();
        self.journal.note(Change::Retained(&publication));
        self.model.retained.insert(publication.topic.clone(), publication);
    }

    fn begin_session(&mut self, client: &'static str) {
        let user: Option<Arc<str>> = self.random.bool().then(|| "hall".into());
        let expiry = self.random.u32(1..100);
        let away_since = self.random.bool().then(|| crate::clock::time(NOW - self.random.u64(10_000..10_000_000)));
        self.journal.note(Change::Session(SessionFacts { client, user: user.as_deref(), expiry, away_since }));
        let before = self.model.sessions.remove(client).unwrap_or_default();
        self.model.sessions.insert(client, Session { user, expiry, away_since, ..before });
    }

    /// Something is published, to some of the sessions.
    fn publish(&mut self) {
        let publication = self.publication();
        for (client, session) in &mut self.model.sessions {
            if self.random.bool() {
                session.next += self.random.u64(1..3);
                let mut waiting = waiting(session.next, &publication);
                waiting.retain = self.random.bool();
                waiting.subscriptions = (0..self.random.usize(0..3)).map(|_| self.random.u32(1..1000)).collect();
                self.journal.note(Change::Queued { client, waiting: &waiting });
                session.waiting.insert(session.next, waiting);
            }
        }
    }

    /// Has it written, and notes what is on disk now.
    fn commit(&mut self) {
        assert!(self.store.settle(PATIENCE));
        self.look();
    }

    fn look(&mut self) {
        if self.files.is_empty() && self.model.saved() == Saved::default() {
            // Nothing was ever written.
            return;
        }
        loop {
            let (number, path) = newest(self.dir.path());
            // The writer may have replaced it a moment ago.
            let Ok(bytes) = fs::read(&path) else { continue };
            let mut copy = tempfile::NamedTempFile::new().unwrap();
            copy.write_all(&bytes).unwrap();
            let (end, _) = end_of(number, copy.path());
            let (kept, ends) = self.files.entry(number).or_default();
            *kept = bytes;
            // Of two commits that end at one place nothing was written by the second.
            if ends.last().is_none_or(|(last, _)| *last < end) {
                ends.push((end, self.model.saved()));
            }
            return;
        }
    }

    fn restart(&mut self) {
        self.store.close().unwrap();
        self.look();
        let (saved, store) = open(self.dir.path(), self.settings.clone());
        assert_eq!(saved, self.model.saved());
        self.store = store;
        self.journal = self.store.journal();
        if self.random.bool() {
            self.journal.start_over(saved);
        }
    }

    /// Cuts each file anywhere behind its beginning: what is found is what there was at the last commit before.
    fn cut(&mut self) {
        let (mut cuts, mut commits) = (0, 0);
        for (number, (bytes, ends)) in &self.files {
            let first = ends[0].0;
            commits += ends.len();
            for _ in 0..8 {
                let cut = match self.random.u8(0..3) {
                    0 => ends[self.random.usize(0..ends.len())].0 - 5 * self.random.usize(0..2),
                    _ => self.random.usize(first..ends.last().unwrap().0 + 1),
                };
                // A commit ends in four zeros, so without them it may still be whole.
                let cut = if ends.iter().any(|(end, _)| (*end - 4..*end).contains(&cut)) { cut - 4 } else { cut };
                let Some((_, expected)) = ends.iter().rev().find(|(end, _)| *end <= cut) else { continue };
                let mut left = bytes[..cut].to_vec();
                match self.random.u8(0..3) {
                    0 => {}
                    1 => left.resize(bytes.len(), 0),
                    _ => left.extend((0..self.random.usize(0..3000)).map(|_| self.random.u8(..))),
                }
                let dir = tempfile::tempdir().unwrap();
                fs::write(dir.path().join(super::super::log::file_name(*number)), left).unwrap();
                // What was on its way to become the next file means nothing.
                fs::write(dir.path().join("next"), &bytes[..cut / 2]).unwrap();
                let (saved, store) = open(dir.path(), on_request());
                assert_eq!(&saved, expected, "cut at {cut}");
                store.close().unwrap();
                drop(store);
                assert_eq!(&found(dir.path()), expected, "cut at {cut}, opened again");
                cuts += 1;
            }
        }
        assert!(self.files.is_empty() || (cuts > 0 && commits >= self.files.len()));
    }
}

#[test]
fn wherever_it_is_cut_off_it_is_as_it_was_at_the_last_commit() {
    for seed in 0..12 {
        let mut run = Run::begin(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..run.random.usize(50..600) {
                run.step();
                match run.random.u8(0..60) {
                    0 => run.restart(),
                    1..9 => run.commit(),
                    _ => {}
                }
            }
            run.restart();
            run.cut();
        }));
        if let Err(panic) = outcome {
            eprintln!("with seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
