//! A serial bus on a pretend clock: slaves, characters that take their time, and every fault that a
//! real line has. For tests.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::time::{Duration, Instant};

use super::pace::Pace;
use super::question::Question;
use super::rtu;
use super::turns::{Failure, Step, Turns};

/// What goes wrong, each as a probability per character or per answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) flip: f64,
    pub(crate) insert: f64,
    pub(crate) drop: f64,
    /// Answers that come after the timeout.
    pub(crate) late: f64,
    /// How late at most, counted from the request.
    pub(crate) latest: Duration,
    /// Requests that a slave ignores.
    pub(crate) deaf: f64,
    /// The line gives back what is sent on it, damaged like everything else.
    pub(crate) echo: bool,
}

/// The bus, with a slave at each unit from 1 to `units`.
pub(crate) struct Bus {
    pub(crate) now: Instant,
    pace: Pace,
    faults: Faults,
    random: fastrand::Rng,
    units: u8,
    /// Characters on their way to us, by the moment of their arrival.
    coming: BinaryHeap<Reverse<(Instant, u64, u8)>>,
    sequence: u64,
    /// When each slave has done what it was asked.
    free: Vec<Instant>,
    /// When the last character on the wire ends.
    busy: Instant,
    /// Which requests were understood, and obeyed.
    pub(crate) obeyed: HashSet<u64>,
    /// Requests that were begun before the line had been quiet long enough.
    pub(crate) cut_short: u64,
}

impl Bus {
    pub(crate) fn new(pace: Pace, units: u8, faults: Faults, seed: u64) -> Self {
        let now = Instant::now();
        let free = vec![now; usize::from(units) + 1];
        let random = fastrand::Rng::with_seed(seed);
        Self {
            now,
            pace,
            faults,
            random,
            units,
            coming: BinaryHeap::new(),
            sequence: 0,
            free,
            busy: now,
            obeyed: HashSet::new(),
            cut_short: 0,
        }
    }

    /// One exchange over the bus. `answer` is what a slave that understands the request says.
    pub(crate) fn exchange(
        &mut self,
        turns: &mut Turns,
        id: u64,
        unit: u8,
        (request, answer): (&[u8], &[u8]),
        timeout: Duration,
    ) -> Result<Vec<u8>, Failure> {
        let question = Question::new(unit, request).unwrap();
        turns.begin(question, timeout, None, self.now);
        loop {
            match turns.step(self.now) {
                Step::Done(outcome) => return outcome,
                Step::Send(frame) => {
                    let came = self.arrived();
                    if came.is_empty() {
                        self.send(&frame, id, unit, answer);
                        turns.sent(self.now);
                    } else {
                        turns.heard(&came, self.now);
                    }
                }
                Step::Listen(until) => {
                    assert!(until > self.now, "a wait has to end later than it begins");
                    self.now = self.coming.peek().map_or(until, |Reverse((at, ..))| until.min(*at));
                    let came = self.arrived();
                    if !came.is_empty() {
                        turns.heard(&came, self.now);
                    }
                }
            }
        }
    }

    fn arrived(&mut self) -> Vec<u8> {
        let mut came = Vec::new();
        while let Some(Reverse((at, _, byte))) = self.coming.peek().copied() {
            if at > self.now {
                break;
            }
            came.push(byte);
            self.coming.pop();
        }
        came
    }

    fn send(&mut self, frame: &[u8], id: u64, unit: u8, answer: &[u8]) {
        if self.now < self.busy + self.pace.between_frames && self.now >= self.busy {
            self.cut_short += 1;
        }
        let end = self.now + self.pace.characters(frame.len());
        let collided = self.collide(end);
        self.busy = self.busy.max(end);
        if self.faults.echo {
            let mut at = self.now;
            for byte in self.spoilt(frame) {
                at += self.pace.character;
                self.put(at, byte);
            }
        }
        // A slave obeys what it hears as a whole and good frame.
        let heard = self.spoilt(frame);
        let is_deaf = collided || heard != frame || self.random.f64() < self.faults.deaf;
        if is_deaf || unit > self.units {
            return;
        }
        self.obeyed.insert(id);
        let Some(free) = self.free.get_mut(usize::from(unit)).filter(|_| unit > 0) else { return };
        let latest = self.faults.latest.as_secs_f64();
        let takes =
            if self.random.f64() < self.faults.late { self.random.f64() * latest } else { self.random.f64() * 0.02 };
        let begin = end.max(*free).max(end + Duration::from_secs_f64(takes));
        let frame = rtu::frame(unit, answer);
        *free = begin + self.pace.characters(frame.len());
        let mut at = begin;
        for byte in self.spoilt(&frame) {
            at += self.pace.character;
            self.put(at, byte);
        }
        self.busy = self.busy.max(at);
    }

    fn put(&mut self, at: Instant, byte: u8) {
        self.sequence += 1;
        self.coming.push(Reverse((at, self.sequence, byte)));
    }

    /// Two senders at once garble each other.
    fn collide(&mut self, until: Instant) -> bool {
        let waiting = std::mem::take(&mut self.coming);
        let mut collided = false;
        for Reverse((at, sequence, byte)) in waiting {
            let hit = at <= until;
            collided |= hit;
            let byte = if hit { byte ^ self.random.u8(1..) } else { byte };
            self.coming.push(Reverse((at, sequence, byte)));
        }
        collided
    }

    fn spoilt(&mut self, characters: &[u8]) -> Vec<u8> {
        let mut spoilt = Vec::with_capacity(characters.len() + 2);
        for byte in characters {
            if self.random.f64() < self.faults.insert {
                spoilt.push(self.random.u8(..));
            }
            if self.random.f64() < self.faults.drop {
                continue;
            }
            let flipped = self.random.f64() < self.faults.flip;
            spoilt.push(if flipped { byte ^ 1 << self.random.u8(..8) } else { *byte });
        }
        spoilt
    }
}
