//! Finds out, when a queue is opened, what is on disk.
//!
//! Of sealed segments only the beginning is read: their counts follow from the names of their
//! neighbours, and damage inside them shows when they are read. The last segment is walked from
//! end to end. Whatever is found, the queue starts.

use std::sync::Arc;
use std::time::Instant;

use tracing::{error, info, warn};

use super::done::Done;
use super::files::Files;
use super::frame::Kind;
use super::losses::LossReason;
use super::scan::WINDOW;
use super::segment::{Entry, HEADER, HeaderState, Mark, Segment, parse_name};
use super::state::State;

/// How far into a sealed segment its first good frame is looked for, in bytes.
const BEGINNING: u64 = 64 * 1024;

/// A file whose name is this far beyond all others was not named by this queue.
const FAR: u64 = 1 << 32;

/// Reads the directory. The segment to go on appending to is the last one in the catalogue, if
/// the flag says so.
pub fn recover(files: &mut Files) -> (State, bool) {
    let mut state = State::default();
    let cursor = files.load_cursor();
    let mut set_aside = Vec::new();
    for first in names(files) {
        match open(files, first) {
            Some(segment) => {
                let mut entry = Entry::new(Arc::new(segment));
                entry.end_offset = entry.segment.size;
                state.segments.push_back(entry);
            }
            None => {
                state.counters.set_aside += 1;
                set_aside.push(first);
            }
        }
    }
    files.find_spare();

    let mut known = cursor;
    let lost_in_tail = match state.segments.back_mut() {
        Some(tail) => scan_tail(tail, &mut known),
        None => Vec::new(),
    };
    bound_by_neighbours(&mut state);
    // Without any word about acknowledgements, all that is there waits.
    let oldest = state.segments.front().map_or(0, |entry| entry.segment.first);
    state.done = known.unwrap_or_else(|| Done::below(oldest));

    let end = state.segments.back().map_or(0, |entry| entry.end).max(state.done.end());
    // Numbers in a last segment that was set aside were given, so they are not given again.
    let beyond = set_aside.into_iter().filter(|first| (end..end.saturating_add(FAR)).contains(first)).max();
    state.next = beyond.map_or(end, |first| first + FAR);
    state.held = held(&state);
    count_gaps(&mut state, end);
    for (mark, next) in lost_in_tail {
        let times = state.segments.back().and_then(|entry| entry.times).unwrap_or_default();
        state.drop_stored(mark..next, LossReason::Damaged, times);
    }
    state.counters.captured = state.held + state.counters.dropped.total();
    if state.held > 0 || state.counters.dropped.damaged > 0 {
        let (queued, damaged) = (state.held, state.counters.dropped.damaged);
        info!(dir = %files.dir().display(), queued, damaged, "found an earlier queue");
    }
    // What is finished with is freed, and the cursor brought up to date, with the first commit.
    state.finished_since = Some(Instant::now());
    let usable = sync_tail(&mut state, files) && beyond.is_none();
    (state, usable)
}

/// The first sequence numbers of all segments, in order.
fn names(files: &Files) -> Vec<u64> {
    let entries = std::fs::read_dir(files.dir()).into_iter().flatten();
    let mut firsts: Vec<u64> = entries
        .filter_map(|entry| parse_name(entry.ok()?.file_name().to_str()?))
        .filter(|first| *first < u64::MAX / 2)
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

/// Walks the last segment: where it ends, what it says is acknowledged, what is missing in it.
fn scan_tail(tail: &mut Entry, known: &mut Option<Done>) -> Vec<(u64, u64)> {
    let segment = tail.segment.clone();
    let mut lost = Vec::new();
    let mut frames = segment.frames(HEADER..segment.size, WINDOW);
    for found in frames.by_ref() {
        let frame = found.frame;
        match frame.kind {
            Kind::Acknowledged => {
                if let Some(done) = Done::decode(&frame.body) {
                    known.get_or_insert_with(Done::default).merge(&done);
                }
            }
            Kind::Record if frame.seq >= tail.end => {
                if frame.seq > tail.end {
                    lost.push((tail.end, frame.seq));
                }
                tail.remember(Mark { seq: frame.seq, offset: found.offset });
                tail.saw_times(frame.captured_at, frame.captured_at);
                tail.end = frame.seq + 1;
            }
            Kind::Record => {}
        }
    }
    tail.end_offset = frames.offset();
    lost
}

/// Where sealed segments end: where their neighbours begin, as far as their size allows.
fn bound_by_neighbours(state: &mut State) {
    let mut next: Option<(u64, Option<u64>)> = None;
    for entry in state.segments.iter_mut().rev() {
        let place = HEADER..entry.segment.size.min(BEGINNING);
        let first_frame = entry.segment.frames(place, 0).find(|found| found.frame.kind == Kind::Record);
        let captured_at = first_frame.map(|found| found.frame.captured_at);
        if let Some((first, later)) = next {
            entry.end = first.min(entry.segment.seqs().end);
            if let Some(from) = captured_at {
                entry.saw_times(from, later.unwrap_or(from));
            }
        }
        next = Some((entry.segment.first, captured_at));
    }
}

/// Records in the catalogue that are not finished.
fn held(state: &State) -> u64 {
    let open = |entry: &Entry| (entry.end - entry.segment.first) - state.done.count(entry.seqs());
    state.segments.iter().map(open).sum()
}

/// Numbers that were given and lie in no segment are lost, unless they were finished with.
fn count_gaps(state: &mut State, end: u64) {
    let mut at = state.done.cursor();
    let mut gaps = Vec::new();
    for entry in &state.segments {
        if entry.segment.first > at {
            gaps.push((at..entry.segment.first, entry.times.unwrap_or_default()));
        }
        at = at.max(entry.end);
    }
    if end > at {
        gaps.push((at..end, (0, 0)));
    }
    for (seqs, times) in gaps {
        let missing = seqs.end - seqs.start - state.done.count(seqs.clone());
        if missing > 0 {
            warn!(first = seqs.start, last = seqs.end - 1, missing, "segments are missing");
            // They were in no count yet: captured once, and now dropped.
            state.held += missing;
            state.drop_stored(seqs, LossReason::Damaged, times);
        }
    }
    // How much was in a last segment that cannot be read is not known, so nothing is counted.
    state.done.insert(end..state.next);
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
