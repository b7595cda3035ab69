//! What would be there after a restart, and what of it the log on disk does not know yet.
//!
//! The image follows every change at once, in memory. So what changed ten times between two commits is written
//! once, what came and went between them is not written at all, and whenever the log is not good for anything
//! any more a new one can be written without asking anybody. Its messages are the hub's own, shared with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::packet::Wanted;
use super::super::publication::{Origin, Publication};
use super::super::saved::{Change, Saved, SavedSession, SessionFacts, Stage, Waiting};
use super::entry::Entry;
use super::tracked::{At, Key, Mode, Tracked};
use crate::clock::{Stamp, millis, time};

mod news;
mod over;

pub use news::Place;

/// How far apart two accounts of when a client went away may be and still mean the same, in milliseconds.
const ABOUT: u64 = 2000;

/// Everything that is worth saving.
#[derive(Debug)]
pub struct Image {
    at: At,
    retained: Tracked<Arc<str>, Arc<Publication>>,
    sessions: BTreeMap<Arc<str>, Session>,
    /// Sessions the file has, and that are gone. They may be there again, as others.
    ended: BTreeSet<Arc<str>>,
    /// Sessions with something to be written.
    touched: BTreeSet<Arc<str>>,
    /// Topics whose message of the gateway's own has changed, and that can wait.
    late: BTreeSet<Arc<str>>,
    weight: usize,
}

#[derive(Debug, Default)]
struct Session {
    facts: Tracked<(), Facts>,
    /// With the number of each.
    subscriptions: Tracked<Arc<str>, (Wanted, Option<u32>)>,
    waiting: Tracked<u64, Item>,
    incoming: Tracked<u16, ()>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Facts {
    user: Option<Arc<str>>,
    /// In seconds.
    expiry: u32,
    /// In milliseconds since boot: those do not step.
    away_since: Option<i64>,
}

#[derive(Debug)]
struct Item {
    waiting: Waiting,
    /// The file has another one under its number, or none.
    is_new: bool,
}

impl Session {
    fn weight(&self) -> usize {
        self.facts.weight() + self.subscriptions.weight() + self.waiting.weight() + self.incoming.weight()
    }

    fn forget(&mut self) {
        self.facts.forget();
        self.subscriptions.forget();
        self.waiting.forget();
        self.incoming.forget();
    }
}

impl Image {
    /// An empty one, for what is read from file `number`.
    pub fn loading(number: u64) -> Self {
        Self {
            at: At { file: number, mode: Mode::Loading },
            retained: Tracked::default(),
            sessions: BTreeMap::new(),
            ended: BTreeSet::new(),
            touched: BTreeSet::new(),
            late: BTreeSet::new(),
            weight: 0,
        }
    }

    /// From now on what changes is remembered, to be written behind what was read.
    pub fn follow(&mut self) {
        self.at.mode = Mode::Following;
    }

    /// From now on file `number` is written from its beginning, and has nothing yet: a [walk](Image::walk) brings
    /// it everything.
    pub fn begin(&mut self, number: u64) {
        self.forget();
        self.at = At { file: number, mode: Mode::Following };
    }

    /// No file has what this has.
    pub fn lose_track(&mut self) {
        self.forget();
        // There is no file of this number, so no value is taken for written.
        self.at = At { file: u64::MAX, mode: Mode::Lost };
    }

    /// Whether a file is being followed.
    pub fn is_following(&self) -> bool {
        self.at.mode == Mode::Following
    }

    fn forget(&mut self) {
        self.retained.forget();
        for client in std::mem::take(&mut self.touched) {
            self.sessions.get_mut(&client).into_iter().for_each(Session::forget);
        }
        self.ended = BTreeSet::new();
        self.late = BTreeSet::new();
        self.weight = 0;
    }

    /// About what it costs to remember what is to be written, in bytes. The messages themselves do not count:
    /// they are the hub's.
    pub fn weight(&self) -> usize {
        self.weight + self.retained.weight()
    }

    /// Whether something is to be written with the next commit.
    pub fn has_news(&self) -> bool {
        self.weight() > 0
    }

    /// Whether something is to be written that can wait.
    pub fn has_late_news(&self) -> bool {
        !self.late.is_empty()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.retained.len() == 0 && self.sessions.is_empty()
    }

    /// Follows a change.
    pub fn note(&mut self, change: Change<'_>, now: Stamp) {
        match change {
            Change::Retained(publication) => self.retain(publication.clone()),
            Change::Cleared(topic) => self.clear(&topic.into()),
            Change::Session(facts) => self.session(&facts, now),
            Change::Ended(client) => self.end(client),
            Change::Subscribed { client, wanted, identifier } => self.subscribe(client, wanted, identifier),
            Change::Unsubscribed { client, filter } => self.unsubscribe(client, filter),
            Change::Queued { client, waiting } => self.queue(client, waiting.clone()),
            Change::Stage { client, number, stage } => self.stage(client, number, stage),
            Change::Done { client, number } => self.done(client, number, number),
            Change::Incoming { client, id, taken } => self.incoming(client, id, taken),
        }
    }

