//! What the handles and the threads share behind one lock: the records that wait for the next commit,
//! the catalogue of committed ones, and the ledger.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tracing::debug;

use super::Record;
use super::counters::Counters;
use super::ledger::Ledger;
use super::losses::{Loss, LossReason, Losses, MAX_FRESH};
use super::reader::{Job, Outcome};
use super::segment::{Entry, Mark, Segment};
use super::warm::Warm;
use crate::clock::{BootId, Clock, Correction, millis, time};

/// A commit is made as soon as this many bytes wait.
pub const COMMIT_BYTES: usize = 64 * 1024;

/// Appending waits while this many bytes wait for a commit, or [`State::most_waiting`] records.
const INBOX_BYTES: usize = 1 << 20;

/// How many ends of recent reads are remembered: one per reader, and some to spare.
const RECENT: usize = 8;

/// A record on its way to the log.
#[derive(Clone)]
pub struct Pending {
    /// Its number.
    pub seq: u64,
    /// What the wall clock showed, in milliseconds since 1970.
    pub captured_at: u64,
    /// Its body.
    pub body: Bytes,
}

/// Everything behind the lock.
pub struct State {
    /// What became of every number.
    pub ledger: Ledger,
    /// Records that wait for the next commit.
    pub inbox: Vec<Pending>,
    /// Bytes of their bodies.
    pub inbox_bytes: usize,
    /// When the first of them came.
    pub waiting_since: Option<Instant>,
    /// When the ledger began to differ from what is on disk.
    pub changed_since: Option<Instant>,
    /// The generation of the ledger that is on disk.
    pub saved: u64,
    /// The ledger that the writer encoded last.
    pub encoded: Snapshot,
    /// Whether the writer is at a commit, and so the disk busy.
    pub is_committing: bool,
    /// What the thread that writes marks is at.
    pub marking: Marking,
    /// The generation that knows the loss being told as it is told.
    pub told_since: u64,
    /// The first record that the writer holds and has not stored yet.
    pub in_hand: Option<u64>,
    /// Segments, oldest first; the last one may be growing.
    pub segments: VecDeque<Entry>,
    /// The records committed last.
    pub warm: Warm,
    /// A commit is made as soon as this many records wait.
    pub commit_records: usize,
    /// Counts of the work done; the rest is filled in when asked for.
    pub counters: Counters,
    /// The oldest waiting record as far as it was looked up: its number, and when it was captured.
    pub oldest: Option<(u64, u64)>,
    /// Losses nobody has asked for yet.
    pub fresh: Losses,
    /// The queue was told to close: no more records are taken.
    pub closing: bool,
    /// The writer has ended.
    pub ended: bool,
    /// How many acknowledgements were taken, and how many of them a ledger knows that was written.
    acknowledged: u64,
    kept: u64,
    recent: VecDeque<(u64, Mark)>,
}

/// What the thread that writes marks is at.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Marking {
    /// It waits.
    #[default]
    Idle,
    /// A mark is wanted of it.
    Wanted,
    /// It is writing one.
    Writing,
}

/// Which ledger was encoded, and how many acknowledgements it knows of those taken in this run.
#[derive(Clone, Copy, Default)]
pub struct Snapshot {
    /// Its generation.
    pub generation: u64,
    acknowledged: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            ledger: Ledger::default(),
            inbox: Vec::new(),
            inbox_bytes: 0,
            waiting_since: None,
            changed_since: None,
            saved: 0,
            encoded: Snapshot::default(),
            is_committing: false,
            marking: Marking::default(),
            told_since: 0,
            in_hand: None,
            segments: VecDeque::new(),
            warm: Warm::default(),
            commit_records: 256,
            counters: Counters::default(),
            oldest: None,
            fresh: Losses::new(MAX_FRESH),
            closing: false,
            ended: false,
            acknowledged: 0,
            kept: 0,
            recent: VecDeque::new(),
        }
    }
}

impl State {
    /// Whether one more record may wait.
    pub fn has_room(&self) -> bool {
        self.inbox.len() < self.most_waiting() && self.inbox_bytes < INBOX_BYTES
    }

    /// How many records may wait for a commit: enough to go on while the disk is slow.
    fn most_waiting(&self) -> usize {
        self.commit_records.saturating_mul(4).clamp(1024, 65_536)
    }

    /// Numbers a record and takes it in. Returns whether the writer has to be woken for it.
    pub fn take_in(&mut self, body: Bytes, captured_at: u64) -> bool {
        let was_due = self.is_large();
        let first = self.inbox.is_empty();
        if first {
            self.waiting_since = Some(Instant::now());
        }
        let seq = self.ledger.next;
        self.ledger.next += 1;
        self.inbox_bytes += body.len();
        self.inbox.push(Pending { seq, captured_at, body });
        first || self.is_large() != was_due
    }

    /// Whether enough records wait for a commit at once.
    pub fn is_large(&self) -> bool {
        self.inbox.len() >= self.commit_records || self.inbox_bytes >= COMMIT_BYTES
    }

