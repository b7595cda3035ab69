//! Which writes with an id were begun, and how they ended: on disk, so that none is executed twice.
//!
//! A write that brings an id is put down, and that is made safe on disk, before any driver hears of
//! it; its answer is put down behind it. Whoever sends the same id for the same point again gets
//! the first one's answer, now or when it is there. If the gateway was killed in between, nobody
//! knows whether the device has acted, and that is the answer. A write of which nothing can have
//! reached its device is forgotten, so it may be tried again.
//!
//! Bounded by age, by count and by size: the oldest that are done with go first.

mod log;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};
use tokio::time::Instant;
use tracing::warn;

use super::answer::{Outcome, ReplyTo};
use crate::mapping::epoch_ms;
use log::Log;

/// How many writes are remembered, and how many bytes of requests and answers.
const MOST: usize = 2048;
const MOST_BYTES: usize = 2 << 20;
/// How many may wait for the answer to the same write.
const MOST_WAITING: usize = 16;

/// What is known of a write that was put down before.
#[derive(Debug, PartialEq)]
pub enum Known {
    /// It was answered, with this.
    Answered(Outcome),
    /// It is under way; whoever asked will be told together with the first one.
    UnderWay,
    /// It is under way, and too many wait for its answer already.
    Crowded,
    /// It was begun before the gateway was killed, and its answer is not known.
    Unknown,
    /// The id was used for something else.
    Other,
}

/// The journal. Clones share it.
#[derive(Clone)]
pub struct Journal {
    keep: Duration,
    entries: Arc<Mutex<Entries>>,
    /// Locked while the disk is at work, and never while waiting for anything else but `entries`.
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Entries {
    by_key: HashMap<String, Entry>,
    /// Oldest first.
    order: VecDeque<String>,
    bytes: usize,
    /// Lines that are not on disk yet.
    unwritten: Vec<u8>,
    /// Whether lines could not be written, so that the file has to be written anew.
    missing: bool,
}

struct Entry {
    requested: String,
    /// When it is over at the latest, in milliseconds since 1970: for the file.
    at: u64,
    until: Instant,
    state: State,
}

enum State {
    UnderWay(Vec<ReplyTo>),
    Unknown,
    Answered(String),
}

impl Journal {
    /// The journal in the state directory, with what an earlier run has put down.
    ///
    /// # Errors
    /// The file is there and cannot be read, or not be written anew.
    pub fn open(state_dir: &Path, keep: Duration) -> io::Result<Self> {
        let mut entries = Entries::default();
        let (log, damaged) = Log::open(&state_dir.join("commands"), |record| entries.recall(record, keep))?;
        if damaged > 0 {
            warn!(damaged, "records of commands could not be read; if one is sent again it may be executed again");
        }
        let journal = Self { keep, entries: Arc::new(Mutex::new(entries)), log: Arc::new(Mutex::new(log)) };
        let mut log = journal.log();
        if !log.is_new() {
            let entries = journal.entries();
            log.replace(&entries.to_lines())?;
        }
        drop(log);
        Ok(journal)
    }

    /// What is known of the write with that key; `None` if nothing. While it is under way, `reply`
    /// waits for its answer, too.
    pub fn look(&self, key: &str, requested: &Json, reply: &ReplyTo) -> Option<Known> {
        let requested = requested.to_string();
        let mut entries = self.entries();
        let now = Instant::now();
        if entries.by_key.get(key)?.is_old(now) {
            entries.forget_old(now);
            return None;
        }
        let entry = entries.by_key.get_mut(key)?;
        if entry.requested != requested {
            return Some(Known::Other);
        }
        Some(match &mut entry.state {
            State::Unknown => Known::Unknown,
            State::Answered(answer) => {
                serde_json::from_str(answer).ok().and_then(Outcome::from_json).map_or(Known::Unknown, Known::Answered)
            }
            State::UnderWay(waiting) if waiting.len() >= MOST_WAITING => Known::Crowded,
            State::UnderWay(waiting) => {
                waiting.push(reply.clone());
                Known::UnderWay
            }
        })
    }

    /// Puts a write down of which nothing is known, and which is over after `time` at the latest. It is
    /// safe after the next [`sync`](Self::sync).
    pub fn begin(&self, key: &str, requested: &Json, time: Duration) {
        let (at, until) = (epoch_ms(SystemTime::now() + time), Instant::now() + time + self.keep);
        let entry = Entry { requested: requested.to_string(), at, until, state: State::UnderWay(Vec::new()) };
        let mut entries = self.entries();
        entries.write(&entry.to_record(key));
        entries.insert(key.to_owned(), entry);
    }

    /// Makes everything that was put down safe on disk.
    ///
    /// # Errors
    /// Those of the disk. What was to be made safe is not on it then, as far as anybody can tell.
    pub async fn sync(&self) -> io::Result<()> {
        self.work(true).await
    }

    /// Puts the answer down, and gives whoever waits for it, too. `None` forgets the write, because
    /// nothing of it can have reached the device.
    ///
    /// The answer is given to the system and not waited for: if a power cut takes it, the write is
    /// one whose answer is not known.
    pub async fn end(&self, key: &str, answer: Option<&Outcome>) -> Vec<ReplyTo> {
        let waiting = self.note_end(key, answer);
        if let Err(error) = self.work(false).await {
            warn!(%error, "the answer to a command could not be put down; after a restart it would not be known");
        }
        waiting
    }

