//! Finds out, when a queue is opened, what is on disk.
//!
//! Of sealed segments only the beginning is read: their counts follow from the names of their
//! neighbours, and damage inside them shows when they are read. The last segment is walked from
//! end to end. The newest ledger found anywhere says what became of every number; what it does not
//! know and no segment holds is lost. Whatever is found, the queue starts.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use tracing::{debug, error, info, warn};

use super::done::HIGHEST;
use super::files::Files;
use super::frame::Kind;
use super::header::HeaderState;
use super::ledger::Ledger;
use super::losses::LossReason;
use super::scan::WINDOW;
use super::segment::{Entry, HEADER, MAX_SPAN, Mark, Segment, parse_name};
use super::state::State;

/// How far into a sealed segment its first good frames are looked for, in bytes.
const BEGINNING: u64 = 512 * 1024;

/// What the walk through the files has brought to light.
#[derive(Default)]
struct Found {
    /// The newest ledger.
    ledger: Option<Ledger>,
    /// Whether the cursor file held one.
    has_cursor: bool,
    /// The first numbers of segments that were set aside.
    set_aside: Vec<u64>,
    /// Numbers between good frames of the last segment.
    holes: Vec<Range<u64>>,
}

impl Found {
    fn ledger(&mut self, candidate: Option<Ledger>) {
        let generation = |ledger: &Option<Ledger>| ledger.as_ref().map(|ledger| ledger.generation);
        if generation(&candidate) > generation(&self.ledger) {
            self.ledger = candidate;
        }
    }
}

/// Reads the directory. The segment to go on appending to is the last one in the catalogue, if
/// the flag says so.
pub fn recover(files: &mut Files) -> (State, bool) {
    let mut state = State::default();
    let mut found = Found::default();
    found.ledger(files.load_cursor());
    found.has_cursor = found.ledger.is_some();
    found.ledger(files.load_mark());
    for first in names(files) {
        match open(files, first) {
            Some(segment) => {
                let mut entry = Entry::new(Arc::new(segment));
                entry.end_offset = entry.segment.size;
                state.segments.push_back(entry);
            }
            None => {
                state.counters.set_aside += 1;
                found.set_aside.push(first);
            }
        }
    }
    files.find_spare();
    if let Some(tail) = state.segments.back_mut() {
        scan_tail(tail, &mut found);
    }
    scan_sealed(&mut state, &mut found);

    let usable = settle(&mut state, found);
    if state.ledger.queued() > 0 || !state.fresh.is_empty() {
        let (queued, damaged) = (state.ledger.queued(), state.ledger.dropped.damaged);
        info!(dir = %files.dir().display(), queued, damaged, "found an earlier queue");
    }
    // What is finished with is freed, and the cursor file brought up to date, with the first
    // commit.
    state.changed_since = Some(Instant::now());
    let synced = sync_tail(&mut state, files);
    (state, usable && synced)
}

/// The first sequence numbers of all segments, in order.
fn names(files: &Files) -> Vec<u64> {
    let entries = std::fs::read_dir(files.dir()).into_iter().flatten();
    let mut firsts: Vec<u64> = entries
        .filter_map(|entry| parse_name(entry.ok()?.file_name().to_str()?))
        .filter(|first| *first < HIGHEST)
        .collect();
    firsts.sort_unstable();
    firsts
}

/// Opens one segment, or sets it aside.
fn open(files: &mut Files, first: u64) -> Option<Segment> {
    let segment = match files.open_segment(first) {
        Ok(segment) => segment,
        Err(error) => {
            error!(first, %error, "cannot open a segment");
            files.set_aside(first, 0);
            return None;
        }
    };
    let readable = match segment.check_header() {
        HeaderState::Good => true,
        HeaderState::Foreign(version) => {
            error!(first, version, "a segment has a format this version does not know");
            false
        }
        // The header says nothing the name and the frames do not say as well.
        HeaderState::Bad => segment.frames(0..segment.size, WINDOW).next().is_some(),
    };
    if !readable {
        files.set_aside(first, segment.size);
        return None;
    }
    Some(segment)
}

/// Walks the last segment: where it ends, which ledgers are in it, what is missing in it.
fn scan_tail(tail: &mut Entry, found: &mut Found) {
    let segment = tail.segment.clone();
    let mut frames = segment.frames(HEADER..segment.size, WINDOW);
    for good in frames.by_ref() {
        let frame = good.frame;
        match frame.kind {
            Kind::Ledger => found.ledger(Ledger::decode(&frame.body)),
            Kind::Record if frame.seq >= tail.end => {
                if frame.seq > tail.end {
                    found.holes.push(tail.end..frame.seq);
                }
                tail.remember(Mark { seq: frame.seq, offset: good.offset });
                tail.saw_times(frame.captured_at, frame.captured_at);
                tail.end = frame.seq + 1;
            }
            Kind::Record => {}
        }
    }
    tail.end_offset = frames.offset();
}

