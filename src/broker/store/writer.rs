//! The thread that writes.
//!
//! As long as all goes well it appends what has changed to the newest file. When that has grown enough it writes
//! a new one, while the hub goes on. And whenever the disk has failed, or could not keep up, a new file is the
//! way on as well: there is one way to mend everything.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::entry::Entry;
use super::image::Place;
use super::log::{Log, file_name, parse_name};
use super::settings::Settings;
use super::shared::{Shared, State};
use crate::backoff::{Backoff, Jitter};
use crate::seldom::Seldom;

/// How many things are looked at under the lock at a time.
const PORTION: usize = 1000;

/// By how much a file may grow further, in parts of itself, when there was no room for the next one.
const GRACE: u64 = 4;

/// Owns the files.
pub struct Writer {
    shared: Arc<Shared>,
    dir: PathBuf,
    /// Synced after a file in it was named.
    dir_file: File,
    settings: Settings,
    log: Option<Log>,
    /// The highest number a file has had.
    highest: u64,
    /// The length at which a new file is begun.
    enough: u64,
    retry_at: Option<Instant>,
    backoff: Backoff,
    failures: Seldom,
    /// Somebody was told that changes are not safe.
    told: bool,
    entries: Vec<Entry>,
    /// Locked as long as this lives.
    _lock: File,
}

/// What is to be done.
enum Task {
    Append,
    Renew,
    End,
}

impl Writer {
    /// Goes on with a file, if there is one that is whole.
    ///
    /// # Errors
    /// The folder cannot be opened.
    pub fn new(
        shared: Arc<Shared>,
        dir: PathBuf,
        lock: File,
        settings: Settings,
        log: Option<Log>,
        highest: u64,
    ) -> io::Result<Self> {
        let backoff = Backoff::new(settings.retry, settings.longest_retry, Jitter::Half);
        let mut writer = Self {
            dir_file: File::open(&dir)?,
            enough: settings.file_size,
            shared,
            dir,
            settings,
            highest,
            retry_at: None,
            backoff,
            failures: Seldom::default(),
            told: false,
            entries: Vec::new(),
            log: None,
            _lock: lock,
        };
        if let Some(log) = &log {
            // How long it was in the beginning is not known any more.
            writer.enough = log.end().max(writer.settings.file_size);
            writer.shared.lock().counters.disk_bytes = log.size();
        }
        writer.log = log;
        Ok(writer)
    }

    /// Runs until the store is closed and everything is on disk.
    ///
    /// # Errors
    /// What changed last could not be written.
    pub fn run(mut self) -> io::Result<()> {
        // Whatever ends this thread, nobody waits for it in vain.
        let _ended = Ended(self.shared.clone());
        loop {
            match self.wait() {
                Task::Append => self.append_or_tell(),
                Task::Renew => self.renew_or_tell(),
                Task::End => return self.finish(),
            }
        }
    }