    fn note_end(&self, key: &str, answer: Option<&Outcome>) -> Vec<ReplyTo> {
        let mut entries = self.entries();
        match answer {
            None => {
                entries.write(&json!({ "key": key, "never": true }));
                let removed = entries.remove(key);
                removed.map_or_else(Vec::new, |entry| entry.waiting())
            }
            Some(answer) => {
                let answer = answer.to_json();
                entries.write(&json!({ "key": key, "answer": &answer }));
                let answer = answer.to_string();
                entries.bytes += answer.len();
                let Some(entry) = entries.by_key.get_mut(key) else { return Vec::new() };
                let before = std::mem::replace(&mut entry.state, State::Answered(answer));
                match before {
                    State::UnderWay(waiting) => waiting,
                    State::Unknown | State::Answered(_) => Vec::new(),
                }
            }
        }
    }

    /// Takes back what was put down and could not be made safe. Gives whoever waits for it.
    pub fn take_back(&self, key: &str) -> Vec<ReplyTo> {
        self.entries().remove(key).map_or_else(Vec::new, |entry| entry.waiting())
    }

    /// Disk work, away from the runtime's threads.
    async fn work(&self, sync: bool) -> io::Result<()> {
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut log = this.log();
            let (lines, missing) = {
                let mut entries = this.entries();
                (std::mem::take(&mut entries.unwritten), entries.missing)
            };
            let mut written = if missing { Ok(()) } else { log.append(&lines, sync) };
            if written.is_ok() && (missing || log.is_large()) {
                let lines = this.entries().to_lines();
                written = log.replace(&lines);
            }
            this.entries().missing = written.is_err();
            written
        });
        done.await.unwrap_or_else(|_| Err(io::Error::other("the gateway is stopping")))
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn write(&mut self, record: &Json) {
        log::line(record, &mut self.unwritten);
    }

    fn insert(&mut self, key: String, entry: Entry) {
        self.bytes += entry.size(&key);
        self.order.push_back(key.clone());
        self.by_key.insert(key, entry);
        while self.by_key.len() > MOST || self.bytes > MOST_BYTES {
            let done =
                |key: &String| self.by_key.get(key).is_none_or(|entry| !matches!(entry.state, State::UnderWay(_)));
            // What is under way is bounded elsewhere.
            let Some(oldest) = self.order.iter().position(done).and_then(|index| self.order.get(index).cloned()) else {
                return;
            };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &str) -> Option<Entry> {
        self.order.retain(|known| known != key);
        let entry = self.by_key.remove(key)?;
        self.bytes = self.bytes.saturating_sub(entry.size(key));
        Some(entry)
    }

    fn forget_old(&mut self, now: Instant) {
        // What may still be under way is kept for longer, so they are not in order.
        let by_key = &self.by_key;
        let is_old = |key: &&String| by_key.get(*key).is_none_or(|entry| entry.is_old(now));
        let old: Vec<_> = self.order.iter().filter(is_old).cloned().collect();
        for key in old {
            self.remove(&key);
        }
    }

    /// Takes a record of an earlier run in. Whether it makes sense is for the caller to count.
    fn recall(&mut self, record: &Json, keep: Duration) -> bool {
        let Some(key) = record["key"].as_str() else { return false };
        if record["never"] == true {
            self.remove(key);
            return true;
        }
        if let answer @ Json::Object(_) = &record["answer"] {
            let answer = answer.to_string();
            if let Some(entry) = self.by_key.get_mut(key) {
                self.bytes += answer.len();
                entry.state = State::Answered(answer);
            }
            return true;
        }
        let (Some(at), Some(requested)) = (record["at"].as_u64(), record["requested"].as_str()) else { return false };
        // A clock that was set back since then makes it younger than it is, and never older. One that
        // may have been under way for longer counts from now on.
        let age = Duration::from_millis(epoch_ms(SystemTime::now()).saturating_sub(at));
        self.remove(key);
        if let Some(left) = keep.checked_sub(age) {
            let until = Instant::now() + left;
            let entry = Entry { requested: requested.to_owned(), at, until, state: State::Unknown };
            self.insert(key.to_owned(), entry);
        }
        true
    }

    /// Everything that is remembered, as the file holds it.
    fn to_lines(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        for (key, entry) in self.order.iter().filter_map(|key| Some((key, self.by_key.get(key)?))) {
            log::line(&entry.to_record(key), &mut lines);
            if let State::Answered(answer) = &entry.state {
                let answer: Json = serde_json::from_str(answer).unwrap_or_default();
                log::line(&json!({ "key": key, "answer": answer }), &mut lines);
            }
        }
        lines
    }
}

impl Entry {
    fn size(&self, key: &str) -> usize {
        let answer = if let State::Answered(answer) = &self.state { answer.len() } else { 0 };
        2 * key.len() + self.requested.len() + answer
    }

    /// Whether it is remembered for no longer.
    fn is_old(&self, now: Instant) -> bool {
        self.until <= now && !matches!(self.state, State::UnderWay(_))
    }

    fn to_record(&self, key: &str) -> Json {
        json!({ "key": key, "at": self.at, "requested": self.requested })
    }

    fn waiting(self) -> Vec<ReplyTo> {
        match self.state {
            State::UnderWay(waiting) => waiting,
            State::Unknown | State::Answered(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