    /// Numbers records that are dropped instead of being taken in. Returns whether the writer has
    /// to be woken.
    pub fn never_take_in(&mut self, count: u64, reason: LossReason, times: (u64, u64)) -> bool {
        let first = self.ledger.next;
        // More than anybody can lose, and far too few to run out of numbers.
        self.ledger.next = first + count.min(1 << 40);
        let was_changed = self.changed_since.is_some();
        self.lose(first..self.ledger.next, reason, times);
        !was_changed
    }

    /// Below this, everything is on disk or finished.
    pub fn settled(&self) -> u64 {
        let waiting = self.in_hand.or_else(|| self.inbox.first().map(|record| record.seq));
        waiting.unwrap_or(self.ledger.next)
    }

    /// Acknowledges a committed record. Returns whether the writer has to be woken.
    pub fn acknowledge(&mut self, seq: u64) -> bool {
        if seq >= self.settled() {
            return false;
        }
        if !self.ledger.done.has_room_for(seq) {
            self.counters.refused_acknowledgements += 1;
            return false;
        }
        let is_new = self.ledger.done.insert(seq..seq + 1) > 0;
        self.acknowledged += u64::from(is_new);
        is_new && self.changed()
    }

    /// How many acknowledgements are in no ledger that was written.
    pub fn unsaved(&self) -> u64 {
        self.acknowledged - self.kept
    }

    /// Asks for a mark. Returns whether the marker has to be woken: one that is at work already is
    /// enough for now, and whoever finds it told too little asks again.
    pub fn want_mark(&mut self) -> bool {
        let is_idle = self.marking == Marking::Idle;
        if is_idle {
            self.marking = Marking::Wanted;
        }
        is_idle
    }

    /// Appends the ledger as it is now.
    pub fn encode(&mut self, out: &mut Vec<u8>) -> Snapshot {
        let settled = self.settled();
        self.ledger.encode(settled, out);
        Snapshot { generation: self.ledger.generation, acknowledged: self.acknowledged }
    }

    /// That ledger was written.
    pub fn keep(&mut self, written: Snapshot) {
        self.kept = self.kept.max(written.acknowledged);
    }

    /// The ledger that the writer encoded last is on disk.
    pub fn encoded_is_saved(&mut self) {
        self.saved = self.encoded.generation;
        self.keep(self.encoded);
    }

    /// Drops those of `seqs` that are not finished. Returns how many.
    pub fn lose(&mut self, seqs: Range<u64>, reason: LossReason, times: (u64, u64)) -> u64 {
        let Some(lost) = self.ledger.lose(seqs, reason, times) else { return 0 };
        self.fresh.note(reason, (lost.first, lost.last), lost.count, times);
        self.changed();
        // A ledger that could not be saved whole would be a second truth. It takes thousands of
        // gaps to get here, and then the shortest stretch between two of them goes as well.
        while let Some(stretch) = self.ledger.done.overflow() {
            debug!(
                first = stretch.start,
                last = stretch.end - 1,
                "too many gaps to keep apart, so records are dropped"
            );
            if let Some(more) = self.ledger.lose(stretch, LossReason::Full, times) {
                self.fresh.note(LossReason::Full, (more.first, more.last), more.count, times);
            }
        }
        lost.count
    }

    /// Drops everything that waits. Returns how many records that were.
    pub fn purge(&mut self, now: u64) -> u64 {
        let times = self.times_of_waiting().unwrap_or((now, now));
        self.inbox.clear();
        self.inbox_bytes = 0;
        self.waiting_since = None;
        self.lose(0..self.ledger.next, LossReason::Purged, times)
    }

    /// When the first and the last of what waits were captured, as far as that is in memory: a
    /// segment's times are those of all its records, and what is just being written is not seen.
    fn times_of_waiting(&self) -> Option<(u64, u64)> {
        let waits = |entry: &&Entry| {
            let seqs = entry.seqs();
            self.ledger.done.count(seqs.clone()) < seqs.end - seqs.start
        };
        let stored = self.segments.iter().filter(waits).filter_map(|entry| entry.times);
        let taken_in = self.inbox.iter().map(|pending| (pending.captured_at, pending.captured_at));
        let (from, to) = stored.chain(taken_in).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
        Some((self.oldest.map_or(from, |(_, captured_at)| captured_at), to))
    }

    /// The loss to be told upstream next, and whether the ledger on disk knows it as it is told.
    pub fn loss_to_tell(&mut self) -> Option<(Loss, bool)> {
        let (loss, is_news) = self.ledger.untold.freeze_oldest(&self.ledger.eras)?;
        if is_news {
            self.told_since = self.ledger.generation + 1;
            self.changed();
        }
        Some((loss, self.saved >= self.told_since))
    }

    /// Notes that the ledger on disk is behind. Returns whether that is news.
    pub fn changed(&mut self) -> bool {
        let news = self.changed_since.is_none();
        self.changed_since.get_or_insert_with(Instant::now);
        news
    }