    /// Waits until something is due.
    fn wait(&mut self) -> Task {
        let shared = self.shared.clone();
        let mut state = shared.lock();
        loop {
            if state.closing {
                return Task::End;
            }
            let now = Instant::now();
            let due_at = self.due_at(&state, now);
            if due_at.is_some_and(|at| at <= now) {
                return if state.image.is_following() { Task::Append } else { Task::Renew };
            }
            let waited = match due_at {
                Some(at) => shared.wake.wait_timeout(state, at - now).unwrap_or_else(PoisonError::into_inner).0,
                None => shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state = waited;
        }
    }

    fn due_at(&self, state: &State, now: Instant) -> Option<Instant> {
        let news = state.waiting_since.map(|since| since + self.settings.commit);
        let late = state.late_since.map(|since| since + self.settings.commit_own);
        let due = news.into_iter().chain(late).min()?;
        let due = if state.in_a_hurry { now } else { due };
        Some(self.retry_at.map_or(due, |retry| due.max(retry)))
    }

    /// Writes what has changed behind the rest, and a new file if this one has grown enough.
    fn append_or_tell(&mut self) {
        if let Err(error) = self.append() {
            self.failed(&error);
            return;
        }
        if self.log.as_ref().is_some_and(|log| log.end() >= self.enough) {
            self.renew_or_tell();
        }
    }

    fn append(&mut self) -> io::Result<()> {
        let began = Instant::now();
        let stamp = self.shared.clock.stamp();
        let mut state = self.shared.lock();
        let is_late = |since: Instant| since.elapsed() >= self.settings.commit_own;
        if state.in_a_hurry || state.closing || state.late_since.is_some_and(is_late) {
            state.late_since = None;
            state.image.hurry();
        }
        state.waiting_since = None;
        state.in_a_hurry = false;
        let noted = state.noted;
        state.image.take(stamp, &mut self.entries);
        drop(state);
        let Some(log) = self.log.as_mut().filter(|_| !self.entries.is_empty()) else {
            // What has changed has changed back.
            safe(&self.shared, self.shared.lock(), noted);
            return Ok(());
        };
        let written = log.append(&self.entries, &self.shared.clock);
        self.entries.clear();
        self.entries.shrink_to(PORTION);
        written?;
        #[cfg(test)]
        self.shared.faults.meet()?;
        log.commit(&self.shared.clock)?;
        let (written, size) = (log.take_written(), log.size());
        let mut state = self.shared.lock();
        state.counters.wrote(written);
        state.counters.committed(began.elapsed());
        state.counters.disk_bytes = size;
        safe(&self.shared, state, noted);
        Ok(())
    }

    /// Writes a new file. What it takes to do so can be had again later.
    fn renew_or_tell(&mut self) {
        match self.renew() {
            Ok(()) => self.recovered(),
            Err(error) if self.shared.lock().image.is_following() => {
                // The old one goes on; it is only longer than it should be.
                self.enough = self.enough.saturating_add(self.enough / GRACE);
                let mut state = self.shared.lock();
                state.counters.failures += 1;
                state.last_error = Some((Instant::now(), error.to_string()));
                drop(state);
                if let Some(line) = self.failures.note(1) {
                    let (dir, times) = (self.dir.display(), line.count);
                    warn!(%dir, %error, times, "no room for a new file of the local broker's log");
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    fn renew(&mut self) -> io::Result<()> {
        if !self.shared.lock().image.is_following() && self.log.is_none() && self.is_nothing() {
            return Ok(());
        }
        let began = Instant::now();
        let number = self.highest.saturating_add(1);
        // As long as the old one is good, room for the new one is made sure of before it is given up.
        let expected = self.log.as_ref().map_or(0, |log| log.end() / 2);
        #[cfg(test)]
        self.shared.faults.meet()?;
        let mut log = Log::create(&self.dir, number, expected)?;
        self.highest = number;
        let written = self.write_everything(&mut log);
        let noted = match written {
            Ok(noted) => noted,
            Err(error) => {
                log.remove();
                let mut state = self.shared.lock();
                if state.image.is_following() {
                    state.fall_behind();
                }
                return Err(error);
            }
        };
        self.remove_older(number);
        self.enough = log.end().saturating_mul(2).max(self.settings.file_size);
        let (written, size) = (log.take_written(), log.size());
        self.log = Some(log);
        let mut state = self.shared.lock();
        state.counters.wrote(written);
        state.counters.committed(began.elapsed());
        state.counters.files += 1;
        state.counters.disk_bytes = size;
        // So much may have changed meanwhile that it is already behind again.
        state.counters.is_behind = !state.image.is_following();
        safe(&self.shared, state, noted);
        Ok(())
    }

    /// Nothing was ever saved, and there is nothing to save.
    fn is_nothing(&self) -> bool {
        let mut state = self.shared.lock();
        let nothing = state.image.is_empty() && self.highest == 0;
        if nothing {
            state.waiting_since = None;
            state.in_a_hurry = false;
            let noted = state.noted;
            safe(&self.shared, state, noted);
        }
        nothing
    }

    /// Writes everything there is, portion by portion, and in the end what has changed meanwhile. Up to which
    /// change.
    fn write_everything(&mut self, log: &mut Log) -> io::Result<u64> {
        let clock = self.shared.clock.clone();
        self.shared.lock().image.begin(log.number());
        let mut place = Place::Start;
        while place != Place::End {
            let stamp = clock.stamp();
            let mut state = self.shared.lock();
            if !state.image.is_following() {
                return Err(behind());
            }
            place = state.image.walk(place, PORTION, stamp, &mut self.entries);
            if state.image.weight() > self.settings.pending / 2 {
                state.image.take(stamp, &mut self.entries);
            }
            drop(state);
            log.append(&self.entries, &clock)?;
            self.entries.clear();
        }
        let stamp = clock.stamp();
        let mut state = self.shared.lock();
        if !state.image.is_following() {
            return Err(behind());
        }
        state.image.hurry();
        state.image.take(stamp, &mut self.entries);
        state.waiting_since = None;
        state.late_since = None;
        state.in_a_hurry = false;
        let noted = state.noted;
        drop(state);
        log.append(&self.entries, &clock)?;
        self.entries = Vec::new();
        log.commit(&clock)?;
        log.take_its_place(&self.dir_file)?;
        Ok(noted)
    }

    /// Removes the files before the newest.
    fn remove_older(&self, newest: u64) {
        let names = fs::read_dir(&self.dir).into_iter().flatten();
        let numbers = names.filter_map(|entry| parse_name(entry.ok()?.file_name().to_str()?));
        for number in numbers.filter(|number| *number < newest) {
            let path = self.dir.join(file_name(number));
            if let Err(error) = fs::remove_file(&path) {
                warn!(path = %path.display(), %error, "cannot remove an old file of the local broker's log");
            }
        }
    }

    /// The disk would not take it. Everything is written anew, later.
    fn failed(&mut self, error: &io::Error) {
        // A file with a failed sync is not written to again: nobody knows what of it is on disk.
        self.log = None;
        self.entries = Vec::new();
        let wait = self.backoff.next(Duration::ZERO);
        self.retry_at = Some(Instant::now() + wait);
        let mut state = self.shared.lock();
        state.counters.failures += 1;
        state.last_error = Some((Instant::now(), error.to_string()));
        if state.image.is_following() {
            state.fall_behind();
        }
        state.waiting_since.get_or_insert_with(Instant::now);
        state.counters.is_behind = true;
        drop(state);
        self.shared.done.notify_all();
        if let Some(line) = self.failures.note(1) {
            let (dir, times, retry_secs) = (self.dir.display(), line.count, wait.as_secs());
            error!(%dir, %error, times, retry_secs, "what the local broker keeps is not safe: the disk does not take it");
            self.told = true;
        }
    }

    fn recovered(&mut self) {
        self.retry_at = None;
        self.backoff.forget();
        if std::mem::take(&mut self.told) {
            info!(dir = %self.dir.display(), "what the local broker keeps is safe again");
        }
    }

    /// Writes what is left.
    fn finish(mut self) -> io::Result<()> {
        let is_following = self.shared.lock().image.is_following();
        if is_following {
            match self.append() {
                Ok(()) => return Ok(()),
                Err(error) => self.failed(&error),
            }
        }
        self.renew()
    }
}

fn behind() -> io::Error {
    io::Error::other("changes came faster than the disk takes them")
}

/// Notes that changes are safe, and tells those who wait.
fn safe(shared: &Shared, mut state: MutexGuard<'_, State>, noted: u64) {
    state.safe = state.safe.max(noted);
    drop(state);
    shared.done.notify_all();
}

/// Tells everybody when the writer is gone.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.done.notify_all();
    }
}
