//! What the writer does about room and time: rolling to a new segment, evicting the oldest one,
//! freeing those that are finished, keeping a spare, dropping what is too old.

use std::time::{Duration, Instant};

use tracing::debug;

use super::WhenFull;
use super::files::NoFile;
use super::folder::is_full;
use super::losses::LossReason;
use super::reader::Outcome;
use super::segment::{Entry, HEADER};
use super::writer::{Tail, Writer};
use crate::clock::millis;

/// How often age, the spare segment and the oldest record are looked after.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// How many records age may take in one tick; the rest go in the next.
const EXPIRED_PER_TICK: u64 = 65_536;

impl Writer {
    /// Begins a new segment with the record of this number.
    pub(super) fn roll(&mut self, first: u64) -> Result<(), NoFile> {
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
        // From the moment the new segment has its name, ledgers in the old one are not looked at
        // any more. The cursor file takes over, and has to have the newest before.
        self.save();
        let segment = match self.files.take_spare(first) {
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
        let dropped = state.lose(entry.seqs(), LossReason::Full, entry.times.unwrap_or_default());
        drop(state);
        if self.tail.as_ref().is_some_and(|tail| tail.segment.first == entry.segment.first) {
            self.tail = None;
        }
        if dropped > 0 {
            debug!(dir = %self.files.dir().display(), dropped, "the queue is full, so its oldest segment was dropped");
            self.shared.lost.notify_waiters();
            self.shared.committed.notify_waiters();
        }
        // First the ledger, in both slots, and then the file: else a crash in between, or a damaged
        // slot, would make it look as if the file had been lost.
        self.save();
        self.save();
        self.let_go(&entry);
        true
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
        // The clock may be set while nothing is captured.
        drop(self.shared.lock_now());
        let mut budget = EXPIRED_PER_TICK;
        while budget > 0 && self.expire_some(&mut budget) {}
        self.look_up_oldest();
        self.reserve();
        self.shared.lock().counters.disk_bytes = self.files.used();
    }

    /// Looks at the oldest records whose age can be known, and drops those that are too old. Returns
    /// whether there may be more of them.
    fn expire_some(&mut self, budget: &mut u64) -> bool {
        let Some(max_age) = self.rules.max_age else { return false };
        let now = self.shared.clock.stamp();
        let boot = self.shared.boot;
        let (job, eras) = {
            let state = self.shared.lock();
            let eras = &state.ledger.eras;
            let from = state.ledger.done.first_open(eras.first_datable(state.ledger.done.cursor(), boot));
            match self.first_kept {
                // Nothing moved, so the disk need not be asked.
                Some((seq, at)) if seq == from && !eras.expired(seq, at, boot, now, max_age) => return false,
                _ => {}
            }
            (state.locate(from..u64::MAX, 64, 64 * 1024), eras.clone())
        };
        let Some(job) = job else { return false };
        let too_old = |seq, at| eras.expired(seq, at, boot, now, max_age);
        let mut outcome = job.run();
        let records = stamps(&mut outcome);
        let kept = records.iter().find(|(seq, at)| !too_old(*seq, *at)).copied();
        if kept.is_some() {
            // The readers' places are worth more than this one's.
            outcome.reached = None;
        }
        let mut state = self.shared.lock();
        let mut lost = state.finish_read(&job, &mut outcome);
        let old = records.iter().take_while(|(seq, at)| too_old(*seq, *at)).count();
        if let (Some((first, from)), Some((last, to))) = (records[..old].first(), records[..old].last()) {
            lost |= state.lose(*first..last + 1, LossReason::Age, (*from, *to)) > 0;
        }
        *budget = budget.saturating_sub(records.len() as u64);
        drop(state);
        self.first_kept = kept;
        if lost {
            self.shared.lost.notify_waiters();
            self.shared.committed.notify_waiters();
        }
        kept.is_none()
    }

    /// Finds out when the oldest waiting record was captured.
    fn look_up_oldest(&mut self) {
        let job = {
            let state = self.shared.lock();
            let cursor = state.ledger.done.cursor();
            if state.oldest.is_some_and(|(seq, _)| seq == cursor) {
                return;
            }
            state.locate(cursor..u64::MAX, 1, 1)
        };
        let Some(job) = job else { return };
        let mut outcome = job.run();
        let oldest = stamps(&mut outcome).first().copied();
        outcome.reached = None;
        let mut state = self.shared.lock();
        let lost = state.finish_read(&job, &mut outcome);
        state.oldest = oldest.or(state.oldest);
        drop(state);
        if lost {
            self.shared.lost.notify_waiters();
            self.shared.committed.notify_waiters();
        }
    }
}

/// Takes the numbers and times of what was read, as they were stamped; what is corrected is for
/// those who read.
fn stamps(outcome: &mut Outcome) -> Vec<(u64, u64)> {
    outcome.records.drain(..).map(|record| (record.seq.get(), millis(record.captured_at))).collect()
}
