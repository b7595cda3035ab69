//! What the writer does about room and time: rolling to a new segment, evicting the oldest one,
//! freeing those that are finished, keeping a spare, dropping what is too old.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::{error, warn};

use super::WhenFull;
use super::clock::{expired, millis};
use super::done::Done;
use super::files::{NoFile, is_full};
use super::losses::LossReason;
use super::segment::{Entry, HEADER, Segment};
use super::writer::{Tail, Writer};

/// How often age, the spare segment and the oldest record are looked after.
const TICK: Duration = Duration::from_secs(1);

/// How many records age may take in one tick; the rest go in the next.
const EXPIRED_PER_TICK: u64 = 65_536;

impl Writer {
    /// Begins a new segment.
    pub(super) fn roll(&mut self) -> Result<(), NoFile> {
        self.obtain_spare()?;
        let empty = {
            let mut state = self.shared.lock();
            let is_empty = state.segments.back().is_some_and(|last| last.end == last.segment.first);
            if is_empty { state.segments.pop_back() } else { None }
        };
        if let Some(empty) = empty {
            // It never took a record, and the new segment has its name.
            self.tail = None;
            self.files.unlink(&empty.segment);
        }
        // From the moment the new segment has its name, snapshots in the old one are not looked at
        // any more. The cursor file takes over, and has to have them before.
        let done = self.shared.lock().done.saved();
        self.save(&done);
        let segment = match self.files.take_spare(self.next) {
            Ok(Some(segment)) => segment,
            Ok(None) => return Err(NoFile::Full),
            Err(error) if is_full(&error) => return Err(NoFile::Full),
            Err(error) => return Err(NoFile::Io(error)),
        };
        self.shared.lock().segments.push_back(Entry::new(segment.clone()));
        self.tail = Some(Tail { segment, offset: HEADER });
        Ok(())
    }

    /// Makes sure there is a spare, evicting for it if that is the rule.
    fn obtain_spare(&mut self) -> Result<(), NoFile> {
        loop {
            match self.files.make_spare() {
                Err(NoFile::Full) if self.rules.when_full == WhenFull::DropOldest && self.evict_oldest() => {}
                outcome => return outcome,
            }
        }
    }

    /// Drops the oldest segment. Returns whether there was one.
    pub(super) fn evict_oldest(&mut self) -> bool {
        let mut state = self.shared.lock();
        let Some(entry) = state.segments.pop_front() else { return false };
        let dropped = state.drop_stored(entry.seqs(), LossReason::Full, entry.times.unwrap_or_default());
        let done = state.done.saved();
        drop(state);
        if self.tail.as_ref().is_some_and(|tail| tail.segment.first == entry.segment.first) {
            self.tail = None;
        }
        if dropped > 0 {
            error!(dir = %self.files.dir().display(), dropped, "the queue is full, so its oldest segment was dropped");
            self.shared.lost.notify_waiters();
        }
        // First the cursor, then the file: else a crash in between would count it as missing.
        self.save(&done);
        self.let_go(&entry);
        true
    }

    /// Saves what is finished to the cursor file. A failure is made up for by the next commit.
    pub(super) fn save(&mut self, done: &Done) -> bool {
        let saved = self.files.save_cursor(done);
        let mut state = self.shared.lock();
        match saved {
            Ok(()) => state.counters.syncs += 1,
            Err(error) => {
                state.counters.failed_syncs += 1;
                // Tried again a tick from now and not at once: a disk that refuses goes on refusing.
                state.finished_since.get_or_insert(Instant::now() + TICK);
                warn!(dir = %self.files.dir().display(), %error, "cannot save what is acknowledged");
                return false;
            }
        }
        true
    }

    /// Frees segments whose records are all finished, which is on disk by now.
    pub(super) fn free(&mut self, freed: &[Arc<Segment>]) {
        for segment in freed {
            let mut state = self.shared.lock();
            // By identity: an empty segment's name goes to the one that replaces it.
            let place = state.segments.iter().position(|entry| Arc::ptr_eq(&entry.segment, segment));
            let Some(at) = place else { continue };
            let entry = state.segments.remove(at);
            drop(state);
            if let Some(entry) = entry {
                self.let_go(&entry);
            }
        }
    }

    fn let_go(&mut self, entry: &Entry) {
        if entry.suspect {
            self.files.unlink(&entry.segment);
        } else {
            self.files.release(&entry.segment);
        }
    }

    /// Makes the spare while there is time. Waiting until the tail is half full lets a segment
    /// that is finished with meanwhile take the part.
    pub(super) fn reserve(&mut self) {
        let needed = self.tail.as_ref().is_none_or(|tail| tail.offset > tail.segment.size / 2);
        let now = Instant::now();
        if needed && now >= self.spare_due {
            self.spare_due = now;
            // Without room for one, the roll will decide what gives way.
            if self.files.make_spare().is_err() {
                self.spare_due = now + TICK;
            }
        }
    }

    /// Looks after what changes with time alone.
    pub(super) fn tick(&mut self) {
        self.next_tick = Instant::now() + TICK;
        let mut budget = EXPIRED_PER_TICK;
        while budget > 0 && self.expire_some(&mut budget) {}
        self.reserve();
        self.shared.lock().counters.disk_bytes = self.files.used();
    }

    /// Looks at the oldest records and drops those that are too old. Returns whether there may
    /// be more of them.
    fn expire_some(&mut self, budget: &mut u64) -> bool {
        let now = millis(SystemTime::now());
        let max_age = self.rules.max_age;
        let too_old = |captured_at: u64| max_age.is_some_and(|max_age| expired(captured_at, now, max_age));
        let job = {
            let state = self.shared.lock();
            match self.oldest {
                // Nothing moved, so the disk need not be asked.
                Some((seq, captured_at)) if seq == state.done.cursor() && !too_old(captured_at) => return false,
                _ => state.locate(0, if max_age.is_some() { 64 } else { 1 }, 64 * 1024),
            }
        };
        let Some(job) = job else { return false };
        let mut outcome = job.run();
        let records = std::mem::take(&mut outcome.records);
        let kept = records.iter().find(|record| !too_old(millis(record.captured_at)));
        if kept.is_some() {
            // The readers' places are worth more than this one's.
            outcome.reached = None;
        }
        let mut state = self.shared.lock();
        let mut lost = state.finish_read(&job, &mut outcome);
        for record in records.iter().take_while(|record| too_old(millis(record.captured_at))) {
            let (seq, captured_at) = (record.seq.get(), millis(record.captured_at));
            lost |= state.drop_stored(seq..seq + 1, LossReason::Age, (captured_at, captured_at)) > 0;
            *budget = budget.saturating_sub(1);
        }
        self.oldest = kept.map(|record| (record.seq.get(), millis(record.captured_at)));
        state.oldest = self.oldest.map(|(_, captured_at)| captured_at).or(state.oldest);
        drop(state);
        if lost {
            self.shared.lost.notify_waiters();
        }
        kept.is_none()
    }
}