    /// Compares the clocks.
    pub fn look_at_clock(&mut self, boot: BootId, clock: &Clock) {
        let (next, cursor) = (self.ledger.next, self.ledger.done.cursor());
        if self.ledger.eras.observe(next, cursor, boot, clock.stamp(), || clock.is_kept()) {
            self.changed();
        }
    }

    /// Segments whose records are all finished; not the one that begins with `tail`.
    pub fn finished_segments(&self, tail: Option<u64>) -> Vec<Arc<Segment>> {
        let finished = |entry: &&Entry| {
            let seqs = entry.seqs();
            tail != Some(seqs.start) && self.ledger.done.count(seqs.clone()) == seqs.end - seqs.start
        };
        self.segments.iter().filter(finished).map(|entry| entry.segment.clone()).collect()
    }

    /// How to read the first unfinished records of `within`; `None` if there are none.
    pub fn locate(&self, within: Range<u64>, max_records: usize, max_bytes: usize) -> Option<Job> {
        let done = &self.ledger.done;
        let mut wanted = done.first_open(within.start);
        let entry = self.segments.get(self.segments.partition_point(|entry| entry.end <= wanted))?;
        wanted = done.first_open(wanted.max(entry.segment.first));
        let end = done.next_done(wanted).unwrap_or(u64::MAX).min(entry.end).min(within.end);
        let known = entry.mark_before(wanted);
        let first = entry.segment.first;
        let start = self
            .recent
            .iter()
            .filter(|(segment, mark)| *segment == first && mark.seq <= wanted)
            .map(|(_, mark)| *mark)
            .fold(known, |best, mark| if mark.offset > best.offset { mark } else { best });
        (wanted < end).then(|| Job {
            segment: entry.segment.clone(),
            start,
            wanted: wanted..end,
            end_offset: entry.end_offset,
            max_records: max_records.max(1),
            max_bytes: max_bytes.max(1),
            frame_len: entry.frame_len(),
        })
    }

    /// Takes note of what a read found, and leaves in `outcome` the records that still wait.
    /// Returns whether something was lost.
    pub fn finish_read(&mut self, job: &Job, outcome: &mut Outcome) -> bool {
        let first = job.segment.first;
        let entry = self.segments.iter_mut().find(|entry| entry.segment.first == first);
        let known = entry.as_ref().and_then(|entry| entry.times).unwrap_or_default();
        if let (Some(entry), Some(reached)) = (entry, outcome.reached) {
            entry.remember(reached);
            self.recent.retain(|(segment, mark)| (*segment, mark) != (first, &job.start));
            self.recent.push_back((first, reached));
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        let mut lost = 0;
        for missing in outcome.missing.drain(..) {
            // A reader that was overtaken may miss what has been finished and freed meanwhile;
            // only what still should be there counts.
            let (first, last) = (missing.seqs.start, missing.seqs.end.saturating_sub(1));
            let damaged = self.lose(missing.seqs, LossReason::Damaged, missing.times.unwrap_or(known));
            if damaged > 0 {
                debug!(first, last, damaged, "records on disk are damaged and lost");
            }
            lost += damaged;
        }
        if self.ledger.done.count(job.wanted.clone()) > 0 {
            outcome.records.retain(|record| !self.ledger.done.contains(record.seq.0));
        }
        self.put_right(job.wanted.start, &mut outcome.records);
        lost > 0
    }

    /// The first unfinished records of `within`, if they were committed a moment ago.
    pub fn at_hand(&self, within: Range<u64>, max_records: usize, max_bytes: usize) -> Option<Vec<Record>> {
        let from = within.start;
        let mut records = self.warm.read(&self.ledger.done, within, max_records.max(1), max_bytes)?;
        self.put_right(from, &mut records);
        Some(records)
    }

    /// Corrects the times of records at or above `from`, as far as that is needed and possible.
    fn put_right(&self, from: u64, records: &mut [Record]) {
        if self.ledger.eras.all_trusted_from(from) {
            return;
        }
        for record in records {
            let captured_at = millis(record.captured_at);
            record.correction = self.ledger.eras.correction(record.seq.0, captured_at);
            record.captured_at = time(corrected(captured_at, record.correction));
        }
    }

    /// The counts as of now.
    pub fn counters(&self) -> Counters {
        let ledger = &self.ledger;
        let oldest = self.oldest.filter(|_| ledger.queued() > 0);
        let oldest_captured_at =
            oldest.map(|(seq, captured_at)| time(corrected(captured_at, ledger.eras.correction(seq, captured_at))));
        Counters {
            captured: ledger.captured(),
            acknowledged: ledger.acknowledged(),
            queued: ledger.queued(),
            dropped: ledger.dropped,
            oldest_captured_at,
            losses_untold: ledger.untold.iter().len() as u64,
            ..self.counters.clone()
        }
    }
}

/// A time, put right as far as it can be.
pub fn corrected(captured_at: u64, correction: Correction) -> u64 {
    match correction {
        Correction::By(by) => captured_at.saturating_add_signed(by),
        Correction::None | Correction::Unknown => captured_at,
    }
}