/// Looks at the beginnings of sealed segments. They end where their neighbours begin.
fn scan_sealed(state: &mut State, found: &mut Found) {
    let mut next: Option<(u64, Option<u64>)> = None;
    for entry in state.segments.iter_mut().rev() {
        let mut captured_at = None;
        for good in entry.segment.frames(HEADER..entry.segment.size.min(BEGINNING), 0) {
            match good.frame.kind {
                Kind::Ledger => found.ledger(Ledger::decode(&good.frame.body)),
                Kind::Record => {
                    captured_at = Some(good.frame.captured_at);
                    break;
                }
            }
        }
        if let Some((first, later)) = next {
            entry.end = match found.has_cursor {
                true => first.min(entry.segment.seqs().end),
                // Somewhere between the two a segment may have been freed, and the ledger that knew
                // of it is gone. That is rare enough to be worth reading the file.
                false => last_record(&entry.segment).map_or(entry.end, |last| last + 1).min(first),
            };
            if let Some(from) = captured_at {
                entry.saw_times(from, later.unwrap_or(from));
            }
        }
        next = Some((entry.segment.first, captured_at));
    }
}

/// The highest number in a segment.
pub fn last_record(segment: &Segment) -> Option<u64> {
    let frames = segment.frames(HEADER..segment.size, WINDOW).map(|good| good.frame);
    frames.filter(|frame| frame.kind == Kind::Record).map(|frame| frame.seq).max()
}

/// Brings the ledger and the segments together: afterwards each number that was given is finished
/// or in a segment. Returns whether the last segment may be appended to. What is lost is told, as an
/// error, by those who watch the queue's losses; here there may be a line for each of many gaps.
fn settle(state: &mut State, found: Found) -> bool {
    let oldest = state.segments.front().map_or(0, |entry| entry.segment.first);
    let end = state.segments.back().map_or(0, |entry| entry.end);
    // Without any ledger, all that is there waits, and what was before it is taken for finished.
    state.ledger = found.ledger.unwrap_or_else(|| {
        let mut ledger = Ledger { next: oldest, ..Ledger::default() };
        ledger.done.insert(0..oldest);
        ledger
    });
    state.ledger.next = state.ledger.next.max(end);
    // Numbers in a last segment that was set aside were given, so they are not given again. A name
    // far beyond all others was not made by this queue.
    let known = state.ledger.next;
    let beyond = found.set_aside.iter().copied().filter(|first| *first >= end && *first <= known + MAX_SPAN).max();
    if let Some(first) = beyond {
        state.ledger.next = known.max(first + MAX_SPAN);
    }

    // What is sure to have been on disk once: it was settled when the ledger was saved, or
    // something behind it is there.
    let stored = end.max(state.ledger.settled);
    for (seqs, times) in gaps(state) {
        let lost = seqs.start..seqs.end.min(stored);
        let aside = found.set_aside.iter().any(|first| lost.contains(first));
        if lost.is_empty() {
            // Only known from memory.
        } else if found.has_cursor || aside {
            let count = state.lose(lost.clone(), LossReason::Damaged, times);
            if count > 0 {
                debug!(first = lost.start, last = lost.end - 1, count, "segments are missing");
            }
        } else {
            // The ledgers left are older than the last segment. Segments go when all in them is
            // finished, and the ledger that said so is gone.
            state.ledger.done.insert(lost);
        }
        // Beyond that the ledger knows of messages that were captured and never reached the disk.
        let crashed = stored.max(seqs.start)..seqs.end.min(known);
        let count = state.lose(crashed.clone(), LossReason::Crash, times);
        if count > 0 {
            debug!(
                first = crashed.start,
                last = crashed.end - 1,
                count,
                "captured, but not stored when the gateway was cut off"
            );
        }
        state.ledger.pass_over(stored.max(seqs.start).max(known)..seqs.end);
    }
    for hole in found.holes {
        let times = state.segments.back().and_then(|entry| entry.times).unwrap_or_default();
        let (first, last) = (hole.start, hole.end - 1);
        let count = state.lose(hole, LossReason::Damaged, times);
        if count > 0 {
            debug!(first, last, count, "records in the last segment are damaged and lost");
        }
    }
    beyond.is_none()
}

/// Numbers that were given and lie in no segment, finished or not.
fn gaps(state: &State) -> Vec<(Range<u64>, (u64, u64))> {
    let mut at = state.ledger.done.cursor();
    let mut gaps = Vec::new();
    for entry in &state.segments {
        if entry.segment.first > at {
            gaps.push((at..entry.segment.first, entry.times.unwrap_or_default()));
        }
        at = at.max(entry.end);
    }
    if state.ledger.next > at {
        gaps.push((at..state.ledger.next, (0, 0)));
    }
    gaps
}

/// Makes what a killed process wrote but did not sync as durable as the rest: it will be sent.
fn sync_tail(state: &mut State, files: &Files) -> bool {
    let Some(tail) = state.segments.back() else { return false };
    match tail.segment.file.sync_data() {
        Ok(()) => true,
        Err(error) => {
            warn!(dir = %files.dir().display(), %error, "cannot sync the last segment, so a new one is begun");
            state.counters.failed_syncs += 1;
            false
        }
    }
}