    /// Follows what was read.
    pub fn read(&mut self, entry: Entry, elapsed: Duration, now: Stamp) {
        match entry {
            Entry::Commit | Entry::Clock(_) => {}
            Entry::Retained(publication) => self.retain(publication),
            Entry::Cleared(topic) => self.clear(&topic),
            Entry::Session { client, user, expiry, away_for } => {
                let ago = |millis: u64| time(now.wall.saturating_sub(millis));
                let elapsed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
                let away_since = away_for.map(|away_for| ago(away_for.saturating_add(elapsed)));
                let facts = SessionFacts { client: &client, user: user.as_deref(), expiry, away_since };
                self.session(&facts, now);
            }
            Entry::Ended(client) => self.end(&client),
            Entry::Subscribed(client, wanted, identifier) => self.subscribe(&client, &wanted, identifier),
            Entry::Unsubscribed(client, filter) => self.unsubscribe(&client, &filter),
            Entry::Queued(client, waiting) => self.queue(&client, waiting),
            Entry::Stage(client, number, stage) => self.stage(&client, number, stage),
            Entry::Done(client, first, last) => self.done(&client, first, last),
            Entry::Incoming(client, id, taken) => self.incoming(&client, id, taken),
        }
    }

    fn retain(&mut self, publication: Arc<Publication>) {
        let topic = publication.topic.clone();
        // Devices say on and on what they have said before, and the disk need not hear of it.
        if self.retained.get(&topic).is_some_and(|before| *before == publication) {
            return self.retained.set_quietly(topic, publication, self.at);
        }
        // What the gateway says of itself is said again after a restart, so it may be older on disk.
        if publication.from == Origin::Gateway && self.at.mode == Mode::Following {
            self.retained.set_quietly(topic.clone(), publication, self.at);
            self.late.insert(topic);
        } else {
            self.late.remove(&topic);
            self.retained.set(topic, publication, self.at);
        }
    }

    fn clear(&mut self, topic: &Arc<str>) {
        self.late.remove(topic);
        self.retained.remove(topic, self.at);
    }

    /// What could wait cannot any more.
    pub fn hurry(&mut self) {
        for topic in std::mem::take(&mut self.late) {
            self.retained.touch(&topic, self.at);
        }
    }

    fn session(&mut self, facts: &SessionFacts<'_>, now: Stamp) {
        let away_since = facts.away_since.map(|since| {
            let away_for = now.wall.saturating_sub(millis(since)).cast_signed();
            now.boot.cast_signed().saturating_sub(away_for)
        });
        let facts_now = Facts { user: facts.user.map(Into::into), expiry: facts.expiry, away_since };
        if !self.sessions.contains_key(facts.client) {
            self.make(facts.client, Facts::default());
        }
        self.change_known(facts.client, |session, at| {
            let is_new = !session.facts.is_on_disk(&(), at);
            if is_new || session.facts.get(&()).is_none_or(|facts| !facts.is_about(&facts_now)) {
                session.facts.set((), facts_now, at);
            }
        });
    }

    fn end(&mut self, client: &str) {
        let Some((client, session)) = self.sessions.remove_entry(client) else { return };
        self.weight -= session.weight();
        self.touched.remove(&client);
        if session.facts.is_on_disk(&(), self.at) && self.is_following() {
            self.weight += client.weight();
            self.ended.insert(client);
        }
    }

    fn subscribe(&mut self, client: &str, wanted: &Wanted, identifier: Option<u32>) {
        self.change(client, |session, at| {
            let filter: Arc<str> = wanted.filter.as_str().into();
            let same = |(before, number): &(Wanted, Option<u32>)| before == wanted && *number == identifier;
            if !session.subscriptions.get(&filter).is_some_and(same) {
                session.subscriptions.set(filter, (wanted.clone(), identifier), at);
            }
        });
    }

    fn unsubscribe(&mut self, client: &str, filter: &str) {
        self.change_known(client, |session, at| session.subscriptions.remove(&filter.into(), at));
    }

    fn queue(&mut self, client: &str, waiting: Waiting) {
        self.change(client, |session, at| {
            if session.waiting.get(&waiting.number).is_none_or(|item| item.waiting != waiting) {
                let item = Item { is_new: at.mode != Mode::Loading, waiting };
                session.waiting.set(item.waiting.number, item, at);
            }
        });
    }

    fn stage(&mut self, client: &str, number: u64, stage: Stage) {
        self.change_known(client, |session, at| {
            session.waiting.change(&number, at, |item| item.waiting.stage = stage);
        });
    }

    fn done(&mut self, client: &str, first: u64, last: u64) {
        self.change_known(client, |session, at| match first == last {
            true => session.waiting.remove(&first, at),
            false => session.waiting.remove_range(first, last, at),
        });
    }

    fn incoming(&mut self, client: &str, id: u16, taken: bool) {
        self.change(client, |session, at| match (taken, session.incoming.get(&id)) {
            (true, None) => session.incoming.set(id, (), at),
            (true, Some(())) => {}
            (false, _) => session.incoming.remove(&id, at),
        });
    }

    /// Changes a session. One that was read and is not known is made: what told of it was damaged, and what waits
    /// in it is worth more than its facts.
    fn change(&mut self, client: &str, change: impl FnOnce(&mut Session, At)) {
        if self.at.mode == Mode::Loading && !self.sessions.contains_key(client) {
            self.make(client, Facts { expiry: u32::MAX, ..Facts::default() });
        }
        self.change_known(client, change);
    }

    fn make(&mut self, client: &str, facts: Facts) {
        let mut session = Session::default();
        session.facts.set_quietly((), facts, self.at);
        self.sessions.insert(client.into(), session);
    }

    fn change_known(&mut self, client: &str, change: impl FnOnce(&mut Session, At)) {
        let Some(session) = self.sessions.get_mut(client) else { return };
        let before = session.weight();
        change(session, self.at);
        let after = session.weight();
        self.weight = self.weight + after - before;
        if (before == 0) != (after == 0) {
            match after {
                0 => self.touched.remove(client),
                _ => self.touched.insert(client.into()),
            };
        }
    }

    /// Lets go of what is not worth delivering any more.
    pub fn expire(&mut self, now: Instant) {
        let expired = |publication: &Arc<Publication>| publication.has_expired(now);
        let topics = self.retained.iter().filter(|(_, publication)| expired(publication));
        let topics: Vec<Arc<str>> = topics.map(|(topic, _)| topic.clone()).collect();
        topics.iter().for_each(|topic| self.clear(topic));
        let clients: Vec<Arc<str>> = self.sessions.keys().cloned().collect();
        for client in clients {
            self.change_known(&client, |session, at| {
                // What was sent already stays: its packet id is under way.
                let gone = |item: &Item| item.waiting.stage == Stage::Waiting && expired(&item.waiting.publication);
                let numbers = session.waiting.iter().filter(|(_, item)| gone(item)).map(|(number, _)| *number);
                let numbers: Vec<u64> = numbers.collect();
                numbers.iter().for_each(|number| session.waiting.remove(number, at));
            });
        }
    }

    /// Everything, for the hub. Messages are shared.
    pub fn saved(&self, now: Stamp) -> Saved {
        let away = |since: i64| {
            let away_for = now.boot.cast_signed().saturating_sub(since).max(0);
            time(now.wall.saturating_sub(away_for.cast_unsigned()))
        };
        let session = |(client, session): (&Arc<str>, &Session)| {
            let facts = session.facts.get(&()).cloned().unwrap_or_default();
            SavedSession {
                client: client.clone(),
                user: facts.user,
                expiry: facts.expiry,
                away_since: facts.away_since.map(away),
                subscriptions: session.subscriptions.iter().map(|(_, wanted)| wanted.clone()).collect(),
                waiting: session.waiting.iter().map(|(_, item)| item.waiting.clone()).collect(),
                incoming: session.incoming.iter().map(|(id, ())| *id).collect(),
            }
        };
        Saved {
            retained: self.retained.iter().map(|(_, publication)| publication.clone()).collect(),
            sessions: self.sessions.iter().map(session).collect(),
        }
    }
}

impl Facts {
    fn is_about(&self, other: &Self) -> bool {
        let same = (&self.user, self.expiry) == (&other.user, other.expiry);
        same && match (self.away_since, other.away_since) {
            (Some(one), Some(other)) => one.abs_diff(other) <= ABOUT,
            (one, other) => one == other,
        }
    }

    fn entry(&self, client: &Arc<str>, now: Stamp) -> Entry {
        let away_for = |since| now.boot.cast_signed().saturating_sub(since).max(0).cast_unsigned();
        let (client, user) = (client.clone(), self.user.clone());
        Entry::Session { client, user, expiry: self.expiry, away_for: self.away_since.map(away_for) }
    }
}

impl Item {
    /// What is written of it, whether or not the file has had one of its number.
    fn entry(&mut self, client: &Arc<str>, had: bool) -> Entry {
        if had && !std::mem::take(&mut self.is_new) {
            return Entry::Stage(client.clone(), self.waiting.number, self.waiting.stage);
        }
        self.is_new = false;
        Entry::Queued(client.clone(), self.waiting.clone())
    }
}
